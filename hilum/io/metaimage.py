"""MetaImage, one file (.mha) or a header with a file beside it (.mhd): read strictly; .mha written and read back.

Array (1, i, j, k) in file order; affine RAS+ mm (the file speaks LPS+). The header is text of somebody's: only fields
that are known are used, no text is kept, and a file that it names must lie in its own folder.
"""

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
from hilum.io._volume.voxels import blocks, plain, second

CARD = {
    "extensions": [".mha", ".mhd"],
    "reads": "image",
    "writes": ["image", "mask"],
    "magic": [[0, b"ObjectType = Image"]],
    "files": True,
    "about": "MetaImage volumes in patient millimetres (written: .mha)",
}

KINDS = {
    "MET_UCHAR": "u1", "MET_CHAR": "i1", "MET_USHORT": "u2", "MET_SHORT": "i2", "MET_UINT": "u4", "MET_INT": "i4",
    "MET_ULONG": "u4", "MET_LONG": "i4", "MET_ULONG_LONG": "u8", "MET_LONG_LONG": "i8", "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}  # fmt: skip
# MET_LONG has 4 bytes by the format; some writers on 64-bit machines meant 8, which the check of sizes then refuses.
NAMES = {kind: name for name, kind in KINDS.items() if "LONG" not in name}
ALIASES = {
    "Origin": "Offset", "Position": "Offset", "Rotation": "TransformMatrix", "Orientation": "TransformMatrix",
    "ElementByteOrderMSB": "BinaryDataByteOrderMSB",
}  # fmt: skip


def read(path: Path, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
    """One volume (1, i, j, k), native byte order.

    Refused: cut short (HIL-N01), damaged (N02), more claimed than the file can hold (N03), impossible directions (N06),
    no voxel sizes (N07), a series, colours or vectors (N10), impossible dimensions (N11), and a header that lies or
    leads elsewhere (N16). Warned: neither directions nor position (N05), sheared (N06), NaN (N09), 2-D (N10).
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
    name = _fields(path, lines(path, "ElementDataFile")[0])["ElementDataFile"]
    return [path] if name.upper() == "LOCAL" else [path, beside(path, name)]


def _read(path: Path, labels: bool) -> Image:
    found, size = lines(path, "ElementDataFile")
    fields = _fields(path, found)
    count = whole(path, "NDims", fields["NDims"], 1)[0]
    if not 1 <= count <= 8:
        raise HilumError("HIL-N11", f"{path} has {count} dimensions", "Mend the header")
    shape = sizes(path, "DimSize", fields["DimSize"], count)
    kind = _kind(path, fields)
    warnings: list[str] = []
    affine, used = _affine(path, fields, count, warnings)
    with _voxels(path, fields, size, int(np.prod(shape, dtype=object)) * int(kind[-1])) as stream:
        image = volume(stream, shape, kind, affine, labels, warnings, used)
    return replace(image, meta={"path": str(path), "format": "metaimage", **image.meta})


def _fields(path: Path, found: list[str]) -> dict[str, str]:
    """The header by field, aliases under one name; what must be there is there."""
    fields: dict[str, str] = {}
    for number, line in enumerate(found, 1):
        if not line:
            continue
        name, sign, value = line.partition("=")
        name = ALIASES.get(name.strip(), name.strip())
        if not sign:
            raise lie(path, f"has no 'NAME = VALUE' in line {number} of its header")
        if name in fields:
            raise lie(path, f"states {name} twice")
        fields[name] = value.strip()
    missing = [n for n in ("NDims", "DimSize", "ElementType", "ElementDataFile") if not fields.get(n)]
    if missing:
        raise lie(path, f"has no {', '.join(missing)} in its header")
    if fields.get("ObjectType", "Image") != "Image":
        raise lie(path, f"holds a {fields['ObjectType']!r}, not an image", "Convert it to a volume first")
    for name, plain_value in (("ElementToIntensityFunctionSlope", 1.0), ("ElementToIntensityFunctionOffset", 0.0)):
        if name in fields and numbers(path, name, fields[name], 1) != [plain_value]:
            raise lie(path, f"asks for {name} = {fields[name]}, which other readers ignore", "Save the scaled values")
    return fields


def _kind(path: Path, fields: dict[str, str]) -> str:
    """numpy's word for the elements, with byte order."""
    if (channels := whole(path, "ElementNumberOfChannels", fields.get("ElementNumberOfChannels", "1"), 1)) != [1]:
        seen = f"{path} has {channels[0]} values for each voxel"
        raise HilumError("HIL-N10", seen, "Convert to one real channel")
    name = fields["ElementType"]
    if name.endswith("_ARRAY"):
        raise HilumError("HIL-N10", f"{path} has elements {name}, several values each", "Convert to one real channel")
    if name not in KINDS:
        raise lie(path, f"has elements of the unknown type {name!r}", f"Known: {', '.join(KINDS)}")
    if not _true(path, fields, "BinaryData", "True"):
        raise lie(path, "holds its voxels as text", "Save it as binary data")
    return (">" if _true(path, fields, "BinaryDataByteOrderMSB", "False") else "<") + KINDS[name]


def _true(path: Path, fields: dict[str, str], name: str, default: str) -> bool:
    value = fields.get(name, default)
    if value.lower() not in ("true", "false", "1", "0"):
        raise lie(path, f"has {name} = {value!r}, which is neither True nor False", "Mend the header")
    return value.lower() in ("true", "1")


def _affine(path: Path, fields: dict[str, str], count: int, warnings: list[str]) -> tuple[Array, str]:
    """RAS+ affine, and what gave it. Axes beyond the third are not looked at, missing ones are as wide as 1 mm."""
    if "ElementSpacing" not in fields:
        if "ElementSize" not in fields:
            raise HilumError("HIL-N07", f"{path} states no ElementSpacing", "Mend the header")
        warnings.append("HIL-N07: no ElementSpacing; the ElementSize is taken as the distance of voxels")
    name = "ElementSpacing" if "ElementSpacing" in fields else "ElementSize"
    steps = np.array(numbers(path, name, fields[name], count))
    if (steps[:3] <= 0).any():
        raise HilumError("HIL-N07", f"{path} has {name} = {fields[name]}", "Mend the header")
    size = max(3, count)
    turn, origin, wide = np.eye(size), np.zeros(size), np.ones(size)
    wide[:count] = steps
    if "TransformMatrix" in fields:
        # one row of the field is the direction of one axis
        turn[:count, :count] = np.reshape(
            numbers(path, "TransformMatrix", fields["TransformMatrix"], count**2), (count, count)
        ).T
    if "Offset" in fields:
        origin[:count] = numbers(path, "Offset", fields["Offset"], count)
    if any(numbers(path, "CenterOfRotation", fields.get("CenterOfRotation", ""))):
        warnings.append("HIL-N16: CenterOfRotation is not used, as in ITK")
    if count < 3:
        warnings.append(f"HIL-N10: {count} dimensions; the image is taken as a volume of one slice of 1 mm")
    affine = np.eye(4)
    affine[:3, :3] = turn[:3, :3] * wide[:3]
    affine[:3, 3] = origin[:3]
    if "TransformMatrix" not in fields and "Offset" not in fields:
        warnings.append("HIL-N05: neither directions nor position are stated; they are taken as LPS from 0")
        return geometry.flip_lps_ras(affine), "unknown"
    for name, words in (("TransformMatrix", "the axes are taken as LPS"), ("Offset", "the position is taken as 0")):
        if name not in fields:
            warnings.append(f"HIL-N05: no {name} is stated; {words}")
    return geometry.flip_lps_ras(affine), "header"


def _voxels(path: Path, fields: dict[str, str], size: int, need: int) -> Stream:
    """The bytes from the first voxel on, in this file or in the one beside it."""
    name = fields["ElementDataFile"]
    if name.upper().startswith("LIST") or (len(name.split()) > 1 and "%" in name):
        raise lie(path, f"holds its voxels in a list of files ({name[:40]!r})", "Save the volume as one file")
    local = name.upper() == "LOCAL"
    target = path if local else beside(path, name)
    skip = whole(path, "HeaderSize", fields.get("HeaderSize", "0"), 1)[0]
    zipped = _true(path, fields, "CompressedData", "False")
    length = target.stat().st_size
    start = (size if local else 0) if skip in (0, -1) else skip
    if skip == -1 and not zipped:
        start = max(start, length - need)
    if skip < -1 or start > length or (local and start < size):
        raise lie(path, f"puts its voxels at byte {skip} of {length}")
    if zipped and fields.get("CompressedDataSize", "0") != "0":
        stated = whole(path, "CompressedDataSize", fields["CompressedDataSize"], 1)[0]
        if stated != length - start:
            raise lie(path, f"speaks of {stated} compressed bytes, there are {length - start}", "Copy it again")
    return Stream(target, "zlib" if zipped else "", start)


def write(path: Path, thing: Image | Mask) -> None:
    """Write a one-channel volume or a label map as .mha, compressed; two readers agree before it appears.

    Refused: what is no volume, or another ending (HIL-IO-04), complex numbers (HIL-N10), values beyond 32 bits
    (HIL-N15), and a file that reads back differently (HIL-IO-05).
    """
    path = Path(path)
    if path.suffix.lower() != ".mha":
        # a header and its voxels can not appear at one moment
        raise HilumError("HIL-IO-04", f"{path.name}: MetaImage is written as one file", "Name it NAME.mha")
    array, affine = plain(path, thing)
    content = list(packed(blocks(array), "zlib"))
    with writing(path) as part:
        with open(part, "wb") as out:
            out.write(_made(array, affine, sum(map(len, content))))
            out.writelines(content)
        seen = read(part)
        same(path, array, seen.array[0], affine, seen.affine)
        second(path, part, array, affine)


def _made(array: Array, affine: Array, length: int) -> bytes:
    """The header."""
    lps = geometry.flip_lps_ras(affine)
    steps = np.asarray(geometry.spacing(affine))

    def words(values: Array) -> str:
        return " ".join(repr(float(v) + 0.0) for v in np.ravel(values))

    fields = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True",
        "BinaryDataByteOrderMSB": str(sys.byteorder == "big"), "CompressedData": "True",
        "CompressedDataSize": str(length), "TransformMatrix": words((lps[:3, :3] / steps).T),
        "Offset": words(lps[:3, 3]), "CenterOfRotation": "0 0 0", "ElementSpacing": words(steps),
        "DimSize": " ".join(map(str, array.shape)), "ElementType": NAMES[array.dtype.str[1:]],
        "ElementDataFile": "LOCAL",
    }  # fmt: skip
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode()
