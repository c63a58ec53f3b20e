"""Boxes from label masks: an object is no ignored band, and what lies outside the validity mask is none."""

from pathlib import Path

import numpy as np
import pytest

from hilum.core.atomic import write_text
from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Result
from hilum.core.image import Image
from hilum.io import raster
from hilum.planning.planner import look, make_plan
from hilum.tasks import _task

OBJECTS = [[10, 12, 20, 24], [40, 30, 52, 41]]
OUTSIDE = [4, 50, 9, 60]


def mask(objects: bool) -> np.ndarray:
    """0 and 1 with two objects and one outside the field of view, and a band of 255 that is ignored."""
    found = np.zeros((1, 64, 64), np.uint8)
    for top, left, bottom, right in [*OBJECTS, OUTSIDE] if objects else []:
        found[0, top:bottom, left:right] = 1
    found[0, 56:60] = 255
    return found


def made(folder: Path, objects: bool) -> _task.Task:
    for n in range(3):
        picture = np.random.default_rng(n).integers(0, 255, (1, 64, 64), np.uint8)
        field = np.full((1, 64, 64), 255, np.uint8)
        field[0, :10] = 0
        for name, array in (("images", picture), ("labels", mask(objects)), ("fov", field)):
            raster.write(folder / name / f"c{n}.png", Image(array))
    write_text(folder / "dataset.yaml", "ignore: 255\nroles: {validity: fov}\n")
    return _task.load(make_plan(look(folder, "detect", 0), "detect", steps=1))


def test_two_objects_beside_an_ignored_band_are_two_boxes(tmp_path: Path) -> None:
    task = made(tmp_path, True)
    case = look(tmp_path, "detect", 0).dataset.cases[0]
    ready = task.prepare(case)
    assert sorted(ready["boxes"].tolist()) == OBJECTS and ready["labels"].tolist() == [0, 0]
    found = Boxes(np.array(OBJECTS, float), np.ones(2), np.ones(2, np.int64), {1: "object"})
    record = task.judge(Result({"boxes": found}), case).record
    assert sorted(record["true_boxes"].tolist()) == OBJECTS


def test_t10_an_ignored_band_alone_is_no_box(tmp_path: Path) -> None:
    with pytest.raises(HilumError) as error:
        made(tmp_path, False)
    assert error.value.code == "HIL-T10"
