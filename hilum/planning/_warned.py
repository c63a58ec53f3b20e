"""What training is warned of, by name: images with values that are no numbers."""

from collections.abc import Mapping

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image

NAMED = 10
# Cases named in a sentence.


def no_numbers(case: Case, image: Image) -> int:
    """Voxels that are NaN or infinite, where the reader has warned of them.

    Refused: a channel without any number (HIL-N09), and no numbers that the reader has said nothing of (HIL-T06).
    """
    if image.array.dtype.kind != "f":
        return 0
    finite = np.isfinite(image.array)
    odd = finite.size - int(np.count_nonzero(finite))
    if odd and not finite.reshape(len(finite), -1).any(axis=1).all():
        raise HilumError("HIL-N09", f"The image of case {case.id} has no finite value", "Mend it or leave it out")
    if odd and not any("HIL-N09" in words for words in image.warnings):
        raise HilumError(
            "HIL-T06", f"The image of case {case.id} holds {odd} values that are no numbers",
            "Look at it with: hilum inspect; mend it or leave the case out",
        )  # fmt: skip
    return odd


def of_numbers(odd: Mapping[str, int]) -> list[str]:
    """The sentence about all images with such voxels. odd: {case: voxels}."""
    found = [f"{name} ({count})" for name, count in odd.items() if count]
    if not found:
        return []
    return [f"HIL-N09: NaN or infinite voxels, where networks see the least value of the image: {_listed(found)}"]


def _listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
