"""How often an image is halved until its shortest side is 4."""

import math
from collections.abc import Sequence

from hilum.core.errors import HilumError


def doublings(image_size: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """image_size -> (n, base) with image_size = base * 2^n and the shortest base 4; (64, 96) -> (4, (4, 6))."""
    count = round(math.log2(max(min(image_size), 1) / 4))
    base = tuple(size // 2 ** max(count, 0) for size in image_size)
    if count < 2 or min(base) != 4 or any(b * 2**count != size for b, size in zip(base, image_size, strict=True)):
        remedy = "Use a shortest side of 16, 32, 64, ... and make the other sides divisible by a quarter of it"
        raise HilumError("HIL-ZOO-03", f"image_size is {tuple(image_size)}", remedy)
    return count, base
