"""Of the control scene: do the peers' labels follow from the same network and windows by their weights of a window?

    .venv/bin/python benchmarks/predict/control.py       # after figures.py --only "as it lies"

MONAI raises weights below 0.001 of the highest to that; nnU-Net's lie half a voxel aside and are a filtered point.
Where these alone are taken, in a plain loop over the windows, the labels should be theirs. Adds "by their weights", the
share of equal voxels, to the scene's cell, and writes the page again.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pages
import torch
import weights
from figures import place
from scenes import SCENES

from hilum.core.image import Array
from hilum.prepare.patches import window_starts

LOWEST = 1e-3
# Of MONAI's sliding_window_inference.


def gaussian(shape: Sequence[int]) -> Array:
    """Hilum's weights of a window: the highest in its middle, sigma an eighth of the side."""
    lines = [np.exp(-((np.arange(n) - (n - 1) / 2) ** 2) / (2 * (n / 8) ** 2)) for n in shape]
    found: Array = np.prod(np.meshgrid(*lines, indexing="ij"), axis=0)
    return found


def filtered(shape: Sequence[int]) -> Array:
    """nnU-Net's: a point at the middle voxel, filtered; where nothing arrives the least that does."""
    from scipy.ndimage import gaussian_filter

    point = np.zeros(shape, dtype=np.float32)
    point[tuple(n // 2 for n in shape)] = 1
    found: Array = gaussian_filter(point, [n / 8 for n in shape], mode="constant")
    found[found == 0] = found[found != 0].min()
    return found


def labels(net: Any, image: Array, patch: Sequence[int], step: float, weight: Array, values: Array) -> Array:
    """(*space,) stored values: scores of all windows, weighed, and their largest."""
    total: Array | None = None
    lines = [window_starts(n, p, step) for n, p in zip(image.shape, patch, strict=True)]
    with torch.inference_mode():
        for start in itertools.product(*lines):
            part = tuple(slice(s, s + p) for s, p in zip(start, patch, strict=True))
            scores = net(torch.from_numpy(image[part][None, None]))[0].numpy() * weight.astype(np.float32)
            total = np.zeros((len(scores), *image.shape), np.float32) if total is None else total
            total[(slice(None), *part)] += scores
    assert total is not None
    return values[total.argmax(0)]


def stored(work: Path, system: str) -> Array:
    """The labels that a system wrote."""
    import nibabel

    file = next((work / f"{system}-0" / "out").rglob("*.nii.gz"))
    return np.asarray(nibabel.load(file).dataobj).astype(np.int64)  # type: ignore[attr-defined]


def main() -> None:
    """Measure, and write the cell and the page again."""
    import nibabel

    scene = next(s for s in SCENES if s.group == "control")
    work, path = weights.CACHE / scene.file, place(weights.BENCHMARKS / "results", scene)
    plan = json.loads((work / "run" / "plan.json").read_text())
    rule, step = plan["normalisation"][0], 1 - plan["options"]["overlap"]
    values = np.array(json.loads((work / "model" / "settings.json").read_text())["values"])
    image: Any = nibabel.load(json.loads((work / "images.json").read_text())["images"][0])  # type: ignore[attr-defined]
    grey = np.clip(np.asarray(image.dataobj, dtype=np.float32), rule["low"], rule["high"])
    ready = ((grey - rule["mean"]) / rule["std"]).astype(np.float32)
    net, own = torch.jit.load(work / "model" / "net.ts").eval(), gaussian(plan["patch"])
    found = {
        "hilum": (own, stored(work, "hilum_torch")),
        "MONAI": (np.maximum(own, LOWEST), values[stored(work, "MONAI_torch")]),
        "nnU-Net": (filtered(plan["patch"]), values[stored(work, "nnU-Net_sequential")]),
    }
    cell = json.loads(path.read_text())
    cell["by their weights"] = {
        name: float((labels(net, ready, plan["patch"], step, weight, values) == theirs).mean())
        for name, (weight, theirs) in found.items()
    }
    path.write_text(json.dumps(cell, indent=1) + "\n")
    pages.write(path.parents[1], False)
    print(cell["by their weights"])


if __name__ == "__main__":
    main()
