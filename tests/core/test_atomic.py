"""A file is there whole or not at all."""

import json
import os
from pathlib import Path

import pytest

from hilum.core import atomic


def test_what_is_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    atomic.write_text(tmp_path / "deep" / "a.txt", "größe\n")
    assert (tmp_path / "deep" / "a.txt").read_text(encoding="utf-8") == "größe\n"
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.txt"]


def test_a_failure_leaves_the_earlier_file_and_no_rest(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), atomic.writing(path) as part:
        part.write_text("half")
        raise RuntimeError("the disk is full")
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_t02_a_disk_that_fails_at_any_call_leaves_the_earlier_file(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    atomic.write_text(path, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space"):
            atomic.write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_nan_is_not_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not any(tmp_path.iterdir())


def test_the_suffixes_stay_so_that_writers_know_the_format(tmp_path: Path) -> None:
    with atomic.writing(tmp_path / "a.nii.gz") as part:
        assert part.name.endswith(".nii.gz") and part.parent == tmp_path
        part.write_bytes(b"x")


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    with atomic.writing_folder(tmp_path / "out") as part:
        (part / "a").write_text("1")
    assert (tmp_path / "out" / "a").read_text() == "1"
    with pytest.raises(RuntimeError), atomic.writing_folder(tmp_path / "other") as part:
        (part / "a").write_text("1")
        raise RuntimeError
    with pytest.raises(OSError), atomic.writing_folder(tmp_path / "out") as part:
        (part / "a").write_text("2")
    assert [p.name for p in tmp_path.iterdir()] == ["out"] and (tmp_path / "out" / "a").read_text() == "1"


def test_the_folder_one_stands_in_can_be_written_and_what_can_not_is_told_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    place = (tmp_path / "here").stat().st_ino
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(RuntimeError), atomic.writing_folder(Path(".")) as part:
        (part / "a").write_text("half")
        raise RuntimeError
    assert not list((tmp_path / "here").iterdir())
    with atomic.writing_folder(Path(".")) as part:
        (part / "a").write_text("1")
    assert (tmp_path / "here" / "a").read_text() == "1"
    # whoever called from there still stands in it: it is the same folder
    assert Path("a").read_text() == "1" and (tmp_path / "here").stat().st_ino == place
    worked = False
    with pytest.raises(OSError), atomic.writing_folder(tmp_path / "here"):
        worked = True
    assert not worked and [p.name for p in tmp_path.iterdir()] == ["here"]


def test_what_came_into_an_empty_folder_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(OSError), atomic.writing_folder(tmp_path / "out") as part:
        (part / "a").write_text("ours")
        (tmp_path / "out" / "a").write_text("theirs")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["a"] and (tmp_path / "out" / "a").read_text() == "theirs"


def test_t01_what_a_folder_holds_is_on_the_disk_before_it_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, before, sync, rename = set(), [], os.fsync, os.replace

    def fsync(handle: int) -> None:
        synced.add(os.fstat(handle).st_ino)
        sync(handle)

    def replace(old: Path, new: Path) -> None:
        before.append(set(synced))
        rename(old, new)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    with atomic.writing_folder(tmp_path / "out") as part:
        (part / "deep").mkdir()
        (part / "deep" / "a").write_text("1")
        inside = {path.stat().st_ino for path in (part, part / "deep", part / "deep" / "a")}
    assert len(before) == 1 and inside <= before[0] and (tmp_path / "out" / "deep" / "a").read_text() == "1"


def test_published_files_follow_the_umask(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        atomic.write_text(tmp_path / "a", "")
    finally:
        os.umask(old)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o644


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert atomic.sha256(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
