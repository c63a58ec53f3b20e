"""A graph of eight bits: made on real windows, measured, stored with the run, refused where it does not fit."""

import contextlib
import errno
import importlib.util
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.core.calibration import Opinions
from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundle as bundles
from hilum.infer import quantise
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes import _choose
from hilum.planning.planner import Prepared

pytest.importorskip("openvino")
pytest.importorskip("nncf")


@pytest.fixture(scope="module")
def eight(
    trained: Callable[[str], Run], ready: Callable[[str], Prepared], tmp_path_factory: pytest.TempPathFactory
) -> Run:
    """A run with such a graph, made as the verb does."""
    path = tmp_path_factory.mktemp("eight") / "run"
    shutil.copytree(trained("segment").path, path)
    run = Run(path)
    cases = [c for c, p in ready("segment").units(run.plan) if p == "train"]
    (path / "graphs").mkdir()
    for name, content in quantise.graph(Predictor(run), quantise.sample(Predictor(run), cases)).items():
        (path / "graphs" / name).write_bytes(content)
    run.write_manifest()
    return run


def test_it_says_nearly_the_same(eight: Run, ready: Callable[[str], Prepared]) -> None:
    case = next(c for c, p in ready("segment").units(eight.plan) if p == "test")
    full, small = Predictor(eight), Predictor(eight, runtime="openvino-int8")
    wanted = full.opinion(case).logits.softmax(0).topk(2, dim=0).values
    # a network of a few steps is undecided about some voxels, and there a rounding decides
    sure = (wanted[0] - wanted[1] > 0.1).numpy()
    a, b = full.answer(case), small.answer(case)
    assert sure.sum() > 10_000
    same = a.prepared["placed"].labels_back(sure.astype(np.uint8)) > 0
    assert (a.result["mask"].array == b.result["mask"].array)[same].mean() > 0.97
    assert small.computed_by is not None and small.computed_by.name == "openvino-int8"


def test_without_a_graph_the_remedy_is_named(trained: Callable[[str], Run], ready: Callable[[str], Prepared]) -> None:
    with pytest.raises(HilumError) as error:
        Predictor(trained("segment"), runtime="openvino-int8")(ready("segment").dataset.cases[0])
    assert error.value.code == "HIL-INFER-14" and "hilum quantise" in str(error.value)


@pytest.mark.parametrize("kind", ["another task", "an ensemble"])
def test_where_no_graph_can_be_made_that_is_said_before_anything_is_computed(
    kind: str, trained: Callable[[str], Run], tmp_path: Path
) -> None:
    """The remedy would else be what is refused."""
    run = trained("classify")
    if kind == "an ensemble":
        shutil.copytree(trained("segment").path, tmp_path / "run")
        run = Run(tmp_path / "run")
        known = run.calibration
        assert known is not None
        made = known.model_copy(update={"opinions": Opinions(kind="ensemble", count=2)})
        (run.path / "calibration.json").write_text(made.model_dump_json())
        run.write_manifest()
    with pytest.raises(HilumError) as error:
        Predictor(run, runtime="openvino-int8")
    assert error.value.code == "HIL-INFER-15" and "hilum quantise" not in str(error.value)


def test_m05_a_changed_graph_is_refused(eight: Run, tmp_path: Path) -> None:
    shutil.copytree(eight.path, tmp_path / "run")
    weights = tmp_path / "run" / "graphs" / "openvino_int8.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\\0")
    with pytest.raises(HilumError) as error:
        Predictor(Run(tmp_path / "run"), runtime="openvino-int8")
    assert error.value.code == "HIL-M05"


