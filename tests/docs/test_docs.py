"""The docs are what the code is: drawn parts up to date, links resolve, commands parse, examples run."""

import importlib
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(p for p in (ROOT / "docs").rglob("*.md") if "_site" not in p.parts)
PAGES += [ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
LINK = re.compile(r"\]\(([^)\s]+)\)")
INTENDED_USE = "Research software. Not a medical device. Not for diagnosis, triage or treatment."
ELSEWHERE = {"docs/how-to/use-the-onnx-file.md"}
# Pages whose example needs a model; test_onnx_page.py runs it.
LATER = {"docs/pictures/nuclei.png"}
# Made by hand from real images; the page may be ahead of it.


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return importlib.import_module("build")


def test_drawn_parts_are_up_to_date(build: Any) -> None:
    stale = [name(p) for p in build.pages() if build.filled(p.read_text(encoding="utf-8")) != p.read_text("utf-8")]
    assert stale == [], "run: make docs"


def test_pages_and_pictures_of_networks_are_up_to_date(build: Any) -> None:
    made = build.whole()
    stale = [name(p) for p, text in made.items() if not p.is_file() or p.read_text("utf-8") != text]
    assert stale + [name(p) for p in build.left_over(made)] == [], "run: make docs"


def test_every_page_renders_and_says_what_it_is_for(build: Any) -> None:
    for page in [*build.pages(), *build.measured()]:
        made = build.rendered(page)
        assert INTENDED_USE in made and "http://" not in made and "src=" not in made.replace('src="data:', "")
        assert ".md" not in "".join(re.findall(r'href="([^":]+)"', made))


def test_tables_of_results_are_found_from_every_page_of_the_site(build: Any) -> None:
    home, deep = build.DOCS / "index.md", build.DOCS / "how-to" / "register-two-images.md"
    assert 'href="measured/training.html"' in build.rendered(home)
    assert 'href="../measured/first_figures.html"' in build.rendered(deep)
    assert 'href="../index.html"' in build.rendered(build.RESULTS / "training.md")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_relative_links_resolve(page: Path, build: Any) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        target, _, place = link.partition("#")
        if "://" in target:
            continue
        found = (page.parent / target).resolve() if target else page
        assert found.is_file() or found.relative_to(ROOT).as_posix() in LATER, link
        if place:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert place in {build.anchor(h) for h in headings}, link


def test_every_page_is_in_the_index() -> None:
    """Those of the networks, which are written for every file in the zoo, in the table of networks."""
    docs = ROOT / "docs"
    for page in docs.rglob("*.md"):
        index = docs / ("reference/networks.md" if page.parent == docs / "reference" / "networks" else "index.md")
        listed = page.relative_to(index.parent).as_posix()
        assert "_site" in page.parts or page == index or f"({listed})" in index.read_text(encoding="utf-8"), listed


def test_every_page_of_results_is_in_the_index(build: Any) -> None:
    index = build.DOCS / "index.md"
    linked = {(index.parent / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    assert [page.name for page in build.measured() if page.resolve() not in linked] == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_commands_parse(page: Path) -> None:
    from typer.main import get_command

    from hilum.cli.main import app

    group: Any = get_command(app)
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert targets is not None
    for line in (row for block in blocks(page, "sh") for row in block.replace("\\\n", " ").splitlines() if row.strip()):
        words = shlex.split(line, comments=True)
        if words[0] == "make":
            assert set(words[1:]) <= set(targets[1].split()), line
            continue
        assert words[0] in ("hilum", ".venv/bin/hilum"), line
        # parses arguments and options, runs nothing
        group.commands[words[1]].make_context(words[1], words[2:])


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python") and name(p) not in ELSEWHERE], ids=name)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {"__name__": "example"}
    for block in blocks(page, "python"):
        exec(compile(block, name(page), "exec"), space)


def test_no_page_promises_too_much() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8").lower()
        assert not re.search(r"validated|clinical-grade|compliant|fda-ready", text), name(page)
