"""A predictor never hands on what is no number, and says what it can not do."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from hilum.core import catalogue, resident
from hilum.core.errors import HilumError
from hilum.core.findings import Boxes, Field, Finding, Mask, Picture, Scores
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.infer import bundle
from hilum.infer._lanes import Pace
from hilum.infer.predictor import Predictor
from hilum.infer.runtimes import _choose
from hilum.io import nifti
from hilum.planning.planner import Prepared
from hilum.prepare import anatomy
from hilum.verbs import _cluster
from hilum.verbs.predict import predict

PREDICTING = [t for t, c in catalogue.cards("hilum.tasks").items() if c["infer"] != "sampler"]
Trained = Callable[[str], Run]


class Broken(nn.Module):
    """The network, one of whose outputs is no number."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *inputs: Any) -> Any:
        out = self.net(*inputs)
        if isinstance(out, dict):
            name = next(iter(out))
            levels = out[name] if isinstance(out[name], list) else [out[name]]
            levels[0].view(-1)[0] = float("nan")
        else:
            out.view(-1)[0] = float("nan")
        return out


@pytest.mark.parametrize("task", PREDICTING)
def test_m10_an_output_that_is_no_number_gives_no_result(
    task: str, trained: Trained, ready: Callable[[str], Prepared]
) -> None:
    predictor = Predictor(trained(task))
    case = next(c for c, p in ready(task).units(predictor.plan) if p == "test")
    predictor(case)
    predictor.net = Broken(predictor.net)
    with pytest.raises(HilumError) as error:
        predictor(case)
    assert error.value.code == "HIL-M10"


