"""NIfTI: what is written is what is read; what is unclear is refused or warned about by name."""

import gzip
import tracemalloc
import zlib
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import _guard, nifti
from hilum.io import open as open_path
from hilum.io._volume import voxels
from hilum.io._volume.stream import packed

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


@pytest.mark.parametrize("form", ["gzip", "zlib"])
def test_what_is_packed_is_what_others_unpack(form: str) -> None:
    parts = [np.random.default_rng(0).integers(0, 4, 9999).astype(np.uint8).tobytes(), b"", b"end"]
    unpack = gzip.decompress if form == "gzip" else zlib.decompress
    assert unpack(b"".join(packed(parts, form))) == b"".join(parts)
    assert b"".join(packed(iter(parts), form)) == b"".join(packed(parts, form))
    assert unpack(b"".join(packed([], form))) == b""


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
    told = nifti.extent(tmp_path / "a.nii")
    assert told is not None and told["size"] == seen.array.nbytes


def test_n12_n13_big_endian_and_extensions_are_read(tmp_path: Path) -> None:
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


def raw(array: np.ndarray | None = None, affine: np.ndarray = OBLIQUE, two: bool = False) -> bytearray:
    """A sound file in mm; sform only, so that a changed field meets no second opinion."""
    kind = nibabel.Nifti2Image if two else nibabel.Nifti1Image
    array = volume() if array is None else array
    image = kind(array, None, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    return bytearray(image.to_bytes())


def patched(path: Path, changes: dict[int, np.ndarray], whole: bytearray | None = None) -> Path:
    """Bytes at {offset: values} of a sound file replaced."""
    whole = raw() if whole is None else whole
    for offset, values in changes.items():
        whole[offset : offset + values.nbytes] = values.tobytes()
    path.write_bytes(bytes(whole))
    return path


def f4(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def i2(*values: int) -> np.ndarray:
    return np.array(values, np.int16)


def refused(path: Path, code: str) -> str:
    with pytest.raises(HilumError) as error:
        nifti.read(path)
    assert error.value.code == code and path.name in error.value.seen, str(error.value)
    return str(error.value)


def test_n01_a_pair_cut_short_is_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(volume(), OBLIQUE).to_filename(tmp_path / "a.hdr")
    whole = (tmp_path / "a.img").read_bytes()
    (tmp_path / "a.img").write_bytes(whole[:-1])
    refused(tmp_path / "a.hdr", "HIL-N01")


@pytest.mark.parametrize(
    "tail", [b"text", b"\0\0\0garbage", gzip.compress(bytes(20_000), mtime=0)], ids=["text", "zeros", "gzip"]
)
def test_n02_what_follows_the_volume_is_refused(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(raw()) + tail)
    refused(tmp_path / "a.nii.gz", "HIL-N02")


@pytest.mark.parametrize("at", [1, 100, 352, 700, -1])
def test_n02_members_in_a_row_and_padding_are_one_volume(tmp_path: Path, at: int) -> None:
    whole = raw()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(whole[:at]) + gzip.compress(whole[at:]) + bytes(700))
    seen = nifti.read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(seen.array[0], volume())
    assert seen.warnings == ()


def test_n02_the_bytes_decide_about_compression_not_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(raw())
    (tmp_path / "b.nii").write_bytes(gzip.compress(raw()))
    for name in ("a.nii.gz", "b.nii"):
        seen = nifti.read(tmp_path / name)
        np.testing.assert_array_equal(seen.array[0], volume())
        assert [w[:8] for w in seen.warnings] == ["HIL-N02:"]
    (tmp_path / "c.nii.gz").write_bytes(b"this is a letter, not a volume\n" * 20)
    refused(tmp_path / "c.nii.gz", "HIL-N12")


def test_n02_padding_is_warned_about_and_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(raw() + bytes(100))
    assert "100 bytes" in nifti.read(tmp_path / "a.nii").warnings[0]
    (tmp_path / "a.nii").write_bytes(raw() + bytes(5000))
    refused(tmp_path / "a.nii", "HIL-N02")


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_n03_a_claim_costs_no_memory(tmp_path: Path, name: str) -> None:
    whole = bytes(patched(tmp_path / "x", {42: i2(32000, 32000, 32000)}).read_bytes())
    (tmp_path / name).write_bytes(gzip.compress(whole) if name.endswith("gz") else whole)
    tracemalloc.start()
    refused(tmp_path / name, "HIL-N03")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("inter", [0.0, -1024.0, 0.5])
def test_peak_memory_stays_near_the_pixels(tmp_path: Path, name: str, inter: float) -> None:
    array = np.tile(volume(shape=(200, 200, 10)), (1, 1, 20))
    whole = bytes(patched(tmp_path / "x", {112: f4(1, inter)}, raw(array)).read_bytes())
    (tmp_path / name).write_bytes(gzip.compress(whole, 1) if name.endswith("gz") else whole)
    nifti.read(tmp_path / name)
    tracemalloc.start()
    seen = nifti.read(tmp_path / name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (seen.array[0] == array + inter).all()
    assert peak < 1.3 * seen.array.nbytes


def test_n04_both_forms_are_kept_and_the_rule_is_stated(tmp_path: Path) -> None:
    qform = np.diag([1.0, 1.0, 2.0, 1.0])
    save(tmp_path / "a.nii", volume(), OBLIQUE, 1, 1)
    meta = nifti.read(tmp_path / "a.nii").meta
    np.testing.assert_allclose(meta["sform"], OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(meta["qform"], qform, atol=1e-5)
    assert meta["geometry"] == "sform"
    save(tmp_path / "b.nii", volume(), OBLIQUE, 0, 1)
    seen = nifti.read(tmp_path / "b.nii")
    np.testing.assert_allclose(np.asarray(seen.affine), qform, atol=1e-5)
    assert seen.meta["geometry"] == "qform" and not any("N04" in w for w in seen.warnings)


@pytest.mark.parametrize("quaternion", [(3.0, 0.0, 0.0), (np.nan, 0.0, 0.0)])
def test_n04_a_broken_qform_yields_to_the_sform_only(tmp_path: Path, quaternion: tuple[float, ...]) -> None:
    broken = {252: i2(1), 256: f4(*quaternion)}
    seen = nifti.read(patched(tmp_path / "a.nii", broken))
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-5)
    assert "HIL-N04" in seen.warnings[0] and seen.meta["qform"] is None
    refused(patched(tmp_path / "b.nii", broken | {254: i2(0)}), "HIL-N06")


def test_n05_who_moves_labels_can_know_that_the_place_is_unknown(tmp_path: Path) -> None:
    save(tmp_path / "a.nii", volume(), OBLIQUE, 0, 0)
    assert nifti.read(tmp_path / "a.nii").meta["geometry"] == "unknown"
    assert nifti.read_labels(tmp_path / "a.nii").meta["geometry"] == "unknown"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_n05_what_lies_nobody_knows_where_is_written_so(tmp_path: Path, name: str) -> None:
    for thing in (Image(volume()[None], OBLIQUE), Mask(volume(), {1: "a"}, OBLIQUE)):
        nifti.write(tmp_path / name, thing, placed=False)
        header = nibabel.Nifti1Image.from_filename(tmp_path / name).header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
        seen = nifti.read(tmp_path / name)
        assert [words[:7] for words in seen.warnings] == ["HIL-N05"] and seen.meta["unit"] == "mm"
        np.testing.assert_allclose(seen.spacing, geometry.spacing(OBLIQUE), rtol=1e-6)
        np.testing.assert_array_equal(seen.array[0], volume())


def test_n05_of_what_lies_nobody_knows_where_the_steps_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def misread(name: str) -> SimpleITK.Image:
        image = true(name)
        image.SetSpacing([v * 1.01 for v in image.GetSpacing()])
        return image

    true = SimpleITK.ReadImage
    monkeypatch.setattr(SimpleITK, "ReadImage", misread)
    with pytest.raises(HilumError, match="HIL-IO-05"):
        nifti.write(tmp_path / "a.nii.gz", Image(volume()[None], OBLIQUE), placed=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_n06_left_handed_and_oblique_are_read_as_they_are(tmp_path: Path, sign: float) -> None:
    affine = OBLIQUE @ np.diag([sign, 1, 1, 1])
    (tmp_path / "a.nii").write_bytes(raw(affine=affine))
    seen = nifti.read(tmp_path / "a.nii")
    np.testing.assert_allclose(np.asarray(seen.affine), affine, atol=1e-5)
    np.testing.assert_array_equal(seen.array[0], volume())
    assert seen.warnings == ()


def test_n06_the_qform_of_a_left_handed_volume_is_followed(tmp_path: Path) -> None:
    affine = np.diag([1.0, -1.0, 2.0, 1.0]) + np.eye(4, k=3) * 7
    image = nibabel.Nifti1Image(volume(), affine)
    image.set_sform(None, 0)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / "a.nii")
    np.testing.assert_allclose(np.asarray(nifti.read(tmp_path / "a.nii").affine), affine, atol=1e-5)


def tilted(shear: float) -> np.ndarray:
    affine = np.diag([1.0, 1.5, 2.0, 1.0])
    affine[:3, 3] = (-20, -30, 40)
    affine[1, 2] = shear * 2
    return affine


def test_n06_a_tiny_shear_is_rounded_away_and_the_way_stated(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(raw(affine=tilted(0.005)))
    seen = nifti.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(seen.array[0], volume())
    assert seen.affine is not None and "resampled" not in seen.meta
    far = geometry.corner_distance(seen.affine, seen.shape, tilted(0.005), seen.shape)
    assert 0 < far < 0.1 and f"{far:.2f} mm" in seen.warnings[0] and "HIL-N06" in seen.warnings[0]


def test_n06_a_tilted_volume_is_resampled_upright(tmp_path: Path) -> None:
    """Values that are linear in the patient's millimetres stay so; the whole volume is covered."""
    affine, shape = tilted(0.4), (12, 20, 9)
    world = np.einsum("rc,cijk->rijk", affine[:3, :3], np.indices(shape)) + affine[:3, 3].reshape(3, 1, 1, 1)
    values = (3 * world[0] - 2 * world[1] + 5 * world[2] + 1000).astype(np.float32)
    (tmp_path / "a.nii").write_bytes(raw(values, affine))
    seen = nifti.read(tmp_path / "a.nii")
    assert seen.affine is not None and "HIL-N06" in seen.warnings[0] and "linear" in seen.warnings[0]
    np.testing.assert_allclose(seen.meta["resampled"]["from"], affine, atol=1e-5)
    assert "0.37" in seen.meta["resampled"]["why"]
    np.testing.assert_allclose(seen.spacing, (1.0, 1.5, 2.0), atol=1e-5)
    back = np.linalg.solve(seen.affine, np.vstack([world.reshape(3, -1), np.ones(world[0].size)]))[:3]
    assert back.min() > -1e-3 and (back.max(axis=1) < np.array(seen.shape) - 1 + 1e-3).all()
    there = np.einsum("rc,cijk->rijk", seen.affine[:3, :3], np.indices(seen.shape)) + seen.affine[:3, 3].reshape(
        3, 1, 1, 1
    )
    wanted = 3 * there[0] - 2 * there[1] + 5 * there[2] + 1000
    stored = np.linalg.solve(affine, np.vstack([there.reshape(3, -1), np.ones(there[0].size)]))[:3].reshape(there.shape)
    high = np.array(shape).reshape(3, 1, 1, 1) - 1
    inside = ((stored > 1e-3) & (stored < high - 1e-3)).all(axis=0) | (np.abs(stored - np.rint(stored)) < 1e-6).all(
        axis=0
    ) & ((stored > -1e-6) & (stored < high + 1e-6)).all(axis=0)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(seen.array[0][inside], wanted[inside], atol=0.01)
    outside = ((stored < -1) | (stored > high + 1)).any(axis=0)
    assert outside.any() and np.allclose(seen.array[0][outside], values.min(), atol=1e-3)


def test_a_tilted_volume_does_not_say_how_large_it_will_be(tmp_path: Path) -> None:
    """Its upright grid is another one."""
    (tmp_path / "a.nii").write_bytes(raw(affine=tilted(0.4)))
    assert nifti.extent(tmp_path / "a.nii") is None


def test_n06_tilted_labels_keep_their_values(tmp_path: Path) -> None:
    labels = np.zeros((12, 20, 9), np.int32)
    labels[3:9, 5:15, 2:7] = 70_000_001
    (tmp_path / "a.nii").write_bytes(raw(labels, tilted(0.3)))
    seen = nifti.read_labels(tmp_path / "a.nii")
    assert set(np.unique(seen.array)) == {0, 70_000_001} and "nearest" in seen.warnings[0]
    assert (seen.array > 0).sum() == pytest.approx((labels > 0).sum(), rel=0.05)


def test_n06_axes_almost_in_one_line_are_refused(tmp_path: Path) -> None:
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 2] = (900, 0, 0.01)
    (tmp_path / "a.nii").write_bytes(raw(np.zeros((40, 50, 60), np.uint8), affine))
    refused(tmp_path / "a.nii", "HIL-N06")


@pytest.mark.parametrize("step", [0.0, -1.0, np.nan, np.inf])
def test_n07_unusable_voxel_sizes(tmp_path: Path, step: float) -> None:
    seen = nifti.read(patched(tmp_path / "a.nii", {84: f4(step)}))
    assert "HIL-N07" in seen.warnings[0]
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-5)
    for codes in ((0, 0), (1, 0)):
        refused(patched(tmp_path / "b.nii", {84: f4(step), 252: i2(*codes)}), "HIL-N07")


@pytest.mark.parametrize(("code", "scale", "word"), [(1, 1000.0, "metres"), (3, 0.001, "micrometres")])
def test_n07_other_units_are_turned_into_mm(tmp_path: Path, code: int, scale: float, word: str) -> None:
    seen = nifti.read(patched(tmp_path / "a.nii", {123: np.uint8(code)[None]}))
    assert word in seen.warnings[0] and "HIL-N07" in seen.warnings[0]
    np.testing.assert_allclose(np.asarray(seen.affine)[:3], OBLIQUE[:3] * scale, rtol=1e-5)


@pytest.mark.parametrize("code", [0, 5, 8])
def test_n07_no_unit_is_named(tmp_path: Path, code: int) -> None:
    seen = nifti.read(patched(tmp_path / "a.nii", {123: np.uint8(code)[None]}))
    assert "HIL-N07" in seen.warnings[0] and "mm are assumed" in seen.warnings[0] and seen.meta["unit"] == "unknown"


@pytest.mark.parametrize(
    ("slope", "inter"), [(0, 9), (np.nan, 0), (np.nan, np.nan), (np.inf, 0), (-np.inf, 1), (2, np.nan), (1, np.inf)]
)
def test_n08_scaling_that_can_not_be_is_left_out_and_named(tmp_path: Path, slope: float, inter: float) -> None:
    seen = nifti.read(patched(tmp_path / "a.nii", {112: f4(slope, inter)}))
    assert "HIL-N08" in seen.warnings[0] and seen.array.dtype == np.int16
    np.testing.assert_array_equal(seen.array[0], volume())
    sound = nifti.read(patched(tmp_path / "b.nii", {112: f4(0, 0)}))
    assert sound.warnings == ()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_n09_every_value_that_is_none_is_counted(tmp_path: Path, value: float) -> None:
    array = volume("float32")
    array[1, 2, 3] = array[0, 0, 0] = value
    (tmp_path / "a.nii").write_bytes(raw(array))
    seen = nifti.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(seen.array[0], array)
    assert "HIL-N09: 2 voxels" in seen.warnings[0]
    with pytest.raises(HilumError, match="HIL-N09"):
        nifti.read_labels(tmp_path / "a.nii")


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64", "uint32", "float64"])
def test_n10_every_plain_kind_is_read_as_it_is(tmp_path: Path, dtype: str) -> None:
    array = volume(dtype) // 2
    (tmp_path / "a.nii").write_bytes(raw(array))
    seen = nifti.read(tmp_path / "a.nii")
    assert seen.array.dtype == dtype
    np.testing.assert_array_equal(seen.array[0], array)


@pytest.mark.parametrize(("dtype", "stored"), [("float16", "float32"), ("int64", "uint8"), ("bool", "uint8")])
def test_n10_kinds_that_nifti_lacks_or_wastes_are_written_as_others(tmp_path: Path, dtype: str, stored: str) -> None:
    nifti.write(tmp_path / "a.nii", Image(volume(dtype)[None], OBLIQUE))
    seen = nifti.read(tmp_path / "a.nii")
    assert seen.array.dtype == stored
    np.testing.assert_array_equal(seen.array[0], volume(dtype).astype(stored))


@pytest.mark.parametrize("code", [0, 1, 3, 32, 128, 1536, 1792, 2048, 2304])
def test_n10_other_kinds_are_refused_with_the_remedy(tmp_path: Path, code: int) -> None:
    assert "one real channel" in refused(patched(tmp_path / "a.nii", {70: i2(code)}), "HIL-N10")


@pytest.mark.parametrize("dtype", ["complex64", "longdouble"])
def test_n10_what_nifti_can_not_hold_plainly_is_not_written(tmp_path: Path, dtype: str) -> None:
    with pytest.raises(HilumError, match="HIL-N10"):
        nifti.write(tmp_path / "a.nii", Image(volume(dtype)[None], OBLIQUE))
    assert not list(tmp_path.iterdir())


def test_n10_vectors_are_refused_and_named(tmp_path: Path) -> None:
    nibabel.Nifti1Image(volume("float32", (3, 4, 5, 1, 3)), np.eye(4)).to_filename(tmp_path / "a.nii")
    assert "Several values for each voxel" in refused(tmp_path / "a.nii", "HIL-N10")


def test_n10_a_series_that_holds_contrasts_is_to_be_saved_as_channels(tmp_path: Path) -> None:
    """To pick one volume throws the other contrasts away."""
    nibabel.Nifti1Image(volume(shape=(4, 5, 6, 3)), np.eye(4)).to_filename(tmp_path / "a.nii")
    with pytest.raises(HilumError) as error:
        nifti.read(tmp_path / "a.nii")
    assert "where they are channels" in error.value.remedy and "NAME_0001" in error.value.remedy


@pytest.mark.parametrize("shape", [(5, 6, 1), (1, 1, 1), (5, 6), (9,)])
def test_n11_thin_volumes_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tmp_path / "a.nii").write_bytes(raw(volume(shape=shape), np.diag([1.0, 2.0, 3.0, 1.0])))
    seen = nifti.read(tmp_path / "a.nii")
    assert seen.shape == shape + (1,) * (3 - len(shape)) and seen.spacing == (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(seen.array.ravel(), volume(shape=shape).ravel())
    nifti.write(tmp_path / "b.nii.gz", seen)
    np.testing.assert_array_equal(nifti.read(tmp_path / "b.nii.gz").array, seen.array)


@pytest.mark.parametrize("dim", [(0, 5, 6, 7), (8, 5, 6, 7), (-3, 5, 6, 7), (3, 0, 6, 7), (3, 5, -6, 7), (3, 5, 6, 0)])
def test_n11_impossible_dimensions_are_refused(tmp_path: Path, dim: tuple[int, ...]) -> None:
    refused(patched(tmp_path / "a.nii", {40: i2(*dim)}), "HIL-N11")


def test_n11_surfaces_of_freesurfer_are_named(tmp_path: Path) -> None:
    assert "FreeSurfer" in refused(patched(tmp_path / "a.nii", {40: i2(3, -1, 1, 1)}), "HIL-N11")


def test_n11_the_limit_of_the_format_is_kept_in_writing(tmp_path: Path) -> None:
    longest = Image(np.zeros((1, 32767, 1, 1), np.uint8), np.eye(4))
    nifti.write(tmp_path / "a.nii", longest)
    assert nifti.read(tmp_path / "a.nii").shape == (32767, 1, 1)
    with pytest.raises(HilumError, match=r"32767.*HIL-N11"):
        nifti.write(tmp_path / "b.nii", Image(np.zeros((1, 32768, 1, 1), np.uint8), np.eye(4)))
    assert not (tmp_path / "b.nii").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {0: np.int32([0])}, {0: np.int32([347])}, {0: np.int32([540])}, {0: np.int32([348]).byteswap()},
        {344: np.frombuffer(b"\0\0\0\0", np.uint8)}, {344: np.frombuffer(b"ni1\0", np.uint8)},
        {344: np.frombuffer(b"n+3\0", np.uint8)}, {344: np.frombuffer(b"n+1 ", np.uint8)},
        {108: f4(0)}, {108: f4(351)}, {108: f4(352.5)}, {108: f4(np.nan)}, {108: f4(np.inf)}, {108: f4(-16)},
        {108: f4(1e6)}, {72: i2(8)}, {72: i2(-16)},
    ],
)  # fmt: skip
def test_n12_headers_that_contradict_themselves_are_refused(tmp_path: Path, changes: dict[int, np.ndarray]) -> None:
    refused(patched(tmp_path / "a.nii", changes), "HIL-N12")


