"""Hilum: medical images in, findings with their doubt stated, out as standard objects (DICOM, NIfTI).

The verbs are the public API: ``hilum.inspect``, ``plan``, ``train``, ``evaluate``, ``compare``, ``predict``,
``bundle``, and ``demo``, ``generate``, ``verify``, ``keys``, ``import_model``, ``resample``, ``calibrate``,
``quantise``, ``card`` (and ``hilum.verbs.zoo``). Each is loaded when first used.
"""

from typing import Any

from hilum.core.errors import HilumError

__version__ = "0.1.0"
_VERBS = (
    "inspect", "plan", "train", "evaluate", "compare", "predict", "bundle", "demo", "generate", "verify", "resample",
    "calibrate", "quantise", "card", "keys", "import_model",
)  # fmt: skip
__all__ = ["HilumError", "__version__", *_VERBS]


def __getattr__(name: str) -> Any:
    if name in _VERBS:
        import importlib

        return importlib.import_module("hilum.verbs").verb(name)
    raise AttributeError(f"module 'hilum' has no attribute {name!r}")
