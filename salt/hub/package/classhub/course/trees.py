"""Directory trees in memory, and written, compared and removed by directory descriptor.

Nothing here follows a symbolic link or names a path of more than one part.
"""

import contextlib
import ctypes
import errno
import fcntl
import fnmatch
import os
import secrets
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from classhub.course.report import Refused

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
# nbgrader's CourseDirectory.ignore
IGNORED = (".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback")
DEEPEST = 32
MOST = 20_000  # entries that are removed or compared at once: twice what an assignment may have
STAGE = "stage-"

# linux/fs.h
NOREPLACE, EXCHANGE = 1, 2
libc = ctypes.CDLL(None, use_errno=True)
KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass
class Folder:
    """A directory's content: name -> (bytes, executable) and name -> Folder."""

    files: dict[str, tuple[bytes, bool]] = field(default_factory=dict)
    folders: dict[str, "Folder"] = field(default_factory=dict)

    def walk(self) -> Iterator["Folder"]:
        yield self
        for folder in self.folders.values():
            yield from folder.walk()

    @property
    def count(self) -> int:
        return sum(len(folder.files) + len(folder.folders) for folder in self.walk())

    @property
    def size(self) -> int:
        return sum(len(data) for folder in self.walk() for data, _ in folder.files.values())


@contextlib.contextmanager
def opened(name: str | os.PathLike, parent: int | None = None) -> Iterator[int]:
    """Descriptor of a directory that is no link."""
    fd = os.open(name, DIRECTORY, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def kind(parent: int, name: str) -> str:
    """What has this name, such as "a directory"; empty if nothing."""
    try:
        mode = os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return ""
    return KINDS[stat.S_IFMT(mode)]


def hold(fd: int, words: str) -> None:
    """Be the only one that holds an open file or directory, until it is closed.

    Raises:
        Refused: somebody else does, with these words.
    """
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused(words) from None


def is_ignored(name: str) -> bool:
    """Whether nbgrader passes over what has this name."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in IGNORED)


def content(fd: int, most: int) -> bytes:
    """The bytes of an open file, at most one more than `most`."""
    parts, left = [], most + 1
    while left and (part := os.read(fd, min(left, 1 << 20))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


# -- the course's own trees


def load(path: os.PathLike, most_files: int, most_bytes: int) -> Folder:
    """A directory of the course, but for what nbgrader ignores.

    Raises:
        Refused: it has links or special files, or is too large.
    """
    with opened(path) as fd:
        folder = _load(fd, str(path), most_bytes, DEEPEST)
    if folder.count > most_files or folder.size > most_bytes:
        raise Refused(f"{path} has more than {most_files} files or {most_bytes >> 20} MiB")
    return folder


def _load(fd: int, path: str, most: int, depth: int) -> Folder:
    folder = Folder()
    if depth < 0:
        raise Refused(f"{path} is too deep")
    for name in sorted(os.listdir(fd)):
        if is_ignored(name):
            continue
        found = kind(fd, name)
        if found == "a directory":
            with opened(name, fd) as inner:
                folder.folders[name] = _load(inner, f"{path}/{name}", most, depth - 1)
        elif found == "a file":
            folder.files[name] = _load_file(fd, name, most)
            most -= len(folder.files[name][0])
        else:
            raise Refused(f"{path}/{name} is {found}: put the file itself there")
        if most < 0:
            raise Refused(f"{path} has more than the largest assignment may have")
    return folder


def _load_file(parent: int, name: str, most: int) -> tuple[bytes, bool]:
    fd = os.open(name, READ, dir_fd=parent)
    try:
        return content(fd, most), bool(os.fstat(fd).st_mode & stat.S_IXUSR)
    finally:
        os.close(fd)


# -- in a directory that others can write to, too


def write_file(parent: int, name: str, data: bytes, mode: int, last: bool = False) -> None:
    """Make a file; `last`: it is on the disk when this returns."""
    fd = os.open(name, NEW, mode, dir_fd=parent)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(fd, rest) :]
        if last:
            os.fsync(fd)
    finally:
        os.close(fd)


def write(folder: Folder, fd: int) -> None:
    """Fill an empty directory."""
    for name, (data, executable) in folder.files.items():
        write_file(fd, name, data, 0o755 if executable else 0o644)
    for name, inner in folder.folders.items():
        os.mkdir(name, 0o755, dir_fd=fd)
        with opened(name, fd) as inner_fd:
            write(inner, inner_fd)


def sync(fd: int) -> None:
    """Make all that was written to a descriptor's file system last.

    One call for many trees: fsync of each file made a release to a class 7 times as long, and needs more than a
    second a student on a slow disk.
    """
    if libc.syncfs(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def same(folder: Folder, fd: int) -> bool:
    """Whether a directory has just this content. Modes and times are not compared."""
    names = {*folder.files, *folder.folders}
    with os.scandir(fd) as entries:
        if {entry.name for entry in islice(entries, len(names) + 1)} != names:
            return False
    return all(same_file(fd, name, data) for name, (data, _) in folder.files.items()) and all(
        _same_folder(fd, name, inner) for name, inner in folder.folders.items()
    )


def _same_folder(parent: int, name: str, folder: Folder) -> bool:
    if kind(parent, name) != "a directory":
        return False
    with opened(name, parent) as fd:
        return same(folder, fd)


def same_file(parent: int, name: str, data: bytes) -> bool:
    if kind(parent, name) != "a file":
        return False
    fd = os.open(name, READ, dir_fd=parent)
    try:
        found = os.fstat(fd)
        alike = stat.S_ISREG(found.st_mode) and found.st_size == len(data)
        return alike and content(fd, len(data)) == data
    finally:
        os.close(fd)


def remove(parent: int, name: str, most: int = MOST, depth: int = DEEPEST) -> None:
    """Remove a tree or file.

    Args:
        most: entries
        depth: of directories

    Raises:
        OSError: it cannot be removed, or is deeper or larger than any that classhub makes: who made it may remove it.
    """
    _remove(parent, name, iter(range(most)), depth)


def _remove(parent: int, name: str, budget: Iterator[int], depth: int) -> None:
    if next(budget, None) is None or depth < 0:
        raise OSError(errno.E2BIG, "the tree is too large to be removed")
    if kind(parent, name) != "a directory":
        os.unlink(name, dir_fd=parent)
        return
    _open_up(parent, name)
    with opened(name, parent) as fd:
        while names := _first(fd):
            for inner in names:
                _remove(fd, inner, budget, depth - 1)
    os.rmdir(name, dir_fd=parent)


def _open_up(parent: int, name: str) -> None:
    """Let the owner of a directory empty it, if that is who acts."""
    fd = os.open(name, os.O_PATH | DIRECTORY, dir_fd=parent)
    try:
        found = os.fstat(fd)
        if found.st_uid == os.geteuid() and found.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            # by its descriptor, which one that may not be read has for this alone
            os.chmod(f"/proc/self/fd/{fd}", stat.S_IRWXU)
    finally:
        os.close(fd)


def _first(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return [entry.name for entry in islice(entries, MOST)]


# -- renaming


def _renameat2(source: int, old: str, target: int, new: str, flags: int) -> bool:
    """Call renameat2(2); False where the file system (NFS) does not know the flags."""
    if libc.renameat2(source, os.fsencode(old), target, os.fsencode(new), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(code, os.strerror(code), new)


def move(source: int, old: str, target: int, new: str) -> None:
    """Rename, but never over something.

    Raises:
        FileExistsError: something has the new name.
    """
    if _renameat2(source, old, target, new, NOREPLACE):
        return
    # A directory is renamed over an empty one at most, so nothing is lost should it appear just now.
    if kind(target, new):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), new)
    os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)


def swap(source: int, old: str, target: int, new: str) -> None:
    """Put `old` in place of `new`, which gets the name `old`: at once where the file system can."""
    if not kind(target, new):
        move(source, old, target, new)
    elif not _renameat2(source, old, target, new, EXCHANGE):
        aside = stage_name()
        os.rename(new, aside, src_dir_fd=target, dst_dir_fd=source)
        os.rename(old, new, src_dir_fd=source, dst_dir_fd=target)
        os.rename(aside, old, src_dir_fd=source, dst_dir_fd=source)


# -- stages: what is not yet in place


def stage_name() -> str:
    """A new name that tells which process works under it."""
    return f"{STAGE}{os.getpid()}-{secrets.token_hex(8)}"


def is_stale(name: str) -> bool:
    """Whether no other process works on this stage."""
    prefix, _, rest = name.partition(STAGE)
    process = rest.partition("-")[0]
    if prefix or not process.isdecimal() or len(process) > len(str(1 << 22)):
        return False
    return int(process) == os.getpid() or not os.path.exists(f"/proc/{process}")


def tidy(fd: int, most: int = MOST, depth: int = DEEPEST) -> None:
    """Remove what killed runs left in a directory of stages; what cannot be removed stays."""
    for name in filter(is_stale, _first(fd)):
        discard(fd, name, most, depth)


class Stage(NamedTuple):
    """A tree that is written and not yet in place; the numbers tell it from what may get its name."""

    name: str
    device: int
    inode: int


def stage(folder: Folder, stages: int) -> Stage:
    """Write a tree under a new name in a directory of stages; nothing stays if that fails."""
    name = stage_name()
    os.mkdir(name, 0o755, dir_fd=stages)
    try:
        with opened(name, stages) as fd:
            write(folder, fd)
            found = os.fstat(fd)
    except OSError:
        discard(stages, name)
        raise
    return Stage(name, found.st_dev, found.st_ino)


def discard(stages: int, name: str, most: int = MOST, depth: int = DEEPEST) -> bool:
    """Remove a stage; what cannot be removed stays. Whether it is gone."""
    with contextlib.suppress(OSError):
        remove(stages, name, most, depth)
    return not kind(stages, name)
