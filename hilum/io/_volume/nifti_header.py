"""The header of NIfTI-1 and -2, taken as stored: every field that matters is checked, nothing is mended silently.

nibabel knows where the fields lie; its own mending is switched off. What is read is plain data (`Header`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._volume.voxels import three_axes

SHORT, LONG = 348, 540
# Bytes of the header of NIfTI-1 and of NIfTI-2; each header begins with this number.
FORMS_DIFFER_MM = 0.1
# qform and sform farther apart than this at a corner are a contradiction; below it is float32 rounding.
KINDS = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
# The standard's numbers for plain voxels.
ODD_KINDS = {
    0: "of no stated kind", 1: "single bits", 32: "complex64", 128: "RGB colours", 1536: "float128",
    1792: "complex128", 2048: "complex256", 2304: "RGBA colours",
}  # fmt: skip
MAGIC = {b"n+1\0": False, b"ni1\0": True, b"n+2\0": False, b"ni2\0": True}
# Whether the voxels lie in a file of their own.
LENGTH_UNITS = {1: ("metres", 1000.0), 2: ("mm", 1.0), 3: ("micrometres", 0.001)}


@dataclass(frozen=True)
class Header:
    """shape: (i, j, k). kind: of the stored voxels, with byte order. offset: of the first voxel in its file.

    paired: the voxels lie in an .img. slope, inter: to be applied (1, 0 for none). affine: RAS+ mm, as stored, may be
    sheared. meta: plain data for Image.meta.
    """

    shape: tuple[int, ...]
    kind: np.dtype[Any]
    offset: int
    paired: bool
    slope: float
    inter: float
    affine: Array
    warnings: tuple[str, ...]
    meta: dict[str, Any]


def parse(path: Path, head: bytes) -> Header:
    """What the first 540 bytes (348 in a bare .hdr) of a file say.

    Refused: cut short (HIL-N01), impossible affine (N06), no usable voxel sizes (N07), not one volume of plain numbers
    (N10), dimensions that can not be (N11), not a NIfTI header or one that contradicts itself (N12).
    """
    # fields may hold any bits; what is not finite is found and named below
    with np.errstate(all="ignore"):
        return _parsed(path, _fields(path, head))


def _parsed(path: Path, raw: Any) -> Header:
    warnings: list[str] = []
    shape = _shape(path, raw)
    kind = _kind(path, raw, warnings)
    paired = MAGIC[bytes(raw["magic"].tobytes())[:4]]
    offset = _offset(path, raw, paired)
    affine, forms = _affine(raw, shape, warnings)
    slope, inter = _scaling(raw, warnings)
    affine, unit = _in_mm(raw, affine, warnings)
    _possible(affine)
    meta = {"path": str(path), "format": "nifti", "unit": unit, **forms}
    return Header(shape, kind, offset, paired, slope, inter, affine, tuple(warnings), meta)


def newer(head: bytes) -> bool:
    """Whether a file that begins so has the longer header of NIfTI-2."""
    return LONG in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))


def _refuse(path: Path, code: str, seen: str, remedy: str = "Convert the original again") -> HilumError:
    return HilumError(code, f"{path} {seen}", remedy)


def _fields(path: Path, head: bytes) -> Any:
    """The fields of the right version and byte order, as stored."""
    import nibabel

    if len(head) < SHORT:
        raise _refuse(path, "HIL-N01", f"is cut short: {len(head)} bytes", "Copy it again, it is incomplete")
    little, big = int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")
    if not {little, big} & {SHORT, LONG}:
        raise _refuse(path, "HIL-N12", f"is not NIfTI: its header size reads {min(little, big)}, not {SHORT} or {LONG}")
    two = newer(head)
    magic = head[4:8] if two else head[344:348]
    if magic not in MAGIC or (magic[2:3] == b"2") != two:
        remedy = "An ANALYZE 7.5 file says nothing about left and right: convert the original again, to .nii.gz"
        raise _refuse(path, "HIL-N12", f"has the mark {magic!r} of no NIfTI version", remedy)
    if two and head[8:12] != b"\r\n\x1a\n":
        remedy = "Copy it in binary mode"
        raise _refuse(path, "HIL-N12", f"was changed by a transfer as text: its mark ends in {head[8:12]!r}", remedy)
    kind = nibabel.Nifti2Header if two else nibabel.Nifti1Header
    if len(head) < kind.sizeof_hdr:
        raise _refuse(path, "HIL-N01", f"is cut short: {len(head)} bytes", "Copy it again, it is incomplete")
    order = "<" if little in (SHORT, LONG) else ">"
    return kind(head[: kind.sizeof_hdr], endianness=order, check=False)


def _shape(path: Path, raw: Any) -> tuple[int, ...]:
    """(i, j, k)."""
    dim = [int(n) for n in raw["dim"]]
    if not 1 <= dim[0] <= 7:
        swapped = 1 <= int(raw["dim"][0].byteswap()) <= 7
        if swapped:
            raise _refuse(path, "HIL-N12", "mixes two byte orders: its size is in one, its dimensions in the other")
        raise _refuse(path, "HIL-N11", f"has {dim[0]} dimensions, not 1 to 7", "Mend the header")
    sizes = dim[1 : dim[0] + 1]
    if sizes[0] == -1 and min(sizes[1:], default=1) > 0:
        remedy = "Surface data have no voxels; for a volume use mri_convert"
        raise _refuse(path, "HIL-N11", f"has the dimensions {sizes}, FreeSurfer's mark of surface data", remedy)
    if min(sizes) < 1:
        raise _refuse(path, "HIL-N11", f"has the dimensions {sizes}", "Mend the header or leave the file out")
    return three_axes(tuple(sizes))


def _kind(path: Path, raw: Any, warnings: list[str]) -> np.dtype[Any]:
    """The kind of the stored voxels."""
    code, bits = int(raw["datatype"]), int(raw["bitpix"])
    if code not in KINDS:
        what = ODD_KINDS.get(code, f"of the unknown kind {code}")
        raise _refuse(path, "HIL-N10", f"has voxels that are {what}, not plain numbers", "Convert to one real channel")
    kind = np.dtype(raw.endianness + KINDS[code])
    if bits == 0:
        warnings.append(f"HIL-N12: the header names 0 bits for each voxel; {kind.itemsize * 8} follow from its kind")
    elif bits != kind.itemsize * 8:
        seen = f"has voxels of kind {kind.name} but {bits} bits for each"
        raise _refuse(path, "HIL-N12", seen)
    return kind


def _offset(path: Path, raw: Any, paired: bool) -> int:
    """Where the first voxel lies."""
    offset, least = float(raw["vox_offset"]), 0 if paired else int(raw["sizeof_hdr"]) + 4
    if not np.isfinite(offset) or offset != round(offset) or offset < least:
        raise _refuse(path, "HIL-N12", f"puts its voxels at byte {offset:g}; {least} is the first that may be")
    return int(offset)


def _scaling(raw: Any, warnings: list[str]) -> tuple[float, float]:
    """Slope and intercept to apply, by the standard: slope 0 means none."""
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0:
        if inter != 0:
            warnings.append(f"HIL-N08: slope 0 means no scaling, so the intercept {inter:g} is not applied")
        return 1.0, 0.0
    if not (np.isfinite(slope) and np.isfinite(inter)):
        warnings.append(f"HIL-N08: scaling by {slope:g} and {inter:g} is not finite; values are taken as stored")
        return 1.0, 0.0
    return slope, inter


def _affine(raw: Any, shape: tuple[int, ...], warnings: list[str]) -> tuple[Array, dict[str, Any]]:
    """Affine by the rule of nifti.py in the header's unit, and both forms for the record."""
    steps = np.asarray(raw["pixdim"][1:4], dtype=np.float64)
    # an axis of a 2-D image that is not there needs no size
    stored = min(3, int(raw["dim"][0]))
    steps[stored:] = np.where(steps[stored:] > 0, steps[stored:], 1.0)
    usable = bool(np.isfinite(steps).all() and (steps > 0).all())
    sform = np.asarray(raw.get_sform(), dtype=np.float64) if int(raw["sform_code"]) > 0 else None
    if sform is None and not usable:
        raise HilumError("HIL-N07", f"The voxel sizes are {steps.tolist()}", "Mend the header")
    qform = _qform(raw, steps) if int(raw["qform_code"]) > 0 and usable else None
    broken = qform is not None and not np.isfinite(qform).all()
    if broken and sform is None:
        raise HilumError("HIL-N06", f"The qform is impossible: quaternion {_quaternion(raw)}", "Mend the header")
    if not usable:
        warnings.append(f"HIL-N07: the voxel sizes {steps.tolist()} are unusable; the sform gives the geometry")
    if broken:
        warnings.append(f"HIL-N04: the qform is impossible (quaternion {_quaternion(raw)}); the sform is used")
        qform = None
    if sform is not None and qform is not None:
        far = geometry.corner_distance(sform, shape, qform, shape) * _unit(raw)[1]
        if far > FORMS_DIFFER_MM:
            warnings.append(f"HIL-N04: sform and qform lie up to {far:.2f} mm apart; the sform is used")
    if sform is None and qform is None:
        warnings.append(
            "HIL-N05: sform and qform codes are both 0; only voxel sizes are known, "
            "direction and position are taken as RAS from 0, and labels must not be moved to another grid by it"
        )
    used = "sform" if sform is not None else "qform" if qform is not None else "unknown"
    forms = {"sform": None if sform is None else sform.tolist(), "qform": None if qform is None else qform.tolist()}
    chosen = sform if sform is not None else qform if qform is not None else np.diag([*steps, 1.0])
    return chosen, {"geometry": used, **forms}


