"""What the benchmark of prediction rests on: padded heads keep labels, memory and agreement are measured right."""

import argparse
import importlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer.predictor import Predictor

ROOT = Path(__file__).parents[2] / "benchmarks"
MINE = (
    "on_card",
    "figures",
    "ready",
    "weights",
    "environments",
    "agreement",
    "handed",
    "watched",
    "scenes",
    "pages",
    "drawn",
    "floor",
    "machine",
    "tables",
    "rows",
    "volumes",
)


@pytest.fixture(scope="module")
def script() -> Iterator[Callable[[str], Any]]:
    """Imports a script of benchmarks/predict by name; afterwards none of them is left among the modules."""
    before = list(sys.path)
    sys.path[:0] = [str(ROOT / "predict"), str(ROOT / "training")]
    yield importlib.import_module
    sys.path[:] = before
    for name in MINE:
        sys.modules.pop(name, None)


def labels(run: Path) -> Any:
    """What a run finds in a random volume."""
    values = np.random.default_rng(0).standard_normal((1, 32, 32, 32)).astype(np.float32)
    return Predictor(Run(run))(Case("one", "", {"image": Image(values, np.eye(4))}))["mask"].array


def test_a_padded_head_gives_the_same_labels(
    trained: Callable[[str], Run], script: Callable[[str], Any], tmp_path: Path
) -> None:
    source, handed = trained("segment"), script("handed")
    plain = handed.changed(source.path, tmp_path / "plain")
    padded = handed.changed(source.path, tmp_path / "padded", classes=20)
    assert len(Run(padded).plan.classes) == 20
    assert len({c.value for c in Run(padded).plan.classes}) == 20
    assert len(Run(padded).weights("net")["head.bias"]) == 21
    assert not Run(padded).has("calibration.json")
    np.testing.assert_array_equal(labels(padded), labels(plain))


def test_a_head_is_cut_to_fewer_classes(
    trained: Callable[[str], Run], script: Callable[[str], Any], tmp_path: Path
) -> None:
    source = trained("segment")
    cut = script("handed").changed(source.path, tmp_path / "cut", classes=1, spacing=2.0)
    assert [c.value for c in Run(cut).plan.classes] == [source.plan.classes[0].value]
    assert Run(cut).plan.spacing == [2.0, 2.0, 2.0]
    assert set(np.unique(labels(cut))) <= {0, source.plan.classes[0].value}