def test_m10_a_graph_of_other_weights_is_refused(eight: Run, ready: Callable[[str], Prepared], tmp_path: Path) -> None:
    """Hashed and whole, but it does not say what the network beside it says."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(eight.path, tmp_path / "run")
    path = tmp_path / "run" / "weights" / "net.safetensors"
    # the head is computed apart from the graph
    save_file({k: v if k.startswith("head") else np.flip(v).copy() for k, v in load_file(path).items()}, path)
    Run(tmp_path / "run").write_manifest()
    with pytest.raises(HilumError) as error:
        Predictor(Run(tmp_path / "run"), runtime="openvino-int8")(ready("segment").dataset.cases[0])
    assert error.value.code == "HIL-M10" and "another class" in str(error.value)


def test_verifying_a_bundle_compares_its_graph_of_eight_bits(
    eight: Run, hilum: Callable[..., tuple[int, str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "graphs/openvino_int8.xml"
    bundles.write(eight, tmp_path / "a.hilum")
    found = bundles.verify(tmp_path / "a.hilum")
    assert 0 < found["graphs"][name] < _choose.card("openvino-int8")["tolerance"] and not found["unverified"]
    code, out, _ = hilum("verify", tmp_path / "a.hilum")
    assert code == 0 and f"{name} says the same within" in out
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *_: None if n == "openvino" else find(n))
    code, out, _ = hilum("verify", tmp_path / "a.hilum")
    assert code == 0 and f"{name} was not compared: it needs the extra openvino" in out.replace("\n", " ")


@pytest.mark.parametrize("kind", ["other weights", "damaged", "half"])
def test_m10_a_bundle_with_a_wrong_graph_of_eight_bits_is_not_whole(kind: str, eight: Run, tmp_path: Path) -> None:
    shutil.copytree(eight.path, tmp_path / "run")
    graphs = tmp_path / "run" / "graphs"
    if kind == "other weights":
        other = Predictor(eight)
        with torch.no_grad():
            for weight in other.net.parameters():
                weight.copy_(weight.flatten().flip(0).reshape(weight.shape))
        window = np.random.default_rng(0).normal(0, 1, (1, 1, *other.plan.patch)).astype(np.float32)
        for name, content in quantise.graph(other, [window]).items():
            (graphs / name).write_bytes(content)
    elif kind == "damaged":
        (graphs / "openvino_int8.xml").write_text("<net")
    else:
        (graphs / "openvino_int8.bin").unlink()
    Run(tmp_path / "run").write_manifest()
    bundles.write(Run(tmp_path / "run"), tmp_path / "a.hilum")
    with pytest.raises(HilumError) as error:
        bundles.verify(tmp_path / "a.hilum")
    assert error.value.code == ("HIL-RUN-03" if kind == "half" else "HIL-M10")


def test_a_graph_that_nothing_reads_is_named(eight: Run, tmp_path: Path) -> None:
    shutil.copytree(eight.path, tmp_path / "run")
    (tmp_path / "run" / "graphs" / "x.engine").write_bytes(b"graph")
    Run(tmp_path / "run").write_manifest()
    bundles.write(Run(tmp_path / "run"), tmp_path / "a.hilum")
    found = bundles.verify(tmp_path / "a.hilum")
    assert found["graphs"]["graphs/x.engine"] is None and list(found["unverified"]) == ["graphs/x.engine"]


def test_windows_with_structure_are_taken(trained: Callable[[str], Run], ready: Callable[[str], Prepared]) -> None:
    predictor = Predictor(trained("segment"))
    cases = ready("segment").dataset.cases
    found = quantise.sample(predictor, cases)
    assert 0 < len(found) <= quantise.WINDOWS
    assert all(one.shape == (1, 1, *predictor.plan.patch) for one in found)
    np.testing.assert_array_equal(found[0], quantise.sample(predictor, cases)[0])


def test_the_verb_measures_what_it_costs(
    trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    from hilum.verbs.quantise import quantise as verb

    with pytest.raises(HilumError) as error:
        verb(trained("classify").path, data("classify"))
    assert error.value.code == "HIL-INFER-15" and "--runtime" not in error.value.remedy, "quantise has no such option"
    shutil.copytree(trained("segment").path, tmp_path / "run")
    found = verb(tmp_path / "run", data("segment"))
    assert found["cases"] >= 1 and 0 <= found["same"] <= 1 and found["headline"] == "dice"
    assert found["difference"] == pytest.approx(found["eight"] - found["full"])
    assert json.loads((tmp_path / "run" / "graphs" / "openvino_int8.json").read_text()) == found
    run = Run(tmp_path / "run")
    run.check_hashes()
    assert run.ledger()[-1]["event"] == "quantise"


@pytest.fixture
def quick(ready: Callable[[str], Prepared], monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], object]:
    """The verb, with what takes long left out; each call makes other files."""
    from hilum.verbs import _same
    from hilum.verbs import quantise as verb

    made = iter(range(1000))

    def graph(*_: object) -> dict[str, bytes]:
        return {f"openvino_int8.{ending}": f"{ending} {next(made)}".encode() for ending in ("xml", "bin")}

    monkeypatch.setattr(_same, "look", lambda *_: ready("segment"))
    monkeypatch.setattr(verb.eight, "sample", lambda *_, **__: [])
    monkeypatch.setattr(verb.eight, "graph", graph)
    monkeypatch.setattr(verb, "_compared", lambda *_: {"cases": next(made)})
    return lambda path: verb.quantise(path, "data")


PLACES = [*(f"graphs/openvino_int8.{ending}" for ending in ("xml", "bin", "json")), "manifest.json"]
# In the order in which the verb puts them there.


def failing(patch: pytest.MonkeyPatch, name: str, number: int) -> list[int]:
    """The number-th call of this function of `os` fails, as on a full disk; what is returned counts the calls."""
    asked, honest = [0], getattr(os, name)

    def counted(*words: object, **named: object) -> object:
        asked[0] += 1
        if asked[0] == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return honest(*words, **named)

    patch.setattr(os, name, counted)
    return asked


@pytest.mark.parametrize("before", ["never quantised", "quantised before"])
def test_t02_a_disk_that_is_full_while_quantising_leaves_the_run_as_it_was(
    before: str, quick: Callable[[Path], object], trained: Callable[[str], Run], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, number = tmp_path / "run", 0
    shutil.copytree(trained("segment").path, path)
    if before == "quantised before":
        quick(path)
    while True:
        number += 1
        old = {name: Run(path).read(name) for name in Run(path).names() if "ledger" not in name}
        with monkeypatch.context() as patch:
            asked = failing(patch, "fsync", number)
            with contextlib.suppress(OSError):
                quick(path)
        if asked[0] < number:
            break
        now = {name: Run(path).read(name) for name in Run(path).names() if "ledger" not in name}
        # four calls put the files on the disk, one more each once a file has its place; the last two are the ledger's
        placed = PLACES[: max(0, number - 4)]
        assert [name for name in PLACES if now.get(name) != old.get(name)] == placed
        assert {n: now[n] for n in now if n not in placed} == {n: old[n] for n in old if n not in placed}
        assert not list(path.rglob(".part-*"))
        quick(path)
        Run(path).check_hashes()
    assert number == 11, "the ledger is put on the disk and takes its place too"


def test_t01_quantising_that_was_cut_off_between_two_files_can_be_repeated(
    quick: Callable[[Path], object], trained: Callable[[str], Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, number = tmp_path / "run", 0
    shutil.copytree(trained("segment").path, path)
    while True:
        number += 1
        with monkeypatch.context() as patch:
            asked = failing(patch, "replace", number)
            with contextlib.suppress(OSError):
                quick(path)
        if asked[0] < number:
            break
        # what is left where the process was killed while it wrote
        (path / "graphs" / ".part-xyz.xml").write_text("half")
        quick(path)
        Run(path).check_hashes()
    assert number == 6, "two files of the graph, what it costs, the manifest and the ledger"


def test_a_run_that_differs_elsewhere_is_not_taken_up(
    quick: Callable[[Path], object], trained: Callable[[str], Run], tmp_path: Path
) -> None:
    path = tmp_path / "run"
    shutil.copytree(trained("segment").path, path)
    quick(path)
    (path / "graphs" / "openvino_int8.bin").write_bytes(b"other")
    (path / "seen.json").write_text("{}")
    with pytest.raises(HilumError) as error:
        quick(path)
    assert error.value.code == "HIL-M05"
