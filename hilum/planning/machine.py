"""What this machine can do: cores, memory, accelerator, and a measured speed of convolutions."""

import os
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from hilum.core import half
from hilum.core.errors import HilumError

CGROUP, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Where control groups lie, and in which of them this process is.
SECONDS = 0.4
# Of one measurement, once its first repetitions are done.
WIDTH, BATCH = 16, 2
SIDE = {2: 128, 3: 24}
# Blocks like those planned on processors, in the layout that they get: small ones read as slower.


def facts(dims: int | None = None, wanted: str = "auto") -> dict[str, Any]:
    """cores, memory (bytes available), total (bytes), accelerator (None or {"name", "memory"}), and for `dims` gflops.

    gflops: 10^9 floating point operations a second, forward and backward, in the precision that "auto" takes here; it
    is named. wanted: the accelerator to plan for, "auto", "cpu" or "cuda".
    """
    total, available = memory()
    found: dict[str, Any] = {
        "cores": cores(), "memory": available, "total": total, "gflops": None,
        "accelerator": None if wanted == "cpu" else accelerator(),
    }  # fmt: skip
    if dims is not None:
        device = "cuda" if found["accelerator"] else "cpu"
        precision = "bfloat16" if native_half(device) else "float32"
        found |= {"gflops": speed(dims, device, precision), "precision": precision}
    return found


def cores() -> int:
    """Processor cores that this process may use: affinity, and the share that a container grants."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    granted = _words(CGROUP / "cpu.max")
    if len(granted) == 2 and granted[0].isdigit() and granted[1].isdigit():
        allowed = min(allowed, max(1, -(-int(granted[0]) // int(granted[1]))))
    return max(1, allowed)


def memory() -> tuple[int, int]:
    """(total, available) bytes: the machine's, or what a container or a queue (cgroup 1 or 2) leaves of it."""
    rows = _meminfo()
    whole, free = rows.get("MemTotal", 0), rows.get("MemAvailable", 0)
    if not whole:
        whole = free = _pages()
    limits = [(limit, left) for limit, left in _limits() if limit < whole]
    return min([whole, *(limit for limit, _ in limits)]), min([free, *(left for _, left in limits)])


def accelerator() -> dict[str, Any] | None:
    """The first CUDA device: its name and memory in bytes; None without one."""
    import torch

    if not torch.cuda.is_available():
        return None
    found = torch.cuda.get_device_properties(0)
    return {"name": found.name, "memory": int(found.total_memory)}


@cache
def speed(dims: int, device: str = "cpu", precision: str = "float32") -> float:
    """GFLOP/s of forward and backward of 3x3 (3x3x3) convolutions with norm and activation; two digits.

    The best of a few repetitions in under a second; once per process and kind. Refused (HIL-T07): a card without room.
    """
    import torch

    try:
        return _speed(dims, device, precision)
    except torch.OutOfMemoryError as error:
        raise HilumError(
            "HIL-T07", "Memory ran out while the speed of the card was measured",
            "Free the card (nvidia-smi names what holds its memory), or train with --accelerator cpu",
        ) from error  # fmt: skip


def _speed(dims: int, device: str, precision: str) -> float:
    import torch
    from torch import nn

    from hilum.zoo._blocks.dims import layers

    kit = layers(dims)
    with torch.random.fork_rng(devices=[]):
        blocks = [
            [kit.conv(WIDTH, WIDTH, 3, padding=1), kit.instance_norm(WIDTH, affine=True), nn.LeakyReLU(0.01)]
            for _ in range(2)
        ]
        net = nn.Sequential(*(layer for block in blocks for layer in block)).to(device)
        x = torch.randn(BATCH, WIDTH, *[SIDE[dims]] * dims, device=device)
    if dims == 3 or device == "cuda":
        layout = torch.channels_last_3d if dims == 3 else torch.channels_last
        x = x.contiguous(memory_format=layout)
        for weight in net.parameters():
            weight.data = weight.data.contiguous(memory_format=layout) if weight.ndim == dims + 2 else weight.data
    x.requires_grad_(True)
    work = 3 * len(blocks) * 2 * WIDTH * WIDTH * 3**dims * SIDE[dims] ** dims * BATCH
    return float(f"{work / _best(net, x, precision == 'bfloat16') / 1e9:.2g}")


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
    if device == "cuda":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    return half.on_processors()


def halved(precision: str, device: str) -> bool:
    """Whether a run with this `learning.precision` computes in bfloat16 on that device (cpu, cuda)."""
    return precision == "bfloat16" or (precision == "auto" and native_half(device))


def in_precision(found: dict[str, Any], dims: int, wanted: str) -> dict[str, Any]:
    """`facts` with the speed of a run with this `learning.precision`: measured anew where another one was measured."""
    device = "cuda" if found.get("accelerator") else "cpu"
    taken = "bfloat16" if halved(wanted, device) else "float32"
    if found.get("precision", taken) == taken:
        return found
    return found | {"gflops": speed(dims, device, taken), "precision": taken}


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


def _limits() -> Iterator[tuple[int, int]]:
    """(limit, what is left of it) in bytes, of each group of this process and those above it that has one."""
    for folder in _groups():
        limit = _first(folder, "memory.max", "memory.limit_in_bytes")
        used = _first(folder, "memory.current", "memory.usage_in_bytes")
        if limit is not None:
            words = _words(folder / "memory.stat")
            stat = {key: int(value) for key, value in zip(words[::2], words[1::2], strict=False) if value.isdigit()}
            # files that the kernel keeps for reading count as used and are given back when needed
            kept = stat.get("total_inactive_file", stat.get("inactive_file", 0))
            yield limit, max(0, limit - max(0, (used or 0) - kept))


def _groups() -> list[Path]:
    """Folders of the groups of memory that this process is in, each once, as far as they are seen here: a container may
    see its own as the root.
    """
    found = [CGROUP, CGROUP / "memory"]
    for line in _text(OWN).splitlines():
        number, _, rest = line.partition(":")
        kinds, _, place = rest.partition(":")
        root = CGROUP / "memory" if "memory" in kinds.split(",") else CGROUP
        steps = place.strip("/").split("/")
        if (number == "0" or root != CGROUP) and ".." not in steps:
            found += [root.joinpath(*steps[:n]) for n in range(1, len(steps) + 1)]
    return list(dict.fromkeys(found))


def _first(folder: Path, *names: str) -> int | None:
    """The number in the first of these control files that holds one."""
    for name in names:
        words = _words(folder / name)
        if words and words[0].isdigit():
            return int(words[0])
    return None


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
