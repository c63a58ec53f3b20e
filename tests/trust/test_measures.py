"""Measures obey the laws of what they are named for: noise, blur, ghosts, blocks, whatever the size and the storage."""

import io

import numpy as np
import pytest
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.data.phantoms import slices
from hilum.trust import _measures


def head(seed, size=128, noise=0.0):
    """A slice of a head, 0..1."""
    return slices.draw(np.random.default_rng(seed), size, noise, ill=False)[0].astype(np.float32) / 255


def disc(size=128, radius=20, centre=(64, 64)):
    rows, columns = np.mgrid[:size, :size]
    return (np.hypot(rows - centre[0], columns - centre[1]) < radius).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.003, 0.02, 0.1])
def test_noise_is_its_standard_deviation(sigma):
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.linspace(0, 1, 200), np.linspace(0, 2, 200))
    for under in (np.zeros((200, 200)), ramp, gaussian_filter(head(1, 200), 6)):
        seen = (under + rng.normal(0, sigma, (200, 200))).astype(np.float32)
        assert _measures.noise(seen) == pytest.approx(sigma, rel=0.04)


def test_more_noise_is_always_more():
    for seed in range(4):
        noise = np.random.default_rng(seed).normal(0, 1, (128, 128)).astype(np.float32)
        found = [_measures.noise(head(seed) + s * noise) for s in (0, 0.01, 0.03, 0.1, 0.3)]
        assert np.all(np.diff(found) > 0)


def test_more_blur_is_always_less_sharp():
    for seed in range(4):
        x = head(seed, noise=0.02)
        found = [_measures.detail(gaussian_filter(x, s), 0.0)[0] for s in (0, 0.7, 1.5, 3, 6)]
        assert np.all(np.diff(found) < 0)


def test_sharpness_knows_neither_brightness_nor_unit_nor_noise():
    for seed in range(4):
        x = gaussian_filter(head(seed), 1.5)
        plain = _measures.detail(x, 0.0)
        assert _measures.detail(37 * x + 5, 0.0) == pytest.approx(plain, rel=1e-3, abs=1e-3)
        noisy = x + np.random.default_rng(seed).normal(0, 0.2, x.shape).astype(np.float32)
        assert _measures.detail(noisy, 0.0)[0] > 1.2 * plain[0]
        assert _measures.detail(noisy, _measures.noise(noisy))[0] == pytest.approx(plain[0], rel=0.12)


def test_blur_has_an_axis():
    for seed in range(4):
        x = head(seed)
        plain = _measures.detail(x, 0.0)[1]
        found = [_measures.detail(gaussian_filter1d(x, 2.0, axis), 0.0)[1] for axis in (0, 1)]
        assert found[0] < plain - 0.4 and found[1] > plain + 0.4
        assert _measures.detail(gaussian_filter1d(x, 2.0, 0).T, 0.0)[1] == pytest.approx(-found[0], abs=1e-4)
    assert abs(_measures.detail(disc(), 0.0)[1]) < 0.05


def test_doubled_contours_have_an_axis():
    rng, found = np.random.default_rng(0), []
    for seed in range(6):
        x, moved = head(seed), np.roll(head(seed), 7, axis=0)
        # the fine part along the first axis is of another moment than the coarse one
        space, other = np.fft.fft(x, axis=0), np.fft.fft(moved, axis=0)
        fine = np.abs(np.fft.fftfreq(len(x))) > 0.05
        space[fine] = other[fine]
        seen = np.abs(np.fft.ifft(space, axis=0)).astype(np.float32) + rng.normal(0, 0.01, x.shape)
        found.append(_measures.astray(np.stack([x, seen])).ravel())
    before0, before1, after0, after1 = np.mean(found, axis=0)
    assert after0 > before0 + 0.04 and after0 - before0 > 2 * (after1 - before1)


@pytest.mark.parametrize("strength", [0.05, 0.2])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_ghost_is_as_bright_as_it_is(strength, axis):
    body = disc(centre=(64, 64), radius=24)
    seen = body + strength * np.roll(body, 64, axis)
    assert _measures.ghost(seen, _measures.thing(seen)) == pytest.approx(strength, abs=0.02)
    assert _measures.ghost(body, _measures.thing(body)) == 0


def test_no_background_shows_no_ghost():
    full = np.ones((64, 64), dtype=np.float32)
    assert _measures.ghost(full, _measures.thing(full)) == 0


def test_a_body_cut_off_touches_the_border():
    whole, cut = _measures.thing(disc()), _measures.thing(disc(centre=(4, 64)))
    assert _measures.border(whole) == 0 < _measures.border(cut)
    assert _measures.border(np.ones((9, 9), dtype=bool)) == 1


@pytest.mark.parametrize("crop", [0, 3, 5])
def test_blocks_of_jpeg_are_seen_wherever_the_picture_was_cropped(crop):
    def compressed(quality):
        stream = io.BytesIO()
        Picture.fromarray((head(2, 160, 0.03) * 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
        return np.asarray(Picture.open(stream), dtype=np.float32)[crop:, crop:] / 255

    fine, coarse = _measures.blocks(compressed(98)), _measures.blocks(compressed(8))
    assert coarse > 0.3 and coarse > fine + 0.2


def test_entropy_and_even_area_at_their_ends():
    levels = ((np.arange(64 * 64) % 64) / 63).reshape(64, 64).astype(np.float32)
    assert _measures.entropy(levels) == pytest.approx(6)
    flat = np.zeros((16, 16), dtype=np.float32)
    assert _measures.entropy(flat) == 0 and _measures.even(flat) == 1


def test_slices_are_the_same_however_a_volume_is_stored():
    rng = np.random.default_rng(3)
    ras = rng.normal(size=(1, 20, 24, 30)).astype(np.float32)
    first = _measures.planes(Image(ras, np.diag([1.0, 1, 1, 1])))
    assert first.shape == (1, 5, 20, 24)
    # the same volume, stored from feet to head, then to the left, then to the back
    turned = np.ascontiguousarray(np.transpose(ras, (0, 3, 1, 2))[:, :, ::-1, ::-1])
    affine = np.array([[0, -1.0, 0, 19], [0, 0, -1.0, 23], [1.0, 0, 0, 0], [0, 0, 0, 1]])
    np.testing.assert_array_equal(_measures.planes(Image(turned, affine)), first)


def test_slices_lie_across_the_coarse_axis():
    volume = Image(np.zeros((2, 9, 40, 50)), np.diag([5.0, 1, 1, 1]))
    assert _measures.planes(volume).shape == (2, 5, 40, 50)


def test_large_planes_are_thinned_and_their_middle_is_not():
    stored = np.zeros((1, 1, 2500, 600), dtype=np.uint8)
    stored[0, 0, 1250, 300] = 7
    assert _measures.whole(stored).shape == (1, 1, 834, 200)
    middle = _measures.middle(stored)
    assert middle.shape == (1, 1, 512, 512) and middle.max() == 7


def test_what_is_no_number_becomes_the_least_number():
    stored = np.array([[3.0, np.nan], [np.inf, 5.0]])[None, None]
    found = _measures.whole(stored)
    assert found.shape == (1, 1, 8, 8) and found.min() == 3 and found.max() == 5
    with pytest.raises(HilumError, match="HIL-N09"):
        _measures.whole(np.full((1, 1, 9, 9), np.nan))
