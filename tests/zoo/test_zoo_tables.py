"""The tables of the zoo: sizes are found, cells follow the code, a table says what it supports. Nothing is trained."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[2] / "benchmarks"
MINE = (
    "card_size", "cells", "cost", "exported", "learning", "standing", "widths", "published", "machine", "tables",
    "rows",
)  # fmt: skip


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    """Imports a script of benchmarks/zoo by name; afterwards none of them is left among the modules."""
    before = list(sys.path)
    sys.path[:0] = [str(ROOT / "zoo"), str(ROOT / "training")]
    yield importlib.import_module
    sys.path[:] = before
    for name in MINE:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "dims"),
    [("unet", 2), ("segresnet", 2), ("transunet", 2), ("hnet", 2), ("nnunet", 3), ("vnet", 3), ("se_unet", 3)],
)
def test_widths_give_the_size(name: str, dims: int, script: Any) -> None:
    """vnet needs less than eight channels for it, se_unet another gate, segresnet other groups."""
    widths = script("widths")
    shape = widths.Shape(3, 2, (224, 224) if dims == 2 else (32, 64, 32))
    form = widths.Form(name, name)
    found = widths.search(form, shape, 2_000_000)
    assert abs(found.parameters / 2_000_000 - 1) < 0.15, found
    built = widths.build(name, found.options, shape)
    assert sum(p.numel() for p in built.parameters()) == found.parameters
    assert found.flops > 2 * 224 * 224
    from hilum.core.plan import parse_net

    assert parse_net(widths.words(name, found.options)) == (name, found.options)


def test_no_width_is_found_for_a_patch_that_is_refused(script: Any) -> None:
    widths = script("widths")
    from hilum.core.errors import HilumError

    with pytest.raises(HilumError) as refused:
        widths.search(widths.Form("unet", "unet"), widths.Shape(1, 2, (40, 36)), 100_000)
    assert refused.value.code == "HIL-ZOO-02"


def test_a_cell_follows_the_code_and_not_its_words(script: Any) -> None:
    cells = script("cells")
    one = '"""Head."""\nCARD = {"a": 1}\n# why\nx = 1\n\n\ndef f():\n    """Says."""\n    return x\n'
    other = one.replace("Head", "Tail").replace('"a": 1', '"a": 2').replace("why", "how")
    assert cells._bare(one) == cells._bare(other) == "x = 1\ndef f():\n    return x"
    assert cells._bare(one) != cells._bare(one.replace("x = 1", "x = 2"))
    assert cells.code("swin_unet") != cells.code("sstransnet")
    assert set(cells.networks()) >= {"unet", "vnet", "nnunet"} and "vit" not in cells.networks()


def test_what_only_classifiers_ask_for_is_in_no_key_of_a_table(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It once stood in a file that every network reads, and all cells were lost when it came."""
    cells, read = script("cells"), list[str]()

    def noted(text: str) -> str:
        read.append(text)
        return text

    monkeypatch.setattr(cells, "_bare", noted)
    for name in cells.networks():
        cells.code.__wrapped__(name)
    assert any("def require_divisible" in text for text in read)
    assert not any("def require_several_values" in text for text in read)


def test_every_network_is_in_a_table(script: Any) -> None:
    learning = script("learning")
    labels = {form.label for table in learning.TABLES for form in learning.forms(table, "")}
    absent = {name for name, card in script("cells").networks().items() if script("cells").missing(card)}
    assert labels >= set(script("cells").networks()) - absent


def test_attention_unet_is_compared_with_itself_without_gates(script: Any) -> None:
    """The authors' own baseline, at the same size; every pair is of forms that a table has."""
    learning, standing, widths = script("learning"), script("standing"), script("widths")
    forms = {form.label: form for table in learning.TABLES for form in learning.forms(table, "")}
    plain = forms["attention_unet, no gates"]
    assert ("attention_unet", plain.label) in standing.PAIRS
    assert {label for pair in standing.PAIRS for label in pair} <= set(forms)
    found = widths.search(plain, learning.TABLES[0].shape, 2_000_000)
    assert plain.net == "attention_unet" and found.options["gates"] == 0
    assert abs(found.parameters / 2_000_000 - 1) < 0.15, found


