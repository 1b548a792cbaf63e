"""Writing into students' homes, as the student.

The kernel checks each step as the student, so a trap in a home leads nowhere the student could not go anyway; and by
directory descriptor without following links, so it leads nowhere at all. What is written appears at once and whole,
or not at all, and never in place of something.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import active_count

from classhub.course import trees
from classhub.course.report import Unfit
from classhub.course.settings import LEAST_UID, Person

PRIVATE = ".classhub"
LARGEST = (10_000_000, 256)  # entries and depth of what is given to a home: that may be all of it
WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the quota is used up",
    errno.EROFS: "the file system is read-only",
}


def in_words(error: OSError | Unfit) -> str:
    """Why something could not be written."""
    if isinstance(error, Unfit):
        return str(error)
    if error.errno in WORDS:
        return WORDS[error.errno]
    name = f"{error.filename}: " if isinstance(error.filename, str) else ""
    return f"{name}{error.strerror or error}"


@contextlib.contextmanager
def acting_as(person: Person) -> Iterator[None]:
    """Within it the process has the rights of this person alone.

    Raises:
        RuntimeError: it would not be safe. The ids belong to all threads of a process.
    """
    if person.uid < LEAST_UID or os.geteuid() != 0 or active_count() > 1:
        raise RuntimeError(
            f"cannot act as {person.username}: needs root, a class's uid, one thread"
        )
    groups, gid = os.getgroups(), os.getegid()
    try:
        os.setgroups([])
        os.setegid(person.gid)
        os.seteuid(person.uid)
        yield
    finally:
        os.seteuid(0)
        os.setegid(gid)
        os.setgroups(groups)


class Home:
    """A home, opened; within it the process acts as its owner.

    with Home(person, settings.homes) as home:
        home.write_tree(folder, "ps1")

    Raises:
        Unfit: the home or something in it is not as it must be, or has no room.
    """

    def __init__(self, person: Person, homes: Path) -> None:
        self.person, self.path = person, homes / person.username

    def __enter__(self) -> "Home":
        with contextlib.ExitStack() as stack:
            stack.enter_context(self._in_words())
            stack.enter_context(acting_as(self.person))
            self.top = self.fd = stack.enter_context(self._own(self.path))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error) -> bool:
        return bool(self._stack.__exit__(*error))

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unfit(in_words(error)) from error

    @contextlib.contextmanager
    def _own(self, name: str | Path, parent: int | None = None) -> Iterator[int]:
        """Descriptor of a directory that the student owns."""
        shown = f"~/{name}" if parent is not None else str(name)
        try:
            fd = os.open(name, trees.DIRECTORY, dir_fd=parent)
        except (NotADirectoryError, FileNotFoundError) as error:
            what = "missing" if error.errno == errno.ENOENT else "not a directory of its own"
            raise Unfit(f"{shown} is {what}") from None
        try:
            owner = os.fstat(fd).st_uid
            if owner != self.person.uid:
                raise Unfit(f"{shown} belongs to uid {owner}")
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _folder(self, *parts: str) -> Iterator[int]:
        """Descriptor of a directory below the home, made if it is not there."""
        with contextlib.ExitStack() as stack:
            fd = self.top
            for part in parts:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=fd)
                fd = stack.enter_context(self._own(part, fd))
            yield fd

    @contextlib.contextmanager
    def within(self, folder: str) -> Iterator[None]:
        """Names mean those of a directory in the home, made if it is not there."""
        with self._folder(folder) as fd:
            self.fd = fd
            try:
                yield
            finally:
                self.fd = self.top

    def kind(self, name: str) -> str:
        """What has this name in the home: "a directory", "an empty directory", ... or nothing."""
        found = trees.kind(self.fd, name)
        if found != "a directory":
            return found
        try:
            with self._own(name, self.fd) as fd, os.scandir(fd) as entries:
                return found if next(entries, None) else "an empty directory"
        except PermissionError:  # closed by its owner: it is there
            return found

    def has(self, folder: trees.Folder, name: str) -> bool:
        """Whether the home has just this tree, untouched."""
        try:
            with self._own(name, self.fd) as fd:
                return trees.same(folder, fd)
        except (OSError, Unfit):
            return False

    def stage(self, folder: trees.Folder) -> trees.Stage:
        """Write a tree beside what the student works with; `place` puts it there once it lasts."""
        with self._folder(PRIVATE) as private:
            trees.tidy(private)
            return trees.stage(folder, private)

    def place(self, stage: trees.Stage, name: str, aside: str = "") -> None:
        """Put a staged tree into the home.

        Args:
            stage: of this home
            name: a free one, unless
            aside: another name is given here for what has it
        """
        with self._folder(PRIVATE) as private:
            try:
                if aside:
                    trees.move(self.fd, name, self.fd, aside)
                trees.move(private, stage.name, self.fd, name)
            except OSError:
                trees.discard(private, stage.name)
                raise
        placed = os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        if (placed.st_dev, placed.st_ino) != (stage.device, stage.inode):
            raise Unfit(f"~/{name} was exchanged while it was written")

    def give(
        self,
        folders: tuple[str, ...],
        names: Iterator[str],
        write: Callable[[int, str], None],
    ) -> str:
        """Have something written beside what the student works with, then put it into a directory of the home.

        Args:
            folders: the directory, made if it is not there
            names: the first that is free is taken
            write: makes it, in an open directory under a name

        Returns:
            the name it has.

        Raises:
            Unfit: no name is free; or something of it stays, and the sentence says where.
        """
        with self._folder(PRIVATE) as private, self._folder(*folders) as parent:
            trees.tidy(private, *LARGEST)
            stage = trees.stage_name()
            try:
                write(private, stage)
                trees.sync(private)
                for name in names:
                    with contextlib.suppress(FileExistsError):
                        trees.move(private, stage, parent, name)
                        os.fsync(parent)
                        return name
                raise Unfit("no name is free for it")
            except BaseException as error:
                gone = trees.discard(private, stage, *LARGEST)
                if gone or not isinstance(error, (OSError, Unfit)):
                    raise
                raise Unfit(f"{in_words(error)}; ~/{PRIVATE}/{stage} is left of it") from error

    def discard(self, stage: trees.Stage) -> None:
        with self._folder(PRIVATE) as private:
            trees.discard(private, stage.name)

    def write_tree(self, folder: trees.Folder, name: str, aside: str = "") -> None:
        """Stage a tree, make it last and put it into the home."""
        stage = self.stage(folder)
        trees.sync(self.fd)
        self.place(stage, name, aside)
        os.fsync(self.fd)

    @contextlib.contextmanager
    def _reached(self, folders: tuple[str, ...]) -> Iterator[int]:
        """Descriptor of a directory below the home that is there."""
        with contextlib.ExitStack() as stack:
            fd = self.top
            for folder in folders:
                fd = stack.enter_context(self._own(folder, fd))
            yield fd

    def read(
        self, folders: tuple[str, ...], name: str, most: int
    ) -> tuple[bytes, os.stat_result] | None:
        """A file of the student's own, and what it was when it was read; nothing if it is not there.

        Raises:
            Unfit: it is no plain file with one name that belongs to the student, or is larger than `most` bytes.
        """
        shown = "/".join(("~", *folders, name))
        with self._reached(folders) as parent:
            found = trees.kind(parent, name)
            if not found:
                return None
            if found != "a file":
                raise Unfit(f"{shown} is {found}; it is left alone")
            fd = os.open(name, trees.READ, dir_fd=parent)
            try:
                seen = os.fstat(fd)
                plain = stat.S_ISREG(seen.st_mode) and seen.st_uid == self.person.uid
                if not plain or seen.st_nlink != 1:
                    raise Unfit(f"{shown} is not the student's alone; it is left alone")
                data = trees.content(fd, most)
            finally:
                os.close(fd)
        if len(data) > most:
            raise Unfit(f"{shown} is larger than {most >> 20} MiB; it is left alone")
        return data, seen

    def exchange(
        self,
        folders: tuple[str, ...],
        name: str,
        data: bytes,
        old: tuple[bytes, os.stat_result],
        kept: tuple[str, ...],
    ) -> None:
        """Put a file in place of one that was read; that one is kept.

        Both change places in one step, where the file system can, and the old one is looked at only then: a program
        that had it open writes to the one that is kept.

        Args:
            folders: where the file is
            name: its name
            data: its new content
            old: what `read` said of it
            kept: directories below ~/.classhub for the old one, made if they are not there

        Raises:
            Unfit: it is another than was read; it stays as it is.
        """
        new, seen = f"{name}.new", old[1]
        with self._reached(folders) as parent, self._folder(PRIVATE, *kept) as aside:
            try:
                trees.write_file(aside, new, data, stat.S_IMODE(seen.st_mode) & 0o777, last=True)
                trees.swap(aside, new, parent, name)
            except OSError:
                self._drop(aside, new, seen)
                raise
            found = os.stat(new, dir_fd=aside, follow_symlinks=False)
            same = (found.st_dev, found.st_ino) == (seen.st_dev, seen.st_ino)
            if same and trees.same_file(aside, new, old[0]):
                trees.move(aside, new, aside, name)
                os.fsync(parent)
                os.fsync(aside)
                return
            trees.swap(aside, new, parent, name)
            raise Unfit(f"{'/'.join(('~', *folders, name))} was saved just now: say it again")

    @staticmethod
    def _drop(aside: int, new: str, seen: os.stat_result) -> None:
        """Remove what was written in vain, and never the student's file."""
        with contextlib.suppress(OSError):
            if os.stat(new, dir_fd=aside, follow_symlinks=False).st_ino != seen.st_ino:
                os.unlink(new, dir_fd=aside)

    def write_file(self, folders: tuple[str, ...], name: str, data: bytes) -> None:
        """Put a file below ~/.classhub, in place of an earlier one.

        Args:
            folders: directories below ~/.classhub, made if they are not there
            name: of the file
            data: its content
        """
        stage = trees.stage_name()
        with self._folder(PRIVATE) as private, self._folder(PRIVATE, *folders) as parent:
            try:
                trees.write_file(private, stage, data, 0o644, last=True)
                os.rename(stage, name, src_dir_fd=private, dst_dir_fd=parent)
            except OSError:
                with contextlib.suppress(OSError):
                    os.unlink(stage, dir_fd=private)
                raise
            os.fsync(parent)
