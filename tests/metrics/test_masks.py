"""Metrics of masks keep their laws: perfect is best, worse is never better, empty has a rule, spacing counts."""

import numpy as np
import pytest
from scipy import ndimage

from hilum.metrics import dice, hd95_mm, nsd_1mm, volume_error_ml

MODULES = {"dice": dice, "hd95_mm": hd95_mm, "nsd_1mm": nsd_1mm, "volume_error_ml": volume_error_ml}
PERFECT = {"dice": 1.0, "hd95_mm": 0.0, "nsd_1mm": 1.0, "volume_error_ml": 0.0}


def blob(rng, shape=(20, 22, 24)):
    """A smooth random structure, never empty."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape), 2.5)
    return noise > np.quantile(noise, 0.85)


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("shape", [(30, 31), (12, 13, 14)])
def test_a_mask_with_itself_is_perfect(name, shape):
    truth = blob(np.random.default_rng(0), shape)
    assert MODULES[name].measure(truth, truth, (1.5,) * len(shape)) == PERFECT[name]


@pytest.mark.parametrize("name", MODULES)
def test_both_empty_is_undefined(name):
    empty = np.zeros((5, 6, 7), bool)
    assert MODULES[name].measure(empty, empty, (1.0, 1.0, 1.0)) is None


def test_one_empty_mask_is_as_bad_as_it_gets_on_either_side():
    empty, one = np.zeros((5, 6, 7), bool), np.zeros((5, 6, 7), bool)
    one[2, 2, 2] = True
    spacing = (2.0, 1.0, 0.5)
    far = np.sqrt(10**2 + 6**2 + 3.5**2)
    for prediction, truth in [(empty, one), (one, empty)]:
        assert dice.measure(prediction, truth, spacing) == 0
        assert nsd_1mm.measure(prediction, truth, spacing) == 0
        assert hd95_mm.measure(prediction, truth, spacing) == pytest.approx(far)
        assert volume_error_ml.measure(prediction, truth, spacing) == pytest.approx(0.001)


def test_a_worse_mask_is_never_better():
    """200 nested cases: a mask that lost more of the truth, or grew farther beyond it, never scores better."""
    rng = np.random.default_rng(1)
    spacing = (1.0, 1.0)
    for case in range(200):
        distance = ndimage.gaussian_filter(rng.normal(size=(24, 24)), 3)
        levels = np.quantile(distance, [0.6, 0.75, 0.9] if case % 2 else [0.9, 0.75, 0.6])
        truth, near, far = (distance > level for level in levels)
        for name, module in MODULES.items():
            if name in ("hd95_mm", "nsd_1mm"):  # of nested level sets a percentile may wobble by less than a voxel
                continue
            better, worse = module.measure(near, truth, spacing), module.measure(far, truth, spacing)
            assert better >= worse if module.CARD["better"] == "higher" else better <= worse
        # for surfaces: the truth as a box, the predictions grown or shrunk by whole voxels
        box = np.zeros((40, 40), bool)
        low, size = rng.integers(8, 14, 2), rng.integers(10, 16, 2)
        box[low[0] : low[0] + size[0], low[1] : low[1] + size[1]] = True
        change = ndimage.binary_dilation if case % 2 else ndimage.binary_erosion
        few, more = sorted(rng.choice(np.arange(1, 5), 2, replace=False))
        near, far = change(box, iterations=int(few)), change(box, iterations=int(more))
        for module in MODULES.values():
            better, worse = module.measure(near, box, spacing), module.measure(far, box, spacing)
            assert better >= worse if module.CARD["better"] == "higher" else better <= worse


def test_spacing_is_respected_by_an_anisotropic_shift():
    cube = np.zeros((20, 20, 20), bool)
    cube[5:12, 5:12, 5:12] = True
    for axis, mm in enumerate((5.0, 0.7, 1.3)):
        shifted = np.roll(cube, 1, axis=axis)
        assert hd95_mm.measure(shifted, cube, (5.0, 0.7, 1.3)) == pytest.approx(mm)
    assert nsd_1mm.measure(np.roll(cube, 1, 1), cube, (5.0, 0.7, 1.3)) == 1.0
    assert nsd_1mm.measure(np.roll(cube, 1, 0), cube, (5.0, 0.7, 1.3)) < 1.0


def test_volume_is_in_ml():
    truth = np.zeros((10, 10, 10), bool)
    truth[:5] = True
    assert volume_error_ml.measure(~np.zeros_like(truth), truth, (2.0, 1.0, 1.0)) == pytest.approx(1.0)


def test_cropping_to_the_structure_changes_nothing():
    rng = np.random.default_rng(2)
    a, b = blob(rng, (15, 16, 17)), blob(rng, (15, 16, 17))
    wide = [np.pad(m, 9) for m in (a, b)]
    assert hd95_mm.measure(*wide, (1, 2, 3)) == pytest.approx(hd95_mm.measure(np.pad(a, 1), np.pad(b, 1), (1, 2, 3)))


def test_masks_of_different_shape_are_refused():
    with pytest.raises(ValueError, match="shape"):
        dice.measure(np.ones((3, 3), bool), np.ones((3, 1), bool), (1, 1))
    with pytest.raises(ValueError, match="spacings"):
        volume_error_ml.measure(np.ones((3, 3), bool), np.ones((3, 3), bool), (1, 1, 5))


@pytest.mark.filterwarnings("ignore")
def test_surfaces_agree_with_monai():
    torch = pytest.importorskip("torch")
    monai = pytest.importorskip("monai.metrics")
    rng = np.random.default_rng(3)
    for _ in range(3):
        spacing = tuple(float(v) for v in rng.uniform(0.4, 0.9, 3))
        a, b = blob(rng), blob(rng)
        ta, tb = (torch.from_numpy(m[None, None].astype(np.float32)) for m in (a, b))
        options = {"include_background": True, "spacing": spacing}
        theirs = float(monai.compute_hausdorff_distance(ta, tb, percentile=95, **options))
        assert hd95_mm.measure(a, b, spacing) == pytest.approx(theirs, rel=1e-5)
        theirs = float(monai.compute_surface_dice(ta, tb, class_thresholds=[1.0], **options))
        assert nsd_1mm.measure(a, b, spacing) == pytest.approx(theirs, abs=1e-6)


def test_dice_agrees_with_simpleitk():
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(4)
    a, b = blob(rng), blob(rng)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(sitk.GetImageFromArray(a.astype(np.uint8)), sitk.GetImageFromArray(b.astype(np.uint8)))
    assert dice.measure(a, b, (1, 1, 1)) == pytest.approx(overlap.GetDiceCoefficient())
