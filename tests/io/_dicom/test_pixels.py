"""Stored values of single DICOM files become modality values; what can not be is refused by its code."""

import base64
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image as Picture
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from hilum.core.errors import HilumError
from hilum.io._dicom import codec
from hilum.io._dicom.agree import BIG, EXPLICIT, IMPLICIT
from hilum.io._dicom.file import header
from hilum.io._dicom.pixels import Record, common, frame_count, frames, kind

J2K, JPEG, RLE, JLS = (f"1.2.840.10008.1.2.{n}" for n in ("4.90", "4.50", "5", "4.80"))
HTJ2K = "1.2.840.10008.1.2.4.201"
GREY = (np.add.outer(np.arange(40), np.arange(36)) * 20).astype(np.uint16)
COLOUR = np.stack([np.add.outer(np.arange(16), np.arange(16)) * n for n in (8, 4, 1)], -1).astype(np.uint8)


HIGH_THROUGHPUT = (
    "/0//UQApQAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAJUAAf+TwAAljwUHdADAABLAABKA7ACHdADs"
    "AId0AMAAE0AAEwDW/gACdAC2/QADVADAABPAABOAqqqgp8J1AFpVwcnstQDAABVwAAVYJEmS58Cnp6dCeABMkiT9knv2Sey4AMAA"
    "LQgABaQAAAAA+f8p6enp6enp4nwABAAAAP7/eGV7917917917L0A/9k="
)
# A diagonal ramp of 32 x 32 pixels.


def dataset(pixels: np.ndarray, **tags: Any) -> Dataset:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.Modality = "1.2.840.10008.5.1.4.1.1.4", "1.2.3", "MR"
    colour = pixels.ndim == 3 and pixels.shape[-1] == 3
    data.Rows, data.Columns = pixels.shape[:2] if colour else pixels.shape[-2:]
    data.SamplesPerPixel = 3 if colour else 1
    data.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        data.PlanarConfiguration = 0
    if pixels.ndim == 3 and not colour:
        data.NumberOfFrames = len(pixels)
    data.BitsAllocated = data.BitsStored = pixels.dtype.itemsize * 8
    data.HighBit, data.PixelRepresentation = data.BitsStored - 1, int(pixels.dtype.kind == "i")
    data.PixelData = pixels.tobytes() + b"\0" * (pixels.nbytes % 2)
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    if "BitsStored" in tags and "HighBit" not in tags:
        data.HighBit = data.BitsStored - 1
    return data


def save(path: Path, data: Dataset, syntax: str = EXPLICIT) -> Path:
    if syntax in (EXPLICIT, IMPLICIT, BIG):
        data["PixelData"].VR = "OW"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(path, enforce_file_format=True)
    return path


def packed(path: Path, pixels: np.ndarray, streams: list[bytes], syntax: str, table: bool = False, **tags: Any) -> Path:
    data = dataset(pixels, **tags)
    data.PixelData = encapsulate(streams, has_bot=table)
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    return save(path, data, syntax)


def j2k(pixels: np.ndarray, **options: Any) -> bytes:
    from openjpeg.utils import encode_array

    return bytes(encode_array(pixels, **options))


def jls(pixels: np.ndarray) -> bytes:
    jpeg_ls = pytest.importorskip("jpeg_ls")
    return bytes(jpeg_ls.encode_array(pixels))


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    stream = io.BytesIO()
    Picture.fromarray(pixels).save(stream, "JPEG", quality=95, **options)
    return stream.getvalue()


def rle(pixels: np.ndarray) -> bytes:
    """One RLE frame in which every byte is written as it is, highest bytes first."""
    planes = pixels.reshape(*pixels.shape[:2], -1)
    segments = []
    for sample in range(planes.shape[2]):
        values = np.ascontiguousarray(planes[..., sample]).view(np.uint8).reshape(-1, pixels.dtype.itemsize)
        for byte in reversed(range(pixels.dtype.itemsize)):
            flat = values[:, byte].tobytes()
            rows = [flat[n : n + 128] for n in range(0, len(flat), 128)]
            segment = b"".join(bytes([len(row) - 1]) + row for row in rows)
            segments.append(segment + b"\0" * (len(segment) % 2))
    starts = np.cumsum([64, *(len(segment) for segment in segments)])[: len(segments)]
    return struct.pack("<16L", len(segments), *starts, *[0] * (15 - len(segments))) + b"".join(segments)


def read(path: Path, record: Record | None = None) -> np.ndarray:
    found = header(path)
    seen = list(frames(path, found, record=record))
    assert all(frame.dtype == kind(found) for frame in seen) and len(seen) == frame_count(found)
    return seen[0] if len(seen) == 1 else np.stack(seen)


def refused(path: Path, code: str, words: str = "") -> None:
    with pytest.raises(HilumError) as caught:
        read(path)
    assert caught.value.code == code and words in str(caught.value) and str(path) in str(caught.value)


