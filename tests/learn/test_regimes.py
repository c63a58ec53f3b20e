"""What every regime promises; runs over whatever file lies in the folder, on phantoms and tiny networks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.learn import _checkpoint
from hilum.learn._state import Common, State, rate_at
from hilum.planning.planner import Prepared

REGIMES = list(catalogue.cards("hilum.learn"))
PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]


def task_for(regime: str) -> str:
    tasks = catalogue.cards("hilum.tasks")
    return next(t for t in ("classify", *tasks) if tasks[t]["regime"] == regime)


def begin(regime: str, plan: Plan) -> State:
    torch.manual_seed(0)
    state: State = catalogue.load("hilum.learn", regime).setup(plan)
    return state


def batch(state: State, ready: Prepared) -> dict[str, Any]:
    cases = [c for c, p in ready.units(state.plan) if p == "train"]
    return state.task.sample(Store(state.task.prepare), cases, "train", 0, np.random.default_rng(0))


def plain_update(state: State, used: list[str]) -> Any:
    def update(name: str, loss: Any) -> None:
        used.append(name)
        state.optimisers[name].zero_grad()
        loss.backward()
        state.optimisers[name].step()

    return update


@pytest.mark.parametrize("regime", REGIMES)
def test_setup_step_and_validate(regime: str, plan_of: PlanOf, ready: Ready) -> None:
    module, task = catalogue.load("hilum.learn", regime), task_for(regime)
    card = module.CARD
    plan = plan_of(task)
    state = begin(regime, plan)
    assert set(card["roles"]) <= state.networks.keys() and card["predicts"] in plan.networks
    assert set(plan.networks) <= state.networks.keys(), "every planned network is there to be written"
    before = {n: [p.detach().clone() for p in m.parameters()] for n, m in state.networks.items()}
    used: list[str] = []
    made = batch(state, ready(task))
    losses = module.step(state, made, 0, plain_update(state, used))
    assert losses and all(isinstance(v, float) and np.isfinite(v) for v in losses.values())
    assert set(used) == set(state.optimisers), "every optimiser goes through the loop's update"
    for name, old in before.items():
        assert any(not torch.equal(a, b) for a, b in zip(old, state.networks[name].parameters(), strict=True)), name
    with torch.no_grad():
        found, counts, outputs = module.validate(state, made)
    assert found and all(isinstance(v, float) and np.isfinite(v) for v in found.values())
    assert outputs is not None and (counts is None or np.isfinite(list(state.task.score(counts).values())).any())


@pytest.mark.parametrize("regime", REGIMES)
def test_the_same_seed_gives_the_same_weights(regime: str, plan_of: PlanOf) -> None:
    plan = plan_of(task_for(regime))
    first, again = begin(regime, plan), begin(regime, plan)
    for name, module in first.networks.items():
        for a, b in zip(module.state_dict().values(), again.networks[name].state_dict().values(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("regime", REGIMES)
def test_its_settings_are_typed_and_nonsense_is_refused(regime: str, plan_of: PlanOf) -> None:
    plan = plan_of(task_for(regime))
    learning = catalogue.load("hilum.learn", regime).Learning
    assert learning.model_validate(plan.learning).model_dump() == plan.learning
    assert issubclass(learning, Common), "the loop's own settings are there"
    for key, value, code in (("raet", 1, "HIL-PLAN-02"), ("rate", -1, "HIL-PLAN-03"), ("rate", "x", "HIL-PLAN-03")):
        with pytest.raises(HilumError) as error:
            begin(regime, plan.model_copy(update={"learning": plan.learning | {key: value}}))
        assert error.value.code == code


@pytest.mark.parametrize("regime", REGIMES)
def test_the_state_goes_out_and_in_whole(regime: str, plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    module, task = catalogue.load("hilum.learn", regime), task_for(regime)
    first, second = begin(regime, plan_of(task)), begin(regime, plan_of(task))
    made = batch(first, ready(task))
    module.step(first, made, 0, plain_update(first, []))
    _checkpoint.save(tmp_path / "c.safetensors", first.tree())
    second.restore(_checkpoint.load(tmp_path / "c.safetensors"))
    for state in (first, second):
        torch.manual_seed(1)
        module.step(state, made, 1, plain_update(state, []))
    for name, net in first.networks.items():
        for a, b in zip(net.state_dict().values(), second.networks[name].state_dict().values(), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("schedule", ["poly", "cosine", "constant"])
def test_the_rate_follows_the_step_alone(schedule: str) -> None:
    layers = [{"params": [torch.nn.Parameter(torch.zeros(1))], **more} for more in ({}, {"scale": 0.5})]
    optimiser = torch.optim.SGD(layers, lr=9.0)

    def rate(k: int) -> float:
        rate_at(optimiser, 0.1, k, 100, schedule, 0.1)
        first, scaled = (float(group["lr"]) for group in optimiser.param_groups)
        assert scaled == first / 2
        return first

    rates = [rate(k) for k in range(101)]
    assert rates[:10] == pytest.approx([0.1 * (k + 1) / 10 for k in range(10)]) and max(rates) == pytest.approx(0.1)
    assert rate(50) == rates[50]
    if schedule == "constant":
        assert rates[10:] == pytest.approx([0.1] * 91)
    else:
        assert np.all(np.diff(rates[10:]) < 0) and rates[100] == pytest.approx(0, abs=1e-12)
        assert rates[55] == pytest.approx(0.1 * (0.5**0.9 if schedule == "poly" else 0.5))


def test_every_layer_learns_slower_than_the_one_above_it(plan_of: PlanOf, ready: Ready) -> None:
    state = begin("supervised", plan_of("classify", **{"learning.layer_decay": 0.5, "learning.warmup": 0.0}))
    catalogue.load("hilum.learn", "supervised").step(state, batch(state, ready("classify")), 0, plain_update(state, []))
    rates = [group["lr"] for group in state.optimisers["net"].param_groups]
    assert len(rates) > 2 and rates[::-1] == pytest.approx([state.learning.rate * 0.5**n for n in range(len(rates))])


def test_the_critic_is_trained_more_often_and_the_average_follows(plan_of: PlanOf, ready: Ready) -> None:
    module = catalogue.load("hilum.learn", "wgan_gp")
    state = begin("wgan_gp", plan_of("generate"))
    used: list[str] = []
    made = batch(state, ready("generate"))
    module.step(state, made, 0, plain_update(state, used))
    assert used == ["critic"] * state.learning.critic_steps + ["generator"]
    net, generator = state.networks["net"], state.networks["generator"]
    for a, b in zip(net.parameters(), generator.parameters(), strict=True):
        assert torch.equal(a, b), "it starts as a copy"
    old = [p.clone() for p in net.parameters()]
    module.step(state, made, 2000, plain_update(state, used))
    for before, after, goal in zip(old, net.parameters(), generator.parameters(), strict=True):
        torch.testing.assert_close(after, before + (goal - before) * (1 - state.learning.average))


def test_defaults_that_are_not_those_of_the_paper_are_named() -> None:
    module = catalogue.load("hilum.learn", "wgan_gp")
    paper = {"rate": 1e-4, "beta1": 0.0, "beta2": 0.9, "penalty": 10.0, "critic_steps": 5, "average": 0.0}
    ours = {key: module.Learning.model_fields[key].default for key in paper}
    text = " ".join(module.__doc__.partition("Differs from the paper")[2].split())
    assert [key for key in paper if ours[key] != paper[key] and f"`{key}`" not in text] == []
    assert f"{catalogue.load('hilum.tasks', 'generate').LATENT} latent values" in text


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_sgd_looks_ahead_only_where_it_has_momentum(momentum: float, plan_of: PlanOf) -> None:
    words = {"learning.optimiser": "sgd", "learning.momentum": momentum}
    group = begin("supervised", plan_of("classify", **words)).optimisers["net"].param_groups[0]
    assert group["momentum"] == momentum and group["nesterov"] == (momentum > 0)
