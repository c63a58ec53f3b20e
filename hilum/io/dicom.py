"""DICOM series and single pictures.

A series folder -> Image (1, i, j, k): i runs along a row of pixels, j down the rows, k along the slice normal; affine
RAS+ mm. A single radiograph or ultrasound picture -> Image (C, row, column) in pixel space. Stored values are rescaled
slice by slice (HU for CT). What can not be placed without guessing is refused; what was resampled says so.
"""

import hashlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.atomic import writing_folder
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image
from hilum.io import _buffer
from hilum.io._dicom import even, pixels
from hilum.io._dicom.choose import choose
from hilum.io._dicom.file import header as read_header
from hilum.io._dicom.frames import Slice, not_an_image
from hilum.io._dicom.series import Volume, candidates, looks_like_dicom, triage, unreadable
from hilum.io._dicom.write import CT_OFFSET, checked, one_slice
from hilum.io._guard import cropped, full_only, labels_of, reading, same
from hilum.io._volume.voxels import counted

CARD = {
    "extensions": [".dcm", ".dicom", ".ima"],
    "reads": "image",
    "writes": ["image"],
    "magic": [[128, b"DICM"]],
    "accepts": ["D21"],
    "files": True,
    "extent": True,
    "about": "a folder with one CT or MR series, or one DICOM picture",
}
BRIDGED = ("D21", "HIL-D21")
# What `accept` may name.
AIR_HU = -1024
# What lies beside a tilted CT slice once it has been put upright.


def read(
    path: Path,
    region: tuple[slice, ...] | None = None,
    level: int = 0,
    series: str | None = None,
    volume: str | None = None,
    accept: Collection[str] = (),
    files: Sequence[str] | None = None,
    said: Sequence[str] = (),
) -> Image:
    """One volume or picture of a folder, or of one file.

    series, volume: SeriesInstanceUID and key (as the refusal lists them) where a folder holds several. files: only
    these, relative to `path`. accept: ["D21"] bridges gaps by interpolation instead of refusing them. said: warnings
    that a look at more than these files gave; they join the image's own.

    Refused: several series (HIL-D27) or volumes (D25, D26, D30) and none chosen, gap (D21), different slices at one
    place (D22), broken multi-frame (D29), no image (D31). Resampled with a warning and meta["resampled"]: uneven steps
    (D23), tilt (D24), accepted gaps (D21). Files that can not be read are left out with a warning where a volume
    remains; NaN and infinity are kept with one (N09). meta: modality, series_uid, study_uid, volume, files and frames
    (in slice order), inverted, padding_voxels.
    """
    path = Path(path)
    with reading(path):
        full_only(path, level)
        _known(accept, files)
        one = choose(_looked(path, accept, files), series, volume)
        one = replace(one, warnings=(*said, *one.warnings))
        if one.refusal is not None:
            raise one.refusal
        if one.kind == "picture":
            return cropped(_picture(path, one), region)
        return _volume(path, one, region)


def _known(accept: Collection[str], files: Sequence[str] | None) -> None:
    """Refuse what can not be accepted, and files outside the folder (HIL-IO-07)."""
    strange = [code for code in accept if code not in BRIDGED]
    if strange:
        raise HilumError("HIL-IO-07", f"{strange[0]!r} can not be accepted", f"Known: {', '.join(BRIDGED)}")
    outside = [name for name in files or () if Path(name).is_absolute() or ".." in Path(name).parts]
    if outside:
        raise HilumError("HIL-IO-07", f"The file {outside[0]!r} lies outside the folder", "Name files inside it")


def files_of(path: Path) -> list[Path]:
    """Every file that is looked at: the file, or the DICOM files directly inside a folder, all below where none is."""
    return list(candidates(path, _inside(path), [])) if path.is_dir() else [path]


def extent(
    path: Path,
    series: str | None = None,
    volume: str | None = None,
    accept: Collection[str] = (),
    files: Sequence[str] | None = None,
) -> dict[str, Any] | None:
    """`Extent` of what `read` will give, by its fields, from headers alone; None of a picture, and of what it refuses.

    Arguments, and what is no volume to choose, as of `read`.
    """
    _known(accept, files)
    one = choose(_looked(path, accept, files), series, volume)
    if one.refusal is not None or one.stack is None:
        return None
    stack = one.stack
    kind = np.dtype(np.float32) if stack.even is not None else _kind(stack.slices)
    return {"shape": (1, *stack.shape), "affine": stack.affine, "size": math.prod(stack.shape) * kind.itemsize}


def _inside(path: Path) -> list[str] | None:
    """The names of the DICOM files directly inside a folder; None where there is none."""
    found = [file.name for file in path.iterdir() if looks_like_dicom(file)] if path.is_dir() else []
    # beside DICOM files one that nobody can look into may be a slice
    return sorted({*found, *(file.name for file in path.iterdir() if unreadable(file))}) if found else None


def _looked(path: Path, accept: Collection[str], files: Sequence[str] | None) -> Any:
    """What lies at the path; of a folder the files directly inside, or all below where none does."""
    return triage(path, accept, _inside(path) if files is None else files, keep=True)


