"""Every network of the zoo as an ONNX file beside torch: the test of the export, for all and not for a sample.

    .venv/bin/python benchmarks/zoo/exported.py [--only NAME] [--limit MINUTES]

The tiny form of each, one cell a network; a cell is taken as it is while the network's code and the versions stay.
"""

import argparse
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))
import cells
from cells import BENCHMARKS, Row, key, place, read, write
from tables import _lines

from hilum.core.atomic import write_json, write_text
from tests.zoo.test_onnx import EXPORTED, MOST, difference

RECIPE = "1"
# Raised when another thing is compared: finished cells then count no more.
RESULTS = BENCHMARKS / "results"


def main() -> None:
    """Compare what is asked for and not there, then write the table."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--only", default="", help="networks whose name holds this")
    words.add_argument("--limit", type=float, help="minutes; none is begun after them")
    asked, began = words.parse_args(), time.monotonic()
    for name in EXPORTED:
        late = asked.limit is not None and time.monotonic() - began > 60 * asked.limit
        if asked.only in name and read(file(name)) is None and not late:
            write(file(name), compared(name))
            put()
    put()
    if apart := [name for name in EXPORTED if "failed" in state(read(file(name)))]:
        sys.exit(f"failed: {', '.join(apart)}")


def file(name: str) -> Path:
    """The cell of a network with this code, in these versions."""
    return place(RESULTS, f"onnx-{name}-{key([RECIPE, cells.code(name), versions()])}")


def versions() -> dict[str, str]:
    return {package: version(package) for package in ("torch", "onnx", "onnxscript", "onnxruntime")}


def compared(name: str) -> Row:
    """How far apart both are, or why it can not be said."""
    began, found = time.monotonic(), {"network": name}
    with tempfile.TemporaryDirectory() as folder:
        try:
            found |= {"difference": difference(name, Path(folder))}
        except Exception as error:
            found |= {"refused": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    print(f"{name}: {state(found)}", flush=True)
    return found | {"seconds": round(time.monotonic() - began, 1)} | cells.facts() | {"exporter": versions()}


def state(cell: Row | None) -> str:
    """In words."""
    if cell is None:
        return "not compared yet"
    if "difference" not in cell:
        return f"failed: {cell['refused']}"
    return f"{'equal' if cell['difference'] <= MOST else 'failed'}, {cell['difference']:.1e} apart"


def put() -> None:
    """Write zoo_onnx.md and .json from the cells that are there."""
    found = {name: read(file(name)) for name in EXPORTED}
    rows = [{"network": name, "commit": (cell or {}).get("commit"), "": state(cell)} for name, cell in found.items()]
    text = ["# Networks as ONNX files", "", *ABOUT, "", *_lines(rows), "", f"Versions: {versions()}.", ""]
    write_text(RESULTS / "zoo_onnx.md", "\n".join(text))
    write_json(RESULTS / "zoo_onnx.json", {"recipe": RECIPE, "most": MOST, "rows": list(filter(None, found.values()))})


ABOUT = [
    "The tiny form of every network that can be exported, by ONNX Runtime and by torch, on one input. Equal: no output",
    f"differs by more than {MOST:g} of torch's largest, or of 1. Command: `python benchmarks/zoo/exported.py`.",
]


if __name__ == "__main__":
    main()
