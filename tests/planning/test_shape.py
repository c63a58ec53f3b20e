"""Plans shaped by minutes, speed and memory; what fits nothing is refused with what would."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hilum.core import catalogue, resident
from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.sizes import parse_size
from hilum.planning import _shape, cost, memory
from hilum.planning.planner import Prepared, fitted, make_plan
from hilum.prepare import augment
from hilum.tasks._task import WIDTHS, Budget, kind
from hilum.verbs import train as verb
from hilum.verbs.train import train

TASKS = list(catalogue.cards("hilum.tasks"))
Ready = Callable[[str], Prepared]


def here(gflops: float | None = None, accelerator: Any = None) -> dict[str, Any]:
    return {"cores": 2, "total": 8 << 30, "memory": 6 << 30, "accelerator": accelerator, "gflops": gflops}


def width(plan: Plan) -> int:
    return int(plan.networks["net"].options["features"][0])


def refusal(call: Callable[[], Any]) -> HilumError:
    with pytest.raises(HilumError) as error:
        call()
    return error.value


def test_a_faster_machine_gets_a_wider_network(ready: Ready) -> None:
    found = [make_plan(ready("segment"), "segment", minutes=12, machine=here(g)) for g in (0.05, 5.0, 20.0, 1e4)]
    widths = [width(plan) for plan in found]
    assert widths == sorted(widths) and widths[0] == 8 and widths[-1] == 32
    assert found[0].patch <= found[-1].patch and found[-1].machine["seconds_per_step"] < 0.72


@pytest.mark.parametrize("gflops", [3.0, 20.0, 100.0])
def test_the_widest_that_sees_the_steps_is_taken(gflops: float, ready: Ready) -> None:
    plan = make_plan(ready("segment"), "segment", minutes=10, machine=here(gflops))
    assert plan.machine["seconds_per_step"] == pytest.approx(cost.step(plan).flops / gflops / 1e9)

    def fits(one: Plan) -> bool:
        return cost.step(one).flops / gflops / 1e9 * _shape._wanted(10, "segment") <= 600

    assert fits(plan) or width(plan) == WIDTHS[0]
    for wider in WIDTHS[WIDTHS.index(width(plan)) + 1 :][:1]:
        made = kind("segment").rules(ready("segment").facts, Budget(minutes=10, chosen=wider))
        changes = {"patch": made["patch"], "batch": made["batch"]}
        assert not fits(plan.edited(changes | {"networks.net.options": made["networks"]["net"]["options"]}))


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_plan_for_a_slow_and_a_fast_machine(task: str, ready: Ready) -> None:
    slow = make_plan(ready(task), task, minutes=5, machine=here(0.5))
    fast = make_plan(ready(task), task, minutes=5, machine=here(5e4))
    assert cost.step(slow).flops <= cost.step(fast).flops
    assert Plan.parse(slow.text()) == slow


def test_steps_alone_plan_the_same_everywhere(ready: Ready) -> None:
    first = make_plan(ready("segment"), "segment", steps=20, machine=here(1.0))
    other = make_plan(ready("segment"), "segment", steps=20, machine=here(1e4))
    assert first.networks == other.networks and first.patch == other.patch


def test_on_cuda_and_on_request_the_plan_is_the_published_one(ready: Ready) -> None:
    cuda = make_plan(ready("segment"), "segment", minutes=5, machine=here(1e4, {"name": "card", "memory": 8 << 30}))
    asked = make_plan(ready("segment"), "segment", minutes=5, settings={"options.planner": "published"})
    day = make_plan(ready("segment"), "segment", minutes=1440)
    for plan in (cuda, asked, day):
        assert width(plan) == 32 and plan.options["planner"] == "published" and plan.batch >= 2
    assert cuda.patch == asked.patch == day.patch
    fitted = make_plan(ready("segment"), "segment", minutes=1440, settings={"options.planner": "fitted"})
    assert fitted.options["planner"] == "fitted"


def test_a_cap_is_kept_in_the_documented_order(ready: Ready) -> None:
    seen = ready("segment")
    free = make_plan(seen, "segment", steps=5, machine=here(), memory=64 << 30)
    assert free.store_bytes is None
    whole = memory.predict(free, memory.kept(seen, free)).total
    sizes = []
    for share in (0.99, 0.97, 0.93, 0.9, 0.87):
        most = int(whole * share / memory.SHARE)
        try:
            plan = make_plan(seen, "segment", steps=5, machine=here(), memory=most)
        except HilumError as error:
            assert error.code == "HIL-PLAN-07"
            break
        # predictions may be too low: what was asked for is to be kept nevertheless
        assert memory.predict(plan, memory.kept(seen, plan)).total <= most / 1.2
        assert plan.machine["memory_cap"] == most
        sizes.append((plan.batch, plan.patch[0] * plan.patch[1] * plan.patch[2], width(plan)))
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] < (free.batch, 0, 0)


def test_a_cap_is_shared_by_the_processes_that_share_a_batch(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, parent = ready("segment"), 300 << 20
    monkeypatch.setattr(resident, "now", lambda: parent)
    free = make_plan(seen, "segment", steps=5, machine=here(), memory=64 << 30)
    each = memory.predict(free, memory.kept(seen, free), devices=2).total
    most = int((parent + each * 1.84) / memory.SHARE)
    two = make_plan(seen, "segment", steps=5, machine=here(), memory=most, devices=2)
    # the process that starts them keeps what it holds
    assert parent + 2 * memory.predict(two, memory.kept(seen, two), devices=2).total <= most * memory.SHARE
    assert two.machine["memory_cap"] == most
    assert two.batch % 2 == 0 and (two.batch, two.patch) != (free.batch, free.patch)
    with pytest.raises(HilumError, match=r"2 processes.*HIL-PLAN-07"):
        fitted(free, seen, most // 2, devices=2)
    error = refusal(lambda: make_plan(seen, "segment", steps=5, machine=here(), memory=200 << 20, devices=2))
    asked = int(str(error).split("--memory ")[1].split("MB")[0])
    # no batch is made that they could not share
    assert make_plan(seen, "segment", steps=5, machine=here(), memory=asked << 20, devices=2).batch == 2


def test_training_plans_for_all_its_processes(
    data: Callable[[str], Path], plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan_of("segment", 1).write(tmp_path / "plan.json")
    asked: list[Any] = []
    honest = _shape.given_fits, _shape.by_memory
    monkeypatch.setattr(_shape, "given_fits", lambda *w: (asked.append(w[-1]), honest[0](*w))[1])
    monkeypatch.setattr(_shape, "by_memory", lambda *w: (asked.append(w[-1]), honest[1](*w))[1])
    monkeypatch.setattr(verb, "carried_out", lambda *words: None)
    train(data("segment"), "segment", tmp_path / "a", plan=tmp_path / "plan.json", devices=2, accelerator="cpu")
    train(data("segment"), "segment", tmp_path / "b", steps=1, devices=2, accelerator="cpu")
    assert asked == [2, 2]


def test_a_cap_that_nobody_keeps_on_a_card_is_refused(ready: Ready) -> None:
    card = here(1e4, {"name": "card", "memory": 8 << 30})
    error = refusal(lambda: make_plan(ready("segment"), "segment", steps=5, machine=card, memory=4 << 30))
    assert error.code == "HIL-PLAN-07" and "Leave --memory out" in str(error)
    plan = make_plan(ready("segment"), "segment", steps=5, machine=card)
    assert refusal(lambda: fitted(plan, ready("segment"), 4 << 30, on_card=True)).code == "HIL-PLAN-07"
    assert fitted(plan, ready("segment"), on_card=True) == plan


def test_the_store_is_limited_before_anything_else(ready: Ready) -> None:
    plan = make_plan(ready("segment"), "segment", steps=5)
    cases = memory.Kept((100 << 20,) * 40)
    whole = memory.predict(plan, cases).total
    assert whole - memory.predict(plan, memory.Kept(())).total == 4000 << 20
    limited = _shape._stored(plan, cases, whole - (1000 << 20))
    assert limited is not None and limited.store_bytes == 3000 << 20 and limited.batch == plan.batch
    assert memory.predict(limited, cases).total == whole - (1000 << 20)
    # where all fits, the store may not take more than is left, should cases turn out larger than predicted
    close = _shape._stored(plan, cases, whole + (50 << 20))
    assert close is not None and close.store_bytes == (4000 << 20) + (50 << 20)
    assert _shape._stored(plan, cases, whole + (1000 << 20)) == plan
    assert _shape._stored(plan, cases, whole + (50 << 20), held=True) == plan


def test_a_store_that_can_not_keep_all_has_room_to_prepare_cases_again(ready: Ready) -> None:
    plan = make_plan(ready("segment"), "segment", steps=5)
    cases = memory.Kept((100 << 20,) * 40, largest=50 << 20)
    whole = memory.predict(plan, cases)
    later = whole.batches + whole.weights + whole.activations + whole.workspace
    # all are prepared before there is a network
    assert whole.preparing == max(0, (150 << 20) - later)
    most = whole.total - (1000 << 20)
    limited = _shape._stored(plan, cases, most)
    assert limited is not None
    less = memory.predict(limited, cases)
    assert less.preparing == 150 << 20 and less.total == most


def test_what_fits_nothing_is_refused_with_what_would(ready: Ready) -> None:
    error = refusal(lambda: make_plan(ready("segment"), "segment", steps=5, machine=here(), memory=100 << 20))
    assert error.code == "HIL-PLAN-07" and "100 MB" in str(error) and "--memory" in str(error)


def test_the_memory_that_a_refusal_names_is_then_enough(ready: Ready) -> None:
    seen = ready("segment")

    def named(error: HilumError) -> int:
        assert error.code == "HIL-PLAN-07"
        return parse_size(error.remedy.split("--memory ")[1].split()[0].rstrip(".,"))

    def planned(most: int, **settings: Any) -> Plan:
        return make_plan(seen, "segment", steps=5, machine=here(), memory=most, settings=settings)

    for settings in ({}, {"plan.batch": 64}, {"options.planner": "published"}):
        most = named(refusal(lambda settings=settings: planned(500 << 20, **settings)))
        plan = planned(most, **settings)
        assert plan.machine["memory_cap"] == most and plan.batch == settings.get("plan.batch", plan.batch)
    large = make_plan(seen, "segment", steps=5, settings={"plan.batch": 64})
    most = named(refusal(lambda: fitted(large, seen, 500 << 20)))
    kept = fitted(large, seen, most)
    assert kept.batch == 64 and kept.machine["memory_cap"] == most
    # of the next machine, without a cap
    assert fitted(kept, seen, 64 << 30).machine["memory_cap"] == 64 << 30
    assert "memory_cap" not in fitted(kept, seen).machine


def test_a_published_plan_that_was_asked_for_is_not_made_smaller(ready: Ready) -> None:
    seen, asked = ready("segment"), {"options.planner": "published"}
    whole = make_plan(seen, "segment", steps=5, settings=asked)
    most = int(memory.predict(whole, memory.kept(seen, whole)).total * 0.8 / memory.SHARE)
    error = refusal(lambda: make_plan(seen, "segment", steps=5, settings=asked, machine=here(), memory=most))
    assert error.code == "HIL-PLAN-07" and "with the given planner" in str(error)
    assert error.remedy.rstrip(".").endswith("or --set options.planner=fitted")
    fit = make_plan(seen, "segment", steps=5, settings={"options.planner": "fitted"}, machine=here(), memory=most)
    assert fit.options["planner"] == "fitted"


def test_a_published_plan_keeps_two_samples_and_then_becomes_the_fitted_one(ready: Ready) -> None:
    seen = ready("segment")
    whole = make_plan(seen, "segment", minutes=1440)
    need = memory.predict(whole, memory.kept(seen, whole)).total
    least = memory.predict(whole.model_copy(update={"batch": 2}), memory.kept(seen, whole)).total
    kinds = []
    for most in (2 * need, least + (100 << 20), least - (100 << 20), 900 << 20):
        plan = make_plan(seen, "segment", minutes=1440, machine=here(100.0), memory=int(most / memory.SHARE))
        notes = [note for note in plan.data.get("notes", []) if "published plan does not fit" in note]
        assert memory.predict(plan, memory.kept(seen, plan)).total <= most
        kinds.append(plan.options["planner"])
        if kinds[-1] == "published":
            assert plan.batch >= 2 and plan.patch == whole.patch and plan.options["overlap"] == 0.5 and not notes
        else:
            assert len(notes) == 1 and plan.options["overlap"] == 0.25
    assert kinds == ["published", "published", "fitted", "fitted"]
    many = whole.model_copy(update={"batch": 12})
    assert [one.batch for one in _shape._halved(many, 2, set(), 1)] == [6, 3]
    assert [one.batch for one in _shape._halved(many, 1, set(), 2)] == [6, 2]
    assert [one.batch for one in _shape._halved(many, 1, {"batch"}, 1)] == []


def test_what_memory_made_smaller_has_shorter_steps(ready: Ready) -> None:
    seen, words = ready("segment"), {"minutes": 12, "machine": here(20.0)}
    free = make_plan(seen, "segment", memory=64 << 30, **words)
    most = int(memory.predict(free, memory.kept(seen, free)).total * 0.9 / memory.SHARE)
    less = make_plan(seen, "segment", memory=most, **words)
    assert cost.step(less).flops < cost.step(free).flops
    seconds = less.machine["seconds_per_step"]
    assert seconds == pytest.approx(cost.step(less).flops / 20e9) and seconds < free.machine["seconds_per_step"]

    # and so the images are seen more often
    def noise(plan: Plan) -> Any:
        return [one.options.get("probability") for one in plan.augment]

    again = _shape.passes(less, seen, seconds)
    assert again is not None
    usual = make_plan(seen, "segment", minutes=12)
    assert noise(less) == noise(less.model_copy(update={"augment": augment.weakened(usual.augment, again)}))


def test_a_batch_given_by_hand_is_not_changed_but_refused(ready: Ready) -> None:
    settings = {"plan.batch": 512}
    error = refusal(
        lambda: make_plan(ready("segment"), "segment", steps=5, settings=settings, machine=here(), memory=1 << 30)
    )
    assert error.code == "HIL-PLAN-07" and "given batch" in str(error)
    plan = make_plan(ready("segment"), "segment", steps=5, settings=settings)
    error = refusal(lambda: _shape.given_fits(plan, ready("segment"), 1 << 30))
    assert error.code == "HIL-PLAN-07" and "--set plan.batch=" in str(error)
    fitting = int(str(error).split("plan.batch=")[1].split(")")[0])
    kept = _shape.given_fits(plan.model_copy(update={"batch": fitting}), ready("segment"), 1 << 30)
    assert kept.batch == fitting


def test_minutes_that_hold_no_step_are_refused(ready: Ready) -> None:
    error = refusal(lambda: make_plan(ready("segment"), "segment", minutes=0.05, machine=here(1e-3)))
    assert error.code == "HIL-PLAN-06" and "hold no step" in str(error) and "--minutes" in str(error)


@pytest.mark.parametrize(("task", "gflops"), [("segment", 1e-3), ("segment", 0.02), ("segment", 0.3), ("detect", 0.05)])
def test_the_minutes_that_a_refusal_names_are_then_enough(task: str, gflops: float, ready: Ready) -> None:
    """More minutes make a larger plan, whose steps are longer."""
    error = refusal(lambda: make_plan(ready(task), task, minutes=0.05, machine=here(gflops)))
    minutes = float(error.remedy.split("--minutes ")[1].split()[0])
    plan = make_plan(ready(task), task, minutes=minutes, machine=here(gflops))
    # ten, and as many that are tried and timed, and room for what is not predicted
    assert plan.machine["seconds_per_step"] * 30 <= minutes * 60


@pytest.mark.parametrize("task", ["segment", "detect", "register"])
def test_a_patch_far_larger_than_every_image_is_refused(task: str, ready: Ready) -> None:
    dims = ready(task).facts["dims"]
    error = refusal(lambda: make_plan(ready(task), task, steps=5, settings={"plan.patch": [1024] * dims}))
    assert error.code == "HIL-PLAN-08" and "Take at most" in str(error)
    largest = [max(row["shape"][a] for row in ready(task).facts["cases"]) for a in range(dims)]
    assert make_plan(ready(task), task, steps=5, settings={"plan.patch": largest}).patch == largest


@pytest.mark.parametrize("task", ["segment", "register"])
def test_a_spacing_by_hand_has_a_patch_that_is_made_for_it(task: str, ready: Ready) -> None:
    """The patch and the stages stayed those of the spacing by rule, so that most of a coarse patch was padding."""
    seen = ready(task)
    usual = make_plan(seen, task, steps=20)
    assert usual.spacing is not None
    same, wide, fine = (
        make_plan(seen, task, steps=20, settings={"plan.spacing": [round(n * times, 6) for n in usual.spacing]})
        for times in (1, 3, 0.5)
    )
    assert same == usual and wide.spacing == [round(3 * n, 6) for n in usual.spacing]
    sizes = [max(memory.at_spacing(row, wide)[axis] for row in seen.facts["cases"]) for axis in range(wide.dims)]
    # what a network divides by apart, it is no larger than the images
    assert all(side < size + 16 for side, size in zip(wide.patch, sizes, strict=True)), (wide.patch, sizes)
    assert all(a <= b for a, b in zip(wide.patch, usual.patch, strict=True)) and fine.patch != usual.patch
    assert fitted(wide, seen).patch == wide.patch
    # axis by axis, and as Python may have it
    axes = {f"spacing.{axis}": n for axis, n in enumerate(wide.spacing)}
    for words in (axes, {"plan.spacing": tuple(wide.spacing)}):
        assert make_plan(seen, task, steps=20, settings=words) == wide
    # what is no spacing has no rules made for it
    for odd in ([1.0], [0, 1, 1], "coarse", ["a", "b", "c"]):
        settings = {"plan.spacing": odd}
        error = refusal(lambda settings=settings: make_plan(seen, task, steps=5, settings=settings))
        assert error.code == "HIL-PLAN-03"


def test_a_spacing_at_which_nothing_can_be_pooled_is_refused(ready: Ready) -> None:
    error = refusal(lambda: make_plan(ready("segment"), "segment", steps=5, settings={"plan.spacing": [12, 12, 12]}))
    assert error.code == "HIL-PLAN-08" and "too small to pool" in error.seen and "finer" in error.remedy


def test_a_patch_that_a_spacing_leaves_too_large_is_refused(ready: Ready) -> None:
    settings = {"plan.spacing": [8.0, 8.0, 8.0], "plan.patch": [48, 48, 48]}
    assert refusal(lambda: make_plan(ready("segment"), "segment", steps=5, settings=settings)).code == "HIL-PLAN-08"
    axis = {"spacing.0": 40.0, "spacing.1": 40.0, "spacing.2": 40.0}
    assert refusal(lambda: make_plan(ready("segment"), "segment", steps=5, settings=axis)).code == "HIL-PLAN-08"


def test_batches_that_several_processes_share_are_tried_before_it_is_said_that_none_fits(ready: Ready) -> None:
    """Of a batch of six for two processes none was: half of it is three."""
    plan = make_plan(ready("segment"), "segment", steps=5, settings={"plan.batch": 6})
    assert [one.batch for one in _shape._halved(plan, 1, set(), 2)] == [2]
    cases = memory.kept(ready("segment"), plan)
    two = memory.predict(plan.model_copy(update={"batch": 2}), cases, devices=2).total
    six = memory.predict(plan, replace(cases, sizes=(0,)), store=_shape.LEAST_STORE, devices=2).total
    most = resident.now() + 2 * (two + (1 << 20))
    assert two + (1 << 20) < six
    error = refusal(lambda: _shape.given_fits(plan, ready("segment"), most, devices=2))
    assert error.code == "HIL-PLAN-07" and "batch 2 fits (--set plan.batch=2)" in error.remedy


@pytest.mark.parametrize("settings", [{"plan.batch": 0}, {"plan.batch": -1}, {"plan.patch": [0, 8, 8]}], ids=str)
def test_impossible_numbers_are_refused(settings: dict[str, Any], ready: Ready) -> None:
    assert refusal(lambda: make_plan(ready("segment"), "segment", steps=5, settings=settings)).code == "HIL-PLAN-03"


def test_stages_given_by_hand_are_refused_for_memory_and_not_for_their_number(ready: Ready) -> None:
    usual = make_plan(ready("segment"), "segment", steps=5, machine=here(1.0))
    by_hand = {"networks.net.options.features": usual.networks["net"].options["features"]}
    with pytest.raises(HilumError) as error:
        make_plan(ready("segment"), "segment", steps=5, machine=here(1.0), memory=100 << 20, settings=by_hand)
    assert error.value.code == "HIL-PLAN-07"


def test_longer_runs_want_more_steps_and_classification_more_than_segmentation() -> None:
    short, usual, long = (_shape._wanted(minutes, "segment") for minutes in (3, 8, 32))
    assert (short, usual, long) == (500, 500, 1000)
    assert _shape._wanted(32, "classify") == 1500


def test_of_stages_given_by_hand_those_plans_count_that_the_network_can_take(
    ready: Ready, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow machine tries narrower plans, whose larger patches want another number of stages."""
    usual = make_plan(ready("segment"), "segment", steps=5)
    tried: list[int] = []

    def build(budget: Budget) -> Plan:
        tried.append(budget.width)
        if len(tried) > 2:
            raise HilumError("HIL-ZOO-03", "There are 4 features, 5 strides", "Give as many")
        return usual.edited({"networks.net.options.features": [budget.width, 2 * budget.width]})

    monkeypatch.setattr(_shape, "step_seconds", lambda *_: 1e9)
    found = _shape.by_minutes(build, Budget(12), lambda plan: 1.0)
    assert len(tried) > 3 and found.plan.networks["net"].options["features"][0] == tried[1]
    tried[:] = [0, 0]
    with pytest.raises(HilumError, match="4 features"):
        _shape.by_minutes(build, Budget(12), lambda plan: 1.0)


