"""The fields of the model card, each filled from the record; what is not on record is said to be not known."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hilum.core import catalogue
from hilum.core.findings import INTENDED_USE
from hilum.core.plan import Normalisation, Plan
from hilum.core.run import Run
from hilum.evaluation import _card_trust, _parts
from hilum.evaluation.bootstrap import INTERVALS
from hilum.evaluation.provenance import NOT_KNOWN, imported

LEVEL = {
    "patient": "patient: no patient is in two parts",
    "similarity": "group of look-alikes: patients are not known, so independence is not proven",
    "case": "case: patients are not known, and every case was taken as its own group",
}
ASSIGNED = "by groups, at random with seed {}, or as a column of the data gave them"
OUTPUT = {
    "segment": "a class for every voxel", "classify": "a probability for every class", "detect": "boxes with scores",
    "register": "a displacement for every voxel", "reconstruct": "an image",
    "generate": "generated images; whether one repeats a training image was not checked",
}  # fmt: skip
Lines = tuple[tuple[str, str], ...]
MEMBER = re.compile(r"weights/[^/]+\.\d+\.safetensors")
# The further networks of an ensemble.
LOST = "; one counts as the worst where a metric has a worst value, else it is left out (see n)"
# Of cases without a result.
OTHER = "data that shares no image with the run's; whether it is of another origin is not on record"
UNCOMPARED = "data of which it is not on record whether the model has learned from them"


@dataclass(frozen=True)
class Known:
    """What the fields are filled from. found: the provenance. metrics, raters: of the last evaluation, or {}.

    apart: why the metrics are no result of this model, None where they are (`_parts.apart`).
    """

    run: Run
    plan: Plan
    found: Mapping[str, Any]
    metrics: Mapping[str, Any]
    raters: Mapping[str, Any]
    apart: str | None = None


def _use(known: Known) -> Lines:
    return (("intended use", INTENDED_USE), ("users", NOT_KNOWN))


def _limits(known: Known) -> Lines:
    return (
        ("out of scope", "Diagnosis, triage or treatment of any person."),
        ("input it was made for", f"{known.plan.dims}-D images; channels: {', '.join(known.plan.channels)}"),
        ("people, devices and findings that it was not made for", NOT_KNOWN),
    )


def _data(known: Known) -> Lines:
    data = known.found["data"]
    named = (("name", data["name"]), ("kind of images", data["modality"]), ("fingerprint", data["fingerprint"]))
    asked = ("source", "dates", "setting", "inclusion and exclusion", "image acquisition", "patients in every part")
    return tuple((name, str(words)) for name, words in named) + tuple((name, NOT_KNOWN) for name in asked)


def _split(known: Known) -> Lines:
    split, seeds = known.found["split"], known.found["seeds"]
    parts, grouping = split["parts"], split["grouping"]
    patients = _counts(parts, "groups") if grouping == "patient" else NOT_KNOWN
    classes = "; ".join(
        f"{part}: " + ", ".join(f"{name} {n}" for name, n in own["classes"].items())
        for part, own in parts.items()
        if isinstance(own["classes"], dict)
    )
    return (
        ("cases", _counts(parts, "cases")),
        ("groups", _counts(parts, "groups")),
        ("patients", patients),
        ("cases of every class", classes or NOT_KNOWN),
        ("assigned", NOT_KNOWN if imported(known.plan) else ASSIGNED.format(seeds["split"])),
        ("level", _level(known, grouping)),
        ("hash of the split", split["hash"]),
        ("reason for the number", NOT_KNOWN),
    )


def _level(known: Known, grouping: str) -> str:
    """What no two parts share; where leaks were accepted, that they are there."""
    words = LEVEL.get(grouping, NOT_KNOWN)
    leaks = _parts.leaks(known.plan)
    return words if leaks is None else f"{words.split(':')[0]}, but not throughout. {leaks}"


def _counts(parts: Mapping[str, Any], key: str) -> str:
    """ "train 4, val 1, test 1", or not known where a number is missing."""
    if any(own[key] == NOT_KNOWN for own in parts.values()):
        return NOT_KNOWN
    return ", ".join(f"{part} {own[key]}" for part, own in parts.items())


def _reference(known: Known) -> Lines:
    classes = ", ".join(f"{c.name} ({c.value})" for c in known.plan.classes)
    spread = known.raters.get("sentence") if known.raters.get("cases") and known.apart is None else None
    asked = ("method", "reason for it", "annotators", "annotation of the test part")
    lines = (("classes", classes or "none"), *((name, NOT_KNOWN) for name in asked))
    return (*lines, ("spread between raters", spread or NOT_KNOWN))


def _preprocessing(known: Known) -> Lines:
    plan = known.plan
    spacing = "as stored" if plan.spacing is None else f"{_by(plan.spacing)} mm"
    scaled = "; ".join(f"{name}: {_scaled(n)}" for name, n in zip(plan.channels, plan.normalisation, strict=True))
    return (("spacing", spacing), ("normalisation", scaled), ("patch", f"{_by(plan.patch)} voxels"))


def _scaled(rule: Normalisation) -> str:
    """What `prepare.intensity.normalise` does by this rule."""
    words = {
        "zscore": "less the image's own mean, over its own standard deviation",
        "zscore_box": "less the mean, over the standard deviation, of its part around all that is not 0",
        "zscore_nonzero": "less the mean, over the standard deviation, of its voxels that are not 0; the others stay",
        "ct": f"cut to {rule.low:g} to {rule.high:g}, less {rule.mean:g}, over {rule.std:g}",
        "scale": f"{rule.low:g} to {rule.high:g} become 0 to 1, cut there",
    }
    return words.get(rule.scheme, "as stored")


def _by(numbers: Any) -> str:
    return " x ".join(f"{n:g}" for n in numbers)


def _architecture(known: Known) -> Lines:
    plan, model = known.plan, known.found["model"]
    options = ", ".join(f"{key}={value}" for key, value in model["options"].items())
    others = [f"{role}: {net.name}" for role, net in plan.networks.items() if net.name != model["network"]]
    inputs = ", ".join(catalogue.card("hilum.tasks", plan.task)["predicts_from"]) or "a random vector"
    return (
        ("network", model["network"]),
        ("options", options or "as the network's file has them"),
        ("other networks in training", ", ".join(others) or "none"),
        ("values in the weights", f"{model['values']:,}"),
        ("input", f"{inputs}; channels {', '.join(plan.channels)}"),
        ("output", OUTPUT.get(plan.task, NOT_KNOWN)),
        ("ensemble", _card_trust.combined(known.run, known.run.calibration)),
    )


def _begun(start: dict[str, str]) -> str:
    """The weights that training began with, and of what part where not of all."""
    part = f"; {start['part']}" if "part" in start else ""
    return f"{start['name']} (SHA-256 {start['sha256']}, terms {start['terms']}{part})"


def _training(known: Known) -> Lines:
    plan, done = known.plan, known.found["training"]
    if imported(plan):
        return _elsewhere(known)
    options = {key: value for key, value in {**plan.learning, **plan.options}.items() if key not in ("start", "keep")}
    settings = ", ".join(f"{key}={value}" for key, value in options.items())
    start = done["start"]
    begun = start if isinstance(start, str) else _begun(start)
    kept = {"last": "those of the last step", "best": "those that validated best"}.get(plan.learning.get("keep", ""))
    return (
        ("regime", plan.regime),
        ("settings", settings or NOT_KNOWN),
        ("augmentation", ", ".join(one.name for one in plan.augment) or "none"),
        ("rare classes", _balance(plan)),
        ("batch", str(plan.batch)),
        ("steps", str(done["steps planned"])),
        ("steps done", str(done["steps done"])),
        ("weights that are kept", kept or NOT_KNOWN),
        ("starting weights", begun),
        ("seed", str(plan.seed)),
        ("resumed", _resumed(done)),
        ("versions", _made(known, "versions", "when the plan was made")),
        ("machine", _made(known, "hardware", "that the plan was fitted to")),
    )


def _elsewhere(known: Known) -> Lines:
    """The same of a model that was trained by another program, of which the weights alone are here."""
    asked = ("regime", "settings", "augmentation", "rare classes", "batch", "steps", "steps done",
             "weights that are kept", "starting weights", "seed", "resumed", "versions", "machine")  # fmt: skip
    start = known.found["training"]["start"]
    source = NOT_KNOWN if isinstance(start, str) else _begun(start)
    return (("imported from", source), *((name, NOT_KNOWN) for name in asked))


def _resumed(done: Mapping[str, Any]) -> str:
    """Whether training was interrupted, and what other versions it then went on from."""
    others = done["went on from"]
    if isinstance(others, list) and others:
        return f"yes, from states made by: {'; '.join(map(_pairs, others))}"
    return {True: "yes", False: "no"}.get(done["resumed"], NOT_KNOWN)


def _made(known: Known, key: str, planned: str) -> str:
    """Versions or machine; of a run that does not say what trained it, those of its plan, which is said."""
    words = _pairs(known.found[key])
    only = known.found["of"] == "plan" and words != NOT_KNOWN
    return f"{words} ({planned}; what trained is not on record)" if only else words


def _pairs(value: Any) -> str:
    """{name: value} as words; what is not known stays so."""
    return value if isinstance(value, str) else _listed([f"{key} {own}" for key, own in value.items()])


def _listed(value: Any) -> str:
    return value if isinstance(value, str) else ", ".join(value) or "none"


def _balance(plan: Plan) -> str:
    """What training did about classes that are rare, by the task's options."""
    if plan.task == "classify" and "balance" in plan.options:
        return "classes are drawn equally often" if plan.options["balance"] else "cases are drawn as they are"
    if plan.task == "segment" and "foreground" in plan.options:
        return f"{plan.options['foreground']:.0%} of the patches are made to hold foreground, classes equally often"
    return NOT_KNOWN


def _performance(known: Known) -> Lines:
    given, opened = known.metrics, known.found["opened"]
    part = given.get("part")
    # how it does on what it learned from, or as another model, says nothing about new cases
    counts = bool(given) and known.apart is None
    where = "the test part of the run's own data" if counts and part == "test" else NOT_KNOWN
    other = NOT_KNOWN
    if counts and part == "all":
        other = OTHER if known.run.has("seen.json") else UNCOMPARED
    missing = f"{given['missing']} of {given['cases']} cases{LOST if given['missing'] else ''}" if counts else NOT_KNOWN
    size = NOT_KNOWN
    if counts:
        size = f"part {part}: {given['cases']} cases in {given['groups']} independent groups; see the table"
    return (
        ("metrics", ", ".join(given.get("metrics", {})) or NOT_KNOWN),
        ("uncertainty", INTERVALS if given else NOT_KNOWN),
        ("results", size),
        ("internal data", where),
        ("data of other origin", other),
        ("cases without a result", missing),
        ("computed by", str(given.get("runtime", NOT_KNOWN)) if counts else NOT_KNOWN),
        ("diagnostic performance", "see the table" if counts and known.plan.task == "classify" else NOT_KNOWN),
        ("how often each part was judged", _pairs(opened) + _parts.looks(known.run)),
        ("this evaluation in the ledger", _parts.held(known.run, given, known.apart)),
        ("sites and groups of people", NOT_KNOWN),
    )


def _failures(known: Known) -> Lines:
    warnings = known.found["warnings"]
    return (
        ("warnings of the data that training went on with", " ".join(warnings["of the data"]) or "none"),
        ("faults accepted as meant", _listed(warnings["accepted"])),
        ("analysis", NOT_KNOWN),
        ("limitations", NOT_KNOWN),
    )


def _privacy(known: Known) -> Lines:
    return (
        ("private training", "none: there is no (epsilon, delta) to state, and weights may remember single images"),
        ("de-identification", NOT_KNOWN),
        ("ethics approval", NOT_KNOWN),
    )


def _licence(known: Known) -> Lines:
    terms = known.found["terms"]
    return (
        ("data", terms["data"]),
        ("weights", terms["weights"]),
        ("strictest that applies", terms["strictest"]),
        ("publication", terms["public"]),
        ("conditions", " ".join(terms["conditions"]) or "none on record"),
        ("program", "Hilum, Apache-2.0"),
    )


def _version(known: Known) -> Lines:
    found, task = known.found, known.plan.task
    words = {"generate": "generate {} --count N", "register": "predict {} --fixed A --moving B"}
    return (
        ("weights", _weights(found["hashes"])),
        ("training ended", found["training"]["ended"]),
        ("how to predict", f"hilum {words.get(task, 'predict {} IMAGES').format(found['name'])} --out DIR"),
    )


def _weights(hashes: Mapping[str, Any]) -> str:
    """The hash of the weights, of an ensemble those of all its networks, of a system those of their manifests."""
    own, files = hashes["weights"], hashes["files"]
    if own == NOT_KNOWN:
        held = [f"{name} {value}" for name, value in files.items() if name.endswith("/manifest.json")]
        return f"SHA-256 of the manifests of its networks: {', '.join(held)}" if held else NOT_KNOWN
    more = [value for name, value in files.items() if MEMBER.fullmatch(name)]
    return f"SHA-256 {own}" + (f"; of the other networks {', '.join(more)}" if more else "")


DEVELOPER, OWNER, CLINIC = "the developer", "whoever collected the data", "a clinician of the field"
FIELDS: tuple[tuple[str, str, str, Callable[[Known], Lines]], ...] = (
    ("use", "Intended use and users", CLINIC, _use),
    ("limits", "Out of scope", CLINIC, _limits),
    ("data", "Data", OWNER, _data),
    ("split", "Split", OWNER, _split),
    ("reference", "Reference standard", OWNER, _reference),
    ("preprocessing", "Preprocessing", DEVELOPER, _preprocessing),
    ("architecture", "Architecture", DEVELOPER, _architecture),
    ("training", "Training", DEVELOPER, _training),
    ("performance", "Performance", DEVELOPER, _performance),
    ("operation", "Operating point", DEVELOPER, lambda known: _card_trust.operation(known.run)),
    ("calibration", "Calibration", DEVELOPER, lambda known: _card_trust.calibration(known.run)),
    ("uncertainty", "Uncertainty and unlike input", DEVELOPER, lambda known: _card_trust.uncertainty(known.run)),
    ("failures", "Failure modes", DEVELOPER, _failures),
    ("privacy", "Privacy", OWNER, _privacy),
    ("licence", "Licence", OWNER, _licence),
    ("version", "Version", DEVELOPER, _version),
    ("contact", "Contact", DEVELOPER, lambda known: (("contact", NOT_KNOWN),)),
    ("regulation", "Regulatory status", DEVELOPER, lambda known: (("status", INTENDED_USE), ("filings", NOT_KNOWN))),
)
# Key, title, who is to be asked for what is not known, and what fills it. Every card has all of them.
