"""DICOM SEG: three kinds, decoded by two libraries; what points elsewhere or means something else is refused."""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import dicom, dicom_seg
from hilum.io import open as open_path
from hilum.io._dicom import origin, seg_write

AFFINE = np.array([[-1.0, 0, 0, 20.5], [0, -1.5, 0, 33.0], [0, 0, 2.5, -8.0], [0, 0, 0, 1]])
SHAPE = (9, 7, 6)
CLASSES = {3: "Hirnventrikel (groß)", 7: "lesion"}


def series(folder: Path, **tags: Any) -> Image:
    values = np.random.default_rng(1).integers(0, 900, (1, *SHAPE)).astype(np.int16)
    dicom.write_series(folder, Image(values, AFFINE), {"Modality": "MR", "PatientID": "p", **tags})
    return dicom.read(folder)


def edit(path: Path, **tags: Any) -> None:
    data = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    data.save_as(path)


def labels() -> np.ndarray:
    array = np.zeros(SHAPE, np.uint8)
    array[1:4, 2:5, 1:4], array[5:7, 0:2, 5] = 3, 7
    return array


def overlapping() -> np.ndarray:
    return np.stack([labels() == 3, labels() > 0])


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return series(tmp_path_factory.mktemp("s") / "s")


def written(path: Path, image: Image, kind: str = "binary") -> Path:
    fractions = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)
    array = fractions if kind == "fractional" else labels()
    mask = Mask(array, CLASSES, image.affine, stacked=kind == "fractional")
    dicom_seg.write(path, mask, image.meta["files"], kind)
    return path


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_masks_come_back_on_their_grid(tmp_path: Path, image: Image, kind: str) -> None:
    path = written(tmp_path / "m.dcm", image, kind)
    assert dicom_seg.is_seg(path) and dicom_seg.recognises(path)
    seen = dicom_seg.read(path, image)
    np.testing.assert_array_equal(seen.array, labels())
    assert dict(seen.classes) == CLASSES and not seen.stacked
    slab = dicom_seg.read(path)
    np.testing.assert_array_equal(slab.array, labels()[..., 1:6])
    assert slab.affine is not None
    np.testing.assert_allclose(slab.affine @ [0, 0, 0, 1], AFFINE @ [0, 0, 1, 1], atol=1e-6)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_an_empty_mask_stays_empty(tmp_path: Path, image: Image, kind: str) -> None:
    mask = Mask(np.zeros(SHAPE, np.uint8), {1: "lesion"}, image.affine)
    dicom_seg.write(tmp_path / "m.dcm", mask, image.meta["files"], kind)
    assert not dicom_seg.read(tmp_path / "m.dcm", image).array.any()


def test_fractions_come_back_within_half_a_step(tmp_path: Path, image: Image) -> None:
    path = written(tmp_path / "f.dcm", image, "fractional")
    wanted = np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32)
    seen = dicom_seg.probabilities(path, image)
    assert seen.stacked and dict(seen.classes) == CLASSES and seen.array.dtype == np.float32
    assert 0 < np.abs(seen.array - wanted).max() <= 0.5 / 255 + 1e-6
    assert pydicom.dcmread(path).MaximumFractionalValue == 255
    with pytest.raises(HilumError, match="HIL-D43"):
        dicom_seg.probabilities(written(tmp_path / "b.dcm", image), image)


def enhanced(path: Path, image: Image, order: list[int]) -> list[Any]:
    """The series as one Enhanced MR file, its frames in the order given; the per-frame items returned."""
    slices = [pydicom.dcmread(image.meta["files"][k]) for k in order]
    whole = slices[0]
    shared, turned, measures = pydicom.Dataset(), pydicom.Dataset(), pydicom.Dataset()
    turned.ImageOrientationPatient = whole.ImageOrientationPatient
    measures.PixelSpacing, measures.SliceThickness = whole.PixelSpacing, whole.SliceThickness
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [turned], [measures]
    items = []
    for data in slices:
        item, place = pydicom.Dataset(), pydicom.Dataset()
        place.ImagePositionPatient = data.ImagePositionPatient
        item.PlanePositionSequence = [place]
        items.append(item)
    whole.SharedFunctionalGroupsSequence, whole.PerFrameFunctionalGroupsSequence = [shared], items
    whole.PixelData = b"".join(data.PixelData for data in slices)
    whole.NumberOfFrames = len(slices)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    del whole.ImagePositionPatient, whole.ImageOrientationPatient, whole.PixelSpacing
    whole.save_as(path)
    return items


