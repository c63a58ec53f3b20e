"""make bench: first figures on real images, cell by cell, cached by hash; dated tables in benchmarks/results/.

Needs HILUM_DATA. A cell is one `hilum train` and one `hilum evaluate`; a finished cell is kept in benchmarks/cache and
taken as it is, so a run that was stopped goes on. Nothing here looks at a test part before it is judged, once.

    HILUM_DATA=... make bench [LIMIT=90]       # the trained systems beside peers are begun while minutes are left
    HILUM_DATA=... .venv/bin/python benchmarks/run.py --only nuclei --minutes 12
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import precision

from hilum.core.atomic import write_json, write_text

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "training"))
import machine  # noqa: E402
from rows import cells  # noqa: E402

HILUM = [str(Path(sys.executable).parent / "hilum")]
# name: (data below HILUM_DATA or a file in benchmarks/datasets, task, minutes, settings, what simple methods reach)
TRUST = {
    "chest_xray": "chest_xray", "brain_tumour_mri": "brain_tumour_mri", "breast_ultrasound": "breast_ultrasound",
    "hippocampus.yaml": "hippocampus_mri 12 min",
}  # fmt: skip
# Data and the row of training/rows.py whose seeds say what doubt is worth on them: the first, of classes all as an
# ensemble too.
READING = ("speed", "defects", "differential", "checks", "mutations")
# Scripts in benchmarks/reading, in the order in which they are run.
TRAINING = {"speed": 20, "memory": 5, "augment": 10, "kill": 60}
# Further scripts of training/ and the minutes that they take, about; run where their figures are not there.
CELLS: dict[str, tuple[str, str, float, list[str], str]] = {
    "hippocampus_mri segment": ("hippocampus_mri", "segment", 12, [], "multi-atlas 0.82 / 0.81"),
    "nuclei segment (foreground)": ("nuclei.yaml", "segment", 7, [], "Otsu + watershed 0.875"),
    "chest_xray classify": ("chest_xray", "classify", 7, [], "HOG + RBF SVM 0.79 (macro F1 0.81)"),
    "chest_xray classify, border only": ("chest_xray", "classify", 7, ["--set", "options.control=border"], "-"),
    "hippocampus_mri register": ("hippocampus_mri", "register", 7, [], "affine 0.709, elastix 0.763 (0.55 % folds)"),
    "hippocampus_mri register, learned with labels": (
        "hippocampus_mri",
        "register",
        7,
        ["--set", "options.labels=1"],
        "affine 0.709, elastix 0.763 (0.55 % folds)",
    ),
    "mr_reconstruction reconstruct R=4": ("mr_reconstruction", "reconstruct", 7, [], "TV 31.2 dB"),
}
# The right column comes from other splits (a part kept aside): it says what is easy, it is not a paired peer.
SHOWN = {
    "nuclei segment (foreground)": "Data Science Bowl 2018 stage 1, CC0",
}
# Cells whose report, with pictures of the data, is copied into results/, and whom to credit; that of images of patients
# stays in the cache.
HEADLINES = {"accuracy": ["accuracy", "macro_f1", "auroc"], "dice": ["dice", "hd95_mm", "folding_percent"]}
HEADLINES["psnr_db"] = ["psnr_db", "ssim"]


def main() -> None:
    """Run the cells that are asked for, then write the tables."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--only", default="", help="cells whose name holds this")
    words.add_argument("--minutes", type=float, help="instead of the cell's own")
    words.add_argument("--limit", type=float, help="minutes; no training beside peers that needs more is begun")
    asked = words.parse_args()
    began = time.monotonic()

    def left() -> float | None:
        return None if asked.limit is None else asked.limit - (time.monotonic() - began) / 60

    _imports()
    if not asked.only:
        _reading()
        _zoo("cost", left())
        _zoo("exported", left())
    if "HILUM_DATA" not in os.environ:
        print("HILUM_DATA is not set: the cells on real images are skipped. It names the folder of the data sets.")
        return
    if not asked.only:
        precision.measure(_commit(), machine.hardware())
    if asked.only or not (HERE / "results" / "first_figures.json").is_file():
        wanted = {name: asked.minutes or CELLS[name][2] for name in CELLS if asked.only in name}
        rows = [_cell(name, minutes) for name, minutes in wanted.items() if left() is None or left() > minutes]
        # one that was cut short is gone on with, and takes no whole page's place
        if rows and len(rows) == len(wanted):
            _write(rows, asked.only)
    if not asked.only:
        _training(left())
        _trust()
        _zoo("learning", left())
        _predict(left())


