"""Decoding processes: pixels come back uncopied; a crash, a panic, a loop or a bomb costs that file only."""

import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Image, Measurement
from hilum.io import _parcel, _workers, kspace, nifti
from hilum.io import open as open_path

BAD = """
import ctypes, os, time
import numpy as np
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.io import _buffer

class Panic(BaseException):
    pass

def segfault(path): ctypes.string_at(0)
def leave(path): os._exit(3)
def killed(path): os.kill(os.getpid(), 9)
def panic(path): raise Panic("index out of bounds")
def loop(path):
    while True: pass
def bomb(path): return np.ones(1 << 40, np.uint8)
def large(path): return Image(np.ones((1, 200, 300, 1000), np.uint8))
def numbers(path, value):
    array = _buffer.empty((1, 60, 70, 80), np.int16)
    array[:] = value
    return Image(array)
def alien(path): return {1, 2}
def refuse(path): raise HilumError("HIL-N01", f"{path} is cut short", "Copy it again")
def foreign(path): raise KeyError("x")
def confined(path, port):
    import ctypes, errno, socket, tempfile
    found = {"tasks": len(os.listdir("/proc/self/task"))}
    for kind in ("SOCK_STREAM", "SOCK_DGRAM"):
        try:
            with socket.socket(socket.AF_INET, getattr(socket, kind)) as door:
                door.connect(("127.0.0.1", port))
                door.send(b"x")
            found[kind] = "sent"
        except OSError as error:
            found[kind] = errno.errorcode[error.errno]
    for name, what in (
        ("write", lambda: open(path.parent / "new", "w")), ("change", lambda: open(path, "r+b")),
        ("remove", lambda: os.remove(path)), ("folder", lambda: os.mkdir(path.parent / "f")),
        ("link", lambda: os.symlink(path, path.parent / "l")), ("move", lambda: os.rename(path, path.parent / "m")),
    ):
        try:
            what()
            found[name] = "done"
        except OSError as error:
            found[name] = errno.errorcode[error.errno]
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(path, os.path.join(folder, "a"))
        found["temp"] = open(os.path.join(folder, "a"), "rb").read().decode()
    open(os.devnull, "w").close()
    found["network"] = os.readlink("/proc/self/ns/net")
    found["landlock"] = ctypes.CDLL(None).syscall(444, None, 0, 1)
    return found
def region(path, region): return [[s.start, s.stop] for s in region]
def views(path):
    volume = np.arange(24, dtype=">i2").reshape(2, 3, 4)
    array = volume.transpose(2, 1, 0)[None, ::-1]
    return Image(array, np.diag([2.0, 1, 1, 1]), ("HIL-N05: w",), {"a": {"b": [1, None]}})
"""


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_workers.Pool]:
    folder = tmp_path_factory.mktemp("bad")
    (folder / "bad_codec.py").write_text(BAD)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder)
    # the pool reads the variable again whenever it replaces a process
    pool = _workers.Pool(1, memory=3 << 30, seconds=2.0)
    yield pool
    pool.close()
    os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.mark.parametrize(
    ("codec", "code", "word"),
    [
        ("segfault", "HIL-D45", "signal 11"),
        ("leave", "HIL-D45", "status 3"),
        ("panic", "HIL-D45", "index out of bounds"),
        ("loop", "HIL-D45", "within 2 s"),
        ("bomb", "HIL-IO-09", "memory"),
        # by whoever watches over the memory of a machine or a job
        ("killed", "HIL-IO-09", "memory runs out"),
        ("refuse", "HIL-N01", "cut short"),
        ("foreign", "HIL-IO-03", "KeyError"),
        ("alien", "HIL-IO-03", "handed over"),
    ],
)
def test_d45_a_codec_that_fails_costs_its_file_only(
    codec: str, code: str, word: str, pool: _workers.Pool, tmp_path: Path
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"x")
    began = time.monotonic()
    with pytest.raises(HilumError, match=word) as caught:
        pool.decode("bad_codec", codec, path, {})
    assert caught.value.code == code and "a.bin" in str(caught.value) and time.monotonic() - began < 30
    assert pool.decode("bad_codec", "region", path, {"region": (slice(1, 3), slice(0, 2))}) == [[1, 3], [0, 2]]


def test_views_come_back_as_they_are(pool: _workers.Pool, tmp_path: Path) -> None:
    seen = pool.decode("bad_codec", "views", tmp_path, {})
    assert isinstance(seen, Image) and seen.warnings == ("HIL-N05: w",) and seen.meta == {"a": {"b": [1, None]}}
    np.testing.assert_array_equal(seen.array[0], np.arange(24).reshape(2, 3, 4).transpose(2, 1, 0)[::-1])
    assert seen.affine is not None and seen.affine[0, 0] == 2 and seen.affine.flags.writeable


def test_pixels_are_mapped_not_copied(pool: _workers.Pool, tmp_path: Path) -> None:
    seen = pool.decode("bad_codec", "large", tmp_path, {})
    assert seen.array.sum() == 6 * 10**7 and type(seen.array.base).__name__ == "mmap"


def test_every_format_reads_alike_here_and_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Image(np.random.default_rng(0).integers(0, 99, (1, 9, 8, 7)).astype(np.int16), np.diag([1.0, 2, 3, 1]))
    nifti.write(tmp_path / "a.nii.gz", volume)
    raw = np.random.default_rng(1).normal(size=(2, 3, 8, 6)).astype(np.complex64)
    kspace.write(
        tmp_path / "b.h5", Measurement(raw, ("slice", "coil", "ky", "kx"), {"name": "fourier"}, abs(raw[:, 0]))
    )
    for name in ("a.nii.gz", "b.h5"):
        there = open_path(tmp_path / name).read()
        with monkeypatch.context() as patch:
            patch.setenv("HILUM_DECODE", "inline")
            here = open_path(tmp_path / name).read()
        assert type(here) is type(there) and here.warnings == there.warnings and dict(here.meta) == dict(there.meta)
        np.testing.assert_array_equal(here.array, there.array)
        assert here.array.dtype == there.array.dtype and there.array.flags.writeable


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    nifti.write(tmp_path / "a.nii", Image(np.ones((1, 40, 40, 40), np.int16), np.eye(4)))
    source = open_path(tmp_path / "a.nii")
    source.read()
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 0
    for _ in range(20):
        source.read()
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after <= before + 2


