"""nnU-Net and Medical Segmentation Decathlon: imagesTr/, labelsTr/, dataset.json."""

import json
from pathlib import Path

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.data.dataset import Dataset, Settings
from hilum.data.layouts._files import images, sources
from hilum.io import _source

CARD = {"about": "imagesTr/ labelsTr/ dataset.json (nnU-Net, Decathlon)", "order": 10}


def recognises(folder: Path) -> bool:
    """A folder with imagesTr/."""
    return (folder / "imagesTr").is_dir()


def read(folder: Path, settings: Settings) -> Dataset:
    """Cases with "image" (channels of _0000, _0001, ... stacked) and "label"; class names from dataset.json."""
    written = folder / "dataset.json"
    try:
        facts = dict(json.loads(written.read_text(encoding="utf-8"))) if written.is_file() else {}
    except (TypeError, ValueError) as error:
        raise HilumError("HIL-DATA-03", f"{written} is not JSON ({error})", "Mend it") from error
    pictures = sources(folder / "imagesTr")
    labels = images(folder / "labelsTr") if (folder / "labelsTr").is_dir() else {}
    lost = sorted(labels.keys() - pictures.keys())
    if lost:
        raise HilumError("HIL-T10", f"The label {lost[0]!r} has no image in {folder}/imagesTr", "Add or remove it")
    # an image without a label is listed when labels are asked for, not passed over
    cases = [
        Case(n, "", {"image": s} | ({"label": _source.open(labels[n])} if n in labels else {}))
        for n, s in pictures.items()
    ]
    if not settings.classes:
        settings = settings.model_copy(update={"classes": _classes(facts.get("labels", {}))})
    return Dataset("", folder, "", tuple(cases), settings)


def _classes(labels: dict[str, object]) -> dict[int, str]:
    """{value: name} from either order: the Decathlon writes {"1": "liver"}, nnU-Net {"liver": 1}."""
    out: dict[int, str] = {}
    for key, value in labels.items():
        if str(key).isdigit():
            out[int(key)] = str(value)
        elif isinstance(value, int):
            out[value] = str(key)
    out.pop(0, None)
    return out
