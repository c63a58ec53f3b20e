"""The card says what is on record and nothing else; what is not known is said to be, with who is to be asked."""

import csv
import hashlib
import json
import re
import zipfile
from html import escape
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from hilum.core.calibration import Calibration, Opinions, Sets
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE
from hilum.core.plan import Plan, checked
from hilum.core.run import Run, write_rows
from hilum.evaluation import _card_trust, _claim, _parts, _tripod_ai, model_card, report
from hilum.evaluation.bootstrap import INTERVALS
from hilum.evaluation.checklists import CHECKLISTS, counted
from hilum.evaluation.provenance import NOT_KNOWN, provenance, rows, state
from hilum.verbs.card import card as card_verb

GOLDEN = Path(__file__).parent / "model_card.md"
PLAN = {
    "task": "segment", "dims": 2, "roles": ["image", "label"], "channels": ["image"], "patch": [32, 32], "batch": 2,
    "normalisation": [{"scheme": "zscore"}], "networks": {"net": {"name": "nnunet", "options": {"features": [8, 16]}}},
    "regime": "supervised", "classes": [{"value": 1, "name": "cell"}], "steps": 40, "options": {"foreground": 0.34},
    "learning": {"rate": 0.001, "keep": "last", "start": None}, "augment": [{"name": "flip"}], "seed": 3,
    "split_seed": 3, "versions": {"hilum": "0.1.0", "torch": "2.6.0"}, "machine": {"cores": 2, "accelerator": None},
    "data": {
        "name": "phantom", "layout": "images_labels", "grouping": "patient", "terms": "CC BY 4.0",
        "fingerprint": "f00d", "warnings": ["HIL-T09: two images are alike."],
    },
}  # fmt: skip
MADE = {
    "versions": {"hilum": "0.2.0", "torch": "2.7.0", "code": "c0de"},
    "machine": {"cores": 4, "total": 1 << 30, "accelerator": {"name": "A card", "memory": 8 << 30}, "devices": 1},
}
# What trained it, which is not where the plan was made.
METRICS = {
    "task": "segment", "part": "test", "cases": 2, "groups": 2, "missing": 0, "runtime": "torch",
    "metrics": {
        "dice": {
            "mean": 0.8125, "low": 0.75, "high": 0.875, "n": 2, "better": "higher",
            "per_class": {"cell": {"mean": 0.8125, "low": None, "high": None, "n": 2}},
        }
    },
}  # fmt: skip
MANDATORY = (
    "Intended use and users", "Out of scope", "Data", "Split", "Reference standard", "Preprocessing", "Architecture",
    "Training", "Performance", "Operating point", "Calibration", "Uncertainty and unlike input", "Failure modes",
    "Privacy", "Licence", "Version", "Contact", "Regulatory status",
)  # fmt: skip


def test_a_promise_is_printed_as_it_was_made():
    assert [_card_trust._share(error) for error in (0.1, 0.025, 0.005)] == ["10 %", "2.5 %", "0.5 %"]


def written(folder, data=None, trained=True, **changes):
    """A small finished run on disk, as training leaves it."""
    folder.mkdir(parents=True)
    plan = checked(Plan, PLAN | changes | {"data": PLAN["data"] | (data or {})}, "plan")
    plan.write(folder / "plan.json")
    (folder / "weights").mkdir()
    save_file({"a": np.arange(6, dtype=np.float32)}, folder / "weights" / "net.safetensors")
    parts = {"train": 4, "val": 1, "test": 2}
    write_rows(
        folder / "split.csv",
        [
            {"case": f"{part}{i}", "group": f"{part}{i // 2}", "part": part, "class": ""}
            for part, n in parts.items()
            for i in range(n)
        ],
    )
    facts = {"modality": "HISTO", "settings": {"terms": plan.data["terms"], "accept": ["T09"]}}
    (folder / "fingerprint.json").write_text(json.dumps(facts), encoding="utf-8")
    run = Run(folder)
    run.write_manifest()
    run.record("train", {"steps": 40, "resumed": False, "cases": parts, "data": "phantom"} | (MADE if trained else {}))
    for look in (1, 2):
        run.record("evaluate", {"part": "test", "cases": 2, "look": look, "state": state(run)})
    return run


