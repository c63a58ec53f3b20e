"""Ways of joining the views of an unlike image, on validation parts alone: what `hilum.trust.outlier` stands on.

    HILUM_DATA=... .venv/bin/python benchmarks/trust/joining.py RUN DATA [RUN DATA ...] [--most 40] [--halves 10]

Nothing is trained, and no test part is read. The validation part is dealt into two halves by its groups, several times:
one half says what is usual, with the training part, and the other, as it is, is told from the same images spoilt and
from other sets. AUROC, its mean over the deals. highest: the view in which an image is most unlike; harmonic mean: of
the p values of the views (the library); power N: the N-th power mean of the surprises; sum: their sum, as Fisher's.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import outliers
from corruptions import LEVELS, STRENGTHS, spoilt, square, stored
from results import write

from hilum.core.evenly import evenly
from hilum.core.image import Array
from hilum.core.run import Run
from hilum.infer.predictor import Predictor
from hilum.trust import learned, outlier

WAYS: dict[str, Callable[[Array], Array]] = {
    "highest": lambda rows: rows.max(axis=0),
    "harmonic mean": lambda rows: outlier._joined(list(rows)),
    "power 4": lambda rows: np.power(np.power(rows, 4).sum(axis=0), 1 / 4),
    "power 2": lambda rows: np.sqrt(np.square(rows).sum(axis=0)),
    "sum": lambda rows: rows.sum(axis=0),
}
# Each makes one number of the surprises (views, n).
TAKEN = (
    "Taken is the harmonic mean: in the mean over all it is within 0.001 of the best, it has no exponent to choose, "
    "and it tells motion better than the highest does, contrast a little worse. The question was asked because motion "
    "of brain MR had missed its target on the test part by 0.004 (trust_outliers.md)."
)
Seen = outliers.Seen


def looked(run: Run, data: str, most: int) -> dict[str, Seen]:
    """Training part, validation part, that part spoilt (weak and middle), and other sets."""
    predictor, parts = Predictor(run), outliers.own_cases(run, data)
    train, held = evenly(parts["train"], learned.TRAIN), evenly(parts["val"], learned.VAL)
    squares = [square(case.read("image")) for case in held]

    def given(cases: Any, arrays: Any) -> Any:
        return ((stored(a), c.group, c.klass or "") for c, a in zip(cases, arrays, strict=True))

    found = {"train": outliers.look(predictor, given(train, (square(c.read("image")) for c in train)))}
    found["val"] = outliers.look(predictor, given(held, squares))
    for what in STRENGTHS:
        for level, word in enumerate(LEVELS[:2]):
            bad = [spoilt(a, what, level, 1000 + i) for i, a in enumerate(squares)]
            found[f"{what}, {word}"] = outliers.look(predictor, given(held, bad))
    for name in outliers.SETS:
        folder = Path(os.environ["HILUM_DATA"]) / name
        if folder.is_dir() and name != Path(data).stem:
            found[name] = outliers.look(predictor, outliers._others(folder, most, 7))
    return found


def surprises(known: dict[str, Array], rows: dict[str, Array]) -> Array:
    """(views, n)."""
    apart = outlier.distances(known, rows)
    return np.stack([outlier._surprise(values, known[f"{view}.held"]) for view, values in apart.items()])


def compared(found: dict[str, Seen], halves: int) -> dict[str, dict[str, float]]:
    """{against: {way: AUROC}}."""
    held, train = found["val"], found["train"]
    groups, rng = sorted(set(held.groups)), np.random.default_rng(0)
    classes = train.classes if any(train.classes) else None
    areas: dict[str, dict[str, list[float]]] = {}
    for _ in range(halves):
        chosen = set(rng.permutation(groups)[: len(groups) // 2])
        first = np.array([group in chosen for group in held.groups])
        for half in (first, ~first):
            known = outlier.fit(train.rows(), {v: r[half] for v, r in held.rows().items()}, classes)
            own = surprises(known, {v: r[~half] for v, r in held.rows().items()})
            for name in [n for n in found if n not in ("train", "val")]:
                rows = found[name].rows()
                if name.split(",")[0] in STRENGTHS:
                    rows = {v: r[~half] for v, r in rows.items()}
                other = surprises(known, rows)
                for way, joined in WAYS.items():
                    value = outliers.area(joined(own), joined(other))
                    areas.setdefault(name, {}).setdefault(way, []).append(float(value or 0))
    return {name: {way: float(np.mean(v)) for way, v in own.items()} for name, own in areas.items()}


def main() -> None:
    """Measure every run, and leave the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("pairs", nargs="+", metavar="RUN DATA", help="a run folder, then its data; as often as wanted")
    words.add_argument("--most", type=int, default=40, help="images of each other set")
    words.add_argument("--halves", type=int, default=10, help="how often the validation part is dealt")
    asked = words.parse_args()
    began, lines, means = time.monotonic(), list[dict[str, Any]](), dict[str, list[float]]()
    for folder, data in zip(asked.pairs[::2], asked.pairs[1::2], strict=True):
        found = looked(Run(Path(folder)), data, asked.most)
        rows = compared(found, asked.halves)
        name, count = Path(data).stem, len(found["val"].groups)
        lines += [{"run": name, "images": count, "against": against} | row for against, row in rows.items()]
        for way in WAYS:
            means.setdefault(way, []).append(float(np.mean([row[way] for row in rows.values()])))
        lines.append({"run": name, "images": count, "against": "mean"} | {way: v[-1] for way, v in means.items()})
    lines.append({"run": "all", "against": "mean"} | {way: float(np.mean(v)) for way, v in means.items()})
    names = " ".join(f"RUN {Path(data).stem}" for data in asked.pairs[1::2])
    write(
        "trust_joining", "Ways of joining the views of an unlike image", __doc__, lines,
        command=f"benchmarks/trust/joining.py {names} --most {asked.most} --halves {asked.halves}",
        seconds=time.monotonic() - began, notes=[" ".join((__doc__ or "").split("\n\n")[2].split()), "", TAKEN],
    )  # fmt: skip


if __name__ == "__main__":
    main()
