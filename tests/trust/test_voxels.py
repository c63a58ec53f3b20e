"""Masks: only the neighbourhood of the foreground is judged, every case counts once, and one temperature is enough."""

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import softmax

from hilum.core.calibration import Scaling
from hilum.core.errors import HilumError
from hilum.metrics import nll
from hilum.trust import _unseen, voxels
from hilum.trust.calibration import applied


def blurred(seed, shape=(24, 24), sharp=1.0, k=2):
    """Logits (K, *space) whose softmax is the chance of each voxel, times `sharp`, and a truth drawn by it."""
    rng = np.random.default_rng(seed)
    away = np.linalg.norm(np.indices(shape) - np.array(shape).reshape(-1, *[1] * len(shape)) / 2, axis=0)
    logits = np.stack([np.zeros(shape), *[(6 - away) / (1 + c) for c in range(k - 1)]])
    chances = softmax(logits, axis=0).cumsum(axis=0)
    return sharp * logits, np.minimum((rng.random(shape) > chances).sum(axis=0), k - 1)


def cases(n, sharp, first=0):
    seeds = range(first, first + n)
    return [voxels.sample(*blurred(seed, sharp=sharp), logits=True, seed=seed) for seed in seeds]


def test_the_region_is_what_lies_within_the_margin_of_judged_foreground() -> None:
    truth, found = np.zeros((21, 17), int), np.zeros((21, 17), int)
    truth[10, 8], found[3, 3], truth[11, 8], found[0, 16] = 1, 2, -1, 1
    truth[0, 16] = -1
    inside = voxels.region(found, truth, margin=3)
    core = np.zeros(truth.shape, bool)
    core[10, 8] = core[3, 3] = True  # what is found where nothing is judged does not count
    expected = (ndimage.distance_transform_edt(~core) <= 3) & (truth >= 0)
    assert np.array_equal(inside, expected) and not inside[11, 8] and not inside[0, 14]


def test_the_margin_has_the_unit_of_the_spacing() -> None:
    truth = np.zeros((9, 9), int)
    truth[4, 4] = 1
    inside = voxels.region(truth, truth, margin=2.0, spacing=(2.0, 1.0))
    assert inside[4].sum() == 5 and inside[:, 4].sum() == 3
    assert not voxels.region(truth * 0, truth * 0).any()
    with pytest.raises(ValueError, match="shape"):
        voxels.region(truth, truth[:5])


def test_a_large_background_changes_nothing() -> None:
    logits, truth = blurred(0, shape=(40, 40))
    wide = np.pad(logits, ((0, 0), (100, 100), (100, 100)), constant_values=-50.0)
    wide[0] = np.pad(logits[0], 100)
    small, large = voxels.sample(logits, truth, True), voxels.sample(wide, np.pad(truth, 100), True)
    assert np.array_equal(small.truth, large.truth) and small.region == large.region < truth.size
    assert np.allclose(small.probabilities, large.probabilities)


def test_logits_and_probabilities_give_the_same_voxels() -> None:
    logits, truth = blurred(1, k=3)
    a, b = voxels.sample(logits, truth, True), voxels.sample(softmax(logits, axis=0), truth)
    assert np.allclose(a.probabilities, b.probabilities) and np.array_equal(a.truth, b.truth)
    flat = np.flatnonzero(voxels.region(logits.argmax(0), truth))
    assert np.array_equal(a.truth, truth.ravel()[flat])


def test_the_sample_is_bounded_and_the_seed_decides_it() -> None:
    logits, truth = blurred(2, shape=(64, 64))
    a, b, c = (voxels.sample(logits, truth, True, most=300, seed=s) for s in (0, 0, 1))
    assert len(a.truth) == 300 < a.region
    assert np.array_equal(a.probabilities, b.probabilities) and not np.array_equal(a.probabilities, c.probabilities)
    everything = voxels.sample(logits, truth, True, most=10**6)
    assert len(everything.truth) == everything.region == a.region
    assert voxels.sureness(a).nll == pytest.approx(voxels.sureness(everything).nll, rel=0.3)


