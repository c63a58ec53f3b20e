"""Losses that a segmentation can pick, by name: each keeps the same laws, whatever files lie in the folder."""

import inspect

import pytest
import torch

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.losses import _named

CARDS = catalogue.cards("hilum.losses")
NAMES = [name for name, card in CARDS.items() if "segment" in card["tasks"]]
NAMED = {"dice", "dice_ce", "generalised_dice", "focal", "tversky", "focal_tversky", "boundary", "ms_ssim", "compound"}
BESIDE = {"ms_ssim"}
# Of windows: what lies beside counts, so a cropped image has another value.


def random(*space: int, classes: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(2, classes, *space), torch.randint(0, classes, (2, *space))


def test_all_of_them_are_there() -> None:
    assert set(NAMES) >= NAMED


@pytest.mark.parametrize("name", NAMES)
def test_the_card_gives_options_that_the_function_has(name: str) -> None:
    card = CARDS[name]
    assert card["about"] and len(card["about"]) < 100
    arguments = inspect.signature(getattr(catalogue.load("hilum.losses", name), name)).parameters
    assert list(arguments)[:3] == ["logits", "target", "ignore"]
    for option, value in card["options"].items():
        assert arguments[option].kind is inspect.Parameter.KEYWORD_ONLY
        assert option == "batch" or value == pytest.approx(arguments[option].default)


@pytest.mark.parametrize("space", [(24, 26), (12, 13, 14)])
@pytest.mark.parametrize("name", NAMES)
def test_it_falls_as_the_prediction_becomes_right_and_its_gradient_is_finite(name: str, space: tuple[int, ...]) -> None:
    loss = _named.loss(name, "segment")
    logits, target = random(*space)
    hot = torch.nn.functional.one_hot(target, 3).movedim(-1, 1).float()
    values = [float(loss(logits + step * hot, target, -1)) for step in (0, 2, 4, 8, 60)]
    assert values == sorted(values, reverse=True) and values[0] > values[-1] + 0.1, values
    x = (0.1 * logits).requires_grad_()
    value = loss(x, target, -1)
    value.backward()  # type: ignore[no-untyped-call]
    assert value.ndim == 0 and x.grad is not None and bool(x.grad.isfinite().all()) and bool(x.grad.any())
    with torch.no_grad():
        assert float(loss(x - 0.5 * x.grad / x.grad.abs().max(), target, -1)) < float(value)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    logits, target = random(11, 12)
    target[:, :3] = -1
    loss, x = _named.loss(name, "segment"), logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, target, -1), x, fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_ignored_voxels_count_nowhere(name: str) -> None:
    loss = _named.loss(name, "segment")
    logits, target = random(24, 24)
    target[:, 12:] = -1
    x = logits.clone().requires_grad_()
    value = loss(x, target, -1)
    (gradient,) = torch.autograd.grad(value, x)
    assert not bool(gradient[:, :, 12:].any()) and bool(gradient[:, :, :12].any())
    logits[:, :, 12:] = 7
    torch.testing.assert_close(loss(logits, target, -1), value.detach())
    if name not in BESIDE:
        cropped = loss(logits[:, :, :12], target[:, :12], -1)
        torch.testing.assert_close(value.detach(), cropped)
    nothing = loss(logits.requires_grad_(), torch.full_like(target, -1), -1)
    (gradient,) = torch.autograd.grad(nothing, logits)
    assert bool(nothing.isfinite()) and not bool(gradient.any())


@pytest.mark.parametrize("value", [0, 1])
@pytest.mark.parametrize("name", NAMES)
def test_empty_and_full_references_are_finite(name: str, value: int) -> None:
    loss = _named.loss(name, "segment")
    for height in (0.0, 80.0, -80.0):
        logits = torch.zeros(2, 3, 16, 16)
        logits[:, 1] = height
        x = logits.requires_grad_()
        found = loss(x, torch.full((2, 16, 16), value), -1)
        (gradient,) = torch.autograd.grad(found, x)
        assert bool(found.isfinite()) and bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", NAMES)
def test_classes_may_be_renamed(name: str) -> None:
    loss = _named.loss(name, "segment")
    logits, target = random(24, 24, classes=4)
    order = torch.tensor([0, 3, 1, 2])  # new index of each class
    torch.testing.assert_close(loss(logits[:, order.argsort()], order[target], -1), loss(logits, target, -1))


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_widened_before_sums(name: str) -> None:
    space = (12, 16, 16) if name == "weight_map" else (40, 48, 48)  # noise has one object in every few voxels
    logits, target = random(*space, classes=2)
    loss = _named.loss(name, "segment")
    assert float(loss(logits.half(), target, -1)) == pytest.approx(float(loss(logits, target, -1)), abs=1e-3)


@pytest.mark.parametrize(
    "name", ["compound", "dice", "dice_ce", "focal", "focal_tversky", "generalised_dice", "tversky"]
)
def test_half_precision_of_a_large_patch(name: str) -> None:
    """Two million voxels: a sum in half precision would end at 65504."""
    torch.manual_seed(0)
    logits, target = torch.randn(1, 2, 128, 128, 128), torch.randint(0, 2, (1, 128, 128, 128))
    loss = _named.loss(name, "segment")
    assert float(loss(logits.half(), target, -1)) == pytest.approx(float(loss(logits, target, -1)), abs=1e-3)


def test_options_are_read_from_the_name() -> None:
    logits, target = random(8, 8)
    tversky = catalogue.load("hilum.losses", "tversky").tversky
    given = _named.loss("tversky:alpha=0.5:beta=1:batch=false", "segment")(logits, target, -1)
    torch.testing.assert_close(given, tversky(logits, target, -1, alpha=0.5, beta=1.0))
    torch.testing.assert_close(
        _named.loss("tversky", "segment")(logits, target, -1), tversky(logits, target, batch=True)
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dicece", "Did you mean dice"),
        ("ncc", "no loss named 'ncc' for segment"),
        ("tversky:alfa=0.3", "Did you mean alpha"),
        ("tversky:alpha=high", "something like 0.3"),
        ("tversky:batch=1", "something like True"),
        ("ms_ssim:window=true", "something like 11"),
        ("compound:recipe=3", "something like transunet"),
        ("tversky:alpha", "not key=value"),
    ],
)
def test_what_is_unknown_is_refused(text: str, said: str) -> None:
    with pytest.raises(HilumError, match=said):
        _named.parsed(text, "segment")
