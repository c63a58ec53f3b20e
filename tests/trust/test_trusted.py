"""What keeps a result from being accepted: odd images do, and what the task itself did to usual ones does not.

Outside of a validity mask nothing is said.
"""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilum.core.calibration import DOUBT, Calibration, Foreseen, Gate, Interval, Opinions, Wide
from hilum.core.findings import Mask
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.data.phantoms import kspace
from hilum.planning.planner import Prepared
from hilum.tasks.reconstruct import PLACELESS
from hilum.trust.trusted import Trusted


@pytest.fixture
def open_gate(trained: Callable[[str], Run], tmp_path: Path) -> Trusted:
    """A tiny reconstruction whose gate accepts whatever nothing else speaks against."""
    folder = tmp_path / "run"
    shutil.copytree(trained("reconstruct").path, folder)
    gate = Gate(error=0.1, measure="error", wrong="PSNR below 30 dB", accept=1.0, person=1.0, groups=9, rate=1.0)
    expected = Foreseen(metric="psnr_db", base=30.0, parts={}, groups=9)
    known = Calibration(cases=9, groups=9, gate=gate, foreseen=expected)
    Run(folder).put({"calibration.json": known.model_dump_json().encode()})
    return Trusted(Run(folder))


def test_simulated_undersampling_keeps_no_result_from_being_accepted(open_gate: Trusted) -> None:
    full = kspace.measure(np.random.default_rng(3), 32, 2, 1, 0.01)
    result = open_gate(Case("full", "full", {"kspace": full}))
    assert result.warnings == ("undersampling R=4 was simulated from full data",)
    assert result.verdict.decision == "accept"
    # a magnitude image is none of what this run learned from
    image = Image(np.random.default_rng(0).random((1, 32, 32)).astype(np.float32))
    result = open_gate(Case("image", "image", {"image": image}))
    assert len(result.warnings) == 2 and result.verdict.decision == "flag"


def test_raw_data_that_lie_nobody_knows_where_are_reconstructed_as_well_as_others(open_gate: Trusted) -> None:
    """No fastMRI file says where its slices lie: every result would have been flagged."""
    result = open_gate(Case("full", "full", {"kspace": kspace.measure(np.random.default_rng(3), 32, 2, 3, 0.01)}))
    assert PLACELESS in result.warnings and result.verdict.decision == "accept"


def test_what_a_reader_says_of_raw_data_still_counts(open_gate: Trusted) -> None:
    echo = "HIL-IO-08: a partial echo"
    full = replace(kspace.measure(np.random.default_rng(3), 32, 2, 1, 0.01), warnings=(echo,))
    result = open_gate(Case("full", "full", {"kspace": full}))
    assert len(result.warnings) == 2
    assert result.verdict.decision == "flag" and result.verdict.reasons == (echo,)


