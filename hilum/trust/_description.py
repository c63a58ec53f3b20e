"""An image described by vectors without a network: features of quality, the picture as a whole, its texture.

Texture: what is left of a picture where local brightness and contrast are divided out varies little between pictures of
one kind, and noise, blur and doubled contours change it (Ruderman 1994; Mittal 2013, NIQE). The numbers that describe
it were chosen on lesions, heads and nuclei, not on the classifiers that the trust benchmarks are about.
"""

from collections.abc import Mapping, Sequence
from functools import cache

import numpy as np

from hilum.core.image import Array, Image
from hilum.core.plan import Normalisation
from hilum.prepare import intensity
from hilum.trust import _measures, quality

SIDE = 128
# Pixels of a side of the small picture that is described.
LEFT_OUT = ("blocks", "channels", "size", "aspect", "slices", "spacing", "thickness")
# Features of quality that do not count here: they tell files apart more than pictures, and the task brings images onto
# one grid.
LONGEST = 256
# Pixels of the longest side of the picture whose texture is described; smaller ones stay as they are.
NEAR, EVEN = 3.0, 0.01
# Standard deviation of the window of local brightness and contrast, in pixels; the contrast, as a share of the range,
# that counts as none.
LAGS = (1, 2, 3, 4, 6, 8, 12)
# Pixels along each axis over which texture is compared with itself.
GREYS, RINGS, TURNS, PARTS = 16, 10, 8, 4
# Of the histogram, the power spectrum, the orientation of edges; parts of each axis for where it is bright or busy.


def input_statistics(
    image: Image, rules: Sequence[Normalisation], known: Mapping[str, float] | None = None
) -> dict[str, Array]:
    """An image (C, *space) described without a network: {"quality", "picture", "texture": (d,)}, float64, finite.

    quality: its features of quality, on their scales, in the least changes that count (`step`). picture: the grey
    histogram after the run's own normalisation, the power spectrum along each axis, the orientation of edges, how far
    fine edges are astray, and mean and spread of grey on a coarse grid. texture: how strong it is, how often extreme,
    and its correlation with itself over LAGS. Of a volume the mean over some slices. rules: the plan's normalisation.
    known: the image's features of quality, where they were measured before.
    Errors: HIL-N09 where no value is finite, HIL-PREP-01 where the channels are not those of the plan.
    """
    seen = quality.features(image) if known is None else known
    head = [
        float(quality.scaled(name, seen[name])) / feature.step
        for name, feature in quality.FEATURES.items()
        if name in seen.keys() - LEFT_OUT
    ]
    whole = _measures.whole(_measures.planes(image))
    channels = intensity.match_channels(whole, len(rules), image)
    grey, ready = whole.mean(axis=0), intensity.normalise(channels, list(rules)).mean(axis=0)
    planes = _ranged(grey)
    astray = _measures.astray(planes)
    rows = [_described(x, _histogram(r, rules[0].scheme), a) for x, r, a in zip(planes, ready, astray, strict=True)]
    texture = np.mean([_texture(x) for x in planes], axis=0)
    return {"quality": np.array(head), "picture": np.mean(rows, axis=0), "texture": texture}


def _ranged(grey: Array) -> Array:
    """Grey values clipped to their 0.5th to 99.5th percentile, as 0..1; all 0 where there is one value only."""
    low, high = np.percentile(grey, [0.5, 99.5])
    if not high - low > 1e-9 * max(abs(low), abs(high), 1e-30):
        return np.zeros_like(grey)
    found: Array = np.clip((grey - low) / (high - low), 0, 1)
    return found


def _histogram(ready: Array, scheme: str) -> Array:
    """(GREYS,) roots of shares, which vary alike whether large or small."""
    ready = _ranged(ready) if scheme == "none" else ready
    low, high = (0.0, 1.0) if scheme in ("scale", "none") else (-3.0, 3.0)
    place = np.clip((ready - low) / (high - low) * GREYS, 0, GREYS - 1).astype(np.int64)
    found: Array = np.sqrt(np.bincount(place.ravel(), minlength=GREYS) / ready.size)
    return found


def _described(x: Array, histogram: Array, astray: Array) -> Array:
    """One plane (H, W), 0..1, as one vector. astray: as of `_measures`, of this plane."""
    from hilum.core.warp import resize

    small = resize(x[None], (SIDE, SIDE))[0].astype(np.float64)
    part = SIDE // PARTS
    cells = small.reshape(PARTS, part, PARTS, part).swapaxes(1, 2).reshape(PARTS * PARTS, -1)
    edges = [*_edges(small), *astray]
    return np.concatenate([histogram, _spectrum(small), edges, cells.mean(axis=1), cells.std(axis=1)])


def _spectrum(small: Array) -> Array:
    """(2 RINGS,) log10 of the mean power in half rings of equal width, over that of the whole, along each axis."""
    window, inside, place, counts = _rings()
    power = np.abs(np.fft.fft2((small - small.mean()) * window)) ** 2
    sums = np.bincount(place, power[inside], 2 * RINGS) / counts
    # an even picture has the same least power in every ring
    found: Array = np.log10((sums + 1e-9) / (power.mean() + 1e-9))
    return found


@cache
def _rings() -> tuple[Array, Array, Array, Array]:
    """A window for a small picture; which of its frequencies count, in which half ring, and how many are in each."""
    window = np.hanning(SIDE + 2)[1:-1]
    down, across = np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")
    ring = (np.hypot(down, across) * 2 * RINGS).astype(np.int64)
    inside = ring < RINGS
    place = (ring + RINGS * (np.abs(down) < np.abs(across)))[inside]
    return np.outer(window, window), inside, place, np.bincount(place, minlength=2 * RINGS)


def _edges(small: Array) -> Array:
    """(TURNS,) roots of the shares of gradient by its direction, up to a half turn."""
    down, across = np.gradient(small)
    strength = np.hypot(down, across)
    place = np.floor((np.arctan2(down, across) % np.pi) / np.pi * TURNS).astype(np.int64) % TURNS
    found: Array = np.sqrt(np.bincount(place.ravel(), strength.ravel(), TURNS) / max(float(strength.sum()), 1e-9))
    return found


def _texture(x: Array) -> Array:
    """(2 + 2 LAGS,): log of the mean square, mean magnitude squared over it, and the correlations along each axis."""
    from scipy.ndimage import gaussian_filter

    from hilum.core.warp import resize

    factor = min(1.0, LONGEST / max(x.shape))
    if factor < 1:
        x = resize(x[None], tuple(max(1, round(n * factor)) for n in x.shape))[0]
    rest = x - gaussian_filter(x, NEAR)
    rest = rest / (np.sqrt(gaussian_filter(rest**2, NEAR)) + EVEN)
    power = max(float((rest**2).mean(dtype=np.float64)), 1e-9)
    found = [float(np.log(power)), float(np.abs(rest).mean(dtype=np.float64)) ** 2 / power]
    for lines in (rest, rest.T):
        pairs = ((lines[lag:], lines[:-lag]) for lag in LAGS)
        # along an axis shorter than the lag nothing is known
        found += [float((a * b).mean(dtype=np.float64)) / power if len(a) else 0.0 for a, b in pairs]
    return np.array(found)
