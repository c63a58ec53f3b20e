"""demo: the main job on a phantom study that is made on the spot, from images to a report."""

import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.errors import HilumError, going_on
from hilum.core.findings import INTENDED_USE
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run, free_folder
from hilum.verbs.bundle import bundle
from hilum.verbs.evaluate import evaluate
from hilum.verbs.plan import plan
from hilum.verbs.predict import predict
from hilum.verbs.train import train

CASES = 40
MINUTES = 1.5
# Of training; the whole demo takes a few minutes on two cores.


def demo(
    out: Path | str | None = None, *, minutes: float = MINUTES, cases: int = CASES, progress: Progress = quiet
) -> dict[str, Any]:
    """Phantom heads -> plan -> train -> evaluate -> predict (NIfTI and DICOM SEG) -> bundle; returns what to open."""
    began = time.monotonic()
    folder = _folder(out)
    data, run = folder / "data", folder / "run"
    progress("make phantoms", 1, 2)
    catalogue.load("hilum.data.phantoms", "heads").make(data, cases)
    progress("make phantoms", 2, 2)
    with _without_options(data, run):
        plan(data, "segment", folder / "plan.json", minutes=minutes, progress=progress)
        train(data, "segment", run, plan=folder / "plan.json", progress=progress)
    metrics = evaluate(run, data, folder / "evaluation", progress=progress)
    test = {row["case"] for row in _rows(run) if row["part"] == "test"}
    series = sorted(p for p in (data / "images").iterdir() if p.is_dir())
    chosen = next((p for p in series if p.name in test), series[0])
    volumes = [p for p in sorted((data / "images").glob("*.nii.gz")) if p.name.removesuffix(".nii.gz") in test]
    found = predict(run, list(volumes[:3]), folder / "predictions", progress=progress)
    seg = predict(run, [chosen], folder / "dicom", format="dicom", progress=progress)
    bundle(run, folder / "model.hilum")
    dice = metrics["metrics"]["dice"]
    rows = [
        {"what": "data", "where": str(data), "how": f"{cases} phantom heads, NIfTI and DICOM"},
        {"what": "run", "where": str(run), "how": "plan, weights, curve, ledger"},
        {"what": "dice", "where": str(folder / "evaluation" / "metrics.json"), "how": _words(dice)},
        {"what": "masks", "where": str(folder / "predictions"), "how": f"{len(found['done'])} NIfTI label maps"},
        {
            "what": "DICOM SEG",
            "where": str(folder / "dicom"),
            "how": ", ".join(f for d in seg["done"].values() for f in d["files"]),
        },
        {"what": "bundle", "where": str(folder / "model.hilum"), "how": "one file to hand on"},
        {"what": "time", "where": "", "how": f"{time.monotonic() - began:.0f} s"},
    ]
    report = str(folder / "evaluation" / "report.html")
    return {"rows": rows, "report": report, "intended_use": INTENDED_USE, "folder": str(folder), "metrics": metrics}


@contextmanager
def _without_options(data: Path, run: Path) -> Iterator[None]:
    """What planning and training name in a refusal, or when they are stopped, as whoever called a demo can do it."""
    words = shlex.join(["hilum", "train", str(data), "--task", "segment", "--out", str(run), "--resume"])
    try:
        with going_on(f"go on with: {words}"):
            yield
    except HilumError as error:
        if "--memory" not in error.remedy:
            raise
        raise HilumError(error.code, error.seen, "Close other programs, and begin again: hilum demo") from error


def _words(metric: dict[str, Any]) -> str:
    if metric["low"] is None:
        return f"{metric['mean']:.3f}, no interval on {metric['n']} cases"
    return (
        f"{metric['mean']:.3f} (95 % interval {metric['low']:.3f} to {metric['high']:.3f}) on {metric['n']} test heads"
    )


def _rows(run: Path) -> list[dict[str, str]]:
    return Run(run).split()


def _folder(out: Path | str | None) -> Path:
    """`out`, which must be new; by default hilum-demo or the next free name."""
    if out is not None:
        return free_folder(Path(out))
    number = 1
    while True:
        name = Path("hilum-demo" if number == 1 else f"hilum-demo-{number}")
        if not name.exists():
            return name
        number += 1
