"""verify: is a bundle whole, who signed it, and does it still compute what it did where it was made?"""

from pathlib import Path
from typing import Any

from hilum.core import _signed
from hilum.core.run import Run
from hilum.infer import bundle as bundles
from hilum.infer import system_bundle
from hilum.trust.trusted import Trusted


def verify(path: Path | str, *, key: Path | str | None = None, replaces: Path | str | None = None) -> dict[str, Any]:
    """Hashes, signature and golden pair; refused with the difference, or the bundle's card with what was measured. What
    prediction reads besides is read as well.

    key: file of trusted public keys, or a folder of them; with it the bundle must be signed by one of them.
    A signature that does not fit is refused without a key too; `remarks` says where it can not be looked at, as its
    package is not installed. replaces: the bundle that this one comes in place of; `remarks` then says where this one
    is the older one, or is no successor of it at all.
    """
    verifier = bundles.verify if Run(Path(path)).system is None else system_bundle.verify
    found = verifier(Path(path), None if key is None else Path(key))
    opened(Run(Path(path)))
    why = _signed.unchecked() if found["signed"] else ""
    remarks = [f"The signature was not checked. {why}"] if why else []
    return found | {"remarks": remarks + ([] if replaces is None else _succession(found, Path(replaces)))}


def opened(run: Run) -> None:
    """Refuse what prediction refuses once it opens the model, or of a system one of its networks.

    That is a calibration that does not fit the plan, the other networks of an ensemble, and what is known of images.
    """
    made = run.system
    if made is None:
        Trusted(run)
        return
    for group in made.groups:
        with system_bundle.named(group.name):
            Trusted(run.part(group.name))


def _succession(found: dict[str, Any], replaces: Path) -> list[str]:
    """What to know before one bundle is put in the place of another (M09)."""
    before = Run(replaces)
    before.check_hashes()
    card = before.json("card.json")
    words = []
    older = bundles.older(found, card)
    if older:
        words.append(f"A step back: it was made on {found['made']}, {replaces.name} on {card['made']}.")
    elif older is None:
        words.append("Which of the two is older is not known: not both say when they were made.")
    for what in ("task", "network", "classes"):
        if found.get(what) != card.get(what):
            words.append(f"Another {what}: {_told(found.get(what))} instead of {_told(card.get(what))}.")
    return words


def _told(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
