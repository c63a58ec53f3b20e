"""Heads with ventricles and lesions, for segmentation in 3-D.

`images/` + `labels/` by name: NIfTI in mixed orientations, spacings 1 to 1.5 mm and uneven ones (3 mm slices); every
fourth image is a DICOM series folder, its label a NIfTI on the same grid. dataset.yaml names 1 ventricle, 2 lesion.
"""

from pathlib import Path

import numpy as np

from hilum.core.atomic import write_text
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.data.phantoms._head import LESION, VENTRICLE, Head, Sampled
from hilum.io import dicom, nifti
from hilum.physics.noise import rician

CARD = {
    "tasks": ["segment"],
    "about": "3-D heads with ventricles and one to three lesions; NIfTI and DICOM, mixed orientation and spacing",
}
CLASSES = {1: "ventricle", 2: "lesion"}
GRIDS = (
    ("RAS", (1.3, 1.3, 1.3)), ("LPS", (1.2, 1.2, 1.5)), ("ASL", (1.4, 1.4, 1.2)), ("LPS", (1.25, 1.25, 3.0)),
    ("PIR", (1.5, 1.1, 1.2)), ("RAS", (1.0, 1.0, 3.0)), ("LAS", (1.5, 1.5, 1.5)), ("LPS", (1.3, 1.3, 1.5)),
)  # fmt: skip
# Orientation of the array axes and spacing along them in mm; every fourth is written as DICOM, so right-handed LPS.
BRIGHT = 700
# Stored value of intensity 1.
MARGIN_MM = 3.0


def make(folder: Path, cases: int, seed: int = 0, noise: float = 0.025, lesions: int = 3) -> None:
    """Write `cases` heads. noise: Rician, in units of the brightest tissue; lesions: 1 to so many each."""
    folder = Path(folder)
    for case in range(cases):
        rng = np.random.default_rng((seed, case))
        head = Head(rng)
        head.add_lesions(int(rng.integers(1, lesions + 1)), smallest=2.8)
        word, spacing = GRIDS[case % len(GRIDS)]
        image, mask = sample(head, word, spacing, noise, rng)
        name = f"head_{case:03d}"
        nifti.write(folder / "labels" / f"{name}.nii.gz", mask)
        if case % 4 == 3:
            tags = {"Modality": "MR", "PatientID": name, "PatientName": f"Phantom^{name}", "SeriesDescription": "T1"}
            dicom.write_series(folder / "images" / name, image, tags)
        else:
            nifti.write(folder / "images" / f"{name}.nii.gz", image)
    names = ", ".join(f"{value}: {name}" for value, name in CLASSES.items())
    # heads of one family look alike: say that each is another person, or they would be one group
    write_text(folder / "dataset.yaml", f"classes: {{{names}}}\npatients: case\nterms: Apache-2.0\n")


def sample(
    head: Head, word: str, spacing: tuple[float, float, float], noise: float, rng: np.random.Generator
) -> tuple[Image, Mask]:
    """A head on a grid of that orientation and spacing, and its labels; its centre lies a little off the origin."""
    order = [next(a for a, pair in enumerate(("RL", "AP", "SI")) if letter in pair) for letter in word]
    shift = rng.uniform(-4, 4, 3).round(2)
    affine = np.eye(4)
    affine[:3, :3] = 0
    shape = []
    for column, (world, step) in enumerate(zip(order, spacing, strict=True)):
        reach = head.radii[world] + MARGIN_MM
        count = int(np.ceil(2 * reach / step))
        affine[world, column] = -step if word[column] in "LPI" else step
        affine[world, 3] = shift[world] - np.sign(affine[world, column]) * (count - 1) / 2 * step
        shape.append(count)
    seen = points(head, affine, tuple(shape), shift)
    bright = rician(seen.intensity, noise, rng) * BRIGHT
    labels = np.where(seen.tissue == VENTRICLE, 1, np.where(seen.tissue == LESION, 2, 0)).astype(np.uint8)
    image = Image(np.round(bright).astype(np.int16)[None], affine)
    return image, Mask(labels, CLASSES, affine)


def points(head: Head, affine: Array, shape: tuple[int, ...], shift: Array) -> Sampled:
    """The head at every voxel centre of a grid (axes of the grid along the axes of the world)."""
    index = np.meshgrid(*[np.arange(n, dtype=np.float64) for n in shape], indexing="ij", sparse=True)
    world = [sum(affine[row, c] * index[c] for c in range(3)) + affine[row, 3] - shift[row] for row in range(3)]
    return head.sample(*world)