def test_n12_no_bits_stated_is_a_warning(tmp_path: Path) -> None:
    seen = nifti.read(patched(tmp_path / "a.nii", {72: i2(0)}))
    assert "HIL-N12" in seen.warnings[0]
    np.testing.assert_array_equal(seen.array[0], volume())


def test_n12_a_transfer_as_text_is_named(tmp_path: Path) -> None:
    whole = raw(two=True)
    whole[8:12] = b"\n\n\x1a\n"
    assert "binary mode" in refused(patched(tmp_path / "a.nii", {}, whole), "HIL-N12")


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["Nifti1", "Nifti2"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.img.gz"])
def test_n13_every_version_pair_and_byte_order_is_read(tmp_path: Path, kind: str, order: str, name: str) -> None:
    form = f"{kind}Image" if ".nii" in name else f"{kind}Pair"
    header = getattr(nibabel, f"{kind}Header")(endianness=order)
    header.set_data_dtype(np.int16)
    image = getattr(nibabel, form)(volume(f"{order}i2"), OBLIQUE, header)
    image.header.set_xyzt_units("mm")
    image.to_filename(tmp_path / name)
    path = tmp_path / name.replace(".img", ".hdr")
    seen = open_path(path).read()
    assert isinstance(seen, Image) and seen.warnings == () and seen.array.dtype == np.int16
    np.testing.assert_array_equal(seen.array[0], volume())
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-5)


