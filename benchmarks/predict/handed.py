"""What both sides predict with: copies of a trained run with more or fewer classes, and what peers are given of it."""

import json
import shutil
from pathlib import Path
from typing import Any

from hilum.core.atomic import write_json, writing, writing_folder
from hilum.core.run import Run

BELOW = 30.0
# How far the outputs of classes that nobody trained lie below the least bias of a trained one: never the largest, so
# that the labels are those of the trained classes.
KEPT = ("plan.json", "split.csv", "fingerprint.json", "seen.json", "log.csv", "start.json")
# Files of a run that a copy takes.
LEARNED = ("calibration.json", "outlier.safetensors")
# What the run learned about its own answers.
SHOWN = 4
# Outputs that are kept of the golden pair.
OPSET = 17


def changed(
    source: Path,
    out: Path,
    classes: int | None = None,
    spacing: float | None = None,
    overlap: float | None = None,
    kept: tuple[str, ...] = KEPT,
) -> Path:
    """A copy of a run with other `classes`, `spacing` (mm, all axes) and `overlap` of windows, and the files `kept`.

    Classes more than were trained: small random weights and a bias far below. Fewer: the first ones. None: as it is.
    """
    if (out / "manifest.json").is_file():
        return out
    run = Run(source)
    with writing_folder(out) as folder:
        for name in [n for n in kept if run.has(n)]:
            shutil.copyfile(source / name, folder / name)
        plan = json.loads((source / "plan.json").read_text(encoding="utf-8"))
        weights = run.weights("net")
        if classes is not None:
            plan["classes"] = _classes(plan["classes"], classes)
            weights = {name: _rows(name, tensor, 1 + classes) for name, tensor in weights.items()}
        if spacing is not None:
            plan["spacing"] = [spacing] * plan["dims"]
        if overlap is not None:
            plan["options"]["overlap"] = overlap
        write_json(folder / "plan.json", plan)
        (folder / "weights").mkdir()
        _save(weights, folder / "weights" / "net.safetensors")
        Run(folder).write_manifest()
    return out


def _classes(known: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """The first `count`, and made-up ones with values that are free."""
    free = (value for value in range(1, 1 + count + len(known)) if value not in {c["value"] for c in known})
    more = [{"value": next(free), "name": f"untrained {n}"} for n in range(1, 1 + count - len(known))]
    return known[:count] + more


def _rows(name: str, tensor: Any, outputs: int) -> Any:
    """A tensor of a head with so many outputs; others as they are."""
    import torch

    if not name.startswith(("head.", "lower_heads.")):
        return tensor
    missing = outputs - len(tensor)
    if missing <= 0:
        return tensor[:outputs].contiguous()
    drawn = 1e-3 * torch.randn((missing, *tensor.shape[1:]), generator=torch.Generator().manual_seed(0))
    return torch.cat([tensor, (drawn + (tensor.min() - BELOW if name.endswith("bias") else 0)).to(tensor.dtype)])


def _save(weights: dict[str, Any], path: Path) -> None:
    from safetensors.torch import save_file

    with writing(path) as part:
        save_file(weights, part)


def handed(run: Path, out: Path) -> Path:
    """What a peer needs of a run: settings.json, weights.pt (named as in Hilum), net.ts, net.onnx and a golden pair."""
    if (out / "settings.json").is_file():
        return out
    import torch

    from hilum.infer.predictor import open_predictor

    predictor = open_predictor(run)
    plan, options = predictor.plan, dict(next(iter(predictor.plan.networks.values())).options)
    if next(iter(plan.networks.values())).name != "nnunet":
        raise SystemExit(f"{run} holds another network than nnunet: peers can not build it")
    out.mkdir(parents=True, exist_ok=True)
    weights = predictor.run.weights("net")
    torch.save(weights, out / "weights.pt")
    torch.manual_seed(0)
    shape = (1, len(plan.channels), *plan.patch)
    with torch.inference_mode():
        image = torch.randn(shape)
        torch.save({"in": image, "out": predictor.net(image)[:, :SHOWN].clone()}, out / "golden.pt")
    with torch.no_grad():
        plain = torch.randn(shape)
        _graphs(predictor.net, plain, out)
    facts = {
        "dims": plan.dims, "channels": len(plan.channels), "outputs": 1 + len(plan.classes),
        "values": [0, *(c.value for c in plan.classes)], "patch": list(plan.patch), "spacing": plan.spacing,
        "normalisation": [rule.model_dump() for rule in plan.normalisation], "overlap": predictor.task.options.overlap,
        "network": options,
    }  # fmt: skip
    write_json(out / "settings.json", facts)
    return out


def _graphs(net: Any, image: Any, out: Path) -> None:
    """The network of one window, traced and as ONNX (by the exporter that needs no further package than onnx)."""
    import warnings

    import torch

    with warnings.catch_warnings():
        # the size of the window is meant to be a constant
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(net, image), str(out / "net.ts"))
        torch.onnx.export(
            net, (image,), str(out / "net.onnx"), opset_version=OPSET, dynamo=False, input_names=["in"],
            output_names=["out"],
        )  # fmt: skip
