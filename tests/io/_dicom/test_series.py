"""Triage of DICOM folders: nothing is merged that does not belong together, and nothing wrong stays silent."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.io import dicom
from hilum.io import open as open_path
from hilum.io._dicom.series import Triage, Volume, triage
from hilum.io._dicom.write import one_slice, uid

STEP = 0.01
# Slope of the stored values, so that a phantom survives rounding.
Values = Callable[[np.ndarray], np.ndarray]


def plane(points: np.ndarray) -> np.ndarray:
    """A linear function of LPS mm (..., 3): linear interpolation gives it exactly."""
    return 40 + points @ [0.7, -1.3, 1.9]


def waves(points: np.ndarray) -> np.ndarray:
    """A smooth function of LPS mm that is not linear anywhere."""
    return 60 + 30 * np.sin(points[..., 0] / 5) * np.cos(points[..., 1] / 6) + 20 * np.sin(points[..., 2] / 7)


def stack(
    folder: Path, places: Sequence[Sequence[float]], values: Values = plane, turn: Sequence[float] = (1, 0, 0, 0, 1, 0),
    size: tuple[int, int] = (6, 8), name: str = "s", **tags: Any,
) -> Path:  # fmt: skip
    """One file per place (LPS mm of the first pixel), 1.5 mm between rows and 1.25 mm between columns; tags may be
    lists, one value per file."""
    folder.mkdir(parents=True, exist_ok=True)
    across, down = np.array(turn[:3], float), np.array(turn[3:], float)
    for number, place in enumerate(places):
        own = {key: value[number] if isinstance(value, list) else value for key, value in tags.items()}
        file_tags = {"Modality": "MR", "PatientID": "p1", "SeriesDescription": name, **own}
        data = one_slice(
            file_tags, np.eye(4), np.zeros((*size[::-1], number + 1), np.int32), number, f"{name}-{tags!r}"
        )
        for keyword, words in (("Study", "study"), ("Series", name)):
            setattr(data, f"{keyword}InstanceUID", own.get(f"{keyword}InstanceUID", uid(words)))
        data.FrameOfReferenceUID = own.get("FrameOfReferenceUID", uid("frame"))
        data.ImagePositionPatient, data.ImageOrientationPatient = [*map(float, place)], [*map(float, turn)]
        data.PixelSpacing, data.RescaleSlope, data.RescaleIntercept = [1.5, 1.25], STEP, 0
        rows, columns = np.mgrid[: size[0], : size[1]]
        points = np.array(place) + columns[..., None] * across * 1.25 + rows[..., None] * down * 1.5
        data.PixelData = np.round(values(points) / STEP).astype("<i2").tobytes()
        for key, value in own.items():
            setattr(data, key, value)
        data.save_as(folder / f"{name}-{number:03d}", enforce_file_format=True)
    return folder


def heights(*z: float) -> list[tuple[float, float, float]]:
    return [(2.0, -3.0, one) for one in z]


def edit(file: Path, **tags: Any) -> None:
    data = pydicom.dcmread(file)
    for keyword, value in tags.items():
        if value is None:
            delattr(data, keyword)
        else:
            setattr(data, keyword, value)
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    data.save_as(file)


def error_of(volume: Volume) -> HilumError:
    assert volume.refusal is not None
    return volume.refusal


def refusal(path: Path, **options: Any) -> HilumError:
    with pytest.raises(HilumError) as caught:
        dicom.read(path, **options)
    return caught.value


def codes(warnings: Sequence[str]) -> list[str]:
    return [words.split(":")[0] for words in warnings]


def apart(found: Triage) -> list[str]:
    return sorted(volume.apart for volume in found.volumes)


def check_place(image: Image, values: Values, tolerance: float) -> None:
    """Every voxel that was measured holds the phantom's value at its place in mm."""
    assert image.affine is not None
    i, j, k = np.indices(image.shape)
    ras = np.stack([i, j, k, np.ones_like(i)], axis=-1) @ np.asarray(image.affine).T
    wanted = values(ras[..., :3] * [-1, -1, 1])
    inside = image.array[0] != 0
    assert inside.mean() > 0.5
    np.testing.assert_allclose(image.array[0][inside], wanted[inside], atol=tolerance)


# D21


def test_d21_a_gap_is_refused_and_bridged_only_when_accepted(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4, 8, 10, 12))
    error = refusal(folder)
    assert error.code == "HIL-D21" and "s-002 and s-003: 4.00 mm instead of 2.00 mm" in error.seen
    assert "--accept D21" in error.remedy
    seen = dicom.read(folder, accept=["D21"])
    assert seen.shape == (8, 6, 7) and codes(seen.warnings) == ["HIL-D21"]
    assert seen.meta["resampled"]["why"] == ["HIL-D21"] and len(seen.meta["files"]) == 6
    check_place(seen, plane, 0.01)


