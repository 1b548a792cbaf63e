"""A semester of idle servers in fast motion: classhub's culler beside jupyterhub-idle-culler 2.0 on the same traces.

python -m bench.cull [USERS] [WEEKS] [HOURS]

Needs neither root nor the lab, but the package jupyterhub-idle-culler==2.0.0 on the path (bench/README.md). USERS (10000)
students come and go for WEEKS (15): some leave a page open, some a computation that prints nothing, some have a second,
named server. Every HOURS (12) each culler runs, with a limit of a day, against a hub of its own that speaks JupyterHub's
API (tests/support/stub_hub.py). Then both decide about USERS servers at once.
"""

import asyncio
import logging
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from tests.support.stub_hub import TOKEN, StubHub, StubServer, kernel, serving

import tests.support.hub  # noqa: F401  isort: skip

from classhub.course.settings import Person, Settings
from classhub.culling.asking import Place
from classhub.culling.policy import Case, Look, Server, before_asking, upon
from classhub.culling.rules import Rules
from classhub.culling.run import Cull

try:
    import jupyterhub_idle_culler as theirs
except ImportError:
    sys.exit("jupyterhub_idle_culler is not on the path; bench/README.md says how to put it there")

START = datetime(2030, 1, 14, tzinfo=UTC)
HOUR, DAY = 3600, 86400
FIRST_PAGE = 200  # users that a client gets that asks for no pages


class Visit(NamedTuple):
    """Somebody works for a while. All times are seconds from the start of the semester.

    Attributes:
        left: when the student goes
        done: when a computation ends that the student leaves behind; `left` if there is none
        closed: when the page is closed
    """

    start: float
    user: str
    name: str
    left: float
    done: float
    closed: float


def visits(users: int, weeks: int) -> list[Visit]:
    """The same for both, in order: three visits a week, of half an hour or some."""
    chance, found = random.Random(5), []  # noqa: S311 - the same traces each time
    for number in range(users):
        user, name = f"u{number:05}", "jobs" if chance.random() < 0.05 else ""
        now = chance.expovariate(3 / (7 * DAY))
        while now < weeks * 7 * DAY:
            left = now + chance.uniform(0.3, 3) * HOUR
            computes = chance.random() < 0.04
            done = left + chance.uniform(2, 72) * HOUR if computes else left
            stays = chance.random() < 0.15
            closed = left + chance.uniform(4, 120) * HOUR if stays else left
            found.append(Visit(now, user, name if computes else "", left, done, closed))
            now = left + chance.expovariate(3 / (7 * DAY))
    return sorted(found)


@dataclass
class Life:
    """A server from its start."""

    started: float
    used: float = 0.0
    busy: tuple[float, float] = (0.0, 0.0)
    closed: float = 0.0

    def visit(self, visit: Visit) -> None:
        self.used, self.closed = max(self.used, visit.left), max(self.closed, visit.closed)
        if visit.done > max(visit.left, self.busy[1]):
            begun = self.busy[0] if visit.left < self.busy[1] else visit.left
            self.busy = (begun, visit.done)

    def is_busy(self, now: float) -> bool:
        return self.busy[0] <= now < self.busy[1]

    def active(self, now: float) -> float:
        """By the server's own word."""
        ended = self.busy[1] if self.busy[1] <= now else 0.0
        return max(self.started, min(self.used, now), ended)

    def idles(self, now: float) -> bool:
        return not self.is_busy(now) and now - self.active(now) >= DAY


