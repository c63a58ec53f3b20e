"""Headers of single DICOM files: faulty bytes are refused by their code before a library believes them."""

import io
import struct
import time
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from hilum.core.errors import HilumError
from hilum.io._dicom.agree import BIG, DEFLATED, EXPLICIT, GE_PRIVATE, IMPLICIT
from hilum.io._dicom.file import header, is_dicom
from hilum.io._dicom.pixels import Record, frame_count, frames, kind
from hilum.io._dicom.walk import Walk
from hilum.io._dicom.window import Window

J2K, JPEG, RLE = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
PIXELS = np.arange(40 * 33, dtype=np.uint16).reshape(40, 33)
SMALL = PIXELS[:3, :4].copy()


def dataset(pixels: np.ndarray = PIXELS, **tags: Any) -> Dataset:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3"
    data.Modality = "MR"
    data.Rows, data.Columns = pixels.shape[-2:]
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, 0
    data.PixelData = pixels.tobytes()
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    return data


def save(path: Path, data: Dataset | None = None, syntax: str = EXPLICIT) -> Path:
    """A proper file; the syntax is only declared where the library can not write it."""
    data = dataset() if data is None else data
    data["PixelData"].VR = "OB" if syntax in (J2K, JPEG, RLE) else "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    if syntax in (IMPLICIT, EXPLICIT, BIG, DEFLATED):
        data.save_as(path, enforce_file_format=True)
    else:
        known = syntax in (J2K, JPEG, RLE)
        pydicom.dcmwrite(path, data, implicit_vr=not known, little_endian=True, enforce_file_format=known)
    return path


def compressed(path: Path, frame: bytes, syntax: str = J2K, **tags: Any) -> Path:
    data = dataset(**tags)
    data.PixelData = encapsulate([frame])
    data["PixelData"].is_undefined_length = True
    return save(path, data, syntax)


def j2k(pixels: np.ndarray = PIXELS) -> bytes:
    from openjpeg.utils import encode_array

    return bytes(encode_array(pixels))


def element(tag: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    """One explicit little-endian element."""
    length = len(value) if length is None else length
    length = length if len(vr) == 2 and vr in (b"OB", b"OW", b"SQ", b"UN", b"UT") else length & 0xFFFF
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    wide = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    return head + (struct.pack("<HL", 0, length) if wide else struct.pack("<H", length)) + value


def with_element(path: Path, extra: bytes) -> Path:
    """A proper file with `extra` right before its pixel data."""
    raw = save(path).read_bytes()
    at = raw.index(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(raw[:at] + extra + raw[at:])
    return path


def read(path: Path, record: Record | None = None) -> np.ndarray:
    found = header(path)
    return np.stack(list(frames(path, found, record=record)))


def shipped(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"pydicom ships no {name}")
    return Path(str(found))


def refused(path: Path, *codes: str) -> HilumError:
    """The error that header or frames gives; it names the file."""
    with pytest.raises(HilumError) as caught:
        read(path)
    assert caught.value.code in codes, str(caught.value)
    assert str(path) in str(caught.value)
    return caught.value


def test_a_header_says_what_its_pixels_will_be(tmp_path: Path) -> None:
    found = header(save(tmp_path / "a.dcm"))
    assert (found.Rows, found.filename, found.hilum_warnings) == (40, str(tmp_path / "a.dcm"), [])
    assert kind(found) == np.uint16 and frame_count(found) == 1 and "PixelData" not in found
    np.testing.assert_array_equal(read(tmp_path / "a.dcm")[0], PIXELS)


def test_a_number_that_is_none_is_left_out_with_a_warning(tmp_path: Path) -> None:
    path = with_element(tmp_path / "a.dcm", element(0x00200013, b"IS", b"1A"))
    found = header(path)
    assert "InstanceNumber" not in found and "HIL-D09" in found.hilum_warnings[0]


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6, 0.8, 0.99])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG, J2K])
def test_d01_a_cut_file_is_refused(tmp_path: Path, syntax: str, share: float) -> None:
    path = tmp_path / "a.dcm"
    raw = (compressed(path, j2k()) if syntax == J2K else save(path, None, syntax)).read_bytes()
    path.write_bytes(raw[: int(132 + share * (len(raw) - 132))])
    refused(path, "HIL-D01", "HIL-D09")


