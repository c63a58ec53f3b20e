"""segment of numbered objects, from 16-bit label maps to 16-bit label maps."""

import json
import sys
from typing import Any

import numpy as np

from hilum.core.run import Run
from hilum.io import raster

TASK, PHANTOM, CASES, OPTIONS, STEPS = "segment", "cells", 14, {"size": 64, "cells": 8}, 150
THIS = sys.modules[__name__]
SETS = {
    "plan.patch": [32, 32],
    "plan.batch": 8,
    "plan.augment": [],
    "features": [8, 16, 32],
    "strides": [[1, 1], [2, 2], [2, 2]],
    "kernels": [[3, 3], [3, 3], [3, 3]],
    "deep_supervision": False,
    "options.foreground": 1.0,
    "learning.rate": 0.01,
    "learning.precision": "float32",
}


def test_inspect_and_train(walk: Any) -> None:
    assert walk.inspected()["cases"] == CASES
    walk.trained()
    first, last = walk.log()[0], walk.log()[-1]
    assert last["train loss"] < 0.6 * first["train loss"] and last["train depth"] < first["train depth"]
    assert json.loads(walk.plan.read_text())["data"]["labels"] == {"cell": "instances"}


def test_evaluate(walk: Any) -> None:
    assert walk.measured() == ["ap50_instances", "pq", "dice"]
    learned = walk.evaluated("train")["metrics"]
    # foreground in one piece, as an untrained separation leaves it, reaches less: cells touch
    assert learned["ap50_instances"]["per_class"].keys() == {"cell"} and learned["ap50_instances"]["mean"] > 0.5
    assert learned["dice"]["mean"] > 0.7
    walk.look_again()


def test_predict_numbers_objects_in_16_bit(walk: Any) -> None:
    whole = walk.predicted(walk.data / "images")
    assert len(walk.record(whole)["done"]) == CASES
    found = raster.read_labels(whole / "cells_001.png").array[0]
    stored = raster.read(whole / "cells_001.png").array
    assert stored.dtype == np.uint16 and found.max() > 1
    assert np.array_equal(np.unique(found), np.arange(found.max() + 1)), "numbers have no gap"


def test_bundle(walk: Any) -> None:
    assert {"plan.json", "weights/net.safetensors"} <= set(Run(walk.bundle).names())
    assert walk.elsewhere(THIS, cases=2)["cases"] == 2
