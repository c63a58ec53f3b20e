"""A predictor whose answer is the mean of several opinions: dropout, views of the image, or an ensemble."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hilum.core.calibration import Opinions
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.data.store import Prepared
from hilum.infer.network import network
from hilum.infer.predictor import Predictor
from hilum.trust import members
from hilum.trust.uncertainty import Entropies, entropies

KINDS = ("one", "dropout", "views")
# As a person asks for them; an ensemble is asked for by naming its runs.
PASSES = 20
# With dropout, unless said otherwise.
DIGITS = 4
# Of the number of passes, at most: more than can be waited for.


class Several(Predictor):
    """As Predictor, but its logits are the logarithm of the mean probability of `opinions`; of "one" its own.

    others: finished runs whose networks are further opinions; without them the weights in the run itself are.
    """

    def __init__(
        self, run: Run, opinions: Opinions, others: Sequence[Run] = (), runtime: str = "torch", limit: int | None = None
    ) -> None:
        super().__init__(run, runtime, limit)
        self.opinions = opinions
        self.members = _members(self, opinions, others)

    def looked(self, prepared: Prepared, progress: Progress = quiet) -> tuple[Any, Entropies | None]:
        """Logits as `Predictor.logits` has them, and how far the opinions lay apart."""
        if self.members is None:
            return super().looked(prepared, progress)
        import torch

        found = entropies(_chances(self.members(prepared)), axis=0)
        # the smallest number that is not 0, for its logarithm is asked for
        tiny = np.finfo(np.float32).tiny
        logits = torch.from_numpy(np.log(np.maximum(found.mean, tiny)).astype(np.float32))
        return (logits if self.task.CARD["infer"] == "windows" else logits[None]), found


def parse(words: str) -> Opinions:
    """`views`, `dropout`, `dropout:10` or `one`; anything else is refused (HIL-TRUST-08)."""
    kind, _, count = words.partition(":")
    number = count.isdecimal() and len(count) <= DIGITS and int(count) >= 2
    if kind not in KINDS or (count and (kind != "dropout" or not number)):
        raise HilumError(
            "HIL-TRUST-08", f"--opinions is {words!r}", "Use one, views, dropout or dropout:N with N of 2 to 9999"
        )
    if kind == "dropout":
        return Opinions(kind="dropout", count=int(count or PASSES))
    return Opinions(kind="views" if kind == "views" else "one")


def _members(predictor: Predictor, opinions: Opinions, others: Sequence[Run]) -> members.Members | None:
    """The opinions asked for; None of one alone."""
    if opinions.kind == "one":
        return None
    if getattr(predictor.task, "numbered", False):
        raise HilumError(
            "HIL-TRUST-09", "Numbered objects are told apart by a depth, which opinions do not carry",
            "Use --opinions one, or learn the foreground alone",
        )  # fmt: skip
    if opinions.kind == "dropout":
        return members.dropout(predictor, opinions.count, opinions.seed)
    if opinions.kind == "views":
        return members.views(predictor, opinions.seed)
    if others:
        more = [network(predictor.task, other) for other in others]
    else:
        more = [network(predictor.task, predictor.run, number) for number in range(2, opinions.count + 1)]
    return members.ensemble(predictor, [predictor.net, *more])


def _chances(opinions: Iterator[Array]) -> Iterator[Array]:
    """Class probabilities of each, float32."""
    from scipy.special import softmax

    for logits in opinions:
        yield softmax(logits, axis=0)
