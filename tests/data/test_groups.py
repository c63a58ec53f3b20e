"""Look-alikes stay together, different people do not stick to each other."""

from pathlib import Path

import numpy as np
import pytest

from hilum.core.image import Case, Image, Measurement
from hilum.data.dataset import Dataset, Settings
from hilum.data.groups import NEAR, difference_hash, group_cases, similar
from hilum.data.phantoms import slices


def dataset(images: dict[str, Image], **settings: str) -> Dataset:
    cases = tuple(Case(name, "", {"image": image}) for name, image in images.items())
    return Dataset("x", Path("x"), "flat", cases, Settings.model_validate(settings))


def head(seed: int, noise: float = 0.03) -> Image:
    return Image(slices.draw(np.random.default_rng(seed), 64, noise, ill=bool(seed % 2)))


def test_one_image_under_two_names_is_one_group() -> None:
    found, how = group_cases(dataset({"a": head(0), "b": head(1), "c": head(0)}))
    groups = {c.id: c.group for c in found.cases}
    assert how == "similarity" and groups == {"a": "a", "b": "b", "c": "a"}


def test_t09_a_brighter_or_slightly_noisy_copy_is_found() -> None:
    image = head(0)
    noisy = image.array + np.random.default_rng(1).normal(0, 2, image.array.shape)
    found, _ = group_cases(dataset({"a": image, "b": image.like(image.array * 0.5 + 20), "c": image.like(noisy)}))
    assert {c.group for c in found.cases} == {"a"}


def test_different_heads_are_different_groups() -> None:
    found, _ = group_cases(dataset({str(n): head(n) for n in range(12)}))
    assert len({c.group for c in found.cases}) == 12


def test_likeness_is_passed_on_in_a_chain() -> None:
    base = np.zeros(512, bool)
    first, second = base.copy(), base.copy()
    step = int(512 * NEAR * 0.7)
    first[:step] = True
    second[: 2 * step] = True
    assert similar([base, first, second], ["a", "b", "c"]) == ["a", "a", "a"]
    assert similar([base, second], ["a", "c"]) == ["a", "c"]


def test_pictures_and_volumes_are_never_compared() -> None:
    volume = Image(np.random.default_rng(0).random((1, 9, 9, 9)).astype(np.float32), np.eye(4))
    assert len(difference_hash(head(0))) == 512 and len(difference_hash(volume)) == 1536
    found, _ = group_cases(dataset({"a": head(0), "b": volume}))
    assert [c.group for c in found.cases] == ["a", "b"]


def test_patients_win_over_likeness() -> None:
    found, how = group_cases(dataset({"p1_a": head(0), "p1_b": head(1), "p2_a": head(0)}, patients=r"(p\d)"))
    assert how == "patient" and [c.group for c in found.cases] == ["p1", "p1", "p2"]


def test_raw_data_is_grouped_by_case() -> None:
    raw = Measurement(np.zeros((1, 2, 2)), ("coil", "ky", "kx"), {})
    cases = (Case("a", "", {"kspace": raw}), Case("b", "", {"kspace": raw}))
    found, how = group_cases(Dataset("x", Path("x"), "k", cases))
    assert how == "case" and [c.group for c in found.cases] == ["a", "b"]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_does_not_stop_the_comparison(bad: float) -> None:
    array = np.random.default_rng(0).random((1, 32, 32)).astype(np.float32)
    array[0, 0, 0] = bad
    assert difference_hash(Image(array)).dtype == bool


def test_a_known_patient_stays_together_also_where_others_are_unknown() -> None:
    images = {"a": head(0), "b": head(1), "c": head(2), "d": head(3)}
    cases = tuple(Case(name, {"a": "P1", "d": "P1"}.get(name, ""), {"image": image}) for name, image in images.items())
    found, how = group_cases(Dataset("x", Path("x"), "table", cases, Settings()))
    groups = {c.id: c.group for c in found.cases}
    assert how == "similarity" and groups["a"] == groups["d"] and len(set(groups.values())) == 3
