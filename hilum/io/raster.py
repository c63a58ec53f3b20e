"""PNG, JPEG, TIFF, BMP, WebP: ordinary pictures (C, row, column) in pixel space, values exactly as stored.

Grey gives C = 1, colour C = 3, dtype as in the file (uint8, uint16, float32, ...): nothing is clipped or rescaled, but
grey of 1, 2 and 4 bits spreads over 0 to 255. EXIF orientation is applied once, for images and labels alike.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io import _itk
from hilum.io._guard import cropped, full_only, labels_of, reading, same, smallest
from hilum.io._raster import labels, marks, pillow, png, tiff
from hilum.io._raster.colour import profile
from hilum.io._raster.decoded import MOST_BYTES, MOST_PIXELS, Decoded
from hilum.io._volume.voxels import counted, not_finite

CARD = {
    "extensions": [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"],
    "reads": "image",
    "writes": ["image", "mask"],
    "magic": [
        [0, b"\x89PNG\r\n\x1a\n"], [0, b"\xff\xd8\xff"], [0, b"II*\x00"], [0, b"MM\x00*"], [0, b"II+\x00"],
        [0, b"MM\x00+"], [0, b"BM"], [8, b"WEBP"],
    ],
    "about": "ordinary pictures, 8 or 16 bit",
}  # fmt: skip
ALLOWED = ["PNG", "JPEG", "TIFF", "BMP", "WEBP"]
NAMES = {
    ".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF", ".bmp": "BMP", ".webp": "WEBP",
}  # fmt: skip
OTHERS = (
    (4, b"ftyphei", "HEIC"), (4, b"ftypmif1", "HEIC"), (4, b"ftypavif", "AVIF"), (0, b"%PDF", "PDF"),
    (0, b"GIF8", "GIF"), (128, b"DICM", "DICOM"), (0, b"\x1f\x8b", "gzip"),
    (0, b"8BPS", "Photoshop"), (0, b"%!PS", "PostScript"),
    (4, b"jP  ", "JPEG 2000"), (0, b"\xff\x4f\xff\x51", "JPEG 2000"), (0, b"<svg", "SVG"),
    (0, b"<?xml", "XML or SVG"), (0, b"<", "a web page or XML"),
    (0, b"PK\x03\x04", "a zip archive"), (0, b"\x89HDF", "HDF5"),
)  # fmt: skip
# What refused files are, for the sentence only; the list that decides is ALLOWED.


def read(path: Path, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
    """A picture (1 or 3, row, column); a palette becomes RGB, CMYK becomes RGB, white-is-zero is turned.

    meta: kind, bits, orientation as found, stored (palette, CMYK, YCCK), icc (what the profile calls itself).
    Warned: CMYK and other profiles (HIL-I02), the name of another format (I07), an unknown orientation (I01), NaN or
    infinity (N09).
    Refused: kinds of pixels we do not know (I02), several pages or see-through (I04), too large (I05), damaged (I06),
    another format (I07).
    """
    path = Path(path)
    with reading(path):
        full_only(path, level)
        return cropped(_image(path, _decode(path, labels=False)), region)


def read_labels(path: Path) -> Image:
    """Label values (1, row, column) int32: palette indices, 1-, 2- and 4-bit values and grey values as stored.

    White-is-zero turns pictures, not labels; only what is coded as fax or JPEG comes turned from its decoder.
    Refused beyond what `read` refuses: colours, lossy codecs, softened edges (HIL-I08, with counts), fractions (N15).
    """
    path = Path(path)
    with reading(path):
        decoded = _decode(path, labels=True)
        decoded.array = labels.plain_values(path, decoded)
        return labels_of(_image(path, decoded))


def provenance(path: Path) -> dict[str, str]:
    """The facts that `write` put into a PNG or TIFF; empty where there are none."""
    path = Path(path)
    with reading(path):
        return marks.read(path)


def write(path: Path, thing: Image | Mask, provenance: Mapping[str, str] | None = None) -> None:
    """Write PNG (8 or 16 bit; colour 8 bit) or TIFF (also float32); equal input gives equal bytes.

    provenance: plain facts kept inside the file, beside Hilum's version and the intended use. Before the file appears
    it is read back by our decoder and by SimpleITK, and compared. Refused: what would lose values (HIL-IO-04).
    """
    path = Path(path)
    array = _plain(path, thing)
    facts = marks.facts(path, provenance)
    pixels = array[0] if array.shape[0] == 1 else np.ascontiguousarray(np.moveaxis(array, 0, -1))
    with writing(path) as part:
        if path.suffix.lower() == ".png":
            from PIL import Image as Pillow

            Pillow.fromarray(pixels).save(part, format="PNG", pnginfo=marks.chunks(facts))
        else:
            import tifffile

            kind = "rgb" if pixels.ndim == 3 else "minisblack"
            tifffile.imwrite(
                part, pixels, photometric=kind, metadata=None, software=facts["Software"],
                description=marks.line(facts),
            )  # fmt: skip
        same(path, array, _decode(part, labels=isinstance(thing, Mask)).array)
        same(path, pixels, _by_other(part))
        if marks.read(part) != facts:
            raise HilumError("HIL-IO-05", f"{path} was not written: its facts differ", "Report this as a bug in Hilum")


def _by_other(path: Path) -> Array:
    """What a second decoder sees: SimpleITK, which shares no code with the first."""
    import SimpleITK

    name = "PNGImageIO" if path.suffix.lower() == ".png" else "TIFFImageIO"
    with _itk.named(path) as text:
        seen: Array = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(text, imageIO=name))
    return seen


def _plain(path: Path, thing: Image | Mask) -> Array:
    """(C, row, column) of a type that the format holds exactly; anything else is refused (HIL-IO-04)."""
    array = thing.array
    if isinstance(thing, Mask):
        if thing.stacked or array.dtype.kind not in "iub":
            raise HilumError("HIL-IO-04", f"{path.name}: not one map of whole numbers", "Write each class by itself")
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        raise HilumError("HIL-IO-04", f"{path.name}: shape {array.shape} is no grey or colour picture", "Use .nii.gz")
    end = path.suffix.lower()
    if end not in (".png", ".tif", ".tiff"):
        raise HilumError("HIL-IO-04", f"{path.name}: {end} may change values", "Write .png or .tif")
    kept = array if array.dtype in (np.uint8, np.uint16) else smallest(array)
    fits = kept.dtype in (np.uint8, np.uint16) or (kept.dtype == np.float32 and end != ".png")
    if not fits or (end == ".png" and kept.shape[0] == 3 and kept.dtype != np.uint8):
        raise HilumError(
            "HIL-IO-04", f"{path.name}: {array.dtype} values do not fit {end}", "Scale to 8 or 16 bit first"
        )
    return np.ascontiguousarray(kept)


def _image(path: Path, decoded: Decoded) -> Image:
    facts = dict(decoded.facts)
    notes = list(decoded.warnings)
    if "profile_bytes" in facts:
        facts["icc"] = profile(facts.pop("profile_bytes"), decoded.array.shape[0], notes)
    if NAMES.get(path.suffix.lower(), decoded.kind) != decoded.kind:
        notes.append(f"HIL-I07: {path.name} is {decoded.kind} by its contents, not what its name says.")
    if decoded.array.dtype.kind == "f":
        notes += counted(not_finite(decoded.array.reshape(-1)))
    meta: dict[str, Any] = {"path": str(path), "format": "raster", "kind": decoded.kind, **facts}
    return Image(decoded.array, None, tuple(notes), meta)


def _decode(path: Path, labels: bool) -> Decoded:
    """The picture by its contents, whatever its name says; every failure has its code."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    with open(path, "rb") as stream:
        head = stream.read(132)
    try:
        if head.startswith(png.MARK):
            return _png(path, labels)
        if head[:4] in (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"):
            return tiff.decode(path, labels) or _by_pillow(path, labels, 8)
        return _by_pillow(path, labels, 8)
    except HilumError:
        raise
    except Pillow.DecompressionBombError as error:
        raise HilumError("HIL-I05", f"{path} has too many pixels", "Cut or shrink it") from error
    except UnidentifiedImageError as error:
        raise _not_allowed(path, head) from error
    except MemoryError:
        raise
    except Exception as error:
        # decoders say "truncated", "broken data stream", bad checksums and much else
        words = " ".join(str(error).split())[:200] or type(error).__name__
        raise HilumError("HIL-I06", f"{path} is damaged or cut short ({words})", "Copy or save it again") from error


def _png(path: Path, labels: bool) -> Decoded:
    from PIL import Image as Pillow

    known = png.facts(path)
    _small_enough(path, known.size, 8)
    if known.frames > 1:
        raise HilumError("HIL-I04", f"{path} has {known.frames} frames", "Save the one page that is meant")
    if not known.deep_colour:
        return _by_pillow(path, labels, known.bits)
    with _quiet(), Pillow.open(path, formats=["PNG"]) as opened:
        return pillow.deep(path, png.deep(path, known), opened)


def _by_pillow(path: Path, labels: bool, bits: int) -> Decoded:
    from PIL import Image as Pillow

    with _quiet(), Pillow.open(pillow.stream(path), formats=ALLOWED) as opened:
        _small_enough(path, opened.size, len(opened.getbands()))
        pages = int(getattr(opened, "n_frames", 1))
        if pages > 1:
            raise HilumError("HIL-I04", f"{path} has {pages} pages", "Save the one page that is meant")
        return pillow.decode(path, opened, labels, bits)


def _quiet() -> Any:
    """Pillow warns of sizes below our own limit, and of EXIF oddities that are judged here."""
    return warnings.catch_warnings(action="ignore")


def _small_enough(path: Path, size: tuple[int, int], channels: int) -> None:
    pixels = size[0] * size[1]
    if pixels > MOST_PIXELS or pixels * channels > MOST_BYTES:
        raise HilumError("HIL-I05", f"{path} has {size[0]} x {size[1]} pixels", "Cut or shrink it")


def _not_allowed(path: Path, head: bytes) -> HilumError:
    if not head:
        return HilumError("HIL-I06", f"{path} is empty", "Copy or save it again")
    trimmed = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    names = (word for at, mark, word in OTHERS if (trimmed if mark[:1] == b"<" else head)[at:].startswith(mark))
    kind = next(names, None)
    what = f"is {kind} by its contents" if kind else "is not a picture we know"
    return HilumError("HIL-I07", f"{path} {what}", f"Save it as {', '.join(ALLOWED)}")
