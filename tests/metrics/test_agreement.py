"""Our numbers beside those of MONAI, scikit-learn, scikit-image and SimpleITK: where they agree, and where they do not.

The differences are those that docs/explanation/metrics.md lists: a test that fails here says that the list is old.
"""

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from hilum.evaluation.bootstrap import interval
from hilum.metrics import (
    auroc,
    balanced_accuracy,
    brier,
    dice,
    ece,
    froc,
    hd95_mm,
    macro_f1,
    nll,
    pq,
    psnr_db,
    ssim,
)

pytestmark = pytest.mark.filterwarnings("ignore")
torch = pytest.importorskip("torch")
monai = pytest.importorskip("monai.metrics")
sk = pytest.importorskip("sklearn.metrics")
skimage = pytest.importorskip("skimage.metrics")
sitk = pytest.importorskip("SimpleITK")
SEVEN = (0.125, 0.25, 0.5, 1, 2, 4, 8)
MM = (1.0, 1.0, 1.0)


def blob(seed: int) -> Any:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(14, 15, 16)), 2)
    return noise > np.quantile(noise, 0.85)


def tensor(mask: Any) -> Any:
    return torch.from_numpy(np.asarray(mask)[None, None].astype(np.float32))


def cubes() -> tuple[Any, Any, Any]:
    """Nothing, a cube, and the cube one voxel further on."""
    empty = np.zeros((8, 8, 8), bool)
    one = empty.copy()
    one[2:5, 2:5, 2:5] = True
    return empty, one, np.roll(one, 1, 0)


def scores(n: int = 60, k: int = 3, ties: bool = False) -> tuple[Any, Any]:
    rng = np.random.default_rng(5)
    p, truth = rng.dirichlet(np.ones(k), n), rng.integers(0, k, n)
    p[np.arange(n), truth] += 0.3
    p = p.round(1) + 0.01 if ties else p
    return p / p.sum(axis=1, keepdims=True), truth


def pictures() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    truth = rng.random((24, 26))
    return truth + 0.1 * rng.normal(size=truth.shape), truth


def mean(*values: float | None) -> float | None:
    """As the evaluator takes it: what is undefined is left out."""
    return interval(values, ["one"] * len(values)).mean


# -------------------------------------------------------------------------------------------------- where they agree


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_dice_of_monai(seed: int) -> None:
    a, b = blob(seed), blob(seed + 1)
    theirs = float(monai.compute_dice(tensor(a), tensor(b), include_background=True))
    assert dice.measure(a, b, MM) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("seed", [0, 2, 4])
def test_hd95_is_the_larger_directed_percentile_and_not_the_pooled_one(seed: int) -> None:
    from hilum.metrics._surface import surface_distances

    a, b = blob(seed), blob(seed + 1)
    theirs = float(monai.compute_hausdorff_distance(tensor(a), tensor(b), include_background=True, percentile=95))
    there, back = surface_distances(a, b, MM)
    assert hd95_mm.measure(a, b, MM) == pytest.approx(theirs, rel=1e-5)
    assert np.percentile(np.concatenate([there, back]), 95) <= theirs + 1e-6


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_of_monai_with_and_without_ties(ties: bool) -> None:
    p, truth = scores(ties=ties)
    theirs = monai.compute_roc_auc(torch.from_numpy(p), torch.from_numpy(np.eye(3)[truth]))
    assert auroc.measure(p, truth) == pytest.approx(float(theirs), abs=1e-9)


def test_macro_f1_of_monai_from_summed_counts() -> None:
    p, truth = scores()
    one = [torch.eye(3)[torch.from_numpy(v)][:, :, None] for v in (p.argmax(axis=1), truth)]
    counts = monai.get_confusion_matrix(*one).sum(dim=0)
    theirs = float(monai.compute_confusion_matrix_metric("f1 score", counts).mean())
    assert macro_f1.measure(p, truth) == pytest.approx(theirs, abs=1e-6)


