"""predict: a run or bundle on new images; findings written as files a viewer opens."""

import csv
import hashlib
import json
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import resident
from hilum.core.atomic import write_json
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE, Result
from hilum.core.image import Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run, write_rows
from hilum.core.sizes import parse_size
from hilum.data.dataset import open_dataset
from hilum.infer import export
from hilum.infer.predictor import Predictor
from hilum.io import _source
from hilum.tasks import _pairs
from hilum.trust.system import trusted
from hilum.trust.trusted import Trusted
from hilum.verbs import _cluster, _flow

log = logging.getLogger(__name__)

ORDERS = ("arrival", "doubt")
DECISIONS = ("person", "flag", "accept")
# What a person should see first where a site sorts.
SAID = ("set", "doubt", "disagreement", "unlike", "measured")
# Of what a result knows about itself.
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
    runtime: str = "torch",
    format: str = "nifti",
    wide: bool = False,
    maps: bool = False,
    order: str = "arrival",
    roi: Sequence[str] = (),
    cluster: str | None = None,
    accept: tuple[str, ...] = (),
    progress: Progress = quiet,
) -> dict[str, Any]:
    """Predict every input and return the record that is also written as predictions.json.

    inputs: files, folders or CSVs of roles. fixed, moving: for registration. memory: "2GB", the most that the process
    may hold; an image that needs more is refused. runtime: see hilum/infer/runtimes; "auto" takes the fastest of those
    that agree with torch. wide: also masks that miss little. maps: also where a mask is doubtful. order: of
    worklist.csv, "arrival" or "doubt". roi: of a system of networks, the classes that are wanted. cluster: "local:N"
    processes, or a Dask scheduler. accept: rows of faults that are known and meant (D21).
    The same call into the same folder goes on where it stopped. A bad input costs that input only.
    """
    if format not in ("nifti", "dicom"):
        raise HilumError("HIL-INFER-05", f"There is no format {format!r}", "Use nifti or dicom")
    if order not in ORDERS:
        raise HilumError("HIL-INFER-11", f"There is no order {order!r}", f"Use {' or '.join(ORDERS)}")
    if cluster is not None:
        _cluster.check(cluster)
    run, folder = Run(Path(model)), Path(out)
    predictor = trusted(run, runtime, None if memory is None else parse_size(memory), wide, maps, roi)
    _check_further(predictor)
    if predictor.task.CARD["infer"] == "sampler":
        raise HilumError(
            "HIL-INFER-03", f"A {predictor.plan.task} model takes no input images",
            "Use: hilum generate RUN --count N --out DIR",
        )  # fmt: skip
    cases, lost = _cases(predictor, inputs, fixed, moving, accept)
    seen = [[c.id, [_stamp(item) for item in c.items.values()]] for c in cases]
    asked = [format, runtime, wide, maps, *roi, *accept]
    key = hashlib.sha256(json.dumps([run.hashes(), seen, *asked]).encode()).hexdigest()
    record = _record(folder, key, predictor)
    known = len(record["done"])
    for name, error in lost:
        _failed(record, name, error)
    left = [case for case in cases if case.id not in record["done"]]
    progress("predict", len(cases) - len(left), len(cases))

    def told(case: Case) -> tuple[Result, dict[str, Any]]:
        return predictor.told(case, progress)

    if cluster is None:
        flow = _flow.run(left, READ, told, finishing(folder, format), ahead=memory is None)
    else:
        settings = {"runtime": runtime, "memory": predictor.limit, "wide": wide, "maps": maps, "roi": tuple(roi)}
        places = {"model": str(run.path.absolute()), "folder": str(folder.absolute()), "format": format}
        flow = _cluster.run(left, cluster, settings | places)
    for number, (case, outcome) in enumerate(flow, len(cases) - len(left) + 1):
        if isinstance(outcome, HilumError):
            _failed(record, case.id, outcome)
        else:
            record["failed"] = [f for f in record["failed"] if f["case"] != case.id]
            record["done"][case.id] = outcome
        if record["done"]:
            # where nothing gave a result, nothing is left behind
            write_json(folder / "predictions.json", record)
        progress("predict", number, len(cases), case.id)
    if len(record["done"]) != known:
        _sheets(record, folder)
    if record["done"]:
        _ordered(folder / "worklist.csv", _worklist(record, [c.id for c in cases], order))
    if not record["done"]:
        count = len(cases) + len(lost)
        raise HilumError(
            "HIL-INFER-06", f"None of {count} inputs gave a result ({record['failed'][0]['why']})", "Mend it"
        )
    return record


