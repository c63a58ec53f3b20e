"""Several opinions: on the network's grid, the same for the same seed, mapped back exactly, and nothing left behind."""

import inspect
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.infer._pooled import Last
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared
from hilum.trust.members import STEP, View, back, dropout, ensemble, planned, seen, views
from hilum.trust.uncertainty import entropies

Trained = Callable[[str], Run]
Ready = Callable[[str], Prepared]


class Pointwise(nn.Module):
    """Every voxel for itself: what a view moves must come back to its place."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x.mean(1, keepdim=True) * k for k in range(self.outputs)], dim=1)


def dropping(run: Run, rate: float = 0.5) -> Predictor:
    """A predictor whose network has dropout where the zoo puts it."""
    predictor = Predictor(run)
    predictor.net.dropout = nn.Dropout(rate).eval()
    return predictor


def prepared(predictor: Predictor, ready: Ready, side: int | None = None) -> tuple[Case, dict[str, Any]]:
    """A case and what the task makes of it; side: only a corner of the image, to be quick."""
    case = ready(predictor.plan.task).dataset.cases[0]
    own = predictor.task.prepare(case, truth=False)
    return case, own | {"image": own["image"][(slice(None), *[slice(side)] * (own["image"].ndim - 1))]}


def code(call: Callable[..., Any], *arguments: Any) -> tuple[str, str]:
    with pytest.raises(HilumError) as raised:
        call(*arguments)
    return raised.value.code, str(raised.value)


def test_the_logits_of_a_predictor_are_what_its_result_is_made_of(trained: Trained, ready: Ready) -> None:
    predictor = Predictor(trained("segment"))
    case, own = prepared(predictor, ready)
    logits = predictor.logits(own)
    assert logits.shape == (1 + len(predictor.plan.classes), *own["image"].shape[1:])
    made = predictor.task.decode(logits.argmax(dim=0).numpy(), own, case)["mask"].array
    np.testing.assert_array_equal(made, predictor(case)["mask"].array)
    classifier = Predictor(trained("classify"))
    case, own = prepared(classifier, ready)
    vector = softmax(classifier.logits(own)[0].numpy().astype(np.float64))
    np.testing.assert_allclose(vector, classifier(case)["scores"].vector(), rtol=1e-6)


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_dropout_gives_other_opinions_and_leaves_nothing_behind(task: str, trained: Trained, ready: Ready) -> None:
    predictor = dropping(trained(task))
    _, own = prepared(predictor, ready, 32)
    plain, weights = predictor.logits(own), {k: v.clone() for k, v in predictor.net.state_dict().items()}
    torch.manual_seed(3)
    state = torch.get_rng_state()
    found = []
    for opinion in dropout(predictor, 3, seed=1)(own):
        # between two opinions the predictor is as it was
        assert not any(m.training for m in predictor.net.modules())
        assert torch.equal(torch.get_rng_state(), state)
        found.append(opinion)
    assert torch.equal(predictor.logits(own), plain)
    for name, tensor in predictor.net.state_dict().items():
        assert torch.equal(tensor, weights[name]), f"{name} changed: a norm was in training mode"
    width = len(predictor.plan.classes) + (task == "segment")
    assert [f.shape for f in found] == [(width, *own["image"].shape[1:]) if task == "segment" else (width,)] * 3
    assert not np.allclose(found[0], found[1]) and not np.allclose(found[1], found[2])
    again = list(dropout(predictor, 3, seed=1)(own))
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
    # neighbouring seeds share no pass
    other = list(dropout(predictor, 2, seed=2)(own))
    assert not any(np.array_equal(a, b) for a in found for b in other)
    doubt = entropies((softmax(f, axis=0) for f in found), axis=0)
    assert (doubt.mutual > 0).any()


def test_dropout_stays_off_after_a_fault(trained: Trained, ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = dropping(trained("classify"))
    _, own = prepared(predictor, ready)
    opinions = dropout(predictor, 2)(own)
    monkeypatch.setattr(predictor, "logits", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        next(opinions)
    assert not predictor.net.dropout.training


def test_a_network_without_dropout_is_refused_and_those_that_can_are_named(trained: Trained) -> None:
    for task, name in (("classify", "resnet"), ("segment", "nnunet")):
        found, words = code(dropout, Predictor(trained(task)), 5)
        assert found == "HIL-TRUST-06" and f"--net {name}:dropout=" in words and "ensemble" in words
    assert code(dropout, dropping(trained("classify"), 0.0), 5)[0] == "HIL-TRUST-06"
    assert code(dropout, dropping(trained("classify")), 1)[0] == "HIL-TRUST-08"


def test_dropout_of_a_kind_of_its_own_is_not_left_on_and_not_advised(trained: Trained) -> None:
    predictor = Predictor(trained("segment"))
    predictor.plan = predictor.plan.edited({"networks.net": {"name": "i2unet", "options": {"dropout": 0.2}}})
    found, words = code(dropout, predictor, 5)
    assert found == "HIL-TRUST-06" and "of its own kind" in words and "trained without" not in words
    assert "--net nnunet:dropout=0.2" in words and "--net i2unet" not in words


def test_every_other_network_with_that_option_has_dropout_that_can_be_left_on() -> None:
    for name, card in catalogue.cards("hilum.zoo").items():
        net = catalogue.load("hilum.zoo", name).Net
        if "dropout" not in inspect.signature(net).parameters:
            continue
        with torch.device("meta"):
            made = net(**card["tiny"]["kwargs"] | {"dropout": 0.2})
        usual = any(isinstance(m, _DropoutNd) and m.p == 0.2 for m in made.modules())
        assert usual != card.get("own_dropout", False), name


def test_an_ensemble_of_copies_agrees_with_itself(trained: Trained, ready: Ready) -> None:
    first, copy = Predictor(trained("segment")), Predictor(trained("segment"))
    own_net = first.net
    _, own = prepared(first, ready, 32)
    found = list(ensemble(first, [first.net, copy.net])(own))
    doubt = entropies((softmax(f, axis=0) for f in found), axis=0)
    assert len(found) == 2
    np.testing.assert_allclose(doubt.mutual, 0, atol=1e-6)
    with torch.no_grad():
        for weight in copy.net.parameters():
            weight.mul_(1.5)
    found = list(ensemble(first, [first.net, copy.net])(own))
    assert not np.allclose(found[0], found[1]) and first.net is own_net


@pytest.mark.parametrize("runtime", ["torch-channels-last", "auto"])
def test_networks_of_an_ensemble_are_asked_by_another_runtime(
    runtime: str, trained: Trained, ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each case asked PyTorch once more whether a network can be: "auto" took no other, and a named one came on top."""
    predictor, plain = Predictor(trained("classify"), runtime), Predictor(trained("classify"))
    predictor.expect(10**9)
    nets, asked, honest = [predictor.net, plain.net], list[Any](), Predictor._answered

    def answered(own: Predictor, inputs: Any) -> Any:
        asked.append(own.net)
        return honest(own, inputs)

    _, own = prepared(predictor, ready)
    wanted, opinions = plain.logits(own)[0].numpy(), ensemble(predictor, nets)
    monkeypatch.setattr(Predictor, "_answered", answered)
    for _ in range(2):
        found = list(opinions(own))
        np.testing.assert_allclose(found, [wanted] * 2, atol=1e-3 * np.abs(wanted).max())
    assert asked == nets and predictor.computed_by is not None
    assert runtime in ("auto", predictor.runtime_used)
    # the first network is the one whose features are asked for, also where it was not the one that computed
    inputs, predictor._last = predictor.task.inputs(predictor.task.whole(own)), Last()
    np.testing.assert_allclose(predictor.features(inputs), plain.features(inputs), rtol=1e-4, atol=1e-5)


