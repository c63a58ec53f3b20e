"""predict: a run or bundle on new images; findings written as files a viewer opens."""

import contextlib
import hashlib
import json
import logging
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.core import card, catalogue, resident
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Case
from hilum.core.plan import Plan
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.core.sizes import parse_size
from hilum.data.dataset import accepted, left_aside, open_dataset
from hilum.data.layouts._files import stem
from hilum.evaluation.provenance import state
from hilum.infer import export, promise
from hilum.infer._asked import EIGHT, check_eight
from hilum.infer._stages import Stages
from hilum.infer.coarse import check
from hilum.infer.faults import FAULTS
from hilum.infer.runtimes import _choose
from hilum.io import _names, _source
from hilum.io._dicom import seg_write
from hilum.tasks import _instances, _pairs, _task
from hilum.trust import promises
from hilum.trust.system import trusted
from hilum.verbs import _cluster, _flow, _lists, _record

log = logging.getLogger(__name__)

ORDERS = ("arrival", "doubt")
SAID = ("set", "doubt", "disagreement", "unlike", "measured")
# Of what a result knows about itself.
DIGITS = 16
# Of a model's state, which DICOM results name it by.
SHOWN = 3
# Reasons that are named where nothing gave a result.
FEW = 3
# Letters of a name that may stand in a sentence that is not about it.
READ = ("image", "fixed", "moving")
# Roles whose images are read while another case is computed.


