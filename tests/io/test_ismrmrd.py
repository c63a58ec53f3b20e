"""ISMRMRD files become the k-space of the image that was measured, in its place, or are refused before reading."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from hilum.core.errors import HilumError
from hilum.core.image import Array, Case, Measurement
from hilum.core.plan import Plan
from hilum.infer.export import export
from hilum.io import ismrmrd, kspace, nifti
from hilum.io import open as open_path
from hilum.tasks import _task

COUNTERS = np.dtype(
    [(name, "<u2") for name in (
        "kspace_encode_step_1", "kspace_encode_step_2", "average", "slice", "contrast", "phase", "repetition", "set",
        "segment")] + [("user", "<u2", (8,))]
)  # fmt: skip
HEAD = np.dtype([
    ("version", "<u2"), ("flags", "<u8"), ("measurement_uid", "<u4"), ("scan_counter", "<u4"),
    ("acquisition_time_stamp", "<u4"), ("physiology_time_stamp", "<u4", (3,)), ("number_of_samples", "<u2"),
    ("available_channels", "<u2"), ("active_channels", "<u2"), ("channel_mask", "<u8", (16,)), ("discard_pre", "<u2"),
    ("discard_post", "<u2"), ("center_sample", "<u2"), ("encoding_space_ref", "<u2"), ("trajectory_dimensions", "<u2"),
    ("sample_time_us", "<f4"), ("position", "<f4", (3,)), ("read_dir", "<f4", (3,)), ("phase_dir", "<f4", (3,)),
    ("slice_dir", "<f4", (3,)), ("patient_table_position", "<f4", (3,)), ("idx", COUNTERS), ("user_int", "<i4", (8,)),
    ("user_float", "<f4", (8,)),
])  # fmt: skip
FLOATS = h5py.vlen_dtype(np.dtype("<f4"))
ROW = np.dtype([("head", HEAD), ("traj", FLOATS), ("data", FLOATS)])
SLICES, COILS, READ, PHASE, OVER = 3, 2, 16, 12, 2
# The image is READ x PHASE pixels of 2 x 3 mm; the readout is encoded OVER times as wide.
XML = """<?xml version="1.0"?>
<ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<acquisitionSystemInformation><systemVendor>Nobody</systemVendor></acquisitionSystemInformation>
<encoding>
<encodedSpace><matrixSize><x>{ex}</x><y>{ey}</y><z>{ez}</z></matrixSize>
<fieldOfView_mm><x>{fx}</x><y>{fy}</y><z>5</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{rx}</x><y>{ey}</y><z>1</z></matrixSize>
<fieldOfView_mm><x>{gx}</x><y>{fy}</y><z>5</z></fieldOfView_mm></reconSpace>
<trajectory>{trajectory}</trajectory>
<encodingLimits>
<kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center></kspace_encoding_step_1>
<slice><minimum>0</minimum><maximum>{slices}</maximum><center>0</center></slice>
</encodingLimits></encoding></ismrmrdHeader>"""
PLAIN: dict[str, Any] = {
    "ex": READ * OVER, "ey": PHASE, "ez": 1, "fx": 2 * READ * OVER, "fy": 3 * PHASE, "rx": READ, "gx": 2 * READ,
    "trajectory": "cartesian", "last": PHASE - 1, "centre": PHASE // 2, "slices": SLICES - 1,
}  # fmt: skip


def to_kspace(image: Array) -> Array:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=axes), norm="ortho"), axes=axes)


def to_image(data: Array) -> Array:
    axes = (-2, -1)
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(data, axes=axes), norm="ortho"), axes=axes)


def phantom() -> Array:
    """(slice, coil, row, column) complex: blocks that no mirroring or shift leaves as they are."""
    image = np.zeros((SLICES, COILS, READ, PHASE), np.complex64)
    for number in range(SLICES):
        image[number, :, 3 : 9 + number, 2:7] = 1 + number
        image[number, :, 4, 8] = 2j
    image[:, 1] *= 0.5 + 0.5j
    return image


def wide(image: Array) -> Array:
    """The same objects in a field of view that is OVER times as wide along the readout."""
    pad = READ * OVER // 2 - READ // 2
    return np.pad(image, ((0, 0), (0, 0), (pad, READ * OVER - READ - pad), (0, 0)))


def readouts(data: Array, lines: list[int] | None = None, **head: Any) -> list[tuple[Array, Array]]:
    """(header, samples) for k-space (slice, coil, readout, phase), slices interleaved as scanners do."""
    rows = []
    for line in lines if lines is not None else list(range(data.shape[-1])):
        for number in range(len(data)):
            one = np.zeros((), HEAD)
            one["version"] = 1
            one["number_of_samples"], one["active_channels"] = data.shape[2], data.shape[1]
            one["center_sample"] = data.shape[2] // 2
            one["read_dir"], one["phase_dir"], one["slice_dir"] = (0, 1, 0), (1, 0, 0), (0, 0, -1)
            one["position"] = (10, -20, 30 - 6 * number)
            one["idx"]["kspace_encode_step_1"], one["idx"]["slice"] = line, number
            for name, value in head.items():
                where = one["idx"] if name in COUNTERS.names else one
                where[name] = value(number, line) if callable(value) else value
            rows.append((one, np.ascontiguousarray(data[number, :, :, line]).astype(np.complex64)))
    return rows


def save(path: Path, rows: list[tuple[Array, Array]], xml: str | None = None, **header: Any) -> Path:
    with h5py.File(path, "w") as file:
        group = file.create_group("dataset")
        text = (XML.format(**{**PLAIN, **header}) if xml is None else xml).encode()
        group.create_dataset("xml", data=np.array([text], object), dtype=h5py.vlen_dtype(bytes))
        table = np.empty(len(rows), ROW)
        for number, (head, samples) in enumerate(rows):
            table[number] = (head, np.zeros(0, np.float32), samples.ravel().view(np.float32))
        group.create_dataset("data", data=table, maxshape=(None,), chunks=(1,))
    return path


def plain(path: Path, **head: Any) -> Path:
    return save(path, readouts(to_kspace(wide(phantom())), **head))


def test_the_layout_is_the_documented_one() -> None:
    fields, counters = HEAD.fields, COUNTERS.fields
    assert fields is not None and counters is not None
    assert HEAD.itemsize == 340 and COUNTERS.itemsize == 34
    documented = {
        "flags": 2,
        "number_of_samples": 34,
        "center_sample": 172,
        "position": 182,
        "idx": 242,
        "user_int": 276,
    }
    assert {name: fields[name][1] for name in documented} == documented
    assert {name: counters[name][1] for name in ("slice", "set", "user")} == {"slice": 6, "set": 14, "user": 18}


def test_a_phantom_is_reconstructed_and_oversampling_is_gone(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.h5")
    seen = ismrmrd.read(path)
    assert seen.axes == ("slice", "coil", "ky", "kx") and seen.array.dtype == np.complex64
    np.testing.assert_allclose(to_image(seen.array), phantom(), atol=1e-5)
    assert seen.operator["mask"].tolist() == [1] * PHASE and seen.operator["maps"] is None and not seen.warnings
    assert seen.meta["readout"] == {"encoded": READ * OVER, "kept": READ, "measured": READ * OVER}
    assert json.loads(json.dumps(dict(seen.meta))) == seen.meta and seen.meta["vendor"] == "Nobody"


def test_open_tells_the_two_kinds_of_h5_apart(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.h5")
    assert ismrmrd.recognises(path) and not kspace.recognises(path) and ismrmrd.count(path) == SLICES
    source = open_path(path, part=1)
    assert source.format == "ismrmrd"
    one = source.read()
    assert isinstance(one, Measurement) and one.axes == ("coil", "ky", "kx")
    np.testing.assert_allclose(to_image(one.array), phantom()[1], atol=1e-5)
    kspace.write(tmp_path / "b.h5", Measurement(one.array, one.axes, {}))
    assert open_path(tmp_path / "b.h5").format == "kspace" and not ismrmrd.recognises(tmp_path / "b.h5")
    with pytest.raises(HilumError, match=r"slices 0 to 2, not 3.*HIL-IO-07"):
        ismrmrd.read(path, slice=3)


def test_geometry_in_ras(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.h5")
    whole, last = ismrmrd.read(path), ismrmrd.read(path, slice=2)
    # position (LPS) is the voxel where the transform has its origin
    centre = np.array([0, READ // 2, PHASE // 2, 1])
    assert whole.target_affine is not None and last.target_affine is not None
    np.testing.assert_allclose(whole.target_affine @ centre, [-10, 20, 30, 1], atol=1e-5)
    np.testing.assert_allclose(last.target_affine @ centre, [-10, 20, 18, 1], atol=1e-5)
    # rows step 2 mm to posterior, columns 3 mm to the left, slices 6 mm down
    np.testing.assert_allclose(whole.target_affine[:3, :3], [[0, 0, -3], [0, -2, 0], [-6, 0, 0]], atol=1e-6)


def test_a_reconstruction_lies_where_the_scan_lay(tmp_path: Path, plan_of: Callable[..., Plan]) -> None:
    """It was written as a volume of 1 mm voxels at 0, whatever the file said."""
    path = plain(tmp_path / "a.h5")
    task, case = _task.load(plan_of("reconstruct")), Case("a", "a", {"kspace": open_path(path)})
    prepared = task.prepare(case, truth=False)
    result = task.decode(task.whole(prepared)["target"], prepared, case)
    assert not [words for words in result.warnings if words.startswith("HIL-")]
    files = export(result, case, tmp_path / "out")
    assert files == ["a_picture.nii.gz", "a_zero_filled.nii.gz"]
    wanted = ismrmrd.read(path).target_affine
    assert wanted is not None
    for name in files:
        seen = nifti.read(tmp_path / "out" / name)
        assert seen.warnings == () and seen.shape == (SLICES, READ, PHASE) and seen.meta["geometry"] == "sform"
        np.testing.assert_allclose(np.asarray(seen.affine), wanted, atol=1e-5)
    # and is the right way round on that grid
    picture = nifti.read(tmp_path / "out" / files[0]).array[0]
    np.testing.assert_allclose(picture, np.sqrt((np.abs(phantom()) ** 2).sum(axis=1)), atol=1e-3)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        ({"position": lambda s, _: (0, 0, s * s)}, "even steps"),
        ({"position": lambda s, _: (0, 0, 0)}, "singular"),
        ({"position": lambda s, _: (0, 4 * s, 6 * s)}, "right angles"),
        ({"position": lambda s, line: (line, 0, 6 * s)}, "several positions"),
        ({"read_dir": (0, 0, 0)}, "directions"),
        ({"read_dir": lambda s, _: (1, 0, 0) if s else (0, 1, 0)}, "read_dir differs"),
        ({"position": (np.nan, 0, 0)}, "not finite"),
    ],
)
def test_n06_impossible_geometry_is_a_warning_and_pixel_space(tmp_path: Path, head: dict[str, Any], words: str) -> None:
    seen = ismrmrd.read(plain(tmp_path / "a.h5", **head))
    (warning,) = seen.warnings
    assert seen.target_affine is None and warning.startswith("HIL-N06: ") and words in warning


def test_undersampled_lines_are_in_the_mask(tmp_path: Path) -> None:
    lines = [0, 4, 5, 6, 7, 10]
    full = to_kspace(wide(phantom()))
    seen = ismrmrd.read(save(tmp_path / "a.h5", readouts(full, lines)))
    assert np.flatnonzero(seen.operator["mask"]).tolist() == lines
    reference = to_kspace(phantom()) * seen.operator["mask"]
    np.testing.assert_allclose(seen.array, reference, atol=1e-5)


def test_phase_steps_are_placed_by_the_stated_centre(tmp_path: Path) -> None:
    """Partial Fourier: nine steps, the third of which is k = 0."""
    full = to_kspace(wide(phantom()))
    moved = np.zeros_like(full)
    moved[..., :8] = full[..., 4:]
    path = save(tmp_path / "a.h5", readouts(moved, list(range(8))), centre=2, last=7)
    seen = ismrmrd.read(path)
    assert np.flatnonzero(seen.operator["mask"]).tolist() == list(range(4, 12))
    np.testing.assert_allclose(seen.array, to_kspace(phantom()) * seen.operator["mask"], atol=1e-5)
    with pytest.raises(HilumError, match=r"lines 0 to 12 of 12.*HIL-IO-08"):
        ismrmrd.read(save(tmp_path / "b.h5", [*readouts(full), *readouts(full, [0], kspace_encode_step_1=12)]))


def test_slices_with_other_lines_are_read_one_by_one(tmp_path: Path) -> None:
    rows = readouts(to_kspace(wide(phantom())))
    del rows[3 * SLICES + 1]
    path = save(tmp_path / "a.h5", rows)
    with pytest.raises(HilumError, match=r"different lines.*slice by slice.*HIL-IO-08"):
        ismrmrd.read(path)
    assert ismrmrd.read(path, slice=1).operator["mask"].sum() == PHASE - 1


def test_averages_are_averaged_line_by_line(tmp_path: Path) -> None:
    full = to_kspace(wide(phantom()))
    rows = [*readouts(full * 0.5), *readouts(full * 1.5, average=1), *readouts(full * 4, [5], average=2)]
    seen = ismrmrd.read(save(tmp_path / "a.h5", rows))
    wanted = to_kspace(phantom())
    wanted[..., 5] *= 2
    np.testing.assert_allclose(seen.array, wanted, atol=1e-5)
    assert seen.meta["averages"] == 3
    with pytest.raises(HilumError, match=r"3 lines were measured twice.*HIL-IO-08"):
        ismrmrd.read(save(tmp_path / "b.h5", [*readouts(full), *readouts(full, [5])]))


def test_readouts_that_are_no_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    full = to_kspace(wide(phantom()))
    noise = readouts(full[:1, :, :8] * 100, [0, 1], flags=1 << 18)
    rows = [*noise, *readouts(full)]
    for bit in (20, 23, 24, 27):
        rows += readouts(full[:1] * 7, [3], flags=1 << (bit - 1), repetition=5)
    rows[10][0]["flags"] = 1 << 20  # both calibration and image
    seen = ismrmrd.read(save(tmp_path / "a.h5", rows))
    np.testing.assert_allclose(to_image(seen.array), phantom(), atol=1e-5)
    assert seen.meta["skipped"] == {"noise": 2, "calibration": 1, "navigation": 1, "phase correction": 1, "dummy": 1}


def test_samples_to_discard_are_discarded(tmp_path: Path) -> None:
    full = to_kspace(wide(phantom()))
    padded = np.pad(full, ((0, 0), (0, 0), (3, 2), (0, 0)), constant_values=99)
    rows = readouts(padded, discard_pre=3, discard_post=2, center_sample=READ * OVER // 2 + 3)
    np.testing.assert_allclose(to_image(ismrmrd.read(save(tmp_path / "a.h5", rows)).array), phantom(), atol=1e-5)


def test_partial_echo_keeps_oversampling_and_has_a_mask_of_both_axes(tmp_path: Path) -> None:
    full, cut = to_kspace(wide(phantom())), 7
    rows = readouts(full[:, :, cut:], center_sample=READ * OVER // 2 - cut)
    seen = ismrmrd.read(save(tmp_path / "a.h5", rows))
    mask = seen.operator["mask"]
    assert mask.shape == (READ * OVER, PHASE) and mask[:cut].sum() == 0 and mask[cut:].all()
    np.testing.assert_allclose(seen.array, full * mask, atol=1e-5)
    assert seen.warnings[0].startswith("HIL-IO-08: partial echo, 25 of 32 samples")
    assert seen.target_affine is not None
    np.testing.assert_allclose(seen.target_affine @ [0, READ * OVER // 2, PHASE // 2, 1], [-10, 20, 30, 1], atol=1e-5)


def test_a_centre_that_can_not_be_is_a_warning(tmp_path: Path) -> None:
    seen = ismrmrd.read(plain(tmp_path / "a.h5", center_sample=0))
    assert seen.warnings[0].startswith("HIL-IO-08: centre sample 0 of 32")
    np.testing.assert_allclose(to_image(seen.array), phantom(), atol=1e-5)


@pytest.mark.parametrize("name", ["repetition", "contrast", "set", "phase"])
def test_several_of_what_an_image_has_one_of_are_refused_with_their_number(tmp_path: Path, name: str) -> None:
    full = to_kspace(wide(phantom()))
    rows = [row for n in range(3) for row in readouts(full, **{name: n})]
    with pytest.raises(HilumError, match=rf"a\.h5: 3 {name}s \(0, 1, 2\).*Save each {name} by itself.*HIL-IO-08"):
        ismrmrd.read(save(tmp_path / "a.h5", rows), slice=0)


@pytest.mark.parametrize(
    ("head", "header", "words"),
    [
        ({}, {"trajectory": "radial"}, "its trajectory is 'radial'"),
        ({"trajectory_dimensions": 2}, {}, "bring a trajectory"),
        ({}, {"ez": 32}, "3-D acquisition with 32 partitions"),
        ({"kspace_encode_step_2": lambda s, line: line % 2}, {}, "3-D acquisition with 2 partitions"),
        ({"flags": lambda s, line: (line % 2) << 21}, {}, "18 reversed readouts"),
        ({"flags": 1 << 52}, {}, "compressed"),
        ({"encoding_space_ref": 1}, {}, r"encoding spaces \[1\] of 1"),
        ({"encoding_space_ref": lambda s, line: s % 2}, {}, r"encoding spaces \[0, 1\] of 1"),
        ({"slice": lambda s, _: 2 * s}, {}, "3 slices"),
        ({}, {"slices": 9}, "the header speaks of 10"),
        ({}, {"slices": 1}, "the header speaks of 2"),
        ({}, {"ex": 30}, "32 samples for 30 encoded"),
        ({}, {"ex": 65000}, "32 samples for 65000 encoded"),
        ({}, {"ey": 65000}, "12 lines of 65000"),
        ({"flags": 1 << 18}, {}, "no readout of an image among 36"),
    ],
)
def test_what_is_not_cartesian_2_d_or_contradicts_itself_is_refused(
    tmp_path: Path, head: dict[str, Any], header: dict[str, Any], words: str
) -> None:
    path = save(tmp_path / "a.h5", readouts(to_kspace(wide(phantom())), **head), **header)
    with pytest.raises(HilumError, match=rf"a\.h5.*{words}.*HIL-IO-08"):
        ismrmrd.read(path)


def test_readouts_shorter_than_their_header_are_refused(tmp_path: Path) -> None:
    full = to_kspace(wide(phantom()))
    rows = readouts(full)
    rows[7] = (rows[7][0], rows[7][1][:1])
    with pytest.raises(HilumError, match=r"readout 7 has 32 samples instead of 2 x 32.*HIL-IO-08"):
        ismrmrd.read(save(tmp_path / "a.h5", rows))


def test_n03_headers_that_claim_more_than_the_file_has_are_refused_before_allocating(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hilum.io._buffer.empty", lambda *_: pytest.fail("allocated before it was refused"))
    path = save(tmp_path / "a.h5", readouts(to_kspace(wide(phantom())), active_channels=5000))
    with pytest.raises(HilumError, match=r"claim 46080000 bytes, the file has.*HIL-IO-08"):
        ismrmrd.read(path)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["dataset/xml"] = XML.format(**PLAIN)
        file.create_dataset("dataset/data", (10**7,), ROW, chunks=(1000,))
    with pytest.raises(HilumError, match=r"`dataset/data` \(10000000,\) claims.*HIL-IO-08"):
        ismrmrd.read(tmp_path / "b.h5")


def test_n09_nan_is_refused(tmp_path: Path) -> None:
    full = to_kspace(wide(phantom()))
    full[1, 0, 3, 4] = np.nan
    path = save(tmp_path / "a.h5", readouts(full))
    with pytest.raises(HilumError, match=r"a\.h5.*NaN.*HIL-N09"):
        ismrmrd.read(path)
    assert np.isfinite(ismrmrd.read(path, slice=0).array).all()


@pytest.mark.parametrize(
    ("xml", "words"),
    [
        ('<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><x>&b;</x>', "document type or entities"),
        ("<ismrmrdHeader><encoding>", "damaged"),
        ("", "damaged"),
        ("<ismrmrdHeader/>", "<ismrmrdHeader> has no <encoding>"),
        ("<x>" + "a" * (1 << 20) + "</x>", "1048583 bytes"),
        (XML.format(**{**PLAIN, "ex": -4}), "encodedSpace matrixSize '-4'"),
        (XML.format(**{**PLAIN, "fy": "nan"}), "encodedSpace fieldOfView_mm 'nan'"),
        (XML.format(**{**PLAIN, "gx": 0}), "reconSpace fieldOfView_mm '0'"),
        (XML.format(**{**PLAIN, "ey": "10**9"}), "matrixSize"),
        (XML.format(**PLAIN).replace("<x>32</x>", ""), "matrixSize 'missing'"),
    ],
)  # fmt: skip
def test_s08_hostile_or_damaged_xml_is_refused(tmp_path: Path, xml: str, words: str) -> None:
    path = save(tmp_path / "a.h5", readouts(to_kspace(wide(phantom()))), xml)
    with pytest.raises(HilumError, match=rf"a\.h5.*{words.replace('*', '.')}.*HIL-IO-08"):
        ismrmrd.read(path)


def test_xml_in_another_encoding_or_nested_without_end_is_refused(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.h5")
    for text in (b'<?xml version="1.0" encoding="latin-1"?><a>\xfc</a>', b"<a>" * 300_000):
        with h5py.File(path, "r+") as file:
            del file["dataset/xml"]
            file.create_dataset("dataset/xml", data=np.array([text], object), dtype=h5py.vlen_dtype(bytes))
        with pytest.raises(HilumError, match=r"damaged.*HIL-IO-08"):
            ismrmrd.read(path)


def test_other_forms_of_the_same_file_are_read(tmp_path: Path) -> None:
    """A fixed-length header, another group's name, a table without chunks."""
    source = plain(tmp_path / "a.h5")
    with h5py.File(source, "r") as file, h5py.File(tmp_path / "b.h5", "w") as copy:
        copy["scan/xml"] = np.bytes_(file["dataset/xml"][0])
        copy["scan/data"] = file["dataset/data"][:]
        copy.create_group("notes")
    np.testing.assert_array_equal(ismrmrd.read(tmp_path / "b.h5").array, ismrmrd.read(source).array)


