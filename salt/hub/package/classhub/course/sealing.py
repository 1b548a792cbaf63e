"""The verb `seal`: copy each new submission out of its student's reach, with the time and a receipt.

Takes what nbgrader's `submit` puts into a student's inbound directory: a directory
`<user>+<assignment>+<timestamp>+<random>`, the files first, then timestamp.txt and
submission_secret.txt, and mode 0777 last (nbgrader/exchange/default/submit.py). Its name and its
timestamp are the student's word, and count for nothing but telling submissions apart.
"""

import contextlib
import json
import os
import re
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from classhub.course import inbound, receipts
from classhub.course.inbound import Changed, Limits, Mark, Reader, shown
from classhub.course.ledger import private
from classhub.course.report import Refused, Report, Unfit, each
from classhub.course.settings import ASSIGNMENT, Person, Settings
from classhub.course.store import Store, content, now
from classhub.course.trees import opened

SEEN, LOOKED = ".seen.json", ".looked.json"
TIMESTAMP, SECRET = "timestamp.txt", "submission_secret.txt"
# Nothing may have changed for so many seconds: a change during the copy is then sure to give
# another change time, which the kernel counts in steps of some milliseconds.
SETTLE = 2
SETTLE_UNSURE = 60  # when `submit` did not put its last touch
ENTRIES = 1000  # in one inbound directory
PERSON_SECONDS = 30  # for one person in one run
SEALS, SHARES = 200, 4  # of one person and assignment: seals, and bytes as multiples of the limit
STAMP = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)[\w .:+-]{0,60}")


class Unfinished(Exception):
    """A submission that is being written.

    Attributes:
        wait: seconds after which it may be looked at again; nothing if that is not foreseeable
    """

    def __init__(self, text: str, wait: float | None = None) -> None:
        super().__init__(text)
        self.wait = wait


@dataclass
class Visit:
    """What was found in one person's inbound directory."""

    sealed: list[str] = field(default_factory=list)
    odd: dict[str, str] = field(default_factory=dict)
    unfinished: dict[str, str] = field(default_factory=dict)
    known: int = 0
    wait: float | None = None

    def outcome(self, test: bool) -> str:
        """The person's line of the table."""
        words = [f"{'would seal' if test else 'sealed'} {name}" for name in self.sealed]
        words += [f"{name} {why}" for name, why in self.unfinished.items()]
        if self.odd:
            words += [f"refused {name}: {why}" for name, why in self.odd.items()]
            return "failed: " + "; ".join(words)
        if self.sealed:
            return "done: " + "; ".join(words)
        return "skipped: " + ("; ".join(words) or ("nothing new" if self.known else "nothing yet"))


