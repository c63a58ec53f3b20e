"""Coarse to fine: a model of a larger spacing says where to look, and the fine one looks there and around it only.

Every window that holds a voxel of that region is looked at, so that inside it the fine network answers as it would
without; elsewhere is background. Where the coarse model fails or finds nothing, where the fine one finds nothing in the
region, or where what it finds reaches the region's end, the whole image is looked at. Missed is what lies apart from
all that the coarse model found; a rule that keeps the largest piece of a class takes the largest of the region.
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
from hilum.infer._region import Region, around
from hilum.infer.predictor import FAULTS, Predictor
from hilum.prepare import grid
from hilum.tasks import _task

log = logging.getLogger(__name__)


class Coarse:
    """Says where to look in a case. run: see `check`; runtime: as of `predict`."""

    def __init__(self, run: Run, runtime: str = "torch") -> None:
        self.predictor = Predictor(run, runtime)
        # the largest piece may be the wrong one
        self.predictor.task.keep_largest(())
        self._image: weakref.ref[Image] | None = None
        self._mask: Array | None = None

    def __call__(
        self, case: Case, names: Collection[str], margin: float, progress: Progress = quiet
    ) -> tuple[Region | None, str]:
        """Where these classes may be, `margin` mm around, or None and why not.

        Around those of the same names where the coarse model knows them all, else around all that it finds. The classes
        of one image are found once, whoever asks.
        """
        image = case.read("image")
        if self._image is None or self._image() is not image:
            # neither image nor mask is held any longer than whoever asks holds the image
            self._mask, self._image = None, weakref.ref(image, self._forget)
            try:
                self._mask = self.predictor(case, progress)["mask"].array
            except HilumError as error:
                if error.code in FAULTS:
                    raise
                log.warning("%s: the coarse model failed: %s", case.id, error)
        if self._mask is None:
            return None, "the coarse model failed"
        known = {c.value for c in self.predictor.plan.classes if c.name in names}
        mask = np.isin(self._mask, list(known)) if len(known) == len(set(names)) else self._mask
        steps = image.spacing
        if image.affine is not None and image.dims == 3:
            steps = tuple(steps[o] for o in geometry.axes_to_ras(image.affine)[0])
        region = around(grid.ras_view(mask[None], image)[0], steps, margin)
        return region, "" if region is not None else "the coarse model found nothing"

    def expect(self, cases: int) -> None:
        """So many cases are to come."""
        self.predictor.expect(cases)

    def _forget(self, _: object) -> None:
        """The image is gone."""
        self._mask = self._image = None


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
        raise _unfit(f"{coarse.path} is a system of networks", f"Give one of them: --coarse {coarse.path}/parts/NAME")
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
    steps, fine = coarse.plan.spacing, part.plan.spacing
    if steps is not None and fine is not None and np.prod(steps) <= np.prod(fine):
        log.warning("%s has no larger spacing than %s: looking by both takes longer", coarse.path, part.path)


def _unfit(seen: str, remedy: str) -> HilumError:
    return HilumError("HIL-INFER-23", seen, remedy)
