"""The PSNR to expect of a reconstructed picture without its truth: what can be measured, and what it has meant so far.

What is measured is told as the PSNR in dB of an error that can be seen, or as a ratio in dB; higher is better. A sum of
it, with weights that are not negative, is fitted on the validation part: more noise, say, can not be a good sign.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.core.calibration import Foreseen, Part
from hilum.core.image import Array
from hilum.infer.predictor import Opinion
from hilum.tasks._task import Task
from hilum.trust.calibration import LEAST_GROUPS, folds_of
from hilum.trust.risk_control import by_group

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("sampled", "noise", "consistent", "missing", "filled")
# What `evidence` measures.
EDGE, QUIET = 8, 0.2
# A part in EDGE of the rows at either end is looked at for noise, and the quantile QUIET of it is.
CAP = 100.0
# dB, in both directions: of an error that is next to nothing.
RIDGE = 1.0
# How much weights are pulled to 0, in patients who show nothing: it rules with ten patients and fades with a hundred.


def evidence(task: Task, opinion: Opinion) -> dict[str, float] | None:
    """What is known of a reconstruction, by NAMES, in dB; None of a black picture.

    sampled: share of columns that was measured. noise: in the outermost rows. consistent: what was measured, against
    what the picture would have given. missing: the energy that the other columns hold, as `missing` tells it. filled:
    how much of that energy the network has put into the picture.
    """
    batch = task.whole(opinion.prepared)
    operator, scale = batch["operator"], batch["scale"][:, None, None]
    made, measured = _complex(opinion.logits) * scale, batch["kspace"] * scale[:, None]
    mask: Array = operator.mask[0, 0, 0].numpy()
    peak, pixels = float(made.abs().max()), made.numel()
    if peak <= 0:
        return None
    seen: Array = measured.numpy()
    lost = missing(seen, mask)
    energies = {
        "noise": pixels * noise_power(seen[..., mask > 0]),
        "consistent": _energy(measured - operator.forward(made)),
        "missing": lost,
    }
    found = {name: _db(peak**2 * pixels, energy) for name, energy in energies.items()}
    found |= {"sampled": _db(float(mask.mean()), 1.0)}
    found |= {"filled": _db(_energy(made - batch["zero_filled"] * scale), lost)}
    return {name: found[name] for name in NAMES}


def missing(kspace: Array, mask: Array) -> float:
    """The energy that columns hold which were not measured, told from those that were.

    kspace: (..., W) complex, centred. mask: (W,), 1 where measured. Spectra of bodies fall off evenly on either side of
    the middle: log energy is interpolated between distances from it, and stays what it was beyond the last one.
    """
    energy = (np.abs(kspace.astype(np.complex128)) ** 2).sum(axis=tuple(range(kspace.ndim - 1)))
    far, there = np.abs(np.arange(len(mask)) - len(mask) // 2), np.asarray(mask) > 0
    known = np.unique(far[there])
    logs = [np.log(max(float(energy[there & (far == d)].mean()), 1e-300)) for d in known]
    return float(np.exp(np.interp(far[~there], known, logs)).sum())


def noise_power(columns: Array) -> float:
    """Mean squared size of the noise, from measured columns (..., H, n) complex: a low quantile of the outermost rows.

    A fine structure adds to it; zeros that a scanner has filled in leave nothing of it.
    """
    rows = max(1, columns.shape[-2] // EDGE)
    ends = np.concatenate([columns[..., :rows, :], columns[..., -rows:, :]], axis=-2)
    # the squared size of complex noise falls off exponentially; a low quantile of it holds less of fine structures
    return float(np.quantile(np.abs(ends.astype(np.complex128)) ** 2, QUIET) / -np.log(1 - QUIET))


def value(known: Foreseen, seen: Mapping[str, float]) -> float:
    """The PSNR to expect, in dB, 0 or more. Nothing counts for more than the best of it that validation has shown."""
    return max(0.0, known.base + sum(p.weight * min(seen[name], p.most) for name, p in known.parts.items()))


def doubt(psnr: float) -> float:
    """The expected error as a share of the picture's maximum (root mean square), above 0 up to 1: 30 dB are 0.032."""
    return float(10 ** (-np.maximum(0.0, psnr) / 20))


def psnr(doubtful: float) -> float:
    """The PSNR that has this doubt, in dB."""
    return float(-20 * np.log10(doubtful)) + 0.0


