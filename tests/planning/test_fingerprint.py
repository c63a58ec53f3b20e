"""The fingerprint learns how images lie from the training part alone, and is the same data set with or without it."""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image, Measurement
from hilum.data.dataset import Dataset
from hilum.io import nifti
from hilum.planning import _reach, _truth
from hilum.planning import fingerprint as module
from hilum.planning.fingerprint import LATER, case_facts, content_hash, fingerprint, hashed
from hilum.planning.fingerprint import seen as known
from hilum.planning.planner import Prepared, look
from hilum.prepare import anatomy


def body(seed: int) -> Image:
    """Bright above and, further, in front; in one of two orientations of the array."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, n) for n in (10, 12, 14)], indexing="ij")
    array = np.exp(-(i**2 + j**2 + (k - 0.6) ** 2) * 3) + 2 * np.exp(-(i**2 + (j - 0.6) ** 2 + (k + 0.2) ** 2) * 12)
    array = ((array + rng.normal(0, 0.05, array.shape)) * 1000).astype(np.int16)
    return Image(array[None, ::-1, ::-1], np.diag([-1.0, -1, 1, 1])) if seed % 2 else Image(array[None], np.eye(4))


@pytest.fixture
def seen(tmp_path: Path) -> Prepared:
    for number in range(18):
        nifti.write(tmp_path / f"{number:02d}.nii.gz", body(number))
    (tmp_path / "dataset.yaml").write_text("patients: case\n")
    return look(tmp_path, "generate", 0)


def test_how_training_images_lie_is_learned(seen: Prepared) -> None:
    profile = anatomy.parse(json.loads(json.dumps(seen.facts["anatomy"])))
    assert profile is not None and profile.cases == sum(p == "train" for p in seen.parts.values())
    assert anatomy.warning(anatomy.block(body(100)), profile) is None
    said = anatomy.warning(anatomy.block(Image(body(100).array[..., ::-1], np.eye(4))), profile)
    assert said is not None and "superior-inferior" in said


def test_intensities_of_many_cases_fit_into_memory(seen: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = list[Any]()
    summary = module.summary
    monkeypatch.setattr(
        module, "summary", lambda rows, samples, data: kept.append(samples) or summary(rows, samples, data)
    )
    fingerprint(seen.dataset, seen.parts)
    assert {values.shape for values in kept[0]} == {(1, module.SAMPLES)}
    monkeypatch.setattr(module, "MOST", 1000)
    fingerprint(seen.dataset, seen.parts)
    assert 900 <= sum(values.base is None and values.size for values in kept[1]) <= 1000


def test_nothing_of_the_test_part_is_learned(seen: Prepared) -> None:
    def changed(part: str) -> object:
        case = next(c for c, p in seen.parts.items() if p == part)
        image = body(50)
        nifti.write(seen.dataset.folder / f"{case}.nii.gz", Image(image.array[..., ::-1], image.affine))
        return fingerprint(seen.dataset, seen.parts)["anatomy"]

    assert changed("test") == seen.facts["anatomy"] and changed("val") == seen.facts["anatomy"]
    assert changed("train") != seen.facts["anatomy"]


def test_it_does_not_change_what_the_data_are(seen: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anatomy, "learn", lambda blocks: None)
    without = fingerprint(seen.dataset, seen.parts)
    assert without["anatomy"] is None and without["hash"] == seen.facts["hash"]


def test_a_stated_modality_counts_and_an_unstated_one_leaves_the_hash(seen: Prepared) -> None:
    stated = replace(seen.dataset, settings=seen.dataset.settings.model_copy(update={"modality": "MR"}))
    facts = fingerprint(stated, seen.parts)
    assert seen.facts["modality"] == "" and facts["modality"] == "MR" and facts["hash"] != seen.facts["hash"]
    kept = {k: v for k, v in seen.facts["settings"].items() if k != "modality"}
    assert seen.facts["settings"] == kept | {"modality": ""} and "modality" in LATER


def picture(seed: int, channels: int = 1) -> Image:
    return Image(np.random.default_rng(seed).integers(0, 255, (channels, 16, 12)).astype(np.uint8))


def volume(channels: int = 1, low: float = 0.0) -> Image:
    """A bright ball in something as dark as said."""
    array = np.full((channels, 10, 10, 10), low, np.int16)
    array[:, 3:7, 3:7, 3:7] = np.random.default_rng(channels).integers(30, 60, (channels, 4, 4, 4))
    return Image(array, np.eye(4))


def facts_of(cases: list[Case], **parts: str) -> dict[str, Any]:
    """The fingerprint; all cases train, but for those that are said."""
    data = Dataset("x", Path("x"), "flat", tuple(cases))
    return fingerprint(data, {c.id: parts.get(c.id, "train") for c in cases})


@pytest.mark.parametrize("what", ["label", "validity", "boxes", "the class of a box"])
def test_truth_that_was_corrected_shows_in_its_case_and_leaves_the_hash(what: str) -> None:
    """With as many voxels and boxes as before it was the same data, and old answers were taken for it."""

    def case(corrected: str) -> Case:
        def mask(role: str) -> Image:
            array = np.zeros((1, 16, 12), np.uint8)
            array[0, 2:5, 2:5] = 1
            return Image(np.roll(array, 3, axis=1) if corrected == role else array)

        rows = [[1.0, 2, 2, 5, 5], [2.0, 1, 1, 4, 3 if corrected == "boxes" else 4]]
        names = {1: "cell", 2: "ape" if corrected == "the class of a box" else "zebra"}
        items = {"image": picture(0), "label": mask("label"), "validity": mask("validity")}
        return Case("a", "", items, boxes=np.array(rows), box_classes=names)

    first, second = (facts_of([case(one), Case("b", "", {"image": picture(1)})], a="test") for one in ("", what))
    assert first["hash"] == second["hash"]
    for name, same in (("a", False), ("b", True)):
        rows = [next(row for row in facts["cases"] if row["id"] == name) for facts in (first, second)]
        assert (rows[0]["truth"] == rows[1]["truth"]) is same
    assert facts_of([case(""), Case("b", "", {"image": picture(1)})], a="test") == first


def test_names_of_boxes_stand_apart_and_count_as_they_did(data: Callable[[str], Path]) -> None:
    """They stood among the settings, as names of the values of masks; runs of then know their data still."""
    ready = look(data("detect"), "detect", 0)
    names, settings = dict(ready.dataset.box_classes), ready.dataset.settings
    assert names and not settings.classes and not ready.facts["settings"]["classes"]
    assert ready.facts["box_classes"] == {str(value): name for value, name in names.items()}
    then = replace(ready.dataset, settings=settings.model_copy(update={"classes": names}), box_classes={})
    assert fingerprint(then, ready.parts)["hash"] == ready.facts["hash"]
    assert fingerprint(replace(ready.dataset, box_classes={}), ready.parts)["hash"] != ready.facts["hash"]


def test_the_target_of_raw_data_is_truth() -> None:
    def truth(value: float) -> str:
        target = np.full((1, 4, 4), value, np.float32)
        raw = Measurement(np.ones((1, 4, 4), np.complex64), ("coil", "ky", "kx"), {"name": "fourier"}, target)
        return str(case_facts(Case("a", "", {"kspace": raw}))[0]["truth"])

    assert truth(1.0) == truth(1.0) != truth(2.0)


@pytest.mark.parametrize("changed", ["maps", "mask"])
def test_maps_and_masks_of_raw_data_show_in_their_case_and_leave_the_hash(changed: str) -> None:
    """Only k-space and target counted, and a run was gone on with though it learned from other coil maps."""

    def facts(what: str) -> dict[str, Any]:
        maps, mask = np.ones((2, 3, 4, 4), np.complex64), np.ones(4, np.float32)
        operator: dict[str, Any] = {"name": "fourier", "maps": maps, "mask": mask}
        if what:
            operator[what] = operator[what] * (np.arange(4) > 1)
        raw = Measurement(np.ones((2, 3, 4, 4), np.complex64), ("slice", "coil", "ky", "kx"), operator)
        return facts_of([Case("a", "", {"kspace": raw})])

    first, second = facts(""), facts(changed)
    assert facts("") == first and first["hash"] == second["hash"]
    (row,), (other,) = first["cases"], second["cases"]
    assert row["operator"] != other["operator"] and row["truth"] == other["truth"]
    assert (row["shape"], row["values"], row["coils"]) == ([4, 4], 96, 3)
    assert set(hashed(row)) == {"id", "class", "labels", "boxes", "hash", "shape", "spacing", "channels", "physical"}


@pytest.mark.parametrize(
    ("usual", "odd", "refused"),
    [
        (picture(0, 3), picture(1), False), (picture(0), picture(1, 3), False), (picture(0), picture(1, 2), True),
        (volume(), volume(3), True), (volume(3), volume(), True), (volume(2), volume(), True),
    ],
)  # fmt: skip
def test_t10_cases_of_another_number_of_channels_are_all_named(usual: Image, odd: Image, refused: bool) -> None:
    cases = [Case(name, "", {"image": odd if name in "bd" else usual}) for name in "abcdef"]
    if not refused:
        assert len(facts_of(cases)["intensity"]) == len(usual.array)
        return
    with pytest.raises(HilumError) as error:
        facts_of(cases)
    count = len(odd.array)
    assert error.value.code == "HIL-T10" and f"b ({count}), d ({count})" in error.value.seen
    assert "2 of 6 cases" in error.value.seen and "leave_out" in error.value.remedy


def test_t10_one_file_of_three_channels_is_no_grey_picture_of_them() -> None:
    apart = replace(picture(0, 3), meta={"channel_files": 3})
    cases = [Case(name, "", {"image": picture(1) if name == "b" else apart}) for name in "abcd"]
    with pytest.raises(HilumError, match=r"1 of 4 cases.*than 3: b \(1\).*HIL-T10"):
        facts_of(cases)
    grey = [Case(name, "", {"image": apart if name == "b" else picture(1)}) for name in "abcd"]
    with pytest.raises(HilumError, match=r"1 of 4 cases.*than 1: b \(3\).*HIL-T10"):
        facts_of(grey)


def test_t10_boxes_beyond_their_image_are_all_named() -> None:
    def case(name: str, *rows: list[float]) -> Case:
        return Case(name, "", {"image": picture(0)}, boxes=np.array(rows) if rows else np.zeros((0, 0)))

    fitting = [case("a", [1, 0, 0, 16, 12]), case("b", [1, -0.5, -0.5, 16.5, 12.5]), case("c")]
    assert [row["boxes"] for row in facts_of(fitting)["cases"]] == [1, 1, 0]
    swapped = [case("d", [1, 0, 0, 2, 2], [1, 0, 10, 12, 16]), case("e", [1, -0.6, 0, 4, 4])]
    with pytest.raises(HilumError) as error:
        facts_of([*fitting, *swapped])
    assert error.value.code == "HIL-T10" and "2 of 5 cases" in error.value.seen
    assert "d (1 of 2 in 16 x 12 pixels, the first is 0, 10, 12, 16)" in error.value.seen and "e (" in error.value.seen
    assert "rows and columns swapped?" in error.value.remedy


def test_ct_is_told_by_whole_images_of_the_training_part() -> None:
    """Inside of labels there is no air, and one padded image of MR made all of them CT."""

    def case(name: str, low: float) -> Case:
        image = volume(low=low)
        return Case(name, "", {"image": image, "label": Image((image.array > 0).astype(np.uint8), image.affine)})

    found = facts_of([case(name, -1000) for name in "abc"])
    assert found["intensity"][0]["low"] > -500 and found["hounsfield"] == [True]
    assert [row["low"] for row in found["cases"]] == [[-1000.0]] * 3
    assert facts_of([case("a", -2000), case("b", 0), case("c", 0)])["hounsfield"] == [False]
    mixed = [case("a", -1000), case("b", -1000), case("c", 0)]
    assert facts_of(mixed)["hounsfield"] == [True] and facts_of(mixed, a="test", b="val")["hounsfield"] == [False]
    array = np.concatenate([volume(low=0).array, volume(low=-1000).array])
    assert facts_of([Case("a", "", {"image": Image(array, np.eye(4))})])["hounsfield"] == [False, True]


def test_an_image_of_one_value_is_nobody_s_and_one_in_two_parts_was_learned_from() -> None:
    black = picture(0).like(np.full((1, 16, 12), 3, np.uint8))
    cases = [Case(name, "", {"image": picture(number)}) for name, number in (("a", 0), ("b", 0), ("c", 1))]
    parts = {"a": "test", "b": "train", "c": "val", "d": "test"}
    facts = facts_of([*cases, Case("d", "", {"image": black})], **parts)
    assert [row.get("even", False) for row in facts["cases"]] == [False, False, False, True]
    first, _, third = (content_hash(case) for case in cases)
    assert known(facts["cases"], parts) == {first: "train", third: "val"}
    assert "even" not in hashed(facts["cases"][3])
    planes = np.stack([np.zeros((16, 12)), np.ones((16, 12))]).astype(np.uint8)
    zero = Measurement(np.zeros((1, 4, 4), np.complex64), ("coil", "ky", "kx"), {"name": "fourier"})
    nobody_s: list[dict[str, Any]] = [{"image": black}, {"image": Image(planes)}, {"kspace": zero}, {}]
    for items in nobody_s:
        assert content_hash(Case("e", "", items)) is None


def scan(name: str, labelled: bool | None = True, air: float = -1000.0) -> Case:
    """A body of CT in air, with a label of its middle, an empty one, or none."""
    image = volume(low=air)
    label = image.like((image.array > 0).astype(np.uint8) * bool(labelled))
    return Case(name, "", {"image": image} | ({} if labelled is None else {"label": label}))


def test_an_empty_label_does_not_let_the_air_into_the_intensities(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a case without a lesion the whole image counted, and CT was clipped to and scaled by the air around bodies."""
    made = list[dict[str, Any]]()
    whole = module.summary
    monkeypatch.setattr(module, "summary", lambda *given: made.append(whole(*given)) or made[-1] | {})
    lesions = facts_of([scan("a"), scan("b"), scan("c")])["intensity"]
    mixed = facts_of([scan("a"), scan("b", False), scan("c")])
    assert lesions[0]["low"] >= 30 and mixed["intensity"][0]["low"] >= 30
    assert mixed["intensity"] == facts_of([scan("a"), scan("c")])["intensity"]
    # runs know their data by a hash that counts the air
    assert made[1]["intensity"][0]["low"] == -1000 and mixed["hash"] == made[1]["hash"]
    # without any foreground there is nothing else to go by
    for labelled in (False, None):
        assert facts_of([scan("a", labelled), scan("b", labelled)])["intensity"][0]["low"] == -1000
    # of the test part nothing is learned, its empty labels are none of the training part
    assert facts_of([scan("a"), scan("b", False)], b="test")["intensity"][0]["low"] >= 30


