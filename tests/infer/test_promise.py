"""What a prediction will hold is told before, kept to, and refused where it is too much."""

import mmap
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from hilum.core import card, resident
from hilum.core.errors import HilumError
from hilum.core.image import Case, Extent, Image
from hilum.core.run import Run
from hilum.infer import _trial, promise, streamed, windows
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared
from hilum.trust.trusted import Trusted

MB = 1 << 20


def there(case: Case) -> Case:
    """The case with its image read, whose header is not asked what it will hold."""
    return replace(case, items={**case.items, "image": case.read("image")})


def test_the_peak_is_counted_anew() -> None:
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    before = resident.peak()
    # fresh pages: what the tests before have freed may be used again, and then nothing grows
    with mmap.mmap(-1, 64 * MB) as block:
        np.frombuffer(block, dtype=np.uint8)[::4096] = 1
        assert resident.peak() >= before + 60 * MB
    assert resident.forget() and resident.peak() < before + 30 * MB


HELD = """
import sys
import numpy as np
import torch
from torch import nn
from hilum.core import resident
from hilum.infer import _trial, promise, streamed, windows

classes = int(sys.argv[1])
net = nn.Sequential(nn.Conv3d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv3d(16, 16, 3, padding=1)).eval()
last = nn.Conv3d(16, classes, 1)
head = streamed.Head(last.weight.detach().flatten(1), last.bias.detach()) if classes > 16 else None
look = net if head is not None else nn.Sequential(net, last).eval()
image = np.random.default_rng(0).normal(0, 1, (1, 72, 128, 128)).astype(np.float32)
tiles = windows.tiling(image.shape[1:], [32, 64, 64], 0.0)
window = torch.from_numpy(image[None, :, :32, :64, :64].copy())
told = promise.of(lambda: _trial.tried(look, window, head), tiles, min(classes, 16), image.nbytes, image)
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
    assert ring == min(classes, 16) * 128 * 128 * 4 * (32 + windows.BLOCK)


def test_maps_and_pieces_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A map on the image's grid has four bytes a voxel, and another reader holds it twice while it checks the file."""
    image = np.zeros((1, 40, 50, 60), dtype=np.uint8)
    tiles = windows.tiling((20, 25, 30), [16, 16, 16], 0.0)

    def labels(**words: Any) -> int:
        return promise.of(lambda: _trial.Tried(0, 0.0), tiles, 2, 0, image, **words).labels

    own, grid = 40 * 50 * 60, 20 * 25 * 30
    monkeypatch.delitem(sys.modules, promise.LAST, raising=False)
    # of a mask: itself, and twice what is checked
    assert labels() == promise.WRITERS + 4 * grid + 3 * own
    assert labels(maps=1, pictures=1) == promise.WRITERS + 4 * grid + (1 + 4 + 2 * 4) * own
    # what is asked of a network of a system is no picture
    assert labels(maps=1) == promise.WRITERS + 4 * grid + (1 + 4 + 2) * own
    assert labels(single=True) == labels() + 3 * grid
    # of further results the libraries are there, and held by the process
    monkeypatch.setitem(sys.modules, promise.LAST, None)
    assert labels() == 4 * grid + 3 * own


def test_a_copy_of_an_image_that_is_smaller_than_a_window_is_as_large_as_the_window() -> None:
    image = np.zeros((1, 128, 128, 1), dtype=np.float32)
    flat, whole = (windows.tiling(image.shape[1:], [64, 64, deep], 0.0) for deep in (64, 1))
    held = [promise.of(lambda: _trial.Tried(0, 0.0), t, 2, image.nbytes, image).process for t in (flat, whole)]
    assert held[0] - held[1] == pytest.approx(64 * image.nbytes, abs=MB)


def test_a_prediction_counts_its_maps_and_pieces(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[int, int, bool]] = []
    # it is calibrated at its end, for which images are predicted too
    run = trained("segment")

    def of(*words: Any) -> promise.Promise:
        told.append((words[5], words[7], words[8]))
        return promise.Promise(0, 0, 0, 0, 0, 0.0)

    monkeypatch.setattr(promise, "of", of)
    case = ready("segment").dataset.cases[0]
    plain, drawing = Trusted(run), Trusted(run, maps=True)
    plain.task.keep_largest(())
    drawing.task.keep_largest([c.name for c in drawing.plan.classes][:1])
    plain(case)
    drawing(case)
    assert told == [(0, 0, False), (1, 1, True)]


