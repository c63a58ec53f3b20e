"""What doubt is worth on real images: scaling, coverage over re-splits, referral, of finished runs. It trains nothing.

    HILUM_DATA=... .venv/bin/python benchmarks/trust/figures.py NAME=RUN[,RUN...] [NAME=RUN ...]

NAME is a folder below HILUM_DATA or a file of benchmarks/datasets (hippocampus.yaml), RUN what `hilum train` made of
it; further runs of the same data and split, with other seeds, make an ensemble that is looked at beside it. Validation
and test part are predicted once; raw answers of classes stay in the cache by the hash of the run. (1) NLL and Brier
score of the test part after scaling on the validation part, paired with before; of masks voxel by voxel near
foreground, every case once, and what became of the intervals and wide masks that were said. (2) 500 times the patients
of both parts are dealt anew into calibration and test, as many as there were: mean coverage of the prediction sets,
beside the band for one such split and beside what is promised of the mean. (3) The least certain fifth of the test part
is sent to a person: error of the rest, beside sending at random and by the raw highest probability; and the same where
the answer is the mean over views of the image, or over networks, by the doubt and by how far these lie apart. Of
reconstructions: rank correlation of the PSNR that was expected without the truth with the one that was reached, how far
it is off beside always saying the validation part's median, and what became of the intervals.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "training"))
import machine

from hilum.core.atomic import write_json, write_text
from hilum.core.calibration import Opinions
from hilum.core.run import Run
from hilum.evaluation.bootstrap import Paired, interval_of_set, paired
from hilum.evaluation.promises import Promises
from hilum.planning.planner import look
from hilum.tasks._task import headline_value
from hilum.trust import _unseen, calibration, conformal, doubt, ensemble, foreseen, maps, several, voxels
from hilum.trust.several import Several
from hilum.trust.trusted import Trusted
from hilum.trust.uncertainty import referral

BENCHMARKS = Path(__file__).parents[1]
ERROR, SPLITS, SHARE = 0.1, 500, 0.2
CLOSE = 0.005
# How far the mean coverage of the re-splits may lie outside of what is promised of it.
REVISION = 1
# Raised when what is measured here changes: rows of another one say so. Rows of before the word: see `older`.
OLDER = "Measured before caf7a1b: sets could be empty, and re-splits did not choose their scaling anew."
OLDER_MASKS = "Measured before 1d04b96: the doubt of a mask passed over rare classes and told of removed pieces too."
LEAST = 150
# Test cases of a classification that the targets ask for.
Rows = list[dict[str, Any]]


def source(name: str) -> Path:
    """The data that a name means."""
    return BENCHMARKS / "datasets" / name if name.endswith(".yaml") else Path(os.environ["HILUM_DATA"]) / name


def answers(name: str, folder: Path, kind: str = "one", others: Sequence[Path] = ()) -> dict[str, np.ndarray[Any, Any]]:
    """part, group, and of classes raw (n, K), truth (n,) and how far opinions lay apart (n,); predicted once and kept.

    others: the other runs of an ensemble.
    """
    run = Run(folder)
    weights = [_weights(run)] if not others else [_weights(run), *(_weights(Run(one)) for one in others)]
    what = [machine.code(), weights, kind]
    key = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]
    path = BENCHMARKS / "cache" / "trust" / f"{name}-{key}.npz"
    if not path.is_file():
        opinions = Opinions(kind="ensemble", count=len(weights)) if others else several.parse(kind)
        predictor, found = Several(run, opinions, [Run(one) for one in others]), list[tuple[Any, ...]]()
        for case, part in look(source(name), run.plan.task, run.plan.split_seed).units(run.plan):
            if part != "train":
                opinion = predictor.opinion(case)
                apart = 0.0 if opinion.entropies is None else maps.disagreement(opinion)
                found.append((part, case.group, *predictor.task.judge(opinion.result, case).record, apart))
        parts, groups, raw, truth, apart = zip(*found, strict=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez(path, part=parts, group=groups, raw=np.stack(raw), truth=np.array(truth), apart=np.array(apart))
    with np.load(path) as stored:
        return dict(stored)


def _weights(run: Run) -> dict[str, str]:
    """Hashes of what decides a run's answers."""
    return {n: h for n, h in run.hashes().items() if n.startswith("weights/") or n == "plan.json"}


