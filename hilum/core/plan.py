"""The plan: what will be trained and how, as plain data one can read, diff, send and edit (plan.json)."""

import json
import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from hilum.core.atomic import write_text
from hilum.core.cells import is_formula
from hilum.core.errors import HilumError, near


class Strict(BaseModel):
    """Typed settings: unknown keys and wrong types are refused."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True, allow_inf_nan=False)


T = TypeVar("T", bound=Strict)


class NetworkPlan(Strict):
    """One network of the system: its file name in the zoo and the constructor options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class ClassPlan(Strict):
    """A class: the value in the data and its name; the position in the list is the network's channel."""

    value: int
    name: str


class AugmentPlan(Strict):
    """One augmentation: its file name and options."""

    name: str
    options: dict[str, Any] = Field(default_factory=dict)


class Normalisation(Strict):
    """How one channel becomes network input; see `prepare.intensity.normalise`. Statistics: of the training part."""

    scheme: Literal["zscore", "zscore_box", "zscore_nonzero", "ct", "scale", "none"]
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> "Normalisation":
        """Ends in order, and no deviation below 0, where they are used; of data of one value the ends are equal, and
        models that were imported of such data have a deviation of 0, which counts as the least there is.
        """
        if self.scheme in ("ct", "scale") and self.low > self.high:
            raise ValueError(f"low, {self.low:g}, is above high, {self.high:g}")
        if self.scheme == "ct" and self.std < 0:
            raise ValueError(f"std is {self.std:g}, and can not be below 0")
        return self


class Plan(Strict):
    """Everything that decides a run. `options` belongs to the task, `learning` to the regime; both typed there."""

    format: Literal[1] = 1
    task: str
    dims: int = Field(ge=2, le=3)
    roles: list[str]
    channels: list[str]
    classes: list[ClassPlan] = Field(default_factory=list)
    spacing: list[float] | None = None
    patch: list[int]
    batch: int = Field(ge=1, le=4096)
    normalisation: list[Normalisation]
    networks: dict[str, NetworkPlan]
    regime: str
    # none exists yet, and one that is named but not there must not be passed over
    wrappers: list[str] = Field(default_factory=list, max_length=0)
    augment: list[AugmentPlan] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)
    learning: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    # most bytes of prepared cases that are kept; None: the store's own limit
    store_bytes: int | None = Field(default=None, ge=1)
    # what the plan was fitted to; later only its memory_cap counts, for the calibration after training
    machine: dict[str, Any] = Field(default_factory=dict)
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**31)
    split_seed: int = Field(default=0, ge=0, lt=2**31)
    versions: dict[str, str] = Field(default_factory=dict)

    @field_validator("classes")
    @classmethod
    def _differ(cls, value: list[ClassPlan]) -> list[ClassPlan]:
        """No value and no name twice, and no name that a spreadsheet would run: they stand in the tables of results."""
        if len({c.value for c in value}) < len(value) or len({c.name for c in value}) < len(value):
            raise ValueError("a value or a name is there twice")
        if run := [c.name for c in value if is_formula(c.name)]:
            raise ValueError(f"{run[0][:20]!r} is a formula to a spreadsheet, not a name")
        return value

    @field_validator("channels")
    @classmethod
    def _names(cls, value: list[str]) -> list[str]:
        """They stand in the tables of results too."""
        if run := [name for name in value if is_formula(name)]:
            raise ValueError(f"{run[0][:20]!r} is a formula to a spreadsheet, not a name")
        return value

    @field_validator("spacing", "patch", "normalisation")
    @classmethod
    def _fits(cls, value: Any, info: ValidationInfo) -> Any:
        """One positive number per axis, one normalisation per channel."""
        if value is None:
            return value
        axes = info.field_name != "normalisation"
        wanted = info.data.get("dims") if axes else len(info.data.get("channels", value))
        if len(value) != wanted:
            raise ValueError(f"it needs {wanted} entries, one per {'axis' if axes else 'channel'}")
        if axes and min(value) <= 0:
            raise ValueError("every entry must be above 0")
        return value

    @field_validator("data")
    @classmethod
    def _of_data(cls, value: dict[str, Any]) -> dict[str, Any]:
        """What others read of it is what they take it for."""
        for key, (fits, wanted) in TOLD.items():
            if key in value and not fits(value[key]):
                raise PydanticCustomError("told", "give {wanted}", {"key": key, "value": value[key], "wanted": wanted})
        return value

    def write(self, path: Path) -> None:
        """Write plan.json, atomically."""
        write_text(path, self.text())

    def text(self) -> str:
        """The plan as indented JSON; equal plans give equal text."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    def edited(self, changes: dict[str, Any]) -> "Plan":
        """A copy with {dotted path: value} changed, checked again."""
        data = self.model_dump(mode="json")
        for path, value in changes.items():
            _check_data(path)
            _put(data, path, value)
        return checked(Plan, data, "plan")

    @staticmethod
    def read(path: Path) -> "Plan":
        """Read and check plan.json; nonsense is refused by sentence."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise HilumError("HIL-PLAN-01", f"{path} can not be read as a plan ({error})", "Check the path") from error
        return Plan.parse(text, str(path))

    @staticmethod
    def parse(text: str, name: str = "plan.json") -> "Plan":
        """Check the text of a plan."""
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise HilumError("HIL-PLAN-01", f"{name} is not JSON ({error})", "Mend the line or plan anew") from error
        if not isinstance(data, dict):
            raise HilumError("HIL-PLAN-01", f"{name} is not a JSON object", "Plan anew with: hilum plan")
        return checked(Plan, data, name)


