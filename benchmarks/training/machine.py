"""What a measurement was made on: processors, versions, commit, and how busy the machine was meanwhile."""

import functools
import hashlib
import os
import platform
import resource
import shutil
import subprocess
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
PACKAGES = ("torch", "numpy", "scipy", "scikit-image", "scikit-learn", "monai")


def hardware() -> dict[str, Any]:
    """Processors by name and count, the instructions that decide the speed of a training, and a CUDA card by name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    known = next((line.split(":")[1].split() for line in lines if line.startswith("flags")), [])
    name = f"{len(names)} x {names[0]}" if names else platform.processor()
    from hilum.planning.machine import accelerator

    card = accelerator()
    found = {"processors": name, "flags": [flag for flag in FLAGS if flag in known]}
    return found if card is None else found | {"card": card["name"]}


def here() -> str:
    """This machine since it was started; another one, or the same started anew, has another word."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def commit() -> str:
    """The commit that is measured, "+" where the code was changed since."""
    if shutil.which("git") is None:
        return "unknown"
    git = ["git", "-C", str(REPOSITORY)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    # scripts of every folder sign their pages with this one
    code = [*git, "status", "--porcelain", "--", "hilum", "benchmarks/*.py", "benchmarks/datasets"]
    changed = subprocess.run(code, capture_output=True, text=True).stdout.strip()
    return f"{head}{'+' if changed else ''}" if head else "unknown"


@functools.cache
def code() -> str:
    """A hash of the code that decides a training, as it lies here when first asked."""
    digest = hashlib.sha256()
    for folder in ("hilum", "benchmarks/training", "benchmarks/datasets"):
        for path in sorted((REPOSITORY / folder).rglob("*")):
            if path.suffix in (".py", ".yaml"):
                digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Of Python and of the packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


class Watch:
    """How busy the machine is while something runs.

    with Watch() as watch: ...
    watch.facts  # seconds, load at the start and at most, and processors used by others on average
    """

    def __init__(self, every: float = 5.0) -> None:
        self.every = every
        self.facts: dict[str, float] = {}

    def __enter__(self) -> "Watch":
        self._began, self._busy, self._own = time.monotonic(), _busy(), _own()
        self._start = self._most = os.getloadavg()[0]
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(self.every):
            self._most = max(self._most, os.getloadavg()[0])

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        spent = time.monotonic() - self._began
        others = (_busy() - self._busy - (_own() - self._own)) / max(spent, 1e-9)
        self.facts = {
            "seconds": round(spent, 1), "load_start": round(self._start, 2), "load_most": round(self._most, 2),
            "others": round(max(0.0, others), 2),
        }  # fmt: skip


def _busy() -> float:
    """Processor seconds that the whole machine has worked since its start."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    user, nice, system, _, _, irq, soft, steal = map(int, words)
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    """Processor seconds of this process and of the ended ones that it started."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)
