"""Look-alikes stay together, different people do not stick to each other."""

from pathlib import Path

import numpy as np

from hilum.core.image import Case, Image, Measurement
from hilum.data.dataset import Dataset, Settings, open_dataset
from hilum.data.groups import clash, group_cases, joined, looks, numbered, patients_of
from hilum.data.phantoms import slices
from hilum.io import dicom


def dataset(images: dict[str, Image], **settings: str) -> Dataset:
    cases = tuple(Case(name, "", {"image": image}) for name, image in images.items())
    return Dataset("x", Path("x"), "flat", cases, Settings.model_validate(settings))


def head(seed: int, noise: float = 0.03) -> Image:
    return Image(slices.draw(np.random.default_rng(seed), 64, noise, ill=bool(seed % 2)))


def test_one_image_under_two_names_is_one_group() -> None:
    found, how = group_cases(dataset({"a": head(0), "b": head(1), "c": head(0)}))
    groups = {c.id: c.group for c in found.cases}
    assert how == "similarity" and groups == {"a": "a", "b": "b", "c": "a"}


def test_t09_a_brighter_a_noisy_and_a_mirrored_copy_are_one_group() -> None:
    image = head(0)
    noisy = image.array + np.random.default_rng(1).normal(0, 2, image.array.shape)
    copies = {
        "b": image.array * 0.5 + 20,
        "c": noisy,
        "d": image.array[:, :, ::-1],
        "e": np.rot90(image.array, 1, (1, 2)),
    }
    found, _ = group_cases(dataset({"a": image} | {name: image.like(array) for name, array in copies.items()}))
    assert {c.group for c in found.cases} == {"a"}


def test_t08_black_slices_join_nobody() -> None:
    black = Image(np.zeros((1, 64, 64), np.uint8))
    found, _ = group_cases(dataset({"a": black, "b": head(1), "c": black, "d": black}))
    assert [c.group for c in found.cases] == list("abcd")


def test_different_heads_are_different_groups() -> None:
    found, _ = group_cases(dataset({str(n): head(n) for n in range(12)}))
    assert len({c.group for c in found.cases}) == 12


def test_likeness_is_passed_on_in_a_chain() -> None:
    assert joined([(1, 2), (0, 1)], list("abcd")) == ["a", "a", "a", "d"]
    assert joined([], list("abc")) == ["a", "b", "c"]


def test_pictures_and_volumes_are_never_compared() -> None:
    volume = Image(np.random.default_rng(0).random((1, 9, 9, 9)).astype(np.float32), np.eye(4))
    found, _ = group_cases(dataset({"a": head(0), "b": volume}))
    assert [c.group for c in found.cases] == ["a", "b"]


def test_patients_win_over_likeness() -> None:
    found, how = group_cases(dataset({"p1_a": head(0), "p1_b": head(1), "p2_a": head(0)}, patients=r"(p\d)"))
    assert how == "patient" and [c.group for c in found.cases] == ["p1", "p1", "p2"]


def series(folder: Path, **tags: str) -> None:
    array = np.random.default_rng(len(folder.name)).integers(0, 99, (1, 20, 18, 12)).astype(np.int16)
    dicom.write_series(folder, Image(array, np.diag([-1.0, -1.0, 2.0, 1.0])), tags)


def test_the_patient_of_dicom_headers_counts_in_every_layout(tmp_path: Path) -> None:
    """One person in two series folders once went into training and test."""
    for name, who in (("a", "P1"), ("bb", "P2"), ("ccc", "P1"), ("dddd", "anonymous")):
        series(tmp_path / "images" / name, PatientID=who)
    data = open_dataset(tmp_path)
    a, b, c, unknown = patients_of(data)
    assert data.layout == "images_labels" and a == c != b and unknown == "" and "P1" not in a
    found, how = group_cases(data)
    groups = [case.group for case in found.cases]
    assert how == "similarity" and groups[0] == groups[2] and len(set(groups)) == 3
    (tmp_path / "cases.csv").write_text("case,patient\na,Anna\n")
    assert patients_of(open_dataset(tmp_path)) == ["Anna", b, "Anna", ""]
    (tmp_path / "dataset.yaml").write_text("patients: case\n")
    assert patients_of(open_dataset(tmp_path)) == ["a", "bb", "ccc", "dddd"], "who says so is believed"


def test_raw_data_is_grouped_by_case() -> None:
    raw = Measurement(np.zeros((1, 2, 2)), ("coil", "ky", "kx"), {})
    cases = (Case("a", "", {"kspace": raw}), Case("b", "", {"kspace": raw}))
    found, how = group_cases(Dataset("x", Path("x"), "k", cases))
    assert how == "case" and [c.group for c in found.cases] == ["a", "b"]


def test_a_known_patient_stays_together_also_where_others_are_unknown() -> None:
    images = {"a": head(0), "b": head(1), "c": head(2), "d": head(3)}
    cases = tuple(Case(name, {"a": "P1", "d": "P1"}.get(name, ""), {"image": image}) for name, image in images.items())
    found, how = group_cases(Dataset("x", Path("x"), "table", cases, Settings()))
    groups = {c.id: c.group for c in found.cases}
    assert how == "similarity" and groups["a"] == groups["d"] and len(set(groups.values())) == 3


def test_images_that_were_looked_at_are_not_read_again() -> None:
    data = dataset({"a": head(0), "b": head(1), "c": head(0)})
    seen = looks(data)
    blind = Dataset("x", Path("x"), "flat", tuple(Case(c.id, "", {"image": None}) for c in data.cases))
    assert [c.group for c in group_cases(blind, seen=seen)[0].cases] == ["a", "b", "a"]


def test_i12_patients_that_differ_by_letter_case_are_told() -> None:
    """They were two people, one in training and the other in the test."""
    found = dataset({"P01_a": head(0), "p01_b": head(1), "p01_c": head(2)}, patients="^(.+)_")
    error = clash(found)
    assert error is not None and error.code == "HIL-I12"
    assert error.seen.count("'p01' of case p01_b differs from 'P01' of case P01_a by letter case only") == 1
    assert "p01_c" not in error.seen, "one sentence on each spelling"
    # who keeps a run's groups, or only predicts, is not kept from it
    assert patients_of(found) == ["P01", "p01", "p01"]
    assert clash(dataset({"a": head(0), "b": head(1)})) is None


def test_groups_are_numbered_as_they_appear() -> None:
    codes, count = numbered(["b", "a", "b", 3, "a"])
    assert codes.tolist() == [0, 1, 0, 2, 1] and codes.dtype == np.int64 and count == 3
    assert numbered([])[1] == 0
