"""Panoptic quality of one class: how many objects are found (F1 at IoU 0.5) times how well they are outlined.

    PQ = sum of IoU over matched objects / (TP + FP / 2 + FN / 2)

Objects are matched one to one at IoU >= 0.5, and each image gives one value. In COCO the sums run over all images.
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
    "source": "Kirillov et al. 2019; per image, then over images",
}


def measure(prediction: Array, truth: Array) -> float | None:
    """prediction, truth: (*space) whole numbers, 0 the background, every other value one object. Returns 0..1."""
    iou, found, real = matched(prediction, truth)
    return 2 * float(iou.sum()) / (found + real) if found + real else None
