"""Batch norm of one image that has shrunk to one voxel is refused; a file of its own, since few networks ask for it."""

from torch import Tensor

from hilum.core.errors import HilumError


def require_several_values(x: Tensor, most: int, training: bool) -> None:
    """Refuse one x (1, C, *space), no side over `most`, in training: batch norm at the bottom sees one value.

    most: the largest side that leaves one voxel after all strides. training: of the batch norm there.
    """
    if training and len(x) == 1 and max(x.shape[2:]) <= most:
        seen = f"One image of size {tuple(x.shape[2:])} leaves one value per channel at the bottom"
        raise HilumError("HIL-ZOO-02", seen, f"Use a batch of two or more, or a side over {most}")