def test_an_enhanced_source_with_its_frames_in_any_order(tmp_path: Path, image: Image) -> None:
    frames = enhanced(tmp_path / "whole.dcm", image, [3, 0, 5, 1, 4, 2])
    mask = Mask(labels(), CLASSES, image.affine)
    dicom_seg.write(tmp_path / "m.dcm", mask, [tmp_path / "whole.dcm"])
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "m.dcm", Image(image.array, AFFINE)).array, labels())
    seg = pydicom.dcmread(tmp_path / "m.dcm")
    for item in seg.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        there = frames[int(source.ReferencedFrameNumber) - 1].PlanePositionSequence[0].ImagePositionPatient
        np.testing.assert_allclose(there, item.PlanePositionSequence[0].ImagePositionPatient)


def test_an_enhanced_source_of_one_frame(tmp_path: Path, image: Image) -> None:
    enhanced(tmp_path / "one.dcm", image, [1])
    seen = dicom.read(tmp_path / "one.dcm")
    assert seen.shape == (9, 7, 1) and seen.spacing[2] == 2.5
    dicom_seg.write(tmp_path / "m.dcm", Mask(labels()[..., 1:2], {3: "a"}, seen.affine), seen.meta["files"])
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "m.dcm", seen).array, labels()[..., 1:2])
    (shared,) = pydicom.dcmread(tmp_path / "m.dcm").SharedFunctionalGroupsSequence
    assert shared.PixelMeasuresSequence[0].SpacingBetweenSlices == 2.5, "it was 1 where the source says nothing"


def test_d03_a_source_without_a_preamble(tmp_path: Path) -> None:
    for file in series(tmp_path / "s").meta["files"]:
        Path(file).write_bytes(Path(file).read_bytes()[132:])
    seen = dicom.read(tmp_path / "s")
    assert [words[:7] for words in seen.warnings] == ["HIL-D03"]
    dicom_seg.write(tmp_path / "m.dcm", Mask(labels(), CLASSES, seen.affine), seen.meta["files"])
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "m.dcm", seen).array, labels())


@pytest.mark.parametrize(("beside", "along"), [(0.009, 0.0), (0.0, 0.029)], ids=["beside the grid", "along it"])
def test_slices_that_are_even_enough_to_be_read_can_be_pointed_at(tmp_path: Path, beside: float, along: float) -> None:
    for k, file in enumerate(series(tmp_path / "s").meta["files"]):
        x, y, z = (float(v) for v in pydicom.dcmread(file).ImagePositionPatient)
        edit(Path(file), ImagePositionPatient=[x, round(y + beside * k, 4), round(z + along * (k % 2), 4)])
    seen = dicom.read(tmp_path / "s")
    assert seen.warnings == () and "resampled" not in seen.meta
    dicom_seg.write(tmp_path / "m.dcm", Mask(labels(), CLASSES, seen.affine), seen.meta["files"])
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "m.dcm", seen).array, labels())


def per_frame(data: Any) -> None:
    """Orientation and measures frame by frame, and no shared groups, as some makers write."""
    (shared,) = data.SharedFunctionalGroupsSequence
    for item in data.PerFrameFunctionalGroupsSequence:
        item.PlaneOrientationSequence = copy.deepcopy(shared.PlaneOrientationSequence)
        item.PixelMeasuresSequence = copy.deepcopy(shared.PixelMeasuresSequence)
        item.PixelMeasuresSequence[0].private_block(0x0019, "MAKER", create=True).add_new(1, "LO", "hidden words")
    del data.SharedFunctionalGroupsSequence


def without_thickness(data: Any) -> None:
    del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness


@pytest.mark.parametrize("change", [per_frame, without_thickness])
def test_an_enhanced_source_that_says_things_frame_by_frame_or_not_at_all(
    tmp_path: Path, image: Image, change: Callable[[Any], None]
) -> None:
    enhanced(tmp_path / "whole.dcm", image, [3, 0, 5, 1, 4, 2])
    data = pydicom.dcmread(tmp_path / "whole.dcm")
    change(data)
    data.save_as(tmp_path / "whole.dcm")
    seen = dicom.read(tmp_path / "whole.dcm")
    np.testing.assert_array_equal(seen.array, image.array)
    dicom_seg.write(tmp_path / "m.dcm", Mask(labels(), CLASSES, seen.affine), seen.meta["files"])
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "m.dcm", seen).array, labels())
    assert b"hidden words" not in (tmp_path / "m.dcm").read_bytes()


def test_of_several_volumes_in_one_file_the_refusal_says_so(tmp_path: Path, image: Image) -> None:
    """It spoke of a stack that is not even."""
    enhanced(tmp_path / "whole.dcm", image, [0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5])
    with pytest.raises(HilumError, match=r"whole\.dcm holds several volumes.*HIL-IO-04"):
        dicom_seg.write(tmp_path / "m.dcm", Mask(labels(), CLASSES, image.affine), [tmp_path / "whole.dcm"])


