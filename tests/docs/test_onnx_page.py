"""The ONNX file with onnxruntime and the documented steps alone gives the labels that Hilum gives."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes import onnx
from hilum.io import nifti
from hilum.planning.planner import Prepared
from hilum.prepare import grid
from hilum.verbs.bundle import bundle
from hilum.verbs.import_model import import_model
from hilum.zoo.nnunet import Net

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-onnx-file.md"


CT = {"scheme": "ct", "low": -1000.0, "high": 400.0, "mean": 0.0, "std": 200.0}
CHANGES: dict[str, dict[str, Any]] = {
    "mirrored": {"options.mirror": True}, "0 around": {"normalisation": [{"scheme": "zscore_nonzero"}]},
    "no number around": {"normalisation": [{"scheme": "zscore_nonzero"}]},
    "ct": {"normalisation": [CT]}, "normalised first": {"normalisation": [CT | {"low": -100.0}]},
    "large values": {"classes.0.value": 300},
}  # fmt: skip


def as_labels(
    folder: Path, model: Path, image: Image, files: list[str], further: bool = False
) -> tuple[Image, np.ndarray]:
    """What the example makes of an image, and what predict does; the bundle and the files are made in `folder`.

    further: the files have a fourth axis, of one voxel.
    """
    for name, channel in zip(files, image.array, strict=True):
        nifti.write(folder / name, image.like(channel[None]))
        if further:
            one = nibabel.load(folder / name)
            nibabel.save(nibabel.Nifti1Image(np.asarray(one.dataobj)[..., None], one.affine), folder / name)
    bundle(model, folder / "model.hilum", onnx=True)
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
    space: dict[str, Any] = {}
    exec(compile(code.replace('["scan.nii.gz"]', str(files)), PAGE.name, "exec"), space)
    wanted = Predictor(Run(folder / "model.hilum"))(Case("a", "a", {"image": image}))["mask"].array
    return nifti.read_labels(folder / "labels.nii.gz"), wanted


AXES = [
    "as stored", "turned and coarser", "mirrored", "0 around", "no number around", "ct", "normalised first",
    "no number and coarser", "large values", "a further axis",
]  # fmt: skip


@pytest.mark.parametrize("axes", AXES)
def test_the_example_gives_the_labels_of_predict(
    axes: str, trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("onnxruntime")
    case = next(c for c, p in ready("segment").units(trained("segment").plan) if p == "test")
    image: Image = case.read("image")
    model = trained("segment").path
    if axes in CHANGES:
        model = shutil.copytree(model, tmp_path / "run")
        first = {"data.normalise_first": True} if axes == "normalised first" else {}
        Run(model).plan.edited(CHANGES[axes] | first).write(model / "plan.json")
        Run(model).write_manifest()
    if axes in ("turned and coarser", "normalised first"):
        image = grid.to_ras(image)
        steps = np.array(image.affine) @ np.diag([1.3, 0.8, 1.1, 1] if axes != "normalised first" else [0.6, 1, 0.7, 1])
        flipped = np.ascontiguousarray(image.array.transpose(0, 2, 1, 3)[:, ::-1])
        turn = np.array([[0, 1, 0, 0], [-1, 0, 0, flipped.shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
        image = Image(flipped, steps @ turn)
    if axes.endswith("around"):
        # at the plan's spacing: resampling would make some of the voxels around the head other than 0
        image, spacing = grid.to_ras(image), Run(model).plan.spacing
        assert spacing is not None
        around = np.float32(0 if axes == "0 around" else np.nan)
        image = Image(np.where(image.array < 60, around, image.array), np.diag([*spacing, 1.0]))
    if axes == "ct":
        image = in_air(image)
    if axes == "no number and coarser":
        image = grid.to_ras(image)
        odd = image.array < 60
        odd[0, 20, 20, 20], odd[0, 10:12] = True, True
        steps = np.array(image.affine) @ np.diag([1.3, 0.8, 1.1, 1])
        image = Image(np.where(odd, np.float32(np.nan), image.array), steps)
    monkeypatch.chdir(tmp_path)
    found, wanted = as_labels(tmp_path, model, image, ["scan.nii.gz"], axes == "a further axis")
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-4)  # type: ignore[arg-type]
    assert (found.array[0] == wanted).mean() > 0.999 and len(np.unique(wanted)) > 1


def in_air(image: Image) -> Image:
    """The head as CT, in windows of noisy air: a network that looked there would answer to the noise."""
    body = image.array.astype(np.float32) * (400 / image.array.max())
    body = np.pad(body, ((0, 0), (70, 0), (70, 0), (0, 0)), constant_values=-1000)
    air = np.random.default_rng(0).uniform(-1000, -510, body.shape)
    return Image(np.where(body < 20, air, body).astype(np.float32), image.affine)


def test_several_channels_are_put_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(4)
    net = Net(2, 3, 3, features=[4, 6], strides=[[1, 1, 1], [2, 2, 2]], kernels=[[3, 3, 3]] * 2).eval()
    with torch.no_grad():
        # no class may win everywhere
        net.head.weight *= 10
        net.head.bias -= net(torch.randn(1, 2, 16, 16, 16)).mean(dim=(0, 2, 3, 4))
    torch.save(net.state_dict(), tmp_path / "net.pt")
    facts = {
        "classes": ["a", "b"], "channels": ["T1", "T2"], "patch": [16, 16, 16], "spacing": [1.0, 1.0, 1.0],
        "normalisation": [{"scheme": "zscore_box"}, {"scheme": "scale", "low": 0, "high": 2}],
    }  # fmt: skip
    (tmp_path / "facts.json").write_text(json.dumps(facts))
    words = "nnunet:features=[4, 6]:strides=[[1, 1, 1], [2, 2, 2]]:kernels=[[3, 3, 3], [3, 3, 3]]"
    import_model(tmp_path / "net.pt", tmp_path / "run", net=words, facts=tmp_path / "facts.json")
    values = np.random.default_rng(3).random((2, 20, 18, 24)).astype(np.float32) + 0.5
    # what is 0 in one channel alone is inside
    values[:, :3], values[0, :, :5] = 0, 0
    monkeypatch.chdir(tmp_path)
    files = ["scan_0000.nii.gz", "scan_0001.nii.gz"]
    found, wanted = as_labels(tmp_path, tmp_path / "run", Image(values, np.diag([1.0, 1.0, 1.0, 1.0])), files)
    assert (found.array[0] == wanted).mean() > 0.999 and len(np.unique(wanted)) > 1


def test_what_the_page_does_not_cover_is_said(
    trained: Callable[[str], Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("onnxruntime")
    onnx.of_run(trained("segment"))
    assert PAGE.name not in caplog.text
    onnx.of_run(trained("classify"))
    assert PAGE.name in caplog.text and "classify" in caplog.text
