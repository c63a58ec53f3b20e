"""Who is who: patients behind opaque keys, and one patient id used for several people."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from hilum.io._dicom.frames import Slice

NOBODY = {"", "0", "anon", "anonymous", "anonymized", "anonymised", "unknown", "none", "patient", "noid"}
# Patient ids that say nothing about who it is.


@dataclass(frozen=True)
class Who:
    """key: opaque, "" where the patient is unknown. name: the same, but tells unknown people apart too.
    sharing: how many people come with this patient id."""

    key: str
    name: str
    sharing: int


def patients(slices: Sequence[Slice]) -> dict[tuple[str, ...], Who]:
    """Who every slice belongs to, by what `person` reads of it.

    The key is a hash of the patient id, or of name and birth date where there is no id. Where one id comes with
    different names, birth dates or sexes, each person has a key of its own.
    """
    seen: dict[tuple[str, ...], list[tuple[str, ...]]] = defaultdict(list)
    for one in slices:
        who = person(one)
        if who not in seen[who[:2]]:
            seen[who[:2]].append(who)
    found: dict[tuple[str, ...], Who] = {}
    for (number, issuer), people in seen.items():
        persons: list[list[tuple[str, ...]]] = []
        for who in sorted(people, reverse=True):
            fits = next((group for group in persons if all(_may_be_one(who, other) for other in group)), None)
            persons.append([who]) if fits is None else fits.append(who)
        known = number.lower() not in NOBODY
        for group in persons:
            name = digest("patient", number, issuer, *(group[0][2:] if len(persons) > 1 else ()), length=10)
            key = name if known else _by_name(group[0])
            found |= {who: Who(key, name, len(persons) if known else 1) for who in group}
    return found


def _by_name(who: tuple[str, ...]) -> str:
    """The key of somebody without an id: name and birth date say who it is, either alone does not."""
    return digest("person", *who[2:4], length=10) if who[2] and who[3] else ""


def person(one: Slice) -> tuple[str, ...]:
    """(id, issuer, name, birth date, sex) with the spelling of names evened out."""
    name = " ".join(re.split(r"[\^\s=]+", one.facts["PatientName"].casefold())).strip()
    facts = one.facts
    return facts["PatientID"], facts["IssuerOfPatientID"], name, facts["PatientBirthDate"], facts["PatientSex"]


def _may_be_one(a: tuple[str, ...], b: tuple[str, ...]) -> bool:
    return all(x == y or not x or not y for x, y in zip(a[2:], b[2:], strict=True))


def digest(*words: str, length: int = 6) -> str:
    """A short word that depends on `words` alone and does not show them."""
    return hashlib.sha256("\x00".join(words).encode("utf-8", "replace")).hexdigest()[:length]
