"""What nnU-Net's own planner (nnunetv2) answers for synthetic data sets, written to tests/planning/nnunet_plans.json.

    python benchmarks/training/planner_equality.py

Makes an environment of its own in benchmarks/cache/nnunetv2 (pass --python for one that exists), runs the planner there
on made-up dataset.json and dataset_fingerprint.json files, and keeps inputs and answers. The tests compare our rules
with the file, so they need no nnunetv2.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]
CACHE = ROOT / "benchmarks" / "cache" / "nnunetv2"
OUT = ROOT / "tests" / "planning" / "nnunet_plans.json"
PINS = ["torch==2.13.0", "torchvision==0.28.0"]
# name, median spacing and shape (z, y, x), cases, classes with the background, channels, spread of shapes and spacings
DATA: list[tuple[str, tuple[float, ...], tuple[int, ...], int, int, int, float]] = [
    ("iso", (1, 1, 1), (138, 170, 138), 484, 14, 1, 0),
    ("prostate", (3.0, 0.7597, 0.7597), (148, 512, 512), 30, 14, 1, 0),
    ("heart", (5, 1.5625, 1.5625), (18, 237, 208), 200, 14, 1, 0),
    ("hippocampus", (1, 1, 1), (36, 50, 35), 260, 14, 1, 0),
    ("hippocampus3", (1, 1, 1), (36, 50, 35), 195, 3, 1, 0.1),
    ("brain4", (1, 1, 1), (140, 171, 137), 387, 4, 4, 0.05),
    ("liver", (1.0, 0.7676, 0.7676), (432, 512, 512), 105, 3, 1, 0.2),
    ("lung", (1.245, 0.785, 0.785), (252, 512, 512), 51, 2, 1, 0.2),
    ("pancreas", (2.5, 0.8027, 0.8027), (96, 512, 512), 225, 3, 1, 0.1),
    ("hepatic", (5.0, 0.7988, 0.7988), (49, 512, 512), 242, 3, 1, 0.1),
    ("spleen", (5.0, 0.7938, 0.7938), (90, 512, 512), 33, 2, 1, 0.1),
    ("colon", (5.0, 0.7832, 0.7832), (95, 512, 512), 100, 2, 1, 0.1),
    ("prostate2", (3.6, 0.6125, 0.6125), (20, 320, 319), 25, 3, 2, 0.05),
    ("knee", (0.7, 0.365, 0.456), (160, 384, 384), 120, 6, 1, 0),
    ("cubes", (1, 1, 1), (64, 64, 64), 20, 2, 1, 0),
    ("few", (1, 1, 1), (48, 48, 48), 3, 2, 1, 0),
    ("many", (0.5, 0.5, 0.5), (300, 300, 300), 40, 105, 1, 0.1),
    ("thick", (10.0, 1.25, 1.25), (11, 256, 216), 100, 4, 1, 0.1),
    ("very thick", (8.0, 0.5, 0.5), (12, 640, 640), 60, 4, 1, 0.3),
    ("odd axes", (0.8, 0.8, 3.0), (300, 280, 60), 50, 3, 1, 0.1),
    ("long", (1.5, 1.5, 1.5), (600, 200, 200), 30, 25, 1, 0.1),
    ("fine", (0.2, 0.2, 0.2), (500, 500, 500), 12, 2, 1, 0),
    ("micro", (0.1, 0.02, 0.02), (60, 1024, 1024), 8, 3, 1, 0),
    ("pictures", (999, 1, 1), (1, 512, 512), 90, 2, 3, 0.1),
    ("large pictures", (999, 1, 1), (1, 1024, 1360), 40, 2, 1, 0.2),
    ("retina", (999, 1, 1), (1, 584, 565), 16, 2, 3, 0),
    ("small pictures", (999, 1, 1), (1, 96, 80), 400, 5, 1, 0.1),
    ("few pictures", (999, 1, 1), (1, 256, 256), 5, 2, 1, 0),
]


def cases(row: tuple[str, tuple[float, ...], tuple[int, ...], int, int, int, float]) -> dict[str, Any]:
    """Spacings and shapes of every case, around the medians, from a seed that is the name."""
    import numpy as np

    name, spacing, shape, count, classes, channels, spread = row
    rng = np.random.default_rng(list(name.encode()))
    flat = [n == 1 for n in shape]
    spacings, shapes = [], []
    for _ in range(count):
        change = 1 + spread * rng.uniform(-1, 1, (2, 3))
        change[:, flat] = 1
        spacings.append([round(float(v), 5) for v in np.array(spacing) * change[0]])
        shapes.append([round(float(v)) for v in np.array(shape) * change[1]])
    return {"name": name, "classes": classes, "channels": channels, "spacings": spacings, "shapes": shapes}


def inside(work: Path) -> None:
    """Runs in the other environment: nnunetv2's planner on every data set; prints its answers as JSON."""
    import torch

    # torchvision is a CUDA build here: these operators are all that its import misses
    shim = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        shim.define(name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(work / name)
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

    class Planner(ExperimentPlanner):  # type: ignore[misc]
        """There are no images to try readers on."""

        def determine_reader_writer(self) -> Any:
            return SimpleITKIO

    answers: dict[str, dict[str, Any]] = {}
    for number, data in enumerate(json.loads((work / "cases.json").read_text()), 1):
        title = f"Dataset{number:03d}_S"
        raw, ready = work / "nnUNet_raw" / title, work / "nnUNet_preprocessed" / title
        (raw / "imagesTr").mkdir(parents=True)
        (raw / "labelsTr").mkdir()
        ready.mkdir(parents=True)
        for case in range(len(data["shapes"])):
            for channel in range(data["channels"]):
                (raw / "imagesTr" / f"c{case:04d}_{channel:04d}.nii.gz").touch()
            (raw / "labelsTr" / f"c{case:04d}.nii.gz").touch()
        labels = {"background": 0} | {f"class{n}": n for n in range(1, data["classes"])}
        about = {
            "channel_names": {str(n): "MR" for n in range(data["channels"])}, "labels": labels,
            "numTraining": len(data["shapes"]), "file_ending": ".nii.gz",
        }  # fmt: skip
        (raw / "dataset.json").write_text(json.dumps(about))
        facts = {k: 1.0 for k in ("max", "mean", "median", "min", "percentile_00_5", "percentile_99_5", "std")}
        fingerprint = {
            "spacings": data["spacings"], "shapes_after_crop": data["shapes"],
            "median_relative_size_after_cropping": 1.0,
            "foreground_intensity_properties_per_channel": {str(n): facts for n in range(data["channels"])},
        }  # fmt: skip
        (ready / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
        try:
            plans = Planner(number, gpu_memory_target_in_gb=8).plan_experiment()
        except Exception as error:  # its failures are answers too
            answers[data["name"]] = {"error": f"{type(error).__name__}: {error}"}
            continue
        answers[data["name"]] = {"transpose": [int(n) for n in plans["transpose_forward"]]} | {
            name: short(found) for name, found in plans["configurations"].items() if "patch_size" in found
        }
    (work / "answers.json").write_text(json.dumps(answers))


def short(found: dict[str, Any]) -> dict[str, Any]:
    """The part of a configuration that rules decide."""
    options = found["architecture"]["arch_kwargs"]
    plain = {
        "patch": found["patch_size"], "batch": found["batch_size"], "spacing": found["spacing"],
        "shape": found["median_image_size_in_voxels"], "features": options["features_per_stage"],
        "strides": options["strides"], "kernels": options["kernel_sizes"],
    }  # fmt: skip
    kept: dict[str, Any] = json.loads(
        json.dumps(plain, default=lambda v: v.tolist() if hasattr(v, "tolist") else float(v))
    )
    return kept


def environment() -> Path:
    """Python of an environment with nnunetv2, made when it is not there."""
    python = CACHE / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(CACHE)], check=True)
        pins = CACHE / "pins.txt"
        pins.write_text("\n".join(PINS))
        own = ["-q", "-c", str(ROOT / "constraints.txt"), "-c", str(pins)]
        # torch first, or the resolver takes a newer CUDA build
        for wanted in (PINS[0], "nnunetv2"):
            subprocess.run([str(python), "-m", "pip", "install", *own, wanted], check=True)
    return python


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", type=Path, help="python of an environment with nnunetv2")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside is not None:
        inside(asked.inside)
        return
    python = asked.python or environment()
    ask = "from importlib.metadata import version as v; print(*map(v, ('nnunetv2', 'dynamic_network_architectures')))"
    found = subprocess.run([str(python), "-c", ask], check=True, capture_output=True, text=True).stdout.split()
    with tempfile.TemporaryDirectory() as folder:
        work, rows = Path(folder), [cases(row) for row in DATA]
        (work / "cases.json").write_text(json.dumps(rows))
        subprocess.run([str(python), str(HERE), "--inside", str(work)], check=True, stdout=subprocess.DEVNULL)
        answers = json.loads((work / "answers.json").read_text())
    names = ("name", "spacing", "shape", "cases", "classes", "channels", "spread")
    seeds: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in DATA]
    text = [json.dumps(seed | {"answer": answers[seed["name"]]}) for seed in seeds]
    versions = json.dumps({"nnunetv2": found[0], "dynamic_network_architectures": found[1]})
    OUT.write_text(f'{{"versions": {versions}, "data": [\n' + ",\n".join(text) + "\n]}\n")
    print(f"{len(answers)} answers in {OUT}")


if __name__ == "__main__":
    main()
