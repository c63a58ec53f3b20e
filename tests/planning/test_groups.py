"""Which class goes to which network: by a stated rule, or as a file says; what can not be meant is refused."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import ClassPlan, Plan
from hilum.core.progress import quiet
from hilum.core.system import Group, SystemPlan
from hilum.planning import groups
from hilum.planning.planner import Prepared
from hilum.tasks._labels import class_plans, to_channels
from hilum.tasks.segment import SIDED
from hilum.verbs import _system

NAMES = {1: "aorta", 2: "kidney_left", 3: "kidney_right", 4: "liver", 5: "lesion", 6: "gland"}
VOXELS = {1: 300, 2: 200, 3: 180, 4: 900, 5: 10, 6: 20}
FOUR = {value: count for value, count in VOXELS.items() if value <= 4}


def prepared(
    names: Mapping[int, str] = NAMES, voxels: Mapping[int, int] = VOXELS, labels: Mapping[str, Any] | None = None
) -> Prepared:
    """Two cases; what the second, of the test part, holds must not count."""
    seen = sorted(voxels)
    rows = [
        {"id": "a", "labels": {0: 5, **voxels}, "hash": "a"},
        {"id": "b", "labels": {0: 5, **{v: 10**6 for v in seen if v > 4}}, "hash": "b"},
    ]
    classes = {} if labels else {str(v): n for v, n in names.items()}
    settings = {"classes": classes, "labels": dict(labels or {}), "ignore": None}
    facts = {"cases": rows, "settings": settings, "label_values": [0, *seen]}
    return Prepared(None, {"a": "train", "b": "test"}, facts, "patient")  # type: ignore[arg-type]


def shared(ready: Prepared, wanted: str) -> dict[str, list[str]]:
    return {g.name: [c.name for c in g.classes] for g in groups.grouped(ready, wanted).groups}


def refused(ready: Prepared, wanted: str) -> str:
    with pytest.raises(HilumError) as error:
        groups.grouped(ready, wanted)
    assert error.value.code == "HIL-PLAN-09"
    return str(error.value)


def test_the_largest_goes_first_each_to_the_group_with_the_fewest_classes() -> None:
    # liver, aorta, the kidneys (190 a class), gland, lesion
    assert shared(prepared(), "2") == {
        "group_1": ["kidney_left", "kidney_right", "liver"], "group_2": ["aorta", "lesion", "gland"],
    }  # fmt: skip


def test_left_and_right_stay_together_and_other_names_do_not() -> None:
    names = {1: "Left lung", 2: "Right lung", 3: "T1", 4: "T2", 5: "bright spot"}
    found = shared(prepared(names, dict.fromkeys(names, 5)), "4")
    assert found["group_1"] == ["Left lung", "Right lung"] and len(found) == 4


@pytest.mark.parametrize("wanted", ["0", "1", "6", "100"])
def test_more_groups_than_structures_or_a_single_one_are_refused(wanted: str) -> None:
    assert "2 to 5 groups" in refused(prepared(), wanted)


def test_a_file_names_the_groups_in_their_order(tmp_path: Path) -> None:
    path = tmp_path / "groups.yaml"
    path.write_text("small: [lesion, gland]\nlarge: [liver, aorta, kidney_right, kidney_left]\n")
    assert shared(prepared(), str(path)) == {
        "small": ["lesion", "gland"], "large": ["aorta", "kidney_left", "kidney_right", "liver"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [liver]\nb: [lesion, gland]\n", "leaves out aorta, kidney_left"),
        ("a: [livre]\n", "names 'livre'"),
        ("[liver]\n", "holds no groups"),
        ("a: [liver\n", "nor a YAML file"),
    ],
)
def test_a_file_that_does_not_share_out_the_classes_is_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "groups.yaml"
    path.write_text(text)
    assert words in refused(prepared(), str(path))


@pytest.mark.parametrize(
    "text",
    [
        "a: [aorta, liver, kidney_left, kidney_right]\nb: [lesion, gland, liver]\n",
        "../a: [aorta, liver]\nb: [lesion, gland, kidney_left, kidney_right]\n",
        "a: [aorta, liver, kidney_left, kidney_right, lesion, gland]\n",
    ],
    ids=["a class twice", "a name that leaves the folder", "one group"],
)
def test_a_file_that_makes_no_system_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "groups.yaml"
    path.write_text(text)
    with pytest.raises(HilumError) as error:
        groups.grouped(prepared(), str(path))
    assert error.value.code == "HIL-PLAN-03"


def test_a_file_that_is_nested_without_end_is_refused(tmp_path: Path) -> None:
    (tmp_path / "groups.yaml").write_text("a: " + "[" * 20_000)
    assert "nor a YAML file" in refused(prepared(), str(tmp_path / "groups.yaml"))


@pytest.mark.parametrize("wanted", ["nowhere.yaml", "²"])
def test_what_is_neither_a_number_nor_a_file_is_refused(wanted: str) -> None:
    """The ² is a digit to Python, and no number."""
    assert "neither a number nor a YAML file" in refused(prepared(), wanted)


@pytest.mark.parametrize(
    "settings",
    [
        {"data.ignore": 9},
        {"data.labels": {"bone": 1}},
        {"data.labels.bone": 1},
        {"data.others": [3]},
        {"plan.classes": []},
        {"classes.0.name": "bone"},
        {"options.reduce": "mean"},
        {"plan.options": {"reduce": "mean"}},
    ],
    ids=str,
)
def test_settings_that_sharing_out_would_take_back_are_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    """They were taken, and the plan had the values of the data set all the same. Asked before the data are."""
    asked = {"settings": settings, "minutes": None, "steps": 4, "seed": 0}
    with pytest.raises(HilumError, match=next(iter(settings))) as error:
        _system.train(tmp_path / "nowhere", "segment", tmp_path / "out", "2", asked, {}, quiet)
    assert error.value.code == "HIL-PLAN-09" and "dataset.yaml" in error.value.remedy


def test_other_settings_hold_for_all_networks(tmp_path: Path) -> None:
    for settings in (None, {"options.overlap": 0.5, "classes": 3, "plan.options": {"overlap": 0.5}}):
        asked = {"settings": settings, "minutes": None, "steps": 4, "seed": 0}
        with pytest.raises(HilumError) as error:
            _system.train(tmp_path / "nowhere", "segment", tmp_path / "out", "2", asked, {}, quiet)
        assert error.value.code != "HIL-PLAN-09" and "nowhere" in error.value.seen


def test_a_group_that_no_training_case_shows_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "groups.yaml"
    path.write_text("a: [liver, aorta, kidney_left, kidney_right, gland]\nb: [lesion]\n")
    assert "of the group b: lesion" in refused(prepared(voxels=VOXELS | {5: 0}), str(path))


def test_classes_that_are_all_that_is_not_0_are_refused() -> None:
    assert "nonzero" in refused(prepared(labels={"lesion": 2, "any": "nonzero"}), "2")


def test_values_that_two_rules_name_belong_to_the_later_one() -> None:
    ready = prepared(voxels=FOUR, labels={"organ": [1, 2], "vessel": [2, 3], "bone": 4})
    made = groups.grouped(ready, "2")
    assert groups.values_of(made.classes(), ready.facts["settings"]["labels"]) == {
        "organ": [1], "vessel": [2, 3], "bone": [4],
    }  # fmt: skip


@pytest.mark.parametrize(("kind", "axes"), [("MR", [[1, 2]]), ("SM", [])])
@pytest.mark.parametrize("by_hand", [False, True])
def test_no_network_learns_from_mirror_images_where_one_finds_sides(
    kind: str, axes: list[list[int]], by_hand: bool, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The group that is planned has no left and right; the smaller one has."""
    names = {1: "aorta", 2: "kidney_left", 3: "kidney_right", 4: "liver", 5: "lesion"}
    ready = prepared(names, dict.fromkeys(names, 5) | {1: 900, 4: 800, 5: 1})
    ready = replace(ready, facts=ready.facts | {"dims": 3, "physical": True, "modality": kind, "channels": ["a"]})
    made = SystemPlan(
        groups=[
            Group(name="a", classes=[ClassPlan(value=n, name=names[n]) for n in (1, 4, 5)]),
            Group(name="b", classes=[ClassPlan(value=n, name=names[n]) for n in (2, 3)]),
        ]
    )
    base = plan_of("segment", augment=[{"name": "noise"}, {"name": "flip"}])
    monkeypatch.setattr(_system, "planned", lambda *_: base)
    settings = {"plan.augment": base.augment} if by_hand else None
    words: dict[str, Any] = {"net": None, "minutes": None, "steps": 4, "seed": 0, "memory": None}
    words |= {"settings": settings, "accelerator": "cpu", "devices": 1}
    whole = _system._planned(ready, "segment", made, **words)
    for plan in _system._plans(whole, made, ready).values():
        found = [entry.options.get("axes") for entry in plan.augment if entry.name == "flip"]
        # what is asked for by hand stays
        assert found == ([None] if by_hand else axes) and plan.augment[0].name == "noise"
        assert (SIDED in plan.data.get("notes", [])) != by_hand


