"""k-space files: what is written is what is read, whole or slice by slice."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Measurement
from hilum.io import _buffer, kspace
from hilum.io import open as open_path

RNG = np.random.default_rng(0)


def measurement() -> Measurement:
    array = (RNG.normal(size=(3, 2, 8, 6)) + 1j * RNG.normal(size=(3, 2, 8, 6))).astype(np.complex64)
    mask = np.array([1, 0, 1, 1, 0, 1], np.float32)
    operator = {"name": "fourier", "mask": mask, "maps": array[:, :, ::-1] * np.complex64(2)}
    return Measurement(array, ("slice", "coil", "ky", "kx"), operator, np.abs(array[:, 0]))


def test_round_trip(tmp_path: Path) -> None:
    wanted = measurement()
    kspace.write(tmp_path / "a.h5", wanted)
    seen = kspace.read(tmp_path / "a.h5")
    assert seen.axes == wanted.axes and kspace.count(tmp_path / "a.h5") == 3
    np.testing.assert_array_equal(seen.array, wanted.array)
    np.testing.assert_array_equal(seen.operator["mask"], wanted.operator["mask"])
    np.testing.assert_array_equal(seen.operator["maps"], wanted.operator["maps"])
    assert seen.target is not None
    one = open_path(tmp_path / "a.h5", part=1).read()
    assert isinstance(one, Measurement) and one.axes == ("coil", "ky", "kx") and one.target is not None
    np.testing.assert_array_equal(one.array, wanted.array[1])
    np.testing.assert_array_equal(one.operator["maps"], wanted.operator["maps"][1])
    np.testing.assert_array_equal(one.target, seen.target[1:2])


@pytest.mark.parametrize(
    ("operator", "target"),
    [
        ({"mask": np.array([1, 0.5, 1, 1, 0, 1], np.float32)}, None),
        ({"mask": np.full(6, 0.5, np.float32)}, None),
        ({"mask": np.array([1, np.nan, 1, 1, 0, 1], np.float32)}, None),
        ({"mask": np.zeros((8, 1), np.float32)}, None),
        ({"mask": np.ones((3, 1, 6), np.float32)}, None),
        ({}, np.ones((3, 8, 6), np.complex64)),
    ],
    ids=["weights", "one weight", "nan", "rows", "slice by slice", "complex target"],
)
def test_what_would_be_read_back_as_something_else_is_not_written(
    tmp_path: Path, operator: dict[str, Any], target: Any
) -> None:
    wanted = Measurement(measurement().array, ("slice", "coil", "ky", "kx"), {"name": "fourier", **operator}, target)
    with pytest.raises(HilumError, match=r"a\.h5.*HIL-IO-04"):
        kspace.write(tmp_path / "a.h5", wanted)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", ["_mask", "_maps", "_target"])
def test_nothing_appears_where_mask_maps_or_target_read_back_differently(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    true = getattr(kspace, part)
    monkeypatch.setattr(kspace, part, lambda *given: np.roll(true(*given), 1, axis=-1))
    with pytest.raises(HilumError, match=r"a\.h5.*HIL-IO-05"):
        kspace.write(tmp_path / "a.h5", measurement())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(6,), (1, 6), (8, 6), (1, 1, 6)])
def test_a_mask_of_columns_or_of_a_plane_comes_back(tmp_path: Path, shape: tuple[int, ...]) -> None:
    mask = (np.arange(np.prod(shape)) % 3 > 0).reshape(shape)
    kspace.write(tmp_path / "a.h5", Measurement(measurement().array, ("slice", "coil", "ky", "kx"), {"mask": mask}))
    np.testing.assert_array_equal(kspace.read(tmp_path / "a.h5").operator["mask"], np.squeeze(mask))


def test_single_coil_gains_its_axis(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = measurement().array[:, 0]
    seen = kspace.read(tmp_path / "a.h5")
    assert seen.array.shape == (3, 1, 8, 6) and seen.operator["mask"].all() and seen.operator["maps"] is None
    assert kspace.read(tmp_path / "a.h5", slice=2).array.shape == (1, 8, 6)


@pytest.mark.parametrize(("coils", "value"), [(False, 2), (True, 1)])
def test_one_coil_has_a_target_of_its_own(tmp_path: Path, coils: bool, value: int) -> None:
    """fastMRI puts both into single-coil files and compares with the second."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = measurement().array if coils else measurement().array[:, 0]
        file["reconstruction_rss"] = np.full((3, 8, 6), 1, np.float32)
        file["reconstruction_esc"] = np.full((3, 8, 6), 2, np.float32)
    for seen in (kspace.read(tmp_path / "a.h5"), kspace.read(tmp_path / "a.h5", slice=1)):
        assert seen.target is not None and (seen.target == value).all()