def of_classes(name: str, folder: Path, others: Sequence[Path] = ()) -> dict[str, Any]:
    """Everything about one classifier, and about the ensemble that others make of it."""
    known = answers(name, folder)
    val, test = known["part"] == "val", known["part"] == "test"
    raw, truth, groups = known["raw"], known["truth"], known["group"]
    chosen = calibration.choose(raw[val], truth[val], groups[val].tolist())
    scaled = calibration.applied(chosen.scaling, raw[test])
    row: dict[str, Any] = {"data": name, "validation": int(val.sum()), "test": int(test.sum())}
    row |= {"method": chosen.scaling.method}
    row |= _scores(raw[test], scaled, truth[test], groups[test].tolist())
    row |= _resplit(raw, truth, groups, int(val.sum()))
    own, labels = groups[test].tolist(), truth[test]
    row |= _sent("raw maximum", raw[test].max(axis=1), raw[test], labels, own)
    row |= _sent("doubt", scaled.max(axis=1), scaled, labels, own)
    ways = {"views": answers(name, folder, "views")}
    ways |= {f"{1 + len(others)} networks": answers(name, folder, "ensemble", others)} if others else {}
    for way, seen in ways.items():
        fit = calibration.choose(seen["raw"][val], truth[val], groups[val].tolist())
        mean = calibration.applied(fit.scaling, seen["raw"][test])
        row |= {f"{way}, {k}": v for k, v in _scores(raw[test], mean, labels, own).items() if "raw" not in k}
        row |= _sent(f"doubt, mean of {way}", mean.max(axis=1), mean, labels, own)
        plain = seen["raw"][test]
        row |= _sent(f"raw maximum, mean of {way}", plain.max(axis=1), plain, labels, own)
        row |= _sent(f"{way} apart", -seen["apart"][test], mean, labels, own)
    return row


def _sent(name: str, sure: Any, answer: Any, truth: Any, groups: list[str]) -> dict[str, Any]:
    """The least sure are sent: error before and after, and by how much it is cut, with its interval over patients."""
    wrong = (answer.argmax(axis=1) != truth).astype(float)
    cut = interval_of_set(list(zip(sure, wrong, strict=True)), groups, _cut, 1000)
    sent = referral(sure, wrong, SHARE)
    assert sent is not None
    row = {f"{name}: error": sent.before, f"{name}: error of the rest": sent.after, f"{name}: cut": cut.mean}
    return row | {f"{name}: cut low": cut.low, f"{name}: cut high": cut.high}


def _cut(pairs: list[Any]) -> float | None:
    """By which share referral lowers the error; at random it would be 0."""
    sent = referral(np.array([s for s, _ in pairs]), np.array([w for _, w in pairs]), SHARE)
    assert sent is not None
    return None if sent.before == 0 or sent.after is None else 1 - sent.after / sent.before


def _scores(before: Any, after: Any, truth: Any, groups: list[str]) -> dict[str, Any]:
    rows, hit = np.arange(len(truth)), np.eye(before.shape[1])[truth]
    out: dict[str, Any] = {}
    for name in ("nll", "brier"):
        losses = [
            -np.log(np.clip(p[rows, truth], 1e-12, 1)) if name == "nll" else ((p - hit) ** 2).sum(axis=1)
            for p in (before, after)
        ]
        gap = paired(losses[1].tolist(), losses[0].tolist(), groups)
        out |= _gap(name, losses[0].mean(), losses[1].mean(), gap)
    return out


def _gap(name: str, before: Any, after: Any, gap: Paired) -> dict[str, Any]:
    out = {f"{name} raw": float(before), f"{name} scaled": float(after), f"{name} difference": gap.difference}
    return out | {f"{name} low": gap.low, f"{name} high": gap.high}


