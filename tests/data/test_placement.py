"""A label that is a mirrored or shifted copy is told by the edges of its image, and good labels never are."""

from pathlib import Path

import numpy as np
import pytest

from hilum.core import geometry
from hilum.core.image import Array, Case, Image
from hilum.data.dataset import Dataset, open_dataset
from hilum.data.phantoms import heads
from hilum.data.placement import Misplaced, fit, judge

Pair = tuple[Array, Array]


def picture(seed: int) -> Pair:
    """Image and label (96, 90): a bright blob off the middle, others without a label, noise."""
    rng = np.random.default_rng(seed)
    y, x = np.indices((96, 90))
    grey, label = rng.normal(50, 6, (96, 90)), np.zeros((96, 90), np.int32)
    for number in range(4):
        cy, cx, r = rng.uniform(20, 76), rng.uniform(18, 72), rng.uniform(8, 13)
        inside = ((y - cy) ** 2 + (x - cx) ** 2) < r**2
        grey[inside] += rng.uniform(20, 50)
        if number == 0:
            label[inside] = 1
    return grey, label


def volume(seed: int) -> Pair:
    """Image and label (24, 28, 20): a box off the middle."""
    rng = np.random.default_rng(seed)
    grey, label = rng.normal(50, 5, (24, 28, 20)), np.zeros((24, 28, 20), np.int32)
    low = rng.integers([2, 3, 2], [6, 8, 5])
    box = tuple(slice(int(a), int(a) + 9) for a in low)
    grey[box] += 40
    label[box] = 1
    return grey, label


def dataset(pairs: list[Pair]) -> Dataset:
    affine = np.eye(4) if pairs[0][0].ndim == 3 else None
    cases = [
        Case(f"c{n}", "", {"image": Image(grey[None], affine), "label": Image(label[None], affine)})
        for n, (grey, label) in enumerate(pairs)
    ]
    return Dataset("x", Path("x"), "images_labels", tuple(cases))


def misplaced(found: Dataset) -> list[Misplaced]:
    fits = []
    for case in found.cases:
        label = case.items["label"]
        fits.append(fit(case.id, case.read("image"), label.read_labels() if hasattr(label, "read_labels") else label))
    return judge([one for one in fits if one is not None])


@pytest.mark.parametrize("make", [picture, volume])
def test_n17_labels_that_fit_are_not_suspected(make: type) -> None:
    for start in range(0, 40, 10):
        assert misplaced(dataset([make(start + n) for n in range(10)])) == []  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("axes", "words"),
    [((0,), "upside down"), ((1,), "left-right"), ((0, 1), "upside down and left-right")],
)
def test_n17_mirrored_labels_are_warned_of_with_the_axis(axes: tuple[int, ...], words: str) -> None:
    pairs = [(grey, np.flip(label, axes)) for grey, label in (picture(n) for n in range(10))]
    (found,) = misplaced(dataset(pairs))
    assert found.axes == axes and f"flipped {words} (" in found.warning and found.warning.startswith("HIL-N17: ")
    assert len(found.cases) == 10 and found.there > found.here
    np.testing.assert_array_equal(found.moved(pairs[0][1]), picture(0)[1])


def test_n17_mirrored_labels_of_volumes_are_named_in_the_patient() -> None:
    pairs = [(grey, label[::-1]) for grey, label in (volume(n) for n in range(6))]
    (found,) = misplaced(dataset(pairs))
    assert found.axes == (0,) and "flipped left-right" in found.warning


def test_n17_shifted_labels_are_warned_of_with_the_way_back() -> None:
    pairs = [(grey, np.roll(label, (4, -3), (0, 1))) for grey, label in (picture(n) for n in range(10))]
    (found,) = misplaced(dataset(pairs))
    assert found.axes == () and abs(found.shift[0] + 4) <= 1 and abs(found.shift[1] - 3) <= 1
    assert "moved by" in found.warning


def test_n17_one_mirrored_label_among_many_is_named() -> None:
    pairs = [picture(n) for n in range(12)]
    pairs[5] = (pairs[5][0], pairs[5][1][:, ::-1])
    (found,) = misplaced(dataset(pairs))
    assert found.cases == ("c5",) and found.axes == (1,) and "the label lies" in found.warning


def test_n17_symmetric_or_missing_labels_give_no_verdict() -> None:
    y, x = np.indices((64, 64)) - 31.5
    disc = ((y**2 + x**2) < 300).astype(np.int32)
    same = [(disc * 50.0 + np.random.default_rng(n).normal(0, 3, disc.shape), disc) for n in range(6)]
    assert misplaced(dataset(same)) == []
    assert misplaced(dataset([(grey, np.zeros_like(label)) for grey, label in same])) == []
    assert fit("a", Image(np.zeros((1, 8, 8))), Image(np.zeros((1, 9, 8)))) is None and judge([]) == []


def test_n17_the_labels_of_phantom_heads_fit_and_mirrored_ones_do_not(tmp_path: Path) -> None:
    heads.make(tmp_path, 6)
    good = open_dataset(tmp_path)
    assert misplaced(good) == []
    cases = []
    for case in good.cases:
        label = case.items["label"].read_labels()
        order = geometry.axes_to_ras(label.affine)[0]
        turned = label.like(np.flip(label.array, order[1] + 1))
        cases.append(Case(case.id, "", {"image": case.items["image"], "label": turned}))
    (found,) = misplaced(Dataset("x", tmp_path, "images_labels", tuple(cases)))
    assert found.axes == (1,) and "front to back" in found.warning


def test_n17_the_shift_of_large_images_is_in_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are thinned before they are compared, and what was said then was in steps of the thinned ones."""
    monkeypatch.setattr("hilum.data.placement.VOXELS", 12_000)
    found = []
    for seed in range(6):
        grey, label = picture(seed)
        grey, label = np.kron(grey, np.ones((4, 4))), np.kron(label, np.ones((4, 4), np.int32))
        fits = fit(f"c{seed}", Image(grey[None]), Image(np.roll(label, 12, 0)[None]))
        assert fits is not None and fits.step > 1
        found.append(fits)
    (one,) = judge(found)
    assert abs(one.shift[0] + 12) <= fits.step and abs(one.shift[1]) <= fits.step
