"""What is measured of a plane of grey values: noise, sharpness, ghosts, blocks; and which planes of an image are seen.

A plane is (H, W) in units of the image's own range: 0 at its 0.5th, 1 at its 99.5th percentile.
"""

from statistics import median

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.prepare.grid import to_ras

PLANES = 5
# Slices of a volume that are looked at.
LONGEST = 1024
# Lines of a plane that are looked at for the picture as a whole.
CENTRE = 512
# Side of the middle part that is looked at in full resolution.
SMALLEST = 8
# A plane with a shorter side is padded with its edge.
SCALE = 256
# Detail is one part in so many of the longest side, but at least one pixel.
COARSER = 3
# Times as coarse is what detail is compared with.
TRIMMED = 0.5149
# Mean of the lower three quarters of |x| of a standard normal x: 2 (phi(0) - phi(1.1503)) / 0.75.


def planes(image: Image) -> Array:
    """(C, P, H, W), values and type as stored: a picture is one plane, of a volume some slices in RAS order.

    Slices lie across the coarsest axis, else across the one from feet to head, in the middle three fifths of it.
    """
    if image.dims == 2:
        return image.array[:, None]
    axis = _across(image)
    at = np.unique(np.round(np.linspace(0.2, 0.8, PLANES) * (image.shape[axis] - 1)).astype(np.int64))
    few = np.take(image.array, at, axis + 1)
    if image.affine is not None:
        # of the affine only the directions count here
        few = to_ras(Image(few, image.affine)).array
        axis = geometry.axes_to_ras(image.affine)[0].index(axis)
    return np.moveaxis(few, axis + 1, 1)


def _across(image: Image) -> int:
    """The axis that slices lie across."""
    steps = image.spacing
    order = np.argsort(steps, kind="stable")
    if steps[order[2]] > 1.2 * steps[order[1]]:
        return int(order[2])
    return 2 if image.affine is None else next(i for i, c in enumerate(geometry.orientation(image.affine)) if c in "SI")


