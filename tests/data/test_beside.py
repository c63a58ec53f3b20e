"""What lies beside the images: cases.csv, raters, further roles; and dataset.json of nnU-Net and the Decathlon."""

import json
from pathlib import Path

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.data.dataset import open_dataset
from hilum.data.groups import clash
from hilum.io import nifti, raster
from hilum.planning.planner import look
from hilum.verbs.inspect import inspect


def png(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    raster.write(path, Image(np.full((1, 8, 9), value, np.uint8)))


def nii(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti.write(path, Image(np.ones((1, 3, 4, 5), np.int16), np.eye(4)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        png(tmp_path / "images" / f"{name}.png")
    return tmp_path


def refused(path: Path, roles: tuple[str, ...] = ()) -> HilumError:
    with pytest.raises(HilumError) as error:
        open_dataset(path, roles)
    return error.value


def test_cases_csv_gives_patients_parts_classes_and_attributes(folder: Path) -> None:
    rows = ["case,patient,split,class,site,rater,fold", "b,P2,test,ill,Oslo,anna,1", "a,P1,train,well,,ben,0"]
    (folder / "cases.csv").write_text("\n".join(rows))
    found = open_dataset(folder)
    a, b, c = found.cases
    assert (a.group, a.klass, b.group, c.group, c.klass) == ("P1", "well", "P2", "", None)
    assert b.attributes == {"site": "Oslo", "rater": "anna", "fold": "1"} and c.attributes == {}
    assert found.parts == {"a": "train", "b": "test"}


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("case,site\nz,x\na,x\nq,x\na,y\n", ["line 2", "'z'", "line 4", "line 5", "again"]),
        ("site\nx\n", ["lacks the column case"]),
    ],
)
def test_i11_bad_rows_of_cases_csv_are_all_named(folder: Path, rows: str, words: list[str]) -> None:
    (folder / "cases.csv").write_text(rows)
    error = refused(folder)
    assert error.code == "HIL-I11" and all(word in error.seen for word in words)


def test_i11_a_table_that_is_a_data_set_is_opened_by_itself(folder: Path) -> None:
    (folder / "cases.csv").write_text("image,site\nimages/a.png,x\n")
    assert "Open the table itself" in refused(folder).remedy
    assert [c.id for c in open_dataset(folder / "cases.csv").cases] == ["a"]


def test_cases_csv_lies_in_class_folders_and_flat_folders_too(tmp_path: Path) -> None:
    png(tmp_path / "classes" / "ill" / "a.png")
    (tmp_path / "classes" / "cases.csv").write_text("case,patient\nill/a,P1\n")
    png(tmp_path / "flat" / "a.png")
    (tmp_path / "flat" / "cases.csv").write_text("case;patient\na;P2\n")
    for kind, patient in (("classes", "P1"), ("flat", "P2")):
        assert [c.group for c in open_dataset(tmp_path / kind).cases] == [patient]


def test_t10_readings_of_several_raters_are_items_and_one_is_chosen(folder: Path) -> None:
    for rater in ("anna", "ben"):
        for name in "abc":
            png(folder / f"labels@{rater}" / f"{name}.png")
    found = open_dataset(folder)
    assert all(set(c.items) == {"image", "label@anna", "label@ben"} for c in found.cases)
    error = refused(folder, ("image", "label"))
    assert error.code == "HIL-T10" and "roles: {label: labels@anna}" in error.remedy
    (folder / "dataset.yaml").write_text("roles: {label: labels@anna}\n")
    chosen = open_dataset(folder, ("image", "label"))
    assert set(chosen.cases[0].items) == {"image", "label", "label@anna", "label@ben"}


def test_of_a_chosen_reading_no_other_fills_the_gaps(folder: Path) -> None:
    for name in "abc":
        png(folder / "labels" / f"{name}.png")
    png(folder / "labels@anna" / "a.png")
    (folder / "dataset.yaml").write_text("roles: {label: labels@anna}\n")
    assert ["label" in case.items for case in open_dataset(folder).cases] == [True, False, False]


def test_one_reading_of_a_csv_is_chosen(folder: Path) -> None:
    for rater in ("anna", "ben"):
        png(folder / rater / "a.png", 1 + (rater == "ben"))
    (folder / "cases.csv").write_text("image,label@anna,label@ben\nimages/a.png,anna/a.png,ben/a.png\nimages/b.png,,\n")
    written = folder / "chosen.yaml"
    written.write_text("folder: cases.csv\nroles: {label: label@ben}\n")
    a, b = open_dataset(written).cases
    assert a.read("label").array.max() == 2 and "label" not in b.items
    for wrong in ("labels@carl", "ben", ""):
        written.write_text(f"folder: cases.csv\nroles: {{label: '{wrong}'}}\n")
        error = refused(written)
        assert error.code == "HIL-DATA-03" and "label@anna, label@ben" in error.remedy


@pytest.fixture
def listed(folder: Path) -> Path:
    """A table of the folder's images and of masks beside them, of which the second holds 255."""
    for name in "abc":
        png(folder / "masks" / f"{name}.png", 255 if name == "b" else 1)
    rows = "".join(f"images/{name}.png,masks/{name}.png\n" for name in "abc")
    (folder / "study.csv").write_text(f"image,label\n{rows}")
    return folder


@pytest.mark.parametrize("more", ["", "folder: study.csv\n", "layout: table\n", "folder: .\n"])
def test_a_dataset_yaml_beside_a_table_says_more_about_it(listed: Path, more: str) -> None:
    """It was passed over without a word: 255 was learned as a class, and patients and terms were unknown."""
    (listed / "dataset.yaml").write_text(f"ignore: 255\npatients: case\nterms: CC BY 4.0\n{more}")
    found = open_dataset(listed / "study.csv", ("image", "label"))
    assert (found.settings.ignore, found.settings.patients, found.settings.terms) == (255, "case", "CC BY 4.0")
    assert found.layout == "table" and found.folder == listed / "study.csv" and len(found.cases) == 3


@pytest.mark.parametrize("other", ["folder: images", "folder: other.csv", "layout: flat"])
def test_a_table_beside_a_dataset_yaml_of_other_data_is_refused(listed: Path, other: str) -> None:
    (listed / "other.csv").write_text("image\nimages/a.png\n")
    (listed / "dataset.yaml").write_text(f"{other}\nignore: 255\n")
    error = refused(listed / "study.csv")
    assert error.code == "HIL-DATA-03" and f"`{other}`" in error.seen and "`folder: study.csv`" in error.remedy
    (listed / "mine.yaml").write_text("folder: study.csv\nignore: 255\n")
    assert open_dataset(listed / "mine.yaml").settings.ignore == 255


def test_t10_the_reading_of_a_table_is_chosen_as_the_refusal_says(folder: Path) -> None:
    for rater in ("anna", "ben"):
        png(folder / rater / "a.png", 1 + (rater == "ben"))
    (folder / "study.csv").write_text("image,label@anna,label@ben\nimages/a.png,anna/a.png,ben/a.png\n")
    error = refused(folder / "study.csv", ("image", "label"))
    assert error.code == "HIL-T10" and "roles: {label: labels@anna}" in error.remedy
    (folder / "dataset.yaml").write_text("roles: {label: labels@anna}\n")
    (case,) = open_dataset(folder / "study.csv", ("image", "label")).cases
    assert case.read("label").array.max() == 1


def test_a_folder_of_a_role_needs_no_choosing_where_the_table_lists_its_files(listed: Path) -> None:
    (listed / "dataset.yaml").write_text("roles: {label: masks}\n")
    assert all("label" in case.items for case in open_dataset(listed / "study.csv").cases)
    for wrong in ("images", "..", "/"):
        (listed / "dataset.yaml").write_text(f"roles: {{label: {wrong}}}\n")
        assert refused(listed / "study.csv").code == "HIL-DATA-03"


def test_roles_are_refused_where_nothing_would_be_read(tmp_path: Path) -> None:
    png(tmp_path / "flat" / "a.png")
    (tmp_path / "flat" / "dataset.yaml").write_text("roles: {validity: fov}\n")
    png(tmp_path / "classes" / "ill" / "a.png")
    (tmp_path / "classes" / "dataset.yaml").write_text("roles: {validity: fov}\n")
    for kind in ("flat", "classes"):
        assert refused(tmp_path / kind).code == "HIL-DATA-03"


def test_t10_files_without_an_image_are_all_listed(folder: Path) -> None:
    for name in ("x", "y"):
        png(folder / "labels@anna" / f"{name}.png")
    error = refused(folder)
    assert error.code == "HIL-T10" and "2 files" in error.seen and "'x', 'y'" in error.seen


def test_t10_every_image_without_a_label_is_listed(tmp_path: Path) -> None:
    for number in range(30):
        png(tmp_path / "images" / f"n{number:02d}.png")
    png(tmp_path / "labels" / "n03.png")
    error = refused(tmp_path, ("image", "label"))
    assert error.code == "HIL-T10" and "29 of 30" in error.seen
    assert all(f"n{n:02d}" in error.seen for n in range(30) if n != 3) and "n03" not in error.seen


def test_further_roles_come_from_folders_beside_the_images(folder: Path) -> None:
    png(folder / "fov" / "a.png", 7)
    (folder / "dataset.yaml").write_text("roles: {validity: fov}\n")
    a, b, _ = open_dataset(folder).cases
    assert set(a.items) == {"image", "validity"} and set(b.items) == {"image"} and a.read("validity").array.max() == 7


@pytest.mark.parametrize("rule", ["{validity: nowhere}", "{validity: ../x}", "{validity: /etc}", "{image: images}"])
def test_roles_that_lead_nowhere_or_out_are_refused(folder: Path, rule: str) -> None:
    (folder / "dataset.yaml").write_text(f"roles: {rule}\n")
    assert refused(folder).code == "HIL-DATA-03"


def nnunet(folder: Path, facts: dict[str, object], files: list[str], ending: str = ".nii.gz") -> Path:
    for name in files:
        nii(folder / "imagesTr" / f"{name}{ending}")
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def test_channels_are_named_and_test_images_are_left_alone(tmp_path: Path) -> None:
    facts = {
        "channel_names": {"1": "FLAIR", "0": "T1"},
        "labels": {"background": 0, "liver": 1},
        "file_ending": ".nii.gz",
    }
    nnunet(tmp_path, facts, ["a_0000", "a_0001"])
    nii(tmp_path / "labelsTr" / "a.nii.gz")
    nii(tmp_path / "imagesTs" / "z_0000.nii.gz")
    png(tmp_path / "imagesTr" / "preview.png")
    found = open_dataset(tmp_path, ("image", "label"))
    assert [c.id for c in found.cases] == ["a"] and found.settings.channels == ["T1", "FLAIR"]
    assert found.cases[0].read("image").array.shape == (2, 3, 4, 5)


def test_the_decathlon_calls_channels_modality(tmp_path: Path) -> None:
    nnunet(tmp_path, {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "Anterior"}}, ["a", "b"])
    found = open_dataset(tmp_path)
    assert found.settings.channels == ["MRI"] and found.settings.classes == {1: "Anterior"}


def test_t10_cases_that_lack_a_channel_are_all_listed(tmp_path: Path) -> None:
    facts = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {}}
    nnunet(tmp_path, facts, ["a_0000", "a_0001", "b_0000", "c_0001"])
    error = refused(tmp_path)
    assert error.code == "HIL-T10" and "b has [0]" in error.seen and "c has [1]" in error.seen


