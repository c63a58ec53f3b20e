"""Elastic deformation: cubic B-spline displacements of a coarse lattice.

Random smooth displacement as in Ronneberger 2015 (U-Net), on the free-form lattice of Rueckert 1999. Displacements
stay below 0.4 of the distance of nodes, where a cubic B-spline map can not fold (Choi and Lee 2000: 0.48 in 2-D, 0.40
in 3-D).
"""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _spatial

CARD = {
    "about": "bends space smoothly; `strength` is the largest displacement in distances of nodes, at most 0.4",
    "spatial": True,
    "options": {"strength": 0.3, "cells": 4, "probability": 0.2},
}
MOST = 0.4
ROUNDS = 40
# Fixed-point steps that bring a point through the deformation to well below a hundredth of a voxel.


def sample(rng: np.random.Generator, dims: int, strength: float, cells: int, probability: float) -> dict[str, Any]:
    """strength (0: off), cells of the lattice along each axis, and the seed of its displacements."""
    on = rng.random() < probability
    drawn = float(rng.uniform(0, min(strength, MOST))) if on else 0.0
    return {"strength": drawn, "cells": int(cells), "seed": int(rng.integers(2**31))}


def _nodes(params: dict[str, Any], shape: tuple[int, ...]) -> Array:
    """Displacements of the nodes in voxels (d, cells + 3, ...)."""
    dims, cells = len(shape), params["cells"]
    drawn = np.random.default_rng(params["seed"]).uniform(-1, 1, (dims, *[cells + 3] * dims))
    return drawn * params["strength"] * np.array(shape).reshape(-1, *[1] * dims) / cells


def _basis(place: Array, n: int, cells: int) -> tuple[Array, Array]:
    """First node (N,) and the four weights (N, 4) at voxel coordinates; beyond the ends as at the ends."""
    t = np.clip((place + 0.5) * (cells / n), 0, cells)
    first = np.minimum(t.astype(np.int64), cells - 1)
    x = t - first
    weights = ((1 - x) ** 3, 3 * x**3 - 6 * x**2 + 4, -3 * x**3 + 3 * x**2 + 3 * x + 1, x**3)
    return first, np.stack(weights, axis=-1) / 6


def _on_axes(params: dict[str, Any], places: _spatial.Places, shape: tuple[int, ...]) -> Array:
    """Displacement (d, *out) in voxels at open axes: axis by axis, the four nodes around each place."""
    made = _nodes(params, shape).astype(np.float32)
    for axis, (place, n) in enumerate(zip(places, shape, strict=True)):
        first, weights = _basis(place.ravel(), n, params["cells"])
        along = [-1 if a == axis + 1 else 1 for a in range(made.ndim)]
        parts = [
            np.take(made, first + k, axis=axis + 1) * weights[:, k].astype(np.float32).reshape(along) for k in range(4)
        ]
        made = parts[0] + parts[1] + parts[2] + parts[3]
    return made


def _anywhere(params: dict[str, Any], places: _spatial.Places, shape: tuple[int, ...]) -> Array:
    """Displacement (d, *out) in voxels at any places: the 4^d nodes around each."""
    nodes = _nodes(params, shape)
    found = [_basis(place, n, params["cells"]) for place, n in zip(places, shape, strict=True)]
    out = np.zeros((len(shape), *np.broadcast_shapes(*[p.shape for p in places])))
    for offset in np.ndindex(*[4] * len(shape)):
        weight: Any = 1.0
        for (_, weights), k in zip(found, offset, strict=True):
            weight = weight * weights[..., k]
        out += weight * nodes[(slice(None), *[first + k for (first, _), k in zip(found, offset, strict=True)])]
    return out


def pull(params: dict[str, Any], places: _spatial.Places, shape: tuple[int, ...]) -> _spatial.Places:
    """Where the voxels at `places` come from. Fast on an unrotated grid: plan it after rotation."""
    if params["strength"] == 0:
        return places
    open_axes = all(p.ndim == len(shape) and p.size == p.shape[axis] for axis, p in enumerate(places))
    moved = _on_axes(params, places, shape) if open_axes else _anywhere(params, places, shape)
    return [(p + u).astype(np.float32) for p, u in zip(places, moved, strict=True)]


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """(C, *space) -> same shape; images linear with edges repeated, labels nearest with 0 outside."""
    if params["strength"] == 0:
        return array
    shape = array.shape[1:]
    return _spatial.pulled(array, pull(params, _spatial.grid(shape), shape), kind)


def points(params: dict[str, Any], coordinates: Array, shape: tuple[int, ...]) -> Array:
    """Continuous voxel-edge coordinates (N, d) moved with the image of `shape`: the pull inverted by fixed point."""
    if params["strength"] == 0:
        return coordinates
    wanted = np.asarray(coordinates, dtype=np.float64).T - 0.5
    found = wanted
    for _ in range(ROUNDS):
        found = wanted - _anywhere(params, list(found), shape)
    return found.T + 0.5
