"""Recording who uses the class: how fast events become rows, and how much room a semester takes.

python -m bench.activity [EVENTS]       with the lab: EVENTS (2000) from a node to rows of the hub's database, beside Salt's
                                        own docker_events and reactor, which start a runner for each
python -m bench.activity --size [USERS [WEEKS]]   without it: a semester of USERS (300) students and WEEKS (15), beside the
                                        table that a service writes which polls every ten minutes, with the same answers
"""

import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from lab import master
from tests.support import lab
from tests.support.waiting import wait_until

import tests.support.hub  # noqa: F401  isort: skip

from bench import common
from classhub.activity import recording, sampling
from classhub.activity.database import POLL, Database
from classhub.culling.policy import Server

HOUR, DAY = 3600, 86400
START = 1_900_000_000 // DAY * DAY


# -- room


def visits(users: int, weeks: int) -> Iterator[tuple[str, int, int, list[int]]]:
    """Each server: whose, from when to when, and when its student used it."""
    chance = random.Random(1)  # noqa: S311 - the same visits each time
    for number in range(users):
        for day in range(weeks * 7):
            if chance.random() > (0.55 if day % 7 < 5 else 0.35):
                continue
            began = START + day * DAY + chance.randrange(8 * HOUR, 22 * HOUR)
            uses, at = [], began
            for _ in range(chance.randrange(1, 4)):  # with a pause between
                for _ in range(chance.randrange(2, 20)):
                    at += chance.randrange(60, 560)
                    uses.append(at)
                at += chance.randrange(20 * 60, 2 * HOUR)
            yield f"s{number:04}", began, uses[-1] + DAY, uses  # culled after a day


