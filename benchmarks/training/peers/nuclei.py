"""Nuclei by Otsu's threshold and a watershed on the distance map; its three numbers are chosen on train + val."""

import itertools
from typing import Any

import numpy as np
from job import Job, dice, grey, picture
from scipy import ndimage
from skimage.feature import peak_local_max
from skimage.filters import gaussian, threshold_otsu
from skimage.morphology import remove_small_objects
from skimage.segmentation import watershed

Array = np.ndarray[Any, np.dtype[Any]]
CHOSEN_ON = 80
# Pictures of train + val that the numbers are chosen on, evenly spread.


def foreground(array: Array, sigma: float) -> Array:
    """Brighter than Otsu's threshold; where most of the picture would be, the darker part."""
    level = gaussian(grey(array), sigma)
    mask = level > threshold_otsu(level)
    mask = ~mask if mask.mean() > 0.5 else mask
    return np.asarray(ndimage.binary_fill_holes(remove_small_objects(mask, max_size=15)))


def objects(mask: Array, apart: int, smooth: float) -> Array:
    """Numbered objects (rows, columns), 0 background."""
    depth = gaussian(ndimage.distance_transform_edt(mask), smooth)
    peaks = peak_local_max(depth, min_distance=apart, labels=ndimage.label(mask)[0], exclude_border=False)
    seeds = np.zeros(mask.shape, dtype=np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(watershed(-depth, seeds, mask=mask), dtype=np.int32)


def precision(found: Array, truth: Array) -> float:
    """Hits over hits, misses and false objects at IoU above 0.5; for the choice only."""
    table = np.zeros((int(found.max()) + 1, int(truth.max()) + 1))
    np.add.at(table, (found.ravel(), truth.ravel()), 1)
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    hits = int((table[1:, 1:] / union[1:, 1:] > 0.5).sum())
    return hits / max(1, table.shape[0] + table.shape[1] - 2 - hits)


def main() -> None:
    """Choose, then number the nuclei of the test part."""
    job = Job()
    known = job.part("train", "val")
    known = known[:: max(1, len(known) // CHOSEN_ON)]
    pairs = [(picture(c["image"]), picture(c["label"]).astype(np.int32)) for c in known]
    blur = {s: float(np.mean([dice(foreground(a, s), t > 0) for a, t in pairs])) for s in (0.5, 1.0, 2.0)}
    sigma = max(blur, key=lambda s: blur[s])
    masks = [(foreground(a, sigma), t) for a, t in pairs]
    tries = {
        (apart, smooth): float(np.mean([precision(objects(m, apart, smooth), t) for m, t in masks]))
        for apart, smooth in itertools.product((3, 5, 8, 12), (0.5, 1.0, 2.0))
    }
    apart, smooth = max(tries, key=lambda t: tries[t])
    for case in job.part("test"):
        mask = objects(foreground(picture(case["image"]), sigma), apart, smooth)
        job.write("Otsu + watershed", case, mask=mask)
    job.finish(chosen={"sigma": sigma, "apart": apart, "smooth": smooth}, validation=round(tries[apart, smooth], 5))


if __name__ == "__main__":
    main()
