"""Dated tables of the reading benchmarks: one Markdown page and one JSON each, with what is needed to repeat them."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hilum.core.atomic import write_json, write_text

HERE = Path(__file__).parents[1]
PACKAGES = (
    "torch", "monai", "numpy", "nibabel", "pydicom", "SimpleITK", "pillow", "highdicom", "nilearn", "dipy",
    "scikit-image",
)  # fmt: skip


def write(
    name: str,
    title: str,
    about: str | None,
    rows: list[dict[str, Any]],
    *,
    command: str,
    seconds: float,
    notes: list[str] | None = None,
    facts: dict[str, Any] | None = None,
) -> None:
    """results/NAME.md and NAME.json."""
    origin = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit(), "hardware": hardware(), "load": os.getloadavg()[0],
        "python": platform.python_version(), "command": command, "seconds": round(seconds),
        "versions": {package: _version(package) for package in PACKAGES},
    }  # fmt: skip
    content = origin | {"rows": rows, "notes": notes or [], **(facts or {})}
    write_text(HERE / "results" / f"{name}.md", page(title, about, content))
    write_json(HERE / "results" / f"{name}.json", content)
    print(page(title, about, content))


def page(title: str, about: str | None, content: dict[str, Any]) -> str:
    """The page of what was measured. content: as in NAME.json."""
    words = " ".join((about or "").split("\n\n")[0].split())
    lines = [f"# {title}, {content['date']}", "", words, "", *_table(content["rows"]), "", *content["notes"], ""]
    versions = ", ".join(f"{k} {v}" for k, v in content["versions"].items())
    plus = " (+: code was changed since)" * content["commit"].endswith("+")
    lines += [f"Commit {content['commit']}{plus}; {content['hardware']}, load {content['load']:.1f}; {versions}.", ""]
    lines += [f"Command: `{content['command']}` ({content['seconds']} s).", ""]
    return "\n".join(lines)


def _table(rows: list[dict[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    body = ["| " + " | ".join(_cell(row.get(c)) for c in columns) + " |" for row in rows]
    return ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns), *body]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    words = f"{value:.3f}" if isinstance(value, float) else str(value)
    return " ".join(words.replace("|", "/").split())


def _version(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return "not installed"


def commit() -> str:
    """The commit that is measured, "+" where code was changed since."""
    git = ["git", "-C", str(HERE.parent)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    # scripts of other folders sign their pages with this one too
    code = [*git, "status", "--porcelain", "--", "hilum", "benchmarks/*.py", "benchmarks/datasets"]
    changed = subprocess.run(code, capture_output=True, text=True).stdout.strip()
    return f"{head}{'+' if changed else ''}" if head else "unknown"


def hardware() -> str:
    """Processors by name."""
    names = [ln.split(":")[1].strip() for ln in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in ln]
    return f"{len(names)} x {names[0]}" if names else platform.processor()
