"""One volume on another's grid: what lies at a place in the patient stays there, and labels stay labels."""

import itertools
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from hilum.core import geometry, warp
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.prepare import regrid
from hilum.prepare.regrid import Grid

WORDS = ["".join(w) for p in itertools.permutations(("RL", "AP", "SI")) for w in itertools.product(*p)]


def affine_of(word: str, spacing: tuple[float, ...], origin: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Array:
    affine = np.zeros((4, 4))
    for column, letter in enumerate(word):
        row = next(i for i, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        affine[row, column] = spacing[column] * (-1 if letter in "LPI" else 1)
    affine[:3, 3], affine[3, 3] = origin, 1
    return affine


def oblique(angles: tuple[float, float], spacing: tuple[float, ...], origin: tuple[float, ...]) -> Array:
    (ca, cb), (sa, sb) = np.cos(angles), np.sin(angles)
    turn = np.array([[ca, -sa, 0], [sa, ca, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cb, -sb], [0, sb, cb]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * np.array(spacing), origin
    return affine


def around(word: str, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Grid:
    """A grid whose middle is the origin."""
    affine = affine_of(word, spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def places(grid: Grid) -> Array:
    """mm of every voxel centre (3, *shape)."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"))
    return np.einsum("ij,j...->i...", grid.affine[:3, :3], index) + grid.affine[:3, 3].reshape(3, 1, 1, 1)


def ramp(grid: Grid) -> Image:
    """A function of the place that linear interpolation gives exactly."""
    x, y, z = places(grid)
    return Image((1 + x - 2 * y + 0.5 * z)[None], grid.affine)


def ball(grid: Grid, centre: tuple[float, ...], radius: float) -> Image:
    far = np.sqrt(((places(grid) - np.reshape(centre, (3, 1, 1, 1))) ** 2).sum(axis=0))
    return Image((far <= radius).astype(np.int32)[None] * 7, grid.affine)


def refused(*args: Any, **options: Any) -> HilumError:
    with pytest.raises(HilumError) as error:
        regrid.onto(*args, **options)
    return error.value


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("kind", [np.int16, np.float32, np.uint8])
def test_the_same_grid_gives_the_same_values(labels: bool, kind: Any) -> None:
    array = np.random.default_rng(0).integers(0, 99, (2, 5, 70, 6)).astype(kind)
    image = Image(array, oblique((0.3, 0.2), (1, 1.3, 2.7), (-3, 4, 5)), ("HIL-N04: odd",), {"modality": "MR"})
    out, record = regrid.onto(image, regrid.of(image), labels=labels)
    np.testing.assert_array_equal(out.array, array)
    assert out.array.dtype == kind and out.warnings == image.warnings and out.meta == image.meta
    assert record == {"method": "copied voxel by voxel", "outside": 0.0, "step_ratio": [1.0, 1.0, 1.0]}


@pytest.mark.parametrize("word", WORDS)
def test_a_turned_grid_is_an_exact_copy(word: str) -> None:
    source = around("LPS", (4, 5, 6), (1.0, 1.5, 2.0))
    image = Image(np.arange(120, dtype=np.int16).reshape(1, 4, 5, 6), source.affine)
    size, step = {"R": 4, "A": 5, "S": 6}, {"R": 1.0, "A": 1.5, "S": 2.0}
    letters = [{"L": "R", "P": "A", "I": "S"}.get(c, c) for c in word]
    target = around(word, tuple(size[c] for c in letters), tuple(step[c] for c in letters))
    out, record = regrid.onto(image, target)
    assert record["method"] == "copied voxel by voxel" and out.array.dtype == np.int16
    back, _ = regrid.onto(out, source)
    np.testing.assert_array_equal(back.array, image.array)
    index = (1, 2, 3)
    place = target.affine @ [*index, 1]
    there = np.round(np.linalg.inv(source.affine) @ place)[:3].astype(int)
    assert out.array[(0, *index)] == image.array[(0, *there)]


@pytest.mark.parametrize("word", ["RAS", "LPS", "PIR", "ASL", "SLP"])
@pytest.mark.parametrize("tilt", [(0.0, 0.0), (0.3, -0.2)])
def test_a_value_stays_at_its_place(word: str, tilt: tuple[float, float]) -> None:
    image = ramp(around(word, (30, 34, 38), (1.3, 0.9, 1.1)))
    target = Grid((11, 12, 9), oblique(tilt, (0.7, 1.2, 1.9), (-5, -6, -4)))
    out, record = regrid.onto(image, target)
    assert record["outside"] == 0 and record["method"] == "linear"
    np.testing.assert_allclose(out.array, ramp(target).array, atol=1e-5)
    np.testing.assert_array_equal(out.affine, target.affine)


def test_finer_and_back_keeps_a_smooth_function() -> None:
    grid = around("LAS", (24, 20, 22), (2.0, 2.0, 2.5))
    x, y, z = places(grid)
    image = Image((np.sin(x / 8) * np.cos(y / 9) + z / 30)[None].astype(np.float32), grid.affine)
    fine, _ = regrid.onto(image, regrid.at_spacing(image, (1.0, 1.0, 1.0)))
    assert fine.shape == (48, 40, 55)
    back, record = regrid.onto(fine, grid)
    assert record["outside"] == 0
    inner = (slice(None), *[slice(1, -1)] * 3)
    assert np.abs(back.array - image.array)[inner].max() < 0.02 * np.ptp(image.array)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.1, 2.0)])
@pytest.mark.parametrize("word", ["RAS", "PIR"])
def test_a_ball_keeps_its_place_and_volume(word: str, spacing: tuple[float, float, float]) -> None:
    centre, radius = (2.3, -3.1, 1.7), 9.0
    image = ball(around(word, (34, 30, 32), (1.2, 1.4, 1.3)), centre, radius)
    target = Grid((45, 44, 40), oblique((0.2, 0.1), spacing, (-17, -18, -20)))
    out, record = regrid.onto(image, target, labels=True)
    assert set(np.unique(out.array)) == {0, 7} and out.array.dtype == np.int32 and "strongest" in record["method"]
    middle = places(target)[:, out.array[0] == 7].mean(axis=1)
    assert np.linalg.norm(middle - centre) < 0.5 * min(spacing)
    volume = (out.array > 0).sum() * np.prod(spacing)
    before = (image.array > 0).sum() * np.prod(image.spacing)
    assert volume == pytest.approx(before, rel=0.03)


def test_labels_are_what_the_largest_linear_share_says() -> None:
    rng = np.random.default_rng(3)
    labels = rng.choice(np.array([0, 2, 5, 900], np.int32), (1, 6, 7, 8))
    image = Image(labels, np.eye(4))
    target = Grid((9, 10, 11), affine_of("RAS", (0.61, 0.63, 0.67), (0.05, 0.07, 0.09)))
    out, _ = regrid.onto(image, target, labels=True)
    points = torch.from_numpy(places(target))[None]
    values = [0, 2, 5, 900]
    shares = [
        warp.sample(torch.from_numpy((labels == v).astype(np.float64))[None], points, padding="border") for v in values
    ]
    np.testing.assert_array_equal(out.array[0], np.array(values)[torch.cat(shares)[:, 0].argmax(dim=0).numpy()])


def test_neighbouring_labels_never_make_a_third() -> None:
    labels = np.zeros((1, 8, 8, 8), np.int32)
    labels[:, :4], labels[:, 4:] = 1, 3
    out, _ = regrid.onto(Image(labels, np.eye(4)), Grid((20, 8, 8), affine_of("RAS", (0.37, 1, 1))), labels=True)
    assert set(np.unique(out.array)) == {1, 3}


def as_sitk(image: Image) -> Any:
    assert image.affine is not None
    lps = geometry.flip_lps_ras(image.affine)
    made = sitk.GetImageFromArray(np.ascontiguousarray(image.array[0].T))
    steps = np.array(geometry.spacing(lps))
    made.SetSpacing(steps.tolist())
    made.SetOrigin(lps[:3, 3].tolist())
    made.SetDirection((lps[:3, :3] / steps).ravel().tolist())
    return made


@pytest.mark.parametrize("kind", ["oblique", "finer", "coarser"])
def test_simpleitk_agrees(kind: str) -> None:
    array = np.random.default_rng(0).normal(size=(1, 40, 50, 30)).astype(np.float32)
    image = Image(array, oblique((0.2, 0.1), (1.3, 1.0, 2.2), (-20, -30, -25)))
    target = {
        "oblique": Grid((60, 70, 50), oblique((-0.3, 0.4), (0.8, 0.9, 1.1), (-25, -28, -22))),
        "finer": regrid.at_spacing(image, (1.0, 1.0, 1.0)),
        "coarser": regrid.at_spacing(image, (3.0, 2.0, 4.0)),
    }[kind]
    out, record = regrid.onto(image, target)
    like = as_sitk(Image(np.zeros((1, *target.shape), np.float32), target.affine))
    wanted = sitk.Resample(as_sitk(image), like, sitk.Transform(), sitk.sitkLinear, float(array.min()))
    seen = sitk.GetArrayFromImage(wanted).T
    assert np.abs(seen - out.array[0]).max() < 1e-3 * np.ptp(array)
    assert (record["outside"] > 0) == (kind == "oblique")


def test_what_lies_outside_is_filled_counted_and_said() -> None:
    image = Image(np.full((1, 10, 10, 10), 5, np.int16), np.eye(4))
    image.array[0, 0, 0, 0] = -1000
    out, record = regrid.onto(image, Grid((20, 10, 10), np.eye(4)))
    assert record["outside"] == 0.5 and (out.array[0, 10:] == -1000).all() and (out.array[0, 1:10] == 5).all()
    assert [w for w in out.warnings if "HIL-PREP-03: 50.0 %" in w and "-1000" in w]
    out, _ = regrid.onto(image, Grid((20, 10, 10), np.eye(4)), labels=True)
    assert (out.array[0, 10:] == 0).all()
    shifted, _ = regrid.onto(image, Grid((20, 10, 10), affine_of("RAS", (1, 1, 1), (0.2, 0, 0))))
    assert (shifted.array[0, 11:] == -1000).all() and shifted.array.dtype == np.float32


def test_much_coarser_steps_are_said() -> None:
    image = Image(np.ones((1, 12, 12, 12), np.float32), np.eye(4))
    out, _ = regrid.onto(image, regrid.at_spacing(image, (3.0, 1.0, 1.0)))
    assert any("HIL-PREP-04" in w and "3.0" in w for w in out.warnings)
    out, _ = regrid.onto(image, regrid.at_spacing(image, (1.2, 1.0, 1.0)))
    assert out.warnings == ()


def test_steps_of_a_tilted_grid_are_measured_along_it() -> None:
    image = Image(np.ones((1, 12, 12, 12), np.float32), np.eye(4))
    for step, said in ((1.6, ["1.6"]), (1.4, [])):
        grid = Grid((4, 4, 4), oblique((np.pi / 4, 0.0), (step, step, 1.0), (6.0, 1.0, 3.0)))
        out, record = regrid.onto(image, grid)
        assert record["step_ratio"] == [step, step, 1.0] and record["outside"] == 0
        assert [w.split(" source voxels")[0].split()[-1] for w in out.warnings] == said


def test_a_spacing_keeps_the_middle_and_the_field_of_view() -> None:
    image = Image(np.zeros((1, 10, 11, 7), np.int16), oblique((0.3, 0.2), (1.0, 1.3, 3.0), (5, 6, 7)))
    grid = regrid.at_spacing(image, (0.7, 1.0, 2.0))
    assert grid.shape == (14, 14, 10)
    np.testing.assert_allclose(geometry.spacing(grid.affine), (0.7, 1.0, 2.0), atol=1e-12)
    assert image.affine is not None
    np.testing.assert_allclose(grid.affine @ [6.5, 6.5, 4.5, 1], image.affine @ [4.5, 5, 3, 1], atol=1e-9)
    _, record = regrid.onto(image, grid)
    assert record["outside"] == 0


def test_wide_integers_keep_their_digits() -> None:
    image = Image(np.full((1, 4, 4, 4), 2**30 + 1, np.int32), np.eye(4))
    out, _ = regrid.onto(image, Grid((3, 3, 3), affine_of("RAS", (0.9, 0.9, 0.9))))
    assert out.array.dtype == np.float64 and (out.array == 2**30 + 1).all()


def test_nan_is_neither_the_least_value_nor_spread_far() -> None:
    array = np.ones((1, 9, 9, 9), np.float32)
    array[0, 4, 4, 4] = np.nan
    target = Grid((30, 18, 18), affine_of("RAS", (0.5, 0.5, 0.5)))
    out, _ = regrid.onto(Image(array, np.eye(4)), target)
    far = np.abs(places(target) - 4).max(axis=0)
    assert np.isnan(out.array[0, 8, 8, 8]) and (out.array[0][far > 1] == 1).all()


@pytest.mark.parametrize("step", [0.7, 5.0])
def test_only_a_small_part_is_worked_on_at_a_time(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = warp.sample

    def watched(image: Any, points: Any, *args: Any, **options: Any) -> Any:
        sizes.extend([image.numel(), points.numel() // 3])
        return whole(image, points, *args, **options)

    monkeypatch.setattr(warp, "sample", watched)
    image = Image(np.zeros((1, 150, 140, 130), np.int16), np.eye(4))
    out, _ = regrid.onto(image, regrid.at_spacing(image, (step, step, step)))
    assert max(sizes) <= (regrid.BLOCK + 2) ** 3
    assert out.array.shape[0] == 1


def test_one_slice_is_a_volume_too() -> None:
    image = Image(np.arange(20, dtype=np.int16).reshape(1, 4, 5, 1), np.eye(4))
    out, record = regrid.onto(image, Grid((4, 5, 3), affine_of("RAS", (1, 1, 0.25), (0, 0, -0.25))))
    np.testing.assert_array_equal(out.array, np.repeat(image.array, 3, axis=3))
    assert record["outside"] == 0


def test_n14_nothing_in_common_is_refused() -> None:
    image = Image(np.zeros((1, 5, 5, 5), np.int16), np.eye(4))
    error = refused(image, Grid((5, 5, 5), affine_of("RAS", (1, 1, 1), (300, 0, 0))), called="a.nii")
    assert error.code == "HIL-N14" and "300 mm" in str(error) and "a.nii" in str(error)


def test_n15_labels_with_fractions_are_refused() -> None:
    image = Image(np.full((1, 5, 5, 5), 0.5, np.float32), np.eye(4))
    assert refused(image, Grid((5, 5, 5), np.eye(4)), labels=True).code == "HIL-N15"
    image.array[:] = np.nan
    assert refused(image, Grid((5, 5, 5), np.eye(4)), labels=True).code == "HIL-N15"


@pytest.mark.parametrize("image", [
    Image(np.zeros((1, 5, 5, 5), np.int16)),
    Image(np.zeros((1, 5, 5, 5), np.int16), np.eye(4), ("HIL-N05: sform and qform codes are both 0",)),
])  # fmt: skip
def test_n05_an_unknown_place_moves_nothing(image: Image) -> None:
    error = refused(image, Grid((5, 5, 5), np.eye(4)), called="a.nii")
    assert error.code == "HIL-N05" and "a.nii" in str(error)
    with pytest.raises(HilumError, match="HIL-N05"):
        regrid.at_spacing(image, (1, 1, 1))


def test_n10_a_picture_is_refused() -> None:
    assert refused(Image(np.zeros((1, 5, 5), np.uint8)), Grid((5, 5, 5), np.eye(4))).code == "HIL-N10"


@pytest.mark.parametrize("spacing", [
    (0, 1, 1), (-1, 1, 1), (np.nan, 1, 1), (np.inf, 1, 1), (1, 1), (1e-3, 1e-3, 1e-3), (1e-300, 1, 1), (1e-4, 9, 9),
])  # fmt: skip
def test_a_spacing_nobody_means_is_refused_before_allocating(spacing: tuple[float, ...]) -> None:
    with pytest.raises(HilumError) as error:
        regrid.at_spacing(Image(np.zeros((1, 20, 20, 20), np.int16), np.eye(4)), spacing)
    assert error.value.code == "HIL-PREP-02"


def test_a_huge_target_is_refused_before_allocating() -> None:
    image = Image(np.zeros((1, 5, 5, 5), np.int16), np.eye(4))
    assert refused(image, Grid((30_000, 30_000, 30_000), np.eye(4))).code == "HIL-PREP-02"
