"""Where a coarse model says to look is found what is found everywhere; all is looked at where that is too little."""

import json
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer import coarse, windows
from hilum.infer._region import BLOCK, Region, around, aside, too_little
from hilum.infer.predictor import Predictor
from hilum.io import nifti
from hilum.prepare import grid
from hilum.trust.system import trusted
from hilum.verbs.predict import predict

Trained = Callable[[str], Run]


class Bright(nn.Module):
    """What is brighter than its surroundings, over 3 x 3 x 3 voxels; counts the windows that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.seen = nn.AvgPool3d(3, 1, 1), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        score = self.mean(x[:, :1]) - 1
        return torch.cat([-score, score], dim=1)


def scene(run: Run, *spots: tuple[int, int, int], flip: bool = False) -> Case:
    """An image of many windows, dark and noisy but for some spots of 6 voxels a side."""
    shape = [4 * n for n in run.plan.patch]
    values = np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
    for spot in spots:
        values[tuple(slice(s, s + 6) for s in spot)] += 10
    steps = list(run.plan.spacing or [1.0] * 3)
    affine = np.diag([*steps, 1.0])
    if flip:
        # stored from left to right and with its axes in another order
        affine = np.diag([-steps[0], steps[1], steps[2], 1.0])[:, [0, 2, 1, 3]]
        values = np.ascontiguousarray(values[::-1].transpose(0, 2, 1))
    return Case("case", "", {"image": Image(values[None], affine)})


def opened(run: Run, hint: Case | None) -> tuple[Predictor, Bright]:
    """A predictor that looks around the bright voxels of `hint`; around nothing where it is dark, all without one."""
    predictor, net = Predictor(run), Bright()
    predictor.net = predictor._own = net
    if hint is not None:

        def says(case: Case, names: Collection[str]) -> Region | None:
            image = hint.read("image")
            return around(grid.ras_view(image.array > 5, image)[0], run.plan.spacing or [1.0] * 3, 8.0)

        predictor.coarse = says
    return predictor, net


@pytest.mark.parametrize("flip", [False, True])
def test_around_a_hint_is_found_what_is_found_everywhere(flip: bool, trained: Trained) -> None:
    run = trained("segment")
    case = scene(run, (20, 70, 100), flip=flip)
    (whole, all_), (fine, few) = opened(run, None), opened(run, case)
    wanted, found = whole.told(case), fine.told(case)
    mask = wanted[0]["mask"].array
    assert 0 < (mask > 0).sum() < mask.size / 50
    np.testing.assert_array_equal(found[0]["mask"].array, mask)
    assert 0 < few.seen < all_.seen / 3
    told = found[1]["coarse"]
    assert told["windows"] < told["of"] / 3 and "whole" not in told and "coarse" not in wanted[1]
    assert "predicted" not in found[1]["bytes"] and found[1]["seconds"]["coarse"] >= 0


@pytest.mark.parametrize(
    ("spots", "hints", "why"),
    [
        ([(20, 70, 100)], [], "the coarse model found nothing"),
        ([(20, 70, 100)], [(100, 20, 20)], "nothing was found there"),
        (
            [(20, 70, 100), (20, 76, 100), (20, 82, 100), (20, 88, 100)],
            [(20, 64, 100)],
            "what was found reaches its end",
        ),
    ],
)
def test_all_is_looked_at_where_a_hint_is_too_little(
    spots: list[Any], hints: list[Any], why: str, trained: Trained
) -> None:
    run = trained("segment")
    case = scene(run, *spots)
    wanted = opened(run, None)[0](case)["mask"].array
    found, cost = opened(run, scene(run, *hints))[0].told(case)
    np.testing.assert_array_equal(found["mask"].array, wanted)
    assert cost["coarse"]["whole"] == why


def test_what_lies_apart_from_every_hint_is_missed(trained: Trained) -> None:
    """As the how-to says."""
    run = trained("segment")
    both, one = scene(run, (20, 70, 100), (100, 20, 20)), scene(run, (20, 70, 100))
    found = opened(run, one)[0](both)["mask"].array
    np.testing.assert_array_equal(found, opened(run, None)[0](one)["mask"].array)


def test_a_region_holds_all_within_the_margin() -> None:
    mask = np.zeros((40, 50, 30), dtype=bool)
    mask[20, 25, 15] = True
    region = around(mask, (1.0, 2.0, 4.0), 10.0)
    assert region is not None
    where = region.on(mask.shape)
    near = [
        np.abs(np.arange(n) - at) * step <= 10 for n, at, step in zip(mask.shape, (20, 25, 15), (1, 2, 4), strict=True)
    ]
    assert where[np.ix_(*near)].all() and where.sum() < 27 * BLOCK**3 * 12
    # on a grid of half as many voxels it lies at the same place
    half = region.on([20, 25, 15])
    assert (half == where[1::2, 1::2, 1::2]).mean() > 0.95
    assert around(np.zeros_like(mask), (1.0, 1.0, 1.0)) is None
    assert too_little(mask * 1, where) == "" and too_little(mask * 0, where) == "nothing was found there"
    # the end of the image is none of the region
    assert too_little(np.ones((4, 4)), np.ones((4, 4), dtype=bool)) == ""


@pytest.mark.parametrize("shape", [(40, 20), (10, 50)])
def test_windows_aside_hold_nothing_of_the_region(shape: tuple[int, int]) -> None:
    tiles, rng = windows.tiling(shape, (16, 16), 0.5), np.random.default_rng(0)
    where = np.zeros(shape, dtype=bool)
    where[rng.integers(shape[0]), rng.integers(shape[1])] = True
    left, padded = aside(where, tiles), np.zeros(tiles.padded, dtype=bool)
    padded[tuple(slice(b, b + n) for b, n in zip(tiles.before, shape, strict=True))] = where
    for index in np.ndindex(*left.shape):
        place = tuple(slice(s[i], s[i] + 16) for s, i in zip(tiles.starts, index, strict=True))
        assert left[index] == (not padded[place].any())
    assert not left.all()


def test_only_classes_of_the_same_names_count(trained: Trained) -> None:
    run = trained("segment")
    guide = coarse.Coarse(run)
    names = {c.value: c.name for c in run.plan.classes}
    case = scene(run, (20, 70, 100))
    image = case.read("image")
    guide._image, guide._mask = image, np.zeros(image.shape, dtype=np.uint8)
    guide._mask[2, 2, 2], guide._mask[-2, -2, -2] = next(iter(names)), max(names) + 1
    one, every = guide(case, set(names.values())), guide(case, {"something else"})
    assert one is not None and every is not None
    assert one.blocks[0, 0, 0] and not one.blocks[-1, -1, -1] and every.blocks[-1, -1, -1]


def test_two_runs_predict_as_one(trained: Trained, tmp_path: Path) -> None:
    run = trained("segment")
    case = scene(run, (20, 70, 100))
    path = tmp_path / "case.nii.gz"
    nifti.write(path, case.read("image"))
    record = predict(run.path, [path], tmp_path / "found", coarse=run.path)
    (row,) = record["done"].values()
    assert row["cost"]["coarse"] and all((tmp_path / "found" / name).is_file() for name in row["files"])
    pytest.importorskip("distributed")
    shared = predict(run.path, [path], tmp_path / "shared", coarse=run.path, runtime="torch", cluster="local:1")
    assert shared["done"]["case"]["cost"]["coarse"] == row["cost"]["coarse"]
    # the same call goes on, one without it is another
    assert predict(run.path, [path], tmp_path / "found", coarse=run.path)["done"] == record["done"]
    with pytest.raises(HilumError) as error:
        predict(run.path, [path], tmp_path / "found")
    assert error.value.code.startswith("HIL-")
    json.dumps(record)


def test_what_does_not_go_together_is_refused(trained: Trained, tmp_path: Path, hilum: Any) -> None:
    run, other = trained("segment"), trained("classify")
    for one, guide in ((run, other), (other, run)):
        with pytest.raises(HilumError) as error:
            predict(one.path, [tmp_path], tmp_path / "found", coarse=guide.path)
        assert error.value.code == "HIL-INFER-23" and "classify" in error.value.seen
    with pytest.raises(HilumError) as error:
        predict(run.path, [tmp_path], tmp_path / "found", coarse=run.path, wide=True)
    assert error.value.code in ("HIL-INFER-23", "HIL-TRUST-22")
    code, _, words = hilum(
        "predict", run.path, tmp_path, "--out", tmp_path / "found", "--coarse", run.path, "--memory", "2GB"
    )
    assert code == 2 and "HIL-INFER-19" in words
    guided = trusted(run)
    guided.members = object()  # type: ignore[assignment]
    with pytest.raises(HilumError) as error:
        guided.guided(coarse.Coarse(run))
    assert error.value.code == "HIL-INFER-23"
