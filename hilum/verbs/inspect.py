"""inspect: what is at a path, before anything is done with it."""

from collections import Counter
from pathlib import Path
from typing import Any

from hilum.core import catalogue, geometry
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image, Measurement
from hilum.core.progress import Progress, quiet
from hilum.data.dataset import Dataset, has_role, open_dataset


def inspect(path: Path | str, *, progress: Progress = quiet) -> dict[str, Any]:
    """Facts about a data set, a study folder or one image: cases, roles, geometry, ranges, problems, fitting tasks.

    Files that can not be read are listed under "problems" with their reason; when nothing can, it is refused.
    """
    dataset = open_dataset(path)
    rows, problems = [], []
    for number, case in enumerate(dataset.cases):
        try:
            rows.append(_row(case))
        except HilumError as error:
            problems.append({"case": case.id, "code": error.code, "problem": str(error)})
        progress("read", number + 1, len(dataset.cases), case.id)
    if not rows:
        raise HilumError(
            "HIL-DATA-05", f"None of {len(dataset.cases)} cases can be read ({problems[0]['problem']})", "Mend them"
        )
    return {
        "path": str(path),
        "layout": dataset.layout,
        "cases": len(dataset.cases),
        "classes": dict(Counter(c.klass for c in dataset.cases if c.klass)),
        "pairs": len(dataset.pairs),
        "tasks": fitting(dataset, {row.pop("dims") for row in rows}),
        "rows": rows,
        "problems": problems,
    }


def fitting(dataset: Dataset, dims: set[int]) -> list[str]:
    """Tasks whose roles every case has, in these dimensions; those that use most of what is there first."""
    found = []
    for name, card in catalogue.cards("hilum.tasks").items():
        roles = all(any(has_role(c, r) for r in role.split("|")) for role in card["roles"] for c in dataset.cases)
        if roles and dims <= set(card["dims"]):
            found.append((-len(card["roles"]), card["order"], name))
    return [name for *_, name in sorted(found)]


def _row(case: Case) -> dict[str, Any]:
    """One case: shape, spacing, orientation, range, warnings."""
    role = next(iter(case.items))
    item = case.read(role)
    row: dict[str, Any] = {"case": case.id, "roles": ", ".join(case.items)}
    if case.klass:
        row["class"] = case.klass
    if isinstance(item, Measurement):
        return row | {
            "dims": 2,
            "shape": "x".join(map(str, item.array.shape)),
            "kind": "k-space",
            "warnings": list(item.warnings),
        }
    image: Image = item
    row |= {
        "dims": image.dims,
        "shape": "x".join(map(str, image.shape)),
        "channels": len(image.array),
        "kind": image.meta.get("modality", ""),
    }
    if image.affine is None:
        row["spacing"] = "pixels"
    else:
        row["spacing"] = " x ".join(f"{s:.3g}" for s in image.spacing) + " mm"
        row["orientation"] = geometry.orientation(image.affine)
    low, high = float(image.array.min()), float(image.array.max())
    return row | {"range": f"{low:g} to {high:g}", "warnings": list(image.warnings)}