def test_a_store_given_by_hand_is_kept_or_refused(ready: Ready) -> None:
    plan = make_plan(ready("segment"), "segment", steps=5).model_copy(update={"store_bytes": 4 << 30})
    cases = memory.Kept((100 << 20,) * 40)
    whole = memory.predict(plan, cases).total
    assert _shape._stored(plan, cases, whole, held=True) == plan
    assert _shape._stored(plan, cases, whole - (1000 << 20), held=True) is None


def test_a_store_of_a_given_plan_is_never_raised(ready: Ready) -> None:
    """One of 64 MB became as large as what was left of the memory."""
    plan = make_plan(ready("segment"), "segment", steps=5).model_copy(update={"store_bytes": 64 << 20})
    whole = memory.predict(plan, memory.kept(ready("segment"), plan)).total
    for more in (1 << 30, 8 << 30):
        assert _shape.given_fits(plan, ready("segment"), whole + more).store_bytes == 64 << 20
    large = plan.model_copy(update={"store_bytes": 16 << 30})
    less = _shape.given_fits(large, ready("segment"), whole + (1 << 30)).store_bytes
    assert less is not None and 1 << 30 <= less < 2 << 30


def test_only_a_published_plan_keeps_its_augmentation_on_a_card(ready: Ready) -> None:
    """A task that has none plans there as everywhere."""

    def first(**more: Any) -> list[Any]:
        return [a.options for a in make_plan(ready("classify"), "classify", steps=5, **more).augment]

    whole = [a.options for a in make_plan(ready("classify"), "classify", steps=2000).augment]
    assert first(machine=here(1e4, {"name": "card", "memory": 8 << 30})) == first() != whole


