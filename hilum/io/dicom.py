"""DICOM series and single pictures.

A series folder -> Image (1, i, j, k): i runs along a row of pixels, j down the rows, k along the slice normal; affine
RAS+ mm. A single radiograph or ultrasound picture -> Image (C, row, column) in pixel space. Stored values are rescaled
slice by slice (HU for CT). What can not be placed without guessing is refused.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.atomic import writing_folder
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.io import _dicom_stack
from hilum.io._dicom_write import CT_OFFSET, checked, one_slice
from hilum.io._guard import cropped, full_only, labels_of, reading, same

CARD = {
    "extensions": [".dcm", ".dicom", ".ima"],
    "reads": "image",
    "writes": ["image"],
    "magic": [[128, b"DICM"]],
    "about": "a folder with one CT or MR series, or one DICOM picture",
}
MOST_PIXELS = 1 << 28
# Rows x columns beyond this are refused before decoding (faults.md D11).
AIR_HU = -1024
# What padding outside the scanner's circle becomes.
VOLUMES = {"CT", "MR", "PT", "NM"}


def read(path: Path, region: tuple[slice, ...] | None = None, level: int = 0, series: str | None = None) -> Image:
    """One series from a folder, or one file.

    series: SeriesInstanceUID where a folder holds several. Refused: several series (HIL-D27), gap (D21), same position
    twice (D22), uneven steps (D23), tilt (D24), two orientations (D25), two sizes (D26), several time points (D30),
    multi-frame (D29), cut pixel data (D01). meta: modality, series_uid, files (paths in slice order), inverted.
    """
    path = Path(path)
    with reading(path):
        full_only(path, level)
        found = headers(path)
        chosen = _one_series(path, found, series)
        first = chosen[0][1]
        if len(chosen) == 1 and not (_placed(first) and first.get("Modality") in VOLUMES):
            image = _picture(*chosen[0])
        else:
            image = _volume(path, chosen)
        return cropped(image, region)


def read_labels(path: Path) -> Image:
    """A series whose values are labels, as int32 (rare; segmentations come as DICOM SEG)."""
    with reading(Path(path)):
        return labels_of(read(path))


def write_series(folder: Path, image: Image, tags: Mapping[str, Any] | None = None) -> None:
    """Write image (1, i, j, k), whole numbers within 16 bits, as slices 0001.dcm ...; read back and compared first.

    tags: DICOM keywords, for example {"Modality": "CT", "PatientID": "p1"}; Modality is MR where not given.
    folder must not exist or be empty. A left-handed grid is read back with its slices reversed: same place in mm.
    """
    folder = Path(folder)
    tags = {"Modality": "MR", **(tags or {})}
    array, affine = checked(folder, image, tags)
    stored = array + CT_OFFSET if tags["Modality"] == "CT" else array
    seed = hashlib.sha256(array.tobytes() + affine.tobytes() + repr(sorted(tags.items())).encode()).hexdigest()
    with writing_folder(folder) as part:
        for k in range(array.shape[2]):
            one_slice(tags, affine, stored, k, seed).save_as(part / f"{k + 1:04d}.dcm", enforce_file_format=True)
        seen = read(part)
        if np.linalg.det(affine[:3, :3]) < 0:
            array = array[:, :, ::-1]
            affine = geometry.reorder(affine, array.shape, (0, 1, 2), (False, False, True))
        same(folder, array, seen.array[0], affine, seen.affine)


def headers(path: Path) -> list[tuple[Path, Any]]:
    """(file, data set without pixels) of every DICOM image in a folder, or of one file; other objects are left out."""
    path = Path(path)
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and _dicom(p))
    found = []
    for file in files:
        header = _header(file)
        if "Rows" not in header and getattr(header.get("SOPClassUID"), "name", "").endswith("Image Storage"):
            raise HilumError("HIL-D01", f"{file} is cut short or has no pixels", "Export it again")
        if "Rows" in header and "Columns" in header and header.get("Modality") != "SEG":
            found.append((file, header))
    if not found:
        kind = f" ({_header(files[0]).get('Modality', 'unknown kind')})" if files else ""
        raise HilumError("HIL-D31", f"{path} holds no DICOM image{kind}", "Give a folder with a CT or MR series")
    return found


def _dicom(file: Path) -> bool:
    """DICOM by name or by its mark; hidden files and DICOMDIR are not images."""
    if file.name.startswith(".") or file.name.upper() == "DICOMDIR":
        return False
    if file.suffix.lower() in CARD["extensions"]:
        return True
    with open(file, "rb") as stream:
        return stream.read(132)[128:] == b"DICM"


def _header(file: Path) -> Any:
    import pydicom

    with reading(file):
        try:
            return pydicom.dcmread(file, stop_before_pixels=True)
        except pydicom.errors.InvalidDicomError as error:
            raise HilumError(
                "HIL-D02", f"{file} is not DICOM, whatever its name", "Remove or export it again"
            ) from error
        except EOFError as error:
            raise HilumError("HIL-D01", f"{file} is cut short", "Export it again") from error


def _placed(header: Any) -> bool:
    """Whether a slice says where it lies."""
    return all(header.get(tag) for tag in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))


def _one_series(path: Path, found: list[tuple[Path, Any]], series: str | None) -> list[tuple[Path, Any]]:
    """The files of the one series (or of the one asked for)."""
    uids = Counter(str(header.get("SeriesInstanceUID", "")) for _, header in found)
    if series is not None:
        chosen = [pair for pair in found if pair[1].get("SeriesInstanceUID") == series]
        if not chosen:
            raise HilumError("HIL-D27", f"{path} has no series {series}", f"It has: {', '.join(uids)}")
    elif len(uids) > 1:
        names = {str(h.get("SeriesInstanceUID", "")): str(h.get("SeriesDescription", "no name")) for _, h in found}
        shown = "; ".join(f"{names[uid]!r} with {n} files" for uid, n in sorted(uids.items())[:6])
        raise HilumError(
            "HIL-D27", f"{path} holds {len(uids)} series: {shown}", "Put each series in a folder of its own"
        )
    else:
        chosen = found
    patients = {str(header.get("PatientID", "")) for _, header in chosen}
    if len(patients) > 1:
        raise HilumError("HIL-D27", f"{path} holds {len(patients)} patients under one series", "Separate the patients")
    many = [file for file, header in chosen if int(header.get("NumberOfFrames", 1) or 1) > 1]
    if many:
        raise HilumError("HIL-D29", f"{many[0]} has many frames", "Convert it to a classic series or NIfTI")
    return chosen


def _volume(path: Path, chosen: list[tuple[Path, Any]]) -> Image:
    """A stack of slices as one volume."""
    lost = [file for file, header in chosen if not _placed(header)]
    if lost:
        raise HilumError(
            "HIL-IO-06", f"{lost[0]} does not say where it lies", "Give slices with position and orientation"
        )
    stack = _dicom_stack.sort(path, chosen)
    slices, warnings = [], list(stack.warnings)
    padded = 0
    for file, _ in stack.slices:
        values, filled = _rescaled(*_pixels(file), warnings)
        if values.ndim != 2:
            raise HilumError("HIL-D26", f"{file} is a colour picture inside a series", "Remove it")
        slices.append(values.T)
        padded += filled
    kind = np.result_type(*{one.dtype for one in slices})
    array = np.stack([one.astype(kind, copy=False) for one in slices], axis=-1)
    first = stack.slices[0][1]
    meta = _meta(path, first) | {"files": [str(file) for file, _ in stack.slices], "padding_voxels": padded}
    return Image(np.ascontiguousarray(array[None]), stack.affine, tuple(dict.fromkeys(warnings)), meta)


def _picture(file: Path, header: Any) -> Image:
    """One radiograph or ultrasound picture (C, row, column) in pixel space."""
    warnings: list[str] = []
    values, _ = _rescaled(*_pixels(file), warnings)
    array = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    spacing = header.get("PixelSpacing") or header.get("ImagerPixelSpacing")
    meta = _meta(file, header) | {"files": [str(file)], "pixel_mm": [float(v) for v in spacing] if spacing else None}
    return Image(np.ascontiguousarray(array), None, tuple(dict.fromkeys(warnings)), meta)


def _meta(path: Path, header: Any) -> dict[str, Any]:
    return {
        "path": str(path),
        "format": "dicom",
        "modality": str(header.get("Modality", "")),
        "series_uid": str(header.get("SeriesInstanceUID", "")),
        "inverted": header.get("PhotometricInterpretation") == "MONOCHROME1",
    }


def _pixels(file: Path) -> tuple[Any, Array]:
    """Data set and stored values (rows, columns[, 3]); MONOCHROME1 is turned so that bright means more, once."""
    import pydicom

    with reading(file):
        data = pydicom.dcmread(file)
        if int(data.Rows) * int(data.Columns) > MOST_PIXELS or not int(data.Rows) * int(data.Columns):
            raise HilumError("HIL-D11", f"{file} claims {data.Rows} x {data.Columns} pixels", "Refused")
        if "PixelData" not in data:
            raise HilumError("HIL-D01", f"{file} has no pixels", "Export it again")
        try:
            stored = np.asarray(data.pixel_array)
        except ValueError as error:
            raise HilumError(
                "HIL-D01", f"{file}: pixel data are short or contradict the header", "Export it again"
            ) from error
        except (NotImplementedError, RuntimeError) as error:
            name = data.file_meta.TransferSyntaxUID.name
            raise HilumError("HIL-D06", f"{file} can not be decoded ({name})", "Export it uncompressed") from error
    if data.get("PhotometricInterpretation") == "PALETTE COLOR":
        raise HilumError("HIL-D16", f"{file} is a palette picture", "Export it as RGB")
    if data.get("PhotometricInterpretation") == "MONOCHROME1":
        bits = int(data.BitsStored)
        top = -1 if int(data.get("PixelRepresentation", 0)) else 2**bits - 1
        stored = (top - stored.astype(np.int32)).astype(stored.dtype)
    return data, stored


def _rescaled(data: Any, stored: Array, warnings: list[str]) -> tuple[Array, int]:
    """Values after rescale slope and intercept (whole numbers stay integers) and how many padding pixels became air."""
    if "ModalityLUTSequence" in data:
        raise HilumError("HIL-D19", f"{data.filename} has a modality lookup table", "Export it with a rescale slope")
    has = "RescaleSlope" in data and "RescaleIntercept" in data
    slope, intercept = float(data.get("RescaleSlope", 1) or 0), float(data.get("RescaleIntercept", 0) or 0)
    if data.get("Modality") == "CT" and not has:
        warnings.append("HIL-D18: a CT slice has no rescale slope and intercept; values may not be Hounsfield units")
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise HilumError(
            "HIL-D18", f"{data.filename} has rescale slope {slope}, intercept {intercept}", "Mend the header"
        )
    if slope == 1 and intercept == 0:
        values = stored
    elif slope == round(slope) and intercept == round(intercept) and stored.dtype.itemsize <= 2:
        values = stored.astype(np.int32) * int(slope) + int(intercept)
    else:
        values = (stored.astype(np.float64) * slope + intercept).astype(np.float32)
    return _without_padding(data, stored, values, slope, intercept)


def _without_padding(data: Any, stored: Array, values: Array, slope: float, intercept: float) -> tuple[Array, int]:
    """CT padding (below any tissue) becomes air, so that it does not stretch intensities."""
    padding = data.get("PixelPaddingValue")
    if data.get("Modality") != "CT" or not isinstance(padding, int) or padding * slope + intercept >= AIR_HU:
        return values, 0
    outside = stored == np.int64(padding)
    if not outside.any():
        return values, 0
    values = values.astype(np.int32) if values.dtype.kind in "iu" else values.copy()
    values[outside] = AIR_HU
    return values, int(outside.sum())
