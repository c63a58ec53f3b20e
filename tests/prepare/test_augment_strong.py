"""The default of every family is a plan that runs, and holds what fits the family only."""

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import AugmentPlan
from hilum.prepare import augment, modality

FAMILIES = [*modality.FAMILIES, "colour"]


def names(family: str, dims: int = 2, **options: bool) -> list[str]:
    patch = [32] * dims
    return [e["name"] for e in augment.strong(family, dims, **({"oriented": True, "patch": patch} | options))]


def facts(modality: str = "", channels: int = 1, low: float = 0.0, physical: bool = False) -> dict[str, object]:
    rows = [{"low": low, "mean": float(c)} for c in range(channels)]
    named = [str(c) for c in range(channels)]
    found = {"modality": modality, "channels": named, "intensity": rows, "physical": physical}
    return found | {"hounsfield": [low < -500] * channels}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_default_is_a_plan_that_can_be_drawn_and_replayed(family: str, dims: int) -> None:
    image = np.random.default_rng(0).normal(0, 1, (3, *[16] * dims)).astype(np.float32)
    for options in ({}, {"oriented": False}, {"whole": True, "mirror": False}):
        entries = augment.strong(family, dims, **({"oriented": True, "patch": [16] * dims} | options))
        plans = [AugmentPlan(**e) for e in entries]
        augment.check(plans)
        for seed in range(3):
            record = augment.draw(plans, np.random.default_rng(seed), dims)
            out = augment.apply(record, image)
            assert out.shape == image.shape and out.dtype == np.float32 and np.isfinite(out).all()
    entries[0]["options"]["degrees"] = -1.0
    assert augment.strong(family, dims, oriented=True, patch=[16] * dims)[0]["options"]["degrees"] != -1


def test_each_family_has_its_own_artefacts_only() -> None:
    assert {"bias_field", "ghost", "motion"} <= set(names("mr")) and "ct_noise" not in names("mr")
    assert "ct_noise" in names("ct") and not {"bias_field", "ghost", "motion"} & set(names("ct"))
    assert "stain" in names("histology") and "stain" not in names("photograph")
    assert "speckle" in names("ultrasound") and "colour" not in names("grey")
    turned = [e for e in augment.strong("ct", 3, oriented=True, patch=[32] * 3) if e["name"] == "gamma"]
    assert all(e["options"].get("inverted", 0.0) == 0 for e in turned)


def test_mirrors_are_left_out_where_asked_and_space_comes_first() -> None:
    assert names("mr")[-1] == "flip" and "flip" not in names("mr", mirror=False)
    assert names("microscopy")[:2] == ["rotate_scale", "elastic"]
    assert names("grey", whole=True)[:2] == ["rotate_scale", "shift"]
    assert augment.strong("ct", 3, oriented=True, patch=[32] * 3, mirror=[1, 2])[-1]["options"] == {"axes": [1, 2]}
    assert "flip" not in [e["name"] for e in augment.strong("ct", 3, oriented=True, patch=[32] * 3, mirror=[])]


@pytest.mark.parametrize(
    ("dims", "oriented", "patch", "degrees", "axes"),
    [
        (2, True, [64, 64], 30.0, None), (2, False, [64, 64], 180.0, None), (2, False, [64, 128], 15.0, None),
        (3, True, [40, 56, 40], 30.0, None), (3, True, [96, 96, 16], 30.0, [0, 1]),
        (3, False, [16, 96, 96], 180.0, [1, 2]),
    ],
)  # fmt: skip
def test_turning_follows_the_patch(
    dims: int, oriented: bool, patch: list[int], degrees: float, axes: list[int] | None
) -> None:
    options = augment.strong("grey", dims, oriented=oriented, patch=patch)[0]["options"]
    assert options["degrees"] == degrees and options.get("axes") == axes


def test_the_family_is_what_is_stated_else_guessed_from_the_data() -> None:
    assert [modality.family(facts(m)) for m in ("MR", "CT", "US", "DX", "SM", "OP", "DMS")] == [
        "mr", "ct", "ultrasound", "xray", "histology", "photograph", "photograph"
    ]  # fmt: skip
    assert modality.family(facts(low=-1000.0)) == "ct" and modality.family(facts("OT", low=-1000.0)) == "ct"
    assert (
        modality.family(facts(channels=3)) == "colour" and modality.family(facts(channels=3, physical=True)) == "grey"
    )
    stored = facts(channels=3) | {"intensity": [{"low": 0.0, "mean": 5.0}] * 3}
    assert modality.family(stored) == "grey", "a grey picture stored as colour"


