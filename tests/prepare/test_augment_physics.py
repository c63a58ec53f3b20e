"""What each intensity augmentation says of itself, measured."""

from typing import Any

import numpy as np
import pytest

from hilum.core import catalogue
from hilum.prepare.augment import (
    bias_field,
    colour,
    ct_noise,
    gamma,
    ghost,
    low_resolution,
    motion,
    ringing,
    speckle,
    spike,
    stain,
)  # fmt: skip

STAY = ["bias_field", "gamma", "ghost", "motion"]
SHAPES = {2: (48, 40), 3: (20, 24, 18)}


def disc(shape: tuple[int, ...] = (64, 64), radius: float = 0.15) -> np.ndarray:
    """A bright ball in the middle, dark around; (1, *shape)."""
    axes = np.meshgrid(*[np.linspace(-0.5, 0.5, n) for n in shape], indexing="ij")
    return (sum(a**2 for a in axes) < radius**2).astype(np.float32)[None]


def drawn(name: str, dims: int, seed: int, **options: Any) -> dict[str, Any]:
    module = catalogue.load("hilum.prepare.augment", name)
    found: dict[str, Any] = module.sample(
        np.random.default_rng(seed), dims, **(module.CARD["options"] | {"probability": 1.0} | options)
    )
    return found


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", STAY)
def test_mean_and_spread_stay(name: str, dims: int) -> None:
    image = np.random.default_rng(1).normal(3, 2, (2, *SHAPES[dims])).astype(np.float32)
    module = catalogue.load("hilum.prepare.augment", name)
    for seed in range(5):
        out = module.apply(drawn(name, dims, seed), image, "image")
        np.testing.assert_allclose([c.mean() for c in out], [c.mean() for c in image], atol=1e-3)
        np.testing.assert_allclose([c.std() for c in out], [c.std() for c in image], atol=1e-3)


def test_gamma_keeps_the_order_and_bends_from_either_end() -> None:
    image = np.linspace(0, 1, 101, dtype=np.float32).reshape(1, 101, 1)
    plain = gamma.apply({"gamma": 1.5, "inverted": False}, image, "image")[0, :, 0]
    turned = gamma.apply({"gamma": 1.5, "inverted": True}, image, "image")[0, :, 0]
    assert (np.diff(plain) >= 0).all() and (np.diff(turned) >= 0).all()
    # a power above 1 flattens the end it starts from
    assert np.diff(plain)[:10].sum() < np.diff(plain)[-10:].sum()
    assert np.diff(turned)[:10].sum() > np.diff(turned)[-10:].sum()


def test_gamma_is_inverted_as_often_as_asked() -> None:
    assert all(drawn("gamma", 2, s, inverted=1.0)["inverted"] for s in range(20))
    assert not any(drawn("gamma", 2, s)["inverted"] for s in range(20))


@pytest.mark.parametrize("shape", [(40, 30), (20, 24, 16)])
def test_a_bias_field_is_smooth_and_within_its_strength(shape: tuple[int, ...]) -> None:
    for seed in range(5):
        log = np.log(bias_field.field(drawn("bias_field", len(shape), seed, strength=0.5), shape))
        assert np.abs(log).max() <= 0.5 + 1e-5 and abs(log.mean()) < 1e-4 and log.std() > 0.01
        assert all(np.abs(np.diff(log, axis=a)).max() < 0.4 for a in range(len(shape)))
        # a polynomial of third order has no fourth difference
        fourth = np.diff(log.astype(np.float64), n=4, axis=0)
        assert np.abs(fourth).max() < 1e-4


def test_a_bias_field_leaves_no_signal_at_none() -> None:
    image = disc() * 3 - 1
    out = bias_field.apply(drawn("bias_field", 2, 0), image, "image")
    assert np.ptp(out[image == -1]) < 1e-5 < np.ptp(out[image == 2])


@pytest.mark.parametrize("phase", [0.0, 0.8, 2.0])
def test_ghosts_are_a_modulation_of_k_space_lines(phase: float) -> None:
    rng = np.random.default_rng(0)
    image = rng.uniform(0, 1, (1, 32, 20)).astype(np.float32)
    image[0, 0, 0] = 0
    params = {"strength": 0.4, "axis": 0, "distance": 0.25, "phase": phase}
    lines = np.fft.fftfreq(32) * 32
    weights = 1 + 0.4 * np.cos(2 * np.pi * lines * 8 / 32 + phase)
    want = np.abs(np.fft.ifft(np.fft.fft(image[0], axis=0) * weights[:, None], axis=0))
    out = ghost.apply(params, image, "image")[0]
    want = (want - want.mean()) / want.std() * image.std() + image.mean()
    np.testing.assert_allclose(out, want, atol=1e-4)


