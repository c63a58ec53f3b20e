"""Whether the figures of an evaluation say how good a model is on new cases: of which part and state they are."""

from collections.abc import Mapping
from typing import Any

from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.evaluation.provenance import NOT_KNOWN, state

LEARNED = {
    "train": "The network was trained on these cases: how well it fits them says nothing about new ones. "
    "These figures are no result.",
    "val": "On these cases the limits of the gate and the scaling of probabilities were chosen, where learning.keep is "
    "best the weights as well: they flatter. These figures are no result.",
}
# Parts of the run's own data of which figures are no result; those of its test part, and of all of other data, are.
OTHER = "These figures are of another state of the model: other weights, another plan or another calibration."

GUIDED = "These figures are of this model together with another one that said where to look (--coarse)."


def objection(part: str | None) -> str | None:
    """Why figures of this part are no result; None of those that are, and of no part."""
    return None if part is None else LEARNED.get(part)


def leaks(plan: Plan) -> str | None:
    """What the parts of the run's own data share, where that was accepted (`data.leaks`); None where they are apart."""
    return next((words for words in plan.data.get("warnings", []) if words.startswith("HIL-T09: accepted")), None)


def apart(run: Run, metrics: Mapping[str, Any]) -> str | None:
    """Why what metrics.json holds is no result of the model as it is now: OTHER, GUIDED, or its part; None where it is.

    A file that does not say of which state it is, is believed. {} has nothing to object to.
    """
    judged = metrics.get("state")
    if judged is not None and judged != state(run):
        return OTHER
    if metrics.get("coarse"):
        return GUIDED
    return objection(metrics.get("part"))


def looks(run: Run) -> str:
    """What the counts of a run's ledger leave out; "" where nothing is counted."""
    if not run.has("ledger.jsonl"):
        return ""
    words = "in this run folder alone: looks by copies, bundles and other runs are not in it"
    told = [event for event in run.ledger() if event["event"] == "compare"]
    # the last one counts the cells of those before too
    for event in told[-1:]:
        words += f"; one of {event['cells']} models of a comparison judged on the {event['part']} part"
    return f" ({words})"


def held(run: Run, metrics: Mapping[str, Any], why: str | None) -> str:
    """Whether the run remembers such an evaluation of what it is now: a file alone could be of another model.

    why: of `apart`.
    """
    part, judged = metrics.get("part"), metrics.get("state")
    if why in (OTHER, GUIDED):
        return f"no. {why}"
    if part is None or not run.has("ledger.jsonl"):
        return NOT_KNOWN
    looks = [event for event in run.ledger() if event["event"] == "evaluate" and event.get("part") == part]
    # guided by another model it was another one
    looks = [event for event in looks if not event.get("coarse")]
    if not looks:
        return "no evaluation of that part is in the ledger of this run"
    if judged is None:
        # files from before it was kept do not say what was judged
        return NOT_KNOWN
    known = any(event.get("state") == judged for event in looks)
    return "yes" if known else "no evaluation of that part in this state is in the ledger of this run"
