"""Submissions executed on the nodes: one Swarm service, of which each task is the container of one submission.

A plain replicated service whose tasks are never restarted, not Swarm's own kind for jobs: that leaves tasks running
when it is removed, tries for ever what a node refuses, and leaves the work of a node that went away undone. A task
mounts the directory that its slot names, and nothing else of the class. A slot reserves a part of a core, so that a
node runs as many submissions at once as it has room for, beside the students' servers.
"""

import contextlib
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from docker import APIClient
from docker.errors import APIError, DockerException
from docker.types import (
    ContainerSpec,
    DriverConfig,
    Mount,
    Placement,
    Resources,
    RestartPolicy,
    ServiceMode,
    TaskTemplate,
)
from requests.exceptions import RequestException

from classhub import tasks
from classhub.course.report import Refused, tell
from classhub.course.settings import Limits

LABEL = "classhub.grading"
NODE = "engine.labels.classhub.node==true"
CAPABILITIES = ["NET_ADMIN", "SETGID", "SETPCAP", "SETUID"]  # which the runner drops: runner.py
HICCUP = 120  # seconds in which an engine that restarts is asked again
REFUSALS = 3  # tasks that a node refused before it gets no more
SLACK = 120  # seconds beyond a submission's own limit until its task is given up
LISTED = 300  # tasks a second that the engine is asked about, at most: a list of all of them is work for it
LEAVING = 30  # seconds in which the containers of a removed service end
ENGINE_ERRORS = (DockerException, RequestException)


class Finished(NamedTuple):
    """A slot whose task has ended.

    Attributes:
        slot: from 1
        ran: whether a container ran and ended by itself; else its node refused it or went away
        words: what Swarm says of it
        stuck: whether it was given up while it ran
    """

    slot: int
    ran: bool
    words: str
    stuck: bool = False


