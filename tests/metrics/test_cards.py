"""Every metric says how it is read: direction, range, aggregation, what is empty, what is missing, and its suffixes."""

import inspect
import math

import numpy as np
import pytest

from hilum.core import catalogue
from hilum.metrics import _names

CARDS = catalogue.cards("hilum.metrics")
TAKES = {
    "masks", "instances", "probabilities", "counts", "scores", "boxes", "field", "pictures", "features", "seconds",
}  # fmt: skip
NAMES = (
    "dice hd95_mm nsd_1mm volume_error_ml accuracy balanced_accuracy macro_f1 auroc nll brier ece froc ap50 map "
    "folding_percent landmark_mm psnr_db ssim nmse kid fid recall latency_s throughput"
)
KEYS = {"better", "unit", "range", "level", "takes", "aggregate", "missing", "empty", "source", "module"}


def test_the_promised_names_are_there() -> None:
    assert set(NAMES.split()) <= CARDS.keys()


@pytest.mark.parametrize("name", CARDS)
def test_a_card_says_how_the_number_is_read(name: str) -> None:
    card = CARDS[name]
    assert card.keys() >= KEYS and card.keys() - KEYS <= {"suffix"}
    assert card["better"] in ("higher", "lower") and card["level"] in ("case", "set") and card["takes"] in TAKES
    assert all(isinstance(card[key], str) for key in ("unit", "aggregate", "missing", "empty", "source"))
    assert all(len(card[key]) > 1 or card[key].isdigit() for key in ("aggregate", "missing", "empty", "source"))
    low, high = card["range"]
    assert low is None or high is None or low < high
    assert callable(catalogue.load("hilum.metrics", name).measure)


@pytest.mark.parametrize("name", CARDS)
def test_the_unit_stands_in_the_name(name: str) -> None:
    endings = {"mm": "_mm", "ml": "_ml", "s": "_s", "dB": "_db", "%": "_percent"}
    ending = endings.get(CARDS[name]["unit"])
    assert ending is None or name.endswith(ending)


@pytest.mark.parametrize("name", CARDS)
def test_one_value_per_case_is_averaged_over_cases(name: str) -> None:
    assert ("over cases" in CARDS[name]["aggregate"]) == (CARDS[name]["level"] == "case")


@pytest.mark.parametrize("name", [n for n, card in CARDS.items() if "suffix" in card])
def test_a_suffix_sets_an_argument_that_there_is(name: str) -> None:
    for word, argument in CARDS[name]["suffix"].items():
        assert _names.split(f"{name}@{word}12") == (name, {argument: 12} if argument else {})
        arguments = inspect.signature(catalogue.load("hilum.metrics", name).measure).parameters
        assert not argument or argument in arguments
        assert _names.card(f"{name}@{word}12") == CARDS[name]


REFUSED = ["psnr_db@hu", "psnr_db@400", "psnr_db@bins5", "ece@bins10", "psnr_db@hu0", "dice@hu400", "ece@bins-3"]


@pytest.mark.parametrize("name", REFUSED)
def test_another_suffix_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="knows no suffix"):
        _names.card(name)


def test_a_window_changes_the_number_so_it_stands_in_the_name() -> None:
    # one pair of pictures: 4095 and 400 HU lie 20 log10(4095 / 400) dB apart
    rng = np.random.default_rng(0)
    truth = rng.uniform(-160, 240, (1, 30, 30))
    noisy = truth + rng.normal(0, 20, truth.shape)
    wide, narrow = (_names.function(f"psnr_db@hu{peak}")(noisy, truth) for peak in (4095, 400))
    assert wide is not None and narrow is not None
    assert wide - narrow == pytest.approx(20 * math.log10(4095 / 400)) == pytest.approx(20.2, abs=0.01)
    mse = float(((noisy - truth) ** 2).mean())
    assert narrow == pytest.approx(10 * math.log10(400**2 / mse))
    assert _names.function("ssim@hu4095")(noisy, truth) > _names.function("ssim@hu400")(noisy, truth)


def test_the_number_of_a_lost_case_is_the_one_on_the_card() -> None:
    """Nothing found, as the tasks judge a case without a result, and the ends of the ranges where they can not."""
    empty, truth = np.zeros((6, 6), np.int32), np.zeros((6, 6), np.int32)
    truth[1:4, 1:4] = 1
    found = {name: _names.function(name)(empty > 0, truth > 0, (3.0, 4.0)) for name in ("dice", "nsd_1mm")}
    found |= {name: _names.function(name)(empty, truth) for name in ("pq", "ap50_instances")}
    found["pixel_auroc"] = _names.function("pixel_auroc")(empty.astype(float), truth > 0)
    found |= {"folding_percent": CARDS["folding_percent"]["range"][1], "ssim": CARDS["ssim"]["range"][0]}
    assert {name: float(CARDS[name]["missing"].split(":")[0]) for name in found} == found
    assert _names.function("hd95_mm")(empty > 0, truth > 0, (3.0, 4.0)) == pytest.approx(math.hypot(18, 24))
    for name in ("psnr_db", "nmse", "landmark_mm"):
        low, high = CARDS[name]["range"]
        assert (low if CARDS[name]["better"] == "higher" else high) is None and "left out" in CARDS[name]["missing"]
