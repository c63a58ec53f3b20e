"""Facts about labels: where they lie, what they hold, what they should be mapped to."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Image
from hilum.data.dataset import Dataset, Settings, open_dataset
from hilum.data.labels import check_values, compare_grids, counted, propose_mapping
from hilum.io import nifti, raster
from hilum.tasks._labels import class_plans
from hilum.verbs.inspect import inspect

UNKNOWN = ("HIL-N05: sform and qform codes are both 0",)


def grid(affine: Array | None = None, shape: tuple[int, ...] = (4, 5, 6), warnings: tuple[str, ...] = ()) -> Image:
    return Image(np.zeros((1, *shape)), np.eye(4) if affine is None else affine, warnings, {"path": "some/file.nii.gz"})


def shifted(mm: float) -> Array:
    affine = np.eye(4)
    affine[0, 3] = mm
    return affine


def refused(image: Image, label: Image) -> HilumError:
    with pytest.raises(HilumError) as error:
        compare_grids(image, label, "Case a")
    assert error.value.code == "HIL-N14" and "Case a" in error.value.seen
    return error.value


@pytest.mark.parametrize(
    ("label", "words"),
    [
        (grid(shape=(4, 5, 7)), "(4, 5, 7)"),
        (grid(shifted(0.05)), "0.050 mm"),
        (grid(np.diag([1.0, 1, 2, 1])), "1 x 1 x 1 mm against 1 x 1 x 2 mm"),
        (grid(np.diag([-1.0, 1, 1, 1])), "RAS against LAS"),
        (grid(np.array([[1, -0.02, 0, 0], [0.02, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])), "turned by"),
    ],
    ids=["shape", "position", "spacing", "direction", "turned"],
)
def test_n14_a_label_on_another_grid_is_refused_with_the_difference(label: Image, words: str) -> None:
    error = refused(grid(), label)
    assert words in error.seen and "hilum resample some/file.nii.gz --like some/file.nii.gz --labels" in error.remedy


def test_n14_no_command_is_offered_that_can_not_help_a_picture() -> None:
    picture, label = (Image(np.zeros((1, *shape)), meta={"path": "my file.png"}) for shape in ((8, 9), (9, 9)))
    assert "hilum resample" not in refused(picture, label).remedy
    spaced = Image(np.zeros((1, 4, 5, 6)), np.eye(4), meta={"path": "my file.nii.gz"})
    assert "--like 'my file.nii.gz' --labels" in refused(spaced, grid(shape=(4, 5, 7))).remedy


def test_n14_a_difference_below_the_tolerance_is_accepted_with_its_value() -> None:
    assert compare_grids(grid(), grid(), "Case a") == ()
    assert compare_grids(grid(), grid(shifted(1e-6)), "Case a") == (), "rounding of a header is no difference"
    (warning,) = compare_grids(grid(), grid(shifted(0.004)), "Case a")
    assert warning.startswith("HIL-N14: Case a") and "0.0040 mm" in warning


def test_n14_a_label_is_never_moved_by_unknown_geometry() -> None:
    unknown = grid(warnings=UNKNOWN)
    assert compare_grids(unknown, unknown, "Case a") == () == compare_grids(unknown, grid(), "Case a")
    for image, label in (
        (unknown, grid(shifted(5))),
        (grid(shifted(5)), unknown),
        (unknown, grid(np.diag([1.0, 1, 2, 1]), warnings=UNKNOWN)),
        (unknown, grid(shape=(4, 5, 7))),
    ):
        error = refused(image, label)
        assert "HIL-N05" in error.seen and "resample" not in error.remedy


def labelled(folder: Path, arrays: dict[str, Array]) -> Dataset:
    for name, array in arrays.items():
        image = Image(np.arange(array.size, dtype=np.int16).reshape(1, *array.shape), np.eye(4))
        for kind, one in (("images", image), ("labels", Image(array[None], np.eye(4)))):
            (folder / kind).mkdir(exist_ok=True)
            nifti.write(folder / kind / f"{name}.nii.gz", one)
    return open_dataset(folder)


def test_n15_values_are_counted_and_every_fractional_label_is_named(tmp_path: Path) -> None:
    good, bad = np.zeros((4, 4, 4), np.int16), np.zeros((4, 4, 4), np.float32)
    good[0, 0, :3], bad[0, 0, 0] = 2, 0.9999
    assert counted(labelled(tmp_path, {"a": good})) == {"a": {0: 61, 2: 3}}
    with pytest.raises(HilumError) as error:
        counted(labelled(tmp_path, {"a": good, "b": bad, "c": bad}))
    assert error.value.code == "HIL-N15" and "0.9999" in error.value.seen and "2 of 3" in error.value.seen
    assert "b.nii.gz" in error.value.seen and "c.nii.gz" in error.value.seen and "a.nii.gz" not in error.value.seen


def test_n15_values_outside_the_set_are_listed_with_all_their_files() -> None:
    seen = {"a": {0: 9, 1: 1}, "b": {0: 9, 7: 1}, "c": {0: 5, 7: 2, 9: 1}}
    for settings in (Settings(classes={1: "x"}), Settings(labels={"x": 1}), Settings(labels={"x": [1, 2]})):
        with pytest.raises(HilumError) as error:
            check_values(seen, settings, {"b": Path("labels/b.png")})
        assert error.value.code == "HIL-N15"
        assert "7 in 2 (labels/b.png, c)" in error.value.seen and "9 in 1 (c)" in error.value.seen
    assert check_values(seen, Settings()) == [] == check_values(seen, Settings(labels={"x": "nonzero"}))
    assert check_values({"a": {0: 1, 1: 1, 255: 1}}, Settings(classes={1: "x"}, ignore=255)) == []


def test_n15_background_only_is_warned_of_and_refused_when_it_is_all() -> None:
    warnings = check_values({"a": {0: 9}, "b": {0: 5, 1: 4}, "c": {0: 4, 255: 5}}, Settings(ignore=255))
    assert warnings == ["HIL-N15: 2 labels (a, c) are background only"]
    assert check_values({"a": {0: 9}, "b": {1: 5}}, Settings()) == ["HIL-N15: the label a is background only"]
    with pytest.raises(HilumError, match="background only") as error:
        check_values({"a": {0: 9}, "b": {0: 5}}, Settings())
    assert error.value.code == "HIL-N15"
    assert check_values({}, Settings()) == []


def test_n15_huge_ids_are_taken_for_numbered_objects() -> None:
    seen = {"a": {v: 1 for v in range(0, 90_000, 1000)}}
    with pytest.raises(HilumError, match="numbered objects") as error:
        check_values(seen, Settings(classes={1: "x"}))
    assert "nonzero" in error.value.remedy


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0, 1], None),
        ([0, 1, 2, 3], None),
        ([0], None),
        ([0, 255], {"labels": {"foreground": 255}}),
        ({0: 9, 4: 1}, {"labels": {"foreground": 4}}),
        ([0, 2, 5], {"labels": {"class_2": 2, "class_5": 5}}),
        ([0, 1, 2, 255], {"labels": {"class_1": 1, "class_2": 2}, "ignore": 255}),
        ([0, 85, 170, 255], {"labels": {"class_85": 85, "class_170": 170}, "ignore": 255}),
        (list(range(40)), {"labels": {"foreground": "nonzero"}}),
        ([0, 5, *range(1000, 1100)], {"labels": {"foreground": "nonzero"}}),
    ],
    ids=str,
)
def test_n15_a_mapping_is_proposed_that_can_be_pasted(values: object, wanted: dict[str, object] | None) -> None:
    found = propose_mapping(values)  # type: ignore[arg-type]
    assert (found is None) == (wanted is None)
    if found is not None and wanted is not None:
        assert yaml.safe_load(found[1]) == wanted and found[0]
        Settings.model_validate(wanted)


@pytest.mark.parametrize(
    ("values", "ignore", "wanted"),
    [
        ([0, 1, 255], 255, None),
        ([0, 1, 2, 9], 9, None),
        ([0, 3, 9], 9, {"labels": {"foreground": 3}}),
        ([0, 2, 5, 9], 9, {"labels": {"class_2": 2, "class_5": 5}}),
        ([0, 1, 2, 9, 255], 9, {"labels": {"class_1": 1, "class_2": 2, "class_255": 255}}),
        ([0, 255], 255, None),
    ],
    ids=str,
)
def test_n15_what_is_ignored_is_proposed_as_no_class(
    values: list[int], ignore: int, wanted: dict[str, object] | None
) -> None:
    found = propose_mapping(values, ignore=ignore)
    assert (None if found is None else yaml.safe_load(found[1])) == wanted


def test_n15_the_plan_names_every_case_with_a_strange_value() -> None:
    settings = {"labels": {}, "classes": {"1": "x"}, "ignore": None}
    rows = [{"id": f"c{n}", "labels": {0: 5, 1: 1, **({7: 1} if n > 1 else {})}} for n in range(4)]
    with pytest.raises(HilumError, match="c2, c3") as error:
        class_plans({"label_values": [0, 1, 7], "settings": settings, "cases": rows})
    assert error.value.code == "HIL-N15"


def test_n15_masks_of_one_class_with_1_in_some_and_255_in_others_are_no_two_classes(tmp_path: Path) -> None:
    """A plan had two classes, and half of the masks were proposed to be ignored."""
    for number in range(8):
        image = np.random.default_rng(number).integers(0, 255, (1, 32, 32)).astype(np.uint8)
        mask = np.zeros((1, 32, 32), np.uint8)
        mask[0, 4:12, 4:12] = 255 if number > 3 else 1
        for kind, array in (("images", image), ("labels", mask)):
            (tmp_path / kind).mkdir(exist_ok=True)
            raster.write(tmp_path / kind / f"c{number}.png", Image(array))
    found = inspect(tmp_path)
    assert yaml.safe_load(found["labels"]["proposal"]) == {"labels": {"foreground": "nonzero"}}
    assert any("HIL-N15" in remark and "nonzero" in remark for remark in found["remarks"])
    settings: dict[str, object] = {"labels": {}, "classes": {}, "ignore": None}
    rows: list[dict[str, object]] = [{"id": c, "labels": v} for c, v in counted(open_dataset(tmp_path)).items()]
    facts: dict[str, object] = {"label_values": [0, 1, 255], "settings": settings, "cases": rows}
    with pytest.raises(HilumError, match="nonzero") as error:
        class_plans(facts)
    assert error.value.code == "HIL-N15" and "255 in 4 (c4, c5, c6, c7)" in error.value.seen
    # what somebody said is meant so, and so are two values in one mask
    said: list[dict[str, object]] = [
        {"labels": {"foreground": "nonzero"}}, {"ignore": 255}, {"classes": {"1": "a", "255": "b"}},
    ]  # fmt: skip
    assert [len(class_plans(facts | {"settings": settings | one})) for one in said] == [1, 1, 2]
    both = {0: 9, 1: 9, 255: 9}
    assert len(class_plans(facts | {"cases": [*rows, {"id": "d", "labels": both}]})) == 2
    assert "nonzero" not in str(propose_mapping(both, [both, {0: 9, 1: 9}, {0: 9, 255: 9}]))


def test_n15_a_grey_picture_as_label_counts_like_any(tmp_path: Path) -> None:
    array = np.zeros((1, 8, 8), np.uint8)
    array[0, 2:4] = 255
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        raster.write(tmp_path / kind / "a.png", Image(array))
    seen = counted(open_dataset(tmp_path))
    assert seen == {"a": {0: 48, 255: 16}} and counted(Dataset("x", tmp_path, "flat", (Case("b", "b", {}),))) == {}
    assert propose_mapping(seen["a"]) is not None
