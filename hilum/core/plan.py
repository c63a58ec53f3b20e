"""The plan: what will be trained and how, as plain data one can read, diff, send and edit (plan.json)."""

import json
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hilum.core.atomic import write_text
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

    scheme: Literal["zscore", "ct", "scale", "none"]
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 1.0


class Plan(Strict):
    """Everything that decides a run. `options` belongs to the task, `learning` to the regime; both typed there."""

    format: int = 1
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
    wrappers: list[str] = Field(default_factory=list)
    augment: list[AugmentPlan] = Field(default_factory=list)
    options: dict[str, Any] = Field(default_factory=dict)
    learning: dict[str, Any] = Field(default_factory=dict)
    data: dict[str, Any] = Field(default_factory=dict)
    minutes: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    split_seed: int = Field(default=0, ge=0)
    versions: dict[str, str] = Field(default_factory=dict)

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
            _put(data, path, value)
        return checked(Plan, data, "plan")

    @staticmethod
    def read(path: Path) -> "Plan":
        """Read and check plan.json; nonsense is refused by sentence."""
        return Plan.parse(Path(path).read_text(encoding="utf-8"), str(path))

    @staticmethod
    def parse(text: str, name: str = "plan.json") -> "Plan":
        """Check the text of a plan."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise HilumError("HIL-PLAN-01", f"{name} is not JSON ({error})", "Mend the line or plan anew") from error
        if not isinstance(data, dict):
            raise HilumError("HIL-PLAN-01", f"{name} is not a JSON object", "Plan anew with: hilum plan")
        return checked(Plan, data, name)


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
            known = list(here) if isinstance(here, dict) else [str(i) for i in range(len(here))]
            raise HilumError("HIL-PLAN-02", f"The plan has no {path!r}: {key!r} is unknown", near(key, known))
    if isinstance(here, list) and keys[-1].isdigit() and int(keys[-1]) < len(here):
        here[int(keys[-1])] = value
    elif isinstance(here, dict):
        here[keys[-1]] = value
    else:
        raise HilumError("HIL-PLAN-02", f"The plan has no {path!r}", "Open plan.json to see its keys")


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
        raise HilumError(
            "HIL-PLAN-03", f"{name}: {where!r} can not be {first['input']!r} ({first['msg']})", "Give a sensible value"
        ) from error
