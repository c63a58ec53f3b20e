"""k-space for the reconstruct task: from files or simulated from magnitude images, and as a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Image, Measurement
from hilum.core.plan import Normalisation
from hilum.data.store import Prepared
from hilum.physics.coils import smooth_phase
from hilum.physics.fourier import to_image, to_kspace
from hilum.physics.noise import add_complex
from hilum.prepare import intensity
from hilum.tasks._task import case_rng

SIMULATED = "k-space was simulated from a magnitude image"
# How the remark on such a case begins.
CENTRE, FEW = 24, 8
# Rows and columns that coil maps rest on at most; with less columns a case is remarked on.
FAINT = 1e-3
# Of the strongest root sum of squares of coil maps: below there is air, and nothing to be divided by.
RINGING = 1e-3
# Of an image's greatest value: what a magnitude that was resampled may lie below 0, and is brought to 0.


def estimate_maps(kspace: Array, mask: Array | None = None, centre: int = CENTRE) -> Array:
    """Coil maps (..., coil, H, W) from the middle of k-space: coarse coil images over their root sum of squares.

    mask: (W,), above 0 where a column was sampled. At most `centre` rows and columns are taken, and of columns those
    that lie in one piece with the middle: a gap between them would fold the maps. The middle one has to be sampled.
    """
    height, width = kspace.shape[-2:]
    window = np.zeros((height, width), dtype=np.float32)
    rows = min(centre, height)
    left, right = _middle(np.ones(width) if mask is None else mask, centre)
    taper = np.hanning(rows + 2)[1:-1, None] * np.hanning(right - left + 2)[None, 1:-1]
    top = (height - rows) // 2
    window[top : top + rows, left:right] = taper
    return _unit(to_image(kspace * window))


def _unit(maps: Array) -> Array:
    """Coil maps (..., coil, H, W) over their root sum of squares, so that an image is what the coils see together."""
    power = np.sqrt((np.abs(maps) ** 2).sum(axis=-3, keepdims=True))
    return maps / np.maximum(power, np.maximum(FAINT * power.max(), 1e-30))


def _middle(mask: Array, most: int) -> tuple[int, int]:
    """First and last + 1 of the columns that are taken, equal if the middle one is not sampled.

    Without gaps `most` of them, else as many on both sides of the middle one as are sampled in one piece with it, so
    that the lowest frequencies weigh most.
    """
    width, middle = len(mask), len(mask) // 2
    gaps, first = np.flatnonzero(np.asarray(mask) <= 0), (width - most) // 2
    if not len(gaps):
        return max(first, 0), min(width, first + most)
    reach = min(int(np.abs(gaps - middle).min()), middle + 1, width - middle, most // 2)
    return middle - max(reach - 1, 0), middle + reach


def from_measurement(measurement: Measurement, case: Case) -> Prepared:
    """kspace, maps, combined complex image and root-sum-of-squares target, slice by slice.

    target is None where the file is undersampled and brings no fully sampled picture of the same size.
    affine: (slice, row, column) to RAS+ mm, None where it is not known; pictures keep the rows and columns of k-space.
    """
    if measurement.axes[-2:] != ("ky", "kx"):
        raise HilumError("HIL-IO-04", f"Case {case.id} has axes {measurement.axes}", "Give Cartesian k-space (ky, kx)")
    kspace = np.asarray(measurement.array, dtype=np.complex64)
    kspace = kspace.reshape(-1, *kspace.shape[-3:]) if kspace.ndim >= 3 else kspace[None, None]
    mask, maps = measurement.operator.get("mask"), measurement.operator.get("maps")
    full = mask is None or bool(np.asarray(mask).all())
    mask = None if full else _columns(np.asarray(mask, dtype=np.float32), case)
    given, warnings = maps is not None, measurement.warnings
    if not given:
        maps, more = _estimated(kspace, mask, case)
        warnings = (*warnings, *more)
    maps = np.broadcast_to(np.asarray(maps, dtype=np.complex64), kspace.shape)
    # files have maps in units of their own; of these the image is the root sum of squares, as the target is
    maps = _unit(maps) if given else maps
    coils = to_image(kspace)
    image = (np.conj(maps) * coils).sum(axis=1)
    target: Array | None = np.sqrt((np.abs(coils) ** 2).sum(axis=1)).astype(np.float32)
    if not full:
        # what came from an undersampled scan is no truth
        known = None if measurement.target is None else np.asarray(measurement.target, dtype=np.float32)
        target = known if known is not None and known.shape == image.shape else None
    return {
        "kspace": kspace,
        "maps": np.ascontiguousarray(maps),
        "image": image.astype(np.complex64),
        "target": target,
        "mask": mask,
        "seed": int(case_rng(case).integers(2**31)),
        "affine": measurement.target_affine if measurement.axes[:-3] == ("slice",) else None,
        "warnings": warnings,
    }


def _columns(mask: Array, case: Case) -> Array:
    """A mask (W,) as it is, one of (..., H, W) as the row that is all of its rows; others are refused (HIL-IO-04)."""
    rows = mask.reshape(-1, mask.shape[-1])
    if not (rows == rows[0]).all():
        raise HilumError(
            "HIL-IO-04", f"Case {case.id} is undersampled along two axes: mask {mask.shape}",
            "Give k-space that leaves out whole columns",
        )  # fmt: skip
    return rows[0]


def _estimated(kspace: Array, mask: Array | None, case: Case) -> tuple[Array, tuple[str, ...]]:
    """Coil maps of a case that brings none, and a warning where they rest on less than FEW columns.

    Refused: several coils, of which the middle column was not sampled (HIL-IO-04).
    """
    if kspace.shape[1] == 1:
        return np.ones_like(kspace), ()
    left, right = _middle(np.ones(kspace.shape[-1]) if mask is None else mask, CENTRE)
    if left == right:
        raise HilumError(
            "HIL-IO-04", f"Case {case.id} has several coils, no coil maps, and a middle column that was not sampled",
            "Give sensitivity_maps, or k-space whose middle is fully sampled",
        )  # fmt: skip
    few = mask is not None and right - left < FEW
    words = (f"coil maps rest on {right - left} columns that were sampled together: they are coarse",) if few else ()
    return estimate_maps(kspace, mask), words


def simulated(image: Image, case: Case, phase: float, noise: float, rng: np.random.Generator) -> Prepared:
    """A magnitude image (1 or 3, H, W) becomes one-coil k-space with smooth phase and noise, from `rng`.

    Where it is no number it has its least value: see `intensity.normalise`. Refused: values below 0 (HIL-N10).
    """
    magnitude, size = _magnitude(image, case), image.shape
    magnitude = magnitude / max(float(magnitude.max()), 1e-6)
    truth = magnitude * np.exp(1j * smooth_phase((size[0], size[1]), rng, phase))
    kspace = add_complex(to_kspace(truth), noise, rng)
    return {
        "kspace": kspace.astype(np.complex64)[None, None],
        "maps": np.ones((1, 1, *size), dtype=np.complex64),
        "image": truth.astype(np.complex64)[None],
        "target": magnitude[None].astype(np.float32),
        "mask": None,
        "seed": int(rng.integers(2**31)),
        "affine": None,
        "warnings": (*image.warnings, f"{SIMULATED}: its phase and noise are not real"),
    }


def _magnitude(image: Image, case: Case) -> Array:
    """(H, W) float32, 0 and more: a sign would be lost in the magnitude of what is reconstructed, and judged wrong."""
    as_is = [Normalisation(scheme="none")]
    found: Array = intensity.normalise(intensity.match_channels(image.array, 1, image), as_is)[0]
    low, high = float(found.min()), float(found.max())
    if low < -RINGING * max(high, 0.0):
        raise HilumError(
            "HIL-N10", f"Case {case.id} has values from {low:g} to {high:g}, and a magnitude image has none below 0",
            "Give the image as it was before its intensities were normalised, or k-space",
        )  # fmt: skip
    return np.maximum(found, 0)


def batch(rows: Sequence[tuple[Array, Array, Array, bool]], masks: Sequence[Array]) -> dict[str, Any]:
    """Rows (kspace (coil, H, W), maps, complex image (H, W), mirror the columns?) under column masks (W,).

    kspace, operator, target (B, 2, H, W), zero_filled (B, H, W) complex, scale (B,): all divided by the zero-filled
    maximum, which `scale` gives back.
    """
    import torch

    from hilum.physics.fourier import Fourier

    kspace, maps, images = [], [], []
    for own, sensitivity, image, mirror in rows:
        if mirror:
            # mirrored anatomy: the phase and the coils go along, so the physics stays true
            sensitivity, image = sensitivity[..., ::-1], image[..., ::-1]
            own = to_kspace(to_image(own)[..., ::-1])
        kspace.append(own)
        maps.append(sensitivity)
        images.append(image)
    mask = torch.from_numpy(np.stack(masks).astype(np.float32))[:, None, :]
    measured = torch.from_numpy(np.stack(kspace).astype(np.complex64)) * mask[:, None]
    operator = Fourier(mask, torch.from_numpy(np.stack(maps).astype(np.complex64)))
    zero = operator.adjoint(measured)
    scale = zero.abs().amax(dim=(1, 2)).clamp(min=1e-8)
    target = torch.from_numpy(np.stack(images).astype(np.complex64)) / scale[:, None, None]
    return {
        "kspace": measured / scale[:, None, None, None],
        "operator": operator,
        "target": torch.stack([target.real, target.imag], dim=1),
        "zero_filled": zero / scale[:, None, None],
        "scale": scale,
    }