def test_memory_is_taken_again_only_when_nobody_looks_at_it(pool: _workers.Pool, tmp_path: Path) -> None:
    first = pool.decode("bad_codec", "numbers", tmp_path, {"value": 1})
    part = first.array[0, 2:, ::2]
    del first
    second = pool.decode("bad_codec", "numbers", tmp_path, {"value": 2})
    assert (part == 1).all() and (second.array == 2).all()
    worker = pool._idle.queue[0]
    del part
    assert len(worker.unused) == 1
    third = pool.decode("bad_codec", "numbers", tmp_path, {"value": 3})
    assert not worker.unused and (second.array == 2).all() and (third.array == 3).all()


def test_python_files_in_the_current_folder_are_not_run(
    pool: _workers.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "base64.py").write_text("raise SystemExit(4)")
    monkeypatch.chdir(tmp_path)
    own = _workers.Pool(1, memory=3 << 30)
    try:
        assert own.decode("bad_codec", "views", tmp_path, {}).shape == (4, 3, 2)
    finally:
        own.close()


def test_a_second_process_is_started_when_the_first_is_busy(pool: _workers.Pool, tmp_path: Path) -> None:
    own = _workers.Pool(2, memory=3 << 30)
    try:
        for value in (1, 2):
            assert own.decode("bad_codec", "numbers", tmp_path, {"value": value}).array.max() == value
        assert own._idle.queue[0] is None, "one that is free does all"
        first = own._taken()
        assert own.decode("bad_codec", "numbers", tmp_path, {"value": 3}).array.max() == 3
        own._idle.put(first)
        assert len({w.process.pid for w in own._idle.queue}) == 2
    finally:
        own.close()


def test_a_process_that_ended_while_idle_costs_no_file(pool: _workers.Pool, tmp_path: Path) -> None:
    worker = pool._idle.queue[0]
    assert os.getpgid(worker.process.pid) != os.getpgid(0)  # Ctrl-C does not reach it
    worker.process.kill()
    while worker.process.poll() is None:
        time.sleep(0.01)
    assert pool.decode("bad_codec", "numbers", tmp_path, {"value": 1}).array.max() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the system has no such bounds")
def test_a_decoder_reaches_no_network_and_changes_no_file(
    pool: _workers.Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As far as the system lets a process give that up."""
    (tmp_path / "temp").mkdir()
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / "a.bin"
    path.write_bytes(b"kept")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temp"))
    own = _workers.Pool(1, memory=3 << 30)
    try:
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            door.listen()
            found = own.decode("bad_codec", "confined", path, {"port": door.getsockname()[1]})
        assert own.decode("bad_codec", "large", path, {}).array.sum() == 6 * 10**7
    finally:
        own.close()
    assert found["temp"] == "kept" and found["tasks"] == 1
    if found["landlock"] >= 3:
        assert {found[name] for name in ("write", "change", "remove", "folder", "link", "move")} == {"EACCES"}
        assert sorted(file.name for file in path.parent.iterdir()) == ["a.bin"] and path.read_bytes() == b"kept"
    if found["landlock"] >= 4:
        assert found["SOCK_STREAM"] in ("EACCES", "ENETUNREACH")
    # a container may forbid a network of its own
    if _may_part():
        assert found["network"] != os.readlink("/proc/self/ns/net") and found["SOCK_DGRAM"] == "ENETUNREACH"


def _may_part() -> bool:
    """Whether the system gives a process a network of its own."""
    words = (
        "import ctypes, os, sys; from hilum.io._confined import NEW_NETWORK, NEW_USER; "
        "sys.exit(ctypes.CDLL(None).unshare(NEW_NETWORK if os.geteuid() == 0 else NEW_USER | NEW_NETWORK) != 0)"
    )
    return subprocess.run([sys.executable, "-c", words], check=False).returncode == 0


def test_very_many_images_can_be_held(pool: _workers.Pool, tmp_path: Path) -> None:
    held = [pool.decode("bad_codec", "numbers", tmp_path, {"value": n}).array for n in range(_parcel.MAPPED + 8)]
    assert all((array == n).all() for n, array in enumerate(held))
    assert type(held[0].base).__name__ == "mmap" and held[-1].base is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_forked_process_keeps_what_it_sees_and_changes_only_its_own(pool: _workers.Pool, tmp_path: Path) -> None:
    first = pool.decode("bad_codec", "numbers", tmp_path, {"value": 1}).array
    second = pool.decode("bad_codec", "numbers", tmp_path, {"value": 2}).array
    (ask, go), (answer, say) = os.pipe(), os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 and later warn of a fork beside threads
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            second[...] = 7
            os.read(ask, 1)
            os.write(say, b"y" if (first == 1).all() else b"n")
        finally:
            os._exit(0)
    # the child has the other ends alone: where it ends without a word, nobody waits for one
    os.close(ask)
    os.close(say)
    del first
    for value in range(3, 6):
        pool.decode("bad_codec", "numbers", tmp_path, {"value": value})
    os.write(go, b"x")
    assert os.read(answer, 1) == b"y" and (second == 2).all()
    os.waitpid(child, 0)
    for end in (go, answer):
        os.close(end)
