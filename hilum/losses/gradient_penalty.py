"""Gradient penalty of WGAN-GP (Gulrajani et al., 2017): keeps a critic's slope near 1 between real and made images.

    weight * mean over the batch of (||grad critic(e real + (1 - e) fake)||_2 - 1)^2,   e ~ U(0, 1), one per sample

The critic must not mix samples (no batch norm).
"""

from collections.abc import Callable

import torch
from torch import Tensor

from hilum.losses._wide import wide

CARD = {
    "about": "keeps the slope of a critic near 1, for the regime wgan_gp",
    "tasks": [],
    "options": {},
}


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    weight: float = 10.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """A scalar with a gradient to the critic's parameters. real, fake: (B, ...), one shape; both are detached.

    critic: (B, ...) -> (B, 1) or (B,). generator: where e comes from, so that a resumed run repeats itself.
    """
    shape = [len(real)] + [1] * (real.ndim - 1)
    e = torch.rand(shape, generator=generator, device=generator.device if generator else real.device).to(real)
    mixed = (e * real.detach() + (1 - e) * fake.detach()).requires_grad_(True)
    (slope,) = torch.autograd.grad(critic(mixed).sum(), mixed, create_graph=True)
    norm = torch.linalg.vector_norm(wide(slope).flatten(1), dim=1)
    return weight * (norm - 1).square().mean()
