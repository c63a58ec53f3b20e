"""What this machine can do: cores, memory, accelerator, and a measured speed of convolutions."""

import os
import time
from functools import cache
from pathlib import Path
from typing import Any

CGROUP = Path("/sys/fs/cgroup")
SECONDS = 0.4
# Of one measurement, once its first repetitions are done.
WIDTH = 16
SIDE = {2: 96, 3: 20}
# A block in the middle of what is planned on processors: its speed is near the mean of a network's layers.


def facts(dims: int | None = None) -> dict[str, Any]:
    """cores, memory (bytes available), total (bytes), accelerator (None or {"name", "memory"}), and for `dims` gflops.

    gflops: 10^9 floating point operations a second, forward and backward, in the fastest precision, which is named.
    """
    total, available = memory()
    found: dict[str, Any] = {
        "cores": cores(), "memory": available, "total": total, "accelerator": accelerator(), "gflops": None,
    }  # fmt: skip
    if dims is not None:
        measured = speeds(dims)
        precision = max(measured, key=lambda name: measured[name])
        found |= {"gflops": measured[precision], "precision": precision, "speeds": measured}
    return found


def cores() -> int:
    """Processor cores that this process may use: affinity, and the share that a container grants."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = _words(CGROUP / "cpu.max")
    if len(granted) == 2 and granted[0].isdigit() and granted[1].isdigit():
        allowed = min(allowed, max(1, -(-int(granted[0]) // int(granted[1]))))
    return max(1, allowed)


def memory() -> tuple[int, int]:
    """(total, available) bytes: the machine's, or what a container (cgroup 1 or 2) leaves of it."""
    rows = _meminfo()
    total, available = rows.get("MemTotal", 0), rows.get("MemAvailable", 0)
    if not total:
        total = available = _pages()
    limit, used = _first("memory.max", "memory/memory.limit_in_bytes"), _first(
        "memory.current", "memory/memory.usage_in_bytes"
    )  # fmt: skip
    if limit is not None and limit < total:
        # files that the kernel keeps for reading count as used and are given back when needed
        kept = _stat().get("inactive_file", _stat().get("total_inactive_file", 0))
        total, available = limit, min(available, max(0, limit - max(0, (used or 0) - kept)))
    return total, available


def accelerator() -> dict[str, Any] | None:
    """The first CUDA device: its name and memory in bytes; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    return {"name": found.name, "memory": int(found.total_memory)}


@cache
def speeds(dims: int) -> dict[str, float]:
    """GFLOP/s by precision of forward and backward of 3x3 (3x3x3) convolutions with norm and activation; two digits.

    float32 on processors, and bfloat16 where the hardware says that it has it: some that say so are far slower in it.
    The best of a few repetitions in about a second; once per process and dimension.
    """
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    conv, norm = (nn.Conv2d, nn.InstanceNorm2d) if dims == 2 else (nn.Conv3d, nn.InstanceNorm3d)
    with torch.random.fork_rng(devices=[]):
        layers = [[conv(WIDTH, WIDTH, 3, padding=1), norm(WIDTH, affine=True), nn.LeakyReLU(0.01)] for _ in range(2)]
        net = nn.Sequential(*(layer for block in layers for layer in block)).to(device)
        x = torch.randn(1, WIDTH, *[SIDE[dims]] * dims, device=device, requires_grad=True)
    work = 3 * len(layers) * 2 * WIDTH * WIDTH * 3**dims * SIDE[dims] ** dims
    wanted = ["float32"] * (device == "cpu") + ["bfloat16"] * native_half(device)
    return {name: float(f"{work / _best(net, x, name == 'bfloat16') / 1e9:.2g}") for name in wanted}


def _best(net: Any, x: Any, half: bool) -> float:
    """Seconds of the fastest of a few steps."""
    import torch

    began, best = time.perf_counter(), float("inf")
    # the first repetition pays for allocation and for choosing the kernels
    for number in range(50):
        before = time.perf_counter()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            out = net(x)
        out.float().square().mean().backward()
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - before)
        if number and time.perf_counter() - began > SECONDS:
            break
    return best


def native_half(device: str = "cpu") -> bool:
    """Whether the hardware says that it has bfloat16."""
    import torch

    native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return device == "cuda" or bool(native())


def halved(precision: str) -> bool:
    """Whether a run with this `learning.precision` computes in bfloat16 here."""
    import torch

    return precision == "bfloat16" or (
        precision == "auto" and native_half("cuda" if torch.cuda.is_available() else "cpu")
    )


def resident() -> int:
    """Bytes of this process that lie in memory now."""
    words = _words(Path("/proc/self/statm"))
    return int(words[1]) * os.sysconf("SC_PAGE_SIZE") if len(words) > 1 else 0


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes; empty where there is none."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if len(line.split()) > 1}


def _pages() -> int:
    """All memory, where there is no /proc."""
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):
        return 4 << 30


def _first(*names: str) -> int | None:
    """The number in the first of these control files that holds one."""
    for name in names:
        words = _words(CGROUP / name)
        if words and words[0].isdigit():
            return int(words[0])
    return None


def _stat() -> dict[str, int]:
    for name in ("memory.stat", "memory/memory.stat"):
        words = _words(CGROUP / name)
        if words:
            return {key: int(value) for key, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}
    return {}


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []
