"""One self-contained HTML page: headings, sentences, tables, pictures, curves. No script, no outside asset.

Everything given is escaped. The page follows the reader's light or dark setting, fits a phone and prints. The same
content gives the same bytes. A content policy in its head forbids it to load or run anything.
"""

import base64
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import atomic
from hilum.core.findings import INTENDED_USE
from hilum.pictures import _svg
from hilum.pictures._style import STYLE
from hilum.pictures.draw import png

Array = np.ndarray[Any, np.dtype[Any]]

NOTES = {"info": "Note", "good": "Good", "warning": "Warning", "refused": "Refused"}
# Kinds of notes and the word each opens with, so that no meaning hangs on colour alone.

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_NUMERIC = re.compile(r"\s*[-+−<>≤≥]?\s*\d[\d.,\s%()±–to-]*")  # noqa: RUF001 - a true minus sign and a dash


def _cell(value: Any) -> str:
    """What a table shows: numbers short, a dash where there is nothing."""
    if value is None or (isinstance(value, float | np.floating) and not math.isfinite(value)):
        return "–"  # noqa: RUF001
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return _svg.exact(float(value))
    return str(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float | np.number) or (isinstance(value, str) and bool(_NUMERIC.fullmatch(value)))


def _best_rows(rows: Sequence[Mapping[str, Any]], column: str, better: str) -> set[int]:
    """Rows whose value is the best of the column: numbers only, and only where there are two to compare."""
    values = {
        k: float(row[column])
        for k, row in enumerate(rows)
        if isinstance(row.get(column), int | float | np.number) and math.isfinite(row[column])
    }
    if len(values) < 2:
        return set()
    best = max(values.values()) if better == "higher" else min(values.values())
    return {k for k, v in values.items() if v == best}


