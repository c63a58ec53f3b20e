"""`open`: the format is chosen by name, then by content; whatever goes wrong is one sentence that names the file."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hilum.io
from hilum.core.catalogue import cards, load
from hilum.core.errors import HilumError
from hilum.core.image import Image, Source
from hilum.io import _source, _workers, dicom, is_image, is_series, metaimage, nifti, nrrd, raster

VOLUME = Image(np.arange(60, dtype=np.int16).reshape(1, 3, 4, 5), np.diag([-1.0, -1.0, 2.0, 1.0]))


def test_importing_io_is_cheap() -> None:
    code = "import sys, hilum.io; print({'torch', 'nibabel', 'pydicom', 'PIL', 'h5py', 'SimpleITK'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_every_card_is_kept() -> None:
    for name, card in cards("hilum.io").items():
        module = load("hilum.io", name)
        assert card["reads"] in ("image", "measurement", "table", "mask", "field", "scores")
        assert hasattr(module, "read") and (not card.get("recognises") or hasattr(module, "recognises"))
        assert not card.get("extent") or hasattr(module, "extent")
        assert all(extension.startswith(".") for extension in card["extensions"])
        assert not card["writes"] or hasattr(module, "write") or hasattr(module, "write_series")


def test_by_name_by_content_and_by_folder(tmp_path: Path) -> None:
    nifti.write(tmp_path / "a.nii.gz", VOLUME)
    raster.write(tmp_path / "b.png", Image(VOLUME.array[..., 0].astype(np.uint8)))
    dicom.write_series(tmp_path / "c", VOLUME)
    (tmp_path / "b.png").rename(tmp_path / "b")
    (tmp_path / "c" / "0001.dcm").rename(tmp_path / "c" / "1.2.840")
    for name, form in (("a.nii.gz", "nifti"), ("b", "raster"), ("c", "dicom"), ("c/1.2.840", "dicom")):
        source = hilum.io.open(tmp_path / name)
        assert source.format == form and isinstance(source, Source)
        assert isinstance(source.read(), Image)
    assert is_series(tmp_path / "c") and not is_series(tmp_path) and not is_series(tmp_path / "a.nii.gz")


def test_how_large_a_volume_will_be_is_told_by_its_header(tmp_path: Path) -> None:
    nifti.write(tmp_path / "a.nii.gz", VOLUME)
    dicom.write_series(tmp_path / "c", VOLUME)
    for name in ("a.nii.gz", "c"):
        source = hilum.io.open(tmp_path / name)
        told, seen = source.extent(), source.read()
        assert told is not None and isinstance(seen, Image) and seen.affine is not None
        assert (told.shape, told.size) == (seen.array.shape, seen.array.nbytes)
        np.testing.assert_allclose(told.affine, seen.affine)


def test_where_a_header_does_not_say_it_or_lies_nothing_is_told(tmp_path: Path) -> None:
    raster.write(tmp_path / "b.png", Image(VOLUME.array[..., 0].astype(np.uint8)))
    nifti.write(tmp_path / "a.nii", VOLUME)
    (tmp_path / "a.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:400])
    for name in ("b.png", "a.nii"):
        assert hilum.io.open(tmp_path / name).extent() is None


@pytest.mark.parametrize(
    ("name", "known"),
    [("a.nii.gz", True), ("A.NII", True), ("x.h5", True), ("a.JPG", True), (".a.png", False), ("._a.nii.gz", False),
     ("a.gz", False), ("a.csv", False), ("README", False)],
)  # fmt: skip
def test_is_image_looks_at_the_name_only(name: str, known: bool) -> None:
    assert is_image(Path("nowhere") / name) is known


def test_refusals_name_the_path(tmp_path: Path) -> None:
    with pytest.raises(HilumError, match=r"nothing\.nii.*HIL-IO-02"):
        hilum.io.open(tmp_path / "nothing.nii")
    (tmp_path / "a.heic").write_bytes(b"whatever it is")
    with pytest.raises(HilumError, match=r"a\.heic.*'\.heic'.*\.nii\.gz.*HIL-IO-01"):
        hilum.io.open(tmp_path / "a.heic")
    (tmp_path / "empty").mkdir()
    with pytest.raises(HilumError, match=r"empty.*HIL-IO-01"):
        hilum.io.open(tmp_path / "empty")
    nifti.write(tmp_path / "a.nii", VOLUME)
    with pytest.raises(HilumError, match=r"a\.nii.*HIL-IO-07"):
        hilum.io.open(tmp_path / "a.nii").read(level=1)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.png", "a.tif", "a.jpg", "a.dcm", "a.h5"])
def test_noise_never_escapes_as_a_foreign_exception(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 400, 5000):
        (tmp_path / name).write_bytes(rng.bytes(size))
        with pytest.raises(HilumError, match=name.replace(".", r"\.")):
            hilum.io.open(tmp_path / name).read()


@pytest.mark.parametrize("name", ["a.nii", "a.png", "a.tif", "a.h5"])
def test_flipped_bytes_are_read_or_refused(tmp_path: Path, name: str) -> None:
    from hilum.core.image import Measurement
    from hilum.io import kspace

    path = tmp_path / name
    if name == "a.nii":
        nifti.write(path, VOLUME)
    elif name == "a.h5":
        kspace.write(path, Measurement(np.ones((1, 1, 4, 4), np.complex64), ("slice", "coil", "ky", "kx"), {}))
    else:
        raster.write(path, Image(VOLUME.array[..., 0].astype(np.uint8)))
    whole, rng = path.read_bytes(), np.random.default_rng(1)
    for _ in range(150):
        raw = bytearray(whole)
        for place in rng.integers(0, min(len(raw), 352), 3):
            raw[place] = rng.integers(256)
        path.write_bytes(bytes(raw))
        try:
            hilum.io.open(path).read()
        except HilumError as error:
            assert name in str(error)


@pytest.mark.parametrize("name", ["annotation.csv", "0_preview.png", "a.nii.gz", "0_notes.txt", "_dose.h5"])
@pytest.mark.parametrize("ending", [".dcm", ""])
def test_what_lies_beside_the_slices_makes_them_no_less_a_series(tmp_path: Path, name: str, ending: str) -> None:
    dicom.write_series(tmp_path / "s", VOLUME)
    for file in list((tmp_path / "s").iterdir()):
        file.rename(file.with_name(f"slice{file.stem}{ending}"))
    (tmp_path / "s" / name).write_text("beside")
    assert is_series(tmp_path / "s") and hilum.io.open(tmp_path / "s").format == "dicom"
    seen = hilum.io.open(tmp_path / "s").read()
    assert isinstance(seen, Image) and seen.shape == VOLUME.shape


def test_a_folder_of_pictures_is_told_from_a_series_without_opening_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        (tmp_path / f"{n}.png").write_bytes(b"picture")
        (tmp_path / f"{n}.json").write_text("{}")
    monkeypatch.setattr(_source, "_marked", lambda path: pytest.fail(f"{path} was opened"))
    assert not is_series(tmp_path)


def test_dicom_that_begins_like_a_tiff_is_a_series_without_an_extension_too(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    data = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    assert data[:4] == b"II*\0"
    (tmp_path / "1").write_bytes(data)
    assert is_series(tmp_path) and hilum.io.open(tmp_path).format == "dicom"


def test_a_file_that_can_not_be_opened_does_not_hide_a_series(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was the first of its folder, and ended the reading of all folders beside it."""
    for name in ("IM0001", "IM0002"):
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    real = _source._marked

    def marked(path: Path) -> list[str]:
        if path.name == "IM0001":
            raise HilumError("HIL-IO-03", f"{path} can not be read", "Look at its rights")
        return real(path)

    monkeypatch.setattr(_source, "_marked", marked)
    assert _source.is_series(tmp_path)


