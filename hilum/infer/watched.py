"""Images on their way to the task: their reading is timed, and how they lie is seen on the way."""

from dataclasses import dataclass, field
from typing import Any

from hilum.core.image import Array, Image, Source
from hilum.core.run import Run
from hilum.infer._clock import Clock
from hilum.prepare import anatomy

ROLES = {"image": "image", "fixed": "fixed image", "moving": "moving image"}
# Roles whose images are compared with how the training images lay, and what they are called.


@dataclass
class Watched:
    """An item on its way to the task: its reading is timed, and of an image that is looked at, a coarse view is kept.

    item: anything a case holds; all abilities of a Source are kept. block: what `anatomy.block` saw of the whole.
    """

    item: Any
    clock: Clock
    wanted: bool
    block: Array | None = field(default=None, init=False)

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Any:
        with self.clock("read"):
            image = self.item.read(region, level) if isinstance(self.item, Source) else self.item
        if self.wanted and region is None and isinstance(image, Image) and self.block is None:
            self.block = anatomy.block(image)
        return image

    def __getattr__(self, name: str) -> Any:
        return getattr(self.item, name)


def warnings(looks: dict[str, Watched], known: anatomy.Profile) -> list[str]:
    """One for each image that looks turned (HIL-M08). looks: by role, once read."""
    turned = [anatomy.warning(look.block, known, ROLES[role]) for role, look in looks.items()]
    return [w for w in turned if w is not None]


def known(run: Run) -> anatomy.Profile | None:
    """How the training images lay: in a bundle a file of its own, in a run a part of the fingerprint; often None."""
    if run.has("anatomy.json"):
        return anatomy.parse(run.json("anatomy.json"))
    return anatomy.parse(run.json("fingerprint.json").get("anatomy")) if run.has("fingerprint.json") else None
