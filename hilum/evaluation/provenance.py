"""Where a model comes from: what its run or bundle has on record, for people who must judge it. Nothing is guessed."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from hilum.core import terms
from hilum.core.calibration import Calibration
from hilum.core.errors import HilumError
from hilum.core.origin import trained_by
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.infer.network import outline
from hilum.tasks import _build, _task

NOT_KNOWN = "not known"
# What stands wherever the record says nothing.
PARTS = ("train", "val", "test")


def provenance(run: Run) -> dict[str, Any]:
    """The facts of a run folder or bundle as plain data; a value that is not on record is the text "not known".

    A file that differs from the manifest, and a run that did not finish, are refused (HIL-M05), a changed ledger too
    (HIL-RUN-04). Keys: name, kind, task, hashes, data, split, seeds, versions, hardware, of, model, training, terms,
    opened, warnings. of: whose versions and hardware those are, "training", or "plan" where only those of when the plan
    was made are on record.
    """
    run.check_hashes()
    plan, hashes = run.plan, run.hashes()
    role = _build.predicting(plan)
    weights = f"weights/{role}.safetensors"
    made = trained_by(run)
    return {
        "name": run.path.resolve().name,
        "kind": "bundle" if run.is_bundle else "run",
        "task": plan.task,
        "hashes": {"weights": hashes.get(weights, NOT_KNOWN), "files": hashes},
        "data": {
            "name": _told(plan.data.get("name")),
            "layout": _told(plan.data.get("layout")),
            "modality": _told(_fingerprint(run).get("modality")),
            "fingerprint": _told(plan.data.get("fingerprint")),
        },
        "split": _split(run, plan),
        "seeds": dict.fromkeys(("training", "split"), NOT_KNOWN)
        if imported(plan)
        else {"training": plan.seed, "split": plan.split_seed},
        "versions": made.get("versions") or dict(plan.versions) or NOT_KNOWN,
        "hardware": _hardware(made.get("machine", plan.machine)),
        "of": "training" if made else "plan",
        "model": {
            "network": plan.networks[role].name,
            "options": plan.networks[role].options,
            "values": answering(run, role, run.calibration),
        },
        "training": _training(run, plan) | {"went on from": made.get("went_on_from", NOT_KNOWN)},
        "terms": _terms(run, plan),
        "opened": _opened(run),
        "warnings": _warnings(run, plan),
    }


def state(run: Run) -> str:
    """SHA-256 of what decides a model's answers: plan, predicting weights, calibration; of a system, of all networks.

    A run and a bundle of it have the same, and so it says whether figures are of this model as it is now. A plan counts
    by what it says otherwise than usual, so that a later Hilum, which knows more settings, comes to the same.
    """
    plan, system = run.plan, run.system
    own: dict[str, Any] = {"plan": plan.model_dump(mode="json", exclude_defaults=True)}
    if system is None:
        wanted = (f"weights/{_build.predicting(plan)}.", "calibration.json", "outlier.safetensors")
        own["files"] = {name: value for name, value in run.hashes().items() if name.startswith(wanted)}
    else:
        own["system"] = system.model_dump(mode="json")
        own["parts"] = {group.name: state(run.part(group.name)) for group in system.groups}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


def rows(found: Mapping[str, Any], before: str = "") -> list[dict[str, str]]:
    """The same as rows of fact and value, for a table; keys of inner facts are joined by a dot."""
    out: list[dict[str, str]] = []
    for key, value in found.items():
        name = f"{before}.{key}" if before else str(key)
        if isinstance(value, Mapping) and value:
            out += rows(value, name)
        elif isinstance(value, list | tuple | Mapping):
            out.append({"fact": name, "value": "; ".join(map(str, value)) or "none"})
        else:
            out.append({"fact": name, "value": str(value)})
    return out


def imported(plan: Plan) -> bool:
    """Whether it tells how to use a model that was trained elsewhere: of its training it holds what is usual here."""
    return plan.steps is None and plan.data.get("fingerprint") is None


def _told(value: Any) -> Any:
    """The value, or that it is not known; a text that only says unknown says no more than that."""
    return NOT_KNOWN if value in (None, "", "unknown") else value


def _fingerprint(run: Run) -> dict[str, Any]:
    """fingerprint.json, {} in a bundle."""
    return dict(run.json("fingerprint.json")) if run.has("fingerprint.json") else {}


def _split(run: Run, plan: Plan) -> dict[str, Any]:
    """Cases, groups and classes by part, what a group is, and the hash of split.csv.

    A bundle has no names and so no split.csv: it counts the images that the run has seen, by part.
    """
    grouping = _told(plan.data.get("grouping"))
    if run.has("split.csv"):
        table = run.split()
        parts: dict[str, Any] = {}
        for part in PARTS:
            own = [row for row in table if row["part"] == part]
            classes = Counter(row["class"] for row in own if row.get("class"))
            groups = len({row["group"] for row in own})
            parts[part] = {"cases": len(own), "groups": groups, "classes": dict(sorted(classes.items())) or NOT_KNOWN}
        return {"grouping": grouping, "hash": run.hashes()["split.csv"], "parts": parts}
    seen = Counter(run.json("seen.json").values()) if run.has("seen.json") else None
    unknown = {"groups": NOT_KNOWN, "classes": NOT_KNOWN}
    # what weights of another run learned from counts as training images too, and can not be told apart
    mixed = {"train"} if plan.learning.get("start") else set()
    counts = {p: NOT_KNOWN if seen is None or p in mixed else seen[p] for p in PARTS}
    return {"grouping": grouping, "hash": NOT_KNOWN, "parts": {p: {"cases": counts[p]} | unknown for p in PARTS}}


def _hardware(machine: Mapping[str, Any]) -> Any:
    """Facts about a machine, named for people."""
    found = {key: _told(value) for key, value in machine.items()}
    if "accelerator" in found:
        found["accelerator"] = (machine["accelerator"] or {}).get("name", "none")
    if "total" in found:
        found["memory in bytes"] = found.pop("total")
    return found or NOT_KNOWN


def learned(run: Run, role: str, weights: str = "") -> int:
    """Numbers that a network has learned: those of its weights file without buffers, such as the statistics of norms.

    weights: the file's name, where it is not the role's: a member of an ensemble.
    """
    held = run.weights(weights or role)
    try:
        fixed = dict(outline(_task.load(run.plan), role, held, run.path).named_buffers())
    except HilumError:
        # a network that can not be built here names no buffers
        fixed = {}
    return sum(tensor.numel() for name, tensor in held.items() if name not in fixed)


def answering(run: Run, role: str, known: Calibration | None) -> int:
    """Learned numbers of all networks that predict: of an ensemble its members, of a system all of its own.

    known: of the run itself, as it was when it answered.
    """
    system = run.system
    runs = [(run, known)] if system is None else [(p := run.part(g.name), p.calibration) for g in system.groups]
    return sum(learned(one, role, name) for one, own in runs for name in _members(role, own))


def _members(role: str, known: Calibration | None) -> list[str]:
    """The predicting network, and where it is an ensemble the others."""
    count = known.opinions.count if known is not None and known.opinions.kind == "ensemble" else 1
    return [role, *(f"{role}.{number}" for number in range(2, count + 1))]


def _training(run: Run, plan: Plan) -> dict[str, Any]:
    """Steps that were done, when, whether it was interrupted, and what it began with."""
    events = [event for event in run.ledger() if event["event"] == "train"]
    last = events[-1] if events else {}
    start = plan.learning.get("start")
    begun: Any = "fresh weights, from the seed"
    if start is not None:
        told = run.json("start.json") if run.has("start.json") else {}
        begun = {**start, "terms": _told(told.get("source", {}).get("terms"))}
        begun |= {"part": "the encoder only"} if told.get("encoder") else {}
    return {
        "steps planned": _told(plan.steps),
        "steps done": _told(last.get("steps")),
        "ended": _told(last.get("when")),
        "resumed": any(event.get("resumed") for event in events) if events else NOT_KNOWN,
        "start": begun,
    }


def _terms(run: Run, plan: Plan) -> dict[str, Any]:
    """Of the data, and of the weights, which inherit all that apply; the strictest of them decides (core/terms.py)."""
    stated = str(plan.data.get("terms", "unknown"))
    against = terms.objection(stated)
    return {
        "data": _told(run.terms_of_data),
        "weights": NOT_KNOWN if terms.parts(stated) == ["unknown"] else stated,
        "strictest": NOT_KNOWN if terms.strictest(stated) == "unknown" else terms.strictest(stated),
        "public": "may be made public" if against is None else f"may not be made public: {against}",
        "conditions": terms.conditions(stated) if against is None else [],
    }


def _opened(run: Run) -> Any:
    """{part: how often it was judged}, by the ledger; what was opened without Hilum is on nobody's record."""
    if not run.has("ledger.jsonl"):
        return NOT_KNOWN
    # a calibration has a part as well, and judges nothing
    looks = Counter(str(event["part"]) for event in run.ledger() if event["event"] == "evaluate")
    return {part: looks[part] for part in dict.fromkeys([*PARTS, *looks])}


def _warnings(run: Run, plan: Plan) -> dict[str, Any]:
    """Sentences that the data gave and training went on with, and rows of faults that were accepted as meant."""
    settings = _fingerprint(run).get("settings")
    return {
        "of the data": list(plan.data.get("warnings", [])),
        "accepted": NOT_KNOWN if settings is None else list(settings.get("accept", [])),
    }
