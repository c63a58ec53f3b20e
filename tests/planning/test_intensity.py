"""How the intensities of every channel are scaled: by what is stated, by names, by how the values look."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Case, Image
from hilum.data.dataset import Dataset
from hilum.planning._intensity import normalisation, notes
from hilum.planning.fingerprint import fingerprint
from hilum.planning.planner import Prepared, make_plan
from hilum.prepare.modality import family

Ready = Callable[[str], Prepared]


def schemes(facts: dict[str, Any], task: str = "segment") -> list[str]:
    return [row["scheme"] for row in normalisation(facts, task)]


def channels(ready: Ready, names: list[str], **more: Any) -> dict[str, Any]:
    seen = ready("segment").facts
    facts = seen | {"channels": names, "intensity": seen["intensity"] * len(names)}
    return facts | {"hounsfield": [False] * len(names)} | more


@pytest.mark.parametrize(
    ("names", "hounsfield", "planned"),
    [
        # a PET/CT as two files, of which the first says CT of both
        (["channel 0", "channel 1"], [False, True], ["zscore", "ct"]),
        (["PET", "CT"], [False, False], ["zscore", "ct"]), (["PET", "fused"], [False, True], ["zscore", "ct"]),
        # two energies, or windows, of CT
        (["channel 0", "channel 1"], [True, True], ["ct", "ct"]), (["80 kV", "140 kV"], [False, False], ["ct", "ct"]),
        (["image"], [False], ["ct"]),
    ],
)  # fmt: skip
def test_ct_that_is_stated_does_not_make_ct_of_another_channel(
    names: list[str], hounsfield: list[bool], planned: list[str], ready: Ready
) -> None:
    facts = channels(ready, names, modality="CT", hounsfield=hounsfield)
    assert schemes(facts) == planned
    # two of CT are no guess
    assert bool(notes(facts)) == (True in hounsfield and False in hounsfield)


@pytest.mark.parametrize(
    ("name", "planned"),
    [("noNorm", "none"), ("rgb_to_0_1", "scale"), ("zscore", "zscore"), ("rescale_to_0_1", "zscore"), ("T1", "zscore")],
)
def test_names_that_nnunet_knows_say_how_a_channel_is_scaled(name: str, planned: str, ready: Ready) -> None:
    for modality in ("", "MR"):
        (row,) = normalisation(channels(ready, [name], modality=modality))
        assert row["scheme"] == planned and ("low" not in row or (row["low"], row["high"]) == (0, 255))
    # whatever the values look like
    facts = channels(ready, [name], modality="", hounsfield=[True])
    assert schemes(facts) == ["ct" if name == "T1" else planned]
    assert any("rescale_to_0_1" in note for note in notes(facts)) == (name == "rescale_to_0_1")


@pytest.mark.parametrize(("name", "planned"), [("MRI", "zscore"), ("PET", "zscore"), ("OT", "ct"), ("CT", "ct")])
def test_a_channel_that_is_called_another_modality_is_not_guessed_to_be_ct(
    name: str, planned: str, ready: Ready
) -> None:
    """Of MR with a background below 0 it was, though dataset.json said what it is."""
    facts = channels(ready, [name], modality="", hounsfield=[True])
    assert schemes(facts) == [planned] and bool(notes(facts)) == (name == "OT")
    assert (family(facts) == "ct") == (planned == "ct")


def heads(side: int) -> Prepared:
    """Bodies of that many voxels a side in the middle of 12 x 12 x 12, nothing around them, as without a skull."""
    cases, start = [], (12 - side) // 2
    for seed in range(6):
        array, label = np.zeros((1, 12, 12, 12), np.int16), np.zeros((1, 12, 12, 12), np.uint8)
        inner = (0, *[slice(start, start + side)] * 3)
        array[inner] = np.random.default_rng(seed).integers(90, 200, (side,) * 3)
        label[0, 5:7, 5:7, 5:7] = 1
        items = {"image": Image(array, np.eye(4)), "label": Image(label, np.eye(4))}
        cases.append(Case(f"c{seed}", f"c{seed}", items))
    parts = {c.id: part for c, part in zip(cases, ["train"] * 4 + ["val", "test"], strict=True)}
    data = Dataset("x", Path("x"), "flat", tuple(cases))
    return Prepared(data, parts, fingerprint(data, parts), "patients")


def test_little_in_much_air_is_scored_by_itself() -> None:
    """nnU-Net's rule, where cropping to what is not 0 leaves less than three quarters."""
    small, large = heads(8), heads(11)
    assert small.facts["content"] == pytest.approx((8 / 12) ** 3, abs=1e-6)
    assert large.facts["content"] == pytest.approx((11 / 12) ** 3, abs=1e-6)
    assert schemes(small.facts) == ["zscore_nonzero"] and schemes(large.facts) == ["zscore"]
    # what is registered or classified is no crop, and CT has one meaning everywhere
    assert schemes(small.facts, "register") == ["zscore"] == schemes(small.facts | {"dims": 2})
    assert schemes(small.facts | {"modality": "CT"}) == ["ct"]
    assert [row.scheme for row in make_plan(small, "segment", steps=1).normalisation] == ["zscore_nonzero"]
