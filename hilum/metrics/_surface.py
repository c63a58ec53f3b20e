"""Distances between the surfaces of two masks: the machinery of hd95_mm and nsd_1mm."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def check_masks(prediction: Array, truth: Array, spacing: tuple[float, ...]) -> tuple[Array, Array]:
    """Both as bool arrays of one shape; another shape is refused, never broadcast; so is a spacing that is none."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the truth {truth.shape}")
    if len(spacing) != truth.ndim:
        raise ValueError(f"{len(spacing)} spacings {tuple(spacing)} for {truth.ndim} axes")
    if not all(np.isfinite(mm) and mm > 0 for mm in spacing):
        raise ValueError(f"the spacing {tuple(spacing)} is no length in mm: it must be above 0 and finite")
    return prediction.astype(bool, copy=False), truth.astype(bool, copy=False)


def diagonal(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    """The image diagonal in mm: no two surfaces in the image lie farther apart."""
    return float(np.linalg.norm(np.array(shape) * np.array(spacing)))


def _bounding_box(mask: Array) -> tuple[slice, ...]:
    """The tight box around a mask that is not empty."""
    box = []
    for axis in range(mask.ndim):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        box.append(slice(int(hit[0]), int(hit[-1]) + 1))
    return tuple(box)


def surface(mask: Array) -> Array:
    """Voxels of the mask with a face neighbour outside it; beyond the image counts as outside."""
    from scipy import ndimage

    edge: Array = mask & ~ndimage.binary_erosion(mask)
    return edge


def surface_distances(prediction: Array, truth: Array, spacing: tuple[float, ...]) -> tuple[Array, Array]:
    """mm from each surface voxel of the prediction to the truth's surface, and back. Neither mask may be empty.

    Cropped to the box around both first: outside it there is no surface, so the result is the same and the memory
    follows the structure, not the image.
    """
    from scipy import ndimage

    box = _bounding_box(prediction | truth)
    edge_p, edge_t = surface(prediction[box]), surface(truth[box])
    to_truth = ndimage.distance_transform_edt(~edge_t, sampling=spacing)[edge_p]
    to_prediction = ndimage.distance_transform_edt(~edge_p, sampling=spacing)[edge_t]
    return to_truth, to_prediction
