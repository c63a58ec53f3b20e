"""The bundle: one file that holds what prediction needs, and proves on arrival that it still computes the same."""

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import _members, terms
from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.core.origin import trained_by
from hilum.core.run import FORMAT, Run
from hilum.infer import bundled_graph, bundled_runtimes, domain, signature, watched
from hilum.infer._asked import by_class
from hilum.infer.network import network
from hilum.infer.runtimes import _choose
from hilum.tasks import _build, _task

TOLERANCE = 1e-3
# Largest difference of the golden output, relative to its largest value, that another CPU or version may show.
# Of other runtimes their cards say it: the golden pair is PyTorch's, and they round otherwise. Of eight bits it is the
# root of the mean square, whose ranges fit real images and not the noise of the golden input: graphs that were well had
# 0.2 to 0.3, those of other networks above 1. Of halves it is that too: they have few bits, but for each number alone.
GOLDEN_SEED = 0
SAMPLE = 1 << 18
# Values that are kept of a golden output that has more: whole ones of a hundred classes are many times the weights.
ROUNDING = 1e-6
# Share of a value by which two answers may differ that are the same but for rounding.
SHAPE = "shape."
# Before the number of such an output: its whole shape. Older bundles have whole outputs of any size, and none of these.
CHANGES = ("train", "calibrate", "quantise", "import")
# Events of the ledger after which a run is another model than before.
COPIED = ("features.safetensors", "calibration.json", "outlier.safetensors", "seen.json")
# Taken from the run as they are. seen.json: hashes of the images and their part, so that none learned from is judged.


def golden(run: Run) -> dict[str, Any]:
    """{name: tensor}: a synthetic input ("in.*") and the network's output on it ("out.*"), whole."""
    import torch

    task = _task.load(run.plan)
    batch, outputs = answer(task, network(task, run), run.path)
    return {f"in.{n}": v for n, v in batch.items() if isinstance(v, torch.Tensor)} | outputs


def _kept(pair: Mapping[str, Any]) -> dict[str, Any]:
    """The golden pair as it is stored: of a large output a sample, and beside it the whole shape ("shape.*")."""
    import torch

    kept = {}
    for name, tensor in pair.items():
        large = name.startswith("out.") and tensor.numel() > SAMPLE
        if large:
            kept[SHAPE + name.removeprefix("out.")] = torch.tensor(tensor.shape)
        kept[name] = (_sample(tensor) if large else tensor).clone().contiguous()
    return kept


def _sample(output: Any) -> Any:
    """(SAMPLE,) values of an output, at places that are the same for all outputs of its size."""
    import torch

    places = np.random.default_rng(GOLDEN_SEED).integers(output.numel(), size=SAMPLE)
    return output.flatten()[torch.from_numpy(places)]


