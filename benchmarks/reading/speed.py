"""Reading a DICOM series with every check on and a warm pool, beside SimpleITK: seconds and memory.

    [HILUM_DATA=...] .venv/bin/python benchmarks/reading/speed.py [--rounds 20]

Rounds alternate; medians and their ratio. Hilum: `hilum.io.open(FOLDER).read()`. SimpleITK as its users do it:
`GetGDCMSeriesFileNames`, `ImageSeriesReader.Execute`, `GetArrayViewFromImage`. Memory: the most that the program and
its decoding processes held beyond what they held before (proportional set size, sampled every few ms) when they read
the series for the first time, over the bytes of the pixels.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

sys.path.insert(0, str(Path(__file__).parent))
from results import write

from hilum.core.image import Image
from hilum.io import _workers, dicom, nifti
from hilum.io import open as open_path


def held(pids: list[int]) -> int:
    """Bytes that the processes hold, shared pages counted by share."""
    total = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) << 10
    return total


def volume(slices: int) -> Image:
    """A CT-like volume: air, a body, noise."""
    rng = np.random.default_rng(slices)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where(x**2 + y**2 < 0.6, 40, -1000)[..., None]
    array = np.maximum(body + rng.normal(0, 12, (512, 512, slices)), -1024).astype(np.int16)
    affine = np.array([[-0.8, 0, 0, 200], [0, -0.8, 0, 200], [0, 0, 1.5, -100], [0, 0, 0, 1.0]])
    return Image(array[None], affine, meta={})


def hilum_series(path: Path) -> Any:
    """As a user of Hilum reads."""
    return open_path(path).read().array


def itk_series(path: Path) -> Any:
    """As a user of SimpleITK reads."""
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
    image = reader.Execute()
    return SimpleITK.GetArrayViewFromImage(image), image


def itk_file(path: Path) -> Any:
    """As a user of SimpleITK reads one file."""
    image = SimpleITK.ReadImage(str(path))
    return SimpleITK.GetArrayViewFromImage(image), image


def memory(reader: str, path: Path, tiny: Path) -> int:
    """Bytes beyond the start that a fresh process and its helpers held at most while reading `path` for the first time.

    Before the start it has read a tiny file of the same kind, so that libraries are loaded.
    """
    words = [sys.executable, __file__, "--reader", reader, str(path), str(tiny)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None
        pids = [child.pid, *map(int, child.stdout.readline().split())]
        first = most = held(pids)
        child.stdin.write("\n")
        child.stdin.flush()
        os.set_blocking(child.stdout.fileno(), False)
        while not child.stdout.readline():
            most = max(most, held(pids))
        most = max(most, held(pids))
        child.stdin.close()
    return most - first


def read_once(reader: str, path: Path, tiny: Path) -> None:
    """The child's side of `memory`."""
    read = READERS[reader]
    kept = read(tiny)
    print(*([w.process.pid for w in list(_workers.pool()._idle.queue) if w] if reader == "hilum" else []), flush=True)
    sys.stdin.readline()
    kept = read(path)
    print("done", flush=True)
    sys.stdin.read()
    del kept


RATIO, MOST, MEMORY = 1.5, 1.3, "hilum memory / pixels"
READERS: dict[str, Callable[[Path], Any]] = {"hilum": hilum_series, "series": itk_series, "file": itk_file}


def row(name: str, path: Path, tiny: Path, peer: str, rounds: int) -> dict[str, Any]:
    """Medians over alternating rounds, and memory of a first reading."""
    pixels = hilum_series(path).nbytes
    READERS[peer](path)
    spent: dict[str, list[float]] = {"hilum": [], "peer": []}
    for _ in range(rounds):
        for who, read in (("hilum", hilum_series), ("peer", READERS[peer])):
            began = time.perf_counter()
            kept = read(path)
            spent[who].append(time.perf_counter() - began)
            del kept
    middle = {who: statistics.median(times) for who, times in spent.items()}
    most = {"hilum": memory("hilum", path, tiny), "peer": memory(peer, path, tiny)}
    return {
        "what": name, "pixels MB": round(pixels / 1e6, 1), "hilum s": round(middle["hilum"], 4),
        "SimpleITK s": round(middle["peer"], 4), "ratio": round(middle["hilum"] / middle["peer"], 2),
        "hilum memory / pixels": round(most["hilum"] / pixels, 2),
        "SimpleITK memory / pixels": round(most["peer"] / pixels, 2),
    }  # fmt: skip


def main() -> None:
    """Write the series, time, and leave the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=20)
    words.add_argument("--reader", nargs=3, help=argparse.SUPPRESS)
    asked = words.parse_args()
    if asked.reader:
        return read_once(asked.reader[0], Path(asked.reader[1]), Path(asked.reader[2]))
    rounds, began, rows = asked.rounds, time.monotonic(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        tiny = Image(np.zeros((1, 8, 8, 4), np.int16), np.eye(4))
        dicom.write_series(folder / "tiny", tiny, {"Modality": "CT"})
        for slices in (20, 200):
            dicom.write_series(folder / str(slices), volume(slices), {"Modality": "CT"})
            name = f"DICOM, {slices} slices of 512 x 512, uncompressed"
            rows.append(row(name, folder / str(slices), folder / "tiny", "series", rounds))
        if "HILUM_DATA" in os.environ:
            real = Path(os.environ["HILUM_DATA"]) / "body_ct_dicom"
            (folder / "one").mkdir()
            shutil.copy(sorted(real.iterdir())[0], folder / "one")
            rows.append(row("DICOM, 20 real CT slices, JPEG 2000", real, folder / "one", "series", rounds))
        for name in ("v.nii", "v.nii.gz"):
            nifti.write(folder / name, volume(200))
            nifti.write(folder / f"tiny-{name}", tiny)
            what = f"NIfTI {name[1:]}, 512 x 512 x 200"
            rows.append(row(what, folder / name, folder / f"tiny-{name}", "file", max(3, rounds // 4)))
    missed = [f"{r['what']} (ratio {r['ratio']:g})" for r in rows if r["ratio"] > RATIO]
    missed += [f"{r['what']} (memory {r[MEMORY]:g})" for r in rows if r[MEMORY] > MOST]
    write(
        "reading_speed", "Speed and memory of reading", __doc__, rows,
        command=f"benchmarks/reading/speed.py --rounds {rounds}", seconds=time.monotonic() - began,
        notes=[
            f"Target: ratio at most {RATIO}, memory at most {MOST} times the pixels. "
            + (f"Not met: {'; '.join(missed)}." if missed else "Met.")
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
