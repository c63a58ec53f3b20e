"""How doubtful one result is, by the network's own probabilities: of a class, or of a mask without a reference."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.core.calibration import Scaling
from hilum.core.image import Array
from hilum.trust import voxels
from hilum.trust.calibration import applied, log_softmax
from hilum.trust.uncertainty import expected_dice

MEASURES = {"classify": "1 - probability of the class", "segment": "1 - expected Dice"}
# Tasks that have a doubt, and what it is called.


@dataclass(frozen=True)
class Sight:
    """What is kept of a mask's probabilities: (n, K) of voxels near what was found, or of the likeliest one (1, K)."""

    probabilities: Array
    empty: bool


def of_class(probabilities: Array) -> float:
    """1 - the highest of the scaled probabilities (K,)."""
    return 1.0 - float(np.max(probabilities))


def sight(logits: Any, seed: int = 0) -> Sight:
    """Of logits (K, *space): voxels near the foreground found, at most voxels.MOST of them, drawn by the seed."""
    values = np.asarray(logits, dtype=np.float32)
    found = values.argmax(axis=0)
    if found.any():
        return Sight(voxels.sample(values, found, logits=True, seed=seed).probabilities, False)
    # nothing was found: what matters is how near the likeliest voxel came
    likeliest = int((values[1:].max(axis=0) - values[0]).argmax())
    return Sight(np.exp(log_softmax(values.reshape(len(values), -1)[:, likeliest][None])), True)


def of_mask(seen: Sight, scaling: Scaling) -> float:
    """1 - the expected Dice, mean over the classes found; of an empty mask the chance of the likeliest voxel.

    The expected Dice is a ratio of sums over voxels, so a sample of them gives it; voxels far from the mask, where a
    foreground probability is next to nothing, are left out.
    """
    chances = applied(scaling, seen.probabilities)
    if seen.empty:
        return 1.0 - float(chances[0, 0])
    # the scaling of masks is a temperature: it leaves the mask as it is
    found = seen.probabilities.argmax(axis=1)
    expected = [expected_dice(chances[:, k], found == k) for k in np.unique(found) if k > 0]
    return 1.0 - float(np.mean([e for e in expected if e is not None]))
