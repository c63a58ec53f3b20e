"""Parts of MONAI, for the networks whose authors publish them there; asked for only when such a network is built."""

import importlib.util
import warnings
from typing import Any

import torch

from hilum.core.errors import HilumError
from hilum.core.extras import install


def monai_part(module: str, name: str) -> Any:
    """A class or function of MONAI: monai_part("networks.nets", "SegResNet"). Refused where MONAI does not have it."""
    try:
        # what MONAI's own imports warn of, no user could change; and nothing of it shall be built on the meta device
        with warnings.catch_warnings(), torch.device("cpu"):
            warnings.simplefilter("ignore")
            return getattr(importlib.import_module(f"monai.{module}"), name)
    except (ImportError, AttributeError) as error:
        absent = importlib.util.find_spec("monai") is None
        why = "is not installed" if absent else f"has no {name} in this version ({error})"
        seen = f"This network is built from parts of the package monai, which {why}"
        raise HilumError("HIL-ZOO-07", seen, install("monai")) from error
