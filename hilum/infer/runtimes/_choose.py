"""A runtime by name, or a faster one that gives the same labels as the reference, found by trying them in turn."""

import importlib.util
import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from hilum.core import card as device
from hilum.core import catalogue, half
from hilum.core.errors import HilumError, near
from hilum.core.extras import install
from hilum.core.strongest import strongest
from hilum.infer._lanes import ALONE, Pace, answers
from hilum.infer.runtimes._stored import Stored
from hilum.infer.windows import Look

if TYPE_CHECKING:
    from torch import Tensor, nn

ROOM = "hilum.infer.runtimes"
AUTO = "auto"
REPEATS = 2
# Windows timed for each runtime, after one that pays for allocation; the faster counts.
SAME = 0.999
# Share of voxels of the window tried whose class must be that of the reference.
ALIKE, NEAR = 0.95, 1e-3
# The same for a stored graph of less exact numbers (of whole images its tolerance counts); of exact ones, how far they
# may be off, of the largest.
ENOUGH = 0.7
# Share of the reference's time from which on no further ones are tried: converting takes seconds each.
MANY = 8
# Windows from which on several at a time, each with its share of the processors, end no later than in turn.
PACED, SMALL = 200, 1 << 18
# Looks from which on it pays to try how many at a time; voxels that one look may hold then, as of a window of 64.
LITTLE = "not tried: there is little to compute"
LOADING = 1.0
# Seconds that loading a graph takes, at most about: of small networks a fifth. One that saves less is left alone.
BUSY = 1.5
# Times as long as it takes now that a look took when a runtime was chosen: other programs were computing then.


def _not_kept() -> None:
    """Of a choice that is in no cache."""


@dataclass(frozen=True)
class Chosen:
    """name: of the runtime, as a person writes it. seconds: of one window, by runtime tried. left: why not. pace: of
    many windows. forget: takes the choice out of the cache."""

    name: str
    look: Look
    pace: Pace = ALONE
    seconds: dict[str, float] = field(default_factory=dict)
    left: dict[str, str] = field(default_factory=dict)
    forget: Callable[[], None] = _not_kept

    def seen(self, seconds: float, work: float) -> None:
        """Told what a look takes now, of so many: what was chosen on a busy machine is chosen anew the next time."""
        known = self.seconds.get(f"{self.name}, {self.pace}", self.seconds.get(self.name, 0.0))
        if known > BUSY * seconds and (known - seconds) * work > LOADING:
            self.forget()


def names() -> list[str]:
    """All runtimes as a person writes them, the reference first; "auto" is not among them."""
    cards = catalogue.cards(ROOM)
    return [n.replace("_", "-") for n in sorted(cards, key=lambda n: cards[n]["order"])]


def check_name(name: str) -> None:
    """Refuse a runtime that does not exist (HIL-INFER-02)."""
    if name not in (AUTO, *names()):
        raise HilumError("HIL-INFER-02", f"There is no runtime {name!r}", near(name, [*names(), AUTO]))


def check(name: str) -> None:
    """Refuse a runtime that does not exist (HIL-INFER-02), or what it needs is not here (HIL-INFER-12)."""
    check_name(name)
    if name == AUTO:
        return
    lacking = missing(name)
    if lacking:
        raise HilumError(
            "HIL-INFER-12", f"The runtime {name} needs {' and '.join(lacking)}, which is not installed",
            install(card(name)["extra"]),
        )  # fmt: skip
    if "device" in card(name) and not device.there():
        raise HilumError(
            "HIL-INFER-12", f"The runtime {name} needs a CUDA device, and PyTorch sees none", "Use --runtime auto"
        )


def check_limit(name: str, limit: int | None) -> None:
    """Refuse a limit of memory beside a runtime of a device (HIL-INFER-19): what its driver holds is not predicted."""
    if limit is not None and name != AUTO and "device" in card(name):
        raise HilumError(
            "HIL-INFER-19", f"What a process holds for {name} is not predicted, so that --memory can not be kept",
            "Leave --memory out, or use --runtime auto, which stays on processors then",
        )  # fmt: skip


def card(name: str) -> dict[str, Any]:
    """The CARD of a runtime."""
    return catalogue.card(ROOM, name.replace("-", "_"))


def missing(name: str) -> list[str]:
    """Packages that a runtime needs and that are not installed."""
    return [p for p in card(name)["needs"] if importlib.util.find_spec(p) is None]


def native(name: str) -> bool:
    """Whether this machine has what a runtime computes with: a device, or processors with its numbers.

    Without the latter it is slow, or no other than float32.
    """
    told = card(name)
    return device.there() if "device" in told else not told.get("half", False) or half.on_processors()


def pays_from(name: str) -> float:
    """Seconds of work for the reference from which on a runtime is tried: with less to do, trying costs what it saves.

    Those that convert a network quickly are worth it earlier.
    """
    return float(card(name).get("pays_from", 10.0))


