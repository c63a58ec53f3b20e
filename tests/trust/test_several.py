"""Answers from several opinions: asked for, learned, kept in the run, used by prediction, handed on in the bundle."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import entr, softmax

from hilum.core import catalogue
from hilum.core.atomic import write_all
from hilum.core.calibration import Calibration, Interval, Scaling, Sets, Wide
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer.bundle import verify
from hilum.infer.predictor import Predictor
from hilum.planning.planner import look
from hilum.trust import ensemble, learned, members, several
from hilum.trust.trusted import Trusted
from hilum.verbs.bundle import bundle
from hilum.verbs.calibrate import _error, calibrate
from hilum.verbs.evaluate import evaluate
from hilum.verbs.predict import predict
from hilum.verbs.train import train

Trained = Callable[[str], Run]
SMALL = {"plan.patch": [32, 32], "plan.batch": 4, "plan.augment": [], "learning.rounds": 1}


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two segmentations of pictures of cells, alike but for the seed of their weights: (data, run, run)."""
    folder = tmp_path_factory.mktemp("cells")
    catalogue.load("hilum.data.phantoms", "cells").make(folder / "data", 110, size=48, cells=5)
    (folder / "data" / "dataset.yaml").write_text("labels: {cell: nonzero}\npatients: case\n")
    train(folder / "data", "segment", folder / "a", net="nnunet:dropout=0.2", steps=30, settings=SMALL)
    train(folder / "data", "segment", folder / "b", plan=folder / "a" / "plan.json", settings={"plan.seed": 1})
    return folder / "data", folder / "a", folder / "b"


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two classifiers of slices, alike but for the seed of their weights: (data, run, run)."""
    folder = tmp_path_factory.mktemp("slices")
    catalogue.load("hilum.data.phantoms", "slices").make(folder / "data", 40, size=32)
    settings = {"width": 8, "plan.batch": 8, "plan.augment": [], "learning.rounds": 1}
    train(folder / "data", "classify", folder / "a", steps=12, settings=settings)
    train(folder / "data", "classify", folder / "b", plan=folder / "a" / "plan.json", settings={"plan.seed": 1})
    return folder / "data", folder / "a", folder / "b"


def code(call: Callable[[], object]) -> tuple[str, str]:
    with pytest.raises(HilumError) as raised:
        call()
    return raised.value.code, str(raised.value)


@pytest.mark.parametrize(
    ("words", "kind", "count"),
    [("one", "one", 1), ("views", "views", 1), ("dropout", "dropout", 20), ("dropout:3", "dropout", 3)],
)
def test_opinions_are_asked_for_by_a_word(words: str, kind: str, count: int) -> None:
    found = several.parse(words)
    assert (found.kind, found.count) == (kind, count)


@pytest.mark.parametrize(
    "words", ["", "ensemble", "dropout:1", "dropout:x", "dropout:²", "dropout:" + 5000 * "9", "views:3", "one:2"]
)
def test_other_words_are_refused(words: str) -> None:
    assert code(lambda: several.parse(words))[0] == "HIL-TRUST-08"


def test_views_are_learned_kept_and_used(cells: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, a, _ = cells
    shutil.copytree(a, tmp_path / "run")
    calibrate(tmp_path / "run", data, opinions="views")
    run = Run(tmp_path / "run")
    assert run.calibration is not None and run.calibration.opinions.kind == "views"
    case = look(data, "segment", 0).dataset.cases[0]
    predictor, plain = Trusted(run, maps=True), Predictor(run)
    result = predictor(case)
    prepared = plain.task.prepare(case, truth=False)
    opinions = [softmax(o, axis=0) for o in members.views(plain)(prepared)]
    logits, entropies = predictor.looked(prepared)
    np.testing.assert_allclose(softmax(logits.numpy(), axis=0), np.mean(opinions, axis=0), atol=1e-5)
    assert entropies is not None and entropies.members == len(opinions) > 3
    assert 0 < result.meta["disagreement"] < 1
    for name in ("doubt", "disagreement"):
        image = result[name].image
        assert image.shape == result["mask"].array.shape and 0 <= image.array.min() <= image.array.max() <= 1
    assert result["doubt"].image.array.mean() > result["disagreement"].image.array.mean()
    # the plain answer again
    calibrate(tmp_path / "run", data, opinions="one")
    assert "disagreement" not in Trusted(Run(tmp_path / "run"))(case).meta


def test_an_ensemble_is_one_run_and_one_bundle(cells: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, a, b = cells
    shutil.copytree(a, tmp_path / "run")
    calibrate(tmp_path / "run", data, others=[b])
    run = Run(tmp_path / "run")
    run.check_hashes()
    case = look(data, "segment", 0).dataset.cases[0]
    prepared = Predictor(run).task.prepare(case, truth=False)
    alone = [softmax(Predictor(Run(path)).logits(prepared).numpy(), axis=0) for path in (a, b)]
    logits, _ = Trusted(run).looked(prepared)
    np.testing.assert_allclose(softmax(logits.numpy(), axis=0), np.mean(alone, axis=0), atol=1e-5)
    assert run.ledger()[-1]["with"] == ["b"]
    bundle(run.path, tmp_path / "both.hilum")
    verify(tmp_path / "both.hilum")
    again = Trusted(Run(tmp_path / "both.hilum"))(case)
    np.testing.assert_array_equal(again["mask"].array, Trusted(run)(case)["mask"].array)
    assert again.meta["disagreement"] > 0
    # where one opinion is asked for, the other network goes
    calibrate(run.path, data, opinions="one")
    assert [p.name for p in (run.path / "weights").iterdir()] == ["net.safetensors"]
    Run(run.path).check_hashes()


def test_what_is_not_given_stays_as_it_was(cells: tuple[Path, Path, Path], tmp_path: Path) -> None:
    """Every option fell back to its default, and the other networks of an ensemble were deleted without a word."""
    data, a, b = cells
    shutil.copytree(a, tmp_path / "run")

    def known() -> tuple[float, float | None, str, int]:
        made = Run(tmp_path / "run").calibration
        assert made is not None and made.gate is not None and made.wide is not None
        assert {made.gate.error} == {made.wide.risk, *(one.error for one in made.measured.values())}
        return made.gate.error, made.acceptable, made.opinions.kind, made.opinions.count

    calibrate(tmp_path / "run", data, error=0.3, runtime="torch-channels-last")
    found = calibrate(tmp_path / "run", data, acceptable=0.8)
    assert known() == (0.3, 0.8, "one", 1) and found["error"] == 0.3
    calibrate(tmp_path / "run", data, others=[b])
    assert known() == (0.3, 0.8, "ensemble", 2)
    calibrate(tmp_path / "run", data, error=0.2)
    assert known() == (0.2, 0.8, "ensemble", 2)
    run = Run(tmp_path / "run")
    run.check_hashes()
    assert run.read("weights/net.2.safetensors") == Run(b).read("weights/net.safetensors")
    last = run.ledger()[-1]
    assert (last["runtime"], last["with"], last["opinions"]["count"]) == ("torch-channels-last", ["b"], 2)
    assert Trusted(run)(look(data, "segment", 0).dataset.cases[0]).meta["disagreement"] > 0


def test_the_error_is_kept_whatever_promises_it() -> None:
    """A run of which no truth says what is wrong has no gate, and one of classes no wide masks."""
    sets, wide = Sets(error=0.3, threshold=None, groups=5), Wide(risk=0.3, thresholds={}, groups={})
    interval = Interval(unit="", error=0.3, groups=5, width=None)
    for promises in ({"sets": sets}, {"wide": wide}, {"measured": {"dice": interval}}):
        assert _error(Calibration.model_validate({"cases": 5, "groups": 5} | promises)) == 0.3
    assert _error(Calibration(cases=5, groups=5)) == learned.ERROR


@pytest.mark.parametrize("kind", ["views", "ensemble"])
def test_scores_of_a_classifier_are_the_mean_of_its_opinions_scaled_after(
    kind: str, slices: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    data, a, b = slices
    shutil.copytree(a, tmp_path / "run")
    calibrate(tmp_path / "run", data, **({"opinions": "views"} if kind == "views" else {"others": [b]}))
    known = Run(tmp_path / "run").calibration
    assert known is not None and (known.opinions.kind, known.scaling.method) == (kind, "none")
    # so few patients teach no scaling
    scaling = Scaling(method="vector", scale=[3.0, 3.5], bias=[0.5, -0.5])
    made = known.model_copy(update={"scaling": scaling})
    Run(tmp_path / "run").put({"calibration.json": made.model_dump_json().encode()})
    run = Run(tmp_path / "run")
    case = look(data, "classify", 0).dataset.cases[0]
    if kind == "views":
        plain = Predictor(run)
        opinions = [softmax(o) for o in members.views(plain)(plain.task.prepare(case, truth=False))]
    else:
        opinions = [Predictor(Run(path))(case)["scores"].vector() for path in (a, b)]
    mean = np.mean(opinions, axis=0)

    def scaled(chances: np.ndarray) -> np.ndarray:
        values: np.ndarray = softmax(np.multiply(scaling.scale, np.log(chances)) + scaling.bias)
        return values

    result = Trusted(run)(case)
    scores = result["scores"].vector()
    np.testing.assert_allclose(scores, scaled(mean), atol=1e-5)
    np.testing.assert_allclose(result.meta["raw"], mean, atol=1e-5)
    # they lie so far apart that another order, or one of them alone, is another answer
    others = [np.mean([scaled(o) for o in opinions], axis=0), *map(scaled, opinions)]
    assert min(np.abs(scores - other).max() for other in others) > 1e-3
    apart = (entr(mean).sum() - np.mean([entr(o).sum() for o in opinions])) / np.log(len(mean))
    assert 0 < result.meta["disagreement"] < 1 and result.meta["disagreement"] == pytest.approx(apart, abs=1e-5)
    bundle(run.path, tmp_path / "one.hilum")
    again = Trusted(Run(tmp_path / "one.hilum"))(case)
    np.testing.assert_allclose(again["scores"].vector(), scores, rtol=1e-6)
    assert again.meta == result.meta


def test_a_calibration_that_was_cut_short_can_be_made_again(
    cells: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    data, a, b = cells
    shutil.copytree(a, tmp_path / "run")
    calibrate(tmp_path / "run", data, others=[b])
    whole = Run(tmp_path / "run").hashes()

    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    def cut(files: dict[Path, bytes]) -> None:
        write_all(dict(list(files.items())[:-1]))
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr("hilum.core.atomic._finish", full)
        with pytest.raises(OSError, match="No space"):
            calibrate(tmp_path / "run", data)
        assert Run(tmp_path / "run").hashes() == whole, "what was there before is not touched"
        broken.undo()
        broken.setattr("hilum.core.run.write_all", cut)
        with pytest.raises(KeyboardInterrupt):
            calibrate(tmp_path / "run", data, error=0.2, others=[b])
    # nobody predicts with half of it
    assert code(lambda: Predictor(Run(tmp_path / "run")))[0] == "HIL-M05"
    # nor where it is taken up and cut off again: half of one and half of another are none
    assert code(lambda: calibrate(tmp_path / "run", tmp_path / "nothing"))[0].startswith("HIL-")
    assert "was cut short: what is not asked for now is as after training" in caplog.text
    left = Run(tmp_path / "run")
    left.check_hashes()
    assert left.calibration is None
    assert [p.name for p in (left.path / "weights").iterdir()] == ["net.safetensors"]
    calibrate(tmp_path / "run", data, others=[b])
    assert Run(tmp_path / "run").hashes() == whole
    # other damage is not passed over
    (tmp_path / "run" / "calibration.json").write_text("{}")
    with open(tmp_path / "run" / "split.csv", "a") as stream:
        stream.write("\n")
    assert code(lambda: calibrate(tmp_path / "run", data))[0] == "HIL-M05"


def test_dropout_is_learned_from_several_passes(cells: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, a, _ = cells
    shutil.copytree(a, tmp_path / "run")
    found = calibrate(tmp_path / "run", data, opinions="dropout:2")
    assert found["opinions"] == {"kind": "dropout", "count": 2, "seed": 0}
    case = look(data, "segment", 0).dataset.cases[0]
    one, two = (Trusted(Run(tmp_path / "run"), maps=True)(case) for _ in range(2))
    np.testing.assert_array_equal(one["mask"].array, two["mask"].array)
    assert one.meta == two.meta and one["disagreement"].image.array.max() > 0


def test_runs_that_make_no_ensemble_are_refused(
    cells: tuple[Path, Path, Path], trained: Trained, tmp_path: Path
) -> None:
    data, a, b = cells
    shutil.copytree(a, tmp_path / "run")
    before = Run(tmp_path / "run").hashes()
    for others in ([tmp_path / "run"], [b, b]):
        assert code(lambda others=others: calibrate(tmp_path / "run", data, others=others))[0] == "HIL-TRUST-08"
    assert code(lambda: calibrate(tmp_path / "run", data, opinions="views", others=[b]))[0] == "HIL-TRUST-08"
    shutil.copytree(b, tmp_path / "other")
    rows = list(csv.DictReader((b / "split.csv").read_text().splitlines()))
    assert {r["part"] for r in rows} == {"train", "val", "test"}
    text = (b / "split.csv").read_text().replace(",val,", ",_,").replace(",test,", ",val,").replace(",_,", ",test,")
    (tmp_path / "other" / "split.csv").write_text(text)
    Run(tmp_path / "other").write_manifest()
    found, words = code(lambda: calibrate(tmp_path / "run", data, others=[tmp_path / "other"]))
    assert found == "HIL-TRUST-07" and "differ in split," in words and "--set plan.seed" in words
    with pytest.raises(HilumError) as refused:
        ensemble.check(Run(a), [trained("classify")])
    assert refused.value.code == "HIL-TRUST-07" and "task" in str(refused.value)
    # nothing was left in the run
    assert Run(tmp_path / "run").hashes() == before


def test_a_run_that_the_first_one_does_not_answer_for_is_refused(
    cells: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    """Terms, beginning and images are read of the first run alone: by bundle --public, by the card, by evaluate."""
    _, a, b = cells

    def refused(name: str, terms: str = "", start: str | None = None, seen: dict[str, str] | None = None) -> str:
        shutil.copytree(b, tmp_path / name)
        plan = json.loads((b / "plan.json").read_text())
        plan["data"]["terms"] = terms or plan["data"].get("terms", "unknown")
        plan["learning"]["start"] = None if start is None else {"name": "old", "sha256": start}
        (tmp_path / name / "plan.json").write_text(json.dumps(plan))
        known = json.loads((b / "seen.json").read_text()) | (seen or {})
        (tmp_path / name / "seen.json").write_text(json.dumps(known))
        other = Run(tmp_path / name)
        other.write_manifest()
        found, words = code(lambda: ensemble.check(Run(a), [other]))
        assert found == "HIL-TRUST-07"
        return words

    assert "differ in the terms of their data, so" in refused("terms", terms="research only")
    assert "differ in the weights they began with, so" in refused("start", start="ab" * 32)
    assert "differ in the images they learned from, so" in refused("seen", seen={"cd" * 32: "train"})
    # what another one is judged on teaches nobody
    shutil.copytree(b, tmp_path / "judged")
    known = json.loads((b / "seen.json").read_text()) | {"ef" * 32: "test"}
    (tmp_path / "judged" / "seen.json").write_text(json.dumps(known))
    Run(tmp_path / "judged").write_manifest()
    ensemble.check(Run(a), [Run(tmp_path / "judged"), Run(b)])


def test_numbered_objects_have_one_opinion(tmp_path: Path) -> None:
    catalogue.load("hilum.data.phantoms", "cells").make(tmp_path / "data", 9, size=48, cells=5)
    (tmp_path / "data" / "dataset.yaml").write_text("labels: {cell: instances}\n")
    train(tmp_path / "data", "segment", tmp_path / "run", steps=2, settings=SMALL)
    found, words = code(lambda: calibrate(tmp_path / "run", tmp_path / "data", opinions="views"))
    assert found == "HIL-TRUST-09" and "depth" in words
    known = Run(tmp_path / "run").calibration
    assert known is not None and known.wide is None


def test_wide_masks_and_intervals_are_said_and_judged(cells: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, a, _ = cells
    known = Run(a).calibration
    assert known is not None and known.wide is not None and known.wide.thresholds["cell"] is not None
    assert set(known.measured) == {"area of cell", "dice"}
    evaluate(a, data, tmp_path / "evaluation")
    found = json.loads((tmp_path / "evaluation" / "trust.json").read_text())
    assert set(found["intervals"]) == {"area of cell", "dice"}
    assert 0 <= found["intervals"]["area of cell"]["coverage"] <= 1
    assert 0 <= found["wide"]["cell"]["missed"] <= 1 <= found["wide"]["cell"]["times as large"]
    page = (tmp_path / "evaluation" / "report.html").read_text()
    assert "Intervals that were said" in page and "where the mask is doubtful" in page


def test_prediction_writes_them_where_they_are_asked_for(cells: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, a, _ = cells
    shutil.copytree(a, tmp_path / "run")
    calibrate(tmp_path / "run", data, error=0.5)
    images = sorted((data / "images").iterdir())[:4]
    record = predict(tmp_path / "run", images, tmp_path / "out", wide=True, maps=True, order="doubt")
    done = next(iter(record["done"].values()))
    name = images[0].stem
    assert done["files"] == [f"{name}_mask.png", f"{name}_wide_cell.png", f"{name}_doubt.png"]
    assert done["measured"]["area of cell"]["low"] <= done["measured"]["area of cell"]["value"]
    rows = list(csv.DictReader((tmp_path / "out" / "measured.csv").read_text().splitlines()))
    assert {r["what"] for r in rows} == {"area of cell", "dice"} and len(rows) == 8
    # how sure, of how many patients, and what that rests on
    assert list(rows[0])[:6] == ["case", "what", "value", "low", "high", "unit"]
    known = Run(tmp_path / "run").calibration
    assert known is not None
    assert {(r["coverage"], r["patients"]) for r in rows} == {("0.5", str(known.measured["dice"].groups))}
    intervals, wides = json.loads((tmp_path / "out" / "predictions.json").read_text())["promises"]
    assert intervals.startswith("Promise: for at least 50 % of new patients a true value is in its interval")
    assert "exchangeable" in intervals and "misses at most 50 % of its voxels" in wides and "exchangeable" in wides
    work = list(csv.DictReader((tmp_path / "out" / "worklist.csv").read_text().splitlines()))
    order = [("person", "flag", "accept").index(r["decision"]) for r in work]
    assert order == sorted(order) and len(work) == 4


def test_the_worklist_is_by_arrival_unless_asked_otherwise(cells: tuple[Path, Path, Path], tmp_path: Path) -> None:
    data, a, _ = cells
    images = sorted((data / "images").iterdir())[:3]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    predict(a, [images[2], images[0], bad, images[1]], tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "worklist.csv").read_text().splitlines()))
    assert [r["case"] for r in rows] == [images[2].stem, images[0].stem, "bad", images[1].stem]
    assert rows[2]["decision"] == "person" and rows[2]["reasons"].startswith("No result")
    predict(a, [images[2], images[0], bad, images[1]], tmp_path / "sorted", order="doubt")
    first = next(csv.DictReader((tmp_path / "sorted" / "worklist.csv").read_text().splitlines()))
    assert first["decision"] == "person"


def test_what_a_run_can_not_give_is_refused(cells: tuple[Path, Path, Path], trained: Trained, tmp_path: Path) -> None:
    data, a, _ = cells
    image = sorted((data / "images").iterdir())[0]
    assert code(lambda: predict(a, [image], tmp_path / "out", order="size"))[0] == "HIL-INFER-11"
    classifier = trained("classify").path
    for asked in ({"wide": True}, {"maps": True}):
        assert code(lambda asked=asked: predict(classifier, [image], tmp_path / "out", **asked))[0] == "HIL-TRUST-22"
    assert not (tmp_path / "out").exists()
