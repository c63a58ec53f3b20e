"""The plan is plain data: what it does not know it refuses, by sentence and with near names."""

import json
from pathlib import Path
from typing import Any

import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import Plan, Strict, checked, parse_net, parse_setting

GOOD: dict[str, Any] = {
    "task": "segment",
    "dims": 2,
    "roles": ["image", "label"],
    "channels": ["image"],
    "patch": [32, 32],
    "batch": 2,
    "normalisation": [{"scheme": "zscore"}],
    "networks": {"net": {"name": "nnunet", "options": {"features": [8, 16]}}},
    "regime": "supervised",
}


def plan(**changes: Any) -> Plan:
    return checked(Plan, GOOD | changes, "plan.json")


def code(**changes: Any) -> str:
    with pytest.raises(HilumError) as error:
        plan(**changes)
    assert "\n" not in str(error.value)
    return error.value.code


def test_text_and_back_is_the_same_plan(tmp_path: Path) -> None:
    made = plan(seed=3, minutes=1.5)
    made.write(tmp_path / "plan.json")
    assert Plan.read(tmp_path / "plan.json") == made
    assert Plan.parse(made.text()).text() == made.text()


def test_an_unknown_key_is_refused_with_near_names() -> None:
    with pytest.raises(HilumError, match="batch") as error:
        plan(bacth=3)
    assert error.value.code == "HIL-PLAN-02" and "Did you mean" in error.value.remedy
    assert code(networks={"net": {"name": "nnunet", "optoins": {}}}) == "HIL-PLAN-02"


@pytest.mark.parametrize(
    "changes",
    [
        {"batch": 0}, {"batch": "many"}, {"dims": 4}, {"steps": 0}, {"minutes": -1}, {"seed": -1}, {"seed": 2**40},
        {"patch": [32]}, {"patch": [32, 0]}, {"patch": [32, 32, 32]}, {"spacing": [1.0]}, {"spacing": [1.0, -1.0]},
        {"normalisation": []}, {"normalisation": [{"scheme": "magic"}]}, {"format": 2}, {"minutes": float("nan")},
        {"normalisation": [{"scheme": "scale", "low": 164, "high": -57}]},
        {"normalisation": [{"scheme": "ct", "low": 164, "high": -57, "mean": 40, "std": 60}]},
        {"normalisation": [{"scheme": "ct", "low": -57, "high": 164, "mean": 40, "std": -180}]},
        {"wrappers": ["private"]}, {"networks": []}, {"classes": [{"value": "x", "name": "y"}]},
        {"classes": [{"value": 1, "name": "x"}, {"value": 2, "name": "x"}]},
        {"classes": [{"value": 1, "name": "=HYPERLINK(1)"}]}, {"channels": ["=HYPERLINK(1)"]},
    ],
    ids=str,
)  # fmt: skip
def test_nonsense_is_refused_by_sentence(changes: dict[str, Any]) -> None:
    assert code(**changes) == "HIL-PLAN-03"


def test_a_plan_of_images_of_one_value_opens() -> None:
    """Planning fits it to them: both ends are that value, and the deviation is next to nothing."""
    for rule in ({"scheme": "ct", "low": 7, "high": 7, "std": 1e-8}, {"scheme": "scale", "low": 7, "high": 7}):
        assert plan(normalisation=[rule]).normalisation[0].high == 7
    # of what a scheme does not use nothing is asked
    assert plan(normalisation=[{"scheme": "zscore", "low": 3, "std": 0}]).normalisation[0].std == 0


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("labels", "lesion", "{class: value}"), ("labels", 1, "{class: value}"), ("labels", {"a": "all"}, "nonzero"),
        ("labels", {"a": 1.5}, "whole number"), ("labels", {"a": [1, "x"]}, "whole number"),
        ("labels", {"a": True}, "whole number"), ("ignore", "x", "a whole number"), ("ignore", [9], "a whole number"),
        ("others", 3, "a list of whole numbers"), ("notes", 5, "a list of text"), ("notes", None, "a list of text"),
        ("warnings", [5], "a list of text"), ("layout", 3, "text"), ("slice", [16], "two whole numbers"),
        ("normalise_first", 1, "true or false"), ("normalise_first", None, "true or false"),
    ],
)  # fmt: skip
def test_what_a_plan_says_of_its_data_is_checked_when_set_and_when_read(key: str, value: Any, wanted: str) -> None:
    """It was an AttributeError or a TypeError later."""
    for call in (lambda: plan().edited({f"data.{key}": value}), lambda: plan(data={key: value})):
        with pytest.raises(HilumError, match=rf"'data\.{key}' can not be .*Give .*{wanted}.*HIL-PLAN-03"):
            call()
    assert plan(data={"labels": None, "ignore": None, "slice": None, "coils": None}).data["labels"] is None
    good = {"labels": {"a": 1, "b": [2, 3], "c": [], "d": "nonzero"}, "ignore": 9, "others": [4], "notes": ["so"]}
    assert plan(data=good | {"any": 1}).data == good | {"any": 1}
    assert plan(data=good).edited({"data.labels.a": 5}).data["labels"]["a"] == 5


