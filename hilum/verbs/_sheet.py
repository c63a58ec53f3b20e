"""The page of `hilum inspect`: what is wrong first, then a sheet of thumbnails, the table, and what was left out."""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.evenly import evenly
from hilum.core.image import Array, Image
from hilum.pictures import draw, slices
from hilum.pictures.page import Page

SIDE = 240
# Longest side of a thumbnail in pixels.
MOST = 60
# Thumbnails on the page; cases with problems or warnings come first.
ROWS = 300
NOTES = 40


def thumbnail(image: Image, label: Array | None = None) -> Array:
    """One slice as a small picture (H, W, 3) uint8: the fullest of the label, else the middle; label as overlay.

    label: (*space) whole numbers on the image's grid, or None.
    """
    axis, index = (2, image.shape[-1] // 2) if image.dims == 3 else (0, 0)
    if image.dims == 3 and label is not None and label.any():
        axis, index = slices.best_slice(label)
    elif image.dims == 3 and image.affine is not None:
        # the axial view is what people know; thick slices look best along their own normal
        axis = int(np.argmax(image.spacing))
        if max(image.spacing) < 1.5 * min(image.spacing):
            axis = geometry.axes_to_ras(image.affine)[0][2]
        index = image.shape[axis] // 2
    place = (axis, index, image.spacing, image.affine)
    several = len(image.array) < 3 or "channel_files" in image.meta or (image.dims == 3 and len(image.array) > 3)
    picture = slices.slice_of(image.array[:1] if several else image.array[:3], *place)
    whole = picture.dtype == np.uint8 and picture.ndim == 3
    shown = draw.rgb(picture if whole else slices.window(picture))
    if label is not None:
        mask = slices.slice_of(label, *place, labels=True)
        if mask.shape == shown.shape[:2]:
            # one value has one colour on the whole page
            shown = draw.overlay(shown, mask)
    step = max(1, -(-max(shown.shape[:2]) // SIDE))
    return _squared(shown[::step, ::step])


def _squared(picture: Array) -> Array:
    """In the middle of a black square, so that the sheet has even rows."""
    height, width = picture.shape[:2]
    side = max(height, width)
    out = np.zeros((side, side, 3), np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    out[top : top + height, left : left + width] = picture
    return out


def write(path: Path, found: dict[str, Any], thumbnails: dict[str, Array], suspicions: list[tuple[Array, str]]) -> Path:
    """Write the page of what `inspect` found. thumbnails: {case id: picture}. suspicions: labels as is and moved."""
    page = Page(f"Inspected: {Path(found['path']).name}")
    page.text(_sentence(found))
    for problem in found["problems"][:NOTES]:
        page.note("refused", problem["problem"])
    if len(found["problems"]) > NOTES:
        rest = "\n".join(p["problem"] for p in found["problems"][NOTES:])
        page.details(f"{len(found['problems']) - NOTES} more problems", rest)
    for remark in found["remarks"]:
        page.note("warning", remark)
    if suspicions:
        page.heading("Labels that may lie elsewhere").pictures(suspicions)
    warned = _warnings(found["rows"])
    if warned:
        page.heading("Warnings that travel with the images").table(warned)
    if thumbnails:
        page.heading("Pictures").pictures(
            [(thumbnails[name], _caption(found, name)) for name in _chosen(found, thumbnails)]
        )
    if found["labels"]:
        page.heading("Labels").table(found["labels"]["values"])
        if found["labels"]["proposal"]:
            page.details("Lines for a dataset.yaml", found["labels"]["proposal"])
    page.heading("Cases").table(found["rows"][:ROWS])
    if len(found["rows"]) > ROWS:
        page.text(f"{len(found['rows']) - ROWS} more rows: hilum inspect --json shows all.")
    if found["aside"]:
        page.heading("Beside the cases, not read as images").table(found["aside"][:ROWS])
    return page.write(path)


def _sentence(found: dict[str, Any]) -> str:
    words = f"{found['cases']} cases, {len(found['rows'])} can be read; read as {found['layout']}."
    if found["classes"]:
        words += " Classes: " + ", ".join(f"{name} {n}" for name, n in found["classes"].items()) + "."
    if found["tasks"]:
        words += f" It fits: {', '.join(found['tasks'])}."
    return words


def _warnings(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row per warning sentence: how many cases carry it, and the first of them."""
    cases: dict[str, list[str]] = {}
    for row in rows:
        for warning in row["warnings"]:
            cases.setdefault(warning, []).append(row["case"])
    table = [{"warning": w, "cases": len(names), "first": names[0]} for w, names in cases.items()]
    return sorted(table, key=lambda row: -int(str(row["cases"])))[:NOTES]


def _chosen(found: dict[str, Any], thumbnails: dict[str, Array]) -> list[str]:
    """Names for the sheet: warned cases first, then the others, evenly from first to last."""
    warned = [row["case"] for row in found["rows"] if row["warnings"] and row["case"] in thumbnails]
    rest = [name for name in thumbnails if name not in set(warned)]
    room = max(0, MOST - len(warned[:MOST]))
    return warned[:MOST] + evenly(rest, room)


def _caption(found: dict[str, Any], name: str) -> str:
    row = next(r for r in found["rows"] if r["case"] == name)
    facts = [str(row.get(key)) for key in ("shape", "spacing", "orientation", "range") if row.get(key)]
    codes = sorted({w.split(":")[0] for w in row["warnings"]})
    return " · ".join([name, *facts, *codes])
