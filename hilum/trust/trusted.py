"""A predictor whose results carry scaled probabilities, a prediction set, their doubt, and the verdict of the gate."""

from dataclasses import replace
from typing import Any

import numpy as np

from hilum.core.calibration import Calibration
from hilum.core.errors import HilumError
from hilum.core.findings import Result, Score, Scores
from hilum.core.image import Case, Image
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer.predictor import Opinion, Predictor
from hilum.trust import conformal, doubt, outlier, quality
from hilum.trust.calibration import applied
from hilum.trust.gate import Look, decide

SCORES = {"lac": conformal.lac, "aps": conformal.aps}


class Trusted(Predictor):
    """As Predictor; without a calibration in the run the answers are its own, and a person judges each.

    A result's meta holds what is known: "raw" (probabilities before scaling), "set" (classes), "doubt", "unlike" (share
    of held-out images that are more like the training images).
    """

    def __init__(self, run: Run, runtime: str = "torch", limit: int | None = None) -> None:
        super().__init__(run, runtime, limit)
        self.calibration = run.calibration
        _check(self.calibration, run)
        self.known = run.arrays("outlier.safetensors") if run.has("outlier.safetensors") else {}

    def __call__(self, case: Case, progress: Progress = quiet) -> Result:
        """Everything found in the case, and what should happen with it."""
        opinion = self.opinion(case, progress)
        if self.calibration is None:
            return opinion.result
        return self.weighed(opinion, case, self.calibration)

    def weighed(self, opinion: Opinion, case: Case, known: Calibration) -> Result:
        """The opinion's result with its doubt and verdict."""
        result, meta, classes = opinion.result, dict(opinion.result.meta), None
        findings, uncertain = dict(result.findings), None
        if self.plan.task == "classify":
            raw = result["scores"].vector()
            scaled = applied(known.scaling, raw[None])[0]
            findings["scores"] = _named(result["scores"], scaled)
            uncertain = doubt.of_class(scaled)
            meta["raw"] = raw.tolist()
            if known.sets is not None:
                limit = np.inf if known.sets.threshold is None else known.sets.threshold
                inside = conformal.sets(scaled[None], limit, SCORES[known.sets.score])[0]
                classes = tuple(row.name for row, held in zip(result["scores"].rows, inside, strict=True) if held)
                meta["set"] = list(classes)
        elif self.plan.task == "segment" and known.gate is not None:
            logits = opinion.logits[: 1 + len(self.plan.classes)]
            uncertain = doubt.of_mask(doubt.sight(logits), known.scaling)
        unlike = self._unlike(opinion, case)
        meta |= {k: round(v, 6) for k, v in (("doubt", uncertain), ("unlike", unlike)) if v is not None}
        look = Look(uncertain, classes, unlike, self._quality(case, known), result.warnings)
        return replace(result, findings=findings, verdict=decide(look, known.gate), meta=meta)

    def _unlike(self, opinion: Opinion, case: Case) -> float | None:
        """How unlike the training images the input is, 0..1."""
        if not self.known:
            return None
        seen = outlier.views(self.task, self.net, case, opinion.prepared)
        return None if seen is None else outlier.score(self.known, seen).share

    def _quality(self, case: Case, known: Calibration) -> tuple[str, ...]:
        """Sentences about the technical quality of the image."""
        image = case.read("image") if known.quality and "image" in case.items else None
        if not isinstance(image, Image):
            return ()
        return tuple(words for _, _, words in quality.check(quality.features(image), known.quality))


def _named(scores: Scores, values: Any) -> Scores:
    """The same rows with other probabilities."""
    return Scores(tuple(Score(r.name, float(v), r.kind, r.unit) for r, v in zip(scores.rows, values, strict=True)))


def _check(known: Calibration | None, run: Run) -> None:
    """A calibration that does not fit its plan is refused before anything is predicted (HIL-M05)."""
    classes = len(run.plan.classes)
    if known is not None and len(known.scaling.scale) not in (1, classes):
        raise HilumError(
            "HIL-M05",
            f"calibration.json of {run.path} scales {len(known.scaling.scale)} classes, the plan has {classes}",
            "Copy the run again, or calibrate it anew",
        )  # fmt: skip
