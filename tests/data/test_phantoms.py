"""Phantoms: the same seed gives the same bytes, and what they say of themselves is true."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from hilum.core import geometry
from hilum.core.atomic import sha256
from hilum.core.catalogue import cards, load
from hilum.core.image import Image, Measurement
from hilum.core.warp import warp
from hilum.data.phantoms import heads, pairs
from hilum.data.phantoms._head import Head
from hilum.io import open as open_path
from hilum.physics.fourier import Fourier, to_image

NAMES = list(cards("hilum.data.phantoms"))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("phantoms")
    for name in NAMES:
        load("hilum.data.phantoms", name).make(folder / name, 5, seed=3)
    return {name: folder / name for name in NAMES}


def hashes(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_bytes(name: str, made: dict[str, Path], tmp_path: Path) -> None:
    load("hilum.data.phantoms", name).make(tmp_path / "again", 3, seed=3)
    load("hilum.data.phantoms", name).make(tmp_path / "other", 3, seed=4)
    first, again, other = hashes(made[name]), hashes(tmp_path / "again"), hashes(tmp_path / "other")
    same = [path for path in again if Path(path).suffix not in (".csv",)]
    assert same and all(first[path] == again[path] for path in same), "a case must not depend on how many there are"
    assert first != other and any(other[p] != again[p] for p in same if p in other and not p.endswith(".yaml"))


def item(folder: Path, name: str) -> Image:
    path = folder / name
    image = open_path(path if path.is_dir() else path.with_name(name + ".nii.gz")).read()
    assert isinstance(image, Image)
    return image


def test_heads_lie_where_their_labels_lie(made: dict[str, Path]) -> None:
    words, dicoms = set(), 0
    for case in range(5):
        name = f"head_{case:03d}"
        image = item(made["heads"] / "images", name)
        labels = open_path(made["heads"] / "labels" / f"{name}.nii.gz").read_labels()
        assert image.affine is not None and labels.affine is not None and image.warnings == ()
        far = geometry.corner_distance(image.affine, image.shape, labels.affine, labels.shape)
        assert far < geometry.GEOMETRY_TOLERANCE_MM
        assert set(np.unique(labels.array)) == {0, 1, 2}
        # the ventricles are dark, whatever the orientation of either file
        assert image.array[labels.array == 1].mean() < 0.5 * image.array[image.array > 300].mean()
        words.add(geometry.orientation(image.affine))
        dicoms += image.meta["format"] == "dicom"
    assert len(words) >= 4 and dicoms == 1


def test_a_head_is_the_same_in_every_orientation() -> None:
    found = []
    for word in ("RAS", "LPS", "ASL", "PIR"):
        head = Head(np.random.default_rng(0))
        head.add_lesions(2)
        _, mask = heads.sample(head, word, (1.0, 1.0, 1.0), 0.0, np.random.default_rng(5))
        assert mask.affine is not None and geometry.orientation(mask.affine) == word
        where = np.argwhere(mask.array == 2)
        mean = mask.affine @ [*where.mean(axis=0), 1]
        found.append((*mean[:3], len(where)))
    np.testing.assert_allclose(found, [found[0]] * 4, rtol=0.1, atol=0.3)


def test_the_known_field_moves_moving_onto_fixed(made: dict[str, Path]) -> None:
    with open(made["pairs"] / "pairs.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5
    for row in rows:
        fixed, moving = (
            item(made["pairs"] / "images", row[role]).array.astype(np.float32) for role in ("fixed", "moving")
        )
        u = np.load(made["pairs"] / "fields" / f"{row['fixed']}__{row['moving']}.npy")
        assert 1.0 < np.sqrt((u**2).sum(axis=0)).max() <= 5.01 and pairs.jacobian(u).min() > 0
        moved = warp(torch.from_numpy(moving)[None], torch.from_numpy(u)[None])[0].numpy()
        before, after = np.abs(fixed - moving).mean(), np.abs(fixed - moved).mean()
        assert after < 0.45 * before
        assert np.corrcoef(fixed.ravel(), moved.ravel())[0, 1] > 0.97


def test_boxes_hold_their_lesions(made: dict[str, Path]) -> None:
    from hilum.data.phantoms import spots

    with open(made["spots"] / "boxes.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert rows and {row["class"] for row in rows} == {"lesion"}
    for seed in range(4):
        picture, boxes = spots.draw(np.random.default_rng((3, seed)), 112, 0.03, 4)
        seen = open_path(made["spots"] / "images" / f"spots_{seed:03d}.png").read()
        np.testing.assert_array_equal(seen.array, picture)
        stated = [
            [int(r[k]) for k in ("low0", "low1", "high0", "high1")] for r in rows if r["case"] == f"spots_{seed:03d}"
        ]
        assert stated == boxes.tolist()
        for low0, low1, high0, high1 in boxes:
            inside = picture[0, low0:high0, low1:high1].astype(float)
            ring = picture[0, max(0, low0 - 3) : high0 + 3, max(0, low1 - 3) : high1 + 3].astype(float)
            around = (ring.sum() - inside.sum()) / (ring.size - inside.size)
            assert 3 <= high0 - low0 < 40 and abs(inside.mean() - around) > 4


def test_slices_come_in_class_folders(made: dict[str, Path]) -> None:
    assert sorted(p.name for p in made["slices"].iterdir()) == ["healthy", "lesion"]
    files = sorted(made["slices"].rglob("*.png"))
    assert len(files) == 5 and open_path(files[0]).read().array.shape == (1, 64, 64)  # type: ignore[union-attr]


def test_kspace_agrees_with_its_target_and_maps(made: dict[str, Path]) -> None:
    for path in sorted((made["kspace"] / "kspace").iterdir()):
        scan = open_path(path, part=1).read()
        assert isinstance(scan, Measurement) and scan.target is not None
        coils = to_image(scan.array)
        np.testing.assert_allclose(np.sqrt((np.abs(coils) ** 2).sum(axis=0)), scan.target[0], atol=1e-5)
        combined = Fourier.from_plain(scan.operator).adjoint(torch.from_numpy(scan.array)[None]).abs()[0].numpy()
        error = np.linalg.norm(combined - scan.target[0]) / np.linalg.norm(scan.target[0])
        assert error < 0.05, "the stored maps are the true ones"


def test_a_picture_called_lesion_shows_one() -> None:
    from hilum.data.phantoms import slices

    ill = slices.draw(np.random.default_rng(1), 64, 0.03, ill=True)
    assert ill.dtype == np.uint8 and ill.shape == (1, 64, 64) and ill.max() > 150
