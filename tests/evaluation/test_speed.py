"""Speed is measured around the call of the predictor: the first case warms up, lost ones are left out."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Case
from hilum.evaluation import evaluator
from hilum.evaluation.evaluator import Evaluation, judge_all, measure
from hilum.tasks._task import Judged
from hilum.verbs.evaluate import _case_rows


class Clocked:
    """A predictor that takes the seconds it is told; judging takes an hour."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds, self.now = seconds, 100.0
        plan = SimpleNamespace(classes=[], data={})
        self.task: Any = SimpleNamespace(metrics=["dice"], judge=self._judge, missed=lambda case: None, plan=plan)

    def __call__(self, case: Case) -> Result:
        if case.id not in self.seconds:
            raise HilumError("HIL-DATA-08", f"{case.id} can not be read", "Mend it")
        self.now += self.seconds[case.id]
        return Result({})

    def _judge(self, result: Result, case: Case) -> Judged:
        self.now += 3600
        return Judged(case.id, case.group, {"dice": {"a": 0.5}})


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Evaluation]:
    def judged(names: str, **seconds: float) -> Evaluation:
        clocked: Any = Clocked(seconds)
        monkeypatch.setattr(evaluator, "time", SimpleNamespace(perf_counter=lambda: clocked.now))
        return judge_all(clocked, [Case(n, n, {}) for n in names])

    return judged


def test_the_first_result_warms_up_and_lost_cases_have_no_time(run: Callable[..., Evaluation]) -> None:
    done = run("xabcy", a=9.0, b=1.0, c=3.0)
    assert list(done.metrics) == ["dice", "latency_s", "throughput"] and done.headline == "dice"
    latency, throughput = done.metrics["latency_s"], done.metrics["throughput"]
    assert (latency["mean"], latency["n"], latency["better"]) == (2.0, 2, "lower")
    assert (throughput["mean"], throughput["n"], throughput["better"]) == (0.5, 2, "higher")
    # two patients: what Student's t says, cut at 0 seconds; of a number of the whole set it says nothing
    assert (latency["low"], latency["high"]) == (0, pytest.approx(2 + 12.706205, abs=1e-5))
    assert throughput["low"] is None and throughput["high"] is None
    rows = {row["case"]: row.get("latency_s") for row in _case_rows(done, [])}
    assert rows == {"a": "", "b": "1.000000", "c": "3.000000", "x": None, "y": None}


def test_one_case_has_no_speed(run: Callable[..., Evaluation]) -> None:
    done = run("a", a=9.0)
    for name in ("latency_s", "throughput"):
        assert done.metrics[name]["mean"] is None and done.metrics[name]["n"] == 0


def test_a_metric_with_its_window_in_the_name_is_measured() -> None:
    rows = [Judged(n, n, {"psnr_db@hu400": {"": v}}) for n, v in zip("abc", (20.0, 30.0, 40.0), strict=True)]
    row = measure("psnr_db@hu400", Evaluation(rows, [], headline="psnr_db@hu400"))
    assert row is not None and row["mean"] == 30 and row["better"] == "higher"
