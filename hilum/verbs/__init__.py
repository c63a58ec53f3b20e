"""The public API, one verb per file; a verb's function has the file's name."""

import importlib
from typing import Any


def verb(name: str) -> Any:
    """The function of a verb, loaded when asked for."""
    return getattr(importlib.import_module(f"hilum.verbs.{name}"), name)