def _resplit(raw: Any, truth: Any, groups: Any, size: int) -> dict[str, Any]:
    """Mean coverage and set size over SPLITS deals of whole groups; about `size` cases calibrate.

    coverage: by the threshold alone, which the band is about. delivered coverage: of the sets that a run gives, which
    always hold the likeliest class; it can only be more.
    """
    found, given, sizes, points, methods = [], [], [], [], list[str]()
    names = np.unique(groups)
    for seed in range(SPLITS):
        rng = np.random.default_rng(seed)
        order = rng.permutation(names)
        counts = np.cumsum([np.sum(groups == g) for g in order])
        cut = int(np.searchsorted(counts, size)) + 1
        held = np.isin(groups, order[:cut])
        own = groups[held].tolist()
        # as a run chooses on its validation part
        scaling, honest = _unseen.of_classes(raw[held], truth[held], own, [])
        methods.append(scaling.method)
        scores = conformal.one_per_group(conformal.of_truth(conformal.lac(honest), truth[held]), own, seed)
        told, threshold = calibration.applied(scaling, raw[~held]), conformal.quantile(scores, ERROR)
        inside = conformal.sets(told, threshold)
        for kept, sets in ((found, conformal.lac(told) <= threshold), (given, inside)):
            # one case of every patient is judged too: the promise is per patient
            hits = conformal.of_truth(sets, truth[~held]).astype(float)
            kept.append(conformal.one_per_group(hits, groups[~held].tolist(), seed).mean())
        sizes.append(inside.sum(axis=1).mean())
        points.append((len(scores), len(np.unique(groups[~held]))))
    n, m = (int(v) for v in np.median(np.array(points), axis=0))
    low, high = conformal.coverage_band(n, m, ERROR)
    return {"coverage": float(np.mean(found)), "band low": low, "band high": high,
            "delivered coverage": float(np.mean(given)), "set size": float(np.mean(sizes)),
            "calibration patients": n, "test patients": m,
            "re-splits that scale": 1 - methods.count("none") / SPLITS}  # fmt: skip


def of_masks(name: str, folder: Path) -> dict[str, Any]:
    """Everything about one segmentation."""
    run = Run(folder)
    predictor = Trusted(run, wide=True)
    assert predictor.calibration is not None
    kept: dict[str, list[Any]] = {"val": [], "test": []}
    promised = Promises(predictor.task, predictor.calibration)
    for case, part in look(source(name), run.plan.task, run.plan.split_seed).units(run.plan):
        if part in kept:
            opinion = predictor.opinion(case)
            logits = np.asarray(opinion.logits, dtype=np.float32)
            voxel = voxels.sample(logits, predictor.task.prepare(case)["target"], logits=True)
            value = headline_value(predictor.task.judge(opinion.result, case).values["dice"])
            if part == "test":
                promised(case, predictor.weighed(opinion, case, predictor.calibration))
            kept[part].append(
                (
                    voxel,
                    case.group,
                    doubt.of_opinion(opinion, predictor.task, case),
                    0.0 if value is None else 1 - value,
                )
            )
    chosen = voxels.choose([v for v, *_ in kept["val"]], [g for _, g, *_ in kept["val"]])
    row: dict[str, Any] = {"data": name, "validation": len(kept["val"]), "test": len(kept["test"])}
    row |= {"method": chosen.scaling.method}
    before = [voxels.sureness(v) for v, *_ in kept["test"]]
    after = [voxels.sureness(v, chosen.scaling) for v, *_ in kept["test"]]
    groups = [g for _, g, *_ in kept["test"]]
    for metric in ("nll", "brier"):
        a, b = ([getattr(s, metric) if s else None for s in part] for part in (after, before))
        gap = paired(a, b, groups)
        row |= _gap(metric, *(np.mean([x for x in side if x is not None]) for side in (b, a)), gap)
    losses = np.array([loss for *_, loss in kept["test"]])
    sure = np.array([-doubt.of_mask(s, chosen.scaling) for _, _, s, _ in kept["test"]])
    sent = referral(sure, losses, SHARE)
    assert sent is not None
    cut = None if sent.after is None else 1 - sent.after / sent.before
    row |= {"error": sent.before, "error after referral": sent.after, "at random": sent.random, "cut": cut}
    said = promised.summary(predictor.calibration)
    return row | {f"{what}: {k}": v for part in said.values() for what, one in part.items() for k, v in one.items()}


