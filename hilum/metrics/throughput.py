"""Throughput: cases per second when one follows the other; images per second for a model that generates.

What is timed and what is not: see latency_s, from the same calls. One program, one case at a time, on this machine. It
is the inverse of the mean latency, so that few slow cases count as much as they take.
"""

from collections.abc import Iterable

CARD = {
    "better": "higher",
    "unit": "1/s",
    "range": [0, None],
    "level": "set",
    "takes": "seconds",
    "aggregate": "number of cases over the sum of their seconds, the first left out",
    "missing": "left out: without a result there is no time until it",
    "empty": "no timed case: undefined",
    "source": "wall clock around the calls of the predictor (time.perf_counter)",
}


def measure(seconds: Iterable[float]) -> float | None:
    """seconds: of each timed case, as latency_s gives them. Returns cases per second."""
    seconds = list(seconds)
    total = float(sum(seconds))
    return len(seconds) / total if total > 0 else None
