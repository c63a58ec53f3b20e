"""Reconstruction: an image from fewer measurements than it has pixels (MR, Cartesian)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.findings import Picture, Result
from hilum.core.image import Array, Case, Image, Measurement
from hilum.core.plan import Strict
from hilum.data.store import Prepared, Store
from hilum.tasks import _kspace, _rounds_images, _task

if TYPE_CHECKING:
    from torch import Tensor

CARD = {
    "order": 5,
    "about": "an image from fewer measurements than it has pixels (MR k-space, or magnitude images as a simulation)",
    "roles": ["kspace|image"],
    "predicts_from": ["kspace|image"],
    "network": "dccnn",
    "regime": "supervised",
    "infer": "whole",
    "reduce": "none",
    "metrics": ["psnr_db", "ssim", "nmse"],
    "dims": [2],
}
UNDERSAMPLED = "undersampling R="
# How the remark on full data begins, of which columns are left out here.
PLACELESS = "HIL-N05: where the slices of the raw data lie is not known; no place is stated, steps are taken as 1 mm"
# Of several slices; they are reconstructed as well as any.


class Options(Strict):
    """How undersampling is drawn. acceleration R keeps about 1/R of the columns, `centre` of them in the middle.

    noise: of simulated k-space, standard deviation relative to the image's maximum. phase: strength of the simulated
    smooth phase in radians. Both only for magnitude images, which have neither.
    """

    acceleration: float = Field(default=4.0, ge=1)
    centre: float = Field(default=0.08, gt=0, le=1)
    mask: Literal["random", "equispaced"] = "random"
    noise: float = Field(default=0.005, ge=0)
    phase: float = Field(default=1.0, ge=0)


class Task(_task.Task):
    """Undersampled k-space and its operator in, a complex image out (Schlemper 2017)."""

    Options = Options
    CARD: ClassVar[dict[str, Any]] = CARD
    varied = False
    spaced = False
    normalised = False
    cut = False
    expected = (UNDERSAMPLED, _kspace.SIMULATED, PLACELESS)

    @classmethod
    def rules(cls, fingerprint: dict[str, Any], budget: _task.Budget) -> dict[str, Any]:
        """Whole slices of the median size, one per step; narrow cascades where time is short."""
        _task.one_channel(fingerprint, "reconstruct")
        shape = np.median([row["shape"] for row in fingerprint["cases"]], axis=0)[-2:]
        width = {8: 12, 12: 16, 16: 32, 24: 48, 32: 64}[budget.width]
        return {
            "classes": [],
            "channels": ["real", "imaginary"],
            "normalisation": [{"scheme": "none"}, {"scheme": "none"}],
            "spacing": None,
            "patch": [int(round(n / 2) * 2) for n in shape],
            "batch": 1 if (budget.minutes or 0) > 2 else 2,
            "networks": {"net": {"name": "dccnn", "options": {"width": width}}},
            "augment": [],
            "options": {},
            # 40 dB are three decimal digits, bfloat16 has two
            "learning": {"precision": "float32", "weight_decay": 0.0, "clip": 1.0},
        }

    def prepare(self, case: Case, truth: bool = True) -> Prepared:
        """kspace (slices, coil, H, W) complex64 fully sampled unless `mask` came with it; maps; target magnitude."""
        if "kspace" in case.items:
            measurement: Measurement = case.read("kspace")
            return _kspace.from_measurement(measurement, case)
        image: Image = case.read("image")
        if image.dims != 2:
            raise HilumError("HIL-N10", f"Case {case.id} is {image.dims}-D", "Give 2-D magnitude images or k-space")
        options = self.options
        return _kspace.simulated(image, case, options.phase, options.noise, _task.case_rng(case, self.plan.seed))

    def _mask(self, width: int, rng: np.random.Generator) -> Array:
        from hilum.physics import masks

        draw = masks.random_columns if self.options.mask == "random" else masks.equispaced_fraction
        mask: Array = draw(width, self.options.acceleration, self.options.centre, rng)
        return mask

    def sample(self, store: Store, cases: Sequence[Case], part: str, k: int, rng: np.random.Generator) -> _task.Batch:
        """One random slice per batch place, a fresh mask each; everything divided by the zero-filled maximum."""
        rows: list[tuple[Array, Array, Array, bool]] = []
        first = store(self.drawn(cases, part, k, 0, rng))
        for number in range(self.plan.batch):
            ready = store(self.drawn(cases, part, k, number, rng)) if number else first
            if ready["kspace"].shape[1:] != first["kspace"].shape[1:]:
                # a batch is of one size: where sizes differ, in training alone, the first case gives the rest of it
                ready = first
            n = int(rng.integers(len(ready["kspace"])))
            flip = rng.random() < 0.5 if part == "train" else False
            rows.append((ready["kspace"][n], ready["maps"][n], ready["image"][n], flip))
        masks = [self._mask(row[0].shape[-1], rng) for row in rows]
        return _kspace.batch(rows, masks)

    def size(self, prepared: Prepared) -> int:
        """Of a slice with all its coils: a sample shows no more, however many slices there are."""
        return int(prepared["kspace"][0].nbytes)

    def unlearnable(self, prepared: Prepared) -> str:
        """What was never measured can not be learned."""
        return "" if prepared["mask"] is None else "they are undersampled"

    def alike(self, store: Store, cases: Sequence[Case]) -> list[list[Case]]:
        """Cases of the same coils, rows and columns, as `sample` makes batches of one size."""
        if len(cases) < 2:
            return [list(cases)]
        sizes: dict[tuple[int, ...], list[Case]] = {}
        for case in cases:
            sizes.setdefault(store(case)["kspace"].shape[1:], []).append(case)
        return list(sizes.values())

    def inputs(self, batch: _task.Batch) -> tuple[Any, ...]:
        return batch["kspace"], batch["operator"]

    def losses(self, outputs: Any, batch: _task.Batch) -> "dict[str, Tensor]":
        """Mean squared error over real and imaginary part (x100, so that the numbers can be read)."""
        return {"mse": 100 * ((outputs - batch["target"]) ** 2).mean()}

    def counts(self, outputs: Any, batch: _task.Batch) -> Array:
        """Squared errors and energies of magnitudes, each slice in units of its own true maximum."""
        return _rounds_images.errors(*self._magnitudes(outputs, batch))

    @staticmethod
    def _magnitudes(outputs: Any, batch: _task.Batch) -> tuple[Array, Array, Array]:
        """(B, H, W) each: reconstructed, zero-filled, fully sampled."""
        made, truth = (_rounds_images.array(t) for t in (outputs, batch["target"]))
        zero = _rounds_images.array(batch["zero_filled"].abs())
        return np.hypot(made[:, 0], made[:, 1]), zero, np.hypot(truth[:, 0], truth[:, 1])

    def score(self, counts: Array) -> dict[str, float]:
        return _rounds_images.noise(counts)

    def collapse(self, counts: Array) -> str | None:
        return _rounds_images.out_of_range(counts)

    def pictures(self, outputs: Any, batch: _task.Batch, cases: Sequence[str]) -> list[tuple[Array, str]]:
        """The first slice: fully sampled, zero-filled, reconstructed and the error."""
        made, zero, truth = (stack[:1] for stack in self._magnitudes(outputs, batch))
        db = _rounds_images.noise(_rounds_images.errors(made, zero, truth))
        words = f"PSNR {db['psnr_db']:.1f} dB, zero-filled {db['psnr_db/zero-filled']:.1f} dB"
        return [(_beside(truth[0], zero[0], made[0]), f"{cases[0] if cases else ''}: {words}")]

    def whole(self, prepared: Prepared) -> _task.Batch:
        """All slices of a case under the case's own mask: the one it came with, or one drawn from its name."""
        mask = prepared["mask"]
        if mask is None:
            mask = self._mask(prepared["kspace"].shape[-1], np.random.default_rng([prepared["seed"], self.plan.seed]))
        rows = [
            (k, m, i, False) for k, m, i in zip(prepared["kspace"], prepared["maps"], prepared["image"], strict=True)
        ]
        return _kspace.batch(rows, [mask] * len(rows))

    def decode(self, reduced: Any, prepared: Prepared, case: Case) -> Result:
        """reduced: (slices, 2, H, W) and the batch's scale -> Pictures (1, [slices,] H, W): network and zero-filled.

        Several slices are a volume where the raw data say that they lie; a warning tells where they do not.
        """
        batch = self.whole(prepared)
        scale = batch["scale"].numpy().reshape(-1, 1, 1)
        made = np.hypot(reduced[:, 0].numpy(), reduced[:, 1].numpy()) * scale
        zero = np.abs(batch["zero_filled"].numpy()) * scale
        warnings = prepared["warnings"]
        if prepared["mask"] is None:
            warnings = (*warnings, f"{UNDERSAMPLED}{self.options.acceleration:g} was simulated from full data")
        affine = None if len(made) == 1 else prepared["affine"]
        if len(made) > 1 and affine is None:
            warnings = (*warnings, PLACELESS)

        def picture(stack: Array) -> Picture:
            whole = stack if len(stack) == 1 else stack[None]
            return Picture(Image(whole.astype(np.float32), affine, warnings))

        return Result(
            {"picture": picture(made), "zero_filled": picture(zero)}, warnings=warnings, meta={"case": case.id}
        )

    def judge(self, result: Result, case: Case) -> _task.Judged:
        """Magnitude against the fully sampled one, per case; the zero-filled image is judged beside it."""
        truth = self._truth(case)
        values: dict[str, dict[str, float | None]] = {}
        for name in self.CARD["metrics"]:
            measure = catalogue.load("hilum.metrics", str(name)).measure
            values[str(name)] = {
                "": measure(result["picture"].image.array[0], truth),
                "zero-filled": measure(result["zero_filled"].image.array[0], truth),
            }
        return _task.Judged(case.id, case.group, values)

    def _truth(self, case: Case) -> Array:
        target: Array | None = self.prepare(case)["target"]
        if target is None:
            raise HilumError(
                "HIL-T10", f"Case {case.id} is undersampled and holds no fully sampled picture of its size",
                "Give a target (reconstruction_rss) or full k-space",
            )  # fmt: skip
        return target[0] if len(target) == 1 else target

    def show(self, result: Result, case: Case) -> list[tuple[Array, str]]:
        stacks = [self._truth(case), result["zero_filled"].image.array[0], result["picture"].image.array[0]]
        flats = [s if s.ndim == 2 else s[len(s) // 2] for s in stacks]
        return [(_beside(*flats), case.id)]

    def out_channels(self) -> int:
        return 2

    def example(self, rng: np.random.Generator) -> _task.Batch:
        """With the most coils that the plan knows of in the data, so that what learning takes can be told by it."""
        coils = self.plan.data.get("coils")
        coils = coils if isinstance(coils, int) and coils > 0 else 1
        shape = (coils, *self.plan.patch)
        kspace = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
        maps = np.full(shape, coils**-0.5, np.complex64)
        return _kspace.batch([(kspace, maps, kspace[0], False)], [self._mask(shape[-1], rng)])


def _beside(truth: Array, zero: Array, made: Array) -> Array:
    """Three slices (H, W) in one window, and the error five times enlarged: (H, W, 3) uint8."""
    from hilum.pictures import draw
    from hilum.pictures.slices import window

    high = float(np.percentile(truth, 99.5))
    pictures = [draw.enlarge(draw.rgb(window(f, 0.0, high))) for f in (truth, zero, made, np.abs(made - truth) * 5)]
    return draw.side_by_side(pictures, ["fully sampled", "zero-filled", "reconstructed", "error x5"])