def test_d01_every_cut_of_one_file_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.dcm", dataset(SMALL))
    raw = path.read_bytes()
    for length in range(len(raw)):
        path.write_bytes(raw[:length])
        refused(path, "HIL-D01", "HIL-D02")


def test_d01_a_cut_inside_an_item_is_refused(tmp_path: Path) -> None:
    item = Dataset()
    item.SeriesInstanceUID = "1.2.3.4"
    path = save(tmp_path / "a.dcm", dataset(ReferencedSeriesSequence=[item]))
    raw = path.read_bytes()
    path.write_bytes(raw[: raw.index(b"1.2.3.4") + 3])
    refused(path, "HIL-D01")


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 131 + b"D", b"A text, whatever its name." * 20, b"\xff\xd8\xff\xe0\0\x10JFIF" + b"\0" * 400],
)
def test_d02_what_is_not_dicom_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    assert not is_dicom(path)
    assert "not DICOM" in str(refused(path, "HIL-D02"))


@pytest.mark.parametrize("content", [b"\0" * 131, b"\0" * 128 + b"DIC", b"x" * 131], ids=["zeros", "mark", "text"])
def test_d02_131_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(content)
    assert not is_dicom(path)
    refused(path, "HIL-D02", "HIL-D01")


def test_d02_is_dicom_never_raises(tmp_path: Path) -> None:
    assert not is_dicom(tmp_path / "nothing") and not is_dicom(tmp_path)
    assert is_dicom(save(tmp_path / "a"))


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG])
def test_d03_without_preamble_and_meta_the_content_shows_its_syntax(tmp_path: Path, syntax: str) -> None:
    path = save(tmp_path / "a", dataset(PIXELS.byteswap()) if syntax == BIG else None, syntax)
    raw = path.read_bytes()
    path.write_bytes(raw[raw.index(b"\0\x08\0" if syntax == BIG else b"\x08\0\x16\0") :])
    assert is_dicom(path)
    record = Record()
    np.testing.assert_array_equal(read(path, record)[0], PIXELS)
    assert any("HIL-D03" in words for words in record.warnings)


def test_d03_a_missing_preamble_alone_is_accepted(tmp_path: Path) -> None:
    path = save(tmp_path / "a")
    path.write_bytes(path.read_bytes()[132:])
    np.testing.assert_array_equal(read(path)[0], PIXELS)


def test_d03_without_syntax_a_codestream_proves_it_and_rle_does_not(tmp_path: Path) -> None:
    path = compressed(tmp_path / "a", j2k())
    without = path.read_bytes().replace(b"\x02\0\x10\0UI\x16\0" + J2K.encode(), b"\x02\0\x02\1UI\x16\0" + J2K.encode())
    path.write_bytes(without)
    record = Record()
    np.testing.assert_array_equal(read(path, record)[0], PIXELS)
    assert "HIL-D03" in record.warnings[0]
    path = compressed(tmp_path / "b", b"\1" + b"\0" * 99, RLE)
    path.write_bytes(path.read_bytes().replace(b"\x02\0\x10\0UI", b"\x02\0\x02\1UI"))
    refused(path, "HIL-D03")


def redeclared(path: Path, old: str, new: str) -> Path:
    """The file with another transfer syntax declared, its content untouched."""
    data = path.read_bytes()
    head = data[: data.index(b"\x02\0\x10\0")]
    at = len(head)
    length = struct.unpack("<H", data[at + 6 : at + 8])[0]
    value = new.encode() + b"\0" * (len(new) % 2)
    assert old.encode() in data[at + 8 : at + 8 + length]
    path.write_bytes(head + b"\x02\0\x10\0UI" + struct.pack("<H", len(value)) + value + data[at + 8 + length :])
    return path


@pytest.mark.parametrize("made, declared", [(IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT)])
def test_d04_explicit_and_implicit_taken_for_each_other_are_refused(tmp_path: Path, made: str, declared: str) -> None:
    error = refused(redeclared(save(tmp_path / "a", None, made), made, declared), "HIL-D04")
    assert "implicit" in str(error) and "explicit" in str(error)


@pytest.mark.parametrize("declared", [EXPLICIT, JPEG, RLE, "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.70"])
def test_d04_jpeg_2000_declared_as_something_else_is_refused(tmp_path: Path, declared: str) -> None:
    refused(redeclared(compressed(tmp_path / "a", j2k()), J2K, declared), "HIL-D04")


