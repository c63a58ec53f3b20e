"""MONAI's usual pipeline on the same weights: its transforms, SlidingWindowInferer, Invertd, SaveImaged.

    PYTHON peers/monai_pipeline.py JOB.json [--check]

The job: images, out, model (what handed.py wrote), runtime, settings {overlap, windows, invert, workers}. invert:
"labels" (argmax, then back to the image's grid by nearest, as its whole-body CT bundle does) or "scores" (all scores go
back linearly, then argmax, as its tutorials do). --check: only compare the network with Hilum's.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import graphs
import numpy as np
import torch
from monai.data import DataLoader, Dataset, decollate_batch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import DynUNet
from monai.transforms import (
    Activationsd,
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    EnsureTyped,
    Invertd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    SaveImaged,
    ScaleIntensityRanged,
    Spacingd,
    Transposed,
)
from torch import nn


def network(known: dict[str, Any], model: Path) -> tuple[nn.Module, str]:
    """DynUNet with the weights of Hilum's nnunet; the traced network where it has no such form."""
    options = known["network"]
    weights = torch.load(model / "weights.pt", weights_only=True)
    try:
        return dynunet(known, options, weights), "DynUNet"
    except (RuntimeError, ValueError, KeyError) as error:
        print(f"the traced network, as DynUNet can not hold the weights: {error}")
        return torch.jit.load(str(model / "net.ts")), "TorchScript"


def dynunet(known: dict[str, Any], options: dict[str, Any], weights: dict[str, torch.Tensor]) -> DynUNet:
    """Its blocks have no bias before the instance norm, which takes any constant away."""
    if options.get("blocks") or options.get("convs", 2) != 2:
        raise ValueError("it has two plain convolutions a stage")
    strides = options["strides"]
    net = DynUNet(
        spatial_dims=known["dims"], in_channels=known["channels"], out_channels=known["outputs"],
        kernel_size=options.get("kernels") or [3] * len(strides), strides=strides, upsample_kernel_size=strides[1:],
        filters=options["features"], trans_bias=True,
    )  # fmt: skip
    with torch.no_grad():
        for n, block in enumerate([net.input_block, *net.downsamples, net.bottleneck]):
            _block(block, f"encoder.{n}", weights)
        for n, up in enumerate(net.upsamples):
            _layer(up.transp_conv.conv, f"up.{n}", weights)
            _block(up.conv_block, f"decoder.{n}", weights)
        _layer(net.output_block.conv.conv, "head", weights)
    return net


def _block(block: nn.Module, name: str, weights: dict[str, torch.Tensor]) -> None:
    for n in (0, 1):
        _layer(getattr(block, f"conv{n + 1}").conv, f"{name}.{n}.conv", weights)
        _layer(getattr(block, f"norm{n + 1}"), f"{name}.{n}.norm", weights)


def _layer(layer: nn.Module, name: str, weights: dict[str, torch.Tensor]) -> None:
    for kind, parameter in layer.named_parameters():
        given = weights[f"{name}.{kind}"]
        if given.shape != parameter.shape:
            raise ValueError(f"{name}.{kind} is {tuple(given.shape)}, not {tuple(parameter.shape)}")
        parameter.copy_(given)


def before(known: dict[str, Any]) -> Compose:
    """From a file to what the network sees."""
    steps: list[Any] = [LoadImaged("image"), EnsureTyped("image"), EnsureChannelFirstd("image")]
    if known["dims"] == 3:
        steps.append(Orientationd("image", axcodes="RAS"))
        if known["spacing"]:
            steps.append(Spacingd("image", pixdim=known["spacing"], mode="bilinear"))
    else:
        # pictures are read with columns first
        steps.append(Transposed("image", indices=[0, 2, 1]))
    return Compose([*steps, *_normalised(known["normalisation"])])


def _normalised(rules: list[dict[str, Any]]) -> list[Any]:
    """The rules of the plan, which all channels share."""
    rule = rules[0]
    if any(r["scheme"] != rule["scheme"] for r in rules):
        raise SystemExit("channels with different normalisations")
    if rule["scheme"] == "zscore":
        return [NormalizeIntensityd("image", channel_wise=True)]
    if rule["scheme"] == "none":
        return []
    if rule["scheme"] not in ("ct", "scale"):
        raise SystemExit(f"no transform for {rule['scheme']}")
    low, high = rule["low"], rule["high"]
    ends = ((v - rule["mean"]) / rule["std"] for v in (low, high)) if rule["scheme"] == "ct" else (0.0, 1.0)
    return [ScaleIntensityRanged("image", low, high, *ends, clip=True)]


def after(known: dict[str, Any], pre: Compose, invert: str, out: Path) -> Compose:
    """From scores to a file."""
    back = Invertd("pred", pre, "image", nearest_interp=invert == "labels", to_tensor=True)
    label = AsDiscreted("pred", argmax=True)
    save = SaveImaged(
        "pred", output_dir=out, output_postfix="", output_ext=".nii.gz" if known["dims"] == 3 else ".png",
        separate_folder=False, output_dtype=np.uint8, print_log=False,
    )  # fmt: skip
    order = [label, back] if invert == "labels" else [back, label]
    return Compose([Activationsd("pred", softmax=True), *order, save])


def main() -> None:
    """Predict the images of the job."""
    began = time.perf_counter()
    job = json.loads(Path(sys.argv[1]).read_text())
    model, chosen = Path(job["model"]), job["settings"]
    known = graphs.settings(model)
    own, form = network(known, model)
    if "--check" in sys.argv:
        print(json.dumps({"network": form, "difference": graphs.difference(own, model)}))
        return
    net = graphs.network(own, job["runtime"], model)
    pre = before(known)
    post = after(known, pre, chosen["invert"], Path(job["out"]))
    device = "cuda" if "cuda" in job["runtime"] else "cpu"
    inferer = SlidingWindowInferer(
        known["patch"], chosen["windows"], chosen["overlap"], mode="gaussian", padding_mode="replicate", device=device
    )
    loader = DataLoader(
        Dataset([{"image": image} for image in job["images"]], pre), batch_size=1, num_workers=chosen["workers"]
    )
    facts = {"network": form, "start": time.perf_counter() - began, "read and prepare": 0.0, "windows": 0.0}
    facts |= {"back and write": 0.0}
    mark = time.perf_counter()
    with torch.inference_mode():
        for batch in loader:
            mark = _spent(facts, "read and prepare", mark)
            # its evaluator puts the image there first
            batch["image"] = batch["image"].to(device)
            batch["pred"] = inferer(batch["image"], net)
            mark = _spent(facts, "windows", mark)
            for item in decollate_batch(batch):
                post(item)
            # the next volume must not be held beside this one
            del batch, item
            mark = _spent(facts, "back and write", mark)
    if device == "cuda":
        facts["card"] = torch.cuda.max_memory_allocated()
    facts |= {"network": net.seconds, "form": form, "merge": facts["windows"] - net.seconds}
    (Path(job["out"]) / "facts.json").write_text(json.dumps(facts))


def _spent(facts: dict[str, Any], what: str, since: float) -> float:
    """Add the seconds since then; now."""
    now = time.perf_counter()
    facts[what] += now - since
    return now


if __name__ == "__main__":
    main()
