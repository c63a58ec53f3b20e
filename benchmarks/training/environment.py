"""The peers' own environment below benchmarks/cache: MONAI and torch at the versions of constraints.txt, no Hilum."""

import hashlib
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("torch", "monai", "numpy", "nibabel")


def python() -> Path:
    """Its interpreter; made on the first call."""
    pinned = (REPOSITORY / "constraints.txt").read_text().splitlines()
    wanted = sorted(line for line in pinned if line.split("==")[0] in PACKAGES)
    key = hashlib.sha256("\n".join([sys.version, *wanted]).encode()).hexdigest()[:8]
    folder = REPOSITORY / "benchmarks" / "cache" / f"peers-{key}"
    if not (folder / "whole").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        install = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-c", str(REPOSITORY / "constraints.txt"), *PACKAGES], check=True)
        (folder / "whole").touch()
    return folder / "bin" / "python"
