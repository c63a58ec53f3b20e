"""PNG, JPEG, TIFF, BMP, WebP: ordinary pictures (C, row, column) in pixel space, values exactly as stored.

Grey gives C = 1, colour C = 3, dtype as in the file (uint8, uint16, float32, ...): nothing is clipped or rescaled.
EXIF orientation is applied once, for images and labels alike.
"""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.atomic import writing
from hilum.core.errors import HilumError
from hilum.core.findings import Mask
from hilum.core.image import Array, Image
from hilum.io._guard import cropped, full_only, labels_of, reading, same, smallest

CARD = {
    "extensions": [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp"],
    "reads": "image",
    "writes": ["image", "mask"],
    "magic": [
        [0, b"\x89PNG\r\n\x1a\n"], [0, b"\xff\xd8\xff"], [0, b"II*\x00"], [0, b"MM\x00*"], [0, b"BM"], [8, b"WEBP"],
    ],
    "about": "ordinary pictures, 8 or 16 bit",
}  # fmt: skip
ALLOWED = ["PNG", "JPEG", "TIFF", "BMP", "WEBP"]
MOST_PIXELS = 1 << 27
# Refused before decoding (faults.md I05); larger pictures belong in a pyramid.


def read(path: Path, region: tuple[slice, ...] | None = None, level: int = 0) -> Image:
    """A picture (1 or 3, row, column); a palette becomes RGB, CMYK becomes RGB, MINISWHITE is turned.

    Refused: several pages, see-through (HIL-I04), too large (I05), cut (I06), another format (I07), LAB (I02).
    """
    path = Path(path)
    with reading(path):
        full_only(path, level)
        array, kind = _decode(path, labels=False)
        return cropped(Image(array, meta={"path": str(path), "format": "raster", "kind": kind}), region)


def read_labels(path: Path) -> Image:
    """Label values (1, row, column) int32: palette indices and 1-bit pictures as they are, grey values as they are.

    Refused: coloured (HIL-I08), grey edges from JPEG (I08), fractions (N15).
    """
    path = Path(path)
    with reading(path):
        array, kind = _decode(path, labels=True)
        if array.shape[0] == 3:
            if (array != array[:1]).any():
                colours = len(np.unique(array.reshape(3, -1), axis=1).T)
                raise HilumError(
                    "HIL-I08", f"{path} is a colour picture with {colours} colours", "Save values, not colours"
                )
            array = array[:1]
        values = np.unique(array)
        if kind == "JPEG" and len(values) > 2:
            raise HilumError(
                "HIL-I08",
                f"{path} is a JPEG label with {len(values)} grey values: its edges are blurred",
                "Save it as PNG",
            )
        return labels_of(Image(array, meta={"path": str(path), "format": "raster", "kind": kind}))


def write(path: Path, thing: Image | Mask) -> None:
    """Write PNG (8 or 16 bit; colour 8 bit) or TIFF (also float32); read back and compared before it appears."""
    path = Path(path)
    array = _plain(path, thing)
    pixels = array[0] if array.shape[0] == 1 else np.ascontiguousarray(np.moveaxis(array, 0, -1))
    with writing(path) as part:
        if path.suffix.lower() == ".png":
            from PIL import Image as Pillow

            Pillow.fromarray(pixels).save(part, format="PNG")
        else:
            import tifffile

            tifffile.imwrite(part, pixels, photometric="rgb" if pixels.ndim == 3 else "minisblack", software="Hilum")
        seen, _ = _decode(part, labels=isinstance(thing, Mask))
        same(path, array, seen)


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


def _decode(path: Path, labels: bool) -> tuple[Array, str]:
    """(C, row, column) and the format's name."""
    from PIL import Image as Pillow
    from PIL import UnidentifiedImageError

    try:
        with Pillow.open(path, formats=ALLOWED) as opened:
            kind = str(opened.format)
            if opened.size[0] * opened.size[1] > MOST_PIXELS:
                raise HilumError(
                    "HIL-I05", f"{path} has {opened.size[0]} x {opened.size[1]} pixels", "Cut or shrink it"
                )
            pages = int(getattr(opened, "n_frames", 1))
            if pages > 1:
                raise HilumError("HIL-I04", f"{path} has {pages} pages", "Save the one page that is meant")
            deep = _bits(path, opened)
            if kind == "TIFF" and (deep > 8 or _misread(opened)):
                return _deep_tiff(path, opened), kind
            if deep > 8 and kind == "PNG" and opened.mode not in ("I;16", "I"):
                return _deep_png(path), kind
            return _shallow(path, opened, labels), kind
    except Pillow.DecompressionBombError as error:
        raise HilumError("HIL-I05", f"{path} has too many pixels", "Cut or shrink it") from error
    except UnidentifiedImageError as error:
        raise HilumError("HIL-I07", f"{path} is not a picture we know", f"Save it as {', '.join(ALLOWED)}") from error
    except (OSError, SyntaxError) as error:
        # Pillow says "truncated" for cut data and "broken" for bad checksums
        raise HilumError("HIL-I06", f"{path} is damaged or cut short ({error})", "Copy or save it again") from error


def _bits(path: Path, opened: Any) -> int:
    """Bits per channel as stored; Pillow's mode hides 16-bit colour."""
    if opened.format == "PNG":
        with open(path, "rb") as stream:
            return stream.read(25)[24]
    if opened.format == "TIFF":
        bits = opened.tag_v2.get(258, (1,))
        return int(max(bits) if isinstance(bits, tuple) else bits)
    return 8


def _misread(opened: Any) -> bool:
    """An uncompressed TIFF on its side: Pillow 13.0 scrambles its pixels (seen with orientations 5 to 8)."""
    return bool(opened.tag_v2.get(259, 1) == 1 and opened.tag_v2.get(274, 1) >= 5)


def _shallow(path: Path, opened: Any, labels: bool) -> Array:
    """Up to 8 bits per channel, and 16-bit grey, by Pillow."""
    from PIL import ImageOps

    picture = ImageOps.exif_transpose(opened)
    mode = picture.mode
    if picture.has_transparency_data and not (labels and mode == "P"):
        alpha = np.asarray(picture.convert("RGBA").getchannel("A"))
        _opaque(path, alpha, 255)
        picture = picture.convert("L" if mode in ("LA", "L", "1") else "RGB")
    elif mode == "1":
        picture = picture if labels else picture.convert("L")
    elif mode in ("CMYK", "YCbCr") or (mode == "P" and not labels):
        picture = picture.convert("RGB")
    elif mode == "P":
        picture = picture.copy()
    if picture.mode not in ("1", "L", "P", "RGB", "I;16", "I", "F"):
        raise HilumError("HIL-I02", f"{path} is stored as {picture.mode}", "Save it as grey or RGB")
    array = np.asarray(picture)
    if picture.mode == "1":
        array = array.astype(np.uint8)
    elif picture.mode == "I":
        array = smallest(array)
    return np.ascontiguousarray(array[None] if array.ndim == 2 else np.moveaxis(array, -1, 0))


def _opaque(path: Path, alpha: Array, top: int) -> None:
    if (alpha != top).any():
        share = float((alpha != top).mean())
        raise HilumError("HIL-I04", f"{path} is see-through in {share:.1%} of its pixels", "Flatten it on a background")


def _deep_png(path: Path) -> Array:
    """16-bit colour PNG, which Pillow would cut to 8 bits."""
    try:
        import SimpleITK
    except ImportError as error:
        raise HilumError("HIL-I03", f"{path} is 16-bit colour PNG", "Install SimpleITK, or save it as TIFF") from error
    pixels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path), imageIO="PNGImageIO"))
    if pixels.ndim == 2:
        return np.ascontiguousarray(pixels[None])
    if pixels.shape[-1] in (2, 4):
        _opaque(path, pixels[..., -1], np.iinfo(pixels.dtype).max)
        pixels = pixels[..., :-1]
    return np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def _deep_tiff(path: Path, opened: Any) -> Array:
    """TIFF of more than 8 bits, or on its side: any numeric type, white-is-zero turned, EXIF orientation applied."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        page: Any = file.pages[0]
        pixels = page.asarray()
        if page.photometric.name not in ("MINISBLACK", "MINISWHITE", "RGB"):
            raise HilumError("HIL-I02", f"{path} is a TIFF of kind {page.photometric.name}", "Save it as grey or RGB")
        if page.photometric.name == "MINISWHITE":
            pixels = np.iinfo(pixels.dtype).max - pixels
        if page.planarconfig == 2 and pixels.ndim == 3:
            pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 3 and pixels.shape[-1] in (2, 4):
        _opaque(path, pixels[..., -1], np.iinfo(pixels.dtype).max)
        pixels = pixels[..., :-1]
    pixels = _turned(pixels, int(opened.tag_v2.get(274, 1)))
    return np.ascontiguousarray(pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0))


def _turned(pixels: Array, orientation: int) -> Array:
    """EXIF orientation 1-8 on rows and columns."""
    if orientation >= 5:
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
