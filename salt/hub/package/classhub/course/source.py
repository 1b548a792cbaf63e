"""The verb `fetch-source`: assignments from a directory of the hub, or from a git repository, into source/.

Assignment by assignment: each is written beside and renamed into place as a whole. What was changed in source/
since it was last fetched is kept in source/.previous. An assignment that the place does not have stays.

    source/<assignment>/
    source/.fetched.json    what was last fetched: assignment -> a hash of its content
    source/.previous/<assignment>-<time>/
    source/.staging/        work in hand
"""

import contextlib
import fcntl
import json
import os
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

from classhub.course import repository, trees
from classhub.course.ledger import canonical, fsync_dir, sha256
from classhub.course.report import Refused, Report, Unfit, attempt, tell
from classhub.course.settings import Settings, check_assignment

FETCHED = ".fetched.json"
STAGING, PREVIOUS = ".staging", ".previous"


class Place:
    """Where assignments come from.

    Attributes:
        words: how it is spoken of
        taken: how it is said that something was taken from there
        loaders: assignment -> how its content is had
    """

    def __init__(self, words: str, taken: str, loaders: dict[str, Callable]) -> None:
        self.words, self.taken = words, taken
        self.loaders = {name: loaders[name] for name in sorted(loaders) if name[0] != "."}
        if not self.loaders:
            raise Refused(f"there is no assignment in {words}; the course keeps what it has")


@contextlib.contextmanager
def place_of(settings: Settings, test: bool) -> Iterator[Place]:
    """The place that the settings name.

    Raises:
        Refused: they name none, it cannot be reached, or nothing is in it.
    """
    if settings.source_directory:
        yield _directory(settings, Path(settings.source_directory))
    elif settings.source_git:
        with repository.fetched(settings, test) as found:
            loaders = {
                name: lambda entry=entry: found.load(entry)
                for name, entry in found.assignments().items()
            }
            yield Place(found.words, f"at {found.commit[:12]}", loaders)
    else:
        raise Refused("there is no place to fetch from: set classhub:course:source in pillar")


def _directory(settings: Settings, top: Path) -> Place:
    try:
        with os.scandir(top) as entries:
            names = [entry.name for entry in entries if entry.is_dir() or entry.is_symlink()]
    except OSError as error:
        raise Refused(f"{top} cannot be read: {error.strerror}") from error

    def load(name: str) -> trees.Folder:
        with trees.opened(top) as fd:
            found = trees.kind(fd, name)
        if found != "a directory":
            raise Unfit(f"{top / name} is {found}")
        try:
            return trees.load(top / name, settings.max_files, settings.max_bytes)
        except Refused as error:
            raise Unfit(str(error)) from error

    return Place(str(top), f"from {top}", {name: lambda name=name: load(name) for name in names})


def fingerprint(folder: trees.Folder) -> str:
    """One value for a tree's content."""

    def lines(part: trees.Folder) -> dict:
        files = {
            name: [sha256(data), executable] for name, (data, executable) in part.files.items()
        }
        folders = {name: lines(inner) for name, inner in part.folders.items()}
        return {"files": files, "folders": folders}

    return sha256(canonical(lines(folder)))


