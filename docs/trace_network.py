"""What the parts of a network read and give, seen while one image goes through; docs/draw_network.py draws it.

Every tensor carries the numbers of the parts that it was made from since the last part, so that it is seen what a part
reads, a skip that was joined outside of any part too.
"""

import functools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]

MOST_LEVELS = 3
# A part that works on more resolutions than that is opened: its own parts are seen.


class Traced(Tensor):
    """A tensor that knows the steps it was made from."""

    seen: frozenset[int] = frozenset()

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = super().__torch_function__(func, types, args, kwargs)
        seen = sources((args, kwargs))
        for tensor in tensors(made):
            tensor.seen = seen  # type: ignore[attr-defined]
        return made


def tensors(value: Any) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples and dictionaries."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for part in value:
            yield from tensors(part)


def sources(value: Any) -> frozenset[int]:
    """The steps that any of the tensors was made from."""
    return frozenset(chain.from_iterable(getattr(tensor, "seen", ()) for tensor in tensors(value)))


def labelled(value: Any, step: int) -> Any:
    """The same tensors as new objects, made by that step alone."""
    if isinstance(value, Tensor):
        made = value.as_subclass(Traced)
        made.seen = frozenset({step})
        return made
    if isinstance(value, dict):
        return {key: labelled(part, step) for key, part in value.items()}
    return type(value)(labelled(part, step) for part in value) if isinstance(value, list | tuple) else value


def space_of(shape: Shape, image: Shape) -> Shape | None:
    """The spatial part, channels first or last, whichever has the image's proportions; None of tokens and vectors."""
    if len(shape) != len(image) + 2:
        return None
    first, last = shape[2:], shape[1:-1]
    return last if _spread(last, image) < min(1.02, _spread(first, image)) else first


def _spread(space: Shape, image: Shape) -> float:
    """1 where all axes are scaled alike."""
    ratios = [whole / side for whole, side in zip(image, space, strict=True)]
    return max(ratios) / min(ratios)


def _smaller(large: Shape, small: Shape) -> float:
    """The halvings of the axis that changes most; below 0 where it grows."""
    return max((math.log2(a / b) for a, b in zip(large, small, strict=True)), key=abs)


def halvings(large: Shape, small: Shape) -> int:
    """How often the axis that changes most is halved."""
    return round(_smaller(large, small))


def same(one: Shape | None, other: Shape | None) -> bool:
    """Both have a resolution, and it is one, but for what convolutions without padding take off."""
    return one is not None and other is not None and abs(_smaller(one, other)) < 0.75


@dataclass
class Step:
    """A call of a part, or several that are drawn as one. reads: numbers of the steps before. shapes: of what it gives.

    kind: its class, none of inputs and outputs. rising: it began by changing the resolution of all that it reads.
    """

    names: list[str]
    reads: frozenset[int]
    shapes: list[Shape] = field(default_factory=list)
    kind: str = ""
    rising: bool = False


@dataclass
class Seen:
    """One forward pass: inputs and calls in order, what comes out, and on which resolutions each module answers, as
    halvings of the image; single points do not count."""

    steps: list[Step]
    output: Any
    levels: dict[str, set[int]]


