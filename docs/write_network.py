"""The page of a network of the zoo, from its CARD, its docstrings and its parts."""

import importlib
import re
from typing import Any

import draw_network
from read_code import docstring, meanings, options_of, table

from hilum.core import catalogue
from hilum.core.extras import command

DIFFERS = re.compile(r"Differs from|A reconstruction|Filled in|Follows the released|(Where p|P)aper and")
# How a paragraph of a network's docstring begins that says what is not as published.


def network(name: str) -> str:
    """The page of one network: its picture, what its file says, facts, options, counts, and how it is used."""
    card = catalogue.card("hilum.zoo", name)
    words = docstring(card["module"]).split("\n\n")
    apart = [w for w in words[1:] if DIFFERS.match(w)]
    about = [w for w in words[1:] if w not in apart]
    size = " x ".join(map(str, draw_network.schematic(name)[1]))
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
    rows += [["weights of its outputs in training", card["supervision"]]] if "supervision" in card else []
    rows += [["weights without a gradient", reason] for reason in dict.fromkeys(card.get("dead", {}).values())]
    rows += [["needs", f"`{command(card['package'])}`, in Hilum's folder"]] if "package" in card else []
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
    options, text = options_of(module)
    said = meanings(options, text)
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
