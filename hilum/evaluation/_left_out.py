"""Cases without a result where the metric has no worst value (PSNR): nobody is compared by them.

A network that failed in its hardest cases would else have the best mean, as it is a mean over the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from hilum.evaluation.evaluator import Evaluation, measure
from hilum.metrics import _names
from hilum.tasks._task import Judged

if TYPE_CHECKING:
    from hilum.evaluation.comparison import Cell


def shared(cells: Sequence["Cell"]) -> tuple[list["Cell"], list[str]]:
    """The cells without the cases that any of them lost so, and a sentence per network that lost some."""
    headline = next(iter(cells[0].metrics))
    if _names.card(headline)["level"] != "case" or _names.ends(headline)[0] is not None:
        return list(cells), []
    lost: dict[str, set[str]] = {}
    for cell in cells:
        lost.setdefault(cell.net, set()).update(case for case in cell.missing if cell.values.get(case) is None)
    gone = set[str]().union(*lost.values())
    made = [anew(cell, {c: None if c in gone else v for c, v in cell.values.items()}, headline) for cell in cells]
    return made, [
        f"{net} gave no result in {len(own)} {'case' if len(own) == 1 else 'cases'}, for which there is no worst "
        f"{headline}: mean, difference and place of every network leave {'it' if len(own) == 1 else 'them'} out."
        for net, own in lost.items()
        if own
    ]


def anew(cell: "Cell", values: Mapping[str, float | None], headline: str) -> "Cell":
    """The cell with these values, and the headline measured by them; as it is where they are its own."""
    if values == cell.values:
        return cell
    rows = [Judged(case, cell.groups[case], {headline: {"": value}}) for case, value in values.items()]
    found = measure(headline, Evaluation(rows, []))
    assert found is not None  # there are rows
    row = {**cell.metrics[headline], **{key: found[key] for key in ("mean", "low", "high", "n")}}
    return replace(cell, values=dict(values), metrics={**cell.metrics, headline: row})