def run(net: nn.Module, inputs: Sequence[Any], roles: Sequence[str], names: Sequence[str], image: Shape) -> Seen:
    """In evaluation mode. roles: names of the inputs. names: parts whose calls are steps; none lies in another."""
    modules, levels = dict(net.named_modules()), dict[str, set[int]]()
    steps: list[Step] = []
    given = []
    for role, value in zip(roles, inputs, strict=True):
        given.append(labelled(value, len(steps)) if isinstance(value, Tensor) else value)
        if isinstance(value, Tensor):
            steps.append(Step([role], frozenset(), [tuple(value.shape)]))

    def answered(name: str, module: nn.Module, args: Any, output: Any) -> None:
        spaces = [space_of(tuple(tensor.shape), image) for tensor in tensors(output)]
        levels.setdefault(name, set()).update(halvings(image, s) for s in spaces if s and math.prod(s) > 1)

    def before(name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        steps.append(Step([name], sources((args, kwargs)), kind=type(module).__name__))

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        steps[-1].shapes = [tuple(tensor.shape) for tensor in tensors(output)]
        return labelled(output, len(steps) - 1)

    hooks = [m.register_forward_hook(functools.partial(answered, name)) for name, m in modules.items()]
    for name in names:
        hooks.append(modules[name].register_forward_pre_hook(functools.partial(before, name), with_kwargs=True))
        hooks.append(modules[name].register_forward_hook(after))
    try:
        with torch.no_grad():
            return Seen(steps, net.eval()(*given), levels)
    finally:
        for hook in hooks:
            hook.remove()


def order_of(net: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names of parts from the input to the output, as the network states them; empty where it does not."""
    return getattr(type(net), "ORDER", ())


def parts(net: nn.Module, levels: dict[str, set[int]]) -> list[str]:
    """Names of the modules that are drawn, those with weights or a fixed kernel; none lies in another. levels: of the
    modules, as far as they are known."""
    modules = dict(net.named_modules())
    stated = list(chain.from_iterable(order_of(net)))

    def opened(name: str, walk: bool = False) -> Iterator[str]:
        module = modules[name]
        inside = set().union(*(seen for other, seen in levels.items() if other.startswith(f"{name}.")))
        if walk or isinstance(module, nn.ModuleList | nn.ModuleDict) or len(inside) > MOST_LEVELS:
            for child, _ in module.named_children():
                yield from opened(f"{name}.{child}")
        elif any(weight.ndim > 1 for weight in chain(module.parameters(), module.buffers())):
            yield name

    made: list[str] = []
    for name in stated:
        if name.removesuffix(".*") in modules:
            made += opened(name.removesuffix(".*"), name.endswith(".*"))
    for name, child in net.named_children():
        if not any(f"{other}.".startswith(f"{name}.") for other in stated):
            made += opened(name, isinstance(child, nn.Sequential))
    return made


def parent(name: str) -> str:
    """up.0 -> up; what lies in nothing is its own parent."""
    return name.rpartition(".")[0] or name


def _depth(name: str, order: Sequence[Sequence[str]]) -> int | None:
    """The number of the tuple of `order` that the part stands in."""
    for number, names in enumerate(order):
        if any(f"{name}.".startswith(f"{other.removesuffix('.*')}.") for other in names):
            return number
    return None


def joined(steps: list[Step], order: Sequence[Sequence[str]], last: frozenset[int], image: Shape) -> list[Step]:
    """Fewer steps: repeated blocks are one, and so is a change of resolution with the part of the same depth behind it.

    Only where nothing else reads the step before, and all else that is read has the same resolution. last: the steps
    that the output is made from.
    """
    readers = Counter(chain(last, *(step.reads for step in steps)))
    spaces = [space_of(step.shapes[0], image) for step in steps]
    made: list[Step] = []
    where: list[int] = []

    def belongs(number: int) -> bool:
        step, before = steps[number], steps[number - 1]
        if number - 1 not in step.reads or readers[number - 1] > 1 or not before.kind:
            return False
        if parent(step.names[0]) == parent(before.names[0]):
            return step.shapes == before.shapes and step.reads == {number - 1}
        depth = _depth(step.names[0], order)
        alike = all(same(spaces[r], spaces[number]) for r in step.reads)
        return made[-1].rising and alike and depth is not None and depth == _depth(before.names[0], order)

    for number, step in enumerate(steps):
        reads = frozenset(where[r] for r in step.reads)
        if number and belongs(number):
            made[-1].names += step.names
            made[-1].reads |= reads - {len(made) - 1}
            made[-1].shapes = step.shapes
        else:
            rising = spaces[number] is not None and not any(same(spaces[r], spaces[number]) for r in step.reads)
            made.append(Step(list(step.names), reads, step.shapes, step.kind, rising))
        where.append(len(made) - 1)
    return made


def with_output(steps: list[Step], output: Any, image: Shape) -> list[Step]:
    """A last step where what comes out is not just what one part gives: enlarged, or made from several."""
    found = list(tensors(output))
    for tensor in found:
        seen = sources(tensor)
        given = [space_of(steps[step].shapes[0], image) for step in seen]
        if len(seen) != 1 or given != [space_of(tuple(tensor.shape), image)]:
            return [*steps, Step(["output"], sources(found), [tuple(tensor.shape) for tensor in found])]
    return steps


def trace(net: nn.Module, inputs: Sequence[Any], roles: Sequence[str], image: Shape) -> list[Step]:
    """The steps of a network in order of call. roles: names of the inputs."""
    names = parts(net, {})
    seen = run(net, inputs, roles, names, image)
    if (opened := parts(net, seen.levels)) != names:
        seen = run(net, inputs, roles, opened, image)
    steps = with_output(seen.steps, seen.output, image)
    return joined(steps, order_of(net), sources(seen.output), image)
