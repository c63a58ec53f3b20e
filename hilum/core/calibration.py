"""What a run has learned on its validation part about its own answers (calibration.json): scaling, sets, the gate."""

from typing import Literal

from pydantic import Field

from hilum.core.plan import Strict

DOUBT = 2
# How the doubt of masks is told: 1 of voxels drawn alike from all that lie near the mask as the network gave it, 2 of
# voxels drawn by kind, near the mask as it is delivered (`infer.near`, `trust.doubt`).


class Scaling(Strict):
    """Probabilities p become softmax(scale * log(p) + bias). One scale (1 / temperature), or one for every class."""

    method: Literal["none", "temperature", "vector"] = "none"
    scale: list[float] = Field(default_factory=lambda: [1.0], min_length=1)
    bias: list[float] = Field(default_factory=lambda: [0.0], min_length=1)


class Sets(Strict):
    """Prediction sets: the likeliest class, and all whose conformal score is at most the threshold (None: every class).

    error: share of sets, over patients, that may lack the true class. groups: patients that it was learned from.
    """

    score: Literal["lac", "aps"] = "lac"
    error: float = Field(gt=0, lt=1)
    threshold: float | None
    groups: int = Field(ge=1)


class Gate(Strict):
    """Which results are accepted. Doubts and limits have the unit of `measure`; higher is more doubtful.

    error: share of patients whose result may be accepted and wrong. accept: most doubt of an accepted result (None: no
    limit keeps the error, so nothing is accepted). person: doubt above which a person is advised to judge without the
    result, which is written all the same. wrong: what counts as wrong, in words. outlier: score above which an input is
    unlike the training images. groups: patients that the limits were learned from. rate: share of their results with a
    doubt of at most `accept` and no prediction set of several classes (of doubt alone in files of before); an odd image
    keeps a result from being accepted all the same.
    """

    error: float = Field(gt=0, lt=1)
    measure: str
    wrong: str
    accept: float | None
    person: float
    outlier: float | None = None
    groups: int = Field(ge=1)
    rate: float = Field(ge=0, le=1)


class Opinions(Strict):
    """Whose mean is the answer: the network once ("one"), with dropout left on, of views of the image, or of several.

    count: passes with dropout, or networks of an ensemble (their weights are in the run), as many as the command line
    takes at most; views follow from the plan.
    """

    kind: Literal["one", "dropout", "views", "ensemble"] = "one"
    count: int = Field(default=1, ge=1, le=9999)
    seed: int = Field(default=0, ge=0)


class Wide(Strict):
    """Wide masks: what was found, and every voxel whose probability reaches the threshold of its class.

    risk: share of a class's true voxels that may be missed, mean over patients. thresholds: by class, None where no
    threshold keeps it. groups: patients that have the class, by class.
    """

    risk: float = Field(gt=0, lt=1)
    thresholds: dict[str, float | None]
    groups: dict[str, int]


class Interval(Strict):
    """An interval around a measurement v: v - width * s to v + width * s, cut at what is possible.

    s is 1, or v + floor where a floor is given: large things have large errors. width: None where patients were too few
    for any. error: share of patients whose truth may lie outside. low, high: ends of what is possible. unit: of v.
    where_found: learned of patients with a v above 0, and said of these alone; in files of before volumes were learned
    of all patients.
    """

    unit: str
    error: float = Field(gt=0, lt=1)
    groups: int = Field(ge=0)
    width: float | None
    floor: float | None = None
    where_found: bool = False
    # files of before have it, always as null
    centre: None = Field(default=None, exclude=True)
    low: float | None = None
    high: float | None = None


class Part(Strict):
    """What one measurement adds: weight * min(measurement, most). most: the highest that validation has shown."""

    weight: float = Field(gt=0)
    most: float


class Foreseen(Strict):
    """The quality to expect of a picture without its truth: base + the sum of the parts, in the metric's unit.

    parts: by what is measured. groups: patients that it was learned from. rank: correlation of the ranks of what was
    expected of them, out of fold, and what they reached.
    """

    metric: str
    base: float
    parts: dict[str, Part]
    groups: int = Field(ge=1)
    rank: float = Field(default=0.0, ge=-1, le=1)


class Calibration(Strict):
    """calibration.json. acceptable: the least Dice, F1 of boxes, or PSNR in dB of a right result.

    quality: what is usual of images, by feature. sides: the same of what is no single image, by role ("fixed" and
    "moving" of a pair, "zero_filled" of raw data). modalities: DICOM codes of the training images, by role, where all
    say what they are. foreseen: what the quality of a reconstruction is foretold from.
    measured: intervals by what is measured ("volume NAME", or the headline metric, which only the truth would show).
    single: classes of masks of which only the largest piece is kept. runtime: by which the answers were computed.
    doubt: how that of masks was told, see DOUBT. notes: how it was learned, and what could not be, in words.
    """

    format: Literal[1] = 1
    part: str = "val"
    cases: int = Field(ge=1)
    groups: int = Field(ge=1)
    scaling: Scaling = Field(default_factory=Scaling)
    sets: Sets | None = None
    acceptable: float | None = None
    gate: Gate | None = None
    opinions: Opinions = Field(default_factory=Opinions)
    wide: Wide | None = None
    foreseen: Foreseen | None = None
    measured: dict[str, Interval] = Field(default_factory=dict)
    quality: dict[str, dict[str, float]] = Field(default_factory=dict)
    sides: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    modalities: dict[str, list[str]] = Field(default_factory=dict)
    single: list[str] = Field(default_factory=list)
    # in files of before this was kept it is missing: the run's ledger knows it then
    runtime: str = "torch"
    # 1 in files of before this was kept
    doubt: int = Field(default=1, ge=1)
    notes: list[str] = Field(default_factory=list)
