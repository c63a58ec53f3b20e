"""Tables: read from any common export, and every bad row is named before anything is used."""

import codecs
from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Table
from hilum.io import open as open_source
from hilum.io import table

WANTED = ({"image": "a.png", "note": "größer"}, {"image": "b.png", "note": "x"})


def written(folder: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def refused(path: Path) -> str:
    with pytest.raises(HilumError) as error:
        table.read(path)
    assert error.value.code == "HIL-I11" and str(path) in error.value.seen
    return error.value.seen


def test_a_table_is_opened_like_every_file(tmp_path: Path) -> None:
    path = written(tmp_path, "image,note\na.png,größer\nb.png,x\n")
    assert table.read(path) == Table(WANTED)
    assert open_source(path).read() == Table(WANTED)


@pytest.mark.parametrize(("separator", "name"), [(",", "t.csv"), (";", "t.csv"), ("\t", "t.csv"), ("\t", "t.tsv")])
@pytest.mark.parametrize(
    ("mark", "encoding"),
    [(b"", "utf-8"), (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
     (codecs.BOM_UTF32_LE, "utf-32-le")],
)  # fmt: skip
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_i11_separators_byte_order_marks_and_line_ends_are_accepted(
    tmp_path: Path, separator: str, name: str, mark: bytes, encoding: str, end: str
) -> None:
    lines = [separator.join(row) for row in (("image", "note"), ("a.png", "größer"), ("b.png", "x"))]
    path = written(tmp_path, mark + end.join(lines).encode(encoding), name)
    found = table.sheet(path)
    assert found.rows == WANTED and found.lines == (2, 3)
    assert found.separator == separator and found.encoding.startswith(encoding[:6])


def test_i11_how_an_unusual_table_is_written_is_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "hilum.io.table"):
        table.read(written(tmp_path, "image;note\na,1.png;1,5\n"))
    assert "semicolon" in caplog.text and "a,1.png" not in caplog.text


def test_i11_spaces_around_cells_and_headers_are_removed(tmp_path: Path) -> None:
    path = written(tmp_path, ' image ,note\t\n a.png\t, größer \n"b.png ",\u00a0x\n')
    assert table.read(path).rows == WANTED


def test_i11_empty_rows_and_empty_columns_are_passed_over(tmp_path: Path) -> None:
    found = table.sheet(written(tmp_path, "image,note,,\n\na.png,größer,,\n,,,\nb.png,x,,\n"))
    assert found.rows == WANTED and found.columns == ("image", "note") and found.lines == (3, 5)


def test_i11_a_row_over_several_lines_keeps_the_count(tmp_path: Path) -> None:
    path = written(tmp_path, 'image,note\na.png,"two\nlines"\nb.png,=1\n')
    assert "line 4: note is a formula" in refused(path)


@pytest.mark.parametrize("cell", ["=1+1", "=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", " =A1", "-x", "+cmd"])
def test_i11_formula_cells_are_refused(tmp_path: Path, cell: str) -> None:
    assert "line 3: note is a formula" in refused(written(tmp_path, f"image,note\na.png,1\nb.png,{cell}\n"))
    assert "formula" in refused(written(tmp_path, f"image,{cell}\na.png,1\n"))


@pytest.mark.parametrize("cell", ["-1", "+2.5", "-1e-3", '"-1,5"', "-", "+", "--", "+++", "a=b", "x@y", "-inf"])
def test_i11_numbers_and_signs_are_no_formulas(tmp_path: Path, cell: str) -> None:
    path = written(tmp_path, f"image,note\na.png,{cell}\n")
    assert table.read(path).rows[0]["note"] == cell.strip('"')


def test_i11_all_bad_rows_are_counted_and_the_first_five_named(tmp_path: Path) -> None:
    said = refused(written(tmp_path, "image,note\n" + "a.png\n" * 4 + "b,1\n" + "a,b,c\n=x,2\n=y,2\n"))
    assert "7 faults" in said and "(and 2 more)" in said
    for words in ("line 2: 1 cells instead of 2", "line 3", "line 4", "line 5", "line 7: 3 cells instead of 2"):
        assert words in said
    assert "line 8" not in said and "line 6" not in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "empty"), (b"\n \n", "empty"), (codecs.BOM_UTF8, "empty"),
        (b"a,b,a\n1,2,3\n", "two columns are called 'a'"), (b"a, a\n1,2\n", "two columns"),
        (b"a,\n1,2\n", "line 2: there is a value in column 2, which has no name"),
        ("a,b\n1,2\n3,größer\n".encode("latin-1"), "line 3: the byte 0xf6 is no UTF-8"),
        (codecs.BOM_UTF16_LE + "a\n1\n".encode("utf-16-le") + b"\x00\xd8\x41\x00", "line 3"),
        ("a,b\n1,2\n".encode("utf-16-le"), "line 1: a NUL byte"), (b"a,b\n1,2\n3,\x004\n", "line 3: a NUL byte"),
        (b'a,b\n1,2\n"3,4\n', "line 3"), (b'a,b\n1,2\n"3"x,4\n', "line 3"), (b"a\n" + b"x" * 200_000, "line 2"),
    ],
)  # fmt: skip
def test_i11_what_is_no_table_is_refused_with_its_line(tmp_path: Path, text: bytes, words: str) -> None:
    assert words in refused(written(tmp_path, text))


def test_i11_a_table_too_large_to_be_one_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "a,b\n1,2\n")
    monkeypatch.setattr(table, "MOST_BYTES", 4)
    assert "8 bytes" in refused(path)
