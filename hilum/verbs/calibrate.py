"""calibrate: learn anew, on the validation part, how far a run's answers can be believed, or from several opinions."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hilum.core.calibration import Calibration, Gate, Interval, Opinions, Sets
from hilum.core.errors import HilumError
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.infer.runtimes import _choose
from hilum.trust import gate, learned, several
from hilum.trust.promises import fitted
from hilum.verbs._same import own_data, writable


def calibrate(
    model: Path | str,
    data: Path | str,
    *,
    error: float | None = None,
    acceptable: float | None = None,
    opinions: str | None = None,
    others: Sequence[Path | str] = (),
    runtime: str | None = None,
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Write calibration.json into the run folder and return it, with the "error" that it was learned for.

    And with the "promise" of the gate in words, None where it accepts nothing.

    `hilum train` has done so with the defaults. What is not given stays as the calibration that is there has it, an
    ensemble with its weights; runtime as the call before had it.

    data: what the run was trained on. error: share of patients, above 0 and below 1, whose result may be accepted and
    wrong, and whose prediction set may lack the true class (0.1 at first). acceptable: from when a result is right, as
    Dice or F1 of boxes (0.7 at first), of a picture as PSNR in dB (30); what can only be another of these, and any of a
    class, is refused (HIL-TRUST-23). opinions: whose mean an answer is from now on, "one" (at first; of an ensemble
    the other weights go), "views" or "dropout:N"; others: all runs of the same plan and split that make an ensemble
    with this one, whose weights are copied into the run; of a system whose networks differ in these, as a call was cut
    off, either must be given (HIL-TRUST-26). runtime: what computes, as of `predict` ("torch" at first).
    """
    if runtime is not None:
        _choose.check(runtime)
    wanted = None if opinions is None else several.parse(opinions)
    if others and wanted is not None and wanted.kind != "one":
        raise HilumError("HIL-TRUST-08", "Both --opinions and --with were given", "Give one of them")
    run = Run(Path(model))
    writable(run, "Calibrate")
    parts = [run] if run.system is None else [run.part(group.name) for group in run.system.groups]
    for part in parts:
        learned.taken_up(part)
    run.check_hashes()
    if wanted is None and not others:
        _alike(parts)
    # a network whose calibration was cut short has none, from which nothing can stay
    known = next((part for part in parts if part.has("calibration.json")), parts[0])
    words = _words(known, error, acceptable, runtime) | {"opinions": wanted}
    if run.system is not None:
        # it asks for its networks one by one here
        from hilum.verbs import _system

        return {"networks": _system.calibrated(run, data, words, others, progress)}
    return of_one(run, data, **words, others=others, progress=progress)


def of_one(
    run: Run,
    data: Path | str,
    *,
    error: float,
    acceptable: float | None,
    opinions: Opinions | None,
    runtime: str,
    others: Sequence[Path | str],
    progress: Progress,
) -> dict[str, Any]:
    """The same of one network, by itself or of a system. opinions: None for those that it has, where no others are."""
    units = own_data(run, data, "HIL-TRUST-20", "Give the same, unchanged data", progress)
    known, more = run.calibration, [Run(Path(path)) for path in others]
    if opinions is None and known is not None and not more:
        opinions = known.opinions
    made = learned.write(run, units, error, acceptable, opinions, more, progress, runtime)
    if made is None:
        raise HilumError(
            "HIL-TRUST-21", f"{run.path} can not be calibrated: it generates, or no validation case gave a result",
            "Train with a validation part",
        )  # fmt: skip
    facts = {"part": made.part, "cases": made.cases, "error": error, "acceptable": made.acceptable, "runtime": runtime}
    if made.opinions.kind != "one":
        kept = _before(run).get("with", []) if made.opinions.kind == "ensemble" else []
        facts |= {"opinions": made.opinions.model_dump(), "with": [_named(r) for r in more] or kept}
    run.record("calibrate", facts)
    return made.model_dump() | {"error": error, "promise": gate.promise(made.gate, fitted(made))}


def _alike(parts: Sequence[Run]) -> None:
    """Refuse networks of a system that differ in whose mean they answer by: a call was cut off between them."""
    found = {part.path.name: _whose(part) for part in parts}
    if len(set(found.values())) > 1:
        told = ", ".join(f"{name}: {whose}" for name, whose in found.items())
        raise HilumError(
            "HIL-TRUST-26", f"A call that was cut off left the networks of the system with different opinions ({told})",
            "Say whose all of them have: give --opinions, or --with and the other systems",
        )  # fmt: skip


def _whose(part: Run) -> str:
    """Whose mean one network of a system answers by, in words; of an ensemble with the names of the other systems."""
    known = part.calibration
    made = Opinions() if known is None else known.opinions
    if made.kind != "ensemble":
        return f"{made.kind}:{made.count}" if made.kind == "dropout" else made.kind
    # ledgers of before name the networks of the others, by the group, which is that of this one
    names = [name for name in _before(part).get("with", []) if name != part.path.name]
    return " with ".join([f"{made.count} networks", *names])


def _named(run: Run) -> str:
    """How the ledger calls one of an ensemble: networks of systems, which are called alike, by the system."""
    return (run.system_folder or run.path).resolve().name


def _words(run: Run, error: float | None, acceptable: float | None, runtime: str | None) -> dict[str, Any]:
    """What is asked for; what is not stays as it was. Of a system that of one network counts for all."""
    known = run.calibration
    if error is None:
        error = learned.ERROR if known is None else _error(known)
    if acceptable is None and known is not None:
        acceptable = known.acceptable
    if runtime is None:
        # calibration.json has what computed: where "auto" was asked for, or a card trained, that need not be here
        runtime = str(_before(run).get("runtime", "torch"))
        _choose.check(runtime)
    return {"error": error, "acceptable": acceptable, "runtime": runtime}


def _error(known: Calibration) -> float:
    """The share of errors that it was learned for: one for all that it promises."""
    promises: list[Gate | Sets | Interval | None] = [known.gate, known.sets, *known.measured.values()]
    found = [one.error for one in promises if one is not None]
    found += [] if known.wide is None else [known.wide.risk]
    return found[0] if found else learned.ERROR


def _before(run: Run) -> dict[str, Any]:
    """What the ledger has of the last call; nothing after training alone."""
    return next((event for event in reversed(run.ledger()) if event["event"] == "calibrate"), {})
