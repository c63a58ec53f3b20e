"""The acquisition operator keeps its laws: adjoint, unitary, what the cards say of masks and coils."""

import numpy as np
import pytest
import torch

from hilum.core.errors import HilumError
from hilum.physics import coils, masks, noise
from hilum.physics.fourier import Fourier, to_image, to_kspace

RNG = np.random.default_rng(0)


def complex_noise(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


@pytest.mark.parametrize("shape", [(8, 8), (9, 12), (7, 5)])
def test_the_pair_is_unitary_and_centred(shape: tuple[int, int]) -> None:
    x = complex_noise(3, *shape)
    np.testing.assert_allclose(to_image(to_kspace(x)), x, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(to_kspace(x)), np.linalg.norm(x), rtol=1e-12)
    flat = np.abs(to_kspace(np.ones(shape)))
    assert np.unravel_index(flat.argmax(), shape) == (shape[0] // 2, shape[1] // 2)


@pytest.mark.parametrize("with_maps", [False, True])
@pytest.mark.parametrize("mask_shape", [(10,), (12, 10), (2, 1, 10), (2, 12, 10)])
def test_adjoint(with_maps: bool, mask_shape: tuple[int, ...]) -> None:
    mask = torch.from_numpy((RNG.random(mask_shape) > 0.5).astype(np.float64))
    maps = torch.from_numpy(complex_noise(2, 4, 12, 10)) if with_maps else None
    operator = Fourier(mask, maps)
    x = torch.from_numpy(complex_noise(2, 12, 10))
    y = torch.from_numpy(complex_noise(2, operator.coils, 12, 10))
    left, right = (
        torch.vdot(operator.forward(x).flatten(), y.flatten()),
        torch.vdot(x.flatten(), operator.adjoint(y).flatten()),
    )
    assert abs(left - right) / abs(left) < 1e-10
    assert operator.forward(x).shape == y.shape


def test_the_tensor_operator_is_the_numpy_pair() -> None:
    maps = coils.birdcage(4, (12, 10))
    mask = masks.random_columns(10, 2, 0.2, np.random.default_rng(0))
    x = complex_noise(12, 10).astype(np.complex64)
    seen = Fourier.from_plain({"name": "fourier", "mask": mask, "maps": maps}).forward(torch.from_numpy(x)[None])[0]
    np.testing.assert_allclose(seen.numpy(), to_kspace(maps * x) * mask, atol=1e-5)


def test_fully_sampled_with_normalised_maps_is_the_identity() -> None:
    maps = torch.from_numpy(coils.birdcage(4, (12, 10)))
    x = torch.from_numpy(complex_noise(1, 12, 10).astype(np.complex64))
    torch.testing.assert_close(Fourier(torch.ones(10), maps).normal(x), x, atol=1e-5, rtol=1e-5)


def test_plain_and_back_and_batches() -> None:
    one = {"name": "fourier", "mask": np.array([1, 0, 1, 1], np.float32), "maps": coils.birdcage(2, (6, 4))}
    two = one | {"mask": np.array([1, 1, 0, 0], np.float32)}
    batch = Fourier.from_plain([one, two])
    assert batch.mask.shape == (2, 1, 1, 4) and batch.maps is not None and batch.maps.shape == (2, 2, 6, 4)
    again = Fourier.from_plain(batch.plain())
    assert torch.equal(again.mask, batch.mask) and again.maps is not None and torch.equal(again.maps, batch.maps)
    assert torch.equal(batch[1:].mask, batch.mask[1:]) and batch.to("cpu").coils == 2
    with pytest.raises(HilumError, match="HIL-PHYS-01"):
        Fourier.from_plain([one, one | {"maps": None}])
    with pytest.raises(HilumError, match="radon"):
        Fourier.from_plain({"name": "radon"})


def test_gradients_pass() -> None:
    x = torch.zeros(1, 6, 4, dtype=torch.complex64, requires_grad=True)
    Fourier(torch.ones(4)).forward(x).abs().sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize(("centre", "acceleration"), [(0.08, 4), (0.04, 8), (0.08, 2)])
@pytest.mark.parametrize("width", [64, 96, 320, 369])
def test_masks_have_their_rate_and_centre(centre: float, acceleration: int, width: int) -> None:
    rng = np.random.default_rng(0)
    for kind in (masks.random_columns, masks.equispaced_fraction):
        many = np.stack([kind(width, acceleration, centre, rng) for _ in range(400)])
        count = round(width * centre)
        start = (width - count + 1) // 2
        assert many[:, start : start + count].all() and set(np.unique(many)) == {0, 1}
        if kind is masks.random_columns:
            assert abs(many.mean() * acceleration - 1) < 0.05
        else:
            assert abs(many.mean() * acceleration - 1) < 0.15
    with pytest.raises(HilumError, match="HIL-PHYS-02"):
        masks.random_columns(64, 8, 0.5, rng)


@pytest.mark.parametrize("centre", [0.0, 0.08, 0.999])
def test_no_acceleration_samples_everything(centre: float) -> None:
    for kind in (masks.random_columns, masks.equispaced_fraction):
        assert kind(64, 1, centre, np.random.default_rng(0)).all()


@pytest.mark.parametrize("count", [1, 4, 8])
def test_coil_maps_have_unit_root_sum_of_squares(count: int) -> None:
    maps = coils.birdcage(count, (24, 17))
    np.testing.assert_allclose(coils.root_sum_of_squares(maps), 1, atol=1e-5)
    if count > 1:
        centre = [np.unravel_index(np.abs(one).argmax(), one.shape) for one in maps]
        assert len(set(centre)) == count


def test_noise_has_its_size_and_stays_on_samples() -> None:
    mask = np.array([1, 0] * 32, np.float32)
    seen = noise.add_complex(np.zeros((40, 64, 64), np.complex64), 0.3, np.random.default_rng(0), mask)
    assert not seen[..., mask == 0].any()
    assert abs(np.sqrt((np.abs(seen[..., mask == 1]) ** 2).mean()) - 0.3) < 0.003
    phase = coils.smooth_phase((16, 16), np.random.default_rng(0), 1.5)
    assert np.ptp(phase) <= 3.0 + 1e-9
    assert noise.rician(np.ones((8, 8)), 0.0, np.random.default_rng(0)).tolist() == np.ones((8, 8)).tolist()
