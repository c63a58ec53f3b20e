"""A run or a bundle becomes a function from a case to a Result."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Array, Case, Image, Source
from hilum.core.plan import Plan
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer import windows
from hilum.prepare import anatomy
from hilum.tasks import _build, _task

RUNTIMES = ("torch",)
ROLES = {"image": "image", "fixed": "fixed image", "moving": "moving image"}
# Roles whose images are compared with how the training images lay, and what they are called.


@dataclass(frozen=True)
class Opinion:
    """One look at a case. prepared: what the task made of it. logits: before any reduction.

    entropies: how far several opinions lay apart, where the answer is their mean; None of one network asked once.
    """

    result: Result
    prepared: dict[str, Any]
    logits: Any
    entropies: Any = None


class Predictor:
    """The predicting network of a run, with its weights, and the task that knows how to use it."""

    def __init__(self, run: Run, runtime: str = "torch", limit: int | None = None) -> None:
        if runtime not in RUNTIMES:
            raise HilumError("HIL-INFER-02", f"There is no runtime {runtime!r}", f"Known: {', '.join(RUNTIMES)}")
        self.run, self.limit = run, limit
        run.check_hashes()
        self.plan: Plan = run.plan
        self.task = _task.load(self.plan)
        self.net = network(self.task, run)
        self.anatomy = _anatomy(run)

    def __call__(self, case: Case, progress: Progress = quiet) -> Result:
        """Everything found in the case; warnings of its images, and one where an image looks turned (HIL-M08)."""
        return self.opinion(case, progress).result

    def opinion(self, case: Case, progress: Progress = quiet) -> Opinion:
        """The same, with what it was decoded from."""
        if self.task.CARD["infer"] == "sampler":
            raise HilumError(
                "HIL-INFER-03",
                f"A {self.plan.task} model takes no input images",
                "Use: hilum generate RUN --count N --out DIR",
            )
        for role in self.task.CARD["predicts_from"]:
            if not any(r in case.items for r in role.split("|")):
                raise HilumError("HIL-DATA-08", f"Case {case.id} has no {role}", f"It has: {', '.join(case.items)}")
        looks = {role: _Look(case.items[role]) for role in ROLES if role in case.items and self.anatomy is not None}
        case = replace(case, items={**case.items, **looks})
        prepared = self.task.prepare(case, truth=False)
        logits, entropies = self.looked(prepared, progress)
        result = self.task.decode(self._reduced(logits), prepared, case)
        _check_finite(result, case)
        turned = [anatomy.warning(look.block, self.anatomy, ROLES[role]) for role, look in looks.items()]
        result = replace(result, warnings=(*result.warnings, *[w for w in turned if w is not None]))
        return Opinion(result, prepared, logits, entropies)

    def looked(self, prepared: dict[str, Any], progress: Progress = quiet) -> tuple[Any, Any]:
        """What a case is decoded from: logits, and the entropies of several opinions (here there is one: None)."""
        return self.logits(prepared, progress), None

    def _reduced(self, logits: Any) -> Any:
        """The network's output over the whole case, reduced as the task's CARD says."""
        if self.task.CARD["infer"] == "windows" and self.task.reduce == "argmax":
            return logits.argmax(dim=0).numpy()
        return logits

    def logits(self, prepared: dict[str, Any], progress: Progress = quiet) -> Any:
        """The network's output over a case that the task has prepared, not reduced; no numbers are refused (HIL-M10).

        Of windows: mean logits (K, *space) on the network's grid. Of whole cases: what the network gives, (1, K) for
        classify.
        """
        import torch

        if self.task.CARD["infer"] == "windows":
            options = self.task.options
            merged = windows.merged(
                self.net, prepared["image"], self.plan.patch, options.overlap, options.mirror, self.limit, progress
            )
            _check_outputs(merged)
            return merged
        if self.task.CARD["infer"] == "whole":
            with torch.inference_mode():
                outputs = self.net(*self.task.inputs(self.task.whole(prepared)))
            _check_outputs(outputs)
            return outputs
        raise AssertionError(f"unknown way to infer: {self.task.CARD['infer']}")

    def generate(self, count: int, seed: int) -> list[Result]:
        """`count` new images (task generate only), the same for the same seed."""
        import torch

        if self.task.CARD["infer"] != "sampler":
            raise HilumError("HIL-INFER-03", f"A {self.plan.task} model does not generate", "Use: hilum predict")
        if count < 1:
            raise HilumError("HIL-INFER-04", f"--count is {count}", "Give at least 1")
        if seed < 0:
            raise HilumError("HIL-INFER-04", f"--seed is {seed}", "Give 0 or more")
        batch = {"latent": self.task.latent(count, np.random.default_rng(seed))}  # type: ignore[attr-defined]
        made = []
        with torch.inference_mode():
            for latent in batch["latent"].split(64):
                made.extend(self.net(*self.task.inputs({"latent": latent})))
        _check_outputs(made)
        return [self.task.decode(m, {}, Case(f"generated_{i:04d}", "", {})) for i, m in enumerate(made)]


@dataclass
class _Look:
    """An image on its way to the task: what is read is looked at once, coarsely, and not read again.

    item: an Image, or a Source, all of whose other abilities it keeps. block: what `anatomy.block` saw of the whole.
    """

    item: Any
    block: Array | None = field(default=None, init=False)

    def read(self, region: tuple[slice, ...] | None = None, level: int = 0) -> Any:
        image = self.item.read(region, level) if isinstance(self.item, Source) else self.item
        if region is None and isinstance(image, Image) and self.block is None:
            self.block = anatomy.block(image)
        return image

    def __getattr__(self, name: str) -> Any:
        return getattr(self.item, name)


def _anatomy(run: Run) -> anatomy.Profile | None:
    """How the training images lay: in a bundle a file of its own, in a run a part of the fingerprint; often None."""
    if run.has("anatomy.json"):
        return anatomy.parse(run.json("anatomy.json"))
    return anatomy.parse(run.json("fingerprint.json").get("anatomy")) if run.has("fingerprint.json") else None


def network(task: _task.Task, run: Run, number: int = 1) -> Any:
    """The predicting network with the run's weights, in evaluation mode; wrong keys or shapes are refused (M07).

    number: of the networks of an ensemble, from 1; the first is the run's own.
    """
    role = _build.predicting(task.plan)
    net, weights = _build.build(task, role), run.weights(role if number == 1 else f"{role}.{number}")
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        raise HilumError(
            "HIL-M07", f"The weights of {run.path} do not fit its plan ({first})", "Use the original files"
        ) from error
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise HilumError("HIL-M04", f"The weight {name!r} of {run.path} is not finite", "Train again")
    return net.eval()


def _check_outputs(outputs: Any) -> None:
    """Refuse outputs that are no numbers before an argmax, a threshold or a sort hides them (M10)."""
    levels = list(outputs.values()) if isinstance(outputs, dict) else outputs
    if isinstance(levels, list | tuple):
        for level in levels:
            _check_outputs(level)
    elif not levels.isfinite().all():
        raise HilumError("HIL-M10", "The model gave values that are no numbers", "Train again")


def _check_finite(result: Result, case: Case) -> None:
    """A result that is not a number is never handed on (M10)."""
    for name, finding in result.findings.items():
        array = getattr(finding, "array", getattr(getattr(finding, "image", None), "array", None))
        if array is not None and np.asarray(array).dtype.kind == "f" and not np.isfinite(array).all():
            raise HilumError(
                "HIL-M10", f"The model gave values that are no numbers ({name} of {case.id})", "Train again"
            )


def open_predictor(path: Path | str, runtime: str = "torch", limit: int | None = None) -> Predictor:
    """A predictor from a run folder or a .hilum file."""
    return Predictor(Run(Path(path)), runtime, limit)
