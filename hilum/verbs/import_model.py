"""import: weights that were trained elsewhere become a run or a bundle; nothing that comes with them is executed."""

import tempfile
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.atomic import write_json, writing, writing_folder
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.run import Run, free_folder
from hilum.infer import bundle as bundles
from hilum.infer.network import outline
from hilum.learn import _weights
from hilum.learn._start import Report, best_reading, start
from hilum.planning.planner import edit
from hilum.tasks import _build, _task
from hilum.verbs import _facts, _monai_folder, _nnunet_folder
from hilum.verbs._facts import Foreign
from hilum.verbs.bundle import packed


def import_model(
    source: Path | str,
    out: Path | str,
    *,
    net: str | None = None,
    facts: Path | str | None = None,
    orientation: str | None = None,
    configuration: str | None = None,
    fold: str | None = None,
    settings: dict[str, Any] | None = None,
    sign: Path | str | None = None,
) -> dict[str, Any]:
    """Write a run folder, or a bundle where `out` ends in .hilum, and say what became of every tensor.

    source: an nnU-Net v2 results folder; a .safetensors or .pt file of a state dict; the folder of a MONAI bundle (its
    weights and metadata). net: "name:key=value", and facts: a facts file or a plan.json; needed for all but nnU-Net.
    orientation, configuration, fold: of an nnU-Net results folder, see `_nnunet_folder.read`. settings: as --set gives
    them. sign: file of the private key that signs the bundle.

    Every tensor of the network must come from the source, and every one of the source must find its place
    (HIL-LEARN-22).
    """
    source, out = Path(source), Path(out)
    _check_place(out, sign)
    found = _found(source, net, None if facts is None else Path(facts), orientation, configuration, fold)
    plan, notes = _settled(found, net, settings or {})
    made, network, report, reading = _filled(found, plan)
    notes = [*([reading] if reading else []), *notes]
    origin = _weights.origin(found.source) | {"terms": str(made.data.get("terms", "unknown"))}
    if out.suffix == ".hilum":
        with tempfile.TemporaryDirectory() as folder:
            inner = Path(folder) / out.stem
            packed(_written(inner, made, network, report, origin, notes), out, sign=sign)
    else:
        with writing_folder(out) as part:
            _written(part, made, network, report, origin, notes)
    role = _build.predicting(made)
    return {
        "out": str(out),
        "task": made.task,
        "network": made.networks[role].name,
        "classes": [c.name for c in made.classes],
        "terms": origin["terms"],
        "sentence": report.sentence(),
        "tensors": report.table(),
        "notes": notes,
    }


def _check_place(out: Path, sign: Path | str | None) -> None:
    if out.suffix != ".hilum":
        free_folder(out)
        if sign is not None:
            raise HilumError("HIL-INFER-09", f"{out.name} is no bundle, which alone is signed", "Name it NAME.hilum")
    elif out.exists():
        raise HilumError("HIL-CORE-03", f"{out} exists", "Choose another --out or remove it")


def _found(
    source: Path,
    net: str | None,
    facts: Path | None,
    orientation: str | None,
    configuration: str | None,
    fold: str | None,
) -> Foreign:
    """The foreign model as data, by what the source is."""
    if not source.exists():
        raise HilumError("HIL-RUN-01", f"There is nothing at {source}", "Check the path")
    results = source.is_dir() and _nnunet_folder.is_results(source)
    if not results and any(given is not None for given in (orientation, configuration, fold)):
        raise HilumError(
            "HIL-INFER-34",
            f"{source} is no results folder of nnU-Net, which --orientation, --configuration and --fold are for",
            "Leave them out: other weights are used as they are",
        )  # fmt: skip
    if results:
        if net is not None or facts is not None:
            seen = f"{source} is a results folder of nnU-Net, which says itself what its network is"
            raise HilumError("HIL-INFER-34", seen, "Leave out --net and --facts; --set changes the plan")
        return _nnunet_folder.read(source, orientation, configuration, fold)
    known: dict[str, Any] = {}
    file = source
    if source.is_dir() and _monai_folder.is_bundle(source):
        if net is None or facts is None:
            raise _monai_folder.code(source)
        file, known = _monai_folder.weights(source), _monai_folder.facts(source)
    if _weights.is_run(file):
        raise HilumError(
            "HIL-INFER-34", f"{source} is a folder without plans.json, or a run or bundle of Hilum already",
            "Give an nnU-Net results folder, a MONAI bundle's folder or a file of weights; a run can be used as it is",
        )  # fmt: skip
    if facts is None:
        raise HilumError(
            "HIL-INFER-34", "Weights do not say what their inputs and outputs are",
            "Give a file of facts (classes, patch, spacing, normalisation) or a plan.json: --facts FACTS.yaml",
        )  # fmt: skip
    plan, notes = _facts.of_file(facts, known, net)
    return Foreign(plan, _weights.read_weights(file), file, notes)


def _settled(found: Foreign, net: str | None, settings: dict[str, Any]) -> tuple[Plan, list[str]]:
    """The plan as the user settles it, and what to know about the model, which nnU-Net's plan says too."""
    made = edit(found.plan, net, settings)
    more = [] if found.mirrored is None else _nnunet_folder.mirroring(made, found.mirrored)
    if more:
        made = made.edited({"data.notes": [*made.data.get("notes", []), *more]})
    return made, [*found.notes, *more]


def _filled(found: Foreign, made: Plan) -> tuple[Plan, Any, Report, str]:
    """The final plan, its network with all weights in place, the report, and how foreign names were read."""
    begun = {key: value for key, value in _weights.origin(found.source).items() if key in ("name", "sha256")}
    learning = catalogue.load("hilum.learn", made.regime).Learning
    if "start" in learning.model_fields:
        made = made.edited({"learning": {**made.learning, "start": begun}})
    task, role = _task.load(made), _build.predicting(made)
    outline(task, role, found.weights, found.source)
    network = _build.build(task, role)
    reading, weights = best_reading(network, found.weights)
    report = start(network, weights, strict=True)
    _tried(task, network, made, found.source)
    return made, network.eval(), report, f"{reading[0].upper()}{reading[1:]}." if reading else ""


def _tried(task: _task.Task, network: Any, made: Plan, source: Path) -> None:
    """Run it on one synthetic patch: a patch that it can not take, and an answer that is none, are refused now."""
    name = made.networks[_build.predicting(made)].name
    try:
        bundles.answer(task, network.eval(), source)
    except _build.ODD as error:
        raise HilumError(
            "HIL-PLAN-04", f"{name} can not take a patch of {made.patch} ({error})",
            "Change patch in the facts, or the network's options",
        ) from error  # fmt: skip


def _written(folder: Path, made: Plan, network: Any, report: Report, origin: dict[str, str], notes: list[str]) -> Run:
    """A run folder as training leaves it, but for what only training images could tell."""
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    role = _build.predicting(made)
    with writing(folder / "weights" / f"{role}.safetensors") as part:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, part)
    made.write(folder / "plan.json")
    write_json(folder / "start.json", {"source": origin, "notes": notes} | report.facts())
    run = Run(folder)
    run.write_manifest()
    run.record("import", {"source": origin["name"], "sha256": origin["sha256"], "terms": origin["terms"]})
    return run