@pytest.mark.parametrize("declared", [JPEG, J2K, RLE])
def test_d04_raw_pixels_declared_as_compressed_are_refused(tmp_path: Path, declared: str) -> None:
    refused(redeclared(save(tmp_path / "a"), EXPLICIT, declared), "HIL-D04")


def test_d04_a_codestream_with_a_length_declared_raw_is_refused(tmp_path: Path) -> None:
    data = dataset()
    data.PixelData = j2k() + b"\0" * (len(j2k()) % 2)
    refused(save(tmp_path / "a", data), "HIL-D04")


def jpeg(pixels: np.ndarray) -> bytes:
    from PIL import Image as Picture

    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, "JPEG")
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["fragments", "with a length", "as long as the pixels"])
@pytest.mark.parametrize("code", [jpeg, j2k])
def test_d04_a_codestream_declared_raw_never_becomes_noise(
    tmp_path: Path, code: Callable[[np.ndarray], bytes], kind: str
) -> None:
    pixels = np.kron(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20, np.ones((16, 16), np.uint8))
    stream, data = code(pixels), dataset(pixels)
    assert len(stream) < pixels.nbytes
    data.PixelData = stream.ljust(pixels.nbytes if kind.startswith("as") else len(stream) + len(stream) % 2, b"\0")
    path = tmp_path / "a"
    if kind == "fragments":
        refused(redeclared(compressed(path, stream, JPEG, Rows=48, Columns=64), JPEG, EXPLICIT), "HIL-D04")
    else:
        refused(save(path, data), "HIL-D04")


@pytest.mark.parametrize("start", [b"\xff\xd8\xff\xe0", b"\xff\x4f\xff\x51"])
def test_d04_pixels_that_begin_like_a_codestream_are_pixels(tmp_path: Path, start: bytes) -> None:
    pixels = np.full((6, 8), 200, np.uint8)
    pixels[0, :4] = list(start)
    np.testing.assert_array_equal(read(save(tmp_path / "a", dataset(pixels)))[0], pixels)


def test_d04_an_implicit_header_before_a_proven_codestream_is_read(tmp_path: Path) -> None:
    path = shipped("SC_rgb_jpeg.dcm")
    record = Record()
    seen = read(path, record)[0]
    assert "HIL-D04" in record.warnings[0]
    with pytest.warns(UserWarning, match="implicit VR"):
        np.testing.assert_array_equal(seen, pydicom.dcmread(path).pixel_array)


def test_d05_explicit_big_endian_is_read(tmp_path: Path) -> None:
    record = Record()
    np.testing.assert_array_equal(read(save(tmp_path / "a", dataset(PIXELS.byteswap()), BIG), record)[0], PIXELS)
    assert record.warnings == []


@pytest.mark.parametrize("name", ["SC_rgb_small_odd_big_endian.dcm", "liver_expb_1frame.dcm", "MR_small_bigendian.dcm"])
def test_d05_big_endian_words_of_every_width(name: str) -> None:
    path = shipped(name)
    np.testing.assert_array_equal(read(path)[0], pydicom.dcmread(path).pixel_array)


def test_d05_the_private_syntax_has_big_endian_pixels_only(tmp_path: Path) -> None:
    path = save(tmp_path / "a", dataset(PIXELS.byteswap()), IMPLICIT)
    np.testing.assert_array_equal(read(redeclared(path, IMPLICIT, GE_PRIVATE))[0], PIXELS)


def test_d05_big_endian_declared_little_is_read_as_what_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "a", dataset(PIXELS.byteswap()), BIG)
    record = Record()
    np.testing.assert_array_equal(read(redeclared(path, BIG, EXPLICIT), record)[0], PIXELS)
    assert "HIL-D05" in record.warnings[0]


def test_d05_a_sequence_in_the_other_byte_order_is_left_out(tmp_path: Path) -> None:
    inner = struct.pack(">HH2sH", 0x2005, 0x0010, b"LO", 4) + b"ABCD"
    swapped = struct.pack(">HHL", 0xFFFE, 0xE000, len(inner)) + inner + struct.pack(">HHL", 0xFFFE, 0xE0DD, 0)
    path = with_element(tmp_path / "a", element(0x20051080, b"SQ", swapped, 0xFFFFFFFF))
    record = Record()
    np.testing.assert_array_equal(read(path, record)[0], PIXELS)
    assert "HIL-D05" in record.warnings[0] and (0x2005, 0x1080) not in header(path)