def predict(
    model: Path | str,
    inputs: list[Path | str],
    out: Path | str,
    *,
    fixed: Path | str | None = None,
    moving: Path | str | None = None,
    memory: str | None = None,
    runtime: str = "auto",
    format: str = "nifti",
    wide: bool = False,
    maps: bool = False,
    order: str = "arrival",
    roi: Sequence[str] = (),
    coarse: Path | str | None = None,
    cluster: str | None = None,
    accept: tuple[str, ...] = (),
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Predict every input and return the record that is also written as predictions.json.

    inputs: files, folders or CSVs of roles. fixed, moving: for registration. memory: "2GB", the most that the process
    may hold; an image that needs more is refused. runtime: see hilum/infer/runtimes; "auto" takes the fastest of those
    that agree with torch where there is enough to compute, and torch where there is not, or under a limit of memory.
    wide: also masks that miss little. maps: also where a mask is doubtful. order: of worklist.csv, "arrival" or
    "doubt". roi: of a system of networks, the classes that are wanted. coarse: a run or bundle of masks at a larger
    spacing; only around what it finds is looked (see infer/coarse.py). cluster: "local:N" processes, or a Dask
    scheduler. accept: codes of faults that are known and meant (D21).
    The same call into the same folder goes on where it stopped, further inputs join those that are there. A bad input
    costs that input only.
    """
    if format not in ("nifti", "dicom"):
        raise HilumError("HIL-INFER-05", f"There is no format {format!r}", "Use nifti or dicom")
    if order not in ORDERS:
        raise HilumError("HIL-INFER-11", f"There is no order {order!r}", f"Use {' or '.join(ORDERS)}")
    if cluster is not None:
        _cluster.check(cluster)
    # what it needs is there where it computes
    (_choose.check if cluster is None else _choose.check_name)(runtime)
    accept = tuple(accepted(accept))
    limit = None if memory is None else parse_size(memory)
    _choose.check_limit(runtime, limit)
    run, folder = Run(Path(model)), Path(out)
    run.check_hashes()
    other = None if coarse is None else Run(Path(coarse).absolute())
    if other is not None:
        other.check_hashes()
        check(other, _parts(run, roi), limit, wide)
    _check_further(run, wide, maps)
    if runtime == EIGHT:
        for part in [*_parts(run, roi), *([] if other is None else [other])]:
            check_eight(part, _task.load(part.plan), made=True)
    _check_way(run, limit, wide, roi)
    _check_form(run, format, roi, limit)
    # of a cluster every worker looks for itself
    promise.check_limit(limit if cluster is None else None)
    if cluster is not None:
        # a worker may stand in another folder
        inputs = [Path(path).absolute() for path in inputs]
        fixed, moving = (None if side is None else Path(side).absolute() for side in (fixed, moving))
    _check_place(folder, [*inputs, *(side for side in (fixed, moving) if side is not None)])
    cases, lost = _cases(run.plan, inputs, fixed, moving, accept, folder)
    asked = [format, runtime, wide, maps, *roi, *accept]
    hashes = _cluster.files_of(run, other)
    key = hashlib.sha256(json.dumps([hashes, *asked]).encode()).hexdigest()
    with _record.opened(folder, key, run, other) as record:
        record |= _promised(run, roi, wide)
        _record.unopened(record, [str(path) for path in inputs], cases, lost, folder)
        known = [*record["done"], *(c.id for c in cases if c.id not in record["done"])]
        _apart(known, export.endings(_kinds(run, wide, maps), format))
        stamps = _record.left(record, cases, folder)
        left = [case for case in cases if case.id in stamps]
        progress("predict", len(cases) - len(left), len(cases))
        settings = {"runtime": runtime, "memory": limit, "wide": wide, "maps": maps, "roi": tuple(roi), "key": key}
        settings["coarse"] = None if other is None else str(other.path)
        settings["files"] = _cluster.digest(hashes)
        settings["state"] = state(run)[:DIGITS] if format == "dicom" else ""
        with contextlib.closing(_outcomes(run, left, settings, cluster, folder, format, progress)) as flow:
            for number, (case, outcome) in enumerate(flow, len(cases) - len(left) + 1):
                if cluster is None:
                    # of a cluster one machine may lack what the others have
                    _check_runtime(outcome, record)
                _record.noted(record, case.id, stamps[case.id], outcome, folder)
                progress("predict", number, len(cases), case.id)
        _record.unlisted(record, folder)
        if not record["done"]:
            raise _none(record)
        _lists.sheets(record, folder)
        _lists.worklist(record, [c.id for c in cases], order, folder)
    return record


def _promised(run: Run, roi: Sequence[str], wide: bool) -> dict[str, list[str]]:
    """{"promises": sentences} about what the results hold; nothing where they hold none. Of a system by network."""
    found: dict[str, list[str]] = {}
    for name, part in _named(run, roi).items():
        for words in promises.sentences(part.calibration, wide) if part.calibration is not None else []:
            found.setdefault(words, []).append(name)
    told = [words if run.system is None else f"{', '.join(names)}: {words}" for words, names in found.items()]
    return {"promises": told} if told else {}


def _none(record: dict[str, Any]) -> HilumError:
    """That no input gave a result, with why."""
    # a name of a letter or two stands in any sentence by chance
    named = ["input" in f or (len(f["case"]) > FEW and f["case"] in f["why"]) for f in record["failed"]]
    whys = [f["why"] if n else f"{f['case']}: {f['why']}" for f, n in zip(record["failed"], named, strict=True)]
    more = f"; and {len(whys) - SHOWN} more" if len(whys) > SHOWN else ""
    return HilumError(
        "HIL-INFER-06", f"None of {len(whys)} inputs gave a result ({'; '.join(whys[:SHOWN])}{more})", "Mend it"
    )


def _outcomes(
    run: Run,
    cases: Sequence[Case],
    settings: dict[str, Any],
    cluster: str | None,
    folder: Path,
    format: str,
    progress: Progress,
) -> Generator[tuple[Case, Any], None, None]:
    """Each case with what became of it, in order, but for what `_cluster.run` puts last. settings: runtime, memory in
    bytes, wide, maps, roi, coarse, key, files and state.

    Where memory is not limited, the first is read while the networks are loaded. Of a cluster the caller computes no
    case: what is opened here refuses a model or words that no worker could use.
    """
    ahead = settings["memory"] is None and cluster is None
    with _flow.begun(cases if ahead else [], READ) as first:
        other = None if settings["coarse"] is None else Run(Path(settings["coarse"]))
        words = {name: settings[name] for name in ("memory", "runtime", "wide", "maps", "roi")}
        if cluster is not None:
            words |= {"memory": None, "runtime": "torch"}
        predictor = trusted(run, limit=words.pop("memory"), coarse=other, **words)
        if cases:
            predictor.check_varies()
        predictor.expect(len(cases))

        def told(case: Case) -> tuple[Result, dict[str, Any]]:
            return predictor.told(case, progress)

        if cluster is None:
            finish = finishing(folder, format, predictor.stages, settings["state"])
            flow = _flow.run(cases, READ, told, finish, ahead, first, predictor.reads, predictor.reads_beside)
        else:
            places = {"model": str(run.path.absolute()), "folder": str(folder.absolute()), "format": format}
            flow = _cluster.run(cases, cluster, settings | places)
        # the first image is held no longer than any other
        del first
        yield from flow


def _check_runtime(outcome: Any, record: Mapping[str, Any]) -> None:
    """Raise what a runtime or its device lacks, where there is no result yet: it would be tried anew for each case.

    Not that memory ran out (HIL-INFER-22), which a smaller image need not do.
    """
    if isinstance(outcome, HilumError) and outcome.code in FAULTS - {card.FULL} and not record["done"]:
        raise outcome


def _check_place(folder: Path, inputs: Sequence[Path | str]) -> None:
    """Refuse a folder of results inside one that is read: the next call would take them for inputs (HIL-INFER-20)."""
    for path in map(Path, inputs):
        with contextlib.suppress(PermissionError):
            if not path.is_dir() or not folder.resolve().is_relative_to(path.resolve()):
                continue
            seen = f"{folder} lies inside {path}, and results would be taken for inputs by the next call"
            raise HilumError("HIL-INFER-20", seen, "Give an --out beside it")


def _check_way(run: Run, limit: int | None, wide: bool, roi: Sequence[str] = ()) -> None:
    """Refuse a generator, and a limit of memory where scores of all voxels are held: it would not be kept."""
    task = run.plan.task
    how = catalogue.card("hilum.tasks", task)["infer"]
    if how == "sampler":
        raise HilumError(
            "HIL-INFER-03",
            f"A {task} model takes no input images",
            "Use: hilum generate RUN --count N --out DIR",
        )
    if limit is not None and how == "whole":
        raise HilumError(
            "HIL-INFER-19", f"A {task} model computes an image whole, so that --memory can not be kept",
            "Leave --memory out; the plan's patch says how large its images are",
        )  # fmt: skip
    for part in _parts(run, roi) if limit is not None else []:
        known = part.calibration
        if known is not None and (wide or known.opinions.kind != "one"):
            what = "Wide masks are" if wide else f"The answer of {part.path} is the mean of several opinions, which is"
            raise HilumError(
                "HIL-INFER-19", f"{what} found in the scores of all voxels, so that --memory can not be kept",
                "Leave --wide out" if wide else "Leave --memory out, or calibrate it with --opinions one",
            )  # fmt: skip


def takes_limit(run: Run, settings: Mapping[str, Any]) -> bool:
    """Whether --memory would be taken. settings: runtime, wide, roi, coarse and format."""
    roi = settings["roi"]
    try:
        _choose.check_limit(settings["runtime"], 1)
        _check_way(run, 1, settings["wide"], roi)
        _check_form(run, settings["format"], roi, 1)
    except HilumError:
        return False
    return settings["coarse"] is None


def _parts(run: Run, roi: Sequence[str]) -> list[Run]:
    """The networks that answer: the run itself, or of a system those that find a class which is wanted."""
    return list(_named(run, roi).values())


def _named(run: Run, roi: Sequence[str]) -> dict[str, Run]:
    """The same by name; the run itself has none."""
    if run.system is None:
        return {"": run}
    return {g.name: run.part(g.name) for g in run.system.groups if not roi or any(c.name in roi for c in g.classes)}


def _check_form(run: Run, form: str, roi: Sequence[str], limit: int | None = None) -> None:
    """Refuse DICOM for masks that no SEG can hold, before they are computed: the same as when one is written.

    And under a limit of memory (HIL-INFER-19): its writer holds bits and a description of every slice of every class,
    and how many these are is known once they are found.
    """
    if form == "dicom" and run.plan.task == "segment":
        if limit is not None:
            raise HilumError(
                "HIL-INFER-19",
                "What a DICOM SEG takes while it is written and read back is not predicted: --memory can not be kept",
                "Leave --memory out, or use --format nifti",
            )
        # a wrong name among those wanted is told by who looks for it
        wanted = [c for c in run.plan.classes if not roi or c.name in roi] or run.plan.classes
        numbered = _instances.numbered(run.plan.data.get("labels"))
        seg_write.check_classes(str(run.path), {c.value: c.name for c in wanted}, numbered)


def _check_further(run: Run, wide: bool, maps: bool) -> None:
    """Refuse wide masks and maps of doubt where the run can not give them (HIL-TRUST-22)."""
    if (wide or maps) and run.system is not None:
        asked = " and ".join(["--wide"] * wide + ["--maps"] * maps)
        place = "RUN" if run.is_bundle else run.path
        raise HilumError(
            "HIL-TRUST-22", f"{run.path} is a system of networks, which has no wide masks or maps of doubt of its own",
            f"Leave {asked} out, or ask one network of a calibrated system alone: {place}/parts/NAME",
        )  # fmt: skip
    known = run.calibration if wide or maps else None
    if wide and (known is None or known.wide is None or not any(known.wide.thresholds.values())):
        why = "no threshold keeps what was asked for" if known is not None and known.wide else "none was learned"
        raise HilumError(
            "HIL-TRUST-22", f"{run.path} has no wide masks: {why}",
            "Leave --wide out, or calibrate a segmentation anew with a larger --error",
        )  # fmt: skip
    if maps and (known is None or run.plan.task != "segment"):
        raise HilumError(
            "HIL-TRUST-22",
            f"{run.path} has no maps of doubt",
            "Leave --maps out: masks of a calibrated run have some",
        )


def finishing(
    folder: Path, form: str, stages: Stages | None = None, model: str = ""
) -> Callable[[Case, Any, float], dict[str, Any]]:
    """Writes the findings of a case and says what the record keeps of it.

    stages: told how long writing takes. model: as of `export.export`.
    """

    def finish(case: Case, told: tuple[Result, dict[str, Any]], reading: float) -> dict[str, Any]:
        result, cost = told
        began = time.perf_counter()
        files = export.export(result, case, folder, form, model)
        cost["bytes"]["measured"] = max(cost["bytes"]["measured"], resident.peak())
        if form == "dicom":
            # what its writer holds and takes was left out of it
            cost["bytes"].pop("predicted", None)
            cost.get("predicted_seconds", {}).pop("write", None)
        seconds = cost["seconds"] | {
            "read": round(cost["seconds"].get("read", 0.0) + reading, 4),
            "write": round(time.perf_counter() - began, 4),
        }
        if stages is not None:
            foretold = {stage: s for stage, s in cost.get("predicted_seconds", {}).items() if stage == "write"}
            stages.seen(foretold, seconds)
        verdict = {"decision": result.verdict.decision, "reasons": list(result.verdict.reasons)}
        done: dict[str, Any] = {"files": files, "verdict": verdict, "warnings": list(result.warnings)}
        done |= {name: result.meta[name] for name in SAID if name in result.meta and result.meta[name] != {}}
        if "scores" in result.findings:
            done["scores"] = {row.name: round(row.value, 6) for row in result["scores"].rows}
        if "structures" in result.findings:
            done["structures"] = [dict(row) for row in result["structures"].rows]
        return done | {"cost": cost | {"seconds": seconds}}

    return finish


def _cases(
    plan: Plan,
    inputs: list[Path | str],
    fixed: Path | str | None,
    moving: Path | str | None,
    accept: tuple[str, ...],
    out: Path | None = None,
) -> tuple[list[Case], list[tuple[str, HilumError]]]:
    """Cases of all inputs (pairs for registration), and the inputs that are none, with the reason.

    out: where results go; not into the folder of an input, which a dataset.yaml may name (HIL-INFER-20).
    """
    if fixed is not None or moving is not None:
        if fixed is None or moving is None or inputs:
            remedy = "Give both" if fixed is None or moving is None else "Leave the other inputs out"
            raise HilumError("HIL-INFER-07", "A pair needs --fixed and --moving and no other input", remedy)
        files = {"fixed": _source.open(Path(fixed)), "moving": _source.open(Path(moving))}
        sides = {role: source.accepting(accept) for role, source in files.items()}
        # of folders the whole name: those of series are often called by numbers with dots
        name = "__".join(_names.plain(stem(source.path)) for source in files.values())
        return [Case(name, "", sides)], []
    if not inputs:
        raise HilumError("HIL-INFER-07", "No input was given", "Name files or folders after the run")
    found: dict[str, Case] = {}
    lost: list[tuple[str, HilumError]] = []
    for path in inputs:
        try:
            dataset = open_dataset(path, accept=accept, channels=plan.channels)
        except HilumError as error:
            if len(inputs) == 1:
                raise
            lost.append((str(path), error))
            continue
        except OSError as error:
            if len(inputs) == 1:
                raise
            seen = f"{_names.shown(Path(path))} can not be looked at ({error.strerror})"
            lost.append((str(path), HilumError("HIL-I12", seen, "Check the rights and the disk")))
            continue
        if out is not None:
            _check_place(out, [dataset.folder])
        for words in left_aside(dataset):
            log.warning("%s: %s", path, words)
        for case in _pairs_or_cases(dataset, plan.task):
            if case.id in found:
                raise HilumError("HIL-DATA-04", f"Two inputs are called {case.id!r}", "Predict them into two folders")
            found[case.id] = case
    return list(found.values()), lost


def _kinds(run: Run, wide: bool, maps: bool) -> list[str]:
    """Names of the findings in a case; of a single one only that it is one matters."""
    if run.system is not None:
        return ["mask", "structures"]
    if run.plan.task != "segment":
        return ["finding"]
    wides = promises.wide_names(run.plan.classes) if wide else []
    return ["mask", *wides, *["doubt", "disagreement"] * maps]


def _apart(names: Sequence[str], endings: Sequence[str] = ("",)) -> None:
    """Refuse cases whose files would be called alike, or like the sheets beside them (HIL-DATA-04).

    endings: of what the files of a case are called, as `export.endings` has them.
    """
    known: dict[str, str] = {_names.folded(sheet): f"the sheet {sheet}" for sheet in _lists.NAMES}
    for name in names:
        own = {_names.folded(export.stem(name) + ending): export.stem(name) + ending for ending in endings}
        for place, called in own.items():
            if place in known:
                raise HilumError(
                    "HIL-DATA-04", f"Results of {name!r} and {known[place]} would be called {called!r} both",
                    "Rename one, or predict them into two folders",
                )  # fmt: skip
        known |= dict.fromkeys(own, repr(name))


def _pairs_or_cases(dataset: Any, task: str) -> list[Case]:
    """The pairs of pairs.csv for registration, else the cases."""
    if task == "register" and dataset.pairs:
        return [_pairs.pair(dataset.case(f), dataset.case(m)) for f, m in dataset.pairs]
    return list(dataset.cases)
