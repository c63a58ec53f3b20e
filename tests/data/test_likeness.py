"""The same picture again is found however it was turned, stored or framed; another one is not."""

import hashlib
import io
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image as Pillow

from hilum.core.image import Array, Image, Measurement
from hilum.data import likeness
from hilum.data.likeness import Look, alike, look_at
from hilum.data.phantoms import slices


def head(seed: int, noise: float = 0.03) -> Array:
    """Grey (160, 160) of 0..255."""
    array = slices.draw(np.random.default_rng(seed), 160, noise, ill=bool(seed % 2)).astype(np.float32)[0]
    return array * (255 / array.max())


def look(grey: Array) -> Look:
    return look_at(Image(np.ascontiguousarray(grey)[None]))


def jpeg(grey: Array) -> Array:
    stream = io.BytesIO()
    Pillow.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=30)
    return np.asarray(Pillow.open(stream))


def smaller(grey: Array) -> Array:
    return np.asarray(Pillow.fromarray(grey.astype(np.uint8)).resize((100, 110)))


CHANGES: dict[str, Callable[[Array], Array]] = {
    "darker": lambda g: g * 0.4 + 30,
    "gamma": lambda g: 255 * (g / 255) ** 0.6,
    "jpeg": jpeg,
    "smaller": smaller,
    "framed": lambda g: np.pad(g, ((20, 12), (8, 25))),
    "white frame": lambda g: np.pad(g, 9, constant_values=255),
    "noise": lambda g: g + np.random.default_rng(0).normal(0, 4, g.shape),
}


@pytest.mark.parametrize("name", CHANGES)
def test_t09_a_changed_copy_is_found(name: str) -> None:
    looks = [look(head(n)) for n in range(4)] + [look(CHANGES[name](head(2)))]
    assert [(p.first, p.second) for p in alike(looks)] == [(2, 4)]


TURNS: dict[str, Callable[[Array], Array]] = {
    "flipped left-right": lambda g: g[:, ::-1],
    "flipped upside down": lambda g: g[::-1],
    "rotated by 180 degrees": lambda g: np.rot90(g, 2),
    "rotated by 90 degrees": lambda g: np.rot90(g, -1),
    "rotated by 270 degrees": lambda g: np.rot90(g, 1),
    "flipped left-right and rotated by 90 degrees": lambda g: np.rot90(g, -1)[:, ::-1],
    "flipped left-right and rotated by 270 degrees": lambda g: np.rot90(g, 1)[:, ::-1],
}


@pytest.mark.parametrize("words", TURNS)
def test_t09_turned_copies_are_found_by_name(words: str) -> None:
    grey = head(1) + 60 * (np.indices((160, 160)).sum(axis=0) > 250)
    (pair,) = alike([look(grey), look(TURNS[words](grey))])
    assert pair.how == words and pair.score > 0.99


def test_t09_inverted_and_cropped_copies_are_named() -> None:
    grey = head(3)
    (pair,) = alike([look(grey), look(255 - grey)])
    assert pair.how.endswith("inverted")
    few = Pillow.fromarray(np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint8))
    texture = np.asarray(few.resize((160, 160), Pillow.Resampling.BICUBIC))
    (pair,) = alike([look(texture), look(texture[7:, 6:])])
    assert pair.how == "shifted or cropped"


def test_t09_mostly_dark_images_of_different_content_stay_apart() -> None:
    def dark(seed: int) -> Array:
        rng = np.random.default_rng(seed)
        grey = rng.normal(4, 1, (160, 160))
        grey[60:90, 60:90] += 40 * np.kron(rng.random((6, 6)), np.ones((5, 5)))
        return grey

    assert alike([look(dark(n)) for n in range(12)]) == []
    assert len(alike([look(dark(0)), look(dark(1)), look(dark(1) * 1.5 + 3)])) == 1


def test_different_heads_and_even_images_are_not_alike() -> None:
    assert alike([look(head(n)) for n in range(24)]) == []
    assert alike([look(np.full((64, 64), v, np.float32)) for v in (0, 7, 9)]) == []


