"""register, from listed pairs to displacement fields in millimetres on the fixed grid."""

import sys
from typing import Any

import nibabel
import numpy as np
import pytest

from hilum.data.dataset import open_dataset
from hilum.infer.predictor import open_predictor
from hilum.tasks import _pairs

TASK, PHANTOM, CASES, OPTIONS, STEPS = "register", "pairs", 5, {"shape": (16, 16, 16), "noise": 0.01}, 150
THIS = sys.modules[__name__]
SETS = {
    "encoder": [16, 16],
    "decoder": [16, 16],
    "extra": [16],
    "options.similarity": "mse",
    "options.smooth": 0.02,
    "options.labels": 1.0,
    "learning.rate": 0.003,
}


def test_inspect_and_train(walk: Any) -> None:
    assert walk.inspected()["pairs"] == CASES
    walk.trained()
    assert walk.log()[-1]["train labels"] < walk.log()[0]["train labels"]


def test_evaluate(walk: Any) -> None:
    assert set(walk.measured()) == {"dice", "hd95_mm", "folding_percent"}
    walk.look_again()


def test_labels_overlap_better_after_than_before(walk: Any) -> None:
    predictor, data = open_predictor(walk.run), open_dataset(walk.data)
    before, after = [], []
    for fixed, moving in data.pairs:
        case = _pairs.pair(data.case(fixed), data.case(moving))
        if case.id not in walk.part("train"):
            continue
        result = predictor(case)
        after.append(predictor.task.judge(result, case).values["dice"][""])
        result.findings["field"] = _pairs.still(case.read("fixed"), case.read("moving"))
        before.append(predictor.task.judge(result, case).values["dice"][""])
    assert np.mean(after) > np.mean(before) + 0.03
    assert walk.evaluated("train")["metrics"]["dice"]["mean"] == pytest.approx(np.mean(after), abs=1e-4)


def test_compare(walk: Any) -> None:
    walk.compared("voxelmorph,voxelmorph:extra=[8]", 3, "--set", "encoder=[8,8]", "--set", "decoder=[8,8]")


def test_predict_a_pair(walk: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    fixed, moving = (walk.data / "images" / f"pair_000_{side}.nii.gz" for side in ("fixed", "moving"))
    path = walk.predicted("--fixed", fixed, "--moving", moving) / "pair_000_fixed__pair_000_moving.nii.gz"
    found, given = nibabel.load(path), nibabel.load(fixed)
    assert found.shape == (*given.shape, 3) and np.array_equal(found.affine, given.affine)
    longest = np.linalg.norm(np.asarray(found.dataobj), axis=-1).max()
    assert 0.1 < longest < 40  # millimetres
    table = tmp_path_factory.mktemp("table") / "pairs.csv"
    table.write_text(f"case,fixed,moving\nmine,{fixed},{moving}\n")
    assert (walk.predicted(table) / "mine.nii.gz").read_bytes() == path.read_bytes()


def test_predict_the_listed_pairs(walk: Any) -> None:
    assert len(walk.record(walk.predicted(walk.data))["done"]) == CASES


def test_bundle(walk: Any) -> None:
    assert walk.elsewhere(THIS, cases=3)["cases"] == 3