def whole(array: Array) -> Array:
    """Planes (C, P, H, W) as float32, thinned so that no side is longer than LONGEST."""
    step = -(-max(array.shape[2:]) // LONGEST)
    return _numbers(array[:, :, ::step, ::step])


def middle(array: Array) -> Array:
    """The middle CENTRE x CENTRE pixels of planes (C, P, H, W), as float32."""
    starts = [max(0, (n - CENTRE) // 2) for n in array.shape[2:]]
    return _numbers(array[:, :, starts[0] : starts[0] + CENTRE, starts[1] : starts[1] + CENTRE])


def _numbers(array: Array) -> Array:
    """float32, what is no number becomes the least number, and no side shorter than SMALLEST."""
    found: Array = array.astype(np.float32)
    finite = np.isfinite(found)
    if not finite.any():
        raise HilumError("HIL-N09", "The image has no finite value", "Leave this case out or mend it")
    if not finite.all():
        found = np.where(finite, found, found[finite].min())
    short = [max(0, SMALLEST - n) for n in found.shape[2:]]
    return np.pad(found, [(0, 0), (0, 0), *[(0, n) for n in short]], mode="edge") if any(short) else found


def noise(x: Array) -> float:
    """Standard deviation of the noise: Immerkaer 1996 (Laplacians that edges and slopes cancel in), without the edges.

    Of the absolute values only the lower three quarters count, and no pixel at the least or the highest value, where
    noise is cut off.
    """
    lines = x[:-2] - 2 * x[1:-1] + x[2:]
    answer = np.abs(lines[:, :-2] - 2 * lines[:, 1:-1] + lines[:, 2:])
    inner = x[1:-1, 1:-1]
    seen = answer[(inner > x.min()) & (inner < x.max())]
    if seen.size < 64:
        return 0.0
    seen.partition(seen.size * 3 // 4)
    # the mask's weights have a sum of squares of 36
    return float(seen[: seen.size * 3 // 4].mean(dtype=np.float64) / TRIMMED / 6)


def detail(x: Array, deviation: float) -> tuple[float, float]:
    """Sharpness, and how much sharper it is along the first axis than along the second (log2, 0: alike).

    Sharpness is the energy of the gradient at a fine scale over that at a COARSER times as coarse one, less 1: near 0
    where nothing is finer, without a unit. What noise of this deviation adds is taken off. What runs along one axis in
    the body itself does so at both scales; what was lost by movement does not.
    """
    scale = _scale(x)
    fine, coarse = (_energies(x, s, deviation) for s in (scale, COARSER * scale))
    if sum(coarse) < 1e-12:
        return 0.0, 0.0
    least = 1e-3 * sum(fine)
    down, across = ((f + least) / (c + least) for f, c in zip(fine, coarse, strict=True))
    return max(0.0, sum(fine) / sum(coarse) - 1), float(np.log2(down / across))


def _scale(x: Array) -> float:
    """The fine scale: a part in SCALE of the image, at least one pixel."""
    return max(1.0, max(x.shape) / SCALE)


def _energies(x: Array, scale: float, deviation: float) -> list[float]:
    """Mean squared gradient along both axes behind a Gaussian, without that of noise."""
    from scipy.ndimage import gaussian_filter

    # what is left of white noise behind a Gaussian, and of that in half the difference of a pixel's two neighbours
    added = deviation**2 / (4 * np.pi * scale**2) * (1 - np.exp(-1 / scale**2)) / 2
    squares = [float((g**2).mean(dtype=np.float64)) for g in np.gradient(gaussian_filter(x, scale))]
    return [max(v - added, 0.05 * v) for v in squares]


def astray(planes: Array) -> Array:
    """(P, 2) of planes (P, H, W): along each axis, how little the places of fine edges agree with those of coarse ones.

    0 (the same) to 2: 1 minus Pearson's correlation of edge strengths. Where a body moved during a scan, the fine part
    of the picture along one axis is of another moment than the coarse one, and contours are doubled.
    """
    from scipy.ndimage import gaussian_filter, gaussian_filter1d

    scale, found = _scale(planes[0]), np.zeros((len(planes), 2))
    for axis in (0, 1):
        strength = []
        for s in (scale, COARSER * scale):
            edges = gaussian_filter1d(gaussian_filter1d(planes, s, 1 + axis, order=1), scale, 2 - axis)
            near = gaussian_filter(edges**2, COARSER * scale, axes=(1, 2))
            strength.append(np.sqrt(near).reshape(len(planes), -1).astype(np.float64))
        fine, coarse = (v - v.mean(axis=1, keepdims=True) for v in strength)
        size = np.sqrt((fine**2).sum(axis=1) * (coarse**2).sum(axis=1))
        seen = size > 1e-9
        found[seen, axis] = 1 - (fine * coarse).sum(axis=1)[seen] / size[seen]
    return found


def thing(x: Array) -> Array:
    """(H, W) bool: what is nearer to the bright part than to the dark one, parted by Otsu; nothing in an even plane."""
    from skimage.filters import threshold_otsu

    if x.max() <= x.min():
        return np.zeros(x.shape, dtype=bool)
    above = x > threshold_otsu(x)
    found: Array = x > (x[above].mean() + x[~above].mean()) / 2
    return found


def ghost(x: Array, bright: Array) -> float:
    """How much brighter the background is where a copy moved by half the field of view would lie, at most, 0..1.

    Periodic motion and uneven echoes leave copies there. 0 where there is no background to see them in.
    """
    from scipy.ndimage import binary_dilation

    near = binary_dilation(bright, iterations=max(1, round(max(x.shape) / 64)))
    found = 0.0
    for axis, size in enumerate(x.shape):
        moved = np.roll(bright, size // 2, axis)
        under, free = moved & ~near, ~moved & ~near
        if min(under.sum(), free.sum()) >= 0.01 * x.size:
            found = max(found, float(x[under].mean() - x[free].mean()))
    return found


def border(bright: Array) -> float:
    """Share of the outermost line that is bright."""
    return float(np.concatenate([bright[0], bright[-1], bright[1:-1, 0], bright[1:-1, -1]]).mean())


def blocks(x: Array) -> float:
    """How much larger steps are at every eighth line than beside it, over the mean step: JPEG's blocks; near 0 without.

    The best of the eight places counts, so that a cropped image shows them too.
    """
    found = []
    for lines in (x, x.T):
        step = np.abs(np.diff(lines, axis=0)).mean(axis=1, dtype=np.float64)
        if len(step) < 25 or step.mean() < 1e-9:
            continue
        extra = step[1:-1] - (step[:-2] + step[2:]) / 2
        found.append(max(median(extra[start::8].tolist()) for start in range(8)) / float(step.mean()))
    return float(np.mean(found)) if found else 0.0


def entropy(x: Array) -> float:
    """Entropy of 64 grey levels over the range, in bits, 0..6."""
    counts = np.bincount((np.clip(x, 0, 1) * 63.999).astype(np.int64).ravel(), minlength=64)
    share = counts[counts > 0] / x.size
    return float(-(share * np.log2(share)).sum()) + 0.0


def even(x: Array) -> float:
    """Share of pixels in the most common of 32 grey levels."""
    return float(np.bincount((np.clip(x, 0, 1) * 31.999).astype(np.int64).ravel()).max() / x.size)
