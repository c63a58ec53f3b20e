"""What an ISMRMRD file says of itself: the XML header's encoding, and where its slices lie in the patient."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from hilum.core import geometry
from hilum.core.errors import HilumError
from hilum.core.image import Array
from hilum.io._raw.xml import parsed

MOST_XML = 1 << 20
# Bytes; real headers have a few thousand.
UNIT_TOLERANCE = 0.01
# A direction whose length differs by more from 1 is none.
PLACE_TOLERANCE_MM = 0.05
# Slices whose places differ by more from even steps have no common affine.


@dataclass(frozen=True)
class Encoding:
    """One encoding space: sizes as (x = readout, y = phase, z = slice or partition), fields of view in mm.

    centre: the phase-encoding step at k = 0. slices: how many the header speaks of, or None.
    """

    encoded: tuple[int, int, int]
    encoded_mm: tuple[float, float, float]
    recon: tuple[int, int, int]
    recon_mm: tuple[float, float, float]
    trajectory: str
    centre: int
    slices: int | None

    @property
    def kept(self) -> int:
        """Readout samples after oversampling was removed: the voxel stays, the field of view becomes recon's."""
        return max(1, min(self.encoded[0], round(self.encoded[0] * self.recon_mm[0] / self.encoded_mm[0])))


def encodings(raw: bytes) -> tuple[list[Encoding], dict[str, Any]]:
    """All encoding spaces of the XML header, and plain facts about the scanner (nothing about the subject).

    Refused (HIL-IO-08): larger than MOST_XML, a document type or entities, not XML, missing or impossible numbers.
    """
    root = parsed(raw, MOST_XML, "HIL-IO-08")
    found = [_encoding(one) for one in root.findall("{*}encoding")]
    if not found:
        raise HilumError("HIL-IO-08", f"The XML header <{_bare(root.tag)}> has no <encoding>", "Export it again")
    facts = {}
    for name, where in (
        ("vendor", "{*}acquisitionSystemInformation/{*}systemVendor"),
        ("field_tesla", "{*}acquisitionSystemInformation/{*}systemFieldStrength_T"),
    ):
        if text := root.findtext(where):
            facts[name] = text.strip()[:64]
    return found, facts


def _bare(tag: str) -> str:
    return tag.rsplit("}", 1)[-1][:64]


def _encoding(node: Any) -> Encoding:
    centre = node.findtext("{*}encodingLimits/{*}kspace_encoding_step_1/{*}center")
    slices = node.findtext("{*}encodingLimits/{*}slice/{*}maximum")
    encoded = _triple(node, "encodedSpace", "matrixSize", int)
    return Encoding(
        (encoded[0], encoded[1], encoded[2]),
        _triple(node, "encodedSpace", "fieldOfView_mm", float),
        _triple(node, "reconSpace", "matrixSize", int),
        _triple(node, "reconSpace", "fieldOfView_mm", float),
        (node.findtext("{*}trajectory") or "").strip().lower(),
        encoded[1] // 2 if centre is None else int(_number(centre, "center", int, least=0)),
        None if slices is None else 1 + int(_number(slices, "slice maximum", int, least=0)),
    )


def _triple(node: Any, space: str, name: str, kind: type) -> Any:
    words = [node.findtext(f"{{*}}{space}/{{*}}{name}/{{*}}{axis}") for axis in "xyz"]
    return tuple(_number(word, f"{space} {name}", kind, least=1 if kind is int else 1e-3) for word in words)


def _number(word: str | None, what: str, kind: type, least: float) -> Any:
    """A number of the header, between `least` and 65535 (what its counters can reach)."""
    try:
        value = kind((word or "").strip())
    except ValueError:
        value = None
    if value is None or not least <= value <= 65535:
        raise HilumError("HIL-IO-08", f"The XML header has {what} {(word or 'missing')[:32]!r}", "Export it again")
    return value


def place(heads: Array, slices: Array, encoding: Encoding, kept: int) -> tuple[Array | None, str]:
    """Affine (4, 4) of (slice, row, column) to RAS+ mm, or None and the reason.

    heads: headers of the imaging readouts; slices: slice number of each. Rows follow the readout, columns the phase
    encoding; `position` (LPS) is the voxel at index n // 2, where a centred Fourier transform has its origin.
    """
    first = np.unique(slices, return_index=True)[1]
    own = {name: heads[name].astype(np.float64) for name in ("position", "read_dir", "phase_dir", "slice_dir")}
    read, phase, normal = (own[name][0] for name in ("read_dir", "phase_dir", "slice_dir"))
    if not all(np.isfinite(v).all() for v in own.values()):
        return None, "directions or positions are not finite"
    if any(abs(np.linalg.norm(v) - 1) > UNIT_TOLERANCE for v in (read, phase, normal)):
        return None, f"read, phase and slice directions {read.tolist()}, {phase.tolist()}, {normal.tolist()}"
    for name in ("read_dir", "phase_dir", "slice_dir"):
        if np.abs(own[name] - own[name][0]).max() > UNIT_TOLERANCE:
            return None, f"{name} differs among the readouts"
    places = own["position"][first]
    if np.abs(own["position"] - places[slices]).max() > PLACE_TOLERANCE_MM:
        return None, "readouts of one slice lie at several positions"
    step = normal * encoding.recon_mm[2]
    if len(places) > 1:
        step = (places[-1] - places[0]) / (len(places) - 1)
        far = np.abs(places - places[0] - np.arange(len(places))[:, None] * step).max()
        if far > PLACE_TOLERANCE_MM:
            return None, f"slices do not follow each other in even steps (off by {far:.2f} mm)"
    affine = np.eye(4)
    affine[:3, 0] = step
    affine[:3, 1] = read * encoding.encoded_mm[0] / encoding.encoded[0]
    affine[:3, 2] = phase * encoding.encoded_mm[1] / encoding.encoded[1]
    affine[:3, 3] = places[0] - affine[:3, 1] * (kept // 2) - affine[:3, 2] * (encoding.encoded[1] // 2)
    try:
        return geometry.check_affine(geometry.flip_lps_ras(affine)), ""
    except HilumError as error:
        return None, error.seen
