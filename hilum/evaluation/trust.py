"""Was the doubt worth anything: scaled against raw probabilities, sets, the gate and referral, on the judged cases."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hilum.core.calibration import Calibration
from hilum.core.findings import Result
from hilum.core.image import Array
from hilum.evaluation import promises, voxels
from hilum.evaluation.bootstrap import interval, paired
from hilum.evaluation.evaluator import honest
from hilum.evaluation.reliability import (
    Bin,
    brier_decomposition,
    classwise_ece,
    ece_null,
    expected_error,
    reliability,
    slope,
)
from hilum.metrics.nll import FLOOR
from hilum.pictures.page import Page
from hilum.tasks._task import Judged
from hilum.trust import doubt, gate
from hilum.trust.conformal import LEAST_CASES, coverage_band, covered, guarantee, of_truth
from hilum.trust.promises import fitted
from hilum.trust.uncertainty import referral, risk_coverage

SHARE = 0.2
# Of the cases, the least certain, that are sent to a person in the referral row.
NO_LINE = {"slope": None, "intercept": None, "large": None}
# Where one outcome only was seen, or the classes are told apart without a mistake.
DECISIONS = ("accept", "flag", "person")


@dataclass(frozen=True)
class Answer:
    """One judged case and what was known of it. loss: of `doubt.loss`, 0..1. wrong: as the gate has it."""

    judged: Judged
    decision: str
    meta: dict[str, Any]
    loss: float
    wrong: bool


def answers(task: str, judged: Sequence[Judged], results: dict[str, Result], least: float | None) -> list[Answer]:
    """The cases whose doubt is known, and what their truth says. results: by case. least: of `doubt.acceptable`."""
    found = []
    for one in judged:
        result, known = results[one.case], doubt.loss(task, one, least)
        if known is not None and "doubt" in result.meta:
            found.append(Answer(one, result.verdict.decision, dict(result.meta), *known))
    return found


def summary(
    known: Calibration,
    found: Sequence[Answer],
    classes: Sequence[str],
    kept: dict[str, Any] | None = None,
    sites: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What trust.json holds: calibration (classes only), sets, gate, referral, and `kept` of Promises and Voxels.

    Without answers only the last. sites: where each case is from, of those that say so.
    """
    if not found:
        return dict(kept or {})
    groups = [a.judged.group for a in found]
    doubts, losses = np.array([a.meta["doubt"] for a in found]), np.array([a.loss for a in found])
    out: dict[str, Any] = {"cases": len(found), "groups": len(set(groups))}
    if all("raw" in a.meta for a in found):
        raw = np.array([a.meta["raw"] for a in found])
        scaled = np.stack([a.judged.record[0] for a in found])
        truth = np.array([a.judged.record[1] for a in found])
        out["calibration"] = _calibration(raw, scaled, truth, groups) | _of_classes(scaled, truth, classes)
        if known.sets is not None:
            out["sets"] = _sets(known, found, truth, classes, sites or {})
    out["gate"] = _gate(known, found, groups)
    sent, order = referral(-doubts, losses, SHARE), risk_coverage(-doubts, losses)
    assert sent is not None and order is not None
    out["referral"] = {"share": SHARE, "n": sent.n, "referred": sent.referred, "before": sent.before,
                       "after": sent.after, "caught": sent.caught}  # fmt: skip
    out["aurc"] = {"found": order.aurc, "perfect": order.best, "random": float(losses.mean())}
    out["curve"] = [[round(float(c), 4), round(float(r), 6)] for c, r in zip(order.coverage, order.risk, strict=True)]
    return out | (kept or {})


def _calibration(raw: Array, scaled: Array, truth: Array, groups: Sequence[str]) -> dict[str, Any]:
    """NLL and Brier before and after scaling, with the paired difference, and ECE beside its null value."""
    rows = np.arange(len(truth))
    hit = np.eye(raw.shape[1])[truth]
    losses = {
        "nll": [-np.log(np.clip(p[rows, truth], FLOOR, 1)) for p in (raw, scaled)],
        "brier": [((p - hit) ** 2).sum(axis=1) for p in (raw, scaled)],
    }
    out: dict[str, Any] = {}
    for name, (before, after) in losses.items():
        gap = paired(after.tolist(), before.tolist(), groups)
        out[name] = {"raw": float(before.mean()), "scaled": float(after.mean()), "difference": gap.difference,
                     "low": gap.low, "high": gap.high}  # fmt: skip
    for name, p in (("raw", raw), ("scaled", scaled)):
        confidence, right = p.max(axis=1), p.argmax(axis=1) == truth
        bins = reliability(confidence, right, groups=groups)
        expected, limit = ece_null(confidence, groups=groups)
        out[f"ece {name}"] = {"found": expected_error(bins), "expected of a perfect model": expected, "limit": limit,
                              "together": len(set(groups)) < len(groups)}  # fmt: skip
        out[f"bins {name}"] = [list(b) for b in bins]
    return out


