"""results/predict.md and predict.json from the finished scenes, and their pictures."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "training"))
import drawn
from scenes import RECIPE, SCENES, SMOKE
from tables import _lines

from hilum.core.atomic import write_json, write_text

Row = dict[str, Any]
ROWS = {"i": "As users run them", "ii": "Same runtime, precision and windows", "iii": "What else was tried"}
RATES = {"cases a minute": 60.0, "images a second": 1.0}
FASTER, SMALLER, ENGINE, FLAT = 3.0, 5.0, 1.3, 1.15
# Targets: times as fast and as small as the faster peer in rows i, as fast in rows ii, memory of 120 beside 2 classes.
SAME, SAME_EIGHT, NEAR = 99.9, 99.5, 0.002
# Targets: equal labels in percent, in eight bits too, and how far their Dice may be from that in float32.
CLOSE = 0.2
# Target: how far memory and time may be from what was foretold, as a share of what they were.
ROUGH = ("bf16", "int8")
# Of the name of a runtime that computes less exactly than in float32.


def write(results: Path, smoke: bool) -> None:
    """Both files, of the cells whose key is still that of scenes.py."""
    scenes = SMOKE if smoke else SCENES
    paths = {s.name: results / "predict_cells" / f"{s.file}.json" for s in scenes}
    found = {name: json.loads(path.read_text(encoding="utf-8")) for name, path in paths.items() if path.is_file()}
    date = f"{datetime.now(UTC):%Y-%m-%d}"
    lines = [f"# Whole volumes, {date}" + " (SMOKE TEST: says nothing)" * smoke, "", *ABOUT, ""]
    for name, cell in found.items():
        if cell["group"] == "figures":
            lines += scene(name, cell, results)
    lines += growth([c for c in found.values() if c["group"] == "volume"], "volume", results)
    lines += growth([c for c in found.values() if c["group"] == "classes"], "classes", results)
    for name, cell in found.items():
        if cell["group"] == "control":
            rows = _lines([line(n, s, cell) for n, s in cell["systems"].items()])
            said = [*unlike(cell), *by_weights(cell)]
            lines += [f"## Control: {name}", "", *CONTROL, "", *rows, "", *said, *conditions(cell), ""]
    waiting = [name for name in paths if name not in found]
    lines += [f"Not measured yet: {'; '.join(waiting)}.", ""] if waiting else []
    lines += ["## What MONAI publishes", "", *PUBLISHED, "", *_lines(MONAI_SAYS), ""]
    lines += ["Command: `benchmarks/predict/figures.py" + " --smoke`." * smoke + "`." * (not smoke), ""]
    write_text(results / "predict.md", "\n".join(lines))
    write_json(results / "predict.json", {"recipe": RECIPE, "written": date, "scenes": found})


def scene(name: str, cell: Row, results: Path) -> list[str]:
    """Tables of one scene."""
    systems = cell["systems"]
    lines = [f"## {name}", "", *_about(cell), ""]
    for row, title in ROWS.items():
        own = {n: s for n, s in systems.items() if s["row"] == row}
        if own:
            lines += [f"### {title}", "", *_lines([line(n, s, cell) for n, s in own.items()]), ""]
    lines += ["### The fastest of the rows above, in float32", "", *best(cell), ""]
    lines += [*verdicts(cell), "", *alike(cell), *eight(cell)]
    lines += parts(name, cell, results)
    return [*lines, *conditions(cell), ""]


def _about(cell: Row) -> list[str]:
    """What is predicted, and with what."""
    grid, more = cell["floor"]["images"][0], cell["classes"] - cell["trained classes"]
    size = " x ".join(map(str, cell["shape"])) if cell["shape"] else f"{cell['images']} images"
    told = f"{size}; on the network's grid {' x '.join(map(str, grid['shape']))}"
    told += " (the first)" * (cell["images"] > 1)
    told += f". Trained: {cell['trained']}."
    if more:
        told += f" The head is {'padded' if more > 0 else 'cut'} from {cell['trained classes']} to {cell['classes']}"
        told += " classes and background: cost only; the added classes never win."
    return [told]


def worked(system: Row) -> bool:
    """Whether it gave a result."""
    return "stopped" not in system and "absent" not in system


def line(name: str, system: Row, cell: Row) -> Row:
    """One system's line."""
    busy = [run["machine"] for run in system["runs"]]
    made: Row = {"system": name, "seconds": f"{system['seconds']:.1f}"}
    spread = sorted(run["seconds"] for run in system["runs"])
    made["of rounds"] = ", ".join(f"{s:.1f}" for s in spread)
    if not worked(system):
        made["seconds"] = f"{system.get('stopped') or system['absent']}"
    if cell["unit"]:
        rate = RATES[cell["unit"]] * cell["images"] / max(system["seconds"], 1e-9)
        made[cell["unit"]] = f"{rate:.2f}" if worked(system) else None
    made["peak MB"] = None if "absent" in system else f"{system['peak'] / 2**20:.0f}"
    if "stopped" in system:
        made["peak MB"] += " when ended"
    told = system["runs"][0].get("told") or {}
    if told.get("bytes", {}).get("predicted"):
        made["predicted MB"] = f"{told['bytes']['predicted'] / 2**20:.0f}"
        made["predicted / peak"] = f"{told['bytes']['predicted'] / system['peak']:.2f}"
    made |= foretold(told) if cell["images"] == 1 else {}
    # of what else was tried no two are of one runtime and one overlap
    if system["side"] == "hilum" and system["row"] != "iii" and worked(system) and (peer := rival(system, cell)):
        made["times as fast"] = f"{peer['seconds'] / system['seconds']:.2f}"
        made["share of memory"] = f"{system['peak'] / peer['peak']:.2f}"
    same = system.get("agreement")
    if same:
        made["equal labels %"] = f"{100 * same['equal']:.3f}"
        made["Dice between"] = None if same["dice"] is None else f"{same['dice']:.4f}"
        if "truth_dice_mine" in same:
            made["Dice to truth - reference's"] = f"{same['truth_dice_mine'] - same['truth_dice_reference']:+.4f}"
    made["others"] = f"{max(b['others'] for b in busy):g}"
    return made | {"load": f"{min(b['load_start'] for b in busy):g} to {max(b['load_most'] for b in busy):g}"}