def test_tasks_without_class_probabilities_are_refused() -> None:
    model: Any = SimpleNamespace(plan=SimpleNamespace(task="register"))
    for call in (views, lambda m: dropout(m, 5)):
        found, words = code(call, model)
        assert found == "HIL-TRUST-09" and "register" in words and "segment" in words


def test_every_view_comes_back_exactly(trained: Trained) -> None:
    predictor = Predictor(trained("segment"))
    flip = {"name": "flip", "options": {"axes": [0, 2]}}
    predictor.plan = predictor.plan.edited({"augment": [flip]})
    predictor.net = Pointwise(1 + len(predictor.plan.classes))
    image = np.random.default_rng(0).standard_normal((1, 40, 33, 36)).astype(np.float32)
    planned_views = planned(predictor, image.shape[1:], 5)
    assert planned_views[:3] == [View(), View(flip=(0,)), View(flip=(2,))]
    assert sum(bool(v.shift) for v in planned_views) == 2 == sum(v.gain != 1 for v in planned_views)
    found = list(views(predictor, 5)({"image": image}))
    assert len(found) == len(planned_views)
    for view, opinion in zip(planned_views, found, strict=True):
        expected = np.concatenate([image * k for k in range(1 + len(predictor.plan.classes))])
        assert opinion.shape == expected.shape
        if view.gain == 1:
            np.testing.assert_allclose(opinion, expected, atol=1e-4)
        else:
            assert np.abs(opinion - expected).max() > 1e-3


