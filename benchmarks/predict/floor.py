"""The arithmetic floor: operations of all windows over the fastest products that this machine was seen to make.

.venv/bin/python benchmarks/predict/floor.py RUN SHAPE     # shape on the network's grid, as 143x143x200
"""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "training"))
import machine

SIDE, BLOCK = 2048, 48
# Of square matrices, and voxels along a side of the volume that is convolved (32 to 32 channels).
SECONDS, LEAST = 1.0, 3
# That each is tried for, and tries.


def peaks() -> dict[str, Any]:
    """{"float32": operations a second, "bfloat16": ...}, the best of matrix products and convolutions.

    bfloat16 only on processors that have it: others imitate it, thousands of times slower.
    """
    import torch

    found: dict[str, Any] = {"threads": torch.get_num_threads()}
    for name in ("float32", "bfloat16") if half() else ("float32",):
        kind = getattr(torch, name)
        with torch.inference_mode():
            square = torch.randn(SIDE, SIDE).to(kind)
            conv: Any = torch.nn.Conv3d(32, 32, 3, padding=1).to(kind)
            conv = conv.to(memory_format=torch.channels_last_3d)
            image = torch.randn(1, 32, BLOCK, BLOCK, BLOCK).to(kind).to(memory_format=torch.channels_last_3d)
            products = 2 * SIDE**3 / _fastest(lambda a=square: a @ a)  # type: ignore[misc]
            many = 2 * 27 * 32 * 32 * BLOCK**3
            convolutions = many / _fastest(lambda net=conv, x=image: net(x))  # type: ignore[misc]
        found[name] = {"matrix": products, "convolution": convolutions, "most": max(products, convolutions)}
    return found


def half() -> bool:
    """Whether the processor computes in bfloat16."""
    return any(flag in machine.hardware()["flags"] for flag in ("avx512_bf16", "amx_bf16"))


def _fastest(work: Callable[[], Any]) -> float:
    """Seconds of the fastest of some tries."""
    best, began, tries = math.inf, time.perf_counter(), 0
    while tries < LEAST or time.perf_counter() - began < SECONDS:
        before = time.perf_counter()
        work()
        best, tries = min(best, time.perf_counter() - before), tries + 1
    return best


def operations(run: Path, shape: Sequence[int]) -> dict[str, Any]:
    """windows, and flops of one and of all, for an image of that shape on the network's grid; none is skipped."""
    import torch

    from hilum.core.run import Run
    from hilum.prepare.patches import window_starts
    from hilum.tasks import _build, _task
    from hilum.zoo._cost import flops

    plan = Run(run).plan
    task: Any = _task.load(plan)
    with torch.device("meta"):
        net = _build.build(task, _build.predicting(plan)).eval()
        one = flops(net, torch.empty(1, len(plan.channels), *plan.patch))
    step = 1 - task.options.overlap
    windows = math.prod(len(window_starts(max(n, p), p, step)) for n, p in zip(shape, plan.patch, strict=True))
    return {"windows": windows, "flops_of_one": one, "flops": one * windows}


if __name__ == "__main__":
    size = [int(n) for n in sys.argv[2].split("x")]
    print(json.dumps({"peaks": peaks(), "operations": operations(Path(sys.argv[1]), size)}, indent=1))
