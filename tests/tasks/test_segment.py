"""Segmentation: enough patches hold foreground, masks come back on the image's own grid."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.losses.deep_supervision import weights
from hilum.planning.planner import Prepared
from hilum.tasks import _task
from hilum.tasks._labels import IGNORE
from hilum.tasks._levels import _shrink

PlanOf = Callable[..., Plan]


def corner_case() -> Case:
    """One foreground voxel in a large empty image: chance would hardly ever find it."""
    rng = np.random.default_rng(0)
    image = Image(rng.normal(0, 1, (1, 64, 64, 64)).astype(np.float32), np.eye(4))
    label = np.zeros((1, 64, 64, 64), np.int16)
    label[0, 60, 3, 60] = 1
    return Case("a", "a", {"image": image, "label": Image(label, np.eye(4))})


@pytest.mark.parametrize(("share", "batch", "least"), [(0.34, 2, 1), (0.34, 6, 2), (1.0, 3, 3), (0.0, 4, 0)])
def test_the_planned_share_of_patches_holds_foreground(share: float, batch: int, least: int, plan_of: PlanOf) -> None:
    changes = {"options.foreground": share, "batch": batch, "augment": [], "spacing": [1.0, 1.0, 1.0]}
    task, case = _task.load(plan_of("segment", **changes)), corner_case()
    store = Store(task.prepare)
    for k in range(5):
        made = task.sample(store, [case], "train", k, np.random.default_rng(k))
        held = (made["target"] == 1).flatten(1).any(dim=1)
        assert int(held.sum()) == least and held[batch - least :].all()


def test_a_batch_of_one_holds_foreground_as_often_as_planned(plan_of: PlanOf) -> None:
    changes = {"options.foreground": 0.34, "batch": 1, "augment": [], "spacing": [1.0, 1.0, 1.0]}
    task, case = _task.load(plan_of("segment", **changes)), corner_case()
    store = Store(task.prepare)
    made = [task.sample(store, [case], "train", k, np.random.default_rng(k)) for k in range(60)]
    assert 8 <= sum(bool((batch["target"] == 1).any()) for batch in made) <= 34


@pytest.mark.parametrize(
    ("names", "minutes", "options"),
    [(("eye_left", "eye_right"), 60, {"axes": [1, 2]}), (("eye", "lens"), 60, {}), (("eye_left", "lens"), 12, None)],
)
def test_a_run_of_an_hour_mirrors_no_class_onto_the_other_side(
    names: tuple[str, str], minutes: int, options: dict[str, object] | None, ready: Callable[[str], Prepared]
) -> None:
    facts = ready("segment").facts
    settings = facts["settings"] | {"classes": {"1": names[0], "2": names[1]}, "labels": {}}
    made = _task.kind("segment").rules(facts | {"settings": settings}, _task.Budget(minutes))
    flips = [entry["options"] for entry in made["augment"] if entry["name"] == "flip"]
    assert flips == ([] if options is None else [options])
    assert any("left to right" in note for note in made["notes"]) == bool(options)


def test_no_axis_is_mirrored_where_nobody_knows_which_is_left(ready: Callable[[str], Prepared]) -> None:
    """Readers make an affine for volumes that state none, and it was believed."""
    facts = ready("segment").facts
    settings = facts["settings"] | {"classes": {"1": "eye_left", "2": "eye_right"}, "labels": {}}
    rows = [row | {"vague": True} if n == 2 else row for n, row in enumerate(facts["cases"])]
    made = _task.kind("segment").rules(facts | {"settings": settings, "cases": rows}, _task.Budget(60))
    assert not [entry for entry in made["augment"] if entry["name"] == "flip"]
    (said,) = [note for note in made["notes"] if "side of the body" in note]
    assert "HIL-N05" in said and "none is mirrored" in said


@pytest.mark.parametrize("patch", [[8, 8, 8], [24, 16, 16]])
def test_where_nothing_was_stored_stays_0_whatever_is_varied(patch: list[int], plan_of: PlanOf) -> None:
    """As nnU-Net masks it; a prediction shows 0 there too."""
    scheme = [{"scheme": "zscore_nonzero"}]
    varied = [
        {"name": "rotate_scale", "options": {"probability": 1.0}},
        {"name": "noise", "options": {"probability": 1.0}},
    ]
    changes = {"normalisation": scheme, "augment": varied, "spacing": [1.0, 1.0, 1.0], "patch": patch, "batch": 2}
    task = _task.load(plan_of("segment", **changes))
    array, label = np.zeros((1, 16, 16, 16), np.float32), np.zeros((1, 16, 16, 16), np.int16)
    array[0, 4:12, 4:12, 4:12] = np.random.default_rng(0).normal(100, 5, (8, 8, 8))
    label[0, 6:9, 6:9, 6:9] = 1
    case = Case("a", "a", {"image": Image(array, np.eye(4)), "label": Image(label, np.eye(4))})
    store = Store(task.prepare)
    before = store(case)["image"].copy()
    for k in range(6):
        image = task.sample(store, [case], "train", k, np.random.default_rng(k))["image"]
        # noise leaves no voxel exactly 0
        assert 0.05 < float((image == 0).float().mean()) < 0.98 and float(image.std()) > 0.1
    np.testing.assert_array_equal(store(case)["image"], before)
    asked = task.prepare(case, truth=False)
    np.testing.assert_array_equal(asked["image"], before)
    assert "outside" not in asked and (before[0, :4] == 0).all() and abs(before[before != 0].mean()) < 1e-4
    assert "outside" not in _task.load(plan_of("segment")).prepare(case)


NOISE = {"name": "noise", "options": {"probability": 1.0}}
TURN = {"name": "rotate_scale", "options": {"probability": 1.0}}


@pytest.mark.parametrize("varied", [[NOISE], [TURN, NOISE], [NOISE, TURN]], ids=str)
def test_beyond_the_image_it_is_0_where_the_edge_is(varied: list[dict[str, object]], plan_of: PlanOf) -> None:
    """A prediction pads by the edge: noise on such zeros would be seen in training alone."""
    changes = {"normalisation": [{"scheme": "zscore_nonzero"}], "augment": varied, "spacing": [1.0, 1.0, 1.0]}
    task = _task.load(plan_of("segment", **changes, patch=[24, 16, 24], batch=2))
    for low in (4, 0):
        array = np.zeros((1, 16, 16, 16), np.float32)
        array[0, 4:12, 4:12, low:12] = np.random.default_rng(0).normal(100, 5, (8, 8, 12 - low))
        label = np.zeros((1, 16, 16, 16), np.int16)
        label[0, 6:9, 6:9, 6:9] = 1
        case = Case("a", "a", {"image": Image(array, np.eye(4)), "label": Image(label, np.eye(4))})
        image = task.sample(Store(task.prepare), [case], "train", 0, np.random.default_rng(0))["image"]
        if varied != [NOISE]:
            # however it is turned, and enlarged by up to 1.4
            assert 0 < float((image != 0).float().mean()) < 1.4**3 * 8 * 8 * 16 / (24 * 16 * 24)
            continue
        assert not image[:, :, :8].any() and not image[:, :, 16:].any() and not image[..., 16:].any()
        # the body that reaches the border goes on behind it, as a prediction shows it
        assert (image[:, :, 8:16, 4:12, 4 + low : 16] != 0).all()
        assert bool(image[:, :, 8:16, 4:12, :4].any()) == (low == 0)


def test_the_background_is_no_class(plan_of: PlanOf) -> None:
    """Its voxels would be found, and written as the 0 of everything else."""
    classes = [{"value": 1, "name": "spleen"}, {"value": 0, "name": "liver"}]
    with pytest.raises(HilumError, match="'liver' has the value 0") as error:
        _task.load(plan_of("segment", classes=classes))
    assert error.value.code == "HIL-PLAN-03"


def test_outside_the_image_nothing_is_learned(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("segment", augment=[], spacing=[1.0, 1.0, 1.0], patch=[16, 16, 16]))
    image = Image(np.random.default_rng(0).normal(0, 1, (1, 8, 20, 20)).astype(np.float32), np.eye(4))
    case = Case("a", "a", {"image": image, "label": Image(np.ones((1, 8, 20, 20), np.int16), np.eye(4))})
    made = task.sample(Store(task.prepare), [case], "val", 0, np.random.default_rng(0))
    assert (made["target"][:, 4:12] == 1).all() and (made["target"][:, :4] == IGNORE).all()


def test_the_truth_decodes_to_itself_in_every_orientation(plan_of: PlanOf, ready: Callable[[str], Prepared]) -> None:
    task = _task.load(plan_of("segment", spacing=[1.0, 1.0, 1.0]))
    for case in ready("segment").dataset.cases:
        prepared = task.prepare(case)
        result = task.decode(prepared["target"], prepared, case)
        values = task.judge(result, case).values["dice"]
        assert min(v for v in values.values() if v is not None) > 0.85, (case.id, values)


def test_the_largest_piece_is_looked_for_where_something_was_learned(plan_of: PlanOf) -> None:
    """Outside the validity mask anything may be found; it was once kept in place of what was meant."""
    task = _task.load(plan_of("segment", spacing=[1.0, 1.0, 1.0]))
    task.single = (1,)
    inside, found = np.zeros((1, 8, 8, 8), np.uint8), np.zeros((8, 8, 8), np.uint8)
    inside[0, :4], found[1:3, 2:4, 2:4], found[5:, 1:6, 1:6] = 1, 1, 1
    image, validity = Image(np.ones((1, 8, 8, 8), np.float32), np.eye(4)), Image(inside, np.eye(4))
    case = Case("a", "a", {"image": image, "validity": validity})
    mask = task.decode(found, task.prepare(case, truth=False), case)["mask"]
    assert (mask.array[1:3, 2:4, 2:4] == task.plan.classes[0].value).all() and (mask.array > 0).sum() == 8


def test_ignored_voxels_are_not_judged(plan_of: PlanOf) -> None:
    from hilum.core.findings import Mask, Result

    task = _task.load(plan_of("segment", **{"data.ignore": 9}))
    label = np.zeros((1, 8, 8, 8), np.int16)
    label[0, 2:4], label[0, 4:] = 1, 9
    found = np.zeros((8, 8, 8), np.uint8)
    found[2:] = 1
    case = Case("a", "a", {"image": Image(np.zeros((1, 8, 8, 8)), np.eye(4)), "label": Image(label, np.eye(4))})
    judged = task.judge(Result({"mask": Mask(found, {1: "x"}, np.eye(4))}), case)
    assert judged.values["dice"]["ventricle"] == 1 and judged.values["dice"]["lesion"] is None


def test_deep_supervision_is_judged_at_every_depth(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("segment"))
    target = torch.zeros(2, 16, 16, 16, dtype=torch.long)
    target[:, :8] = 1
    levels = []
    for side in (16, 8):
        logits = torch.full((2, 3, side, side, side), -9.0)
        logits[:, 1, : side // 2], logits[:, 0, side // 2 :] = 9, 9
        levels.append(logits)
    right = task.losses({"out": levels}, {"target": target})["loss"]
    wrong = task.losses({"out": [-one for one in levels]}, {"target": target})["loss"]
    assert right < wrong - 2


PICKED = ["focal", "generalised_dice", "tversky:alpha=0.5:beta=0.5", "compound:recipe=swin_unet"]


@pytest.mark.parametrize("name", PICKED)
def test_the_loss_is_picked_by_name_and_ignores_what_is_ignored(name: str, plan_of: PlanOf) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 16, 16, 16, requires_grad=True), torch.randint(0, 3, (2, 16, 16, 16))
    target[:, 8:] = IGNORE
    found = _task.load(plan_of("segment", **{"options.loss": name})).losses(logits, {"target": target})["loss"]
    usual = _task.load(plan_of("segment")).losses(logits, {"target": target})["loss"]
    assert bool(found.isfinite()) and float(found.detach()) != pytest.approx(float(usual.detach()))
    (gradient,) = torch.autograd.grad(found, logits)
    assert bool(gradient[:, :, :8].any()) and not bool(gradient[:, :, 8:].any())


def test_the_usual_loss_is_cross_entropy_and_dice_over_the_batch(plan_of: PlanOf) -> None:
    from hilum.losses.dice_ce import dice_ce

    torch.manual_seed(0)
    logits, target = torch.randn(2, 3, 8, 8, 8), torch.randint(-1, 3, (2, 8, 8, 8))
    found = _task.load(plan_of("segment")).losses(logits, {"target": target})["loss"]
    assert torch.equal(found, dice_ce(logits, target, ignore=IGNORE, batch=True))


def test_distances_of_the_boundary_loss_are_in_millimetres_at_every_level(plan_of: PlanOf) -> None:
    from hilum.losses.boundary import boundary

    torch.manual_seed(0)
    task = _task.load(plan_of("segment", spacing=[1.0, 1.0, 4.0], **{"options.loss": "boundary:alpha=0.0"}))
    logits, target = torch.randn(2, 3, 8, 8, 8), torch.randint(0, 3, (2, 8, 8, 8))
    found = task.losses(logits, {"target": target})["loss"]
    wanted = boundary(logits, target, IGNORE, alpha=0.0, batch=True, spacing=[1.0, 1.0, 4.0])
    assert torch.equal(found, wanted)
    small = torch.randn(2, 3, 4, 4, 8)
    both = task.losses({"out": [logits, small]}, {"target": target})["loss"]
    half = boundary(small, _shrink(target, (4, 4, 8)), IGNORE, alpha=0.0, batch=True, spacing=[2.0, 2.0, 4.0])
    first, second = weights(2)
    torch.testing.assert_close(both, first * wanted + second * half)


def test_sigma_of_the_weight_map_is_in_pixels_of_the_full_size_at_every_level(plan_of: PlanOf) -> None:
    from hilum.losses.weight_map import weight_map

    torch.manual_seed(0)
    task = _task.load(plan_of("segment", **{"options.loss": "weight_map"}))
    logits, target = torch.randn(2, 3, 8, 8, 8), torch.randint(0, 3, (2, 8, 8, 8))
    small, shrunk = torch.randn(2, 3, 4, 4, 8), _shrink(target, (4, 4, 8))
    both = task.losses({"out": [logits, small]}, {"target": target})["loss"]
    half = weight_map(small, shrunk, IGNORE, spacing=[2.0, 2.0, 1.0])
    first, second = weights(2)
    torch.testing.assert_close(both, first * weight_map(logits, target, IGNORE) + second * half)
    assert float(half) != pytest.approx(float(weight_map(small, shrunk, IGNORE)), rel=1e-3)


@pytest.mark.parametrize(("name", "said"), [("dise", "Did you mean dice"), ("tversky:gamma=1", "no option 'gamma'")])
def test_an_unknown_loss_is_refused_with_the_plan(name: str, said: str, plan_of: PlanOf) -> None:
    with pytest.raises(HilumError, match=said):
        _task.load(plan_of("segment", **{"options.loss": name}))


def test_a_network_that_asks_whether_anything_is_there_learns_it(plan_of: PlanOf) -> None:
    """unet3plus with guidance: without a loss of its own the module would silence masks at random."""
    task, scores = _task.load(plan_of("segment")), torch.zeros(2, 2, requires_grad=True)
    target = torch.zeros(2, 8, 8, 8, dtype=torch.long)
    target[1, 2, 3, 4] = 2
    logits = torch.randn(2, 3, 8, 8, 8)
    found = task.losses({"out": [logits], "presence": [scores]}, {"target": target})
    assert torch.equal(found["loss"], task.losses(logits, {"target": target})["loss"])
    (gradient,) = torch.autograd.grad(found["presence"], scores)
    assert gradient.sign().tolist() == [[-1, 1], [1, -1]]


@pytest.mark.parametrize(("name", "shares"), [("ccnet", [1.0, 0.4]), ("hnet", [0.6, 0.4]), ("unetpp", [0.5, 0.5])])
def test_outputs_weigh_what_the_card_of_the_network_says(name: str, shares: list[float], plan_of: PlanOf) -> None:
    """Two outputs of one size; unetpp's card says nothing, so they weigh alike."""
    torch.manual_seed(0)
    task = _task.load(plan_of("segment", **{"networks.net": {"name": name, "options": {}}}))
    outputs, batch = [torch.randn(2, 3, 8, 8) for _ in shares], {"target": torch.randint(0, 3, (2, 8, 8))}
    alone = [task.losses(one, batch)["loss"] for one in outputs]
    wanted = torch.stack([share * loss for share, loss in zip(shares, alone, strict=True)]).sum()
    torch.testing.assert_close(task.losses({"out": outputs}, batch)["loss"], wanted)


