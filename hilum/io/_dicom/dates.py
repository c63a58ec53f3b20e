"""Dates, times, ages, sexes and sizes that are none: results leave them empty, as the standard allows, and say so."""

import re
from datetime import date
from typing import Any

KINDS = {
    "StudyDate": "DA", "PatientBirthDate": "DA", "StudyTime": "TM", "PatientAge": "AS", "PatientSex": "CS",
    "PatientSize": "DS", "PatientWeight": "DS",
}  # fmt: skip
# What a result takes over from its source.
WORDS = {"DA": "date", "TM": "time", "AS": "age", "CS": "M, F or O", "DS": "number"}
FORMS = {
    "DA": re.compile(r"(\d{4})(\d\d)(\d\d)"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?(\.\d{1,6})?)?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "CS": re.compile(r"[MFO]"),
    "DS": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
}


def emptied(header: Any) -> list[str]:
    """Take what is no date, time, age, sex, height or weight out of a header; a sentence for each (HIL-D39).

    It tells the fault and not the value, which may be the patient's birthday: sentences go into logs.
    """
    from pydicom import DataElement

    said = []
    for name, kind in KINDS.items():
        value = _written(header, name)
        if value and not _is(kind, value):
            header[name] = DataElement(name, kind, None)
            right = FORMS[kind].fullmatch(value)
            fault = "there is no such day" if right else f"{len(value)} characters of another form"
            said.append(f"HIL-D39: {name} is no {WORDS[kind]} in the source ({fault}); results leave it empty")
    return said


def _written(header: Any, name: str) -> str:
    """A value as it is written: the library gives none for a number that is none."""
    held = header.get_item(name)
    value = None if held is None else held.value
    text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value or "")
    return text.strip(" \0")


def _is(kind: str, value: str) -> bool:
    found = FORMS[kind].fullmatch(value)
    if found is None or kind != "DA":
        return found is not None
    try:
        date(*map(int, found.groups()))
    except ValueError:
        return False
    return True
