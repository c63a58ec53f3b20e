"""A system of two networks, from labelled volumes to one label map: trained, cut short, judged, predicted, bundled."""

import contextlib
import csv
import hashlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from safetensors.numpy import load, save

from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.data.dataset import open_dataset
from hilum.infer import _asked, promise, signature, system_bundle
from hilum.infer import bundle as bundles
from hilum.infer._trial import Tried
from hilum.io import nifti
from hilum.learn import _versions
from hilum.planning.planner import look
from hilum.trust.system import System, trusted
from hilum.verbs.bundle import bundle
from hilum.verbs.calibrate import calibrate
from hilum.verbs.train import train
from hilum.verbs.verify import verify

CLASSES = {1: "kidney_left", 2: "kidney_right", 3: "bone", 5: "vessel", 9: "lesion"}
LIGHT = {1: 900, 2: -300, 3: 600, 5: 350, 9: 120}
GROUPS = {"group_1": ["bone", "vessel", "lesion"], "group_2": ["kidney_left", "kidney_right"]}
# The kidneys are one structure: bone, kidneys, vessel, lesion by size.
AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])
STEPS, FEW = 121, 7
SETS: dict[str, Any] = {
    "plan.patch": [16, 16, 16],
    "plan.batch": 2,
    "plan.augment": [],
    "features": [8, 16],
    "strides": [[1, 1, 1], [2, 2, 2]],
    "kernels": [[3, 3, 3], [3, 3, 3]],
    "deep_supervision": False,
    "options.foreground": 1.0,
    "options.overlap": 0.25,
    "learning.rate": 0.01,
    "learning.precision": "float32",
    "learning.rounds": 3,
}
Command = Callable[..., tuple[int, str, str]]


class Cut(Exception):
    """Somebody pulls the plug."""


@contextlib.contextmanager
def cut_off(number: int) -> Iterator[list[int]]:
    """The number-th file that is put into its place within is not; how many were meant to be, in a list."""
    asked, honest = [0], os.replace

    def replace(*words: Any) -> None:
        asked[0] += 1
        if asked[0] == number:
            raise Cut
        honest(*words)

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Cut):
        patch.setattr(os, "replace", replace)
        yield asked


@dataclass
class Trained:
    """The data set and a system trained on it."""

    data: Path
    system: Path

    @property
    def run(self) -> Run:
        return Run(self.system)

    def cases(self, part: str) -> list[Case]:
        wanted = {row["case"] for row in self.run.split() if row["part"] == part}
        return [c for c in open_dataset(self.data).cases if c.id in wanted]


