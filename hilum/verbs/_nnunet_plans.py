"""What nnU-Net v2's plans.json and dataset.json say, as ours: the network's options, normalisation, classes, terms.

Data only: names of classes and functions in the plans are compared as text, and none of them is imported.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.plan import Normalisation, checked

NETWORKS = {"PlainConvUNet": "n_conv_per_stage", "ResidualEncoderUNet": "n_blocks_per_stage"}
# Networks that are in the zoo, and the setting that counts the parts of their encoder's stages.
READ = {"n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage_decoder"}
READ |= set(NETWORKS.values())
# Settings of those networks that decide their shape.
USUAL: dict[str, Callable[[Any], bool]] = {
    "conv_bias": lambda value: value is True,
    "norm_op": lambda value: ".InstanceNorm" in str(value),
    "norm_op_kwargs": lambda value: dict(value) == {"eps": 1e-5, "affine": True},
    "nonlin": lambda value: str(value).endswith(".LeakyReLU"),
    "nonlin_kwargs": lambda value: dict(value or {}).get("negative_slope", 0.01) == 0.01,
}
# Settings that must be what our network is made of; any other one must be off.
RESAMPLING = "resample_data_or_seg_to_shape"
# nnU-Net's usual way to bring an image to the plan's spacing.


def configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A configuration with what it inherits from others; the second stage of a cascade is refused (HIL-INFER-36)."""
    found: dict[str, Any] = {}
    seen: list[str] = []
    parent: str | None = name
    while parent is not None:
        if parent in seen:
            raise ValueError(f"{parent} inherits from itself")
        seen.append(parent)
        own = plans["configurations"][parent]
        found, parent = {**own, **found}, own.get("inherits_from")
    if found.get("previous_stage") or found.get("previous_stage_name"):
        raise HilumError(
            "HIL-INFER-36", f"{name} is the second stage of a cascade: it reads the labels of another network",
            "Import 3d_fullres or 3d_lowres",
        )  # fmt: skip
    return found


