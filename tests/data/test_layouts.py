"""Every way a folder can be laid out, on a tiny folder; and what is wrong in it is named."""

import json
import os
import sys
import weakref
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Image, Measurement
from hilum.data.dataset import Dataset, has_role, left_aside, open_dataset
from hilum.data.groups import clash
from hilum.data.layouts._files import Channels, stem
from hilum.io import dicom, kspace, nifti, raster
from hilum.io import open as open_path

RNG = np.random.default_rng(0)


def png(path: Path, value: int | None = None) -> Path:
    array = RNG.integers(0, 255, (1, 8, 9)) if value is None else np.full((1, 8, 9), value)
    path.parent.mkdir(parents=True, exist_ok=True)
    raster.write(path, Image(array.astype(np.uint8)))
    return path


def nii(path: Path, high: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti.write(path, Image(RNG.integers(0, high, (1, 4, 5, 6)).astype(np.int16), np.eye(4)))
    return path


def refused(path: Path, roles: tuple[str, ...] = ()) -> HilumError:
    with pytest.raises(HilumError) as error:
        open_dataset(path, roles)
    return error.value


def names(dataset: Dataset) -> list[str]:
    return [case.id for case in dataset.cases]


def test_flat(tmp_path: Path) -> None:
    for name in ("b", "a"):
        png(tmp_path / f"{name}.png")
    (tmp_path / "readme.txt").write_text("no image")
    (tmp_path / ".hidden.png").write_bytes(b"")
    found = open_dataset(tmp_path)
    assert found.layout == "flat" and names(found) == ["a", "b"] and has_role(found.cases[0], "image")
    assert found.case("a").read("image").shape == (8, 9)


def test_flat_one_file_and_one_series(tmp_path: Path) -> None:
    assert names(open_dataset(png(tmp_path / "one.png"))) == ["one"]
    volume = Image(RNG.integers(0, 99, (1, 4, 5, 3)).astype(np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    dicom.write_series(tmp_path / "series", volume, {"Modality": "MR"})
    found = open_dataset(tmp_path / "series")
    assert names(found) == ["series"] and found.cases[0].read("image").dims == 3


def test_images_and_labels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        png(tmp_path / "images" / f"{name}.png")
    png(tmp_path / "labels" / "a.png", 1)
    found = open_dataset(tmp_path)
    assert found.layout == "images_labels" and [has_role(c, "label") for c in found.cases] == [True, False]
    error = refused(tmp_path, ("image", "label"))
    assert error.code == "HIL-T10" and "1 of 2" in error.seen and "b" in error.seen
    png(tmp_path / "labels" / "lost.png")
    assert "lost" in refused(tmp_path).seen and refused(tmp_path).code == "HIL-T10"


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    png(tmp_path / "images" / "a.png")
    nii(tmp_path / "images" / "a.nii.gz")
    assert refused(tmp_path).code == "HIL-DATA-04"


def test_boxes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        png(tmp_path / "images" / f"{name}.png")
    head = "case,class,low0,low1,high0,high1\n"
    (tmp_path / "boxes.csv").write_text(head + "a,zebra,0,1,3,4\na,ape,2.5,2,7,8\n")
    found = open_dataset(tmp_path)
    assert found.box_classes == {1: "ape", 2: "zebra"} and not found.settings.classes
    boxes = found.case("a").boxes
    assert boxes is not None
    np.testing.assert_array_equal(boxes, [[2, 0, 1, 3, 4], [1, 2.5, 2, 7, 8]])
    empty = found.case("b").boxes
    assert empty is not None and empty.size == 0 and has_role(found.case("b"), "boxes")
    for row in ("c,ape,0,0,1,1\n", "a,ape,0,0,x,1\n", "a,ape,5,0,5,1\n", "a,ape,0,nan,1,1\n", "a,ape,0,0,1,inf\n"):
        (tmp_path / "boxes.csv").write_text(head + row)
        error = refused(tmp_path)
        assert error.code == "HIL-I11" and "line 2" in error.seen
    for head in ("case,class\n", "case,class,low0,low1,low2,high0,high1\na,ape,0,0,0,1,1\n"):
        (tmp_path / "boxes.csv").write_text(head)
        assert refused(tmp_path).code == "HIL-I11"


def test_i11_every_bad_row_of_boxes_and_pairs_is_named_with_its_line(tmp_path: Path) -> None:
    png(tmp_path / "images" / "a.png")
    rows = ["a,ape,0,0,1,1", "", "z,ape,0,0,1,1", "a,,0,0,1,1", "a,ape,2,0,1,1", "a,ape,0,x,1,1"]
    (tmp_path / "boxes.csv").write_text("\n".join(["case,class,low0,low1,high0,high1", *rows]))
    seen = refused(tmp_path).seen
    assert "4 faults" in seen and "line 4: there is no image 'z'" in seen and "line 5: it names no class" in seen
    assert "line 6: high is not above low" in seen and "line 7" in seen
    (tmp_path / "boxes.csv").unlink()
    (tmp_path / "pairs.csv").write_text("fixed,moving\n\na,b\nc,a\n")
    seen = refused(tmp_path).seen
    assert "line 3: there is no image 'b'" in seen and "line 4: there is no image 'c'" in seen


def test_i11_rows_that_are_listed_twice_are_told(tmp_path: Path) -> None:
    """One lesion counted twice, and a pair was learned from twice as often."""
    for name in ("a", "b"):
        png(tmp_path / "images" / f"{name}.png")
    rows = ["a,ape,0,0,1,1", "b,ape,0,0,1,1", "a,bee,0,0,1,1", "a,ape,0.0,0,1,1"]
    (tmp_path / "boxes.csv").write_text("\n".join(["case,class,low0,low1,high0,high1", *rows]))
    error = clash(open_dataset(tmp_path))
    assert error is not None and error.code == "HIL-I11" and "once" in error.remedy
    assert error.seen.endswith(": boxes.csv line 5: as in line 2")
    (tmp_path / "boxes.csv").write_text("\n".join(["case,class,low0,low1,high0,high1", *rows[:3]]))
    (tmp_path / "pairs.csv").write_text("fixed,moving\na,b\nb,a\na,b\n")
    error = clash(open_dataset(tmp_path))
    assert error is not None and error.seen.endswith(": pairs.csv line 4: as in line 2")
    (tmp_path / "pairs.csv").write_text("fixed,moving\na,b\nb,a\n")
    assert clash(open_dataset(tmp_path)) is None


def test_d21_a_missing_slice_of_one_channel_is_accepted(tmp_path: Path) -> None:
    volume = Image(RNG.integers(0, 99, (1, 4, 5, 6)).astype(np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    for channel in (0, 1):
        place = tmp_path / "images" / f"p1_000{channel}"
        dicom.write_series(place, volume, {"Modality": "MR"})
    sorted(place.iterdir())[2].unlink()
    (tmp_path / "dataset.yaml").write_text("channels: [T1, T2]\n")
    (case,) = open_dataset(tmp_path).cases
    with pytest.raises(HilumError, match=r"HIL-D21"):
        case.read("image")
    (case,) = open_dataset(tmp_path, accept=["D21"]).cases
    assert case.read("image").array.shape == (2, 4, 5, 6) and any("D21" in w for w in case.read("image").warnings)


@pytest.mark.parametrize("facts", [{"modality": {"0": "CT"}}, {"file_ending": ".nii.gz"}, {}])
def test_labels_of_a_decathlon_say_that_numbers_count_cases(tmp_path: Path, facts: dict[str, object]) -> None:
    for number in range(3):
        for place in ("imagesTr", "labelsTr"):
            nii(tmp_path / place / f"ct_000{number}.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    found = open_dataset(tmp_path, ("image", "label"))
    assert names(found) == ["ct_0000", "ct_0001", "ct_0002"]


@pytest.mark.parametrize("name", ["a\u2028b", "-a", "a\x85b"])
def test_i12_the_data_folder_itself_has_a_usable_name(tmp_path: Path, name: str) -> None:
    png(tmp_path / name / "a.png")
    assert refused(tmp_path / name).code == "HIL-I12"


def test_pairs(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        png(tmp_path / "images" / f"{name}.png")
    (tmp_path / "pairs.csv").write_text("fixed,moving\na, b\n")
    assert open_dataset(tmp_path).pairs == (("a", "b"),)
    (tmp_path / "pairs.csv").write_text("fixed,moving\na,zzz\n")
    assert refused(tmp_path).code == "HIL-I11"


def test_class_folders(tmp_path: Path) -> None:
    for kind in ("ill", "well"):
        png(tmp_path / kind / "a.png")
    found = open_dataset(tmp_path)
    assert found.layout == "class_folders" and names(found) == ["ill/a", "well/a"]
    assert [c.klass for c in found.cases] == ["ill", "well"] and has_role(found.cases[0], "class")


def test_a_folder_without_images_is_no_class(tmp_path: Path) -> None:
    """Of results that were written among the photographs, for example."""
    for kind in ("ill", "well"):
        png(tmp_path / kind / "a.png")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "plan.json").write_text("{}")
    found = open_dataset(tmp_path)
    assert found.layout == "class_folders" and names(found) == ["ill/a", "well/a"]
    assert found.aside == ({"what": "run", "kind": "a folder, not read"},)
    # whose images lie deeper is no folder to be passed over
    png(tmp_path / "odd" / "2021" / "a.png")
    assert refused(tmp_path).code == "HIL-DATA-02"


def test_images_beside_folders_are_the_cases_and_the_folders_are_named(tmp_path: Path) -> None:
    """Masks that were made of them lie in such folders; they were once taken for the images."""
    png(tmp_path / "a.png")
    png(tmp_path / "old_masks" / "a.png")
    found = open_dataset(tmp_path)
    assert found.layout == "flat" and names(found) == ["a"]
    assert "old_masks" in [one["what"] for one in found.aside]


def test_the_folder_where_one_stands_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    png(tmp_path / "heads" / "a.png")
    (tmp_path / "heads" / "in").mkdir()
    monkeypatch.chdir(tmp_path / "heads")
    assert open_dataset(".").name == "heads"
    monkeypatch.chdir(tmp_path / "heads" / "in")
    assert open_dataset("..").name == "heads"


@pytest.mark.parametrize("order", ["decathlon", "nnunet"])
def test_decathlon_and_nnunet(order: str, tmp_path: Path) -> None:
    ending = "_0000" if order == "nnunet" else ""
    for name in ("a", "b"):
        nii(tmp_path / "imagesTr" / f"{name}{ending}.nii.gz")
        nii(tmp_path / "labelsTr" / f"{name}.nii.gz")
    labels = {"background": 0, "liver": 1} if order == "nnunet" else {"0": "background", "1": "liver"}
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    found = open_dataset(tmp_path, ("image", "label"))
    assert found.layout == "decathlon" and names(found) == ["a", "b"] and found.settings.classes == {1: "liver"}


def test_what_nnunet_calls_ignore_is_no_class(tmp_path: Path) -> None:
    nii(tmp_path / "imagesTr" / "a_0000.nii.gz")
    nii(tmp_path / "labelsTr" / "a.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "liver": 1, "ignore": 2}}))
    found = open_dataset(tmp_path).settings
    assert found.classes == {1: "liver"} and found.ignore == 2
    # somebody's own words come first
    (tmp_path / "dataset.yaml").write_text("classes: {1: liver, 2: what nobody saw}\n")
    found = open_dataset(tmp_path).settings
    assert found.classes == {1: "liver", 2: "what nobody saw"} and found.ignore is None


def test_values_of_nnunet_may_be_written_as_text(tmp_path: Path) -> None:
    """They were passed over: liver had no name, and what nobody looked at was learned as a class."""
    nii(tmp_path / "imagesTr" / "a_0000.nii.gz")
    nii(tmp_path / "labelsTr" / "a.nii.gz")
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": {"background": "0", "liver": "1", "ignore": "2"}}))
    found = open_dataset(tmp_path).settings
    assert found.classes == {1: "liver"} and found.ignore == 2


def test_t10_decathlon_names_what_is_missing(tmp_path: Path) -> None:
    nii(tmp_path / "imagesTr" / "a_0000.nii.gz")
    assert refused(tmp_path, ("label",)).code == "HIL-T10", "no labelsTr at all"
    nii(tmp_path / "labelsTr" / "a.nii.gz")
    nii(tmp_path / "imagesTr" / "b_0000.nii.gz")
    error = refused(tmp_path, ("label",))
    assert error.code == "HIL-T10" and "b" in error.seen
    nii(tmp_path / "labelsTr" / "c.nii.gz")
    assert "'c'" in refused(tmp_path).seen
    (tmp_path / "dataset.json").write_text("{")
    assert refused(tmp_path).code == "HIL-DATA-03"


def test_kspace_files(tmp_path: Path) -> None:
    data = (RNG.normal(size=(1, 2, 8, 8)) + 0j).astype(np.complex64)
    operator = {"name": "fourier", "mask": np.ones(8, np.float32)}
    (tmp_path / "kspace").mkdir()
    kspace.write(tmp_path / "kspace" / "a.h5", Measurement(data, ("slice", "coil", "ky", "kx"), operator))
    for folder in (tmp_path, tmp_path / "kspace", tmp_path / "kspace" / "a.h5"):
        found = open_dataset(folder)
        assert found.layout == "kspace_files" and names(found) == ["a"]
    assert isinstance(found.cases[0].read("kspace"), Measurement)


def test_kspace_files_by_any_ending_that_is_read(tmp_path: Path) -> None:
    data = (RNG.normal(size=(1, 2, 8, 8)) + 0j).astype(np.complex64)
    for name in ("a.h5", "b.hdf5", "C.H5"):
        kspace.write(tmp_path / name, Measurement(data, ("slice", "coil", "ky", "kx"), {"name": "fourier"}))
    with h5py.File(tmp_path / "d.mrd", "w") as file:
        # enough to be known by; no scan that could be read
        file["dataset/xml"], file["dataset/data"] = [b"<ismrmrdHeader/>"], [0]
    (tmp_path / "notes.txt").write_text("not an image")
    found = open_dataset(tmp_path)
    assert found.layout == "kspace_files" and names(found) == ["C", "a", "b", "d"]
    assert found.case("d").items["kspace"].format == "ismrmrd"
    assert all(isinstance(found.case(name).read("kspace"), Measurement) for name in ("a", "b", "C"))
    (tmp_path / "a.h5").rename(tmp_path / "b.h5")
    assert refused(tmp_path).code == "HIL-DATA-04"


def test_table(tmp_path: Path) -> None:
    for name in ("a", "b"):
        png(tmp_path / f"{name}.png")
    path = tmp_path / "cases.csv"
    path.write_text("image,class,patient,split,site\na.png,ill,p1,train,x\nb.png,well,p2,test,y\n")
    found = open_dataset(path)
    assert found.layout == "table" and names(found) == ["a", "b"]
    assert found.parts == {"a": "train", "b": "test"} and [c.group for c in found.cases] == ["p1", "p2"]
    assert found.cases[0].klass == "ill" and found.cases[0].attributes == {"site": "x"}


def test_a_table_with_readings_of_several_raters(tmp_path: Path) -> None:
    for name in ("a", "b", "a_anna", "a_ben", "b_anna"):
        png(tmp_path / "files" / f"{name}.png", 1)
    path = tmp_path / "cases.tsv"
    rows = [
        ["case", "image", "label@anna", "label@ben", "patient", "split", "site", "rater", "class", "fold", "device"],
        ["one", "files/a.png", "files/a_anna.png", "files/a_ben.png", "p1", "train", "x", "anna", "ill", "3", "D1"],
        ["two", "files/b.png", "files/b_anna.png", "", "p2", "", "y", "", "", "1", ""],
    ]
    path.write_text("\n".join("\t".join(row) for row in rows))
    one, two = open_dataset(path).cases
    assert set(one.items) == {"image", "label@anna", "label@ben"} and set(two.items) == {"image", "label@anna"}
    assert one.attributes == {"site": "x", "rater": "anna", "fold": "3", "device": "D1"}
    assert (one.klass, one.group) == ("ill", "p1") and two.klass is None and two.attributes["fold"] == "1"
    assert one.read("label@ben").shape == (8, 9) and open_dataset(path).parts == {"one": "train"}
    path.write_text("image\tlabel@\nfiles/a.png\tfiles/b.png\n")
    assert refused(path).code == "HIL-I11" and "names no rater" in refused(path).seen


def test_the_case_is_called_like_its_file(tmp_path: Path) -> None:
    png(tmp_path / "a.b.png")
    nii(tmp_path / "two words.nii.gz")
    (tmp_path / "cases.csv").write_text("image\na.b.png\ntwo words.nii.gz\n")
    assert names(open_dataset(tmp_path / "cases.csv")) == ["a.b", "two words"]


def test_a_folder_that_a_table_names_is_called_alike_wherever_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From elsewhere its name ended before the last dot, and two series of a study were one case."""
    volume = Image(RNG.integers(0, 99, (1, 4, 5, 3)).astype(np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    for name in ("1.2.840", "1.2.841"):
        dicom.write_series(tmp_path / "scans" / name, volume, {"Modality": "MR"})
    (tmp_path / "t.csv").write_text("image\nscans/1.2.840\nscans/1.2.841\n")
    for place, path in ((tmp_path, "t.csv"), (tmp_path / "scans", "../t.csv"), (Path("/"), str(tmp_path / "t.csv"))):
        monkeypatch.chdir(place)
        assert names(open_dataset(path)) == ["1.2.840", "1.2.841"]


def test_i11_raw_data_and_images_stand_in_their_own_columns(tmp_path: Path) -> None:
    """Training ended in a traceback."""
    data = (RNG.normal(size=(1, 2, 8, 8)) + 0j).astype(np.complex64)
    kspace.write(tmp_path / "a.h5", Measurement(data, ("slice", "coil", "ky", "kx"), {"name": "fourier"}))
    png(tmp_path / "b.png")
    path = tmp_path / "t.csv"
    path.write_text("case,kspace,image\n1,a.h5,\n2,,b.png\n")
    assert names(open_dataset(path)) == ["1", "2"]
    path.write_text("case,kspace,image\n1,,a.h5\n2,b.png,\n")
    error = refused(path)
    assert error.code == "HIL-I11" and "line 2: image: " in error.seen and "a.h5 is raw data" in error.seen
    assert "line 3: kspace: " in error.seen and "b.png is an image, and no raw data" in error.seen


def test_the_case_is_called_without_the_longest_known_ending(tmp_path: Path) -> None:
    """The label of a.hdr.gz had to be called a.hdr."""
    told = {"a.hdr.gz": "a", "a.NII.GZ": "a", "a.nii": "a", "a.b.png": "a.b", "a.xyz": "a", "a": "a", "1.2.DCM": "1.2"}
    assert {name: stem(Path(name)) for name in told} == told
    nii(tmp_path / "labels" / "a.nii.gz")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.hdr.gz").write_bytes(b"")
    (case,) = open_dataset(tmp_path).cases
    assert case.id == "a" and {"image", "label"} <= case.items.keys()


def test_i11_every_bad_row_of_a_table_is_listed(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    path = tmp_path / "cases.csv"
    path.write_text("image\na.png\nx.png\na.png\ny.png\n")
    error = refused(path)
    assert error.code == "HIL-I11"
    for words in ("line 3", "line 4", "line 5"):
        assert words in error.seen
    assert "3 faults" in error.seen and "is missing" in error.seen and "again, as in line 2" in error.seen
    path.write_text("image\n" + "x.png\n" * 9)
    assert "(and 12 more)" in refused(path).seen
    path.write_text("picture\na.png\n")
    assert refused(path).code == "HIL-I11"
    path.write_text("")
    assert refused(path).code == "HIL-I11"


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("one,../missing.png", "is missing"), ("one,/etc/passwd", "HIL-IO-01"), ("one,link.png", "HIL-I12"),
        ("one,pipe.png", "pipe"), ("one,", "no file"), ("one,a.png,x", "3 cells"), ("=one,a.png", "formula"),
        ("../one,a.png", "'..'"), ("/one,a.png", "''"), ("CASE,a.png", "again, as in line 2"),
        ("one,note.txt", "HIL-IO-01"), ("one,sub", "HIL-IO-01"), ("one,cases.csv", "is a table"),
    ],
)  # fmt: skip
def test_i11_paths_and_names_in_a_table_are_checked(tmp_path: Path, cells: str, words: str) -> None:
    folder = tmp_path / "data"
    png(tmp_path / "a.png")
    png(folder / "a.png")
    (folder / "sub").mkdir()
    (folder / "note.txt").write_text("no picture")
    (folder / "link.png").symlink_to(tmp_path / "a.png")
    os.mkfifo(folder / "pipe.png")
    path = folder / "cases.csv"
    path.write_text(f"case,image\ncase,a.png\n{cells}\n")
    error = refused(path)
    assert error.code == "HIL-I11" and "line 3" in error.seen and words in error.seen


def test_a_path_that_says_that_it_leads_elsewhere_is_followed(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "cases.csv"
    path.write_text(f"case,image\none,../a.png\ntwo,{tmp_path / 'a.png'}\n")
    assert [case.read("image").shape for case in open_dataset(path).cases] == [(8, 9)] * 2


def test_i11_the_same_table_in_another_form_gives_the_same_cases(tmp_path: Path) -> None:
    for name in ("a", "e\u0301"):
        png(tmp_path / f"{name}.png")
    path = tmp_path / "cases.csv"
    text = "image{0}site\na.png{0}x \n\u00e9.png{0} y\n"
    seen = []
    for form, encoding in ((",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-16")):
        path.write_bytes(text.format(form).encode(encoding))
        seen.append([(c.id, c.attributes, c.read("image").array.tobytes()) for c in open_dataset(path).cases])
    assert seen[0] == seen[1] == seen[2] and [row[0] for row in seen[0]] == ["a", "\u00e9"]
    path.write_bytes(text.format(",").encode("latin-1"))
    assert "line 3" in refused(path).seen


def test_i12_image_and_label_in_two_unicode_forms_belong_together(tmp_path: Path) -> None:
    png(tmp_path / "images" / "Gro\u0308sse e\u0301 \u5199.png")
    png(tmp_path / "labels" / "Gr\u00f6sse \u00e9 \u5199.png", 1)
    found = open_dataset(tmp_path, ("image", "label"))
    assert names(found) == ["Gr\u00f6sse \u00e9 \u5199"] and found.cases[0].read("label").shape == (8, 9)


def test_i12_a_class_is_called_by_one_unicode_form_and_by_one_name(tmp_path: Path) -> None:
    png(tmp_path / "Entzu\u0308ndung" / "a.png")
    png(tmp_path / "gesund" / "b.png")
    found = open_dataset(tmp_path)
    assert [c.klass for c in found.cases] == ["Entz\u00fcndung", "gesund"]
    assert names(found) == ["Entz\u00fcndung/a", "gesund/b"]
    png(tmp_path / "Gesund" / "c.png")
    if len([p for p in tmp_path.iterdir() if p.is_dir()]) < 3:
        pytest.skip("this file system takes the two names for one")
    assert refused(tmp_path).code == "HIL-I12"


@pytest.mark.parametrize(("one", "other"), [("A.png", "a.png"), ("a.PNG", "a.png"), ("e\u0301.png", "\u00e9.png")])
def test_i12_names_that_differ_only_by_case_or_form_are_refused(tmp_path: Path, one: str, other: str) -> None:
    png(tmp_path / "images" / "z.png")
    for name in (one, other):
        (tmp_path / "images" / name).write_bytes((tmp_path / "images" / "z.png").read_bytes())
    if len(list((tmp_path / "images").iterdir())) < 3:
        pytest.skip("this file system takes the two names for one")
    assert refused(tmp_path).code == "HIL-I12"


@pytest.mark.parametrize("name", ["a\nb.png", "a\x1bb.png", "-a.png", "x" * 251 + ".png", "a\u202eb.png"])
def test_i12_unsafe_names_are_refused_where_files_are_listed(tmp_path: Path, name: str) -> None:
    png(tmp_path / "images" / "good.png")
    (tmp_path / "images" / name).write_bytes((tmp_path / "images" / "good.png").read_bytes())
    assert refused(tmp_path).code == "HIL-I12"


@pytest.mark.parametrize("kind", ["link out", "lost link", "pipe", "folder"])
def test_i12_what_is_no_file_of_this_folder_is_refused(tmp_path: Path, kind: str) -> None:
    inside, path = tmp_path / "data" / "images", tmp_path / "data" / "images" / "a.png"
    png(inside / "good.png")
    if kind == "link out":
        path.symlink_to(png(tmp_path / "outside.png"))
    elif kind == "lost link":
        path.symlink_to("nowhere.png")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    error = refused(tmp_path / "data")
    assert error.code == "HIL-I12" and "a.png" in error.seen


def test_i12_a_link_inside_the_folder_is_followed(tmp_path: Path) -> None:
    png(tmp_path / "images" / "a.png")
    (tmp_path / "images" / "b.png").symlink_to("a.png")
    assert names(open_dataset(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize("place", ["images/b.png", "imagesTr/b.png", "well/b.png", "images"])
def test_i12_a_link_may_lead_elsewhere_in_the_data_folder(tmp_path: Path, place: str) -> None:
    """Beside images/ it was taken for one out of the data."""
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / place
    if place == "images":
        # the whole folder may lie on another disk
        path.symlink_to(png(tmp_path / "disk" / "b.png").parent)
    else:
        path.parent.mkdir()
        path.symlink_to(png(tmp_path / "data" / "_raw" / "b.png"))
    assert names(open_dataset(tmp_path / "data")) == ["well/b" if "well" in place else "b"]
    if place != "images":
        path.unlink()
        path.symlink_to(png(tmp_path / "outside.png"))
        error = refused(tmp_path / "data")
        assert error.code == "HIL-I12" and "out of" in error.seen


@pytest.mark.parametrize("name", ["cases.csv", "boxes.csv", "pairs.csv"])
def test_i11_a_table_that_is_no_text_is_refused(name: str, tmp_path: Path) -> None:
    png(tmp_path / "images" / "a.png")
    (tmp_path / name).write_bytes(b"image\n\xff\xfe\x00\n")
    assert refused(tmp_path / name if name == "cases.csv" else tmp_path).code == "HIL-I11"


def test_wrong_paths_and_empty_folders_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "nothing").code == "HIL-DATA-01"
    assert refused(tmp_path).code == "HIL-DATA-02"
    (tmp_path / "images").mkdir()
    assert refused(tmp_path).code == "HIL-DATA-02"
    (tmp_path / "note.txt").write_text("x")
    assert refused(tmp_path / "note.txt").code == "HIL-DATA-02"


def test_files_counted_from_one_are_cases(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        png(tmp_path / f"img_{number:04d}.png")
    assert names(open_dataset(tmp_path)) == ["img_0001", "img_0002", "img_0003"]


def test_numbered_files_are_channels_of_one_case(tmp_path: Path) -> None:
    for case in ("a", "b"):
        for channel in range(2):
            image = Image(np.full((1, 4, 5, 6), channel, np.float32), np.eye(4))
            nifti.write(tmp_path / f"{case}_{channel:04d}.nii.gz", image)
    dataset = open_dataset(tmp_path)
    assert [c.id for c in dataset.cases] == ["a", "b"]
    image = dataset.case("a").read("image")
    assert image.array[:, 0, 0, 0].tolist() == [0, 1] and image.meta["channel_files"] == 2
    shifted = np.diag([1.0, 1, 1, 1])
    shifted[0, 3] = 2
    nifti.write(tmp_path / "b_0002.nii.gz", Image(np.zeros((1, 4, 5, 6), np.float32), shifted))
    with pytest.raises(HilumError, match="HIL-N14"):
        open_dataset(tmp_path).case("b").read("image")


def film(folder: Path, *prefixes: str) -> list[str]:
    """Three pictures under each name, counted from zero; the names of the files."""
    files = [f"{prefix}_{n:04d}" for prefix in prefixes or ("scan",) for n in range(3)]
    for name in files:
        png(folder / f"{name}.png")
    return files


def test_numbered_files_of_one_name_alone_are_cases(tmp_path: Path) -> None:
    """The frames of a film once became the channels of one case, and a grey network took their mean."""
    frames = film(tmp_path / "flat")
    assert frames[0] == "scan_0000" and names(open_dataset(tmp_path / "flat")) == frames
    # a model says how many it takes
    assert names(open_dataset(tmp_path / "flat", channels=["a", "b", "c"])) == ["scan"]
    assert names(open_dataset(tmp_path / "flat", channels=["a"])) == frames
    images = film(tmp_path / "set" / "images")
    assert names(open_dataset(tmp_path / "set")) == images
    for name in images:
        png(tmp_path / "set" / "labels" / f"{name}.png", 1)
    found = open_dataset(tmp_path / "set", ("image", "label"))
    assert names(found) == images and found.cases[1].read("image").array.shape[0] == 1


@pytest.mark.parametrize("sign", ["imagesTs", "dataset.json", "json beside", "channels"])
def test_numbered_files_of_one_name_are_channels_where_something_says_so(tmp_path: Path, sign: str) -> None:
    folder = tmp_path / ("imagesTs" if sign == "imagesTs" else "scans")
    film(folder)
    if "json" in sign:
        (tmp_path / ("dataset.json" if "beside" in sign else "scans/dataset.json")).write_text("{}")
    if sign == "channels":
        (folder / "dataset.yaml").write_text("channels: [a, b, c]\n")
    (case,) = open_dataset(folder).cases
    assert case.id == "scan" and case.read("image").array.shape[0] == 3


@pytest.mark.parametrize("place", ["labels", "labels@anna"])
def test_labels_say_what_numbered_files_are(tmp_path: Path, place: str) -> None:
    film(tmp_path / "one" / "images")
    png(tmp_path / "one" / place / "scan.png", 1)
    assert names(open_dataset(tmp_path / "one")) == ["scan"]
    files = film(tmp_path / "two" / "images", "a", "b")
    assert names(open_dataset(tmp_path / "two")) == ["a", "b"]
    for name in files:
        png(tmp_path / "two" / place / f"{name}.png", 1)
    assert names(open_dataset(tmp_path / "two")) == files


def stray(folder: Path, path: Path) -> None:
    """One slice of a series that is made elsewhere."""
    volume = Image(RNG.integers(0, 99, (1, 4, 5, 3)).astype(np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    dicom.write_series(folder, volume, {"Modality": "MR"})
    min(folder.iterdir()).rename(path)


def test_a_stray_dicom_file_hides_no_pictures(tmp_path: Path) -> None:
    """It made a series of its folder, and all pictures beside it were passed over."""
    for kind in ("ill", "well"):
        for name in "abc":
            png(tmp_path / "d" / kind / f"{name}.png")
    stray(tmp_path / "s", tmp_path / "d" / "ill" / "stray.dcm")
    found = open_dataset(tmp_path / "d")
    assert found.layout == "class_folders" and len(found.cases) == 7 and "ill/stray" in names(found)
    assert names(open_dataset(tmp_path / "d" / "ill")) == ["a", "b", "c", "stray"]


def test_one_picture_beside_class_folders_does_not_hide_them(tmp_path: Path) -> None:
    for kind in ("ill", "well"):
        for name in ("c1", "c2"):
            png(tmp_path / kind / f"{name}.png")
    png(tmp_path / "chart.png")
    error = refused(tmp_path)
    assert error.code == "HIL-DATA-10" and "chart" in error.seen
    assert "`layout: class_folders`" in error.remedy and "`layout: flat`" in error.remedy
    (tmp_path / "dataset.yaml").write_text("layout: class_folders\n")
    found = open_dataset(tmp_path)
    assert names(found) == ["ill/c1", "ill/c2", "well/c1", "well/c2"]
    assert left_aside(found) == ["Images that lie beside the cases are not read: chart.png"]
    (tmp_path / "dataset.yaml").write_text("layout: flat\n")
    found = open_dataset(tmp_path)
    assert names(found) == ["chart"] and left_aside(found)[0].endswith("not read: ill, well")


def test_what_was_made_of_images_does_not_make_them_class_folders(tmp_path: Path) -> None:
    for name in ("a1", "a2", "b"):
        png(tmp_path / f"{name}.png")
    for made in ("a1_mask", "a1_heat", "a2", "a2-old", "more", "a10"):
        png(tmp_path / "made" / f"{made}.png")
    assert names(open_dataset(tmp_path)) == ["a1", "a2", "b"]
    (tmp_path / "made" / "a2.png").unlink()
    (tmp_path / "made" / "a2-old.png").rename(tmp_path / "made" / "a22.png")
    assert refused(tmp_path).code == "HIL-DATA-10", "a10 and a22 are other names"


def test_channels_say_together_how_large_they_are(tmp_path: Path) -> None:
    files = [nii(tmp_path / f"a_000{number}.nii.gz") for number in (0, 1)]
    both = Channels(tuple(open_path(file) for file in files))
    told, seen = both.extent(), both.read()
    assert told is not None and (told.shape, told.size) == (seen.array.shape, seen.array.nbytes)
    assert told.beside == seen.array.nbytes // 2, "one file, which joins the other"
    nifti.write(tmp_path / "c.nii.gz", Image(np.ones((1, 4, 5, 6), np.float32), np.eye(4)))
    mixed = Channels((*both.sources, open_path(tmp_path / "c.nii.gz")))
    told, seen = mixed.extent(), mixed.read()
    assert told is not None and (told.shape, told.size) == (seen.array.shape, seen.array.nbytes)
    assert Channels((*both.sources, open_path(png(tmp_path / "b.png")))).extent() is None


class Once:
    """A file that is in memory as long as somebody holds what it gave."""

    def __init__(self, array: Any, held: list[Any]) -> None:
        self.array, self.held = array, held

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
        assert all(one() is None for one in self.held), "the files before are held still"
        array = self.array.copy(order="K")
        self.held.append(weakref.ref(array))
        return Image(array, np.eye(4), (f"warning {array.dtype}",))


@pytest.mark.parametrize(
    "kinds", [["int16"] * 3, ["int16", "float32", "int16"], ["uint8", "int16", "uint16"]], ids=["alike", "two", "three"]
)
@pytest.mark.parametrize("channels", [(1, 1, 1), (3, 1, 2), (1, 3, 1)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_channels_are_joined_one_by_one(order: Any, channels: tuple[int, ...], kinds: list[str]) -> None:
    """All files were held, and what they were joined into beside them: twice the image."""
    given = [
        np.stack([np.asarray(RNG.integers(0, 99, (4, 5, 6)), dtype=kind, order=order)] * count)
        for count, kind in zip(channels, kinds, strict=True)
    ]
    if max(channels) == 1:
        # as a volume is read
        given = [array[0][None] for array in given]
    held: list[Any] = []
    found = Channels(tuple(Once(array, held) for array in given)).read()
    wanted = np.concatenate(given)
    np.testing.assert_array_equal(found.array, wanted)
    assert len(held) == 3 and found.array.dtype == wanted.dtype and found.meta["channel_files"] == 3
    assert found.warnings == tuple(dict.fromkeys(f"warning {kind}" for kind in kinds))
    if max(channels) == 1:
        assert found.array.strides == wanted.strides, "and lie in memory as they did"


@pytest.mark.skipif(sys.platform == "darwin", reason="names are unicode there")
def test_what_lies_beside_the_cases_is_named_in_plain_text_and_still_looked_into(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    png(tmp_path / "more" / "b.png")
    (tmp_path / "more").rename(os.fsdecode(bytes(tmp_path) + b"/M\xfcller"))
    (tmp_path / "x\x1b[2J.txt").write_text("x")
    found = open_dataset(tmp_path)
    assert [one["what"] for one in found.aside] == ["M\\xfcller", "x\\x1b[2J.txt"]
    assert left_aside(found) == ["Images that lie beside the cases are not read: M\\xfcller"]


def test_i11_a_table_may_name_files_and_cases_that_begin_with_a_plus(tmp_path: Path) -> None:
    """A folder took such a file for a case, and its table was refused for it."""
    for name in ("+C AX T1", "b"):
        png(tmp_path / "d" / "images" / f"{name}.png")
    (tmp_path / "d" / "cases.csv").write_text("case,patient\n+C AX T1,p1\nb,p2\n")
    (tmp_path / "d" / "pairs.csv").write_text("fixed,moving\n+C AX T1,b\n")
    found = open_dataset(tmp_path / "d")
    assert {c.id: c.group for c in found.cases} == {"+C AX T1": "p1", "b": "p2"} and found.pairs == (("+C AX T1", "b"),)
    png(tmp_path / "+more" / "+1+1.png")
    (tmp_path / "list.csv").write_text("case,image,label@anna\n+one,+more/+1+1.png,+more/+1+1.png\n")
    (case,) = open_dataset(tmp_path / "list.csv").cases
    assert case.id == "+one" and case.read("label@anna").shape == (8, 9)
    runs = ("+cmd|' /C calc'!A0", "+WEBSERVICE(A1)")
    for rows in (*(f"case,image\n{name},+more/+1+1.png\n" for name in runs), "image,note\n+more/+1+1.png,+1+1\n"):
        (tmp_path / "list.csv").write_text(rows)
        assert "is a formula" in refused(tmp_path / "list.csv").seen


def test_i11_files_of_one_name_in_a_table_want_a_column_case(tmp_path: Path) -> None:
    """Patients in folders of their own, as most archives are: no row of such a table can be mended without it."""
    for name in ("p1", "p2"):
        png(tmp_path / name / "t1.png")
    path = tmp_path / "cases.csv"
    path.write_text("image\np1/t1.png\np2/t1.png\n")
    assert "case 't1' again, as in line 2; files of one name" in refused(path).seen
    assert "a column `case`" in refused(path).seen
    path.write_text("case,image\nt1,p1/t1.png\nt1,p2/t1.png\n")
    assert refused(path).seen.endswith("case 't1' again, as in line 2")


def test_t10_pairs_in_a_table_are_to_be_listed_in_pairs_csv(tmp_path: Path) -> None:
    """To add the missing image helps nobody whose images stand under fixed and moving."""
    for name in ("a", "b"):
        png(tmp_path / f"{name}.png")
    path = tmp_path / "cases.csv"
    path.write_text("case,fixed,moving\none,a.png,b.png\n")
    with pytest.raises(HilumError) as error:
        open_dataset(path, ["image"])
    assert error.value.code == "HIL-T10" and "pairs.csv" in error.value.remedy and "images/" in error.value.remedy
