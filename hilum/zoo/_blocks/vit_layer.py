"""A layer of a Vision Transformer (Dosovitskiy et al., 2021) with dropout and, if wanted, layer scale."""

import torch
from torch import Tensor, nn

from hilum.zoo._blocks.transformer import Attention


class ViTLayer(nn.Module):
    """Norm first: x + s1 attention(norm(x)), then x + s2 mlp(norm(x)); (B, N, D) -> (B, N, D).

    dropout: after each linear layer of the MLP. scale: layer scale (Touvron et al., 2021), what s1 and s2, a learned
    number for each channel, start from; None for no such numbers.
    """

    def __init__(self, dim: int, heads: int, mlp_ratio: int, dropout: float = 0.0, scale: float | None = None) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attention = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        hidden = mlp_ratio * dim
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, dim), nn.Dropout(dropout)
        )
        self.scale1 = None if scale is None else nn.Parameter(torch.full((dim,), scale))
        self.scale2 = None if scale is None else nn.Parameter(torch.full((dim,), scale))

    def forward(self, x: Tensor) -> Tensor:
        change = self.attention(self.norm1(x))
        x = x + (change if self.scale1 is None else self.scale1 * change)
        change = self.mlp(self.norm2(x))
        out: Tensor = x + (change if self.scale2 is None else self.scale2 * change)
        return out


def initialise(module: nn.Module) -> None:
    """Weights of the linear layers from a normal distribution of 0.02 cut at two units, biases 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            nn.init.zeros_(part.bias)
