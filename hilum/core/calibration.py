"""What a run has learned on its validation part about its own answers (calibration.json): scaling, sets, the gate."""

from typing import Literal

from pydantic import Field

from hilum.core.plan import Strict


class Scaling(Strict):
    """Probabilities p become softmax(scale * log(p) + bias). One scale (1 / temperature), or one for every class."""

    method: Literal["none", "temperature", "vector"] = "none"
    scale: list[float] = Field(default_factory=lambda: [1.0], min_length=1)
    bias: list[float] = Field(default_factory=lambda: [0.0], min_length=1)


class Sets(Strict):
    """Prediction sets: the classes whose conformal score is at most the threshold (None: every class).

    error: share of sets, over patients, that may lack the true class. groups: patients that it was learned from.
    """

    score: Literal["lac", "aps"] = "lac"
    error: float = Field(gt=0, lt=1)
    threshold: float | None
    groups: int = Field(ge=1)


class Gate(Strict):
    """Which results are accepted. Doubts and limits have the unit of `measure`; higher is more doubtful.

    error: share of patients whose result may be accepted and wrong. accept: most doubt of an accepted result (None: no
    limit keeps the error, so nothing is accepted). person: doubt above which a person judges without a proposal.
    wrong: what counts as wrong, in words. outlier: score above which an input is unlike the training images.
    groups: patients that the limits were learned from. rate: share of their results that was accepted.
    """

    error: float = Field(gt=0, lt=1)
    measure: str
    wrong: str
    accept: float | None
    person: float
    outlier: float | None = None
    groups: int = Field(ge=1)
    rate: float = Field(ge=0, le=1)


class Calibration(Strict):
    """calibration.json. acceptable: Dice from which a mask counts as right. quality: what is usual, by feature.

    notes: how it was learned, and what could not be, in words.
    """

    format: Literal[1] = 1
    part: str = "val"
    cases: int = Field(ge=1)
    groups: int = Field(ge=1)
    scaling: Scaling = Field(default_factory=Scaling)
    sets: Sets | None = None
    acceptable: float | None = None
    gate: Gate | None = None
    quality: dict[str, dict[str, float]] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)
