"""Reading a DICOM series with every check on and a warm pool, beside SimpleITK: seconds and memory.

    [HILUM_DATA=...] .venv/bin/python benchmarks/reading/speed.py [--rounds 20]

Rounds alternate; medians and their ratio. Hilum: `hilum.io.open(FOLDER).read()`. SimpleITK as its users do it:
`GetGDCMSeriesFileNames`, `ImageSeriesReader.Execute`, `GetArrayViewFromImage`. Memory: the most that the program and
its decoding processes held beyond what they held before (proportional set size, sampled every few ms), over the bytes
of the pixels.
"""

import argparse
import os
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

SAMPLER = """
import sys, time
def held(pid):
    try:
        with open(f"/proc/{pid}/smaps_rollup") as stream:
            return next(int(line.split()[1]) for line in stream if line.startswith("Pss:"))
    except OSError:
        return 0
first = sum(map(held, sys.argv[1:])); most = first
print("ready", flush=True)
import threading
done = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), done.set()), daemon=True).start()
while not done.is_set():
    most = max(most, sum(map(held, sys.argv[1:]))); time.sleep(0.002)
print((most - first) * 1024)
"""


def volume(slices: int) -> Image:
    """A CT-like volume: air, a body, noise."""
    rng = np.random.default_rng(slices)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    body = np.where(x**2 + y**2 < 0.6, 40, -1000)[..., None]
    array = (body + rng.normal(0, 12, (512, 512, slices))).astype(np.int16)
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


def memory(read: Callable[[Path], Any], path: Path, pids: list[int]) -> int:
    """Bytes beyond the start that the processes held at most while reading."""
    words = [sys.executable, "-c", SAMPLER, *map(str, pids)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sampler:
        assert sampler.stdout is not None
        sampler.stdout.readline()
        kept = read(path)
        time.sleep(0.02)
        most, _ = sampler.communicate()
    del kept
    return int(most)


def row(name: str, path: Path, peer: Callable[[Path], Any], rounds: int) -> dict[str, Any]:
    """Medians over alternating rounds, and memory of one more round each."""
    pixels = hilum_series(path).nbytes
    peer(path)
    spent: dict[str, list[float]] = {"hilum": [], "peer": []}
    for _ in range(rounds):
        for who, read in (("hilum", hilum_series), ("peer", peer)):
            began = time.perf_counter()
            kept = read(path)
            spent[who].append(time.perf_counter() - began)
            del kept
    middle = {who: statistics.median(times) for who, times in spent.items()}
    own = [os.getpid(), *[w.process.pid for w in list(_workers.pool()._idle.queue)]]
    most = {"hilum": memory(hilum_series, path, own), "peer": memory(peer, path, [os.getpid()])}
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
    rounds = words.parse_args().rounds
    began, rows = time.monotonic(), []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for slices in (20, 200):
            dicom.write_series(folder / str(slices), volume(slices), {"Modality": "CT"})
            rows.append(
                row(f"DICOM, {slices} slices of 512 x 512, uncompressed", folder / str(slices), itk_series, rounds)
            )
        if "HILUM_DATA" in os.environ:
            real = Path(os.environ["HILUM_DATA"]) / "body_ct_dicom"
            rows.append(row("DICOM, 20 real CT slices, JPEG 2000", real, itk_series, rounds))
        for name in ("v.nii", "v.nii.gz"):
            nifti.write(folder / name, volume(200))
            rows.append(row(f"NIfTI {name[1:]}, 512 x 512 x 200", folder / name, itk_file, max(3, rounds // 4)))
    write(
        "reading_speed", "Speed and memory of reading", __doc__, rows,
        command=f"benchmarks/reading/speed.py --rounds {rounds}", seconds=time.monotonic() - began,
        notes=["Target: ratio at most 1.5, memory at most 1.3 times the pixels."],
    )  # fmt: skip


if __name__ == "__main__":
    main()
