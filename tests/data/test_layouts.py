"""Every way a folder can be laid out, on a tiny folder; and what is wrong in it is named."""

import json
from pathlib import Path

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Image, Measurement
from hilum.data.dataset import Dataset, has_role, open_dataset
from hilum.io import dicom, kspace, nifti, raster

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
    assert found.settings.classes == {1: "ape", 2: "zebra"}
    boxes = found.case("a").boxes
    assert boxes is not None
    np.testing.assert_array_equal(boxes, [[2, 0, 1, 3, 4], [1, 2.5, 2, 7, 8]])
    empty = found.case("b").boxes
    assert empty is not None and empty.size == 0 and has_role(found.case("b"), "boxes")
    for row in ("c,ape,0,0,1,1\n", "a,ape,0,0,x,1\n", "a,ape,5,0,5,1\n"):
        (tmp_path / "boxes.csv").write_text(head + row)
        error = refused(tmp_path)
        assert error.code == "HIL-I11" and "line 2" in error.seen
    (tmp_path / "boxes.csv").write_text("case,class\n")
    assert refused(tmp_path).code == "HIL-I11"


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
    for folder in (tmp_path, tmp_path / "kspace"):
        found = open_dataset(folder)
        assert found.layout == "kspace_files" and names(found) == ["a"]
    assert isinstance(found.cases[0].read("kspace"), Measurement)


def test_table(tmp_path: Path) -> None:
    for name in ("a", "b"):
        png(tmp_path / f"{name}.png")
    path = tmp_path / "cases.csv"
    path.write_text("image,class,patient,split,site\na.png,ill,p1,train,x\nb.png,well,p2,test,y\n")
    found = open_dataset(path)
    assert found.layout == "table" and names(found) == ["a", "b"]
    assert found.parts == {"a": "train", "b": "test"} and [c.group for c in found.cases] == ["p1", "p2"]
    assert found.cases[0].klass == "ill" and found.cases[0].attributes == {"site": "x"}


def test_i11_every_bad_row_of_a_table_is_listed(tmp_path: Path) -> None:
    png(tmp_path / "a.png")
    path = tmp_path / "cases.csv"
    path.write_text("image\na.png\nx.png\na.png\ny.png\n")
    error = refused(path)
    assert error.code == "HIL-I11"
    for words in ("line 3", "line 4", "line 5"):
        assert words in error.seen
    path.write_text("picture\na.png\n")
    assert refused(path).code == "HIL-I11"
    path.write_text("")
    assert refused(path).code == "HIL-I11"


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


def test_numbered_files_are_channels_of_one_case(tmp_path: Path) -> None:
    for case in ("a", "b"):
        for channel in range(2):
            image = Image(np.full((1, 4, 5, 6), channel, np.float32), np.eye(4))
            nifti.write(tmp_path / f"{case}_{channel:04d}.nii.gz", image)
    dataset = open_dataset(tmp_path)
    assert [c.id for c in dataset.cases] == ["a", "b"]
    assert dataset.case("a").read("image").array[:, 0, 0, 0].tolist() == [0, 1]
    shifted = np.diag([1.0, 1, 1, 1])
    shifted[0, 3] = 2
    nifti.write(tmp_path / "b_0002.nii.gz", Image(np.zeros((1, 4, 5, 6), np.float32), shifted))
    with pytest.raises(HilumError, match="HIL-N14"):
        open_dataset(tmp_path).case("b").read("image")