@pytest.mark.parametrize("right", [False, True])
def test_ece_of_monai_on_the_worked_example(right: bool) -> None:
    confidence, correct = np.array([0.95, 0.9, 0.85, 0.75, 0.65, 0.55]), np.array([1, 1, 0, 1, 0, 1])
    metric = monai.CalibrationErrorMetric(num_bins=10, include_background=True, right=right)
    metric(*(torch.from_numpy(v)[None, None].float() for v in (confidence, correct)))
    assert ece.calibration_error(confidence, correct, 10) == pytest.approx(float(metric.aggregate()), abs=1e-6)
    assert ece.calibration_error(confidence, correct, 10) == pytest.approx(0.358333, abs=1e-6)


def test_brier_of_scikit_learn_for_three_classes() -> None:
    p, truth = scores()
    assert brier.measure(p, truth) == pytest.approx(sk.brier_score_loss(truth, p))


def test_froc_of_monai_on_the_worked_example_at_seven_rates() -> None:
    x, y = monai.compute_froc_curve_data(np.array([0.8, 0.7, 0.3, 0.2]), np.array([0.9, 0.6, 0.0]), 3, 2)
    assert monai.compute_froc_score(x, y, SEVEN) == pytest.approx(0.523810, abs=1e-6)
    assert froc.cpm([0.9, 0.6], [0.8, 0.7, 0.3, 0.2], 3, 2) == pytest.approx(0.523810, abs=1e-6)


def test_ssim_and_psnr_of_monai_when_told_window_and_range() -> None:
    noisy, truth = pictures()
    both, peak = [torch.from_numpy(v[None, None]) for v in (noisy, truth)], float(truth.max())
    uniform = monai.SSIMMetric(spatial_dims=2, data_range=peak, kernel_type="uniform", win_size=7)
    assert ssim.measure(noisy, truth) == pytest.approx(float(uniform(*both)), abs=1e-3)
    assert psnr_db.measure(noisy, truth) == pytest.approx(float(monai.PSNRMetric(max_val=peak)(*both)))


def test_panoptic_quality_of_monai() -> None:
    found, truth = np.zeros((20, 20), np.int64), np.zeros((20, 20), np.int64)
    truth[0:4, 0:4], truth[10:14, 10:14], truth[0:4, 12:16] = 1, 2, 3
    found[0:4, 0:4], found[11:15, 10:14], found[16:20, 0:4] = 7, 5, 2
    stacked = [torch.from_numpy(np.stack([v, v > 0])[None].astype(np.int64)) for v in (found, truth)]
    metric = monai.PanopticQualityMetric(num_classes=1)
    metric(*stacked)
    assert pq.measure(found, truth) == pytest.approx(float(metric.aggregate()[0]), abs=1e-5)


def test_the_full_hausdorff_distance_of_simpleitk_uses_the_spacing_as_we_do() -> None:
    _, one, moved = cubes()
    images = [sitk.GetImageFromArray(m.astype(np.uint8)) for m in (one, moved)]
    for image in images:
        image.SetSpacing((0.7, 1.3, 5.0))  # x, y, z: the reverse of our axes
    judge = sitk.HausdorffDistanceImageFilter()
    judge.Execute(*images)
    assert judge.GetHausdorffDistance() == pytest.approx(5.0)
    assert hd95_mm.measure(one, moved, (5.0, 1.3, 0.7)) == pytest.approx(5.0)


# --------------------------------------------------------------------------------------------- where they do not agree


def test_differs_monai_dice_forgives_a_false_structure() -> None:
    empty, one, moved = cubes()
    metric = monai.DiceMetric(reduction="mean")
    metric(torch.cat([tensor(moved), tensor(one)]), torch.cat([tensor(one), tensor(empty)]))
    assert float(metric.aggregate()) == pytest.approx(2 / 3)
    assert mean(dice.measure(moved, one, MM), dice.measure(one, empty, MM)) == pytest.approx(1 / 3)


