"""20,000 seeded damaged files: what Hilum makes of them, beside the libraries that its users would call. The peers read
every tenth of each format's files, `hilum-same-files` are those. Aim: fewer accepted silently than by the libraries.

    .venv/bin/python benchmarks/reading/mutations.py [--files 20000] [--seed 1]

The peers get every tenth of each format's files, because they hang on some: they have 10 s for each, like Hilum.

A reader may refuse, warn, or accept silently. Counted: crashes of a decoding process, answers later than 10 s, errors
that are no HilumError, and the share accepted without a warning. Damage to pixels that no checksum covers can not be
told from an image, so that share is not to be 0; it is to be below what the libraries accept on such files. A peer has
warned where it raised a Python warning, told a log, or printed anything.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import mutate

from hilum.core.errors import HilumError
from hilum.evaluation.multiple import holm
from hilum.io import _workers
from hilum.io import open as open_path

SAME = "hilum-same-files"
# The reader's name for those of Hilum's files that peers read too.
PEERS = {
    ".nii": ["nibabel", "simpleitk"], ".nii.gz": ["nibabel", "simpleitk"], ".dcm": ["pydicom", "simpleitk"],
    ".png": ["pillow", "simpleitk"], ".jpg": ["pillow", "simpleitk"], ".tif": ["pillow", "simpleitk"],
    ".mha": ["simpleitk"], ".nrrd": ["simpleitk"],
}  # fmt: skip
LATE = 10.0
EVERY = 10
# Of each seed file, the peers read one damaged copy in so many.


def run(files: int, seed: int, folder: Path, peers: bool = True) -> dict[str, Any]:
    """Counts by format and reader, and every late, crashed or foreign case by its number."""
    kinds = [(path, path.read_bytes()) for path in mutate.seeds(folder / "seeds")]
    for path, _ in kinds:
        if (seen := _hilum(path)) != ("silent", ""):
            raise SystemExit(f"{path.name} is to be whole, but it is {seen}")
    counts: dict[str, Counter[str]] = {}
    odd: list[dict[str, Any]] = []
    alone: dict[str, list[int]] = {}
    beside = _beside() if peers else None
    for number in range(files):
        path, whole = kinds[number % len(kinds)]
        raw = mutate.damaged(whole, path.name, seed, number)
        if raw == whole:
            continue
        target = folder / f"x{path.name}"
        target.write_bytes(raw)
        end = ".nii.gz" if path.name.endswith(".gz") else path.suffix
        readers = {"hilum": _hilum}
        if beside and number // len(kinds) % EVERY == 0:
            readers |= {name: _peer(beside, name) for name in PEERS[end]}
        ours = ""
        for reader, read in readers.items():
            began = time.monotonic()
            outcome, detail = read(target)
            seconds = time.monotonic() - began
            counts.setdefault(f"{end} {reader}", Counter())[outcome] += 1
            if reader == "hilum":
                ours = outcome
            elif (ours == "silent") != (outcome == "silent"):
                alone.setdefault(f"{end} {reader}", [0, 0])[outcome == "silent"] += 1
            if reader == "hilum" and len(readers) > 1:
                # the files that the peers read too
                counts.setdefault(f"{end} {SAME}", Counter())[outcome] += 1
            if reader == "hilum" and (outcome in ("crashed", "foreign") or seconds > LATE):
                odd.append(
                    {"number": number, "seed file": path.name, "outcome": outcome, "seconds": seconds, "why": detail}
                )
    if beside:
        beside.close()
    counted = {k: dict(v) for k, v in counts.items()}
    return {"files": files, "seed": seed, "counts": counted, "odd": odd, "alone": alone}


def _hilum(path: Path) -> tuple[str, str]:
    try:
        found = open_path(path).read()
    except HilumError as error:
        if error.code == "HIL-D45":
            return ("late" if "within" in error.seen else "crashed"), error.seen
        # a sentence with a reason counts as one only where it is ours, not a library's passed on
        return ("refused by a library's words" if error.code == "HIL-IO-03" else "refused"), error.code
    except BaseException as error:
        return "foreign", repr(error)[:200]
    return ("warned" if found.warnings else "silent"), ""


def _beside() -> _workers.Pool:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    return _workers.Pool(1, seconds=LATE)


def _peer(pool: _workers.Pool, name: str) -> Any:
    def read(path: Path) -> tuple[str, str]:
        try:
            found = pool.decode("peers", name, path, {})
        except HilumError as error:
            if error.code == "HIL-D45":
                return ("late" if "within" in error.seen else "crashed"), error.seen
            return "refused", error.seen[:100]
        return ("warned" if "warned" in found else "silent"), ""

    return read


def shares(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per format and reader: share silent, warned, refused, and counts of crashes and late answers."""
    rows = []
    for key, counts in found["counts"].items():
        n = sum(counts.values())
        refused = counts.get("refused", 0) + counts.get("refused by a library's words", 0)
        row = {"format": key.split()[0], "reader": key.split()[1], "files": n, "silent": counts.get("silent", 0) / n}
        row |= {"warned": counts.get("warned", 0) / n, "refused": refused / n}
        rows.append(row | {word: counts.get(word, 0) for word in ("crashed", "late", "foreign")})
    return rows