@pytest.mark.parametrize(
    ("words", "vague"),
    [
        ("HIL-N05: sform and qform codes are both 0; only voxel sizes are known", True),
        ("HIL-N05: no TransformMatrix is stated; the axes are taken as LPS", True),
        ("HIL-N05: no space origin is stated; the position is taken as 0", False), ("HIL-N04: something else", False),
    ],
)  # fmt: skip
def test_a_volume_that_does_not_say_how_it_lies_is_known_by_that(words: str, vague: bool) -> None:
    clear, unsure = volume(), replace(volume(), warnings=(words,))
    row, other = (case_facts(Case("a", "", {"image": image}))[0] for image in (unsure, clear))
    assert row.get("vague", False) == vague and "vague" not in other and hashed(row) == hashed(other)
    # runs of before know their data without what readers warned of
    assert list(row["warnings"]) == [words[:7]] and "warnings" not in other


def test_the_box_around_what_is_not_zero() -> None:
    array = np.zeros((2, 4, 5, 10), np.float32)
    assert _reach.content(array) == 1
    array[0, 1, 2, 3] = 1
    assert _reach.content(array) == pytest.approx(1 / 200)
    array[:, 3, 4, 0], array[1, 2, 2, 9] = np.nan, np.inf
    assert _reach.content(array) == pytest.approx(1 / 200), "what is no number is nothing"
    array[1, 2, 2, 9] = -2
    assert _reach.content(array) == pytest.approx(2 / 4 * 1 / 5 * 7 / 10)
    array[:, 0, 0, 0] = array[:, -1, -1, -1] = 1
    assert _reach.content(array) == 1


