"""A folder's lock where the disk can not lock files. What it does elsewhere is tested where it is used (T12)."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from hilum.core.errors import HilumError
from hilum.core.lock import locked


def failing(number: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Locking fails with that number; the handles that it was asked about."""
    asked: list[int] = []

    def unable(handle: int, how: int) -> None:
        asked.append(handle)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", unable)
    return asked


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP])
def test_a_disk_that_can_not_lock_files_is_refused_by_its_own_sentence(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = failing(number, monkeypatch)
    with pytest.raises(HilumError, match="can not lock files") as error, locked(tmp_path):
        pass
    assert error.value.code == "HIL-CORE-04" and str(tmp_path) in error.value.seen
    assert "another disk" in error.value.remedy and not list(tmp_path.iterdir())
    with pytest.raises(OSError):
        os.fstat(asked[0])


def test_a_disk_that_is_unable_for_a_moment_takes_no_lock_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with locked(tmp_path):
        with monkeypatch.context() as moment:
            failing(errno.ENOLCK, moment)
            with pytest.raises(HilumError, match="can not lock files"), locked(tmp_path):
                pass
        with pytest.raises(HilumError, match="HIL-T12"), locked(tmp_path):
            pass


def test_what_else_fails_is_told_as_it_is_and_leaves_no_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = failing(errno.EIO, monkeypatch)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), locked(tmp_path):
        pass
    with pytest.raises(OSError):
        os.fstat(asked[0])