def learned(
    metric: str,
    seen: Sequence[Mapping[str, float] | None],
    truth: Sequence[float | None],
    groups: Sequence[Hashable],
    folds: int,
    seed: int,
) -> tuple[Foreseen | None, Array, str]:
    """A model of the metric, what it expects of every case by a fit without its patient (NaN: nothing), and a sentence.

    seen: `evidence` of each case. truth: its metric, in dB. None, with the reason, for too few patients, and where what
    is expected does not rise with what was reached: then it is worth nothing.
    """
    kept = [i for i, (s, t) in enumerate(zip(seen, truth, strict=True)) if s is not None and t is not None]
    own, honest = [groups[i] for i in kept], np.full(len(seen), np.nan)
    count = len(set(own))
    if count < LEAST_GROUPS:
        why = f"{count} validation patients are too few to learn what quality to expect, {LEAST_GROUPS} are needed"
        return None, honest, f"{why}."
    table = np.array([[seen[i][name] for name in NAMES] for i in kept])  # type: ignore[index]
    values = np.array([truth[i] for i in kept], dtype=np.float64)
    fold = folds_of(own, folds, seed)
    for one in np.unique(fold):
        held = np.flatnonzero(fold == one)
        rest = np.flatnonzero(fold != one)
        made = fit(metric, table[rest], values[rest], [own[i] for i in rest])
        for place in held:
            honest[kept[place]] = value(made, dict(zip(NAMES, table[place], strict=True)))
    rank = _rank(by_group(np.stack([honest[kept], values], axis=1), own))
    if not rank > 0:
        words = (
            f"What can be seen of a picture without its truth does not tell its {metric} on {count} validation "
            f"patients (rank correlation {rank:.2f}, out of fold), so it is not used."
        )
        return None, np.full(len(seen), np.nan), words
    off, usual = np.abs(honest[kept] - values).mean(), np.abs(values - np.median(values)).mean()
    words = (
        f"{metric} to be expected without the truth, out of fold on {count} validation patients: rank correlation "
        f"{rank:.2f}, off by {off:.2g} on average; always saying their median would be off by {usual:.2g}."
    )
    return fit(metric, table, values, own).model_copy(update={"rank": round(rank, 4)}), honest, words


def fit(metric: str, table: Array, values: Array, groups: Sequence[Hashable]) -> Foreseen:
    """The model of cases (n, NAMES) and their metric (n,): least squares, every patient once, no weight below 0."""
    from scipy.optimize import nnls

    _, codes = np.unique([str(g) for g in groups], return_inverse=True)
    share = 1 / np.bincount(codes)[codes]
    middle, spread = _moments(table, share)
    centre, _ = _moments(values[:, None], share)
    # what hardly varies says nothing
    used = spread > 1e-6
    scaled = np.where(used, (table - middle) / np.where(used, spread, 1), 0) * np.sqrt(share)[:, None]
    pulled = np.concatenate([scaled, np.sqrt(RIDGE) * np.eye(len(NAMES))])
    wanted = np.concatenate([(values - centre[0]) * np.sqrt(share), np.zeros(len(NAMES))])
    weights = nnls(pulled, wanted)[0] * used / np.where(used, spread, 1)
    parts = {
        name: Part(weight=float(weight), most=float(most))
        for name, weight, most in zip(NAMES, weights, table.max(axis=0), strict=True)
        if weight > 0
    }
    base = float(centre[0] - weights @ middle)
    return Foreseen(metric=metric, base=base, parts=parts, groups=len(set(codes.tolist())))


def _moments(table: Array, share: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of every column, cases weighted."""
    mean: Array = share @ table / share.sum()
    return mean, np.sqrt(share @ (table - mean) ** 2 / share.sum())


def _rank(pairs: Array) -> float:
    """Spearman's correlation of two columns (n, 2); 0 where one does not vary."""
    from scipy.stats import rankdata

    ranks = rankdata(np.round(pairs, 9), axis=0)
    if (ranks.std(axis=0) == 0).any():
        return 0.0
    return float(np.corrcoef(ranks.T)[0, 1])


def _complex(channels: "Tensor") -> "Tensor":
    """(S, 2, H, W) real and imaginary part -> (S, H, W)."""
    import torch

    return torch.complex(channels[:, 0].float(), channels[:, 1].float())


def _energy(values: "Tensor") -> float:
    return float((values.abs().double() ** 2).sum())


def _db(signal: float, error: float) -> float:
    """10 log10 of their ratio, within +-CAP."""
    floor = 10 ** (-CAP / 10)
    ratio: Any = np.clip(signal / max(error, signal * floor, 1e-300), floor, 1 / floor)
    return float(10 * np.log10(ratio))
