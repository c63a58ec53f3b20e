"""register, from images without pairs.csv: what is learned from, calibrated on and predicted are drawn pairs."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from hilum.core.run import Run
from hilum.data.phantoms import pairs
from hilum.trust import outlier
from hilum.verbs.train import train

SETS = {"encoder": [8, 8], "decoder": [8, 8], "extra": [8]}


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    """A data set of single images, and its run of two steps."""
    data = tmp_path_factory.mktemp("singles") / "data"
    pairs.make(data, 5, shape=(16, 16, 16))
    (data / "pairs.csv").unlink()
    with pytest.MonkeyPatch.context() as patch:
        # that so few images say what is usual, so that the rows of both parts meet
        patch.setattr(outlier, "LEAST", 2)
        run = train(data, "register", data.parent / "run", steps=2, settings=SETS)
    return data, run


def test_single_images_are_learned_from_and_calibrated_in_pairs(singles: tuple[Path, Run]) -> None:
    _, run = singles
    with open(run.path / "split.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["part"] for row in rows if not row["moving"]} == {"train"}
    assert {row["part"] for row in rows if row["moving"]} == {"val", "test"}
    assert run.calibration is not None and run.calibration.cases == sum(r["part"] == "val" for r in rows)
    known = load_file(run.path / "outlier.safetensors")
    # both images of a pair are described, and what the network sees of them
    assert {"picture.means", "network.means"} <= known.keys()


def test_any_two_images_are_predicted_and_the_test_part_is_judged(
    singles: tuple[Path, Run], hilum: Callable[..., tuple[int, str, str]]
) -> None:
    data, run = singles
    fixed, moving = (data / "images" / f"pair_{n:03d}_fixed.nii.gz" for n in (0, 1))
    out = data.parent / "found"
    code, _, err = hilum("predict", run.path, "--fixed", fixed, "--moving", moving, "--out", out)
    assert code == 0, err
    record: dict[str, Any] = json.loads((out / "predictions.json").read_text(encoding="utf-8"))
    assert len(record["done"]) == 1 and not record["failed"]
    for part in ("test", "train"):
        code, _, err = hilum("evaluate", run.path, data, "--part", part, "--out", data.parent / part)
        assert code == 0, err
        assert json.loads((data.parent / part / "metrics.json").read_text(encoding="utf-8"))["missing"] == 0