def test_m10_a_whole_image_gets_no_answer_that_is_the_same_whatever_is_seen(
    trained: Trained, data: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every image had the same class with the same confidence, where it had not been bundled; then on a cluster."""
    run = Run(shutil.copytree(trained("classify").path, tmp_path / "run"))
    weights = run.weights("net")
    weights["head.weight"].zero_()
    weights["head.bias"].copy_(torch.linspace(2, -1, len(weights["head.bias"])))
    save_file(weights, run.path / "weights" / "net.safetensors")
    run.write_manifest()
    image = next(path for path in sorted(data("classify").rglob("*")) if path.is_file() and path.suffix != ".csv")
    with pytest.raises(HilumError, match="one answer, whatever it sees") as error:
        predict(run.path, [image], tmp_path / "out")
    assert error.value.code == "HIL-M10" and "scores" not in "".join(p.name for p in (tmp_path / "out").rglob("*"))
    assert predict(trained("classify").path, [image], tmp_path / "other")["done"]
    monkeypatch.setattr(_cluster, "check", lambda address: None)
    monkeypatch.setattr(_cluster, "run", lambda *_: pytest.fail("it was sent to a cluster"))
    with pytest.raises(HilumError, match="one answer, whatever it sees"):
        predict(run.path, [image], tmp_path / "shared", cluster="local:1")


def test_m10_a_generator_that_gives_no_numbers_gives_no_image(trained: Trained) -> None:
    predictor = Predictor(trained("generate"))
    predictor.net = Broken(predictor.net)
    with pytest.raises(HilumError) as error:
        predictor.generate(2, 0)
    assert error.value.code == "HIL-M10"


def test_the_same_case_gives_the_same_result(trained: Trained, ready: Callable[[str], Prepared]) -> None:
    predictor = Predictor(trained("segment"))
    case = ready("segment").dataset.cases[3]
    first, again = predictor(case)["mask"], predictor(case)["mask"]
    np.testing.assert_array_equal(first.array, again.array)
    image = case.read("image")
    assert first.array.shape == image.shape
    np.testing.assert_array_equal(first.affine, image.affine)


def test_what_it_can_not_do_is_said(trained: Trained, ready: Callable[[str], Prepared]) -> None:
    with pytest.raises(HilumError) as error:
        Predictor(trained("classify"), runtime="abacus")
    assert error.value.code == "HIL-INFER-02"
    with pytest.raises(HilumError) as error:
        Predictor(trained("classify")).generate(1, 0)
    assert error.value.code == "HIL-INFER-03"
    with pytest.raises(HilumError) as error:
        Predictor(trained("register"))(ready("classify").dataset.cases[0])
    assert error.value.code == "HIL-DATA-08"
    with pytest.raises(HilumError) as error:
        Predictor(trained("generate"))(Case("a", "a", {}))
    assert error.value.code == "HIL-INFER-03"


def near(found: Any, wanted: Any) -> None:
    """As far apart as float32 is in another order, of the largest value."""
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-3 * np.abs(wanted).max(initial=0))


def alike(found: Finding, wanted: Finding) -> None:
    """One and the same finding, but for what another runtime rounds otherwise."""
    assert type(found) is type(wanted)
    if isinstance(wanted, Mask):
        assert (found.array == wanted.array).mean() > 0.99 and found.classes == wanted.classes
        assert (found.probability is None) == (wanted.probability is None)
        if wanted.probability is not None:
            near(found.probability, wanted.probability)
    elif isinstance(wanted, Scores):
        assert [row.name for row in found.rows] == [row.name for row in wanted.rows]
        near(found.vector(), wanted.vector())
    elif isinstance(wanted, Boxes):
        # of none nothing could be said
        assert len(found.array) == len(wanted.array) > 0
        near(found.array, wanted.array)
        near(found.scores, wanted.scores)
        np.testing.assert_array_equal(found.labels, wanted.labels)
    elif isinstance(wanted, Field):
        assert wanted.array.any() and found.unit == wanted.unit
        near(found.array, wanted.array)
    elif isinstance(wanted, Picture):
        assert wanted.image.array.any() and found.unit == wanted.unit
        near(found.image.array, wanted.image.array)
    else:
        pytest.fail(f"what {type(wanted).__name__} have in common is not known here")


@pytest.mark.parametrize("task", PREDICTING)
def test_auto_computes_every_task(task: str, trained: Trained, ready: Callable[[str], Prepared]) -> None:
    """Of whole images the first answer is that of PyTorch itself, whatever is asked for."""
    plain, quick = Predictor(trained(task)), Predictor(trained(task), runtime="auto")
    # enough to compute for all to be tried
    quick.expect(10**9)
    case = next(c for c, p in ready(task).units(plain.plan) if p == "test")
    wanted = plain(case)
    for _ in range(2 if catalogue.card("hilum.tasks", task)["infer"] == "whole" else 1):
        found = quick(case)
        assert found.findings.keys() == wanted.findings.keys()
        for name, finding in wanted.findings.items():
            alike(found[name], finding)
    if task in ("segment", "classify"):
        # others compute by PyTorch alone
        assert quick.computed_by is not None and len(quick.computed_by.seconds) > 1


@pytest.mark.parametrize("runtime", ["openvino", "auto"])
def test_images_of_any_size_are_computed(runtime: str, trained: Trained) -> None:
    """A converted graph is of one size."""
    import torch

    pytest.importorskip("openvino")
    predictor = Predictor(trained("segment"), runtime=runtime)
    predictor.expect(10**9)
    for side in (32, 48):
        window = torch.rand(1, 1, *[side] * predictor.plan.dims)
        with torch.inference_mode():
            found = predictor._look(window, None, 1).look(window).cpu()
            torch.testing.assert_close(found, predictor.net(window), atol=1e-3, rtol=1e-3)


def test_what_a_runtime_can_not_compute_is_refused_by_sentence(
    trained: Trained, ready: Callable[[str], Prepared]
) -> None:
    predictor = Predictor(trained("register"), runtime="torch-channels-last")
    case = next(c for c, p in ready("register").units(predictor.plan) if p == "test")
    # the second time too: torch does not take over in silence
    for _ in range(2):
        with pytest.raises(HilumError) as error:
            predictor(case)
        assert error.value.code == "HIL-INFER-13"


def test_memory_is_refused_before_it_is_taken(trained: Trained, ready: Callable[[str], Prepared]) -> None:
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    with pytest.raises(HilumError) as error:
        Predictor(trained("segment"), limit=1000)(ready("segment").dataset.cases[0])
    assert error.value.code == "HIL-INFER-01"


def test_scores_of_all_voxels_are_refused_where_there_is_no_room_and_nothing_else_changes(
    trained: Trained, ready: Callable[[str], Prepared]
) -> None:
    if not resident.now():
        pytest.skip("this system does not tell what a process holds")
    predictor, case = Predictor(trained("segment")), ready("segment").dataset.cases[0]
    mask = predictor(case)["mask"].array
    predictor.room = resident.now()
    with pytest.raises(HilumError) as error:
        predictor.opinion(case)
    assert error.value.code == "HIL-INFER-01"
    np.testing.assert_array_equal(predictor(case)["mask"].array, mask)


def test_it_predicts_in_evaluation_mode_with_the_runs_weights(trained: Trained) -> None:
    run = trained("classify")
    predictor = Predictor(run)
    assert not predictor.net.training
    for name, tensor in run.weights("net").items():
        assert torch.equal(predictor.net.state_dict()[name], tensor)


def _body(seed: int) -> Image:
    """Bright above and, further, in front."""
    rng = np.random.default_rng(seed)
    i, j, k = np.meshgrid(*[np.linspace(-1, 1, 24)] * 3, indexing="ij")
    array = np.exp(-(i**2 + j**2 + (k - 0.6) ** 2) * 3) + 2 * np.exp(-(i**2 + (j - 0.6) ** 2 + (k + 0.2) ** 2) * 12)
    array = ((array + rng.normal(0, 0.05, array.shape)) * 1000).astype(np.int16)
    return Image(array[None], np.eye(4))


def _upside_down(image: Image) -> Image:
    return image.like(np.ascontiguousarray(image.array[..., ::-1]))


@pytest.fixture
def knowing(trained: Trained, tmp_path: Path) -> Run:
    """The segment run, as if its training images had been such bodies."""
    shutil.copytree(trained("segment").path, tmp_path / "run")
    profile = anatomy.learn([b for b in (anatomy.block(_body(seed)) for seed in range(12)) if b is not None])
    assert profile is not None
    path = tmp_path / "run" / "fingerprint.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"anatomy": profile.data()}))
    run = Run(tmp_path / "run")
    run.write_manifest()
    return run


def _turned(warnings: tuple[str, ...]) -> list[str]:
    return [w for w in warnings if "HIL-M08" in w]


@pytest.mark.parametrize("form", ["run", "bundle"])
def test_m08_an_image_that_lies_otherwise_carries_a_warning(form: str, knowing: Run, tmp_path: Path) -> None:
    if form == "bundle":
        bundle.write(knowing, tmp_path / "m.hilum")
        bundle.verify(tmp_path / "m.hilum")
    predictor = Predictor(knowing if form == "run" else Run(tmp_path / "m.hilum"))
    right, wrong = _body(50), _upside_down(_body(50))
    assert _turned(predictor(Case("a", "a", {"image": right})).warnings) == []
    result = predictor(Case("a", "a", {"image": wrong}))
    (said,) = _turned(result.warnings)
    assert "superior-inferior" in said and "correlation" in said and result["mask"].array.shape == wrong.shape


def test_m08_the_warning_is_in_the_record_of_predictions(knowing: Run, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    nifti.write(tmp_path / "in" / "right.nii.gz", _body(50))
    nifti.write(tmp_path / "in" / "wrong.nii.gz", _upside_down(_body(50)))
    record = predict(knowing.path, [tmp_path / "in"], tmp_path / "out")
    assert _turned(tuple(record["done"]["right"]["warnings"])) == []
    assert len(_turned(tuple(record["done"]["wrong"]["warnings"]))) == 1


def test_m08_the_image_is_read_once_and_its_source_stays_what_it_is(
    knowing: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting:
        path, times = Path("somewhere.nii.gz"), 0

        def read(self, region: Any = None, level: int = 0) -> Image:
            self.times += 1
            return _upside_down(_body(50))

    seen: list[Any] = []
    predictor, source = Predictor(knowing), Counting()
    prepare = predictor.task.prepare

    def watched(case: Case, truth: bool = True) -> dict[str, Any]:
        seen.append(case.items["image"].path)
        return prepare(case, truth)

    monkeypatch.setattr(predictor.task, "prepare", watched)
    assert len(_turned(predictor(Case("a", "a", {"image": source})).warnings)) == 1
    assert source.times == 1 and seen == [source.path]


def test_m08_a_run_that_learned_no_orientation_says_nothing(trained: Trained) -> None:
    predictor = Predictor(trained("segment"))
    assert predictor.anatomy is None, "four cases are too few"
    assert _turned(predictor(Case("a", "a", {"image": _upside_down(_body(50))})).warnings) == []


def test_m05_a_spoilt_average_is_refused(knowing: Run) -> None:
    path = knowing.path / "fingerprint.json"
    facts = json.loads(path.read_text())
    facts["anatomy"]["mean"] = "AAAA"
    path.write_text(json.dumps(facts))
    knowing.write_manifest()
    with pytest.raises(HilumError) as error:
        Predictor(knowing)
    assert error.value.code == "HIL-M05"


def test_m05_the_average_in_a_bundle_is_held_to_its_hash(knowing: Run, tmp_path: Path) -> None:
    bundle.write(knowing, tmp_path / "m.hilum")
    with zipfile.ZipFile(tmp_path / "m.hilum") as archive:
        files = {n: archive.read(n) for n in archive.namelist()}
    assert "fingerprint.json" not in files, "it speaks of single cases"
    with zipfile.ZipFile(tmp_path / "n.hilum", "w") as archive:
        for name, content in files.items():
            archive.writestr(
                name, content.replace(b'"cases": 12', b'"cases": 99') if name == "anatomy.json" else content
            )
    with pytest.raises(HilumError, match="HIL-M05"):
        Predictor(Run(tmp_path / "n.hilum"))


def test_the_record_says_how_windows_were_put_to_the_network(
    trained: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a limit of memory it said "2 by threads", as the runtime would without one."""
    # with as many processors as that takes
    monkeypatch.setattr(_choose, "usual_pace", lambda _: Pace(2))
    values = np.random.default_rng(0).standard_normal((1, 64, 64, 64)).astype(np.float32)
    case = Case("one", "", {"image": Image(values, np.eye(4))})
    for limit, wanted in ((None, "2 by threads"), (64 << 30, "in turn")):
        predictor = Predictor(trained("segment"), limit=limit)
        assert predictor.told(case)[1]["windows"] == wanted, limit