def _possible(affine: Array) -> None:
    """Refuse an affine that is singular or not finite (HIL-N06), before voxels are read; shear is judged later."""
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= 1e-6 * np.prod(geometry.spacing(affine)):
        geometry.check_affine(affine)


def _quaternion(raw: Any) -> list[float]:
    return [float(raw[name]) for name in ("quatern_b", "quatern_c", "quatern_d")]


def _qform(raw: Any, steps: Array) -> Array:
    """The qform by the standard: qfac is -1 where pixdim[0] is negative, else 1; NaN where it can not be."""
    from nibabel.quaternions import quat2mat

    vector = np.asarray(_quaternion(raw))
    affine = np.eye(4)
    affine[:3, 3] = [float(raw[name]) for name in ("qoffset_x", "qoffset_y", "qoffset_z")]
    length = float(vector @ vector)
    if not np.isfinite(length) or length > 1 + 1e-3:
        return np.full((4, 4), np.nan)
    # beyond 1 by rounding only: a half turn
    quaternion = [np.sqrt(max(0.0, 1 - length)), *(vector / max(1.0, np.sqrt(length)))]
    flip = [1.0, 1.0, -1.0 if float(raw["pixdim"][0]) < 0 else 1.0]
    affine[:3, :3] = quat2mat(np.asarray(quaternion)) * (steps * flip)
    return affine


