"""The bundle of a system: those of its networks, each under parts/, in one file."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.origin import trained_by
from hilum.core.run import Run
from hilum.core.system import NAME, SystemPlan
from hilum.infer import bundle as bundles


def write(
    run: Run,
    path: Path,
    public: bool = False,
    *,
    more: Mapping[str, bytes] | None = None,
    key: Path | None = None,
    of_each: Callable[[Run], Mapping[str, bytes]] | None = None,
) -> dict[str, Any]:
    """Write `path` from a finished system; arguments, card and refusals as for one run (`infer.bundle.write`).

    of_each: further files of one network by name.
    """
    run.check_hashes()
    if path.exists():
        raise HilumError("HIL-CORE-03", f"{path} exists", "Choose another --out or remove it")
    made = _system(run)
    files: dict[str, bytes] = {}
    cards = []
    for group in made.groups:
        network = run.part(group.name)
        network.check_hashes()
        own, held = bundles.files_of(network, public, None if of_each is None else of_each(network))
        cards.append(own)
        files |= {f"parts/{group.name}/{name}": content for name, content in bundles.listed(held).items()}
    card = cards[0] | {
        "classes": [c.name for c in made.classes()],
        "groups": {g.name: [c.name for c in g.classes] for g in made.groups},
        "made": max(one.get("made") or "" for one in cards) or None,
        **trained_by(run),
    }
    files |= {"plan.json": run.read("plan.json"), NAME: run.read(NAME), "seen.json": run.read("seen.json")}
    files |= {"card.json": json.dumps(card, indent=1).encode()} | dict(more or {})
    bundles.seal(path, files, key)
    return card


def verify(path: Path, keys: Path | None = None) -> dict[str, Any]:
    """Hashes and signature of the whole, classes and golden pair of every network; as `infer.bundle.verify` of one.

    golden_difference: the largest of all networks. graphs, unverified and runtimes: of each, below its parts/NAME/.
    """
    bundle = Run(path)
    found = bundles.sealed(bundle, keys)
    worst, told = 0.0, dict[str, dict[str, Any]](graphs={}, unverified={}, runtimes={})
    for group in _system(bundle).groups:
        with named(group.name):
            part = bundle.part(group.name)
            part.check_hashes()
            if part.plan.classes != group.classes:
                raise HilumError("HIL-M05", f"{path} finds other classes there than {NAME} says", "Do not use it")
            seen = bundles.proven(part)
        worst = max(worst, float(seen["golden_difference"]))
        for what, files in told.items():
            files |= {f"parts/{group.name}/{name}": value for name, value in seen[what].items()}
    card: dict[str, Any] = bundle.json("card.json")
    return card | found | {"golden_difference": worst} | told


@contextmanager
def named(group: str) -> Iterator[None]:
    """Refusals of one network say of which: all of them lie in the same file."""
    try:
        yield
    except HilumError as error:
        raise HilumError(error.code, f"parts/{group}: {error.seen}", error.remedy) from error


def _system(run: Run) -> SystemPlan:
    """The groups; a run of one network has none."""
    made = run.system
    if made is None:
        raise HilumError("HIL-RUN-03", f"{run.path} lacks {NAME}", "Give what hilum train --groups wrote")
    return made
