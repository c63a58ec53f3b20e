"""keys: a new pair of keys, to sign bundles with and to check them by."""

import re
from datetime import date
from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.infer import signature

NAMES = re.compile(r"\w[\w .-]*")
# A key's name is the name of its files.


def keys(name: str, out: Path | str, *, expires: date | str | None = None) -> dict[str, Any]:
    """Write NAME.key (private, for its owner alone) and NAME.yaml (public, to hand on) into the folder `out`.

    expires: the last day on which the public key is trusted, as 2028-12-31. Existing files are kept (HIL-CORE-03).
    """
    if not NAMES.fullmatch(name):
        raise HilumError("HIL-INFER-33", f"{name!r} is no name for a key", "Use letters, digits, spaces, - and _")
    private, public = signature.make_pair(name, Path(out), _day(expires))
    return {"private": str(private), "public": str(public), "name": name}


def _day(value: date | str | None) -> date | None:
    if value is None or isinstance(value, date):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError as error:
        raise HilumError("HIL-INFER-33", f"{value!r} is no day", "Write it as 2028-12-31") from error
