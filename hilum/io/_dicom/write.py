"""The classic CT or MR slices of a volume; unique identifiers come from the content, so they are reproducible."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array, Image

CLASSES = {"CT": "1.2.840.10008.5.1.4.1.1.2", "MR": "1.2.840.10008.5.1.4.1.1.4"}
CT_OFFSET = 1024
# CT is stored unsigned with this subtracted again by the rescale intercept, as scanners do.
PLAIN = {
    "SpecificCharacterSet": "ISO_IR 192", "PatientName": "Phantom^", "PatientID": "phantom", "PatientBirthDate": "",
    "PatientSex": "", "StudyID": "1", "StudyDate": "20260101", "StudyTime": "120000", "AccessionNumber": "",
    "ReferringPhysicianName": "", "SeriesNumber": 1, "SeriesDescription": "", "Manufacturer": "Hilum",
    "PositionReferenceIndicator": "",
}  # fmt: skip
# What a classic image must state, in UTF-8, so that any name survives; `tags` may say otherwise.


def uid(*words: object) -> str:
    """A valid DICOM UID (2.25 arc) that depends only on `words`."""
    digest = hashlib.sha256("\x00".join(str(word) for word in words).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def free_code(words: str) -> Any:
    """A code of our own for free words, which its meaning carries: other words, another code, as readers go by it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(hashlib.sha256(words.encode()).hexdigest()[:12].upper(), "99HILUM", words)


def checked(folder: Path, image: Image, tags: Mapping[str, Any]) -> tuple[Array, Array]:
    """(i, j, k) int32 and affine; refused where a classic series can not say it (HIL-IO-04)."""
    if tags["Modality"] not in CLASSES:
        raise HilumError("HIL-IO-04", f"{folder.name}: modality {tags['Modality']!r}", "Use CT or MR")
    if image.affine is None or image.array.shape[0] != 1 or image.dims != 3:
        raise HilumError("HIL-IO-04", f"{folder.name}: not a one-channel volume in mm", "Write it as a raster file")
    array = image.array[0]
    if array.dtype.kind not in "iu":
        raise HilumError("HIL-IO-04", f"{folder.name}: {array.dtype} values", "Round to whole numbers first")
    low, high = (-CT_OFFSET, 65535 - CT_OFFSET) if tags["Modality"] == "CT" else (-32768, 32767)
    if array.min() < low or array.max() > high:
        raise HilumError("HIL-IO-04", f"{folder.name}: values {array.min()} to {array.max()}", f"Keep {low} to {high}")
    return array.astype(np.int32), np.asarray(image.affine)


def _digits(values: Array) -> list[str]:
    """Decimal strings of at most 16 characters, as DICOM wants them."""
    from pydicom.valuerep import format_number_as_ds

    return [format_number_as_ds(float(v)) for v in values]


def one_slice(tags: Mapping[str, Any], affine: Array, stored: Array, k: int, seed: str) -> Any:
    """One classic image."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    lps = geometry.flip_lps_ras(affine)
    steps = np.array(geometry.spacing(affine))
    ct = tags["Modality"] == "CT"
    data = Dataset()
    data.SOPClassUID = CLASSES[tags["Modality"]]
    data.SOPInstanceUID = uid(seed, "instance", k)
    for keyword, value in {**PLAIN, **tags}.items():
        setattr(data, keyword, value)
    for keyword, words in (
        ("StudyInstanceUID", "study"),
        ("SeriesInstanceUID", "series"),
        ("FrameOfReferenceUID", "frame"),
    ):
        if keyword not in tags:
            setattr(data, keyword, uid(seed, words))
    data.InstanceNumber = k + 1
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL" if ct else "OTHER"]
    data.ImagePositionPatient = _digits(lps[:3, 3] + k * lps[:3, 2])
    data.ImageOrientationPatient = _digits(np.concatenate([lps[:3, 0] / steps[0], lps[:3, 1] / steps[1]]))
    data.PixelSpacing = _digits(steps[[1, 0]])
    data.SliceThickness = _digits(steps[2:])[0]
    data.SpacingBetweenSlices = _digits(steps[2:])[0]
    _contrast(data, ct)
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Rows, data.Columns = stored.shape[1], stored.shape[0]
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.PixelRepresentation = 0 if ct else 1
    data.PixelData = np.ascontiguousarray(stored[:, :, k].T.astype("<u2" if ct else "<i2")).tobytes()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    return data


def _contrast(data: Any, ct: bool) -> None:
    """What the standard wants of a CT or an MR image besides its pixels."""
    if ct:
        data.KVP, data.RescaleIntercept, data.RescaleSlope, data.RescaleType = "120", str(-CT_OFFSET), "1", "HU"
        del data.SpacingBetweenSlices
    else:
        data.ScanningSequence, data.SequenceVariant, data.ScanOptions = "GR", "NONE", ""
        data.MRAcquisitionType, data.EchoTime, data.RepetitionTime, data.EchoTrainLength = "3D", "4", "8", "1"