DATA = (
    "name", "layout", "grouping", "labels", "ignore", "others", "terms", "warnings", "coils", "fingerprint", "notes",
    "normalise_first", "slice",
)  # fmt: skip
# What a plan says of its data; any other key would be read by nobody.


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _values(value: Any) -> bool:
    return isinstance(value, list) and all(map(_whole, value))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(map(_text, value))


def _rules(value: Any) -> bool:
    words = ("nonzero", "instances")
    return isinstance(value, dict) and all(_whole(v) or _values(v) or v in words for v in value.values())


def _size(value: Any) -> bool:
    return _values(value) and len(value) == 2 and min(value) > 0


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


TOLD: dict[str, tuple[Callable[[Any], bool], str]] = {
    "labels": (_or_none(_rules), "{class: value}, a value being a whole number, a list of them, nonzero or instances"),
    "ignore": (_or_none(_whole), "a whole number"),
    "others": (_or_none(_values), "a list of whole numbers"),
    "layout": (_or_none(_text), "text"),
    "notes": (_texts, "a list of text"),
    "warnings": (_texts, "a list of text"),
    "slice": (_or_none(_size), "two whole numbers above 0"),
    "normalise_first": (lambda value: isinstance(value, bool), "true or false"),
}
# Of what a plan says of its data that which is read as such a thing.
SHORT = reprlib.Repr()
SHORT.maxlevel, SHORT.maxstring, SHORT.maxother = 2, 200, 200
# How a wrong value is written out in a sentence.


def _put(data: dict[str, Any], path: str, value: Any) -> None:
    """Set a dotted path in nested plain data; only the last key of an open dictionary may be new."""
    keys = path.split(".")
    here: Any = data
    for key in keys[:-1]:
        if isinstance(here, list) and key.isdigit() and int(key) < len(here):
            here = here[int(key)]
        elif isinstance(here, dict) and key in here:
            here = here[key]
        else:
            known = list(here) if isinstance(here, dict) else []
            known = [str(i) for i in range(len(here))] if isinstance(here, list) else known
            raise HilumError("HIL-PLAN-02", f"The plan has no {path!r}: {key!r} is unknown", near(key, known))
    if isinstance(here, list) and keys[-1].isdigit() and int(keys[-1]) < len(here):
        here[int(keys[-1])] = value
    elif isinstance(here, dict):
        here[keys[-1]] = value
    else:
        raise HilumError("HIL-PLAN-02", f"The plan has no {path!r}", "Open plan.json to see its keys")


def _check_data(path: str) -> None:
    """Refuse a key below `data` that nobody reads (HIL-PLAN-02)."""
    room, _, rest = path.partition(".")
    key = rest.partition(".")[0]
    if room != "data" or not rest:
        return
    if key not in DATA:
        raise HilumError("HIL-PLAN-02", f"The plan has no {path!r}: {key!r} is unknown", near(key, list(DATA)))


def checked(model: type[T], data: dict[str, Any], name: str) -> T:
    """`data` as `model`; the first thing wrong becomes one sentence that names the key and offers near ones."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "(top)"
        if first["type"] == "extra_forbidden":
            known = list(model.model_fields) if len(first["loc"]) == 1 else []
            hint = near(str(first["loc"][-1]), known) if known else "Remove it"
            raise HilumError("HIL-PLAN-02", f"{name} has an unknown key {where!r}", hint) from error
        if first["type"] == "missing":
            raise HilumError("HIL-PLAN-03", f"{name} lacks {where!r}", "Add it or plan anew") from error
        if first["type"] == "told":
            # a key below `data`, which pydantic does not know
            told = first["ctx"]
            seen = f"{name}: '{where}.{told['key']}' can not be {SHORT.repr(told['value'])}"
            raise HilumError("HIL-PLAN-03", seen, f"Give {told['wanted']}") from error
        # written out in part: an input of YAML anchors may be small and its whole text endless
        seen = f"{name}: {where!r} can not be {SHORT.repr(first['input'])} ({first['msg']})"
        raise HilumError("HIL-PLAN-03", seen, "Give a sensible value") from error


def parse_net(text: str) -> tuple[str, dict[str, Any]]:
    """'resnet:depth=34:width=32' -> ("resnet", {"depth": 34, "width": 32})."""
    name, *pairs = text.split(":")
    return name, dict(parse_setting(p) for p in pairs)


def parse_setting(text: str) -> tuple[str, Any]:
    """'key=value' with the value as JSON where it is JSON (3, true, [1, 2]), else as a word."""
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise HilumError("HIL-PLAN-02", f"{text!r} is not key=value", "Write for example learning.rate=0.001")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
