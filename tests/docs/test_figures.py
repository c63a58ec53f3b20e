"""Figures of the pages are those of the tables they cite, as they are committed."""

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RANGE = re.compile(r"(-?\d\.\d+)\s\((-?\d\.\d+) to (-?\d\.\d+)")
# A mean or a difference with its interval.

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
    text = page("explanation/reading.md")
    silent = {(row["format"], row["reader"]): row["silent"] for row in table("reading_mutations")["rows"]}
    for form in (".dcm", ".nii"):
        ours, other = silent[form, "hilum"], silent[form, "simpleitk"]
        assert ours > other and f"{100 * ours:.1f} %" in text and f"{100 * other:.1f} %" in text, form
    for (form, reader), share in silent.items():
        beaten = (form, reader) in ((".dcm", "simpleitk"), (".nii", "simpleitk"))
        assert beaten or reader == "hilum" or share > silent[form, "hilum"], (form, reader)


def test_more_minutes_brought_what_the_first_run_says() -> None:
    text = " ".join(page("tutorials/first-run.md").split())
    short, long = (training(f"hippocampus_mri {minutes} min", "dice")[0]["mean"] for minutes in (12, 45))
    assert f"came to Dice {short:.3f}, 45 to {long:.3f}" in text
