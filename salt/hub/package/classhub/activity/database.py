"""The activity database: one SQLite file, /srv/stats/db/activity.sqlite, which everybody may read who is staff.

node, person    names, once each
server          a container of a student's, on a node
event           what happened to it, and when: once, in nanoseconds since the epoch
gap             when a node's events may be missing
usage           from when to when somebody used the class, in seconds since the epoch; of one person none overlap

session         view: from when to when a server ran
activity        view: date, user, active, as the service that polled every ten minutes used to write it
"""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from classhub.course.report import Refused, tell

STATE = "class.json"  # beside the database: how the class is, for the dashboard
POLLED = "polled"  # the table `activity` of a database that the service that polled wrote, until it is taken over
POLL = 600  # seconds between two rows of a person in the view `activity`
# What each version of the database adds to the one before. Never changed once it is in use: there are databases of it.
STEPS = (
    """
    create table node (id integer primary key, name text not null unique);
    create table person (id integer primary key, name text not null unique);
    create table server (
        id integer primary key, node integer not null references node,
        person integer not null references person);
    create table event (
        server integer not null references server, at integer not null, action text not null,
        estimated integer not null, code integer, primary key (server, at, action)) without rowid;
    create table gap (
        node integer not null references node, began integer not null, ended integer not null,
        primary key (node, began)) without rowid;
    """,
    """
    create table usage (
        person integer not null references person, began integer not null, ended integer not null,
        estimated integer not null, primary key (person, began)) without rowid;
    create view session as
        select person.name as user, node.name as node, run.server, run.began, run.ended, run.code, run.estimated,
            exists (select 1 from event where event.server = run.server and action = 'oom'
                and at between run.began and coalesce(run.ended, at)) as oom
        from (
            select server, action, at as began, lead(at) over life as ended, lead(code) over life as code,
                max(estimated, coalesce(lead(estimated) over life, 0)) as estimated
            from event where action in ('start', 'die') window life as (partition by server order by at, action desc)
        ) as run
        join server on server.id = run.server join node on node.id = server.node
        join person on person.id = server.person
        where run.action = 'start';
    create view activity as
        with recursive poll (at) as (
            select min(began) / 600 * 600 + 600 from usage having count(*) > 0
            union all select at + 600 from poll where at < (select max(ended) from usage))
        select datetime(at, 'unixepoch') as date, person.name as user,
            exists (select 1 from usage where usage.person = person.id
                and began < at and ended >= at - 600) as active
        from poll join person;
    """,
    # A person's uses become one where they overlap, so the last that began before a poll tells all: the view looks for
    # that one, and not through all of a long class, while nobody could write.
    """
    create temp table joined as
        select person, min(began) as began, max(ended) as ended, max(estimated) as estimated
        from (
            select *, total(apart) over (partition by person order by began) as part
            from (
                select *, began > max(ended) over (partition by person order by began
                    rows between unbounded preceding and 1 preceding) as apart
                from usage))
        group by person, part;
    delete from usage;
    insert into usage select person, began, ended, estimated from joined;
    drop table joined;
    drop view activity;
    create view activity as
        with recursive poll (at) as (
            select min(began) / 600 * 600 + 600 from usage having count(*) > 0
            union all select at + 600 from poll where at < (select max(ended) from usage))
        select datetime(at, 'unixepoch') as date, person.name as user,
            coalesce((select ended from usage where usage.person = person.id and began < at
                order by began desc limit 1) >= at - 600, 0) as active
        from poll join person;
    """,
)
VERSION = len(STEPS)
KEYS = {  # how a name gets its number
    "node": (
        "insert or ignore into node (name) values (?)",
        "select id from node where name = ?",
    ),
    "person": (
        "insert or ignore into person (name) values (?)",
        "select id from person where name = ?",
    ),
}


class Database:
    """The file, opened.

    Args:
        path: of it
        writes: whether anything is to be written; then it is made, or brought to this version

    Raises:
        Refused: it is not there or cannot be used.
    """

    def __init__(self, path: Path, writes: bool = False) -> None:
        self.path = path
        try:
            if writes:
                _make(path)
            elif not path.exists():
                raise Refused("nothing is recorded yet: no server of a student ever ran here")
            self.connection = _connect(path, writes)
            found = self.version()
            if found != VERSION:
                self.connection.close()
                raise Refused(f"{path} is of version {found}, and this is for {VERSION}")
        except sqlite3.Error as error:
            raise Refused(f"{path} cannot be used: {error}") from error

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def version(self) -> int:
        return self.connection.execute("pragma user_version").fetchone()[0]

    def rows(self, query: str, *values: object) -> list[tuple]:
        """What a query gives."""
        return self.connection.execute(query, values).fetchall()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, or nothing.

        Raises:
            Refused: it cannot be.
        """
        try:
            with self.connection:
                self.connection.execute("begin immediate")
                yield self.connection
        except sqlite3.Error as error:
            raise Refused(f"{self.path} cannot be written: {error}") from error

    def key(self, table: str, name: str) -> int:
        """The number of a node or person, which has one from now on."""
        put, get = KEYS[table]
        self.connection.execute(put, [name])
        return self.rows(get, name)[0][0]

    # -- what is old

    def forget(self, days: int) -> int:
        """Remove what ended more than so many days ago, and who is not in it any more; how many events. 0: nothing."""
        if days <= 0:
            return 0
        before = int(time.time()) - days * 86400
        with self.writing() as connection:
            removed = connection.execute(
                "delete from event where server in (select server from event group by server having max(at) < ?"
                " and sum(action = 'die') > 0)",
                [before * 10**9],
            ).rowcount
            connection.execute("delete from usage where ended < ?", [before])
            connection.execute("delete from gap where ended < ?", [before])
            connection.execute("delete from server where id not in (select server from event)")
            connection.execute(
                "delete from person where id not in (select person from server)"
                " and id not in (select person from usage)"
            )
        return removed


def _connect(path: Path, writes: bool) -> sqlite3.Connection:
    mode = "rw" if writes else "ro"
    return sqlite3.connect(f"file:{path}?mode={mode}", uri=True, timeout=30, isolation_level=None)


def _make(path: Path) -> None:
    """Make the database, or bring one of an earlier version to this one. The polls of a seed's are kept as they were."""
    if not path.exists():
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        path.touch(mode=0o640)
    with closing(_connect(path, writes=True)) as connection:
        found = connection.execute("pragma user_version").fetchone()[0]
        if found >= VERSION:  # a newer one is refused by whoever opened it
            return
        if found:
            keep(path, f"version-{found}")
        elif has_polls(connection):
            keep(path, "polled")
            connection.execute(f"alter table activity rename to {POLLED}")
        # in one transaction with the number: it is of one version, whenever this is killed
        steps = "".join(STEPS[found:])
        connection.executescript(
            f"begin immediate; {steps} pragma user_version = {VERSION}; commit;"
        )


def has_polls(connection: sqlite3.Connection, name: str = "activity") -> bool:
    """Whether there is a table that polls were written into."""
    found = connection.execute(f"pragma table_info({name})").fetchall()
    kind = connection.execute("select type from sqlite_master where name = ?", [name]).fetchone()
    return kind == ("table",) and {column[1] for column in found} >= {"date", "user", "active"}


def keep(path: Path, why: str) -> Path:
    """Make a copy of a database beside it."""
    copy = path.with_name(f"{path.stem}.{why}.sqlite")
    with closing(_connect(path, writes=True)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o640)
    tell(f"activity: {path} as it was is in {copy}")
    return copy
