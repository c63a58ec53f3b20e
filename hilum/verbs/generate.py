"""generate: new images from a generator."""

from pathlib import Path
from typing import Any

from hilum.core.atomic import write_json, writing_folder
from hilum.core.findings import INTENDED_USE
from hilum.core.image import Case
from hilum.core.progress import Progress, quiet
from hilum.core.run import Run, free_folder
from hilum.infer import export
from hilum.infer.predictor import Predictor


def generate(
    model: Path | str, count: int, out: Path | str, *, seed: int = 0, progress: Progress = quiet
) -> dict[str, Any]:
    """Write `count` images (PNG; TIFF of fractions) into a new folder, with a record; a seed gives the same images.

    The folder appears when all is in it: images without the note that they were generated are never there.
    """
    predictor = Predictor(Run(Path(model)))
    files: list[str] = []
    note = (
        "These images were generated. Whether one repeats a training image was not checked: treat them as the data "
        "that the model learned from."
    )
    with writing_folder(free_folder(Path(out))) as folder:
        results = predictor.generate(count, seed)
        for number, result in enumerate(results):
            files += export.export(result, Case(f"generated_{number:04d}", "", {}), folder)
            progress("generate", number + 1, count)
        record: dict[str, Any] = {"intended_use": INTENDED_USE, "note": note, "seed": seed}
        record |= {"model": predictor.run.hashes(), "files": files}
        write_json(folder / "generated.json", record)
    return record
