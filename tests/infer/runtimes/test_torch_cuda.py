"""Prediction on a card: merged and labelled where it is computed. Where there is none, processors stand in for it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core import card
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.evaluation.evaluator import judge_all
from hilum.infer import bundle, streamed, windows
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes import _choose

CARDS = [name for name in _choose.names() if "device" in _choose.card(name)]
NONE = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
ONE = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no card")


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A card, or processors that are taken for one."""
    if not torch.cuda.is_available():
        monkeypatch.setattr(card, "KIND", "cpu")
        monkeypatch.setattr(card, "there", lambda: True)


def case(run: Run, times: int = 3) -> Case:
    """Of several windows."""
    shape = (times * run.plan.patch[0], *run.plan.patch[1:])
    values = np.random.default_rng(0).normal(100, 30, (1, *shape)).astype(np.float32)
    affine = np.diag([*(run.plan.spacing or [1.0] * len(shape)), 1.0])
    return Case("case", "", {"image": Image(values, affine)})


@NONE
@pytest.mark.parametrize("name", CARDS)
def test_without_a_card_it_is_refused_by_name_and_left_out_by_auto(name: str) -> None:
    with pytest.raises(HilumError) as error:
        _choose.check(name)
    assert error.value.code == "HIL-INFER-12" and "CUDA" in error.value.seen and not _choose.native(name)
    net, x = nn.Conv2d(1, 2, 3, padding=1).eval(), torch.randn(1, 1, 8, 8)
    assert "no CUDA" in _choose.chosen("auto", net, x).left["torch-cuda"]


@pytest.mark.parametrize("name", CARDS)
def test_masks_are_those_of_the_processors(name: str, trained: Callable[[str], Run], there: None) -> None:
    run = trained("segment")
    own = case(run)
    wanted, found = (Predictor(run, runtime).told(own) for runtime in ("torch", name))
    same = (wanted[0]["mask"].array == found[0]["mask"].array).mean()
    assert same >= (0.999 if _choose.card(name)["exact"] else 0.95)
    assert found[1]["runtime"] == name and "predicted" not in found[1]["bytes"]
    assert (found[1]["bytes"]["card"] > 0) == torch.cuda.is_available()
    assert found[1]["seconds"]["network"] > 0


@pytest.mark.parametrize("times", [1, 3])
def test_scores_and_features_of_a_card_are_those_of_the_processors(
    times: int, trained: Callable[[str], Run], there: None
) -> None:
    run = trained("segment")
    by = {name: Predictor(run, name) for name in ("torch", "torch-cuda")}
    prepared = by["torch"].task.prepare(case(run, times), truth=False)
    logits = {name: one.logits(prepared) for name, one in by.items()}
    assert logits["torch-cuda"].device.type == "cpu"
    torch.testing.assert_close(logits["torch-cuda"], logits["torch"], rtol=1e-3, atol=1e-3)
    window = [torch.from_numpy(prepared["image"][None, :, : run.plan.patch[0]])]
    features = {name: one.features(window) for name, one in by.items()}
    np.testing.assert_allclose(features["torch-cuda"], features["torch"], rtol=1e-3, atol=1e-3)


def test_whole_images_are_classified_on_it(trained: Callable[[str], Run], there: None) -> None:
    run = trained("classify")
    values = np.random.default_rng(0).normal(0, 1, (len(run.plan.channels), *run.plan.patch)).astype(np.float32)
    own = Case("case", "", {"image": Image(values, None)})
    rows = [Predictor(run, name)(own)["scores"].rows for name in ("torch", "torch-cuda")]
    np.testing.assert_allclose(*([row.value for row in each] for each in rows), atol=1e-3)


def test_a_head_gives_the_same_over_a_window_as_its_layer() -> None:
    layer, x = nn.Conv3d(4, 7, 1), torch.randn(2, 4, 3, 5, 6)

    class Net(nn.Module):
        head = layer

        def features(self) -> None: ...

    head = streamed.linear_head(Net())
    assert head is not None
    torch.testing.assert_close(head.over(x), layer(x), rtol=1e-5, atol=1e-5)


def test_auto_takes_the_card_where_it_pays(monkeypatch: pytest.MonkeyPatch, there: None) -> None:
    """With less to do than others need to be tried, a card may be tried; with nearly nothing, none is."""
    net, x = nn.Conv2d(1, 2, 3, padding=1).eval(), torch.randn(1, 1, 8, 8)
    for work, wanted in ((2, "torch"), (4, "torch-cuda")):
        spent = iter([1.0, 1.0, *[0.001] * 20])
        monkeypatch.setattr(_choose, "_timed", lambda look, one, spent=spent: (next(spent), look(one)))
        found = _choose.chosen("auto", net, x, work=work)
        assert found.name == wanted and "little" in found.left["torch-channels-last"]


