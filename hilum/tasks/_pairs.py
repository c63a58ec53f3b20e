"""Pairs for registration: which images meet, and fields between the common box and the images' own grids."""

import hashlib
from collections.abc import Sequence

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.findings import Field
from hilum.core.image import Array, Case, Image
from hilum.data.dataset import Dataset
from hilum.data.groups import joined
from hilum.prepare.grid import Placed
from hilum.tasks._labels import IGNORE

HALF = 0.5
# Share of ignored voxels in what is pulled from a moving label from which nothing is known there.


def pair(fixed: Case, moving: Case) -> Case:
    """One case with roles fixed, moving (and their labels), grouped with the fixed image."""
    items = {"fixed": fixed.items["image"], "moving": moving.items["image"]}
    if "label" in fixed.items and "label" in moving.items:
        items |= {"fixed_label": fixed.items["label"], "moving_label": moving.items["label"]}
    attributes = {"fixed": fixed.id, "moving": moving.id}
    return Case(f"{fixed.id}__{moving.id}", fixed.group, items, attributes)


def units(dataset: Dataset, parts: dict[str, str], seed: int, partners: int) -> list[tuple[Case, str]]:
    """(case, part). Listed pairs stay in the part of both; else train: single images; val and test: seeded pairs."""
    cases = {c.id: c for c in dataset.cases}
    if dataset.pairs:
        listed = [(pair(cases[f], cases[m]), parts[f]) for f, m in dataset.pairs if parts[f] == parts[m]]
        for part in sorted(set(parts.values())):
            if not any(p == part for _, p in listed):
                raise HilumError(
                    "HIL-T08", f"pairs.csv leaves no pair in the {part} part",
                    "Pairs must lie within one part: list more, or give a patient or split column",
                )  # fmt: skip
        return listed
    out: list[tuple[Case, str]] = []
    for part in ("train", "val", "test"):
        inside = [c for c in dataset.cases if parts[c.id] == part]
        if len(inside) == 1:
            raise HilumError(
                "HIL-T08", f"The {part} part has one image, a pair needs two", "About 20 images fill all parts"
            )
        if part == "train":
            # any two of them may meet in a batch
            out += [(c, part) for c in inside]
            continue
        for fixed in inside:
            others = sorted(
                (c for c in inside if c.id != fixed.id),
                key=lambda c: hashlib.sha256(f"{seed}:{fixed.id}:{c.id}".encode()).hexdigest(),
            )
            out += [(pair(fixed, moving), part) for moving in others[:partners]]
    return out


def in_pairs(cases: Sequence[Case]) -> list[Case]:
    """Pairs as they are, and each single image as the fixed one of the single image before it."""
    single = [c for c in cases if "image" in c.items]
    before = dict(zip((c.id for c in single), single[-1:] + single[:-1], strict=True))
    return [pair(case, before[case.id]) if case.id in before else case for case in cases]


def connected(pairs: tuple[tuple[str, str], ...], groups: dict[str, str]) -> dict[str, str]:
    """{case: group}: groups linked by listed pairs become one, so that the split tears no pair (nor patient) apart."""
    names = sorted(set(groups.values()))
    places = {name: n for n, name in enumerate(names)}
    roots = joined(((places[groups[first]], places[groups[second]]) for first, second in pairs), names)
    return {case: roots[places[own]] for case, own in groups.items()}


def _voxel_to_box(placed: Placed, start: list[int]) -> Array:
    """(d+1, d+1): voxel index of the image's own grid -> index in the common box."""
    from hilum.core import geometry

    n = len(placed.shape)
    move: Array = np.eye(n + 1)
    if placed.image.affine is not None and n == 3:
        order, flips = geometry.axes_to_ras(placed.image.affine)
        # reorder(identity) maps RAS-ordered indices to own indices; we need the way there
        move = np.linalg.inv(geometry.reorder(np.eye(n + 1), placed.ras_shape, order, flips))
    shrink = np.linalg.inv(geometry.rescaled(np.eye(n + 1), placed.ras_shape, placed.shape))
    shift = np.eye(n + 1)
    shift[:n, n] = -np.array(start)
    return shift @ shrink @ move


def field(box: Array, fixed: Placed, moving: Placed, start_fixed: list[int], start_moving: list[int]) -> Field:
    """Displacement (d, *box) in box voxels -> Field on the fixed grid in fixed voxels; physical() is then exact.

    For a fixed voxel p the moving point is M^-1(b + u(b)) with b = F p; its place minus that of p, in fixed voxels.
    """
    from scipy.ndimage import map_coordinates

    to_box, to_moving = _voxel_to_box(fixed, start_fixed), np.linalg.inv(_voxel_to_box(moving, start_moving))
    points = _grid(fixed.image.shape)
    at = _apply(to_box, points)
    bent = at + np.stack([map_coordinates(c, at, order=1, mode="nearest") for c in box])
    world = _apply(_affine(moving.image) @ to_moving, bent)
    back = _apply(np.linalg.inv(_affine(fixed.image)), world)
    return Field((back - points).astype(np.float32), fixed.image.affine)


def still(fixed: Image, moving: Image) -> Field:
    """The field that only lays the centres of the two grids on each other: how they look before registration."""
    n = fixed.dims
    middle_f = _apply(_affine(fixed), (np.array(fixed.shape) - 1).reshape(n, 1) / 2)
    middle_m = _apply(_affine(moving), (np.array(moving.shape) - 1).reshape(n, 1) / 2)
    step = np.linalg.inv(_affine(fixed)[:n, :n]) @ (middle_m - middle_f)
    return Field(np.broadcast_to(step.reshape(n, *[1] * n), (n, *fixed.shape)).astype(np.float32), fixed.affine)


def pull(moving: Image, field: Field, order: int = 1) -> Array:
    """The moving image (C, *moving space) on the fixed grid (C, *fixed space); outside repeats the edge."""
    from scipy.ndimage import map_coordinates

    at = _source_points(moving, field)
    return np.stack([map_coordinates(c.astype(np.float32), at, order=order, mode="nearest") for c in moving.array])


def pull_labels(moving: Image, field: Field, classes: int) -> Array:
    """Label (1, *moving space) with values 0..classes on the fixed grid: each value linearly, the strongest wins.

    IGNORE where at least half of what is pulled is ignored.
    """
    from scipy.ndimage import map_coordinates

    at = _source_points(moving, field)
    ignored, *layers = (
        map_coordinates((moving.array[0] == n).astype(np.float32), at, order=1, mode="grid-constant")
        for n in (IGNORE, *range(1, classes + 1))
    )
    rest = 1 - np.sum(layers, axis=0)
    return np.where(ignored >= HALF, IGNORE, np.argmax(np.stack([rest, *layers]), axis=0))


def _source_points(moving: Image, field: Field) -> Array:
    """Moving voxel coordinates (d, *fixed space) that the field points to."""
    points = _grid(field.array.shape[1:]) + field.array
    fixed = np.eye(len(points) + 1) if field.affine is None else field.affine
    return _apply(np.linalg.inv(_affine(moving)) @ fixed, points)


def _affine(image: Image) -> Array:
    return np.eye(image.dims + 1) if image.affine is None else image.affine


def _grid(shape: tuple[int, ...]) -> Array:
    return np.stack(np.meshgrid(*[np.arange(n, dtype=np.float64) for n in shape], indexing="ij"))


def _apply(matrix: Array, points: Array) -> Array:
    n = len(matrix) - 1
    moved: Array = np.einsum("ij,j...->i...", matrix[:n, :n], points)
    return moved + matrix[:n, n].reshape(n, *[1] * (points.ndim - 1))
