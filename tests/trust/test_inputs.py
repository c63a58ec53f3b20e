"""What is given is compared with what training saw: its kind, and the quality of pairs and of raw data too."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hilum.core import catalogue
from hilum.core.calibration import Calibration, Gate
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.data.phantoms import kspace
from hilum.planning.planner import look
from hilum.trust import inputs, learned, quality
from hilum.trust.trusted import Trusted
from hilum.verbs.bundle import bundle
from hilum.verbs.calibrate import calibrate
from hilum.verbs.train import train

Trained = Callable[[str], Run]
Folder = Callable[[str], Path]


def given(folder: Path, run: Run, part: str = "test") -> Case:
    """A case of that part."""
    plan = run.plan
    return next(c for c, p in look(folder, plan.task, plan.split_seed).units(plan) if p == part)


def said(case: Case, modality: str, role: str = "image") -> Case:
    """The case with an image as DICOM brings it: it says what it is."""
    image = case.read(role)
    return replace(case, items={**case.items, role: replace(image, meta={**image.meta, "modality": modality})})


def copied(run: Run, folder: Path, modality: str) -> Run:
    """The run, as if its training images had said what they are."""
    shutil.copytree(run.path, folder)
    facts = json.loads((folder / "fingerprint.json").read_text())
    facts["cases"] = [row | {"modality": modality} for row in facts["cases"]]
    (folder / "fingerprint.json").write_text(json.dumps(facts))
    made = Run(folder)
    made.write_manifest()
    return made


def kind(predictor: Trusted, case: Case) -> list[str]:
    """Sentences about what the image says it is."""
    return [words for words in predictor(case).verdict.reasons if "says that it is" in words]


@pytest.mark.parametrize("roles", [["image"], ["fixed", "moving"]])
def test_what_is_read_in_hounsfield_units_is_taken_for_ct(roles: list[str]) -> None:
    case = Case("a", "", {role: Image(np.zeros((1, 4, 4))) for role in roles})
    facts = {"cases": [{"id": "a", "modality": ""}]}
    assert inputs.kinds([case], facts, True) == {role: ["CT"] for role in roles}
    assert inputs.kinds([case], facts, False) == {}
    assert inputs.kinds([case], {"cases": [{"id": "a", "modality": "MR"}]}, True) == {role: ["MR"] for role in roles}


def test_an_image_of_another_kind_is_not_accepted(trained: Trained, data: Folder, tmp_path: Path) -> None:
    """By a gate that accepts whatever nothing else speaks against; that of so small a run accepts nothing."""
    run = copied(trained("classify"), tmp_path / "run", "MR")
    calibrate(run.path, data("classify"))
    known = Run(run.path).calibration
    assert known is not None and known.modalities == {"image": ["MR"]}
    gate = Gate(error=0.1, measure="doubt", wrong="another class", accept=1.0, person=1.0, groups=9, rate=1.0)
    made = known.model_copy(update={"gate": gate, "sets": None, "quality": {}})
    Run(run.path).put({"calibration.json": made.model_dump_json().encode()})
    predictor, case = Trusted(Run(run.path)), given(data("classify"), run)
    assert predictor(said(case, "MR")).verdict.decision == predictor(case).verdict.decision == "accept"
    verdict = predictor(said(case, "CT")).verdict
    assert verdict.decision == "flag"
    assert verdict.reasons == ("HIL-M08: the image says that it is CT, the training images were MR",)


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_an_image_of_another_kind_is_told(task: str, trained: Trained, data: Folder, tmp_path: Path) -> None:
    run = copied(trained(task), tmp_path / "run", "MR")
    calibrate(run.path, data(task))
    bundle(run.path, tmp_path / "model.hilum")
    case = given(data(task), run)
    for predictor in (Trusted(Run(run.path)), Trusted(Run(tmp_path / "model.hilum"))):
        (words,) = kind(predictor, said(case, "CT"))
        assert words == "HIL-M08: the image says that it is CT, the training images were MR"
        for same in ("MR", "", "OT"):
            assert kind(predictor, said(case, same)) == []


def test_a_file_that_says_nothing_is_taken_for_what_dataset_yaml_says(tmp_path: Path) -> None:
    catalogue.load("hilum.data.phantoms", "slices").make(tmp_path / "data", 8, size=32)
    with open(tmp_path / "data" / "dataset.yaml", "a", encoding="utf-8") as stream:
        stream.write("modality: x-ray\n")
    run = train(tmp_path / "data", "classify", tmp_path / "run", steps=1, settings={"width": 8, "plan.batch": 2})
    assert run.calibration is not None and run.calibration.modalities == {"image": ["DX"]}
    predictor, case = Trusted(run), given(tmp_path / "data", run)
    assert len(kind(predictor, said(case, "MR"))) == 1
    # a plate takes the same picture as a flat detector
    assert kind(predictor, said(case, "CR")) == []


def test_where_an_image_of_training_says_nothing_nothing_is_compared(
    trained: Trained, data: Folder, tmp_path: Path
) -> None:
    run = trained("classify")
    assert run.calibration is not None and run.calibration.modalities == {}
    assert kind(Trusted(run), said(given(data("classify"), run), "CT")) == []
    # calibrations of an older Hilum know neither
    assert Calibration(cases=1, groups=1).modalities == Calibration(cases=1, groups=1).sides == {}


def blurred(image: Image) -> Image:
    return image.like(gaussian_filter(image.array.astype(np.float32), (0, 2, 2, 2)))


def test_both_sides_of_a_pair_are_measured(
    trained: Trained, data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "LEAST", 2)
    run = copied(trained("register"), tmp_path / "run", "MR")
    made = calibrate(run.path, data("register"))
    assert set(made["sides"]) == set(made["modalities"]) == {"fixed", "moving"} and not made["quality"]
    predictor, case = Trusted(Run(run.path)), given(data("register"), run, "train")
    assert not [words for words in predictor(case).verdict.reasons if "training images" in words]
    for side in ("fixed", "moving"):
        poor = replace(case, items={**case.items, side: blurred(case.read(side))})
        words = [w for w in predictor(poor).verdict.reasons if "training images" in w]
        assert any(f"The {side} image is blurrier" in w for w in words), words
        assert all(side in w for w in words)
        assert kind(predictor, said(case, "CT", side)) == [
            f"HIL-M08: the {side} image says that it is CT, the training images were MR"
        ]


def test_raw_data_are_measured_by_their_zero_filled_picture(
    trained: Trained, data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "LEAST", 2)
    run = copied(trained("reconstruct"), tmp_path / "run", "")
    made = calibrate(run.path, data("reconstruct"))
    assert set(made["sides"]) == {"zero_filled"}
    predictor, case = Trusted(Run(run.path)), given(data("reconstruct"), run, "train")
    assert not [words for words in predictor(case).verdict.reasons if "training images" in words]
    raw = case.read("kspace")
    rng = np.random.default_rng(0)
    noise = rng.normal(0, np.abs(raw.array).mean(), (2, *raw.array.shape))
    noisy = replace(raw, array=(raw.array + noise[0] + 1j * noise[1]).astype(np.complex64))
    reasons = predictor(replace(case, items={**case.items, "kspace": noisy})).verdict.reasons
    assert any(words.startswith("The zero-filled image") for words in reasons), reasons


def test_raw_data_are_looked_at_as_in_training_wherever_they_lie(trained: Trained) -> None:
    """With its place, other planes of the zero-filled picture would be compared with those of training."""
    raw = replace(kspace.measure(np.random.default_rng(0), 16, 2, 4, 0.01), target_affine=np.diag([5.0, 1, 1, 1]))
    predictor, case = Trusted(trained("reconstruct")), Case("a", "a", {"kspace": raw})
    result = predictor(case)
    assert result["zero_filled"].image.spacing == (5.0, 1.0, 1.0)
    _, images = inputs.shown(case, result)
    learned_of = inputs.zero_filled(predictor.task, case)
    assert quality.features(images["zero_filled"]) == quality.features(learned_of)


def test_an_image_in_several_pairs_counts_once() -> None:
    row = {"noise": 0.1}
    notes: list[str] = []
    assert learned._usual({"fixed": [row] * quality.LEAST}, notes) == {} and notes[0].startswith("1 images")
