"""PyTorch files are read as data: tensors come out as they went in, and nothing in a file is ever called."""

import os
import pickle
import pickletools
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hilum.core.errors import HilumError
from hilum.learn import _torch_file, _weights


def code_of(path: Path) -> str:
    with pytest.raises(HilumError) as error:
        _torch_file.read(path)
    return error.value.code


def zipped(path: Path, pickled: bytes, *, compression: int = zipfile.ZIP_STORED, **members: bytes) -> Path:
    """A file of torch's form around any pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, content in members.items():
            archive.writestr(f"archive/data/{name.removeprefix('_')}", content)
    return path


@pytest.mark.parametrize("dtype", [*_torch_file.STORAGES.values()])
def test_every_type_comes_out_as_it_went_in(dtype: str, tmp_path: Path) -> None:
    value = (torch.arange(24).reshape(2, 3, 4) % 2).to(getattr(torch, dtype))
    torch.save(
        {"a": value, "turned": value.permute(2, 0, 1), "part": value[1, 1:], "none": value[:0]}, tmp_path / "x.pt"
    )
    found = _torch_file.read(tmp_path / "x.pt")
    assert found["a"].dtype == value.dtype and torch.equal(found["a"], value)
    assert torch.equal(found["turned"], value.permute(2, 0, 1)) and torch.equal(found["part"], value[1, 1:])
    assert found["none"].shape == (0, 3, 4)


def test_m04_what_has_no_end_is_not_hashed_or_written_out(tmp_path: Path) -> None:
    """A tuple of twice itself, and so on: a few bytes, and its hash or its text would take for ever."""
    twice = b"(" + b"t" + b"2\x86" * 60
    held = _torch_file.read(zipped(tmp_path / "a.pt", b"\x80\x02}" + twice + b"Ns."))
    assert list(held.values()) == [None]
    view = b"ctorch._utils\n_rebuild_tensor_v2\n(NK\x00" + twice + b"(ttR."
    assert code_of(zipped(tmp_path / "b.pt", b"\x80\x02" + view)) == "HIL-M04"


def test_m04_a_file_of_very_many_members_is_refused_before_they_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({str(n): torch.ones(1) for n in range(9)}, tmp_path / "a.pt")
    assert len(_torch_file.read(tmp_path / "a.pt")) == 9
    monkeypatch.setattr("hilum.core._members.MOST", 9)
    monkeypatch.setattr(zipfile, "ZipFile", lambda *_: pytest.fail("it was opened"))
    # what a state dict is asked first is whether it is a run
    for look in (_torch_file.read, _weights.is_run):
        with pytest.raises(HilumError, match=r"members, more than 9.*HIL-M04"):
            look(tmp_path / "a.pt")


def test_a_state_dict_with_running_statistics_and_protocols(tmp_path: Path) -> None:
    state = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict()
    for protocol in (2, 3, 4, 5):
        torch.save(state, tmp_path / f"{protocol}.pt", pickle_protocol=protocol)
        found = _torch_file.read(tmp_path / f"{protocol}.pt")
        assert list(found) == list(state) and all(torch.equal(v, state[n]) for n, v in found.items())


def test_what_checkpoints_hold_beside_weights_is_not_looked_at(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    optimiser = {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1, "params": [0, 1]}]}
    torch.save(
        {
            "network_weights": net.state_dict(),
            "whole": nn.Parameter(torch.ones(2)),
            "optimizer_state": optimiser,
            "_best_ema": np.float64(0.8),
            "logging": {"dice": [np.float32(0.1), 0.2]},
            "array": np.arange(3),
            "epochs": defaultdict(list, {"a": [1]}),
            "path": Path("x"),
            "type": torch.float32,
            "place": torch.device("cpu"),
            "some": {1, 2},
            "ordered": OrderedDict([("b", 1), ("a", 2)]),
            "words": ("text", None, True, False, 3, 2**70, -1.5),
        },
        tmp_path / "x.pth",
    )
    found = _torch_file.read(tmp_path / "x.pth")
    assert torch.equal(found["network_weights"]["weight"], net.state_dict()["weight"])
    assert found["optimizer_state"] == optimiser
    assert torch.equal(found["whole"], torch.ones(2)) and list(found["ordered"]) == ["b", "a"]
    assert found["words"] == ("text", None, True, False, 3, 2**70, -1.5)
    assert isinstance(found["_best_ema"], _torch_file.Inert) and found["logging"]["dice"][1] == 0.2


class Canary:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_m01_code_in_a_file_is_refused_and_does_not_run(protocol: int, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    tree = {"weight": torch.ones(2), "harm": Canary(canary)}
    torch.save(tree, tmp_path / "x.pt", pickle_protocol=max(protocol, 2))
    zipped(tmp_path / "y.pt", pickle.dumps({"harm": Canary(canary)}, protocol))
    for name in ("x.pt", "y.pt"):
        with pytest.raises(HilumError) as error:
            _torch_file.read(tmp_path / name)
        assert error.value.code == "HIL-M01" and "system" in error.value.seen
    assert not canary.exists()


@pytest.mark.parametrize(
    "pickled",
    [
        b"c__builtin__\neval\n(Vprint(1)\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93.",
        b"(Vprint(1)\ni__builtin__\neval\n.",
        b"c__builtin__\neval\n(Vprint(1)\no.",
        b"\x80\x02\x82\x01.",
        b"Pname\n.",
        b"ctorch.hub\nload\n.",
        b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
        b"\x80\x04\x8c\x05torch\x8c\x0bhub.load_st\x93.",
    ],
    ids=["eval", "exec", "inst", "obj", "extension", "persistent id", "other torch", "attribute", "dotted"],
)
def test_m01_every_way_to_a_name_is_closed(pickled: bytes, tmp_path: Path) -> None:
    assert code_of(zipped(tmp_path / "x.pt", pickled)) == "HIL-M01"


def altered(tmp_path: Path, change: Any) -> Path:
    """A saved tensor whose pickle or storage was changed."""
    torch.save({"w": torch.arange(6.0).reshape(2, 3)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as archive:
        pickled, storage = archive.read("good/data.pkl"), archive.read("good/data/0")
    pickled, storage = change(pickled, storage)
    assert list(pickletools.genops(pickled))[-1][0].name == "STOP"
    return zipped(tmp_path / "bad.pt", pickled, _0=storage)


@pytest.mark.parametrize(
    "change",
    [
        lambda p, s: (p, s[:-4]),
        lambda p, s: (p, s + s),
        lambda p, s: (p.replace(b"K\x02K\x03\x86", b"K\x02K\x04\x86"), s),
        lambda p, s: (p.replace(b"K\x03K\x01\x86", b"K\x09K\x01\x86"), s),
        lambda p, s: (p.replace(b"K\x03K\x01\x86", b"K\x00K\x00\x86").replace(b"K\x02K\x03\x86", b"K\xffK\xff\x86"), s),
    ],
    ids=["short storage", "long storage", "size outside", "stride outside", "repeated by stride 0"],
)
def test_m02_a_tensor_that_reaches_outside_its_storage_is_refused(change: Any, tmp_path: Path) -> None:
    good = altered(tmp_path, lambda p, s: (p, s))
    assert torch.equal(_torch_file.read(good)["w"], torch.arange(6.0).reshape(2, 3))
    assert code_of(altered(tmp_path, change)) == "HIL-M04"


def test_damaged_files_are_refused_wherever_they_are_cut(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(6.0), "list": [1, "two", (3.0,)]}, tmp_path / "x.pt")
    whole = (tmp_path / "x.pt").read_bytes()
    for length in range(4, len(whole), 97):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        assert code_of(tmp_path / "cut.pt") == "HIL-M04"
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        pickled, storage = archive.read("x/data.pkl"), archive.read("x/data/0")
    for length in range(len(pickled)):
        assert code_of(zipped(tmp_path / "cut.pt", pickled[:length], _0=storage)) in ("HIL-M04", "HIL-M01")


def test_any_changed_byte_of_the_pickle_is_read_or_refused_by_sentence(tmp_path: Path) -> None:
    torch.save({"w": torch.arange(6.0), "b": np.float64(1)}, tmp_path / "x.pt")
    with zipfile.ZipFile(tmp_path / "x.pt") as archive:
        pickled, storage = archive.read("x/data.pkl"), archive.read("x/data/0")
    rng = np.random.default_rng(0)
    refusals = 0
    for _ in range(400):
        changed = bytearray(pickled)
        changed[rng.integers(len(changed))] = rng.integers(256)
        try:
            _torch_file.read(zipped(tmp_path / "y.pt", bytes(changed), _0=storage))
        except HilumError:
            refusals += 1
    assert refusals > 100


def test_other_kinds_of_zip_are_refused(tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(4)}, tmp_path / "good.pt")
    with zipfile.ZipFile(tmp_path / "good.pt") as archive:
        pickled = archive.read("good/data.pkl")
    packed = zipped(tmp_path / "a.pt", pickled, compression=zipfile.ZIP_DEFLATED, _0=b"\0" * 16)
    assert code_of(packed) == "HIL-LEARN-21"
    with zipfile.ZipFile(tmp_path / "b.pt", "w") as archive:
        archive.writestr("other.txt", "nothing")
    assert code_of(tmp_path / "b.pt") == "HIL-LEARN-21"
    zipped(tmp_path / "c.pt", pickled, _0=b"\0" * 16)
    with zipfile.ZipFile(tmp_path / "c.pt", "a") as archive:
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
    assert code_of(tmp_path / "c.pt") == "HIL-LEARN-21"
    zipped(tmp_path / "d.pt", pickled, _0=b"\0" * 16)
    with zipfile.ZipFile(tmp_path / "d.pt", "a") as archive:
        archive.writestr("archive/byteorder", b"big")
    assert code_of(tmp_path / "d.pt") == "HIL-LEARN-21"
