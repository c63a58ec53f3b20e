"""NRRD, one file (.nrrd) or a header with a file beside it (.nhdr): read strictly; .nrrd written and read back.

Array (1, i, j, k) in file order; affine RAS+ mm from LPS, RAS or LAS. The header is text of somebody's: only fields of
the standard are used, no text is kept, and a file that it names must lie in its own folder.
"""

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from hilum.core import geometry
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io._guard import cropped, full_only, labels_of, reading, same
from hilum.io._volume.stream import Stream, packed
from hilum.io._volume.text_header import beside, lie, lines, numbers, sizes, volume, whole
from hilum.io._volume.voxels import blocks, plain, second, three_axes

CARD = {
    "extensions": [".nrrd", ".nhdr"],
    "reads": "image",
    "writes": ["image", "mask"],
    "magic": [[0, b"NRRD000"]],
    "files": True,
    "about": "NRRD volumes in patient millimetres (written: .nrrd)",
}

KINDS = {
    "i1": "signed char|int8|int8_t", "u1": "uchar|unsigned char|uint8|uint8_t",
    "i2": "short|short int|signed short|signed short int|int16|int16_t",
    "u2": "ushort|unsigned short|unsigned short int|uint16|uint16_t",
    "i4": "int|signed int|int32|int32_t", "u4": "uint|unsigned int|uint32|uint32_t",
    "i8": "longlong|long long|long long int|signed long long|signed long long int|int64|int64_t",
    "u8": "ulonglong|unsigned long long|unsigned long long int|uint64|uint64_t", "f4": "float", "f8": "double",
}  # fmt: skip
TYPES = {word: kind for kind, words in KINDS.items() for word in words.split("|")}
FIELDS = {
    "type", "dimension", "sizes", "encoding", "endian", "spacings", "space", "space dimension", "space directions",
    "space origin", "space units", "kinds", "thicknesses", "centers", "labels", "units", "axis mins", "axis maxs",
    "data file", "line skip", "byte skip", "block size", "content", "min", "max", "old min", "old max", "number",
    "sample units", "measurement frame",
}  # fmt: skip
ALIASES = {
    "centerings": "centers", "datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip",
    "blocksize": "block size", "axismins": "axis mins", "axismaxs": "axis maxs", "oldmin": "old min",
    "oldmax": "old max", "sampleunits": "sample units",
}  # fmt: skip
SPACES = {"right-anterior-superior": (1, 1), "left-anterior-superior": (-1, 1), "left-posterior-superior": (-1, -1)}
SPACES |= {"ras": (1, 1), "las": (-1, 1), "lps": (-1, -1)}
# Signs of the first two world axes on the way to RAS+.
UNITS = {"mm": 1.0, "millimeter": 1.0, "um": 1e-3, "micron": 1e-3, "cm": 10.0, "m": 1000.0}


