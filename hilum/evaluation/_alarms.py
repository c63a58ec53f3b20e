"""What evaluations warned of, told once more where their figures stand side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hilum.evaluation.comparison import Cell


def of_cells(cells: Sequence["Cell"]) -> list[str]:
    """Each alarm once, with the networks that it was raised of; of several seeds with those too."""
    several = len({cell.seed for cell in cells}) > 1
    said: dict[str, list[str]] = {}
    for cell in cells:
        for words in cell.alarms:
            said.setdefault(words, []).append(f"{cell.net} with seed {cell.seed}" if several else cell.net)
    return [
        f"{'All networks' if len(names) == len(cells) > 1 else ', '.join(names)}: {words}"
        for words, names in said.items()
    ]
