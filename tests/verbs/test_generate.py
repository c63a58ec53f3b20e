"""Generated images and the note that they were generated appear together, or not at all."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import export
from hilum.verbs.generate import generate


def test_images_and_their_record_appear_together(trained: Callable[[str], Run], tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    record = generate(trained("generate").path, 2, tmp_path / "made")
    assert json.loads((tmp_path / "made" / "generated.json").read_text()) == record
    assert sorted(p.name for p in (tmp_path / "made").iterdir()) == sorted([*record["files"], "generated.json"])
    assert len(record["files"]) == 2 and [p.name for p in tmp_path.iterdir()] == ["made"]


def test_a_call_that_is_interrupted_leaves_no_image_without_its_note(
    trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, asked = export.export, [0]

    def stopped(*words: Any) -> list[str]:
        asked[0] += 1
        if asked[0] == 2:
            raise KeyboardInterrupt
        return honest(*words)

    monkeypatch.setattr(export, "export", stopped)
    with pytest.raises(KeyboardInterrupt):
        generate(trained("generate").path, 3, tmp_path / "made")
    assert asked[0] == 2 and not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_refused(trained: Callable[[str], Run], tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(HilumError) as error:
        generate(trained("generate").path, 1, tmp_path)
    assert error.value.code == "HIL-CORE-03" and [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
