"""How much memory a training run will hold at its peak, predicted before it begins."""

import math
import os
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.core.sizes import size_words
from hilum.data.store import LIMIT, held
from hilum.planning import machine
from hilum.planning.cost import Step, step
from hilum.prepare.grid import target_shape
from hilum.tasks import _task

LIBRARIES = 460 << 20
# Of a process that has imported what training needs, before any data: measured, see benchmarks/training/memory.py.
AHEAD = 3
# Batches at a time: two made in advance and the one in use.
SLOTS = {"adamw": 2, "adam": 2, "sgd": 1}
# Copies of the weights that an optimiser keeps.
SHARE = 0.8
# Of what is asked for or available, that is planned: predictions were up to 18 % too low on a busy machine, and
# 1 / 0.82 is 1.22 (benchmarks/results/training_memory.md, commit 47e62aa).
COPIES = 2
# More copies of the weights: their running average and the best ones.
WORKSPACE = 4.0
# Of a step, in units of the largest tensor kept for backward: gradients on their way and reordered convolution inputs.
LOSSES = 4
# Copies of what the network gives that its losses make, at a guess: softmax, its logarithm and two of the target.
GAPS = 64 << 20
# Between the blocks that steps on volumes hold (`hilum.learn._device.hold`): measured there too.
PREPARING = 3
# Copies of a case's largest array, in float32 or complex, that there are for a moment while the case is prepared.


@dataclass(frozen=True)
class Memory:
    """Bytes at the peak. cases: prepared ones kept; weights: with gradients, optimiser and copies; preparing: copies of
    a case while it is looked at and prepared, beyond what only training holds.
    """

    libraries: int
    cases: int
    batches: int
    weights: int
    activations: int
    workspace: int
    preparing: int = 0

    @property
    def total(self) -> int:
        """Of all parts."""
        return sum(asdict(self).values())

    def words(self) -> str:
        """The total and its largest parts, for a sentence."""
        parts = sorted(asdict(self).items(), key=lambda part: -part[1])[:3]
        return f"{size_words(self.total)} ({', '.join(f'{name} {size_words(size)}' for name, size in parts)})"


@dataclass(frozen=True)
class Kept:
    """Bytes of every case that is prepared for training and validation.

    largest: of the largest array, in float32, or complex as it is. looked, read: the most that an image of any part and
    its label take as they are stored, while they are looked at before there is a plan, and while they are read.
    """

    sizes: tuple[int, ...]
    largest: int = 0
    looked: int = 0
    read: int = 0

    def within(self, limit: int) -> int:
        """Bytes held by a store of that limit, which keeps one case at least."""
        return min(sum(self.sizes), max(limit, max(self.sizes, default=0)))

    def preparing(self, limit: int, later: int) -> int:
        """Bytes that preparing adds to the peak. later: what there is while training and not before."""
        copies = max(PREPARING * self.largest, self.read)
        # cases that the store can not keep are prepared again while the network learns
        added = copies if sum(self.sizes) > limit else max(0, copies - later)
        return max(added, self.looked - self.within(limit) - later)


def kept(ready: Any, plan: Plan) -> Kept:
    """What prepared cases need, from the smallest and the largest of each kind (single or pair), in proportion between.

    ready: a planner.Prepared.
    """
    voxels = {row["id"]: _voxels(row, plan) for row in ready.facts["cases"]}
    task, kinds = _task.load(plan), dict[bool, list[tuple[float, Case]]]()
    for case, part in ready.units(plan):
        if part in ("train", "val"):
            pair = "fixed" in case.attributes
            names = [case.attributes["fixed"], case.attributes["moving"]] if pair else [case.id]
            kinds.setdefault(pair, []).append((sum(voxels.get(n, 0.0) for n in names), case))
    sizes, most = list[int](), 0
    for found in kinds.values():
        found.sort(key=lambda item: (item[0], item[1].id))
        (few, small), (many, large) = found[0], found[-1]
        low, one = _prepared(task, small, few)
        high, other = (low, one) if many == few else _prepared(task, large, many)
        most = max(most, one, other)
        slope = (high - low) / (many - few) if many > few else 0.0
        sizes += [round(low + slope * (n - few)) for n, _ in found]
    return Kept(tuple(sizes), most, *np.max([_stored(row) for row in ready.facts["cases"]], axis=0).tolist())