@pytest.mark.parametrize(
    "z",
    [
        (0, 2, 4, 10, 12),
        (0, 2, 4, 8, 12, 14, 16),
        (0, 4, 6, 8, 10),
        (0, 2, 4, 6, 10),
        (0, 2, 6, 8, 12, 14, 18),
    ],
    ids=["two slices in a row", "two gaps side by side", "after the first", "before the last", "every third"],
)
def test_d21_gaps_of_every_kind(tmp_path: Path, z: tuple[float, ...]) -> None:
    folder = stack(tmp_path / "s", heights(*z))
    assert refusal(folder).code == "HIL-D21"
    seen = dicom.read(folder, accept=("D21",))
    assert seen.spacing[2] == pytest.approx(2)
    check_place(seen, plane, 0.01)


def test_d21_instance_numbers_tell_a_gap_from_another_table_speed(tmp_path: Path) -> None:
    z = (0, 2, 4, 6, 8, 12, 16, 20, 24)
    folder = stack(tmp_path / "lost", heights(*z), InstanceNumber=[1, 2, 3, 4, 5, 7, 9, 11, 13])
    assert refusal(folder).code == "HIL-D21"
    assert codes(dicom.read(stack(tmp_path / "speed", heights(*z))).warnings) == ["HIL-D23"]


def test_d21_names_the_file_that_could_not_be_read(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4, 6, 8))
    lost = folder / "s-002"
    lost.write_bytes(lost.read_bytes()[:-40])
    error = refusal(folder)
    assert error.code == "HIL-D21" and "s-002" in error.seen and "HIL-D01" in error.seen
    seen = dicom.read(folder, accept=["D21"])
    assert set(codes(seen.warnings)) == {"HIL-D21", "HIL-D01"}


# D22


