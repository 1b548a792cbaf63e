"""Directories for what is restored and looked at: for root alone, and gone afterwards, also those of a killed run."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from classhub.backup.settings import Settings

KEPT = 1 << 30  # bytes that stay free on the hub's own disk


def place(settings: Settings) -> Path:
    """Where they are; never saved."""
    return settings.state / "scratch"


def room(settings: Settings) -> int:
    """How many bytes may be unpacked there: the gradebook is on the same disk."""
    return shutil.disk_usage(settings.state).free - KEPT


@contextmanager
def directory(settings: Settings) -> Iterator[Path]:
    """A new directory, which its process holds locked as long as it works there."""
    top = place(settings)
    top.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(top):
        for left in top.iterdir():
            with suppress(OSError):
                _remove_left(left)
        path = Path(tempfile.mkdtemp(dir=top))
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield path
    finally:
        _remove(path)
        os.close(fd)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield fd
    finally:
        os.close(fd)


def _remove_left(path: Path) -> None:
    """Remove a directory whose process is gone."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    finally:
        os.close(fd)
    _remove(path)


def _remove(path: Path) -> None:
    """Remove a tree, however deep a student made it: shutil.rmtree calls itself for each level."""
    subprocess.run(["rm", "-rf", "--one-file-system", "--", path], check=False)