def shipped(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    if found is None:
        pytest.skip(f"pydicom ships no {name}")
    return Path(str(found))


CODED = {J2K: j2k, JLS: jls, RLE: rle}


@pytest.mark.parametrize("syntax", CODED)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_lossless_compressions_give_back_what_went_in(tmp_path: Path, syntax: str, dtype: Any) -> None:
    pixels = (GREY % 200 if dtype == np.uint8 else GREY).astype(dtype)
    coded = pixels
    if dtype == np.int16:
        pixels = (GREY.astype(np.int16) - 700).astype(np.int16)
        coded = pixels.view(np.uint16) if syntax == JLS else pixels
    path = packed(tmp_path / "a", pixels, [CODED[syntax](coded)], syntax)
    record = Record()
    np.testing.assert_array_equal(read(path, record), pixels)
    assert record.warnings == [] and record.signed == (dtype == np.int16)


@pytest.mark.parametrize("syntax", [EXPLICIT, J2K, JLS, RLE])
def test_frames_are_given_one_by_one_in_the_order_asked_for(tmp_path: Path, syntax: str) -> None:
    pixels = np.stack([GREY + n for n in range(4)])
    if syntax == EXPLICIT:
        path = save(tmp_path / "a", dataset(pixels))
    else:
        path = packed(tmp_path / "a", pixels, [CODED[syntax](one) for one in pixels], syntax, table=syntax == J2K)
    np.testing.assert_array_equal(list(frames(path, header(path), [3, 1])), pixels[[3, 1]])
    with pytest.raises(HilumError, match="HIL-IO-07"):
        list(frames(path, header(path), [4]))


def test_kinds_of_several_files_go_together() -> None:
    assert common([np.dtype(np.uint16), np.dtype(np.int16)]) == np.int32
    assert common([np.dtype(np.int32), np.dtype(np.float32)]) == np.float32


@pytest.mark.parametrize("name", ["JPEG-lossy.dcm", "JPGExtended.dcm"])
def test_jpeg_of_12_bits_has_its_known_values(name: str) -> None:
    pytest.importorskip("gdcm")
    seen = read(shipped(name))
    assert (seen[420, 140], seen[230, 120]) == (244, 95)


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_gdcm.dcm", "MR_small_RLE.dcm", "rtdose_rle.dcm", "rtdose_expb.dcm"])
def test_shipped_files_read_as_in_pydicom(name: str) -> None:
    path = shipped(name)
    np.testing.assert_array_equal(read(path), pydicom.dcmread(path).pixel_array)


def test_d06_high_throughput_jpeg_2000_is_read(tmp_path: Path) -> None:
    pixels = (np.add.outer(np.arange(32), np.arange(32)) * 3).astype(np.uint16)
    path = packed(tmp_path / "a", pixels, [base64.b64decode(HIGH_THROUGHPUT)], HTJ2K)
    np.testing.assert_array_equal(read(path), pixels)


def test_d13_one_bit_per_pixel_is_unpacked_across_frames(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (3, 5, 7)).astype(np.uint8)
    data = dataset(bits, BitsAllocated=1, BitsStored=1)
    raw = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    data.PixelData = raw + b"\0" * (len(raw) % 2)
    np.testing.assert_array_equal(read(save(tmp_path / "a", data)), bits)


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_d13_32_bits_are_read(tmp_path: Path, dtype: Any) -> None:
    pixels = (GREY.astype(dtype) << 20) - (1 if dtype == np.int32 else 0)
    np.testing.assert_array_equal(read(save(tmp_path / "a", dataset(pixels.astype(dtype)))), pixels)


@pytest.mark.parametrize("keyword, dtype", [("FloatPixelData", np.float32), ("DoubleFloatPixelData", np.float64)])
def test_d13_real_numbers_are_read(tmp_path: Path, keyword: str, dtype: Any) -> None:
    pixels = np.linspace(-1, 1, 12).reshape(3, 4).astype(dtype)
    data = dataset(pixels)
    del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
    setattr(data, keyword, pixels.tobytes())
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = EXPLICIT
    data.save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(read(tmp_path / "a"), pixels)


def test_d13_a_high_bit_above_the_stored_ones_is_proven_by_the_pixels(tmp_path: Path) -> None:
    record = Record()
    path = save(tmp_path / "a", dataset(GREY << 4, BitsStored=12, HighBit=15))
    np.testing.assert_array_equal(read(path, record), GREY)
    path = save(tmp_path / "b", dataset(GREY, BitsStored=12, HighBit=15))
    np.testing.assert_array_equal(read(path, record), GREY)
    assert [words[:7] for words in record.warnings] == ["HIL-D13", "HIL-D13"]
    refused(save(tmp_path / "c", dataset(GREY | 0x8001, BitsStored=12, HighBit=15)), "HIL-D13")


def test_d13_bits_above_the_stored_ones_are_left_out_with_a_warning(tmp_path: Path) -> None:
    pixels = GREY.copy()
    pixels[3, 5] |= 0x1000
    record = Record()
    np.testing.assert_array_equal(read(save(tmp_path / "a", dataset(pixels, BitsStored=12)), record), GREY)
    assert "HIL-D13" in record.warnings[0]


def test_d13_a_codestream_with_more_bits_than_allocated_is_refused(tmp_path: Path) -> None:
    refused(packed(tmp_path / "a", (GREY % 200).astype(np.uint8), [j2k(GREY)], J2K), "HIL-D13")


@pytest.mark.parametrize("signed", [True, False])
def test_d14_the_header_decides_over_the_jpeg_2000_sign(tmp_path: Path, signed: bool) -> None:
    values = GREY.astype(np.int16) - 500
    coded = values.view(np.uint16) if signed else values
    record = Record()
    path = packed(tmp_path / "a", GREY, [j2k(coded)], J2K, PixelRepresentation=int(signed))
    np.testing.assert_array_equal(read(path, record), values if signed else values.view(np.uint16))
    assert "HIL-D14" in record.warnings[0] and ("signed" if signed else "unsigned") in record.warnings[0].split(";")[1]


def test_d14_the_library_agrees_on_its_own_example() -> None:
    path = shipped("J2K_pixelrep_mismatch.dcm")
    record = Record()
    np.testing.assert_array_equal(read(path, record), pydicom.dcmread(path).pixel_array + np.int16(0))
    assert "HIL-D14" in record.warnings[0] and read(path).min() == -2000


def test_d14_jpeg_ls_of_12_bits_gets_the_headers_sign(tmp_path: Path) -> None:
    values = GREY.astype(np.int16) - 500
    path = packed(tmp_path / "a", values, [jls(values.view(np.uint16) & 0x0FFF)], JLS, BitsStored=12)
    np.testing.assert_array_equal(read(path), values)


@pytest.mark.parametrize("syntax", [J2K, JLS])
def test_d14_the_highest_bit_of_a_narrower_codestream_is_no_sign(tmp_path: Path, syntax: str) -> None:
    few = (GREY % 256).astype(np.uint8)
    record = Record()
    path = packed(tmp_path / "a", few.astype(np.int16), [CODED[syntax](few)], syntax)
    np.testing.assert_array_equal(read(path, record), few)
    assert few.max() > 127 and all("HIL-D14" in words for words in record.warnings)


def test_d14_a_narrower_codestream_with_a_sign_keeps_it(tmp_path: Path) -> None:
    few = ((GREY % 256).astype(np.int16) - 128).astype(np.int8)
    path = packed(tmp_path / "a", few.astype(np.int16), [j2k(few)], J2K)
    np.testing.assert_array_equal(read(path), few)


def test_d14_extended_signs_in_unsigned_data_are_seen(tmp_path: Path) -> None:
    values = GREY.astype(np.int16) - 500
    record = Record()
    path = save(tmp_path / "a", dataset(values, PixelRepresentation=0, BitsStored=12))
    np.testing.assert_array_equal(read(path, record), values)
    assert "HIL-D14" in record.warnings[0] and record.signed


def test_d14_impossible_ct_values_are_warned_about(tmp_path: Path) -> None:
    values = GREY.astype(np.int16) - 500
    tags = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "0"}
    record = Record()
    read(save(tmp_path / "a", dataset(values, PixelRepresentation=0, **tags)), record)
    assert "HIL-D14" in record.warnings[0] and "unsigned" in record.warnings[0]


