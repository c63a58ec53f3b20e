"""Whether a run's data still is what the run was made with: the same cases, in the same parts."""

from typing import Any

from hilum.core.image import Case
from hilum.core.run import Run
from hilum.planning.planner import Prepared


def same_data(run: Run, ready: Prepared) -> list[tuple[Case, str]] | None:
    """The run's units when its data is the same (fingerprint and split), else None."""
    if not run.has("split.csv") or run.plan.data.get("fingerprint") != ready.facts["hash"]:
        return None
    units = ready.units(run.plan)
    wanted = [{k: str(v) for k, v in row.items()} for row in split_rows(units)]
    return units if wanted == [{k: v for k, v in row.items() if k in wanted[0]} for row in run.split()] else None


def split_rows(units: list[tuple[Case, str]]) -> list[dict[str, Any]]:
    """Rows of split.csv: case, group, part, class, and fixed and moving for pairs."""
    pairs = any("fixed" in c.attributes for c, _ in units)
    rows = []
    for case, part in units:
        row = {"case": case.id, "group": case.group, "part": part, "class": case.klass or ""}
        if pairs:
            row |= {"fixed": case.attributes.get("fixed", ""), "moving": case.attributes.get("moving", "")}
        rows.append(row)
    return rows
