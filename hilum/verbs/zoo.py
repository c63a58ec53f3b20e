"""zoo: the networks, drawn from their CARDs; parameters counted from the built module."""

from typing import Any

from hilum.core import catalogue


def zoo(task: str | None = None) -> list[dict[str, Any]]:
    """One row per network: name, paper, year, tasks, dims, parameters of its card-size form (on the meta device)."""
    if task is not None:
        catalogue.card("hilum.tasks", task)
    import torch

    from hilum.zoo._cost import parameters

    rows = []
    for name, card in catalogue.cards("hilum.zoo").items():
        if task is not None and task not in card["tasks"]:
            continue
        options = dict(card["golden"][0]["kwargs"])
        with torch.device("meta"):
            module = catalogue.load("hilum.zoo", name).Net(**options)
        rows.append(
            {
                "name": name,
                "year": str(card["year"]),
                "tasks": ", ".join(card["tasks"]),
                "dims": ", ".join(f"{d}-D" for d in card["dims"]),
                "parameters": parameters(module),
                "paper": card["paper"],
                "reconstruction": card["reconstruction"],
            }
        )
    return rows
