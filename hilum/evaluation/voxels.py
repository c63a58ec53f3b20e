"""How sure masks are, voxel by voxel, on the judged cases: NLL, Brier score and ECE near foreground, raw and scaled.

And their reliability diagram, cases weighing alike, with the ECE of that diagram beside what chance explains. Voxels of
a case hang together, so chance is told from how much cases differ: of independent voxels it would be next to nothing.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Case
from hilum.data.groups import numbered
from hilum.evaluation.bootstrap import FEW, interval, interval_of_set, paired
from hilum.evaluation.reliability import Bin
from hilum.metrics import _names, ece
from hilum.pictures.page import Page
from hilum.tasks._labels import unnamed
from hilum.trust import voxels
from hilum.trust.trusted import Trusted
from hilum.trust.voxels import Sureness

NAMES = ("nll", "brier", "ece")
COLUMN = "voxel {}"
# Of cases.csv: the scaled probabilities of a case, near its foreground.
WHERE = (
    f"Voxels at most {voxels.MARGIN:g} from foreground, true or found, on the network's grid; every case counts once, "
    "and one without such voxels is left out."
)

RESAMPLES = 2000


class Voxels:
    """Called with every case and its result (`judge_all`'s watch); the predictor keeps what the result was made from.

    raw, scaled: by case, with the probabilities as the network gives them, and as the run scales them. Only the voxels
    of `trust.voxels.sample` are looked at.
    """

    def __init__(self, predictor: Trusted) -> None:
        self.predictor = predictor
        # where wide masks are found, the scores of all voxels are held anyway; of very many classes they are too many
        predictor.keep = predictor.plan.task == "segment" and predictor.wide
        known = predictor.calibration
        self.scaling = Scaling() if known is None else known.scaling
        self.raw: dict[str, Sureness | None] = {}
        self.scaled: dict[str, Sureness | None] = {}
        self.groups: list[str] = []

    def __call__(self, case: Case, result: Result) -> None:
        opinion, self.predictor.latest = self.predictor.latest, None
        # a class that the labels do not name would be background in every voxel
        if opinion is None or unnamed(self.predictor.task.plan):
            return
        logits = np.asarray(opinion.logits[: 1 + len(self.predictor.plan.classes)], dtype=np.float32)
        try:
            seen = voxels.sample(logits, self.predictor.task.prepare(case)["target"], logits=True)
        except HilumError:
            # a truth that can be judged on the image's own grid only
            return
        self.raw[case.id] = voxels.sureness(seen)
        self.scaled[case.id] = voxels.sureness(seen, self.scaling)
        self.groups.append(case.group)

    def column(self, case: str) -> dict[str, float | None]:
        """What cases.csv says of a case; nothing of one that was not looked at."""
        if case not in self.scaled:
            return {}
        found = self.scaled[case]
        return {COLUMN.format(name): None if found is None else float(getattr(found, name)) for name in NAMES}

    def summary(self) -> dict[str, Any]:
        """{"voxels": ...} of trust.json; nothing where no case has a voxel to look at.

        Per metric: raw and scaled mean over cases, the interval of the scaled one, and their paired difference with its
        own (low, high) where the run scales. diagram: of `_diagram`, raw and scaled.
        """
        kept = [s for s in self.scaled.values() if s is not None]
        if not kept:
            return {}
        out: dict[str, Any] = {"cases": len(kept), "voxels": sum(s.voxels for s in kept), "where": WHERE}
        for name in NAMES:
            before, after = (
                [None if s is None else float(getattr(s, name)) for s in part.values()]
                for part in (self.raw, self.scaled)
            )
            mean = interval(after, self.groups, ends=_names.card(name)["range"])
            raw = interval(before, self.groups)
            out[name] = {"raw": raw.mean, "scaled": mean.mean, "scaled low": mean.low, "scaled high": mean.high}
            if self.scaling.method != "none":
                gap = paired(after, before, self.groups)
                out[name] |= {"difference": gap.difference, "low": gap.low, "high": gap.high}
        groups = [g for g, s in zip(self.groups, self.scaled.values(), strict=True) if s is not None]
        parts = {"raw": self.raw, "scaled": self.scaled}
        out["diagram"] = {
            name: _diagram([s for s in part.values() if s is not None], groups) for name, part in parts.items()
        }
        return {"voxels": out}


def _diagram(seen: Sequence[Sureness], groups: Sequence[str]) -> dict[str, Any]:
    """bins: rows of `reliability.Bin`, n the cases with voxels in it. ece: of all cases together, each weighing alike.

    expected, limit: mean and upper 95 % limit of the ECE by chance (`_chance`), None with fewer than FEW groups.
    """
    table = np.array([s.bins for s in seen])
    rows = list[Bin]()
    for k, ends in enumerate(pairwise(np.linspace(0.0, 1.0, ece.BINS + 1).tolist())):
        own = table[:, k, :]
        there = own[:, 0] > 0
        if not there.any():
            rows.append(Bin(*ends, 0, None, None, None, None))
            continue
        rests = len({g for g, yes in zip(groups, there, strict=True) if yes})
        share = interval_of_set(list(own), groups, _share, RESAMPLES // 4, rests_on=rests)
        stated = float(own[:, 1].sum() / own[:, 0].sum())
        rows.append(Bin(*ends, int(there.sum()), stated, share.mean, share.low, share.high))
    gaps = table[:, :, 2] - table[:, :, 1]
    expected, limit = _chance(gaps, groups)
    found = float(np.abs(gaps.mean(axis=0)).sum())
    return {"ece": found, "expected": expected, "limit": limit, "bins": [list(row) for row in rows]}


def _share(rows: list[Any]) -> float | None:
    """Of voxels in a bin the share that is right. rows: of each case a bin of `Sureness`."""
    own = np.array(rows)
    return float(own[:, 2].sum() / own[:, 0].sum()) if own[:, 0].any() else None


def _chance(gaps: Any, groups: Sequence[str], seed: int = 0) -> tuple[float | None, float | None]:
    """Mean and upper 95 % limit of the ECE where stated and observed agree on average over patients.

    gaps: (n, bins), of each case observed minus stated, by its share of voxels. Groups are drawn anew around the mean
    gap, so that voxels of a case, and cases of a patient, hang together as much as they did here.
    """
    codes, g = numbered(groups)
    if g < FEW:
        return None, None
    counts, sums = np.bincount(codes).astype(np.float64), np.zeros((g, gaps.shape[1]))
    np.add.at(sums, codes, gaps - gaps.mean(axis=0))
    times = np.random.default_rng(seed).multinomial(g, np.full(g, 1.0 / g), size=RESAMPLES)
    # draws of few groups spread too little
    drawn = np.abs((times @ sums) / (times @ counts)[:, None]).sum(axis=1) * (g / (g - 1)) ** 0.5
    return float(drawn.mean()), float(np.quantile(drawn, 0.95))


def section(page: Page, found: dict[str, Any]) -> None:
    """The table of the report."""
    rows = [{"metric": name, **found[name]} for name in NAMES]
    page.table(rows, caption=f"How sure the mask is, in {found['cases']} cases. {found['where']} Raw: as the "
               "network says; scaled: on the validation part; difference: scaled minus raw, same cases.")  # fmt: skip
    diagram = found["diagram"]
    page.reliability({name: [Bin(*row) for row in diagram[name]["bins"]] for name in diagram})
    page.text(_said(diagram["scaled"]))


def _said(own: dict[str, Any]) -> str:
    """The ECE of the diagram beside what chance explains."""
    words = f"All cases together, weighing alike, the scaled probabilities of voxels have an ECE of {own['ece']:.3f}"
    if own["limit"] is None:
        return f"{words}; what chance would explain is not known, as the cases are of fewer than {FEW} groups."
    beyond = "above" if own["ece"] > own["limit"] else "within"
    return (
        f"{words}. If stated and observed agreed on average over patients, as many as these would show "
        f"{own['expected']:.3f} on average and up to {own['limit']:.3f} by chance, so this is {beyond} what chance "
        "explains. Voxels of a patient are taken to hang together as they do here: of independent voxels chance would "
        "explain next to nothing, which is too little. The mean ECE of single cases in the table has no such value: "
        "within one case nobody can tell chance from fault."
    )
