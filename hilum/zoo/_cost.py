"""What a network costs: parameters, floating point operations, activation memory. Counted, never looked up.

All three also work on the meta device, where nothing is allocated::

    with torch.device("meta"):
        net, x = Net(1, 2, 3), torch.empty(1, 1, 128, 128, 128)
        flops(net, x)
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(module: nn.Module) -> int:
    """Trainable and frozen parameters; one that is shared counts once, buffers do not count."""
    return sum(parameter.numel() for parameter in module.parameters())


@torch.no_grad()
def flops(module: nn.Module, *inputs: Any) -> int:
    """Floating point operations of one forward pass (a multiply and an add are two), in the module's present mode.

    Matrix products, convolutions and attention are counted; norms, activations and Fourier transforms are not.
    """
    with FlopCounterMode(display=False) as counter:
        module(*inputs)
    return int(counter.get_total_flops())


@torch.no_grad()
def activation_memory(module: nn.Module, *inputs: Any) -> int:
    """Bytes of all outputs of the layers (modules without children) in one forward pass.

    An estimate of what training keeps for the backward pass: in-place layers count nothing, functional operations
    (concatenation, addition, attention weights) are not seen, and weights, gradients and optimiser are not included.
    """
    total = 0

    def add(layer: nn.Module, _: Any, output: Any) -> None:
        nonlocal total
        if isinstance(output, Tensor) and not getattr(layer, "inplace", False):
            total += output.numel() * output.element_size()

    leaves = [layer for layer in module.modules() if next(layer.children(), None) is None]
    hooks = [leaf.register_forward_hook(add) for leaf in leaves]
    try:
        module(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return total