@pytest.mark.parametrize(
    "syntax, name",
    [
        ("1.2.840.10008.1.2.4.110", "JPEG XL"),
        ("1.2.840.10008.1.2.4.100", "MPEG2"),
        ("1.2.840.10008.1.2.4.107", "HEVC"),
        ("1.2.840.10008.1.2.4.95", "JPIP"),
        ("1.2.3.4.5", "1.2.3.4.5"),
    ],
)
def test_d06_an_unsupported_compression_is_named(tmp_path: Path, syntax: str, name: str) -> None:
    error = refused(redeclared(compressed(tmp_path / "a", b"\0" * 64), J2K, syntax), "HIL-D06")
    assert syntax in str(error) and name in str(error)


@pytest.mark.parametrize("vr", [b"OB", b"UN", b"UT", b"SQ"])
@pytest.mark.parametrize("length", [0xFFFFFFFE, 1 << 31, 1 << 20])
def test_d07_lengths_beyond_the_end_are_refused_before_allocating(tmp_path: Path, vr: bytes, length: int) -> None:
    path = with_element(tmp_path / "a", element(0x00209999, vr, b"12345678", length))
    tracemalloc.start()
    refused(path, "HIL-D07")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("vr", [b"UT", b"OB", b"UN"])
def test_d07_an_undefined_length_needs_items(tmp_path: Path, vr: bytes) -> None:
    refused(with_element(tmp_path / "a", element(0x00209999, vr, b"12345678", 0xFFFFFFFF)), "HIL-D07", "HIL-D09")


def test_d07_a_length_beyond_the_end_in_the_meta_group_and_of_a_fragment(tmp_path: Path) -> None:
    path = save(tmp_path / "a")
    raw = path.read_bytes()
    at = raw.index(b"\x02\0\x01\0OB") + 8
    path.write_bytes(raw[:at] + struct.pack("<L", 1 << 31) + raw[at + 4 :])
    refused(path, "HIL-D07")
    path = compressed(tmp_path / "b", j2k())
    raw = path.read_bytes()
    at = raw.index(b"\xff\x4f\xff\x51") - 4
    path.write_bytes(raw[:at] + struct.pack("<L", 0xFFFFFFFF) + raw[at + 4 :])
    refused(path, "HIL-D07")


def sequence(tag: int, items: bytes) -> bytes:
    """A sequence that ends where its delimiter stands."""
    return element(tag, b"SQ", items + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0), 0xFFFFFFFF)