def test_differs_monai_hausdorff_forgives_a_structure_that_was_not_found() -> None:
    empty, one, moved = cubes()
    metric = monai.HausdorffDistanceMetric(include_background=True, percentile=95)
    metric(torch.cat([tensor(moved), tensor(empty)]), torch.cat([tensor(one), tensor(one)]))
    assert float(metric.aggregate()) == 1
    ours = mean(hd95_mm.measure(moved, one, MM), hd95_mm.measure(empty, one, MM))
    assert ours == pytest.approx((1 + np.sqrt(3 * 8**2)) / 2)


def test_differs_monai_froc_drops_the_least_sure_candidate() -> None:
    x, y = monai.compute_froc_curve_data(np.array([]), np.array([0.9, 0.2]), 2, 1)
    assert monai.compute_froc_score(x, y, SEVEN) == 0.5 and froc.cpm([0.9, 0.2], [], 2, 1) == 1
    x, y = monai.compute_froc_curve_data(np.array([0.8, 0.7, 0.3, 0.2]), np.array([0.9, 0.6, 0.0]), 3, 2)
    assert monai.compute_froc_score(x, y) == pytest.approx(0.5556, abs=1e-4)  # six rates


def test_differs_monai_balanced_accuracy_counts_true_negatives() -> None:
    p, truth = np.eye(3)[[0, 0, 0]], np.array([0, 1, 2])  # one answer for all
    one = [torch.eye(3)[torch.from_numpy(v)][:, :, None] for v in (p.argmax(axis=1), truth)]
    counts = monai.get_confusion_matrix(*one).sum(dim=0)
    assert float(monai.compute_confusion_matrix_metric("balanced accuracy", counts).mean()) == 0.5
    assert float(monai.compute_confusion_matrix_metric("accuracy", counts).mean()) == pytest.approx(5 / 9)
    theirs = sk.balanced_accuracy_score(truth, p.argmax(axis=1))
    assert balanced_accuracy.measure(p, truth) == pytest.approx(1 / 3) == pytest.approx(theirs)


def test_differs_monai_panoptic_quality_at_exactly_half_and_of_nothing() -> None:
    truth, nothing = np.zeros((1, 2, 12, 12), np.int64), np.zeros((1, 2, 12, 12), np.int64)
    truth[0, :, 0:4, 0:4] = 1
    half = np.where(np.arange(12) < 2, truth, 0)
    for found, real, theirs, ours in ((half, truth, 0, 0.5), (nothing, nothing, 0, None)):
        metric = monai.PanopticQualityMetric(num_classes=1)
        metric(torch.from_numpy(found), torch.from_numpy(real))
        assert float(metric.aggregate()[0]) == theirs and pq.measure(found[0, 0], real[0, 0]) == ours


def test_differs_peak_signal_to_noise() -> None:
    noisy, truth = pictures()
    dim = noisy * 0.3, truth * 0.3
    # without data_range scikit-image takes 1, not the largest value
    assert skimage.peak_signal_noise_ratio(dim[1], dim[0]) == pytest.approx(30.86, abs=0.01)
    assert psnr_db.measure(*dim) == pytest.approx(20.40, abs=0.01)
    assert skimage.peak_signal_noise_ratio(truth, truth, data_range=1) == np.inf
    assert psnr_db.measure(truth, truth) == 150
    assert float(monai.PSNRMetric(max_val=1)(*[torch.from_numpy(truth[None, None])] * 2)) == np.inf


