"""Gradient penalty: slope one is free, slope two costs the weight, samples have their own mixture."""

import pytest
import torch
from torch import nn

from hilum.losses.gradient_penalty import gradient_penalty


@pytest.mark.parametrize(("scale", "penalty"), [(1.0, 0.0), (2.0, 10.0), (0.0, 10.0)])
def test_a_linear_critic(scale: float, penalty: float) -> None:
    direction = torch.randn(1, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    direction = scale * direction / direction.norm()
    real, fake = torch.rand(3, 2, 4, 4), torch.rand(3, 2, 4, 4)
    loss = gradient_penalty(lambda x: (x * direction).sum((1, 2, 3)), real, fake)
    assert float(loss) == pytest.approx(penalty, abs=1e-5)


def test_each_sample_has_its_own_mixture() -> None:
    seen = []

    def critic(x: torch.Tensor) -> torch.Tensor:
        seen.append(x.detach())
        return x.sum((1, 2))

    gradient_penalty(critic, torch.ones(4, 2, 3), torch.zeros(4, 2, 3), generator=torch.Generator().manual_seed(0))
    e = seen[0].flatten(1)
    assert bool((e == e[:, :1]).all()) and len(e[:, 0].unique()) == 4 and float(e.min()) >= 0 and float(e.max()) <= 1


def test_the_norm_is_of_each_whole_sample() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 1))
    real, fake = torch.rand(3, 3, 4), torch.rand(3, 3, 4)
    loss = gradient_penalty(critic, real, fake, generator=torch.Generator().manual_seed(1))
    e = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(1))
    norms = []
    for x in e * real + (1 - e) * fake:
        x = x[None].requires_grad_(True)
        norms.append(torch.autograd.grad(critic(x).sum(), x)[0].norm())
    torch.testing.assert_close(loss, 10 * (torch.stack(norms) - 1).square().mean())


def test_it_trains_the_critic_and_not_the_generator() -> None:
    critic, fake = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1)), torch.rand(2, 4, requires_grad=True)
    gradient_penalty(critic, torch.rand(2, 4), fake).backward()
    assert fake.grad is None and all(p.grad is not None for p in critic.parameters() if p.ndim > 1)
    assert all(bool(p.grad.isfinite().all()) for p in critic.parameters() if p.grad is not None)
