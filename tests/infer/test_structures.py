"""Sizes and intensities of structures, against numpy."""

import tracemalloc

import numpy as np
import pytest

from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.infer import structures

CLASSES = {1: "liver", 2: "spleen", 9: "absent"}


def case(kind: type = np.uint8, affine: np.ndarray | None = None, channels: int = 1) -> tuple[Mask, Image]:
    rng = np.random.default_rng(0)
    label: np.ndarray = rng.integers(0, 3, (6, 7, 8)).astype(kind)
    image = Image(rng.normal(40, 30, (channels, 6, 7, 8)).astype(np.float32), affine)
    return Mask(label, CLASSES, affine), image


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_every_number_is_that_of_numpy(kind: type) -> None:
    mask, image = case(kind, np.diag([0.7, 0.8, 2.5, 1.0]))
    rows = {row["structure"]: row for row in structures.table(mask, image, ["image"]).rows}
    assert list(rows) == ["liver", "spleen", "absent"]
    for value, name in ((1, "liver"), (2, "spleen")):
        inside, row = image.array[0][mask.array == value].astype(np.float64), rows[name]
        assert (row["value"], row["channel"], row["voxels"]) == (value, "image", len(inside))
        assert row["volume_ml"] == pytest.approx(len(inside) * 0.7 * 0.8 * 2.5 / 1000, abs=1e-6)
        wanted = [inside.mean(), inside.std(), np.median(inside), *np.percentile(inside, [5, 95])]
        found = [row[k] for k in ("mean", "sd", "median", "p05", "p95")]
        assert found == pytest.approx(wanted, abs=1e-5)


def test_a_structure_that_is_nowhere_has_a_row_of_its_own() -> None:
    mask, image = case(affine=np.eye(4))
    row = structures.table(mask, image).rows[-1]
    assert (row["structure"], row["voxels"], row["volume_ml"]) == ("absent", 0, 0)
    assert all(row[k] is None for k in ("mean", "sd", "median", "p05", "p95"))


def test_a_turned_grid_has_the_same_volume() -> None:
    turned = np.eye(4)
    turned[:3, :3] = np.array([[0, -2, 0], [1.5, 0, 0], [0, 0, 3]])
    mask, image = case(affine=turned)
    assert structures.table(mask, image).rows[0]["volume_ml"] == pytest.approx((mask.array == 1).sum() * 9 / 1000)


def test_without_millimetres_there_are_voxels_but_no_volume() -> None:
    label = np.array([[0, 1], [1, 2]], np.uint8)
    rows = structures.table(Mask(label, CLASSES), Image(np.arange(4.0).reshape(1, 2, 2))).rows
    assert [(r["voxels"], r["volume_ml"], r["mean"]) for r in rows] == [(2, None, 1.5), (1, None, 3.0), (0, None, None)]


def test_every_channel_has_its_own_intensities() -> None:
    mask, image = case(channels=2)
    rows = structures.table(mask, image, ["t1", "flair"]).rows
    assert [(r["structure"], r["channel"]) for r in rows[:4]] == [
        ("liver", "t1"), ("liver", "flair"), ("spleen", "t1"), ("spleen", "flair"),
    ]  # fmt: skip
    assert rows[1]["mean"] == pytest.approx(image.array[1][mask.array == 1].mean(), abs=1e-4)


def test_values_that_are_no_numbers_are_left_out() -> None:
    image = Image(np.array([[[1.0, np.nan], [3.0, np.inf]]]))
    row = structures.table(Mask(np.ones((2, 2), np.uint8), {1: "liver"}), image).rows[0]
    assert (row["voxels"], row["mean"]) == (4, 2.0)


def test_a_value_too_large_to_be_squared_costs_its_spread_alone() -> None:
    """It became infinity, which no record can hold: every repeat of the call stopped at that case."""
    image = Image(np.array([[[1e200, 1.0], [3.0, 4.0]]]))
    row = structures.table(Mask(np.ones((2, 2), np.uint8), {1: "liver"}), image).rows[0]
    assert row["sd"] is None and row["median"] == 3.5 and row["p95"] > 1e199


def test_channels_without_fitting_names_are_numbered() -> None:
    mask, image = case(channels=2)
    assert [r["channel"] for r in structures.table(mask, image, ["image"]).rows[:2]] == ["0", "1"]


def test_percentiles_of_few_and_of_whole_numbers_are_those_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structures, "BLOCK", 7)
    rng = np.random.default_rng(2)
    for values in (np.array([4]), np.array([9.5, -3]), rng.integers(-900, 900, 101), rng.integers(0, 9, 40)):
        row = structures.table(Mask(np.ones((1, len(values)), np.uint8), {1: "a"}), Image(values[None, None])).rows[0]
        wanted = [values.mean(), values.std(), np.median(values), *np.percentile(values, [5, 95])]
        assert [row[k] for k in ("mean", "sd", "median", "p05", "p95")] == pytest.approx(wanted, abs=1e-5)


def test_a_large_structure_is_not_copied_as_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structures, "BLOCK", 1 << 14)
    image = Image(np.random.default_rng(0).random((1, 1024, 1024), dtype=np.float32))
    mask = Mask(np.ones((1024, 1024), np.uint8), {1: "liver"})
    structures.table(*case())
    tracemalloc.start()
    row = structures.table(mask, image).rows[0]
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert row["voxels"] == 1 << 20 and row["median"] == pytest.approx(0.5, abs=0.01)
    # its values once, and where they are
    assert held < 2 * image.array.nbytes