def test_provenance_is_what_the_run_has_on_record(tmp_path):
    found = provenance(written(tmp_path / "run"))
    assert found["opened"] == {"train": 0, "val": 0, "test": 2}
    assert found["split"]["parts"]["train"] == {"cases": 4, "groups": 2, "classes": NOT_KNOWN}
    assert found["split"]["hash"] == Run(tmp_path / "run").hashes()["split.csv"]
    assert found["seeds"] == {"training": 3, "split": 3} and found["of"] == "training"
    assert found["versions"] == MADE["versions"]
    assert found["hardware"] == {"cores": 4, "accelerator": "A card", "devices": 1, "memory in bytes": 1 << 30}
    assert found["model"]["values"] == 6 and found["training"]["steps done"] == 40
    assert found["warnings"] == {"of the data": PLAN["data"]["warnings"], "accepted": ["T09"]}
    assert found["terms"]["weights"] == "CC BY 4.0" and found["terms"]["public"] == "may be made public"
    assert len(found["hashes"]["weights"]) == 64 and json.dumps(found, allow_nan=False)
    table = {row["fact"]: row["value"] for row in rows(found)}
    assert table["opened.test"] == "2" and table["warnings.accepted"] == "T09"


def test_an_older_run_has_the_versions_of_its_plan_and_says_so(tmp_path):
    run = written(tmp_path / "run", trained=False)
    found = provenance(run)
    assert found["of"] == "plan" and found["versions"] == PLAN["versions"]
    assert found["hardware"] == {"cores": 2, "accelerator": "none"}
    assert found["training"]["went on from"] == NOT_KNOWN
    lines = next(dict(field.lines) for field in model_card.card(run).fields if field.key == "training")
    assert lines["versions"] == ("hilum 0.1.0, torch 2.6.0 (when the plan was made; what trained is not on record)")
    assert lines["machine"].startswith("cores 2, accelerator none (that the plan was fitted to")


def test_the_strictest_terms_of_all_sources_decide(tmp_path):
    start = {"name": "old", "sha256": "ab" * 32}
    run = written(tmp_path / "run", {"terms": "CC BY 4.0; research"}, learning={"keep": "last", "start": start})
    terms = provenance(run)["terms"]
    assert terms["strictest"] == "research" and "may not be made public" in terms["public"] and not terms["conditions"]
    assert provenance(run)["training"]["start"] == start | {"terms": NOT_KNOWN}


def test_what_is_not_on_record_is_not_known(tmp_path):
    run = written(tmp_path / "run", {"terms": "unknown", "grouping": None}, machine={}, versions={}, steps=None)
    (run.path / "ledger.jsonl").unlink()
    found = provenance(run)
    for value in (
        found["terms"]["data"], found["terms"]["weights"], found["terms"]["strictest"], found["hardware"],
        found["versions"], found["opened"], found["split"]["grouping"], found["training"]["steps done"],
        found["training"]["steps planned"], found["training"]["resumed"],
    ):  # fmt: skip
        assert value == NOT_KNOWN
    made = {field.key: dict(field.lines) for field in model_card.card(run).fields}
    assert made["licence"]["weights"] == made["split"]["level"] == made["training"]["versions"] == NOT_KNOWN
    assert made["split"]["patients"] == NOT_KNOWN


def test_a_changed_run_or_ledger_gets_no_card(tmp_path):
    run = written(tmp_path / "run")
    (run.path / "split.csv").write_text("case,group,part\n", encoding="utf-8")
    with pytest.raises(HilumError) as error:
        model_card.card(run)
    assert error.value.code == "HIL-M05"
    run = written(tmp_path / "other")
    ledger = (run.path / "ledger.jsonl").read_text(encoding="utf-8").replace('"look": 1', '"look": 0')
    (run.path / "ledger.jsonl").write_text(ledger, encoding="utf-8")
    with pytest.raises(HilumError) as error:
        model_card.card(run)
    assert error.value.code == "HIL-RUN-04"


