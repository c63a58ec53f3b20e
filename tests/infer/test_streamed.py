"""Masks found plane by plane are those of the whole, and what is kept for their doubt does not depend on the planes."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch import nn

from hilum.core.errors import HilumError
from hilum.infer import near, streamed, windows


def blobs(count: int = 3, shape: tuple[int, ...] = (30, 24, 20)) -> torch.Tensor:
    """Scores (K, *shape): a ball of every class but the background, on noise."""
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 0.3, (count, *shape)).astype(np.float32)
    scores[0] += 2
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    for k in range(1, count):
        middle = np.array([shape[0] * k / count, shape[1] / 2, shape[2] / 2]).reshape(3, 1, 1, 1)
        scores[k] += 4 * (((grid - middle) ** 2).sum(axis=0) < 20)
    return torch.from_numpy(scores)


def like(*shape: int) -> np.ndarray:
    """An image of that shape."""
    return np.random.default_rng(9).normal(0, 1, (1, *shape)).astype(np.float32)


def in_parts(scores: torch.Tensor, sizes: list[int]) -> list[tuple[int, torch.Tensor]]:
    starts = np.cumsum([0, *sizes])
    return [(int(a), scores[:, a:b]) for a, b in itertools.pairwise(starts)]


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [7, 3, 20], [2, 26, 2]], ids=str)
def test_labels_and_sample_do_not_depend_on_how_many_planes_come_at_a_time(sizes: list[int]) -> None:
    scores = blobs()
    found = streamed.found(in_parts(scores, sizes), like(30, 24, 20), 3)
    np.testing.assert_array_equal(found.labels, scores.argmax(dim=0).numpy())
    assert found.labels.dtype == np.uint8 and not found.near.empty
    np.testing.assert_array_equal(found.near.logits, streamed.of_scores(scores).logits)


@pytest.mark.parametrize("most", [100, 100_000])
def test_voxels_near_the_foreground_are_kept_and_no_others(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST", most)
    scores = blobs()
    found = streamed.found(in_parts(scores, [4] * 7 + [2]), like(30, 24, 20), 3)
    region = distance_transform_edt(found.labels == 0) <= near.REACH
    inside = scores.numpy()[:, region].T
    kept = found.near.logits
    assert len(kept) == min(most, region.sum()) and len(inside) > 100
    known = {tuple(row) for row in inside.tolist()}
    assert all(tuple(row) in known for row in kept.tolist())
    if most > len(inside):
        np.testing.assert_array_equal(kept, inside)


@pytest.mark.parametrize("sizes", [[30], [1] * 30, [7, 3, 20], [2, 26, 2]], ids=str)
def test_what_is_kept_of_many_classes_does_not_depend_on_the_planes_either(
    sizes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = blobs(9)
    monkeypatch.setattr(near, "MOST", 70)
    wanted = streamed.of_scores(scores)
    monkeypatch.setattr(near, "SOME", 300)
    found = streamed.found(in_parts(scores, sizes), like(30, 24, 20), 9).near
    assert len(found.logits) == 70
    for name in ("logits", "labels", "weights", "places"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))


@pytest.mark.parametrize("most", [100, 100_000])
def test_every_class_found_is_kept_and_stands_for_all_its_voxels(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn alike from all that lies near, a small class beside a large one was kept by chance alone."""
    monkeypatch.setattr(near, "MOST", most)
    scores = blobs(2)
    scores = torch.cat([scores, torch.full_like(scores[:1], -9.0)])
    scores[2, 20:22, 12, 10] = 9
    found = streamed.found(in_parts(scores, [4] * 7 + [2]), like(30, 24, 20), 3)
    region, kept = distance_transform_edt(found.labels == 0) <= near.REACH, found.near
    np.testing.assert_array_equal(kept.labels, found.labels[tuple(kept.places.T)])
    np.testing.assert_array_equal(kept.logits, scores.numpy()[:, *kept.places.T].T)
    for label, count in enumerate(np.bincount(found.labels[region])):
        assert kept.weights[kept.labels == label].sum() == pytest.approx(count)
    assert (kept.labels == 2).sum() == 2 and (most == 100 or (kept.weights == 1).all())


def test_of_more_kinds_than_there_is_room_for_one_voxel_each_is_kept() -> None:
    counts = np.array([0, 3, 0, *[10] * 7000])
    np.testing.assert_array_equal(near._most(counts), np.minimum(counts, 1))
    assert near._most(np.array([40_000, 7, 0, 9000])).tolist() == [2497, 7, 0, 2496]


def test_another_seed_keeps_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "MOST", 50)
    first, second = (streamed.of_scores(blobs(), seed).logits for seed in (0, 1))
    assert first.shape == second.shape and not np.array_equal(first, second)


def test_of_an_empty_mask_the_likeliest_voxel_is_kept() -> None:
    scores = torch.zeros(3, 6, 5, 4)
    scores[0] = 2
    scores[:, 4, 3, 2] = torch.tensor([1.0, 0.2, 0.7])
    for sizes in ([6], [2, 2, 2]):
        found = streamed.found(in_parts(scores, sizes), like(6, 5, 4), 3)
        assert found.near.empty and not found.labels.any()
        np.testing.assert_allclose(found.near.logits, [[1.0, 0.2, 0.7]])