@pytest.mark.parametrize("facts", [{"file_ending": ".nii.gz"}, {"file_ending": ".nii.gz", "channel_names": {}}])
def test_t10_a_gap_is_named_where_channels_are_not(tmp_path: Path, facts: dict[str, object]) -> None:
    """The third contrast of one case was learned as the second of the others."""
    nnunet(tmp_path, facts, ["a_0000", "a_0001", "b_0000", "b_0002"])
    for name in ("a", "b"):
        nii(tmp_path / "labelsTr" / f"{name}.nii.gz")
    error = refused(tmp_path)
    assert error.code == "HIL-T10" and error.seen.endswith(": b")
    (tmp_path / "imagesTr" / "b_0002.nii.gz").rename(tmp_path / "imagesTr" / "b_0001.nii.gz")
    assert [c.read("image").array.shape[0] for c in open_dataset(tmp_path).cases] == [2, 2]


def test_one_picture_in_colour_holds_the_channels_that_nnunet_names(tmp_path: Path) -> None:
    facts = {"channel_names": {"0": "R", "1": "G", "2": "B"}, "labels": {"background": 0, "road": 1}}
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "dataset.json").write_text(json.dumps(facts | {"file_ending": ".png"}))
    for name in ("a", "b"):
        raster.write(tmp_path / "imagesTr" / f"{name}_0000.png", Image(np.ones((3, 8, 9), np.uint8)))
        png(tmp_path / "labelsTr" / f"{name}.png")
    found = open_dataset(tmp_path, ("image", "label"))
    assert [c.id for c in found.cases] == ["a", "b"] and found.settings.channels == ["R", "G", "B"]
    assert found.cases[0].read("image").array.shape == (3, 8, 9)
    # grey ones hold one of the three, and a second file says that channels have files of their own
    png(tmp_path / "imagesTr" / "a_0001.png")
    assert refused(tmp_path).code == "HIL-T10"
    (tmp_path / "imagesTr" / "a_0001.png").unlink()
    for name in ("a", "b"):
        png(tmp_path / "imagesTr" / f"{name}_0000.png")
    assert "a has [0]" in refused(tmp_path).seen


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"labels": {"background": 0, "whole": [1, 2], "core": 2}}, "HIL-DATA-09"),
        ({"labels": {"a": 1}, "regions_class_order": [1]}, "HIL-DATA-09"),
        ({"labels": ["background", "liver"]}, "HIL-DATA-03"),
        ([1, 2], "HIL-DATA-03"),
    ],
)
def test_regions_and_nonsense_in_dataset_json_are_refused(tmp_path: Path, facts: dict[str, object], code: str) -> None:
    error = refused(nnunet(tmp_path, facts, ["a"]))
    assert error.code == code and "dataset.json" in error.seen


