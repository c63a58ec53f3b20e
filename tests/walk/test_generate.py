"""generate, from a collection to new images; its predict is `hilum generate`."""

import json
import sys
from typing import Any

import numpy as np
from safetensors.numpy import load

from hilum.core import catalogue
from hilum.core.run import Run
from hilum.data.dataset import open_dataset
from hilum.evaluation.features import project
from hilum.infer.predictor import open_predictor
from hilum.io import raster

TASK, PHANTOM, CASES, OPTIONS, STEPS = "generate", "slices", 24, {"size": 32}, 80
THIS = sys.modules[__name__]
SETS = {"learning.average": 0.9}


def test_inspect_and_train(walk: Any) -> None:
    assert walk.inspected()["cases"] == CASES
    walk.trained()
    assert all(np.isfinite(list(row.values())).all() for row in walk.log())


def test_evaluate(walk: Any) -> None:
    names = walk.measured()
    # fewer images than features have no fid
    assert [name.split("@pca")[0] for name in names] == ["kid", "recall"]
    walk.look_again()


def test_better_than_noise(walk: Any) -> None:
    run, data = Run(walk.run), open_dataset(walk.data)
    basis, task = load(run.read("features.safetensors")), open_predictor(walk.run).task
    real = np.stack([task.prepare(data.case(name))["image"].ravel() for name in walk.part("train")])
    noise = np.random.default_rng(0).uniform(-1, 1, real.shape)
    kid = catalogue.load("hilum.metrics", "kid").measure
    worst = kid(project(noise, basis), project(real, basis))
    found = next(iter(walk.evaluated("train")["metrics"].values()))
    assert found["better"] == "lower" and found["mean"] < 0.8 * worst


def test_compare(walk: Any) -> None:
    walk.compared("dcgan_generator,dcgan_generator:width=8", 3)


def test_generate(walk: Any) -> None:
    folders = {}
    for name, model, seed in (("a", walk.run, 0), ("b", walk.bundle, 0), ("c", walk.run, 1)):
        folders[name] = walk.folder / f"made-{name}"
        walk.done("generate", model, "--count", 3, "--seed", seed, "--out", folders[name])
    files = sorted(p.name for p in folders["a"].glob("*.png"))
    assert len(files) == 3
    for file in files:
        assert raster.read(folders["a"] / file).array.shape == (1, 32, 32)
        assert (folders["a"] / file).read_bytes() == (folders["b"] / file).read_bytes()
        assert (folders["a"] / file).read_bytes() != (folders["c"] / file).read_bytes()
    record = json.loads((folders["a"] / "generated.json").read_text(encoding="utf-8"))
    assert record["files"] == files and "were generated" in record["note"]


def test_bundle(walk: Any) -> None:
    assert walk.elsewhere(THIS, cases=6)["cases"] == 6
