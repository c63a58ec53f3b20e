"""Registration: how a moving image must be bent to lie on a fixed one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field as Setting

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import Field, Result
from hilum.core.image import Array, Case, Image
from hilum.core.plan import Strict
from hilum.data.dataset import Dataset
from hilum.data.store import Prepared, Store
from hilum.prepare import grid, intensity, patches
from hilum.tasks import _pairs, _rounds, _rounds_images, _show, _task
from hilum.tasks._labels import IGNORE, class_plans, label_words, same_grid, stored, to_channels, unnamed

if TYPE_CHECKING:
    from torch import Tensor

CARD = {
    "order": 4,
    "about": "how a moving image must be bent to lie on a fixed one",
    "roles": ["image"],
    "predicts_from": ["fixed", "moving"],
    "network": "voxelmorph",
    "regime": "supervised",
    "infer": "whole",
    "reduce": "none",
    "metrics": ["dice", "hd95_mm", "folding_percent"],
    "dims": [2, 3],
}

PARTNERS = 4
# Moving images drawn, by a seed, for every validation and test case as the fixed one.
DIVISOR = 16
# Sides of the common box: what four poolings need.
LACKING = "{} of {} images have no label: Dice and distance are of pairs in which both images have one"


class Options(Strict):
    """similarity: local NCC, or MSE, which counts 100-fold, so that smooth 1 beside it is VoxelMorph's 0.01. window:
    side of the NCC's windows in voxels, odd. smooth: weight of the field's squared gradient.

    labels: weight of the Dice of warped labels; 0 to learn without labels (they are then used to judge only).
    """

    similarity: Literal["ncc", "mse"] = "ncc"
    window: int = Setting(default=9, ge=3)
    smooth: float = Setting(default=1.0, ge=0)
    labels: float = Setting(default=0.0, ge=0)


class Task(_task.Task):
    """Two images in one common box in, a displacement in voxels out (VoxelMorph, Balakrishnan 2019)."""

    Options = Options
    CARD: ClassVar[dict[str, Any]] = CARD
    varied = False

    def check_trainable(self) -> None:
        """As for every task; and labels must be there to learn from. A finished run can be opened without."""
        super().check_trainable()
        if self.options.labels and not self.plan.classes:
            raise HilumError(
                "HIL-PLAN-03", f"options.labels is {self.options.labels:g}, but the plan has no classes to learn from",
                "Set options.labels to 0, or give every image a label and plan anew",
            )  # fmt: skip

    @classmethod
    def rules(cls, fingerprint: dict[str, Any], budget: _task.Budget) -> dict[str, Any]:
        """One common box at the median spacing: the 95th percentile of the sizes along each axis, to a multiple of 16.

        Centres on centres. Of larger images the ends are cut off; the field there is that at the edge of the box.
        """
        _task.one_channel(fingerprint, "register")
        spacings = np.array([row["spacing"] for row in fingerprint["cases"]])
        shapes = np.array([row["shape"] for row in fingerprint["cases"]], dtype=np.float64)
        spacing = np.array(fingerprint.get("spacing") or np.median(spacings, axis=0))
        largest = np.percentile(shapes * spacings / spacing, 95, axis=0)
        patch = [int(np.ceil(n / DIVISOR) * DIVISOR) for n in largest]
        rows = fingerprint["cases"]
        lacking = sum(row["labels"] is None for row in rows)
        return {
            "classes": class_plans(fingerprint) if lacking < len(rows) else [],
            "notes": [LACKING.format(lacking, len(rows))] if 0 < lacking < len(rows) else [],
            "spacing": [round(float(s), 6) for s in spacing] if fingerprint["physical"] else None,
            "patch": patch,
            "batch": 1,
            "networks": {"net": {"name": "voxelmorph", "options": {}}},
            "augment": [],
            "options": {},
            # displacements of a tenth of a voxel do not survive bfloat16
            "learning": {"precision": "float32", "weight_decay": 0.0},
        }

    @classmethod
    def units(cls, dataset: Dataset, parts: dict[str, str], seed: int) -> list[tuple[Case, str]]:
        """Pairs within one part: those of pairs.csv, else for train the single images, else seeded partners."""
        return _pairs.units(dataset, parts, seed, PARTNERS)

    def asked(self, cases: Sequence[Case]) -> list[Case]:
        """In pairs, where single images are learned from."""
        return _pairs.in_pairs(cases)

    def prepare(self, case: Case, truth: bool = True) -> Prepared:
        """Per side ("fixed", "moving", or "image" for a single): (1, *patch) float32 in 0..1 and how it was placed."""
        sides = ["image"] if "image" in case.items else ["fixed", "moving"]
        prepared: Prepared = {}
        for side in sides:
            image: Image = case.read(side)
            if image.dims != self.plan.dims:
                raise HilumError(
                    "HIL-N10", f"Case {case.id} is {image.dims}-D, the plan {self.plan.dims}-D", "Leave it out"
                )
            spacing = None if self.plan.spacing is None else tuple(self.plan.spacing)
            array, placed = grid.place(image, spacing)
            array = intensity.normalise(intensity.match_channels(array, 1, image), self.plan.normalisation[:1])
            low, high = np.percentile(array, [0.5, 99.5])
            array = np.clip((array - np.float32(low)) / np.float32(max(float(high - low), 1e-6)), 0, 1)
            prepared[side] = patches.cut(array, self._start(placed.shape), self.plan.patch)
            prepared[f"{side}_placed"] = placed
            role = "label" if side == "image" else f"{side}_label"
            if truth and self.options.labels and self.plan.classes and role in case.items:
                label = stored(case, role)
                same_grid(case, image, label)
                target = grid.place_labels(
                    label.like(to_channels(label.array, self.plan, label_words(case, label))), placed
                )
                prepared[f"{side}_label"] = patches.cut(
                    target[None], self._start(placed.shape), self.plan.patch, fill=0
                )
        return prepared

    def in_channels(self) -> int:
        """Of each image: colour is brought to grey."""
        return 1

    def unlearnable(self, prepared: Prepared) -> str:
        """Labels are learned from in every image, where `options.labels` says so, or in none."""
        sides = ["image"] if "image" in prepared else ["fixed", "moving"]
        lacks = self.options.labels and any(f"{side}_label" not in prepared for side in sides)
        return "they have no label, which options.labels learns from" if lacks else ""

    def _start(self, shape: Sequence[int]) -> list[int]:
        """Where the common box begins in an image: middle on middle."""
        return [(n - want) // 2 for n, want in zip(shape, self.plan.patch, strict=True)]

    def sample(self, store: Store, cases: Sequence[Case], part: str, k: int, rng: np.random.Generator) -> _task.Batch:
        """fixed and moving (B, 1, *patch); pairs as listed, or two different single images."""
        import torch

        sides: dict[str, list[Array]] = {}
        for number in range(self.plan.batch):
            first = self.drawn(cases, part, k, number, rng)
            ready = dict(store(first))
            if "image" in first.items:
                others = [c for c in cases if c.id != first.id]
                partner = store(others[int(rng.integers(len(others)))])
                ready |= {"fixed": ready["image"], "moving": partner["image"]}
                if "image_label" in ready and "image_label" in partner:
                    ready |= {"fixed_label": ready["image_label"], "moving_label": partner["image_label"]}
            for name in ("fixed", "moving", "fixed_label", "moving_label"):
                if name in ready:
                    sides.setdefault(name, []).append(ready[name])
        return {name: torch.from_numpy(np.stack(arrays).astype(np.float32)) for name, arrays in sides.items()}

    def inputs(self, batch: _task.Batch) -> tuple[Any, ...]:
        return batch["moving"], batch["fixed"]

    def losses(self, outputs: Any, batch: _task.Batch) -> "dict[str, Tensor]":
        """similarity of moved and fixed + smooth * |gradient|^2 (+ labels * Dice of the warped labels)."""
        from hilum.core.warp import warp
        from hilum.losses.ncc import ncc
        from hilum.losses.smoothness import smoothness

        moved = warp(batch["moving"], outputs)
        if self.options.similarity == "ncc":
            alike = ncc(moved, batch["fixed"], window=self.options.window)
        else:
            alike = ((moved - batch["fixed"]) ** 2).mean() * 100
        losses = {"similarity": alike, "smooth": self.options.smooth * smoothness(outputs)}
        if self.options.labels and "fixed_label" in batch:
            losses["labels"] = self.options.labels * self._overlap(outputs, batch)
        return losses

    def _overlap(self, outputs: "Tensor", batch: _task.Batch) -> "Tensor":
        """1 - soft Dice of labels warped one-hot, mean over classes; where one of them is ignored nothing counts."""
        import torch

        from hilum.core.warp import warp
        from hilum.losses._together import summed

        both, sizes, known = [], [], (~self._unknown(outputs, batch)).float()
        for channel in range(1, len(self.plan.classes) + 1):
            moved = known * warp((batch["moving_label"] == channel).float(), outputs)
            fixed = known * (batch["fixed_label"] == channel).float()
            both.append((moved * fixed).sum())
            sizes.append(moved.sum() + fixed.sum())
        shared, size = summed(torch.stack(both)), summed(torch.stack(sizes))
        return (1 - (2 * shared + 1e-5) / (size + 1e-5)).mean()

    def _unknown(self, field: "Tensor", batch: _task.Batch) -> "Tensor":
        """(B, 1, *patch) bool: where the fixed label is ignored, or at least half of what is pulled from the other."""
        from hilum.core.warp import warp

        ignored: Tensor = warp((batch["moving_label"] < 0).float(), field.detach()) >= _pairs.HALF
        return ignored | (batch["fixed_label"] < 0)

    def counts(self, outputs: Any, batch: _task.Batch) -> Array:
        """Correlations before and after and the field's shape; then, where labels are learned, their voxels."""
        from hilum.core.warp import warp

        fixed, moving, field = batch["fixed"].float(), batch["moving"].float(), outputs.float()
        arrays = [_rounds_images.array(t) for t in (fixed, moving, warp(moving, field), field)]
        before, after = (_rounds_images.correlation(arrays[0], moved) for moved in arrays[1:3])
        found = _rounds_images.fields(before, after, arrays[3])
        return np.concatenate([found, self._moved_voxels(field, batch).ravel()])

    def _moved_voxels(self, field: "Tensor", batch: _task.Batch) -> Array:
        """(K, 3): voxels of every class in both, in the moved label only, in the fixed only; none without labels."""
        import torch

        from hilum.core.warp import warp

        if not self.options.labels or "fixed_label" not in batch:
            return np.zeros((0, 3))
        kinds = range(1 + len(self.plan.classes))
        moved = torch.cat([warp((batch["moving_label"] == k).float(), field) for k in kinds], dim=1)
        fixed = batch["fixed_label"].masked_fill(self._unknown(field, batch), IGNORE)
        return _rounds.voxels(moved, fixed[:, 0].long())

    def score(self, counts: Array) -> dict[str, float]:
        """Dice of moved labels where labels are learned, then the correlation of the images."""
        labels = _rounds.dice(counts[5:].reshape(-1, 3)) if len(counts) > 5 else {}
        return labels | _rounds_images.aligned(counts)

    def collapse(self, counts: Array) -> str | None:
        return _rounds_images.still(counts)

    def pictures(self, outputs: Any, batch: _task.Batch, cases: Sequence[str]) -> list[tuple[Array, str]]:
        """The first pair in its middle slice: fixed, moving before and after, and the bent grid."""
        from hilum.core.warp import warp

        fixed, moving, field = batch["fixed"][:1].float(), batch["moving"][:1].float(), outputs[:1].float().cpu()
        images = [_rounds_images.array(t) for t in (fixed, moving, warp(moving, field))]
        before, after = (_rounds_images.correlation(images[0], moved)[0] for moved in images[1:])
        drawn = _show.moved([Image(i[0], None) for i in images], _rounds_images.array(field)[0])
        return [(drawn, f"{' and '.join(cases[:2])}: correlation {before:.3f} before, {after:.3f} after")]

    def whole(self, prepared: Prepared) -> _task.Batch:
        import torch

        return {side: torch.from_numpy(prepared[side])[None] for side in ("fixed", "moving")}

    def decode(self, reduced: Any, prepared: Prepared, case: Case) -> Result:
        """reduced: (1, d, *patch) voxels -> Field on the fixed image's own grid, pulling from the moving image."""
        fixed, moving = prepared["fixed_placed"], prepared["moving_placed"]
        field = _pairs.field(
            reduced[0].double().numpy(), fixed, moving, self._start(fixed.shape), self._start(moving.shape)
        )
        warnings = tuple(dict.fromkeys((*fixed.image.warnings, *moving.image.warnings)))
        return Result({"field": field}, warnings=warnings, meta={"case": case.id})

    def judge(self, result: Result, case: Case) -> _task.Judged:
        """Dice and distance of the warped moving label against the fixed one, and how much of the field folds."""
        field: Field = result["field"]
        values: dict[str, dict[str, float | None]] = {}
        folding = catalogue.load("hilum.metrics", "folding_percent").measure(field.array)
        # trained without labels, it knows no classes to judge
        if self.plan.classes and "fixed_label" in case.items and "moving_label" in case.items:
            images = case.read("fixed"), case.read("moving")
            fixed, moving = stored(case, "fixed_label"), stored(case, "moving_label")
            for image, label in zip(images, (fixed, moving), strict=True):
                same_grid(case, image, label)
            truth = to_channels(fixed.array[0], self.plan, label_words(case, fixed))
            source = moving.like(to_channels(moving.array, self.plan, label_words(case, moving)))
            still = _pairs.still(*images)
            for name in ("dice", "hd95_mm"):
                after = self._by_class(name, source, field, truth, fixed.spacing)
                before = self._by_class(name, source, still, truth, fixed.spacing)
                # what laying centre on centre gives stands beside it: the floor to be above
                values[name] = {"": _mean(after)} | after | {"before registration": _mean(before)}
        return _task.Judged(case.id, case.group, values | {"folding_percent": {"": folding}})

    def missed(self, case: Case) -> _task.Judged:
        """The field folds everywhere; and, of pairs in which both images have a label, nothing lies on anything."""
        values: dict[str, dict[str, float | None]] = {}
        if self.plan.classes and "fixed_label" in case.items and "moving_label" in case.items:
            silent: dict[str, float | None] = dict.fromkeys(unnamed(self.plan))
            # no distance is the worst
            values = {"dice": {"": 0.0, **silent}, "hd95_mm": {"": None, **silent}}
        return _task.Judged(case.id, case.group, values | {"folding_percent": {"": 100.0}})

    def _by_class(
        self, name: str, source: Image, field: Field, truth: Array, spacing: tuple[float, ...]
    ) -> dict[str, float | None]:
        """{class: metric} of the label pulled through a field, against the fixed label where neither is ignored."""
        measure = catalogue.load("hilum.metrics", name).measure
        moved = _pairs.pull_labels(source, field, len(self.plan.classes))
        unknown = (truth < 0) | (moved < 0)
        moved, truth = np.where(unknown, 0, moved), np.where(unknown, 0, truth)
        return {c.name: measure(moved == n, truth == n, spacing) for n, c in enumerate(self.plan.classes, 1)}

    def show(self, result: Result, case: Case) -> list[tuple[Array, str]]:
        """Fixed, moving, moved and the bent grid, in the middle slice."""
        fixed, moving = case.read("fixed"), case.read("moving")
        images = [fixed]
        for field in (_pairs.still(fixed, moving), result["field"]):
            images.append(Image(_pairs.pull(moving, field), fixed.affine))
        return [(_show.moved(images, result["field"].array), case.id)]

    def out_channels(self) -> int:
        return self.plan.dims

    def example(self, rng: np.random.Generator) -> _task.Batch:
        import torch

        shape = (1, 1, *self.plan.patch)
        return {s: torch.from_numpy(rng.random(shape).astype(np.float32)) for s in ("fixed", "moving")}


def _mean(values: dict[str, float | None]) -> float | None:
    """Of the values that are defined."""
    known = [v for v in values.values() if v is not None]
    return float(np.mean(known)) if known else None
