"""Follows what happens to students' containers on this node, and loses none of it.

The Docker engine tells the events of the last moments again, at most 256 of them, and what is told is kept on the disk
(``_utils/classhub_spool.py``) until the hub has it. What was missed all the same, because nobody listened for long or
the engine was restarted, is made up from what the engine says of its containers, marked as such, and the time is noted.
Salt's event bus, which loses events, only carries the word that something waits: ``classhub/activity``.

Minion configuration::

    engines:
      - classhub_activity: {}
"""

import contextlib
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import salt.utils.event
from docker.errors import DockerException, NotFound
from requests.exceptions import RequestException

log = logging.getLogger(__name__)

__virtualname__ = "classhub_activity"
TAG = "classhub/activity"
LABEL = "classhub.user"
ACTIONS = ("start", "die", "oom")
RING = 256  # events that the engine tells again: moby/daemon/events/events.go
WINDOW = 5  # seconds that are listened to at once
MARGIN = 10**9  # nanoseconds by which an event may come late
LOOK = 60  # seconds between two looks at all containers
TELL = 15  # seconds between two words that something waits
PAUSE = 2  # seconds until an engine that does not answer is asked again
PID = Path("/run/docker.pid")


def __virtual__():
    return __virtualname__


def start(
    directory: str = "/var/lib/classhub/activity", docker_url: str = "unix:///var/run/docker.sock"
) -> None:
    """Follow the containers for as long as the minion lives.

    Args:
        directory: of the spool.
        docker_url: of the engine.
    """
    parent = os.getppid()
    with _alone(Path(directory)):
        watch = Watch(directory, docker_url)
        while os.getppid() == parent:  # else the minion is gone, and the next one has its own
            watch.turn()


@contextlib.contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Wait until an engine that an earlier minion left behind has ended."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(directory / "lock", "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Watch:
    """One that follows the containers.

    Args:
        directory: of the spool
        docker_url: of the engine
    """

    def __init__(self, directory: str, docker_url: str) -> None:
        self.events = __utils__["classhub_spool.event_of"]
        self.spool = __utils__["classhub_spool.opened"](directory)
        self.docker_url, self.client = docker_url, None
        self.looked = self.told = 0.0
        self.broken = False  # whether something did not work the last time

    def turn(self) -> None:
        """Catch up, listen for a while, and say that something waits."""
        try:
            if self.client is None:  # it asks the engine for its version, which may not run yet
                self.client = docker.APIClient(base_url=self.docker_url, timeout=60)
            self.catch_up()
            self.listen()
            self.broken = False
        except (DockerException, RequestException, sqlite3.Error, OSError, ValueError) as error:
            log.log(
                logging.DEBUG if self.broken else logging.WARNING,
                "the containers cannot be followed just now: %s",
                error,
            )
            self.broken = True
            time.sleep(PAUSE)
        if time.monotonic() - self.told > TELL and (waiting := self.waiting()):
            self.tell(waiting)

    def waiting(self) -> int:
        """How many events the hub does not have."""
        try:
            return self.spool.count()
        except sqlite3.Error:  # said already
            return 0

    # -- what is told again, and what is not

    def catch_up(self) -> None:
        """Put down what happened since the last event that is known, and make up what is not told any more."""
        now = time.time_ns()
        if ahead := self.spool.watched > now:  # the engine refuses to tell of the future
            log.warning("the clock was ahead; what happened since it is right may be missing")
            self.spool.set_back(now - MARGIN)
        watched = self.spool.watched
        told = list(
            self.client.events(since=_seconds(watched or now), until=_seconds(now), decode=True)
        )
        self.spool.put(map(self.events, filter(_is_ours, told)))
        life = _life_of_engine()
        known = self.spool.note("engine")
        missed = watched and (ahead or len(told) >= RING or self.broken or life != known)
        if missed:
            gap = __utils__["classhub_spool.gap"](watched, now)
            log.warning("events of %d s may be missing; looking at all containers", gap.code)
        if missed or time.monotonic() - self.looked > LOOK:
            self.look(now)
        self.spool.put([gap] if missed else [], watched=now - MARGIN)
        self.spool.write_note("engine", life)

    def look(self, now: int) -> None:
        """Compare what is known with the containers that there are."""
        there = self.client.containers(all=True, filters={"label": LABEL})
        running = {one["Id"]: one["State"] in ("running", "paused") for one in there}
        states = {}
        for name in self.spool.doubtful(running):
            with contextlib.suppress(NotFound):
                described = self.client.inspect_container(name)
                states[name] = __utils__["classhub_spool.state_of"](described)
        for event in self.spool.reconcile(running, states, now):
            log.warning("%s of %s's container was made up", event.action, event.user)
        self.looked = time.monotonic()

    # -- what happens now

    def listen(self) -> None:
        """Put down what happens, for a while."""
        began = time.time_ns()
        until = began + WINDOW * 10**9
        filters = {"type": "container", "label": LABEL, "event": list(ACTIONS)}
        stream = self.client.events(
            since=_seconds(self.spool.watched), until=_seconds(until), filters=filters, decode=True
        )
        for told in stream:
            self.spool.put([self.events(told)], watched=told["timeNano"] - MARGIN)
        if time.time_ns() < until:
            raise OSError("it ended while it was listened to")
        self.spool.put([], watched=until - MARGIN)

    def tell(self, waiting: int) -> None:
        """Say that so much waits. Through the minion, which does not wait for a master that is away."""
        self.told = time.monotonic()
        with (
            contextlib.suppress(OSError),
            salt.utils.event.get_event("minion", opts=__opts__, listen=False) as bus,
        ):
            bus.fire_master({"rows": waiting}, TAG)


def _is_ours(told: dict) -> bool:
    return (
        told.get("Type") == "container"
        and told.get("Action") in ACTIONS
        and LABEL in told["Actor"]["Attributes"]
    )


def _seconds(nanoseconds: int) -> str:
    """A time as the engine's API takes it, to the nanosecond."""
    return f"{nanoseconds // 10**9}.{nanoseconds % 10**9:09}"


def _life_of_engine() -> str:
    """What tells this run of the engine from the one before; empty if it cannot be told."""
    try:
        stat = Path(f"/proc/{int(PID.read_text())}/stat").read_text()
        return f"{stat.split()[0]} {stat.rpartition(')')[2].split()[19]}"
    except (OSError, ValueError):
        return ""
