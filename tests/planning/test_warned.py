"""What a data set is warned of before training, by name: what readers say, no numbers, classes that a part lacks."""

import logging
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hilum.core.atomic import write_text
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.data.dataset import Dataset, open_dataset
from hilum.evaluation.provenance import provenance
from hilum.io import raster
from hilum.planning._warned import by_reader, of_ranges, of_reading, outweighed
from hilum.planning.planner import look, make_plan
from hilum.verbs.evaluate import evaluate
from hilum.verbs.train import train


def put(path: Path, values: np.ndarray, affine: np.ndarray, apart: float = 0.0) -> None:
    """A NIfTI file in mm. apart: by so many mm its qform lies beside its sform."""
    made = nibabel.Nifti1Image(values, affine)
    made.header.set_xyzt_units("mm")
    if apart:
        moved = affine.copy()
        moved[0, 3] += apart
        made.set_qform(moved, 1)
    made.to_filename(path)


def spoil(path: Path, places: tuple[slice | int, ...]) -> None:
    """The same file in float32, with NaN there."""
    seen = nibabel.load(path)
    values = np.asarray(seen.dataobj, dtype=np.float32)
    values[places] = np.nan
    put(path, values, seen.affine)


@pytest.fixture
def heads(data: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(data("segment"), tmp_path / "heads"))