def test_mirror_images_stay_where_no_class_has_a_side(plan_of: Callable[..., Plan]) -> None:
    names = {1: "aorta", 2: "liver", 3: "lesion"}
    ready = prepared(names, dict.fromkeys(names, 5))
    ready = replace(ready, facts=ready.facts | {"dims": 3})
    base = plan_of("segment", augment=[{"name": "flip"}])
    assert groups.unmirrored(base, ready, groups.grouped(ready, "2")) is base


def test_a_budget_that_networks_share_is_refused_as_what_was_given() -> None:
    words = r"Of each network: 0\.2 minutes .*times 3, as 3 networks share"
    with pytest.raises(HilumError, match=words) as error, _system._shared(3):
        raise HilumError("HIL-PLAN-06", "0.2 minutes hold 4 steps", "Give --minutes 0.5")
    assert error.value.code == "HIL-PLAN-06"


@pytest.mark.parametrize("labels", [None, {"organ": [1, 2], "vessel": [2, 3], "bone": 4}])
def test_a_group_is_planned_from_cases_that_hold_the_others_too(
    labels: dict[str, Any] | None, plan_of: Callable[..., Plan]
) -> None:
    """Memory is predicted from cases that are prepared: a value of another group must not stop that."""
    ready = prepared(voxels=FOUR, labels=labels)
    classes = [ClassPlan.model_validate(c) for c in class_plans(ready.facts)]
    narrow = groups.narrowed(ready, classes[:1])
    rules = groups.values_of(classes, labels or {})
    own = rules[classes[0].name]
    assert narrow.facts["label_values"] == own and not set(own) & set(narrow.facts["others"])
    plan = plan_of("segment").edited(
        {"classes": class_plans(narrow.facts), "data.labels": narrow.facts["settings"]["labels"],
         "data.others": narrow.facts["others"]}
    )  # fmt: skip
    stored = np.array([0, *(v for held in rules.values() for v in held)])
    assert set(to_channels(stored, plan)) == {0, 1}
    whole = groups.whole(plan, ready, groups.grouped(ready, "2"))
    assert "others" not in whole.data


def test_what_other_networks_find_is_background_to_one_and_the_parts_add_up(plan_of: Callable[..., Plan]) -> None:
    """Every stored value is learned by one network, as the whole plan would have it; a strange one by none."""
    labels = {"organ": [1, 2], "vessel": [2, 3], "bone": 4}
    ready = prepared(voxels=FOUR, labels=labels)
    made = groups.grouped(ready, "2")
    whole = groups.whole(plan_of("segment"), ready, made)
    rules = groups.values_of(made.classes(), labels)
    stored = np.array([0, 1, 2, 3, 4], np.int16)
    summed = np.zeros(5, np.int64)
    for group in made.groups:
        plan = groups.of_group(whole, group, rules)
        assert [c.name for c in plan.classes] == [c.name for c in group.classes]
        channels = to_channels(stored, plan)
        summed += np.array([0, *[c.value for c in plan.classes]])[channels]
        with pytest.raises(HilumError) as error:
            to_channels(np.array([5]), plan)
        assert error.value.code == "HIL-N15"
    assert summed.tolist() == np.array([0, *[c.value for c in whole.classes]])[to_channels(stored, whole)].tolist()
