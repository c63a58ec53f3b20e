"""A seeded sample of what benchmarks/trust/metric_properties.py tries; a flattering metric is seen."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core import catalogue
from hilum.metrics import ap50, dice, nll

FOLDER = Path(__file__).parents[2] / "benchmarks" / "trust"
CASES = 80


@pytest.fixture(scope="module")
def bench() -> Any:
    """metric_properties.py as a module."""
    before = list(sys.path)
    spec = importlib.util.spec_from_file_location("trust_metric_properties", FOLDER / "metric_properties.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture(scope="module")
def rows(bench: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bench.tried(CASES, seed=1)
    return found


def test_every_law_holds(rows: list[dict[str, Any]]) -> None:
    assert [r for r in rows if r["must"] and r["broken"]] == []
    assert all(r["compared"] > CASES / 4 for r in rows)


def test_every_metric_of_an_answer_keeps_a_law(rows: list[dict[str, Any]]) -> None:
    cards = catalogue.cards("hilum.metrics")
    wanted = {name for name, card in cards.items() if card["takes"] not in ("field", "seconds")}
    assert {r["metric"] for r in rows if r["must"]} | {"ssim"} == wanted


def test_what_is_not_promised_is_counted(rows: list[dict[str, Any]]) -> None:
    seen = {(r["law"], r["metric"]): r["broken"] for r in rows if not r["must"]}
    # true of the definitions, so it has to show: errors near the surface dilute a far one, volumes cancel out
    assert seen["more_errors", "hd95_mm"] and seen["dropped_structure", "volume_error_ml"]
    assert seen["lost_row", "auroc"] and seen["more_wrong_row", "ece"]


FLATTER: list[tuple[Any, str, Callable[[Any], Any]]] = [
    # nothing predicted is left out of the mean
    (dice, "dropped_structure", lambda old: lambda p, t, s: old(p, t, s) if p.any() else None),
    # a bonus for much that is found
    (dice, "more_errors_on_one_side", lambda old: lambda p, t, s: old(p, t, s) + 3 * p.mean()),
    # the surest class is taken for the true one
    (nll, "more_wrong_row", lambda old: lambda p, t: -np.log(p.max(axis=1)).mean()),
    # the more candidates, the better
    (ap50, "duplicate_box", lambda old: lambda cases: (old(cases) or 0) + 0.01 * sum(len(c["boxes"]) for c in cases)),
    # the order of cases decides
    (nll, "order_of_cases", lambda old: lambda p, t: old(p, t) + 1e-6 * p[0, 0]),
    # the first class counts more
    (nll, "names_of_classes", lambda old: lambda p, t: old(p, t) + 0.1 * np.mean(t == 0)),
]


@pytest.mark.parametrize(("module", "law", "change"), FLATTER, ids=[law for _, law, _ in FLATTER])
def test_a_flattering_metric_is_seen(
    module: Any, law: str, change: Callable[[Any], Any], bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = tuple(each for each in bench.LAWS if each.make.__name__ == law)
    name = module.__name__.removeprefix("hilum.metrics.")
    monkeypatch.setattr(module, "measure", change(module.measure))
    assert any(r["broken"] for r in bench.tried(30, laws=one) if r["must"] and r["metric"] == name)
