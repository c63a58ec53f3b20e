"""Segmentation: which voxel belongs to what."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from hilum.core.errors import HilumError
from hilum.core.findings import Mask, Result
from hilum.core.image import Array, Case, Image
from hilum.core.plan import Plan, Strict
from hilum.core.strongest import strongest
from hilum.data.store import Prepared, Store
from hilum.losses import _named
from hilum.prepare import augment, grid, modality, patches
from hilum.tasks import _fit, _input, _instances, _levels, _pieces, _rounds, _show, _task
from hilum.tasks._judge import judged
from hilum.tasks._labels import (
    IGNORE,
    VALIDITY,
    class_plans,
    from_channels,
    judged_channels,
    same_grid,
    stored,
    to_channels,
    valid,
)

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
    "metrics": [
        "dice", "hd95_mm", "nsd_1mm", "volume_error_ml", "pixel_auroc", "pixel_auroc_pooled", "ap50_instances", "pq",
    ],
    "dims": [2, 3],
}  # fmt: skip

LONG = 60
# Minutes from which an oriented body is also learned from its mirror images.
SIDED = "Classes are named by the side of the body, so that no image is mirrored from left to right"
# Told where images are mirrored otherwise.
ADRIFT = "Classes are named by the side of the body, but not all volumes say how they lie (HIL-N05): none is mirrored"
# Told where nobody knows which way is left.


class Options(Strict):
    """planner: how patch, batch and network were planned, for minutes on processors or as nnU-Net publishes it.

    foreground: share of the patches of a batch forced to hold a foreground voxel; of several patches at least one,
    unless it is 0. overlap: of windows in prediction; at 0.95 a volume has 8000 times as many as at 0.
    mirror: there the mean over mirror images is taken, which takes 4 times as long in 2-D and 8 times in 3-D.

    reduce: "mean" keeps the probability of the one class, which pixel_auroc needs; "argmax" keeps the mask only.
    loss: name of a file in hilum/losses, with options as in "tversky:alpha=0.3:beta=0.7".
    Numbered objects only: valley, how far the depth (0..1) falls between two of them; smallest, in voxels.
    """

    planner: Literal["fitted", "published"] = "fitted"
    foreground: float = Field(default=0.34, ge=0, le=1)
    overlap: float = Field(default=0.5, ge=0, le=0.95)
    mirror: bool = False
    reduce: Literal["argmax", "mean"] = "argmax"
    loss: str = "dice_ce"
    valley: float = Field(default=0.2, gt=0, lt=1)
    smallest: int = Field(default=20, ge=1)


class Task(_task.Task):
    """Patches in, class logits out, windows merged by Gaussian weights.

    Numbered objects (`labels: {name: instances}`): one output more, the depth inside an object; see `_instances`.
    """

    Options = Options
    CARD: ClassVar[dict[str, Any]] = CARD

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        _named.parsed(self.options.loss, "segment")
        zero = [c.name for c in plan.classes if c.value == 0]
        if zero:
            # it would be found and then written as if nothing were there
            raise HilumError(
                "HIL-PLAN-03", f"The class {zero[0]!r} has the value 0, which is the background of every mask",
                "Leave the background out of the classes, and give the others values from 1 on",
            )  # fmt: skip
        self.masked = [n for n, rule in enumerate(plan.normalisation) if rule.scheme == "zscore_nonzero"]
        self.numbered = _instances.numbered(plan.data.get("labels"))
        if self.numbered:
            _instances.check(plan, self.options.loss)
        if len(plan.classes) > 1 and (self.numbered or self.options.reduce == "mean"):
            what = "numbered objects are found" if self.numbered else "options.reduce: mean keeps probabilities"
            raise HilumError(
                "HIL-PLAN-03", f"The plan has {len(plan.classes)} classes, but {what} for one class only",
                "Merge the classes under `labels` in a dataset.yaml, or set options.reduce to argmax",
            )  # fmt: skip

    @property
    def reduce(self) -> str:
        """The depth, like a probability, is lost in an argmax."""
        return "none" if self.numbered else str(self.options.reduce)

    @property
    def metrics(self) -> list[str]:
        """Of objects, of probabilities and masks, or of masks alone; headline first."""
        if self.numbered:
            return ["ap50_instances", "pq", "dice"]
        ranked = ["pixel_auroc", "pixel_auroc_pooled"] if self.reduce == "mean" else []
        return ["dice", "hd95_mm", "nsd_1mm", "volume_error_ml", *ranked]

    @property
    def legend(self) -> list[tuple[str, int]]:
        """Colours tell numbered objects apart and mean no class."""
        return [] if self.numbered else super().legend

    def check_trainable(self) -> None:
        """As for every task; and predictions are not averaged over mirror images where classes have a side."""
        super().check_trainable()
        sided = modality.sided(c.name for c in self.plan.classes) if self.options.mirror else []
        if sided:
            raise HilumError(
                "HIL-PLAN-03", f"options.mirror is true, but in a mirror image {sided[0]!r} is that of the other side",
                "Leave options.mirror out",
            )  # fmt: skip

    def out_channels(self) -> int:
        """Background, the classes, and the depth of numbered objects."""
        return 1 + len(self.plan.classes) + self.numbered

    @classmethod
    def rules(cls, fingerprint: dict[str, Any], budget: _task.Budget) -> dict[str, Any]:
        """nnU-Net v2's: median spacing (coarse axis: its 10th percentile), pooling by spacing; see `_fit`.

        On processors patch and width fit the minutes; with `options.planner` "published" both are nnU-Net's for 8 GB.
        """
        classes, dims = class_plans(fingerprint), int(fingerprint["dims"])
        numbered = _instances.numbered(fingerprint["settings"].get("labels"))
        # an oriented body mirrored must be learned twice, which short runs have no time for; cells under a microscope
        # have no orientation
        kind, oriented = modality.family(fingerprint), modality.oriented(fingerprint)
        mirror = not oriented or (budget.minutes or 0) >= LONG
        axes = modality.mirrors(fingerprint, [str(c["name"]) for c in classes])
        # seen in a mirror, a left kidney is a right one
        sided = mirror and len(axes) < dims
        fitted = _fit.segmenter(fingerprint, budget, 1 + len(classes) + numbered)
        entries = augment.strong(kind, dims, oriented=oriented, patch=fitted["patch"], mirror=axes if sided else mirror)
        return {
            "classes": classes,
            "spacing": fitted["spacing"],
            "patch": fitted["patch"],
            "batch": fitted["batch"],
            "notes": [*fitted["notes"], *[ADRIFT if modality.adrift(fingerprint) else SIDED] * sided],
            "networks": {"net": {"name": "nnunet", "options": fitted["network"]}},
            "augment": entries,
            # voxels of pictures are ranked, as vessels are judged; in volumes the background is too large for it.
            # windows are what a prediction waits for: overlapping by a quarter there are a third as many in a volume as
            # by a half, and half as many in a picture
            "options": {
                "planner": "published" if budget.published else "fitted",
                "overlap": 0.5 if budget.published else 0.25,
                "reduce": "mean" if dims == 2 and len(classes) == 1 and not numbered else "argmax",
            },
            # high, for runs of minutes; chosen on the validation part of hippocampus in runs of 400 to 500 steps
            "learning": {"rate": 8e-3},
        }

    def prepare(self, case: Case, truth: bool = True) -> Prepared:
        """image (C, *space) float32 normalised; target (*space) int16, where the foreground lies; depth of objects."""
        image = case.read("image")
        if image.dims != self.plan.dims:
            raise HilumError(
                "HIL-N10", f"Case {case.id} is {image.dims}-D, the plan {self.plan.dims}-D", "Leave it out"
            )
        array, placed = _input.placed(image, self.plan)
        prepared: Prepared = {"image": array, "placed": placed}
        if truth:
            if self.masked:
                # where nothing was stored: 0 to the network, also once the grey values are varied (as in nnU-Net)
                prepared["outside"] = (prepared["image"][self.masked] == 0).all(axis=0)[None]
            label = stored(case)
            same_grid(case, image, label)
            channels = judged_channels(case, label, self.plan)
            target = grid.place_labels(label.like(channels), placed)
            prepared["target"] = target
            if self.numbered:
                objects = np.where(to_channels(label.array, self.plan) > 0, label.array, 0)
                prepared["depth"] = _instances.placed_depth(label.like(objects), placed)
            prepared["foreground"] = np.argwhere(target > 0).astype(np.int32)
            prepared["foreground_class"] = target[target > 0]
        return prepared

    def sample(self, store: Store, cases: Sequence[Case], part: str, k: int, rng: np.random.Generator) -> _task.Batch:
        """image (B, C, *patch), target, depth (B, *patch). The last `foreground` share of patches holds foreground."""
        import torch

        images, targets, depths = [], [], []
        forced = max(1, round(self.plan.batch * self.options.foreground)) if self.options.foreground else 0
        if self.plan.batch == 1:
            # of one patch there is no share: over the batches it holds foreground that often
            forced = int(rng.random() < self.options.foreground)
        for number in range(self.plan.batch):
            ready = store(self.drawn(cases, part, k, number, rng))
            shape, voxels = ready["image"].shape[1:], ready["foreground"]
            if number >= self.plan.batch - forced and len(voxels):
                # first the class, then the voxel: a small lesion is looked at as often as a large organ
                kinds = ready["foreground_class"]
                chosen = np.flatnonzero(kinds == rng.choice(np.unique(kinds)))
                point = voxels[int(rng.choice(chosen))]
                start = patches.start_around(point, shape, self.plan.patch, rng)
            else:
                start = patches.random_start(shape, self.plan.patch, rng)
            record = augment.draw(self.plan.augment, rng, self.plan.dims) if part == "train" else []
            labels: list[tuple[Array, float | None]]
            labels = [(ready["target"][None], IGNORE)] + ([(ready["depth"][None], 0.0)] if self.numbered else [])
            masked = self.masked if record else []
            # what is beyond the edge is a copy of it, as in prediction: 0 where that is 0
            labels += [(ready["outside"], None)] if masked else []
            image, (target, *rest) = augment.cut(record, ready["image"], labels, start, self.plan.patch)
            if masked:
                image = np.array(image)
                image[masked] = np.where(rest.pop(), 0, image[masked])
            images.append(image)
            targets.append(target[0])
            depths += [deep[0] for deep in rest]
        batch = {
            "image": torch.from_numpy(np.stack(images).astype(np.float32)),
            "target": torch.from_numpy(np.stack(targets).astype(np.int64)),
        }
        return batch | ({"depth": torch.from_numpy(np.stack(depths).astype(np.float32))} if self.numbered else {})

    def inputs(self, batch: _task.Batch) -> tuple[Any, ...]:
        return (batch["image"],)

    def losses(self, outputs: Any, batch: _task.Batch) -> "dict[str, Tensor]":
        """`options.loss` at every level that the network gives, by the weights of its card where it has some.

        Of objects the depth too. Where the network hands out queries, or asks whether anything is there, that as well.
        """
        found = _levels.losses(self.plan, self.options.loss, outputs, batch["target"])
        if self.numbered:
            # at full resolution only: lower down the valleys between objects are gone
            full = outputs["out"][0] if isinstance(outputs, dict) else outputs
            found["depth"] = _instances.depth_loss(full[:, -1], batch["depth"], batch["target"] != IGNORE)
        return found

    def counts(self, outputs: Any, batch: _task.Batch) -> Array:
        """Voxels of every class, right and wrong, at full resolution."""
        full = outputs["out"][0] if isinstance(outputs, dict) else outputs
        return _rounds.voxels(full[:, : 1 + len(self.plan.classes)], batch["target"])

    def score(self, counts: Array) -> dict[str, float]:
        return _rounds.dice(counts)

    def collapse(self, counts: Array) -> str | None:
        return _rounds.nothing_found(counts, [c.name for c in self.plan.classes])

    def pictures(self, outputs: Any, batch: _task.Batch, cases: Sequence[str]) -> list[tuple[Array, str]]:
        """Every patch: image, truth and what is found."""
        full = outputs["out"][0] if isinstance(outputs, dict) else outputs
        found = strongest(full[:, : 1 + len(self.plan.classes)], 1).cpu().numpy()
        classes = {channel: c.name for channel, c in enumerate(self.plan.classes, 1)}
        return _show.patches(batch["image"].numpy(), batch["target"].clamp_min(0).numpy(), found, classes, cases)

    def decode(self, reduced: Any, prepared: Prepared, case: Case) -> Result:
        """reduced: (*space) channel numbers, or logits (K, *space) -> Mask on the image's own grid."""
        placed, affine, probability = prepared["placed"], prepared["placed"].image.affine, None
        classes = {c.value: c.name for c in self.plan.classes}
        if self.numbered:
            where = valid(case, placed.image)[0] if VALIDITY in case.items else None
            objects = _instances.found(reduced.numpy(), placed, self.options.valley, self.options.smallest, where)
            return _task.result_of({"mask": Mask(objects, classes, affine, instances=True)}, case, placed.image)
        if self.reduce == "mean":
            probability = _sigmoid(placed.channels_back((reduced[1] - reduced[0])[None].numpy())[0])
            reduced = strongest(reduced).numpy()
        if self.single and VALIDITY in case.items:
            # what lies outside is no piece, and may be larger than the one that is meant
            inside = placed.image.like(valid(case, placed.image).astype(np.uint8))
            reduced = np.where(grid.place_labels(inside, placed) > 0, reduced, 0)
        values = placed.labels_back(from_channels(_pieces.largest(reduced, self.single), self.plan))
        if VALIDITY in case.items:
            # nothing was learned there, so nothing is said
            outside = ~valid(case, placed.image)[0]
            values[outside] = 0
            if probability is not None:
                probability[outside] = 0
        return _task.result_of({"mask": Mask(values, classes, affine, probability=probability)}, case, placed.image)

    def judge(self, result: Result, case: Case) -> _task.Judged:
        """Every metric of the plan for every class, on the image's own grid and spacing."""
        label, mask = stored(case), result["mask"]
        # elsewhere than its image, it would be compared voxel by voxel all the same
        same_grid(case, Image(mask.array[None], mask.affine, result.warnings), label)
        truth = judged_channels(case, label, self.plan)[0]
        values, record = judged(mask, truth, self.plan, label.spacing, self.metrics, label.array[0])
        return _task.Judged(case.id, case.group, values, record)

    def missed(self, case: Case) -> _task.Judged:
        """Nothing found anywhere. As counts of all images together the order turned round: background 1, foreground 0.

        With one probability everywhere an image without foreground would be ranked without a fault.
        """
        empty = np.zeros(stored(case).shape, dtype=np.uint8)
        mask = Mask(empty, {}, instances=self.numbered, probability=empty.astype(np.float32))
        worst = self.judge(Result({"mask": mask}), case)
        if worst.record is None:
            return worst
        background, foreground = worst.record
        return replace(worst, record=np.stack([background[::-1], foreground]))

    def show(self, result: Result, case: Case) -> list[tuple[Array, str]]:
        """The slice with the most truth: image, truth and what was found."""
        image, classes = case.read("image"), {c.value: c.name for c in self.plan.classes}
        truth = None
        if "label" in case.items:
            label = stored(case)
            channels = judged_channels(case, label, self.plan)[0]
            truth = from_channels(np.maximum(channels, 0), self.plan)
            truth = np.where(channels > 0, label.array[0], 0) if self.numbered else truth
        draw = _show.objects if self.numbered else _show.masks
        return [(draw(image, truth, result["mask"].array, classes), case.id)]

    def example(self, rng: np.random.Generator) -> _task.Batch:
        import torch

        shape = (1, len(self.plan.channels), *self.plan.patch)
        image = torch.from_numpy(rng.standard_normal(shape).astype(np.float32))
        batch = {"image": image, "target": torch.zeros(1, *self.plan.patch, dtype=torch.long)}
        return batch | ({"depth": torch.zeros(1, *self.plan.patch)} if self.numbered else {})


def _sigmoid(logits: Array) -> Array:
    """0..1, float32."""
    from scipy.special import expit

    squashed: Array = expit(logits.astype(np.float32))
    return squashed
