"""The cache of graphs only saves time: damaged, foreign or absent, the answer is the same."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from hilum.core.run import Run
from hilum.infer import _asked
from hilum.infer._lanes import ALONE
from hilum.infer._trial import Tried
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes import _choose, _stored
from hilum.planning.planner import Prepared

MANY = 10**9
# Cases to come, so that trying is worth it.


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(_stored.PLACE, str(tmp_path))
    return tmp_path / "graphs"


def test_what_is_kept_is_found_by_its_own_key_only(cache: Path) -> None:
    one = _stored.Stored(key="a")
    assert one.cached("x") is None
    one.keep("x", b"graph")
    assert one.cached("x") == b"graph" and one.cached("y") is None
    assert _stored.Stored(key="b").cached("x") is None
    assert len(list(cache.iterdir())) == 1


def test_damage_is_seen(cache: Path) -> None:
    one = _stored.Stored(key="a")
    one.keep("x", b"graph")
    path = next(cache.iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert one.cached("x") is None
    path.write_bytes(b"")
    assert one.cached("x") is None


@pytest.mark.parametrize("key", ["", "a"])
def test_off_means_nothing_is_written(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(_stored.PLACE, "off")
    monkeypatch.setenv("HOME", str(tmp_path))
    _stored.Stored(key=key).keep("x", b"graph")
    assert _stored.Stored(key=key).cached("x") is None and not list(tmp_path.rglob("*"))


def test_a_place_that_can_not_be_written_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv(_stored.PLACE, str(tmp_path / "file"))
    one = _stored.Stored(key="a")
    one.keep("x", b"graph")
    assert one.cached("x") is None


def test_the_oldest_goes_first(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setattr(_stored, "LIMIT", 200)
    one = _stored.Stored(key="a")
    for number in range(4):
        one.keep(str(number), bytes(60))
        os.utime(max(cache.iterdir(), key=lambda p: p.stat().st_mtime_ns), (number, number))
    assert [one.cached(str(n)) is not None for n in range(4)] == [False, False, True, True]


def test_a_key_tells_networks_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3))
    first = _stored.key(net, (1, 1, 8, 8))
    assert first == _stored.key(net, (1, 1, 8, 8)) != _stored.key(net, (1, 1, 8, 16))
    with torch.no_grad():
        next(net.parameters())[0, 0, 0, 0] += 1e-6
    second = _stored.key(net, (1, 1, 8, 8))
    assert second != first
    # blocks that a network is built of are code too
    monkeypatch.setattr(_stored, "_code", lambda: "another")
    assert _stored.key(net, (1, 1, 8, 8)) != second


def test_auto_remembers_what_it_chose(
    cache: Path, trained: Callable[[str], Run], ready: Callable[[str], Prepared], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = ready("segment").dataset.cases[0]
    first = Predictor(trained("segment"), runtime="auto")
    first.expect(MANY)
    mask = first(case)["mask"].array
    monkeypatch.setattr(_choose, "_timed", lambda *a: pytest.fail("measured again"))
    again = Predictor(trained("segment"), runtime="auto")
    again.expect(MANY)
    assert (again(case)["mask"].array == mask).all()
    assert again.computed_by is not None and first.computed_by is not None
    assert again.computed_by.name == first.computed_by.name and again.computed_by.seconds == first.computed_by.seconds


@pytest.mark.parametrize(("work", "name"), [(1, "torch"), (10, "torch"), (100, "torch-channels-last")])
def test_what_saves_less_than_its_loading_is_left_alone(work: int, name: str, cache: Path) -> None:
    """One look is what a prediction under a limit asks for: nothing that was chosen without it counts."""
    own, window = nn.Sequential(nn.Conv2d(1, 2, 3)).eval(), torch.zeros(1, 1, 8, 8)
    kept, slow, gain = _stored.Stored(key="a"), 100.0, 0.1 if work > 1 else 99.0
    told = {
        "name": "torch-channels-last",
        "seconds": {"torch": slow, "torch-channels-last": slow - gain},
        "left": {},
        "pace": {},
    }
    kept.keep(_choose._here(kept), json.dumps(told).encode())
    assert _choose.chosen("auto", own, window, None, kept, work).name == name


def test_what_was_chosen_for_little_work_is_chosen_anew_for_much(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With six seconds of work one runtime is tried; with hours all are, and how many windows at a time."""
    monkeypatch.setattr(_choose, "_timed", lambda look, x: (0.06, look(x)))
    monkeypatch.setattr(_choose, "_absent", lambda name: "" if name.startswith("torch-channels") else "not here")
    own, window = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)).eval(), torch.randn(1, 1, 8, 8)
    monkeypatch.setattr(_choose, "pays_from", lambda name: 5.0)
    little = _choose.chosen("auto", own, window, None, _stored.Stored(key="b"), 100)
    assert set(little.seconds) == {"torch", "torch-channels-last"}
    told = {"name": "torch", "seconds": {"torch": 0.06, "other": 0.07}, "left": {"torch-channels-last": _choose.LITTLE}}
    kept = _stored.Stored(key="c")
    kept.keep(_choose._here(kept), json.dumps(told | {"pace": {}, "paced": False}).encode())
    assert _choose.chosen("auto", own, window, None, kept, 50).seconds == told["seconds"], "there is little to do yet"
    assert set(_choose.chosen("auto", own, window, None, kept, 100).seconds) == set(little.seconds)
    # and what is kept then is taken, until there is enough to do for a pace
    tried = _choose._tried
    monkeypatch.setattr(_choose, "_tried", lambda *a: pytest.fail("tried again"))
    assert set(_choose.chosen("auto", own, window, None, kept, 100).seconds) == set(little.seconds)
    monkeypatch.setattr(_choose, "_tried", tried)
    assert len(_choose.chosen("auto", own, window, None, kept, _choose.PACED).seconds) > 2