@pytest.mark.parametrize("slope, intercept", [("1", "0"), ("2", "-7"), ("0.5", "1.5")])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16])
def test_d15_monochrome1_is_turned_once_over_its_range(tmp_path: Path, dtype: Any, slope: str, intercept: str) -> None:
    pixels = (GREY % 120).astype(dtype)
    tags = {"RescaleSlope": slope, "RescaleIntercept": intercept, "Modality": "CR"}
    record = Record()
    seen = read(save(tmp_path / "a", dataset(pixels, PhotometricInterpretation="MONOCHROME1", **tags)), record)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    np.testing.assert_array_equal(seen, (low + high - pixels.astype(float)) * float(slope) + float(intercept))
    assert record.inverted


def test_d15_hounsfield_units_are_not_turned(tmp_path: Path) -> None:
    tags = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}
    record = Record()
    seen = read(save(tmp_path / "a", dataset(GREY, PhotometricInterpretation="MONOCHROME1", **tags)), record)
    np.testing.assert_array_equal(seen, GREY.astype(int) - 1024)
    assert not record.inverted and "HIL-D15" in record.warnings[0]


def palette(count: int, first: int = 0, bits: int = 16, **tags: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for factor, name in enumerate(("Red", "Green", "Blue"), 1):
        made[f"{name}PaletteColorLookupTableDescriptor"] = [count, first, bits]
        table = (np.arange(count) * factor).astype(np.uint16 if bits == 16 else np.uint8).tobytes()
        made[f"{name}PaletteColorLookupTableData"] = table + b"\0" * (len(table) % 2)
    return made | tags


INDEX = (GREY % 64).astype(np.uint8)


@pytest.mark.parametrize("bits, dtype", [(16, np.uint16), (8, np.uint8)])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_d16_a_palette_becomes_rgb(tmp_path: Path, syntax: str, bits: int, dtype: Any) -> None:
    seen = read(save(tmp_path / "a", dataset(INDEX, **palette(64, bits=bits)), syntax))
    wanted = np.stack([INDEX, 2 * INDEX.astype(dtype), 3 * INDEX.astype(dtype)], -1)
    np.testing.assert_array_equal(seen, wanted)
    assert seen.dtype == dtype


def test_d16_the_shipped_palette_reads_as_in_pydicom() -> None:
    from pydicom.pixels.processing import apply_color_lut

    path = shipped("examples_palette.dcm")
    data = pydicom.dcmread(path)
    np.testing.assert_array_equal(read(path), apply_color_lut(data.pixel_array, data))


@pytest.mark.parametrize(
    "fault",
    [
        {"RedPaletteColorLookupTableData": b"\0" * 100},
        {"GreenPaletteColorLookupTableData": b""},
        {"RedPaletteColorLookupTableDescriptor": [63, 0, 16]},
        {"RedPaletteColorLookupTableDescriptor": [64, 0, 17]},
        {"RedPaletteColorLookupTableDescriptor": [64, 0]},
    ],
)
def test_d16_a_short_or_uneven_palette_is_refused(tmp_path: Path, fault: Any) -> None:
    refused(save(tmp_path / "a", dataset(INDEX, **palette(64) | fault)), "HIL-D16")


def test_d16_a_palette_without_tables_is_refused(tmp_path: Path) -> None:
    refused(save(tmp_path / "a", dataset(INDEX, PhotometricInterpretation="PALETTE COLOR")), "HIL-D16")


def test_d16_pixels_beyond_the_palette_take_its_ends(tmp_path: Path) -> None:
    record = Record()
    seen = read(save(tmp_path / "a", dataset(INDEX, **palette(40, first=5))), record)
    np.testing.assert_array_equal(seen[..., 0], np.clip(INDEX.astype(int) - 5, 0, 39))
    assert "HIL-D16" in record.warnings[0]


def segmented(words: list[int], count: int) -> dict[str, Any]:
    made = palette(count)
    for name in ("Red", "Green", "Blue"):
        del made[f"{name}PaletteColorLookupTableData"]
        made[f"Segmented{name}PaletteColorLookupTableData"] = np.array(words, "<u2").tobytes()
    return made


def test_d16_a_segmented_palette_is_expanded(tmp_path: Path) -> None:
    words = [0, 2, 10, 20, 1, 4, 60, 2, 1, 0, 0]
    table = np.array([10, 20, 30, 40, 50, 60, 10, 20])
    seen = read(save(tmp_path / "a", dataset(INDEX % 8, **segmented(words, 8))))
    np.testing.assert_array_equal(seen[..., 0], table[INDEX % 8])


@pytest.mark.parametrize(
    "words",
    [
        [1, 8, 3],
        [0, 9, 1, 2],
        [3, 8, 1],
        [0, 8, *range(8), 2, 9, 0, 0],
        [0, 2, 1, 2, 1, 60000, 9],
        [0, 4, 1, 2, 3, 4],
    ],
)
def test_d16_a_faulty_segmented_palette_is_refused(tmp_path: Path, words: list[int]) -> None:
    refused(save(tmp_path / "a", dataset(INDEX % 8, **segmented(words, 8))), "HIL-D16")


def ybr(pixels: np.ndarray) -> np.ndarray:
    """RGB to YCbCr by the formula of PS3.3 C.7.6.3.1.2."""
    matrix = np.array([[0.2990, 0.5870, 0.1140], [-0.1687, -0.3313, 0.5000], [0.5000, -0.4187, -0.0813]])
    return np.clip(np.round(pixels @ matrix.T + [0, 128, 128]), 0, 255).astype(np.uint8)


def test_d17_uncompressed_ybr_full_becomes_rgb(tmp_path: Path) -> None:
    seen = read(save(tmp_path / "a", dataset(ybr(COLOUR), PhotometricInterpretation="YBR_FULL")))
    assert np.abs(seen.astype(int) - COLOUR).max() <= 2


def test_d17_uncompressed_ybr_full_422_becomes_rgb(tmp_path: Path) -> None:
    pairs = np.repeat(COLOUR[:, ::2], 2, axis=1)
    values = ybr(pairs)
    stored = np.stack([values[:, ::2, 0], values[:, 1::2, 0], values[:, ::2, 1], values[:, ::2, 2]], -1)
    data = dataset(pairs, PhotometricInterpretation="YBR_FULL_422")
    data.PixelData = stored.tobytes()
    assert np.abs(read(save(tmp_path / "a", data)).astype(int) - pairs).max() <= 2
    data.Columns = 15
    data.PixelData = stored[:, :-1].tobytes() + b"\0" * 16
    refused(save(tmp_path / "b", data), "HIL-D17", "15")


def test_d17_ybr_full_422_that_is_not_subsampled_is_seen(tmp_path: Path) -> None:
    record = Record()
    path = save(tmp_path / "a", dataset(ybr(COLOUR), PhotometricInterpretation="YBR_FULL_422"))
    assert np.abs(read(path, record).astype(int) - COLOUR).max() <= 2 and "HIL-D17" in record.warnings[0]


def test_d17_planar_colours_are_put_together(tmp_path: Path) -> None:
    data = dataset(COLOUR, PlanarConfiguration=1)
    data.PixelData = np.moveaxis(COLOUR, -1, 0).tobytes()
    np.testing.assert_array_equal(read(save(tmp_path / "a", data)), COLOUR)


@pytest.mark.parametrize("planar", [0, 1])
def test_d17_compressed_colours_ignore_the_planar_configuration(tmp_path: Path, planar: int) -> None:
    path = packed(tmp_path / "a", COLOUR, [rle(COLOUR)], RLE, PlanarConfiguration=planar)
    np.testing.assert_array_equal(read(path), COLOUR)


@pytest.mark.parametrize(
    "tags",
    [
        {"PlanarConfiguration": 2},
        {"SamplesPerPixel": 4},
        {"SamplesPerPixel": 2},
        {"PhotometricInterpretation": "MONOCHROME2"},
        {"PhotometricInterpretation": "CMYK"},
        {"PhotometricInterpretation": None},
    ],
)
def test_d17_colours_that_contradict_themselves_are_refused(tmp_path: Path, tags: Any) -> None:
    refused(save(tmp_path / "a", dataset(COLOUR, **tags)), "HIL-D17")


@pytest.mark.parametrize("odd", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_d17_jpeg_colours_of_every_subsampling(tmp_path: Path, subsampling: str, odd: bool) -> None:
    flat = np.full_like(COLOUR, (200, 60, 30))[:, : 15 if odd else 16]
    path = packed(
        tmp_path / "a", flat, [jpeg(flat, subsampling=subsampling)], JPEG, PhotometricInterpretation="YBR_FULL_422"
    )
    assert np.abs(read(path).astype(int) - flat).max() <= 3


@pytest.mark.parametrize("photometric", ["RGB", "YBR_RCT", "YBR_ICT"])
def test_d17_jpeg_2000_colours_come_out_as_rgb(tmp_path: Path, photometric: str) -> None:
    big = np.kron(COLOUR, np.ones((4, 4, 1), np.uint8))
    stream = j2k(big, photometric_interpretation=1, use_mct=photometric != "RGB")
    path = packed(tmp_path / "a", big, [stream], J2K, PhotometricInterpretation=photometric)
    np.testing.assert_array_equal(read(path), big)


@pytest.mark.parametrize(
    "name",
    [
        "SC_rgb_dcmtk_+eb+cr.dcm",
        "SC_rgb_dcmtk_+eb+cy+n1.dcm",
        "SC_rgb_dcmtk_+eb+cy+np.dcm",
        "SC_rgb_dcmtk_+eb+cy+s4.dcm",
        "SC_rgb_jpeg_app14_dcmd.dcm",
        "SC_jpeg_no_color_transform.dcm",
        "SC_jpeg_no_color_transform_2.dcm",
        "SC_rgb_small_odd_jpeg.dcm",
        "SC_ybr_full_422_uncompressed.dcm",
        "SC_rgb_jls_lossy_line.dcm",
        "SC_rgb_gdcm_KY.dcm",
        "GDCMJ2K_TextGBR.dcm",
        "SC_rgb_jpeg_lossy_gdcm.dcm",
    ],
)
def test_d17_shipped_colours_read_as_in_pydicom(name: str) -> None:
    path = shipped(name)
    np.testing.assert_array_equal(read(path), pydicom.dcmread(path).pixel_array)


def test_d18_ct_without_rescale_is_warned_about(tmp_path: Path) -> None:
    record = Record()
    np.testing.assert_array_equal(read(save(tmp_path / "a", dataset(GREY, Modality="CT")), record), GREY)
    assert "HIL-D18" in record.warnings[0]


@pytest.mark.parametrize("empty", ["RescaleSlope", "RescaleIntercept"])
def test_d18_ct_with_an_empty_rescale_is_warned_about(tmp_path: Path, empty: str) -> None:
    """An empty intercept counted as one that is there, and every value was 1024 too high."""
    rescale = {"RescaleSlope": "1", "RescaleIntercept": "-1024"} | {empty: None}
    record = Record()
    read(save(tmp_path / "a", dataset(GREY, Modality="CT", **rescale)), record)
    assert any("HIL-D18" in words for words in record.warnings)
    sound = Record()
    read(save(tmp_path / "b", dataset(GREY, Modality="CT", RescaleSlope="1", RescaleIntercept="-1024")), sound)
    assert not any("HIL-D18" in words for words in sound.warnings)


@pytest.mark.parametrize("whole", [False, True])
def test_d18_frames_of_a_ct_without_an_intercept_are_warned_about(tmp_path: Path, whole: bool) -> None:
    item, rule = Dataset(), Dataset()
    rule.RescaleSlope = "1"
    if whole:
        rule.RescaleIntercept = "-1024"
    item.PixelValueTransformationSequence = [rule]
    record, data = Record(), dataset(np.stack([GREY, GREY]), Modality="CT")
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [item], [Dataset(), Dataset()]
    read(save(tmp_path / "a", data), record)
    assert any("HIL-D18" in words for words in record.warnings) != whole


@pytest.mark.parametrize("slope, intercept", [("0", "0"), ("NaN", "0"), ("1", "inf"), ("abc", "0"), ("1", "1e999")])
def test_d18_impossible_rescales_are_refused(tmp_path: Path, slope: str, intercept: str) -> None:
    path = save(tmp_path / "a", dataset(GREY, RescaleSlope="77777777", RescaleIntercept="55555555"))
    raw = path.read_bytes()
    changed = raw.replace(b"77777777", slope.encode().ljust(8)).replace(b"55555555", intercept.encode().ljust(8))
    path.write_bytes(changed)
    refused(path, "HIL-D18")


def test_d18_every_frame_has_its_own_rescale(tmp_path: Path) -> None:
    def group(slope: str) -> Dataset:
        item, rule = Dataset(), Dataset()
        rule.RescaleSlope, rule.RescaleIntercept = slope, "-1"
        item.PixelValueTransformationSequence = [rule]
        return item

    pixels = np.stack([GREY, GREY])
    path = save(tmp_path / "a", dataset(pixels, PerFrameFunctionalGroupsSequence=[group("1"), group("2")]))
    np.testing.assert_array_equal(read(path), [GREY.astype(int) - 1, GREY.astype(int) * 2 - 1])


@pytest.mark.parametrize(
    "slope, intercept, dtype", [("1", "-1024", np.int16), ("3", "0", np.int16), ("0.1", "0", np.float32)]
)
def test_d18_values_keep_whole_where_they_can(tmp_path: Path, slope: str, intercept: str, dtype: Any) -> None:
    tags = {"RescaleSlope": slope, "RescaleIntercept": intercept, "BitsStored": 12}
    seen = read(save(tmp_path / "a", dataset(GREY, **tags)))
    assert seen.dtype == dtype
    np.testing.assert_allclose(seen, GREY * float(slope) + float(intercept), rtol=1e-6)


@pytest.mark.parametrize(
    "stored, intercept, dtype", [(np.uint16, 65535, np.uint16), (np.uint16, 0, np.int32), (np.uint8, 255, np.uint8)]
)
def test_d18_a_slope_below_zero_turns_the_whole_range(tmp_path: Path, stored: Any, intercept: int, dtype: Any) -> None:
    top = np.iinfo(stored).max
    pixels = np.array([[0, 1, 7], [top - 9, top - 1, top]], stored)
    seen = read(save(tmp_path / "a", dataset(pixels, RescaleSlope="-1", RescaleIntercept=str(intercept))))
    assert seen.dtype == dtype
    np.testing.assert_array_equal(seen, intercept - pixels.astype(int))


def test_d18_a_slope_below_zero_leaves_room_for_extended_signs(tmp_path: Path) -> None:
    values = (GREY % 60).astype(np.int8) - np.int8(30)
    tags = {"RescaleSlope": "-2", "RescaleIntercept": "254", "PixelRepresentation": 0, "BitsStored": 7}
    seen = read(save(tmp_path / "a", dataset(values, **tags)))
    np.testing.assert_array_equal(seen, 254 - 2 * values.astype(int))


def lut(count: int, data: bytes, first: int = 0) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [count, first, 16])
    item.ModalityLUTType = "US"
    item.add_new("LUTData", "OW", data)
    return item


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_d19_a_modality_table_is_applied(tmp_path: Path, syntax: str) -> None:
    table = (np.arange(64, dtype=np.uint16) ** 2)[::-1].copy()
    path = save(tmp_path / "a", dataset(INDEX, ModalityLUTSequence=[lut(64, table.tobytes())]), syntax)
    np.testing.assert_array_equal(read(path), table[INDEX])


def test_d19_a_modality_table_starts_where_it_says_and_holds_its_ends(tmp_path: Path) -> None:
    table = np.arange(100, 140, dtype=np.uint16)
    seen = read(save(tmp_path / "a", dataset(INDEX, ModalityLUTSequence=[lut(40, table.tobytes(), 10)])))
    np.testing.assert_array_equal(seen, table[np.clip(INDEX.astype(int) - 10, 0, 39)])


def test_d19_a_short_modality_table_is_refused(tmp_path: Path) -> None:
    refused(save(tmp_path / "a", dataset(INDEX, ModalityLUTSequence=[lut(64, b"\0" * 100)])), "HIL-D19")


def test_d19_window_tables_never_change_values(tmp_path: Path) -> None:
    data = dataset(GREY, VOILUTSequence=[lut(64, b"\0" * 128)], WindowCenter="40", WindowWidth="80")
    np.testing.assert_array_equal(read(save(tmp_path / "a", data)), GREY)


@pytest.mark.parametrize("units, warned", [("BQML", True), (None, True), ("GML", False)])
def test_d19_pet_that_is_not_suv_is_warned_about(tmp_path: Path, units: str | None, warned: bool) -> None:
    record = Record()
    read(
        save(tmp_path / "a", dataset(GREY, Modality="PT", RescaleSlope="1.5", RescaleIntercept="0", Units=units)),
        record,
    )
    assert any("HIL-D19" in words and "SUV" in words for words in record.warnings) == warned


def padded(path: Path, vr: str, value: int, signed: bool, **tags: Any) -> Path:
    stored = GREY.astype(np.int16)
    stored[:3] = -2000
    data = dataset(stored, Modality="CT", RescaleSlope="1", RescaleIntercept="-1024", **tags)
    data.PixelRepresentation = int(signed)
    data.add_new("PixelPaddingValue", vr, value)
    return save(path, data)


@pytest.mark.parametrize("vr, value", [("SS", -2000), ("US", 63536)])
@pytest.mark.parametrize("signed", [True, False])
def test_d20_padding_becomes_air_whatever_sign_it_is_written_with(
    tmp_path: Path, vr: str, value: int, signed: bool
) -> None:
    record = Record()
    seen = read(padded(tmp_path / "a", vr, value, signed), record)
    assert (seen[:3] == -1024).all() and record.padding_voxels == 3 * 36 and record.warnings == []
    np.testing.assert_array_equal(seen[3:], GREY[3:].astype(int) - 1024)


def test_d20_a_padding_range_becomes_air(tmp_path: Path) -> None:
    path = padded(tmp_path / "a", "SS", -2100, True)
    data = pydicom.dcmread(path)
    data.add_new("PixelPaddingRangeLimit", "SS", -1990)
    data.save_as(path)
    record = Record()
    assert (read(path, record)[:3] == -1024).all() and record.padding_voxels == 3 * 36


def test_d20_of_a_padding_range_that_reaches_into_what_ct_measures_the_rest_becomes_air(tmp_path: Path) -> None:
    path = padded(tmp_path / "a", "SS", -2100, True)
    data = pydicom.dcmread(path)
    # stored 0 to 20 are -1024 to -1004 HU
    data.add_new("PixelPaddingRangeLimit", "SS", 20)
    data.save_as(path)
    record = Record()
    seen = read(path, record)
    assert (seen[:3] == -1024).all() and record.padding_voxels == 3 * 36
    np.testing.assert_array_equal(seen[3:], GREY[3:].astype(int) - 1024)


def test_d20_compressed_padding_becomes_air(tmp_path: Path) -> None:
    stored = GREY.astype(np.int16)
    stored[:3] = -2000
    tags = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}
    path = packed(tmp_path / "a", stored, [j2k(stored)], J2K, **tags, PixelPaddingValue=-2000)
    record = Record()
    assert (read(path, record)[:3] == -1024).all() and record.padding_voxels == 3 * 36


