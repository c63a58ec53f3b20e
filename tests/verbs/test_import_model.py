"""Weights from elsewhere become a run or a bundle: by data alone, all of them, or not at all."""

import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from hilum.core.errors import HilumError
from hilum.core.image import Case, Image
from hilum.core.run import Run
from hilum.evaluation import model_card
from hilum.infer import bundle
from hilum.infer.predictor import open_predictor
from hilum.verbs import _monai_folder
from hilum.verbs.import_model import import_model
from hilum.zoo import nnunet, resnet, unet, unetpp

FACTS: dict[str, Any] = {
    "classes": {3: "nucleus"},
    "channels": ["grey"],
    "patch": [16, 16],
    "normalisation": {"scheme": "zscore"},
    "terms": "CC BY 4.0",
}
NET = "nnunet:features=[4,8]:strides=[1,2]"


def network() -> nnunet.Net:
    torch.manual_seed(1)
    return nnunet.Net(1, 2, 2, features=[4, 8], strides=[1, 2]).eval()


@pytest.fixture
def facts(tmp_path: Path) -> Path:
    path = tmp_path / "facts.yaml"
    path.write_text(yaml.safe_dump(FACTS))
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.save({"state_dict": {f"net.{n}": v for n, v in network().state_dict().items()}}, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def refused(code: str, *words: Any, **options: Any) -> HilumError:
    with pytest.raises(HilumError) as error:
        import_model(*words, **options)
    assert error.value.code == code and not Path(words[1]).exists()
    return error.value


def test_the_card_of_an_import_knows_nothing_of_its_training(weights: Path, facts: Path, tmp_path: Path) -> None:
    """It told what Hilum does by itself: optimiser, seed 0, no augmentation, and that the last step was kept."""
    import_model(weights, tmp_path / "run", net=NET, facts=facts)
    import_model(weights, tmp_path / "model.hilum", net=NET, facts=facts)
    metrics = {"task": "segment", "part": "all", "cases": 3, "groups": 3, "missing": 0, "metrics": {}}
    for model in ("run", "model.hilum"):
        made = model_card.card(Run(tmp_path / model), metrics)
        lines = {f"{field.key}: {name}": words for field in made.fields for name, words in field.lines}
        assert lines["training: imported from"].startswith("model.pt (SHA-256 ")
        asked = ("settings", "augmentation", "batch", "weights that are kept", "seed", "steps", "starting weights")
        assert {lines[f"training: {name}"] for name in asked} == {lines["split: assigned"]} == {"not known"}
        assert "not on record whether the model has learned" in lines["performance: data of other origin"]
        assert {row["status"] for row in made.checklist("claim") if row["item"] in ("24", "25", "26")} == {"not known"}
        assert made.found["seeds"] == {"training": "not known", "split": "not known"}


def test_the_plan_of_another_run_says_how_weights_are_used_and_not_how_they_were_trained(
    weights: Path, facts: Path, tmp_path: Path
) -> None:
    import_model(weights, tmp_path / "run", net=NET, facts=facts)
    known = Run(tmp_path / "run").plan.edited(
        {"steps": 900, "minutes": 20.0, "seed": 7, "data.fingerprint": "abc", "data.grouping": "a", "data.name": "b"}
    )
    known.write(tmp_path / "plan.json")
    import_model(weights, tmp_path / "second", facts=tmp_path / "plan.json")
    made = model_card.card(Run(tmp_path / "second"))
    lines = {f"{field.key}: {name}": words for field in made.fields for name, words in field.lines}
    names = ("training: steps", "training: seed", "split: assigned", "split: level", "data: fingerprint", "data: name")
    assert {lines[name] for name in names} == {"not known"}


def test_a_state_dict_a_name_and_facts_make_a_run_that_predicts(weights: Path, facts: Path, tmp_path: Path) -> None:
    done = import_model(weights, tmp_path / "run", net=NET, facts=facts)
    assert "100.0%" in done["sentence"] and all(row["became"] == "matched" for row in done["tensors"])
    run = Run(tmp_path / "run")
    run.check_hashes()
    assert run.plan.data["terms"] == "CC BY 4.0" and run.ledger()[0]["event"] == "import"
    image = np.random.default_rng(0).random((1, 16, 16)).astype(np.float32)
    mask = open_predictor(tmp_path / "run")(Case("a", "a", {"image": Image(image)}))["mask"]
    with torch.inference_mode():
        scaled = torch.from_numpy((image - image.mean()) / image.std())
        wanted = network()(scaled[None])[0].argmax(0).numpy() * 3
    np.testing.assert_array_equal(np.asarray(mask.array), wanted)
    assert dict(mask.classes) == {3: "nucleus"}


def test_it_becomes_a_bundle_as_well(weights: Path, facts: Path, tmp_path: Path) -> None:
    import_model(weights, tmp_path / "model.hilum", net=NET, facts=facts)
    card = bundle.verify(tmp_path / "model.hilum")
    assert card["terms_of_weights"] == "CC BY 4.0" and card["made"]
    text = Run(tmp_path / "model.hilum").read("model_card.md").decode()
    assert "model.pt" in text and "CC BY 4.0" in text


def test_other_tasks_are_imported_too(tmp_path: Path) -> None:
    net = resnet.Net(1, 3, 2, depth=18, width=8)
    save_file(net.state_dict(), tmp_path / "x.safetensors")
    told = {"task": "classify", "classes": ["a", "b", "c"], "patch": [32, 32], "normalisation": {"scheme": "none"}}
    (tmp_path / "facts.json").write_text(json.dumps(told))
    import_model(
        tmp_path / "x.safetensors", tmp_path / "run", net="resnet:depth=18:width=8", facts=tmp_path / "facts.json"
    )
    scores = open_predictor(tmp_path / "run")(Case("a", "a", {"image": Image(np.zeros((1, 32, 32)))}))["scores"]
    assert [row.name for row in scores.rows] == ["a", "b", "c"]


def test_a_plan_of_another_run_serves_as_facts(weights: Path, facts: Path, tmp_path: Path) -> None:
    """Its terms are those of the data of that run: weights from elsewhere were made public under them."""
    import_model(weights, tmp_path / "first", net=NET, facts=facts)
    first = Run(tmp_path / "first").plan
    done = import_model(weights, tmp_path / "second", facts=tmp_path / "first" / "plan.json")
    assert Run(tmp_path / "second").plan == first.edited({"data.terms": "unknown"})
    assert done["terms"] == Run(tmp_path / "second").json("start.json")["source"]["terms"] == "unknown"
    assert any("as a key `terms` beside `task`" in words for words in done["notes"])
    with pytest.raises(HilumError, match="HIL-INFER-10"):
        bundle.write(Run(tmp_path / "second"), tmp_path / "public.hilum", public=True)
    stated = json.loads(first.text()) | {"terms": first.data["terms"]}
    (tmp_path / "plan.json").write_text(json.dumps(stated))
    done = import_model(weights, tmp_path / "third", facts=tmp_path / "plan.json")
    assert Run(tmp_path / "third").plan == first and done["terms"] == "CC BY 4.0" and not done["notes"]
    (tmp_path / "plan.json").write_text(json.dumps(stated | {"terms": ["CC0"]}))
    refused("HIL-PLAN-03", weights, tmp_path / "fourth", facts=tmp_path / "plan.json")


@pytest.mark.parametrize("name", ["facts.json", "facts.yaml"])
def test_facts_that_are_nested_without_end_are_refused(name: str, weights: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_text("[" * 20_000)
    refused("HIL-PLAN-01", weights, tmp_path / "run", net=NET, facts=tmp_path / name)


@pytest.mark.parametrize(
    "options",
    [
        {"convs": 10**9},
        {"features": [128] * 40, "strides": [1] * 40},
        {"features": [4, 10**7]},
        {"features": [4] * 10**5, "strides": [1] * 10**5},
        {"kernels": [[10**4 + 1] * 2] * 2},
    ],
    ids=["layers without end", "many wide stages", "a wide stage", "stages without end", "wide kernels"],
)
def test_m07_a_network_that_is_far_larger_than_its_weights_is_not_built(
    options: dict[str, Any], weights: Path, facts: Path, tmp_path: Path
) -> None:
    """A plan of a few bytes filled the memory, or the import never ended."""
    import_model(weights, tmp_path / "run", net=NET, facts=facts)
    plan = json.loads((tmp_path / "run" / "plan.json").read_text())
    plan["networks"]["net"]["options"] |= options
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    error = refused("HIL-M07", weights, tmp_path / "again", facts=tmp_path / "plan.json")
    assert "far larger than the weights" in error.seen


def test_a_trained_unetpp_is_pruned_by_its_own_plan_with_another_level(facts: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = unetpp.Net(1, 2, 2, widths=[4, 8, 16], dropout=0.0).eval()
    save_file(net.state_dict(), tmp_path / "whole.safetensors")
    whole = tmp_path / "whole"
    import_model(tmp_path / "whole.safetensors", whole, net="unetpp:widths=[4,8,16]:dropout=0.0", facts=facts)
    import_model(
        whole / "weights" / "net.safetensors", tmp_path / "fast", facts=whole / "plan.json", settings={"level": 1}
    )
    x = torch.randn(1, 1, 16, 16)
    fast = open_predictor(tmp_path / "fast").net
    with torch.no_grad():
        torch.testing.assert_close(fast(x), net.pruned(1)(x))
        assert not torch.equal(fast(x), net(x))


def test_m07_weights_that_do_not_fill_the_network_are_refused(weights: Path, facts: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    refused("HIL-LEARN-22", weights, out, net="nnunet:features=[4,12]:strides=[1,2]", facts=facts)
    refused("HIL-LEARN-22", weights, out, net="nnunet:features=[4,8,8]:strides=[1,2,2]", facts=facts)
    extra = network().state_dict() | {"backdoor": torch.ones(2)}
    save_file(extra, tmp_path / "x.safetensors")
    refused("HIL-LEARN-22", tmp_path / "x.safetensors", out, net=NET, facts=facts)
    # a name that the translator of nnU-Net's names stumbles over
    save_file(network().state_dict() | {"decoder.seg_layers.a.weight": torch.ones(2)}, tmp_path / "y.safetensors")
    refused("HIL-LEARN-22", tmp_path / "y.safetensors", out, net=NET, facts=facts)


def test_what_is_missing_is_asked_for(weights: Path, facts: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    refused("HIL-INFER-34", weights, out, net=NET)
    refused("HIL-INFER-34", weights, out, facts=facts)
    refused("HIL-INFER-34", weights, out, net=NET, facts=facts, orientation="RAS")
    refused("HIL-INFER-34", tmp_path, out, net=NET, facts=facts)
    refused("HIL-RUN-01", tmp_path / "nothing", out, net=NET, facts=facts)
    refused("HIL-INFER-09", weights, out, net=NET, facts=facts, sign=tmp_path / "a.key")
    refused("HIL-CORE-02", weights, out, net="nnunett", facts=facts)
    refused("HIL-PLAN-02", weights, out, net="nnunet:colour=3", facts=facts)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"patch": [15, 16]}, "HIL-ZOO-02"),
        ({"patch": "${import os}"}, "HIL-PLAN-03"),
        ({"_target_": "os.system"}, "HIL-PLAN-02"),
        ({"normalisation": {"scheme": "$eval(1)"}}, "HIL-PLAN-03"),
        ({"task": "http://somewhere/task.json"}, "HIL-CORE-02"),
        ({"classes": {1: "a", 2: "a"}}, "HIL-PLAN-03"),
        ({"classes": {0: "background", 1: "a"}}, "HIL-PLAN-03"),
        ({"options": {"loss": "__import__"}}, "HIL-CORE-02"),
    ],
)
def test_m06_facts_are_data_and_nonsense_is_refused(
    change: dict[str, Any], code: str, weights: Path, tmp_path: Path
) -> None:
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(FACTS | change))
    refused(code, weights, tmp_path / "run", net=NET, facts=tmp_path / "odd.yaml")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"normalisation": {"scheme": "ct", "low": -100, "high": 200}}, "'ct' lacks mean, std"),
        ({"normalisation": [{"scheme": "ct", "mean": 0, "std": 1}]}, "'ct' lacks high, low"),
        ({"normalisation": {"scheme": "scale"}}, "'scale' lacks high, low"),
        ({"normalisation": {"scheme": "scale", "low": 0, "high": 255, "std": 3}}, "'scale' does not use std"),
        ({"normalisation": {"scheme": "zscore", "low": -57, "high": 164}}, "'zscore' does not use high, low"),
        ({"normalisation": {"scheme": "none", "mean": 40}}, "'none' does not use mean"),
        ({"normalisation": {"scheme": "scale", "low": 164, "high": -57}}, "low, 164, is above high, -57"),
        ({"normalisation": [{"scheme": "scale", "low": 3, "high": 3}]}, "'scale' has low and high both 3"),
        ({"normalisation": [{"scheme": "ct", "low": 0, "high": 1, "mean": 0, "std": 0}]}, "std is 0, and must"),
        ({"spacing": [0.5, 0.5]}, "pictures have no size in mm"),
    ],
)
def test_facts_that_would_be_read_as_something_else_are_refused(
    change: dict[str, Any], words: str, weights: Path, tmp_path: Path
) -> None:
    """A number that was left out was 0 or 1, one that no scheme uses was passed over, and pictures were enlarged."""
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump(FACTS | change))
    error = refused("HIL-PLAN-03", weights, tmp_path / "run", net=NET, facts=tmp_path / "odd.yaml")
    assert words in error.seen and "odd.yaml" in error.seen


