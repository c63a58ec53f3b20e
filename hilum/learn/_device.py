"""Where a run computes: Lightning Fabric on CPU or CUDA, one process or several, precision and memory layout."""

import ctypes
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.learn._state import State
from hilum.planning import machine

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor, nn

ACCELERATORS = ("auto", "cpu", "cuda")
HELD, USUAL = (256 << 20, 256 << 20), (32 << 20, 64 << 20)
# Bytes, of glibc: what is freed in blocks up to the first stays with the process, and up to the second at its end.
_HOLDS: list[bool] = []
# Not empty while this process holds memory.


def frozen(plan: Plan, accelerator: str) -> Plan:
    """The plan with `auto` precision and layout decided, by rule and not by timing: the same machine, the same run.

    bfloat16 where the processor has it. Channels last in 3-D, and on CUDA in 2-D too, as PyTorch advises there; on
    processors 2-D convolutions lose in their backward pass what they gain forwards.
    """
    learning, cuda = dict(plan.learning), on_cuda(accelerator)
    if learning.get("precision") == "auto":
        learning["precision"] = "bfloat16" if machine.native_half("cuda" if cuda else "cpu") else "float32"
    if learning.get("layout") == "auto":
        learning["layout"] = "channels_last" if plan.dims == 3 or cuda else "contiguous"
    return plan.model_copy(update={"learning": learning})


def check(accelerator: str, devices: int = 1) -> None:
    """Refuse a word that is none of ACCELERATORS (HIL-LEARN-01): taken for another one it would train elsewhere.

    Refused too: several devices in a notebook or an interactive interpreter (HIL-LEARN-03), where Lightning Fabric
    starts no processes.
    """
    if accelerator not in ACCELERATORS:
        raise HilumError("HIL-LEARN-01", f"--accelerator is {accelerator!r}", f"Use one of {', '.join(ACCELERATORS)}")
    if devices > 1 and (hasattr(sys, "ps1") or sys.flags.interactive):
        raise HilumError(
            "HIL-LEARN-03", f"{devices} devices need processes of their own, which a notebook or an interactive "
            "interpreter can not start", f"Use hilum train --devices {devices} on the command line, or one device",
        )  # fmt: skip


def on_cuda(accelerator: str) -> bool:
    """Whether that accelerator, one of ACCELERATORS, means a CUDA device here."""
    import torch

    check(accelerator)
    there = torch.cuda.is_available()
    if accelerator == "cuda" and not there:
        raise HilumError("HIL-LEARN-01", "--accelerator is cuda, but no CUDA device is there", "Use --accelerator cpu")
    return there and accelerator != "cpu"


def fabric(plan: Plan, accelerator: str = "auto", devices: int = 1) -> "Fabric":
    """The Fabric of a run whose plan is `frozen`. devices: processes that share every batch.

    Refused: more of them than there are CUDA devices (HIL-LEARN-03).
    """
    cuda = on_cuda(accelerator)
    if cuda:
        _enough(devices)
    with warnings.catch_warnings():
        # it looks for other accelerators and newer idioms, none of which is the user's concern
        warnings.simplefilter("ignore")
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.environments import LightningEnvironment

        # nor are its hints about cards and precision
        logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
        strategy: Any = "auto"
        if devices > 1:
            from hilum.learn._strategy import Averaged

            strategy = Averaged(start_method="spawn")
        # else Slurm and other queues would be asked, which count their own tasks as the processes of this run
        plugins: list[Any] = [LightningEnvironment()]
        precision: Any = "32-true"
        if plan.learning["precision"] == "bfloat16":
            precision = "bf16-mixed" if cuda else None
            plugins += [] if cuda else [_half_on_processors()]
        kind = "cuda" if cuda else "cpu"
        return Fabric(accelerator=kind, devices=devices, strategy=strategy, precision=precision, plugins=plugins)


def _half_on_processors() -> Any:
    from hilum.learn._half import HalfOnProcessors

    return HalfOnProcessors()


def hold(kind: str = "cpu") -> bool:
    """Memory that a step on processors frees stays with the process for the next one; False where that can not be.

    Of itself glibc gives blocks above 32 MiB back, and whatever is free at its end; the system then clears the same
    pages at every step, which costs the more the larger tensors are. What is held has gaps, so this is for steps, which
    ask for the same blocks again and again. Older versions of glibc refuse it, and other libraries know nothing of it.
    """
    if kind == "cpu" and not _HOLDS:
        _HOLDS.extend([True] if _kept(*HELD) else [])
    return bool(_HOLDS)


def let_go() -> None:
    """The end of `hold`: what is free goes back to the system. Its limits stay at glibc's highest usual ones."""
    if _HOLDS:
        _HOLDS.clear()
        _kept(*USUAL)
        if (trim := _libc("malloc_trim")) is not None:
            trim(0)


