"""Every code that Hilum can say is explained in docs/reference/errors.md, and the page explains nothing else."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
CODE = re.compile(r"HIL-[A-Z0-9]+(?:-[0-9]+)?")
ROW = re.compile(r"^\| (HIL-[A-Z0-9-]+) \|", re.MULTILINE)
FORM = re.compile(r"HIL-(?:[A-Z]\d{2}|[A-Z]{2,}-\d{2})")
ROOMS = {"CORE", "DATA", "EVAL", "INFER", "IO", "LEARN", "LOSSES", "PHYS", "PLAN", "PREP", "RUN", "TRUST", "ZOO"}


def said() -> set[str]:
    """Every code in the source."""
    return {c for path in (ROOT / "hilum").rglob("*.py") for c in CODE.findall(path.read_text(encoding="utf-8"))}


def page() -> str:
    return (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")


def test_every_code_is_explained() -> None:
    assert sorted(said() - set(ROW.findall(page()))) == []


def test_every_explained_code_exists() -> None:
    assert sorted(set(ROW.findall(page())) - said()) == []


def test_each_code_is_explained_once_and_in_order() -> None:
    for table in page().split("\n## ")[1:]:
        rows = ROW.findall(table)
        assert rows == sorted(set(rows)), table.splitlines()[0]
    assert len(ROW.findall(page())) == len(set(ROW.findall(page())))


def test_codes_have_one_of_two_forms() -> None:
    for code in said():
        assert FORM.fullmatch(code), code
        assert code.count("-") == 1 or code.split("-")[1] in ROOMS, code
