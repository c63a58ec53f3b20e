"""The checks of whole data sets on real images: copies, labels that lie elsewhere, images that lie turned.

    HILUM_DATA=... .venv/bin/python benchmarks/reading/checks.py

Copies (HIL-T09): images of each set that are another one once more. Labels (HIL-N17): false alarms on labels as they
are, and how often labels that were all mirrored left-right are noticed, over 50 random subsets of 20 cases. Turned
images (HIL-M08): a profile learned on a random 70 % of the cases, the others asked as they are and under each of the 47
other flips and exchanges of axes, five times. Thresholds were chosen on these same sets: the figures say how the checks
behave there, not how they will on others. Random subsets overlap, so that their counts are not independent.
"""

import hashlib
import os
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from results import write

from hilum.data import likeness, placement
from hilum.data.dataset import open_dataset
from hilum.data.groups import joined, looks
from hilum.prepare import anatomy

COPIES = ("brain_tumour_mri", "breast_ultrasound", "chest_xray", "head_ct_haemorrhage", "nuclei", "hippocampus_mri")
LABELLED = ("hippocampus_mri", "nuclei", "dermoscopy", "retina_vessels", "em_membranes")
SUBSETS, SIZE, SPLITS = 50, 20, 5


def copies(root: Path, name: str) -> dict[str, Any]:
    """Pairs and groups of one set, and the seconds that it took to read and compare."""
    began = time.monotonic()
    dataset = open_dataset(root / name)
    seen = looks(dataset)
    names = list(seen)
    pairs = likeness.alike([seen[n] for n in names])
    groups = Counter(joined([(p.first, p.second) for p in pairs], names))
    files = Counter(hashlib.sha256(c.items["image"].path.read_bytes()).digest() for c in dataset.cases)
    facts = {"check": "copies", "data": name, "images": len(names), "same file": sum(n - 1 for n in files.values())}
    facts["pairs of the same pixels"] = sum(p.how == "the same pixels" for p in pairs)
    facts |= {"pairs in all": len(pairs), "groups": len(groups), "largest group": max(groups.values())}
    return facts | {"seconds": round(time.monotonic() - began, 1)}


def labels(root: Path, name: str, rng: np.random.Generator) -> dict[str, Any]:
    """False alarms and detections of one set."""
    dataset = open_dataset(root / name)
    right, mirrored = [], []
    for case in dataset.cases:
        image, label = case.read("image"), case.items["label"].read_labels()
        axis = -1 if image.dims == 2 else 1
        other = replace(label, array=np.ascontiguousarray(np.flip(label.array, axis)))
        for into, one in ((right, label), (mirrored, other)):
            fit = placement.fit(case.id, image, one)
            if fit is not None:
                into.append(fit)
    alarms = noticed = 0
    for _ in range(SUBSETS):
        chosen = rng.choice(len(right), min(SIZE, len(right)), replace=False)
        alarms += bool(placement.judge([right[i] for i in chosen]))
        noticed += any(m.axes for m in placement.judge([mirrored[i] for i in chosen]))
    facts = {"check": "labels", "data": name, "images": len(right), "all, as they are": len(placement.judge(right))}
    return facts | {"false alarms": f"{alarms} of {SUBSETS}", "mirrored, noticed": f"{noticed} of {SUBSETS}"}


def turned(root: Path, name: str, rng: np.random.Generator) -> dict[str, Any]:
    """False alarms, and the share noticed of each other orientation."""
    blocks = [anatomy.block(case.read("image")) for case in open_dataset(root / name).cases]
    every = anatomy.turns(3)
    alarms = asked = 0
    noticed = np.zeros(len(every))
    for _ in range(SPLITS):
        order = rng.permutation(len(blocks))
        cut = round(0.7 * len(blocks))
        profile = anatomy.learn([blocks[i] for i in order[:cut]])
        assert profile is not None
        for i in order[cut:]:
            asked += 1
            alarms += anatomy.warning(blocks[i], profile) is not None
            for n, turn in enumerate(every[1:], 1):
                noticed[n] += anatomy.warning(anatomy.turned(blocks[i], turn), profile) is not None
    facts = {"check": "turned images", "data": name, "images": len(blocks), "false alarms": f"{alarms} of {asked}"}
    least = int(np.argmin(noticed[1:])) + 1
    shares = f"mean {noticed[1:].mean() / asked:.1%}, least {noticed[least] / asked:.1%} (axes {every[least]})"
    return facts | {"47 turns, noticed": shares}


def main() -> None:
    """All checks, one table."""
    if "HILUM_DATA" not in os.environ:
        print("HILUM_DATA is not set: the checks on real images are skipped. It names the folder of the data sets.")
        return
    root, rng, began = Path(os.environ["HILUM_DATA"]), np.random.default_rng(0), time.monotonic()
    rows = [copies(root, name) for name in COPIES]
    rows += [labels(root, name, rng) for name in LABELLED]
    rows.append(turned(root, "hippocampus_mri", rng))
    write(
        "reading_checks", "Checks of data sets", __doc__, rows,
        command="benchmarks/reading/checks.py", seconds=time.monotonic() - began,
        notes=[" ".join((__doc__ or "").split("\n\n")[2].split())],
    )  # fmt: skip


if __name__ == "__main__":
    main()
