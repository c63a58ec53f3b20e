"""Findings become files that say the same as the finding."""

import csv
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE, Boxes, Field, Mask, Picture, Result, Score, Scores, Verdict
from hilum.core.image import Case, Image
from hilum.infer import export as module
from hilum.infer.export import export
from hilum.io import dicom, dicom_registration, dicom_seg, dicom_sr
from hilum.io import open as open_path

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
VOLUME = Case("a/b", "", {"image": Image(np.zeros((1, 3, 4, 5), np.float32), AFFINE)})


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_mask_of_a_volume_and_of_a_picture(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 3, (3, 4, 5)).astype(np.uint8)
    assert export(Result({"mask": Mask(values, {1: "x", 2: "y"}, AFFINE)}), VOLUME, tmp_path) == ["a_b.nii.gz"]
    back = open_path(tmp_path / "a_b.nii.gz").read_labels()
    np.testing.assert_array_equal(back.array[0], values)
    np.testing.assert_allclose(back.affine, AFFINE)
    picture = Case("p", "", {"image": Image(np.zeros((1, 4, 5)))})
    assert export(Result({"mask": Mask(values[0], {1: "x", 2: "y"})}), picture, tmp_path) == ["p.png"]
    np.testing.assert_array_equal(open_path(tmp_path / "p.png").read_labels().array[0], values[0])


def unplaced(path: Path, forms: bool) -> Image:
    """A NIfTI of which nobody knows how it lies: both codes are 0. forms: numbers stand there all the same."""
    turned = np.array([[0, -2.0, 0, 5], [1, 0, 0, -7], [0, 0, -3, 9], [0, 0, 0, 1]])
    made = nibabel.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), turned)
    made.set_qform(turned, 1)
    made.header.set_xyzt_units("mm")
    raw = bytearray(made.to_bytes())
    raw[252:256] = bytes(4)
    if not forms:
        raw[256:328] = bytes(72)
    path.write_bytes(bytes(raw))
    image = open_path(path).read()
    assert isinstance(image, Image) and image.meta["geometry"] == "unknown"
    return image


@pytest.mark.parametrize("forms", [False, True])
def test_n05_every_reader_takes_a_mask_to_lie_as_its_image(forms: bool, tmp_path: Path) -> None:
    """It said "scanner" with our guess: readers that guess otherwise about the image showed the two turned."""
    image = unplaced(tmp_path / "a.nii", forms)
    mask = Mask((image.array[0] > 20).astype(np.uint8), {1: "x"}, image.affine)
    doubt = Picture(image.like(image.array / np.float32(60)), "0..1")
    result = Result({"mask": mask, "wide_x": mask, "doubt": doubt}, warnings=image.warnings)
    files = export(result, Case("a", "", {"image": image}), tmp_path / "out")
    assert len(files) == 3
    first, other = SimpleITK.ReadImage(str(tmp_path / "a.nii")), nibabel.Nifti1Image.from_filename(tmp_path / "a.nii")
    for name in files:
        seen = nibabel.Nifti1Image.from_filename(tmp_path / "out" / name)
        assert (int(seen.header["qform_code"]), int(seen.header["sform_code"])) == (0, 0)
        np.testing.assert_array_equal(seen.affine, other.affine)
        its = SimpleITK.ReadImage(str(tmp_path / "out" / name))
        assert its.GetDirection() == first.GetDirection() and its.GetOrigin() == first.GetOrigin()
        assert its.GetSpacing() == first.GetSpacing() == (1.0, 2.0, 3.0)
        # and no label is moved by it
        again = open_path(tmp_path / "out" / name).read_labels() if name != files[2] else image
        assert again.warnings[0].startswith("HIL-N05") and again.spacing == (1.0, 2.0, 3.0)
    np.testing.assert_array_equal(open_path(tmp_path / "out" / files[0]).read_labels().array[0], mask.array)


def test_n05_a_guess_about_another_format_is_written_out(tmp_path: Path) -> None:
    """No two formats are guessed about alike, so that nothing is to be taken as it is of its image."""
    said = ("HIL-N05: no space is stated; directions and position are taken as LPS",)
    image = Image(np.zeros((1, 3, 4, 5)), AFFINE, said, {"format": "nrrd", "geometry": "unknown"})
    mask = Mask(np.ones((3, 4, 5), np.uint8), {1: "x"}, AFFINE)
    (name,) = export(Result({"mask": mask}, warnings=said), Case("a", "", {"image": image}), tmp_path)
    assert open_path(tmp_path / name).read_labels().warnings == ()