@pytest.mark.parametrize(
    "rule",
    [
        {"scheme": "ct", "low": -100, "high": 200, "mean": 0, "std": 1},
        {"scheme": "scale", "low": 0, "high": 1},
        # as plan.json has it
        {"scheme": "zscore", "low": 0.0, "high": 1.0, "mean": 0.0, "std": 1.0},
        {"scheme": "zscore_box"},
    ],
)
def test_a_whole_normalisation_is_taken_as_it_is(rule: dict[str, Any], weights: Path, tmp_path: Path) -> None:
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump(FACTS | {"normalisation": rule}))
    import_model(weights, tmp_path / "run", net=NET, facts=tmp_path / "facts.yaml")
    found = Run(tmp_path / "run").plan.normalisation[0].model_dump()
    assert {name: found[name] for name in rule} == rule


def test_m06_yaml_that_makes_objects_is_refused(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text("patch: !!python/object/apply:os.getcwd []\n")
    refused("HIL-PLAN-01", weights, tmp_path / "run", net=NET, facts=tmp_path / "odd.yaml")


def test_m06_a_plan_can_not_import_or_evaluate_anything(weights: Path, facts: Path, tmp_path: Path) -> None:
    import_model(weights, tmp_path / "run", net=NET, facts=facts)
    for name in ("os.system", "../../evil", "hilum.core.run", "$import os"):
        plan = json.loads((tmp_path / "run" / "plan.json").read_text())
        plan["networks"]["net"]["name"] = name
        (tmp_path / "odd.json").write_text(json.dumps(plan))
        refused("HIL-CORE-02", weights, tmp_path / "again", facts=tmp_path / "odd.json")


def packed(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_dot_", "."), content)
    return path


def test_m01_and_m03_files_that_hold_code_or_a_graph_are_refused(facts: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (canary,)

    evil = pickle.dumps(Evil())
    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object))
    (tmp_path / "b.pkl").write_bytes(evil)
    (tmp_path / "c.safetensors").write_bytes(evil)
    torch.save({"state_dict": Evil()}, tmp_path / "d.pt")
    packed(tmp_path / "e.pt", model__data_dot_pkl=evil)
    packed(tmp_path / "f.ts", model__data_dot_pkl=b"\x80\x02}.", model__constants_dot_pkl=b"\x80\x02).")
    packed(tmp_path / "g.keras", config_dot_json=b'{"class_name": "Lambda"}', model_dot_weights_dot_h5=b"\x89HDF")
    packed(tmp_path / "h.joblib", x=evil)
    (tmp_path / "i.onnx").write_bytes(b"\x08\x07\x12\x07pytorch:\x1a\x0flocation\x12\x08../../etc")
    (tmp_path / "j.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(64))
    for path in sorted(p for p in tmp_path.iterdir() if p.name[1] == "."):
        with pytest.raises(HilumError) as error:
            import_model(path, tmp_path / "run", net=NET, facts=facts)
        assert error.value.code in ("HIL-M01", "HIL-M04", "HIL-LEARN-21"), path
        assert not canary.exists() and not (tmp_path / "run").exists()


def test_m02_no_loader_that_runs_code_is_used_anywhere() -> None:
    """Foreign pickles are read by Hilum's own reader; torch.load, pickle and joblib are called nowhere.

    Nor is a module imported that unpickles, under whatever name it were then called; NumPy is told not to.
    """
    import ast

    import hilum

    banned = {"torch.load", "pickle.load", "pickle.loads", "joblib.load", "torch.jit.load", "torch.hub.load", "eval"}
    banned |= {"exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "marshal.loads", "torch.export.load"}
    modules = {"pickle", "_pickle", "dill", "joblib", "cloudpickle", "marshal", "shelve"}
    for path in Path(next(iter(hilum.__path__))).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            assert not (isinstance(node, ast.Call) and ast.unparse(node.func) in banned), (path, node.lineno)
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            assert not modules & {name.split(".")[0] for name in names}, (path, names)
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, (path, node.value.lineno)


@pytest.fixture
def monai(tmp_path: Path) -> Path:
    """A MONAI bundle as it is published: a network and transforms to run, weights, and metadata."""
    folder = tmp_path / "spleen"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    config = {
        "imports": ["$import glob"],
        "network_def": {"_target_": "monai.networks.nets.DynUNet", "spatial_dims": 2},
        "preprocessing": {"_target_": "Compose", "transforms": ["$print('ran')"]},
    }
    metadata = {
        "name": "spleen",
        "network_data_format": {
            "inputs": {"image": {"num_channels": 1, "channel_def": {"0": "CT"}}},
            "outputs": {"pred": {"channel_def": {"0": "background", "1": "spleen"}}},
        },
    }
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata))
    torch.save({"model": network().state_dict()}, folder / "models" / "model.pt")
    return folder


def test_m06_a_monai_bundle_is_not_run_and_says_what_to_do(monai: Path, facts: Path, tmp_path: Path) -> None:
    error = refused("HIL-M06", monai, tmp_path / "run")
    assert "DynUNet" in error.seen and "--net" in error.remedy
    refused("HIL-M06", monai, tmp_path / "run", net=NET)
    refused("HIL-M06", monai, tmp_path / "run", facts=facts)


def test_a_monai_bundle_without_weights_is_refused(monai: Path, facts: Path, tmp_path: Path) -> None:
    """TorchScript is no weights: it holds code."""
    (monai / "models" / "model.pt").rename(monai / "models" / "model.ts")
    error = refused("HIL-INFER-36", monai, tmp_path / "run", net=NET, facts=facts)
    assert "has no models/model.pt" in error.seen and "with its weights" in error.remedy


def test_a_monai_bundle_whose_metadata_are_nested_without_end_is_refused(monai: Path, tmp_path: Path) -> None:
    (monai / "configs" / "metadata.json").write_text("[" * 200_000)
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump(FACTS))
    refused("HIL-INFER-36", monai, tmp_path / "run", net=NET, facts=tmp_path / "facts.yaml")


