"""Seconds of what follows the network, told before it is done: about at first, and by the last case from then on."""

from collections.abc import Mapping

LEAST = 0.05
# Seconds below which a stage says nothing of how the next one will go.
SAME, FINE, COARSE = 0.5e-8, 0.25e-8, 1e-7
# Seconds a voxel of labels that are brought back: from the same grid, and from another one, of the image's grid and of
# the network's, around whose voxels labels meet; about, between two kinds of machine.
PROBABLE, OBJECTS = 1e-7, 1.8e-6
# Seconds a voxel of the image's grid: probabilities, and numbered objects told apart there; on one machine, about.
ADDED = 2e-8
# The same of each score, where those of all voxels are put together.
WRITING, LOADING = 0.6e-8, 0.2
# The same while labels are written and read back, and seconds once for the libraries that do it.
JUDGED = {2: 4.5e-7, 3: 4e-8}
# The same of the doubt of a calibrated run, in pictures and in volumes, of which some slices are looked at: the quality
# of the image is measured.


class Stages:
    """How many times as long as foretold the stages of the last case took: so are those of the next foretold.

    A machine that is slower than the one of these numbers, or busy, is foretold rightly from the second case on.
    """

    def __init__(self) -> None:
        self._times: dict[str, float] = {}

    def foretold(self, stages: Mapping[str, float]) -> dict[str, float]:
        """Seconds by stage."""
        return {stage: round(seconds * self._times.get(stage, 1.0), 4) for stage, seconds in stages.items()}

    def seen(self, foretold: Mapping[str, float], spent: Mapping[str, float]) -> None:
        """Learn from a case. foretold: as given by `foretold`."""
        for stage, seconds in foretold.items():
            if stage in spent and min(seconds, spent[stage]) > LEAST:
                self._times[stage] = self._times.get(stage, 1.0) * spent[stage] / seconds
