"""make docs: fill the parts of the pages that are drawn from the code, then write everything as plain HTML.

A page holds `<!-- drawn: NAME -->` ... `<!-- /drawn -->`; what stands between is written here, from the code, and never
by hand. Pages and pictures in the folders `networks` are written as a whole, one of each for every file in the zoo. The
HTML in docs/_site needs no network: style and pictures are inside.
"""

import ast
import base64
import fnmatch
import html
import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from hilum.core import catalogue
from hilum.core.findings import INTENDED_USE

DOCS = Path(__file__).parent
SITE = DOCS / "_site"
DRAWN = re.compile(r"(<!-- drawn: ([a-z_]+) -->\n).*?(<!-- /drawn -->)", re.DOTALL)
DIFFERS = re.compile(r"Differs from|A reconstruction|Filled in|Follows the released|(Where p|P)aper and")
# How a paragraph of a network's docstring begins that says what is not as published.
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem; color: #1d2733; }
a { color: #0b5c8a; } h1, h2, h3 { line-height: 1.25; } img { max-width: 100%; }
pre, code { font: 14px/1.45 ui-monospace, monospace; background: #f2f4f6; } pre { padding: .7rem; overflow-x: auto; }
p:has(> img[src^="data:image/svg"]) { overflow-x: auto; } img[src^="data:image/svg"] { max-width: none; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { border: 1px solid #ccd3da; padding: .25rem .5rem; text-align: left; vertical-align: top; }
footer { margin-top: 3rem; color: #5a6774; font-size: .9rem; }
"""
MEANING = {
    "format": "version of this file's form",
    "task": "name of a file in `hilum/tasks`",
    "dims": "axes of the images",
    "roles": "what every case must have to learn from",
    "channels": "names of the network's input channels",
    "classes": "`{value, name}` in the order of the network's outputs; `value` is what is written out",
    "spacing": "mm per voxel the network sees, one number per axis; null: the pixels as they are",
    "patch": "size of what the network sees at once, in voxels, one number per axis",
    "batch": "samples per step",
    "normalisation": "one entry per channel, see below",
    "networks": "`{role: {name, options}}`; `name` is a file in `hilum/zoo`",
    "regime": "name of a file in `hilum/learn`",
    "wrappers": "reserved for federated and private training; none exists yet, so it stays empty",
    "augment": "`{name, options}` in order; `name` is a file in `hilum/prepare/augment`",
    "options": "the task's own settings, see below",
    "learning": "the regime's own settings, see below",
    "store_bytes": "the most that prepared cases may take in memory; none: 4 GB",
    "machine": "what the plan was fitted to: cores, memory, measured speed; of no effect later",
    "data": "name, layout, grouping, label mapping, terms and fingerprint of the data",
    "minutes": "asked for; turned into `steps` by a short timing",
    "steps": "what is trained and resumed by; frozen once written",
    "seed": "of the weights and the batches",
    "split_seed": "of the split into parts",
    "versions": "of hilum, torch and numpy when the plan was made",
}
# Words for the keys of plan.json; a key without words fails the build.


def table(columns: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(_cell(c) for c in row) + " |" for row in lines)


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = ", ".join(map(str, value))
    return " ".join(str(value).split()).replace("|", "\\|")


def _tree(module: str) -> ast.Module:
    """A module, read without importing it."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def _docstring(module: str) -> str:
    return ast.get_docstring(_tree(module)) or ""


def _first_line(module: str) -> str:
    """The first sentence of a module's docstring."""
    return _docstring(module).split("\n\n")[0]


def commands() -> str:
    """Every command of the command line: help, arguments, options."""
    from typer.main import get_command

    from hilum.cli.main import app

    group: Any = get_command(app)
    out = []
    for name, command in group.commands.items():
        words = (command.help or "").split("Example:")
        out.append(f"## hilum {name}\n\n" + " ".join(words[0].split()))
        if len(words) > 1:
            out.append(f"```sh\n{words[1].strip()}\n```")
        rows = []
        context = command.make_context(name, [], resilient_parsing=True)
        for one in command.params:
            shown, words_of = one.get_help_record(context)
            about, _, more = words_of.partition("  [")
            rows.append([f"`{shown}`", about, more.rstrip("]")])
        out.append(table(["argument or option", "meaning", ""], rows))
    return "\n\n".join(out)


def _options(module: str) -> tuple[dict[str, str | None], str]:
    """Keyword-only arguments of `Net.__init__` with their defaults (None: required), and the docstring of `Net`."""
    net = next(n for n in _tree(module).body if isinstance(n, ast.ClassDef) and n.name == "Net")
    made = next(n for n in net.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    pairs = zip(made.args.kwonlyargs, made.args.kw_defaults, strict=True)
    return {a.arg: None if d is None else ast.unparse(d) for a, d in pairs}, ast.get_docstring(net) or ""


def _meanings(names: Iterable[str], text: str) -> dict[str, str]:
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


def _signature(module: str, function: str) -> str:
    """All but the first two arguments of a function, with defaults."""
    made = next(n for n in _tree(module).body if isinstance(n, ast.FunctionDef) and n.name == function)
    count = len(made.args.defaults)
    late = zip(made.args.args[-count:], made.args.defaults, strict=True)
    return ", ".join(f"`{a.arg}={ast.unparse(d)}`" for a, d in late)


def networks() -> str:
    """One row per network, with a link to its page."""
    rows: list[list[Any]] = []
    for name, card in catalogue.cards("hilum.zoo").items():
        golden = card["golden"][0]
        link = f"[{name}](networks/{name}.md)" if card["module"].startswith("hilum.") else name
        what = _first_line(card["module"]) + (" A reconstruction." if card["reconstruction"] else "")
        rows.append([link, what, card["tasks"], [f"{d}-D" for d in card["dims"]], f"{golden['parameters']:,}"])
    return table(["name", "what", "tasks", "images", "parameters"], rows)


def network(name: str) -> str:
    """The page of one network: its picture, what its file says, facts, options, counts, and how it is used."""
    card = catalogue.card("hilum.zoo", name)
    words = _docstring(card["module"]).split("\n\n")
    apart = [w for w in words[1:] if DIFFERS.match(w)]
    about = [w for w in words[1:] if w not in apart]
    size = " x ".join(map(str, _beside("draw_network").schematic(name)[1]))
    parts = [f"# {name}", words[0], f"![{name}: its parts and what they read](../../pictures/networks/{name}.svg)"]
    parts += [
        f"Drawn from the module: {_form(card['golden'][0])}; one image of {size}, in evaluation mode. A box is a part "
        "by its name in the network, with the channels that it gives; a row is a resolution, further right is later. "
        "Black is the longest way to a part, blue what else it reads: skips."
    ]
    parts += ["A reconstruction: what was published leaves gaps, which are filled here."] * card["reconstruction"]
    parts += ["## What it is", *about]
    parts += ["## What differs from the paper", *apart] if apart else []
    parts += ["## Facts", table(["fact", "value"], _facts(card)), "## Options", _option_table(card["module"])]
    counts = [
        [_form(g), f"{g['parameters']:,}", re.sub(r"^calc\b", "calculated", g["evidence"])] for g in card["golden"]
    ]
    parts += ["## Parameters", "A test counts them in the module: they have to be these."]
    parts += [table(["form", "parameters", "where the number is from"], counts)]
    parts += ["## Use", _use(name, card), "[All networks](../networks.md)"]
    return "\n\n".join(parts) + "\n"


def _form(golden: dict[str, Any]) -> str:
    """A form of a network in words."""
    given = dict(golden["kwargs"])
    inside, outside, dims = (given.pop(key) for key in ("in_channels", "out_channels", "spatial_dims"))
    plan = [golden["plan"]] if "plan" in golden else []
    sizes = [f"{dims}-D", f"{inside} channel{'s' * (inside != 1)} in", f"{outside} out"]
    return ", ".join([*plan, *sizes, *(f"`{key}={value}`" for key, value in given.items())])


def _facts(card: dict[str, Any]) -> list[list[Any]]:
    rows: list[list[Any]] = [
        ["paper", f"{card['paper']} ({card['authors']}, {card['year']})"],
        ["tasks", card["tasks"]],
        ["images", [f"{d}-D" for d in card["dims"]]],
        ["inputs", card["inputs"]],
        ["sides divisible by", f"{_divisor(card)} by default"],
    ]
    rows += [["other sizes", "padded, and cut again"]] if card.get("padded") else []
    rows += [["image size", "weights depend on it"]] if card["image_size"] else []
    rows += [["last layer", card["head"]]] if "head" in card else []
    rows += [["weights without a gradient", reason] for reason in dict.fromkeys(card.get("dead", {}).values())]
    rows += [["needs", f"`pip install {card['package']}`"]] if "package" in card else []
    return [*rows, ["licence of the code", card["licence"]]]


def _divisor(card: dict[str, Any]) -> str:
    """Of the form without options: one number, or one per axis."""
    import torch

    given = {k: v for k, v in card["golden"][0]["kwargs"].items() if k in ("spatial_dims", "image_size") or "_ch" in k}
    with torch.device("meta"):
        net = importlib.import_module(card["module"]).Net(**given)
    steps = getattr(net, "divisor", (card["divisor"],))
    return " x ".join(map(str, steps if len(set(steps)) > 1 else steps[:1]))


def _option_table(module: str) -> str:
    options, text = _options(module)
    said = _meanings(options, text)
    rows = [[f"`{n}`", "required" if d is None else f"`{d}`", said.get(n, "-")] for n, d in options.items()]
    return table(["option", "default", "meaning"], rows) if rows else "None."


def _use(name: str, card: dict[str, Any]) -> str:
    """One line that trains it; a critic comes with the regime that has one."""
    known = catalogue.cards("hilum.tasks")
    task = next((t for t in card["tasks"] if t in known), None)
    if task is not None:
        line = f"hilum train my_images --task {task} --net {name} --minutes 20 --out run"
        more = f"Options follow the name after colons (`--net {name}:key=value`), or stand in `--set`."
        return f"```sh\n{line}\n```\n\n{more}"
    regimes = [n for n, c in catalogue.cards("hilum.learn").items() if card["role"] in c["roles"][1:]]
    task = next((t for t, c in known.items() if c["regime"] in regimes), None)
    if task is None:
        return "No task uses it yet."
    line = f"hilum train my_images --task {task} --minutes 20 --out run"
    return f"The {card['role']} of a training by `{', '.join(regimes)}`, never alone:\n\n```sh\n{line}\n```"


def _beside(name: str) -> Any:
    """A script that lies beside this one, as a module."""
    if str(DOCS) not in sys.path:
        sys.path.append(str(DOCS))
    return importlib.import_module(name)


def whole() -> dict[Path, str]:
    """Files that are drawn as a whole: page and picture of each network, by path."""
    made = {}
    for name, card in catalogue.cards("hilum.zoo").items():
        if card["module"].startswith("hilum."):
            made[DOCS / "reference" / "networks" / f"{name}.md"] = network(name)
            made[DOCS / "pictures" / "networks" / f"{name}.svg"] = _beside("draw_network").schematic(name)[0]
    return made


def left_over(made: Iterable[Path]) -> list[Path]:
    """Pages and pictures that lie beside such files: of a network that is gone."""
    known = set(made)
    return sorted({found for p in known for found in p.parent.glob(f"*{p.suffix}")} - known)


def metrics() -> str:
    """One row per metric."""
    rows: list[list[Any]] = []
    for name, card in catalogue.cards("hilum.metrics").items():
        low, high = ("unbounded" if v is None else v for v in card["range"])
        unit = card["unit"] or "-"
        rows.append([f"`{name}`", _first_line(card["module"]), card["better"], unit, f"{low} to {high}", card["level"]])
        rows[-1] += [card["aggregate"], card["missing"], card["empty"], card["source"]]
        rows[-1] += [[f"`@{word}N`" for word in card.get("suffix", {})] or "-"]
    columns = ["name", "what", "better", "unit", "range", "level", "one number from many cases"]
    columns += ["a case without a result", "nothing to measure", "source", "suffix"]
    return table(columns, rows)


def phantoms() -> str:
    """One row per phantom."""
    rows = [
        [f"`{name}`", card["about"], card["tasks"], _signature(card["module"], "make")]
        for name, card in catalogue.cards("hilum.data.phantoms").items()
    ]
    return table(["name", "what", "tasks", "options of `make(folder, cases, ...)`"], rows)


def augmentations() -> str:
    """One row per augmentation."""
    rows = [
        [f"`{name}`", card["about"], "yes" if card["spatial"] else "no", f"`{card['options']}`"]
        for name, card in catalogue.cards("hilum.prepare.augment").items()
    ]
    return table(["name", "what", "moves space", "options and defaults"], rows)


def augmentation_pictures() -> str:
    """What the file of each augmentation says, and its picture where docs/draw_augmentation.py has drawn one."""
    out = []
    for name, card in catalogue.cards("hilum.prepare.augment").items():
        words = _docstring(card["module"])
        picture = f"pictures/augment/{name}.png"
        shown = f"\n\n![{name}: as it is, and three draws](../{picture})" if (DOCS / picture).is_file() else ""
        out.append(f"### {name}\n\n{words}{shown}")
    return "\n\n".join(out)


def layouts() -> str:
    """One row per layout, in the order in which they are tried."""
    found = sorted(catalogue.cards("hilum.data.layouts").items(), key=lambda pair: pair[1]["order"])
    return table(["tried", "name", "folder"], [[c["order"], f"`{n}`", c["about"]] for n, c in found])


def formats() -> str:
    """One row per file format."""
    rows = [
        [f"`{n}`", c["about"], c["extensions"] or "-", c["reads"] or "labels only", c["writes"]]
        for n, c in catalogue.cards("hilum.io").items()
    ]
    return table(["name", "what", "extensions", "reads", "writes"], rows)


def tasks() -> str:
    """One row per task."""
    rows: list[list[Any]] = []
    for n, c in catalogue.cards("hilum.tasks").items():
        rows.append([f"`{n}`", c["about"], c["roles"], c["predicts_from"] or "nothing", f"`{c['network']}`"])
        rows[-1] += [f"`{c['regime']}`", c["metrics"], [f"{d}-D" for d in c["dims"]]]
    return table(
        ["task", "what", "learns from", "predicts from", "network", "regime", "metrics, headline first", "images"], rows
    )


def regimes() -> str:
    """One row per regime."""
    rows = [[f"`{n}`", c["about"], c["roles"], c["predicts"]] for n, c in catalogue.cards("hilum.learn").items()]
    return table(["regime", "what", "networks by role", "the one that predicts"], rows)


def losses() -> str:
    """One row per loss that a task can pick."""
    rows = [
        [f"`{n}`", c["about"], c["tasks"], f"`{c['options']}`"]
        for n, c in catalogue.cards("hilum.losses").items()
        if c["tasks"]
    ]
    return table(["name", "what", "tasks", "options and defaults"], rows)


def _type(annotation: Any) -> str:
    """A type in words."""
    if annotation is type(None):
        return "null"
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{json.dumps(v)}`" for v in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join(_type(a) for a in get_args(annotation))
    if get_origin(annotation) is list:
        return f"list of {_type(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"{{{', '.join(_type(a) for a in get_args(annotation))}}}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
    return names.get(annotation) or re.sub(r"Plan$", "", annotation.__name__).lower()


def _limits(field: Any) -> str:
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "max_length": "entries at most"}
    found = [f"{words[k]} {getattr(m, k)}" for m in field.metadata for k in words if getattr(m, k, None) is not None]
    return ", ".join(found)


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    return f"`{json.dumps(field.get_default(call_default_factory=True))}`"


def _settings(model: Any) -> str:
    """A typed settings class as its docstring and a table."""
    rows = [[f"`{n}`", _type(f.annotation), _default(f), _limits(f)] for n, f in model.model_fields.items()]
    return f"{inspect.cleandoc(model.__doc__ or '')}\n\n" + table(["key", "type", "default", "limits"], rows)


def plan() -> str:
    """Every key of plan.json."""
    from hilum.core.plan import Plan

    rows = [[f"`{n}`", MEANING[n], _type(f.annotation), _default(f), _limits(f)] for n, f in Plan.model_fields.items()]
    return table(["key", "meaning", "type", "default", "limits"], rows)


def normalisation() -> str:
    """An entry of `normalisation`."""
    from hilum.core.plan import Normalisation

    return _settings(Normalisation)


def options() -> str:
    """The settings of each task and each regime."""
    out = []
    for name in catalogue.cards("hilum.tasks"):
        model = catalogue.load("hilum.tasks", name).Task.Options
        body = _settings(model) if model.model_fields else "None."
        out.append(f"### options of {name}\n\n{body}")
    for name in catalogue.cards("hilum.learn"):
        out.append(f"### learning of {name}\n\n{_settings(catalogue.load('hilum.learn', name).Learning)}")
    return "\n\n".join(out)


def dataset_yaml() -> str:
    """The keys of dataset.yaml."""
    from hilum.data.dataset import Settings

    rows = [[f"`{n}`", _type(f.annotation), _default(f)] for n, f in Settings.model_fields.items()]
    return table(["key", "type", "default"], rows)


DRAWERS: dict[str, Callable[[], str]] = {
    f.__name__: f
    for f in (
        commands, networks, metrics, phantoms, augmentations, augmentation_pictures, layouts,
        formats, tasks, regimes, losses, plan, normalisation,
        options, dataset_yaml,
    )
}  # fmt: skip


def pages() -> list[Path]:
    """Every Markdown page."""
    return sorted(p for p in DOCS.rglob("*.md") if SITE not in p.parents)


def filled(text: str) -> str:
    """A page with its drawn parts written anew."""
    return DRAWN.sub(lambda m: f"{m[1]}\n{DRAWERS[m[2]]()}\n\n{m[3]}", text)


def rendered(page: Path) -> str:
    """A page as HTML that stands alone."""
    from markdown_it import MarkdownIt

    text = re.sub(r"<!--.*?-->\n?", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    body: str = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    body = re.sub(r'(href="[^":]+)\.md(#[^"]*)?"', r'\1.html\2"', body)
    body = re.sub(r'src="([^":]+)"', lambda m: f'src="{_inlined(page.parent / m[1])}"', body)
    body = re.sub(r"<h([23])>(.*?)</h\1>", lambda m: f'<h{m[1]} id="{anchor(m[2])}">{m[2]}</h{m[1]}>', body)
    title = next((line[2:] for line in text.splitlines() if line.startswith("# ")), page.stem)
    home = "../" * (len(page.relative_to(DOCS).parts) - 1) + "index.html"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)} - Hilum</title><style>{STYLE}</style></head>\n<body>"
        f'<nav><a href="{home}">Hilum</a></nav>\n{body}<footer>{INTENDED_USE}</footer></body></html>\n'
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
    for page in pages():
        target = SITE / page.relative_to(DOCS).with_suffix(".html")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(rendered(page), encoding="utf-8")
    print(f"{len(pages())} pages. Open {(SITE / 'index.html').relative_to(DOCS.parent)}")


if __name__ == "__main__":
    main()
