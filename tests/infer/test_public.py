"""A model is made public only where the terms of everything it came from surely allow that."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundle

Trained = Callable[[str], Run]


def under(terms: str | None, trained: Trained, folder: Path) -> Run:
    """The tiny run as if its data had these terms."""
    shutil.copytree(trained("classify").path, folder)
    run = Run(folder)
    plan = run.plan
    data = {key: value for key, value in plan.data.items() if key != "terms"}
    plan.model_copy(update={"data": data if terms is None else data | {"terms": terms}}).write(folder / "plan.json")
    facts = run.json("fingerprint.json")
    facts["settings"]["terms"] = terms or "unknown"
    (folder / "fingerprint.json").write_text(json.dumps(facts))
    run.write_manifest()
    return run


@pytest.mark.parametrize(
    "terms", ["research", "unknown", None, "CC BY-ND 4.0", "CC BY 4.0; research", "ask the author"]
)
def test_terms_that_do_not_surely_allow_it_are_refused(terms: str | None, trained: Trained, tmp_path: Path) -> None:
    run, path = under(terms, trained, tmp_path / "run"), tmp_path / "model.hilum"
    with pytest.raises(HilumError, match="can not be made public") as error:
        bundle.write(run, path, public=True)
    assert error.value.code == "HIL-INFER-10" and not path.exists()


@pytest.mark.parametrize("terms", ["CC0", "CC BY 4.0", "CC BY-SA 4.0", "CC BY-NC 4.0"])
def test_terms_that_allow_it_travel_with_their_conditions(terms: str, trained: Trained, tmp_path: Path) -> None:
    path = tmp_path / "model.hilum"
    card = bundle.write(under(terms, trained, tmp_path / "run"), path, public=True)
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("card.json")) == card
    assert card["terms_of_weights"] == terms and card["conditions"][0].startswith(f"{terms}: ")
    assert bundle.verify(path)["conditions"] == card["conditions"]


def test_a_plan_that_says_more_than_the_data_allow_does_not_make_them_free(trained: Trained, tmp_path: Path) -> None:
    run = under("research", trained, tmp_path / "run")
    run.plan.edited({"data.terms": "CC0"}).write(run.path / "plan.json")
    run.write_manifest()
    with pytest.raises(HilumError, match="allows research only") as error:
        bundle.write(run, tmp_path / "model.hilum", public=True)
    assert error.value.code == "HIL-INFER-10"


def test_the_remedy_is_one_that_this_run_can_follow(trained: Trained, tmp_path: Path) -> None:
    """It named a dataset.yaml also where there is none, and where the weights came from a file without terms."""

    def remedy(run: Run) -> str:
        run.write_manifest()
        with pytest.raises(HilumError, match="HIL-INFER-10") as error:
            bundle.write(run, tmp_path / "model.hilum", public=True)
        return error.value.remedy

    assert remedy(under("unknown", trained, tmp_path / "own")).endswith("in the dataset.yaml and train again")
    begun = under("CC0", trained, tmp_path / "begun")
    begun.plan.edited({"data.terms": "unknown"}).write(begun.path / "plan.json")
    for kind, what in (
        ("file", "import net.pt, which it began with, with its `terms`"),
        ("run", "of net.pt, which it"),
    ):
        source = {"name": "net.pt", "kind": kind, "sha256": "0", "terms": "unknown"}
        (begun.path / "start.json").write_text(json.dumps({"source": source}))
        assert what in remedy(begun) and "dataset.yaml" not in remedy(begun)
    imported = under("unknown", trained, tmp_path / "imported")
    for name in ("split.csv", "fingerprint.json"):
        (imported.path / name).unlink()
    assert "in the facts" in remedy(imported) and "dataset.yaml" not in remedy(imported)


def test_without_public_nothing_is_asked(trained: Trained, tmp_path: Path) -> None:
    card = bundle.write(under("research", trained, tmp_path / "run"), tmp_path / "model.hilum")
    assert "conditions" not in card


def test_the_command_refuses_by_sentence(trained: Trained, tmp_path: Path, hilum: Callable[..., object]) -> None:
    under("research", trained, tmp_path / "run")
    found = hilum("bundle", tmp_path / "run", "--out", tmp_path / "model.hilum", "--public")
    assert found[0] == 2 and "HIL-INFER-10" in found[2] and "research only" in found[2]  # type: ignore[index]
    code, out, _ = hilum("card", tmp_path / "run", "--out", tmp_path / "card")  # type: ignore[misc]
    assert code == 0 and "CLAIM" in out and (tmp_path / "card" / "model_card.md").is_file()
