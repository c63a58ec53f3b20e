"""Whole slides: a region at a level gives exactly its pixels; what is missing, unknown or too large is said."""

import io
import json
import struct
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from hilum.core.errors import HilumError
from hilum.core.image import Array, Source
from hilum.io import open as open_path
from hilum.io import raster, slide
from hilum.io._slide import others, tiff

TILE = 64
MPP = {"resolution": (20000, 40000), "resolutionunit": "CENTIMETER"}
# Half a micrometre across and a quarter down.


def tissue(rows: int, columns: int, seed: int = 0) -> Array:
    """(rows, columns, 3) uint8: stripes with noise, every tile different."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns]
    smooth = np.stack([128 + 100 * np.sin(x / 17 + c) * np.cos(y / (11 + c)) for c in range(3)], axis=-1)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def pyramid(
    path: Path, shape: tuple[int, int] = (301, 235), steps: tuple[int, ...] = (1, 2, 4), **given: Any
) -> list[Array]:
    """A tiled RGB pyramid as later pages, as most makers write it; gives the levels (rows, columns, 3)."""
    base = tissue(*shape)
    made = [base[::step, ::step][: shape[0] // step, : shape[1] // step] for step in steps]
    options: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "compression": "deflate"} | MPP | given
    with tifffile.TiffWriter(path) as writer:
        for number, level in enumerate(made):
            writer.write(level, subfiletype=int(number > 0), metadata=None, **options)
    return made


def channels_first(level: Array) -> Array:
    return np.moveaxis(level, -1, 0)


def patch(path: Path, tag: int, page: int, value: int, item: int = 0) -> None:
    """Overwrite one number of a page's tag in place (an offset or a byte count of a tile)."""
    with tifffile.TiffFile(path) as file:
        found = file.pages[page].tags[tag]  # type: ignore[union-attr]
        size = found.dtype.value
        place = found.valueoffset + item * {3: 2, 4: 4, 16: 8}[size]
    with open(path, "r+b") as stream:
        stream.seek(place)
        stream.write(struct.pack({3: "<H", 4: "<I", 16: "<Q"}[size], value))


def without_openslide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openslide", None)


