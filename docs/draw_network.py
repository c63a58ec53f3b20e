"""The schematic of a network as SVG, drawn from the module itself: its parts in order of call, and what each reads.

    .venv/bin/python docs/draw_network.py unet > unet.svg        one; `make docs` writes those of all networks

The first form of the card's `golden` is built on the meta device, where tensors have a size and no numbers, and one
image goes through in evaluation mode (docs/trace_network.py). Its parts are those of the network's `ORDER`, else its
children; one that works on more than three resolutions is opened. Rows are resolutions, to the right is later, and a
black line is the longest way to a part, blue is what else it reads: skips. Nothing is drawn by hand or listed.

The pictures are committed, unlike the HTML: they are a few kilobytes of text each, the pages show them where code is
hosted, their links can be tested, and the test of the drawn parts tells when one is older than its network.
"""

import functools
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

import torch
from trace_network import Shape, Step, halvings, parent, space_of, trace

from hilum.core import catalogue
from hilum.verbs.zoo import _inputs, _size

LABEL, STEP, GAP, RISE, LINE, LONG = 120, 30, 22, 50, 14, 13
# Room for the sizes on the left; how far the next level is set in; between boxes; between rows; of a line of text.
# Names of more letters are broken.
Point = tuple[float, float]
STYLE = """
text { font: 11.5px system-ui, sans-serif; fill: #1d2733; } .soft { fill: #5a6774; }
rect { fill: #fff; stroke: #5a6774; } .end { fill: #e6ebf0; } .ground { fill: #fbfbf9; stroke: none; }
path { fill: none; stroke: #1d2733; stroke-width: 1.3; } .skip { stroke: #0b76b5; opacity: .8; }
polygon { fill: #1d2733; } .far { fill: #0b76b5; }
"""
TIPS = "".join(
    f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    f'<polygon class="{name}" points="0,0 8,4 0,8"/></marker>'
    for name in ("near", "far")
)


@dataclass
class Box:
    """A step in its place: level counts halvings, None without a resolution; x is the left side, y the middle."""

    step: Step
    space: Shape | None
    level: int | None
    words: list[str]
    x: float = 0.0
    y: float = 0.0

    @property
    def wide(self) -> float:
        return max(56.0, 6.3 * max(map(len, self.words)) + 12)

    @property
    def tall(self) -> float:
        return LINE * len(self.words) + 10.0


def named(names: Sequence[str]) -> list[str]:
    """["up.0", "blocks.0", ..., "blocks.11"] -> ["up.0", "blocks.0-11"]; the same name again is counted."""
    runs: list[list[str]] = []
    for name in names:
        if runs and parent(runs[-1][0]) == parent(name):
            runs[-1].append(name)
        else:
            runs.append([name])
    said = []
    for first, *rest in runs:
        if rest and rest[-1] == first:
            said.append(f"{first}, {len(rest) + 1} times")
        else:
            said.append(f"{first}-{rest[-1].rpartition('.')[2]}" if rest else first)
    return broken(said)


def broken(names: Sequence[str]) -> list[str]:
    """Long names in two lines, what they share once: ["decoder.up.3", "decoder.convs.3"] -> decoder, up.3, convs.3."""
    lines: list[str] = []
    above = ""
    for name in names:
        first, _, rest = name.partition(".")
        if len(name) <= LONG or not rest[:1].isalpha():
            lines.append(name)
            continue
        lines += [rest] if first == above else [first, rest]
        above = first
    return lines


def sides(space: Sequence[int]) -> str:
    """64 x 64."""
    return " x ".join(map(str, space))


def amount(shapes: Sequence[Shape], image: Shape) -> str:
    """Channels, tokens or numbers that a step gives."""
    first = shapes[0]
    if space_of(first, image) is None:
        return f"{first[1]} tokens of {first[2]}" if len(first) == 3 else f"vector of {first[-1]}"
    wide = [shape[1] if space_of(shape, image) == shape[2:] else shape[-1] for shape in shapes]
    return f"{' + '.join(map(str, dict.fromkeys(wide) if len(wide) > 3 else wide))} ch"


def boxes(steps: Sequence[Step], image: Shape) -> list[Box]:
    """Steps with their level, counted from what each reads; tokens stand where what they were made from stands."""
    made: list[Box] = []
    for step in steps:
        shape = step.shapes[0]
        space, level = space_of(shape, image), None
        near = max((r for r in step.reads if made[r].level is not None), default=None)
        if space is not None:
            level = halvings(image, space) if near is None else made[near].level + halvings(made[near].space, space)
        elif near is not None and len(shape) == 3:
            space, level = made[near].space, made[near].level
        made.append(Box(step, space, level, [*named(step.names), amount(step.shapes, image)]))
    return made


def placed(made: Sequence[Box]) -> list[tuple[str, float]]:
    """Give every box its place; the labels of the rows with the middle of each."""
    rows = sorted({box.level for box in made}, key=lambda level: math.inf if level is None else level)
    labels, foot = [], 0.0
    for level in rows:
        row = [box for box in made if box.level == level]
        label = next((sides(box.space) for box in row if box.space is not None), "no axes")
        for box in row:
            if box.space is not None and sides(box.space) != label:
                box.words.append(sides(box.space))
        tall = max(box.tall for box in row)
        labels.append((label, foot + RISE + tall / 2))
        for box in row:
            box.y = foot + RISE + tall / 2
        foot += RISE + tall
    free = dict.fromkeys(rows, float(LABEL))
    for box in made:
        read = [made[r] for r in box.step.reads]
        wanted = [other.x + (other.wide + GAP if other.level == box.level else STEP) for other in read]
        box.x = max([free[box.level], *wanted])
        free[box.level] = box.x + box.wide + GAP
    return labels


