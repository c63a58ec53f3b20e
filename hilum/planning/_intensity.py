"""How intensities are scaled: CT by the statistics of the data set, anything else by those of the image."""

from typing import Any

from hilum.prepare import modality

UNSTATED = ("", "OT")
# DICOM's OT, other, states no modality.
NAMED: dict[str, dict[str, Any]] = {
    "nonorm": {"scheme": "none"},
    "rgb_to_0_1": {"scheme": "scale", "low": 0.0, "high": 255.0},
}
# What nnU-Net does to channels that dataset.json calls so, in any case.
SCORED = ("zscore", "rescale_to_0_1")
# Its other such names: the second asks for what is not there, and gets the first.
CROPPED = 0.75
# Where the box around what is not 0 takes less of the volumes (median), nnU-Net scores that part alone.


def normalisation(facts: dict[str, Any], task: str = "") -> list[dict[str, Any]]:
    """nnU-Net's: CT, as stated of the data or of a channel, by the data set's foreground statistics; anything else
    z-score per image, for `segment` of what is not 0 where that takes little of the volumes.

    Where no modality is stated, and in every channel of several, Hounsfield units are guessed to be CT.
    """
    rows, guesses = [], _guessed(facts)
    masked = task == "segment" and facts["dims"] == 3 and facts.get("content", 1.0) < CROPPED
    for number, channel in enumerate(facts["intensity"]):
        if named := NAMED.get(_name(facts, number)):
            rows.append(dict(named))
        elif number in guesses or (_stated(facts, number) and _name(facts, number) not in SCORED):
            ct = {
                "mean": channel["mean"],
                "std": max(channel["std"], 1e-8),
                "low": channel["p005"],
                "high": channel["p995"],
            }
            rows.append({"scheme": "ct", **ct})
        else:
            rows.append({"scheme": "zscore_nonzero" if masked else "zscore"})
    return rows


def notes(facts: dict[str, Any]) -> list[str]:
    """Sentences for the plan about channels that are guessed to be CT, or that ask for what is not there."""
    found, guesses = list[str](), ", ".join(str(facts["channels"][number]) for number in _guessed(facts))
    if guesses:
        several = len(facts["intensity"]) > 1
        remedy = "set plan.normalisation" if several else "state the `modality` in a dataset.yaml"
        seen = "Taken for CT, as most training images reach down to the Hounsfield units of air"
        found.append(f"{seen}: {guesses}; else {remedy}")
    if any(_name(facts, number) == "rescale_to_0_1" for number in range(len(facts["intensity"]))):
        found.append("nnU-Net's rescale_to_0_1 is not there: such channels are scaled by their mean and deviation")
    return found


def _guessed(facts: dict[str, Any]) -> list[int]:
    """Channels that look like CT where nobody says what they are: one modality can not speak of several channels.

    A name that is another modality says it.
    """
    channels = range(len(facts["intensity"]))
    if facts["modality"] not in UNSTATED and len(channels) == 1:
        return []
    unsaid = [n for n in channels if modality.known(_name(facts, n)) in UNSTATED]
    silent = [n for n in unsaid if _name(facts, n) not in (*NAMED, *SCORED) and not _stated(facts, n)]
    return [n for n in silent if modality.hounsfield(facts, n)]


def _stated(facts: dict[str, Any], number: int) -> bool:
    """Whether the data, or the name of the channel, say that it is CT.

    Of several channels the data say it only where none is told apart, by a name that is a modality or as it alone, or
    not, reaches down to air: a file of PET/CT says CT of both.
    """
    names = [_name(facts, n) for n in range(len(facts["intensity"]))]
    if facts["modality"] != "CT" or names[number] == "ct":
        return names[number] == "ct"
    alike = len({modality.hounsfield(facts, n) for n in range(len(names))}) == 1
    return len(names) == 1 or (alike and not any(map(modality.known, names)))


def _name(facts: dict[str, Any], number: int) -> str:
    """What a channel is called, in small letters."""
    return str(facts["channels"][number]).lower() if number < len(facts["channels"]) else ""