@pytest.mark.parametrize("other", [None, "b.img", "a_1.img"])
def test_n13_a_header_without_its_voxels_is_refused(tmp_path: Path, other: str | None) -> None:
    nibabel.Nifti1Pair(volume(), OBLIQUE).to_filename(tmp_path / "a.hdr")
    (tmp_path / "a.img").rename(tmp_path / (other or "gone"))
    assert "a.img" in refused(tmp_path / "a.hdr", "HIL-N13")


def test_n13_two_files_of_voxels_are_refused(tmp_path: Path) -> None:
    nibabel.Nifti1Pair(volume(), OBLIQUE).to_filename(tmp_path / "a.hdr")
    (tmp_path / "a.img.gz").write_bytes(gzip.compress(bytes(420)))
    refused(tmp_path / "a.hdr", "HIL-N13")


def test_n13_a_header_alone_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match="HIL-IO-04"):
        nifti.write(tmp_path / "a.hdr", Image(volume()[None], OBLIQUE))
    assert not list(tmp_path.iterdir())


def test_n13_text_about_a_patient_is_never_copied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(volume(), OBLIQUE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"PatientName=Doe^Jane"))
    image.header["descrip"], image.header["aux_file"], image.header["db_name"] = b"Doe 1", b"Doe 2", b"Doe 3"
    image.to_filename(tmp_path / "a.nii")
    assert (tmp_path / "a.nii").read_bytes().count(b"Doe") == 4
    seen = nifti.read(tmp_path / "a.nii")
    nifti.write(tmp_path / "b.nii", seen)
    assert b"Doe" not in (tmp_path / "b.nii").read_bytes() and "Doe" not in repr((seen.meta, seen.warnings))


