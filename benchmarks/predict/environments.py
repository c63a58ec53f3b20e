"""The peers' own environments below benchmarks/cache: torch at the version of constraints.txt, no Hilum.

A runtime (onnxruntime, openvino) is installed beside a peer where constraints.txt pins it: then both sides can run it.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PEERS = {"monai": ("monai", "nibabel", "pillow"), "nnunetv2": ("nnunetv2",)}
RUNTIMES = ("onnxruntime", "openvino")
OWN = {"torchvision": "torchvision==0.28.0", "nnunetv2": "nnunetv2==2.8.1"}
# Not pinned in constraints.txt, as Hilum does not need them. An open range of torchvision would replace torch.


def python(peer: str, given: dict[str, Path] | None = None) -> Path:
    """Its interpreter; made on the first call. given: {peer: interpreter} that somebody made elsewhere."""
    if given and peer in given:
        return given[peer]
    pins = pinned()
    wanted = ["torch", "numpy", *PEERS[peer], *(name for name in RUNTIMES if name in pins)]
    key = hashlib.sha256(json.dumps([sys.version, sorted(pins.get(n, n) for n in wanted)]).encode()).hexdigest()[:8]
    folder = REPOSITORY / "benchmarks" / "cache" / f"peers-{peer}-{key}"
    if not (folder / "whole").is_file():
        print(f"making the environment of {peer}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        held = folder / "pins.txt"
        held.write_text("\n".join(pins.values()) + "\n", encoding="utf-8")
        install = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", "-c", str(held)]
        # torch first, or the resolver takes a newer one
        for some in (["torch"], wanted):
            subprocess.run([*install, *some], check=True)
        (folder / "whole").touch()
    return folder / "bin" / "python"


def pinned() -> dict[str, str]:
    """{package: "package==version"} of constraints.txt and of the peers."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").split()
    return {line.split("==")[0]: line for line in lines} | OWN


def versions(interpreter: Path) -> dict[str, str]:
    """Of the packages that decide a peer's speed, as installed there."""
    names = ("torch", "numpy", "monai", "nnunetv2", "nibabel", "SimpleITK", "scikit-image", *RUNTIMES)
    ask = (
        "import json, platform; from importlib.metadata import PackageNotFoundError, version\n"
        "found = {'python': platform.python_version()}\n"
        f"for name in {names!r}:\n"
        "    try:\n        found[name] = version(name)\n    except PackageNotFoundError:\n        pass\n"
        "print(json.dumps(found))"
    )
    done = subprocess.run([str(interpreter), "-c", ask], check=True, capture_output=True, text=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found
