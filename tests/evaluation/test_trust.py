"""What the gate and the sets did is told of patients, as it was promised of them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from hilum.core.calibration import Calibration, Gate, Scaling, Sets
from hilum.evaluation import trust
from hilum.evaluation.trust import Answer
from hilum.pictures.page import Page
from hilum.tasks._task import Judged

KNOWN = Calibration(cases=9, groups=9, sets=Sets(error=0.1, threshold=0.5, groups=9))
GATE = Gate(error=0.1, measure="doubt", wrong="the class is wrong", accept=0.2, person=0.9, groups=9, rate=1)


def answered(groups: str, wrong: str) -> list[Answer]:
    """Accepted answers to two classes, one per letter, of these patients; those of `wrong` are all wrong."""
    found = []
    for number, group in enumerate(groups):
        truth, sure = number % 2, 0.7 + 0.01 * number
        place = 1 - truth if group in wrong else truth
        chances = np.full(2, 1 - sure)
        chances[place] = sure
        meta = {"doubt": 1 - sure, "raw": chances.tolist(), "set": ["xy"[place]]}
        bad = group in wrong
        found.append(Answer(Judged(f"c{number}", group, {}, (chances, truth)), "accept", meta, float(bad), bad))
    return found


def test_a_patient_with_many_cases_counts_once() -> None:
    found = trust.summary(KNOWN, answered("aaaaaaaaabcd", "bcd"), ["x", "y"])
    # 3 of 12 cases, and 3 of 4 patients
    assert found["gate"]["decisions"]["accept"] == {"cases": 12, "wrong": 3}
    assert found["gate"]["accepted and wrong"]["mean"] == pytest.approx(0.75)
    assert found["sets"]["coverage"] == pytest.approx(0.25) and found["groups"] == 4
    page = Page("x")
    trust.section(page, KNOWN, found)
    html = page.html()
    assert "Accepted and wrong: 75.0 % of cases" in html and "mean over 4 groups" in html
    assert "25.0 % of cases, mean over groups" in html and "are to be expected of 4 groups" in html


def test_cases_of_one_patient_are_no_independent_chances() -> None:
    alone = trust.summary(KNOWN, answered("abcdefghijkl", "b"), ["x", "y"])["calibration"]["ece scaled"]
    found = trust.summary(KNOWN, answered("aaabbbcccddd", "b"), ["x", "y"])["calibration"]["ece scaled"]
    assert found["together"] and not alone["together"] and found["limit"] > alone["limit"]
    page = Page("x")
    trust.section(page, KNOWN, trust.summary(KNOWN, answered("aaabbbcccddd", "b"), ["x", "y"]))
    assert "whose answers to one group are right or wrong together, shows" in page.html()


def test_bins_of_classes_know_of_patients() -> None:
    alone = trust.summary(KNOWN, answered("abcdefghijkl", "b"), ["x", "y"])["calibration"]
    found = trust.summary(KNOWN, answered("aaabbbcccddd", "b"), ["x", "y"])["calibration"]
    for name in ("bins raw", "bins scaled"):
        assert all(row[5] is not None and row[6] is not None for row in alone[name] if row[2])
        # four patients
        assert all(row[5] is None and row[6] is None for row in found[name])


def test_the_site_with_the_lowest_coverage_is_named_where_all_cases_have_one() -> None:
    found = answered("abcdefghijklmnopqrstuvwx", "opq")
    sites = {f"c{k}": "north" if k < 12 else "south" for k in range(24)}
    told = trust.summary(KNOWN, found, ["x", "y"], sites=sites)
    assert (told["sets"]["worst site"], told["sets"]["its coverage"]) == ("south", 0.75)
    page = Page("x")
    trust.section(page, KNOWN, told)
    assert "south has the lowest coverage: 75.0 % of its cases" in page.html()
    for less in ({}, sites | {"c3": ""}, {name: name for name in sites}):
        assert "worst site" not in trust.summary(KNOWN, found, ["x", "y"], sites=less)["sets"]


def told(known: Calibration, found: list[Answer]) -> tuple[dict[str, Any], str]:
    """trust.json and the report's words."""
    made, page = trust.summary(known, found, ["x", "y"]), Page("x")
    trust.section(page, known, made)
    return made, page.html()


def test_the_gate_is_judged_beside_what_it_promised() -> None:
    """24 % accepted and wrong stood there without a word of the 10 % that were promised."""
    known = KNOWN.model_copy(update={"gate": GATE})
    found, html = told(known, answered("abcdefghijkl", "bcd"))
    words = (
        "Promise: for patients drawn like the 9 of validation, at most 10 % of results are accepted and wrong (the "
        "class is wrong), on average"
    )
    assert (found["gate"]["error"], found["gate"]["groups"]) == (0.1, 9)
    assert found["gate"]["guarantee"] == f"{words}." and f"mean over 12 groups. {words}." in html
    scaled = known.model_copy(update={"scaling": Scaling(method="temperature", scale=[0.5])})
    found, html = told(scaled, answered("abcdefghijkl", "bcd"))
    assert f"{words}, if the scaling of probabilities, fitted on these patients too, does" in html
    assert "; and the scaling of probabilities, fitted on these patients too, does" in found["sets"]["guarantee"]
    # nothing can be accepted, and nothing is promised of it
    shut = KNOWN.model_copy(update={"gate": GATE.model_copy(update={"accept": None})})
    assert told(shut, answered("abcdefghijkl", "bcd"))[0]["gate"]["guarantee"] is None


def test_where_nothing_was_accepted_no_share_of_it_is_told() -> None:
    """It said 0.0 % of cases, with an interval up to 13.9 %."""
    found, html = told(KNOWN, [replace(a, decision="flag") for a in answered("abcdefghijkl", "bcd")])
    assert found["gate"]["decisions"]["accept"]["cases"] == 0
    assert "Nothing was accepted, so nothing accepted could be wrong." in html and "Accepted and wrong:" not in html


def test_referral_says_how_many_of_how_many_cases_it_sent() -> None:
    found, html = told(KNOWN, answered("abcdefg", "a"))
    assert (found["referral"]["n"], found["referral"]["referred"]) == (7, 1)
    assert "Sending the 1 least certain of 7 cases to a person changes the mean loss from 0.1429 to 0.0000" in html
    # a fifth of them is nobody
    found, html = told(KNOWN, answered("abcd", "a"))
    assert found["referral"]["referred"] == 0 and "Sending the" not in html
    assert "20 % of the cases (4 in all) is less than one: what it is worth" in html


def test_of_one_patient_no_share_of_patients_is_told() -> None:
    found, html = told(KNOWN, answered("aaaaaa", ""))
    assert found["groups"] == 1 and "1 groups" not in html and "Accepted and wrong:" not in html
    assert "can not be told how often sets hold the true class. Sets have 1.00 classes" in html
    assert "can not be told how often one is accepted and wrong" in html
