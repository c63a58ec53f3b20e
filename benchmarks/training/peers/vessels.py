"""Vessels pixel by pixel: a Sato filter alone, and gradient boosting on filters at several scales.

Both choose their threshold where F1 is best: the filter on train + val, boosting on val, which it did not learn from.
"""

from typing import Any

import numpy as np
from job import Job, picture
from scipy import ndimage
from skimage.filters import sato
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import precision_recall_curve

Array = np.ndarray[Any, np.dtype[Any]]
SIGMAS = (0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 8.0)
PIXELS = 40_000
# Learned from in each picture.


def inside(case: dict[str, Any]) -> Array:
    """The field of view (rows, columns) bool."""
    return np.asarray(picture(case["validity"]) > 0)


def filled(channel: Array, view: Array) -> Array:
    """The nearest values of the view put outside of it, so that its border is no edge."""
    inner = ndimage.binary_erosion(view, iterations=3)
    nearest = ndimage.distance_transform_edt(~inner, return_distances=False, return_indices=True)
    return np.asarray(channel.astype(np.float64)[tuple(nearest)])


def ridges(array: Array, view: Array) -> Array:
    """Sato's filter for dark lines in the green channel, squeezed into 0..1."""
    found = sato(filled(array[..., 1], view), sigmas=[1.5, 2, 2.5, 3], black_ridges=True)
    return np.asarray(found / (1 + found))


def features(array: Array, view: Array) -> Array:
    """(rows, columns, F): smoothed values, gradients and Hessian eigenvalues at every scale, and the ridges."""
    channels = [filled(array[..., k], view) for k in range(3)]
    levels = [channel - ndimage.gaussian_filter(channel, 15) for channel in channels]
    out = [*channels, *levels, ridges(array, view)]
    for sigma in SIGMAS:
        d = {o: ndimage.gaussian_filter(levels[1], sigma, order=o) for o in ((0, 2), (2, 0), (1, 1))}
        middle, gap = (d[0, 2] + d[2, 0]) / 2, np.sqrt(((d[0, 2] - d[2, 0]) / 2) ** 2 + d[1, 1] ** 2)
        out += [ndimage.gaussian_filter(levels[1], sigma), ndimage.gaussian_gradient_magnitude(levels[1], sigma)]
        out += [(middle + gap) * sigma**2, (middle - gap) * sigma**2]
    return np.stack(out, axis=-1).astype(np.float32)


def best_threshold(score: Array, truth: Array) -> float:
    """Where F1 is highest."""
    precision, recall, edges = precision_recall_curve(truth, score)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-9)
    return float(edges[int(np.argmax(f1[:-1]))])


def main() -> None:
    """Fit, choose the thresholds, score the test part."""
    job, rng = Job(), np.random.default_rng(0)
    rows, names, filtered, kept = [], [], [], []
    for case in job.part("train", "val"):
        array, truth = picture(case["image"]), picture(case["label"]) > 0
        view = inside(case)
        table, wanted = features(array, view)[view], truth[view]
        filtered.append((ridges(array, view)[view], wanted))
        if case["part"] == "val":
            kept.append((table, wanted))
            continue
        some = rng.choice(len(table), min(PIXELS, len(table)), replace=False)
        rows.append(table[some])
        names.append(wanted[some])
    model = HistGradientBoostingClassifier(max_iter=400, learning_rate=0.1, max_leaf_nodes=63, random_state=job.seed)
    model.fit(np.concatenate(rows), np.concatenate(names))
    seen = [(model.predict_proba(t)[:, 1], w) for t, w in kept]
    edge = best_threshold(np.concatenate([s for s, _ in seen]), np.concatenate([w for _, w in seen]))
    plain = best_threshold(np.concatenate([s for s, _ in filtered]), np.concatenate([w for _, w in filtered]))
    for case in job.part("test"):
        array = picture(case["image"])
        view = inside(case)
        score = np.zeros(view.shape, dtype=np.float32)
        score[view] = model.predict_proba(features(array, view)[view])[:, 1]
        job.write("pixel boosting", case, score=score, mask=(score >= edge) & view)
        score = ridges(array, view).astype(np.float32)
        job.write("Sato filter", case, score=score, mask=(score >= plain) & view)
    job.finish(chosen={"pixel boosting": edge, "Sato filter": plain})


if __name__ == "__main__":
    main()
