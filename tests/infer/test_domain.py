"""An image of another kind than the model was made for is told, whoever made the model (HIL-M08)."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer import bundle, domain
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared

CT = [{"scheme": "ct", "low": -1000.0, "high": 1000.0, "mean": 0.0, "std": 500.0}]


def bare(run: Run, folder: Path, **changes: Any) -> Run:
    """The run as an import leaves one: a plan and weights alone."""
    shutil.copytree(run.path, folder)
    for name in ("fingerprint.json", "calibration.json", "split.csv"):
        (folder / name).unlink(missing_ok=True)
    run.plan.edited(changes).write(folder / "plan.json")
    Run(folder).write_manifest()
    return Run(folder)


def case_of(ready: Callable[[str], Prepared], modality: str = "", stretched: float = 1.0) -> Case:
    """A case whose image states its modality, and whose voxels lie further apart along its last axis."""
    case = ready("segment").dataset.cases[0]
    image: Image = case.read("image")
    affine = np.array(image.affine) @ np.diag([1, 1, stretched, 1])
    return Case(case.id, "", {"image": replace(image, affine=affine, meta={**image.meta, "modality": modality})})


def told(run: Run, case: Case) -> list[str]:
    """What a prediction says of the kind of its image."""
    return [w for w in Predictor(run)(case).warnings if w.startswith("HIL-M08") and "turned" not in w]


@pytest.mark.parametrize("changes", [{"normalisation": CT}, {"channels": ["CT"]}])
def test_a_model_without_training_images_is_of_ct_where_its_plan_says_so(
    changes: dict[str, Any], trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path
) -> None:
    run = bare(trained("segment"), tmp_path / "run", **changes)
    assert told(run, case_of(ready, "MR")) == ["HIL-M08: the image says that it is MR, the training images were CT"]
    for same in ("CT", "", "OT"):
        assert told(run, case_of(ready, same)) == []
    other = bare(trained("segment"), tmp_path / "other")
    assert told(other, case_of(ready, "MR")) == []


def test_voxels_much_further_apart_than_any_of_training_are_told(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path
) -> None:
    run = trained("segment")
    known = domain.known(run)
    parts = {row["case"]: row["part"] for row in run.split()}
    rows = [row for row in run.json("fingerprint.json")["cases"] if parts[row["id"]] == "train"]
    assert known.spacing == [(min(axis), max(axis)) for axis in zip(*(r["spacing"] for r in rows), strict=True)]
    bundle.write(run, tmp_path / "model.hilum")
    for one in (run, Run(tmp_path / "model.hilum")):
        assert told(one, case_of(ready)) == []
        for stretched in (0.1, 10.0):
            (words,) = told(one, case_of(ready, stretched=stretched))
            assert "mm apart" in words and "those of training" in words


def test_where_training_images_are_not_known_the_networks_own_spacing_stands_for_them(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path
) -> None:
    run = bare(trained("segment"), tmp_path / "run")
    (words,) = told(run, case_of(ready, stretched=30.0))
    assert "those of the network" in words
    # and may have learned from slices much thicker than that
    assert told(run, case_of(ready, stretched=4.0)) == []
    # a network may work at a coarser spacing than its images by choice
    assert told(run, case_of(ready, stretched=0.1)) == []


def test_a_run_that_learned_nothing_of_its_answers_compares_what_its_images_said(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path: Path
) -> None:
    folder = shutil.copytree(trained("segment").path, tmp_path / "run")
    (folder / "calibration.json").unlink(missing_ok=True)
    facts = json.loads((folder / "fingerprint.json").read_text())
    facts["cases"] = [row | {"modality": "MR"} for row in facts["cases"]]
    (folder / "fingerprint.json").write_text(json.dumps(facts))
    Run(folder).write_manifest()
    assert told(Run(folder), case_of(ready, "PT")) == [
        "HIL-M08: the image says that it is PT, the training images were MR"
    ]
    assert told(Run(folder), case_of(ready, "MR")) == []
