"""Small disks: ext4 in a file, which behaves at its end as that of a class does, and as no tmpfs does."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

BLOCK = 1024


@contextmanager
def small_ext4(place: Path, image: Path, size: int, *options: str) -> Iterator[None]:
    """A new ext4 mounted at a place; skips where that is not possible.

    Args:
        place: an empty directory
        image: the file that becomes the disk
        size: bytes
        options: of mkfs.ext4
    """
    with image.open("wb") as file:
        file.truncate(size)
    make = ["mkfs.ext4", "-q", "-b", str(BLOCK), "-m", "0", *options, image]
    subprocess.run(make, check=True)
    mount = ["mount", "-o", "loop", image, place]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount")
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


def fill(folder: Path, left: int = 0) -> None:
    """Fill the disk of a folder up with a file in it, but for so many KiB; its blocks are as large."""
    filler = folder / "filler"
    filler.write_bytes(b"")
    with filler.open("ab", buffering=0) as file:
        while (found := os.statvfs(folder)).f_bavail > left:
            # by halves, as the map of a file's blocks takes some, too
            blocks = max(1, (found.f_bavail - left) // 2)
            try:
                file.write(b"\0" * blocks * BLOCK)
            except OSError:
                return