def foretold(told: Row) -> Row:
    """Seconds as predicted once the image was read, and their ratio to what the same stages took; {} where none were.

    Of one image: of several the record keeps what was told of the first.
    """
    wanted, spent = told.get("predicted_seconds") or {}, told.get("seconds") or {}
    took = sum(float(spent.get(stage, 0.0)) for stage in wanted)
    if not took:
        return {}
    seconds = sum(float(value) for value in wanted.values())
    return {"predicted s": f"{seconds:.1f}", "predicted / spent": f"{seconds / took:.2f}"}


def rival(system: Row, cell: Row) -> Row | None:
    """The faster peer that worked, in the same row and, in rows ii, with the same runtime."""
    peers = [s for s in cell["systems"].values() if s["side"] != "hilum" and s["row"] == system["row"] and worked(s)]
    if system["row"] == "ii":
        peers = [s for s in peers if s["runtime"] == system["runtime"]]
    return min(peers, key=lambda s: s["seconds"], default=None)


def bests(cell: Row) -> dict[str, tuple[str, Row]]:
    """{side: (name, system)}, the fastest of all rows that compute in float32: what is less exact may be no answer."""
    found: dict[str, tuple[str, Row]] = {}
    for name, system in cell["systems"].items():
        side = system["side"]
        if not worked(system) or any(word in system["runtime"] for word in ROUGH):
            continue
        if side not in found or system["seconds"] < found[side][1]["seconds"]:
            found[side] = (name, system)
    return found


def best(cell: Row) -> list[str]:
    """The fastest of each side."""
    found = bests(cell)
    rows = [{"side": side, **line(name, system, cell)} for side, (name, system) in found.items()]
    # beside each other, whichever row they came from
    mine = found.get("hilum")
    for row, (_, system) in zip(rows, found.values(), strict=True):
        row |= {"times as fast": None, "share of memory": None}
        if mine and system["side"] != "hilum":
            row["times as fast"] = f"hilum {system['seconds'] / mine[1]['seconds']:.2f}"
            row["share of memory"] = f"hilum {mine[1]['peak'] / system['peak']:.2f}"
    return _lines(rows)


