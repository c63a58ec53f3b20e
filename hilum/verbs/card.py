"""card: a model card and two reporting checklists, from what a run or bundle has on record."""

import json
from pathlib import Path
from typing import Any

from hilum.core.atomic import write_json, write_text, writing_folder
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.core.run import Run, free_folder, write_rows
from hilum.evaluation import model_card
from hilum.evaluation.checklists import CHECKLISTS, counted


def card(model: Path | str, out: Path | str, *, metrics: Path | str | None = None) -> dict[str, Any]:
    """Write model_card.md and .html, claim.csv, tripod_ai.csv and provenance.json into `out`; say what is missing.

    The folder appears when all is in it. metrics: metrics.json of an evaluation of this model; raters.json beside it is
    used where it lies there.
    """
    folder = free_folder(Path(out))
    made = model_card.card(Run(Path(model)), *given(metrics))
    tables = {name: made.checklist(name) for name in CHECKLISTS}
    with writing_folder(folder) as part:
        for name, rows in tables.items():
            write_rows(part / f"{name}.csv", [row | {"numbering": CHECKLISTS[name].source} for row in rows])
        write_json(part / "provenance.json", made.found)
        model_card.page(made).write(part / "model_card.html")
        write_text(part / "model_card.md", model_card.markdown(made))
    return {
        "facts": sum(len(field.lines) for field in made.fields),
        "unknown": sum(len(field.unknown) for field in made.fields),
        "ask": made.asked,
        "checklists": [{"checklist": CHECKLISTS[name].name, **counted(rows)} for name, rows in tables.items()],
        "intended_use": INTENDED_USE,
    }


def given(metrics: Path | str | None) -> tuple[dict[str, Any] | None, dict[str, Any] | None]:
    """metrics.json of an evaluation, and raters.json where it lies beside it."""
    if metrics is None:
        return None, None
    beside = Path(metrics).parent / "raters.json"
    return _json(Path(metrics)), _json(beside) if beside.is_file() else None


def _json(path: Path) -> dict[str, Any]:
    """A file of the evaluation; anything but a JSON object is refused (HIL-EVAL-21)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HilumError(
            "HIL-EVAL-21", f"{path} can not be read ({error})", "Give what hilum evaluate wrote"
        ) from error
    if not isinstance(found, dict):
        raise HilumError("HIL-EVAL-21", f"{path} is not what hilum evaluate writes", "Give its metrics.json")
    return found
