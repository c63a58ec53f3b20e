"""Findings become files: NIfTI, PNG and CSV, or DICOM objects that refer to the images they were made from.

dicom: masks are a SEG, with a measurement report (SR) of every class's volume beside it; scores that are quantities
join that report; displacement fields are a Deformable Spatial Registration. Whatever has no DICOM form stays as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.atomic import write_text, writing
from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Field, Mask, Picture, Result, Scores
from hilum.core.image import Array, Case, Image, Table
from hilum.core.run import write_rows
from hilum.io import _itk, dicom_registration, dicom_seg, dicom_sr, nifti, raster
from hilum.io._dicom.seg_write import LONGEST

MEASURED = "_measurements"
# What the report of numbers is called, after the case.


@dataclass(frozen=True)
class _How:
    """form: "nifti" or "dicom". placed: whether it is known where the image lies. model: digits, "" where unknown."""

    form: str
    placed: bool
    model: str


def stem(case: str) -> str:
    """What the files of a case begin with."""
    return case.replace("/", "_")


def endings(kinds: Sequence[str], form: str) -> list[str]:
    """What the names of a case's files may go on with, before their extension. kinds: names of its findings."""
    own = [f"_{kind}" for kind in kinds] if len(kinds) > 1 else [""]
    return [*own, *[MEASURED] * (form == "dicom" and "mask" in kinds)]


def export(result: Result, case: Case, folder: Path, form: str = "nifti", model: str = "") -> list[str]:
    """Write every finding under `folder`; file names returned. form: "nifti" or "dicom".

    dicom adds `<case>_measurements.dcm` where there are volumes or quantities of a DICOM series. model: some digits
    that tell it; SEG and report name it, and what another one found has other identifiers.
    """
    written: list[Path] = []
    try:
        _written(result, case, folder, _How(form, _placed(result, case), model), written)
    except BaseException:
        # half of what was found in a case is not a result
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return [path.name for path in written]


def _written(result: Result, case: Case, folder: Path, how: _How, written: list[Path]) -> None:
    """Write every finding, then the report of numbers; paths are noted in `written` as they appear."""
    name = stem(case.id)
    rows: list[dicom_sr.Measured] = []
    segs: list[Path] = []
    for kind, finding in result.findings.items():
        base = folder / (name if len(result.findings) == 1 else f"{name}_{kind}")
        if how.form == "dicom" and isinstance(finding, Mask) and kind.startswith("wide_"):
            # made to be larger than what is there: its volume is no measurement
            written.append(_mask(_wide(finding), case, base, how, "wide mask"))
            continue
        path = _one(finding, case, base, how)
        written.append(path)
        if how.form == "dicom" and isinstance(finding, Mask):
            segs.append(path)
            rows += _volumes(finding, path)
        elif how.form == "dicom" and isinstance(finding, Scores):
            rows += [dicom_sr.Measured(r.name, r.value, r.unit) for r in finding.rows if r.kind == "quantity"]
    files = _slices(case, "image") if rows else []
    if files:
        report = folder / f"{name}{MEASURED}.dcm"
        dicom_sr.write(report, rows, files, segs, _notes(result), how.model)
        written.append(report)


def _placed(result: Result, case: Case) -> bool:
    """Whether it is known where the image lies, or only a NIfTI was read that does not say it.

    Every reader has a guess of its own about such a file, which it must have of a mask beside it too.
    """
    if not any(words.startswith("HIL-N05") for words in result.warnings):
        return True
    image = case.read("image") if "image" in case.items else None
    meta = image.meta if isinstance(image, Image) else {}
    return (meta.get("format"), meta.get("geometry")) != ("nifti", "unknown")


def _notes(result: Result) -> list[str]:
    """What a report says beside its numbers: the verdict, why, and every warning."""
    reasons = (f"Reason: {words}" for words in result.verdict.reasons)
    return [f"Verdict: {result.verdict.decision}", *reasons, *(f"Warning: {words}" for words in result.warnings)]


