"""The picture of a network shows what the module does, and its page what its docstrings say."""

import importlib
import re
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, cat, nn

from hilum.core import catalogue

IMAGE = (32, 32)


@pytest.fixture(scope="module")
def tracing() -> Any:
    return importlib.import_module("trace_network")


@pytest.fixture(scope="module")
def drawing() -> Any:
    return importlib.import_module("draw_network")


class Toy(nn.Module):
    """A U of two levels; joins: the skip is read. Three blocks at the bottom, the last layer is enlarged by `times`."""

    ORDER = (("encoder.*",), ("bottom.*",), ("up.*", "decoder.*"), ("head",))

    def __init__(self, joins: bool = True, times: int = 1) -> None:
        super().__init__()
        self.joins, self.times = joins, times
        self.encoder = nn.ModuleList([nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 8, 2, stride=2)])
        self.act = nn.ReLU(inplace=True)
        self.bottom = nn.Sequential(*(nn.Conv2d(8, 8, 1) for _ in range(3)))
        self.up = nn.ModuleList([nn.ConvTranspose2d(8, 4, 2, stride=2)])
        self.decoder = nn.ModuleList([nn.Conv2d(8, 4, 3, padding=1)])
        self.head = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.act(self.encoder[0](x))
        up = self.up[0](self.bottom(self.encoder[1](skip)))
        out: Tensor = self.head(self.decoder[0](cat([up, skip if self.joins else up], dim=1)))
        return nn.functional.interpolate(out, scale_factor=self.times) if self.times > 1 else out


def steps_of(tracing: Any, net: nn.Module) -> list[tuple[list[str], set[int]]]:
    found = tracing.trace(net, [torch.zeros(1, 1, *IMAGE)], ["image"], IMAGE)
    return [(step.names, set(step.reads)) for step in found]


def test_parts_come_in_order_and_a_skip_is_seen(tracing: Any) -> None:
    assert steps_of(tracing, Toy()) == [
        (["image"], set()),
        (["encoder.0"], {0}),
        (["encoder.1"], {1}),
        (["bottom.0", "bottom.1", "bottom.2"], {2}),
        (["up.0", "decoder.0"], {1, 3}),
        (["head"], {4}),
    ]


def test_no_skip_is_drawn_where_none_is_read(tracing: Any) -> None:
    assert steps_of(tracing, Toy(joins=False))[4] == (["up.0", "decoder.0"], {3})


def test_what_is_enlarged_after_the_last_part_is_an_output_of_its_own(tracing: Any) -> None:
    assert steps_of(tracing, Toy(times=2))[-1] == (["output"], {5})


def test_a_part_that_answers_on_many_resolutions_is_opened(tracing: Any) -> None:
    class Deep(nn.Module):
        def __init__(self, count: int) -> None:
            super().__init__()
            inside = nn.Sequential(*(nn.Conv2d(1, 1, 2, stride=2) for _ in range(count)))
            self.body = nn.ModuleDict({"inside": inside})

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.body["inside"](x)
            return out

    assert [names for names, _ in steps_of(tracing, Deep(3))] == [["image"], ["body.inside"]]
    assert [names for names, _ in steps_of(tracing, Deep(4))][1:] == [[f"body.inside.{i}"] for i in range(4)]


def test_channels_stand_first_or_last_and_tokens_have_no_axes(tracing: Any, drawing: Any) -> None:
    for shape in ((1, 5, 8, 8), (1, 8, 8, 5)):
        assert tracing.space_of(shape, IMAGE) == (8, 8) and drawing.amount([shape], IMAGE) == "5 ch"
    assert tracing.space_of((1, 64, 5), IMAGE) is None and drawing.amount([(1, 64, 5)], IMAGE) == "64 tokens of 5"


def test_boxes_of_a_row_do_not_overlap_and_every_line_has_an_end(tracing: Any, drawing: Any) -> None:
    steps = tracing.trace(Toy(), [torch.zeros(1, 1, *IMAGE)], ["image"], IMAGE)
    made = drawing.boxes(steps, IMAGE)
    labels = drawing.placed(made)
    assert [label for label, _ in labels] == ["32 x 32", "16 x 16"]
    assert [box.level for box in made] == [0, 0, 1, 1, 0, 0]
    for row in (0, 1):
        boxes = [box for box in made if box.level == row]
        assert all(a.x + a.wide < b.x for a, b in pairwise(boxes))
    picture = drawing.drawn(steps, IMAGE, "toy")
    assert len(re.findall("<path ", picture)) == sum(len(step.reads) for step in steps)
    assert picture.count('class="skip"') == 1 and "bottom.0-2" in picture


def test_the_first_sentence_on_each_option_is_found() -> None:
    reading = importlib.import_module("read_code")
    text = """widths: channels of each level, full
    resolution first. dim, depth: of the Transformer; depth is even. rest: 1, 2; gate: "a" or "b". Not here.

    query_*: of the decoder."""
    assert reading.meanings(["widths", "dim", "depth", "gate", "query_dim", "none"], text) == {
        "widths": "channels of each level, full resolution first",
        "dim": "of the Transformer; depth is even",
        "depth": "of the Transformer; depth is even",
        "gate": '"a" or "b"',
        "query_dim": "of the decoder",
    }


def test_every_option_of_a_network_has_a_whole_meaning() -> None:
    reading = importlib.import_module("read_code")
    for name, card in catalogue.cards("hilum.zoo").items():
        if card["module"].startswith("hilum."):
            options, text = reading.options_of(card["module"])
            said = reading.meanings(options, text)
            assert options.keys() <= said.keys(), name
            assert all(words and not words.endswith(",") for words in said.values()), name
