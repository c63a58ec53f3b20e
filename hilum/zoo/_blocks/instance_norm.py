"""Instance norm (Ulyanov et al., 2016) that keeps the channels-last layout while training.

PyTorch's folds the batch into the channels, which copies a channels-last tensor to and fro at every layer and so eats
what the faster convolutions of that layout gain. The numbers are the same: one call of batch norm per sample.
"""

from typing import Any

import torch
from torch import Tensor, nn


class _PerSample(torch.autograd.Function):
    """x: (B, C, *space), channels last. Statistics over space, per sample and channel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        out, means, inverses = torch.empty_like(x), [], []
        for n in range(len(x)):
            out[n : n + 1], mean, inverse = torch.native_batch_norm(
                x[n : n + 1], weight, bias, None, None, True, 0.0, eps
            )
            means.append(mean)
            inverses.append(inverse)
        ctx.save_for_backward(x, weight, torch.stack(means), torch.stack(inverses))
        ctx.eps = eps
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, means, inverses = ctx.saved_tensors
        # laid out as x is; most often it comes so
        grad = grads[0] if grads[0].stride() == x.stride() else torch.empty_like(x).copy_(grads[0])
        inputs, to_weight, to_bias = torch.empty_like(x), torch.zeros_like(weight), torch.zeros_like(weight)
        for n in range(len(x)):
            part, scale, shift = torch.ops.aten.native_batch_norm_backward(
                grad[n : n + 1], x[n : n + 1], weight, None, None, means[n], inverses[n], True, ctx.eps, [True] * 3
            )
            inputs[n : n + 1] = part
            to_weight += scale
            to_bias += shift
        return inputs, to_weight, to_bias, None


class _KeepsLayout(nn.Module):
    """The forward of both dimensions; everything else, the names of the weights too, is PyTorch's own class."""

    def forward(self, x: Tensor) -> Tensor:
        layout = torch.channels_last_3d if x.ndim == 5 else torch.channels_last
        mixed = x.is_contiguous() or not x.is_contiguous(memory_format=layout)
        if self.weight is None or self.track_running_stats or mixed or not torch.is_grad_enabled():
            plain: Tensor = super().forward(x)  # type: ignore[misc]
            return plain
        out: Tensor = _PerSample.apply(x, self.weight, self.bias, self.eps)
        return out


class InstanceNorm2d(_KeepsLayout, nn.InstanceNorm2d):
    """`torch.nn.InstanceNorm2d`."""


class InstanceNorm3d(_KeepsLayout, nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d`."""
