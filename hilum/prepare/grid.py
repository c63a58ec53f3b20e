"""Onto the grid the network expects: RAS axis order, target spacing, fixed size, and the way back."""

from dataclasses import dataclass

import numpy as np

from hilum.core import geometry
from hilum.core.image import Array, Image
from hilum.core.warp import resize, resize_labels


def to_ras(image: Image) -> Image:
    """Axes reordered and flipped to nearest RAS; exact, no resampling. Pictures in pixel space stay as they are."""
    if image.affine is None or image.dims != 3:
        return image
    order, flips = geometry.axes_to_ras(image.affine)
    array = np.transpose(image.array, (0, *[o + 1 for o in order]))
    affine = geometry.reorder(image.affine, array.shape[1:], order, flips)
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis + 1)
    return Image(np.ascontiguousarray(array), affine, image.warnings, image.meta)


def from_ras(array: Array, image: Image) -> Array:
    """(C, *space) in RAS order back to the axis order of `image`."""
    if image.affine is None or image.dims != 3:
        return array
    order, flips = geometry.axes_to_ras(image.affine)
    for axis, flip in enumerate(flips):
        if flip:
            array = np.flip(array, axis + 1)
    back = np.argsort(order)
    return np.ascontiguousarray(np.transpose(array, (0, *[int(b) + 1 for b in back])))


def target_shape(shape: tuple[int, ...], old: tuple[float, ...], new: tuple[float, ...] | None) -> tuple[int, ...]:
    """Voxels along each axis at spacing `new`: round(n * old / new), at least 1 (nnU-Net's rule)."""
    if new is None:
        return shape
    return tuple(max(1, round(n * o / t)) for n, o, t in zip(shape, old, new, strict=True))


@dataclass(frozen=True)
class Placed:
    """What was done to bring an image onto the network's grid, so that findings can go back.

    image: as read. ras_shape: its shape in RAS order. shape: the shape the network saw.
    """

    image: Image
    ras_shape: tuple[int, ...]
    shape: tuple[int, ...]

    def labels_back(self, labels: Array) -> Array:
        """Label map (*shape) to the image's own grid (*image.shape), dtype kept."""
        return from_ras(resize_labels(labels, self.ras_shape)[None], self.image)[0]

    def channels_back(self, array: Array) -> Array:
        """(C, *shape) float to the image's own grid, linear."""
        return from_ras(resize(array, self.ras_shape), self.image)


def place(
    image: Image, spacing: tuple[float, ...] | None, shape: tuple[int, ...] | None = None
) -> tuple[Array, Placed]:
    """Image to RAS order at `spacing` (mm), or to a fixed `shape`: array (C, *shape) float32 and the way back."""
    ras = to_ras(image)
    size = shape or target_shape(ras.shape, ras.spacing, spacing)
    return resize(ras.array, size), Placed(image, ras.shape, size)


def place_labels(labels: Image, placed: Placed) -> Array:
    """Label image (1, *space), on the image's own grid, to the network's grid (*shape)."""
    return resize_labels(to_ras(labels).array[0], placed.shape)