def packed(run, path, seen):
    """The run as a bundle: no names, no ledger."""
    files = {"plan.json": run.read("plan.json"), "weights/net.safetensors": run.read("weights/net.safetensors")}
    files["seen.json"] = json.dumps(seen).encode()
    manifest = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in (files | {"manifest.json": json.dumps(manifest).encode()}).items():
            archive.writestr(name, content)
    return Run(path)


def test_a_bundle_knows_less_and_says_so(tmp_path):
    run, seen = written(tmp_path / "run"), {"a": "train", "b": "train", "c": "val", "d": "test"}
    found = provenance(packed(run, tmp_path / "model.hilum", seen))
    assert found["kind"] == "bundle" and found["hashes"]["weights"] == provenance(run)["hashes"]["weights"]
    assert {part: own["cases"] for part, own in found["split"]["parts"].items()} == {"train": 2, "val": 1, "test": 1}
    assert found["split"]["hash"] == found["opened"] == found["training"]["ended"] == NOT_KNOWN
    assert found["warnings"]["accepted"] == found["split"]["parts"]["train"]["groups"] == NOT_KNOWN
    assert INTENDED_USE in model_card.markdown(model_card.card(Run(tmp_path / "model.hilum")))
    start = {"keep": "last", "start": {"name": "old", "sha256": "ab" * 32}}
    tuned = provenance(packed(written(tmp_path / "tuned", learning=start), tmp_path / "tuned.hilum", seen))
    # images of the older run are among those it learned from
    assert tuned["split"]["parts"]["train"]["cases"] == NOT_KNOWN and tuned["split"]["parts"]["test"]["cases"] == 1
    assert tuned["terms"]["data"] == NOT_KNOWN and tuned["terms"]["weights"] == "CC BY 4.0"


def stable(text):
    """Without what differs from day to day."""
    return re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "DATE", text)


def test_the_card_of_a_small_run_is_the_stored_one(tmp_path):
    run = written(tmp_path / "run")
    text = stable(model_card.markdown(model_card.card(run, METRICS | {"state": state(run)})))
    assert text == GOLDEN.read_text(encoding="utf-8")


def test_the_card_names_every_mandatory_field_and_who_fills_it(tmp_path):
    made = model_card.card(written(tmp_path / "run"))
    text, drawn = model_card.markdown(made), model_card.page(made).html()
    assert tuple(field.title for field in made.fields) == MANDATORY
    for title in MANDATORY:
        assert f"\n## {title}\n" in text and f"<h2>{title}</h2>" in drawn
    assert INTENDED_USE in text and INTENDED_USE in drawn
    for field in made.fields:
        assert field.lines and all(words.strip() for _, words in field.lines), field.key
        if field.unknown:
            assert f"To be filled by {field.who}: {', '.join(field.unknown)}." in text
    assert {name for names in made.asked.values() for name in names} >= {"Contact: contact", "Data: source"}
    head = yaml.safe_load(text.split("---")[1])
    assert head["terms_of_weights"] == "CC BY 4.0" and head["intended_use"] == INTENDED_USE


def test_the_table_of_results_says_how_its_intervals_are_made_and_why_there_is_none(tmp_path):
    """It said "groups resampled" of Student's t and of binomial limits, and nothing of a dash."""
    made = model_card.card(written(tmp_path / "run"), METRICS)
    html = model_card.page(made).html()
    assert f"<caption>Mean and {escape(INTERVALS)}.</caption>" in html and "groups resampled" not in html
    for words in ("of two to five Student's t", "the binomial limit", "of ece, fid and recall never"):
        assert words in INTERVALS
    assert f"- uncertainty: {INTERVALS}\n" in model_card.markdown(made)


def test_no_card_promises_too_much(tmp_path):
    text = model_card.markdown(model_card.card(written(tmp_path / "run"), METRICS)).lower()
    assert not re.search(r"\b(validated|clinical-grade|compliant|compliance|fda|approved|certified|cleared)\b", text)


def numbers(items):
    return [item[0] for item in items]