def test_what_is_not_kspace_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["other"] = np.zeros(3)
    with pytest.raises(HilumError, match=r"It has: other.*HIL-IO-08"):
        kspace.read(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["kspace"] = h5py.ExternalLink("a.h5", "other")
    with pytest.raises(HilumError, match="HIL-IO-08"):
        kspace.read(tmp_path / "b.h5")


def test_cut_files_and_wrong_slices_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    kspace.write(path, measurement())
    with pytest.raises(HilumError, match=r"slices 0 to 2, not 3.*HIL-IO-07"):
        kspace.read(path, slice=3)
    whole = path.read_bytes()
    for share in (0, 0.2, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(HilumError, match=r"a\.h5"):
            open_path(path).read()


def test_meta_is_plain_data(tmp_path: Path) -> None:
    kspace.write(tmp_path / "a.h5", measurement())
    meta = dict(kspace.read(tmp_path / "a.h5", slice=np.int64(1)).meta)  # type: ignore[arg-type]
    assert json.loads(json.dumps(meta)) == meta and meta["slice"] == 1


def test_double_precision_becomes_single(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = measurement().array.astype(np.complex128)
    assert kspace.read(tmp_path / "a.h5").array.dtype == np.complex64


def test_n09_nan_is_refused_wherever_it_lies(tmp_path: Path) -> None:
    for name, array in (
        ("kspace", measurement().array.copy()),
        ("sensitivity_maps", measurement().array.copy()),
        ("reconstruction_rss", np.ones((3, 8, 6), np.float32)),
    ):
        array[2, ..., 3, 3] = np.nan
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file[name] = array
            if name != "kspace":
                file["kspace"] = measurement().array
        with pytest.raises(HilumError, match=rf"{name}\.h5.*NaN.*HIL-N09"):
            kspace.read(tmp_path / f"{name}.h5")
        assert kspace.read(tmp_path / f"{name}.h5", slice=0).axes == ("coil", "ky", "kx")


def linked(file: Any, name: str, kind: str) -> None:
    """Values that do not lie in this file under this name."""
    if kind == "soft":
        file["other"] = np.ones((3, 2, 8, 6), np.complex64)
        file[name] = h5py.SoftLink("/other")
    elif kind == "dangling":
        file[name] = h5py.SoftLink("/nothing")
    elif kind == "external link":
        file[name] = h5py.ExternalLink("b.h5", "kspace")
    elif kind == "external values":
        file.create_dataset(name, (3, 2, 8, 6), np.complex64, external=[("/dev/zero", 0, 10**4)])
    elif kind == "group":
        file.create_group(name)
    elif kind == "no values":
        file[name] = h5py.Empty("c8")
    else:
        layout = h5py.VirtualLayout((3, 2, 8, 6), np.complex64)
        layout[:] = h5py.VirtualSource("b.h5", "kspace", (3, 2, 8, 6))
        file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    "kind", ["soft", "dangling", "external link", "external values", "virtual", "group", "no values"]
)
@pytest.mark.parametrize("name", ["kspace", "mask", "sensitivity_maps", "reconstruction_rss"])
def test_n16_values_that_lie_elsewhere_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    """Also a linked mask: without it the slice would pass as fully sampled."""
    kspace.write(tmp_path / "b.h5", measurement())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        linked(file, name, kind)
        if name != "kspace":
            file["kspace"] = measurement().array
    with pytest.raises(HilumError, match=rf"a\.h5.*`{name}`.*HIL-IO-08"):
        kspace.read(tmp_path / "a.h5", slice=0)


GZIP: dict[str, Any] = {"compression": "gzip", "data": np.complex64(0)}


@pytest.mark.parametrize("slice", [None, 0])
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1000, 32, 640, 320), {"chunks": (1, 1, 640, 320)}),
        ((10**5, 32, 640, 320), {"chunks": (1, 1, 640, 320)}),
        ((3, 2, 640, 320), {}),
        ((3, 2, 640, 320), {"chunks": (1, 1, 640, 320), "fillvalue": np.complex64(1)}),
        ((2, 2, 1000, 1000), {"chunks": (1, 1, 1000, 1000), **GZIP}),
        ((1, 1, 2, 2), {"chunks": (1, 1, 2000, 2000), "maxshape": (None,) * 4, **GZIP}),
    ],
)
def test_n03_a_bomb_is_refused_before_allocating(
    tmp_path: Path, shape: tuple[int, ...], options: dict[str, Any], slice: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = options | ({"data": np.broadcast_to(options["data"], shape)} if "data" in options else {})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", shape, np.complex64, **kept)
    assert (tmp_path / "a.h5").stat().st_size < 200_000
    monkeypatch.setattr(_buffer, "empty", lambda *_: pytest.fail("allocated before it was refused"))
    with pytest.raises(HilumError, match=r"a\.h5: `kspace` .* claims \d+ bytes, \d+ are stored.*HIL-IO-08"):
        kspace.read(tmp_path / "a.h5", slice=slice)


def test_compressed_kspace_is_read(tmp_path: Path) -> None:
    array = np.zeros((2, 4, 256, 128), np.complex64)
    array[..., ::8] = (RNG.normal(size=(2, 4, 256, 16)) + 1j).astype(np.complex64)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("kspace", data=array, chunks=(1, 1, 256, 128), compression="gzip", shuffle=True)
    np.testing.assert_array_equal(kspace.read(tmp_path / "a.h5").array, array)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("kspace", np.ones((3, 2, 8, 6), np.float32)),
        ("kspace", np.ones((8, 6), np.complex64)),
        ("kspace", np.ones((0, 2, 8, 6), np.complex64)),
        ("kspace", np.array([b"text"])),
        ("mask", np.ones(7, np.float32)),
        ("mask", np.array([b"abc"] * 6)),
        ("mask", np.ones(1 << 17, np.float32)),
        ("sensitivity_maps", np.ones((2, 2, 8, 6), np.complex64)),
        ("sensitivity_maps", np.ones((2, 9, 6), np.complex64)),
        ("reconstruction_rss", np.ones((2, 8, 6), np.float32)),
        ("reconstruction_rss", np.ones((3, 8, 6), np.complex64)),
    ],
)
def test_contradicting_shapes_and_kinds_are_refused(tmp_path: Path, name: str, array: np.ndarray[Any, Any]) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[name] = array
        if name != "kspace":
            file["kspace"] = measurement().array
    with pytest.raises(HilumError, match=r"a\.h5.*HIL-IO-08"):
        kspace.read(tmp_path / "a.h5")


def test_reading_takes_little_more_memory_than_the_values(tmp_path: Path) -> None:
    array = np.ones((8, 4, 256, 128), np.complex64)
    kspace.write(tmp_path / "a.h5", Measurement(array, ("slice", "coil", "ky", "kx"), {}))
    kspace.read(tmp_path / "a.h5", slice=0)
    tracemalloc.start()
    kspace.read(tmp_path / "a.h5")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.3 * array.nbytes


def test_recognises_leaves_damaged_files_to_its_own_sentence(tmp_path: Path) -> None:
    kspace.write(tmp_path / "a.h5", measurement())
    assert kspace.recognises(tmp_path / "a.h5")
    (tmp_path / "b.h5").write_bytes((tmp_path / "a.h5").read_bytes()[:900])
    assert kspace.recognises(tmp_path / "b.h5")
    with pytest.raises(HilumError, match=r"b\.h5 can not be read.*truncated"):
        open_path(tmp_path / "b.h5").read()
