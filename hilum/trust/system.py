"""Several networks over groups of classes predict as one: label maps merged, verdicts and doubts brought together."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from hilum.core import resident
from hilum.core.errors import HilumError, near
from hilum.core.findings import Mask, Result, Verdict
from hilum.core.image import Array, Case, Image
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.core.system import Group
from hilum.infer import merging, structures
from hilum.infer._clock import Clock
from hilum.infer._lanes import Pace
from hilum.infer._stages import Stages
from hilum.infer.coarse import Coarse, check, warn
from hilum.infer.merging import Merging
from hilum.infer.predictor import Opinion
from hilum.infer.promise import Later, Promise
from hilum.infer.runtimes import _choose
from hilum.prepare import grid
from hilum.tasks import _task
from hilum.trust.trusted import Trusted

DECISIONS = ("person", "flag", "accept")
# Of several verdicts the most careful one counts.
MOST = 6e4
# Log odds that half precision holds.
ODDS = "odds"


def trusted(
    run: Run, runtime: str = "torch", limit: int | None = None, wide: bool = False, maps: bool = False,
    roi: Sequence[str] = (), coarse: Run | None = None,
) -> Trusted:  # fmt: skip
    """A predictor of a run or a system. roi: of a system, the classes that are wanted; () for all (HIL-TRUST-30).

    coarse: the model that says where to look (see infer/coarse.py).
    """
    made = _opened(run, runtime, limit, wide, maps, roi)
    if coarse is not None:
        parts = list(made.parts.values()) if isinstance(made, System) else [made]
        check(coarse, [part.run for part in parts], limit, wide)
        made.coarse = Coarse(coarse, runtime)
        warn(coarse, [part.run for part in parts])
        for part in parts:
            part.coarse, part.foretells = made.coarse, False
    return made


def _opened(run: Run, runtime: str, limit: int | None, wide: bool, maps: bool, roi: Sequence[str]) -> Trusted:
    """The predictor of a run or a system."""
    if run.system is not None:
        return System(run, runtime, limit, wide, maps, roi)
    if roi:
        raise HilumError(
            "HIL-TRUST-30", f"{run.path} is one network, which finds all its classes at once",
            "Leave --roi out; it is there for systems made by: hilum train --groups",
        )  # fmt: skip
    return Trusted(run, runtime, limit, wide, maps)


class System(Trusted):
    """As Trusted, for a run that has a system.json. parts: the predictors that are needed, by group.

    A result holds "mask" (classes wanted, merged by `infer.merging`) and "structures" (a Table of `infer.structures`).
    Its verdict is the most careful of the parts', its doubt, disagreement and unlikeness the highest; "measured" keeps
    what a part promises of a class where the merging left that class as the part had found it, and its headline where
    it left all of its classes so.
    """

    def __init__(
        self, run: Run, runtime: str = "torch", limit: int | None = None, wide: bool = False, maps: bool = False,
        roi: Sequence[str] = (),
    ) -> None:  # fmt: skip
        from torch import nn

        run.check_hashes()
        known = run.system
        assert known is not None
        self.run, self.limit, self.runtime, self.plan = run, limit, runtime, run.plan
        self.task = _task.load(self.plan)
        self.wanted = _wanted(self.plan.classes, roi)
        needed = [g for g in known.groups if any(c.value in self.wanted for c in g.classes)]
        self.parts = {g.name: _part(run, g, runtime, limit) for g in needed}
        self.net = nn.ModuleDict({name: part.net for name, part in self.parts.items()})
        # what a run knows of its own answers, each part knows for itself
        self.calibration, self.anatomy, self.members, self.known = None, None, None, {}
        self.wide, self.maps, self.keep, self.latest = wide, maps, False, None
        self.clock, self.promised, self._chosen = Clock(), None, {}
        self.stages, self.beside = Stages(), int
        for part in self.parts.values():
            part.clock, part.stages = self.clock, self.stages

    def expect(self, cases: int) -> None:
        """As of every part."""
        for part in self.parts.values():
            part.expect(cases)

    def __call__(self, case: Case, progress: Progress = quiet) -> Result:
        """Everything that the parts find in the case, as one."""
        self.fits(case)
        began = resident.peak()
        image = case.read("image")
        read = resident.peak()
        # read once, for every part and for the intensities
        case = replace(case, items={**case.items, "image": image})
        array = merging.empty([c.value for c in self.plan.classes], image.array[0])
        # on the network's axes, as what its parts say lies on its grid
        merged, found = Merging(grid.ras_view(array[None], image)[0]), dict[str, Result]()
        parts = list(self.parts.values())
        for number, (name, part) in enumerate(self.parts.items()):
            part.later, part.beside, part.promised = _later(parts[number + 1 :]), self.beside, None
            # the first one answers for what reading took
            part.before = None if number else self.before
            found[name] = _added(part, case, merged, progress)
        if self.coarse is not None:
            self.guided_by = {name: dict(part.guided_by) for name, part in self.parts.items()}
        # of what is computed on a card nothing is foreseen
        self.promised = None if self.on_card else _promised(parts, read if read > began else 0)
        return self._together(found, array, merged.lost, image)

    def opinion(self, case: Case, progress: Progress = quiet) -> Opinion:
        """There is none: see the `parts`."""
        raise TypeError("a system has no opinion of its own: its parts have one each")

    @property
    def computed_by(self) -> _choose.Chosen | None:
        """That of the first part; of one with more or less to compute it may be another."""
        return next(iter(self.parts.values())).computed_by

    @property
    def paced(self) -> Pace:
        """That of the first part, as its runtime."""
        return next(iter(self.parts.values())).paced

    @property
    def on_card(self) -> bool:
        """Whether any part used a card."""
        return any(part.on_card for part in self.parts.values())

    def _together(self, found: dict[str, Result], array: Array, lost: set[int], image: Image) -> Result:
        """One result of all. array: the merged map. lost: classes of which the merging took something."""
        others = [c.value for c in self.plan.classes if c.value not in self.wanted]
        if others:
            array[np.isin(array, others)] = 0
        mask = Mask(array, self.wanted, image.affine)
        findings: dict[str, Any] = {"mask": mask, "structures": structures.table(mask, image, self.plan.channels)}
        first = next(iter(found.values()))
        meta: dict[str, Any] = {"case": first.meta["case"]}
        for name in ("doubt", "disagreement", "unlike"):
            said = [r.meta[name] for r in found.values() if name in r.meta]
            meta |= {name: max(said)} if said else {}
        whole = {name for value, name in self.wanted.items() if value not in lost}
        own = {name: [c.name for c in part.plan.classes] for name, part in self.parts.items()}
        measured = promised_of({name: r.meta.get("measured", {}) for name, r in found.items()}, own, whole)
        meta |= {"measured": measured} if measured else {}
        warnings = tuple(dict.fromkeys(w for r in found.values() for w in r.warnings))
        verdict = together({name: r.verdict for name, r in found.items()})
        return Result(findings, verdict, warnings, meta)


def promised_of(
    said: Mapping[str, Mapping[str, Any]], classes: Mapping[str, Collection[str]], whole: Collection[str]
) -> dict[str, Any]:
    """What the parts promise ({part: {what: interval}}) of the classes in `whole`; their headline where all are.

    classes: of each part. The merging gave voxels of the others to another part, or nobody asked for them: what was
    promised of them, and of a mean over them, is not of this result.
    """
    kept: dict[str, Any] = {}
    for part, rows in said.items():
        for what, row in rows.items():
            _, of, name = what.partition(" of ")
            if of and name in whole:
                kept[what] = row
            elif not of and set(classes[part]) <= set(whole):
                kept[f"{what} of {part}"] = row
    return kept


def together(verdicts: dict[str, Verdict]) -> Verdict:
    """The most careful verdict, with the reasons of those that do not accept (or of all, where all do), by part.

    What an acceptance promises, it promises of each part by itself.
    """
    worst = min((v.decision for v in verdicts.values()), key=DECISIONS.index)
    said: dict[str, list[str]] = {}
    for part, verdict in verdicts.items():
        if verdict.decision != "accept" or worst == "accept":
            for reason in verdict.reasons:
                said.setdefault(reason, []).append(part)
    # what all say of the image needs no names, what each promises does
    bare = {r for r, parts in said.items() if len(parts) == len(verdicts) and worst != "accept"}
    reasons = (r if r in bare else f"{', '.join(parts)}: {r}" for r, parts in said.items())
    return Verdict(worst, tuple(reasons))


def _part(run: Run, group: Group, runtime: str, limit: int | None) -> Trusted:
    """The predictor of a group; one that finds other classes than the system says is refused (HIL-M05)."""
    part = Trusted(run.part(group.name), runtime, limit)
    if part.plan.classes != group.classes:
        raise HilumError(
            "HIL-M05", f"The network {group.name} of {run.path} finds other classes than system.json says",
            "Copy the system again",
        )  # fmt: skip
    return part


def _wanted(classes: Sequence[Any], roi: Sequence[str]) -> dict[int, str]:
    """{value: name} of the classes that are asked for; unknown names are refused with near ones (HIL-TRUST-30)."""
    known = {c.name: c.value for c in classes}
    for name in roi:
        if name not in known:
            raise HilumError("HIL-TRUST-30", f"There is no class {name!r} in this system", near(name, list(known)))
    return {value: name for name, value in known.items() if not roi or name in roi}


def _asked(part: Trusted, case: Case, progress: Progress) -> Opinion:
    """What a part finds, with how sure it is of foreground; plane by plane where one network is asked once."""
    if part.members is not None or not part.streams:
        return part.opinion(case, progress)
    return part.answer(case, progress, {ODDS: _of_foreground})


def _of_foreground(scores: Any) -> Any:
    """Log odds of any foreground, (n,) of scores (K, n)."""
    import torch

    return torch.logsumexp(scores[1:], dim=0) - scores[0]


def _odds(opinion: Opinion) -> Array:
    """Log odds of any foreground on the network's grid, float16: one for every network is kept."""
    odds = opinion.maps[ODDS] if ODDS in opinion.maps else _of_foreground(opinion.logits).numpy()
    kept: Array = np.clip(odds, -MOST, MOST).astype(np.float16)
    return kept


def _added(part: Trusted, case: Case, merged: Merging, progress: Progress) -> Result:
    """What a part finds is merged; kept is what it says of it. All else is gone when the next one begins."""
    opinion = _asked(part, case, progress)
    known, image = part.calibration, case.read("image")
    result = opinion.result if known is None else part.weighed(opinion, case, known)
    mask = result["mask"]
    merged.add(grid.ras_view(mask.array[None], image)[0], mask.classes.keys(), _odds(opinion))
    return replace(result, findings={})


def _later(parts: Sequence[Trusted]) -> Later:
    """Those that are still to come, as the promise of the one before counts them."""
    return Later(len(parts), max((part.merges for part in parts), default=0))


def _promised(parts: Sequence[Trusted], read: int = 0) -> Promise | None:
    """Of parts that run one after the other: what the first one told, which counts those after it.

    read: the most while the image was read, 0 where that is not known.
    """
    told = [part.promised for part in parts if part.promised is not None]
    if not told:
        return None
    return replace(told[0], tried=max(p.tried for p in told), read=max(told[0].read, read))
