"""Weights that others or we made: tensors by name from a run, a bundle or a foreign file, and where they are from."""

import logging
import re
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hilum.core import _members, catalogue
from hilum.core.atomic import sha256
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer.network import outline
from hilum.learn import _torch_file
from hilum.learn._start import tokens
from hilum.tasks import _build, _task

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

NESTS = ("state_dict", "network_weights", "model_state_dict", "model", "net", "network")
# Keys under which Lightning, nnU-Net, MONAI and others keep the weights of a checkpoint.
WRAPPED = re.compile(r"^(module\.|_orig_mod\.)+")
# What DataParallel and torch.compile put before every name.
LEAST_BYTES = 2
# Floats of fewer are made for one processor's products, and are weights only together with scales that lie beside them.
HOLDERS = ("net.", "model.", "network.")
# What a module that holds the network puts before its names.
NNUNET = re.compile(r"^(module\.|_orig_mod\.)*encoder\.stages\.\d+\.0\.convs\.")


def origin(path: Path | str) -> dict[str, str]:
    """name, kind ("run", "bundle" or "file"), sha256 and terms of the weights; terms of a foreign file are "unknown".

    sha256: of the file; of a run folder, of weights/<role>.safetensors.
    """
    path = Path(path)
    if not is_run(path):
        return {"name": path.name, "kind": "file", "sha256": sha256(path), "terms": "unknown"}
    run = Run(path)
    run.check_one()
    run.check_hashes()
    terms = str(run.plan.data.get("terms", "unknown"))
    if run.is_bundle:
        terms = str(run.json("card.json").get("terms_of_weights", terms)) if run.has("card.json") else terms
        return {"name": path.name, "kind": "bundle", "sha256": sha256(path), "terms": terms}
    digest = run.hashes()[f"weights/{_build.predicting(run.plan)}.safetensors"]
    return {"name": path.resolve().name, "kind": "run", "sha256": digest, "terms": terms}


def check(path: Path | str) -> None:
    """Refuse, before it is planned, what no network can begin with: nothing (HIL-RUN-01), a system (HIL-RUN-03)."""
    path = Path(path)
    if is_run(path):
        Run(path).check_one()


def seen(path: Path | str, own: dict[str, str]) -> dict[str, str]:
    """seen.json of a run that starts from `path`: {hash of an image's values: part}, with what the source learned from.

    own: of the new run alone. An image that the source learned from (train or val) and that the new run would judge
    itself on (test) is refused (HIL-T09). Copies that differ in a pixel are not seen, nor what a foreign file saw.
    """
    learned = dict.fromkeys(_learned(path), "train")
    judged = [image for image, part in own.items() if part == "test" and image in learned]
    if judged:
        raise HilumError(
            "HIL-T09", f"{path} has learned from {len(judged)} images of the test part of the new run",
            "Start from weights that saw other images, or give both the same split column",
        )  # fmt: skip
    count = chosen(path, own)
    if count:
        log.warning("%s has learned from %d validation images: validation flatters, the test part not", path, count)
    return learned | own


def chosen(path: Path | str, own: dict[str, str]) -> int:
    """How many validation images of a new run the weights at `path` have learned from. own: as of `seen`."""
    learned = set(_learned(path))
    return sum(part == "val" and image in learned for image, part in own.items())


def _learned(path: Path | str) -> list[str]:
    """Hashes of the images that a run or bundle learned from; none where it does not say."""
    path = Path(path)
    before = Run(path).json("seen.json") if is_run(path) and Run(path).has("seen.json") else {}
    return [image for image, part in before.items() if part in ("train", "val")]


def read_weights(path: Path | str) -> "dict[str, Tensor]":
    """{name: tensor} of a run folder, a .hilum bundle, a safetensors, a PyTorch .pt or .pth, or a numpy .npz file.

    Of a run, the predicting network. Of a checkpoint, what lies under one of NESTS. `module.` and `_orig_mod.` are
    dropped from the names, then each of HOLDERS that more than half of them begin with; names of nnU-Net's plain U-Net
    become ours. Nothing in the file is executed.

    Refused: no such path (HIL-RUN-01), code (HIL-M01), damage, values that are not finite and floats of 8 bits
    (HIL-M04), files of another kind or without tensors (HIL-LEARN-21).
    """
    path = Path(path)
    if is_run(path):
        run = Run(path)
        run.check_hashes()
        weights = run.weights(_build.predicting(run.plan))
    else:
        weights = _renamed(_nested(_raw(path), path))
    if not weights:
        raise HilumError("HIL-LEARN-21", f"{path} holds no tensors by name", "Give a run, a bundle or a state dict")
    for name, tensor in weights.items():
        if tensor.is_floating_point() and tensor.element_size() < LEAST_BYTES:
            raise HilumError(
                "HIL-M04", f"The weight {name!r} of {path} is stored in 8 bits or fewer ({tensor.dtype})",
                "Save it as float32 or float16, multiplied by its scales",
            )  # fmt: skip
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise HilumError("HIL-M04", f"The weight {name!r} of {path} is not finite", "Take an earlier checkpoint")
    return weights


