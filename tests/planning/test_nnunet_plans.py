"""Our planner gives what nnU-Net's own gives (answers kept by benchmarks/training/planner_equality.py)."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.tasks._nnunet import Published, low_resolution, median_shape, published, target_spacing

HERE = Path(__file__)
DATA: list[dict[str, Any]] = json.loads(HERE.with_name("nnunet_plans.json").read_text())["data"]
SCRIPT = HERE.parents[2] / "benchmarks" / "training" / "planner_equality.py"


def script() -> Any:
    spec = importlib.util.spec_from_file_location("planner_equality", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CASES = script().cases


def ours(data: dict[str, Any]) -> dict[str, Published]:
    """The same configurations, by our rules, in nnU-Net's order of axes."""
    made = CASES(tuple(data[k] for k in ("name", "spacing", "shape", "cases", "classes", "channels", "spread")))
    order, outputs = data["answer"]["transpose"], data["classes"]
    target = target_spacing(made["spacings"], made["shapes"])
    median = median_shape(made["spacings"], made["shapes"], target)
    target, median = [target[a] for a in order], [median[a] for a in order]
    voxels = float(np.prod(median)) * data["cases"]
    found = {"2d": published(median[1:], target[1:], outputs, voxels)}
    if median[0] > 1:
        full = found["3d_fullres"] = published(median, target, outputs, voxels)
        low = low_resolution(full, outputs, data["cases"])
        if low is not None:
            found["3d_lowres"] = low
    return found


@pytest.mark.parametrize("data", DATA, ids=lambda d: d["name"])
def test_every_configuration_is_the_same(data: dict[str, Any]) -> None:
    answer = {k: v for k, v in data["answer"].items() if k != "transpose"}
    found = ours(data)
    assert sorted(found) == sorted(answer)
    for name, wanted in answer.items():
        mine = found[name]
        plain = {
            "patch": mine.patch, "batch": mine.batch, "features": mine.features, "strides": mine.strides,
            "kernels": mine.kernels,
        }  # fmt: skip
        assert plain == {key: wanted[key] for key in plain}, name
        assert mine.spacing == pytest.approx(wanted["spacing"], rel=1e-6)