def of_images(name: str, folder: Path) -> dict[str, Any]:
    """Everything about one reconstruction."""
    run = Run(folder)
    predictor = Trusted(run)
    known = predictor.calibration
    assert known is not None and known.foreseen is not None, f"{folder} expects no quality: see its calibration.json"
    metric, promised = known.foreseen.metric, Promises(predictor.task, known)
    kept: dict[str, list[tuple[float, float, str]]] = {"val": [], "test": []}
    for case, part in look(source(name), run.plan.task, run.plan.split_seed).units(run.plan):
        if part in kept:
            opinion = predictor.opinion(case)
            result = predictor.weighed(opinion, case, known)
            judged = predictor.task.judge(result, case)
            value = headline_value(judged.values[metric])
            if part == "test":
                promised.judged([judged], {case.id: result})
            if value is not None and "doubt" in result.meta:
                kept[part].append((foreseen.psnr(result.meta["doubt"]), value, case.group))
    told, reached = np.array([row[:2] for row in kept["test"]]).T
    groups, usual = [row[2] for row in kept["test"]], float(np.median([row[1] for row in kept["val"]]))
    row: dict[str, Any] = {
        "data": name,
        "validation": len(kept["val"]),
        "test": len(told),
        "patients": len(set(groups)),
    }
    row |= {f"{metric} reached": float(reached.mean()), f"{metric} expected": float(told.mean())}
    rank = interval_of_set([r[:2] for r in kept["test"]], groups, _rank, 1000)
    row |= {"rank correlation": rank.mean, "rank low": rank.low, "rank high": rank.high}
    gap = paired(np.abs(told - reached).tolist(), np.abs(usual - reached).tolist(), groups)
    row |= {"off by": float(np.abs(told - reached).mean()), "the median off by": float(np.abs(usual - reached).mean())}
    row |= {"off by, difference": gap.difference, "difference low": gap.low, "difference high": gap.high}
    said = promised.summary(known)
    return row | {f"{what}: {k}": v for part in said.values() for what, one in part.items() for k, v in one.items()}


def _rank(pairs: list[Any]) -> float | None:
    """Spearman's correlation of what was expected with what was reached."""
    from scipy.stats import spearmanr

    told, reached = np.array(pairs).T
    if len(set(told)) < 2 or len(set(reached)) < 2:
        return None
    return float(spearmanr(told, reached).statistic)


KINDS = {"segment": of_masks, "reconstruct": of_images}


