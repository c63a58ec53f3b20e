"""A bundle proves on arrival that it is whole and still computes the same; nothing in it can run."""

import hashlib
import json
import math
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save, save_file

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.core.run import Run
from hilum.evaluation import model_card
from hilum.infer import bundle, domain
from hilum.infer.predictor import open_predictor
from hilum.infer.runtimes import _choose, torch_channels_last
from hilum.learn import _weights
from hilum.planning.planner import Prepared
from hilum.verbs.evaluate import evaluate
from hilum.verbs.import_model import import_model
from hilum.zoo import nnunet

TASKS = list(catalogue.cards("hilum.tasks"))
Trained = Callable[[str], Run]
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def good(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "good.hilum"
    bundle.write(trained("classify"), path)
    return path


def unpack(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {n: archive.read(n) for n in archive.namelist()}


def pack(files: Files, path: Path, honest: bool = False) -> Path:
    """honest: with a manifest that fits, as an attacker would write it."""
    if honest:
        manifest = {n: hashlib.sha256(b).hexdigest() for n, b in files.items() if n != "manifest.json"}
        files = files | {"manifest.json": json.dumps(manifest).encode()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(HilumError) as error:
        bundle.verify(path)
    return error.value.code


@pytest.mark.parametrize("task", TASKS)
def test_every_task_is_written_and_verified(task: str, trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "a.hilum"
    card = bundle.write(trained(task), path)
    found = bundle.verify(path)
    assert found["golden_difference"] <= bundle.TOLERANCE and found["task"] == task == card["task"]
    assert card["intended_use"] == INTENDED_USE and card["terms_of_weights"]


def test_the_same_run_gives_the_same_bytes(good: Path, trained: Trained, tmp_path: Path) -> None:
    bundle.write(trained("classify"), tmp_path / "again.hilum")
    assert (tmp_path / "again.hilum").read_bytes() == good.read_bytes()


def test_run_and_bundle_predict_the_same(good: Path, trained: Trained, ready: Callable[[str], Prepared]) -> None:
    case = ready("classify").dataset.cases[0]
    first, second = open_predictor(trained("classify").path)(case), open_predictor(good)(case)
    np.testing.assert_array_equal(first["scores"].vector(), second["scores"].vector())


def test_nothing_in_it_is_pickled(good: Path) -> None:
    for name, content in unpack(good).items():
        assert name.endswith((".json", ".safetensors")), name
        if name.endswith(".json"):
            json.loads(content)
        else:
            load(content)
        with pytest.raises(Exception):  # noqa: B017 - whatever pickle says, it is none
            pickle.loads(content)


def test_an_existing_file_is_kept(good: Path, trained: Trained) -> None:
    before = good.read_bytes()
    with pytest.raises(HilumError) as error:
        bundle.write(trained("classify"), good)
    assert error.value.code == "HIL-CORE-03" and good.read_bytes() == before


@pytest.mark.parametrize("name", ["weights/net.safetensors", "golden.safetensors", "plan.json", "card.json"])
def test_m05_a_changed_or_lost_member_is_refused(name: str, good: Path, tmp_path: Path) -> None:
    files = unpack(good)
    changed = files[name][:-1] + bytes([files[name][-1] ^ 1])
    assert refused(pack(files | {name: changed}, tmp_path / "a.hilum")) == "HIL-M05"
    lost = pack({n: c for n, c in files.items() if n != name}, tmp_path / "b.hilum")
    assert refused(lost) in ("HIL-M05", "HIL-RUN-02")


def test_m05_without_a_manifest_or_with_one_that_names_fewer_files_it_is_refused(good: Path, tmp_path: Path) -> None:
    files = unpack(good)
    assert refused(pack({n: c for n, c in files.items() if n != "manifest.json"}, tmp_path / "a.hilum")) == "HIL-M05"
    fewer = json.loads(files["manifest.json"])
    fewer.pop("weights/net.safetensors")
    assert refused(pack(files | {"manifest.json": json.dumps(fewer).encode()}, tmp_path / "b.hilum")) == "HIL-M05"


def changed_weights(files: Files, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Files:
    name = "weights/net.safetensors"
    return files | {name: save(change(load(files[name])))}


def test_m10_other_weights_under_a_fitting_manifest_do_not_pass_the_golden_pair(good: Path, tmp_path: Path) -> None:
    def louder(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: t * 1.1 if t.is_floating_point() else t for n, t in tensors.items()}

    assert refused(pack(changed_weights(unpack(good), louder), tmp_path / "a.hilum", honest=True)) == "HIL-M10"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small network of 104 classes: its output is a thousand times as large as its weights."""
    folder = tmp_path_factory.mktemp("many")
    torch.manual_seed(0)
    save_file(nnunet.Net(1, 105, 3, features=[4, 8], strides=[1, 2]).state_dict(), folder / "x.safetensors")
    facts: dict[str, Any] = {"classes": [f"c{n}" for n in range(104)], "channels": ["CT"], "spacing": [1.0, 1.0, 1.0]}
    facts |= {"patch": [32, 32, 32], "normalisation": {"scheme": "zscore"}}
    (folder / "facts.json").write_text(json.dumps(facts))
    net = "nnunet:features=[4,8]:strides=[1,2]"
    import_model(folder / "x.safetensors", folder / "run", net=net, facts=folder / "facts.json")
    return Run(folder / "run")


def louder(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {n: t * 1.1 if t.is_floating_point() else t for n, t in tensors.items()}


def test_of_a_large_golden_output_a_sample_is_kept_that_other_weights_do_not_pass(many: Run, tmp_path: Path) -> None:
    bundle.write(many, tmp_path / "a.hilum")
    weights = (many.path / "weights" / "net.safetensors").stat().st_size
    assert (tmp_path / "a.hilum").stat().st_size < 2 * weights + (2 << 20)
    assert bundle.verify(tmp_path / "a.hilum")["golden_difference"] <= bundle.TOLERANCE
    files = unpack(tmp_path / "a.hilum")
    kept = load(files["golden.safetensors"])
    assert kept["out.0"].shape == (bundle.SAMPLE,) and kept["shape.0"].tolist() == [1, 105, 32, 32, 32]
    assert refused(pack(changed_weights(files, louder), tmp_path / "b.hilum", honest=True)) == "HIL-M10"
    others = {
        "shape": {"shape.0": torch.tensor([1, 105, 32, 32, 33])},
        "fewer": {"out.0": kept["out.0"][1:].clone()},
        "nan": {"out.0": kept["out.0"] * float("nan")},
        "other": {"out.0": kept["out.0"].roll(1)},
    }
    for name, change in others.items():
        path = pack(files | {"golden.safetensors": save(kept | change)}, tmp_path / f"{name}.hilum", honest=True)
        assert refused(path) == "HIL-M10", name


def test_a_whole_golden_output_of_an_earlier_bundle_is_compared_as_before(many: Run, tmp_path: Path) -> None:
    bundle.write(many, tmp_path / "a.hilum")
    files = unpack(tmp_path / "a.hilum")
    whole = {n: t.clone().contiguous() for n, t in bundle.golden(many).items()}
    assert whole["out.0"].shape == (1, 105, 32, 32, 32)
    files |= {"golden.safetensors": save(whole)}
    found = bundle.verify(pack(files, tmp_path / "b.hilum", honest=True))
    assert found["golden_difference"] <= bundle.TOLERANCE
    assert refused(pack(changed_weights(files, louder), tmp_path / "c.hilum", honest=True)) == "HIL-M10"


def test_what_is_no_number_is_seen_outside_of_the_sample_too() -> None:
    out = torch.arange(2.0 * bundle.SAMPLE)
    stored = bundle._kept({"out.0": out})
    assert bundle.difference(stored, {"out.0": out}, "x") == 0
    left = min(set(range(out.numel())) - set(stored["out.0"].long().tolist()))
    out[left] = float("nan")
    assert math.isnan(bundle.difference(stored, {"out.0": out}, "x"))


def test_m05_a_golden_pair_that_holds_an_output_twice_is_refused(good: Path, tmp_path: Path) -> None:
    files = unpack(good)
    content = lying("twice", files["golden.safetensors"])
    assert refused(pack(files | {"golden.safetensors": content}, tmp_path / "a.hilum", honest=True)) == "HIL-M05"


@pytest.mark.parametrize("kind", ["nan", "other", "none", "shape", "bool"])
def test_m10_a_golden_pair_that_proves_nothing_is_refused(kind: str, good: Path, tmp_path: Path) -> None:
    files = unpack(good)
    tensors = load(files["golden.safetensors"])
    golden = {
        "nan": {n: t * float("nan") if n.startswith("out.") else t for n, t in tensors.items()},
        "other": {n: t + 1 if n.startswith("out.") else t for n, t in tensors.items()},
        "none": {n: t for n, t in tensors.items() if n.startswith("in.")},
        "shape": {n: t[..., :1].contiguous() for n, t in tensors.items()},
        "bool": {n: t > 0 if n.startswith("out.") else t for n, t in tensors.items()},
    }[kind]
    path = pack(files | {"golden.safetensors": save(golden)}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M10"


def test_m10_a_patch_that_no_machine_holds_is_refused(good: Path, tmp_path: Path) -> None:
    files = unpack(good)
    plan = json.loads(files["plan.json"])
    plan["patch"] = [1 << 24] * len(plan["patch"])
    path = pack(files | {"plan.json": json.dumps(plan).encode()}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M10"


def test_options_that_no_network_takes_are_refused_by_sentence(trained: Trained, tmp_path: Path) -> None:
    """A dictionary in place of a list ended in a traceback: verify, predict and import each had their own errors."""
    bundle.write(trained("segment"), tmp_path / "good.hilum")
    files = unpack(tmp_path / "good.hilum")
    plan = json.loads(files["plan.json"])
    options = plan["networks"]["net"]["options"]
    options["features"] = {str(n): width for n, width in enumerate(options["features"])}
    path = pack(files | {"plan.json": json.dumps(plan).encode()}, tmp_path / "odd.hilum", honest=True)
    assert refused(path) == "HIL-PLAN-04"
    with pytest.raises(HilumError, match="HIL-PLAN-04"):
        open_predictor(path)
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    save_file(trained("segment").weights("net"), tmp_path / "net.safetensors")
    with pytest.raises(HilumError, match="HIL-PLAN-04"):
        import_model(tmp_path / "net.safetensors", tmp_path / "run", facts=tmp_path / "plan.json")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"convs": 10**9}, "HIL-M07"),
        ({"features": [64] * 40, "strides": [1] * 40, "kernels": None}, "HIL-M07"),
        ({"overlap": 0.9999999}, "HIL-PLAN-03"),
    ],
    ids=["layers without end", "many wide stages", "windows without end"],
)
def test_m07_a_plan_that_would_fill_the_memory_or_never_end_is_refused_by_all_who_open_it(
    change: dict[str, Any], code: str, trained: Trained, tmp_path: Path
) -> None:
    """The network was built before its weights were looked at."""
    bundle.write(trained("segment"), tmp_path / "good.hilum")
    files = unpack(tmp_path / "good.hilum")
    plan = json.loads(files["plan.json"])
    options = plan["options"] if "overlap" in change else plan["networks"]["net"]["options"]
    options |= change
    path = pack(files | {"plan.json": json.dumps(plan).encode()}, tmp_path / "odd.hilum", honest=True)
    assert refused(path) == code
    with pytest.raises(HilumError, match="far larger than the weights" if code == "HIL-M07" else code):
        open_predictor(path)
    # its card says what it is, and does not build it either
    assert code != "HIL-M07" or model_card.card(Run(path))


@pytest.mark.parametrize("kind", ["cases", "settings", "spacing", "split", "anatomy"])
def test_what_a_bundle_of_before_says_of_its_training_images_is_refused_where_it_is_spoilt(
    kind: str, trained: Trained, tmp_path: Path
) -> None:
    """Such a bundle was called whole, and its first prediction ended in a traceback."""
    run = trained("segment")
    bundle.write(run, tmp_path / "good.hilum")
    files = unpack(tmp_path / "good.hilum")
    # in its place it had files of the run
    del files[domain.NAME]
    row, split = {"id": "a", "physical": True, "spacing": ["x", "y", "z"]}, b"case,group\na,a\n"
    odd: dict[str, Any] = {"cases": {"cases": [1]}, "settings": {"settings": 5}, "spacing": {"cases": [row]}}
    odd |= {"anatomy": {"anatomy": {"dims": 3}}, "split": {}}
    files["fingerprint.json"] = json.dumps(odd[kind]).encode()
    files |= {"split.csv": split} if kind == "split" else {}
    path = pack(files, tmp_path / "odd.hilum", honest=True)
    assert refused(path) == "HIL-M05"
    with pytest.raises(HilumError, match="HIL-M05") as error:
        open_predictor(path)
    assert "\n" not in str(error.value)
    files["fingerprint.json"], files["split.csv"] = run.read("fingerprint.json"), run.read("split.csv")
    path = pack(files, tmp_path / "whole.hilum", honest=True)
    bundle.verify(path)
    assert domain.known(Run(path)) == domain.known(run)


def test_m10_a_patch_larger_than_the_golden_input_is_refused_before_one_is_made(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only masks were guarded: an input of 16 GB for a classifier that fits would have been made and computed."""
    monkeypatch.setattr(bundle, "golden", lambda *_: pytest.fail("it was computed"))
    files = unpack(good)
    plan = json.loads(files["plan.json"])
    plan["patch"][0] += 1
    path = pack(files | {"plan.json": json.dumps(plan).encode()}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M10"


def test_m10_a_network_that_gives_one_value_everywhere_is_refused(good: Path, tmp_path: Path) -> None:
    def dead(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: torch.zeros_like(t) for n, t in tensors.items()}

    files = changed_weights(unpack(good), dead)
    golden = load(files["golden.safetensors"])
    dead_golden = {n: torch.zeros_like(t) if n.startswith("out.") else t for n, t in golden.items()}
    path = pack(files | {"golden.safetensors": save(dead_golden)}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M10"


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_m10_dead_weights_with_a_bias_are_refused(task: str, trained: Trained, tmp_path: Path) -> None:
    """It was bundled and verified, and gave every image the same class with the same confidence."""
    run = Run(shutil.copytree(trained(task).path, tmp_path / "run"))
    weights = run.weights("net")
    weights["head.weight"].zero_()
    weights["head.bias"].copy_(torch.linspace(2, -1, len(weights["head.bias"])))
    save_file(weights, run.path / "weights" / "net.safetensors")
    run.write_manifest()
    for refuses in (lambda: bundle.golden(run), lambda: bundle.write(run, tmp_path / "a.hilum")):
        with pytest.raises(HilumError, match="one answer, whatever it sees") as error:
            refuses()
        assert error.value.code == "HIL-M10" and not (tmp_path / "a.hilum").exists()


def test_m04_weights_that_are_no_numbers_are_refused(good: Path, tmp_path: Path) -> None:
    def broken(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = next(n for n, t in tensors.items() if t.is_floating_point())
        tensors[name].view(-1)[0] = float("nan")
        return tensors

    assert refused(pack(changed_weights(unpack(good), broken), tmp_path / "a.hilum", honest=True)) == "HIL-M04"


def laid(header: str, body: bytes, length: int | None = None) -> bytes:
    """A safetensors file with that header."""
    return struct.pack("<Q", len(header) if length is None else length) + header.encode() + body


def lying(kind: str, honest: bytes) -> bytes:
    """The real weights with one lie in their header; what the lie leaves alone fits the network and its values."""
    (length,) = struct.unpack("<Q", honest[:8])
    text, body = honest[8 : 8 + length].decode(), honest[8 + length :]
    header: dict[str, Any] = json.loads(text)
    if kind in ("long header", "longer header"):
        return laid(text, body, length=100 << 20 if kind == "long header" else (1 << 63) + 5)
    if kind == "twice":
        # the last of both is the real one
        other = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
        return laid(f"{{{json.dumps(min(header))}: {json.dumps(other)}, {text[1:]}", body)
    if kind == "tail":
        return laid(text, body + bytes(8))
    if kind == "hole":
        moved = {n: e | {"data_offsets": [at + 8 for at in e["data_offsets"]]} for n, e in header.items()}
        return laid(json.dumps(moved), bytes(8) + body)
    name = max((n for n, e in header.items() if e["dtype"] == "F32"), key=lambda n: header[n]["data_offsets"][0])
    entry = header[name]
    (first, last), shape = entry["data_offsets"], entry["shape"]
    changes: dict[str, dict[str, Any]] = {
        "overlap": {"data_offsets": [first - 4, last - 4]},
        "negative": {"data_offsets": [first - last, 0]},
        "unknown type": {"dtype": "F99"},
        "type of no tensor": {"dtype": "F8_E8M0", "shape": [4 * shape[0], *shape[1:]]},
        "same size": {"dtype": "I32"},
        "shape": {"shape": [2 * shape[0], *shape[1:]]},
        "overflow": {"shape": [1 << 62, 4]},
    }
    return laid(json.dumps(header | {name: entry | changes[kind]}), body)


LIES = (
    "long header", "longer header", "twice", "tail", "hole", "overlap", "negative", "unknown type", "type of no tensor",
    "same size", "shape", "overflow",
)  # fmt: skip


@pytest.mark.parametrize("kind", LIES)
def test_m04_a_safetensors_file_that_lies_is_refused(kind: str, good: Path, tmp_path: Path) -> None:
    files = unpack(good)
    content = lying(kind, files["weights/net.safetensors"])
    path = pack(files | {"weights/net.safetensors": content}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M04"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_m04_weights_of_another_type_are_not_converted(kind: torch.dtype, good: Path, tmp_path: Path) -> None:
    def converted(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: t.to(kind) if t.is_floating_point() else t for n, t in tensors.items()}

    path = pack(changed_weights(unpack(good), converted), tmp_path / "a.hilum", honest=True)
    with pytest.raises(HilumError, match=rf"stored as {kind}, the network's is torch\.float32") as error:
        bundle.verify(path)
    assert error.value.code == "HIL-M04"


def test_a_golden_pair_of_a_type_that_torch_lacks_is_refused(good: Path, tmp_path: Path) -> None:
    content = laid('{"out.0": {"dtype": "F8_E8M0", "shape": [8], "data_offsets": [0, 8]}}', bytes(8))
    path = pack(unpack(good) | {"golden.safetensors": content}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M05"


@pytest.mark.parametrize("kind", ["missing", "extra", "renamed", "shape"])
def test_m07_weights_of_another_network_are_refused_whole(kind: str, good: Path, tmp_path: Path) -> None:
    def other(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        name = next(n for n, t in tensors.items() if t.ndim > 1)
        tensor = tensors.pop(name)
        if kind == "extra":
            return tensors | {name: tensor, "backdoor": torch.ones(2)}
        if kind == "renamed":
            return tensors | {name + "x": tensor}
        return tensors | ({name: tensor[:1].contiguous()} if kind == "shape" else {})

    assert refused(pack(changed_weights(unpack(good), other), tmp_path / "a.hilum", honest=True)) == "HIL-M07"


def test_m07_weights_of_the_right_shape_in_the_wrong_order_do_not_pass_the_golden_pair(
    good: Path, tmp_path: Path
) -> None:
    def swapped(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        names = [n for n, t in tensors.items() if t.ndim > 1]
        first, second = next((a, b) for a in names for b in names if a < b and tensors[a].shape == tensors[b].shape)
        return tensors | {first: tensors[second], second: tensors[first]}

    assert refused(pack(changed_weights(unpack(good), swapped), tmp_path / "a.hilum", honest=True)) == "HIL-M10"


def test_m01_pickled_weights_never_run(good: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (canary,)  # type: ignore[return-value]

    path = pack(unpack(good) | {"weights/net.safetensors": pickle.dumps(Evil())}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M04" and not canary.exists()


@pytest.mark.parametrize("name", ["plan.json", "card.json"])
def test_m09_a_bundle_of_a_newer_form_is_refused_by_all_who_open_it(name: str, good: Path, tmp_path: Path) -> None:
    files = unpack(good)
    newer = json.loads(files[name]) | {"format": 2}
    path = pack(files | {name: json.dumps(newer).encode()}, tmp_path / "a.hilum", True)
    assert refused(path) == "HIL-M09"
    openers = (
        open_predictor,
        lambda path: evaluate(path, tmp_path, tmp_path / "out"),
        lambda path: model_card.card(Run(path)),
        _weights.origin,
    )
    for opener in openers:
        with pytest.raises(HilumError) as error:
            opener(path)
        assert error.value.code == "HIL-M09"


def test_m09_of_two_bundles_the_older_one_is_known() -> None:
    assert bundle.older({"made": "2026-01-02T03:04:05+00:00"}, {"made": "2026-02-01T00:00:00+00:00"})
    assert bundle.older({"made": "2026-02-01T00:00:00+00:00"}, {"made": "2026-01-02T03:04:05+00:00"}) is False
    assert bundle.older({}, {"made": "2026-01-02T03:04:05+00:00"}) is None


def test_a_damaged_golden_pair_is_refused(good: Path, tmp_path: Path) -> None:
    path = pack(unpack(good) | {"golden.safetensors": b"words"}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M05"


@pytest.mark.parametrize("stated", [None, {}, {"torch": 5.0}, {"torch": "much"}, "much", {"torch": 10**400}])
def test_m10_a_foreign_card_can_not_ask_for_more_tolerance(stated: object, good: Path, tmp_path: Path) -> None:
    files = unpack(good)
    card = json.dumps(json.loads(files["card.json"]) | {"tolerance": stated}).encode()

    def louder(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {n: t * 1.1 if t.is_floating_point() else t for n, t in tensors.items()}

    assert bundle.tolerance(json.loads(card), "torch") == bundle.TOLERANCE
    path = pack(changed_weights(files, louder) | {"card.json": card}, tmp_path / "a.hilum", honest=True)
    assert refused(path) == "HIL-M10"


def test_an_unfinished_run_is_not_bundled(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(HilumError) as error:
        bundle.write(Run(tmp_path / "run"), tmp_path / "a.hilum")
    assert error.value.code == "HIL-M05" and not (tmp_path / "a.hilum").exists()


@pytest.mark.parametrize("task", ["segment", "classify"])
def test_runtimes_without_a_graph_of_their_own_are_compared_too(
    task: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.hilum"
    bundle.write(trained(task), path)
    monkeypatch.setattr(_choose, "native", lambda name: True)
    found = bundle.verify(path)["runtimes"]
    # and those of a card where there is one
    assert {"torch-channels-last", "torch-bf16"} <= set(found)
    assert all(value <= _choose.card(name)["tolerance"] for name, value in found.items())
    monkeypatch.setattr(_choose, "native", lambda name: name == "torch-channels-last")
    assert list(bundle.verify(path)["runtimes"]) == ["torch-channels-last"]


def test_a_network_of_several_images_is_run_by_the_reference_alone(trained: Trained, tmp_path: Path) -> None:
    bundle.write(trained("register"), tmp_path / "a.hilum")
    assert bundle.verify(tmp_path / "a.hilum")["runtimes"] == {}


def test_m10_a_runtime_that_computes_something_else_is_refused(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_channels_last, "prepare", lambda net, *_: lambda window: 2 * net(window))
    with pytest.raises(HilumError, match="by torch-channels-last") as error:
        bundle.verify(good)
    assert error.value.code == "HIL-M10"


def test_every_runtime_has_a_tolerance() -> None:
    assert all(0 < _choose.card(name)["tolerance"] < 1 for name in _choose.names())
    assert _choose.card("torch")["tolerance"] == bundle.TOLERANCE
