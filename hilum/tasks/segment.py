"""Segmentation: which voxel belongs to what."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import Mask, Result
from hilum.core.image import Array, Case
from hilum.core.plan import Strict
from hilum.data.store import Prepared, Store
from hilum.prepare import augment, grid, intensity, patches
from hilum.tasks import _show, _task
from hilum.tasks._labels import IGNORE, class_plans, from_channels, same_grid, stored, to_channels
from hilum.tasks._topology import features, fit

if TYPE_CHECKING:
    from torch import Tensor

CARD = {
    "order": 1,
    "about": "which voxel belongs to what",
    "roles": ["image", "label"],
    "predicts_from": ["image"],
    "network": "nnunet",
    "regime": "supervised",
    "infer": "windows",
    "reduce": "argmax",
    "metrics": ["dice", "hd95_mm", "nsd_1mm", "volume_error_ml"],
    "dims": [2, 3],
}

ELEMENTS = {2: 12e6, 3: 14e6}
# Feature-map elements per sample at the planned width: a choice for two CPU cores, so that minutes hold many steps.


LONG = 60
# Minutes from which an oriented body is also learned from its mirror images.


class Options(Strict):
    """foreground: share of patches forced to hold a foreground voxel. overlap: of windows in prediction."""

    foreground: float = Field(default=0.34, ge=0, le=1)
    overlap: float = Field(default=0.5, ge=0, lt=1)
    mirror: bool = False


class Task(_task.Task):
    """Patches in, class logits out, windows merged by Gaussian weights."""

    Options = Options
    CARD: ClassVar[dict[str, Any]] = CARD

    @classmethod
    def rules(cls, fingerprint: dict[str, Any], budget: _task.Budget) -> dict[str, Any]:
        """nnU-Net v2's: median spacing (coarse axis: its 10th percentile), pooling by spacing; width by the budget."""
        classes, dims = class_plans(fingerprint), int(fingerprint["dims"])
        spacing, shape = _target(fingerprint)
        width = budget.width
        # an oriented body mirrored must be learned twice, which short runs have no time for; cells under a microscope
        # have no orientation
        mirror = [] if fingerprint["physical"] and (budget.minutes or 0) < LONG else [{"name": "flip"}]
        # runs of a minute or two learn more from many small patches than from few large ones
        limit = ELEMENTS[dims] * (0.3 if (budget.minutes or 0) <= 2 else 1)
        found = fit(shape, spacing, width, 1 + len(classes), limit)
        network = {
            "features": features(len(found.strides), width, dims),
            "strides": found.strides,
            "kernels": found.kernels,
            "deep_supervision": len(found.strides) > 2,
        }
        return {
            "classes": classes,
            "spacing": spacing if fingerprint["physical"] else None,
            "patch": found.patch,
            "batch": 2 if dims == 3 else 4,
            "networks": {"net": {"name": "nnunet", "options": network}},
            "augment": [{"name": n} for n in ("rotate_scale", "noise", "blur", "contrast")] + mirror,
            "options": {},
            # high, for runs of minutes; chosen on the validation part of hippocampus in runs of 400 to 500 steps
            "learning": {"rate": 8e-3},
        }

    def prepare(self, case: Case, truth: bool = True) -> Prepared:
        """image (C, *space) float32 normalised; target (*space) int16 and where the foreground lies."""
        image = case.read("image")
        if image.dims != self.plan.dims:
            raise HilumError(
                "HIL-N10", f"Case {case.id} is {image.dims}-D, the plan {self.plan.dims}-D", "Leave it out"
            )
        spacing = None if self.plan.spacing is None else tuple(self.plan.spacing)
        array, placed = grid.place(image, spacing)
        array = intensity.match_channels(array, len(self.plan.channels))
        prepared: Prepared = {"image": intensity.normalise(array, self.plan.normalisation), "placed": placed}
        if truth:
            label = stored(case)
            same_grid(case, image, label)
            target = grid.place_labels(label.like(to_channels(label.array, self.plan)), placed)
            prepared["target"] = target
            prepared["foreground"] = np.argwhere(target > 0).astype(np.int32)
            prepared["foreground_class"] = target[target > 0]
        return prepared

    def sample(self, store: Store, cases: Sequence[Case], part: str, k: int, rng: np.random.Generator) -> _task.Batch:
        """image (B, C, *patch), target (B, *patch). The last `foreground` share of patches holds a foreground voxel."""
        import torch

        images, targets = [], []
        forced = max(1, round(self.plan.batch * self.options.foreground)) if self.options.foreground else 0
        for number in range(self.plan.batch):
            ready = store(cases[int(rng.integers(len(cases)))])
            shape, voxels = ready["image"].shape[1:], ready["foreground"]
            if number >= self.plan.batch - forced and len(voxels):
                # first the class, then the voxel: a small lesion is looked at as often as a large organ
                kinds = ready["foreground_class"]
                chosen = np.flatnonzero(kinds == rng.choice(np.unique(kinds)))
                point = voxels[int(rng.choice(chosen))]
                start = patches.start_around(point, shape, self.plan.patch, rng)
            else:
                start = patches.random_start(shape, self.plan.patch, rng)
            image = patches.cut(ready["image"], start, self.plan.patch)
            target = patches.cut(ready["target"][None], start, self.plan.patch, fill=IGNORE)
            if part == "train":
                record = augment.draw(self.plan.augment, rng, self.plan.dims)
                image, target = augment.apply(record, image), augment.apply(record, target, "label")
            images.append(image)
            targets.append(target[0])
        return {
            "image": torch.from_numpy(np.stack(images).astype(np.float32)),
            "target": torch.from_numpy(np.stack(targets).astype(np.int64)),
        }

    def inputs(self, batch: _task.Batch) -> tuple[Any, ...]:
        return (batch["image"],)

    def losses(self, outputs: Any, batch: _task.Batch) -> "dict[str, Tensor]":
        """Cross-entropy + soft Dice, at every depth that the network gives."""
        from hilum.losses.deep_supervision import deep_supervised
        from hilum.losses.dice_ce import dice_ce

        def loss(logits: "Tensor", target: "Tensor") -> "Tensor":
            return dice_ce(logits, target, ignore=IGNORE, batch=True)

        if isinstance(outputs, dict):
            levels = outputs["out"]
            targets = [_shrink(batch["target"], level.shape[2:]) for level in levels]
            return {"loss": deep_supervised(loss, levels, targets)}
        return {"loss": loss(outputs, batch["target"])}

    def decode(self, reduced: Any, prepared: Prepared, case: Case) -> Result:
        """reduced: (*space) channel numbers -> Mask on the image's own grid."""
        placed = prepared["placed"]
        values = from_channels(placed.labels_back(reduced.astype(np.int16)), self.plan)
        classes = {c.value: c.name for c in self.plan.classes}
        return _task.result_of({"mask": Mask(values, classes, placed.image.affine)}, case, placed.image)

    def judge(self, result: Result, case: Case) -> _task.Judged:
        """Every case metric for every class, on the image's own grid and spacing."""
        mask, label = result["mask"], stored(case)
        truth = to_channels(label.array[0], self.plan)
        spacing = label.spacing
        judged = truth != IGNORE
        values: dict[str, dict[str, float | None]] = {}
        for name in self.CARD["metrics"]:
            measure = catalogue.load("hilum.metrics", str(name)).measure
            values[str(name)] = {
                c.name: measure((mask.array == c.value) & judged, truth == channel, spacing)
                for channel, c in enumerate(self.plan.classes, 1)
            }
        return _task.Judged(case.id, case.group, values)

    def missed(self, case: Case) -> _task.Judged:
        """Nothing found anywhere."""
        empty = np.zeros(stored(case).shape, dtype=np.uint8)
        return self.judge(Result({"mask": Mask(empty, {})}), case)

    def show(self, result: Result, case: Case) -> list[tuple[Array, str]]:
        """The slice with the most truth: image, truth and what was found."""
        image, classes = case.read("image"), {c.value: c.name for c in self.plan.classes}
        truth = None
        if "label" in case.items:
            truth = from_channels(np.maximum(to_channels(stored(case).array[0], self.plan), 0), self.plan)
        return [(_show.masks(image, truth, result["mask"].array, classes), case.id)]

    def example(self, rng: np.random.Generator) -> _task.Batch:
        import torch

        shape = (1, len(self.plan.channels), *self.plan.patch)
        image = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        return {"image": image, "target": torch.zeros(1, *self.plan.patch, dtype=torch.long)}


def _target(fingerprint: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Target spacing and the median shape at it."""
    spacings = np.array([row["spacing"] for row in fingerprint["cases"]])
    shapes = np.array([row["shape"] for row in fingerprint["cases"]], dtype=np.float64)
    if not fingerprint["physical"]:
        return [1.0] * spacings.shape[1], np.median(shapes, axis=0).tolist()
    target = np.median(spacings, axis=0)
    median = np.median(shapes * spacings / target, axis=0)
    worst = int(np.argmax(target))
    others = [a for a in range(len(target)) if a != worst]
    if target[worst] > 3 * max(target[others]) and median[worst] * 3 < min(median[others]):
        low = float(np.percentile(spacings[:, worst], 10))
        target[worst] = max(low, max(target[others]) + 1e-5) if low < max(target[others]) else low
    return [round(float(t), 6) for t in target], np.median(shapes * spacings / target, axis=0).tolist()


def _shrink(target: "Tensor", shape: Sequence[int]) -> "Tensor":
    """(B, *space) integers to (B, *shape) by nearest."""
    from torch.nn import functional

    if tuple(target.shape[1:]) == tuple(shape):
        return target
    return functional.interpolate(target[:, None].float(), size=tuple(shape), mode="nearest-exact")[:, 0].long()
