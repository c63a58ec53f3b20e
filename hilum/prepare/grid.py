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
    array = np.ascontiguousarray(ras_view(image.array, image))
    affine = geometry.reorder(image.affine, array.shape[1:], order, flips)
    return Image(array, affine, image.warnings, image.meta)


def ras_view(array: Array, image: Image) -> Array:
    """(C, *space) on the grid of `image`, seen in RAS order: no copy, what is written there is written into `array`."""
    if image.affine is None or image.dims != 3:
        return array
    order, flips = geometry.axes_to_ras(image.affine)
    array = np.transpose(array, (0, *[o + 1 for o in order]))
    return np.flip(array, tuple(axis + 1 for axis, flip in enumerate(flips) if flip))


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
        # in memory as the image lies, so that it is written without turning it
        out = np.empty_like(self.image.array[:1], dtype=labels.dtype)
        resize_labels(labels, self.ras_shape, ras_view(out, self.image)[0])
        return out[0]

    def channels_back(self, array: Array) -> Array:
        """(C, *shape) float to the image's own grid, linear."""
        out = np.empty((len(array), *self.image.shape), dtype=np.float32)
        ras_view(out, self.image)[...] = resize(array, self.ras_shape)
        return out


def shape_at(shape: tuple[int, ...], affine: Array, spacing: tuple[float, ...] | None) -> tuple[int, ...]:
    """The shape that `place` gives a volume (*space) with this affine at `spacing`."""
    order, _ = geometry.axes_to_ras(affine)
    steps = geometry.spacing(affine)
    return target_shape(tuple(shape[o] for o in order), tuple(steps[o] for o in order), spacing)


def place(
    image: Image, spacing: tuple[float, ...] | None, shape: tuple[int, ...] | None = None, smooth: bool = True
) -> tuple[Array, Placed]:
    """Image to RAS order at `spacing` (mm), or to a fixed `shape`: array (C, *shape) float32 and the way back.

    The image is taken as it lies, some slices at a time. smooth: as of `warp.resize`.
    """
    seen = ras_view(image.array, image)
    steps = image.spacing
    if image.affine is not None and image.dims == 3:
        steps = tuple(steps[o] for o in geometry.axes_to_ras(image.affine)[0])
    size = shape or target_shape(seen.shape[1:], steps, spacing)
    return resize(seen, size, smooth=smooth), Placed(image, seen.shape[1:], size)


def place_labels(labels: Image, placed: Placed) -> Array:
    """Label image (1, *space), on the image's own grid, to the network's grid (*shape).

    It is turned as the image was: near 45 degrees a hair's difference of the affines gives another order of axes.
    """
    return resize_labels(ras_view(labels.array, placed.image)[0], placed.shape)
