"""What every task gives: rules for its plan, samples to learn from, losses, and how outputs become findings."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Array, Case, Image
from hilum.core.plan import Plan, Strict, checked
from hilum.data.dataset import Dataset, listed
from hilum.data.store import Prepared, Store
from hilum.prepare import augment

if TYPE_CHECKING:
    from torch import Tensor

Batch = dict[str, Any]
# Tensors by name, first axis the batch; a reconstruct batch also holds its operator.


WIDTHS = (8, 12, 16, 24, 32)
# Of a network's first stage, as nnU-Net counts them; the other tasks have their own numbers for the same five sizes.


@dataclass(frozen=True)
class Budget:
    """What a run may cost. minutes: of training. The planner tries several of them (planning/_shape.py).

    chosen: one of WIDTHS; None where the speed of the machine is unknown. share: of the usual size of a sample, to
    learn from smaller ones. published: plan as the paper does for its hardware, where a task knows such a plan.
    """

    minutes: float | None = None
    chosen: int | None = None
    share: float = 1.0
    published: bool = False

    @property
    def width(self) -> int:
        """Channels of the first stage: chosen, or a guess for two CPU cores, where wide networks see too few steps."""
        if self.chosen is not None:
            return self.chosen
        if (self.minutes or 0) >= 90:
            return 32
        return 16 if (self.minutes or 0) > 2 else 12


@dataclass(frozen=True)
class Judged:
    """One case against its truth. values: {metric: {class name or "": value or None when undefined}} of case metrics.

    record: what set metrics need, in the order their `measure` takes it.
    """

    case: str
    group: str
    values: dict[str, dict[str, float | None]] = field(default_factory=dict)
    record: Any = None


def headline_value(values: dict[str, float | None]) -> float | None:
    """One case's number: the unnamed value where there is one, else the mean over classes that are defined."""
    if "" in values:
        return values[""]
    known = [v for v in values.values() if v is not None]
    return float(np.mean(known)) if known else None


