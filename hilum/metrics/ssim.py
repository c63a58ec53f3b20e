"""Structural similarity, fastMRI convention: mean over slices, 7x7 uniform window, range = max of the true volume."""

import numpy as np

from hilum.metrics._pictures import Array, check_pictures

CARD = {
    "better": "higher",
    "unit": "",
    "range": [-1, 1],
    "level": "case",
    "takes": "pictures",
    "aggregate": "mean over slices within a case, then over cases",
    "missing": "-1",
    "empty": "truth without a positive value, or a slice smaller than 7x7: undefined",
    "source": "Wang et al. 2004 as in fastMRI: scikit-image, 7x7 uniform window, sample covariance, k1 0.01, k2 0.03",
    "suffix": {"hu": "data_range"},
}

WINDOW = 7


def measure(prediction: Array, truth: Array, data_range: float | None = None, axis: int = -1) -> float | None:
    """Returns -1..1.

    prediction, truth: (H, W); (C, H, W), the mean over channels; or (C, *3-D), the mean over channels and over the
    slices along `axis`. data_range: replaces max(truth).
    """
    from skimage.metrics import structural_similarity

    prediction, truth = check_pictures(prediction, truth)
    if truth.ndim not in (2, 3, 4):
        raise ValueError(f"expected (H, W), (C, H, W) or (C, *3-D), got {truth.shape}")
    if truth.ndim == 4:
        prediction, truth = np.moveaxis(prediction, axis, 1), np.moveaxis(truth, axis, 1)
    size = truth.shape[-2:]
    peak = float(truth.max()) if data_range is None else float(data_range)
    if peak <= 0 or min(size) < WINDOW:
        return None
    pairs = zip(prediction.reshape(-1, *size), truth.reshape(-1, *size), strict=True)
    return float(np.mean([structural_similarity(t, p, win_size=WINDOW, data_range=peak) for p, t in pairs]))
