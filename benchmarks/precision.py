"""Seconds of one training step in float32 and in bfloat16, alternating, for networks as the planner makes them."""

import os
import statistics
import time
from pathlib import Path
from typing import Any

import torch

from hilum.core import catalogue
from hilum.core.atomic import write_json
from hilum.planning import machine

# name: (network, in, out, dims, options, input shape)
NETS = {
    "nnunet 3-D, 16 channels, 40x56x40, batch 2": (
        "nnunet", 1, 3, 3, {"features": [16, 32, 64, 128], "strides": [1, 2, 2, 2]}, (2, 1, 40, 56, 40),
    ),
    "nnunet 2-D, 16 channels, 256x256, batch 4": (
        "nnunet", 3, 2, 2, {"features": [16, 32, 64, 128, 256], "strides": [1, 2, 2, 2, 2]}, (4, 3, 256, 256),
    ),
    "resnet 18, 32 channels, 160x160, batch 16": ("resnet", 1, 3, 2, {"depth": 18, "width": 32}, (16, 1, 160, 160)),
}  # fmt: skip
ROUNDS = 7


def measure(commit: str, hardware: dict[str, Any]) -> None:
    """Write results/precision.json: medians over alternating rounds, and the ratio.

    hardware: "processors" by name and count, and their "flags". Where they have no bfloat16 nothing is measured, for it
    would be imitated, thousands of times as slow.
    """
    if not machine.native_half():
        print(f"{hardware['processors']}: no bfloat16 in this processor; results/precision.json stays as it is.")
        return
    rows = []
    for name, (net, inputs, outputs, dims, options, shape) in NETS.items():
        torch.manual_seed(0)
        module = catalogue.load("hilum.zoo", net).Net(inputs, outputs, dims, **options).train()
        optimiser, x = torch.optim.AdamW(module.parameters()), torch.randn(shape)
        spent: dict[str, list[float]] = {"float32": [], "bfloat16": []}
        for _ in range(ROUNDS):
            for kind, seconds in spent.items():
                began = time.perf_counter()
                with torch.autocast("cpu", torch.bfloat16, enabled=kind == "bfloat16"):
                    out = module(x)
                optimiser.zero_grad()
                out.float().pow(2).mean().backward()
                optimiser.step()
                seconds.append(time.perf_counter() - began)
        middle = {k: round(statistics.median(v[1:]), 4) for k, v in spent.items()}
        rows.append({"network": name} | middle | {"ratio": round(middle["float32"] / middle["bfloat16"], 2)})
        print(f"{name}: float32 {middle['float32']} s, bfloat16 {middle['bfloat16']} s a step")
    facts = {"commit": commit, "hardware": hardware["processors"], "flags": hardware["flags"]}
    facts |= {"torch": torch.__version__, "threads": torch.get_num_threads()}
    write_json(Path(__file__).parent / "results" / "precision.json", facts | {"load": os.getloadavg()[0], "rows": rows})
