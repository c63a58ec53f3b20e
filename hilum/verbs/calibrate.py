"""calibrate: learn anew, on the validation part, how far a run's answers can be believed, or from several opinions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer.runtimes import _choose
from hilum.trust import learned, several
from hilum.verbs._same import own_data, writable


def calibrate(
    model: Path | str,
    data: Path | str,
    *,
    error: float = learned.ERROR,
    acceptable: float | None = None,
    opinions: str = "one",
    others: Sequence[Path | str] = (),
    runtime: str = "torch",
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Write calibration.json into the run folder and return it. `hilum train` has done so with the defaults.

    data: what the run was trained on. error: share of patients, above 0 and below 1, whose result may be accepted and
    wrong, and whose prediction set may lack the true class. acceptable: from when a result is right, as Dice or F1 of
    boxes (0.7 if not given), of a picture as PSNR in dB (30); what can only be another of these, and any of a class, is
    refused (HIL-TRUST-23). opinions: whose mean an answer is from now on, "one", "views" or "dropout:N"; others: runs
    of the same plan and split that make an ensemble with this one, whose weights are copied into the run. runtime: what
    computes, as of `predict`.
    """
    _choose.check(runtime)
    run = Run(Path(model))
    writable(run, "Calibrate")
    if run.system is not None:
        # it asks for its networks one by one here
        from hilum.verbs import _system

        words = {"error": error, "acceptable": acceptable, "opinions": opinions, "runtime": runtime}
        return {"networks": _system.calibrated(run, data, words, others, progress)}
    return of_one(run, data, error, acceptable, opinions, runtime, others, progress)


def of_one(
    run: Run,
    data: Path | str,
    error: float,
    acceptable: float | None,
    opinions: str,
    runtime: str,
    others: Sequence[Path | str],
    progress: Progress,
) -> dict[str, Any]:
    """The same of one network, by itself or of a system."""
    learned.taken_up(run)
    units = own_data(run, data, "HIL-TRUST-20", "Give the same, unchanged data", progress)
    wanted, more = several.parse(opinions), [Run(Path(path)) for path in others]
    if more and wanted.kind != "one":
        raise HilumError("HIL-TRUST-08", "Both --opinions and --with were given", "Give one of them")
    made = learned.write(run, units, error, acceptable, wanted, more, progress, runtime)
    if made is None:
        raise HilumError(
            "HIL-TRUST-21", f"{run.path} can not be calibrated: it generates, or no validation case gave a result",
            "Train with a validation part",
        )  # fmt: skip
    facts = {"part": made.part, "cases": made.cases, "error": error, "acceptable": made.acceptable, "runtime": runtime}
    if made.opinions.kind != "one":
        facts |= {"opinions": made.opinions.model_dump(), "with": [r.path.name for r in more]}
    run.record("calibrate", facts)
    return made.model_dump()
