"""Calibration of masks, voxel by voxel: where to look, which voxels, one temperature, and how sure each case should be.

Nearly all voxels are far from anything and right, so they would hide every fault: only the neighbourhood of what is
there or was found is looked at. Voxels of one case are alike, so every case counts once, however large it is.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.metrics import brier, ece, nll
from hilum.trust.calibration import applied, beats, fit_temperature, folds_of, log_softmax

MARGIN = 5.0
# Reach of the region beyond the foreground, in voxels where no spacing is given.
MOST = 5000
# Voxels kept of one case: more of them say the same again.
LEAST_CASES = 5
# Patients below which no temperature is fitted. Fewer than for whole images, as each gives thousands of voxels.


@dataclass(frozen=True)
class Voxels:
    """Judged voxels of one case's region. probabilities: (n, K) float64. truth: (n,). region: voxels it holds."""

    probabilities: Array
    truth: Array
    region: int


@dataclass(frozen=True)
class Sureness:
    """How good one case's probabilities are in its region, as the metrics of the same names. voxels: looked at.

    bins: for each bin of the ECE the share of the voxels in it, and that share times their mean confidence, and times
    the share of them that is right.
    """

    nll: float
    brier: float
    ece: float
    voxels: int
    bins: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True)
class VoxelChoice:
    """nll: mean over cases, in nats, out of fold, of "none" and "temperature". cases: with a region. why: in words."""

    scaling: Scaling
    nll: dict[str, float]
    cases: int
    why: str


def region(found: Array, truth: Array, margin: float = MARGIN, spacing: Sequence[float] | None = None) -> Array:
    """Where sureness is judged, (*space) bool: at most `margin` from judged foreground, true or found.

    found, truth: (*space) channel numbers; 0 is background, a negative truth is not judged and never in the region.
    margin: in the unit of spacing, in voxels without one. Empty where nothing is there and nothing was found.
    """
    from scipy import ndimage

    found, truth = np.asarray(found), np.asarray(truth)
    if found.shape != truth.shape:
        raise ValueError(f"found has shape {found.shape}, the truth {truth.shape}")
    steps = np.ones(truth.ndim) if spacing is None else np.asarray(spacing, dtype=np.float64)
    judged = truth >= 0
    core = judged & ((truth > 0) | (found > 0))
    out = np.zeros(truth.shape, dtype=bool)
    if not core.any():
        return out
    # distances are needed near the foreground only
    box = []
    for axis, (size, step) in enumerate(zip(truth.shape, steps, strict=True)):
        hit = np.flatnonzero(core.any(axis=tuple(a for a in range(truth.ndim) if a != axis)))
        reach = int(margin / step) + 1
        box.append(slice(max(0, int(hit[0]) - reach), min(size, int(hit[-1]) + reach + 1)))
    where = tuple(box)
    near = ndimage.distance_transform_edt(~core[where], sampling=steps) <= margin
    out[where] = near & judged[where]
    return out


def sample(
    values: Array,
    truth: Array,
    logits: bool = False,
    most: int = MOST,
    margin: float = MARGIN,
    spacing: Sequence[float] | None = None,
    seed: int = 0,
) -> Voxels:
    """Voxels of a case's region, at most `most` of them, drawn without replacement by the seed.

    values: (K, *space) class probabilities, or logits where `logits` says so. truth: (*space) integers 0..K-1, negative
    where not judged. margin, spacing: as for `region`.
    """
    values, truth = np.asarray(values), np.asarray(truth)
    if values.ndim != truth.ndim + 1 or values.shape[1:] != truth.shape or len(values) < 2:
        raise ValueError(f"expected (K >= 2, *space) and (*space), got {values.shape} and {truth.shape}")
    # the class of the highest logit is the class of the highest probability
    inside = np.flatnonzero(region(values.argmax(axis=0), truth, margin, spacing))
    size = len(inside)
    if size > most:
        inside = np.sort(np.random.default_rng(seed).choice(inside, size=most, replace=False))
    picked = values.reshape(len(values), -1)[:, inside].T.astype(np.float64)
    chances = np.exp(log_softmax(picked)) if logits else picked
    return Voxels(chances, truth.ravel()[inside].astype(np.int64), size)


