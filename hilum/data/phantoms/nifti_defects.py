"""NIfTI files with exactly one defect each, for testing readers: Hilum's, and any other.

`images/` and `labels/`, and defects.csv: file, row (N01 to N15, as in the codes HIL-N01 to HIL-N15), defect in words,
and outcome: "refused", "warned" or "accepted-corrected" (read, with the values and the place of the sound volume).
Rows take turns, so few files already show many kinds. Of a pair the .hdr is named. N14 needs two files and is missing.
"""

import csv
import gzip
import io
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import write_text, writing
from hilum.core.image import Array

CARD = {
    "tasks": [],
    "about": "small NIfTI files with one defect each and the outcome that a reader owes them, for testing readers",
}
SHAPE = (12, 14, 10)
STEPS = (2.0, 2.0, 3.0)
START = (-11.0, -13.0, -13.5)
ONE = {
    "sizeof_hdr": (0, "i"), "dim": (40, "8h"), "datatype": (70, "h"), "bitpix": (72, "h"), "pixdim": (76, "8f"),
    "vox_offset": (108, "f"), "slope": (112, "f"), "inter": (116, "f"), "units": (123, "B"), "qform_code": (252, "h"),
    "sform_code": (254, "h"), "quaternion": (256, "3f"), "qoffset": (268, "3f"), "srow": (280, "12f"),
    "magic": (344, "4s"),
}  # fmt: skip
TWO = {
    "sizeof_hdr": (0, "i"), "magic": (4, "8s"), "datatype": (12, "h"), "bitpix": (14, "h"), "dim": (16, "8q"),
    "pixdim": (104, "8d"), "vox_offset": (168, "q"), "slope": (176, "d"), "inter": (184, "d"), "qform_code": (344, "i"),
    "sform_code": (348, "i"), "quaternion": (352, "3d"), "qoffset": (376, "3d"), "srow": (400, "12d"),
    "units": (500, "i"),
}  # fmt: skip
# Where the fields of NIfTI-1 and of NIfTI-2 lie, and how they are packed.
CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "u4": 768, "i8": 1024}
NAN, INF = float("nan"), float("inf")

Files = dict[str, bytes]
Maker = Callable[[Array], Files]


def make(folder: Path, cases: int = 100, seed: int = 0) -> None:
    """Write `cases` files; beyond the number of known defects they begin again, with other voxels."""
    folder = Path(folder)
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(["file", "row", "defect", "outcome"])
    for case in range(cases):
        row, words, outcome, maker = DEFECTS[case % len(DEFECTS)]
        place = "labels" if words.startswith("label") else "images"
        files = maker(draw(seed, case))
        for name, data in files.items():
            with writing(folder / place / f"{case:03d}_{row.lower()}{name}") as part:
                part.write_bytes(data)
        rows.writerow([f"{place}/{case:03d}_{row.lower()}{next(iter(files))}", row, words, outcome])
    write_text(folder / "defects.csv", table.getvalue())


def draw(seed: int, case: int) -> Array:
    """The sound volume (12, 14, 10) int16 of a case: a ball of 1, 2 in its middle, so that it serves as labels too."""
    rng = np.random.default_rng((seed, case))
    index = np.indices(SHAPE).reshape(3, *SHAPE) - (np.array(SHAPE) / 2 + rng.uniform(-1, 1, 3)).reshape(3, 1, 1, 1)
    far = np.sqrt((index**2).sum(axis=0)) + rng.uniform(-0.5, 0.5, SHAPE)
    return np.where(far < 2.5, 2, np.where(far < 5, 1, 0)).astype(np.int16)


def affine() -> Array:
    """RAS+ affine of the sound volume."""
    out = np.diag([*STEPS, 1.0])
    out[:3, 3] = START
    return out