def read_labels(path: Path) -> Image:
    """A series whose values are labels, as int32 (rare; segmentations come as DICOM SEG).

    Slices that would have to be resampled (HIL-D21, D23, D24) are refused: between two labels lies no third one.
    """
    with reading(Path(path)):
        # a gap is refused below: nobody can accept it here
        seen = read(path, accept=BRIDGED)
        if "resampled" in seen.meta:
            code = seen.meta["resampled"]["why"][0]
            raise HilumError(
                code, f"{path} holds labels on an uneven, tilted or gapped stack, which can not be resampled",
                even.BY_HAND,
            )  # fmt: skip
        return labels_of(seen)


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
    """(file, data set without pixels) of every DICOM image in a folder, or of one file; other objects are left out.

    The first file that can not be read is refused with its reason; no image at all is HIL-D31.
    """
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.iterdir() if looks_like_dicom(file))
    found, kinds = [], set()
    for file in files:
        header = read_header(file)
        kind = not_an_image(header)
        if kind is None:
            found.append((file, header))
        else:
            kinds.add(kind)
    if not found:
        named = f" ({', '.join(sorted(kinds))})" if kinds else ""
        raise HilumError("HIL-D31", f"{path} holds no DICOM image{named}", "Give a folder with a CT or MR series")
    return found


def _volume(path: Path, one: Volume, region: tuple[slice, ...] | None) -> Image:
    """A stack of slices as one volume; of a region only the slices in it are decoded."""
    stack, record = one.stack, pixels.Record()
    assert stack is not None
    affine, slices, rest = stack.affine, stack.slices, region
    meta = _meta(path, one)
    if stack.even is not None:
        outside = float(AIR_HU) if one.modality == "CT" else 0.0
        planes = even.resampled(_planes(slices, record), stack.even, stack.shape, outside)
        meta["resampled"] = {
            "why": list(stack.even.why),
            "slices": len(slices),
            "positions_mm": [float(v) for v in stack.even.along * geometry.spacing(affine)[2]],
            "aside_voxels": [[float(v) for v in row] for row in stack.even.aside],
            "size": [slices[0].size[1], slices[0].size[0]],
            "outside": outside,
            "interpolation": "linear",
        }
    else:
        if region is not None and len(region) == 3 and region[2].step in (None, 1):
            low, high, _ = region[2].indices(len(slices))
            if high > low:
                affine = affine.copy()
                affine[:3, 3] += affine[:3, 2] * low
                slices, rest = slices[low:high], (*region[:2], slice(None))
        planes = _decoded(slices, record)
    meta |= {"inverted": record.inverted, "padding_voxels": record.padding_voxels}
    # planes are (k, rows, columns) as they are stored; the image is (i, j, k): a view, nothing is copied
    image = Image(planes.T[None], affine, _all(one.warnings, record.warnings, counted(record.odd)), meta)
    return cropped(image, rest)


def _kind(slices: Sequence[Slice]) -> np.dtype[Any]:
    """The smallest kind that holds every slice."""
    kinds = {id(one.header): pixels.kind(one.header) for one in slices}
    return pixels.common(kinds.values())


def _decoded(slices: Sequence[Slice], record: pixels.Record) -> Array:
    """(k, rows, columns) in the smallest kind that holds every slice."""
    planes = _buffer.empty((len(slices), *slices[0].size), _kind(slices))
    for number, frame in enumerate(_planes(slices, record)):
        planes[number] = frame
    return planes


def _planes(slices: Sequence[Slice], record: pixels.Record) -> Iterator[Array]:
    """Modality values (rows, columns) of each slice; frames of one file that follow each other in one go."""
    start = 0
    for number in range(1, len(slices) + 1):
        if number < len(slices) and slices[number].header is slices[start].header:
            continue
        first = slices[start]
        warnings = first.header.hilum_warnings
        record.warnings += [said for said in warnings if said not in record.warnings]
        for frame in pixels.frames(first.file, first.header, [s.frame for s in slices[start:number]], record):
            if frame.shape != first.size:
                raise HilumError("HIL-D26", f"{first.file} is a colour picture inside a series", "Remove it")
            yield frame
        start = number


def _picture(path: Path, one: Volume) -> Image:
    """One radiograph or ultrasound picture (C, row, column) in pixel space."""
    first, record = one.slices[0], pixels.Record()
    values = next(iter(pixels.frames(first.file, first.header, [first.frame], record)))
    array = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    spacing = first.header.get("PixelSpacing") or first.header.get("ImagerPixelSpacing")
    meta = _meta(path if path.is_file() else first.file, one) | {
        "pixel_mm": [float(v) for v in spacing] if spacing else None,
        "inverted": record.inverted,
        "padding_voxels": record.padding_voxels,
    }
    said = _all(one.warnings, first.header.hilum_warnings, record.warnings, counted(record.odd))
    return Image(np.ascontiguousarray(array), None, said, meta)


def _all(*warnings: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(said for several in warnings for said in several))


def _meta(path: Path, one: Volume) -> dict[str, Any]:
    return {
        "path": str(path),
        "format": "dicom",
        "modality": one.modality,
        "series_uid": one.series_uid,
        "study_uid": one.study_uid,
        "volume": one.key,
        "files": [str(file) for file in one.files],
        "frames": [frame for _, frame in one.frames],
    }
