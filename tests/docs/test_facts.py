"""What pages say of the program beside their drawn parts: names in files, sums from rules."""

import inspect
import re
from pathlib import Path
from typing import Any

from hilum.data import splits
from hilum.io import kspace
from hilum.planning import planner
from hilum.trust import conformal

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    return " ".join((ROOT / "docs" / name).read_text(encoding="utf-8").split())


def test_every_name_that_is_read_of_a_k_space_file_is_explained() -> None:
    names = {*re.findall(r'hdf5\.dataset\(file, "(\w+)"\)', inspect.getsource(kspace)), *kspace.TARGETS}
    assert len(names) == 5
    text = page("reference/dataset-layouts.md")
    assert [name for name in sorted(names) if f"| `{name}` |" not in text] == []


def test_how_many_patients_the_gate_takes_follows_from_the_parts() -> None:
    share = splits.SHARES[splits.PARTS.index("val")]
    for error, fewest, whole in ((0.1, 9, 90), (0.05, 19, 190)):
        assert conformal.least(error) == fewest and round(fewest / share) == whole
        for name in ("tutorials/first-run.md", "how-to/choose-the-gate.md"):
            assert re.search(rf"\b{fewest}\b", page(name)) and re.search(rf"\b{whole}\b", page(name)), name
    assert "fewer than 9 validation patients, about 90 in all" in page("how-to/classify-images.md")


def test_the_seconds_of_a_step_are_named_where_minutes_are() -> None:
    assert '"seconds_per_step"' in inspect.getsource(planner)
    for name in ("reference/plan.md", "tutorials/first-run.md"):
        assert "`machine.seconds_per_step`" in page(name), name


def test_the_share_of_the_minutes_that_is_planned_is_one_number() -> None:
    from hilum.learn import _pace

    for name in ("explanation/training.md", "explanation/rooms.md"):
        assert f"{100 * _pace.MARGIN:g} % of what is left" in page(name), name


def test_mirroring_alone_is_as_frequent_in_short_runs() -> None:
    from hilum.core import catalogue

    cards: dict[str, Any] = catalogue.cards("hilum.prepare.augment")
    assert [name for name, card in cards.items() if "probability" not in card["options"]] == ["flip"]
    assert "all of it but mirroring is rarer" in page("explanation/augmentation.md")
    assert "but for mirroring, which stays" in page("explanation/planning.md")


def test_how_long_workers_are_waited_for_is_told() -> None:
    from hilum.verbs import _cluster

    words = {600: "ten minutes"}[_cluster.PATIENCE]
    assert f"it has no worker for {words}" in page("reference/errors.md")