def _head(array: Array, order: str = "<", two: bool = False, **changes: Any) -> bytes:
    """A sound header of this array, then `changes`, and the four bytes that say: no extension."""
    fields: dict[str, Any] = {
        "sizeof_hdr": 540 if two else 348, "dim": [array.ndim, *array.shape, *[1] * (7 - array.ndim)],
        "datatype": CODES[array.dtype.str[1:]], "bitpix": array.dtype.itemsize * 8, "pixdim": [1, *STEPS, 1, 1, 1, 1],
        "vox_offset": 544 if two else 352, "slope": 1, "inter": 0, "units": 2, "qform_code": 1, "sform_code": 1,
        "quaternion": [0, 0, 0], "qoffset": START, "srow": affine()[:3].ravel(),
        "magic": b"n+2\0\r\n\x1a\n" if two else b"n+1\0",
    }  # fmt: skip
    raw = bytearray(544 if two else 352)
    for name, (offset, form) in (TWO if two else ONE).items():
        value = changes.get(name, fields[name])
        struct.pack_into(order + form, raw, offset, *(value if np.ndim(value) else [value]))
    return bytes(raw)


def _file(array: Array, **changes: Any) -> bytes:
    return _head(array, **changes) + array.tobytes(order="F")


def _gz(raw: bytes, level: int = 6) -> bytes:
    return gzip.compress(raw, level, mtime=0)


def _head_with(**changes: Any) -> Maker:
    """A plain file with some header fields changed."""
    return lambda array: {".nii": _file(array, **changes)}


def _raw(change: Callable[[bytes], bytes], **changes: Any) -> Maker:
    """A plain file whose bytes were changed."""
    return lambda array: {".nii": change(_file(array, **changes))}


def _zip(change: Callable[[bytes], bytes], level: int = 6) -> Maker:
    """A gzipped file whose compressed bytes were changed."""
    return lambda array: {".nii.gz": change(_gz(_file(array), level))}


def _as(kind: str, index: tuple[int, ...] | None = None, value: float = 0, **changes: Any) -> Maker:
    """Voxels of another kind, one of them (all for ()) set to a value."""

    def maker(array: Array) -> Files:
        array = array.astype(kind)
        if index is not None:
            array[index] = value
        return {".nii": _file(array, **changes)}

    return maker


def _big(array: Array) -> Files:
    return {".nii": _head(array, order=">") + array.astype(">i2").tobytes(order="F")}


def _cloned(shape: tuple[int, ...]) -> Maker:
    """More axes; the voxels are repeated over them."""
    return lambda array: {".nii": _file(np.broadcast_to(array.reshape(*SHAPE, *[1] * (len(shape) - 3)), shape))}


def _pair(change: Callable[[bytes], Files]) -> Maker:
    """A header of a pair, and what `change` makes of its voxels."""
    return lambda array: {
        ".hdr": _head(array, magic=b"ni1\0", vox_offset=0),
        **change(array.tobytes(order="F")),
    }


def _extended(size: int) -> Maker:
    """An extension of 64 bytes with a name in it, that states `size`."""
    note = struct.pack("<2i", size, 6) + b"PatientName=Doe^Jane".ljust(56, b"\0")

    def maker(array: Array) -> Files:
        head = _head(array, vox_offset=352 + 64)
        return {".nii": head[:348] + b"\1\0\0\0" + note + array.tobytes(order="F")}

    return maker


