"""nnU-Net's own predictor (nnunetv2) on the same weights: its reading, resampling, windows, export.

    PYTHON peers/nnunet_predictor.py JOB.json [--make]

--make: write the results folder that it is opened from (plans.json, dataset.json, fold_0) into the job's model, and
compare the network with Hilum's. The job is that of monai_pipeline.py; settings {step, processes}: processes for
preparing and for writing each, 0 for its sequential mode. Mirrored views are off as in a trainer without mirroring:
Hilum's network was not trained on them.
"""

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch

# torchvision is a CUDA build beside a torch for processors: these operators are all that its import misses
_shim = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _shim.define(_name + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
for _name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
    os.environ.setdefault(_name, "unused")

import graphs  # noqa: E402

RESAMPLE = {"order_z": 0, "force_separate_z": None}
SCHEMES = {"ct": "CTNormalization", "zscore": "ZScoreNormalization", "none": "NoNormalization"}


def plans(known: dict[str, Any]) -> dict[str, Any]:
    """plans.json for the network and the data. Axes are turned so that the network sees x, y, z as in Hilum."""
    dims, options = known["dims"], known["network"]
    turn = [2, 1, 0] if dims == 3 else [0, 1, 2]
    stages = len(options["strides"])

    def axes(rows: list[Any]) -> list[list[int]]:
        return [row if isinstance(row, list) else [row] * dims for row in rows]

    if options.get("blocks"):
        kind, counts = "ResidualEncoderUNet", {"n_blocks_per_stage": options["blocks"]}
    else:
        kind, counts = "PlainConvUNet", {"n_conv_per_stage": [options.get("convs", 2)] * stages}
    network = {
        "n_stages": stages, "features_per_stage": options["features"], "strides": axes(options["strides"]),
        "kernel_sizes": axes(options.get("kernels") or [3] * stages), **counts,
        "n_conv_per_stage_decoder": [options.get("convs", 2)] * (stages - 1),
        "conv_op": f"torch.nn.modules.conv.Conv{dims}d", "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip
    spacing = known["spacing"] or [1.0] * dims
    configuration = {
        "data_identifier": "unused", "preprocessor_name": "DefaultPreprocessor", "batch_size": 2,
        "patch_size": known["patch"], "median_image_size_in_voxels": known["patch"], "spacing": spacing,
        "normalization_schemes": [SCHEMES[rule["scheme"]] for rule in known["normalisation"]],
        "use_mask_for_norm": [False] * known["channels"], "batch_dice": True,
        "architecture": {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}", "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        },
    }  # fmt: skip
    orders = (("data", False, 3), ("seg", True, 1), ("probabilities", False, 1))
    for what, labels, order in orders:
        configuration[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        configuration[f"resampling_fn_{what}_kwargs"] = {"is_seg": labels, "order": order, **RESAMPLE}
    told = {
        str(n): {"mean": r["mean"], "std": r["std"], "percentile_00_5": r["low"], "percentile_99_5": r["high"]}
        for n, r in enumerate(known["normalisation"])
    }
    return {
        "dataset_name": "Dataset001_Peer", "plans_name": "nnUNetPlans", "label_manager": "LabelManager",
        "image_reader_writer": "SimpleITKIO" if dims == 3 else "NaturalImage2DIO",
        "transpose_forward": turn, "transpose_backward": turn, "configurations": {_name_of(dims): configuration},
        "original_median_spacing_after_transp": spacing if dims == 3 else [999.0, *spacing],
        "original_median_shape_after_transp": known["patch"] if dims == 3 else [1, *known["patch"]],
        "experiment_planner_used": "ExperimentPlanner", "foreground_intensity_properties_per_channel": told,
    }  # fmt: skip


def _name_of(dims: int) -> str:
    return "3d_fullres" if dims == 3 else "2d"


def make(model: Path) -> dict[str, Any]:
    """The results folder; labels are 0 to n, the channels of the network."""
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    known = graphs.settings(model)
    made = plans(known)
    configuration = made["configurations"][_name_of(known["dims"])]
    built = configuration["architecture"]
    net = get_network_from_plans(
        built["network_class_name"], built["arch_kwargs"], built["_kw_requires_import"], known["channels"],
        known["outputs"], deep_supervision=False,
    )  # fmt: skip
    given = torch.load(model / "weights.pt", weights_only=True)
    state = {key: given.get(_ours(key, len(configuration["patch_size"]), built), own) for key, own in
             net.state_dict().items()}  # fmt: skip
    net.load_state_dict(state)
    found = graphs.difference(net, model)
    labels = {"background": 0} | {f"class {n}": n for n in range(1, known["outputs"])}
    ending = ".nii.gz" if known["dims"] == 3 else ".png"
    data = {"channel_names": {str(n): "image" for n in range(known["channels"])}, "labels": labels}
    folder = model / "nnunetv2"
    (folder / "fold_0").mkdir(parents=True, exist_ok=True)
    (folder / "plans.json").write_text(json.dumps(made))
    (folder / "dataset.json").write_text(json.dumps(data | {"numTraining": 3, "file_ending": ending}))
    kept = {
        "network_weights": state, "trainer_name": "nnUNetTrainer", "inference_allowed_mirroring_axes": None,
        "init_args": {"configuration": _name_of(known["dims"])},
    }  # fmt: skip
    torch.save(kept, folder / "fold_0" / "checkpoint_final.pth")
    return {"network": built["network_class_name"].rsplit(".", 1)[1], "difference": found}


def _ours(key: str, dims: int, built: dict[str, Any]) -> str:
    """Hilum's name of one of its weights; its duplicates have the name of what they repeat."""
    key = key.removeprefix("decoder.") if key.startswith("decoder.encoder.") else key
    key = key.replace(".all_modules.0.", ".conv.").replace(".all_modules.1.", ".norm.")
    last = built["arch_kwargs"]["n_stages"] - 2
    for theirs, ours in (
        ("encoder.stem.convs.0.", "encoder.0.stem."), ("decoder.transpconvs.", "up."),
        (f"decoder.seg_layers.{last}.", "head."), ("decoder.seg_layers.", "lower_heads."),
    ):  # fmt: skip
        if key.startswith(theirs):
            return ours + key.removeprefix(theirs)
    words = key.split(".")
    if words[:2] == ["encoder", "stages"]:
        # plain: stages.N.0.convs.M.; residual: stages.N.blocks.M.
        rest = words[5:] if words[4] == "convs" else words[4:]
        return ".".join(["encoder", words[2], *rest])
    return key.replace("decoder.stages.", "decoder.").replace(".convs.", ".")


def main() -> None:
    """Make the folder, or predict the images of the job."""
    began = time.perf_counter()
    job = json.loads(Path(sys.argv[1]).read_text())
    model, chosen = Path(job["model"]), job["settings"]
    if "--make" in sys.argv:
        print(json.dumps(make(model)))
        return
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    # as its command line does for processors
    torch.set_num_threads(multiprocessing.cpu_count())
    predictor = nnUNetPredictor(
        tile_step_size=chosen["step"], use_gaussian=True, use_mirroring=True, device=torch.device("cpu"),
        allow_tqdm=False,
    )  # fmt: skip
    predictor.initialize_from_trained_model_folder(str(model / "nnunetv2"), (0,), "checkpoint_final.pth")
    net = graphs.network(predictor.network, job["runtime"], model)
    # the weights are loaded already; it loads them again before every case
    net.load_state_dict = lambda *_, **__: None
    predictor.network = net
    ready = time.perf_counter()
    known, out = graphs.settings(model), Path(job["out"])
    ending = ".nii.gz" if known["dims"] == 3 else ".png"
    wanted = [str(out / Path(image).name.removesuffix(ending)) for image in job["images"]]
    lists = [[image] for image in job["images"]]
    if chosen["processes"]:
        predictor.predict_from_files(
            lists, wanted, num_processes_preprocessing=chosen["processes"],
            num_processes_segmentation_export=chosen["processes"],
        )  # fmt: skip
    else:
        predictor.predict_from_files_sequential(lists, wanted)
    facts = {"start": ready - began, "network": net.seconds, "all": time.perf_counter() - began}
    (out / "facts.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main()
