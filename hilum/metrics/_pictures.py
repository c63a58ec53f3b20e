"""What the metrics of pictures share: checking, and the range of the truth."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]


def check_pictures(prediction: Array, truth: Array) -> tuple[Array, Array]:
    """Both as float64 magnitudes or real values of one shape; values that are not finite are refused."""
    prediction, truth = np.asarray(prediction), np.asarray(truth)
    if prediction.shape != truth.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the truth {truth.shape}")
    if np.iscomplexobj(prediction) or np.iscomplexobj(truth):
        prediction, truth = np.abs(prediction), np.abs(truth)
    if not (np.isfinite(prediction).all() and np.isfinite(truth).all()):
        raise ValueError("a picture holds a value that is not finite")
    return prediction.astype(np.float64), truth.astype(np.float64)
