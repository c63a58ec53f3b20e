"""verify: is a bundle whole, and does it still compute what it did where it was made?"""

from pathlib import Path
from typing import Any

from hilum.infer import bundle as bundles


def verify(path: Path | str) -> dict[str, Any]:
    """Hashes and golden pair; refused with the difference, or the bundle's card with the measured difference."""
    return bundles.verify(Path(path))
