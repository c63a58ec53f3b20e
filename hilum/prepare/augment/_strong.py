"""Strong defaults: which augmentations, how often and how much, for each family of images.

What nnU-Net v2 has (Isensee 2021) keeps its ranges and probabilities; what an acquisition adds (coils, breathing,
stain, lamps) is kept rarer than that, or mild.
"""

from collections.abc import Sequence
from typing import Any

from hilum.core import catalogue
from hilum.core.plan import AugmentPlan

Entry = dict[str, Any]

EXTRA: dict[str, list[Entry]] = {
    "mr": [
        {"name": "bias_field", "options": {"probability": 0.15}},
        {"name": "ghost", "options": {"probability": 0.05}},
        {"name": "motion", "options": {"probability": 0.05}},
        {"name": "ringing", "options": {"probability": 0.05}},
    ],
    "ct": [{"name": "ct_noise", "options": {"probability": 0.15}}],
    "nuclear": [],
    "ultrasound": [{"name": "speckle", "options": {"probability": 0.15}}],
    "xray": [],
    "histology": [{"name": "stain"}, {"name": "colour", "options": {"hue": 8.0, "probability": 0.15}}],
    "microscopy": [{"name": "colour", "options": {"probability": 0.15}}],
    "photograph": [{"name": "colour"}],
    "colour": [{"name": "colour"}],
    "grey": [],
}
# What a family has beside the shared ones. `colour` and `stain` leave images without three channels alone.
ALONG = {"ghost", "motion", "ringing"}
# What an acquisition does along an axis in the plane: the thin axis of a flat volume is across the slices.
BENT = {"histology", "microscopy"}
# Soft things, seen from any side: elastic deformation is plausible there, and on ten images it counts.
SIGNED = {"ct", "nuclear", "xray", "histology"}
# Where dark and bright have one meaning: no gamma from the bright end.
FLAT = 3.0
# From this ratio of patch axes the coarse axis is left unturned (nnU-Net's "dummy 2-D").
LONG = 1.5
# From this ratio of axes a picture is not turned freely (nnU-Net).
PASSES, LEAST = (10.0, 30.0), 0.15
# Passes over the training images: up to the first the least share of the usual probabilities, from the second on all.
# With 13 passes none at all was better than strong, with 25 and 36 strong was better than little; between and below is
# a choice, and some is kept for other scanners' sake (benchmarks/results/training_trials.md).


def strong(
    family: str,
    dims: int,
    *,
    oriented: bool,
    patch: Sequence[int],
    mirror: bool | Sequence[int] = True,
    whole: bool = False,
) -> list[Entry]:
    """Entries for the plan, in order: space, what the acquisition does, then the grey values.

    family: of `prepare.modality`. oriented: images have an up and a left (bodies), so they turn by 30 degrees at most;
    others turn freely in 2-D. mirror: also from their mirror images, of some axes where these are named. whole: images
    are seen whole, not by patches, so what lies where is varied more often and less far.
    """
    entries: list[Entry] = [{"name": "rotate_scale", "options": _turning(dims, oriented, patch)}]
    if whole:
        entries[0]["options"] |= {"scale": [0.85, 1.2], "probability": 0.5} | ({"degrees": 15.0} if oriented else {})
        entries.append({"name": "shift", "options": {"share": 0.08}})
    if family in BENT:
        entries.append({"name": "elastic", "options": {"probability": 0.2}})
    # a thin axis keeps the slices that it has, as in nnU-Net, and nothing turns out of the plane
    flat = {"axes": entries[0]["options"]["axes"]} if "axes" in entries[0]["options"] else {}
    extra = [(e["name"], dict(e.get("options", {}))) for e in EXTRA[family]]
    entries += [{"name": name, "options": own | (flat if name in ALONG else {})} for name, own in extra]
    # nnU-Net blurs 0.2 of the images, and of those each channel with one half
    blur: Entry = {"name": "blur", "options": {"probability": 0.1}}
    plain: list[Entry] = [{"name": "noise", "options": {}}, {"name": "contrast", "options": {}}]
    plain.append({"name": "low_resolution", "options": flat})
    entries += [plain[0], blur, *plain[1:]]
    if family not in SIGNED:
        entries.append({"name": "gamma", "options": {"inverted": 1.0, "probability": 0.1}})
    entries.append({"name": "gamma", "options": {"probability": 0.3}})
    axes: Entry = {} if isinstance(mirror, bool) else {"axes": list(mirror)}
    return [*entries, {"name": "flip", "options": axes}] if mirror else entries


def weakened(plans: Sequence[AugmentPlan], passes: float) -> list[AugmentPlan]:
    """The same but rarer, the fewer passes over the training images there are: variation pays once they are known."""
    share = min(1.0, max(LEAST, (passes - PASSES[0]) / (PASSES[1] - PASSES[0])))
    found = []
    for plan in plans:
        defaults = catalogue.card("hilum.prepare.augment", plan.name)["options"]
        usual = plan.options.get("probability", defaults.get("probability"))
        less = {} if usual is None or share == 1 else {"probability": round(usual * share, 4)}
        found.append(plan.model_copy(update={"options": plan.options | less}))
    return found


def _turning(dims: int, oriented: bool, patch: Sequence[int]) -> dict[str, Any]:
    """nnU-Net's ranges: 30 degrees in 3-D; in 2-D freely, or 15 where the patch is long; flat volumes in plane only."""
    if dims == 2:
        if max(patch) > LONG * min(patch):
            return {"degrees": 15.0}
        return {"degrees": 30.0 if oriented else 180.0}
    if max(patch) > FLAT * min(patch):
        thin = min(range(dims), key=lambda a: patch[a])
        # in one plane nothing is lost by turning all the way, where there is no up
        return {"degrees": 30.0 if oriented else 180.0, "axes": [a for a in range(dims) if a != thin]}
    return {"degrees": 30.0}
