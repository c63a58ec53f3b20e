"""Freezing holds weights and statistics; rates fall from the head to the stem; every weight is in one group, once."""

import contextlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import save_file
from torch import nn

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.learn._transfer import Transfer, depth, freeze, groups, keep_still
from hilum.tasks import _build, _task
from hilum.verbs.train import train

NETWORKS = list(catalogue.cards("hilum.zoo"))
LAYERS: dict[str, list[str]] = {
    "dccnn": ["cascades.0", "cascades.1"],
    "dcgan_critic": ["body.0", "body.2", "head"],
    "dcgan_generator": ["project", "body.2", "head.0"],
    "densenet": ["body.0", "body.4", "body.5", "body.6", "body.7", "body.8", "body.9", "body.10", "head"],
    "fcos": [
        "pyramid.stem", "pyramid.stages.0", "pyramid.stages.1", "pyramid.stages.2", "pyramid.lateral",
        "pyramid.smooth", "class_tower.0", "head",
    ],
    "fcn": [*(f"stages.{i}" for i in range(5)), "fc.0", "fc.3", "head"],
    "nnunet": ["encoder.0", "encoder.1", "encoder.2", "up.0", "up.1", "head"],
    "resnet": ["stem.0", "stages.0", "stages.1", "stages.2", "stages.3", "head"],
    "sharp_dense_unet": ["encoder.0", "encoder.1", "encoder.2", "up.0", "up.1", "head"],
    "sharp_unet": ["encoder.0", "encoder.1", "encoder.2", "up.0", "up.1", "head"],
    "unet": ["encoder.0", "encoder.1", "encoder.2", "up.0", "up.1", "head"],
    "vit": ["embed", "blocks.0", "blocks.1", "head"],
    "vnet": ["encoder.0", "encoder.1", "encoder.2", "up.0", "up.1", "tail", "head"],
    "voxelmorph": [*(f"{part}.{i}" for part in ("encoder", "decoder") for i in range(4)), "extra.0", "extra.1", "head"],
}  # fmt: skip
# From the input to the output as each forward pass computes; the tiny forms. Written out for some networks; all are
# held to the order of their forward pass below.


def net_of(name: str, **changes: Any) -> nn.Module:
    """A network in its CARD's tiny form, weights from one seed."""
    torch.manual_seed(0)
    made: nn.Module = catalogue.load("hilum.zoo", name).Net(
        **{**catalogue.card("hilum.zoo", name)["tiny"]["kwargs"], **changes}
    )
    return made


def code_of(net: nn.Module, patterns: list[str]) -> HilumError:
    with pytest.raises(HilumError) as error:
        freeze(net, patterns)
    assert all(p.requires_grad for p in net.parameters())
    return error.value


def learn(net: nn.Module, made: list[dict[str, Any]], steps: int = 3) -> None:
    """Some steps as the loop takes them: train(), keep_still(), AdamW on the groups."""
    net.train()
    keep_still(net)
    optimiser = torch.optim.AdamW(made)
    for step in range(steps):
        torch.manual_seed(step)
        loss = net(torch.randn(4, 1, 32, 32)).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()


@pytest.mark.parametrize("name", ["resnet", "densenet"])
def test_frozen_weights_and_statistics_stay_and_all_others_change(name: str) -> None:
    net = net_of(name)
    held = {"resnet": ["stem", "stages.[01]", "stages.2.0"], "densenet": ["body.?"]}[name]
    frozen = freeze(net, held)
    before = {n: v.clone() for n, v in net.state_dict().items()}
    learn(net, groups(net, 1e-2, 1e-2, 0.8))
    inside = {
        "resnet": ("stem.", "stages.0", "stages.1", "stages.2.0"),
        "densenet": tuple(f"body.{i}." for i in range(10)),
    }
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]) == key.startswith(inside[name]), key
    assert set(frozen) == {n for n, p in net.named_parameters() if not p.requires_grad}
    assert any("running_mean" in n for n in before if n.startswith(inside[name]))