def _odd(datatype: int, bits: int) -> Maker:
    """Voxels of a kind that is no plain number; there are bytes enough for them."""
    return lambda array: {".nii": _head(array, datatype=datatype, bitpix=bits) + bytes(array.size * max(1, bits // 8))}


def _srow(column: int, values: list[float]) -> Maker:
    """Only an sform; one of its columns (0, 1, 2: axes, 3: position) is replaced."""
    form = affine()[:3]
    form[:, column] = values
    return _head_with(qform_code=0, srow=form.ravel())


def _q_only(**changes: Any) -> Maker:
    return _head_with(sform_code=0, **changes)


def _steps(*values: float, **changes: Any) -> dict[str, Any]:
    return {"pixdim": [1, *values, 1, 1, 1, 1], **changes}


def _scaled(scale: float, units: int) -> Maker:
    """The same place in another unit."""
    steps = [s * scale for s in STEPS]
    form = (affine()[:3] * scale).ravel()
    return _head_with(**_steps(*steps, srow=form, qoffset=[s * scale for s in START], units=units))


R, W, A = "refused", "warned", "accepted-corrected"
_HUGE = {"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]}
_TURN = [0.0, 0.0, float(np.sin(np.deg2rad(5)))]
LISTED: list[tuple[str, str, str, Maker]] = [
    ("N01", "last byte missing", R, _raw(lambda b: b[:-1])),
    ("N01", "half of the voxels missing", R, _raw(lambda b: b[: len(b) // 2])),
    ("N01", "last slice missing", R, _raw(lambda b: b[: -2 * 12 * 14])),
    ("N01", "empty file", R, _raw(lambda b: b"")),
    ("N01", "three bytes", R, _raw(lambda b: b[:3])),
    ("N01", "cut inside the header", R, _raw(lambda b: b[:200])),
    ("N01", "header without voxels", R, _raw(lambda b: b[:352])),
    ("N01", "gzip cut in its middle", R, _zip(lambda b: b[: len(b) // 2])),
    ("N01", "gzip without its checksum", R, _zip(lambda b: b[:-8])),
    ("N01", "gzip without its last byte", R, _zip(lambda b: b[:-1])),
    ("N01", "gzip cut in its own header", R, _zip(lambda b: b[:5])),
    ("N01", ".img of a pair cut in half", R, _pair(lambda b: {".img": b[: len(b) // 2]})),
    ("N02", "text after the compressed data", R, _zip(lambda b: b + b"not compressed")),
    ("N02", "zeros after the compressed data", A, _zip(lambda b: b + bytes(512))),
    ("N02", "wrong checksum", R, _zip(lambda b: b[:-8] + bytes([b[-8] ^ 255]) + b[-7:])),
    ("N02", "wrong length in the trailer", R, _zip(lambda b: b[:-4] + bytes([b[-4] ^ 1]) + b[-3:])),
    ("N02", "one bit of a voxel flipped under a right checksum", R,
     _zip(lambda b: b[:-50] + bytes([b[-50] ^ 1]) + b[-49:], level=0)),
    ("N02", "two gzip members that together hold the volume", A,
     lambda a: {".nii.gz": _gz(_file(a)[:1000]) + _gz(_file(a)[1000:])}),
    ("N02", "not compressed, named .gz", W, lambda a: {".nii.gz": _file(a)}),
    ("N02", "compressed, not named .gz", W, lambda a: {".nii": _gz(_file(a))}),
    ("N02", "unknown compression method", R, _zip(lambda b: b[:2] + b"\7" + b[3:])),
    ("N02", "a hundred bytes after the last voxel", W, _raw(lambda b: b + bytes(100))),
    ("N02", "ten thousand bytes after the last voxel", R, _raw(lambda b: b + bytes(10_000))),
    ("N02", "a second gzip member with other volumes", R, _zip(lambda b: b + _gz(bytes(20_000)))),
    ("N03", "gzip bomb of 32000 x 32000 x 32000", R, lambda a: {".nii.gz": _gz(_file(a, **_HUGE))}),
    ("N03", "plain file that speaks of 32000 x 32000 x 32000", R, _head_with(**_HUGE)),
    ("N03", "NIfTI-2 of 2^40 voxels along an axis", R,
     lambda a: {".nii.gz": _gz(_file(a, two=True, dim=[3, 2**40, 4, 4, 1, 1, 1, 1]))}),
    ("N03", "NIfTI-2 of 2^65 bytes, which 64 bits count as none", R,
     lambda a: {".nii": _file(a, two=True, dim=[3, 2**31, 2**31, 4, 1, 1, 1, 1])}),
    ("N03", "small gzip that speaks of 2 GB", R,
     lambda a: {".nii.gz": _gz(_file(a, dim=[3, 1000, 1000, 1000, 1, 1, 1, 1]))}),
    ("N04", "qform 5 mm away from the sform", W, _head_with(qoffset=[-6, -13, -13.5])),
    ("N04", "qform turned by 10 degrees against the sform", W, _head_with(quaternion=_TURN)),
    ("N04", "qform mirrored against the sform", W, _head_with(pixdim=[-1, *STEPS, 1, 1, 1, 1])),
    ("N04", "voxel sizes of qform and sform differ", W, _head_with(**_steps(2.5, 2, 3))),
    ("N04", "quaternion longer than 1 beside a sound sform", W, _head_with(quaternion=[3, 0, 0])),
    ("N04", "quaternion NaN beside a sound sform", W, _head_with(quaternion=[NAN, 0, 0])),
    ("N04", "position of the qform NaN beside a sound sform", W, _head_with(qoffset=[NAN, 0, 0])),
    ("N05", "both codes 0, both forms filled", W, _head_with(qform_code=0, sform_code=0)),
    ("N05", "both codes 0, both forms empty", W,
     _head_with(qform_code=0, sform_code=0, srow=[0] * 12, qoffset=[0, 0, 0])),
    ("N05", "both codes negative", W, _head_with(qform_code=-1, sform_code=-1)),
    ("N06", "sheared by 0.005", W, _srow(2, [0, 0.015, 3])),
    ("N06", "sheared by 0.02", W, _srow(2, [0, 0.06, 3])),
    ("N06", "slices tilted by 20 degrees", W, _srow(2, [0, 1.026, 2.819])),
    ("N06", "singular: an axis of length 0", R, _srow(0, [0, 0, 0])),
    ("N06", "singular: sform all zero", R, _head_with(qform_code=0, srow=[0] * 12)),
    ("N06", "singular: two axes alike", R, _srow(1, [2, 0, 0])),
    ("N06", "NaN in the sform", R, _srow(1, [0, NAN, 0])),
    ("N06", "infinity in the sform", R, _srow(1, [0, INF, 0])),
    ("N06", "NaN in the position", R, _srow(3, [NAN, 0, 0])),
    ("N06", "only a qform, its quaternion longer than 1", R, _q_only(quaternion=[3, 0, 0])),
    ("N06", "only a qform, its quaternion NaN", R, _q_only(quaternion=[NAN, 0, 0])),
    ("N07", "voxel size 0, only a qform", R, _q_only(**_steps(0, 2, 3))),
    ("N07", "voxel size negative, only a qform", R, _q_only(**_steps(2, -2, 3))),
    ("N07", "voxel size NaN, only a qform", R, _q_only(**_steps(2, 2, NAN))),
    ("N07", "voxel size infinite, both codes 0", R, _q_only(qform_code=0, **_steps(2, INF, 3))),
    ("N07", "voxel size 0 beside a sound sform", W, _head_with(**_steps(0, 2, 3))),
    ("N07", "voxel size NaN beside a sound sform", W, _head_with(**_steps(2, NAN, 3))),
    ("N07", "lengths in metres", W, _scaled(1e-3, 1)),
    ("N07", "lengths in micrometres", W, _scaled(1e3, 3)),
    ("N07", "no unit of length", W, _head_with(units=0)),
    ("N07", "a unit of length that does not exist", W, _head_with(units=5)),
    ("N08", "slope 0 with an intercept", W, _head_with(slope=0, inter=9)),
    ("N08", "slope NaN", W, _head_with(slope=NAN)),
    ("N08", "slope infinite", W, _head_with(slope=INF)),
    ("N08", "intercept NaN", W, _head_with(slope=2, inter=NAN)),
    ("N08", "intercept minus infinity", W, _head_with(inter=-INF)),
    ("N09", "one voxel NaN", W, _as("f4", (3, 3, 3), NAN)),
    ("N09", "one voxel infinite", W, _as("f4", (3, 3, 3), INF)),
    ("N09", "one voxel minus infinity", W, _as("f8", (3, 3, 3), -INF)),
    ("N09", "every voxel NaN", W, _as("f4", (), NAN)),
    ("N09", "label with a voxel NaN", R, _as("f4", (3, 3, 3), NAN)),
    ("N09", "label with a voxel infinite", R, _as("f4", (3, 3, 3), INF)),
    ("N10", "4-D: two volumes", R, _cloned((*SHAPE, 2))),
    ("N10", "5-D: a vector for each voxel", R, _cloned((*SHAPE, 1, 3))),
    ("N10", "a fourth axis of 1", A, _cloned((*SHAPE, 1))),
    ("N10", "fourth and fifth axis of 1", A, _cloned((*SHAPE, 1, 1))),
    ("N10", "RGB voxels", R, _odd(128, 24)),
    ("N10", "RGBA voxels", R, _odd(2304, 32)),
    ("N10", "complex64 voxels", R, _odd(32, 64)),
    ("N10", "complex128 voxels", R, _odd(1792, 128)),
    ("N10", "float128 voxels", R, _odd(1536, 128)),
    ("N10", "complex256 voxels", R, _odd(2048, 256)),
    ("N10", "voxels of one bit", R, _odd(1, 1)),
    ("N10", "voxels of no stated kind", R, _odd(0, 16)),
    ("N10", "voxels of a kind that does not exist", R, _odd(9999, 16)),
    ("N11", "no dimensions", R, _head_with(dim=[0, *SHAPE, 1, 1, 1, 1])),
    ("N11", "eight dimensions", R, _head_with(dim=[8, *SHAPE, 1, 1, 1, 1])),
    ("N11", "minus three dimensions", R, _head_with(dim=[-3, *SHAPE, 1, 1, 1, 1])),
    ("N11", "first axis of 0", R, _head_with(dim=[3, 0, 14, 10, 1, 1, 1, 1])),
    ("N11", "third axis of 0", R, _head_with(dim=[3, 12, 14, 0, 1, 1, 1, 1])),
    ("N11", "second axis negative", R, _head_with(dim=[3, 12, -14, 10, 1, 1, 1, 1])),
    ("N11", "first axis -1, as FreeSurfer marks surfaces", R, _head_with(dim=[3, -1, 1, 1, 1, 1, 1, 1])),
    ("N12", "opposite byte order", A, _big),
    ("N12", "size of the header in one byte order, the rest in the other", R,
     lambda a: {".nii": _file(a)[:4] + _big(a)[".nii"][4:]}),
    ("N12", "size of the header 0", R, _head_with(sizeof_hdr=0)),
    ("N12", "size of the header 347", R, _head_with(sizeof_hdr=347)),
    ("N12", "NIfTI-1 that states the header size of NIfTI-2", R, _head_with(sizeof_hdr=540)),
    ("N12", "no mark (ANALYZE 7.5)", R, _head_with(magic=bytes(4))),
    ("N12", "mark of a pair in a single file", R, _head_with(magic=b"ni1\0")),
    ("N12", "mark of a version that does not exist", R, _head_with(magic=b"n+3\0")),
    ("N12", "NIfTI-2 changed by a transfer as text", R, _head_with(two=True, magic=b"n+2\0\n\x1a\n\0")),
    ("N12", "voxels at byte 0", R, _head_with(vox_offset=0)),
    ("N12", "voxels at byte 348, inside the header", R, _head_with(vox_offset=348)),
    ("N12", "voxels at byte 352.5", R, _head_with(vox_offset=352.5)),
    ("N12", "voxels at byte NaN", R, _head_with(vox_offset=NAN)),
    ("N12", "voxels before the file", R, _head_with(vox_offset=-16)),
    ("N12", "voxels beyond the end", R, _head_with(vox_offset=1e6)),
    ("N12", "8 bits for voxels of 16", R, _head_with(bitpix=8)),
    ("N12", "0 bits for voxels of 16", W, _head_with(bitpix=0)),
    ("N13", ".hdr without .img", R, _pair(lambda b: {})),
    ("N13", ".img of another name", R, _pair(lambda b: {"_copy.img": b})),
    ("N13", ".img and .img.gz, which may differ", R, _pair(lambda b: {".img": b, ".img.gz": _gz(b)})),
    ("N13", "a name of a person in an extension", A, _extended(64)),
    ("N13", "an extension that states an impossible size", A, _extended(7)),
    ("N15", "label of 0.9999", R, _as("f4", (3, 3, 3), 0.9999)),
    ("N15", "label of 0.5", R, _as("f8", (3, 3, 3), 0.5)),
    ("N15", "label of 3000000000 as a float", R, _as("f8", (3, 3, 3), 3e9)),
    ("N15", "label of 4000000000", R, _as("u4", (3, 3, 3), 4_000_000_000)),
    ("N15", "label of 2^40", R, _as("i8", (3, 3, 3), 2**40)),
    ("N15", "labels that scaling turns into fractions", R, _head_with(slope=0.5)),
    ("N15", "labels that are whole but stored as floats", A, _as("f4")),
]  # fmt: skip
_NUMBER = {id(one): [o[0] for o in LISTED[:n]].count(one[0]) for n, one in enumerate(LISTED)}
DEFECTS = sorted(LISTED, key=lambda one: (_NUMBER[id(one)], one[0]))
# (row, defect, outcome, maker), rows in turn.
