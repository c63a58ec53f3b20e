"""A run learns on its validation part what its answers are worth, keeps it, and says it with every result."""

import errno
import json
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from hilum.core import card, catalogue, resident
from hilum.core.calibration import DOUBT, Calibration
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.progress import quiet
from hilum.core.run import Run
from hilum.evaluation.bootstrap import INTERVALS
from hilum.infer.runtimes import _choose
from hilum.planning.planner import Prepared, fitted, look
from hilum.tasks._task import Judged
from hilum.trust import conformal, learned
from hilum.trust.calibration import applied
from hilum.trust.gate import Look, decide
from hilum.trust.trusted import Trusted
from hilum.verbs import train as verb
from hilum.verbs._same import same_data
from hilum.verbs.calibrate import calibrate
from hilum.verbs.evaluate import evaluate
from hilum.verbs.train import train

Trained = Callable[[str], Run]


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A classifier of phantoms, trained for a few steps on enough patients: (data, run)."""
    folder = tmp_path_factory.mktemp("slices")
    catalogue.load("hilum.data.phantoms", "slices").make(folder / "data", 240, size=32)
    settings = {"width": 8, "plan.batch": 8, "learning.rounds": 1, "plan.augment": []}
    train(folder / "data", "classify", folder / "run", steps=12, settings=settings)
    return folder / "data", folder / "run"


def test_a_classifier_learns_everything(slices: tuple[Path, Path]) -> None:
    run = Run(slices[1])
    known = run.calibration
    assert known is not None and known.sets is not None and known.gate is not None
    assert known.cases == sum(row["part"] == "val" for row in run.split())
    assert known.gate.outlier == 0.99 and run.has("outlier.safetensors") and "sharpness" in known.quality
    assert any("Out-of-fold NLL" in note for note in known.notes)
    assert any(note.startswith("Promise") for note in known.notes)
    run.check_hashes()


def test_promises_of_images_that_taught_the_starting_weights_say_so(slices: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = slices
    source = Run(folder)
    # another cut of the same training and validation images
    turned = {"train": "val", "val": "train"}
    parts = {row["case"]: turned.get(row["part"], row["part"]) for row in source.split()}
    shutil.copytree(data, tmp_path / "data")
    rows = "\n".join(f"{case},{part}" for case, part in parts.items())
    (tmp_path / "data" / "cases.csv").write_text(f"case,split\n{rows}\n")
    settings = {"width": 8, "plan.batch": 8, "learning.rounds": 1, "plan.augment": []}
    run = train(tmp_path / "data", "classify", tmp_path / "run", steps=2, settings=settings, start=folder)
    count = sum(part == "val" for part in parts.values())
    assert run.json("start.json")["validation_images_learned_from"] == count
    assert run.calibration is not None and f"had learned from {count} of its validation" in run.calibration.notes[0]
    assert not any("had learned from" in note for note in (source.calibration or run.calibration).notes)


def test_the_runtime_that_promises_are_learned_of_is_kept(slices: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = slices
    copy = shutil.copytree(folder, tmp_path / "run")
    assert Run(copy).calibration is not None and Run(copy).calibration.runtime == "torch"  # type: ignore[union-attr]
    assert calibrate(copy, data, runtime="torch-bf16")["runtime"] == "torch-bf16"


def test_results_say_their_doubt(slices: tuple[Path, Path]) -> None:
    data, folder = slices
    run = Run(folder)
    predictor = Trusted(run)
    case = next(c for c, p in look(data, "classify", 0).units(run.plan) if p == "test")
    result = predictor(case)
    assert predictor.calibration is not None and predictor.calibration.sets is not None
    values = result["scores"].vector()
    assert values.sum() == pytest.approx(1) and result.meta["doubt"] == pytest.approx(1 - values.max(), abs=1e-6)
    threshold = predictor.calibration.sets.threshold
    assert threshold is not None
    inside = [r.name for r in result["scores"].rows if 1 - r.value <= threshold]
    assert result.meta["set"] == inside
    assert 0 <= result.meta["unlike"] <= 1
    assert result.verdict.decision in ("accept", "flag", "person") and result.verdict.reasons


def test_an_image_unlike_the_others_goes_to_a_person(slices: tuple[Path, Path]) -> None:
    data, folder = slices
    run = Run(folder)
    case = next(c for c, p in look(data, "classify", 0).units(run.plan) if p == "test")
    image = case.read("image")
    noise = np.random.default_rng(0).normal(100, 50, image.array.shape).astype(np.float32)
    strange = Case("strange", "strange", {"image": image.like(noise)})
    verdict = Trusted(run)(strange).verdict
    assert verdict.decision == "person" and any("unlike the training images" in r for r in verdict.reasons)


def test_an_evaluation_reports_what_the_doubt_was_worth(slices: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = slices
    evaluate(folder, data, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "trust.json").read_text())
    assert set(found) >= {"calibration", "sets", "gate", "referral", "aurc"}
    assert sum(row["cases"] for row in found["gate"]["decisions"].values()) == found["cases"]
    made = found["calibration"]
    assert sum(made["brier parts"].values()) - 2 * made["brier parts"]["resolution"] == pytest.approx(
        made["brier"]["scaled"]
    )
    # of two classes one is the mirror image of the other
    (row,) = made["per_class"].values()
    assert row["ece"] == pytest.approx(made["classwise ece"])
    assert row["line"] is None or set(row["line"]) == {"slope", "intercept", "large"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert f"Mean and {escape(INTERVALS)}." in page and found["gate"]["error"] == 0.1
    assert "Every class against the rest" in page and "resolution" in page
    assert "How far the answers can be believed" in page and "Accepted and wrong" in page
    rows = (tmp_path / "out" / "cases.csv").read_text().splitlines()
    assert "doubt" in rows[0] and "decision" in rows[0]


def test_another_error_is_learned_anew(slices: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = slices
    shutil.copytree(folder, tmp_path / "run")
    found = calibrate(tmp_path / "run", data, error=0.3)
    again = Run(tmp_path / "run")
    again.check_hashes()
    assert again.calibration is not None and again.calibration.gate is not None
    assert again.calibration.gate.error == 0.3 and found["sets"]["error"] == 0.3
    assert again.ledger()[-1]["event"] == "calibrate"
    # the same error gives the same limits again
    calibrate(tmp_path / "run", data, error=learned.ERROR)
    assert Run(tmp_path / "run").calibration == Run(folder).calibration


@pytest.mark.parametrize("error", [0.0, 1.0, -0.1])
def test_an_error_outside_0_to_1_is_refused(error: float, slices: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(slices[1], tmp_path / "run")
    with pytest.raises(HilumError) as refused:
        calibrate(tmp_path / "run", slices[0], error=error)
    assert refused.value.code == "HIL-TRUST-05"


def test_a_small_run_says_what_it_could_not_learn(trained: Trained) -> None:
    for task in ("classify", "segment"):
        known = trained(task).calibration
        assert known is not None and known.gate is not None and known.gate.accept is None
        assert known.doubt == DOUBT, "limits belong to it"
        assert not known.quality and any("are needed" in note for note in known.notes)
        assert any("No result is accepted" in note for note in known.notes)


def test_a_mask_has_a_doubt(trained: Trained, data: Callable[[str], Path]) -> None:
    run = trained("segment")
    case = next(c for c, p in look(data("segment"), "segment", run.plan.split_seed).units(run.plan) if p == "test")
    result = Trusted(run)(case)
    assert 0 <= result.meta["doubt"] <= 1 and result.verdict.decision in ("flag", "person")


def test_without_validation_cases_nothing_is_learned(slices: tuple[Path, Path], tmp_path: Path) -> None:
    data, folder = slices
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "calibration.json").unlink()
    (tmp_path / "run" / "outlier.safetensors").unlink()
    run = Run(tmp_path / "run")
    run.write_manifest()
    units = same_data(run, look(data, "classify", run.plan.split_seed))
    assert units is not None
    assert learned.write(run, [(c, p) for c, p in units if p != "val"]) is None
    assert not run.has("calibration.json")
    result = Trusted(run)(units[0][0])
    assert result.verdict.decision == "person" and "doubt" not in result.meta


@pytest.mark.parametrize("task", ["classify", "generate"])
def test_a_run_of_which_nothing_can_be_learned_is_refused_and_stays_as_it_is(
    task: str, trained: Trained, data: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise HilumError("HIL-N01", "The file is cut", "Copy it again")

    # the run is shared, and trained before anything fails
    run = trained(task)
    before = run.hashes(), run.ledger()
    # no case gives a result; a generator is not even asked
    monkeypatch.setattr(learned, "_look", fail)
    with pytest.raises(HilumError, match="HIL-TRUST-21"):
        calibrate(run.path, data(task))
    assert (run.hashes(), run.ledger()) == before


def test_any_error_leaves_out_the_case_that_it_meets(monkeypatch: pytest.MonkeyPatch) -> None:
    fault: Exception = MemoryError("can't allocate")

    def look(predictor: Any, case: Case, seen: learned.Seen, answers: bool) -> None:
        if case.id == "b":
            raise fault
        seen.groups.append(case.id)

    monkeypatch.setattr(learned, "_look", look)
    cases, nobody = [Case(name, name, {}) for name in "abc"], cast("Any", None)
    assert learned._seen(nobody, cases, True, quiet).groups == ["a", "c"]
    # a disk that is full costs all that come
    fault = OSError(errno.ENOSPC, "no space left")
    with pytest.raises(OSError, match="no space left"):
        learned._seen(nobody, cases, True, quiet)


def test_m05_a_calibration_for_other_classes_is_refused(slices: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(slices[1], tmp_path / "run")
    path = tmp_path / "run" / "calibration.json"
    content = json.loads(path.read_text())
    content["scaling"] = {"method": "vector", "scale": [1.0] * 7, "bias": [0.0] * 7}
    path.write_text(json.dumps(content))
    Run(tmp_path / "run").write_manifest()
    with pytest.raises(HilumError) as refused:
        Trusted(Run(tmp_path / "run"))
    assert refused.value.code == "HIL-M05"


def test_the_gate_is_learned_of_the_scaled_answers_that_are_delivered() -> None:
    """Every case of the second class is called the first one, but less surely so: a bias for each class mends that."""
    rng, truth = np.random.default_rng(0), np.arange(120) % 2
    second = np.where(truth, rng.uniform(0.38, 0.46, 120), rng.uniform(0.05, 0.15, 120))
    made = _of_two(second, truth, 0.1)
    assert made.scaling.method == "vector" and made.gate is not None and made.gate.rate == 1
    assert any(n.startswith("Promise") and "; and the scaling of probabilities, fitted on" in n for n in made.notes)


def test_what_lacks_for_a_gate_is_said() -> None:
    doubts, notes = np.array([0.1, 0.2]), list[str]()
    assert learned._gate("register", doubts, [None, None], ["a", "b"], 0.1, 0.7, notes) is None
    assert learned._gate("reconstruct", doubts + np.nan, [(0.1, False)] * 2, ["a", "b"], 0.1, 30, notes) is None
    assert notes == [
        "No truth says which results are wrong: a person judges every one.",
        "How doubtful a result is, is not measured: a person judges every one.",
    ]


def _of_two(second: Any, truth: Any, error: float) -> Calibration:
    """What is learned of cases of two classes, one a patient. second: (n,) probability of the second class."""
    names = [str(n) for n in range(len(truth))]
    rows = list(np.stack([1 - second, second], axis=1))
    judged = [Judged(n, n, {}, (row, int(t))) for n, row, t in zip(names, rows, truth, strict=True)]
    val = learned.Seen(answers=rows, judged=judged, groups=names)
    predictor: Any = SimpleNamespace(plan=SimpleNamespace(task="classify"), task=SimpleNamespace(metrics=["accuracy"]))
    return learned._fitted(predictor, learned.Seen(), val, error, None)[0]


@pytest.mark.parametrize("error", [0.05, 0.1, 0.3])
def test_of_answers_that_are_all_right_the_gate_accepts_all_that_it_says(error: float) -> None:
    """A prediction set was empty where doubt was above its threshold: of 30 % errors 29 % went to a person."""
    truth = np.arange(100) % 2
    doubts = np.random.default_rng(0).uniform(0.01, 0.1, 100)
    second = np.where(truth, 1 - doubts, doubts)
    made = _of_two(second, truth, error)
    assert made.gate is not None and made.sets is not None and made.sets.threshold is not None
    assert made.gate.accept is not None and made.gate.rate == 1
    scaled = applied(made.scaling, np.stack([1 - second, second], axis=1))
    sets = conformal.sets(scaled, made.sets.threshold)
    said = [
        decide(Look(1 - p.max(), tuple(np.array(["a", "b"])[held])), made.gate).decision
        for p, held in zip(scaled, sets, strict=True)
    ]
    # scaled by all, a few lie a little above a limit that was learned out of fold
    assert said.count("accept") >= 95 and said.count("person") <= 5


def test_it_is_learned_by_another_runtime_alike(
    slices: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a card, or by processors that are taken for one; training images are looked at by it too."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(card, "KIND", "cpu")
        monkeypatch.setattr(card, "there", lambda: True)
    data, folder = slices
    own, asked = tmp_path / "run", list[str]()
    shutil.copytree(folder, own)
    chosen = _choose.chosen

    def seen(name: str, net: Any, window: Any, *_: Any) -> Any:
        asked.append(type(net).__name__)
        return chosen("torch-cuda", net, window)

    monkeypatch.setattr(_choose, "chosen", seen)
    found = calibrate(own, data, runtime="auto")
    wanted = Run(folder).calibration
    assert wanted is not None and wanted.sets is not None and asked == ["Net", "Features"]
    assert found["sets"]["threshold"] == pytest.approx(wanted.sets.threshold, abs=1e-3)
    assert found["cases"] == wanted.cases and Run(own).ledger()[-1]["runtime"] == "auto"


def test_a_runtime_that_fails_ends_it(
    slices: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no fault of the cases, so they are not left out; what was learned before stays."""
    data, folder = slices
    own = tmp_path / "run"
    shutil.copytree(folder, own)

    def fails(*_: object) -> None:
        raise HilumError("HIL-INFER-22", "The memory of the CUDA device ran out", "Use --runtime torch")

    monkeypatch.setattr(learned.Several, "opinion", fails)
    with pytest.raises(HilumError) as error:
        calibrate(own, data)
    assert error.value.code == "HIL-INFER-22" and Run(own).calibration == Run(folder).calibration
    with pytest.raises(HilumError) as error:
        calibrate(own, data, runtime="quick")
    assert error.value.code == "HIL-INFER-02"