def test_ghosts_lie_at_the_distance_and_wrap_around() -> None:
    params = {"strength": 0.4, "axis": 1, "distance": 0.4, "phase": 0.0}
    out = ghost.apply(params, disc((60, 60), 0.08), "image")[0]
    row = out[30] - np.median(out)
    move = round(0.4 * 60)
    peaks = [30, 30 - move, (30 + move) % 60]
    assert row[peaks[1]] > 0.1 * row[peaks[0]] and row[peaks[2]] > 0.1 * row[peaks[0]]
    assert abs(row[peaks[1]] / row[peaks[0]] - 0.2) < 0.02
    assert np.abs(row[[30 - move // 2, 30 + move // 2]]).max() < 1e-5


def test_motion_of_two_poses_on_one_side_shows_both() -> None:
    image = disc(SHAPES[2], 0.2)
    poses = [{"at": at, "degrees": [0.0], "shares": [share, 0.0]} for at, share in ((0.1, 0.2), (0.4, -0.2))]
    both = motion.apply({"axis": 0, "poses": poses}, image, "image")
    assert not np.allclose(both, motion.apply({"axis": 0, "poses": poses[1:]}, image, "image"), atol=1e-4)
    np.testing.assert_array_equal(both, motion.apply({"axis": 0, "poses": poses[::-1]}, image, "image"))


@pytest.mark.parametrize("dims", [2, 3])
def test_motion_of_one_pose_is_that_pose_and_the_centre_of_k_space_stays_sharp(dims: int) -> None:
    image = disc(SHAPES[dims], 0.2)
    nothing = {"at": 0.3, "degrees": [0.0] * (1 if dims == 2 else 3), "shares": [0.0] * dims}
    moved = nothing | {"shares": [0.1] + [0.0] * (dims - 1)}
    still = motion.apply({"axis": 0, "poses": [nothing]}, image, "image")
    np.testing.assert_allclose(still, image, atol=1e-4)
    out = motion.apply({"axis": 0, "poses": [moved]}, image, "image")
    assert np.abs(out - image).max() > 0.05
    axes = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPES[dims]], indexing="ij"))
    centres = [(axes * a).reshape(dims, -1).sum(1) / a.sum() for a in (image[0], np.clip(out[0] - 0.3, 0, None))]
    np.testing.assert_allclose(centres[1], centres[0], atol=1, err_msg="where the labels are")


def test_nobody_moves_while_the_centre_of_k_space_is_taken() -> None:
    for seed in range(30):
        assert all(abs(p["at"] - 0.5) >= motion.CORE - 1e-9 for p in drawn("motion", 3, seed)["poses"])


def test_ringing_overshoots_beside_an_edge_and_keeps_the_mean() -> None:
    image = np.zeros((1, 64, 8), np.float32)
    image[:, 16:48] = 1
    out = ringing.apply({"keep": 0.4, "axis": 0}, image, "image")
    assert 1.05 < out.max() < 1.15 and out.min() < -0.05 and np.isclose(out.mean(), image.mean(), atol=1e-5)
    space = np.abs(np.fft.rfft(out[0, :, 0]))
    assert space[round(0.4 * 33) :].max() < 1e-4
    assert (ringing.apply({"keep": 0.4, "axis": 1}, image, "image") - image).max() < 1e-5


def test_a_spike_is_one_sample_of_k_space() -> None:
    image = np.random.default_rng(0).normal(0, 2, (1, 32, 24)).astype(np.float32)
    params = {"strength": 0.5, "frequency": [0.25, -0.125], "phase": 1.0}
    change = spike.apply(params, image, "image") - image
    space = np.abs(np.fft.fftn(change[0]))
    assert (space > space.max() * 1e-3).sum() == 2 and space[8, -3] == pytest.approx(space.max(), rel=1e-3)
    assert np.abs(change).max() == pytest.approx(0.5 * image.std(), rel=0.05)


@pytest.mark.parametrize("zoom", [0.5, 0.7])
def test_low_resolution_keeps_what_is_slow_and_loses_what_is_fast(zoom: float) -> None:
    along = np.arange(48, dtype=np.float32).reshape(1, -1, 1)
    ramp = np.repeat(along, 6, axis=2)
    out = low_resolution.apply({"zoom": zoom, "axes": [0]}, ramp, "image")
    np.testing.assert_allclose(out[:, 2:-2], ramp[:, 2:-2], atol=1.01)
    checks = np.random.default_rng(0).normal(0, 1, (1, 48, 6)).astype(np.float32)
    rough = low_resolution.apply({"zoom": zoom, "axes": [0]}, checks, "image")
    assert np.abs(np.diff(rough, axis=1)).mean() < 0.9 * np.abs(np.diff(checks, axis=1)).mean()
    np.testing.assert_array_equal(low_resolution.apply({"zoom": zoom, "axes": []}, checks, "image"), checks)


