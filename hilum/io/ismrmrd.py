"""ISMRMRD raw data (HDF5): Cartesian 2-D readouts become k-space as in `kspace`, centred and unitary.

A group (usually `dataset`) holds `xml`, the header, and `data`, one row per readout: header, trajectory, samples.
Rows of the image (axis ky of a Measurement) follow the readout and columns (kx) the phase encoding, as in fastMRI.
"""

from pathlib import Path

from hilum.core.errors import HilumError
from hilum.core.image import Measurement
from hilum.io._guard import reading
from hilum.io._raw.ismrmrd_scan import Scan, groups

CARD = {
    "extensions": [".h5", ".hdf5", ".mrd"],
    "reads": "measurement",
    "writes": [],
    "magic": [[0, b"\x89HDF\r\n\x1a\n"]],
    "order": 40,
    "recognises": True,
    "about": "MR raw data as ISMRMRD (Cartesian, 2-D)",
}


def recognises(path: Path) -> bool:
    """An HDF5 file with a group that holds `xml` and `data`."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return bool(groups(file))
    except Exception:
        return False


def count(path: Path) -> int:
    """How many slices a file holds, without reading their samples."""
    import h5py

    with reading(Path(path)), h5py.File(path, "r") as file:
        return Scan(Path(path), file).slices


def read(path: Path, slice: int | None = None) -> Measurement:
    """One slice with axes (coil, ky, kx) or, with slice=None, all of them with axes (slice, coil, ky, kx), complex64.

    operator: {"name": "fourier", "mask": (W,) float32, "maps": None}. Averages are averaged. Readout oversampling is
    removed down to the reconstructed field of view; from partial echoes it is not, and their mask is (H, W).
    target_affine: (slice, row, column) to RAS+ mm, or None with a warning (HIL-N06).
    Refused: several repetitions, contrasts, sets or phases, 3-D or non-Cartesian encoding, contradicting or oversized
    contents (HIL-IO-08), NaN (HIL-N09), no such slice (HIL-IO-07).
    """
    import h5py

    path = Path(path)
    with reading(path), h5py.File(path, "r") as file:
        scan = Scan(path, file)
        if slice is not None and not 0 <= slice < scan.slices:
            raise HilumError("HIL-IO-07", f"{path} has slices 0 to {scan.slices - 1}, not {slice}", "Choose one")
        return scan.measurement(slice)