def test_without_keep_still_the_statistics_would_move() -> None:
    net = net_of("resnet")
    freeze(net, ["stem"])
    before = net.state_dict()["stem.1.running_mean"].clone()
    net.train()
    net(torch.randn(4, 1, 32, 32))
    assert not torch.equal(net.state_dict()["stem.1.running_mean"], before)
    net.train()
    keep_still(net)
    assert not net.get_submodule("stem").training and not net.get_submodule("stem.1").training
    assert net.training and net.get_submodule("stages.0").training and net.get_submodule("head").training


class Cut(BaseException):
    """A process that is killed."""


@pytest.mark.parametrize("cut", [False, True])
def test_training_leaves_frozen_statistics_as_the_file_has_them_also_after_a_resume(
    cut: bool, data: Callable[[str], Path], plan_of: Callable[..., Plan],
    weights: Callable[[Path], dict[str, torch.Tensor]], tmp_path: Path,
) -> None:  # fmt: skip
    plan, run = plan_of("classify", 3, **{"learning.freeze": ["stem"]}), tmp_path / "run"
    plan.write(tmp_path / "plan.json")
    given = {name: value.clone() for name, value in _build.build(_task.load(plan), "net").state_dict().items()}
    statistics = {name for name in given if "running_" in name}
    given |= {name: torch.full_like(given[name], 3) for name in statistics}
    save_file(given, tmp_path / "own.safetensors")

    def tell(name: str, done: int, total: int, note: str = "") -> None:
        if cut and (name, done) == ("train", 2):
            raise Cut

    words = {"plan": tmp_path / "plan.json", "start": tmp_path / "own.safetensors"}
    with pytest.raises(Cut) if cut else contextlib.nullcontext():
        train(data("classify"), "classify", run, progress=tell, **words)
    if cut:
        train(data("classify"), "classify", run, resume=True)
    found = weights(run)
    still = {name for name, value in given.items() if torch.equal(found[f"net.{name}"], value)}
    assert {name for name in given if name.startswith("stem.")} <= still
    assert still & statistics == {"stem.1.running_mean", "stem.1.running_var"}


def test_keep_still_leaves_a_network_that_learns_whole() -> None:
    net = net_of("resnet").train()
    keep_still(net)
    assert all(module.training for module in net.modules())


