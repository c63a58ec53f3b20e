"""An nnU-Net v2 results folder becomes a run that gives the same labels, however its training images lay."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import PIL.Image
import pytest
import SimpleITK
import torch
from nibabel.orientations import axcodes2ornt

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.plan import Normalisation
from hilum.core.run import Run
from hilum.infer.predictor import open_predictor
from hilum.io import _source
from hilum.verbs import _nnunet_plans
from hilum.verbs._nnunet_folder import axis_order
from hilum.verbs.import_model import import_model
from hilum.zoo.nnunet import Net

PATCH, SPACING = (8, 16, 12), (3.0, 1.0, 0.5)
# As nnU-Net counts axes: the coarse one in front.
SHAPE: dict[str, Any] = {
    "features": [4, 6, 8],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
}
CT = {"mean": 40.0, "std": 60.0, "percentile_00_5": -100.0, "percentile_99_5": 200.0, "min": -900.0, "max": 1900.0}
LABELS = {"background": 0, "liver": 1, "tumour": 2}


def original(residual: bool = False, channels: int = 1) -> Net:
    """The network as nnU-Net built it, with weights that let every class win somewhere."""
    torch.manual_seed(4)
    more: dict[str, Any] = {"blocks": [1, 2, 1], "convs": 1} if residual else {}
    net = Net(channels, 3, 3, deep_supervision=True, **SHAPE, **more).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.5)
    with torch.no_grad():
        # no class may win everywhere
        logits = net(torch.randn(1, channels, *PATCH))
        net.head.weight /= logits.std(dim=(0, 2, 3, 4)).reshape(-1, 1, 1, 1, 1)
        net.head.bias.zero_()
        net.head.bias -= net(torch.randn(1, channels, *PATCH)).mean(dim=(0, 2, 3, 4))
    return net


def published(net: Net) -> dict[str, torch.Tensor]:
    """Its state as dynamic-network-architectures names it, with what that package names twice."""
    made: dict[str, torch.Tensor] = {}
    for name, value in net.state_dict().items():
        part, *rest = name.split(".")
        if part == "encoder" and rest[1] == "stem":
            name = ".".join(["encoder", "stem", "convs", "0", *rest[2:]])
        elif part == "encoder" and rest[2].startswith(("conv1", "conv2", "skip")):
            name = ".".join(["encoder", "stages", rest[0], "blocks", *rest[1:]])
        elif part == "encoder":
            name = ".".join(["encoder", "stages", rest[0], "0", "convs", *rest[1:]])
        elif part == "decoder":
            name = ".".join(["decoder", "stages", rest[0], "convs", *rest[1:]])
        elif part == "up":
            name = ".".join(["decoder", "transpconvs", *rest])
        elif part == "lower_heads":
            name = ".".join(["decoder", "seg_layers", *rest])
        else:
            name = ".".join(["decoder", "seg_layers", str(len(net.up) - 1), *rest])
        made[name] = value
        if name.startswith("encoder."):
            made[f"decoder.{name}"] = value
            made[name.replace(".conv.", ".all_modules.0.").replace(".norm.", ".all_modules.1.")] = value
    return made


def architecture(residual: bool) -> dict[str, Any]:
    """The network in the form of nnU-Net 2.3 and later."""
    kind = "ResidualEncoderUNet" if residual else "PlainConvUNet"
    counted = {"n_blocks_per_stage": [1, 2, 1]} if residual else {"n_conv_per_stage": [2, 2, 2]}
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
        "arch_kwargs": {
            "n_stages": 3,
            "features_per_stage": SHAPE["features"],
            "conv_op": "torch.nn.modules.conv.Conv3d",
            "kernel_sizes": SHAPE["kernels"],
            "strides": SHAPE["strides"],
            **counted,
            "n_conv_per_stage_decoder": [1, 1] if residual else [2, 2],
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def plans(forward: Sequence[int] = (0, 1, 2), residual: bool = False) -> dict[str, Any]:
    """plans.json as nnU-Net writes it."""
    config = {
        "data_identifier": "nnUNetPlans_3d_fullres",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(PATCH),
        "median_image_size_in_voxels": [8.0, 16.0, 12.0],
        "spacing": list(SPACING),
        "normalization_schemes": ["CTNormalization"],
        "use_mask_for_norm": [False],
        "architecture": architecture(residual),
    }
    return {
        "dataset_name": "Dataset007_Liver",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": list(forward),
        "transpose_backward": [int(i) for i in np.argsort(forward)],
        "configurations": {"3d_fullres": config},
        "foreground_intensity_properties_per_channel": {"0": CT},
    }


@pytest.fixture
def results(tmp_path: Path) -> Callable[..., Path]:
    """results(net, plans, axes, trainer, trained, **more): a folder as nnU-Net leaves it."""

    def made(
        net: Net,
        planned: dict[str, Any],
        axes: Any = None,
        trainer: Any = "nnUNetTrainer",
        trained: Any = "3d_fullres",
        **dataset: Any,
    ) -> Path:
        folder = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
        (folder / "fold_0").mkdir(parents=True)
        told = {"channel_names": {"0": "CT"}, "labels": LABELS, "numTraining": 9, "file_ending": ".nii.gz"} | dataset
        (folder / "plans.json").write_text(json.dumps(planned))
        (folder / "dataset.json").write_text(json.dumps(told))
        checkpoint = {
            "network_weights": published(net),
            "optimizer_state": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.01}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [0.1, 0.8], "ema_fg_dice": [np.float64(0.5)]},
            "_best_ema": np.float64(0.8),
            "current_epoch": 1000,
            "init_args": {"plans": planned, "configuration": trained, "fold": 0, "device": torch.device("cpu")},
            "trainer_name": trainer,
            "inference_allowed_mirroring_axes": axes,
        }
        torch.save(checkpoint, folder / "fold_0" / "checkpoint_final.pth")
        return folder

    return made


def volume(path: Path, word: str, forward: Sequence[int]) -> Path:
    """A CT file that lies as `word` says, and whose array fills the patch once nnU-Net has transposed it."""
    shape, steps = [0] * 3, [0.0] * 3
    for axis, turned in enumerate(forward):
        shape[2 - turned], steps[2 - turned] = PATCH[axis], SPACING[axis]
    affine = np.eye(4)
    for column, (row, sign) in enumerate(axcodes2ornt(tuple(word))):
        affine[:3, column] = 0
        affine[int(row), column] = sign * steps[column]
    values = np.random.default_rng(2).normal(40, 90, shape).astype(np.float32)
    image = nibabel.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def nnunet_labels(net: Net, file: Path, forward: Sequence[int]) -> np.ndarray:
    """What nnU-Net predicts: the array as SimpleITK reads it, transposed, normalised, and all that back again."""
    array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(file))).transpose(forward)
    scaled = (np.clip(array, CT["percentile_00_5"], CT["percentile_99_5"]) - CT["mean"]) / CT["std"]
    with torch.inference_mode():
        logits = net(torch.from_numpy(np.ascontiguousarray(scaled, dtype=np.float32))[None, None])
    return logits[0].argmax(0).numpy().transpose(np.argsort(forward)).transpose(2, 1, 0)


def found(run: Path, file: Path) -> np.ndarray:
    labels: np.ndarray = open_predictor(run)(Case("a", "a", {"image": _source.open(file)}))["mask"].array
    return labels


@pytest.mark.parametrize("word", ["RAS", "LPS", "LAS", "PIR"])
@pytest.mark.parametrize(("forward", "residual"), [((0, 1, 2), False), ((2, 0, 1), True)])
def test_the_same_volume_gives_the_same_labels(
    word: str, forward: tuple[int, ...], residual: bool, results: Callable[..., Path], tmp_path: Path
) -> None:
    net = original(residual)
    folder = results(net, plans(forward, residual))
    done = import_model(folder, tmp_path / "run", orientation=word)
    file = volume(tmp_path / "a.nii.gz", word, forward)
    wanted, seen = nnunet_labels(net, file, forward), found(tmp_path / "run", file)
    assert len(np.unique(wanted)) == 3 and wanted.shape == seen.shape
    # a voxel whose two best classes are equal to the last digit may go either way
    assert np.mean(wanted == seen) > 0.998
    assert done["classes"] == ["liver", "tumour"] and "100.0%" in done["sentence"]


@pytest.mark.parametrize(("scheme", "finer"), [("ct", 2), ("zscore", 2), ("ct", 0.5)])
def test_off_the_plans_spacing_intensities_are_normalised_first_and_not_smoothed(
    scheme: str, finer: float, results: Callable[..., Path], tmp_path: Path
) -> None:
    """As nnU-Net does, whose preprocessor normalises and then resamples without a filter."""
    named = {"ct": "CTNormalization", "zscore": "ZScoreNormalization"}
    folder = results(original(), change(plans(), normalization_schemes=[named[scheme]]))
    import_model(folder, tmp_path / "run", orientation="RAS")
    shape, steps = [round(n * finer) for n in PATCH[::-1]], [s / finer for s in SPACING[::-1]]
    # beyond both ends of the window, so that clipping late is another image
    values = np.random.default_rng(2).normal(40, 400, shape).astype(np.float32)
    image = Image(values[None], np.diag([*steps, 1.0]))
    seen = open_predictor(tmp_path / "run").task.prepare(Case("a", "a", {"image": image}), truth=False)["image"]
    scored = (values - values.mean()) / values.std()
    ct = (np.clip(values, CT["percentile_00_5"], CT["percentile_99_5"]) - CT["mean"]) / CT["std"]
    scaled = torch.from_numpy(ct if scheme == "ct" else scored)[None, None]
    wanted = torch.nn.functional.interpolate(scaled, size=PATCH[::-1], mode="trilinear", align_corners=False)
    np.testing.assert_allclose(seen, wanted[0].numpy(), atol=1e-4)


def test_another_orientation_gives_other_labels(results: Callable[..., Path], tmp_path: Path) -> None:
    """The comparison above can fail: a network is not blind to a turned image."""
    net = original()
    import_model(results(net, plans()), tmp_path / "run", orientation="RAS")
    file = volume(tmp_path / "a.nii.gz", "LPS", (0, 1, 2))
    assert np.mean(nnunet_labels(net, file, (0, 1, 2)) == found(tmp_path / "run", file)) < 0.9


def test_the_plan_holds_what_nnunet_planned(results: Callable[..., Path], tmp_path: Path) -> None:
    import_model(
        results(original(), plans((2, 0, 1)), licence="CC BY-SA 4.0"), tmp_path / "run", orientation="LAS",
        settings={"options.overlap": 0.25},
    )  # fmt: skip
    plan = Run(tmp_path / "run").plan
    # t = (2, 0, 1): the network's axes are the file's i, k, j
    assert plan.patch == [8, 12, 16] and plan.spacing == [3.0, 0.5, 1.0]
    assert plan.networks["net"].options["strides"] == [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    assert plan.networks["net"].options["turned"] == [0]
    assert plan.normalisation[0].model_dump() == {
        "scheme": "ct", "mean": 40.0, "std": 60.0, "low": -100.0, "high": 200.0
    }  # fmt: skip
    assert [(c.value, c.name) for c in plan.classes] == [(1, "liver"), (2, "tumour")]
    assert plan.data["terms"] == "CC BY-SA 4.0" and plan.data["name"] == "Dataset007_Liver"
    assert plan.options["overlap"] == 0.25 and not plan.options["mirror"]
    assert plan.learning["start"]["name"] == "checkpoint_final.pth"
    Run(tmp_path / "run").check_hashes()


def test_axis_order_of_every_orientation_is_a_permutation_and_its_flips() -> None:
    assert axis_order("RAS", (0, 1, 2)) == ([2, 1, 0], [])
    assert axis_order("LPS", (0, 1, 2)) == ([2, 1, 0], [0, 1])
    assert axis_order("pir", (0, 1, 2)) == ([0, 2, 1], [1, 2])
    for word in ("RAA", "RA", "XYZ", "RASL"):
        with pytest.raises(HilumError) as error:
            axis_order(word, (0, 1, 2))
        assert error.value.code == "HIL-INFER-35"


def test_an_orientation_that_the_reader_contradicts_is_refused(results: Callable[..., Path], tmp_path: Path) -> None:
    folder = results(original(), plans() | {"image_reader_writer": "NibabelIOWithReorient"})
    with pytest.raises(HilumError, match="NibabelIOWithReorient") as error:
        import_model(folder, tmp_path / "run", orientation="LAS")
    assert error.value.code == "HIL-INFER-35" and not (tmp_path / "run").exists()
    import_model(folder, tmp_path / "said", orientation="ras")
    import_model(folder, tmp_path / "left_out")
    assert Run(tmp_path / "said").plan == Run(tmp_path / "left_out").plan


def test_an_unknown_orientation_is_asked_for_unless_mirrored_images_were_learned(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    folder = results(original(), plans())
    with pytest.raises(HilumError, match="orientation") as error:
        import_model(folder, tmp_path / "run")
    assert error.value.code == "HIL-INFER-35" and not (tmp_path / "run").exists()


def test_a_network_that_learned_mirrored_images_predicts_from_them(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    done = import_model(results(original(), plans(), axes=(0, 1, 2)), tmp_path / "run")
    assert Run(tmp_path / "run").plan.options["mirror"]
    assert any("RAS" in words for words in done["notes"]) and any("mirror" in words for words in done["notes"])


def test_plans_before_2_3_are_understood(results: Callable[..., Path], tmp_path: Path) -> None:
    planned = plans()
    config = planned["configurations"]["3d_fullres"]
    del config["architecture"]
    config |= {
        "UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 6,
        "n_conv_per_stage_encoder": [2, 2, 2], "n_conv_per_stage_decoder": [2, 2],
        "pool_op_kernel_sizes": SHAPE["strides"], "conv_kernel_sizes": SHAPE["kernels"],
        "num_pool_per_axis": [1, 2, 2],
    }  # fmt: skip
    net = Net(1, 3, 3, deep_supervision=True, **(SHAPE | {"features": [4, 6, 6]}))
    planned["configurations"]["mine"] = {"inherits_from": "3d_fullres", "spacing": [6.0, 2.0, 1.0]}
    import_model(results(net, planned, trained="mine"), tmp_path / "run", orientation="RAS", configuration="mine")
    plan = Run(tmp_path / "run").plan
    assert plan.networks["net"].options["features"] == [4, 6, 6] and plan.spacing == [1.0, 2.0, 6.0]


def test_another_configuration_than_was_trained_is_refused(results: Callable[..., Path], tmp_path: Path) -> None:
    """Its weights fit where the architecture is the same, and its spacing was taken."""
    planned = plans()
    coarse = planned["configurations"]["3d_fullres"] | {"spacing": [6.0, 2.0, 1.0]}
    planned["configurations"]["3d_lowres"] = coarse
    folder = results(original(), planned)
    with pytest.raises(HilumError, match="'3d_lowres', but the checkpoint was trained as '3d_fullres'") as error:
        import_model(folder, tmp_path / "run", orientation="RAS", configuration="3d_lowres")
    assert error.value.code == "HIL-INFER-36" and not (tmp_path / "run").exists()
    for out, given in (("same", "3d_fullres"), ("none", None)):
        import_model(folder, tmp_path / out, orientation="RAS", configuration=given)
        assert Run(tmp_path / out).plan.spacing == [0.5, 1.0, 3.0]


@pytest.mark.parametrize("trained", [None, "gone"])
def test_a_configuration_is_taken_as_given_where_the_checkpoint_names_none(
    trained: Any, results: Callable[..., Path], tmp_path: Path
) -> None:
    planned = plans()
    planned["configurations"]["mine"] = {"inherits_from": "3d_fullres", "spacing": [6.0, 2.0, 1.0]}
    folder = results(original(), planned, trained=trained)
    import_model(folder, tmp_path / "run", orientation="RAS", configuration="mine")
    assert Run(tmp_path / "run").plan.spacing == [1.0, 2.0, 6.0]


def change(planned: dict[str, Any], **keys: Any) -> dict[str, Any]:
    planned["configurations"]["3d_fullres"].update(keys)
    return planned


def kwargs(planned: dict[str, Any], **keys: Any) -> dict[str, Any]:
    planned["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"].update(keys)
    return planned


@pytest.mark.parametrize(
    ("planned", "dataset", "words"),
    [
        (kwargs(plans(), norm_op="torch.nn.modules.batchnorm.BatchNorm3d"), {}, "norm_op"),
        (kwargs(plans(), nonlin="torch.nn.ReLU"), {}, "nonlin"),
        (kwargs(plans(), dropout_op="torch.nn.Dropout3d"), {}, "dropout_op"),
        (kwargs(plans(), squeeze_excitation=True), {}, "squeeze_excitation"),
        (kwargs(plans(), n_conv_per_stage=[2, 3, 2]), {}, "convolutions"),
        (change(plans(), architecture={"network_class_name": "a.SwinUNETR", "arch_kwargs": {}}), {}, "SwinUNETR"),
        (change(plans(), normalization_schemes=["RescaleTo01Normalization"]), {}, "RescaleTo01"),
        (change(plans(), previous_stage="3d_lowres"), {}, "cascade"),
        (change(plans(), inherits_from="3d_fullres"), {}, "inherits from itself"),
        (change(plans(), patch_size=[16, 12]), {}, "2-D"),
        (change(plans(), patch_size="large"), {}, "not what nnU-Net v2 writes"),
        (change(plans(), preprocessor_name="MyPreprocessor"), {}, "'MyPreprocessor' as preprocessor_name"),
        (plans() | {"label_manager": "MyManager"}, {}, "'MyManager' as label_manager"),
        (plans(), {"labels": {"background": 0, "whole": [1, 2], "core": [2]}}, "regions"),
        (plans(), {"labels": {"0": "background", "1": "liver"}}, "not what nnU-Net v2 writes"),
        (plans(), {"channel_names": {}}, "channel_names"),
    ],
)
def test_what_can_not_give_the_same_labels_is_refused(
    planned: dict[str, Any], dataset: dict[str, Any], words: str, results: Callable[..., Path], tmp_path: Path
) -> None:
    folder = results(original(), planned, **dataset)
    with pytest.raises(HilumError, match=words) as error:
        import_model(folder, tmp_path / "run", orientation="RAS")
    assert error.value.code in ("HIL-INFER-36", "HIL-DATA-09") and not (tmp_path / "run").exists()


def test_a_deviation_of_0_is_next_to_nothing_and_ends_that_are_swapped_are_refused() -> None:
    def rule(**changes: float) -> Normalisation:
        told = {"foreground_intensity_properties_per_channel": {"0": CT | changes}}
        config = {"normalization_schemes": ["CTNormalization"], "use_mask_for_norm": [False]}
        return _nnunet_plans.normalisation(told, config, 0)

    # of a foreground of one value, as nnU-Net divides by it
    assert rule(std=0).std == 1e-8
    for changes in ({"std": -60.0}, {"percentile_00_5": 200.0, "percentile_99_5": -100.0}):
        with pytest.raises(HilumError, match=r"plans\.json, channel 0.*HIL-PLAN-03"):
            rule(**changes)


@pytest.mark.parametrize("how", ["resample_data_or_seg_to_shape", "resample_torch_fornnunet"])
def test_another_way_of_resampling_than_the_usual_one_is_told(
    how: str, results: Callable[..., Path], tmp_path: Path
) -> None:
    planned = change(plans(), resampling_fn_data=how) | {"label_manager": "LabelManager"}
    done = import_model(results(original(), planned), tmp_path / "run", orientation="RAS")
    told = [words for words in done["notes"] if how in words]
    assert len(told) == (how == "resample_torch_fornnunet")


def test_m07_weights_of_other_plans_are_refused_whole(results: Callable[..., Path], tmp_path: Path) -> None:
    folder = results(original(), kwargs(plans(), features_per_stage=[4, 6, 10]))
    with pytest.raises(HilumError) as error:
        import_model(folder, tmp_path / "run", orientation="RAS")
    assert error.value.code == "HIL-LEARN-22" and not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "weights",
    [{"decoder.seg_layers.a.weight": torch.ones(2)}, {"encoder.stem.convs.0.conv.weight": 3.0}, {3: torch.ones(2)}],
    ids=["a head without a number", "a number", "no name"],
)
def test_weights_that_are_none_of_nnunets_are_refused_by_sentence(
    weights: dict[Any, Any], results: Callable[..., Path], tmp_path: Path
) -> None:
    folder = results(original(), plans())
    torch.save({"network_weights": weights}, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(HilumError, match="network_weights") as error:
        import_model(folder, tmp_path / "run", orientation="RAS")
    assert error.value.code == "HIL-INFER-36" and not (tmp_path / "run").exists()


def test_m01_code_in_the_checkpoint_is_refused_and_does_not_run(results: Callable[..., Path], tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (canary,)

    folder = results(original(), plans())
    torch.save({"network_weights": {}, "init_args": Evil()}, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(HilumError) as error:
        import_model(folder, tmp_path / "run", orientation="RAS")
    assert error.value.code == "HIL-M01" and not canary.exists()


def test_folds_are_told(results: Callable[..., Path], tmp_path: Path) -> None:
    folder = results(original(), plans())
    (folder / "fold_1").mkdir()
    (folder / "fold_0").rename(folder / "fold_all")
    with pytest.raises(HilumError, match="checkpoint_final"):
        import_model(folder, tmp_path / "run", orientation="RAS", fold="1")
    with pytest.raises(HilumError, match="fold_7"):
        import_model(folder, tmp_path / "run", orientation="RAS", fold="7")
    done = import_model(folder, tmp_path / "run", orientation="RAS", fold="all")
    assert any("average it with 1" in words for words in done["notes"])


@pytest.mark.parametrize(
    ("trainer", "words"),
    [
        ("nnUNetTrainer", ""),
        (None, ""),
        ("nnUNetTrainer_250epochs", ""),
        ("nnUNetTrainer_1epoch", ""),
        ("nnUNetTrainer_250epochs_NoMirroring", ""),
        ("nnUNetTrainerNoMirroring", ""),
        ("nnUNetTrainer_onlyMirror01", ""),
        ("nnUNetTrainerUMambaBot", "trained by nnUNetTrainerUMambaBot: check"),
        ("nnUNetTrainer_250epochs_UMambaBot", "trained by nnUNetTrainer_250epochs_UMambaBot: check"),
        ("MynnUNetTrainer", "trained by MynnUNetTrainer: check"),
        (7, "no name"),
    ],
)
def test_a_trainer_that_may_build_another_network_is_told(
    trainer: Any, words: str, results: Callable[..., Path], tmp_path: Path
) -> None:
    done = import_model(results(original(), plans(), trainer=trainer), tmp_path / "run", orientation="RAS")
    told = [note for note in done["notes"] if "trainer" in note.lower()]
    assert len(told) == (words != "") and all(words in note for note in told)
    assert Run(tmp_path / "run").json("start.json")["notes"] == done["notes"]


def test_mirroring_along_some_axes_is_left_out_and_told(results: Callable[..., Path], tmp_path: Path) -> None:
    folder = results(original(), plans(), axes=(2, 0))
    # a wrong direction costs as much as ever along the axis that was not mirrored
    with pytest.raises(HilumError, match="lay is not recorded") as error:
        import_model(folder, tmp_path / "run")
    assert error.value.code == "HIL-INFER-35" and not (tmp_path / "run").exists()
    done = import_model(folder, tmp_path / "run", orientation="RAS")
    assert Run(tmp_path / "run").plan.options["mirror"] is False
    told = [note for note in done["notes"] if "mirror" in note]
    assert len(told) == 1 and "would mirror along its axes [0, 2];" in told[0] and "none here" in told[0]


@pytest.mark.parametrize(
    ("axes", "mirror", "words"),
    [
        ((0, 1, 2), None, "It predicts from all mirror images"),
        ((0, 1, 2), False, "options.mirror is false here"),
        ((0, 2), True, "would mirror along its axes [0, 2]; Hilum mirrors along all or none: all here"),
        (None, True, "would not mirror; Hilum mirrors along all or none: all here"),
        (None, None, ""),
    ],
)
def test_what_is_told_of_mirror_images_is_what_the_plan_does(
    axes: Any, mirror: bool | None, words: str, results: Callable[..., Path], tmp_path: Path
) -> None:
    """It was told that they are predicted from where --set options.mirror=false had said not to."""
    folder, settings = results(original(), plans(), axes=axes), {} if mirror is None else {"options.mirror": mirror}
    done = import_model(folder, tmp_path / "run", orientation="RAS", settings=settings)
    run = Run(tmp_path / "run")
    for notes in (done["notes"], run.json("start.json")["notes"], run.plan.data["notes"]):
        told = [note for note in notes if "mirror" in note]
        assert len(told) == (words != "") and all(words in note for note in told)


@pytest.mark.parametrize("given", [{"net": "nnunet"}, {"facts": "facts.yaml"}])
def test_a_results_folder_says_itself_what_its_network_is(
    given: dict[str, str], results: Callable[..., Path], tmp_path: Path
) -> None:
    folder = results(original(), plans())
    with pytest.raises(HilumError, match="says itself what its network is") as error:
        import_model(folder, tmp_path / "run", orientation="RAS", **given)
    assert error.value.code == "HIL-INFER-34" and not (tmp_path / "run").exists()
    assert "Leave out --net and --facts" in error.value.remedy


def test_plans_that_are_nested_without_end_are_refused(results: Callable[..., Path], tmp_path: Path) -> None:
    folder = results(original(), plans())
    (folder / "plans.json").write_text("[" * 200_000)
    with pytest.raises(HilumError, match="HIL-INFER-36"):
        import_model(folder, tmp_path / "run", orientation="RAS")


def test_m07_plans_of_layers_without_end_are_refused(results: Callable[..., Path], tmp_path: Path) -> None:
    """Weights were compared once the network was there, which it never was."""
    both = dict.fromkeys(("n_conv_per_stage", "n_conv_per_stage_decoder"), 10**9)
    folder = results(original(), kwargs(plans(), **both))
    with pytest.raises(HilumError, match="HIL-M07"):
        import_model(folder, tmp_path / "run", orientation="RAS")


def test_the_best_weights_of_an_unfinished_fold_are_taken_and_told(
    results: Callable[..., Path], tmp_path: Path
) -> None:
    fold = results(original(), plans()) / "fold_0"
    done = import_model(fold.parent, tmp_path / "final", orientation="RAS")
    assert not any("checkpoint_best" in words for words in done["notes"])
    (fold / "checkpoint_final.pth").rename(fold / "checkpoint_best.pth")
    done = import_model(fold.parent, tmp_path / "best", orientation="RAS")
    assert any("Fold 0 has no checkpoint_final.pth: checkpoint_best.pth" in words for words in done["notes"])


@pytest.mark.parametrize("masked", [False, True])
def test_z_scores_are_those_of_nnunet(masked: bool, results: Callable[..., Path], tmp_path: Path) -> None:
    net = original()
    planned = change(plans(), normalization_schemes=["ZScoreNormalization"], use_mask_for_norm=[masked])
    import_model(results(net, planned), tmp_path / "run", orientation="RAS")
    file = volume(tmp_path / "a.nii.gz", "RAS", (0, 1, 2))
    image = nibabel.load(file)
    values = np.asarray(image.dataobj).copy()
    # a rim of the body is 0, in its middle one voxel, which is enclosed and belongs to it
    values[:2, :2] = values[5, 5, 5] = 0
    nibabel.save(nibabel.Nifti1Image(values, image.affine, image.header), file)
    inside = np.ones(values.shape, dtype=bool)
    inside[:2, :2] = not masked
    scaled = np.where(inside, (values - values[inside].mean()) / values[inside].std(), values)
    with torch.inference_mode():
        array = np.ascontiguousarray(scaled.transpose(2, 1, 0), dtype=np.float32)
        wanted = net(torch.from_numpy(array)[None, None])[0].argmax(0).numpy().transpose(2, 1, 0)
    assert np.mean(wanted == found(tmp_path / "run", file)) > 0.998


def test_a_network_of_pictures_gives_the_same_labels(results: Callable[..., Path], tmp_path: Path) -> None:
    torch.manual_seed(3)
    shape: dict[str, Any] = {"features": [4, 8], "strides": [[1, 1], [2, 1]], "kernels": [[3, 1], [3, 3]]}
    net = Net(3, 3, 2, deep_supervision=True, **shape).eval()
    with torch.no_grad():
        net.head.bias -= net(torch.rand(1, 3, 12, 16)).mean(dim=(0, 2, 3))
    planned = plans()
    planned["image_reader_writer"] = "NaturalImage2DIO"
    told = architecture(False)
    told["arch_kwargs"] |= {
        "n_stages": 2, "features_per_stage": [4, 8], "strides": shape["strides"], "kernel_sizes": shape["kernels"],
        "n_conv_per_stage": [2, 2], "n_conv_per_stage_decoder": [2], "conv_op": "torch.nn.modules.conv.Conv2d",
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
    }  # fmt: skip
    change(
        planned, patch_size=[12, 16], spacing=[1.0, 1.0], architecture=told,
        normalization_schemes=["RGBTo01Normalization"] * 3, use_mask_for_norm=[False] * 3,
    )  # fmt: skip
    folder = results(net, planned, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".png")
    with pytest.raises(HilumError, match="of pictures") as error:
        import_model(folder, tmp_path / "run", orientation="LPS")
    assert error.value.code == "HIL-INFER-35"
    import_model(folder, tmp_path / "run")
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    PIL.Image.fromarray(picture).save(tmp_path / "a.png")
    with torch.inference_mode():
        wanted = net(torch.from_numpy(picture).permute(2, 0, 1)[None] / 255)[0].argmax(0).numpy()
    assert len(np.unique(wanted)) == 3
    np.testing.assert_array_equal(wanted, found(tmp_path / "run", tmp_path / "a.png"))
