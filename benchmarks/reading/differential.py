"""Every valid file that well-known packages ship, read by Hilum and by SimpleITK or nibabel: the same image?

    [HILUM_DATA=...] .venv/bin/python benchmarks/reading/differential.py

Compared where both read: shape, spacing, direction, origin (corners within 0.01 mm) and values. Every difference is
listed with its reason, as is every file that only one of them reads (what neither reads is counted: most of that is no
image). Where a DICOM file differs, pydicom is asked as a third. Packages: pydicom, nibabel, nilearn, dipy,
scikit-image; with HILUM_DATA the images there too.
"""

import importlib.util
import os
import re
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from results import write

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.io import _source
from hilum.io import open as open_path

PACKAGES = ("pydicom", "nibabel", "nilearn", "dipy", "skimage")
OTHER = {
    ".py",
    ".pyc",
    ".pyi",
    ".txt",
    ".md",
    ".rst",
    ".json",
    ".yaml",
    ".yml",
    ".csv",
    ".tsv",
    ".xml",
    ".html",
    ".css",
}
OTHER |= {
    ".js",
    ".so",
    ".npy",
    ".npz",
    ".toml",
    ".cfg",
    ".ini",
    ".pyx",
    ".pxd",
    ".typed",
    ".svg",
    ".ipynb",
    ".in",
    ".c",
}
# No images by their names.
MM = 0.01
SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}


def files() -> list[tuple[str, Path]]:
    """(origin, path) of every file that Hilum knows by name, or whose first bytes are of a format it knows."""
    roots = []
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.submodule_search_locations:
            roots.append((package, Path(next(iter(spec.submodule_search_locations)))))
    if "HILUM_DATA" in os.environ:
        roots.append(("HILUM_DATA", Path(os.environ["HILUM_DATA"])))
    found = []
    for origin, root in roots:
        for path in sorted(root.rglob("*")):
            if path.is_file() and path.suffix.lower() not in OTHER and not path.name.startswith("."):
                known = _source.is_image(path) or bool(_source._marked(path))
                if known and path.suffix.lower() not in (".h5", ".hdf5"):
                    found.append((origin, path))
    return found


def peer(path: Path, image: Image | None) -> tuple[str, Any, Any]:
    """(reader, array as (i, j, k) or (row, column[, channel]), affine RAS+ or None); raises what the peer raises."""
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz", ".hdr", ".img")):
        import nibabel

        volume = nibabel.load(path)
        return "nibabel", np.asarray(volume.dataobj), volume.affine
    import SimpleITK

    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    read = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(read)
    if read.GetDimension() == 3 and image is not None and image.affine is not None:
        lps = np.eye(4)
        steps, turn = np.array(read.GetSpacing()), np.array(read.GetDirection()).reshape(3, 3)
        lps[:3, :3], lps[:3, 3] = turn * steps, read.GetOrigin()
        return "SimpleITK", array.transpose(2, 1, 0), geometry.flip_lps_ras(lps)
    return "SimpleITK", array[0] if read.GetDimension() == 3 and len(array) == 1 else array, None


def compare(path: Path) -> tuple[str, str]:
    """(outcome, reason) of one file."""
    ours: Image | None = None
    refusal = theirs = ""
    try:
        read = open_path(path).read()
        assert isinstance(read, Image)
        ours = read
    except HilumError as error:
        refusal = f"{error.seen.replace(str(path), path.name)} [{error.code}]"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader, array, affine = peer(path, ours)
    except Exception as error:
        theirs = f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"
    if ours is None:
        return ("neither reads" if theirs else "only the peer reads"), refusal
    if theirs:
        return "only Hilum reads", theirs
    fault = differences(ours, array, affine)
    if not fault:
        return "the same", ""
    return f"differs from {reader}", f"{fault}; {explained(path, ours, array)}"


def differences(ours: Image, array: Any, affine: Any) -> str:
    """What differs, in words; empty where nothing does."""
    mine = ours.array[0] if len(ours.array) == 1 else np.moveaxis(ours.array, 0, -1)
    while array.ndim > mine.ndim and array.shape[-1] == 1:
        array = array[..., 0]
    array = array.reshape(array.shape + (1,) * (mine.ndim - array.ndim))
    if mine.shape != array.shape:
        return f"shape {mine.shape} and {array.shape}"
    if ours.affine is not None and affine is not None:
        far = geometry.corner_distance(ours.affine, mine.shape[:3], np.asarray(affine, float), mine.shape[:3])
        if far > MM:
            return f"corners {far:.2f} mm apart"
    wide_mine, wide = mine.astype(np.float64), np.asarray(array, dtype=np.float64)
    close = np.isclose(wide_mine, wide, rtol=1e-5, atol=1e-4, equal_nan=True)
    if close.all():
        return ""
    return f"{1 - close.mean():.1%} of values, by at most {np.nanmax(np.abs(wide_mine - wide)[~close]):g}"


