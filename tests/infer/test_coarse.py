"""Where a coarse model says to look is found what is found everywhere; all is looked at where that is too little."""

import gc
import json
import weakref
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.core.findings import Mask, Result
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer import bundle, coarse, windows
from hilum.infer._lanes import ALONE, Pace
from hilum.infer._region import BLOCK, EDGE, MARGIN, Hint, Margin, around, aside, too_little
from hilum.infer.predictor import Predictor
from hilum.io import nifti
from hilum.prepare import grid
from hilum.trust.system import trusted
from hilum.verbs.predict import predict

Trained = Callable[[str], Run]


class Bright(nn.Module):
    """What is brighter than its surroundings, over 3 voxels a side; counts the windows that it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen += len(x)
        pool = nn.functional.avg_pool3d if x.ndim == 5 else nn.functional.avg_pool2d
        score = pool(x.mean(1, keepdim=True), 3, 1, 1) - 1
        return torch.cat([-score, score], dim=1)


class Late(Bright):
    """The same with fewer features than classes, so that its head comes after the merging."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv3d(1, 2, 1)
        self.head.weight.data[:, 0, 0, 0, 0] = torch.tensor([-1.0, 1.0])
        self.head.bias.data.zero_()  # type: ignore[union-attr]

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[:, 1:]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.features(x))
        return found


class Spots:
    """Says to look around the bright voxels of a case, whatever it is asked about."""

    def __init__(self, case: Case) -> None:
        self.case, self.cases = case, 0

    def __call__(self, case: Case, names: Collection[str], margin: Margin, progress: Progress = quiet) -> Hint:
        image = self.case.read("image")
        assert min(margin([1.0] * 3)) > MARGIN
        region = around(grid.ras_view(image.array > 5, image)[0], [1.0] * 3, [8.0 + EDGE] * 3)
        return region, "" if region is not None else "the coarse model found nothing"

    def expect(self, cases: int) -> None:
        self.cases = cases


def scene(run: Run, *spots: tuple[int, int, int], flip: bool = False, size: int = 4) -> Case:
    """An image of many windows, dark and noisy but for some spots of 6 voxels a side."""
    shape = [size * n for n in run.plan.patch]
    values = np.random.default_rng(0).normal(0, 0.1, shape).astype(np.float32)
    for spot in spots:
        values[tuple(slice(s, s + 6) for s in spot)] += 10
    steps = list(run.plan.spacing or [1.0] * 3)
    affine = np.diag([*steps, 1.0])
    if flip:
        # stored from right to left and with its axes in another order
        affine = np.diag([-steps[0], steps[1], steps[2], 1.0])[:, [0, 2, 1, 3]]
        values = np.ascontiguousarray(values[::-1].transpose(0, 2, 1))
    return Case("case", "", {"image": Image(values[None], affine)})


def opened(run: Run, hint: Case | None, kind: type[Bright] = Bright) -> tuple[Predictor, Bright]:
    """A predictor of what is bright, with overlapping windows, and what counts them."""
    predictor, net = Predictor(run), kind()
    predictor.foretells = False
    predictor.net = predictor._own = net
    predictor.task.options = predictor.task.options.model_copy(update={"overlap": 0.5})
    predictor.coarse = None if hint is None else Spots(hint)
    return predictor, net


@pytest.mark.parametrize(("flip", "kind"), [(False, Bright), (True, Bright), (False, Late)])
def test_around_a_hint_is_found_what_is_found_everywhere(flip: bool, kind: type[Bright], trained: Trained) -> None:
    run = trained("segment")
    case = scene(run, (20, 70, 100), flip=flip)
    (whole, all_), (fine, few) = opened(run, None, kind), opened(run, case, kind)
    wanted, found = whole.answer(case), fine.answer(case)
    mask = wanted.result["mask"].array
    assert 0 < (mask > 0).sum() < mask.size / 50
    np.testing.assert_array_equal(found.result["mask"].array, mask)
    # doubt is told from the same scores
    np.testing.assert_allclose(found.near.logits, wanted.near.logits, atol=1e-5)
    assert 0 < few.seen < all_.seen / 3
    assert any(words.startswith("HIL-INFER-24") for words in found.result.warnings) and not wanted.result.warnings