def test_every_decoder_stage_of_mednext_learns(plan_of: PlanOf) -> None:
    """By resolution alone the lowest of four heads would weigh 0."""
    torch.manual_seed(0)
    task = _task.load(plan_of("segment", **{"networks.net": {"name": "mednext", "options": {}}}))
    levels = [torch.randn(2, 3, side, side, requires_grad=True) for side in (32, 16, 8, 4)]
    loss = task.losses({"out": levels}, {"target": torch.randint(0, 3, (2, 32, 32))})["loss"]
    assert all(bool(gradient.any()) for gradient in torch.autograd.grad(loss, levels, allow_unused=False))


def test_queries_learn_by_matching_and_the_map_that_they_paint_by_nothing_else(plan_of: PlanOf) -> None:
    from hilum.losses.matching import matching

    torch.manual_seed(0)
    task, target = _task.load(plan_of("segment")), torch.randint(-1, 3, (2, 4, 4, 4))
    classes = [torch.randn(2, 5, 4, requires_grad=True) for _ in range(2)]
    masks = [torch.randn(2, 5, 4, 4, 4, requires_grad=True) for _ in range(2)]
    painted, lower = torch.randn(2, 3, 4, 4, 4, requires_grad=True), torch.randn(2, 3, 4, 4, 4)
    asked = {"classes": classes, "masks": masks}
    found = task.losses({"out": [painted, lower], **asked}, {"target": target})
    assert torch.equal(found["loss"], task.losses(lower, {"target": target})["loss"])
    assert torch.equal(found["matching"], matching(classes, masks, target, IGNORE))
    *learned, other = torch.autograd.grad(sum(found.values()), [*classes, *masks, painted], allow_unused=True)
    assert all(gradient.any() for gradient in learned) and other is None
    assert set(task.losses({"out": [painted], **asked}, {"target": target})) == {"matching"}
    assert set(task.losses(painted, {"target": target})) == {"loss"}


def test_a_network_that_cuts_borders_off_is_refused(plan_of: PlanOf) -> None:
    """Its answer would be compared with a target that is shrunk instead of cut."""
    task = _task.load(plan_of("segment"))
    with pytest.raises(HilumError, match="padding same or mirror"):
        task.losses(torch.randn(1, 3, 4, 4, 4), {"target": torch.zeros(1, 8, 8, 8, dtype=torch.long)})


def test_predictions_are_not_averaged_over_mirror_images_where_classes_have_a_side(plan_of: PlanOf) -> None:
    plan = plan_of("segment", **{"options.mirror": True})
    _task.load(plan).check_trainable()
    named = plan.model_copy(update={"classes": [plan.classes[0].model_copy(update={"name": "kidney_left"})]})
    with pytest.raises(HilumError, match="'kidney_left' is that of the other side"):
        _task.load(named).check_trainable()
    _task.load(named.edited({"options.mirror": False})).check_trainable()