MHD = "ObjectType = Image\nNDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementSpacing = 1 1 1\n"
NHDR = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nspacings: 1 1 1\n"
PAIRS = [
    ("metaimage", "a.mhd", MHD + "ElementDataFile = a.raw\n", "a.raw"),
    ("metaimage", "a.mhd", MHD + "CompressedData = True\nElementDataFile = a.zraw\n", "a.zraw"),
    ("nrrd", "a.nhdr", NHDR + "data file: ./a.raw\n", "a.raw"),
    ("nifti", "a.hdr", "looked at by its name only", "a.img"),
    ("nifti", "a.hdr.gz", "looked at by its name only", "a.img.gz"),
]


@pytest.mark.parametrize(("form", "name", "text", "voxels"), PAIRS)
def test_voxels_beside_their_header_are_files_of_the_source(
    form: str, name: str, text: str, voxels: str, tmp_path: Path
) -> None:
    """A file of voxels that changed was not noticed, and large ones had the time of a header."""
    source = _source.FileSource(tmp_path / name, form)
    # what is not there yet is told by the reader
    assert source.files == (tmp_path / name,)
    (tmp_path / name).write_text(text)
    assert source.files == (tmp_path / name,)
    (tmp_path / voxels).write_bytes(bytes(3_000_000))
    assert source.files == (tmp_path / name, tmp_path / voxels)
    module = cards("hilum.io")[form]["module"]
    assert _workers._size(tmp_path / name, (), module) == len(text) + 3_000_000


