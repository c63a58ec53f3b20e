"""Slices of one volume put in order along their normal: an even, upright grid, or how to get onto one, or a refusal."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._dicom.frames import Slice

SAME_PLACE_MM = 1e-2
# Two slices nearer than this lie at the same position.
UNEVEN = 0.02
# Share by which a step may differ from the usual one: scanners write positions with few digits.
OFF_GRID = 0.05
# Share of a step by which a slice may lie off the even grid: small differences must not add up.
TILT_MM = 0.05
# Slices may lie so far beside each other before the stack counts as sheared.
GAP = 1.5
# A step this many times its neighbour's, once or twice in a row, is a gap and not another table speed.
REGULAR = 0.3
# Share of slices that must count one by one before a jump in their instance numbers means something.
MOST_WIDER = 4
# Upright grids of tilted stacks and even grids of uneven ones may hold so many times the pixels that were measured.


@dataclass(frozen=True)
class Even:
    """How the measured slices lie on the even grid, in its voxels.

    aside: (n, 2) where each slice's first pixel lies along (i, j). along: (n,) its place along k. why: fault codes.
    """

    aside: Array
    along: Array
    why: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """slices: in order along the normal. affine: RAS+ mm of the array (i, j, k) of `shape`. even: None where the
    slices are the grid."""

    slices: tuple[Slice, ...]
    affine: Array
    shape: tuple[int, int, int]
    warnings: tuple[str, ...] = ()
    even: Even | None = None


def sort(path: Path, chosen: Sequence[Slice], accept: Collection[str] = ()) -> Stack:
    """Order by position along the normal, never by file name or instance number; all of one orientation and size.

    accept: fault codes that are bridged instead of refused: "D21", a gap. Refused: a gap (HIL-D21), different slices
    at one place (D22), a tilt beyond the picture's own width (D24), no grid within reason (D23).
    """
    slices = sorted(chosen, key=lambda one: (_along(one, chosen[0]), one.file.name, one.frame))
    first = slices[0]
    at = np.array([_along(one, first) for one in slices])
    warnings: list[str] = []
    codes: list[str] = []
    if len(slices) == 1:
        step, count = _single(first, warnings), 1
    else:
        step, count, codes = _steps(path, slices, at, accept, warnings)
    aside = np.array([_aside(one, first) for one in slices])
    drift = float(np.linalg.norm(aside * [first.pixel_mm[1], first.pixel_mm[0]], axis=1).max())
    if drift > max(TILT_MM, geometry.SHEAR_TOLERANCE * float(at[-1] - at[0])):
        codes.append("HIL-D24")
        warnings.append(
            f"HIL-D24: the slices shift sideways by {drift:.2f} mm along the stack (tilted gantry); "
            "they were resampled to an upright grid"
        )
    else:
        aside = np.zeros_like(aside)
    return _grid(path, slices, at, aside, step, count, codes, warnings)


def _grid(
    path: Path, slices: list[Slice], at: Array, aside: Array, step: float, count: int, codes: list[str],
    warnings: list[str],
) -> Stack:  # fmt: skip
    """The grid that holds every slice, with the spacing of the first."""
    first = slices[0]
    low, high = np.floor(aside.min(axis=0) + 1e-6), np.ceil(aside.max(axis=0) - 1e-6)
    columns, rows = (int(v) for v in np.array([first.size[1], first.size[0]]) + high - low)
    shape = (columns, rows, count)
    measured = first.size[0] * first.size[1] * len(slices)
    if columns * rows * count > MOST_WIDER * measured + 8 * first.size[0] * first.size[1]:
        code = "HIL-D24" if (high - low).any() else "HIL-D23"
        raise HilumError(
            code, f"{path}: an even, upright grid would need {shape} voxels for {len(slices)} slices of "
            f"{first.size[1]} x {first.size[0]}", "Resample the series yourself, or take out slices that lie far off",
        )  # fmt: skip
    assert first.position is not None
    row_mm, column_mm = first.pixel_mm
    lps = np.eye(4)
    # pixel_mm is (between rows, between columns); i counts columns
    lps[:3, 0], lps[:3, 1], lps[:3, 2] = first.across * column_mm, first.down * row_mm, first.normal * step
    lps[:3, 3] = first.position + lps[:3, 0] * low[0] + lps[:3, 1] * low[1]
    even = Even(aside - low, (at - at[0]) / step, tuple(codes)) if codes else None
    return Stack(tuple(slices), geometry.flip_lps_ras(lps), shape, tuple(warnings), even)


def _along(one: Slice, first: Slice) -> float:
    """Position along the normal of the first slice, mm."""
    assert one.position is not None
    return float(one.position @ first.normal)


def _aside(one: Slice, first: Slice) -> tuple[float, float]:
    """Where a slice's first pixel lies beside that of the first slice, in pixels along (i, j)."""
    assert one.position is not None and first.position is not None
    offset = one.position - first.position
    return float(offset @ first.across) / first.pixel_mm[1], float(offset @ first.down) / first.pixel_mm[0]