def test_d20_padding_within_what_ct_measures_is_left_alone(tmp_path: Path) -> None:
    record = Record()
    seen = read(padded(tmp_path / "a", "SS", 100, True), record)
    assert record.padding_voxels == 0 and seen.min() == -3024


def coded(path: Path, stream: bytes, syntax: str = J2K, count: int = 1) -> Path:
    pixels = GREY if count == 1 else np.stack([GREY] * count)
    return packed(path, pixels, [stream] * count, syntax)


@pytest.mark.parametrize("syntax", CODED)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_d44_a_short_codestream_is_refused(tmp_path: Path, syntax: str, share: float) -> None:
    stream = CODED[syntax](GREY)
    refused(coded(tmp_path / "a", stream[: int(len(stream) * share)], syntax), "HIL-D44")


def test_d44_a_short_jpeg_is_refused(tmp_path: Path) -> None:
    stream = jpeg((GREY % 200).astype(np.uint8))
    for end in (len(stream) // 2, len(stream) - 4):
        path = packed(tmp_path / "a", (GREY % 200).astype(np.uint8), [stream[:end]], JPEG)
        refused(path, "HIL-D44")


def test_d44_a_jpeg_2000_that_lacks_its_middle_is_refused(tmp_path: Path) -> None:
    stream = j2k(GREY)
    refused(coded(tmp_path / "a", stream[:-60] + stream[-2:]), "HIL-D44")


def test_d44_a_codestream_of_another_size_is_refused(tmp_path: Path) -> None:
    refused(coded(tmp_path / "a", j2k(np.ascontiguousarray(GREY.T))), "HIL-D44")
    refused(coded(tmp_path / "b", rle(GREY[:20]), RLE), "HIL-D44")
    refused(coded(tmp_path / "c", rle((GREY % 200).astype(np.uint8)), RLE), "HIL-D44")


def test_d44_bytes_behind_a_codestream_are_refused(tmp_path: Path) -> None:
    refused(coded(tmp_path / "a", j2k(GREY) + b"garbage!"), "HIL-D44")


@pytest.mark.parametrize("syntax", [J2K, RLE])
def test_d44_an_extra_fragment_is_refused(tmp_path: Path, syntax: str) -> None:
    stream = CODED[syntax](GREY)
    refused(packed(tmp_path / "a", GREY, [stream, stream], syntax), "HIL-D44")


@pytest.mark.parametrize(
    "table", [b"\0\0\0\0", b"\0\0\0\0\x08\0\0\0", b"\x08\0\0\0\0\0\0\0", b"\0\0\0\0\xff\xff\xff\x7f", b"\0\0\0"]
)
def test_d44_a_wrong_offset_table_is_refused(tmp_path: Path, table: bytes) -> None:
    data = dataset(np.stack([GREY] * 2))
    items = b"".join(
        struct.pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in [j2k(GREY) + b"\0" * (len(j2k(GREY)) % 2)] * 2
    )
    data.PixelData = struct.pack("<HHL", 0xFFFE, 0xE000, len(table)) + table + items
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    refused(save(tmp_path / "a", data, J2K), "HIL-D44")


def test_d44_frames_in_several_fragments_are_put_together(tmp_path: Path) -> None:
    data = dataset(np.stack([GREY, GREY + 1]))
    streams = [j2k(GREY + n) + b"\0" * (len(j2k(GREY + n)) % 2) for n in (0, 1)]
    halves = [part for stream in streams for part in (stream[:200], stream[200:])]
    items = b"".join(struct.pack("<HHL", 0xFFFE, 0xE000, len(one)) + one for one in halves)
    data.PixelData = struct.pack("<HHL", 0xFFFE, 0xE000, 0) + items
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    np.testing.assert_array_equal(read(save(tmp_path / "a", data, J2K)), [GREY, GREY + 1])


@pytest.mark.parametrize("syntax", [EXPLICIT, J2K])
def test_d44_garbage_at_the_end_is_refused_and_zeros_are_not(tmp_path: Path, syntax: str) -> None:
    path = save(tmp_path / "a", dataset(GREY)) if syntax == EXPLICIT else coded(tmp_path / "a", j2k(GREY))
    raw = path.read_bytes()
    for tail in (b"\0" * 100, struct.pack("<HH2sHL", 0xFFFC, 0xFFFC, b"OB", 0, 4) + b"\0" * 4):
        path.write_bytes(raw + tail)
        np.testing.assert_array_equal(read(path), GREY)
    path.write_bytes(raw + b"--boundary of a form--")
    refused(path, "HIL-D44")


class PanicException(BaseException):
    """What a codec written in Rust raises."""


@pytest.mark.parametrize("error", [PanicException("index out of bounds"), SystemError("bad call"), MemoryError()])
def test_d45_a_decoder_that_breaks_down_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: Any) -> Any:
        raise error

    monkeypatch.setitem(codec._DECODERS, codec.J2K, (broken,))
    refused(coded(tmp_path / "a", j2k(GREY)), "HIL-D45")


