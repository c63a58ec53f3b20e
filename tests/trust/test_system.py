"""Of several networks the most careful one decides, and what each promises stays its own."""

from types import SimpleNamespace
from typing import Any

import pytest

from hilum.core.findings import Verdict
from hilum.infer.promise import Promise
from hilum.trust.system import System, _promised, promised_of, together


def test_the_most_careful_verdict_counts_and_says_whose_it_is() -> None:
    found = together(
        {
            "bones": Verdict("accept", ("Sure enough.",)),
            "organs": Verdict("flag", ("Blurred.", "Doubtful.")),
            "vessels": Verdict("person", ("Unlike.", "Blurred.")),
        }
    )
    assert found.decision == "person"
    assert found.reasons == ("organs, vessels: Blurred.", "organs: Doubtful.", "vessels: Unlike.")


def test_where_all_accept_each_promises_for_itself() -> None:
    both = {"bones": Verdict("accept", ("Of 10.",)), "organs": Verdict("accept", ("Of 12.", "Of 10."))}
    assert together(both) == Verdict("accept", ("bones, organs: Of 10.", "organs: Of 12."))


def test_what_all_say_is_said_once() -> None:
    assert together({"bones": Verdict(), "organs": Verdict()}) == Verdict()


def test_an_interval_is_handed_on_where_the_merging_took_nothing() -> None:
    said = {
        "bones": {"volume of hip": {"low": 1}, "volume of rib": {"low": 2}, "dice": {"low": 3}},
        "organs": {"volume of liver": {"low": 4}, "dice": {"low": 5}},
    }
    classes = {"bones": ["hip", "rib"], "organs": ["liver"]}
    # a mean over bones is of bones of which the merging took something
    assert promised_of(said, classes, {"hip", "liver"}) == {
        "volume of hip": {"low": 1}, "volume of liver": {"low": 4}, "dice of organs": {"low": 5},
    }  # fmt: skip
    every = promised_of(said, classes, {"hip", "rib", "liver"})
    assert every["dice of bones"] == {"low": 3} and len(every) == 5


def test_what_the_network_in_the_middle_held_is_not_forgotten() -> None:
    """Each part, when it is tried, forgets the peak of the part before, and says what it was."""
    parts: list[Any] = [
        SimpleNamespace(promised=Promise(10, window, 0, 0, 0, seconds, tried=tried, later=later))
        for window, tried, seconds, later in ((5, 11, 6.0, 15), (20, 15, 4.0, 7), (1, 30, 2.0, 0))
    ]
    found = _promised([*parts, SimpleNamespace(promised=None)])  # type: ignore[list-item]
    # what the first one told, which is known before the others are computed
    assert found is not None and (found.total, found.seconds, found.tried) == (30, 6.0, 30)
    # while the image was read there may have been more
    assert _promised(parts, 40).total == 40  # type: ignore[union-attr]
    assert _promised([]) is None


@pytest.mark.parametrize("cards", [(False, False), (False, True), (True, False)])
def test_one_part_on_a_card_is_enough_to_be_on_it(cards: tuple[bool, bool]) -> None:
    parts: Any = {str(number): SimpleNamespace(on_card=card) for number, card in enumerate(cards)}
    assert System.on_card.fget(SimpleNamespace(parts=parts)) == any(cards)  # type: ignore[attr-defined]