def body(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A volume (24, 24, 24) and its labels: boxes of five sizes, each of its own brightness."""
    label = np.zeros((24, 24, 24), np.uint8)
    sizes = {3: (9, 9, 20), 1: (7, 7, 8), 2: (7, 7, 8), 5: (4, 4, 14), 9: (4, 4, 4)}
    corners = {3: (1, 1, 2), 1: (1, 14, 3), 2: (13, 14, 3), 5: (14, 3, 4), 9: (14, 14, 16)}
    for value, size in sizes.items():
        start = np.array(corners[value]) + rng.integers(0, 3, 3)
        label[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))] = value
    light = np.zeros(256)
    light[list(LIGHT)] = list(LIGHT.values())
    return light[label] + rng.normal(0, 8, label.shape), label


def make(folder: Path, cases: int, seed: int = 0) -> None:
    for number in range(cases):
        values, label = body(np.random.default_rng((seed, number)))
        image = Image(values[None].astype(np.float32), AFFINE)
        nifti.write(folder / "images" / f"body_{number}.nii.gz", image)
        nifti.write(folder / "labels" / f"body_{number}.nii.gz", Mask(label, CLASSES, AFFINE))
    names = "".join(f"  {value}: {name}\n" for value, name in CLASSES.items())
    (folder / "dataset.yaml").write_text(f"patients: case\nclasses:\n{names}")


def stored(path: Path) -> np.ndarray:
    volume: Any = nibabel.load(path)
    return np.asarray(volume.dataobj)


def words() -> list[str]:
    return [w for key, value in SETS.items() for w in ("--set", f"{key}={json.dumps(value)}")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, hilum: Command) -> Trained:
    folder = tmp_path_factory.mktemp("system")
    make(folder / "data", 8)
    code, out, err = hilum(
        "train", folder / "data", "--task", "segment", "--groups", 2, "--steps", STEPS, *words(), "--out",
        folder / "system",
    )  # fmt: skip
    assert code == 0, err
    assert "hilum evaluate" in out
    return Trained(folder / "data", folder / "system")


@pytest.fixture(scope="module")
def bundled(made: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "system.hilum"
    system_bundle.write(made.run, path)
    return path


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private key and the public one."""
    pytest.importorskip("cryptography")
    return signature.make_pair("radiology", tmp_path_factory.mktemp("keys"))


@pytest.fixture(scope="module")
def uncut(made: Trained, tmp_path_factory: pytest.TempPathFactory) -> Run:
    out = tmp_path_factory.mktemp("uncut") / "system"
    return train(made.data, "segment", out, groups=2, steps=FEW, settings=SETS)


def found(run: Run, case: Case, roi: Sequence[str] = ()) -> Any:
    return trusted(run, roi=roi)(case)


def test_the_parts_are_ordinary_runs_on_the_same_split_and_grid(made: Trained) -> None:
    run = made.run
    run.check_hashes()
    assert run.system is not None
    assert {g.name: [c.name for c in g.classes] for g in run.system.groups} == GROUPS
    assert {c.value: c.name for c in run.plan.classes} == CLASSES and run.plan.steps == STEPS
    parts = [run.part(name) for name in GROUPS]
    for part in parts:
        part.check_hashes()
        assert part.split() == run.split() and part.ledger()[0]["event"] == "train"
        assert part.weights("net") and part.calibration is not None
    assert [p.plan.steps for p in parts] == [61, 60]
    same = [{k: v for k, v in p.plan.model_dump().items() if k not in ("classes", "data", "steps")} for p in parts]
    assert same[0] == same[1]
    event = run.ledger()[0]
    assert (event["event"], event["steps"], event["groups"]) == ("train", STEPS, GROUPS)


def test_the_merged_map_is_judged_by_all_classes(made: Trained, hilum: Command, tmp_path: Path) -> None:
    code, _, err = hilum("evaluate", made.system, made.data, "--out", tmp_path / "judged")
    assert code == 0, err
    content = json.loads((tmp_path / "judged" / "metrics.json").read_text())
    dice = content["metrics"]["dice"]["per_class"]
    assert content["part"] == "test" and content["missing"] == 0 and list(dice) == list(CLASSES.values())
    # an empty mask has 0, one box taken for another far less than this
    assert all(dice[name]["mean"] > 0.5 for name in ("bone", "kidney_right")), dice
    assert made.run.ledger()[-1]["event"] == "evaluate"
    truth, seen = [], []
    for case in made.cases("test"):
        truth.append(case.items["label"].read_labels().array[0] == 3)
        seen.append(found(made.run, case)["mask"].array == 3)
    by_hand = [2 * (t & s).sum() / (t.sum() + s.sum()) for t, s in zip(truth, seen, strict=True)]
    assert dice["bone"]["mean"] == pytest.approx(np.mean(by_hand), abs=1e-6)


def test_the_first_network_answers_for_those_after_it(made: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, told = promise.of, list[tuple[promise.Later, promise.Promise]]()

    def of(*words: Any) -> promise.Promise:
        told.append((words[9].later, honest(*words)))
        return told[-1][1]

    monkeypatch.setattr(promise, "of", of)
    monkeypatch.setattr(_asked, "tried", lambda *_: Tried(0, 1.0))
    predictor = trusted(made.run)
    assert isinstance(predictor, System)
    case = made.cases("test")[0]
    _, cost = predictor.told(case)
    second = list(predictor.parts.values())[1]
    assert [later for later, _ in told] == [promise.Later(1, second.merges), promise.Later(0, 0)]
    first, last = (one for _, one in told)
    assert cost["bytes"]["predicted"] >= first.total > first.process + first.window + first.ring + first.scores
    # one trial tells the time of both
    assert cost["predicted_seconds"]["network"] == first.seconds == 2 * last.seconds > 0

    def more(*words: Any) -> promise.Promise:
        return replace(honest(*words), later=(1 << 50) * words[9].later.networks)

    monkeypatch.setattr(promise, "of", more)
    tight = trusted(made.run, limit=1 << 40)
    with pytest.raises(HilumError, match=r"later 1048576\.0 GB") as error:
        tight.told(case)
    assert error.value.code == "HIL-INFER-01"


def test_what_reading_took_in_turn_is_told_by_the_first_network(made: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    honest, began = promise.of, list[int | None]()

    def of(*words: Any) -> promise.Promise:
        began.append(words[6])
        return honest(*words)

    monkeypatch.setattr(promise, "of", of)
    predictor, case = trusted(made.run), made.cases("test")[0]
    predictor.reads(case)
    predictor.before = 7
    predictor.told(case)
    assert began[0] == 7 and began[1] != 7 and predictor.before is None


def test_the_map_holds_the_classes_of_all_networks_and_the_table_is_that_of_numpy(made: Trained) -> None:
    case = made.cases("test")[0]
    result = found(made.run, case)
    mask, image = result["mask"], case.read("image")
    assert mask.classes == CLASSES and mask.array.dtype == np.uint8 and mask.array.shape == image.shape
    assert {2, 3} <= set(np.unique(mask.array)) <= {0, *CLASSES}
    rows = result["structures"].rows
    assert [r["structure"] for r in rows] == list(CLASSES.values())
    for row in rows:
        inside = image.array[0][mask.array == row["value"]].astype(np.float64)
        assert row["voxels"] == len(inside) and row["volume_ml"] == pytest.approx(len(inside) * 4.5 / 1000, abs=1e-6)
        if len(inside):
            assert row["mean"] == pytest.approx(inside.mean(), abs=1e-5)
            assert row["p95"] == pytest.approx(np.percentile(inside, 95), abs=1e-5)
    assert 0 <= result.meta["doubt"] <= 1 and result.verdict.reasons


def test_a_region_of_interest_runs_only_the_networks_it_needs(made: Trained) -> None:
    case = made.cases("test")[0]
    part = trusted(made.run, roi=["bone"])
    assert isinstance(part, System) and list(part.parts) == ["group_1"]
    whole, alone = found(made.run, case), part(case)
    assert alone["mask"].classes == {3: "bone"} and [r["structure"] for r in alone["structures"].rows] == ["bone"]
    bones, all_ = alone["mask"].array, whole["mask"].array
    assert set(np.unique(bones)) == {0, 3}
    # the kidneys' network may have had a voxel of it, no other difference is possible
    assert np.isin(all_[bones == 3], [1, 2, 3]).all() and (bones[all_ == 3] == 3).all()
    both = trusted(made.run, roi=["bone", "kidney_right"])
    assert isinstance(both, System) and list(both.parts) == list(GROUPS)
    assert np.array_equal(both(case)["mask"].array, np.where(np.isin(all_, [2, 3]), all_, 0))


def test_a_coarse_model_guides_every_network_that_is_needed(made: Trained) -> None:
    """Guided by what it would find itself, a network finds just that."""
    case, run = made.cases("test")[0], made.run
    guided = trusted(run, roi=["bone"], coarse=run.part("group_1"))
    result, cost = guided.told(case)
    assert np.array_equal(result["mask"].array, found(run, case, ["bone"])["mask"].array)
    told = cost["coarse"]["group_1"]
    assert list(cost["coarse"]) == ["group_1"] and 0 < told["windows"] <= told["of"] * 2
    both = trusted(run, coarse=run.part("group_1")).told(case)[1]["coarse"]
    assert list(both) == list(GROUPS) and all(told["of"] > 1 for told in both.values())
    with pytest.raises(HilumError) as error:
        trusted(run, coarse=run)
    assert error.value.code == "HIL-INFER-23" and "system" in error.value.seen


def test_an_unknown_structure_and_a_single_network_are_refused(made: Trained) -> None:
    for run, roi in ((made.run, ["bones"]), (made.run.part("group_1"), ["bone"])):
        with pytest.raises(HilumError) as error:
            trusted(run, roi=roi)
        assert error.value.code == "HIL-TRUST-30"


def test_one_network_by_itself_is_an_ordinary_run(made: Trained) -> None:
    case = made.cases("test")[0]
    alone = found(made.run.part("group_2"), case)["mask"]
    assert alone.classes == {1: "kidney_left", 2: "kidney_right"}
    whole = found(made.run, case)["mask"].array
    assert (alone.array[np.isin(whole, [1, 2])] == whole[np.isin(whole, [1, 2])]).all()


def test_a_system_has_a_model_card(made: Trained, hilum: Command, tmp_path: Path) -> None:
    code, _, err = hilum("card", made.system, "--out", tmp_path / "card")
    assert code == 0, err
    values = json.loads((tmp_path / "card" / "provenance.json").read_text())["model"]["values"]
    each = [sum(t.numel() for t in made.run.part(g).weights("net").values()) for g in GROUPS]
    assert values == sum(each)


def test_a_bundle_is_whole_and_predicts_the_same(made: Trained, bundled: Path) -> None:
    card = system_bundle.verify(bundled)
    assert card["classes"] == list(CLASSES.values()) and card["groups"] == GROUPS
    assert card["golden_difference"] <= 1e-3
    case = made.cases("test")[0]
    first, second = found(made.run, case), found(Run(bundled), case)
    assert np.array_equal(first["mask"].array, second["mask"].array)
    assert first["structures"] == second["structures"] and first.meta == second.meta


def test_a_bundle_is_judged_on_its_own_test_part(bundled: Path, made: Trained, hilum: Command, tmp_path: Path) -> None:
    code, _, err = hilum("evaluate", bundled, made.data, "--out", tmp_path / "judged")
    assert code == 0, err
    assert json.loads((tmp_path / "judged" / "metrics.json").read_text())["part"] == "test"


def test_a_network_in_it_is_held_as_in_a_bundle_of_its_own(made: Trained, bundled: Path, tmp_path: Path) -> None:
    whole = Run(bundled)
    for name in GROUPS:
        bundles.write(made.run.part(name), tmp_path / f"{name}.hilum")
        own, part = Run(tmp_path / f"{name}.hilum"), whole.part(name)
        assert part.names() == own.names()
        assert all(part.read(file) == own.read(file) for file in own.names())


def test_a_folder_is_no_bundle_of_a_system_either(made: Trained) -> None:
    """It was called damaged: that its networks differ from their manifests."""
    seen = []
    for folder in (made.system, made.run.part("group_1").path):
        with pytest.raises(HilumError) as error:
            verify(folder)
        assert error.value.code == "HIL-RUN-03"
        seen.append((error.value.seen.removeprefix(str(folder)), error.value.remedy))
    assert seen[0] == seen[1]


@pytest.mark.parametrize(("lost", "code"), [(False, "HIL-M10"), (True, "HIL-RUN-03")])
def test_m10_what_is_wrong_with_a_network_names_it_and_the_bundle(
    lost: bool, code: str, bundled: Path, tmp_path: Path
) -> None:
    """It named a temporary file, which was gone by then, and none of the networks."""
    files, own = {name: Run(bundled).read(name) for name in Run(bundled).names()}, "parts/group_2/"
    if lost:
        del files[f"{own}golden.safetensors"]
    else:
        weights = {name: value * 2 for name, value in load(files[f"{own}weights/net.safetensors"]).items()}
        files[f"{own}weights/net.safetensors"] = save(weights)
    for room in (own, ""):
        held = {name.removeprefix(room): one for name, one in files.items() if name.startswith(room)}
        listed = {name: hashlib.sha256(one).hexdigest() for name, one in held.items() if name != "manifest.json"}
        files[f"{room}manifest.json"] = json.dumps(listed).encode()
    path = tmp_path / "changed.hilum"
    with zipfile.ZipFile(path, "w") as archive:
        for name, one in files.items():
            archive.writestr(name, one)
    with pytest.raises(HilumError) as error:
        system_bundle.verify(path)
    assert error.value.code == code and error.value.seen.startswith(f"parts/group_2: {path}")


def refused(path: Path, keys: Path) -> str:
    """Why a bundle is not by one of these keys."""
    with pytest.raises(HilumError) as error:
        system_bundle.verify(path, keys)
    assert error.value.code == "HIL-M05"
    return error.value.seen


def test_a_signed_bundle_is_verified_by_its_key(made: Trained, pair: tuple[Path, Path], tmp_path: Path) -> None:
    path = tmp_path / "system.hilum"
    system_bundle.write(made.run, path, key=pair[0])
    found = system_bundle.verify(path, pair[1])
    assert found["signed"] and found["signed_by"] == "radiology"
    # one for the whole, and none of a network by itself
    assert [name for name in Run(path).names() if name.endswith(signature.NAME)] == [signature.NAME]


def test_m05_an_unsigned_bundle_and_one_by_another_key_are_refused(
    made: Trained, bundled: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    assert "not signed" in refused(bundled, pair[1])
    stranger, other = signature.make_pair("stranger", tmp_path)
    path = tmp_path / "system.hilum"
    system_bundle.write(made.run, path, key=stranger)
    assert "none of the 1 trusted" in refused(path, pair[1])
    # a network that was put in the place of another one, by somebody who made the manifest fit
    changed = tmp_path / "changed.hilum"
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as archive:
        files = {name: old.read(name) for name in old.namelist()}
        weights = "parts/group_2/weights/net.safetensors"
        files[weights] = files[weights][:-1] + b"?"
        listed = json.loads(files["manifest.json"]) | {weights: hashlib.sha256(files[weights]).hexdigest()}
        for name, content in (files | {"manifest.json": json.dumps(listed).encode()}).items():
            archive.writestr(name, content)
    assert "does not fit its manifest" in refused(changed, other)


def test_the_commands_sign_it_and_say_who_did(
    made: Trained, pair: tuple[Path, Path], hilum: Command, tmp_path: Path
) -> None:
    path = tmp_path / "system.hilum"
    code, _, err = hilum("bundle", made.system, "--out", path, "--sign", pair[0])
    assert code == 0, err
    code, out, err = hilum("verify", path, "--key", pair[1].parent)
    assert code == 0 and "Signed by radiology." in out, err
    signature.make_pair("stranger", tmp_path)
    code, out, err = hilum("verify", path, "--key", tmp_path / "stranger.yaml")
    assert (code, out) == (2, "") and "[HIL-M05]" in err


def under(terms: Sequence[str], made: Trained, folder: Path) -> Path:
    """The system as if the data of its networks had these terms, in their order."""
    shutil.copytree(made.system, folder)
    run = Run(folder)
    for name, own in zip(GROUPS, terms, strict=True):
        part = run.part(name)
        part.plan.edited({"data.terms": own}).write(part.path / "plan.json")
        facts = part.json("fingerprint.json")
        facts["settings"]["terms"] = own
        (part.path / "fingerprint.json").write_text(json.dumps(facts))
        part.write_manifest()
    return folder


@pytest.mark.parametrize(
    "terms", [("research only", "research only"), ("CC BY 4.0", "research only"), ("research only", "CC BY 4.0")]
)
def test_one_network_for_research_only_keeps_the_whole_from_being_made_public(
    terms: tuple[str, str], made: Trained, tmp_path: Path
) -> None:
    with pytest.raises(HilumError) as error:
        bundle(under(terms, made, tmp_path / "system"), tmp_path / "system.hilum", public=True)
    assert error.value.code == "HIL-INFER-10" and "research only" in error.value.seen
    assert not (tmp_path / "system.hilum").exists()


def test_terms_that_allow_it_travel_with_their_conditions(made: Trained, tmp_path: Path) -> None:
    folder = under(("CC BY 4.0", "CC BY 4.0"), made, tmp_path / "system")
    card = bundle(folder, tmp_path / "system.hilum", public=True)
    assert card["conditions"][0].startswith("CC BY 4.0: ") and card == Run(tmp_path / "system.hilum").json("card.json")


def test_a_graph_of_one_network_is_refused(made: Trained, tmp_path: Path) -> None:
    with pytest.raises(HilumError) as error:
        bundle(made.system, tmp_path / "system.hilum", onnx=True)
    assert error.value.code == "HIL-INFER-13" and "several networks" in error.value.seen
    assert not list(tmp_path.iterdir())


def test_m05_a_changed_network_is_refused(made: Trained, tmp_path: Path) -> None:
    changed = tmp_path / "system"
    shutil.copytree(made.system, changed)
    plan = changed / "parts" / "group_2" / "plan.json"
    plan.write_text(plan.read_text() + " ")
    with pytest.raises(HilumError) as error:
        trusted(Run(changed))
    assert error.value.code == "HIL-M05"
    # also where whoever changed it made its own hashes fit
    Run(changed / "parts" / "group_2").write_manifest()
    with pytest.raises(HilumError) as error:
        trusted(Run(changed))
    assert error.value.code == "HIL-M05" and "parts/group_2/manifest.json" in str(error.value)


def test_calibrated_anew_the_whole_still_fits(made: Trained, hilum: Command, tmp_path: Path) -> None:
    copy = tmp_path / "system"
    shutil.copytree(made.system, copy)
    code, out, err = hilum("calibrate", copy, made.data, "--error", 0.3, "--runtime", "torch")
    assert code == 0, err
    assert "group_1:" in out and "group_2:" in out
    Run(copy).check_hashes()
    for name in GROUPS:
        known = Run(copy).part(name).calibration
        assert known is not None and known.gate is not None and known.gate.error == 0.3
    calibrate(copy, made.data, acceptable=0.8)
    assert Run(copy).ledger()[-1]["error"] == 0.3
    for name in GROUPS:
        known = Run(copy).part(name).calibration
        assert known is not None and known.gate is not None
        assert (known.gate.error, known.acceptable) == (0.3, 0.8), "what was not given stays"


def test_calibrated_with_another_system_every_network_takes_the_weights_of_its_own_group(
    made: Trained, uncut: Run, tmp_path: Path
) -> None:
    copy, case = tmp_path / "system", made.cases("test")[0]
    shutil.copytree(made.system, copy)
    told = calibrate(copy, made.data, others=[uncut.path])["networks"]
    run = Run(copy)
    run.check_hashes()
    assert list(told) == list(GROUPS) and run.ledger()[-1]["event"] == "calibrate"
    assert run.ledger()[-1]["with"] == [uncut.path.name]
    for name in GROUPS:
        part = run.part(name)
        assert part.read("weights/net.2.safetensors") == uncut.part(name).read("weights/net.safetensors")
        assert part.read("weights/net.safetensors") == made.run.part(name).read("weights/net.safetensors")
        assert (told[name]["opinions"]["kind"], told[name]["opinions"]["count"]) == ("ensemble", 2)
    assert found(run, case).meta["disagreement"] > 0 and "disagreement" not in found(made.run, case).meta


@pytest.mark.parametrize("fault", ["changed", "damaged", "a network", "a bundle"])
def test_a_partner_that_does_not_fit_changes_nothing(
    fault: str, made: Trained, uncut: Run, tmp_path: Path, bundled: Path
) -> None:
    """The first network became an ensemble before the second one was looked at, and answered as that from then on."""
    copy, other = tmp_path / "system", tmp_path / "other"
    shutil.copytree(made.system, copy)
    shutil.copytree(uncut.path, other)
    last = Run(other).part(list(GROUPS)[-1])
    weights = last.path / "weights" / "net.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    if fault == "changed":
        # the manifest of the network fits, that of the whole does not
        Run(last.path).write_manifest()
    partner = {"a network": uncut.part(next(iter(GROUPS))).path, "a bundle": bundled}.get(fault, other)
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(HilumError) as error:
        calibrate(copy, made.data, others=[partner])
    assert error.value.code == ("HIL-TRUST-07" if fault.startswith("a ") else "HIL-M05")
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


def test_quantised_anew_the_whole_still_fits(made: Trained, hilum: Command, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    pytest.importorskip("nncf")
    copy = tmp_path / "system"
    shutil.copytree(made.system, copy)
    code, out, err = hilum("quantise", copy, made.data)
    assert code == 0, err
    assert "group_1:" in out and "group_2:" in out
    run = Run(copy)
    run.check_hashes()
    assert run.ledger()[-1]["event"] == "quantise"
    for name in GROUPS:
        assert run.part(name).ledger()[-1]["event"] == "quantise"
    case = made.cases("test")[0]
    system_bundle.write(run, tmp_path / "a.hilum")
    graphs = system_bundle.verify(tmp_path / "a.hilum")["graphs"]
    assert list(graphs) == [f"parts/{name}/graphs/openvino_int8.xml" for name in GROUPS]
    by_eight = trusted(run, "openvino-int8")(case)["mask"].array
    assert (by_eight == found(run, case)["mask"].array).mean() > 0.9


@pytest.mark.parametrize("verb", ["quantise", "calibrate"])
def test_one_network_of_a_system_is_not_changed_by_itself(
    verb: str, made: Trained, hilum: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "system"
    shutil.copytree(made.system, copy)
    code, _, err = hilum(verb, copy / "parts" / "group_1", made.data)
    assert code == 2 and "HIL-TRUST-20" in err and f"the system: {copy}" in err.replace("\n", " ")
    monkeypatch.chdir(copy / "parts" / "group_1")
    code, _, err = hilum(verb, ".", made.data)
    assert code == 2 and str(copy) in err
    Run(copy).check_hashes()


def test_a_system_that_was_cut_off_while_it_was_quantised_can_be_quantised_again(
    made: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hilum.verbs import _same
    from hilum.verbs import quantise as verb

    ready, texts = look(made.data, "segment", made.run.plan.split_seed), iter(range(1000))
    graph = ("openvino_int8.xml", "openvino_int8.bin")
    monkeypatch.setattr(_same, "look", lambda *_: ready)
    monkeypatch.setattr(verb.eight, "sample", lambda *_, **__: [])
    monkeypatch.setattr(verb.eight, "graph", lambda *_: {n: str(next(texts)).encode() for n in graph})
    monkeypatch.setattr(verb, "_compared", lambda *_: {"cases": next(texts)})
    copy, number, asked = tmp_path / "system", 0, [0]
    shutil.copytree(made.system, copy)
    while asked[0] >= number:
        number += 1
        with cut_off(number) as asked:
            verb.quantise(copy, made.data)
        verb.quantise(copy, made.data)
        Run(copy).check_hashes()
    assert number == 14, "of each network three files, two manifests and the ledger, and the ledger of all"
    # one whose manifest somebody made to fit is not taken up, whatever else was cut off
    (copy / "parts" / "group_2" / "seen.json").write_text("{}")
    Run(copy / "parts" / "group_2").write_manifest()
    (copy / "parts" / "group_2" / "graphs" / "openvino_int8.xml").write_text("half")
    with pytest.raises(HilumError) as error:
        verb.quantise(copy, made.data)
    assert error.value.code == "HIL-M05"


def one_calibration(run: Run) -> None:
    """What every network of a system knows of itself was learned at one time."""
    run.check_hashes()
    for name in GROUPS:
        part = run.part(name)
        part.check_hashes()
        known = part.calibration
        assert known is not None and [str(part.arrays("outlier.safetensors")["time"][0])] == known.notes


@pytest.mark.parametrize(("before", "after", "writes"), [(False, True, 13), (True, False, 15)])
def test_a_system_that_was_cut_off_while_it_was_calibrated_can_be_calibrated_again(
    before: bool, after: bool, writes: int, made: Trained, uncut: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hilum.trust import learned
    from hilum.verbs import _same

    ready, times = look(made.data, "segment", made.run.plan.split_seed), iter(range(1000))
    known = {name: made.run.part(name).calibration for name in GROUPS}

    def learn(predictor: Any, *_: Any) -> tuple[Any, dict[str, np.ndarray]]:
        time, own = next(times), known[predictor.run.path.name]
        assert own is not None
        return own.model_copy(update={"notes": [str(time)]}), {"time": np.array([time])}

    monkeypatch.setattr(_same, "look", lambda *_: ready)
    monkeypatch.setattr(learned, "learn", learn)
    start, copy, number, asked = tmp_path / "start", tmp_path / "system", 0, [0]
    # alone, or with another system
    others: dict[bool, dict[str, Any]] = {False: {"opinions": "one"}, True: {"others": [uncut.path]}}
    shutil.copytree(made.system, start)
    calibrate(start, made.data, **others[before])
    while asked[0] >= number:
        number += 1
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(start, copy)
        with cut_off(number) as asked:
            calibrate(copy, made.data, **others[after])
        # what is not refused as it lies there is one calibration too
        with contextlib.suppress(HilumError):
            one_calibration(Run(copy))
        calibrate(copy, made.data, **others[after])
        one_calibration(Run(copy))
        for name in GROUPS:
            assert Run(copy).part(name).has("weights/net.2.safetensors") == after
    assert number == writes + 1, "of each network its files, two manifests and the ledger, and the ledger of all"
    # one whose manifest somebody made to fit is not taken up, whatever else was cut off
    (copy / "parts" / "group_2" / "seen.json").write_text("{}")
    Run(copy / "parts" / "group_2").write_manifest()
    (copy / "parts" / "group_2" / "calibration.json").write_text("half")
    with pytest.raises(HilumError) as error:
        calibrate(copy, made.data, **others[after])
    assert error.value.code == "HIL-M05"


def opinions_of(run: Run) -> list[str]:
    """Whose mean each network answers by."""
    found = [run.part(name).calibration for name in GROUPS]
    return [one.opinions.kind for one in found if one is not None]


def unnamed(copy: Path, data: Path) -> str:
    """The sentence by which a call that does not say whose opinions is refused; it changes nothing."""
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(HilumError) as error:
        calibrate(copy, data, error=0.3)
    assert error.value.code == "HIL-TRUST-26"
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before
    return str(error.value)


def test_networks_with_different_opinions_are_not_calibrated_by_each_of_their_own(
    made: Trained, uncut: Run, tmp_path: Path
) -> None:
    """A call that was cut off left an ensemble beside a single network, and the next one kept both."""
    copy, third = tmp_path / "system", tmp_path / "third"
    shutil.copytree(made.system, copy)
    shutil.copytree(uncut.path, third)

    def cut(**words: Any) -> None:
        with pytest.raises(Cut):
            calibrate(copy, made.data, progress=cut_at("group_2: calibrate", 1), **words)

    cut(others=[uncut.path])
    assert opinions_of(Run(copy)) == ["ensemble", "one"]
    told = unnamed(copy, made.data)
    assert "group_1: 2 networks with system, group_2: one" in told and "--opinions" in told and "--with" in told
    calibrate(copy, made.data, others=[uncut.path])
    # what all have stays
    calibrate(copy, made.data, error=0.3)
    assert opinions_of(Run(copy)) == ["ensemble"] * 2
    # so many networks too, but of another system
    cut(others=[third])
    assert "group_1: 2 networks with third, group_2: 2 networks with system" in unnamed(copy, made.data)
    calibrate(copy, made.data, opinions="one")
    assert opinions_of(Run(copy)) == ["one"] * 2


def test_what_a_network_lost_when_it_was_cut_off_is_taken_from_the_others(
    made: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first network alone was asked: all forgot their error where its files were half written."""
    copy = tmp_path / "system"
    shutil.copytree(made.system, copy)
    calibrate(copy, made.data, error=0.3, acceptable=0.8)
    with cut_off(2):
        calibrate(copy, made.data, acceptable=0.6)
    assert Run(copy).part("group_1").differing() == ["calibration.json"]
    told = calibrate(copy, made.data)["networks"]
    assert [(one["error"], one["acceptable"]) for one in told.values()] == [(0.3, 0.8)] * 2
    assert "group_1 was cut short: what is not asked for now is as the other networks" in caplog.text
    # whose mean its answer was, can not be: the weights of the others may be gone
    calibrate(copy, made.data, opinions="views")
    with cut_off(2):
        calibrate(copy, made.data, acceptable=0.6)
    with pytest.raises(HilumError) as error:
        calibrate(copy, made.data)
    assert error.value.code == "HIL-TRUST-26" and "group_1: one, group_2: views" in str(error.value)


def cut_at(job: str, done: int) -> Any:
    """A progress that pulls the plug there."""

    def tell(name: str, at: int, total: int, note: str = "") -> None:
        if (name, at) == (job, done):
            raise Cut

    return tell


@pytest.mark.parametrize("where", [("group_2: train", 3), ("group_2: prepare", 2), ("group_1: train", 2)])
def test_a_system_cut_short_goes_on_to_the_same_weights(
    where: tuple[str, int], made: Trained, uncut: Run, tmp_path: Path
) -> None:
    out = tmp_path / "system"
    with pytest.raises(Cut):
        train(made.data, "segment", out, groups=2, steps=FEW, settings=SETS, progress=cut_at(*where))
    with pytest.raises(HilumError) as error:
        trusted(Run(out))
    assert error.value.code == "HIL-M05"
    weights = out / "parts" / "group_1" / "weights" / "net.safetensors"
    done = weights.stat().st_mtime_ns if where[0].startswith("group_2") else None
    run = train(made.data, "segment", out, resume=True)
    run.check_hashes()
    assert done is None or weights.stat().st_mtime_ns == done
    for name in GROUPS:
        assert run.part(name).read("weights/net.safetensors") == uncut.part(name).read("weights/net.safetensors")
    assert run.ledger()[-1]["resumed"] and run.plan.steps == FEW
    again = train(made.data, "segment", out, resume=True)
    assert len(again.ledger()) == 1


def test_one_that_learned_nothing_yet_takes_back_what_it_wrote(made: Trained, tmp_path: Path) -> None:
    out = tmp_path / "system"
    with pytest.raises(Cut):
        train(made.data, "segment", out, groups=2, steps=FEW, settings=SETS, progress=cut_at("group_1: prepare", 1))
    assert not out.exists()


def test_t04_other_data_or_another_plan_are_refused(made: Trained, tmp_path: Path) -> None:
    copy = tmp_path / "system"
    shutil.copytree(made.system, copy)
    make(tmp_path / "other", 8, seed=1)
    for data, more in ((tmp_path / "other", {}), (made.data, {"groups": 3}), (made.data, {"steps": 5})):
        with pytest.raises(HilumError) as error:
            train(data, "segment", copy, resume=True, **more)  # type: ignore[arg-type]
        assert error.value.code == "HIL-T04"


@pytest.fixture(scope="module")
def begun(made: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A system of which the first network is done and the second one has not begun."""
    out = tmp_path_factory.mktemp("begun") / "system"
    with pytest.raises(Cut):
        train(made.data, "segment", out, groups=2, steps=FEW, settings=SETS, progress=cut_at("group_2: prepare", 2))
    return out


def held(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def resumed(folder: Path, data: Path, code: str, **more: Any) -> str:
    """Why the system is not gone on with; nothing of it changes."""
    before = held(folder)
    with pytest.raises(HilumError) as error:
        train(data, "segment", folder, resume=True, **more)
    assert error.value.code == code and held(folder) == before
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"learning.rate": 0.5}, "learning.rate: 0.01, now 0.5"),
        ({"patch": [32, 32, 32]}, "patch"),
        ({"steps": 70}, "steps: 4, now 35"),
        ({"learning.precision": "bfloat16"}, "learning.precision"),
        ({"data.ignore": 9}, "data.ignore"),
    ],
    ids=str,
)
def test_t04_a_plan_that_was_edited_is_refused_and_not_learned_by_the_networks_that_are_left(
    change: dict[str, Any], told: str, begun: Path, made: Trained, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(begun, tmp_path / "system"))
    Run(copy).plan.edited(change).write(copy / "plan.json")
    assert told in resumed(copy, made.data, "HIL-T04")
    # nor is it taken for what was trained, once all is done
    shutil.rmtree(copy)
    shutil.copytree(made.system, copy)
    Run(copy).plan.edited(change).write(copy / "plan.json")
    assert "is not the plan" in resumed(copy, made.data, "HIL-T04")


def test_t04_networks_that_are_left_are_not_trained_by_other_versions_unless_accepted(
    begun: Path, made: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy, now = Path(shutil.copytree(begun, tmp_path / "system")), _versions.here()
    assert "devices: 1, now 2" in resumed(copy, made.data, "HIL-T04", devices=2)
    monkeypatch.setattr(_versions, "here", lambda: now | {"torch": "0.1"})
    told = resumed(copy, made.data, "HIL-T04")
    assert "group_1" in told and 'now "0.1"' in told and "--accept T04" in told
    run = train(made.data, "segment", copy, resume=True, accept=["T04"])
    versions = [run.part(name).ledger()[0]["versions"]["torch"] for name in GROUPS]
    assert versions == [now["torch"], "0.1"]
    # what is finished is not gone on with
    monkeypatch.setattr(_versions, "here", lambda: now | {"torch": "0.2"})
    assert len(train(made.data, "segment", copy, resume=True).ledger()) == 1


def test_t05_a_system_of_which_no_network_has_begun_is_not_begun_anew(
    begun: Path, made: Trained, tmp_path: Path
) -> None:
    """Killed before the first checkpoint, where nobody can take back what was written."""
    copy = Path(shutil.copytree(begun, tmp_path / "system"))
    shutil.rmtree(copy / "parts")
    assert "no checkpoint" in resumed(copy, made.data, "HIL-T05")
    shutil.copytree(begun / "parts" / "group_1", copy / "parts" / "group_1")
    for name in ("checkpoint.safetensors", "manifest.json"):
        (copy / "parts" / "group_1" / name).unlink()
    assert "no checkpoint" in resumed(copy, made.data, "HIL-T05")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"groups": 9}, "HIL-PLAN-09"),
        ({"groups": 2, "plan": "plan.json"}, "HIL-PLAN-09"),
        ({"groups": 2, "start": "run"}, "HIL-PLAN-09"),
        ({"groups": 2, "steps": 1}, "HIL-PLAN-06"),
        ({"groups": 2, "minutes": 0.06}, "HIL-PLAN-06"),
    ],
)
def test_what_can_not_be_trained_leaves_nothing(more: dict[str, Any], code: str, made: Trained, tmp_path: Path) -> None:
    with pytest.raises(HilumError) as error:
        train(made.data, "segment", tmp_path / "system", **({"settings": SETS} | more))
    assert error.value.code == code and not (tmp_path / "system").exists()


def test_the_command_predicts_one_map_and_one_sheet(made: Trained, hilum: Command, tmp_path: Path) -> None:
    images = sorted((made.data / "images").iterdir())[:2]
    code, _, err = hilum("predict", made.system, *images, "--out", tmp_path / "found")
    assert code == 0, err
    with open(tmp_path / "found" / "structures.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [(r["case"], r["structure"]) for r in rows] == [
        (p.name.removesuffix(".nii.gz"), name) for p in images for name in CLASSES.values()
    ]  # fmt: skip
    for row in rows:
        mask = stored(tmp_path / "found" / f"{row['case']}_mask.nii.gz")
        values = stored(made.data / "images" / f"{row['case']}.nii.gz")
        inside = values[mask == int(row["value"])]
        assert int(row["voxels"]) == len(inside)
        if len(inside):
            assert float(row["median"]) == pytest.approx(np.median(inside), abs=1e-3)
    code, _, err = hilum("predict", made.system, *images, "--roi", "bone,lesion", "--out", tmp_path / "roi")
    assert code == 0, err
    mask = stored(tmp_path / "roi" / "body_0_mask.nii.gz")
    assert 3 in mask and set(np.unique(mask)) <= {0, 3, 9}
    assert hilum("predict", made.system, *images, "--roi", "bones", "--out", tmp_path / "none")[0] == 2


def test_the_commands_bundle_and_verify_it(made: Trained, hilum: Command, tmp_path: Path) -> None:
    path = tmp_path / "system.hilum"
    assert hilum("bundle", made.system, "--out", path)[0] == 0
    code, out, err = hilum("verify", path)
    assert code == 0, err
    assert "is whole" in out
    image = made.data / "images" / "body_0.nii.gz"
    for model, folder in ((made.system, "run"), (path, "bundle")):
        assert hilum("predict", model, image, "--out", tmp_path / folder)[0] == 0
    for name in ("body_0_mask.nii.gz", "body_0_structures.csv", "structures.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "bundle" / name).read_bytes()
