"""What the tables of the zoo share: networks, cells named by a hash, the conditions of a measurement, the page.

A cell is one JSON file in benchmarks/results/zoo_cells. Its name holds a hash of the settings and of the network's
code, so that it is taken as it is for as long as neither changes, on any machine.
"""

import ast
import functools
import hashlib
import importlib.util
import json
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).parents[1] / "training"))
import machine
from published import FIGURES
from tables import _lines

from hilum.core import catalogue
from hilum.core.atomic import write_json, write_text

BENCHMARKS = Path(__file__).parents[1]
SMOKE = BENCHMARKS / "cache" / "smoke"
TITLE = "Segmentation networks side by side"
Row = dict[str, Any]


def networks() -> dict[str, dict[str, Any]]:
    """{name: CARD} of the networks that segment."""
    return {n: c for n, c in catalogue.cards("hilum.zoo").items() if "segment" in c["tasks"]}


def missing(card: dict[str, Any]) -> str | None:
    """The package that a network is built from and that is not installed."""
    package = card.get("package")
    return None if package is None or importlib.util.find_spec(package) else str(package)


@functools.cache
def code(name: str) -> str:
    """A hash of a network's file and of what it takes from the zoo.

    Comments, docstrings, the CARD, and `ORDER` (which rates of learning go by, and no cell does) do not count.
    """
    waiting, found = [catalogue.card("hilum.zoo", name)["module"]], dict[str, str]()
    while waiting:
        module = waiting.pop()
        path = _file(module)
        if module in found or path is None:
            continue
        text = path.read_text(encoding="utf-8")
        found[module] = _bare(text)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("hilum.zoo"):
                waiting += [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
    return key(sorted(found.items()))


def _file(module: str) -> Path | None:
    """Of a module of the zoo; None for a name inside one."""
    inside = module.split(".")
    if inside[:2] == ["hilum", "zoo"]:
        path = BENCHMARKS.parent.joinpath(*inside).with_suffix(".py")
        return path if path.is_file() else None
    found = importlib.util.find_spec(module)
    return Path(found.origin) if found and found.origin else None


def _bare(text: str) -> str:
    """The lines that do something."""
    tree, gone = ast.parse(text), set[int]()
    for node in ast.walk(tree):
        said = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        words = said and isinstance(node.value.value, str)  # type: ignore[attr-defined]
        card = isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("CARD", "ORDER")
        if words or card:
            gone |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = [line.rstrip() for number, line in enumerate(text.splitlines(), 1) if number not in gone]
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))


def key(what: Any) -> str:
    """A short hash of plain data."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:12]


def place(results: Path, name: str) -> Path:
    """The file of a cell."""
    return results / "zoo_cells" / f"{name}.json"


def read(path: Path) -> Row | None:
    """A cell, None where there is none."""
    found: Row | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def write(path: Path, content: Row) -> None:
    """A cell as JSON, a line for each of its entries."""
    lines = [f" {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in content.items()]
    write_text(path, "{\n" + ",\n".join(lines) + "\n}\n")


def facts() -> Row:
    """Commit ("+": changed since), hardware, versions and date."""
    commit = machine.commit()
    changed = ["git", "-C", str(BENCHMARKS), "status", "--porcelain", "--", "zoo"]
    dirty = commit != "unknown" and subprocess.run(changed, capture_output=True, text=True).stdout.strip()
    versions = machine.versions()
    try:
        versions["monai"] = version("monai")
    except PackageNotFoundError:
        versions["monai"] = "not installed"
    return {
        "commit": f"{commit}+" if dirty and not commit.endswith("+") else commit, "hardware": machine.hardware(),
        "versions": versions, "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def put(results: Path, part: str, lines: list[str], content: Row) -> None:
    """Set one part ("cost", "learning" or "card") of segmentation_zoo.md and .json; the others stay as they are."""
    path = results / "segmentation_zoo.json"
    whole = (read(path) or {}) | {part: content | {"lines": lines}}
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    smoke = " (SMOKE TEST: says nothing)" if results == SMOKE else ""
    text = [f"# {TITLE}, {date}{smoke}", "", *ABOUT, ""]
    for name in ("cost", "learning", "card"):
        text += [*whole.get(name, {"lines": NO_GPU if name == "card" else []})["lines"], ""]
    text += ["## Published figures", "", *BESIDE, "", *_lines([dict(row) for row in FIGURES]), ""]
    write_json(path, whole | {"published": list(FIGURES), "written": date})
    write_text(results / "segmentation_zoo.md", "\n".join(text))


ABOUT = [
    "Research software. Not a medical device. Not for diagnosis, triage or treatment.",
    "",
    "Table A says what each network costs at the size of its paper, table B how networks of one size learn in the same",
    "number of steps, table C how they learn at the size of their papers. Every cell names its commit and hardware;",
    "cells lie in `benchmarks/results/zoo_cells`. What is not measured yet is named too. A cell of before a network",
    "got an option that is off says so (`taken over`): outputs and gradients of both codes were compared, and are",
    "equal bit by bit.",
]
NO_GPU = [
    "## C. How they learn at card size",
    "",
    "Not run yet: on two processors it would take days. `python benchmarks/zoo/card_size.py` runs it on a GPU.",
]
BESIDE = [
    "Of other data, training and starting weights: they stand beside table B and are not reproduced or refuted by it.",
    "Evidence: code - in the authors' released code or its readme; paper - in the text of a paper, its abstract or a",
    "digest of it. Figures that are only recalled are left out, and networks of which nothing else is known.",
]