def item(content: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


@pytest.mark.parametrize("content", ["items", "elements"])
def test_d07_a_header_of_elements_without_end_is_refused_before_it_is_parsed(tmp_path: Path, content: str) -> None:
    if content == "items":
        hostile = sequence(0x00081115, item(b"") * 700_000)
    else:
        hostile = sequence(0x00081115, item(b"".join(element(0x00090100 + n, b"LO", b"") for n in range(1000)) * 2001))
    path = with_element(tmp_path / "a", hostile)
    start = time.process_time()
    assert "more than 2,000,000 elements" in str(refused(path, "HIL-D07"))
    assert time.process_time() - start < 5


def test_d07_frames_in_thousands_that_say_much_are_no_such_header() -> None:
    """A file of 5,000 frames as makers write them: 150 elements in 20 groups each."""
    group = item(b"".join(element(0x00189000 + n, b"DS", b"1.5 ") for n in range(7)))
    raw = sequence(0x52009230, item(b"".join(sequence(0x20059000 + n, group) for n in range(19))) * 5000)
    walk = Walk(Window(io.BytesIO(raw), len(raw)), 0, False, False)
    assert walk.run() is None and walk._seen > 1_000_000


def nested(levels: int, defined: bool, implicit: bool = False) -> bytes:
    """Sequences within items within sequences."""
    inner = b""
    for _ in range(levels):
        if defined:
            item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
        else:
            ends = (struct.pack("<HHL", 0xFFFE, 0xE00D, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0))
            item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + inner + ends[0] + ends[1]
        length = len(item) if defined else 0xFFFFFFFF
        explicit = element(0x0040A730, b"SQ", item, length)
        inner = struct.pack("<HHL", 0x0040, 0xA730, length) + item if implicit else explicit
    return inner


@pytest.mark.parametrize("defined", [True, False])
@pytest.mark.parametrize("levels", [65, 400, 10000])
def test_d08_deep_nesting_is_refused_quickly(tmp_path: Path, levels: int, defined: bool) -> None:
    path = with_element(tmp_path / "a", nested(levels, defined))
    start = time.process_time()
    assert "64" in str(refused(path, "HIL-D08"))
    assert time.process_time() - start < 2


@pytest.mark.parametrize("defined", [True, False])
def test_d08_nesting_of_64_is_read(tmp_path: Path, defined: bool) -> None:
    path = with_element(tmp_path / "a", nested(64, defined))
    found, depth = header(path), 0
    while "ContentSequence" in found and len(found.ContentSequence):
        found, depth = found.ContentSequence[0], depth + 1
    assert depth == 64


@pytest.mark.parametrize("defined", [True, False])
def test_d08_deep_nesting_without_representations_is_refused(tmp_path: Path, defined: bool) -> None:
    path = save(tmp_path / "a", None, IMPLICIT)
    raw = path.read_bytes()
    at = raw.index(b"\xe0\x7f\x10\0")
    path.write_bytes(raw[:at] + nested(400, defined, implicit=True) + raw[at:])
    refused(path, "HIL-D08")


def test_d09_an_undefined_length_without_delimiter_is_refused(tmp_path: Path) -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 0xFFFFFFFF) + element(0x00080060, b"CS", b"MR")
    refused(with_element(tmp_path / "a", element(0x00081115, b"SQ", item, 0xFFFFFFFF)), "HIL-D09")
    path = compressed(tmp_path / "b", j2k())
    path.write_bytes(path.read_bytes()[:-8])
    refused(path, "HIL-D09")


@pytest.mark.parametrize("change", [-2, 2, 4000])
def test_d09_a_wrong_item_length_is_refused(tmp_path: Path, change: int) -> None:
    inner = element(0x00080060, b"CS", b"MR")
    item = struct.pack("<HHL", 0xFFFE, 0xE000, len(inner) + change) + inner
    refused(with_element(tmp_path / "a", element(0x00081115, b"SQ", item)), "HIL-D09", "HIL-D07")


def test_d09_a_delimiter_where_none_belongs_is_refused(tmp_path: Path) -> None:
    refused(with_element(tmp_path / "a", struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)), "HIL-D09")


def test_d09_delimiter_bytes_inside_pixel_data_are_pixels(tmp_path: Path) -> None:
    pixels = PIXELS.copy()
    pixels[0, :2] = 0xFFFE, 0xE0DD
    np.testing.assert_array_equal(read(save(tmp_path / "a", dataset(pixels)))[0], pixels)
    comment = b"\xff\x64\x00\x0a\x00\x01" + struct.pack("<HH", 0xFFFE, 0xE0DD) + b"\0\0"
    stream = j2k()
    at = stream.index(b"\xff\x90")
    np.testing.assert_array_equal(read(compressed(tmp_path / "b", stream[:at] + comment + stream[at:]))[0], PIXELS)


@pytest.mark.parametrize("tag", [0xE00D, 0xE0DD], ids=["item", "sequence"])
@pytest.mark.parametrize("at", [0, 1])
def test_d09_a_delimiter_among_fragments_is_refused(tmp_path: Path, tag: int, at: int) -> None:
    data = dataset(np.stack([PIXELS] * 2), NumberOfFrames="2")
    items = [struct.pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in [j2k() + b"\0" * (len(j2k()) % 2)] * 2]
    items.insert(at, struct.pack("<HHL", 0xFFFE, tag, 0))
    data.PixelData = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + b"".join(items)
    data["PixelData"].is_undefined_length = True
    refused(save(tmp_path / "a", data, J2K), "HIL-D09", "HIL-D12", "HIL-D44")


def deflated(path: Path, body: bytes) -> Path:
    """A file whose data set `body` is deflated."""
    raw = save(path, None, DEFLATED).read_bytes()
    at = raw.index(DEFLATED.encode()) + len(DEFLATED)
    at += at % 2
    end = 144 + struct.unpack("<L", raw[140:144])[0]
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(raw[:end] + packer.compress(body) + packer.flush())
    return path


