"""The verb `prove`: a student of the class's own starts a server, runs a cell and submits; it is sealed and collected.

The student is the account `classhub-probe`, which is on no roster and signs in nowhere. It goes the way of all others:
proxy, hub, Swarm, node, home, exchange. What it submits is sealed and collected into a store of its own, so that nothing
of it comes into the course.
"""

import asyncio
import contextlib
import json
import os
import pwd
import shutil
import time
import uuid
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import aiohttp

from classhub.course import collecting, exchange, trees
from classhub.course.report import Refused, Report, Unfit
from classhub.course.settings import Person, Settings
from classhub.course.times import Times
from classhub.doctor.page import Page, token

PROBE = "classhub-probe"
PLACE = Path("/var/lib/classhub/doctor")
ASSIGNMENT = "classhub-proof"
MARK = "proof.txt"
START_SECONDS, STOP_SECONDS = 180, 60
# what the student does: nbgrader submits from a directory that the exchange has as released, here one of its own, so that
# nobody else is shown the assignment
CELL = """
import json, os, pathlib, shutil, subprocess, sys
home, scratch = pathlib.Path.home(), pathlib.Path("/tmp/proof")
course = os.environ["CLASSHUB_COURSE"]
work = home / {assignment!r}
shutil.rmtree(work, ignore_errors=True)
work.mkdir()
(work / {mark!r}).write_text({nonce!r})
(work / "proof.ipynb").write_text({notebook!r})
shutil.rmtree(scratch, ignore_errors=True)
shutil.copytree(work, scratch / course / "outbound" / {assignment!r})
(scratch / course / "inbound").symlink_to(pathlib.Path("/srv/nbgrader/exchange") / course / "inbound")
done = subprocess.run(
    [sys.executable, "-m", "nbgrader", "submit", {assignment!r}, f"--Exchange.root={{scratch}}"],
    cwd=home, capture_output=True, text=True,
)
shutil.rmtree(work)
print(json.dumps({{"uid": os.getuid(), "product": 6 * 7, "submitted": done.returncode, "told": done.stderr[-500:]}}))
"""
NOTEBOOK = json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


@dataclass
class Proof:
    """One proof.

    Attributes:
        checks: {check, result, told, todo} of each step that was tried
    """

    settings: Settings
    probe: Person
    nonce: str = field(default_factory=lambda: uuid.uuid4().hex)
    checks: list[dict[str, str]] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str, todo: str) -> Iterator[list[str]]:
        """One step, which puts what it found into a list.

        Args:
            todo: what to do if it fails

        Raises:
            Unfit: it failed, so the next cannot be tried.
        """
        began, found, result = time.monotonic(), [], "ok"
        try:
            yield found
        except (Unfit, Refused, OSError) as error:
            found, result = [str(error)], "failed"
        told = f"{''.join(found)} ({time.monotonic() - began:.1f} s)"
        said = {"check": name, "result": result, "told": told}
        self.checks.append(said | {"todo": "" if result == "ok" else todo})
        if result != "ok":
            raise Unfit(name)

    def run(self) -> None:
        """All steps, up to the first that fails; the server is stopped in any case.

        Raises:
            Unfit: a step failed, and has told it.
        """
        asyncio.run(self.use_server())
        # by itself: the course's code becomes the student for a moment, which it does only where nothing else runs
        with self.step(
            "submission is sealed and collected",
            "systemctl status classhub-sweep on the hub; salt hub classhub.verify",
        ) as found:
            found.append(self.collect())

    async def use_server(self) -> None:
        """Start a server, work in it, and stop it."""
        # the default one, aiodns, leaves a thread behind
        connector = aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver())
        async with aiohttp.ClientSession(connector=connector) as session:
            page = Page(session, self.settings.hub_proxy, token(self.settings.doctor_token), PROBE)
            try:
                with self.step(
                    "server starts",
                    "see docs/howto/look-for-a-fault.md; `journalctl -u jupyterhub` on the hub has the details",
                ) as found:
                    found.append(await self.start(page))
                with self.step(
                    "cell runs and submits",
                    "start a server yourself and look; the log of the container is in `docker logs` on its node",
                ) as found:
                    found.append(await self.work(page))
            finally:
                with self.step(
                    "server stops", "salt hub classhub_swarm.stop classhub-probe"
                ) as found:
                    found.append(await _stop(page))

    async def start(self, page: Page) -> str:
        laid = exchange.lay_out(self.settings)
        if laid.failed:
            raise Unfit(f"the exchange cannot be laid out: {laid.table[PROBE]}")
        await _stop(page)  # one that a proof left which was killed
        await page.start(START_SECONDS)
        return "a server is ready"

    async def work(self, page: Page) -> str:
        code = CELL.format(assignment=ASSIGNMENT, mark=MARK, nonce=self.nonce, notebook=NOTEBOOK)
        shown = await page.run(code)
        try:
            said = json.loads(shown)
        except ValueError:
            raise Unfit(f"the cell printed {shown[-200:]!r}") from None
        if said["uid"] != self.probe.uid:
            raise Unfit(f"the server runs as uid {said['uid']}, and not as {self.probe.uid}")
        if said["submitted"] != 0:
            raise Unfit(f"nbgrader submit ended {said['submitted']}: {said['told']}")
        return f"6 * 7 is {said['product']}, and nbgrader submits"

    def collect(self) -> str:
        """Seal and collect by the course's own code; what arrives must be what the cell wrote."""
        report = collecting.collect(self.settings, ASSIGNMENT, Times())
        place = self.settings.course_dir / "submitted" / PROBE / ASSIGNMENT / MARK
        if report.failed:
            raise Unfit(report.table[PROBE].removeprefix("failed: "))
        try:
            found = place.read_text(encoding="utf-8")
        except OSError:
            raise Unfit(f"nothing was collected: {report.table[PROBE]}") from None
        if found != self.nonce:
            raise Unfit("what was collected is not what was submitted")
        return "what arrived is what was submitted"


