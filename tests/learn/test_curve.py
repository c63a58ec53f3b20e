"""The live page: it is there from the start, draws each loss once, marks the best round, and says why a run ended."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import Plan
from hilum.learn import _loop
from hilum.learn._curve import PICTURES, REFRESH, Curve, curves
from hilum.learn._loop import Training
from hilum.planning.planner import Prepared

PlanOf = Callable[..., Plan]
Ready = Callable[[str], Prepared]
ROWS = [
    {"step": 5, "seconds": 60.0, "rate": 1e-3, "train loss": 2.0, "val loss": 2.5, "val dice": 0.1},
    {"step": 10, "seconds": 90.0, "rate": 5e-4, "train loss": 1.0, "val loss": 1.5, "val dice": 0.3},
    {"step": 15, "seconds": 120.0, "rate": 1e-4, "train loss": 0.5, "val loss": 1.4, "val dice": 0.2},
]


@pytest.fixture
def page(plan_of: PlanOf, tmp_path: Path) -> Curve:
    return Curve(tmp_path, plan_of("classify", 20))


def test_a_loss_and_its_validation_share_a_drawing() -> None:
    found = curves([*ROWS, {"step": 20, "val psnr_db": 30.0, "val psnr_db/zero-filled": 20.0}])
    assert list(found) == ["loss", "dice", "psnr_db", "learning rate"]
    assert found["loss"] == {
        "train": [(5, 2.0), (10, 1.0), (15, 0.5)],
        "val": [(5, 2.5), (10, 1.5), (15, 1.4)],
    }
    # nothing is trained on Dice, but validation keeps its colour
    assert list(found["dice"]) == ["train", "val"] and not found["dice"]["train"]
    assert found["psnr_db"] == {"train": [], "val": [(20, 30.0)], "zero-filled": [(20, 20.0)]}
    assert found["learning rate"] == {"rate": [(5, 1e-3), (10, 5e-4), (15, 1e-4)]}


def test_the_page_says_how_far_it_is_and_how_long_it_takes(
    page: Curve, plan_of: PlanOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("hilum.learn._curve.time.monotonic", lambda: now[0])
    page.begin(5, plan_of("classify", 20))
    now[0] += 100.0
    page.draw(ROWS, [], {"step": 10, "score": 0.3}, False)
    text = page.path.read_text()
    # ten steps in 100 s, five to go
    assert "Step 15 of 20; about 50 s left. Best validation at step 10." in text
    assert f'http-equiv="refresh" content="{REFRESH}"' in text
    page.draw(ROWS, [], {"step": 10, "score": 0.3}, True)
    text = page.path.read_text()
    assert "Done: 15 of 20 steps in 2 min. Stopped early" in text and "refresh" not in text


def test_rounds_that_come_quickly_are_not_all_drawn(page: Curve, monkeypatch: pytest.MonkeyPatch) -> None:
    now, honest = [1000.0], page._write
    monkeypatch.setattr("hilum.learn._curve.time.monotonic", lambda: now[0])

    def slow(kind: str, words: str, refresh: int | None) -> None:
        now[0] += 1.0
        honest(kind, words, refresh)

    monkeypatch.setattr(page, "_write", slow)
    shown = []
    for done, waited in ((False, 0), (False, 19), (False, 2), (True, 1)):
        now[0] += waited
        page.path.unlink(missing_ok=True)
        page.draw(ROWS, [], None, done)
        shown.append(page.path.exists())
    assert shown == [True, False, True, True]


def test_the_best_round_is_marked_where_validation_is_drawn(page: Curve) -> None:
    page.draw(ROWS, [], {"step": 10, "score": 0.3}, False)
    figures = re.findall(r'<figure class="plot">.*?</figure>', page.path.read_text(), re.DOTALL)
    marked = {re.search(r"<figcaption[^>]*>(.*?)<", f)[1]: 'class="mark"' in f for f in figures}  # type: ignore[index]
    assert marked == {"loss": True, "dice": True, "learning rate": False}
    # the axis runs over the whole planned length, 15 of 20 steps being three quarters of it
    dice = next(f for f in figures if ">dice<" in f)
    assert ">20</text>" in dice and 'class="s1 line' in dice and "s0" not in dice


def test_no_more_pictures_than_planned_and_steps_are_whole(page: Curve) -> None:
    pictures = [(np.full((8, 30, 3), n, np.uint8), f"case {n}") for n in range(PICTURES + 2)]
    page.draw([{k: str(v) for k, v in r.items()} for r in ROWS], pictures, None, False)
    text = page.path.read_text()
    assert text.count("<img") == PICTURES and "Validation cases after step 15" in text
    assert ">15</td>" in text and ">15.0</td>" not in text and 'class="sheet broad"' in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)


def begun(folder: Path, plan: Plan, ready: Prepared, progress: Any = None) -> Training:
    folder.mkdir(exist_ok=True)
    plan.write(folder / "plan.json")
    return Training(folder, plan, ready.units(plan), *([progress] if progress else []))


def test_a_page_is_there_before_the_first_step(plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    seen: list[str] = []

    def progress(name: str, done: int, total: int, note: str = "") -> None:
        if name == "prepare" and done == 1:
            seen.append((tmp_path / "run" / "training.html").read_text())

    begun(tmp_path / "run", plan_of("classify", 4), ready("classify"), progress).run(False)
    assert len(seen) == 1 and "are prepared" in seen[0] and "refresh" in seen[0]
    last = (tmp_path / "run" / "training.html").read_text()
    assert "Done: 4 of 4 steps" in last and "refresh" not in last and "<img" in last


def test_the_page_says_why_a_run_ended_early(
    plan_of: PlanOf, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = begun(tmp_path / "run", plan_of("classify", 10), ready("classify"))
    honest = training.regime.step

    def step(state: Any, batch: Any, k: int, update: Any) -> Any:
        return honest(state, batch | {"image": batch["image"] * float("nan")} if k == 6 else batch, k, update)

    monkeypatch.setattr(training.regime, "step", step)
    with pytest.raises(HilumError):
        training.run(False)
    text = (tmp_path / "run" / "training.html").read_text()
    assert "Refused" in text and "HIL-T06" in text and "refresh" not in text
    # what it had learned until then is still to be seen
    assert "<polyline" in text


def test_a_resumed_run_shows_what_came_before_it_and_says_when_nothing_is_left(
    plan_of: PlanOf, ready: Ready, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a busy machine saves slowly, and slow savings are spared
    monkeypatch.setattr(_loop, "QUICK", float("inf"))
    page, seen = tmp_path / "run" / "training.html", list[str]()

    def stop(name: str, done: int, total: int, note: str = "") -> None:
        if name == "train" and done == 6:
            raise KeyboardInterrupt

    def look(name: str, done: int, total: int, note: str = "") -> None:
        if name == "train" and not seen:
            seen.append(page.read_text())

    plan = plan_of("classify", 10)
    with pytest.raises(KeyboardInterrupt):
        begun(page.parent, plan, ready("classify"), stop).run(False)
    begun(page.parent, plan, ready("classify"), look).run(True)
    assert "Step 3 of 10" in seen[0] and "Last rounds" in seen[0] and "refresh" in seen[0]
    begun(page.parent, plan, ready("classify"), look).run(True)
    last = page.read_text()
    assert len(seen) == 1 and "Done: 10 of 10 steps" in last and "<polyline" in last and "refresh" not in last


def test_the_log_has_the_rate_and_seconds_go_on_after_a_resume(plan_of: PlanOf, ready: Ready, tmp_path: Path) -> None:
    def stop(name: str, done: int, total: int, note: str = "") -> None:
        if name == "train" and done == 6:
            raise KeyboardInterrupt

    plan = plan_of("classify", 10)
    with pytest.raises(KeyboardInterrupt):
        begun(tmp_path / "run", plan, ready("classify"), stop).run(False)
    assert "Stopped from the keyboard" in (tmp_path / "run" / "training.html").read_text()
    begun(tmp_path / "run", plan, ready("classify")).run(True)
    with open(tmp_path / "run" / "log.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0])[:3] == ["step", "seconds", "rate"]
    seconds = [float(r["seconds"]) for r in rows]
    assert seconds == sorted(seconds) and float(rows[0]["rate"]) > float(rows[-1]["rate"]) > 0
    timing = json.loads((tmp_path / "run" / "timing.json").read_text())
    kinds = ("prepare", "plan", "wait", "step", "validate", "draw", "save", "rest")
    assert sum(timing[k] for k in kinds) == pytest.approx(timing["seconds"], abs=0.01)
    assert 0 <= timing["rest"] < timing["seconds"] / 2 and timing["step"] > 0 and timing["draw"] > 0
