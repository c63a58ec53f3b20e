"""Weights from runs, bundles and foreign files; names without wrappers; terms that are inherited."""

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from hilum.core.atomic import sha256
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundle
from hilum.learn._start import start
from hilum.learn._weights import check, chosen, origin, read_weights, seen
from hilum.zoo import nnunet

STATE = {"stem.weight": torch.arange(4.0), "head.bias": torch.ones(2)}


def code_of(path: Path) -> str:
    with pytest.raises(HilumError) as error:
        read_weights(path)
    return error.value.code


def same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor] = STATE) -> bool:
    return found.keys() == wanted.keys() and all(torch.equal(v, wanted[n]) for n, v in found.items())


def test_a_run_and_its_bundle_give_the_predicting_network(trained: Callable[[str], Run], tmp_path: Path) -> None:
    run = trained("classify")
    bundle.write(run, tmp_path / "model.hilum")
    shutil.copyfile(tmp_path / "model.hilum", tmp_path / "renamed.zip")
    for path in (run.path, tmp_path / "model.hilum", tmp_path / "renamed.zip"):
        assert same(read_weights(path), run.weights("net"))
    assert same(read_weights(run.path / "weights" / "net.safetensors"), run.weights("net"))


def test_a_changed_or_unfinished_run_is_refused(trained: Callable[[str], Run], tmp_path: Path) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "run")
    (tmp_path / "run" / "manifest.json").unlink()
    assert code_of(tmp_path / "run") == "HIL-M05"
    (tmp_path / "empty").mkdir()
    assert code_of(tmp_path / "empty") == "HIL-RUN-02"
    assert code_of(tmp_path / "nothing") == "HIL-RUN-01"


@pytest.mark.parametrize("key", ["state_dict", "network_weights", "model", "net", "model_state_dict"])
def test_checkpoints_are_opened_under_their_usual_keys(key: str, tmp_path: Path) -> None:
    torch.save({"epoch": 3, key: STATE, "optimizer": {"state": {0: torch.ones(9)}}}, tmp_path / "x.pth")
    assert same(read_weights(tmp_path / "x.pth"))
    torch.save({"model": {key: STATE}}, tmp_path / "x.pth")
    assert same(read_weights(tmp_path / "x.pth"))


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "net.", "model.", "model.net.", "model.module."]
)
def test_what_wrappers_put_before_names_is_dropped(prefix: str, tmp_path: Path) -> None:
    save_file({prefix + name: value for name, value in STATE.items()}, tmp_path / "x.safetensors")
    torch.save({prefix + name: value for name, value in STATE.items()}, tmp_path / "x.pt")
    assert same(read_weights(tmp_path / "x.safetensors")) and same(read_weights(tmp_path / "x.pt"))


def test_a_holder_is_dropped_for_most_names_and_where_none_is_lost(tmp_path: Path) -> None:
    most = {f"net.{name}": value for name, value in STATE.items()} | {"criterion.weight": torch.ones(3)}
    save_file(most, tmp_path / "x.safetensors")
    assert read_weights(tmp_path / "x.safetensors").keys() == STATE.keys() | {"criterion.weight"}
    few = {"net.a": torch.ones(1), "b": torch.ones(1), "c": torch.ones(1)}
    save_file(few, tmp_path / "x.safetensors")
    assert read_weights(tmp_path / "x.safetensors").keys() == few.keys()
    clash = {"net.a": torch.ones(1), "net.b": torch.ones(1), "a": torch.ones(1)}
    save_file(clash, tmp_path / "x.safetensors")
    assert read_weights(tmp_path / "x.safetensors").keys() == clash.keys()


def as_nnunet(state: dict[str, torch.Tensor], convs: int) -> dict[str, torch.Tensor]:
    """Our names as those of nnU-Net's plain U-Net with one head, its duplicates included."""
    made = {}
    for name, value in state.items():
        part, *rest = name.split(".")
        if part == "encoder":
            name = ".".join(["encoder", "stages", rest[0], "0", "convs", *rest[1:]])
            made[f"decoder.{name}"] = value
        elif part == "decoder":
            name = ".".join(["decoder", "stages", rest[0], "convs", *rest[1:]])
        elif part == "up":
            name = ".".join(["decoder", "transpconvs", *rest])
        else:
            name = ".".join(["decoder", "seg_layers", "1", *rest])
        made[name] = value
    return made


def test_names_of_nnunet_become_ours(tmp_path: Path) -> None:
    options: dict[str, Any] = nnunet.CARD["tiny"]["kwargs"]  # type: ignore[index, call-overload, assignment]
    first, second = nnunet.Net(**options), nnunet.Net(**options)
    foreign = as_nnunet(dict(first.state_dict()), 2)
    torch.save({"network_weights": foreign, "trainer_name": "nnUNetTrainer"}, tmp_path / "checkpoint_final.pth")
    report = start(second, read_weights(tmp_path / "checkpoint_final.pth"), strict=True)
    assert report.share == 1 and same(dict(second.state_dict()), dict(first.state_dict()))
    torch.save({f"module.{n}": v for n, v in foreign.items()}, tmp_path / "x.pt")
    assert same(read_weights(tmp_path / "x.pt"), dict(first.state_dict()))


def test_a_head_of_nnunet_that_has_no_number_leaves_the_names_as_they_are(tmp_path: Path) -> None:
    foreign = {"encoder.stages.0.0.convs.0.conv.weight": torch.ones(2), "decoder.seg_layers.a.weight": torch.ones(2)}
    save_file(foreign, tmp_path / "x.safetensors")
    assert same(read_weights(tmp_path / "x.safetensors"), foreign)


