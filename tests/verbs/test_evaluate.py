"""cases.csv: one row per case; a classification keeps every probability, to the last digit."""

import numpy as np

from hilum.core.image import Case
from hilum.evaluation.evaluator import Evaluation
from hilum.tasks._task import Judged
from hilum.verbs.evaluate import _case_rows


def test_a_classification_keeps_probabilities_also_of_what_is_missing() -> None:
    third = 1 / 3
    judged = Judged("a", "patient", {}, (np.array([third, 1 - third]), 1))
    lost = Judged("b", "b", {}, (np.array([0.0, 1.0]), 0))
    done = Evaluation([judged], [(Case("b", "b", {}), "it is damaged")], headline="accuracy", lost=[lost])
    rows = _case_rows(done, ["healthy", "ill"])
    assert [(r["case"], r["group"], r["missing"], r["truth"]) for r in rows] == [
        ("a", "patient", "", "ill"), ("b", "b", "it is damaged", "healthy"),
    ]  # fmt: skip
    assert float(rows[0]["p healthy"]) == third and (rows[1]["p healthy"], rows[1]["p ill"]) == ("0.0", "1.0")
    assert [r["headline"] for r in rows] == ["1.000000", "0.000000"]


def test_other_tasks_have_no_probabilities() -> None:
    done = Evaluation([Judged("a", "a", {"dice": {"": 0.5}}, "something else")], [], headline="dice")
    assert _case_rows(done, []) == [
        {"case": "a", "group": "a", "missing": "", "headline": "0.500000", "dice": "0.500000"}
    ]