def verdicts(cell: Row) -> list[str]:
    """Which targets are met, in sentences."""
    said = []
    for name, system in cell["systems"].items():
        if system["side"] != "hilum" or system["row"] == "iii" or not worked(system):
            continue
        said += kept(name, system, cell)
        peer = rival(system, cell)
        if peer is None:
            said.append(f"{name}: no peer gave a result to compare with.")
            continue
        fast, small = peer["seconds"] / system["seconds"], peer["peak"] / system["peak"]
        if system["row"] == "i":
            told = f"{fast:.2f} times as fast (target {FASTER:g}: {_met(fast >= FASTER)})"
            said.append(f"Rows i, {name}: {told} and 1/{small:.2f}")
            said[-1] += f" of the peak memory of the faster peer (target 1/{SMALLER:g}: {_met(small >= SMALLER)})."
            floor = floors(cell)["float32"]
            most = peer["seconds"] / floor
            if most < FASTER:
                said[-1] += f" The products alone take {floor:.1f} s in float32 here, by the fastest that was tried "
                said[-1] += f"(the floor, below): what computes every window by it is at most {most:.2f} times as fast."
        else:
            told = f"{fast:.2f} times as fast (target {ENGINE:g}: {_met(fast >= ENGINE)})"
            said.append(f"Rows ii, {system['runtime']}: {told}.")
    return [word for sentence in said for word in (sentence, "")][:-1]


def kept(name: str, system: Row, cell: Row) -> list[str]:
    """Whether memory and time are within CLOSE of what was foretold, as a sentence; none where nothing was."""
    told = system["runs"][0].get("told") or {}
    ratios = {}
    if told.get("bytes", {}).get("predicted"):
        ratios["memory"] = told["bytes"]["predicted"] / system["peak"]
    if cell["images"] == 1 and (time := foretold(told)):
        ratios["time"] = float(time["predicted / spent"])
    said = ", ".join(f"{what} {ratio:.2f} ({_met(abs(ratio - 1) <= CLOSE)})" for what, ratio in ratios.items())
    return [f"Predicted / measured, {name}, target {1 - CLOSE:g} to {1 + CLOSE:g}: {said}."] if said else []


def alike(cell: Row) -> list[str]:
    """Whether Hilum's labels are those of its reference, by precision, as sentences."""
    own = {n: s for n, s in cell["systems"].items() if s["side"] == "hilum" and worked(s) and s.get("agreement")}
    said = []
    ways = (("Labels", SAME, ""), ("Labels in bfloat16", SAME, "-bf16"), ("Labels in eight bits", SAME_EIGHT, "-int8"))
    for title, wanted, end in ways:
        precision = {n: next((e for e in ("-bf16", "-int8") if s["runtime"].endswith(e)), "") for n, s in own.items()}
        shares = {n: 100 * s["agreement"]["equal"] for n, s in own.items() if precision[n] == end}
        if shares:
            name = min(shares, key=lambda n: shares[n])
            told = f"{title}: at least {shares[name]:.3f} % equal ({name}; target {wanted:g}"
            said += [f"{told}: {_met(shares[name] >= wanted)}).", ""]
    return said


def eight(cell: Row) -> list[str]:
    """What eight bits cost on the validation part, as `hilum quantise` measured it."""
    found = cell.get("quantised")
    if not found:
        return []
    if "refused" in found:
        return [f"Eight bits: {found['refused']}", ""]
    told = f"Eight bits on {found['cases']} validation cases: {100 * found['same']:.3f} % of voxels keep their class"
    if found.get("difference") is not None:
        told += f"; {found['headline']} {found['full']:.4f} becomes {found['eight']:.4f} ({found['difference']:+.4f}; "
        told += f"within {NEAR:g}: {_met(abs(found['difference']) <= NEAR)})"
    return [f"{told}.", ""]


def _met(yes: bool) -> str:
    return "met" if yes else "not met"


def parts(name: str, cell: Row, results: Path) -> list[str]:
    """Where the time goes, as a table and a picture, and the distance to the floor."""
    rows = []
    for system, facts in cell["systems"].items():
        seconds = spent(facts)
        if seconds:
            rows.append({"system": system} | {part: f"{value:.2f}" for part, value in seconds.items()})
    lines = ["### Where the time goes", ""]
    if rows:
        told = {r["system"]: {p: float(v) for p, v in r.items() if p != "system"} for r in rows}
        word = "_".join(name.replace(".", "").replace(",", "").split())
        picture = drawn.parts(told, results / f"predict_time_{word}.svg")
        lines += [f"![Seconds of each part]({picture})", "", *_lines(rows), ""]
    return [*lines, *distance(cell), ""]