def _of_classes(scaled: Array, truth: Array, classes: Sequence[str]) -> dict[str, Any]:
    """Of the scaled probabilities: ECE and calibration line of every class against the rest, the Brier score's parts.

    Of two classes only the second, of which the first is the mirror image. A line is None where there is none.
    """
    errors, parts = classwise_ece(scaled, truth), brier_decomposition(scaled, truth)
    assert errors is not None and parts is not None
    rows = {}
    for k, name in list(enumerate(classes))[len(classes) == 2 :]:
        line = slope(scaled[:, k], truth == k)
        rows[name] = {"ece": float(errors[k]), "line": None if line is None else asdict(line)}
    return {"classwise ece": float(errors.mean()), "per_class": rows, "brier parts": asdict(parts)}


def _sets(
    known: Calibration, found: Sequence[Answer], truth: Array, classes: Sequence[str], sites: Mapping[str, str]
) -> dict[str, Any]:
    """Coverage of the prediction sets beside the band in which it lies when all is well: of groups, as calibrated.

    And the lowest of a site's cases, where all cases say where they are from.
    """
    assert known.sets is not None
    inside = np.array([[name in a.meta["set"] for name in classes] for a in found])
    places = [sites.get(a.judged.case, "") for a in found]
    held = covered(inside, truth, places if all(places) else None)
    assert held is not None
    worst = {} if held.worst is None else {"worst site": held.worst, "its coverage": held.worst_coverage}
    shares = promises.over_groups(of_truth(inside, truth).astype(float).tolist(), [a.judged.group for a in found])
    low, high = coverage_band(known.sets.groups, len(shares), known.sets.error)
    named = dict(zip(classes, held.classes, strict=True))
    return {"error": known.sets.error, "coverage": float(np.mean(shares)), "band low": low, "band high": high,
            "mean size": held.size, "per_class": named,
            "guarantee": guarantee(known.sets.error, known.sets.groups, fitted=fitted(known))} | worst  # fmt: skip


def _gate(known: Calibration, found: Sequence[Answer], groups: Sequence[str]) -> dict[str, Any]:
    """Cases and wrong ones by decision, and the share accepted and wrong, mean over groups, with its interval.

    And what was promised of it: the error, of how many patients it was learned, and the sentence.
    """
    rows = {}
    for decision in DECISIONS:
        own = [a.wrong for a in found if a.decision == decision]
        rows[decision] = {"cases": len(own), "wrong": sum(own)}
    accepted = promises.over_groups([float(a.wrong and a.decision == "accept") for a in found], groups)
    share = honest(interval(accepted, range(len(accepted)), ends=(0, 1)), "accuracy")
    out = {"decisions": rows, "accepted and wrong": {"mean": share.mean, "low": share.low, "high": share.high}}
    if known.gate is not None:
        out |= {"error": known.gate.error, "groups": known.gate.groups,
                "guarantee": gate.promise(known.gate, fitted(known))}  # fmt: skip
    return out


def section(page: Page, known: Calibration, found: dict[str, Any]) -> None:
    """The part of the report about doubt."""
    page.heading("How far the answers can be believed")
    if not found:
        page.text("The doubt of these answers was not measured.")
    if "calibration" in found:
        _calibration_part(page, found["calibration"])
    if "sets" in found:
        _sets_part(page, found)
    if "voxels" in found:
        voxels.section(page, found["voxels"])
    if "gate" in found:
        _gate_part(page, known, found)
    if "intervals" in found or "wide" in found:
        promises.section(page, found)
    for note in known.notes:
        page.text(note)


