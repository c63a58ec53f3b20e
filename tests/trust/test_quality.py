"""What is usual is learned from good images, and what is not is said with its value and the usual range."""

import json

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.data.phantoms import heads, slices
from hilum.data.phantoms._head import Head
from hilum.prepare.augment import blur, noise
from hilum.trust import quality


def picture(seed, size=96, noise=0.02):
    return slices.draw(np.random.default_rng([7, seed]), size, noise, ill=bool(seed % 2))


@pytest.fixture(scope="module")
def usual():
    """The profile of sixty heads, as it comes back from its file."""
    rows = [quality.features(Image(picture(seed))) for seed in range(60)]
    return json.loads(json.dumps(quality.profile(rows), allow_nan=False))


def found(array, usual):
    return {name: (z, words) for name, z, words in quality.check(quality.features(Image(array)), usual)}


def spoilt(array, how):
    """The picture through an augmentation, in 8 bits again."""
    x = array.astype(np.float32)
    mean, spread = x.mean(), x.std()
    done = how((x - mean) / spread) * spread + mean
    return np.clip(np.round(done), 0, 255).astype(np.uint8)


def test_few_images_are_refused():
    rows = [quality.features(Image(picture(0)))] * (quality.LEAST - 1)
    with pytest.raises(HilumError, match=r"19 images can not say .* 20 are needed.*HIL-TRUST-10"):
        quality.profile(rows)


def test_good_images_are_hardly_ever_spoken_of(usual):
    alarms = [seed for seed in range(100, 200) if found(picture(seed), usual)]
    assert len(alarms) <= 5


@pytest.mark.parametrize(
    ("feature", "sign", "how"),
    [
        ("noise", 1, lambda x: noise.apply({"deviation": 0.4, "seed": 1}, x, "image")),
        ("sharpness", -1, lambda x: blur.apply({"sigma": 2.0}, x, "image")),
        ("high", -1, lambda x: (x - x.min()) * 0.4 + x.min()),
        ("span", -1, lambda x: x * 0.5),
        ("low", 1, lambda x: (x - x.max()) * 0.4 + x.max()),
        ("clipped_high", 1, lambda x: np.minimum(x * 2, 1.0)),
        ("border", 1, lambda x: x[:, 20:, 20:]),
        ("size", -1, lambda x: x[:, :80, :80]),
        ("empty", 1, lambda x: np.pad(x, [(0, 0), (40, 40), (40, 40)], constant_values=x.min())),
        ("stripes", 1, lambda x: gaussian_filter1d(x, 3, axis=2)),
        ("middle", -1, lambda x: np.where(np.indices(x.shape).max(axis=0) < 12, 3, x * 0.3)),
    ],
)  # fmt: skip
def test_each_fault_is_named(usual, feature, sign, how):
    for seed in (300, 301, 302):
        faults = found(spoilt(picture(seed), how), usual)
        assert feature in faults, (seed, faults)
        assert np.sign(faults[feature][0]) == sign


def test_a_sentence_says_the_value_and_what_is_usual(usual):
    blurred = spoilt(picture(300), lambda x: blur.apply({"sigma": 2.0}, x, "image"))
    words = found(blurred, usual)["sharpness"][1]
    value, facts = quality.features(Image(blurred))["sharpness"], usual["sharpness"]
    assert words == (
        "The image is blurrier than all 60 training images looked at "
        f"(sharpness {value:.2g}, usually {facts['p1']:.2g} to {facts['p99']:.2g})."
    )


def test_within_the_extremes_it_is_a_share_of_the_images():
    rows = [{"noise": 0.01 + 0.0001 * (i % 50)} for i in range(600)] + [{"noise": 0.08}]
    usual = quality.profile(rows)
    [(name, z, words)] = quality.check({"noise": 0.05}, usual, "fixed image")
    assert name == "noise" and z > 3
    start = "The fixed image is noisier than 99 % of the 601 training images looked at (noise over range 0.05,"
    assert words.startswith(start)