def test_n14_labels_that_do_not_lie_on_their_images_are_all_named_before_training(
    data: Callable[[str], Path], tmp_path: Path
) -> None:
    """Of the test part nobody looked: training ended well, and the case was judged as not found."""
    heads = Path(shutil.copytree(data("segment"), tmp_path / "heads"))
    before = look(heads, "segment", 0)
    names = [next(name for name, own in before.parts.items() if own == part) for part in ("train", "test")]
    for name in names:
        path = heads / "labels" / f"{name}.nii.gz"
        kept = nibabel.load(path)
        array, affine = np.asarray(kept.dataobj), kept.affine.copy()
        affine[0, 3] += 20
        path.unlink()
        nibabel.Nifti1Image(array, affine).to_filename(path)
    with pytest.raises(HilumError) as error:
        look(heads, "segment", 0)
    assert error.value.code == "HIL-N14" and "2 labels" in error.value.seen and "resample" in error.value.remedy
    assert all(f"Case {name}: the corners" in error.value.seen for name in names)
    # a run that was made with them is not refused, and who learns of no label is not asked
    again = look(heads, "segment", 0, known={name: (name, part) for name, part in before.parts.items()})
    (words,) = [words for words in again.warnings if words.startswith("HIL-N14")]
    assert all(name in words for name in names)
    assert not any("HIL-N14" in words for words in look(heads, "generate", 0).warnings)


