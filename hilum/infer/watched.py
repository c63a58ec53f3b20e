"""Images on their way to the task: their reading is timed, and how they lie is seen on the way."""

from dataclasses import dataclass, field
from typing import Any

from hilum.core.image import Array, Image, Source
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.infer import domain
from hilum.infer._clock import Clock
from hilum.infer.domain import ROLES
from hilum.prepare import anatomy


@dataclass
class Watched:
    """An item on its way to the task: its reading is timed, and of an image that is looked at, a coarse view is kept.

    item: anything a case holds; all abilities of a Source are kept. block: what `anatomy.block` saw of the whole, where
    that is wanted. stated: what the image says of itself.
    """

    item: Any
    clock: Clock
    wanted: bool
    block: Array | None = field(default=None, init=False)
    stated: domain.Stated | None = field(default=None, init=False)

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Any:
        with self.clock("read"):
            image = self.item.read(region, level) if isinstance(self.item, Source) else self.item
        if region is None and isinstance(image, Image):
            self.stated = domain.stated(image)
            if self.wanted and self.block is None:
                self.block = anatomy.block(image)
        return image

    def __getattr__(self, name: str) -> Any:
        return getattr(self.item, name)


def warnings(
    looks: dict[str, Watched], known: anatomy.Profile | None, made_for: domain.Domain, plan: Plan
) -> list[str]:
    """Of each image that is of another kind than the model's, or looks turned (HIL-M08). looks: by role, once read."""
    said = {role: look.stated for role, look in looks.items() if look.stated is not None}
    turned = [anatomy.warning(look.block, known, ROLES[role]) for role, look in looks.items()]
    return domain.warnings(said, made_for, plan) + [w for w in turned if w is not None]


def known(run: Run) -> anatomy.Profile | None:
    """How the training images lay: in a bundle a file of its own, in a run a part of the fingerprint; often None."""
    if run.has("anatomy.json"):
        return anatomy.parse(run.json("anatomy.json"))
    return anatomy.parse(run.json("fingerprint.json").get("anatomy")) if run.has("fingerprint.json") else None
