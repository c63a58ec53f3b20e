"""Damaged copies of small valid files: the same seed and number give the same bytes."""

import gzip
import struct
from pathlib import Path

import numpy as np

HEADERS = {".nii": 352, ".nii.gz": 352, ".dcm": 2048, ".png": 64, ".jpg": 700, ".tif": 512, ".mha": 400, ".nrrd": 400}
# Bytes in which most of a format's structure lies; half of the damage falls there.
NUMBERS = (0, 1, 2, 3, 7, 8, 16, 127, 128, 255, 256, 512, 32767, 32768, 65535, 2**31 - 1, 2**31, 2**32 - 1)
FLOATS = (0.0, -1.0, 1e-30, 1e30, float("nan"), float("inf"), 0.5, 2.0, -2.0)


def seeds(folder: Path) -> list[Path]:
    """Small valid files of every format, written once: phantoms through peers' writers, and what pydicom ships."""
    import nibabel
    import SimpleITK
    from pydicom.data import get_testdata_file

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    volume = rng.integers(0, 900, (14, 12, 10)).astype(np.int16)
    affine = np.array([[-1.5, 0, 0, 12], [0, 1.25, 0, -30], [0, 0, 3, 7], [0, 0, 0, 1]])
    made = []
    for name, kind in (
        ("a.nii", nibabel.Nifti1Image),
        ("b.nii.gz", nibabel.Nifti1Image),
        ("c.nii", nibabel.Nifti2Image),
    ):
        one = kind(volume.astype(np.float32) if name == "c.nii" else volume, affine)
        # a whole file states its unit and both forms alike, so that it is read without a warning
        one.header.set_xyzt_units("mm")
        one.set_qform(affine, code=1)
        nibabel.save(one, folder / name)
        made.append(folder / name)
    picture = SimpleITK.GetImageFromArray(rng.integers(0, 255, (24, 20)).astype(np.uint8))
    deep = SimpleITK.GetImageFromArray(rng.integers(0, 65535, (24, 20)).astype(np.uint16))
    stack = SimpleITK.GetImageFromArray(volume)
    for image, name in (
        (picture, "d.png"), (deep, "e.png"), (picture, "f.jpg"), (picture, "g.tif"), (stack, "h.mha"),
        (stack, "i.nrrd"),
    ):  # fmt: skip
        SimpleITK.WriteImage(image, str(folder / name))
        made.append(folder / name)
    made.append(folder / "c.nii")
    for name in (
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "SC_rgb_small_odd.dcm",
    ):
        path = folder / name
        path.write_bytes(Path(get_testdata_file(name, download=False)).read_bytes())
        made.append(path)
    return sorted(made)


def damaged(whole: bytes, name: str, seed: int, number: int) -> bytes:
    """One damaged copy. Gzipped files are damaged inside (and zipped again) in two of three cases."""
    rng = np.random.default_rng((seed, number))
    if name.endswith(".gz") and rng.random() < 0.67:
        return gzip.compress(_once(gzip.decompress(whole), name, rng), 1, mtime=0)
    return _once(whole, name, rng)


def _once(whole: bytes, name: str, rng: np.random.Generator) -> bytes:
    raw = bytearray(whole)
    head = next(size for end, size in HEADERS.items() if name.endswith(end))
    reach = min(len(raw), head) if rng.random() < 0.75 else len(raw)
    place = int(rng.integers(0, max(1, reach - 8)))
    kind = rng.choice(["bits", "number", "float", "cut", "insert", "delete", "zero", "swap", "repeat", "append"])
    if kind == "bits":
        for _ in range(int(rng.integers(1, 5))):
            raw[int(rng.integers(0, reach))] ^= 1 << int(rng.integers(8))
    elif kind == "number":
        code = str(rng.choice(["<B", "<H", "<I", ">H", ">I", "<Q"]))
        value = int(rng.choice(NUMBERS)) % (1 << (8 * struct.calcsize(code)))
        struct.pack_into(code, raw, place, value)
    elif kind == "float":
        struct.pack_into(str(rng.choice(["<f", ">f"])), raw, place, float(rng.choice(FLOATS)))
    elif kind == "cut":
        del raw[int(rng.integers(0, len(raw))) :]
    elif kind == "insert":
        raw[place:place] = rng.bytes(int(rng.integers(1, 40)))
    elif kind == "delete":
        del raw[place : place + int(rng.integers(1, 40))]
    elif kind == "zero":
        size = int(rng.integers(1, 40))
        raw[place : place + size] = bytes(min(size, len(raw) - place))
    elif kind == "swap":
        other, size = int(rng.integers(0, max(1, reach - 8))), 4
        raw[place : place + size], raw[other : other + size] = raw[other : other + size], raw[place : place + size]
    elif kind == "repeat":
        size = int(rng.integers(4, 60))
        raw[place:place] = raw[place : place + size]
    else:
        raw += rng.bytes(int(rng.integers(1, 400)))
    return bytes(raw)