def _kept(block: int, end: int) -> bool:
    """glibc's M_MMAP_THRESHOLD, and M_TRIM_THRESHOLD, which would do harm where it refuses the first."""
    change = _libc("mallopt")
    return change is not None and bool(change(-3, block)) and bool(change(-1, end))


def _libc(name: str) -> Any:
    """A function of the C library; None where it has none of that name."""
    return getattr(ctypes.CDLL(None), name, None) if os.name == "posix" else None


def _enough(devices: int) -> None:
    """Each process needs a CUDA device of its own."""
    import torch

    there = torch.cuda.device_count()
    if devices > there:
        raise HilumError(
            "HIL-LEARN-03", f"--devices {devices} asks for more CUDA devices than are there ({there})",
            f"Use --devices {there}, or --accelerator cpu",
        )  # fmt: skip


@contextmanager
def exact(plan: Plan) -> Iterator[None]:
    """With `learning.deterministic`, algorithms that give the same bits every time, whatever the device.

    Refused (HIL-LEARN-07): an operation that has no such algorithm. What was set before is set again after.
    """
    import torch

    if not plan.learning.get("deterministic"):
        yield
        return
    before, tuned = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    # cuBLAS asks for it when it is used first
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    try:
        yield
    except RuntimeError as error:
        words = str(error).split(" does not have a deterministic implementation")
        if len(words) == 1:
            raise
        raise HilumError(
            "HIL-LEARN-07", f"{words[0]} has no form that gives the same bits every time here",
            "Train without learning.deterministic, with another network or loss, or with --accelerator cpu",
        ) from error  # fmt: skip
    finally:
        torch.use_deterministic_algorithms(before)
        torch.backends.cudnn.benchmark = tuned


def average(tensors: "list[Tensor]", fabric: "Fabric") -> None:
    """The mean over all processes, in place; one message for all tensors."""
    import torch

    if fabric.world_size == 1 or not tensors:
        return
    flat = torch.cat([t.reshape(-1) for t in tensors])
    torch.distributed.all_reduce(flat)
    flat /= fabric.world_size
    for tensor, part in zip(tensors, flat.split([t.numel() for t in tensors]), strict=True):
        tensor.copy_(part.view(tensor.shape))


def largest(number: int, fabric: "Fabric") -> int:
    """The largest of the processes' numbers."""
    import torch

    if fabric.world_size == 1:
        return number
    found = torch.tensor(number, device=fabric.device)
    torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MAX)
    return int(found)


def placed(state: State, fabric: "Fabric") -> State:
    """The state's networks and optimisers on the device, in their layout; averages are made here, from the weights."""
    from copy import deepcopy

    for role, module in state.networks.items():
        state.networks[role] = lay_out(module, state.plan)
    if state.learning.ema:
        for role in state.plan.networks:
            if role in state.networks:
                twin = deepcopy(state.networks[role]).requires_grad_(False)
                state.average[role] = fabric.setup_module(twin)
    for role, module in state.networks.items():
        state.networks[role] = fabric.setup_module(module)
    for name, optimiser in state.optimisers.items():
        state.optimisers[name] = fabric.setup_optimizers(optimiser)  # type: ignore[assignment]
    return state


def lay_out(module: "nn.Module", plan: Plan) -> "nn.Module":
    """The weights of convolutions in the planned memory layout, in place; numbers and names stay."""
    if plan.learning["layout"] == "channels_last":
        for weight in module.parameters():
            if weight.ndim == plan.dims + 2:
                weight.data = weight.data.contiguous(memory_format=_layout(plan.dims))
    return module


def sent(batch: dict[str, Any], plan: Plan, fabric: "Fabric", share: bool = False) -> dict[str, Any]:
    """The batch on the device, floating images in the planned layout. share: each of several processes takes its own.

    Every process makes the whole batch, so that several learn from the very batches that one would.
    """
    import torch

    mine = slice(fabric.global_rank, None, fabric.world_size)

    def cut(value: Any) -> Any:
        # a list and a tensor by their samples; an operator of the acquisition knows how to be cut
        if isinstance(value, list | torch.Tensor):
            many = value.ndim > 0 if isinstance(value, torch.Tensor) else True
            return value[mine] if many and len(value) == plan.batch else value
        return value[mine] if hasattr(value, "__getitem__") else value

    def moved(value: Any) -> Any:
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, torch.Tensor):
            return value.to(fabric.device) if hasattr(value, "to") else value
        tensor: Tensor = fabric.to_device(value)
        if plan.learning["layout"] == "channels_last" and value.ndim == plan.dims + 2 and value.is_floating_point():
            return tensor.contiguous(memory_format=_layout(plan.dims))
        return tensor

    shared = share and fabric.world_size > 1
    return {name: moved(cut(value) if shared else value) for name, value in batch.items()}


def _layout(dims: int) -> Any:
    import torch

    return torch.channels_last_3d if dims == 3 else torch.channels_last
