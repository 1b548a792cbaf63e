"""Whether a server is stopped, and why: functions of what is known about it, and of nothing else.

The hub's own figure of the last activity is wrong both ways: the pings of a page that somebody left open count, and a
computation without output does not. So a server is stopped only upon its own word, and one that cannot be asked is
kept.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from classhub.culling.rules import Limits


class Server(NamedTuple):
    """A server as the hub knows it.

    Attributes:
        started: nothing if the hub does not say
        pending: what the hub is about to do with it, such as "spawn"; nothing if it rests
        used: when it was last used, by the hub's own figure, which culling does not believe
    """

    user: str
    name: str
    started: datetime | None
    pending: str | None = None
    ready: bool = True
    used: datetime | None = None

    @property
    def key(self) -> str:
        """How it is spoken of: `ada`, or `ada/name`."""
        return f"{self.user}/{self.name}" if self.name else self.user


class Look(NamedTuple):
    """What a server says about itself.

    Attributes:
        active: when it last was used or gave output
        busy: what keeps it busy; nothing if it is not
        ended: when a kernel was last active
        error: why it could not be asked; then nothing else is known
    """

    active: datetime | None = None
    busy: str = ""
    ended: datetime | None = None
    error: str = ""


class Seen(NamedTuple):
    """What earlier runs saw of a server.

    Attributes:
        since: it has been busy at each look from then on
        last: it was busy then
    """

    since: datetime | None = None
    last: datetime | None = None

    def after(self, look: Look, now: datetime) -> "Seen":
        """What there is to remember after another look."""
        if look.error:
            return self
        if look.busy:
            return Seen(self.since or now, now)
        return Seen(None, self.last)


@dataclass(frozen=True)
class Case:
    """A server and all that is weighed.

    Attributes:
        pinned: it is never stopped
        protection: why nothing of this person is stopped just now
        node, memory: where it runs, and the bytes that it reserves there
        pressed: more of that node's memory is reserved than is to be
    """

    server: Server
    limits: Limits
    pinned: bool = False
    protection: str = ""
    node: str = ""
    memory: int = 0
    pressed: bool = False
    seen: Seen = Seen()

    @property
    def least(self) -> timedelta:
        """What must have passed since its start, and since its last use, before it can be stopped at all."""
        idle, grace = self.limits.idle, self.limits.grace
        return min(idle, grace) if self.pressed else idle


class Decision(NamedTuple):
    """What is done with a server.

    Attributes:
        kind: why, in a word
        words: why, for people
        spare: how long it has been idle, if it may be stopped for the memory that it reserves
    """

    stop: bool
    kind: str
    words: str
    spare: timedelta | None = None


def keep(kind: str, words: str) -> Decision:
    return Decision(False, kind, words)


def before_asking(case: Case, now: datetime) -> Decision | None:
    """What needs no question; nothing if the server has to be asked."""
    server = case.server
    if server.pending:
        return keep("pending", f"pending {server.pending}")
    if not server.ready:
        return keep("pending", "not ready")
    if case.pinned:
        return keep("pinned", "pinned")
    if case.protection:
        return keep("protected", case.protection)
    if server.started is None:
        return keep("unknown", "the hub does not say since when it runs")
    if now - server.started < case.least:
        return keep("active", f"started {clock(now - server.started)} ago")
    return None


def upon(case: Case, look: Look, now: datetime) -> Decision:
    """What is done, now that the server was asked."""
    if look.error:
        return keep("unanswered", f"kept, as it cannot be asked: {look.error}")
    idle, cap, grace = case.limits
    quiet = max(now - look.active, timedelta())
    busy_for = now - (case.seen.since or now)
    if look.busy and cap and busy_for >= cap:
        return Decision(True, "cap", f"busy for {clock(busy_for)}")
    # one that is still to come was remembered while the clock was wrong
    ends = [when for when in (look.ended, case.seen.last) if when and when <= now]
    ended = max(ends, default=None)
    rested = not look.busy and (ended is None or now - ended >= grace)
    if quiet < idle:
        spare = quiet if case.pressed and rested and quiet >= grace else None
        return Decision(False, "active", f"active {clock(quiet)} ago", spare)
    if look.busy:
        return keep("busy", f"{look.busy}, idle {clock(quiet)}")
    if not rested:
        return keep("grace", f"was busy {clock(now - ended)} ago, idle {clock(quiet)}")
    return Decision(True, "idle", f"idle {clock(quiet)}")


class Room(NamedTuple):
    """A node's memory, in bytes."""

    name: str
    total: int
    reserved: int

    def presses(self, pressure: float) -> bool:
        return bool(pressure) and self.reserved > pressure * self.total


def relieve(
    cases: Sequence[Case],
    decisions: Mapping[str, Decision],
    rooms: Mapping[str, Room],
    pressure: float,
) -> dict[str, Decision]:
    """What changes about the decisions where memory is short: of each node, those that idle longest are stopped.

    Args:
        decisions: by the server's key
        rooms: by node
    """
    changed = {}
    for node, room in rooms.items():
        here = [(decisions[case.server.key], case) for case in cases if case.node == node]
        reserved = room.reserved - sum(case.memory for decision, case in here if decision.stop)
        spare = [
            (decision.spare, case) for decision, case in here if decision.spare and case.memory
        ]
        for quiet, case in sorted(spare, key=lambda pair: (-pair[0], pair[1].server.key)):
            if not room._replace(reserved=reserved).presses(pressure):
                break
            words = f"idle {clock(quiet)}, {room.name} is short of memory"
            changed[case.server.key] = Decision(True, "pressure", words)
            reserved -= case.memory
    return changed


def clock(time: timedelta) -> str:
    """A duration as hours and minutes."""
    minutes = max(int(time.total_seconds()), 0) // 60
    return f"{minutes // 60}:{minutes % 60:02}"
