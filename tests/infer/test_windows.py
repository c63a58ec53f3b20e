"""Windows: merging changes nothing that the network did not say."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.infer import windows


class Constant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.5, -2.0]).reshape(1, 2, *[1] * (x.ndim - 2)).expand(-1, -1, *x.shape[2:])


class FirstAxis(nn.Module):
    """Says where along the window's first axis it is: not the same after mirroring."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        ramp = torch.arange(x.shape[2], dtype=torch.float32).reshape(1, 1, -1, *[1] * (x.ndim - 3))
        return ramp.expand(1, 1, *x.shape[2:])


def noise(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "patch"),
    [((40, 33), [16, 16]), ((16, 16), [16, 16]), ((7, 50), [16, 16]), ((5, 6), [16, 16]), ((20, 9, 30), [8, 16, 12])],
    ids=str,
)
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_an_identity_network_gives_the_input_back(shape: tuple[int, ...], patch: list[int], overlap: float) -> None:
    image = noise((2, *shape))
    out = windows.merged(nn.Identity(), image, patch, overlap)
    np.testing.assert_allclose(out.numpy(), image, atol=1e-5)
    both = windows.merged(nn.Identity(), image, patch, overlap, mirror=True)
    np.testing.assert_allclose(both.numpy(), image, atol=1e-5)


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
def test_a_constant_network_is_constant_however_many_windows(overlap: float) -> None:
    out = windows.merged(Constant(), noise((1, 40, 30)), [16, 16], overlap)
    np.testing.assert_allclose(out[0].numpy(), 1.5, rtol=1e-6)
    np.testing.assert_allclose(out[1].numpy(), -2.0, rtol=1e-6)


def test_mirroring_turns_the_answer_back() -> None:
    out = windows.merged(FirstAxis(), noise((1, 16, 16)), [16, 16], 0.5, mirror=True)
    np.testing.assert_allclose(out.numpy(), 7.5, atol=1e-5)


def test_the_weights_are_highest_in_the_middle_and_never_zero() -> None:
    found = windows.weights([64, 32, 16])
    assert found.shape == (64, 32, 16) and float(found.min()) > 0
    assert float(found.max()) == pytest.approx(float(found[31, 15, 7]))
    torch.testing.assert_close(found, found.flip((0, 1, 2)))


def test_memory_is_promised_and_kept_to() -> None:
    image = noise((1, 40, 30))
    need = windows.memory((40, 30), 2, [16, 16], 1)
    assert need >= 40 * 30 * 3 * 4, "scores of two classes and the image"
    windows.merged(Constant(), image, [16, 16], 0.5, limit=need)
    with pytest.raises(HilumError) as error:
        windows.merged(Constant(), image, [16, 16], 0.5, limit=need - 1)
    assert error.value.code == "HIL-INFER-01"


@pytest.mark.parametrize("shape", [(40, 33), (7, 50), (20, 9, 30)], ids=str)
@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.75])
def test_planes_come_in_order_and_make_the_whole(shape: tuple[int, ...], overlap: float) -> None:
    patch = [16] * len(shape)
    net = nn.Conv2d(1, 3, 3, padding=1) if len(shape) == 2 else nn.Conv3d(1, 3, 3, padding=1)
    image, tiles = noise((1, *shape)), windows.tiling(shape, patch, overlap)
    whole, wanted = windows.merged(net, image, patch, overlap), 0
    for start, part in windows.planes(net, image, tiles):
        assert start == wanted
        torch.testing.assert_close(part, whole[:, start : start + part.shape[1]])
        wanted += part.shape[1]
    assert wanted == shape[0]


def by_hand(net: nn.Module, image: np.ndarray, tiles: windows.Tiling) -> torch.Tensor:
    """Every window, weighted and summed in the simplest way."""
    padded = [(0, 0), *[(b, p - n - b) for b, p, n in zip(tiles.before, tiles.padded, tiles.shape, strict=True)]]
    array = torch.from_numpy(np.pad(image, padded, mode="edge"))[None]
    weight, total, heavy = windows.weights(tiles.patch), None, torch.zeros(tiles.padded)
    for start in np.ndindex(*map(len, tiles.starts)):
        at = [tiles.starts[a][i] for a, i in enumerate(start)]
        place = tuple(slice(s, s + p) for s, p in zip(at, tiles.patch, strict=True))
        out = net(array[(slice(None), slice(None), *place)])[0].detach()
        total = torch.zeros((len(out), *tiles.padded)) if total is None else total
        total[(slice(None), *place)] += out * weight
        heavy[place] += weight
    assert total is not None
    inside = tuple(slice(b, b + n) for b, n in zip(tiles.before, tiles.shape, strict=True))
    return (total / heavy)[(slice(None), *inside)]