def test_even_images_of_one_value_and_raw_data_are_the_same_pixels() -> None:
    even = [look(np.zeros((64, 64))) for _ in range(2)]
    raw = [look_at(Measurement(np.full((1, 2, 2), v), ("coil", "ky", "kx"), {})) for v in (1, 1, 2)]
    assert [(p.first, p.second, p.how) for p in alike(even)] == [(0, 1, "the same pixels")]
    assert [(p.first, p.second) for p in alike(raw)] == [(0, 1)]
    assert alike([raw[0], even[0], look(head(0))]) == []


def volume(seed: int) -> Image:
    rng = np.random.default_rng(seed)
    coarse = rng.random((7, 8, 6)).repeat(5, 0).repeat(5, 1).repeat(5, 2)
    return Image(coarse[None].astype(np.float32) + 0.2, np.diag([1.0, 1, 2, 1]))


def test_t09_volumes_turned_in_memory_or_mirrored_are_found() -> None:
    first = volume(0)
    turned = Image(np.ascontiguousarray(first.array[:, ::-1]), np.diag([-1.0, 1, 2, 1]))
    mirrored = first.like(np.sqrt(first.array[:, :, ::-1]))
    found = alike([look_at(i) for i in (first, volume(1), turned, mirrored)])
    pairs = {(p.first, p.second): p.how for p in found}
    assert pairs.keys() == {(0, 2), (0, 3), (2, 3)}
    assert pairs[0, 2] == "the same pixels" and pairs[0, 3] == "flipped front to back"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_does_not_stop_the_comparison(bad: float) -> None:
    grey = head(0)
    grey[0, 0] = bad
    assert np.isfinite(look(grey).detail).all()  # type: ignore[arg-type]
    assert len(alike([look(grey), look(head(0))])) == 1


def test_pictures_of_any_size_have_a_look() -> None:
    for shape in ((1, 1), (3, 200), (5, 5)):
        assert look(np.random.default_rng(0).random(shape)).detail is not None
    assert look_at(Image(np.random.default_rng(0).random((3, 9, 2, 4)))).detail.shape == (2, 32, 32, 32)  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", [(1, 40, 30, 20), (3, 200, 90), (2, 5, 5)], ids=str)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.float32, np.float64])
def test_what_is_kept_of_an_image_is_what_it_was(
    shape: tuple[int, ...], order: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made a few lines at a time, and of the array itself and not of a copy of its bytes."""
    monkeypatch.setattr(likeness, "SLAB", 500)
    array = (np.random.default_rng(0).random(shape) * 200 + 0.3).astype(kind)
    if array.dtype.kind == "f":
        array[(0,) * array.ndim] = np.nan
    array = np.asfortranarray(array) if order == "F" else array
    grey = likeness._grey(array)
    assert np.array_equal(grey, np.nan_to_num(array.astype(np.float32), posinf=0.0, neginf=0.0).mean(axis=0))
    head = f"{array.shape} {array.dtype.kind}".encode()
    assert look_at(Image(array)).digest == hashlib.blake2b(head + array.tobytes(), digest_size=16).hexdigest()


def test_raw_data_have_the_digest_that_they_had() -> None:
    array = np.arange(24).reshape(2, 3, 4) * np.complex64(1 + 2j)
    own = hashlib.blake2b(f"{array.shape} c".encode() + array.tobytes(), digest_size=16).hexdigest()
    assert look_at(Measurement(array, ("coil", "ky", "kx"), {})).digest == own


def test_an_image_is_looked_at_without_several_copies_of_it() -> None:
    """Of a CT of 512 x 512 x 600 voxels three in float32 were held, and two of its bytes."""
    image = Image(np.random.default_rng(0).integers(0, 900, (1, 200, 200, 200)).astype(np.int16), np.eye(4))
    tracemalloc.start()
    look_at(image)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # in float32 once
    assert peak < 6 * image.array.size