def test_bodies_have_an_up_and_cells_have_none() -> None:
    assert modality.oriented(facts("DX")) and not modality.oriented(facts("SM")) and not modality.oriented(facts("DMS"))
    assert modality.oriented(facts(physical=True)) and not modality.oriented(facts())
    assert modality.oriented(facts(), unknown=True)


@pytest.mark.parametrize(
    ("dims", "modality_", "physical", "names_", "axes"),
    [
        (3, "CT", True, ["kidney_left", "kidney_right"], [1, 2]), (3, "CT", True, ["liver", "T1", "bright"], [0, 1, 2]),
        (3, "CT", False, ["Left lung"], []), (3, "", False, ["lung R"], []), (2, "DX", False, ["lung R"], [0]),
        (2, "SM", False, ["left"], []), (2, "SM", False, ["nucleus"], [0, 1]),
    ],
)  # fmt: skip
def test_classes_named_by_their_side_are_not_seen_in_a_mirror(
    dims: int, modality_: str, physical: bool, names_: list[str], axes: list[int]
) -> None:
    assert modality.mirrors(facts(modality_, physical=physical) | {"dims": dims}, names_) == axes


def test_where_one_volume_does_not_say_how_it_lies_no_axis_is_safe() -> None:
    rows = [{"id": "a"}, {"id": "b", "vague": True}]
    seen = facts("CT", physical=True) | {"dims": 3}
    assert modality.mirrors(seen | {"cases": rows[:1]}, ["lung L"]) == [1, 2]
    assert modality.mirrors(seen | {"cases": rows}, ["lung L"]) == []
    assert modality.mirrors(seen | {"cases": rows}, ["lung"]) == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "sided"),
    [
        *(
            (name, True)
            for name in ("LeftLung", "right lung", "ParotidL", "ctx-rh-cuneus", "Lung_L", "LKidney", "lt eye")
        ),
        *((name, False) for name in ("T1", "liver", "bright", "cleft", "Rectum", "cell", "LV", "tumour2")),
    ],
)
def test_a_side_is_found_in_the_names_that_people_give(name: str, sided: bool) -> None:
    assert bool(modality.SIDE.search(name)) == sided


def test_a_thin_axis_keeps_its_slices() -> None:
    for patch, axes in (([96, 96, 16], [0, 1]), ([64, 64, 64], None)):
        entries = augment.strong("mr", 3, oriented=True, patch=patch)
        found = [e["options"] for e in entries if e["name"] in ("ghost", "low_resolution", "motion", "ringing")]
        assert len(found) == 4 and all(options.get("axes") == axes for options in found)
    record = augment.draw(
        [AugmentPlan(name="motion", options={"axes": [0, 1], "probability": 1.0})], np.random.default_rng(0), 3
    )
    image = np.random.default_rng(0).normal(0, 1, (1, 24, 24, 4)).astype(np.float32)
    assert all(len(pose["degrees"]) == 1 for pose in record[0][1]["poses"])
    assert augment.apply(record, image).shape == image.shape


@pytest.mark.parametrize("name", ["ghost", "motion", "ringing"])
def test_no_artefact_of_an_mr_acquisition_crosses_the_slices_of_a_flat_volume(name: str) -> None:
    (entry,) = [e for e in augment.strong("mr", 3, oriented=True, patch=[96, 96, 16]) if e["name"] == name]
    plans = [AugmentPlan(name=name, options=entry["options"] | {"probability": 1.0})]
    across = np.broadcast_to(np.random.default_rng(0).normal(0, 1, 16), (1, 24, 24, 16)).astype(np.float32)
    within = np.broadcast_to(np.random.default_rng(0).normal(0, 1, (24, 24, 1)), (1, 24, 24, 16)).astype(np.float32)
    for seed in range(12):
        record = augment.draw(plans, np.random.default_rng(seed), 3)
        # what is the same all over a slice has nothing that could be shifted in it
        np.testing.assert_allclose(augment.apply(record, across), across, atol=1e-3)
        assert not np.allclose(augment.apply(record, within), within, atol=1e-2)
    augment.apply(augment.draw([AugmentPlan(name=name, options={"axes": []})], np.random.default_rng(0), 3), across)


def test_words_become_codes_and_nonsense_is_refused() -> None:
    assert [modality.code(w) for w in ("", "mr", "Fundus", "histology", "X-ray")] == ["", "MR", "OP", "SM", "DX"]
    with pytest.raises(HilumError, match="MR") as error:
        modality.code("MRX")
    assert error.value.code == "HIL-DATA-17"
