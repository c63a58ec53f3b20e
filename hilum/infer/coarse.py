"""Coarse to fine: a model of a larger spacing says where to look, and the fine one looks there and around it only.

Every window that holds a voxel of that region is looked at, so that inside it the fine network answers as it would
without (but for rounding, and for what the runtime that `auto` takes rounds); elsewhere is background. Where the coarse
model refuses the image or finds nothing, where the fine one finds nothing in the region, or where what it finds reaches
the region's end, the whole image is looked at. Missed is what lies apart from all that the coarse model found; a rule
that keeps the largest piece of a class takes the largest of the region.
"""

import logging
import weakref
from collections.abc import Collection, Sequence

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Image
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer._asked import by_class
from hilum.infer._region import Hint, Margin, around
from hilum.infer.faults import FAULTS
from hilum.infer.predictor import Predictor
from hilum.prepare import grid
from hilum.tasks import _task

log = logging.getLogger(__name__)


class Coarse:
    """Says where to look in a case. run: see `check`; runtime: as of `predict`."""

    def __init__(self, run: Run, runtime: str = "torch") -> None:
        self.predictor = Predictor(run, runtime)
        # the largest piece may be the wrong one
        self.predictor.task.keep_largest(())
        # nobody is told what this look alone will hold
        self.predictor.foretells = False
        self._last: tuple[weakref.ref[Image], Array | None] | None = None

    def __call__(self, case: Case, names: Collection[str], margin: Margin, progress: Progress = quiet) -> Hint:
        """Where these classes may be, `margin` mm around, or None and why not.

        Around those of the same names where the coarse model knows them all, else around all that it finds. The classes
        of one image are found once, whoever asks.
        """
        image = case.read("image")
        mask = self._found(case, image, progress)
        if mask is None:
            return None, "the coarse model refused it"
        known = {c.value for c in self.predictor.plan.classes if c.name in names}
        mask = np.isin(mask, list(known)) if len(known) == len(set(names)) else mask
        steps = image.spacing
        if image.affine is not None and image.dims == 3:
            steps = tuple(steps[o] for o in geometry.axes_to_ras(image.affine)[0])
        region = around(grid.ras_view(mask[None], image)[0], steps, margin(steps))
        return region, "" if region is not None else "the coarse model found nothing"

    def _found(self, case: Case, image: Image, progress: Progress) -> Array | None:
        """The mask of an image, which is held no longer than somebody holds the image; None where it was refused."""
        last, self._last = self._last, None
        if last is None or last[0]() is not image:
            # not held while the next one is found
            last = weakref.ref(image, self._forget), self._mask(case, progress)
        self._last = last
        return last[1]

    def _mask(self, case: Case, progress: Progress) -> Array | None:
        """The coarse mask (*space); None where the model refuses the case, but for faults of its runtime."""

        def told(name: str, done: int, total: int, note: str = "") -> None:
            progress("coarse", done, total, note)

        try:
            mask: Array = self.predictor(case, told)["mask"].array
        except HilumError as error:
            if error.code in FAULTS:
                raise
            log.warning("%s: the coarse model refused it: %s", case.id, error)
            return None
        return mask

    def expect(self, cases: int) -> None:
        """So many cases are to come."""
        self.predictor.expect(cases)

    def _forget(self, gone: object) -> None:
        """The image is held by nobody any more."""
        last = self._last
        if last is not None and last[0] is gone:
            self._last = None


def check(coarse: Run, parts: Sequence[Run], limit: int | None = None, wide: bool = False) -> None:
    """Refuse what does not go together (HIL-INFER-23), and a limit of memory (HIL-INFER-19).

    parts: the networks that are guided.
    """
    if limit is not None:
        raise HilumError(
            "HIL-INFER-19", "What two models hold one after the other is not predicted: --memory can not be kept",
            "Leave --memory or --coarse out",
        )  # fmt: skip
    if wide:
        raise _unfit("Wide masks are found in the scores of all voxels", "Leave --wide or --coarse out")
    if coarse.system is not None:
        place = "RUN" if coarse.is_bundle else coarse.path
        raise _unfit(f"{coarse.path} is a system of networks", f"Give one of them: --coarse {place}/parts/NAME")
    for one in (coarse, *parts):
        if one.plan.task != "segment":
            raise _unfit(f"{one.path} is a {one.plan.task} model", "Use models of masks")
        if not by_class(_task.load(one.plan)):
            raise _unfit(
                f"{one.path} keeps more than the strongest class (numbered objects, or probabilities)",
                "Use a model of masks by class: of one class in pictures, trained with --set options.reduce=argmax",
            )
    for part in parts:
        _check_part(coarse, part)


def _check_part(coarse: Run, part: Run) -> None:
    """The same of one network and the coarse model."""
    known = part.calibration
    if known is not None and known.opinions.kind != "one":
        raise _unfit(
            f"An answer of {part.path} is the mean of several opinions, found in the scores of all voxels",
            "Calibrate it with --opinions one, or leave --coarse out",
        )
    own, other = (part.plan.dims, part.plan.channels), (coarse.plan.dims, coarse.plan.channels)
    if own != other:
        said = [f"{dims}-D images of {', '.join(channels)}" for dims, channels in (other, own)]
        raise _unfit(
            f"{coarse.path} is for {said[0]}, {part.path} for {said[1]}", "Use a coarse model for the same images"
        )


def warn(coarse: Run, parts: Sequence[Run]) -> None:
    """Say where a coarse model is none."""
    for part in parts:
        steps, fine = coarse.plan.spacing, part.plan.spacing
        if steps is not None and fine is not None and np.prod(steps) <= np.prod(fine):
            log.warning("%s has no larger spacing than %s: looking by both takes longer", coarse.path, part.path)


def _unfit(seen: str, remedy: str) -> HilumError:
    return HilumError("HIL-INFER-23", seen, remedy)
