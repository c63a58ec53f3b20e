"""Small inline SVG drawings for the page: curves, interval plots, reliability. Colours come from the page's style."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 12, 46
MOST_POINTS = 1000
# Finer than the drawing can show; keeps a page with a long training small.

BASE, STRIP = 372, 48
# Of a reliability diagram: where its x axis lies, and how much room the counts of one series take.

Point = tuple[float, float]
Row = tuple[float, float, int, float | None, float | None, float | None, float | None]
# A bin of a reliability diagram: low, high, cases, mean stated, observed and its interval; None where it is empty.


def number(value: float) -> str:
    """A number for people: three significant digits, no needless zeros."""
    if value == 0:
        return "0"
    # what rounds to a thousand is one
    if abs(value) >= 999.5:
        return f"{value:,.0f}"
    text = f"{value:.3g}"
    return f"{float(text):g}" if "e" not in text or abs(value) >= 1e-4 else text


def exact(value: float) -> str:
    """Always three significant digits, so that numbers below each other line up: 4.20, 0.910, 12,346."""
    if value == 0 or 1e-4 <= abs(value) < 999.5:
        return f"{value:#.3g}".rstrip(".") if value else "0"
    return number(value)


def _thinned(points: Sequence[Point]) -> list[Point]:
    if len(points) <= MOST_POINTS:
        return list(points)
    return [points[round(k * (len(points) - 1) / (MOST_POINTS - 1))] for k in range(MOST_POINTS)]


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten) from `low` to `high`."""
    raw = (high - low) / about
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _range(values: Iterable[float]) -> tuple[float, float]:
    """Lowest and highest, never equal."""
    finite = [v for v in values if math.isfinite(v)]
    if not finite:
        return 0.0, 1.0
    low, high = min(finite), max(finite)
    if low < high:
        return low, high
    room = abs(low) * 0.1 or 1.0
    return low - room, high + room


def _text(x: float, y: float, words: str, anchor: str = "middle", extra: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(parts: Sequence[str], height: float, words: str) -> str:
    head = f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{escape(words)}">'
    return head + "".join(parts) + "</svg>"


def curve(
    lines: Mapping[str, Sequence[Point]],
    x_label: str,
    y_label: str,
    title: str,
    log_x: bool = False,
    marks: Sequence[tuple[float, str]] = (),
    reach: Sequence[float] = (),
) -> str:
    """Lines over x. lines: {name: [(x, y), ...]}; points that are not finite (or not above 0 on a log axis) are cut.

    Long lines are thinned to about MOST_POINTS evenly chosen points. A line without points keeps its colour for the
    others. marks: (x, word), each an upright line. reach: values of x that the axis holds even where no line goes.
    """
    shown = {
        name: [(math.log10(x) if log_x else float(x), float(y)) for x, y in _thinned(points)
               if math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x)]
        for name, points in lines.items()
    }  # fmt: skip
    held = [math.log10(x) if log_x else float(x) for x in reach if x > 0 or not log_x]
    x_low, x_high = _range([*held, *(x for points in shown.values() for x, _ in points)])
    y_low, y_high = _range(y for points in shown.values() for _, y in points)
    room = (y_high - y_low) * 0.04
    y_low, y_high = y_low - room, y_high + room

    def place(x: float, y: float) -> Point:
        across = LEFT + (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        return across, HEIGHT - BOTTOM - (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for tick in ticks(y_low, y_high):
        y = place(x_low, tick)[1]
        parts += [_line(LEFT, y, WIDTH - RIGHT, y, "grid"), _text(LEFT - 8, y + 4, number(tick), "end")]
    powers = range(math.ceil(x_low - 1e-9), math.floor(x_high + 1e-9) + 1)
    for tick in [float(p) for p in powers] if log_x and len(powers) > 1 else ticks(x_low, x_high):
        x = place(tick, y_low)[0]
        label = number(10**tick if log_x else tick)
        parts += [_line(x, HEIGHT - BOTTOM, x, HEIGHT - BOTTOM + 4, "axis"), _text(x, HEIGHT - BOTTOM + 18, label)]
    parts.append(_line(LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, "axis"))
    parts += _marks([(place(math.log10(x) if log_x else x, y_low)[0], word) for x, word in marks if x > 0 or not log_x])
    for k, points in enumerate(shown.values()):
        where = [place(x, y) for x, y in points]
        if len(where) == 1:
            parts.append(f'<circle class="s{k % 7} dot" cx="{where[0][0]:.1f}" cy="{where[0][1]:.1f}" r="4"/>')
        elif where:
            path = " ".join(f"{x:.1f},{y:.1f}" for x, y in where)
            parts.append(f'<polyline class="s{k % 7} line d{k // 7 % 3}" points="{path}"/>')
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 8, x_label, extra=' class="label"'))
    middle = (TOP + HEIGHT - BOTTOM) / 2
    turn = f' class="label" transform="rotate(-90 14 {middle:.1f})"'
    if y_label != title:
        # what stands above the drawing need not stand beside it
        parts.append(_text(14, middle, y_label, extra=turn))
    return _svg(parts, HEIGHT, f"{title}: {y_label} over {x_label}")


