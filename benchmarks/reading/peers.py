"""How the peers' users read a file: one call each, run in a process of its own so that a crash can be counted.

A library warns in its own way: by Python's warnings, by a log, or by what it prints. All three are listened to.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np


def simpleitk(path: Path) -> dict[str, Any]:
    """SimpleITK.ReadImage: values and geometry (LPS), decoded in full."""
    import SimpleITK

    with heard() as said:
        image = SimpleITK.ReadImage(str(path))
        array = SimpleITK.GetArrayFromImage(image)
    return {"shape": list(array.shape), "sum": float(np.nansum(array, dtype=np.float64))} | said


def nibabel(path: Path) -> dict[str, Any]:
    """nibabel.load and get_fdata."""
    import nibabel as library

    with heard() as said:
        array = library.load(path).get_fdata()
    return {"shape": list(array.shape), "sum": float(np.nansum(array))} | said


def pydicom(path: Path) -> dict[str, Any]:
    """pydicom.dcmread and pixel_array."""
    import pydicom as library

    with heard() as said:
        array = library.dcmread(path).pixel_array
    return {"shape": list(array.shape), "sum": float(np.sum(array, dtype=np.float64))} | said


def pillow(path: Path) -> dict[str, Any]:
    """PIL.Image.open and load."""
    from PIL import Image

    with heard() as said, Image.open(path) as opened:
        array = np.asarray(opened)
    return {"shape": list(array.shape), "sum": float(np.sum(array, dtype=np.float64))} | said


@contextmanager
def heard() -> Iterator[dict[str, str]]:
    """{"warned": the first words} once it is left; {} where nothing was said."""
    said: dict[str, str] = {}
    told = _Kept()
    logging.getLogger().addHandler(told)
    # some keep their records from the root
    known = [logging.getLogger(name) for name in ("nibabel.global", "pydicom", "PIL")]
    for one in known:
        one.addHandler(told)
    # the process may write no file
    with open(os.memfd_create("printed"), "w+b") as printed, warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        # ITK writes to the file itself
        kept = os.dup(2)
        os.dup2(printed.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            for one in (logging.getLogger(), *known):
                one.removeHandler(told)
        printed.seek(0)
        words = [*[str(w.message) for w in raised], *told.words, printed.read().decode(errors="replace").strip()]
        said |= {"warned": next(filter(None, words))[:100]} if any(words) else {}


class _Kept(logging.Handler):
    """What was logged as a warning or worse."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.words: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.words.append(record.getMessage())
