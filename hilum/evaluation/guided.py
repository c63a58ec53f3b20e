"""A model judged where another one said to look (`--coarse`): how many windows were left to be looked at."""

from collections.abc import Mapping
from typing import Any

from hilum.core.findings import Result
from hilum.core.image import Case
from hilum.core.run import Run
from hilum.infer.predictor import Predictor


class Guided:
    """Called with every case and its result (`judge_all`'s watch). coarse: the model that guides."""

    def __init__(self, predictor: Predictor, coarse: Run) -> None:
        self.predictor, self.coarse = predictor, coarse
        self.looked, self.of, self.whole, self.cases = 0, 0, 0, 0

    def __call__(self, case: Case, result: Result) -> None:
        by = self.predictor.guided_by
        # of a system, by network
        rows: list[Mapping[str, Any]] = [by] if "of" in by else list(by.values())
        self.looked += sum(row["windows"] for row in rows)
        self.of += sum(row["of"] for row in rows)
        self.whole += all("whole" in row for row in rows)
        self.cases += 1

    def summary(self) -> dict[str, Any]:
        """{"coarse": ...} of metrics.json: hashes of the model that guided, windows looked at, of how many, and cases
        in which the whole image was looked at."""
        return {"coarse": {"hashes": self.coarse.hashes(), "windows": self.looked, "of": self.of, "whole": self.whole}}

    def sentence(self) -> str:
        """For the report."""
        return (
            f"Judged with another model that said where to look (--coarse): {self.looked} windows were looked at of "
            f"{self.of}; in {self.whole} of {self.cases} cases the whole image was. Intervals and limits of the gate "
            "were learned of whole images, and how sure masks are voxel by voxel is not judged."
        )
