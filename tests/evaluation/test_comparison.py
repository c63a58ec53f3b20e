"""The table of a comparison: best first; a difference is called supported where there is one, and only there."""

import dataclasses
import json

import numpy as np
import pytest

from hilum.evaluation.comparison import Cell, compared
from hilum.metrics import ap50, brier, ece, nll


def cell(net, seed, values, groups=None, metric="dice", better="higher", **more):
    """A cell whose headline is the mean of its case values, unless `mean` says otherwise."""
    names = [f"c{k}" for k in range(len(values))]
    known = [v for v in values if v is not None]
    mean = more.pop("mean", sum(known) / len(known) if known else None)
    row = {"mean": mean, "low": mean, "high": mean, "better": better}
    kept = dict(zip(names, groups or names, strict=True))
    return Cell(net, seed, dict(zip(names, values, strict=True)), kept, {metric: row}, 50, 12.34, 1000, **more)


def cells(rng, shifts, seeds=1, n=30, luck=0.0):
    """Cells of networks that lie apart by `shifts`, on the same patients."""
    patients = rng.normal(0.6, 0.05, n)
    return [
        cell(net, s, list(patients + shift + rng.normal(0, luck) + rng.normal(0, 0.02, n)))
        for net, shift in shifts.items()
        for s in range(seeds)
    ]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_difference_that_is_there_is_supported_and_one_that_is_not_is_not(seeds):
    made = cells(np.random.default_rng(0), {"poor": -0.1, "good": 0.0, "as good": 0.0}, seeds, luck=0.002)
    found = compared(made)
    assert found["headline"] == "dice" and found["better"] == "higher" and len(found["sentences"]) == 2
    rows = {r["net"]: r for r in found["rows"]}
    assert found["rows"][-1]["net"] == "poor" and rows["poor"]["supported"]
    second = found["rows"][1]
    assert second["net"] in ("good", "as good") and not second["supported"] and second["p holm"] > 0.05
    # three pairs; of two that are equally clear one is adjusted by three, the other not by less
    factor = rows["poor"]["p holm"] / rows["poor"]["p"]
    assert factor == pytest.approx(3) if seeds == 1 else 1.999 < factor < 3.001
    assert rows["poor"]["difference high"] < 0
    said = {s.split(" against ")[0]: s for s in found["sentences"]}
    assert said["poor"].endswith("the difference is supported.")
    assert said[second["net"]].endswith("no difference is supported.")
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_evaluations_warned_of_is_told_with_the_networks_it_is_true_of():
    values = [0.5, 0.6, 0.7]
    for seeds, own in ((1, "a: It is mirrored."), (2, "a with seed 0: It is mirrored.")):
        made = [cell(n, s, values, alarms=("Drawn.",)) for n in "ab" for s in range(seeds)]
        made[0] = dataclasses.replace(made[0], alarms=("It is mirrored.", "Drawn."))
        assert compared(made)["notes"][:2] == [own, "All networks: Drawn."]
    made = [dataclasses.replace(one, alarms=()) for one in made]
    assert not any("Drawn" in note for note in compared(made)["notes"])


def test_the_rule_is_told_as_it_is_kept_where_there_is_no_interval():
    """It asked for an interval, beside a difference that is supported without one."""
    found = compared([cell(net, 0, [mean] * 12) for net, mean in (("good", 0.75), ("poor", 0.5))])
    row = found["rows"][1]
    assert row["supported"] and row["difference low"] is None
    assert any("its interval, where there is one, leaves out zero." in note for note in found["notes"])


def test_holm_keeps_many_nulls_from_being_called():
    rng, called, bare = np.random.default_rng(1), 0, 0
    for _ in range(25):
        found = compared(cells(rng, dict.fromkeys("abcdef", 0.0), n=12))
        called += any(r["supported"] for r in found["rows"][1:])
        bare += any(r["p"] <= 0.05 for r in found["rows"][1:])
    # five of 100 tables may have a false call: more than four of 25 come about once in 140 tries
    assert called < bare and called <= 4


