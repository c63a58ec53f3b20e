"""A folder of predictions goes on, grows, and never mixes two calls, two models or two data sets up."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from hilum.core.atomic import json_text
from hilum.core.calibration import Opinions
from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.lock import locked
from hilum.core.run import Run
from hilum.data.dataset import open_dataset
from hilum.data.layouts._files import Channels
from hilum.io import _source
from hilum.verbs import _cluster, _record, predict


@pytest.fixture
def run(trained: Any) -> Any:
    return trained("segment").path


@pytest.fixture
def images(data: Any, tmp_path: Path) -> Path:
    """Three heads of their own, in a folder that may be changed."""
    folder = tmp_path / "images"
    folder.mkdir()
    for n in range(3):
        name = f"head_{n:03d}.nii.gz"
        (folder / name).write_bytes((data("segment") / "images" / name).read_bytes())
    return folder


def kept(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "predictions.json").read_text())
    return found


def test_a_folder_grows(run: Path, images: Path, tmp_path: Path) -> None:
    out, first = tmp_path / "out", images / "head_000.nii.gz"
    predict.predict(run, [first], out)
    time_of_first = (out / "head_000.nii.gz").stat().st_mtime_ns
    predict.predict(run, [images], out)
    assert list(kept(out)["done"]) == ["head_000", "head_001", "head_002"]
    assert (out / "head_000.nii.gz").stat().st_mtime_ns == time_of_first
    # and what is not named again stays in the record and on the worklist
    predict.predict(run, [first], out)
    assert len(kept(out)["done"]) == 3 and len((out / "worklist.csv").read_text().splitlines()) == 4


@pytest.mark.skipif(sys.platform == "darwin", reason="names are unicode there")
def test_a_name_that_is_no_text_costs_only_itself(run: Path, images: Path, tmp_path: Path) -> None:
    """Its bytes could not be written into the record, which ended the call before any case."""
    odd, out = os.fsdecode(bytes(tmp_path) + b"/gr\xf6sse.nii.gz"), tmp_path / "out"
    shutil.copy(images / "head_001.nii.gz", odd)
    inner = Path(os.fsdecode(bytes(tmp_path) + b"/M\xfcller"))
    (inner / "ct").mkdir(parents=True)
    (inner / "ct" / "cut.nii.gz").write_bytes((images / "head_001.nii.gz").read_bytes()[:300])
    for _ in range(2):
        predict.predict(run, [images / "head_000.nii.gz", odd, inner / "ct"], out)
        failed = {row["case"]: row["code"] for row in kept(out)["failed"]}
        assert list(kept(out)["done"]) == ["head_000"] and failed.pop("cut") == "HIL-N01"
        (place,) = failed
        assert failed[place] == "HIL-I12" and place.endswith("gr\\udcf6sse.nii.gz")


def test_the_record_is_quickly_written_while_cases_come_and_for_reading_at_the_end(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indented it takes a slow encoder, and it was written so anew for every case, with all that were there."""
    out, seen = tmp_path / "out", list[tuple[int, int]]()
    noted = _record.noted

    def looked(*words: Any) -> None:
        noted(*words)
        seen.append(((out / "predictions.json").read_text().count("\n"), len(kept(out)["done"])))

    monkeypatch.setattr(_record, "noted", looked)
    found = predict.predict(run, [images], out)
    assert seen == [(1, 1), (1, 2), (1, 3)]
    assert (out / "predictions.json").read_text() == json_text(found)


