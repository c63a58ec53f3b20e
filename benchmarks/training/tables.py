"""results/training.md and training.json from the finished cells: means, intervals, paired differences, conditions."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rows import RECIPE, ROWS, Cell, Row

from hilum.core.atomic import write_json, write_text
from hilum.evaluation import _intervals, areas
from hilum.evaluation.bootstrap import Paired, interval, interval_of_set, paired, paired_of_set
from hilum.evaluation.multiple import holm
from hilum.evaluation.seeds import SeedsPaired, paired_of_seeds
from hilum.metrics import auroc, macro_f1

SETS: dict[str, Callable[..., float | None]] = {"macro_f1": macro_f1.measure, "auroc": auroc.measure}
RESAMPLES = 500
# Of metrics of a whole set; means of cases are resampled 2000 times.
GROUPS = {
    "similarity": "patients unknown, groups by similarity",
    "patient": "patients known",
    "case": "every case a patient",
}

Table = list[dict[str, Any]]


def write(results: Path, scale: float) -> None:
    """Both files, from the cells in results/training_cells whose key is still that of rows.py."""
    summary, single, commands, peers = Table(), Table(), [], []
    for row in ROWS:
        found = [c for seed in row.seeds if (c := _read(results, Cell(row, seed, scale)))]
        if not found:
            summary.append({"data": row.name, "system": "not run yet", "target": row.target})
            continue
        summary += _summary(row, found)
        single += [line for cell in found for line in _single(row, cell)]
        peers += _peers(row, found[0])
        commands += [f"- `{found[0]['command']}`" + (f" (without {row.without})" if row.without else "")]
    _judged(summary)
    text = [
        f"# Training, figures of {datetime.now(UTC):%Y-%m-%d}" + ("" if scale == 1 else f" (SMOKE TEST, x {scale:g})"),
        "", *ABOUT, "", *_lines(summary), "", "## Every cell", "", *CELLS, "", *_lines(single), "", "Commands of the "
        "first seed; made by `benchmarks/training/figures.py`:", "", *commands, "",
        "Peers, in the first seed (scripts in `benchmarks/training/peers`):", "", *peers, "",
    ]  # fmt: skip
    write_text(results / "training.md", "\n".join(text))
    write_json(results / "training.json", {"recipe": RECIPE, "summary": summary, "cells": single})


ABOUT = [
    "Hilum with its defaults beside peers: same parts of the same data, same machine, one after the other. The test",
    "part is judged once for each cell shown, by the same code for all systems. Values of a case are averaged over",
    "seeds first; then groups are resampled: mean, 95 % interval, and the difference Hilum - peer on the same cases.",
    "With fewer than six groups the interval of a mean is Student's. p is by sign flips of groups; `p Holm` is",
    "adjusted for all comparisons of this table. `supported` names whose lead it is where p Holm is at most 0.05 and",
    "the interval leaves out 0. Where several seeds of one split were trained, the interval of a difference and its p",
    "hold the doubt of the seeds too, as in `hilum compare`; not of macro_f1, nor of the draws of retina_vessels,",
    "which are averaged, and a row of one seed knows nothing of another training. Losing rows stay.",
    "",
    "Not equal is what was chosen on the validation part of these very data. On hippocampus_mri Hilum's width and",
    "strength of augmentation were, of MONAI's DynUNet only optimiser, rate and flips, at the width that its users",
    "take (filters from 32). With first stages of 32 channels Hilum reached Dice 0.860 there in the steps of 12",
    "minutes, DynUNet 0.852 (`training_trials.md`). Of chest_xray and breast_ultrasound side, width, mixup and weight",
    "decay were chosen there too; HOG + SVM and the peer for lesions are chosen and fitted on training and validation",
    "parts together. The test part was read for none of these choices. DynUNet's rate, 3e-3, is the best of the three",
    "that were tried of AdamW (1e-2: 0.865 beside 0.872 in 530 steps, one seed). Its batches come from",
    "ThreadDataLoader, in short runs within a tenth of the fastest of four loaders (`training_speed.md`). How far it",
    "comes in 12 minutes hangs on the machine: the more steps they hold, the smaller the lead, as at 45 minutes.",
    "Of chest_xray five seeds are asked for, of the other classifiers three, where the first round asked for two: that",
    "was decided when two seeds had been judged and nothing of the further ones was known.",
    "",
    "Of these cells the test part was judged twice, and what stood here before was: nuclei instances AP@0.5 0.755 and",
    "0.785, +0.024 (-0.0003 to 0.048), on a busy machine, so with fewer steps; chest_xray accuracy 0.860 and 0.810,",
    "+0.036 (-0.095 to 0.159), and brain_tumour_mri 0.907 and 0.912, +0.038 (-0.002 to 0.083), both by a program of",
    "before 532ff77 on a slower machine. Nothing was chosen by the first look, but it was seen.",
    "",
    "hippocampus_mri 12 min was judged twice too. What stood here before came from a machine that gave DynUNet 196 to",
    "245 steps, about 0.3 a second: 0.891 and 0.860, +0.031 (0.021 to 0.040). On one with AVX-512 it makes 533 to 540.",
    "The new row was asked for before it was known, because the old one flattered; nothing else was changed. Where the",
    "peer has more steps still, at 45 minutes, the lead is 0.005.",
    "",
    "Minutes: of training, from the data (reading, caching, validating included) to the weights, equal for Hilum and",
    "MONAI; importing Python packages, and Hilum's search for patients and leaks, are outside of both and are seen in",
    "`wall s`, which also holds MONAI's predictions. Simple peers take the time that they need.",
    "Retina: an eye's values are averaged over its draws; pooled: all pixels of a draw's four eyes as one set.",
    "The peer for skin lesions is a small one.",
]
CELLS = [
    "load: of the machine at the start and at most, the system's own threads included; others: processors that other",
    "programs used on average. A row is only quiet where others is near 0. overlap: of the windows in which Hilum",
    "predicts; a quarter is planned today, a half was when the first cells were measured. train s: of the training",
    "alone; the steps are frozen after a short timing, so a machine that is busy at another time than then makes it",
    "longer or shorter than the minutes. Cells of before 796ecbc (the first seeds of retina_vessels, nuclei foreground",
    "and dermoscopy lesions) are without the rule that may keep the largest piece of a class alone, which the later",
    "ones choose on their validation part: these rows average two programs. The rule",
    "came after the first row of dermoscopy was known. All cells but those of hippocampus_mri 12 min, of chest_xray",
    "(its two controls are older), of brain_tumour_mri and of the third seed of breast_ultrasound are of before",
    "532ff77, since when `motion`, which",
    "MR images are augmented with at times, shows both of its movements where it showed one in a quarter of its",
    "draws, and of before a2df260, since when steps hold memory, so that they may take less time. Those were measured",
    "on another machine, where 48 channels are planned for chest_xray and, but for its first seed, brain_tumour_mri;",
    "of the other classifiers, and of that seed, 32.",
]


def _read(results: Path, cell: Cell) -> dict[str, Any] | None:
    path = results / "training_cells" / f"{cell.file}.json"
    found: dict[str, Any] | None = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    return found


def _summary(row: Row, found: list[dict[str, Any]]) -> Table:
    """A line for every metric and system."""
    out = Table()
    for metric in row.headline:
        for name in found[0]["systems"]:
            theirs = _column(row, found, name, metric)
            if theirs is None or _column(row, found, "hilum", metric) is None:
                continue
            groups = [_group(found, c) for c in theirs]
            line: dict[str, Any] = {"data": row.name, "metric": metric, "system": name}
            if metric in SETS:
                function = _over_seeds(SETS[metric])
                one = interval_of_set(list(theirs.values()), groups, function, RESAMPLES)
            else:
                one = interval(list(theirs.values()), groups)
            line |= {"mean": one.mean, "low": one.low, "high": one.high}
            if name != "hilum":
                gap = _intervals.apart(_gap(row, found, name, metric), metric.split()[0])
                # said of all comparisons together, in _judged
                line |= {"hilum - peer": gap.difference, "gap low": gap.low, "gap high": gap.high, "p": gap.p}
                line |= {"p Holm": None, "supported": "no"}
            line |= {"n": one.n, "groups": one.groups, "seeds": f"{len(found)} of {len(row.seeds)}"}
            line |= {
                "min": f"{found[0]['minutes']:g}",
                "grouping": GROUPS.get(found[0]["grouping"], found[0]["grouping"]),
            }
            out.append(line | {"target": row.target if name == "hilum" and metric == row.headline[0] else ""})
    return out + _pooled(row, found)


def _gap(row: Row, found: list[dict[str, Any]], name: str, metric: str) -> Paired | SeedsPaired:
    """Hilum less a peer on the same cases; of several seeds of one split with the doubt of the seeds."""
    mine, theirs = _column(row, found, "hilum", metric), _column(row, found, name, metric)
    assert mine is not None and theirs is not None
    cases, groups = list(theirs), [_group(found, c) for c in theirs]
    a, b = [mine[c] for c in cases], list(theirs.values())
    if metric in SETS:
        return paired_of_set(a, b, groups, _over_seeds(SETS[metric]), RESAMPLES)
    if row.draws:
        return paired(a, b, groups)
    seeds = [[_column(row, [cell], system, metric) or {} for cell in found] for system in ("hilum", name)]
    return paired_of_seeds(*([[one[c] for c in cases] for one in side] for side in seeds), groups)


def _judged(summary: Table) -> None:
    """Fill `p Holm` and `supported` of the lines with a comparison, all of the table together."""
    lines = [line for line in summary if "p" in line]
    for line, p in zip(lines, holm([line["p"] for line in lines]), strict=True):
        line["p Holm"] = p
        if areas.supported(p, line["gap low"], line["gap high"]):
            line["supported"] = "Hilum" if _better(line["metric"], line["hilum - peer"]) else "peer"


def _pooled(row: Row, found: list[dict[str, Any]]) -> Table:
    """Of pixels of all test images together: the mean over draws, without an interval."""
    out = Table()
    for name in found[0]["systems"]:
        for metric in found[0]["systems"][name].get("pooled", {}):
            values = [cell["systems"][name]["pooled"][metric] for cell in found]
            line = {"data": row.name, "metric": f"pooled {metric}", "system": name, "mean": float(np.mean(values))}
            out.append(line | {"n": len(values), "groups": "draws", "seeds": f"{len(found)} of {len(row.seeds)}"})
    return out


def _better(metric: str, gap: float | None) -> bool:
    return ((gap or 0) > 0) != metric.startswith("hd95")


def _column(row: Row, found: list[dict[str, Any]], system: str, metric: str) -> dict[str, Any] | None:
    """{case: mean over the seeds that have it}; of a metric of the set {case: ((scores, truth) of each seed)}."""
    out: dict[str, list[Any]] = {}
    for cell in found:
        own = cell["systems"][system]
        if row.kind == "scores":
            pairs = list(zip(own["scores"], cell["truth"], strict=True))
            values = pairs if metric in SETS else [float(int(np.argmax(s)) == t) for s, t in pairs]
        elif metric not in own["values"]:
            return None
        else:
            values = own["values"][metric]
        for case, value in zip(cell["cases"], values, strict=True):
            out.setdefault(case, []).append(value)
    if metric in SETS:
        return {case: tuple(values) for case, values in out.items()}
    return {case: None if None in values else sum(values) / len(values) for case, values in out.items()}


def _over_seeds(measure: Callable[..., float | None]) -> Callable[[list[Any]], float | None]:
    """The mean over seeds of a metric of the set."""

    def function(records: list[Any]) -> float | None:
        found = []
        for seed in range(len(records[0])):
            scores = np.array([r[seed][0] for r in records])
            found.append(measure(scores, np.array([r[seed][1] for r in records])))
        return None if None in found else float(np.mean(found))  # type: ignore[arg-type]

    return function


def _group(found: list[dict[str, Any]], case: str) -> str:
    return next(str(c["groups"][c["cases"].index(case)]) for c in found if case in c["cases"])


def _single(row: Row, cell: dict[str, Any]) -> Table:
    """A line for every system of one cell."""
    out = Table()
    for name, own in cell["systems"].items():
        line: dict[str, Any] = {"data": row.name, "seed": cell["seed"], "system": name}
        headline = {}
        for metric in row.headline + row.single:
            column = _column(row, [cell], name, metric)
            if column is None:
                continue
            values = list(column.values())
            known = [v for v in values if v is not None]
            number = _over_seeds(SETS[metric])(values) if metric in SETS else float(np.mean(known)) if known else None
            headline[metric] = number
        headline |= {f"pooled {k}": v for k, v in own.get("pooled", {}).items()}
        line["values"] = ", ".join(f"{k} {'-' if v is None else f'{v:.4f}'}" for k, v in headline.items())
        busy = own["machine"]
        line |= {"min": f"{cell['minutes']:g}", "steps": own.get("steps"), "train s": _trained(own)}
        line |= {"wall s": f"{busy['seconds']:.0f}"}
        line |= {"load": f"{busy['load_start']:.1f} to {busy['load_most']:.1f}", "others": busy["others"]}
        line["overlap"] = own.get("plan", {}).get("options", {}).get("overlap")
        flags = [f for f in cell["hardware"]["flags"] if f in ("avx512_bf16", "amx_bf16")] or ["no bf16"]
        line |= {"hardware": f"{cell['hardware']['processors']} ({', '.join(flags)})", "commit": cell["commit"]}
        out.append(line | {"date": cell["date"][:10], "torch": cell["versions"]["torch"]})
    return out


def _trained(own: dict[str, Any]) -> str | None:
    """Seconds of a training alone, of systems that say it."""
    seconds = own.get("timing", {}).get("seconds", own.get("train_seconds"))
    return None if seconds is None else f"{seconds:.0f}"


def _peers(row: Row, cell: dict[str, Any]) -> list[str]:
    """What every peer of a row was given and chose, and its versions."""
    lines = []
    for name, own in cell["systems"].items():
        if name == "hilum":
            continue
        words = [f"{key} `{json.dumps(own[key])}`" for key in ("settings", "chosen") if own.get(key)]
        versions = own.get("versions") or {p: cell["versions"][p] for p in ("scikit-image", "scikit-learn")}
        words += [f"{package} {found}" for package, found in versions.items()]
        lines.append(f"- {row.name}, {name}: {', '.join(words)}")
    return lines


def _lines(rows: Table) -> list[str]:
    """A Markdown table; columns in order of first appearance."""
    columns = list(dict.fromkeys(k for row in sorted(rows, key=len, reverse=True) for k in row))
    body = ["| " + " | ".join(_cell(row.get(c)) for c in columns) + " |" for row in rows]
    return ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns), *body]


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.{4 if abs(value) < 10 else 2}f}" if isinstance(value, float) else str(value)
