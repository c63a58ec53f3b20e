"""Files with one defect: each is refused, warned about or corrected exactly as its row says, and fast."""

import csv
import time
from pathlib import Path

import numpy as np
import pytest

from hilum.core import geometry, warp
from hilum.core.atomic import sha256
from hilum.core.errors import HilumError
from hilum.core.image import Image
from hilum.data.phantoms import nifti_defects
from hilum.io import nifti

EVERY = range(len(nifti_defects.DEFECTS))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("defects")
    nifti_defects.make(folder, len(EVERY), seed=1)
    # libraries are loaded by the first file that needs them; their start is not the reader's time
    nifti.write(folder / "sound.nii", Image(nifti_defects.draw(0, 0)[None], nifti_defects.affine()))
    (folder / "sound.nii").unlink()
    warp.resize(np.zeros((1, 2, 2, 2), np.float32), (3, 3, 3))
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "defects.csv", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("case", EVERY, ids=lambda n: "-".join(nifti_defects.DEFECTS[n][:2]).replace(" ", "_"))
def test_every_file_has_the_outcome_that_its_row_states(made: Path, case: int) -> None:
    row = rows(made)[case]
    path = made / row["file"]
    read = nifti.read_labels if path.parent.name == "labels" else nifti.read
    before = time.process_time()
    if row["outcome"] == "refused":
        with pytest.raises(HilumError) as error:
            read(path)
        assert error.value.code == f"HIL-{row['row']}" and path.name in error.value.seen, str(error.value)
    else:
        seen = read(path)
        named = [words for words in seen.warnings if words.startswith(f"HIL-{row['row']}: ")]
        assert (len(seen.warnings), len(named)) == ((1, 1) if row["outcome"] == "warned" else (0, 0)), seen.warnings
        if row["outcome"] == "accepted-corrected":
            np.testing.assert_array_equal(seen.array[0], nifti_defects.draw(1, case))
            far = geometry.corner_distance(np.asarray(seen.affine), seen.shape, nifti_defects.affine(), seen.shape)
            assert far < 1e-4
    assert time.process_time() - before < 1


def test_a_hundred_files_each_another_defect(tmp_path: Path) -> None:
    nifti_defects.make(tmp_path)
    found = rows(tmp_path)
    assert len(found) == 100 == len({row["defect"] for row in found})
    assert {row["row"] for row in found} == {f"N{n:02d}" for n in range(1, 16) if n != 14}
    assert all((tmp_path / row["file"]).is_file() for row in found)
    assert {row["outcome"] for row in found} == {"refused", "warned", "accepted-corrected"}


def test_same_seed_same_bytes(made: Path, tmp_path: Path) -> None:
    nifti_defects.make(tmp_path, len(EVERY), seed=1)
    names = sorted(p.relative_to(made) for p in made.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob("*") if p.is_file())
    assert [sha256(made / name) for name in names] == [sha256(tmp_path / name) for name in names]


def test_a_file_has_one_defect_only(tmp_path: Path) -> None:
    """Without its defect the same volume is read without a word."""
    nifti_defects.make(tmp_path, 1)
    path = tmp_path / "sound.nii"
    path.write_bytes(nifti_defects._file(nifti_defects.draw(0, 0)))
    assert nifti.read(path).warnings == () and nifti.read_labels(path).warnings == ()


def test_names_of_people_do_not_come_out(made: Path, tmp_path: Path) -> None:
    row = next(row for row in rows(made) if "person" in row["defect"])
    assert b"Doe^Jane" in (made / row["file"]).read_bytes()
    image = nifti.read(made / row["file"])
    nifti.write(tmp_path / "a.nii", image)
    assert "Doe" not in repr(image.meta) and b"Doe" not in (tmp_path / "a.nii").read_bytes()
