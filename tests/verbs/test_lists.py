"""Sheets over all cases: every row says which case it is."""

import csv
from pathlib import Path

from hilum.verbs import _lists


def test_a_sheet_that_a_spreadsheet_saved_otherwise_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_bytes("case,x\nM\u00fcller,1\n".encode("cp1252"))
    _lists.sheets({"done": {"M\u00fcller": {"scores": {"x": 1}}}}, tmp_path)
    assert (tmp_path / "scores.csv").read_text(encoding="utf-8") == "case,x\nM\u00fcller,1\n"


def test_a_class_may_be_called_like_the_column_of_the_cases(tmp_path: Path) -> None:
    done = {"a": {"scores": {"case": 0.9, "control": 0.1}}}
    _lists.sheets({"done": done}, tmp_path)
    with open(tmp_path / "scores.csv", encoding="utf-8", newline="") as stream:
        assert list(csv.DictReader(stream)) == [{"case": "a", "class case": "0.9", "control": "0.1"}]
