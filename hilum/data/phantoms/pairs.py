"""Pairs of head volumes related by a known smooth displacement, for registration.

`images/` + `labels/` NIfTI, pairs.csv (fixed, moving), fields/<fixed>__<moving>.npy: u (3, i, j, k) float32 in voxels
along the array axes, pulling: fixed(p) = moving(p + u(p)) up to noise. dataset.yaml names the labels.
"""

from pathlib import Path

import numpy as np

from hilum.core.atomic import write_text, writing
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.data.phantoms._head import DEEP, LESION, VENTRICLE, WHITE, Head
from hilum.io import nifti
from hilum.physics.noise import rician

CARD = {
    "tasks": ["register"],
    "about": "pairs of 3-D heads with labels and the known displacement between them",
}
CLASSES = {1: "ventricle", 2: "deep grey", 3: "white matter"}
TISSUES = {1: (VENTRICLE,), 2: (DEEP,), 3: (WHITE, LESION)}
STEP_MM = 2.2
BRIGHT = 700
# Stored value of intensity 1.
LEAST_JACOBIAN = 0.25
# No voxel shrinks to less than this share of its volume: far from folding.


def make(
    folder: Path, cases: int, seed: int = 0, shape: tuple[int, int, int] = (32, 40, 32), noise: float = 0.02
) -> None:
    """Write `cases` pairs, each of another person, displaced by at most 3 to 5 voxels. noise: Rician, independent."""
    folder = Path(folder)
    rows = ["fixed,moving"]
    affine = np.diag([STEP_MM, STEP_MM, STEP_MM, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * STEP_MM for n in shape]
    for case in range(cases):
        rng = np.random.default_rng((seed, case))
        head = Head(rng, scale=1.1)
        u = displacement(shape, rng)
        fixed, moving = f"pair_{case:03d}_fixed", f"pair_{case:03d}_moving"
        for name, shift in ((fixed, u), (moving, np.zeros_like(u))):
            intensity, labels = _seen(head, affine, shift)
            stored = np.round(rician(intensity, noise, rng) * BRIGHT).astype(np.int16)
            nifti.write(folder / "images" / f"{name}.nii.gz", Image(stored[None], affine))
            nifti.write(folder / "labels" / f"{name}.nii.gz", Mask(labels, CLASSES, affine))
        with writing(folder / "fields" / f"{fixed}__{moving}.npy") as part, open(part, "wb") as stream:
            np.save(stream, u)
        rows.append(f"{fixed},{moving}")
    write_text(folder / "pairs.csv", "\n".join(rows) + "\n")
    names = ", ".join(f"{value}: {name}" for value, name in CLASSES.items())
    write_text(folder / "dataset.yaml", f"classes: {{{names}}}\npatients: ^(pair_[0-9]+)_\nterms: Apache-2.0\n")


def displacement(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """A smooth displacement (d, *shape) float32 in voxels, 3 to 5 at most, fading at the border, without folds."""
    from scipy.ndimage import gaussian_filter

    window = np.ones(shape)
    for axis, n in enumerate(shape):
        edge = np.clip(np.minimum(np.arange(n), np.arange(n)[::-1]) / 6.0, 0, 1)
        window = window * np.expand_dims(edge, [a for a in range(len(shape)) if a != axis])
    noise = rng.normal(size=(len(shape), *shape))
    u = np.stack([gaussian_filter(one, 5.5, mode="constant") * window for one in noise])
    u *= rng.uniform(3.0, 5.0) / np.sqrt((u**2).sum(axis=0)).max()
    while jacobian(u).min() < LEAST_JACOBIAN:
        u *= 0.95
    return u.astype(np.float32)


def jacobian(u: Array) -> Array:
    """Determinant of d(p + u)/dp at every voxel, central differences; below 0 is a fold."""
    d = len(u)
    matrix = np.stack([np.stack(np.gradient(u[row]), axis=-1) for row in range(d)], axis=-2) + np.eye(d)
    return np.linalg.det(matrix)


def _seen(head: Head, affine: Array, u: Array) -> tuple[Array, Array]:
    """Intensity (mean over each voxel) and labels (at its centre) of the head at p + u(p)."""
    shape = u.shape[1:]
    index = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float64) for n in shape], indexing="ij")) + u
    total = np.zeros(shape, dtype=np.float32)
    for corner in np.ndindex(2, 2, 2):
        inside = index + (np.array(corner)[:, None, None, None] - 0.5) / 2
        total += head.sample(*(affine[a, a] * inside[a] + affine[a, 3] for a in range(3))).intensity
    tissue = head.sample(*(affine[a, a] * index[a] + affine[a, 3] for a in range(3))).tissue
    labels = np.zeros(shape, dtype=np.uint8)
    for value, kinds in TISSUES.items():
        labels[np.isin(tissue, kinds)] = value
    return total / 8, labels
