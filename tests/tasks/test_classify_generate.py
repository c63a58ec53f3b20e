"""Classification draws classes evenly; generation is the same for the same seed; a missed case has its worst record."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.data.store import Store
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared
from hilum.tasks import _task
from hilum.tasks.generate import GENERATED

PlanOf = Callable[..., Plan]


def cases(counts: dict[str, int]) -> list[Case]:
    image = Image(np.random.default_rng(0).random((1, 32, 32)).astype(np.float32))
    return [Case(f"{k}{n}", f"{k}{n}", {"image": image}, klass=k) for k, many in counts.items() for n in range(many)]


@pytest.mark.parametrize(("balance", "low", "high"), [(True, 0.35, 0.65), (False, 0.0, 0.2)])
def test_balance_draws_a_rare_class_as_often(balance: bool, low: float, high: float, plan_of: PlanOf) -> None:
    task = _task.load(plan_of("classify", **{"options.balance": balance, "batch": 100}))
    made = task.sample(Store(task.prepare), cases({"healthy": 38, "lesion": 2}), "val", 0, np.random.default_rng(0))
    assert low <= float((made["target"] == 1).float().mean()) <= high


def test_neighbours_in_a_batch_are_blended_and_their_classes_with_them(plan_of: PlanOf) -> None:
    classes = [{"value": value, "name": name} for value, name in enumerate("abcd")]
    as_is = {"augment": [], "normalisation": [{"scheme": "none"}]}
    task = _task.load(plan_of("classify", batch=16, classes=classes, **as_is))
    # the value of an image is the place of its class
    images = [Image(np.full((1, 32, 32), value, np.float32)) for value in range(4)]
    plain = [Case(name, name, {"image": image}, klass=name) for name, image in zip("abcd", images, strict=True)]
    made = task.sample(Store(task.prepare), plain, "train", 0, np.random.default_rng(0))
    own, other, share = made["target"], made["other"], made["share"]
    assert torch.equal(other, own.roll(1)) and bool((share >= 0.5).all()) and int((share < 0.95).sum()) > 3
    wanted = (share * own + (1 - share) * other).reshape(-1, 1, 1, 1)
    torch.testing.assert_close(made["image"], wanted.expand_as(made["image"]))
    assert "share" not in task.sample(Store(task.prepare), plain, "val", 0, np.random.default_rng(0))


def test_a_blended_image_is_of_both_classes_by_their_shares(plan_of: PlanOf) -> None:
    # probabilities 1/4 and 3/4, and the other way round
    logits, batch = torch.tensor([[0.0, np.log(3)], [np.log(3), 0.0]]), {"target": torch.tensor([0, 1])}
    batch |= {"other": torch.tensor([1, 0]), "share": torch.tensor([0.75, 0.5])}
    wanted = (0.75 * np.log(4) + 0.25 * np.log(4 / 3) + 0.5 * np.log(4) + 0.5 * np.log(4 / 3)) / 2
    assert float(_task.load(plan_of("classify")).losses(logits, batch)["loss"]) == pytest.approx(wanted)


def test_the_truth_is_smoothed_for_learning_only(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("classify", **{"options.smoothing": 0.2}))
    logits, plain = torch.tensor([[2.0, 0.0]]), {"target": torch.tensor([0])}
    blended = plain | {"other": torch.tensor([0]), "share": torch.tensor([0.5])}
    for batch in (plain, blended):
        right = np.log1p(np.exp(-2))
        assert float(task.losses(logits, batch)["loss"]) == pytest.approx(right)
        # a tenth of the truth is the other class, which costs 2 more
        learned = task.losses(logits.clone().requires_grad_(), batch)["loss"]
        assert float(learned.detach()) == pytest.approx(right + 0.1 * 2)


def test_classes_that_are_named_by_a_side_are_not_learned_from_mirror_images(ready: Callable[[str], Prepared]) -> None:
    facts = ready("classify").facts | {"modality": "OP"}
    for classes, flips in ((("left", "right"), 0), (("healthy", "ill"), 1)):
        rows = [row | {"class": classes[n % 2]} for n, row in enumerate(facts["cases"])]
        made = _task.kind("classify").rules(facts | {"cases": rows}, _task.Budget(10))
        assert sum(entry["name"] == "flip" for entry in made["augment"]) == flips


def test_t10_a_class_the_plan_does_not_know_is_refused(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("classify"))
    with pytest.raises(HilumError) as error:
        task.prepare(cases({"odd": 1})[0])
    assert error.value.code == "HIL-T10"
    task.prepare(cases({"odd": 1})[0], truth=False)


def test_the_border_control_hides_the_middle(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("classify", **{"options.control": "border"}))
    first, second = cases({"healthy": 1})[0], cases({"healthy": 1})[0]
    second.items["image"].array[0, 8:24, 8:24] = 0  # a different middle, the same frame
    np.testing.assert_allclose(task.prepare(first)["image"], task.prepare(second)["image"])


def test_probabilities_are_the_softmax_in_the_plans_order(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("classify"))
    result = task.decode(torch.tensor([[0.0, np.log(3.0)]]), {"warnings": ("w",)}, cases({"lesion": 1})[0])
    assert [r.name for r in result["scores"].rows] == ["healthy", "lesion"] and result.warnings == ("w",)
    np.testing.assert_allclose(result["scores"].vector(), [0.25, 0.75])


def test_missed_cases_count_as_the_worst_answer(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("classify"))
    probabilities, truth = task.missed(cases({"lesion": 1})[0]).record
    assert truth == 1 and probabilities.tolist() == [1, 0]
    detect = _task.load(plan_of("detect"))
    case = Case("a", "a", {"image": Image(np.zeros((1, 64, 64)))}, boxes=np.array([[1.0, 2, 3, 8, 9]]))
    record = detect.missed(case).record
    assert len(record["boxes"]) == 0 and record["true_boxes"].tolist() == [[2, 3, 8, 9]]
    for metric in ("ap50", "froc"):
        assert catalogue.load("hilum.metrics", metric).measure([record]) == 0
    # where nothing is, to find nothing is no worst answer, and none is
    bare = replace(case, boxes=np.zeros((0, 5)))
    assert detect.missed(bare).record is None and detect.missed(bare).case == "a"


def test_t10_a_box_of_an_unknown_class_is_refused(plan_of: PlanOf) -> None:
    detect = _task.load(plan_of("detect"))
    with pytest.raises(HilumError) as error:
        detect.prepare(Case("a", "a", {"image": Image(np.zeros((1, 64, 64)))}, boxes=np.array([[9.0, 2, 3, 8, 9]])))
    assert error.value.code == "HIL-T10"


def test_generated_images_belong_to_their_seed(trained: Callable[[str], Run]) -> None:
    predictor = Predictor(trained("generate"))
    first, again, more = predictor.generate(3, 0), predictor.generate(3, 0), predictor.generate(3, 1)
    for a, b, c in zip(first, again, more, strict=True):
        np.testing.assert_array_equal(a["picture"].image.array, b["picture"].image.array)
        assert not np.array_equal(a["picture"].image.array, c["picture"].image.array)
        assert a.warnings == (GENERATED,)
    rules = predictor.plan.normalisation[0]
    values = np.stack([r["picture"].image.array for r in first])
    assert values.min() >= rules.low - 1e-3 and values.max() <= rules.high + 1e-3
    record = predictor.task.judge(first[0], Case("x", "x", {})).record
    assert record.min() >= -1.001 and record.max() <= 1.001
    for count, seed in ((0, 0), (1, -1)):
        with pytest.raises(HilumError) as error:
            predictor.generate(count, seed)
        assert error.value.code == "HIL-INFER-04"


def test_generated_images_are_drawn_by_torch_alone(trained: Callable[[str], Run]) -> None:
    run = trained("generate")
    assert len(Predictor(run, "auto").generate(1, 0)) == 1
    with pytest.raises(HilumError) as error:
        Predictor(run, "torch-channels-last").generate(1, 0)
    assert error.value.code == "HIL-INFER-13"
