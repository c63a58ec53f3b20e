"""fastMRI-style HDF5: fully or partly sampled Cartesian k-space, centred and unitary, kept as complex64.

Data sets: `kspace` (slice, coil, H, W) or (slice, H, W); optional `mask` (W,) or (H, W), `reconstruction_rss`
(slice, h, w) magnitude (without an axis of coils `reconstruction_esc` first), `sensitivity_maps` (slice, coil, H, W) or
(coil, H, W). Phase encoding is the last axis. k = fftshift(fft2(ifftshift(x), norm="ortho")), as in fastMRI.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.image import Array, Measurement
from hilum.io._guard import reading, same
from hilum.io._raw import hdf5

CARD = {
    "extensions": [".h5", ".hdf5"],
    "reads": "measurement",
    "writes": ["measurement"],
    "magic": [[0, b"\x89HDF\r\n\x1a\n"]],
    "recognises": True,
    "about": "MR k-space as fastMRI-style HDF5",
}
TARGETS = ("reconstruction_rss", "reconstruction_esc")
# The second is what fastMRI compares single-coil reconstructions with; such files hold both.


def recognises(path: Path) -> bool:
    """Every HDF5 file that is no ISMRMRD file: one without `kspace`, or damaged, is told so when it is read."""
    from hilum.io import ismrmrd

    return not ismrmrd.recognises(path)


def count(path: Path) -> int:
    """How many slices a file holds, without reading them."""
    import h5py

    with reading(Path(path)), h5py.File(path, "r") as file:
        return int(_kspace(Path(path), file).shape[0])


def read(path: Path, slice: int | None = None) -> Measurement:
    """One slice with axes (coil, ky, kx) or, with slice=None, all of them with axes (slice, coil, ky, kx).

    operator: {"name": "fourier", "mask": (W,) or (H, W) float32, "maps": (..., coil, H, W) complex64 or None}.
    target: magnitude (1, h, w) for one slice, (slice, h, w) for all, or None.
    Refused: no `kspace`, linked data, contradicting shapes (HIL-IO-08), NaN (HIL-N09), no such slice (HIL-IO-07).
    """
    import h5py

    path = Path(path)
    with reading(path), h5py.File(path, "r") as file:
        data = _kspace(path, file)
        if slice is not None and not 0 <= slice < data.shape[0]:
            raise HilumError(
                "HIL-IO-07", f"{path} has slices 0 to {data.shape[0] - 1}, not {slice}", "Choose one of them"
            )
        array = hdf5.load(data, slice, np.complex64)
        hdf5.finite(array, f"{path}: `kspace`")
        if data.ndim == 3:
            array = np.expand_dims(array, -3)
        maps = _maps(path, file, data.shape, slice, array.shape)
        picture = _target(path, file, data.shape, slice)
        operator = {"name": "fourier", "mask": _mask(path, file, array.shape), "maps": maps}
        part = None if slice is None else int(slice)
        meta = {"path": str(path), "format": "kspace", "slice": part, "slices": int(data.shape[0])}
        axes = ("coil", "ky", "kx") if slice is not None else ("slice", "coil", "ky", "kx")
        return Measurement(array, axes, operator, picture, meta=meta)


def write(path: Path, measurement: Measurement) -> None:
    """Write a measurement with axes (slice, coil, ky, kx) or (coil, ky, kx); read back and compared before it appears.

    The same measurement gives the same bytes. Refused: other axes, a mask that is not of 0 and 1, a complex target
    (HIL-IO-04), anything that reads back differently (HIL-IO-05).
    """
    import h5py

    path = Path(path)
    array = np.asarray(measurement.array, dtype=np.complex64)
    if measurement.axes not in (("slice", "coil", "ky", "kx"), ("coil", "ky", "kx")):
        raise HilumError("HIL-IO-04", f"{path.name}: axes {measurement.axes}", "Give (slice, coil, ky, kx)")
    array = array.reshape((-1, *array.shape[-3:]))
    mask, maps, target = _held(path, measurement, array.shape)
    with writing(path) as part:
        with h5py.File(part, "w", track_order=False) as file:
            file.create_dataset("kspace", data=array, track_times=False)
            if not mask.all():
                file.create_dataset("mask", data=mask, track_times=False)
            if maps is not None:
                file.create_dataset("sensitivity_maps", data=maps, track_times=False)
            if target is not None:
                file.create_dataset("reconstruction_rss", data=target, track_times=False)
        seen = read(part)
        same(path, array, seen.array)
        same(path, np.broadcast_to(mask, array.shape[-2:]), np.broadcast_to(seen.operator["mask"], array.shape[-2:]))
        if maps is not None:
            same(path, np.broadcast_to(maps, array.shape), seen.operator["maps"])
        if target is not None:
            assert seen.target is not None
            same(path, target, seen.target)


def _held(path: Path, measurement: Measurement, shape: tuple[int, ...]) -> tuple[Array, Array | None, Array | None]:
    """Mask, maps and target as the file holds them; refused where it would hold something else (HIL-IO-04)."""
    mask, maps = measurement.operator.get("mask"), measurement.operator.get("maps")
    mask = np.ones(shape[-1], np.float32) if mask is None else np.asarray(mask, np.float32)
    last = mask.shape[-2:]
    fits = last in (shape[-1:], (1, shape[-1]), shape[-2:]) and mask.size == math.prod(last)
    if not fits or not np.isin(mask, (0, 1)).all():
        raise HilumError(
            "HIL-IO-04", f"{path.name}: a mask {mask.shape} with the values {np.unique(mask)[:5].tolist()}",
            "Give 0 and 1, (W,) or (H, W)",
        )  # fmt: skip
    if maps is not None:
        maps = np.asarray(maps, np.complex64).reshape((-1, *shape[1:]))
    target = measurement.target
    if target is not None and np.iscomplexobj(target):
        raise HilumError("HIL-IO-04", f"{path.name}: a complex target", "Give its magnitude")
    return mask.reshape(last), maps, None if target is None else np.asarray(target, np.float32)


def _kspace(path: Path, file: Any) -> Any:
    data = hdf5.dataset(file, "kspace")
    if data is None or data.ndim not in (3, 4) or data.dtype.kind != "c" or 0 in data.shape:
        seen = "" if data is None else f", but {data.dtype} {data.shape}"
        raise HilumError(
            "HIL-IO-08", f"{path} has no complex `kspace` (slice, coil, H, W){seen}", f"It has: {_inside(file)}"
        )
    return data


def _inside(file: Any) -> str:
    return ", ".join(sorted(file.keys())[:10]) or "nothing"


def _target(path: Path, file: Any, stored: tuple[int, ...], slice: int | None) -> Array | None:
    """Magnitude (slice, h, w), or (1, h, w) of one slice, or None."""
    names = TARGETS if len(stored) == 4 else TARGETS[::-1]
    target = next((found for name in names if (found := hdf5.dataset(file, name)) is not None), None)
    if target is None:
        return None
    if target.ndim != 3 or target.shape[0] != stored[0] or target.dtype.kind not in "fiu":
        raise HilumError(
            "HIL-IO-08", f"{path}: target {target.dtype} {target.shape} beside k-space {stored}", "Export it again"
        )
    picture = hdf5.load(target, slice, np.float32)
    hdf5.finite(picture, f"{path}: the target")
    return picture if slice is None else picture[None]


def _mask(path: Path, file: Any, shape: tuple[int, ...]) -> Array:
    """Sampling (W,) or (H, W) float32; where the file states none, every column counts as sampled."""
    stored = hdf5.dataset(file, "mask")
    if stored is None:
        return np.ones(shape[-1], dtype=np.float32)
    wanted = ((shape[-1],), tuple(shape[-2:]))
    # with axes of length 1 a mask still has no more values than one picture
    fits = stored.dtype.kind in "biuf" and stored.size <= shape[-2] * shape[-1]
    mask = np.squeeze(np.asarray(stored)) if fits else np.empty(0)
    mask = mask.reshape(shape[-1]) if shape[-1] == 1 and mask.size == 1 else mask
    if mask.shape not in wanted:
        raise HilumError(
            "HIL-IO-08", f"{path}: mask {stored.dtype} {stored.shape} for k-space {shape}", "Export it again"
        )
    return (mask != 0).astype(np.float32)


def _maps(path: Path, file: Any, stored: tuple[int, ...], slice: int | None, shape: tuple[int, ...]) -> Array | None:
    """Coil maps with the shape of the k-space that is returned, or None."""
    maps = hdf5.dataset(file, "sensitivity_maps")
    if maps is None:
        return None
    fits = maps.ndim == 3 or (maps.ndim == 4 and maps.shape[0] in (1, stored[0]))
    if not fits or maps.shape[-3:] != shape[-3:] or maps.dtype.kind not in "cf":
        raise HilumError(
            "HIL-IO-08", f"{path}: maps {maps.dtype} {maps.shape} beside k-space {stored}", "Export it again"
        )
    per_slice = maps.ndim == 4 and maps.shape[0] == stored[0]
    array = hdf5.load(maps, slice if per_slice else None, np.complex64)
    hdf5.finite(array, f"{path}: `sensitivity_maps`")
    if slice is not None and array.ndim == 4:
        array = array[0]
    return np.broadcast_to(array, shape).copy() if array.shape != shape else array
