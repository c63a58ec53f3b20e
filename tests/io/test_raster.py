"""Pictures: values exactly as stored, turned once, and refused where their meaning is unclear."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
import tifffile
from PIL import Image as Pillow
from PIL import ImageCms, ImageOps

from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE, Mask
from hilum.core.image import Image
from hilum.io import open as open_source
from hilum.io import raster
from hilum.io._raster import decoded

RNG = np.random.default_rng(0)
ALL = ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp"]


def noise(*shape: int, dtype: Any = np.uint8) -> Any:
    return RNG.integers(0, np.iinfo(dtype).max, shape, endpoint=True).astype(dtype)


def refused(path: Path, code: str, labels: bool = False) -> str:
    """What is said about the file; it names the file."""
    with pytest.raises(HilumError) as error:
        raster.read_labels(path) if labels else raster.read(path)
    assert error.value.code == code, str(error.value)
    assert path.name in error.value.seen
    return error.value.seen


def pixels(path: Path) -> Any:
    """As other readers give it: (row, column) or (row, column, channel)."""
    array = raster.read(path).array
    return array[0] if array.shape[0] == 1 else np.moveaxis(array, 0, -1)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(path: Path, head: tuple[int, int, int, int], rows: bytes, *extra: tuple[bytes, bytes]) -> Path:
    """A PNG written by hand. head: width, height, bits, colour type. rows: packed bytes of all rows."""
    width, height, bits, colour = head
    size = len(rows) // max(1, height)
    packed = zlib.compress(b"".join(b"\0" + rows[i * size : (i + 1) * size] for i in range(min(height, len(rows)))))
    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    body += b"".join(chunk(*pair) for pair in extra) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def deep_png(path: Path, array: Any, *extra: tuple[bytes, bytes]) -> Path:
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[array.shape[2] if array.ndim == 3 else 1]
    return png(path, (array.shape[1], array.shape[0], 16, colour), array.astype(">u2").tobytes(), *extra)


def tiff(path: Path, changes: dict[int, int], data: bytes = bytes(10_000)) -> Path:
    """A grey TIFF of 100 x 100 in one strip, with other values for some tags."""
    tags = {256: 100, 257: 100, 258: 8, 259: 1, 262: 1, 273: 0, 277: 1, 278: 100, 279: len(data)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    tags |= changes
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    head += b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items()) + bytes(4)
    path.write_bytes(head + data)
    return path


@pytest.mark.parametrize(
    ("name", "dtype", "channels"),
    [("a.png", "uint8", 1), ("a.png", "uint16", 1), ("a.png", "uint8", 3), ("a.tif", "uint8", 3),
     ("a.tif", "uint16", 3), ("a.tiff", "float32", 1), ("a.tif", "uint16", 1)],
)  # fmt: skip
def test_round_trip(tmp_path: Path, name: str, dtype: str, channels: int) -> None:
    array = (RNG.random((channels, 7, 9)) * 255 * (255 if dtype == "uint16" else 1)).astype(dtype)
    raster.write(tmp_path / name, Image(array))
    seen = raster.read(tmp_path / name)
    assert seen.array.dtype == dtype and seen.affine is None and not seen.warnings
    np.testing.assert_array_equal(seen.array, array)
    np.testing.assert_array_equal(raster.read(tmp_path / name, (slice(2, 5), slice(1, 9))).array, array[:, 2:5, 1:9])


# I01: turned once


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "kind", ["png", "jpg", "webp", "tif", "lzw.tif", "jpeg.tif", "fax.tif", "tiles.tif", "palette.tif"]
)
def test_i01_exif_orientation_is_applied_once_for_image_and_label(tmp_path: Path, orientation: int, kind: str) -> None:
    # blocks of two values survive every codec exactly
    array = np.kron(np.array([[1, 0, 1], [0, 0, 1], [1, 1, 1], [0, 1, 0]], np.uint8), np.ones((16, 16), np.uint8)) * 255
    picture = Pillow.fromarray(array)
    exif = picture.getexif()
    exif[274] = orientation
    picture.save(tmp_path / "plain.png", exif=exif)
    with Pillow.open(tmp_path / "plain.png") as plain:
        wanted = np.asarray(ImageOps.exif_transpose(plain))
    path = tmp_path / f"a.{kind}"
    packed = {"lzw.tif": "tiff_lzw", "jpeg.tif": "jpeg", "fax.tif": "group4"}
    if kind == "tiles.tif":
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(path, array.astype(np.uint16) * 200, tile=(16, 16), extratags=tags)
        wanted = wanted.astype(np.uint16) * 200
    elif kind == "palette.tif":
        index = picture.convert("P", palette=Pillow.Palette.ADAPTIVE, colors=2)
        index.save(path, tiffinfo={274: orientation})
    elif kind in packed:
        picture.convert("1" if kind == "fax.tif" else "L").save(
            path, compression=packed[kind], tiffinfo={274: orientation}
        )
    else:
        picture.save(path, exif=exif, **({"lossless": True} if kind == "webp" else {}))
    np.testing.assert_array_equal(raster.read(path).array[0], wanted)
    labels = raster.read_labels(path).array[0]
    assert labels.shape == wanted.shape
    assert ((labels == labels[wanted > 0][0]) == (wanted > 0)).all()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_i01_16_bit_png_is_turned_too(tmp_path: Path, orientation: int, channels: int) -> None:
    array = noise(4, 6, channels, dtype=np.uint16)
    if channels == 4:
        array[..., 3] = 65535
    exif = Pillow.Exif()
    exif[274] = orientation
    deep_png(tmp_path / "a.png", array, (b"eXIf", exif.tobytes()[6:]))
    for channel in range(min(channels, 3)):
        low = Pillow.fromarray((array[..., channel] >> 8).astype(np.uint8))
        low.save(tmp_path / "low.png", exif=exif)
        with Pillow.open(tmp_path / "low.png") as plain:
            wanted = np.asarray(ImageOps.exif_transpose(plain))
        np.testing.assert_array_equal(raster.read(tmp_path / "a.png").array[channel] >> 8, wanted)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_i01_an_orientation_without_meaning_is_warned_about(tmp_path: Path, name: str) -> None:
    array = noise(4, 6)
    picture = Pillow.fromarray(array)
    if name == "a.tif":
        picture.save(tmp_path / name, tiffinfo={274: 9})
    else:
        exif = picture.getexif()
        exif[274] = 9
        picture.save(tmp_path / name, exif=exif)
    seen = raster.read(tmp_path / name)
    np.testing.assert_array_equal(seen.array[0], array)
    assert [w[:8] for w in seen.warnings] == ["HIL-I01:"]


# I02: kinds of colour


def test_i02_a_palette_is_indices_for_labels_and_colours_for_images(tmp_path: Path) -> None:
    index = RNG.integers(0, 3, (5, 5)).astype(np.uint8)
    picture = Pillow.fromarray(index)
    picture.putpalette([9, 0, 0, 255, 7, 0, 0, 5, 255])
    table = np.array([[9, 0, 0], [255, 7, 0], [0, 5, 255]])
    for name in ("a.png", "a.tif", "a.bmp"):
        picture.save(tmp_path / name)
        np.testing.assert_array_equal(raster.read_labels(tmp_path / name).array[0], index)
        np.testing.assert_array_equal(pixels(tmp_path / name), table[index])


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("colour", [0, 3])
def test_i02_few_bits_are_values_for_labels_and_spread_for_images(tmp_path: Path, bits: int, colour: int) -> None:
    stored = RNG.integers(0, 1 << bits, (5, 8))
    single = (stored[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(single.reshape(5, -1).astype(np.uint8), axis=1).tobytes()
    table = bytes(range(3 << bits))
    path = png(tmp_path / "a.png", (8, 5, bits, colour), rows, *([(b"PLTE", table)] if colour == 3 else []))
    np.testing.assert_array_equal(raster.read_labels(path).array[0], stored)
    wanted = (
        np.frombuffer(table, np.uint8).reshape(-1, 3)[stored] if colour == 3 else stored * (255 // ((1 << bits) - 1))
    )
    np.testing.assert_array_equal(pixels(path), wanted)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("white", [0, 1], ids=["white is zero", "black is zero"])
def test_i02_white_is_zero_is_turned_for_images_and_not_for_labels(tmp_path: Path, bits: int, white: int) -> None:
    stored = RNG.integers(0, 1 << bits, (100, 104)).astype(np.uint16)
    single = (stored[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    data = stored.tobytes() if bits == 16 else np.packbits(single.reshape(100, -1).astype(np.uint8), axis=1).tobytes()
    path = tiff(tmp_path / "a.tif", {256: 104, 258: bits, 262: white, 279: len(data)}, data)
    np.testing.assert_array_equal(raster.read_labels(path).array[0], stored)
    values = stored if white else (1 << bits) - 1 - stored.astype(int)
    np.testing.assert_array_equal(pixels(path), values * (255 // ((1 << bits) - 1) if bits < 8 else 1))


def test_i02_a_label_under_an_inverting_table_keeps_its_values(tmp_path: Path) -> None:
    """As ImageJ writes a mask whose object is stored as 255 and shown in black."""
    stored = np.zeros((100, 100), np.uint8)
    stored[20:40, 30:70] = 255
    path = tiff(tmp_path / "a.tif", {262: 0}, stored.tobytes())
    np.testing.assert_array_equal(raster.read_labels(path).array[0], stored)
    np.testing.assert_array_equal(raster.read(path).array[0], 255 - stored)


def test_i02_one_bit_and_cmyk(tmp_path: Path) -> None:
    bits = RNG.random((5, 5)) > 0.5
    Pillow.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.read_labels(tmp_path / "a.png").array[0], bits)
    np.testing.assert_array_equal(raster.read(tmp_path / "a.png").array[0], bits * 255)
    Pillow.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    assert raster.read(tmp_path / "c.tif").array[:, 0, 0].tolist() == [255, 0, 0]


def inks() -> tuple[Any, Any]:
    """CMYK (row, column, 4) of flat squares, and the RGB that (1 - ink) (1 - black) gives."""
    flat = RNG.integers(0, 256, (3, 4, 4)).astype(np.uint8)
    cmyk = np.kron(flat, np.ones((16, 16, 1), np.uint8))
    light = 255 - cmyk.astype(float)
    return cmyk, np.round(light[..., :3] * light[..., 3:] / 255)


@pytest.mark.parametrize("name", ["a.tif", "lzw.tif", "a.jpg"])
def test_i02_cmyk_becomes_rgb_with_a_warning(tmp_path: Path, name: str) -> None:
    cmyk, wanted = inks()
    options: dict[str, Any] = {"quality": 100} if name == "a.jpg" else {}
    if name == "lzw.tif":
        options["compression"] = "tiff_lzw"
    Pillow.fromarray(cmyk, "CMYK").save(tmp_path / name, **options)
    seen = raster.read(tmp_path / name)
    assert np.abs(pixels(tmp_path / name) - wanted).max() <= (3 if name == "a.jpg" else 0)
    assert [w[:8] for w in seen.warnings] == ["HIL-I02:"] and seen.meta["stored"] == "CMYK"


def test_i02_inks_turned_by_adobe_and_ycck(tmp_path: Path) -> None:
    cmyk, _ = inks()
    stream = io.BytesIO()
    Pillow.fromarray(cmyk, "CMYK").save(stream, "JPEG", quality=100)
    data = stream.getvalue()
    mark = data.index(b"Adobe")
    # the same four channels, now said to be YCCK: the first three are luma and chroma of the light
    (tmp_path / "ycck.jpg").write_bytes(data[: mark + 11] + b"\x02" + data[mark + 12 :])
    seen = raster.read(tmp_path / "ycck.jpg")
    luma, blue, red = (255.0 - cmyk[..., i] for i in range(3))
    rgb = np.stack([luma + 1.402 * (red - 128), luma - 0.344136 * (blue - 128) - 0.714136 * (red - 128),
                    luma + 1.772 * (blue - 128)], -1).clip(0, 255)  # fmt: skip
    # libjpeg gives inks as 255 - RGB; Adobe's mark says that they are stored the other way round
    light = (255 - rgb) * (255.0 - cmyk[..., 3:]) / 255
    assert seen.meta["stored"] == "YCCK"
    assert np.abs(np.moveaxis(seen.array, 0, -1) - light).max() <= 4
    # without Adobe's mark nobody knows which way round
    start = mark - 4
    length = struct.unpack(">H", data[start + 2 : start + 4])[0]
    (tmp_path / "bare.jpg").write_bytes(data[:start] + data[start + 2 + length :])
    assert "CMYK" in refused(tmp_path / "bare.jpg", "HIL-I02")


def test_i02_lab_and_other_kinds_are_refused(tmp_path: Path) -> None:
    Pillow.new("LAB", (8, 8), (50, 10, 10)).save(tmp_path / "lab.tif")
    assert "CIELAB" in refused(tmp_path / "lab.tif", "HIL-I02")
    tifffile.imwrite(tmp_path / "five.tif", noise(8, 8, 5), photometric="rgb", extrasamples=["unspecified"] * 2)
    assert "5 samples" in refused(tmp_path / "five.tif", "HIL-I02")
    tifffile.imwrite(tmp_path / "complex.tif", np.ones((8, 8), np.complex64), photometric="minisblack")
    refused(tmp_path / "complex.tif", "HIL-I02")
    refused(tiff(tmp_path / "ycc.tif", {262: 6, 277: 3, 256: 50, 257: 50, 278: 50}), "HIL-I02")
    refused(tiff(tmp_path / "twelve.tif", {258: 12, 257: 50, 278: 50}), "HIL-I02")


def test_i02_a_colour_profile_is_a_recorded_fact(tmp_path: Path) -> None:
    array = noise(8, 8, 3)
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for name in ("a.png", "a.tif", "a.webp"):
        options = {"lossless": True} if name == "a.webp" else {}
        for data, warned in ((plain, False), (lab, True), (b"no profile" * 20, True)):
            Pillow.fromarray(array).save(tmp_path / name, icc_profile=data, **options)
            seen = raster.read(tmp_path / name)
            np.testing.assert_array_equal(np.moveaxis(seen.array, 0, -1), array)
            assert isinstance(seen.meta["icc"], str) and [w[:8] for w in seen.warnings] == ["HIL-I02:"] * warned
    assert "sRGB" not in seen.meta["icc"]
    Pillow.fromarray(array[..., 0]).save(tmp_path / "grey.png", icc_profile=plain)
    assert "grey picture" in raster.read(tmp_path / "grey.png").warnings[0]


# I03: depth


@pytest.mark.parametrize("name", ["a.png", "named.jpg"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_i03_16_bit_png_is_not_clipped(tmp_path: Path, channels: int, name: str) -> None:
    array = noise(6, 5, channels, dtype=np.uint16)
    if channels in (2, 4):
        array[..., -1] = 65535
    deep_png(tmp_path / name, array)
    seen = raster.read(tmp_path / name).array
    assert seen.dtype == np.uint16
    np.testing.assert_array_equal(np.moveaxis(seen, 0, -1), array[..., : 1 if channels < 3 else 3])


def test_i03_16_bit_colour_png_as_simpleitk_writes_it(tmp_path: Path) -> None:
    array = noise(6, 5, 3, dtype=np.uint16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), str(tmp_path / "a.png"))
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), array)


LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {}, "one row a strip": {"rowsperstrip": 1}, "deflate": {"compression": "zlib", "rowsperstrip": 7},
    "lzma": {"compression": "lzma"}, "big": {"bigtiff": True}, "big endian": {"byteorder": ">"},
    "tiles": {"tile": (16, 32)}, "deflated tiles": {"tile": (16, 16), "compression": "zlib"},
    "planes": {"planarconfig": "separate"}, "planes of tiles": {"planarconfig": "separate", "tile": (16, 16)},
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["u1", "u2", "u4", "i2", "f4", "f8"])
@pytest.mark.parametrize("channels", [1, 3])
def test_i03_every_layout_of_tiff_keeps_its_values(tmp_path: Path, layout: str, dtype: str, channels: int) -> None:
    options = dict(LAYOUTS[layout])
    if channels == 1:
        options.pop("planarconfig", None)
    array = (RNG.random((37, 53, channels)) * (60000 if dtype in ("u2", "u4") else 100)).astype(dtype)
    stored = np.moveaxis(array, -1, 0) if "planarconfig" in options else array if channels == 3 else array[..., 0]
    if options.get("compression") == "zlib" and dtype[0] != "f":
        options["predictor"] = True
    kind = "rgb" if channels == 3 else "minisblack"
    tifffile.imwrite(tmp_path / "a.tif", np.ascontiguousarray(stored), photometric=kind, metadata=None, **options)
    seen = raster.read(tmp_path / "a.tif").array
    assert seen.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(np.moveaxis(seen, 0, -1), array)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), stored)


@pytest.mark.parametrize("packing", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "zstd"])
@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "F"])
@pytest.mark.parametrize("differences", [False, True])
def test_i03_every_packing_of_tiff_keeps_its_values(tmp_path: Path, packing: str, mode: str, differences: bool) -> None:
    predictor = 1 if not differences or packing == "packbits" else 3 if mode == "F" else 2
    array = noise(40, 31, 3) if mode == "RGB" else noise(40, 31, dtype=np.uint16 if mode == "I;16" else np.uint8)
    if mode == "F":
        array = RNG.normal(size=(40, 31)).astype(np.float32)
    # slow changes, so that packing has something to do
    array[10:30] = array[10]
    Pillow.fromarray(array).save(tmp_path / "a.tif", compression=packing, tiffinfo={317: predictor})
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert int(file.pages[0].predictor) == predictor  # type: ignore[union-attr]
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), array)
    with Pillow.open(tmp_path / "a.tif") as other:
        np.testing.assert_array_equal(np.asarray(other), array)
    if mode != "F" and packing != "zstd":
        np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.tif"))), array)


def test_jpeg_in_tiff_is_what_other_readers_see(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    for array in (smooth, np.stack([smooth, smooth[::-1], smooth // 2], -1)):
        Pillow.fromarray(array).save(tmp_path / "a.tif", compression="jpeg", quality=95)
        other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "a.tif")))
        assert np.abs(pixels(tmp_path / "a.tif").astype(int) - other).max() <= 2
        assert np.abs(pixels(tmp_path / "a.tif").astype(int) - array).max() <= 8


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp", "a.jpg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_format_is_what_a_second_reader_sees(tmp_path: Path, name: str, channels: int) -> None:
    smooth = np.add.outer(np.arange(33), 3 * np.arange(20)).astype(np.uint8)
    array = np.stack([smooth, 90 + smooth, 255 - smooth], -1) if channels == 3 else smooth
    options = {"lossless": True} if name == "a.webp" else {}
    Pillow.fromarray(array).save(tmp_path / name, **options)
    seen = pixels(tmp_path / name)
    if name != "a.jpg":
        np.testing.assert_array_equal(seen, np.repeat(array[..., None], 3, -1) if seen.ndim > array.ndim else array)
    if name != "a.webp":
        # SimpleITK brings its own libpng, libjpeg, libtiff and BMP reader
        other = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / name)))
        assert np.abs(seen.astype(int) - (other if other.ndim == seen.ndim else other[..., 0])).max() <= (
            8 if name == "a.jpg" else 0
        )


# I04: see-through, several pages


def test_i04_alpha_must_be_opaque(tmp_path: Path) -> None:
    rgba = noise(5, 5, 4)
    Pillow.fromarray(rgba).save(tmp_path / "a.png")
    refused(tmp_path / "a.png", "HIL-I04")
    rgba[..., 3] = 255
    Pillow.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.read(tmp_path / "a.png").array, np.moveaxis(rgba[..., :3], -1, 0))


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("kind", ["rgba", "grey", "deep", "tiff", "webp", "grey key", "deep key", "palette", "two"])
def test_i04_the_share_of_see_through_pixels_is_said(tmp_path: Path, kind: str, labels: bool) -> None:
    path = tmp_path / ("a.tif" if kind == "tiff" else "a.webp" if kind == "webp" else "a.png")
    alpha = np.full((10, 10), 255, np.uint8)
    alpha[0, :3] = 0
    grey = np.where(alpha == 0, 7, 9).astype(np.uint8)
    if kind in ("rgba", "webp"):
        Pillow.fromarray(np.dstack([grey] * 3 + [alpha])).save(path, **({"lossless": True} if kind == "webp" else {}))
    elif kind == "grey":
        Pillow.fromarray(np.dstack([grey, alpha]), "LA").save(path)
    elif kind == "deep":
        deep_png(path, np.dstack([grey, alpha.astype(np.uint16) * 257]))
    elif kind == "tiff":
        tifffile.imwrite(path, np.dstack([grey] * 3 + [alpha]), photometric="rgb", extrasamples=["unassalpha"])
    elif kind == "grey key":
        Pillow.fromarray(grey).save(path, transparency=7)
    elif kind == "deep key":
        deep_png(path, grey.astype(np.uint16)[..., None], (b"tRNS", struct.pack(">H", 7)))
    else:
        picture = Pillow.fromarray(grey)
        picture.putpalette(bytes(range(60)))
        picture.save(path, transparency=7 if kind == "palette" else bytes([255] * 7 + [100]))
    assert "3.0%" in refused(path, "HIL-I04", labels)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("bits", [2, 4])
def test_i04_a_see_through_value_of_few_bits_is_refused(tmp_path: Path, bits: int, labels: bool) -> None:
    """Pillow spreads the values over 0 to 255 and leaves the key as it is stored: only 0 was ever found."""
    rows = bytes([0x1B] * (2 if bits == 2 else 4)) * 4
    path = png(tmp_path / "a.png", (8, 4, bits, 0), rows, (b"tRNS", struct.pack(">H", 3 if bits == 2 else 11)))
    assert ("25.0%" if bits == 2 else "50.0%") in refused(path, "HIL-I04", labels)
    png(tmp_path / "b.png", (8, 4, bits, 0), bytes(len(rows)), (b"tRNS", struct.pack(">H", 3)))
    assert not raster.read(tmp_path / "b.png").array.any()


def test_a_jpeg_with_a_scan_for_each_component_is_read(tmp_path: Path) -> None:
    """It was refused as cut short: without its end mark the decoder waits for more scans."""
    planes = [np.tile(np.linspace(low, 255 - low, 32).astype(np.uint8), (24, 1)) for low in (20, 90, 160)]
    parts = []
    for plane in planes:
        stream = io.BytesIO()
        Pillow.fromarray(plane).save(stream, "JPEG", quality=90)
        parts.append(stream.getvalue())
    frame, scan = parts[0].index(b"\xff\xc0"), parts[0].index(b"\xff\xda")
    rows = b"\x08" + struct.pack(">HHB", 24, 32, 3) + b"".join(bytes([n, 0x11, 0]) for n in (1, 2, 3))
    tables = parts[0][frame + 13 : scan]
    data = parts[0][:frame] + b"\xff\xc0" + struct.pack(">H", 2 + len(rows)) + rows + tables
    for number, part in enumerate(parts, 1):
        data += b"\xff\xda\x00\x08\x01" + bytes([number, 0, 0, 63, 0]) + part[scan + 10 : -2]
    path = tmp_path / "a.jpg"
    path.write_bytes(data + b"\xff\xd9")
    whole = np.dstack([np.asarray(Pillow.open(io.BytesIO(part))) for part in parts])
    wanted = np.asarray(Pillow.fromarray(whole, "YCbCr").convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_allclose(raster.read(path).array.astype(int), wanted.astype(int), atol=2)
    one = data[: data.index(b"\xff\xda") + 40]
    path.write_bytes(one)
    refused(path, "HIL-I06")


def test_i04_a_see_through_colour_in_16_bit_is_refused(tmp_path: Path) -> None:
    array = noise(4, 4, 3, dtype=np.uint16)
    refused(deep_png(tmp_path / "a.png", array, (b"tRNS", struct.pack(">HHH", 1, 2, 3))), "HIL-I04")


def test_i04_a_see_through_colour_that_is_not_used_does_not_matter(tmp_path: Path) -> None:
    grey = RNG.integers(10, 99, (5, 5)).astype(np.uint8)
    Pillow.fromarray(grey).save(tmp_path / "a.png", transparency=7)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), grey)
    deep = grey.astype(np.uint16) * 100
    deep_png(tmp_path / "b.png", deep[..., None], (b"tRNS", struct.pack(">H", 7)))
    np.testing.assert_array_equal(pixels(tmp_path / "b.png"), deep)


@pytest.mark.parametrize("kind", ["tif", "webp", "png", "mpo.jpg", "imagej.tif", "thumbnail.tif"])
def test_i04_several_pages_are_refused(tmp_path: Path, kind: str) -> None:
    pages = [Pillow.fromarray(noise(8, 8, 3)) for _ in range(3)]
    path = tmp_path / f"a.{kind}"
    if kind == "imagej.tif":
        tifffile.imwrite(path, noise(3, 8, 8), imagej=True)
    elif kind == "thumbnail.tif":
        tifffile.imwrite(path, noise(8, 8), subfiletype=1, photometric="minisblack")
        assert "thumbnail" in refused(path, "HIL-I04")
        return
    else:
        pages[0].save(path, "MPO" if kind == "mpo.jpg" else None, save_all=True, append_images=pages[1:])
    assert any(word in refused(path, "HIL-I04") for word in ("3 pages", "3 frames"))


# I05: too large


def test_i05_huge_pictures_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pillow.new("L", (400, 400)).save(tmp_path / "a.png")
    monkeypatch.setattr(raster, "MOST_PIXELS", 1000)
    refused(tmp_path / "a.png", "HIL-I05")


@pytest.mark.parametrize("kind", ["png", "deep.png", "jpg", "tif", "big.tif", "bmp", "tiles.tif"])
def test_i05_two_thousand_million_pixels_in_a_small_file(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    if kind.endswith("png"):
        png(path, (50_000, 40_000, 16 if kind == "deep.png" else 8, 2), bytes(100))
    elif kind == "jpg":
        Pillow.new("L", (16, 16)).save(path)
        data = path.read_bytes()
        at = data.index(b"\xff\xc0") + 5
        path.write_bytes(data[:at] + struct.pack(">HH", 40_000, 50_000) + data[at + 4 :])
    elif kind == "bmp":
        Pillow.new("L", (16, 16)).save(path)
        data = path.read_bytes()
        path.write_bytes(data[:18] + struct.pack("<ii", 50_000, 40_000) + data[26:])
    elif kind == "tiles.tif":
        tifffile.imwrite(path, noise(32, 32), tile=(32, 32))
        data = path.read_bytes()
        for tag in (322, 323):
            head = struct.pack("<HHI", tag, 4, 1)
            short = struct.pack("<HHI", tag, 3, 1)
            at = data.index(head if head in data else short)
            data = data[:at] + head + struct.pack("<I", 48_000) + data[at + 12 :]
        path.write_bytes(data)
    elif kind == "big.tif":
        tifffile.imwrite(path, noise(16, 16), bigtiff=True)
        data = path.read_bytes()
        for tag, size in ((256, 50_000), (257, 40_000)):
            at = data.index(struct.pack("<H", tag)) + 12
            data = data[:at] + struct.pack("<I", size) + data[at + 4 :]
        path.write_bytes(data)
    else:
        tiff(path, {256: 50_000, 257: 40_000, 278: 40_000})
    tracemalloc.start()
    refused(path, "HIL-I05")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.parametrize("count", [10_000_000, 2**31, 2**32 - 1])
def test_i05_a_strip_that_claims_a_huge_size_is_refused_before_reading(tmp_path: Path, count: int) -> None:
    tracemalloc.start()
    said = refused(tiff(tmp_path / "a.tif", {279: count}), "HIL-I06")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "the file has" in said and peak < 20_000_000


@pytest.mark.parametrize("code", [8, 34925])
def test_i05_a_strip_that_unpacks_to_far_more_than_its_rows_is_cut_off(tmp_path: Path, code: int) -> None:
    import lzma

    whole = bytes(range(100)) * 100 + bytes(100_000_000)
    packed = zlib.compress(whole, 1) if code == 8 else lzma.compress(whole, preset=0)
    path = tiff(tmp_path / "a.tif", {259: code}, packed)
    del whole
    tracemalloc.start()
    seen = raster.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen.array[0, 3].tolist() == list(range(100)) and peak < 20_000_000


def test_i05_the_limit_counts_bytes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hilum.io._raster import tiff as raster_tiff

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((100, 100, 3), np.float64), photometric="rgb")
    monkeypatch.setattr(raster_tiff, "MOST_BYTES", 100 * 100 * 8)
    refused(tmp_path / "a.tif", "HIL-I05")
    assert decoded.MOST_PIXELS < 2e9


# I06: damaged


@pytest.mark.parametrize("name", ALL)
def test_i06_cut_files_are_refused(tmp_path: Path, name: str) -> None:
    Pillow.fromarray(noise(64, 64, 3)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for share in (0, 0.001, 0.1, 0.5, 0.9, 0.99):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(HilumError, match=r"HIL-I0[67]"):
            raster.read(tmp_path / name)


@pytest.mark.parametrize("size", [(64, 64), (61, 45)])
@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"quality": 100}, {"restart_marker_blocks": 3}], ids=str)
def test_i06_a_cut_jpeg_with_an_end_mark(tmp_path: Path, size: tuple[int, int], options: dict[str, int]) -> None:
    for array in (noise(*size, 3), noise(*size), np.zeros(size, np.uint8)):
        Pillow.fromarray(array).save(tmp_path / "a.jpg", **options)  # type: ignore[arg-type]
        whole = (tmp_path / "a.jpg").read_bytes()
        with Pillow.open(tmp_path / "a.jpg") as other:
            np.testing.assert_array_equal(pixels(tmp_path / "a.jpg"), np.asarray(other))
        if array.any():
            for share in (0.6, 0.9):
                (tmp_path / "a.jpg").write_bytes(whole[: int(len(whole) * share)] + b"\xff\xd9")
                assert "cut" in refused(tmp_path / "a.jpg", "HIL-I06")


@pytest.mark.parametrize("kind", ["head", "pixels", "end", "text"])
def test_i06_png_with_a_wrong_checksum(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    raster.write(path, Image(noise(1, 64, 64)), {"Made by": "a test"})
    data = bytearray(path.read_bytes())
    # a byte inside the chunk's data, or of the checksum itself
    at = {"head": 18, "pixels": data.index(b"IDAT") + 100, "end": len(data) - 1, "text": data.index(b"a test")}[kind]
    data[at] ^= 1
    path.write_bytes(bytes(data))
    assert "checksum" in refused(path, "HIL-I06")


def test_i06_png_whose_pixels_end_early_under_a_right_checksum(tmp_path: Path) -> None:
    assert "damaged" in refused(png(tmp_path / "a.png", (100, 100, 8, 0), bytes(range(100)) * 50), "HIL-I06")
    deep = png(tmp_path / "b.png", (10, 100, 16, 2), bytes(60) * 50)
    refused(deep, "HIL-I06")


@pytest.mark.parametrize(
    "changes",
    [{273: 2**31}, {273: 9_000}, {273: 0}, {279: 0}, {278: 10}, {256: 0}, {257: 0}, {277: 0}, {279: 500}, {259: 5},
     {259: 8}, {259: 7}, {259: 34925}],
    ids=str,
)  # fmt: skip
def test_i06_tiff_whose_tags_contradict_the_file(tmp_path: Path, changes: dict[int, int]) -> None:
    refused(tiff(tmp_path / "a.tif", changes, bytes([255, 7]) * 5000), "HIL-I06")


def test_i06_tiff_with_tags_past_its_end_or_in_a_circle(tmp_path: Path) -> None:
    path = tiff(tmp_path / "a.tif", {})
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + struct.pack("<I", 2**31) + whole[8:])
    refused(path, "HIL-I06")
    after = 8 + 2 + 12 * 9
    path.write_bytes(whole[:after] + struct.pack("<I", 8) + whole[after + 4 :])
    assert raster.read(path).shape == (100, 100), "a chain of pages that bites its tail has one page"
    at = whole.index(struct.pack("<HHI", 279, 4, 1))
    path.write_bytes(whole[:at] + struct.pack("<HHII", 279, 4, 2**31 - 1, 200) + whole[at + 12 :])
    refused(path, "HIL-I06")


@pytest.mark.parametrize("packing", ["tiff_lzw", "packbits", "tiff_adobe_deflate", "jpeg"])
def test_i06_a_cut_strip_in_a_whole_file(tmp_path: Path, packing: str) -> None:
    Pillow.fromarray(noise(64, 64)).save(tmp_path / "a.tif", compression=packing)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        page: Any = file.pages[0]
        tag = page.tags[279]
        count = page.databytecounts[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    at = tag.offset + 8 if tag.count == 1 else tag.valueoffset
    form = "<I" if tag.dtype == 4 else "<H"
    data[at : at + struct.calcsize(form)] = struct.pack(form, count // 2)
    (tmp_path / "a.tif").write_bytes(bytes(data))
    refused(tmp_path / "a.tif", "HIL-I06")


def test_i06_flipped_bytes_never_leave_as_another_error(tmp_path: Path) -> None:
    for name in ALL:
        Pillow.fromarray(noise(24, 24, 3)).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for at in RNG.integers(0, min(len(data), 400), 3):
                data[at] = RNG.integers(256)
            (tmp_path / name).write_bytes(bytes(data))
            try:
                raster.read(tmp_path / name)
            except HilumError as error:
                assert error.code[:6] == "HIL-I0", error


# I07: by content, and only what is on the list


@pytest.mark.parametrize(("kind", "name"), [("PNG", "a.jpg"), ("JPEG", "a.png"), ("TIFF", "a.png"), ("BMP", "a.tif")])
def test_i07_a_wrong_extension_is_read_by_content_and_warned_about(tmp_path: Path, kind: str, name: str) -> None:
    array = np.full((16, 16), 77, np.uint8)
    Pillow.fromarray(array).save(tmp_path / name, kind)
    seen = raster.read(tmp_path / name)
    np.testing.assert_array_equal(seen.array[0], array)
    assert seen.meta["kind"] == kind and [w[:8] for w in seen.warnings] == ["HIL-I07:"] and kind in seen.warnings[0]


FOREIGN = {
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(200),
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
    "XML or SVG": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>',
    "PDF": b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript/JS(app.alert(1))>>>>endobj",
    "GIF": b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
    "DICOM": bytes(128) + b"DICM" + bytes(100),
}


@pytest.mark.parametrize("kind", FOREIGN)
@pytest.mark.parametrize("name", ALL)
def test_i07_what_is_not_on_the_list_is_refused_under_any_name(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(FOREIGN[kind])
    assert kind in refused(tmp_path / name, "HIL-I07")


@pytest.mark.parametrize(("kind", "name"), [("HEIC", "a.heic"), ("SVG", "a.svg"), ("PDF", "a.pdf"), ("GIF", "a.gif")])
def test_i07_what_is_not_on_the_list_is_refused_under_its_own_name(tmp_path: Path, kind: str, name: str) -> None:
    (tmp_path / name).write_bytes(FOREIGN[kind])
    with pytest.raises(HilumError, match=rf"{name}.*HIL-IO-01"):
        open_source(tmp_path / name)


# I08: labels that are no labels


def disc(top: int = 255) -> Any:
    rows, columns = np.mgrid[:64, :64]
    return np.where((rows - 30) ** 2 + (columns - 33) ** 2 < 400, top, 0).astype(np.uint8)


@pytest.mark.parametrize("kind", ["jpg", "webp", "jpeg.tif"])
def test_i08_blurred_labels_are_refused_with_counts(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"a.{kind}"
    Pillow.fromarray(disc()).save(path, quality=60, **({"compression": "jpeg"} if kind == "jpeg.tif" else {}))
    said = refused(path, "HIL-I08", labels=True)
    assert "pixels" in said and " other " in said


def test_i08_coloured_labels_are_refused_with_counts(tmp_path: Path) -> None:
    array = np.zeros((8, 8, 3), np.uint8)
    array[:3] = (200, 0, 7)
    Pillow.fromarray(array).save(tmp_path / "a.png")
    said = refused(tmp_path / "a.png", "HIL-I08", labels=True)
    assert "2 colours, (0, 0, 0) in 40 pixels, (200, 0, 7) in 24 pixels" in said
    Pillow.fromarray(noise(8, 8, 3)).save(tmp_path / "a.png")
    assert "59 other colours in 59 pixels" in refused(tmp_path / "a.png", "HIL-I08", labels=True)
    deep_png(tmp_path / "d.png", np.array([[[65535, 0, 1], [2, 2, 2]]], np.uint16))
    assert "(65535, 0, 1) in 1" in refused(tmp_path / "d.png", "HIL-I08", labels=True)


@pytest.mark.parametrize("coloured", [False, True])
def test_i08_softened_edges_are_refused_with_counts(tmp_path: Path, coloured: bool) -> None:
    soft = Pillow.fromarray(disc()).resize((50, 50), Pillow.Resampling.BILINEAR)
    (soft.convert("RGB") if coloured else soft).save(tmp_path / "a.png")
    values, counts = np.unique(np.asarray(soft), return_counts=True)
    said = refused(tmp_path / "a.png", "HIL-I08", labels=True)
    assert f"0 in {counts[0]} pixels" in said and f"{len(values) - 5} other values" in said
    tinted = np.asarray(soft)[..., None] * np.array([1.0, 0.5, 0.2])
    Pillow.fromarray(tinted.astype(np.uint8)).save(tmp_path / "t.png")
    assert "colours" in refused(tmp_path / "t.png", "HIL-I08", labels=True)


@pytest.mark.parametrize(("kind", "top"), [(np.uint16, 255), (np.uint16, 65535), (np.int32, 70_000), (np.int16, -900)])
def test_i08_softened_edges_of_more_than_8_bits_are_refused_too(tmp_path: Path, kind: Any, top: int) -> None:
    soft = Pillow.fromarray(disc().astype(np.float32) / 255).resize((50, 50), Pillow.Resampling.BILINEAR)
    name = "a.png" if kind is np.uint16 else "a.tif"
    array = np.round(np.asarray(soft) * top).astype(kind)
    Pillow.fromarray(array).save(tmp_path / name) if name == "a.png" else tifffile.imwrite(tmp_path / name, array)
    said = refused(tmp_path / name, "HIL-I08", labels=True)
    assert f"0 in {(array == 0).sum()} pixels" in said and f"{top} in {(array == top).sum()} pixels" in said


def test_i08_softened_straight_edges_are_refused_too(tmp_path: Path) -> None:
    board = Pillow.fromarray(np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((30, 30), np.uint8)))
    board.resize((45, 50), Pillow.Resampling.BILINEAR).save(tmp_path / "a.png")
    assert "17 in 44 pixels" in refused(tmp_path / "a.png", "HIL-I08", labels=True)
    assert len(np.unique(raster.read(tmp_path / "a.png").array)) < 10


def test_i08_class_maps_and_instances_are_no_softened_edges(tmp_path: Path) -> None:
    rows, columns = np.mgrid[:96, :96]
    nested = sum(((rows - 48) ** 2 + (columns - 48) ** 2 < r**2).astype(np.uint8) for r in (10, 20, 22, 23, 40))
    instances = np.where((rows % 8 < 6) & (columns % 8 < 6), rows // 8 * 12 + columns // 8 + 1, 0)
    touching = rows // 8 * 12 + columns // 8
    lines = np.where(rows % 6 == 0, rows // 6 + 1, 0)
    outlined = np.where(nested == 3, 128, np.where(nested > 3, 255, 0))
    for labels in (nested, instances, touching, lines, disc(), np.where(nested == 1, 255, nested), outlined):
        Pillow.fromarray(labels.astype(np.uint8)).save(tmp_path / "a.png")
        np.testing.assert_array_equal(raster.read_labels(tmp_path / "a.png").array[0], labels)
        # objects of a whole image are numbered into the thousands, those of a scan in no order
        mixed = np.random.default_rng(1).permutation(256)[labels] * 200 * (labels > 0)
        for wide in (labels.astype(np.uint16) * 257, mixed.astype(np.uint16)):
            Pillow.fromarray(wide).save(tmp_path / "b.png")
            np.testing.assert_array_equal(raster.read_labels(tmp_path / "b.png").array[0], wide)


def test_i08_a_jpeg_with_two_values_only_is_a_label(tmp_path: Path) -> None:
    array = np.kron(np.array([[0, 1], [1, 1]], np.uint8), np.ones((16, 16), np.uint8)) * 255
    Pillow.fromarray(array).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_array_equal(raster.read_labels(tmp_path / "a.jpg").array[0], array)


# Writing


def test_masks_are_written_as_values(tmp_path: Path) -> None:
    labels = RNG.integers(0, 900, (8, 9))
    raster.write(tmp_path / "m.png", Mask(labels, {1: "cell"}, instances=True))
    np.testing.assert_array_equal(raster.read_labels(tmp_path / "m.png").array[0], labels)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_what_is_written_says_where_it_comes_from(tmp_path: Path, name: str) -> None:
    facts = {"Model": "réseau 3", "Run": "12"}
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        raster.write(tmp_path / place / name, Image(noise(1, 8, 8) * 0), facts)
    read = raster.provenance(tmp_path / "one" / name)
    assert read.items() >= facts.items() and read["Software"].startswith("Hilum ") and INTENDED_USE in read.values()
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    raster.write(tmp_path / name, Image(noise(1, 8, 8)))
    assert set(raster.provenance(tmp_path / name)) == {"Software", "Intended use"}
    Pillow.fromarray(noise(8, 8)).save(tmp_path / name)
    assert raster.provenance(tmp_path / name) == {}


@pytest.mark.parametrize("facts", [{"": "x"}, {"Software": "x"}, {"a" * 80: "x"}, {"a": "two\nlines"}, {"é": "x"}])
def test_facts_that_do_not_fit_are_not_written(tmp_path: Path, facts: dict[str, str]) -> None:
    with pytest.raises(HilumError, match=r"a\.png.*HIL-IO-04"):
        raster.write(tmp_path / "a.png", Image(noise(1, 8, 8)), facts)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_nothing_appears_where_a_second_reader_sees_something_else(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = noise(1, 8, 8)
    monkeypatch.setattr(raster, "_by_other", lambda path: array[0] + 1)
    with pytest.raises(HilumError, match="HIL-IO-05"):
        raster.write(tmp_path / name, Image(array))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "dtype"), [("a.png", "float32"), ("a.jpg", "uint8")])
def test_what_would_lose_values_is_not_written(tmp_path: Path, name: str, dtype: str) -> None:
    with pytest.raises(HilumError, match="HIL-IO-04"):
        raster.write(tmp_path / name, Image(np.zeros((1, 4, 4), dtype)))
    assert not list(tmp_path.iterdir())


def test_n09_what_is_no_number_is_said_once(tmp_path: Path) -> None:
    array = RNG.random((5, 6)).astype(np.float32)
    tifffile.imwrite(tmp_path / "plain.tif", array)
    array[1, 2], array[3, 4] = np.nan, np.inf
    tifffile.imwrite(tmp_path / "a.tif", array)
    seen = raster.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(seen.array[0], array)
    assert seen.warnings == ("HIL-N09: 2 voxels are NaN or infinite; they are kept",)
    assert raster.read(tmp_path / "plain.tif").warnings == ()
    assert "2 NaN or infinite" in refused(tmp_path / "a.tif", "HIL-N09", labels=True)
