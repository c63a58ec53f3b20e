"""A run folder or a bundle is held to its hashes, and its history can not be rewritten unseen."""

import hashlib
import json
import os
import stat
import struct
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hilum.core import _members
from hilum.core.atomic import sha256, write_text
from hilum.core.errors import HilumError
from hilum.core.lock import locked
from hilum.core.run import Run, new_folder, write_rows
from hilum.infer import signature

PLAN = {
    "task": "segment", "dims": 2, "roles": [], "channels": ["image"], "patch": [8, 8], "batch": 1,
    "normalisation": [{"scheme": "zscore"}], "networks": {"net": {"name": "nnunet"}}, "regime": "supervised",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    (path / "weights").mkdir(parents=True)
    (path / "plan.json").write_text(json.dumps(PLAN))
    (path / "weights" / "net.safetensors").write_bytes(b"weights")
    write_rows(path / "split.csv", [{"case": "a", "group": "g", "part": "train"}])
    Run(path).write_manifest()
    return path


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def refused(run: Run | Path) -> str:
    with pytest.raises(HilumError) as error:
        (Run(run) if isinstance(run, Path) else run).check_hashes()
    return error.value.code


def test_a_folder_and_a_bundle_read_alike(folder: Path, tmp_path: Path) -> None:
    first, second = Run(folder), Run(zipped(folder, tmp_path / "a.hilum"))
    assert not first.is_bundle and second.is_bundle
    assert first.hashes() == second.hashes() and first.plan == second.plan and first.split() == second.split()
    first.check_hashes()
    second.check_hashes()


def test_an_open_bundle_is_measured_once_and_again_where_it_was_changed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # more than an open file holds back in its buffer
    (folder / "weights" / "net.safetensors").write_bytes(bytes(1 << 20) + b"their end")
    Run(folder).write_manifest()
    path = zipped(folder, tmp_path / "a.hilum")
    run, honest = Run(path), _members.digest
    asked: list[str] = []
    monkeypatch.setattr(_members, "digest", lambda *words: asked.append(words[1]) or honest(*words))
    first = run.hashes()
    run.hashes()["plan.json"] = "changed by whoever asked"
    run.check_hashes()
    assert run.hashes() == first and sorted(asked) == sorted(first)
    path.write_bytes(path.read_bytes().replace(b"their end", b"other end"))
    # another time, however coarse the clock of the disk
    os.utime(path, ns=(0, 0))
    assert refused(run) == "HIL-M05"


@pytest.mark.parametrize("name", ["plan.json", "split.csv", "weights/net.safetensors"])
def test_m05_a_changed_file_is_refused(name: str, folder: Path) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert refused(folder) == "HIL-M05"


def test_m05_an_added_or_a_lost_file_is_refused(folder: Path) -> None:
    (folder / "weights" / "extra.safetensors").write_bytes(b"x")
    assert refused(folder) == "HIL-M05"
    (folder / "weights" / "extra.safetensors").unlink()
    (folder / "split.csv").unlink()
    assert refused(folder) == "HIL-M05"


def test_m05_what_a_file_manager_leaves_in_a_run_that_is_looked_at_is_no_change(folder: Path, tmp_path: Path) -> None:
    """Finder of macOS writes such files, and the run was refused from then on."""
    for name in (".DS_Store", "._net.safetensors", ".AppleDouble/net.safetensors"):
        path = folder / "weights" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"how it was looked at")
    run = Run(folder)
    run.check_hashes()
    assert run.names() == ["manifest.json", "plan.json", "split.csv", "weights/net.safetensors"]
    # nor where an earlier Hilum has listed them
    listed = run.json("manifest.json") | {"weights/.DS_Store": 64 * "0"}
    (folder / "manifest.json").write_text(json.dumps(listed))
    run.check_hashes()
    run.write_manifest()
    assert refused(zipped(folder, tmp_path / "a.hilum")) == "HIL-M05", "of a bundle every member counts"
    (folder / "weights" / "extra.safetensors").write_bytes(b"x")
    assert refused(folder) == "HIL-M05"
    (folder / "weights" / "extra.safetensors").unlink()
    (folder / "weights" / "net.safetensors").write_bytes(b"others")
    assert refused(folder) == "HIL-M05"


