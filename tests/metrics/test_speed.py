"""Latency and throughput: two readings of the same clock."""

import math

import pytest

from hilum.metrics import latency_s, throughput


def test_latency_is_the_time_between() -> None:
    assert latency_s.measure(10.0, 12.5) == 2.5 and latency_s.measure(3.0, 3.0) == 0


@pytest.mark.parametrize("ended", [9.0, math.nan])
def test_a_clock_that_runs_backwards_is_refused(ended: float) -> None:
    with pytest.raises(ValueError, match="before it began"):
        latency_s.measure(10.0, ended)


def test_throughput_is_cases_over_seconds_and_not_the_mean_of_rates() -> None:
    assert throughput.measure([1.0, 3.0]) == 0.5 != (1 / 1 + 1 / 3) / 2
    assert throughput.measure(iter([0.25] * 4)) == 4


def test_without_a_timed_case_there_is_no_throughput() -> None:
    assert throughput.measure([]) is None and throughput.measure([0.0]) is None