def test_the_record_says_how_many_windows_were_looked_at(trained: Trained) -> None:
    run = trained("segment")
    case = scene(run, (20, 70, 100))
    fine, net = opened(run, case)
    _, cost = fine.told(case)
    assert cost["coarse"] == {"windows": net.seen, "of": 7**3} and cost["coarse"]["windows"] < 7**3 / 3
    assert "predicted" not in cost["bytes"] and cost["seconds"]["coarse"] >= 0
    fine.expect(5)
    assert isinstance(fine.coarse, Spots) and fine.coarse.cases == 5
    assert "coarse" not in opened(run, None)[0].told(case)[1]


LONG = [(20, y, 100) for y in (70, 76, 82, 88)]


@pytest.mark.parametrize(
    ("spots", "hints", "size", "why"),
    [
        ([(20, 70, 100)], [], 4, "the coarse model found nothing"),
        ([(20, 70, 100)], [(100, 20, 20)], 4, "nothing was found there"),
        (LONG, LONG[:1], 4, "what was found reaches its end"),
        ([(10, 10, 10)], [(10, 10, 10)], 1, "it leaves no window out"),
    ],
)
def test_all_is_looked_at_where_a_hint_is_too_little(
    spots: list[Any], hints: list[Any], size: int, why: str, trained: Trained
) -> None:
    run = trained("segment")
    case = scene(run, *spots, size=size)
    wanted = opened(run, None)[0](case)["mask"].array
    fine, net = opened(run, scene(run, *hints, size=size))
    found, cost = fine.told(case)
    np.testing.assert_array_equal(found["mask"].array, wanted)
    assert cost["coarse"]["whole"] == why and not found.warnings
    assert net.seen == cost["coarse"]["windows"]
    # what came of it is forgotten with the case
    fine.coarse = None
    assert "coarse" not in fine.told(case)[1]


def test_what_lies_apart_from_every_hint_is_missed(trained: Trained) -> None:
    """As the how-to says."""
    run = trained("segment")
    both, one = scene(run, (20, 70, 100), (100, 20, 20)), scene(run, (20, 70, 100))
    found = opened(run, one)[0](both)["mask"].array
    np.testing.assert_array_equal(found, opened(run, None)[0](one)["mask"].array)


def test_a_region_holds_all_within_the_margin() -> None:
    mask = np.zeros((40, 50, 30), dtype=bool)
    mask[20, 25, 15] = True
    region = around(mask, (1.0, 2.0, 4.0), [10.0] * 3)
    assert region is not None
    where = region.on(mask.shape)
    steps = zip(mask.shape, (20, 25, 15), (1, 2, 4), strict=True)
    near = [np.abs(np.arange(n) - at) * step <= 10 for n, at, step in steps]
    assert where[np.ix_(*near)].all() and where.sum() < 27 * BLOCK**3 * 12
    # on a grid of half as many voxels it lies at the same place
    assert (region.on([20, 25, 15]) == where[1::2, 1::2, 1::2]).mean() > 0.95
    assert around(np.zeros_like(mask), (1.0, 1.0, 1.0), [10.0] * 3) is None
    flat = around(mask, (1.0, 2.0, 4.0), [0.0, 0.0, 40.0])
    assert flat is not None and [np.ptp(np.nonzero(flat.blocks)[axis]) for axis in range(3)] == [0, 0, 6]


def test_a_region_is_too_little_near_its_end_and_not_at_that_of_the_image() -> None:
    where = np.zeros((40, 40), dtype=bool)
    where[:30, :30] = True
    labels = np.zeros(where.shape, dtype=np.uint8)
    assert too_little(labels, where) == "nothing was found there"
    labels[0, 29 - EDGE] = 1
    assert too_little(labels, where) == ""
    labels[0, 30 - EDGE] = 1
    assert too_little(labels, where) == "what was found reaches its end"
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


