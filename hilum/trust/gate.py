"""The gate: accept, flag, or a person, with the reasons in words; and the limits, learned from the validation part."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.core.calibration import Gate
from hilum.core.findings import Verdict
from hilum.core.image import Array
from hilum.trust import risk_control

PERSON_SHARE = 0.95
# Doubt above this share of the validation part's is for a person, who is advised to judge without the result.
SAME = 1e-5
# Limits are doubts of validation cases: asked about one of these, another runtime rounds otherwise, by a smaller share.


@dataclass(frozen=True)
class Look:
    """What is known of one result before anybody has judged it.

    doubt: in the unit of the gate's measure. classes: of the prediction set, None without one. outlier: how unlike the
    training images the input is. quality: sentences about its technical quality. warnings: of its images, without those
    that the task expects of usual ones (`Task.expected`).
    """

    doubt: float | None = None
    classes: tuple[str, ...] | None = None
    outlier: float | None = None
    quality: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def learned(doubts: Array, wrong: Array, groups: Sequence[Hashable], error: float) -> float | None:
    """The most doubt that may be accepted so that at most `error` of all results are accepted and wrong, or None.

    doubts: (n,). wrong: (n,) 0..1. Conformal risk control (Angelopoulos et al. 2024): of the limits whose loss, the
    mean over patients of the share of their cases that is accepted and wrong, stays below `error` with one more
    patient counted as wrong, the highest. It holds on average over validation parts, for patients drawn like these.
    """
    doubts, wrong = np.asarray(doubts, dtype=np.float64), np.asarray(wrong, dtype=np.float64)
    tried = np.unique(doubts)
    losses = wrong[:, None] * (doubts[:, None] <= tried)
    return risk_control.choose(losses, tried, error, groups).threshold


def limits(
    doubts: Array, wrong: Array, groups: Sequence[Hashable], error: float, measure: str, means: str,
    single: Array | None = None,
) -> tuple[Gate, list[str]]:  # fmt: skip
    """The gate's limits from the validation part, and notes. measure: what doubt is. means: what counts as wrong.

    single: (n,) whether a prediction set holds one class, None without sets. `rate` is of doubt and sets alone: images,
    which `decide` looks at as well, are not known here.
    """
    count = len(set(groups))
    accept = learned(doubts, wrong, groups, error)
    person = float(np.quantile(doubts, PERSON_SHARE))
    notes = []
    if accept is None:
        least = 1 / (count + 1)
        why = (
            f"{count} validation patients can not show less than {100 * least:.1f} %"
            if least > error
            else "too many of the surest results were wrong"
        )
        notes.append(f"No result is accepted: at most {100 * error:g} % accepted and wrong was asked for, but {why}.")
    sure = np.ones(len(doubts), dtype=bool) if single is None else np.asarray(single, dtype=bool)
    rate = 0.0 if accept is None else float(np.mean(sure & (np.asarray(doubts) <= accept)))
    gate = Gate(
        error=error, measure=measure, wrong=means, accept=accept, person=max(person, accept or person), groups=count,
        rate=rate,
    )  # fmt: skip
    return gate, notes


def decide(look: Look, gate: Gate | None, fitted: str = "") -> Verdict:
    """What should happen with a result, and why. A doubt that is no finite number counts as not measured.

    fitted: of `promises.fitted`.
    """
    person, flag = list[str](), [*look.quality, *look.warnings]
    if gate is None:
        return Verdict(reasons=(*Verdict().reasons, *flag))
    if gate.outlier is not None and look.outlier is not None and look.outlier > gate.outlier:
        person.append(
            f"The image is unlike the training images (score {look.outlier:.3g}, at most {gate.outlier:.3g} is usual)."
        )
    if look.classes is not None and len(look.classes) > 1:
        flag.append(f"The prediction set holds {len(look.classes)} classes: {', '.join(look.classes)}.")
    if look.doubt is None or not np.isfinite(look.doubt):
        flag.append("How doubtful this result is was not measured.")
    elif _above(look.doubt, gate.person):
        person.append(f"The result is more doubtful ({_doubt(look.doubt, gate)}) than nearly all of validation.")
    elif gate.accept is None:
        flag.append("No limit of doubt keeps the stated error on the validation part, so nothing is accepted.")
    elif _above(look.doubt, gate.accept):
        flag.append(f"The result is doubtful ({_doubt(look.doubt, gate)}, at most {gate.accept:.3g} is accepted).")
    if person:
        return Verdict("person", tuple(person + flag))
    if flag:
        return Verdict("flag", tuple(flag))
    return Verdict("accept", (accepted(gate, fitted),))


def accepted(gate: Gate, fitted: str = "") -> str:
    """What an acceptance rests on."""
    return f"Doubt is low enough that, {_promised(gate, fitted)}."


def promise(gate: Gate | None, fitted: str = "") -> str | None:
    """What all acceptances together promise, and what that rests on; None where nothing is accepted."""
    return None if gate is None or gate.accept is None else f"Promise: {_promised(gate, fitted)}."


def _promised(gate: Gate, fitted: str) -> str:
    words = (
        f"for patients drawn like the {gate.groups} of validation, at most {100 * gate.error:g} % of results are "
        f"accepted and wrong ({gate.wrong}), on average"
    )
    return f"{words}, if {fitted}" if fitted else words


def _above(doubt: float, limit: float) -> bool:
    """Whether a doubt is above a limit by more than rounding."""
    return doubt > limit + SAME * abs(limit)


def _doubt(value: float, gate: Gate) -> str:
    return f"{gate.measure} {value:.3g}"