def test_what_never_varied_is_always_so(usual):
    colour = np.repeat(picture(300), 3, axis=0)
    faults = found(colour, usual)
    words = "The image has more channels than all 60 training images looked at (channels 3, always 1)."
    assert faults["channels"][1] == words
    assert "colour" not in faults and quality.features(Image(colour))["colour"] == 0
    colour[0] //= 2
    assert "more colourful" in found(colour, usual)["colour"][1]


def test_shares_are_written_in_percent_and_large_numbers_in_full():
    usual = quality.profile([{"clipped_high": 0.001, "high": 255.0, "size": 512.0}] * 20)
    words = " ".join(row[2] for row in quality.check({"clipped_high": 1.0, "high": 4095.0, "size": 64.0}, usual))
    assert "share at the highest value 100 %, always 0.1 %" in words
    assert "brightest values 4095, always 255" in words and "longest side in pixels 64, always 512" in words


def test_the_most_unusual_comes_first(usual):
    both = spoilt(picture(300)[:, 30:], lambda x: noise.apply({"deviation": 0.8, "seed": 1}, x, "image"))
    z = [abs(z) for _, z, _ in quality.check(quality.features(Image(both)), usual)]
    assert len(z) > 1 and z == sorted(z, reverse=True)


def test_only_what_both_have_is_compared(usual):
    assert quality.check({"thickness": 99.0}, usual) == []
    rows = [{"noise": 0.01, "spacing": 1.0}] * 19 + [{"noise": 0.01}]
    assert list(quality.profile(rows)) == ["noise"]


@pytest.mark.parametrize(
    "image",
    [
        Image(np.full((1, 40, 30), 7, dtype=np.uint8)),
        Image(np.zeros((3, 1, 1))),
        Image(np.where(np.eye(30) > 0, np.nan, np.arange(900.0).reshape(30, 30))[None]),
        Image(np.full((2, 12, 9, 3), -1000, dtype=np.int16), np.diag([1.0, 1, 4, 1])),
    ],
    ids=["one value", "one pixel", "with NaN", "an even volume"],
)
def test_every_feature_of_every_image_is_a_finite_number(image):
    seen = quality.features(image)
    assert set(seen) <= set(quality.FEATURES)
    assert all(type(v) is float and np.isfinite(v) for v in seen.values())
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen


def test_a_volume_has_slices_and_millimetres():
    rng = np.random.default_rng(5)
    head, affine_steps = Head(rng), (1.0, 1.0, 3.0)
    image, _ = heads.sample(head, "LPS", affine_steps, 0.02, rng)
    seen = quality.features(image)
    assert seen["slices"] == image.shape[2] and seen["thickness"] == 3 and seen["spacing"] == 1
    assert seen["size"] == max(image.shape[:2]) and seen["border"] == 0
    noisier, _ = heads.sample(head, "LPS", affine_steps, 0.1, np.random.default_rng(6))
    assert quality.features(noisier)["noise"] > 2 * seen["noise"]


def test_m08_a_spacing_far_from_that_of_the_training_images_is_named() -> None:
    """The same voxels: only what the header says of their size differs."""
    array = np.random.default_rng(5).normal(100, 20, (1, 24, 20, 12)).astype(np.float32)

    def seen(step: float) -> dict[str, float]:
        return quality.features(Image(array, np.diag([step, step, 3 * step, 1.0])))

    usual = quality.profile([seen(1 + 0.01 * (number % 5)) for number in range(quality.LEAST)])
    for step, sign, words in ((2.5, 1, "larger"), (0.4, -1, "smaller")):
        faults = {name: (z, said) for name, z, said in quality.check(seen(step), usual)}
        assert faults.keys() == {"spacing", "thickness"} and all(np.sign(z) == sign for z, _ in faults.values())
        said = f"{words} pixels than all 20 training images looked at (pixel size in mm {step}, usually 1 to 1)"
        assert faults["spacing"][1].startswith(f"The image has {said}")
    assert quality.check(seen(1.02), usual) == []
