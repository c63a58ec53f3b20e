"""Whether a run's data still is what the run was made with: the same cases and truth, in the parts of the run."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.data.layouts.studies import NUMBERED
from hilum.data.splits import Known
from hilum.learn._versions import differences
from hilum.planning.fingerprint import hashed
from hilum.planning.planner import Prepared, look

NAMED = 3
# Cases of a kind that are named in a sentence.


def look_again(run: Run, data: Path | str, progress: Progress = quiet) -> Prepared:
    """Data that may be the run's own, with its groups and parts where they hold the cases of the run."""
    seen = run.json("fingerprint.json").get("cases", []) if run.has("fingerprint.json") else []
    # earlier runs of pairs learned how large images are from those too that no pair names
    among = [row["id"] for row in seen]
    return look(data, run.plan.task, run.plan.split_seed, progress, split_of(run), among)


def split_of(run: Run) -> Known:
    """(group, part) by image, as split.csv has them.

    Both images of a pair are in its part; the moving one in its group, where no other row says another one.
    """
    rows = run.split() if run.has("split.csv") else []
    found = {row.get("fixed") or row["case"]: (row["group"], row["part"]) for row in rows}
    moving = {row["moving"]: (row["group"], row["part"]) for row in rows if row.get("moving")}
    return moving | found


def same_data(run: Run, ready: Prepared) -> list[tuple[Case, str]] | None:
    """The run's units when its data is the same (fingerprint, truth, and what a split column says), else None.

    Groups and parts are those of split.csv: what tells patients apart, and the rule of cutting, change with versions.
    """
    if not run.has("split.csv") or run.plan.data.get("fingerprint") != ready.facts["hash"] or corrected(run, ready):
        return None
    units = ready.units(run.plan)
    # in their order, by which batches are drawn
    return units if [(c.id, part) for c, part in units] == [(row["case"], row["part"]) for row in run.split()] else None


def split_rows(units: list[tuple[Case, str]]) -> list[dict[str, Any]]:
    """Rows of split.csv: case, group, part, class, and fixed and moving for pairs."""
    pairs = any("fixed" in c.attributes for c, _ in units)
    rows = []
    for case, part in units:
        row = {"case": case.id, "group": case.group, "part": part, "class": case.klass or ""}
        if pairs:
            row |= {"fixed": case.attributes.get("fixed", ""), "moving": case.attributes.get("moving", "")}
        rows.append(row)
    return rows


def finished(run: Run) -> bool:
    """Whether a training wrote all that it writes; the ledger's event comes last."""
    return run.has("manifest.json") and any(event["event"] == "train" for event in run.ledger())


def writable(run: Run, verb: str) -> None:
    """Refuse a bundle, and one network of a system, which answers for its files (HIL-TRUST-20). verb: what is asked."""
    if run.is_bundle:
        raise HilumError("HIL-TRUST-20", f"{run.path} is a bundle", f"{verb} the run, and bundle it again")
    if run.system_folder is not None:
        raise HilumError(
            "HIL-TRUST-20", f"{run.path} is one network of a system, which answers for its files",
            f"{verb} the system: {run.system_folder}",
        )  # fmt: skip


def own_data(run: Run, data: Path | str, code: str, remedy: str, progress: Progress = quiet) -> list[tuple[Case, str]]:
    """The units of a run from its data; other data are refused by that code, with what differs."""
    if not run.has("split.csv"):
        raise HilumError(
            code, f"{run.path} was imported: it has no data of its own, nor parts of them",
            "Judge it on yours with hilum evaluate; only a run that was trained here can learn about its answers",
        )  # fmt: skip
    ready = look_again(run, data, progress)
    units = same_data(run, ready)
    if units is None:
        raise other_data(run, ready, data, code, remedy)
    return units


def other_data(
    run: Run,
    ready: Prepared,
    data: Path | str,
    code: str = "HIL-T04",
    remedy: str = "Resume with the same, unchanged data",
) -> HilumError:
    """The refusal of data that are not the run's, which says what is more, gone, changed or elsewhere."""
    words = [*_of_cases(run, ready), *_of_truth(run, ready), *_of_split(run, ready), *_of_settings(run, ready)]
    words += [*_of_layout(run, ready), *_of_readers(run, ready)]
    told = "; ".join(words) or "its cases or pairs are ordered otherwise or listed twice, or split.csv was edited"
    seen = f"{data} is not what {run.path} was trained on: {told}"
    return HilumError(code, seen, remedy)


