"""The verb `collect`: the submissions that count, from the sealed store into nbgrader's submitted/.

Each is copied below submitted/.staging and compared with its manifest; when all of them are on the
disk, each is renamed into place. What it replaces goes to submitted/.previous. nbgrader does not see
names that start with a dot. timestamp.txt holds when the work was made, which also tells which seal a
directory came from.
"""

import ctypes
import hashlib
import json
import os
import secrets
import shutil
from argparse import Namespace
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from classhub.course import sealing
from classhub.course.ledger import private, sha256
from classhub.course.report import Refused, Report, Unfit, each
from classhub.course.settings import Person, Settings, check_assignment
from classhub.course.store import MANIFEST, Store
from classhub.course.times import Times, in_words, made_at, moment, sealed_at, times_of
from classhub.course.trees import libc, opened

# nbgrader/exchange/abc/exchange.py: timestamp_format
FORMAT = "%Y-%m-%d %H:%M:%S.%f %Z"
BLOCK = 1 << 20


class Ready(NamedTuple):
    """A copied seal, where it goes, its line of the ledger, and the line of what is there."""

    stage: Path
    target: Path
    line: dict
    there: dict | None


class Collection:
    """One run of `collect`.

    Attributes:
        submitted: username -> {seal, sealed_at, late_seconds}
        late: username -> by how much, in words
        missing: usernames of students without a submission that counts, and why
        ready: username -> what is copied and not yet in its place
    """

    def __init__(
        self, settings: Settings, store: Store, assignment: str, times: Times, test: bool
    ) -> None:
        self.settings, self.store, self.assignment = settings, store, assignment
        self.times, self.test = times, test
        self.top = settings.course_dir / "submitted"
        self.staging, self.previous = self.top / ".staging", self.top / ".previous"
        self.submitted: dict[str, dict] = {}
        self.late: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self.ready: dict[str, Ready] = {}

    def prepare(self) -> None:
        """Make the directories, and remove what a killed run left. The caller holds the store."""
        for path in (self.settings.course_dir, self.top, self.staging, self.previous):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self.staging.iterdir():
            shutil.rmtree(path)

    def collect(self, person: Person) -> str:
        """See what counts of one person, and copy it; the outcome once it is placed."""
        user, lines = person.username, self.store.ledger.of(person.username, self.assignment)
        if not lines:
            return self._miss(person, "nothing submitted")
        lines = [line for line in lines if self.times.counts(user, made_at(line))]
        if not lines:
            return self._miss(person, "submitted only after the cutoff")
        line = max(lines, key=_age)
        outcome = self._put(person, line)
        if user not in self.ready:
            self._note(user, line)
        return outcome

    def _miss(self, person: Person, why: str) -> str:
        if person.role == "student":
            self.missing[person.username] = why
        if (self.top / person.username / self.assignment).exists():
            why += "; what was collected before stays"
        return f"skipped: {why}"

    def _note(self, user: str, line: dict) -> None:
        late = self.times.late(user, made_at(line))
        self.submitted[user] = {
            "seal": line["seal"],
            "sealed_at": line["sealed_at"],
            "made_at": made_at(line).isoformat(timespec="microseconds"),
            "late_seconds": late,
        }
        if late:
            self.late[user] = in_words(late)

    def _put(self, person: Person, line: dict) -> str:
        """Copy a seal unless it, or a newer one, is there."""
        target = self.top / person.username / self.assignment
        there = self._there(person, target) if os.path.lexists(target) else None
        if there and _age(there) >= _age(line):
            if there["seal"] == line["seal"]:
                return "skipped: collected already"
            return f"skipped: the newer {there['seal']} is collected already, and stays"
        words = f"{'would collect' if self.test else 'collected'} {line['seal']}"
        if not self.test:
            self._stage(person, line, target, there)
        return f"done: {words}" + (f" in place of {there['seal']}" if there else "")

    def _there(self, person: Person, target: Path) -> dict:
        """The ledger's line of what is in submitted/.

        Raises:
            Unfit: it did not come from the store.
        """
        try:
            stamp = (target / sealing.TIMESTAMP).read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            stamp = ""
        for line in self.store.ledger.of(person.username, self.assignment):
            if timestamp(line) == stamp:
                return line
        raise Unfit(f"{target} did not come from the sealed store: move it away")

    def _stage(self, person: Person, line: dict, target: Path, there: dict | None) -> None:
        """Copy a seal to where `place` takes it from."""
        stage = self.staging / secrets.token_hex(8)
        try:
            _copy_out(self.store.place(line), stage, line)
        except BaseException:
            shutil.rmtree(stage, ignore_errors=True)
            raise
        self.ready[person.username] = Ready(stage, target, line, there)

    def place(self, table: dict[str, str]) -> None:
        """Put all that was copied into its place, once it is on the disk as a whole.

        Flushing file by file takes several times as long as the copies.

        Args:
            table: outcomes so far; those that fail here are changed.
        """
        if self.ready:
            flush(self.top)
            people = [person for person in self.settings.people if person.username in self.ready]
            placed = each("collect", people, lambda person: self._place(person.username))
            table |= {user: outcome or table[user] for user, outcome in placed.items()}
            flush(self.top)

    def _place(self, user: str) -> str:
        """Put a seal in place of what is there; killed in between, the next run puts it there."""
        ready = self.ready[user]
        ready.target.parent.mkdir(mode=0o700, exist_ok=True)
        if ready.there:
            seal = ready.there["seal"]
            aside = self.previous / user / self.assignment
            aside.mkdir(mode=0o700, parents=True, exist_ok=True)
            again = f".{secrets.token_hex(4)}" if (aside / seal).exists() else ""
            os.rename(ready.target, aside / (seal + again))
        os.rename(ready.stage, ready.target)
        self._note(user, ready.line)
        return ""