def test_dicom_needs_a_dicom_image(tmp_path: Path) -> None:
    mask = Mask(np.zeros((3, 4, 5), np.uint8), {1: "x"}, AFFINE)
    with pytest.raises(HilumError) as error:
        export(Result({"mask": mask}), VOLUME, tmp_path, "dicom")
    assert error.value.code == "HIL-INFER-05" and not any(tmp_path.iterdir())


def test_scores_and_boxes_are_tables(tmp_path: Path) -> None:
    export(Result({"scores": Scores((Score("ill", 0.25), Score("well", 0.75)))}), VOLUME, tmp_path)
    assert [(r["name"], float(r["value"])) for r in rows(tmp_path / "a_b.csv")] == [("ill", 0.25), ("well", 0.75)]
    boxes = Boxes(np.array([[1.0, 2, 3, 4]]), np.array([0.5]), np.array([7]), {7: "lesion"})
    export(Result({"boxes": boxes}), Case("c", "", {}), tmp_path)
    wanted = {"class": "lesion", "score": "0.5000", "low0": "1.00", "low1": "2.00", "high0": "3.00", "high1": "4.00"}
    assert rows(tmp_path / "c.csv") == [wanted]
    none = Boxes(np.zeros((0, 4)), np.zeros(0), np.zeros(0, int), {7: "lesion"})
    export(Result({"boxes": none}), Case("d", "", {}), tmp_path)
    assert (tmp_path / "d.csv").read_text() == "class,score,low0,low1,high0,high1\n" and rows(tmp_path / "d.csv") == []