def test_files_that_are_no_weights_are_refused(tmp_path: Path) -> None:
    for name in ("x.txt", "x.pt", "x.safetensors"):
        (tmp_path / name).write_text("some words in a file")
        assert code_of(tmp_path / name) == "HIL-LEARN-21"
    (tmp_path / "empty.pt").write_bytes(b"")
    assert code_of(tmp_path / "empty.pt") == "HIL-LEARN-21"
    for value in ([1, 2], {"epoch": 3}, {3: torch.ones(1)}):
        torch.save(value, tmp_path / "y.pt")
        assert code_of(tmp_path / "y.pt") == "HIL-LEARN-21"


def test_m01_pickles_are_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(STATE))
    assert code_of(tmp_path / "x.pkl") == "HIL-M01"
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert code_of(tmp_path / "old.pth") == "HIL-M01"
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole_model.pt")
    assert code_of(tmp_path / "whole_model.pt") == "HIL-M01"


@pytest.mark.parametrize("name", ["x.safetensors", "x.pt"])
def test_m04_truncated_and_not_finite_files_are_refused(name: str, tmp_path: Path) -> None:
    write: Any = save_file if name.endswith("s") else torch.save
    write(STATE, tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for length in (12, len(whole) // 2, len(whole) - 1):
        (tmp_path / name).write_bytes(whole[:length])
        assert code_of(tmp_path / name) == "HIL-M04"
    if name.endswith("pt"):
        # the directory of the zip file is damaged, its end is not
        (tmp_path / name).write_bytes(whole.replace(b"PK\x01\x02", b"PK\x01\x09", 1))
        assert code_of(tmp_path / name) == "HIL-M04"
    for wrong in (float("nan"), float("inf")):
        write({**STATE, "bad": torch.tensor([1.0, wrong])}, tmp_path / name)
        assert code_of(tmp_path / name) == "HIL-M04"


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu], ids=str)
def test_m04_floats_of_8_bits_are_refused_with_a_sentence(kind: torch.dtype, tmp_path: Path) -> None:
    """Of some PyTorch can not even say whether they are finite; without their scales all are other weights."""
    save_file({**STATE, "bad": torch.ones(4).to(kind)}, tmp_path / "x.safetensors")
    with pytest.raises(HilumError, match=f"'bad'.*{kind}") as error:
        read_weights(tmp_path / "x.safetensors")
    assert error.value.code == "HIL-M04" and "float32" in error.value.remedy


def test_m04_a_foreign_file_that_holds_a_weight_twice_is_refused(tmp_path: Path) -> None:
    entry = '"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}'
    for entries, code in ((f"{entry}, {entry}", "HIL-M04"), (entry, None)):
        header = f"{{{entries}}}".encode()
        (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
        if code is None:
            assert same(read_weights(tmp_path / "x.safetensors"), {"a": torch.zeros(2)})
        else:
            assert code_of(tmp_path / "x.safetensors") == code


def test_origin_names_hash_and_terms(trained: Callable[[str], Run], tmp_path: Path) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "mine")
    run = Run(tmp_path / "mine")
    run.plan.edited({"data.terms": "Apache-2.0"}).write(run.path / "plan.json")
    run.write_manifest()
    weights = run.path / "weights" / "net.safetensors"
    assert origin(run.path) == {"name": "mine", "kind": "run", "sha256": sha256(weights), "terms": "Apache-2.0"}
    bundle.write(run, tmp_path / "m.hilum")
    facts = {"name": "m.hilum", "kind": "bundle", "sha256": sha256(tmp_path / "m.hilum"), "terms": "Apache-2.0"}
    assert origin(tmp_path / "m.hilum") == facts
    save_file(STATE, tmp_path / "x.safetensors")
    assert origin(str(tmp_path / "x.safetensors"))["terms"] == "unknown"


def test_a_system_has_no_weights_of_its_own(trained: Callable[[str], Run], tmp_path: Path) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "system")
    check(tmp_path / "system")
    (tmp_path / "system" / "system.json").write_text("{}")
    for asked in (check, origin):
        with pytest.raises(HilumError, match="is a system") as error:
            asked(tmp_path / "system")
        assert error.value.code == "HIL-RUN-03"
    with pytest.raises(HilumError) as error:
        check(tmp_path / "nothing")
    assert error.value.code == "HIL-RUN-01"


def test_t09_what_the_source_learned_from_is_not_judged_again(trained: Callable[[str], Run], tmp_path: Path) -> None:
    run = trained("classify")
    before: dict[str, str] = run.json("seen.json")
    learned = {image for image, part in before.items() if part != "test"}
    assert learned and set(before.values()) == {"train", "val", "test"}
    merged = seen(run.path, {"new": "test", **{image: "val" for image in learned}})
    assert merged == {"new": "test", **{image: "val" for image in learned}}
    assert chosen(run.path, {"new": "val", **{image: "val" for image in learned}}) == len(learned)
    assert chosen(run.path, {"new": "val", **{image: "train" for image in learned}}) == 0
    assert seen(run.path, {"new": "train"}) == {"new": "train", **{image: "train" for image in learned}}
    with pytest.raises(HilumError) as error:
        seen(run.path, {"new": "test", next(iter(learned)): "test"})
    assert error.value.code == "HIL-T09" and "1 images" in error.value.seen
    save_file(STATE, tmp_path / "x.safetensors")
    assert seen(tmp_path / "x.safetensors", {"new": "test"}) == {"new": "test"}