def test_an_answer_is_not_held_while_the_next_ones_are_made() -> None:
    """What is held is promised beforehand: of answers, one."""
    tiles, held = windows.tiling((16, 64), (16, 16), 0.0), list[Any]()
    image = np.random.default_rng(0).normal(0, 1, (1, 16, 64)).astype(np.float32)

    def look(window: torch.Tensor) -> torch.Tensor:
        assert sum(one() is not None for one in held[:-1]) == 0
        out = window.repeat(1, 2, 1, 1)
        held.append(weakref.ref(out))
        return out

    for _ in windows.planes(look, image, tiles, air=None):
        pass
    assert len(held) == tiles.count


@pytest.mark.parametrize("pace", [ALONE, Pace(batch=4), Pace(lanes=2)])
@pytest.mark.parametrize("corner", [(0, 0), (30, 60), (60, 90)])
@pytest.mark.parametrize("mirror", [False, True])
def test_windows_aside_are_not_looked_at_and_the_others_merge_as_ever(
    corner: tuple[int, int], pace: Pace, mirror: bool
) -> None:
    """With air, channels of other ranges, several windows in one look, and whichever window comes first."""
    rng, tiles = np.random.default_rng(0), windows.tiling((70, 100), (16, 16), 0.5)
    image = rng.normal(0, 1, (2, 70, 100)).astype(np.float32)
    image[:, :20] = np.array([-3, -9])[:, None, None]
    where = np.zeros((70, 100), dtype=bool)
    where[tuple(slice(c, c + 8) for c in corner)] = True
    left, nets = aside(where, tiles), (Bright(), Bright())
    found = []
    for net, which in zip(nets, (None, left), strict=True):
        parts = windows.planes(net, image, tiles, mirror, -2.5, pace=pace, aside=which)
        found.append(torch.cat([values for _, values in parts], dim=1).numpy())
    np.testing.assert_allclose(found[1][:, where], found[0][:, where], atol=1e-5)
    looks = int((~left).sum()) * (4 if mirror else 1)
    assert nets[1].seen <= looks < nets[0].seen


def test_only_classes_of_the_same_names_count_where_all_are_known(trained: Trained) -> None:
    run = trained("segment")
    guide, case = coarse.Coarse(run), scene(run, (20, 70, 100))
    image = case.read("image")
    affine, first, second = image.affine, run.plan.classes[0].name, "another"
    mask = np.zeros(image.shape, dtype=np.uint8)
    mask[2, 2, 2], mask[-2, -2, -2] = run.plan.classes[0].value, 1 + max(c.value for c in run.plan.classes)
    calls = list[str]()

    def found(case: Case, progress: Progress) -> Result:
        calls.append(case.id)
        return Result({"mask": Mask(mask, {}, affine)})

    guide.predictor = found  # type: ignore[assignment]
    found.plan = run.plan  # type: ignore[attr-defined]
    one, every = (guide(case, names, near)[0] for names in ({first}, {first, second}))
    assert one is not None and every is not None and calls == ["case"]
    assert one.blocks[0, 0, 0] and not one.blocks[-1, -1, -1]
    assert every.blocks[0, 0, 0] and every.blocks[-1, -1, -1]
    assert guide._last is not None
    del image, case
    gc.collect()
    assert guide._last is None


def near(steps: Sequence[float]) -> list[float]:
    """A margin of 5 mm."""
    return [5.0] * len(steps)


