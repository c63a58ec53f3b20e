"""nnU-Net v2's results folder, read as data: plans.json, dataset.json and one fold's checkpoint, plan and weights.

**Axes.** nnU-Net never turns an image. Its readers hand over the voxels as they lie in the file, axes reversed
(array[k, j, i]), and `transpose_forward` (t) reorders them: axis n of the network is axis t[n] of that array, which is
axis 2 - t[n] of the file. Hilum brings every image to R, A, S order first. That ITK counts towards left and posterior
(LPS) and NIfTI towards right and anterior (RAS) moves no voxel: it is a sign in the header, and turns nothing here.

Which axis of the patient a file's axis follows, and which way, is a property of the training files, and the results
folder does not record it, unless the reader turned all images to RAS. It is a word of three letters, as nibabel says
it: LAS means that i grows to the left, j to anterior, k to superior. With it, axis a of RAS is the network's axis
p[a], and kernels, strides, patch and spacing are put into the order p. This is exact: convolutions, norms and heads
do not care in which order axes are counted.

Where the files ran the other way (L, P or I), the network must see that axis turned. Turning the kernels would not
give the same labels: a strided convolution looks at voxels 0, 2, 4, ... of its input, turned at the odd ones. So the
input is turned and the output turned back (`turned` of zoo/nnunet.py), which is exact again.

In pictures rows and columns are counted alike in both; only the transposition remains.

Intensities are normalised before an image is resampled, and nothing is smoothed where it shrinks, as there.

**What differs all the same** from nnU-Net's own prediction: images that are not at the plan's spacing are resampled
linearly here, by splines there (along coarse slices by the nearest); labels go back here, scores there; images smaller
than the patch are continued by their border here, by 0 there; outside of the box of voxels that are not 0 nnU-Net looks
at nothing; of CT, windows that hold nothing but the air around the body are here taken for one value (`infer.windows`).
Written from nnU-Net's published files and documentation.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.learn import _torch_file
from hilum.tasks._input import FIRST
from hilum.verbs import _nnunet_plans
from hilum.verbs._facts import Facts, Foreign, plan_of
from hilum.zoo.nnunet import from_nnunet

PAIRS = ("RL", "AP", "SI")
WRONG = (KeyError, TypeError, ValueError, IndexError, AttributeError)
# What a file that is not what it says it is runs into.
TRAINERS = re.compile(r"nnUNetTrainer(_?\d+epochs?)?(_?NoMirroring)?(_onlyMirror01)?")
# Trainers that are known to build the network of the plans.


def is_results(folder: Path) -> bool:
    """Whether the folder looks like one of nnU-Net's results."""
    return (folder / "plans.json").is_file() and (folder / "dataset.json").is_file()


def read(folder: Path, orientation: str | None, configuration: str | None, fold: str | None) -> Foreign:
    """Plan and weights of a results folder; nothing in it is executed.

    orientation: axis codes of the training files ("LAS"). configuration: "3d_fullres", ..., where the checkpoint does
    not say it itself. fold: "0" or "all"; else 0, or the first there is. Refused: code in the checkpoint (HIL-M01),
    networks and systems that are not ours and another configuration than was trained (HIL-INFER-36), an orientation
    that is needed and not given, or given against what the plans say (HIL-INFER-35).
    """
    plans, dataset = _json(folder / "plans.json"), _json(folder / "dataset.json")
    source, notes = _checkpoint(folder, fold)
    checkpoint = _torch_file.read(source)
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("network_weights"), dict):
        raise HilumError("HIL-INFER-36", f"{source} holds no network_weights", "Give nnU-Net's checkpoint_final.pth")
    try:
        config = _nnunet_plans.configuration(plans, _name(folder, plans, checkpoint, configuration))
        dims = len(config["patch_size"])
        mirrored = sorted(checkpoint.get("inference_allowed_mirroring_axes") or ())
        everywhere = mirrored == list(range(dims))
        order, turned, words = _axes(plans, dims, orientation, everywhere)
        notes = [*words, *notes, *_trainer(checkpoint)]
        notes += _nnunet_plans.preparation(plans, config)
        facts = _facts(folder, plans, dataset, config, order).model_copy(
            update={"options": {"overlap": 0.5, "mirror": everywhere}}
        )
        plan = _plan(facts, _nnunet_plans.network(config), order, turned, notes)
    except WRONG as error:
        why = f"{type(error).__name__}: {error}"
        raise HilumError(
            "HIL-INFER-36", f"plans.json and dataset.json of {folder} are not what nnU-Net v2 writes ({why})",
            "Copy the results folder again",
        ) from error  # fmt: skip
    try:
        weights = reordered(from_nnunet(checkpoint["network_weights"], deep_supervision=False), order)
    except WRONG as error:
        seen = f"network_weights of {source} are not those of nnU-Net ({type(error).__name__}: {error})"
        raise HilumError("HIL-INFER-36", seen, "Give nnU-Net's checkpoint_final.pth") from error
    return Foreign(plan, weights, source, notes, mirrored)


