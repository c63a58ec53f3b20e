"""MONAI's DynUNet as its users train it, in its own environment: no Hilum here.

Cached and cropped patches, the tutorials' augmentations, deep supervision, Dice + cross-entropy, a schedule fitted to
the minutes, and the checkpoint that is best on the validation part. bfloat16 where the processor has it, like Hilum.

    PYTHON peers/dynunet.py JOB.json

The job's settings may hold `steps`, which then count instead of the minutes, and `device`.
"""

import itertools
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from job import Job, dice
from monai.data import CacheDataset, DataLoader, ThreadDataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    NormalizeIntensityd,
    RandAffined,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandGaussianNoised,
    RandGaussianSmoothd,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)
from monai.utils import set_determinism

BOTH = ["image", "label"]


def network(settings: dict[str, Any], classes: int, channels: int = 1) -> torch.nn.Module:
    """DynUNet with the planned topology; a head on every decoder stage but the lowest."""
    strides = settings["strides"]
    net: torch.nn.Module = DynUNet(
        spatial_dims=len(settings["patch"]), in_channels=channels, out_channels=classes + 1,
        kernel_size=[3] * len(strides), strides=strides, upsample_kernel_size=strides[1:],
        filters=settings["filters"], norm_name="instance", deep_supervision=True, deep_supr_num=len(strides) - 2,
    )  # fmt: skip
    return net


def fixed(keys: list[str]) -> list[Any]:
    """Transforms without chance, which are cached."""
    return [LoadImaged(keys), EnsureChannelFirstd(keys), NormalizeIntensityd(["image"], channel_wise=True)]


def chance(settings: dict[str, Any]) -> list[Any]:
    """Crops and augmentations."""
    patch = settings["patch"]
    flips = [RandFlipd(BOTH, prob=0.5, spatial_axis=axis) for axis in range(len(patch)) if settings["flip"]]
    turn = math.pi / 9
    return [
        RandCropByPosNegLabeld(BOTH, label_key="label", spatial_size=patch, pos=1, neg=1, num_samples=1),
        RandAffined(
            BOTH, prob=0.3, rotate_range=[turn] * (3 if len(patch) == 3 else 1), scale_range=[0.15] * len(patch),
            mode=("bilinear", "nearest"), padding_mode="zeros",
        ),
        *flips,
        RandScaleIntensityd(["image"], factors=0.3, prob=0.3),
        RandShiftIntensityd(["image"], offsets=0.1, prob=0.3),
        RandGaussianNoised(["image"], std=0.1, prob=0.15),
        RandGaussianSmoothd(["image"], prob=0.15),
    ]  # fmt: skip