def main() -> None:
    """Measure the runs that are named, and write results/trust_figures.md and .json."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("runs", nargs="*", help="NAME=RUN[,RUN...]; none: the page is written again")
    words.add_argument("--smoke", action="store_true", help="write to the cache")
    asked = words.parse_args()
    folder, rows = BENCHMARKS / ("cache/smoke" if asked.smoke else "results"), Rows()
    for name, place in (pair.split("=", 1) for pair in asked.runs):
        first, *others = map(Path, place.split(","))
        plan = Run(first).plan
        # of masks and pictures one run is looked at
        others = others if plan.task == "classify" else []
        if others:
            # before minutes are spent on the first
            ensemble.check(Run(first), [Run(one) for one in others])
        told = conditions([Run(one) for one in (first, *others)])
        with machine.Watch() as watch:
            row = of_classes(name, first, others) if plan.task == "classify" else KINDS[plan.task](name, first)
        row |= {"minutes": plan.minutes, "steps": plan.steps, "seed": plan.seed, "revision": REVISION}
        rows.append(row | {"measured": told | {"machine": watch.facts}})
        print(json.dumps(rows[-1], indent=1), flush=True)
        # what is measured stays, also where the next one is cut off
        write(rows, folder)
    if not rows:
        write(rows, folder)


def conditions(runs: Sequence[Run]) -> dict[str, Any]:
    """Of one row: commit, hardware, versions and date, and the runs by their hashes and by what trained them."""
    trained = [next((e for e in reversed(run.ledger()) if e["event"] == "train"), None) for run in runs]
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": machine.commit(), "hardware": machine.hardware(),
        "versions": machine.versions(), "runs": [run.hashes() for run in runs],
        "trained": [f"{e['when'][:10]}, torch {e['versions']['torch']}" if e else "elsewhere" for e in trained],
    }  # fmt: skip


def write(rows: Rows, folder: Path) -> None:
    """The table, one block of lines for each data set; those of before that were not measured now stay as they are."""
    kept = {row["data"]: row for row in known(folder / "trust_figures.json")} | {row["data"]: row for row in rows}
    about = " ".join((__doc__ or "").split("\n\n")[2].split())
    lines = [f"# What doubt is worth, {max(row['measured']['date'] for row in kept.values())}", "", about, ""]
    for row in kept.values():
        lines += [f"## {row['data']}", "", "| what | value |", "| --- | --- |"]
        shown = {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items() if k not in ("data", "measured")}
        lines += [*[f"| {k} | {v} |" for k, v in shown.items()], ""]
        lines += [word for sentence in targets(row) for word in (sentence, "")] + [_measured(row["measured"]), ""]
    lines += [
        "Command: `benchmarks/trust/figures.py NAME=RUN[,RUN...] ...`, of runs trained as in"
        " `benchmarks/training/figures.py`. Hashes of the runs: trust_figures.json.",
        "",
    ]
    write_text(folder / "trust_figures.md", "\n".join(lines))
    write_json(folder / "trust_figures.json", {"rows": list(kept.values())})


def targets(row: dict[str, Any]) -> list[str]:
    """Which targets are met, in sentences; none of reconstructions, for which none was set.

    First by the answer as it is, which a user gets unless another one was asked for; then by several views or networks.
    """
    said = _judged(row, "", "doubt: cut" if "doubt: cut" in row else "cut")
    if "coverage" in row:
        inside = row["band low"] <= row["coverage"] <= row["band high"]
        told = f"Coverage {row['coverage']:.3f}, inside of {row['band low']:.3f} to {row['band high']:.3f}"
        said[1:1] = [f"{told}: {_met(inside)}.", *_mean(row)]
        said.insert(0, f"Test cases {row['test']}, {LEAST} asked: {_met(row['test'] >= LEAST)}.")
    said += older(row)
    ways = [key.removesuffix(", nll difference") for key in row if key.endswith(", nll difference")]
    return said + [f"Mean of {way}. {' '.join(_judged(row, f'{way}, ', f'doubt, mean of {way}: cut'))}" for way in ways]


def _mean(row: dict[str, Any]) -> list[str]:
    """Whether the mean of the re-splits is as promised: the band is of one of them, and wide."""
    if "calibration patients" not in row:
        return []
    low, high = 1 - ERROR, 1 - ERROR + 1 / (row["calibration patients"] + 1)
    near = low - CLOSE <= row["coverage"] <= high + CLOSE
    told = f"As the mean of {SPLITS} re-splits, inside of {low:.3f} to {high:.3f}, give or take {CLOSE:g}"
    return [f"{told}: {_met(near)}."]


def older(row: dict[str, Any]) -> list[str]:
    """Why a row is of an older program, in a sentence; nothing of one of this."""
    # "delivered coverage" is told since classes are measured as now
    revision = row.get("revision", 1 if "delivered coverage" in row else 0)
    if revision == REVISION:
        return []
    if not revision and ("coverage" in row or "error after referral" in row):
        return [OLDER if "coverage" in row else OLDER_MASKS]
    return [f"Measured by revision {revision} of this program, which is {REVISION} now."]


def _judged(row: dict[str, Any], before: str, cut: str) -> list[str]:
    """Of one way to answer. before: of its keys. cut: the key of its referral."""
    said = []
    if f"{before}nll high" in row:
        ends = {n: row[f"{before}{n} high"] for n in ("nll", "brier")}
        told = ", ".join(f"{n} {end:+.4f} at most" for n, end in ends.items())
        said.append(f"NLL and Brier score below those before: {told}: {_met(all(e < 0 for e in ends.values()))}.")
    if row.get(cut) is not None:
        told = f"Sending the least certain fifth cuts the error by {row[cut]:.3f}, 1/3 asked"
        said.append(f"{told}: {_met(3 * row[cut] >= 1)}.")
        own = cut.replace("doubt", "raw maximum")
        # of masks there is none
        if own != cut and row.get(own) is not None:
            said.append(f"By the raw highest probability by {row[own]:.3f}, more asked: {_met(row[cut] > row[own])}.")
        elif own != cut and "raw maximum: cut" in row:
            # rows of before it was measured of every answer
            said.append("By the raw highest probability of this answer: not measured.")
    return said


def _met(yes: bool) -> str:
    return "met" if yes else "not met"


def known(path: Path) -> Rows:
    """The rows of before."""
    rows: Rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return rows


def _measured(facts: dict[str, Any]) -> str:
    """The sentence below a block."""
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    busy = facts.get("machine", {}).get("others")
    load = f"; others used {busy:g} processors" if busy is not None else ""
    trained = f"; trained {' and '.join(facts['trained'])}" if facts.get("trained") else ""
    note = f"; {facts['note']}" if "note" in facts else ""
    place = facts["hardware"]["processors"]
    return f"Measured {facts['date']} at commit {facts['commit']} on {place}{load}{trained}; {versions}{note}."


if __name__ == "__main__":
    main()