def fit(cases: Sequence[Voxels]) -> float:
    """The temperature that minimises the NLL averaged over cases; cases with an empty region have no say.

    Refused where no case has a region (HIL-TRUST-04).
    """
    held = [c for c in cases if len(c.truth)]
    if not held:
        raise HilumError(
            "HIL-TRUST-04", f"None of {len(cases)} validation cases has foreground, true or found",
            "Put cases with foreground into the validation part",
        )  # fmt: skip
    weights = np.concatenate([np.full(len(c.truth), 1.0 / len(c.truth)) for c in held])
    chances, truth = (np.concatenate(parts) for parts in zip(*((c.probabilities, c.truth) for c in held), strict=True))
    return fit_temperature(chances, truth, weights)


def sureness(case: Voxels, scaling: Scaling | None = None) -> Sureness | None:
    """NLL, Brier score and ECE of one case's voxels, scaled first by a given scaling; None for an empty region."""
    if not len(case.truth):
        return None
    chances = applied(scaling or Scaling(), case.probabilities)
    lost, squared, gap = (float(m.measure(chances, case.truth) or 0.0) for m in (nll, brier, ece))
    return Sureness(lost, squared, gap, len(case.truth), _bins(chances, case.truth))


def _bins(chances: Array, truth: Array) -> tuple[tuple[float, float, float], ...]:
    """As of `Sureness`. chances: (n, K). truth: (n,)."""
    confidence, right = chances.max(axis=1), chances.argmax(axis=1) == truth
    place = ece.places(confidence)
    columns = (np.bincount(place, weights=w, minlength=ece.BINS) / len(truth) for w in (None, confidence, right))
    n, stated, seen = (column.tolist() for column in columns)
    return tuple(zip(n, stated, seen, strict=True))


def out_of_fold(cases: Sequence[Voxels], groups: Sequence[Hashable], folds: int = 5, seed: int = 0) -> list[Scaling]:
    """A temperature for every case from cases of other groups alone. groups: patient of each case, two or more.

    Cases of which no other has a region are not scaled: nothing says how sure they may be.
    """
    if len(groups) != len(cases):
        raise ValueError(f"{len(cases)} cases but {len(groups)} groups")
    fold, of_fold = folds_of(groups, folds, seed), dict[int, Scaling]()
    for one in np.unique(fold):
        others = [c for c, f in zip(cases, fold, strict=True) if f != one and len(c.truth)]
        of_fold[int(one)] = _temperature(fit(others)) if others else Scaling()
    return [of_fold[int(f)] for f in fold]


def choose(cases: Sequence[Voxels], groups: Sequence[Hashable], folds: int = 5, seed: int = 0) -> VoxelChoice:
    """One temperature for all cases, where it lowers the out-of-fold NLL of cases by more than one standard error.

    cases: of the validation part. groups: patient of each. Cases with an empty region are left out. Refused with fewer
    than LEAST_CASES patients that have one (HIL-TRUST-04).
    """
    kept = [(c, g) for c, g in zip(cases, groups, strict=True) if len(c.truth)]
    count = len({g for _, g in kept})
    if count < LEAST_CASES:
        raise HilumError(
            "HIL-TRUST-04", f"{count} validation patients have foreground, true or found; voxels are scaled from "
            f"{LEAST_CASES} on", "Give the validation part more patients, or use the probabilities as they are",
        )  # fmt: skip
    held, own = [c for c, _ in kept], [g for _, g in kept]
    before = _losses(held, [Scaling()] * len(held))
    after = _losses(held, out_of_fold(held, own, folds, seed))
    found = {"none": float(before.mean()), "temperature": float(after.mean())}
    better = beats(before - after, own)
    scaling = _temperature(fit(held)) if better else Scaling()
    why = (
        f"Out-of-fold NLL of voxels near foreground, mean over {len(held)} validation cases: {found['none']:.4f} as "
        f"they are, {found['temperature']:.4f} with a temperature, so it is "
        + (f"used: {1 / scaling.scale[0]:.3g}." if better else "not used: it must gain more than one standard error.")
    )
    return VoxelChoice(scaling, found, len(held), why)


def _temperature(value: float) -> Scaling:
    return Scaling(method="temperature", scale=[1 / value])


def _losses(cases: Sequence[Voxels], scalings: Sequence[Scaling]) -> Array:
    """NLL of each case, (n,)."""
    return np.array([nll.measure(applied(s, c.probabilities), c.truth) for c, s in zip(cases, scalings, strict=True)])
