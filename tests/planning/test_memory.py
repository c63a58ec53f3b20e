"""Peak memory is predicted from the plan: what is kept for backward, prepared cases, weights."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hilum.core.findings import Mask
from hilum.core.image import Case, Image, Measurement
from hilum.data.dataset import Dataset
from hilum.data.store import held
from hilum.io import nifti
from hilum.planning import _shape, cost, machine, memory
from hilum.planning.fingerprint import fingerprint
from hilum.planning.planner import Prepared, look, make_plan
from hilum.tasks import _task

Ready = Callable[[str], Prepared]


def test_shared_arrays_count_once_and_views_as_what_they_hold() -> None:
    array = np.zeros(1000)
    assert held({"a": array, "b": array}) == 8000 and held({"view": array[:10]}) == 8000
    assert held([array, np.zeros(5), "words", 3]) == 8040


def test_cases_between_the_smallest_and_the_largest_are_in_proportion(ready: Ready) -> None:
    seen = ready("segment")
    plan = make_plan(seen, "segment", steps=5)
    kept = memory.kept(seen, plan)
    units = [case for case, part in seen.units(plan) if part in ("train", "val")]
    assert len(kept.sizes) == len(units)
    real = sum(held(_task.load(plan).prepare(case)) for case in units)
    assert sum(kept.sizes) == pytest.approx(real, rel=0.1)
    assert kept.within(1) == max(kept.sizes) and kept.within(1 << 40) == sum(kept.sizes)
    images = [_task.load(plan).prepare(case)["image"].size for case in units]
    assert kept.largest >= 4 * min(images)


def test_preparing_counts_where_a_case_is_larger_than_what_only_training_holds(ready: Ready) -> None:
    plan = make_plan(ready("segment"), "segment", steps=5)
    small, large = (memory.predict(plan, memory.Kept((1 << 20,) * 4, largest=n)) for n in (1 << 20, 4 << 30))
    later = small.batches + small.weights + small.activations + small.workspace
    assert small.preparing == 0 and large.preparing == (12 << 30) - later
    # what the store can not keep is prepared again beside the network
    assert memory.predict(plan, memory.Kept((1 << 20,) * 4, largest=1 << 20), store=2 << 20).preparing == 3 << 20


def test_the_precision_of_a_card_that_is_not_used_does_not_count(ready: Ready, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    plan = make_plan(ready("segment"), "segment", steps=5)
    full = memory.predict(plan.edited({"learning.precision": "float32"}), memory.Kept(()))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(machine, "native_half", lambda device="cpu": device == "cuda")
    assert memory.predict(plan, memory.Kept(())) == full


def test_twice_the_batch_keeps_twice_the_activations(ready: Ready) -> None:
    plan = make_plan(ready("segment"), "segment", steps=5, settings={"plan.batch": 2})
    one, two = cost.step(plan), cost.step(plan.model_copy(update={"batch": 4}))
    assert two.saved == pytest.approx(2 * one.saved, rel=0.02) and two.flops == 2 * one.flops
    assert two.weights == one.weights and two.batch == 2 * one.batch


def test_of_several_processes_each_learns_from_its_share_of_a_batch_and_validates_all_of_it(ready: Ready) -> None:
    plan = make_plan(ready("segment"), "segment", steps=5, settings={"plan.batch": 4})
    whole = cost.step(plan)
    one, two, four = (memory.predict(plan, memory.Kept(()), devices=n) for n in (1, 2, 4))
    kept = [found.activations - whole.weights for found in (one, two, four)]
    assert kept[1] == pytest.approx(kept[0] / 2, rel=0.02) and kept[2] == pytest.approx(kept[0] / 4, rel=0.02)
    assert one.total > two.total and one.batches == two.batches == four.batches
    # without a gradient
    least = memory.WORKSPACE * whole.largest + (2 + memory.LOSSES) * whole.outputs
    assert all(own + found.workspace >= least for own, found in zip(kept, (one, two, four), strict=True))


def test_saved_tensors_of_a_known_network() -> None:
    """Linear, ReLU, linear: the input, the hidden one (shared by ReLU and the second layer), nothing twice."""
    import torch
    from torch import nn

    with torch.device("meta"):
        net = nn.Sequential(nn.Linear(10, 100), nn.ReLU(), nn.Linear(100, 1))
        x = torch.empty(8, 10)
    flops, saved, largest, outputs = cost._forward(net, (x,), None, {})
    assert saved == 4 * (8 * 10 + 8 * 100) and largest == 4 * 8 * 100 and outputs == 4 * 8
    assert flops == 3 * 2 * 8 * (10 * 100 + 100)


def test_of_volumes_that_are_stored_alike_that_with_thicker_slices_becomes_larger(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number, thick in enumerate([1, 1, 1, 1, 1, 4]):
        affine = np.diag([1.0, 1.0, thick, 1.0])
        values = rng.integers(0, 900, (1, 24, 24, 20)).astype(np.int16)
        nifti.write(tmp_path / "images" / f"c{number}.nii.gz", Image(values, affine))
        nifti.write(
            tmp_path / "labels" / f"c{number}.nii.gz", Mask((values[0] > 700).astype(np.uint8), {1: "x"}, affine)
        )
    (tmp_path / "dataset.yaml").write_text("patients: case\n")
    seen = look(tmp_path, "segment", 0)
    plan = make_plan(seen, "segment", steps=5, settings={"plan.spacing": [1.0, 1.0, 1.0]})
    task = _task.load(plan)
    real = [held(task.prepare(case)) for case, part in seen.units(plan) if part in ("train", "val")]
    assert sorted(memory.kept(seen, plan).sizes) == pytest.approx(sorted(real), rel=0.05)


def raw(name: str, slices: int, coils: int) -> Case:
    """K-space of 16 x 16 pixels."""
    array = np.random.default_rng(slices).normal(size=(slices, coils, 16, 16)).astype(np.complex64)
    return Case(name, name, {"kspace": Measurement(array, ("slice", "coil", "ky", "kx"), {"name": "fourier"})})


def test_raw_data_count_with_all_slices_and_coils() -> None:
    """All files of one matrix size were taken for the first of them, here one slice of one coil, and a step for one
    coil.
    """
    cases = (raw("a", 1, 1), *(raw(name, 5, 3) for name in "bcdefg"))
    parts = {case.id: "val" if case.id == "g" else "train" for case in cases}
    data = Dataset("x", Path("x"), "flat", cases)
    seen = Prepared(data, parts, fingerprint(data, parts), "case")
    plan = make_plan(seen, "reconstruct", steps=5)
    task, kept = _task.load(plan), memory.kept(seen, plan)
    assert sorted(kept.sizes) == sorted(held(task.prepare(case)) for case in cases)
    assert kept.largest == 8 * 5 * 3 * 16 * 16
    assert plan.data["coils"] == 3 and task.example(np.random.default_rng(0))["kspace"].shape == (1, 3, 16, 16)
    one = plan.model_copy(update={"data": {k: v for k, v in plan.data.items() if k != "coils"}})
    assert cost.step(plan).batch > cost.step(one).batch and cost.step(plan).saved > cost.step(one).saved
    assert _task.load(one).example(np.random.default_rng(0))["kspace"].shape == (1, 1, 16, 16)
    # facts of runs of before
    for row in seen.facts["cases"]:
        del row["values"], row["coils"]
    assert len(memory.kept(seen, plan).sizes) == len(cases) and "coils" not in seen.noted("reconstruct")


def test_memory_is_counted_on_the_largest_slice_and_time_on_the_median(ready: Ready) -> None:
    """Of one large slice among small ones a cap knew nothing, and training took it whole."""
    seen = ready("reconstruct")
    usual = make_plan(seen, "reconstruct", steps=5)
    many = enlarged(seen, "val", shape=[64, 96])
    plan = make_plan(many, "reconstruct", steps=5)
    assert (usual.patch, usual.data["slice"], plan.patch, plan.data["slice"]) == ([16, 16],) * 3 + ([64, 96],)
    least, large = (memory.predict(one, memory.Kept(())) for one in (usual, plan))
    # 24 times as many pixels
    assert large.activations > 15 * least.activations and large.batches > 20 * least.batches
    assert cost.step(plan) == cost.step(usual)
    # also of a plan that was made for other data, and of both ways to keep a cap
    given = usual.model_copy(update={"data": usual.data | many.noted("reconstruct")})
    assert given.data["slice"] == [64, 96] and memory.largest(given) == memory.largest(plan)
    assert memory.largest(plan).saved > 20 * cost.step(plan).saved
    # nobody learns from the test part, and other tasks cut patches
    assert make_plan(enlarged(seen, "test", shape=[64, 96]), "reconstruct", steps=5).data["slice"] == [16, 16]
    assert "slice" not in make_plan(ready("segment"), "segment", steps=5).data


def enlarged(seen: Prepared, part: str, **row: object) -> Prepared:
    """The same data where the fingerprint says this of the images of a part."""
    rows = [own | (row if seen.parts[own["id"]] == part else {}) for own in seen.facts["cases"]]
    return replace(seen, facts=seen.facts | {"cases": rows})


def test_what_looking_at_a_large_image_takes_is_foretold(ready: Ready) -> None:
    """A run with --memory had held more by far before it had a plan, for an image of the test part alone."""
    seen = ready("segment")
    plan = make_plan(seen, "segment", steps=5)
    usual = memory.predict(plan, memory.kept(seen, plan))
    large = memory.kept(enlarged(seen, "test", shape=[512, 512, 600], bytes=[2, 4]), plan)
    # the image itself, it in float32, its label as read and in RAS order
    least = 512 * 512 * 600 * (2 + 4 + 2 * 4)
    assert memory.predict(plan, large).total >= memory.LIBRARIES + least > usual.total
    assert memory.predict(plan, large, store=0).total >= memory.LIBRARIES + least
    assert memory.predict(plan, large).total < memory.LIBRARIES + 1.25 * least
    # it is told how wide values are; images of before had room
    assert {len(row["bytes"]) for row in seen.facts["cases"]} == {2}
    older = [{k: v for k, v in row.items() if k != "bytes"} for row in seen.facts["cases"]]
    assert memory.kept(replace(seen, facts=seen.facts | {"cases": older}), plan).looked > 0
    # of small images it says nothing
    kept = memory.kept(seen, plan)
    assert memory.predict(plan, replace(kept, looked=0, read=0)) == usual


def test_a_picture_that_is_made_small_counts_as_it_is_stored_while_it_is_read(ready: Ready) -> None:
    seen = ready("classify")
    plan = make_plan(seen, "classify", steps=5)
    large = enlarged(seen, "train", shape=[4096, 4096], channels=3, bytes=[1, 0])
    kept = memory.kept(large, plan)
    assert kept.looked >= 4096**2 * (3 + 3 + 4) and kept.read == 4096**2 * (3 + 3 * 4)
    whole, small = (memory.predict(plan, one, store=0) for one in (kept, replace(kept, looked=0, read=0)))
    # where the store can not keep all it is read again beside the network
    assert whole.preparing >= kept.read and whole.total > small.total


def test_a_look_that_was_too_large_is_refused_and_one_that_was_not_leaves_the_store_its_room(ready: Ready) -> None:
    plan = make_plan(ready("segment"), "segment", steps=5)
    cases = memory.Kept((100 << 20,) * 40, looked=1 << 30)
    assert _shape._stored(plan, cases, memory.LIBRARIES + (1 << 30) - 1) is None
    limited = _shape._stored(plan, cases, memory.LIBRARIES + (1 << 30))
    assert limited == _shape._stored(plan, replace(cases, looked=0), memory.LIBRARIES + (1 << 30)) != plan
    assert limited is not None and memory.predict(limited, cases).total == memory.LIBRARIES + (1 << 30)
