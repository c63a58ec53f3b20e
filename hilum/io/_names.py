"""File names: which files may be opened at all, and how two spellings of one name find each other."""

import os
import stat
import unicodedata
from pathlib import Path

from hilum.core.errors import HilumError

LONGEST = 230
# Bytes of a name. File systems end at 255; what is written beside a case needs the rest (NAME_probability.nii.gz).
TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Characters that turn the direction of writing: the name on the screen is then not the name on the disk.
KINDS = (
    (stat.S_ISFIFO, "a named pipe"), (stat.S_ISCHR, "a device"), (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)  # fmt: skip


def usable(path: Path, root: Path | None = None) -> None:
    """Refuse (HIL-I12) a path whose name or kind is unsafe; nothing is opened.

    Refused: control characters, characters that turn the writing, bytes that are no text, a leading dash, = or @, more
    than 230 bytes, a link that leads nowhere or out of `root`, pipes, devices, sockets. Spaces and any script are fine.
    """
    path = Path(path)
    fault = name_fault(path.name)
    if fault:
        raise HilumError("HIL-I12", f"The name of {shown(path)} {fault}", "Rename it")
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        if path.is_symlink():
            raise HilumError("HIL-I12", f"{path} is a link that leads nowhere", "Mend or remove the link") from error
        raise HilumError("HIL-IO-02", f"There is no file or folder {path}", "Check the path") from error
    except OSError as error:
        raise HilumError("HIL-I12", f"{shown(path)} can not be looked at ({error.strerror})", "Check it") from error
    kind = next((word for test, word in KINDS if test(mode)), None)
    if kind:
        raise HilumError("HIL-I12", f"{path} is {kind}, no file", "Give an ordinary file")
    if root is not None and not path.resolve().is_relative_to(Path(root).resolve()):
        way = "is a link that leads" if path.is_symlink() else "leads"
        raise HilumError("HIL-I12", f"{path} {way} out of {root}", "Copy the file into the folder")


def name_fault(name: str) -> str:
    """What is wrong with a name (of a file, or of a case that files will be named after), or ""."""
    try:
        size = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "holds bytes that are no UTF-8 text"
    odd = next((c for c in name if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in TURNS), None)
    if odd is not None:
        word = "a line break" if odd in "\n\r\u2028\u2029" else "a character that can not be seen"
        return f"holds {word} (U+{ord(odd):04X})"
    if name.startswith("-"):
        return "starts with a dash, which commands take for an option"
    if name.startswith(("=", "@")):
        return f"starts with {name[0]}, by which a spreadsheet takes it for a formula in tables of results"
    if name in ("", ".", ".."):
        return f"is {name!r}"
    return f"has {size} bytes, more than {LONGEST}" if size > LONGEST else ""


def shown(path: Path) -> str:
    """The path as one line of plain text, whatever its name holds."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def plain(name: str) -> str:
    """The name in one unicode form (NFC): `é` is one character, however the file system or a table spells it."""
    return unicodedata.normalize("NFC", name)


def folded(name: str) -> str:
    """Equal for names that a file system without case, or with another unicode form, takes for one."""
    return plain(plain(name).casefold())


def find(path: Path) -> Path:
    """The path as it is spelled on disk where only the unicode form of its names differs; else the path itself."""
    path = Path(path)
    if str(path).isascii() or os.path.lexists(path) or path.parent == path:
        return path
    parent = find(path.parent)
    if path.name.isascii() or not parent.is_dir():
        return parent / path.name
    wanted = plain(path.name)
    return next((p for p in sorted(parent.iterdir()) if plain(p.name) == wanted), parent / path.name)