def test_cases_whose_scores_have_no_room_are_left_out(
    trained: Trained, ready: Callable[[str], Prepared], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They were merged whatever `hilum train --memory` allowed."""
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    shutil.copytree(trained("segment").path, tmp_path / "run")
    run, before = Run(tmp_path / "run"), trained("segment").calibration
    units = ready("segment").units(run.plan)
    assert before is not None
    made = learned.write(run, units, room=1 << 40)
    assert made is not None and made.cases == before.cases
    assert learned.write(run, units, room=resident.now()) is None
    assert "is left out of the calibration: HIL-INFER-01" in caplog.text
    # what was learned before stays
    assert run.calibration == made


@pytest.mark.parametrize(("accelerator", "memory"), [("cpu", 3 << 30), ("cpu", None), ("cuda", None)])
def test_training_calibrates_in_the_memory_that_it_may_use(
    accelerator: str, memory: int | None, slices: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, own, rooms = slices[0], tmp_path / "run", list[int | None]()
    shutil.copytree(slices[1], own)
    monkeypatch.setattr(verb._device, "on_cuda", lambda name: name == "cuda")
    monkeypatch.setattr(verb, "cap", lambda: 7 << 30)
    monkeypatch.setattr(verb.learned, "write", lambda *_, room, **more: rooms.append(room))
    ready = look(data, "classify", 0)
    plan = fitted(Run(own).plan, ready, memory)
    verb._finished(own, plan, ready.units(plan), False, {"accelerator": accelerator, "devices": 1}, quiet)
    # what a process holds for a card is not predicted
    assert rooms == [None if accelerator == "cuda" else memory or 7 << 30]


@pytest.mark.parametrize(("accelerator", "runtime"), [("cuda", "auto"), ("cpu", "torch")])
def test_what_trained_on_a_card_is_learned_of_by_it(
    accelerator: str, runtime: str, slices: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, own, asked = slices[0], tmp_path / "run", list[str]()
    shutil.copytree(slices[1], own)
    monkeypatch.setattr(verb._device, "on_cuda", lambda name: name == "cuda")
    monkeypatch.setattr(verb.learned, "write", lambda *_, runtime, **more: asked.append(runtime))
    run = Run(own)
    units = look(data, "classify", 0).units(run.plan)
    verb._finished(own, run.plan, units, False, {"accelerator": accelerator, "devices": 1}, quiet)
    assert asked == [runtime]
