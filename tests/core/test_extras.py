"""What a missing package is installed by: an extra that there is, from Hilum's own folder."""

import re
import tomllib
from pathlib import Path

import pytest

from hilum.core import catalogue
from hilum.core.extras import command, install

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]


def code() -> list[Path]:
    return sorted((ROOT / "hilum").rglob("*.py"))


def test_it_is_installed_from_the_folder_and_never_by_a_name_in_a_registry() -> None:
    assert install("onnx").endswith(command("onnx")) and command("onnx").endswith('-e ".[onnx]"')
    pages = [*code(), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    assert [p.name for p in pages if re.search(r"pip install ['\"]?hilum", p.read_text(encoding="utf-8"))] == []


def test_every_extra_that_the_code_names_is_there() -> None:
    named = {n for path in code() for n in re.findall(r'\binstall\("([^"]+)"\)', path.read_text(encoding="utf-8"))}
    assert named and named <= EXTRAS.keys()


@pytest.mark.parametrize(("room", "key"), [("infer.runtimes", "extra"), ("learn.track", "extra"), ("zoo", "package")])
def test_every_extra_that_a_card_names_is_there(room: str, key: str) -> None:
    named = {c[key] for c in catalogue.cards(f"hilum.{room}").values() if key in c and c["module"].startswith("hilum.")}
    assert named and named <= EXTRAS.keys()


def test_with_the_extras_of_development_every_network_can_be_built() -> None:
    own = next(one for one in EXTRAS["dev"] if one.startswith("hilum["))
    assert "monai" in re.split(r"[\[\],]", own)