@pytest.mark.parametrize("shape", [(40, 33), (9, 50), (20, 9, 30)], ids=str)
def test_it_is_the_weighted_mean_over_windows(shape: tuple[int, ...]) -> None:
    patch = [16] * len(shape)
    net = nn.Conv2d(1, 2, 5, padding=2) if len(shape) == 2 else nn.Conv3d(1, 2, 5, padding=2)
    image, tiles = noise((1, *shape)), windows.tiling(shape, patch, 0.5)
    torch.testing.assert_close(windows.merged(net, image, patch, 0.5), by_hand(net, image, tiles), atol=1e-5, rtol=1e-5)


class Counting(nn.Module):
    """Counts how often it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.asked = nn.Conv2d(1, 2, 3, padding=1), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.asked += 1
        out: torch.Tensor = self.net(x)
        return out


@pytest.mark.parametrize("shape", [(40, 16), (21, 11), (9, 7, 20), (5, 5, 5)])
def test_the_window_that_was_tried_is_not_looked_at_again(shape: tuple[int, ...]) -> None:
    asked = []

    def look(window: torch.Tensor) -> torch.Tensor:
        asked.append(window)
        return window.sin()

    image, tiles = noise((1, *shape)), windows.tiling(shape, [8] * len(shape), 0.5)
    wanted = list(windows.planes(look, image, tiles))
    assert len(asked) == tiles.count
    asked.clear()
    begun = windows.Begun(look)
    begun.tried(windows.middle(image, tiles))
    found = list(windows.planes(begun, image, tiles))
    assert len(asked) == tiles.count
    for (low, part), (first, other) in zip(found, wanted, strict=True):
        assert low == first and torch.equal(part, other)


def test_air_is_looked_at_once_and_nothing_changes() -> None:
    image = np.full((1, 96, 16), -1.5, dtype=np.float32)
    image[0, :20] = noise((20, 16))
    lazy, eager = Counting(), Counting()
    eager.load_state_dict(lazy.state_dict())
    found = windows.merged(lazy, image, [16, 16], 0.5)
    torch.testing.assert_close(found, windows.merged(eager, image, [16, 16], 0.5, air=None), atol=0, rtol=0)
    assert eager.asked == windows.tiling((96, 16), [16, 16], 0.5).count and lazy.asked < eager.asked / 2


def test_windows_of_air_with_noise_are_looked_at_once_too() -> None:
    image = np.full((1, 96, 16), -1.5, dtype=np.float32) + 0.1 * np.abs(noise((96, 16)))
    image[0, :20] += 5
    eager, lazy = Counting(), Counting()
    lazy.load_state_dict(eager.state_dict())
    wanted = windows.merged(eager, image, [16, 16], 0.5)
    found = windows.merged(lazy, image, [16, 16], 0.5, air=0.0)
    torch.testing.assert_close(found[:, :24], wanted[:, :24])
    assert lazy.asked < eager.asked / 2 and not torch.equal(found, wanted)


class Seeing(nn.Module):
    """Keeps what it was asked; answers with it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen.append(x.clone())
        return x


def body(shape: tuple[int, ...], pocket: tuple[slice, ...], margin: int) -> np.ndarray:
    """Noisy tissue (about 5) with noisy air (about -5, in the pocket -7) in it and around it but at the last ends."""
    image = np.full((1, *shape), -5, dtype=np.float32)
    image[(0, *(slice(margin, n - margin) for n in shape[:2]))] = 5
    image[(0, *pocket)] = -7
    return image + 0.1 * noise(shape)