def test_the_lists_are_whole_and_no_number_is_there_twice():
    assert numbers(_claim.ITEMS) == [str(n) for n in range(1, 45)]
    assert len(set(numbers(_tripod_ai.ITEMS))) == len(_tripod_ai.ITEMS) == 52
    assert list(dict.fromkeys(int(re.match(r"\d+", n)[0]) for n in numbers(_tripod_ai.ITEMS))) == list(range(1, 28))
    letters = {}
    for number in numbers(_tripod_ai.ITEMS):
        whole, letter = re.fullmatch(r"(\d+)([a-g]?)", number).groups()
        letters.setdefault(whole, []).append(letter)
    for found in letters.values():
        assert found == [""] or found == list("abcdefg"[: len(found)])


def test_every_line_that_an_item_names_is_on_the_card(tmp_path):
    lines = {f"{f.key}: {name}" for f in model_card.card(written(tmp_path / "run")).fields for name, _ in f.lines}
    for checklist in CHECKLISTS.values():
        for number, _, topic, named, whole in checklist.items:
            assert set(named) <= lines, number
            assert topic and (named or not whole), number


def test_an_item_is_reported_only_where_the_record_answers_it_whole(tmp_path):
    run = written(tmp_path / "run")
    bare, full = model_card.card(run), model_card.card(run, METRICS)

    def status(made, name):
        return {row["item"]: row for row in made.checklist(name)}

    claim = status(full, "claim")
    for number in ("9", "20", "22", "23", "24", "25", "26", "28", "29", "32", "37"):
        assert claim[number]["status"] == "reported" and claim[number]["where"], number
    for number in ("2", "5", "7", "18", "33", "36", "40", "44"):
        assert claim[number]["status"] == NOT_KNOWN, number
    assert claim["27"]["status"] == "not applicable" and "one network" in claim["27"]["where"]
    assert claim["19"]["where"].startswith("in part: Split")
    for number in ("28", "29", "32", "37"):
        assert status(bare, "claim")[number]["status"] == NOT_KNOWN
    tripod = status(full, "tripod_ai")
    assert tripod["22"]["status"] == tripod["12g"]["status"] == "reported"
    assert tripod["23a"]["status"] == NOT_KNOWN and tripod["23a"]["where"] == "in part: Performance: results"
    for name in CHECKLISTS:
        assert sum(counted(full.checklist(name)).values()) == len(CHECKLISTS[name].items)


def test_raters_that_were_measured_answer_their_item(tmp_path):
    made = model_card.card(written(tmp_path / "run"), METRICS, {"cases": 8, "sentence": "dice: alike."})
    assert next(row for row in made.checklist("claim") if row["item"] == "18")["status"] == "reported"
    alone = model_card.card(written(tmp_path / "other"), METRICS, {"cases": 0, "sentence": "One rater."})
    assert next(row for row in alone.checklist("claim") if row["item"] == "18")["status"] == NOT_KNOWN


def test_the_verb_writes_four_files_and_the_record(tmp_path):
    written(tmp_path / "run")
    (tmp_path / "metrics.json").write_text(json.dumps(METRICS), encoding="utf-8")
    (tmp_path / "raters.json").write_text(json.dumps({"cases": 2, "sentence": "dice: alike."}), encoding="utf-8")
    found = card_verb(tmp_path / "run", tmp_path / "card", metrics=tmp_path / "metrics.json")
    names = {path.name for path in (tmp_path / "card").iterdir()}
    assert names == {"model_card.md", "model_card.html", "claim.csv", "tripod_ai.csv", "provenance.json"}
    for name, count in (("claim", 44), ("tripod_ai", 52)):
        with open(tmp_path / "card" / f"{name}.csv", encoding="utf-8", newline="") as stream:
            table = list(csv.DictReader(stream))
        assert len(table) == count and all(row["numbering"] == CHECKLISTS[name].source for row in table)
    assert "dice: alike." in (tmp_path / "card" / "model_card.html").read_text(encoding="utf-8")
    assert found["unknown"] == sum(len(names) for names in found["ask"].values()) > 0
    with pytest.raises(HilumError) as error:
        card_verb(tmp_path / "run", tmp_path / "card")
    assert error.value.code == "HIL-CORE-03"


