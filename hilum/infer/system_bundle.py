"""The bundle of a system: those of its networks, each under parts/, in one file."""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.origin import trained_by
from hilum.core.run import Run
from hilum.core.system import NAME, SystemPlan
from hilum.infer import bundle as bundles
from hilum.infer import signature


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
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder) / "part.hilum"
            network = run.part(group.name)
            cards.append(bundles.write(network, own, public, more=None if of_each is None else of_each(network)))
            part = Run(own)
            files |= {f"parts/{group.name}/{name}": part.read(name) for name in part.names()}
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
    """Hashes and signature of the whole, the golden pair of every network; as `infer.bundle.verify` of one.

    golden_difference: the largest of all networks. graphs, unverified and runtimes: of each, below its parts/NAME/.
    """
    bundle = Run(path)
    bundle.check_hashes()
    signed, signer = bundle.has(signature.NAME), None
    if keys is not None:
        given = bundle.read(signature.NAME) if signed else None
        signer = signature.check(given, bundle.read("manifest.json"), signature.read_keys(keys), path)
    worst, told = 0.0, dict[str, dict[str, Any]](graphs={}, unverified={}, runtimes={})
    for group in _system(bundle).groups:
        with _alone(bundle.part(group.name)) as own:
            seen = bundles.verify(own)
        worst = max(worst, float(seen["golden_difference"]))
        for what, files in told.items():
            files |= {f"parts/{group.name}/{name}": value for name, value in seen[what].items()}
    card: dict[str, Any] = bundle.json("card.json")
    found = {"files": len(bundle.names()), "signed": signed, "signed_by": signer, "golden_difference": worst}
    return card | found | told


@contextmanager
def _alone(part: Run) -> Iterator[Path]:
    """One network of a bundle as a bundle of its own, for as long as it is looked at."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.hilum"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            for name in part.names():
                archive.writestr(name, part.read(name))
        yield path


def _system(run: Run) -> SystemPlan:
    """The groups; a run of one network has none."""
    made = run.system
    if made is None:
        raise HilumError("HIL-RUN-03", f"{run.path} lacks {NAME}", "Give what hilum train --groups wrote")
    return made
