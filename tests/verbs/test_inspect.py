"""inspect: every case with its problems and remedies, as a table, as JSON and as a page that stands alone."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Image
from hilum.io import dicom, nifti, raster
from hilum.verbs import _sheet
from hilum.verbs import inspect as verb
from hilum.verbs.inspect import inspect

AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])


def volume(seed: int) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (20, 18, 12)], indexing="ij"))
    centre = np.random.default_rng(seed).uniform(-0.3, 0.3, (3, 1, 1, 1))
    ball = ((grid - centre) ** 2).sum(axis=0) < 0.2
    return ball.astype(np.int32)


def test_n17_labels_are_compared_evenly_over_the_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        raster.write(tmp_path / "images" / f"c{number}.png", Image(np.full((1, 8, 9), number, np.uint8)))
        raster.write(tmp_path / "labels" / f"c{number}.png", Mask(np.ones((8, 9), np.uint8), {1: "x"}))
    seen: list[str] = []
    monkeypatch.setattr(verb.placement, "CASES", 3)
    monkeypatch.setattr(verb.placement, "fit", lambda name, *_: seen.append(name))
    inspect(tmp_path)
    assert seen == ["c0", "c4", "c8"]


def test_cases_without_a_label_beside_others_are_named_before_another_task_is_offered(tmp_path: Path) -> None:
    for number in range(4):
        raster.write(tmp_path / "images" / f"c{number}.png", Image(np.full((1, 8, 9), number, np.uint8)))
    raster.write(tmp_path / "labels" / "c1.png", Mask(np.ones((8, 9), np.uint8), {1: "x"}))
    found = inspect(tmp_path)
    assert found["lacking"] == ["c0", "c2", "c3"] and any("3 of 4 cases have no label" in r for r in found["remarks"])
    assert "segment" not in found["tasks"]


def test_images_are_looked_at_wherever_their_column_stands(tmp_path: Path) -> None:
    lines = ["case,label,image"]
    for number in range(3):
        image = np.random.default_rng(number).integers(0, 99, (1, 32, 32)).astype(np.uint8)
        raster.write(tmp_path / f"i{number}.png", Image(image))
        raster.write(tmp_path / f"l{number}.png", Mask(np.full((32, 32), 7 * (number > 0), np.uint8), {7: "x"}))
        lines.append(f"c{number},l{number}.png,i{number}.png")
    (tmp_path / "cases.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "i1.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = inspect(tmp_path / "cases.csv")
    assert [p["case"] for p in found["problems"]] == ["c1"] and not found["look_alikes"]
    assert [row["value"] for row in found["labels"]["values"]] == [0, 7]


def test_both_images_of_a_pair_are_read(tmp_path: Path) -> None:
    for name in ("a", "b"):
        raster.write(tmp_path / f"{name}.png", Image(np.arange(1024, dtype=np.uint8).reshape(1, 32, 32)))
    (tmp_path / "c.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "cases.csv").write_text("case,moving,fixed\none,c.png,a.png\ntwo,b.png,a.png\n")
    assert [p["case"] for p in inspect(tmp_path / "cases.csv")["problems"]] == ["one"]


def test_n15_an_inverted_validity_mask_is_named_and_a_right_one_is_not(tmp_path: Path) -> None:
    """A label may cross the edge of a right one, and an image without any object has no label on either side."""
    inside, label = np.zeros((24, 24), np.uint8), np.zeros((24, 24), np.uint8)
    inside[4:20, 4:20], label[8:12, 8:12] = 255, 1
    crossing = label.copy()
    crossing[8:12, :8] = 1
    given = {
        "crossing": (crossing, inside), "empty": (label * 0, 255 - inside), "inverted": (label, 255 - inside),
        "right": (label, inside),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    for name, (objects, valid) in given.items():
        raster.write(tmp_path / "images" / f"{name}.png", Image(rng.integers(0, 99, (1, 24, 24)).astype(np.uint8)))
        raster.write(tmp_path / "labels" / f"{name}.png", Mask(objects, {1: "x"}))
        raster.write(tmp_path / "fov" / f"{name}.png", Image(valid[None]))
    (tmp_path / "dataset.yaml").write_text("roles: {validity: fov}\n")
    found = inspect(tmp_path)
    assert [row["case"] for row in found["rows"]] == list(given)
    assert [(p["case"], p["code"]) for p in found["problems"]] == [("inverted", "HIL-N15")]
    assert "no label inside its validity mask" in found["problems"][0]["seen"]
    assert "inverted" in found["problems"][0]["remedy"]


def test_what_training_refuses_does_not_fit(tmp_path: Path) -> None:
    """It said "It fits", and the command that it offered was refused."""

    rng = np.random.default_rng(0)

    def image(path: Path, *shape: int) -> None:
        array = rng.integers(0, 99, shape)
        if len(shape) == 4:
            nifti.write(path, Image(array.astype(np.int16), AFFINE))
        else:
            raster.write(path, Image(array.astype(np.uint8)))

    image(tmp_path / "mixed" / "a.png", 1, 24, 24)
    image(tmp_path / "mixed" / "b.nii.gz", 1, 9, 8, 7)
    found = inspect(tmp_path / "mixed")
    assert found["tasks"] == [] and any(r.startswith("HIL-N10") and "'b' is 3-D" in r for r in found["remarks"])
    for name in ("a_0000", "a_0001", "b_0000", "b_0001", "c_0000"):
        image(tmp_path / "channels" / f"{name}.nii.gz", 1, 9, 8, 7)
    (tmp_path / "channels" / "dataset.yaml").write_text("channels: [t1, t2]\n")
    found = inspect(tmp_path / "channels")
    assert found["tasks"] == [] and any(r.startswith("HIL-T10") and "c (1)" in r for r in found["remarks"])
    (tmp_path / "channels" / "c_0000.nii.gz").unlink()
    # of two contrasts no one is registered, and of one class none is told apart
    assert inspect(tmp_path / "channels")["tasks"] == []
    for name in ("x", "y"):
        image(tmp_path / "class" / "healthy" / f"{name}.png", 1, 24, 24)
    (tmp_path / "class" / "dataset.yaml").write_text("layout: class_folders\n")
    assert "classify" not in inspect(tmp_path / "class")["tasks"]
    image(tmp_path / "class" / "ill" / "z.png", 1, 24, 24)
    assert "classify" in inspect(tmp_path / "class")["tasks"]
    image(tmp_path / "boxes" / "images" / "a.png", 1, 24, 24)
    (tmp_path / "boxes" / "boxes.csv").write_text("case,class,low0,low1,high0,high1\na,1,2,2,9,60\n")
    found = inspect(tmp_path / "boxes")
    assert found["tasks"] == [] and any("boxes beyond their image" in remark for remark in found["remarks"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six cases: good, a copy, a label elsewhere, a cut image, one without units, values 0 and 255."""
    rng = np.random.default_rng(0)
    for number in range(6):
        ball = volume(number)
        image = (ball * 300 + rng.normal(200, 20, ball.shape)).astype(np.int16)
        nifti.write(tmp_path / "d" / "images" / f"c{number}.nii.gz", Image(image[None], AFFINE))
        nifti.write(tmp_path / "d" / "labels" / f"c{number}.nii.gz", Mask(ball * 255, {255: "ball"}, AFFINE))
    images, labels = tmp_path / "d" / "images", tmp_path / "d" / "labels"
    shutil.copy(images / "c0.nii.gz", images / "c1.nii.gz")
    shutil.copy(labels / "c0.nii.gz", labels / "c1.nii.gz")
    moved = AFFINE.copy()
    moved[0, 3] = 7
    nifti.write(tmp_path / "moved.nii.gz", Mask(volume(2) * 255, {255: "ball"}, moved))
    (tmp_path / "moved.nii.gz").replace(labels / "c2.nii.gz")
    (images / "c3.nii.gz").write_bytes((images / "c3.nii.gz").read_bytes()[:200])
    plain = nibabel.load(images / "c4.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.asarray(plain.dataobj), AFFINE), tmp_path / "c4.nii.gz")
    (tmp_path / "c4.nii.gz").replace(images / "c4.nii.gz")
    return tmp_path / "d"


def test_each_problem_is_named_with_its_remedy(folder: Path) -> None:
    found = inspect(folder)
    problems = {p["case"]: p for p in found["problems"]}
    assert problems.keys() == {"c2", "c3"}
    assert problems["c3"]["code"] == "HIL-N01" and "c3.nii.gz" in problems["c3"]["problem"]
    assert problems["c2"]["code"] == "HIL-N14" and "7.000 mm apart" in problems["c2"]["seen"]
    assert "hilum resample" in problems["c2"]["remedy"]
    rows = {row["case"]: row for row in found["rows"]}
    assert rows.keys() == {"c0", "c1", "c2", "c4", "c5"}
    assert rows["c0"]["spacing"] == "1 x 1 x 2 mm" and rows["c0"]["orientation"] == "RAS"
    assert [w.split(":")[0] for w in rows["c4"]["warnings"]] == ["HIL-N07"]
    assert found["labels"]["values"][1]["value"] == 255 and "foreground: 255" in found["labels"]["proposal"]
    assert [(p["first"], p["second"], p["how"]) for p in found["look_alikes"]] == [("c0", "c1", "the same pixels")]
    said = [remark for remark in found["remarks"] if "HIL-T09" in remark and "c0 and c1" in remark]
    assert len(said) == 1 and said[0].endswith("kept in one part of a split")
    assert found["tasks"][0] == "segment"


def test_copies_are_not_said_to_be_kept_together_where_patients_or_parts_are_known(folder: Path) -> None:
    (folder / "cases.csv").write_text("case,patient\n" + "".join(f"c{n},p{n}\n" for n in range(6)))
    assert any(remark.endswith("training refuses those in two parts") for remark in inspect(folder)["remarks"])


@pytest.mark.parametrize("told", ["cases.csv", "dataset.yaml"])
def test_patients_and_classes_that_differ_by_letter_case_are_remarked_on(told: str, tmp_path: Path) -> None:
    """Every image was read, and then the call ended."""
    for name in ("P0_a", "p0_b", "p1_c"):
        raster.write(tmp_path / "images" / f"{name}.png", Image(np.zeros((1, 8, 9), np.uint8)))
    rows = {"cases.csv": "case,patient,class\nP0_a,P0,ill\np0_b,p0,Ill\n", "dataset.yaml": "patients: '^(.+)_'\n"}
    (tmp_path / told).write_text(rows[told])
    found = inspect(tmp_path)
    code = "HIL-I11" if told == "cases.csv" else "HIL-I12"
    (remark,) = [one for one in found["remarks"] if one.startswith(code)]
    assert "'p0' of case p0_b differs from 'P0' of case P0_a by letter case only" in remark
    assert "Spell every patient and class in one way" in remark and len(found["rows"]) == 3
    assert ("'Ill' of case p0_b" in remark) == (told == "cases.csv")


def test_a_folder_whose_every_image_is_cut_is_refused_with_the_first_reason(folder: Path, tmp_path: Path) -> None:
    for path in (folder / "images").iterdir():
        path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(HilumError) as error:
        inspect(folder, html=tmp_path / "page.html")
    assert error.value.code == "HIL-DATA-05" and "None of 6 cases can be read" in error.value.seen
    assert "c0.nii.gz" in error.value.seen and not (tmp_path / "page.html").exists()


def test_headers_are_looked_through_for_patients_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    honest = verb.patients_of
    monkeypatch.setattr(verb, "patients_of", lambda dataset: (asked.append(1), honest(dataset))[1])
    inspect(folder)
    assert asked == [1]


def test_the_page_shows_pictures_and_stands_alone(folder: Path, tmp_path: Path, hilum: Any) -> None:
    code, out, err = hilum("inspect", folder, "--html", tmp_path / "page.html")
    assert (code, err) == (0, "") and "2 problems" in out and "page.html" in out
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 5 and "HIL-N14" in page and "://" not in page
    assert page.index("HIL-N01") < page.index("data:image/png")
    code, _, err = hilum("inspect", folder, "--html", tmp_path / "page.html")
    assert code == 2 and "HIL-CORE-03" in err and (tmp_path / "page.html").read_text() == page


def test_of_many_cases_the_pictures_alone_are_held_that_may_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25,000 X-rays held 3 GB of memory for a page of 60 pictures."""
    for number in range(12):
        raster.write(tmp_path / "d" / f"c{number:02d}.png", Image(np.full((1, 8, 9), number, np.uint8)))
    held: list[list[str]] = []
    honest, row = _sheet.write, verb._row

    def written(path: Path, found: Any, thumbnails: Any, pairs: Any) -> Path:
        held.append(list(thumbnails))
        return honest(path, found, thumbnails, pairs)

    monkeypatch.setattr(_sheet, "MOST", 3)
    monkeypatch.setattr(_sheet, "write", written)
    inspect(tmp_path / "d", html=tmp_path / "first.html")
    assert held.pop() == ["c00", "c05", "c11"]
    # those that are warned of come first on the page, wherever they lie
    late = {"warnings": ["HIL-N05: odd"]}
    monkeypatch.setattr(verb, "_row", lambda case, item: row(case, item) | (late if case.id > "c05" else {}))
    inspect(tmp_path / "d", html=tmp_path / "second.html")
    assert held.pop() == ["c00", "c05", "c06", "c07", "c08", "c11"]
    page = (tmp_path / "second.html").read_text()
    assert page.count("data:image/png;base64,") == 3 and all(f"c0{n} · " in page for n in (6, 7, 8))


def test_n09_the_range_is_that_of_numbers_and_an_image_without_any_is_a_problem(tmp_path: Path) -> None:
    """It was told as "nan to nan", and that training refuses such an image was not."""
    array = np.arange(9 * 8 * 7, dtype=np.float32).reshape(9, 8, 7)
    array[0, 0, :2] = np.nan, np.inf
    for name, values in (("a", array), ("b", np.full_like(array, np.nan))):
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), tmp_path / f"{name}.nii.gz")
    found = inspect(tmp_path)
    (row,) = found["rows"]
    assert (row["case"], row["range"]) == ("a", "2 to 503") and any("HIL-N09" in words for words in row["warnings"])
    assert [(p["case"], p["code"]) for p in found["problems"]] == [("b", "HIL-N09")]


def test_json_for_machines(folder: Path, hilum: Any) -> None:
    code, out, _ = hilum("inspect", folder, "--json")
    assert code == 0 and json.loads(out)["problems"][0].keys() == {"case", "code", "seen", "remedy", "problem"}


def test_d21_a_gap_is_a_problem_until_it_is_accepted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = Image(rng.integers(0, 99, (1, 9, 8, 7)).astype(np.int16), np.diag([-1.0, -1.0, 2.0, 1.0]))
    for name in ("a", "b"):
        dicom.write_series(tmp_path / "s" / name, image, {"PatientID": name, "SeriesDescription": name})
    (tmp_path / "s" / "b" / "0004.dcm").unlink()
    found = inspect(tmp_path / "s")
    assert [p["code"] for p in found["problems"]] == ["HIL-D21"] and len(found["rows"]) == 1
    found = inspect(tmp_path / "s", accept=("D21",))
    assert not found["problems"] and len(found["rows"]) == 2
    assert any(w.startswith("HIL-D21") for row in found["rows"] for w in row["warnings"])
    with pytest.raises(HilumError, match=r"--accept.*nonsense"):
        inspect(tmp_path / "s", accept=("nonsense",))


def test_colours_are_kept_and_a_long_picture_is_squared(tmp_path: Path) -> None:
    array = np.zeros((3, 400, 100), np.uint8)
    array[0] = 255
    raster.write(tmp_path / "a.png", Image(array))
    found = inspect(tmp_path / "a.png", html=tmp_path / "p.html")
    assert found["rows"][0]["channels"] == 3 and 'width="200" height="200"' in (tmp_path / "p.html").read_text()


def test_n17_a_misplaced_label_is_shown_as_it_is_and_as_it_would_fit(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(6):
        # far to one side, so that a mirrored label lies where nothing is
        ball = np.roll(np.pad(volume(number), 8), 9, axis=0)
        image = (ball * 300 + rng.normal(200, 20, ball.shape)).astype(np.int16)
        nifti.write(tmp_path / "d" / "images" / f"c{number}.nii.gz", Image(image[None], AFFINE))
        nifti.write(tmp_path / "d" / "labels" / f"c{number}.nii.gz", Mask(ball[::-1], {1: "ball"}, AFFINE))
    found = inspect(tmp_path / "d", html=tmp_path / "p.html")
    assert any("HIL-N17" in remark and "flipped left-right" in remark for remark in found["remarks"])
    page = (tmp_path / "p.html").read_text()
    assert "as it is" in page and "flipped left-right" in page and page.count("data:image/png") == 6 + 2


def test_what_lies_beside_the_cases_is_named(tmp_path: Path, hilum: Any) -> None:
    raster.write(tmp_path / "d" / "a.png", Image(np.zeros((1, 8, 9), np.uint8)))
    raster.write(tmp_path / "d" / "more" / "b.png", Image(np.zeros((1, 8, 9), np.uint8)))
    (tmp_path / "d" / "notes.txt").write_text("x")
    assert [one["what"] for one in inspect(tmp_path / "d")["aside"]] == ["more", "notes.txt"]
    assert "not read as images: more, notes.txt" in hilum("inspect", tmp_path / "d")[1]


@pytest.mark.skipif(sys.platform == "darwin", reason="names are unicode there")
def test_a_name_beside_the_cases_that_is_no_text_is_shown_as_one_line(tmp_path: Path, hilum: Any) -> None:
    """From an old zip: the page could not be written once every case was read. Another one steered the terminal."""
    raster.write(tmp_path / "d" / "a.png", Image(np.zeros((1, 8, 9), np.uint8)))
    Path(os.fsdecode(bytes(tmp_path / "d") + b"/Befund_M\xfcller.txt")).write_text("x")
    (tmp_path / "d" / "x\x1b[2J.txt").write_text("x")
    code, out, err = hilum("inspect", tmp_path / "d", "--html", tmp_path / "page.html")
    assert (code, err) == (0, "") and "\x1b" not in out
    assert "not read as images: Befund_M\\xfcller.txt, x\\x1b[2J.txt (" in out
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<td>Befund_M\\xfcller.txt</td>" in page and "<td>x\\x1b[2J.txt</td>" in page
    aside = json.loads(hilum("inspect", tmp_path / "d", "--json")[1])["aside"]
    assert [one["what"] for one in aside] == ["Befund_M\\xfcller.txt", "x\\x1b[2J.txt"]


def test_classes_eight_and_one_have_colours_of_their_own() -> None:
    image = Image(np.full((1, 40, 40), 90, np.uint8))
    one = np.zeros((40, 40), np.int32)
    one[5:30, 5:30] = 1
    assert (_sheet.thumbnail(image, one) != _sheet.thumbnail(image, one * 8)).any()


def test_one_value_has_one_colour_on_the_whole_page() -> None:
    """A slice that showed the tumour alone had it in the colour of the liver."""
    image = Image(np.full((1, 40, 40), 90, np.uint8))
    label = np.zeros((40, 40), np.int32)
    label[5:30, 5:30] = 2
    alone = _sheet.thumbnail(image, label)
    label[32:38, 32:38] = 1
    both = _sheet.thumbnail(image, label)
    middle = (17 * len(alone) // 40, 17 * len(alone) // 40)
    assert (alone[middle] == both[middle]).all()


def test_contrasts_of_a_volume_are_no_colours() -> None:
    image = Image(np.random.default_rng(0).random((4, 12, 10, 8), np.float32), np.eye(4))
    picture = _sheet.thumbnail(image)
    assert (picture[..., 0] == picture[..., 1]).all() and (picture[..., 0] == picture[..., 2]).all()