class Sweep:
    """One run over the inbound directories.

    Attributes:
        visits: by username
        seen: entry -> [fingerprint, seal] of what an earlier run saw sealed, so that it need not be
            read again; loss does no harm
        fresh: the same, of this run
        looked: username -> when the last run began that left nothing of this person unsealed
    """

    def __init__(self, settings: Settings, store: Store, *, test: bool = False) -> None:
        self.settings, self.store, self.test = settings, store, test
        self.students = settings.course_exchange / "students"
        self.limits = Limits(settings.max_files, settings.max_bytes)
        self.assignments = assignments(settings)
        self.visits: dict[str, Visit] = {}
        self.seen, self.fresh = _read(store, SEEN), {}
        self.looked, self.began = _read(store, LOOKED), now().isoformat(timespec="microseconds")

    def visit(self, person: Person) -> str:
        """Seal what is new of one person; the outcome."""
        earlier = self.visits.get(person.username, Visit())
        visit = self.visits[person.username] = Visit(sealed=list(earlier.sealed))
        try:
            with opened(self.students) as top, opened(person.username, top) as own:
                if not _exists("inbound", own):
                    return "skipped: nothing yet"
                with opened("inbound", own) as fd:
                    self._look_through(person, fd, visit)
        except FileNotFoundError:
            return "skipped: nothing yet"
        except NotADirectoryError:
            visit.odd["inbound"] = "is a link or no directory"
        return visit.outcome(self.test)

    def _look_through(self, person: Person, fd: int, visit: Visit) -> None:
        if os.fstat(fd).st_uid != person.uid:
            raise Unfit("the inbound directory belongs to somebody else")
        with os.scandir(fd) as found:
            names = [entry.name for entry in islice(found, ENTRIES + 1)]
        if len(names) > ENTRIES:
            names.pop()
            visit.odd["inbound"] = f"has more than {ENTRIES} entries; the others were not looked at"
        until = time.monotonic() + PERSON_SECONDS
        for name in sorted(names):
            if time.monotonic() > until:
                visit.odd["inbound"] = "took too long to read; the next run goes on"
                return
            self._take(person, fd, name, visit)

    def _take(self, person: Person, fd: int, name: str, visit: Visit) -> None:
        """Seal one entry, or note why not."""
        try:
            assignment = self._assignment(person, name)
            if self._seal(person, fd, name, assignment):
                visit.sealed.append(assignment)
            else:
                visit.known += 1
        except Unfinished as unfinished:
            visit.unfinished[shown(name)] = str(unfinished)
            visit.wait = _sooner(visit.wait, unfinished.wait)
        except Changed as changed:
            visit.odd[shown(name)] = str(changed)
            visit.wait = _sooner(visit.wait, SETTLE)
        except Unfit as error:
            visit.odd[shown(name)] = str(error)
        except OSError as error:
            visit.odd[shown(name)] = error.strerror or str(error)

    def _assignment(self, person: Person, name: str) -> str:
        """The assignment that an entry's name speaks of.

        Raises:
            Unfit: the name is not one that `submit` gives for this person.
        """
        user, _, rest = name.partition("+")
        assignment, _, stamp = rest.partition("+")
        if not inbound.is_sane(name) or not ASSIGNMENT.fullmatch(assignment):
            raise Unfit("the name is not that of a submission")
        if user != person.username:
            raise Unfit(f"claims to be from {shown(user)}")
        if not _is_stamp(stamp):
            raise Unfit("the name has no date as `submit` writes it")
        if assignment not in self.assignments:
            raise Unfit("there is no such assignment")
        return assignment

    def _seal(self, person: Person, fd: int, name: str, assignment: str) -> bool:
        """Seal one entry; whether there was something to seal."""
        if not stat.S_ISDIR(os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode):
            raise Unfit("is no directory")
        with opened(name, fd) as top:
            reader = Reader(top, person.uid, self.limits)
            marks = reader.marks()
            _check_finished(marks)
            fingerprint, last = inbound.fingerprint(marks), self._last(person, name)
            if last and (
                self.seen.get(name) == [fingerprint, last["seal"]]
                or content(reader.copy(marks, None)) == last["content"]
            ):
                self.fresh[name] = [fingerprint, last["seal"]]
                return False
            self._check_share(person, assignment, marks)
            if not self.test:
                line = self._copy(person, name, assignment, reader, marks)
                self.fresh[name] = [fingerprint, line["seal"]]
        return True

    def _last(self, person: Person, name: str) -> dict | None:
        """The newest seal of what was found under this name."""
        lines = (line for line in self.store.ledger.of(person.username) if line["source"] == name)
        return max(lines, key=lambda line: line["seq"], default=None)

    def _check_share(self, person: Person, assignment: str, marks: dict[str, Mark]) -> None:
        """Keep one person from filling the disk."""
        lines = self.store.ledger.of(person.username, assignment)
        total = sum(line["bytes"] for line in lines) + _size(marks)
        if len(lines) >= SEALS or total > SHARES * self.limits.bytes:
            raise Unfit(f"{len(lines)} submissions of {assignment} fill what one person may use")

    def _copy(
        self, person: Person, name: str, assignment: str, reader: Reader, marks: dict[str, Mark]
    ) -> dict:
        with self.store.staged() as staged:
            files = reader.copy(marks, str(staged / "files"))
            manifest = {
                "course": self.settings.course_id,
                "assignment": assignment,
                "user": person.username,
                "uid": person.uid,
                "source": name,
                "changed_at": _moment(_changed(marks)),
                "unseen_until": self.looked.get(person.username, ""),
                "files": files,
            }
            return self.store.commit(staged, manifest)

    def save(self, table: dict[str, str]) -> None:
        """Keep for the next run what need not be read again, and of whom all is sealed.

        Args:
            table: outcomes; a run that failed for somebody did not see all that was there.
        """
        clean = {
            name: self.began
            for name, visit in self.visits.items()
            if not table[name].startswith("failed") and not visit.unfinished
        }
        for name, data in ((SEEN, self.fresh), (LOOKED, self.looked | clean)):
            path = self.store.root / name
            new = path.with_suffix(".new")
            with contextlib.suppress(OSError):  # a full disk: the next run reads more
                with open(new, "w", opener=private, encoding="utf-8") as file:
                    json.dump(data, file)
                os.replace(new, path)