def test_a_missing_key_is_named() -> None:
    with pytest.raises(HilumError, match="'regime'") as error:
        checked(Plan, {k: v for k, v in GOOD.items() if k != "regime"}, "plan.json")
    assert error.value.code == "HIL-PLAN-03"


@pytest.mark.parametrize("text", ["", "{", "[1]", "null", '"x"'])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(HilumError) as error:
        Plan.parse(text)
    assert error.value.code == "HIL-PLAN-01"


def test_a_plan_that_is_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bytes.json").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nothing.json", tmp_path, tmp_path / "bytes.json"):
        with pytest.raises(HilumError) as error:
            Plan.read(path)
        assert error.value.code == "HIL-PLAN-01"


def test_edited_sets_dotted_paths_and_leaves_the_first_alone() -> None:
    first = plan()
    second = first.edited({"networks.net.options.features": [4, 8], "learning.rate": 0.1, "patch.1": 64, "batch": 5})
    assert second.networks["net"].options == {"features": [4, 8]} and second.learning == {"rate": 0.1}
    assert second.patch == [32, 64] and second.batch == 5
    assert first == plan()


@pytest.mark.parametrize(
    ("path", "value"),
    [("networks.nett.name", "x"), ("patch.7", 3), ("task.x", 1), ("batch.x.y", 1), ("nothing", 1), ("batch", "x")],
)
def test_edited_refuses_paths_that_lead_nowhere(path: str, value: Any) -> None:
    with pytest.raises(HilumError) as error:
        plan().edited({path: value})
    assert error.value.code in ("HIL-PLAN-02", "HIL-PLAN-03")


def test_m06_nothing_in_a_plan_is_ever_evaluated(tmp_path: Path) -> None:
    canary, secret = tmp_path / "canary", tmp_path / "secret.json"
    secret.write_text("[1, 2]")
    call = f"__import__('os').system('touch {canary}')"
    options = {"x": call, "y": "${HOME}", "z": f"@{secret}", "$import": f"$(touch {canary})", "_target_": "os.abort"}
    made = plan(options=options)
    made.write(tmp_path / "plan.json")
    assert made.options == Plan.read(tmp_path / "plan.json").options == options
    assert json.loads(made.text())["options"] == options
    for name, text in options.items():
        assert plan().edited(dict([parse_setting(f"options.{name}={text}")])).options[name] == text
    assert not canary.exists()


def test_settings_are_key_value_with_json_values() -> None:
    assert parse_setting("a.b=0.5") == ("a.b", 0.5)
    assert parse_setting("a=[1, 2]") == ("a", [1, 2])
    assert parse_setting("a=word=x") == ("a", "word=x")
    assert parse_net("resnet:depth=34:stem=small") == ("resnet", {"depth": 34, "stem": "small"})
    assert parse_net("vit") == ("vit", {})
    for text in ("a", "=3", ""):
        with pytest.raises(HilumError) as error:
            parse_setting(text)
        assert error.value.code == "HIL-PLAN-02"


def test_typed_settings_refuse_infinity() -> None:
    class Learning(Strict):
        rate: float = 1.0

    with pytest.raises(HilumError):
        checked(Learning, {"rate": float("inf")}, "learning")
