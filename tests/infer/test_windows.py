"""Windows: merging changes nothing that the network did not say."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.infer import windows


class Constant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.5, -2.0]).reshape(1, 2, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])


class FirstAxis(nn.Module):
    """Says where along the window's first axis it is: not the same after mirroring."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(x.shape[2], dtype=torch.float32).reshape(1, 1, -1, *[1] * (x.ndim - 3))
        return ramp.expand(1, 1, *x.shape[2:])


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((40, 33), [16, 16]), ((16, 16), [16, 16]), ((7, 50), [16, 16]), ((5, 6), [16, 16]), ((20, 9, 30), [8, 16, 12])],
    ids=str,
)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_an_identity_network_gives_the_input_back(shape: tuple[int, ...], patch: list[int], overlap: float) -> None:
    image = noise((2, *shape))
    out = windows.merged(nn.Identity(), image, patch, overlap)
    np.testing.assert_allclose(out.numpy(), image, atol=1e-5)
    both = windows.merged(nn.Identity(), image, patch, overlap, mirror=True)
    np.testing.assert_allclose(both.numpy(), image, atol=1e-5)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
def test_a_constant_network_is_constant_however_many_windows(overlap: float) -> None:
    out = windows.merged(Constant(), noise((1, 40, 30)), [16, 16], overlap)
    np.testing.assert_allclose(out[0].numpy(), 1.5, rtol=1e-6)
    np.testing.assert_allclose(out[1].numpy(), -2.0, rtol=1e-6)


def test_mirroring_turns_the_answer_back() -> None:
    out = windows.merged(FirstAxis(), noise((1, 16, 16)), [16, 16], 0.5, mirror=True)
    np.testing.assert_allclose(out.numpy(), 7.5, atol=1e-5)


def test_the_weights_are_highest_in_the_middle_and_never_zero() -> None:
    found = windows.weights([64, 32, 16])
    assert found.shape == (64, 32, 16) and float(found.min()) > 0
    assert float(found.max()) == pytest.approx(float(found[31, 15, 7]))
    torch.testing.assert_close(found, found.flip((0, 1, 2)))


def test_memory_is_promised_and_kept_to() -> None:
    image = noise((1, 40, 30))
    need = windows.memory((40, 30), 2, [16, 16], 1)
    assert need == 40 * 30 * 4 * 4
    windows.merged(Constant(), image, [16, 16], 0.5, limit=need)
    with pytest.raises(HilumError) as error:
        windows.merged(Constant(), image, [16, 16], 0.5, limit=need - 1)
    assert error.value.code == "HIL-INFER-01"


def test_progress_counts_every_window() -> None:
    seen: list[tuple[int, int]] = []

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        seen.append((done, total))

    windows.merged(Constant(), noise((1, 32, 16)), [16, 16], 0.5, progress=progress)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_nothing_is_kept_for_gradients() -> None:
    net: Any = nn.Conv2d(1, 2, 3, padding=1)
    assert not windows.merged(net, noise((1, 20, 20)), [16, 16], 0.5).requires_grad
