"""The readouts of an ISMRMRD file: checked against the file before a sample is read, then put in their place."""

from pathlib import Path
from typing import Any

import numpy as np

from hilum.core.errors import HilumError
from hilum.core.image import Array, Measurement
from hilum.io import _buffer
from hilum.io._guard import MOST_BYTES
from hilum.io._raw import hdf5
from hilum.io._raw.ismrmrd_header import Encoding, encodings, place

SKIPPED = {
    19: "noise", 20: "calibration", 23: "navigation", 24: "phase correction", 26: "feedback", 27: "dummy",
    28: "feedback", 29: "coil correction", 30: "phase stabilisation", 31: "phase stabilisation",
}  # fmt: skip
# Flags (their numbers in the format's definition) of readouts that are no lines of the image.
REVERSED = 22
COMPRESSED = (53, 54, 55, 56)
SINGLE = ("repetition", "contrast", "set", "phase")
# Counters of which a file may hold one value only.
NEEDED = (
    "flags", "number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample",
    "encoding_space_ref", "trajectory_dimensions", "position", "read_dir", "phase_dir", "slice_dir", "idx",
)  # fmt: skip
COUNTERS = ("kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", *SINGLE)
SPARSEST = 64
# A slice of which less than one line in so many was measured is a wrong header, not an acceleration.
ROWS = 16
# Readouts decoded at once.