def test_d10_an_honest_deflated_file_is_read(tmp_path: Path) -> None:
    pixels = np.zeros((256, 256), np.uint16)
    np.testing.assert_array_equal(read(save(tmp_path / "a", dataset(pixels), DEFLATED))[0], pixels)


def test_d10_a_deflated_file_that_is_cut_is_refused(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 65535, (64, 64)).astype(np.uint16)
    path = save(tmp_path / "a", dataset(noise), DEFLATED)
    raw = path.read_bytes()
    for part in (0.3, 0.6, 0.95):
        path.write_bytes(raw[: int(len(raw) * part)])
        refused(path, "HIL-D01")


def test_d10_a_deflated_bomb_is_refused_with_flat_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hilum.io._dicom.window.MOST_INFLATED", 24 << 20)
    size = 32 << 20
    path = deflated(tmp_path / "a", element(0x00080008, b"CS", b"AB") + element(0x00209999, b"OB", b"\0" * size))
    assert path.stat().st_size < 200_000
    tracemalloc.start()
    refused(path, "HIL-D10")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(
    "tags",
    [{"Rows": 46341, "Columns": 46341}, {"Rows": 65535, "Columns": 65535}, {"Rows": 0}, {"Columns": 0}, {"Rows": None}],
)
@pytest.mark.parametrize("packed", [False, True])
def test_d11_impossible_sizes_are_refused_before_allocating(tmp_path: Path, tags: Any, packed: bool) -> None:
    path = tmp_path / "a"
    compressed(path, j2k(), **tags) if packed else save(path, dataset(**tags))
    tracemalloc.start()
    refused(path, "HIL-D11")
    assert tracemalloc.get_traced_memory()[1] < 16 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("vr, value", [("UL", 3), ("SL", 3), ("UL", 70000), ("US", [3, 3])])
def test_d11_sides_in_another_representation_are_refused(tmp_path: Path, vr: str, value: Any) -> None:
    data = dataset()
    data["Rows"] = pydicom.DataElement("Rows", vr, value)
    refused(save(tmp_path / "a", data), "HIL-D11")


@pytest.mark.parametrize("value", ["1000000000", "0", "-3", "1A", "many", "2.5", "1e9"])
@pytest.mark.parametrize("packed", [False, True])
def test_d12_impossible_numbers_of_frames_are_refused(tmp_path: Path, value: str, packed: bool) -> None:
    path = tmp_path / "a"
    compressed(path, j2k(), NumberOfFrames="7777777777") if packed else save(path, dataset(NumberOfFrames="7777777777"))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"7777777777", value.encode().ljust(10)))
    refused(path, "HIL-D12")


def test_d12_more_frames_than_the_file_holds_are_refused_by_the_header(tmp_path: Path) -> None:
    for path in (
        save(tmp_path / "a", dataset(np.stack([PIXELS] * 2), NumberOfFrames="3")),
        compressed(tmp_path / "b", j2k(), NumberOfFrames="2"),
    ):
        with pytest.raises(HilumError, match="HIL-D12"):
            header(path)


@pytest.mark.parametrize(
    "tags",
    [
        {"HighBit": 16},
        {"HighBit": 255},
        {"HighBit": 3},
        {"BitsStored": 0},
        {"BitsStored": 17},
        {"BitsAllocated": 12, "BitsStored": 12, "HighBit": 11},
        {"BitsAllocated": 64, "BitsStored": 64, "HighBit": 63},
        {"BitsAllocated": 0},
        {"BitsAllocated": None},
    ],
)
def test_d13_impossible_bits_are_refused(tmp_path: Path, tags: Any) -> None:
    refused(save(tmp_path / "a", dataset(**tags)), "HIL-D13")


def test_no_other_error_escapes_whatever_byte_is_damaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    makers: list[Callable[[], Path]] = [
        lambda: save(path),
        lambda: save(path, None, IMPLICIT),
        lambda: compressed(path, j2k()),
    ]
    for make in makers:
        raw = make().read_bytes()
        for _ in range(150):
            wrong = bytearray(raw)
            for at in rng.integers(128, len(raw), 2):
                wrong[at] = rng.integers(0, 256)
            path.write_bytes(wrong)
            try:
                read(path)
            except HilumError as error:
                assert error.code.startswith("HIL-D") or error.code == "HIL-IO-03", str(error)
