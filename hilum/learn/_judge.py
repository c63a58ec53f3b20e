"""What a round of validation decides: the weights to keep, when to stop early, and when a network has collapsed."""

from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.learn._state import State

PATIENT = 200
# Steps before a network may be called collapsed: until then it has hardly begun.
ALIKE = 3
# Rounds in a row that must look collapsed.


def rate(state: State, losses: list[dict[str, float]], counts: list[Any]) -> tuple[dict[str, float], float]:
    """The means that the curve shows, and the score (higher is better) that chooses the weights.

    The score is the task's own first one where it counts right and wrong, else minus the sum of the losses.
    """
    shown = {name: float(np.mean([row[name] for row in losses])) for name in losses[0]}
    score = -sum(shown.values())
    if all(c is not None for c in counts):
        found = state.task.score(sum(counts[1:], start=counts[0]))
        shown |= found
        first = next(iter(found.values()))
        score = first if np.isfinite(first) else score
    return shown, score


def keep_best(state: State, step: int, score: float) -> None:
    """Remember the predicting weights of the best round so far, where the plan keeps the best."""
    best = state.memory.get("best")
    if not np.isfinite(score) or (best is not None and score <= best["score"]):
        return
    state.memory["best"] = {"score": score, "step": step}
    if state.learning.keep == "best":
        state.memory["best"]["weights"] = {
            role: {n: t.detach().clone() for n, t in module.state_dict().items()}
            for role, module in {**state.networks, **state.average}.items()
            if role in state.plan.networks
        }


def weary(state: State, step: int) -> bool:
    """Whether no round was better for the planned patience."""
    patience, best = state.learning.patience, state.memory.get("best")
    return bool(patience) and best is not None and step - best["step"] > patience * state.steps


def check_collapse(state: State, step: int, counts: list[Any], cases: list[str]) -> None:
    """Stop with a diagnosis when the last rounds all show the same collapse (HIL-LEARN-02)."""
    words = state.task.collapse(sum(counts[1:], start=counts[0])) if all(c is not None for c in counts) else None
    state.memory["collapsed"] = state.memory.get("collapsed", 0) + 1 if words else 0
    if words and state.memory["collapsed"] >= ALIKE and step >= max(PATIENT, state.steps // 3):
        shown = ", ".join(cases[:5]) + (f" and {len(cases) - 5} more" if len(cases) > 5 else "")
        raise HilumError(
            "HIL-LEARN-02", f"After {step} steps {words} (validation cases {shown})",
            "Lower learning.rate, look at images and labels with `hilum inspect --html`, and check the normalisation",
        )  # fmt: skip
