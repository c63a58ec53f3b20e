"""MS-SSIM: equality with MONAI, each scale its own power, ignored voxels, small images, wrong predictions."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hilum.core.errors import HilumError
from hilum.losses.ms_ssim import WEIGHTS, ms_ssim, similarity


def pair(*shape: int) -> tuple[Tensor, Tensor]:
    """Two images of few structures that are alike."""
    torch.manual_seed(0)
    x = functional.avg_pool2d(torch.rand(shape), 7, 1, 3) if len(shape) == 4 else torch.rand(shape)
    return x, (x + 0.2 * torch.rand(shape)).clamp(0, 1)


def known(x: Tensor) -> Tensor:
    return torch.ones_like(x[:, :1])


@pytest.mark.parametrize("shape", [(2, 3, 176, 180), (1, 2, 48, 48, 50)])
def test_it_equals_monai_class_by_class(shape: tuple[int, ...]) -> None:
    regression = pytest.importorskip("monai.metrics.regression")
    x, y = pair(*shape)
    window, dims = (11, 2) if len(shape) == 4 else (3, 3)
    metric = regression.MultiScaleSSIMMetric(dims, kernel_size=window)
    theirs = metric._compute_metric(x.flatten(0, 1)[:, None], y.flatten(0, 1)[:, None])
    ours = similarity(x, y, known(x), window=window)
    torch.testing.assert_close(ours.flatten(), theirs.flatten(), rtol=1e-4, atol=1e-5)


def test_the_same_is_one_and_the_product_runs_over_scales() -> None:
    """UNet 3+'s code raises the SSIM of the last scale to its power four times too often."""
    x, y = pair(1, 1, 176, 176)
    torch.testing.assert_close(similarity(x, x, known(x)), torch.ones(1, 1))
    # constant images differ in luminance alone, which only the last scale sees, once
    x, y = torch.full((1, 1, 176, 176), 0.2), torch.full((1, 1, 176, 176), 0.6)
    luminance = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert float(similarity(x, y, known(x))) == pytest.approx(luminance ** WEIGHTS[-1], rel=1e-4)


def test_a_small_image_has_fewer_scales_and_one_below_the_window_is_refused() -> None:
    x, y = torch.full((1, 1, 40, 60), 0.2), torch.full((1, 1, 40, 60), 0.6)
    luminance = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    power = WEIGHTS[1] * sum(WEIGHTS) / sum(WEIGHTS[:2])
    assert float(similarity(x, y, known(x))) == pytest.approx(luminance**power, rel=1e-4)
    with pytest.raises(HilumError, match="window=7"):
        similarity(x[..., :8], y[..., :8], known(x)[..., :8])
    with pytest.raises(HilumError, match="even"):
        similarity(x, y, known(x), window=4)
    with pytest.raises(HilumError, match="sigma is 0"):
        ms_ssim(torch.zeros(1, 2, 40, 40), torch.zeros(1, 40, 40), sigma=0)


def test_a_wrong_prediction_has_a_finite_gradient() -> None:
    target = (torch.arange(48)[None, :, None] // 2 % 2).expand(1, 48, 48)
    logits = (3 * functional.one_hot(1 - target, 2).movedim(-1, 1).float()).requires_grad_()
    loss = ms_ssim(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) > 0.9 and bool(gradient.isfinite().all())


def test_one_scale_that_is_wrong_does_not_silence_the_others() -> None:
    """A fine pattern turned over, on a coarse one that is nearly right: in MONAI nothing has a gradient."""
    rows = torch.arange(180)
    fine = 0.3 * (1 - 2 * ((rows[:, None] + rows) % 2))
    coarse = (0.5 + 0.15 * torch.sin(rows / 12)).expand(180, 180)
    x, y = (coarse + fine)[None, None].requires_grad_(), (0.9 * coarse - fine)[None, None]
    index = similarity(x, y, known(y))
    (gradient,) = torch.autograd.grad(index.sum(), x)
    assert 0 < float(index.detach()) < 0.6 and bool(gradient.isfinite().all()) and float(gradient.abs().sum()) > 0.01
    regression = pytest.importorskip("monai.metrics.regression")
    theirs = regression.MultiScaleSSIMMetric(2)._compute_metric(x, y)
    (gradient,) = torch.autograd.grad(theirs.sum(), x)
    assert float(theirs.detach()) == 0 and not bool(gradient.any())


def test_ignored_voxels_count_nowhere() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 40, 40, requires_grad=True), torch.randint(0, 3, (2, 40, 40))
    target[:, 17:] = -1
    loss = ms_ssim(logits, target, -1)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not bool(gradient[:, :, 17:].any()) and bool(gradient[:, :, :17].any())
    other = logits.detach().clone()
    other[:, :, 17:] = 9
    torch.testing.assert_close(ms_ssim(other, target, -1), loss.detach())
    # constant and right up to the edge of what is known: nothing is lost there
    same = torch.zeros(1, 40, 40, dtype=torch.long)
    same[:, 17:] = -1
    sure = 100 * functional.one_hot(same.clamp_min(0), 2).movedim(-1, 1).float()
    assert float(ms_ssim(sure, same, -1, background=True)) == pytest.approx(0, abs=1e-5)


def test_an_image_that_is_ignored_as_a_whole_counts_nowhere() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 2, 24, 24), torch.randint(0, 2, (2, 24, 24))
    target[1] = -1
    torch.testing.assert_close(ms_ssim(logits, target, -1), ms_ssim(logits[:1], target[:1]))
    assert float(ms_ssim(logits, torch.full_like(target, -1), -1)) == 0


def test_half_precision_is_widened_even_under_autocast() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(1, 2, 32, 32, 32), torch.randint(0, 2, (1, 32, 32, 32))
    with torch.autocast("cpu", torch.bfloat16):
        inside = float(ms_ssim(logits, target))
    assert inside == pytest.approx(float(ms_ssim(logits, target)), abs=1e-6)


def test_no_convolution_may_round_to_tf32_there_or_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Differences of near means would be lost, and the backward pass runs when the loss has returned."""
    plain, enabled, seen = functional.conv1d, torch.backends.cudnn.enabled, list[tuple[bool, bool]]()
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)

    def watched(*given: Any, **more: Any) -> Tensor:
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.enabled))
        out: Tensor = plain(*given, **more)
        return out

    monkeypatch.setattr(functional, "conv1d", watched)
    torch.manual_seed(0)
    logits, target = torch.randn(1, 2, 24, 24, requires_grad=True), torch.randint(0, 2, (1, 24, 24))
    loss = ms_ssim(logits, target)
    there = len(seen)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert 0 < there < len(seen) and set(seen) == {(False, enabled)}
    assert torch.backends.cudnn.allow_tf32 and bool(gradient.any())


def test_the_gradient_of_the_means_is_that_of_a_plain_convolution() -> None:
    from hilum.losses.ms_ssim import _blurred

    torch.manual_seed(0)
    x, kernel, weight = torch.randn(2, 3, 9, 8, 7, requires_grad=True), torch.rand(5), torch.randn(2, 3, 5, 4, 3)
    cube = kernel[:, None, None] * kernel[:, None] * kernel
    plain = functional.conv3d(x, cube.expand(3, 1, 5, 5, 5), groups=3)
    made = _blurred(x, kernel)
    torch.testing.assert_close(made, plain, rtol=1e-4, atol=1e-4)
    (ours,), (theirs,) = (torch.autograd.grad((one * weight).sum(), x) for one in (made, plain))
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