@pytest.mark.filterwarnings("ignore")
def test_what_a_peer_is_given(trained: Callable[[str], Run], script: Callable[[str], Any], tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    handed = script("handed")
    run = tmp_path / "run"
    shutil.copytree(trained("segment").path, run)
    model = handed.handed(run, tmp_path / "model")
    pair = torch.load(model / "golden.pt", weights_only=True)
    with torch.inference_mode():
        traced = torch.jit.load(str(model / "net.ts"))(pair["in"])
    torch.testing.assert_close(traced[:, : pair["out"].shape[1]], pair["out"])
    assert (model / "net.onnx").stat().st_size > 1000


def test_the_peak_of_a_process_and_its_child(script: Callable[[str], Any], tmp_path: Path) -> None:
    watched = script("watched")
    child = "import time; held = bytearray(b'x') * (120 << 20); time.sleep(1)"
    held = "held = bytearray(b'x') * (80 << 20)"
    words = f"import subprocess, sys\n{held}\nsubprocess.run([sys.executable, '-c', {child!r}])"
    found = watched.run([sys.executable, "-c", words], tmp_path / "log", 1 << 30, 60)
    assert 200 << 20 < found["peak"] < 260 << 20, found
    assert 0.9 < found["seconds"] < 30
    assert "stopped" not in found and "failed" not in found


def test_waiting_for_a_processor_is_no_reason_to_look_away(
    script: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine samples were seconds apart, and a peak between them went unseen."""
    watched = script("watched")

    def slowly(leader: int) -> list[int]:
        time.sleep(0.2)
        return []

    monkeypatch.setattr(watched, "members", slowly)
    assert watched.Seen().look(1) < 1


@pytest.mark.parametrize(
    ("words", "cap", "seconds", "wanted"),
    [
        ("held = bytearray(1 << 30)", 300 << 20, 60, {"stopped": "out of memory"}),
        ("import time; time.sleep(60)", 1 << 30, 0.3, {"stopped": "over 0 s"}),
        ("import sys; sys.exit('nothing here')", 1 << 30, 60, {"failed": "nothing here"}),
    ],
)
def test_how_a_process_ended(
    words: str, cap: int, seconds: float, wanted: dict[str, str], script: Callable[[str], Any], tmp_path: Path
) -> None:
    found = script("watched").run([sys.executable, "-c", words], tmp_path / "log", cap, seconds)
    assert {name: found.get(name) for name in ("stopped", "failed") if name in found} == wanted


def test_agreement_by_hand(script: Callable[[str], Any]) -> None:
    agreement = script("agreement")
    first, second = np.array([[[0, 1, 1, 2]]]), np.array([[[0, 1, 2, 2]]])
    table = agreement.counts(first, second, 3)
    assert agreement.equal(table) == 0.75
    assert agreement.dice(table) == pytest.approx({1: 2 / 3, 2: 2 / 3})
    wide = np.random.default_rng(0).integers(0, 3, (3, 4, 100))
    assert agreement.equal(agreement.counts(wide, wide, 3)) == 1.0


def test_peers_channels_are_compared_as_stored_values(script: Callable[[str], Any], tmp_path: Path) -> None:
    import nibabel

    channels, stored = np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8)
    channels[:2], stored[:2] = 1, 7
    for name, array in (("mine", channels), ("other", stored)):
        nibabel.save(nibabel.Nifti1Image(array, np.eye(4)), tmp_path / f"{name}.nii.gz")
    mine, other = [tmp_path / "mine.nii.gz"], [tmp_path / "other.nii.gz"]
    found = script("agreement").compared(mine, other, np.array([0, 7]), other)
    assert found == {"equal": 1.0, "least": 1.0, "dice": 1.0, "truth_dice_mine": 1.0, "truth_dice_reference": 1.0}


def test_the_best_of_each_side_computes_in_float32(script: Callable[[str], Any]) -> None:
    """Eight bits are the fastest even where many voxels are called otherwise."""
    rows = {"eight": (1.0, "openvino-int8"), "half": (2.0, "torch-bf16"), "full": (3.0, "openvino"), "auto": (4.0, "")}
    systems = {name: {"side": "hilum", "seconds": s, "runtime": runtime} for name, (s, runtime) in rows.items()}
    systems["broken"] = {"side": "hilum", "seconds": 0.5, "runtime": "torch", "absent": "it is not installed"}
    systems["peer"] = {"side": "monai", "seconds": 9.0, "runtime": "onnx"}
    found = script("pages").bests({"systems": systems})
    assert {side: name for side, (name, _) in found.items()} == {"hilum": "full", "monai": "peer"}


def test_time_that_was_foretold_stands_beside_what_was_spent(script: Callable[[str], Any]) -> None:
    pages = script("pages")
    told = {"predicted_seconds": {"network": 6.0, "write": 1.0}, "seconds": {"read": 9.0, "network": 4.0, "write": 1.0}}
    assert pages.foretold(told) == {"predicted s": "7.0", "predicted / spent": "1.40"}
    assert pages.foretold({"seconds": {"read": 9.0}}) == pages.foretold({}) == {}
    busy = {"seconds": 1.0, "machine": {"others": 0, "load_start": 0, "load_most": 0}, "told": told}
    system = {"side": "hilum", "row": "iii", "runtime": "", "seconds": 1.0, "peak": 2**20, "runs": [busy]}
    assert pages.line("a", system, {"unit": None, "images": 1})["predicted / spent"] == "1.40"
    # of several images only that of the first is kept
    assert "predicted / spent" not in pages.line("a", system, {"unit": None, "images": 2})


def test_a_round_that_ended_early_is_told_and_counts_in_no_median(script: Callable[[str], Any]) -> None:
    """Ended after 6 s for want of memory it halved the seconds of the round that was whole."""
    system = script("scenes").System("MONAI", "monai", "i", "torch")
    runs = [{"seconds": 14.0, "peak": 5}, {"seconds": 6.0, "peak": 9, "stopped": "out of memory"}]
    found = script("figures").row_of(system, runs)
    assert (found["seconds"], found["peak"], found["stopped"]) == (14.0, 9, "out of memory")
    assert script("figures").row_of(system, runs[1:])["seconds"] == 6.0
    assert "stopped" not in script("figures").row_of(system, runs[:1])


def test_a_prediction_that_lacks_an_image_is_no_result(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others were divided by the seconds of few, and its labels were compared with nothing, without a word."""
    figures, system = script("figures"), script("scenes").System("hilum", "hilum", "i")
    cost = {"seconds": {"network": 1.0}, "bytes": {"measured": 1}}
    (tmp_path / "images.json").write_text(json.dumps({"images": ["a.nii.gz", "b.nii.gz"]}))
    (tmp_path / "unit" / "out").mkdir(parents=True)
    monkeypatch.setattr(figures, "ordered", lambda *_: [])
    monkeypatch.setattr(figures, "run_of", lambda *_: tmp_path)
    monkeypatch.setattr(figures.watched, "run", lambda *_: {"seconds": 2.0, "peak": 1})
    for done, failed, lacks in (("ab", [], False), ("a", [{"case": "b", "why": "it is cut off"}], True)):
        record = {"done": {case: {"cost": cost} for case in done}, "failed": failed}
        (tmp_path / "unit" / "out" / "predictions.json").write_text(json.dumps(record))
        asked = argparse.Namespace(cap=1.0, seconds=1.0)
        found = figures.predicted(system, tmp_path, tmp_path / "unit", asked)
        assert ("failed" in found) == lacks and (not lacks or "1 of 2 images" in found["failed"])


def test_labels_in_bfloat16_are_judged_by_themselves(script: Callable[[str], Any]) -> None:
    shares = {"auto": ("", 0.9999), "half": ("openvino-bf16", 0.997), "eight": ("openvino-int8", 0.95)}
    systems = {
        name: {"side": "hilum", "runtime": runtime, "agreement": {"equal": share}}
        for name, (runtime, share) in shares.items()
    }
    said = " ".join(script("pages").alike({"systems": systems}))
    assert "Labels: at least 99.990 % equal (auto; target 99.9: met)." in said
    assert "Labels in bfloat16: at least 99.700 % equal (half; target 99.9: not met)." in said
    assert "Labels in eight bits: at least 95.000 % equal (eight; target 99.5: not met)." in said


def test_scenes_have_files_of_their_own(script: Callable[[str], Any]) -> None:
    scenes = script("scenes")
    every = [*scenes.SCENES, *scenes.SMOKE]
    assert len({s.file for s in every}) == len(every)
    for scene in every:
        files = [system.file for system in scene.systems]
        assert len(set(files)) == len(files)
        assert not any(c in name for name in (scene.file, *files) for c in " /,")


def test_the_body_is_mirrored_along_and_has_air_around(script: Callable[[str], Any]) -> None:
    volumes = script("volumes")
    image = np.arange(4 * 3 * 5, dtype=np.float32).reshape(4, 3, 5)
    found = volumes._extended(image, [6, 3, 8])
    assert found.shape == (6, 3, 8)
    np.testing.assert_array_equal(found[1:5, :, 3:], image)
    np.testing.assert_array_equal(found[1:5, :, 2], image[:, :, 0])
    assert (found[[0, 5]] == volumes.AIR).all()


def test_the_page_of_the_card_stands_with_what_was_and_was_not_run(
    script: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = script("on_card")
    monkeypatch.setattr(card, "RESULTS", tmp_path)
    run = {"seconds": 10.0, "peak": 2**30, "card": 2**20, "others": 0.0, "told": {"runtime": "torch-cuda"}}
    cell: dict[str, Any] = {"scene": card.WANTED[0], "images": 1, "classes": 2, "trained": "a network"}
    cell |= {
        "hardware": {"processors": "p", "card": "c"},
        "versions": {"torch": "2"},
        "commit": "x",
        "date": "2026-01-01",
    }
    cell |= {"peer": {"network": "DynUNet", "difference": 0.0}, "systems": {}}
    runs = {system.name: [run] for system in card.SYSTEMS}
    runs["MONAI"] = [run | {"seconds": 20.0, "told": {"network": 1.0, "merge": 2.0}}]
    runs["MONAI torch-cuda"], runs["hilum torch-cuda"] = (
        [],
        [{"seconds": 1.0, "peak": 1, "failed": "no", "others": 0.0}],
    )
    card.medians(cell, runs)
    scene = next(s for s in card.SCENES if s.name == card.WANTED[0])
    card.write_json(tmp_path / "predict_card_cells" / f"{scene.file}.json", cell)
    card.page()
    page = (tmp_path / "predict_card.md").read_text()
    assert "hilum beside MONAI: 2.00 times as fast, 1.00 of the memory of processes, 1.00 of the card's" in page
    assert "Not run: MONAI torch-cuda." in page and "| hilum torch-cuda | - | failed |" in page
    assert "Not measured yet: body CT, 1.5 mm" in page
    assert "differ for that" not in page, "it is not resampling alone"


def test_a_control_that_is_not_equal_is_a_missed_target(script: Callable[[str], Any], tmp_path: Path) -> None:
    """The page said that labels agree where nothing is resampled, above 93.8 %."""
    scene = next(s for s in script("scenes").SCENES if s.group == "control")
    name = f"predict_cells/{scene.file}.json"
    cell = json.loads((ROOT / "results" / name).read_text())
    cell["systems"]["MONAI torch"]["agreement"]["equal"] = 0.94
    cell["systems"]["nnU-Net, sequential"]["agreement"]["equal"] = 0.9995
    (tmp_path / name).parent.mkdir()

    def page() -> str:
        (tmp_path / name).write_text(json.dumps(cell))
        script("pages").write(tmp_path, False)
        return (tmp_path / "predict.md").read_text()

    made = page()
    assert "they agree" not in made
    assert "target 99.9: MONAI torch 94.000 % (not met); nnU-Net, sequential 99.950 % (met)." in made
    assert "within the target these weights are all that differs" in made
    cell["by their weights"]["MONAI"] = 0.95
    assert "more than these weights differs" in page()


def test_whether_memory_and_time_were_foretold_is_a_verdict(script: Callable[[str], Any]) -> None:
    """At 3 mm time was foretold half as long again as it was, and no target said so."""
    told: dict[str, Any] = {"predicted_seconds": {"network": 6.0}, "seconds": {"network": 4.0}}
    told["bytes"] = {"predicted": 110}
    system = {"side": "hilum", "row": "i", "runtime": "", "seconds": 1.0, "peak": 100, "runs": [{"told": told}]}
    cell: dict[str, Any] = {"images": 1, "systems": {"hilum": system}}
    verdicts = script("pages").verdicts
    said = "Predicted / measured, hilum, target 0.8 to 1.2: memory 1.10 (met), time 1.50 (not met)."
    assert verdicts(cell) == [said, "", "hilum: no peer gave a result to compare with."]
    told["seconds"]["network"], told["bytes"]["predicted"] = 7.4, 79
    assert "memory 0.79 (not met), time 0.81 (met)." in verdicts(cell)[0]
    # of several images only the first one's time is kept
    assert "time" not in verdicts(cell | {"images": 2})[0]
    system["runs"] = [{"told": None}]
    assert verdicts(cell) == ["hilum: no peer gave a result to compare with."]