def explained(path: Path, ours: Image, array: Any) -> str:
    """What Hilum says that it did to this image, and what else is known of the difference."""
    meta, words = ours.meta, list(ours.warnings)
    if meta.get("kind") == "JPEG" and len(ours.array) == 3:
        from PIL import Image as Pillow
        from PIL import JpegImagePlugin

        with Pillow.open(path) as opened:
            sampling = JpegImagePlugin.get_sampling(opened)
        words.append(f"colour JPEG of sampling {SAMPLING.get(sampling, sampling)}: two libraries turn it into RGB")
    if meta.get("format") == "raster" and array.ndim == 3 and array.shape[-1] == len(ours.array) + 1:
        words.append("a channel of opacity that is full everywhere was left out")
    if meta.get("format") == "dicom":
        words.append(third(path, ours))
    if meta.get("inverted"):
        words.append("MONOCHROME1 was turned, so that bright means more")
    if meta.get("padding_voxels"):
        words.append(f"{meta['padding_voxels']} padding voxels became air")
    if meta.get("resampled"):
        words.append(f"resampled: {str(meta['resampled'])[:80]}")
    return "; ".join(words) or "no record"


def third(path: Path, ours: Image) -> str:
    """Whether pydicom, with the tables that its documentation names, sees what Hilum sees."""
    import pydicom
    from pydicom.pixels import apply_color_lut, apply_modality_lut

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = pydicom.dcmread(path)
        array = data.pixel_array
        palette = data.PhotometricInterpretation == "PALETTE COLOR"
        array = apply_color_lut(array, data) if palette else apply_modality_lut(array, data)
    mine = ours.array[0, ..., 0].T if ours.affine is not None else np.moveaxis(ours.array, 0, -1).squeeze()
    if mine.shape != array.shape:
        return "pydicom sees another shape"
    share = float((mine == array).mean())
    return "pydicom sees what Hilum sees" if share == 1 else f"pydicom sees the same in {share:.1%} of values"


def merged(exceptions: list[dict[str, Any]]) -> list[str]:
    """A line for each kind of exception and folder: how many files, and the largest numbers."""
    kinds: dict[tuple[str, ...], list[tuple[float, float] | None]] = {}
    for one in exceptions:
        found = re.match(r"([\d.]+)% of values, by at most ([\d.e+]+); ", one["reason"])
        rest = one["reason"][found.end() :] if found else one["reason"]
        numbers = (float(found[1]), float(found[2])) if found else None
        kinds.setdefault((one["origin"], one["file"], one["outcome"], rest), []).append(numbers)
    lines = []
    for (origin, file, outcome, reason), numbers in sorted(kinds.items()):
        known = [n for n in numbers if n is not None]
        most = f"{max(n[0] for n in known)}% of values, by at most {max(n[1] for n in known):g}; " if known else ""
        count = f" ({len(numbers)} files)" if len(numbers) > 1 else ""
        lines.append(f"- {origin} `{file}`{count}: {outcome}. {'up to ' if count and most else ''}{most}{reason}")
    return lines


def main() -> None:
    """Compare every file and leave the table."""
    began = time.monotonic()
    counts: dict[str, Counter[str]] = {}
    exceptions: list[dict[str, Any]] = []
    for origin, path in files():
        outcome, reason = compare(path)
        counts.setdefault(origin, Counter())[outcome] += 1
        if outcome != "the same":
            root = Path(os.environ.get("HILUM_DATA", "."))
            name = str(path).split(f"{origin}{os.sep}")[-1]
            if origin == "HILUM_DATA":
                # the names of its files stay where they are
                name = path.relative_to(root).parts[0]
            exceptions.append({"origin": origin, "file": name, "outcome": outcome, "reason": reason})
    words = sorted({word for count in counts.values() for word in count}, key=lambda w: w != "the same")
    rows = [{"origin": o, "files": sum(c.values())} | {w: c.get(w, 0) for w in words} for o, c in counts.items()]
    shown = [e for e in exceptions if e["outcome"] != "neither reads"]
    write(
        "reading_differential", "The same image as other readers see", __doc__, rows,
        notes=["## Every exception", "", *merged(shown)], facts={"exceptions": shown},
        command="benchmarks/reading/differential.py", seconds=time.monotonic() - began,
    )  # fmt: skip


if __name__ == "__main__":
    main()
