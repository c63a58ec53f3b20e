"""Technical quality of an image against the training images, in words.

Measured are the range of values, noise, sharpness, contrast, ghosts, stripes, cut-off bodies, empty space, JPEG blocks,
size and spacing. What is usual comes from the training and validation images alone; what is bad was never learned.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.trust import _measures

LEAST = 20
# Fewer images can not say what is usual.
BEYOND = 1.0
# A value is unusual when it lies beyond the 1st or 99th percentile by their distance to the median. Chosen on images of
# the same kind alone: of 150 others of three real sets, 2 to 3 in 100 then get a sentence; at half of it, 5 to 7.
FORM = ".2g"
# How numbers are written.


@dataclass(frozen=True)
class Feature:
    """How a feature is spoken of: "The image {low or high} than all 300 training images looked at ({name}
    0.02, usually 0.08 to 0.2)".

    scale: "log", "plain", or "level" (grey values: logarithmic on both sides of 0). step: least change that counts, on
    that scale. form: how numbers are written; "%" for shares.
    """

    name: str
    low: str
    high: str
    scale: str
    step: float
    form: str = FORM


FEATURES: dict[str, Feature] = {
    "low": Feature("darkest values", "is darker where it is dark", "is brighter where it is dark", "level", 0.1),
    "high": Feature("brightest values", "is darker where it is bright", "is brighter where it is bright", "level", 0.1),
    "span": Feature("range of values", "has less contrast", "has more contrast", "log", 0.1),
    "clipped_low": Feature(
        "share at the lowest value", "has fewer pixels at its lowest value", "has more pixels at its lowest value",
        "plain", 0.05, "%",
    ),
    "clipped_high": Feature(
        "share at the highest value", "has fewer pixels at its highest value", "has more pixels at its highest value",
        "plain", 0.02, "%",
    ),
    "noise": Feature("noise over range", "is less noisy", "is noisier", "log", 0.2),
    "sharpness": Feature("sharpness", "is blurrier", "is sharper", "log", 0.2),
    "stripes": Feature(
        "sharpness along the first axis over that along the second, log2", "is blurrier along its first axis",
        "is blurrier along its second axis", "plain", 0.1,
    ),
    "motion": Feature(
        "edges astray along one axis", "has fewer doubled contours", "has more doubled contours", "plain", 0.05
    ),
    "ghost": Feature("brightness of ghosts", "has weaker ghosts", "has stronger ghosts", "plain", 0.05),
    "middle": Feature(
        "middle half of the values over their range", "has more of its values in the middle",
        "has more of its values at the ends", "plain", 0.05,
    ),
    "entropy": Feature("entropy in bits", "has fewer shades", "has more shades", "plain", 0.2),
    "empty": Feature("share of one grey", "has less even area", "has more even area", "plain", 0.05, "%"),
    "border": Feature(
        "bright share of the border", "is cut off less at its border", "is cut off more at its border", "plain", 0.1,
        "%",
    ),
    "blocks": Feature("steps at block edges", "shows weaker JPEG blocks", "shows stronger JPEG blocks", "plain", 0.1),
    "colour": Feature("difference of the channels", "is less colourful", "is more colourful", "plain", 0.02),
    "channels": Feature("channels", "has fewer channels", "has more channels", "plain", 0.5, ".0f"),
    "size": Feature("longest side in pixels", "is smaller", "is larger", "log", 0.05, ".0f"),
    "aspect": Feature("longest over shortest side", "is less elongated", "is more elongated", "log", 0.05),
    "slices": Feature("slices", "has fewer slices", "has more slices", "log", 0.05, ".0f"),
    "spacing": Feature("pixel size in mm", "has smaller pixels", "has larger pixels", "log", 0.05),
    "thickness": Feature("distance of slices in mm", "has thinner slices", "has thicker slices", "log", 0.05),
}  # fmt: skip


def features(image: Image) -> dict[str, float]:
    """{name of FEATURES: finite number} of an image (C, *space) of any size; slices and mm only where there are any.

    low, high and span in the image's own unit; noise, middle, ghost and colour over the span (0.5th to 99.5th
    percentile).
    Errors: HIL-N09 where no value is finite.
    """
    stored = _measures.planes(image)
    whole, middle = _measures.whole(stored), _measures.middle(stored)
    found = _structure(image, stored.shape[2:])
    grey = whole.mean(axis=0)
    low, high = (float(v) for v in np.percentile(grey, [0.5, 99.5]))
    span = high - low
    if not span > 1e-9 * max(abs(low), abs(high), 1e-30):
        span = float("inf")
    found |= {"low": low, "high": high, "span": high - low}
    found |= {"clipped_low": float((grey == grey.min()).mean()), "clipped_high": float((grey == grey.max()).mean())}
    apart = np.abs(np.diff(whole, axis=0)).mean(dtype=np.float64) if len(whole) > 1 else 0.0
    found["colour"] = float(apart) / span
    ranged = np.clip((grey - low) / span, 0, 1)
    astray = _measures.astray(ranged)
    rows = [
        _plane(w, (m - low) / span) | {"motion": abs(float(across - down))}
        for w, m, (across, down) in zip(ranged, middle.mean(axis=0), astray, strict=True)
    ]
    found |= {name: float(np.median([row[name] for row in rows])) for name in rows[0]}
    return {name: float(f"{found[name]:.6g}") for name in FEATURES if name in found}


def _structure(image: Image, plane: tuple[int, ...]) -> dict[str, float]:
    """Channels, size, shape, spacing. plane: shape of a slice."""
    sides = sorted(plane)
    found: dict[str, float] = {"channels": len(image.array), "size": sides[-1], "aspect": sides[-1] / sides[0]}
    steps = sorted(image.spacing[: image.dims])
    if image.dims == 3:
        found["slices"] = float(np.prod(image.shape) / np.prod(sides))
    if image.affine is not None:
        found["spacing"] = float(np.sqrt(steps[0] * steps[1]))
        if image.dims == 3:
            found["thickness"] = steps[2]
    return found


def _plane(x: Array, middle: Array) -> dict[str, float]:
    """The features of one plane, clipped to the range. middle: its middle part in full resolution, not clipped."""
    noise = _measures.noise(middle)
    sharpness, stripes = _measures.detail(x, noise)
    bright = _measures.thing(x)
    quarters = np.percentile(x, [25, 75])
    return {
        "noise": noise, "sharpness": sharpness, "stripes": stripes,
        "ghost": _measures.ghost(x, bright),
        "middle": float(quarters[1] - quarters[0]), "entropy": _measures.entropy(x), "empty": _measures.even(x),
        "border": _measures.border(bright), "blocks": _measures.blocks(middle),
    }  # fmt: skip


def scaled(name: str, value: Array | float) -> Array:
    """Values of a feature on the scale on which they are compared."""
    values: Array = np.asarray(value, dtype=np.float64)
    scale = FEATURES[name].scale
    if scale == "log":
        values = np.log(np.maximum(values, 1e-4))
    return np.sign(values) * np.log1p(np.abs(values)) if scale == "level" else values


def profile(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """What is usual: {feature: cases, median, spread, least, p1, p5, p95, p99, most}, plain numbers.

    rows: `features` of training or validation images; a feature that one of them lacks is left out. spread: 1.4826
    times the median distance from the median, on the feature's scale. Errors: HIL-TRUST-10 for fewer than LEAST.
    """
    if len(rows) < LEAST:
        raise HilumError(
            "HIL-TRUST-10", f"{len(rows)} images can not say what quality is usual, {LEAST} are needed",
            "Train with more images, or go without words about quality",
        )  # fmt: skip
    found = {}
    for name in [n for n in FEATURES if all(n in row for row in rows)]:
        values = np.array([row[name] for row in rows], dtype=np.float64)
        middle = scaled(name, values)
        spread = 1.4826 * float(np.median(np.abs(middle - np.median(middle))))
        least, p1, p5, median, p95, p99, most = np.percentile(values, [0, 1, 5, 50, 95, 99, 100])
        facts = {"median": median, "least": least, "p1": p1, "p5": p5, "p95": p95, "p99": p99, "most": most}
        found[name] = {"cases": float(len(rows)), "spread": float(f"{spread:.6g}")}
        found[name] |= {key: float(f"{value:.6g}") for key, value in facts.items()}
    return found


def check(
    seen: Mapping[str, float], usual: Mapping[str, Mapping[str, float]], called: str = "image"
) -> list[tuple[str, float, str]]:
    """(feature, z, sentence) of everything unusual, the most unusual first; z below 0: lower than usual.

    seen: `features` of an image. usual: a `profile`. z: distance from the median in robust spreads, on the feature's
    scale. Only what both have is compared. Limits: see BEYOND, and at least a feature's `step`.
    """
    found = []
    for name in [n for n in FEATURES if n in seen and n in usual]:
        facts, step = usual[name], FEATURES[name].step
        value, low, median, high = (
            float(scaled(name, v)) for v in (seen[name], facts["p1"], facts["median"], facts["p99"])
        )
        floor, ceiling = low - max(BEYOND * (median - low), step), high + max(BEYOND * (high - median), step)
        if floor <= value <= ceiling:
            continue
        z = (value - median) / max(facts["spread"], step)
        found.append((name, round(z, 2), _sentence(name, seen[name], facts, called)))
    return sorted(found, key=lambda row: -abs(row[1]))


def _sentence(name: str, value: float, facts: Mapping[str, float], called: str) -> str:
    """What was seen against what is usual."""
    feature, count = FEATURES[name], int(facts["cases"])
    lower = value < facts["median"]
    outside = value < facts["least"] or value > facts["most"]
    than = f"{'all' if outside else '99 % of the'} {count} training images looked at"
    low, high = _number(facts["p1"], feature.form), _number(facts["p99"], feature.form)
    usual = f"always {low}" if facts["least"] == facts["most"] else f"usually {low} to {high}"
    seen = _number(value, feature.form)
    return f"The {called} {feature.low if lower else feature.high} than {than} ({feature.name} {seen}, {usual})."


def _number(value: float, form: str) -> str:
    """Two digits, or as many as stand before the point."""
    if form == "%":
        return f"{_number(100 * value, FORM)} %"
    return f"{value:{form if abs(value) < 99.5 else '.0f'}}"