def test_with_a_name_and_facts_a_monai_bundle_gives_weights_classes_and_channels(monai: Path, tmp_path: Path) -> None:
    told = {"patch": [16, 16], "normalisation": {"scheme": "scale", "low": -57, "high": 164}}
    (tmp_path / "short.yaml").write_text(yaml.safe_dump(told))
    done = import_model(monai, tmp_path / "run", net=NET, facts=tmp_path / "short.yaml")
    plan = Run(tmp_path / "run").plan
    assert done["classes"] == ["spleen"] and plan.channels == ["CT"] and plan.data["name"] == "spleen"
    assert plan.data["terms"] == "unknown"


@pytest.mark.parametrize("outputs", [{"0": "core", "1": "whole"}, {"0": "background", "2": "spleen"}, {}])
def test_outputs_of_a_monai_bundle_that_are_no_classes_are_left_to_the_facts(
    monai: Path, tmp_path: Path, outputs: dict[str, str]
) -> None:
    """Masks that overlap have an output each and no background: the first is a structure like the others."""
    path = monai / "configs" / "metadata.json"
    told = json.loads(path.read_text())
    told["network_data_format"]["outputs"]["pred"]["channel_def"] = outputs
    path.write_text(json.dumps(told))
    (tmp_path / "short.yaml").write_text("patch: [16, 16]\nnormalisation: {scheme: zscore}\n")
    error = refused("HIL-INFER-34", monai, tmp_path / "run", net=NET, facts=tmp_path / "short.yaml")
    assert "classes" in error.remedy