def test_slices_that_turn_by_a_last_digit_can_be_pointed_at(tmp_path: Path) -> None:
    for k, file in enumerate(series(tmp_path / "s").meta["files"]):
        edit(Path(file), ImageOrientationPatient=["1", "0", f"{k % 2 * 1e-4:.4f}", "0", "1", "0"])
    seen = dicom.read(tmp_path / "s")
    assert seen.warnings == ()
    dicom_seg.write(tmp_path / "m.dcm", Mask(labels(), CLASSES, seen.affine), seen.meta["files"])
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "m.dcm", seen).array, labels())
    edit(Path(seen.meta["files"][2]), ImageOrientationPatient=["0.99995", "0", "0.01", "0", "1", "0"])
    with pytest.raises(HilumError, match=r"several orientations.*HIL-IO-04"):
        dicom_seg.write(tmp_path / "n.dcm", Mask(labels(), CLASSES, seen.affine), seen.meta["files"])


def test_slices_without_a_thickness_can_be_pointed_at(tmp_path: Path) -> None:
    for file in series(tmp_path / "s").meta["files"]:
        data = pydicom.dcmread(file)
        del data.SliceThickness
        data.save_as(file)
    seen = dicom.read(tmp_path / "s")
    dicom_seg.write(tmp_path / "m.dcm", Mask(labels(), CLASSES, seen.affine), seen.meta["files"])
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "m.dcm", seen).array, labels())
    (shared,) = pydicom.dcmread(tmp_path / "m.dcm").SharedFunctionalGroupsSequence
    assert shared.PixelMeasuresSequence[0].SliceThickness == 2.5


def spaced(path: Path, thick: str, between: str | None = None) -> Mask:
    """Read without its image, its slices of that thickness and that distance, or of none that is stated."""
    data = pydicom.dcmread(path)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SliceThickness, measures.SpacingBetweenSlices = thick, between
    data.save_as(path)
    return dicom_seg.read(path)


@pytest.mark.parametrize(("thick", "between"), [("1", None), ("5", None), ("2.5", "3.1"), ("9", "2.5")])
def test_slices_lie_where_they_say_whatever_their_thickness(
    tmp_path: Path, image: Image, thick: str, between: str | None
) -> None:
    slab = spaced(written(tmp_path / "m.dcm", image), thick, between)
    np.testing.assert_array_equal(slab.array, labels()[..., 1:6])
    np.testing.assert_allclose(np.asarray(slab.affine)[:3, :3], AFFINE[:3, :3], atol=1e-6)


def test_between_two_slices_far_apart_lie_others(tmp_path: Path, image: Image) -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[2, 3, [1, 5]] = 1
    dicom_seg.write(tmp_path / "m.dcm", Mask(array, {1: "a"}, image.affine), image.meta["files"])
    np.testing.assert_array_equal(spaced(tmp_path / "m.dcm", "2.5").array, array[..., 1:6])


def by_hand(path: Path) -> dict[int, np.ndarray]:
    """Voxel centres (n, 3) LPS mm of every segment, unpacked bit by bit."""
    data = pydicom.dcmread(path)
    size = int(data.Rows) * int(data.Columns)
    bits = np.unpackbits(np.frombuffer(data.PixelData, np.uint8), bitorder="little")
    shared = data.SharedFunctionalGroupsSequence[0]
    across, down = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    row_mm, column_mm = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    found: dict[int, list[np.ndarray]] = {}
    for n, item in enumerate(data.PerFrameFunctionalGroupsSequence):
        rows, columns = np.nonzero(bits[n * size : (n + 1) * size].reshape(data.Rows, data.Columns))
        corner = np.array(item.PlanePositionSequence[0].ImagePositionPatient, float)
        points = corner + np.outer(columns * column_mm, across) + np.outer(rows * row_mm, down)
        found.setdefault(int(item.SegmentIdentificationSequence[0].ReferencedSegmentNumber), []).append(points)
    return {number: np.concatenate(parts) for number, parts in found.items()}


