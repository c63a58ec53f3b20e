"""Patients of other data are compared with those that a run learned from, by their keys."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.data.dataset import open_dataset
from hilum.data.groups import group_cases
from hilum.evaluation._met_before import sentences
from hilum.infer import bundle
from hilum.io import dicom


def run(groups: dict[str, str], grouping: str = "patient") -> Any:
    """A run with these groups: {key: part}."""
    rows = [{"case": key, "group": key, "part": part} for key, part in groups.items()]
    plan = SimpleNamespace(data={"grouping": grouping})
    return SimpleNamespace(plan=plan, split=lambda: rows, has=lambda name: True, is_bundle=False)


def cases(*groups: str) -> list[Case]:
    return [Case(f"scan {number}", group, {}) for number, group in enumerate(groups)]


def test_patients_of_train_and_val_are_counted_and_those_of_test_are_not() -> None:
    own = run({"001": "train", "002": "val", "003": "test"})
    (alarm,), notes = sentences(own, cases("001", "001", "002", "003", "004"), "patient")
    assert alarm.startswith("HIL-EVAL-05: 2 of 4 patients") and "('001', '002')" in alarm and not notes
    assert sentences(own, cases("003", "004"), "patient") == ([], [])


@pytest.mark.parametrize(("here", "there"), [("similarity", "patient"), ("patient", "case")])
def test_where_patients_are_unknown_that_it_can_not_be_known_is_said(here: str, there: str) -> None:
    """A group of look-alikes is called by a case, and that is nobody's name."""
    alarms, (note,) = sentences(run({"001": "train"}, there), cases("001"), here)
    assert not alarms and "can not be known: patients of these data, or of its own, are unknown." in note


def test_where_pairs_join_patients_nobody_knows_who_is_among_them() -> None:
    """A group of p1 and p2 has the key of p1, in train; pairs of the other parts join nobody."""
    own = run({"p1": "train", "p3": "val"})
    own.split()[1]["moving"] = "p3_b"
    assert sentences(own, cases("p2"), "patient") == ([], [])
    own.split()[0]["moving"] = "p2_a"
    alarms, (note,) = sentences(own, cases("p2"), "patient")
    assert not alarms and note.endswith(
        "can not be known: its pairs join several of its patients under the key of one."
    )
    assert len(sentences(own, cases("p1"), "patient")[0]) == 1


def test_a_bundle_keeps_no_patients_and_says_so(trained: Callable[[str], Run], tmp_path: Path) -> None:
    bundle.write(trained("segment"), tmp_path / "model.hilum")
    alarms, (note,) = sentences(Run(tmp_path / "model.hilum"), cases("001"), "patient")
    assert not alarms and note.endswith("can not be known: a bundle keeps no patients.")


def test_a_dicom_patient_has_one_key_in_two_folders(tmp_path: Path) -> None:
    """The scans of another year, of which no image is the same."""
    keys: dict[str, list[str]] = {}
    for year, people in (("first", ("p1", "p2")), ("later", ("p1", "p3"))):
        for number, patient in enumerate(people):
            array = np.random.default_rng([len(keys), number]).integers(0, 900, (1, 8, 6, 4)).astype(np.int16)
            tags = {"Modality": "MR", "PatientID": patient, "StudyInstanceUID": f"1.2.{len(keys)}.{number + 1}"}
            image = Image(array, np.diag([-1.0, -1.5, 2.0, 1.0]))
            dicom.write_series(tmp_path / year / patient, image, {**tags, "SeriesNumber": 1})
        grouped, how = group_cases(open_dataset(tmp_path / year))
        assert how == "patient"
        keys[year] = [case.group for case in grouped.cases]
    (alarm,), _ = sentences(run(dict.fromkeys(keys["first"], "train")), cases(*keys["later"]), "patient")
    assert alarm.startswith("HIL-EVAL-05: 1 of 2 patients") and "p1" not in alarm
