"""One run of culling.

The hub lists all servers. Those that have run long enough are asked what runs in them. What is then decided is written
down before it is done, and a server is asked once more just before it is stopped: its student may be back.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from classhub.course.report import Report
from classhub.course.settings import Settings
from classhub.course.store import now
from classhub.culling.asking import Asker, Place, connections
from classhub.culling.engine import Engine
from classhub.culling.hub import Hub, Lost
from classhub.culling.policy import (
    Case,
    Decision,
    Look,
    Room,
    Seen,
    Server,
    before_asking,
    relieve,
    upon,
)
from classhub.culling.record import Record, life
from classhub.culling.windows import Windows


class Cull:
    """One run.

    Args:
        settings: of the course
        test: only say what would be done
        engine: tells where servers run
        clock: the hub's
    """

    def __init__(
        self,
        settings: Settings,
        test: bool = False,
        engine: Engine | None = None,
        clock: Callable[[], datetime] = now,
    ) -> None:
        self.settings, self.rules, self.test, self.clock = settings, settings.cull, test, clock
        self.engine, self.record = engine or Engine(), Record(settings.culling_dir)
        self.windows = Windows(settings)
        self.places: dict[str, Place] = {}
        self.rooms: dict[str, Room] = {}
        self.seen: dict[str, Seen] = {}
        self.lost = ""  # why the hub is not asked any more

    async def run(self) -> Report:
        """Decide about every server, and do it."""
        rules = self.rules
        async with connections() as session:
            self.hub = Hub(session, self.settings.hub_api, self.settings.culler_token)
            self.asker = Asker(session, rules.concurrency, rules.timeout, self.clock)
            self.slots = asyncio.Semaphore(rules.concurrency)
            return await self._run()

    async def _run(self) -> Report:
        servers = await self.hub.servers()
        if servers:
            self.places, self.rooms = self.engine.survey()
        known = self.record.seen()
        cases = [self.case(server, known.get(life(server), Seen())) for server in servers]
        decisions = await self.decide(cases)
        decisions |= relieve(cases, decisions, self.rooms, self.rules.pressure)
        if not self.test:
            self.record.remember(self.seen)
        table = await self.act(cases, decisions)
        return Report(dict(sorted(table.items())), self.summary(decisions))

    # -- what is weighed

    def case(self, server: Server, seen: Seen) -> Case:
        person = self.settings.by_name.get(server.user)
        limits = self.rules.limits(person.role, person.section) if person else self.rules.limits()
        place = self.places.get(server.key)
        room = self.rooms.get(place.node) if place else None
        self.seen[life(server)] = seen
        return Case(
            server,
            limits,
            pinned=server.user in self.rules.pins,
            protection=self.windows.protection(server.user, self.clock()),
            node=place.node if place else "",
            memory=place.memory if place else 0,
            pressed=bool(room and room.presses(self.rules.pressure)),
            seen=seen,
        )

    async def decide(self, cases: list[Case]) -> dict[str, Decision]:
        """A decision for each server; those that must be asked for it are, beside each other."""
        now = self.clock()
        decisions = {case.server.key: before_asking(case, now) for case in cases}
        asked = [case for case in cases if not decisions[case.server.key]]
        found = await asyncio.gather(*map(self.ask, asked))
        return decisions | {case.server.key: one for case, one in zip(asked, found, strict=True)}

    async def ask(self, case: Case) -> Decision:
        # a cap counts from when a kernel was first seen busy, even if it has output all the time
        look = await self.look(case, timedelta() if case.limits.cap else case.least)
        self.seen[life(case.server)] = case.seen.after(look, self.clock())
        return upon(case, look, self.clock())

    async def look(self, case: Case, least: timedelta) -> Look:
        return await self.asker.look(self.places.get(case.server.key), least, case.limits.grace)

    # -- what is done

    async def act(self, cases: list[Case], decisions: dict[str, Decision]) -> dict[str, str]:
        """Do what was decided; the table."""
        table = {case.server.key: self.told(case, decisions[case.server.key]) for case in cases}
        if self.test:
            return table
        stopped = [case for case in cases if decisions[case.server.key].stop]
        done = await asyncio.gather(
            *(self.stop(case, decisions[case.server.key]) for case in stopped)
        )
        return table | {case.server.key: one for case, one in zip(stopped, done, strict=True)}

    def told(self, case: Case, decision: Decision) -> str:
        """A server's line in the table, before anything is done."""
        if decision.stop:
            return f"done: would be stopped, {decision.words}"
        if decision.kind == "busy" and not self.test:
            self.record.note(case.server, "kept", decision.words)
        return f"skipped: {decision.words}"

    async def stop(self, case: Case, decision: Decision) -> str:
        async with self.slots:
            return await self._stop(case, decision)

    async def _stop(self, case: Case, decision: Decision) -> str:
        if self.lost:
            return f"skipped: {self.lost}"
        again = upon(case, await self.look(case, timedelta()), self.clock())
        if not (again.stop or (decision.kind == "pressure" and again.spare is not None)):
            return f"skipped: {again.words}"
        self.record.note(case.server, "stopped", decision.words)
        try:
            outcome = await self.hub.stop(case.server)
        except Lost as error:
            self.lost = str(error)
            outcome = f"failed: {error}"
        if not outcome.startswith("done"):
            self.record.note(case.server, "not stopped", outcome)
        return f"{outcome}, {decision.words}"

    def summary(self, decisions: dict[str, Decision]) -> dict:
        """What the table has, in short."""
        kinds = Counter(decision.kind for decision in decisions.values())
        unanswered = sorted(key for key, one in decisions.items() if one.kind == "unanswered")
        found = {
            "test": self.test,
            "reasons": dict(sorted(kinds.items())),
            "unanswered": unanswered,
        }
        if self.rules.pressure:
            rooms = self.rooms.values()
            found["reserved"] = {
                room.name: round(room.reserved / room.total, 3) for room in rooms if room.total
            }
        return found
