"""Do the metrics keep their laws? Every law of metric_laws.py on generated cases.

    python benchmarks/trust/metric_properties.py        # 2,000 draws of each law; results/trust_metric_properties.*

A broken law is a fault of a metric. Where the definition of a metric promises nothing, it is counted how often an
answer that is worse scores better: what its reader should know.
"""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "training")]

import machine  # noqa: E402
from metric_laws import LAWS, Law, Value  # noqa: E402

from hilum.core import catalogue  # noqa: E402
from hilum.core.atomic import write_json, write_text  # noqa: E402

RESULTS = HERE.parents[1] / "results"
CASES, SEED = 2_000, 20
SLACK = 1e-9
# Relative; sums in another order differ in their last bits.


def gain(law: Law, metric: str, before: Value, after: Value) -> float | None:
    """By how much the law is broken, 0 or less where it is kept; None where there was nothing to compare."""
    if before is None:
        return None if law.kind == "worse" or after is None else np.inf
    if after is None:
        return np.inf  # left out of means: as good as hidden
    slack = SLACK * max(1.0, abs(before))
    if law.kind == "same":
        return abs(after - before) - slack
    sign = 1 if catalogue.card("hilum.metrics", metric)["better"] == "higher" else -1
    return sign * (after - before) - slack


def tried(count: int, seed: int = SEED, laws: tuple[Law, ...] = LAWS) -> list[dict[str, Any]]:
    """One row per law and metric: must (it has to keep the law), compared, broken, most (largest gain), first case."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for number in range(count):
        for place, law in enumerate(laws):
            rng = np.random.default_rng([seed, place, number])
            for metric, before, after in law.make(rng):
                name = law.make.__name__
                row = rows.setdefault(
                    (name, metric),
                    {"law": name, "metric": metric, "must": law.keep is None or metric in law.keep}
                    | {"compared": 0, "broken": 0, "most": 0.0, "first": None},
                )
                found = gain(law, metric, before, after)
                if found is None:
                    continue
                row["compared"] += 1
                if found > 0:
                    row["broken"] += 1
                    row["most"] = max(row["most"], float(found))
                    row["first"] = number if row["first"] is None else row["first"]
    return list(rows.values())


def table(columns: list[str], rows: list[list[Any]]) -> list[str]:
    """Lines of a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(map(str, line)) + " |" for line in lines]


def _line(row: dict[str, Any]) -> list[Any]:
    return [row["law"].replace("_", " "), f"`{row['metric']}`", row["compared"], row["broken"]]


def page(rows: list[dict[str, Any]], origin: dict[str, Any]) -> str:
    """The results in words and two tables."""
    must, free = ([r for r in rows if r["must"] is kind] for kind in (True, False))
    words = {law.make.__name__: " ".join((law.make.__doc__ or "").split()) for law in LAWS}
    broken = sum(r["broken"] for r in must)
    kept = [_line(r) for r in must]
    seen = [[*_line(r), f"{100 * r['broken'] / max(1, r['compared']):.2f}", f"{r['most']:.4g}"] for r in free]
    facts = origin["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in facts["versions"].items())
    return "\n".join(
        [
            f"# Metrics and their laws, {origin['date']}", "",
            f"{origin['cases']:,} draws of each of {len(LAWS)} laws, {origin['cases'] * len(LAWS):,} generated cases; "
            f"seed {origin['seed']}. Broken: {broken} of {sum(r['compared'] for r in must):,} comparisons.", "",
            "## Laws that must hold", "", *table(["law", "metric", "compared", "broken"], kept), "",
            "## Not promised by the definition, counted", "",
            "How often the worse answer scored better, and by how much at most (in the unit of the metric).", "",
            *table(["change", "metric", "compared", "better", "%", "largest gain"], seen), "",
            "## What is changed", "", *(f"- {name.replace('_', ' ')}: {text}" for name, text in words.items()), "",
            f"Commit {facts['commit']}; {facts['processors']}; {facts['watch']['seconds']} s, load "
            f"{facts['watch']['load_start']} to {facts['watch']['load_most']}; {versions}.", "",
            f"Command: `{origin['command']}`", "",
        ]
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES, help="draws of each law")
    parser.add_argument("--print", action="store_true", help="print the page, write nothing")
    asked = parser.parse_args()
    count = asked.cases
    began = time.monotonic()
    with machine.Watch() as watch:
        rows = tried(count)
    print(f"{count} cases in {time.monotonic() - began:.0f} s")
    facts = machine.hardware() | {"commit": machine.commit(), "versions": machine.versions(), "watch": watch.facts}
    origin = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "cases": count, "seed": SEED, "machine": facts}
    origin["command"] = f"python benchmarks/trust/metric_properties.py --cases {count}"
    text = page(rows, origin)
    if asked.print:
        print(text)
        return
    write_text(RESULTS / "trust_metric_properties.md", text)
    write_json(RESULTS / "trust_metric_properties.json", origin | {"rows": rows})


if __name__ == "__main__":
    main()
