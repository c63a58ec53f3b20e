"""k-space files: what is written is what is read, whole or slice by slice."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Measurement
from hilum.io import kspace
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


def test_single_coil_gains_its_axis(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"] = measurement().array[:, 0]
    seen = kspace.read(tmp_path / "a.h5")
    assert seen.array.shape == (3, 1, 8, 6) and seen.operator["mask"].all() and seen.operator["maps"] is None
    assert kspace.read(tmp_path / "a.h5", slice=2).array.shape == (1, 8, 6)


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