def beyond(alone: dict[str, list[int]]) -> str:
    """Where one accepted silently more of the same files than the other, beyond chance.

    alone: by format and peer, files that Hilum alone accepted so, and that the peer alone did.
    """
    from scipy.stats import binomtest

    adjusted = holm([float(binomtest(ours, ours + theirs).pvalue) for ours, theirs in alone.values()])
    told: dict[bool, list[str]] = {True: [], False: []}
    for (key, (ours, theirs)), p in zip(alone.items(), adjusted, strict=True):
        if p is not None and p <= 0.05:
            end, reader = key.split()
            told[ours > theirs].append(f"{reader} on {end} ({ours} Hilum alone, {theirs} {reader} alone)")
    return (
        f"Of the same files, by the sign test (p at most 0.05 by Holm over {len(alone)} comparisons, the files taken "
        f"as independent), Hilum accepted more silently than {', '.join(told[True]) or 'none'}; fewer than "
        f"{', '.join(told[False]) or 'none'}. Elsewhere no difference is shown."
    )


def main() -> None:
    """Run, print, and leave the table in benchmarks/results."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--files", type=int, default=20_000)
    words.add_argument("--seed", type=int, default=1)
    asked = words.parse_args()
    from results import write

    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        found = run(asked.files, asked.seed, Path(folder))
    rows = shares(found)
    every = [r for r in rows if r["reader"] == "hilum"]
    crashed, late = sum(r["crashed"] for r in every), sum(r["late"] for r in every)
    foreign, own = sum(r["foreign"] for r in every), found["odd"]
    read = sum(r["files"] for r in every)
    same = f"{read:,} files ({asked.files - read:,} of {asked.files:,} came out unchanged)"
    silent = {(r["format"], r["reader"]): r["silent"] for r in rows}
    beside = [(*key, silent[key[0], SAME], share) for key, share in silent.items() if key[1] not in ("hilum", SAME)]
    missed = [f"{end} {reader} ({own:.3f} against {share:.3f})" for end, reader, own, share in beside if own > share]
    aim = f"More were accepted silently than by: {', '.join(missed) or 'none'}."
    note = f"Hilum on {same}: {crashed} crashes, {late} answers later than 10 s, {foreign} foreign errors."
    write(
        "reading_mutations", "Damaged files", __doc__, rows, notes=[note, aim, beyond(found["alone"])],
        facts={"odd": own, "counts": found["counts"], "alone": found["alone"]},
        command=f"benchmarks/reading/mutations.py --files {asked.files} --seed {asked.seed}",
        seconds=time.monotonic() - began,
    )  # fmt: skip


if __name__ == "__main__":
    main()
