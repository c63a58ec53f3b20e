"""system.json is held to its form, and a network of a system opens alike in a folder and in a bundle."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hilum.core.errors import HilumError
from hilum.core.plan import checked
from hilum.core.run import Run
from hilum.core.system import SystemPlan

PLAN = {
    "task": "segment", "dims": 2, "roles": [], "channels": ["image"], "patch": [8, 8], "batch": 1,
    "normalisation": [{"scheme": "zscore"}], "networks": {"net": {"name": "nnunet"}}, "regime": "supervised",
}  # fmt: skip
GROUPS: list[dict[str, Any]] = [
    {"name": "bones", "classes": [{"value": 4, "name": "hip"}]},
    {"name": "organs", "classes": [{"value": 1, "name": "liver"}, {"value": 7, "name": "spleen"}]},
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "system"
    for own in (path, path / "parts" / "bones", path / "parts" / "organs"):
        own.mkdir(parents=True, exist_ok=True)
        (own / "plan.json").write_text(json.dumps(PLAN | {"seed": len(own.name)}))
    (path / "parts" / "bones" / "weights").mkdir()
    (path / "parts" / "bones" / "weights" / "net.safetensors").write_bytes(b"weights")
    (path / "system.json").write_text(json.dumps({"groups": GROUPS}))
    for own in (path / "parts" / "bones", path / "parts" / "organs", path):
        Run(own).write_manifest()
    return path


def test_a_part_opens_alike_in_a_folder_and_in_a_bundle(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.hilum"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    for run in (Run(folder), Run(path)):
        assert run.system is not None and [g.name for g in run.system.groups] == ["bones", "organs"]
        assert [c.name for c in run.system.classes()] == ["liver", "hip", "spleen"]
        part = run.part("bones")
        part.check_hashes()
        assert part.plan.seed == 5 and part.read("weights/net.safetensors") == b"weights" and part.system is None
        assert sorted(part.names()) == ["manifest.json", "plan.json", "weights/net.safetensors"]
    with pytest.raises(HilumError) as error:
        Run(path).part("vessels")
    assert error.value.code == "HIL-RUN-02"


def test_m05_the_manifest_of_a_system_answers_for_those_of_its_networks(folder: Path) -> None:
    Run(folder).check_hashes()
    (folder / "parts" / "bones" / "weights" / "net.safetensors").write_bytes(b"others")
    Run(folder / "parts" / "bones").write_manifest()
    assert Run(folder).differing() == ["parts/bones/manifest.json"]


@pytest.mark.parametrize(
    "groups",
    [
        GROUPS[:1],
        [GROUPS[0], GROUPS[0]],
        # on macOS, exFAT and network drives one folder, whose network would be taken for both
        [GROUPS[0], GROUPS[1] | {"name": "Bones"}],
        [GROUPS[0], {"name": "organs", "classes": [{"value": 4, "name": "liver"}]}],
        [GROUPS[0], {"name": "organs", "classes": [{"value": 1, "name": "hip"}]}],
        [GROUPS[0], {"name": "organs", "classes": []}],
        [GROUPS[0], GROUPS[1] | {"name": "../organs"}],
        [GROUPS[0], GROUPS[1] | {"name": ""}],
    ],
    ids=[
        "one group",
        "a name twice",
        "a name in other letters",
        "a value twice",
        "a class twice",
        "no class",
        "out of the folder",
        "no name",
    ],
)
def test_what_is_no_system_is_refused(groups: list[dict[str, Any]]) -> None:
    with pytest.raises(HilumError) as error:
        checked(SystemPlan, {"groups": groups}, "system.json")
    assert error.value.code == "HIL-PLAN-03"


def test_a_system_says_where_its_weights_are(folder: Path) -> None:
    with pytest.raises(HilumError) as error:
        Run(folder).weights("net")
    assert error.value.code == "HIL-RUN-03" and "parts/NAME" in str(error.value)
