"""What a state was made by (plan, parts, versions, code), and how that differs from what would go on with it (T04)."""

import contextlib
import functools
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.plan import Plan

PACKAGES = ("hilum", "torch", "numpy", "scipy")
LATER = ("lightning-fabric", "scikit-image", "monai")
# Named by states since; MONAI comes with an extra, and is named where it is installed.


@functools.cache
def here() -> dict[str, str]:
    """Versions of what computes, and a hash of our own code: a version number does not change with every edit."""
    digest = hashlib.sha256()
    root = Path(__file__).parent.parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    found = {name: version(name) for name in PACKAGES}
    for name in LATER:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found | {"python": platform.python_version(), "code": digest.hexdigest()[:12]}


def origin(plan: Plan, devices: int = 1, device: str = "cpu") -> dict[str, Any]:
    """What is written into every checkpoint. devices: processes that share a batch. device: their kind (cpu, cuda)."""
    versions = here() | {"devices": str(devices)}
    return {"plan": plan.model_dump(mode="json"), "versions": versions, "device": device}


def cut(units: Sequence[tuple[Case, str]]) -> str:
    """A hash of which cases (or pairs) are in which part, in their order, by which batches are drawn."""
    named = json.dumps([(case.id, part) for case, part in units])
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def check_cut(made: str | None, now: str) -> None:
    """Refuse to go on with cases in other parts than the state was made with (T04). States of before do not say it."""
    if made not in (None, now):
        raise HilumError(
            "HIL-T04", "split.csv is not the one that the saved state was made with: cases lie in other parts",
            "Put it back, or train anew into another folder",
        )  # fmt: skip


def check(made: dict[str, Any] | None, plan: Plan, devices: int, accepted: bool, device: str | None = None) -> None:
    """Refuse to go on with another plan, or, unless accepted, with other versions; the differences are shown (T04).

    device: the kind that goes on; None where it is not known yet. States of before do not say theirs.
    """
    if made is None:
        raise HilumError(
            "HIL-T04", "The saved state is of an older Hilum, which did not say how it was made",
            "Train anew into another folder",
        )  # fmt: skip
    before, now = (
        {k: v for k, v in p.items() if k != "versions"} for p in (_today(made["plan"]), plan.model_dump(mode="json"))
    )
    if words := differences(before, now):
        raise HilumError(
            "HIL-T04", f"plan.json is not the plan that the saved state was made with: {'; '.join(words)}",
            "Put it back, or train anew into another folder",
        )  # fmt: skip
    words = differences(*_both(made["versions"], here() | {"devices": str(devices)}))
    if device is not None and "device" in made:
        words += differences(made["device"], device, "device")
    if words and not accepted:
        raise HilumError(
            "HIL-T04", f"The saved state was made otherwise: {'; '.join(words)}",
            "Go back to that, or accept that the result is not the uninterrupted one: --accept T04",
        )  # fmt: skip


def since(event: Mapping[str, Any], devices: int, device: str) -> list[str]:
    """How what computes here differs from what trained a run, by the train event of its ledger, so far as that says it.

    devices: processes that share a batch. device: their kind (cpu, cuda).
    """
    found = differences(*_both(event["versions"], here())) if "versions" in event else []
    used = event.get("machine", {})
    if "devices" in used:
        kind = "cuda" if used.get("accelerator") else "cpu"
        found += differences(used["devices"], devices, "devices") + differences(kind, device, "device")
    return found


def _both(old: dict[str, str], new: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The versions without those of LATER that one side does not name: what was absent computed nothing."""
    lacking = {name for name in LATER if name not in old or name not in new}
    before, now = ({name: v for name, v in side.items() if name not in lacking} for side in (old, new))
    return before, now


def _today(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan of before with the settings that came since, which had no other value than today's default."""
    try:
        known = Plan.model_validate(plan)
        learning = catalogue.load("hilum.learn", known.regime).Learning.model_validate(known.learning)
    except ValueError:
        # it holds what is not there any more, which is then shown
        return plan
    return known.model_copy(update={"learning": learning.model_dump()}).model_dump(mode="json")


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """ "dotted.path: old, now new" for every leaf that differs."""
    if isinstance(old, dict) and isinstance(new, dict):
        found = []
        for key in dict.fromkeys([*old, *new]):
            found += differences(old.get(key), new.get(key), f"{path}.{key}" if path else str(key))
        return found
    if json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True):
        return []
    return [f"{path}: {json.dumps(old)}, now {json.dumps(new)}"]
