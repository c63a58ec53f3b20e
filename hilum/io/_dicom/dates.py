"""Dates, times and ages that are none: results leave them empty, as the standard allows, and say so."""

import re
from datetime import date
from typing import Any

KINDS = {"StudyDate": "DA", "PatientBirthDate": "DA", "StudyTime": "TM", "PatientAge": "AS"}
# What a result takes over from its source.
FORMS = {
    "DA": re.compile(r"(\d{4})(\d\d)(\d\d)"),
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d|60)?(\.\d{1,6})?)?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
}


def emptied(header: Any) -> list[str]:
    """Take what is no date, time or age out of a header; a sentence for each (HIL-D39)."""
    from hilum.io._dicom.header import quiet

    said = []
    for name, kind in KINDS.items():
        with quiet():
            value = str(header.get(name) or "").strip()
        if value and not _is(kind, value):
            setattr(header, name, None)
            said.append(f"HIL-D39: {name} is {value[:20]!a} in the source; results leave it empty")
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