def test_mirrored_only_where_it_was_learned_mirrored_and_is_not_averaged_anyway(trained: Trained) -> None:
    predictor = Predictor(trained("segment"))
    space = (40, 40, 40)
    predictor.plan = predictor.plan.edited({"augment": []})
    assert not any(v.flip for v in planned(predictor, space, 0))
    predictor.plan = predictor.plan.edited({"augment": [{"name": "flip"}]})
    assert [v.flip for v in planned(predictor, space, 0) if v.flip] == [(0,), (1,), (2,)]
    predictor.task.options.mirror = True
    assert not any(v.flip for v in planned(predictor, space, 0))


def test_views_are_small_seeded_and_leave_thin_axes_alone(trained: Trained) -> None:
    predictor = Predictor(trained("segment"))
    found = planned(predictor, (40, 40, 3), 0)
    assert found == planned(predictor, (40, 40, 3), 0) != planned(predictor, (40, 40, 3), 1)
    assert found[0] == View()
    for view in found:
        assert 0.9 <= view.gain <= 1.1 and abs(view.offset) <= 0.1
        assert not view.shift or (view.shift[2] == 0 and all(1 <= s <= STEP for s in view.shift[:2]))


def test_an_image_through_a_view_by_hand() -> None:
    image = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    np.testing.assert_array_equal(seen(View(flip=(1,)), image, grow=True), image[..., ::-1])
    grown = seen(View(shift=(1, 2)), image, grow=True)
    assert grown.shape == (1, 4, 6)
    np.testing.assert_array_equal(back(View(shift=(1, 2)), grown), image)
    np.testing.assert_array_equal(seen(View(shift=(1, 0)), image, grow=False)[0], image[0][[0, 0, 1]])
    brighter = seen(View(gain=2.0, offset=1.0), image, grow=False)
    assert brighter.mean() == pytest.approx(image.mean() + image.std()) and brighter.dtype == np.float32
    assert brighter.std() == pytest.approx(2 * image.std())


def test_views_of_a_whole_image_begin_with_the_image_itself(trained: Trained, ready: Ready) -> None:
    predictor = Predictor(trained("classify"))
    _, own = prepared(predictor, ready)
    before = own["image"].copy()
    found = list(views(predictor, 1)(own))
    assert all(f.shape == (len(predictor.plan.classes),) for f in found) and len(found) >= 5
    np.testing.assert_array_equal(found[0], predictor.logits(own)[0].numpy())
    assert not np.allclose(found[0], found[-1])
    np.testing.assert_array_equal(own["image"], before)