def _marks(marks: Sequence[tuple[float, str]]) -> list[str]:
    """Upright lines at x in pixels, each with its word above the drawing, on the side that has room."""
    parts = []
    for x, word in marks:
        side, anchor = (6, "start") if x < WIDTH - RIGHT - 90 else (-6, "end")
        parts += [_line(x, TOP, x, HEIGHT - BOTTOM, "mark"), _text(x + side, TOP - 1, word, anchor)]
    return parts


def bars(rows: Sequence[tuple[str, float | None, float | None, float | None]], label: str, title: str) -> str:
    """Interval (forest) plot: one row each of name, mean, low, high; None where there is no mean or no interval."""
    names = 24 + min(240, 8 * max((len(str(name)) for name, *_ in rows), default=0))
    numbers, step = 150, 28
    low, high = _range(v for _, *three in rows for v in three if v is not None)
    room = (high - low) * 0.04
    low, high = low - room, high + room
    end = WIDTH - numbers

    def place(value: float) -> float:
        return names + (value - low) / (high - low) * (end - names)

    base = TOP + step * len(rows)
    parts = []
    for tick in ticks(low, high, 6):
        x = place(tick)
        parts += [_line(x, TOP, x, base, "grid"), _text(x, base + 16, number(tick))]
    for k, (name, mean, below, above) in enumerate(rows):
        y = TOP + step * (k + 0.5)
        words = str(name) if len(str(name)) <= 34 else str(name)[:33] + "…"
        parts.append(_text(names - 10, y + 4, words, "end", ' class="name"'))
        if mean is None or not math.isfinite(mean):
            parts.append(_text(WIDTH - 4, y + 4, "undefined", "end"))
            continue
        said = exact(mean)
        if below is not None and above is not None:
            parts.append(_line(place(below), y, place(above), y, "span"))
            said += f" ({exact(below)} to {exact(above)})"
        parts += [
            f'<circle class="s1 dot" cx="{place(mean):.1f}" cy="{y:.1f}" r="4.5"/>',
            _text(WIDTH - 4, y + 4, said, "end"),
        ]
    parts.append(_text((names + end) / 2, base + 36, label, extra=' class="label"'))
    return _svg(parts, base + 44, f"{title}: {label}")


def reliability(series: Mapping[str, Sequence[Row]], x_label: str, y_label: str, title: str) -> str:
    """Observed over stated, both 0..1: the diagonal, a dot with its interval for each bin, and below how many cases."""
    base = BASE

    def place(x: float, y: float) -> Point:
        return LEFT + x * (WIDTH - LEFT - RIGHT), base - y * (base - TOP)

    parts = []
    for tick in ticks(0.0, 1.0):
        x, y = place(tick, tick)
        parts += [_line(LEFT, y, WIDTH - RIGHT, y, "grid"), _text(LEFT - 8, y + 4, number(tick), "end")]
        parts += [_line(x, base, x, base + 4, "axis"), _text(x, base + 18, number(tick))]
    parts += [_line(LEFT, base, WIDTH - RIGHT, base, "axis"), _line(*place(0, 0), *place(1, 1), "mark")]
    for k, rows in enumerate(series.values()):
        for _, _, _, stated, share, below, above in rows:
            if stated is None or share is None:
                continue
            x, y = place(stated, share)
            if below is not None and above is not None:
                parts.append(_line(x, place(0, below)[1], x, place(0, above)[1], f"s{k % 7} line"))
            parts.append(f'<circle class="s{k % 7} dot" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        parts += _counts(rows, base + 44 + STRIP * (k + 1), k)
    parts.append(_text((LEFT + WIDTH - RIGHT) / 2, base + 36, x_label, extra=' class="label"'))
    middle = (TOP + base) / 2
    parts.append(_text(14, middle, y_label, extra=f' class="label" transform="rotate(-90 14 {middle:.1f})"'))
    return _svg(parts, base + 50 + STRIP * len(series), f"{title}: {y_label} over {x_label}")


def _counts(rows: Sequence[Row], foot: float, k: int) -> list[str]:
    """How many cases each bin holds, as bars that stand on `foot`, with the number where it fits."""
    most = max((n for _, _, n, *_ in rows), default=0)
    parts = [_text(LEFT - 8, foot - 2, "cases", "end"), _line(LEFT, foot, WIDTH - RIGHT, foot, "axis")]
    for low, high, n, *_ in rows:
        if not n:
            continue
        left, right = (LEFT + x * (WIDTH - LEFT - RIGHT) for x in (low, high))
        tall, wide = max(1.0, (STRIP - 20) * n / most), max(1.0, right - left - 2)
        parts.append(
            f'<rect class="s{k % 7} bar" x="{left + 1:.1f}" y="{foot - tall:.1f}" width="{wide:.1f}" '
            f'height="{tall:.1f}"/>'
        )
        if 7 * len(f"{n:,}") <= right - left:
            parts.append(_text((left + right) / 2, foot - tall - 4, f"{n:,}"))
    return parts