def test_holm_counts_every_pair_as_the_best_was_found_on_the_same_cases():
    made = cells(np.random.default_rng(6), {"a": 0.0, "b": -0.2, "c": -0.2, "d": -0.2}, n=20)
    for every_pair, many, word in ((True, 6, "pairs of networks: 6"), (False, 3, "comparisons with the best: 3")):
        found = compared(made, every_pair)
        assert [r["p holm"] for r in found["rows"][1:]] == pytest.approx([many * r["p"] for r in found["rows"][1:]])
        assert sum(word in note for note in found["notes"]) == 1


def test_one_seed_has_the_metrics_own_interval_and_says_what_it_does_not_know():
    made = [cell("a", 0, [0.5, 0.7, 0.6], peak_bytes=3_000_000), cell("b", 0, [0.4, 0.6, 0.5])]
    made[0].metrics["dice"].update(low=0.4, high=0.8)
    made[0].metrics["latency_s"] = {"mean": 0.25}
    found = compared(made)
    row, other = found["rows"]
    assert (row["low"], row["high"]) == (0.4, 0.8) and "lowest seed" not in row and "difference" not in row
    assert (row["steps"], row["seconds"], row["parameters"]) == (50, 12.3, 1000)
    assert (row["seconds a case"], row["peak bytes"]) == (0.25, 3_000_000)
    assert other["seconds a case"] is None and other["peak bytes"] is None
    assert any(n.startswith("One seed") for n in found["notes"])
    assert other["p"] == 0.25 and not other["supported"], "three patients can not support anything"


def test_several_seeds_have_an_interval_of_seeds_and_cases_and_their_spread():
    made = cells(np.random.default_rng(2), {"a": 0.0, "b": -0.01}, seeds=3, luck=0.02)
    found = compared(made)
    for row in found["rows"]:
        assert row["lowest seed"] <= row["dice"] <= row["highest seed"] and row["low"] < row["dice"] < row["high"]
        assert row["seeds"] == 3 and row["between seeds"] > 0
    assert sum("standard deviation" in n for n in found["notes"]) == 2
    assert not any(n.startswith("One seed") for n in found["notes"])


def test_intervals_of_several_seeds_stay_within_the_metric_and_equal_ones_are_no_certainty():
    right = [cell("a", s, [1.0] * 5, metric="accuracy") for s in range(2)]
    found = compared([*right, *(cell("b", s, [1.0, 1.0, 1.0, 1.0, 0.0], metric="accuracy") for s in range(2))])
    assert found["rows"][0]["high"] == 1 and found["rows"][0]["low"] == pytest.approx(0.478, abs=1e-3)
    assert found["rows"][1]["high"] == 1 and 0 <= found["rows"][1]["low"] < 0.8


def test_lower_may_be_better_and_the_ranking_knows():
    patients = np.random.default_rng(3).normal(5, 1, 20)
    made = [cell(n, 0, list(patients + k), metric="hd95_mm", better="lower") for n, k in (("far", 3), ("near", 0))]
    found = compared(made)
    assert [r["net"] for r in found["rows"]] == ["near", "far"]
    assert found["ranking"] == {"shares": {"near": [1.0, 0.0], "far": [0.0, 1.0]}, "tau": 1.0}
    assert any("near comes first in 100 %" in n for n in found["notes"])


