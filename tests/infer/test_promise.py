"""What a prediction will hold is told before, kept to, and refused where it is too much."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from hilum.core import resident
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import streamed
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared

MB = 1 << 20


def test_the_peak_is_counted_anew() -> None:
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    before = resident.peak()
    block = np.ones(64 * MB, dtype=np.uint8)
    assert resident.peak() >= before + 60 * MB
    del block
    assert resident.forget() and resident.peak() < before + 30 * MB


HELD = """
import sys
import numpy as np
import torch
from torch import nn
from hilum.core import resident
from hilum.infer import promise, streamed, windows

classes = int(sys.argv[1])
net = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 16, 3, padding=1)).eval()
last = nn.Conv3d(16, classes, 1)
head = streamed.Head(last.weight.detach().flatten(1), last.bias.detach()) if classes > 16 else None
look = net if head is not None else nn.Sequential(net, last).eval()
image = np.random.default_rng(0).normal(0, 1, (1, 72, 128, 128)).astype(np.float32)
tiles = windows.tiling(image.shape[1:], [32, 64, 64], 0.0)
window = torch.from_numpy(image[None, :, :32, :64, :64].copy())
told = promise.of(look, window, tiles, min(classes, 16), image.nbytes, image, head=head)
resident.forget()
streamed.found(windows.planes(look, image, tiles), image, classes, head)
print(told.process + told.window + told.ring + told.scores, told.total, told.ring, resident.peak())
"""
# In a process of its own: memory that something else left behind would be used again and not show.


@pytest.mark.parametrize("classes", [3, 200])
def test_what_is_promised_is_what_is_held(classes: int) -> None:
    """Of a volume large enough for its parts to show beside the libraries; 200 classes cost no more than features."""
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    words = [sys.executable, "-c", HELD, str(classes)]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    # nothing is written there, so the labels' part does not count
    held, total, ring, peak = (int(word) for word in out.split())
    assert held == pytest.approx(peak, rel=0.2) and total >= held
    # windows begin every 20 planes: 12 of 32 move on
    assert ring == min(classes, 16) * 128 * 128 * 4 * (32 + 12)


def test_too_little_memory_is_refused_with_what_it_would_take(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared]
) -> None:
    case = ready("segment").dataset.cases[0]
    roomy = Predictor(trained("segment"))
    roomy(case)
    assert roomy.promised is not None and roomy.promised.total > 0 and roomy.promised.seconds > 0
    tight = Predictor(trained("segment"), limit=roomy.promised.process // 2)
    with pytest.raises(HilumError) as error:
        tight(case)
    assert error.value.code == "HIL-INFER-01" and "process" in str(error.value)
    enough = Predictor(trained("segment"), limit=roomy.promised.total + 500 * MB)
    np.testing.assert_array_equal(enough(case)["mask"].array, roomy(case)["mask"].array)


def test_streamed_and_whole_give_the_same_mask(trained: Callable[[str], Run], ready: Callable[[str], Prepared]) -> None:
    predictor = Predictor(trained("segment"))
    for case in ready("segment").dataset.cases[:3]:
        by_planes, whole = predictor.answer(case), predictor.opinion(case)
        assert by_planes.logits is None and whole.near is None
        np.testing.assert_array_equal(by_planes.result["mask"].array, whole.result["mask"].array)
        near = streamed.of_scores(whole.logits[: 1 + len(predictor.plan.classes)])
        np.testing.assert_allclose(by_planes.near.logits, near.logits, atol=1e-4)  # type: ignore[union-attr]


def test_what_a_prediction_cost_is_told(trained: Callable[[str], Run], ready: Callable[[str], Prepared]) -> None:
    predictor = Predictor(trained("segment"), runtime="auto")
    predictor.expect(10**9)
    _, cost = predictor.told(ready("segment").dataset.cases[0])
    assert set(cost["seconds"]) == {"read", "prepare", "network", "merge", "back"}
    assert cost["bytes"]["measured"] > 0 and cost["bytes"]["predicted"] > 0
    assert cost["runtime"] in cost["tried"] and "torch" in cost["tried"]
    again = predictor.told(ready("segment").dataset.cases[1])[1]
    assert again["runtime"] == cost["runtime"], "measured once"