def _calibration_part(page: Page, found: dict[str, Any]) -> None:
    rows = [{"metric": name, **found[name]} for name in ("nll", "brier")]
    page.table(rows, caption="Probabilities as the network gives them (raw) and scaled on the validation part; "
               "difference: scaled minus raw, on the same cases.")  # fmt: skip
    page.reliability({name: [Bin(*row) for row in found[f"bins {name}"]] for name in ("raw", "scaled")})
    ece = found["ece scaled"]
    beyond = "above" if ece["found"] > ece["limit"] else "within"
    together = ", whose answers to one group are right or wrong together," if ece["together"] else ""
    page.text(
        f"ECE of the scaled probabilities is {ece['found']:.3f}; a perfectly calibrated model with the same confidence"
        f"{together} shows {ece['expected of a perfect model']:.3f} on average and up to {ece['limit']:.3f} by chance, "
        f"so this is {beyond} what chance explains."
    )
    rows = [{"class": n, "ECE": r["ece"], **(r["line"] or NO_LINE)} for n, r in found["per_class"].items()]
    page.table(
        rows,
        caption="Every class against the rest, of the scaled probabilities. A slope of 1 and an intercept of 0 are "
        "perfect; below 1 they are too sure. large: the intercept with the slope held at 1; above 0 they are too low. "
        f"The mean ECE of all classes is {found['classwise ece']:.3f}.",
    )
    parts = found["brier parts"]
    page.text(
        f"The Brier score {found['brier']['scaled']:.4f} is reliability {parts['reliability']:.4f} (stated against "
        f"observed, lower is better) - resolution {parts['resolution']:.4f} (how far apart it tells cases, higher is "
        f"better) + uncertainty {parts['uncertainty']:.4f} (of the classes themselves) + {parts['within']:.4f} within "
        "the bins."
    )


def _sets_part(page: Page, found: dict[str, Any]) -> None:
    sets = found["sets"]
    held = (
        f"Prediction sets hold the true class in {100 * sets['coverage']:.1f} % of cases, mean over groups; when the "
        f"promise holds, {100 * sets['band low']:.1f} to {100 * sets['band high']:.1f} % are to be expected of "
        f"{found['groups']} groups, or more, as the likeliest class is always in a set."
    )
    if found["groups"] == 1:
        held = "All answers are of one group, from which it can not be told how often sets hold the true class."
    page.text(f"{held} Sets have {sets['mean size']:.2f} classes on average. {sets['guarantee']}")
    if "worst site" in sets:
        page.text(
            f"Of the sites with {LEAST_CASES} cases or more, {sets['worst site']} has the lowest coverage: "
            f"{100 * sets['its coverage']:.1f} % of its cases. Nothing is promised of a single site."
        )


def _gate_part(page: Page, known: Calibration, found: dict[str, Any]) -> None:
    rows = [{"decision": name, **row} for name, row in found["gate"]["decisions"].items()]
    means = "" if known.gate is None else f" Wrong means: {known.gate.wrong}."
    page.table(rows, caption=f"What the gate says, and how often the answer was wrong.{means}")
    page.text(" ".join([_accepted(found), *filter(None, [found["gate"].get("guarantee")])]))
    sent = found["referral"]
    page.text(_sent(sent))
    lines = {
        "by doubt": [(c, r) for c, r in found["curve"]],
        "at random": [(0.0, sent["before"]), (1.0, sent["before"])],
    }
    page.curve(lines, "share answered", "mean loss", "The surest first")


def _accepted(found: dict[str, Any]) -> str:
    """How often an answer was accepted and wrong: a share of groups, where there is one."""
    if not found["gate"]["decisions"]["accept"]["cases"]:
        return "Nothing was accepted, so nothing accepted could be wrong."
    if found["groups"] == 1:
        return "All answers are of one group, from which it can not be told how often one is accepted and wrong."
    share = found["gate"]["accepted and wrong"]
    ends = "" if share["low"] is None else f" (95 % interval {100 * share['low']:.1f} to {100 * share['high']:.1f} %)"
    return f"Accepted and wrong: {100 * share['mean']:.1f} % of cases{ends}, mean over {found['groups']} groups."


def _sent(sent: dict[str, Any]) -> str:
    """What it is worth to send the least certain cases to a person."""
    if not sent["referred"]:
        return (
            f"{100 * sent['share']:.0f} % of the cases ({sent['n']} in all) is less than one: what it is worth to send "
            "the least certain to a person can not be told."
        )
    after = "none are left" if sent["after"] is None else f"{sent['after']:.4f}"
    return (
        f"Sending the {sent['referred']} least certain of {sent['n']} cases to a person changes the mean loss from "
        f"{sent['before']:.4f} to {after}; sent at random it would stay {sent['before']:.4f}."
    )
