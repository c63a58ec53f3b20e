"""Three deliberate faults in real images: a leak, a shortcut and a mirrored output. Is each caught, and nothing else?

    HILUM_DATA=... .venv/bin/python benchmarks/trust/caught.py CLASSIFIER MASKS [--minutes 4]

CLASSIFIER is a finished run of breast_ultrasound, MASKS one of benchmarks/datasets/hippocampus.yaml; both are looked at
as they are. The leak: 20 test images of the classifier are filed once more among the training images, under another
patient, in four forms. The shortcut: a white bar of 4 % of the width at the left, the top or the right edge tells the
class. Both are planned, trained for the minutes given and judged as a user would. The mirrored output: images of the
test part, mirrored along one axis, with the labels left as they were. Every fault has a sound twin beside it. Sentences
are those of the refusal or of the report's warnings.
"""

import argparse
import html
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from PIL import Image as Picture

sys.path.insert(0, str(Path(__file__).parents[1] / "reading"))
from results import write

from hilum.core.errors import HilumError
from hilum.core.image import Case
from hilum.core.run import Run, write_rows
from hilum.data.dataset import open_dataset
from hilum.data.groups import looks
from hilum.data.leaks import find
from hilum.data.splits import given
from hilum.verbs.evaluate import evaluate
from hilum.verbs.train import train

HIPPOCAMPUS = Path(__file__).parents[1] / "datasets" / "hippocampus.yaml"
COPIES, BAR = 20, 0.04
EDGES = {"benign": "left", "malignant": "top", "normal": "right"}
FORMS = ("the same pixels", "JPEG of quality 60", "mirrored", "brighter by a fifth")
Rows = list[dict[str, Any]]


def own(run: Run, data: Path) -> list[tuple[Case, str, str]]:
    """(case, part, group) of the run's data."""
    rows = {row["case"]: row for row in run.split()}
    return [(c, rows[c.id]["part"], rows[c.id]["group"]) for c in open_dataset(data).cases]


def picture(case: Case) -> Any:
    """(H, W) or (H, W, 3), uint8, of a 2-D case."""
    return np.moveaxis(case.read("image").array, 0, -1).squeeze().astype(np.uint8)


def sheet(folder: Path, rows: Rows, accept: bool = False) -> Path:
    """A table as a data set; accept: leaks are known and meant."""
    write_rows(folder / "cases.csv", rows)
    made = folder / "data.yaml"
    made.write_text("folder: cases.csv\n" + ("accept: [T09]\n" if accept else ""), encoding="utf-8")
    return made


def plain(cases: list[tuple[Case, str, str]]) -> Rows:
    """The rows of a table with every case as it is."""
    return [
        {
            "case": c.id.replace("/", "_"),
            "image": str(c.items["image"].path),
            "class": c.klass,
            "patient": group,
            "split": part,
        }
        for c, part, group in cases
    ]


