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


def normalise(array: Array, how: list[Normalisation], fresh: bool = False) -> Array:
    """(C, *space) raw to float32 as planned, channel by channel.

    NaN and infinity become the channel's minimum, but 0 in zscore_box and zscore_nonzero: nothing was stored there.

    zscore: (x - mean) / std of this image. zscore_box: mean and std of the box that holds everything that is not 0 in
    some channel. zscore_nonzero: of those voxels alone (in volumes with what they enclose); the others stay as they
    are. ct: clip to low..high, then the data set's mean and std. scale: low..high to 0..1, clipped. none: as it is.
    fresh: the array is float32 and nobody else's: it is overwritten, and holds the result.
    """
    out = array if fresh else np.empty(array.shape, dtype=np.float32)
    inside = _inside(array) if any(rule.scheme in MASKED for rule in how) else None
    for channel, (values, rule) in enumerate(zip(array, how, strict=True)):
        x = values if fresh else values.astype(np.float32)
        _mend(x, rule)
        _scale(x, rule, inside)
        if not fresh:
            out[channel] = x
    return out


def beside(how: list[Normalisation]) -> int:
    """Bytes a voxel that `normalise` surely holds beside a fresh array: which are finite, or distances from a mean."""
    return 4 if any(rule.scheme == "zscore" for rule in how) else 1


def _mend(x: Array, rule: Normalisation) -> None:
    """Give what is no number a value, in place."""
    finite = np.isfinite(x)
    if finite.all():
        return
    if not finite.any():
        raise HilumError("HIL-N09", "The image has no finite value", "Leave this case out or mend it")
    x[~finite] = 0 if rule.scheme in MASKED else x.min(where=finite, initial=np.inf)


def _scale(x: Array, rule: Normalisation, inside: Array | None) -> None:
    """One channel by its rule, in place: of a large volume no further copy is made."""
    if rule.scheme == "zscore":
        _score(x, x)
    elif rule.scheme == "zscore_box" and inside is not None:
        _score(x, x[_box(inside)])
    elif rule.scheme == "zscore_nonzero" and inside is not None:
        _score(x, x[inside], inside)
    elif rule.scheme == "ct":
        np.clip(x, rule.low, rule.high, out=x)
        x -= rule.mean
        x /= max(rule.std, 1e-8)
    elif rule.scheme == "scale":
        x -= rule.low
        x /= max(rule.high - rule.low, 1e-8)
        np.clip(x, 0, 1, out=x)
    elif rule.scheme != "none":
        raise HilumError("HIL-PLAN-03", f"Unknown normalisation {rule.scheme!r}", "Known: zscore, ct, scale, none")


def _score(x: Array, part: Array, where: Array | bool = True) -> None:
    """Mean and deviation of a part to 0 and 1, in place; only `where`."""
    mean, std = part.mean(), max(float(part.std()), 1e-8)
    np.subtract(x, mean, out=x, where=where)
    np.divide(x, std, out=x, where=where)


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
