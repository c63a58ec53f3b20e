"""A Mask as a highdicom segmentation, and the second opinion on the file that came out."""

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import hilum
from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.findings import INTENDED_USE, Mask
from hilum.core.image import Array
from hilum.io._dicom.origin import UTF8, Origin, fits, tolerances
from hilum.io._dicom.write import free_code, uid
from hilum.io._guard import reading

KINDS = ("binary", "labelmap", "fractional")
LONGEST = 64
# Characters of a DICOM segment label.
ABNORMAL = ("lesion", "tumour", "tumor", "haemorrhage", "hemorrhage", "metastasis", "nodule", "cyst")


def build(path: Path, mask: Mask, source: Origin, kind: str, series: str, model: str = "") -> Any:
    """The highdicom object; identifiers from content and model, so the same mask of the same gives the same UIDs."""
    frames, values = _frames(path, mask, source, kind)
    with warnings.catch_warnings():
        # highdicom speaks about the patient's name of the source; it is copied as it is
        warnings.simplefilter("ignore", UserWarning)
        try:
            return _object(mask, frames, values, source, kind, series, model)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise HilumError(
                "HIL-IO-04", f"{path.name}: the source slices do not allow a DICOM SEG ({error})", "Write NIfTI instead"
            ) from error


def _frames(path: Path, mask: Mask, source: Origin, kind: str) -> tuple[Array, list[int]]:
    """Frames for highdicom in the order of the source: (k, row, column) numbered 1..K, or (k, row, column, K)."""
    if kind not in KINDS:
        raise HilumError("HIL-IO-04", f"{path.name}: there is no DICOM SEG of the kind {kind!r}", "Use binary")
    fits(path.name, mask.array.shape[-3:], mask.affine, source)
    values = check_classes(path.name, mask.classes, mask.instances)
    if mask.stacked and (mask.array.ndim != 4 or len(mask.array) != len(values)):
        raise HilumError("HIL-IO-04", f"{path.name}: {mask.array.shape} for {len(values)} classes", "One layer a class")
    frames = _fractions(path, mask) if kind == "fractional" else _numbers(path, mask, values, kind)
    # a multi-frame source has its frames in an order of its own
    return frames[np.argsort(source.frames)] if source.frames else frames, values


def check_classes(what: str, classes: Mapping[int, str], instances: bool = False) -> list[int]:
    """The class values in order, as they become segments 1..K; refused (HIL-IO-04) what no SEG can say of them.

    what: whose classes they are, for the sentence. instances: whether values number objects.
    """
    values = sorted(classes)
    if instances:
        raise HilumError("HIL-IO-04", f"{what}: numbered objects are no segments of a DICOM SEG", "Write NIfTI instead")
    if not values or min(values) < 1:
        raise HilumError("HIL-IO-04", f"{what}: classes {dict(classes)} as segments", "Name classes from 1 up")
    for name in classes.values():
        if not 0 < len(str(name).strip()) <= LONGEST or "\\" in str(name) or str(name) != str(name).strip():
            raise HilumError("HIL-IO-04", f"{what}: the class name {name!r}", "Use 1 to 64 plain characters")
    return values


def _fractions(path: Path, mask: Mask) -> Array:
    """(k, row, column, K) float32 0..1."""
    array = mask.array
    if not mask.stacked or array.dtype.kind != "f":
        raise HilumError("HIL-IO-04", f"{path.name}: a fractional SEG of {array.dtype}", "Give (K, i, j, k) fractions")
    if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
        raise HilumError("HIL-IO-04", f"{path.name}: fractions {array.min()} to {array.max()}", "Keep them within 0..1")
    return np.ascontiguousarray(array.transpose(3, 2, 1, 0).astype(np.float32))


def _numbers(path: Path, mask: Mask, values: list[int], kind: str) -> Array:
    """Values renumbered 1..K, or layers of 0 and 1 where classes may overlap."""
    if mask.array.dtype.kind not in "iub":
        raise HilumError("HIL-IO-04", f"{path.name}: a mask of {mask.array.dtype}", "Give whole numbers")
    if mask.stacked:
        layers = mask.array.astype(bool)
        if kind == "binary":
            return np.ascontiguousarray(layers.transpose(3, 2, 1, 0).astype(np.uint8))
        if (layers.sum(axis=0, dtype=np.uint16) > 1).any():
            raise HilumError("HIL-IO-04", f"{path.name}: overlapping classes in a label map", 'Use kind "binary"')
        pairs = list(enumerate(layers, 1))
    else:
        unknown = sorted(set(np.unique(mask.array).tolist()) - {0, *values})
        if unknown:
            raise HilumError("HIL-IO-04", f"{path.name}: values {unknown[:5]} have no class name", "Name every value")
        pairs = [(number, mask.array == value) for number, value in enumerate(values, 1)]
    frames = np.zeros(mask.array.shape[-3:], dtype=np.uint16)
    for number, layer in pairs:
        frames[layer] = number
    return np.ascontiguousarray(frames.transpose(2, 1, 0))


