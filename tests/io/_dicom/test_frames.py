"""Enhanced multi-frame files: the same volume as the classic series, or refused for what contradicts itself."""

import copy
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.io import dicom
from hilum.io._dicom import split
from hilum.io._dicom.frames import is_capture
from hilum.io._dicom.series import triage

LPS = np.array([[-1.0, 0, 0, 20.5], [0, -1.5, 0, 33.0], [0, 0, 2.5, -8.0], [0, 0, 0, 1]])
TURNED = np.array([[0.0, 0, 2.0, 4.0], [-1.0, 0, 0, 6.0], [0, -1.25, 0, 8.0], [0, 0, 0, 1]])
MULTI = {"CT": "1.2.840.10008.5.1.4.1.1.2.1", "MR": "1.2.840.10008.5.1.4.1.1.4.1"}

MOVED = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "SliceThickness", "SpacingBetweenSlices", "InstanceNumber",
)  # fmt: skip
# What an enhanced file says in its groups.


def classic(folder: Path, modality: str, affine: np.ndarray = LPS) -> Path:
    array = np.random.default_rng(1).integers(-500, 1500, (1, 8, 6, 5)).astype(np.int16)
    dicom.write_series(folder, Image(array, affine), {"Modality": modality, "PatientID": "p", "SeriesNumber": 3})
    return folder


def legacy(folder: Path, target: Path, modality: str) -> Path:
    """The series as one legacy converted enhanced file, made by highdicom."""
    from highdicom import legacy

    sources = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    sources = [sources[n] for n in (3, 0, 4, 1, 2)]
    kind = {
        "CT": legacy.LegacyConvertedEnhancedCTImage,
        "MR": legacy.LegacyConvertedEnhancedMRImage,
        "PT": legacy.LegacyConvertedEnhancedPETImage,
    }[modality]
    for number, source in enumerate(sources):
        # what highdicom asks for and a phantom does not say
        source.SeriesTime = source.ContentTime = source.AcquisitionTime = "120000"
        source.SeriesDate = source.ContentDate = source.AcquisitionDate = "20260101"
        source.Laterality, source.PatientPosition = "", "HFS"
        source.AcquisitionNumber = number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = kind(
            sources, series_instance_uid=pydicom.uid.generate_uid(entropy_srcs=["s"]), series_number=9,
            sop_instance_uid=pydicom.uid.generate_uid(entropy_srcs=["i"]), instance_number=1,
        )  # fmt: skip
    made.save_as(target)
    return target


def group(**content: Any) -> pydicom.Sequence:
    item = pydicom.Dataset()
    for keyword, value in content.items():
        setattr(item, keyword, value)
    return pydicom.Sequence([item])


