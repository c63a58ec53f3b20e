"""The data set that readers hold: pydicom's, but quiet about odd values and never raising its own errors for them.

Imported inside functions only, because it imports pydicom.
"""

import contextlib
import functools
import warnings
from collections.abc import Iterator
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset
from pydicom.uid import UID

from hilum.core.errors import HilumError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Odd values are read without the library's warnings: here they are either harmless or refused."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


TEXT = frozenset({"AE", "AS", "CS", "DA", "DT", "LO", "SH", "TM", "UI"})
NUMBERS = {"DS": float, "IS": int}
WRITTEN = TEXT | NUMBERS.keys()
_HARD = object()
# What `_plain` gives where only the library knows the value.


class Header(FileDataset):
    """A data set whose elements are decoded when asked for; one that can not be decoded is refused (HIL-D09).

    `get` and `words` decode plain values themselves: the library's way takes most of the time that a series takes.
    """

    hilum_warnings: list[str]
    hilum_pixels: Any
    by_number: dict[int, Any] | None = None

    def ready(self) -> "Header":
        """From now on `get` and `words` are quick."""
        # plain numbers: comparing the library's tags with each other is slow
        self.by_number = {int(tag): element for tag, element in self._dict.items()}
        return self

    def get(self, key: Any, default: Any = None) -> Any:
        """As in pydicom, but for plain values: a float for DS, an int for IS and US, a list for several."""
        if self.by_number is not None and type(key) is str and (tag := _tag(key)) is not None:
            element = self.by_number.get(tag)
            if element is None:
                return default
            value = _plain(element, tag)
            if value is not _HARD:
                return value
        return super().get(key, default)

    def words(self, tag: int) -> str | None:
        """The value as it is written, spaces around it left out, "" where absent; None where only the library knows."""
        element = (self.by_number or {}).get(tag, _HARD if self.by_number is None else None)
        if element is None:
            return ""
        if type(element) is not RawDataElement or not isinstance(element.value, bytes):
            return None
        vr = _vr(tag) if element.VR is None else element.VR
        if vr == "US":
            value = _plain(element, tag)
            return None if value is _HARD else str(value)
        if vr not in WRITTEN or not _ascii(element.value):
            return None
        return "\\".join(part.strip(" \0") for part in element.value.decode("ascii").split("\\"))

    def __contains__(self, name: Any) -> bool:
        """As in pydicom."""
        if self.by_number is not None and type(name) is str and (tag := _tag(name)) is not None:
            return tag in self.by_number
        return super().__contains__(name)

    def __setitem__(self, key: Any, elem: Any) -> None:
        """As in pydicom."""
        super().__setitem__(key, elem)
        if self.by_number is not None:
            self.by_number[int(elem.tag)] = elem

    def __delitem__(self, key: Any) -> None:
        """As in pydicom."""
        super().__delitem__(key)
        if self.by_number is not None:
            self.ready()

    def __delattr__(self, name: str) -> None:
        """As in pydicom."""
        super().__delattr__(name)
        if self.by_number is not None:
            self.ready()

    def pop(self, key: Any, *args: Any) -> Any:
        """As in pydicom."""
        found = super().pop(key, *args)
        if self.by_number is not None:
            self.ready()
        return found

    def __getitem__(self, key: Any) -> Any:
        """One element, as in pydicom."""
        if not isinstance(self._dict.get(key), RawDataElement):
            return super().__getitem__(key)
        try:
            with quiet():
                return super().__getitem__(key)
        except (KeyError, HilumError):
            raise
        except Exception as error:
            # What the library says would quote the value, which may name a patient
            raise HilumError("HIL-D09", f"{self.filename!s}: {key} can not be understood", "Export it again") from error

    def check_identity(self) -> None:
        """Refuse a file whose meta group names another object, or another class, than its data set does (HIL-D32)."""
        for keyword in ("SOPClassUID", "SOPInstanceUID"):
            both = (self.file_meta.get(f"MediaStorage{keyword}"), self.get(keyword))
            meta, own = (str(found or "").strip(" \0") for found in both)
            if meta and own and meta != own:
                raise HilumError(
                    "HIL-D32", f"{self.filename!s}: the meta group names another {keyword} than the data set",
                    "Export it again; whoever changes one of the two must change both",
                )  # fmt: skip

    def without_bad_numbers(self) -> None:
        """Leave out decimal and whole numbers written as text that are none, with a warning.

        Those of the image itself (group 0028) stay, because readers refuse them by name.
        """
        for tag, element in list(self._dict.items()):
            if not isinstance(element, RawDataElement) or tag.group > 0x0054 or tag.group & 1 or tag.group == 0x0028:
                continue
            try:
                kind = element.VR or dictionary_VR(tag)
                if kind in ("DS", "IS") and element.value:
                    for part in bytes(element.value).rstrip(b"\0 ").split(b"\\"):
                        float(part or b"0")
            except KeyError:
                continue
            except ValueError:
                self.hilum_warnings.append(f"HIL-D09: {tag} holds no number; it was left out")
                del self._dict[tag]


@functools.cache
def _tag(keyword: str) -> int | None:
    return tag_for_keyword(keyword)


@functools.cache
def _vr(tag: int) -> str:
    """The representation that the dictionary gives, "" for an unknown tag."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return ""


def _ascii(value: bytes) -> bool:
    """Whether the bytes are ASCII text: Japanese text, say, is written in ASCII bytes after an escape (ISO 2022)."""
    return value.isascii() and b"\x1b" not in value


def _plain(element: Any, tag: int) -> Any:
    """The value of an element whose bytes can not be misunderstood, else _HARD."""
    if type(element) is not RawDataElement:
        return element.value
    vr, value = _vr(tag) if element.VR is None else element.VR, element.value
    if not isinstance(value, bytes):
        return _HARD
    if vr == "US":
        order = "little" if element.is_little_endian else "big"
        return int.from_bytes(value, order) if len(value) == 2 else _HARD  # type: ignore[arg-type]
    if (vr not in NUMBERS and vr not in TEXT) or not _ascii(value):
        return _HARD
    parts: list[Any] = [part.rstrip(" \0") for part in value.decode("ascii").split("\\")]
    if vr in NUMBERS:
        if parts == [""]:
            return None
        try:
            parts = [NUMBERS[vr](part) for part in parts]
        except ValueError:
            return _HARD
    if vr == "UI":
        parts = [UID(part, pydicom.config.IGNORE) for part in parts]
    return parts if len(parts) > 1 else parts[0]
