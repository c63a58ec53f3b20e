"""Figures of the pages are those of the tables they cite, as they are committed."""

import json
import re
from pathlib import Path
from typing import Any

from scipy.stats import binomtest

from hilum.evaluation.multiple import holm

ROOT = Path(__file__).parents[2]
RANGE = re.compile(r"(-?\d\.\d+)\s\((-?\d\.\d+) to (-?\d\.\d+)")
# A mean or a difference with its interval.
SAME = "hilum-same-files"
# Hilum, on those of the damaged files that the peers read too.

Figure = tuple[str, ...]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def table(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text(encoding="utf-8"))


def rounded(row: dict[str, Any], *keys: str) -> Figure:
    return tuple(f"{row[key]:.3f}" for key in keys)


def training(data: str, metric: str) -> list[dict[str, Any]]:
    """Rows of the table of training: Hilum's, then those of its peers."""
    return [row for row in table("training")["summary"] if (row["data"], row["metric"]) == (data, metric)]


def test_differences_that_a_survey_claims_are_those_of_the_table() -> None:
    pairs = [pair for one in table("segmentation_zoo")["learning"]["tables"].values() for pair in one["pairs"]]
    wanted = {rounded(pair, "difference", "low", "high") for pair in pairs}
    assert set(RANGE.findall(page("explanation/segmentation-claims.md"))) == wanted
    assert {pair["here"] for pair in pairs} == {"not supported"}, "the page calls none of them supported"


def test_the_run_that_is_looked_at_has_the_figures_of_its_row() -> None:
    text = page("how-to/is-this-model-good-enough.md")
    ours, peer = training("chest_xray", "accuracy")
    (border,) = training("chest_xray border only", "accuracy")
    wanted = {rounded(row, "mean", "low", "high") for row in (ours, border)}
    assert set(RANGE.findall(text)) == wanted | {rounded(peer, "hilum - peer", "gap low", "gap high")}
    assert f"reaches {peer['mean']:.3f} on the same cases" in text and peer["supported"] == "no"
    cells = [cell for cell in table("training")["cells"] if (cell["data"], cell["system"]) == ("chest_xray", "hilum")]
    for cell in cells:
        accuracy = re.match(r"accuracy (\d\.\d+)", cell["values"])
        assert accuracy is not None and f"{float(accuracy[1]):.3f}" in text, f"seed {cell['seed']}"


def test_two_runs_of_unlike_programs_are_not_set_beside_each_other_as_equals() -> None:
    """The control of the frame alone was trained by an older program and made fewer steps in as many minutes."""
    text = " ".join(page("how-to/is-this-model-good-enough.md").split())
    first = [cell for cell in table("training")["cells"] if (cell["system"], cell["seed"]) == ("hilum", 0)]
    both = [cell for cell in first if cell["data"] in ("chest_xray", "chest_xray border only")]
    if both[0]["commit"] != both[1]["commit"]:
        assert all(f"{cell['steps']:,} steps" in text and cell["commit"] in text for cell in both)


def test_what_doubt_is_worth_is_told_as_it_was_measured() -> None:
    text, gate = (" ".join(page(f"how-to/{n}.md").split()) for n in ("is-this-model-good-enough", "choose-the-gate"))
    (row,) = [row for row in table("trust_figures")["rows"] if row["data"] == "chest_xray"]
    low, high = (100 * row[f"band {end}"] for end in ("low", "high"))
    assert f"they held it for {100 * row['coverage']:.1f} % (of one such split {low:.1f} to {high:.1f} % are" in text
    assert f"with {row['set size']:.2f} classes on average" in text
    ways = ("doubt", "doubt, mean of views", "doubt, mean of 3 networks")
    for way in ways:
        before, after = row[f"{way}: error"], row[f"{way}: error of the rest"]
        assert f"from {100 * before:.1f} % to {100 * after:.1f} %" in text, way
    one, views, networks = (f"{row[f'{way}: cut']:.2f}" for way in ways)
    told = f"by {one} with one network, by {views} with the mean of its views and by {networks} with the mean of three"
    assert f"{row['test']} chest X-rays" in gate and told in gate
    others = {row["data"]: row for row in table("trust_figures")["rows"]}
    for name, what, way in (
        ("breast_ultrasound", "breast ultrasounds", "views"), ("brain_tumour_mri", "MR images of brains", "2 networks"),
    ):  # fmt: skip
        row = others[name]
        first, second = (f"{row[f'{w}: cut']:.2f}" for w in ("doubt", f"doubt, mean of {way}"))
        said = gate[gate.index(f"{row['test']} {what}") :]
        assert re.match(rf"[\w ]+ by {first} and the mean of (its views|two) by {second}\b", said), name


def test_limits_name_the_simple_methods_that_are_not_beaten() -> None:
    text = " ".join(page("explanation/limits.md").split())
    ours, otsu = training("dermoscopy lesions", "dice")
    assert f"higher Dice ({otsu['mean']:.3f} against {ours['mean']:.3f}, and neither lead is supported)" in text
    assert otsu["mean"] > ours["mean"] and otsu["supported"] == "no"
    rows = [*training("nuclei foreground", "dice"), *training("nuclei instances", "ap50_instances")]
    for data in ("chest_xray", "brain_tumour_mri", "breast_ultrasound"):
        rows += training(data, "accuracy")
    assert {row["supported"] for row in rows if row["system"] != "hilum"} == {"no"}