def _training(limit: float | None) -> None:
    """The trained systems beside peers (days of it; what is done is taken as it is), then the speed of training."""
    words = [] if limit is None else ["--limit", f"{max(0.0, limit):.0f}"]
    began = time.monotonic()
    subprocess.run([sys.executable, str(HERE / "training" / "figures.py"), *words], check=True)
    left = float("inf") if limit is None else limit - (time.monotonic() - began) / 60
    for name, minutes in TRAINING.items():
        if not (HERE / "results" / f"training_{name}.json").is_file() and left > minutes:
            subprocess.run([sys.executable, str(HERE / "training" / f"{name}.py")], check=True)
            left -= minutes


def _zoo(name: str, limit: float | None) -> None:
    """What the networks of the zoo cost, whether exports are equal, or how they learn; finished cells are kept."""
    words = [] if limit is None else ["--limit", f"{max(0.0, limit):.0f}"]
    subprocess.run([sys.executable, str(HERE / "zoo" / f"{name}.py"), *words], check=True)


def _predict(limit: float | None) -> None:
    """Whole volumes beside peers' prediction; what is measured is taken as it is."""
    words = [] if limit is None else ["--limit", f"{max(0.0, limit):.0f}"]
    subprocess.run([sys.executable, str(HERE / "predict" / "figures.py"), *words], check=True)


def _trust() -> None:
    """What doubt is worth, on the trained systems whose runs are in the cache; they train nothing."""
    runs = {}
    for data, row in TRUST.items():
        # by its key: a folder of an earlier recipe may still lie there
        names = [cell.file for cell in cells(row, 1.0) if cell.row.name == row]
        places = [HERE / "cache" / "training" / name / "hilum" / "run" for name in names]
        there = [place for place in places if (place / "calibration.json").is_file()]
        runs |= {data: there} if there else {}
    if not runs:
        print("No trained system is in the cache: what doubt is worth is not measured.")
        return
    whole = [f"{data}={','.join(map(str, there))}" for data, there in runs.items()]
    images = Path(os.environ["HILUM_DATA"])
    plain = [str(word) for data, (run, *_) in runs.items() if (images / data).is_dir() for word in (run, images / data)]
    _once("trust", "figures", whole)
    if plain:
        _once("trust", "outliers", plain)
        _once("trust", "joining", plain)


def _reading() -> None:
    """The benchmarks of reading, and the laws of metrics."""
    for name in READING:
        _once("reading", name)
    _once("trust", "metric_properties")


def _once(folder: str, name: str, words: Sequence[str] = ()) -> None:
    """Run a script whose figures are not there, or that has not been given these runs here."""
    key = hashlib.sha256(json.dumps(words).encode()).hexdigest()[:16]
    done = HERE / "cache" / f"{folder}-{name}-{key}"
    if (HERE / "results" / f"{folder}_{name}.json").is_file() and (not words or done.exists()):
        return
    subprocess.run([sys.executable, str(HERE / folder / f"{name}.py"), *words], check=True)
    done.parent.mkdir(exist_ok=True)
    done.touch()


def _cell(name: str, minutes: float) -> dict[str, Any]:
    """One finished cell, run now or found."""
    data, task, _, more, floor = CELLS[name]
    source = HERE / "datasets" / data if data.endswith(".yaml") else Path(os.environ["HILUM_DATA"]) / data
    key = hashlib.sha256(json.dumps([name, data, task, more, minutes, _commit()]).encode()).hexdigest()[:16]
    folder = _found(name, minutes) or HERE / "cache" / f"{name.replace(' ', '-').replace(',', '')}-{minutes:g}-{key}"
    shown = f"$HILUM_DATA/{data}" if source.parent != HERE / "datasets" else f"benchmarks/datasets/{data}"
    command = ["hilum", "train", shown, "--task", task, "--minutes", f"{minutes:g}", "--out", "run", *more]
    if not (folder / "cell.json").is_file():
        load, commit, began = os.getloadavg()[0], _commit(), time.monotonic()
        # of one that was cut short
        shutil.rmtree(folder, ignore_errors=True)
        budget = ["--minutes", f"{minutes:g}"]
        _run([*HILUM, "train", str(source), "--task", task, *budget, "--out", str(folder / "run"), *more])
        trained = time.monotonic() - began
        _run([*HILUM, "evaluate", str(folder / "run"), str(source), "--out", str(folder / "evaluation")])
        facts = {"name": name, "command": " ".join(command), "floor": floor, "commit": commit, "load": load}
        facts |= {"hardware": _hardware(), "python": platform.python_version()}
        facts |= {"train_seconds": round(trained), "all_seconds": round(time.monotonic() - began)}
        write_json(folder / "cell.json", facts | {"when": datetime.now(UTC).isoformat(timespec="seconds")})
    facts = json.loads((folder / "cell.json").read_text())
    plan = json.loads((folder / "run" / "plan.json").read_text())
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text())
    return facts | {"plan": plan, "metrics": metrics, "folder": str(folder)}


def _found(name: str, minutes: float) -> Path | None:
    """A finished cell of that name and budget, whatever commit made it (the table names the commit)."""
    start = f"{name.replace(' ', '-').replace(',', '')}-{minutes:g}-"
    found = [p for p in sorted((HERE / "cache").glob(f"{start}*")) if (p / "cell.json").is_file()]
    return found[-1] if found else None


