"""What is wrong is refused: exit 2, one coded sentence on stderr, nothing left behind."""

import json
import re
import shutil
import zipfile
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import typer

from hilum.cli.main import app
from hilum.core import resident
from hilum.core.run import Run
from hilum.data.phantoms import heads
from hilum.verbs.bundle import bundle

COMMANDS = sorted(typer.main.get_command(app).commands)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A folder of text files."""
    for name in "ab":
        path = tmp_path / "texts" / f"{name}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text("not an image")
    return tmp_path / "texts"


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A folder that holds something of somebody's."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    return tmp_path / "full"


@pytest.fixture(scope="module")
def packed(trained: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the segment run."""
    path = tmp_path_factory.mktemp("bundle") / "model.hilum"
    bundle(trained("segment").path, path)
    return path


# Data


def test_wrong_path(refused: Any, tmp_path: Path) -> None:
    line = refused("HIL-DATA-01", "train", tmp_path / "nowhere", "--task", "segment", "--steps", 1)
    assert "nowhere" in line


def test_inspect_a_wrong_path(hilum: Any, tmp_path: Path) -> None:
    code, out, err = hilum("inspect", tmp_path / "nowhere")
    assert (code, out) == (2, "") and "[HIL-DATA-01]" in err and len(err.strip().splitlines()) == 1


def test_empty_folder(refused: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused("HIL-DATA-02", "train", tmp_path / "empty", "--task", "segment", "--steps", 1)


def test_folder_of_text_files(refused: Any, texts: Path) -> None:
    refused("HIL-DATA-02", "train", texts, "--task", "segment", "--steps", 1)


def test_one_class_only(refused: Any, data: Any, copy: Any) -> None:
    spoiled = copy(data("classify"))
    shutil.rmtree(spoiled / "lesion")
    assert "healthy" in refused("HIL-T08", "train", spoiled, "--task", "classify", "--steps", 1)


def test_one_case(refused: Any, data: Any, tmp_path: Path) -> None:
    for kind in ("images", "labels"):
        (tmp_path / "one" / kind).mkdir(parents=True)
        shutil.copy(data("segment") / kind / "head_000.nii.gz", tmp_path / "one" / kind)
    assert "1 cases" in refused("HIL-T08", "train", tmp_path / "one", "--task", "segment", "--steps", 1)


def test_images_without_labels_are_all_counted(refused: Any, data: Any, copy: Any) -> None:
    spoiled = copy(data("segment"))
    for name in ("head_000", "head_002"):
        (spoiled / "labels" / f"{name}.nii.gz").unlink()
    line = refused("HIL-T10", "train", spoiled, "--task", "segment", "--steps", 1)
    assert "2 of 4" in line and "head_000, head_002" in line


def test_label_without_image(refused: Any, data: Any, copy: Any) -> None:
    spoiled = copy(data("segment"))
    (spoiled / "images" / "head_000.nii.gz").unlink()
    assert "head_000" in refused("HIL-T10", "train", spoiled, "--task", "segment", "--steps", 1)


@pytest.mark.parametrize("fault", ["shape", "affine"])
def test_label_on_another_grid(fault: str, refused: Any, data: Any, copy: Any) -> None:
    spoiled = copy(data("segment"))
    for path in (spoiled / "labels").glob("*.nii.gz"):
        label = nibabel.load(path)
        array, affine = np.asarray(label.dataobj), label.affine.copy()
        if fault == "shape":
            array = array[:-1]
        else:
            affine[:3, 3] += 20
        path.unlink()
        nibabel.save(nibabel.Nifti1Image(array, affine), path)
    refused("HIL-N14", "train", spoiled, "--task", "segment", "--steps", 1)


# Names


def test_unknown_network(refused: Any, data: Any) -> None:
    line = refused("HIL-CORE-02", "train", data("classify"), "--task", "classify", "--net", "resnte", "--steps", 1)
    assert "resnet" in line


def test_another_tasks_network(refused: Any, data: Any) -> None:
    line = refused("HIL-PLAN-05", "train", data("classify"), "--task", "classify", "--net", "fcos", "--steps", 1)
    assert "resnet" in line


def test_unknown_task(refused: Any, data: Any) -> None:
    assert "segment" in refused("HIL-CORE-02", "train", data("classify"), "--task", "segmnt", "--steps", 1)


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("depht=18", "depth"),
        ("learning.rat=1", ""),
        ("plan.bach=3", "batch"),
        ("nonsense.key=3", ""),
        ("options.balanc=true", ""),
        ("width", "key=value"),
    ],
)
def test_unknown_setting(setting: str, hint: str, refused: Any, data: Any) -> None:
    words = ("train", data("classify"), "--task", "classify", "--steps", 1, "--set", setting)
    assert hint in refused("HIL-PLAN-02", *words)


