"""Terms are ordered from free to strict; what is not surely allowed to be made public is not."""

import pytest

from hilum.core import terms


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("CC0", "public domain"), ("CC0-1.0", "public domain"), ("CC BY 4.0", "attribution"),
        ("CC-BY-3.0", "attribution"), ("Apache-2.0", "attribution"), ("Apache License, Version 2.0", "attribution"),
        ("BSD-3-Clause", "attribution"), ("CC BY-SA 4.0", "share-alike"), ("ODbL-1.0", "share-alike"),
        ("CC BY-NC 4.0", "non-commercial"), ("CC-BY-NC-SA-4.0", "non-commercial"), ("CC BY-ND 4.0", "no derivatives"),
        ("CC BY-NC-ND 4.0", "no derivatives"), ("research", "research"), ("for research use only", "research"),
        ("unknown", "unknown"), ("", "unknown"), ("CC BY 4.0 with exceptions", "unknown"), ("CC", "unknown"),
        ("free", "unknown"), ("mit licence", "unknown"),
    ],
)  # fmt: skip
def test_each_licence_has_one_kind(written: str, kind: str) -> None:
    assert terms.kind(written) == kind


def test_the_strictest_of_several_is_inherited() -> None:
    for place, first in enumerate(EXAMPLES):
        for second in EXAMPLES[place:]:
            assert terms.strictest(f"{first}; {second}") == terms.kind(second) == terms.strictest(f"{second}; {first}")


def test_terms_of_all_sources_hold_together() -> None:
    assert terms.inherited("CC BY-SA 4.0", "CC BY-SA 4.0") == "CC BY-SA 4.0"
    assert terms.inherited("CC0", "research") == "research" and terms.inherited("CC0", "CC0") == "CC0"
    assert terms.inherited("research", "unknown") == "research; unknown"
    assert terms.inherited("a; b", "b", "c") == "a; b; c" and terms.inherited() == terms.inherited("") == "unknown"
    # a source that says nothing is unknown, and one licence may be spelt in two ways
    assert terms.inherited("", "CC BY 4.0") == "unknown; CC BY 4.0" and terms.inherited(";", "CC0") == "unknown"
    assert terms.inherited("CC BY-SA 4.0", "cc-by-sa-4.0") == "CC BY-SA 4.0"
    assert terms.objection("CC BY-SA 4.0; CC-BY-SA-4.0") is None


EXAMPLES = ("CC0", "CC BY 4.0", "CC BY-SA 4.0", "CC BY-NC 4.0", "CC BY-ND 4.0", "research", "who knows")


def test_the_examples_stand_in_the_written_order() -> None:
    assert tuple(map(terms.kind, EXAMPLES)) == terms.ORDER


@pytest.mark.parametrize(
    "written", ["CC0", "CC BY 4.0", "CC BY-SA 4.0", "CC BY-NC 4.0", "CC0; CC BY 4.0; CC BY-NC 4.0"]
)
def test_these_may_be_made_public(written: str) -> None:
    assert terms.objection(written) is None
    assert len(terms.conditions(written)) == len(terms.parts(written))


@pytest.mark.parametrize(
    "written", ["research", "unknown", "", "CC BY-ND 4.0", "CC BY 4.0; research", "CC0; unknown", "ask me", "; ;"]
)
def test_these_may_not(written: str) -> None:
    assert terms.objection(written)


def test_adding_terms_never_allows_more() -> None:
    for first in EXAMPLES:
        for second in EXAMPLES:
            if terms.objection(first) is not None:
                assert terms.objection(f"{first}; {second}") is not None


def test_two_terms_that_both_ask_for_themselves_can_not_be_kept() -> None:
    assert "does not allow" in str(terms.objection("CC BY-SA 4.0; CC BY-NC 4.0"))
    assert "does not allow" in str(terms.objection("CC BY-SA 4.0; CC BY-NC-SA 4.0"))
    assert terms.objection("CC BY-SA 4.0; CC BY 4.0") is None
    assert terms.objection("CC BY-NC 4.0; CC BY 4.0") is None


def test_share_alike_is_said_with_its_condition() -> None:
    assert "these terms only" in terms.conditions("CC BY-SA 4.0")[0]
    assert "commercial" in terms.conditions("CC BY-NC-SA 4.0")[0]
    assert "these terms only" in terms.conditions("CC BY-NC-SA 4.0")[0]


def test_non_commercial_terms_of_one_kind_stand_together() -> None:
    assert terms.objection("CC BY-NC 4.0; CC BY-NC-SA 4.0") is None
