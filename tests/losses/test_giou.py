"""Boxes: IoU and GIoU by hand, in any dimension, with empty and distant boxes."""

import pytest
import torch

from hilum.core.errors import HilumError
from hilum.losses.giou import giou, giou_loss, iou

A = torch.tensor([0.0, 0.0, 2.0, 2.0])
B = torch.tensor([1.0, 1.0, 3.0, 3.0])


def test_by_hand() -> None:
    assert float(iou(A, B)) == pytest.approx(1 / 7)
    assert float(giou(A, B)) == pytest.approx(1 / 7 - 2 / 9)
    assert float(giou_loss(A, A)) == pytest.approx(0)


def test_by_hand_in_3d() -> None:
    a, b = torch.tensor([0.0, 0, 0, 2, 2, 2]), torch.tensor([1.0, 0, 0, 3, 2, 2])
    assert float(iou(a, b)) == pytest.approx(4 / 12)


def test_distance_counts_where_boxes_do_not_meet() -> None:
    near, far = A + 3, A + 30
    assert float(iou(A, near)) == float(iou(A, far)) == 0
    assert -1 < float(giou(A, far)) < float(giou(A, near)) < 0


def test_all_pairs() -> None:
    boxes = torch.stack([A, B, A + 10])
    pairs = iou(boxes[:, None], boxes[None])
    assert pairs.shape == (3, 3) and torch.equal(pairs, pairs.T) and torch.equal(pairs.diag(), torch.ones(3))


def test_empty_boxes_are_finite() -> None:
    empty = torch.zeros(2, 4, requires_grad=True)
    loss = giou_loss(empty, torch.zeros(2, 4)).sum() + giou_loss(empty, torch.stack([A, B])).sum()
    loss.backward()
    assert bool(loss.isfinite()) and empty.grad is not None and bool(empty.grad.isfinite().all())
    assert float(iou(torch.tensor([2.0, 2, 0, 0]), A)) == 0


def test_it_pulls_distant_boxes_together() -> None:
    box = (A + 5).requires_grad_(True)
    (slope,) = torch.autograd.grad(giou_loss(box, A), box)
    box = box.detach()
    assert float(giou_loss(box - 0.1 * slope.sign() * (slope != 0), A)) < float(giou_loss(box, A))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(HilumError, match="low sides"):
        iou(torch.zeros(3), torch.zeros(3))
