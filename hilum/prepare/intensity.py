"""Intensities as the network sees them: normalisation, and as many channels as planned."""

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.core.plan import Normalisation

LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
# Weights of red, green, blue in brightness (ITU-R BT.601).
MASKED = ("zscore_box", "zscore_nonzero")
# Schemes that take 0 for what was not stored; of a value that is no number nothing was stored either.


def match_channels(array: Array, channels: int, image: Image) -> Array:
    """(C, *space) to (channels, *space): colour to grey by luma, grey repeated to colour; else refused (HIL-PREP-01).

    image: what the array was made of. Only in a picture of one file are three channels colours: those of a volume, and
    channels with files of their own, are different images of one thing (T1, T2, FLAIR), and no brightness is their sum.
    """
    count, picture = array.shape[0], image.dims == 2 and "channel_files" not in image.meta
    if count == channels:
        return array
    if picture and count == 3 and channels == 1:
        return np.tensordot(LUMA, array.astype(np.float32), axes=(0, 0))[None]
    if picture and count == 1 and channels == 3:
        return np.repeat(array, 3, axis=0)
    few = {count, channels} == {1, 3}
    raise HilumError(
        "HIL-PREP-01", f"The image has {count} channels, the network takes {channels}",
        "Give images of one kind" + ("; one and three channels are alike in a picture of one file only" if few else ""),
    )  # fmt: skip


def normalise(array: Array, how: list[Normalisation]) -> Array:
    """(C, *space) raw to float32 as planned, channel by channel.

    NaN and infinity become the channel's minimum, but 0 in zscore_box and zscore_nonzero: nothing was stored there.

    zscore: (x - mean) / std of this image. zscore_box: mean and std of the box that holds everything that is not 0 in
    some channel. zscore_nonzero: of those voxels alone (in volumes with what they enclose); the others stay as they
    are. ct: clip to low..high, then the data set's mean and std. scale: low..high to 0..1, clipped. none: as it is.
    """
    out = np.empty(array.shape, dtype=np.float32)
    inside = _inside(array) if any(rule.scheme in MASKED for rule in how) else None
    for channel, (values, rule) in enumerate(zip(array, how, strict=True)):
        x = values.astype(np.float32)
        finite = np.isfinite(x)
        if not finite.all():
            if not finite.any():
                raise HilumError("HIL-N09", "The image has no finite value", "Leave this case out or mend it")
            x = np.where(finite, x, 0 if rule.scheme in MASKED else x[finite].min())
        if rule.scheme == "zscore":
            x = _scored(x, x)
        elif rule.scheme == "zscore_box" and inside is not None:
            x = _scored(x, x[_box(inside)])
        elif rule.scheme == "zscore_nonzero" and inside is not None:
            x = np.where(inside, _scored(x, x[inside]), x)
        elif rule.scheme == "ct":
            x = (np.clip(x, rule.low, rule.high) - rule.mean) / max(rule.std, 1e-8)
        elif rule.scheme == "scale":
            x = np.clip((x - rule.low) / max(rule.high - rule.low, 1e-8), 0, 1)
        elif rule.scheme != "none":
            raise HilumError("HIL-PLAN-03", f"Unknown normalisation {rule.scheme!r}", "Known: zscore, ct, scale, none")
        out[channel] = x
    return out


def _scored(x: Array, part: Array) -> Array:
    scored: Array = (x - part.mean()) / max(float(part.std()), 1e-8)
    return scored


def _inside(array: Array) -> Array:
    """(*space) True where any channel holds a number other than 0, in volumes with what that encloses.

    Everywhere in an image without any.
    """
    found: Array = ((array != 0) & np.isfinite(array)).any(axis=0)
    if not found.any():
        return np.ones_like(found)
    if found.ndim == 2:
        return found
    from scipy.ndimage import binary_fill_holes

    filled: Array = binary_fill_holes(found)
    return filled


def _box(inside: Array) -> tuple[slice, ...]:
    """The smallest box that holds all True."""
    sides = []
    for axis in range(inside.ndim):
        there = np.flatnonzero(inside.any(axis=tuple(a for a in range(inside.ndim) if a != axis)))
        sides.append(slice(int(there[0]), int(there[-1]) + 1))
    return tuple(sides)


def border_only(array: Array, width: float = 0.08) -> Array:
    """(C, *space) with everything but a frame of `width` (share of each axis) set to the frame's mean.

    A control: what a model still gets right from the frame alone is not medicine, it is where the images come from.
    """
    inner = tuple(slice(max(1, round(n * width)), n - max(1, round(n * width))) for n in array.shape[1:])
    frame = np.ones(array.shape[1:], dtype=bool)
    frame[inner] = False
    out = array.copy()
    for channel in out:
        channel[inner] = channel[frame].mean()
    return out
