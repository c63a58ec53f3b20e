"""Fréchet distance between two sets of features, each taken as one Gaussian.

Biased by the number of samples, and so without an interval: half of the pictures give a larger number, not a spread
around this one. With n not larger than the d features a covariance has no full rank and the number says more about n
than about the pictures, so it is not given (use kid). Even then compare only at equal n and equal features.
"""

import numpy as np

from hilum.metrics._features import Array, check_features

CARD = {
    "better": "lower",
    "unit": "",
    "range": [0, None],
    "level": "set",
    "takes": "features",
    "suffix": {"pca": ""},
    "aggregate": "one value of all cases together",
    "missing": "does not occur: images are made, not read",
    "empty": "not more vectors than features on either side: undefined",
    "source": "Heusel et al. 2017; Dowson and Landau 1982",
}


def measure(generated: Array, real: Array) -> float | None:
    """generated: (n, d), real: (m, d) features, n and m > d. Returns |m1-m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2))."""
    generated, real = check_features(generated, real)
    if min(len(generated), len(real)) <= generated.shape[1]:
        return None
    shift = generated.mean(axis=0) - real.mean(axis=0)
    s1, s2 = np.atleast_2d(np.cov(generated.T)), np.atleast_2d(np.cov(real.T))
    # the root of a symmetric matrix stays real, unlike a general matrix root of S1 S2
    values, vectors = np.linalg.eigh(s1)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    shared = np.sqrt(np.clip(np.linalg.eigvalsh(root @ s2 @ root), 0, None)).sum()
    return max(0.0, float(shift @ shift + np.trace(s1) + np.trace(s2) - 2 * shared))