def spent(system: Row) -> dict[str, float]:
    """Seconds of each part as the system itself told in its middle round; "rest" is what its process spent beside."""
    runs = sorted(system["runs"], key=lambda run: float(run["seconds"]))
    middle: Row = runs[(len(runs) - 1) // 2]
    told = middle.get("told") or {}
    seconds = told.get("seconds") if system["side"] == "hilum" else None
    if system["side"] == "monai" and told:
        names = ("read and prepare", "network", "merge", "back and write")
        seconds = {n: told[n] for n in names}
    elif system["side"] == "nnunetv2" and told:
        seconds = {"network": told["network"]}
    if not seconds:
        return {}
    found = {part: float(value) for part, value in seconds.items()}
    return found | {"rest": max(0.0, middle["seconds"] - sum(found.values()))}


def floors(cell: Row) -> dict[str, float]:
    """Seconds of the products alone, by precision."""
    flops, peaks = sum(g["flops"] for g in cell["floor"]["images"]), cell["floor"]["peaks"]
    return {kind: flops / peaks[kind]["most"] for kind in ("float32", "bfloat16") if kind in peaks}


def distance(cell: Row) -> list[str]:
    """The floor, and how far each of Hilum's systems is above it."""
    flops, peaks = sum(g["flops"] for g in cell["floor"]["images"]), cell["floor"]["peaks"]
    windows, least = sum(g["windows"] for g in cell["floor"]["images"]), floors(cell)
    lines = [
        f"Floor: {windows} windows, {flops / 1e12:.2f} TFLOP (a multiply and an add are two; no window skipped); the "
        + ", ".join(
            f"fastest product in {k} made {peaks[k]['most'] / 1e9:.0f} GFLOP/s: {s:.1f} s" for k, s in least.items()
        )
        + ".",
        "",
    ]
    rows = []
    for name, system in cell["systems"].items():
        if worked(system):
            kind = "bfloat16" if "bf16" in system["runtime"] and "bfloat16" in least else "float32"
            network = spent(system).get("network")
            row = {"system": name, "floor s": f"{least[kind]:.1f}"}
            row["all / floor"] = f"{system['seconds'] / least[kind]:.2f}"
            rows.append(row | {"network / floor": None if not network else f"{network / least[kind]:.2f}"})
    return [*lines, *_lines(rows), "", "Below 1: windows were skipped, or 8-bit products are faster than the floor's."]


def growth(cells: list[Row], what: str, results: Path) -> list[str]:
    """How seconds and memory grow with the volume or the classes."""
    if not cells:
        return []
    lines = [f"## Cost as the {'volume' if what == 'volume' else 'number of classes'} grows", ""]
    rows, points = [], dict[str, list[tuple[float, float, float]]]()
    for cell in cells:
        grid = cell["floor"]["images"][0]["shape"]
        voxels = grid[0] * grid[1] * grid[2]
        at = voxels / 1e6 if what == "volume" else cell["classes"]
        for name, system in cell["systems"].items():
            row = {"classes": cell["classes"], "shape": " x ".join(map(str, cell["shape"])), "system": name}
            row |= {"seconds": f"{system['seconds']:.1f}" if worked(system) else system.get("stopped", "absent")}
            told = system["runs"][0].get("told") or {}
            rows.append(row | {"peak MB": f"{system['peak'] / 2**20:.0f}"} | foretold(told))
            if worked(system):
                points.setdefault(name, []).append((at, system["seconds"], system["peak"] / 2**20))
    label = "million voxels on the network's grid" if what == "volume" else "classes"
    picture = drawn.growth(points, label, results / f"predict_{what}.svg")
    lines += [f"![Seconds and memory]({picture})", "", *_lines(rows), "", ONCE, ""]
    mine = sorted((c["classes"], c["systems"]["hilum"]["peak"]) for c in cells if worked(c["systems"]["hilum"]))
    if what == "classes" and len(mine) > 1:
        ratio = mine[-1][1] / mine[0][1]
        lines += [
            f"Hilum's peak memory with {mine[-1][0]} classes is {ratio:.2f} times that with {mine[0][0]} (target "
            f"{FLAT:g}: {_met(ratio <= FLAT)}).", "",
        ]  # fmt: skip
    return [*lines, *conditions(cells[0]), ""]


def unlike(cell: Row) -> list[str]:
    """Whether peers that do not resample give Hilum's labels, as a sentence."""
    peers = {n: s for n, s in cell["systems"].items() if s["side"] != "hilum" and worked(s) and s.get("agreement")}
    shares = {name: 100 * system["agreement"]["equal"] for name, system in peers.items()}
    told = "; ".join(f"{name} {share:.3f} % ({_met(share >= SAME)})" for name, share in shares.items())
    return [f"Labels equal to Hilum's where nothing is resampled, target {SAME:g}: {told}.", ""] if told else []


def by_weights(cell: Row) -> list[str]:
    """Whether labels are equal once the weights are, as `control.py` measured it, and so why peers' are others."""
    shares = cell.get("by their weights") or {}
    if not shares:
        return []
    told = "; ".join(f"{name} {100 * share:.4f} %" for name, share in shares.items())
    only = all(100 * share >= SAME for share in shares.values())
    cause = "within the target these weights are all that differs" if only else "more than these weights differs"
    return [f"Equal to each side's labels in a plain loop with its weights (`control.py`): {told}: {cause}.", ""]


def conditions(cell: Row) -> list[str]:
    """Versions, settings, commit, hardware."""
    words = [f"Commit {cell['commit']}; {cell['hardware']['processors']} ({', '.join(cell['hardware']['flags'])})"]
    words += [f"Hilum beside {', '.join(f'{k} {v}' for k, v in cell['versions'].items())}"]
    for peer, facts in cell["peers"].items():
        versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
        off = f"outputs differ by {facts['difference']:.1e} of the largest"
        words.append(f"{peer}: {facts['network']} with the same weights ({off}); {versions}")
    settings = {json.dumps(s["settings"]): n for n, s in cell["systems"].items() if s["settings"]}
    told = "; ".join(f"{name}: {text}" for text, name in settings.items())
    return [f"{'. '.join(words)}. Settings: {told}. Measured {cell['date'][:10]}."]


ABOUT = [
    "Research software. Not a medical device. Not for diagnosis, triage or treatment.",
    "",
    "Every prediction is a process of its own, measured from its start to its end: Python, reading, writing included.",
    "Median of the rounds, in which the systems take turns. Memory: what the process and all that it starts hold",
    "together, sampled, and of Hilum never less than it counts itself. Over 20 GB, or refused by the system, is `out",
    "of memory`. All have the same trained weights, and peers are checked to compute the same network. `equal labels`:",
    "beside `hilum --runtime torch` (float32). Peers resample otherwise: Hilum smooths before it shrinks, MONAI does",
    "not, nnU-Net takes cubic splines, and these images are noisy. Windows lie and weigh otherwise too: what the",
    "weights alone do, where nothing is resampled, the control below says. `others`: processors that other programs",
    "used on average; a row is only quiet where it is near 0. `predicted`: what Hilum told in the first round once the",
    "image was read, beside the peak, and beside the seconds of the same stages; cells of before b4bf482 foretell the",
    "network alone.",
    "",
    "MONAI: the transforms of its whole-body CT bundle (windows overlap by a quarter, argmax, back by nearest) with",
    "this network's normalisation; masks are saved as uint8, where the bundle saves float32. `scores inverted`: all",
    "scores back to the image's grid before the argmax, as in its tutorials. nnU-Net: `nnUNetv2_predict` with its",
    "defaults but for mirrored views, on which this network was not trained. In rows ii windows overlap as Hilum's do.",
    "In rows i Hilum is called without options: in the first round it tries runtimes, later it knows the fastest.",
    "Hilum's rows i of a run as it was trained include what it says of its own answers; all other rows are without.",
    "",
    "The body CT is one of 3 mm, mirrored along the body, with air around, resampled to the size that MONAI publishes",
    "times for; its network has seen the labelled slices of that body alone. All this is about cost, not accuracy.",
]
CONTROL = [
    "The same body on the network's own grid, so that no side resamples, and of a size at which windows that overlap",
    "by a quarter lie alike (elsewhere MONAI's go on from the edge, Hilum's and nnU-Net's are spread evenly). What is",
    "left are the weights of a window's voxels: MONAI raises those below 0.001 of the highest, nnU-Net's lie half a",
    "voxel aside. This network, trained for 20 minutes on a few slices, hangs on that more than a good one would.",
]
ONCE = (
    "One round each, and Hilum's with the trying of runtimes in it: seconds scatter, memory is what this table is for."
)
PUBLISHED = [
    "Of its bundle wholeBody_ct_segmentation (SegResNet, 104 classes) on another machine with a processor that is not",
    "named, for 512 x 512 x 397 voxels, without the way back to the image's grid: beside these tables, not compared.",
]
MONAI_SAYS: list[Row] = [
    {"mm": "3.0", "seconds": "6.6", "of the network": "3.7", "GB": "2.3"},
    {"mm": "1.5", "seconds": "38.3", "of the network": "30.3", "GB": "26"},
]
