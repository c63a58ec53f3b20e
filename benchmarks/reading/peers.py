"""How the peers' users read a file: one call each, run in a process of its own so that a crash can be counted."""

from pathlib import Path
from typing import Any

import numpy as np


def simpleitk(path: Path) -> dict[str, Any]:
    """SimpleITK.ReadImage: values and geometry (LPS), decoded in full."""
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    return {"shape": list(array.shape), "sum": float(np.nansum(array, dtype=np.float64))}


def nibabel(path: Path) -> dict[str, Any]:
    """nibabel.load and get_fdata."""
    import nibabel as library

    array = library.load(path).get_fdata()
    return {"shape": list(array.shape), "sum": float(np.nansum(array))}


def pydicom(path: Path) -> dict[str, Any]:
    """pydicom.dcmread and pixel_array."""
    import warnings

    import pydicom as library

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            array = library.dcmread(path).pixel_array
        except Warning as warning:
            return {"warned": str(warning)[:100]}
    return {"shape": list(array.shape), "sum": float(np.sum(array, dtype=np.float64))}


def pillow(path: Path) -> dict[str, Any]:
    """PIL.Image.open and load."""
    from PIL import Image

    with Image.open(path) as opened:
        array = np.asarray(opened)
    return {"shape": list(array.shape), "sum": float(np.sum(array, dtype=np.float64))}