def read(path: Path, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
    """One volume (1, i, j, k), native byte order.

    Refused: cut short (HIL-N01), damaged (N02), more claimed than the file can hold (N03), impossible directions (N06),
    no voxel sizes (N07), a series, colours or vectors (N10), impossible dimensions (N11), and a header that lies or
    leads elsewhere (N16). Warned: space unknown or not stated (N05), sheared (N06), units (N07), NaN (N09), 2-D (N10).
    """
    path = Path(path)
    with reading(path):
        full_only(path, level)
        return cropped(_read(path, labels=False), region)


def read_labels(path: Path) -> Image:
    """A label map (1, i, j, k) int32, values exactly as stored; fractions (HIL-N15) and NaN (HIL-N09) are refused."""
    path = Path(path)
    with reading(path):
        return labels_of(_read(path, labels=True))


def files_of(path: Path) -> list[Path]:
    """The file, and that of its voxels where it is a header beside them; refused as by `read`."""
    name = _fields(path, lines(path, "")[0]).get("data file")
    return [path] if name is None else [path, beside(path, name)]


def _read(path: Path, labels: bool) -> Image:
    found, size = lines(path, "")
    fields = _fields(path, found)
    count = whole(path, "dimension", fields["dimension"], 1)[0]
    if not 1 <= count <= 16:
        raise HilumError("HIL-N11", f"{path} has {count} dimensions", "Mend the header")
    shape = sizes(path, "sizes", fields["sizes"], count)
    kind = _kind(path, fields)
    warnings: list[str] = []
    affine, used, kept = _affine(path, fields, shape, warnings)
    with _voxels(path, fields, size, int(np.prod(shape, dtype=object)) * int(kind[-1])) as stream:
        image = volume(stream, kept, kind, affine, labels, warnings, used)
    return replace(image, meta={"path": str(path), "format": "nrrd", **image.meta})


def _fields(path: Path, found: list[str]) -> dict[str, str]:
    """The header by field; pairs `name:=value` are somebody's notes and left out."""
    if not found or not re.fullmatch("NRRD000[1-6]", found[0]):
        raise lie(path, f"begins with {found[0][:20] if found else ''!r}, not NRRD0001 to NRRD0006")
    fields: dict[str, str] = {}
    for number, line in enumerate(found[1:], 2):
        if line.startswith("#") or re.match(r"[^:]*:=", line):
            continue
        name, sign, value = line.partition(": ")
        if not sign and line.endswith(":"):
            name, value = line[:-1], ""
        elif not sign:
            raise lie(path, f"has no 'name: value' in line {number} of its header")
        name = ALIASES.get(name.strip().lower(), name.strip().lower())
        if name not in FIELDS:
            raise lie(path, f"has the field {name[:40]!r}, which NRRD does not know", "Write notes as name:=value")
        if name in fields:
            raise lie(path, f"states {name!r} twice")
        fields[name] = value.strip()
    missing = [name for name in ("type", "dimension", "sizes", "encoding") if not fields.get(name)]
    if missing:
        raise lie(path, f"has no {', '.join(missing)} in its header")
    return fields


def _kind(path: Path, fields: dict[str, str]) -> str:
    """numpy's word for the elements, with byte order."""
    name = fields["type"].lower()
    if name not in TYPES:
        known = ", ".join(words.split("|")[-1] for words in KINDS.values())
        raise lie(path, f"has elements of the unknown type {fields['type'][:40]!r}", f"Known: {known}")
    kind, order = TYPES[name], fields.get("endian", "").lower()
    if kind[-1] != "1" and order not in ("little", "big"):
        raise lie(path, f"states the byte order as {order!r}, not little or big", "Mend the header")
    return (">" if order == "big" else "<") + kind


def _affine(
    path: Path, fields: dict[str, str], shape: tuple[int, ...], warnings: list[str]
) -> tuple[Array, str, tuple[int, ...]]:
    """RAS+ affine, what gave it, and the sizes of the axes that it speaks of."""
    space = fields.get("space", "").lower()
    if "space directions" in fields:
        columns, shape = _directions(path, fields, shape)
    else:
        columns, shape = _steps(path, fields, shape)
    if len(shape) < 3:
        warnings.append(f"HIL-N10: {len(shape)} dimensions; the image is taken as a volume of one slice of 1 mm")
    affine = np.eye(4)
    affine[:3, : min(3, columns.shape[1])] = columns[:, :3]
    if "space origin" in fields:
        affine[:3, 3] = _vector(path, "space origin", fields["space origin"])
    elif space in SPACES and "space directions" in fields:
        warnings.append("HIL-N05: no space origin is stated; the position is taken as 0")
    signs = SPACES.get(space)
    if signs is None or "space directions" not in fields:
        named = f"the space is {space!r}" if space else "no space is stated"
        lacks = named if signs is None else "no space directions are stated"
        warnings.append(f"HIL-N05: {lacks}; directions and position are taken as LPS")
        signs = signs or (-1, -1)
        return _in_mm(path, fields, np.diag([*signs, 1, 1]) @ affine, warnings), "unknown", shape
    return _in_mm(path, fields, np.diag([*signs, 1, 1]) @ affine, warnings), "header", shape


def _directions(path: Path, fields: dict[str, str], shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """(3, axes) of the axes in space; an axis of one voxel that is not in space is left out."""
    words = re.findall(r"none|\([^()]*\)|\S+", fields["space directions"])
    if len(words) != len(shape):
        raise lie(path, f"has {len(words)} space directions for {len(shape)} axes", "Mend the header")
    inside = [word != "none" for word in words]
    odd = [n for n, kept in zip(shape, inside, strict=True) if not kept and n != 1]
    if odd:
        seen = f"{path} has {odd[0]} values for each voxel (sizes {shape})"
        raise HilumError("HIL-N10", seen, "Pick one volume or convert to one real channel")
    vectors = [_vector(path, "space directions", word) for word in words if word != "none"]
    if not 1 <= len(vectors) <= 3:
        raise HilumError("HIL-N10", f"{path} has {len(vectors)} axes in space", "Pick one volume and save it by itself")
    kept = tuple(n for n, keep in zip(shape, inside, strict=True) if keep)
    columns = np.array(vectors).T
    if columns.shape[1] == 2:
        across = np.cross(columns[:, 0], columns[:, 1])
        columns = np.column_stack([columns, across / max(float(np.linalg.norm(across)), 1e-30)])
    return columns, kept


def _vector(path: Path, field: str, word: str) -> list[float]:
    if not re.fullmatch(r"\([^()]*\)", word):
        raise lie(path, f"has {field} = {word[:60]!r}, not (x,y,z)", "Mend the header")
    return numbers(path, field, word[1:-1].replace(",", " "), 3)


def _steps(path: Path, fields: dict[str, str], shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...]]:
    """(3, 3) of a header that states spacings only."""
    space = three_axes(shape)
    words = fields.get("spacings", "").split()
    if len(words) != len(shape):
        raise HilumError("HIL-N07", f"{path} states {len(words)} spacings for {len(shape)} axes", "Mend the header")
    steps = [*numbers(path, "spacings", " ".join(words[: min(3, len(shape))])), 1.0, 1.0][:3]
    if min(steps) <= 0:
        raise HilumError("HIL-N07", f"{path} has the spacings {steps}", "Mend the header")
    return np.diag(steps), space if len(shape) >= 3 else shape


def _in_mm(path: Path, fields: dict[str, str], affine: Array, warnings: list[str]) -> Array:
    """The affine in mm by the stated units (none: mm, as everywhere)."""
    stated = {word.lower().rstrip("s") for word in re.findall(r'"([^"]*)"', fields.get("space units", ""))} - {""}
    if not stated or stated <= {"mm", "millimeter"}:
        return affine
    unit = stated.pop()
    if stated or unit not in UNITS:
        raise HilumError("HIL-N07", f"{path} has the space units {fields['space units'][:60]}", "Write mm")
    warnings.append(f"HIL-N07: lengths are in {unit}; they were turned into mm")
    return np.diag([UNITS[unit]] * 3 + [1.0]) @ affine


def _voxels(path: Path, fields: dict[str, str], size: int, need: int) -> Stream:
    """The bytes from the first voxel on, in this file or in the one beside it."""
    encoding = fields["encoding"].lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise lie(path, f"has the encoding {encoding[:20]!r}", "Save it with the encoding raw or gzip")
    name = fields.get("data file")
    if name is not None and (name.upper().startswith("LIST") or "%" in name):
        raise lie(path, f"holds its voxels in a list of files ({name[:40]!r})", "Save the volume as one file")
    target = path if name is None else beside(path, name)
    lines_skipped = whole(path, "line skip", fields.get("line skip", "0"), 1)[0]
    skip = whole(path, "byte skip", fields.get("byte skip", "0"), 1)[0]
    length = target.stat().st_size
    start = size if name is None else 0
    if lines_skipped != 0 or skip < -1 or (skip == -1 and encoding != "raw") or skip > length:
        raise lie(path, f"skips {lines_skipped} lines and {skip} bytes before its voxels", "Save it as one file")
    if skip == -1:
        start, skip = max(start, length - need), 0
    stream = Stream(target, "" if encoding == "raw" else "gzip", start)
    stream.skip(skip)
    return stream


def write(path: Path, thing: Image | Mask) -> None:
    """Write a one-channel volume or a label map as .nrrd, gzip inside; two readers agree before it appears.

    Refused: what is no volume, or another ending (HIL-IO-04), complex numbers (HIL-N10), values beyond 32 bits
    (HIL-N15), and a file that reads back differently (HIL-IO-05).
    """
    path = Path(path)
    if path.suffix.lower() != ".nrrd":
        # a header and its voxels can not appear at one moment
        raise HilumError("HIL-IO-04", f"{path.name}: NRRD is written as one file", "Name it NAME.nrrd")
    array, affine = plain(path, thing)
    with writing(path) as part:
        with open(part, "wb") as out:
            out.write(_made(array, affine))
            out.writelines(packed(blocks(array), "gzip"))
        seen = read(part)
        same(path, array, seen.array[0], affine, seen.affine)
        second(path, part, array, affine)


def _made(array: Array, affine: Array) -> bytes:
    """The header; LPS, as most programs write it."""
    lps = geometry.flip_lps_ras(affine)

    def vector(values: Array) -> str:
        return "(" + ",".join(repr(float(v) + 0.0) for v in values) + ")"

    fields = {
        "type": KINDS[array.dtype.str[1:]].split("|")[-1], "dimension": "3", "space": "left-posterior-superior",
        "sizes": " ".join(map(str, array.shape)), "space directions": " ".join(map(vector, lps[:3, :3].T)),
        "kinds": "domain domain domain", "endian": sys.byteorder, "encoding": "gzip",
        "space units": '"mm" "mm" "mm"', "space origin": vector(lps[:3, 3]),
    }  # fmt: skip
    return ("NRRD0005\n" + "".join(f"{name}: {value}\n" for name, value in fields.items()) + "\n").encode()
