"""The model card: what a run truly knows about its model, field by field, and who is to be asked for the rest.

Fields after Mitchell et al. 2019, Model Cards for Model Reporting, and what imaging asks for besides. Nothing is judged
here: a card says what is on record, not that a model is good.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.evaluation import _parts
from hilum.evaluation._card_fields import FIELDS, Known
from hilum.evaluation.bootstrap import INTERVALS
from hilum.evaluation.checklists import CHECKLISTS, counted, filled
from hilum.evaluation.provenance import NOT_KNOWN, provenance, rows
from hilum.pictures.page import Page

KEYS = ("task", "part", "cases", "groups", "missing", "metrics")
# What an evaluation must say to be put on a card.
NUMBERS = ("mean", "low", "high", "n")
# Of each metric, and of each of its classes.


@dataclass(frozen=True)
class Field:
    """One field of the card. lines: (name, words); words that are not on record are NOT_KNOWN. who: fills those."""

    key: str
    title: str
    who: str
    lines: tuple[tuple[str, str], ...]

    @property
    def unknown(self) -> list[str]:
        """Names of the lines that nobody has filled."""
        return [name for name, words in self.lines if words == NOT_KNOWN]


@dataclass(frozen=True)
class Card:
    """fields: all of them, in order. found: the provenance. results: rows of the last evaluation, if one was given.

    apart: why those rows are no result of this model; None where they are. alarms: what else they may hide, as the
    evaluation said it.
    """

    fields: tuple[Field, ...]
    found: Mapping[str, Any]
    results: tuple[Mapping[str, Any], ...] = ()
    apart: str | None = None
    alarms: tuple[str, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """What stands above the results."""
        return list(dict.fromkeys([*([] if self.apart is None else [self.apart]), *self.alarms]))

    @property
    def title(self) -> str:
        """What the card is of."""
        return f"Model card: {self.found['task']} by {self.found['model']['network']}"

    @property
    def asked(self) -> dict[str, list[str]]:
        """{who: what they are to be asked for}, as "field: line"."""
        out: dict[str, list[str]] = {}
        for field in self.fields:
            for name in field.unknown:
                out.setdefault(field.who, []).append(f"{field.title}: {name}")
        return out

    def checklist(self, name: str) -> list[dict[str, str]]:
        """The rows of one of CHECKLISTS, filled from this card."""
        return filled(CHECKLISTS[name], self.fields)


def card(run: Run, metrics: Mapping[str, Any] | None = None, raters: Mapping[str, Any] | None = None) -> Card:
    """The card of a finished run or a bundle. metrics, raters: metrics.json and raters.json of its last evaluation.

    Refused: an evaluation of another task, or one that lacks what these files hold (HIL-EVAL-21).
    """
    # hashes are compared by `provenance`
    run.check_form()
    plan = run.plan
    if metrics is not None:
        _check(metrics, plan)
    if not isinstance((raters or {}).get("sentence", ""), str):
        raise HilumError(
            "HIL-EVAL-21", "The raters.json beside the metrics is not what hilum evaluate writes",
            "Give the metrics.json that lies beside its own",
        )  # fmt: skip
    found, given = provenance(run), metrics or {}
    known = Known(run, plan, found, given, raters or {}, _parts.apart(run, given))
    fields = tuple(Field(key, title, who, make(known)) for key, title, who, make in FIELDS)
    return Card(fields, found, _results(given), known.apart, tuple(given.get("alarms", ())))


def _check(metrics: Mapping[str, Any], plan: Plan) -> None:
    if any(key not in metrics for key in KEYS) or not _whole(metrics):
        raise HilumError(
            "HIL-EVAL-21", "What was given as metrics is not what hilum evaluate writes", "Give its metrics.json"
        )
    if metrics["task"] != plan.task:
        raise HilumError(
            "HIL-EVAL-21", f"The evaluation is of a {metrics['task']} model, this one is for {plan.task}",
            "Give the metrics.json of this model",
        )  # fmt: skip


def _whole(metrics: Mapping[str, Any]) -> bool:
    """Whether what the card reads of metrics.json has the form that it has there."""
    named, table = metrics["part"], metrics["metrics"]
    counts = [metrics[key] for key in ("cases", "groups", "missing")]
    if not isinstance(named, str) or not all(map(_count, counts)) or not isinstance(table, dict):
        return False
    alarms = metrics.get("alarms", [])
    if not isinstance(alarms, list) or not all(isinstance(words, str) for words in alarms):
        return False
    rows = list(table.values())
    if not all(isinstance(row, dict) and isinstance(row.get("per_class", {}), dict) for row in rows):
        return False
    rows += [own for row in rows for own in row.get("per_class", {}).values()]
    return all(isinstance(row, dict) and all(map(_number, (row.get(k) for k in NUMBERS))) for row in rows)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return value is None or isinstance(value, float) or _count(value)


def _results(metrics: Mapping[str, Any]) -> tuple[Mapping[str, Any], ...]:
    """One row per metric and class: mean, interval, cases."""
    out: list[Mapping[str, Any]] = []
    for name, metric in metrics.get("metrics", {}).items():
        for key, values in [("all", metric), *metric.get("per_class", {}).items()]:
            row = {"metric": name, "class": key} | {k: values.get(k) for k in NUMBERS}
            out.append(row | {"better": metric.get("better")})
    return tuple(out)


def markdown(made: Card) -> str:
    """The card as Markdown, the same text for the same card; facts for machines are in its head, as YAML."""
    found = made.found
    head = {
        "task": found["task"],
        "network": found["model"]["network"],
        "terms_of_weights": found["terms"]["weights"],
        "weights_sha256": found["hashes"]["weights"],
        "split_sha256": found["split"]["hash"],
        "intended_use": INTENDED_USE,
    }
    title = f"# {_escaped(made.title)}"
    out = ["---", *(f"{key}: {_quoted(value)}" for key, value in head.items()), "---", "", title, ""]
    out += [f"**{INTENDED_USE}**", "", _escaped(_opening(made)), ""]
    for field in made.fields:
        out += [f"## {field.title}", "", *(f"- {name}: {_escaped(words)}" for name, words in field.lines), ""]
        if field.key == "performance" and made.results:
            out += [line for words in made.warnings for line in (f"**{_escaped(words)}**", "")]
            out += [_table(made.results), ""]
        if field.unknown:
            out += [f"To be filled by {field.who}: {', '.join(field.unknown)}.", ""]
    for name, checklist in CHECKLISTS.items():
        filled_in = made.checklist(name)
        out += [f"## Checklist: {checklist.name}", "", checklist.source, "", _tally(filled_in), ""]
        out += [_table(filled_in), ""]
    return "\n".join(out)


def page(made: Card) -> Page:
    """The card as a page."""
    drawn = Page(made.title)
    drawn.note("warning", INTENDED_USE).text(_opening(made))
    for field in made.fields:
        drawn.heading(field.title).table([{"fact": n, "value": w} for n, w in field.lines], columns=["fact", "value"])
        if field.key == "performance" and made.results:
            for words in made.warnings:
                drawn.note("warning", words)
            drawn.table(made.results, caption=f"Mean and {INTERVALS}.")
        if field.unknown:
            drawn.note("info", f"To be filled by {field.who}: {', '.join(field.unknown)}.")
    for name, checklist in CHECKLISTS.items():
        filled_in = made.checklist(name)
        drawn.heading(f"Checklist: {checklist.name}").text(_tally(filled_in)).table(filled_in, caption=checklist.source)
    text = "\n".join(f"{row['fact']}: {row['value']}" for row in rows(made.found))
    return drawn.details("The whole record", text)


def _opening(made: Card) -> str:
    """What kind of text this is."""
    lines = sum(len(field.lines) for field in made.fields)
    unknown = sum(len(field.unknown) for field in made.fields)
    return (
        f"Written by Hilum from the record of {made.found['name']!r}. Of {lines} facts {unknown} are {NOT_KNOWN}. "
        "The card says what is on record; it does not judge the model."
    )


def _tally(filled_in: Sequence[Mapping[str, str]]) -> str:
    """The counts as one sentence."""
    counts = counted(filled_in)
    told = ", ".join(f"{n} {status}" for status, n in counts.items())
    return f"Of {len(filled_in)} items: {told}. Reported is what the card answers whole; all else is for the authors."


def _quoted(value: Any) -> str:
    """A YAML scalar that reads back as this text."""
    return "'" + str(value).replace("'", "''") + "'"


def _escaped(words: Any) -> str:
    """Words that Markdown shows as they are, on one line."""
    text = " ".join(str(words).split())
    for sign in ("\\", "|", "`", "*", "_", "<", "[", "]"):
        text = text.replace(sign, f"\\{sign}")
    return text


def _table(filled_in: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; numbers to four places, a dash where there is none."""
    columns = list(filled_in[0])

    def cell(value: Any) -> str:
        return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else _escaped(value)

    body = [[cell(row[column]) for column in columns] for row in filled_in]
    return "\n".join("| " + " | ".join(row) + " |" for row in [columns, ["---"] * len(columns), *body])
