"""Findings become files that say the same as the finding."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Field, Mask, Picture, Result, Score, Scores
from hilum.core.image import Case, Image
from hilum.infer.export import export
from hilum.io import open as open_path

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
VOLUME = Case("a/b", "", {"image": Image(np.zeros((1, 3, 4, 5), np.float32), AFFINE)})


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_mask_of_a_volume_and_of_a_picture(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 3, (3, 4, 5)).astype(np.uint8)
    assert export(Result({"mask": Mask(values, {1: "x", 2: "y"}, AFFINE)}), VOLUME, tmp_path) == ["a_b.nii.gz"]
    back = open_path(tmp_path / "a_b.nii.gz").read_labels()
    np.testing.assert_array_equal(back.array[0], values)
    np.testing.assert_allclose(back.affine, AFFINE)
    picture = Case("p", "", {"image": Image(np.zeros((1, 4, 5)))})
    assert export(Result({"mask": Mask(values[0], {1: "x", 2: "y"})}), picture, tmp_path) == ["p.png"]
    np.testing.assert_array_equal(open_path(tmp_path / "p.png").read_labels().array[0], values[0])


def test_dicom_needs_a_dicom_image(tmp_path: Path) -> None:
    mask = Mask(np.zeros((3, 4, 5), np.uint8), {1: "x"}, AFFINE)
    with pytest.raises(HilumError) as error:
        export(Result({"mask": mask}), VOLUME, tmp_path, "dicom")
    assert error.value.code == "HIL-INFER-05" and not any(tmp_path.iterdir())


def test_scores_and_boxes_are_tables(tmp_path: Path) -> None:
    export(Result({"scores": Scores((Score("ill", 0.25), Score("well", 0.75)))}), VOLUME, tmp_path)
    assert [(r["name"], float(r["value"])) for r in rows(tmp_path / "a_b.csv")] == [("ill", 0.25), ("well", 0.75)]
    boxes = Boxes(np.array([[1.0, 2, 3, 4]]), np.array([0.5]), np.array([7]), {7: "lesion"})
    export(Result({"boxes": boxes}), Case("c", "", {}), tmp_path)
    wanted = {"class": "lesion", "score": "0.5000", "low0": "1.00", "low1": "2.00", "high0": "3.00", "high1": "4.00"}
    assert rows(tmp_path / "c.csv") == [wanted]
    none = Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), {7: "lesion"})
    export(Result({"boxes": none}), Case("d", "", {}), tmp_path)
    assert rows(tmp_path / "d.csv") == []


def test_fields_are_millimetres_along_the_world(tmp_path: Path) -> None:
    import nibabel

    array = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    export(Result({"field": Field(array, AFFINE)}), VOLUME, tmp_path)
    stored = np.asarray(nibabel.load(tmp_path / "a_b.nii.gz").dataobj)  # type: ignore[attr-defined]
    np.testing.assert_allclose(stored[..., 2], array[2] * 3, rtol=1e-6)
    export(Result({"field": Field(array[:2, 0])}), Case("p", "", {}), tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy", allow_pickle=False), array[:2, 0])


def test_several_findings_have_their_names(tmp_path: Path) -> None:
    image = Image(np.linspace(0, 1, 20, dtype=np.float32).reshape(1, 4, 5))
    files = export(Result({"picture": Picture(image), "zero_filled": Picture(image)}), Case("s", "", {}), tmp_path)
    assert files == ["s_picture.png", "s_zero_filled.png"]
    found = open_path(tmp_path / "s_picture.png").read()
    np.testing.assert_allclose(found.array / 65535, image.array, atol=1e-4)  # type: ignore[union-attr]
