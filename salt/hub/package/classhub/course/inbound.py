"""Read what lies in a student's reach: by directory descriptor, following no link, within limits.

Nothing here trusts a name, a size, a time or an owner that the student can set. The change time of
a file (ctime) is the file system's own: it tells whether something changed while it was read.
"""

import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from classhub.course.ledger import canonical
from classhub.course.report import Unfit
from classhub.course.trees import KINDS, opened

DEPTH = 16
PATH_BYTES = 1000  # leaves room for the course's own directories below the kernel's 4096
BLOCK = 1 << 20
# Characters that reorder the text around them.
BIDI = set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c")


class Changed(Unfit):
    """What lies there changed while it was read; a later run finds it at rest."""


class Limits(NamedTuple):
    """What one submission may hold."""

    files: int
    bytes: int


class Node(NamedTuple):
    """A file or directory of a submission.

    Attributes:
        path: relative to the submission; empty for its own directory
        parent: descriptor of the directory that holds it; open only while the walk stands there
    """

    path: str
    name: str
    parent: int
    stat: os.stat_result

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.stat.st_mode)


class Mark(NamedTuple):
    """What tells one state of a file or directory from another."""

    device: int
    inode: int
    mode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Mark":
        return cls(
            found.st_dev,
            found.st_ino,
            found.st_mode,
            found.st_size,
            found.st_mtime_ns,
            found.st_ctime_ns,
        )


def shown(name: str) -> str:
    """A student's name of something, fit for a terminal and a log."""
    text = "".join(c if is_sane(c) else c.encode("unicode_escape").decode() for c in name)
    return text if len(text) <= 120 else text[:117] + "..."


def is_sane(name: str) -> bool:
    """Whether a file name is UTF-8 without control characters or tricks of direction."""
    return all(
        unicodedata.category(c) not in {"Cc", "Cs", "Zl", "Zp"} and c not in BIDI for c in name
    )


class Reader:
    """Walks through one submission of one person, and refuses what is not plainly theirs."""

    def __init__(self, top: int, uid: int, limits: Limits) -> None:
        self.top, self.uid, self.limits = top, uid, limits
        self.device = os.fstat(top).st_dev
        self._entries = self._bytes = 0

    def walk(self) -> Iterator[Node]:
        """All files and directories, a directory before what it holds.

        Raises:
            Unfit: something in it must not be taken.
        """
        self._entries = self._bytes = 0
        node = Node("", "", self.top, os.fstat(self.top))
        self._check(node)
        yield node
        yield from self._inside(self.top, "", 1)

    def _inside(self, fd: int, prefix: str, depth: int) -> Iterator[Node]:
        for name in self._names(fd):
            path = prefix + name
            try:
                found = os.stat(name, dir_fd=fd, follow_symlinks=False)
            except FileNotFoundError as error:
                raise Changed(f"{shown(path)} went away while it was read") from error
            node = Node(path, name, fd, found)
            self._check(node)
            yield node
            if not node.is_file:
                if depth >= DEPTH:
                    raise Unfit(f"{shown(path)}: directories are nested deeper than {DEPTH}")
                with opened(name, fd) as child:
                    if Mark.of(os.fstat(child))[:2] != Mark.of(found)[:2]:
                        raise Changed(f"{shown(path)} changed while it was read")
                    yield from self._inside(child, path + "/", depth + 1)

    def _names(self, fd: int) -> list[str]:
        names = []
        with os.scandir(fd) as entries:
            for entry in entries:
                self._entries += 1
                if self._entries > self.limits.files:
                    raise Unfit(f"more than {self.limits.files} files and directories")
                names.append(entry.name)
        return sorted(names)

    def _check(self, node: Node) -> None:
        """Refuse what an honest submission cannot hold."""
        found, mode = node.stat, node.stat.st_mode
        where = f"{shown(node.path)}: " if node.path else ""
        if not is_sane(node.name):
            raise Unfit(f"{where}the name holds control characters or is not UTF-8")
        if len(os.fsencode(node.path)) > PATH_BYTES:
            raise Unfit(f"{where}the path is longer than {PATH_BYTES} bytes")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise Unfit(f"{where}is {KINDS[stat.S_IFMT(mode)]}")
        if found.st_uid != self.uid:
            raise Unfit(f"{where}belongs to uid {found.st_uid}, not to {self.uid}")
        if found.st_dev != self.device:
            raise Unfit(f"{where}lies on another file system")
        if mode & (stat.S_ISUID | stat.S_ISGID):
            raise Unfit(f"{where}has the setuid or setgid bit")
        if stat.S_ISREG(mode):
            if found.st_nlink != 1:
                raise Unfit(f"{where}has {found.st_nlink} names (hard links)")
            self._bytes += found.st_size
            if self._bytes > self.limits.bytes:
                raise Unfit(f"{where}more than {self.limits.bytes >> 20} MiB in all")

    def marks(self) -> dict[str, Mark]:
        """The state of all there is, by path."""
        return {node.path: Mark.of(node.stat) for node in self.walk()}

    def copy(self, before: dict[str, Mark], target: str | None) -> dict[str, dict]:
        """Copy all files to a directory of ours, or only read them, and see that none changes.

        Args:
            before: what `marks` said.
            target: an empty directory that only root can enter.

        Returns:
            {path: {size, sha256}}

        Raises:
            Changed: something is not as `before` says, or changed meanwhile.
        """
        files = {}
        for node in self.walk():
            if Mark.of(node.stat) != before.get(node.path):
                raise Changed(f"{shown(node.path) or 'it'} changed while it was read")
            place = None if target is None else f"{target}/{node.path}"
            if node.is_file:
                files[node.path] = _copy_file(node, place)
            elif node.path and place:
                os.mkdir(place, 0o700)
        after_copy()
        if self.marks() != before:
            raise Changed("it changed while it was read")
        return files


def after_copy() -> None:
    """Where a test changes something between the copy and the second look."""


def fingerprint(marks: dict[str, Mark]) -> str:
    """One value that changes when anything in a submission changes."""
    return hashlib.sha256(canonical(sorted(marks.items()))).hexdigest()


def _copy_file(node: Node, place: str | None) -> dict:
    """Read one file to its end, and write it to `place`."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    source = os.open(node.name, flags, dir_fd=node.parent)
    target = -1
    try:
        if place is not None:
            target = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        if Mark.of(os.fstat(source)) != Mark.of(node.stat):
            raise Changed(f"{shown(node.path)} changed while it was read")
        size, digest = _pump(source, target, node.stat.st_size)
        same = Mark.of(os.fstat(source)) == Mark.of(node.stat)
        if size != node.stat.st_size or not same:
            raise Changed(f"{shown(node.path)} changed while it was read")
        if target >= 0:
            os.fsync(target)
    finally:
        os.close(source)
        if target >= 0:
            os.close(target)
    return {"size": size, "sha256": digest}


def _pump(source: int, target: int, size: int) -> tuple[int, str]:
    """Bytes from one descriptor to another, one more than `size` at most; their count and sha256."""
    digest, count = hashlib.sha256(), 0
    while block := os.read(source, min(BLOCK, size + 1 - count)):
        digest.update(block)
        count += len(block)
        rest = memoryview(block) if target >= 0 else b""
        while rest:
            rest = rest[os.write(target, rest) :]
        if count > size:
            break
    return count, digest.hexdigest()