def copies(cases: list[tuple[Case, str, str]], folder: Path) -> Rows:
    """Test images once more, as training images of other patients, each in one of FORMS."""
    test = [case for case, part, _ in cases if part == "test"]
    rows = []
    for number, case in enumerate(test[:: max(1, len(test) // COPIES)][:COPIES]):
        array, form = picture(case), number % len(FORMS)
        if form == 2:
            array = np.flip(array, 1)
        if form == 3:
            array = np.clip(array.astype(float) * 1.2, 0, 255).astype(np.uint8)
        path = folder / f"copy_{number}.{'jpg' if form == 1 else 'png'}"
        Picture.fromarray(array).save(path, **({"quality": 60} if form == 1 else {}))
        rows.append(
            {"case": path.stem, "image": str(path), "class": case.klass, "patient": path.stem, "split": "train"}
        )
    return rows


def marked(cases: list[tuple[Case, str, str]], folder: Path) -> Rows:
    """Every image with a white bar at the edge of its class."""
    rows = plain(cases)
    for row, (case, _, _) in zip(rows, cases, strict=True):
        array = np.ascontiguousarray(picture(case))
        wide = max(2, round(BAR * array.shape[1]))
        edge = EDGES[str(case.klass)]
        place = {"left": np.s_[:, :wide], "right": np.s_[:, -wide:], "top": np.s_[:wide]}[edge]
        array[place] = 255
        row["image"] = str(folder / f"{row['case']}.png")
        Picture.fromarray(array).save(row["image"])
    return rows


def turned(cases: list[tuple[Case, str, str]], axis: int, folder: Path) -> Path:
    """The test images mirrored along one axis, with the labels as they are."""
    rows = []
    for case, part, group in cases:
        if part == "test":
            image = nib.load(case.items["image"].path)
            path = folder / f"{case.id}.nii.gz"
            nib.save(nib.Nifti1Image(np.flip(np.asanyarray(image.dataobj), axis), image.affine), path)
            label = str(case.items["label"].path)
            rows.append({"case": case.id, "image": str(path), "label": label, "patient": group})
    write_rows(folder / "cases.csv", rows)
    kept = HIPPOCAMPUS.read_text(encoding="utf-8").replace("folder: hippocampus_mri", "folder: cases.csv")
    (folder / "data.yaml").write_text(kept.replace("patients: case\n", ""), encoding="utf-8")
    return folder / "data.yaml"


def warnings(report: Path, about: str) -> str:
    """The sentences of a report that hold a word, those that are warnings with their mark; "-" where none does."""
    text = report.read_text(encoding="utf-8")
    found = [html.unescape(re.sub("<[^>]+>", "", one)) for one in re.findall(r"<p(?: [^>]*)?>(.*?)</p>", text, re.S)]
    return " ".join(one.strip()[:400] for one in found if about in one) or "-"


def learned(data: Path, out: Path, minutes: float) -> Path:
    """A run of those minutes, judged; the report."""
    train(data, "classify", out / "run", minutes=minutes)
    evaluate(out / "run", data, out / "seen")
    return out / "seen" / "report.html"


def leak(run: Run, minutes: float) -> Iterator[dict[str, Any]]:
    """The sound split, the leak as it is refused, and the leak that somebody accepts."""
    cases = own(run, Path(os.environ["HILUM_DATA"]) / "breast_ultrasound")
    for name, accept in (("none: the same split", False), ("leak", False), ("leak, accepted", True)):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            more = [] if name.startswith("none") else copies(cases, folder)
            data = sheet(folder, plain(cases) + more, accept)
            line = {"fault": name, "data": "breast_ultrasound", "cases": len(cases) + len(more)}
            dataset = open_dataset(data)
            pairs = [p for p in find(dataset, given(dataset), looks(dataset))]
            hit = {n for pair in pairs for n in (pair.first, pair.second) if n.startswith("copy_")}
            line["found"] = f"{len(hit)} of {len(more)} copies, {len(pairs)} pairs"
            try:
                report = learned(data, folder, minutes if accept else 0.5)
                words = warnings(report, "T09")
            except HilumError as error:
                words = f"refused, {error}".replace(f"{folder}/", "")
            yield line | {"said": words[:420]}


def shortcut(run: Run, minutes: float) -> Iterator[dict[str, Any]]:
    """The images as they are, and with a bar that tells the class; the same minutes."""
    cases = own(run, Path(os.environ["HILUM_DATA"]) / "breast_ultrasound")
    for name in ("none: the same images", "shortcut: a bar at the edge"):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            # two images with the same bar may look like one that was changed: that is accepted here
            rows = plain(cases) if name.startswith("none") else marked(cases, folder)
            data = sheet(folder, rows, accept=True)
            words = warnings(learned(data, folder, minutes), "rame")
        yield {"fault": name, "data": "breast_ultrasound", "cases": len(cases), "found": "-", "said": words}


def mirrored(run: Run) -> Iterator[dict[str, Any]]:
    """The test part as it is, and mirrored along each axis."""
    cases = own(run, HIPPOCAMPUS)
    test = sum(part == "test" for _, part, _ in cases)
    with tempfile.TemporaryDirectory() as place:
        evaluate(run.path, HIPPOCAMPUS, Path(place) / "seen")
        words = warnings(Path(place) / "seen" / "report.html", "mirrored")
        yield {"fault": "none: the test part", "data": "hippocampus_mri", "cases": test, "found": "-", "said": words}
    for axis in range(3):
        with tempfile.TemporaryDirectory() as place:
            evaluate(run.path, turned(cases, axis, Path(place)), Path(place) / "seen")
            words = warnings(Path(place) / "seen" / "report.html", "mirrored")
        name = f"mirrored along axis {axis}"
        yield {"fault": name, "data": "hippocampus_mri", "cases": test, "found": "-", "said": words}


def main() -> None:
    """All three, one line each and one for each sound twin."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("classifier", type=Path)
    words.add_argument("masks", type=Path)
    words.add_argument("--minutes", type=float, default=4.0)
    asked = words.parse_args()
    if "HILUM_DATA" not in os.environ:
        sys.exit("HILUM_DATA is not set. It names the folder of the data sets.")
    began, rows = time.monotonic(), Rows()
    sound, masks = Run(asked.classifier), Run(asked.masks)
    for found in (leak(sound, asked.minutes), shortcut(sound, asked.minutes), mirrored(masks)):
        for line in found:
            print(line, flush=True)
            rows.append(line)
    command = f"benchmarks/trust/caught.py CLASSIFIER MASKS --minutes {asked.minutes:g}"
    facts = {"minutes": asked.minutes, "forms of the copies": list(FORMS), "bar": BAR}
    write(
        "trust_caught", "Deliberate faults in real images", " ".join((__doc__ or "").split("\n\n")[0::2]), rows,
        command=command, seconds=time.monotonic() - began, facts=facts,
    )  # fmt: skip


if __name__ == "__main__":
    main()
