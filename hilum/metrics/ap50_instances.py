"""Instance AP at IoU 0.5: true objects found over all objects, TP / (TP + FP + FN), per image.

Definition used: of the Data Science Bowl 2018, StarDist and Cellpose. Objects are matched one to one at IoU >= 0.5;
objects without a partner are false. Each image gives one value, and the mean is over images. This is no area under a
precision-recall curve, which is what AP means for boxes (ap50) and in COCO; it is never larger than the F1 of the same
matches. Voxels that are not judged are background on both sides.
"""

from hilum.metrics._instances import Array, matched

CARD = {
    "better": "higher",
    "unit": "",
    "range": [0, 1],
    "level": "case",
    "takes": "instances",
    "aggregate": "mean over cases",
    "missing": "0: nothing found; an image without true objects stays undefined",
    "empty": "no object on either side: undefined; none on one side: 0",
    "source": "Caicedo et al. 2019 (Data Science Bowl 2018) at one threshold; Schmidt et al. 2018 (StarDist)",
}


def measure(prediction: Array, truth: Array) -> float | None:
    """prediction, truth: (*space) whole numbers, 0 the background, every other value one object. Returns 0..1."""
    iou, found, real = matched(prediction, truth)
    return len(iou) / (found + real - len(iou)) if found + real else None
