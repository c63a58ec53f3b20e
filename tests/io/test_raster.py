"""Pictures: values exactly as stored, turned once, and refused where their meaning is unclear."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import raster

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "dtype", "channels"),
    [("a.png", "uint8", 1), ("a.png", "uint16", 1), ("a.png", "uint8", 3), ("a.tif", "uint8", 3),
     ("a.tif", "uint16", 3), ("a.tiff", "float32", 1), ("a.tif", "uint16", 1)],
)  # fmt: skip
def test_round_trip(tmp_path: Path, name: str, dtype: str, channels: int) -> None:
    array = (RNG.random((channels, 7, 9)) * 255 * (255 if dtype == "uint16" else 1)).astype(dtype)
    raster.write(tmp_path / name, Image(array))
    seen = raster.read(tmp_path / name)
    assert seen.array.dtype == dtype and seen.affine is None
    np.testing.assert_array_equal(seen.array, array)


def test_i03_16_bit_colour_png_is_not_clipped(tmp_path: Path) -> None:
    SimpleITK = pytest.importorskip("SimpleITK")

    array = RNG.integers(0, 65536, (6, 5, 3)).astype(np.uint16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array, isVector=True), str(tmp_path / "a.png"))
    np.testing.assert_array_equal(raster.read(tmp_path / "a.png").array, np.moveaxis(array, -1, 0))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_i01_exif_orientation_is_applied_once(tmp_path: Path, orientation: int, deep: bool) -> None:
    from PIL import ImageOps

    array = RNG.integers(0, 255, (4, 6)).astype(np.uint8)
    picture = Pillow.fromarray(array)
    exif = picture.getexif()
    exif[274] = orientation
    if deep:
        tags = [(274, "H", 1, orientation, True)]
        tifffile.imwrite(tmp_path / "a.tif", array.astype(np.uint16) * 200, extratags=tags)
    else:
        picture.save(tmp_path / "a.tif", exif=exif)
    picture.save(tmp_path / "plain.png", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Pillow.open(tmp_path / "plain.png")))
    factor = 200 if deep else 1
    np.testing.assert_array_equal(raster.read(tmp_path / "a.tif").array[0], wanted.astype(int) * factor)
    np.testing.assert_array_equal(raster.read_labels(tmp_path / "a.tif").array[0], wanted.astype(int) * factor)


def test_i02_a_palette_is_indices_for_labels_and_colours_for_images(tmp_path: Path) -> None:
    index = RNG.integers(0, 3, (5, 5)).astype(np.uint8)
    picture = Pillow.fromarray(index)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.read_labels(tmp_path / "a.png").array[0], index)
    assert raster.read(tmp_path / "a.png").array.shape == (3, 5, 5)


def test_i02_one_bit_and_cmyk(tmp_path: Path) -> None:
    bits = RNG.random((5, 5)) > 0.5
    Pillow.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.read_labels(tmp_path / "a.png").array[0], bits)
    np.testing.assert_array_equal(raster.read(tmp_path / "a.png").array[0], bits * 255)
    Pillow.new("CMYK", (4, 4), (0, 255, 255, 0)).save(tmp_path / "c.tif")
    assert raster.read(tmp_path / "c.tif").array[:, 0, 0].tolist() == [255, 0, 0]


def test_i04_alpha_must_be_opaque(tmp_path: Path) -> None:
    rgba = RNG.integers(0, 255, (5, 5, 4)).astype(np.uint8)
    Pillow.fromarray(rgba).save(tmp_path / "a.png")
    with pytest.raises(HilumError, match=r"a\.png.*HIL-I04"):
        raster.read(tmp_path / "a.png")
    rgba[..., 3] = 255
    Pillow.fromarray(rgba).save(tmp_path / "a.png")
    np.testing.assert_array_equal(raster.read(tmp_path / "a.png").array, np.moveaxis(rgba[..., :3], -1, 0))


def test_i04_several_pages_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(HilumError, match=r"3 pages.*HIL-I04"):
        raster.read(tmp_path / "a.tif")


def test_i05_huge_pictures_are_refused_before_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Pillow.new("L", (400, 400)).save(tmp_path / "a.png")
    monkeypatch.setattr(raster, "MOST_PIXELS", 1000)
    with pytest.raises(HilumError, match="HIL-I05"):
        raster.read(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp"])
def test_i06_cut_files_are_refused(tmp_path: Path, name: str) -> None:
    Pillow.fromarray(RNG.integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for share in (0, 0.1, 0.5, 0.9):
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(HilumError, match="HIL-"):
            raster.read(tmp_path / name)


def test_i08_blurred_or_coloured_labels_are_refused(tmp_path: Path) -> None:
    array = np.zeros((16, 16), np.uint8)
    array[3:9, 4:11] = 255
    Pillow.fromarray(array).save(tmp_path / "a.jpg", quality=60)
    with pytest.raises(HilumError, match=r"a\.jpg.*HIL-I08"):
        raster.read_labels(tmp_path / "a.jpg")
    Pillow.fromarray(RNG.integers(0, 255, (8, 8, 3)).astype(np.uint8)).save(tmp_path / "a.png")
    with pytest.raises(HilumError, match=r"a\.png.*HIL-I08"):
        raster.read_labels(tmp_path / "a.png")


def test_masks_are_written_as_values(tmp_path: Path) -> None:
    labels = RNG.integers(0, 900, (8, 9))
    raster.write(tmp_path / "m.png", Mask(labels, {1: "cell"}, instances=True))
    np.testing.assert_array_equal(raster.read_labels(tmp_path / "m.png").array[0], labels)


@pytest.mark.parametrize(("name", "dtype"), [("a.png", "float32"), ("a.jpg", "uint8")])
def test_what_would_lose_values_is_not_written(tmp_path: Path, name: str, dtype: str) -> None:
    with pytest.raises(HilumError, match="HIL-IO-04"):
        raster.write(tmp_path / name, Image(np.zeros((1, 4, 4), dtype)))
    assert not list(tmp_path.iterdir())
