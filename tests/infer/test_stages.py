"""What is foretold of the time: windows that are looked at, once warm, and what follows the network."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer import _trial, promise, windows
from hilum.infer._lanes import ALONE, Pace
from hilum.infer._stages import Stages
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared
from hilum.verbs import predict


def counted(image: np.ndarray, tiles: windows.Tiling, **words: Any) -> int:
    """How often a network is asked when the image is computed."""
    asked = []

    def look(window: torch.Tensor) -> torch.Tensor:
        asked.append(1)
        return torch.cat([window, -window], 1)

    for _ in windows.planes(look, image, tiles, **words):
        pass
    return len(asked)


@pytest.mark.parametrize("padded", [False, True])
def test_only_windows_that_are_looked_at_are_counted(padded: bool) -> None:
    image = np.random.default_rng(0).random((1, 20 if padded else 32, 48, 64)).astype(np.float32)
    tiles = windows.tiling(image.shape[1:], [32, 16, 16], 0.25)
    assert windows.asked_about(image, tiles) == counted(image, tiles) == tiles.count
    # of one value: computed once, also where one voxel of a further window is another
    image[:, :, :30] = 5
    image[0, 3, 1, 1] = 6
    few = windows.asked_about(image, tiles)
    assert few == counted(image, tiles) and few < tiles.count
    assert windows.asked_about(image, tiles, air=None) == counted(image, tiles, air=None) == tiles.count
    aside = np.zeros([len(s) for s in tiles.starts], dtype=bool)
    aside[:, 1:] = True
    assert windows.asked_about(image, tiles, aside=aside) == counted(image, tiles, aside=aside)


def test_air_around_a_body_is_no_time() -> None:
    image = np.random.default_rng(0).uniform(-1, -0.6, (1, 16, 64, 64)).astype(np.float32)
    image[:, :, 40:, 40:] += 1
    tiles = windows.tiling(image.shape[1:], [16, 16, 16], 0.0)
    few = windows.asked_about(image, tiles, air=-0.5)
    assert few == counted(image, tiles, air=-0.5) < tiles.count // 2
    one = promise.of(lambda: _trial.Tried(0, 2.0), tiles, 2, 0, image, way=promise.Way(few))
    assert one.seconds == 2.0 * few


def test_what_the_first_look_sets_up_is_not_paid_by_every_window() -> None:
    asked = []

    def look(window: torch.Tensor) -> torch.Tensor:
        asked.append(1)
        time.sleep(0.2 if len(asked) == 1 else 0.02)
        return torch.cat([window, -window], 1)

    window = torch.rand(1, 1, 8, 8, 8)
    cost = _trial.tried(look, window)
    assert 0.02 <= cost.seconds < 0.1 < cost.cold and len(asked) == 2
    image = np.zeros((1, 8, 8, 80), dtype=np.float32)
    told = promise.of(lambda: cost, windows.tiling(image.shape[1:], [8, 8, 8], 0.0), 2, 0, image)
    assert 0.2 + 9 * 0.02 <= told.seconds < 10 * 0.2


def test_a_slow_look_is_repeated_only_where_many_follow() -> None:
    asked = []

    def look(window: torch.Tensor) -> torch.Tensor:
        asked.append(1)
        time.sleep(0.55)
        return window

    two = Pace(2)
    # of two lanes a look has two windows: of 36 the second one was left out
    for count, pace, wanted in ((15, ALONE, 1), (16, ALONE, 2), (31, two, 2), (36, two, 4)):
        asked.clear()
        _trial.tried(look, torch.rand(1, 1, 8, 8, 8), pace=pace, count=count)
        assert len(asked) == wanted


def test_the_way_back_hangs_on_both_grids() -> None:
    """By the image's grid alone a body at 1.5 mm was foretold half of what it took, and one at 3 mm twice as much."""
    image = np.zeros((1, 512, 512, 400), dtype=np.uint8)

    def back(shape: tuple[int, ...]) -> float:
        tiles = windows.tiling(shape, [64, 64, 64], 0.25)
        return promise.of(lambda: _trial.Tried(0, 1.0), tiles, 2, 0, image).stages["back"]

    coarse, fine, same = back((143, 143, 200)), back((285, 285, 400)), back((512, 512, 400))
    # measured on two kinds of machine: 0.5 to 0.9, and 2.8 to 3.0
    assert 0.5 < coarse < 0.9 and 2.5 < fine < 4 and same < coarse


def test_stages_are_foretold_as_the_last_case_went() -> None:
    stages = Stages()
    assert stages.foretold({"network": 4.0, "back": 1.0}) == {"network": 4.0, "back": 1.0}
    stages.seen({"network": 4.0, "back": 1.0, "write": 0.001}, {"network": 2.0, "back": 3.0, "read": 9.0, "write": 7.0})
    # what took no time says nothing
    assert stages.foretold({"network": 8.0, "back": 1.0, "write": 1.0}) == {"network": 4.0, "back": 3.0, "write": 1.0}
    stages.seen({"network": 4.0}, {"network": 4.0})
    assert stages.foretold({"network": 8.0}) == {"network": 4.0}


def test_a_prediction_tells_what_it_will_take_and_what_it_took(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path
) -> None:
    said: list[str] = []
    predictor = Predictor(trained("segment"))
    case: Case = ready("segment").dataset.cases[0]
    result, cost = predictor.told(case, lambda name, done, total, note="": said.append(note))
    assert predictor.promised is not None
    words = predictor.promised.words()
    assert "about" in words and words in said
    foretold = cost["predicted_seconds"]
    assert {"network", "merge", "back", "write"} == foretold.keys() and all(s >= 0 for s in foretold.values())
    assert foretold.keys() - {"write"} <= cost["seconds"].keys()
    done = predict.finishing(tmp_path, "nifti", predictor.stages)(case, (result, cost), 0.0)["cost"]
    assert done["predicted_seconds"] == foretold and foretold.keys() <= done["seconds"].keys()


def test_a_trial_counts_as_time_in_the_network(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one window it is all that the network does: its answer is used."""
    run = shutil.copytree(trained("segment").path, tmp_path / "run")
    predictor = Predictor(Run(run))

    def slow(*words: Any) -> torch.Tensor:
        time.sleep(0.3)
        return windows.looked_at(*words)

    monkeypatch.setattr(_trial, "looked_at", slow)
    image: Image = ready("segment").dataset.cases[0].read("image")
    one = Image(image.array[:, :20, :20, :20], image.affine)
    assert predictor.told(Case("a", "", {"image": one}))[1]["seconds"]["network"] >= 0.3
