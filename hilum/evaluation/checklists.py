"""Reporting checklists filled from a model card: what the record answers, and what the authors must still say."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from hilum.evaluation import _claim, _tripod_ai
from hilum.evaluation.provenance import NOT_KNOWN

REPORTED, APART = "reported", "not applicable"


class Section(Protocol):
    """A field of a card."""

    @property
    def key(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def lines(self) -> tuple[tuple[str, str], ...]: ...


@dataclass(frozen=True)
class Checklist:
    """source: of numbers and topics. items: (number, section, topic, lines that answer it, whether whole)."""

    name: str
    source: str
    items: tuple[tuple[str, str, str, tuple[str, ...], bool], ...]


CHECKLISTS = {
    "claim": Checklist(_claim.NAME, _claim.SOURCE, _claim.ITEMS),
    "tripod_ai": Checklist(_tripod_ai.NAME, _tripod_ai.SOURCE, _tripod_ai.ITEMS),
}
# File name and content.


def filled(checklist: Checklist, fields: Sequence[Section]) -> list[dict[str, str]]:
    """A row per item: item, section, topic, status ("reported", "not known" or "not applicable") and where in the card.

    Reported is only what the card answers whole; where it holds a part, that part is named and the status stays "not
    known", for the authors to complete.
    """
    known = {f"{field.key}: {name}": (field.title, words) for field in fields for name, words in field.lines}
    rows = []
    for number, section, topic, lines, whole in checklist.items:
        status, where = _answer(lines, whole, known)
        rows.append({"item": number, "section": section, "topic": topic, "status": status, "where": where})
    return rows


def _answer(lines: Sequence[str], whole: bool, known: Mapping[str, tuple[str, str]]) -> tuple[str, str]:
    """Status and place of one item."""
    here = [line for line in lines if known[line][1] != NOT_KNOWN]
    if here and all(known[line][1].startswith(APART) for line in here):
        return APART, known[here[0]][1].removeprefix(f"{APART}: ")
    places = "; ".join(f"{known[line][0]}: {line.split(': ', 1)[1]}" for line in here)
    if whole and lines and len(here) == len(lines):
        return REPORTED, places
    return NOT_KNOWN, f"in part: {places}" if here else ""


def counted(rows: Sequence[Mapping[str, str]]) -> dict[str, int]:
    """How many items have each status."""
    seen = Counter(row["status"] for row in rows)
    return {status: seen[status] for status in (REPORTED, APART, NOT_KNOWN)}