def usual_pace(name: str) -> Pace:
    """Several looks at a time where the card of a runtime says so: that leaves processors less to wait for."""
    import torch

    most = int(card(name).get("lanes", 0))
    return Pace(lanes=most) if torch.get_num_threads() >= most else ALONE


def prepared(name: str, net: "nn.Module", example: "Tensor", stored: Stored | None = None) -> Look:
    """The network by one runtime; what it can not convert is refused (HIL-INFER-13)."""
    check(name)
    module = catalogue.load(ROOM, name.replace("-", "_"))
    with converting(name):
        look: Look = module.prepare(net, example, stored or Stored())
    return look


@contextmanager
def converting(name: str) -> Iterator[None]:
    """Whatever goes wrong in a converter becomes a refusal (HIL-INFER-13; of a device without room 22)."""
    try:
        with device.room(f"while {name} was made ready", "Use --runtime torch, which computes on processors"):
            yield
    except HilumError:
        raise
    except Exception as error:
        words = " ".join("".join(c for c in str(error) if c.isprintable() or c == " ").split())[:160]
        raise HilumError(
            "HIL-INFER-13", f"The network can not be run by {name} ({type(error).__name__}: {words})",
            "Use --runtime torch, which runs every network",
        ) from error  # fmt: skip


def chosen(
    name: str,
    net: "nn.Module",
    window: "Tensor",
    head: Any = None,
    stored: Stored | None = None,
    work: float = math.inf,
) -> Chosen:
    """The runtime of that name, or for "auto" the fastest tried that agrees with the reference on this window.

    head: makes scores of the answers, where these are features, so that classes can be compared. stored: graphs. work:
    windows that will be looked at; where they are few, "auto" is the reference, of one always.
    """
    if name != AUTO:
        look = prepared(name, net, window, stored)
        if _held(name, stored):
            _check_stored(name, look, net, window, head)
        return Chosen(name, look, usual_pace(name))
    known = _known(stored, net, window, work)
    if known is not None:
        return known
    best = _tried(net, window, head, stored, work)
    if stored is not None and len(best.seconds) > 1:
        told: dict[str, Any] = {"name": best.name, "seconds": best.seconds, "left": best.left}
        told |= {"pace": asdict(best.pace), "paced": work >= PACED}
        stored.keep(_here(stored), json.dumps(told).encode())
        best = replace(best, forget=_forgetting(stored))
    return best


def _forgetting(stored: Stored) -> Callable[[], None]:
    return lambda: stored.forget(_here(stored))


def _tried(net: "nn.Module", window: "Tensor", head: Any, stored: Stored | None, work: float) -> Chosen:
    """The fastest of those that agree with the reference; the reference alone where there is little to do."""
    import torch

    reference, *others = names()
    look = prepared(reference, net, window, stored)
    best, seconds = Chosen(reference, look, usual_pace(reference)), dict[str, float]()
    few = dict.fromkeys(others, LITTLE)
    if work <= 1:
        return replace(best, left=few)
    with torch.inference_mode():
        seconds[reference], out = _timed(look, window)
        enough = min((pays_from(one) for one in others if not _absent(one)), default=0.0)
        if seconds[reference] * work >= enough:
            # the first look pays for allocation; where there is a card, it is most often all that is asked of this one
            again = 1 if device.there() else REPEATS
            seconds[reference] = min(_timed(look, window)[0] for _ in range(again))
        if seconds[reference] * work < enough:
            return replace(best, seconds=seconds, left=few)
        wanted, left = _classes(out, head), dict[str, str]()
        for one in others:
            why = _absent(one)
            if not why and seconds[reference] * work < pays_from(one):
                why = few[one]
            if not why and seconds[best.name] < ENOUGH * seconds[reference]:
                why = f"not tried: {best.name} is much faster than {reference} already"
            if not why:
                why, other = _fit(one, net, window, head, stored, wanted)
            if why:
                left[one] = why
                continue
            seconds[one] = min(_timed(other, window)[0] for _ in range(REPEATS))
            # the others are let go: a compiled network is large
            if seconds[one] < seconds[best.name]:
                best = Chosen(one, other, usual_pace(one))
        if work >= PACED:
            best = replace(best, pace=_paced(best, window, seconds))
    return replace(best, seconds=seconds, left=left)


def _paced(best: Chosen, window: "Tensor", seconds: dict[str, float]) -> Pace:
    """The fastest way to put many windows to a runtime, of those its card offers; what each took joins `seconds`."""
    import torch

    batches = [n for n in card(best.name).get("batches", ()) if n * window[0, 0].numel() <= SMALL]
    ways = {ALONE: seconds[best.name]}
    for pace in [*{usual_pace(best.name)} - {ALONE}, *(Pace(batch=n) for n in batches)]:
        # several at a time may be more than a card holds
        with suppress(torch.cuda.OutOfMemoryError):
            ways[pace] = min(_pace_timed(best.look, window, pace) for _ in range(REPEATS))
            seconds[f"{best.name}, {pace}"] = ways[pace]
    return min(ways, key=lambda pace: ways[pace])


