"""The ONNX file with onnxruntime and the documented steps alone gives the labels that Hilum gives."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Image
from hilum.core.run import Run
from hilum.infer.predictor import Predictor
from hilum.io import nifti
from hilum.planning.planner import Prepared
from hilum.prepare import grid
from hilum.verbs.bundle import bundle

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "use-the-onnx-file.md"


@pytest.mark.parametrize("axes", ["as stored", "turned and coarser", "mirrored", "0 around"])
def test_the_example_gives_the_labels_of_predict(
    axes: str, trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pytest.importorskip("onnxruntime")
    case = next(c for c, p in ready("segment").units(trained("segment").plan) if p == "test")
    image: Image = case.read("image")
    model = trained("segment").path
    changes: dict[str, dict[str, Any]] = {
        "mirrored": {"options.mirror": True}, "0 around": {"normalisation": [{"scheme": "zscore_nonzero"}]},
    }  # fmt: skip
    if axes in changes:
        model = shutil.copytree(model, tmp_path / "run")
        Run(model).plan.edited(changes[axes]).write(model / "plan.json")
        Run(model).write_manifest()
    if axes == "turned and coarser":
        image = grid.to_ras(image)
        steps = np.array(image.affine) @ np.diag([1.3, 0.8, 1.1, 1])
        flipped = np.ascontiguousarray(image.array.transpose(0, 2, 1, 3)[:, ::-1])
        turn = np.array([[0, 1, 0, 0], [-1, 0, 0, flipped.shape[1] - 1], [0, 0, 1, 0], [0, 0, 0, 1]])
        image = Image(flipped, steps @ turn)
    if axes == "0 around":
        # at the plan's spacing: resampling would make some of the voxels around the head other than 0
        image, spacing = grid.to_ras(image), Run(model).plan.spacing
        assert spacing is not None
        image = Image(np.where(image.array < 60, 0, image.array), np.diag([*spacing, 1.0]))
    nifti.write(tmp_path / "scan.nii.gz", image)
    bundle(model, tmp_path / "model.hilum", onnx=True)
    monkeypatch.chdir(tmp_path)
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    space: dict[str, Any] = {}
    exec(compile("\n".join(code), PAGE.name, "exec"), space)
    found = nifti.read_labels(tmp_path / "labels.nii.gz")
    wanted = Predictor(Run(tmp_path / "model.hilum"))(type(case)("a", "a", {"image": image}))["mask"]
    np.testing.assert_allclose(found.affine, image.affine, atol=1e-4)  # type: ignore[arg-type]
    assert (found.array[0] == wanted.array).mean() > 0.999 and len(np.unique(wanted.array)) > 1