async def _stop(page: Page) -> str:
    try:
        await asyncio.wait_for(page.stop(), STOP_SECONDS)
    except TimeoutError:
        raise Unfit(f"it still stops after {STOP_SECONDS} s") from None
    return "it is gone"


def own(settings: Settings) -> tuple[Settings, Person]:
    """The class's settings with the probe alone, and a course of its own.

    Raises:
        Refused: the hub has no such account.
    """
    try:
        uid = pwd.getpwnam(PROBE).pw_uid
    except KeyError:
        raise Refused(f"the hub has no account {PROBE}; apply the states of the hub") from None
    probe = Person(PROBE, uid)
    course = PLACE / "course"
    return (
        replace(
            settings,
            people=(probe,),
            course_dir=course,
            store=PLACE / "sealed",
            welcomed=PLACE / "welcomed.json",
            assignments={},
        ),
        probe,
    )


def prove(settings: Settings, arguments: Namespace) -> Report:
    """Go a student's way once. The table is empty: nobody of the class takes part."""
    mine, probe = own(settings)
    with alone():
        clear(mine)
        (mine.course_dir / "source" / ASSIGNMENT).mkdir(parents=True)
        proof = Proof(mine, probe)
        try:
            with contextlib.suppress(Unfit):  # the step that failed has told it
                proof.run()
        finally:
            clear(mine)
    return Report({}, {"checks": proof.checks})


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Be the only proof.

    Raises:
        Refused: another one runs.
    """
    PLACE.mkdir(mode=0o700, parents=True, exist_ok=True)
    with trees.opened(PLACE) as fd:
        trees.hold(fd, "another proof runs just now")
        yield


def clear(settings: Settings) -> None:
    """Take away what a proof left, here and in the exchange."""
    for path in (settings.course_dir, settings.store):
        shutil.rmtree(path, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
        fd = stack.enter_context(trees.opened(settings.course_exchange))
        for name in ("students", PROBE, "inbound"):
            fd = stack.enter_context(trees.opened(name, fd))
        for name in os.listdir(fd):
            trees.discard(fd, name)


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("prove", help="go a student's way once, with an own student")
    parser.set_defaults(run=prove)