def _facts(
    folder: Path, plans: Mapping[str, Any], dataset: Mapping[str, Any], config: Mapping[str, Any], order: Sequence[int]
) -> Facts:
    """What decides how images reach the network, axes in our order."""
    channels = _nnunet_plans.channels(dataset)
    return Facts(
        channels=channels,
        classes=_nnunet_plans.classes(dataset, folder),
        spacing=[float(config["spacing"][n]) for n in order] if len(order) == 3 else None,
        patch=[int(config["patch_size"][n]) for n in order],
        normalisation=[_nnunet_plans.normalisation(plans, config, i) for i in range(len(channels))],
        data=str(plans.get("dataset_name", folder.name)),
        terms=_nnunet_plans.terms(dataset),
    )


def _plan(facts: Facts, options: dict[str, Any], order: Sequence[int], turned: list[int], notes: list[str]) -> Plan:
    """The plan, with the network's options in our order of axes."""
    for key in ("strides", "kernels"):
        options[key] = [[int(row[n]) for n in order] for row in options[key]]
    made = plan_of(facts, "nnunet", notes)
    changes = {"networks.net.options": options | ({"turned": turned} if turned else {}), f"data.{FIRST}": True}
    return made.edited(changes)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HilumError("HIL-INFER-36", f"{path} can not be read ({error})", "Copy the folder again") from error
    if not isinstance(found, dict):
        raise HilumError("HIL-INFER-36", f"{path} is not a JSON object", "Copy the folder again")
    return found


def _checkpoint(folder: Path, fold: str | None) -> tuple[Path, list[str]]:
    """The weights of one fold, and sentences where they are not the last ones, and where other folds are left out."""
    known = {p.name.removeprefix("fold_"): p for p in sorted(folder.glob("fold_*")) if p.is_dir()}
    wanted = fold or ("0" if "0" in known else next(iter(known), "0"))
    if wanted not in known:
        remedy = f"It has: {', '.join(known)}" if known else "Give the folder that holds plans.json and fold_0"
        raise HilumError("HIL-INFER-36", f"{folder} has no fold_{wanted}", remedy)
    for name in ("checkpoint_final.pth", "checkpoint_best.pth"):
        if (known[wanted] / name).is_file():
            words: list[str] = []
            if name == "checkpoint_best.pth":
                words += [
                    f"Fold {wanted} has no checkpoint_final.pth: {name} was taken, and its training may not be done."
                ]
            others = [n for n in known if n != wanted]
            if others:
                words += [f"Fold {wanted} was taken alone; nnU-Net would average it with {', '.join(others)}."]
            return known[wanted] / name, words
    raise HilumError("HIL-INFER-36", f"{known[wanted]} has no checkpoint_final.pth", "Finish the training")


def _name(folder: Path, plans: Mapping[str, Any], checkpoint: Mapping[str, Any], wanted: str | None) -> str:
    """The one trained; else the one asked for; else as the folder is called (TRAINER__PLANS__NAME).

    One that was not trained may have the same weights, and another spacing.
    """
    known = list(plans["configurations"])
    stored = checkpoint.get("init_args")
    own = stored.get("configuration") if isinstance(stored, dict) else None
    name = wanted or (own if isinstance(own, str) else folder.resolve().name.split("__")[-1])
    if name not in known:
        raise HilumError(
            "HIL-INFER-36", f"The plans have no configuration {name!r}", f"Give --configuration, of {', '.join(known)}"
        )
    if isinstance(own, str) and own in known and own != name:
        seen = f"--configuration is {name!r}, but the checkpoint was trained as {own!r}"
        raise HilumError("HIL-INFER-36", seen, "Leave it out, or give the folder of that other training")
    return str(name)


