"""NIfTI-1 and -2, single file or .hdr/.img pair, plain or gzipped: read strictly, write and read back twice.

Array (1, i, j, k) in file order; affine RAS+ mm. Rule for geometry: the sform where its code is above 0, else the
qform, else (both codes 0) only the voxel sizes are known and the image carries a warning. `meta` keeps both forms and
says which was used: meta["geometry"] is "sform", "qform" or "unknown". Extensions and other text (which may name a
patient) are neither read nor written.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io._guard import cropped, full_only, labels_of, reading, same
from hilum.io._volume.nifti_header import LONG, SHORT, Header, made, newer, parse
from hilum.io._volume.stream import Stream, is_gzip, packed
from hilum.io._volume.upright import shear, upright
from hilum.io._volume.voxels import blocks, fill, plain, scaled_kind, second

CARD = {
    "extensions": [".nii", ".nii.gz", ".hdr", ".hdr.gz"],
    "reads": "image",
    "writes": ["image", "mask"],
    "magic": [[344, b"n+1"], [4, b"n+2"], [0, b"\x1f\x8b"]],
    "files": True,
    "extent": True,
    "about": "NIfTI volumes in patient millimetres, single file or .hdr with .img (written: .nii and .nii.gz)",
}

MOST_TEXT = 1 << 24
# Bytes of extensions that may follow a compressed .hdr; read only to verify its checksum.


def read(path: Path, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
    """One volume (1, i, j, k), native byte order; scaling applied, integers kept where it stays whole.

    Refused: cut or damaged (HIL-N01, N02, N03), singular or not finite affine (N06), no voxel sizes (N07), 4-D, RGB,
    complex (N10), impossible dimensions (N11), a header that contradicts itself (N12), .hdr without .img (N13).
    Warned: qform and sform differ (N04), both codes 0 (N05), sheared (N06: set upright, see `meta["resampled"]`),
    odd or no units (N07), odd scaling (N08), NaN or infinity (N09), padding or an ending that misleads (N02).
    """
    path = Path(path)
    with reading(path):
        full_only(path, level)
        return cropped(_read(path, labels=False), region)


def read_labels(path: Path) -> Image:
    """A label map (1, i, j, k) int32, values exactly as stored.

    Refused beyond `read`: NaN or infinity (HIL-N09), fractions or values beyond 32 bits (N15).
    """
    path = Path(path)
    with reading(path):
        return labels_of(_read(path, labels=True))


def files_of(path: Path) -> list[Path]:
    """The file, and the .img beside a .hdr; refused (HIL-N13) where that one is missing."""
    return [path, _picture(path)] if path.name.lower().endswith((".hdr", ".hdr.gz")) else [path]


def extent(path: Path) -> dict[str, Any] | None:
    """`Extent` of what `read` will give, by its fields; None of a sheared volume, whose upright grid is another one.

    Refused as by `read` is what the header alone shows, and a claim that the file can not hold (HIL-N01, N03).
    """
    with _voxels(path) as (header, stream, _):
        stream.check(math.prod(header.shape) * header.kind.itemsize)
    if shear(header.affine) > geometry.SHEAR_TOLERANCE:
        return None
    size = math.prod(header.shape) * scaled_kind(header.kind, header.slope, header.inter).itemsize
    return {"shape": (1, *header.shape), "affine": header.affine, "size": size}


def _read(path: Path, labels: bool) -> Image:
    """The whole volume; a sheared one upright."""
    with _voxels(path) as (header, stream, misled):
        array, seen = fill(stream, header.shape, header.kind, header.slope, header.inter)
    array, affine, turned, record = upright(array, header.affine, labels)
    return Image(array[None], affine, (*header.warnings, *turned, *seen, *misled), header.meta | record)


@contextmanager
def _voxels(path: Path) -> Iterator[tuple[Header, Stream, list[str]]]:
    """The header, the bytes from the first voxel on, and warnings about the file itself."""
    with _opened(path) as stream:
        head = stream.take(SHORT)
        if newer(head):
            head += stream.take(LONG - SHORT)
        header = parse(path, head)
        misled = _misled(path, stream)
        if not header.paired:
            if not stream.packed and header.offset > stream.size:
                seen = f"{path} has {stream.size} bytes but puts its voxels at byte {header.offset}"
                raise HilumError("HIL-N12", seen, "Copy or convert it again")
            stream.skip(header.offset - len(head))
            yield header, stream, misled
            return
        if stream.packed:
            stream.skip(MOST_TEXT)
    picture = _picture(path)
    with _opened(picture) as stream:
        stream.skip(header.offset)
        yield header, stream, misled + _misled(picture, stream)


def _opened(path: Path) -> Stream:
    return Stream(path, "gzip" if is_gzip(path) else "")


def _misled(path: Path, stream: Stream) -> list[str]:
    """A warning where the name says something else about compression than the bytes."""
    if path.name.lower().endswith(".gz") == bool(stream.packed):
        return []
    return [f"HIL-N02: {path.name} is {'' if stream.packed else 'not '}compressed, unlike its name says; read as it is"]


def _picture(path: Path) -> Path:
    """The .img beside a .hdr, under the same stem."""
    ending = next((e for e in (".hdr", ".hdr.gz") if path.name.lower().endswith(e)), None)
    if ending is None:
        seen = f"{path} is marked as the header of a pair, but its name does not end in .hdr"
        raise HilumError("HIL-N12", seen, "Name the pair NAME.hdr and NAME.img")
    stem = path.name[: -len(ending)]
    found = [path.with_name(stem + e) for e in (".img", ".img.gz", ".IMG") if path.with_name(stem + e).is_file()]
    if not found:
        raise HilumError("HIL-N13", f"{path} has no {stem}.img beside it", "Copy both files of the pair together")
    if len(found) > 1 and not found[0].samefile(found[-1]):
        raise HilumError("HIL-N13", f"{path} has {' and '.join(p.name for p in found)} beside it", "Keep the right one")
    return found[0]


def write(path: Path, thing: Image | Mask, placed: bool = True) -> None:
    """Write a one-channel volume or a label map as NIfTI-1; it appears under `path` after two readers agree with it.

    Integers are stored in the smallest kind that holds them. The same volume gives the same bytes, where the same
    library packs it (`_volume/stream.py`). Refused: what is no volume (HIL-IO-04), complex or longer numbers (HIL-N10),
    more than 32767 voxels along an axis (HIL-N11), values beyond 32 bits (HIL-N15), and a file that reads back
    differently (HIL-IO-05).

    placed: whether it is known where it lies. Else both codes are 0 and only the steps of its affine are stated: every
    reader takes it to lie as it takes an image to lie that says no more (HIL-N05).
    """
    path = Path(path)
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise HilumError("HIL-IO-04", f"{path.name}: NIfTI is written as one file", "Name it NAME.nii.gz")
    array, affine = plain(path, thing)
    if max(array.shape) > 32767:
        raise HilumError("HIL-N11", f"{path.name}: shape {array.shape} is beyond NIfTI-1's 32767", "Cut it in parts")
    if not placed:
        # what is compared is what can be read again
        affine = np.diag([*geometry.spacing(affine), 1.0])
    with writing(path) as part:
        _put(part, made(array, affine, placed), array, path.name.lower().endswith(".gz"))
        seen = read(part)
        same(path, array, seen.array[0], affine, seen.affine)
        # before another reader holds it too
        del seen
        second(path, part, array, affine, zeroed=True, placed=placed)


def _put(part: Path, header: bytes, array: Array, zipped: bool) -> None:
    """Header and voxels, some slices at a time."""
    content = chain([header], blocks(array))
    with open(part, "wb") as out:
        out.writelines(packed(content, "gzip") if zipped else content)
