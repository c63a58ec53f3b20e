"""Where networks stand in table B: Dice with intervals, differences to the best, pairs that papers speak of."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
from cells import Row
from tables import _lines
from widths import words

from hilum.evaluation import _intervals, areas, comparison
from hilum.evaluation.multiple import holm
from hilum.evaluation.seeds import paired_of_seeds

FLIPS = 2000
# Sign flips of a paired comparison, all of them where they are no more.
PAIRS = (
    ("unetpp", "unet"), ("attention_unet", "unet"), ("attention_unet", "unet, batch norm"),
    ("attention_unet", "attention_unet, no gates"),
    ("unet3plus", "unet3plus, one head"), ("swin_unet", "transunet"), ("da_transunet", "transunet"),
    ("cunet", "swin_unet"), ("cunet", "transunet"), ("transunet3d", "nnunet"),
    ("nnunet, residual encoder", "nnunet"),
)  # fmt: skip
# Claims of papers, the better one first; docs/explanation/segmentation-claims.md says where they stand.

ABOUT = [
    "Each network with widths that give it about 2 million parameters, trained from random weights with equal steps,",
    "batch, patch, loss (cross-entropy + Dice; the queries of transunet3d learn by matching, as in its paper),",
    "optimiser (AdamW) and augmentation, then judged once on the test part.",
    "One learning rate for all, tuned for none: a network may do better with its own, with more steps, at its own size",
    "or from weights of other images. Masks are as the network finds them: `benchmarks/zoo/one.py` trains as",
    "`hilum train` does, but learns nothing about the answers afterwards, so of no class only the largest piece is",
    "kept, which `hilum train` does where the validation part says so.",
    "",
    "Best first. Differences are to the best on the same cases, with 95 % intervals over groups (and seeds, where",
    "there are several) and p by sign flips of groups; `p Holm` is adjusted for the comparisons with the best.",
    "Supported: p Holm is at most 0.05 and the interval leaves out zero. The best was found on the same cases, which",
    "`p Holm` does not count: were all networks equal, more than one table of twenty would call one worse than the",
    "best. `hilum compare` counts all pairs instead, which so many networks could not pass on ten groups, whatever",
    "they find. Pairs that papers speak of are free of it: they were named before.",
    "Cells of processors and of a card may stand beside each other, both in float32: hardware is in the list of cells,",
    "and `MB on card`, the most that tensors of a training held there. A cell is kept while the network's code is what",
    "it was; the program that trains went on: since 532ff77 `motion`, by which MR images are varied at times, shows",
    "both of its movements, and since 60c5a56 Adam rounds otherwise. Cells of later commits beside those of 05830b5",
    "and before compare two programs.",
]
RUN = "python benchmarks/zoo/one.py train"
# What trains a cell. Older cells name `hilum train`; they were trained by this too.


def section(
    table: Any,
    budget: Row | None,
    wanted: list[Any],
    found: list[Row],
    lacking: dict[str, str],
    told: str | None = None,
) -> tuple[list[str], Row]:
    """Lines and data of one table. wanted: all its cells; found: those that are there. lacking: {network: package}.

    told: the conditions in a sentence, where they are not those of the budget.
    """
    if budget is None:
        return ["Not run yet: its steps are not measured."], {}
    lines = [told or _conditions(table, budget), ""]
    done = {form: [c for c in found if c["form"] == form] for form in dict.fromkeys(c.form.label for c in wanted)}
    broken = {form: f"seed {c['seed']}: {c['failed']}" for form, own in done.items() for c in own if c["failed"]}
    able = {form: {c["seed"]: c for c in own} for form, own in done.items() if own and form not in broken}
    seeds = sorted(set.intersection(*(set(own) for own in able.values()))) if able else []
    content: Row = {"steps": budget["steps"], "seeds": seeds, "failed": broken, "budget": budget}
    if seeds:
        kept = {form: [comparison.Cell(**own[s]["cell"]) for s in seeds] for form, own in able.items()}
        content |= comparison.compared([cell for own in kept.values() for cell in own], every_pair=False)
        content["pairs"] = _pairs(kept)
        lines += _standing(content, able, kept)
    apart = _apart(budget, broken, done, lacking)
    lines += [*(f"- {form} {why}" for form, why in apart.items()), ""] if apart else []
    waiting = [form for form, own in done.items() if not own]
    lines += [f"Not run yet: {'; '.join(waiting)}.", ""] if waiting else []
    options = _options(wanted, table)
    lines += ["Options found for the size (as `--net` takes them):", "", *_lines(options), ""]
    if found:
        command = found[0]["command"].replace("hilum train", RUN, 1)
        lines += ["Every cell:", "", *_lines([_cell(c) for c in found]), "", f"First command: `{command}`"]
    return lines, content | {"options": options}


def _apart(budget: Row, broken: dict[str, str], done: Mapping[str, Any], lacking: dict[str, str]) -> dict[str, str]:
    """Why networks are not in the table. broken: those that found nothing; done: forms with cells."""
    slow = {form: seconds for form, seconds in budget["slow"].items() if form not in done}
    return (
        {form: f"did not learn ({why})" for form, why in broken.items()}
        | {form: f"is not in the table ({why})" for form, why in budget["refused"].items()}
        | {
            form: f"is not run: {seconds:.1f} s a step there, so {budget['fewest']} do not fit the minutes; it waits "
            "for a faster machine or a card (`--slow`)"
            for form, seconds in slow.items()
        }
        | {form: f"needs the package {package}" for form, package in lacking.items()}
    )


def _conditions(table: Any, budget: Row) -> str:
    """Data, size and steps in a sentence."""
    patch, busy = " x ".join(map(str, table.shape.patch)), budget["machine"]
    told = f"Patch {patch}, batch {table.batch}, {budget['steps']} steps. Steps: what {100 * budget['share']:.0f} % of "
    told += f"{budget['minutes']:g} minutes hold of the slowest network ({budget['slowest']}, "
    told += f"{budget['seconds'][budget['slowest']]:.2f} s a step, measured on {budget['hardware']['processors']}, "
    told += f"others used {busy['others']:g} processors)."
    if table.test is not None:
        told += f" {100 * table.test:.0f} % of the cases are judged, not the usual fifth, which is too few groups for a"
        told += " difference to be supported. Patients are unknown: groups are by similarity of the images."
    else:
        told += " The usual split; one case is one patient, as the origin says."
    return told


def _standing(content: Row, able: dict[str, dict[int, Row]], kept: dict[str, list[Any]]) -> list[str]:
    """The table, what it supports in sentences, and the pairs."""
    first = next(iter(kept.values()))[0]
    groups, rows = len(set(first.groups.values())), content["rows"]
    lines = [f"{len(first.values)} test cases in {groups} groups; seeds {', '.join(map(str, content['seeds']))}.", ""]
    lines += [*_lines([_row(r, content["headline"], able[r["net"]]) for r in rows]), "", supported(rows, groups), ""]
    # of compare's notes: how it adjusts is said above, of seeds there is a column
    passed = ("p is adjusted", "One seed", "Intervals resample", *(f"{form}: " for form in able))
    notes = [note for note in content["notes"] if not note.startswith(passed)]
    one = "One seed: intervals and p hold the doubt of the cases alone, not of another training."
    notes = [*notes, one] if len(content["seeds"]) == 1 else notes
    lines += [word for note in notes for word in (note, "")]
    if content["pairs"]:
        lines += [f"What papers say of each other, here ({len(content['pairs'])} comparisons, Holm among them):", ""]
        lines += [*_lines(content["pairs"]), ""]
    return lines


def supported(rows: list[Row], groups: int) -> str:
    """Which differences to the best are supported, and whether any could be."""
    best, others = rows[0]["net"], rows[1:]
    if not others:
        return f"{best} is alone in the table: there is nothing to compare."
    sure = [r["net"] for r in others if r["supported"]]
    if sure:
        said = f"Differences to {best}: {len(others)}, supported {len(sure)}: it beats {', '.join(sure)}."
        said += " From the other networks it can not be told apart here." if len(sure) < len(others) else ""
    else:
        said = f"No difference to {best} is supported: these cases and seeds can not tell the networks apart. That does"
        said += " not mean that they are equal."
    least = min(1.0, len(others) * (2 / 2**groups if 2**groups <= FLIPS else 1 / (FLIPS + 1)))
    said += f" With {groups} groups and {len(others)} comparisons, p after Holm is {least:.2g} at least"
    return said + (", so none could be." if least > areas.ALPHA else ".")


def _pairs(kept: dict[str, list[Any]]) -> list[Row]:
    """Differences of the pairs that are both there, the network that is said to be better minus the other."""
    there = [(a, b) for a, b in PAIRS if a in kept and b in kept]
    if not there:
        return []
    cases = list(next(iter(kept.values()))[0].values)
    groups = [next(iter(kept.values()))[0].groups[case] for case in cases]
    values = {form: [[c.values.get(case) for case in cases] for c in own] for form, own in kept.items()}
    headline = next(iter(next(iter(kept.values()))[0].metrics))
    found = [_intervals.apart(paired_of_seeds(values[a], values[b], groups), headline) for a, b in there]
    rows = []
    for (a, b), gap, p in zip(there, found, holm([f.p for f in found]), strict=True):
        sure = p is not None and areas.supported(p, gap.low, gap.high)
        verdict = "not supported"
        if sure:
            verdict = "supported" if (gap.difference or 0) > 0 else "the reverse is supported"
        verdict += " (one seed)" if len(kept[a]) == 1 else ""
        row = {"said to be better": a, "than": b, "difference": gap.difference, "low": gap.low, "high": gap.high}
        rows.append(row | {"p": gap.p, "p Holm": p, "here": verdict})
    return rows


def _row(row: Row, headline: str, own: dict[int, Row]) -> Row:
    """One network's line."""
    cell = next(iter(own.values()))
    # counted from the module; older cells of trainings counted the statistics of norms too
    made: Row = {"network": row["net"], "parameters": cell["parameters"]}
    made["GFLOPs a patch"] = None if cell["flops"] is None else f"{cell['flops'] / 1e9:.1f}"
    made |= {headline: row[headline], "low": row["low"], "high": row["high"]}
    seeds = (row.get("lowest seed"), row.get("highest seed"))
    made["of seeds"] = None if None in seeds else f"{seeds[0]:.4f}, {seeds[1]:.4f}"
    for name in ("difference", "difference low", "difference high", "p", "p holm"):
        made[name.replace("holm", "Holm")] = row.get(name)
    made["supported"] = None if "supported" not in row else "yes" if row["supported"] else "no"
    peak = row["peak bytes"]
    # of cells beside each other, or on another machine, they say nothing
    alone = all("at once" not in one and "card" not in one.get("hardware", {}) for one in own.values())
    made |= {"s training": row["seconds"] if alone else None, "s a case": row["seconds a case"] if alone else None}
    return made | {"peak MB": round(peak / 2**20) if alone and peak is not None else None}