@pytest.mark.parametrize(
    ("task", "part", "refused"),
    [
        ("segment", "train", True), ("segment", "val", True), ("segment", "test", True), ("detect", "test", True),
        # it need not learn from labels, and is judged by them
        ("register", "train", False), ("register", "test", True), ("classify", "test", False),
    ],
)  # fmt: skip
def test_n14_labels_are_looked_at_where_the_task_does(task: str, part: str, refused: bool) -> None:
    image = picture(0)
    good, small = (Image(np.ones((1, *shape), np.uint8)) for shape in ((16, 12), (8, 12)))
    items = {"a": {"image": image, "label": small}, "b": {"image": picture(1), "label": good}}
    seen = Dataset("x", Path("x"), "flat", tuple(Case(name, "", own) for name, own in items.items()))
    parts = {"a": part, "b": "train"}
    if not refused:
        assert not fingerprint(seen, parts, task=task)["warnings"]
        return
    with pytest.raises(HilumError, match=r"Case a: image .* differ in shape.*HIL-N14"):
        fingerprint(seen, parts, task=task)
    if task == "detect":
        boxes = tuple(replace(case, boxes=np.zeros((0, 0))) for case in seen.cases)
        assert not fingerprint(replace(seen, cases=boxes), parts, task=task)["warnings"], "boxes are listed"