def _single(one: Slice, warnings: list[str]) -> float:
    if one.thickness > 0:
        return one.thickness
    warnings.append("HIL-D23: a single slice without a thickness; 1 mm is assumed")
    return 1.0


def _steps(
    path: Path, slices: list[Slice], at: Array, accept: Collection[str], warnings: list[str]
) -> tuple[float, int, list[str]]:
    """Distance between slices of the even grid in mm, their number, and why it is not the measured one."""
    steps = np.diff(at)
    clash = int(np.argmin(steps))
    if steps[clash] < SAME_PLACE_MM:
        a, b = slices[clash], slices[clash + 1]
        raise HilumError("HIL-D22", f"{path}: {_name(a)} and {_name(b)} lie at the same place", "Remove one")
    gaps = _gaps(steps, [one.facts["InstanceNumber"] for one in slices])
    usual = float(np.median(np.delete(steps, gaps))) if len(gaps) < len(steps) else float(steps.min())
    codes: list[str] = []
    if gaps:
        widest = max(gaps, key=lambda gap: steps[gap])
        seen = (
            f"a slice is missing between {_name(slices[widest])} and {_name(slices[widest + 1])}: "
            f"{steps[widest]:.2f} mm instead of {usual:.2f} mm"
        )
        if "D21" not in accept and "HIL-D21" not in accept:
            raise HilumError(
                "HIL-D21", f"{path}: {seen}",
                "Fetch the whole series again, or accept interpolated slices: --accept D21, or "
                "`accept: [D21]` in a dataset.yaml",
            )  # fmt: skip
        codes.append("HIL-D21")
        warnings.append(f"HIL-D21: {seen}; slices in {len(gaps)} gaps were interpolated because D21 was accepted")
    rest = np.delete(steps, gaps)
    if (len(rest) and np.abs(rest - usual).max() > UNEVEN * usual + SAME_PLACE_MM) or (not gaps and _bent(at, usual)):
        codes.append("HIL-D23")
        warnings.append(
            f"HIL-D23: slices lie {steps.min():.3f} to {steps.max():.3f} mm apart; they were resampled to even steps"
        )
        usual = float(np.percentile(rest, 10))
    if not codes:
        return float(at[-1] - at[0]) / len(steps), len(slices), codes
    count = max(1, round(float(at[-1] - at[0]) / usual))
    return float(at[-1] - at[0]) / count, count + 1, codes


def _bent(at: Array, usual: float) -> bool:
    """Whether small differences between steps add up to more than a share of a step."""
    return bool(np.abs(at - np.linspace(at[0], at[-1], len(at))).max() > OFF_GRID * usual + SAME_PLACE_MM)


def _name(one: Slice) -> str:
    return f"{one.file.name} frame {one.frame + 1}" if one.frame else one.file.name


def _gaps(steps: Array, instances: Sequence[str]) -> list[int]:
    """Steps across missing slices: wide ones alone or in pairs, or wide ones where instance numbers are missing too."""
    bounds = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(steps)) if abs(a - b) > 0.2 * min(a, b)), len(steps)]
    runs = list(pairwise(bounds))
    found: set[int] = set()
    wide = 1.25 * float(np.percentile(steps, 25))
    for number, (low, high) in enumerate(runs):
        beside = [steps[runs[n][0]] for n in (number - 1, number + 1) if 0 <= n < len(runs)]
        if high - low <= 2 and beside and steps[low:high].min() > max(GAP * min(beside), wide):
            found |= set(range(low, high))
    found |= {i for i in _jumps(instances) if steps[i] > GAP * steps.min()}
    return sorted(found)


def _jumps(instances: Sequence[str]) -> list[int]:
    """Where instance numbers, otherwise counting evenly along the stack, leave some out."""
    if not all(word.lstrip("+-").isdigit() for word in instances) or len(set(instances)) < len(instances):
        return []
    counts = np.diff([int(word) for word in instances])
    usual = np.abs(counts).min() if len(counts) else 0
    if abs(np.sign(counts).sum()) < len(counts) or (np.abs(counts) == usual).mean() < REGULAR:
        return []
    return [int(i) for i in np.flatnonzero(np.abs(counts) > usual)]