@pytest.mark.parametrize("stacked", [False, True])
def test_three_decoders_agree_on_volume_place_and_overlap(tmp_path: Path, image: Image, stacked: bool) -> None:
    mask = Mask(overlapping() if stacked else labels(), CLASSES, image.affine, stacked=stacked)
    dicom_seg.write(tmp_path / "m.dcm", mask, image.meta["files"])
    points = by_hand(tmp_path / "m.dcm")
    other = highdicom.seg.segread(tmp_path / "m.dcm")
    for number, value in enumerate(sorted(CLASSES), 1):
        layer = mask.array[number - 1] if stacked else labels() == value
        wanted = np.argwhere(layer) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
        ras = points[number] * [-1, -1, 1]
        assert {tuple(p) for p in ras.round(3)} == {tuple(p) for p in wanted.round(3)}
        volume = other.get_volume(segment_numbers=[number])
        theirs = np.argwhere(volume.array[..., 0]) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
        np.testing.assert_allclose(theirs.mean(axis=0) * [-1, -1, 1], wanted.mean(axis=0), atol=1e-4)
        assert volume.array.sum() * abs(np.linalg.det(volume.affine[:3, :3])) == pytest.approx(layer.sum() * 3.75)


def test_simpleitk_unpacks_the_same_bits(tmp_path: Path) -> None:
    SimpleITK = pytest.importorskip("SimpleITK")

    # frames of whole bytes: GDCM takes each frame to begin with one
    array = np.random.default_rng(3).random((8, 6, 5)) > 0.5
    dicom.write_series(tmp_path / "s", Image(array[None].astype(np.int16), AFFINE))
    files = dicom.read(tmp_path / "s").meta["files"]
    dicom_seg.write(tmp_path / "m.dcm", Mask(array.astype(np.uint8), {1: "a"}, AFFINE), files)
    frames = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(tmp_path / "m.dcm")))
    np.testing.assert_array_equal(frames > 0, pydicom.dcmread(tmp_path / "m.dcm").pixel_array > 0)
    assert int((frames > 0).sum()) == int(array.sum())


def test_the_same_mask_gets_the_same_identifiers(tmp_path: Path, image: Image) -> None:
    same = [pydicom.dcmread(written(tmp_path / f"{n}.dcm", image)) for n in range(2)]
    assert same[0].SOPInstanceUID == same[1].SOPInstanceUID
    kinds = {pydicom.dcmread(written(tmp_path / "k.dcm", image, k)).SOPInstanceUID for k in seg_write.KINDS}
    assert len(kinds) == 3


def test_two_volumes_of_one_series_get_their_own_identifiers(tmp_path: Path) -> None:
    """Two time points in which nothing is found: an archive kept one of the two."""
    tags = {"SeriesInstanceUID": "1.2.3.4", "FrameOfReferenceUID": "1.2.3.5", "StudyInstanceUID": "1.2.3.6"}
    early, late = (series(tmp_path / n, **tags, AcquisitionTime=n) for n in ("100000", "110000"))
    for file in late.meta["files"]:
        edit(Path(file), SOPInstanceUID=f"{pydicom.dcmread(file).SOPInstanceUID}.1")
    assert early.meta["series_uid"] == late.meta["series_uid"] == "1.2.3.4"
    nothing = [Mask(np.zeros(SHAPE, np.uint8), CLASSES, image.affine) for image in (early, late)]
    for name, mask, image in zip("ab", nothing, (early, late), strict=True):
        dicom_seg.write(tmp_path / f"{name}.dcm", mask, image.meta["files"])
    found = [pydicom.dcmread(tmp_path / f"{name}.dcm") for name in "ab"]
    assert found[0].SOPInstanceUID != found[1].SOPInstanceUID
    assert found[0].SeriesInstanceUID != found[1].SeriesInstanceUID


def test_two_models_that_find_nothing_are_told_apart(tmp_path: Path, image: Image) -> None:
    mask = Mask(np.zeros(SHAPE, np.uint8), CLASSES, image.affine)
    found = {}
    for name, model in (("a", "0" * 16), ("b", "1" * 16), ("again", "0" * 16), ("unknown", "")):
        dicom_seg.write(tmp_path / f"{name}.dcm", mask, image.meta["files"], model=model)
        found[name] = pydicom.dcmread(tmp_path / f"{name}.dcm")
    for uid in ("SOPInstanceUID", "SeriesInstanceUID"):
        assert found["a"][uid].value == found["again"][uid].value
        assert len({found[name][uid].value for name in ("a", "b", "unknown")}) == 3
    told = {name: seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0] for name, seg in found.items()}
    assert told["b"].AlgorithmParameters == "model=" + "1" * 16
    assert "AlgorithmParameters" not in told["unknown"]


