"""What trained the weights is on record: versions, our code and the machine, not those of when the plan was made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.run import Run
from hilum.evaluation.provenance import provenance
from hilum.learn import _loop, _record, _versions
from hilum.verbs.bundle import bundle
from hilum.verbs.train import train

Folder = Callable[[str], Path]
PlanOf = Callable[..., Plan]
Patch = pytest.MonkeyPatch
ELSEWHERE = {"versions": {"torch": "0.1"}, "machine": {"cores": 999, "accelerator": {"name": "Another card"}}}
# Where the plan was made.


class Cut(BaseException):
    """A process that is killed."""


def cut_at(step: int) -> Callable[..., None]:
    def tell(name: str, done: int, total: int, note: str = "") -> None:
        if (name, done) == ("train", step):
            raise Cut

    return tell


@pytest.fixture
def begun(data: Folder, plan_of: PlanOf, tmp_path: Path, monkeypatch: Patch) -> Callable[..., Run]:
    """begun(...): a classify run of 4 steps by a plan from elsewhere."""
    monkeypatch.setattr(_loop, "QUICK", float("inf"))
    plan_of("classify", 4, **ELSEWHERE).write(tmp_path / "plan.json")

    def run(**words: Any) -> Run:
        return train(data("classify"), "classify", tmp_path / "run", **words)

    return run


def test_versions_and_machine_are_those_of_training(begun: Callable[..., Run], tmp_path: Path) -> None:
    run = begun(plan=tmp_path / "plan.json")
    assert run.plan.versions == {"torch": "0.1"}
    for found in (provenance(run), provenance(_bundled(run, tmp_path / "model.hilum"))):
        assert found["versions"] == _versions.here() and found["of"] == "training"
        assert found["hardware"]["cores"] != 999 and found["hardware"]["devices"] == 1
        assert found["hardware"]["accelerator"] != "Another card"
        assert found["training"]["went on from"] == []


def test_versions_that_a_resumed_run_went_on_from_are_named(
    begun: Callable[..., Run], tmp_path: Path, monkeypatch: Patch
) -> None:
    here = _versions.here()
    for number, old in enumerate(("1.0", "1.1")):
        monkeypatch.setattr(_versions, "here", lambda old=old: here | {"torch": old})
        words: dict[str, Any] = {"resume": True, "accept": ["T04"]} if number else {"plan": tmp_path / "plan.json"}
        with pytest.raises(Cut):
            begun(progress=cut_at(1 + number), **words)
    monkeypatch.setattr(_versions, "here", lambda: here)
    before = (tmp_path / "run" / "ledger.jsonl").read_text(encoding="utf-8")
    with pytest.raises(HilumError) as error:
        begun(resume=True)
    assert error.value.code == "HIL-T04"
    # what was refused is no part of the history
    assert (tmp_path / "run" / "ledger.jsonl").read_text(encoding="utf-8") == before
    run = begun(resume=True, accept=["T04"])
    for found in (provenance(run), provenance(_bundled(run, tmp_path / "model.hilum"))):
        assert found["versions"] == here
        assert [v["torch"] for v in found["training"]["went on from"]] == ["1.0", "1.1"]


def test_a_run_resumed_by_the_same_versions_names_no_others(begun: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(Cut):
        begun(plan=tmp_path / "plan.json", progress=cut_at(2))
    found = provenance(begun(resume=True))
    assert found["training"]["resumed"] and found["training"]["went on from"] == []


def _bundled(run: Run, path: Path) -> Run:
    bundle(run.path, path)
    return Run(path)


@pytest.mark.parametrize("text", [None, "", "step;seconds;rate\n2;1,5;0,001\n", 'step,seconds\n2,"1,5"\n', "a,b\n1\n"])
def test_a_log_that_a_spreadsheet_wrote_anew_is_laid_aside_and_the_run_goes_on(
    text: str | None, begun: Callable[..., Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It was a KeyError, and of an empty table an IndexError at the end of a training."""
    with pytest.raises(Cut):
        begun(plan=tmp_path / "plan.json", progress=cut_at(3))
    path = tmp_path / "run" / "log.csv"
    honest = path.read_text()
    assert honest.count("\n") > 1
    if text is not None:
        path.write_text(text)
    run = begun(resume=True)
    rows = path.read_text().splitlines()[1:]
    assert [int(row.split(",")[0]) for row in rows] == ([1, 2, 3, 4] if text is None else [3, 4])
    (done,) = [event for event in run.ledger() if event["event"] == "train"]
    assert done["steps"] == 4
    aside, odd = sorted(path.parent.glob("log.aside*.csv")), bool(text)
    assert [one.read_text() for one in aside] == [text] * odd and ("log.aside1.csv" in caplog.text) == odd


def test_a_finished_run_needs_no_log_to_say_how_many_steps_it_had(
    begun: Callable[..., Run], tmp_path: Path, monkeypatch: Patch
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(_record.Record, "round", lambda *_: None)
    run = begun(plan=tmp_path / "plan.json")
    assert not run.has("log.csv")
    assert [event["steps"] for event in run.ledger() if event["event"] == "train"] == [4]
