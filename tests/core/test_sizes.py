"""Sizes of memory in words."""

import pytest

from hilum.core.errors import HilumError
from hilum.core.sizes import parse_size, size_words


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 << 30),
        ("4 GiB", 4 << 30),
        ("1.5g", 3 << 29),
        ("500MB", 500 << 20),
        ("2048", 2048),
        (7, 7),
        ("1k", 1024),
    ],
)
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "much", "-4GB", "0", "4 XB", "GB", "1e9", "nan"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(HilumError) as error:
        parse_size(text)
    assert error.value.code == "HIL-PLAN-03"


def test_words_can_be_read_back() -> None:
    assert size_words(3 << 30) == "3.0 GB" and size_words(5 << 20) == "5 MB"
    assert parse_size(size_words(3 << 30)) == 3 << 30
