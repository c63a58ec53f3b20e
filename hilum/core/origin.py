"""What trained the weights of a run: versions, our own code and the machine, by its ledger or a bundle's card."""

from typing import Any

from hilum.core.run import Run

KEYS = ("versions", "machine", "went_on_from")
# Of card.json; a card that names no machine holds the versions of the plan.


def trained_by(run: Run) -> dict[str, Any]:
    """versions {name: version, "code": hash}, machine {cores, total (bytes), accelerator, devices}, went_on_from.

    Both are of what ended the training, of a system that of its last network. went_on_from: the other versions that had
    a share in it, of runs that were resumed, oldest first. {} where nothing is on record: runs of an older Hilum,
    imported models, and bundles of either.
    """
    if run.is_bundle:
        card = run.json("card.json") if run.has("card.json") else {}
        return {key: card.get(key, []) for key in KEYS} if "machine" in card else {}
    system = run.system
    runs = [run] if system is None else [run.part(g.name) for g in system.groups]
    told: list[dict[str, str]] = []
    last: dict[str, Any] = {}
    for event in (event for one in runs for event in one.ledger()):
        if event["event"] == "resume":
            told.append(event["made_by"])
        elif event["event"] == "train" and "machine" in event:
            told.append(event["versions"])
            last = event
    if not last:
        return {}
    others = [v for number, v in enumerate(told) if v != last["versions"] and v not in told[:number]]
    return {"versions": last["versions"], "machine": last["machine"], "went_on_from": others}
