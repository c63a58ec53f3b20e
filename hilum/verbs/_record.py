"""predictions.json: what a folder of predictions holds, so that a stopped call goes on and no two are mixed up."""

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum import __version__
from hilum.core.atomic import UNFINISHED, json_text, write_json, write_text
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.core.image import Case
from hilum.core.lock import NAME as LOCK
from hilum.core.lock import locked
from hilum.core.run import Run
from hilum.data.dataset import listed
from hilum.verbs import _lists

log = logging.getLogger(__name__)

NAME = "predictions.json"


@contextmanager
def opened(folder: Path, key: str, run: Run, coarse: Run | None = None) -> Iterator[dict[str, Any]]:
    """The record of a folder, which no other process may write to meanwhile (HIL-T12).

    key: of the model and of all that decides a result but the inputs. A fresh one is written before anything else, so
    that a folder of results without a record is never there; where nothing comes of it, it is taken away again. A row
    follows its files: of a call that was killed in between some may be in none (see `unlisted`). While cases come it is
    written in one line, which takes a quarter of the time, and for reading at the end. coarse: the model that says
    where to look.
    Errors: HIL-CORE-03 for a file, and for a folder that holds anything else than results of the same key.
    """
    if folder.is_file():
        raise _other(folder)
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder):
            record = _known(folder, key, run) or _begun(folder, key, run, coarse)
            for part in folder.glob(f"{UNFINISHED}*"):
                part.unlink()
            try:
                yield record
                # a call that had nothing to do changes nothing
                if (folder / NAME).read_text(encoding="utf-8") != json_text(record):
                    write_json(folder / NAME, record)
            finally:
                if not record["done"] and not _held(folder):
                    (folder / NAME).unlink(missing_ok=True)
    finally:
        if fresh and not any(folder.iterdir()):
            folder.rmdir()


def _known(folder: Path, key: str, run: Run) -> dict[str, Any] | None:
    """The record that is there; None in an empty folder."""
    path = folder / NAME
    if path.is_file():
        try:
            known: Any = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:
            known = None
        if isinstance(known, dict) and known.get("key") == key:
            return known
        raise _of_others(folder, known, run)
    if _held(folder):
        raise _other(folder)
    return None


def _begun(folder: Path, key: str, run: Run, coarse: Run | None) -> dict[str, Any]:
    record: dict[str, Any] = {"key": key, "intended_use": INTENDED_USE, "model": _model(run)}
    record |= {} if coarse is None else {"coarse": _model(coarse)}
    record |= {"done": {}, "failed": []}
    write_json(folder / NAME, record)
    return record


def _model(run: Run) -> dict[str, Any]:
    """What a record says of a model."""
    return {"task": run.plan.task, "hashes": run.hashes(), "terms": run.plan.data.get("terms", "unknown")}


def _held(folder: Path) -> list[str]:
    """What lies in the folder beside the record, its lock and files that were never finished."""
    own = (NAME, LOCK)
    return sorted(p.name for p in folder.iterdir() if p.name not in own and not p.name.startswith(UNFINISHED))


def _of_others(folder: Path, known: Any, run: Run) -> HilumError:
    """What sets the results in the folder apart from those of this call."""
    try:
        theirs, own = dict(known["model"]["hashes"]), run.hashes()
    except (TypeError, KeyError, ValueError):
        return _other(folder)
    changed = sorted(name for name in theirs.keys() | own.keys() if theirs.get(name) != own.get(name))
    why = f"another model or an earlier state of it ({', '.join(changed)} differ)" if changed else "other options"
    return HilumError("HIL-CORE-03", f"{folder} holds results of {why}", "Choose another --out")


def _other(folder: Path) -> HilumError:
    return HilumError(
        "HIL-CORE-03",
        f"{folder} exists and is not an empty folder",
        "Choose another --out, or repeat the same call",
    )


