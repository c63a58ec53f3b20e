"""The fingerprint learns how images lie from the training part alone, and is the same data set with or without it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.core.image import Image
from hilum.io import nifti
from hilum.planning.fingerprint import LATER, fingerprint
from hilum.planning.planner import Prepared, look
from hilum.prepare import anatomy


def body(seed: int) -> Image:
    """Bright above and, further, in front; in one of two orientations of the array."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in (10, 12, 14)], indexing="ij")
    array = np.exp(-(i**2 + j**2 + (k - 0.6) ** 2) * 3) + 2 * np.exp(-(i**2 + (j - 0.6) ** 2 + (k + 0.2) ** 2) * 12)
    array = ((array + rng.normal(0, 0.05, array.shape)) * 1000).astype(np.int16)
    return Image(array[None, ::-1, ::-1], np.diag([-1.0, -1, 1, 1])) if seed % 2 else Image(array[None], np.eye(4))


@pytest.fixture
def seen(tmp_path: Path) -> Prepared:
    for number in range(18):
        nifti.write(tmp_path / f"{number:02d}.nii.gz", body(number))
    (tmp_path / "dataset.yaml").write_text("patients: case\n")
    return look(tmp_path, "generate", 0)


def test_how_training_images_lie_is_learned(seen: Prepared) -> None:
    profile = anatomy.parse(json.loads(json.dumps(seen.facts["anatomy"])))
    assert profile is not None and profile.cases == sum(p == "train" for p in seen.parts.values())
    assert anatomy.warning(anatomy.block(body(100)), profile) is None
    said = anatomy.warning(anatomy.block(Image(body(100).array[..., ::-1], np.eye(4))), profile)
    assert said is not None and "superior-inferior" in said


def test_nothing_of_the_test_part_is_learned(seen: Prepared) -> None:
    def changed(part: str) -> object:
        case = next(c for c, p in seen.parts.items() if p == part)
        image = body(50)
        nifti.write(seen.dataset.folder / f"{case}.nii.gz", Image(image.array[..., ::-1], image.affine))
        return fingerprint(seen.dataset, seen.parts)["anatomy"]

    assert changed("test") == seen.facts["anatomy"] and changed("val") == seen.facts["anatomy"]
    assert changed("train") != seen.facts["anatomy"]


def test_it_does_not_change_what_the_data_are(seen: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "learn", lambda blocks: None)
    without = fingerprint(seen.dataset, seen.parts)
    assert without["anatomy"] is None and without["hash"] == seen.facts["hash"]


def test_a_stated_modality_counts_and_an_unstated_one_leaves_the_hash(seen: Prepared) -> None:
    stated = replace(seen.dataset, settings=seen.dataset.settings.model_copy(update={"modality": "MR"}))
    facts = fingerprint(stated, seen.parts)
    assert seen.facts["modality"] == "" and facts["modality"] == "MR" and facts["hash"] != seen.facts["hash"]
    kept = {k: v for k, v in seen.facts["settings"].items() if k != "modality"}
    assert seen.facts["settings"] == kept | {"modality": ""} and "modality" in LATER
