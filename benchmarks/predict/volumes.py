"""Images to predict, made in the cache: a body CT of full size, smaller parts of it, copies of test images, phantoms.

A body CT of full size: the CT of `body_ct` (3 mm), mirrored along the body to the wanted length, with air around to the
wanted width, resampled linearly, and noise of 12 HU, without which it would be smoother and its file smaller than any
scanner's. All from one body of unknown terms: it stays in the cache.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import writing
from hilum.core.image import Array

FULL = ((512, 512, 400), (0.84, 0.84, 1.5))
# Voxels and mm, as MONAI publishes for its whole-body bundle: 512 x 512 x 397 with slices of 1.5 mm, 287 x 287 x 397
# at 1.5 mm.
AIR, NOISE = -1000, 12.0
# HU.


def body(out: Path, shape: tuple[int, ...] = FULL[0], spacing: tuple[float, ...] = FULL[1]) -> Path:
    """The file of a body CT on a grid of that size, int16, RAS axes. Needs HILUM_DATA."""
    if not out.is_file():
        image = _source(Path(os.environ["HILUM_DATA"]) / "body_ct" / "example_ct.nii.gz")
        wide = [int(np.ceil(n * s / 3.0)) for n, s in zip(shape, spacing, strict=True)]
        _write(out, _resampled(_extended(image, wide), shape, spacing), spacing)
    return out


def _source(path: Path) -> Array:
    """The CT with axes to R, A, S; float32 HU, 3 mm."""
    import nibabel

    image: Any = nibabel.as_closest_canonical(nibabel.load(path))
    if not np.allclose(image.header.get_zooms(), 3.0, atol=0.05):
        raise SystemExit(f"{path} is not of 3 mm")
    return np.asarray(image.dataobj, dtype=np.float32)


def _extended(image: Array, wide: list[int]) -> Array:
    """Cut or filled to a size: air to both sides, mirror images along the body."""
    for axis in (0, 1):
        image = _middle(image, axis, wide[axis])
    more = max(0, wide[2] - image.shape[2])
    return np.pad(image, [(0, 0), (0, 0), (more, 0)], mode="symmetric")[..., -wide[2] :]


def _middle(image: Array, axis: int, size: int) -> Array:
    """The middle of an axis with that size, air beyond the image."""
    less = image.shape[axis] - size
    if less >= 0:
        return image.take(range(less // 2, less // 2 + size), axis)
    room = [(0, 0)] * image.ndim
    room[axis] = (-less // 2, -less - -less // 2)
    return np.pad(image, room, constant_values=AIR)


def _resampled(image: Array, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Array:
    """On a grid with the same middle, with noise; int16."""
    import SimpleITK

    # its axes are in the reverse order
    known = SimpleITK.GetImageFromArray(image.T)
    known.SetSpacing((3.0, 3.0, 3.0))
    start = [(n * 3.0 - m * s) / 2 + s / 2 - 1.5 for n, m, s in zip(image.shape, shape, spacing, strict=True)]
    found = SimpleITK.Resample(
        known, list(shape), SimpleITK.Transform(), SimpleITK.sitkLinear, start, list(spacing),
        (1, 0, 0, 0, 1, 0, 0, 0, 1), float(AIR), SimpleITK.sitkFloat32,
    )  # fmt: skip
    array = SimpleITK.GetArrayFromImage(found)
    array += np.random.default_rng(0).standard_normal(array.shape, dtype=np.float32) * NOISE
    return np.clip(np.round(array), -1024, 3071).astype(np.int16).T


def _write(out: Path, array: Array, spacing: tuple[float, ...]) -> None:
    import nibabel

    image = nibabel.Nifti1Image(np.ascontiguousarray(array), np.diag([*spacing, 1.0]), dtype=np.int16)
    image.header.set_xyzt_units("mm")
    with writing(out) as part:
        nibabel.save(image, part)


def copies(out: Path, files: list[Path]) -> Path:
    """A folder with copies: both sides read them from there."""
    if not (out / "whole").is_file():
        shutil.rmtree(out, ignore_errors=True)
        (out / "images").mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, out / "images" / file.name)
        (out / "whole").touch()
    return out / "images"


def phantom(out: Path, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Path:
    """For smoke tests: a smooth random volume, RAS, int16."""
    if not out.is_file():
        from scipy.ndimage import gaussian_filter

        values = gaussian_filter(np.random.default_rng(0).standard_normal(shape), 3)
        _write(out, np.round(1000 * values / np.abs(values).max()).astype(np.int16), spacing)
    return out
