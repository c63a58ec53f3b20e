"""train: what --resume leaves alone, how labels of other data are read, and what is refused before the planning."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.core.progress import quiet
from hilum.core.run import Run
from hilum.data.dataset import Settings, open_dataset
from hilum.planning.planner import Prepared, look
from hilum.verbs import train as verb
from hilum.verbs.train import train

Folder = Callable[[str], Path]
Read = Callable[..., tuple[Any, Any]]


@pytest.fixture
def finished(trained: Callable[[str], Run], tmp_path: Path) -> Path:
    """A run of its own, calibrated by its owner as an ensemble of two."""
    out = tmp_path / "run"
    shutil.copytree(trained("classify").path, out)
    weights = (out / "weights" / "net.safetensors").read_bytes()
    Run(out).put({"weights/net.2.safetensors": weights, "calibration.json": b"{}\n"})
    return out


def files(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_finished_run_that_is_resumed_keeps_its_calibration_and_its_ensemble(finished: Path, data: Folder) -> None:
    before, told = files(finished), list[tuple[object, ...]]()
    run = train(data("classify"), "classify", finished, resume=True, progress=lambda *words: told.append(words))
    assert run.path == finished and files(finished) == before
    assert told[-1] == ("train", 2, 2, "finished before; nothing is changed")
    run.check_hashes()


@pytest.mark.parametrize("steps", [1, 3])
def test_t04_a_finished_run_is_not_made_another_by_its_plan(steps: int, finished: Path, data: Folder) -> None:
    plan = Plan.read(finished / "plan.json")
    plan.model_copy(update={"steps": steps}).write(finished / "plan.json")
    with pytest.raises(HilumError, match=rf"steps: 2, now {steps}.*HIL-T04"):
        train(data("classify"), "classify", finished, resume=True)


def other(seen: Prepared, **settings: Any) -> Prepared:
    """The same images as other data, of which a dataset.yaml says this."""
    dataset = replace(seen.dataset, settings=Settings.model_validate(settings))
    return replace(seen, dataset=dataset, facts=seen.facts | {"hash": "another"})


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """read(data, plan, settings): what the plan of a run with that --plan says of labels."""

    def found(seen: Prepared, plan: Plan, settings: dict[str, Any] | None = None) -> tuple[Any, Any]:
        plan.write(tmp_path / "plan.json")
        monkeypatch.setattr(verb, "look", lambda *_: seen)
        # what fits into memory is not asked here
        monkeypatch.setattr(verb, "fitted", lambda made, *_, **__: made)
        words = ("data", "segment", tmp_path / "plan.json", None, None, None, 0, settings, None, "cpu", 1, quiet)
        made, _ = verb._new(*words)
        return made.data["labels"], made.data["ignore"]

    return found


def test_with_a_plan_of_other_data_labels_are_read_by_the_names_of_these(
    read: Read, plan_of: Callable[..., Plan], ready: Callable[[str], Prepared]
) -> None:
    """The same two classes numbered the other way round were learned under each other's name."""
    plan, seen, swapped = plan_of("segment", 1), ready("segment"), {1: "lesion", 2: "ventricle"}
    assert read(other(seen, classes=swapped, ignore=9), plan) == ({"ventricle": [2], "lesion": [1]}, 9)
    assert read(other(seen, classes=swapped, ignore=9), plan, {"data.ignore": 5})[1] == 5
    assert read(other(seen, ignore=255), plan) == ({}, 255)
    # what is set by hand is asked of nobody else, but what the data ignore still holds
    strange = other(seen, classes={1: "kidney"}, ignore=9)
    assert read(strange, plan, {"data.labels": {"ventricle": [1], "lesion": []}})[1] == 9
    assert read(other(seen, classes=swapped), plan, {"data.labels.lesion": 2})[0] == {"lesion": 2}
    with pytest.raises(HilumError, match=r"kidney, rib.*HIL-T10"):
        read(other(seen, classes={1: "kidney", 2: "rib"}), plan)


def test_a_plan_of_other_data_says_nothing_of_the_images_that_it_was_made_for(
    plan_of: Callable[..., Plan], ready: Callable[[str], Prepared]
) -> None:
    seen = ready("segment")
    plan = plan_of("segment", 1, **{"data.layout": "decathlon", "data.notes": ["Taken for CT."]})
    own = verb._of_these(plan, seen, {}).data
    assert (own["layout"], own["notes"]) == ("decathlon", ["Taken for CT."])
    there = verb._of_these(plan.model_copy(update={"data": plan.data | {"fingerprint": "another"}}), seen, {}).data
    assert there["layout"] == seen.facts["layout"] and "notes" not in there


def test_a_plan_that_was_edited_by_hand_for_its_own_data_holds(
    read: Read, plan_of: Callable[..., Plan], ready: Callable[[str], Prepared]
) -> None:
    by_hand = {"ventricle": [1, 2], "lesion": []}
    plan = plan_of("segment", 1, **{"data.labels": by_hand, "data.ignore": 7})
    assert read(ready("segment"), plan) == (by_hand, 7)


def test_a_plan_of_before_holds_for_its_own_data_where_pairs_leave_images_out(
    data: Folder, plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counted those images too, and so was taken for one of other data: what was edited by hand was read anew."""
    own, by_hand = Path(shutil.copytree(data("register"), tmp_path / "data")), {"ventricle": [1, 2]}
    (own / "pairs.csv").write_text(
        "fixed,moving\n" + "".join(f"pair_{n:03d}_fixed,pair_{n:03d}_moving\n" for n in range(3)), encoding="utf-8"
    )
    names = [case.id for case in open_dataset(own).cases]
    whole, now = look(own, "register", 0, among=names), look(own, "register", 0)
    assert (whole.unpaired, now.unpaired) == (0, 2) and whole.facts["hash"] != now.facts["hash"]
    # what fits into memory is not asked here
    monkeypatch.setattr(verb, "fitted", lambda made, *_, **__: made)
    words = (own, "register", tmp_path / "plan.json", None, None, None, 0, None, None, "cpu", 1, quiet)
    for told, kept in ((whole.facts["hash"], True), (now.facts["hash"], True), ("another", False)):
        plan_of("register", 1, **{"data.labels": by_hand, "data.fingerprint": told}).write(tmp_path / "plan.json")
        made, ready = verb._new(*words)
        assert (made.data["labels"] == by_hand) == kept
        assert made.data["fingerprint"] == now.facts["hash"] == ready.facts["hash"] and ready.unpaired == 2


def test_a_system_is_nothing_to_begin_from_and_is_refused_before_the_planning(
    trained: Callable[[str], Run], data: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "system")
    (tmp_path / "system" / "system.json").write_text("{}")
    monkeypatch.setattr(verb, "look", lambda *_: pytest.fail("it was planned"))
    begun: tuple[dict[str, Any], ...] = (
        {"start": tmp_path / "system"}, {"settings": {"encoder_weights": str(tmp_path / "system")}},
    )  # fmt: skip
    for words in begun:
        with pytest.raises(HilumError, match=r"is a system.*parts/NAME.*HIL-RUN-03"):
            train(data("classify"), "classify", tmp_path / "run", **words)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["gpu", "CPU", "cuda:0", ""])
def test_an_accelerator_of_another_name_is_refused(word: str, data: Folder, tmp_path: Path) -> None:
    """It would train elsewhere than was asked."""
    with pytest.raises(HilumError, match=r"Use one of auto, cpu, cuda.*HIL-LEARN-01"):
        train(data("classify"), "classify", tmp_path / "run", steps=1, accelerator=word)
    assert not (tmp_path / "run").exists()
