"""Swin Transformer's block (Liu et al., 2021) in 2-D: attention within windows, shifted in every second block.

x: (B, H, W, C), channels last; H and W divisible by the window.
"""

import torch
from torch import Tensor, nn


def windows(x: Tensor, window: int) -> Tensor:
    """(B, H, W, C) -> (B, N, window * window, C), N windows row by row."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))  # b Y y X x c
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def joined(x: Tensor, window: int, height: int) -> Tensor:
    """(B, N, window * window, C) -> (B, H, W, C): the inverse of `windows`."""
    x = x.unflatten(2, (window, window)).unflatten(1, (height // window, -1))  # b Y X y x c
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def offsets(window: int) -> Tensor:
    """(T, T), T = window * window: the number of the offset from the second to the first place, row by row."""
    axis = torch.arange(window)
    place = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
    rows, columns = place[:, :, None] - place[:, None, :] + window - 1
    return rows * (2 * window - 1) + columns


def neighbours(size: tuple[int, int], window: int, shift: tuple[int, int], device: torch.device) -> Tensor:
    """(N, T, T), true where two places of a window of the rolled image were in one window before it was rolled."""
    parts = []
    for side, step in zip(size, shift, strict=True):
        place = torch.arange(side, device=device)
        parts.append((place >= side - window).int() + (place >= side - step).int())
    part = windows((3 * parts[0][:, None] + parts[1])[None, ..., None], window)[0, ..., 0]
    return part[:, :, None] == part[:, None, :]


class WindowAttention(nn.Module):
    """(B, N, T, C) -> the same: attention within each window, with a learned bias for every offset and head."""

    index: Tensor

    def __init__(self, dim: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("index", offsets(window), persistent=False)
        nn.init.trunc_normal_(self.bias, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """mask: (N, 1 or heads, T, T), added to the scores."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)  # each b n h t d
        bias = self.bias[self.index].permute(2, 0, 1)
        bias = bias if mask is None else bias + mask
        # written out: the ONNX exporter has no fused attention with a learned bias
        scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5 + bias.to(q.dtype)
        mixed = scores.softmax(dim=-1) @ v
        out: Tensor = self.out(mixed.transpose(2, 3).flatten(3))  # b n t (h d)
        return out


class DropPath(nn.Module):
    """Stochastic depth (Huang et al., 2016): in training a share of the samples is set to 0, the others make up."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"a share of {rate:g} can not be dropped")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.rate):
            return x
        keep = torch.rand(len(x), *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep / (1 - self.rate)


class SwinBlock(nn.Module):
    """x + attention(norm(x)) within windows, then x + mlp(norm(x)).

    shifted: the windows are moved by half of one; an axis with a single window is not shifted.
    """

    def __init__(
        self, dim: int, heads: int, window: int, *, shifted: bool, drop_path: float = 0.0, mlp_ratio: int = 4
    ) -> None:
        super().__init__()
        self.window, self.shifted = window, shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attention = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, mlp_ratio * dim), nn.GELU(), nn.Linear(mlp_ratio * dim, dim))
        self.drop_path = DropPath(drop_path)

    def shift(self, size: tuple[int, int]) -> tuple[int, int]:
        """By how many places the windows of an image of that size are moved, per axis."""
        height, width = (self.window // 2 if self.shifted and side > self.window else 0 for side in size)
        return height, width

    def mask(self, size: tuple[int, int], device: torch.device) -> Tensor | None:
        """(N, 1, T, T), added to the scores: nothing is seen across the edges that rolling has joined."""
        shift = self.shift(size)
        if not any(shift):
            return None
        apart = ~neighbours(size, self.window, shift, device)
        return torch.zeros(apart.shape, device=device).masked_fill(apart, -torch.inf).unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[1:3]
        up, left = self.shift((height, width))
        rolled = windows(self.norm1(x).roll((-up, -left), (1, 2)), self.window)
        change = joined(self.attention(rolled, self.mask((height, width), x.device)), self.window, height)
        x = x + self.drop_path(change.roll((up, left), (1, 2)))
        out: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return out
