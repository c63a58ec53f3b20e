"""NRRD: what is written is what ITK reads; every space comes out as RAS; a header that lies is refused."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io import nrrd
from hilum.io import open as open_path

OBLIQUE = np.array([[0.0, -1.2, 0.3, 5.0], [1.0, 0.0, 0.0, -7.5], [0.0, 0.3, 1.2, 90.25], [0, 0, 0, 1]])
SHAPE = (5, 6, 7)


def volume(dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def write(path: Path, data: bytes | None = None, first: str = "NRRD0004", **changes: str | None) -> Path:
    """A sound .nrrd with some fields changed ("_" stands for a blank in a name); None leaves one out."""
    fields: dict[str, str | None] = {
        "type": "short", "dimension": "3", "space": "left-posterior-superior",
        "space_dimension": None, "sizes": "5 6 7",
        "space_directions": "(1,0,0) (0,1,0) (0,0,2)", "endian": "little", "encoding": "raw", "space_origin": "(3,4,5)",
    }  # fmt: skip
    fields |= changes
    head = "".join(f"{name.replace('_', ' ')}: {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(f"{first}\n{head}\n".encode() + (volume().tobytes(order="F") if data is None else data))
    return path


def refused(path: Path, code: str) -> str:
    with pytest.raises(HilumError) as error:
        nrrd.read(path)
    assert error.value.code in code.split("|") and path.stem in error.value.seen, str(error.value)
    return str(error.value)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_read_write_read_keeps_everything(tmp_path: Path, dtype: str) -> None:
    image = Image(volume(dtype)[None], OBLIQUE)
    nrrd.write(tmp_path / "a.nrrd", image)
    seen = nrrd.read(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(seen.array, image.array)
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-12)
    assert seen.warnings == () and seen.meta["geometry"] == "header"
    assert [p.name for p in tmp_path.iterdir()] == ["a.nrrd"]


def test_labels_and_nan_are_kept(tmp_path: Path) -> None:
    nrrd.write(tmp_path / "l.nrrd", Mask(volume("int64") * 300, {300: "a"}, OBLIQUE))
    labels = nrrd.read_labels(tmp_path / "l.nrrd")
    assert labels.array.dtype == np.int32
    np.testing.assert_array_equal(labels.array[0], volume("int64") * 300)
    array = volume("float32")
    array[0, 0, 0] = np.nan
    nrrd.write(tmp_path / "n.nrrd", Image(array[None], OBLIQUE))
    assert "HIL-N09" in nrrd.read(tmp_path / "n.nrrd").warnings[0]
    with pytest.raises(HilumError, match="HIL-N09"):
        nrrd.read_labels(tmp_path / "n.nrrd")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr"])
def test_what_itk_writes_is_read(tmp_path: Path, name: str, compress: bool) -> None:
    picture = SimpleITK.GetImageFromArray(volume().transpose())
    lps = geometry.flip_lps_ras(OBLIQUE)
    steps = np.asarray(geometry.spacing(OBLIQUE))
    picture.SetSpacing(steps.tolist())
    picture.SetOrigin(lps[:3, 3].tolist())
    picture.SetDirection((lps[:3, :3] / steps).ravel().tolist())
    picture.SetMetaData("PatientName", "Doe^Jane")
    SimpleITK.WriteImage(picture, str(tmp_path / name), useCompression=compress)
    seen = open_path(tmp_path / name).read()
    assert isinstance(seen, Image) and seen.meta["format"] == "nrrd"
    np.testing.assert_array_equal(seen.array[0], volume())
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-5)
    assert "Doe" not in repr(seen.meta) and seen.warnings == ()


@pytest.mark.parametrize(
    ("space", "signs"),
    [("left-posterior-superior", (-1, -1)), ("LPS", (-1, -1)), ("right-anterior-superior", (1, 1)), ("RAS", (1, 1)),
     ("left-anterior-superior", (-1, 1)), ("LAS", (-1, 1))],
)  # fmt: skip
def test_every_space_comes_out_as_ras_and_as_itk_reads_it(tmp_path: Path, space: str, signs: tuple[int, int]) -> None:
    turned = "(0,1.5,0) (-1,0,0.5) (0.5,0,1)"
    path = write(tmp_path / "a.nrrd", space=space, space_directions=turned)
    seen = nrrd.read(path)
    stored = np.array([[0, -1, 0.5, 3], [1.5, 0, 0, 4], [0, 0.5, 1, 5], [0, 0, 0, 1]])
    np.testing.assert_allclose(np.asarray(seen.affine), np.diag([*signs, 1, 1]) @ stored, atol=1e-12)
    other = SimpleITK.ReadImage(str(path))
    where = other.TransformIndexToPhysicalPoint((4, 2, 3))
    np.testing.assert_allclose((np.asarray(seen.affine) @ [4, 2, 3, 1])[:3] * [-1, -1, 1], where, atol=1e-9)


@pytest.mark.parametrize(
    "changes",
    [
        {"space": "scanner-xyz"},
        {"space": None, "space_dimension": "3"},
        {"space": None, "space_directions": None, "space_origin": None, "spacings": "1 1 2"},
    ],
)
def test_n05_an_unknown_space_is_a_named_warning(tmp_path: Path, changes: dict[str, Any]) -> None:
    path = write(tmp_path / "a.nrrd", **changes)
    seen = nrrd.read(path)
    assert "HIL-N05" in seen.warnings[0] and seen.meta["geometry"] == "unknown"
    other = SimpleITK.ReadImage(str(path))
    where = other.TransformIndexToPhysicalPoint((1, 2, 3))
    np.testing.assert_allclose((np.asarray(seen.affine) @ [1, 2, 3, 1])[:3] * [-1, -1, 1], where, atol=1e-9)


def test_n05_a_space_without_directions_is_a_named_warning(tmp_path: Path) -> None:
    seen = nrrd.read(write(tmp_path / "a.nrrd", space_directions=None, spacings="1 1 2"))
    assert "no space directions" in seen.warnings[0] and seen.meta["geometry"] == "unknown"


def test_n05_directions_without_an_origin_are_a_named_warning(tmp_path: Path) -> None:
    seen = nrrd.read(write(tmp_path / "a.nrrd", space_origin=None))
    assert any("HIL-N05: no space origin" in words for words in seen.warnings)
    assert not any("HIL-N05" in words for words in nrrd.read(write(tmp_path / "b.nrrd")).warnings)


def test_only_nrrd_is_written_and_same_volume_same_bytes(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match=r"\.nrrd.*HIL-IO-04"):
        nrrd.write(tmp_path / "a.nhdr", Image(volume()[None], OBLIQUE))
    assert not list(tmp_path.iterdir())
    for name in ("a.nrrd", "b.nrrd"):
        nrrd.write(tmp_path / name, Image(volume()[None], OBLIQUE))
    assert (tmp_path / "a.nrrd").read_bytes() == (tmp_path / "b.nrrd").read_bytes()


def test_a_region_keeps_its_place(tmp_path: Path) -> None:
    seen = nrrd.read(write(tmp_path / "a.nrrd"), (slice(1, 4), slice(2, 6), slice(3, 5)))
    np.testing.assert_array_equal(seen.array[0], volume()[1:4, 2:6, 3:5])
    np.testing.assert_allclose(np.asarray(seen.affine)[:3, 3], [-4, -6, 11])


def test_n12_byte_order_and_skipped_bytes_are_followed(tmp_path: Path) -> None:
    raw = volume(">i2").tobytes(order="F")
    for skip in ("9", "-1"):
        seen = nrrd.read(write(tmp_path / "a.nrrd", bytes(9) + raw, endian="big", byte_skip=skip))
        np.testing.assert_array_equal(seen.array[0], volume())
        assert seen.array.dtype.isnative
    packed = gzip.compress(bytes(9) + raw)
    seen = nrrd.read(write(tmp_path / "a.nrrd", packed, endian="big", encoding="gzip", byte_skip="9"))
    np.testing.assert_array_equal(seen.array[0], volume())


def test_n06_sheared_directions_are_set_upright(tmp_path: Path) -> None:
    seen = nrrd.read(write(tmp_path / "a.nrrd", space_directions="(1,0,0) (0,1,0) (0,0.6,2)"))
    assert "HIL-N06" in seen.warnings[0] and np.asarray(seen.meta["resampled"]["from"]).shape == (4, 4)


def test_n06_singular_directions_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path / "a.nrrd", space_directions="(1,0,0) (0,1,0) (0,0,0)"), "HIL-N06")


@pytest.mark.parametrize("spacing", [None, "1 1", "1 1 0", "1 -1 2"])
def test_n07_unusable_spacing_is_refused(tmp_path: Path, spacing: str | None) -> None:
    refused(write(tmp_path / "a.nrrd", space_directions=None, spacings=spacing), "HIL-N07")


def test_n07_units_are_turned_into_mm_or_refused(tmp_path: Path) -> None:
    seen = nrrd.read(write(tmp_path / "a.nrrd", space_units='"um" "um" "um"'))
    assert "HIL-N07" in seen.warnings[0] and seen.spacing == pytest.approx((1e-3, 1e-3, 2e-3))
    assert nrrd.read(write(tmp_path / "b.nrrd", space_units='"mm" "mm" "mm"')).warnings == ()
    refused(write(tmp_path / "c.nrrd", space_units='"mile" "mm" "mm"'), "HIL-N07")


@pytest.mark.parametrize(
    "changes",
    [
        {"dimension": "4", "sizes": "3 5 6 7", "space_directions": "none (1,0,0) (0,1,0) (0,0,2)"},
        {"dimension": "4", "sizes": "5 6 7 3", "space_directions": None, "spacings": "1 1 2 nan"},
    ],
)
def test_n10_series_and_channels_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    refused(write(tmp_path / "a.nrrd", volume(shape=(5, 6, 7, 3)).tobytes(), **changes), "HIL-N10")


def test_n10_an_axis_of_one_is_squeezed_and_a_picture_is_one_slice(tmp_path: Path) -> None:
    directions = "none (1,0,0) (0,1,0) (0,0,2)"
    path = write(tmp_path / "a.nrrd", dimension="4", sizes="1 5 6 7", space_directions=directions)
    np.testing.assert_array_equal(nrrd.read(path).array[0], volume())
    path = write(tmp_path / "b.nrrd", dimension="2", sizes="30 7", space_directions="(1,0,0) (0,0,2)")
    seen = nrrd.read(path)
    assert seen.shape == (30, 7, 1) and "HIL-N10" in seen.warnings[0]


@pytest.mark.parametrize("share", [0.0, 0.02, 0.2, 0.4, 0.6, 0.95, 0.999])
def test_n01_cut_files_are_refused(tmp_path: Path, share: float) -> None:
    nrrd.write(tmp_path / "a.nrrd", Image(volume(shape=(9, 9, 9))[None], OBLIQUE))
    whole = (tmp_path / "a.nrrd").read_bytes()
    (tmp_path / "a.nrrd").write_bytes(whole[: int(len(whole) * share)])
    refused(tmp_path / "a.nrrd", "HIL-N01|HIL-N16|HIL-N03")


def test_n02_a_bad_checksum_is_refused(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(volume().tobytes(order="F")))
    packed[-6] ^= 0xFF
    refused(write(tmp_path / "a.nrrd", bytes(packed), encoding="gzip"), "HIL-N02")


def test_n03_a_bomb_is_refused_before_allocating(tmp_path: Path) -> None:
    packed = gzip.compress(bytes(100_000))
    refused(write(tmp_path / "a.nrrd", packed, encoding="gzip", sizes="32000 32000 32000"), "HIL-N03")
    refused(write(tmp_path / "b.nrrd", gzip.compress(bytes(1 << 24)), encoding="gzip"), "HIL-N16|HIL-N02")


LIES: dict[str, tuple[dict[str, str | None], str]] = {
    "more voxels than bytes": ({"sizes": "5 6 8"}, "HIL-N01"),
    "fewer voxels than bytes": ({"sizes": "5 6 6"}, "HIL-N16"),
    "larger elements": ({"type": "double"}, "HIL-N01"),
    "smaller elements": ({"type": "uchar"}, "HIL-N16"),
    "fewer sizes than dimensions": ({"sizes": "5 6"}, "HIL-N16"),
    "zero size": ({"sizes": "5 6 0"}, "HIL-N11"),
    "ninety dimensions": ({"dimension": "90"}, "HIL-N11"),
    "unknown type": ({"type": "quad"}, "HIL-N16"),
    "block type": ({"type": "block", "block_size": "2"}, "HIL-N16"),
    "no type": ({"type": None}, "HIL-N16"),
    "no byte order": ({"endian": None}, "HIL-N16"),
    "byte order that is no word": ({"endian": "middle"}, "HIL-N16"),
    "voxels as text": ({"encoding": "ascii"}, "HIL-N16"),
    "bzip2": ({"encoding": "bzip2"}, "HIL-N16"),
    "unknown field": ({"wishes": "many"}, "HIL-N16"),
    "skip beyond the end": ({"byte_skip": "100000"}, "HIL-N16"),
    "negative skip": ({"byte_skip": "-9"}, "HIL-N16"),
    "skipped lines": ({"line_skip": "3"}, "HIL-N16"),
    "compressed but is not": ({"encoding": "gzip"}, "HIL-N02"),
    "NaN in directions": ({"space_directions": "(1,0,0) (0,nan,0) (0,0,2)"}, "HIL-N16"),
    "directions of two numbers": ({"space_directions": "(1,0) (0,1) (0,0)"}, "HIL-N16"),
    "two directions": ({"space_directions": "(1,0,0) (0,1,0)"}, "HIL-N16"),
    "directions without brackets": ({"space_directions": "1,0,0 0,1,0 0,0,2"}, "HIL-N16"),
    "infinite origin": ({"space_origin": "(0,inf,0)"}, "HIL-N16"),
    "list of files": ({"data_file": "LIST"}, "HIL-N16"),
    "pattern of files": ({"data_file": "slice%03d.raw 1 7 1"}, "HIL-N16"),
    "parent folder": ({"data_file": "../../etc/passwd"}, "HIL-N16"),
    "absolute path": ({"data_file": "/etc/passwd"}, "HIL-N16"),
    "windows path": ({"data_file": "C:\\secret.raw"}, "HIL-N16"),
    "address": ({"data_file": "http://example.org/a.raw"}, "HIL-N16"),
    "itself": ({"data_file": "a.nrrd"}, "HIL-N16"),
    "missing file": ({"data_file": "nothing.raw"}, "HIL-N16"),
}


@pytest.mark.parametrize("name", LIES)
def test_n16_a_header_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    changes, code = LIES[name]
    nrrd.read(write(tmp_path / "sound.nrrd"))
    refused(write(tmp_path / "a.nrrd", **changes), code)


def test_n16_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(volume().tobytes(order="F"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.raw").symlink_to(tmp_path / "secret.raw")
    assert "outside" in refused(write(tmp_path / "in" / "a.nhdr", b"", data_file="a.raw"), "HIL-N16")
    (tmp_path / "in" / "b.raw").write_bytes(volume().tobytes(order="F"))
    assert nrrd.read(write(tmp_path / "in" / "b.nhdr", b"", data_file="./b.raw")).shape == SHAPE


@pytest.mark.parametrize("head", [b"", b"NRRD0009\n\n", b"NRRD0004\n# note\n" * 9000, b"NRRD0004\nno field\n\n"])
def test_n16_what_is_no_header_is_refused(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.nrrd").write_bytes(head)
    refused(tmp_path / "a.nrrd", "HIL-N16")
