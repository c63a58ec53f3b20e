"""Were the promises kept: how often intervals held the truth, and how much wide masks missed, on the judged cases."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from hilum.core.calibration import Calibration, Interval
from hilum.core.findings import Mask, Result
from hilum.core.image import Case
from hilum.evaluation.bootstrap import interval
from hilum.evaluation.evaluator import honest
from hilum.metrics import _names
from hilum.pictures.page import Page
from hilum.tasks._labels import judged_channels, stored, unnamed
from hilum.tasks._task import Judged, Task, headline_value
from hilum.trust import promises, risk_control
from hilum.trust.conformal import coverage_band

Ends = tuple[bool, float | None, str]
# (whether the truth was inside, how wide the interval was, patient)


class Promises:
    """Called with every case and its result (`judge_all`'s watch); `summary` then says what became of the promises.

    known: of whoever made them; without it no interval is judged.
    """

    def __init__(self, task: Task, known: Calibration | None) -> None:
        self.task = task
        self.known: dict[str, Interval] = {} if known is None else known.measured
        self.ends: dict[str, list[Ends]] = defaultdict(list)
        self.missed: dict[str, list[tuple[float, float, str]]] = defaultdict(list)

    def __call__(self, case: Case, result: Result) -> None:
        if "mask" not in result.findings:
            return
        measured = promises.measured(self.task, result, case) if self.known else {}
        for what, (found, truth, _) in measured.items():
            if what in self.known and promises.told(self.known[what], found):
                # anew from the places that are judged: so it was learned, and elsewhere there is no truth
                self._inside(what, promises.said(self.known[what], found), truth, case.group)
        wide = [mask for name, mask in result.findings.items() if name.startswith("wide_") and isinstance(mask, Mask)]
        if wide:
            channels = judged_channels(case, stored(case), self.task.plan)[0]
            places = {one.value: channel for channel, one in enumerate(self.task.plan.classes, 1)}
            for mask in wide:
                (value, name), *_ = mask.classes.items()
                there, reached = channels == places[value], mask.array == value
                if there.any():
                    own = (result["mask"].array == value) & (channels >= 0)
                    larger = (reached & (channels >= 0)).sum() / max(1, int(own.sum()))
                    self.missed[name].append((1 - float(reached[there].mean()), float(larger), case.group))

    def judged(self, judged: list[Judged], results: dict[str, Result]) -> None:
        """The headline metric of the judged cases, whose interval was said before: of all classes, or not at all."""
        if unnamed(self.task.plan):
            return
        name = self.task.metrics[0]
        for one in judged:
            said = results[one.case].meta.get("measured", {})
            value = headline_value(one.values[name]) if name in one.values else None
            if name in said and value is not None:
                self._inside(name, said[name], value, one.group)

    def _inside(self, what: str, said: dict[str, Any], truth: float, group: str) -> None:
        low, high = (end if end is not None else sign * np.inf for end, sign in ((said["low"], -1), (said["high"], 1)))
        width = float(high - low) if np.isfinite(high - low) else None
        # the last digit of a number that was added up otherwise is no miss
        hair = 1e-9 * max(1.0, abs(truth))
        self.ends[what].append((bool(low - hair <= truth <= high + hair), width, group))

    def summary(self, known: Calibration) -> dict[str, Any]:
        """{"intervals": {what: ...}, "wide": {class: ...}}, each only where there is something to say."""
        out: dict[str, Any] = {}
        rows = {what: _held(ends, known, what, self.task.metrics[0]) for what, ends in self.ends.items()}
        if rows:
            out["intervals"] = rows
        if self.missed and known.wide is not None:
            out["wide"] = {name: _missed(rows, known, name) for name, rows in self.missed.items()}
        return out


def _held(ends: list[Ends], known: Calibration, what: str, headline: str) -> dict[str, Any]:
    """How often one measurement's interval held the truth, mean over groups, beside the band to be expected."""
    one = known.measured[what]
    shares = over_groups([float(inside) for inside, _, _ in ends], [g for *_, g in ends])
    low, high = coverage_band(one.groups, len(shares), one.error)
    widths = [w for _, w, _ in ends if w is not None]
    unit = one.unit or (_names.card(headline)["unit"] if what == headline else "")
    return {"cases": len(ends), "groups": len(shares), "coverage": float(np.mean(shares)),
            "band low": low, "band high": high,
            "median width": float(np.median(widths)) if widths else None, "unit": unit}  # fmt: skip


def _missed(rows: list[tuple[float, float, str]], known: Calibration, name: str) -> dict[str, Any]:
    """Mean share over groups that wide masks of one class missed, with its interval."""
    assert known.wide is not None
    shares = over_groups([missed for missed, _, _ in rows], [g for *_, g in rows])
    # a share like an accuracy: none missed in a few patients is no certainty
    share = honest(interval(shares, range(len(shares)), ends=(0, 1)), "accuracy")
    return {"cases": len(rows), "groups": len(shares), "risk": known.wide.risk,
            "threshold": known.wide.thresholds[name],
            "missed": share.mean, "low": share.low, "high": share.high,
            "times as large": float(np.median([larger for _, larger, _ in rows]))}  # fmt: skip


def over_groups(values: Sequence[float], groups: Sequence[str]) -> list[float]:
    """The mean value of every group (patient), as the promises are about groups: one with many cases counts once."""
    means: list[float] = risk_control.by_group(np.array(values, dtype=np.float64)[:, None], groups)[:, 0].tolist()
    return means


def section(page: Page, found: dict[str, Any]) -> None:
    """The tables of the report."""
    if "intervals" in found:
        rows = [{"measurement": what, **row} for what, row in found["intervals"].items()]
        page.table(rows, caption="Intervals that were said with the results: how often they held the truth (mean over "
                   "groups of the share of their cases), and between which shares that lies in 95 of 100 test parts of "
                   "as many groups when the promise holds.")  # fmt: skip
    if "wide" in found:
        rows = [{"class": name, **row} for name, row in found["wide"].items()]
        page.table(rows, caption="Wide masks: share of true voxels that they miss, mean over groups; at most `risk` "
                   "was promised. Times as large: beside the mask that was found, median.")  # fmt: skip