class World(StubHub):
    """A hub on the traces.

    Attributes:
        time: seconds from the start of the semester
        found: what there is to tell in the end
    """

    def __init__(self, plan: list[Visit]) -> None:
        super().__init__()
        self.plan, self.next, self.time = plan, 0, 0.0
        self.lives: dict[str, dict[str, Life]] = {}
        self.order: list[str] = []
        keys = ("stopped", "busy", "lost", "in use", "missed", "held", "cpu")
        self.found = dict.fromkeys(keys, 0.0)

    def advance(self, now: float) -> None:
        self.time = now
        while self.next < len(self.plan) and self.plan[self.next].start <= now:
            visit = self.plan[self.next]
            servers = self.lives.setdefault(visit.user, {})
            servers.setdefault(visit.name, Life(visit.start)).visit(visit)
            self.next += 1
        self.order = sorted(self.lives)

    def tally(self, hours: float) -> None:
        """What was left running that nobody uses."""
        for number, user in enumerate(self.listed("active")):
            for life in self.lives[user].values():
                if life.idles(self.time):
                    self.found["held"] += hours
                    open_page = self.time - life.closed < DAY
                    self.found["missed"] += number >= FIRST_PAGE and not open_page

    # -- as a hub

    def now(self) -> datetime:
        return START + timedelta(seconds=self.time)

    def listed(self, state: str | None) -> list[str]:
        return self.order  # who has no server is no user here

    def servers(self, user: str) -> dict[str, StubServer]:
        return {name: self.view(life) for name, life in self.lives.get(user, {}).items()}

    def view(self, life: Life) -> StubServer:
        now, active = self.time, life.active(self.time)
        when = START + timedelta(seconds=active)
        # the proxy counts the pings of a page that is open
        seen = START + timedelta(seconds=max(active, min(now, life.closed)))
        kernels = [kernel("busy" if life.is_busy(now) else "idle", when)]
        started = START + timedelta(seconds=life.started)
        return StubServer(started=started, active=seen, own=when, kernels=kernels)

    def remove(self, user: str, name: str) -> None:
        life = self.lives[user].pop(name)
        if not self.lives[user]:
            del self.lives[user]
            self.order.remove(user)
        self.found["stopped"] += 1
        self.found["in use"] += self.time < life.used
        if life.is_busy(self.time):
            self.found["busy"] += 1
            self.found["lost"] += (self.time - life.busy[0]) / HOUR

    def survey(self) -> tuple[dict[str, Place], dict]:
        places = {}
        for user, servers in self.lives.items():
            for name in servers:
                url = f"http://127.0.0.1:{self.port}/user/{user}/{name + '/' if name else ''}"
                places[f"{user}/{name}" if name else user] = Place(url, "a-token-of-its-own")
        return places, {}


# -- the two --------------------------------------------------------------------------------------


class Ours:
    """classhub's culler."""

    def __init__(self, world: World, users: int, top: Path) -> None:
        self.world = world
        (top / "token").write_text(TOKEN)
        (top / "culling").mkdir()
        people = tuple(Person(f"u{number:05}", 20000 + number) for number in range(users))
        self.settings = Settings(
            "intro",
            people,
            hub_api=world.api,
            culler_token=top / "token",
            culling_dir=top / "culling",
        )

    async def run(self, test: bool = False) -> dict[str, str]:
        engine = SimpleNamespace(survey=self.world.survey)
        return (await Cull(self.settings, test, engine, self.world.now).run()).table


class Theirs:
    """jupyterhub-idle-culler. It takes its time from `utcnow`, which is there to be replaced."""

    def __init__(self, world: World) -> None:
        self.world, self.log = world, logging.getLogger("idle-culler")
        self.log.setLevel(logging.ERROR)

    async def run(self) -> None:
        theirs.utcnow = self.world.now
        await theirs.cull_idle(self.world.api, TOKEN, DAY, self.log, concurrency=10)


def timed(run: Callable[[], Awaitable]) -> tuple[float, float]:
    """Wall seconds, and CPU seconds of this thread alone; the hub has its own."""
    wall, cpu = time.monotonic(), time.thread_time()
    asyncio.run(run())
    return time.monotonic() - wall, time.thread_time() - cpu