def test_outside_a_validity_mask_nothing_is_found_wide_or_doubtful(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(trained("segment").path, folder)
    names = [one.name for one in Run(folder).plan.classes]
    # every voxel reaches so low a threshold
    wide = Wide(risk=0.1, thresholds=dict.fromkeys(names, 1e-4), groups=dict.fromkeys(names, 9))
    known = Calibration(cases=9, groups=9, wide=wide, opinions=Opinions(kind="views"))
    Run(folder).put({"calibration.json": known.model_dump_json().encode()})
    predictor = Trusted(Run(folder), wide=True, maps=True)
    # its array runs to A, S and L: a mask that is turned with it, or not turned back, lies elsewhere
    image = ready("segment").dataset.cases[2].read("image")
    image = Image(image.array[:, 12:36, 10:36, 12:40], image.affine)
    inside = np.zeros(image.shape, bool)
    inside[12:] = True
    items = {"image": image, "validity": image.like(inside[None].astype(np.uint8))}
    held, free = predictor(Case("a", "a", items)), predictor(Case("a", "a", {"image": image}))

    def values(finding: Any) -> np.ndarray:
        array: np.ndarray = finding.image.array[0] if hasattr(finding, "image") else finding.array
        return array

    assert held.findings.keys() == {"mask", *(f"wide_{name}" for name in names), "doubt", "disagreement"}
    for name in held.findings:
        found, everywhere = values(held[name]), values(free[name])
        assert everywhere[~inside].any() and not found[~inside].any(), name
        assert found[inside].any(), name
        np.testing.assert_array_equal(found[inside], everywhere[inside], name)


def test_what_was_not_found_has_no_interval() -> None:
    """90 % were promised of it too, learned of patients without it."""
    classes = [SimpleNamespace(name=name, value=value) for value, name in enumerate("ab", 1)]
    fake: Any = SimpleNamespace(plan=SimpleNamespace(task="segment", classes=classes))
    fake.task = fake
    opinion: Any = SimpleNamespace(result={"mask": Mask(np.eye(3, dtype=np.uint8), {1: "a", 2: "b"})})
    area = Interval(unit="pixels", error=0.1, groups=9, width=0.1, floor=0.0, where_found=True)
    metric = Interval(unit="", error=0.1, groups=9, width=0.1, low=0, high=1)
    known = Calibration(cases=9, groups=9, measured={"area of a": area, "area of b": area, "dice": metric})
    said = Trusted._measured(fake, opinion, known, 1.0)
    assert said.keys() == {"area of a", "dice"} and said["area of a"]["value"] == 3 and said["dice"]["value"] == 0
    # a run of before says what it learned
    known.measured["area of b"] = area.model_copy(update={"where_found": False})
    assert Trusted._measured(fake, opinion, known, 1.0)["area of b"]["value"] == 0


@pytest.mark.parametrize(("learned_of", "by", "accepted"), [
    ("torch", "torch", True), ("torch-channels-last", "torch", True), ("torch", "torch-bf16", False),
    ("torch-bf16", "torch-bf16", True), ("torch-bf16", "torch", False), ("one-of-tomorrow", "torch", False),
])  # fmt: skip
def test_promises_of_one_runtime_do_not_accept_what_a_less_exact_one_computed(
    learned_of: str, by: str, accepted: bool, trained: Callable[[str], Run], ready: Callable[[str], Prepared],
    tmp_path: Path,
) -> None:  # fmt: skip
    folder = tmp_path / "run"
    shutil.copytree(trained("segment").path, folder)
    gate = Gate(error=0.1, measure="doubt", wrong="Dice below 0.7", accept=1.0, person=1.0, groups=9, rate=1.0)
    known = Calibration(cases=9, groups=9, gate=gate, runtime=learned_of, doubt=DOUBT)
    Run(folder).put({"calibration.json": known.model_dump_json().encode()})
    result = Trusted(Run(folder), by)(ready("segment").dataset.cases[0])
    said = [w for w in result.warnings if w.startswith("HIL-TRUST-24")]
    assert (result.verdict.decision, len(said)) == (("accept", 0) if accepted else ("flag", 1))
    assert all(w in result.verdict.reasons and by in w and learned_of in w for w in said)


def test_a_calibration_from_before_runtimes_were_kept_is_of_torch() -> None:
    older = Calibration(cases=9, groups=9).model_dump()
    del older["runtime"]
    assert Calibration(**older).runtime == "torch"


def test_limits_that_were_learned_of_another_doubt_accept_nothing(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path
) -> None:
    """A small class counts as a large one does now: limits of before are not compared with such doubts unseen."""
    folder = tmp_path / "run"
    shutil.copytree(trained("segment").path, folder)
    gate = Gate(error=0.1, measure="doubt", wrong="Dice below 0.7", accept=1.0, person=1.0, groups=9, rate=1.0)
    known = Calibration(cases=9, groups=9, gate=gate, doubt=DOUBT)
    for left_out, decision in ({"doubt"}, "flag"), (set[str](), "accept"):
        Run(folder).put({"calibration.json": known.model_dump_json(exclude=left_out).encode()})
        predictor = Trusted(Run(folder))
        result = predictor(ready("segment").dataset.cases[0])
        said = [w for w in result.warnings if w.startswith("HIL-TRUST-25")]
        assert (result.verdict.decision, len(said)) == (decision, len(left_out))
        assert all(w in result.verdict.reasons and "calibrate the run again" in w for w in said)
    before = known.model_copy(update={"doubt": 1})
    assert predictor._of_before(before)
    assert not predictor._of_before(before.model_copy(update={"gate": None})), "nothing is compared with it"
    predictor.plan = predictor.plan.edited({"classes": [{"value": 1, "name": "a"}]})
    assert not predictor._of_before(before), "of one class it was told alike"
    assert predictor._of_before(before.model_copy(update={"single": ["a"]}))
