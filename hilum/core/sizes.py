"""Sizes of memory in words: "4GB" to bytes and back."""

import re

from hilum.core.errors import HilumError

POWERS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def parse_size(text: str | int | float) -> int:
    """ "4GB", "4 GiB", "500M" or a number of bytes -> bytes; a unit is a power of 1024. Nonsense: HIL-PLAN-03."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(?:i?b)?\s*", str(text).lower())
    size = int(float(found[1]) * 2 ** POWERS[found[2]]) if found else 0
    if size < 1:
        raise HilumError("HIL-PLAN-03", f"{text!r} is no size of memory", "Write for example 4GB or 500MB")
    return size


def size_words(size: float) -> str:
    """3221225472 -> "3.0 GB"; under one GB in whole MB. Powers of 1024, as parse_size reads them."""
    return f"{size / 2**30:.1f} GB" if size >= 2**30 else f"{max(1, round(size / 2**20))} MB"
