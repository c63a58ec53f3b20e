"""The part of a report that shows the model beside several raters, from what `raters.measured` found."""

from collections.abc import Mapping, Sequence
from typing import Any

from hilum.evaluation.bootstrap import OVER
from hilum.pictures.page import Page


def section(page: Page, found: Mapping[str, Any]) -> Page:
    """The part of a report that says how the model stands beside the raters. found: as `measured` gives it."""
    page.heading("Beside several raters")
    page.text(", ".join(f"{name}: {n} cases" for name, n in found["raters"].items()) + ".")
    if found["left_out"]:
        words = "; ".join(f"{row['case']}: {row['why']}" for row in found["left_out"][:5])
        page.note("warning", f"{len(found['left_out'])} cases that raters have read are left out. {words}")
    page.note("info", found["sentence"])
    if "rows" not in found:
        return page
    caption = (
        f"{found['cases']} cases with two raters or more. Means with {OVER.format('patients')}; "
        "none where nothing varies or patients are too few. The first row is the answer; for the others p is adjusted "
        "by Holm, as they are many."
    )
    page.table([_shown(row) for row in found["rows"]], caption=caption)
    columns = [{"measure": r["measure"], "rater": r["rater"], **_spread(r, ("model", "others"))} for r in found["each"]]
    page.table(columns, caption="Every rater against the model, and against the other raters.")
    if "consensus" in found:
        page.text(found["consensus"]["sentence"])
        rows = [{"measure": name, "model": _words(value)} for name, value in found["consensus"]["rows"].items()]
        if rows:
            page.table(rows, caption="The model against the consensus.")
        page.text(f"Share of marked voxels on which the raters do not all agree: {_words(found['disputed'])}.")
    if "kappa" in found:
        rows = [{**{key: row[key] for key in ("of", "kappa", "n")}, "value": _words(row)} for row in found["kappa"]]
        page.table(rows, caption="Agreement beyond chance, unweighted.")
    return page


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    gap = {**row["difference"], "mean": row["difference"]["difference"]}
    base = {"measure": row["measure"], "class": row["class"], "better": row["better"]}
    base |= _spread(row, ("model", "raters"))
    return base | {"model less raters": _words(gap), "patients": gap["groups"], "what it shows": row["sentence"]}


def _spread(row: Mapping[str, Any], keys: Sequence[str]) -> dict[str, str]:
    return {key: _words(row[key]) for key in keys}


def _words(found: Mapping[str, Any]) -> str:
    """A mean and its interval."""
    if found["mean"] is None:
        return "undefined"
    return f"{found['mean']:.3f}" + ("" if found["low"] is None else f" ({found['low']:.3f} to {found['high']:.3f})")