def _of_cases(run: Run, ready: Prepared) -> list[str]:
    """Images that are more, gone, or have changed (they, their labels, classes or boxes)."""
    before, now = ({row["id"]: hashed(row) for row in facts["cases"]} for facts in _facts(run, ready))
    return [
        *_told(dict.fromkeys(now.keys() - before.keys(), ""), "is more", "are more"),
        *_told(dict.fromkeys(before.keys() - now.keys(), ""), "is gone", "are gone"),
        *_told({n: "" for n in before.keys() & now.keys() if before[n] != now[n]}, "has changed", "have changed"),
    ]


def _of_truth(run: Run, ready: Prepared) -> list[str]:
    """Cases whose truth was corrected, which the row of an image need not show."""
    changed = corrected(run, ready)
    if not changed:
        return []
    what = "case" if len(changed) == 1 else f"{len(changed)} cases:"
    parts = "label, validity mask, boxes, target, coil maps or sampling mask"
    return [f"the truth of {what} {_named(changed)} has changed ({parts})"]


def corrected(run: Run, ready: Prepared) -> list[str]:
    """Names of cases whose truth is another one than the run was made with, so far as it kept that.

    With the truth of raw data goes what they were measured with, as it decides what is to be learned.
    """
    before, now = ({row["id"]: row for row in facts["cases"]} for facts in _facts(run, ready))
    both = {name: (before[name], now[name]) for name in before.keys() & now.keys()}
    return sorted(
        name
        for name, (own, new) in both.items()
        if any(own.get(key) and new.get(key) and own[key] != new[key] for key in ("truth", "operator"))
    )


def _of_split(run: Run, ready: Prepared) -> list[str]:
    """Cases or pairs that are in another part."""
    before = {row["case"]: row["part"] for row in run.split()} if run.has("split.csv") else {}
    now = {case.id: part for case, part in ready.units(run.plan)}
    moved = {n: f"{before[n]}, now {now[n]}" for n in before.keys() & now.keys() if before[n] != now[n]}
    return _told(moved, "lies in another part", "lie in another part")


def _of_settings(run: Run, ready: Prepared) -> list[str]:
    """What dataset.yaml says otherwise, but for names and terms."""
    before, now = (
        {k: v for k, v in facts["settings"].items() if k not in ("folder", "terms")}
        # runs of before had the names of boxes there
        | {"classes": facts["settings"].get("classes") or facts.get("box_classes", {})}
        for facts in _facts(run, ready)
    )
    return differences(before, now)


def _of_layout(run: Run, ready: Prepared) -> list[str]:
    """By which layout the same cases were found."""
    before, now = (facts.get("layout") for facts in _facts(run, ready))
    return [] if before == now else [f"it was read as {before}, and is read as {now} now"]


def _of_readers(run: Run, ready: Prepared) -> list[str]:
    """That the chosen SEGs of studies go by their readers now, which runs of before took by the names of files."""
    chosen = ready.dataset.settings.roles.get("label", "")
    by_file = any(case.attributes.get(NUMBERED[0]) == NUMBERED[1] for case in ready.dataset.cases)
    changed = corrected(run, ready) or _of_cases(run, ready)
    if ready.dataset.layout != "studies" or by_file or not changed or not re.fullmatch(r"labels?@\d+", chosen):
        return []
    return [
        f"{chosen} is a reader now, by name, and was a place among the files in runs of before: if that is all that "
        "changed, choose the number of the reader that is meant in dataset.yaml and train anew"
    ]


def _facts(run: Run, ready: Prepared) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fingerprint of the run and of the data, both as JSON has them; the latter twice for runs that keep none."""
    now = json.loads(json.dumps(ready.facts))
    return (run.json("fingerprint.json") if run.has("fingerprint.json") else now), now


def _told(found: Mapping[str, str], one: str, many: str) -> list[str]:
    """ "2 are gone (a, b)", with a word on each where there is one; nothing of none."""
    if not found:
        return []
    names = [f"{name} ({found[name]})" if found[name] else name for name in sorted(found)]
    return [f"{len(found)} {one if len(found) == 1 else many} ({_named(names)})"]


def _named(names: Sequence[str]) -> str:
    """The first names."""
    return ", ".join(names[:NAMED]) + (", ..." if len(names) > NAMED else "")