def test_pictures_too_work() -> None:
    scores = blobs(2, (30, 24, 20))[:, :, :, 10]
    found = streamed.found(in_parts(scores, [10, 20]), like(30, 24), 2)
    np.testing.assert_array_equal(found.labels, scores.argmax(dim=0).numpy())
    np.testing.assert_array_equal(found.near.logits, streamed.of_scores(scores).logits)


def test_maps_are_made_on_the_way() -> None:
    scores = blobs()
    found = streamed.found(in_parts(scores, [11, 19]), like(30, 24, 20), 3, maps={"top": lambda s: s.amax(dim=0)})
    np.testing.assert_array_equal(found.maps["top"], scores.amax(dim=0).numpy())


class Net(nn.Module):
    """Four features, any number of classes."""

    def __init__(self, classes: int, kernel: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv3d(1, 4, 3, padding=1), nn.Conv3d(4, classes, kernel)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.features(x))
        return out


def test_many_classes_follow_from_averaged_features() -> None:
    net, image = Net(300), np.random.default_rng(0).normal(0, 1, (1, 20, 14, 18)).astype(np.float32)
    head = streamed.linear_head(net)
    assert head is not None and head.late and head.weight.shape == (300, 4)
    tiles = windows.tiling((20, 14, 18), [8, 8, 8], 0.5)
    wanted = windows.merged(net, image, [8, 8, 8], 0.5)
    found = streamed.found(windows.planes(net.features, image, tiles), image, 300, head)
    two = wanted.topk(2, dim=0).values
    clear = (two[0] - two[1] > 1e-5).numpy()
    assert clear.mean() > 0.99 and found.labels.dtype == np.int16
    np.testing.assert_array_equal(found.labels[clear], wanted.argmax(dim=0).numpy()[clear])


def test_few_classes_are_averaged_themselves() -> None:
    head = streamed.linear_head(Net(3))
    assert head is not None and not head.late, "fewer classes than features"
    assert streamed.linear_head(Net(300, kernel=3)) is None, "not one voxel alone"
    assert streamed.linear_head(nn.Conv3d(1, 300, 1)) is None, "no head"


def test_m10_no_number_is_refused() -> None:
    scores = blobs()
    scores[1, 3, 3, 3] = float("nan")
    with pytest.raises(HilumError) as error:
        streamed.of_scores(scores)
    assert error.value.code == "HIL-M10"


def test_m10_one_answer_everywhere_is_refused() -> None:
    flat = torch.ones(3, 6, 5, 4) * torch.tensor([2.0, 1.0, 0.0]).reshape(3, 1, 1, 1)
    with pytest.raises(HilumError) as error:
        streamed.found(in_parts(flat, [2, 4]), like(6, 5, 4), 3)
    assert error.value.code == "HIL-M10"
    assert not streamed.found(in_parts(flat, [2, 4]), np.ones((1, 6, 5, 4)), 3).labels.any(), "nothing to be seen"


def test_m10_any_channel_may_be_the_one_that_varies() -> None:
    image = np.concatenate([np.zeros((1, 6, 5, 4), np.float32), like(6, 5, 4)])
    with pytest.raises(HilumError) as error:
        streamed.found(in_parts(torch.ones(3, 6, 5, 4), [2, 4]), image, 3)
    assert error.value.code == "HIL-M10"


@pytest.mark.parametrize("classes", [3, 300])
def test_m10_a_dead_last_layer_is_refused_however_many_classes_it_has(classes: int) -> None:
    """Of many classes features are averaged, which do vary; the mean of one score over windows varies by rounding."""
    net, image = Net(classes), like(20, 14, 18)
    nn.init.zeros_(net.head.weight)
    head = streamed.linear_head(net)
    assert head is not None and head.late == (classes > 4)
    look: windows.Look = net.features if head.late else net
    planes = windows.planes(look, image, windows.tiling((20, 14, 18), [8, 8, 8], 0.5))
    with pytest.raises(HilumError) as error:
        streamed.found(planes, image, classes, head if head.late else None)
    assert error.value.code == "HIL-M10"


def test_m10_scores_that_vary_in_few_voxels_are_an_answer() -> None:
    scores = torch.ones(3, 6, 5, 4)
    scores[2, 5, 4, 3] = 1.001
    assert streamed.found(in_parts(scores, [2, 4]), like(6, 5, 4), 3).labels.sum() == 2


@pytest.mark.parametrize("odd", [[float("nan")], [float("inf")], [float("inf"), -float("inf")]])
def test_what_is_no_number_is_refused_however_few(odd: list[float]) -> None:
    scores = torch.zeros(3, 4, 5)
    scores.view(-1)[7 : 7 + len(odd)] = torch.tensor(odd)
    with pytest.raises(HilumError, match="no numbers"):
        streamed.check_numbers({"out": [torch.zeros(2), scores]})


def test_numbers_whose_sum_is_too_large_are_numbers_all_the_same() -> None:
    streamed.check_numbers(torch.full((10,), 3e38))
    streamed.check_numbers(torch.full((10,), 6e4, dtype=torch.float16))
