"""The network of a run, asked by a runtime: which one, how many windows at a time, what a window costs."""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from typing import Any, TypeVar

from hilum import __version__
from hilum.core import card
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.infer import promise, streamed, windows
from hilum.infer._clock import Clock
from hilum.infer._lanes import ALONE, Pace
from hilum.infer._pooled import LOOKS, Last, pooled
from hilum.infer._trial import Tried, tried
from hilum.infer.network import features_of, network
from hilum.infer.runtimes import _choose
from hilum.infer.runtimes._stored import Stored, key
from hilum.tasks import _build, _task

log = logging.getLogger(__name__)

T = TypeVar("T")
NO_ROOM = ("while an image was computed", "Use --runtime torch, which computes on processors")
KEPT = 16
# Runtimes ready at a time, by network and size of what it looks at: of images of many sizes not all.
AIR = -500.0
# HU: a window of CT with nothing above it holds air alone, around the body or enclosed in it (`windows.outside`).
EIGHT = "openvino-int8"
# The runtime of eight bits, whose graphs `hilum quantise` makes.


def by_class(task: _task.Task) -> bool:
    """Whether a task finds masks of which nothing but the strongest class is kept."""
    return bool(task.CARD["infer"] == "windows" and task.reduce == "argmax")


def check_eight(run: Run, task: _task.Task, made: bool = False, *, making: bool = False) -> None:
    """Refuse a run of which no graph of eight bits can be made or used (HIL-INFER-15), or where none is (INFER-14).

    Made and measured are those of masks by class. Of an ensemble a graph holds one network, and the others would be
    asked for theirs. made: whether it must be there. making: whether one is to be made; else it is asked to compute.
    """
    use = "predict without it" if making else "use --runtime auto"
    if not by_class(task):
        seen = f"{run.path} is not a run of masks by class ({task.plan.task})"
        # one class in pictures keeps its probabilities unless it is trained otherwise
        train = ", or train with --set options.reduce=argmax" if task.reduce == "mean" else ""
        raise HilumError("HIL-INFER-15", seen, f"Eight bits are made and measured for those only; {use}{train}")
    known = run.calibration
    if known is not None and known.opinions.kind == "ensemble":
        seen = f"An answer of {run.path} is the mean of several networks, and a graph of eight bits holds one"
        raise HilumError("HIL-INFER-15", seen, f"{use[0].upper()}{use[1:]}, or calibrate it with --opinions one")
    if made and not run.has("graphs/openvino_int8.xml"):
        seen = f"{run.path} has no graph of eight bits"
        raise HilumError("HIL-INFER-14", seen, "Make one first: hilum quantise RUN DATA")


