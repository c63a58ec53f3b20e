"""bundle, verify and keys as a person uses them: with the model card inside, signed, and in place of another."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save

from hilum.core.calibration import Calibration, Opinions, Scaling
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundle as bundles
from hilum.verbs import verify as verifying
from hilum.verbs.bundle import bundle
from hilum.verbs.keys import keys
from hilum.verbs.verify import verify

Trained = Callable[[str], Run]


@pytest.fixture(scope="module")
def good(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "good.hilum"
    bundle(trained("classify").path, path)
    return path


def test_the_model_card_is_inside_and_covered_by_the_manifest(good: Path) -> None:
    run = Run(good)
    text = run.read("model_card.md").decode()
    assert "# Model card: classify" in text and "model_card.md" in run.json("manifest.json")
    assert run.json("card.json")["tolerance"] == {
        "torch": 1e-3, "torch-channels-last": 1e-3, "onnx": 1e-3, "openvino": 1e-3, "torch-bf16": 0.5,
        "torch-cuda": 1e-3, "torch-cuda-half": 0.5, "openvino-bf16": 0.5, "openvino-int8": 0.75,
    }  # fmt: skip


def test_calibration_with_its_thresholds_is_inside(trained: Trained, good: Path) -> None:
    names = Run(good).names()
    for name in ("calibration.json", "outlier.safetensors", "seen.json"):
        assert (name in names) == trained("classify").has(name)
    assert not {"ledger.jsonl", "split.csv", "fingerprint.json", "checkpoint.safetensors"} & set(names)


def test_the_same_run_gives_the_same_bytes_with_its_card(trained: Trained, good: Path, tmp_path: Path) -> None:
    bundle(trained("classify").path, tmp_path / "again.hilum")
    assert (tmp_path / "again.hilum").read_bytes() == good.read_bytes()


def test_graphs_of_other_runtimes_travel_with_the_run(trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "run")
    (tmp_path / "run" / "graphs").mkdir()
    (tmp_path / "run" / "graphs" / "x.bin").write_bytes(b"graph")
    Run(tmp_path / "run").write_manifest()
    bundle(tmp_path / "run", tmp_path / "a.hilum")
    assert Run(tmp_path / "a.hilum").read("graphs/x.bin") == b"graph"


@pytest.mark.parametrize("kind", ["views", "dropout", "ensemble"])
def test_a_graph_of_one_network_is_refused_where_the_answer_is_the_mean_of_several(
    kind: str, trained: Trained, tmp_path: Path
) -> None:
    shutil.copytree(trained("segment").path, tmp_path / "run")
    run = Run(tmp_path / "run")
    known = run.calibration
    assert known is not None
    made = known.model_copy(update={"opinions": Opinions.model_validate({"kind": kind, "count": 2})})
    (run.path / "calibration.json").write_text(made.model_dump_json())
    run.write_manifest()
    with pytest.raises(HilumError) as error:
        bundle(run.path, tmp_path / "a.hilum", onnx=True)
    assert error.value.code == "HIL-INFER-13" and kind in error.value.seen and not (tmp_path / "a.hilum").exists()


def test_signed_and_checked_by_command(hilum: Any, trained: Trained, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    code, out, _ = hilum("keys", "radiology", "--out", tmp_path / "signing", "--expires", "2099-12-31")
    assert code == 0 and "radiology.key" in out and "radiology.yaml" in out
    private, public = tmp_path / "signing" / "radiology.key", tmp_path / "signing" / "radiology.yaml"
    assert "expires: 2099-12-31" in public.read_text()
    code, _, err = hilum("bundle", trained("classify").path, "--out", tmp_path / "a.hilum", "--sign", private)
    assert code == 0, err
    code, out, _ = hilum("verify", tmp_path / "a.hilum", "--key", tmp_path / "signing")
    assert code == 0 and "Signed by radiology." in out
    code, out, _ = hilum("verify", tmp_path / "a.hilum")
    assert code == 0 and "--key" in out
    code, out, err = hilum("keys", "radiology", "--out", tmp_path / "signing")
    assert (code, out) == (2, "") and "[HIL-CORE-03]" in err
    keys("stranger", tmp_path / "others")
    code, out, err = hilum("verify", tmp_path / "a.hilum", "--key", tmp_path / "others")
    assert (code, out) == (2, "") and "[HIL-M05]" in err


def test_a_bundle_that_can_not_be_signed_is_not_written(good: Path, trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(HilumError) as error:
        bundle(trained("classify").path, tmp_path / "a.hilum", sign=tmp_path / "nothing.key")
    assert error.value.code == "HIL-INFER-33" and not (tmp_path / "a.hilum").exists()


def test_m10_a_bundle_that_does_not_say_the_same_again_is_not_left(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(path: Path) -> None:
        # who looks into the folder meanwhile finds no bundle
        assert path.is_file() and not (tmp_path / "a.hilum").exists()
        raise HilumError("HIL-M10", f"The graph of {path} says something else", "Leave the graph out")

    monkeypatch.setattr(bundles, "verify", other)
    with pytest.raises(HilumError, match=r"/a\.hilum says something else.*HIL-M10"):
        bundle(trained("classify").path, tmp_path / "a.hilum")
    assert not list(tmp_path.iterdir())


def test_a_bundle_that_is_there_is_kept(good: Path, trained: Trained) -> None:
    before = good.read_bytes()
    with pytest.raises(HilumError) as error:
        bundle(trained("classify").path, good)
    assert error.value.code == "HIL-CORE-03" and str(good) in error.value.seen and good.read_bytes() == before
    assert list(good.parent.iterdir()) == [good]


def known(**more: Any) -> bytes:
    """calibration.json."""
    return Calibration(cases=4, groups=4).model_copy(update=more).model_dump_json().encode()


SPOILT: dict[str, tuple[dict[str, bytes], str]] = {
    "scaling of more classes": (
        {"calibration.json": known(scaling=Scaling(scale=[1.0] * 9, bias=[0.0] * 9))}, "HIL-M05",
    ),
    "no calibration": ({"calibration.json": b"[]"}, "HIL-M05"),
    "a calibration of other keys": ({"calibration.json": b'{"cases": 4, "groups": 4, "gates": 4}'}, "HIL-PLAN-02"),
    "opinions without end": (
        {"calibration.json": known(opinions=Opinions.model_construct(kind="dropout", count=10**9))}, "HIL-PLAN-03",
    ),
    "an ensemble without its others": (
        {"calibration.json": known(opinions=Opinions(kind="ensemble", count=2))}, "HIL-RUN-03",
    ),
    "an ensemble with another network": (
        {
            "calibration.json": known(opinions=Opinions(kind="ensemble", count=2)),
            "weights/net.2.safetensors": save({"a": torch.ones(2)}),
        }, "HIL-M07",
    ),
    "damaged numbers of images": ({"calibration.json": known(), "outlier.safetensors": b"words"}, "HIL-M05"),
}  # fmt: skip


@pytest.mark.parametrize("name", SPOILT)
def test_what_prediction_would_refuse_is_not_called_whole(
    name: str, good: Path, trained: Trained, tmp_path: Path
) -> None:
    """Such a bundle was published and verified, and no case was predicted with it."""
    changed, code = SPOILT[name]
    with zipfile.ZipFile(good) as archive:
        files = {n: archive.read(n) for n in archive.namelist() if n != "manifest.json"} | changed
    listed = {n: hashlib.sha256(content).hexdigest() for n, content in files.items()}
    with zipfile.ZipFile(tmp_path / "a.hilum", "w") as archive:
        for n, content in (files | {"manifest.json": json.dumps(listed).encode()}).items():
            archive.writestr(n, content)
    with pytest.raises(HilumError, match=code):
        verify(tmp_path / "a.hilum")
    run = Run(shutil.copytree(trained("classify").path, tmp_path / "run"))
    run.put(changed)
    with pytest.raises(HilumError, match=code):
        bundle(run.path, tmp_path / "b.hilum")
    assert not (tmp_path / "b.hilum").exists()


def test_names_and_days_of_keys_are_checked(tmp_path: Path) -> None:
    for name, expires in (("../evil", None), ("", None), ("a/b", None), ("good", "soon")):
        with pytest.raises(HilumError) as error:
            keys(name, tmp_path, expires=expires)
        assert error.value.code == "HIL-INFER-33"
    assert not list(tmp_path.iterdir())


def test_m09_a_step_back_and_another_model_are_told(hilum: Any, good: Path, trained: Trained, tmp_path: Path) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "run")
    Run(tmp_path / "run").record("train", {"steps": 5})
    line = json.loads((tmp_path / "run" / "ledger.jsonl").read_text().splitlines()[-1])
    text = json.dumps(line | {"when": "2099-01-01T00:00:00+00:00"})
    lines = (tmp_path / "run" / "ledger.jsonl").read_text().splitlines()[:-1]
    (tmp_path / "run" / "ledger.jsonl").write_text("\n".join([*lines, text]) + "\n")
    bundle(tmp_path / "run", tmp_path / "newer.hilum")
    assert verify(tmp_path / "newer.hilum", replaces=good)["remarks"] == []
    assert "step back" in verify(good, replaces=tmp_path / "newer.hilum")["remarks"][0]
    bundle(trained("segment").path, tmp_path / "other.hilum")
    words = " ".join(verify(good, replaces=tmp_path / "other.hilum")["remarks"])
    assert "Another task: classify instead of segment." in words and "Another network:" in words
    code, out, _ = hilum("verify", good, "--replaces", tmp_path / "newer.hilum")
    assert code == 0 and "Look: A step back" in out


def test_m09_which_is_older_is_said_not_to_be_known_where_one_or_both_have_no_date(
    hilum: Any, good: Path, trained: Trained, tmp_path: Path
) -> None:
    shutil.copytree(trained("classify").path, tmp_path / "run")
    (tmp_path / "run" / "ledger.jsonl").unlink()
    undated = tmp_path / "undated.hilum"
    assert bundle(tmp_path / "run", undated)["made"] is None
    for new, old in ((undated, undated), (undated, good), (good, undated)):
        remarks = verify(new, replaces=old)["remarks"]
        assert len(remarks) == 1 and remarks[0].startswith("Which of the two is older is not known")
    code, out, err = hilum("verify", undated, "--replaces", undated)
    assert code == 0 and "Look: Which of the two is older is not known" in out, err


def test_what_prediction_would_refuse_of_a_network_of_a_system_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise HilumError("HIL-M05", "calibration.json scales 9 classes", "Copy the run again")

    monkeypatch.setattr(verifying, "Trusted", refuse)
    groups = SimpleNamespace(groups=[SimpleNamespace(name="bones")])
    system: Any = SimpleNamespace(system=groups, part=lambda name: name)
    with pytest.raises(HilumError, match=r"parts/bones: calibration\.json scales 9 classes.*HIL-M05"):
        verifying.opened(system)
