"""bundle: a finished run becomes one .hilum file."""

from pathlib import Path
from typing import Any

from hilum.core.errors import HilumError
from hilum.core.run import Run
from hilum.infer import bundle as bundles


def bundle(model: Path | str, out: Path | str, *, public: bool = False) -> dict[str, Any]:
    """Write `out` (NAME.hilum) from a run folder, verify it, and return its card.

    public: it is meant for everybody: refused (HIL-INFER-10) where the terms of its data do not surely allow that.
    """
    out = Path(out)
    if out.suffix != ".hilum":
        raise HilumError("HIL-INFER-09", f"{out.name} does not end in .hilum", "Name it NAME.hilum")
    run = Run(Path(model))
    if run.is_bundle:
        raise HilumError("HIL-INFER-09", f"{model} is a bundle already", "Copy the file")
    card = bundles.write(run, out, public)
    bundles.verify(out)
    return card
