"""Whether patients of data that are not the run's own are among those that it learned from.

Images alone do not tell: other scans of the same people have other values.
"""

from collections.abc import Sequence

from hilum.core.image import Case
from hilum.core.run import Run

SHOWN = 3
# Keys that are named in a sentence.
MET = (
    "HIL-EVAL-05: {} of {} patients of these data have the key of a patient that the run learned from, in its train or "
    "val part ({}): if they are the same people, these figures flatter. A key that is a plain number or the name of a "
    "file may be somebody else's."
)
OPEN = "Whether patients of these data are among those that the model learned from can not be known: {}."


def sentences(run: Run, cases: Sequence[Case], grouping: str) -> tuple[list[str], list[str]]:
    """Alarms and notes, at most one of both. grouping: how groups of these cases were told (`group_cases`).

    An alarm and no refusal, for a key is no proof: two hospitals may each have a patient "001".
    """
    if not run.has("split.csv"):
        whose = "a bundle keeps no patients" if run.is_bundle else "an imported run does not say who they were"
        return [], [OPEN.format(whose)]
    if grouping != "patient" or run.plan.data.get("grouping") != "patient":
        return [], [OPEN.format("patients of these data, or of its own, are unknown")]
    here = {case.group for case in cases}
    learned = [row for row in run.split() if row["part"] in ("train", "val")]
    both = sorted(here & {row["group"] for row in learned})
    if not both:
        # of listed pairs; the others of each group have no key there
        paired = any(row["part"] == "train" and row.get("moving") for row in learned)
        return [], [OPEN.format("its pairs join several of its patients under the key of one")] if paired else []
    named = ", ".join(map(repr, both[:SHOWN])) + (", ..." if len(both) > SHOWN else "")
    return [MET.format(len(both), len(here), named)], []
