"""What a node remembers of its students' containers until the hub has it: one SQLite file.

Written by the engine classhub_activity and read by the module of that name, in processes of their own. An event is known
by its container, action and nanosecond, so that one that is told twice is one row.
"""

import logging
import sqlite3
import uuid
from collections.abc import Iterable, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)
DIRECTORY = "/var/lib/classhub/activity"
# how an event is known: it was seen; it was missed, and the engine still knew its time; it was missed, and is not later
SEEN, ASKED, BOUNDED = 0, 1, 2
SLACK = 15 * 10**9  # nanoseconds between what a container's state says and its event, at most
_SCHEMA = """
create table if not exists event (
    id integer primary key autoincrement,
    container text not null, action text not null, at integer not null,
    user text not null, code integer, estimated integer not null,
    unique (container, action, at));
create table if not exists container (
    id text primary key, user text not null, began integer not null, ended integer, seen integer not null);
create table if not exists note (key text primary key, value text not null);
"""


class Event(NamedTuple):
    """Something that happened to a student's container.

    Attributes:
        container: its id
        action: start, die or oom; gap, without a container: what happened then may be missing
        at: nanoseconds since the epoch
        user: whose it is
        code: its exit code; of a gap, how many seconds it is long
        estimated: SEEN, ASKED or BOUNDED
    """

    container: str
    action: str
    at: int
    user: str
    code: int | None = None
    estimated: int = SEEN


class State(NamedTuple):
    """A container as the engine describes it.

    Attributes:
        user: whose it is
        runs: whether it does now
        began, ended: nanoseconds since the epoch; 0: never
        code: its exit code
    """

    user: str
    runs: bool
    began: int
    ended: int
    code: int | None


class Spool:
    """The file.

    Args:
        directory: of it; made if it is not there
    """

    def __init__(self, directory: str | Path = DIRECTORY) -> None:
        Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        self.database = sqlite3.connect(
            Path(directory) / "spool.sqlite", timeout=30, check_same_thread=False
        )
        # what a crash of the host takes from the end is asked of the engine again
        self.database.executescript("pragma journal_mode=wal; pragma synchronous=normal;" + _SCHEMA)
        with self.database:
            self.database.execute(
                "insert or ignore into note values ('spool', ?)", [uuid.uuid4().hex]
            )

    def close(self) -> None:
        self.database.close()

    # -- notes

    def note(self, key: str) -> str:
        """A note; empty if there is none."""
        row = self.database.execute("select value from note where key = ?", [key]).fetchone()
        return row[0] if row else ""

    def _write_note(self, key: str, value: str) -> None:
        self.database.execute("insert or replace into note values (?, ?)", [key, value])

    def write_note(self, key: str, value: str) -> None:
        with self.database:
            self._write_note(key, value)

    @property
    def watched(self) -> int:
        """Nanoseconds since the epoch until which all events are here; 0: none ever were."""
        return int(self.note("watched") or 0)

    def set_back(self, now: int) -> None:
        """The clock was ahead, and is not any more: nothing was watched or seen after this time."""
        with self.database:
            self._write_note("watched", str(now))
            self.database.execute("update container set seen = min(seen, ?)", [now])

    # -- what happens

    def put(self, events: Iterable[Event], watched: int = 0) -> int:
        """Add events; those that are here already are not again.

        Args:
            watched: nanoseconds until which all are here now.

        Returns:
            how many are new.
        """
        new = 0
        with self.database:
            for event in events:
                new += self._put(event)
            if watched > self.watched:
                self._write_note("watched", str(watched))
        return new

    def _put(self, event: Event) -> int:
        added = self.database.execute(
            "insert or ignore into event (container, action, at, user, code, estimated) values (?, ?, ?, ?, ?, ?)",
            event,
        ).rowcount
        if event.action == "start":
            self.database.execute(
                "insert into container values (?, ?, ?, null, ?) on conflict (id) do update set"
                " began = excluded.began, ended = null, seen = excluded.seen where excluded.began > began",
                [event.container, event.user, event.at, event.at],
            )
        if event.action == "die":
            self.database.execute(
                "insert into container values (?, ?, ?, ?, ?) on conflict (id) do update set"
                " ended = excluded.ended where excluded.ended >= began",
                [event.container, event.user, event.at, event.at, event.at],
            )
        return added

    # -- what the engine says

    def doubtful(self, running: Mapping[str, bool]) -> list[str]:
        """The containers that are not as this remembers them: they must be looked at.

        Args:
            running: container -> whether it runs, of all there are
        """
        known = dict(self.database.execute("select id, ended is null from container"))
        return [name for name, runs in running.items() if known.get(name) != runs]

    def reconcile(
        self, running: Mapping[str, bool], states: Mapping[str, State], now: int
    ) -> list[Event]:
        """Make up for events that never came, and remember what runs.

        Args:
            running: container -> whether it runs, of all there are
            states: of those that are doubtful
            now: nanoseconds since the epoch until which all events that still come are here

        Returns:
            the events that were made up.
        """
        known = {
            row[0]: row[1:]
            for row in self.database.execute("select id, user, began, ended, seen from container")
        }
        made: list[Event] = []
        for name, state in states.items():
            made += _missed(name, state, known.get(name), now)
        for name, (user, _, ended, seen) in known.items():
            if name not in running and ended is None and seen < now - SLACK:
                made.append(Event(name, "die", seen, user, None, BOUNDED))
        self.put(made)
        with self.database:
            self.database.executemany(
                "update container set seen = max(seen, ?) where id = ? and ended is null",
                [(now, name) for name, runs in running.items() if runs],
            )
            self.database.executemany(
                "delete from container where id = ? and ended is not null",
                [(name,) for name in known.keys() - running.keys()],
            )
        return made

    # -- what the hub takes

    def waiting(self, limit: int) -> list[list]:
        """The oldest events that the hub does not have: [id, *event]."""
        rows = self.database.execute(
            "select id, container, action, at, user, code, estimated from event order by id limit ?",
            [limit],
        )
        return [list(row) for row in rows]

    def count(self) -> int:
        """How many events wait."""
        return self.database.execute("select count(*) from event").fetchone()[0]

    def forget(self, last: int) -> int:
        """Remove the events up to an id, as the hub has them; how many."""
        with self.database:
            return self.database.execute("delete from event where id <= ?", [last]).rowcount


