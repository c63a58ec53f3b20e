"""Reconstruction: full data give the truth, the same case the same mask, and a mirrored slice is still physics."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from hilum.core.errors import HilumError
from hilum.core.findings import Picture, Result
from hilum.core.image import Case, Image, Measurement
from hilum.core.plan import Plan
from hilum.data.store import Store
from hilum.infer.export import export
from hilum.io import nifti
from hilum.physics.coils import birdcage
from hilum.physics.fourier import to_kspace
from hilum.planning.planner import Prepared
from hilum.tasks import _kspace, _task, reconstruct

PlanOf = Callable[..., Plan]


def row(seed: int = 0, size: int = 16, mirror: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray, bool]:
    rng = np.random.default_rng(seed)
    image = (rng.normal(size=(size, size)) + 1j * rng.normal(size=(size, size))).astype(np.complex64)
    maps = birdcage(3, (size, size)).astype(np.complex64)
    return to_kspace(maps * image).astype(np.complex64), maps, image, mirror


def test_a_full_mask_gives_the_truth() -> None:
    made = _kspace.batch([row()], [np.ones(16)])
    zero = made["zero_filled"]
    target = torch.complex(made["target"][:, 0], made["target"][:, 1])
    power = torch.from_numpy((np.abs(row()[1]) ** 2).sum(axis=0))
    torch.testing.assert_close(zero, target * power, atol=1e-4, rtol=1e-4)
    assert float(zero.abs().max()) == pytest.approx(1)


@pytest.mark.parametrize("mirror", [False, True])
def test_a_mirrored_slice_keeps_the_physics(mirror: bool) -> None:
    mask = np.ones(16)
    mask[::3] = 0
    made = _kspace.batch([row(mirror=mirror)], [mask])
    image = torch.complex(made["target"][:, 0], made["target"][:, 1])
    torch.testing.assert_close(made["operator"].forward(image), made["kspace"], atol=1e-4, rtol=1e-4)
    plain = _kspace.batch([row()], [np.ones(16)])
    if mirror:
        both = _kspace.batch([row(mirror=True)], [np.ones(16)])
        torch.testing.assert_close(both["target"], plain["target"].flip(-1), atol=1e-4, rtol=1e-4)


def test_the_same_case_has_the_same_mask_and_others_have_others(
    plan_of: PlanOf, ready: Callable[[str], Prepared]
) -> None:
    task = _task.load(plan_of("reconstruct"))
    cases = ready("reconstruct").dataset.cases
    masks = [task.whole(task.prepare(c))["kspace"][0, 0].abs().sum(0) > 0 for c in (*cases, *cases)]
    n = len(cases)
    assert all(torch.equal(masks[i], masks[i + n]) for i in range(n))
    assert len({tuple(m.tolist()) for m in masks}) > 1
    other = _task.load(plan_of("reconstruct", seed=5))
    again = other.whole(other.prepare(cases[0]))["kspace"][0, 0].abs().sum(0) > 0
    assert again.sum() == masks[0].sum()


@pytest.mark.parametrize("acceleration", [2.0, 8.0])
@pytest.mark.parametrize("mask", ["random", "equispaced"])
def test_columns_are_sampled_as_the_plan_says(mask: str, acceleration: float, plan_of: PlanOf) -> None:
    words = {"options.acceleration": acceleration, "options.centre": 0.1, "options.mask": mask}
    task = _task.load(plan_of("reconstruct", batch=40, **words))
    image = Image(np.random.default_rng(0).random((1, 64, 64)).astype(np.float32))
    made = task.sample(Store(task.prepare), [Case("a", "a", {"image": image})], "val", 0, np.random.default_rng(0))
    seen = made["kspace"].abs().sum(dim=(1, 2)) > 0
    assert float(seen.float().mean()) == pytest.approx(1 / acceleration, abs=0.02)
    # a tenth are 6 columns
    assert bool(seen[:, 29:35].all()) and not seen[:, 28].all() and not seen[:, 35].all()
    # beside them one every so many columns, or as chance has it
    left = seen[:, :29].sum(dim=1)
    assert (int(left.max() - left.min()) <= 1) == (mask == "equispaced")


def test_magnitude_images_are_simulated_the_same_way_every_time_and_say_so(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("reconstruct", **{"options.noise": 0.0}))
    image = Image(np.random.default_rng(0).random((1, 16, 16)).astype(np.float32))
    first, again = (task.prepare(Case("a", "a", {"image": image})) for _ in range(2))
    np.testing.assert_array_equal(first["kspace"], again["kspace"])
    other = task.prepare(Case("b", "b", {"image": image}))
    assert not np.array_equal(first["kspace"], other["kspace"])
    assert any("simulated" in w for w in first["warnings"])
    np.testing.assert_allclose(np.abs(first["image"]), first["target"], atol=1e-6)
    np.testing.assert_allclose(first["target"][0], image.array[0] / image.array.max(), atol=1e-6)


def test_n10_values_below_0_are_no_magnitude(plan_of: PlanOf) -> None:
    """What is reconstructed has no sign, and was judged against a truth that had one."""
    task, image = _task.load(plan_of("reconstruct")), np.random.default_rng(0).random((1, 16, 16)).astype(np.float32)

    def prepared(array: np.ndarray) -> np.ndarray:
        target: np.ndarray = task.prepare(Case("odd", "odd", {"image": Image(array)}))["target"]
        return target

    image[0, 8, 8] = 1
    for array in (2 * image - 1, -image):
        with pytest.raises(HilumError, match=r"Case odd has values from -.* to .*before.*HIL-N10"):
            prepared(array)
    # what resampling leaves around an edge
    faint = image.copy()
    faint[0, :4, :4] = -5e-4
    assert prepared(faint).min() == 0 and (prepared(faint)[0, 4:] == prepared(image)[0, 4:]).all()
    assert (prepared(0 * image) == 0).all()


def test_a_mask_that_came_with_the_data_is_used(plan_of: PlanOf) -> None:
    kspace, maps, _, _ = row()
    mask = np.ones(16, np.float32)
    mask[1::4] = 0
    measured = Measurement(kspace * mask, ("coil", "ky", "kx"), {"name": "fourier", "mask": mask, "maps": maps})
    task = _task.load(plan_of("reconstruct"))
    made = task.whole(task.prepare(Case("a", "a", {"kspace": measured}), truth=False))
    seen = made["kspace"][0].abs().sum(dim=(0, 1)) > 0
    np.testing.assert_array_equal(seen.numpy(), mask > 0)


def test_maps_are_estimated_where_there_are_none() -> None:
    maps = _kspace.estimate_maps(row(size=32)[0][None])
    power = (np.abs(maps) ** 2).sum(axis=1)
    assert power.max() < 1.01 and np.median(power) > 0.99


@pytest.mark.parametrize("kept", [(10, 22), (12, 19), (16, 17), (0, 32)])
def test_maps_rest_on_columns_that_were_sampled_in_one_piece_with_the_middle(kept: tuple[int, int]) -> None:
    full, mask = row(size=32)[0][None], np.zeros(32, np.float32)
    mask[slice(*kept)] = mask[[0, 3, 6, 31]] = 1
    # what was not sampled changes nothing, and neither does what lies beyond a gap
    alone, reach = np.zeros(32, np.float32), min(16 - kept[0], kept[1] - 17)
    alone[slice(*kept)] = 1
    found = _kspace.estimate_maps(full, mask)
    np.testing.assert_array_equal(found, _kspace.estimate_maps(full * mask, mask))
    np.testing.assert_array_equal(found, _kspace.estimate_maps(full * alone, alone))
    # as many on both sides, so that the lowest frequencies weigh most
    left, right = _kspace._middle(mask, 24)
    assert (left, right) == ((4, 28) if kept == (0, 32) else (16 - reach, 17 + reach))
    if kept == (0, 32):
        np.testing.assert_array_equal(found, _kspace.estimate_maps(full))


def test_coil_maps_that_rest_on_few_columns_are_remarked_on(plan_of: PlanOf) -> None:
    made = _task.load(plan_of("reconstruct")).prepare(undersampled(False), truth=False)
    assert made["warnings"] == ("coil maps rest on 1 columns that were sampled together: they are coarse",)


def test_coils_without_maps_and_without_a_middle_are_refused(plan_of: PlanOf) -> None:
    with pytest.raises(HilumError, match="a middle column that was not sampled"):
        _task.load(plan_of("reconstruct")).prepare(undersampled(False, first=0), truth=False)


def undersampled(target: bool, two_axes: bool = False, first: int = 1) -> Case:
    kspace = row()[0][None]
    mask = np.ones((16, 16) if two_axes else 16)
    mask[first::2] = 0
    picture = np.ones((1, 16, 16), np.float32) if target else None
    measurement = Measurement(kspace * mask, ("slice", "coil", "ky", "kx"), {"mask": mask}, picture)
    return Case("under", "", {"kspace": measurement})


@pytest.mark.parametrize("scale", [1.0, 2.0, 1e-4])
def test_maps_of_a_file_count_by_their_shape_and_not_by_their_unit(scale: float, plan_of: PlanOf) -> None:
    """With maps twice as large the image was four times the target over two, and data consistency went astray."""
    kspace, maps, image, _ = row()
    maps = maps * np.linspace(0.5, 1.5, 16, dtype=np.float32) * np.float32(scale)
    maps[..., :2] = 0
    kspace = to_kspace(maps * image).astype(np.complex64)
    measured = Measurement(kspace, ("coil", "ky", "kx"), {"name": "fourier", "maps": maps})
    made = _task.load(plan_of("reconstruct")).prepare(Case("a", "a", {"kspace": measured}))
    power = np.sqrt((np.abs(made["maps"]) ** 2).sum(axis=1))[0]
    np.testing.assert_allclose(power[:, 2:], 1, atol=1e-5)
    assert (power[:, :2] == 0).all()
    most = made["target"].max()
    np.testing.assert_allclose(np.abs(made["image"]) / most, made["target"] / most, atol=1e-5)
    # the model is true: coils are maps times image
    np.testing.assert_allclose(to_kspace(made["maps"] * made["image"][:, None]) / most, kspace[None] / most, atol=1e-5)


def test_maps_that_are_0_everywhere_are_no_division_by_0(plan_of: PlanOf) -> None:
    kspace, maps, _, _ = row()
    measured = Measurement(kspace, ("coil", "ky", "kx"), {"name": "fourier", "maps": maps * 0})
    made = _task.load(plan_of("reconstruct")).prepare(Case("a", "a", {"kspace": measured}))
    assert (made["maps"] == 0).all()


def test_a_mask_of_columns_may_be_stored_for_every_row(plan_of: PlanOf) -> None:
    task, columns = _task.load(plan_of("reconstruct")), np.ones(16, np.float32)
    columns[1::3] = 0
    kspace, maps, _, _ = row()
    for mask in (columns, np.tile(columns, (16, 1)), columns[None]):
        operator = {"name": "fourier", "mask": mask, "maps": maps}
        measured = Measurement(kspace * columns, ("coil", "ky", "kx"), operator)
        made = task.prepare(Case("a", "a", {"kspace": measured}), truth=False)
        np.testing.assert_array_equal(made["mask"], columns)


def test_n09_pixels_that_are_no_numbers_are_the_darkest(plan_of: PlanOf) -> None:
    """One made the whole image no number."""
    task = _task.load(plan_of("reconstruct", **{"options.noise": 0.0}))
    array = np.random.default_rng(0).uniform(5, 90, (1, 16, 16)).astype(np.float32)
    clean, array[0, 3, 4], array[0, 5, 6] = array.copy(), np.nan, np.inf
    clean[0, 3, 4] = clean[0, 5, 6] = clean[np.isfinite(array)].min()
    one, other = (task.prepare(Case("a", "a", {"image": Image(a)})) for a in (array, clean))
    for name in ("kspace", "image", "target"):
        np.testing.assert_array_equal(one[name], other[name])


def test_images_of_several_channels_are_refused_before_training(ready: Callable[[str], Prepared]) -> None:
    facts = ready("classify").facts
    for task in ("reconstruct", "register"):
        rules = _task.kind(task).rules
        colour = facts | {"cases": [row | {"channels": 3} for row in facts["cases"]]}
        assert rules(colour, _task.Budget(1))["batch"]
        for more in ({"channels": 2}, {"channels": 3, "files": 3}, {"channels": 3, "shape": [4, 32, 32]}):
            odd = facts | {"cases": [row | more if n == 1 else row for n, row in enumerate(facts["cases"])]}
            with pytest.raises(HilumError, match=f"{task} learns from one channel, and 1 of") as error:
                rules(odd, _task.Budget(1))
            assert error.value.code == "HIL-PREP-01" and facts["cases"][1]["id"] in error.value.seen


def test_an_undersampled_scan_is_no_truth(plan_of: PlanOf) -> None:
    task = _task.load(plan_of("reconstruct"))
    assert task.unlearnable(task.prepare(undersampled(True))) == "they are undersampled"
    shape = (1, 16, 16)
    result = Result({n: Picture(Image(np.ones(shape, np.float32))) for n in ("picture", "zero_filled")})
    with pytest.raises(HilumError, match="no fully sampled picture"):
        task.judge(result, undersampled(False))
    assert task.judge(result, undersampled(True)).values["nmse"][""] == 0
    with pytest.raises(HilumError, match="two axes"):
        task.prepare(undersampled(False, two_axes=True), truth=False)


def test_the_example_has_the_coils_of_the_plan_and_one_without(plan_of: PlanOf) -> None:
    for coils, wanted in ((5, 5), (None, 1), (0, 1), ("many", 1)):
        made = _task.load(plan_of("reconstruct", **{"data.coils": coils})).example(np.random.default_rng(0))
        assert made["kspace"].shape == (1, wanted, 16, 16) and made["operator"].coils == wanted
        power = (made["operator"].maps.abs() ** 2).sum(dim=1)
        torch.testing.assert_close(power, torch.ones_like(power))


@pytest.mark.parametrize("axes", [("slice", "coil", "ky", "kx"), ("contrast", "slice", "coil", "ky", "kx")])
def test_n05_slices_of_which_nobody_knows_where_they_lie_say_so(
    axes: tuple[str, ...], tmp_path: Path, plan_of: PlanOf
) -> None:
    """They were written as a scan of 1 mm voxels at 0 in the scanner, and no warning said that this was made up."""
    kspace = np.stack([row(n)[0] for n in range(4)])
    # of several contrasts the place of one says nothing
    place = None if len(axes) == 4 else np.eye(4)
    shape = (4, 3, 16, 16) if len(axes) == 4 else (2, 2, 3, 16, 16)
    measured = Measurement(kspace.reshape(shape), axes, {}, None, place)
    task, case = _task.load(plan_of("reconstruct")), Case("a", "a", {"kspace": measured})
    prepared = task.prepare(case, truth=False)
    result = task.decode(task.whole(prepared)["target"], prepared, case)
    assert [words for words in result.warnings if words.startswith("HIL-")] == [reconstruct.PLACELESS]
    for name in export(result, case, tmp_path):
        header = nibabel.Nifti1Image.from_filename(tmp_path / name).header
        assert (int(header["qform_code"]), int(header["sform_code"])) == (0, 0)
        seen = nifti.read(tmp_path / name)
        assert seen.shape == (4, 16, 16) and seen.spacing == (1.0, 1.0, 1.0)
        assert seen.warnings[0].startswith("HIL-N05") and seen.meta["geometry"] == "unknown"


def test_one_slice_is_a_picture_and_not_said_to_lie_anywhere(tmp_path: Path, plan_of: PlanOf) -> None:
    measured = Measurement(row()[0][None], ("slice", "coil", "ky", "kx"), {}, None, np.eye(4))
    task, case = _task.load(plan_of("reconstruct")), Case("a", "a", {"kspace": measured})
    prepared = task.prepare(case, truth=False)
    result = task.decode(task.whole(prepared)["target"], prepared, case)
    assert not [words for words in result.warnings if words.startswith("HIL-")]
    assert result["picture"].image.affine is None
    assert export(result, case, tmp_path) == ["a_picture.tif", "a_zero_filled.tif"]
