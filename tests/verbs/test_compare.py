"""compare: one table with what networks reached and cost, from cells that are kept."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hilum.core.errors import HilumError, Stopped
from hilum.core.lock import locked
from hilum.core.plan import Plan
from hilum.core.run import Run, write_rows
from hilum.data.phantoms import slices
from hilum.evaluation.comparison import Cell
from hilum.evaluation.report import GROUPING
from hilum.learn import _versions
from hilum.planning.planner import look
from hilum.tasks import _build, _task
from hilum.verbs.compare import _place, apart, compare
from hilum.verbs.evaluate import evaluate
from hilum.verbs.plan import planned
from hilum.verbs.train import train
from hilum.zoo._cost import parameters

NETS = ["resnet:width=8", "vit:depth=1"]
SETTINGS = {"plan.batch": 4, "plan.patch": [32, 32], "plan.augment": []}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, Path]:
    """A comparison of two networks with two seeds, its folder, and the data."""
    folder = tmp_path_factory.mktemp("comparison")
    # enough for six patients in the test part: of fewer no order is shown
    slices.make(folder / "data", 40, size=32)
    found = compare(folder / "data", "classify", NETS, folder / "out", seeds=2, steps=2, settings=SETTINGS)
    return found, folder / "out", folder / "data"


def test_every_row_says_what_was_reached_and_what_it_cost(made: tuple[dict[str, Any], Path, Path]) -> None:
    found, out, _ = made
    assert json.loads((out / "compare.json").read_text(encoding="utf-8")) == found
    assert {"task", "data", "seeds", "minutes", "steps", "headline", "better", "rows", "sentences"} <= found.keys()
    assert {r["net"] for r in found["rows"]} == set(NETS) and len(found["sentences"]) == 1
    for row in found["rows"]:
        assert row["seeds"] == 2 and row["steps"] == 2 and row["parameters"] > 0
        assert row["seconds"] > 0 and 0 < row["seconds a case"] < 60
        assert row["peak bytes"] is None or row["peak bytes"] > 1e7
        assert row["lowest seed"] <= row[found["headline"]] <= row["highest seed"]
    assert {"difference", "difference low", "p", "p holm", "supported"} <= found["rows"][1].keys()


def test_how_many_cells_have_looked_at_the_test_part_is_told(made: tuple[dict[str, Any], Path, Path]) -> None:
    """Each cell's own ledger says one look, however many cells there are."""
    found, out, _ = made
    assert found["judged"] == {"part": "test", "cells": 4}
    assert any(note.startswith("4 cells in this folder were judged on the test part") for note in found["notes"])
    for folder in out.glob("cells/*/run"):
        judged, told = Run(folder).ledger()[-2:]
        assert (judged["event"], judged["look"]) == ("evaluate", 1)
        assert (told["event"], told["part"], told["cells"]) == ("compare", "test", 4)


def test_parameters_are_what_the_networks_learned(made: tuple[dict[str, Any], Path, Path]) -> None:
    """The weights file of a network with batch norm holds its statistics too."""
    found, out, _ = made
    for row in found["rows"]:
        name = row["net"].split(":")[0]
        run = Run(next(out.glob(f"cells/{name}-*/run")))
        assert row["parameters"] == parameters(_build.build(_task.load(run.plan), "net"))
        if name == "resnet":
            assert sum(values.numel() for values in run.weights("net").values()) > row["parameters"]


def test_the_area_is_that_of_the_evaluations(made: tuple[dict[str, Any], Path, Path]) -> None:
    found, out, _ = made
    areas = {r["net"]: r["auroc"] for r in found["auroc"]}
    for net in NETS:
        name = net.split(":")[0]
        files = list(out.glob(f"cells/{name}-*/done/metrics.json"))
        own = [json.loads(f.read_text(encoding="utf-8"))["metrics"]["auroc"]["mean"] for f in files]
        assert len(own) == 2 and areas[net] == pytest.approx(sum(own) / 2, abs=1e-6)


