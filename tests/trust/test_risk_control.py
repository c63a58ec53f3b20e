"""The threshold keeps the mean loss of new patients below the wanted risk, over many draws; too few are refused."""

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.trust.risk_control import by_group, choose, false_negative_losses

GRID = np.linspace(0, 1, 51)


def cases(rng, n):
    """Loss curves of lesions (n, T): some are seen well, some badly."""
    rows = []
    for _ in range(n):
        seen = rng.beta(rng.uniform(1, 6), 1.5, size=60)
        rows.append(false_negative_losses(seen, np.ones(60, dtype=bool), GRID))
    return np.array(rows)


def test_false_negatives_by_hand():
    probability = np.array([[0.2, 0.5], [0.9, 0.7]])
    truth = np.array([[1, 1], [1, 0]], dtype=bool)
    found = false_negative_losses(probability, truth, [0, 0.2, 0.5, 0.6, 1])
    np.testing.assert_allclose(found, [0, 0, 1 / 3, 2 / 3, 1])
    assert false_negative_losses(probability, np.zeros((2, 2), bool), [0.5]) is None


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_a_voxel_on_the_threshold_is_in_the_mask_in_every_precision(kind):
    rng = np.random.default_rng(0)
    probability = rng.integers(0, 11, (4, 5, 6)).astype(kind) / kind(10)
    truth = rng.random((4, 5, 6)) < 0.4
    thresholds = [k / 10 for k in range(11)]
    losses = false_negative_losses(probability, truth, np.array(thresholds))
    slow = [1 - (truth & (probability >= t)).sum() / truth.sum() for t in thresholds]
    np.testing.assert_allclose(losses, slow)


@pytest.mark.parametrize(("n", "risk"), [(40, 0.1), (19, 0.2)])
def test_the_mean_loss_of_new_patients_is_below_the_risk_and_not_far_below(n, risk):
    rng = np.random.default_rng(1)
    pool = cases(rng, 3000)
    mean, spent = pool.mean(axis=0), []
    for _ in range(400):
        found = choose(pool[rng.integers(len(pool), size=n)], GRID, risk)
        assert found.threshold is not None and found.bound <= risk + 1e-9
        spent.append(mean[np.searchsorted(GRID, found.threshold - 1e-12)])
    assert np.mean(spent) <= risk + 0.003
    # the published bound from below is 2 / (n + 1), and the grid of thresholds costs a little
    assert np.mean(spent) >= risk - 2 / (n + 1) - 0.02


def test_by_hand_and_the_highest_that_holds():
    losses = np.tile([0.0, 0.0, 0.5, 1.0], (9, 1))
    found = choose(losses, np.array([0.1, 0.2, 0.3, 0.4]), 0.1)
    assert (found.threshold, found.bound, found.n) == (0.2, pytest.approx(0.1), 9)
    assert choose(losses, np.array([0.1, 0.2, 0.3, 0.4]), 0.55).threshold == 0.3
    for part in ("at most 10 % on average", "9 patients", "exchangeable", "not about a single patient"):
        assert part in found.sentence


def test_too_few_patients_are_refused_by_sentence():
    found = choose(np.zeros((8, 3)), np.array([0.1, 0.2, 0.3]), 0.1)
    assert found.threshold is None and found.bound is None
    assert "8 patients are too few" in found.sentence and "at least 9" in found.sentence
    assert choose(np.zeros((0, 3)), np.array([0.1, 0.2, 0.3]), 0.1).threshold is None


def test_where_no_threshold_holds_the_sentence_says_how_much_is_lost():
    found = choose(np.full((50, 2), 0.4), np.array([0.1, 0.2]), 0.1)
    assert found.threshold is None and "at the lowest one it is 40 %" in found.sentence


def test_images_of_one_patient_count_once():
    rng = np.random.default_rng(2)
    rows = cases(rng, 30)
    groups = np.repeat(np.arange(30), 4)
    alone, clustered = choose(rows, GRID, 0.1), choose(np.repeat(rows, 4, axis=0), GRID, 0.1, groups.tolist())
    assert clustered.threshold == alone.threshold and clustered.n == 30
    assert choose(np.zeros((30, 2)), np.array([0.1, 0.2]), 0.1, [0] * 30).threshold is None
    np.testing.assert_allclose(by_group(np.array([[0.0], [1.0], [0.5]]), ["b", "a", "b"]), [[0.25], [1.0]])


def test_what_the_theory_does_not_cover_is_refused():
    ends = np.array([0.1, 0.2])
    with pytest.raises(ValueError, match="must not fall"):
        choose(np.array([[0.5, 0.2]]), ends, 0.1)
    with pytest.raises(ValueError, match="must rise"):
        choose(np.zeros((1, 2)), ends[::-1], 0.1)
    for wrong in (1.5, -0.1, np.nan):
        with pytest.raises(ValueError, match=r"0\.\.1"):
            choose(np.full((1, 2), wrong), ends, 0.1)
    with pytest.raises(HilumError) as raised:
        choose(np.zeros((20, 2)), ends, 0.0)
    assert raised.value.code == "HIL-TRUST-05"