class Asked:
    """The predicting network of a run, with its weights.

    runtime: a file of hilum/infer/runtimes, or "auto". limit: bytes that a prediction may hold, whole process.
    """

    def __init__(self, run: Run, runtime: str = "torch", limit: int | None = None) -> None:
        _choose.check(runtime)
        promise.check_limit(limit)
        _choose.check_limit(runtime, limit)
        self.run, self.limit, self.runtime = run, limit, runtime
        run.check_hashes()
        self.plan: Plan = run.plan
        self.task = _task.load(self.plan)
        if runtime == EIGHT:
            check_eight(run, self.task)
        # one that was cut short is learned anew by what opens the run here; who relies on it refuses it (`Trusted`)
        with suppress(HilumError):
            self.task.keep_largest(() if run.calibration is None else run.calibration.single)
        self.net = self._own = network(self.task, run)
        self.clock = Clock()
        self._paced = ALONE
        # by network: of an ensemble each has its own, and copies share them (`trust.members`)
        self._plain: dict[int, bool] = {}
        self._chosen: dict[tuple[int, bool, bool, tuple[int, ...]], _choose.Chosen] = {}
        self._reading: tuple[tuple[int, bool, bool, tuple[int, ...]], _choose.Chosen] | None = None
        self._tried: dict[Any, Tried] = {}
        self._cases = 1
        self._last = Last()

    def expect(self, cases: int) -> None:
        """So many cases are to come: "auto" tries runtimes where there is enough to compute."""
        self._cases = cases

    def _whole(self, inputs: tuple[Any, ...]) -> Any:
        """What the network gives for a whole case: the first one shows whether another runtime can compute it.

        Refused (HIL-INFER-13): one asked for by name that can not.
        """
        import torch

        auto, plain = self.runtime == _choose.AUTO, self._plain.get(id(self.net))
        if self.runtime == "torch" or (auto and plain is False):
            return self._answered(inputs)
        if plain is None:
            outputs = self._answered(inputs)
            one = len(inputs) == 1 and isinstance(inputs[0], torch.Tensor)
            plain = self._plain[id(self.net)] = one and isinstance(outputs, torch.Tensor)
            if auto:
                return outputs
        if not plain:
            raise HilumError(
                "HIL-INFER-13",
                f"A {self.plan.task} network has several inputs or outputs, which {self.runtime} does not compute here",
                "Use --runtime torch or auto",
            )
        return self._look(inputs[0], None, 1).look(inputs[0]).cpu()

    def _answered(self, inputs: tuple[Any, ...]) -> Any:
        """What the network itself gives for a whole case."""
        if self._drops():
            return self.net(*inputs)
        with self._last.heard(self.net, inputs):
            return self.net(*inputs)

    def features(self, inputs: Sequence[Any]) -> Array:
        """(F,) float64: what the head of the network reads, its mean over space and the batch.

        inputs: the network's arguments; what it was asked last, in a few looks, is not computed again, and windows are
        computed by the runtime in use where that is as exact as PyTorch; whole images too where that is a card's. Only
        of networks with `features`.
        """
        import torch

        known = self._last.of(self.net, inputs)
        if known is not None:
            return known
        with torch.inference_mode():
            return self._with_room(lambda: self._pooled(inputs))

    def _pooled(self, inputs: Sequence[Any]) -> Array:
        """The same, computed."""
        which = (id(self.net), True, False, tuple(inputs[0].shape))
        chosen, by = self._chosen.get(which), self.computed_by
        exact = by is not None and self.on_card and _choose.card(by.name)["exact"]
        if chosen is None and by is not None and exact and len(inputs) == 1:
            # it was asked for scores so far
            if self._reading is None or self._reading[0] != which:
                self._reading = which, _choose.chosen(by.name, features_of(self.net), inputs[0])
            chosen = self._reading[1]
        if chosen is not None and _choose.card(chosen.name)["exact"]:
            return pooled(chosen.look(inputs[0]))
        return pooled(self.net.features(*inputs))

    def _with_room(self, compute: Callable[[], T]) -> T:
        """What `compute` gives; where "auto" took a card that has no room for it, by processors from now on."""
        try:
            with card.room(*NO_ROOM):
                return compute()
        except HilumError as error:
            if error.code != card.FULL or self.runtime != _choose.AUTO:
                raise
            log.warning("%s: processors go on", error.seen)
            self.runtime, self._chosen, self._reading = "torch", {}, None
        return compute()

    def _head(self) -> streamed.Head | None:
        """The last layer, where a runtime computes what it reads and it is computed here; not with dropout left on."""
        return None if self._drops() else streamed.linear_head(self.net)

    @property
    def merges(self) -> int:
        """Channels in which windows are added up where masks are found plane by plane: scores, or fewer features."""
        head = self._head()
        return 1 + len(self.plan.classes) if head is None or not head.late else int(head.weight.shape[1])

    def _scores(
        self, chosen: _choose.Chosen, head: streamed.Head | None, tiles: windows.Tiling, late: bool = False
    ) -> windows.Look:
        """Looks as they are merged: scores, or features where the head comes `late`. Of few windows they are kept.

        head: of a network of which `chosen` gives the features; None where it gives scores.
        """
        net, look = self.net, chosen.look
        # what is less exact than PyTorch is no measure of how unlike an image is
        keep = tiles.count <= LOOKS and not self.task.options.mirror and _choose.card(chosen.name)["exact"]
        if head is None or (late and not keep):
            return look

        def seen(window: Any) -> Any:
            out = look(window)
            for one, read in zip(window.split(1), out.split(1), strict=True) if keep else ():
                self._last.note(net, (one,), read)
            if late:
                return out
            # the layer itself lies in the memory of the processors
            return net.head(out) if out.device.type == "cpu" else head.over(out)

        return seen

    def _looks(self, tiles: windows.Tiling) -> int:
        """How often the network is asked about a case."""
        return tiles.count * self._sides

    @property
    def _sides(self) -> int:
        """Looks at a window: from all sides where it is mirrored."""
        return int(2**self.plan.dims) if self.task.options.mirror else 1

    def _cost(self, look: windows.Look, window: Any, late: streamed.Head | None, pace: Pace, count: int) -> Tried:
        """What a window costs; tried once, for all cases alike. count: windows a case."""
        which = (id(self.net), tuple(window.shape), self._drops(), late is None, pace)
        if which in self._tried:
            return self._tried[which]
        with self.clock("network"):
            found = tried(look, window, late, pace, self.task.options.mirror, count)
        # what the first look took longer is over by the next case
        self._tried[which] = replace(found, cold=0.0)
        if self.computed_by is not None:
            # it was chosen by what one look takes
            looks = count * self._sides * self._cases
            self.computed_by.seen(found.seconds / self._sides, looks)
        return found

    def _pace(self, chosen: _choose.Chosen, count: int) -> Pace:
        """How so many windows are put to the network; in turn with dropout left on, and under a limit of memory."""
        plain = self._drops() or self.limit is not None or count < _choose.MANY
        self._paced = ALONE if plain else chosen.pace
        return self._paced

    @property
    def paced(self) -> Pace:
        """How the windows of the last case were put to the network."""
        return self._paced

    def _waiting(self) -> AbstractContextManager[None]:
        return self.clock("network")

    def _look(self, window: Any, head: streamed.Head | None, count: int) -> _choose.Chosen:
        """The network by the runtime asked for; for features alone where a head follows. count: looks a case.

        What can not be converted because it is not fixed (dropout left on) is computed by torch.
        """
        drops = self._drops()
        which = (id(self.net), head is not None, drops, tuple(window.shape))
        if which not in self._chosen:
            net = self.net if head is None else features_of(self.net)
            name = "torch" if drops else self.runtime
            # what trying others would hold is not known, and images that differ in size would each be tried
            few = self.limit is not None or any(known[:-1] == which[:-1] for known in self._chosen)
            work = 1 if few else count * self._cases
            self._chosen[which] = _choose.chosen(name, net, window, head, self._stored(net, window), work)
            if len(self._chosen) > KEPT:
                del self._chosen[next(iter(self._chosen))]
        # the last one is the one used last
        self._chosen[which] = self._chosen.pop(which)
        return self._chosen[which]

    def _drops(self) -> bool:
        """Whether dropout is left on."""
        return any(m.training for m in self.net.modules())

    def _air(self) -> float:
        """What the least dense tissue is above, as the network sees it; minus infinity where that is not known."""
        rules = self.plan.normalisation
        if len(rules) != 1 or rules[0].scheme != "ct":
            return -math.inf
        return (AIR - rules[0].mean) / max(rules[0].std, 1e-8)

    def _stored(self, net: Any, window: Any) -> Stored:
        """Graphs of the run, and of the cache where there is something to gain."""

        def own(name: str) -> bytes | None:
            path = f"graphs/{name}"
            # they are of the first network; the others of an ensemble have none
            return self.run.read(path) if self.net is self._own and self.run.has(path) else None

        if self.runtime == "torch":
            return Stored(own)
        wanted = self.plan.networks[_build.predicting(self.plan)].model_dump_json()
        return Stored(own, key(net, tuple(window.shape), wanted, __version__))

    @property
    def computed_by(self) -> _choose.Chosen | None:
        """The runtime that was used last, and what it was chosen from."""
        return next(reversed(self._chosen.values()), None)

    @property
    def runtime_used(self) -> str:
        """The name of that runtime; a network that is asked for a whole case by itself is computed by torch."""
        return "torch" if self.computed_by is None else self.computed_by.name

    @property
    def on_card(self) -> bool:
        """Whether the runtime that was used last computes on a card."""
        by = self.computed_by
        return by is not None and "device" in _choose.card(by.name)