def test_mirrored_looks_are_counted_in_time_and_memory() -> None:
    answer = torch.zeros((1, 1, 256, 256, 256))
    # 64 MB, made anew by each look
    image = np.zeros((1, 256, 256, 600), dtype=np.float32)
    tiles = windows.tiling(image.shape[1:], [256, 256, 256], 0.0)
    window = torch.from_numpy(image[None, ..., :256].copy())

    def look(one: torch.Tensor) -> torch.Tensor:
        time.sleep(0.1)
        return answer + 1

    def cost(mirror: bool) -> promise.Promise:
        return promise.of(lambda: _trial.tried(look, window, mirror=mirror), tiles, 1, image.nbytes, image)

    once, mirrored = (cost(m) for m in (False, True))
    assert mirrored.seconds >= 8 * 0.1 * tiles.count > once.seconds / 2 and mirrored.seconds > 4 * once.seconds
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    # the sum, a new answer and that answer turned back
    assert mirrored.window > once.window + 100 * MB


def test_what_was_held_while_the_image_was_read_counts(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    case = ready("segment").dataset.cases[0]
    predictor = Predictor(trained("segment"))
    predictor.told(case)
    assert predictor.promised is not None
    predictor.limit = predictor.promised.total + 200 * MB
    predictor.told(case)
    prepare = predictor.task.prepare

    def greedy(*words: Any, **named: Any) -> Any:
        np.ones(1000 * MB, dtype=np.uint8).sum()
        return prepare(*words, **named)

    monkeypatch.setattr(predictor.task, "prepare", greedy)
    with pytest.raises(HilumError) as error:
        predictor.told(case)
    assert error.value.code == "HIL-INFER-01" and "read" in error.value.seen
    # what was there before the case is not laid to it
    predictor.limit = None
    predictor(case)
    monkeypatch.undo()
    held = np.ones(1000 * MB, dtype=np.uint8)
    del held
    predictor(case)
    assert predictor.promised.read < 1000 * MB


def test_too_little_memory_is_refused_with_what_it_would_take(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared]
) -> None:
    case = there(ready("segment").dataset.cases[0])
    roomy = Predictor(trained("segment"))
    roomy(case)
    assert roomy.promised is not None and roomy.promised.total > 0 and roomy.promised.seconds > 0
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
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


def test_what_a_prediction_cost_is_told(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "there", lambda: False)
    predictor = Predictor(trained("segment"), runtime="auto")
    predictor.expect(10**9)
    _, cost = predictor.told(ready("segment").dataset.cases[0])
    assert set(cost["seconds"]) == {"read", "prepare", "network", "merge", "back"}
    assert cost["bytes"]["measured"] > 0 and cost["bytes"]["predicted"] > 0
    assert cost["runtime"] in cost["tried"] and "torch" in cost["tried"]
    again = predictor.told(ready("segment").dataset.cases[1])[1]
    assert again["runtime"] == cost["runtime"], "measured once"


class Large:
    """A volume of many gigabytes, of which the header alone may be looked at."""

    path = Path("large.nii.gz")

    def extent(self) -> Extent:
        return Extent((1, 2000, 2000, 1000), np.eye(4), 8 * 10**9)

    def read(self, region: Any = None, level: int = 0) -> Image:
        pytest.fail("it was read")


def test_what_is_too_large_by_its_header_is_refused_before_it_is_read(trained: Callable[[str], Run]) -> None:
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    predictor, case = Predictor(trained("segment"), limit=2 << 30), Case("a", "a", {"image": Large()})
    asks: list[Callable[[Case], Any]] = [predictor.fits, predictor, predictor.opinion]
    for ask in asks:
        with pytest.raises(HilumError, match=r"at least .* \(as read 7\.5 GB, .*--memory allows 2\.0 GB") as error:
            ask(case)
        assert error.value.code == "HIL-INFER-01"


def test_what_fits_by_its_header_is_not_refused(trained: Callable[[str], Run]) -> None:
    plan = trained("segment").plan
    promise.fits(Large(), plan, 1 << 50)
    promise.fits(Large(), plan, None)
    flat = plan.model_copy(update={"dims": 2, "spacing": [1.0, 1.0]})
    # that it has another number of axes is told once it is read
    promise.fits(Large(), flat, 1)
    promise.fits(Image(np.zeros((1, 4, 5, 6)), np.eye(4)), plan, 1)