def loader(data: Any, settings: dict[str, Any]) -> Any:
    """The loader of the settings: "thread" or a number of worker processes."""
    if settings["loader"] == "thread":
        return ThreadDataLoader(data, batch_size=settings["batch"], shuffle=True, drop_last=True, num_workers=0)
    workers = int(settings["loader"])
    return DataLoader(
        data, batch_size=settings["batch"], shuffle=True, drop_last=True, num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip


def endless(batches: Any) -> Iterator[dict[str, Any]]:
    """Epoch after epoch."""
    for _ in itertools.count():
        yield from batches


def half() -> bool:
    """Whether the processor computes in bfloat16."""
    return any(flag in Path("/proc/cpuinfo").read_text() for flag in ("avx512_bf16", "amx_bf16"))


def deep_loss(measure: Any, outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Weights 1, 1/2, 1/4... of the heads, summing to 1. outputs: (B, heads, K, *space)."""
    levels = torch.unbind(outputs.float(), dim=1)
    weights = [0.5**i for i in range(len(levels))]
    total: torch.Tensor = sum(w * measure(level, target) for w, level in zip(weights, levels, strict=True))
    return total / sum(weights)


class Trainer:
    """Network, optimiser and schedule; one step at a time."""

    def __init__(self, settings: dict[str, Any], classes: int, channels: int = 1) -> None:
        self.settings = settings
        # trials of settings run elsewhere, in float32 as on a processor without bfloat16
        self.device = torch.device(settings.get("device", "cpu"))
        self.net = network(settings, classes, channels).to(self.device)
        rate = settings["rate"]
        if settings["optimiser"] == "sgd":
            self.optimiser: torch.optim.Optimizer = torch.optim.SGD(
                self.net.parameters(), lr=rate, momentum=0.99, weight_decay=3e-5, nesterov=True
            )
        else:
            self.optimiser = torch.optim.AdamW(self.net.parameters(), lr=rate, weight_decay=1e-4)
        self.loss = DiceCELoss(to_onehot_y=True, softmax=True, batch=True)
        self.half = self.device.type == "cpu" and half() and settings.get("half", True)

    def step(self, batch: dict[str, Any], done: float) -> float:
        """One step; done: share of the budget that is spent, for the poly (SGD) or cosine (AdamW) schedule."""
        shrink = (1 - done) ** 0.9 if self.settings["optimiser"] == "sgd" else 0.5 * (1 + math.cos(math.pi * done))
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings["rate"] * shrink
        image, label = (batch[n].as_tensor().to(self.device) for n in BOTH)
        self.optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            outputs = self.net(image)
        loss = deep_loss(self.loss, outputs, label)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 12)
        self.optimiser.step()
        return float(loss.detach())

    def predict(self, image: torch.Tensor) -> np.ndarray[Any, np.dtype[Any]]:
        """(1, *space) -> (*space) channel numbers, windows merged by Gaussian weights."""
        self.net.eval()
        # in float32, as Hilum's masks are made
        with torch.inference_mode():
            logits = sliding_window_inference(
                image.as_tensor()[None].to(self.device), self.settings["patch"], 4, self.net, overlap=0.5,
                mode="gaussian",
            )  # fmt: skip
        self.net.train()
        return np.asarray(logits[0].float().argmax(0).cpu().numpy(), dtype=np.uint8)


def validate(trainer: Trainer, data: Any, classes: int) -> float:
    """Mean Dice over cases and classes."""
    found = []
    for item in data:
        mask, truth = trainer.predict(item["image"]), np.asarray(item["label"][0])
        found += [dice(mask == k, truth == k) for k in range(1, classes + 1)]
    return float(np.mean(found))


def main() -> None:
    """Train for the minutes, take the best checkpoint, predict the test part."""
    job = Job()
    settings, classes = job.settings, len(job.classes)
    set_determinism(job.seed)
    train = Compose([*fixed(BOTH), SpatialPadd(BOTH, spatial_size=settings["patch"]), *chance(settings)])
    cached = CacheDataset(job.part("train"), train, num_workers=2, progress=False)
    checked = CacheDataset(job.part("val"), Compose(fixed(BOTH)), num_workers=2, progress=False)
    trainer = Trainer(settings, classes)
    trainer.net.train()
    began, budget, step = job.seconds, job.budget, 0
    every, took = (budget - began) / settings["validations"], 0.0
    due, curve, best = began + every, [], (-1.0, dict[str, Any]())
    most = settings.get("steps")
    for batch in endless(loader(cached, settings)):
        trainer.step(batch, step / most if most else min(1.0, (job.seconds - began) / max(1e-9, budget - began)))
        step += 1
        # the last validation must fit too
        last = step == most if most else job.seconds + 1.1 * took >= budget
        if last or (step % max(1, most // settings["validations"]) == 0 if most else job.seconds + took >= due):
            before = time.monotonic()
            score = validate(trainer, checked, classes)
            took = time.monotonic() - before
            # a user would not give more than a twelfth of the time to validation
            due = job.seconds + max(every, 12 * took)
            curve.append([step, round(job.seconds, 1), round(score, 5)])
            if score > best[0]:
                best = (score, {n: t.detach().clone() for n, t in trainer.net.state_dict().items()})
        if last:
            break
    trained = job.seconds
    trainer.net.load_state_dict(best[1])
    load = Compose(fixed(["image"]))
    for case in job.part("test"):
        mask = trainer.predict(load({"image": case["image"]})["image"])
        job.write("MONAI DynUNet", case, mask=np.array([0, *job.classes], dtype=np.int32)[mask])
    weights = sum(p.numel() for p in trainer.net.parameters())
    job.finish(
        steps=step, train_seconds=round(trained, 1), validation=round(best[0], 5), checked=len(checked), curve=curve,
        weights=weights, bfloat16=trainer.half,
        versions={"torch": torch.__version__, "monai": __import__("monai").__version__},
    )  # fmt: skip


if __name__ == "__main__":
    main()
