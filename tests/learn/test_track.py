"""Trackers: the rows of log.csv elsewhere too; a missing package is a sentence, a failing tracker costs no run."""

import contextlib
import csv
import importlib.util
import posixpath
import re
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hilum.core import catalogue
from hilum.core.errors import HilumError, Stopped
from hilum.core.plan import Plan
from hilum.learn import _track
from hilum.verbs.train import train

PlanOf = Callable[..., Plan]
ROW = {"step": 3, "seconds": 1.5, "rate": 0.1, "train loss": 2.0, "val psnr_db/zero-filled": 20.0}
VALUES = {k: v for k, v in ROW.items() if k != "step"}


def found(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    """Make these packages look installed, and no other tracker's."""
    honest = importlib.util.find_spec

    def spec(name: str, package: str | None = None) -> Any:
        if name in ("tensorboard", "mlflow"):
            return object() if name in packages else None
        return honest(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", spec)


@pytest.mark.parametrize("name", list(catalogue.cards(_track.PACKAGE)))
def test_a_missing_package_is_refused_before_any_work(
    name: str, data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found(monkeypatch)
    with pytest.raises(HilumError) as error:
        train(data("classify"), "classify", tmp_path / "run", steps=2, track=name)
    assert error.value.code == "HIL-LEARN-05" and 'pip install -c constraints.txt -e ".[' in error.value.remedy
    assert not (tmp_path / "run").exists()


def test_an_unknown_tracker_is_refused_with_near_names() -> None:
    with pytest.raises(HilumError) as error:
        _track.check("tensorbord")
    assert error.value.code == "HIL-CORE-02" and "tensorboard" in error.value.remedy


def test_no_tracker_is_asked_for_unless_named(tmp_path: Path, plan_of: PlanOf) -> None:
    trackers = _track.Trackers(tmp_path, None)
    trackers.round(ROW, plan_of("classify"))
    assert not trackers.open and not list(tmp_path.iterdir())


def test_a_tracker_that_fails_is_left_out_with_a_warning(
    tmp_path: Path, plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # what it raises is swallowed, so what it was asked is counted
    plan, rows, closed = plan_of("classify"), list[int](), list[object]()

    class Broken:
        def __init__(self, *_: Any) -> None:
            pass

        def row(self, step: int, values: dict[str, float]) -> None:
            rows.append(step)
            raise OSError("the disk is away")

        def close(self) -> None:
            closed.append(self)

    found(monkeypatch, "tensorboard")
    trackers = _track.Trackers(tmp_path, "tensorboard")
    monkeypatch.setattr(catalogue, "load", lambda *_: types.SimpleNamespace(Tracker=Broken))
    for step in (3, 6):
        trackers.round(ROW | {"step": step}, plan)
    trackers.close()
    assert rows == [3] and closed == [] and not trackers.open
    (told,) = [r.message for r in caplog.records if "left out" in r.message]
    assert "tensorboard" in told and "the disk is away" in told


class Client:
    """What of MLflow's client is used here, kept in memory."""

    runs: list[Any] = []  # noqa: RUF012 - one store for all clients, as the database is
    params: dict[str, str] = {}  # noqa: RUF012
    metrics: list[tuple[str, float, int]] = []  # noqa: RUF012
    files: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, tracking_uri: str) -> None:
        assert tracking_uri.startswith("sqlite:///")

    def get_experiment_by_name(self, name: str) -> Any:
        return types.SimpleNamespace(experiment_id="1") if self.runs else None

    def create_experiment(self, name: str, artifact_location: str) -> str:
        assert artifact_location.startswith("file://")
        return "1"

    def search_runs(self, ids: list[str]) -> list[Any]:
        return self.runs

    def create_run(self, experiment: str, run_name: str) -> Any:
        self.runs.append(types.SimpleNamespace(info=types.SimpleNamespace(run_id="a")))
        return self.runs[0]

    def update_run(self, run: str, status: str) -> None:
        assert (run, status) == ("a", "RUNNING")

    def get_metric_history(self, run: str, name: str) -> list[Any]:
        return [types.SimpleNamespace(step=s) for n, _, s in self.metrics if n == name]

    def log_text(self, run: str, text: str, name: str) -> None:
        self.files[name] = text

    def log_param(self, run: str, name: str, value: str) -> None:
        assert re.fullmatch(r"[/\w.\- ]{1,250}", name) and posixpath.normpath(name) == name, name
        assert len(value) <= 500
        self.params[name] = value

    def log_metric(self, run: str, name: str, value: float, step: int) -> None:
        self.metrics.append((name, value, step))

    def set_terminated(self, run: str, status: str) -> None:
        self.runs[0].status = status


def pretend(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is there, with nothing in its store."""
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    fake = types.ModuleType("mlflow.tracking")
    fake.MlflowClient = Client  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "mlflow", types.ModuleType("mlflow"))
    monkeypatch.setitem(sys.modules, "mlflow.tracking", fake)
    for name in ("runs", "params", "metrics", "files"):
        monkeypatch.setattr(Client, name, type(getattr(Client, name))())
    found(monkeypatch, "mlflow")


def test_mlflow_gets_classes_of_any_name(
    tmp_path: Path, plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pretend(monkeypatch)
    labels = {"tumour (left), part": 1, "a//b/": 2, "Gefäß": 3, "x" * 300: 4}
    trackers = _track.Trackers(tmp_path, "mlflow")
    trackers.round(ROW, plan_of("classify", **{"data.labels": labels}))
    trackers.close()
    assert "left out" not in caplog.text and len(Client.metrics) == len(VALUES)
    found = {name: value for name, value in Client.params.items() if name.startswith("data.labels.")}
    assert list(found.values()) == ["1", "2", "3", "4"]
    assert list(found)[:3] == ["data.labels.tumour _left__ part", "data.labels.a__b_", "data.labels.Gefäß"]


def test_mlflow_gets_the_columns_and_the_plan_and_no_row_twice(
    tmp_path: Path, plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    pretend(monkeypatch)
    plan = plan_of("classify")
    for steps in ((3, 6), (6, 9)):
        # the second time is a resumed run that gives step 6 again
        trackers = _track.Trackers(tmp_path, "mlflow")
        for step in steps:
            trackers.round(ROW | {"step": step}, plan)
        trackers.close()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert [s for n, _, s in Client.metrics if n == "rate"] == [3, 6, 9]
    assert {n for n, *_ in Client.metrics} == VALUES.keys() and len(Client.runs) == 1
    assert Client.params["task"] == "classify" and Client.params["learning.rate"]
    assert Plan.model_validate_json(Client.files["plan.json"]) == plan


@pytest.mark.parametrize("how", ["FINISHED", "FAILED", "KILLED"])
def test_mlflow_is_told_how_the_run_ended(
    how: str, plan_of: PlanOf, ready: Callable[[str], Any], begin: Callable[..., Any], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """It called every run FINISHED, one whose loss became no number too."""
    pretend(monkeypatch)

    def tell(name: str, done: int, *_: Any) -> None:
        if how == "KILLED" and (name, done) == ("train", 3):
            raise Stopped(15, "after step 3")

    training = begin(tmp_path / "run", plan_of("classify", 4), ready("classify"), tell, track="mlflow")
    honest = training.regime.step

    def step(state: Any, batch: Any, k: int, update: Any) -> Any:
        broken = how == "FAILED" and k == 2
        return honest(state, batch, k, lambda name, loss: update(name, loss * float("nan") if broken else loss))

    monkeypatch.setattr(training.regime, "step", step)
    ends = {"FAILED": pytest.raises(HilumError, match="HIL-T06"), "KILLED": pytest.raises(Stopped)}
    with ends.get(how, contextlib.nullcontext()):
        training.run(False)
    assert Client.runs[0].status == how and Client.metrics


def test_tensorboard_gets_the_columns_of_the_log_and_the_plan(
    data: Callable[[str], Path], plan_of: PlanOf, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    plan_of("classify", 4).write(tmp_path / "plan.json")
    run = train(data("classify"), "classify", tmp_path / "run", plan=tmp_path / "plan.json", track="tensorboard")
    with open(run.path / "log.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    seen = EventAccumulator(str(run.path / "tensorboard"))
    seen.Reload()
    assert set(seen.Tags()["scalars"]) == set(rows[0]) - {"step"}
    for column in seen.Tags()["scalars"]:
        events = seen.Scalars(column)
        assert [e.step for e in events] == [int(r["step"]) for r in rows]
        assert [e.value for e in events] == pytest.approx([float(r[column]) for r in rows], rel=1e-6)
    plan = seen.Tensors("plan/text_summary")[0].tensor_proto.string_val[0].decode()
    assert '"task": "classify"' in plan