def _object(mask: Mask, frames: Array, values: list[int], source: Origin, kind: str, series: str, model: str) -> Any:
    import highdicom

    seed = (
        *source.instances,
        hashlib.sha256(frames.tobytes()).hexdigest(),
        dict(mask.classes),
        hilum.__version__,
        *(() if kind == "binary" else (kind,)),
        *((model,) if model else ()),
    )
    segments = [_segment(n, value, str(mask.classes[value]), model) for n, value in enumerate(values, 1)]
    return highdicom.seg.Segmentation(
        source_images=source.headers, pixel_array=frames, segmentation_type=kind.upper(),
        segment_descriptions=segments,
        series_instance_uid=uid(*seed, "series"), series_number=9001,
        sop_instance_uid=uid(*seed, "instance"), instance_number=1, manufacturer="Hilum",
        manufacturer_model_name="Hilum", software_versions=hilum.__version__, device_serial_number="0",
        series_description=f"Hilum {series}, research use", content_description=INTENDED_USE[:64].rsplit(".", 1)[0],
        content_label="HILUM", omit_empty_frames=bool(frames.any()), specific_character_set=UTF8,
    )  # fmt: skip


def _segment(number: int, value: int, name: str, model: str) -> Any:
    """One segment; its class value in the description, the model among the parameters of the algorithm."""
    import highdicom
    from highdicom.sr.coding import CodedConcept
    from pydicom.sr.codedict import codes

    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="Hilum", family=codes.DCM.ArtificialIntelligence, version=hilum.__version__,
        parameters={"model": model} if model else None,
    )  # fmt: skip
    bad = any(word in name.lower() for word in ABNORMAL)
    category = ("49755003", "Morphologically abnormal structure") if bad else ("123037004", "Anatomical structure")
    segment = highdicom.seg.SegmentDescription(
        segment_number=number, segment_label=name,
        segmented_property_category=CodedConcept(category[0], "SCT", category[1]),
        segmented_property_type=free_code(name),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC, algorithm_identification=algorithm,
    )  # fmt: skip
    segment.SegmentDescription = f"Hilum class value {value}"
    return segment


def check(part: Path, path: Path, mask: Mask, source: Origin) -> None:
    """Let highdicom decode and place the file by itself: volume, centroid and every voxel of every class must agree.

    Its volume comes with an affine of its own, so that positions are compared in mm, not by index (HIL-IO-05).
    """
    import highdicom

    if not mask.array.any():
        return
    with reading(path), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        file = highdicom.seg.segread(part)
        together = not mask.stacked
        # as even as the series had to be, as a share of a step
        even = tolerances(source.affine, source.shape[2])[1] / geometry.spacing(source.affine)[2]
        whole = file.get_volume(combine_segments=True, rtol=even) if together else None
        for number, value in enumerate(sorted(mask.classes), 1):
            wanted = mask.array == value if together else _stored(mask.array[number - 1])
            volume = whole if whole is not None else file.get_volume(segment_numbers=[number], rtol=even)
            layer = volume.array == number if together else volume.array[..., 0]
            _agree(path, str(mask.classes[value]), wanted, source, layer, np.asarray(volume.affine))


def _stored(layer: Array) -> Array:
    """A layer as the file can hold it: fractions in 255 steps."""
    if layer.dtype.kind != "f":
        return layer.astype(bool)
    return np.around(layer.astype(np.float32) * 255) / np.float32(255)


def _agree(path: Path, name: str, wanted: Array, source: Origin, seen: Array, lps: Array) -> None:
    """Compare one class (i, j, k) with highdicom's (slice, row, column) and its LPS affine."""
    # its axes in our order
    seen, affine = seen.transpose(2, 1, 0), geometry.flip_lps_ras(lps[:, [2, 1, 0, 3]])
    ours, theirs = _measures(wanted, source.affine), _measures(seen, affine)
    fault = ""
    if abs(ours[0] - theirs[0]) > 1e-3 * max(1.0, ours[0]):
        fault = f"{theirs[0]:.3f} ml instead of {ours[0]:.3f}"
    elif ours[0] and np.abs(ours[1] - theirs[1]).max() > geometry.GEOMETRY_TOLERANCE_MM + source.off:
        fault = f"its centre moved by {np.abs(ours[1] - theirs[1]).max():.3f} mm"
    else:
        index = np.linalg.solve(source.affine, affine @ [0, 0, 0, 1])[2]
        step = 1 if affine[:3, 2] @ source.affine[:3, 2] > 0 else -1
        here = np.round(index + step * np.arange(seen.shape[2])).astype(int)
        inside = (here >= 0) & (here < wanted.shape[2])
        lost = wanted.sum(dtype=np.float64) - wanted[:, :, here[inside]].sum(dtype=np.float64)
        far = np.abs(wanted[:, :, here[inside]].astype(np.float32) - seen[:, :, inside].astype(np.float32)).max()
        tolerance = 0.5 / 255 + 1e-6 if wanted.dtype.kind == "f" else 0
        if far > tolerance or lost > tolerance * wanted.size:
            fault = "voxels differ"
    if fault:
        raise HilumError(
            "HIL-IO-05", f"{path} was not written: a second reader finds {name!r} with {fault}",
            "Report this as a bug in Hilum",
        )  # fmt: skip


def _measures(layer: Array, affine: Array) -> tuple[float, Array]:
    """Volume in ml and centroid in mm (RAS+) of a layer; fractions weigh."""
    weights = [layer.sum(axis=tuple(b for b in range(3) if b != a), dtype=np.float64) for a in range(3)]
    total = float(weights[0].sum())
    if total == 0:
        return 0.0, np.zeros(3)
    centre = [float(np.arange(len(w)) @ w) / total for w in weights]
    return total * abs(float(np.linalg.det(affine[:3, :3]))) / 1000, (affine @ [*centre, 1.0])[:3]
