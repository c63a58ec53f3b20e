"""MR motion: k-space put together from segments, each taken of the body in another pose.

Shaw 2019 (MRI k-space motion artefact augmentation) and Perez-Garcia 2021 (TorchIO). Lines are taken in order along
the phase-encoding axis; the segment with the centre of k-space shows the pose of the labels. Since only one axis is
cut into segments, only that axis is transformed.
"""

from typing import Any

import numpy as np

from hilum.core.image import Array
from hilum.prepare.augment import _grey, _spatial

CARD = {
    "about": "MR: k-space lines from `moves` rigid movements, turned by up to `degrees` in the planes of `axes` and "
    "moved by up to `share` along each of them; lines are taken along one of them; mean and spread stay",
    "spatial": False,
    "options": {"degrees": 6.0, "share": 0.05, "moves": 2, "axes": [0, 1, 2], "probability": 0.1},
}
CORE = 0.06
# Share of k-space on either side of the centre within which nobody moves: what is in focus is where the labels are.


def sample(
    rng: np.random.Generator, dims: int, degrees: float, share: float, moves: int, axes: list[int], probability: float
) -> dict[str, Any]:
    """axis, and the poses: from which share of k-space on, angles in degrees (of the planes of `axes`) and shifts as
    shares of the axes, 0 along others."""
    used = [a for a in range(dims) if a in axes]
    on = rng.random() < probability and bool(used)
    poses = []
    for _ in range(max(1, int(moves))):
        at = float(rng.uniform(0.02, 0.5 - CORE))
        poses.append(
            {
                "at": at if rng.random() < 0.5 else 1 - at,
                "degrees": rng.uniform(-degrees, degrees, size=len(used) * (len(used) - 1) // 2).tolist(),
                "axes": used,
                "shares": (rng.uniform(-share, share, size=dims) * [a in used for a in range(dims)]).tolist(),
            }
        )
    return {"axis": _grey.axis(rng, used), "poses": poses if on else []}


def _posed(image: Array, pose: dict[str, Any]) -> Array:
    """The image in a pose, turned about its centre and moved."""
    shape = image.shape[1:]
    axes = pose.get("axes", range(len(shape)))
    matrix, centre = _spatial.turn(len(shape), pose["degrees"], axes), (np.array(shape) - 1) / 2
    offset = centre - matrix @ centre - np.array(pose["shares"]) * shape
    return _spatial.pulled(image, _spatial.affine(_spatial.grid(shape), matrix, offset), "image")


def apply(params: dict[str, Any], array: Array, kind: str) -> Array:
    """Images only; labels stay. The magnitude, as scanners give it. The field of view is the array."""
    if kind != "image" or not params["poses"]:
        return array
    from scipy import fft

    signal, _ = _grey.signal(array)
    axis = params["axis"] + 1
    n = signal.shape[axis]
    space = fft.fft(signal, axis=axis)
    # the time at which each line was taken, 0 to 1, the centre of k-space at one half
    time = np.fft.fftfreq(n) + 0.5
    # the pose nearest to the centre of k-space first: each is written over all lines beyond its time
    for pose in sorted(params["poses"], key=lambda one: abs(one["at"] - 0.5)):
        # before the centre a pose lasts until its time, after it from its time on
        lines = np.flatnonzero(time < pose["at"] if pose["at"] < 0.5 else time > pose["at"])
        if len(lines):
            index = (*[slice(None)] * axis, lines)
            space[index] = fft.fft(_posed(signal, pose), axis=axis)[index]
    return _grey.kept(np.abs(fft.ifft(space, axis=axis)), array)
