"""Peak signal-to-noise ratio in dB, fastMRI convention: the peak is the largest value of the whole true volume."""

import numpy as np

from hilum.metrics._pictures import Array, check_pictures

CARD = {
    "better": "higher",
    "unit": "dB",
    "range": [None, 150],
    "level": "case",
    "takes": "pictures",
    "aggregate": "mean over cases",
    "missing": "it has no worst value: left out, counted under missing",
    "empty": "truth without a positive value: undefined unless data_range is given",
    "source": "fastMRI (Zbontar et al. 2018): 10 log10(max(truth)^2 / MSE) over the volume; capped at 150 dB",
    "suffix": {"hu": "data_range"},
}

CAP_DB = 150.0
# Beyond the precision of float32: such a picture is the same. Infinity could neither be averaged nor written as JSON.


def measure(prediction: Array, truth: Array, data_range: float | None = None) -> float | None:
    """prediction, truth: any one shape, same unit. data_range: replaces max(truth), for example 400 HU. Returns dB."""
    prediction, truth = check_pictures(prediction, truth)
    peak = float(truth.max()) if data_range is None else float(data_range)
    if peak <= 0:
        return None
    error = float(np.mean((prediction - truth) ** 2))
    return CAP_DB if error == 0 else min(CAP_DB, float(10 * np.log10(peak**2 / error)))
