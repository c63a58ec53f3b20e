"""MLflow itself, where it is installed (nothing installs it for tests): what was tracked is read back from it."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.core.plan import Plan

SCRIPT = """
import json, os, sys
from pathlib import Path
from hilum.core.plan import Plan
from hilum.learn import _track

folder, plan = Path(sys.argv[1]), Plan.read(Path(sys.argv[2]))
for steps in ((3, 6), (6, 9)):
    trackers = _track.Trackers(folder, "mlflow")
    for step in steps:
        trackers.round({"step": step, "seconds": step / 2, "val dice/left part": 1 / step}, plan)
    assert list(trackers.open) == ["mlflow"], "it failed and was left out"
    trackers.close()
assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"

from mlflow.tracking import MlflowClient
client = MlflowClient(tracking_uri=f"sqlite:///{folder.resolve() / 'mlflow' / 'mlflow.db'}")
(run,) = client.search_runs([client.get_experiment_by_name("hilum").experiment_id])
found = {"status": run.info.status, "task": run.data.params["task"], "names": sorted(run.data.metrics)}
for name in found["names"]:
    found[name] = sorted([m.step, m.value] for m in client.get_metric_history(run.info.run_id, name))
Path(sys.argv[3]).write_text(json.dumps(found))
"""
# In a process of its own: MLflow sets up logging for all of a process, and its packages warn of each other.


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_gives_back_values_and_steps_and_no_row_twice(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    folder, plan = tmp_path / "run", plan_of("classify")
    folder.mkdir()
    plan.write(tmp_path / "plan.json")
    words = [sys.executable, "-c", SCRIPT, str(folder), str(tmp_path / "plan.json"), str(tmp_path / "found.json")]
    # of this tree, from another folder: MLflow may leave folders of its own where it is called
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path, env=env)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    # the second time is a resumed run that gives step 6 again
    assert found["seconds"] == [[step, step / 2] for step in (3, 6, 9)]
    assert found["val dice/left part"] == [[step, 1 / step] for step in (3, 6, 9)]
    assert found["names"] == ["seconds", "val dice/left part"]
    assert (found["status"], found["task"]) == ("FINISHED", "classify")
    (kept,) = (folder / "mlflow" / "files").rglob("plan.json")
    assert Plan.read(kept) == plan
    assert [path.name for path in folder.iterdir()] == ["mlflow"]
