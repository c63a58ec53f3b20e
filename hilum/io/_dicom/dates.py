"""Dates, times and ages that are none: results leave them empty, as the standard allows, and say so."""

import re
from datetime import date
from typing import Any

KINDS = {"StudyDate": "DA", "PatientBirthDate": "DA", "StudyTime": "TM", "PatientAge": "AS"}
# What a result takes over from its source.
WORDS = {"DA": "date", "TM": "time", "AS": "age"}
FORMS = {
    "DA": re.compile(r"(\d{4})(\d\d)(\d\d)"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?(\.\d{1,6})?)?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
}


def emptied(header: Any) -> list[str]:
    """Take what is no date, time or age out of a header; a sentence for each (HIL-D39).

    It tells the fault and not the value, which may be the patient's birthday: sentences go into logs.
    """
    from hilum.io._dicom.header import quiet

    said = []
    for name, kind in KINDS.items():
        with quiet():
            value = str(header.get(name) or "").strip()
        if value and not _is(kind, value):
            setattr(header, name, None)
            right = FORMS[kind].fullmatch(value)
            fault = "there is no such day" if right else f"{len(value)} characters of another form"
            said.append(f"HIL-D39: {name} is no {WORDS[kind]} in the source ({fault}); results leave it empty")
    return said


def _is(kind: str, value: str) -> bool:
    found = FORMS[kind].fullmatch(value)
    if found is None or kind != "DA":
        return found is not None
    try:
        date(*map(int, found.groups()))
    except ValueError:
        return False
    return True
