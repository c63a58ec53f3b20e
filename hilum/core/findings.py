"""What is found: Scores, Mask, Boxes, Field, Picture, Text, Table; the Verdict, and the Result that carries them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np

from hilum.core.image import Array, Image, Table, Text

INTENDED_USE = "Research software. Not a medical device. Not for diagnosis, triage or treatment."


@dataclass(frozen=True)
class Score:
    """One number. kind: "probability" (0..1), "quantity" (with `unit`) or "survival"."""

    name: str
    value: float
    kind: str = "probability"
    unit: str = ""


@dataclass(frozen=True)
class Scores:
    """Named numbers about the whole case."""

    rows: tuple[Score, ...]

    def vector(self) -> Array:
        """The values in order, float64 (n,)."""
        return np.array([row.value for row in self.rows], dtype=np.float64)

    @property
    def best(self) -> Score:
        """The row with the highest value."""
        return max(self.rows, key=lambda row: row.value)


@dataclass(frozen=True)
class Mask:
    """A label map on the input's own grid.

    array: (*space) integers, or (K, *space) bool where `stacked` (overlapping classes). classes: {value: name}.
    instances: values number the objects instead of naming a class.
    probability: (*space) float32 0..1 of the one class, where the task keeps it.
    """

    array: Array
    classes: Mapping[int, str]
    affine: Array | None = None
    instances: bool = False
    stacked: bool = False
    probability: Array | None = None


@dataclass(frozen=True)
class Boxes:
    """Rectangles in pixels of the input's own grid: array (N, 2*dims) as low..., high... with `high` exclusive.

    scores: (N,) 0..1. labels: (N,) class values. classes: {value: name}.
    """

    array: Array
    scores: Array
    labels: Array
    classes: Mapping[int, str]


@dataclass(frozen=True)
class Field:
    """A displacement on the fixed image's grid: array (d, *space) in `unit` along the array axes.

    Direction: pulls. The moved image at fixed voxel p is moving(p + u(p)); `affine` is the fixed grid's.
    unit: "voxel"; `physical()` gives mm along the world axes.
    """

    array: Array
    affine: Array | None = None
    unit: str = "voxel"

    def physical(self) -> Array:
        """Displacement in mm along the RAS+ axes (d, *space); in pixel space one pixel counts as 1 mm."""
        if self.affine is None:
            return self.array
        square = np.asarray(self.affine)[:-1, :-1]
        return np.einsum("ij,j...->i...", square, self.array)


@dataclass(frozen=True)
class Picture:
    """An image that was made: reconstructed, restored, translated or generated.

    unit: "0..1" of shares, "grey" of grey values from 0 to 65535 whose fractions mean nothing; "" of anything else.
    """

    image: Image
    unit: str = ""


Finding = Union[Scores, Mask, Boxes, Field, Picture, Text, Table]  # noqa: UP007


@dataclass(frozen=True)
class Verdict:
    """What should happen with a result: "accept", "flag" or "person", and why, in words."""

    decision: str = "person"
    reasons: tuple[str, ...] = ("No gate has been calibrated for this model: a person judges every result.",)


@dataclass(frozen=True)
class Result:
    """Everything found in one case."""

    findings: Mapping[str, Finding]
    verdict: Verdict = field(default_factory=Verdict)
    warnings: tuple[str, ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.findings[name]