def size(users: int, weeks: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        found = list(visits(users, weeks))
        ours, theirs = top / "ours.sqlite", top / "theirs.sqlite"
        with Database(ours, writes=True) as database:
            write_ours(database, found)
            database.connection.execute("vacuum")
            read = answers(database.connection)
        with closing(sqlite3.connect(theirs)) as table:
            rows = write_polls(table, found, users, weeks)
            if answers(table) != read:
                sys.exit("the answers differ")
        small, large = ours.stat().st_size, theirs.stat().st_size
        print(
            f"{users} students, {weeks} weeks, {len(found)} servers: the same people are active at the same times"
        )
        print(f"  a row for each poll and person  {large / 1e6:8.1f} MB, {rows} rows")
        print(f"  classhub                        {small / 1e6:8.2f} MB: 1/{large / small:.0f}")


def write_ours(database: Database, found: list) -> None:
    """What nodes and samples tell, in the order of time."""
    told, known, chance = [], [], random.Random(2)  # noqa: S311 - ids of containers
    for number, (user, began, ended, uses) in enumerate(found):
        container = f"{chance.getrandbits(256):064x}"
        told.append([0, container, "start", began * 10**9 + number, user, None, 0])
        told.append([0, container, "die", ended * 10**9 + number, user, 0, 0])
        known += [(at, user) for at in uses]
    recording.fault_of = lambda row: ""  # these times are to come
    recording.record(database, "node1", told)
    servers = [
        Server(user, "", None, used=datetime.fromtimestamp(at, UTC)) for at, user in sorted(known)
    ]
    sampling.note_usage(database, servers)


def write_polls(table: sqlite3.Connection, found: list, users: int, weeks: int) -> int:
    """A row for each person and poll; how many."""
    active = set()
    for user, _, _, uses in found:
        for at in uses:
            active.add((-(-(at + 1) // POLL) * POLL, user))  # the first poll after it sees it
    table.execute("create table activity (date timestamp, user text, active bool)")
    names = [f"s{number:04}" for number in range(users)]
    polls = range(START + POLL, START + weeks * 7 * DAY + DAY, POLL)
    for at in polls:
        date = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
        table.executemany(
            "insert into activity values (?, ?, ?)",
            [(date, name, (at, name) in active) for name in names],
        )
    table.commit()
    return len(polls) * users


def answers(base: sqlite3.Connection) -> tuple[list, list]:
    """How many polls saw each person, and how many people each poll saw."""
    by_person = (
        "select user, sum(active) from activity group by user having sum(active) order by user"
    )
    by_poll = (
        "select date, sum(active) from activity group by date having sum(active) order by date"
    )
    return base.execute(by_person).fetchall(), base.execute(by_poll).fetchall()


# -- speed

SPOOL = """
import sys, time
sys.path.insert(0, "/var/cache/salt/minion/extmods/utils")
import classhub_spool
count, began = int(sys.argv[1]), time.monotonic()
spool = classhub_spool.opened()
for number in range(count):
    labels = {"classhub.user": f"s{number % 50:02}"}
    told = {"Action": "oom", "Actor": {"ID": f"{int(sys.argv[2]) + number:015x}".ljust(64, "0"), "Attributes": labels}, "timeNano": time.time_ns()}
    spool.put([classhub_spool.event_of(told)], watched=told["timeNano"])
print(count / (time.monotonic() - began))
"""
RUNNER = """
import sqlite3
def record(key, action, at, path):
    base = sqlite3.connect(path, timeout=60)
    with base:
        base.execute("create table if not exists event (key text primary key, action text, at integer)")
        base.execute("insert or ignore into event values (?, ?, ?)", [key, action, at])
"""
REACTOR = """
{{% set told = data['data'] %}}
record it:
  runner.classhub_bench.record:
    - key: {{{{ (told['id'] ~ told['Action'] ~ told['timeNano']) | json }}}}
    - action: {{{{ told['Action'] | json }}}}
    - at: {{{{ told['timeNano'] }}}}
    - path: {path}
"""


def ours(count: int) -> tuple[float, float]:
    """Events a second into a node's memory, and from there to rows of the hub's database."""
    first = time.time_ns() >> 5  # as large as a container's number is
    python = "/opt/salt/bin/python"
    rate = float(lab.on("node1", python, "-c", SPOOL, str(count), str(first), timeout=600))
    began = time.monotonic()
    lab.salt_run("classhub.pull_activity")
    wait_until("all are recorded", lambda: number_of(first, count) == count, 600)
    seconds = time.monotonic() - began
    on_database("delete from event where server >= ? and server < ?", first, count)
    on_database("delete from server where id >= ? and id < ?", first, count)
    return rate, count / seconds


def number_of(first: int, count: int) -> int:
    """How many of the containers with these numbers are in the hub's database."""
    query = "select count(*) from server where id >= ? and id < ?"
    return json.loads(on_database(query, first, count))[0][0]


def on_database(statement: str, first: int, count: int) -> str:
    """Something done to the rows of these containers, in the hub's database; its rows as JSON."""
    code = (
        "import json, sqlite3, sys\nwith sqlite3.connect('/srv/stats/db/activity.sqlite', timeout=60) as base:\n"
        "    print(json.dumps(base.execute(sys.argv[1], [int(word) for word in sys.argv[2:]]).fetchall()))"
    )
    words = [statement, str(first), str(first + count)]
    return lab.on("hub", "/usr/bin/python3", "-c", code, *words)


@contextmanager
def reacting(top: Path) -> Iterator[Path]:
    """The master with a reactor that records each of docker_events' events; its database."""
    config, base = master.ETC / "master.d" / "zz-bench.conf", top / "events.sqlite"
    (top / "runners").mkdir()
    (top / "runners" / "classhub_bench.py").write_text(RUNNER)
    (top / "react.sls").write_text(REACTOR.format(path=base))
    said = {
        "reactor": [{"salt/engines/docker_events/*": [str(top / "react.sls")]}],
        "runner_dirs": [str(top / "runners")],
    }
    config.write_text(json.dumps(said))
    try:
        restart()
        yield base
    finally:
        config.unlink()
        restart()


def restart() -> None:
    master.stop()
    master.start("full")
    lab.wait_for_minions()


def theirs(count: int) -> float:
    """Events a second from the bus to rows, by docker_events' form of event, a reactor and a runner."""
    import salt.config
    import salt.utils.event

    with tempfile.TemporaryDirectory() as folder, reacting(Path(folder)) as base:
        options = salt.config.master_config(str(master.ETC / "master"))
        began = time.monotonic()
        with salt.utils.event.get_master_event(options, options["sock_dir"], listen=False) as bus:
            for number in range(count):
                told = {"id": f"{number:064x}", "Action": "start", "timeNano": time.time_ns()}
                bus.fire_event({"data": told}, "salt/engines/docker_events/start")

        def stored() -> int:
            if not base.exists():
                return 0
            with closing(sqlite3.connect(base, timeout=60)) as database:
                try:
                    return database.execute("select count(*) from event").fetchone()[0]
                except sqlite3.OperationalError:
                    return 0

        wait_until("all are stored", lambda: stored() >= count, 1800, pause=1)
        return count / (time.monotonic() - began)


def speed(count: int) -> None:
    print(common.environment())
    noted, pulled = ours(count)
    reacted = theirs(count)
    print(f"{count} events, a second:")
    print(f"  docker_events, reactor, runner: bus to row   {reacted:8.1f}")
    print(f"  classhub: event to the node's memory         {noted:8.1f}")
    print(
        f"  classhub: from there to the hub's row        {pulled:8.1f}: {pulled / reacted:.0f} x as many"
    )


def main(words: list[str]) -> None:
    if words[:1] == ["--size"]:
        users, weeks = [int(word) for word in words[1:]] + [300, 15][len(words) - 1 :]
        size(users, weeks)
        return
    if os.geteuid() != 0:
        sys.exit("the lab is root's")
    speed(int(words[0]) if words else 2000)


if __name__ == "__main__":
    main(sys.argv[1:])
