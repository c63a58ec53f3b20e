"""An image as the network of a plan sees it, on that network's grid."""

import math
from dataclasses import replace

import numpy as np

from hilum.core.image import Array, Image
from hilum.core.plan import Plan
from hilum.prepare import grid, intensity

FIRST = "normalise_first"
# Of a plan's data, set by the import of nnU-Net's weights: whether intensities are normalised before the resampling.
BYTES = 4
# Of a float32.


def placed(image: Image, plan: Plan) -> tuple[Array, grid.Placed]:
    """(C, *shape) float32 normalised, and the way back.

    FIRST: as nnU-Net has it, so that clipping, means and deviations are those of the voxels as measured; and resampling
    does not smooth then where it shrinks, as nnU-Net's does not.
    """
    spacing = None if plan.spacing is None else tuple(plan.spacing)
    channels = len(plan.channels)
    if not plan.data.get(FIRST):
        array, found = grid.place(image, spacing)
        array = intensity.match_channels(array, channels, image)
        if np.may_share_memory(array, image.array):
            # nothing was resampled, and the image is the caller's
            array = array.copy()
        return intensity.normalise(array, plan.normalisation, fresh=True), found
    array = intensity.normalise(intensity.match_channels(image.array, channels, image), plan.normalisation)
    array, found = grid.place(replace(image, array=array), spacing, smooth=False)
    # what is found goes back onto the image as it was read
    return array, replace(found, image=image)


def held(shape: tuple[int, ...], made: tuple[int, ...], plan: Plan) -> int:
    """Bytes that `placed` surely holds at a time, beside the image as read.

    shape: of the image, made: of what becomes of it, both without channels.
    """
    own, new, channels = math.prod(shape), math.prod(made), len(plan.channels)
    if not plan.data.get(FIRST):
        return (BYTES * channels + intensity.beside(plan.normalisation)) * new
    # a channel before it joins the others; then all of them while they are resampled
    return BYTES * max((channels + 1) * own, channels * (own + new) if made != shape else 0)