def test_a_table_says_whether_anything_could_be_supported(script: Any) -> None:
    supported = script("standing").supported
    rows = [{"net": "a"}, {"net": "b", "supported": True}, {"net": "c", "supported": False}]
    assert "supported 1: it beats b." in supported(rows, 39)
    said = supported([rows[0], *[rows[2]] * 12], 4)
    assert said.startswith("No difference to a is supported") and said.endswith("so none could be.")


def test_a_row_of_table_b_counts_what_was_learned(script: Any) -> None:
    """Cells of before counted the statistics of batch norm as parameters."""
    row = {"net": "a", "parameters": 12, "dice": 0.8, "low": None, "high": None, "seconds": 1.0, "seconds a case": None}
    made = script("standing")._row(row | {"peak bytes": None}, "dice", {0: {"parameters": 10, "flops": None}})
    assert made["parameters"] == 10


def test_table_b_says_what_trained_it(script: Any) -> None:
    """Not `hilum train` alone: that learns about its own answers too, and may choose largest pieces."""
    learning, widths = script("learning"), script("widths")
    table = learning.TABLES[0]
    found = widths.Found({}, 1, None)
    cell = learning.Cell(table, widths.Form("unet", "unet"), found, 0, 2)
    budget: dict[str, Any] = {"steps": 2, "refused": {}, "slow": {}, "fewest": 0}
    old: dict[str, Any] = {"form": "unet", "seed": 0, "failed": "it found nothing"}
    old |= {"command": "hilum train x.yaml --task segment"}
    old |= {"machine": {"seconds": 1.0, "others": 0, "load_start": 0, "load_most": 0}, "hardware": {"processors": "?"}}
    old |= {"commit": "0", "versions": {"torch": "0"}, "date": "2026-11-27"}
    lines, _ = script("standing").section(table, budget, [cell], [old], {}, "told")
    assert lines[-1] == "First command: `python benchmarks/zoo/one.py train x.yaml --task segment`"
    assert any("largest piece" in line for line in script("standing").ABOUT)
    assert script("standing")._cell(old)["MB on card"] is None
    assert script("standing")._cell(old | {"timing": {"card_bytes": 3 << 20}})["MB on card"] == 3


def test_the_table_of_trained_systems_adjusts_for_all_its_comparisons(script: Any) -> None:
    """An interval that leaves out zero supports nothing where so few groups can not give a small p."""

    def line(metric: str, gap: float, p: float, half: float = 0.05) -> dict[str, Any]:
        ends = {"gap low": gap - half, "gap high": gap + half}
        return {"metric": metric, "hilum - peer": gap, **ends, "p": p, "p Holm": None, "supported": "no"}

    lines = [line("dice", 0.1, 0.125), line("dice", 0.1, 0.0005), line("hd95_mm", 0.2, 0.001), line("dice", 0, 0.4)]
    script("tables")._judged([{"data": "hilum's own line"}, *lines])
    assert [one["p Holm"] for one in lines] == pytest.approx([0.25, 0.002, 0.003, 0.4])
    assert [one["supported"] for one in lines] == ["no", "Hilum", "peer", "no"]