@pytest.mark.parametrize("form", ["2", '"2"', '"1"', "1.0", "2.0", "true", "null", "0", "[1]"])
@pytest.mark.parametrize("name", ["plan.json", "card.json"])
def test_m09_a_form_that_is_not_known_here_is_refused(name: str, form: str, folder: Path) -> None:
    """A newer one, and what is no whole number: it may mean anything."""

    def put(stated: str) -> None:
        (folder / name).write_text(f'{json.dumps(PLAN)[:-1]}, "format": {stated}}}')
        Run(folder).write_manifest()

    put(form)
    assert refused(folder) == "HIL-M09"
    put("1")
    Run(folder).check_hashes()


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '"x"'])
def test_m05_a_manifest_that_is_none_is_refused(text: str, folder: Path) -> None:
    (folder / "manifest.json").write_text(text)
    assert refused(folder) == "HIL-M05"
    (folder / "manifest.json").unlink()
    assert refused(folder) == "HIL-M05"


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.hilum").write_text("no zip")
    for path, code in (("nothing", "HIL-RUN-01"), ("empty", "HIL-RUN-02"), ("text.hilum", "HIL-RUN-02")):
        with pytest.raises(HilumError) as error:
            Run(tmp_path / path)
        assert error.value.code == code


def test_m05_a_damaged_zip_is_refused(folder: Path, tmp_path: Path) -> None:
    path = zipped(folder, tmp_path / "a.hilum")
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    with pytest.raises(HilumError) as error:
        Run(path)
    assert error.value.code == "HIL-RUN-02"
    place = good.index(b"weights", good.index(b"net.safetensors"))
    path.write_bytes(good[:place] + b"W" + good[place + 1 :])
    assert refused(path) == "HIL-M05"


@pytest.mark.parametrize("name", ["manifest.json", "signature.json", "split.csv"])
def test_m05_a_member_that_is_there_twice_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    """Alike or not, and whether the manifest lists it or can not: a reader may see either of them."""
    pytest.importorskip("cryptography")
    private, _ = signature.make_pair("maker", tmp_path / "keys")
    made = signature.sign((folder / "manifest.json").read_bytes(), private)
    (folder / "signature.json").write_bytes(made)
    path = zipped(folder, tmp_path / "a.hilum")
    Run(path).check_hashes()
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(name, (folder / name).read_bytes())
    with pytest.raises(HilumError, match=name) as error:
        Run(path).check_hashes()
    assert error.value.code == "HIL-M05"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("weights/net.bin", "is encrypted"),
        ("weights/net.bin", "is a link"),
        ("../d35.json", "lies outside"),
        ("weights/../../d35.json", "lies outside"),
        ("/hilum-d35.json", "lies outside"),
        ("..\\d35.json", "lies outside"),
        ("C:\\d35.json", "lies outside"),
        ("more/inner.zip", "is packed itself"),
        ("INNER.HILUM", "is packed itself"),
    ],
)
def test_d35_a_hostile_member_is_refused_and_nothing_is_unpacked(
    name: str, words: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest lists it and fits, as an attacker would write it."""
    content = zipped(folder, tmp_path / "inner.zip").read_bytes() if "packed" in words else b"/etc/passwd"
    manifest = json.loads((folder / "manifest.json").read_text()) | {name: hashlib.sha256(content).hexdigest()}
    files = {one: (folder / one).read_bytes() for one in Run(folder).hashes()}
    path, member = tmp_path / "a.hilum", zipfile.ZipInfo(name)
    member.external_attr = ((stat.S_IFLNK if "link" in words else stat.S_IFREG) | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        for one, held in (files | {"manifest.json": json.dumps(manifest).encode()}).items():
            archive.writestr(one, held)
        archive.writestr(member, content)
        # said in the list of members, which is written last
        member.flag_bits |= int("encrypted" in words)
    # a name that leads upwards would lead from here to where it is seen
    monkeypatch.chdir(folder)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(HilumError, match=words) as error:
        Run(path).check_hashes()
    assert error.value.code == "HIL-M05" and repr(name) in error.value.seen
    assert sorted(tmp_path.rglob("*")) == before and not Path("/hilum-d35.json").exists()


def test_d35_more_members_than_any_bundle_has_are_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = zipped(folder, tmp_path / "a.hilum")
    Run(path).check_hashes()
    monkeypatch.setattr(_members, "MOST", 20)
    with zipfile.ZipFile(path, "a") as archive:
        for number in range(20):
            archive.writestr(f"more/{number}", b"")
    with pytest.raises(HilumError, match=r"24 members, more than 20.*HIL-M05"):
        Run(path)


@pytest.mark.parametrize("told", ["as it is", "by ZIP64", "less than there are"])
def test_d35_very_many_members_are_refused_before_any_is_looked_at(
    told: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million of them took a gigabyte before they were counted."""
    path = zipped(folder, tmp_path / "a.hilum")
    content = path.read_bytes()
    at = content.rindex(b"PK\x05\x06")
    members, size, place = struct.unpack("<HII", content[at + 10 : at + 20])
    if told == "by ZIP64":
        record = b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, members, members, size, place)
        locator = b"PK\x06\x07" + struct.pack("<IQI", 0, at, 1)
        end = b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
        path.write_bytes(content[:at] + record + locator + end)
    elif told == "less than there are":
        path.write_bytes(content[: at + 8] + struct.pack("<HH", 1, 1) + content[at + 12 :])
        monkeypatch.setattr(_members, "LISTED", 46)
    assert len(zipfile.ZipFile(path).namelist()) == members and Run(path).names()
    monkeypatch.setattr(_members, "MOST", members - 1)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was opened"))
    words = f"takes {size} bytes" if told == "less than there are" else f"{members} members"
    with pytest.raises(HilumError, match=words) as error:
        Run(path)
    assert error.value.code == "HIL-M05"


