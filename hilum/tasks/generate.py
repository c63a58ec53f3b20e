"""Generation: new images that look like those of a collection."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hilum.core.findings import Picture, Result
from hilum.core.image import Array, Case, Image
from hilum.data.store import Prepared, Store
from hilum.prepare import grid, intensity
from hilum.tasks import _rounds_images, _show, _task

if TYPE_CHECKING:
    from torch import Tensor

CARD = {
    "order": 6,
    "about": "new images that look like those of a collection",
    "roles": ["image"],
    "predicts_from": [],
    "network": "dcgan_generator",
    "regime": "wgan_gp",
    "infer": "sampler",
    "reduce": "none",
    "metrics": ["kid@pca64"],
    "dims": [2],
}

LATENT = 64
# Length of the random vector an image is made from.
SHOWN = 9
# Images on a sheet.
GENERATED = "This image was generated. Whether it repeats a training image was not checked."
FINE = 16
# Grey values in a collection from which on their fractions are nothing that anybody stored.


class Task(_task.Task):
    """Random vectors in, images in -1..1 out; the regime owns the losses."""

    CARD: ClassVar[dict[str, Any]] = CARD
    varied = False
    spaced = False

    @classmethod
    def rules(cls, fingerprint: dict[str, Any], budget: _task.Budget) -> dict[str, Any]:
        """Images resized to a square of 64 px (32 when they are smaller), grey values 0..high to -1..1."""
        side = 64 if float(np.median([max(row["shape"]) for row in fingerprint["cases"]])) >= 48 else 32
        width = {8: 12, 12: 16, 16: 32, 24: 48, 32: 64}[budget.width]
        critic = {"name": "dcgan_critic", "options": {"width": width}}
        return {
            "classes": [],
            "channels": fingerprint["channels"],
            # of the whole images: where there are labels, the other intensities are those of what is labelled
            "normalisation": [{"scheme": "scale", "low": low, "high": high} for low, high in fingerprint["range"]],
            "spacing": None,
            "patch": [side, side],
            "batch": 16,
            "networks": {"net": {"name": "dcgan_generator", "options": {"width": width}}, "critic": critic},
            "augment": [],
            "options": {},
        }

    def prepare(self, case: Case, truth: bool = True) -> Prepared:
        """image (C, *patch) float32 in -1..1."""
        image = case.read("image")
        array, _ = grid.place(image, None, tuple(self.plan.patch))
        array = intensity.match_channels(array, len(self.plan.channels), image)
        return {"image": intensity.normalise(array, self.plan.normalisation) * 2 - 1}

    def sample(self, store: Store, cases: Sequence[Case], part: str, k: int, rng: np.random.Generator) -> _task.Batch:
        """real (B, C, *patch) in -1..1."""
        import torch

        chosen = [self.drawn(cases, part, k, number, rng) for number in range(self.plan.batch)]
        return {"real": torch.from_numpy(np.stack([store(case)["image"] for case in chosen]))}

    def inputs(self, batch: _task.Batch) -> tuple[Any, ...]:
        return (batch["latent"],)

    def losses(self, outputs: Any, batch: _task.Batch) -> "dict[str, Tensor]":
        raise TypeError("generate has no loss of its own: its regime (wgan_gp) does")

    def counts(self, outputs: Any, batch: _task.Batch) -> Array:
        """Sums over generated and over real images, per pixel. outputs: generated images (B, C, *patch)."""
        return _rounds_images.sets(_rounds_images.array(outputs), _rounds_images.array(batch["real"]))

    def score(self, counts: Array) -> dict[str, float]:
        return _rounds_images.likeness(counts)

    def collapse(self, counts: Array) -> str | None:
        return _rounds_images.all_alike(counts)

    def pictures(self, outputs: Any, batch: _task.Batch, cases: Sequence[str]) -> list[tuple[Array, str]]:
        """A sheet of generated images and one of real ones."""
        from hilum.pictures import draw

        sheets = []
        for images, words in ((outputs, "generated"), (batch["real"], "real")):
            shown = [_show.flat(Image(i, None), low=-1.0, high=1.0) for i in _rounds_images.array(images[:SHOWN])]
            grey = [draw.rgb(flat) for flat in shown]
            sheets.append((draw.sheet(grey, math.ceil(math.sqrt(len(grey))), gap=2), f"{len(grey)} {words} images"))
        return sheets

    def latent(self, count: int, rng: np.random.Generator) -> "Tensor":
        """Random vectors (count, LATENT)."""
        import torch

        return torch.from_numpy(rng.standard_normal((count, LATENT)).astype(np.float32))

    def decode(self, reduced: Any, prepared: Prepared, case: Case) -> Result:
        """reduced: (C, *patch) in -1..1 -> Picture in the collection's grey values."""
        rules = self.plan.normalisation
        rows = [(x.numpy() + 1) / 2 * (r.high - r.low) + r.low for x, r in zip(reduced, rules, strict=True)]
        image = Image(np.stack(rows).astype(np.float32), None, (GENERATED,))
        grey = all(r.low >= 0 and r.high - r.low >= FINE and r.high <= np.iinfo(np.uint16).max for r in rules)
        unit = "grey" if grey else ""
        return Result({"picture": Picture(image, unit)}, warnings=image.warnings, meta={"case": case.id})

    def judge(self, result: Result, case: Case) -> _task.Judged:
        """record: the image as a flat vector in -1..1; the evaluator compares sets of them."""
        rules = self.plan.normalisation
        rows = [
            (x - r.low) / max(r.high - r.low, 1e-8) * 2 - 1
            for x, r in zip(result["picture"].image.array, rules, strict=True)
        ]
        return _task.Judged(case.id, case.group, {}, np.stack(rows).ravel())

    def show(self, result: Result, case: Case) -> list[tuple[Array, str]]:
        return [(_show.picture(result["picture"].image), case.id)]

    def in_channels(self) -> int:
        """The network's input is the latent vector, not an image."""
        return LATENT

    def out_channels(self) -> int:
        return len(self.plan.channels)

    def example(self, rng: np.random.Generator) -> _task.Batch:
        import torch

        shape = (4, len(self.plan.channels), *self.plan.patch)
        real = torch.from_numpy(rng.uniform(-1, 1, shape).astype(np.float32))
        return {"real": real, "latent": self.latent(4, rng)}