def test_an_ending_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    nnunet(tmp_path, {"file_ending": ".xyz", "labels": {}}, ["a"])
    (tmp_path / "imagesTr" / "a_0000.xyz").write_bytes(b"x")
    assert refused(tmp_path).code == "HIL-IO-01"


def test_words_for_missing_are_no_patient_and_no_class(folder: Path) -> None:
    """R writes NA, BIDS n/a: three hundred cases were one patient, and NA a class."""
    (folder / "cases.csv").write_text("case,patient,class,site\na,NA,n/a,NA\nb,p1,ill,Oslo\nc,nan,,\n")
    found = open_dataset(folder)
    assert [c.group for c in found.cases] == ["", "p1", ""] and [c.klass for c in found.cases] == [None, "ill", None]
    assert found.cases[0].attributes["site"] == "NA", "what means nothing to Hilum stays as it is"
    rows = "image,patient,class\nimages/a.png,N/A,ill\nimages/b.png,,NULL\n"
    (folder / "table.csv").write_text(rows)
    found = open_dataset(folder / "table.csv")
    assert [c.group for c in found.cases] == ["", ""] and [c.klass for c in found.cases] == ["ill", None]


def test_pairs_with_an_image_that_is_left_out_are_left_out_too(folder: Path) -> None:
    png(folder / "images" / "d.png")
    (folder / "pairs.csv").write_text("fixed,moving\na,b\nc,d\n")
    (folder / "dataset.yaml").write_text("leave_out: [d]\n")
    assert open_dataset(folder).pairs == (("a", "b"),)
    assert open_dataset(folder).only(["a", "c"]).pairs == ()
    (folder / "dataset.yaml").write_text("leave_out: [d, a]\n")
    error = refused(folder)
    assert error.code == "HIL-DATA-06" and "every pair" in error.seen


