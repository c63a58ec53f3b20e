"""The bundle of a system: its networks find the classes that it says they find."""

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hilum.core.errors import HilumError
from hilum.infer import bundle, system_bundle

PLAN = {
    "task": "segment", "dims": 2, "roles": [], "channels": ["image"], "patch": [8, 8], "batch": 1,
    "normalisation": [{"scheme": "zscore"}], "networks": {"net": {"name": "nnunet"}}, "regime": "supervised",
}  # fmt: skip
CLASSES: dict[str, list[dict[str, Any]]] = {
    "bones": [{"value": 4, "name": "hip"}, {"value": 5, "name": "rib"}],
    "organs": [{"value": 1, "name": "liver"}],
}


def packed(path: Path, found: dict[str, list[dict[str, Any]]]) -> Path:
    """A bundle without weights, whose networks find these classes. Every manifest fits."""
    files: dict[str, bytes] = {}
    groups = [{"name": name, "classes": classes} for name, classes in CLASSES.items()]
    for name, classes in found.items():
        plan = json.dumps(PLAN | {"classes": classes}).encode()
        listed = {"plan.json": hashlib.sha256(plan).hexdigest()}
        files |= {f"parts/{name}/plan.json": plan, f"parts/{name}/manifest.json": json.dumps(listed).encode()}
    whole = PLAN | {"classes": [c for classes in CLASSES.values() for c in classes]}
    for name, content in (("plan.json", whole), ("system.json", {"groups": groups}), ("card.json", {})):
        files[name] = json.dumps(content).encode()
    listed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {"manifest.json": json.dumps(listed).encode()}).items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize(
    "bones",
    [CLASSES["bones"][:1], CLASSES["bones"][::-1], [{"value": 4, "name": "rib"}, {"value": 5, "name": "hip"}]],
    ids=["fewer", "in another order", "the other way round"],
)
def test_m05_a_network_that_finds_other_classes_than_the_system_says_is_refused(
    bones: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was called whole, and the first prediction was refused."""
    told = {"golden_difference": 0, "graphs": {}, "unverified": {}, "runtimes": {}}
    monkeypatch.setattr(bundle, "proven", lambda _: told)
    assert system_bundle.verify(packed(tmp_path / "good.hilum", CLASSES))["golden_difference"] == 0
    with pytest.raises(HilumError, match="finds other classes") as error:
        system_bundle.verify(packed(tmp_path / "a.hilum", CLASSES | {"bones": bones}))
    assert error.value.code == "HIL-M05" and error.value.seen.startswith("parts/bones: ")
