"""Cells that a spreadsheet would run are told from numbers and ordinary findings."""

import pytest

from hilum.core.cells import is_formula


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(1)", "+cmd|' /C calc'!A0", "-2+3", "-x"])
def test_what_a_spreadsheet_would_run_is_a_formula(cell: str) -> None:
    assert is_formula(cell)


@pytest.mark.parametrize("cell", ["", "liver", "+", "--", "-1.5", "+3", "-1,5", "a=b", "1e-3", "-inf"])
def test_numbers_signs_and_names_are_none(cell: str) -> None:
    assert not is_formula(cell)