def semester(plan: list[Visit], users: int, weeks: int, hours: float) -> dict[str, dict]:
    """The tallies of both."""
    tallies = {}
    for side in ("classhub", "idle-culler 2.0"):
        with serving(World(plan)) as world, tempfile.TemporaryDirectory() as top:
            culler = Ours(world, users, Path(top)) if side == "classhub" else Theirs(world)
            for run in range(1, int(weeks * 7 * 24 / hours) + 1):
                world.advance(run * hours * HOUR)
                world.found["cpu"] += timed(culler.run)[1]
                world.tally(hours)
        tallies[side] = world.found
    return tallies


# -- one decision about many ----------------------------------------------------------------------


def crowd(users: int, age: float, used: float) -> list[Visit]:
    """Everybody's server, so old at the end of the tenth day, and used so long ago."""
    now = 10 * DAY
    start, left = now - age, now - used
    return [Visit(start, f"u{number:05}", "", left, left, left) for number in range(users)]


def decisions(users: int) -> dict[str, tuple[float, float]]:
    """{what: (wall, CPU)} of one decision about so many servers, of which none is stopped."""
    found = {}
    for words, age in (("started today", HOUR), ("older, all asked", 3 * DAY)):
        plan = crowd(users, age, HOUR / 2)
        with serving(World(plan)) as world, tempfile.TemporaryDirectory() as top:
            world.advance(10 * DAY)
            ours, others = Ours(world, users, Path(top)), Theirs(world)
            found[f"idle-culler 2.0, {words}"] = timed(others.run)
            found[f"classhub, {words}"] = timed(lambda ours=ours: ours.run(test=True))
            if world.found["stopped"]:
                sys.exit("somebody was stopped who should not be")
    return found


def policy(users: int) -> float:
    """CPU seconds of the decisions alone."""
    now, rules = START + timedelta(days=30), Rules()
    look = Look(now - timedelta(days=2), "", now - timedelta(days=2))
    cases = [Case(Server(f"u{number}", "", START), rules.limits()) for number in range(users)]
    began = time.thread_time()
    stopped = [before_asking(case, now) is None and upon(case, look, now).stop for case in cases]
    if not all(stopped):
        sys.exit("somebody was not stopped who should be")
    return time.thread_time() - began


ROWS = [
    ("servers stopped", "stopped", "{:.0f}"),
    ("busy servers killed", "busy", "{:.0f}"),
    ("hours of computation lost with them", "lost", "{:.0f}"),
    ("servers killed while somebody was at work", "in use", "{:.0f}"),
    ("idle servers missed beyond the first 200 users", "missed", "{:.0f}"),
    ("server-hours held by nobody for more than a day", "held", "{:.0f}"),
    ("CPU seconds of the culler, all runs", "cpu", "{:.1f}"),
]


def main(users: int = 10_000, weeks: int = 15, hours: float = 12) -> None:
    plan = visits(users, weeks)
    long = sum(visit.done - visit.left > DAY for visit in plan)
    computing = sum(visit.done > visit.left for visit in plan)
    print(f"{users} users, {weeks} weeks, a run every {hours:g} h: {len(plan)} visits,")
    print(f"{computing} computations without output, {long} of them longer than the limit of a day")
    tallies = semester(plan, users, weeks, hours)
    print(f"{'':50}" + "".join(f"{side:>18}" for side in tallies))
    for words, key, form in ROWS:
        print(
            f"{words:50}" + "".join(f"{form.format(found[key]):>18}" for found in tallies.values())
        )
    print(f"one decision about {users} servers, of which none is stopped, wall / CPU in seconds:")
    found = decisions(users)
    for words, (wall, cpu) in found.items():
        base = found["idle-culler 2.0, " + words.partition(", ")[2]]
        ratio = f"{wall / base[0]:.2f} x / {cpu / base[1]:.2f} x"
        print(f"  {words:38}{wall:8.2f} / {cpu:6.2f}   {ratio}")
    print(f"the policy alone, without a hub: {policy(users):.3f} CPU seconds")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:4]))
