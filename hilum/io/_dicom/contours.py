"""Between the voxels of one slice and the closed lines around them."""

from collections.abc import Iterator

import numpy as np

from hilum.core.image import Array


def outlines(layer: Array) -> Iterator[Array]:
    """Closed lines (n, 2) in voxels around the regions of one slice, none inside another."""
    from scipy import ndimage
    from skimage.measure import find_contours

    regions, _ = ndimage.label(layer)
    for number, place in enumerate(ndimage.find_objects(regions), 1):
        region = regions[place] == number
        # regions hang together by edges, so what is around them does so by corners too
        holes, count = ndimage.label(ndimage.binary_fill_holes(region, np.ones((3, 3))) & ~region, np.ones((3, 3)))
        corner = np.array([part.start for part in place])
        if count:
            # the last column of the left half runs through the hole, so that it opens on both sides
            columns = np.flatnonzero((holes == 1).any(axis=0))
            middle = int(columns[(len(columns) - 1) // 2]) + 1
            for half, shift in ((region[:, :middle], 0), (region[:, middle:], middle)):
                for line in outlines(half):
                    yield line + corner + [0, shift]
            continue
        for line in find_contours(np.pad(region, 1).astype(np.float32), 0.5, fully_connected="low"):
            yield _corners(line[:-1]) - 1 + corner


def _corners(line: Array) -> Array:
    """The points where a closed line bends; points on its straight parts say nothing."""
    before, after = line - np.roll(line, 1, axis=0), np.roll(line, -1, axis=0) - line
    bends = np.abs(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]) > 1e-9
    return line[bends]


def filled(points: Array, shape: tuple[int, ...]) -> Array:
    """Voxel centres inside a polygon, by scikit-image."""
    from skimage.draw import polygon

    inside = np.zeros(shape, dtype=bool)
    inside[polygon(points[:, 0], points[:, 1], shape)] = True
    return inside


def filled_otherwise(points: Array, shape: tuple[int, ...]) -> Array:
    """The same by matplotlib: the second opinion on what was written."""
    from matplotlib.path import Path as Line

    centres = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    found: Array = Line(points).contains_points(centres.reshape(-1, 2))
    return found.reshape(shape)