def test_a_limit_of_memory_and_a_card_do_not_go_together(trained: Callable[[str], Run], there: None) -> None:
    with pytest.raises(HilumError) as error:
        Predictor(trained("segment"), "torch-cuda", limit=10**9)
    assert error.value.code == "HIL-INFER-19" and "auto" in error.value.remedy


def test_a_card_without_room_is_said(
    trained: Callable[[str], Run], there: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(trained("segment"), "torch-cuda")

    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")

    monkeypatch.setattr(windows, "_summed", full)
    with pytest.raises(HilumError) as error:
        predictor(case(predictor.run))
    assert error.value.code == "HIL-INFER-22" and "--runtime torch" in error.value.remedy


def test_verify_compares_the_card_where_there_is_one(
    trained: Callable[[str], Run], there: None, tmp_path: Path
) -> None:
    path = tmp_path / "a.hilum"
    bundle.write(trained("segment"), path)
    told = bundle.verify(path)["runtimes"]
    assert told["torch-cuda"] <= 1e-3


@pytest.mark.parametrize("more", [0, 9])
def test_many_windows_heads_and_maps_on_it(more: int, trained: Callable[[str], Run], there: None) -> None:
    """With more classes than features the head comes after the merging."""
    run, threads = trained("segment"), torch.get_num_threads()
    by = {name: Predictor(run, name) for name in ("torch", "torch-cuda")}
    made = torch.Generator().manual_seed(0)
    for one in by.values():
        head = one.net.head
        assert isinstance(head, nn.Conv3d)
        if more:
            one.net.head = nn.Conv3d(head.in_channels, head.in_channels + more, 1)
            one.net.head.weight.data = torch.randn(one.net.head.weight.shape, generator=made.manual_seed(0))
            one.net.head.bias.data.zero_()
    late = streamed.linear_head(by["torch"].net)
    assert late is not None and late.late == bool(more)
    torch.set_num_threads(2)
    try:
        own, first = case(run, 7), {"first": lambda scores: scores[0] * 2}
        found = {name: one.answer(own, maps=first) for name, one in by.items()}
    finally:
        torch.set_num_threads(threads)
    masks = [opinion.result["mask"].array for opinion in found.values()]
    assert (masks[0] == masks[1]).mean() >= 0.999
    maps = [opinion.maps["first"] for opinion in found.values()]
    np.testing.assert_allclose(*maps, rtol=1e-3, atol=1e-3)
    if (masks[0] == masks[1]).all():
        # drawn by the labels alone
        nears = [opinion.near.logits for opinion in found.values()]
        np.testing.assert_allclose(*nears, rtol=1e-3, atol=1e-3)


def test_processors_go_on_where_auto_took_a_card_without_room(
    trained: Callable[[str], Run], there: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real, asked = trained("segment"), windows.planes, list[str]()
    predictor = Predictor(run, "auto")
    predictor.expect(10**9)
    monkeypatch.setattr(_choose, "ENOUGH", 0.0)
    monkeypatch.setattr(_choose, "pays_from", lambda name: 0.0)

    def planes(look: object, *more: object) -> object:
        asked.append(predictor.runtime)
        if predictor.runtime == "auto":
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(look, *more)

    monkeypatch.setattr(windows, "planes", planes)
    result, cost = predictor.told(case(run))
    assert asked == ["auto", "torch"] and cost["runtime"] == "torch"
    monkeypatch.setattr(windows, "planes", real)
    np.testing.assert_array_equal(result["mask"].array, Predictor(run)(case(run))["mask"].array)


def test_a_card_without_room_ends_an_evaluation(trained: Callable[[str], Run]) -> None:
    """It says nothing of the model, so no case counts as missed."""

    def full(_: object) -> None:
        raise HilumError("HIL-INFER-22", "The memory of the CUDA device ran out", "Use --runtime torch")

    with pytest.raises(HilumError) as error:
        judge_all(full, [case(trained("segment"))])
    assert error.value.code == "HIL-INFER-22"


@ONE
@pytest.mark.parametrize("name", CARDS)
def test_answers_of_a_real_card_stay_there(name: str) -> None:
    net, x = nn.Conv3d(1, 2, 3, padding=1).eval(), torch.randn(1, 1, 8, 8, 8)
    with torch.inference_mode():
        found = _choose.prepared(name, net, x)(x)
    assert found.device.type == "cuda" and card.peak() > 0