def test_i12_names_that_are_left_out_are_found_in_any_unicode_form(folder: Path) -> None:
    png(folder / "images" / "Mu\u0308ller.png")
    (folder / "dataset.yaml").write_text("leave_out: ['Mu\u0308ller']\n", encoding="utf-8")
    assert len(open_dataset(folder).cases) == 3


@pytest.mark.parametrize("beside", ["boxes", "pairs", "cases", "masks"])
def test_whatever_names_numbered_files_says_that_they_are_cases(tmp_path: Path, beside: str) -> None:
    names = [f"vid{v}_000{n}" for v in (1, 2) for n in (0, 1)]
    for name in names:
        png(tmp_path / "images" / f"{name}.png")
    if beside == "masks":
        for name in names:
            png(tmp_path / "masks" / f"{name}.png")
        (tmp_path / "dataset.yaml").write_text("roles: {label: masks}\n")
    else:
        rows = {
            "boxes": "case,class,low0,low1,high0,high1\nvid1_0000,polyp,1,1,4,4\n",
            "pairs": "fixed,moving\nvid1_0000,vid1_0001\n",
            "cases": "case,site\nvid2_0001,Oslo\n",
        }
        (tmp_path / f"{beside}.csv").write_text(rows[beside])
    assert [c.id for c in open_dataset(tmp_path).cases] == names


