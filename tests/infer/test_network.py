"""A network is built no larger than its weights can fill: a plan of a few bytes can ask for any number of layers."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import module

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.infer import network
from hilum.tasks import _task

NAMES = [name for name, card in catalogue.cards("hilum.zoo").items() if card["module"].startswith("hilum.")]
GIVEN = ("in_channels", "out_channels", "spatial_dims", "image_size")
HERE = Path("a.hilum")


@pytest.mark.parametrize("name", NAMES)
def test_every_network_of_the_zoo_is_built_within_its_own_weights(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And with half of the room that there is, and none of what any network may have."""
    for limit, least in (("TIMES", network.TIMES // 2), ("PARTS", network.PARTS // 2), ("SPARE", 0), ("FEW", 0)):
        monkeypatch.setattr(network, limit, least)
    card, net = catalogue.card("hilum.zoo", name), catalogue.load("hilum.zoo", name).Net
    for kwargs in [card["tiny"]["kwargs"], *(form["kwargs"] for form in card["golden"])]:
        with torch.device("meta"):
            weights = net(**kwargs).state_dict()
            with network.filled_by(weights, HERE):
                net(**kwargs)
        network.check_options({key: value for key, value in kwargs.items() if key not in GIVEN}, weights, HERE)


def test_a_narrow_network_of_large_windows_is_none_that_is_far_larger() -> None:
    """It was trained to its end, and then refused: the places in a window are many, and in no file."""
    net = catalogue.load("hilum.zoo", "swin_unet").Net
    options: dict[str, Any] = {"dim": 32, "depths": [2, 2], "heads": [2, 4], "window": 28}
    with torch.device("meta"):
        made = {"in_channels": 1, "out_channels": 2, "spatial_dims": 2, **options}
        weights = net(**made).state_dict()
        with network.filled_by(weights, HERE):
            net(**made)
    network.check_options(options, weights, HERE)


def test_an_option_may_be_as_large_as_a_side_of_the_weights() -> None:
    weights = {"codes": torch.zeros(16384, 2)}
    network.check_options({"codes": 16384}, weights, HERE)
    for found in ({"codes": 16385}, {"codes": 16384, "deep": [[10**9]]}):
        with pytest.raises(HilumError, match="far larger"):
            network.check_options(found, weights, HERE)
    # of nothing, a side may be any number
    with pytest.raises(HilumError, match="far larger"):
        network.check_options({"codes": 16384}, {"codes": torch.zeros(16384, 0)}, HERE)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "options",
    [
        {"convs": 10**9},
        {"convs": 64, "features": [16] * 64, "strides": [1] * 64},
        {"features": [0] * 64, "strides": [1] * 64, "convs": 64},
        {"features": [64] * 40, "strides": [1] * 40},
        {"features": [10**9, 10**9]},
        {"kernels": [[63, 63, 63]] * 3},
        {"strides": {"0": [1, [2, 10**400]]}},
    ],
    ids=["a number", "layers", "layers of nothing", "numbers", "widths", "kernels", "deep inside"],
)
def test_m07_what_is_far_larger_is_not_built(
    options: dict[str, Any], trained: Callable[[str], Run], plan_of: Callable[..., Plan]
) -> None:
    weights = trained("segment").weights("net")
    own = plan_of("segment").networks["net"].options
    task = _task.load(plan_of("segment", **{"networks.net.options": own | options}))
    with pytest.raises(HilumError, match=r"far larger than the weights of a\.hilum") as error:
        network.outline(task, "net", weights, HERE)
    assert error.value.code == "HIL-M07"
    # what counted is gone
    for kind in ("parameter", "buffer", "module"):
        assert not getattr(module, f"_global_{kind}_registration_hooks")


def test_a_network_is_outlined_where_nothing_is_allocated_and_nothing_is_drawn(trained: Callable[[str], Run]) -> None:
    run = trained("segment")
    before = torch.random.get_rng_state()
    made = network.outline(_task.load(run.plan), "net", run.weights("net"), run.path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(tensor.is_meta for tensor in made.state_dict().values())


def test_what_another_thread_builds_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "SPARE", 0)
    ended: list[nn.Module] = []
    with network.filled_by({}, HERE):
        other = threading.Thread(target=lambda: ended.append(nn.Linear(8, 8)))
        other.start()
        other.join()
        assert ended
        with pytest.raises(HilumError, match="HIL-M07"):
            nn.Linear(8, 8)
