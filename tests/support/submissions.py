"""A small course on this machine: real uids, an exchange, homes, and submissions as nbgrader leaves them."""

import dataclasses
import itertools
import json
import os
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.loading import ROOT

sys.path.insert(0, str(ROOT / "salt" / "hub" / "package"))

from classhub.course import exchange  # noqa: E402
from classhub.course.settings import Person, Settings  # noqa: E402
from classhub.course.store import Store  # noqa: E402

FIRST_UID = 28001
FILES = {"problem1.ipynb": b'{"cells": []}', "data/table.csv": b"a,b\n1,2\n"}
_random = itertools.count()


class Course:
    """A course with assignment ps1 in a directory of its own.

    Attributes:
        top: the directory; everybody may pass through it
        settings: of the course
    """

    def __init__(self, top: Path, names: list[str], **limits: int) -> None:
        self.top = top
        people = tuple(Person(name, FIRST_UID + i) for i, name in enumerate(names))
        places = {name: top / name for name in ("course_dir", "exchange", "homes")}
        # A directory for the store, so that a test can mount a small disk there.
        self.settings = Settings(
            "course101", people, store=top / "disk" / "sealed", **places, **limits
        )
        (top / "disk").mkdir(mode=0o700)
        (top / "course_dir" / "source" / "ps1").mkdir(parents=True)
        (top / "course_dir").chmod(0o700)
        (top / "homes").mkdir()
        for person in people:
            home = top / "homes" / person.username
            home.mkdir(mode=0o700)
            os.chown(home, person.uid, person.gid)
        self.lay_out()

    def lay_out(self) -> None:
        """Make the exchange."""
        assert not exchange.lay_out(self.settings).failed

    @property
    def store(self) -> Store:
        """The store as it is now."""
        return Store(self.settings.store)

    def uid(self, user: str) -> int:
        return self.settings.by_name[user].uid

    def inbound(self, user: str) -> Path:
        return self.settings.course_exchange / "students" / user / "inbound"

    def name(self, user: str, assignment: str = "ps1", stamp: str = "2026-11-23 10:00:00") -> str:
        """A name as `submit` gives it."""
        return f"{user}+{assignment}+{stamp}.123456 UTC+{next(_random):012}"

    def submit(
        self,
        user: str,
        files: dict[str, bytes] = FILES,
        name: str = "",
        *,
        own: bool = True,
        pause: float = 0,
    ) -> Path:
        """Put a submission into the inbound directory, in the order of `nbgrader submit`.

        Args:
            own: give it to the user afterwards; who acts as the user need not.
            pause: seconds after each file.
        """
        place = self.inbound(user) / (name or self.name(user))
        place.mkdir()
        for path, data in files.items():
            (place / path).parent.mkdir(parents=True, exist_ok=True)
            (place / path).write_bytes(data)
            time.sleep(pause)
        (place / "timestamp.txt").write_text("2026-11-23 10:00:00.123456 UTC")
        (place / "submission_secret.txt").write_text("5" * 128)
        if own:
            self.give(place, self.uid(user))
        return place

    def submit_as(self, user: str, files: dict[str, bytes], pause: float = 0) -> int:
        """Submit as the user, in a process of its own; its id."""
        return self.process_of(
            user, lambda: self.submit(user, files, own=False, pause=pause).chmod(0o777)
        )

    def process_of(self, user: str, act: Callable[[], object]) -> int:
        """Do something as the user, in a process of its own; its id. It ends with 1 if that fails."""
        process = os.fork()
        if process:
            return process
        try:
            self.become(user)
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)

    def become(self, user: str) -> None:
        """Be the user from now on: for a process of its own."""
        os.setgroups([])
        os.setgid(self.uid(user))
        os.setuid(self.uid(user))
        os.umask(0o022)

    def give(self, place: Path, uid: int) -> None:
        """Make a tree somebody's, with the modes that `submit` leaves."""
        for directory, _, names in os.walk(place):
            for name in names:
                os.chown(os.path.join(directory, name), uid, uid, follow_symlinks=False)
                if not os.path.islink(os.path.join(directory, name)):
                    os.chmod(os.path.join(directory, name), 0o644)
            os.chown(directory, uid, uid)
            os.chmod(directory, 0o755)
        os.chmod(place, 0o777)

    def config(self) -> str:
        """The settings in a file, for the command line."""
        names = ("course_dir", "exchange", "homes", "store")
        data = {name: str(getattr(self.settings, name)) for name in names}
        people = [dataclasses.asdict(person) for person in self.settings.people]
        path = self.top / "course.json"
        path.write_text(json.dumps(data | {"course_id": "course101", "people": people}))
        return str(path)

    def sealed(self, user: str) -> list[dict[str, bytes]]:
        """What the store holds of somebody, oldest first."""
        places = [self.store.place(line) / "files" for line in self.store.ledger.of(user)]
        return [contents(place) for place in places]

    def collected(self, user: str, assignment: str = "ps1") -> dict[str, bytes]:
        return contents(self.settings.course_dir / "submitted" / user / assignment)

    def receipts(self, user: str) -> list[Path]:
        return sorted((self.settings.homes / user / ".classhub" / "receipts").glob("*/*.json"))


def contents(place: Path) -> dict[str, bytes]:
    """All files below a directory."""
    return {
        str(path.relative_to(place)): path.read_bytes()
        for path in sorted(place.rglob("*"))
        if path.is_file()
    }


@contextmanager
def course(*names: str, kind: type[Course] = Course, **limits: int) -> Iterator[Course]:
    """A course that is gone afterwards. Not in pytest's directory: students must reach it."""
    top = Path(tempfile.mkdtemp(prefix="course-"))
    top.chmod(0o711)
    try:
        yield kind(top, list(names or ("ada", "ben", "cyn")), **limits)
    finally:
        shutil.rmtree(top)


def environment() -> dict[str, str]:
    """For a process that imports what this one can."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    """A disk of 3 MB mounted there; a file to fill it up with."""
    options = ["-t", "tmpfs", "-o", "size=3m,mode=0700"]
    subprocess.run(["mount", *options, "none", place], check=True)
    try:
        yield place / "filler"
    finally:
        subprocess.run(["umount", place], check=True)


def fill(filler: Path, left: int) -> None:
    """Fill a disk up, but for so many bytes."""
    filler.write_bytes(b"")
    found = os.statvfs(filler.parent)
    filler.write_bytes(b"\0" * max(0, found.f_bavail * found.f_bsize - left))


def alone(act: Callable[[], object]) -> object:
    """Run something in a process of its own, as a verb runs: one thread; pytest's plugins have more.

    Returns:
        What it returns; what it raises is raised here.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(reader)
        try:
            answer = (True, act())
        except BaseException as error:
            answer = (False, error)
        with os.fdopen(writer, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as file:
        data = file.read()
    os.waitpid(process, 0)
    good, answer = pickle.loads(data)
    if not good:
        raise answer
    return answer


STEPS = ("open", "mkdir", "rename", "fsync", "write", "unlink", "replace")


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Run something in a process that dies right before one of its steps on the disk.

    Args:
        step: which call of `STEPS` it does not live to make, counted from 0
        act: what to run

    Returns:
        Whether it died; it had fewer steps otherwise.
    """
    process = os.fork()
    if process == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        count = itertools.count()

        def counted(real: Callable) -> Callable:
            def call(*args, **kwargs):
                if next(count) == step:
                    os._exit(137)
                return real(*args, **kwargs)

            return call

        for name in STEPS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            act()
        except BaseException:
            os._exit(1)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, 137)
    return code == 137
