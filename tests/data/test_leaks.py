"""Nothing of the test part is in training: the same bytes, the same image changed, the same patient."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Image
from hilum.data.dataset import Dataset, Settings
from hilum.data.leaks import find, leaks
from hilum.data.phantoms import slices


def head(seed: int) -> Array:
    return slices.draw(np.random.default_rng(seed), 64, 0.03, ill=bool(seed % 2))


def dataset(arrays: dict[str, Array], patients: dict[str, str] | None = None, **settings: Any) -> Dataset:
    known = patients or {}
    cases = tuple(Case(n, known.get(n, ""), {"image": Image(np.ascontiguousarray(a))}) for n, a in arrays.items())
    return Dataset("x", Path("heads"), "flat", cases, Settings.model_validate(settings))


PARTS = {"a": "train", "b": "train", "c": "val", "d": "test"}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda g: g, "the same pixels"),
        (lambda g: np.rot90(g, -1, (1, 2)), "rotated by 90 degrees"),
        (lambda g: g[:, :, ::-1] * 0.5 + 10, "flipped left-right"),
        (lambda g: g.max() - g, "inverted"),
    ],
)
def test_t09_an_image_of_training_in_test_is_refused_by_name(change: Any, why: str) -> None:
    data = dataset({"a": head(0), "b": head(1), "c": head(2), "d": change(head(1))})
    with pytest.raises(HilumError) as error:
        leaks(data, PARTS)
    assert error.value.code == "HIL-T09" and "accept" in error.value.remedy
    assert "b (train) and d (test)" in error.value.seen and why in error.value.seen
    (pair,) = find(data, PARTS)
    assert (pair.first, pair.second, pair.parts) == ("b", "d", ("train", "test"))


@pytest.mark.parametrize("row", ["T09", "HIL-T09", "t09"])
def test_t09_an_accepted_leak_is_a_warning(row: str) -> None:
    data = dataset({"a": head(0), "b": head(1), "c": head(2), "d": head(1)}, accept=[row])
    found = leaks(data, PARTS)
    assert found.counts == {"same pixels": 1} and found.compared == 4
    assert (
        len(found.warnings) == 1
        and found.warnings[0].startswith("HIL-T09: accepted")
        and "b (train)" in found.warnings[0]
    )


def test_t09_one_patient_in_two_parts_is_refused() -> None:
    arrays = {name: head(n) for n, name in enumerate("abcd")}
    data = dataset(arrays, {"a": "P1", "c": "P1", "d": "P1", "b": "P2"})
    with pytest.raises(HilumError, match="the same patient") as error:
        leaks(data, PARTS)
    assert error.value.code == "HIL-T09"
    assert [(p.first, p.second) for p in find(data, PARTS)] == [("a", "c"), ("a", "d")]
    assert leaks(data, dict.fromkeys("abcd", "train")).pairs == ()


def test_without_leaks_nothing_is_said() -> None:
    found = leaks(dataset({name: head(n) for n, name in enumerate("abcd")}), PARTS)
    assert found.pairs == () and found.warnings == () and found.compared == 4 and found.counts == {}


def test_black_slices_of_two_patients_are_no_leak_and_a_patient_still_is() -> None:
    """Every volume ends in some, and training was refused for them."""
    black = np.zeros((1, 64, 64), np.uint8)
    data = dataset({"a": black, "b": head(1), "c": black + 7, "d": black}, {"a": "P1", "b": "P2", "c": "P3", "d": "P4"})
    assert find(data, PARTS) == () and leaks(data, PARTS).compared == 4
    again = dataset({"a": black, "b": head(1), "c": head(2), "d": black}, {"a": "P1", "b": "P2", "c": "P3", "d": "P1"})
    assert [(p.first, p.second, p.why) for p in find(again, PARTS)] == [("a", "d", "the same patient")]
