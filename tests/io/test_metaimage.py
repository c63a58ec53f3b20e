"""MetaImage: what is written is what ITK reads; a header that lies, or leads elsewhere, is refused."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io import metaimage
from hilum.io import open as open_path

OBLIQUE = np.array([[0.0, -1.2, 0.3, 5.0], [1.0, 0.0, 0.0, -7.5], [0.0, 0.3, 1.2, 90.25], [0, 0, 0, 1]])
SHAPE = (5, 6, 7)


def volume(dtype: str = "int16", shape: tuple[int, ...] = SHAPE) -> Array:
    return np.random.default_rng(0).integers(0, 200, shape).astype(dtype)


def write(path: Path, data: bytes | None = None, **changes: str | None) -> Path:
    """A sound .mha with some of its fields changed; None leaves one out."""
    fields: dict[str, str | None] = {
        "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
        "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "0 0 0",
        "ElementSpacing": "1 1 2", "DimSize": "5 6 7", "ElementType": "MET_SHORT", "ElementDataFile": "LOCAL",
    }  # fmt: skip
    last = changes.pop("ElementDataFile", fields.pop("ElementDataFile"))
    fields |= changes
    fields["ElementDataFile"] = last
    head = "".join(f"{name} = {value}\n" for name, value in fields.items() if value is not None)
    path.write_bytes(head.encode() + (volume().tobytes(order="F") if data is None else data))
    return path


def refused(path: Path, code: str) -> str:
    with pytest.raises(HilumError) as error:
        metaimage.read(path)
    assert error.value.code in code.split("|") and path.stem in error.value.seen, str(error.value)
    return str(error.value)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_read_write_read_keeps_everything(tmp_path: Path, dtype: str) -> None:
    image = Image(volume(dtype)[None], OBLIQUE)
    metaimage.write(tmp_path / "a.mha", image)
    seen = metaimage.read(tmp_path / "a.mha")
    np.testing.assert_array_equal(seen.array, image.array)
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-12)
    assert seen.warnings == () and seen.meta["geometry"] == "header"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mha"]


def test_labels_and_nan_are_kept(tmp_path: Path) -> None:
    metaimage.write(tmp_path / "l.mha", Mask(volume("int64") * 300, {300: "a"}, OBLIQUE))
    labels = metaimage.read_labels(tmp_path / "l.mha")
    assert labels.array.dtype == np.int32
    np.testing.assert_array_equal(labels.array[0], volume("int64") * 300)
    array = volume("float32")
    array[0, 0, 0] = np.nan
    metaimage.write(tmp_path / "n.mha", Image(array[None], OBLIQUE))
    assert "HIL-N09" in metaimage.read(tmp_path / "n.mha").warnings[0]
    with pytest.raises(HilumError, match="HIL-N09"):
        metaimage.read_labels(tmp_path / "n.mha")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("name", ["a.mha", "a.mhd"])
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
    assert isinstance(seen, Image) and seen.meta["format"] == "metaimage"
    np.testing.assert_array_equal(seen.array[0], volume())
    np.testing.assert_allclose(np.asarray(seen.affine), OBLIQUE, atol=1e-5)
    assert "Doe" not in repr(seen.meta) and seen.warnings == ()


def test_a_region_keeps_its_place_and_same_volume_same_bytes(tmp_path: Path) -> None:
    image = Image(volume()[None], OBLIQUE)
    for name in ("a.mha", "b.mha"):
        metaimage.write(tmp_path / name, image)
    assert (tmp_path / "a.mha").read_bytes() == (tmp_path / "b.mha").read_bytes()
    seen = metaimage.read(tmp_path / "a.mha", (slice(1, 4), slice(2, 6), slice(3, 5)))
    np.testing.assert_array_equal(seen.array, image.array[:, 1:4, 2:6, 3:5])
    np.testing.assert_allclose(np.asarray(seen.affine) @ [0, 0, 0, 1], OBLIQUE @ [1, 2, 3, 1])


def test_only_mha_is_written(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match=r"\.mha.*HIL-IO-04"):
        metaimage.write(tmp_path / "a.mhd", Image(volume()[None], OBLIQUE))
    assert not list(tmp_path.iterdir())


def test_n12_byte_order_is_followed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mha", volume(">i2").tobytes(order="F"), BinaryDataByteOrderMSB="True")
    seen = metaimage.read(path)
    np.testing.assert_array_equal(seen.array[0], volume())
    assert seen.array.dtype.isnative


@pytest.mark.parametrize("name", ["TransformMatrix", "Offset"])
def test_n05_half_a_place_is_a_named_warning(tmp_path: Path, name: str) -> None:
    seen = metaimage.read(write(tmp_path / "a.mha", **{name: None}))
    assert [f"HIL-N05: no {name} is stated" in words for words in seen.warnings] == [True]


def test_n05_no_place_is_a_named_warning(tmp_path: Path) -> None:
    seen = metaimage.read(write(tmp_path / "a.mha", TransformMatrix=None, Offset=None))
    assert "HIL-N05" in seen.warnings[0] and seen.meta["geometry"] == "unknown" and seen.spacing == (1.0, 1.0, 2.0)


def test_n06_sheared_directions_are_set_upright(tmp_path: Path) -> None:
    seen = metaimage.read(write(tmp_path / "a.mha", TransformMatrix="1 0 0 0 1 0 0 0.3 0.954"))
    assert "HIL-N06" in seen.warnings[0] and seen.meta["resampled"]["why"].startswith("the voxel axes")


@pytest.mark.parametrize("matrix", ["1 0 0 0 1 0 0 0 0", "1 0 0 1 0 0 0 0 1"])
def test_n06_singular_directions_are_refused(tmp_path: Path, matrix: str) -> None:
    refused(write(tmp_path / "a.mha", TransformMatrix=matrix), "HIL-N06")


@pytest.mark.parametrize("spacing", [None, "1 1 0", "1 -1 2"])
def test_n07_unusable_spacing_is_refused(tmp_path: Path, spacing: str | None) -> None:
    refused(write(tmp_path / "a.mha", ElementSpacing=spacing), "HIL-N07")


@pytest.mark.parametrize(
    "changes",
    [
        {"NDims": "4", "DimSize": "5 6 7 2", "ElementSpacing": "1 1 1 1", "TransformMatrix": None, "Offset": None},
        {"ElementNumberOfChannels": "3"},
        {"ElementType": "MET_UCHAR_ARRAY"},
    ],
)
def test_n10_series_and_channels_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    data = volume(shape=(5, 6, 7, 3 if "NDims" not in changes else 2)).tobytes()
    refused(write(tmp_path / "a.mha", data, **changes), "HIL-N10")


def test_n10_a_fourth_axis_of_one_is_squeezed_and_a_picture_is_one_slice(tmp_path: Path) -> None:
    eye = " ".join(str(v) for v in np.eye(4, dtype=int).ravel())
    changes = {"NDims": "4", "DimSize": "5 6 7 1", "ElementSpacing": "1 1 2 1", "Offset": "0 0 0 0"}
    assert metaimage.read(write(tmp_path / "a.mha", **changes, TransformMatrix=eye)).shape == SHAPE
    changes = {"NDims": "2", "DimSize": "30 7", "ElementSpacing": "1 2", "Offset": "3 0", "TransformMatrix": "1 0 0 1"}
    seen = metaimage.read(write(tmp_path / "b.mha", **changes))
    assert seen.shape == (30, 7, 1) and "HIL-N10" in seen.warnings[0]


@pytest.mark.parametrize("sizes", ["5 6 0", "5 -6 7", "5 6 1e300"])
def test_n11_impossible_dimensions_are_refused(tmp_path: Path, sizes: str) -> None:
    refused(write(tmp_path / "a.mha", DimSize=sizes), "HIL-N11|HIL-N16")


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.6, 0.95, 0.999])
def test_n01_cut_files_are_refused(tmp_path: Path, share: float) -> None:
    metaimage.write(tmp_path / "a.mha", Image(volume(shape=(9, 9, 9))[None], OBLIQUE))
    whole = (tmp_path / "a.mha").read_bytes()
    (tmp_path / "a.mha").write_bytes(whole[: int(len(whole) * share)])
    refused(tmp_path / "a.mha", "HIL-N01|HIL-N16|HIL-N03")


def test_n02_a_bad_checksum_is_refused(tmp_path: Path) -> None:
    packed = bytearray(zlib.compress(volume().tobytes(order="F")))
    packed[-2] ^= 0xFF
    refused(write(tmp_path / "a.mha", bytes(packed), CompressedData="True"), "HIL-N02")


def test_n03_a_bomb_is_refused_before_allocating(tmp_path: Path) -> None:
    packed = zlib.compress(bytes(100_000))
    path = write(tmp_path / "a.mha", packed, CompressedData="True", DimSize="32000 32000 32000")
    refused(path, "HIL-N03")
    refused(write(tmp_path / "b.mha", zlib.compress(bytes(1 << 24)), CompressedData="True"), "HIL-N16|HIL-N02")


LIES: dict[str, tuple[dict[str, str | None], str]] = {
    "more voxels than bytes": ({"DimSize": "5 6 8"}, "HIL-N01"),
    "fewer voxels than bytes": ({"DimSize": "5 6 6"}, "HIL-N16"),
    "larger elements": ({"ElementType": "MET_DOUBLE"}, "HIL-N01"),
    "smaller elements": ({"ElementType": "MET_UCHAR"}, "HIL-N16"),
    "fewer sizes than dimensions": ({"DimSize": "5 6"}, "HIL-N16"),
    "dimensions that are no number": ({"NDims": "three"}, "HIL-N16"),
    "ninety dimensions": ({"NDims": "90"}, "HIL-N11"),
    "unknown type": ({"ElementType": "MET_QUAD"}, "HIL-N16"),
    "no type": ({"ElementType": None}, "HIL-N16"),
    "byte order that is no word": ({"BinaryDataByteOrderMSB": "maybe"}, "HIL-N16"),
    "voxels as text": ({"BinaryData": "False"}, "HIL-N16"),
    "not an image": ({"ObjectType": "Tube"}, "HIL-N16"),
    "header size beyond the end": ({"HeaderSize": "100000"}, "HIL-N16"),
    "header size inside the header": ({"HeaderSize": "10"}, "HIL-N16"),
    "negative header size": ({"HeaderSize": "-7"}, "HIL-N16"),
    "compressed but is not": ({"CompressedData": "True"}, "HIL-N02"),
    "compressed size": ({"CompressedData": "True", "CompressedDataSize": "99"}, "HIL-N16"),
    "NaN in directions": ({"TransformMatrix": "1 0 0 0 nan 0 0 0 1"}, "HIL-N16"),
    "infinite offset": ({"Offset": "0 inf 0"}, "HIL-N16"),
    "directions of another size": ({"TransformMatrix": "1 0 0 1"}, "HIL-N16"),
    "a scale that nobody applies": ({"ElementToIntensityFunctionSlope": "2"}, "HIL-N16"),
    "list of files": ({"ElementDataFile": "LIST"}, "HIL-N16"),
    "pattern of files": ({"ElementDataFile": "slice%03d.raw 1 7 1"}, "HIL-N16"),
    "parent folder": ({"ElementDataFile": "../../etc/passwd"}, "HIL-N16"),
    "absolute path": ({"ElementDataFile": "/etc/passwd"}, "HIL-N16"),
    "windows path": ({"ElementDataFile": "C:\\secret.raw"}, "HIL-N16"),
    "address": ({"ElementDataFile": "http://example.org/a.raw"}, "HIL-N16"),
    "itself": ({"ElementDataFile": "a.mha"}, "HIL-N16"),
    "missing file": ({"ElementDataFile": "nothing.raw"}, "HIL-N16"),
}


@pytest.mark.parametrize("name", LIES)
def test_n16_a_header_that_lies_is_refused(tmp_path: Path, name: str) -> None:
    changes, code = LIES[name]
    metaimage.read(write(tmp_path / "sound.mha"))
    refused(write(tmp_path / "a.mha", **changes), code)


def test_n16_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.raw").write_bytes(volume().tobytes(order="F"))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.raw").symlink_to(tmp_path / "secret.raw")
    assert "outside" in refused(write(tmp_path / "in" / "a.mhd", b"", ElementDataFile="a.raw"), "HIL-N16")
    (tmp_path / "in" / "b.raw").write_bytes(volume().tobytes(order="F"))
    assert metaimage.read(write(tmp_path / "in" / "b.mhd", b"", ElementDataFile="b.raw")).shape == SHAPE


@pytest.mark.parametrize(
    "head", [b"", b"\0\1\2", b"ObjectType = Image\n" * 9000, b"ObjectType = Image\nNDims = 3\nNDims = 3\n", b"a\nb\n"]
)
def test_n16_what_is_no_header_is_refused(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "a.mha").write_bytes(head)
    refused(tmp_path / "a.mha", "HIL-N16")


@pytest.mark.parametrize("tail", [b"\x01", b"text", bytes(3) + b"x"], ids=["one", "text", "zeros"])
def test_n02_what_follows_the_compressed_voxels_is_refused(tmp_path: Path, tail: bytes) -> None:
    packed = zlib.compress(volume().tobytes(order="F")) + tail
    refused(write(tmp_path / "a.mha", packed, CompressedData="True"), "HIL-N02")