def preparation(plans: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """What to know about how its images were resampled.

    Refused (HIL-INFER-36): images that another preprocessor made, or outputs that another label manager reads.
    """
    for key, usual, found in (
        ("preprocessor_name", "DefaultPreprocessor", config.get("preprocessor_name")),
        ("label_manager", "LabelManager", plans.get("label_manager")),
    ):
        if found not in (None, usual):
            seen = f"The plans name {found!r} as {key}, and what that does is code"
            raise HilumError("HIL-INFER-36", seen, f"Only models of nnU-Net's {usual} can be imported")
    how = config.get("resampling_fn_data")
    if how in (None, RESAMPLING):
        return []
    return [
        f"Its training images were resampled by {how}, and not by nnU-Net's {RESAMPLING}; Hilum resamples linearly: "
        "check it on images that are not at the plan's spacing."
    ]


def network(config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of zoo/nnunet.py, axes as nnU-Net counts them; other networks are refused (HIL-INFER-36)."""
    kind, wanted = _architecture(config)
    if kind not in NETWORKS:
        raise HilumError("HIL-INFER-36", f"The network is nnU-Net's {kind}", f"Known are {' and '.join(NETWORKS)}")
    for key, value in wanted.items():
        usual = USUAL[key](value) if key in USUAL else key in READ or value in (None, False, 0, {}, [])
        if not usual:
            seen = f"The plans set {key} to {value!r}, which zoo/nnunet.py does not build"
            raise HilumError("HIL-INFER-36", seen, "Only nnU-Net's usual networks can be imported")
    features = [int(n) for n in wanted["features_per_stage"]]
    inner = _each(wanted[NETWORKS[kind]], len(features))
    outer = _each(wanted["n_conv_per_stage_decoder"], len(features) - 1)
    even = set(outer) if kind == "ResidualEncoderUNet" else {*inner, *outer}
    if len(even) != 1:
        seen = f"The stages have {sorted(even)} convolutions"
        raise HilumError("HIL-INFER-36", seen, "Only networks with the same number in each stage can be imported")
    made = {"features": features, "strides": wanted["strides"], "kernels": wanted["kernel_sizes"], "convs": outer[0]}
    return made | ({"blocks": inner} if kind == "ResidualEncoderUNet" else {})


def _architecture(config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class and settings of the network, in the form of nnU-Net 2.3 and later; earlier plans are brought to it."""
    if "architecture" in config:
        told = config["architecture"]
        return str(told["network_class_name"]).split(".")[-1], dict(told["arch_kwargs"])
    kind, strides = str(config["UNet_class_name"]), config["pool_op_kernel_sizes"]
    base, most = int(config["UNet_base_num_features"]), int(config["unet_max_num_features"])
    return kind, {
        "features_per_stage": [min(base * 2**i, most) for i in range(len(strides))],
        "strides": strides,
        "kernel_sizes": config["conv_kernel_sizes"],
        NETWORKS.get(kind, "n_conv_per_stage"): config["n_conv_per_stage_encoder"],
        "n_conv_per_stage_decoder": config["n_conv_per_stage_decoder"],
    }


def _each(value: Any, count: int) -> list[int]:
    """One number for every stage."""
    found = [value] * count if isinstance(value, int) else [int(n) for n in value]
    if len(found) != count:
        raise ValueError(f"{len(found)} numbers for {count} stages")
    return found


def classes(dataset: Mapping[str, Any], folder: Path) -> dict[int, str]:
    """{value: name} of what the network's outputs 1, 2, ... mean. The label to ignore has no output."""
    labels = {str(name): value for name, value in dataset["labels"].items()}
    if "regions_class_order" in dataset or any(isinstance(value, list | tuple) for value in labels.values()):
        raise HilumError(
            "HIL-DATA-09", f"dataset.json of {folder} defines regions, which overlap",
            "Networks of regions can not be imported; Hilum's give every voxel one class",
        )  # fmt: skip
    found = {int(value): name for name, value in labels.items() if name != "ignore"}
    if sorted(found) != list(range(len(found))):
        raise ValueError(f"labels are {sorted(found)}")
    return {value: found[value] for value in sorted(found) if value}


def channels(dataset: Mapping[str, Any]) -> list[str]:
    """Names of the input channels, in order; numbered where one is there twice."""
    names = dataset.get("channel_names", dataset.get("modality"))
    if not names:
        raise KeyError("channel_names")
    found = [str(names[str(number)]) for number in range(len(names))]
    return [f"{name} {i}" if found.count(name) > 1 else name for i, name in enumerate(found)]


def normalisation(plans: Mapping[str, Any], config: Mapping[str, Any], channel: int) -> Normalisation:
    """The same as nnU-Net does to that channel; a scheme that we do not have is refused (HIL-INFER-36)."""
    scheme, masked = config["normalization_schemes"][channel], config["use_mask_for_norm"][channel]
    if scheme == "CTNormalization":
        # the first releases of version 2 called it otherwise
        earlier = plans.get("foreground_intensity_properties_by_modality")
        of = plans.get("foreground_intensity_properties_per_channel", earlier)[str(channel)]
        ends = {"low": float(of["percentile_00_5"]), "high": float(of["percentile_99_5"])}
        # a deviation of 0 nnU-Net takes for this one
        ends |= {"mean": float(of["mean"]), "std": float(of["std"]) or 1e-8}
        return checked(Normalisation, {"scheme": "ct"} | ends, f"plans.json, channel {channel}")
    if scheme == "ZScoreNormalization":
        return Normalisation(scheme="zscore_nonzero" if masked else "zscore_box")
    if scheme == "NoNormalization":
        return Normalisation(scheme="none")
    if scheme == "RGBTo01Normalization":
        return Normalisation(scheme="scale", low=0.0, high=255.0)
    raise HilumError(
        "HIL-INFER-36", f"Channel {channel} is scaled by nnU-Net's {scheme}, which Hilum does not have",
        "Only CT, z-score, RGB and no normalisation can be imported",
    )  # fmt: skip


def terms(dataset: Mapping[str, Any]) -> str:
    """The licence that dataset.json states, else "unknown"."""
    return next((str(dataset[key]) for key in ("licence", "license") if dataset.get(key)), "unknown")
