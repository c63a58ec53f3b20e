"""Generated cases for metric_laws.py: masks, label maps, probabilities, boxes, numbered objects. All from one `rng`."""

from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]
Random = np.random.Generator


def softmax(logits: Array) -> Array:
    """Rows that sum to 1."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def grid(rng: Random) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """A small 2-D or 3-D shape, and mm per voxel that differ between axes."""
    d = int(rng.integers(2, 4))
    shape = tuple(int(n) for n in rng.integers(16, 25, 2)) if d == 2 else tuple(int(n) for n in rng.integers(7, 11, 3))
    return shape, tuple(float(mm) for mm in rng.uniform(0.4, 2.5, d))


def blob(rng: Random, shape: tuple[int, ...]) -> Array:
    """A smooth random structure of 5 to 40 % of the grid; never empty, never all of it."""
    from scipy import ndimage

    noise = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.8, 2.5))
    return np.asarray(noise > np.quantile(noise, rng.uniform(0.6, 0.95)))


def nested(rng: Random, where: Array, most: float) -> tuple[Array, Array]:
    """Two sets of voxels, the first inside the second, both inside `where`: scattered or smooth; up to `most` of it."""
    from scipy import ndimage

    field = rng.random(where.shape)
    if rng.random() < 0.5:
        field = ndimage.gaussian_filter(field, rng.uniform(0.7, 2.0))
    few, many = np.sort(rng.uniform(0, most, 2))
    inside = field[where]
    return where & (field <= np.quantile(inside, few)), where & (field <= np.quantile(inside, many))


def label_maps(rng: Random) -> tuple[Array, Array, int, tuple[float, ...]]:
    """Truth and prediction (*space) of 2 or 3 classes, 0 the background; some classes may be missing on either side."""
    from scipy import ndimage

    shape, spacing = grid(rng)
    classes = int(rng.integers(2, 4))
    fields = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 1.5) for _ in range(classes + 1)])
    fields[0] += rng.uniform(0, 0.3)
    noise = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), 1.0) for _ in range(classes + 1)])
    return fields.argmax(axis=0), (fields + rng.uniform(0.05, 1.0) * noise).argmax(axis=0), classes, spacing


def scores(rng: Random) -> tuple[Array, Array]:
    """Probabilities (n, K) without ties, and truth (n,) of at least two classes."""
    n, k = int(rng.integers(4, 31)), int(rng.integers(2, 6))
    truth = rng.integers(0, k, n)
    truth[:2] = rng.permutation(k)[:2]
    logits = rng.normal(size=(n, k)) * rng.uniform(0.3, 4)
    logits[np.arange(n), truth] += rng.uniform(-1, 3)
    return softmax(logits), truth


Scan = dict[str, Any]


def scans(rng: Random) -> list[Scan]:
    """Scans with true boxes far apart, at most one candidate for each, and false candidates elsewhere; ties in scores.

    `of` says which true box a candidate was made for, -1 none.
    """
    d = int(rng.integers(2, 4))
    made = []
    for _ in range(int(rng.integers(1, 4))):
        lows = np.full((int(rng.integers(0, 4)), d), 50.0)
        lows[:, 0] += 100 * np.arange(len(lows))
        truth = np.hstack([lows, lows + rng.integers(8, 16, lows.shape)])
        labels = rng.integers(1, 3, len(truth))
        of = np.flatnonzero(rng.random(len(truth)) < 0.8)
        near = truth[of] + rng.integers(0, 2, (len(of), 1)) * rng.integers(-2, 3, (len(of), 2 * d))
        false = far_boxes(rng, int(rng.integers(0, 4)), d)
        guessed = np.where(rng.random(len(of)) < 0.9, labels[of], 3 - labels[of])
        candidates = np.vstack([near, false])
        made.append(
            {
                "boxes": candidates,
                "scores": np.round(rng.random(len(candidates)), 1 + int(rng.integers(0, 2))),
                "labels": np.concatenate([guessed, rng.integers(1, 3, len(false))]),
                "true_boxes": truth,
                "true_labels": labels,
                "of": np.concatenate([of, np.full(len(false), -1)]),
            }
        )
    return made


def far_boxes(rng: Random, count: int, d: int) -> Array:
    """Boxes (count, 2d) that touch no true box of `scans`."""
    lows = rng.integers(500, 900, (count, d)).astype(np.float64)
    return np.hstack([lows, lows + rng.integers(5, 20, (count, d))])


def changed(scan: Scan, boxes: Array, scores: Array, labels: Array) -> Scan:
    """The scan with further candidates."""
    more = {"boxes": boxes, "scores": scores, "labels": labels, "of": np.full(len(scores), -1)}
    return scan | {key: np.concatenate([scan[key], value]) for key, value in more.items()}


def objects(rng: Random) -> tuple[Array, Array]:
    """True and found numbered squares (40, 40): found ones are shifted, lost, or elsewhere; none is split."""
    truth, found = np.zeros((40, 40), np.int32), np.zeros((40, 40), np.int32)
    for number, cell in enumerate(rng.permutation(16)[: int(rng.integers(1, 9))], 1):
        low = np.array(divmod(int(cell), 4)) * 10 + 2
        size = rng.integers(3, 7, 2)
        fate = rng.random()
        if fate < 0.85:
            truth[low[0] : low[0] + size[0], low[1] : low[1] + size[1]] = number
        if fate > 0.15:
            low = low + rng.integers(-1, 2, 2)
            found[low[0] : low[0] + size[0], low[1] : low[1] + size[1]] = number + 20
    return truth, found
