"""Classification: which class the whole image belongs to."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from hilum.core.errors import HilumError
from hilum.core.findings import Result, Score, Scores
from hilum.core.image import Array, Case, Image
from hilum.core.plan import Strict
from hilum.data.store import Prepared, Store
from hilum.prepare import augment, grid, intensity, modality
from hilum.tasks import _rounds, _show, _task

if TYPE_CHECKING:
    from torch import Tensor

CARD = {
    "order": 2,
    "about": "which class the whole image belongs to",
    "roles": ["image", "class"],
    "predicts_from": ["image"],
    "network": "resnet",
    "regime": "supervised",
    "infer": "whole",
    "reduce": "none",
    "metrics": ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "nll", "brier", "ece"],
    "dims": [2, 3],
}

SIDE = {2: 224, 3: 48}
# Longest side in pixels that a class is still learned from in minutes on two cores.


class Options(Strict):
    """balance: draw classes equally often. control: "border" shows the network a frame of the image only.

    smoothing: share of the truth that is spread over all classes. mixup: strength (of a Beta distribution, Zhang et al.
    2018) with which pairs of training images and their classes are blended; 0: none.
    """

    balance: bool = True
    smoothing: float = Field(default=0.0, ge=0, lt=1)
    mixup: float = Field(default=0.2, ge=0)
    control: Literal["none", "border"] = "none"


class Task(_task.Task):
    """Whole images at one size in, one logit per class out."""

    Options = Options
    CARD: ClassVar[dict[str, Any]] = CARD
    spaced = False
    steps_beside_segment = 1.5
    # Width 32 at 224 px beat width 64 at 160 px in equal time, with more steps (benchmarks/results/training_trials.md).

    @classmethod
    def rules(cls, fingerprint: dict[str, Any], budget: _task.Budget) -> dict[str, Any]:
        """Images resized to the median shape, at most SIDE along the longest side, a multiple of 32 (2-D) or 16."""
        names = sorted({row["class"] for row in fingerprint["cases"]})
        if len(names) < 2:
            raise HilumError(
                "HIL-T08", f"All {len(fingerprint['cases'])} cases are of one class, {names[0]!r}",
                "Classification needs at least two classes: add a folder or a class column",
            )  # fmt: skip
        dims = int(fingerprint["dims"])
        # a class may hang on the side: pictures of unknown kind are not mirrored
        kind, oriented = modality.family(fingerprint), modality.oriented(fingerprint, unknown=True)
        shape = np.median([row["shape"] for row in fingerprint["cases"]], axis=0)
        step = 32 if dims == 2 else 16
        most = SIDE[dims] * budget.share ** (1 / dims)
        side = min(most, max(shape)) if (budget.minutes or 0) > 2 else min(64 if dims == 2 else 32, max(shape))
        patch = [max(step, round(float(n / max(shape) * side / step)) * step) for n in shape]
        width = {8: 12, 12: 16, 16: 32, 24: 48, 32: 64}[budget.width]
        axes = modality.mirrors(fingerprint, map(str, names))
        mirror = False if oriented else axes if len(axes) < dims else True
        return {
            "classes": [{"value": i, "name": n} for i, n in enumerate(names)],
            "spacing": None,
            "patch": patch,
            "batch": 16 if dims == 2 else 4,
            "networks": {"net": {"name": "resnet", "options": {"depth": 18, "width": width}}},
            "augment": augment.strong(kind, dims, oriented=oriented, patch=patch, mirror=mirror, whole=True),
            "options": {},
            # as for mixup: better than less on the validation parts of two data sets, one run each
            "learning": {"weight_decay": 0.05},
        }

    def prepare(self, case: Case, truth: bool = True) -> Prepared:
        """image (C, *patch) float32; target: the class's place in the plan."""
        image = case.read("image")
        if image.dims != self.plan.dims:
            raise HilumError(
                "HIL-N10", f"Case {case.id} is {image.dims}-D, the plan {self.plan.dims}-D", "Leave it out"
            )
        array, _ = grid.place(image, None, tuple(self.plan.patch))
        array = intensity.match_channels(array, len(self.plan.channels), image)
        if self.options.control == "border":
            array = intensity.border_only(array)
        prepared: Prepared = {"image": intensity.normalise(array, self.plan.normalisation), "warnings": image.warnings}
        if truth:
            prepared["target"] = self._target(case)
        return prepared

    def _target(self, case: Case) -> int:
        names = [c.name for c in self.plan.classes]
        if case.klass not in names:
            raise HilumError(
                "HIL-T10", f"Case {case.id} has class {case.klass!r}", f"The plan knows: {', '.join(names)}"
            )
        return names.index(case.klass)

    def sample(self, store: Store, cases: Sequence[Case], part: str, k: int, rng: np.random.Generator) -> _task.Batch:
        """image (B, C, *patch), target (B,). Classes equally often when `balance`."""
        import torch

        by_class: dict[str | None, list[Case]] = defaultdict(list)
        for case in cases:
            by_class[case.klass].append(case)
        kinds = sorted(by_class, key=str)
        images, targets = [], []
        for _ in range(self.plan.batch):
            pool: Sequence[Case] = by_class[kinds[int(rng.integers(len(kinds)))]] if self.options.balance else cases
            ready = store(pool[int(rng.integers(len(pool)))])
            image = ready["image"]
            if part == "train":
                image = augment.apply(augment.draw(self.plan.augment, rng, self.plan.dims), image)
            images.append(image)
            targets.append(ready["target"])
        batch = {"image": torch.from_numpy(np.stack(images)), "target": torch.tensor(targets)}
        return self._mixed(batch, rng) if part == "train" and self.options.mixup else batch

    def _mixed(self, batch: _task.Batch, rng: np.random.Generator) -> _task.Batch:
        """Each image blended with its neighbour in the batch; "other": the neighbour's class, "share": of the own."""
        import torch

        share = torch.from_numpy(rng.beta(self.options.mixup, self.options.mixup, len(batch["target"])))
        # the larger part is the image's own, so that "target" stays the better answer
        share = torch.maximum(share, 1 - share).float()
        image, weight = batch["image"], share.reshape(-1, *[1] * (batch["image"].ndim - 1))
        mixed = weight * image + (1 - weight) * image.roll(1, 0)
        return {"image": mixed, "target": batch["target"], "other": batch["target"].roll(1, 0), "share": share}

    def inputs(self, batch: _task.Batch) -> tuple[Any, ...]:
        return (batch["image"],)

    def losses(self, outputs: Any, batch: _task.Batch) -> "dict[str, Tensor]":
        """Cross-entropy; of blended images with both classes, by their shares."""
        from torch.nn.functional import cross_entropy

        # what validates is the truth itself, so that runs with different smoothing can be compared
        smoothing = self.options.smoothing if outputs.requires_grad else 0.0
        if "share" not in batch:
            return {"loss": cross_entropy(outputs, batch["target"], label_smoothing=smoothing)}
        both = [
            cross_entropy(outputs, batch[t], label_smoothing=smoothing, reduction="none") for t in ("target", "other")
        ]
        return {"loss": (batch["share"] * both[0] + (1 - batch["share"]) * both[1]).mean()}

    def check(self, store: Store, cases: Sequence[Case], number: int, rng: np.random.Generator) -> _task.Batch:
        """These images as they are, each once."""
        import torch

        ready = [store(case) for case in cases[: self.plan.batch]]
        images = torch.from_numpy(np.stack([r["image"] for r in ready]))
        return {"image": images, "target": torch.tensor([r["target"] for r in ready])}

    def counts(self, outputs: Any, batch: _task.Batch) -> Array:
        """Images by true and found class."""
        return _rounds.confusion(outputs, batch["target"])

    def score(self, counts: Array) -> dict[str, float]:
        return _rounds.balanced(counts)

    def collapse(self, counts: Array) -> str | None:
        return _rounds.one_answer(counts, [c.name for c in self.plan.classes])

    def pictures(self, outputs: Any, batch: _task.Batch, cases: Sequence[str]) -> list[tuple[Array, str]]:
        """Images with what they are called and what they are."""
        names = [c.name for c in self.plan.classes]
        chances = outputs.softmax(1).cpu().numpy()
        drawn = []
        for image, row, true, case in zip(
            batch["image"].numpy(), chances, batch["target"].tolist(), cases, strict=True
        ):
            words = f"{case}: {names[int(row.argmax())]} {row.max():.2f}, truly {names[true]}"
            drawn.append((_show.picture(Image(image, None)), words))
        return drawn

    def whole(self, prepared: Prepared) -> _task.Batch:
        import torch

        return {"image": torch.from_numpy(prepared["image"])[None]}

    def decode(self, reduced: Any, prepared: Prepared, case: Case) -> Result:
        """reduced: logits (1, K) -> Scores, one probability per class."""
        from torch import softmax

        values = softmax(reduced[0].double(), 0).tolist()
        rows = tuple(Score(c.name, v) for c, v in zip(self.plan.classes, values, strict=True))
        return Result({"scores": Scores(rows)}, warnings=prepared["warnings"], meta={"case": case.id})

    def judge(self, result: Result, case: Case) -> _task.Judged:
        """record: (probabilities (K,), true place)."""
        return _task.Judged(case.id, case.group, {}, (result["scores"].vector(), self._target(case)))

    def missed(self, case: Case) -> _task.Judged:
        """Quite sure of a wrong class."""
        truth = self._target(case)
        wrong = np.eye(len(self.plan.classes))[(truth + 1) % len(self.plan.classes)]
        return _task.Judged(case.id, case.group, {}, (wrong, truth))

    def show(self, result: Result, case: Case) -> list[tuple[Array, str]]:
        best = result["scores"].best
        words = f"{case.id}: {best.name} {best.value:.2f}" + (f", truly {case.klass}" if case.klass else "")
        return [(_show.picture(case.read("image")), words)]

    def out_channels(self) -> int:
        return len(self.plan.classes)

    def example(self, rng: np.random.Generator) -> _task.Batch:
        import torch

        shape = (1, len(self.plan.channels), *self.plan.patch)
        return {
            "image": torch.from_numpy(rng.standard_normal(shape).astype(np.float32)),
            "target": torch.zeros(1).long(),
        }