def test_a_coarse_model_that_refuses_leaves_the_whole_image(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained("segment")
    guide, case, code = coarse.Coarse(run), scene(run, (20, 70, 100)), "HIL-M10"

    def fails(*_: object) -> None:
        raise HilumError(code, "The model gives one value everywhere", "Train again")

    monkeypatch.setattr(guide, "predictor", fails)
    assert guide(case, {"a"}, near) == (None, "the coarse model refused it")
    code, other = "HIL-INFER-22", scene(run)
    for _ in range(2):
        # a fault of a runtime is not remembered as the model's
        with pytest.raises(HilumError):
            guide(other, {"a"}, near)


def test_the_largest_piece_of_a_coarse_mask_may_be_the_wrong_one(trained: Trained) -> None:
    guide = coarse.Coarse(trained("segment"))
    assert not guide.predictor.task.single


def test_a_run_and_a_bundle_guide_alike(trained: Trained, tmp_path: Path) -> None:
    run = trained("segment")
    path, packed = tmp_path / "case.nii.gz", tmp_path / "coarse.hilum"
    nifti.write(path, scene(run, (20, 70, 100)).read("image"))
    bundle.write(run, packed)
    record = predict(run.path, [path], tmp_path / "found", coarse=run.path, runtime="torch")
    (row,) = record["done"].values()
    assert row["cost"]["coarse"] and all((tmp_path / "found" / name).is_file() for name in row["files"])
    assert record["coarse"]["hashes"] == run.hashes() and str(run.path) not in json.dumps(record["coarse"])
    # the same call goes on, another one does not
    assert predict(run.path, [path], tmp_path / "found", coarse=run.path, runtime="torch")["done"] == record["done"]
    with pytest.raises(HilumError) as error:
        predict(run.path, [path], tmp_path / "found", runtime="torch")
    assert error.value.code == "HIL-CORE-03"
    again = predict(run.path, [path], tmp_path / "again", coarse=packed, runtime="torch")
    assert again["done"]["case"]["cost"]["coarse"] == row["cost"]["coarse"]


def test_worker_processes_are_guided_too(trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    run, path = trained("segment"), tmp_path / "case.nii.gz"
    nifti.write(path, scene(run, (20, 70, 100), size=2).read("image"))
    found = predict(run.path, [path], tmp_path / "found", coarse=run.path, runtime="torch", cluster="local:1")
    assert found["done"]["case"]["cost"]["coarse"]["of"] == 8


def test_what_does_not_go_together_is_refused(trained: Trained, tmp_path: Path, hilum: Any) -> None:
    run, other = trained("segment"), trained("classify")
    for one, guide in ((run, other), (other, run)):
        with pytest.raises(HilumError) as error:
            predict(one.path, [tmp_path], tmp_path / "found", coarse=guide.path)
        assert error.value.code == "HIL-INFER-23" and "classify" in error.value.seen
    code, _, words = hilum(
        "predict", run.path, tmp_path, "--out", tmp_path / "found", "--coarse", run.path, "--memory", "2GB"
    )
    assert code == 2 and "HIL-INFER-19" in words
    with pytest.raises(HilumError) as error:
        trusted(run, wide=True, coarse=run)
    assert error.value.code == "HIL-INFER-23" and "--wide" in error.value.remedy


class Planned:
    """A run of which nothing but its plan is asked."""

    def __init__(self, run: Run, plan: Plan, opinions: str | None = None) -> None:
        self.path, self.plan, self.system = run.path, plan, None
        self.calibration = None if opinions is None else type("Known", (), {"opinions": Kind(opinions)})()


class Kind:
    """Opinions of a kind."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


@pytest.mark.parametrize(
    ("changes", "opinions", "remedy"),
    [
        ({"channels": ["t1", "t2"]}, None, "the same images"),
        ({}, "views", "--opinions one"),
    ],
)
def test_each_refusal_says_what_would_do(
    changes: dict[str, Any], opinions: str | None, remedy: str, trained: Trained
) -> None:
    run = trained("segment")
    part: Any = Planned(run, run.plan.model_copy(update=changes), opinions)
    with pytest.raises(HilumError) as error:
        coarse.check(run, [part])
    assert error.value.code == "HIL-INFER-23" and remedy in error.value.remedy


def test_probabilities_and_numbered_objects_are_refused(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coarse, "by_class", lambda task: False)
    with pytest.raises(HilumError) as error:
        coarse.check(trained("segment"), [trained("segment")])
    assert error.value.code == "HIL-INFER-23" and "options.reduce=argmax" in error.value.remedy


def test_a_coarse_model_of_no_larger_spacing_is_said(trained: Trained, caplog: pytest.LogCaptureFixture) -> None:
    run = trained("segment")
    coarse.warn(run, [run])
    assert "no larger spacing" in caplog.text
