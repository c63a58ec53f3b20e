"""Masks that need the scores of all voxels (probabilities, numbered objects) are foretold and kept to the limit too."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

from hilum.core import resident
from hilum.core.calibration import Calibration, Wide
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer import promise, windows
from hilum.infer.predictor import Predictor
from hilum.io import nifti, raster
from hilum.trust.trusted import Trusted
from hilum.verbs.import_model import import_model
from hilum.verbs.predict import predict
from hilum.zoo.nnunet import Net

MB = 1 << 20
SIDES = {2: 1200, 3: 112}
# In a process of its own: memory that something else left behind would be used again and not show.
COMMAND = """
import sys
from pathlib import Path
from hilum.verbs.predict import predict
folder = Path(sys.argv[1])
maps = sys.argv[2] == "True"
made = predict(folder / "run", [next(folder.glob("image.*"))], folder / "out", runtime="torch", maps=maps)
print(made["done"]["image"]["cost"]["bytes"])
"""


FURTHER = """
import sys
from types import SimpleNamespace
import numpy as np
import torch
from hilum.core import resident
from hilum.core.calibration import Calibration, Wide
from hilum.core.findings import Mask, Result
from hilum.core.image import Image
from hilum.core.plan import ClassPlan
from hilum.infer import promise
from hilum.infer.predictor import Opinion
from hilum.prepare import grid
from hilum.trust import maps, promises

wide, names = sys.argv[1] == "wide", [f"c{n}" for n in range(1, 12)]
task = SimpleNamespace(plan=SimpleNamespace(classes=[ClassPlan(value=n, name=name) for n, name in enumerate(names, 1)]))
known = Wide(risk=0.1, thresholds=dict.fromkeys(names, 0.2), groups=dict.fromkeys(names, 9))

def held(side):
    image = Image(np.zeros((1, side, side, side), np.int16), np.eye(4))
    placed = grid.place(image, None)[1]
    mask = Mask(np.ones((side,) * 3, np.uint8), dict(enumerate(names, 1)), image.affine)
    opinion = Opinion(Result({"mask": mask}), {"placed": placed}, torch.randn(12, *placed.shape))
    before = resident.now()
    resident.forget()
    if wide:
        found = promises.wide_masks(opinion, task, known)
    else:
        found = maps.of_mask(opinion, task, Calibration(cases=1, groups=1))
    peak, own, way = resident.peak(), side**3, promise.Way(whole="argmax", wide=11 * wide)
    # the mask was there before
    return peak, before + promise._further(way, int(not wide), own, own) - own

