"""A catalogue is a folder: its entries are read as text, and an unknown name is answered with near ones."""

import sys
from pathlib import Path

import pytest

from hilum.core import catalogue
from hilum.core.errors import HilumError, near


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "shelf"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shelf", raising=False)
    catalogue.cards.cache_clear()
    return folder


def test_entries_are_files_and_reading_them_runs_nothing(package: Path) -> None:
    (package / "apple.py").write_text('"""A fruit."""\nCARD = {"about": "red"}\nraise SystemExit("was run")\n')
    (package / "_machinery.py").write_text("x = 1\n")
    assert catalogue.cards("shelf") == {"apple": {"about": "red", "module": "shelf.apple"}}
    assert "shelf.apple" not in sys.modules


def test_an_entry_without_a_literal_card_is_named(package: Path) -> None:
    (package / "pear.py").write_text("x = 1\n")
    with pytest.raises(HilumError, match=r"pear\.py") as error:
        catalogue.cards("shelf")
    assert error.value.code == "HIL-CORE-01"


def test_one_entry_is_read_without_the_others(package: Path) -> None:
    (package / "apple.py").write_text('CARD = {"about": "red"}\n')
    (package / "pear.py").write_text("this is no Python\n")
    (package / "basket").mkdir()
    (package / "basket" / "__init__.py").write_text("")
    assert catalogue.card("shelf", "apple") == {"about": "red", "module": "shelf.apple"}
    # a folder, a hidden file and a path are no entries
    for name in ("basket", "_machinery", "apple.core", ""):
        assert catalogue._own("shelf", name) is None


def test_every_card_alone_is_the_card_in_its_catalogue() -> None:
    for folder in ("hilum.zoo", "hilum.tasks", "hilum.io", "hilum.losses", "hilum.metrics"):
        assert {name: catalogue.card(folder, name) for name in catalogue.cards(folder)} == catalogue.cards(folder)


def test_an_unknown_name_is_answered_with_near_ones() -> None:
    with pytest.raises(HilumError, match="resnet") as error:
        catalogue.card("hilum.zoo", "resnt")
    assert error.value.code == "HIL-CORE-02" and "network" in str(error.value)
    with pytest.raises(HilumError, match="segment"):
        catalogue.load("hilum.tasks", "segmnt")


def test_near_names_or_all_names() -> None:
    assert near("aple", ["apple", "zebra"]) == "Did you mean apple?"
    assert near("zzz", ["b", "a"]) == "Known: a, b"


def test_an_error_is_one_sentence_with_its_code() -> None:
    error = HilumError("HIL-X-01", "Seen.", "Do this.")
    assert str(error) == "Seen. Do this. [HIL-X-01]"
