"""How far the values of an image reach, and which part of it holds any: of a case, and of the training part."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hilum.core.image import Array

Rows = Sequence[Mapping[str, Any]]

LINES = 32
# About so many planes along each axis show how dark an image is.
AIR = -500
# Hounsfield units of lungs and of air, which images of CT reach below; nothing else does by itself.


def low(channel: Array) -> float:
    """How dark the whole image is, (*space): its first percentile, of a thin sample."""
    thin = channel[tuple(slice(None, None, max(1, n // LINES)) for n in channel.shape)].astype(np.float32)
    finite = thin[np.isfinite(thin)]
    return round(float(np.percentile(finite, 1)), 6) if len(finite) else 0.0


def ends(channel: Array) -> list[float]:
    """The least and the most of the whole image, (*space); 0 and 0 where nothing is a number."""
    finite = channel if channel.dtype.kind in "biu" else channel[np.isfinite(channel)]
    return [float(finite.min()), float(finite.max())] if finite.size else [0.0, 0.0]


def content(array: Array) -> float:
    """Share of an image (C, *space) in the smallest box of all numbers other than 0 in some channel; 1 without any."""
    share = 1.0
    for axis in range(1, array.ndim):
        planes = np.moveaxis(array, axis, 0)
        before = next((n for n, plane in enumerate(planes) if _holds(plane)), None)
        if before is None:
            return 1.0
        behind = next(n for n, plane in enumerate(planes[::-1]) if _holds(plane))
        share *= (len(planes) - before - behind) / len(planes)
    return round(share, 6)


def _holds(plane: Array) -> bool:
    """Whether there is a number other than 0; where a value is none, nothing was stored (`prepare.intensity`)."""
    return bool((np.isfinite(plane) & (plane != 0)).any())


def usual_content(rows: Rows) -> float:
    """The median of `content` over these images; 1 where it was not measured, as of pictures."""
    return float(np.median([row["content"] for row in rows if "content" in row] or [1.0]))


def whole(rows: Rows, channels: int) -> list[list[float]]:
    """The least and the most of every channel over these images, (channels, 2)."""
    spans = [row["range"] for row in rows if len(row.get("range", ())) == channels]
    return [[min(s[n][0] for s in spans), max(s[n][1] for s in spans)] for n in range(channels)] if spans else []


def hounsfield(rows: Rows, channels: int) -> list[bool]:
    """For each channel whether most of these images reach down to air, as CT does and nothing else by itself."""
    lows = [row["low"] for row in rows if len(row.get("low", ())) == channels]
    return [2 * sum(one[number] < AIR for one in lows) > len(lows) for number in range(channels)]