@pytest.mark.parametrize("name", ["plan.json", "card.json", "split.csv", "weights/net.safetensors"])
def test_m05_a_member_that_swells_is_refused_before_it_is_read(name: str, folder: Path, tmp_path: Path) -> None:
    """Of a few kilobytes many megabytes, with a manifest that fits."""
    size = (65 << 20) if name.endswith(".safetensors") else (20 << 20)
    path, blank = tmp_path / "bomb.hilum", b" " * size
    manifest = {n: sha256(folder / n) for n in Run(folder).hashes()} | {name: hashlib.sha256(blank).hexdigest()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in {*manifest, name} - {name}:
            archive.write(folder / one, one)
        archive.writestr(name, blank)
        archive.writestr("manifest.json", json.dumps(manifest))
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(HilumError) as error:
        Run(path).check_hashes()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert error.value.code == "HIL-M05" and name in error.value.seen and held < size / 4


def test_m05_text_that_is_large_and_stored_as_it_is_is_refused(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "large.hilum"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("plan.json", b" " * (65 << 20))
    with pytest.raises(HilumError) as error:
        Run(path).check_hashes()
    assert error.value.code == "HIL-M05" and "claims" in error.value.seen


def test_m05_json_that_is_nested_without_end_is_refused(folder: Path) -> None:
    (folder / "card.json").write_text("[" * 200_000)
    with pytest.raises(HilumError) as error:
        Run(folder).json("card.json")
    assert error.value.code == "HIL-M05"


def test_hashing_a_bundle_does_not_hold_its_members(folder: Path, tmp_path: Path) -> None:
    path, size = tmp_path / "a.hilum", 32 << 20
    (folder / "weights" / "net.safetensors").write_bytes(os.urandom(size))
    Run(folder).write_manifest()
    with zipfile.ZipFile(path, "w") as archive:
        for name in [*Run(folder).hashes(), "manifest.json"]:
            archive.write(folder / name, name)
    tracemalloc.start()
    Run(path).check_hashes()
    held = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert held < size / 4


def test_a_lost_file_is_named(folder: Path, tmp_path: Path) -> None:
    for run in (Run(folder), Run(zipped(folder, tmp_path / "a.hilum"))):
        with pytest.raises(HilumError, match="fingerprint") as error:
            run.read("fingerprint.json")
        assert error.value.code == "HIL-RUN-03"


def test_a_plan_that_is_not_text_is_refused(folder: Path) -> None:
    (folder / "plan.json").write_bytes(b"\xff\xfe")
    with pytest.raises(HilumError) as error:
        _ = Run(folder).plan
    assert error.value.code == "HIL-PLAN-01"


def test_m01_a_pickle_is_not_weights(folder: Path) -> None:
    import pickle

    (folder / "weights" / "net.safetensors").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(HilumError) as error:
        Run(folder).weights("net")
    assert error.value.code == "HIL-M04"


def laid(header: str, size: int) -> bytes:
    """A safetensors file with that header, of zeros."""
    return len(header).to_bytes(8, "little") + header.encode() + bytes(size)


def test_m04_a_weight_that_is_there_twice_is_refused(folder: Path) -> None:
    entry = '"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    (folder / "weights" / "net.safetensors").write_bytes(laid(f"{{{entry}, {entry}}}", 8))
    with pytest.raises(HilumError) as error:
        Run(folder).weights("net")
    assert error.value.code == "HIL-M04"
    (folder / "weights" / "net.safetensors").write_bytes(laid(f"{{{entry}}}", 8))
    assert list(Run(folder).weights("net")) == ["a"]


def test_m05_numbers_of_one_name_that_are_there_twice_are_refused(folder: Path) -> None:
    entry = '"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    (folder / "outlier.safetensors").write_bytes(laid(f"{{{entry}, {entry}}}", 8))
    with pytest.raises(HilumError, match="holds 'a' twice") as error:
        Run(folder).arrays("outlier.safetensors")
    assert error.value.code == "HIL-M05"
    (folder / "outlier.safetensors").write_bytes(laid(f"{{{entry}}}", 8))
    assert list(Run(folder).arrays("outlier.safetensors")) == ["a"]


def test_numbers_of_a_type_that_is_not_known_are_refused(folder: Path) -> None:
    content = laid('{"a": {"dtype": "F8_E8M0", "shape": [4], "data_offsets": [0, 4]}}', 4)
    (folder / "weights" / "net.safetensors").write_bytes(content)
    (folder / "outlier.safetensors").write_bytes(content)
    with pytest.raises(HilumError, match="HIL-M04"):
        Run(folder).weights("net")
    with pytest.raises(HilumError, match="HIL-M05"):
        Run(folder).arrays("outlier.safetensors")


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_m05_a_member_that_is_packed_otherwise_is_refused(way: int, tmp_path: Path) -> None:
    """It would be unpacked whole before anybody knew how large it is."""
    with zipfile.ZipFile(tmp_path / "a.hilum", "w", way) as archive:
        archive.writestr("plan.json", "{}")
    with pytest.raises(HilumError, match="packed in a way that no bundle is") as error:
        Run(tmp_path / "a.hilum")
    assert error.value.code == "HIL-M05"


def test_m05_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.hilum"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("plan.json", *(f"more{n}" for n in range(40))):
            archive.writestr(name, "x" * 1000)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        size = sum(member.compress_size for member in archive.infolist())
    # all of them where the first one lies
    central = content.index(b"PK\x01\x02")
    path.write_bytes(content[:1100] + b"".join(_at_the_start(content[central:], len(content[:1100]))))
    with pytest.raises(HilumError, match="overlap") as error:
        Run(path)
    assert error.value.code == "HIL-M05" and size > path.stat().st_size


def _at_the_start(directory: bytes, place: int) -> list[bytes]:
    """The directory of a zip file with every member at its beginning."""
    parts, at = [], 0
    while directory[at : at + 4] == b"PK\x01\x02":
        name, extra, comment = struct.unpack("<HHH", directory[at + 28 : at + 34])
        end = at + 46 + name + extra + comment
        parts.append(directory[at : at + 42] + struct.pack("<I", 0) + directory[at + 46 : end])
        at = end
    last = bytearray(directory[at:])
    last[16:20] = struct.pack("<I", place)
    return [*parts, bytes(last)]


@pytest.mark.parametrize("what", ["version", "name"])
def test_a_zip_file_that_python_can_not_read_is_no_bundle(what: str, tmp_path: Path) -> None:
    path = tmp_path / "a.hilum"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("plan.json", "{}")
        archive.writestr("\u00e9", "x")
    content = bytearray(path.read_bytes())
    central = content.index(b"PK\x01\x02")
    if what == "version":
        content[central + 6] = 99
    else:
        at = content.index("\u00e9".encode(), central)
        content[at] = 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(HilumError) as error:
        Run(path)
    assert error.value.code == "HIL-RUN-02"


def test_the_ledger_grows_and_remembers(folder: Path) -> None:
    run = Run(folder)
    assert run.ledger() == []
    for number in range(3):
        run.record("evaluate", {"part": "test", "look": number})
    assert [e["look"] for e in run.ledger()] == [0, 1, 2]


def test_events_that_end_together_are_all_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both had read the same ledger, and the later one wrote over the event of the other."""

    def slowly(path: Path, text: str) -> None:
        time.sleep(0.02)
        write_text(path, text)

    def record(number: int) -> None:
        Run(folder).record("evaluate", {"look": number})

    monkeypatch.setattr("hilum.core.run.write_text", slowly)
    before = {path.name for path in folder.iterdir()}
    # as while it is trained
    with locked(folder), ThreadPoolExecutor(4) as pool:
        list(pool.map(record, range(8)))
    assert sorted(event["look"] for event in Run(folder).ledger()) == list(range(8))
    assert {path.name for path in folder.iterdir()} == before | {"ledger.jsonl"}


def test_a_name_with_a_separator_of_unicode_does_not_cut_a_line(folder: Path) -> None:
    run = Run(folder)
    for name in ("a\u2028b", "c\x85d", "e"):
        run.record("evaluate", {"data": name})
    assert [event["data"] for event in run.ledger()] == ["a\u2028b", "c\x85d", "e"]


@pytest.mark.parametrize("damage", ["change", "remove", "swap", "no json", "no object"])
def test_a_rewritten_ledger_is_refused(damage: str, folder: Path) -> None:
    run = Run(folder)
    for number in range(3):
        run.record("train", {"n": number})
    path = folder / "ledger.jsonl"
    first, second, third = path.read_text().splitlines()
    lines = {
        "change": [first.replace('"n": 0', '"n": 7'), second, third],
        "remove": [second, third],
        "swap": [second, first, third],
        "no json": [first, second[:20], third],
        "no object": ["3", second, third],
    }[damage]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(HilumError) as error:
        run.ledger()
    assert error.value.code == "HIL-RUN-04"


def test_a_folder_to_write_into_is_new_or_empty(tmp_path: Path) -> None:
    assert new_folder(tmp_path / "a" / "b").is_dir()
    assert new_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file"):
        with pytest.raises(HilumError) as error:
            new_folder(path)
        assert error.value.code == "HIL-CORE-03"


def test_t01_a_new_folder_outlives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files were synced and it was, but not its name in the folder above."""
    synced = set[int]()
    monkeypatch.setattr(os, "fsync", lambda handle: synced.add(os.fstat(handle).st_ino))
    new_folder(tmp_path / "a" / "b")
    assert synced == {tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino}
    synced.clear()
    new_folder(tmp_path / "a" / "b")
    assert not synced

    def closed(_: Path) -> None:
        raise PermissionError

    # a folder that everybody may write into and nobody list
    monkeypatch.setattr("hilum.core.run._sync", closed)
    assert new_folder(tmp_path / "c").is_dir()


def test_rows_keep_every_column(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.csv", [{"a": 1}, {"b": "x,y"}])
    assert (tmp_path / "a.csv").read_text() == 'a,b\n1,\n,"x,y"\n'


@pytest.mark.parametrize("name", ["weights/\x1b]0;owned\x07net", "a\nhilum: whole", "a\u202ecod.exe", "a\x9b31m"])
def test_m05_a_member_whose_name_can_not_be_printed_is_refused(name: str, folder: Path, tmp_path: Path) -> None:
    """What names it would send those bytes to the terminal, which takes them for orders."""
    path = zipped(folder, tmp_path / "a.hilum")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"")
    with pytest.raises(HilumError, match="has a name that can not be printed") as error:
        Run(path)
    assert error.value.code == "HIL-M05" and str(error.value).isprintable()