def test_what_is_accepted_silently_is_told_beside_what_others_accept() -> None:
    text, found = " ".join(page("explanation/reading.md").split()), table("reading_mutations")
    rows = {(row["format"], row["reader"]): row for row in found["rows"]}
    for form in (".dcm", ".nii"):
        # of all files, and of those that others read too
        for reader in ("hilum", SAME, "simpleitk"):
            row = rows[form, reader]
            assert f"{100 * row['silent']:.1f} %" in text and f"{row['files']:,}" in text, (form, reader)
    alone = {tuple(key.split()): counts for key, counts in found["alone"].items()}
    chances = holm([float(binomtest(ours, ours + theirs).pvalue) for ours, theirs in alone.values()])
    shown = {key for key, p in zip(alone, chances, strict=True) if p is not None and p <= 0.05}
    assert f"by Holm over {len(alone)} comparisons" in text
    more = {key for key in shown if alone[key][0] > alone[key][1]}
    assert more == {(".nii", "simpleitk")}
    ours, theirs = alone[".nii", "simpleitk"]
    assert f"of plain NIfTI ({ours} files by Hilum alone, {theirs} by SimpleITK alone)" in text
    fewer = {(".dcm", "pydicom"), (".nii", "nibabel"), (".nii.gz", "nibabel")}
    assert shown - more == fewer | {(form, "simpleitk") for form in (".nii.gz", ".mha", ".nrrd")}
    few = [row["files"] for (form, reader), row in rows.items() if form in (".png", ".jpg", ".tif") and reader == SAME]
    assert f"Of DICOM beside SimpleITK, and of `.png`, `.jpg` and `.tif` ({min(few)} to {max(few)} files)" in text


def test_a_body_at_3_mm_is_told_as_it_was_measured() -> None:
    text = " ".join(page("explanation/limits.md").split())
    systems = table("predict")["scenes"]["body CT, 3 mm, 104 classes"]["systems"]
    ours, theirs, half, eight = (systems[n] for n in ("hilum", "MONAI", "hilum openvino-bf16", "hilum openvino-int8"))
    times, share = theirs["seconds"] / ours["seconds"], theirs["peak"] / ours["peak"]
    assert f"takes {ours['seconds']:.1f} s and {ours['peak'] / 2**30:.1f} GB" in text
    assert f"{times:.2f} times as fast as MONAI's pipeline" in text and f"1/{share:.1f} of its memory" in text
    assert times < 3 and "where 3 times as fast was sought" in text
    assert systems["nnU-Net"]["stopped"] == "out of memory"
    same = [100 * system["agreement"]["equal"] for system in (half, eight)]
    assert f"In bfloat16 it is {half['seconds']:.1f} s, and {same[0]:.2f} % of the labels" in text
    assert f"in eight bits {eight['seconds']:.1f} s and {same[1]:.1f} %" in text


def test_how_much_of_the_time_is_the_network() -> None:
    text, shares = " ".join(page("explanation/limits.md").split()), []
    for name in ("hippocampus_mri", "retina_vessels"):
        runs = sorted(table("predict")["scenes"][name]["systems"]["hilum"]["runs"], key=lambda run: run["seconds"])
        # as in the table of parts, of the middle round
        middle = runs[(len(runs) - 1) // 2]
        shares.append(100 * middle["told"]["seconds"]["network"] / middle["seconds"])
    assert f"Of Hilum's time {shares[0]:.0f} % (hippocampi) and {shares[1]:.0f} % (retinas) is the network" in text


def test_more_minutes_brought_what_the_first_run_says() -> None:
    text = " ".join(page("tutorials/first-run.md").split())
    short, long = (training(f"hippocampus_mri {minutes} min", "dice")[0]["mean"] for minutes in (12, 45))
    assert f"came to Dice {short:.3f}, 45 to {long:.3f}" in text


def test_how_many_unlike_images_are_called_so_is_told_as_it_was_measured() -> None:
    rows = {(r["run"].split(",")[0], r["against"]): r for r in table("trust_outliers")["rows"]}
    fundus, moved = (rows["chest_xray", n]["called unlike"] for n in ("retina_vessels", "motion, middle"))
    heads = rows["brain_tumour_mri", "head_ct_haemorrhage"]["called unlike"]
    told = " ".join(page("explanation/trust.md").split())
    assert f"{fundus:.0%} of 20".replace("%", " %") in told and moved < 0.01
    assert f"a model of brain MR {100 * heads:.0f} % of CTs of the head" in told
    contrast = [r for (_, against), r in rows.items() if against == "contrast, middle"]
    assert all(r["baseline"] > r["joined"] for r in contrast)


def test_the_lead_on_hippocampi_is_told_as_it_was_measured() -> None:
    limits = " ".join(page("explanation/limits.md").split())
    (peer,) = (r for r in training("hippocampus_mri 12 min", "dice") if r["system"] == "MONAI DynUNet")
    assert f"{peer['hilum - peer']:.3f} ({peer['gap low']:.3f} to {peer['gap high']:.3f}) after 12 minutes" in limits


def test_memory_of_training_is_told_as_it_was_measured() -> None:
    rows = table("training_memory")["rows"]
    low, high = (pick(row["off %"] for row in rows) for pick in (min, max))
    assert f"between {-low:.0f} % below and {high:.0f} % above" in " ".join(page("explanation/planning.md").split())
    held = [row["measured MB"] * 2**20 / 1e9 for row in rows]
    told = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"took {min(held):.1f} to {max(held):.1f} GB" in told
