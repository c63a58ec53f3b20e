"""Recall of a generator: the share of real pictures that lie where generated pictures are (diversity).

A real vector is reached when it lies within the distance of some generated vector to that vector's third nearest
generated neighbour. A generator that makes one picture again and again has a recall near zero.
"""

import numpy as np

from hilum.metrics._features import Array, check_features, squared_distances

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "set",
    "takes": "features",
    "suffix": {"pca": ""},
    "aggregate": "one value of all cases together",
    "missing": "does not occur: images are made, not read",
    "empty": "no real vector, or fewer than four generated ones: undefined",
    "source": "Kynkaanniemi et al. 2019, k = 3",
}

NEIGHBOURS = 3


def measure(generated: Array, real: Array) -> float | None:
    """generated: (n, d), real: (m, d) features. Returns 0..1; at equal distributions well below 1 when d is large."""
    generated, real = check_features(generated, real)
    if len(generated) <= NEIGHBOURS or not len(real):
        return None
    own = squared_distances(generated, generated)
    np.fill_diagonal(own, -1.0)  # itself comes first, exactly
    radius = np.partition(own, NEIGHBOURS, axis=1)[:, NEIGHBOURS]
    return float((squared_distances(real, generated) <= radius[None, :]).any(axis=1).mean())
