"""Colours: inks to RGB, see-through pixels, and colour profiles as a recorded fact."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array

BAND = 256
INKS = "HIL-I02: stored as CMYK inks; turned into RGB as (1 - ink) (1 - black), without a colour profile."


def opaque(path: Path, alpha: Array, top: Any) -> None:
    """Refuse (HIL-I04) an alpha channel that is not `top` everywhere, with the share of such pixels."""
    clear = int((alpha != top).sum())
    if clear:
        raise HilumError(
            "HIL-I04",
            f"{path} is see-through in {clear} pixels ({clear / alpha.size:.1%})",
            "Flatten it on a background",
        )


def inked(inks: Array, warnings: list[str]) -> Array:
    """RGB (3, row, column) of CMYK inks (4, row, column) uint8, in place where the first three were; warned about."""
    warnings.append(INKS)
    for top in range(0, inks.shape[1], BAND):
        part = inks[:, top : top + BAND]
        light = 255 - part.astype(np.uint16)
        # (a b + 127) / 255 is the product of two shares of 255, rounded
        part[:3] = (light[:3] * light[3].astype(np.uint32) + 127) // 255
    return inks[:3]


def profile(data: bytes, channels: int, warnings: list[str]) -> str:
    """What an ICC profile calls itself; a warning where it is another colour space than plain sRGB or grey.

    The profile is not applied: values stay as stored.
    """
    from PIL import ImageCms

    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(data))
        name = " ".join(ImageCms.getProfileDescription(opened).split())[:100]
        space = str(opened.profile.xcolor_space).strip()
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        warnings.append("HIL-I02: the colour profile can not be read; values are as stored.")
        return "damaged"
    name = "".join(c for c in name if c.isprintable())
    if channels == 3 and "srgb" not in name.lower():
        warnings.append(
            f"HIL-I02: colours belong to the profile {name!r} ({space}); values are as stored, not turned to sRGB."
        )
    elif channels == 1 and space != "GRAY":
        warnings.append(f"HIL-I02: a grey picture with a colour profile of {space} colours; values are as stored.")
    return name