def test_classes_of_a_monai_bundle_are_in_the_order_of_their_outputs(monai: Path) -> None:
    """JSON keys are often sorted as text: "0", "1", "10", "2"."""
    path = monai / "configs" / "metadata.json"
    told = json.loads(path.read_text())
    names = {str(n): f"c{n}" if n else "background" for n in range(12)}
    told["network_data_format"]["outputs"]["pred"]["channel_def"] = dict(sorted(names.items()))
    path.write_text(json.dumps(told))
    assert list(_monai_folder.facts(monai)["classes"].items()) == [(n, f"c{n}") for n in range(1, 12)]


def test_m10_a_network_whose_answer_has_another_size_is_refused(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(unet.Net(1, 2, 2, widths=[4, 8], padding="valid").state_dict(), tmp_path / "x.safetensors")
    (tmp_path / "facts.yaml").write_text(yaml.safe_dump(FACTS | {"patch": [20, 20]}))
    net = "unet:widths=[4,8]:padding=valid"
    refused("HIL-M10", tmp_path / "x.safetensors", tmp_path / "run", net=net, facts=tmp_path / "facts.yaml")


def test_m10_a_network_that_always_gives_one_value_is_refused(facts: Path, tmp_path: Path) -> None:
    save_file({n: torch.zeros_like(v) for n, v in network().state_dict().items()}, tmp_path / "x.safetensors")
    refused("HIL-M10", tmp_path / "x.safetensors", tmp_path / "run", net=NET, facts=facts)


def test_m10_dead_weights_with_a_bias_are_refused(facts: Path, tmp_path: Path) -> None:
    weights = network().state_dict()
    weights["head.weight"].zero_()
    weights["head.bias"].copy_(torch.tensor([2.0, -1.0]))
    save_file(weights, tmp_path / "x.safetensors")
    refused("HIL-M10", tmp_path / "x.safetensors", tmp_path / "run", net=NET, facts=facts)


@pytest.mark.parametrize(
    ("settings", "code", "words"),
    [
        ({"data.normalize_first": True}, "HIL-PLAN-02", "normalise_first"),
        ({"data.normalise_first": "False"}, "HIL-PLAN-03", "true or false"),
        ({"data.normalise_first": 0}, "HIL-PLAN-03", "true or false"),
    ],
)
def test_what_is_said_of_the_data_is_known_and_of_its_kind(
    settings: dict[str, Any], code: str, words: str, weights: Path, facts: Path, tmp_path: Path
) -> None:
    """A word that is not empty is true, and a key of another spelling was kept and passed over."""
    assert words in str(refused(code, weights, tmp_path / "run", net=NET, facts=facts, settings=settings))
    import_model(weights, tmp_path / "run", net=NET, facts=facts, settings={"data.normalise_first": False})
    assert Run(tmp_path / "run").plan.data["normalise_first"] is False


def test_the_command_says_what_matched_and_what_comes_next(
    hilum: Any, weights: Path, facts: Path, tmp_path: Path
) -> None:
    words = ("import", weights, "--net", NET, "--facts", facts, "--set", "options.overlap=0.25")
    code, out, err = hilum(*words, "--out", tmp_path / "run")
    assert code == 0 and "100.0%" in out and "CC BY 4.0" in out and "hilum evaluate" in out, err
    assert Run(tmp_path / "run").plan.options["overlap"] == 0.25
    code, out, err = hilum(*words, "--out", tmp_path / "run")
    assert (code, out) == (2, "") and "[HIL-CORE-03]" in err
