"""The images of a case whose technical quality can be measured, and what kind of image those of training are."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hilum.core.calibration import Calibration
from hilum.core.findings import Result
from hilum.core.image import Case, Image
from hilum.infer.domain import ROLES, code
from hilum.trust import quality

ZERO_FILLED = "zero_filled"
# What raw data look like before any network: the coils' images of the columns that were measured.
CALLED = ROLES | {ZERO_FILLED: "zero-filled image"}


def read(case: Case) -> tuple[Case, dict[str, Image]]:
    """The case with its images read, and those images by role."""
    items = {role: case.read(role) for role in ROLES if role in case.items}
    return replace(case, items={**case.items, **items}), {n: i for n, i in items.items() if isinstance(i, Image)}


def zero_filled(task: Any, case: Case) -> Image:
    """The picture of raw data without a network: magnitude (1, slices, H, W), as `Task.decode` has it."""
    batch = task.whole(task.prepare(case, truth=False))
    stack = np.abs(batch["zero_filled"].numpy()) * batch["scale"].numpy().reshape(-1, 1, 1)
    return Image(stack[:1] if len(stack) == 1 else stack[None])


def shown(case: Case, result: Result) -> tuple[Case, dict[str, Image]]:
    """As `read`; of raw data the zero-filled picture that lies with its result."""
    case, found = read(case)
    if not found and ZERO_FILLED in result.findings:
        # without its place, as `zero_filled` has it: by that other planes of it would be looked at
        found[ZERO_FILLED] = Image(result[ZERO_FILLED].image.array)
    return case, found


def kinds(cases: Sequence[Case], facts: Mapping[str, Any], hounsfield: bool) -> dict[str, list[str]]:
    """{role: modalities} of training cases, by a fingerprint; roles of which an image does not say it are left out.

    hounsfield: whether images are taken for CT where nobody says what they are.
    """
    said = {row["id"]: code(row.get("modality")) for row in facts.get("cases", [])}
    stated = code(facts.get("settings", {}).get("modality"))
    found: dict[str, set[str]] = {}
    for case in cases:
        for role in (r for r in ROLES if r in case.items):
            # a pair names the images it is made of
            one = said.get(case.attributes.get(role, case.id), "") or stated
            found.setdefault(role, set()).add(one)
    if hounsfield:
        found = {role: {"CT"} if codes == {""} else codes for role, codes in found.items()}
    return {role: sorted(codes) for role, codes in found.items() if "" not in codes}


def poor(rows: Mapping[str, Mapping[str, float]], known: Calibration) -> list[str]:
    """Sentences about what is unusual in {role: features}."""
    usual = known.sides | ({"image": known.quality} if known.quality else {})
    return [
        words
        for role, row in rows.items()
        if role in usual
        for _, _, words in quality.check(row, usual[role], CALLED[role])
    ]
