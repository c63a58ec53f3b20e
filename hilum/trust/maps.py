"""Where a mask is doubtful: entropy of its class probabilities, and how far several opinions lie apart, by voxel."""

from typing import TYPE_CHECKING

import numpy as np

from hilum.core.calibration import Calibration
from hilum.core.image import Array, Image
from hilum.infer.predictor import Opinion
from hilum.infer.streamed import Map, mapped
from hilum.tasks._task import Task

if TYPE_CHECKING:
    from torch import Tensor


def of_mask(opinion: Opinion, task: Task, known: Calibration, where: Array | None = None) -> dict[str, Image]:
    """{"doubt", and of several opinions "disagreement"}: (1, *space) float32 0..1 on the image's own grid.

    doubt: entropy of the scaled probabilities. disagreement: mutual information of voxel and opinion. Both as shares of
    the most there can be. where: bool (*space); elsewhere nothing was found, and they are 0.
    """
    count = 1 + len(task.plan.classes)
    doubt = opinion.maps.get("doubt")
    if doubt is None:
        doubt = mapped(opinion.logits[:count], entropy(known, count)).numpy()
    found = {"doubt": _placed(opinion, doubt)}
    if opinion.entropies is not None:
        found["disagreement"] = _placed(opinion, opinion.entropies.normalised()[2])
    if where is not None:
        for image in found.values():
            image.array[:, ~where] = 0
    return found


def entropy(known: Calibration, count: int) -> Map:
    """Scores (K, ...) -> (...): entropy of the scaled probabilities as a share of log K, 0..1. count: K."""

    def of(scores: "Tensor") -> "Tensor":
        import torch

        chances = torch.log_softmax(scores * known.scaling.scale[0], dim=0)
        return -(chances.exp() * chances).sum(dim=0) / float(np.log(count))

    return of


def disagreement(opinion: Opinion) -> float:
    """How far several opinions lay apart, 0..1: of classes, or the mean over the voxels found; the most where none was.

    Mutual information as a share of the most there can be of so many classes and opinions: 0 where all opinions are
    alike, however unsure they are.
    """
    apart: Array = opinion.entropies.normalised()[2]
    if apart.ndim == 0:
        return float(apart)
    found = opinion.entropies.mean.argmax(axis=0) > 0
    return float(apart[found].mean()) if found.any() else float(apart.max())


def _placed(opinion: Opinion, values: Array) -> Image:
    """Values (*space) of the network's grid on that of the image."""
    placed = opinion.prepared["placed"]
    back = placed.channels_back(values[None].astype(np.float32, copy=False))
    # in place: of a large image every copy counts
    image: Image = placed.image.like(np.clip(back, 0, 1, out=back))
    return image