@pytest.fixture(params=["with OpenSlide", "without"])
def either(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The same answers whether OpenSlide is installed or not."""
    if request.param == "without":
        without_openslide(monkeypatch)
    else:
        pytest.importorskip("openslide")
    return str(request.param)


def test_every_region_at_every_level_is_exact(tmp_path: Path, either: str) -> None:
    path = tmp_path / "a.tif"
    made = pyramid(path)
    assert [level["shape"] for level in slide.levels(path)] == [[301, 235], [150, 117], [75, 58]]
    assert [round(level["downsample"], 1) for level in slide.levels(path)] == [1.0, 2.0, 4.0]
    for number, level in enumerate(made):
        whole = slide.read(path, level=number)
        assert whole.array.dtype == np.uint8 and whole.affine is None and whole.meta["level"] == number
        np.testing.assert_array_equal(whole.array, channels_first(level))
        for region in ((slice(3, 70), slice(50, 55)), (slice(64, 65), slice(None)), (slice(-9, None), slice(-1, None))):
            part = slide.read(path, region, number)
            np.testing.assert_array_equal(part.array, channels_first(level[region]))
    assert part.meta["region"] == [[66, 75], [57, 58]]


def test_the_pixel_size_follows_the_level(tmp_path: Path, either: str) -> None:
    path = tmp_path / "a.tif"
    pyramid(path, (320, 256))
    for number in range(3):
        image = slide.read(path, (slice(0, 8), slice(0, 8)), number)
        assert image.meta["mpp"] == [0.25 * 2**number, 0.5 * 2**number] and not image.warnings
        assert json.loads(json.dumps(image.meta)) == image.meta


def test_open_gives_a_lazy_source_and_leaves_ordinary_pictures_alone(tmp_path: Path) -> None:
    made = pyramid(tmp_path / "a.tif")
    source = open_path(tmp_path / "a.tif")
    assert source.format == "slide" and isinstance(source, Source)
    region = (slice(10, 40), slice(20, 90))
    np.testing.assert_array_equal(source.read(region, 1).array, channels_first(made[1][region]))  # type: ignore[union-attr]
    ordinary = {
        "strips.tif": {"data": tissue(40, 30), "photometric": "rgb"},
        "grey.tif": {"data": tissue(90, 80)[..., 0], "tile": (32, 32)},
        "deep.tif": {"data": tissue(90, 80).astype(np.uint16), "tile": (32, 32), "photometric": "rgb"},
    }
    for name, options in ordinary.items():
        tifffile.imwrite(tmp_path / name, **options)
        assert not slide.recognises(tmp_path / name), name
        assert open_path(tmp_path / name).format == "raster", name
    tifffile.imwrite(tmp_path / "tiled.tif", tissue(90, 80), tile=(32, 32), photometric="rgb")
    assert slide.recognises(tmp_path / "tiled.tif") and slide.recognises(tmp_path / "any.svs")
    assert not slide.recognises(tmp_path / "nothing.tif")


def test_both_readers_see_the_same_tiles(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    path = tmp_path / "a.tif"
    made = pyramid(path, (320, 256))
    with tiff.TiffSlide(path) as ours, others.OpenSlide(path) as theirs:
        assert ours.shapes == theirs.shapes and ours.mpp == theirs.mpp
        for number, level in enumerate(made):
            for top in range(0, level.shape[0] - TILE + 1, TILE):
                for left in range(0, level.shape[1] - TILE + 1, TILE):
                    one, two = np.zeros((2, 3, TILE, TILE), np.uint8)
                    assert ours.fill(number, top, left, one) == theirs.fill(number, top, left, two) == 0
                    np.testing.assert_array_equal(one, two)
                    np.testing.assert_array_equal(one, channels_first(level[top : top + TILE, left : left + TILE]))


def jpeg(picture: Array, rgb: bool) -> tuple[bytes, bytes]:
    """(tables, abbreviated stream) of one tile, as makers store them."""
    stream = io.BytesIO()
    Pillow.fromarray(picture).save(stream, "JPEG", quality=95, keep_rgb=rgb, subsampling=0 if rgb else 2)
    whole, place = stream.getvalue(), 2
    tables, rest = b"", b""
    while whole[place + 1] != 0xDA:
        size = 2 + int.from_bytes(whole[place + 2 : place + 4], "big")
        segment = whole[place : place + size]
        if segment[1] in (0xDB, 0xC4):
            tables += segment
        elif segment[1] != 0xE0:
            rest += segment
        place += size
    return b"\xff\xd8" + tables + b"\xff\xd9", b"\xff\xd8" + rest + whole[place:]


def jpeg_slide(path: Path, rgb: bool, description: str = "") -> Array:
    """128 x 192 pixels in JPEG tiles that share their tables; gives the picture before compression."""
    picture = tissue(128, 192)
    parts = [picture[y : y + TILE, x : x + TILE] for y in range(0, 128, TILE) for x in range(0, 192, TILE)]
    made = [jpeg(part, rgb) for part in parts]
    tags: dict[int, Any] = {262: 2 if rgb else 6, 347: made[0][0], 270: description.encode() + b"\0"}
    if not rgb:
        tags[530] = (2, 2)
    stored_tiff(path, picture.shape, 7, [stream for _, stream in made], tags)
    return picture


def stored_tiff(path: Path, shape: tuple[int, ...], compression: int, tiles: list[bytes], tags: dict[int, Any]) -> None:
    """A TIFF of RGB tiles that are compressed already: numbers of 32 bits, 16 bits for pairs, bytes as they are."""
    known = {
        256: shape[1], 257: shape[0], 258: (8, 8, 8), 259: compression, 262: 2, 277: 3, 284: 1, 322: TILE, 323: TILE,
        324: np.zeros(len(tiles), np.uint32), 325: np.array([len(tile) for tile in tiles], np.uint32),
    } | tags  # fmt: skip
    start = 8 + 2 + 12 * len(known) + 4
    values = {}
    for tag, value in known.items():
        kind = 7 if isinstance(value, bytes) else 3 if isinstance(value, tuple) else 4
        kind = 2 if tag == 270 else kind
        raw = value if isinstance(value, bytes) else np.array(value, np.uint16 if kind == 3 else np.uint32).tobytes()
        values[tag] = (kind, len(raw) // {2: 1, 3: 2, 4: 4, 7: 1}[kind], raw)
    first = start + sum(len(raw) for _, _, raw in values.values() if len(raw) > 4)
    offsets = first + np.cumsum([0, *(len(tile) for tile in tiles)])[:-1]
    values[324] = (4, len(tiles), offsets.astype(np.uint32).tobytes())
    entries, extra = b"", b""
    for tag, (kind, count, raw) in sorted(values.items()):
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", start + len(extra))
        extra += raw if len(raw) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, count) + place
    path.write_bytes(struct.pack("<2sHIH", b"II", 42, 8, len(known)) + entries + bytes(4) + extra + b"".join(tiles))


@pytest.mark.parametrize("rgb", [True, False])
def test_jpeg_tiles_with_shared_tables(tmp_path: Path, either: str, rgb: bool) -> None:
    path = tmp_path / "a.svs"
    picture = jpeg_slide(path, rgb, "Aperio Image Library v1\n192x128|AppMag = 20|MPP = 0.4990")
    image = slide.read(path)
    assert image.meta["mpp"] == [0.499, 0.499] and image.meta["maker"] == "aperio"
    # colours that were mixed up would be off by tens
    assert np.abs(image.array.astype(int) - channels_first(picture)).mean() < (2 if rgb else 6)
    if either == "with OpenSlide":
        with others.OpenSlide(path) as theirs:
            seen = np.zeros_like(image.array)
            theirs.fill(0, 0, 0, seen)
        np.testing.assert_array_equal(image.array, seen)


@pytest.mark.parametrize(("code", "exact"), [(33005, True), (33003, False)])
def test_jpeg_2000_tiles(tmp_path: Path, code: int, exact: bool) -> None:
    picture = tissue(TILE, TILE)
    stored = Pillow.fromarray(picture)
    if code == 33003:
        stored = Pillow.merge("RGB", stored.convert("YCbCr").split())
    stream = io.BytesIO()
    stored.save(stream, "JPEG2000", irreversible=False, no_jp2=True, mct=0)
    stored_tiff(tmp_path / "a.svs", picture.shape, code, [stream.getvalue()], {})
    image = slide.read(tmp_path / "a.svs")
    assert np.abs(image.array.astype(int) - channels_first(picture)).max() <= (0 if exact else 3)


def test_ome_tiff_with_levels_in_sub_ifds_and_separate_colours(tmp_path: Path) -> None:
    made = [tissue(256, 192), tissue(256, 192)[::2, ::2]]
    header = {"axes": "CYX", "PhysicalSizeX": 500.0, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.25}
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        options: dict[str, Any] = {"tile": (TILE, TILE), "photometric": "rgb", "planarconfig": "separate"}
        writer.write(channels_first(made[0]), subifds=1, metadata=header, **options)
        writer.write(channels_first(made[1]), subfiletype=1, **options)
    assert open_path(tmp_path / "a.ome.tif").format == "slide"
    for number, level in enumerate(made):
        image = slide.read(tmp_path / "a.ome.tif", (slice(30, 100), slice(5, 90)), number)
        np.testing.assert_array_equal(image.array, channels_first(level[30:100, 5:90]))
    assert image.meta["mpp"] == [0.5, 1.0]


def test_ome_headers_with_entities_are_refused(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa">]><OME><Image><Pixels SizeX="1"/></Image></OME>'
    tifffile.imwrite(
        tmp_path / "a.tif", tissue(128, 128), tile=(TILE, TILE), photometric="rgb", description=bomb, metadata=None
    )
    with pytest.raises(HilumError, match=r"a\.tif.*entities.*HIL-I09"):
        slide.read(tmp_path / "a.tif")


def test_grey_becomes_rgb_and_labels_stay_values(tmp_path: Path) -> None:
    values = (np.arange(200 * 150).reshape(200, 150) % 7).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(values, tile=(TILE, TILE), compression="deflate", metadata=None)
        writer.write(values[::2, ::2], tile=(TILE, TILE), subfiletype=1, metadata=None)
    image = slide.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.array, np.stack([values] * 3))
    labels = open_path(tmp_path / "a.tif").read_labels()
    assert labels.array.dtype == np.int32
    np.testing.assert_array_equal(labels.array[0], values)
    pyramid(tmp_path / "b.tif")
    with pytest.raises(HilumError, match=r"b\.tif.*HIL-I08"):
        slide.read_labels(tmp_path / "b.tif")


def test_thumbnails_come_from_the_smallest_level_that_is_large_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    made = pyramid(path, (640, 480), (1, 2, 4))
    asked: list[int] = []
    fill = tiff.TiffSlide.fill

    def noted(self: Any, level: int, *rest: Any) -> int:
        asked.append(level)
        return fill(self, level, *rest)

    monkeypatch.setattr(tiff.TiffSlide, "fill", noted)
    small = slide.thumbnail(path, 80)
    assert asked == [2] and small.array.shape == (3, 80, 60)
    blocks = made[2].reshape(80, 2, 60, 2, 3).mean(axis=(1, 3))
    assert np.abs(channels_first(blocks) - small.array).max() <= 1
    np.testing.assert_allclose(small.meta["mpp"], [0.25 * 8, 0.5 * 8])
    assert small.meta["downsample"] == 8
    assert slide.thumbnail(path, 320).array.shape == (3, 320, 240) and asked[-1] == 1
    assert slide.thumbnail(path, 5000).array.shape == (3, 640, 480) and asked[-1] == 0


def test_a_region_costs_its_own_tiles_only(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    side = 64 * 256
    with tifffile.TiffWriter(path) as writer:
        writer.write(np.zeros((side, 64, 3), np.uint8), tile=(256, 64), photometric="rgb", compression="deflate", **MPP)
    tracemalloc.start()
    image = slide.read(path, (slice(5000, 5100), slice(0, 64)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert image.array.shape == (3, 100, 64) and peak < 2_000_000


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("how", ["zero length", "no offset", "past the end", "huge count", "damaged"])
def test_i09_a_missing_or_damaged_tile_is_refused_by_name_and_the_rest_is_read(
    tmp_path: Path, either: str, how: str, level: int
) -> None:
    path = tmp_path / "a.tif"
    made = pyramid(path, (256, 256), (1, 2))
    with tifffile.TiffFile(path) as file:
        offset = file.pages[level].dataoffsets[1]  # type: ignore[union-attr]
    if how == "damaged":
        with open(path, "r+b") as stream:
            stream.seek(offset + 2)
            stream.write(b"\xff" * 40)
    else:
        tag, value = {
            "zero length": (325, 0), "no offset": (324, 0), "past the end": (324, path.stat().st_size - 3),
            "huge count": (325, 2**31),
        }[how]  # fmt: skip
        patch(path, tag, level, value, item=1)
    with pytest.raises(HilumError, match=rf"a\.tif.*tile \(row 0, column 1\) of level {level}.*HIL-I09"):
        slide.read(path, level=level)
    whole = slide.read(path, (slice(64, None), slice(None)), level)
    np.testing.assert_array_equal(whole.array, channels_first(made[level][64:]))


def test_i09_a_cut_jpeg_tile_is_refused_not_filled_with_grey(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    jpeg_slide(path, True)
    with tifffile.TiffFile(path) as file:
        count = file.pages[0].databytecounts[2]  # type: ignore[union-attr]
    patch(path, 325, 0, count - 200, item=2)
    with pytest.raises(HilumError, match=r"tile \(row 0, column 2\) of level 0 is cut short.*HIL-I09"):
        slide.read(path)


def test_i09_openslide_names_the_missing_tile_too(tmp_path: Path) -> None:
    pytest.importorskip("openslide")
    path = tmp_path / "a.tif"
    pyramid(path, (256, 256))
    patch(path, 325, 0, 0, item=6)
    with (
        others.OpenSlide(path) as theirs,
        pytest.raises(HilumError, match=r"tile \(row 1, column 2\) of level 0 is missing.*HIL-I09"),
    ):
        theirs.fill(0, 0, 0, np.zeros((3, 256, 256), np.uint8))


def test_i09_what_a_maker_leaves_out_is_white(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openslide")
    path = tmp_path / "a.tif"
    made = pyramid(path, (256, 256))
    patch(path, 325, 0, 0, item=6)
    monkeypatch.setattr(others, "vendor", lambda path: "mirax")
    monkeypatch.setattr(others, "SOLID", ())
    image = slide.read(path)
    assert image.meta["backend"] == "openslide" and image.meta["empty"] == 1 / 16
    assert (image.array[:, 64:128, 128:192] == 255).all()
    np.testing.assert_array_equal(image.array[:, :64], channels_first(made[0])[:, :64])


@pytest.mark.parametrize("orientation", [2, 3, 6])
def test_i01_a_picture_in_tiles_is_turned_as_its_label_is(tmp_path: Path, orientation: int) -> None:
    tags, labels = [(274, "H", 1, orientation, True)], np.arange(48 * 48, dtype=np.uint8).reshape(48, 48) // 9
    colours = np.repeat(labels[..., None], 3, axis=2)
    tifffile.imwrite(tmp_path / "image.tif", colours, tile=(16, 16), photometric="rgb", extratags=tags)
    tifffile.imwrite(tmp_path / "label.tif", labels, tile=(16, 16), extratags=tags)
    image, label = open_path(tmp_path / "image.tif"), open_path(tmp_path / "label.tif")
    np.testing.assert_array_equal(image.read().array[0], label.read_labels().array[0])  # type: ignore[union-attr]
    assert (image.read().array[0] != labels).any()  # type: ignore[union-attr]


def test_i01_a_slide_that_is_to_be_turned_is_refused(tmp_path: Path, either: str) -> None:
    pyramid(tmp_path / "a.tif", extratags=[(274, "H", 1, 3, True)])
    for look in (slide.read, slide.thumbnail, slide.read_labels):
        with pytest.raises(HilumError, match="orientation 3") as error:
            look(tmp_path / "a.tif")
        assert error.value.code == "HIL-I01"


def test_i09_no_resolution_is_a_warning(tmp_path: Path, either: str) -> None:
    for name, options in {
        "none": {"resolution": None, "resolutionunit": None},
        "screen": {"resolution": (72, 72), "resolutionunit": "INCH"},
        "zero": {"resolution": (0, 1), "resolutionunit": "CENTIMETER"},
    }.items():
        pyramid(tmp_path / f"{name}.tif", **options)
        image = slide.read(tmp_path / f"{name}.tif", (slice(0, 9), slice(0, 9)), 1)
        assert image.meta["mpp"] is None and len(image.warnings) == 1, name
        assert image.warnings[0].startswith("HIL-I09: the slide states no credible resolution"), name


def test_i09_a_slide_without_pyramid_is_a_warning(tmp_path: Path, either: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pyramid(tmp_path / "a.tif", steps=(1,))
    assert not slide.read(tmp_path / "a.tif").warnings
    monkeypatch.setattr(slide, "LARGE", 301 * 235 - 1)
    (words,) = slide.read(tmp_path / "a.tif").warnings
    assert words.startswith("HIL-I09: the slide of 301 x 235 pixels has no smaller levels")


def test_i09_a_missing_level_is_a_warning(tmp_path: Path, either: str) -> None:
    pyramid(tmp_path / "a.tif", (640, 512), steps=(1, 2, 16))
    (words,) = slide.read(tmp_path / "a.tif", level=2).warnings
    assert words == "HIL-I09: a level is missing, 1 and 2 differ 8-fold"
    pyramid(tmp_path / "b.tif", (640, 512), steps=(1, 4, 16, 32))
    assert not slide.read(tmp_path / "b.tif", level=2).warnings


@pytest.mark.parametrize("level", [3, -1])
def test_i09_a_level_that_is_not_there_is_refused(tmp_path: Path, either: str, level: int) -> None:
    pyramid(tmp_path / "a.tif")
    with pytest.raises(HilumError, match=rf"a\.tif has levels 0 to 2, not {level}.*HIL-IO-07"):
        slide.read(tmp_path / "a.tif", level=level)


@pytest.mark.parametrize("name", ["a.mrxs", "a.ndpi", "a.vms", "a.scn", "a.bif"])
def test_i09_a_maker_that_needs_openslide_is_said_in_one_sentence(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pyramid(tmp_path / name.replace("mrxs", "tif"))
    (tmp_path / name.replace("mrxs", "tif")).rename(tmp_path / name)
    without_openslide(monkeypatch)
    with pytest.raises(HilumError, match=rf"{name} is a slide.*needs OpenSlide.*\.\[slides\].*HIL-I09"):
        slide.read(tmp_path / name)


@pytest.mark.parametrize("software", ["Philips DP v1.0", "MedScan"])
def test_i09_makers_whose_tiles_do_not_lie_side_by_side_are_not_guessed(
    tmp_path: Path, software: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    description = "<?xml version='1.0'?><DataObject ObjectType='DPUfsImport'></DataObject>"
    pyramid(tmp_path / "a.tif", software=software, description=description)
    without_openslide(monkeypatch)
    with pytest.raises(HilumError, match=r"a\.tif is a slide of a kind that needs OpenSlide.*HIL-I09"):
        slide.read(tmp_path / "a.tif")


def test_i09_an_index_that_names_files_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openslide")
    monkeypatch.setattr(others, "vendor", lambda path: "hamamatsu-vms")
    for value in ("../secret.jpg", "/etc/passwd", "C:\\x.jpg"):
        (tmp_path / "a.vms").write_text(f"[Virtual Microscope Specimen]\nNoLayers=1\nImageFile={value}\n")
        with pytest.raises(HilumError, match=r"a\.vms: ImageFile names.*outside.*HIL-I09"):
            slide.read(tmp_path / "a.vms")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "Slidedat.ini").write_text("[DATAFILE]\nFILE_COUNT = 1\nFILE_0 = ../../x.dat\n")
    (tmp_path / "b.mrxs").write_bytes(b"\xff\xd8")
    with pytest.raises(HilumError, match=r"b\.mrxs: FILE_0 names.*HIL-I09"):
        slide.read(tmp_path / "b.mrxs")


def test_i05_a_level_above_the_cap_is_refused_with_the_level_that_fits(
    tmp_path: Path, either: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tif"
    pyramid(path)
    monkeypatch.setattr(slide, "MOST_PIXELS", 5000)
    monkeypatch.setattr(tiff.TiffSlide, "fill", lambda *_: pytest.fail("read before it was refused"))
    with pytest.raises(
        HilumError, match=r"301 x 235 pixels at level 0.*Use level 2 or a region of at most 5000.*HIL-I05"
    ):
        slide.read(path)
    with pytest.raises(HilumError, match=r"100 x 235 pixels at level 0.*HIL-I05"):
        slide.read(path, (slice(0, 100), slice(None)))


def test_i05_a_tile_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pyramid(path, steps=(1,))
    patch(path, 322, 0, 65520)
    patch(path, 323, 0, 65520)
    with pytest.raises(HilumError, match=r"a\.tif has tiles of 65520 x 65520.*HIL-I05"):
        slide.read(path, (slice(0, 5), slice(0, 5)))


def test_i05_two_billion_pixels_in_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pyramid(path, steps=(1,))
    for tag in (256, 257):
        patch(path, tag, 0, 50000)
    assert slide.recognises(path)
    with pytest.raises(HilumError, match=r"50000 x 50000 pixels.*Use a region.*HIL-I05"):
        slide.read(path)
    with pytest.raises(HilumError, match=r"is missing.*HIL-I09"):
        slide.read(path, (slice(40000, 40010), slice(40000, 40010)))


def test_i04_planes_of_one_size_are_refused(tmp_path: Path) -> None:
    for name, ome in (("a.tif", False), ("b.ome.tif", True)):
        stack = np.stack([tissue(128, 128)] * 3)
        tifffile.imwrite(tmp_path / name, stack, tile=(TILE, TILE), photometric="rgb", ome=ome)
        with pytest.raises(HilumError, match=r"has 3 planes.*HIL-I04"):
            slide.read(tmp_path / name)


@pytest.mark.parametrize(
    "options", [{"data": tissue(128, 128).astype(np.uint16)}, {"data": np.dstack([tissue(128, 128)] * 2)[..., :4]}]
)
def test_i02_what_is_not_8_bit_grey_or_rgb_is_refused(
    tmp_path: Path, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_openslide(monkeypatch)
    photometric = "rgb" if options["data"].dtype == np.uint16 else "separated"
    tifffile.imwrite(tmp_path / "a.tif", tile=(TILE, TILE), photometric=photometric, **options)
    with pytest.raises(HilumError, match=r"a\.tif is a slide of . channels.*HIL-I02"):
        slide.read(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "region",
    [(slice(0, 5),), (slice(0, 5), slice(0, 5, 2)), (slice(400, 500), slice(0, 5)), (slice(5, 5), slice(0, 5))],
)
def test_regions_that_do_not_fit_are_refused(tmp_path: Path, region: tuple[slice, ...]) -> None:
    pyramid(tmp_path / "a.tif")
    with pytest.raises(HilumError, match="HIL-IO-07"):
        slide.read(tmp_path / "a.tif", region)


@pytest.mark.parametrize("name", ["a.svs", "a.ndpi", "a.mrxs", "a.tif"])
def test_noise_and_flipped_bytes_never_escape_as_a_foreign_exception(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / name
    for size in (0, 3, 500):
        path.write_bytes(rng.bytes(size))
        with pytest.raises(HilumError, match=name.replace(".", r"\.")):
            slide.read(path)
    pyramid(tmp_path / "b.tif", (128, 100), (1, 2))
    whole = (tmp_path / "b.tif").read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(HilumError, match=name.replace(".", r"\.")):
            # all of level 0 is there in the last one, its level 1 is not
            slide.read(path, level=int(share == 0.9))
    for _ in range(100):
        raw = bytearray(whole)
        for place in rng.integers(0, 400, 3):
            raw[place] = rng.integers(256)
        path.write_bytes(bytes(raw))
        try:
            slide.read(path)
        except HilumError as error:
            assert name in str(error)


def test_raster_reads_a_tiled_picture_with_the_same_pixels(tmp_path: Path) -> None:
    made = pyramid(tmp_path / "a.tif", steps=(1,))
    np.testing.assert_array_equal(raster.read(tmp_path / "a.tif").array, slide.read(tmp_path / "a.tif").array)
    np.testing.assert_array_equal(slide.read(tmp_path / "a.tif").array, channels_first(made[0]))