def test_how_sure_the_networks_are_is_what_the_evaluations_say(made: tuple[dict[str, Any], Path, Path]) -> None:
    found, out, _ = made
    rows = {r["net"]: r for r in found["sureness"]}
    for net in NETS:
        files = list(out.glob(f"cells/{net.split(':')[0]}-*/done/metrics.json"))
        own = [json.loads(f.read_text(encoding="utf-8"))["metrics"] for f in files]
        for name in ("nll", "brier", "ece"):
            assert rows[net][name] == pytest.approx(sum(m[name]["mean"] for m in own) / 2)
        assert rows[net]["nll low"] < rows[net]["nll"] < rows[net]["nll high"]


def test_the_page_shows_all_of_it_and_asks_nobody(made: tuple[dict[str, Any], Path, Path]) -> None:
    _, out, _ = made
    page = (out / "compare.html").read_text(encoding="utf-8")
    parts = ("How firm the order is", "place 1", "AUROC", "after Holm", "How sure the networks are", "nll low")
    for words in ("peak MB", "p holm", "seconds a case", "cases", "prediction alone takes less", *parts):
        assert words in page, words
    assert "Intervals resample seeds and groups" in page
    assert not re.search(r"""(src|href)\s*=\s*["']?\s*(https?:)?//""", page)


def test_finished_cells_are_kept_also_without_what_is_known_of_costs(
    made: tuple[dict[str, Any], Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, out, data = made
    kept = {p: p.read_bytes() for p in out.glob("cells/*/cost.json")}
    assert len(kept) == 4
    monkeypatch.setattr("hilum.verbs.compare.train", lambda *a, **k: pytest.fail("a finished cell was trained again"))
    again: Callable[[], dict[str, Any]] = lambda: compare(  # noqa: E731
        data, "classify", NETS, out, seeds=2, steps=2, settings=SETTINGS
    )
    assert again() == found
    for path in kept:
        path.unlink()
    bare = again()
    assert all(r["peak bytes"] is None and r["seconds a case"] > 0 for r in bare["rows"])
    for path, content in kept.items():
        path.write_bytes(content)


def test_a_network_named_twice_and_a_folder_of_something_else_are_refused(tmp_path: Path) -> None:
    for nets, seeds in ((["resnet", "resnet"], 1), ([], 1), (["resnet"], 0)):
        with pytest.raises(HilumError) as error:
            compare(tmp_path, "classify", nets, tmp_path / "out", seeds=seeds)
        assert error.value.code == "HIL-EVAL-03"
    (tmp_path / "mine.txt").write_text("x")
    with pytest.raises(HilumError) as error:
        compare(tmp_path, "classify", ["resnet"], tmp_path)
    assert error.value.code == "HIL-CORE-03"


def test_seeds_count_from_the_first_one_that_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices.make(tmp_path / "data", 20, size=32)
    asked = list[Any]()
    monkeypatch.setattr("hilum.verbs.compare._cells", lambda *words: asked.append(words) or pytest.skip())
    with pytest.raises(pytest.skip.Exception):
        settings = SETTINGS | {"plan.seed": 7}
        compare(tmp_path / "data", "classify", NETS[:1], tmp_path / "out", seeds=2, steps=1, settings=settings)
    plans, words = asked[0][2], asked[0][3]
    assert [(key[1], plan.seed) for key, plan in plans.items()] == [(7, 7), (8, 8)] and words["settings"] == SETTINGS
    for first in ("x", -1, 0.5, True):
        with pytest.raises(HilumError) as error:
            compare(tmp_path, "classify", ["resnet"], tmp_path / "out", settings={"plan.seed": first})
        assert error.value.code == "HIL-EVAL-03"


def counts(out: Path) -> list[int]:
    """What the last word of every ledger about the comparison says."""
    events = [Run(run).ledger() for run in sorted(out.glob("cells/*/run"))]
    return [next((e["cells"] for e in reversed(own) if e["event"] == "compare"), 0) for own in events]


def test_ledgers_of_earlier_cells_count_those_that_were_added(
    made: tuple[dict[str, Any], Path, Path], tmp_path: Path
) -> None:
    out, data = tmp_path / "out", made[2]

    def again(nets: list[str]) -> int:
        return int(compare(data, "classify", nets, out, steps=1, settings=SETTINGS)["judged"]["cells"])

    assert again(NETS[:1]) == 1 and counts(out) == [1]
    assert again(NETS) == 2 and counts(out) == [2, 2]
    # as if the process had died before it was told
    ledger = next(out.glob("cells/vit-*/run/ledger.jsonl"))
    lines = ledger.read_text(encoding="utf-8").splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if '"compare"' not in line), encoding="utf-8")
    assert 0 in counts(out) and again(NETS[:1]) == 2 and counts(out) == [2, 2]
    before = ledger.read_bytes()
    assert again(NETS) == 2 and ledger.read_bytes() == before