def test_ct_noise_has_a_ramp_like_spectrum_and_the_deviation_asked_for() -> None:
    image = np.zeros((1, 64, 64, 24), np.float32)
    params = {"deviation": 0.2, "dependence": 0.3, "seed": 1}
    noise = ct_noise.apply(params, image, "image")[0]
    assert noise.std() == pytest.approx(0.2, rel=0.03) and abs(noise.mean()) < 1e-4
    power = (np.abs(np.fft.fft2(noise, axes=(0, 1))) ** 2).mean(axis=2)
    distance = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64)[None])
    at = [power[np.abs(distance - f) < 0.02].mean() for f in (0.03, 0.08, 0.14, 0.45)]
    assert at[0] < at[1] < at[2] and at[3] < 0.05 * at[2]
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.05


def test_ct_noise_is_stronger_in_the_body() -> None:
    image = disc((96, 96), 0.3) * 2 - 1
    noise = ct_noise.apply({"deviation": 0.2, "dependence": 0.5, "seed": 1}, image, "image") - image
    inside = disc((96, 96), 0.2) > 0
    assert noise[inside].std() > 1.3 * noise[disc((96, 96), 0.45) == 0].std()


def test_speckle_multiplies_and_has_grains() -> None:
    image = np.ones((2, 64, 64), np.float32)
    image[:, :, :32] = 0
    out = speckle.apply({"deviation": 0.2, "grain": 1.5, "seed": 0}, image, "image")
    assert (out[:, :, :32] == 0).all() and out[:, :, 32:].std() == pytest.approx(0.2, rel=0.2)
    beside = np.corrcoef(out[0, :-1, 32:].ravel(), out[0, 1:, 32:].ravel())[0, 1]
    assert beside > 0.5
    np.testing.assert_array_equal(out[0], out[1])


def test_colour_leaves_grey_grey_but_for_balance_and_turns_hue() -> None:
    grey = np.repeat(np.random.default_rng(0).normal(0, 1, (1, 9, 9)), 3, axis=0).astype(np.float32)
    params = drawn("colour", 2, 3, balance=0.0)
    np.testing.assert_allclose(colour.apply(params, grey, "image"), grey, atol=1e-5)
    red = np.zeros((3, 1, 1), np.float32)
    red[0] = 1
    pale = drawn("colour", 2, 3, balance=0.0, hue=0.0, saturation=[0.0, 0.0])
    np.testing.assert_allclose(colour.apply(pale, red, "image").ravel(), [0.299] * 3, atol=1e-5)
    assert colour.apply(params, red, "image").ravel()[1:].tolist() != [0, 0]


def transmitted(amounts: list[float]) -> np.ndarray:
    """(3, 1, 1) light through amounts of the three dyes."""
    dyes = stain.DYES / np.linalg.norm(stain.DYES, axis=1, keepdims=True)
    return (10.0 ** -(np.array(amounts) @ dyes)).astype(np.float32).reshape(3, 1, 1)


def test_stain_changes_the_amount_of_one_dye_by_its_factor() -> None:
    image = np.concatenate([transmitted([0.5, 0.3, 0.1]), transmitted([0.1, 0.6, 0.2])], axis=1)
    params = {"factors": [1.4, 1.0, 1.0], "shifts": [0.0, 0.0, 0.05]}
    want = np.concatenate([transmitted([0.7, 0.3, 0.15]), transmitted([0.14, 0.6, 0.25])], axis=1)
    np.testing.assert_allclose(stain.apply(params, image, "image"), want, atol=1e-5)


def test_stain_of_z_scores_keeps_white_white() -> None:
    image = np.random.default_rng(0).uniform(0, 1, (3, 16, 16)).astype(np.float32)
    image[:, 0, 0], image[:, 1, 1] = 1, 0
    scaled = (image - 0.5) / 0.25
    params = {"factors": [1.2, 0.8, 1.1], "shifts": [0.0, 0.0, 0.0]}
    want = (stain.apply(params, image, "image") - 0.5) / 0.25
    out = stain.apply(params, scaled, "image")
    np.testing.assert_allclose(out, want, atol=1e-4)
    np.testing.assert_allclose(out[:, 0, 0], 2)
