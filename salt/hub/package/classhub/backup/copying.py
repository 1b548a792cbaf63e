"""From a private directory into a home: files, directories and links, written by the student's own rights.

The source is out of every student's reach. In the home nothing is followed and nothing is replaced.
"""

import contextlib
import os
import stat
from pathlib import Path

from classhub.backup.walking import below
from classhub.course import trees
from classhub.course.report import Unfit
from classhub.course.settings import Person

DEEPEST = 200
GIVEN = "it"


class Given:
    """What is to be given to a person, made readable by the person.

    Attributes:
        fd: descriptor of a directory that has it, as `it`
        lost: what is in it and is not as it was saved, and why; by the parts of its path
        left_out: what is not given, and why; paths begin at what is given
    """

    def __init__(
        self, person: Person, restored: Path, top: Path, lost: dict[tuple[str, ...], str]
    ) -> None:
        self.person, self.restored, self.place = person, restored, top / "given"
        self.lost = lost
        self.left_out: list[str] = []
        self._modes: dict[int, int] = {}
        self._links: dict[int, str] = {}
        self._whole: tuple[int, ...] = ()

    def __enter__(self) -> "Given":
        self.place.mkdir(mode=0o755)
        self.place.chmod(0o755)
        self.restored.rename(self.place / GIVEN)
        self._open_up(self.place / GIVEN)
        for entry in below(self.place / GIVEN):
            self._open_up(Path(entry.path))
        self.fd = os.open(self.place, trees.DIRECTORY)
        return self

    def __exit__(self, *error) -> None:
        for fd in (self.fd, *self._whole):
            os.close(fd)

    def _open_up(self, path: Path) -> None:
        """Let the owner read what is closed to its owner, too; the mode is given as it was."""
        found = path.lstat()
        wanted = {stat.S_IFDIR: 0o700, stat.S_IFREG: 0o400}.get(stat.S_IFMT(found.st_mode), 0)
        if wanted and found.st_uid == self.person.uid:
            mode = stat.S_IMODE(found.st_mode)
            self._modes[found.st_ino] = mode & 0o777
            if mode & wanted != wanted:
                path.chmod(mode | wanted)

    def write(self, parent: int, name: str) -> None:
        """Write it into a directory, as the person that this process acts as.

        Raises:
            Unfit: it is nothing that is given.
        """
        self._top, self._name = parent, name
        self._one(self.fd, GIVEN, parent, name, (), DEEPEST)
        if not trees.kind(parent, name):
            raise Unfit(self.left_out[-1])

    def finish(self) -> None:
        """Give a directory its own mode once it is in its place: one that may not be written to cannot be moved there."""
        if self._whole:
            self._finish(*self._whole)

    def _one(
        self, source: int, old: str, target: int, new: str, parts: tuple[str, ...], depth: int
    ) -> None:
        found = os.stat(old, dir_fd=source, follow_symlinks=False)
        kind, shown = trees.KINDS[stat.S_IFMT(found.st_mode)], "/".join(parts) or "it"
        if parts in self.lost:
            self.left_out.append(f"{shown}: {self.lost[parts]}")
        elif found.st_uid != self.person.uid:
            self.left_out.append(f"{shown}: belongs to uid {found.st_uid}")
        elif kind == "a symbolic link":
            os.symlink(os.readlink(old, dir_fd=source), new, dir_fd=target)
        elif kind == "a file":
            self._file(source, old, target, new, parts)
        elif kind == "a directory" and depth:
            self._folder(source, old, target, new, parts, depth)
        else:
            self.left_out.append(f"{shown}: {'is too deep' if depth == 0 else f'is {kind}'}")

    def _folder(
        self, source: int, old: str, target: int, new: str, parts: tuple[str, ...], depth: int
    ) -> None:
        os.mkdir(new, 0o700, dir_fd=target)
        with trees.opened(old, source) as inner, trees.opened(new, target) as made:
            for name in sorted(os.listdir(inner)):
                self._one(inner, name, made, name, (*parts, name), depth - 1)
            if parts:
                self._finish(inner, made)
            else:
                self._whole = os.dup(inner), os.dup(made)

    def _file(self, source: int, old: str, target: int, new: str, parts: tuple[str, ...]) -> None:
        fd = os.open(old, trees.READ, dir_fd=source)
        try:
            found = os.fstat(fd)
            if found.st_nlink > 1 and self._linked(found.st_ino, target, new):
                return
            made = os.open(new, trees.NEW, 0o600, dir_fd=target)
            try:
                while os.sendfile(made, fd, None, 1 << 24):
                    pass
                self._finish(fd, made)
            finally:
                os.close(made)
            if found.st_nlink > 1:
                self._links[found.st_ino] = "/".join((self._name, *parts))
        finally:
            os.close(fd)

    def _linked(self, inode: int, target: int, new: str) -> bool:
        """Give a file its second name, so that it takes its room once, as it did."""
        first = self._links.get(inode)
        if first is None:
            return False
        with contextlib.suppress(OSError):
            os.link(first, new, src_dir_fd=self._top, dst_dir_fd=target, follow_symlinks=False)
            return True
        return False

    def _finish(self, fd: int, made: int) -> None:
        found = os.fstat(fd)
        os.fchmod(made, self._modes[found.st_ino])
        os.utime(made, ns=(found.st_atime_ns, found.st_mtime_ns))
