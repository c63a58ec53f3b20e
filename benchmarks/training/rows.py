"""The rows of the table of trained systems: data, budget, seeds, settings, peers. A cell: one row with one seed."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

RECIPE = "2"
# Raised when defaults of Hilum's training change, or a peer's script does: finished cells of before then count no more.

DYNUNET = {
    "patch": [40, 56, 40], "batch": 2, "filters": [32, 64, 128, 256], "strides": [1, 2, 2, 2],
    "optimiser": "adamw", "rate": 3e-3, "flip": False, "validations": 12, "loader": "thread",
}  # fmt: skip
# Topology by the rules of MONAI's DynUNet tutorial for this patch. Optimiser, rate and flips: the best of eight on the
# validation part, in the steps of 12 as in those of 45 minutes (trials.py, results/training_trials.md). Its filters are
# those of its users: of Hilum the width, and how strongly it augments in few passes, were chosen on that part too.


@dataclass(frozen=True)
class Peer:
    """Another system for the same cases. script: in peers/. own: run in the environment of environment.py.

    systems: names of the results that one run of the script gives. timed: it is given the minutes of the row.
    """

    script: str
    systems: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    own: bool = False
    timed: bool = False


@dataclass(frozen=True)
class Row:
    """One line of training.md.

    data: a folder below HILUM_DATA, or a file in benchmarks/datasets. kind: how results are judged (judge.py).
    seeds: of weights and batches; with `draws` also of the split. without: a class whose cases are left out.
    headline: metrics of the table, the one of the target first. single: shown for single cells only.
    """

    name: str
    data: str
    task: str
    kind: str
    minutes: float
    seeds: tuple[int, ...]
    headline: tuple[str, ...]
    target: str
    settings: tuple[str, ...] = ()
    peers: tuple[Peer, ...] = ()
    draws: bool = False
    without: str = ""
    single: tuple[str, ...] = ()


_MONAI = (Peer("dynunet", ("MONAI DynUNet",), DYNUNET, own=True, timed=True),)
_HOG = (Peer("hog", ("HOG + RBF SVM",), {"side": 128, "cell": 16, "folds": 5}),)
_HIPPOCAMPUS = ("dice", "dice anterior", "dice posterior", "hd95_mm")
_CLASSES = ("accuracy", "macro_f1")


def _classify(name: str, data: str, seeds: tuple[int, ...] = (0, 1), **more: Any) -> Row:
    peers = more.pop("peers", _HOG)
    target = more.pop("target", "paired interval above HOG + RBF SVM")
    return Row(name, data, "classify", "scores", 20, seeds, _CLASSES, target, peers=peers, single=("auroc",), **more)


ROWS: tuple[Row, ...] = (
    Row(
        "hippocampus_mri 12 min", "hippocampus.yaml", "segment", "masks", 12, (0, 1, 2), _HIPPOCAMPUS,
        "paired interval above DynUNet; aim 0.895", peers=_MONAI,
    ),
    Row(
        "retina_vessels", "retina_vessels.yaml", "segment", "pixels", 20, (0, 1, 2, 3, 4), ("pixel_auroc", "dice"),
        "pooled AUROC >= 0.97, F1 >= 0.79", draws=True, peers=(Peer("vessels", ("pixel boosting", "Sato filter")),),
    ),
    Row(
        "nuclei foreground", "nuclei.yaml", "segment", "masks", 20, (0, 1), ("dice",), "Dice >= 0.90",
        peers=(Peer("nuclei", ("Otsu + watershed",)),),
    ),
    Row(
        "nuclei instances", "nuclei_instances.yaml", "segment", "masks", 20, (0, 1), ("ap50_instances", "dice"),
        "AP@0.5 >= 0.75", peers=(Peer("nuclei", ("Otsu + watershed",)),),
    ),
    Row(
        "dermoscopy lesions", "dermoscopy.yaml", "segment", "masks", 20, (0, 1), ("dice",), "Dice >= 0.88",
        peers=(Peer("lesion", ("Otsu of a blurred channel",)),),
    ),
    _classify("chest_xray", "chest_xray", (0, 1, 2, 3, 4)),
    _classify(
        "chest_xray border only", "chest_xray", (0,), settings=("options.control=border",), peers=(),
        target="a control: what the frame alone gives away",
    ),
    _classify(
        "chest_xray without covid19", "chest_xray", (0,), without="covid19",
        target="a control, one seed: paired interval above HOG + RBF SVM without the class that gives itself away",
    ),
    _classify("brain_tumour_mri", "brain_tumour_mri", (0, 1, 2)),
    _classify("breast_ultrasound", "breast_ultrasound", (0, 1, 2)),
    Row(
        "hippocampus_mri 45 min", "hippocampus.yaml", "segment", "masks", 45, (0, 1, 2), _HIPPOCAMPUS,
        "paired interval above DynUNet; aim 0.90", peers=_MONAI,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """A row with one seed and a scale of its minutes (1 but in smoke tests)."""

    row: Row
    seed: int
    scale: float = 1.0

    @property
    def minutes(self) -> float:
        return self.row.minutes * self.scale

    @property
    def split_seed(self) -> int:
        """The split is the same for all seeds, but where the seeds are draws of it."""
        return self.seed if self.row.draws else 0

    @property
    def key(self) -> str:
        """Hash of everything that decides the cell."""
        row = self.row
        peers = [[p.script, p.systems, p.settings, p.timed] for p in row.peers]
        what = [RECIPE, row.data, row.task, row.kind, row.without, row.draws, self.minutes, self.seed]
        return hashlib.sha256(json.dumps([*what, row.settings, peers], sort_keys=True).encode()).hexdigest()[:12]

    @property
    def file(self) -> str:
        """Name of the cell's file, without its folder and its end."""
        return f"{self.row.name.replace(' ', '_')}-seed{self.seed}-{self.key}"

    def needs(self, system: "Peer | None") -> float:
        """Minutes that one system takes at most, about: opening, training where it is timed, predicting, judging."""
        return (self.minutes if system is None or system.timed else 0) + 5 * max(self.scale, 0.2)

    @property
    def order(self) -> "list[Peer | None]":
        """The systems, None is Hilum. Who goes first changes from seed to seed, as machines warm up and others come."""
        systems: list[Peer | None] = [None, *self.row.peers]
        return systems if self.seed % 2 == 0 else systems[::-1]


def cells(only: str, scale: float) -> list[Cell]:
    """Cells of the rows whose name holds `only`, a seed of every row before the next seed."""
    chosen = [row for row in ROWS if only in row.name]
    most = max((len(row.seeds) for row in chosen), default=0)
    return [Cell(row, row.seeds[n], scale) for n in range(most) for row in chosen if n < len(row.seeds)]
