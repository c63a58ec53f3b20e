"""Local NCC: gain and offset do not matter; noise and flat images do nothing."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.losses.ncc import ncc


def image(*space: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.rand(2, 1, *space, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("space", [(40,), (20, 24), (12, 14, 16)])
@pytest.mark.parametrize(("gain", "offset"), [(1.0, 0.0), (2.0, 0.5), (-1.0, 100.0)])
def test_gain_and_offset_do_not_matter(space: tuple[int, ...], gain: float, offset: float) -> None:
    x = image(*space)
    assert float(ncc(x, gain * x + offset)) == pytest.approx(-1, abs=1e-3)


def test_by_definition() -> None:
    x, y = image(7, 8, dtype=torch.float64), image(7, 8, dtype=torch.float64).flip(2).sqrt()
    a, b = (t[0, 0, 0:5, 0:5] for t in (x, y))  # the 5-window around (2, 2)
    a, b = a - a.mean(), b - b.mean()
    wanted = -((a * b).sum() ** 2) / ((a * a).sum() * (b * b).sum() + 1e-5)
    whole = []
    for i in range(7):
        for j in range(8):
            rows, columns = slice(max(i - 2, 0), i + 3), slice(max(j - 2, 0), j + 3)
            p, q = (t[:, 0, rows, columns].flatten(1) for t in (x, y))
            p, q = p - p.mean(1, keepdim=True), q - q.mean(1, keepdim=True)
            whole.append(-((p * q).sum(1) ** 2) / ((p * p).sum(1) * (q * q).sum(1) + 1e-5))
    torch.testing.assert_close(whole[2 * 8 + 2][0], wanted)
    torch.testing.assert_close(ncc(x, y, window=5), torch.stack(whole).mean())


def test_unrelated_and_flat_images_score_low() -> None:
    x = image(24, 24)
    assert float(ncc(x, x.flip(2))) > -0.1
    flat = torch.full_like(x, 0.3, requires_grad=True)
    loss = ncc(flat, x)
    loss.backward()
    assert (
        float(loss.detach()) == pytest.approx(0, abs=1e-6)
        and flat.grad is not None
        and bool(flat.grad.isfinite().all())
    )


def test_gradient() -> None:
    x, y = image(6, 5, dtype=torch.float64), image(6, 5, dtype=torch.float64).flip(2)
    assert torch.autograd.gradcheck(lambda x: ncc(x, y, window=3), x.requires_grad_(True))


def test_half_precision_is_widened() -> None:
    x = image(16, 16)
    assert float(ncc(x.half(), x.half().flip(2))) == pytest.approx(float(ncc(x, x.flip(2))), abs=1e-3)


def test_other_shapes_and_even_windows_are_refused() -> None:
    with pytest.raises(HilumError, match="one grid"):
        ncc(image(8, 8), image(8, 9))
    with pytest.raises(HilumError, match="odd"):
        ncc(image(8, 8), image(8, 8), window=4)