def _axes(
    plans: Mapping[str, Any], dims: int, given: str | None, everywhere: bool
) -> tuple[list[int], list[int], list[str]]:
    """For every axis of ours the network's axis, the axes that the network sees turned, and what to know about it."""
    forward, reader = [int(n) for n in plans["transpose_forward"]], str(plans.get("image_reader_writer", ""))
    if dims == 2:
        if reader != "NaturalImage2DIO" or forward[0] != 0:
            raise HilumError(
                "HIL-INFER-36", "The network is 2-D and reads slices of volumes; Hilum's 2-D networks read pictures",
                "Import 3d_fullres or 3d_lowres",
            )  # fmt: skip
        if given is not None:
            seen = f"--orientation is {given!r}, but the network is of pictures, which lie as they are stored"
            raise HilumError("HIL-INFER-35", seen, "Leave it out")
        return [forward[1:].index(axis) for axis in (1, 2)], [], []
    words = []
    if "WithReorient" in reader:
        if given is not None and given.upper() != "RAS":
            seen = f"--orientation is {given!r}, but {reader} of the plans turned every training image to RAS"
            raise HilumError("HIL-INFER-35", seen, "Leave it out")
        given = "RAS"
    elif given is not None:
        words = [f"The training images were taken to lie as {given.upper()}."]
    elif everywhere:
        given = "RAS"
        words = [
            "Which way the training images lay is not recorded: they were taken to lie as RAS. The network has learned "
            "from mirrored images too, so a wrong direction costs little, a wrong order of axes much: give "
            "--orientation if you know it."
        ]
    else:
        raise HilumError(
            "HIL-INFER-35",
            "Which way the training images lay is not recorded, and not every mirror image was learned from",
            "Give their axis codes, which hilum inspect shows: --orientation LAS",
        )
    order, turned = axis_order(given, forward)
    return order, turned, words


def axis_order(orientation: str, forward: Sequence[int]) -> tuple[list[int], list[int]]:
    """For R, A, S: the axis of nnU-Net's network, and the axes along which the training files ran the other way.

    orientation: codes of the training files' axes i, j, k. forward: `transpose_forward`.
    """
    word = orientation.upper()
    places = [[i for i, letter in enumerate(word) if letter in pair] for pair in PAIRS]
    if len(word) != 3 or any(len(place) != 1 for place in places):
        raise HilumError(
            "HIL-INFER-35", f"{orientation!r} is no orientation", "Give three letters, one each of RL, AP and SI: LAS"
        )
    order = [list(forward).index(2 - place[0]) for place in places]
    return order, [axis for axis, place in enumerate(places) if word[place[0]] in "LPI"]


def reordered(weights: Mapping[str, Any], order: Sequence[int]) -> dict[str, Any]:
    """Kernels (out, in, *space) with their axes in our order; what has no space stays."""
    axes = (0, 1, *[2 + n for n in order])
    return {n: w.permute(axes).contiguous() if w.ndim == len(axes) else w for n, w in weights.items()}


def mirroring(plan: Plan, axes: Sequence[int]) -> list[str]:
    """What to know about the mirror images that a plan predicts from. axes: along which nnU-Net would, as it counts."""
    mirrors = bool(plan.options.get("mirror"))
    if list(axes) == list(range(plan.dims)):
        if not mirrors:
            return ["nnU-Net would predict from all mirror images and take their mean; options.mirror is false here."]
        return [
            "It predicts from all mirror images and takes their mean, as nnU-Net does unless told otherwise: slow, and "
            "switched off with --set options.mirror=false."
        ]
    if axes or mirrors:
        would = f"mirror along its axes {list(axes)}" if axes else "not mirror"
        return [f"nnU-Net would {would}; Hilum mirrors along all or none: {'all' if mirrors else 'none'} here."]
    return []


def _trainer(checkpoint: Mapping[str, Any]) -> list[str]:
    """A trainer may build another network than the plans say; where names and shapes fit, only its name tells."""
    name = checkpoint.get("trainer_name")
    if name is None or (isinstance(name, str) and TRAINERS.fullmatch(name)):
        return []
    if not isinstance(name, str):
        return ["Its trainer has no name: check that it changes nothing but the training."]
    return [f"It was trained by {name}: check that this trainer changes nothing but the training."]
