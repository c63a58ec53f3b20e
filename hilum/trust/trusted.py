"""A predictor whose results carry scaled probabilities, sets and intervals, their doubt, and the gate's verdict."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hilum.core.calibration import DOUBT, Calibration, Opinions
from hilum.core.errors import HilumError
from hilum.core.findings import Picture, Result, Score, Scores
from hilum.core.image import Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer.predictor import Opinion
from hilum.infer.runtimes import _choose
from hilum.tasks._labels import VALIDITY, valid
from hilum.trust import conformal, doubt, foreseen, inputs, maps, outlier, promises, quality
from hilum.trust.calibration import applied
from hilum.trust.gate import Look, decide
from hilum.trust.several import Several

OTHERWISE = (
    "HIL-TRUST-24: {} computed this, and what the run promises is learned of answers by {}, to which it need not be "
    "equal: predict with --runtime {}, or calibrate the run with --runtime {}"
)
BEFORE = (
    "HIL-TRUST-25: the limits of this run are those of a doubt that passed over rare classes and told of removed "
    "pieces too, and not of the doubt told here: calibrate the run again"
)
SCORES = {"lac": conformal.lac, "aps": conformal.aps}


class Trusted(Several):
    """As Predictor; without a calibration in the run the answers are its own, and a person judges each.

    A result's meta holds what is known: "raw" (probabilities before scaling), "set" (classes), "doubt", "disagreement"
    (of several opinions, 0..1), "unlike" (share of held-out images that are more like the training images), "measured"
    ({what: value, low, high, unit}). wide: also find wide masks. maps: also where a mask is doubtful, as pictures.
    keep: what a result was made from stays in `latest` until the next one, for those who judge it.
    """

    def __init__(
        self, run: Run, runtime: str = "torch", limit: int | None = None, wide: bool = False, maps: bool = False
    ) -> None:
        self.calibration = run.calibration
        _check(self.calibration, run)
        super().__init__(run, Opinions() if self.calibration is None else self.calibration.opinions, (), runtime, limit)
        self.known = run.arrays("outlier.safetensors") if run.has("outlier.safetensors") else {}
        known = self.calibration
        self.judged = known is not None and bool(self.known or known.quality or known.sides)
        self.wide, self.maps = wide, maps
        kept = known.wide.thresholds.values() if wide and known is not None and known.wide is not None else []
        self.wides = sum(threshold is not None for threshold in kept)
        self.keep = False
        self.latest: Opinion | None = None

    def __call__(self, case: Case, progress: Progress = quiet) -> Result:
        """Everything found in the case, and what should happen with it."""
        opinion = self._asked(case, progress)
        self.latest = opinion if self.keep else None
        if self.calibration is None:
            return opinion.result
        with self.clock("trust"):
            return self.weighed(opinion, case, self.calibration)

    def _asked(self, case: Case, progress: Progress) -> Opinion:
        """Plane by plane where that is enough; wide masks and several opinions need the scores of all voxels."""
        if self.keep or self.members is not None or (self.wide and self.plan.task == "segment"):
            return self.opinion(case, progress)
        known = self.calibration
        wanted = {"doubt": maps.entropy(known, len(self.plan.classes) + 1)} if self.maps and known else None
        return self.answer(case, progress, wanted)

    def weighed(self, opinion: Opinion, case: Case, known: Calibration) -> Result:
        """The opinion's result with its doubt and verdict."""
        result, task = opinion.result, self.plan.task
        result = replace(result, warnings=(*result.warnings, *self._by_another(known), *self._of_before(known)))
        findings, meta = dict(result.findings), dict(result.meta)
        uncertain: float | None = doubt.of_result(task, result, case)
        if task == "classify":
            findings["scores"], uncertain = self._classified(result["scores"], known, meta)
        elif task == "segment":
            uncertain = doubt.of_mask(doubt.of_opinion(opinion, self.task, case), known.scaling)
            findings |= self._further(opinion, known, case)
        elif task == "reconstruct" and known.foreseen is not None:
            seen = foreseen.evidence(self.task, opinion)
            uncertain = None if seen is None else foreseen.doubt(foreseen.value(known.foreseen, seen))
        if uncertain is not None and not np.isfinite(uncertain):
            # what is no number was not measured, and could not be written down
            uncertain = None
        meta["measured"] = self._measured(opinion, known, uncertain)
        unlike, words = self._seen(opinion, case, known)
        apart = None if opinion.entropies is None else maps.disagreement(opinion)
        named = (("doubt", uncertain), ("disagreement", apart), ("unlike", unlike))
        meta |= {k: round(v, 6) for k, v in named if v is not None}
        classes = tuple(meta["set"]) if "set" in meta else None
        look = Look(uncertain, classes, unlike, words, self._odd(result.warnings, case, known))
        return replace(result, findings=findings, verdict=decide(look, known.gate, promises.fitted(known)), meta=meta)

    def _odd(self, warnings: Sequence[str], case: Case, known: Calibration) -> tuple[str, ...]:
        """Warnings without those that the task makes of every case like its training ones (`Task.expected`).

        Raw data are unlike images, of whose quality alone a run that learned from them knows.
        """
        images = bool(known.quality)
        if images if "kspace" in case.items else not images:
            return tuple(warnings)
        return tuple(one for one in warnings if not one.startswith(self.task.expected))

    def _by_another(self, known: Calibration) -> tuple[str, ...]:
        """A warning where another runtime computed than the promises are learned of, and one of both is less exact."""
        own, of = self.runtime_used, known.runtime
        if "runtime" not in known.model_fields_set and self.run.has("ledger.jsonl"):
            told = [e["runtime"] for e in self.run.ledger() if e["event"] in ("train", "calibrate") and "runtime" in e]
            of = told[-1] if told else of
        return () if own == of or (_exact(own) and _exact(of)) else (OTHERWISE.format(own, of, of, own),)

    def _of_before(self, known: Calibration) -> tuple[str, ...]:
        """A warning where limits were learned of masks whose doubt was told otherwise; of one class it was the same."""
        alike = known.doubt == DOUBT or not (len(self.plan.classes) > 1 or known.single)
        limits = known.gate is not None or "dice" in known.measured
        return (BEFORE,) if self.plan.task == "segment" and limits and not alike else ()

    def _classified(self, scores: Scores, known: Calibration, meta: dict[str, Any]) -> tuple[Scores, float]:
        """Scaled scores and their doubt; the raw ones and the prediction set go into `meta`."""
        raw = scores.vector()
        scaled = applied(known.scaling, raw[None])[0]
        meta["raw"] = raw.tolist()
        if known.sets is not None:
            limit = np.inf if known.sets.threshold is None else known.sets.threshold
            inside = conformal.sets(scaled[None], limit, SCORES[known.sets.score])[0]
            meta["set"] = [row.name for row, held in zip(scores.rows, inside, strict=True) if held]
        return _named(scores, scaled), doubt.of_class(scaled)

    def _further(self, opinion: Opinion, known: Calibration, case: Case) -> dict[str, Any]:
        """Wide masks and maps of doubt, where they are asked for and known; 0 outside of a validity mask."""
        found: dict[str, Any] = {}
        asked = (self.wide or self.maps) and VALIDITY in case.items
        where = valid(case, opinion.prepared["placed"].image)[0] if asked else None
        if self.wide and known.wide is not None:
            found |= promises.wide_masks(opinion, self.task, known.wide, where)
        if self.maps:
            pictures = maps.of_mask(opinion, self.task, known, where)
            found |= {name: Picture(image, "0..1") for name, image in pictures.items()}
        return found

    def _measured(self, opinion: Opinion, known: Calibration, uncertain: float | None) -> dict[str, Any]:
        """{what: value, low, high, unit} of what there is an interval for; of what was not found there is none."""
        found: dict[str, float | None] = {}
        if self.plan.task == "segment":
            found = {what: value for what, (value, _) in promises.sizes(self.task, opinion.result["mask"]).items()}
            # 1 - doubt is the expected Dice
            found["dice"] = None if uncertain is None else 1 - uncertain
        elif known.foreseen is not None and uncertain is not None:
            found[known.foreseen.metric] = foreseen.psnr(uncertain)
        rows = {what: (one, found.get(what)) for what, one in known.measured.items()}
        return {what: promises.said(*row) for what, row in rows.items() if promises.told(*row)}

    def _seen(self, opinion: Opinion, case: Case, known: Calibration) -> tuple[float | None, tuple[str, ...]]:
        """How unlike the training images the input is, 0..1, and sentences about its technical quality."""
        if not (self.known or known.quality or known.sides):
            return None, ()
        case, images = inputs.shown(case, opinion.result)
        rows = {role: quality.features(image) for role, image in images.items()}
        given = opinion.prepared
        unlike = None
        if self.known:
            views = outlier.views(self.task, self.net, case, given, rows.get("image"), self.features)
            unlike = None if views is None else outlier.score(self.known, views).share
        return unlike, tuple(inputs.poor(rows, known))


def _exact(runtime: str) -> bool:
    """Whether it computes in float32; of one that is not known here nobody can say so."""
    try:
        return bool(_choose.card(runtime)["exact"])
    except HilumError:
        return False


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
    strange = set() if known is None or known.foreseen is None else known.foreseen.parts.keys() - set(foreseen.NAMES)
    if strange:
        raise HilumError(
            "HIL-M05", f"calibration.json of {run.path} rests on {', '.join(sorted(strange))}, which is not measured",
            "Copy the run again, or calibrate it anew",
        )  # fmt: skip
