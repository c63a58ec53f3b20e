"""Of several networks the most careful one decides, and what each promises stays its own."""

from hilum.core.findings import Verdict
from hilum.trust.system import promised_of, together


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
    assert promised_of(said, {"hip", "liver"}) == {
        "volume of hip": {"low": 1}, "dice of bones": {"low": 3}, "volume of liver": {"low": 4},
        "dice of organs": {"low": 5},
    }  # fmt: skip