def test_n14_of_listed_pairs_only_those_with_two_labels_are_judged() -> None:
    """Registrations were refused by a label that nobody looks at, as its partner has none."""
    good, small = (Image(np.ones((1, *shape), np.uint8)) for shape in ((16, 12), (8, 12)))
    labels = {"a": {"label": small}, "b": {}, "c": {"label": good}, "d": {}}
    items = {name: {"image": picture(n), **labels[name]} for n, name in enumerate(labels)}
    whole = Dataset("x", Path("x"), "flat", tuple(Case(name, "", own) for name, own in items.items()))
    parts = {"a": "test", "b": "test", "c": "test", "d": "train"}
    for pairs in ((("a", "b"), ("c", "b")), (("c", "b"),)):
        assert not fingerprint(replace(whole, pairs=pairs), parts, task="register")["warnings"]
    # drawn partners may have one
    for pairs in ((("a", "b"), ("c", "a")), (("a", "c"),), ()):
        with pytest.raises(HilumError, match=r"Case a: image .* differ in shape.*HIL-N14"):
            fingerprint(replace(whole, pairs=pairs), parts, task="register")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.uint32, np.int64, np.float32, np.dtype(">i2")], ids=str)
def test_hashes_are_those_that_were_made_of_a_copy_of_the_bytes(
    kind: Any, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs of before must know their data."""
    monkeypatch.setattr(_truth, "PART", 7)
    array: Any = np.random.default_rng(0).integers(0, 200, (2, 5, 6, 4)).astype(kind)
    array = np.asfortranarray(array) if order == "F" else array
    old = hashlib.blake2b(repr(array.shape).encode() + array.tobytes(), digest_size=16).hexdigest()
    assert module._hash(Image(array)) == old
    wide = array.astype(np.int32) if array.dtype.kind in "biu" else array
    head = hashlib.blake2b(f"label {array.shape}".encode() + wide.tobytes(), digest_size=16)
    head.update(b"[]")
    assert _truth.digest(Case("a", "", {}), Image(array)) == head.hexdigest()
    raw = Measurement(array * np.complex64(1j), ("slice", "coil", "ky", "kx"), {})
    old = hashlib.blake2b(repr(array.shape).encode() + raw.array.tobytes(), digest_size=16).hexdigest()
    assert module._hash(raw) == old


def test_how_wide_values_are_stored_leaves_the_hash() -> None:
    label = Image(np.ones((1, 16, 12), np.int32))
    (row,) = facts_of([Case("a", "", {"image": picture(0), "label": label})])["cases"]
    assert row["bytes"] == [1, 4] and "bytes" not in hashed(row)
    (row,) = facts_of([Case("a", "", {"image": picture(0)})])["cases"]
    assert row["bytes"] == [1, 0]


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32])
def test_the_ends_of_an_image_are_its_least_and_its_most(kind: type) -> None:
    channel = np.random.default_rng(0).integers(3, 100, (9, 8)).astype(kind)
    assert _reach.ends(channel) == [float(channel.min()), float(channel.max())]
