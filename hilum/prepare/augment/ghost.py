"""MR ghosts of periodic motion.

Breathing or pulsation modulates the lines of k-space: line k is weighed by 1 + a cos(2 pi k d / N + phase). A cosine in
k-space is two shifted copies in the image, d voxels either way along the phase-encoding axis, wrapped around (Wood and
Henkelman 1985, Med Phys 12:143; Axel 1986). They are added as copies, which is the same and needs no transform.
"""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _grey

CARD = {
    "about": "MR: two faint copies, moved either way along one of `axes` and wrapped around; mean and spread stay",
    "spatial": False,
    "options": {"strength": [0.1, 0.5], "distance": [0.15, 0.5], "axes": [0, 1, 2], "probability": 0.1},
}


def sample(
    rng: np.random.Generator,
    dims: int,
    strength: list[float],
    distance: list[float],
    axes: list[int],
    probability: float,
) -> dict[str, Any]:
    """strength a of the modulation (0: off), axis, distance as a share of the axis, phase in radians."""
    used = [a for a in range(dims) if a in axes]
    on = rng.random() < probability and bool(used)
    return {
        "strength": float(rng.uniform(strength[0], strength[1])) if on else 0.0,
        "axis": _grey.axis(rng, used),
        "distance": float(rng.uniform(distance[0], distance[1])),
        "phase": float(rng.uniform(0, 2 * np.pi)),
    }


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay. The magnitude, as scanners give it. The field of view is the array."""
    if kind != "image" or params["strength"] == 0:
        return array
    signal, _ = _grey.signal(array)
    axis = params["axis"] + 1
    move = round(params["distance"] * signal.shape[axis])
    ahead, behind = np.roll(signal, move, axis), np.roll(signal, -move, axis)
    half = params["strength"] / 2
    real = signal + np.float32(half * np.cos(params["phase"])) * (ahead + behind)
    imaginary = np.float32(half * np.sin(params["phase"])) * (ahead - behind)
    return _grey.kept(np.hypot(real, imaginary), array)
