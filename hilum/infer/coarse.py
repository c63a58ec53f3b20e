"""Coarse to fine: a model of a larger spacing says where to look, and the fine one looks there and around it only.

Every window that holds a voxel of that region is looked at, so that inside it is found what would be found without it;
elsewhere is background. Where the coarse model finds nothing, where the fine one finds nothing in the region, or where
what it finds reaches the region's end, the whole image is looked at. Missed is what lies apart from all that the coarse
model found.
"""

from collections.abc import Collection

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.infer._asked import by_class
from hilum.infer._region import Region, around
from hilum.infer.predictor import Predictor
from hilum.prepare import grid


class Coarse:
    """Says where to look in a case. run: of masks by class (HIL-INFER-23); runtime: as of `predict`."""

    def __init__(self, run: Run, runtime: str = "torch") -> None:
        self.predictor = Predictor(run, runtime)
        if not by_class(self.predictor.task):
            raise unfit(f"{run.path} finds numbered objects")
        self._image: object = None
        self._mask = np.zeros(0)

    @property
    def name(self) -> str:
        """Of the model."""
        return self.predictor.run.path.name

    def __call__(self, case: Case, names: Collection[str]) -> Region | None:
        """Where these classes may be: around those of the same names, or around all where none has one; None: nowhere.

        The classes of one image are found once, whoever asks.
        """
        image = case.read("image")
        if self._image is not image:
            self._mask = self.predictor(case)["mask"].array
            self._image = image
        known = {c.value for c in self.predictor.plan.classes if c.name in names}
        mask = np.isin(self._mask, list(known)) if known else self._mask
        seen = grid.ras_view(mask[None], image)[0]
        steps = image.spacing
        if image.affine is not None and image.dims == 3:
            steps = tuple(steps[o] for o in geometry.axes_to_ras(image.affine)[0])
        return around(seen, steps)


def check(run: Run, coarse: Run, limit: int | None, wide: bool) -> None:
    """Refuse what does not go together (HIL-INFER-23), and a limit of memory (HIL-INFER-19)."""
    if limit is not None:
        raise HilumError(
            "HIL-INFER-19", "What two models hold one after the other is not predicted: --memory can not be kept",
            "Leave --memory or --coarse out",
        )  # fmt: skip
    for one in (run, coarse):
        if one.plan.task != "segment":
            raise unfit(f"{one.path} is a {one.plan.task} model")
    if coarse.system is not None:
        raise unfit(f"{coarse.path} is a system of networks, which is as slow as what it should spare")
    if (coarse.plan.dims, coarse.plan.channels) != (run.plan.dims, run.plan.channels):
        raise unfit(
            f"{coarse.path} is for {coarse.plan.dims}-D images of {len(coarse.plan.channels)} channels "
            f"({', '.join(coarse.plan.channels)}), {run.path} for {run.plan.dims}-D ones of {len(run.plan.channels)} "
            f"({', '.join(run.plan.channels)})"
        )
    for part in [run] if run.system is None else [run.part(group.name) for group in run.system.groups]:
        known = part.calibration
        if wide or (known is not None and known.opinions.kind != "one"):
            what = "Wide masks need" if wide else f"The mean of several opinions, which {part.path} answers with, needs"
            raise unfit(f"{what} the scores of all voxels")


def unfit(seen: str) -> HilumError:
    """The refusal of two models that do not go together."""
    return HilumError(
        "HIL-INFER-23", seen, "--coarse takes two models of masks by class for the same images, asked once each"
    )
