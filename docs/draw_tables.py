"""The parts of pages that are drawn from the code: one function each, named as the page names it."""

import inspect
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from read_code import docstring, first_line, signature, table

from hilum.core import catalogue
from hilum.core.plan import Strict

DOCS = Path(__file__).parent
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
    "machine": "what the plan was fitted to: cores, memory, measured speed; later only `memory_cap` counts",
    "data": "name, layout, grouping, label mapping, terms and fingerprint of the data",
    "minutes": "asked for; turned into `steps` by a short timing",
    "steps": "what is trained and resumed by; frozen once written",
    "seed": "of the weights and the batches",
    "split_seed": "of the split into parts",
    "versions": "of hilum, torch and numpy when the plan was made",
}
# Words for the keys of plan.json; a key without words fails the build.


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


def networks() -> str:
    """One row per network, with a link to its page."""
    rows: list[list[Any]] = []
    for name, card in catalogue.cards("hilum.zoo").items():
        golden = card["golden"][0]
        link = f"[{name}](networks/{name}.md)" if card["module"].startswith("hilum.") else name
        what = first_line(card["module"]) + (" A reconstruction." if card["reconstruction"] else "")
        rows.append([link, what, card["tasks"], [f"{d}-D" for d in card["dims"]], f"{golden['parameters']:,}"])
    return table(["name", "what", "tasks", "images", "parameters"], rows)


def metrics() -> str:
    """One row per metric."""
    rows: list[list[Any]] = []
    for name, card in catalogue.cards("hilum.metrics").items():
        low, high = ("unbounded" if v is None else v for v in card["range"])
        unit = card["unit"] or "-"
        rows.append([f"`{name}`", first_line(card["module"]), card["better"], unit, f"{low} to {high}", card["level"]])
        rows[-1] += [card["aggregate"], card["missing"], card["empty"], card["source"]]
        rows[-1] += [[f"`@{word}N`" for word in card.get("suffix", {})] or "-"]
    columns = ["name", "what", "better", "unit", "range", "level", "one number from many cases"]
    columns += ["a case without a result", "nothing to measure", "source", "suffix"]
    return table(columns, rows)


def phantoms() -> str:
    """One row per phantom."""
    rows = [
        [f"`{name}`", card["about"], card["tasks"], signature(card["module"], "make")]
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
        words = docstring(card["module"])
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


def runtimes() -> str:
    """One row per runtime, the reference first."""
    from hilum.infer.runtimes import _choose

    rows = []
    for name in _choose.names():
        card = _choose.card(name)
        how = "as the reference, but for rounding" if card["exact"] else "less exact"
        needs = f"the extra `{card['extra']}`" if card["needs"] else "a CUDA device" if "device" in card else "-"
        rows.append([f"`{name}`", card["about"], how, needs])
    return table(["`--runtime`", "what computes", "result", "needs"], rows)


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
    """A typed settings class as its docstring, with those of the classes that it adds to, and a table."""
    rows = [[f"`{n}`", _type(f.annotation), _default(f), _limits(f)] for n, f in model.model_fields.items()]
    own = [one for one in model.__mro__ if issubclass(one, Strict) and one is not Strict]
    words = [inspect.cleandoc(one.__doc__ or "") for one in own]
    return "\n\n".join([*words, table(["key", "type", "default", "limits"], rows)])


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
        formats, tasks, regimes, losses, runtimes, plan, normalisation,
        options, dataset_yaml,
    )
}  # fmt: skip
