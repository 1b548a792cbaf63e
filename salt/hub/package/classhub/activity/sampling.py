"""The verb `sample-activity`: who uses the class just now, and what ended without a word.

JupyterHub tells of each server when it was last used. Uses that follow each other within ten minutes are one interval.
A server that the hub does not have any more, and whose end no node told, ended when it was last used.
"""

import asyncio
import json
import os
import time
from argparse import Namespace
from collections.abc import Iterable

from classhub.activity.answers import Window, forecast, hourly, peak, shown
from classhub.activity.database import POLL, STATE, Database
from classhub.activity.progress import progress
from classhub.activity.recording import CLOSED
from classhub.activity.seed import take_own
from classhub.course.report import Report
from classhub.course.settings import Settings
from classhub.course.store import write_file
from classhub.culling.asking import connections
from classhub.culling.engine import Engine
from classhub.culling.hub import Hub
from classhub.culling.policy import Room, Server

SHOWN = 28 * 86400  # seconds of which the dashboard tells
YOUNG = (
    900  # seconds: of a server that is younger the hub may not know yet, or its node may still tell
)


async def ask_hub(settings: Settings) -> list[Server]:
    async with connections() as session:
        return await Hub(session, settings.hub_api, settings.culler_token).servers()


def sample_activity(settings: Settings, arguments: Namespace) -> Report:
    """Note who uses the class, close what ended, and write down how the class is for the dashboard."""
    servers, now = asyncio.run(ask_hub(settings)), int(time.time())
    _, rooms = Engine().survey()
    with Database(settings.activity_db, writes=True) as database:
        take_own(database)
        used = note_usage(database, servers)
        closed = close(database, {server.user for server in servers}, now)
        removed = database.forget(settings.activity_days)
        write_state(settings, state(settings, database, list(rooms.values()), now))
    return Report({}, {"servers": len(servers), "used": used, "closed": closed, "removed": removed})


def note_usage(database: Database, servers: Iterable[Server]) -> int:
    """Note when each server was last used; how many were since the last time."""
    used = 0
    with database.writing() as connection:
        for server in servers:
            if not server.used:
                continue
            person, at = database.key("person", server.user), int(server.used.timestamp())
            latest = database.rows(
                "select began, ended from usage where person = ? order by began desc limit 1",
                person,
            )
            if latest and at <= latest[0][1]:
                continue
            used += 1
            if latest and at - latest[0][1] <= POLL:
                connection.execute(
                    "update usage set ended = ? where person = ? and began = ?",
                    [at, person, latest[0][0]],
                )
            else:
                connection.execute("insert into usage values (?, ?, ?, 0)", [person, at, at])
    return used


def close(database: Database, running: set[str], now: int) -> int:
    """End the servers that are open here, old enough, and not the hub's any more; how many.

    A person has one server at a time, so one that was followed by another is over, too. Each is ended when its student
    last used it, and no later than the next one began: no hour is counted that may not have been.
    """
    opened = database.rows(
        "select server, user, began, next from (select *, lead(began) over (partition by user order by began) as next"
        " from session) where ended is null and began < ?",
        (now - YOUNG) * 10**9,
    )
    gone = [row for row in opened if row[1] not in running or row[3]]
    with database.writing() as connection:
        for server, user, began, following in gone:
            latest = following or now * 10**9
            at = max(began + 1, min(last_use(database, user, latest), latest))
            connection.execute(
                "insert or ignore into event values (?, ?, 'die', ?, null)", [server, at, CLOSED]
            )
    return len(gone)


def last_use(database: Database, user: str, before: int) -> int:
    """When the last use of the class ended that began before a time; all in nanoseconds since the epoch. 0: none did."""
    query = "select max(ended) from usage join person on person.id = person where name = ? and began < ?"
    return (database.rows(query, user, before / 10**9)[0][0] or 0) * 10**9


def state(settings: Settings, database: Database, rooms: list[Room], now: int) -> dict:
    """How the class is, for who may not look into the course or ask the engine."""
    window = Window(now - SHOWN, now)
    smallest = min((room.total for room in rooms if room.total), default=0)
    return {
        "at": now,
        "time": shown(settings, now),
        "hourly": hourly(database, settings, window, now),
        "peak": peak(database, settings, window, now),
        "forecast": forecast(database, settings, smallest, now),
        "seat": settings.seat,
        "nodes": [
            {"name": one.name, "total": one.total, "reserved": one.reserved}
            for one in sorted(rooms, key=lambda one: one.name)
        ],
        "disk": disk(settings),
        "progress": progress(settings),
        "culled": culled(settings),
    }


def disk(settings: Settings) -> dict:
    """How full the disk with the homes is, as it is written down once a minute; nothing if it is not."""
    try:
        found = json.loads(settings.disk_state.read_text(encoding="utf-8"))
        over = sum(one["over"] for one in found["people"].values())
        return {key: found[key] for key in ("size", "used", "free", "files", "files_free")} | {
            "over": over
        }
    except (OSError, ValueError, KeyError):
        return {}


def write_state(settings: Settings, found: dict) -> None:
    """Write it beside the database."""
    path = settings.activity_db.with_name(STATE)
    new = path.with_suffix(".new")
    write_file(new, json.dumps(found).encode())
    new.chmod(0o640)
    os.replace(new, path)


def culled(settings: Settings, most: int = 200) -> list[dict]:
    """The newest lines of the culler's log."""
    try:
        text = (settings.culling_dir / "culled.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    found = []
    for line in text.splitlines()[-most:]:
        try:
            found.append(json.loads(line))
        except ValueError:  # cut short by a full disk
            continue
    return found[::-1]


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("sample-activity", help="note who uses the class just now")
    parser.set_defaults(run=sample_activity)
