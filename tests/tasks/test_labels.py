"""Labels as stored, as channels and back; what is no class, or lies elsewhere, is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.data.dataset import Settings
from hilum.data.phantoms import heads
from hilum.io import _source, dicom_seg
from hilum.tasks._labels import (
    IGNORE,
    check_objects,
    class_plans,
    from_channels,
    judged_channels,
    read_as,
    same_grid,
    stored,
    to_channels,
)


def plan(classes: dict[int, str], **data: Any) -> Plan:
    return Plan.model_validate(
        {
            "task": "segment", "dims": 2, "roles": [], "channels": ["image"], "patch": [8, 8], "batch": 1,
            "normalisation": [{"scheme": "none"}], "networks": {}, "regime": "supervised",
            "classes": [{"value": v, "name": n} for v, n in classes.items()], "data": data,
        }
    )  # fmt: skip


def test_segments_of_dicom_name_the_classes_where_each_has_a_name_of_its_own() -> None:
    rows = [{"segments": {"1": "liver", "2": "tumour"}}, {"segments": {"1": "liver"}}]
    assert [c["name"] for c in class_plans(facts([0, 1, 2]) | {"cases": rows})] == ["liver", "tumour"]
    assert [c["name"] for c in class_plans(facts([0, 1]) | {"cases": rows})] == ["liver"]
    for other in ({"1": "liver", "2": "Liver"}, {"1": "liver", "2": ""}, {"1": "liver"}):
        found = class_plans(facts([0, 1, 2]) | {"cases": [{"segments": other}]})
        assert [c["name"] for c in found] == ["class 1", "class 2"]


def test_n15_a_segmentation_that_numbers_the_classes_otherwise_is_not_judged() -> None:
    label = Image(np.ones((1, 4, 4), np.int32), meta={"classes": {1: "Tumour", 2: "liver "}})
    with pytest.raises(HilumError, match=r"'Tumour' is 1, 'liver ' is 2") as error:
        judged_channels(Case("a", "", {}), label, plan({1: "liver", 2: "tumour"}))
    assert error.value.code == "HIL-N15"
    for fine in (plan({1: "tumour", 2: "liver"}), plan({1: "class 1"}), plan({1: "any"}, labels={"any": "nonzero"})):
        assert (judged_channels(Case("a", "", {}), label, fine) == 1).all()


def test_values_become_places_and_come_back() -> None:
    made = plan({3: "a", 7: "b", 300: "c"})
    values = np.array([[0, 3, 7], [300, 0, 3]])
    channels = to_channels(values, made)
    np.testing.assert_array_equal(channels, [[0, 1, 2], [3, 0, 1]])
    back = from_channels(channels, made)
    np.testing.assert_array_equal(back, values)
    assert back.dtype == np.uint16 and from_channels(np.zeros(2, int), plan({3: "a"})).dtype == np.uint8


def test_rules_gather_values_and_ignore_wins() -> None:
    made = plan({1: "any", 2: "some"}, labels={"any": "nonzero", "some": [5, 6]}, ignore=255)
    np.testing.assert_array_equal(to_channels(np.array([0, 1, 5, 6, 99, 255]), made), [0, 1, 2, 2, 1, IGNORE])


def test_n15_values_that_are_no_class_are_refused_by_name() -> None:
    with pytest.raises(HilumError, match="4") as error:
        to_channels(np.array([0, 1, 4]), plan({1: "a"}))
    assert error.value.code == "HIL-N15"
    to_channels(np.array([0, 1, 4]), plan({1: "a"}, ignore=4))


def facts(values: list[int], **settings: Any) -> dict[str, object]:
    return {"label_values": values, "settings": {"labels": {}, "classes": {}, "ignore": None} | settings}


def test_classes_come_from_rules_names_or_values() -> None:
    assert class_plans(facts([0, 1, 9], labels={"x": "nonzero"})) == [{"value": 1, "name": "x"}]
    named = class_plans(facts([0, 1, 2], classes={"10": "j", "2": "b", "0": "background"}))
    assert named == [{"value": 2, "name": "b"}, {"value": 10, "name": "j"}], "0 is no class, and 10 comes after 2"
    assert class_plans(facts([0, 4], ignore=9)) == [{"value": 4, "name": "foreground"}]
    assert [c["name"] for c in class_plans(facts([0, 4, 5, 9], ignore=9))] == ["class 4", "class 5"]


@pytest.mark.parametrize("settings", [{}, {"classes": {"1": "a"}}, {"labels": {"a": "nonzero"}}, {"ignore": 7}])
def test_n15_nothing_but_background_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(HilumError) as error:
        class_plans(facts([0] if settings.get("ignore") is None else [0, 7], **settings))
    assert error.value.code == "HIL-N15"


def test_n15_numbered_objects_are_not_taken_for_classes() -> None:
    with pytest.raises(HilumError, match="nonzero") as error:
        class_plans(facts(list(range(200))))
    assert error.value.code == "HIL-N15"


def test_n14_image_and_label_must_lie_on_each_other() -> None:
    image = Image(np.zeros((1, 4, 5, 6)), np.diag([1.0, 1, 2, 1]))
    case = Case("a", "a", {})
    same_grid(case, image, image)
    near, far, turned = np.diag([1.0, 1, 2, 1]), np.diag([1.0, 1, 2, 1]), np.diag([-1.0, 1, 2, 1])
    near[0, 3], far[0, 3] = 0.005, 0.05
    same_grid(case, image, Image(image.array, near))
    for label in (Image(image.array, far), Image(image.array, turned), Image(np.zeros((1, 4, 5, 7)), image.affine)):
        with pytest.raises(HilumError) as error:
            same_grid(case, image, label)
        assert error.value.code == "HIL-N14"
    same_grid(case, image, Image(image.array))


@pytest.mark.parametrize("value", [-1, 255, 65535, 100_000])
def test_every_value_that_a_label_may_hold_can_be_written_back(value: int) -> None:
    assert from_channels(np.array([0, 1]), plan({value: "a"})).tolist() == [0, value]


def test_many_unnamed_values_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    class_plans(facts([0, *range(1, 9)]))
    class_plans(facts([0, *range(1, 16)], classes={v: f"organ {v}" for v in range(1, 16)}))
    assert not caplog.records
    assert len(class_plans(facts([0, *range(1, 16)]))) == 15 and "number objects" in caplog.text


def test_a_dicom_seg_with_its_empty_slices_left_out_is_a_label(tmp_path: Path) -> None:
    heads.make(tmp_path, 4)
    series = _source.open(tmp_path / "images" / "head_003")
    image, wanted = series.read(), _source.open(tmp_path / "labels" / "head_003.nii.gz").read_labels()
    mask = Mask(wanted.array[0].astype(np.uint8), heads.CLASSES, wanted.affine)
    dicom_seg.write(tmp_path / "seg.dcm", mask, [Path(f) for f in image.meta["files"]])
    found = stored(Case("a", "", {"image": series, "label": _source.open(tmp_path / "seg.dcm")}))
    np.testing.assert_array_equal(found.array, wanted.array)


def read(values: list[int], made: Plan, **settings: Any) -> list[int]:
    """A label of other data with such settings, as channels of the plan."""
    changed = made.edited(read_as(Settings.model_validate(settings), made))
    channels: list[int] = to_channels(np.array(values), changed).tolist()
    return channels


def test_labels_of_other_data_go_by_name() -> None:
    made = plan({1: "liver", 2: "spleen"}, ignore=255)
    assert read([0, 1, 2], made, classes={0: "background", 1: "spleen", 2: "liver"}) == [0, 2, 1]
    assert read([0, 7, 8, 9, 3], made, labels={"spleen": [7, 8], "liver": 9}, ignore=3) == [0, 2, 2, 1, IGNORE]
    assert read([0, 1, 2], made, labels={"liver": "nonzero"}) == [0, 1, 1]
    assert read([0, 5], made, classes={5: "spleen"}) == [0, 2]
    merged = plan({1: "liver", 2: "spleen"}, labels={"liver": [3, 4], "spleen": 5})
    assert read([0, 1, 2], merged, classes={1: "spleen", 2: "liver"}) == [0, 2, 1]


def test_what_other_data_name_besides_is_background_and_what_they_do_not_name_is_refused() -> None:
    """A kidney labelled in some cases made the answers there count as missing: Dice 0."""
    made = plan({1: "liver", 2: "spleen"})
    kidney = {1: "liver", 2: "kidney"}
    assert read([0, 1, 2], made, classes=kidney) == [0, 1, 0]
    assert read([0, 1, 2, 3, 4], made, labels={"kidney": [2, 3], "rib": 4, "spleen": 1}) == [0, 2, 0, 0, 0]
    with pytest.raises(HilumError, match=r"values \[3\].*HIL-N15"):
        read([1, 2, 3], made, classes=kidney)
    # regions that lie in each other, and a class that any value is
    core = plan({1: "tumour"}).edited({"data.others": [2]})
    settings = Settings.model_validate({"labels": {"tumour": [1, 2], "core": [2]}})
    assert read_as(settings, core)["data.others"] == [] and read([0, 1, 2], core, labels=settings.labels) == [0, 1, 1]
    vessel = {"labels": {"tumour": "nonzero", "vessel": [7]}}
    assert read_as(Settings.model_validate(vessel), core)["data.others"] == [] and read([0, 7], core, **vessel) == [
        0,
        1,
    ]
    # what other networks of its own data find says nothing of how these are numbered
    part = made.edited({"data.others": [3]})
    assert read([0, 1, 2], part, classes=kidney) == [0, 1, 0]
    with pytest.raises(HilumError, match=r"values \[3\].*HIL-N15"):
        read([1, 3], part, classes={1: "liver"})


def test_t10_masks_without_numbers_are_no_truth_of_numbered_objects() -> None:
    """All cells of a mask were one true object, and the model that found each of them was wrong in all."""
    made, apart = plan({1: "cell"}, labels={"cell": "instances"}), np.zeros((1, 9, 9), np.int32)
    apart[0, 1:3, 1:3], apart[0, 5:8, 5:8] = 1, 1
    whole = np.zeros((1, 9, 9), np.int32)
    whole[0, 2:4, 2:4], whole[0, 4, 4] = 1, 1

    def check(*labels: np.ndarray, **settings: Any) -> None:
        cases = [Case(f"c{n}", "", {"label": Image(label)}) for n, label in enumerate(labels)]
        own = Settings.model_validate(settings)
        check_objects(cases, own, made.edited(read_as(own, made)))

    with pytest.raises(HilumError, match=r"'c1', which falls into pieces.*labels: \{cell: instances\}.*HIL-T10"):
        check(whole, apart)
    with pytest.raises(HilumError, match="HIL-T10"):
        check(apart, labels={"cell": "nonzero"})
    with pytest.raises(HilumError, match="HIL-T10"):
        # the other value numbers no cell
        check(np.where(whole == 1, 2, apart), classes={1: "cell", 2: "debris"})
    check(apart, labels={"cell": "instances"})
    check(whole, whole * 0)
    # one case with numbers shows that the others have none to give
    check(apart, np.where(np.arange(9) < 4, apart, 2 * apart))


def test_labels_of_other_data_without_names_are_read_as_the_plan_says() -> None:
    made = plan({1: "liver", 2: "spleen"}, ignore=255)
    for settings in ({}, {"classes": {1: "class 1", 2: "class 2"}}, {"labels": {"foreground": "nonzero"}}):
        assert read([0, 1, 2, 255], made, **settings) == [0, 1, 2, IGNORE]
    assert read([0, 1, 9], made, ignore=9) == [0, 1, IGNORE]
    assert read([0, 1], plan({1: "foreground"}), classes={1: "nucleus"}) == [0, 1]
    # any value is the class: what values mean elsewhere changes nothing
    assert read([0, 4], plan({1: "nucleus"}, labels={"nucleus": "nonzero"}), classes={4: "cancer"}) == [0, 1]


def test_t10_names_of_which_the_plan_has_none_are_refused() -> None:
    made, other = plan({1: "liver", 2: "spleen"}), Settings(classes={1: "kidney", 2: "rib"})
    with pytest.raises(HilumError, match=r"kidney, rib, the model finds liver, spleen.*HIL-T10"):
        read_as(other, made)
    # classes of whole images, and boxes of one class without a mapping, are told otherwise
    single = plan({1: "liver"}).edited({"task": "detect"})
    assert read_as(other, made.edited({"task": "classify"})) == read_as(other, single) == {}
    with pytest.raises(HilumError, match="HIL-T10"):
        read_as(other, made.edited({"task": "detect"}))
