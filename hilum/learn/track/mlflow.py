"""MLflow: a database and files in the run's folder `mlflow`; no server, no network.

Look at it with: mlflow ui --backend-store-uri sqlite:///RUN/mlflow/mlflow.db
"""

import os
import re
from pathlib import Path
from typing import Any

from hilum.core.plan import Plan
from hilum.learn._track import Ended

CARD = {"about": "a local MLflow database", "package": "mlflow", "extra": "mlflow"}

LONGEST = 500
# Characters of a parameter; the plan lies beside them whole.
NAME = 250
# Characters of a parameter's name.
STRANGE = re.compile(r"[^\w\-. ]")
# What MLflow takes in no name, such as that of a class; and a slash, which must make sense as a path.


class Tracker:
    """One MLflow run: metrics by the columns of log.csv, the plan as parameters and as a file."""

    def __init__(self, folder: Path, plan: Plan, step: int) -> None:
        # MLflow reports its use over the network unless told otherwise before it is imported
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        from mlflow.tracking import MlflowClient

        home = folder.resolve() / "mlflow"
        home.mkdir(exist_ok=True)
        self.client: Any = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow.db'}")
        known = self.client.get_experiment_by_name("hilum")
        runs = self.client.search_runs([known.experiment_id]) if known else []
        if runs:
            # resumed: rows that are there already are the same again, bit for bit
            self.run = runs[0].info.run_id
            self.last = max([m.step for m in self.client.get_metric_history(self.run, "seconds")], default=0)
            self.client.update_run(self.run, "RUNNING")
            return
        where = (home / "files").as_uri()
        experiment = known.experiment_id if known else self.client.create_experiment("hilum", artifact_location=where)
        self.run, self.last = self.client.create_run(experiment, run_name=folder.resolve().name).info.run_id, 0
        self.client.log_text(self.run, plan.text(), "plan.json")
        for name, value in flat(plan.model_dump(mode="json")).items():
            self.client.log_param(self.run, name, value)

    def row(self, step: int, values: dict[str, float]) -> None:
        for name, value in values.items() if step > self.last else ():
            self.client.log_metric(self.run, name, value, step=step)

    def close(self, ended: Ended) -> None:
        self.client.set_terminated(self.run, status=ended.upper())


def flat(value: Any, at: str = "") -> dict[str, str]:
    """Nested plain data by dotted names as MLflow takes them; lists and long words as short text."""
    if isinstance(value, dict):
        return {k: v for name, inner in value.items() for k, v in flat(inner, f"{at}.{name}" if at else name).items()}
    return {STRANGE.sub("_", at)[:NAME]: str(value)[:LONGEST]}
