"""What a person sees: tables, bars, numbers of the zoo."""

import ast
import importlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from hilum.cli import hand_on, show
from hilum.core import catalogue
from hilum.core.progress import quiet


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bars_are_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with show.bars() as progress:
        for name in ("prepare", "train", "train"):
            for n in range(1, 4):
                progress(name, n, 3, "loss 0.5")
    drawn = sys.stderr.getvalue()
    assert "train" in drawn and "3/3" in drawn and "loss 0.5" in drawn


def test_bars_are_quiet_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with show.bars() as progress:
        assert progress is quiet
        progress("train", 1, 3)
    assert sys.stderr.getvalue() == ""


def inspected(capsys: pytest.CaptureFixture[str], lacking: list[str]) -> str:
    found = {"path": "my data", "layout": "flat", "cases": 3, "patients": 3, "classes": {}, "pairs": 0, "rows": []}
    found |= {"tasks": ["register"], "problems": [], "labels": {}, "look_alikes": [], "remarks": [], "aside": []}
    show.inspected(found | {"lacking": lacking})
    return capsys.readouterr().out


def test_what_is_found_does_not_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"path": "d", "layout": "flat", "cases": 3, "classes": {"ill\x1b[2J": 2}, "rows": [], "tasks": []}
    found |= {"problems": [], "labels": {}, "remarks": ["see\x1b[2J"], "lacking": []}
    show.inspected(found | {"aside": [{"what": "x\x1b[2J.txt", "kind": "a file, not read"}]})
    out = capsys.readouterr().out
    assert "\x1b" not in out and all(f"{word}\\x1b[2J" in out for word in ("ill", "see", "x"))


def test_another_task_is_not_offered_where_some_labels_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Next: hilum train 'my data' --task register" in inspected(capsys, [])
    assert "It fits: register." in (said := inspected(capsys, ["a"])) and "Next" not in said


def test_where_the_live_page_lies_is_said_once_when_it_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[tuple[str, int]] = []
    progress = show.watched(lambda name, done, total, note="": seen.append((name, done)), Path("run/training.html"))
    progress("look", 1, 1)
    assert not capsys.readouterr().out
    for n in (1, 2):
        progress("prepare", n, 2)
    assert capsys.readouterr().out.count("run/training.html") == 1
    assert seen == [("look", 1), ("prepare", 1), ("prepare", 2)]