class Nodes:
    """The class's nodes, as far as grading needs them.

    Args:
        image: what the containers run
        limits: of one container
        course: its id, by which services of a killed run are found
        engine: of the Swarm's manager
    """

    def __init__(
        self, image: str, limits: Limits, course: str, engine: APIClient | None = None
    ) -> None:
        self.image, self.limits, self.course = image, limits, course
        self.engine = engine or APIClient(base_url="unix:///var/run/docker.sock", timeout=60)
        self.refusals: dict[str, int] = {}  # by node id

    def clear(self) -> None:
        """Remove what a killed run left on the nodes.

        Raises:
            Refused: the engine does not answer.
        """
        for service in self._call("services", filters={"label": f"{LABEL}={self.course}"}):
            self._remove(service["ID"])

    def run(self, spool: Path, slots: int, runner: Path) -> Iterator[Finished]:
        """Run a task for each of the directories spool/1, spool/2, ...; yields each slot once, as its task ends.

        Ends early, with slots left, when nothing went on for as long as grading may wait for room.

        Args:
            spool: below which the directories are
            slots: how many there are
            runner: directory of runner.py

        Raises:
            Refused: the engine does not answer.
        """
        service = self._call("create_service", **self._spec(spool, slots, runner))["ID"]
        try:
            yield from self._follow(service, set(range(1, slots + 1)))
        finally:
            self._remove(service)

    def _follow(self, service: str, left: set[int]) -> Iterator[Finished]:
        began: dict[str, float] = {}  # when a task was first seen to run
        last = time.monotonic()
        told = 0.0
        while left:
            found = self._call("tasks", filters={"service": service})
            now = time.monotonic()
            for task in found:
                if task["Slot"] not in left:
                    continue
                if task["Status"]["State"] == "running":
                    began.setdefault(task["ID"], now)
                    last = now
                stuck = now - began.get(task["ID"], now) > self.limits.seconds + SLACK
                if tasks.is_alive(task) and not stuck:
                    continue
                left.discard(task["Slot"])
                last = now
                yield self._stuck(task) if tasks.is_alive(task) else self._ended(task)
            if now - last > self.limits.wait:
                tell(
                    f"autograde: no node took a submission for {self.limits.wait} s: {_why(found)}"
                )
                return
            if now - max(last, told) > 15:
                told = now
                tell(f"autograde: waiting for room on the nodes: {_why(found)}")
            if left:
                time.sleep(max(0.2, len(left) / LISTED))

    def _ended(self, task: dict) -> Finished:
        state = task["Status"]["State"]
        ran = state == "complete" or (state == "failed" and tasks.exit_code(task) not in (None, -1))
        if not ran and task.get("NodeID"):
            self.refusals[task["NodeID"]] = self.refusals.get(task["NodeID"], 0) + 1
        return Finished(task["Slot"], ran, tasks.describe(task))

    def _stuck(self, task: dict) -> Finished:
        """What does not end, by no fault of its node: code can hold up the runner, as it has the same uid."""
        words = f"did not end within {self.limits.seconds + SLACK} s"
        return Finished(task["Slot"], False, words, stuck=True)

    def _spec(self, spool: Path, slots: int, runner: Path) -> dict:
        """Arguments of docker-py's create_service."""
        limits = self.limits
        here = f"{spool}/{{{{.Task.Slot}}}}"
        container = ContainerSpec(
            self.image,
            command=["python", "/grading/runner.py"],
            args=["/submission/job", "/submission/result", "/submission/files"],
            env={"HOME": "/tmp", "USER": "submission", "LOGNAME": "submission", "LANG": "C.UTF-8"},
            user="0:0",
            workdir="/work",
            hostname="grading",
            mounts=[
                Mount("/submission", here, type="bind"),
                Mount("/var/lib/extrausers", f"{here}/nss", type="bind", read_only=True),
                Mount("/grading", str(runner), type="bind", read_only=True),
                *(self._scratch(place) for place in ("/work", "/tmp")),
            ],
            cap_drop=["ALL"],
            cap_add=CAPABILITIES,
            read_only=True,
            init=False,
            stop_grace_period=0,
            labels={LABEL: self.course},
        )
        # a file is no larger than all of them may be: the two that are on the hub's disk neither
        container["Ulimits"] = [{"Name": "fsize", "Soft": limits.disk, "Hard": limits.disk}]
        resources = Resources(
            cpu_limit=int(limits.cpus * 1e9),
            cpu_reservation=int(limits.cpus * 1e9 / limits.per_cpu),
            mem_limit=limits.memory,
            mem_reservation=limits.memory,
        )
        resources["Limits"]["Pids"] = limits.pids  # docker-py has no argument for it
        avoided = [f"node.id!={node}" for node, count in self.refusals.items() if count >= REFUSALS]
        return {
            "task_template": TaskTemplate(
                container,
                resources=resources,
                restart_policy=RestartPolicy("none"),
                placement=Placement([NODE, *avoided]),
            ),
            "name": f"grading-{secrets.token_hex(8)}",
            "labels": {LABEL: self.course},
            "mode": ServiceMode("replicated", slots),
        }

    def _scratch(self, place: str) -> Mount:
        """An empty directory in memory, as a volume: programs may be run there, of Swarm's own tmpfs they may not.

        The volume has a name, as Swarm never removes those without; what was in it is gone with its container.
        """
        disk = self.limits.disk
        options = {"type": "tmpfs", "device": "tmpfs", "o": f"size={disk},mode=1777,nosuid,nodev"}
        name = f"grading{place.replace('/', '-')}-{disk}-{{{{.Task.Slot}}}}"
        driver = DriverConfig("local", options)
        return Mount(place, name, type="volume", no_copy=True, driver_config=driver)

    def _remove(self, service: str) -> None:
        """Remove a service, and wait for the end of its containers: the next ones' scratch volumes have the same names.

        What cannot be removed now is removed by the next run; a node that is away is not waited for.
        """
        with contextlib.suppress(Refused):
            self._call("remove_service", service)
            deadline = time.monotonic() + LEAVING
            while time.monotonic() < deadline and self._has_containers(service):
                time.sleep(0.2)

    def _has_containers(self, service: str) -> bool:
        """Whether tasks of a removed service still run; Swarm does not list them by it any more."""
        there = {node["ID"] for node in self._call("nodes") if node["Status"]["State"] == "ready"}
        return any(
            task["ServiceID"] == service
            and task.get("NodeID") in there
            and task["Status"]["State"] not in tasks.DEAD
            for task in self._call("tasks")
        )

    def _call(self, method: str, *args, **kwargs):
        """Ask the engine; again, if it is not there for a while.

        Raises:
            Refused: it does not answer, or says no.
        """
        deadline = time.monotonic() + HICCUP
        while True:
            try:
                return getattr(self.engine, method)(*args, **kwargs)
            except ENGINE_ERRORS as error:
                lasting = isinstance(error, APIError) and not error.is_server_error()
                if lasting or time.monotonic() > deadline:
                    raise Refused(f"the hub's Docker engine cannot be used: {error}") from error
            time.sleep(2)


def _why(found: list[dict]) -> str:
    """What keeps tasks from running, in Swarm's words."""
    errors = {task["Status"].get("Err") for task in found if task["Status"]["State"] == "pending"}
    return "; ".join(sorted(filter(None, errors))) or "no reason is known"