def test_differs_structural_similarity_has_another_window_in_monai() -> None:
    noisy, truth = pictures()
    both = [torch.from_numpy(v[None, None]) for v in (noisy, truth)]
    theirs = float(monai.SSIMMetric(spatial_dims=2, data_range=float(truth.max()))(*both))
    usual = skimage.structural_similarity(
        truth, noisy, data_range=truth.max(), gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert theirs == pytest.approx(usual, abs=1e-3) and theirs != pytest.approx(ssim.measure(noisy, truth), abs=2e-5)


def test_differs_scikit_learn_halves_brier_of_two_classes_and_clips_by_precision() -> None:
    p, truth = scores(k=2)
    assert brier.measure(p, truth) == pytest.approx(2 * sk.brier_score_loss(truth, p[:, 1]))
    wrong = np.array([[0.0, 1.0], [0.0, 1.0]])
    found = [2 * sk.log_loss([0, 1], wrong.astype(kind)) for kind in (np.float64, np.float32)]
    assert found == pytest.approx([36.04, 15.94], abs=0.01)
    for kind in (np.float64, np.float32):
        assert 2 * nll.measure(wrong.astype(kind), np.array([0, 1])) == pytest.approx(27.63, abs=0.01)


def test_differs_scikit_learn_and_monai_with_a_class_that_does_not_occur() -> None:
    p, truth = scores(20)
    p, truth = p[truth != 2], truth[truth != 2]
    with pytest.raises(ValueError, match="Number of classes"):
        sk.roc_auc_score(truth, p, multi_class="ovr")
    assert np.isnan(sk.roc_auc_score(truth, p, multi_class="ovr", labels=[0, 1, 2]))
    assert np.isnan(monai.compute_roc_auc(torch.from_numpy(p), torch.from_numpy(np.eye(3)[truth])))
    assert 0 < auroc.measure(p, truth) < 1
    right = np.array([0, 0, 1])
    assert sk.f1_score(right, right, average="macro", labels=[0, 1, 2]) == pytest.approx(2 / 3)
    assert macro_f1.measure(np.eye(3)[right], right) == 1


def overlap(found: Any, real: Any) -> Any:
    judge = sitk.LabelOverlapMeasuresImageFilter()
    judge.Execute(*(sitk.GetImageFromArray(np.asarray(m).astype(np.uint8)) for m in (found, real)))
    return judge


def test_differs_simpleitk_pools_labels_and_divides_by_nothing() -> None:
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[:10], truth[15, 15, 15:17] = 1, 2
    found = np.where(truth == 1, 1, 0)
    found[16, 3, 3] = 2
    judge = overlap(found, truth)
    assert judge.GetDiceCoefficient() > 0.999 and judge.GetDiceCoefficient(2) == 0
    assert mean(*(dice.measure(found == k, truth == k, MM) for k in (1, 2))) == 0.5
    empty = cubes()[0]
    assert overlap(empty, empty).GetDiceCoefficient() == np.inf and dice.measure(empty, empty, MM) is None


def test_differs_hausdorff_distance_of_all_voxels_instead_of_surfaces() -> None:
    radius = np.sqrt(((np.indices((21, 21, 21)) - 10) ** 2).sum(axis=0))
    ball, hollow = radius <= 8, (radius <= 8) & (radius > 3)
    judge = sitk.HausdorffDistanceImageFilter()
    judge.Execute(*(sitk.GetImageFromArray(m.astype(np.uint8)) for m in (ball, hollow)))
    assert judge.GetHausdorffDistance() == pytest.approx(3.162, abs=1e-3)
    assert skimage.hausdorff_distance(ball, hollow) == pytest.approx(3.162, abs=1e-3)
    surfaces = monai.compute_hausdorff_distance(tensor(ball), tensor(hollow), include_background=True)
    assert float(surfaces) == pytest.approx(4.123, abs=1e-3) and hd95_mm.measure(ball, hollow, MM) == 4
    empty, one, _ = cubes()
    assert skimage.hausdorff_distance(one, empty) == np.inf and skimage.hausdorff_distance(empty, empty) == 0
    with pytest.raises(RuntimeError):
        judge.Execute(*(sitk.GetImageFromArray(m.astype(np.uint8)) for m in (one, empty)))