def test_images_seen_seldom_are_varied_less(ready: Ready) -> None:
    def chances(**more: Any) -> list[float]:
        return [a.options.get("probability", -1) for a in make_plan(ready("segment"), "segment", **more).augment]

    few, many = make_plan(ready("segment"), "segment", steps=50), make_plan(ready("segment"), "segment", steps=2000)
    seen = _shape.passes(few, ready("segment"), None)
    assert seen is not None and 13 < seen < 27
    for less, usual in zip(few.augment, many.augment, strict=True):
        card = catalogue.card("hilum.prepare.augment", usual.name)["options"]
        if "probability" in card:
            whole = usual.options.get("probability", card["probability"])
            assert less.options["probability"] == pytest.approx(whole * (seen - 10) / 20, abs=1e-4)
    assert [a.name for a in few.augment] == [a.name for a in many.augment]
    assert chances(steps=1)[0] == pytest.approx(0.15 * 0.2)
    # who gives it by hand, or wants nnU-Net's, has it as it is
    by_hand = {"plan.augment": [{"name": "noise", "options": {"probability": 0.5}}]}
    assert chances(steps=20, settings=by_hand) == [0.5]
    published = {"options.planner": "published"}
    assert chances(steps=20, settings=published) == chances(steps=2000, settings=published)


def test_without_a_speed_nobody_knows_how_often_images_are_seen(ready: Ready) -> None:
    assert _shape.passes(make_plan(ready("segment"), "segment", minutes=5), ready("segment"), None) is None


def test_a_batch_of_one_that_batch_norm_can_not_learn_from_is_refused_and_not_offered(
    ready: Ready, plan_of: Callable[..., Plan]
) -> None:
    small = {"patch": [8, 8], "networks.net.options": {"depth": 18, "width": 8, "stem": "small"}}
    assert refusal(lambda: cost.step(plan_of("classify", batch=1, **small))).code == "HIL-ZOO-02"
    error = refusal(lambda: _shape.given_fits(plan_of("classify", batch=2, **small), ready("classify"), 1))
    assert error.code == "HIL-PLAN-07" and "no batch of this patch" in error.remedy
