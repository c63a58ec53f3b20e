"""Boundary loss: golden values, lowest for the truth, millimetres, ignored voxels, equality with MONAI."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.losses.boundary import boundary, boundary_term, signed_distance
from hilum.losses.generalised_dice import generalised_dice


def square(side: int = 16, low: int = 4, high: int = 12) -> torch.Tensor:
    """A square in the middle of an image, (1, side, side)."""
    target = torch.zeros(1, side, side, dtype=torch.long)
    target[:, low:high, low:high] = 1
    return target


def sure(target: torch.Tensor) -> torch.Tensor:
    return 100 * torch.nn.functional.one_hot(target, 2).movedim(-1, 1).float()


def term(logits: torch.Tensor, target: torch.Tensor, ignore: int | None = None) -> float:
    return float(boundary_term(logits, target, signed_distance(target, 2, ignore), ignore))


def test_golden_values() -> None:
    target = square()
    assert term(sure(target), target) == pytest.approx(-0.21875)
    assert term(torch.zeros(1, 2, 16, 16), target) == pytest.approx(0.97922, abs=1e-5)
    assert term(torch.zeros(1, 2, 16, 16), torch.zeros_like(target)) == 0
    assert term(torch.zeros(1, 2, 16, 16), torch.ones_like(target)) == 0


def test_the_truth_is_the_lowest_of_all_masks() -> None:
    target, generator = square(), torch.Generator().manual_seed(0)
    best = term(sure(target), target)
    for _ in range(20):
        flipped = torch.where(torch.rand(target.shape, generator=generator) < 0.05, 1 - target, target)
        assert term(sure(flipped), target) >= best
    for low, high in ((3, 12), (4, 13), (3, 13), (5, 11), (6, 14)):
        assert term(sure(square(16, low, high)), target) >= best
    assert term(sure(torch.zeros_like(target)), target) > best


def test_it_equals_monai() -> None:
    losses = pytest.importorskip("monai.losses")
    if not hasattr(losses, "BoundaryLoss"):
        pytest.skip("this MONAI has no BoundaryLoss")
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 7, 8, 9)
    target = torch.randint(0, 3, (2, 7, 8, 9))
    for background in (True, False):
        theirs = losses.BoundaryLoss(include_background=background, to_onehot_y=True, softmax=True)
        distance = signed_distance(target, 3, background=background)
        ours = boundary_term(logits, target, distance, background=background)
        torch.testing.assert_close(ours, theirs(logits, target[:, None]))


@pytest.mark.parametrize("spacing", [(0.5, 0.5), (3.0, 0.8), (0.1, 2.0)])
def test_in_millimetres_the_inside_is_never_above_zero(spacing: tuple[float, float]) -> None:
    """The released code takes 1 off, which is more than a small voxel: its inside changes sign."""
    target = square()
    distance = signed_distance(target, 2, spacing=spacing)[:, 0]
    assert bool((distance[target == 1] <= 0).all()) and bool((distance[target == 0] > 0).all())
    if spacing == (0.5, 0.5):
        torch.testing.assert_close(distance, signed_distance(target, 2)[:, 0] / 2)


def test_each_axis_has_its_own_millimetres() -> None:
    distance = signed_distance(square(), 2, spacing=(3.0, 0.8))[0, 0]
    # one voxel above the square, one beside it, and the middle of its first row: 3 mm deep, less the smaller voxel
    assert [float(distance[place]) for place in ((3, 8), (8, 3), (4, 8))] == pytest.approx([3.0, 0.8, 0.8 - 3.0])


def test_ignored_voxels_count_nowhere_and_bound_nothing() -> None:
    """The square goes on under the ignored half: no edge is made where it begins."""
    target = square(16, 4, 12)
    target[:, :, 8:] = -1
    distance = signed_distance(target, 2, -1)[:, 0]
    assert not bool(distance[:, :, 8:].any())
    assert float(distance[0, 7, 7]) == -3 and float(distance[0, 4, 7]) == 0
    logits = torch.randn(1, 2, 16, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (gradient,) = torch.autograd.grad(boundary(logits, target, -1), logits)
    assert not bool(gradient[..., 8:].any()) and bool(gradient[..., :8].any())
    other = logits.detach().clone()
    other[..., 8:] = 5
    assert float(boundary(other, target, -1)) == float(boundary(logits.detach(), target, -1))


def test_alpha_mixes_it_with_the_overlap() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(1, 2, 16, 16), square()
    overlap, edge = float(generalised_dice(logits, target)), term(logits, target)
    assert float(boundary(logits, target, alpha=1.0)) == pytest.approx(overlap)
    assert float(boundary(logits, target, alpha=0.0)) == pytest.approx(edge)
    assert float(boundary(logits, target)) == pytest.approx(0.99 * overlap + 0.01 * edge)
    given = signed_distance(target, 2)
    assert float(boundary(logits, target, distance=given)) == float(boundary(logits, target))


def test_nonsense_is_refused() -> None:
    logits, target = torch.zeros(1, 2, 16, 16), square()
    with pytest.raises(HilumError, match="alpha is 2"):
        boundary(logits, target, alpha=2.0)
    with pytest.raises(HilumError, match="signed_distance"):
        boundary(logits, target, distance=signed_distance(target, 2, background=True))
