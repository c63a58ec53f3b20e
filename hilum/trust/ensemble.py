"""Several runs of one plan become one: the weights of the others are copied into the first, if they fit together."""

from collections.abc import Sequence
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.tasks import _build

SHARED = ("task", "dims", "channels", "classes", "patch", "spacing", "normalisation", "networks", "options")
# Of the plans: what decides the network, its grid, and what its channels mean.


def check(run: Run, others: Sequence[Run]) -> None:
    """Refuse runs that do not make an ensemble with `run`.

    HIL-TRUST-08: none is given, or the same run twice. HIL-TRUST-07: another plan, or another split, by which a case
    that one run is judged on may have taught another.
    """
    paths = [r.path.resolve() for r in (run, *others)]
    if len(set(paths)) < max(2, len(paths)):
        raise HilumError(
            "HIL-TRUST-08", f"The {len(paths)} runs given are not two or more, all different",
            "Give runs trained with different seeds",
        )  # fmt: skip
    for other in others:
        other.check_hashes()
        differing = _differing(run, other)
        if differing:
            raise HilumError(
                "HIL-TRUST-07",
                f"{run.path} and {other.path} differ in {', '.join(differing)}, so their answers can not be averaged",
                f"Train the others on the same data with --plan {run.path}/plan.json --set plan.seed=N",
            )


def weights(run: Run, others: Sequence[Run]) -> dict[str, bytes]:
    """{file in the folder of `run`: predicting network of one of `others`}, counted from 2."""
    role = _build.predicting(run.plan)
    return {
        f"weights/{role}.{number}.safetensors": other.read(f"weights/{role}.safetensors")
        for number, other in enumerate(others, 2)
    }


def _differing(run: Run, other: Run) -> list[str]:
    """What of the two runs does not fit together."""
    rows: list[dict[str, Any]] = [r.plan.model_dump() for r in (run, other)]
    found = [name for name in SHARED if rows[0][name] != rows[1][name]]
    splits = [sorted((row["case"], row["part"]) for row in r.split()) for r in (run, other)]
    return found + ["split"] * (splits[0] != splits[1])