def answer(task: _task.Task, net: Any, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The task's synthetic batch, and {"out.0": tensor, ...} of what the network, in evaluation mode, makes of it.

    Refused (HIL-M10): an answer of another size than its input, or with one value whatever it sees, or the same as to
    another input. path: for the sentence.
    """
    # first, so that one whole answer is held at a time
    other = {name: _few(out) for name, out in _asked(task, net, GOLDEN_SEED + 1)[1].items()}
    batch, outputs = _asked(task, net, GOLDEN_SEED)
    size = list(outputs["out.0"].shape[2:])
    if task.CARD["infer"] == "windows" and size != list(task.plan.patch):
        raise HilumError(
            "HIL-M10", f"{path} answers a patch of {task.plan.patch} with one of {size}",
            "Use a network, or options of it, that keep the size",
        )  # fmt: skip
    if all(out.numel() > 1 and bool((out == out.flatten()[0]).all()) for out in outputs.values()):
        raise HilumError("HIL-M10", f"{path} gives one value everywhere, whatever it sees", "Train it again")
    if all(_few(out).allclose(other[name], ROUNDING, 0) for name, out in outputs.items()):
        # of weights that are dead a bias is left, which may be another for every class
        raise HilumError("HIL-M10", f"{path} gives one answer, whatever it sees", "Train it again")
    return batch, outputs


def _asked(task: _task.Task, net: Any, seed: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A synthetic batch, and what the network makes of it."""
    import torch

    batch = task.example(np.random.default_rng(seed))
    with torch.inference_mode():
        return batch, _flat(net(*task.inputs(batch)))


def _few(output: Any) -> Any:
    """Its values; of a large output a sample."""
    return _sample(output) if output.numel() > SAMPLE else output


def _flat(out: Any) -> dict[str, Any]:
    """{"out.0": tensor, ...} of a tensor, or of heads and their levels in order."""
    if isinstance(out, dict):
        out = [level for head in out.values() for level in (head if isinstance(head, list) else [head])]
    return {f"out.{i}": t for i, t in enumerate(out if isinstance(out, list) else [out])}


def write(
    run: Run, path: Path, public: bool = False, *, more: Mapping[str, bytes] | None = None, key: Path | None = None
) -> dict[str, Any]:
    """Write `path` from a finished run folder; the card that is returned says what is in it.

    public: it is meant for everybody, which terms that do not surely allow it refuse (HIL-INFER-10); what they ask for
    is written into the card. more: further files by name, such as the model card. key: file of the private key that
    signs it.
    """
    run.check_hashes()
    if path.exists():
        raise HilumError("HIL-CORE-03", f"{path} exists", "Choose another --out or remove it")
    card, files = files_of(run, public, more)
    seal(path, files, key)
    return card


def files_of(
    run: Run, public: bool = False, more: Mapping[str, bytes] | None = None
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The card, and {name: bytes} of all that the bundle of a run holds but its manifest; arguments as of `write`."""
    from safetensors.torch import save

    role = _build.predicting(run.plan)
    card = _card(run, role, public)
    files = {
        "plan.json": run.plan.text().encode(),
        "card.json": json.dumps(card, indent=1).encode(),
        f"weights/{role}.safetensors": run.read(f"weights/{role}.safetensors"),
        "golden.safetensors": save(_kept(golden(run))),
    }
    for name in run.names():
        # of an ensemble, the other networks; graphs for other runtimes
        if name.startswith((f"weights/{role}.", "graphs/")):
            files[name] = run.read(name)
    files |= {name: run.read(name) for name in COPIED if run.has(name)}
    average = run.json("fingerprint.json").get("anatomy") if run.has("fingerprint.json") else None
    if average is not None:
        # how the training images lay; the rest of the fingerprint speaks of single cases and stays behind
        files["anatomy.json"] = json.dumps(average).encode()
    files[domain.NAME] = domain.known(run).model_dump_json().encode()
    files |= more or {}
    return card, files


def listed(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files, and the manifest of their hashes."""
    manifest = {n: hashlib.sha256(b).hexdigest() for n, b in files.items()}
    return {**files, "manifest.json": json.dumps(manifest, indent=1).encode()}


def seal(path: Path, files: Mapping[str, bytes], key: Path | None) -> None:
    """Write the files as one, with the manifest of their hashes and, by that private key, a signature over it."""
    whole = listed(files)
    if key is not None:
        whole[signature.NAME] = signature.sign(whole["manifest.json"], key)
    with writing(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in whole.items():
            # a fixed time, so that the same run gives the same bundle
            archive.writestr(zipfile.ZipInfo(name, (2000, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)


def _card(run: Run, role: str, public: bool) -> dict[str, Any]:
    """What card.json says."""
    plan = run.plan
    asked = _conditions(run) if public else None
    events = [e["when"] for e in run.ledger() if e["event"] in CHANGES]
    card: dict[str, Any] = {
        "format": FORMAT,
        "task": plan.task,
        "network": plan.networks[role].name,
        "classes": [c.name for c in plan.classes],
        "data": plan.data.get("name"),
        "terms_of_data": run.terms_of_data or "unknown",
        "terms_of_weights": plan.data.get("terms", "unknown"),
        "intended_use": INTENDED_USE,
        "versions": plan.versions,
        # of training, where the run says
        **trained_by(run),
        # of the run's last change, so that of two bundles the older one can be told
        "made": events[-1] if events else None,
        "tolerance": {name: _choose.card(name)["tolerance"] for name in _choose.names()},
    }
    return card if asked is None else card | {"conditions": asked}


def _applying(run: Run) -> str:
    """The terms that its plan states, and whatever else those of its data ask for: a plan is easily edited."""
    stated, own = str(run.plan.data.get("terms", "unknown")), run.terms_of_data
    return stated if own is None else terms.inherited(stated, own)


def _conditions(run: Run) -> list[str]:
    """What the terms ask of whoever makes the model public; terms that forbid it are refused (HIL-INFER-10)."""
    stated = _applying(run)
    against = terms.objection(stated)
    if against is not None:
        raise HilumError(
            "HIL-INFER-10",
            f"This model can not be made public: {against}",
            "Bundle it without --public for those who may have it; where the terms are known and allow it, "
            + _to_state(run),
        )
    return terms.conditions(stated)


def _to_state(run: Run) -> str:
    """Where the terms of a run are stated that stand in its way, by where its weights are from."""
    if not run.has("split.csv"):
        return "state them under `terms` in the facts, or as the licence in nnU-Net's dataset.json, and import it again"
    begun = run.json("start.json").get("source", {}) if run.has("start.json") else {}
    of_data = "state those of its data under `terms` in the dataset.yaml"
    if not begun or terms.objection(str(begun.get("terms", "unknown"))) is None:
        return f"{of_data} and train again"
    ways = [] if terms.objection(run.terms_of_data or "unknown") is None else [of_data]
    if begun.get("kind") == "file":
        # --start takes no facts
        ways.append(
            f"import {begun['name']}, which it began with, with its `terms` (hilum import; a whole network only)"
        )
    else:
        ways.append(f"state those of {begun['name']}, which it began with, where that was made")
    return f"{', '.join(ways)}, and train again from that"


def verify(path: Path, keys: Path | None = None) -> dict[str, Any]:
    """Check hashes and signature, rebuild the network and compare its golden output; what differs is refused.

    keys: the trusted public keys, a file or a folder; with them a bundle that none of them signed is refused (HIL-M05).
    Returns the card, files, signed (whether a signature is there), signed_by (the trusted key's name, None where none
    was asked for), golden_difference (relative to the largest output), graphs: {file: the same of it}, None where it
    was not compared, unverified: {file: why}, and runtimes: {name: the same} of those without a graph of their own that
    this machine has.
    """
    bundle = Run(path)
    found = sealed(bundle, keys)
    card: dict[str, Any] = bundle.json("card.json")
    return card | found | proven(bundle)


def sealed(bundle: Run, keys: Path | None) -> dict[str, Any]:
    """Of `verify`: hashes and signature checked; files, signed and signed_by. A folder is refused (HIL-RUN-03)."""
    bundle.check_hashes()
    signed, signer = bundle.has(signature.NAME), None
    if keys is not None:
        given = bundle.read(signature.NAME) if signed else None
        signer = signature.check(given, bundle.read("manifest.json"), signature.read_keys(keys), bundle.path)
    _check_there(bundle, "card.json")
    return {"files": len(bundle.names()), "signed": signed, "signed_by": signer}


def proven(bundle: Run) -> dict[str, Any]:
    """Of `verify`, what one network computes: golden_difference, graphs, unverified and runtimes."""
    _check_there(bundle, "golden.safetensors")
    # what prediction reads besides
    watched.known(bundle)
    domain.known(bundle)
    stored, card = _stored(bundle), bundle.json("card.json")
    held = max((tensor.numel() for name, tensor in stored.items() if name.startswith("in.")), default=0)
    if math.prod(bundle.plan.patch) > held:
        # asked before the input is made: a foreign plan may name any size
        seen = f"{bundle.path} plans a patch of {bundle.plan.patch}, and its golden input has {held} values"
        raise HilumError("HIL-M10", seen, "Do not use it")
    try:
        computed = golden(bundle)
    except _build.ODD as error:
        # its plan is foreign: a patch or options that no network takes
        seen = f"{bundle.path} can not compute its golden output ({error})"
        raise HilumError("HIL-M10", seen, "Do not use it") from error
    worst = _same(stored, computed, card, "torch", str(bundle.path))
    graphs = _graphs(bundle, stored, card)
    return {"golden_difference": worst} | graphs | {"runtimes": _runtimes(bundle, stored, card)}


def _check_there(bundle: Run, name: str) -> None:
    if not bundle.has(name):
        seen = f"{bundle.path} lacks {name}"
        raise HilumError("HIL-RUN-03", seen, "Export it with: hilum bundle RUN --out FILE.hilum")


def _graphs(bundle: Run, stored: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """graphs and unverified, as `verify` has them."""
    found: dict[str, float | None] = {}
    why: dict[str, str] = {}
    ways = (
        ((bundled_graph.NAME,), "onnx", "onnx", bundled_graph.outputs),
        (bundled_graph.FLOATS, "openvino", "openvino", bundled_graph.of_floats),
        (bundled_graph.EIGHT, "openvino-int8", "openvino", bundled_graph.of_eight_bits),
    )
    for names, runtime, extra, outputs in ways:
        if not any(map(bundle.has, names)):
            continue
        name, given = names[0], outputs(bundle, stored)
        if given is None:
            found[name], why[name] = None, f"it needs the extra {extra}, which is not installed"
            continue
        first = _of(stored, given)
        found[name] = _same(first, given, card, runtime, f"{name} of {bundle.path}")
    known = {*bundled_graph.EIGHT, *bundled_graph.FLOATS, bundled_graph.NAME, "graphs/openvino_int8.json"}
    for name in sorted(n for n in bundle.names() if n.startswith("graphs/") and n not in known):
        found[name], why[name] = None, "no runtime here reads it"
    return {"graphs": found, "unverified": why}


def _runtimes(bundle: Run, stored: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, float]:
    """runtimes, as `verify` has them."""
    found: dict[str, float] = {}
    for name, given in bundled_runtimes.outputs(bundle, stored, GOLDEN_SEED).items():
        first, what = _of(stored, given), f"{bundle.path} by {name}"
        if _choose.card(name)["exact"] or by_class(_task.load(bundle.plan)):
            found[name] = _same(first, given, card, name, what)
        else:
            # of a few numbers that nearly cancel, rounding can be as large as they are
            found[name] = difference(first, given, what, True)
    return found


def _of(stored: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """What the golden pair has of the outputs that were given."""
    return {n: t for n, t in stored.items() if n in given or n.startswith(SHAPE)}


def _same(stored: Mapping[str, Any], now: Mapping[str, Any], card: Mapping[str, Any], runtime: str, what: str) -> float:
    """The difference from the golden output; more than is allowed for that runtime is refused (HIL-M10)."""
    worst, allowed = difference(stored, now, what, not _choose.card(runtime)["exact"]), tolerance(card, runtime)
    if not worst <= allowed:
        raise HilumError(
            "HIL-M10", f"{what}: the golden output differs by {worst:.2e} (allowed {allowed:.0e})", "Do not use it"
        )
    return worst


def _stored(bundle: Run) -> dict[str, Any]:
    """The golden pair; a damaged one is refused (HIL-M05)."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    content = bundle.read("golden.safetensors")
    try:
        pair: dict[str, Any] = load(content)
    except (SafetensorError, KeyError) as error:
        seen = f"The golden pair of {bundle.path} is damaged ({error})"
        raise HilumError("HIL-M05", seen, "Export the bundle again") from error
    if twice := _members.twice(content):
        seen = f"The golden pair of {bundle.path} holds {twice[0]!r} twice"
        raise HilumError("HIL-M05", seen, "Export the bundle again")
    return pair


def difference(stored: Mapping[str, Any], now: Mapping[str, Any], path: Path | str, mean: bool = False) -> float:
    """Largest difference of any output, relative to that output's largest value; NaN where one is no number.

    stored: as `_kept` makes it; of an output of which it has a sample, that is compared. now: whole outputs.
    mean: the root of the mean square instead of the largest value, of both. A pair without an output,
    or with another shape, is refused (HIL-M10).
    """
    if not any(name.startswith("out.") for name in stored):
        raise HilumError("HIL-M10", f"{path}: the golden pair holds no output", "Export the bundle again")
    worst = 0.0
    for name, wanted in stored.items():
        if name.startswith(SHAPE):
            continue
        whole: Any = now.get(name)
        shape = stored.get(SHAPE + name.removeprefix("out."))
        fits = whole is not None and (shape is None or list(whole.shape) == shape.tolist())
        given = _sample(whole) if fits and shape is not None else whole
        if not fits or given.shape != wanted.shape or given.dtype != wanted.dtype:
            raise HilumError(
                "HIL-M10", f"{path}: golden {name} has another shape or kind now", "Use the version it was made with"
            )
        size = (lambda t: t.square().mean().sqrt()) if mean else (lambda t: t.abs().max())
        found = float(size(given - wanted)) / max(float(size(wanted)), 1e-6)
        # also where it is not compared
        found = found if whole.isfinite().all() else math.nan
        # max() would pass over NaN
        worst = found if found != found else max(worst, found)
        if worst != worst:
            break
    return worst


def tolerance(card: Mapping[str, Any], runtime: str) -> float:
    """The difference allowed for that runtime: what the card says, but never more than ours (the card is foreign)."""
    stated = card.get("tolerance")
    found = stated.get(runtime) if isinstance(stated, dict) else None
    ours = float(_choose.card(runtime)["tolerance"])
    # asked before it is made a float, which not every whole number can be
    return float(found) if isinstance(found, int | float) and 0 <= found < ours else ours


def older(card: Mapping[str, Any], before: Mapping[str, Any]) -> bool | None:
    """Whether the model of `card` was made before that of the card `before`; None where one of them does not say."""
    times = (card.get("made"), before.get("made"))
    if not all(isinstance(time, str) for time in times):
        return None
    return str(times[0]) < str(times[1])
