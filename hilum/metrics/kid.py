"""Kernel inception distance: unbiased squared MMD with the kernel (x.y / d + 1)^3 between two sets of features.

Unbiased for small sets, so around equal distributions it is as often below zero as above. The number depends on the
features: say which network (or which principal components) made them. Not multiplied by 1000.
"""

from hilum.metrics._features import Array, check_features

CARD = {
    "better": "lower",
    "unit": "",
    "range": [None, None],
    "level": "set",
    "takes": "features",
    "aggregate": "one value of all cases together",
    "missing": "does not occur: images are made, not read",
    "empty": "fewer than two vectors on a side: undefined",
    "source": "Binkowski et al. 2018; Gretton et al. 2012, equation 3",
    "suffix": {"pca": ""},
}


def _kernel(a: Array, b: Array) -> Array:
    out: Array = (a @ b.T / a.shape[1] + 1.0) ** 3
    return out


def measure(generated: Array, real: Array) -> float | None:
    """generated: (n, d), real: (m, d) features. Returns the unbiased estimate, which may be below zero."""
    generated, real = check_features(generated, real)
    n, m = len(generated), len(real)
    if n < 2 or m < 2:
        return None
    own, other, cross = _kernel(generated, generated), _kernel(real, real), _kernel(generated, real)
    within = (own.sum() - own.trace()) / (n * (n - 1)) + (other.sum() - other.trace()) / (m * (m - 1))
    return float(within - 2 * cross.mean())