def test_what_the_task_is_not_judged_by_orders_nothing():
    """Without labels, what folds least came first and was supported: the network that moves nothing."""
    patients = np.random.default_rng(3).normal(5, 0.1, 20)
    made = [
        cell(n, 0, list(patients + k), metric="folding_percent", better="lower")
        for n, k in (("bends", 3), ("stays", 0))
    ]
    found = compared(made, wanted="dice")
    assert [r["net"] for r in found["rows"]] == ["bends", "stays"] and found["compared"] == "none"
    assert found["ranking"] is None and not found["sentences"]
    assert not any(r.get("supported") or r.get("difference") for r in found["rows"])
    assert len(found["notes"]) == 1 and "dice was not measured" in found["notes"][0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    told = compared(made, wanted="folding_percent")
    assert told == compared(made) and told["rows"][1]["supported"] and told["compared"] == "cases"
    # kid is named after the number of features
    images = [cell(n, 0, [None, None], metric="kid@pca7", better="lower", mean=0.1) for n in "ab"]
    assert compared(images, wanted="kid@pca64")["compared"] == "cases"


def test_seeds_that_were_planned_differently_are_told():
    """Free memory and speed are read anew, and the mean was of two networks of one name."""
    made = cells(np.random.default_rng(2), {"a": 0.0, "b": -0.01}, seeds=2)
    assert not any("planned differently" in note for note in compared(made)["notes"])
    made = [dataclasses.replace(c, batch=4, parameters=1000 + 500 * (c.net == "a") * c.seed) for c in made]
    said = [note for note in compared(made)["notes"] if "planned differently" in note]
    assert len(said) == 1 and said[0].startswith("a: ") and "(1,000 or 1,500 parameters)" in said[0]
    made = [dataclasses.replace(c, batch=4 + 4 * c.seed) for c in made]
    said = [note for note in compared(made)["notes"] if "planned differently" in note]
    assert len(said) == 2 and "(4 or 8 images a step)" in said[1]


def test_of_few_patients_no_order_is_called_firm():
    found = compared([cell("a", 0, [0.5, 0.7, 0.6]), cell("b", 0, [0.4, 0.6, 0.5])])
    assert found["ranking"] is None and not any("comes first" in note for note in found["notes"])
    assert any("can not be told of so few groups: 3" in note for note in found["notes"])


def test_steps_of_seeds_that_were_planned_anew_are_shown_from_the_fewest_to_the_most():
    seeds = [dataclasses.replace(cell("a", s, [0.5, 0.7, 0.6]), steps=n) for s, n in enumerate((80, 50))]
    assert compared(seeds)["rows"][0]["steps"] == "50 to 80"
    assert compared([dataclasses.replace(one, steps=60) for one in seeds])["rows"][0]["steps"] == 60


def test_a_difference_reaches_no_further_than_the_metric():
    """Two seeds that diverge gave a Dice that differs by -3.9 to 3.2."""
    rng = np.random.default_rng(12)
    values = {"r2unet": (0.13, 0.69), "unet": (0.78, 0.79)}
    made = [cell(n, s, list(v + rng.normal(0, 0.02, 10))) for n, own in values.items() for s, v in enumerate(own)]
    row = compared(made)["rows"][1]
    assert (row["difference low"], row["difference high"]) == (-1, 1) and not row["supported"]
    far = [dataclasses.replace(one, metrics={"hd95_mm": one.metrics["dice"] | {"better": "lower"}}) for one in made]
    assert compared(far)["rows"][1]["difference low"] < -1


def test_a_metric_of_the_whole_set_is_said_to_be_one():
    rng = np.random.default_rng(4)
    made = [cell(n, s, list(rng.random(8)), metric="ap50", mean=0.9) for n in "ab" for s in range(2)]
    found = compared(made)
    assert found["rows"][0]["low"] is None and any("metric of the whole set" in n for n in found["notes"])


def test_without_case_values_there_is_a_table_and_no_comparison():
    made = [
        cell(n, s, [None, None], metric="kid@pca7", better="lower", mean=k)
        for s in range(2)
        for n, k in (("a", 0.2), ("b", 0.1))
    ]
    found = compared(made)
    assert [r["net"] for r in found["rows"]] == ["b", "a"] and found["ranking"] is None and found["auroc"] == []
    assert found["rows"][1]["p"] is None and "no paired comparison" in found["sentences"][0]


def test_equal_differences_of_all_cases_have_no_interval():
    found = compared([cell("a", 0, [1.0] * 10, metric="accuracy"), cell("b", 0, [0.0] * 10, metric="accuracy")])
    row = found["rows"][1]
    assert (row["difference"], row["difference low"], row["p"]) == (-1.0, None, 2 / 2**10) and row["supported"]
    assert "no interval" in found["sentences"][0] and found["sentences"][0].endswith("the difference is supported.")
    same = compared([cell("a", 0, [1.0, 0.0, 1.0]), cell("b", 0, [1.0, 0.0, 1.0])])
    assert same["rows"][1]["p"] == 1 and same["sentences"][0].endswith("no difference is supported.")


def test_one_network_is_compared_with_nothing():
    found = compared([cell("a", 0, [0.5, 0.6])])
    assert found["sentences"] == [] and found["ranking"] is None and "difference" not in found["rows"][0]


def scored(net, shift, groups):
    rng, n = np.random.default_rng(len(net)), 40
    truth = np.arange(n) % 2
    upper = 1 / (1 + np.exp(-(rng.normal(size=n) + shift * (2 * truth - 1))))
    names = ["healthy", "ill"]
    return cell(
        net, 0, [float((u > 0.5) == t) for u, t in zip(upper, truth, strict=True)], groups, metric="accuracy",
        scores={f"c{k}": {"healthy": 1 - u, "ill": float(u)} for k, u in enumerate(upper)},
        truth={f"c{k}": names[t] for k, t in enumerate(truth)},
    )  # fmt: skip


def test_classification_is_compared_by_auroc_too():
    found = compared([scored("poor", 0.1, None), scored("good one", 2.0, None)])
    assert [r["net"] for r in found["auroc"]] == ["poor", "good one"]
    (row,) = [r for r in found["auroc"] if "p" in r]
    assert row["net"] == "poor" and row["method"] == "DeLong" and row["supported"] and row["difference"] < 0
    assert len(found["auroc sentences"]) == 1 and "by DeLong" in found["auroc sentences"][0]
    three = compared([scored("poor", 0.1, None), scored("other", 0.2, None), scored("good one", 2.0, None)])
    assert len(three["auroc sentences"]) == 3 and "not counted" in three["auroc sentences"][-1]


def test_auroc_of_clustered_cases_is_not_left_to_delong():
    groups = [f"g{k // 4}" for k in range(40)]
    found = compared([scored("poor", 0.1, groups), scored("good one", 2.0, groups)])
    assert {r["method"] for r in found["auroc"] if "p" in r} == {"resampled groups"}
    assert "independent" in found["auroc sentences"][0] and "by resampled groups" in found["auroc sentences"][1]


def masked(net, seed, nll, groups=None, **more):
    """A segmentation whose voxels have these NLL, and a Brier score and an ECE of half and a tenth of it."""
    sure = {
        name: {f"c{k}": None if v is None else share * v for k, v in enumerate(nll)}
        for name, share in (("nll", 1), ("brier", 0.5), ("ece", 0.1))
    }
    return cell(net, seed, [0.9 - 0.01 * k for k in range(len(nll))], groups, voxels=sure, **more)


def test_masks_are_compared_by_how_sure_their_voxels_are():
    found = compared([masked("a", 0, [0.2, 0.4, None, 0.6]), masked("b", 0, [0.1, 0.2, 0.3, 0.4])])
    rows = {r["net"]: r for r in found["sureness"]}
    assert [r["net"] for r in found["sureness"]] == [r["net"] for r in found["rows"]]
    # the case without such voxels is left out
    assert (rows["a"]["nll"], rows["a"]["brier"], rows["a"]["ece"]) == pytest.approx((0.4, 0.2, 0.04))
    assert rows["b"]["nll"] == pytest.approx(0.25)
    for name in ("nll", "brier", "ece"):
        assert 0 <= rows["a"][f"{name} low"] < rows["a"][name] < rows["a"][f"{name} high"]
    assert "decides which voxels count" in found["sureness sentences"][0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_network_that_fails_where_masks_are_hard_is_not_the_surer_one():
    frail, firm = masked("a", 0, [0.1, 0.1, None], missing=("c2",)), masked("b", 0, [0.1, 0.1, 0.9])
    found = compared([frail, firm])
    assert [(r["nll"], r["cases"]) for r in found["sureness"]] == [(pytest.approx(0.1), 2)] * 2
    assert found["sureness sentences"][1].endswith("gave no result are left out here for all of them: 1.")
    whole = compared([firm, masked("c", 0, [0.2, 0.2, None])])
    assert [r["cases"] for r in whole["sureness"]] == [3, 2] and len(whole["sureness sentences"]) == 1
    # one seed of several
    several = [masked(n, s, [0.1, 0.1, 0.9]) for n in "ab" for s in range(2)]
    several[1] = masked("a", 1, [0.1, 0.1, None], missing=("c2",))
    assert [r["cases"] for r in compared(several)["sureness"]] == [2, 2]


def test_the_sureness_of_several_seeds_holds_the_doubt_of_the_seeds():
    values = np.random.default_rng(5).uniform(0.2, 0.4, 12)
    same = compared([masked("a", s, list(values)) for s in range(3)])["sureness"][0]
    apart = compared([masked("a", s, list(values + 0.1 * s)) for s in range(3)])["sureness"][0]
    assert apart["nll"] == pytest.approx(same["nll"] + 0.1)
    assert apart["nll high"] - apart["nll low"] > 1.5 * (same["nll high"] - same["nll low"])
    assert apart["nll low"] >= 0 and apart["ece high"] <= 1


def test_evaluations_that_have_not_looked_at_voxels_say_nothing_of_them():
    bare = compared([cell("a", 0, [0.5, 0.6]), cell("b", 0, [0.4, 0.5])])
    assert bare["sureness"] == [] and bare["sureness sentences"] == []
    mixed = compared([masked("a", 0, [0.2, 0.4]), cell("old", 0, [0.4, 0.5])])
    rows = {r["net"]: r for r in mixed["sureness"]}
    assert rows["a"]["nll"] == pytest.approx(0.3) and rows["old"]["nll"] is None and rows["old"]["nll low"] is None


def sure_classes(net, shift, seed):
    """A classification with the metrics that an evaluation of its probabilities gives."""
    made = scored(net, shift, None)
    p = np.array([[row["healthy"], row["ill"]] for row in made.scores.values()])
    truth = np.array([int(t == "ill") for t in made.truth.values()])
    more = {m.__name__.rsplit(".")[-1]: m.measure(p, truth) for m in (nll, brier, ece)}
    rows = {name: {"mean": v, "low": v - 0.01, "high": v + 0.01, "better": "lower"} for name, v in more.items()}
    return dataclasses.replace(made, seed=seed, metrics=made.metrics | rows)


def test_classes_have_the_numbers_of_their_evaluation():
    (row,) = compared([sure_classes("a", 1.0, 0)])["sureness"]
    own = sure_classes("a", 1.0, 0).metrics
    for name in ("nll", "brier", "ece"):
        assert (row[name], row[f"{name} low"]) == (own[name]["mean"], own[name]["low"])
    several = compared([sure_classes("a", 1.0, s) for s in range(2)])
    (row,) = several["sureness"]
    for name in ("nll", "brier"):
        assert row[f"{name} low"] < row[name] < row[f"{name} high"]
        assert row[name] == pytest.approx(own[name]["mean"])
    assert row["ece"] == own["ece"]["mean"] and row["ece low"] is None
    assert "ECE has no interval" in several["sureness sentences"][0]


def test_a_false_alarm_costs_beside_a_network_that_rightly_found_nothing():
    """In the last four cases nothing is there; `calm` finds nothing in them, `loud` finds something in three."""
    there = [0.8, 0.7, 0.9, 0.6]
    calm = cell("calm", 0, [*there, None, None, None, None])
    loud = cell("loud", 0, [*[v + 0.01 for v in there], 0.0, 0.0, 0.0, None])
    found = compared([loud, calm])
    best, other = found["rows"]
    assert (best["net"], best["dice"], best["cases"]) == ("calm", pytest.approx(6 / 7), 7)
    assert (other["net"], other["dice"], other["cases"]) == ("loud", pytest.approx(3.04 / 7), None)
    assert other["difference"] == pytest.approx(other["dice"] - best["dice"])
    assert next(iter(found["ranking"]["shares"])) == "calm" and best["low"] < best["dice"] < best["high"]
    assert "counts as dice 1, the best there is: 3 of calm." in found["notes"][0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_of_several_seeds_each_one_is_charged_for_its_own_false_alarms():
    there = [0.8, 0.7, 0.9, 0.6, 0.7, 0.8]
    seeds = [cell("a", 0, [*there, None, None]), cell("a", 1, [*there, 0.0, None])]
    (row,) = compared(seeds)["rows"]
    assert row["dice"] == pytest.approx((5.5 / 7 + 4.5 / 7) / 2) and row["low"] < row["dice"] < row["high"]
    assert (row["lowest seed"], row["highest seed"]) == (pytest.approx(4.5 / 7), pytest.approx(5.5 / 7))


def test_a_cell_can_be_kept_as_json():
    one = cell("failed", 0, [0.8, None], missing=("c1",))
    kept = Cell(**json.loads(json.dumps(dataclasses.asdict(one), allow_nan=False)))
    loud = cell("loud", 0, [0.8, 0.0])
    assert compared([kept, loud])["rows"] == compared([one, loud])["rows"]


def test_lower_is_better_and_a_failed_answer_is_no_right_one():
    far = [cell("calm", 0, [2.0, None, None], metric="hd95_mm", better="lower"),
           cell("loud", 0, [2.0, 90.0, None], metric="hd95_mm", better="lower")]  # fmt: skip
    assert [r["hd95_mm"] for r in compared(far)["rows"]] == [1.0, 46.0]
    failed = cell("failed", 0, [0.8, None], missing=("c1",))
    found = compared([failed, cell("loud", 0, [0.8, 0.0])])
    assert [r["dice"] for r in found["rows"]] == [0.4, 0.4]
    assert found["notes"][0] == "In such cases an answer that failed counts as the worst dice there is: 1 of failed."


def test_what_hangs_on_the_truth_alone_is_left_as_it_is():
    made = [cell(n, 0, [0.5, v], metric="ap50") for n, v in (("a", None), ("b", 0.25))]
    found = compared(made)
    assert not any("the best there is" in note for note in found["notes"])
    assert [r["ap50"] for r in found["rows"]] == [0.5, 0.375]


def boxes(net, seed, rows, groups=None, **more):
    """A detector: rows of (scores of right boxes, scores of false ones, true boxes), matched as the evaluation does."""
    records = {
        f"c{k}": {"1": [[*right, *false], [True] * len(right) + [False] * len(false), real]}
        for k, (right, false, real) in enumerate(rows)
    }
    matched = [{1: (np.array(s), np.array(h), r)} for s, h, r in (one["1"] for one in records.values())]
    values = [ap50.summarise([one]) for one in matched]
    mean = ap50.summarise(matched)
    return cell(net, seed, values, groups, metric="ap50", mean=mean, records=records, **more)


def scans(rng, lesions, healthy, finds, alarms):
    """Lesions found with a chance, each beside it a score; in healthy scans a false box, surer than any right one."""
    found = [([float(rng.uniform(0.3, 0.6))] if rng.random() < finds else [], [], 1) for _ in range(lesions)]
    return found + [([], [float(rng.uniform(0.7, 0.9))] if alarms else [], 0) for _ in range(healthy)]


@pytest.mark.parametrize("seeds", [1, 3])
def test_a_false_alarm_in_each_healthy_scan_costs_a_detector_the_comparison(seeds):
    """`loud` finds a little more, and is the better one by the mean of single cases, where healthy scans have none."""
    rng = np.random.default_rng(8)
    made = [boxes("loud", s, scans(rng, 40, 60, 1.0, True)) for s in range(seeds)]
    made += [boxes("calm", s, scans(rng, 40, 60, 0.65, False)) for s in range(seeds)]
    found = compared(made)
    best, other = found["rows"]
    assert (best["net"], other["net"], found["compared"]) == ("calm", "loud", "set")
    assert other["difference"] == pytest.approx(other["ap50"] - best["ap50"]) and other["difference"] < -0.1
    assert other["difference high"] < 0 and other["p holm"] < 0.05 and other["supported"]
    assert found["ranking"]["shares"]["calm"][0] > 0.95
    assert any("so are differences, p and order" in note for note in found["notes"])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    # cells of before hold no records: the headline and the values of cases say the opposite, and nothing is supported
    bare = compared([dataclasses.replace(one, records={}) for one in made])
    assert bare["rows"][1]["difference"] > 0 and bare["rows"][1]["p holm"] < 0.05
    assert not bare["rows"][1]["supported"] and bare["ranking"] is None and bare["compared"] == "cases"
    assert "whose mean is not the ap50 of the whole part" in bare["sentences"][0]


def test_detectors_that_do_not_differ_are_rarely_called():
    rng, called = np.random.default_rng(9), 0
    for _ in range(10):
        made = [boxes(net, 0, scans(rng, 12, 8, 0.7, False)) for net in "ab"]
        called += compared(made)["rows"][1]["supported"]
    # more than two of ten come about once in 90 tries
    assert called <= 2


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_a_detector_that_fails_in_healthy_scans_does_not_lead(seeds, kept):
    """It was credited with having found nothing there, or left them out for itself alone. kept: cells of before."""
    rows, gone = scans(np.random.default_rng(13), 12, 12, 0.8, True), [f"c{k}" for k in range(12, 24)]
    firm = boxes("firm", 0, rows)
    frail = boxes("frail", 0, rows[:12])
    records = frail.records | ({case: {} for case in gone} if kept else {})
    frail = dataclasses.replace(frail, values=firm.values, groups=firm.groups, records=records, missing=tuple(gone))
    assert frail.metrics["ap50"]["mean"] > firm.metrics["ap50"]["mean"]
    found = compared([dataclasses.replace(one, seed=s) for one in (firm, frail) for s in range(seeds)])
    best, other = found["rows"]
    assert best["ap50"] == other["ap50"] == pytest.approx(frail.metrics["ap50"]["mean"])
    assert (other["difference"], other["supported"]) == (0, False)
    told = [note for note in found["notes"] if "without a true box" in note]
    assert [note.split(",")[0] for note in told] == ["frail gave no result in 12 scans without a true box"]
    firmly = next(row for row in found["rows"] if row["net"] == "firm")
    assert firmly["cases"] == 12 and firmly["low"] < firmly["ap50"] < firmly["high"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_order_of_detectors_rests_on_the_patients_with_a_box():
    rows = scans(np.random.default_rng(14), 3, 30, 1.0, False)
    found = compared([boxes("a", 0, rows), boxes("b", 0, [([], [], 1)] * 3 + rows[3:])])
    assert found["ranking"] is None and any("of so few groups: 3" in note for note in found["notes"])


def test_scores_of_detectors_need_not_be_on_one_scale():
    rng = np.random.default_rng(10)
    rows = scans(rng, 20, 20, 0.8, True)
    low = [([s / 100 for s in right], [s / 100 for s in false], real) for right, false, real in rows]
    found = compared([boxes("a", 0, rows), boxes("b", 0, low)])["rows"][1]
    assert (found["difference"], found["p"], found["supported"]) == (0.0, 1.0, False)


def test_seeds_that_disagree_widen_the_difference_of_detectors():
    rng = np.random.default_rng(11)
    one, other = (scans(rng, 30, 10, share, False) for share in (0.9, 0.5))
    alike = compared([boxes("a", s, one) for s in range(3)] + [boxes("b", s, other) for s in range(3)])["rows"][1]
    apart = [boxes("b", s, scans(rng, 30, 10, share, False)) for s, share in enumerate((0.1, 0.5, 0.9))]
    wide = compared([boxes("a", s, one) for s in range(3)] + apart)["rows"][1]
    assert alike["supported"] and not wide["supported"] and wide["p"] > alike["p"]
    assert wide["difference high"] - wide["difference low"] > 2 * (alike["difference high"] - alike["difference low"])


def test_the_interval_of_a_detector_holds_the_doubt_of_its_seeds():
    """Of several seeds there was none: ap50 is no mean of the values of single scans."""
    rng = np.random.default_rng(15)
    one = scans(rng, 30, 10, 0.6, True)
    rows = [
        compared([boxes("a", s, one if alike else scans(rng, 30, 10, share, True)) for s, share in enumerate(shares)])
        for alike, shares in ((True, (0.6, 0.6, 0.6)), (False, (0.3, 0.6, 0.9)))
    ]
    same, apart = (found["rows"][0] for found in rows)
    for row in (same, apart):
        assert 0 <= row["low"] < row["ap50"] < row["high"] <= 1
    assert apart["high"] - apart["low"] > 1.5 * (same["high"] - same["low"])
    # as of one seed: where few patients have a lesion nobody knows
    few = compared([boxes("a", s, scans(rng, 3, 30, 0.6, False)) for s in range(2)])["rows"][0]
    assert few["low"] is None and few["high"] is None


def test_a_pair_without_labels_is_nobody_s_best_or_worst():
    """It has no Dice, of a network that lost it either (`register.Task.missed`)."""
    frail = cell("frail", 0, [0.8, 0.6, None], missing=("c2",))
    found = compared([frail, cell("firm", 0, [0.7, 0.6, None])])
    assert [r["dice"] for r in found["rows"]] == pytest.approx([0.7, 0.65])
    assert not any("best there is" in note or "worst" in note for note in found["notes"])


def test_a_network_that_fails_in_hard_cases_is_not_the_best_by_them():
    """PSNR has no worst value: `frail` would lead by a mean that leaves its hardest case out."""
    easy = [31.0, 32.0, 33.0, 30.0]
    firm = cell("firm", 0, [*[v + 0.5 for v in easy], 12.0], metric="psnr_db")
    frail = cell("frail", 0, [*easy, None], metric="psnr_db", missing=("c4",))
    found = compared([firm, frail])
    best, other = found["rows"]
    assert (best["net"], best["psnr_db"], other["psnr_db"]) == ("firm", 32.0, 31.5)
    assert (best["cases"], other["difference"]) == (4, -0.5)
    assert best["low"] < best["psnr_db"] < best["high"]
    assert found["notes"][0].startswith("frail gave no result in 1 case, for which there is no worst psnr_db")
    # of several seeds what one of them lost
    several = [firm, dataclasses.replace(firm, seed=1), frail, dataclasses.replace(firm, net="frail", seed=1)]
    assert [r["psnr_db"] for r in compared(several)["rows"]] == [32.0, 31.75]
    whole = compared([firm, dataclasses.replace(firm, net="other")])
    assert whole["rows"][0]["cases"] is None and not any("no result" in note for note in whole["notes"])