def test_links_other_tables_and_several_measurements_are_refused(tmp_path: Path) -> None:
    source = plain(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["dataset/xml"] = XML.format(**PLAIN)
        file["dataset/data"] = h5py.ExternalLink("a.h5", "dataset/data")
    with pytest.raises(HilumError, match=r"b\.h5.*`dataset/data` is a link.*HIL-IO-08"):
        ismrmrd.read(tmp_path / "b.h5")
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["dataset/xml"] = XML.format(**PLAIN)
        file["dataset/data"] = np.zeros(4)
    with pytest.raises(HilumError, match=r"c\.h5.*no table of ISMRMRD readouts.*HIL-IO-08"):
        ismrmrd.read(tmp_path / "c.h5")
    with h5py.File(source, "r+") as file:
        file.copy("dataset", "second")
    with pytest.raises(HilumError, match=r"2 measurements: dataset, second.*HIL-IO-08"):
        ismrmrd.read(source)


def test_cut_and_flipped_bytes_never_escape_as_a_foreign_exception(tmp_path: Path) -> None:
    path = plain(tmp_path / "a.h5")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for share in (0, 0.3, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(HilumError, match=r"a\.h5"):
            ismrmrd.read(path)
        assert not ismrmrd.recognises(path)
    for _ in range(60):
        raw = bytearray(whole)
        for place in rng.integers(0, len(raw), 20):
            raw[place] = rng.integers(256)
        path.write_bytes(bytes(raw))
        try:
            ismrmrd.read(path)
        except HilumError as error:
            assert "a.h5" in str(error)
