"""The trained runs that are predicted with: found in the cache, or trained now.

Each is `hilum train` for at least 20 minutes, or on a machine with a CUDA card for STEPS steps, more than two
processors make in 20 minutes. Those of `body_ct` say nothing of accuracy: they have seen the labelled slices of one
body.
"""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(1, str(Path(__file__).parents[1] / "training"))
import machine

from hilum.core import card
from hilum.core.atomic import write_json, writing
from hilum.core.run import Run, write_rows

BENCHMARKS = Path(__file__).parents[1]
CACHE = BENCHMARKS / "cache" / "predict"
HILUM = str(Path(sys.executable).parent / "hilum")
BARE = [sys.executable, str(BENCHMARKS / "zoo" / "one.py")]
# `hilum train` without what a run learns about its own answers: a head with more classes could not use it.
MINUTES, STEPS = 20.0, 2000
LABELLED, ABOVE = (82, 112), 20
# Slices with labels, end exclusive, and how many below them the cases see too.
PARTS = {"train": (82, 105), "val": (105, 108), "test": (108, 112)}
# The labelled slices that each case keeps; all others are ignored in it.
WIDE = [
    "--set",
    "features=[16,32,64,128]",
    "--set",
    "strides=[[1,1,1],[2,2,2],[2,2,2],[2,2,2]]",
    "--set",
    "kernels=[[3,3,3],[3,3,3],[3,3,3],[3,3,3]]",
    "--set",
    "plan.patch=[64,64,64]",
    "--set",
    "plan.batch=1",
]
# Twice as wide as what is planned for 20 minutes on two cores: the networks of whole-body CT are wide.
WANTED: dict[str, tuple[str, str, list[str]]] = {
    "body_ct": ("body_ct.yaml", "", WIDE),
    "body_ct_15": ("body_ct.yaml", "", [*WIDE, "--set", "plan.spacing=[1.5,1.5,1.5]"]),
    "hippocampus": ("hippocampus.yaml", "hippocampus_mri_45_min", []),
    "retina": ("retina_vessels.yaml", "retina_vessels", []),
}
# Data in benchmarks/datasets, the row of training/rows.py whose run will do, and words for `hilum train`.
SMOKE = ("--steps", "4", "--set", "plan.patch=[32,32,32]", "--set", "plan.batch=1", "--set", "learning.rounds=1")


def run(name: str, minutes: float = MINUTES) -> Path:
    """The run folder; trained where there is none of at least so many minutes."""
    data, row, words = WANTED[name]
    for found in sorted((BENCHMARKS / "cache" / "training").glob(f"{row}-seed*/hilum/run")) if row else []:
        with contextlib.suppress(OSError, ValueError):
            if (json.loads((found / "plan.json").read_text())["minutes"] or 0) >= minutes:
                Run(found).check_hashes()
                return found
    if data == "body_ct.yaml":
        cases(CACHE / "body_ct")
    # on a card nothing asks for what a run learns about its own answers
    bare = name.startswith("body_ct") or card.there()
    return _trained(CACHE / f"run-{name}-{minutes:g}", source(name), minutes, words, bare)


def source(name: str) -> Path:
    """What the run is trained on."""
    return BENCHMARKS / "datasets" / WANTED[name][0]


def missing(name: str, minutes: float = MINUTES) -> float:
    """Minutes that `run` would take, about."""
    row = WANTED[name][1]
    known = list((BENCHMARKS / "cache" / "training").glob(f"{row}-seed*/hilum/run/manifest.json")) if row else []
    done = (CACHE / f"run-{name}-{minutes:g}" / "manifest.json").is_file()
    return 0.0 if known or done else minutes + 5


def _trained(out: Path, data: Path, minutes: float, words: list[str], bare: bool) -> Path:
    """Train into the cache and note how busy the machine was."""
    if not (out / "manifest.json").is_file():
        shutil.rmtree(out, ignore_errors=True)
        print(f"training {out.name}", flush=True)
        command = [*(BARE if bare else [HILUM]), "train", str(data), "--task", "segment"]
        budget = ["--minutes", f"{minutes:g}"]
        if card.there():
            budget = ["--steps", str(STEPS), "--set", "options.planner=fitted"]
        with machine.Watch() as watch:
            subprocess.run([*command, *budget, *words, "--out", str(out)], check=True, stdout=subprocess.DEVNULL)
        write_json(out.with_suffix(".json"), {"machine": watch.facts, "commit": machine.commit()})
    return out


def smoke() -> Path:
    """A run of four steps on phantoms."""
    from hilum.data.phantoms import heads

    data, out = CACHE / "smoke" / "heads", CACHE / "smoke" / "run"
    if not (out / "manifest.json").is_file():
        shutil.rmtree(CACHE / "smoke", ignore_errors=True)
        heads.make(data, 4)
        command = [*BARE, "train", str(data), "--task", "segment", *SMOKE, "--out", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out


def cases(folder: Path) -> None:
    """cases.csv of body_ct: one body, cut to its labelled slices and some below, as three cases by slices."""
    import nibabel

    if (folder / "cases.csv").is_file():
        return
    source = Path(os.environ["HILUM_DATA"]) / "body_ct"
    image: Any
    label: Any
    image, label = (nibabel.load(source / f"example_ct{end}.nii.gz") for end in ("", "_labels"))
    low, high = max(0, LABELLED[0] - ABOVE), min(LABELLED[1], image.shape[2])
    values = np.asarray(label.dataobj).astype(np.int16)
    rows = []
    for part, (start, stop) in PARTS.items():
        kept = np.full_like(values, 255)
        kept[..., start:stop] = values[..., start:stop]
        for what, array in (("image", np.asarray(image.dataobj)), ("label", kept)):
            cut = nibabel.Nifti1Image(array[..., low:high], image.slicer[..., low:high].affine)
            with writing(folder / f"{part}_{what}.nii.gz") as part_file:
                nibabel.save(cut, part_file)
        rows.append({"case": part, "image": f"{part}_image.nii.gz", "label": f"{part}_label.nii.gz", "split": part})
    write_rows(folder / "cases.csv", rows)


def classes(folder: Path) -> int:
    """How many classes a run was trained on."""
    return len(Run(folder).plan.classes)


def described(folder: Path) -> str:
    """A run in a sentence."""
    plan = Run(folder).plan
    net = next(iter(plan.networks.values()))
    with open(folder / "log.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    options = ", ".join(f"{k} {v}" for k, v in net.options.items())
    steps = rows[-1]["step"] if rows else "-"
    size = f"patch {plan.patch}, spacing {plan.spacing}"
    return f"{net.name} ({options}), {size}, {len(plan.classes)} classes, {steps} steps"
