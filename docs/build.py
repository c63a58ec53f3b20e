"""make docs: fill the parts of the pages that are drawn from the code, then write everything as plain HTML.

A page holds `<!-- drawn: NAME -->` ... `<!-- /drawn -->`; what stands between is written here, from the code, and never
by hand. Pages and pictures in the folders `networks` are written as a whole, one of each for every file in the zoo. The
HTML in docs/_site needs no network: style and pictures are inside.
"""

import base64
import html
import re
from collections.abc import Iterable
from pathlib import Path

import draw_network
from draw_tables import DRAWERS
from write_network import network

from hilum.core import catalogue
from hilum.core.findings import INTENDED_USE

DOCS = Path(__file__).parent
SITE = DOCS / "_site"
RESULTS = DOCS.parent / "benchmarks" / "results"
# Tables of what was measured; in the site they lie in `measured`.
DRAWN = re.compile(r"(<!-- drawn: ([a-z_]+) -->\n).*?(<!-- /drawn -->)", re.DOTALL)
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }
a { color: #0b5c8a; } h1, h2, h3 { line-height: 1.25; } img { max-width: 100%; }
pre, code { font: 14px/1.45 ui-monospace, monospace; background: #f2f4f6; } pre { padding: .7rem; overflow-x: auto; }
p:has(> img[src^="data:image/svg"]) { overflow-x: auto; } img[src^="data:image/svg"] { max-width: none; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border: 1px solid #ccd3da; padding: .25rem .5rem; text-align: left; vertical-align: top; }
footer { margin-top: 3rem; color: #5a6774; font-size: .9rem; }
"""


def whole() -> dict[Path, str]:
    """Files that are drawn as a whole: page and picture of each network, by path."""
    made = {}
    for name, card in catalogue.cards("hilum.zoo").items():
        if card["module"].startswith("hilum."):
            made[DOCS / "reference" / "networks" / f"{name}.md"] = network(name)
            made[DOCS / "pictures" / "networks" / f"{name}.svg"] = draw_network.schematic(name)[0]
    return made


def left_over(made: Iterable[Path]) -> list[Path]:
    """Pages and pictures that lie beside such files: of a network that is gone."""
    known = set(made)
    return sorted({found for p in known for found in p.parent.glob(f"*{p.suffix}")} - known)


def pages() -> list[Path]:
    """Every Markdown page."""
    return sorted(p for p in DOCS.rglob("*.md") if SITE not in p.parents)


def measured() -> list[Path]:
    """Every page of results."""
    return sorted(RESULTS.glob("*.md"))


def filled(text: str) -> str:
    """A page with its drawn parts written anew."""
    return DRAWN.sub(lambda m: f"{m[1]}\n{DRAWERS[m[2]]()}\n\n{m[3]}", text)


def rendered(page: Path) -> str:
    """A page as HTML that stands alone."""
    from markdown_it import MarkdownIt

    text = re.sub(r"<!--.*?-->\n?", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    body: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    top = "../" * (len(page.relative_to(DOCS).parts) - 1 if page.is_relative_to(DOCS) else 1)
    body = re.sub(r'href="[./]+/benchmarks/results/', f'href="{top}measured/', body)
    body = re.sub(r'(href="[^":]+)\.md(#[^"]*)?"', r'\1.html\2"', body)
    body = re.sub(r'src="([^":]+)"', lambda m: f'src="{_inlined(page.parent / m[1])}"', body)
    body = re.sub(r"<h([23])>(.*?)</h\1>", lambda m: f'<h{m[1]} id="{anchor(m[2])}">{m[2]}</h{m[1]}>', body)
    title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), page.stem)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)} - Hilum</title><style>{STYLE}</style></head>\n<body>"
        f'<nav><a href="{top}index.html">Hilum</a></nav>\n{body}<footer>{INTENDED_USE}</footer></body></html>\n'
    )


def anchor(heading: str) -> str:
    """The name a heading is linked by, as code hosts make it."""
    words = re.sub(r"<[^>]+>", "", heading).lower()
    return re.sub(r"[^\w -]", "", words).strip().replace(" ", "-")


def _inlined(picture: Path) -> str:
    """A picture as a data URI; a missing one stays a link."""
    if not picture.is_file():
        return picture.name
    kind = "svg+xml" if picture.suffix == ".svg" else picture.suffix[1:]
    return f"data:image/{kind};base64,{base64.b64encode(picture.read_bytes()).decode()}"


def main() -> None:
    """Fill the pages, draw those that are drawn as a whole, then render them."""
    made = whole()
    for path in left_over(made):
        path.unlink()
        print(f"removed {path.relative_to(DOCS)}")
    made |= {p: filled(p.read_text(encoding="utf-8")) for p in pages() if p not in made}
    for path, text in made.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            print(f"filled {path.relative_to(DOCS)}")
    targets = {page: SITE / page.relative_to(DOCS) for page in pages()}
    targets |= {page: SITE / "measured" / page.name for page in measured()}
    for page, place in targets.items():
        target = place.with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rendered(page), encoding="utf-8")
    for page in RESULTS.glob("*.html"):
        # a table links to it
        (SITE / "measured" / page.name).write_bytes(page.read_bytes())
    print(f"{len(pages())} pages. Open {(SITE / 'index.html').relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