def test_t10_a_channel_that_is_missing_is_named(tmp_path: Path) -> None:
    for name in ("a_0000", "a_0001", "b_0000", "b_0002"):
        png(tmp_path / "images" / f"{name}.png")
    for name in ("a", "b"):
        png(tmp_path / "labels" / f"{name}.png")
    error = refused(tmp_path)
    assert error.code == "HIL-T10" and error.seen.endswith(": b") and "channels" in str(error)


def test_nnunet_endings_in_capitals_are_read(tmp_path: Path) -> None:
    for name, end in (("a", ".nii.gz"), ("b", ".NII.GZ")):
        for place, more in (("imagesTr", "_0000"), ("labelsTr", "")):
            nii(tmp_path / place / f"{name}{more}.nii.gz")
            (tmp_path / place / f"{name}{more}.nii.gz").rename(tmp_path / place / f"{name}{more}{end}")
    (tmp_path / "dataset.json").write_text(json.dumps({"file_ending": ".nii.gz", "channel_names": {"0": "CT"}}))
    found = open_dataset(tmp_path, ("image", "label"))
    assert [c.id for c in found.cases] == ["a", "b"]


def test_i12_a_table_names_folders_in_any_unicode_form(tmp_path: Path) -> None:
    png(tmp_path / "Mu\u0308ller" / "1.png")
    (tmp_path / "t.csv").write_text("image\nMu\u0308ller/1.png\n", encoding="utf-8")
    assert [c.id for c in open_dataset(tmp_path / "t.csv").cases] == ["1"]


@pytest.mark.parametrize("beside", ["table", "cases", "boxes"])
def test_i11_patients_and_classes_that_differ_by_letter_case_are_told(folder: Path, beside: str) -> None:
    """P01 and p01 could lie in training and test, and ill and Ill were two classes."""
    rows = {
        "table": "image,patient,class\nimages/a.png,P01,ill\nimages/b.png,p01,Ill\n",
        "cases": "case,patient,class\na,P01,ill\nb,p01,Ill\n",
        "boxes": "case,class,low0,low1,high0,high1\na,ill,1,1,4,4\nb,Ill,1,1,4,4\n",
    }
    path = folder / f"{beside}.csv"
    path.write_text(rows[beside])
    error = clash(open_dataset(path if beside == "table" else folder))
    assert error is not None and error.code == "HIL-I11"
    assert "'Ill' of case b differs from 'ill' of case a by letter case only" in error.seen
    assert beside == "boxes" or "'p01' of case b differs from 'P01' of case a by letter case only" in error.seen