@pytest.mark.parametrize(
    "augment", [{"name": "flip", "options": {"axis": 3}}, {"name": "noise", "options": {"std": 1}}]
)
def test_unknown_augmentation_option(augment: Any, refused: Any, data: Any, plan_file: Any) -> None:
    words = ("train", data("classify"), "--task", "classify", "--plan", plan_file("classify", augment=[augment]))
    refused("HIL-PLAN-02", *words)


def test_unknown_augmentation(refused: Any, data: Any, plan_file: Any) -> None:
    plan = plan_file("classify", augment=[{"name": "flipp"}])
    assert "flip" in refused("HIL-CORE-02", "train", data("classify"), "--task", "classify", "--plan", plan)


# The plan


def test_a_seed_beside_a_plan_that_has_one(refused: Any, data: Any, plan_file: Any) -> None:
    """It was passed over in silence."""
    words = ("train", data("classify"), "--task", "classify", "--plan", plan_file("classify"), "--seed", 3)
    assert "plan.seed=3" in refused("HIL-PLAN-05", *words)


def test_plan_is_not_json(refused: Any, data: Any, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_text('{"task": ')
    words = ("train", data("classify"), "--task", "classify", "--plan", tmp_path / "plan.json")
    refused("HIL-PLAN-01", *words)


def test_plan_is_not_there(refused: Any, data: Any, tmp_path: Path) -> None:
    refused("HIL-PLAN-01", "train", data("classify"), "--task", "classify", "--plan", tmp_path / "none.json")


def test_plan_with_an_unknown_key(refused: Any, data: Any, plan_file: Any) -> None:
    plan = plan_file("classify", bach=3)
    assert "batch" in refused("HIL-PLAN-02", "train", data("classify"), "--task", "classify", "--plan", plan)


NONSENSE: list[tuple[str, str, dict[str, Any], str]] = [
    ("batch below", "segment", {"batch": -3}, "HIL-PLAN-03"),
    ("batch a word", "segment", {"batch": "many"}, "HIL-PLAN-03"),
    ("patch empty", "segment", {"patch": []}, "HIL-PLAN-03"),
    ("patch negative", "segment", {"patch": [-16, 16, 16]}, "HIL-PLAN-03"),
    ("patch zero", "segment", {"patch": [0, 16, 16]}, "HIL-PLAN-03"),
    ("patch of 3 in 2-D", "classify", {"patch": [32, 32, 32]}, "HIL-PLAN-03"),
    ("patch the pooling can not divide", "segment", {"patch": [17, 16, 16]}, ""),
    ("spacing negative", "segment", {"spacing": [1.0, -1.0, 1.0]}, "HIL-PLAN-03"),
    ("normalisation unknown", "segment", {"normalisation": [{"scheme": "zscor"}]}, "HIL-PLAN-03"),
    ("normalisation empty", "segment", {"normalisation": []}, "HIL-PLAN-03"),
    ("minutes 0", "segment", {"minutes": 0, "steps": None}, "HIL-PLAN-03"),
    ("steps 0", "segment", {"steps": 0}, "HIL-PLAN-03"),
    ("no networks", "segment", {"networks": {}}, "HIL-PLAN-03"),
    ("network of another role", "generate", {"networks": {"net": {"name": "dcgan_critic"}}}, ""),
    ("regime unknown", "segment", {"regime": "supervized"}, "HIL-CORE-02"),
    ("no classes", "segment", {"classes": []}, ""),
    ("no classes to tell apart", "classify", {"classes": []}, ""),
    ("a class twice", "segment", {"classes": [{"value": 1, "name": "a"}, {"value": 1, "name": "b"}]}, "HIL-PLAN-03"),
    ("channels emptied", "segment", {"channels": []}, "HIL-PLAN-03"),
    (
        "features of wrong length",
        "segment",
        {"networks": {"net": {"name": "nnunet", "options": {"features": [8], "strides": [1, 2, 2]}}}},
        "",
    ),
    ("task changed", "segment", {"task": "classify"}, "HIL-PLAN-05"),
    ("dims changed", "segment", {"dims": 2, "patch": [16, 16], "spacing": [1.0, 1.0]}, ""),
    ("options unknown", "segment", {"options": {"foregrund": 1}}, "HIL-PLAN-02"),
    ("learning unknown", "segment", {"learning": {"rat": 1}}, "HIL-PLAN-02"),
    ("rate negative", "segment", {"learning": {"rate": -1}}, "HIL-PLAN-03"),
    ("rate not a number", "segment", {"learning": {"rate": float("nan")}}, "HIL-PLAN-03"),
    ("wrapper that does not exist", "segment", {"wrappers": ["private"]}, "HIL-PLAN-03"),
    ("seed negative", "segment", {"seed": -1}, "HIL-PLAN-03"),
]


@pytest.mark.parametrize(("task", "changes", "code"), [n[1:] for n in NONSENSE], ids=[n[0] for n in NONSENSE])
def test_plan_edited_into_nonsense(
    task: str, changes: dict[str, Any], code: str, hilum: Any, refused: Any, data: Any, plan_file: Any, tmp_path: Path
) -> None:
    words = ("train", data(task), "--task", task, "--plan", plan_file(task, **changes))
    if code:
        refused(code, *words)
    else:
        status, out, err = hilum(*words, "--out", tmp_path / "out")
        assert (status, out, len(err.strip().splitlines())) == (2, "", 1), err
        assert re.search(r"\[HIL-[A-Z0-9-]+\]$", err.strip()) and not (tmp_path / "out").exists()


# Budgets


@pytest.mark.parametrize(
    "words",
    [("--minutes", "1", "--steps", "5"), ("--minutes", "0"), ("--minutes", "-3"), ("--minutes", "nan"),
     ("--minutes", "inf"), ("--steps", "0"), ("--steps", "-5")],
)  # fmt: skip
@pytest.mark.parametrize("command", ["train", "plan", "compare"])
def test_budget(command: str, words: tuple[str, ...], refused: Any, data: Any) -> None:
    nets = ("--nets", "resnet") if command == "compare" else ()
    refused("HIL-PLAN-06", command, data("classify"), "--task", "classify", *nets, *words)


@pytest.mark.parametrize("words", [("--minutes", "nan"), ("--steps", "0"), ("--minutes", "1", "--steps", "5")])
def test_budget_beside_a_plan(words: tuple[str, ...], refused: Any, data: Any, plan_file: Any) -> None:
    refused("HIL-PLAN-06", "train", data("classify"), "--task", "classify", "--plan", plan_file("classify"), *words)


# Folders that hold something


def test_outputs_are_never_overwritten(
    refused: Any, data: Any, trained: Any, full: Path, packed: Path, plan_file: Any
) -> None:
    segment = data("segment")
    image = segment / "images" / "head_000.nii.gz"
    refused("HIL-CORE-03", "train", segment, "--task", "segment", "--steps", 1, out=full)
    refused("HIL-CORE-03", "evaluate", trained("segment").path, segment, out=full)
    refused("HIL-CORE-03", "predict", trained("segment").path, image, out=full)
    refused("HIL-CORE-03", "compare", segment, "--task", "segment", "--nets", "nnunet", "--steps", 1, out=full)
    refused("HIL-CORE-03", "generate", trained("generate").path, "--count", 1, out=full)
    refused("HIL-CORE-03", "bundle", trained("segment").path, out=packed)
    refused("HIL-CORE-03", "plan", segment, "--task", "segment", out=plan_file("segment"))
    refused("HIL-CORE-03", "demo", out=full)


def test_a_refused_evaluation_is_no_look(refused: Any, data: Any, trained: Any, full: Path, copy: Any) -> None:
    run = copy(trained("segment").path)
    before = Run(run).ledger()
    refused("HIL-CORE-03", "evaluate", run, data("segment"), out=full)
    assert Run(run).ledger() == before


def test_resume_in_an_empty_folder(refused: Any, data: Any, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    refused("HIL-RUN-02", "train", data("segment"), "--task", "segment", "--resume")


def test_resume_where_nothing_is(refused: Any, data: Any) -> None:
    refused("HIL-RUN-01", "train", data("segment"), "--task", "segment", "--resume")


def test_resume_with_other_data(refused: Any, data: Any, trained: Any, copy: Any) -> None:
    run, other = copy(trained("segment").path), data("segment")
    moved = copy(other)
    for kind in ("images", "labels"):
        (moved / kind / "head_001.nii.gz").unlink()
    refused("HIL-T04", "train", moved, "--task", "segment", "--resume", out=run)


# Runs and bundles


def test_evaluate_what_is_no_run(refused: Any, data: Any, texts: Path) -> None:
    refused("HIL-RUN-02", "evaluate", texts, data("segment"))


def test_evaluate_a_part_of_other_data(refused: Any, packed: Path, tmp_path: Path) -> None:
    heads.make(tmp_path / "other", 2, seed=5)
    refused("HIL-EVAL-02", "evaluate", packed, tmp_path / "other", "--part", "test")
    refused("HIL-EVAL-02", "evaluate", packed, tmp_path / "other", "--part", "tset")


def test_evaluate_on_images_that_were_learned_from_alone(
    refused: Any, data: Any, packed: Path, trained: Any, copy: Any
) -> None:
    moved = copy(data("segment"))
    learned = {row["case"] for row in trained("segment").split() if row["part"] == "train"}
    for kind in ("images", "labels"):
        for path in (moved / kind).iterdir():
            if path.name.removesuffix(".nii.gz") not in learned:
                path.unlink()
    assert "(train)" in refused("HIL-EVAL-02", "evaluate", packed, moved)


def test_a_case_without_an_image_is_left_out_of_an_evaluation(hilum: Any, packed: Path, tmp_path: Path) -> None:
    heads.make(tmp_path / "other", 2, seed=5)
    sheet = tmp_path / "other" / "all.csv"
    rows = ["case,image,label", "a,images/head_000.nii.gz,labels/head_000.nii.gz", "b,,labels/head_001.nii.gz"]
    sheet.write_text("\n".join(rows) + "\n")
    code, _, err = hilum("evaluate", packed, sheet, "--out", tmp_path / "out")
    assert code == 0, err
    assert [line.split(",")[0] for line in (tmp_path / "out" / "cases.csv").read_text().splitlines()] == ["case", "a"]


def test_damaged_bundle(refused: Any, hilum: Any, data: Any, packed: Path, tmp_path: Path) -> None:
    image, raw = data("segment") / "images" / "head_000.nii.gz", packed.read_bytes()
    spoiled = tmp_path / "cut.hilum"
    spoiled.write_bytes(raw[: len(raw) // 2])
    refused("HIL-RUN-02", "predict", spoiled, image)
    other = tmp_path / "changed.hilum"
    with zipfile.ZipFile(packed) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, content if name != "weights/net.safetensors" else content[:-1] + b"\x01")
    refused("HIL-M05", "predict", other, image)
    code, out, err = hilum("verify", other)
    assert (code, out) == (2, "") and "[HIL-M05]" in err and len(err.strip().splitlines()) == 1


def test_bundle_by_another_name(refused: Any, trained: Any, tmp_path: Path) -> None:
    refused("HIL-INFER-09", "bundle", trained("segment").path, out=tmp_path / "model.zip")


def test_bundle_of_a_bundle(refused: Any, packed: Path, tmp_path: Path) -> None:
    refused("HIL-INFER-09", "bundle", packed, out=tmp_path / "again.hilum")


# Prediction


def test_a_text_file_costs_only_itself(hilum: Any, data: Any, trained: Any, texts: Path, tmp_path: Path) -> None:
    image = data("segment") / "images" / "head_000.nii.gz"
    code, out, err = hilum("predict", trained("segment").path, texts / "a.txt", image, "--out", tmp_path / "out")
    assert code == 0, err
    assert "1 done, 1 failed" in out and "a.txt" in out and "[HIL-" in out and "Traceback" not in err
    record = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert list(record["done"]) == ["head_000"] and len(record["failed"]) == 1


def test_a_damaged_image_costs_only_itself(hilum: Any, data: Any, trained: Any, tmp_path: Path) -> None:
    image, bad = data("segment") / "images" / "head_000.nii.gz", tmp_path / "bad.nii.gz"
    bad.write_bytes(image.read_bytes()[:500])
    code, out, err = hilum("predict", trained("segment").path, bad, image, "--out", tmp_path / "out")
    assert code == 0 and "1 done, 1 failed" in out, err


def test_every_input_failed(refused: Any, trained: Any, texts: Path, tmp_path: Path) -> None:
    refused("HIL-INFER-06", "predict", trained("segment").path, texts / "a.txt", texts / "b.txt")
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"nothing")
    assert "bad" in refused("HIL-INFER-06", "predict", trained("segment").path, bad)


def test_missing_input(refused: Any, trained: Any, tmp_path: Path) -> None:
    refused("HIL-INFER-07", "predict", trained("segment").path)
    assert "gone.nii.gz" in refused("HIL-DATA-01", "predict", trained("segment").path, tmp_path / "gone.nii.gz")


@pytest.mark.parametrize(
    ("amount", "code"), [("lots", "HIL-PLAN-03"), ("-2GB", "HIL-PLAN-03"), ("0.001MB", "HIL-INFER-06")]
)
def test_memory(amount: str, code: str, refused: Any, data: Any, trained: Any) -> None:
    if code == "HIL-INFER-06" and not resident.now():
        pytest.skip("this system does not tell what a process holds")
    image = data("segment") / "images" / "head_000.nii.gz"
    refused(code, "predict", trained("segment").path, image, "--memory", amount)


def test_memory_where_an_image_is_computed_whole(refused: Any, data: Any, trained: Any) -> None:
    """A limit that nothing keeps is not taken."""
    refused("HIL-INFER-19", "predict", trained("classify").path, data("classify"), "--memory", "2GB")


def test_dicom_for_a_nifti(refused: Any, data: Any, trained: Any) -> None:
    image = data("segment") / "images" / "head_000.nii.gz"
    assert "not a DICOM" in refused("HIL-INFER-06", "predict", trained("segment").path, image, "--format", "dicom")
    refused("HIL-INFER-05", "predict", trained("segment").path, image, "--format", "jpeg")
    refused("HIL-INFER-02", "predict", trained("segment").path, image, "--runtime", "abacus")


def test_an_image_of_other_dimensions(refused: Any, data: Any, trained: Any) -> None:
    picture = data("classify") / "healthy" / "slice_000.png"
    assert "HIL-N10" in refused("HIL-INFER-06", "predict", trained("segment").path, picture)
    assert "HIL-N10" in refused(
        "HIL-INFER-06", "predict", trained("register").path, "--fixed", picture, "--moving", picture
    )


def test_half_a_pair(refused: Any, data: Any, trained: Any) -> None:
    image = next(iter(sorted((data("register") / "images").iterdir())))
    assert "Give both" in refused("HIL-INFER-07", "predict", trained("register").path, "--fixed", image)
    whole = ("predict", trained("register").path, "--fixed", image, "--moving", image)
    assert "Leave the other inputs out" in refused("HIL-INFER-07", *whole, image)


def test_predict_and_generate_are_not_mixed_up(refused: Any, data: Any, trained: Any) -> None:
    image = next(iter(sorted((data("generate") / "healthy").iterdir())))
    assert "hilum generate" in refused("HIL-INFER-03", "predict", trained("generate").path, image)
    assert "hilum predict" in refused("HIL-INFER-03", "generate", trained("segment").path, "--count", 1)
    refused("HIL-INFER-04", "generate", trained("generate").path, "--count", 0)
    refused("HIL-INFER-04", "generate", trained("generate").path, "--count", -1)


# Comparison


def test_compare_with_an_unknown_network_trains_nothing(refused: Any, data: Any) -> None:
    words = ("compare", data("classify"), "--task", "classify", "--steps", 1)
    refused("HIL-CORE-02", *words, "--nets", "resnet,resnte")
    refused("HIL-EVAL-03", *words, "--nets", ",")
    refused("HIL-EVAL-03", *words, "--nets", "resnet", "--seeds", 0)
    refused("HIL-ZOO-03", *words, "--nets", "resnet:width=8,resnet:depth=7")


# The command itself


def test_every_command_is_asked() -> None:
    assert {"inspect", "train", "predict", "keys", "import", "calibrate", "quantise", "demo"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command: str, hilum: Any) -> None:
    code, out, _ = hilum(command, "--help")
    assert code == 0 and f"Example: hilum {command}" in " ".join(out.split())


@pytest.mark.parametrize(
    ("words", "said", "see"),
    [
        (("train", "x"), "Missing option '--task'", "hilum train"),
        (("train", "x", "--task", "segment"), "Missing option '--out'", "hilum train"),
        (("train", "x", "--taks", "segment"), "--task", "hilum train"),
        (("generate", "x", "--count", "two", "--out", "y"), "'--count'", "hilum generate"),
        (("verify", "x", "y"), "unexpected extra argument", "hilum verify"),
        (("trian",), "Did you mean 'train'?", "hilum"),
        (("--nonsense",), "No such option: --nonsense", "hilum"),
    ],
)
def test_words_that_a_command_does_not_take_are_one_sentence(
    words: tuple[str, ...], said: str, see: str, hilum: Any
) -> None:
    """They were several lines without a code."""
    code, out, err = hilum(*words)
    assert (code, out, len(err.strip().splitlines())) == (2, "", 1), err
    assert said in err and err.startswith("hilum: ") and err.endswith(f" See: {see} --help. [HIL-CORE-05]\n")


def test_help_and_version_end_well_and_no_word_at_all_shows_the_help(hilum: Any) -> None:
    for words in (("--help",), ("train", "-h"), ("--version",)):
        code, out, err = hilum(*words)
        assert code == 0 and out and not err
    code, out, err = hilum()
    assert "Usage: hilum" in out + err and "HIL-" not in err


def test_a_place_that_can_not_be_written_is_one_sentence(refused: Any, data: Any, trained: Any, tmp_path: Path) -> None:
    file, segment = tmp_path / "file", data("segment")
    file.write_text("x")
    for words in (("plan", segment, "--task", "segment"), ("evaluate", trained("segment").path, segment)):
        assert "file" in refused("HIL-CORE-04", *words, out=file / "inside")