ROW = METRICS["metrics"]["dice"]
OTHERS = (
    {"task": "classify"},
    # other forms in it ended in a traceback
    {"part": ["test"]}, {"part": None}, {"cases": "two"}, {"groups": {}}, {"missing": None},
    *({"metrics": {"dice": row}} for row in (
        0.9, None, [0.9], ROW | {"mean": "high"}, ROW | {"n": [2]}, ROW | {"per_class": [0.9]},
        ROW | {"per_class": {"cell": 0.9}}, ROW | {"per_class": {"cell": ROW | {"low": {}}}},
    )),
)  # fmt: skip


@pytest.mark.parametrize(
    "text", ["[]", "{", json.dumps({"task": "segment"}), *(json.dumps(METRICS | other) for other in OTHERS), None]
)
def test_another_file_as_metrics_is_refused_and_nothing_is_written(text, tmp_path):
    written(tmp_path / "run")
    if text is not None:
        (tmp_path / "metrics.json").write_text(text, encoding="utf-8")
    with pytest.raises(HilumError) as error:
        card_verb(tmp_path / "run", tmp_path / "card", metrics=tmp_path / "metrics.json")
    assert error.value.code == "HIL-EVAL-21" and not (tmp_path / "card").exists()


def test_metrics_that_are_nested_without_end_are_refused(tmp_path):
    written(tmp_path / "run")
    (tmp_path / "metrics.json").write_text("[" * 200_000)
    with pytest.raises(HilumError, match="HIL-EVAL-21"):
        card_verb(tmp_path / "run", tmp_path / "card", metrics=tmp_path / "metrics.json")


def test_another_file_as_raters_is_refused(tmp_path):
    """It ended in a traceback."""
    with pytest.raises(HilumError) as error:
        model_card.card(written(tmp_path / "run"), METRICS, {"cases": 8, "sentence": ["alike"]})
    assert error.value.code == "HIL-EVAL-21" and "raters.json" in str(error.value)


@pytest.mark.parametrize("there", [False, True])
def test_a_card_that_is_interrupted_leaves_nothing_that_refuses_the_next(there, tmp_path, monkeypatch):
    written(tmp_path / "run")
    out = tmp_path / "card"
    if there:
        out.mkdir()

    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("hilum.verbs.card.write_text", stopped)
        card_verb(tmp_path / "run", out)
    assert out.exists() == there and not (there and any(out.iterdir()))
    card_verb(tmp_path / "run", out)
    assert len(list(out.iterdir())) == 5 and {path.name for path in tmp_path.iterdir()} == {"run", "card"}


def test_an_evaluation_that_the_run_does_not_remember_is_named(tmp_path):
    made = model_card.card(written(tmp_path / "run"), METRICS | {"part": "all"})
    lines = {field.key: dict(field.lines) for field in made.fields}["performance"]
    assert lines["this evaluation in the ledger"].startswith("no evaluation of that part")
    assert "not on record" in lines["data of other origin"] and lines["internal data"] == NOT_KNOWN


def with_opinions(run, **opinions):
    """The run calibrated with such opinions."""
    made = Calibration(cases=4, groups=4, opinions=Opinions(**opinions))
    (run.path / "calibration.json").write_text(made.model_dump_json(), encoding="utf-8")
    run.write_manifest()
    return run


def test_prediction_sets_promise_of_patients_and_nothing_where_these_are_too_few(tmp_path):
    """The card said "of cases", and 10 % where every set held all classes."""
    run = written(tmp_path / "run")

    def said(threshold, groups):
        sets = Sets(error=0.1, threshold=threshold, groups=groups)
        made = Calibration(cases=2 * groups, groups=groups, sets=sets)
        (run.path / "calibration.json").write_text(made.model_dump_json(), encoding="utf-8")
        run.write_manifest()
        return next(dict(f.lines) for f in model_card.card(run).fields if f.key == "uncertainty")["prediction sets"]

    assert said(0.4, 20) == "lac, may lack the true class in 10 % of patients, learned from 20"
    assert said(None, 5) == "lac, hold every class: 5 patients are too few for smaller ones"


def told(run):
    """The lines about the architecture, and item 27 of CLAIM: how several models were combined."""
    made = model_card.card(run)
    lines = next(dict(field.lines) for field in made.fields if field.key == "architecture")
    return lines, next(row for row in made.checklist("claim") if row["item"] == "27")


