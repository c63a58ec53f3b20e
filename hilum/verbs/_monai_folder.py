"""A MONAI bundle, as far as it is data: weights and metadata.json; what its configuration would run is not run."""

import json
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError

WEIGHTS = ("model.safetensors", "model.pt")


def is_bundle(folder: Path) -> bool:
    """Whether the folder looks like a MONAI bundle."""
    return (folder / "configs" / "metadata.json").is_file() or (folder / "configs" / "inference.json").is_file()


def weights(folder: Path) -> Path:
    """The file of weights; TorchScript (model.ts) holds code and is none."""
    for name in WEIGHTS:
        if (folder / "models" / name).is_file():
            return folder / "models" / name
    raise HilumError("HIL-INFER-36", f"{folder} has no models/model.pt", "Fetch the bundle whole, with its weights")


def code(folder: Path) -> HilumError:
    """Why the bundle can not be imported by itself: the refusal, with the network that its configuration names."""
    path = folder / "configs" / "inference.json"
    found = _json(path).get("network_def") if path.is_file() else None
    named = found.get("_target_") if isinstance(found, dict) else None
    named = f", {str(named).split('.')[-1]}," if named else ""
    return HilumError(
        "HIL-M06",
        f"{folder} is a MONAI bundle: its network{named} and its transforms are made by running its configuration "
        "(_target_ and $ expressions), which could run anything; nothing of it was run",
        "Name the network in the zoo and write the rest as data: --net NAME:key=value --facts FACTS.yaml",
    )


def facts(folder: Path) -> dict[str, Any]:
    """What metadata.json says as plain data: channels, classes and the name; {} where it says nothing.

    Classes only where output 0 is a background and the others are counted from 1 on: an output of its own for each
    structure, or numbers that leave some out, would be other classes than a plan's.
    """
    path = folder / "configs" / "metadata.json"
    told = _json(path) if path.is_file() else {}
    form = told.get("network_data_format", {})
    try:
        image = next(iter(form["inputs"].values()))
        given = {int(number): str(name) for number, name in image.get("channel_def", {}).items()}
        count = int(image.get("num_channels", 1))
        if not 1 <= count <= 100:
            raise ValueError(f"{count} channels")
        names = [given[i] for i in sorted(given)] or ["image"] * count
        meant = next(iter(form["outputs"].values()))["channel_def"]
        outputs = {int(n): str(name) for n, name in meant.items()}
    except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
        # each bundle writes it as it likes; what it does not say the facts must
        return {}
    many = [f"{name} {i}" if names.count(name) > 1 else name for i, name in enumerate(names)]
    found = {"channels": many, "data": str(told.get("name", folder.name))}
    if not outputs or sorted(outputs) != list(range(len(outputs))) or "background" not in outputs[0].lower():
        return found
    return found | {"classes": {number: outputs[number] for number in sorted(outputs) if number}}


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise HilumError("HIL-INFER-36", f"{path} can not be read ({error})", "Copy the bundle again") from error
    return found if isinstance(found, dict) else {}
