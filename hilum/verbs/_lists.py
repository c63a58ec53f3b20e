"""What lies beside the files of predicted cases: sheets of all cases' numbers, and the worklist."""

import contextlib
import csv
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.run import write_rows
from hilum.infer import export

NAMES = ("scores", "structures", "measured", "worklist", "predictions")
# What the sheets and the record are called.
DECISIONS = ("person", "flag", "accept")
# What a person should see first where a site sorts.


def sheets(record: dict[str, Any], folder: Path) -> None:
    """One sheet of scores, of structures and of measurements for all cases, beside the files of each."""
    # a class may be called `case` too
    scores = [
        {"case": name} | {("class case" if k == "case" else k): v for k, v in done["scores"].items()}
        for name, done in record["done"].items()
        if "scores" in done
    ]
    if scores:
        _put(folder / "scores.csv", scores)
    structures = [{"case": name} | row for name, done in record["done"].items() for row in done.get("structures", ())]
    if structures:
        _put(folder / "structures.csv", export.blank_where_none(structures))
    rows = [
        {"case": name, "what": what} | {k: "" if v is None else v for k, v in said.items()}
        for name, done in record["done"].items()
        for what, said in done.get("measured", {}).items()
    ]
    if rows:
        _put(folder / "measured.csv", rows)


def worklist(record: dict[str, Any], arrived: list[str], order: str, folder: Path) -> None:
    """worklist.csv: what a person has before them, earlier calls first. order: "arrival" or "doubt"."""
    earlier = [name for name in record["done"] if name not in arrived]
    _put(folder / "worklist.csv", _rows(record, [*earlier, *arrived], order))


def _put(path: Path, rows: list[dict[str, Any]]) -> None:
    """A sheet on disk; one that is there already and the same is left alone."""
    rows = [{k: str(v) for k, v in row.items()} for row in rows]
    if path.is_file():
        # one that somebody saved otherwise is written anew
        with contextlib.suppress(ValueError, csv.Error), open(path, encoding="utf-8", newline="") as stream:
            if list(csv.DictReader(stream)) == rows:
                return
    write_rows(path, rows)


def _rows(record: dict[str, Any], arrived: list[str], order: str) -> list[dict[str, Any]]:
    """What a person has before them, as it arrived; or what needs a person first, the most doubtful of it first."""
    rows = []
    failed = {f["case"]: f["why"] for f in record["failed"] if "input" not in f}
    for name in [*arrived, *[name for name in failed if name not in arrived]]:
        done = record["done"].get(name)
        if done is None:
            rows.append(_without(name, failed.get(name, "")))
            continue
        verdict = done["verdict"]
        row = {"case": name, "decision": verdict["decision"], "doubt": done.get("doubt", "")}
        rows.append(row | {"reasons": " ".join(verdict["reasons"])})
    rows += [_without(f["input"], f["why"]) for f in record["failed"] if "input" in f]
    if order == "doubt":
        # without a known doubt nothing speaks for waiting
        rows.sort(key=lambda r: (DECISIONS.index(r["decision"]), -(r["doubt"] if r["doubt"] != "" else np.inf)))
    return rows


def _without(name: str, why: str) -> dict[str, Any]:
    """The row of what gave no result."""
    return {"case": name, "decision": "person", "doubt": "", "reasons": f"No result: {why}"}
