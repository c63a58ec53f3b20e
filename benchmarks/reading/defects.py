"""Known defects of geometry, each in an otherwise good series or file: refused, warned about, or accepted silently?

    .venv/bin/python benchmarks/reading/defects.py

DICOM: one defect each in a series of 12 slices; Hilum reads the folder, SimpleITK as in speed.py. NIfTI: the hundred
one-defect files of `hilum.data.phantoms.nifti_defects`, beside nibabel and SimpleITK. A tilted or uneven series that
was resampled counts as warned about: the warning says so.
"""

import csv
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

sys.path.insert(0, str(Path(__file__).parent))
from results import write
from speed import itk_series

from hilum.core import catalogue
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.io import dicom
from hilum.io import open as open_path

Edit = Callable[[Any, int], None]
PEERS = (
    "Peers were asked for an image, also where the file holds labels. What they print to stderr, warnings of the "
    "geometry among it, was not looked at: such a file counts as silent."
)


def _move(data: Any, shift: tuple[float, float, float]) -> None:
    data.ImagePositionPatient = [float(v) + s for v, s in zip(data.ImagePositionPatient, shift, strict=True)]


def _each(change: Callable[[Any, int], None], only: range | None = None) -> Callable[[Path], None]:
    """Apply a change to the slices in `only` (all of them when not given)."""

    def spoil(folder: Path) -> None:
        for k, path in enumerate(sorted(folder.iterdir())):
            if only is None or k in only:
                data = pydicom.dcmread(path)
                change(data, k)
                data.save_as(path)

    return spoil


def _turn(data: Any, k: int) -> None:
    data.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def _twin(folder: Path, **tags: Any) -> None:
    data = pydicom.dcmread(folder / "0005.dcm")
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID + ".1"
    data.PixelData = bytes(len(data.PixelData))
    for name, value in tags.items():
        setattr(data, name, value)
    data.save_as(folder / "twin.dcm")


def _other(folder: Path, **tags: Any) -> None:
    """A second series of 12 slices in the same folder."""
    for path in sorted(folder.iterdir()):
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID + ".2"
        for name, value in tags.items():
            setattr(data, name, value)
        data.save_as(folder / f"other{path.name}")


def _without(*slices: int) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        for number in slices:
            (folder / f"{number:04d}.dcm").unlink()

    return spoil


def _set(**tags: Any) -> Edit:
    def change(data: Any, k: int) -> None:
        for name, value in tags.items():
            setattr(data, name, value)

    return change


SERIES: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a slice is missing in the middle": ("D21", _without(6)),
    "two neighbouring slices are missing": ("D21", _without(6, 7)),
    "every third slice is missing": ("D21", _without(3, 6, 9)),
    "the same place twice, other pixels": ("D22", _twin),
    "steps grow from 2 to 3 mm": ("D23", _each(lambda d, k: _move(d, (0, 0, k * k / 22)))),
    "one slice 0.8 mm off its place": ("D23", _each(lambda d, k: _move(d, (0, 0, 0.8)), range(5, 6))),
    "gantry tilt of 11 degrees": ("D24", _each(lambda d, k: _move(d, (0, 0.4 * k, 0)))),
    "sheared sideways by 2 degrees": ("D24", _each(lambda d, k: _move(d, (0.07 * k, 0, 0)))),
    "one slice in another orientation": ("D25", _each(_turn, range(11, 12))),
    "pixel spacing changes half way": ("D26", _each(_set(PixelSpacing=["1.6", "1.6"]), range(6, 12))),
    "two series in one folder": ("D27", lambda f: _other(f, SeriesInstanceUID="1.2.3.4")),
    "two patients under one series": ("D27", lambda f: _other(f, PatientID="other")),
    "two time points, no tag tells them apart": ("D30", _other),
    "orientation is no right angle": ("N06", _each(_set(ImageOrientationPatient=[1, 0, 0, 0.5, 0.87, 0]))),
    "pixel spacing 0": ("N06", _each(_set(PixelSpacing=["0", "1"]))),
    "no position": ("IO-06", _each(lambda d, k: d.__delattr__("ImagePositionPatient"))),
    "slope 0": ("D18", _each(_set(RescaleSlope="0"))),
}  # fmt: skip


def outcome(read: Callable[[], Any], ours: bool = False) -> str:
    """refused, warned or silent. ours: a crash of Hilum is no refusal and goes on; a peer knows no refusal but that."""
    try:
        found = read()
    except HilumError as error:
        return f"refused {error.code}"
    except Exception:
        if ours:
            raise
        return "refused"
    if isinstance(found, Image) and found.warnings:
        return f"warned {found.warnings[0].split(':')[0]}"
    return "silent"


def dicom_rows(folder: Path) -> list[dict[str, Any]]:
    """A row per defect of a series."""
    array = np.random.default_rng(0).integers(0, 900, (1, 20, 16, 12)).astype(np.int16)
    whole = Image(array, np.array([[-0.8, 0, 0, 9], [0, -1.6, 0, 9], [0, 0, 2, -12], [0, 0, 0, 1.0]]))
    rows = []
    for name, (row, spoil) in SERIES.items():
        dicom.write_series(folder / "s", whole, {"Modality": "CT", "PatientID": "p"})
        spoil(folder / "s")
        ours = outcome(lambda: open_path(folder / "s").read(), ours=True)
        facts = {"what": f"DICOM: {name}", "row": row, "Hilum": ours}
        rows.append(facts | {"SimpleITK": outcome(lambda: itk_series(folder / "s")), "nibabel": "-"})
        shutil.rmtree(folder / "s")
    return rows


def nifti_rows(folder: Path) -> list[dict[str, Any]]:
    """A row per file of the hundred."""
    import nibabel
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    catalogue.load("hilum.data.phantoms", "nifti_defects").make(folder / "n", 100)
    rows = []
    with open(folder / "n" / "defects.csv", newline="") as stream:
        for line in csv.DictReader(stream):
            path = folder / "n" / line["file"]
            label = "label" in line["defect"].lower()
            source = open_path(path)
            ours = outcome(source.read_labels if label else source.read, ours=True)
            itk = outcome(lambda p=path: SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(p))))  # type: ignore[misc]
            nib = outcome(lambda p=path: nibabel.load(p).get_fdata())  # type: ignore[misc]
            facts = {"what": f"NIfTI: {line['defect']}", "row": line["row"], "Hilum": ours, "SimpleITK": itk}
            rows.append(facts | {"nibabel": nib, "stated": line["outcome"]})
    return rows


def main() -> None:
    """Run both lists and leave the table."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        rows = dicom_rows(Path(folder)) + nifti_rows(Path(folder))
    wrong = [r for r in rows if r["Hilum"] == "silent" and r.get("stated") not in ("accepted-corrected", "accepted")]
    counts = {who: Counter(str(r[who]).split()[0] for r in rows) for who in ("Hilum", "SimpleITK", "nibabel")}
    notes = [f"{who}: " + ", ".join(f"{n} {word}" for word, n in c.items() if word != "-") for who, c in counts.items()]
    notes.append(f"Defects that Hilum accepted silently though they change the image: {len(wrong)}.")
    notes.append(PEERS)
    write(
        "reading_defects", "Known defects", __doc__, rows, notes=[f"- {n}" for n in notes],
        command="benchmarks/reading/defects.py", seconds=time.monotonic() - began,
    )  # fmt: skip


if __name__ == "__main__":
    main()
