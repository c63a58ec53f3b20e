"""Slides of all makers through OpenSlide (the extra `slides`); what has no pixels comes as white."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._slide.tiff import by_resolution, credible

BLOCK = 2048
# Pixels along a side that OpenSlide is asked for at once.
MOST_TEXT = 1 << 20
# Bytes of an index file that are looked at.
SOLID = ("aperio", "generic-tiff")
# Makers whose slides have a tile everywhere: there an empty pixel is a missing tile.


def available() -> bool:
    """Whether OpenSlide is installed."""
    try:
        import openslide  # noqa: F401
    except ImportError:
        return False
    return True


def vendor(path: Path) -> str | None:
    """The maker that OpenSlide sees, or None."""
    import openslide

    found: str | None = openslide.OpenSlide.detect_format(str(path))
    return found


class OpenSlide:
    """An open slide, with the attributes of `TiffSlide`."""

    backend, channels, lossy = "openslide", 3, True

    def __init__(self, path: Path) -> None:
        import openslide

        _inside(path)
        self.path = path
        self._slide = openslide.OpenSlide(str(path))
        facts = self._slide.properties
        self.vendor = str(facts.get("openslide.vendor", ""))
        self.shapes = [(int(rows), int(columns)) for columns, rows in self._slide.level_dimensions]
        self.mpp = _mpp(facts)

    def __enter__(self) -> "OpenSlide":
        return self

    def __exit__(self, *_: object) -> None:
        self._slide.close()

    def fill(self, level: int, top: int, left: int, out: Array) -> int:
        """Pixels from (top, left) on into `out` (3, rows, columns); gives how many pixels are empty and now white."""
        rows, columns = out.shape[1:]
        empty, scale = 0, self._slide.level_downsamples[level]
        for y in range(0, rows, BLOCK):
            for x in range(0, columns, BLOCK):
                size = (min(BLOCK, columns - x), min(BLOCK, rows - y))
                # OpenSlide takes the corner in pixels of level 0, rounded: at odd ratios by up to half a pixel of those
                corner = (round((left + x) * scale), round((top + y) * scale))
                block = np.asarray(self._slide.read_region(corner, level, size))
                alpha = block[..., 3]
                if (alpha == 0).any():
                    empty += int((alpha == 0).sum())
                    self._missing(level, top + y, left + x, alpha)
                if (alpha != 255).any():
                    share = alpha[..., None].astype(np.uint16)
                    block = ((block[..., :3] * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)
                out[:, y : y + size[1], x : x + size[0]] = np.moveaxis(block[..., :3], -1, 0)
        return empty

    def _missing(self, level: int, top: int, left: int, alpha: Array) -> None:
        """Refuse an empty pixel where the maker leaves nothing out, naming its tile (HIL-I09)."""
        if self.vendor not in SOLID:
            return
        row, column = (int(v[0]) for v in np.nonzero(alpha == 0))
        high, wide = (
            int(self._slide.properties.get(f"openslide.level[{level}].tile-{side}", BLOCK))
            for side in ("height", "width")
        )
        tile = f"tile (row {(top + row) // high}, column {(left + column) // wide})"
        raise HilumError("HIL-I09", f"{self.path}: {tile} of level {level} is missing", "Use another region or level")


def _mpp(facts: Any) -> tuple[float, float] | None:
    try:
        return credible((float(facts["openslide.mpp-y"]), float(facts["openslide.mpp-x"])))
    except (KeyError, ValueError):
        pass
    try:
        unit = {"inch": 2, "centimeter": 3}[facts["tiff.ResolutionUnit"]]
        down, across = (float(facts[f"tiff.{axis}Resolution"]) for axis in "YX")
        return credible(by_resolution((down, 1), (across, 1), unit))
    except (KeyError, ValueError):
        return None


def _inside(path: Path) -> None:
    """Refuse an index that names files outside of its own folder (HIL-I09)."""
    index = {".vms": path, ".mrxs": path.with_suffix("") / "Slidedat.ini"}.get(path.suffix.lower())
    if index is None or not index.is_file():
        return
    with open(index, "rb") as stream:
        text = stream.read(MOST_TEXT).decode("utf-8", errors="replace")
    for key, value in re.findall(r"^\s*([^=\r\n\[]*file[^=\r\n]*)=([^\r\n]*)", text, re.IGNORECASE | re.MULTILINE):
        if ".." in value or "/" in value or "\\" in value or ":" in value:
            raise HilumError(
                "HIL-I09",
                f"{path}: {key.strip()[:40]} names {value.strip()[:80]!r}, outside of the slide's folder",
                "Copy the whole slide into one folder",
            )