def test_an_ensemble_says_how_its_networks_are_combined_and_counts_all_their_values(tmp_path):
    run = written(tmp_path / "run")
    for number in (2, 3):
        save_file({"a": np.arange(6, dtype=np.float32)}, run.path / "weights" / f"net.{number}.safetensors")
    lines, item = told(with_opinions(run, kind="ensemble", count=3))
    assert lines["ensemble"].startswith("3 networks") and "mean" in lines["ensemble"]
    assert lines["values in the weights"] == "18" and item["status"] == "reported"
    assert run.hashes()["weights/net.3.safetensors"] in model_card.markdown(model_card.card(run))


def test_the_report_says_whose_answer_it_judged_and_counts_every_network(tmp_path):
    run = written(tmp_path / "run")

    def facts():
        rows = report._facts(SimpleNamespace(plan=run.plan, run=run, calibration=run.calibration), "test", {})
        return {row["fact"]: row["value"] for row in rows}

    assert facts()["answer"] == "one network predicts" and facts()["network"].endswith(", 6 parameters")
    with_opinions(run, kind="views")
    assert "several views" in facts()["answer"]
    save_file({"a": np.arange(6, dtype=np.float32)}, run.path / "weights" / "net.2.safetensors")
    with_opinions(run, kind="ensemble", count=2)
    assert facts()["answer"].startswith("2 networks") and facts()["network"].endswith(", 12 parameters")


def test_one_network_asked_several_times_is_still_one_and_says_so(tmp_path):
    lines, item = told(with_opinions(written(tmp_path / "a"), kind="dropout", count=20))
    assert "20 passes" in lines["ensemble"] and item["status"] == "not applicable"
    lines, item = told(with_opinions(written(tmp_path / "b"), kind="views"))
    assert "views" in lines["ensemble"] and item["status"] == "not applicable"
    assert told(with_opinions(written(tmp_path / "c"), kind="one"))[0]["ensemble"] == (
        "not applicable: one network predicts"
    )


def test_a_system_says_which_network_finds_what(tmp_path):
    run = written(tmp_path / "run", classes=[{"value": 1, "name": "cell"}, {"value": 2, "name": "wall"}])
    (run.path / "weights" / "net.safetensors").unlink()
    groups = [{"name": f"group_{c.value}", "classes": [c.model_dump()]} for c in run.plan.classes]
    (run.path / "system.json").write_text(json.dumps({"groups": groups}), encoding="utf-8")
    for group in groups:
        written(run.path / "parts" / group["name"], classes=group["classes"])
    run.write_manifest()
    lines, item = told(run)
    assert lines["ensemble"].startswith("2 networks") and "group_2: wall" in lines["ensemble"]
    assert lines["values in the weights"] == "12" and item["status"] == "reported"


def test_a_calibration_is_no_look_at_its_part(tmp_path):
    run = written(tmp_path / "run")
    run.record("calibrate", {"part": "val", "cases": 1})
    assert provenance(run)["opened"] == {"train": 0, "val": 0, "test": 2}
    lines = {field.key: dict(field.lines) for field in model_card.card(run, METRICS | {"part": "val"}).fields}
    assert lines["performance"]["this evaluation in the ledger"].startswith("no evaluation of that part")


def test_looks_are_those_of_this_folder_and_of_a_comparison_it_is_told_of_how_many_cells(tmp_path):
    run = written(tmp_path / "run")

    def said():
        lines = {field.key: dict(field.lines) for field in model_card.card(run).fields}
        return lines["performance"]["how often each part was judged"]

    assert said().startswith("train 0, val 0, test 2 (in this run folder alone") and "comparison" not in said()
    run.record("compare", {"part": "test", "cells": 12})
    assert "one of 12 models of a comparison judged on the test part" in said()
    # cells were added later
    run.record("compare", {"part": "test", "cells": 15})
    assert "one of 15 models" in said() and "12" not in said()


