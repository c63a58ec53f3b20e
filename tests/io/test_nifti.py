"""NIfTI: what is written is what is read; what is unclear is refused or warned about by name."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import nifti

OBLIQUE = np.array([[0.0, -1.2, 0.3, 5.0], [1.0, 0.0, 0.0, -7.5], [0.0, 0.3, 1.2, 90.25], [0, 0, 0, 1]])


def volume(dtype: str = "int16", shape: tuple[int, ...] = (5, 6, 7)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "with.dots and spaces.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32", "float64"])
def test_read_write_read_keeps_everything(tmp_path: Path, name: str, dtype: str) -> None:
    image = Image(volume(dtype)[None], OBLIQUE)
    nifti.write(tmp_path / name, image)
    seen = nifti.read(tmp_path / name)
    assert seen.array.dtype == np.dtype(dtype) or dtype in ("int16", "uint16")
    np.testing.assert_array_equal(seen.array, image.array)
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-5)
    assert seen.warnings == ()
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_same_volume_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        nifti.write(tmp_path / name, Image(volume()[None], OBLIQUE))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_nibabel_agrees(tmp_path: Path) -> None:
    image = Image(volume()[None], OBLIQUE)
    nifti.write(tmp_path / "a.nii.gz", image)
    other = nibabel.Nifti1Image.from_filename(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(other.dataobj), image.array[0])
    np.testing.assert_allclose(other.affine, OBLIQUE, atol=1e-5)


def test_labels_are_whole_numbers(tmp_path: Path) -> None:
    labels = volume("int64") * 300
    nifti.write(tmp_path / "l.nii.gz", Mask(labels, {300: "a"}, OBLIQUE))
    seen = nifti.read_labels(tmp_path / "l.nii.gz")
    assert seen.array.dtype == np.int32
    np.testing.assert_array_equal(seen.array[0], labels)


def test_n15_fractions_in_labels_are_refused(tmp_path: Path) -> None:
    array = volume("float32")
    array[0, 0, 0] = 0.9999
    nifti.write(tmp_path / "l.nii", Image(array[None], OBLIQUE))
    with pytest.raises(HilumError, match=r"l\.nii.*0\.9999.*HIL-N15"):
        nifti.read_labels(tmp_path / "l.nii")


def test_n09_nan_is_kept_in_images_and_refused_in_labels(tmp_path: Path) -> None:
    array = volume("float32")
    array[0, 0, 0] = np.nan
    nifti.write(tmp_path / "a.nii", Image(array[None], OBLIQUE))
    seen = nifti.read(tmp_path / "a.nii")
    assert np.isnan(seen.array).sum() == 1 and "HIL-N09" in seen.warnings[0]
    with pytest.raises(HilumError, match="HIL-N09"):
        nifti.read_labels(tmp_path / "a.nii")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_n01_cut_files_are_refused(tmp_path: Path, name: str, share: float) -> None:
    nifti.write(tmp_path / name, Image(volume(shape=(9, 9, 9))[None], OBLIQUE))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(HilumError, match=r"HIL-(N01|N02|N03)"):
        nifti.read(tmp_path / name)


def test_n02_bad_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.nii.gz"
    nifti.write(path, Image(volume()[None], OBLIQUE))
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(bytes(raw))
    with pytest.raises(HilumError, match="HIL-N02"):
        nifti.read(path)


def test_n03_a_bomb_is_refused_before_allocating(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header()
    header.set_data_shape((32000, 32000, 32000))
    header["magic"], header["vox_offset"] = b"n+1", 352
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(header.binaryblock + bytes(4 + 100_000)))
    with pytest.raises(HilumError, match="HIL-N03"):
        nifti.read(tmp_path / "a.nii.gz")


def save(path: Path, array: np.ndarray, affine: np.ndarray | None, sform: int, qform: int) -> None:
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, sform)
    image.set_qform(np.diag([1.0, 1.0, 2.0, 1.0]) if qform else None, qform)
    raw = bytearray(image.to_bytes())
    raw[80:92] = np.array([1, 1, 2], np.float32).tobytes()
    path.write_bytes(bytes(raw))


def test_n05_no_codes_is_a_named_warning(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", volume(), None, 0, 0)
    seen = nifti.read(tmp_path / "a.nii")
    assert seen.spacing == (1.0, 1.0, 2.0) and "HIL-N05" in seen.warnings[0]


def test_n04_forms_that_differ_are_a_warning_that_states_the_rule(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", volume(), OBLIQUE, 1, 1)
    seen = nifti.read(tmp_path / "a.nii")
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-5)
    assert "HIL-N04" in seen.warnings[0] and "sform is used" in seen.warnings[0]


@pytest.mark.parametrize("cell", [np.nan, 0.0])
def test_n06_unusable_affines_are_refused(tmp_path: Path, cell: float) -> None:
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 0] = cell
    image = nibabel.Nifti1Image(volume(), np.eye(4))
    image.header["srow_x"] = affine[0]
    image.header["sform_code"], image.header["qform_code"] = 1, 0
    raw = bytearray(image.to_bytes())
    raw[280:296] = np.float32(affine[0]).tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    with pytest.raises(HilumError, match=r"a\.nii.*HIL-N06"):
        nifti.read(tmp_path / "a.nii")


@pytest.mark.parametrize("shape", [(4, 5, 6, 1), (4, 5, 6, 1, 1)])
def test_n10_trailing_ones_are_squeezed(tmp_path: Path, shape: tuple[int, ...]) -> None:
    nibabel.Nifti1Image(volume(shape=shape), np.eye(4)).to_filename(tmp_path / "a.nii")
    assert nifti.read(tmp_path / "a.nii").shape == (4, 5, 6)


@pytest.mark.parametrize("array", [volume(shape=(4, 5, 6, 2)), volume("complex64")])
def test_n10_series_and_complex_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    nibabel.Nifti1Image(array, np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(HilumError, match="HIL-N10"):
        nifti.read(tmp_path / "a.nii")


def test_n10_rgb_is_refused(tmp_path: Path) -> None:
    rgb = np.zeros((3, 3, 3), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(rgb, np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(HilumError, match="HIL-N10"):
        nifti.read(tmp_path / "a.nii")


@pytest.mark.parametrize(("slope", "inter", "dtype"), [(1, -1024, "int32"), (0.5, 3, "float32"), (0, 9, "int16")])
def test_scaling_is_applied_once(tmp_path: Path, slope: float, inter: float, dtype: str) -> None:
    image = nibabel.Nifti1Image(volume(), np.eye(4))
    raw = bytearray(image.to_bytes())
    raw[112:120] = np.array([slope, inter], np.float32).tobytes()
    (tmp_path / "a.nii").write_bytes(bytes(raw))
    seen = nifti.read(tmp_path / "a.nii")
    wanted = volume() * slope + inter if slope else volume()
    assert seen.array.dtype == dtype
    np.testing.assert_array_equal(seen.array[0], wanted)


def test_big_endian_and_extensions_are_read(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(volume(">i2"), np.eye(4), nibabel.Nifti1Header(endianness=">"))
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a note"))
    image.to_filename(tmp_path / "a.nii")
    seen = nifti.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(seen.array[0], volume())
    assert seen.array.dtype.isnative


def test_a_region_keeps_its_place(tmp_path: Path) -> None:
    image = Image(volume()[None], OBLIQUE)
    nifti.write(tmp_path / "a.nii", image)
    seen = nifti.read(tmp_path / "a.nii", (slice(1, 4), slice(2, 6), slice(3, 5)))
    np.testing.assert_array_equal(seen.array, image.array[:, 1:4, 2:6, 3:5])
    assert seen.affine is not None
    np.testing.assert_allclose(seen.affine @ [0, 0, 0, 1], OBLIQUE @ [1, 2, 3, 1], atol=1e-5)


def test_pictures_without_a_place_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="HIL-IO-04"):
        nifti.write(tmp_path / "a.nii", Image(volume()[None]))
    assert not list(tmp_path.iterdir())