def test_a_code_says_what_its_words_say_and_not_which_number_the_class_has(tmp_path: Path, image: Image) -> None:
    """Readers go by code and scheme: class 1 of every model was one and the same concept."""
    codes = set()
    for number, name in enumerate(("liver", "lesion", "liver (wide mask)", "liver")):
        dicom_seg.write(
            tmp_path / f"{number}.dcm", Mask(labels() // 3 % 2, {1: name}, image.affine), image.meta["files"]
        )
        segment = pydicom.dcmread(tmp_path / f"{number}.dcm").SegmentSequence[0]
        codes.add((segment.SegmentedPropertyTypeCodeSequence[0].CodeValue, name))
    assert len(codes) == len({code for code, _ in codes}) == 3


@pytest.mark.parametrize("tag", [0x00209999, 0xFFFC0009], ids=["before the pixels", "behind them"])
def test_d10_a_deflated_bomb_is_refused_before_it_is_inflated(
    tag: int, tmp_path: Path, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pydicom.dcmread(written(tmp_path / "m.dcm", image))
    data.add_new(tag, "OB", bytes(8 << 20))
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    data.save_as(tmp_path / "bomb.dcm")
    assert (tmp_path / "bomb.dcm").stat().st_size < 1 << 20
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "bomb.dcm", image).array, labels())
    monkeypatch.setattr("hilum.io._dicom.window.MOST_INFLATED", 4 << 20)
    with pytest.raises(HilumError, match="HIL-D10"):
        dicom_seg.read(tmp_path / "bomb.dcm", image)
    assert not dicom_seg.recognises(tmp_path / "bomb.dcm")


