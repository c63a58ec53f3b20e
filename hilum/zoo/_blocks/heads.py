"""The last layer of a network: one tensor, or one tensor per named head."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

Output = Tensor | dict[str, Tensor] | dict[str, list[Tensor]]
"""What a network returns: a tensor, or one tensor (or one list, a tensor per level) for each named head."""


class Heads(nn.ModuleDict):
    """Several last layers on the same features: x -> {name: layer(x)}."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {name: layer(x) for name, layer in self.items()}


def make_head(layer: Callable[[int], nn.Module], out_channels: int | Mapping[str, int]) -> nn.Module:
    """`layer(channels)` for a plain number of channels, or one such layer per named head."""
    if isinstance(out_channels, int):
        return layer(out_channels)
    return Heads({name: layer(channels) for name, channels in out_channels.items()})