def test_card_size_is_what_the_name_alone_builds_and_waits_for_a_gpu(
    script: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    card_size, learning = script("card_size"), script("learning")
    monkeypatch.setattr(card_size.torch.cuda, "is_available", lambda: False)
    plane = {cell.form.label: cell for cell in card_size.ordered(learning.TABLES[0])}
    assert {form.label for form in learning.forms(learning.TABLES[0], "")} >= set(plane)
    unet = plane["unet"]
    assert unet.found.options == {} and unet.found.parameters > 31_000_000
    assert unet.words[-2:] == ["--accelerator", "cuda"] and "1000" in unet.words
    assert len({cell.file for cell in plane.values()}) == len(plane) > 15
    monkeypatch.setattr("sys.argv", ["card_size.py"])
    written = list[Path]()
    monkeypatch.setattr(card_size, "put", written.append)
    with pytest.raises(SystemExit, match="There is no GPU here"):
        card_size.main()
    assert [folder.name for folder in written] == ["results"]


def test_exports_of_every_network_are_compared(script: Any) -> None:
    exported = script("exported")
    assert {"unet", "nnunet", "resnet"} <= set(exported.EXPORTED)
    assert len({exported.file(name) for name in exported.EXPORTED}) == len(exported.EXPORTED)
    assert exported.state({"difference": 1e-3}).startswith("failed") and exported.state(None) == "not compared yet"
    assert exported.state({"difference": 1e-6}) == "equal, 1.0e-06 apart"


def test_the_first_repetition_does_not_count(script: Any) -> None:
    cost, calls = script("cost"), list[int]()
    assert len(cost.timed(lambda: calls.append(1), 5, 60.0)) == 6 == len(calls)
    assert len(cost.timed(lambda: None, 5, 0.0)) == 0
    assert cost.short(RuntimeError("DefaultCPUAllocator: can't allocate memory")) and not cost.short(ValueError("x"))


@pytest.mark.parametrize("at_once", [1, 3])
def test_cells_run_beside_each_other_and_one_that_breaks_costs_only_itself(
    at_once: int, script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning, cells = script("learning"), script("cells")
    made = [SimpleNamespace(file=name) for name in ("a", "b", "broken", "c")]
    cells.write(cells.place(tmp_path, "a"), {"old": True})

    def run(cell: Any, beside: int) -> dict[str, Any]:
        if cell.file == "broken":
            raise subprocess.CalledProcessError(1, ["hilum"], stderr="it broke")
        return {"beside": beside}

    monkeypatch.setattr(learning, "run", run)
    left = float("inf")
    failed = learning.done(tmp_path, iter(made), learning.SMALL, lambda: left, lambda: None, at_once)
    assert failed == ["broken"] and cells.read(cells.place(tmp_path, "a")) == {"old": True}
    assert [cells.read(cells.place(tmp_path, name)) for name in ("b", "c")] == [{"beside": at_once}] * 2
    left = 0.0
    made = [SimpleNamespace(file="late")]
    assert learning.done(tmp_path, iter(made), learning.SMALL, lambda: left, lambda: None, at_once) == []
    assert cells.read(cells.place(tmp_path, "late")) is None


def test_seconds_of_cells_beside_each_other_or_of_a_card_are_not_shown(script: Any) -> None:
    row = {"net": "a", "dice": 0.8, "low": None, "high": None, "seconds": 1.0, "seconds a case": 2.0, "peak bytes": 3}
    for more, shown in (({}, 1.0), ({"at once": 2}, None), ({"hardware": {"processors": "?", "card": "X"}}, None)):
        own = {0: {"parameters": 10, "flops": None, "hardware": {"processors": "?"}} | more}
        assert script("standing")._row(row, "dice", own)["s training"] == shown


def test_networks_too_slow_where_steps_were_timed_wait_for_a_faster_machine(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stayed out of the table for good, though a card has made every other cell."""
    learning, standing, cells = script("learning"), script("standing"), script("cells")
    table, size = learning.TABLES[0], learning.Scale()
    found = learning.Found({}, 2_000_000, 1)
    made = [(learning.Form(name, name), found) for name in ("unet", "fcn")]
    monkeypatch.setattr(learning, "able", lambda *_: made)
    budget = {"steps": 10, "slow": {"fcn": 2.8}, "fewest": 250, "refused": {}}
    cells.write(learning.budget_file(tmp_path, table, size), budget)

    def labels(slow: bool) -> list[str]:
        return [cell.form.label for cell in learning.ordered(tmp_path, [table], "", size, slow)]

    assert labels(False) == ["unet", "unet"] and sorted(labels(True)) == ["fcn", "fcn", "unet", "unet"]
    cells.write(cells.place(tmp_path, next(learning.ordered(tmp_path, [table], "fcn", size, True)).file), {})
    assert labels(False) == ["unet", "unet"], "one seed of two would shorten the table of all"
    for cell in learning.ordered(tmp_path, [table], "", size, True):
        cells.write(cells.place(tmp_path, cell.file), {})
    assert sorted(labels(False)) == ["fcn", "fcn", "unet", "unet"]
    words = "\n".join(standing.section(table, budget, [], [], {}, "told")[0])
    assert "fcn is not run: 2.8 s a step there" in words and "--slow" in words