def test_d10_a_bomb_behind_the_pixels_of_a_source_slice_is_refused_where_a_result_is_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader looks no further than the pixels and takes such a slice."""
    source = series(tmp_path / "s")
    bomb = Path(source.meta["files"][0])
    data = pydicom.dcmread(bomb)
    data.add_new(0xFFFC0009, "OB", bytes(8 << 20))
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    data.save_as(bomb)
    assert bomb.stat().st_size < 1 << 20
    monkeypatch.setattr("hilum.io._dicom.window.MOST_INFLATED", 4 << 20)
    np.testing.assert_array_equal(dicom.read(tmp_path / "s").array, source.array)
    with pytest.raises(HilumError, match="HIL-D10"):
        written(tmp_path / "m.dcm", source)
    assert not (tmp_path / "m.dcm").exists()
    with pytest.raises(HilumError, match="HIL-D10"):
        origin.frame_of(Image(source.array, source.affine, meta={"format": "dicom", "files": [str(bomb)]}))


def test_a_labelmap_may_use_every_value_of_its_bits(tmp_path: Path, image: Image) -> None:
    array = np.resize(np.arange(256), SHAPE).astype(np.uint8)
    mask = Mask(array, {n: f"part {n}" for n in range(1, 256)}, image.affine)
    dicom_seg.write(tmp_path / "a.dcm", mask, image.meta["files"], "labelmap")
    assert pydicom.dcmread(tmp_path / "a.dcm").BitsAllocated == 8
    np.testing.assert_array_equal(dicom_seg.read(tmp_path / "a.dcm", image).array, array)


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_a_file_that_reads_back_differently_is_not_released(
    tmp_path: Path, image: Image, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = seg_write._object

    def shifted(mask: Mask, frames: np.ndarray, *rest: Any) -> Any:
        return build(mask, np.roll(frames, 1, axis=1), *rest)

    monkeypatch.setattr(seg_write, "_object", shifted)
    with pytest.raises(HilumError, match="HIL-IO-05"):
        written(tmp_path / "m.dcm", image, kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", ["moved", "grown", "swapped", "another place"])
def test_the_second_reader_sees_every_kind_of_fault(tmp_path: Path, image: Image, fault: str) -> None:
    path = written(tmp_path / "m.dcm", image)
    source = origin.origin(image.meta["files"], "DICOM SEG")
    array = labels()
    seg_write.check(path, path, Mask(array, CLASSES), source)
    if fault == "moved":
        array = np.roll(array, 1, axis=0)
    elif fault == "grown":
        array[8, 6, 0] = 3
    elif fault == "swapped":
        # volume and centroid stay
        array[1:4, 3, 2], array[0:5:4, 3, 2] = [3, 0, 3], 3
        array[2, 3, 2], array[1, 3, 2], array[3, 3, 2], array[2, 2, 2], array[2, 4, 2] = 3, 0, 0, 3, 3
    else:
        source = origin.Origin(source.headers, geometry.rescaled(AFFINE, (2, 2, 2), (2, 2, 1)), source.shape)
    with pytest.raises(HilumError, match="HIL-IO-05"):
        seg_write.check(path, path, Mask(array, CLASSES), source)


@pytest.mark.parametrize(
    ("mask", "kind", "words"),
    [
        (Mask(labels(), {3: "a" * 65, 7: "b"}), "binary", "class name"),
        (Mask(labels(), {3: "a"}), "labelmap", "no class name"),
        (Mask(labels(), CLASSES, instances=True), "binary", "numbered objects"),
        (Mask(overlapping(), CLASSES, stacked=True), "labelmap", "overlapping"),
        (Mask(labels(), CLASSES), "fractional", "fractions"),
        (Mask(overlapping() * np.float32(1.5), CLASSES, stacked=True), "fractional", "within 0..1"),
        (Mask(overlapping() * np.float32(np.nan), CLASSES, stacked=True), "fractional", "within 0..1"),
        (Mask(overlapping()[:1], CLASSES, stacked=True), "binary", "2 classes"),
        (Mask(labels(), CLASSES), "octree", "octree"),
    ],
)
def test_what_can_not_be_said_is_refused(tmp_path: Path, image: Image, mask: Mask, kind: str, words: str) -> None:
    with pytest.raises(HilumError, match=rf"{words}.*HIL-IO-04"):
        dicom_seg.write(tmp_path / "m.dcm", mask, image.meta["files"], kind)
    assert list(tmp_path.iterdir()) == []


def test_slices_of_two_series_are_refused(tmp_path: Path, image: Image) -> None:
    other = series(tmp_path / "t", SeriesInstanceUID="1.2.3")
    files = [*image.meta["files"][:-1], other.meta["files"][-1]]
    with pytest.raises(HilumError, match=r"2 series.*HIL-IO-04"):
        dicom_seg.write(tmp_path / "m.dcm", Mask(labels(), CLASSES), files)


def test_d36_d40_no_preamble_and_no_private_tags_of_the_source(tmp_path: Path) -> None:
    image = series(tmp_path / "s", PatientName="Müller^Jürgen", ImageComments="seen by Dr Who")
    for file in image.meta["files"]:
        data = pydicom.dcmread(file)
        data.private_block(0x0009, "SECRET", create=True).add_new(1, "LO", "hidden words")
        data.SpecificCharacterSet, data.PatientName = "ISO_IR 100", "Müller^Jürgen"
        item = pydicom.Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "1", "99X", "Schädel"
        data.ProcedureCodeSequence, data.PatientComments = [item], "told by Dr Who"
        data.StudyDescription, data.LossyImageCompression = "Schädel nativ", "01"
        data.Manufacturer, data.InstitutionName = "Maker", "Some Hospital"
        data.preamble = b"MZ" + b"\x90" * 126
        data.save_as(file)
    path = written(tmp_path / "m.dcm", image)
    raw, data = path.read_bytes(), pydicom.dcmread(path)
    assert raw[:128] == bytes(128) and raw[128:132] == b"DICM"
    assert not any(words in raw for words in (b"hidden words", b"Dr Who", b"Some Hospital", b"Maker"))
    # texts inside sequences would stand there in the alphabet of the source
    assert "ProcedureCodeSequence" not in data and "Schädel".encode("latin-1") not in raw
    assert (data.StudyDescription, data.LossyImageCompression) == ("Schädel nativ", "01")
    assert not any(element.tag.is_private for element in data.iterall())
    # the result belongs to its patient, whatever the alphabet of the source
    assert str(data.PatientName) == "Müller^Jürgen" and data.PatientID == "p"


def test_d43_a_seg_of_an_absent_series_is_refused(tmp_path: Path, image: Image) -> None:
    other = series(tmp_path / "t", SeriesInstanceUID="1.2.3")
    path = written(tmp_path / "m.dcm", other)
    with pytest.raises(HilumError, match=r"m\.dcm belongs to the absent series 1\.2\.3.*HIL-D43"):
        dicom_seg.read(path, image)


def test_d43_a_seg_in_another_frame_of_reference_is_refused(tmp_path: Path, image: Image) -> None:
    path = written(tmp_path / "m.dcm", image)
    edit(path, FrameOfReferenceUID="1.2.3")
    with pytest.raises(HilumError, match=r"frame of reference 1\.2\.3.*HIL-D43"):
        dicom_seg.read(path, image)


def test_d43_a_seg_on_another_grid_is_refused(tmp_path: Path, image: Image) -> None:
    moved = AFFINE.copy()
    moved[0, 3] += 3
    with pytest.raises(HilumError, match=r"grid.*HIL-D43"):
        dicom_seg.read(written(tmp_path / "m.dcm", image), Image(image.array, moved))


def test_d43_a_fractional_seg_is_no_mask_until_a_threshold_is_given(tmp_path: Path, image: Image) -> None:
    path = written(tmp_path / "f.dcm", image, "fractional")
    with pytest.raises(HilumError, match=r"fractional.*threshold.*HIL-D43"):
        dicom_seg.read(path, image)
    seen = dicom_seg.read(path, image, threshold=0.5)
    stored = np.around(np.random.default_rng(0).random((2, *SHAPE), dtype=np.float32) * 255)
    np.testing.assert_array_equal(seen.array, stored >= 127.5)
    with pytest.raises(HilumError, match="HIL-D43"):
        dicom_seg.read(path, image, threshold=0)


def test_d43_overlapping_segments_are_no_label_map(tmp_path: Path, image: Image) -> None:
    mask = Mask(overlapping(), CLASSES, image.affine, stacked=True)
    dicom_seg.write(tmp_path / "m.dcm", mask, image.meta["files"])
    seen = dicom_seg.read(tmp_path / "m.dcm", image)
    assert seen.stacked
    np.testing.assert_array_equal(seen.array, overlapping())
    with pytest.raises(HilumError, match=r"overlapping.*HIL-D43"):
        open_path(tmp_path / "m.dcm").read_labels(image)


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_d43_segments_that_are_not_described_are_refused(tmp_path: Path, image: Image, kind: str) -> None:
    path = written(tmp_path / "m.dcm", image, kind)
    data = pydicom.dcmread(path)
    data.SegmentSequence = list(data.SegmentSequence)[:-1]
    data.save_as(path)
    with pytest.raises(HilumError, match=r"undescribed.*HIL-D43"):
        dicom_seg.read(path, image)


def test_d43_a_value_above_the_largest_fraction_is_refused(tmp_path: Path, image: Image) -> None:
    path = written(tmp_path / "f.dcm", image, "fractional")
    edit(path, MaximumFractionalValue=100)
    with pytest.raises(HilumError, match="HIL-D43"):
        dicom_seg.probabilities(path, image)


def test_d43_an_image_is_no_segmentation(image: Image) -> None:
    with pytest.raises(HilumError, match="HIL-D43"):
        dicom_seg.read(Path(image.meta["files"][0]), image)
    assert not dicom_seg.recognises(Path(image.meta["files"][0]))


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
def test_d01_short_pixels_are_refused(tmp_path: Path, image: Image, kind: str) -> None:
    path = written(tmp_path / "m.dcm", image, kind)
    data = pydicom.dcmread(path)
    data.PixelData = data.PixelData[: len(data.PixelData) // 4 * 2]
    data.save_as(path)
    with pytest.raises(HilumError, match="HIL-D01"):
        (dicom_seg.probabilities if kind == "fractional" else dicom_seg.read)(path, image)


def test_d12_more_frames_than_described_are_refused_before_decoding(tmp_path: Path, image: Image) -> None:
    path = written(tmp_path / "m.dcm", image)
    edit(path, NumberOfFrames=10**9)
    with pytest.raises(HilumError, match=r"1000000000 frames.*HIL-D43"):
        dicom_seg.read(path, image)


def test_a_wrong_thickness_does_not_make_a_giant_grid(tmp_path: Path, image: Image) -> None:
    path = written(tmp_path / "m.dcm", image)
    data = pydicom.dcmread(path)
    measures = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    measures.SpacingBetweenSlices = measures.SliceThickness = "1e-7"
    data.save_as(path)
    with pytest.raises(HilumError, match="HIL-D43"):
        dicom_seg.read(path)


@pytest.mark.parametrize("beside", [0.12, -0.5])
def test_n14_in_a_stack_of_many_slices_a_mask_beside_them_is_refused_all_the_same(beside: float) -> None:
    """What the reader allows grows with the slices, and a mask that lay a whole pixel off passed."""
    affine, moved = np.diag([0.5, 0.4, 1.0, 1.0]), np.diag([0.5, 0.4, 1.0, 1.0])
    assert origin.tolerances(affine, 1000)[0] == pytest.approx(0.1)
    assert origin.tolerances(np.diag([1.0, 2.0, 1.0, 1.0]), 1000)[0] == pytest.approx(0.25)
    assert origin.tolerances(AFFINE, SHAPE[2])[0] == origin.OFF_MM
    source = origin.Origin([], affine, (8, 8, 1000))
    origin.fits("m.dcm", (8, 8, 1000), moved, source)
    moved[0, 3] = beside
    with pytest.raises(HilumError, match="HIL-N14"):
        origin.fits("m.dcm", (8, 8, 1000), moved, source)


def eleven(folder: Path) -> Image:
    """Eleven slices 3 mm apart, as they were drawn on."""
    affine = np.diag([-1.0, -1.5, 3.0, 1.0])
    values = np.random.default_rng(2).integers(0, 900, (1, *SHAPE[:2], 11)).astype(np.int16)
    dicom.write_series(folder, Image(values, affine), {"Modality": "CT"})
    return dicom.read(folder)


def thin(folder: Path, renumber: bool) -> None:
    """Three slices are taken away: what is left looks like a head protocol, or like a loss where numbers tell."""
    for k in (5, 7, 9):
        (folder / f"{k + 1:04d}.dcm").unlink()
    for number, file in enumerate(sorted(folder.iterdir()) if renumber else (), 1):
        edit(file, InstanceNumber=number)


@pytest.mark.parametrize(("code", "accept"), [("HIL-D23", []), ("HIL-D21", ["D21"])], ids=["uneven", "gaps accepted"])
def test_d21_d23_labels_beside_interpolated_slices_are_refused(tmp_path: Path, code: str, accept: list[str]) -> None:
    """The file says nothing of these slices: as background they would be anatomy that is none."""
    full = eleven(tmp_path / "s")
    drawn, away = np.zeros(full.shape, np.uint8), np.zeros(full.shape, np.uint8)
    drawn[2:5, 2:5], away[2:5, 2:5, :4] = 3, 3
    drawn[..., [5, 7, 9]] = 0
    for name, array in (("drawn", drawn), ("away", away)):
        dicom_seg.write(tmp_path / f"{name}.dcm", Mask(array, {3: "ventricle"}, full.affine), full.meta["files"])
    _with_empty_frames(tmp_path / "away.dcm", tmp_path / "every.dcm", full.affine, (4, 6, 8, 10))
    thin(tmp_path / "s", renumber=not accept)
    seen = dicom.read(tmp_path / "s", accept=accept)
    assert seen.shape == full.shape and seen.meta["resampled"]["why"] == [code]
    with pytest.raises(HilumError, match=rf"drawn\.dcm.*slice 5 of 11.*interpolated.*{code}"):
        open_path(tmp_path / "drawn.dcm").read_labels(like=seen)
    # between slices that hold no label nothing can be missing
    for name in ("away", "every"):
        np.testing.assert_array_equal(open_path(tmp_path / f"{name}.dcm").read_labels(like=seen).array[0], away)


def _with_empty_frames(path: Path, out: Path, affine: np.ndarray, slices: Sequence[int]) -> None:
    """A copy that holds frames without a voxel on these slices too, as some writers store one for each."""
    data = pydicom.dcmread(path)
    first, lps = data.PerFrameFunctionalGroupsSequence[0], geometry.flip_lps_ras(affine)
    for k in slices:
        more = copy.deepcopy(first)
        more.PlanePositionSequence[0].ImagePositionPatient = [f"{v:.4f}" for v in (lps @ (0, 0, k, 1))[:3]]
        data.PerFrameFunctionalGroupsSequence.append(more)
    frames = len(data.PerFrameFunctionalGroupsSequence)
    data.NumberOfFrames = frames
    size = (int(data.Rows) * int(data.Columns) * frames + 7) // 8
    data.PixelData = data.PixelData.ljust(size + size % 2, b"\0")[: size + size % 2]
    data.save_as(out)


@pytest.mark.parametrize(("apart", "code"), [((0, 0.8, 0), "HIL-D24"), ((0, 0, 0.9), "HIL-D23")])
def test_d23_d24_a_seg_of_slices_that_were_resampled_is_told_why(
    tmp_path: Path, apart: tuple[float, float, float], code: str
) -> None:
    image = series(tmp_path / "s")
    path = written(tmp_path / "m.dcm", image)

    def moved(place: Any) -> list[str]:
        k = round((float(place[2]) - AFFINE[2, 3]) / AFFINE[2, 2])
        # along the stack the last steps alone are wider
        far = k if apart[1] else max(0, k - 2)
        return [f"{float(v) + a * far:.4f}" for v, a in zip(place, apart, strict=True)]

    for file in image.meta["files"]:
        edit(Path(file), ImagePositionPatient=moved(pydicom.dcmread(file).ImagePositionPatient))
    data = pydicom.dcmread(path)
    for frame in data.PerFrameFunctionalGroupsSequence:
        plane = frame.PlanePositionSequence[0]
        plane.ImagePositionPatient = moved(plane.ImagePositionPatient)
    data.save_as(path)
    seen = dicom.read(tmp_path / "s")
    assert seen.meta["resampled"]["why"] == [code]
    with pytest.raises(HilumError, match=rf"resampled \({code}\).*{code}") as caught:
        dicom_seg.read(path, seen)
    assert caught.value.remedy.startswith("Resample the image") and "SEG" not in caught.value.remedy