@pytest.mark.parametrize("name", ["a.mha", "a.nrrd", "a.nii.gz", "a.nii"])
def test_a_volume_in_one_file_is_that_file(name: str, tmp_path: Path) -> None:
    form = {"a.mha": metaimage, "a.nrrd": nrrd}.get(name, nifti)
    form.write(tmp_path / name, VOLUME)
    (tmp_path / "a.raw").write_bytes(b"of another one")
    assert hilum.io.open(tmp_path / name).files == (tmp_path / name,)


@pytest.mark.parametrize("file", ["http://there/a.raw", "../a.raw", "LIST", "slice%03d.raw 1 7 1"])
def test_a_header_that_leads_elsewhere_names_no_other_file(file: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "a.raw").write_bytes(bytes(8))
    (tmp_path / "in" / "a.mhd").write_text(f"{MHD}ElementDataFile = {file}\n")
    assert _source.FileSource(tmp_path / "in" / "a.mhd", "metaimage").files == (tmp_path / "in" / "a.mhd",)


def test_what_lies_beside_the_slices_is_no_file_of_the_series(tmp_path: Path) -> None:
    """A note, or what a system leaves in folders, made another case of it."""
    dicom.write_series(tmp_path / "s", VOLUME)
    slices = tuple(sorted((tmp_path / "s").iterdir()))
    (tmp_path / "s" / slices[0].name).rename(tmp_path / "s" / "1.2.840")
    slices = (*slices[1:], tmp_path / "s" / "1.2.840")
    for name in (".DS_Store", "note.txt", "DICOMDIR", ".hidden.dcm"):
        (tmp_path / "s" / name).write_text("beside")
    # a series below is not looked at where files lie directly inside
    dicom.write_series(tmp_path / "s" / "deeper", VOLUME)
    source = hilum.io.open(tmp_path / "s")
    assert source.files == slices and source.read().shape == VOLUME.shape  # type: ignore[union-attr]
    above = _source.FileSource(tmp_path, "dicom")
    assert set(slices) < set(above.files) and all(dicom.looks_like_dicom(file) for file in above.files)
    assert _source.FileSource(slices[0], "dicom").files == (slices[0],)
    gone = tmp_path / "gone.dcm"
    assert _source.FileSource(gone, "dicom").files == (gone,)


@pytest.mark.parametrize("ending", [".dcm", ""])
def test_one_dicom_file_among_pictures_makes_no_series(tmp_path: Path, ending: str) -> None:
    """Five hundred pictures beside it were passed over."""
    dicom.write_series(tmp_path / "s", VOLUME)
    folder = tmp_path / "p"
    folder.mkdir()
    min((tmp_path / "s").iterdir()).rename(folder / f"stray{ending}")
    for name in ("0.png", "notes.csv", "scan.h5"):
        (folder / name).write_bytes(b"beside")
    assert is_series(folder), "one preview beside one slice"
    (folder / "1.png").write_bytes(b"picture")
    assert not is_series(folder)
    with pytest.raises(HilumError, match=r"fewer than other images.*HIL-IO-01"):
        hilum.io.open(folder)
