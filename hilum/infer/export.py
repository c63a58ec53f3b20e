"""Findings become files: masks as NIfTI, PNG or DICOM SEG, the others as CSV, NIfTI or PNG."""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import write_text
from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Field, Mask, Picture, Result, Scores
from hilum.core.image import Case, Image
from hilum.core.run import write_rows
from hilum.io import dicom_seg, nifti, raster


def export(result: Result, case: Case, folder: Path, form: str = "nifti") -> list[str]:
    """Write every finding under `folder`; file names returned. form: "nifti" or "dicom" (masks of DICOM images)."""
    name = case.id.replace("/", "_")
    written = []
    for kind, finding in result.findings.items():
        base = folder / (name if len(result.findings) == 1 else f"{name}_{kind}")
        written.append(_one(finding, case, base, form).name)
    return written


def _one(finding: Any, case: Case, base: Path, form: str) -> Path:
    if isinstance(finding, Mask):
        return _mask(finding, case, base, form)
    if isinstance(finding, Scores):
        rows = [{"name": r.name, "value": f"{r.value:.6f}", "kind": r.kind, "unit": r.unit} for r in finding.rows]
        return _table(base, rows, "name,value,kind,unit\n")
    if isinstance(finding, Boxes):
        return _table(base, _box_rows(finding), "class,score\n")
    if isinstance(finding, Field):
        return _field(finding, base)
    if isinstance(finding, Picture):
        return _picture(finding.image, base)
    raise TypeError(f"no file form for {type(finding).__name__}")


def _mask(mask: Mask, case: Case, base: Path, form: str) -> Path:
    image = case.read("image")
    files = image.meta.get("files")
    if form == "dicom":
        if not files:
            raise HilumError("HIL-INFER-05", f"{case.id} is not a DICOM series", "Use --format nifti")
        path = base.with_name(base.name + ".dcm")
        dicom_seg.write(path, mask, [Path(f) for f in files])
        return path
    path = base.with_name(base.name + (".png" if mask.affine is None else ".nii.gz"))
    (raster if mask.affine is None else nifti).write(path, mask)
    return path


def _table(base: Path, rows: list[dict[str, Any]], header: str) -> Path:
    path = base.with_name(base.name + ".csv")
    if rows:
        write_rows(path, rows)
    else:
        write_text(path, header)
    return path


def _box_rows(boxes: Boxes) -> list[dict[str, Any]]:
    n = boxes.array.shape[1] // 2
    corners = [f"{side}{axis}" for side in ("low", "high") for axis in range(n)]
    return [
        {"class": boxes.classes[int(label)], "score": f"{score:.4f}"}
        | {c: f"{v:.2f}" for c, v in zip(corners, row, strict=True)}
        for row, score, label in zip(boxes.array, boxes.scores, boxes.labels, strict=True)
    ]


def _field(field: Field, base: Path) -> Path:
    """Volumes: NIfTI with mm along RAS+ axes as channels of the 4th axis. Pictures: .npy (2, H, W) pixels."""
    from hilum.core.atomic import writing

    if field.affine is None:
        path = base.with_name(base.name + ".npy")
        with writing(path) as part:
            np.save(part, field.array, allow_pickle=False)
        return path
    import nibabel

    path = base.with_name(base.name + ".nii.gz")
    with writing(path) as part:
        stack = np.moveaxis(field.physical().astype(np.float32), 0, -1)
        nibabel.save(nibabel.Nifti1Image(stack, field.affine), part)
    return path


def _picture(image: Image, base: Path) -> Path:
    """2-D: PNG, 16-bit when values need it. Stacks and volumes: NIfTI."""
    if image.dims == 2:
        path = base.with_name(base.name + ".png")
        high = float(image.array.max())
        if high <= 1.0:  # unit range: spread over 16 bit
            array = np.round(np.clip(image.array, 0, 1) * 65535).astype(np.uint16)
        else:
            array = np.round(np.clip(image.array, 0, 65535)).astype(np.uint8 if high <= 255 else np.uint16)
        raster.write(path, image.like(array))
        return path
    path = base.with_name(base.name + ".nii.gz")
    nifti.write(path, image if image.affine is not None else Image(image.array, np.eye(4), image.warnings, image.meta))
    return path
