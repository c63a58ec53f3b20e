"""Several comparisons at once: p-values adjusted by Holm's method, so that chance findings do not pile up."""

from collections.abc import Sequence


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the order given; 0..1. An undefined one stays None and counts for no comparison.

    Calling differences where the adjusted p is at most 0.05 makes a false call in at most 5 of 100 whole tables,
    however the comparisons hang together (Holm 1979).
    """
    known = sorted((value, place) for place, value in enumerate(p) if value is not None)
    if any(not 0 <= value <= 1 for value, _ in known):
        raise ValueError(f"a p-value lies outside 0..1: {list(p)}")
    out: list[float | None] = [None] * len(p)
    highest = 0.0
    for rank, (value, place) in enumerate(known):
        # never below an adjusted p of a smaller one
        highest = max(highest, min(1.0, (len(known) - rank) * value))
        out[place] = highest
    return out
