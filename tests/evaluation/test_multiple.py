"""Holm's method: a worked table, order, and few false calls over whole tables of nulls."""

import numpy as np
import pytest

from hilum.evaluation.multiple import holm


def test_a_table_by_hand():
    # sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1 gives 0.02, 0.03, 0.06, 0.04, and none falls below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_one_comparison_is_not_changed_and_none_exceeds_1():
    assert holm([0.03]) == [0.03] and holm([]) == []
    assert holm([0.9, 0.8, 1.0]) == [1.0, 1.0, 1.0]


def test_adjusted_values_keep_the_order_and_never_fall():
    p = list(np.random.default_rng(0).random(12) ** 3)
    adjusted = holm(p)
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    assert list(np.array(adjusted)[np.argsort(p)]) == sorted(adjusted)


def test_what_is_undefined_is_no_comparison():
    assert holm([None, 0.02, None, 0.03]) == [None, 0.04, None, 0.04]


def test_tables_of_nulls_have_a_false_call_in_at_most_5_of_100():
    tables = np.random.default_rng(1).random((4000, 6))
    adjusted = np.mean([min(holm(list(row))) <= 0.05 for row in tables])
    assert 0.035 <= adjusted <= 0.06
    assert np.mean(tables.min(axis=1) <= 0.05) > 0.2


@pytest.mark.parametrize("wrong", [-0.1, 1.5, float("nan")])
def test_what_is_no_p_is_refused(wrong):
    with pytest.raises(ValueError, match="outside"):
        holm([0.5, wrong])