@pytest.mark.parametrize("text", ["[]", '{"done', "{}"])
def test_a_record_of_something_else_is_refused(text: str, run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.json").write_text(text)
    with pytest.raises(HilumError) as error:
        predict.predict(run, [images], out)
    assert error.value.code == "HIL-CORE-03" and (out / "predictions.json").read_text() == text


def test_a_file_that_changed_is_not_taken_for_done(run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict.predict(run, [images], out)
    (images / "head_001.nii.gz").write_bytes((images / "head_002.nii.gz").read_bytes())
    before = (out / "head_001.nii.gz").read_bytes()
    with pytest.raises(HilumError, match=r"another head_001.*HIL-CORE-03"):
        predict.predict(run, [images], out)
    assert (out / "head_001.nii.gz").read_bytes() == before, "nothing stored is lost"


def test_a_result_that_is_gone_is_made_again(run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict.predict(run, [images], out)
    (out / "head_001.nii.gz").unlink()
    (out / "worklist.csv").unlink()
    predict.predict(run, [images], out)
    assert (out / "head_001.nii.gz").is_file() and (out / "worklist.csv").is_file()


def test_other_words_need_another_folder(run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict.predict(run, [images], out)
    with pytest.raises(HilumError, match="HIL-CORE-03"):
        predict.predict(run, [images], out, runtime="torch")


def test_t12_two_processes_do_not_write_one_folder(run: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with locked(out), pytest.raises(HilumError, match="HIL-T12"):
        predict.predict(run, [images], out)
    predict.predict(run, [images], out)
    assert not (out / ".lock").exists()


def test_nothing_is_left_where_nothing_came_of_it(run: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.nii.gz"
    bad.write_bytes(b"nothing")
    for out, there in ((tmp_path / "fresh", False), (tmp_path / "empty", True)):
        if there:
            out.mkdir()
        with pytest.raises(HilumError, match="HIL-INFER-06"):
            predict.predict(run, [bad], out)
        assert out.is_dir() == there and not (there and any(out.iterdir()))


def test_every_reason_is_said_where_nothing_came_of_it(run: Path, tmp_path: Path) -> None:
    bad = [tmp_path / "in" / f"bad_{n}.nii.gz" for n in range(5)]
    bad[0].parent.mkdir()
    for path in bad:
        path.write_bytes(b"nothing")
    with pytest.raises(HilumError, match=r"None of 5 inputs.*bad_0.*bad_1.*bad_2.*and 2 more"):
        predict.predict(run, [tmp_path / "in"], tmp_path / "out")


def test_a_short_name_is_said_though_its_letters_stand_in_every_sentence(run: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        (tmp_path / "in" / f"{name}.nii.gz").write_bytes(b"nothing")
    with pytest.raises(HilumError, match=r"None of 2 inputs gave a result \(a: .*; b: "):
        predict.predict(run, [tmp_path / "in"], tmp_path / "out")


def test_an_input_that_is_not_there_takes_no_result_away(run: Path, images: Path, tmp_path: Path) -> None:
    """Its last name is that of a case of another folder, which was found and is not touched."""
    out, first = tmp_path / "out", images / "head_000.nii.gz"
    away = tmp_path / "away" / "head_000"
    predict.predict(run, [first], out)
    predict.predict(run, [away, images / "head_001.nii.gz"], out)
    assert list(kept(out)["done"]) == ["head_000", "head_001"]
    assert [f["case"] for f in kept(out)["failed"]] == [str(away)]
    assert str(away) in (out / "worklist.csv").read_text()
    # the case of that name is found again, and the input stays a failed one
    (out / "head_000.nii.gz").unlink()
    predict.predict(run, [first], out)
    assert "head_000" in kept(out)["done"] and [f["case"] for f in kept(out)["failed"]] == [str(away)]


def test_an_input_that_came_is_no_failed_one_any_more(run: Path, images: Path, tmp_path: Path) -> None:
    out, late = tmp_path / "out", tmp_path / "late.nii.gz"
    given = [images / "head_000.nii.gz", late]
    assert len(predict.predict(run, list(given), out)["failed"]) == 1
    late.write_bytes((images / "head_001.nii.gz").read_bytes())
    assert predict.predict(run, list(given), out)["failed"] == [] and "late" in kept(out)["done"]
    assert "No result" not in (out / "worklist.csv").read_text()


def test_an_input_that_came_is_no_failed_one_however_it_is_named(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, late = tmp_path / "out", tmp_path / "late.nii.gz"
    monkeypatch.chdir(tmp_path)
    given = ["images/head_000.nii.gz", "late.nii.gz"]
    assert [f["input"] for f in predict.predict(run, list(given), out)["failed"]] == [str(late)]
    # the same one, given otherwise, is no second one
    assert len(predict.predict(run, [given[0], "./late.nii.gz"], out)["failed"]) == 1
    late.write_bytes((images / "head_001.nii.gz").read_bytes())
    monkeypatch.chdir(images)
    assert predict.predict(run, ["head_000.nii.gz", "../late.nii.gz"], out)["failed"] == []
    assert "late" in kept(out)["done"]


def test_an_input_that_is_found_in_its_folder_is_no_failed_one_any_more(
    run: Path, images: Path, data: Any, tmp_path: Path
) -> None:
    """It stood as a failed one beside its own result."""
    out, late, gone = tmp_path / "out", images / "late.nii.gz", tmp_path / "gone.nii.gz"
    series = images / "series"
    assert len(predict.predict(run, [images / "head_000.nii.gz", late, series, gone], out)["failed"]) == 3
    late.write_bytes((images / "head_001.nii.gz").read_bytes())
    shutil.copytree(data("segment") / "images" / "head_003", series)
    found = predict.predict(run, [images], out)
    assert {"late", "series"} < set(found["done"]) and [f["input"] for f in found["failed"]] == [str(gone)]
    assert (out / "worklist.csv").read_text().count("No result") == 1


def test_a_later_case_may_not_be_called_like_an_earlier_one(run: Path, images: Path, tmp_path: Path) -> None:
    out, nested = tmp_path / "out", tmp_path / "deep" / "p1"
    nested.mkdir(parents=True)
    shutil.copy(images / "head_000.nii.gz", nested / "ct.nii.gz")
    shutil.copy(images / "head_001.nii.gz", tmp_path / "p1_ct.nii.gz")
    predict.predict(run, [tmp_path / "deep"], out)
    before = (out / "p1_ct.nii.gz").read_bytes()
    with pytest.raises(HilumError, match="HIL-DATA-04"):
        predict.predict(run, [tmp_path / "p1_ct.nii.gz"], out)
    assert (out / "p1_ct.nii.gz").read_bytes() == before and list(kept(out)["done"]) == ["p1/ct"]


def test_results_do_not_go_into_the_folder_of_the_inputs(
    run: Path, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second call would find masks where it looks for images."""
    with pytest.raises(HilumError, match="HIL-INFER-20"):
        predict.predict(run, [images], images / "found")
    monkeypatch.chdir(images)
    with pytest.raises(HilumError, match="HIL-INFER-20"):
        predict.predict(run, ["."], "found")
    assert len(predict.predict(run, ["."], "../found")["done"]) == 3


def test_results_do_not_go_into_the_folder_that_is_read_however_it_is_named(
    run: Path, images: Path, tmp_path: Path
) -> None:
    """A dataset.yaml, which is a file, led around the refusal."""
    given = tmp_path / "given.yaml"
    given.write_text("folder: images\n")
    with pytest.raises(HilumError, match="HIL-INFER-20"):
        predict.predict(run, [given], images / "found")
    for sides in ({"fixed": images, "moving": given}, {"fixed": given, "moving": images}):
        with pytest.raises(HilumError, match="HIL-INFER-20"):
            predict.predict(run, [], images / "found", **sides)
    assert not (images / "found").exists()
    assert len(predict.predict(run, [given], tmp_path / "found")["done"]) == 3


def test_a_cluster_is_given_whole_paths(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may stand in another folder; and it opens a model that was calibrated since anew."""
    seen: list[dict[str, Any]] = []

    def away(cases: list[Case], address: str, settings: dict[str, Any]) -> Any:
        assert all(case.items["image"].path.is_absolute() for case in cases)
        seen.append(settings)
        yield from ((case, {"files": [], "verdict": {"decision": "person", "reasons": []}}) for case in cases)

    monkeypatch.setattr(_cluster, "run", away)
    monkeypatch.setattr(_cluster, "check", lambda address: None)
    monkeypatch.chdir(images.parent)
    assert len(predict.predict(run, ["images"], tmp_path / "out", cluster="tcp://there:1")["done"]) == 3
    own = tmp_path / "own"
    shutil.copytree(run, own)
    changed = json.loads((own / "calibration.json").read_text())
    (own / "calibration.json").write_text(json.dumps(changed, indent=3))
    Run(own).write_manifest()
    predict.predict(own, ["images"], tmp_path / "other", cluster="tcp://there:1")
    assert seen[0]["key"] != seen[1]["key"] and seen[0]["files"] != seen[1]["files"]
    assert seen[1]["files"] == _cluster.digest(Run(own).hashes())


def test_memory_can_not_be_kept_where_scores_of_all_voxels_are(run: Path, images: Path, tmp_path: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(run, own)
    known = Run(own).calibration
    assert known is not None
    made = known.model_copy(update={"opinions": Opinions(kind="views")})
    (own / "calibration.json").write_text(made.model_dump_json())
    Run(own).write_manifest()
    for model, wide in ((own, False), (run, True)):
        with pytest.raises(HilumError, match="HIL-INFER-19"):
            predict._check_way(Run(model), 10**9, wide)
    predict._check_way(Run(run), 10**9, False)
    predict._check_way(Run(own), None, True)


@pytest.mark.parametrize("names", [("t1/gd_001", "t1_gd/001"), ("Head", "head")])
def test_results_that_would_be_called_alike_are_refused(names: tuple[str, str]) -> None:
    with pytest.raises(HilumError, match="HIL-DATA-04"):
        predict._apart([*names])


def test_a_case_may_not_be_called_like_a_sheet() -> None:
    with pytest.raises(HilumError, match=r"worklist.*HIL-DATA-04"):
        predict._apart(["one", "worklist"])
    predict._apart(["one", "two", "a/one"])


def test_every_file_of_an_item_is_looked_at(data: Any, tmp_path: Path) -> None:
    """Channels and DICOM series have several: one that changes in place changes no folder."""
    parts = [tmp_path / f"a_000{n}.nii.gz" for n in (0, 1)]
    series = tmp_path / "series"
    series.mkdir()
    slices = [series / f"{n}.dcm" for n in (1, 2)]
    for path in [*parts, *slices]:
        path.write_bytes(b"one")
    items = {
        "image": Channels(tuple(_source.FileSource(p, "nifti") for p in parts)),
        "moving": _source.FileSource(series, "dicom"),
        "fixed": _source.FileSource(tmp_path, "dicom", options={"files": ["series/1.dcm"]}),
    }
    case = Case("a", "", items)
    assert case.items["image"].files == tuple(parts) and case.items["moving"].files == tuple(slices)
    assert case.items["fixed"].files == (slices[0],)
    seen = {_record.stamp(case)}
    for path in [*parts, *slices]:
        path.write_bytes(b"two and more")
        seen.add(_record.stamp(case))
    assert len(seen) == 5
    slices[0].unlink()
    assert _record.stamp(case) not in seen


def test_results_of_another_version_stay_and_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record: dict[str, Any] = {"done": {}, "failed": []}
    case = Case("a", "", {})
    _record.noted(record, "a", _record.stamp(case), {"files": []}, tmp_path)
    assert _record.left(record, [case], tmp_path) == {} and not caplog.messages
    monkeypatch.setattr(_record, "__version__", "99.0")
    assert _record.left(record, [case], tmp_path) == {}
    (said,) = caplog.messages
    assert said.startswith("1 results") and "99.0" in said and "--out" in said
    # of folders that were written before it was noted nothing is known
    del record["done"]["a"]["hilum"]
    assert _record.left(record, [case], tmp_path) == {} and len(caplog.messages) == 1


def test_labels_that_are_drawn_or_corrected_change_no_result(tmp_path: Path) -> None:
    image, label = tmp_path / "a.png", tmp_path / "a_label.png"
    image.write_bytes(b"one")
    alone = Case("a", "", {"image": _source.FileSource(image, "raster")})
    roles = ("label", "label@anna", "fixed_label")
    both = Case("a", "", alone.items | {role: _source.FileSource(label, "raster") for role in roles})
    before = _record.stamp(alone)
    label.write_bytes(b"drawn")
    # as folders had it that were written before
    record = {"done": {"a": {"inputs": _record.stamp(both, labels=True), "files": []}}}
    assert _record.stamp(both) == before and _record.left(record, [both], tmp_path) == {}
    record["done"]["a"]["inputs"] = before
    label.write_bytes(b"corrected")
    assert _record.left(record, [both], tmp_path) == {}
    image.write_bytes(b"another")
    with pytest.raises(HilumError, match="HIL-CORE-03"):
        _record.left(record, [both], tmp_path)


def test_t11_a_slice_or_a_channel_that_changes_is_seen(tmp_path: Path) -> None:
    from hilum.data.stamps import Stamps

    parts = [tmp_path / f"a_000{n}.nii.gz" for n in (0, 1)]
    for path in parts:
        path.write_bytes(b"one")
    case = Case("a", "", {"image": Channels(tuple(_source.FileSource(p, "nifti") for p in parts))})
    stamps = Stamps([case])
    stamps.check()
    parts[1].write_bytes(b"another")
    with pytest.raises(HilumError, match=r"a_0001.*HIL-T11"):
        stamps.check()


def test_t11_voxels_beside_their_header_are_looked_at_and_a_note_beside_slices_is_not(tmp_path: Path) -> None:
    from hilum.data.stamps import Stamps

    series, header = tmp_path / "series", tmp_path / "a.mhd"
    series.mkdir()
    (series / "1.dcm").write_bytes(b"one")
    header.write_text(
        "NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\nElementDataFile = a.raw\n"
    )
    (tmp_path / "a.raw").write_bytes(bytes(8))
    items = {"image": _source.FileSource(header, "metaimage"), "validity": _source.FileSource(series, "dicom")}
    case = Case("a", "", items)
    before, stamps = _record.stamp(case), Stamps([case])
    (series / ".DS_Store").write_bytes(b"left by a system")
    (series / "note.txt").write_text("looked at on Monday")
    assert _record.stamp(case) == before
    stamps.check()
    (tmp_path / "a.raw").write_bytes(bytes(9))
    assert _record.stamp(case) != before
    with pytest.raises(HilumError, match=r"a\.raw has changed.*HIL-T11"):
        stamps.check()


CALL = """
import sys, time
from hilum.verbs.predict import predict

def progress(name, done, total, note=""):
    if name == "predict" and done == 1:
        time.sleep(600)

predict(sys.argv[1], [sys.argv[2]], sys.argv[3], progress=progress)
"""
# It never comes to the record of a second case.


def test_t01_a_call_that_was_killed_goes_on(run: Path, images: Path, tmp_path: Path) -> None:
    """With one result of three in the record, one that the record does not have yet, and half a file."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    predict.predict(run, [images], whole)
    command = [sys.executable, "-c", CALL, str(run), str(images), str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    try:
        while process.poll() is None and time.monotonic() < until:
            if (out / "predictions.json").is_file() and kept(out)["done"]:
                break
            time.sleep(0.01)
    finally:
        process.kill()
    assert process.wait() == -signal.SIGKILL and list(kept(out)["done"]) == ["head_000"]
    first = (out / "head_000.nii.gz").read_bytes()
    (out / "head_001.nii.gz").write_bytes(b"not in the record")
    (out / ".part-xyz.nii.gz").write_bytes(b"half")
    found = predict.predict(run, [images], out)
    assert set(found["done"]) == {case.id for case in open_dataset(images).cases}
    assert not list(out.glob(".part-*"))
    # it is kept as the other process made it, whose sums may be rounded otherwise by another number of threads
    assert (out / "head_000.nii.gz").read_bytes() == first
    for n in (1, 2):
        assert (out / f"head_{n:03d}.nii.gz").read_bytes() == (whole / f"head_{n:03d}.nii.gz").read_bytes()


def test_t01_a_result_that_no_row_names_is_told(
    run: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed between the files of a case and its row, which comes up to a case later; then called for another."""
    out = tmp_path / "out"

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(_record, "noted", killed)
        predict.predict(run, [images / "head_000.nii.gz"], out)
    assert (out / "head_000.nii.gz").is_file() and not kept(out)["done"]
    for _ in range(2):
        caplog.clear()
        predict.predict(run, [images / "head_001.nii.gz"], out)
        (told,) = [words for words in caplog.messages if "no row of predictions.json" in words]
        assert "head_000.nii.gz" in told and "head_001" not in told
    (out / "notes.txt").write_text("of a person")
    caplog.clear()
    predict.predict(run, [images], out)
    (told,) = [words for words in caplog.messages if "no row of predictions.json" in words]
    assert "notes.txt" in told and "head" not in told.removeprefix(str(out))


def test_what_sets_two_calls_apart_is_said(run: Path, images: Path, tmp_path: Path) -> None:
    """After a calibration the same call was refused, and told to be repeated."""
    out = tmp_path / "out"
    predict.predict(run, [images], out)
    with pytest.raises(HilumError, match="other options"):
        predict.predict(run, [images], out, maps=True)
    known = kept(out)
    known["key"], known["model"]["hashes"]["calibration.json"] = "of before", "0" * 64
    (out / "predictions.json").write_text(json.dumps(known))
    with pytest.raises(HilumError, match=r"calibration\.json differ.*another --out"):
        predict.predict(run, [images], out)
