"""Deep supervision: what the heads of several levels said, one list per named head."""

from collections.abc import Callable, Sequence

from torch import Tensor

Answer = Tensor | dict[str, Tensor]
"""What the head of one level returns: a tensor, or one for each named head."""


def by_name(answers: Sequence[Answer]) -> dict[str, list[Tensor]]:
    """[one answer per level] -> {"out": [...]}, or with named heads {name: [...]}; the order of levels stays."""
    found: dict[str, list[Tensor]] = {}
    for answer in answers:
        for name, part in ({"out": answer} if isinstance(answer, Tensor) else answer).items():
            found.setdefault(name, []).append(part)
    return found


def each(answer: Answer, change: Callable[[Tensor], Tensor]) -> Answer:
    """The answer with every tensor changed."""
    if isinstance(answer, Tensor):
        return change(answer)
    return {name: change(part) for name, part in answer.items()}