class Source:
    """The course's source/, into which assignments are put. One run at a time has it.

    Args:
        settings: of the course
        test: only tell what would be done
    """

    def __init__(self, settings: Settings, test: bool) -> None:
        self.settings, self.test = settings, test
        self.top = settings.course_dir / "source"
        self.staging, self.previous = self.top / STAGING, self.top / PREVIOUS

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Have it alone; what a killed run left in hand is removed.

        Raises:
            Refused: another run has it.
        """
        with trees.opened(self.top) as self.fd:
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Refused("another run is fetching the assignments; try again later") from None
            if not self.test:
                self.staging.mkdir(mode=0o700, exist_ok=True)
                with trees.opened(self.staging) as stages:
                    trees.tidy(stages)
            yield

    def put(self, place: Place, name: str) -> str:
        """Take one assignment; the outcome."""
        try:
            check_assignment(name)
        except Refused as error:
            raise Unfit(str(error)) from error
        folder = place.loaders[name]()
        if not folder.count:
            raise Unfit("it is empty")
        there, wanted = self._fingerprint(name), fingerprint(folder)
        if there == wanted:
            self._remember(name, wanted)
            return "skipped: is the same"
        changed = there is not None and there != self._fetched().get(name)
        aside = f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}" if changed else ""
        kept = f", what was there is in source/{PREVIOUS}/{aside}" if aside else ""
        if self.test:
            return f"done: would be taken {place.taken}{kept}"
        self._place(name, folder, aside)
        self._remember(name, wanted)
        return f"done: taken {place.taken}{kept}"

    def _fingerprint(self, name: str) -> str | None:
        """Of what is in source/: none if nothing is there, empty if it is not what a fetch can have left."""
        found = trees.kind(self.fd, name)
        if not found:
            return None
        try:
            limits = self.settings.max_files, self.settings.max_bytes
            return (
                fingerprint(trees.load(self.top / name, *limits)) if found == "a directory" else ""
            )
        except Refused:
            return ""

    def _place(self, name: str, folder: trees.Folder, aside: str) -> None:
        """Put a tree in place of what is there, which gets the name `aside` below .previous, or is removed."""
        with trees.opened(self.staging) as stages, contextlib.ExitStack() as stack:
            stage = trees.stage(folder, stages).name
            trees.sync(stages)
            if not aside:
                trees.swap(stages, stage, self.fd, name)
                if trees.kind(stages, stage):
                    trees.discard(stages, stage)
            else:
                self.previous.mkdir(mode=0o700, exist_ok=True)
                previous = stack.enter_context(trees.opened(self.previous))
                # killed here, a copy of what is fetched lies in .previous; what was there never lacks a name
                trees.move(stages, stage, previous, aside)
                trees.swap(previous, aside, self.fd, name)
            trees.sync(self.fd)

    def _fetched(self) -> dict[str, str]:
        try:
            found = json.loads((self.top / FETCHED).read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        except (OSError, ValueError):
            return {}  # then all that differs counts as changed, and is kept

    def _remember(self, name: str, content: str) -> None:
        fetched = self._fetched()
        if self.test or fetched.get(name) == content:
            return
        beside = self.top / f"{FETCHED}.new"
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(fetched | {name: content}, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, self.top / FETCHED)
        fsync_dir(self.top)


def fetch_source(settings: Settings, arguments: Namespace) -> Report:
    """Bring all assignments of the place into source/."""
    source = Source(settings, arguments.test)
    with source.locked(), place_of(settings, arguments.test) as place:
        tell(f"fetch-source: {len(place.loaders)} assignments in {place.words}")
        table = {
            name: attempt(name, lambda name: source.put(place, name)) for name in place.loaders
        }
        return Report(table, {"place": place.words, "test": arguments.test})


def take(settings: Settings, assignment: str, test: bool) -> str:
    """Bring one assignment into source/, if the course has a place where assignments come from.

    Returns:
        the outcome; empty without such a place.

    Raises:
        Refused: the place cannot be reached, or the assignment cannot be taken.
    """
    if not (settings.source_directory or settings.source_git):
        return ""
    source = Source(settings, test)
    with source.locked(), place_of(settings, test) as place:
        if assignment not in place.loaders:
            return f"skipped: is not in {place.words}"
        outcome = attempt(assignment, lambda name: source.put(place, name))
    if outcome.startswith("failed"):
        raise Refused(
            f"{assignment} cannot be taken from {place.words}: {outcome.partition(': ')[2]}"
        )
    return outcome


def add_commands(subparsers) -> None:
    parser = subparsers.add_parser("fetch-source", help="bring the assignments into source/")
    parser.add_argument("--test", action="store_true", help="tell what would be done")
    parser.set_defaults(run=fetch_source)
