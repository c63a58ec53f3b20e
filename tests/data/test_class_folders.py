"""What looks like folders of classes and is none: masks beside the images, a folder for each patient."""

import os
from pathlib import Path

import nibabel
import numpy as np
import pytest

from hilum.core.image import Image
from hilum.data.dataset import left_aside, open_dataset
from hilum.io import dicom
from hilum.verbs.inspect import inspect
from tests.data.test_layouts import names, nii, png, refused


def test_masks_beside_images_are_not_learned_as_images(tmp_path: Path) -> None:
    """BUSI as it is published: every mask was one more image of its class."""
    for klass in ("benign", "normal"):
        for name in (f"{klass} (1)", f"{klass} (1)_mask", f"{klass} (1)_mask_1", f"{klass} (2)"):
            png(tmp_path / klass / f"{name}.png")
    assert len(open_dataset(tmp_path).cases) == 8, "who asks for no class gets all"
    error = refused(tmp_path, ("class",))
    assert error.code == "HIL-DATA-10" and "4 images" in error.seen and "benign (1)_mask" in error.seen
    (tmp_path / "dataset.yaml").write_text("layout: class_folders\n")
    assert len(open_dataset(tmp_path, ("class",)).cases) == 8, "who says so is believed"


def test_names_with_mask_in_them_and_no_image_of_the_rest_are_images(tmp_path: Path) -> None:
    for klass in ("face", "other"):
        png(tmp_path / klass / "with_mask.png")
        png(tmp_path / klass / "seg_7.png")
    assert len(open_dataset(tmp_path, ("class",)).cases) == 4


def test_a_folder_for_each_patient_is_no_class(tmp_path: Path) -> None:
    """BraTS: as many classes as patients were learned, of their own segmentations too."""
    for n in range(3):
        for what in ("flair", "t1", "seg"):
            nii(tmp_path / f"BraTS_{n}" / f"BraTS_{n}_{what}.nii.gz")
    assert len(open_dataset(tmp_path).cases) == 9
    assert any("HIL-DATA-10" in words for words in inspect(tmp_path)["remarks"])
    error = refused(tmp_path, ("class",))
    assert error.code == "HIL-DATA-10" and "_flair, _seg, _t1" in error.seen and "CSV" in str(error)


@pytest.mark.parametrize("name", ["{0} ({1})", "{0}-{1}", "{0}_image{1}"])
def test_images_called_like_their_class_and_a_number_are_of_a_class(tmp_path: Path, name: str) -> None:
    for klass in ("benign", "malignant"):
        for number in range(9):
            png(tmp_path / klass / f"{name.format(klass, number)}.png")
    assert {c.klass for c in open_dataset(tmp_path, ("class",)).cases} == {"benign", "malignant"}


def test_bids_is_told_where_its_images_lie(tmp_path: Path) -> None:
    nii(tmp_path / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    error = refused(tmp_path)
    assert error.code == "HIL-DATA-02" and "sub-01/anat" in error.seen and "CSV" in str(error)


def test_folders_deeper_among_the_images_are_named(tmp_path: Path) -> None:
    """Two hundred images of a second site in a folder of their own were gone without a word."""
    for klass in ("glioma", "none"):
        png(tmp_path / klass / "a.png")
    png(tmp_path / "glioma" / "site2" / "b.png")
    (tmp_path / "none" / "notes").mkdir()
    found = open_dataset(tmp_path)
    assert names(found) == ["glioma/a", "none/a"]
    assert found.aside == ({"what": str(Path("glioma/site2")), "kind": "a folder, not read"},)
    assert "site2" in left_aside(found)[0]


def test_files_of_unknown_endings_among_the_images_are_named(tmp_path: Path) -> None:
    """Forty images of a class were gone without a word."""
    for klass in ("benign", "malignant"):
        png(tmp_path / klass / "a.png")
    for name in ("b.jfif", "about.txt", ".hidden"):
        (tmp_path / "benign" / name).write_bytes(b"x")
    found = open_dataset(tmp_path)
    assert names(found) == ["benign/a", "malignant/a"]
    assert found.aside == ({"what": str(Path("benign/b.jfif")), "kind": "a file, not read"},)


def test_a_dicom_file_without_an_extension_in_a_class_is_named(tmp_path: Path) -> None:
    for klass in ("benign", "malignant"):
        volume = Image(np.full((1, 5, 6, 4), len(klass), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
        dicom.write_series(tmp_path / klass, volume, {"Modality": "MR"})
    file = min((tmp_path / "benign").iterdir())
    file.rename(file.with_name("IM1"))
    (tmp_path / "dataset.yaml").write_text("layout: class_folders\n")
    found = open_dataset(tmp_path, ("class",))
    assert len(found.cases) == 7 and [one["what"] for one in found.aside] == [str(Path("benign/IM1"))]


def test_voxels_beside_their_header_are_read_and_not_named(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    pair = nibabel.Nifti1Pair(np.zeros((3, 4, 5), np.int16), np.eye(4))
    nibabel.save(pair, tmp_path / "images" / "a.hdr")
    found = open_dataset(tmp_path)
    assert len(list((tmp_path / "images").iterdir())) == 2 and names(found) == ["a"] and not found.aside
    (tmp_path / "images" / "b.img").write_bytes(b"x")
    assert [one["what"] for one in open_dataset(tmp_path).aside] == [str(Path("images/b.img"))]


def test_classes_of_dicom_have_a_way_out(tmp_path: Path) -> None:
    for klass in ("benign", "malignant"):
        volume = Image(np.full((1, 5, 6, 4), len(klass), np.int16), np.diag([-1.0, -1.0, 1.0, 1.0]))
        dicom.write_series(tmp_path / klass, volume, {"Modality": "MR"})
    error = refused(tmp_path, ("image", "class"))
    assert error.code == "HIL-T10" and "layout: class_folders" in str(error)
    (tmp_path / "dataset.yaml").write_text("layout: class_folders\n")
    assert {c.klass for c in open_dataset(tmp_path, ("class",)).cases} == {"benign", "malignant"}


@pytest.mark.parametrize("name", ["=HYPERLINK(x)", "a\x1b[2J", "a\nb"])
def test_i12_a_class_has_a_usable_name(tmp_path: Path, name: str) -> None:
    """Cases are called by it: a formula stood in worklist.csv, and a name that is no text ended in a traceback."""
    png(tmp_path / name / "a.png")
    png(tmp_path / "other" / "a.png")
    assert refused(tmp_path).code == "HIL-I12"


def test_i12_a_class_in_another_encoding_is_refused(tmp_path: Path) -> None:
    png(tmp_path / "malin" / "a.png")
    os.rename(tmp_path / "malin", os.fsencode(tmp_path) + b"/malin\xe9")
    assert refused(tmp_path).code == "HIL-I12"
