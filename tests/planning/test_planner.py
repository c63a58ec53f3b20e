"""A data set, a task and a budget become a plan: the same every time, and nonsense is refused before anything runs."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.core.plan import Plan
from hilum.io import nifti, raster
from hilum.planning.fingerprint import fingerprint
from hilum.planning.planner import TUNED, Prepared, edit, look, make_plan
from hilum.tasks import _task
from hilum.tasks._pairs import connected
from hilum.verbs.compare import compare
from hilum.verbs.plan import complete
from hilum.verbs.train import train

TASKS = list(catalogue.cards("hilum.tasks"))
Ready = Callable[[str], Prepared]


def code(*args: Any, **options: Any) -> str:
    with pytest.raises(HilumError) as error:
        make_plan(*args, **options)
    return error.value.code


def pictures(folder: Path, kinds: dict[str, int], shape: tuple[int, ...] = (1, 32, 32)) -> Path:
    for kind, count in kinds.items():
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([len(kind), ord(kind[0]), number])
            raster.write(folder / kind / f"{number}.png", Image(rng.integers(0, 255, shape).astype(np.uint8)))
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_same_data_and_seed_give_the_same_text(task: str, data: Callable[[str], Path], ready: Ready) -> None:
    first = make_plan(ready(task), task, steps=10, seed=0)
    again = make_plan(look(data(task), task, 0), task, steps=10, seed=0)
    assert first.text() == again.text()
    assert Plan.parse(first.text()) == first
    assert first.task == task and first.networks["net"].name == catalogue.card("hilum.tasks", task)["network"]


def test_a_split_that_was_not_made_is_not_written(ready: Ready) -> None:
    """The data were split before the plan was: by another seed it would be another test part."""
    with pytest.raises(HilumError, match=r"--seed 5 for that split, and --set plan\.seed") as error:
        make_plan(ready("classify"), "classify", steps=1, settings={"plan.split_seed": 5})
    assert error.value.code == "HIL-PLAN-02"
    assert make_plan(ready("classify"), "classify", steps=1, settings={"plan.split_seed": 0}).split_seed == 0


@pytest.mark.parametrize("task", ["register", "reconstruct", "generate"])
def test_augmentation_that_a_task_would_not_use_is_refused(
    task: str, data: Callable[[str], Path], ready: Ready, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    noise = {"plan.augment": [{"name": "noise"}]}
    assert code(ready(task), task, steps=1, settings=noise) == "HIL-PLAN-05"
    make_plan(ready(task), task, steps=1, settings={"plan.augment": []})
    plan_of(task, 1, augment=[{"name": "noise"}]).write(tmp_path / "plan.json")
    with pytest.raises(HilumError, match=r"plan\.augment"):
        train(data(task), task, tmp_path / "run", plan=tmp_path / "plan.json")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("task", ["classify", "detect", "generate", "reconstruct"])
def test_a_spacing_or_normalisation_that_a_task_would_not_use_is_refused(
    task: str, data: Callable[[str], Path], ready: Ready, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    """Plan and model card stated it, and nothing was brought to it."""
    asked: dict[str, Any] = {"plan.spacing": [1.0] * int(ready(task).facts["dims"])}
    assert code(ready(task), task, steps=1, settings=asked) == "HIL-PLAN-05"
    assert make_plan(ready(task), task, steps=1, settings={"plan.spacing": None}).spacing is None
    if task == "reconstruct":
        scaled = asked["plan.normalisation"] = [{"scheme": "zscore"}] * 2
        assert code(ready(task), task, steps=1, settings={"plan.normalisation": scaled}) == "HIL-PLAN-05"
        make_plan(ready(task), task, steps=1, settings={"plan.normalisation": [{"scheme": "none"}] * 2})
    made = plan_of(task, 1, **{key.removeprefix("plan."): value for key, value in asked.items()})
    # what was made before can be opened
    assert Plan.parse(made.text()) == made and _task.load(made).plan == made
    made.write(tmp_path / "plan.json")
    with pytest.raises(HilumError, match=r"plan\.spacing.*HIL-PLAN-05"):
        train(data(task), task, tmp_path / "run", plan=tmp_path / "plan.json")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("key", ["plan.patch", "patch.0"])
def test_a_patch_that_whole_slices_would_not_use_is_refused(
    key: str, data: Callable[[str], Path], ready: Ready, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    asked = {key: [16, 16] if key == "plan.patch" else 16}
    assert code(ready("reconstruct"), "reconstruct", steps=1, settings=asked) == "HIL-PLAN-05"
    plan_of("reconstruct", 1).write(tmp_path / "plan.json")
    with pytest.raises(HilumError, match=r"plan\.patch.*HIL-PLAN-05"):
        words = {"plan": tmp_path / "plan.json", "settings": asked}
        train(data("reconstruct"), "reconstruct", tmp_path / "run", **words)
    make_plan(ready("classify"), "classify", steps=1, settings={"plan.patch": [32, 32]})


@pytest.mark.parametrize("task", TASKS)
def test_a_longer_budget_never_gives_a_narrower_network(task: str, ready: Ready) -> None:
    def size(minutes: float) -> int:
        options = make_plan(ready(task), task, minutes=minutes).networks["net"].options
        return int(options.get("width", sum(options.get("features", [0]))))

    assert size(1) <= size(12) <= size(100)


def test_unknown_names_are_answered_with_near_ones(ready: Ready) -> None:
    seen = ready("segment")
    with pytest.raises(HilumError, match="nnunet"):
        make_plan(seen, "segment", net="nnunett")
    assert code(seen, "segment", net="nnunet:wdith=3") == "HIL-PLAN-02"
    assert code(seen, "segment", settings={"wdith": 3}) == "HIL-PLAN-02"
    assert code(seen, "segment", settings={"plan.bacth": 3}) == "HIL-PLAN-02"
    assert code(seen, "segment", settings={"options.oevrlap": 0.5}) == "HIL-PLAN-02"
    assert code(seen, "segment", settings={"plan.regime": "superwised"}) == "HIL-CORE-02"
    assert code(seen, "segmnt") == "HIL-CORE-02"
    assert code(seen, "segment", settings={"plan.augment": [{"name": "nois"}]}) == "HIL-CORE-02"


@pytest.mark.parametrize("value", ["two", 0, None])
def test_learning_settings_are_refused_before_costs_are_counted_by_them(value: Any, ready: Ready) -> None:
    here = {"cores": 2, "total": 8 << 30, "memory": 6 << 30, "accelerator": None, "gflops": 5.0}
    settings = {"learning.critic_steps": value}
    with pytest.raises(HilumError, match="critic_steps") as error:
        make_plan(ready("generate"), "generate", minutes=5, machine=here, settings=settings)
    assert error.value.code == "HIL-PLAN-03"


def test_another_tasks_network_is_refused_with_those_that_fit(ready: Ready) -> None:
    with pytest.raises(HilumError, match="nnunet") as error:
        make_plan(ready("segment"), "segment", net="resnet")
    assert error.value.code == "HIL-PLAN-05"


@pytest.mark.parametrize(
    "budget",
    [{"minutes": 1.0, "steps": 3}, {"minutes": 0.001}, {"minutes": -1.0}, {"steps": 0}, {"steps": -3}],
    ids=str,
)
def test_a_budget_that_is_none_is_refused(budget: dict[str, Any], ready: Ready) -> None:
    assert code(ready("classify"), "classify", **budget) == "HIL-PLAN-06"


def test_edit_keeps_options_of_the_same_network_and_drops_those_of_another(ready: Ready) -> None:
    first = make_plan(ready("classify"), "classify", steps=5)
    assert edit(first, "resnet:width=8", {}).networks["net"].options == first.networks["net"].options | {"width": 8}
    assert edit(first, "vit:patch=4", {}).networks["net"].options == {"patch": 4}
    changed = edit(first, None, {"depth": 34, "learning.rate": 0.5, "plan.batch": 3})
    assert changed.networks["net"].options["depth"] == 34 and changed.learning["rate"] == 0.5 and changed.batch == 3


def rate(plan: Plan) -> float:
    return float(complete(plan).learning["rate"])


@pytest.mark.parametrize("task", TASKS)
def test_every_rate_that_rules_choose_is_known_as_that_of_its_network(task: str, ready: Ready) -> None:
    made = make_plan(ready(task), task, steps=20)
    assert made.learning.get("rate") == TUNED.get((task, made.networks["net"].name))


def test_another_network_does_not_learn_at_the_rate_that_was_chosen_for_nnunet(ready: Ready) -> None:
    """All of them did, at eight times the rate at which two of them found nothing but background."""
    seen, net = ready("segment"), {"networks.net": {"name": "vnet"}}

    def planned(net: str | None, settings: dict[str, Any] | None = None) -> Plan:
        return make_plan(seen, "segment", net=net, steps=20, settings=settings)

    assert rate(planned(None)) == rate(planned("nnunet:convs=1")) == 8e-3
    assert rate(planned("vnet")) == rate(planned(None, net)) == 1e-3
    given = {"learning.rate": 8e-3}
    for settings in (given | net, net | given, {"plan.learning": {"rate": 8e-3}} | net):
        assert rate(planned(None, settings)) == 8e-3, settings
    assert rate(planned("vnet", given)) == 8e-3


def test_a_plan_that_is_given_keeps_a_rate_that_no_rule_chose(ready: Ready) -> None:
    ruled = complete(make_plan(ready("segment"), "segment", steps=20))
    assert rate(edit(ruled, "vnet", {})) == 1e-3 and rate(edit(ruled, "nnunet:convs=1", {})) == 8e-3
    assert rate(edit(ruled.edited({"learning.rate": 4e-3}), "vnet", {})) == 4e-3
    by_hand = edit(ruled, "vnet", {"learning.rate": 8e-3})
    assert rate(edit(by_hand, "unetpp", {})) == 8e-3


def test_a_short_time_narrows_the_tasks_own_network_alone(ready: Ready) -> None:
    """As the table of networks says; the 3-D TransUNet takes the stages that are planned for nnU-Net."""
    short, long = (make_plan(ready("segment"), "segment", minutes=m).networks["net"].options for m in (1, 100))
    assert sum(short["features"]) < sum(long["features"])
    for minutes in (1, 100):
        assert make_plan(ready("segment"), "segment", net="vnet", minutes=minutes).networks["net"].options == {}
    assert [name for name, card in catalogue.cards("hilum.zoo").items() if card.get("planned")] == ["transunet3d"]


@pytest.mark.parametrize(
    "key",
    [
        "data.terms",
        "data.warnings",
        "data.warnings.0",
        "data.fingerprint",
        "data.name",
        "data.grouping",
        "data.coils",
        "data.slice",
        "plan.data",
    ],
)
def test_what_follows_from_the_data_is_no_setting(key: str, ready: Ready) -> None:
    """`--set data.terms=CC0` made any model public, `--set data.warnings=[]` hid an accepted leak."""
    first = make_plan(ready("classify"), "classify", steps=5)
    with pytest.raises(HilumError, match=r"a fact of the data.*dataset\.yaml.*HIL-PLAN-02"):
        edit(first, None, {key: []})
    assert code(ready("classify"), "classify", steps=5, settings={key: []}) == "HIL-PLAN-02"
    assert edit(first, None, {"data.ignore": 9}).data["ignore"] == 9


@pytest.mark.parametrize("key", ["plan.minutes", "plan.steps"])
def test_a_budget_is_no_setting(
    key: str, data: Callable[[str], Path], ready: Ready, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    """It was trained, but the network was planned for another."""
    told, ours = rf"Give {key.replace('plan.', '--')} to hilum train.*HIL-PLAN-02", tmp_path / "plan.json"
    with pytest.raises(HilumError, match=told):
        make_plan(ready("classify"), "classify", steps=5, settings={key: 7})
    plan_of("classify", 1).write(ours)
    for words in ({"plan": ours}, {"steps": 1}):
        with pytest.raises(HilumError, match=told):
            train(data("classify"), "classify", tmp_path / "run", settings={key: 7}, **words)  # type: ignore[arg-type]
    with pytest.raises(HilumError, match=told):
        compare(data("classify"), "classify", ["resnet"], tmp_path / "out", steps=1, settings={key: 7})
    assert not (tmp_path / "run").exists() and not (tmp_path / "out").exists()


def test_t08_one_class_is_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "one", {"ill": 4})
    assert code(look(folder, "classify", 0), "classify") == "HIL-T08"


def test_t08_one_case_is_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "one", {"ill": 1, "well": 1})
    with pytest.raises(HilumError) as error:
        look(folder, "classify", 0)
    assert error.value.code == "HIL-T08"


def test_t10_images_without_labels_are_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path, {"images": 4})
    for task in ("segment", "classify", "detect"):
        with pytest.raises(HilumError) as error:
            look(folder, task, 0)
        assert error.value.code == "HIL-T10"


def test_n10_pictures_and_volumes_do_not_mix(tmp_path: Path) -> None:
    pictures(tmp_path, {"a": 3, "b": 3})
    nifti.write(tmp_path / "b" / "odd.nii.gz", Image(np.zeros((1, 4, 4, 4), np.int16), np.eye(4)))
    with pytest.raises(HilumError, match="odd") as error:
        look(tmp_path, "classify", 0)
    assert error.value.code == "HIL-N10"


def test_a_task_refuses_dimensions_it_has_no_form_for(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(4):
        volume = Image(rng.integers(0, 99, (1, 8, 8, 8)).astype(np.int16), np.eye(4))
        nifti.write(tmp_path / f"{number}.nii.gz", volume)
    assert code(look(tmp_path, "generate", 0), "generate") == "HIL-PLAN-05"


def test_intensities_come_from_the_training_part_only(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "p", {"a": 8, "b": 8})
    seen = look(folder, "classify", 0)
    for case, part in seen.parts.items():
        if part != "train":
            array = np.full((1, 32, 32), 255, np.uint8)
            raster.write(folder / f"{case}.png", Image(array))
    changed = fingerprint(seen.dataset, seen.parts)
    assert changed["intensity"] == seen.facts["intensity"]
    train = next(c for c, p in seen.parts.items() if p == "train")
    raster.write(folder / f"{train}.png", Image(np.zeros((1, 32, 32), np.uint8)))
    assert fingerprint(seen.dataset, seen.parts)["intensity"] != seen.facts["intensity"]


def test_the_fingerprint_is_plain_and_knows_its_data(data: Callable[[str], Path], ready: Ready, tmp_path: Path) -> None:
    facts = ready("segment").facts
    assert json.loads(json.dumps(facts, allow_nan=False)) is not None
    assert facts["dims"] == 3 and facts["physical"] and facts["label_values"] == [0, 1, 2]
    folder = tmp_path / "heads"
    shutil.copytree(data("segment"), folder)
    assert look(folder, "segment", 0).facts["hash"] == facts["hash"]
    (folder / "images" / "head_000.nii.gz").unlink()
    (folder / "labels" / "head_000.nii.gz").unlink()
    assert look(folder, "segment", 0).facts["hash"] != facts["hash"]


def test_t09_listed_pairs_do_not_tear_a_patient_apart() -> None:
    groups = {"a1": "anna", "a2": "anna", "a3": "anna", "a4": "anna", "b1": "ben", "b2": "ben", "c1": "c1"}
    linked = connected((("a1", "a2"), ("a3", "a4"), ("b1", "b2")), groups)
    assert len({linked[c] for c in ("a1", "a2", "a3", "a4")}) == 1 and linked["b1"] == linked["b2"] != linked["a1"]
    across = connected((("a1", "b1"),), groups)
    assert len({across[c] for c in groups}) == 2, "a pair across two patients makes them one group"


@pytest.mark.parametrize("modality", ["CT", "", "MR"])
def test_ct_is_normalised_by_the_data_set_anything_else_by_the_image(modality: str, ready: Ready) -> None:
    from hilum.planning.planner import normalisation

    facts = ready("segment").facts | {"modality": modality}
    assert [r["scheme"] for r in normalisation(facts)] == ["ct" if modality == "CT" else "zscore"]


@pytest.mark.parametrize(("modality", "scheme"), [("", "ct"), ("OT", "ct"), ("CT", "ct"), ("MR", "zscore")])
def test_hounsfield_units_are_guessed_only_where_no_modality_is_stated(
    modality: str, scheme: str, ready: Ready
) -> None:
    from hilum.planning.planner import normalisation

    facts = ready("segment").facts | {"modality": modality, "hounsfield": [True]}
    assert [r["scheme"] for r in normalisation(facts)] == [scheme]


@pytest.mark.parametrize("modality", ["", "PT", "MR", "OT"])
def test_one_modality_does_not_speak_of_several_channels(modality: str, ready: Ready) -> None:
    """The CT of a PET/CT was scaled by its own image, as the files say PT."""
    from hilum.planning.planner import normalisation

    seen = ready("segment").facts
    facts = seen | {"modality": modality, "channels": ["a", "b"], "intensity": seen["intensity"] * 2}
    found = [normalisation(facts | {"hounsfield": row}) for row in ([False, True], [False, False])]
    assert [[r["scheme"] for r in rows] for rows in found] == [["zscore", "ct"], ["zscore", "zscore"]]


def test_a_guess_stands_in_the_plan(ready: Ready) -> None:
    seen = ready("segment")
    guessed = replace(seen, facts=seen.facts | {"hounsfield": [True]})
    (note,) = [n for n in make_plan(guessed, "segment", steps=1).data["notes"] if n.startswith("Taken for CT")]
    assert "image" in note and "`modality`" in note
    stated = replace(seen, facts=guessed.facts | {"modality": "CT"})
    by_hand = make_plan(guessed, "segment", steps=1, settings={"plan.normalisation": [{"scheme": "zscore"}]})
    for plan in (make_plan(stated, "segment", steps=1), make_plan(seen, "segment", steps=1), by_hand):
        assert not any(n.startswith("Taken for CT") for n in plan.data.get("notes", []))


def test_a_channel_that_is_called_ct_is_one(ready: Ready) -> None:
    from hilum.planning.planner import normalisation
    from hilum.prepare.modality import family

    facts = ready("segment").facts | {"modality": "", "channels": ["ct"]}
    assert facts["intensity"][0]["low"] > -500, "no air inside what is labelled"
    assert [r["scheme"] for r in normalisation(facts)] == ["ct"] and family(facts) == "ct"
    assert family(facts | {"modality": "MR"}) == "mr"


def test_a_system_of_networks_can_be_named_like_a_network(ready: Ready) -> None:
    plan = make_plan(ready("generate"), "generate", net="wgan_gp", steps=5)
    assert plan.regime == "wgan_gp" and plan.networks.keys() == {"net", "critic"}
    assert code(ready("classify"), "classify", net="wgan_gp", steps=5) == "HIL-PLAN-05"
    with pytest.raises(HilumError, match="wgan_gp"):
        make_plan(ready("generate"), "generate", net="wgan_pg", steps=5)


def test_what_the_folder_is_called_does_not_change_what_it_is(data: Callable[[str], Path], tmp_path: Path) -> None:
    moved = tmp_path / "another name"
    shutil.copytree(data("classify"), moved)
    assert look(moved, "classify", 0).facts["hash"] == look(data("classify"), "classify", 0).facts["hash"]


def test_a_network_that_cuts_its_borders_off_is_refused_before_it_trains(plan_of: Callable[..., Plan]) -> None:
    """Costs are counted with the losses, which compare the answer with the whole patch."""
    from hilum.planning.cost import step

    flat = {"dims": 2, "patch": [44, 44], "spacing": None, "augment": []}
    for padding in ("valid", "mirror"):
        options = {"padding": padding, "widths": [4, 4, 4]}
        plan = plan_of("segment", **flat, **{"networks.net": {"name": "unet", "options": options}})
        if padding == "mirror":
            assert step(plan).flops > 0
            continue
        with pytest.raises(HilumError, match=r"size \(4, 4\), not that of its input"):
            step(plan)


def test_what_is_said_of_the_data_is_said_once(ready: Ready, caplog: pytest.LogCaptureFixture) -> None:
    """However many widths and shares are tried for the minutes."""
    seen = ready("segment")
    rows = [row | {"labels": {0: 9}} if n < 2 else row for n, row in enumerate(seen.facts["cases"])]
    facts = replace(seen, facts=seen.facts | {"cases": rows})
    make_plan(facts, "segment", minutes=1, machine={"gflops": 1.0, "available": 64 << 30})
    make_plan(facts, "segment", minutes=1, machine={"gflops": 1.0, "available": 64 << 30})
    said = [r.getMessage() for r in caplog.records if "background only" in r.getMessage()]
    assert len(said) == 2 and said[0] == said[1] and "2 labels (" in said[0]
