"""What comes in: Image, Measurement, Source, Table, Text, and the Case that holds them by role."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Union, runtime_checkable

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Image:
    """Pixels with their place in the patient.

    array: (C, *space), 2-D or 3-D space, array index order (i, j, k) for volumes and (row, column) for pictures.
    affine: (4, 4) RAS+ mm for volumes, or None for pixel space (ordinary pictures, spacing 1 pixel).
    warnings: named sentences that travel into every result made from this image.
    meta: plain data about the origin (path, modality, series uid, ...); never needed for geometry.
    """

    array: Array
    affine: Array | None = None
    warnings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4):
            raise HilumError(
                "HIL-N10", f"An image has axes (channel, 2-D or 3-D space), not shape {self.array.shape}",
                "Add a channel axis, or pick one volume of a series",
            )  # fmt: skip
        if 0 in self.array.shape:
            raise HilumError(
                "HIL-N11", f"The image has an empty axis: shape {self.array.shape}", "Mend or leave it out"
            )
        if self.affine is not None:
            object.__setattr__(self, "affine", geometry.check_affine(self.affine))

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape, without channels."""
        return self.array.shape[1:]

    @property
    def dims(self) -> int:
        """2 or 3."""
        return self.array.ndim - 1

    @property
    def spacing(self) -> tuple[float, ...]:
        """mm per voxel along each spatial axis (1.0 in pixel space)."""
        return (1.0,) * self.dims if self.affine is None else geometry.spacing(self.affine)

    def like(self, array: Array) -> "Image":
        """Another array (C', *same space) on this grid."""
        if array.shape[1:] != self.shape:
            raise ValueError(f"shape {array.shape[1:]} does not lie on the grid {self.shape}")
        return replace(self, array=array)


@dataclass(frozen=True)
class Extent:
    """What the header of a volume says before it is read: shape (C, *space), affine (4, 4) RAS+ mm, bytes once read.

    beside: bytes that are held besides while it is read.
    """

    shape: tuple[int, ...]
    affine: Array
    size: int
    beside: int = 0


@dataclass(frozen=True)
class Measurement:
    """Raw data before reconstruction: k-space or a sinogram.

    array: complex or real, its axes named by `axes`, for example ("coil", "ky", "kx").
    operator: plain data that describes the acquisition ({"name": "fourier", "mask": (W,) array, "maps": ...});
    `physics` turns it into an operator with an adjoint. target: what a fully sampled scan would give, where known,
    magnitude (1, H, W). target_affine: affine of the image space, or None for pixel space.
    """

    array: Array
    axes: tuple[str, ...]
    operator: Mapping[str, Any]
    target: Array | None = None
    target_affine: Array | None = None
    warnings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.array.ndim != len(self.axes):
            raise ValueError(f"{self.array.ndim} axes but names {self.axes}")


@dataclass(frozen=True)
class Table:
    """Rows of plain values by column."""

    rows: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Text:
    """Written words, for example a report."""

    text: str


@runtime_checkable
class Source(Protocol):
    """A lazy handle: what lies on disk, read when asked for, whole or by region."""

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> "Image | Measurement | Table":
        """region: spatial slices at that level, or None for everything; level: 0 is full resolution."""


Item = Union[Image, Measurement, Source, Table, Text]  # noqa: UP007 - Source is a Protocol, | fails at run time


@dataclass(frozen=True)
class Case:
    """One unit of work: its items by role.

    id: unique within the data set. group: what must not be split (patient where known, else similarity group).
    items: {role: item}; roles come from the task card ("image", "label", "fixed", "moving", "kspace", ...).
    attributes: other columns (site, sex, ...). klass: class name where the folder or a column gives one.
    boxes: rows (class value, low..., high...) in pixels, end exclusive, where the folder gives them, and the names of
    those values in this data set: box_classes.
    """

    id: str
    group: str
    items: Mapping[str, Any]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    klass: str | None = None
    boxes: Array | None = None
    box_classes: Mapping[int, str] = field(default_factory=dict)

    def read(self, role: str) -> Any:
        """The item of that role, read from disk if it is a Source."""
        if role not in self.items:
            raise HilumError("HIL-DATA-08", f"Case {self.id} has no {role!r}", f"It has: {', '.join(self.items)}")
        item = self.items[role]
        return item.read() if isinstance(item, Source) else item
