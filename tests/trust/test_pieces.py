"""Whether only the largest piece of a class is kept is learned where it clearly helps, and then done everywhere."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from hilum.core.findings import Mask
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer.predictor import Predictor
from hilum.planning.planner import Prepared
from hilum.tasks import _task
from hilum.trust import learned, pieces
from hilum.trust.trusted import Trusted

Trained = Callable[[str], Run]
Ready = Callable[[str], Prepared]
NONE = np.zeros(20)


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        (np.linspace(0.0, 0.04, 20), True),
        (-np.linspace(0.0, 0.04, 20), False),
        (np.tile([0.03, -0.03], 10), False),
        (NONE, False),
        (np.linspace(0.0, 0.04, 9), False),
    ],
    ids=["gains", "loses", "both", "none", "few"],
)
def test_a_class_must_clearly_gain(values: np.ndarray, kept: bool) -> None:
    names, words = pieces.chosen([{"a": float(v)} for v in values], [str(n) for n in range(len(values))])
    assert names == (["a"] if kept else []) and len(words) == kept
    if kept:
        assert f"{values.mean():.4f}" in words[0] and "20 validation patients" in words[0]


def test_patients_count_and_not_their_images() -> None:
    """One patient with many images is one."""
    assert pieces.chosen([{"a": 0.1 + 0.001 * n} for n in range(40)], ["one"] * 40) == ([], [])


def test_a_class_that_only_some_have_is_judged_on_those() -> None:
    rows = [{"a": 0.01 + 0.0001 * n} if n % 2 else {"b": -0.1} for n in range(40)]
    assert pieces.chosen(rows, list(range(40)))[0] == ["a"]


def test_the_gain_is_that_of_the_dice(trained: Trained) -> None:
    """A false piece costs, a true one is missed; a class that a case has not is left out."""
    predictor = Predictor(trained("segment"))
    value, name = predictor.plan.classes[0].value, predictor.plan.classes[0].name
    truth = np.zeros((1, 20, 20, 20), dtype=np.int32)
    truth[0, 2:8, 2:8, 2:8] = value
    case = Case("a", "a", {"label": Image(truth, np.eye(4))})
    found = truth[0].copy()
    found[12:14, 12:14, 12:14] = value
    gain = pieces.gains(predictor.task, Mask(found, {value: name}), case)
    assert gain == {name: pytest.approx(1 - 2 * 216 / (216 + 216 + 8))}
    two = truth.copy()
    two[0, 12:14, 12:14, 12:14] = value
    case = Case("a", "a", {"label": Image(two, np.eye(4))})
    assert pieces.gains(predictor.task, Mask(found, {value: name}), case)[name] < 0


def test_values_in_the_label_files_may_be_others_than_those_of_the_classes(trained: Trained) -> None:
    plan = trained("segment").plan
    (first, *_), data = plan.classes, {**plan.data, "labels": {"lesion": 255}}
    one = plan.model_copy(update={"classes": [first.model_copy(update={"name": "lesion"})], "data": data})
    truth = np.zeros((1, 9, 9, 9), dtype=np.int32)
    truth[0, 2:5, 2:5, 2:5] = 255
    found = np.where(truth[0] > 0, first.value, 0)
    found[8, 8, 8] = first.value
    case = Case("a", "a", {"label": Image(truth, np.eye(4))})
    gain = pieces.gains(_task.load(one), Mask(found, {first.value: "lesion"}), case)
    assert gain == {"lesion": pytest.approx(1 - 2 * 27 / (27 + 28))}


def test_what_is_learned_is_kept_and_used(
    trained: Trained, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained("segment").path, tmp_path / "run")
    run, units = Run(tmp_path / "run"), ready("segment").units(trained("segment").plan)
    names = [c.name for c in run.plan.classes]
    monkeypatch.setattr(pieces, "chosen", lambda rows, groups: (names, [f"{len(rows)} cases"]))
    made = learned.write(run, units)
    assert made is not None and made.single == names and made.notes[0] == f"{made.cases} cases"
    case = next(c for c, p in units if p == "test")
    plain = Predictor(trained("segment"))
    plain.task.keep_largest(())
    before = _many(plain(case)["mask"].array)
    assert before > len(names), "this run finds small pieces, else nothing is shown here"
    plain.task.keep_largest(names)
    wanted = plain(case)["mask"].array
    # on the network's grid they are one each; on the image's own, what hangs by a corner may come apart
    assert _many(wanted) < before / 2
    for predictor in (Predictor(Run(run.path)), Trusted(Run(run.path))):
        np.testing.assert_array_equal(predictor(case)["mask"].array, wanted)
    monkeypatch.setattr(pieces, "chosen", lambda rows, groups: ([], []))
    again = learned.write(Run(run.path), units)
    assert again is not None and again.single == []


def _many(labels: np.ndarray) -> int:
    """Pieces of all classes."""
    return sum(ndimage.label(labels == v, np.ones((3, 3, 3)))[1] for v in np.unique(labels[labels > 0]))
