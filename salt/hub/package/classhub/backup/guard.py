"""What must hold before anything is saved or thrown away: one run at a time, the right filesystem, the right repository."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from classhub.backup import record
from classhub.backup.restic import CLASS, Absent, Restic, Snapshot
from classhub.backup.settings import Settings
from classhub.course.report import Refused, tell

PATIENCE = (
    6 * 3600
)  # seconds that a run waits for another one: a prune of a large repository takes its time
BUSY = "another run works with the repository; try again later"
HALF = (
    "a recovery was begun on this hub and not finished; say classhub.recover again, which ends it"
)


@contextmanager
def held(settings: Settings, name: str, how: int, patience: float = PATIENCE) -> Iterator[None]:
    """Hold one of the backup's two locks: `work`, of who writes to the repository, and `data`, whose exclusive holder
    throws away what the others read.

    Args:
        how: fcntl.LOCK_EX or LOCK_SH
        patience: seconds

    Raises:
        Refused: another run holds it for so long.
    """
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    fd = os.open(settings.state / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _wait(fd, how, time.monotonic() + patience)
        yield
    finally:
        os.close(fd)


def _wait(fd: int, how: int, until: float) -> None:
    told = False
    while True:
        try:
            return fcntl.flock(fd, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise Refused(BUSY) from None
        if not told:
            tell("waiting for another run that works with the repository")
        told = True
        time.sleep(0.2)


@contextmanager
def writing(settings: Settings, throwing: bool = False) -> Iterator[Restic]:
    """The repository, for one who adds to it, or throws away."""
    with (
        held(settings, "work", fcntl.LOCK_EX),
        held(settings, "data", fcntl.LOCK_EX if throwing else fcntl.LOCK_SH),
    ):
        if recovering(settings).exists():
            raise Refused(HALF)
        yield Restic(settings)


@contextmanager
def reading(settings: Settings, patience: float = PATIENCE) -> Iterator[Restic]:
    """The repository, for one who reads it."""
    with held(settings, "data", fcntl.LOCK_SH, patience):
        yield Restic(settings)


def recovering(settings: Settings) -> Path:
    """The file that is there from the beginning of a recovery to its end."""
    return settings.state / "recovering.json"


# -- the filesystem


def id_in(path: Path) -> str:
    """The id of the class's filesystem in a file; empty if there is no such file.

    Raises:
        Refused: it cannot be read.
    """
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["id"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} cannot be read: {error}") from error


def filesystem(settings: Settings) -> str:
    """The id of the class's filesystem; empty on a host that has no class yet.

    Raises:
        Refused: the homes are not those that this hub knows: nothing may be saved in their place.
    """
    marker, pinned = id_in(settings.marker), id_in(settings.pinned)
    if pinned and marker != pinned:
        raise Refused(
            f"{settings.homes} is not the class's filesystem. Is its disk mounted? Nothing was saved in its place"
        )
    if marker and not pinned:
        raise Refused(
            f"{settings.homes} has the marker of a class's filesystem, and {settings.pinned} is missing; nothing was "
            "saved. Apply the states of the hub, or restore that file"
        )
    return pinned


# -- the repository


def known(restic: Restic, ident: str) -> list[Snapshot]:
    """The snapshots of this class, which has the repository for itself.

    Args:
        ident: of the class's filesystem

    Raises:
        Absent: there is no repository.
        Refused: it is another class's.
    """
    snapshots = restic.snapshots()
    strangers = {tag for one in snapshots for tag in one.tags if tag.startswith(CLASS)}
    strangers -= {CLASS + ident}
    if strangers:
        raise Refused(
            f"{restic.settings.repository} has the backups of another class ({', '.join(sorted(strangers))}). If this "
            "hub is to be that class, it has to be recovered before it is deployed (classhub.recover); if not, give "
            "this class a repository of its own"
        )
    return snapshots


def opened(restic: Restic, ident: str, make: bool = False) -> list[Snapshot]:
    """The same, for one who writes there: it must be the repository of before.

    Args:
        make: where there never was one, make it
    """
    settings = restic.settings
    place = settings.state / "repository.json"
    before = _before(place, settings.repository)
    try:
        found = restic.identity()
    except Absent as error:
        if before:
            raise Refused(
                f"the repository {settings.repository} is not there any more. Is its disk mounted? If it is lost and "
                f"a new one shall begin, delete {place}"
            ) from error
        if not make:
            raise
        restic.run("init")
        found = restic.identity()
    if before not in ("", found):
        raise Refused(
            f"{settings.repository} is another repository than before. If that is meant, delete {place}"
        )
    snapshots = known(restic, ident)
    if not before:
        record.write(place, {"place": settings.repository, "id": found})
    return snapshots


def _before(place: Path, repository: str) -> str:
    """The id that the repository at this place had before; empty if it was never used."""
    try:
        last = json.loads(place.read_text(encoding="utf-8"))
        return last["id"] if last["place"] == repository else ""
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{place} cannot be read: {error}") from error
