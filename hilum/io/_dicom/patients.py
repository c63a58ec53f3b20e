"""Who is who: patients behind opaque keys, and one patient id used for several people."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hilum.io._dicom.file import header
from hilum.io._dicom.frames import Slice, facts_of
from hilum.io._guard import reading

NOBODY = {"", "0", "anon", "anonymous", "anonymized", "anonymised", "unknown", "none", "patient", "noid"}
# Patient ids that say nothing about who it is.
WHO = ("PatientID", "IssuerOfPatientID", "PatientName", "PatientBirthDate", "PatientSex")
Person = tuple[str, ...]
# (id, issuer, name, birth date, sex)


@dataclass(frozen=True)
class Who:
    """key: opaque, "" where the patient is unknown; of one patient id it is one key. name: tells apart what comes with
    one id but another name, birth date, sex or issuer, and unknown people too. sharing: how many such people there are.
    """

    key: str
    name: str
    sharing: int


def patients(people: Iterable[Person]) -> dict[Person, Who]:
    """Who everybody is, of all who were found by `person`.

    The key is a hash of the patient id and its issuer, or of name and birth date where there is no id. A name that was
    corrected, or an issuer that one study leaves out, makes no other patient: else one could lie in training and test.
    """
    every = list(dict.fromkeys(people))
    issuers: dict[str, set[str]] = defaultdict(set)
    for who in every:
        issuers[who[0]].add(who[1])
    seen: dict[tuple[str, str], list[Person]] = defaultdict(list)
    for who in every:
        seen[who[0], _issuer(who, issuers[who[0]])].append(who)
    found: dict[Person, Who] = {}
    for (number, issuer), several in seen.items():
        groups, known = _persons(several), _known(number)
        for group in groups:
            own = group[0][2:] if len(groups) > 1 else ()
            key = digest("patient", number, issuer, length=10) if known else _by_name(group[0])
            for who in group:
                name = digest("patient", number, who[1], *own, length=10)
                found[who] = Who(key, name, len(groups) if known else 1)
    return found


def _known(number: str) -> bool:
    return number.lower() not in NOBODY


def _issuer(who: Person, issuers: set[str]) -> str:
    """Who gave the id: as stated. Where a study leaves it out, the only one that is stated, or "" of several."""
    if "" not in issuers or not _known(who[0]):
        return who[1]
    stated = issuers - {""}
    return min(stated) if len(stated) == 1 else ""


def _persons(several: list[Person]) -> list[list[Person]]:
    """Those of one id, by person: what is stated differently is another one, what is not stated is none."""
    groups: list[list[Person]] = []
    for who in sorted(several, key=lambda one: one[2:], reverse=True):
        fits = next((group for group in groups if all(_may_be_one(who, other) for other in group)), None)
        groups.append([who]) if fits is None else fits.append(who)
    return groups


def _by_name(who: Person) -> str:
    """The key of somebody without an id: name and birth date say who it is, either alone does not."""
    return digest("person", *who[2:4], length=10) if who[2] and who[3] else ""


def person(one: Slice) -> Person:
    """(id, issuer, name, birth date, sex) with the spelling of names evened out."""
    return _person(one.facts)


def person_of(file: Path) -> Person:
    """The same of a file of any kind, by its header alone."""
    from hilum.io._dicom.header import quiet

    with reading(file), quiet():
        return _person(facts_of(header(file), WHO))


def _person(facts: Mapping[str, str]) -> Person:
    name = " ".join(re.split(r"[\^\s=]+", facts["PatientName"].casefold())).strip()
    return facts["PatientID"], facts["IssuerOfPatientID"], name, facts["PatientBirthDate"], facts["PatientSex"]


def _may_be_one(a: Person, b: Person) -> bool:
    return all(x == y or not x or not y for x, y in zip(a[2:], b[2:], strict=True))


def digest(*words: str, length: int = 6) -> str:
    """A short word that depends on `words` alone and does not show them.

    It keeps a name out of sight and is no secret: whoever guesses what a key was made from (hospital numbers are few
    enough to try them all) can check the guess. So data under such keys are not anonymous.
    """
    return hashlib.sha256("\x00".join(words).encode("utf-8", "replace")).hexdigest()[:length]
