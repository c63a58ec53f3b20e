"""The rooms of the house: imports look back only, catalogues read as text, and starting up costs nothing."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hilum
from hilum.core import catalogue

ROOT = Path(next(iter(hilum.__path__)))
FILES = sorted(ROOT.rglob("*.py"))
TIERS = (
    {"core"}, {"io", "prepare", "physics", "zoo", "losses", "metrics", "pictures"}, {"data"}, {"tasks"},
    {"planning", "infer"}, {"learn"}, {"trust"}, {"evaluation"}, {"verbs"}, {"serve"}, {"room"}, {"cli"},
)  # fmt: skip
RANK = {room: rank for rank, tier in enumerate(TIERS) for room in tier}
DOORS = {"cli": {"verbs", "core"}, "serve": {"verbs", "core", "io"}, "room": {"verbs", "core", "io", "serve"}}
# The outer rooms use the verbs; core's types and errors, and io for the transport of DICOM, are allowed beside them.
CATALOGUES = (
    "zoo",
    "tasks",
    "learn",
    "learn.track",
    "io",
    "prepare.augment",
    "metrics",
    "losses",
    "data.layouts",
    "data.phantoms",
)
HEAVY = ("torch", "monai", "scipy", "skimage", "pandas", "sklearn", "matplotlib")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """(line, full dotted name) of every hilum import, at the head or deferred into a function."""
    package = ["hilum", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def room_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "hilum" and len(parts) > 1 and parts[1] in RANK else None


def faults(path: Path) -> list[str]:
    own = path.relative_to(ROOT).parts[0]
    wrong = []
    for line, name in imports(path):
        other = room_of(name)
        if other is None or other == own:
            continue
        if RANK[other] >= RANK[own] or other not in DOORS.get(own, RANK):
            wrong.append(f"{path.relative_to(ROOT)}:{line} {own} imports {name}")
    return wrong


def test_every_folder_is_a_known_room() -> None:
    assert {p.name for p in ROOT.iterdir() if p.is_dir() and any(p.glob("*.py"))} <= RANK.keys()


def test_imports_look_back_only() -> None:
    wrong = [fault for path in FILES if len(path.relative_to(ROOT).parts) > 1 for fault in faults(path)]
    assert not wrong, "\n".join(wrong)


def test_the_check_sees_deferred_and_relative_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "io").mkdir()
    bad = tmp_path / "io" / "bad.py"
    bad.write_text(
        "def f():\n    from hilum.tasks import segment\n    from ..prepare import grid\n    import hilum.data\n"
    )
    assert len(faults(bad)) == 3
    (tmp_path / "cli").mkdir()
    (tmp_path / "cli" / "bad.py").write_text("from hilum.planning import planner\nfrom hilum import verbs\n")
    assert len(faults(tmp_path / "cli" / "bad.py")) == 1


def test_the_outermost_module_loads_only_core() -> None:
    head = ast.parse((ROOT / "__init__.py").read_text(encoding="utf-8")).body
    named = [n.module for n in head if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("hilum")]
    assert named == ["hilum.core.errors"]


def test_nothing_is_called_utils() -> None:
    vague = {"utils", "util", "helpers", "misc", "common"}
    assert not [p for p in ROOT.rglob("*") if p.stem.strip("_").lower() in vague]


def test_only_the_command_line_prints() -> None:
    found = []
    for path in FILES:
        if path.relative_to(ROOT).parts[0] == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write"):
                found.append(f"{path}:{node.lineno}")
    assert not found


@pytest.mark.parametrize("name", CATALOGUES)
def test_every_catalogue_file_has_a_literal_card(name: str) -> None:
    folder = ROOT.joinpath(*name.split("."))
    expected = {p.stem for p in folder.glob("*.py") if not p.stem.startswith("_")}
    found = catalogue.cards(f"hilum.{name}")
    assert expected and expected <= found.keys()
    for entry, card in found.items():
        assert {k: v for k, v in card.items() if k != "module"} == catalogue.load(f"hilum.{name}", entry).CARD


@pytest.mark.parametrize(
    "command",
    [
        "import hilum",
        "import sys; sys.argv = ['hilum', '--help']\nfrom hilum.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code",
        "from hilum.core import catalogue\n[catalogue.cards(f'hilum.{n}') for n in " + repr(CATALOGUES) + "]",
    ],
    ids=["import hilum", "hilum --help", "listing every catalogue"],
)
def test_starting_up_loads_nothing_heavy(command: str) -> None:
    code = f"{command}\nimport sys\nprint('LOADED', sorted(set({HEAVY!r}) & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.rstrip().endswith("LOADED []"), done.stdout[-300:]


def test_every_verb_is_found_by_its_name() -> None:
    for name in hilum._VERBS:
        assert getattr(hilum, name).__module__ == f"hilum.verbs.{name}"
    with pytest.raises(AttributeError):
        hilum.nothing  # noqa: B018