class Page:
    """Collects parts in order; every method returns the page, so that calls can follow each other."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[str] = []

    def _add(self, part: str) -> "Page":
        self._parts.append(part)
        return self

    def heading(self, text: str, level: int = 2) -> "Page":
        """A heading; level 2 opens a section, 3 a part of one."""
        level = 3 if level >= 3 else 2
        return self._add(f"<h{level}>{escape(str(text))}</h{level}>")

    def text(self, sentence: str) -> "Page":
        """A paragraph."""
        return self._add(f"<p>{escape(str(sentence))}</p>")

    def note(self, kind: str, text: str) -> "Page":
        """A sentence that must be seen. kind: info, good, warning or refused."""
        if kind not in NOTES:
            raise ValueError(f"a note is one of {', '.join(NOTES)}, not {kind!r}")
        return self._add(f'<p class="note {kind}"><strong>{NOTES[kind]}</strong> {escape(str(text))}</p>')

    def table(
        self,
        rows: Sequence[Mapping[str, Any]],
        columns: Sequence[str] | None = None,
        best: Mapping[str, str] | None = None,
        caption: str = "",
    ) -> "Page":
        """Rows by column name. columns: which and in what order (all, in order of appearance, when not given).

        Columns of numbers stand right. best: {column: "higher" | "lower"} sets the best value of a column bold.
        """
        names = list(dict.fromkeys(name for row in rows for name in row)) if columns is None else list(columns)
        right = {
            c for c in names
            if (given := [row[c] for row in rows if row.get(c) is not None]) and all(map(_is_number, given))
        }  # fmt: skip
        bold = {c: _best_rows(rows, c, better) for c, better in (best or {}).items()}
        head = "".join(f'<th scope="col"{_side(c in right)}>{escape(str(c))}</th>' for c in names)
        body = []
        for k, row in enumerate(rows):
            cells = []
            for c in names:
                words = escape(_cell(row.get(c)))
                words = f"<strong>{words}</strong>" if k in bold.get(c, ()) else words
                cells.append(f"<td{_side(c in right)}>{words}</td>")
            body.append(f"<tr>{''.join(cells)}</tr>")
        title = f"<caption>{escape(str(caption))}</caption>" if caption else ""
        table = f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        return self._add(f'<div class="wide">{table}</div>')

    def picture(self, rgb: Array, caption: str = "") -> "Page":
        """One picture (H, W[, 3]) at its own size, never wider than the page."""
        return self._add(_figure(rgb, caption))

    def pictures(self, pairs: Sequence[tuple[Array, str]]) -> "Page":
        """Pictures with captions in a grid that fits the screen; broad ones (rows of pictures) get more room."""
        broad = any(np.shape(rgb)[1] > 1.8 * np.shape(rgb)[0] for rgb, _ in pairs)
        drawn = "".join(_figure(rgb, caption) for rgb, caption in pairs)
        return self._add(f'<div class="sheet{" broad" if broad else ""}">{drawn}</div>')

    def legend(self, entries: Sequence[tuple[str, tuple[int, int, int]]]) -> "Page":
        """Names beside their colours (0..255), for example of the classes in an overlay."""
        items = []
        for name, shade in entries:
            red, green, blue = (int(v) for v in shade)
            items.append(f'<span><i style="background:rgb({red},{green},{blue})"></i>{escape(str(name))}</span>')
        return self._add(f'<p class="legend">{"".join(items)}</p>')

    def curve(
        self,
        lines: Mapping[str, Sequence[tuple[float, float]]],
        x_label: str,
        y_label: str,
        title: str = "",
        log_x: bool = False,
        marks: Sequence[tuple[float, str]] = (),
        reach: Sequence[float] = (),
    ) -> "Page":
        """Lines {name: [(x, y), ...]} as inline SVG.

        A line without points is not named, but the others keep their colours. marks: (x, word) as upright lines. reach:
        values that the x axis holds in any case.
        """
        drawing = _svg.curve(lines, str(x_label), str(y_label), str(title), log_x, marks, reach)
        keys = [f'<span><i class="s{k % 7}"></i>{escape(str(n))}</span>' for k, n in enumerate(lines) if lines[n]]
        legend = f'<span class="legend">{"".join(keys)}</span>' if len(lines) > 1 else ""
        return self._add(f'<figure class="plot">{_title(title)}{drawing}{legend}</figure>')

    def abreast(self, parts: "Page") -> "Page":
        """The parts of another page in columns where the screen is wide enough, below each other where it is not."""
        return self._add(f'<div class="abreast">{"".join(parts._parts)}</div>')

    def bars(
        self,
        rows: Sequence[tuple[str, float | None, float | None, float | None]],
        label: str = "mean and 95 % interval",
        title: str = "",
    ) -> "Page":
        """Intervals (name, mean, low, high) as a forest plot; low and high None where there is no interval."""
        return self._add(f'<figure class="plot">{_title(title)}{_svg.bars(rows, str(label), str(title))}</figure>')

    def reliability(
        self,
        series: Mapping[str, Sequence[_svg.Row]],
        x_label: str = "stated confidence",
        y_label: str = "share that was right",
        title: str = "",
    ) -> "Page":
        """Bins {name: rows} as a reliability diagram: the diagonal, dots with intervals, and how many cases each holds.

        A row is low, high, cases, mean stated, observed, and the interval of the observed; the last four are None in an
        empty bin. Dots below the diagonal are too sure.
        """
        drawing = _svg.reliability(series, str(x_label), str(y_label), str(title))
        keys = [f'<span><i class="s{k % 7}"></i>{escape(str(name))}</span>' for k, name in enumerate(series)]
        legend = f'<span class="legend">{"".join(keys)}</span>' if len(series) > 1 else ""
        return self._add(f'<figure class="plot">{_title(title)}{drawing}{legend}</figure>')

    def details(self, summary: str, text: str) -> "Page":
        """Preformatted words (a plan, a ledger) that open on a click."""
        head = f"<summary>{escape(str(summary))}</summary>"
        return self._add(f"<details>{head}<pre>{escape(str(text))}</pre></details>")

    def html(self, refresh: int | None = None) -> str:
        """The whole page. refresh: seconds after which an open page is read again, while what it shows still grows."""
        title = escape(str(self.title))
        again = "" if refresh is None else f'<meta http-equiv="refresh" content="{int(refresh)}">\n'
        return (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            '<meta name="color-scheme" content="light dark">\n'
            f"{again}<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
            + "\n".join(self._parts)
            + f"\n</main>\n<footer>Hilum. {escape(INTENDED_USE)}</footer>\n</body>\n</html>\n"
        )

    def write(self, path: Path, refresh: int | None = None) -> Path:
        """Write the page, whole or not at all. refresh: as `html` takes it."""
        # a name on the disk that is no text is written out, and costs nobody the page
        words = self.html(refresh).encode("utf-8", "backslashreplace").decode("utf-8")
        atomic.write_text(Path(path), words)
        return Path(path)


def _side(right: bool) -> str:
    return ' class="num"' if right else ""


def _title(title: str) -> str:
    return f'<figcaption class="title">{escape(str(title))}</figcaption>' if title else ""


def _figure(rgb: Array, caption: str) -> str:
    words, data = escape(str(caption)), base64.b64encode(png(rgb)).decode("ascii")
    height, width = np.asarray(rgb).shape[:2]
    image = f'<img src="data:image/png;base64,{data}" alt="{words}" width="{width}" height="{height}">'
    return f"<figure>{image}{f'<figcaption>{words}</figcaption>' if caption else ''}</figure>"