@pytest.mark.parametrize("what", ["value", "place", "shape"])
def test_nothing_appears_when_the_second_library_disagrees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def misread(name: str) -> SimpleITK.Image:
        image = true(name)
        if what == "value":
            image[1, 2, 3] += 1
        elif what == "place":
            image.SetOrigin([v + 0.5 for v in image.GetOrigin()])
        else:
            image = image[:, :, 1:]
        return image

    true = SimpleITK.ReadImage
    monkeypatch.setattr(SimpleITK, "ReadImage", misread)
    with pytest.raises(HilumError, match="HIL-IO-05"):
        nifti.write(tmp_path / "a.nii.gz", Image(volume()[None], OBLIQUE))
    assert not list(tmp_path.iterdir())


def test_nan_and_a_shear_within_tolerance_are_written(tmp_path: Path) -> None:
    """ITK reads NaN as 0 and knows right angles only; neither keeps a sound volume from being written."""
    array = volume("float32", (40, 50, 60))
    array[:3] = np.nan
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 2] = 0.0015
    nifti.write(tmp_path / "a.nii.gz", Image(array[None], affine))
    np.testing.assert_array_equal(nifti.read(tmp_path / "a.nii.gz").array[0], array)


def test_a_volume_with_nan_is_compared_with_another_reader_without_copies_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_guard, "COMPARED", 1 << 16)
    array = np.zeros((128, 128, 128), dtype=np.float32)
    array[:, :, ::2], array[:3], array[3, 0, 0] = 1.5, np.nan, np.inf
    path = tmp_path / "a.nii"
    nifti.write(path, Image(array[None], np.eye(4)))
    tracemalloc.start()
    voxels.second(path, path, array, np.eye(4), zeroed=True)
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < array.nbytes / 4
    array[90, 5, 5] = 7
    with pytest.raises(HilumError, match="HIL-IO-05"):
        voxels.second(path, path, array, np.eye(4), zeroed=True)