def grid(path: Path | str, weights: "dict[str, Tensor]") -> list[int] | None:
    """Tokens along each axis of a run's network, by its plan; None of a file, and of networks for any image size.

    weights: of it, as `read_weights` has them; a network that is far larger is refused (HIL-M07).
    """
    path = Path(path)
    if not is_run(path):
        return None
    plan = Run(path).plan
    role = _build.predicting(plan)
    if not catalogue.card("hilum.zoo", plan.networks[role].name)["image_size"]:
        return None
    return tokens(outline(_task.load(plan), role, weights, path))


def is_run(path: Path) -> bool:
    """Whether it is a run folder or a bundle; that nothing is there is refused."""
    if not path.exists():
        raise HilumError("HIL-RUN-01", f"There are no weights at {path}", "Check the path")
    if path.is_dir() or path.suffix == ".hilum":
        return True
    if not zipfile.is_zipfile(path):
        return False
    if words := _members.crowded(path):
        raise HilumError("HIL-M04", f"{path}: {words}", "Save it anew, or use another file")
    try:
        with zipfile.ZipFile(path) as archive:
            return "plan.json" in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError) as error:
        raise HilumError("HIL-M04", f"{path} is damaged ({error})", "Copy it again") from error


def _raw(path: Path) -> Any:
    """What the file holds, by what it begins with: its name proves nothing."""
    with open(path, "rb") as stream:
        head = stream.read(9)
    if head[:4] == b"PK\x03\x04":
        return _arrays(path) if _of_numpy(path) else _torch_file.read(path)
    if head[5:] == b"\0\0\0{":
        return _safetensors(path)
    if head[:1] == b"\x80":
        raise HilumError(
            "HIL-M01", f"{path} is a pickle (or a file from before PyTorch 1.6), which could run code; it was not read",
            "Save model.state_dict() anew, best as safetensors",
        )  # fmt: skip
    raise HilumError(
        "HIL-LEARN-21", f"{path} is not a file of weights", "Give a run, a bundle, a .safetensors or a .pt file"
    )


def _safetensors(path: Path) -> "dict[str, Tensor]":
    """The tensors of a safetensors file, which begins with its header's length (8 bytes) and a brace."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise HilumError("HIL-M04", f"{path} is damaged ({error})", "Copy it again") from error
    with open(path, "rb") as stream:
        length = stream.read(8)
        header = stream.read(int.from_bytes(length, "little"))
    if twice := _members.twice(length + header):
        raise HilumError("HIL-M04", f"{path} holds the weight {twice[0]!r} twice", "Take the original file")
    return found


def _of_numpy(path: Path) -> bool:
    """Whether a zip file is one of numpy's, with arrays by name."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError):
        return False
    return bool(names) and all(name.endswith(".npy") for name in names)


def _arrays(path: Path) -> "dict[str, Tensor]":
    """The arrays of an npz file; compressed ones could grow without end, and arrays of objects could run code."""
    import numpy as np
    import torch

    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise HilumError("HIL-LEARN-21", f"{path} is compressed", "Save it anew with numpy.savez")
        if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
            raise HilumError("HIL-M04", f"{path} is damaged (its members overlap)", "Copy it again")
    try:
        with np.load(path, allow_pickle=False) as found:
            return {name: torch.from_numpy(np.array(found[name])) for name in found.files}
    except (ValueError, TypeError, OSError, EOFError, MemoryError, zipfile.BadZipFile) as error:
        raise HilumError("HIL-M04", f"{path} is damaged ({error})", "Copy it again") from error


def _nested(found: Any, path: Path, depth: int = 0) -> "dict[str, Tensor]":
    """The named tensors of a state dict, or of the one that a checkpoint keeps under a usual key."""
    from torch import Tensor

    if not isinstance(found, dict):
        raise HilumError("HIL-LEARN-21", f"{path} holds no state dict", "Save model.state_dict()")
    inner = next((found[key] for key in NESTS if isinstance(found.get(key), dict)), None)
    if inner is not None and depth < 2:
        return _nested(inner, path, depth + 1)
    return {name: value for name, value in found.items() if isinstance(name, str) and isinstance(value, Tensor)}


def _renamed(weights: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """Foreign names without what wrappers put before them; nnU-Net's as ours."""
    before: list[str] = []
    while before != list(weights):
        before = list(weights)
        weights = {WRAPPED.sub("", name): value for name, value in weights.items()}
        for holder in HOLDERS:
            if 2 * sum(name.startswith(holder) for name in weights) > len(weights):
                shorter = {name.removeprefix(holder): value for name, value in weights.items()}
                # two names that become one would lose a tensor
                weights = shorter if len(shorter) == len(weights) else weights
    if any(NNUNET.match(name) for name in weights):
        from hilum.zoo.nnunet import from_nnunet

        try:
            return from_nnunet(weights)
        except ValueError:
            # a head without a number is somebody else's: told by the names as they are
            return weights
    return weights
