"""Matching numbered objects: what ap50_instances and pq share."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

IOU = 0.5


def check_objects(prediction: Array, truth: Array) -> tuple[Array, Array]:
    """Both as whole numbers of one shape, 0 the background; anything else is refused, never broadcast."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the truth {truth.shape}")
    for array in (prediction, truth):
        if array.dtype.kind not in "iu":
            raise ValueError(f"numbered objects are whole numbers, not {array.dtype}")
    return prediction, truth


def matched(prediction: Array, truth: Array) -> tuple[Array, int, int]:
    """IoU (n,) of the pairs matched one to one at IoU >= 0.5, as many as can be, and the objects found and true.

    Above 0.5 an object can have one partner only; at exactly 0.5 it may have two, of which one counts.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import maximum_bipartite_matching

    prediction, truth = check_objects(prediction, truth)
    found, p = np.unique(prediction, return_inverse=True)
    real, t = np.unique(truth, return_inverse=True)
    both, shared = np.unique(p.ravel().astype(np.int64) * len(real) + t.ravel(), return_counts=True)
    rows, columns = both // len(real), both % len(real)
    area = np.bincount(rows, shared, len(found)), np.bincount(columns, shared, len(real))
    iou = shared / (area[0][rows] + area[1][columns] - shared)
    good = (iou >= IOU) & (found[rows] != 0) & (real[columns] != 0)
    pairs = csr_array((np.ones(int(good.sum())), (rows[good], columns[good])), (len(found), len(real)))
    partner = maximum_bipartite_matching(pairs, perm_type="column")
    taken = good & (partner[rows] == columns)
    return iou[taken], int((found != 0).sum()), int((real != 0).sum())