def enhanced(target: Path, folder: Path, modality: str = "MR", times: int = 1) -> Path:
    """The series as an enhanced file: one stack per time, shared orientation and spacing, a dimension index."""
    slices = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]
    data = copy.deepcopy(slices[0])
    for keyword in MOVED:
        if keyword in data:
            delattr(data, keyword)
    first = slices[0]
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MULTI[modality]
    data.NumberOfFrames = times * len(slices)
    shared = pydicom.Dataset()
    shared.PlaneOrientationSequence = group(ImageOrientationPatient=first.ImageOrientationPatient)
    shared.PixelMeasuresSequence = group(PixelSpacing=first.PixelSpacing, SliceThickness=first.SliceThickness)
    data.SharedFunctionalGroupsSequence = pydicom.Sequence([shared])
    data.DimensionIndexSequence = pydicom.Sequence(
        [group(DimensionIndexPointer=pointer)[0] for pointer in (0x00209128, 0x00209057)]
    )
    frames, pixels = [], []
    for time in range(times):
        for number, one in enumerate(slices):
            own = pydicom.Dataset()
            own.PlanePositionSequence = group(ImagePositionPatient=one.ImagePositionPatient)
            own.FrameContentSequence = group(
                DimensionIndexValues=[time + 1, number + 1], TemporalPositionIndex=time + 1, StackID="1"
            )
            own.PixelValueTransformationSequence = group(
                RescaleSlope=str(2 if number == 2 else 1), RescaleIntercept=str(-1024 if modality == "CT" else 0),
                RescaleType="US",
            )  # fmt: skip
            frames.append(own)
            pixels.append(one.pixel_array + time)
    data.PerFrameFunctionalGroupsSequence = pydicom.Sequence(frames)
    data.PixelData = np.stack(pixels).tobytes()
    data.save_as(target)
    return target


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("affine", [LPS, TURNED])
def test_d29_legacy_converted_is_the_classic_series(tmp_path: Path, modality: str, affine: np.ndarray) -> None:
    wanted = dicom.read(classic(tmp_path / "s", modality, affine))
    (tmp_path / "m").mkdir()
    path = legacy(tmp_path / "s", tmp_path / "m" / "many.dcm", modality)
    for place in (path, path.parent):
        seen = dicom.read(place)
        np.testing.assert_array_equal(seen.array, wanted.array)
        np.testing.assert_allclose(np.asarray(seen.affine), np.asarray(wanted.affine), atol=1e-6)
        assert seen.meta["modality"] == modality and sorted(seen.meta["frames"]) == [0, 1, 2, 3, 4]
        assert seen.warnings == ()


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_d29_simpleitk_sees_the_same_enhanced_volume(tmp_path: Path, modality: str) -> None:
    import SimpleITK

    path = enhanced(tmp_path / "many.dcm", classic(tmp_path / "s", modality), modality)
    seen, other = dicom.read(path), SimpleITK.ReadImage(str(path))
    corner = np.array(other.TransformIndexToPhysicalPoint((7, 5, 0)))
    np.testing.assert_allclose(corner * [-1, -1, 1], (np.asarray(seen.affine) @ [7, 5, 0, 1])[:3], atol=1e-5)
    stored = SimpleITK.GetArrayFromImage(other).transpose(2, 1, 0).astype(int)
    mine = seen.array[0].astype(int)
    # ITK takes one slope for all frames; the third has its own here
    np.testing.assert_array_equal(np.delete(stored, 2, axis=2), np.delete(mine, 2, axis=2))


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_d29_every_frame_has_its_own_rescale(tmp_path: Path, modality: str) -> None:
    wanted = dicom.read(classic(tmp_path / "s", modality))
    seen = dicom.read(enhanced(tmp_path / "many.dcm", tmp_path / "s", modality))
    factor, offset = np.array([1, 1, 2, 1, 1]), 1024 if modality == "CT" else 0
    np.testing.assert_array_equal(seen.array, (wanted.array.astype(int) + offset) * factor - offset)
    np.testing.assert_allclose(np.asarray(seen.affine), np.asarray(wanted.affine), atol=1e-6)


def test_d30_times_inside_one_file_are_split(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "many.dcm", classic(tmp_path / "s", "MR"), times=2)
    found = triage(path)
    assert [v.apart for v in found.volumes] == ["time 1", "time 2"]
    with pytest.raises(HilumError, match=r"time 1.*HIL-D30"):
        dicom.read(path)
    first, second = (dicom.read(path, volume=v.key) for v in found.volumes)
    difference = second.array.astype(int) - first.array
    np.testing.assert_array_equal(difference, np.broadcast_to([1, 1, 2, 1, 1], difference.shape))
    assert second.meta["frames"] == [5, 6, 7, 8, 9]


def test_d29_frames_that_span_two_files_are_one_volume(tmp_path: Path) -> None:
    wanted = dicom.read(enhanced(tmp_path / "many.dcm", classic(tmp_path / "s", "MR")))
    halves = tmp_path / "halves"
    halves.mkdir()
    for name, keep in (("a", slice(0, 2)), ("b", slice(2, 5))):
        data = pydicom.dcmread(tmp_path / "many.dcm")
        size = len(data.PixelData) // 5
        data.PixelData = data.PixelData[keep.start * size : keep.stop * size]
        data.PerFrameFunctionalGroupsSequence = data.PerFrameFunctionalGroupsSequence[keep]
        data.NumberOfFrames = keep.stop - keep.start
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = f"1.2.{name == 'a':d}"
        data.save_as(halves / f"{name}.dcm")
    np.testing.assert_array_equal(dicom.read(halves).array, wanted.array)


