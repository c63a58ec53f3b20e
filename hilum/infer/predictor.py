"""A run or a bundle becomes a function from a case to a Result."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from hilum.core import card, resident
from hilum.core.errors import HilumError
from hilum.core.findings import Result
from hilum.core.image import Array, Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run
from hilum.core.strongest import strongest
from hilum.infer import domain, promise, streamed, watched, windows
from hilum.infer._asked import Asked, by_class
from hilum.infer._lanes import Pace
from hilum.infer._pooled import Last
from hilum.infer._region import EDGE, MARGIN, Guide, Hint, aside, too_little
from hilum.infer._stages import Stages
from hilum.infer.near import Near
from hilum.infer.runtimes._choose import AUTO

GUIDED = (
    "HIL-INFER-24: not every window was looked at, as the coarse model said; what a run promises is learned of whole "
    "images"
)


@dataclass(frozen=True)
class Opinion:
    """One look at a case. prepared: what the task made of it. logits: before any reduction; None where it was streamed.

    entropies: how far several opinions lay apart, where the answer is their mean; None of one network asked once. near:
    of a streamed mask, what its doubt is told from. maps: what else was asked for, (*space) on the network's grid.
    """

    result: Result
    prepared: dict[str, Any]
    logits: Any
    entropies: Any = None
    near: Near | None = None
    maps: Mapping[str, Array] = field(default_factory=dict)


class Predictor(Asked):
    """The predicting network of a run, with its weights, and the task that knows how to use it.

    runtime: a file of hilum/infer/runtimes, or "auto". limit: bytes that a prediction may hold, whole process. room:
    without a limit, that of a process which holds the scores of all voxels; pace and runtimes do not hang on it.
    coarse: says where to look, where it is set (`coarse.Coarse`); guided_by: what came of that in the last case.
    """

    maps = False
    # Whether maps of a case are written as pictures, by those that have some (`trust.trusted`).
    foretells = True
    # Whether it says beforehand what a mask will take.
    judged = False
    # Whether the doubt of a mask is told too, by those that can (`trust.trusted`).
    wides = 0
    # Wide masks that are found besides, by the same.
    later = promise.NONE
    # Other networks of a system, which are asked about the same image once this one is done.
    before: int | None = None
    # The peak of memory when the case began to be read, where that came first (`reads`).
    room: int | None = None
    coarse: Guide | None = None
    guided_by: Mapping[str, Any] = MappingProxyType({})

    def __init__(self, run: Run, runtime: str = "torch", limit: int | None = None) -> None:
        super().__init__(run, runtime, limit)
        self.anatomy = watched.known(run)
        self.domain = domain.known(run)
        self.promised: promise.Promise | None = None
        self.stages = Stages()
        # bytes that the reading of the next case will add, asked while one is computed
        self.beside: Callable[[], int] = int
        self._began: int | None = None

    def expect(self, cases: int) -> None:
        """As of the coarse model too."""
        super().expect(cases)
        if self.coarse is not None:
            self.coarse.expect(cases)

    def __call__(self, case: Case, progress: Progress = quiet) -> Result:
        """Everything found in the case; warnings of its images, and one where an image looks turned (HIL-M08)."""
        return self.answer(case, progress).result

    @property
    def streams(self) -> bool:
        """Whether masks can be found plane by plane: where nothing but the strongest class is kept."""
        return by_class(self.task)

    def answer(self, case: Case, progress: Progress = quiet, maps: Mapping[str, streamed.Map] | None = None) -> Opinion:
        """What is found, in as little memory as can be. maps: of scores, made on the way where masks are streamed."""
        if not self.streams:
            return self.opinion(case, progress)
        if self.coarse is not None:
            # read once, for both models
            with self.clock("read"):
                case = replace(case, items={**case.items, "image": case.read("image")})
        guide = self._region(case, progress)

        def streaming(prepared: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            found = self._around(prepared, guide, progress, maps) or self._streamed(prepared, progress, maps)
            return found.labels, {"logits": None, "near": found.near, "maps": found.maps}

        opinion = self._told(case, streaming)
        if "windows" in self.guided_by and "whole" not in self.guided_by:
            words = (*opinion.result.warnings, GUIDED)
            opinion = replace(opinion, result=replace(opinion.result, warnings=words))
        return opinion

    def _region(self, case: Case, progress: Progress) -> Hint | None:
        """Where the coarse model says to look, or why everywhere; None without one."""
        if self.coarse is None:
            return None

        def margin(steps: Sequence[float]) -> list[float]:
            return [MARGIN + EDGE * own for own in self.plan.spacing or steps]

        with self.clock("coarse"):
            return self.coarse(case, {c.name for c in self.plan.classes}, margin, progress)

    def _around(
        self,
        prepared: dict[str, Any],
        guide: Hint | None,
        progress: Progress,
        maps: Mapping[str, streamed.Map] | None,
    ) -> streamed.Found | None:
        """What is found in the region; None where there is none, where it leaves out no window, or is too little."""
        if guide is None:
            return None
        region, why = guide
        shape = prepared["image"].shape[1:]
        tiles = windows.tiling(shape, self.plan.patch, self.task.options.overlap)
        if region is None:
            self.guided_by = {"windows": tiles.count, "of": tiles.count, "whole": why}
            return None
        with self.clock("coarse"):
            where = region.on(shape)
            left = aside(where, tiles)
        looked = int((~left).sum())
        self.guided_by = {"windows": looked, "of": tiles.count}
        if not left.any():
            self.guided_by = {**self.guided_by, "whole": "it leaves no window out"}
            return None
        found = self._streamed(prepared, progress, maps, (where, left))
        with self.clock("coarse"):
            why = too_little(found.labels, where)
        if why:
            self.guided_by = {"windows": looked + tiles.count, "of": tiles.count, "whole": why}
        return None if why else found

    def opinion(self, case: Case, progress: Progress = quiet) -> Opinion:
        """The same, with the logits that it was decoded from, all of them held."""

        def whole(prepared: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
            logits, entropies = self.looked(prepared, progress)
            return self._reduced(logits), {"logits": logits, "entropies": entropies}

        return self._told(case, whole)

    def reads_beside(self, size: Callable[[], int]) -> None:
        """The next case is read while this one is computed: `size` says how many bytes that will still add."""
        self.beside = size

    def fits(self, case: Case) -> None:
        """Refuse a case that needs more than the limit by its header alone, before it is read (HIL-INFER-01)."""
        if self.task.CARD["infer"] == "windows":
            promise.fits(case.items.get("image"), self.plan, self.limit)

    def reads(self, case: Case) -> None:
        """As `fits`, of a case that is read now and `told` next: what it takes is counted from here on."""
        self.before = None
        self.fits(case)
        resident.forget()
        self.before = resident.peak()

    def check_varies(self) -> None:
        """Refuse a network that gives a whole picture one answer, whatever it sees (HIL-M10): before any is looked at.

        One that is asked in windows shows it by itself, and a bundle was asked when it was made. Two more answers cost
        a tenth to half a second of pictures; of volumes and raw data, as large as they are, they would cost as much as
        two cases, and are not asked for.
        """
        small = self.plan.dims == 2 and self.task.cut
        if self.task.CARD["infer"] == "whole" and small and not self.run.is_bundle:
            # it brings with it all that bundles need, which nobody else here does
            from hilum.infer.bundle import answer

            answer(self.task, self.net, self.run.path)

    def _told(self, case: Case, compute: Callable[[dict[str, Any]], tuple[Any, dict[str, Any]]]) -> Opinion:
        """A case checked, prepared, computed and decoded. compute: prepared -> what is decoded, and what is kept."""
        if self.task.CARD["infer"] == "sampler":
            raise HilumError(
                "HIL-INFER-03",
                f"A {self.plan.task} model takes no input images",
                "Use: hilum generate RUN --count N --out DIR",
            )
        for role in self.task.CARD["predicts_from"]:
            if not any(r in case.items for r in role.split("|")):
                raise HilumError("HIL-DATA-08", f"Case {case.id} has no {role}", f"It has: {', '.join(case.items)}")
        self.fits(case)
        self.guided_by = {}
        self._began, self._last = resident.peak() if self.before is None else self.before, Last()
        wanted = self.anatomy is not None
        looks = {r: watched.Watched(case.items[r], self.clock, wanted) for r in watched.ROLES if r in case.items}
        case = replace(case, items={**case.items, **looks})
        with self.clock("prepare"):
            prepared = self.task.prepare(case, truth=False)
        reduced, kept = self._with_room(lambda: compute(prepared))
        with self.clock("back"):
            result = self.task.decode(reduced, prepared, case)
        _check_finite(result, case)
        told = watched.warnings(looks, self.anatomy, self.domain, self.plan)
        result = replace(result, warnings=(*result.warnings, *told))
        return Opinion(result, prepared, **kept)

    def looked(self, prepared: dict[str, Any], progress: Progress = quiet) -> tuple[Any, Any]:
        """What a case is decoded from: logits, and the entropies of several opinions (here there is one: None)."""
        return self.logits(prepared, progress, foretold=True), None

    def _reduced(self, logits: Any) -> Any:
        """The network's output over the whole case, reduced as the task's CARD says."""
        return strongest(logits).numpy() if self.streams else logits

    def logits(self, prepared: dict[str, Any], progress: Progress = quiet, foretold: bool = False) -> Any:
        """The network's output over a case that the task has prepared, not reduced; no numbers are refused (HIL-M10).

        Of windows: mean logits (K, *space) on the network's grid. Of whole cases: what the network gives, (1, K) for
        classify. foretold: what these windows take is told beforehand, and kept to the limit: they are all there are.
        """
        import torch

        if self.task.CARD["infer"] == "windows":
            options, image = self.task.options, prepared["image"]
            tiles = windows.tiling(image.shape[1:], self.plan.patch, options.overlap)
            window, head = windows.middle(image, tiles), self._head()
            chosen = self._look(window, head, self._looks(tiles))
            # with dropout on, no two looks are alike
            air = None if self._drops() else self._air()
            look, pace = windows.Begun(self._scores(chosen, head, tiles)), self._pace(chosen, tiles.count)
            if foretold:
                looks, count = windows.asked_about(image, tiles, air), self.task.out_channels()
                way = promise.Way(looks, self.task.reduce, self.beside(), self.judged, self.later, self.wides)
                assert isinstance(count, int), "windows are merged of one output"
                maps = int(self.maps)
                progress = self._foretold(look, window, None, pace, tiles, prepared, count, maps, way, progress)
            with self.clock("merge"):
                limit = self.room if self.limit is None else self.limit
                merged = windows.merged(
                    look, image, self.plan.patch, options.overlap, options.mirror, limit, progress, air,
                    pace, self._waiting, resident.now(),
                )  # fmt: skip
            streamed.check_numbers(merged)
            streamed.check_varies(*merged.flatten(1).aminmax(dim=1), image)
            return merged
        if self.task.CARD["infer"] == "whole":
            inputs = self.task.inputs(self.task.whole(prepared))
            with torch.inference_mode(), self.clock("network"):
                outputs = self._whole(inputs)
            streamed.check_numbers(outputs)
            return outputs
        raise AssertionError(f"unknown way to infer: {self.task.CARD['infer']}")

    def _streamed(
        self, prepared: dict[str, Any], progress: Progress, maps: Mapping[str, streamed.Map] | None,
        part: tuple[Array, Array] | None = None,
    ) -> streamed.Found:  # fmt: skip
        """Labels, and what their doubt is told from, plane by plane.

        part: of the network's grid, what is looked at (bool), and which windows are not.
        """
        where, left = part or (None, None)
        options, image = self.task.options, prepared["image"]
        tiles = windows.tiling(image.shape[1:], self.plan.patch, options.overlap)
        window, head = windows.middle(image, tiles), self._head()
        # the choice is that of a whole image: it is kept for those that will be
        chosen = self._look(window, head, self._looks(tiles))
        late = head if head is not None and head.late else None
        look = windows.Begun(self._scores(chosen, head, tiles, late is not None))
        pace = self._pace(chosen, tiles.count if left is None else int((~left).sum()))
        count, air = 1 + len(self.plan.classes), self._air()
        channels = count if late is None else late.weight.shape[1]
        way = promise.Way(windows.asked_about(image, tiles, air, left), "", self.beside(), self.judged, self.later)
        told = self._foretold(look, window, late, pace, tiles, prepared, channels, len(maps or {}), way, progress)
        with self.clock("merge"):
            planes = windows.planes(look, image, tiles, options.mirror, air, told, pace, self._waiting, left)
            return streamed.found(planes, image, count, late, maps, where=where)

    def _foretold(
        self, look: windows.Begun, window: Any, late: streamed.Head | None, pace: Pace, tiles: windows.Tiling,
        prepared: dict[str, Any], channels: int, maps: int, way: promise.Way, progress: Progress,
    ) -> Progress:  # fmt: skip
        """Progress that says what the case will take; refused where that is more than the limit (HIL-INFER-01).

        channels: merged. maps: made on the way.
        """
        # what a process holds for a card is not predicted, nor what the card holds
        if self.on_card or not self.foretells:
            self.promised = None
            return progress
        made = promise.of(
            lambda: self._cost(look.tried, window, late, pace, way.looks or tiles.count), tiles, channels,
            prepared["image"].nbytes, prepared["placed"].image.array, maps, self._began, maps if self.maps else 0,
            bool(self.task.single), way,
        )  # fmt: skip
        spent = self.stages.foretold(made.spent)
        made = replace(made, seconds=spent.pop("network"), stages=spent)
        self.promised = made
        made.keep(self.limit)

        def noted(name: str, done: int, total: int, note: str = "") -> None:
            progress(name, done, total, made.words())

        return noted

    def told(self, case: Case, progress: Progress = quiet) -> tuple[Result, dict[str, Any]]:
        """What is found in the case, and what that cost: seconds by stage, bytes, and the runtime."""
        self.promised = None
        # what a case that failed left behind
        self.clock.taken()
        if self.before is None:
            resident.forget()
        card.forget()
        try:
            result = self(case, progress)
        finally:
            self.before = None
        by, promised = self.computed_by, self.promised
        cost: dict[str, Any] = {"runtime": self.runtime_used, "seconds": self.clock.taken()}
        cost["bytes"] = {"measured": max(resident.peak(), 0 if promised is None else promised.tried)}
        if self.on_card:
            cost["bytes"]["card"] = card.peak()
        if self.guided_by:
            cost["coarse"] = dict(self.guided_by)
        if promised is not None:
            cost["bytes"]["predicted"], cost["predicted_seconds"] = promised.total, promised.spent
            self.stages.seen(promised.spent, cost["seconds"])
        if by is not None and self.streams:
            cost["windows"] = str(self.paced)
        if by is not None and by.seconds:
            cost["tried"] = {name: round(value, 5) for name, value in by.seconds.items()} | by.left
        return result, cost

    def generate(self, count: int, seed: int) -> list[Result]:
        """`count` new images (task generate only), the same for the same seed."""
        import torch

        if self.task.CARD["infer"] != "sampler":
            raise HilumError("HIL-INFER-03", f"A {self.plan.task} model does not generate", "Use: hilum predict")
        if self.runtime not in ("torch", AUTO):
            seen = f"A {self.plan.task} network draws images by torch, and not by {self.runtime}"
            raise HilumError("HIL-INFER-13", seen, "Leave --runtime out")
        if count < 1:
            raise HilumError("HIL-INFER-04", f"--count is {count}", "Give at least 1")
        if seed < 0:
            raise HilumError("HIL-INFER-04", f"--seed is {seed}", "Give 0 or more")
        batch = {"latent": self.task.latent(count, np.random.default_rng(seed))}  # type: ignore[attr-defined]
        made = []
        with torch.inference_mode():
            for latent in batch["latent"].split(64):
                made.extend(self.net(*self.task.inputs({"latent": latent})))
        streamed.check_numbers(made)
        return [self.task.decode(m, {}, Case(f"generated_{i:04d}", "", {})) for i, m in enumerate(made)]


def _check_finite(result: Result, case: Case) -> None:
    """A result that is not a number is never handed on (M10)."""
    for name, finding in result.findings.items():
        array = getattr(finding, "array", getattr(getattr(finding, "image", None), "array", None))
        if array is not None and np.asarray(array).dtype.kind == "f" and not np.isfinite(array).all():
            raise HilumError(
                "HIL-M10", f"The model gave values that are no numbers ({name} of {case.id})", "Train again"
            )


def open_predictor(path: Path | str, runtime: str = "torch", limit: int | None = None) -> Predictor:
    """A predictor from a run folder or a .hilum file."""
    return Predictor(Run(Path(path)), runtime, limit)