def left(record: dict[str, Any], cases: Sequence[Case], folder: Path) -> dict[str, str]:
    """{case: its `stamp`} of those that have no result yet, or whose files are gone.

    What another version of Hilum computed stays, with a warning: this one may give other results.

    Errors: HIL-CORE-03 where a result was made of other files than the case of its name has now.
    """
    found = {}
    for case in cases:
        done, now = record["done"].get(case.id), stamp(case)
        # in older folders labels are among what a result was made of
        if done is not None and done["inputs"] != now and done["inputs"] != stamp(case, labels=True):
            raise HilumError(
                "HIL-CORE-03", f"{folder} holds a result of another {case.id}: its files differ, or have changed since",
                "Choose another --out",
            )  # fmt: skip
        if done is None or not all((folder / name).is_file() for name in done["files"]):
            found[case.id] = now
    versions = [row["hilum"] for row in record["done"].values() if row.get("hilum", __version__) != __version__]
    if versions:
        log.warning(
            "%d results in %s are of Hilum %s, and this is %s: give another --out to have all of them alike",
            len(versions), folder, ", ".join(sorted(set(versions))), __version__,
        )  # fmt: skip
    return found


def stamp(case: Case, labels: bool = False) -> str:
    """What tells whether a case is still made of the same files: a hash of their paths, sizes and times of change.

    labels: those too, which no prediction reads: one that is drawn or corrected changes no result.
    """
    seen = []
    for role, item in sorted(case.items.items()):
        if not labels and role.partition("@")[0].endswith("label"):
            continue
        for file in getattr(item, "files", ()):
            about = file.stat() if file.exists() else None
            seen.append([role, str(file.resolve()), about and [about.st_size, about.st_mtime_ns]])
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def unopened(
    record: dict[str, Any],
    named: Sequence[str],
    cases: Sequence[Case],
    lost: Sequence[tuple[str, HilumError]],
    folder: Path,
) -> None:
    """Keep which inputs could not be opened, and forget it of those that were named again, or found in a folder.

    A row has "input" then, its whole path, for the next call may name it otherwise or from another folder: what a file
    is called says nothing of cases, one of which may have that name.
    """
    # files are looked up only where a row may be one of them
    found = _read_from(cases) if any("input" in f for f in record["failed"]) else ()
    again = {_text(os.path.abspath(place)) for place in (*named, *found)}
    kept = [f for f in record["failed"] if "input" not in f or os.path.abspath(f["input"]) not in again]
    places = [(_text(os.path.abspath(name)), error) for name, error in lost]
    rows = [{"case": place, "input": place, "code": error.code, "why": _text(str(error))} for place, error in places]
    if kept + rows != record["failed"]:
        record["failed"] = kept + rows
        write_json(folder / NAME, record)


def _read_from(cases: Sequence[Case]) -> Iterator[Path]:
    """What cases are made of: files, and of a DICOM series its folder too."""
    for item in (item for case in cases for item in case.items.values()):
        yield from getattr(item, "files", ())
        if hasattr(item, "path"):
            yield item.path


def _text(words: str) -> str:
    """Words that can be written down, whatever bytes a path in them has."""
    return words.encode("utf-8", "backslashreplace").decode("utf-8")


def noted(record: dict[str, Any], name: str, inputs: str, outcome: Any, folder: Path) -> None:
    """Keep what became of a case, on disk too.

    inputs: its `stamp` before it was read. outcome: what is kept of its result, or the HilumError that cost it.
    """
    record["failed"] = [f for f in record["failed"] if f["case"] != name or "input" in f]
    # one whose files were gone is no longer there
    record["done"].pop(name, None)
    if isinstance(outcome, HilumError):
        record["failed"].append({"case": name, "code": outcome.code, "why": _text(str(outcome))})
    else:
        record["done"][name] = {"inputs": inputs, "hilum": __version__} | outcome
    # indented it takes the slow encoder, of all cases anew for each
    write_text(folder / NAME, json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")


def unlisted(record: dict[str, Any], folder: Path) -> None:
    """Name what lies in the folder and is in no row: a call that was killed had written it, and not yet its row."""
    known = {name for row in record["done"].values() for name in row["files"]}
    known |= {f"{sheet}.csv" for sheet in _lists.NAMES}
    others = [name for name in _held(folder) if name not in known]
    if others:
        log.warning(
            "%s holds %s, which no row of %s names: no result, or one of a call that was ended too early; predict its "
            "input again to have it listed", folder, _text(listed(others)), NAME,
        )  # fmt: skip
