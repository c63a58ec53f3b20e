"""Steps per second of MONAI's usual pipeline, in its own environment: cached data, a loader, DynUNet, no validation.

PYTHON peers/dynunet_speed.py JOB.json     # settings as for dynunet.py; minutes of stepping after the caching
"""

import time

import numpy as np
import torch
from dynunet import BOTH, Trainer, chance, endless, fixed, loader
from job import Job
from monai.data import CacheDataset
from monai.transforms import Compose, SpatialPadd
from monai.utils import set_determinism

WARM = 5
# Steps before the clock starts.


def main() -> None:
    """Step for the minutes; facts.json holds steps, seconds and the share of waiting for batches."""
    job = Job()
    settings = job.settings
    set_determinism(job.seed)
    transform = Compose([*fixed(BOTH), SpatialPadd(BOTH, spatial_size=settings["patch"]), *chance(settings)])
    cached = CacheDataset(job.part("train"), transform, num_workers=2, progress=False)
    trainer = Trainer(settings, len(job.classes), settings.get("channels", 1))
    trainer.net.train()
    batches = endless(loader(cached, settings))
    for _ in range(WARM):
        trainer.step(next(batches), 0.0)
    began, waited, each = time.monotonic(), 0.0, []
    while time.monotonic() - began < job.budget:
        before = time.monotonic()
        batch = next(batches)
        ready = time.monotonic()
        trainer.step(batch, 0.5)
        waited += ready - before
        each.append(time.monotonic() - before)
    spent = time.monotonic() - began
    weights = sum(p.numel() for p in trainer.net.parameters())
    job.finish(
        steps=len(each), step_seconds=spent / len(each), middle=float(np.median(each)), wait=waited / spent,
        weights=weights, bfloat16=trainer.half, threads=torch.get_num_threads(),
    )  # fmt: skip


if __name__ == "__main__":
    main()
