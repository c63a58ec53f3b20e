"""How intensities are scaled: CT by the statistics of the data set, anything else by those of the image."""

from typing import Any

from hilum.prepare import modality

UNSTATED = ("", "OT")
# DICOM's OT, other, states no modality.


def normalisation(facts: dict[str, Any]) -> list[dict[str, Any]]:
    """nnU-Net's: CT, as stated of the data or of a channel, by the data set's foreground statistics; anything else
    z-score per image.

    Where no modality is stated, and in every channel of several, Hounsfield units are guessed to be CT.
    """
    rows, guesses = [], _guessed(facts)
    for number, channel in enumerate(facts["intensity"]):
        if _stated(facts, number) or number in guesses:
            ct = {
                "mean": channel["mean"],
                "std": max(channel["std"], 1e-8),
                "low": channel["p005"],
                "high": channel["p995"],
            }
            rows.append({"scheme": "ct", **ct})
        else:
            rows.append({"scheme": "zscore"})
    return rows


def notes(facts: dict[str, Any]) -> list[str]:
    """Sentences for the plan about channels that are guessed to be CT."""
    named = ", ".join(str(facts["channels"][number]) for number in _guessed(facts))
    if not named:
        return []
    several = len(facts["intensity"]) > 1
    remedy = "set plan.normalisation" if several else "state the `modality` in a dataset.yaml"
    return [f"Taken for CT, as most training images reach down to the Hounsfield units of air: {named}; else {remedy}"]


def _guessed(facts: dict[str, Any]) -> list[int]:
    """Channels that look like CT where nobody says what they are: one modality can not speak of several channels."""
    channels = range(len(facts["intensity"]))
    if facts["modality"] not in UNSTATED and len(channels) == 1:
        return []
    return [n for n in channels if not _stated(facts, n) and modality.hounsfield(facts, n)]


def _stated(facts: dict[str, Any], number: int) -> bool:
    """Whether the data, or the name of the channel, say that it is CT."""
    names = [str(name).upper() for name in facts["channels"]]
    return bool(facts["modality"] == "CT" or names[number : number + 1] == ["CT"])
