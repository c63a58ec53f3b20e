"""calibrate: learn anew, on the validation part, how far a run's answers can be believed, for another stated error."""

from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.planning.planner import look
from hilum.trust import learned
from hilum.verbs.train import same_data


def calibrate(
    model: Path | str,
    data: Path | str,
    *,
    error: float = learned.ERROR,
    acceptable: float = learned.ACCEPTABLE,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Write calibration.json into the run folder and return it. `hilum train` has done so with the defaults.

    data: what the run was trained on. error: share of patients, above 0 and below 1, whose result may be accepted and
    wrong, and whose prediction set may lack the true class. acceptable: Dice from which a mask counts as right.
    """
    run = Run(Path(model))
    if run.is_bundle:
        raise HilumError("HIL-TRUST-20", f"{model} is a bundle", "Calibrate the run, and bundle it again")
    units = same_data(run, look(data, run.plan.task, run.plan.split_seed, progress))
    if units is None:
        raise HilumError("HIL-TRUST-20", f"{data} is not what {model} was trained on", "Give the same, unchanged data")
    made = learned.write(run, units, error, acceptable, progress)
    if made is None:
        raise HilumError(
            "HIL-TRUST-21", f"{model} can not be calibrated: it generates, or no validation case gave a result",
            "Train with a validation part",
        )  # fmt: skip
    run.record("calibrate", {"part": made.part, "cases": made.cases, "error": error, "acceptable": acceptable})
    return made.model_dump()