def test_tables(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    rows = [{"net": "a", "dice": 0.5, "n": 12000}, {"net": "b[red]", "dice": None, "p": [1, 2]}]
    show._table(rows, "title")
    out = capsys.readouterr().out
    for word in ("title", "0.5000", "12,000", "b[red]", "1; 2", "-"):
        assert word in out


def test_no_interval_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    metric = {"mean": 0.5, "low": None, "high": None, "n": 1, "better": "higher", "per_class": {}}
    found = {"part": "test", "cases": 1, "groups": 1, "missing": 0, "metrics": {"dice": metric}}
    show.evaluated(found, Path("there"))
    out = capsys.readouterr().out
    assert "No interval where nothing varies or groups are too few" in out and "Open there/report.html" in out


def test_what_is_undefined_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    metric = {"mean": 0.5, "low": 0.4, "high": 0.6, "n": 40, "better": "higher", "per_class": {}}
    found = {"part": "all", "cases": 40, "groups": 40, "missing": 0}
    show.evaluated(found | {"metrics": {"accuracy": metric, "auroc": metric | {"mean": None}}}, Path("there"))
    told = [line for line in capsys.readouterr().out.splitlines() if "undefined on" in line]
    assert told == [f"auroc is undefined on these cases ({catalogue.card('hilum.metrics', 'auroc')['empty']})."]


def test_a_doubt_below_the_limit_is_not_called_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    gate = {"accept": 0.2, "measure": "1 - probability of the class", "rate": 0.7}
    asked = {"error": 0.1, "acceptable": None, "opinions": {"kind": "one", "count": 1}, "cases": 10}
    show.calibrated(asked | {"gate": gate, "notes": ["So it is."]})
    _, said, note = capsys.readouterr().out.splitlines()
    assert said.startswith("Accepted: 1 - probability of the class up to 0.2, where nothing else is odd.")
    assert said.endswith("70 % of the validation cases that could be judged have a doubt below the limit.")
    assert note == "So it is."
    show.calibrated(asked | {"gate": gate, "promise": "Promise: so many.", "notes": []})
    assert capsys.readouterr().out.endswith("have a doubt below the limit.\nPromise: so many.\n")
    show.calibrated(asked | {"gate": gate, "sets": {"threshold": 0.1}, "notes": []})
    assert capsys.readouterr().out.endswith("have a doubt below the limit and a prediction set of one class.\n")
    show.calibrated({"networks": {"a": asked | {"gate": gate | {"accept": None, "rate": 0.0}, "notes": []}}})
    name, _, said = capsys.readouterr().out.splitlines()
    assert (name, said) == ("a:", "Accepted: nothing.")


@pytest.mark.parametrize(
    ("opinions", "words"),
    [
        ({"kind": "one", "count": 1}, "opinions one"),
        ({"kind": "dropout", "count": 20}, "opinions dropout:20"),
        ({"kind": "ensemble", "count": 3}, "opinions of 3 networks"),
    ],
)
def test_what_a_calibration_was_asked_for_is_told(
    opinions: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"error": 0.05, "acceptable": 0.8, "opinions": opinions, "gate": None, "notes": []}
    show.calibrated(found)
    told = f"Learned with error 0.05, acceptable 0.8, {words}; what is not given the next time stays so.\n"
    assert capsys.readouterr().out == told
    show.calibrated(found | {"acceptable": None})
    assert f"error 0.05, {words};" in capsys.readouterr().out


def test_notes_of_a_comparison_are_told_where_nobody_opens_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"task": "detect", "data": "scans", "headline": "ap50", "better": "higher", "sureness": []}
    found |= {"rows": [{"net": "a", "ap50": 0.5}], "sentences": ["One."], "notes": ["Two."]}
    show.compared(found | {"auroc sentences": [], "sureness sentences": []}, Path("there"))
    assert capsys.readouterr().out.splitlines()[-3:] == ["One.", "Two.", "Open there/compare.html"]


def ready(decision: str, file: str) -> dict[str, Any]:
    """What the record has of a case."""
    return {"files": [file], "warnings": [], "verdict": {"decision": decision, "reasons": ["So."]}}


def test_what_is_promised_is_told_with_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    found = {"done": {"a": ready("accept", "a.png")}, "failed": [], "intended_use": "Research."}
    show.predicted(found | {"promises": ["Promise: as was learned."]}, Path("there"))
    assert capsys.readouterr().out.splitlines()[1] == "Promise: as was learned."
    show.predicted(found, Path("there"))
    assert "Promise" not in capsys.readouterr().out