def _stored(row: dict[str, Any]) -> tuple[int, int]:
    """Bytes that a case, a row of the fingerprint, takes as it is stored: while it is looked at, and while it is read.

    Looked at are the image as it is and in float32, its label before and after it is turned, and two masks; read are
    image and label, and pictures in float32 too, while of a volume some slices are. Raw data are as large as prepared.
    """
    if row.get("values"):
        return 0, 0
    # facts of older runs do not say how wide values are
    image, label = row.get("bytes", (4, 4))
    voxels, channels = int(np.prod(row["shape"])), int(row["channels"])
    wide = 4 * channels if len(row["shape"]) == 2 else 0
    return voxels * (channels * (image + 4) + 2 * label + 2), voxels * (channels * image + wide + label)


def _voxels(row: dict[str, Any], plan: Plan) -> float:
    """Of a case at the planned spacing: of two that are stored alike, that with thicker slices becomes the larger."""
    # of raw data every slice and coil counts, which the facts of older runs do not say
    if row.get("values"):
        return float(row["values"])
    return float(np.prod(at_spacing(row, plan)))


def at_spacing(row: dict[str, Any], plan: Plan) -> tuple[int, ...]:
    """The shape of a case, a row of the fingerprint, at the planned spacing."""
    return target_shape(
        tuple(row["shape"]), tuple(row["spacing"]), None if plan.spacing is None else tuple(plan.spacing)
    )


def _prepared(task: _task.Task, case: Case, voxels: float) -> tuple[int, int]:
    """Bytes of the prepared case, and of its largest array if it were float32; complex ones count as they are."""
    try:
        made = task.prepare(case)
    except HilumError:
        # training names what is wrong with it
        return int(voxels * 16), int(voxels * 4)
    arrays = [a for a in made.values() if isinstance(a, np.ndarray)]
    return held(made), max((a.nbytes if a.dtype.kind == "c" else 4 * a.size for a in arrays), default=0)


def largest(plan: Plan) -> Step:
    """A step as it holds most: where whole slices are learned from, on the largest of them and not on the median."""
    size = plan.data.get("slice")
    return step(plan if size is None else plan.model_copy(update={"patch": size}))


def predict(
    plan: Plan,
    cases: Kept,
    *,
    store: int | None = None,
    copies: int = COPIES,
    cost: Step | None = None,
    devices: int = 1,
) -> Memory:
    """Peak resident bytes of training the plan on processors, whatever else is there, with these prepared cases.

    store: limit for prepared cases, by default the plan's. copies: of the weights besides gradients and optimiser.
    cost: of its `largest` step, where that is known. devices: processes that share every batch; the bytes are those of
    each.
    """
    cost = largest(plan) if cost is None else cost
    limit = store if store is not None else plan.store_bytes or LIMIT
    slots = SLOTS.get(str(plan.learning.get("optimiser", "adamw")), 2)
    steady = cost.weights * (1 + slots + copies)
    own = cost if devices == 1 else largest(plan.model_copy(update={"batch": max(1, plan.batch // devices)}))
    half = machine.halved(plan.learning.get("precision", "auto"), "cpu")
    saved = int(own.saved * (0.55 if half else 1))
    activations, workspace = cost.weights + saved, _workspace(own, plan)
    if devices > 1:
        # each learns from its share of a batch, but validates whole ones, of which nothing is kept for backward
        workspace = max(workspace, _workspace(cost, plan) + LOSSES * cost.outputs - saved)
    # while a state is saved it is there twice, but no activations are
    weights, batches = steady + max(0, steady - activations - workspace), AHEAD * cost.batch
    preparing = cases.preparing(limit, batches + weights + activations + workspace)
    return Memory(
        libraries=LIBRARIES, cases=cases.within(limit), batches=batches, weights=weights, activations=activations,
        workspace=workspace, preparing=preparing,
    )  # fmt: skip


def _workspace(cost: Step, plan: Plan) -> int:
    """What a forward pass holds for a moment, beside what is kept for backward."""
    return int(WORKSPACE * cost.largest) + 2 * cost.outputs + (GAPS if plan.dims == 3 else 0)


def cap(asked: int | None = None) -> int:
    """The most that a plan may need: SHARE of what is asked, or of what is available now and what this process has."""
    if asked is not None:
        return math.ceil(SHARE * asked)
    return int(SHARE * (machine.memory()[1] + machine.resident())) if os.name == "posix" else 1 << 40