def test_three_times_the_logits_need_a_temperature_of_three() -> None:
    made = cases(12, 3.0)
    assert voxels.fit(made) == pytest.approx(3, rel=0.15)
    found = voxels.choose(made, range(12))
    assert found.scaling.method == "temperature" and 1 / found.scaling.scale[0] == voxels.fit(made)
    assert found.nll["temperature"] < found.nll["none"] and found.cases == 12
    before, after = voxels.sureness(made[0]), voxels.sureness(made[0], found.scaling)
    assert after.nll < before.nll and after.brier < before.brier and after.ece < before.ece


def test_calibrated_voxels_are_mostly_left_alone() -> None:
    sets = [cases(12, 1.0, first) for first in range(0, 72, 12)]
    assert [voxels.fit(made) for made in sets] == pytest.approx([1.0] * 6, abs=0.1)
    # a gain above one standard error comes by chance now and then
    assert sum(voxels.choose(made, range(12)).scaling.method == "temperature" for made in sets) <= 2


def test_every_case_counts_once_however_large_its_region() -> None:
    a, b = cases(2, 3.0)
    half = voxels.Voxels(b.probabilities[::2], b.truth[::2], b.region)
    t = voxels.fit([a, half])

    def mean(t: float) -> float:
        return np.mean([nll.measure(applied(voxels._temperature(t), c.probabilities), c.truth) for c in (a, half)])

    assert mean(t) <= min(mean(t * 0.98), mean(t * 1.02))
    twice = voxels.Voxels(*(np.concatenate([v, v]) for v in (a.probabilities, a.truth)), a.region)
    assert voxels.fit([twice, half]) == pytest.approx(t, rel=1e-4)


def test_a_case_is_scaled_by_other_patients_alone() -> None:
    made, groups = cases(12, 2.0), [k // 2 for k in range(12)]
    clean = voxels.out_of_fold(made, groups)
    own = [k for k, g in enumerate(groups) if g == 3]
    poisoned = [voxels.Voxels(c.probabilities, 1 - c.truth, c.region) if k in own else c for k, c in enumerate(made)]
    dirty = voxels.out_of_fold(poisoned, groups)
    assert all(dirty[k] == clean[k] for k in own) and dirty != clean


def test_without_foreground_there_is_no_number() -> None:
    nothing = voxels.sample(np.stack([np.ones((8, 8)), np.zeros((8, 8))]), np.zeros((8, 8), int))
    assert nothing.region == 0 and voxels.sureness(nothing) is None
    with pytest.raises(HilumError, match="HIL-TRUST-04"):
        voxels.fit([nothing])
    with pytest.raises(HilumError, match=r"4 validation patients.*HIL-TRUST-04"):
        voxels.choose([*cases(4, 2.0), nothing], range(5))
    made = cases(6, 3.0)
    assert voxels.choose([*made, nothing], range(7)) == voxels.choose(made, range(6))


def test_an_empty_case_does_not_switch_off_what_others_say_of_the_rest() -> None:
    nothing = voxels.Voxels(np.zeros((0, 2)), np.zeros(0, int), 0)
    made = [*cases(12, 3.0), nothing]
    scaling, honest = _unseen.of_masks(made, range(13), [])
    assert scaling.method == "temperature" and len(honest) == 13
    assert scaling not in honest and len({one.scale[0] for one in honest}) > 1
    # of the one case that has a region nobody else says anything
    first, *rest = voxels.out_of_fold([made[0], nothing, nothing], "abc")
    assert first == Scaling() and rest == [voxels._temperature(voxels.fit(made[:1]))] * 2


def test_bins_of_a_case_give_its_ece() -> None:
    found = voxels.sureness(cases(1, 2.0)[0])
    assert found is not None
    bins = np.array(found.bins)
    assert bins.shape == (15, 3) and bins[:, 0].sum() == pytest.approx(1)
    assert np.abs(bins[:, 2] - bins[:, 1]).sum() == pytest.approx(found.ece)
    # confidence lies in its bin
    there = bins[:, 0] > 0
    stated = bins[there, 1] / bins[there, 0]
    assert np.array_equal(np.ceil(stated * 15 - 1e-9).astype(int) - 1, np.flatnonzero(there))
