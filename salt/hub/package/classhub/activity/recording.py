"""The verb `record-activity`: what nodes told of their containers, put into the database once.

A node is believed about its own containers and about nothing else; what it tells has the one form that is known here,
or is left out with a word.
"""

import json
import re
import sys
import time
from argparse import Namespace
from collections import Counter

from classhub.activity.database import Database
from classhub.course.report import Refused, Report, Unfit, tell
from classhub.course.settings import USERNAME, Settings

ACTIONS = ("start", "die", "oom")
CONTAINER = re.compile(r"[0-9a-f]{64}")
DIGITS = 15  # of a container's id, by which it is known: as many as a row's own number can have
EARLIEST = 1_577_836_800 * 10**9  # 2020: no clock of a node that can be believed is before it
AHEAD = 3600 * 10**9  # nanoseconds by which a node's clock may be ahead
NEAR = 30 * 10**9  # nanoseconds between an event and what was made up for it, at most
HOW = (0, 1, 2)  # see _utils/classhub_spool.py: seen, asked, bounded
CLOSED = 3  # how an end is known that no node told: the hub does not have the server any more


def record_activity(settings: Settings, arguments: Namespace) -> Report:
    """Write what nodes told, which is on the standard input: node -> rows."""
    try:
        told = json.load(sys.stdin)
        batches = {str(node): list(rows) for node, rows in told.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise Refused(f"what nodes told is none that is known here: {error!r}") from error
    with Database(settings.activity_db, writes=True) as database:
        counts = {node: record(database, node, rows) for node, rows in sorted(batches.items())}
    table = {node: in_words(count) for node, count in counts.items()}
    new = sum(count["new"] for count in counts.values())
    return Report(table, {"new": new})


def record(database: Database, node: str, rows: list) -> Counter:
    """Write one node's rows: all, or none if that is not possible.

    Returns:
        how many are ``new``, ``known`` already and ``odd``.
    """
    counts: Counter[str] = Counter(new=0)
    with database.writing():
        key = database.key("node", node)
        for row in rows:
            try:
                counts["new" if _put(database, key, row) else "known"] += 1
            except Unfit as error:
                tell(f"activity: {node} told something odd: {error}")
                counts["odd"] += 1
    return counts


def in_words(count: Counter) -> str:
    """An outcome. Rows that are left out are a failure: their node forgets them, and nobody tells them again."""
    words = [f"{count['new']} new"]
    words += [f"{count[kind]} {kind}" for kind in ("known", "odd") if count[kind]]
    return f"{'failed' if count['odd'] else 'done'}: {', '.join(words)}"


def fault_of(row: object) -> str:
    """What is wrong with a row; empty if nothing is."""
    if not isinstance(row, list) or len(row) != 7:
        return "not a row"
    _, container, action, at, user, code, how = row
    numbers = (at, how) if code is None else (at, how, code)
    if any(type(number) is not int for number in numbers):
        return "a number is none"
    if not EARLIEST < at < time.time_ns() + AHEAD:
        return f"its time is {at}"
    if how not in HOW or abs(code or 0) > 1 << 31:
        return "a number is out of range"
    if action == "gap":
        return "" if container == "" and (code or -1) >= 0 else "not a gap"
    if action not in ACTIONS:
        return f"{str(action)[:40]!r} is no action"
    if not isinstance(container, str) or not CONTAINER.fullmatch(container):
        return "not a container"
    if not isinstance(user, str) or not USERNAME.fullmatch(user):
        return "not a username"
    return ""


def _put(database: Database, node: int, row: list) -> bool:
    """Write one row; whether it is new.

    Raises:
        Unfit: it cannot be true.
    """
    if fault := fault_of(row):
        raise Unfit(fault)
    _, container, action, at, user, code, how = row
    write = database.connection.execute
    if action == "gap":
        began = at // 10**9
        return bool(
            write(
                "insert or ignore into gap values (?, ?, ?)", [node, began, began + code]
            ).rowcount
        )
    server = _server(database, node, container, user)
    if action == "die":  # its node knows it better than who only missed the server
        write("delete from event where server = ? and estimated = ?", [server, CLOSED])
    near = [server, action, at - NEAR, at + NEAR]
    if how and database.rows(
        "select 1 from event where server = ? and action = ? and at between ? and ?", *near
    ):
        return False  # it came after all
    if not how:  # in place of what was made up for it
        write(
            "delete from event where server = ? and action = ? and at between ? and ? and estimated",
            near,
        )
    values = [server, at, action, how, code]
    return bool(write("insert or ignore into event values (?, ?, ?, ?, ?)", values).rowcount)


def _server(database: Database, node: int, container: str, user: str) -> int:
    server = int(container[:DIGITS], 16)
    known = database.rows("select node from server where id = ?", server)
    if not known:
        values = [server, node, database.key("person", user)]
        database.connection.execute("insert into server values (?, ?, ?)", values)
    elif known[0][0] != node:
        raise Unfit("the container is another node's")
    return server


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "record-activity", help="write what nodes told, from the standard input"
    )
    parser.set_defaults(run=record_activity)
