"""Locks between processes, and file systems that have none."""

import errno
import fcntl
import os
from pathlib import Path

import pytest

from infoser.errors import InfoserError
from infoser.locks import held


def test_a_second_holder_is_refused(tmp_path: Path) -> None:
    with held(tmp_path / "lock", "busy"), pytest.raises(InfoserError, match="busy"), held(tmp_path / "lock", "busy"):
        pass
    with held(tmp_path / "lock", "busy"):  # and it ends with its holder
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], number: int
) -> None:
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with held(tmp_path / "lock", "busy"):
        assert f"the file system of {tmp_path} has no locks ({os.strerror(number)})" in capsys.readouterr().err


def test_other_refusals_are_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)), held(tmp_path / "lock", "busy"):
        pass
