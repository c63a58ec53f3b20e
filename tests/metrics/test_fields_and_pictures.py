"""Metrics of fields, pictures and features."""

import numpy as np
import pytest

from hilum.metrics import fid, folding_percent, kid, landmark_mm, nmse, psnr_db, recall, ssim


@pytest.mark.parametrize("shape", [(9, 8), (7, 8, 9), (5, 6, 1)])
def test_no_motion_does_not_fold_and_a_scale_has_its_volume(shape):
    d = len(shape)
    assert folding_percent.measure(np.zeros((d, *shape))) == 0.0
    where = np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in shape], indexing="ij"))
    axes = sum(n > 1 for n in shape)
    assert np.allclose(folding_percent.determinant(0.5 * where), 1.5**axes)


@pytest.mark.parametrize("d", [2, 3])
def test_a_field_that_rises_evenly_has_the_volume_of_its_matrix(d):
    matrix = np.random.default_rng(0).normal(size=(d, d))
    field = np.einsum("ij,j...->i...", matrix, np.indices((5, 6, 4)[:d]))
    assert np.allclose(folding_percent.determinant(field), np.linalg.det(np.eye(d) + matrix))


def test_a_hand_made_fold_is_counted():
    field = np.zeros((2, 10, 10))
    field[0, 5:] = -3.0  # everything from row 5 on jumps back over its neighbours: slope -1.5 on two rows
    assert folding_percent.measure(field) == pytest.approx(20.0)
    mirrored = np.zeros((2, 10, 10))
    mirrored[0] = -2.0 * np.arange(10)[:, None]
    assert folding_percent.measure(mirrored) == 100.0
    # each axis goes along the other one
    assert folding_percent.measure(2.0 * np.indices((10, 10))[::-1]) == 100.0
    mirrored[:] = np.nan
    assert folding_percent.measure(mirrored) == 100.0


def test_landmarks_are_exact_for_the_exact_field_and_in_mm():
    field = np.zeros((3, 8, 8, 8))
    field[1] = 2.0
    fixed = np.array([[1.5, 2, 3], [4, 4, 4.25]])
    assert landmark_mm.measure(field, (1, 3, 1), fixed, fixed + np.array([0, 2, 0])) == pytest.approx(0.0)
    assert landmark_mm.measure(field, (1, 3, 1), fixed, fixed) == pytest.approx(6.0)
    turned = np.array([[0, -3.0, 0, 9], [1, 0, 0, 9], [0, 0, 1, 9], [0, 0, 0, 1]])
    assert landmark_mm.measure(field, turned, fixed, fixed) == pytest.approx(6.0)
    # a field that rises: read between its voxels, and where the fixed landmark lies
    matrix = np.random.default_rng(0).normal(size=(3, 3))
    rising = np.einsum("ij,j...->i...", matrix, np.indices((8, 8, 8)))
    assert landmark_mm.measure(rising, (1, 3, 1), fixed, fixed + fixed @ matrix.T) == pytest.approx(0.0, abs=1e-9)
    assert landmark_mm.measure(field, (1, 3, 1), np.zeros((0, 3)), np.zeros((0, 3))) is None


def pictures(shape=(1, 24, 26), seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.random(shape)
    return truth + 0.1 * rng.normal(size=shape), truth


@pytest.mark.parametrize("shape", [(20, 21), (1, 20, 21), (1, 20, 21, 4)])
def test_the_same_picture_is_perfect_and_more_noise_is_worse(shape):
    noisy, truth = pictures(shape)
    for metric, best in [(psnr_db, 150.0), (ssim, 1.0), (nmse, 0.0)]:
        assert metric.measure(truth, truth) == pytest.approx(best)
        sign = 1 if metric.CARD["better"] == "higher" else -1
        values = [sign * metric.measure(truth + k * (noisy - truth), truth) for k in (0.5, 1, 2, 4)]
        assert values == sorted(values, reverse=True)


def test_pictures_agree_with_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    noisy, truth = pictures((1, 20, 22, 5))
    peak = truth.max()
    assert psnr_db.measure(noisy, truth) == pytest.approx(peak_signal_noise_ratio(truth, noisy, data_range=peak))
    theirs = np.mean([structural_similarity(truth[0, ..., k], noisy[0, ..., k], data_range=peak) for k in range(5)])
    assert ssim.measure(noisy, truth) == pytest.approx(theirs)
    assert nmse.measure(noisy, truth) == pytest.approx(np.linalg.norm(noisy - truth) ** 2 / np.linalg.norm(truth) ** 2)
    assert psnr_db.measure(noisy, truth, data_range=2 * peak) == pytest.approx(psnr_db.measure(noisy, truth) + 6.0206)


def test_pictures_without_signal_or_too_small_are_undefined_and_nan_is_refused():
    black = np.zeros((1, 9, 9))
    assert psnr_db.measure(black, black) is None and ssim.measure(black, black) is None
    assert nmse.measure(black, black) is None
    assert ssim.measure(np.ones((1, 6, 9)), np.ones((1, 6, 9))) is None
    with pytest.raises(ValueError, match="not finite"):
        nmse.measure(black * np.nan, black)


def test_kid_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    same = [kid.measure(rng.normal(size=(30, 5)), rng.normal(size=(40, 5))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    assert min(same) < 0
    assert kid.measure(rng.normal(size=(30, 5)) + 2, rng.normal(size=(40, 5))) > max(same)
    assert kid.measure(np.ones((1, 5)), np.ones((4, 5))) is None


def test_kid_is_the_double_sum():
    x, y = np.array([[1.0, 0], [0, 2]]), np.array([[1.0, 1], [2, 0], [0, 0]])
    k = lambda a, b: (a @ b / 2 + 1) ** 3  # noqa: E731
    own = k(x[0], x[1])
    other = np.mean([k(y[i], y[j]) for i in range(3) for j in range(3) if i != j])
    cross = np.mean([k(a, b) for a in x for b in y])
    assert kid.measure(x, y) == pytest.approx(own + other - 2 * cross)


def test_fid_of_two_gaussians_and_of_itself():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)) * [1, 2, 3, 4], rng.normal(size=(60, 4)) + 1
    s1, s2 = np.cov(x.T), np.cov(y.T)
    shift = x.mean(axis=0) - y.mean(axis=0)
    theirs = shift @ shift + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    assert fid.measure(x, y) == pytest.approx(theirs)
    assert fid.measure(x, x) == pytest.approx(0.0, abs=1e-6)
    assert fid.measure(x[:4], y) is None


def test_recall_falls_when_the_generator_makes_one_thing():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(100, 3))
    assert recall.measure(rng.normal(size=(100, 3)), real) > 0.7
    assert recall.measure(0.01 * rng.normal(size=(100, 3)), real) < 0.1
    assert recall.measure(real[:3], real) is None