@pytest.mark.parametrize("ends", ["closed", "open at the last axis"])
def test_air_inside_a_body_is_looked_at_and_air_around_it_is_not(ends: str) -> None:
    pocket = (slice(30, 66), slice(30, 66), slice(12, 36) if ends == "closed" else slice(0, 48))
    image, eager, lazy = body((96, 96, 48), pocket, 24), Seeing(), Seeing()
    wanted = windows.merged(eager, image, [12, 12, 12], 0.25, air=None)
    found = windows.merged(lazy, image, [12, 12, 12], 0.25, air=0.0)
    inside = [w for w in eager.seen if float(w.max()) < -6]
    assert len(inside) > 8 and sum(float(w.max()) < -6 for w in lazy.seen) == len(inside)
    around = [w for w in lazy.seen if float(w.mean()) > -6 and float(w.max()) < 0]
    assert len(around) == 1 and len(lazy.seen) < 0.7 * len(eager.seen)
    torch.testing.assert_close(found[:, 24:72, 24:72], wanted[:, 24:72, 24:72], atol=0, rtol=0)


def test_an_image_that_is_air_all_over_is_looked_at() -> None:
    lazy, image = Seeing(), noise((1, 40, 40)) - 9
    windows.merged(lazy, image, [16, 16], 0.25, air=0.0)
    assert len(lazy.seen) == windows.tiling((40, 40), [16, 16], 0.25).count


def test_air_that_was_clipped_to_one_value_is_looked_at_once_wherever_it_is() -> None:
    """Of plans whose intensities begin above air the answer is the same by construction."""
    image = np.maximum(body((96, 96, 48), (slice(30, 66), slice(30, 66), slice(12, 36)), 24), 0)
    eager, lazy = Seeing(), Seeing()
    wanted = windows.merged(eager, image, [12, 12, 12], 0.25, air=None)
    found = windows.merged(lazy, image, [12, 12, 12], 0.25, air=0.0)
    torch.testing.assert_close(found, wanted, atol=0, rtol=0)
    assert sum(float(w.max()) == 0 for w in lazy.seen) == 1 < sum(float(w.max()) == 0 for w in eager.seen)


def test_memory_of_the_ring_does_not_grow_with_the_first_axis() -> None:
    short, long = (windows.ring_memory(windows.tiling((n, 40, 40), [16, 16, 16], 0.5), 8) for n in (64, 640))
    # windows reach over 16 planes, of which 8 move on or are handed out at a time
    assert short == long == 8 * 40 * 40 * 4 * (16 + 8)


def test_progress_counts_every_window() -> None:
    seen: list[tuple[int, int]] = []

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        seen.append((done, total))

    windows.merged(Constant(), noise((1, 32, 16)), [16, 16], 0.5, progress=progress)
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_nothing_is_kept_for_gradients() -> None:
    net: Any = nn.Conv2d(1, 2, 3, padding=1)
    assert not windows.merged(net, noise((1, 20, 20)), [16, 16], 0.5).requires_grad


def test_m10_an_answer_of_another_size_is_refused() -> None:
    with pytest.raises(HilumError) as error:
        windows.merged(nn.MaxPool2d(2), noise((1, 32, 16)), [16, 16], 0.5)
    assert error.value.code == "HIL-M10"


def test_whoever_takes_planes_can_train_and_need_not_come_back() -> None:
    """Inference mode is left before anything is handed out; else a caller that stops would stay in it."""
    tiles = windows.tiling((40, 16), [16, 16], 0.5)
    taken = windows.planes(nn.Conv2d(1, 2, 3, padding=1), noise((1, 40, 16)), tiles)
    next(taken)
    assert not torch.is_inference_mode_enabled()
    weight = torch.ones(3, requires_grad=True)
    (weight * 2).sum().backward()
    assert weight.grad is not None


def test_what_is_held_already_counts_and_the_limit_is_told_as_it_was_given() -> None:
    allowed, held = 100 << 20, 200 << 20
    with pytest.raises(HilumError, match=r"needs 200 MB, --memory allows 100 MB") as error:
        windows.merged(Constant(), noise((1, 40, 30)), [16, 16], 0.5, limit=allowed, held=held)
    assert error.value.code == "HIL-INFER-01"
    windows.merged(Constant(), noise((1, 40, 30)), [16, 16], 0.5, limit=allowed)
