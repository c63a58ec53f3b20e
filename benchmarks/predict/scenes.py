"""What is measured: scenes (a trained run and images), and the systems that predict each, in rows of the table.

Rows: i - as users run them. ii - the same runtime, precision and windows on both sides: what the engine itself gains.
iii - what else may be a side's best; the best of each is taken from all rows.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Any

RECIPE = "2"
# Raised when this folder measures otherwise than before: finished scenes then count no more.
MONAI: dict[str, Any] = {"overlap": 0.25, "windows": 1, "invert": "labels", "workers": 1}
# The inference.json of MONAI's bundle wholeBody_ct_segmentation: overlap of windows, windows at once, argmax before
# Invertd, workers of the loader.
NNUNET: dict[str, Any] = {"step": 0.5, "processes": 3}
# The defaults of nnUNetv2_predict.
QUARTER = 0.25
# How windows overlap, as Hilum plans them; runs in the cache may be older and are changed.
EQUAL = ("torch", "torch-bf16", "onnx", "openvino", "openvino-bf16")
# Runtimes of rows ii. No int8 there: it needs a calibration, which neither peer's pipeline has.
REFERENCE = "hilum torch"
# Labels of all systems are compared with this one's.


@dataclass(frozen=True)
class System:
    """side: hilum, monai or nnunetv2. runtime: "" is the side's default. settings: of a peer. once: in one round."""

    name: str
    side: str
    row: str
    runtime: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    once: bool = False

    @property
    def file(self) -> str:
        """The name without what a path should not hold."""
        return self.name.replace(" ", "_").replace(",", "")


@dataclass(frozen=True)
class Scene:
    """run: a name in weights.WANTED. classes, spacing, overlap: of the copy that predicts, None as trained. images: how
    many.

    shape: of a body CT. grid: its mm, where they are not those of the full size. unit: how its rate is told. group: the
    table that the scene is for.
    """

    name: str
    run: str
    group: str = "figures"
    classes: int | None = None
    spacing: float | None = None
    overlap: float | None = None
    shape: tuple[int, ...] | None = None
    grid: float | None = None
    images: int = 1
    unit: str = ""
    rounds: int = 2
    systems: tuple[System, ...] = ()

    @property
    def key(self) -> str:
        """Hash of everything that decides the scene but the machine."""
        what = {name: value for name, value in asdict(self).items() if name != "grid" or value is not None}
        return hashlib.sha256(json.dumps([RECIPE, what], sort_keys=True).encode()).hexdigest()[:12]

    @property
    def file(self) -> str:
        """Of its cell, without folder and end."""
        return f"{'_'.join(self.name.replace('.', '').replace(',', '').split())}-{self.key}"


def both(overlap: float, equal: tuple[str, ...] = EQUAL) -> tuple[System, ...]:
    """All rows. overlap: of the run's windows, and so of the peers' in rows ii."""
    users = [
        System("hilum", "hilum", "i"),
        System("MONAI", "monai", "i", "torch", MONAI),
        System("nnU-Net", "nnunetv2", "i", "torch", NNUNET),
        System("MONAI, scores inverted", "monai", "i", "torch", MONAI | {"invert": "scores"}, once=True),
    ]
    same = [
        system
        for runtime in equal
        for system in (
            System(f"hilum {runtime}", "hilum", "ii", runtime),
            System(f"MONAI {runtime}", "monai", "ii", runtime, MONAI | {"overlap": overlap}),
            System(f"nnU-Net {runtime}", "nnunetv2", "ii", runtime, NNUNET | {"step": 1 - overlap}),
        )
    ]
    more = [
        System("hilum torch-channels-last", "hilum", "iii", "torch-channels-last"),
        System("hilum openvino-int8", "hilum", "iii", "openvino-int8"),
        System("MONAI openvino-bf16, its own windows", "monai", "iii", "openvino-bf16", MONAI),
        System("nnU-Net openvino-bf16, sequential", "nnunetv2", "iii", "openvino-bf16", NNUNET | {"processes": 0}),
        System("nnU-Net, sequential", "nnunetv2", "iii", "torch", NNUNET | {"processes": 0}, once=True),
    ]
    return (*users, *same, *more)


def pair() -> tuple[System, ...]:
    """Of the scenes that show how cost grows."""
    return (System("hilum", "hilum", "i"), System("MONAI", "monai", "i", "torch", MONAI))


def control() -> tuple[System, ...]:
    """Of the scene without resampling, of a size at which all place windows alike: what their weights alone change.

    Labels would be equal if all sides weighed the voxels of a window alike, which they do not; control.py gives every
    side its own weights.
    """
    return (
        System("hilum torch", "hilum", "ii", "torch"),
        System("MONAI torch", "monai", "ii", "torch", MONAI),
        System("nnU-Net, sequential", "nnunetv2", "ii", "torch", NNUNET | {"step": 1 - QUARTER, "processes": 0}),
    )


SIZES = ((256, 256, 200), (384, 384, 300), (512, 512, 400))
COUNTS = (2, 20, 60, 120)
SCENES: tuple[Scene, ...] = (
    Scene(
        "body CT, 3 mm, 104 classes", "body_ct", classes=104, spacing=3.0, overlap=QUARTER, shape=SIZES[-1], rounds=5,
        systems=both(QUARTER),
    ),
    Scene(
        "hippocampus_mri", "hippocampus", overlap=QUARTER, images=40, unit="cases a minute", systems=both(QUARTER),
    ),
    Scene("retina_vessels", "retina", overlap=QUARTER, images=20, unit="images a second", systems=both(QUARTER)),
    *(
        Scene(
            f"volume {' x '.join(map(str, shape))}, 3 mm, 104 classes", "body_ct", "volume", 104, 3.0, QUARTER, shape,
            rounds=1, systems=pair(),
        )
        for shape in SIZES
    ),
    Scene(
        "body CT as it lies, 3 mm, 104 classes", "body_ct", "control", 104, 3.0, QUARTER, (160, 160, 208), 3.0,
        rounds=1, systems=control(),
    ),
    *(
        Scene(f"{n} classes, 3 mm", "body_ct", "classes", n, 3.0, QUARTER, SIZES[1], rounds=1, systems=pair())
        for n in COUNTS
    ),
    Scene(
        "body CT, 1.5 mm, 104 classes", "body_ct_15", classes=104, spacing=1.5, overlap=QUARTER, shape=SIZES[-1],
        rounds=1, systems=both(QUARTER, ("torch", "openvino", "openvino-bf16")),
    ),
)  # fmt: skip
SMOKE: tuple[Scene, ...] = (
    Scene(
        "smoke", "smoke", classes=6, shape=(56, 48, 40), rounds=1,
        systems=(
            System("hilum", "hilum", "i"), System("MONAI", "monai", "i", "torch", MONAI | {"workers": 0}),
            System("nnU-Net", "nnunetv2", "i", "torch", NNUNET | {"processes": 1}),
            System("hilum torch", "hilum", "ii", "torch"),
        ),
    ),
)  # fmt: skip