class Scan:
    """The readouts of a file that are lines of its image, checked before any sample is read."""

    def __init__(self, path: Path, file: Any) -> None:
        self.path = path
        names = groups(file)
        if len(names) != 1:
            raise HilumError(
                "HIL-IO-08",
                f"{path} has {len(names)} measurements: {', '.join(names) or 'none'}",
                "Save each by itself",
            )
        self.data = _readouts(file, f"{names[0]}/data")
        found, self.facts = encodings(_text(hdf5.dataset(file, f"{names[0]}/xml")))
        heads = self.data.fields("head")[:]
        flags = heads["flags"].astype(np.uint64)
        keep = np.ones(len(heads), bool)
        self.skipped: dict[str, int] = {}
        for bit, name in SKIPPED.items():
            hit = keep & _flag(flags, bit)
            keep &= ~hit
            if hit.any():
                self.skipped[name] = self.skipped.get(name, 0) + int(hit.sum())
        self.rows = np.flatnonzero(keep)
        self.heads = heads[keep]
        self.flags = flags[keep]
        self.encoding = self._encoding(found)
        self.index = {name: self.heads["idx"][name].astype(np.int64) for name in COUNTERS}
        self._plain()
        self.slices = self._slices()
        self.samples, self.first, self.warnings = self._readout()
        self.lines = self._lines()
        self._sizes(int(file.id.get_filesize()))

    def _refuse(self, seen: str, remedy: str = "Export it again") -> None:
        raise HilumError("HIL-IO-08", f"{self.path}: {seen}", remedy)

    def _encoding(self, found: list[Encoding]) -> Encoding:
        if not len(self.heads):
            self._refuse(f"no readout of an image among {len(self.data)} ({self.skipped})")
        spaces = np.unique(self.heads["encoding_space_ref"])
        if len(spaces) > 1 or spaces[0] >= len(found):
            self._refuse(
                f"its image readouts use encoding spaces {spaces.tolist()} of {len(found)}", "Save each by itself"
            )
        return found[int(spaces[0])]

    def _plain(self) -> None:
        """Cartesian, 2-D, one of everything that is no slice or average."""
        if self.encoding.trajectory != "cartesian":
            self._refuse(f"its trajectory is {self.encoding.trajectory[:32]!r}", "Only Cartesian raw data are read")
        if (self.heads["trajectory_dimensions"] != 0).any():
            self._refuse("its readouts bring a trajectory of their own", "Only Cartesian raw data are read")
        partitions = max(int(self.index["kspace_encode_step_2"].max()) + 1, self.encoding.encoded[2])
        if partitions > 1:
            self._refuse(f"a 3-D acquisition with {partitions} partitions", "Transform along the partitions first")
        for name in SINGLE:
            values = np.unique(self.index[name])
            if len(values) > 1:
                self._refuse(f"{len(values)} {name}s ({_few(values)})", f"Save each {name} by itself")
        turned = int(_flag(self.flags, REVERSED).sum())
        if turned:
            self._refuse(f"{turned} reversed readouts, as in echo-planar imaging", "Correct their phase first")
        if any(_flag(self.flags, bit).any() for bit in COMPRESSED):
            self._refuse("its samples are compressed", "Export it uncompressed")

    def _slices(self) -> int:
        seen, stated = np.unique(self.index["slice"]), self.encoding.slices
        whole = max(int(seen[-1]) + 1, stated or 0)
        if len(seen) != whole or (stated or whole) != whole:
            self._refuse(f"readouts of {len(seen)} slices ({_few(seen)}), the header speaks of {stated or whole}")
        return whole

    def _readout(self) -> tuple[int, int, list[str]]:
        """Samples that count in each readout, where in the encoded line the first of them lies, and warnings."""
        heads = self.heads
        facts = {
            n: heads[n].astype(np.int64)
            for n in ("number_of_samples", "active_channels", "discard_pre", "discard_post", "center_sample")
        }
        for name, values in facts.items():
            if (values != values[0]).any():
                self._refuse(f"{name} differs among its readouts ({_few(np.unique(values))})")
        before, after = int(facts["discard_pre"][0]), int(facts["discard_post"][0])
        samples = int(facts["number_of_samples"][0]) - before - after
        line, centre = self.encoding.encoded[0], int(facts["center_sample"][0]) - before
        if samples > line or 2 * samples < line or facts["active_channels"][0] < 1:
            self._refuse(f"readouts of {samples} samples for {line} encoded, {facts['active_channels'][0]} channels")
        first = line // 2 - centre
        if samples == line and first != 0:
            words = f"HIL-IO-08: centre sample {centre} of {line} is stated, the middle is taken"
            return samples, 0, [words]
        if not 0 <= first <= line - samples:
            self._refuse(f"readouts of {samples} samples with centre {centre} do not fit into {line}")
        partial = f"HIL-IO-08: partial echo, {samples} of {line} samples; readout oversampling is kept"
        return samples, first, [partial] if samples < line else []

    def _lines(self) -> Array:
        """Column (phase encoding) of each readout; every line of a slice at most once per average."""
        wide, index = self.encoding.encoded[1], self.index
        lines: Array = index["kspace_encode_step_1"] - self.encoding.centre + wide // 2
        if lines.min() < 0 or lines.max() >= wide:
            self._refuse(f"phase steps reach lines {lines.min()} to {lines.max()} of {wide}")
        keys = np.stack([index["slice"], lines, index["average"]])
        twice = keys.shape[1] - np.unique(keys, axis=1).shape[1]
        if twice:
            self._refuse(f"{twice} lines were measured twice within one average", "Say what they are by their counters")
        return lines

    def _sizes(self, whole: int) -> None:
        """What the headers claim, against the file and before anything is allocated."""
        heads, encoding = self.heads, self.encoding
        # samples lie in the file uncompressed, whatever filter its data sets have
        claimed = 8 * int((heads["number_of_samples"].astype(np.int64) * heads["active_channels"]).sum())
        if claimed > whole:
            self._refuse(f"its readouts claim {claimed} bytes, the file has {whole}", "Copy it again")
        measured = np.bincount(self.index["slice"], minlength=self.slices)
        if measured.min() * SPARSEST < encoding.encoded[1]:
            self._refuse(f"a slice has {measured.min()} lines of {encoding.encoded[1]}")
        if 8 * self.slices * int(heads["active_channels"][0]) * encoding.encoded[0] * encoding.encoded[1] > MOST_BYTES:
            self._refuse(f"{self.slices} slices of {encoding.encoded} are too large", "Read it slice by slice")

    def measurement(self, slice: int | None) -> Measurement:
        """The k-space of one slice or of all."""
        chosen = np.arange(len(self.rows)) if slice is None else np.flatnonzero(self.index["slice"] == slice)
        parts = self.slices if slice is None else 1
        base, high, wide = slice or 0, self.encoding.encoded[0], self.encoding.encoded[1]
        kept = high if self.samples < high else self.encoding.kept
        hits = np.zeros((parts, wide), np.int64)
        np.add.at(hits, (self.index["slice"][chosen] - base, self.lines[chosen]), 1)
        if (hits.astype(bool) != hits[0].astype(bool)).any():
            self._refuse("its slices were sampled along different lines", "Read it slice by slice")
        array = _buffer.empty((parts, int(self.heads["active_channels"][0]), kept, wide), np.complex64)
        array[...] = 0
        for positions, values in self._batches(chosen):
            for i, line in zip(positions, _cropped(values, kept), strict=True):
                array[self.index["slice"][i] - base, :, :, self.lines[i]] += line
        if hits.max() > 1:
            array /= np.maximum(hits, 1)[:, None, None].astype(np.float32)
        mask = (hits[0] > 0).astype(np.float32)
        if self.samples < high:
            inside = np.zeros((high, 1), np.float32)
            inside[self.first : self.first + self.samples] = 1
            mask = inside * mask
        return self._wrapped(array, mask, slice, kept, int(hits.max()))

    def _batches(self, chosen: Array) -> Any:
        """(positions among the image readouts, (n, coil, encoded line) complex64 samples in their place)."""
        high = self.encoding.encoded[0]
        before, coils = int(self.heads["discard_pre"][0]), int(self.heads["active_channels"][0])
        whole = int(self.heads["number_of_samples"][0])
        fields = self.data.fields("data")
        breaks = np.flatnonzero(np.diff(self.rows[chosen]) != 1) + 1
        for run in np.split(chosen, breaks):
            for start in range(0, len(run), ROWS):
                part = run[start : start + ROWS]
                values = np.zeros((len(part), coils, high), np.complex64)
                for n, raw in enumerate(fields[self.rows[part[0]] : self.rows[part[-1]] + 1]):
                    samples = np.ascontiguousarray(raw).view(np.complex64)
                    if samples.size != coils * whole:
                        self._refuse(
                            f"readout {self.rows[part[n]]} has {samples.size} samples instead of {coils} x {whole}"
                        )
                    used = samples.reshape(coils, whole)[:, before : before + self.samples]
                    values[n, :, self.first : self.first + self.samples] = used
                if not np.isfinite(values).all():
                    raise HilumError("HIL-N09", f"{self.path} has NaN or infinite samples", "Export it again")
                yield part, values

    def _wrapped(self, array: Array, mask: Array, slice: int | None, kept: int, averages: int) -> Measurement:
        encoding, warnings = self.encoding, list(self.warnings)
        affine, why = place(self.heads, self.index["slice"], encoding, kept)
        if affine is None:
            warnings.append(f"HIL-N06: {why}; the image space has no place in the patient")
        elif slice is not None:
            affine[:3, 3] += affine[:3, 0] * slice
        meta = {
            "path": str(self.path), "format": "ismrmrd", "slice": None if slice is None else int(slice),
            "slices": self.slices, "skipped": self.skipped, "averages": averages,
            "readout": {"encoded": encoding.encoded[0], "kept": kept, "measured": self.samples},
            "encoded": list(encoding.encoded), "encoded_mm": list(encoding.encoded_mm),
            "recon": list(encoding.recon), "recon_mm": list(encoding.recon_mm), **self.facts,
        }  # fmt: skip
        axes: tuple[str, ...] = ("slice", "coil", "ky", "kx")
        if slice is not None:
            array, axes = array[0], axes[1:]
        operator = {"name": "fourier", "mask": mask, "maps": None}
        return Measurement(array, axes, operator, None, affine, tuple(warnings), meta)


