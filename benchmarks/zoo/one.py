"""`hilum train` as it is, but for what a run learns about its own answers.

    PYTHON one.py train DATA --task segment ...

That looks at every training and validation case with the whole network, which would take a network of these tables
longer than its training. It is also where classes are chosen of which only the largest piece is kept: masks are here
as the network finds them. On a card, products of float32 are computed in float32, as on processors.
"""

import sys
from typing import Any

from hilum.cli import main
from hilum.core import card
from hilum.trust import learned


def nothing(*_: Any, **__: Any) -> None:
    """Learns nothing."""


if __name__ == "__main__":
    learned.write = nothing  # type: ignore[assignment]
    card.full_products()
    sys.exit(main.main())
