"""How sure masks are, voxel by voxel, on the judged cases: NLL, Brier score and ECE near foreground, raw and scaled."""

from typing import Any

import numpy as np

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Case
from hilum.evaluation.bootstrap import interval, paired
from hilum.metrics import _names
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
        own (low, high) where the run scales.
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
        return {"voxels": out}


def section(page: Page, found: dict[str, Any]) -> None:
    """The table of the report."""
    rows = [{"metric": name, **found[name]} for name in NAMES]
    page.table(rows, caption=f"How sure the mask is, in {found['cases']} cases. {found['where']} Raw: as the "
               "network says; scaled: on the validation part; difference: scaled minus raw, same cases.")  # fmt: skip
