"""An image as the network of a plan sees it, on that network's grid."""

from dataclasses import replace

from hilum.core.image import Array, Image
from hilum.core.plan import Plan
from hilum.prepare import grid, intensity

FIRST = "normalise_first"
# Of a plan's data, set by the import of nnU-Net's weights: whether intensities are normalised before the resampling.


def placed(image: Image, plan: Plan) -> tuple[Array, grid.Placed]:
    """(C, *shape) float32 normalised, and the way back.

    FIRST: as nnU-Net has it, so that clipping, means and deviations are those of the voxels as measured; and resampling
    does not smooth then where it shrinks, as nnU-Net's does not.
    """
    spacing = None if plan.spacing is None else tuple(plan.spacing)
    channels = len(plan.channels)
    if not plan.data.get(FIRST):
        array, found = grid.place(image, spacing)
        return intensity.normalise(intensity.match_channels(array, channels, image), plan.normalisation), found
    array = intensity.normalise(intensity.match_channels(image.array, channels, image), plan.normalisation)
    array, found = grid.place(replace(image, array=array), spacing, smooth=False)
    # what is found goes back onto the image as it was read
    return array, replace(found, image=image)
