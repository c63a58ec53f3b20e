"""Fully sampled multi-coil k-space of heads, for reconstruction.

`kspace/*.h5` in fastMRI style, one person each: kspace (slice, coil, H, W), sensitivity_maps (the true ones) and
reconstruction_rss, the root-sum-of-squares of the stored k-space, as fastMRI makes its targets.
"""

from pathlib import Path

import numpy as np

from hilum.core.image import Measurement
from hilum.data.phantoms._head import Head
from hilum.data.phantoms.slices import FIELD_MM
from hilum.io import kspace
from hilum.physics.coils import birdcage, root_sum_of_squares, smooth_phase
from hilum.physics.fourier import to_image, to_kspace
from hilum.physics.noise import add_complex

CARD = {
    "tasks": ["reconstruct"],
    "about": "fully sampled multi-coil k-space of heads, three slices each, with the true coil maps",
}
APART_MM = 4.0
# Distance between the slices.


def make(
    folder: Path, cases: int, seed: int = 0, size: int = 64, coils: int = 4, slices: int = 3, noise: float = 0.01
) -> None:
    """Write `cases` people. size: pixels a side; noise: complex, in units of the brightest tissue, in every coil."""
    folder = Path(folder)
    for case in range(cases):
        measured = measure(np.random.default_rng((seed, case)), size, coils, slices, noise)
        kspace.write(folder / "kspace" / f"scan_{case:03d}.h5", measured)


def measure(rng: np.random.Generator, size: int, coils: int, slices: int, noise: float) -> Measurement:
    """One person's k-space, axes (slice, coil, ky, kx)."""
    head = Head(rng)
    head.add_lesions(int(rng.integers(0, 3)))
    # four samples a pixel and edge: what a pixel shows is a mean, as in a scan of finite resolution
    fine = (np.arange(2 * size) - (2 * size - 1) / 2) * FIELD_MM / (2 * size)
    start = rng.uniform(-6, 2)
    maps = np.stack([birdcage(coils, (size, size), turn=float(rng.uniform(0, 2 * np.pi)))] * slices)
    images = np.zeros((slices, size, size), dtype=np.complex64)
    for k in range(slices):
        seen = head.sample(-fine[None, :], -fine[:, None], np.full((2 * size, 2 * size), start + k * APART_MM))
        mean = seen.intensity.reshape(size, 2, size, 2).mean(axis=(1, 3))
        images[k] = mean * np.exp(1j * smooth_phase((size, size), rng))
    data = add_complex(to_kspace(maps * images[:, None]).astype(np.complex64), noise, rng)
    target = root_sum_of_squares(to_image(data)).astype(np.float32)
    operator = {"name": "fourier", "mask": np.ones(size, dtype=np.float32), "maps": maps}
    return Measurement(data, ("slice", "coil", "ky", "kx"), operator, target)
