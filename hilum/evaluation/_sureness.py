"""How sure compared networks are: NLL, Brier score and ECE with intervals, of classes or of voxels near foreground."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hilum.evaluation import _intervals, voxels
from hilum.evaluation.bootstrap import Estimate
from hilum.evaluation.evaluator import honest
from hilum.evaluation.seeds import interval_of_seeds
from hilum.metrics import _names

if TYPE_CHECKING:
    from hilum.evaluation.comparison import Cell

Row = dict[str, Any]


def table(
    by_net: Mapping[str, Sequence["Cell"]], order: Sequence[str], groups: Mapping[str, str]
) -> tuple[list[Row], list[str]]:
    """A row per network, in this order, and what to know of them; nothing where there are no probabilities.

    groups: {case: patient}.
    """
    cells = [c for own in by_net.values() for c in own]
    if all(name in c.metrics for c in cells for name in voxels.NAMES):
        rows: list[Row] = [{"net": net, **_columns(_of_classes, by_net[net], groups)} for net in order]
        return rows, ["Probabilities as the runs scale them. ECE has no interval: it grows where cases come twice."]
    if not any(c.voxels for c in cells):
        return [], []
    # it would else pay to fail where masks are hard
    lost = {case for c in cells for case in c.missing}
    groups = {case: group for case, group in groups.items() if case not in lost}
    rows = [
        {"net": net, "cases": _counted(by_net[net], groups), **_columns(_of_voxels, by_net[net], groups)}
        for net in order
    ]
    said = [
        f"Probabilities as the runs scale them. {voxels.WHERE} What a network finds decides which voxels count, so two "
        "networks are not judged by quite the same ones."
    ]
    if lost:
        said.append(f"Cases in which any network gave no result are left out here for all of them: {len(lost)}.")
    return rows, said


def _columns(measured: Any, own: Sequence["Cell"], groups: Mapping[str, str]) -> Row:
    """Each metric with its interval. measured: `_of_classes` or `_of_voxels`."""
    row: Row = {}
    for name in voxels.NAMES:
        row |= dict(zip((name, f"{name} low", f"{name} high"), measured(own, name, groups), strict=True))
    return row


def _of_classes(
    own: Sequence["Cell"], name: str, groups: Mapping[str, str]
) -> tuple[float | None, float | None, float | None]:
    """What the evaluations found, mean over seeds, with its interval."""
    known = [c.metrics[name]["mean"] for c in own if c.metrics[name]["mean"] is not None]
    mean = sum(known) / len(known) if known else None
    values = [_by_case(c, name, list(groups)) for c in own] if len(own) > 1 else []
    return mean, *_intervals.of_network(own, values, list(groups.values()), name, mean)


def _by_case(cell: "Cell", name: str, cases: list[str]) -> list[float | None]:
    """The metric of every case alone; None without probabilities, and of one that takes many cases."""
    if name == "ece" or any(c not in cell.scores for c in cases):
        return [None] * len(cases)
    classes, measure = list(cell.scores[cases[0]]), _names.function(name)
    chances = np.array([[cell.scores[c][k] for k in classes] for c in cases])
    truth = np.array([classes.index(cell.truth[c]) for c in cases])
    return [measure(chances[i : i + 1], truth[i : i + 1]) for i in range(len(cases))]


def _of_voxels(
    own: Sequence["Cell"], name: str, groups: Mapping[str, str]
) -> tuple[float | None, float | None, float | None]:
    """Mean over seeds and over the cases that have such voxels for each of them, with its interval."""
    found = interval_of_seeds(_by_seed(own, name, groups), list(groups.values()))
    if found.mean is None:
        return None, None, None
    kept = honest(Estimate(found.mean, found.low, found.high, found.n, found.groups), name)
    return kept.mean, *_intervals.within(kept, name)


def _counted(own: Sequence["Cell"], groups: Mapping[str, str]) -> int:
    """Cases that have such voxels for every seed."""
    return sum(None not in column for column in zip(*_by_seed(own, voxels.NAMES[0], groups), strict=True))


def _by_seed(own: Sequence["Cell"], name: str, cases: Mapping[str, str]) -> list[list[float | None]]:
    """(S, n) values of the cases."""
    return [[c.voxels.get(name, {}).get(case) for case in cases] for c in own]