def test_fields_are_millimetres_along_the_world(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    # array axes that lie along other axes of the world, and against them
    turned = np.array([[0, -2.0, 0, 5], [1, 0, 0, -7], [0, 0, -3, 9], [0, 0, 0, 1]])
    export(Result({"field": Field(array, turned)}), VOLUME, tmp_path)
    stored = np.asarray(nibabel.load(tmp_path / "a_b.nii.gz").dataobj)  # type: ignore[attr-defined]
    np.testing.assert_allclose(stored, np.einsum("ij,jxyz->xyzi", turned[:3, :3], array), rtol=1e-6)
    export(Result({"field": Field(array[:2, 0])}), Case("p", "", {}), tmp_path)
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy", allow_pickle=False), array[:2, 0])


def test_several_findings_have_their_names(tmp_path: Path) -> None:
    image = Image(np.linspace(0, 1, 20, dtype=np.float32).reshape(1, 4, 5))
    findings = {"picture": Picture(image, "0..1"), "zero_filled": Picture(image, "0..1")}
    files = export(Result(findings), Case("s", "", {}), tmp_path)
    assert files == ["s_picture.png", "s_zero_filled.png"]
    found = open_path(tmp_path / "s_picture.png").read()
    np.testing.assert_allclose(found.array / 65535, image.array, atol=1e-4)  # type: ignore[union-attr]


@pytest.mark.parametrize("scale", [1e-6, 1.02, 300.0, 1e6])
def test_a_reconstruction_keeps_its_values_however_large(tmp_path: Path, scale: float) -> None:
    """Above 1 they were once rounded to whole numbers: of a picture up to 1.02 black and white were left."""
    image = Image((scale * np.linspace(0, 1, 20).reshape(1, 4, 5)).astype(np.float32))
    assert export(Result({"picture": Picture(image)}), Case("s", "", {}), tmp_path) == ["s.tif"]
    np.testing.assert_array_equal(open_path(tmp_path / "s.tif").read().array, image.array)  # type: ignore[union-attr]


@pytest.mark.parametrize("high", [200.0, 4000.0])
def test_grey_values_are_whole_numbers(tmp_path: Path, high: float) -> None:
    image = Image((high * np.linspace(0, 1, 20).reshape(1, 4, 5)).astype(np.float32))
    assert export(Result({"picture": Picture(image, "grey")}), Case("s", "", {}), tmp_path) == ["s.png"]
    found = open_path(tmp_path / "s.png").read()
    np.testing.assert_array_equal(found.array, np.round(image.array))  # type: ignore[union-attr]
    assert found.array.dtype == (np.uint8 if high < 256 else np.uint16)  # type: ignore[union-attr]


LPS = np.array([[-1.0, 0, 0, 20.5], [0, -1.5, 0, 33.0], [0, 0, 2.5, -8.0], [0, 0, 0, 1]])


def series(folder: Path, **tags: Any) -> Image:
    values = np.random.default_rng(1).integers(0, 900, (1, 8, 6, 5)).astype(np.int16)
    dicom.write_series(folder, Image(values, LPS), {"Modality": "MR", "PatientID": "p7", **tags})
    return dicom.read(folder)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_dicom_mask_has_its_volumes_beside_it(tmp_path: Path, stacked: bool) -> None:
    image = series(tmp_path / "s")
    labels = np.zeros(image.shape, np.uint8)
    labels[1:4, 2:4, 1:3] = 4
    labels[6, 5, 4] = 9
    array = np.stack([labels == 2, labels == 4, labels > 0]) if stacked else labels
    mask = Mask(array, {2: "cyst", 4: "kidney", 9: "stone"}, image.affine, stacked=stacked)
    out = tmp_path / "out"
    assert export(Result({"mask": mask}), Case("a/b", "", {"image": image}), out, "dicom") == [
        "a_b.dcm", "a_b_measurements.dcm",
    ]  # fmt: skip
    report = dicom_sr.read(out / "a_b_measurements.dcm")
    seg = pydicom.dcmread(out / "a_b.dcm")
    wanted = {"cyst": 0.0, "kidney": 12 * 3.75 / 1000, "stone": (13 if stacked else 1) * 3.75 / 1000}
    assert {row.tracking: pytest.approx(row.value) for row in report} == wanted
    assert {(row.name, row.unit) for row in report} == {("Volume", "mL")}
    names = {int(s.SegmentNumber): s.SegmentLabel for s in seg.SegmentSequence}
    assert {row.segment: row.tracking for row in report} == {(seg.SOPInstanceUID, n): name for n, name in names.items()}
    np.testing.assert_array_equal(dicom_seg.read(out / "a_b.dcm", image).array, array)


def test_quantities_join_the_report_and_probabilities_do_not(tmp_path: Path) -> None:
    image = series(tmp_path / "s")
    mask = Mask(np.ones(image.shape, np.uint8), {1: "brain"}, image.affine)
    scores = Scores((Score("ill", 0.25), Score("brain age", 71.5, "quantity", "year")))
    case = Case("c", "", {"image": image})
    files = export(Result({"mask": mask, "scores": scores}), case, tmp_path / "out", "dicom")
    assert files == ["c_mask.dcm", "c_scores.csv", "c_measurements.dcm"]
    report = dicom_sr.read(tmp_path / "out" / "c_measurements.dcm")
    assert {(r.name, r.unit) for r in report} == {("Volume", "mL"), ("brain age", "a")}
    assert [r["name"] for r in rows(tmp_path / "out" / "c_scores.csv")] == ["ill", "brain age"]
    # without a series there is no patient to whom a report could belong
    assert export(Result({"scores": scores}), VOLUME, tmp_path / "other", "dicom") == ["a_b.csv"]


def comments(report: Any) -> list[str]:
    """The sentences that stand beside the numbers of a report."""
    texts = [item for item in report.ContentSequence if item.ValueType == "TEXT"]
    return [item.TextValue for item in texts if item.ConceptNameCodeSequence[0].CodeMeaning == "Comment"]


def test_an_archive_is_told_what_to_think_of_a_result_and_which_model_found_it(tmp_path: Path) -> None:
    """Verdict and warnings stood in predictions.json alone, and two models that found nothing had found the same."""
    image = series(tmp_path / "s")
    verdict = Verdict("person", ("The result is more doubtful than nearly all of validation.",))
    warning = "HIL-D23: slices lie unevenly apart and were resampled"
    result = Result({"mask": Mask(np.zeros(image.shape, np.uint8), {1: "cyst"}, image.affine)}, verdict, (warning,))
    found: dict[str, list[Any]] = {}
    for place, model in (("a", "0" * 16), ("b", "1" * 16), ("again", "0" * 16)):
        files = export(result, Case("c", "", {"image": image}), tmp_path / place, "dicom", model)
        assert files == ["c.dcm", "c_measurements.dcm"]
        found[place] = [pydicom.dcmread(tmp_path / place / file) for file in files]
    said = ["Verdict: person", f"Reason: {verdict.reasons[0]}", f"Warning: {warning}"]
    assert comments(found["a"][1]) == [INTENDED_USE, *said]
    for a, b, again in zip(*found.values(), strict=True):
        assert a.SOPInstanceUID == again.SOPInstanceUID != b.SOPInstanceUID
        assert a.SeriesInstanceUID == again.SeriesInstanceUID != b.SeriesInstanceUID
        assert "model=" + "0" * 16 in a.to_json() and "model=" + "1" * 16 in b.to_json()


def test_a_wide_mask_says_in_its_dicom_file_that_it_is_one(tmp_path: Path) -> None:
    """With one class and the same voxels as the mask, too: an archive keeps no file names."""
    image = series(tmp_path / "s")
    array, name = np.zeros(image.shape, np.uint8), "x" * 60
    array[2:4, 1:3, 1] = 1
    mask = Mask(array, {1: name}, image.affine)
    found = Result({"mask": mask, f"wide_{name}": mask})
    files = export(found, Case("c", "", {"image": image}), tmp_path / "out", "dicom")
    assert files == ["c_mask.dcm", f"c_wide_{name}.dcm", "c_measurements.dcm"]
    plain, wide = (pydicom.dcmread(tmp_path / "out" / file) for file in files[:2])
    assert plain.SegmentSequence[0].SegmentLabel == name and plain.SeriesDescription.startswith("Hilum segmentation")
    assert wide.SegmentSequence[0].SegmentLabel == "x" * 52 + " (wide mask)"
    assert wide.SeriesDescription == "Hilum wide mask, research use"
    assert plain.SOPInstanceUID != wide.SOPInstanceUID and plain.SeriesInstanceUID != wide.SeriesInstanceUID


def test_a_dicom_field_is_a_registration_of_both_series(tmp_path: Path) -> None:
    fixed, moving = series(tmp_path / "f"), series(tmp_path / "m", SeriesDescription="later")
    field = Field(np.random.default_rng(0).normal(size=(3, *fixed.shape)).astype(np.float32), fixed.affine)
    case = Case("f__m", "", {"fixed": fixed, "moving": moving})
    assert export(Result({"field": field}), case, tmp_path / "out", "dicom") == ["f__m.dcm"]
    seen = dicom_registration.read(tmp_path / "out" / "f__m.dcm")
    point = (LPS @ [3, 2, 1, 1])[None, :3]
    np.testing.assert_allclose(seen.points(point)[0], point[0] + field.physical()[:, 3, 2, 1], atol=1e-4)
    plain = Case("x", "", {"fixed": fixed, "moving": VOLUME.items["image"]})
    with pytest.raises(HilumError, match="HIL-INFER-05"):
        export(Result({"field": field}), plain, tmp_path / "out", "dicom")
    assert export(Result({"field": field}), plain, tmp_path / "out") == ["x.nii.gz"]


def test_results_belong_to_the_patient_and_carry_nothing_else(tmp_path: Path) -> None:
    image = series(tmp_path / "s", PatientName="Doe^Jane", ImageComments="rumours")
    for file in image.meta["files"]:
        data = pydicom.dcmread(file)
        data.private_block(0x0009, "SECRET", create=True).add_new(1, "LO", "hidden words")
        data.preamble = b"MZ" + bytes(126)
        data.save_as(file)
    mask = Mask(np.ones(image.shape, np.uint8), {1: "brain"}, image.affine)
    field = Field(np.zeros((3, *image.shape), np.float32), image.affine)
    case = Case("c", "", {"image": image, "fixed": image, "moving": image})
    source = pydicom.dcmread(image.meta["files"][0])
    files = export(Result({"mask": mask, "field": field}), case, tmp_path / "out", "dicom")
    assert len(files) == 3
    for name in files:
        raw, data = (tmp_path / "out" / name).read_bytes(), pydicom.dcmread(tmp_path / "out" / name)
        assert raw[:132] == bytes(128) + b"DICM" and b"hidden words" not in raw and b"rumours" not in raw
        assert not any(element.tag.is_private for element in data.iterall())
        assert (data.PatientName, data.PatientID) == ("Doe^Jane", "p7")
        assert data.StudyInstanceUID == source.StudyInstanceUID != data.SeriesInstanceUID


def test_half_a_result_is_not_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = series(tmp_path / "s")
    mask = Mask(np.ones(image.shape, np.uint8), {1: "brain"}, image.affine)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dicom_sr, "write", full)
    with pytest.raises(OSError, match="No space"):
        export(Result({"mask": mask}), Case("c", "", {"image": image}), tmp_path / "out", "dicom")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("fault", ["value", "place"])
def test_a_field_that_reads_back_differently_is_not_released(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    seen = module._seen

    def changed(part: Path, d: int) -> tuple[np.ndarray, np.ndarray]:
        values, affine = seen(part, d)
        return (values + np.float32(fault == "value"), affine + np.eye(4) * (fault == "place"))

    monkeypatch.setattr(module, "_seen", changed)
    field = Field(np.ones((3, 3, 4, 5), np.float32), AFFINE)
    with pytest.raises(HilumError, match="HIL-IO-05"):
        export(Result({"field": field}), VOLUME, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_files_may_be_called_is_known_before(tmp_path: Path) -> None:
    image = series(tmp_path / "s")
    mask = Mask(np.ones(image.shape, np.uint8), {1: "brain"}, image.affine)
    case = Case("x", "", {"image": image})
    every: list[dict[str, Any]] = [{"mask": mask}, {"mask": mask, "scores": Scores((Score("ill", 0.25),))}]
    for findings in every:
        for form in ("nifti", "dicom"):
            files = export(Result(findings), case, tmp_path / form / str(len(findings)), form)
            stems = {name.split(".")[0].removeprefix("x") for name in files}
            assert stems == set(module.endings(list(findings), form))
