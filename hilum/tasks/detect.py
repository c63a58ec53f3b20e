"""Detection: boxes around what is looked for."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import Field

from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Result
from hilum.core.image import Array, Case, Image
from hilum.core.plan import Strict
from hilum.data.store import Prepared, Store
from hilum.prepare import augment, intensity, modality, patches
from hilum.tasks import _boxes, _build, _rounds_boxes, _show, _task
from hilum.tasks._instances import numbered
from hilum.tasks._labels import VALIDITY, label_words, same_grid, stored, to_channels, unnamed, valid

if TYPE_CHECKING:
    from torch import Tensor

CARD = {
    "order": 3,
    "about": "boxes around what is looked for",
    "roles": ["image", "boxes"],
    "predicts_from": ["image"],
    "network": "fcos",
    "regime": "supervised",
    "infer": "whole",
    "reduce": "none",
    "metrics": ["ap50", "map", "froc"],
    "dims": [2],
}

SURE = 0.3
# Score from which a box is drawn.
LEAST = 0.05
# Score from which a box is given, and from which at most it counts in the rounds of a training.
SIDE = 32
# The sides of patches and of whole images are multiples of it.


class Options(Strict):
    """inside: share of patches around a box. keep: least visible share of a box cut by the patch. pieces: in masks a
    value is a class, of which every connected piece is an object; else values number objects, where there are several.

    score: the least that a box must have to be given. overlap: of two boxes of a class with a larger IoU the better one
    is kept. most: boxes of one image, the best of them.
    """

    inside: float = Field(default=0.75, ge=0, le=1)
    keep: float = Field(default=0.3, gt=0, le=1)
    score: float = Field(default=LEAST, ge=0, le=1)
    overlap: float = Field(default=0.5, gt=0, le=1)
    most: int = Field(default=100, ge=1)
    pieces: bool = False


class Task(_task.Task):
    """Patches in; per level class logits, distances to the four sides and centre-ness out (FCOS, Tian 2019)."""

    Options = Options
    CARD: ClassVar[dict[str, Any]] = CARD
    spaced = False

    @classmethod
    def rules(cls, fingerprint: dict[str, Any], budget: _task.Budget) -> dict[str, Any]:
        """Patches of the median shape up to 256 px, a multiple of 32; classes of boxes.csv, or those named of masks."""
        settings, boxes = fingerprint["settings"], fingerprint.get("box_classes", {})
        # dataset.yaml may name the values of masks alone
        called = settings["classes"] if set(boxes.values()) <= set(settings["classes"].values()) else boxes
        # values that somebody named as classes do not number objects
        by_class = bool(called) or _by_value(settings["labels"])
        listed = any(row.get("listed") for row in fingerprint["cases"])
        ruled = dict(enumerate(settings["labels"], 1))
        names = called or ruled
        if not listed:
            # of masks `labels` rules, as everywhere, and 0 is the background
            named = ruled or {value: name for value, name in settings["classes"].items() if int(value)}
            names = named if by_class or len(named) == 1 else {}
        names = names or {1: "object"}
        if not any(_may_hold_boxes(row, settings["ignore"]) for row in fingerprint["cases"]):
            raise HilumError("HIL-T10", "No case has a box", "Check boxes.csv or labels/")
        shape = np.median([row["shape"] for row in fingerprint["cases"]], axis=0)
        most = 256 if budget.share == 1 else 192 if budget.share >= 0.5 else 128
        patch = [int(np.clip(np.ceil(n / SIDE) * SIDE, 64, most)) for n in shape]
        width = {8: 16, 12: 32, 16: 48, 24: 56, 32: 64}[budget.width]
        axes = modality.mirrors(fingerprint, map(str, names.values()))
        entries = augment.strong(
            modality.family(fingerprint), 2, oriented=True, patch=patch, mirror=axes if len(axes) < 2 else True
        )
        return {
            "classes": [{"value": int(v), "name": str(n)} for v, n in names.items()],
            "spacing": None,
            "patch": patch,
            "batch": 4,
            "networks": {"net": {"name": "fcos", "options": {"width": width}}},
            # boxes grow when they are turned: mirrored only
            "augment": [e for e in entries if e["name"] not in ("rotate_scale", "elastic")],
            # how boxes.csv numbers its classes says nothing about values of masks
            "options": {"pieces": by_class and not (listed and len(names) > 1)},
        }

    def prepare(self, case: Case, truth: bool = True) -> Prepared:
        """image (C, *space) normalised; boxes (N, 4) low, high (exclusive) and labels (N,), places in the plan.

        ignored (1, *space) bool, where the case has such places.
        """
        image = case.read("image")
        if image.dims != 2:
            raise HilumError(
                "HIL-N10", f"Case {case.id} is {image.dims}-D; boxes are found in 2-D images here", "Use slices"
            )
        array = intensity.match_channels(image.array, len(self.plan.channels), image)
        prepared: Prepared = {
            "image": intensity.normalise(array, self.plan.normalisation),
            "warnings": image.warnings,
        }
        if truth:
            prepared["boxes"], prepared["labels"] = self._truth(case)
            ignored = self._ignored(case)
            prepared |= {} if ignored is None else {"ignored": ignored}
        return prepared

    def _truth(self, case: Case) -> tuple[Array, Array]:
        """Boxes (N, 4) and places (N,) from boxes.csv or from the objects of the label mask."""
        if case.boxes is not None:
            if case.boxes.size == 0:
                return np.zeros((0, 4)), np.zeros(0, dtype=np.int64)
            if case.boxes.shape[1] != 5:
                seen = f"Case {case.id} has boxes along three axes; boxes are found in 2-D images here"
                raise HilumError("HIL-T10", seen, "Leave low2 and high2 out of boxes.csv")
            # by name: another data set may number the same classes otherwise
            called = {c.value: c.name for c in self.plan.classes} | dict(case.box_classes)
            names = [called.get(int(v), str(int(v))) for v in case.boxes[:, 0]]
            known = [c.name for c in self.plan.classes]
            strange = sorted(set(names) - set(known))
            if strange:
                raise HilumError(
                    "HIL-T10",
                    f"Case {case.id} has a box of class {strange[0]!r}",
                    f"The plan knows: {', '.join(known)}",
                )
            return case.boxes[:, 1:], np.array([known.index(n) for n in names], dtype=np.int64)
        label = stored(case)
        same_grid(case, case.read("image"), label)
        values, rules = label.array, self.plan.data.get("labels")
        if len(self.plan.classes) > 1:
            return self._of_classes(case, label)
        if _by_value(rules):
            # what the rules leave out is no object, and values that they do not know are refused (N15)
            values = np.clip(to_channels(values, self.plan, label_words(case, label)), 0, None)
        ignored = self._ignored(case)
        objects = np.where(False if ignored is None else ignored, 0, values)[0]
        # what `labels` says of the data goes before the option
        single = numbered(rules)
        boxes = _boxes.of_objects(objects, self.options.pieces and not single, single)
        return boxes, np.zeros(len(boxes), dtype=np.int64)

    def _of_classes(self, case: Case, label: Image) -> tuple[Array, Array]:
        """Boxes (N, 4) and places (N,) of a mask whose values are classes; refused where they are not."""
        if not (self.options.pieces or _by_value(self.plan.data.get("labels"))):
            raise HilumError(
                "HIL-T10", f"Case {case.id} has a mask, which does not say of which class its objects are",
                "Name its values under `classes` in a dataset.yaml as the model's classes, or write a boxes.csv",
            )  # fmt: skip
        channels = to_channels(label.array, self.plan, label_words(case, label))[0]
        ignored = self._ignored(case)
        if ignored is not None:
            channels[ignored[0]] = 0
        found = [_boxes.of_objects(channels == place) for place in range(1, 1 + len(self.plan.classes))]
        places = np.repeat(np.arange(len(found)), [len(boxes) for boxes in found])
        return np.concatenate(found), places.astype(np.int64)

    def _ignored(self, case: Case) -> Array | None:
        """(1, *space) bool: `ignore` in the label mask, and outside the validity mask; None where there is neither."""
        value, found = self.plan.data.get("ignore"), None
        if value is not None and "label" in case.items:
            label = stored(case)
            same_grid(case, case.read("image"), label)
            found = label.array == value
        if VALIDITY in case.items:
            outside = ~valid(case, case.read("image"))
            found = outside if found is None else found | outside
        return found if found is not None and found.any() else None

    def unseen(self, learned: Callable[[], Iterable[tuple[Case, Sequence[int]]]]) -> list[str]:
        """Of boxes of which no patch shows `keep`: see `_boxes.unseen`. Where images are large their masks are read."""
        whole = np.array([[0, 0, *shape] for _, shape in learned()], dtype=np.float64).reshape(-1, 4)
        if (_boxes.shown(whole, self.plan.patch) >= self.options.keep).all():
            # no box is larger than its image
            return []
        shares = dict[str, list[float]]()
        for case, _ in learned():
            # preparing the case says what is wrong with it
            with contextlib.suppress(HilumError):
                for share, place in zip(*self._shares(case), strict=True):
                    shares.setdefault(self.plan.classes[place].name, []).append(share)
        return _boxes.unseen(shares, self.plan.patch, self.options.keep)

    def _shares(self, case: Case) -> tuple[list[float], list[int]]:
        """The largest share of each box of a case that a patch can show, and the places of their classes."""
        boxes, places = self._truth(case)
        return _boxes.shown(boxes, self.plan.patch).tolist(), places.tolist()

    def sample(self, store: Store, cases: Sequence[Case], part: str, k: int, rng: np.random.Generator) -> _task.Batch:
        """image (B, C, *patch), boxes and labels: lists of (N_i, 4) and (N_i,); ignored (B, *patch), where any is."""
        import torch

        images, boxes, labels, ignored = [], [], [], []
        for number in range(self.plan.batch):
            ready = store(self.drawn(cases, part, k, number, rng))
            shape = ready["image"].shape[1:]
            if len(ready["boxes"]) and rng.random() < self.options.inside:
                box = ready["boxes"][_boxes.one_of(ready["labels"], rng)]
                centre = np.clip((box[:2] + box[2:]) // 2, 0, np.array(shape) - 1).astype(int)
                start = patches.start_around(centre.tolist(), shape, self.plan.patch, rng)
            else:
                start = patches.random_start(shape, self.plan.patch, rng)
            image = patches.cut(ready["image"], start, self.plan.patch)
            inside, kept = _boxes.clip(ready["boxes"] - np.tile(start, 2), self.plan.patch, self.options.keep)
            nowhere = patches.cut(ready.get("ignored", np.zeros((1, *shape), bool)), start, self.plan.patch, fill=False)
            if part == "train":
                record = augment.draw(self.plan.augment, rng, 2)
                image = augment.apply(record, image)
                nowhere = augment.apply(record, nowhere, "label") if nowhere.any() else nowhere
                corners = partial(augment.move_points, record, shape=tuple(self.plan.patch))
                inside = _boxes.moved(inside, corners)
            images.append(image)
            boxes.append(torch.from_numpy(inside.astype(np.float32)))
            labels.append(torch.from_numpy(ready["labels"][kept]))
            ignored.append(nowhere[0])
        batch = {"image": torch.from_numpy(np.stack(images).astype(np.float32)), "boxes": boxes, "labels": labels}
        # most data sets ignore nothing
        return batch | ({"ignored": torch.from_numpy(np.stack(ignored))} if np.any(ignored) else {})

    def inputs(self, batch: _task.Batch) -> tuple[Any, ...]:
        return (batch["image"],)

    def losses(self, outputs: Any, batch: _task.Batch) -> "dict[str, Tensor]":
        """Focal loss on classes, GIoU on boxes, cross-entropy on centre-ness; normalised by assigned locations."""
        size, ignored = tuple(batch["image"].shape[2:]), batch.get("ignored")
        return _boxes.fcos_losses(outputs, batch["boxes"], batch["labels"], size, ignored)

    def counts(self, outputs: Any, batch: _task.Batch) -> Array:
        """Right and wrong boxes of every class by their score, and how many true ones there are."""
        return _rounds_boxes.boxes(self._found(outputs, batch), len(self.plan.classes))

    def score(self, counts: Array) -> dict[str, float]:
        return _rounds_boxes.precision(counts)

    def collapse(self, counts: Array) -> str | None:
        return _rounds_boxes.blind(counts, self._least)

    @property
    def _least(self) -> float:
        """The score from which a box counts while it is learned: scores rise slowly, whatever is given later."""
        return min(self.options.score, LEAST)

    def pictures(self, outputs: Any, batch: _task.Batch, cases: Sequence[str]) -> list[tuple[Array, str]]:
        """Every patch, those with most true boxes first: found (orange, from a score of 0.3) and true ones (blue)."""
        from hilum.pictures import draw

        drawn, places = [], np.argsort([-len(b) for b in batch["boxes"]], kind="stable").tolist()
        for place, found in zip(places, self._found(outputs, batch, places), strict=True):
            sure = found["scores"] >= SURE
            flat = _show.flat(Image(batch["image"][place].numpy(), None))
            picture = draw.with_boxes(flat, found["boxes"][sure], found["scores"][sure], found["true_boxes"])
            words = f"{int(sure.sum())} found at {SURE:g} or more (orange), {len(found['true_boxes'])} true (blue)"
            drawn.append((picture, f"{_show.named(cases, place, len(places))}: {words}"))
        return drawn

    def _found(
        self, outputs: Any, batch: _task.Batch, places: Sequence[int] | None = None
    ) -> Iterator[dict[str, Array]]:
        """Found and true boxes of images of a batch, all of them when no places are given."""
        size = tuple(batch["image"].shape[2:])
        for place in range(len(batch["boxes"])) if places is None else places:
            one, options = _rounds_boxes.one_of(outputs, place), self.options
            found, scores, labels = _boxes.decode(one, size, self._least, options.overlap, options.most)
            true, kinds = batch["boxes"][place].cpu().numpy(), batch["labels"][place].cpu().numpy()
            if "ignored" in batch:
                judged = _boxes.outside(found, labels, true, kinds, batch["ignored"][place].cpu().numpy())
                found, scores, labels = found[judged], scores[judged], labels[judged]
            yield {"boxes": found, "scores": scores, "labels": labels, "true_boxes": true, "true_labels": kinds}

    @cached_property
    def _steps(self) -> list[int]:
        """What the sides of a whole image are multiples of, by axis: SIDE, and what the network divides them by."""
        return [math.lcm(SIDE, step) for step in _build.divisor(self)]

    def _padded(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The size of a whole image with what is added at its far ends."""
        return tuple(-(-n // step) * step for n, step in zip(shape, self._steps, strict=True))

    def whole(self, prepared: Prepared) -> _task.Batch:
        """Padded at the far ends to a size that the network takes, so that coordinates stay."""
        import torch

        image = prepared["image"]
        padded = patches.cut(image, [0, 0], self._padded(image.shape[1:]))
        return {"image": torch.from_numpy(np.ascontiguousarray(padded))[None]}

    def decode(self, reduced: Any, prepared: Prepared, case: Case) -> Result:
        """reduced: the network's output -> Boxes, best first, after non-maximum suppression per class."""
        shape = prepared["image"].shape[1:]
        found, scores, places = _boxes.decode(
            reduced, self._padded(shape), self.options.score, self.options.overlap, self.options.most
        )
        found[:, :2] = np.clip(found[:, :2], 0, None)
        found[:, 2:] = np.minimum(found[:, 2:], np.array(shape))
        real = (found[:, 2:] > found[:, :2]).all(axis=1)
        values = np.array([c.value for c in self.plan.classes])[places]
        classes = {c.value: c.name for c in self.plan.classes}
        boxes = Boxes(found[real], scores[real], values[real], classes)
        return Result({"boxes": boxes}, warnings=prepared["warnings"], meta={"case": case.id})

    def missed(self, case: Case) -> _task.Judged:
        """No box found, all true ones missed. No record where there are none: to find nothing would be right there."""
        none = Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, dtype=np.int64), {})
        judged = self.judge(Result({"boxes": none}), case)
        return judged if len(judged.record["true_boxes"]) else replace(judged, record=None)

    def judge(self, result: Result, case: Case) -> _task.Judged:
        """record: found and true boxes with their class values; without those found where nothing is judged."""
        boxes, (truth, places) = result["boxes"], self._truth(case)
        values = np.array([c.value for c in self.plan.classes])[places]
        record = {"boxes": boxes.array, "scores": boxes.scores, "labels": boxes.labels}
        if silent := unnamed(self.plan):
            # of a class that the labels do not name no box is right or wrong
            told = ~np.isin(boxes.labels, [c.value for c in self.plan.classes if c.name in silent])
            record = {name: value[told] for name, value in record.items()}
            boxes = Boxes(record["boxes"], record["scores"], record["labels"], boxes.classes)
        if (ignored := self._ignored(case)) is not None:
            judged = _boxes.outside(boxes.array, boxes.labels, truth, values, ignored[0])
            record = {name: value[judged] for name, value in record.items()}
        return _task.Judged(case.id, case.group, {}, record | {"true_boxes": truth, "true_labels": values})

    def show(self, result: Result, case: Case) -> list[tuple[Array, str]]:
        from hilum.pictures import draw

        boxes = result["boxes"]
        sure = boxes.scores >= SURE
        truth = self._truth(case)[0] if case.boxes is not None or "label" in case.items else np.zeros((0, 4))
        picture = draw.with_boxes(_show.flat(case.read("image")), boxes.array[sure], boxes.scores[sure], truth)
        return [(picture, f"{case.id}: {int(sure.sum())} found at {SURE:g} or more, {len(truth)} true")]

    def out_channels(self) -> dict[str, int]:
        return {"class": len(self.plan.classes), "box": 4, "centre": 1}

    def example(self, rng: np.random.Generator) -> _task.Batch:
        import torch

        image = torch.from_numpy(rng.standard_normal((1, len(self.plan.channels), *self.plan.patch)).astype(np.float32))
        return {"image": image, "boxes": [torch.tensor([[8.0, 8.0, 24.0, 24.0]])], "labels": [torch.tensor([0])]}


def _by_value(rules: dict[str, Any] | None) -> bool:
    """Whether a label mapping says which values are which class; else any value, `nonzero`, may number an object."""
    return bool(rules) and not any(isinstance(rule, str) for rule in (rules or {}).values())


def _may_hold_boxes(row: dict[str, Any], ignore: int | None) -> bool:
    """Whether a case of the fingerprint has listed boxes, or a mask with something in it that is not ignored."""
    if row.get("listed"):
        return bool(row["boxes"])
    return any(value not in (0, ignore) for value in row["labels"] or {})