def _missed(name: str, state: State, known: tuple | None, now: int) -> list[Event]:
    """What must have happened to a container for its state to be this."""
    user, began, ended, seen = known or (state.user, 0, None, 0)
    made = []
    if state.began > began + SLACK and state.began < now - SLACK:
        if known and ended is None:
            made.append(Event(name, "die", seen, user, None, BOUNDED))
        made.append(Event(name, "start", state.began, state.user, None, ASKED))
        ended = None
    elif not known:
        return []  # its events are still to come
    if not state.runs and ended is None and began - SLACK <= state.ended < now - SLACK:
        # of a process that ends at once the engine notes the end some milliseconds before the start
        at = max(state.ended, began + 1, state.began + 1)
        made.append(Event(name, "die", at, state.user, state.code, ASKED))
    return made


# -- for the loader, which gives functions alone


def opened(directory: str = DIRECTORY) -> Spool:
    """The spool. One that is damaged is put aside: what the containers say is looked at anew."""
    try:
        return Spool(directory)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # a full disk, which ends
            raise
        path = Path(directory) / "spool.sqlite"
        log.error("%s is damaged (%s), and was put aside", path, error)
        for part in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm"))):
            if part.exists():
                part.rename(f"{part}.damaged")
        return Spool(directory)


def gap(since: int, until: int) -> Event:
    """What is put down where events may be missing; both in nanoseconds since the epoch."""
    return Event("", "gap", since, "", (until - since) // 10**9)


def waiting(limit: int, directory: str = DIRECTORY) -> dict:
    """What the hub does not have: the spool's own name, which a new one changes, and its oldest rows."""
    with closing(Spool(directory)) as spool:
        return {"spool": spool.note("spool"), "rows": spool.waiting(limit)}


def forget(name: str, last: int, directory: str = DIRECTORY) -> int:
    """Remove rows that the hub has, of the spool that had them."""
    with closing(Spool(directory)) as spool:
        return spool.forget(last) if spool.note("spool") == name else 0


def state_of(described: dict) -> State:
    """A container's state, as the engine's API describes it (docker inspect)."""
    told = described["State"]
    return State(
        (described["Config"].get("Labels") or {}).get("classhub.user", ""),
        bool(told["Running"]),
        nanoseconds(told.get("StartedAt", "")),
        nanoseconds(told.get("FinishedAt", "")),
        told.get("ExitCode"),
    )


def nanoseconds(text: str) -> int:
    """A time such as 2026-11-23T00:48:15.241772027Z in nanoseconds since the epoch; 0 for none and for year 1."""
    if not text or text.startswith("0001-"):
        return 0
    whole, _, rest = text.rstrip("Z").partition(".")
    seconds = int(datetime.fromisoformat(f"{whole}+00:00").timestamp())
    return seconds * 10**9 + int((rest + "0" * 9)[:9])


def event_of(told: dict) -> Event:
    """An event of the engine's API (docker events)."""
    actor = told["Actor"]
    labels = actor["Attributes"]
    code = labels.get("exitCode")
    return Event(
        actor["ID"],
        told["Action"],
        told["timeNano"],
        labels["classhub.user"],
        int(code) if code is not None else None,
    )
