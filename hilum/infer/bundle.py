"""The bundle: one file that holds what prediction needs, and proves on arrival that it still computes the same."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import terms
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.core.run import Run
from hilum.infer.predictor import network
from hilum.tasks import _build, _task

TOLERANCE = 1e-3
# Largest difference of the golden output, relative to its largest value, that another CPU or version may show.
GOLDEN_SEED = 0


def golden(run: Run) -> dict[str, Any]:
    """{name: tensor}: a synthetic input ("in.*") and the network's output on it ("out.*")."""
    import torch

    task = _task.load(run.plan)
    net = network(task, run)
    batch = task.example(np.random.default_rng(GOLDEN_SEED))
    with torch.inference_mode():
        out = net(*task.inputs(batch))
    tensors = {f"in.{n}": v for n, v in batch.items() if isinstance(v, torch.Tensor)}
    return {n: t.clone().contiguous() for n, t in (tensors | _flat(out)).items()}


def _flat(out: Any) -> dict[str, Any]:
    """{"out.0": tensor, ...} of a tensor, or of heads and their levels in order."""
    if isinstance(out, dict):
        out = [level for head in out.values() for level in (head if isinstance(head, list) else [head])]
    return {f"out.{i}": t for i, t in enumerate(out if isinstance(out, list) else [out])}


def write(run: Run, path: Path, public: bool = False) -> dict[str, Any]:
    """Write `path` from a finished run folder; the card that is returned says what is in it.

    public: it is meant for everybody, which terms that do not surely allow it refuse (HIL-INFER-10); what they ask for
    is written into the card.
    """
    from safetensors.torch import save

    run.check_hashes()
    if path.exists():
        raise HilumError("HIL-CORE-03", f"{path} exists", "Choose another --out or remove it")
    plan = run.plan
    role = _build.predicting(plan)
    asked = _conditions(str(plan.data.get("terms", "unknown"))) if public else None
    card: dict[str, Any] = {
        "format": 1,
        "task": plan.task,
        "network": plan.networks[role].name,
        "classes": [c.name for c in plan.classes],
        "data": plan.data.get("name"),
        "terms_of_data": plan.data.get("terms", "unknown"),
        "terms_of_weights": plan.data.get("terms", "unknown"),
        "intended_use": INTENDED_USE,
        "versions": plan.versions,
        "tolerance": {"torch": TOLERANCE},
    }
    if asked is not None:
        card["conditions"] = asked
    files = {
        "plan.json": plan.text().encode(),
        "card.json": json.dumps(card, indent=1).encode(),
        f"weights/{role}.safetensors": run.read(f"weights/{role}.safetensors"),
        "golden.safetensors": save(golden(run)),
    }
    for name in run.names():
        # of an ensemble, the other networks
        if name.startswith(f"weights/{role}."):
            files[name] = run.read(name)
    for name in ("features.safetensors", "calibration.json", "outlier.safetensors", "seen.json"):
        # seen.json: hashes of the images and their part, so that none learned from is ever judged
        if run.has(name):
            files[name] = run.read(name)
    average = run.json("fingerprint.json").get("anatomy") if run.has("fingerprint.json") else None
    if average is not None:
        # how the training images lay; the rest of the fingerprint speaks of single cases and stays behind
        files["anatomy.json"] = json.dumps(average).encode()
    manifest = {n: hashlib.sha256(b).hexdigest() for n, b in files.items()}
    files["manifest.json"] = json.dumps(manifest, indent=1).encode()
    with writing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            # a fixed time, so that the same run gives the same bundle
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return card


def _conditions(stated: str) -> list[str]:
    """What the terms ask of whoever makes the model public; terms that forbid it are refused (HIL-INFER-10)."""
    against = terms.objection(stated)
    if against is not None:
        raise HilumError(
            "HIL-INFER-10", f"This model can not be made public: {against}",
            "Bundle it without --public for those who may have it; where the terms of its data are known and allow it, "
            "state them under `terms` in the dataset.yaml and train again",
        )  # fmt: skip
    return terms.conditions(stated)


def verify(path: Path) -> dict[str, Any]:
    """Check hashes, rebuild the network and compare its golden output; what differs is refused, else the facts."""
    from safetensors.torch import load

    bundle = Run(path)
    bundle.check_hashes()
    for needed in ("card.json", "golden.safetensors"):
        if not bundle.has(needed):
            raise HilumError(
                "HIL-RUN-03", f"{path} lacks {needed}", "Export it with: hilum bundle RUN --out FILE.hilum"
            )
    stored, now = load(bundle.read("golden.safetensors")), golden(bundle)
    if not any(name.startswith("out.") for name in stored):
        raise HilumError("HIL-M10", f"{path}: the golden pair holds no output", "Export the bundle again")
    worst = 0.0
    for name, wanted in stored.items():
        if name not in now or now[name].shape != wanted.shape:
            raise HilumError(
                "HIL-M10", f"{path}: golden {name} has another shape now", "Use the version it was made with"
            )
        scale = max(float(wanted.abs().max()), 1e-6)
        difference = float((now[name] - wanted).abs().max()) / scale
        # max() would pass over NaN
        worst = difference if difference != difference else max(worst, difference)
        if worst != worst:
            break
    card: dict[str, Any] = bundle.json("card.json")
    # the card of a foreign bundle may ask for less, never for more
    allowed = min(float(card["tolerance"]["torch"]), TOLERANCE)
    if not worst <= allowed:
        raise HilumError(
            "HIL-M10", f"{path}: the golden output differs by {worst:.2e} (allowed {allowed:.0e})", "Do not use it"
        )
    return card | {"files": len(bundle.names()), "golden_difference": worst}
