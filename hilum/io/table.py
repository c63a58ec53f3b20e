"""CSV and TSV: rows of words by column, from any common export, and every bad row named before anything is used.

Text is UTF-8 or, with its mark at the start, UTF-16 or UTF-32; the separator is a comma, a semicolon or a tab, which is
seen from the rows. Spaces around cells are removed, empty rows passed over. Nothing is turned into numbers.
"""

import codecs
import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hilum.core.cells import is_formula
from hilum.core.errors import HilumError
from hilum.core.image import Table
from hilum.io._guard import reading
from hilum.io._names import name_fault, plain

CARD = {
    "extensions": [".csv", ".tsv"],
    "reads": "table",
    "writes": [],
    "about": "tables: comma, semicolon or tab; UTF-8, or UTF-16 with its mark",
}
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
MISSING = {"na", "n/a", "#n/a", "nan", "null"}
# What R, pandas, BIDS and spreadsheets write into a cell of which nothing is known.
NAMES = {"case", "image", "label", "fixed", "moving", "kspace", "validity"}
# Columns (and label@anna) that name cases or files, which may be called "+C AX T1": nobody could mend such a row.
MOST_BYTES = 256 << 20
SHOWN = 5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sheet:
    """A table with where each row stands.

    columns: names in order. rows: {column: word}. lines: the line of the file on which each row starts (first line 1).
    encoding, separator: how the file is written.
    """

    columns: tuple[str, ...]
    rows: tuple[dict[str, str], ...]
    lines: tuple[int, ...]
    encoding: str
    separator: str


def read(path: Path) -> Table:
    """The rows of a CSV or TSV; everything that `sheet` refuses is refused (HIL-I11)."""
    return Table(sheet(path).rows)


def sheet(path: Path) -> Sheet:
    """The table with line numbers. Refused (HIL-I11), all bad rows counted and the first five named: an empty file,
    another encoding, NUL bytes, two columns of one name, rows of another length, formulas (=, +, -, @ before anything
    but a number; + may begin the name of a case or file)."""
    path = Path(path)
    with reading(path):
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise HilumError("HIL-I11", f"{path} has {size} bytes", f"Split it below {MOST_BYTES}")
        text, encoding = _text(path, path.read_bytes())
        separator, records = _separated(path, text)
        columns, body = _columns(path, records)
        faults = list(_faults(columns, body))
        if faults:
            raise refused(path, faults)
        rows = tuple(dict(zip(columns, cells, strict=False)) for _, cells in body)
        for row in rows:
            row.pop("", None)
        if separator != "," or encoding != "utf-8":
            log.info("a table was read as %s, separated by %s", encoding, SEPARATORS[separator])
        return Sheet(tuple(c for c in columns if c), rows, tuple(n for n, _ in body), encoding, separator)


def told(row: Mapping[str, str], column: str) -> str:
    """The word in a column, "" where there is none or one of `MISSING`: else all NA were one patient."""
    word = row.get(column, "")
    return "" if word.lower() in MISSING else word


def refused(path: Path, faults: Sequence[str]) -> HilumError:
    """One sentence about all bad rows: how many, and the first five."""
    more = f" (and {len(faults) - SHOWN} more)" if len(faults) > SHOWN else ""
    count = f"{len(faults)} faults: " if len(faults) > 1 else ""
    return HilumError("HIL-I11", f"{path}: {count}" + "; ".join(faults[:SHOWN]) + more, "Mend these rows")


def _text(path: Path, data: bytes) -> tuple[str, str]:
    """The text and its encoding; a byte that does not fit is named by its line."""
    encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data[: error.start].decode(encoding, "replace").count("\n") + 1
        raise HilumError(
            "HIL-I11", f"{path} line {line}: the byte 0x{data[error.start]:02x} is no {encoding.upper()}",
            "Save it as CSV in UTF-8",
        ) from error  # fmt: skip
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise HilumError("HIL-I11", f"{path} line {line}: a NUL byte, so this is no text", "Save it as CSV in UTF-8")
    if not text.strip():
        raise HilumError("HIL-I11", f"{path} is empty", "Write the names of the columns into the first line")
    return text, encoding


def _separated(path: Path, text: str) -> tuple[str, list[tuple[int, list[str]]]]:
    """The separator and the records (line, cells): the one that gives most columns, all rows alike if possible."""
    best: tuple[tuple[int, bool, int], str, list[tuple[int, list[str]]]] | None = None
    torn: HilumError | None = None
    for separator in SEPARATORS:
        try:
            records = _records(path, text, separator)
        except HilumError as error:
            torn = torn or error
            continue
        widths = {len(cells) for _, cells in records}
        rank = (len(records[0][1]) > 1, len(widths) == 1, len(records[0][1]))
        if best is None or rank > best[0]:
            best = rank, separator, records
    if best is None:
        assert torn is not None
        raise torn
    return best[1], best[2]


def _records(path: Path, text: str, separator: str) -> list[tuple[int, list[str]]]:
    """(line, cells) of every row that is not empty; cells without spaces around them, in one unicode form."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    found, line = [], 1
    try:
        for cells in reader:
            tidy = [plain(cell).strip() for cell in cells]
            if any(tidy):
                found.append((line, tidy))
            line = reader.line_num + 1
    except csv.Error as error:
        raise HilumError("HIL-I11", f"{path} line {line}: {error}", "Mend its quotation marks") from error
    return found


def _columns(path: Path, records: list[tuple[int, list[str]]]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names in the first row, and the other rows; a column without a name must be empty."""
    (line, names), *body = records
    twice = sorted(name for name, count in Counter(names).items() if name and count > 1)
    if twice:
        raise HilumError("HIL-I11", f"{path} line {line}: two columns are called {twice[0]!r}", "Rename one")
    for at, name in enumerate(names):
        filled = next((n for n, cells in body if at < len(cells) and cells[at]), None)
        if not name and filled is not None:
            raise HilumError(
                "HIL-I11", f"{path} line {filled}: there is a value in column {at + 1}, which has no name", "Name it"
            )
        if is_formula(name):
            raise HilumError("HIL-I11", f"{path} line {line}: the column name {name!r} is a formula", "Rename it")
    return names, body


def _faults(columns: list[str], body: list[tuple[int, list[str]]]) -> Iterator[str]:
    """Rows of another length, and formulas."""
    for line, cells in body:
        if len(cells) != len(columns):
            yield f"line {line}: {len(cells)} cells instead of {len(columns)}"
            continue
        for name, cell in zip(columns, cells, strict=True):
            if is_formula(cell) and not _is_name(name, cell):
                yield f"line {line}: {name} is a formula ({cell[:20]!r})"


def _is_name(column: str, cell: str) -> bool:
    """Whether the cell names a case or file as a folder may hold it, beginning with +.

    By | a sheet runs programs, and by WORD( its functions, which may ask the network.
    """
    named = column.split("@")[0] in NAMES and cell.startswith("+") and not re.search(r"\||\w\(", cell)
    return named and not any(map(name_fault, cell.split("/")))
