"""The page: everything escaped, nothing outside itself, the same every time, and the intended use always there."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from hilum.core.findings import INTENDED_USE
from hilum.pictures.page import Page

EVIL = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;"


class Tags(HTMLParser):
    """Collects what a browser would make of the page."""

    def __init__(self):
        super().__init__()
        self.tags, self.attributes, self.open, self.words = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "img", "line", "circle", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def full(word):
    """A page with `word` in every argument that takes words."""
    picture = np.zeros((4, 5), np.uint8)
    return (
        Page(word)
        .heading(word)
        .heading(word, 3)
        .text(word)
        .note("warning", word)
        .table([{word: word, "n": 1}, {word: None, "n": 2.5}], best={"n": "higher"}, caption=word)
        .picture(picture, word)
        .pictures([(picture, word)])
        .legend([(word, (1, 2, 3))])
        .curve({word: [(0, 1), (1, 2)], word + "2": [(0, 2)]}, word, word, word)
        .bars([(word, 0.5, 0.4, 0.6), ("b", 0.5, None, None), ("c", None, None, None)], word, word)
        .reliability({word: [(0, 0.5, 0, *[None] * 4), (0.5, 1, 9, 0.8, 0.6, 0.3, 0.9)], "b": []}, word, word, word)
        .details(word, word)
    )


def parsed(page):
    tags = Tags()
    tags.feed(page.html())
    assert not tags.open
    return tags


def test_everything_is_escaped():
    evil, plain = parsed(full(EVIL)), parsed(full("word"))
    assert evil.tags == plain.tags and "script" not in evil.tags
    assert not any(name.startswith("on") for name, _ in evil.attributes)
    assert sum(EVIL in word for word in evil.words) >= 12


def test_nothing_outside_the_page_is_asked_for():
    page = full("word").html()
    assert not re.search(r"https?:|//|@import|url\(", re.sub(r"data:image/png;base64,[\w+/=]+", "", page))
    assert "default-src 'none'" in page
    assert all(v.startswith("data:image/png") for n, v in parsed(full("word")).attributes if n in ("src", "href"))


def test_a_name_that_is_no_text_costs_nobody_the_page(tmp_path):
    page = Page("M\udcfcller").table([{"what": "Befund_M\udcfcller.txt", "kind": "größer"}])
    words = page.write(tmp_path / "p.html").read_text(encoding="utf-8")
    assert "<td>Befund_M\\udcfcller.txt</td>" in words and "größer" in words


def test_the_intended_use_is_always_there_and_the_page_is_the_same_every_time():
    assert INTENDED_USE in Page("empty").html()
    assert full("word").html() == full("word").html()


def test_numbers_stand_right_and_the_best_is_bold():
    rows = [
        {"net": "unet", "dice": 0.91, "hd": 4.0, "ci": "0.8 to 0.9"},
        {"net": "swin", "dice": 0.93, "hd": None, "ci": "0.8 to 1"},
    ]
    page = Page("t").table(rows, best={"dice": "higher", "hd": "lower"}).html()
    assert '<td class="num"><strong>0.930</strong></td>' in page and '<td class="num">0.910</td>' in page
    assert '<td class="num">4.00</td>' in page  # alone, so it is not "best"
    assert '<td class="num">0.8 to 0.9</td>' in page and "<td>unet</td>" in page
    assert "dice" not in Page("t").table(rows, columns=["net"]).html()


@pytest.mark.parametrize(
    "value, words",
    [(float("nan"), "\u2013"), (None, "\u2013"), (True, "yes"), (12345.6, "12,346"), (999.7, "1,000"), (0.0, "0")],
)
def test_cells_are_written_for_people(value, words):
    assert f">{words}</td>" in Page("t").table([{"a": value}]).html()


def test_curves_survive_hard_numbers():
    lines = {
        "a": [(1, float("nan")), (2, 3.0)],
        "b": [],
        "c": [(k, 1.0) for k in range(5000)],
        "d": [(0, 1), (10, 2), (100, 4)],
    }
    for log_x in (False, True):
        page = Page("t").curve(lines, "x", "y", log_x=log_x).html()
        assert "nan" not in page and len(page) < 80_000
    assert "<svg" in Page("t").curve({}, "x", "y").html()
    assert "<svg" in Page("t").bars([]).html()


def test_a_reliability_diagram_puts_perfect_bins_on_the_diagonal():
    rows = [(0, 0.1, 0, None, None, None, None), (0.1, 0.5, 1200, 0.3, 0.3, 0.2, 0.4), (0.5, 1, 40, 0.7, 0.7, 0.5, 0.9)]
    page = Page("t").reliability({"before": rows, "after": rows[:2]}).html()
    (diagonal,) = re.findall(r'class="mark" x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)"', page)
    x1, y1, x2, y2 = map(float, diagonal)
    dots = [(float(x), float(y)) for x, y in re.findall(r'dot" cx="([\d.]+)" cy="([\d.]+)"', page)]
    assert len(dots) == 3
    assert all((y - y1) / (y2 - y1) == pytest.approx((x - x1) / (x2 - x1), abs=1e-3) for x, y in dots)
    # bins without cases have neither dot nor bar, and the fuller one has the higher bar
    bars = [float(h) for h in re.findall(r'bar" [^>]*height="([\d.]+)"', page)]
    assert len(bars) == 3 and bars[0] == bars[2] > bars[1] and ">1,200</text>" in page
    assert page.count('class="legend"') == 1 and ">after</span>" in page
    assert "legend" not in Page("t").reliability({"one": rows}).html().split("</style>")[1]


def test_an_unknown_note_is_refused():
    with pytest.raises(ValueError, match="info, good"):
        Page("t").note("<script>", "x")


def test_writing_gives_the_page(tmp_path):
    page = full("word")
    path = page.write(tmp_path / "deep" / "report.html")
    assert path.read_text(encoding="utf-8") == page.html()
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
