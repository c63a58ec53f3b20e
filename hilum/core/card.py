"""The CUDA device of this machine: whether there is one, what it holds, and a sentence where it has no room."""

import contextlib
import traceback
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from hilum.core.errors import HilumError

if TYPE_CHECKING:
    from torch import device as Device

KIND, FULL = "cuda", "HIL-INFER-22"
# The kind of device, and the code of its having no room.


def there() -> bool:
    """Whether PyTorch sees a CUDA device."""
    import torch

    return torch.cuda.is_available()


def name() -> str:
    """What its maker calls it; "" without one, or where its driver does not answer."""
    import torch

    with contextlib.suppress(RuntimeError):
        return torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return ""


def device() -> "Device":
    """It."""
    import torch

    return torch.device(KIND)


def wait() -> None:
    """Until it has done what it was told."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def forget() -> None:
    """Count the peak anew."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def peak() -> int:
    """The most bytes that tensors of this process held on it; 0 where it was not used."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_initialized() else 0


def full_products() -> None:
    """From now on products and convolutions of float32 in float32, not in TF32 with its 10 bits.

    The switch is the process's, and threads share it: set back, it would change under another one's hands.
    """
    import torch

    with warnings.catch_warnings():
        # some versions ask for a newer switch, which older ones do not have
        warnings.simplefilter("ignore")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


@contextlib.contextmanager
def room(what: str, remedy: str) -> Iterator[None]:
    """Too little memory on the device becomes a sentence (HIL-INFER-22)."""
    import torch

    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        # what its frames hold would be held for as long as the error is
        traceback.clear_frames(error.__traceback__)
        torch.cuda.empty_cache()
        raise HilumError(FULL, f"The memory of the CUDA device ran out {what}", remedy) from error