def test_what_was_chosen_on_a_busy_machine_is_chosen_anew(cache: Path) -> None:
    own, window = nn.Sequential(nn.Conv2d(1, 2, 3)).eval(), torch.zeros(1, 1, 8, 8)
    kept, name = _stored.Stored(key="d"), "torch-channels-last"
    told = {"name": name, "seconds": {"torch": 0.5, name: 0.3}, "left": {}, "pace": {}, "paced": False}
    kept.keep(_choose._here(kept), json.dumps(told).encode())
    chosen = _choose.chosen("auto", own, window, None, kept, 100)
    # as slow as then, or faster where a second is not at stake
    chosen.seen(0.25, 100)
    chosen.seen(0.1, 4)
    assert _choose.chosen("auto", own, window, None, kept, 100).seconds == told["seconds"]
    chosen.seen(0.1, 100)
    assert _choose.chosen("auto", own, window, None, kept, 100).seconds != told["seconds"]


def test_under_a_limit_nothing_is_tried(
    cache: Path, trained: Callable[[str], Run], ready: Callable[[str], Prepared]
) -> None:
    """What trying holds can not be promised."""
    predictor = Predictor(trained("segment"), runtime="auto", limit=10**12)
    predictor.expect(MANY)
    predictor(ready("segment").dataset.cases[0])
    assert predictor.computed_by is not None and predictor.computed_by.name == "torch"
    assert set(predictor.computed_by.left) == set(_choose.names()) - {"torch"} and not predictor.computed_by.seconds
    assert not cache.exists()


@pytest.mark.parametrize("mirror", [False, True])
def test_what_a_window_takes_is_held_against_a_look_by_the_look(
    mirror: bool, trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a mirrored model a window is looked at from all sides: it never seemed faster than one look had been."""
    asked, told = Predictor(trained("segment"), runtime="auto"), list[tuple[float, float]]()
    asked.task.options.mirror = mirror
    asked.expect(10)
    asked._chosen[(0, False, False, ())] = _choose.Chosen("torch", nn.Identity())
    sides = 2**asked.plan.dims if mirror else 1
    monkeypatch.setattr(_asked, "tried", lambda *words: Tried(0, 0.5 * sides))
    monkeypatch.setattr(_choose.Chosen, "seen", lambda self, *words: told.append(words))
    asked._cost(nn.Identity(), torch.zeros(1, 1, 8, 8), None, ALONE, 3)
    assert told == [(0.5, 3 * sides * 10)]


def test_a_graph_is_written_once(cache: Path) -> None:
    """It was written, and put onto the disk, again at every opening."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    own, window, kept = nn.Sequential(nn.Conv2d(1, 2, 3)).eval(), torch.ones(1, 1, 8, 8), _stored.Stored(key="e")
    first = _choose.prepared("onnx", own, window, kept)(window)
    (path,) = cache.iterdir()
    written = path.stat().st_mtime_ns, path.stat().st_ino
    assert torch.equal(_choose.prepared("onnx", own, window, kept)(window), first)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == written