def test_what_should_happen_with_the_results_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Results are written whatever the verdict, of which the screen said nothing."""
    decisions = {"a": "person", "b": "flag", "c": "person"}
    done = {name: ready(decision, f"{name}.png") for name, decision in decisions.items()}
    show.predicted({"done": done, "failed": [], "intended_use": "Research."}, Path("there"))
    *cases, told, _ = capsys.readouterr().out.splitlines()
    assert cases == ["a: a.png [person]", "b: b.png [flag]", "c: c.png [person]"]
    assert told == (
        "Decisions: 0 accept, 1 flag, 2 person; worklist.csv says why. "
        "Judge what is for a person without looking at what was found."
    )
    show.predicted({"done": {"b": done["b"]}, "failed": [], "intended_use": "Research."}, Path("there"))
    assert "Judge what" not in capsys.readouterr().out


def test_failures_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    done = {"a": ready("flag", "a.nii.gz") | {"warnings": ["odd"]}}
    found = {"done": done, "failed": [{"case": "b", "code": "HIL-X", "why": "bad"}], "intended_use": "Research."}
    show.predicted(found, Path("there"))
    out = capsys.readouterr().out
    assert "a: a.nii.gz [flag] [warning: odd]" in out and "No result" in out and "bad" in out
    assert "1 done, 1 failed" in out


def test_zoo(hilum: Any) -> None:
    code, out, _ = hilum("zoo", "--task", "segment", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and "3-D" in rows["nnunet"]["dims"] and "resnet" not in rows
    golden = catalogue.card("hilum.zoo", "nnunet")["golden"][0]["kwargs"]
    net = catalogue.load("hilum.zoo", "nnunet").Net(**golden)
    assert rows["nnunet"]["parameters"] == sum(p.numel() for p in net.parameters()) > 100_000
    code, out, _ = hilum("zoo")
    assert code == 0 and "nnunet" in out


def test_zoo_measured_and_through_the_command_line(hilum: Any) -> None:
    code, out, _ = hilum("zoo", "--task", "register", "--measure", "--json")
    (row,) = json.loads(out)
    assert code == 0 and row["name"] == "voxelmorph" and row["flops"] > 1e9 and row["image"] == "128 x 128 x 128"
    code, out, _ = hilum("zoo", "--task", "register", "--measure")
    assert code == 0 and "MFLOP" in out and "128 x 128 x 128" in out


def test_zoo_of_an_unknown_task(hilum: Any) -> None:
    code, out, err = hilum("zoo", "--task", "segmnt")
    assert (code, out) == (2, "") and "segment" in err and err.strip().endswith("[HIL-CORE-02]")


def test_titles_are_no_markup_and_nothing_steers_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    show._table([{"case": "a\x1b[2Jb", "file": 20 * "x"}], "label[new].nii.gz")
    out = capsys.readouterr().out
    assert "label[new].nii.gz" in out and "\x1b" not in out and "a\\x1b[2Jb" in out
    assert show.plain("M\udcfcller") == "M\\udcfcller"


@pytest.mark.parametrize("path", sorted(Path(show.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_printed_as_it_stands(path: Path) -> None:
    # models, names of files and headers come from others; JSON has no control bytes
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    shown = [ast.unparse(n) for n in calls if isinstance(n.func, ast.Name) and n.func.id == "print"]
    known = ("print(plain(words)", "print(json.dumps(", "print(f'hilum {__version__}')", "file=sys.stderr")
    assert [words for words in shown if not any(k in words for k in known)] == []


def test_a_foreign_bundle_does_not_speak_for_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "graphs/x\x1b[1A\x1b[2K\rSigned by radiology.\x1b[8m"
    told = {"files": 1, "golden_difference": 0.0, "signed_by": None, "signed": False, "runtimes": {"torch-bf16": 3.1}}
    told |= {"graphs": {name: None}, "unverified": {name: "no runtime"}, "remarks": ["made\x1b[2J"]}
    monkeypatch.setattr(importlib.import_module("hilum.verbs.verify"), "verify", lambda *_, **__: told)
    hand_on.verify(Path("model.hilum"), None, None)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "\r" not in out and "Not signed." in out
    assert "By torch-bf16 the golden output differs by 3.1e+00." in out


def test_where_hilum_lies_is_said_where_the_shell_does_not_find_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "activate").touch()
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "hilum")])
    for path, said in ((str(tmp_path), True), (os.environ["PATH"], False)):
        monkeypatch.setattr(show.shutil, "which", lambda _, there=not said: "hilum" if there else None)
        monkeypatch.setenv("PATH", path)
        show.demonstrated({"rows": [], "report": "r.html", "intended_use": "Research software."})
        assert (f"source {tmp_path / 'activate'}" in capsys.readouterr().out) == said
