"""Facts inside a picture that Hilum wrote: text chunks of a PNG, the description of a TIFF."""

import json
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hilum
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE

OWN = {"Software": f"Hilum {hilum.__version__}", "Intended use": INTENDED_USE}
MOST_FACTS, LONGEST = 100, 10_000


def facts(path: Path, given: Mapping[str, str] | None) -> dict[str, str]:
    """Hilum's own facts and the caller's, as plain text; names that a PNG can not hold are refused (HIL-IO-04)."""
    given = dict(given or {})
    for name, value in given.items():
        fits = name.isascii() and name.isprintable() and 0 < len(name) < 80 and name == " ".join(name.split())
        text = isinstance(value, str) and len(value) <= LONGEST
        if not fits or name in OWN or not text or any(unicodedata.category(c) in ("Cc", "Cs") for c in value):
            raise HilumError(
                "HIL-IO-04", f"{path.name}: the fact {name!r} can not be written into it",
                f"Use other names than {', '.join(OWN)}, of up to 79 plain letters, and text without line breaks",
            )  # fmt: skip
    if len(given) > MOST_FACTS:
        raise HilumError("HIL-IO-04", f"{path.name}: {len(given)} facts", f"Give at most {MOST_FACTS}")
    return {**OWN, **dict(sorted(given.items()))}


def chunks(facts: Mapping[str, str]) -> Any:
    """The facts as PNG text chunks."""
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for name, value in facts.items():
        if value.isascii():
            info.add_text(name, value)
        else:
            info.add_itxt(name, value)
    return info


def line(facts: Mapping[str, str]) -> str:
    """The facts as one line of JSON in ASCII, which is all that a TIFF description may hold."""
    return json.dumps({"hilum": dict(facts)})


def read(path: Path) -> dict[str, str]:
    """The facts that lie in a PNG or TIFF written by Hilum, else nothing."""
    from PIL import Image as Pillow

    with Pillow.open(path, formats=["PNG", "TIFF"]) as opened:
        if opened.format == "PNG":
            found = {str(k): str(v) for k, v in opened.text.items()}  # type: ignore[attr-defined]
            return found if str(found.get("Software", "")).startswith("Hilum ") else {}
        words = str(opened.tag_v2.get(270, ""))  # type: ignore[attr-defined]
    try:
        written = json.loads(words)["hilum"]
    except (ValueError, TypeError, KeyError):
        return {}
    return {str(k): str(v) for k, v in written.items()} if isinstance(written, dict) else {}
