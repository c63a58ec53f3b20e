"""zoo: counted from the built modules, measured where asked, and what is missing or made up is said."""

import sys
from typing import Any

import pytest
import torch

from hilum.cli import show
from hilum.core import catalogue
from hilum.verbs import zoo as verb
from hilum.verbs.zoo import zoo
from hilum.zoo._cost import activation_memory, flops


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    """A catalogue of some networks, each of another kind."""
    names = ("nnunet", "vit", "voxelmorph", "dccnn", "dcgan_generator", "segresnet")
    cards = {name: catalogue.card("hilum.zoo", name) for name in names}
    monkeypatch.setattr(verb.catalogue, "cards", lambda package: cards)
    return cards


def test_nothing_is_measured_unless_asked(few: dict[str, Any]) -> None:
    rows = zoo()
    assert [row["name"] for row in rows] == list(few)
    assert all(row["parameters"] > 0 and "flops" not in row and row["needs"] is None for row in rows)


def test_every_kind_of_input_is_measured(few: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in zoo(measure=True)}
    assert not [row for row in rows.values() if row.get("not_measured")]
    assert all(row["flops"] > 1e6 and row["activation_bytes"] > 1e5 for row in rows.values())
    images = {name: row["image"] for name, row in rows.items()}
    assert images["nnunet"] == images["voxelmorph"] == "128 x 128 x 128" and images["vit"] == "224 x 224"
    assert images["dccnn"] == "256 x 256" and images["segresnet"] == "160 x 192 x 128"


def test_the_numbers_are_those_of_the_module(few: dict[str, Any]) -> None:
    row = next(row for row in zoo(measure=True) if row["name"] == "dcgan_generator")
    net = catalogue.load("hilum.zoo", "dcgan_generator").Net(**few["dcgan_generator"]["golden"][0]["kwargs"]).eval()
    x = torch.zeros(1, 100)
    assert (row["flops"], row["activation_bytes"]) == (flops(net, x), activation_memory(net, x))


def test_sizes_are_rounded_up_to_what_the_network_divides_by(few: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(verb, "SIDES", {2: 250, 3: 30})
    rows = {row["name"]: row for row in zoo(measure=True)}
    assert rows["voxelmorph"]["image"] == "32 x 32 x 32" and rows["dccnn"]["image"] == "250 x 250"


def test_a_size_that_is_refused_costs_that_row_only(few: dict[str, Any], capsys: Any) -> None:
    golden = {**few["segresnet"]["golden"][0], "shape": [1, 4, 33, 32, 32]}
    few["segresnet"] = {**few["segresnet"], "golden": [golden]}
    rows = {row["name"]: row for row in zoo(measure=True)}
    assert rows["segresnet"]["flops"] is None and "Pad to (40, 32, 32)" in rows["segresnet"]["not_measured"]
    assert rows["vit"]["flops"] > 0
    show.networks(list(rows.values()))
    out = capsys.readouterr().out
    assert "not measured" in out and "segresnet was not measured" in out


def test_a_missing_package_is_told_with_its_remedy(few: dict[str, Any], monkeypatch: Any, capsys: Any) -> None:
    for module in [m for m in sys.modules if m.partition(".")[0] == "monai"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "monai", None)
    rows = {row["name"]: row for row in zoo(measure=True)}
    assert rows["segresnet"]["needs"] == "monai" and rows["segresnet"]["parameters"] is None
    assert rows["nnunet"]["flops"] > 0
    show.networks(list(rows.values()))
    out = capsys.readouterr().out
    assert "needs monai" in out and '-e ".[monai]"' in out


def test_a_network_that_is_broken_is_not_hidden(few: dict[str, Any]) -> None:
    golden = {"kwargs": {**few["vit"]["golden"][0]["kwargs"], "patch": 1000}}
    few["vit"] = {**few["vit"], "golden": [golden]}
    with pytest.raises(Exception, match="HIL-ZOO"):
        zoo()


def test_reconstructions_are_labelled(capsys: Any) -> None:
    row = {
        "name": "a", "year": "2024", "tasks": "segment", "dims": "2-D", "parameters": 7, "paper": "p",
        "reconstruction": False, "needs": None,
    }  # fmt: skip
    show.networks([row])
    assert "reconstruction" not in capsys.readouterr().out
    show.networks([row, {**row, "name": "b", "reconstruction": True}])
    out = capsys.readouterr().out
    assert out.count("reconstruction") == 2 and "the head of hilum/zoo/NAME.py says" in out


def test_measured_numbers_are_shown_with_what_they_mean(capsys: Any) -> None:
    row = {
        "name": "a", "year": "2024", "tasks": "segment", "dims": "2-D", "parameters": 7, "paper": "p",
        "reconstruction": False, "needs": None, "image": "8 x 8", "flops": 2_345_000_000, "activation_bytes": 6_000_000,
    }  # fmt: skip
    show.networks([row])
    out = capsys.readouterr().out
    assert "2,345" in out and "MFLOP: millions" in out and "layers MB: " in out and "8 x 8" in out
