"""zoo: the networks, drawn from their CARDs; parameters and cost counted from the built module."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hilum.core import catalogue
from hilum.core.errors import HilumError

if TYPE_CHECKING:
    from torch import nn

SIDES = {2: 256, 3: 128}
# Voxels per side of the example image where the golden entry names no "shape" and the network no `image_size`; those
# that segment all name one.


def zoo(task: str | None = None, *, measure: bool = False) -> list[dict[str, Any]]:
    """One row per network: name, paper, year, tasks, dims, parameters of its card-size form (on the meta device).

    measure: also `image`, the size of one image or patch, `flops` of one forward pass on it and `activation_bytes`, the
    outputs of all layers. Shapes alone are followed, nothing is computed. `needs` names a package that is missing (the
    numbers are then None), `not_measured` says why a network could not be measured.
    """
    if task is not None:
        catalogue.card("hilum.tasks", task)
    return [
        _row(name, card, measure)
        for name, card in catalogue.cards("hilum.zoo").items()
        if task is None or task in card["tasks"]
    ]


def _row(name: str, card: dict[str, Any], measure: bool) -> dict[str, Any]:
    import torch

    from hilum.zoo._cost import parameters

    golden = card["golden"][0]
    try:
        with torch.device("meta"):
            net = catalogue.load("hilum.zoo", name).Net(**golden["kwargs"])
    except HilumError:
        if "package" not in card:
            raise
        net = None
    row = {
        "name": name,
        "year": str(card["year"]),
        "tasks": ", ".join(card["tasks"]),
        "dims": ", ".join(f"{d}-D" for d in card["dims"]),
        "parameters": None if net is None else parameters(net),
        "paper": card["paper"],
        "reconstruction": card["reconstruction"],
        "needs": card["package"] if net is None else None,
    }
    if measure:
        row |= dict.fromkeys(("image", "flops", "activation_bytes")) if net is None else _cost(card, golden, net)
    return row


def _cost(card: dict[str, Any], golden: dict[str, Any], net: "nn.Module") -> dict[str, Any]:
    """Counted on one image; what a network refuses or can not do on the meta device is told, not raised."""
    from hilum.zoo._cost import activation_memory, flops

    size = _size(card, golden, net)
    found: dict[str, Any] = {"image": " x ".join(map(str, size)), "flops": None, "activation_bytes": None}
    try:
        inputs = _inputs(card, golden["kwargs"]["in_channels"], size)
        net.eval()
        return found | {"flops": flops(net, *inputs), "activation_bytes": activation_memory(net, *inputs)}
    except (HilumError, NotImplementedError, RuntimeError) as error:
        return found | {"not_measured": str(error)}


def _size(card: dict[str, Any], golden: dict[str, Any], net: "nn.Module") -> list[int]:
    """Of the example image: what the golden entry or the network asks for, else SIDES, rounded up to its divisor."""
    dims = golden["kwargs"]["spatial_dims"]
    if "shape" in golden:
        return list(golden["shape"][2:])
    if "image_size" in golden["kwargs"]:
        return list(golden["kwargs"]["image_size"])
    steps = getattr(net, "divisor", None) or card["divisor"]
    steps = [steps] * dims if isinstance(steps, int) else steps
    return [-(-SIDES[dims] // step) * step for step in steps]


def _inputs(card: dict[str, Any], channels: int, size: Sequence[int]) -> list[Any]:
    """One image, pair, latent or measurement on the meta device."""
    import torch

    from hilum.physics.fourier import Fourier

    made: list[Any] = []
    with torch.device("meta"):
        for role in card["inputs"]:
            if role == "operator":
                made.append(Fourier(torch.ones(size[-1])))
            elif role == "kspace":
                made.append(torch.zeros(1, 1, *size, dtype=torch.complex64))
            elif role == "latent":
                made.append(torch.zeros(1, channels))
            else:
                made.append(torch.zeros(1, channels, *size))
    return made
