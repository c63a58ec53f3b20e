"""Focal Tversky loss (Abraham and Khan, 2019): gamma says whether well or badly found classes count more.

    mean over classes of (1 - index)^(1 / gamma),   gamma = 4/3

The exponent is 1 / gamma = 3/4. Some libraries take the exponent itself: give them 0.75, and this file 4/3. Above 1,
as published, what is found well already keeps more of the slope; below 1 classes that are found badly count more.
"""

from torch import Tensor

from hilum.core.errors import HilumError
from hilum.losses.tversky import tversky_index

CARD = {
    "about": "Tversky with (1 - index)^(1 / gamma): below 1 badly found classes count more",
    "tasks": ["segment"],
    "options": {
        "gamma": 1.3333333333333333,
        "alpha": 0.3,
        "beta": 0.7,
        "background": False,
        "batch": True,
        "smooth": 1e-5,
    },
}

TINY = 1e-6
# A power below 1 has no slope at 0, where everything is found.


def focal_tversky(
    logits: Tensor,
    target: Tensor,
    ignore: int | None = None,
    *,
    gamma: float = 4 / 3,
    alpha: float = 0.3,
    beta: float = 0.7,
    background: bool = False,
    batch: bool = False,
    smooth: float = 1e-5,
) -> Tensor:
    """A scalar in [0, 1]. Shapes and options as `tversky`; gamma = 1 is `tversky`."""
    if gamma <= 0:
        raise HilumError("HIL-LOSSES-06", f"gamma is {gamma}", "Give a number above 0; 4/3 is usual")
    given = {"alpha": alpha, "beta": beta, "smooth": smooth}
    index = tversky_index(logits, target, ignore, background=background, batch=batch, **given)
    return ((1 - index).clamp_min(TINY) ** (1 / gamma)).mean()
