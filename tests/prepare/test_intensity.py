"""Intensities as planned: the statistics come out as stated, and what can not be is refused."""

import re
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.core.plan import Normalisation
from hilum.prepare.intensity import LUMA, beside, border_only, match_channels, normalise

RNG = np.random.default_rng(0)
IMPORTS = Path(__file__).parents[2] / "docs" / "how-to" / "import-a-model.md"
MAPPED = re.compile(r"^\| `nonzero=(True|False)` \|.*\| `(\w+)` \|$", re.MULTILINE)
# Its table of what MONAI's NormalizeIntensityd becomes.


def test_zscore_has_mean_0_and_deviation_1_for_every_channel() -> None:
    array = np.stack([RNG.normal(100, 5, (20, 20)), RNG.normal(-3, 0.1, (20, 20))])
    out = normalise(array, [Normalisation(scheme="zscore")] * 2)
    np.testing.assert_allclose(out.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(out.std(axis=(1, 2)), 1, atol=1e-4)
    assert out.dtype == np.float32


def test_zscore_does_not_depend_on_scale_and_offset() -> None:
    array, rule = RNG.normal(0, 1, (1, 9, 9)), [Normalisation(scheme="zscore")]
    np.testing.assert_allclose(normalise(array * 7 + 30, rule), normalise(array, rule), atol=1e-4)


def test_what_the_page_on_imports_makes_of_monais_normalisation_is_the_same() -> None:
    monai = pytest.importorskip("monai.transforms")
    rows = dict(MAPPED.findall(IMPORTS.read_text(encoding="utf-8")))
    assert rows.keys() == {"True", "False"}
    volume = RNG.normal(80, 20, (1, 12, 10, 8)).astype(np.float32)
    volume[:, :6] = 0
    for nonzero, scheme in rows.items():
        # several channels are alike of whole images alone
        image = volume if nonzero == "True" else np.concatenate([volume, 3 - 7 * volume])
        theirs = monai.NormalizeIntensity(nonzero=nonzero == "True", channel_wise=True)(image.copy())
        rule = Normalisation.model_validate({"scheme": scheme})
        np.testing.assert_allclose(normalise(image, [rule] * len(image)), np.asarray(theirs), atol=1e-4)


def test_ct_clips_and_takes_the_data_sets_statistics() -> None:
    rule = [Normalisation(scheme="ct", mean=10, std=5, low=0, high=20)]
    np.testing.assert_allclose(normalise(np.array([[[-99.0, 0, 10, 999]]]), rule)[0], [[-2, -2, 0, 2]])


def test_scale_is_0_to_1_and_none_is_nothing() -> None:
    values = np.array([[[-5.0, 0, 50, 500]]])
    np.testing.assert_allclose(normalise(values, [Normalisation(scheme="scale", low=0, high=100)])[0], [[0, 0, 0.5, 1]])
    np.testing.assert_allclose(normalise(values, [Normalisation(scheme="none")]), values)


@pytest.mark.parametrize("scheme", ["zscore", "ct", "scale", "none"])
def test_n09_nan_and_infinity_become_the_minimum(scheme: str) -> None:
    rule = [Normalisation.model_validate({"scheme": scheme})]
    clean = normalise(np.array([[[1.0, 2, 3, 1, 1]]]), rule)
    np.testing.assert_allclose(normalise(np.array([[[1.0, 2, 3, np.nan, np.inf]]]), rule), clean)
    assert np.isfinite(normalise(np.full((1, 3, 3), 7.0), rule)).all(), "a constant image"


def test_n09_an_image_of_nothing_but_nan_is_refused() -> None:
    with pytest.raises(HilumError) as error:
        normalise(np.full((1, 2, 2), np.nan), [Normalisation(scheme="zscore")])
    assert error.value.code == "HIL-N09"


def test_the_input_is_left_alone() -> None:
    array = np.array([[[1.0, np.nan]]])
    normalise(array, [Normalisation(scheme="zscore")])
    assert np.isnan(array[0, 0, 1])


def test_colour_and_grey_find_each_other() -> None:
    grey = RNG.random((1, 4, 4)).astype(np.float32)
    colour = match_channels(grey, 3, Image(grey))
    assert colour.shape == (3, 4, 4)
    np.testing.assert_allclose(match_channels(colour, 1, Image(colour)), grey, atol=1e-6)
    assert LUMA.sum() == pytest.approx(1)
    with pytest.raises(HilumError) as error:
        match_channels(np.zeros((2, 4, 4)), 1, Image(np.zeros((2, 4, 4))))
    assert error.value.code == "HIL-PREP-01"


@pytest.mark.parametrize(("count", "channels"), [(3, 1), (1, 3)])
def test_channels_of_a_volume_are_no_colours(count: int, channels: int) -> None:
    """T1, T2 and FLAIR were mixed as if they were red, green and blue, and one of them taken for all three."""
    volume = Image(RNG.random((count, 4, 5, 6)).astype(np.float32), np.eye(4))
    # planes of it as trust looks at them, and what a task has placed on its own grid
    for array in (volume.array, volume.array[..., :2], np.moveaxis(volume.array, 3, 1)):
        assert match_channels(array, count, volume) is array
        with pytest.raises(HilumError, match="of one file only") as error:
            match_channels(array, channels, volume)
        assert error.value.code == "HIL-PREP-01"


def test_channels_in_files_of_their_own_are_no_colours() -> None:
    array = RNG.random((3, 4, 5)).astype(np.float32)
    several = Image(array, meta={"channel_files": 3})
    assert match_channels(array, 3, several) is array and match_channels(array, 1, Image(array)).shape == (1, 4, 5)
    with pytest.raises(HilumError, match="of one file only"):
        match_channels(array, 1, several)
    # planes of a picture
    assert match_channels(array[:, None], 1, Image(array)).shape == (1, 1, 4, 5)


def test_the_border_control_shows_the_border_only() -> None:
    array = RNG.random((2, 20, 30)).astype(np.float32)
    out = border_only(array, 0.1)
    assert np.ptp(out[0, 2:-2, 3:-3]) == 0
    np.testing.assert_array_equal(out[:, :2], array[:, :2])
    np.testing.assert_array_equal(out[:, :, -3:], array[:, :, -3:])
    other = array.copy()
    other[:, 5:15, 5:25] = 0
    np.testing.assert_array_equal(border_only(other, 0.1), out)


def test_the_box_and_the_voxels_that_are_not_zero_are_scored_by_themselves() -> None:
    image = np.zeros((1, 6, 6, 6), dtype=np.float32)
    image[0, 1:5, 1:5, 1:5] = np.random.default_rng(0).normal(50, 5, (4, 4, 4))
    image[0, 1, 1, 1] = image[0, 2, 2, 2] = 0
    part = image[0, 1:5, 1:5, 1:5]
    boxed = normalise(image, [Normalisation(scheme="zscore_box")])[0]
    assert boxed[1:5, 1:5, 1:5].mean() == pytest.approx(0, abs=1e-5)
    assert boxed[0, 0, 0] == pytest.approx(-part.mean() / part.std(), rel=1e-5)
    alone = normalise(image, [Normalisation(scheme="zscore_nonzero")])[0]
    # a zero at the rim stays outside, one that is enclosed belongs to the body
    mask = np.zeros(image.shape[1:], dtype=bool)
    mask[1:5, 1:5, 1:5] = True
    mask[1, 1, 1] = False
    assert alone[mask].mean() == pytest.approx(0, abs=1e-5) and alone[mask].std() == pytest.approx(1, rel=1e-5)
    assert (alone[~mask] == 0).all() and alone[2, 2, 2] < -1


def test_where_any_channel_has_something_all_are_scored() -> None:
    image = np.zeros((2, 4, 4), dtype=np.float32)
    image[0, :2], image[1, 1:3] = 3, [1, 2, 3, 4]
    made = normalise(image, [Normalisation(scheme="zscore_nonzero")] * 2)
    inside = image[1, :3]
    np.testing.assert_allclose(made[1, :3], (inside - inside.mean()) / inside.std(), rtol=1e-5)
    assert (made[:, 3] == 0).all()
    assert np.isfinite(normalise(np.zeros((1, 4, 4)), [Normalisation(scheme="zscore_box")])).all()


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("scheme", ["zscore_box", "zscore_nonzero"])
def test_n09_what_is_no_number_is_no_part_of_the_body(scheme: str, odd: float) -> None:
    """A brain in a shell of NaN: the shell and the zeros that it encloses counted as body, whose mean was too low."""
    image = np.zeros((1, 16, 16, 16), dtype=np.float32)
    image[0, 5:11, 5:11, 5:11] = np.random.default_rng(0).normal(100, 10, (6, 6, 6))
    image[0, 8, 8, 8] = 0
    rule = [Normalisation.model_validate({"scheme": scheme})]
    shell = np.ones((16, 16, 16), dtype=bool)
    shell[2:14, 2:14, 2:14] = False
    for missing in (shell, image[0] == 0):
        broken = np.where(missing, np.float32(odd), image)
        np.testing.assert_array_equal(normalise(broken, rule), normalise(image, rule))


def plain(array: np.ndarray, how: list[Normalisation]) -> np.ndarray:
    """Every step with a copy of its own, as formulas say it."""
    out = np.empty(array.shape, dtype=np.float32)
    there = ((array != 0) & np.isfinite(array)).any(axis=0)
    inside = there if there.ndim == 2 else ndimage.binary_fill_holes(there)
    box = ndimage.find_objects(inside.astype(int))[0]
    for channel, (values, rule) in enumerate(zip(array, how, strict=True)):
        x = values.astype(np.float32)
        if not np.isfinite(x).all():
            x = np.where(np.isfinite(x), x, 0 if "_" in rule.scheme else x[np.isfinite(x)].min())
        part = {"zscore_box": x[box], "zscore_nonzero": x[inside]}.get(rule.scheme, x)
        scored = (x - part.mean()) / max(float(part.std()), 1e-8)
        out[channel] = {
            "zscore": scored, "zscore_box": scored, "zscore_nonzero": np.where(inside, scored, x), "none": x,
            "ct": (np.clip(x, rule.low, rule.high) - rule.mean) / max(rule.std, 1e-8),
            "scale": np.clip((x - rule.low) / max(rule.high - rule.low, 1e-8), 0, 1),
        }[rule.scheme]  # fmt: skip
    return out


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("scheme", ["zscore", "zscore_box", "zscore_nonzero", "ct", "scale", "none"])
def test_in_place_the_values_are_bit_for_bit_those_of_copies(scheme: str, odd: bool) -> None:
    rule = Normalisation.model_validate({"scheme": scheme, "low": -60.3, "high": 70.1, "mean": 3.7, "std": 41.9})
    image = np.random.default_rng(1).normal(10, 50, (2, 31, 37, 41)).astype(np.float32)
    image[:, :4], image[0, :, 35:] = 0, 0
    if odd:
        image[0, 3:5, 9], image[1, 7, 7, 7] = np.nan, np.inf
    pictures = [image, image[:, :, 20], np.asfortranarray(image), image[:, ::-1]]
    for array in pictures if odd else [*pictures, image.astype(np.int16), image.astype(np.float64)]:
        wanted, before = plain(array, [rule] * 2), array.copy()
        np.testing.assert_array_equal(normalise(array, [rule] * 2).view(np.int32), wanted.view(np.int32))
        np.testing.assert_array_equal(array, before)
        fresh = array.astype(np.float32, order="C")
        if array.flags.c_contiguous:
            made = normalise(fresh, [rule] * 2, fresh=True)
            assert made is fresh
            np.testing.assert_array_equal(made.view(np.int32), wanted.view(np.int32))


@pytest.mark.parametrize(("scheme", "most"), [("ct", 1.1), ("scale", 1.1), ("none", 1.1), ("zscore", 4.1)])
def test_next_to_nothing_is_held_beside_a_fresh_array(scheme: str, most: float) -> None:
    """Of CT 13 bytes a voxel lay beside each other, of which --memory knew 4."""
    fresh = np.random.default_rng(0).normal(0, 500, (1, 100, 100, 100)).astype(np.float32)
    rules = [Normalisation.model_validate({"scheme": scheme, "low": -500, "high": 500})]
    tracemalloc.start()
    try:
        normalise(fresh, rules, fresh=True)
        held = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held < most * fresh.size and beside(rules) == int(most)