def _options(wanted: list[Any], table: Any) -> list[Row]:
    """What the search gave each network."""
    forms = {c.form.label: c for c in wanted}
    return [
        {"network": form, "--net": f"`{words(c.form.net, c.found.options)}`", "parameters": c.found.parameters}
        for form, c in forms.items()
    ]


def _cell(cell: Row) -> Row:
    """How one cell went."""
    made: Row = {"network": cell["form"], "seed": cell["seed"]}
    busy = cell["machine"]
    if cell["failed"]:
        made |= {"dice": None}
    else:
        made |= {"dice": next(iter(cell["cell"]["metrics"].values()))["mean"]}
    made |= {"s in all": f"{busy['seconds']:.0f}", "others": f"{busy['others']:g}"}
    hardware = " and ".join(cell["hardware"][n] for n in ("processors", "card") if n in cell["hardware"])
    made |= {"at once": cell.get("at once", 1), "load": f"{busy['load_start']:g} to {busy['load_most']:g}"}
    held = (cell.get("timing") or {}).get("card_bytes")
    made |= {"MB on card": None if held is None else round(held / 2**20), "hardware": hardware}
    commit = cell["commit"] + " (taken over)" * ("taken over" in cell)
    return made | {"commit": commit, "torch": cell["versions"]["torch"], "date": cell["date"][:10]}