def ways(source: Box, target: Box, number: int) -> Iterator[list[Point]]:
    """Corners of possible lines to another row: straight up or down, first to the right, between the rows, last to the
    right, and that from the left of the source.

    number: which of the lines into its target it is, so that they do not end on one point.
    """
    right, down = source.x + source.wide, source.y < target.y
    into = target.x + 12 + min(8.0 * number, target.wide - 24)
    start = source.y + (source.tall if down else -source.tall) / 2
    end = target.y + (-target.tall if down else target.tall) / 2
    if into < right - 4:
        yield [(into, start), (into, end)]
    if max(into, right + 10) < target.x + target.wide - 4:
        yield [(right, source.y), (max(into, right + 10), source.y), (max(into, right + 10), end)]
    yield [(right - 12, start), (right - 12, (start + end) / 2), (into, (start + end) / 2), (into, end)]
    for across in (right - 12, source.x + 8):
        if across < target.x - 8:
            yield [(across, start), (across, target.y), (target.x, target.y)]


def hidden(made: Sequence[Box], ends: Sequence[Box], way: Sequence[Point]) -> int:
    """How many boxes a line would run behind."""
    found = 0
    for (x, y), (u, v) in pairwise(way):
        for box in made:
            beside = max(x, u) < box.x or min(x, u) > box.x + box.wide
            above = max(y, v) < box.y - box.tall / 2 or min(y, v) > box.y + box.tall / 2
            found += not beside and not above and not any(box is end for end in ends)
    return found


def arrow(made: Sequence[Box], source: Box, target: Box, number: int) -> str:
    """The way of a line: straight or over the boxes between in a row, else the way that is hidden least."""
    right = source.x + source.wide
    if source.level == target.level:
        if not any(box.level == source.level and source.x < box.x < target.x for box in made):
            return f"M{right:.1f} {source.y:.1f}H{target.x:.1f}"
        start, into = right - 12, target.x + 12 + min(8.0 * number, target.wide - 24)
        top, end, peak = source.y - source.tall / 2, target.y - target.tall / 2, min(16 + 0.07 * (into - right), 46.0)
        return f"M{start:.1f} {top:.1f}C{start:.1f} {top - peak:.1f} {into:.1f} {end - peak:.1f} {into:.1f} {end:.1f}"
    way = min(ways(source, target, number), key=lambda way: hidden(made, (source, target), way))
    first, *bends, last = [f"{x:.1f} {y:.1f}" for x, y in way]
    return f"M{first}C{bends[0]} {bends[-1]} {last}" if bends else f"M{first}L{last}"


def shown(box: Box) -> str:
    """A rounded box with its words: names, what it gives, and its size where that is not the row's."""
    top, kind = box.y - box.tall / 2, box.step.kind
    said = f"<title>{escape(kind)}</title>" if kind else ""
    look = "" if kind else ' class="end"'
    frame = f'<rect{look} x="{box.x:.1f}" y="{top:.1f}" width="{box.wide:.1f}" height="{box.tall:.1f}" rx="4"/>'
    lines, names = [], len(named(box.step.names))
    for number, words in enumerate(box.words):
        soft = ' class="soft"' if number >= names else ""
        at = f'x="{box.x + box.wide / 2:.1f}" y="{top + LINE * (number + 1) + 2:.1f}"'
        lines.append(f'<text{soft} {at} text-anchor="middle">{escape(words)}</text>')
    return f"<g>{said}{frame}{''.join(lines)}</g>"


def drawn(steps: Sequence[Step], image: Shape, title: str) -> str:
    """The picture: lines, and boxes over them."""
    made = boxes(steps, image)
    labels = placed(made)
    width, height = (round(v) for v in (max(b.x + b.wide for b in made) + 16, max(b.y + b.tall / 2 for b in made) + 16))
    lines, far = [], list[int]()
    for box in made:
        far.append(1 + max((far[read] for read in box.step.reads), default=0))
        by_length = sorted(box.step.reads, key=lambda read: (far[read], made[read].level != box.level, read))
        for number, read in enumerate(reversed(by_length)):
            look = 'marker-end="url(#near)"' if number == 0 else 'class="skip" marker-end="url(#far)"'
            lines.append(f'<path {look} d="{arrow(made, made[read], box, number)}"/>')
    sizes = [f'<text class="soft" x="12" y="{y + 4:.1f}">{escape(label)}</text>' for label, y in labels]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">',
        f"<title>{escape(title)}</title><style>{STYLE}</style><defs>{TIPS}</defs>",
        '<rect class="ground" width="100%" height="100%" rx="6"/>',
        *lines, *sizes, *map(shown, made), "</svg>\n",
    ])  # fmt: skip


@functools.cache
def schematic(name: str) -> tuple[str, Shape]:
    """(the picture of one network, the size of the image that went through)."""
    card = catalogue.card("hilum.zoo", name)
    golden = card["golden"][0]
    with torch.device("meta"):
        net = catalogue.load("hilum.zoo", name).Net(**golden["kwargs"])
    net.eval()
    image = tuple(_size(card, golden, net))
    inputs = _inputs(card, golden["kwargs"]["in_channels"], image)
    return drawn(trace(net, inputs, card["inputs"], image), image, f"{name}: its parts and what they read"), image


if __name__ == "__main__":
    print(schematic(sys.argv[1])[0], end="")
