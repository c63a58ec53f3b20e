"""Slices of one DICOM series put in order along their normal; only one even, upright stack is accepted."""

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array

SAME_PLACE_MM = 1e-2
# Two slices nearer than this lie at the same position.
UNEVEN = 0.02
# Share by which a step may differ from the usual one: scanners write positions with few digits.
TURN = 1e-3
# Largest change of a direction cosine within a series.


Place = tuple[float, Path, Any]
# Position along the normal in mm, file, header.


@dataclass(frozen=True)
class Stack:
    """slices: (file, header) in order along the normal. affine: RAS+ mm of the array (i, j, k)."""

    slices: list[tuple[Path, Any]]
    affine: Array
    warnings: tuple[str, ...] = ()


def sort(path: Path, chosen: list[tuple[Path, Any]]) -> Stack:
    """Order by position along the normal, never by file name or instance number."""
    _alike(path, chosen)
    first = chosen[0][1]
    across, down = _axes(path, first)
    normal = np.cross(across, down)
    places = [(float(_position(header) @ normal), file, header) for file, header in chosen]
    places.sort(key=lambda row: (row[0], row[1].name))
    places, warnings = _without_copies(path, places)
    step = _step(path, places, warnings)
    start, end = _position(places[0][2]), _position(places[-1][2])
    offsets = np.array([_position(header) - start for _, _, header in places])
    drift = float(np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max())
    length = float((end - start) @ normal)
    if drift > max(0.05, geometry.SHEAR_TOLERANCE * length):
        raise HilumError(
            "HIL-D24", f"{path}: the slices shift sideways by {drift:.2f} mm along the stack (tilted gantry)",
            "Resample the series to an upright grid first",
        )  # fmt: skip
    row_mm, column_mm = (float(v) for v in first.PixelSpacing)
    lps = np.eye(4)
    # PixelSpacing is (between rows, between columns); i counts columns
    lps[:3, 0], lps[:3, 1], lps[:3, 2], lps[:3, 3] = across * column_mm, down * row_mm, normal * step, start
    affine = geometry.flip_lps_ras(lps)
    return Stack([(file, header) for _, file, header in places], affine, tuple(warnings))


def _position(header: Any) -> Array:
    return np.array([float(v) for v in header.ImagePositionPatient], dtype=np.float64)


def _axes(path: Path, header: Any) -> tuple[Array, Array]:
    """Unit vectors (LPS) along a row and down a column."""
    cosines = np.array([float(v) for v in header.ImageOrientationPatient], dtype=np.float64)
    across, down = cosines[:3], cosines[3:]
    fault = max(abs(float(v)) for v in (np.linalg.norm(across) - 1, np.linalg.norm(down) - 1, across @ down))
    if cosines.shape != (6,) or not np.isfinite(cosines).all() or fault > 1e-2:
        raise HilumError("HIL-N06", f"{path}: orientation {cosines.tolist()} is no right angle", "Mend the header")
    across = across / np.linalg.norm(across)
    down = down - (down @ across) * across
    return across, down / np.linalg.norm(down)


def _alike(path: Path, chosen: list[tuple[Path, Any]]) -> None:
    """Every slice has the size, spacing, bit depth and orientation of the first."""
    first = chosen[0][1]
    wanted = np.array([float(v) for v in first.ImageOrientationPatient])
    for file, header in chosen:
        turn = np.abs(np.array([float(v) for v in header.ImageOrientationPatient]) - wanted).max()
        if turn > TURN:
            raise HilumError("HIL-D25", f"{file} lies in another orientation than the rest", "Take the localiser out")
        for tag in ("Rows", "Columns", "BitsAllocated", "PixelRepresentation", "SamplesPerPixel"):
            if header.get(tag) != first.get(tag):
                raise HilumError(
                    "HIL-D26", f"{file}: {tag} is {header.get(tag)} and not {first.get(tag)} as before", "Separate them"
                )
        if not np.allclose([float(v) for v in header.PixelSpacing], [float(v) for v in first.PixelSpacing], rtol=1e-3):
            raise HilumError("HIL-D26", f"{file}: pixel spacing {list(header.PixelSpacing)} differs", "Separate them")
    if min(float(v) for v in first.PixelSpacing) <= 0:
        raise HilumError("HIL-N06", f"{path}: pixel spacing {list(first.PixelSpacing)}", "Mend the header")


def _without_copies(path: Path, places: list[Place]) -> tuple[list[Place], list[str]]:
    """Drop files that are byte for byte a copy; other slices at the same position are refused."""
    kept: list[Place] = []
    copies = 0
    clash: tuple[Path, Path] | None = None
    for place, file, header in places:
        if kept and place - kept[-1][0] < SAME_PLACE_MM:
            if _digest(file) == _digest(kept[-1][1]):
                copies += 1
                continue
            clash = clash or (kept[-1][1], file)
        kept.append((place, file, header))
    if clash:
        counts = Counter(round(place / SAME_PLACE_MM / 5) for place, _, _ in kept)
        if len(set(counts.values())) == 1:
            raise HilumError(
                "HIL-D30", f"{path} holds {min(counts.values())} volumes at the same positions (times, echoes)",
                "Put each in a folder of its own",
            )  # fmt: skip
        raise HilumError("HIL-D22", f"{path}: {clash[0].name} and {clash[1].name} lie at the same place", "Remove one")
    return kept, [f"HIL-D22: {copies} files are exact copies of others and were left out"] if copies else []


def _digest(file: Path) -> bytes:
    return hashlib.sha256(file.read_bytes()).digest()


def _step(path: Path, places: list[Place], warnings: list[str]) -> float:
    """Distance between slices in mm; gaps and uneven steps are refused."""
    if len(places) == 1:
        header = places[0][2]
        step = float(header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 0)
        if not step > 0:
            warnings.append("HIL-D23: a single slice without a thickness; 1 mm is assumed")
        return step if step > 0 else 1.0
    at = np.array([place for place, _, _ in places])
    steps = np.diff(at)
    usual = float(np.median(steps))
    gap = int(np.argmax(steps))
    if steps[gap] > 1.5 * steps.min():
        raise HilumError(
            "HIL-D21", f"{path}: a slice is missing between {places[gap][1].name} and {places[gap + 1][1].name}: "
            f"{steps[gap]:.2f} mm instead of {steps.min():.2f} mm", "Fetch the whole series again",
        )  # fmt: skip
    if np.abs(steps - usual).max() > UNEVEN * usual + SAME_PLACE_MM:
        raise HilumError(
            "HIL-D23", f"{path}: slices {steps.min():.3f} to {steps.max():.3f} mm apart", "Resample to even steps first"
        )
    return float((at[-1] - at[0]) / (len(at) - 1))
