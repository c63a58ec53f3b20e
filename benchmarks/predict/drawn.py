"""Pictures of the page: bars of seconds by part, and curves of seconds and memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.core.atomic import writing

COLOURS = ("#4269d0", "#efb118", "#ff725c", "#6cc5b0", "#3ca951", "#a463f2", "#9c9c9c", "#97bbf5")


def _plot() -> Any:
    """matplotlib without a display, text as text."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "hilum", "font.size": 9})
    from matplotlib import pyplot

    return pyplot


def _saved(figure: Any, path: Path) -> str:
    with writing(path) as part:
        figure.savefig(part, format="svg", metadata={"Date": None}, bbox_inches="tight")
    _plot().close(figure)
    return path.name


def parts(told: Mapping[str, Mapping[str, float]], path: Path) -> str:
    """One bar a system, one colour a part; the file's name."""
    names = list(dict.fromkeys(part for seconds in told.values() for part in seconds))
    names = [n for n in names if n != "rest"] + ["rest"] * ("rest" in names)
    figure, axes = _plot().subplots(figsize=(8, 0.8 + 0.3 * len(told)))
    left = dict.fromkeys(told, 0.0)
    for number, name in enumerate(names):
        wide = [seconds.get(name, 0.0) for seconds in told.values()]
        colour = COLOURS[number % len(COLOURS)] if name != "rest" else "#dddddd"
        axes.barh(list(told), wide, left=list(left.values()), color=colour, label=name)
        left = {system: left[system] + w for system, w in zip(told, wide, strict=True)}
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return _saved(figure, path)


def growth(points: Mapping[str, Sequence[tuple[float, float, float]]], label: str, path: Path) -> str:
    """Seconds and MB over the volume or the classes: points (x, seconds, MB) of each system; the file's name."""
    figure, both = _plot().subplots(1, 2, figsize=(8, 2.8))
    for axes, index, what in zip(both, (1, 2), ("seconds", "peak MB"), strict=True):
        for number, (name, rows) in enumerate(points.items()):
            xs, ys = [row[0] for row in rows], [row[index] for row in rows]
            axes.plot(xs, ys, marker="o", color=COLOURS[number % len(COLOURS)], label=name)
        axes.set_xlabel(label)
        axes.set_ylabel(what)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    both[0].legend(frameon=False)
    figure.tight_layout()
    return _saved(figure, path)
