"""What the model card says of a run's doubts about its own answers, and of how several networks answer as one."""

from collections.abc import Callable

from hilum.core.calibration import Calibration, Opinions, Sets
from hilum.core.findings import Verdict
from hilum.core.run import Run
from hilum.evaluation.provenance import NOT_KNOWN

Lines = tuple[tuple[str, str], ...]
ALONE = "not applicable: one network predicts"


def combined(run: Run, known: Calibration | None) -> str:
    """How several networks answer as one; begins with "not applicable" where there is only one.

    known: of the run itself, as it was when it answered.
    """
    system = run.system
    if system is None:
        return _asked(None if known is None else known.opinions)
    found = []
    for group in system.groups:
        own, words = run.part(group.name).calibration, ", ".join(c.name for c in group.classes)
        how = _asked(None if own is None else own.opinions)
        found.append(f"{group.name}: {words}" + ("" if how == ALONE else f" ({how.removeprefix('not applicable: ')})"))
    return (
        f"{len(found)} networks share out the classes ({'; '.join(found)}); a voxel that two of them claim goes to the "
        "one that is surer of it"
    )


def _asked(opinions: Opinions | None) -> str:
    """Whose mean the answer of one run is."""
    kind, count = ("one", 1) if opinions is None else (opinions.kind, opinions.count)
    return {
        "one": ALONE,
        "dropout": f"{ALONE}, and its answer is the mean of the probabilities of {count} passes with dropout left on",
        "views": f"{ALONE}, and its answer is the mean of its probabilities for several views of the image",
        "ensemble": f"{count} networks of one plan, trained apart; the answer is the mean of their probabilities",
    }[kind]


def operation(run: Run) -> Lines:
    """The limit up to which results are accepted, and where it comes from."""
    return _each(run, _operation)


def calibration(run: Run) -> Lines:
    """How probabilities are scaled, and the notes of how it was learned."""
    return _each(run, _calibration)


def uncertainty(run: Run) -> Lines:
    """What happens with doubtful results and with input that is unlike the training images or poor."""
    return _each(run, _uncertainty)


def _each(run: Run, make: Callable[[Calibration | None], Lines]) -> Lines:
    """The lines of a run; of a system those of all its networks, once where they say the same."""
    system = run.system
    if system is None:
        return make(run.calibration)
    made = {g.name: dict(make(run.part(g.name).calibration)) for g in system.groups}
    out = []
    for line in next(iter(made.values())):
        words = {name: lines[line] for name, lines in made.items()}
        alike = len(set(words.values())) == 1
        out.append((line, next(iter(words.values())) if alike else "; ".join(f"{n}: {w}" for n, w in words.items())))
    return tuple(out)


def _share(error: float) -> str:
    """A promise as it was made: 2.5 % is not 2 %."""
    return f"{100 * error:g} %"


def _operation(own: Calibration | None) -> Lines:
    if own is None or own.gate is None:
        return (("threshold", NOT_KNOWN), ("how it was chosen", NOT_KNOWN))
    gate = own.gate
    limit = "no result is accepted" if gate.accept is None else f"accepted up to {gate.accept:g} ({gate.measure})"
    chosen = f"on the {own.part} part ({gate.groups} groups), for at most {_share(gate.error)} accepted and wrong"
    return (("threshold", limit), ("how it was chosen", f"{chosen}; wrong: {gate.wrong}"))


def _calibration(own: Calibration | None) -> Lines:
    if own is None:
        return (("scaling of probabilities", NOT_KNOWN), ("notes", NOT_KNOWN))
    made = f"{own.scaling.method}, on the {own.part} part ({own.cases} cases in {own.groups} groups)"
    return (("scaling of probabilities", made), ("notes", " ".join(own.notes) or "none"))


def _sets(own: Sets) -> str:
    """What prediction sets promise, and of how many patients that was learned."""
    if own.threshold is None:
        return f"hold every class: {own.groups} patients are too few for smaller ones"
    return f"may lack the true class in {_share(own.error)} of patients, learned from {own.groups}"


def _uncertainty(own: Calibration | None) -> Lines:
    gate = "results are accepted, flagged or sent to a person"
    gate = Verdict().reasons[0] if own is None or own.gate is None else gate
    sets = NOT_KNOWN
    if own is not None and own.sets is not None:
        sets = f"{own.sets.score}, {_sets(own.sets)}"
    outlier = NOT_KNOWN
    if own is not None and own.gate is not None and own.gate.outlier is not None:
        outlier = f"a score above {own.gate.outlier:g} goes to a person"
    usual = own is not None and (own.quality or own.sides)
    poor = "compared with what is usual of the training images" if usual else NOT_KNOWN
    return (
        ("gate", gate), ("prediction sets", sets), ("unlike the training images", outlier), ("poor input", poor),
        ("robustness", NOT_KNOWN), ("explanations", NOT_KNOWN),
    )  # fmt: skip