@pytest.mark.parametrize(
    ("places", "code"),
    [
        ([(0, 0), (0, 2.5), (0, 5), (0, 10), (0, 12.5)], "HIL-D21"),
        ([(0, 0), (0, 2.5), (0, 5), (0, 7.5), (0, 11)], "HIL-D23"),
        ([(0.8 * k, 2.5 * k) for k in range(5)], "HIL-D24"),
    ],
)
def test_d21_d23_d24_frames_of_one_file_count_like_slices(
    tmp_path: Path, places: list[tuple[float, float]], code: str
) -> None:
    path = enhanced(tmp_path / "many.dcm", classic(tmp_path / "s", "MR"))
    data = pydicom.dcmread(path)
    for own, (y, z) in zip(data.PerFrameFunctionalGroupsSequence, places, strict=True):
        own.PlanePositionSequence[0].ImagePositionPatient = [-20.5, -33 + y, -8 + z]
    data.save_as(path)
    if code == "HIL-D21":
        with pytest.raises(HilumError, match=r"frame 3 and many\.dcm frame 4.*HIL-D21"):
            dicom.read(path)
    seen = dicom.read(path, accept=["D21"] if code == "HIL-D21" else [])
    assert [words[:7] for words in seen.warnings] == [code] and seen.meta["resampled"]["why"] == [code]
    heights = np.array([z for _, z in places])
    np.testing.assert_allclose(seen.meta["resampled"]["positions_mm"], heights, atol=1e-6)


def lose_a_group(data: Any) -> None:
    del data.PerFrameFunctionalGroupsSequence[-1]


def lose_all_groups(data: Any) -> None:
    del data.PerFrameFunctionalGroupsSequence


def lose_a_position(data: Any) -> None:
    del data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence


def lose_the_spacing(data: Any) -> None:
    del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence


def contradict_spacing(data: Any) -> None:
    data.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence = group(PixelSpacing=[3, 3], SliceThickness="2.5")


def contradict_orientation(data: Any) -> None:
    data.PerFrameFunctionalGroupsSequence[1].PlaneOrientationSequence = group(
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1]
    )


def contradict_rescale(data: Any) -> None:
    data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = group(
        RescaleSlope="7", RescaleIntercept="0", RescaleType="US"
    )


def contradict_rescale_by_half(data: Any) -> None:
    """What the reader of values takes is the frame's own group, which would be half of the rule."""
    data.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence = group(
        RescaleSlope="3", RescaleIntercept="0"
    )
    for own in data.PerFrameFunctionalGroupsSequence:
        del own.PixelValueTransformationSequence[0].RescaleSlope


def lose_a_rescale(data: Any) -> None:
    del data.PerFrameFunctionalGroupsSequence[1].PixelValueTransformationSequence


def contradict_header(data: Any) -> None:
    data.RescaleSlope, data.RescaleIntercept = "3", "0"


def index_twice(data: Any) -> None:
    data.PerFrameFunctionalGroupsSequence[3].FrameContentSequence[0].DimensionIndexValues = [1, 1]


def index_short(data: Any) -> None:
    data.PerFrameFunctionalGroupsSequence[3].FrameContentSequence[0].DimensionIndexValues = [1]


def index_missing(data: Any) -> None:
    del data.PerFrameFunctionalGroupsSequence[3].FrameContentSequence


def index_out_of_order(data: Any) -> None:
    frames = data.PerFrameFunctionalGroupsSequence
    frames[1].FrameContentSequence[0].DimensionIndexValues = [1, 4]
    frames[3].FrameContentSequence[0].DimensionIndexValues = [1, 2]