def test_n09_voxels_that_are_no_numbers_are_told_and_stand_in_the_run(
    heads: Path, plan_of: Callable[..., Plan], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(heads / "images" / "head_001.nii.gz", (0, 0, slice(0, 3)))
    plan_of("segment", 1).write(tmp_path / "plan.json")
    with caplog.at_level(logging.WARNING):
        run = train(heads, "segment", tmp_path / "run", plan=tmp_path / "plan.json")
    (words,) = [w for w in run.plan.data["warnings"] if "HIL-N09" in w]
    assert "head_001 (3)" in words and words in [r.message for r in caplog.records]
    evaluate(tmp_path / "run", heads, tmp_path / "out", part="train")
    page = (tmp_path / "out" / "report.html").read_text()
    assert re.search(r"class=\"note warning\">[^\n]*head_001 \(3\)", page), "where it is seen"


def test_what_readers_warn_of_is_told_and_stands_in_the_run_its_reports_and_its_card(
    heads: Path, plan_of: Callable[..., Plan], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It stood in what was predicted from an image, and nowhere where the image was learned from."""
    for file in ("images/head_001.nii.gz", "labels/head_002.nii.gz"):
        seen = nibabel.load(heads / file)
        put(heads / file, np.asarray(seen.dataobj), seen.affine, apart=9)
    plan_of("segment", 1).write(tmp_path / "plan.json")
    with caplog.at_level(logging.WARNING):
        run = train(heads, "segment", tmp_path / "run", plan=tmp_path / "plan.json")
    (words,) = [w for w in run.plan.data["warnings"] if "HIL-N04" in w]
    rows = {row["id"]: row for row in run.json("fingerprint.json")["cases"]}
    assert [name for name, row in rows.items() if "HIL-N04" in row.get("warnings", {})] == ["head_001", "head_002"]
    told = f"the reader warns of 2 of {len(rows)} cases (fingerprint.json names them)"
    assert words == f"HIL-N04: {told}; first: sform and qform lie up to 9.00 mm apart; the sform is used"
    assert words in [r.message for r in caplog.records] and words in provenance(run)["warnings"]["of the data"]
    evaluate(tmp_path / "run", heads, tmp_path / "out", part="train")
    assert "HIL-N04: the reader warns of 2 of" in (tmp_path / "out" / "report.html").read_text()


def read_from(file: str, *warnings: str, **meta: Any) -> Image:
    return Image(np.zeros((1, 2, 2)), None, warnings, {"path": file} | meta)


@pytest.mark.parametrize(
    "said",
    [
        "DOE_JOHN is compressed, unlike its name says",
        "2 files hold the same object with other content (x as DOE_JOHN)",
        "1 file beside this image could not be read and may belong to it; first: /data/DOE JOHN/a is cut",
        "a slice is missing between DOE.dcm and b", "this is frame of reference 1.2.840.113619.2", "acquired 19500203",
    ],
)  # fmt: skip
def test_of_what_readers_say_no_file_path_number_or_date_is_kept(said: str) -> None:
    """They may be the patient's, and a plan is handed on with its bundle."""
    row = by_reader(read_from("/data/DOE_JOHN", f"HIL-D99: {said}", files=["/data/DOE_JOHN"]))
    assert "DOE" not in str(row) and "19500203" not in str(row) and "113619" not in str(row)
    assert list(row["warnings"]) == ["HIL-D99"]
    (words,) = of_reading([{"id": "DOE_JOHN"} | row])
    assert re.match(r"HIL-D99: the reader warns of 1 of 1 cases .*; (first: |`hilum inspect` says why)", words)
    assert "DOE" not in words


def test_what_readers_say_of_many_images_is_one_short_sentence_for_each_code() -> None:
    image = read_from("a", "HIL-N05: x", "HIL-N05: y", "HIL-N09: 3 voxels are NaN", "no code", "HIL-I02: " + "z" * 999)
    label = read_from("b", "HIL-N07: no unit")
    row = by_reader(image, label)
    assert row["warnings"] == {"HIL-N05": "x", "HIL-I02": "z" * 160, "HIL-N07": "no unit"}
    assert by_reader(read_from("a"), None) == {} and by_reader() == {}
    found = of_reading([{"id": "older"}, *({"id": f"case{n}"} | row for n in range(500))])
    assert [words.split(":")[0] for words in found] == ["HIL-I02", "HIL-N05", "HIL-N07"]
    assert "of 500 of 501 cases" in found[1] and found[1].endswith("; first: x") and max(map(len, found)) < 400


def test_n09_an_image_without_any_number_is_refused_by_name(heads: Path) -> None:
    spoil(heads / "images" / "head_001.nii.gz", (slice(None),))
    with pytest.raises(HilumError, match=r"head_001.*HIL-N09"):
        look(heads, "segment", 0)


def test_t06_no_numbers_that_the_reader_says_nothing_of_are_refused_by_name(
    heads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(heads / "images" / "head_001.nii.gz", (0, 0, 0))
    honest = Image.__post_init__
    monkeypatch.setattr(Image, "__post_init__", lambda self: (object.__setattr__(self, "warnings", ()), honest(self)))
    with pytest.raises(HilumError, match=r"head_001.*HIL-T06"):
        look(heads, "segment", 0)


def pictures(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """A table of pictures: case, class and split."""
    rng = np.random.default_rng(0)
    for case, _, _ in rows:
        raster.write(folder / f"{case}.png", Image(rng.integers(0, 255, (1, 32, 32), np.uint8)))
    lines = [f"{case},{case}.png,{klass},{part}" for case, klass, part in rows]
    write_text(folder / "cases.csv", "case,image,class,split\n" + "\n".join(lines) + "\n")
    return folder / "cases.csv"


def test_t08_classes_that_a_part_lacks_are_told_and_stand_in_the_plan(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kinds = {"train": "aabbcc", "val": "aab", "test": "aacd"}
    rows = [(f"{part}{n}", kind, part) for part, row in kinds.items() for n, kind in enumerate(row)]
    ready = look(pictures(tmp_path, rows), "classify", 0)
    made = make_plan(ready, "classify", steps=1)
    told = made.data["warnings"]
    assert [words.split(":")[1].strip() for words in told] == [
        "no train case has d", "no val case has c, d", "no test case has b",
    ]  # fmt: skip
    assert all(words.startswith("HIL-T08: ") and words in [r.message for r in caplog.records] for words in told)


def test_t08_a_class_of_voxels_that_a_part_lacks_is_told(heads: Path) -> None:
    parts = look(heads, "segment", 0).parts
    (val,) = [name for name, part in parts.items() if part == "val"]
    path = heads / "labels" / f"{val}.nii.gz"
    seen = nibabel.load(path)
    values = np.asarray(seen.dataobj)
    most = int(values.max())
    put(path, np.where(values == most, 0, values).astype(values.dtype), seen.affine)
    (told,) = look(heads, "segment", 0).warnings
    named = open_dataset(heads).settings.classes[most]
    assert told.startswith(f"HIL-T08: no val case has {named}:")
    assert look(heads, "generate", 0).warnings == []


def test_t08_a_patient_who_outweighs_training_is_named() -> None:
    cases = tuple(Case(f"c{n}", "big" if n < 6 else f"p{n}", {}) for n in range(10))
    data = Dataset("x", Path("x"), "flat", cases)
    parts = {c.id: "test" if c.group == "big" else "train" for c in cases}
    (told,) = outweighed(data, parts)
    assert told.startswith("HIL-T08: 4 of 10 cases") and "'big' with 6 cases, is in the test part" in told
    assert outweighed(data, parts | {"c0": "train"}) == []
    assert outweighed(replace(data, parts=parts), parts) == [], "who names the parts knows"


def test_images_that_lie_beside_the_cases_are_told(heads: Path) -> None:
    for name in ("overview.png", "more/a.png", "imagesTs/a.png"):
        raster.write(heads / name, Image(np.zeros((1, 8, 9), np.uint8)))
    (heads / "notes.txt").write_text("x")
    assert look(heads, "generate", 0).warnings == ["Images that lie beside the cases are not read: more, overview.png"]


def reaching(name: str, least: float, most: float, low: float | None = None, channels: int = 1) -> dict[str, Any]:
    """A row of the fingerprint. low: the first percentile."""
    return {"id": name, "range": [[least, most]] * channels, "low": [least if low is None else low] * channels}


USUAL = [reaching(f"u{n}", -1024, 1800 + 400 * n, -1000) for n in range(5)]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (reaching("odd", 0, 1), True), (reaching("odd", 0, 4095), True), (reaching("odd", -1e6, 1e6), True),
        # a narrow window, metal, padding, a cut without air, and an image of one value are no other units
        (reaching("odd", -160, 240), False), (reaching("odd", -1024, 30000), False), (reaching("odd", 0, 0), False),
        (reaching("odd", -3024, 900), False), (reaching("odd", -190, 300, -90), False),
    ],
)  # fmt: skip
def test_ct_in_other_units_is_told(row: dict[str, Any], told: bool) -> None:
    found = of_ranges([*USUAL, row], [{"scheme": "ct"}], ["image"])
    assert bool(found) == told and not of_ranges([*USUAL, row], [{"scheme": "zscore"}], ["image"])
    if told:
        (words,) = found
        assert words.startswith("HIL-LEARN-08: ") and "odd (" in words and "u0" not in words and "-1024 to" in words
    assert of_ranges(USUAL, [{"scheme": "ct"}], ["image"]) == [] == of_ranges([], [{"scheme": "ct"}], ["image"])


def test_of_several_channels_the_one_in_other_units_is_named() -> None:
    rows = [reaching(f"u{n}", 0, 255, channels=2) for n in range(4)] + [reaching("odd", 0, 1, channels=2)]
    (words,) = of_ranges(rows, [{"scheme": "zscore"}, {"scheme": "scale"}], ["red", "green"])
    assert "green" in words and "red" not in words and "odd (0 to 1)" in words


def test_ct_in_other_units_stands_in_the_plan(heads: Path) -> None:
    """No planned normalisation lets values reach so far that training would say it."""
    settings = (heads / "dataset.yaml").read_text()
    write_text(heads / "dataset.yaml", settings + "modality: CT\n")
    parts = look(heads, "segment", 0).parts
    assert look(heads, "segment", 0).warnings == []
    name = next(n for n, part in parts.items() if part == "train" and (heads / "images" / f"{n}.nii.gz").is_file())
    seen = nibabel.load(heads / "images" / f"{name}.nii.gz")
    values = np.asarray(seen.dataobj, dtype=np.float32)
    put(heads / "images" / f"{name}.nii.gz", values / values.max(), seen.affine)
    plan = make_plan(look(heads, "segment", 0), "segment", steps=1)
    assert [name in words for words in plan.data["warnings"] if "HIL-LEARN-08" in words] == [True]
    write_text(heads / "dataset.yaml", settings + "modality: MR\n")
    assert look(heads, "segment", 0).warnings == []
