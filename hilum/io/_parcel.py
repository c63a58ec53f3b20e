"""What a decoder gives, as JSON and descriptors of shared memory, and back: nothing that could run code."""

import base64
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.findings import Mask
from hilum.core.image import Array, Image, Measurement, Table
from hilum.io import _buffer

INLINE = 1 << 10
# Arrays of up to so many bytes (affines, masks of a few lines) travel in the JSON itself.
MAPPED = 64
# Shared buffers in use at a time: each takes descriptors here and there; arrays beyond are copied.
FIELDS: dict[str, tuple[type, tuple[str, ...]]] = {
    "image": (Image, ("array", "affine", "warnings", "meta")),
    "measurement": (
        Measurement, ("array", "axes", "operator", "target", "target_affine", "warnings", "meta"),
    ),
    "mask": (Mask, ("array", "classes", "affine", "instances", "stacked")),
    "table": (Table, ("rows",)),
}  # fmt: skip


def pack(value: Any, handles: list[int]) -> Any:
    """Plain data for JSON; descriptors of the arrays' memory are appended to `handles`."""
    if isinstance(value, np.ndarray):
        return {"~": "array", "of": _array(value, handles)}
    for name, (kind, fields) in FIELDS.items():
        if isinstance(value, kind):
            return {"~": name, "of": {f: pack(getattr(value, f), handles) for f in fields}}
    if isinstance(value, tuple):
        return {"~": "tuple", "of": [pack(v, handles) for v in value]}
    if isinstance(value, list):
        return [pack(v, handles) for v in value]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "items"):
        # keys may be numbers (class values), which JSON would turn into words
        return {"~": "dict", "of": [[pack(k, handles), pack(v, handles)] for k, v in value.items()]}
    return value


def _array(array: Array, handles: list[int]) -> dict[str, Any]:
    if array.nbytes <= INLINE:
        data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
        return {"shape": list(array.shape), "dtype": array.dtype.str, "data": data}
    found = _buffer.find(array)
    if found is None:
        # not decoded into shared memory: copied there, in the order in which it lies
        flat = np.asfortranarray if array.flags.f_contiguous and not array.flags.c_contiguous else np.ascontiguousarray
        source = flat(array)
        copy = _buffer.empty((source.nbytes,), np.uint8)
        copy[:] = source.ravel(order="K").view(np.uint8)
        array = np.ndarray(source.shape, source.dtype, copy.data, 0, source.strides)
        found = _buffer.find(array)
        assert found is not None
    handle, offset = found
    if handle not in handles:
        handles.append(handle)
    facts = {"shape": list(array.shape), "dtype": array.dtype.str, "strides": list(array.strides)}
    return facts | {"offset": offset, "handle": handles.index(handle)}


def unpack(value: Any, handles: list[int], names: list[int], unused: list[int]) -> Any:
    """What was packed; every descriptor is mapped and closed.

    names: what the worker calls the descriptors. Each is put into `unused` once no array looks at its memory any more,
    as ~name where a process forked since may still look.
    """
    try:
        # private: what we or a forked child write into an array is seen by nobody else
        options = {"flags": mmap.MAP_PRIVATE, "prot": mmap.PROT_READ | mmap.PROT_WRITE}
        maps = [mmap.mmap(handle, os.fstat(handle).st_size, **options) for handle in handles]
    finally:
        for handle in handles:
            os.close(handle)
    for one, name in zip(maps, names, strict=True):
        _living[id(one)] = None
        weakref.finalize(one, _gone, id(one), unused, name, _forks).atexit = False
    return _unpacked(value, maps, len(_living) > MAPPED)


_living: dict[int, None] = {}
# By id, the maps that arrays look at.
_forks = 0


def _gone(key: int, unused: list[int], name: int, forks: int) -> None:
    del _living[key]
    unused.append(name if forks == _forks else ~name)


def _forked() -> None:
    global _forks
    _forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_forked)


def _unpacked(value: Any, maps: list[mmap.mmap], copied: bool) -> Any:
    if isinstance(value, list):
        return [_unpacked(v, maps, copied) for v in value]
    if not isinstance(value, dict):
        return value
    kind, inner = value["~"], value["of"]
    if kind == "array":
        if "data" in inner:
            return np.frombuffer(bytearray(base64.b64decode(inner["data"])), inner["dtype"]).reshape(inner["shape"])
        where = maps[inner["handle"]]
        array = np.ndarray(tuple(inner["shape"]), inner["dtype"], where, inner["offset"], tuple(inner["strides"]))
        return array.copy(order="K") if copied else array
    if kind == "tuple":
        return tuple(_unpacked(v, maps, copied) for v in inner)
    if kind == "dict":
        return {_unpacked(k, maps, copied): _unpacked(v, maps, copied) for k, v in inner}
    make, _ = FIELDS[kind]
    return make(**{name: _unpacked(part, maps, copied) for name, part in inner.items()})


def pack_options(options: dict[str, Any]) -> dict[str, Any]:
    """Options of a reader as JSON: regions as their ends, an Image as its grid and origin without its pixels."""
    return {name: _option(value) for name, value in options.items()}


def _option(value: Any) -> Any:
    if isinstance(value, Image):
        affine = None if value.affine is None else np.asarray(value.affine).tolist()
        return {"~grid": [list(value.shape), affine, dict(value.meta)]}
    if isinstance(value, slice):
        return {"~slice": [value.start, value.stop, value.step]}
    if isinstance(value, tuple | list):
        return [_option(v) for v in value]
    return str(value) if isinstance(value, Path) else value


def unpack_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options that `pack_options` packed; sequences become tuples."""
    return {name: _asked(value) for name, value in options.items()}


def _asked(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_asked(v) for v in value)
    if isinstance(value, dict) and "~slice" in value:
        return slice(*value["~slice"])
    if isinstance(value, dict) and "~grid" in value:
        shape, affine, meta = value["~grid"]
        empty = np.broadcast_to(np.uint8(0), (1, *shape))
        return Image(empty, None if affine is None else np.array(affine), meta=meta)
    return value