# libraries are loaded
held(16)
print(*held(160))
"""


def model(folder: Path, dims: int, numbered: bool) -> Path:
    """A tiny network of one class, as an import leaves it."""
    torch.manual_seed(0)
    strides, kernels = [[1] * dims, [2] * dims], [[3] * dims] * 2
    net = Net(1, 2 + numbered, dims, features=[8, 16], strides=strides, kernels=kernels)
    torch.save(net.state_dict(), folder / "net.pt")
    facts: dict[str, Any] = {"classes": ["cell"], "patch": [128] * 2 if dims == 2 else [32] * 3}
    facts |= {"normalisation": {"scheme": "zscore"}, "options": {} if numbered else {"reduce": "mean"}}
    facts |= {"spacing": [1.3] * 3} if dims == 3 else {}
    (folder / "facts.json").write_text(json.dumps(facts))
    words = f"nnunet:features=[8, 16]:strides={json.dumps(strides)}:kernels={json.dumps(kernels)}"
    settings = {"data.labels": {"cell": "instances"}} if numbered else {}
    import_model(folder / "net.pt", folder / "run", net=words, facts=folder / "facts.json", settings=settings)
    return folder / "run"


def picture(dims: int, side: int) -> Image:
    """Blots of all sizes."""
    values = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(side,) * dims).astype(np.float32), 4)
    values = (values - values.min()) / (values.max() - values.min()) * 255
    return Image(values[None].astype(np.uint8 if dims == 2 else np.int16), None if dims == 2 else np.eye(4))


def calibrated(run: Path) -> Run:
    """With a calibration that knows next to nothing, which maps of doubt take."""
    Run(run).put({"calibration.json": Calibration(cases=1, groups=1).model_dump_json().encode()})
    return Run(run)


@pytest.mark.parametrize(
    ("dims", "numbered", "maps"), [(2, False, False), (2, True, False), (3, True, False), (2, False, True)]
)
def test_what_is_promised_is_what_is_held(dims: int, numbered: bool, maps: bool, tmp_path: Path) -> None:
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    calibrated(model(tmp_path, dims, numbered))
    image = picture(dims, SIDES[dims])
    (raster if dims == 2 else nifti).write(tmp_path / ("image.png" if dims == 2 else "image.nii.gz"), image)
    words = [sys.executable, "-c", COMMAND, str(tmp_path), str(maps)]
    held = eval(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert held["predicted"] == pytest.approx(held["measured"], rel=0.2)


@pytest.mark.parametrize("what", ["wide", "maps"])
def test_wide_masks_and_maps_of_all_scores_hold_what_is_promised(what: str) -> None:
    """They made up to three copies of the scores of all classes, 197 MB each here, and none was counted."""
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    out = subprocess.run([sys.executable, "-c", FURTHER, what], check=True, capture_output=True, text=True).stdout
    held, told = (int(word) for word in out.split())
    assert told == pytest.approx(held, rel=0.15)


def test_maps_and_wide_masks_are_part_of_the_promise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, case = calibrated(model(tmp_path, 2, False)), Case("a", "", {"image": picture(2, 600)})
    # as if it were loaded: what it takes would hide the rest
    monkeypatch.setitem(sys.modules, promise.LAST, None)

    def labels(predictor: Trusted) -> int:
        predictor.told(case)
        assert predictor.promised is not None
        return predictor.promised.labels

    plain, drawn, wide = Trusted(run), Trusted(run, maps=True), Trusted(run)
    wide.wides = 40
    assert labels(drawn) >= labels(plain) + 8 * 600 * 600 and labels(wide) >= labels(plain) + 24 * 600 * 600
    known = Wide(risk=0.1, thresholds={"cell": 0.2, "other": None}, groups={"cell": 9, "other": 9})
    run.put({"calibration.json": Calibration(cases=1, groups=1, wide=known).model_dump_json().encode()})
    assert Trusted(run, wide=True).wides == 1 and Trusted(run).wides == 0


@pytest.mark.parametrize("numbered", [False, True])
def test_too_little_memory_is_refused_before_the_windows(
    numbered: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    run = Run(model(tmp_path, 2, numbered))
    case = Case("a", "", {"image": picture(2, 600)})
    roomy = Predictor(run)
    wanted, cost = roomy.told(case)
    told = roomy.promised
    assert told is not None and cost["bytes"]["predicted"] == told.total
    # margin and depth of every voxel, the order of both padded images, ...: more than scores and ring
    least = 600 * 600 * (88 if numbered else 16)
    assert told.labels >= told.scores + least and told.scores == 600 * 600 * (2 + numbered) * 4
    tight = Predictor(run, limit=told.process - 20 * MB)
    with monkeypatch.context() as patch, pytest.raises(HilumError, match="Predicting this image needs") as error:
        patch.setattr(windows, "planes", lambda *_: pytest.fail("windows were computed"))
        tight.told(case)
    assert error.value.code == "HIL-INFER-01"
    enough = Predictor(run, limit=told.total + 800 * MB)
    np.testing.assert_array_equal(enough(case)["mask"].array, wanted["mask"].array)


def test_memory_is_taken_for_them(tmp_path: Path) -> None:
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    run = model(tmp_path, 2, True)
    raster.write(tmp_path / "image.png", picture(2, 200))
    with pytest.raises(HilumError, match="HIL-INFER-01"):
        predict(run, [tmp_path / "image.png"], tmp_path / "out", memory="50MB")
    made = predict(run, [tmp_path / "image.png"], tmp_path / "out", memory="8GB")
    cost = made["done"]["image"]["cost"]
    assert cost["bytes"]["predicted"] > 0 and {"network", "back", "write"} <= cost["predicted_seconds"].keys()


def test_a_mean_of_opinions_is_not_foretold(tmp_path: Path) -> None:
    """Each opinion by itself would be told as if it were all."""
    predictor = Trusted(Run(model(tmp_path, 2, False)))
    predictor.promised = None
    prepared = predictor.task.prepare(Case("a", "", {"image": picture(2, 200)}), truth=False)
    predictor.logits(prepared)
    assert predictor.promised is None
    predictor.looked(prepared)
    assert predictor.promised is not None