def _pace_timed(look: Look, window: "Tensor", pace: Pace) -> float:
    """Seconds of one window."""
    began = time.perf_counter()
    for _ in answers(look, [window] * pace.windows, pace):
        pass
    return (time.perf_counter() - began) / pace.windows


def _absent(name: str) -> str:
    """Why a runtime is not to be tried, or ""."""
    if lacking := missing(name):
        return f"{' and '.join(lacking)} is not installed"
    if "device" in card(name) and not device.there():
        return "there is no CUDA device"
    return "" if card(name)["exact"] else "less exact: ask for it by name"


def _fit(
    name: str, net: "nn.Module", window: "Tensor", head: Any, stored: Stored | None, wanted: "Tensor"
) -> tuple[str, Look]:
    """Why a runtime is not to be used, or "", and the network by it. wanted: classes of the window."""
    try:
        look = prepared(name, net, window, stored)
        # some convert and then fail at their first look
        with converting(name):
            if _held(name, stored):
                _check_stored(name, look, net, window, head)
            same = float((_classes(look(window), head) == wanted).float().mean())
    except HilumError as error:
        return error.seen, net
    return "" if same >= SAME else f"only {100 * same:.2f} % of voxels get the same class", look


def _known(stored: Stored | None, net: "nn.Module", window: "Tensor", work: float) -> Chosen | None:
    """What was chosen for this network on this machine before, where it can still be had and saves its loading."""
    if stored is None or work <= 1 or (kept := stored.cached(_here(stored))) is None:
        return None
    try:
        told = json.loads(kept)
        seconds, reference = told["seconds"], names()[0]
        # where there was less to compute when it was chosen, it was chosen from fewer
        worth = [one for one, why in told["left"].items() if why == LITTLE and not _absent(one)]
        paced = work < PACED or told["paced"]
        if not paced or any(seconds[reference] * work >= pays_from(one) for one in worth):
            return None
        saved = (seconds[reference] - seconds[told["name"]]) * work
        name = told["name"] if saved > LOADING else reference
        pace = Pace(**told["pace"]) if name == told["name"] else usual_pace(name)
        return Chosen(name, prepared(name, net, window, stored), pace, seconds, told["left"], _forgetting(stored))
    except (HilumError, ValueError, KeyError, TypeError):
        return None


def _here(stored: Stored) -> str:
    """This machine, what is installed on it, and the graphs that the model holds.

    What was fastest elsewhere, or before, need not be; and a graph that was not compared with the network is not used.
    """
    import torch

    installed = [name for name in names() if not missing(name) and native(name)]
    graphs = [sha256(content).hexdigest() for name in installed for content in _held(name, stored)]
    machine = f"{platform.node()} {platform.processor()} {torch.get_num_threads()} {torch.__version__} {device.name()}"
    return f"auto {machine} {installed} {graphs}"


def _held(name: str, stored: Stored | None) -> list[bytes]:
    """The files of a runtime's graph that the model itself holds; none where one of them is lacking."""
    wanted = card(name).get("stored", ())
    found = [None if stored is None else stored.own(one) for one in wanted]
    return [] if None in found else [one for one in found if one is not None]


def _check_stored(name: str, look: Look, net: "nn.Module", window: "Tensor", head: Any) -> None:
    """A stored graph that says something else than the network beside it is refused (HIL-M10, HIL-M07)."""
    import torch

    remedy = "Use another --runtime, or make the graph again (hilum quantise RUN DATA, hilum bundle RUN --openvino)"
    with torch.inference_mode():
        found, wanted = look(window), net(window)
    if found.shape != wanted.shape:
        raise HilumError(
            "HIL-M07", f"The graph of {name} answers with {tuple(found.shape)}, not {tuple(wanted.shape)}", remedy
        )
    told, off = card(name), found - wanted
    if told["exact"]:
        # one class is always the strongest, and of one image the strongest is soon the same: exact numbers say more
        apart = float(off.abs().max() / wanted.abs().max().clamp(min=1e-6))
        fits, says = apart <= NEAR, f"is {apart:.1e} of the largest value off"
    elif found.ndim == 2:
        # of a whole image, whose two strongest classes may nearly be alike: as bundles are compared
        apart = float(off.square().mean().sqrt() / wanted.square().mean().sqrt().clamp(min=1e-6))
        fits, says = apart <= told["tolerance"], f"is {apart:.2f} of the root mean square off"
    else:
        same = float((_classes(found, head) == _classes(wanted, head)).float().mean())
        fits, says = same >= ALIKE, f"gives {100 * (1 - same):.1f} % of voxels another class"
    if not fits:
        raise HilumError("HIL-M10", f"The graph of {name}, beside the network, {says}", remedy)


def _classes(out: "Tensor", head: Any) -> "Tensor":
    """The class of each voxel of a window, flat; or of the whole."""
    scores = out[0].flatten(1) if out.ndim > 2 else out[0][:, None]
    return strongest(scores if head is None else head(scores)).cpu()


def _timed(look: Look, window: "Tensor") -> "tuple[float, Tensor]":
    began = time.perf_counter()
    out = look(window)
    return time.perf_counter() - began, out