def test_the_name_of_a_run_is_shown_as_it_is(tmp_path):
    text = model_card.markdown(model_card.card(written(tmp_path / "a_[b](c)*d*")))
    assert r"from the record of 'a\_\[b\](c)\*d\*'." in text and "a_[b]" not in text


def test_not_every_metric_is_said_to_count_a_case_without_a_result(tmp_path):
    made = model_card.card(written(tmp_path / "run"), METRICS | {"missing": 1})
    lines = {field.key: dict(field.lines) for field in made.fields}["performance"]
    assert lines["cases without a result"].startswith("1 of 2 cases; one counts as the worst where")
    assert lines["cases without a result"].endswith("else it is left out (see n)")


def judged(run, metrics):
    """The card's lines about performance, and the status of every item of CLAIM."""
    made = model_card.card(run, metrics)
    lines = next(dict(field.lines) for field in made.fields if field.key == "performance")
    return lines, {row["item"]: row["status"] for row in made.checklist("claim")}, made


def test_figures_are_held_against_what_the_model_is_now(tmp_path):
    run = written(tmp_path / "run")
    metrics = METRICS | {"state": state(run)}
    lines, claim, made = judged(run, metrics)
    assert lines["this evaluation in the ledger"] == "yes" and claim["37"] == "reported" and made.apart is None
    # files from before a state was kept
    assert judged(run, METRICS)[0]["this evaluation in the ledger"] == NOT_KNOWN
    other = written(tmp_path / "other", seed=4)
    for changed in (other, with_opinions(run, kind="views")):
        lines, claim, made = judged(changed, metrics)
        assert lines["this evaluation in the ledger"] == f"no. {_parts.OTHER}"
        assert lines["results"] == lines["internal data"] == NOT_KNOWN
        assert lines["cases without a result"] == claim["12"] == claim["32"] == claim["37"] == NOT_KNOWN
        assert f"**{_parts.OTHER}**" in model_card.markdown(made) and _parts.OTHER in model_card.page(made).html()
    # judged now, but this state is in no event
    lines, _, _ = judged(run, METRICS | {"state": state(run)})
    assert lines["this evaluation in the ledger"].startswith("no evaluation of that part in this state")


def test_a_run_and_its_bundle_are_in_one_state(tmp_path):
    run = written(tmp_path / "run")
    before, bundle = state(run), packed(run, tmp_path / "model.hilum", {})
    assert state(bundle) == before
    assert judged(bundle, METRICS | {"state": before})[0]["this evaluation in the ledger"] == NOT_KNOWN
    save_file({"a": np.ones(6, dtype=np.float32)}, run.path / "weights" / "net.safetensors")
    assert state(run) != before


@pytest.mark.parametrize("part", ["train", "val"])
def test_what_a_network_learned_from_is_no_result(part, tmp_path):
    classes = [{"value": 1, "name": "a"}, {"value": 2, "name": "b"}]
    changes = {"task": "classify", "roles": ["image", "class"], "networks": {"net": {"name": "resnet"}}, "options": {}}
    run = written(tmp_path / "run", classes=classes, **changes)
    lines, claim, made = judged(run, METRICS | {"part": part, "task": "classify"})
    assert {lines[name] for name in ("results", "internal data", "diagnostic performance")} == {NOT_KNOWN}
    assert {claim[item] for item in ("32", "37", "38")} == {NOT_KNOWN}
    assert _parts.LEARNED[part] in model_card.markdown(made) and _parts.LEARNED[part] in model_card.page(made).html()
    lines, claim, made = judged(run, METRICS | {"task": "classify"})
    assert {claim[item] for item in ("32", "37", "38")} == {"reported"} and made.apart is None


def test_what_the_evaluation_warned_of_stands_above_its_results(tmp_path):
    """Figures of patients that the run had learned from stood on its card without a word."""
    run, words = written(tmp_path / "run"), "HIL-EVAL-05: 2 of 9 patients are known."
    made = judged(run, METRICS | {"alarms": [words]})[2]
    assert f"**{words.replace('_', chr(92) + '_')}**" in model_card.markdown(made)
    assert words in model_card.page(made).html()
    with pytest.raises(HilumError, match="HIL-EVAL-21"):
        model_card.card(run, METRICS | {"alarms": [1]})