def collect(settings: Settings, assignment: str, times: Times, *, test: bool = False) -> Report:
    """Seal what is new, then collect the newest submission of each person that counts.

    Raises:
        Refused: no such assignment; the exchange or the store cannot be used.
    """
    if check_assignment(assignment) not in sealing.assignments(settings):
        raise Refused(f"there is no assignment {assignment!r}")
    sealed = sealing.seal(settings, test=test, patient=not test)
    store = Store(settings.store)
    run = Collection(settings, store, assignment, times, test)
    if test:
        return _report(run, sealed, each("collect", settings.people, run.collect))
    with store.locked():
        run.prepare()
        table = each("collect", settings.people, run.collect)
        run.place(table)
        return _report(run, sealed, table)


def _report(run: Collection, sealed: Report, table: dict[str, str]) -> Report:
    """Both halves in one: what could not be sealed is a failure of this verb as well."""
    for user, outcome in sealed.table.items():
        if outcome.startswith("failed"):
            table[user] = f"{outcome}; {table[user].removeprefix('failed: ')}"
    known = {
        line["user"] for line in run.store.ledger.lines if line["assignment"] == run.assignment
    }
    summary = {
        "submitted": run.submitted,
        "late": run.late,
        "missing": run.missing,
        "quarantined": sealed.summary["refused"],
        "unfinished": sealed.summary["unfinished"],
        "not_in_roster": sorted(known - set(run.settings.by_name)),
        "healed": sealed.summary["healed"],
        "ledger": sealed.summary["ledger"],
        "receipts_owed": sealed.summary.get("receipts_owed", {}),
    }
    return Report(table, summary)


def timestamp(line: dict) -> str:
    """When it was made, as nbgrader writes and reads it."""
    return made_at(line).astimezone(UTC).strftime(FORMAT)


def _age(line: dict) -> tuple[datetime, int]:
    return sealed_at(line), line["seq"]


def flush(place: Path) -> None:
    """Wait until all of a file system is on the disk: syncfs(2)."""
    with opened(place) as fd:
        if libc.syncfs(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(place))


def _copy_out(place: Path, stage: Path, line: dict) -> None:
    """A sealed submission as nbgrader is to find it, compared with its manifest on the way.

    Raises:
        Unfit: the store is damaged there.
    """
    raw = (place / MANIFEST).read_bytes()
    if sha256(raw) != line["manifest"]:
        raise Unfit(f"{place / MANIFEST} is not as it was sealed: run verify")
    stage.mkdir(mode=0o700)
    for name, file in json.loads(raw)["files"].items():
        if name == sealing.TIMESTAMP:
            continue
        (stage / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if _copy_file(place / "files" / name, stage / name) != file["sha256"]:
            raise Unfit(f"{place}/files/{name} is not as it was sealed: run verify")
    with open(stage / sealing.TIMESTAMP, "xb", opener=private) as file:
        file.write(timestamp(line).encode())


def _copy_file(source: Path, target: Path) -> str:
    """Copy a file of ours; its sha256."""
    digest = hashlib.sha256()
    with open(source, "rb") as old, open(target, "xb", opener=private) as new:
        while block := old.read(BLOCK):
            digest.update(block)
            new.write(block)
    return digest.hexdigest()


def run(settings: Settings, arguments: Namespace) -> Report:
    planned = times_of(settings, arguments.assignment)
    given = {
        name: moment(text, settings.timezone)
        for name, text in (("due", arguments.due), ("cutoff", arguments.cutoff))
        if text
    }
    return collect(settings, arguments.assignment, replace(planned, **given), test=arguments.test)


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("collect", help="bring the submissions that count to submitted/")
    parser.add_argument("assignment")
    parser.add_argument("--due", help="instead of the calendar's, such as 2030-01-31T23:59")
    parser.add_argument("--cutoff", help="instead of the calendar's")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(run=run)