def test_i11_a_class_of_cases_csv_is_spelt_as_that_of_a_folder(tmp_path: Path) -> None:
    for name in ("ill/a", "ill/b", "well/c"):
        png(tmp_path / f"{name}.png")
    (tmp_path / "cases.csv").write_text("case,class\nwell/c,Ill\n")
    error = clash(open_dataset(tmp_path))
    assert error is not None and error.code == "HIL-I11"
    assert "'Ill' of case well/c differs from 'ill' of case ill/a by letter case only" in error.seen
    # one spelling for all of them is one class
    (tmp_path / "cases.csv").write_text("case,class\nill/a,Ill\nill/b,Ill\n")
    found = open_dataset(tmp_path)
    assert [c.klass for c in found.cases] == ["Ill", "Ill", "well"] and clash(found) is None


@pytest.mark.parametrize("place", ["", "imagesTr", "imagesTr with an ending"])
def test_cases_csv_says_what_numbered_files_are_in_every_folder(tmp_path: Path, place: str) -> None:
    """They were channels of P01, and every row of the table was refused."""
    names = ["P01_0000", "P01_0001", "P02_0000"]
    for name in names:
        png(tmp_path / place.split(" ")[0] / f"{name}.png")
    if "ending" in place:
        (tmp_path / "dataset.json").write_text(json.dumps({"file_ending": ".png"}))
    (tmp_path / "cases.csv").write_text("case,patient\n" + "".join(f"{name},{name[:3]}\n" for name in names))
    found = open_dataset(tmp_path)
    assert [(c.id, c.group) for c in found.cases] == [(name, name[:3]) for name in names]
    # called by the name before the numbers, the files are its channels
    (tmp_path / "cases.csv").write_text("case,patient\nP01,p1\n")
    assert [c.id for c in open_dataset(tmp_path).cases] == ["P01", "P02"]


@pytest.mark.parametrize(
    ("table", "rows", "column"),
    [
        ("table", "image,Split\nimages/a.png,test\n", "'Split'"),
        ("table", "image,PATIENT\nimages/a.png,P1\n", "'PATIENT'"),
        ("table", "image,Label@anna\nimages/a.png,images/b.png\n", "'Label@anna'"),
        ("cases", "case,Patient\na,P1\n", "'Patient'"),
        ("cases", "case,class,Class@ben\na,ill,well\n", "'Class@ben'"),
    ],
)
def test_i11_a_column_in_other_letters_is_not_passed_over(folder: Path, table: str, rows: str, column: str) -> None:
    """A spreadsheet's Patient and Split were attributes: declared test cases were learned from."""
    (folder / f"{table}.csv").write_text(rows)
    path = folder / "table.csv" if table == "table" else folder
    with pytest.raises(HilumError) as error:
        look(path, "generate", 0)
    assert error.value.code == "HIL-I11" and column in error.value.seen
    assert any(column in remark for remark in inspect(path)["remarks"])
    # beside the right one it is something else
    head, *rest = rows.splitlines()
    more = column.strip("'").partition("@")
    right = "".join([more[0].lower(), *more[1:]])
    (folder / f"{table}.csv").write_text("\n".join([f"{head},{right}", *(f"{row}," for row in rest)]))
    assert clash(open_dataset(path)) is None


def test_i11_a_file_column_of_cases_csv_is_an_attribute_in_any_letters(folder: Path) -> None:
    (folder / "cases.csv").write_text("case,Label,image,Site\na,melanoma,x,Oslo\n")
    assert clash(open_dataset(folder)) is None
