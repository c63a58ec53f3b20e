"""Windows computed beside each other give the same answers in the same order, and leave everything as it was."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from hilum.infer import windows
from hilum.infer._lanes import Pace, answers

THREADS = 4


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def numbers(count: int) -> list[torch.Tensor]:
    return [torch.full((1, 1, 2), float(n)) for n in range(count)]


@pytest.mark.parametrize("lanes", [0, 1, 2, 3])
def test_answers_come_in_order_and_no_more_are_computed_at_a_time(lanes: int) -> None:
    running, most, lock = 0, 0, threading.Lock()

    def look(window: torch.Tensor) -> torch.Tensor:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        # the first ones take longest
        time.sleep(0.02 / (1 + float(window[0, 0, 0])))
        with lock:
            running -= 1
        return window * 2

    found = [float(out[0, 0, 0]) for out in answers(look, numbers(8), Pace(lanes))]
    assert found == [2.0 * n for n in range(8)]
    assert most <= max(1, lanes)
    assert torch.get_num_threads() == THREADS


def test_the_next_is_computed_while_one_is_used() -> None:
    """In turn this would never end."""
    second = threading.Event()

    def look(window: torch.Tensor) -> torch.Tensor:
        if float(window[0, 0, 0]) == 1:
            second.set()
        return window

    coming = answers(look, numbers(3), Pace(1))
    next(coming)
    assert second.wait(10)
    coming.close()


@pytest.mark.parametrize("lanes", [1, 2])
def test_whoever_ends_early_gets_the_processors_back(lanes: int) -> None:
    looked = []

    def look(window: torch.Tensor) -> torch.Tensor:
        looked.append(window)
        return window

    coming = answers(look, numbers(50), Pace(lanes))
    next(coming)
    coming.close()
    assert torch.get_num_threads() == THREADS and len(looked) <= 2 * lanes + 1


@pytest.mark.parametrize("lanes", [0, 1, 2])
def test_a_failure_reaches_the_caller(lanes: int) -> None:
    def look(window: torch.Tensor) -> torch.Tensor:
        if float(window[0, 0, 0]) == 3:
            raise ZeroDivisionError
        return window

    coming = answers(look, numbers(6), Pace(lanes))
    assert [float(next(coming)[0, 0, 0]) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ZeroDivisionError):
        list(coming)
    assert torch.get_num_threads() == THREADS


@pytest.mark.parametrize("lanes", [1, 2])
@pytest.mark.parametrize("mirror", [False, True])
def test_planes_do_not_depend_on_the_lanes(mirror: bool, lanes: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.Conv3d(4, 3, 1)).eval()
    image = torch.randn(1, 30, 20, 24).numpy()
    tiles = windows.tiling(image.shape[1:], [12, 12, 12], 0.5)
    wanted = list(windows.planes(net, image, tiles, mirror))
    found = list(windows.planes(net, image, tiles, mirror, pace=Pace(lanes)))
    assert [start for start, _ in found] == [start for start, _ in wanted]
    for (_, a), (_, b) in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("pace", [Pace(batch=3), Pace(lanes=2, batch=2)])
def test_windows_in_one_look_come_back_one_by_one(pace: Pace) -> None:
    sizes = []

    def look(windows: torch.Tensor) -> torch.Tensor:
        sizes.append(len(windows))
        return windows * 2

    found = list(answers(look, numbers(7), pace))
    assert [float(out[0, 0, 0]) for out in found] == [2.0 * n for n in range(7)]
    assert all(out.shape == (1, 1, 2) for out in found)
    assert max(sizes) == pace.batch and sum(sizes) == 7


@pytest.mark.parametrize("mirror", [False, True])
def test_planes_do_not_depend_on_the_batch(mirror: bool) -> None:
    """Windows of one value, which are looked at once, among others."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.Conv3d(4, 3, 1)).eval()
    image = torch.randn(1, 30, 20, 24).numpy()
    image[:, :14] = -1
    tiles = windows.tiling(image.shape[1:], [12, 12, 12], 0.5)
    wanted = list(windows.planes(net, image, tiles, mirror))
    found = list(windows.planes(net, image, tiles, mirror, pace=Pace(batch=4)))
    for (_, a), (_, b) in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
