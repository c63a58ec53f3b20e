"""reconstruct, from k-space to images."""

import sys
from typing import Any

import nibabel
import numpy as np
import pytest

TASK, PHANTOM, CASES, OPTIONS, STEPS = "reconstruct", "kspace", 6, {"size": 32, "slices": 2}, 80
THIS = sys.modules[__name__]
SETS = {"width": 12, "learning.rate": 0.002}


def test_inspect_and_train(walk: Any) -> None:
    assert walk.inspected()["cases"] == CASES
    walk.trained()
    assert walk.log()[-1]["train mse"] < 0.7 * walk.log()[0]["train mse"]


def test_evaluate(walk: Any) -> None:
    assert set(walk.measured()) == {"psnr_db", "ssim", "nmse"}
    psnr = walk.evaluated("train")["metrics"]["psnr_db"]
    assert psnr["mean"] > psnr["per_class"]["zero-filled"]["mean"] + 0.5
    walk.look_again()


def test_compare(walk: Any) -> None:
    walk.compared("dccnn,dccnn:width=8", 3)


def test_predict(walk: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    whole = walk.predicted(walk.data / "kspace")
    assert len(walk.record(whole)["done"]) == CASES
    made, zero = (nibabel.load(whole / f"scan_000_{kind}.nii.gz") for kind in ("picture", "zero_filled"))
    assert made.shape == zero.shape == (2, 32, 32)
    assert np.asarray(made.dataobj).max() > 0
    assert any("simulated" in w for w in walk.record(whole)["done"]["scan_000"]["warnings"])
    table = tmp_path_factory.mktemp("table") / "cases.csv"
    table.write_text(f"case,kspace\nmine,{walk.data}/kspace/scan_000.h5\n")
    assert (walk.predicted(table) / "mine_picture.nii.gz").exists()


def test_bundle(walk: Any) -> None:
    assert walk.elsewhere(THIS, cases=2)["cases"] == 2
