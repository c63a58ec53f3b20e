"""A run folder or a bundle, opened alike: plan, weights, split, fingerprint, hashes and the append-only ledger."""

import contextlib
import csv
import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hilum.core import _members, _signed
from hilum.core.atomic import _sync, json_text, sha256, write_all, write_text
from hilum.core.calibration import Calibration
from hilum.core.errors import HilumError
from hilum.core.lock import waiting
from hilum.core.plan import Plan, checked
from hilum.core.system import NAME as SYSTEM
from hilum.core.system import SystemPlan

HASHED = (
    "plan.json",
    "system.json",
    "split.csv",
    "fingerprint.json",
    "anatomy.json",
    "card.json",
    "golden.safetensors",
    "features.safetensors",
    "calibration.json",
    "outlier.safetensors",
    "seen.json",
    "log.csv",
    "start.json",
)
# Files besides weights/ that a finished run is held to; the ledger chains its own hashes.
HELD = re.compile(r"(weights|graphs)/|parts/[^/]+/manifest\.json\Z")
# The same; of a system the manifests of its networks, so that it answers for all their files.
FORMAT = 1
# Newest form of a plan and a card that is read here.
UNLISTED = ("manifest.json", _signed.NAME)
# What the manifest of a bundle can not list: itself, and the signature over it.


