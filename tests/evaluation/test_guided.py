"""A model judged with another one that says where to look: together they are another model, and that is said."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.evaluation import _parts
from hilum.evaluation.model_card import card, markdown
from hilum.verbs.evaluate import evaluate


@pytest.fixture
def run(trained: Callable[[str], Run], tmp_path: Path) -> Run:
    """Where it may count that it was judged, which it was not yet."""
    shutil.copytree(trained("segment").path, tmp_path / "run")
    ledger = tmp_path / "run" / "ledger.jsonl"
    lines = ledger.read_text(encoding="utf-8").splitlines(keepends=True)
    ledger.write_text("".join(line for line in lines if json.loads(line)["event"] != "evaluate"), encoding="utf-8")
    return Run(tmp_path / "run")


def test_both_models_are_judged_together(run: Run, data: Callable[[str], Path], tmp_path: Path) -> None:
    alone = evaluate(run.path, data("segment"), tmp_path / "alone")
    found = evaluate(run.path, data("segment"), tmp_path / "guided", coarse=run.path)
    told = found["coarse"]
    assert told["hashes"] == run.hashes() and told["windows"] >= found["cases"] and told["of"] >= found["cases"]
    assert 0 <= told["whole"] <= found["cases"] == alone["cases"]
    # on small images all is looked at, and the figures are those of the model alone
    if told["whole"] == found["cases"]:
        assert found["metrics"]["dice"] == alone["metrics"]["dice"]
    assert "coarse" not in alone and json.loads((tmp_path / "guided" / "metrics.json").read_text()) == found
    page = (tmp_path / "guided" / "report.html").read_text()
    assert "said where to look" in page and "said where to look" not in (tmp_path / "alone" / "report.html").read_text()
    looks = [event for event in run.ledger() if event["event"] == "evaluate"]
    assert [("coarse" in event, event["look"]) for event in looks] == [(False, 1), (True, 2)], "both opened the part"


def test_figures_of_both_are_no_result_of_one(run: Run, data: Callable[[str], Path], tmp_path: Path) -> None:
    found = evaluate(run.path, data("segment"), tmp_path / "guided", coarse=run.path)
    assert _parts.apart(run, found) == _parts.GUIDED and _parts.GUIDED in markdown(card(run, found))
    assert _parts.held(run, found, _parts.GUIDED).startswith("no.")
    beside = {"cases": 2, "sentence": "Like its raters."}
    assert beside["sentence"] not in markdown(card(run, found, beside))
    # nor does the run vouch for figures whose file leaves it out
    without = {key: value for key, value in found.items() if key != "coarse"}
    assert _parts.apart(run, without) is None
    assert _parts.held(run, without, None).startswith("no evaluation of that part")


def test_models_that_do_not_go_together_are_refused_before_anything_is_judged(
    run: Run, trained: Callable[[str], Run], data: Callable[[str], Path], tmp_path: Path
) -> None:
    before = run.ledger()
    with pytest.raises(HilumError) as error:
        evaluate(run.path, data("segment"), tmp_path / "guided", coarse=trained("classify").path)
    assert error.value.code == "HIL-INFER-23" and not (tmp_path / "guided").exists()
    assert run.ledger() == before


def test_a_guide_that_learned_from_what_is_judged_is_refused(
    run: Run, data: Callable[[str], Path], tmp_path: Path
) -> None:
    """As one trained with another split has: it would know where to look."""
    shutil.copytree(run.path, tmp_path / "coarse")
    seen = dict.fromkeys(run.json("seen.json"), "train")
    Run(tmp_path / "coarse").put({"seen.json": json.dumps(seen).encode()})
    with pytest.raises(HilumError, match="has learned from") as error:
        evaluate(run.path, data("segment"), tmp_path / "guided", coarse=tmp_path / "coarse")
    assert error.value.code == "HIL-T09" and not (tmp_path / "guided").exists()
    # of cases that the run itself learned from no figure is a result anyway, and they say so
    found = evaluate(run.path, data("segment"), tmp_path / "val", part="val", coarse=tmp_path / "coarse")
    assert found["coarse"]["of"] > 0