FAULTS = [
    lose_a_group, lose_all_groups, lose_a_position, lose_the_spacing, contradict_spacing, contradict_orientation,
    contradict_rescale, contradict_rescale_by_half, contradict_header, lose_a_rescale, index_twice, index_short,
    index_missing, index_out_of_order,
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_d29_a_broken_file_is_set_aside_and_the_rest_is_read(tmp_path: Path, fault: Callable[[Any], None]) -> None:
    folder = classic(tmp_path / "s", "MR")
    wanted = dicom.read(folder)
    path = enhanced(folder / "many.dcm", folder)
    data = pydicom.dcmread(path)
    data.SeriesInstanceUID = "1.2.3"
    fault(data)
    data.save_as(path)
    with pytest.raises(HilumError, match=r"many\.dcm.*HIL-D29"):
        dicom.read(path)
    found = triage(folder)
    assert [(file.name, error.code) for file, error in found.quarantined] == [("many.dcm", "HIL-D29")]
    np.testing.assert_array_equal(dicom.read(folder).array, wanted.array)


def test_d29_the_same_group_said_twice_is_no_contradiction(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "many.dcm", classic(tmp_path / "s", "MR"))
    wanted = dicom.read(path)
    data = pydicom.dcmread(path)
    data.PerFrameFunctionalGroupsSequence[1].PixelMeasuresSequence = copy.deepcopy(
        data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    )
    data.save_as(path)
    np.testing.assert_array_equal(dicom.read(path).array, wanted.array)


def test_d29_the_same_values_written_otherwise_are_no_contradiction(tmp_path: Path) -> None:
    """The header's 1 was taken for another slope than the 1.0 of its frames, and 1 for another than 1."""
    path = enhanced(tmp_path / "many.dcm", classic(tmp_path / "s", "MR"))
    data = pydicom.dcmread(path)
    for own in data.PerFrameFunctionalGroupsSequence:
        own.PixelValueTransformationSequence[0].RescaleSlope = "1.0"
    data.save_as(path)
    wanted = dicom.read(path)
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].SpacingBetweenSlices = "2.5"
    for own in data.PerFrameFunctionalGroupsSequence:
        own.PixelMeasuresSequence = group(PixelSpacing=shared.PixelMeasuresSequence[0].PixelSpacing)
    data.RescaleSlope, data.RescaleIntercept = "1", "0"
    data.save_as(path)
    seen = dicom.read(path)
    np.testing.assert_array_equal(seen.array, wanted.array)
    np.testing.assert_allclose(np.asarray(seen.affine), np.asarray(wanted.affine))


@pytest.mark.parametrize("modality", ["US", "NM", "OT"])
def test_d29_many_frames_without_a_place_are_refused(tmp_path: Path, modality: str) -> None:
    path = enhanced(tmp_path / "many.dcm", classic(tmp_path / "s", "MR"))
    data = pydicom.dcmread(path)
    del data.PerFrameFunctionalGroupsSequence, data.SharedFunctionalGroupsSequence, data.DimensionIndexSequence
    data.Modality, data.SOPClassUID = modality, "1.2.840.10008.5.1.4.1.1.7.2"
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.save_as(path)
    with pytest.raises(HilumError, match=rf"5 frames.*{modality}.*HIL-D29"):
        dicom.read(path)


def test_d29_a_class_that_only_begins_like_the_secondary_captures_is_none(tmp_path: Path) -> None:
    """1.1.77 holds photographs and tomographs of the eye; it was once taken for something below 1.1.7."""
    path = enhanced(tmp_path / "many.dcm", classic(tmp_path / "s", "MR"))
    wanted = dicom.read(path)
    data = pydicom.dcmread(path)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.5.4"
    data.save_as(path)
    np.testing.assert_array_equal(dicom.read(path).array, wanted.array)
    assert is_capture("1.2.840.10008.5.1.4.1.1.7") and is_capture("1.2.840.10008.5.1.4.1.1.7.2")


def test_i10_a_whole_slide_is_left_out_with_a_remedy_that_a_slide_can_follow(tmp_path: Path) -> None:
    folder = classic(tmp_path / "s" / "c", "MR")
    data = pydicom.dcmread(enhanced(tmp_path / "s" / "slide.dcm", folder))
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    data.Modality, data.SeriesInstanceUID = "SM", "1.2.3"
    for one in data.PerFrameFunctionalGroupsSequence:
        del one.PlanePositionSequence
    data.save_as(tmp_path / "s" / "slide.dcm")
    ((file, error),) = triage(tmp_path / "s").quarantined
    assert file.name == "slide.dcm" and error.code == "HIL-I10" and "whole slide" in error.seen
    assert "TIFF" in error.remedy and "series" not in error.remedy
    with pytest.raises(HilumError, match=r"slide\.dcm.*HIL-I10"):
        dicom.read(file)


def test_d22_copies_of_many_frames_are_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "m").mkdir()
    path = enhanced(tmp_path / "m" / "many.dcm", classic(tmp_path / "s", "MR"))
    shutil.copy(path, tmp_path / "m" / "again.dcm")
    same, asked = split._same_bytes, []

    def counted(a: Path, b: Path) -> bool:
        asked.append((a, b))
        return same(a, b)

    monkeypatch.setattr(split, "_same_bytes", counted)
    seen = dicom.read(tmp_path / "m")
    assert [words[:7] for words in seen.warnings] == ["HIL-D22"] and seen.shape == (8, 6, 5) and len(asked) == 1
