"""A mirrored output and a class that the frame gives away are both caught, and honest models are left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from hilum.core.findings import Mask, Result
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.evaluation.bootstrap import Estimate
from hilum.evaluation.checks import Mirrors, _balanced, _words, frame_alone
from hilum.infer.predictor import Predictor
from hilum.planning.planner import look
from hilum.tasks import _task
from hilum.tasks._labels import stored
from hilum.tasks._task import Judged
from hilum.verbs.evaluate import evaluate
from hilum.verbs.train import train

Trained = Callable[[str], Run]
Data = Callable[[str], Path]


def test_a_mirrored_output_is_caught(trained: Trained, data: Data) -> None:
    task = _task.load(trained("segment").plan)
    cases = look(data("segment"), "segment", 0).dataset.cases
    for axis in (None, 0, 2):
        mirrors = Mirrors(task)
        for case in cases:
            truth = stored(case).array[0]
            # not in the middle, so that a mirrored mask lies elsewhere
            mirrors(case, Result({"mask": Mask(truth if axis is None else np.flip(truth, axis), {})}))
        said = mirrors.sentence()
        assert (said is None) == (axis is None)
        if axis is not None:
            assert said is not None and f"along axis {axis}" in said


def framed(folder: Path, give_away: bool) -> None:
    """Two classes of noise with a disc: bright frame and dark frame, or a bright and a dark disc."""
    rng = np.random.default_rng(0)
    ways = np.hypot(*np.mgrid[-1:1:48j, -1:1:48j]) < 0.5
    for number in range(60):
        image = rng.normal(100, 10, (48, 48))
        sign = 60 if number % 2 else -60
        if give_away:
            image[:4] += sign
        else:
            image[ways] += sign
        path = folder / ("one" if number % 2 else "two") / f"{number:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)


@pytest.mark.parametrize("give_away", [True, False])
def test_a_class_that_the_frame_gives_away_is_caught(give_away: bool, tmp_path: Path) -> None:
    framed(tmp_path / "data", give_away)
    settings = {"width": 8, "plan.batch": 8, "learning.rounds": 1, "plan.augment": [], "learning.rate": 3e-3}
    run = train(tmp_path / "data", "classify", tmp_path / "run", steps=40, settings=settings)
    cases = [c for c, _ in look(tmp_path / "data", "classify", 0).units(run.plan)]
    found = frame_alone(Predictor(run), cases)
    assert found is not None and found["gives away"] is give_away
    evaluate(tmp_path / "run", tmp_path / "data", tmp_path / "out")
    assert "From the frame of the images alone" in (tmp_path / "out" / "report.html").read_text()


def test_other_tasks_have_no_frame_to_look_at(trained: Trained, data: Data) -> None:
    run = trained("segment")
    cases = [c for c, _ in look(data("segment"), "segment", 0).units(run.plan)]
    assert frame_alone(Predictor(run), cases) is None


def test_a_model_that_answers_alike_shows_nothing_about_the_frame() -> None:
    row = {"mean": 1 / 3, "low": 1 / 3, "high": 1 / 3, "chance": 1 / 3, "cases": 9}
    assert "neither" in _words(row | {"answers": 1}) and "no sign" not in _words(row | {"answers": 1})
    assert "no sign" in _words(row | {"answers": 2})


def test_of_few_groups_it_is_said_that_the_frame_was_not_judged(
    trained: Trained, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("classify")
    cases = [c for c, _ in look(data("classify"), "classify", 0).units(run.plan)][:3]
    monkeypatch.setattr("hilum.evaluation.checks._balanced", lambda _: Estimate(0.5, None, None, 3, 3))
    found = frame_alone(Predictor(run), cases)
    assert found is not None and found["gives away"] is False
    assert found["sentence"].endswith("it takes 6 independent groups of every class, and of one these cases make 3.")


def test_the_frame_is_judged_by_the_groups_of_the_rarest_class() -> None:
    """Forty controls answered at random and four of the other class, all right by chance: that shows nothing."""
    rng = np.random.default_rng(0)

    def answered(count: int, truth: int, right: float) -> list[Judged]:
        answers = [np.eye(2)[truth if rng.random() < right else 1 - truth] for _ in range(count)]
        return [Judged(f"{truth}{n}", f"{truth}{n}", {}, (row, truth)) for n, row in enumerate(answers)]

    few = _balanced(answered(40, 0, 0.4) + answered(4, 1, 1.0))
    assert few.mean is not None and few.mean > 0.55 and few.groups == 4 and few.low is None
    # eight of eight rule out no more than the exact binomial limit does
    more = _balanced(answered(40, 0, 0.5) + answered(8, 1, 1.0))
    assert more.low is not None and more.low < 0.6
    assert _balanced([]).mean is None
    # and where all are right the interval is no point: guessing does that for two of each class once in sixteen times
    all_right = _balanced(answered(8, 0, 1.0) + answered(8, 1, 1.0))
    assert all_right.mean == 1 and all_right.low == pytest.approx(0.025 ** (1 / 8))


def test_few_answers_that_are_all_right_are_no_sign(
    trained: Trained, data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trained("classify")
    cases = [c for c, _ in look(data("classify"), "classify", 0).units(run.plan)][:4]
    monkeypatch.setattr("hilum.evaluation.checks._balanced", lambda _: Estimate(1.0, 1.0, 1.0, 4, 2))
    found = frame_alone(Predictor(run), cases)
    assert found is not None and not found["gives away"] and "could not be judged" in found["sentence"]


def test_any_error_costs_the_case_that_it_meets(trained: Trained, data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = trained("classify"), list[str]()
    cases = [c for c, _ in look(data("classify"), "classify", 0).units(run.plan)]
    opinion = Predictor.opinion

    def failing(self: Predictor, case: Case, *rest: Any) -> Any:
        seen.append(case.id)
        if len(seen) == 1:
            raise MemoryError
        return opinion(self, case, *rest)

    monkeypatch.setattr(Predictor, "opinion", failing)
    assert frame_alone(Predictor(run), cases) is not None and len(seen) == len(cases)
