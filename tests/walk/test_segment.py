"""segment, from NIfTI and DICOM heads to masks on their own grids."""

import sys
from typing import Any

import highdicom
import nibabel
import numpy as np
import pytest

from hilum.core.run import Run
from hilum.io import _source, dicom_seg

TASK, PHANTOM, CASES, OPTIONS, STEPS = "segment", "heads", 8, {"noise": 0.01}, 200
THIS = sys.modules[__name__]
SETS = {
    "plan.patch": [16, 16, 16],
    "plan.batch": 4,
    "plan.spacing": [2.5, 2.5, 2.5],
    "plan.augment": [],
    "features": [8, 16, 32],
    "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]],
    "kernels": [[3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "deep_supervision": False,
    "options.foreground": 1.0,
    "learning.rate": 0.01,
    "learning.precision": "float32",
}


def test_inspect_and_train(walk: Any) -> None:
    assert walk.inspected()["cases"] == CASES
    walk.trained()
    assert walk.log()[-1]["train loss"] < 0.75 * walk.log()[0]["train loss"]


def test_evaluate(walk: Any) -> None:
    assert set(walk.measured()) == {"dice", "hd95_mm", "nsd_1mm", "volume_error_ml"}
    learned = walk.evaluated("train")["metrics"]["dice"]["per_class"]
    # an untrained network, and an empty mask, stay under 0.05
    assert learned.keys() == {"ventricle", "lesion"} and learned["ventricle"]["mean"] > 0.3
    walk.look_again()


def test_compare(walk: Any) -> None:
    found = walk.compared("nnunet,nnunet:features=[4,8,8]", 3, *walk.sets)
    for row in found["sureness"]:
        # one test patient gives no interval
        assert row["nll"] > 0 and row["nll low"] is None and 0 < row["brier"] < 2 and 0 < row["ece"] < 1
    assert len(found["sureness"]) == 2 and "which voxels count" in found["sureness sentences"][0]


def test_predict_a_nifti(walk: Any) -> None:
    image = walk.data / "images" / "head_001.nii.gz"
    found, given = nibabel.load(walk.predicted(image) / "head_001.nii.gz"), nibabel.load(image)
    assert found.shape == given.shape and np.array_equal(found.affine, given.affine)
    values = np.unique(np.asarray(found.dataobj))
    assert set(values) <= {0, 1, 2} and 1 in values
    truth = np.asarray(nibabel.load(walk.data / "labels" / "head_001.nii.gz").dataobj) == 1
    seen = np.asarray(found.dataobj) == 1
    assert 2 * (truth & seen).sum() / (truth.sum() + seen.sum()) > 0.2


def test_predict_a_dicom_head(walk: Any) -> None:
    series = walk.data / "images" / "head_003"
    plain = nibabel.load(walk.predicted(series) / "head_003.nii.gz")
    path = walk.predicted(series, "--format", "dicom") / "head_003.dcm"
    image = _source.open(series).read()
    mask = dicom_seg.read(path, like=image)
    assert mask.array.shape == image.shape and np.allclose(mask.affine, image.affine, atol=1e-3)
    assert np.array_equal(mask.array, np.asarray(plain.dataobj))
    seen = highdicom.seg.segread(path)
    names = {d.SegmentLabel: d.SegmentNumber for d in seen.SegmentSequence}
    assert "ventricle" in names
    assert seen.ReferencedSeriesSequence and len(image.meta["files"]) == image.shape[2]
    assert int((seen.pixel_array == 1).sum()) == int((mask.array > 0).sum())


def test_predict_a_folder_and_a_table(walk: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = walk.predicted(walk.data / "images")
    assert len(walk.record(whole)["done"]) == CASES
    table = tmp_path_factory.mktemp("table") / "cases.csv"
    table.write_text(f"case,image\nmine,{walk.data}/images/head_001.nii.gz\n")
    listed = walk.predicted(table)
    assert (listed / "mine.nii.gz").read_bytes() == (whole / "head_001.nii.gz").read_bytes()


def test_predict_goes_on(walk: Any) -> None:
    """A stopped call is repeated: only what is missing is made."""
    import json

    out = walk.folder / "going-on"
    inputs = [walk.data / "images" / f"head_00{n}.nii.gz" for n in (0, 1)]
    walk.done("predict", walk.run, *inputs, "--out", out)
    record = walk.record(out)
    del record["done"]["head_001"]
    (out / "predictions.json").write_text(json.dumps(record))
    kept, whole = (out / "head_000.nii.gz").stat().st_mtime_ns, (out / "head_001.nii.gz").read_bytes()
    (out / "head_001.nii.gz").unlink()
    walk.done("predict", walk.run, *inputs, "--out", out)
    assert (out / "head_000.nii.gz").stat().st_mtime_ns == kept
    assert (out / "head_001.nii.gz").read_bytes() == whole and set(walk.record(out)["done"]) == {"head_000", "head_001"}


def test_bundle(walk: Any) -> None:
    names = Run(walk.bundle).names()
    assert {"plan.json", "weights/net.safetensors", "card.json", "golden.safetensors", "manifest.json"} <= set(names)
    assert walk.elsewhere(THIS, cases=2)["cases"] == 2
