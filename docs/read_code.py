"""What the docs read from the code without running it: docstrings, options, signatures; and the tables they become."""

import ast
import fnmatch
import importlib.util
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in row) + " |" for row in lines)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return " ".join(str(value).split()).replace("|", "\\|")


def tree(module: str) -> ast.Module:
    """A module, read without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def docstring(module: str) -> str:
    return ast.get_docstring(tree(module)) or ""


def first_line(module: str) -> str:
    """The first sentence of a module's docstring."""
    return docstring(module).split("\n\n")[0]


def options_of(module: str) -> tuple[dict[str, str | None], str]:
    """Keyword-only arguments of `Net.__init__` with their defaults (None: required), and the docstring of `Net`."""
    net = next(n for n in tree(module).body if isinstance(n, ast.ClassDef) and n.name == "Net")
    made = next(n for n in net.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    pairs = zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
    return {a.arg: None if d is None else ast.unparse(d) for a, d in pairs}, ast.get_docstring(net) or ""


def meanings(names: Iterable[str], text: str) -> dict[str, str]:
    """What a docstring says first of each option: "width: channels. dim, depth: of the Transformer; ..."."""
    text, known = " ".join(text.split()), list(names)
    heads = [
        (found, [n for pattern in re.split(r", | and ", found[1]) for n in fnmatch.filter(known, pattern)])
        for found in re.finditer(r"(?:^|(?<=[.;:] ))([\w*]+(?:(?:, | and )[\w*]+)*): ", text)
    ]
    heads = [(found, meant) for found, meant in heads if meant]
    ends = [found.start() for found, _ in heads[1:]] + [len(text)]
    said: dict[str, str] = {}
    for (found, meant), end in zip(heads, ends, strict=True):
        first = re.split(r"(?<=\.) ", text[found.end() : end].strip())[0].rstrip(".;: ")
        first = re.sub(r"the head of this file|the file's head", "above", first)
        said |= {name: first for name in meant if name not in said}
    return said


def signature(module: str, function: str) -> str:
    """All but the first two arguments of a function, with defaults."""
    made = next(n for n in tree(module).body if isinstance(n, ast.FunctionDef) and n.name == function)
    count = len(made.args.defaults)
    late = zip(made.args.args[-count:], made.args.defaults, strict=True)
    return ", ".join(f"`{a.arg}={ast.unparse(d)}`" for a, d in late)