class Task(ABC):
    """A task, made from its plan. Subclasses are named `Task` in tasks/<name>.py, beside the file's CARD.

    CARD: about, order (in listings), roles (needed to train), predicts_from (roles needed to predict), network
    (default), regime, infer ("windows", "whole" or "sampler"), reduce (of merged windows: "argmax", else "none"),
    metrics (the first is the headline), dims.
    """

    Options: ClassVar[type[Strict]] = Strict
    CARD: ClassVar[dict[str, Any]]
    steps_beside_segment: ClassVar[float] = 1.0
    # How many more steps a network should see than one that segments.
    varied: ClassVar[bool] = True
    # Whether what is learned from goes through the plan's augmentation.
    spaced: ClassVar[bool] = True
    # Whether images are brought to the plan's spacing.
    normalised: ClassVar[bool] = True
    # Whether intensities are normalised as the plan says.
    cut: ClassVar[bool] = True
    # Whether a sample is of the size of the plan's patch; else of a whole slice, and the patch is the median slice.
    expected: ClassVar[tuple[str, ...]] = ()
    # How remarks begin that the task itself makes of usual cases: they say nothing odd of an image, and the gate passes
    # over them.

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.options: Any = checked(self.Options, plan.options, "plan.json options")
        augment.check(plan.augment)
        self.single: tuple[int, ...] = ()

    def check_trainable(self) -> None:
        """Refuse a plan that can be predicted by and not be trained by."""
        self.check_augment()
        self.check_unused()

    def check_augment(self) -> None:
        """Refuse a plan to train by whose augmentation this task would leave out (HIL-PLAN-05)."""
        if self.plan.augment and not self.varied:
            names = ", ".join(entry.name for entry in self.plan.augment)
            raise HilumError(
                "HIL-PLAN-05", f"{self.plan.task} learns from images as they are, but plan.augment names {names}",
                "Leave plan.augment empty",
            )  # fmt: skip

    def check_unused(self) -> None:
        """Refuse a plan to train by that was given a spacing or a normalisation which this task leaves out
        (HIL-PLAN-05): plan and model card would state it.
        """
        scaled = any(rule.scheme != "none" for rule in self.plan.normalisation)
        given = {
            "plan.spacing": self.plan.spacing is not None and not self.spaced,
            "plan.normalisation": scaled and not self.normalised,
        }
        for key, unused in given.items():
            if unused:
                seen = f"{key} is given, and {self.plan.task} does not use it"
                raise HilumError("HIL-PLAN-05", seen, f"Leave {key} out")

    def keep_largest(self, names: Sequence[str]) -> None:
        """Of masks: classes of which only the largest piece is kept, as the run learned on its validation part."""
        self.single = tuple(n for n, c in enumerate(self.plan.classes, 1) if c.name in names)

    @classmethod
    @abstractmethod
    def rules(cls, fingerprint: dict[str, Any], budget: Budget) -> dict[str, Any]:
        """This task's part of the plan, by documented rules from the fingerprint and the budget.

        "spacing" in the fingerprint: given by hand, in the place of the one that the rules would choose.
        """

    @classmethod
    def units(cls, dataset: Dataset, parts: dict[str, str], seed: int) -> list[tuple[Case, str]]:
        """What is learned from and judged: (case, part). Pairs for registration; else the cases themselves."""
        return [(case, parts[case.id]) for case in dataset.cases]

    def asked(self, cases: Sequence[Case]) -> list[Case]:
        """What is learned from as a prediction is asked of it: the cases themselves, unless overridden."""
        return list(cases)

    @abstractmethod
    def prepare(self, case: Case, truth: bool = True) -> Prepared:
        """A case as arrays on the network's grid; with `truth` the label too. Same case, same arrays."""

    @abstractmethod
    def sample(self, store: Store, cases: Sequence[Case], part: str, k: int, rng: np.random.Generator) -> Batch:
        """Batch k: patches, pairs, slices or whole images; augmented in the train part only. Random only by `rng`."""

    def drawn(self, cases: Sequence[Case], part: str, k: int, number: int, rng: np.random.Generator) -> Case:
        """The case at place `number` of batch k: by chance in the train part, else in turn, so that all are seen."""
        if part == "train":
            return cases[int(rng.integers(len(cases)))]
        return cases[(k * self.plan.batch + number) % len(cases)]

    @abstractmethod
    def inputs(self, batch: Batch) -> tuple[Any, ...]:
        """The network's arguments, in the order of its CARD's `inputs`."""

    @abstractmethod
    def losses(self, outputs: Any, batch: Batch) -> "dict[str, Tensor]":
        """Named scalar losses, already weighted; their sum is minimised."""

    def size(self, prepared: Prepared) -> int:
        """Bytes of a case that one sample may show, by which the largest is found; 0 where there is no single image."""
        return int(getattr(prepared.get("image"), "nbytes", 0))

    def unlearnable(self, prepared: Prepared) -> str:
        """Why nothing can be learned from a case that was prepared, or "": it is then refused before the first step."""
        return ""

    def unseen(self, learned: Callable[[], Iterable[tuple[Case, Sequence[int]]]]) -> list[str]:
        """Sentences about what no sample of this plan shows of the cases that it learns from; refused where that is all
        there is of a class (HIL-PLAN-08). learned: gives them with the shapes of their images, (case, shape).
        """
        return []

    def alike(self, store: Store, cases: Sequence[Case]) -> list[list[Case]]:
        """The cases by what one validation batch can hold together: all of them, unless overridden."""
        return [list(cases)]

    def check(self, store: Store, cases: Sequence[Case], number: int, rng: np.random.Generator) -> Batch:
        """A validation batch of these few cases, each at least once; the same for the same `rng`. See `sample`."""
        return self.sample(store, cases, "val", number, rng)

    def counts(self, outputs: Any, batch: Batch) -> Array | None:
        """What was right and wrong in a validation batch, as counts that can be added up; None: judge by the losses."""
        return None

    def score(self, counts: Array) -> dict[str, float]:
        """Added counts as figures for the curve; the first one, higher is better, chooses the weights to keep."""
        raise TypeError(f"{type(self).__module__} counts nothing")

    def collapse(self, counts: Array) -> str | None:
        """What is wrong when the counts show a network that always answers alike ("it finds ..."), else None."""
        return None

    def pictures(self, outputs: Any, batch: Batch, cases: Sequence[str]) -> list[tuple[Array, str]]:
        """A validation batch as pictures with captions, for the page of a run under way."""
        return []

    def whole(self, prepared: Prepared) -> Batch:
        """One case as a batch of one, where the network sees it whole."""
        raise TypeError(f"{type(self).__module__} does not predict whole cases")

    @abstractmethod
    def decode(self, reduced: Any, prepared: Prepared, case: Case) -> Result:
        """The network's reduced output as findings on the case's own grid."""

    @abstractmethod
    def judge(self, result: Result, case: Case) -> Judged:
        """The result against the truth of the case."""

    def missed(self, case: Case) -> Judged | None:
        """A case without a result, judged as the worst answer there is. None: by the worst end of each metric."""
        return None

    @abstractmethod
    def show(self, result: Result, case: Case) -> list[tuple[Array, str]]:
        """Pictures (H, W, 3) uint8 with captions, for the report."""

    @abstractmethod
    def example(self, rng: np.random.Generator) -> Batch:
        """A synthetic batch of one of the right shape, for timing and for the golden pair of a bundle."""

    @property
    def reduce(self) -> str:
        """What becomes of merged windows in this plan: "argmax", or anything else for the logits as they are."""
        return str(self.CARD["reduce"])

    @property
    def metrics(self) -> list[str]:
        """The metrics of the CARD that this plan is judged by, headline first."""
        return [str(name) for name in self.CARD["metrics"]]

    @property
    def legend(self) -> list[tuple[str, int]]:
        """(name, value) of what colours mean in `show`."""
        return [(c.name, c.value) for c in self.plan.classes]

    def in_channels(self) -> int:
        """Input channels of the predicting network (per image, where it takes several)."""
        return len(self.plan.channels)

    def out_channels(self) -> int | dict[str, int]:
        """Outputs of the predicting network."""
        return 1 + len(self.plan.classes)