def _run(command: list[str]) -> None:
    """Run a command; its failure ends the bench with its own words."""
    done = subprocess.run(command, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"{' '.join(command[1:3])} failed: {done.stderr.strip()}")


def _commit() -> str:
    words = ["git", "-C", str(HERE), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True).stdout.strip() or "unknown"


def _hardware() -> str:
    names = [ln.split(":")[1].strip() for ln in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in ln]
    return f"{len(names)} x {names[0]}" if names else platform.processor()


def _imports() -> None:
    """Seconds of `import hilum` and of `hilum --help`, median of 7."""
    for words in ([sys.executable, "-c", "import hilum"], [*HILUM, "--help"]):
        spent = []
        for _ in range(7):
            began = time.perf_counter()
            subprocess.run(words, stdout=subprocess.DEVNULL, check=True)
            spent.append(time.perf_counter() - began)
        row = {"what": "hilum --help" if "--help" in words else "import hilum", "seconds": round(sorted(spent)[3], 3)}
        row |= {"target": 0.5, "commit": _commit(), "hardware": _hardware(), "load": os.getloadavg()[0]}
        write_json(HERE / "results" / f"start_{row['what'].split()[-1].strip('-')}.json", row)
        print(f"{row['what']}: {row['seconds']} s (target under 0.5)")


def _write(rows: list[dict[str, Any]], only: str) -> None:
    """first_figures.md and .json; a part run (--only) writes beside the whole one."""
    lines = [
        f"# First figures, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"Each row: `hilum train DATA --task T --minutes M` with defaults, then `hilum evaluate` on the "
        f"test part, looked at once. Mean and 95 % interval over independent groups. Seed 0. {_made_on(rows)}",
        "Patients are unknown unless the data say otherwise: groups are by similarity of the images.",
        "Steps were frozen after a short timing; where `train s` is far above the minutes, others used the cores.",
        "Pictures have no physical spacing: there `mm` in a metric's name means pixels.",
        "The last column is what simple methods reached on other splits of the same data: a floor, not a paired peer.",
        "",
        "| cell | metric | mean | 95 % interval | n (groups) | minutes | steps | train s | load | commit | floor |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        lines += _lines(row)
    for row in [r for r in rows if r["name"] in SHOWN]:
        report = f"{row['name'].split(' (')[0].replace(' ', '_')}.html"
        shutil.copyfile(Path(row["folder"]) / "evaluation" / "report.html", HERE / "results" / report)
        lines += ["", f"Report with pictures: [{report}]({report}). Images: {SHOWN[row['name']]}."]
    lines += ["", "Commands:", "", *[f"- `{r['command']}`" for r in rows], ""]
    name = "first_figures" if not only else "first_figures_part"
    write_text(HERE / "results" / f"{name}.md", "\n".join(lines))
    kept = [{k: v for k, v in r.items() if k != "folder"} for r in rows]
    write_json(HERE / "results" / f"{name}.json", {"rows": kept})


def _made_on(rows: list[dict[str, Any]]) -> str:
    """On what the cells were trained, as they tell; a cell that was found may be of another machine than this one."""
    found: dict[str, list[str]] = {}
    for row in rows:
        place = row.get("hardware", "processors that were not written down")
        place += f", Python {row['python']}" if "python" in row else ""
        found.setdefault(f"{place}, torch {row['plan']['versions']['torch']}", []).append(row["name"])
    told = [f"{place} ({'all' if len(found) == 1 else '; '.join(names)})" for place, names in found.items()]
    return f"Trained on {'. On '.join(told)}."


def _lines(row: dict[str, Any]) -> list[str]:
    """Table lines of one cell: its headline and a few more metrics, per class where there are classes."""
    metrics = row["metrics"]["metrics"]
    headline = next(iter(metrics))
    out = []
    for name in [n for n in HEADLINES.get(headline, [headline]) if n in metrics]:
        for key, values in [("", metrics[name]), *metrics[name]["per_class"].items()]:
            first = name == headline and not key
            doubt = "-" if values["low"] is None else f"{values['low']:.3f} to {values['high']:.3f}"
            more = [
                f"{row['plan']['minutes']:g}",
                row["plan"]["steps"],
                row["train_seconds"],
                f"{row['load']:.1f}",
                row["commit"],
                row["floor"],
            ]
            cells = [
                row["name"] if first else "",
                f"{name} {key}".strip(),
                "undefined" if values["mean"] is None else f"{values['mean']:.3f}",
                doubt,
            ]
            cells += [f"{values['n']} ({row['metrics']['groups']})"] + ([str(m) for m in more] if first else [""] * 6)
            out.append("| " + " | ".join(cells) + " |")
    return out


if __name__ == "__main__":
    main()
