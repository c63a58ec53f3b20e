"""The predicting network of a run, with its weights, as it is looked at: whole, or without its head."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.tasks import _build, _task

TIMES, SPARE = 4, 1 << 23
# Numbers that a network may hold of its own accord: so many times those of its weights, and some more. Networks hold
# some of which no file has any, such as heads that only training uses, and the places in a window of attention.
PARTS, FEW = 20, 10_000
# The same of its tensors and modules, by the tensors of its weights: a layer is a handful of both.
LEAST, LARGEST = 4096, 10_000
# Whole numbers and lengths of lists that options may have whatever the weights are, and by the count of these at most.
BUILDING = threading.RLock()
# Held while networks are built: hooks come and go then, which torch looks through in all threads.


def network(task: _task.Task, run: Run, number: int = 1) -> Any:
    """The predicting network with the run's weights, in evaluation mode.

    number: of the networks of an ensemble, from 1; the first is the run's own. Refused: wrong keys or shapes (M07),
    weights of other types than the network's, and weights that are not finite (M04).
    """
    role = _build.predicting(task.plan)
    weights = run.weights(role if number == 1 else f"{role}.{number}")
    with BUILDING:
        outline(task, role, weights, run.path)
        net = _build.build(task, role)
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise HilumError(
            "HIL-M07", f"The weights of {run.path} do not fit its plan ({first})", "Use the original files"
        ) from error
    own = net.state_dict()
    for name, tensor in weights.items():
        # torch would convert them without a word, and lose what the other type does not hold
        if tensor.dtype != own[name].dtype:
            seen = f"The weight {name!r} of {run.path} is stored as {tensor.dtype}, the network's is {own[name].dtype}"
            raise HilumError("HIL-M04", seen, "Use the original files")
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise HilumError("HIL-M04", f"The weight {name!r} of {run.path} is not finite", "Train again")
    return net.eval()


def outline(task: _task.Task, role: str, weights: Mapping[str, Any], path: Path) -> Any:
    """The network of that role where nothing is allocated, without its weights.

    A plan may be foreign, and needs a few bytes to ask for a billion layers: a network that is far larger than these
    weights, of `path`, is refused (HIL-M07) and built no further than that is known.
    """
    import torch

    if role in task.plan.networks:
        check_options(task.plan.networks[role].options, weights, path)
    # what is drawn there, of nothing, would move on the numbers of a run that begins
    with torch.device("meta"), torch.random.fork_rng(devices=[]), filled_by(weights, path):
        return _build.build(task, role)


def check_options(options: Mapping[str, Any], weights: Mapping[str, Any], path: Path) -> None:
    """Refuse options with larger numbers or longer lists than networks of such weights, of `path`, have (HIL-M07).

    Some make no layer that could be counted: they say how often one is asked, or how far apart it looks.
    """
    # a side of a tensor that holds nothing may be any number
    sides = (side for tensor in weights.values() if tensor.numel() for side in tensor.shape)
    if _largest(options) > max(LEAST, min(LARGEST, len(weights)), *sides):
        raise _too_large(path)


@contextmanager
def filled_by(weights: Mapping[str, Any], path: Path) -> Iterator[None]:
    """What this thread builds within is about as large as these weights, of `path`, or refused (HIL-M07)."""
    from torch.nn.modules import module

    own, parts, values = threading.get_ident(), PARTS * len(weights) + FEW, SPARE
    values += TIMES * sum(tensor.numel() for tensor in weights.values())

    def counted(holder: Any, name: str, part: Any) -> None:
        nonlocal parts, values
        # what others build meanwhile is told here too
        if threading.get_ident() == own:
            parts -= 1
            values -= part.numel() if hasattr(part, "numel") else 0
            if min(parts, values) < 0:
                raise _too_large(path)

    with BUILDING, ExitStack() as stack:
        for kind in ("parameter", "buffer", "module"):
            register = getattr(module, f"register_module_{kind}_registration_hook")
            stack.enter_context(register(counted))
        yield


def _largest(options: Any) -> int:
    """The largest whole number anywhere in options, or the length of their longest list."""
    found, left = 0, [options]
    while left:
        one = left.pop()
        inner = list(one.values()) if isinstance(one, dict) else one
        if isinstance(inner, list | tuple):
            found = max(found, len(inner))
            left.extend(inner)
        elif isinstance(inner, int):
            found = max(found, abs(inner))
    return found


def _too_large(path: Path) -> HilumError:
    return HilumError(
        "HIL-M07", f"The network that the plan asks for is far larger than the weights of {path}",
        "Use the original files; of an import the network and the options that the weights are of",
    )  # fmt: skip


def features_of(net: Any) -> Any:
    """The part of a network before its head as a module of its own, in evaluation mode."""
    from torch import nn

    class Features(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Any) -> Any:
            return self.net.features(x)

    return Features().eval()
