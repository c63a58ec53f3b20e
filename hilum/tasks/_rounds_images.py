"""What a round of validation counts of images: sums that can be added up, and the figures and faults they show."""

from typing import Any

import numpy as np

from hilum.core.image import Array

FLAT = 0.02
# Share of the truth's spread below which an image or a set of images is called constant.
TIMES = 3.0
# Brightness that many times off is a wrong intensity range.
STILL = 0.01
# Voxels: a field that varies by less moves nothing, or everything alike.
ALIGNED = 0.99
# Correlation from which two images lie on each other: then a still field is the right one.


def correlation(a: Array, b: Array) -> Array:
    """(B,) Pearson correlation of two batches (B, ...); 0 where an image is constant."""
    flat = [x.reshape(len(x), -1).astype(np.float64) for x in (a, b)]
    x, y = (f - f.mean(axis=1, keepdims=True) for f in flat)
    size = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    return np.divide((x * y).sum(axis=1), size, out=np.zeros(len(size)), where=size > 0)


def fields(before: Array, after: Array, displacement: Array) -> Array:
    """(5,) pairs, correlation before and after, unevenness of the field in voxels, percent folded: all summed.

    before, after: (B,) correlations with the fixed image. displacement: (B, d, *space) in voxels.
    """
    from hilum.metrics import folding_percent

    spread = displacement.reshape(*displacement.shape[:2], -1).std(axis=2)
    folded = [folding_percent.measure(field) for field in displacement]
    return np.array([len(before), before.sum(), after.sum(), np.sqrt((spread**2).sum(axis=1)).sum(), sum(folded)])


def aligned(counts: Array) -> dict[str, float]:
    """Mean correlation with the fixed image after and before, and percent of the field that folds."""
    pairs, before, after, _, folded = counts[:5] / max(1.0, counts[0])
    if not pairs:
        return {"correlation": float("nan")}
    return {"correlation": float(after), "correlation/before": float(before), "folding_percent": float(folded)}


def still(counts: Array) -> str | None:
    """A sentence when the field moves every voxel alike although the images do not lie on each other."""
    pairs, _, after, spread, _ = counts[:5] / max(1.0, counts[0])
    if not pairs or spread > STILL or after >= ALIGNED:
        return None
    return (
        f"the network moves every voxel of a pair alike (the field varies by {spread:.2g} voxels), "
        f"while the images are alike to {after:.2f} only"
    )


def errors(made: Array, zero: Array, truth: Array) -> Array:
    """(7,) pixels; squared error of made and of zero-filled; energy and variance of made and of truth: all summed.

    made, zero, truth: (B, H, W) magnitudes. Every image in units of its own true maximum.
    """
    peak = np.maximum(truth.max(axis=(1, 2), keepdims=True), 1e-8)
    m, z, t = (x.astype(np.float64) / peak for x in (made, zero, truth))
    size = m[0].size
    spread = [float(x.var(axis=(1, 2)).sum()) * size for x in (m, t)]
    return np.array([m.size, ((m - t) ** 2).sum(), ((z - t) ** 2).sum(), (m**2).sum(), (t**2).sum(), *spread])


def noise(counts: Array) -> dict[str, float]:
    """PSNR in dB of all pixels together (at most 100), of the reconstruction and of the zero-filled image."""
    if not counts[0]:
        return {"psnr_db": float("nan")}
    made, zero = (-10 * float(np.log10(max(e / counts[0], 1e-10))) for e in counts[1:3])
    return {"psnr_db": made, "psnr_db/zero-filled": zero}


def out_of_range(counts: Array) -> str | None:
    """A sentence when images are flat, or far brighter or darker than the truth."""
    energy, true_energy, spread, true_spread = np.sqrt(np.maximum(counts[3:7], 0))
    if not np.isfinite(counts).all():
        return "the network's images hold values that are no numbers"
    if not true_energy or not true_spread:
        return None
    if spread < FLAT * true_spread:
        return f"the network's images are flat (their grey values vary by {spread / true_spread:.1%} of the truth's)"
    times = energy / true_energy
    if times > TIMES or times < 1 / TIMES:
        return f"the network's images are {times:.2g} times as bright as the truth"
    return None


def sets(made: Array, real: Array) -> Array:
    """(2, 1 + 2P): of generated and of real images (B, ...) the number, and per pixel sum and sum of squares."""
    rows = []
    for images in (made, real):
        flat = images.reshape(len(images), -1).astype(np.float64)
        rows.append(np.concatenate([[len(flat)], flat.sum(axis=0), (flat**2).sum(axis=0)]))
    return np.stack(rows)


def _moments(row: Array) -> tuple[Array, Array]:
    """Mean and standard deviation of every pixel."""
    total, squares = np.split(row[1:] / max(1.0, row[0]), 2)
    return total, np.sqrt(np.maximum(squares - total**2, 0))


def likeness(counts: Array) -> dict[str, float]:
    """likeness: 1 where every pixel has the real mean and spread, 0 where every image is the real mean; and the spread.

    It is 1 minus the Frechet distance of independent normal pixels over the variance of the real ones. It sees collapse
    and wrong brightness, not whether a picture makes sense: KID judges that. spread: generated over real, 1 is right.
    """
    (mean, spread), (true_mean, true_spread) = map(_moments, counts)
    variance = float((true_spread**2).sum())
    if variance <= 0:
        return {"likeness": float("nan")}
    gap = float(((mean - true_mean) ** 2).sum() + ((spread - true_spread) ** 2).sum())
    return {"likeness": 1 - gap / variance, "spread": float(np.sqrt((spread**2).sum() / variance))}


def all_alike(counts: Array) -> str | None:
    """A sentence when generated images hardly differ from each other, while real ones do."""
    if min(counts[:, 0]) < 2:
        return None
    made, real = (float(np.sqrt((_moments(row)[1] ** 2).mean())) for row in counts)
    if real <= 0 or made >= FLAT * real:
        return None
    return f"the generated images are all alike (they differ by {made / real:.1%} of what real ones do)"


def array(tensor: Any) -> Array:
    """A tensor in memory, in single precision."""
    found: Array = tensor.detach().float().cpu().numpy()
    return found