def _check_further(predictor: Trusted) -> None:
    """Refuse wide masks and maps of doubt where the run can not give them (HIL-TRUST-22)."""
    known = predictor.calibration
    if predictor.wide and (known is None or known.wide is None or not any(known.wide.thresholds.values())):
        why = "no threshold keeps what was asked for" if known is not None and known.wide else "none was learned"
        raise HilumError(
            "HIL-TRUST-22", f"{predictor.run.path} has no wide masks: {why}",
            "Leave --wide out, or calibrate a segmentation anew with a larger --error",
        )  # fmt: skip
    if predictor.maps and (known is None or predictor.plan.task != "segment"):
        raise HilumError(
            "HIL-TRUST-22",
            f"{predictor.run.path} has no maps of doubt",
            "Leave --maps out: masks of a calibrated run have some",
        )


def _sheets(record: dict[str, Any], folder: Path) -> None:
    """One sheet of scores, of structures and of measurements for all cases, beside the files of each."""
    scores = [{"case": name} | done["scores"] for name, done in record["done"].items() if "scores" in done]
    if scores:
        write_rows(folder / "scores.csv", scores)
    structures = [{"case": name} | row for name, done in record["done"].items() for row in done.get("structures", ())]
    if structures:
        write_rows(folder / "structures.csv", export.blank_where_none(structures))
    rows = [
        {"case": name, "what": what} | {k: "" if v is None else v for k, v in said.items()}
        for name, done in record["done"].items()
        for what, said in done.get("measured", {}).items()
    ]
    if rows:
        write_rows(folder / "measured.csv", rows)


def _ordered(path: Path, rows: list[dict[str, Any]]) -> None:
    """The worklist on disk; one that is there already and the same is left alone."""
    rows = [{k: str(v) for k, v in row.items()} for row in rows]
    if path.is_file():
        with open(path, encoding="utf-8", newline="") as stream:
            if list(csv.DictReader(stream)) == rows:
                return
    write_rows(path, rows)


def _worklist(record: dict[str, Any], arrived: list[str], order: str) -> list[dict[str, Any]]:
    """What a person has before them, as it arrived; or what needs a person first, the most doubtful of it first."""
    rows = []
    for name in [*arrived, *[f["case"] for f in record["failed"] if f["case"] not in arrived]]:
        done = record["done"].get(name)
        if done is None:
            why = next((f["why"] for f in record["failed"] if f["case"] == name), "")
            rows.append({"case": name, "decision": "person", "doubt": "", "reasons": f"No result: {why}"})
            continue
        verdict = done["verdict"]
        row = {"case": name, "decision": verdict["decision"], "doubt": done.get("doubt", "")}
        rows.append(row | {"reasons": " ".join(verdict["reasons"])})
    if order == "doubt":
        # without a known doubt nothing speaks for waiting
        rows.sort(key=lambda r: (DECISIONS.index(r["decision"]), -(r["doubt"] if r["doubt"] != "" else np.inf)))
    return rows


def _stamp(item: Any) -> list[Any]:
    """What tells whether a file is still the one that was predicted: path, size, time of change."""
    path = getattr(item, "path", None)
    if path is None:
        return []
    about = Path(path).stat()
    return [str(Path(path).resolve()), about.st_size, about.st_mtime_ns]


