"""What is below a directory in which nobody else is at work."""

import os
from collections.abc import Iterator
from pathlib import Path


def below(top: Path | str) -> Iterator[os.DirEntry]:
    """Everything below a directory, however deep it is; no link is followed. Nothing if there is no such directory.

    os.walk of Python 3.11 calls itself for each level, and a student may make more levels than Python has calls.
    """
    folders = [os.fspath(top)] if os.path.isdir(top) and not os.path.islink(top) else []
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                yield entry
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