def groups(file: Any) -> list[str]:
    """Names of the top groups that hold `xml` and `data`."""
    import h5py

    found = []
    for name in list(file.id)[:64]:
        word = name.decode(errors="replace")
        hard = file.id.links.get_info(name).type == h5py.h5l.TYPE_HARD
        group = file[name] if hard else None
        if isinstance(group, h5py.Group) and group.id.links.exists(b"xml") and group.id.links.exists(b"data"):
            found.append(word)
    return found


def _readouts(file: Any, name: str) -> Any:
    """The table of readouts, with every field that is needed."""
    import h5py

    data = hdf5.dataset(file, name)
    kind = data.dtype
    head = kind["head"] if kind.names and {"head", "data"} <= set(kind.names) else np.dtype([])
    samples = h5py.check_vlen_dtype(kind["data"]) if head.names else None
    known = set(head.names or ()) >= set(NEEDED) and set(head["idx"].names or ()) >= set(COUNTERS)
    if data.ndim != 1 or not len(data) or not known or samples not in (np.dtype("<f4"), np.dtype("<c8")):
        raise HilumError("HIL-IO-08", f"`{name}` {data.shape} is no table of ISMRMRD readouts", "Export it again")
    return data


def _text(data: Any) -> bytes:
    """The bytes of a data set with one string."""
    if data.size != 1 or data.dtype.kind not in "OS":
        raise HilumError("HIL-IO-08", f"The XML header is {data.dtype} {data.shape}, not one text", "Export it again")
    value = data[()] if data.shape == () else data[:].reshape(-1)[0]
    return value.encode() if isinstance(value, str) else bytes(value)


def _flag(flags: Array, number: int) -> Array:
    """Which readouts carry a flag; flags are counted from 1."""
    return (flags >> np.uint64(number - 1)) & np.uint64(1) == 1


def _few(values: Array) -> str:
    return ", ".join(str(v) for v in values[:5]) + (" ..." if len(values) > 5 else "")


def _cropped(values: Array, kept: int) -> Array:
    """Readouts (n, coil, line) reduced to the middle `kept` of their field of view: the samples of the same voxels."""
    line = values.shape[-1]
    if kept == line:
        return values
    image = np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(values, axes=-1), norm="ortho"), axes=-1)
    start = line // 2 - kept // 2
    image = image[..., start : start + kept]
    shifted = np.fft.fft(np.fft.ifftshift(image, axes=-1), norm="ortho")
    cropped: Array = np.fft.fftshift(shifted, axes=-1).astype(np.complex64)
    return cropped