def test_patterns_name_whole_parts() -> None:
    net = nn.ModuleDict({"enc": nn.Linear(2, 2), "encoder": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    assert freeze(net, ["enc"]) == ["enc.weight", "enc.bias"]
    assert freeze(net, ["*.bias"]) == ["enc.bias", "encoder.bias", "head.bias"]
    assert freeze(net, []) == []
    assert net.get_parameter("head.weight").requires_grad and net.get_parameter("encoder.weight").requires_grad


def test_a_pattern_that_fits_nothing_is_refused_with_near_names() -> None:
    error = code_of(net_of("nnunet"), ["encoder", "decodr"])
    assert error.code == "HIL-LEARN-23" and "'decodr'" in error.seen and "decoder" in error.remedy
    error = code_of(net_of("nnunet"), ["qqq"])
    assert error.remedy == "Known: decoder, encoder, head, up"


def test_freezing_everything_is_refused() -> None:
    assert code_of(net_of("nnunet"), ["*"]).code == "HIL-LEARN-24"
    assert code_of(net_of("vit"), ["embed", "token", "position", "blocks", "norm", "head"]).code == "HIL-LEARN-24"


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_in_the_order_of_computing(name: str) -> None:
    layers = depth(net_of(name))
    assert name not in LAYERS or [layer for layer, _ in layers] == LAYERS[name]
    assert sorted(n for _, names in layers for n in names) == sorted(n for n, _ in net_of(name).named_parameters())


@pytest.mark.parametrize("name", [n for n in NETWORKS if "branches" not in catalogue.card("hilum.zoo", n)])
def test_the_forward_pass_walks_the_layers_upwards(name: str) -> None:
    # where the CARD does not say why its parts do not follow each other
    net, called = net_of(name).eval(), list[str]()
    for key, module in net.named_modules():
        if list(module.parameters(recurse=False)) and module is not net:
            module.register_forward_pre_hook(lambda *_, key=key: called.append(key))
    shape = catalogue.card("hilum.zoo", name)["tiny"]["shape"]
    net(*(torch.zeros(s) for s in (shape.values() if isinstance(shape, dict) else [shape])))
    place = {key: number for number, (_, names) in enumerate(depth(net)) for key in names}
    walked = [next(n for key, n in place.items() if key.startswith(f"{module}.")) for module in called]
    assert walked == sorted(walked) and set(walked) == set(place.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_rates_fall_from_the_head_to_the_stem(name: str) -> None:
    net = net_of(name)
    made = groups(net, 1e-3, 1e-4, 0.5)
    scales = [group["scale"] for group in made]
    assert scales[-1] == 1 and all(low == high / 2 for low, high in pairwise(scales))
    assert [g["lr"] for g in made] == [1e-3 * s for s in scales] and {g["weight_decay"] for g in made} == {1e-4}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("decay_norms", [True, False])
@pytest.mark.parametrize("layer_decay", [1.0, 0.7])
def test_every_weight_is_in_one_group_once(name: str, decay_norms: bool, layer_decay: float) -> None:
    net = net_of(name)
    made = groups(net, 1e-3, 1e-2, layer_decay, decay_norms=decay_norms)
    inside = [id(p) for group in made for p in group["params"]]
    assert len(inside) == len(set(inside)) and set(inside) == {id(p) for p in net.parameters()}
    for group in made:
        decays = {decay_norms or p.ndim > 1 for p in group["params"]}
        assert decays == {group["weight_decay"] > 0}
    again = groups(net_of(name), 1e-3, 1e-2, layer_decay, decay_norms=decay_norms)
    assert [[p.shape for p in g["params"]] for g in made] == [[p.shape for p in g["params"]] for g in again]


def test_at_the_defaults_it_is_one_group_in_the_networks_order() -> None:
    net = net_of("nnunet")
    (group,) = groups(net, 1e-3, 1e-4)
    assert all(a is b for a, b in zip(group["params"], net.parameters(), strict=True))
    assert group["lr"] == 1e-3 and group["scale"] == 1


def test_frozen_weights_are_in_no_group() -> None:
    net = net_of("nnunet")
    frozen = freeze(net, ["encoder"])
    made = groups(net, 1e-3, 1e-4, 0.9)
    inside = {id(p) for group in made for p in group["params"]}
    assert {n for n, p in net.named_parameters() if id(p) not in inside} == set(frozen)
    assert [g["layer"] for g in made] == ["up.0", "up.1", "head"]


def test_heads_of_one_depth_learn_alike() -> None:
    net = net_of("nnunet", deep_supervision=True)
    layers = dict(depth(net))
    assert layers["head"] == ["head.weight", "head.bias", "lower_heads.0.weight", "lower_heads.0.bias"]
    named = dict(depth(net_of("resnet", out_channels={"a": 2, "b": 3})))
    assert named["head"] == ["head.a.weight", "head.a.bias", "head.b.weight", "head.b.bias"]
    assert dict(depth(net_of("fcos")))["head"][0] == "scale"
    assert "box_tower.0.0.weight" in dict(depth(net_of("fcos")))["class_tower.0"]


def test_a_network_of_one_layer_and_loose_weights() -> None:
    class Loose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.ones(1))
            self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 2)

    assert depth(Loose()) == [("first", ["gain", "first.weight", "first.bias"]), ("last", ["last.weight", "last.bias"])]
    assert depth(nn.Linear(2, 2)) == [("all", ["weight", "bias"])]


def test_settings_are_checked() -> None:
    made = Transfer(start={"name": "run", "sha256": "a" * 64}, freeze=["encoder"], layer_decay=0.8)  # type: ignore[arg-type]
    assert made.start is not None and made.model_dump()["start"] == {"name": "run", "sha256": "a" * 64}
    for wrong in ({"layer_decay": 0}, {"layer_decay": 1.1}, {"start": {"name": "x", "sha256": "short"}}, {"freez": []}):
        with pytest.raises(ValidationError):
            Transfer(**wrong)  # type: ignore[arg-type]