class Run:
    """Reads plan.json, split.csv, weights/<role>.safetensors, ... from a folder or from a .hilum file (zip)."""

    def __init__(self, path: Path, within: str = "") -> None:
        self.path, self._within = Path(path), within
        self._zip: zipfile.ZipFile | None = None
        self._whole: Run | None = None
        self._measured: tuple[tuple[int, ...], dict[str, str]] | None = None
        if not self.path.exists():
            raise HilumError("HIL-RUN-01", f"There is no run or bundle at {path}", "Check the path")
        if self.path.is_file():
            try:
                self._zip = _members.admitted(self.path)
            except (zipfile.BadZipFile, OSError, NotImplementedError, UnicodeDecodeError) as error:
                raise HilumError(
                    "HIL-RUN-02", f"{path} is not a Hilum bundle ({error})", "Give a run folder or a .hilum file"
                ) from error
        if "plan.json" not in self.names():
            raise HilumError(
                "HIL-RUN-02", f"{path} is not a run: it has no plan.json",
                "Give the folder that `hilum train --out` wrote, or a .hilum file",
            )  # fmt: skip

    @property
    def is_bundle(self) -> bool:
        """True for a .hilum file."""
        return self._zip is not None

    def names(self) -> list[str]:
        """All file names, with forward slashes; of a folder without hidden ones (`_hidden`)."""
        if self._zip is not None:
            return [n.removeprefix(self._within) for n in self._zip.namelist() if n.startswith(self._within)]
        names = (p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file())
        return sorted(name for name in names if not _hidden(name))

    def read(self, name: str) -> bytes:
        """One file's bytes."""
        if self._zip is None:
            path = self.path / name
            if not path.is_file():
                raise HilumError("HIL-RUN-03", f"{self.path} lacks {name}", "Finish the training or copy it again")
            return path.read_bytes()
        try:
            return _members.read(self._zip, self._within + name, self.path)
        except KeyError as error:
            raise HilumError("HIL-RUN-03", f"{self.path} lacks {name}", "Export the bundle again") from error

    def has(self, name: str) -> bool:
        """Whether the file exists."""
        return name in self.names() if self.is_bundle else (self.path / name).is_file()

    def json(self, name: str) -> Any:
        """One JSON object."""
        try:
            value = json.loads(self.read(name))
        except (ValueError, RecursionError) as error:
            raise HilumError("HIL-M05", f"{name} in {self.path} is not JSON ({error})", "Copy it again") from error
        if not isinstance(value, dict):
            raise HilumError("HIL-M05", f"{name} in {self.path} is not a JSON object", "Copy it again")
        return value

    @property
    def plan(self) -> Plan:
        """The plan, checked."""
        return Plan.parse(self.read("plan.json").decode("utf-8", errors="replace"), f"{self.path}/plan.json")

    @property
    def terms_of_data(self) -> str | None:
        """What its own data ask for; None where that of weights it began with has joined in and nothing tells them."""
        if self.is_bundle:
            told = self.json("card.json").get("terms_of_data") if self.has("card.json") else None
        else:
            facts = self.json("fingerprint.json") if self.has("fingerprint.json") else {}
            told = facts.get("settings", {}).get("terms")
        plan = self.plan
        if told is None and not plan.learning.get("start"):
            told = plan.data.get("terms")
        return None if told is None else str(told)

    @property
    def system(self) -> SystemPlan | None:
        """The groups of classes, where several networks share them; None of one network."""
        if not self.has(SYSTEM):
            return None
        return checked(SystemPlan, self.json(SYSTEM), f"{self.path}/{SYSTEM}")

    def part(self, name: str) -> "Run":
        """One network of a system, a run of its own; the manifest of the system follows its manifest."""
        if self._zip is not None:
            return Run(self.path, f"{self._within}parts/{name}/")
        part = Run(self.path / "parts" / name)
        part._whole = self
        return part

    @property
    def system_folder(self) -> Path | None:
        """The folder of the system that this run folder is one network of; None of a run by itself."""
        within = self.path / ".." / ".."
        if self.is_bundle or self.path.resolve().parent.name != "parts" or not (within / SYSTEM).is_file():
            return None
        return self.path.parent.parent if self.path.parent.name == "parts" else within.resolve()

    def check_one(self) -> None:
        """Refuse a system where the weights of one network are wanted (HIL-RUN-03)."""
        if self.has(SYSTEM):
            place = "of the run that it was made from: RUN" if self.is_bundle else f"of these: {self.path}"
            raise HilumError(
                "HIL-RUN-03", f"{self.path} is a system, whose weights lie with its networks",
                f"Give one {place}/parts/NAME",
            )  # fmt: skip

    def weights(self, role: str) -> dict[str, Any]:
        """{name: tensor} of one network, from safetensors: tensors only, nothing in it can run."""
        from safetensors import SafetensorError
        from safetensors.torch import load

        self.check_one()
        content = self.read(f"weights/{role}.safetensors")
        try:
            tensors: dict[str, Any] = load(content)
        except (SafetensorError, KeyError) as error:
            # KeyError: a type of numbers that torch does not have
            raise HilumError(
                "HIL-M04", f"The weights of {role!r} in {self.path} are damaged ({error})", "Copy again"
            ) from error
        if twice := _members.twice(content):
            seen = f"The weights of {role!r} in {self.path} hold {twice[0]!r} twice"
            raise HilumError("HIL-M04", seen, "Use the original files")
        return tensors

    def arrays(self, name: str) -> dict[str, Any]:
        """{name: array} of one safetensors file; damaged ones are refused (HIL-M05)."""
        from safetensors import SafetensorError
        from safetensors.numpy import load

        content = self.read(name)
        try:
            found: dict[str, Any] = load(content)
        except (SafetensorError, KeyError) as error:
            raise HilumError("HIL-M05", f"{name} in {self.path} is damaged ({error})", "Copy it again") from error
        if twice := _members.twice(content):
            raise HilumError("HIL-M05", f"{name} in {self.path} holds {twice[0]!r} twice", "Use the original files")
        return found

    @property
    def calibration(self) -> Calibration | None:
        """What the run learned about its own answers; None where it has learned nothing."""
        if not self.has("calibration.json"):
            return None
        return checked(Calibration, self.json("calibration.json"), f"{self.path}/calibration.json")

    def split(self) -> list[dict[str, str]]:
        """Rows of split.csv: case, group, part (and fixed, moving for pairs)."""
        return list(csv.DictReader(io.StringIO(self.read("split.csv").decode("utf-8"))))

    def hashes(self) -> dict[str, str]:
        """SHA-256 of every hashed file, measured now; in a bundle that is every file but UNLISTED.

        Of a bundle it is measured once, and again where the file has changed since.
        """
        if self._zip is not None:
            about = self.path.stat()
            state = (about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)
            if self._measured is None or self._measured[0] != state:
                wanted = sorted({n for n in self.names() if n not in UNLISTED})
                found = {n: _members.digest(self._zip, self._within + n, self.path) for n in wanted}
                self._measured = state, found
            return dict(self._measured[1])
        wanted = sorted(n for n in self.names() if n in HASHED or HELD.match(n))
        return {name: sha256(self.path / name) for name in wanted}

    def differing(self) -> list[str]:
        """Names of files that are not as manifest.json has them; a run without one is refused (HIL-M05)."""
        if not self.has("manifest.json"):
            raise HilumError("HIL-M05", f"{self.path} has no manifest.json", "The training did not finish: resume it")
        manifest = {n: h for n, h in self.json("manifest.json").items() if self.is_bundle or not _hidden(n)}
        seen = self.hashes()
        # of two members of one name a reader may see the other one; so of the manifest, which does not list itself
        twice = {n for n, count in Counter(self.names()).items() if count > 1}
        return sorted(twice | {n for n in manifest.keys() | seen.keys() if manifest.get(n) != seen.get(n)})

    def check_hashes(self) -> None:
        """Refuse when any file differs from manifest.json (HIL-M05), or when a newer Hilum wrote it (HIL-M09).

        So is a bundle that was changed after it was signed (HIL-M05), where the package that tells it is installed.
        """
        self.check_form()
        wrong = self.differing()
        if wrong:
            raise HilumError("HIL-M05", f"{self.path} differs from its manifest in {', '.join(wrong)}", "Copy it again")
        if self.is_bundle and self.has(_signed.NAME):
            _signed.check(self.read(_signed.NAME), self.read("manifest.json"), self.path)

    def check_form(self) -> None:
        """Refuse a plan or a card of another form than are known here, which this Hilum would misread (HIL-M09)."""
        for name in ("plan.json", "card.json"):
            found = self.json(name).get("format", FORMAT) if self.has(name) else FORMAT
            # "2", 2.0 and true are no forms that any Hilum wrote
            if type(found) is not int or not 1 <= found <= FORMAT:
                raise HilumError(
                    "HIL-M09", f"{name} of {self.path} has the form {found!r}, this Hilum reads {FORMAT}",
                    "Use it with the newer Hilum that wrote it, or have it written anew by this one",
                )  # fmt: skip

    def write_manifest(self) -> None:
        """Write manifest.json for a run folder."""
        self.put({})

    def put(self, files: Mapping[str, bytes]) -> None:
        """Write these files into a run folder, and its manifest anew; of a `part`, that of its system as well.

        A disk that is full changes nothing. Cut off on the way, the run is `resumable` by whoever writes them again.
        """
        new = {n: hashlib.sha256(b).hexdigest() for n, b in files.items() if n in HASHED or HELD.match(n)}
        manifest = json_text(dict(sorted((self.hashes() | new).items()))).encode()
        wanted = {self.path / name: content for name, content in files.items()}
        if self._whole is not None and self._whole.has("manifest.json"):
            known = self._whole.json("manifest.json") | {self._place: hashlib.sha256(manifest).hexdigest()}
            # before the part's own: that one can be made again from the files, and must then be as is said here
            wanted[self._whole.path / "manifest.json"] = json_text(known).encode()
        write_all(wanted | {self.path / "manifest.json": manifest})

    def resumable(self, own: re.Pattern[str]) -> bool:
        """Whether writing files of these names was cut off and nothing else differs, so that they can be made anew."""
        wrong = self.differing()
        if not wrong or not all(own.fullmatch(name) for name in wrong):
            return False
        if self._whole is None:
            return True
        made = (self.read("manifest.json"), json_text(self.hashes()).encode())
        said = self._whole.json("manifest.json").get(self._place)
        return said in [hashlib.sha256(one).hexdigest() for one in made]

    @property
    def _place(self) -> str:
        return f"parts/{self.path.name}/manifest.json"

    def learned_from(self) -> set[str]:
        """Hashes of the images that it, or what it began with, was trained or chosen on."""
        seen: dict[str, str] = self.json("seen.json") if self.has("seen.json") else {}
        return {image for image, part in seen.items() if part in ("train", "val")}

    def ledger(self) -> list[dict[str, Any]]:
        """The events so far, oldest first; a broken chain is refused (HIL-RUN-04)."""
        if not self.has("ledger.jsonl"):
            return []
        before, events = "", []
        for number, line in enumerate(_lines(self.read("ledger.jsonl").decode("utf-8", errors="replace")), 1):
            try:
                event = json.loads(line)
            except ValueError:
                event = None
            if not isinstance(event, dict) or event.get("before") != before:
                raise HilumError(
                    "HIL-RUN-04", f"Line {number} of {self.path}/ledger.jsonl was changed", "Do not trust it"
                )
            before = hashlib.sha256(line.encode("utf-8")).hexdigest()
            events.append(event)
        return events

    def record(self, event: str, facts: Mapping[str, Any]) -> None:
        """Append one event to the ledger of a run folder; each line holds the hash of the line before."""
        path = self.path / "ledger.jsonl"
        # two that end together: the second one must see the line of the first
        with waiting(self.path):
            when = datetime.now(UTC).isoformat(timespec="seconds")
            lines = _lines(path.read_text(encoding="utf-8")) if path.is_file() else []
            before = hashlib.sha256(lines[-1].encode("utf-8")).hexdigest() if lines else ""
            row = {"event": event, "when": when, **facts, "before": before}
            # written anew and not appended to: a disk that is full, or power that goes, must not leave half a line
            lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False))
            write_text(path, "".join(f"{line}\n" for line in lines))


def _hidden(name: str) -> bool:
    """Whether a file is none of a run's: half written by a killed process, a lock, or put there by who looked at it.

    Finder of macOS writes .DS_Store and ._NAME into folders that are opened, and NFS .nfs of what was removed.
    """
    return any(part.startswith(".") for part in name.split("/"))


def _lines(text: str) -> list[str]:
    """Of a file with a line an event. Not `splitlines`, which cuts inside a name that holds a separator of Unicode."""
    return [line.removesuffix("\r") for line in text.removesuffix("\n").split("\n")] if text else []


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV atomically; columns in order of first appearance."""
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())


def new_folder(path: Path) -> Path:
    """A folder to write into: made when missing; refused when it holds something (HIL-CORE-03)."""
    path = free_folder(path)
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        # what lies in it is lost with its name, should the power go; some let folders be made where none can be listed
        with contextlib.suppress(PermissionError):
            _sync(folder.parent)
    return path


def free_folder(path: Path) -> Path:
    """The path, refused when something is there other than an empty folder (HIL-CORE-03). Makes nothing."""
    path = Path(path)
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise HilumError("HIL-CORE-03", f"{path} exists and is not an empty folder", "Choose another --out or empty it")
    return path
