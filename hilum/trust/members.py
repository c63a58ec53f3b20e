"""Several opinions on one case: dropout left on, several runs, or several views of the image.

An opinion is the logits on the network's grid, before any argmax: float32 (K, *space) where windows are merged
(segment), (K,) for a whole image (classify); of numbered objects the classes only, not the depth. The softmax along
axis 0 is what `trust.uncertainty.entropies` takes. Members of an ensemble are averaged first and scaled after.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.data.store import Prepared
from hilum.infer.predictor import Predictor
from hilum.prepare import patches
from hilum.tasks import _build

Members = Callable[[Prepared], Iterator[Array]]
# A prepared case -> one opinion after the other; the same case gives the same ones.

TASKS = ("segment", "classify")
# Whose logits are of classes.
GAIN, OFFSET, STEP = 0.1, 0.1, 4
# Views: most change of contrast, most brightness in standard deviations of the image, most shift in voxels.
COUNT = 2
# Views of each kind that is drawn.


@dataclass(frozen=True)
class View:
    """An image seen otherwise. flip: spatial axes. shift: voxels per axis, 0 or more. gain, offset: of intensities."""

    flip: tuple[int, ...] = ()
    shift: tuple[int, ...] = ()
    gain: float = 1.0
    offset: float = 0.0


def dropout(predictor: Predictor, count: int, seed: int = 0) -> Members:
    """`count` passes with dropout on (Gal & Ghahramani 2016): dropout modules only, norms stay in evaluation mode.

    Refused: a network without such modules, or with a rate of 0 (HIL-TRUST-06), and a count below 2 (HIL-TRUST-08).
    Windows of one image are dropped from independently.
    """
    import torch
    from torch.nn.modules.dropout import _DropoutNd

    _check_task(predictor)
    layers = [m for m in predictor.net.modules() if isinstance(m, _DropoutNd) and m.p > 0]
    if not layers:
        raise _without(predictor)
    if count < 2:
        raise HilumError("HIL-TRUST-08", f"{count} passes with dropout were asked for", "Use 2 or more, usually 20")

    def members(prepared: Prepared) -> Iterator[Array]:
        for number in range(count):
            own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(own)
                try:
                    for layer in layers:
                        layer.train()
                    opinion = _opinion(predictor, prepared)
                finally:
                    for layer in layers:
                        layer.eval()
            yield opinion

    return members


def ensemble(predictor: Predictor, nets: Sequence[Any]) -> Members:
    """One opinion of each of the networks (Lakshminarayanan et al. 2017). nets: made for the predictor's plan."""
    _check_task(predictor)

    def members(prepared: Prepared) -> Iterator[Array]:
        for net in nets:
            own = copy(predictor)
            own.net = net
            yield _opinion(own, prepared)

    return members


def views(predictor: Predictor, seed: int = 0) -> Members:
    """The image as it is, mirrored, brighter or darker, and shifted: test-time augmentation, logits mapped back.

    Mirrored along single axes, and only where the plan has `flip` among its augmentations: else a mirrored body is an
    image that the network never saw. Not where the prediction itself averages mirrored images (options.mirror). How far
    these opinions lie apart tells how much the answer hangs on noise and position ("aleatoric"), not what was learned
    too little.
    """
    _check_task(predictor)

    def members(prepared: Prepared) -> Iterator[Array]:
        image = prepared["image"]
        for view in planned(predictor, image.shape[1:], seed):
            windows = predictor.task.CARD["infer"] == "windows"
            opinion = _opinion(predictor, {**prepared, "image": seen(view, image, grow=windows)})
            yield back(view, opinion) if windows else opinion

    return members