def test_d22_the_same_bytes_twice_are_one(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    plain = dicom.read(folder)
    (folder / "more").mkdir()
    shutil.copy(folder / "s-001", folder / "again")
    shutil.copy(folder / "s-002", folder / "more" / "again")
    seen = dicom.read(folder)
    assert codes(seen.warnings) == ["HIL-D22"] and "1 files" in seen.warnings[0]
    np.testing.assert_array_equal(seen.array, plain.array)
    found = triage(folder)
    assert len(found.volumes) == 1 and "2 files" in found.volumes[0].warnings[0]


def test_d22_other_slices_at_one_place_are_refused(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    shutil.copy(folder / "s-001", folder / "twin")
    edit(folder / "twin", SOPInstanceUID="1.2.3")
    error = refusal(folder)
    assert error.code == "HIL-D22" and "s-001 and twin" in error.seen


# D23


@pytest.mark.parametrize(
    "z",
    [
        (0, 2, 4, 6, 9, 12, 15),
        (0, 3, 6, 9, 12, 18, 24, 30),
        tuple(np.cumsum([0, *np.linspace(2, 2.9, 20)])),
        (0, 2, 4, 6.4, 8, 10),
    ],
    ids=["two speeds", "head protocol", "slowly faster", "one slice off"],
)
def test_d23_uneven_steps_are_resampled_and_said(tmp_path: Path, z: tuple[float, ...]) -> None:
    seen = dicom.read(stack(tmp_path / "s", heights(*z)))
    assert codes(seen.warnings) == ["HIL-D23"] and seen.meta["resampled"]["why"] == ["HIL-D23"]
    np.testing.assert_allclose(seen.meta["resampled"]["positions_mm"], np.array(z) - z[0])
    assert (seen.shape[2] - 1) * seen.spacing[2] == pytest.approx(z[-1] - z[0])
    check_place(seen, plane, 0.01)


def test_d23_a_curved_phantom_stays_in_place(tmp_path: Path) -> None:
    z = np.cumsum([0, *np.linspace(0.8, 1.15, 20)])
    check_place(dicom.read(stack(tmp_path / "s", heights(*z), waves)), waves, 1.0)


def test_d23_small_rounding_is_no_reason_to_resample(tmp_path: Path) -> None:
    seen = dicom.read(stack(tmp_path / "s", heights(0, 0.62, 1.25, 1.87, 2.5)))
    assert seen.warnings == () and "resampled" not in seen.meta


@pytest.mark.parametrize("apart", [(0, 0, 0), (0, 0.6, 0)], ids=["uneven", "tilted"])
def test_d23_d24_labels_are_never_resampled(tmp_path: Path, apart: tuple[float, float, float]) -> None:
    """Between the labels 0 and 8 linear resampling would make a class 4 that nobody drew."""
    z = (0, 2, 4, 6, 8, 10) if any(apart) else (0, 2, 4, 6, 9, 12, 15)
    places = [np.array((2.0, -3.0, one)) + np.array(apart) * k for k, one in enumerate(z)]
    folder = stack(tmp_path / "s", places, lambda points: np.where(points[..., 2] < 5, 0.0, 8 * STEP))
    for file in folder.iterdir():
        edit(file, RescaleSlope="1")
    with pytest.raises(HilumError, match=rf"labels.*HIL-D{24 if any(apart) else 23}") as caught:
        dicom.read_labels(folder)
    assert "SEG" not in caught.value.remedy and "NIfTI" in caught.value.remedy
    even = stack(
        tmp_path / "even", heights(0, 2, 4), lambda points: np.full(points.shape[:-1], 8 * STEP), RescaleSlope="1"
    )
    assert np.unique(dicom.read_labels(even).array).tolist() == [8]


# D24


def tilted(count: int, aside: float) -> list[tuple[float, float, float]]:
    return [(2.0, -3.0 + aside * k, 2.0 * k) for k in range(count)]


@pytest.mark.parametrize("aside", [0.4, -0.55, 1.5], ids=["up", "down", "whole pixels"])
@pytest.mark.parametrize("values", [plane, waves])
def test_d24_a_tilted_gantry_is_put_upright_and_said(tmp_path: Path, aside: float, values: Values) -> None:
    seen = dicom.read(stack(tmp_path / "s", tilted(6, aside), values, size=(20, 16)))
    assert codes(seen.warnings) == ["HIL-D24"] and seen.meta["resampled"]["why"] == ["HIL-D24"]
    assert seen.spacing == pytest.approx((1.25, 1.5, 2.0))
    assert seen.shape == (16, 20 + int(np.ceil(5 * abs(aside) / 1.5)), 6)
    check_place(seen, values, 0.01 if values is plane else 1.0)


def test_d24_gantry_angle_as_scanners_write_it(tmp_path: Path) -> None:
    """The planes are turned and the table moves along z: neither the stack nor the patient's axes are upright."""
    angle = np.deg2rad(20)
    turn = (1, 0, 0, 0, np.cos(angle), np.sin(angle))
    seen = dicom.read(stack(tmp_path / "s", heights(0, 3, 6, 9), waves, turn=turn, size=(24, 16)))
    assert seen.spacing == pytest.approx((1.25, 1.5, 3 * np.cos(angle)))
    check_place(seen, waves, 1.5)


def test_d24_ct_beside_the_measured_slices_is_air(tmp_path: Path) -> None:
    tags = {"Modality": "CT", "RescaleIntercept": "0", "PixelRepresentation": 1}
    seen = dicom.read(stack(tmp_path / "s", tilted(4, 1.5), **tags))
    assert seen.array[0, 0, -1, 0] == -1024 and seen.array[0, 0, 0, 0] != -1024


def test_d24_with_a_gap_and_uneven_steps(tmp_path: Path) -> None:
    places = [(2.0 + 0.3 * z, -3.0, z) for z in (0, 2, 4, 8, 10)]
    folder = stack(tmp_path / "s", places, size=(6, 12))
    assert refusal(folder).code == "HIL-D21"
    seen = dicom.read(folder, accept=["D21"])
    assert codes(seen.warnings) == ["HIL-D21", "HIL-D24"] and seen.shape[2] == 6
    check_place(seen, plane, 0.01)


def test_d24_a_stack_that_runs_out_of_its_picture_is_refused(tmp_path: Path) -> None:
    assert refusal(stack(tmp_path / "s", tilted(8, 30))).code == "HIL-D24"


# D25


def test_d25_a_localiser_in_the_stack_is_split_off(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    scout = stack(
        tmp_path / "t", [(0, -3, 0)], turn=(0, 1, 0, 0, 0, -1), ImageType=["ORIGINAL\\PRIMARY\\LOCALIZER"],
        SeriesInstanceUID=uid("s"),
    )  # fmt: skip
    shutil.copy(scout / "s-000", folder / "scout")
    edit(folder / "scout", SOPInstanceUID="1.2.3")
    seen = dicom.read(folder)
    assert seen.shape == (8, 6, 3) and codes(seen.warnings) == ["HIL-D25"]
    assert [v.localiser for v in triage(folder).volumes].count(True) == 1


def test_d25_two_orientations_are_split_and_named(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    other = stack(tmp_path / "t", [(x, -3, 0) for x in (0, 3, 6)], turn=(0, 1, 0, 0, 0, -1), InstanceNumber=[7, 8, 9])
    for file in other.iterdir():
        shutil.move(file, folder / f"t{file.name}")
    error = refusal(folder)
    assert error.code == "HIL-D25" and "sagittal" in error.seen and "axial" in error.seen
    # no command and no table names a volume
    assert error.remedy.startswith("Put the files of each into a folder of its own; in Python also")
    assert "volume=" in error.remedy
    found = triage(folder)
    assert apart(found) == ["axial", "sagittal"]
    for volume in found.volumes:
        seen = dicom.read(folder, volume=volume.key)
        assert codes(seen.warnings) == ["HIL-D25"] and volume.affine is not None
        np.testing.assert_allclose(np.asarray(seen.affine), volume.affine)
        check_place(seen, plane, 0.01)


# D26


@pytest.mark.parametrize(
    "tags",
    [
        {"Rows": 8, "Columns": 6},
        {"Rows": 4, "PixelData": bytes(64)},
        {"Columns": 6, "PixelData": bytes(72)},
        {"PixelSpacing": [1.5, 1.3]},
        {"PixelRepresentation": 0},
        {"FrameOfReferenceUID": "1.2.9"},
        {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7, "PixelData": bytes(48)},
    ],
    ids=["size", "rows", "columns", "spacing", "sign", "frame of reference", "bits"],
)
def test_d26_what_differs_is_split(tmp_path: Path, tags: dict[str, Any]) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4, 6, 8))
    for number in (3, 4):
        edit(folder / f"s-{number:03d}", **tags)
    error = refusal(folder)
    assert error.code == "HIL-D26" and "2 volumes in one series" in error.seen
    assert sorted(len(v.slices) for v in triage(folder).volumes) == [2, 3]


# D21 to D26 together

UPRIGHT, TURNED = [1, 0, 0, 0, 1, 0], [1, 0, 0, 0, float(np.cos(0.01)), float(np.sin(0.01))]
DEFECTS: dict[str, tuple[Sequence[Sequence[float]], dict[str, Any], str]] = {
    "a slice missing of four": (heights(0, 2, 6), {}, "D21"),
    "a slice missing of forty": (heights(*(2 * k for k in range(40) if k != 20)), {}, "D21"),
    "two slices missing": (heights(0, 2, 4, 10, 12), {}, "D21"),
    "two gaps": (heights(0, 2, 6, 8, 10, 14, 16), {}, "D21"),
    "one slice twice": (heights(0, 2, 2, 4), {}, "D22"),
    "one slice nearly twice": (heights(0, 2, 2.005, 4), {}, "D22"),
    "two table speeds": (heights(0, 2, 4, 6, 9, 12, 15), {}, "D23"),
    "a growing step": (heights(*np.cumsum([0, *np.linspace(2, 2.4, 12)])), {}, "D23"),
    "steps that add up": (heights(*np.cumsum([0, *np.linspace(2, 2.07, 40)])), {}, "D23"),
    "one slice off its place": (heights(0, 2, 4.3, 6, 8), {}, "D23"),
    "a tilt": (tilted(6, 0.8), {}, "D24"),
    "a tilt of one degree": (tilted(20, 0.035), {}, "D24"),
    "one slice aside": ([*heights(0, 2), (2.0, -2.0, 4), *heights(6, 8)], {}, "D24"),
    "one slice turned": (heights(0, 2, 4, 6), {"ImageOrientationPatient": [UPRIGHT] * 3 + [TURNED]}, "D25"),
    "two pixel spacings": (heights(0, 2, 4, 6), {"PixelSpacing": [[1.5, 1.25]] * 3 + [[1.5, 1.26]]}, "D26"),
    "two frames of reference": (heights(0, 2, 4, 6), {"FrameOfReferenceUID": ["1.2.8"] * 3 + ["1.2.9"]}, "D26"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_d21_d22_d23_d24_d25_d26_known_geometric_defects_are_never_silent(tmp_path: Path, defect: str) -> None:
    """Refused by its row, or resampled with a warning and a record from which the measured places follow."""
    places, tags, row = DEFECTS[defect]
    folder = stack(tmp_path / "s", places, **tags)
    (volume, *_) = triage(folder).volumes
    assert (row in ("D21", "D22")) == (volume.refusal is not None)
    if row not in ("D23", "D24"):
        assert refusal(folder).code == f"HIL-{row}"
        return
    seen = dicom.read(folder)
    assert codes(seen.warnings) == [f"HIL-{row}"]
    record = seen.meta["resampled"]
    assert record["why"] == [f"HIL-{row}"] and record["interpolation"] == "linear" and record["size"] == [8, 6]
    assert record["slices"] == len(places) and record["outside"] == 0
    # first pixel of every slice, from the record alone
    voxels = np.column_stack([record["aside_voxels"], np.array(record["positions_mm"]) / seen.spacing[2]])
    lps = (voxels @ np.asarray(seen.affine)[:3, :3].T + np.asarray(seen.affine)[:3, 3]) * [-1, -1, 1]
    np.testing.assert_allclose(lps, places, atol=1e-3)
    check_place(seen, plane, 0.02)


# D27


def test_d27_series_and_patients_at_any_depth_are_kept_apart(tmp_path: Path) -> None:
    stack(tmp_path / "a" / "x", heights(0, 2, 4), name="T1", SeriesNumber=3)
    stack(tmp_path / "a", heights(0, 2, 4), name="T2", SeriesNumber=4)
    stack(tmp_path / "b" / "c" / "d", heights(0, 2), name="T3", PatientID="p2", StudyInstanceUID="1.2.7")
    (tmp_path / "b" / "notes.txt").write_text("nothing")
    found = triage(tmp_path)
    assert [v.description for v in found.volumes] == ["T3", "T1", "T2"] and found.quarantined == ()
    assert len({v.key for v in found.volumes}) == 3 and len({v.patient for v in found.volumes}) == 2
    assert [len(s) for s in found.studies.values()] == [1, 2]
    assert "p1" not in {v.patient for v in found.volumes}
    assert [v.key for v in triage(tmp_path).volumes] == [v.key for v in found.volumes]
    error = refusal(tmp_path)
    assert error.code == "HIL-D27" and "3 series" in error.seen and "T1" in error.seen
    assert error.remedy.startswith("Put the files of each into a folder of its own; in Python also")
    assert "series=" in error.remedy
    assert dicom.read(tmp_path, volume=found.volumes[1].key).meta["series_uid"] == uid("T1")
    assert dicom.read(tmp_path, series=uid("T2")).meta["series_uid"] == uid("T2")
    assert refusal(tmp_path, series="1.1").code == refusal(tmp_path, volume="none").code == "HIL-D27"


def test_d27_two_patients_under_one_series_are_never_merged(tmp_path: Path) -> None:
    folder = stack(tmp_path, heights(0, 2, 4, 6), PatientID=["p1", "p1", "p2", "p2"])
    assert refusal(folder).code == "HIL-D27"
    assert [len(v.slices) for v in triage(folder).volumes] == [2, 2]


@pytest.mark.parametrize(
    "tags", [{"PatientName": "Other^Person"}, {"PatientBirthDate": "19300101"}, {"PatientSex": "F"}],
    ids=["name", "birth date", "sex"],
)  # fmt: skip
def test_d27_one_patient_id_for_two_people(tmp_path: Path, tags: dict[str, str]) -> None:
    who = {"PatientName": "Doe^Jane", "PatientBirthDate": "19500101", "PatientSex": "M"}
    stack(tmp_path / "a", heights(0, 2), name="a", **who)
    stack(tmp_path / "b", heights(0, 2), name="b", **{**who, **tags}, StudyInstanceUID="1.2.7")
    found = triage(tmp_path)
    assert len(found.volumes) == len({v.person for v in found.volumes}) == 2, "series are kept apart"
    assert len({v.patient for v in found.volumes}) == 1, "a corrected name would put one person into training and test"
    assert all(codes(v.warnings) == ["HIL-D27"] for v in found.volumes)
    said = " ".join(words for v in found.volumes for words in v.warnings) + " ".join(v.key for v in found.volumes)
    assert "Doe" not in said and "p1" not in said and "1950" not in said


@pytest.mark.parametrize(
    ("issuers", "patients"),
    [(("", "H1"), 1), (("H1", ""), 1), (("H1", "H1"), 1), (("H1", "H2"), 2), (("H1", "H2", ""), 1)],
)
def test_d27_an_issuer_that_is_left_out_makes_no_other_patient(
    tmp_path: Path, issuers: tuple[str, ...], patients: int
) -> None:
    for number, issuer in enumerate(issuers):
        name = f"s{number}"
        stack(tmp_path / name, heights(0, 2), name=name, IssuerOfPatientID=issuer, StudyInstanceUID=f"1.2.{number}")
    found = triage(tmp_path)
    assert len(found.volumes) == len(issuers) and not any(v.warnings for v in found.volumes)
    assert len({v.patient for v in found.volumes}) == patients


def test_d27_one_patient_spelled_in_two_ways_is_one(tmp_path: Path) -> None:
    stack(tmp_path / "a", heights(0, 2), name="a", PatientName="Doe^Jane^^")
    stack(tmp_path / "b", heights(0, 2), name="b", PatientName="DOE^JANE", PatientSex="F")
    found = triage(tmp_path)
    assert len({v.patient for v in found.volumes}) == 1 and not any(v.warnings for v in found.volumes)


def test_d27_series_without_a_number_of_their_own_are_kept_by_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        stack(tmp_path / name, heights(0, 2, 4), name=name, SeriesInstanceUID="", SeriesDescription="same")
    assert [len(v.slices) for v in triage(tmp_path).volumes] == [3, 3]


def test_d27_unknown_patients_have_no_key(tmp_path: Path) -> None:
    stack(tmp_path / "a", heights(0, 2), PatientID="ANONYMOUS", PatientName="")
    assert triage(tmp_path).volumes[0].patient == ""


# D28


@pytest.mark.parametrize("number", [None, 1, ""], ids=["absent", "repeated", "empty"])
def test_d28_order_comes_from_position(tmp_path: Path, number: int | None) -> None:
    folder = stack(tmp_path / "s", heights(6, 0, 4, 2))
    for file in folder.iterdir():
        edit(file, InstanceNumber=number)
    seen = dicom.read(folder)
    assert [Path(file).name for file in seen.meta["files"]] == ["s-001", "s-003", "s-002", "s-000"]
    check_place(seen, plane, 0.01)


def test_d28_a_mosaic_is_refused_by_name(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2), ImageType=["ORIGINAL\\PRIMARY\\M\\ND\\MOSAIC"] * 2)
    error = refusal(folder)
    assert error.code == "HIL-D28" and "mosaic" in error.seen
    assert len(triage(folder).quarantined) == 2


# D30


@pytest.mark.parametrize(
    ("tag", "values", "named"),
    [
        ("EchoTime", ["4.6", "9.2"], ["echo time 4.6 ms", "echo time 9.2 ms"]),
        ("TemporalPositionIdentifier", [1, 2], ["time 1", "time 2"]),
        ("DiffusionBValue", [0.0, 1000.0], ["b 0", "b 1000"]),
        ("TriggerTime", ["10", "90"], ["trigger time 10 ms", "trigger time 90 ms"]),
        (
            "ImageType",
            ["ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P"],
            ["ORIGINAL\\PRIMARY\\M", "ORIGINAL\\PRIMARY\\P"],
        ),
        ("AcquisitionNumber", [4, 5], ["acquisition 4", "acquisition 5"]),
        ("AcquisitionTime", ["101010", "101030"], ["acquired 101010", "acquired 101030"]),
        (
            "AcquisitionDateTime",
            ["20260101101010.5", "20260101101030.5"],
            ["acquired 20260101101010.5", "acquired 20260101101030.5"],
        ),
    ],
)
def test_d30_volumes_at_the_same_places_are_split_and_named(
    tmp_path: Path, tag: str, values: list[Any], named: list[str]
) -> None:
    folder = stack(tmp_path, [*heights(0, 2, 4), *heights(0, 2, 4)], **{tag: [v for v in values for _ in range(3)]})
    error = refusal(folder)
    assert error.code == "HIL-D30" and named[0] in error.seen and named[1] in error.seen
    found = triage(folder)
    assert apart(found) == named and all(v.refusal is None and v.shape == (8, 6, 3) for v in found.volumes)
    seen = dicom.read(folder, volume=found.volumes[1].key)
    assert [Path(f).name for f in seen.meta["files"]] == ["s-003", "s-004", "s-005"]
    assert codes(seen.warnings) == ["HIL-D30"]


def test_d30_slices_with_a_time_of_their_own_are_phases(tmp_path: Path) -> None:
    times = [f"1010{n:02d}" for n in (1, 2, 3, 21, 22, 23)]
    folder = stack(tmp_path, [*heights(0, 2, 4), *heights(4, 2, 0)], AcquisitionTime=times)
    found = triage(folder)
    assert apart(found) == ["time 1 of 2", "time 2 of 2"]
    first = next(v for v in found.volumes if v.apart == "time 1 of 2")
    assert [file.name for file in first.files] == ["s-000", "s-001", "s-002"]


def test_d30_echoes_and_times_together(tmp_path: Path) -> None:
    tags = {
        "EchoTime": ["4", "4", "9", "9"] * 3,
        "TemporalPositionIdentifier": [n for n in (1, 2, 3) for _ in range(4)],
    }
    found = triage(stack(tmp_path, heights(*[0, 2] * 6), **tags))
    assert len(found.volumes) == 6 and all(v.shape == (8, 6, 2) for v in found.volumes)


def test_d30_interleaved_echoes_never_become_one_denser_stack(tmp_path: Path) -> None:
    folder = stack(tmp_path, heights(0, 1, 2, 3, 4, 5), EchoTime=["4", "9"] * 3)
    assert apart(triage(folder)) == ["echo time 4 ms", "echo time 9 ms"]


def test_d30_volumes_that_no_tag_tells_apart_are_refused(tmp_path: Path) -> None:
    folder = stack(tmp_path, [*heights(0, 2, 4), *heights(0, 2, 4)])
    error = refusal(folder)
    assert error.code == "HIL-D30" and "2 volumes at the same positions" in error.seen


# D31


@pytest.mark.parametrize(
    ("sop", "kind"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.33", "structured report"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "encapsulated document"),
        ("1.2.840.10008.5.1.4.1.1.11.1", "presentation state"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RT structure set"),
        ("1.2.840.10008.5.1.4.1.1.66.4", "segmentation"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "waveform"),
        ("1.3.12.2.1107.5.9.1", "private object"),
    ],
)
def test_d31_what_is_no_image_is_kept_and_listed(tmp_path: Path, sop: str, kind: str) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    data = pydicom.dcmread(folder / "s-000")
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = sop
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    if kind != "private object":
        del data.PixelData, data.Rows, data.Columns, data.BitsAllocated
    data.save_as(folder / "other", enforce_file_format=True)
    found = triage(folder)
    assert found.others == ((folder / "other", kind),) and found.quarantined == ()
    assert dicom.read(folder).shape == (8, 6, 3)
    error = refusal(folder / "other")
    assert error.code == "HIL-D31" and kind in error.seen


# D32


@pytest.mark.parametrize(
    ("keyword", "other"), [("SOPInstanceUID", "1.2.3.4"), ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.2")]
)
def test_d32_a_file_that_names_itself_in_two_ways_is_set_aside(tmp_path: Path, keyword: str, other: str) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    data = pydicom.dcmread(folder / "s-002")
    setattr(data, keyword, other)
    data.save_as(folder / "s-002")
    found = triage(folder)
    assert [(file.name, error.code) for file, error in found.quarantined] == [("s-002", "HIL-D32")]
    seen = dicom.read(folder)
    assert seen.shape == (8, 6, 2) and codes(seen.warnings) == ["HIL-D32"]
    assert keyword in seen.warnings[0] and other not in seen.warnings[0]
    error = refusal(folder / "s-002")
    assert error.code == "HIL-D32" and keyword in error.seen
    setattr(data.file_meta, f"MediaStorage{keyword}", other)
    data.save_as(folder / "s-002")
    assert dicom.read(folder).shape == (8, 6, 3) and triage(folder).quarantined == ()


def test_d32_of_an_object_that_was_sent_again_with_other_content_the_first_is_kept(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    plain = dicom.read(folder)
    shutil.copy(folder / "s-001", folder / "twin")
    edit(folder / "twin", InstanceNumber=99)
    seen = dicom.read(folder)
    assert codes(seen.warnings) == ["HIL-D32"] and "(twin as s-001); 1 were left out" in seen.warnings[0]
    np.testing.assert_array_equal(seen.array, plain.array)


def test_d32_pictures_that_are_one_object_with_other_content_are_all_kept(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0))
    edit(folder / "s-000", Modality="CR", ImagePositionPatient=None, ImageOrientationPatient=None)
    shutil.copy(folder / "s-000", folder / "twin")
    edit(folder / "twin", PhotometricInterpretation="MONOCHROME1")
    found = triage(folder).volumes
    assert [one.kind for one in found] == ["picture"] * 2
    (words,) = {words for one in found for words in one.warnings}
    assert words == "HIL-D32: 1 files hold the same object as another with other content (twin as s-000)"


def test_d32_volumes_whose_files_all_have_one_name_are_told_apart_by_what_they_say(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4), SOPInstanceUID="1.2.3", EchoTime=10.0)
    stack(folder, heights(0, 2, 4), name="t", SOPInstanceUID="1.2.3", EchoTime=20.0, SeriesInstanceUID=uid("s"))
    found = triage(folder).volumes
    assert [len(one.slices) for one in found] == [3, 3] and all("HIL-D32" not in codes(one.warnings) for one in found)


def test_d32_a_slice_that_was_sent_again_at_another_place_is_kept_and_said(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4, 7))
    shutil.copy(folder / "s-003", folder / "twin")
    edit(folder / "twin", ImagePositionPatient=[2.0, -3.0, 6.0])
    (volume,) = triage(folder).volumes
    assert len(volume.slices) == 5 and "HIL-D32" in codes(volume.warnings)
    seen = dicom.read(folder)
    (words,) = (words for words in seen.warnings if words.startswith("HIL-D32"))
    assert "2 files of this volume" in words and "(s-003 and twin)" in words
    # its copy at the same place is still left out, and of another volume it says nothing
    edit(folder / "twin", ImagePositionPatient=[2.0, -3.0, 7.0], InstanceNumber=99)
    (words,) = triage(folder).volumes[0].warnings[:1]
    assert "1 were left out" in words and "of this volume" not in "".join(triage(folder).volumes[0].warnings)


# files that can not be read


def test_bad_files_are_set_aside_and_the_rest_says_so(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    (folder / "bad.dcm").write_text("no image")
    (folder / "empty.dcm").write_bytes(b"")
    found = triage(folder)
    assert [file.name for file, _ in found.quarantined] == ["bad.dcm", "empty.dcm"]
    seen = dicom.read(folder)
    assert len(seen.warnings) == 1 and "2 files" in seen.warnings[0] and "bad.dcm" in seen.warnings[0]
    assert dicom.read(folder, files=["s-000", "s-001", "s-002"]).warnings == ()


def no_place(file: Path) -> None:
    edit(file, ImageOrientationPatient=[1, 0, 0, 1, 0, 0])


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


def jpeg_xl(file: Path) -> None:
    data = pydicom.dcmread(file)
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.100"
    data.PixelData = pydicom.encaps.encapsulate([bytes(32)])
    data["PixelData"].is_undefined_length = True
    data.save_as(file)
    # the library does not know the syntax, and writes none that it does not know
    file.write_bytes(file.read_bytes().replace(b"1.2.4.100", b"1.2.4.110"))


@pytest.mark.parametrize(("damage", "code"), [(no_place, "HIL-N06"), (cut, "HIL-D01"), (jpeg_xl, "HIL-D06")])
def test_a_bad_file_of_another_series_is_not_this_ones_concern(
    tmp_path: Path, damage: Callable[[Path], None], code: str
) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    stack(folder, heights(0, 2), name="other")
    damage(folder / "other-001")
    found = triage(folder)
    assert [error.code for _, error in found.quarantined] == [code]
    assert {v.description: len(v.warnings) for v in found.volumes} == {"s": 0, "other": 1}


def test_a_slice_without_a_place_is_set_aside(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4))
    edit(folder / "s-002", ImagePositionPatient=None)
    seen = dicom.read(folder)
    assert seen.shape[2] == 2 and codes(seen.warnings) == ["HIL-IO-06"]


@pytest.mark.parametrize(
    "tags",
    [
        {"ImagePositionPatient": [0, 0]},
        {"PixelSpacing": [0, 1]},
        {"ImageOrientationPatient": [1, 0, 0, 0.7, 0.7, 0]},
    ],
)
def test_n06_a_place_that_is_no_place_is_set_aside(tmp_path: Path, tags: dict[str, Any]) -> None:
    folder = stack(tmp_path / "s", heights(0, 2))
    edit(folder / "s-001", **tags)
    (_, error) = triage(folder).quarantined[0]
    assert error.code == "HIL-N06" and "s-001" in error.seen


def test_a_region_decodes_to_the_same_place(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4, 6))
    whole, part = dicom.read(folder), dicom.read(folder, (slice(1, 5), slice(2, 6), slice(1, 3)))
    np.testing.assert_array_equal(part.array, whole.array[:, 1:5, 2:6, 1:3])
    check_place(part, plane, 0.01)


@pytest.mark.parametrize("options", [{"accept": ["D24"]}, {"files": ["../s/s-000"]}, {"files": ["/tmp/s-000"]}])
def test_options_that_make_no_sense_are_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    assert refusal(stack(tmp_path / "s", heights(0, 2)), **options).code == "HIL-IO-07"


def test_i12_a_link_to_a_folder_is_set_aside(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2))
    (folder / "more").mkdir()
    (folder / "more" / "back").symlink_to(folder)
    found = triage(folder)
    assert len(found.volumes) == 1 and [error.code for _, error in found.quarantined] == ["HIL-I12"]


@pytest.mark.parametrize("seed", range(4))
def test_d24_and_d23_in_any_direction(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    turned = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    across, down = turned[:, 0], turned[:, 1]
    normal = np.cross(across, down)
    along = np.cumsum(rng.uniform(1.8, 2.2, 7))
    places = [normal * k + (across * 0.15 - down * 0.1) * k for k in along]
    digits = [[round(float(v), 6) for v in place] for place in places]
    seen = dicom.read(stack(tmp_path / "s", digits, turn=[round(float(v), 6) for v in (*across, *down)], size=(16, 12)))
    assert codes(seen.warnings) == ["HIL-D23", "HIL-D24"]
    check_place(seen, plane, 0.02)


def test_d21_is_accepted_through_the_front_door(tmp_path: Path) -> None:
    folder = stack(tmp_path / "s", heights(0, 2, 4, 8, 10))
    for file in sorted(folder.iterdir()):
        file.rename(file.with_suffix(".dcm"))
    seen = open_path(folder, options={"accept": ["D21"]}).read()
    assert isinstance(seen, Image) and codes(seen.warnings) == ["HIL-D21"]
    assert seen.meta["resampled"]["why"] == ["HIL-D21"] and seen.shape == (8, 6, 6)