def assignments(settings: Settings) -> set[str]:
    """The names of the course's assignments, released or not."""
    tops = [settings.course_dir / "source", settings.course_dir / "release"]
    tops.append(settings.course_exchange / "outbound")
    return {
        path.name
        for top in tops
        if top.is_dir()
        for path in top.iterdir()
        if path.is_dir() and ASSIGNMENT.fullmatch(path.name)
    }


def seal(settings: Settings, *, test: bool = False, patient: bool = False) -> Report:
    """Seal every new submission of everybody in the roster.

    Args:
        test: only say what would be sealed.
        patient: wait a moment for submissions that were written just now.

    Raises:
        Refused: the exchange is not there, or the store is in use.
    """
    store = Store(settings.store)
    if not (settings.course_exchange / "students").is_dir():
        raise Refused(f"{settings.course_exchange}/students is not there: is /home mounted?")
    if test:
        return _report(sweep := Sweep(settings, store, test=True), _run(sweep, patient), [])
    with store.locked():
        healed = store.heal()
        sweep = Sweep(settings, store)
        table = _run(sweep, patient)
        sweep.save(table)
        report = _report(sweep, table, healed)
        receipts.deliver(settings, store, report)
    return report


def _run(sweep: Sweep, patient: bool) -> dict[str, str]:
    people = sweep.settings.people
    table = each("seal", people, sweep.visit)
    waits = {name: visit.wait for name, visit in sweep.visits.items() if visit.wait is not None}
    soon = [person for person in people if waits.get(person.username, SETTLE + 1) <= SETTLE]
    if patient and soon:
        time.sleep(max(waits[person.username] for person in soon) + 0.1)
        table |= each("seal", soon, sweep.visit)
    return table


def _report(sweep: Sweep, table: dict[str, str], healed: list[str]) -> Report:
    visits = sweep.visits.items()
    summary = {
        "sealed": sum(len(visit.sealed) for _, visit in visits),
        "refused": _listed((user, visit.odd) for user, visit in visits),
        "unfinished": _listed((user, visit.unfinished) for user, visit in visits),
        "healed": healed,
        "ledger": sweep.store.ledger.faults,
    }
    return Report(table, summary)


def _listed(found: Iterator[tuple[str, dict[str, str]]]) -> list[dict[str, str]]:
    return [
        {"user": user, "entry": entry, "reason": reason}
        for user, entries in found
        for entry, reason in entries.items()
    ]


def _check_finished(marks: dict[str, Mark]) -> None:
    """See that `submit` is done with a directory.

    Raises:
        Unfinished: it is not, or something changed only just now.
    """
    found = {name for name in (TIMESTAMP, SECRET) if name in marks and _is_file(marks[name])}
    if TIMESTAMP not in found:
        raise Unfinished("is incomplete: its submit has not ended")
    last_touch = SECRET in found and stat.S_IMODE(marks[""].mode) == 0o777
    settle = SETTLE if last_touch else SETTLE_UNSURE
    age = time.time() - _changed(marks) / 1e9
    # A time in the future is no reason to wait: then the clock was put back.
    if abs(age) < settle:
        raise Unfinished("was written just now", settle - age)


def _is_file(mark: Mark) -> bool:
    return stat.S_ISREG(mark.mode)


def _size(marks: dict[str, Mark]) -> int:
    return sum(mark.size for mark in marks.values() if _is_file(mark))


def _changed(marks: dict[str, Mark]) -> int:
    """When something in it changed last: by the file system's clock, in nanoseconds."""
    return max(mark.changed for mark in marks.values())


def _moment(nanoseconds: int) -> str:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).isoformat(timespec="microseconds")


def _is_stamp(text: str) -> bool:
    """Whether a text is a timestamp as nbgrader writes it, and what `submit` adds to it."""
    found = STAMP.fullmatch(text)
    try:
        return bool(found and datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S"))
    except ValueError:
        return False


def _exists(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((wait for wait in (one, other) if wait is not None), default=None)


def _read(store: Store, name: str) -> dict:
    try:
        data = json.loads((store.root / name).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("seal", help="seal new submissions")
    parser.add_argument("--test", action="store_true", help="only say what would be done")
    parser.set_defaults(run=lambda settings, args: seal(settings, test=args.test))