@pytest.mark.parametrize(
    ("dtype", "slope", "inter", "seen"),
    [("uint8", 2, -5, "int32"), ("int32", 1, 7, "int64"), ("int16", 1e35, 0, "float64"), ("uint16", 0.1, 0, "float32"),
     ("int32", 0.5, 0, "float64"), ("float32", 2, 1, "float32"), ("int16", -1, 0, "int32")],
)  # fmt: skip
def test_scaled_values_are_exact_where_they_can_be(
    tmp_path: Path, dtype: str, slope: float, inter: float, seen: str
) -> None:
    found = nifti.read(patched(tmp_path / "a.nii", {112: f4(slope, inter)}, raw(volume(dtype))))
    assert found.array.dtype == seen
    wanted = volume(dtype).astype(np.float64) * float(np.float32(slope)) + inter
    np.testing.assert_allclose(found.array[0], wanted, rtol=1e-6)
    assert seen[0] == "f" or (found.array[0] == wanted).all()


def test_files_that_other_people_made_are_read_as_nibabel_reads_them() -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    names = ("anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz")
    paths = [folder / name for name in names if (folder / name).is_file()]
    if not paths:
        pytest.skip("nibabel came without its test data")
    for path in paths:
        other = nibabel.Nifti1Image.from_filename(path)
        seen = nifti.read(path)
        np.testing.assert_array_equal(seen.array[0], np.asarray(other.dataobj))
        np.testing.assert_allclose(np.asarray(seen.affine), other.affine, atol=1e-6)