def test_a_network_that_does_not_train_costs_the_others_nothing(
    made: tuple[dict[str, Any], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same call ended the same way for good; without it, the others looked better than they were."""
    out, nets, asked = tmp_path / "out", [*NETS, "resnet:width=16"], list[str]()
    code = "HIL-LEARN-02"

    def trained(data: Any, task: str, run: Path, **words: Any) -> Run:
        net = Plan.read(words["plan"]).networks["net"]
        asked.append(net.name)
        if net.name == "vit":
            raise HilumError(code, "After 200 steps it calls every image ill", "Lower learning.rate")
        return train(data, task, run, **words)

    def again(nets: list[str], seeds: int = 1) -> dict[str, Any]:
        return compare(made[2], "classify", nets, out, seeds=seeds, steps=1, settings=SETTINGS)

    monkeypatch.setattr("hilum.verbs.compare.train", trained)
    for code in ("HIL-T02", "HIL-PLAN-05", "HIL-T12"):
        with pytest.raises(HilumError, match=code):
            again(nets)
    code, asked[:] = "HIL-LEARN-02", []
    found = again(nets)
    assert asked == ["vit", "resnet"], "the first one was finished"
    assert {row["net"] for row in found["rows"]} == {nets[0], nets[2]} and found["judged"]["cells"] == 2
    assert [(one["net"], one["seed"], one["code"]) for one in found["failed"]] == [(NETS[1], 0, code)]
    assert any("calls every image ill. [HIL-LEARN-02]" in note for note in found["notes"])
    assert "did not train" in (out / "compare.html").read_text(encoding="utf-8") and counts(out) == [3, 3]
    assert again(nets) == found and len(asked) == 2, "nothing is trained again"
    # with another seed it might: to choose that one would flatter
    assert len(again(nets[1:], 2)["rows"]) == 1 and asked[2:] == ["resnet"]
    with pytest.raises(HilumError, match=r"calls every image ill.*HIL-LEARN-02"):
        again(NETS[1:])
    assert len(asked) == 3


def test_a_network_that_gives_no_result_costs_the_others_nothing(
    made: tuple[dict[str, Any], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole call ended, at every try."""
    lost, asked = {"vit"}, list[str]()

    def trained(data: Any, task: str, run: Path, **words: Any) -> Run:
        asked.append(Plan.read(words["plan"]).networks["net"].name)
        return train(data, task, run, **words)

    def judged(run: Path, data: Any, done: Path, **words: Any) -> Any:
        if Run(run).plan.networks["net"].name in lost:
            raise HilumError("HIL-EVAL-01", "None of 6 cases gave a result (no numbers)", "Mend the images")
        return evaluate(run, data, done, **words)

    def again(out: str = "out") -> dict[str, Any]:
        return compare(made[2], "classify", NETS, tmp_path / out, steps=1, settings=SETTINGS)

    monkeypatch.setattr("hilum.verbs.compare.train", trained)
    monkeypatch.setattr("hilum.verbs.compare.evaluate", judged)
    found = again()
    assert [row["net"] for row in found["rows"]] == NETS[:1] and found["judged"]["cells"] == 1
    assert [(one["net"], one["code"]) for one in found["failed"]] == [(NETS[1], "HIL-EVAL-01")]
    assert any("gave no result with seed 0: None of 6 cases" in note for note in found["notes"])
    assert again() == found and asked == ["resnet", "vit"]
    # what was trained is tried again where somebody asks for it
    next(tmp_path.glob("out/cells/vit-*/failed.json")).unlink()
    lost.clear()
    assert len(again()["rows"]) == 2 and len(asked) == 2
    # where no network gives one, the data are at fault
    lost.update(("vit", "resnet"))
    with pytest.raises(HilumError, match=r"None of 6 cases gave a result.*HIL-EVAL-01"):
        again("other")


def test_another_split_is_another_cell(made: tuple[dict[str, Any], Path, Path], tmp_path: Path) -> None:
    """The remedy that was offered, --seed, is no option of compare."""
    for split in (0, 1):
        settings = SETTINGS | {"plan.split_seed": split}
        found = compare(made[2], "classify", NETS[:1], tmp_path / "out", steps=1, settings=settings)
        assert found["split_seed"] == split and found["judged"]["cells"] == split + 1
    runs = [Run(path) for path in tmp_path.glob("out/cells/*/run")]
    held = {run.plan.split_seed: {row["case"] for row in run.split() if row["part"] == "test"} for run in runs}
    assert held.keys() == {0, 1} and held[0] != held[1]
    for wrong in ("x", -1, True):
        with pytest.raises(HilumError, match=r"plan\.split_seed.*HIL-EVAL-03"):
            compare(made[2], "classify", NETS[:1], tmp_path / "out", settings={"plan.split_seed": wrong})


def test_where_the_metric_of_the_task_is_missing_nobody_is_best(
    made: tuple[dict[str, Any], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"mean": 1.0, "low": None, "high": None, "better": "lower"}
    cells = [Cell(n, 0, {"a": 1.0}, {"a": "a"}, {"folding_percent": row}, 1, 1.0, 1) for n in NETS]
    monkeypatch.setattr("hilum.verbs.compare._cells", lambda *words: (cells, []))
    found = compare(made[2], "classify", NETS, tmp_path / "out", steps=1, settings=SETTINGS)
    page = (tmp_path / "out" / "compare.html").read_text(encoding="utf-8")
    assert found["compared"] == "none" and "accuracy was not measured" in page
    assert not any(words in page for words in ("best first", "Which differences", "its lead", "<strong>1"))


def test_what_every_report_warns_of_is_told_beside_the_table_too(
    made: tuple[dict[str, Any], Path, Path], tmp_path: Path
) -> None:
    """A network that reads the class off the frame led the table, and nothing told of it."""
    found, page, data = made[0], (made[1] / "compare.html").read_text(encoding="utf-8"), made[2]
    assert found["notes"][0] == GROUPING["similarity"] and "Patients are unknown" in page
    out = Path(shutil.copytree(made[1], tmp_path / "out"))
    for path in out.glob("cells/*/done/metrics.json"):
        known = json.loads(path.read_text(encoding="utf-8"))
        alarms = known.pop("alarms")
        assert isinstance(alarms, list)
        if path.parts[-3].startswith("vit-0"):
            known["alarms"] = ["The frame gives the class away."]
        # the others are cells of before alarms were kept
        path.write_text(json.dumps(known), encoding="utf-8")
    again = compare(data, "classify", NETS, out, seeds=2, steps=2, settings=SETTINGS)
    told = "vit:depth=1 with seed 0: The frame gives the class away."
    assert [note for note in again["notes"] if "The frame gives" in note] == [told]
    assert told in (out / "compare.html").read_text(encoding="utf-8")


def test_leaks_that_were_accepted_are_told_beside_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slices.make(tmp_path / "data", 20, size=32)
    ready = look(tmp_path / "data", "classify", 0)
    rows = [{"case": c.id, "patient": c.id, "split": ready.parts[c.id]} for c in ready.dataset.cases]
    one = next(row for row in rows if row["split"] == "test")
    one["patient"] = next(row["patient"] for row in rows if row["split"] == "train")
    write_rows(tmp_path / "data" / "cases.csv", rows)
    (tmp_path / "data" / "dataset.yaml").write_text("accept: [T09]\n")
    row = {"mean": 1.0, "low": None, "high": None, "better": "higher"}
    cells = [Cell(n, 0, {"a": 1.0}, {"a": "a"}, {"accuracy": row}, 1, 1.0, 1) for n in NETS]
    monkeypatch.setattr("hilum.verbs.compare._cells", lambda *words: (cells, []))
    found = compare(tmp_path / "data", "classify", NETS, tmp_path / "out", steps=1, settings=SETTINGS)
    assert found["notes"][0].startswith("HIL-T09: accepted")
    # that no patient is in two parts would be false
    assert not set(found["notes"]) & set(GROUPING.values())


def test_a_comma_inside_of_brackets_belongs_to_an_option() -> None:
    assert apart("resnet, vit:depth=1,,") == ["resnet", "vit:depth=1"]
    one = "nnunet:strides=[1,[1,2,2],2]:features=[8,16,32]"
    assert apart(f"{one},segresnet") == [one, "segresnet"]


def test_t12_two_comparisons_do_not_work_in_one_folder(tmp_path: Path) -> None:
    """The second one would take a cell that is still trained for one that was cut off, and begin it anew."""
    slices.make(tmp_path / "data", 20, size=32)
    live = tmp_path / "out" / "cells" / "resnet-0-0" / "run" / "checkpoint.safetensors"
    live.parent.mkdir(parents=True)
    live.write_bytes(b"state")
    with locked(tmp_path / "out"), pytest.raises(HilumError, match="HIL-T12"):
        compare(tmp_path / "data", "classify", NETS[:1], tmp_path / "out", steps=1, settings=SETTINGS)
    assert live.read_bytes() == b"state"


class Cut(Exception):
    """Somebody pulls the plug."""


@pytest.mark.parametrize("where", ["training", "judging"])
def test_a_cell_that_was_cut_off_is_begun_anew_and_one_that_was_done_is_kept(
    where: str, made: tuple[dict[str, Any], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, data = made
    out, verb = tmp_path / "out", "hilum.verbs.compare"
    asked: list[Path] = []

    def again() -> dict[str, Any]:
        return compare(data, "classify", NETS[:1], out, seeds=2, steps=2, settings=SETTINGS)

    def cut(run: Path) -> None:
        asked.append(run)
        if len(asked) == 2:
            run.mkdir()
            (run / "half").write_text("half")
            raise Cut

    def trained(data: Any, task: str, run: Path, **words: Any) -> Run:
        if where == "training":
            cut(run)
        return train(data, task, run, **words)

    def judged(run: Path, data: Any, done: Path, **words: Any) -> Any:
        if where == "judging":
            cut(done)
        return evaluate(run, data, done, **words)

    with monkeypatch.context() as patch:
        patch.setattr(f"{verb}.train", trained)
        patch.setattr(f"{verb}.evaluate", judged)
        with pytest.raises(Cut):
            again()
    assert len(asked) == 2 and not (out / "compare.json").exists()
    kept = {p: p.stat().st_mtime_ns for p in asked[0].parent.rglob("*") if p.is_file()}
    found = again()
    assert not list(out.rglob("half")) and (asked[1].parent / "done" / "metrics.json").is_file()
    assert {p: p.stat().st_mtime_ns for p in asked[0].parent.rglob("*") if p.is_file()} == kept
    # as if nothing had been cut off
    own, rows = found["rows"][0], {row["net"]: row for row in whole["rows"]}
    for name in (found["headline"], "lowest seed", "highest seed", "steps", "parameters", "seeds"):
        assert own[name] == rows[NETS[0]][name], name


@pytest.mark.parametrize("refused", [False, True])
def test_a_training_that_was_stopped_goes_on_by_the_same_call(
    refused: bool, made: tuple[dict[str, Any], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """It was told to go on with --resume, which compare has not, and the next call took the saved state away."""
    out, begun, told = tmp_path / "out", list[bool](), list[str]()

    def again(stopped: bool = False) -> dict[str, Any]:
        def progress(name: str, done: int, total: int, note: str = "") -> None:
            if name == "train":
                told.append(f"{done} of {total}")

        with monkeypatch.context() as patch:
            patch.setattr("hilum.verbs.compare.train", trained)
            if stopped:
                patch.setattr("hilum.learn._device.largest", lambda seen, fabric: 2)
            return compare(made[2], "classify", NETS[:1], out, steps=3, settings=SETTINGS, progress=progress)

    def trained(*place: Any, **words: Any) -> Run:
        begun.append(not words.get("resume", False))
        return train(*place, **words)

    with pytest.raises(Stopped) as stop:
        again(stopped=True)
    assert stop.value.code == 130 and stop.value.words.endswith("the state is saved, repeat the call to go on")
    (cell,) = (out / "cells").iterdir()
    if refused:
        # as after an update: what it would have become is not known any more
        monkeypatch.setattr(_versions, "here", lambda: {"hilum": "another"})
    found = again()
    assert found["rows"][0]["steps"] == 3 and (cell / "done" / "metrics.json").is_file()
    assert (begun, told[1:]) == (
        ([True, False, True], ["1 of 3", "2 of 3", "3 of 3"]) if refused else ([True, False], ["2 of 3", "3 of 3"])
    )
    assert ("begins anew" in caplog.text) == refused


def test_memory_of_steps_that_were_done_before_is_not_told(
    made: tuple[dict[str, Any], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off after its last step, a cell got the peak of the process that only judged it."""
    out = tmp_path / "out"
    # as in a process of its own, where any peak is new
    monkeypatch.setattr("hilum.learn._pace.forget_peak", lambda: 0)

    def again() -> Any:
        return compare(made[2], "classify", NETS[:1], out, steps=2, settings=SETTINGS)["rows"][0]["peak bytes"]

    assert again() > 1e7
    (cell,) = (out / "cells").iterdir()
    (cell / "run" / "ledger.jsonl").unlink()
    shutil.rmtree(cell / "done")
    assert again() is None


def test_memory_and_accelerator_reach_every_plan(
    made: tuple[dict[str, Any], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refusal named --memory, which compare had not; what was asked for by hand is another cell."""
    out, asked = tmp_path / "out", list[dict[str, Any]]()

    def trained(*place: Any, **words: Any) -> Run:
        asked.append(words)
        return train(*place, **words)

    monkeypatch.setattr("hilum.verbs.compare.train", trained)
    for words in ({}, {"memory": "8GB", "accelerator": "cpu"}, {"memory": "8192MB", "accelerator": "cpu"}):
        compare(made[2], "classify", NETS[:1], out, steps=1, settings=SETTINGS, **words)  # type: ignore[arg-type]
    assert [(one["memory"], one["accelerator"]) for one in asked] == [(None, "auto"), ("8GB", "cpu")]
    assert {Run(path).plan.machine.get("memory_cap") for path in out.glob("cells/*/run")} == {None, 8 << 30}
    with pytest.raises(HilumError, match=r"give --memory .*HIL-PLAN-07"):
        compare(made[2], "classify", NETS[:1], out, steps=1, settings=SETTINGS, memory="100MB")
    with pytest.raises(HilumError, match="HIL-LEARN-01"):
        compare(made[2], "classify", NETS[:1], out, steps=1, settings=SETTINGS, accelerator="gpu")


def test_a_cell_that_was_trained_is_judged_anew_and_not_trained_again(
    made: tuple[dict[str, Any], Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where judging was cut off, or `done` taken away as a note advises, hours of training went with it."""
    out = tmp_path / "out"

    def again() -> dict[str, Any]:
        return compare(made[2], "classify", NETS[:1], out, steps=1, settings=SETTINGS)

    def looks() -> list[int]:
        return [event["look"] for event in Run(cell / "run").ledger() if event["event"] == "evaluate"]

    first = again()
    (cell,) = (out / "cells").iterdir()
    weights = cell / "run" / "weights" / "net.safetensors"
    before = weights.stat().st_mtime_ns
    shutil.rmtree(cell / "done")
    with monkeypatch.context() as patch:
        patch.setattr("hilum.verbs.compare.train", lambda *a, **k: pytest.fail("it was trained again"))
        second = again()
    assert weights.stat().st_mtime_ns == before and (cell / "done" / "metrics.json").is_file()
    assert second["rows"][0][first["headline"]] == first["rows"][0][first["headline"]] and looks() == [1, 2]
    # one whose files are not as its training left them is begun anew
    shutil.rmtree(cell / "done")
    weights.write_bytes(weights.read_bytes()[:-1])
    again()
    assert weights.stat().st_mtime_ns != before and looks() == [1]


@pytest.mark.parametrize(("budget", "times"), [({"steps": 1}, 1), ({"minutes": 1.0}, 2)])
def test_a_network_that_did_not_train_is_tried_again_where_minutes_are_planned_anew(
    budget: dict[str, Any],
    times: int,
    made: tuple[dict[str, Any], Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = list[Path]()

    def trained(data: Any, task: str, run: Path, **words: Any) -> Run:
        asked.append(run)
        raise HilumError("HIL-LEARN-02", "It calls every image ill", "Lower learning.rate")

    def plan(ready: Any, task: str, net: str, *more: Any) -> Plan:
        # how fast the machine is costs time and decides nothing here
        return planned(ready, task, net, None, 1, *more[2:])

    monkeypatch.setattr("hilum.verbs.compare.train", trained)
    monkeypatch.setattr("hilum.verbs.compare.planned", plan)
    for _ in range(2):
        with pytest.raises(HilumError, match="HIL-LEARN-02"):
            compare(made[2], "classify", NETS[:1], tmp_path / "out", settings=SETTINGS, **budget)
    assert len(asked) == times


def test_a_changed_split_or_grouping_is_another_cell(tmp_path: Path) -> None:
    """Which cases are judged is no part of what the data are, and decides the table all the same."""
    slices.make(tmp_path / "data", 20, size=32)
    ready = look(tmp_path / "data", "classify", 0)

    def judged(parts: dict[str, str], patients: dict[str, str]) -> tuple[set[str], set[str]]:
        rows = [{"case": c.id, "patient": patients[c.id], "split": parts[c.id]} for c in ready.dataset.cases]
        write_rows(tmp_path / "data" / "cases.csv", rows)
        compare(tmp_path / "data", "classify", NETS[:1], tmp_path / "out", steps=1, settings=SETTINGS)
        latest = max((tmp_path / "out" / "cells").iterdir(), key=lambda cell: cell.stat().st_mtime_ns)
        held = [row for row in Run(latest / "run").split() if row["part"] == "test"]
        return {row["case"] for row in held}, {row["group"] for row in held}

    single = {name: name for name in ready.parts}
    swapped = {name: {"val": "test", "test": "val"}.get(part, part) for name, part in ready.parts.items()}
    for parts in (ready.parts, swapped):
        assert judged(parts, single)[0] == {name for name, part in parts.items() if part == "test"}
    # the test part as one patient: intervals over groups are others
    joined = {name: "one" if swapped[name] == "test" else name for name in swapped}
    assert len(judged(swapped, joined)[1]) == 1
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 3
    judged(ready.parts, single)
    assert len(list((tmp_path / "out" / "cells").iterdir())) == 3


def test_corrected_truth_is_another_cell_and_one_of_before_it_was_kept_stays(tmp_path: Path) -> None:
    asked, rows = ["resnet", 0, None, 2, {}], [{"id": "a", "truth": "1", "hash": "x"}]
    place = _place(tmp_path, "resnet-0", asked, rows)
    assert place == _place(tmp_path, "resnet-0", asked, rows) and place.parent == tmp_path
    assert _place(tmp_path, "resnet-0", asked, [rows[0] | {"truth": "2"}]) != place
    key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:16]
    before = tmp_path / f"resnet-0-{key}"
    (before / "done").mkdir(parents=True)
    assert _place(tmp_path, "resnet-0", asked, rows) == place, "one that was cut off is begun anew"
    (before / "done" / "metrics.json").write_text("{}")
    assert _place(tmp_path, "resnet-0", asked, rows) == before


def test_other_coil_maps_are_another_cell(tmp_path: Path) -> None:
    asked, row = ["dccnn", 0, None, 2, {}], {"id": "a", "truth": "1", "hash": "x"}
    first, second = (_place(tmp_path, "dccnn-0", asked, [row | {"operator": word}]) for word in "12")
    assert first != second
    before = _place(tmp_path, "dccnn-0", asked, [row])
    (before / "done").mkdir(parents=True)
    (before / "done" / "metrics.json").write_text("{}")
    assert _place(tmp_path, "dccnn-0", asked, [row | {"operator": "1"}]) == before, "one of before they were kept"
