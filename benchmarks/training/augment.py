"""What augmentation costs for each sample: every file alone, the defaults, cutting through the record, and MONAI's.

    .venv/bin/python benchmarks/training/augment.py [--rounds 300]

Milliseconds of one core (the thread's processor time, so that other programs count little), one thread, image and label
together: a 3-D patch of 40 x 56 x 40, 1 channel, and a 2-D one of 256 x 256, 3 channels. "On": the augmentation drawn
in every sample, the median. Defaults and MONAI's pipeline: with their own probabilities, the mean over the same number
of samples, alternating, and the 95th percentile.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "reading"))
from results import write

from hilum.core import catalogue
from hilum.core.plan import AugmentPlan
from hilum.prepare import augment

CATALOGUE = "hilum.prepare.augment"
PATCHES = {"3-D": (1, 40, 56, 40), "2-D": (3, 256, 256)}
FAMILIES = ["mr", "ct", "ultrasound", "xray", "histology", "microscopy", "photograph", "grey"]
MOST = 12.0
# Milliseconds that a sample of the defaults may cost on average.
Work = Callable[[], Any]


def spent(work: Work) -> float:
    """Processor milliseconds of one call."""
    began = time.thread_time()
    work()
    return (time.thread_time() - began) * 1e3


def sample_of(shape: tuple[int, ...], around: int = 1) -> tuple[Any, Any]:
    """A noise image and a label with three values, `around` times as long on each axis."""
    rng = np.random.default_rng(0)
    space = [n * around for n in shape[1:]]
    image = rng.standard_normal((shape[0], *space), dtype=np.float32)
    return image, rng.integers(0, 3, (1, *space)).astype(np.int16)


def plans(entries: list[dict[str, Any]]) -> list[AugmentPlan]:
    return [AugmentPlan(**entry) for entry in entries]


def through(shape: tuple[int, ...], entries: list[dict[str, Any]], seed: int = 0) -> Work:
    """Draw, then image and label of the patch through the record."""
    (image, label), rng, made = sample_of(shape), np.random.default_rng(seed), plans(entries)

    def work() -> Any:
        record = augment.draw(made, rng, image.ndim - 1)
        return augment.apply(record, image), augment.apply(record, label, "label")

    return work


def cutting(shape: tuple[int, ...], entries: list[dict[str, Any]]) -> Work:
    """Draw, then cut the patch out of a larger image through the record, as segmentation does."""
    (image, label), rng, made = sample_of(shape, 2), np.random.default_rng(0), plans(entries)
    size, start = shape[1:], [n // 2 for n in shape[1:]]

    def work() -> Any:
        record = augment.draw(made, rng, image.ndim - 1)
        return augment.cut(record, image, [(label, -1)], start, size)

    return work


def monai(shape: tuple[int, ...]) -> Work:
    """MONAI's usual dictionary pipeline, with the ranges and probabilities of our peer in training."""
    from monai.transforms import (
        Compose,
        RandAffined,
        RandFlipd,
        RandGaussianNoised,
        RandGaussianSmoothd,
        RandScaleIntensityd,
        RandShiftIntensityd,
    )  # fmt: skip
    from monai.utils import set_determinism

    set_determinism(0)
    image, label = sample_of(shape)
    dims, both = len(shape) - 1, ["image", "label"]
    chain = [
        RandAffined(
            both, prob=0.3, rotate_range=[np.pi / 9] * (1 if dims == 2 else 3), scale_range=[0.15] * dims,
            mode=["bilinear", "nearest"], padding_mode="zeros",
        ),
        *[RandFlipd(both, prob=0.5, spatial_axis=axis) for axis in range(dims)],
        RandScaleIntensityd(["image"], factors=0.3, prob=0.3),
        RandShiftIntensityd(["image"], offsets=0.1, prob=0.3),
        RandGaussianNoised(["image"], std=0.1, prob=0.15),
        RandGaussianSmoothd(["image"], prob=0.15),
    ]  # fmt: skip
    whole = Compose(chain)
    return lambda: whole({"image": torch.from_numpy(image), "label": torch.from_numpy(label)})


def alone(name: str, shape: tuple[int, ...], rounds: int) -> float:
    """Median with the augmentation on."""
    options = catalogue.card(CATALOGUE, name)["options"]
    work = through(shape, [{"name": name, "options": {"probability": 1.0} if "probability" in options else {}}])
    work()
    return statistics.median(spent(work) for _ in range(rounds))


def together(works: dict[str, Work], rounds: int) -> dict[str, list[float]]:
    """Times of all, alternating."""
    for work in works.values():
        work()
    found: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            found[name].append(spent(work))
    return found


def rows(rounds: int) -> list[dict[str, Any]]:
    """One row per augmentation, then one per pipeline."""
    out: list[dict[str, Any]] = []
    for name in catalogue.cards(CATALOGUE):
        line = {f"{kind} ms": round(alone(name, shape, max(5, rounds // 10)), 2) for kind, shape in PATCHES.items()}
        out.append({"what": f"{name}, on", **line})
    pipelines: dict[str, dict[str, Any]] = {}
    for kind, shape in PATCHES.items():
        dims = len(shape) - 1
        strong = {
            f: augment.strong(f, dims, oriented=f not in ("histology", "microscopy"), patch=shape[1:]) for f in FAMILIES
        }
        works = {f"default of {f}": through(shape, entries) for f, entries in strong.items()}
        works["default of mr, cut out of a larger image"] = cutting(shape, strong["mr"])
        works["MONAI's usual pipeline"] = monai(shape)
        for name, times in together(works, rounds).items():
            line = {f"{kind} ms": round(statistics.mean(times), 2)}
            line[f"{kind} p95"] = round(float(np.percentile(times, 95)), 1)
            pipelines.setdefault(name, {"what": name}).update(line)
    return out + list(pipelines.values())


def main() -> None:
    """Time, and leave the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=300)
    rounds = words.parse_args().rounds
    torch.set_num_threads(1)
    began, found = time.monotonic(), rows(rounds)
    own = [row for row in found if row["what"].startswith("default of")]
    most = max(row[f"{kind} ms"] for row in own for kind in PATCHES)
    write(
        "training_augment", "Cost of augmentation", __doc__, found,
        command=f"benchmarks/training/augment.py --rounds {rounds}", seconds=time.monotonic() - began,
        notes=[
            f"Target: the mean of every default at most {MOST:g} ms: {'met' if most <= MOST else 'not met'} ({most:g})."
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main()