def load(plan: Plan) -> Task:
    """The task of a plan."""
    module = catalogue.load("hilum.tasks", plan.task)
    task: Task = module.Task(plan)
    return task


def kind(name: str) -> type[Task]:
    """The task class of that name; unknown names are refused with near ones."""
    found: type[Task] = catalogue.load("hilum.tasks", name).Task
    return found


def case_rng(case: Case, *more: int) -> np.random.Generator:
    """Randomness that belongs to a case: the same in every run and order."""
    digest = hashlib.sha256(case.id.encode("utf-8")).digest()
    return np.random.default_rng([int.from_bytes(digest[:8], "little"), *more])


def one_channel(fingerprint: dict[str, Any], task: str) -> None:
    """Refuse images of which no one channel follows (HIL-PREP-01): see `intensity.match_channels`."""
    rows = fingerprint["cases"]
    odd = [
        f"{row['id']} ({row['channels']})"
        for row in rows
        if row["channels"] != 1 and (row["channels"] != 3 or len(row["shape"]) != 2 or "files" in row)
    ]
    if odd:
        raise HilumError(
            "HIL-PREP-01", f"{task} learns from one channel, and {len(odd)} of {len(rows)} images have several: "
            f"{listed(odd)}",
            "Give one channel of each, as a file of its own in another folder or listed in a CSV; only the colours of "
            "a picture of one file are brought to grey",
        )  # fmt: skip


def result_of(findings: dict[str, Any], case: Case, image: Image | None = None) -> Result:
    """A Result that carries the image's warnings along."""
    return Result(findings, warnings=image.warnings if image is not None else (), meta={"case": case.id})
