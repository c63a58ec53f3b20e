"""A named network gets a patch that it takes, the plan says so, and a patch that was given stays."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.data.phantoms import cells
from hilum.planning import cost
from hilum.planning.planner import Prepared, fitted, look, make_plan

SEGMENTING = {name: card for name, card in catalogue.cards("hilum.zoo").items() if "segment" in card["tasks"]}
FORMS = [(name, dims) for name, card in SEGMENTING.items() for dims in card["dims"]]
CLASSIFYING = [name for name, card in catalogue.cards("hilum.zoo").items() if "classify" in card["tasks"]]
Of = Callable[[int], Prepared]


@pytest.fixture(scope="module")
def small(ready: Callable[[str], Prepared], tmp_path_factory: pytest.TempPathFactory) -> Of:
    """Volumes as small as those of the hippocampus, or pictures of cells."""
    volumes = ready("segment")
    rows = [row | {"shape": [36, 50, 35], "spacing": [1.0, 1.0, 1.0]} for row in volumes.facts["cases"]]
    folder = tmp_path_factory.mktemp("small") / "cells"
    cells.make(folder, 4, size=100)
    pictures = look(folder, "segment", 0)
    return {2: pictures, 3: replace(volumes, facts=volumes.facts | {"cases": rows})}.__getitem__


def plan(ready: Prepared, net: str, **settings: Any) -> Plan:
    return make_plan(ready, "segment", net=net, steps=1000, settings=settings)


@pytest.mark.parametrize(("name", "dims"), FORMS)
def test_every_network_takes_the_patch_that_is_planned_for_it(name: str, dims: int, small: Of) -> None:
    made, usual = plan(small(dims), name), plan(small(dims), "nnunet").patch
    assert cost.step(made).flops > 0
    told = [note for note in made.data.get("notes", []) if note.startswith(f"{name} takes")]
    assert len(told) == (made.patch != usual) and all(str(made.patch) in note for note in told)


def test_the_nearest_size_is_taken(small: Of) -> None:
    assert plan(small(3), "nnunet").patch == plan(small(3), "transunet3d").patch == [40, 56, 40]
    assert plan(small(3), "unetpp").patch == [48, 64, 48]
    assert plan(small(3), "swin_unetr").patch == [32, 64, 32]
    assert plan(small(2), "swin_unet").patch == plan(small(2), "sstransnet").patch == [224, 224]
    assert plan(small(2), "swin_unet:window=4").patch == [128, 128]


def test_a_given_patch_stays_and_what_is_refused_stays_refused(small: Of) -> None:
    assert plan(small(3), "unetpp", **{"plan.patch": [40, 56, 40]}).patch == [40, 56, 40]
    with pytest.raises(HilumError, match="not divisible"):
        cost.step(plan(small(3), "unetpp", **{"plan.patch": [40, 56, 40]}))
    made = plan(small(3), "unetpp:widths=[]")
    assert made.patch == [40, 56, 40] and "notes" not in made.data
    with pytest.raises(HilumError, match="widths"):
        cost.step(made)


def test_the_plan_stages_belong_to_every_network_that_is_planned_so(small: Of) -> None:
    usual = plan(small(3), "nnunet").networks["net"].options
    found = plan(small(3), "transunet3d:features=[8,16,16,16]").networks["net"].options
    assert found == {n: usual[n] for n in ("strides", "kernels")} | {"features": [8, 16, 16, 16]}
    assert plan(small(3), "unetpp").networks["net"].options == {}


@pytest.mark.parametrize(("name", "dims"), FORMS)
def test_a_patch_that_was_planned_is_not_refused_when_the_plan_comes_back(name: str, dims: int, small: Of) -> None:
    """`compare` broke off after its first cell: a window that small pictures do not fill is over twice their size."""
    made = plan(small(dims), name)
    assert fitted(made, small(dims), on_card=True).patch == made.patch
    with pytest.raises(HilumError, match="Take at most") as error:
        fitted(made.model_copy(update={"patch": [1 << 12] * dims}), small(dims), on_card=True)
    assert error.value.code == "HIL-PLAN-08"


def test_the_size_that_a_network_takes_is_the_most_that_may_be_asked_for(small: Of) -> None:
    assert plan(small(2), "swin_unet", **{"plan.patch": [224, 224]}).patch == [224, 224]
    with pytest.raises(HilumError, match=r"Take at most \[224, 224\]"):
        plan(small(2), "swin_unet", **{"plan.patch": [448, 448]})
    # twice 100 it does not take
    with pytest.raises(HilumError, match=r"Take at most \[208, 208\]"):
        plan(small(2), "nnunet", **{"plan.patch": [224, 224]})


@pytest.mark.parametrize("name", CLASSIFYING)
def test_every_network_of_classes_takes_the_size_that_is_planned_of_flat_volumes(name: str, small: Of) -> None:
    """A side of 16 was refused by densenet, with the advice to resample the image."""
    seen = small(3)
    rows = [row | {"shape": [256, 256, 100], "class": "ab"[n % 2]} for n, row in enumerate(seen.facts["cases"])]
    made = make_plan(replace(seen, facts=seen.facts | {"cases": rows}), "classify", net=name, steps=1000)
    assert made.patch == [48, 48, 32 if name == "densenet" else 16] and cost.step(made).flops > 0
    told = [note for note in made.data.get("notes", []) if note.startswith(f"{name} takes")]
    assert len(told) == (name == "densenet")