def test_a_file_that_is_held_while_it_joins_others_is_counted(
    trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "now", lambda: 5 * MB)
    plan = trained("segment").plan
    assert plan.spacing is not None
    # next to nothing on the network's grid
    affine = np.diag([*(0.01 * np.array(plan.spacing)), 1.0])

    class Files(Large):
        def extent(self) -> Extent:
            return Extent((4, 2000, 2000, 1000), affine, 8 << 30, 2 << 30)

    promise.fits(Files(), plan, (10 << 30) + 5 * MB)
    with pytest.raises(HilumError, match=r"at least 10\.0 GB \(as read 8\.0 GB, while it is read 2\.0 GB more, "):
        promise.fits(Files(), plan, 10 << 30)


def test_a_limit_that_nothing_would_keep_is_refused(
    trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("segment")
    monkeypatch.setattr(resident, "now", lambda: 0)
    with pytest.raises(HilumError, match="does not tell") as error:
        Predictor(run, limit=1 << 50)
    assert error.value.code == "HIL-INFER-19"
    Predictor(run)


def test_scores_of_all_voxels_are_held_to_the_limit_as_it_was_given(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared]
) -> None:
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    predictor = Predictor(trained("segment"), limit=64 * MB)
    with pytest.raises(HilumError, match=r"Predicting this image needs .*, --memory allows 64 MB") as error:
        predictor.opinion(there(ready("segment").dataset.cases[0]))
    assert error.value.code == "HIL-INFER-01"


REFUSED = """
import sys
from pathlib import Path
from hilum.core import resident
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.data.dataset import open_dataset
from hilum.infer.predictor import Predictor

# the peak is that of the whole process
resident.forget = lambda: False
(case,) = open_dataset(sys.argv[2]).cases
predictor = Predictor(Run(Path(sys.argv[1])))
# room to bring the image onto the network's grid, and none for what is found there
predictor.limit = resident.now() + int(sys.argv[3])
try:
    predictor(case)
except HilumError as error:
    print(error.code, "at least" in error.seen, resident.peak() / predictor.limit)
"""


@pytest.mark.parametrize("scheme", ["ct", "zscore"])
def test_what_is_held_at_a_refusal_is_near_the_limit(
    scheme: str, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """A CT with `--memory 1GB` was read and normalised in 2.4 GB before it was refused."""
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    model, rule = shutil.copytree(trained("segment").path, tmp_path / "run"), {"scheme": scheme, "std": 200.0}
    plan = Run(model).plan.edited({"normalisation": [rule | {"low": -1000.0, "high": 1000.0}]})
    plan.write(model / "plan.json")
    Run(model).write_manifest()
    assert plan.spacing is not None
    values = np.random.default_rng(0).integers(-1000, 1000, (320, 320, 320), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([*plan.spacing, 1.0])), tmp_path / "ct.nii")
    # as read 2 bytes a voxel, in float32 4, and while it is normalised a mask, or what its deviation is told from
    room = values.size * (7 if scheme == "ct" else 10) + 16 * MB
    words = [sys.executable, "-c", REFUSED, str(model), str(tmp_path / "ct.nii"), str(room)]
    code, early, share = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    assert (code, early) == ("HIL-INFER-01", "False") and float(share) <= 1.2


def test_the_process_and_what_normalising_takes_are_counted_before_an_image_is_read(
    trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "now", lambda: 5 * MB)
    spacing, own = trained("segment").plan.spacing, 100 * 100 * 100
    assert spacing is not None

    class Small(Large):
        step = 1.0

        def extent(self) -> Extent:
            return Extent((1, 100, 100, 100), np.diag([*(self.step * np.array(spacing)), 1.0]), 2 * own)

    def least(scheme: str, first: bool = False, step: float = 1.0) -> int:
        """The smallest limit that is not refused."""
        plan, image = trained("segment").plan.edited({"normalisation": [{"scheme": scheme}]}), Small()
        plan, image.step = plan.edited({"data.normalise_first": first}), step
        low, high = 0, 1 << 40
        while low + 1 < high:
            middle = (low + high) // 2
            try:
                promise.fits(image, plan, middle)
                high = middle
            except HilumError:
                low = middle
        return high - 5 * MB

    assert least("ct") == (2 + 4 + 1) * own and least("zscore") == (2 + 4 + 4) * own
    # normalised on its own grid, from where nothing or a volume 8 times as large is resampled
    assert least("ct", first=True) == (2 + 4 + 4) * own
    assert least("ct", first=True, step=2.0) == (2 + 4 + 4 * 8) * own
