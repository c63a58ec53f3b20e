"""What a head reads is kept of the last looks: nothing is computed twice, and nothing else is taken for it."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer import streamed
from hilum.infer._pooled import LOOKS, Last, pooled
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes import _choose
from hilum.planning.planner import Prepared
from hilum.trust import outlier
from hilum.zoo.unet3plus import Net as UNet3Plus
from hilum.zoo.unetpp import Net as UNetPlusPlus


class Asked:
    """Counts how often a network's body computes."""

    def __init__(self, net: nn.Module) -> None:
        self.count = 0
        first = next(m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Conv3d))
        first.register_forward_hook(self._one)

    def _one(self, *_: object) -> None:
        self.count += 1


def volume(run: Run, seed: int, times: float = 1) -> Case:
    """A case of one window, or of several; so long along its first axis."""
    shape = (int(times * run.plan.patch[0]), *run.plan.patch[1:])
    values = np.random.default_rng(seed).normal(100, 30, (1, *shape)).astype(np.float32)
    affine = np.diag([*(run.plan.spacing or [1.0] * len(shape)), 1.0])
    return Case(f"case{seed}", "", {"image": Image(values, affine)})


@pytest.mark.parametrize(("times", "looks", "more"), [(1, 1, 0), (1.5, 2, 0), (2, 2, 1), (3, 3, 2)])
@pytest.mark.parametrize("whole", [False, True])
def test_a_mask_and_the_features_of_its_image_come_from_one_look(
    times: float, looks: int, more: int, whole: bool, trained: Callable[[str], Run]
) -> None:
    """Windows that are described, and were looked at to find the mask, are not computed again."""
    predictor = Predictor(trained("segment"))
    look = predictor.opinion if whole else predictor.answer
    look(volume(predictor.run, 0, times))
    asked, case = Asked(predictor.net), volume(predictor.run, 1, times)
    prepared = look(case).prepared
    assert asked.count == looks, "what a window costs is known from the case before"
    found = outlier.views(predictor.task, predictor.net, case, prepared, features=predictor.features)
    assert asked.count == looks + more
    wanted = outlier.views(predictor.task, predictor.net, case, prepared)
    assert found is not None and wanted is not None
    np.testing.assert_allclose(found["network"], wanted["network"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("times", [1, 3])
def test_with_more_classes_than_features_whole_scores_are_scores(times: int, trained: Callable[[str], Run]) -> None:
    predictor = Predictor(trained("segment"))
    body, head = predictor.net, streamed.linear_head(predictor.net)
    assert head is not None and predictor.plan.dims == 3
    features = head.weight.shape[1]
    body.head = nn.Conv3d(features, features + 5, 1)
    late = streamed.linear_head(body)
    assert late is not None and late.late
    case = volume(predictor.run, 1, times)
    prepared = predictor.task.prepare(case, truth=False)
    with torch.no_grad():
        found = predictor.logits(prepared)
        patch = predictor.plan.patch[0]
        parts = [body(torch.from_numpy(a)[None])[0] for a in np.split(prepared["image"], times, axis=1)]
    assert found.shape == (features + 5, times * patch, *predictor.plan.patch[1:])
    # windows that do not overlap: each is the network's answer
    torch.testing.assert_close(found, torch.cat(parts, dim=1), rtol=1e-4, atol=1e-4)


def test_what_a_less_exact_runtime_saw_is_no_measure(
    trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(trained("segment"))
    case, cards = volume(predictor.run, 1), _choose.card
    monkeypatch.setattr(_choose, "card", lambda name: cards(name) | {"exact": False})
    prepared = predictor.opinion(case).prepared
    asked = Asked(predictor.net)
    predictor.features([torch.from_numpy(prepared["image"])[None]])
    assert asked.count == 1, "the network itself is asked"


def test_a_class_and_the_features_of_its_image_come_from_one_look(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared]
) -> None:
    predictor = Predictor(trained("classify"))
    asked, case = Asked(predictor.net), ready("classify").dataset.cases[0]
    prepared = predictor.opinion(case).prepared
    found = outlier.views(predictor.task, predictor.net, case, prepared, features=predictor.features)
    assert asked.count == 1
    wanted = outlier.views(predictor.task, predictor.net, case, prepared)
    assert found is not None and wanted is not None
    np.testing.assert_allclose(found["network"], wanted["network"], rtol=1e-6)


def test_only_the_same_network_and_the_same_inputs_count() -> None:
    net, other, x = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1), torch.randn(1, 1, 4, 4)
    last, features = Last(), torch.randn(1, 3, 4, 4)
    assert last.of(net, (x,)) is None
    last.note(net, (x,), features)
    known = last.of(net, (x.clone(),))
    assert known is not None
    np.testing.assert_allclose(known, features.mean((0, 2, 3)).numpy(), rtol=1e-6)
    assert last.of(other, (x,)) is None and last.of(net, (x + 1,)) is None and last.of(net, (x, x)) is None


def test_few_looks_are_kept_each_with_its_own_vector() -> None:
    net, last = nn.Conv2d(1, 2, 1), Last()
    seen = [(torch.full((1, 1, 4, 4), float(n)), torch.full((1, 3, 4, 4), float(n))) for n in range(LOOKS + 1)]
    for x, features in seen:
        last.note(net, (x,), features)
    found = [last.of(net, (x,)) for x, _ in seen]
    assert found[0] is None, "the oldest is let go"
    assert [float(one[0]) for one in found[1:] if one is not None] == [float(n) for n in range(1, LOOKS + 1)]
    assert LOOKS >= outlier.WINDOWS


def test_features_of_no_look_are_computed(trained: Callable[[str], Run]) -> None:
    predictor = Predictor(trained("segment"))
    x = torch.randn(1, 1, *predictor.plan.patch)
    with torch.inference_mode():
        np.testing.assert_allclose(predictor.features((x,)), pooled(predictor.net.features(x)))


def test_dropout_left_on_leaves_nothing_behind(trained: Callable[[str], Run], ready: Callable[[str], Prepared]) -> None:
    predictor = Predictor(trained("classify"))
    case = ready("classify").dataset.cases[0]
    dropout = nn.Dropout(0.5)
    predictor.net.add_module("left_on", dropout)
    prepared = predictor.task.prepare(case, truth=False)
    predictor.logits(prepared)
    inputs = predictor.task.inputs(predictor.task.whole(prepared))
    assert dropout.training and predictor._last.of(predictor.net, inputs) is None


@pytest.mark.parametrize(
    "net",
    [
        lambda: UNetPlusPlus(1, 2, 2, widths=[4, 8, 12], average=True),
        lambda: UNetPlusPlus(1, 2, 2, widths=[4, 8, 12], level=1),
        lambda: UNet3Plus(1, 2, 2, widths=[4, 8, 12, 16, 20], branch=4),
    ],
)
def test_a_network_that_answers_otherwise_is_not_taken_apart(net: Callable[[], nn.Module]) -> None:
    """Its answer is not what its head makes of its features."""
    assert streamed.linear_head(net().eval()) is None
    assert streamed.linear_head(UNetPlusPlus(1, 2, 2, widths=[4, 8, 12]).eval()) is not None
