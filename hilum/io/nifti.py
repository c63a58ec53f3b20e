"""NIfTI-1 and -2, single file, plain or gzipped: read strictly, write and read back.

Array (1, i, j, k) in file order; affine RAS+ mm. Rule for geometry: the sform where its code is above 0, else the
qform, else (both codes 0) only the voxel sizes are known and the image carries a warning.
"""

import gzip
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io._guard import MOST_BYTES, cropped, full_only, labels_of, reading, same, smallest

CARD = {
    "extensions": [".nii", ".nii.gz"],
    "reads": "image",
    "writes": ["image", "mask"],
    "magic": [[344, b"n+1"], [0, b"\x1f\x8b"]],
    "about": "NIfTI volumes in patient millimetres",
}

FORMS_DIFFER_MM = 0.1
# qform and sform farther apart than this at a corner are a contradiction; below it is float32 rounding.
MOST_DEFLATION = 1040
# gzip can not shrink data further than about 1032 times, so a larger claim is a lie.
PLAIN_KINDS = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f2", "f4", "f8"}


def read(path: Path, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
    """One volume (1, i, j, k), native byte order; scaling applied, integers kept where it stays whole.

    Refused: cut or damaged (HIL-N01, N02, N03), 4-D, RGB, complex (N10), singular or sheared (N06).
    Warned: both codes 0 (N05), qform and sform differ (N04), NaN or infinity (N09), odd units or scaling (N07, N08).
    """
    path = Path(path)
    with reading(path):
        full_only(path, level)
        raw, header = _bytes(path)
        affine, warnings, forms = _affine(header)
        array, more = _values(raw, header)
        meta = {"path": str(path), "format": "nifti", **forms}
        return cropped(Image(array[None], affine, tuple(warnings + more), meta), region)


def read_labels(path: Path) -> Image:
    """A label map (1, i, j, k) int32, values exactly as stored; fractions are refused (HIL-N15)."""
    path = Path(path)
    with reading(path):
        return labels_of(read(path))


def write(path: Path, thing: Image | Mask) -> None:
    """Write a one-channel volume or a label map; read back and compared before it appears under `path`."""
    import nibabel

    path = Path(path)
    array, affine = _plain(path, thing)
    volume = nibabel.Nifti1Image(array, affine)
    volume.header.set_xyzt_units("mm")
    volume.set_sform(affine, code=1)
    volume.set_qform(affine, code=1)
    raw = volume.to_bytes()
    with writing(path) as part:
        # mtime 0: the same volume gives the same bytes
        part.write_bytes(gzip.compress(raw, 6, mtime=0) if path.name.endswith(".gz") else raw)
        seen = read(part)
        same(path, array, seen.array[0], affine, seen.affine)


def _plain(path: Path, thing: Image | Mask) -> tuple[Array, Array]:
    """(i, j, k) array and affine of what may be written."""
    array = thing.array
    if isinstance(thing, Mask) and thing.stacked:
        raise HilumError("HIL-IO-04", f"{path.name}: overlapping classes do not fit one label map", "Write each class")
    if isinstance(thing, Image):
        if array.shape[0] != 1:
            raise HilumError("HIL-IO-04", f"{path.name}: {array.shape[0]} channels", "Write one file for each channel")
        array = array[0]
    if thing.affine is None or array.ndim != 3:
        raise HilumError("HIL-IO-04", f"{path.name}: a picture without a place in the patient", "Write .png or .tif")
    if isinstance(thing, Mask) and array.dtype.kind not in "iub":
        raise HilumError("HIL-N15", f"{path.name}: a mask of {array.dtype} values", "Give whole numbers")
    if max(array.shape) > 32767:
        raise HilumError("HIL-N11", f"{path.name}: shape {array.shape} is beyond NIfTI-1's 32767", "Cut it in parts")
    if array.dtype.kind == "c" or array.dtype.itemsize > 8:
        raise HilumError("HIL-N10", f"{path.name}: {array.dtype} values", "Write magnitude and phase apart")
    return np.asfortranarray(smallest(array)), np.asarray(thing.affine)


def _bytes(path: Path) -> tuple[bytes, Any]:
    """The whole decompressed file (checksum verified) and its header; sizes are checked before allocating."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        zipped = stream.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if zipped else open(path, "rb") as stream:
            head = stream.read(540)
            header = _header(path, head)
            shape = [int(n) for n in header.get_data_shape()]
            need = int(header["vox_offset"]) + int(np.prod(shape, dtype=object)) * int(header.get_data_dtype().itemsize)
            if need > min(MOST_BYTES, size * (MOST_DEFLATION if zipped else 1) + 4096) and need > len(head):
                code = "HIL-N03" if zipped else "HIL-N01"
                raise HilumError(code, f"{path} has {size} bytes but speaks of shape {tuple(shape)}", "Copy it again")
            raw = head + stream.read(max(0, need + (1 << 20) - len(head)))
            if stream.read(1):
                raise HilumError("HIL-N02", f"{path} has much data after its last voxel", "Copy or convert it again")
    except EOFError as error:
        raise HilumError("HIL-N01", f"{path} is cut short", "Copy it again, it is incomplete") from error
    except gzip.BadGzipFile as error:
        raise HilumError("HIL-N02", f"{path} is damaged ({error})", "Copy it again") from error
    if len(raw) < need:
        raise HilumError(
            "HIL-N01", f"{path} is cut short: {len(raw)} of {need} bytes", "Copy it again, it is incomplete"
        )
    return raw, header


def _header(path: Path, head: bytes) -> Any:
    """Header of the right version and byte order, as stored (nibabel's silent mending switched off)."""
    import nibabel

    if len(head) < 348:
        raise HilumError("HIL-N01", f"{path} is cut short: {len(head)} bytes", "Copy it again, it is incomplete")
    sizes = {int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big")}
    kind: Any = nibabel.Nifti2Header if 540 in sizes else nibabel.Nifti1Header
    if not sizes & {348, 540}:
        raise HilumError("HIL-N12", f"{path} is not NIfTI: its header size reads {min(sizes)}", "Convert it again")
    header = kind(head[: kind.sizeof_hdr], check=False)
    magic = bytes(header["magic"].tobytes())[:3]
    if magic not in (b"n+1", b"n+2"):
        raise HilumError(
            "HIL-N12", f"{path} has the mark {magic!r}", "Save it as a single-file NIfTI (.nii or .nii.gz)"
        )
    if not 0 <= int(header["dim"][0]) <= 7 or (header["dim"][1 : int(header["dim"][0]) + 1] < 1).any():
        raise HilumError("HIL-N11", f"{path} has the dimensions {header['dim'].tolist()}", "Mend the header")
    if not np.isfinite(header["vox_offset"]) or header["vox_offset"] < header["sizeof_hdr"]:
        raise HilumError(
            "HIL-N12", f"{path}: voxels at byte {header['vox_offset']}, inside the header", "Convert it again"
        )
    return header


def _values(raw: bytes, header: Any) -> tuple[Array, list[str]]:
    """Voxels (i, j, k) with scaling applied, and warnings."""
    kind: np.dtype[Any] = header.get_data_dtype()
    if kind.str[1:] not in PLAIN_KINDS:
        name = str(header["datatype"]) if kind.names is None else "RGB"
        raise HilumError("HIL-N10", f"The voxels are {name} ({kind}), not plain numbers", "Convert to one real channel")
    shape = tuple(int(n) for n in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        raise HilumError("HIL-N10", f"A series of volumes of shape {shape}", "Pick one volume and save it by itself")
    shape = shape + (1,) * (3 - len(shape))
    offset = int(header["vox_offset"])
    flat = np.frombuffer(raw, dtype=kind, count=int(np.prod(shape)), offset=offset)
    array = flat.reshape(shape, order="F").astype(kind.newbyteorder("="), copy=True)
    warnings: list[str] = []
    slope, inter = float(header["scl_slope"]), float(header["scl_inter"])
    if slope != 0 and not (np.isfinite(slope) and np.isfinite(inter)):
        if np.isinf(slope) or np.isinf(inter):
            warnings.append(f"HIL-N08: scaling {slope} and {inter} is not finite; values are taken as stored")
        slope = 0.0
    if slope != 0 and (slope, inter) != (1.0, 0.0):
        array = _scaled(array, slope, inter)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        warnings.append(f"HIL-N09: {int((~np.isfinite(array)).sum())} voxels are NaN or infinite; they are kept")
    return array, warnings


def _scaled(array: Array, slope: float, inter: float) -> Array:
    """slope * array + inter: integers where exact (CT offsets), else float32, or float64 for wide types."""
    short = array.dtype.kind in "iu" and array.dtype.itemsize <= 2
    if short and slope == 1 and inter == round(inter) and abs(inter) < 2**30:
        return array.astype(np.int32) + np.int32(inter)
    wide = array.dtype.itemsize > 4 or (array.dtype.kind in "iu" and array.dtype.itemsize > 2)
    return (array.astype(np.float64) * slope + inter).astype(np.float64 if wide else np.float32)


def _affine(header: Any) -> tuple[Array, list[str], dict[str, Any]]:
    """Affine by the rule of this file, warnings, and both forms for the record."""
    warnings: list[str] = []
    shape = (*(int(n) for n in header.get_data_shape()), 1, 1, 1)[:3]
    steps = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    usable = bool(np.isfinite(steps).all() and (steps > 0).all())
    s_code, q_code = int(header["sform_code"]), int(header["qform_code"])
    sform = np.asarray(header.get_sform(), dtype=np.float64) if s_code > 0 else None
    qform = np.asarray(header.get_qform(), dtype=np.float64) if q_code > 0 and usable else None
    if sform is None and not usable:
        raise HilumError("HIL-N07", f"The voxel sizes are {steps.tolist()} mm", "Mend the header")
    if not usable:
        warnings.append(f"HIL-N07: the voxel sizes {steps.tolist()} are unusable; the sform gives the geometry")
    if sform is not None:
        affine = sform
    elif qform is not None:
        affine = qform
    else:
        affine = np.diag([*steps, 1.0])
        warnings.append(
            "HIL-N05: sform and qform codes are both 0; only voxel sizes are known, "
            "direction and position are taken as RAS from 0, and labels must not be moved to another grid by it"
        )
    affine = geometry.check_affine(_in_mm(affine, header, warnings))
    if sform is not None and qform is not None:
        far = geometry.corner_distance(sform, shape, qform, shape)
        if far > FORMS_DIFFER_MM:
            warnings.append(f"HIL-N04: sform and qform lie up to {far:.2f} mm apart; the sform is used")
    forms = {"sform": None if sform is None else sform.tolist(), "qform": None if qform is None else qform.tolist()}
    return affine, warnings, forms


def _in_mm(affine: Array, header: Any, warnings: list[str]) -> Array:
    """The affine in mm, whatever length unit the header states (unknown counts as mm, as everywhere)."""
    code = int(header["xyzt_units"]) & 7
    scale = {1: 1000.0, 3: 0.001}.get(code, 1.0)
    if scale != 1.0:
        warnings.append(f"HIL-N07: lengths are in {'metres' if code == 1 else 'micrometres'}; they were turned into mm")
    return np.diag([scale, scale, scale, 1.0]) @ affine
