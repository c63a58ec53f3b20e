"""The data set that readers hold: pydicom's, but quiet about odd values and never raising its own errors for them.

Imported inside functions only, because it imports pydicom.
"""

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import pydicom
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset

from hilum.core.errors import HilumError


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Odd values are read without the library's warnings: here they are either harmless or refused."""
    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Header(FileDataset):
    """A data set whose elements are decoded when asked for; one that can not be decoded is refused (HIL-D09)."""

    hilum_warnings: list[str]
    hilum_pixels: Any

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
