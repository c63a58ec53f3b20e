"""File names: any script and spaces are fine; what misleads people, commands or other computers is refused."""

import os
import socket
from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.io import _names


def refused(path: Path, root: Path | None = None) -> str:
    with pytest.raises(HilumError) as error:
        _names.usable(path, root)
    assert error.value.code == "HIL-I12", str(error.value)
    assert str(error.value).isprintable()
    return error.value.seen


@pytest.mark.parametrize(
    "name",
    [
        "a.png",
        "two words.png",
        "+C AX T1.png",
        "Größe é.png",
        "写真 1.png",
        "\u062a\u0635\u0648\u06cc\u0631\u200c\u0647\u0627.png",
        "a'b(1).png",
        "x" * 226 + ".png",
    ],
)
def test_i12_ordinary_names_are_fine(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    _names.usable(path)
    _names.usable(path, tmp_path)


@pytest.mark.parametrize(
    ("name", "words"),
    [("a\nb.png", "a line break (U+000A)"), ("a\u2028b.png", "a line break"), ("a\tb.png", "U+0009"),
     ("a\x7f.png", "U+007F"),
     ("a\x1b[31m.png", "U+001B"), ("a\u202egnp.exe", "U+202E"), ("-rf.png", "starts with a dash"),
     ("=1+1.png", "a spreadsheet"), ("@sum.png", "starts with @"),
     ("x" * 251 + ".png", "255 bytes"), ("é" * 120 + ".png", "244 bytes")],
)  # fmt: skip
def test_i12_names_that_mislead_are_refused(tmp_path: Path, name: str, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    assert words in refused(path)


def test_i12_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    assert "400 bytes" in refused(tmp_path / ("x" * 400))
    undecodable = Path(os.fsdecode(os.fsencode(tmp_path) + b"/gr\xf6sse.png"))
    undecodable.write_bytes(b"x")
    assert "no UTF-8" in refused(undecodable)
    with pytest.raises(HilumError, match="HIL-IO-02"):
        _names.usable(tmp_path / "nothing.png")


def test_i12_links_may_not_leave_the_data_folder(tmp_path: Path) -> None:
    inside, outside = tmp_path / "data", tmp_path / "other"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"x")
    (inside / "in.png").symlink_to("a.png")
    (inside / "out.png").symlink_to(outside / "a.png")
    (inside / "up.png").symlink_to("../other/a.png")
    (inside / "lost.png").symlink_to("nowhere.png")
    (inside / "circle.png").symlink_to("circle.png")
    _names.usable(inside / "in.png", inside)
    for name in ("out.png", "up.png"):
        assert "out of" in refused(inside / name, inside)
        _names.usable(inside / name)
    assert "out of" in refused(inside / ".." / "other" / "a.png", inside)
    assert "leads nowhere" in refused(inside / "lost.png", inside)
    refused(inside / "circle.png", inside)
    # the data folder itself may be a link
    (tmp_path / "door").symlink_to(inside)
    _names.usable(tmp_path / "door" / "a.png", tmp_path / "door")


def test_i12_pipes_devices_and_sockets_are_refused_without_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # opening a pipe that nobody writes to would wait for ever
    os.mkfifo(tmp_path / "pipe.png")
    assert "a named pipe" in refused(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "pipe.png")
    assert "a named pipe" in refused(tmp_path / "link.png")
    assert "a device" in refused(Path("/dev/zero"))
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as door:
        door.bind("socket.png")
        assert "a socket" in refused(tmp_path / "socket.png")


def test_i12_a_path_is_found_in_another_unicode_form(tmp_path: Path) -> None:
    (tmp_path / "e\u0301.png").write_bytes(b"x")
    assert _names.find(tmp_path / "\u00e9.png").read_bytes() == b"x"
    assert _names.find(tmp_path / "o.png") == tmp_path / "o.png"
    assert _names.find(tmp_path / "\u00f6.png") == tmp_path / "\u00f6.png"


def test_i12_names_fold_to_one_when_another_computer_takes_them_for_one() -> None:
    assert _names.folded("\u00c9a") == _names.folded("e\u0301A") and _names.folded("a") != _names.folded("\u00e4")
    assert _names.plain("e\u0301") == "\u00e9"