def _one(finding: Any, case: Case, base: Path, how: _How) -> Path:
    if isinstance(finding, Mask):
        return _mask(finding, case, base, how)
    if isinstance(finding, Scores):
        rows = [{"name": r.name, "value": f"{r.value:.6f}", "kind": r.kind, "unit": r.unit} for r in finding.rows]
        return _table(base, rows, "name,value,kind,unit\n")
    if isinstance(finding, Table):
        return _table(base, blank_where_none(finding.rows), "")
    if isinstance(finding, Boxes):
        return _table(base, _box_rows(finding), ",".join(("class", "score", *_corners(finding))) + "\n")
    if isinstance(finding, Field):
        return _registration(finding, case, base) if how.form == "dicom" else _field(finding, base)
    if isinstance(finding, Picture):
        return _picture(finding, base, how.placed)
    raise TypeError(f"no file form for {type(finding).__name__}")


def blank_where_none(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows as a CSV shows them: nothing where nothing is known."""
    return [{k: "" if v is None else v for k, v in row.items()} for row in rows]


def _slices(case: Case, role: str) -> list[Path]:
    """Files of the DICOM series of a role; empty where it is none."""
    image = case.read(role) if role in case.items else None
    placed = isinstance(image, Image) and image.affine is not None and image.meta.get("format", "dicom") == "dicom"
    return [Path(file) for file in image.meta.get("files") or ()] if placed and image is not None else []


def _series(case: Case, role: str) -> list[Path]:
    """The same, refused where it is none (HIL-INFER-05)."""
    files = _slices(case, role)
    if not files:
        raise HilumError("HIL-INFER-05", f"{case.id} is not a DICOM series", "Use --format nifti")
    return files


def _mask(mask: Mask, case: Case, base: Path, how: _How, series: str = "segmentation") -> Path:
    if how.form == "dicom":
        files = _series(case, "image")
        path = base.with_name(base.name + ".dcm")
        dicom_seg.write(path, mask, files, series=series, model=how.model)
        return path
    path = base.with_name(base.name + (".png" if mask.affine is None else ".nii.gz"))
    if mask.affine is None:
        raster.write(path, mask)
    else:
        nifti.write(path, mask, how.placed)
    return path


def _wide(mask: Mask) -> Mask:
    """The same, whose classes say that it is made to be larger: the names of files are lost in an archive."""
    words = " (wide mask)"
    classes = {value: name[: LONGEST - len(words)].rstrip() + words for value, name in mask.classes.items()}
    return replace(mask, classes=classes)


def _volumes(mask: Mask, seg: Path) -> list[dicom_sr.Measured]:
    """Volume in ml of every class, each pointing at its segment of the file `seg`; empty classes say 0."""
    import pydicom

    voxel = abs(float(np.linalg.det(np.asarray(mask.affine)[:3, :3]))) / 1000
    instance = str(pydicom.dcmread(seg, specific_tags=["SOPInstanceUID"], stop_before_pixels=True).SOPInstanceUID)
    rows = []
    for number, value in enumerate(sorted(mask.classes), 1):
        layer = mask.array[number - 1] if mask.stacked else mask.array == value
        ml = int(np.count_nonzero(layer)) * voxel
        rows.append(dicom_sr.Measured("Volume", ml, "ml", (instance, number), str(mask.classes[value])))
    return rows


def _registration(field: Field, case: Case, base: Path) -> Path:
    """A Deformable Spatial Registration from the fixed to the moving series."""
    fixed, moving = _series(case, "fixed"), _series(case, "moving")
    path = base.with_name(base.name + ".dcm")
    dicom_registration.write(path, field, fixed, moving)
    return path


def _table(base: Path, rows: list[dict[str, Any]], header: str) -> Path:
    path = base.with_name(base.name + ".csv")
    if rows:
        write_rows(path, rows)
    else:
        write_text(path, header)
    return path


def _corners(boxes: Boxes) -> list[str]:
    """What their columns are called."""
    return [f"{side}{axis}" for side in ("low", "high") for axis in range(boxes.array.shape[1] // 2)]


def _box_rows(boxes: Boxes) -> list[dict[str, Any]]:
    corners = _corners(boxes)
    return [
        {"class": boxes.classes[int(label)], "score": f"{score:.4f}"}
        | {c: f"{v:.2f}" for c, v in zip(corners, row, strict=True)}
        for row, score, label in zip(boxes.array, boxes.scores, boxes.labels, strict=True)
    ]


def _field(field: Field, base: Path) -> Path:
    """Volumes: NIfTI with mm along RAS+ axes as channels of the 4th axis. Pictures: .npy (2, H, W) pixels.

    Read back and compared before it appears: volumes by SimpleITK, which did not write them (HIL-IO-05).
    """
    if field.affine is None:
        path = base.with_name(base.name + ".npy")
        with writing(path) as part:
            np.save(part, field.array, allow_pickle=False)
            _unchanged(path, field.array, np.load(part, allow_pickle=False))
        return path
    import nibabel

    path = base.with_name(base.name + ".nii.gz")
    with writing(path) as part:
        stack = np.moveaxis(field.physical().astype(np.float32), 0, -1)
        volume = nibabel.Nifti1Image(stack, field.affine)
        volume.header.set_xyzt_units("mm")
        nibabel.save(volume, part)
        seen, affine = _seen(part, field.array.shape[0])
        _unchanged(path, stack, seen)
        far = geometry.corner_distance(np.asarray(field.affine), stack.shape[:-1], affine, stack.shape[:-1])
        if far > geometry.GEOMETRY_TOLERANCE_MM:
            raise HilumError(
                "HIL-IO-05", f"{path} was not written: a corner moved by {far:.3f} mm", "Report it as a bug"
            )
    return path


def _seen(part: Path, d: int) -> tuple[Array, Array]:
    """A vector field (*space, d) and its RAS+ affine as SimpleITK finds them."""
    import SimpleITK

    with _itk.named(part) as text:
        image = SimpleITK.ReadImage(text)
    values = SimpleITK.GetArrayFromImage(image).transpose()
    n = image.GetDimension()
    turned = np.array(image.GetDirection()).reshape(n, n)[:3, :3] * np.array(image.GetSpacing()[:3])
    lps = np.eye(4)
    lps[:3, :3], lps[:3, 3] = turned, image.GetOrigin()[:3]
    return values.reshape(*values.shape[:3], d), geometry.flip_lps_ras(lps)


def _unchanged(path: Path, wanted: Array, seen: Array) -> None:
    if wanted.shape != seen.shape or not np.array_equal(wanted, seen, equal_nan=True):
        raise HilumError("HIL-IO-05", f"{path} was not written: read back, its values differ", "Report this as a bug")


def _picture(picture: Picture, base: Path, placed: bool) -> Path:
    """2-D: PNG of shares (16 bit) and grey values, else TIFF, values exactly as found. Stacks and volumes: NIfTI.

    A stack without a place states none, and steps of 1.
    """
    image = picture.image
    if image.dims == 2 and picture.unit in ("0..1", "grey"):
        path = base.with_name(base.name + ".png")
        values = np.round(np.clip(image.array * (65535 if picture.unit == "0..1" else 1), 0, 65535))
        eight = picture.unit == "grey" and values.max() <= 255
        raster.write(path, image.like(values.astype(np.uint8 if eight else np.uint16)))
        return path
    if image.dims == 2:
        # grey values of a scanner may be 1e-5 or 1e5, and any step of whole numbers would lose some
        path = base.with_name(base.name + ".tif")
        raster.write(path, image.like(image.array.astype(np.float32)))
        return path
    path = base.with_name(base.name + ".nii.gz")
    if image.affine is None:
        image, placed = replace(image, affine=np.eye(4)), False
    nifti.write(path, image, placed)
    return path
