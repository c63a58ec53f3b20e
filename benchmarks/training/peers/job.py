"""What a peer is given and what it leaves. A job is a JSON file that names cases; results are one .npz a case.

The labels and classes of the test part are not in the job, so that no peer learns from them.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


class Job:
    """cases: {"case", "group", "part", "image", and, but for the test part, "label" and "class"}."""

    def __init__(self) -> None:
        # importing is counted for nobody: the clock of Hilum's budget starts after it too
        self.began = time.monotonic()
        self.facts: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
        self.cases: list[dict[str, Any]] = self.facts["cases"]
        self.settings: dict[str, Any] = self.facts["settings"]
        self.classes: list[Any] = self.facts["classes"]
        # names of classes where whole pictures have one, else values in the labels
        self.seed: int = self.facts["seed"]
        self.out = Path(self.facts["out"])

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.monotonic() - self.began

    @property
    def budget(self) -> float:
        """Seconds from the start to the weights."""
        return float(self.facts["minutes"]) * 60

    def part(self, *names: str) -> list[dict[str, Any]]:
        """Cases of these parts."""
        return [case for case in self.cases if case["part"] in names]

    def write(self, system: str, case: dict[str, Any], **arrays: Any) -> None:
        """A result of one case: mask (*space) of stored values, or score (*space) or (K,)."""
        folder = self.out / system.replace(" ", "_")
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / f"{self.cases.index(case):05d}.npz", **arrays)

    def finish(self, **facts: Any) -> None:
        """Leave facts.json, last: where it lies the job is done."""
        part = self.out / "facts.part"
        part.write_text(json.dumps(facts | {"seconds": round(self.seconds, 1)}, indent=1))
        os.replace(part, self.out / "facts.json")


def picture(path: str) -> np.ndarray[Any, np.dtype[Any]]:
    """A PNG or JPEG as (rows, columns) or (rows, columns, 3), values as stored."""
    from PIL import Image

    with Image.open(path) as opened:
        return np.asarray(opened)


def grey(array: np.ndarray[Any, np.dtype[Any]]) -> np.ndarray[Any, np.dtype[Any]]:
    """(rows, columns) float64, 0..1 for 8-bit pictures."""
    array = array[..., :3].mean(axis=-1) if array.ndim == 3 else array.astype(np.float64)
    return np.asarray(array / 255)


def dice(mask: np.ndarray[Any, np.dtype[Any]], truth: np.ndarray[Any, np.dtype[Any]]) -> float:
    """Overlap of two bool masks, for a peer's own choices."""
    return float(2 * (mask & truth).sum() / max(1, int(mask.sum()) + int(truth.sum())))