def planned(predictor: Predictor, space: Sequence[int], seed: int) -> list[View]:
    """The views of an image of that shape, the unchanged one first; the same for the same seed."""
    rng, plan = np.random.default_rng(seed), predictor.plan
    axes: set[int] = set()
    if not getattr(predictor.task.options, "mirror", False):
        flips = [entry for entry in plan.augment if entry.name == "flip"]
        usual = catalogue.card("hilum.prepare.augment", "flip")["options"]
        axes = {a for entry in flips for a in (usual | entry.options)["axes"] if a < plan.dims}
    found = [View(), *[View(flip=(axis,)) for axis in sorted(axes)]]
    for _ in range(COUNT):
        found.append(View(gain=1 + float(rng.uniform(-GAIN, GAIN)), offset=float(rng.uniform(-OFFSET, OFFSET))))
    for _ in range(COUNT):
        # thin axes stay: a slice more or less is no small shift there
        steps = [int(rng.integers(1, STEP + 1)) if n >= 8 * STEP else 0 for n in space]
        found.append(View(shift=tuple(steps)))
    return found


def seen(view: View, image: Array, grow: bool) -> Array:
    """(C, *space) through the view. Shifted, the image grows by the shift and loses nothing, or keeps its size.

    Gain and offset are about each channel's mean, in units of its standard deviation. Edges are repeated.
    """
    axes = tuple(range(1, image.ndim))
    if view.gain != 1 or view.offset:
        mean, std = image.mean(axis=axes, keepdims=True), image.std(axis=axes, keepdims=True)
        image = (mean + (image - mean) * view.gain + view.offset * std).astype(image.dtype)
    if any(view.shift):
        size = [n + s * grow for n, s in zip(image.shape[1:], view.shift, strict=True)]
        image = patches.cut(image, [-s for s in view.shift], size)
    return np.ascontiguousarray(np.flip(image, tuple(a + 1 for a in view.flip)) if view.flip else image)


def back(view: View, logits: Array) -> Array:
    """Logits (K, *space) of a view that grew, on the grid of the image as it was."""
    logits = np.flip(logits, tuple(a + 1 for a in view.flip)) if view.flip else logits
    return logits[(slice(None), *(slice(s, None) for s in view.shift))]


def _opinion(predictor: Predictor, prepared: Prepared) -> Array:
    """Logits of the classes, class axis first, float32: those of the one network, whatever the predictor averages."""
    logits = predictor.logits(prepared)
    logits = logits[0] if predictor.task.CARD["infer"] == "whole" else logits[: 1 + len(predictor.plan.classes)]
    array: Array = logits.float().numpy()
    return array


def _check_task(predictor: Predictor) -> None:
    """Refuse tasks without logits of classes."""
    if predictor.plan.task not in TASKS:
        raise HilumError(
            "HIL-TRUST-09", f"Opinions are compared by class probabilities, and a {predictor.plan.task} model has none",
            f"It is done for: {', '.join(TASKS)}",
        )  # fmt: skip


def _name(predictor: Predictor) -> str:
    """Of the predicting network."""
    return predictor.plan.networks[_build.predicting(predictor.plan)].name


def _without(predictor: Predictor) -> HilumError:
    """That a network has no dropout to leave on, and what else there is: networks of the zoo that can have some."""
    plan, name = predictor.plan, _name(predictor)
    cards = catalogue.cards("hilum.zoo")
    fit = {n: c for n, c in cards.items() if plan.task in c["tasks"] and plan.dims in c["dims"]}
    names = [n for n, card in fit.items() if not card.get("own_dropout")]
    able = [n for n in names if "dropout" in inspect.signature(catalogue.load("hilum.zoo", n).Net).parameters]
    own = cards.get(name, {}).get("own_dropout")
    why = "has dropout of its own kind, which can not be left on" if own else "was trained without dropout"
    again = " or ".join(f"--net {n}:dropout=0.2" for n in able)
    return HilumError(
        "HIL-TRUST-06", f"The network {name} of {predictor.run.path} {why}",
        f"Use views of the image or an ensemble of runs, or train again with {again}",
    )  # fmt: skip
