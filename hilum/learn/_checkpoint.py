"""The whole training state in one safetensors file: tensors by number, everything else as JSON beside them."""

import json
from pathlib import Path
from typing import Any

from hilum.core.atomic import writing
from hilum.core.errors import HilumError


def save(path: Path, tree: dict[str, Any]) -> None:
    """Write nested dicts, lists, numbers, strings and tensors; atomic."""
    from safetensors.torch import save_file

    tensors: dict[str, Any] = {}
    text = json.dumps(_strip(tree, tensors))
    with writing(path) as part:
        save_file(tensors, part, metadata={"tree": text})


def load(path: Path) -> dict[str, Any]:
    """Read what save wrote; a damaged file is refused."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
            tree: dict[str, Any] = _fill(json.loads(file.metadata()["tree"]), tensors)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise HilumError(
            "HIL-T01", f"The checkpoint {path} is damaged ({error})", "Train anew into another folder"
        ) from error
    return tree


def _strip(value: Any, tensors: dict[str, Any]) -> Any:
    """Tensors replaced by {"t": name}; dicts kept as pairs, because optimisers key by integer."""
    import torch

    if isinstance(value, torch.Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().contiguous().clone()
        return {"t": name}
    if isinstance(value, dict):
        return {"d": [[k, _strip(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"l": [_strip(v, tensors) for v in value], "tuple": isinstance(value, tuple)}
    return {"v": value}


def _fill(value: Any, tensors: dict[str, Any]) -> Any:
    if "t" in value:
        return tensors[value["t"]]
    if "d" in value:
        return {k: _fill(v, tensors) for k, v in value["d"]}
    if "l" in value:
        items = [_fill(v, tensors) for v in value["l"]]
        return tuple(items) if value["tuple"] else items
    return value["v"]