def test_d45_an_interrupt_stays_an_interrupt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setitem(codec._DECODERS, codec.J2K, (stopped,))
    with pytest.raises(KeyboardInterrupt):
        read(coded(tmp_path / "a", j2k(GREY)))


def test_d45_a_decoder_that_refuses_is_not_replaced_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: Any) -> Any:
        raise ValueError("no")

    def absent(*_: Any) -> Any:
        raise ImportError("no library")

    path = coded(tmp_path / "a", j2k(GREY))
    monkeypatch.setitem(codec._DECODERS, codec.J2K, (refusing, lambda *_: GREY[..., None]))
    refused(path, "HIL-D44")
    monkeypatch.setitem(codec._DECODERS, codec.J2K, (absent, lambda *_: GREY[..., None]))
    np.testing.assert_array_equal(read(path), GREY)
    monkeypatch.setitem(codec._DECODERS, codec.J2K, (absent,))
    refused(path, "HIL-D06")


def test_damaged_codestreams_never_raise_another_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for syntax, code in CODED.items():
        stream = code(GREY)
        for _ in range(60):
            wrong = bytearray(stream)
            for at in rng.integers(0, len(stream), 3):
                wrong[at] = rng.integers(0, 256)
            try:
                read(coded(tmp_path / "a", bytes(wrong), syntax))
            except HilumError as error:
                assert error.code.startswith("HIL-D"), str(error)
