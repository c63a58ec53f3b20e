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
from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer import windows
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
made = predict(folder / "run", [next(folder.glob("image.*"))], folder / "out", runtime="torch")
print(made["done"]["image"]["cost"]["bytes"])
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


@pytest.mark.parametrize(("dims", "numbered"), [(2, False), (2, True), (3, True)])
def test_what_is_promised_is_what_is_held(dims: int, numbered: bool, tmp_path: Path) -> None:
    if not resident.forget():
        pytest.skip("this system does not let a process forget its peak")
    model(tmp_path, dims, numbered)
    image = picture(dims, SIDES[dims])
    (raster if dims == 2 else nifti).write(tmp_path / ("image.png" if dims == 2 else "image.nii.gz"), image)
    words = [sys.executable, "-c", COMMAND, str(tmp_path)]
    held = eval(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert held["predicted"] == pytest.approx(held["measured"], rel=0.2)


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