def _failed(record: dict[str, Any], name: str, error: HilumError) -> None:
    """Note a failure, once."""
    record["failed"] = [f for f in record["failed"] if f["case"] != name]
    record["failed"].append({"case": name, "code": error.code, "why": str(error)})
    log.info("%s: %s", name, error.code)


def finishing(folder: Path, form: str) -> Callable[[Case, Any, float], dict[str, Any]]:
    """Writes the findings of a case and says what the record keeps of it."""

    def finish(case: Case, told: tuple[Result, dict[str, Any]], reading: float) -> dict[str, Any]:
        result, cost = told
        began = time.perf_counter()
        files = export.export(result, case, folder, form)
        cost["bytes"]["measured"] = max(cost["bytes"]["measured"], resident.peak())
        seconds = cost["seconds"] | {
            "read": round(cost["seconds"].get("read", 0.0) + reading, 4),
            "write": round(time.perf_counter() - began, 4),
        }
        verdict = {"decision": result.verdict.decision, "reasons": list(result.verdict.reasons)}
        done: dict[str, Any] = {"files": files, "verdict": verdict, "warnings": list(result.warnings)}
        done |= {name: result.meta[name] for name in SAID if name in result.meta and result.meta[name] != {}}
        if "scores" in result.findings:
            done["scores"] = {row.name: round(row.value, 6) for row in result["scores"].rows}
        if "structures" in result.findings:
            done["structures"] = [dict(row) for row in result["structures"].rows]
        return done | {"cost": cost | {"seconds": seconds}}

    return finish


def _record(folder: Path, key: str, predictor: Predictor) -> dict[str, Any]:
    """A fresh record, or the one of the same call that lies in the folder; anything else there is refused."""
    path = folder / "predictions.json"
    if path.is_file():
        known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if known.get("key") == key:
            return known
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise HilumError(
            "HIL-CORE-03",
            f"{folder} exists and is not an empty folder",
            "Choose another --out, or repeat the same call",
        )
    plan = predictor.plan
    model = {"task": plan.task, "hashes": predictor.run.hashes(), "terms": plan.data.get("terms", "unknown")}
    return {"key": key, "intended_use": INTENDED_USE, "model": model, "done": {}, "failed": []}


def _cases(
    predictor: Predictor,
    inputs: list[Path | str],
    fixed: Path | str | None,
    moving: Path | str | None,
    accept: tuple[str, ...],
) -> tuple[list[Case], list[tuple[str, HilumError]]]:
    """Cases of all inputs (pairs for registration), and the inputs that are none, with the reason."""
    if fixed is not None or moving is not None:
        if fixed is None or moving is None or inputs:
            raise HilumError("HIL-INFER-07", "A pair needs --fixed and --moving and no other input", "Give both")
        files = {"fixed": _source.open(Path(fixed)), "moving": _source.open(Path(moving))}
        sides = {role: source.accepting(accept) for role, source in files.items()}
        return [Case(f"{Path(fixed).name.split('.')[0]}__{Path(moving).name.split('.')[0]}", "", sides)], []
    if not inputs:
        raise HilumError("HIL-INFER-07", "No input was given", "Name files or folders after the run")
    found: dict[str, Case] = {}
    lost: list[tuple[str, HilumError]] = []
    for path in inputs:
        try:
            dataset = open_dataset(path, accept=accept)
        except HilumError as error:
            if len(inputs) == 1:
                raise
            lost.append((Path(path).name, error))
            continue
        for case in _pairs_or_cases(dataset, predictor):
            if case.id in found:
                raise HilumError("HIL-DATA-04", f"Two inputs are called {case.id!r}", "Predict them into two folders")
            found[case.id] = case
    return list(found.values()), lost


def _pairs_or_cases(dataset: Any, predictor: Predictor) -> list[Case]:
    """The pairs of pairs.csv for registration, else the cases."""
    if predictor.plan.task == "register" and dataset.pairs:
        return [_pairs.pair(dataset.case(f), dataset.case(m)) for f, m in dataset.pairs]
    return list(dataset.cases)