def _unit(raw: Any) -> tuple[str, float]:
    """The stated unit of length and its mm; an unknown one counts as mm, as everywhere."""
    return LENGTH_UNITS.get(int(raw["xyzt_units"]) & 7, ("unknown", 1.0))


def _in_mm(raw: Any, affine: Array, warnings: list[str]) -> tuple[Array, str]:
    """The affine in mm and the stated unit."""
    name, scale = _unit(raw)
    if name == "unknown":
        warnings.append("HIL-N07: the header names no unit of length; mm are assumed")
    elif scale != 1:
        warnings.append(f"HIL-N07: lengths are in {name}; they were turned into mm")
    return np.diag([scale, scale, scale, 1.0]) @ affine, name


def made(array: Array, affine: Array, placed: bool = True) -> bytes:
    """The 352 bytes in front of the voxels of a single-file NIfTI-1: sform and qform alike, mm, no text of anybody.

    placed: whether it is known where the volume lies; else both codes are 0, and of the affine its steps are stated.
    """
    import nibabel

    header = nibabel.Nifti1Header()
    header.set_data_dtype(array.dtype)
    header.set_data_shape(array.shape)
    header.set_xyzt_units("mm")
    if placed:
        header.set_qform(affine, code=1)
        header.set_sform(affine, code=1)
    else:
        header.set_zooms(geometry.spacing(affine))
    header["magic"], header["vox_offset"] = b"n+1", 352
    header["scl_slope"], header["scl_inter"] = 1, 0
    return bytes(header.binaryblock) + bytes(4)
