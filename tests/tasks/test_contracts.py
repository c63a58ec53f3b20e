"""What every task promises; runs over whatever file lies in the folder, on its phantom and a tiny plan."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.data.store import Store
from hilum.infer.predictor import Predictor
from hilum.learn._batches import Seen
from hilum.planning.planner import Prepared
from hilum.tasks import _build, _task

TASKS = list(catalogue.cards("hilum.tasks"))
PREDICTING = [t for t in TASKS if catalogue.card("hilum.tasks", t)["infer"] != "sampler"]
KEYS = {"about", "roles", "predicts_from", "network", "regime", "infer", "reduce", "metrics", "dims"}
PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]


def flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in flat(v)]
    return [t for v in value for t in flat(v)] if isinstance(value, list | tuple) else []


def batch(task: _task.Task, ready: Prepared, part: str = "train", k: int = 0) -> dict[str, Any]:
    cases = [c for c, p in ready.units(task.plan) if p == part]
    return task.sample(Store(task.prepare), cases, part, k, np.random.default_rng([0, k]))


@pytest.mark.parametrize("name", TASKS)
def test_the_card_names_what_exists(name: str) -> None:
    card = catalogue.card("hilum.tasks", name)
    assert card.keys() >= KEYS and card["infer"] in ("windows", "whole", "sampler") and set(card["dims"]) <= {2, 3}
    assert name in catalogue.card("hilum.zoo", card["network"])["tasks"]
    catalogue.card("hilum.learn", card["regime"])
    for metric in card["metrics"]:
        catalogue.card("hilum.metrics", metric.split("@")[0])


@pytest.mark.parametrize("name", TASKS)
def test_a_batch_depends_on_its_seed_alone(name: str, plan_of: PlanOf, ready: Ready) -> None:
    task = _task.load(plan_of(name))
    first, again = flat(batch(task, ready(name))), flat(batch(task, ready(name)))
    others = [flat(batch(task, ready(name), k=k)) for k in range(1, 6)]
    assert first and len(first) == len(again)
    for a, b in zip(first, again, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
    assert any(a.shape != b.shape or not torch.equal(a, b) for o in others for a, b in zip(again, o, strict=True))
    floats = [t for t in first if t.is_floating_point() or t.is_complex()]
    assert floats and all(torch.isfinite(torch.abs(t)).all() for t in floats)


@pytest.mark.parametrize("name", ["segment", "detect", "register", "reconstruct", "generate"])
def test_a_validation_batch_shows_each_of_its_cases(name: str, plan_of: PlanOf, ready: Ready) -> None:
    task = _task.load(plan_of(name, batch=3))
    cases, store = [c for c, p in ready(name).units(task.plan) if p == "train"][:3], Store(task.prepare)
    assert len(cases) > 1
    for number in range(20):
        seen = Seen(store)
        task.check(seen, cases, number, np.random.default_rng(number))  # type: ignore[arg-type]
        assert set(seen.ids) == {c.id for c in cases}


@pytest.mark.parametrize("name", TASKS)
def test_losses_are_scalars_that_reach_every_weight(name: str, plan_of: PlanOf, ready: Ready) -> None:
    task = _task.load(plan_of(name))
    if catalogue.card("hilum.tasks", name)["infer"] == "sampler":
        with pytest.raises(TypeError):
            task.losses(None, {})
        return
    torch.manual_seed(0)
    net = _build.build(task, "net")
    made = batch(task, ready(name))
    losses = task.losses(net(*task.inputs(made)), made)
    assert losses and all(v.ndim == 0 and torch.isfinite(v) for v in losses.values())
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", TASKS)
def test_the_example_fits_the_network_and_is_always_the_same(name: str, plan_of: PlanOf) -> None:
    task = _task.load(plan_of(name))
    net = _build.build(task, "net").eval()
    first, again = (task.example(np.random.default_rng(0)) for _ in range(2))
    for a, b in zip(flat(first), flat(again), strict=True):
        assert torch.equal(a, b)
    with torch.inference_mode():
        assert all(torch.isfinite(t).all() for t in flat(net(*task.inputs(first))))


@pytest.mark.parametrize("name", PREDICTING)
def test_a_case_is_predicted_judged_and_shown(name: str, trained: Callable[[str], Run], ready: Ready) -> None:
    predictor = Predictor(trained(name))
    case = next(c for c, p in ready(name).units(predictor.plan) if p == "test")
    result = predictor(case)
    assert isinstance(result, Result) and result.findings and result.verdict.decision == "person"
    judged = predictor.task.judge(result, case)
    assert judged.case == case.id and judged.group == case.group
    assert set(predictor.task.metrics) <= set(predictor.task.CARD["metrics"])
    per_case = {m for m in predictor.task.metrics if catalogue.card("hilum.metrics", m)["level"] != "set"}
    assert judged.values.keys() == per_case and (judged.record is None) == bool(per_case)
    pictures = predictor.task.show(result, case)
    assert pictures and all(p.dtype == np.uint8 and p.ndim == 3 and p.shape[2] == 3 for p, _ in pictures)


@pytest.mark.parametrize("name", PREDICTING)
def test_without_truth_nothing_of_the_truth_is_read(name: str, plan_of: PlanOf, ready: Ready) -> None:
    from dataclasses import replace

    task = _task.load(plan_of(name))
    case = next(c for c, p in ready(name).units(task.plan) if p == "test")
    kept = {r: i for r, i in case.items.items() if "label" not in r}
    with_truth, without = (
        task.prepare(case),
        task.prepare(replace(case, items=kept, klass=None, boxes=None), truth=False),
    )
    assert without.keys() <= with_truth.keys()
    for key, value in without.items():
        if isinstance(value, np.ndarray) and key != "target":
            np.testing.assert_array_equal(value, with_truth[key])


@pytest.mark.parametrize("name", TASKS)
def test_unknown_options_are_refused(name: str, plan_of: PlanOf) -> None:
    with pytest.raises(HilumError) as error:
        _task.load(plan_of(name).model_copy(update={"options": {"nonsense": 1}}))
    assert error.value.code == "HIL-PLAN-02"


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"features": [0, 8, 8]}, "HIL-ZOO-03"),
        ({"features": "x"}, "HIL-ZOO-03"),
        ({"features": [-8, 8], "strides": [1, 2]}, "HIL-PLAN-04"),
        ({"features": ["a", "b"], "strides": [1, 2]}, "HIL-PLAN-04"),
    ],
    ids=str,
)
def test_a_network_that_can_not_be_built_is_refused_by_sentence(
    options: dict[str, Any], code: str, plan_of: PlanOf
) -> None:
    plan = plan_of("segment", **{"networks.net.options": options})
    with pytest.raises(HilumError) as error:
        _build.build(_task.load(plan), "net")
    assert error.value.code == code


def test_a_role_without_a_network_is_refused(plan_of: PlanOf) -> None:
    with pytest.raises(HilumError) as error:
        _build.build(_task.load(plan_of("segment")), "critic")
    assert error.value.code == "HIL-PLAN-03"
