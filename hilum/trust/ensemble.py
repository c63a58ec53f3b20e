"""Several runs of one plan become one: the weights of the others are copied into the first, if they fit together."""

import shlex
from collections.abc import Sequence
from typing import Any

from hilum.core import terms
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.tasks import _build

SHARED = ("task", "dims", "channels", "classes", "patch", "spacing", "normalisation", "networks", "options")
# Of the plans: what decides the network, its grid, and what its channels mean.


def check(run: Run, others: Sequence[Run]) -> None:
    """Refuse runs that do not make an ensemble with `run`.

    HIL-TRUST-08: none is given, or the same run twice. HIL-TRUST-07: another plan; another split, by which a case
    that one run is judged on may have taught another; or terms, beginnings or images that `run` does not answer for.
    """
    paths = [r.path.resolve() for r in (run, *others)]
    if len(set(paths)) < max(2, len(paths)):
        raise HilumError(
            "HIL-TRUST-08", f"The {len(paths)} runs given are not two or more, all different",
            "Give runs trained with different seeds",
        )  # fmt: skip
    for other in others:
        other.check_hashes()
        if other.is_bundle:
            raise HilumError(
                "HIL-TRUST-07", f"{other.path} is a bundle, which does not say which cases were in which part",
                "Give the run that it was made of",
            )  # fmt: skip
        differing = _differing(run, other)
        if differing:
            raise HilumError(
                "HIL-TRUST-07",
                f"{run.path} and {other.path} differ in {', '.join(differing)}, so their answers can not be averaged",
                "Train the others on the same data, and with the same --start if any, with "
                f"--plan {shlex.quote(f'{run.path}/plan.json')} --set plan.seed=N",
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
    found += ["split"] * (splits[0] != splits[1])
    # bundle, card and evaluation read these of `run` alone, so it must answer for all: it can not be given more of them
    # now, as its plan and the hashes of its files are what was trained
    own, theirs = (str(row["data"].get("terms", "unknown")) for row in rows)
    found += ["the terms of their data"] * (terms.inherited(own, theirs) != terms.inherited(own))
    begun = [row["learning"].get("start") for row in rows]
    found += ["the weights they began with"] * (begun[1] not in (None, begun[0]))
    return found + ["the images they learned from"] * bool(other.learned_from() - run.learned_from())
