"""The nodes that submissions are executed on, as the engine of a Swarm's manager shows them."""

import dataclasses
from pathlib import Path

import pytest
from docker.errors import APIError
from requests import ConnectionError, Response

from tests.support import submissions  # noqa: F401 - puts the package on the path

from classhub.course.report import Refused  # isort: skip
from classhub.course.settings import Limits
from classhub.grading import nodes
from classhub.grading.nodes import Finished, Nodes

SPOOL, RUNNER = (
    Path("/home/.classhub/grading/ps1-1/1"),
    Path("/home/.classhub/grading/ps1-1/runner"),
)


def task(slot, state, *, wanted="running", code=None, error="", node="n1"):
    status = {"State": state, "Err": error, "ContainerStatus": {"ExitCode": code}}
    if code is None:
        del status["ContainerStatus"]
    return {
        "ID": f"t{slot}",
        "Slot": slot,
        "NodeID": node,
        "DesiredState": wanted,
        "Status": status,
    }


class Engine:
    """An engine that shows one list of tasks after the other; the last one stays.

    Attributes:
        ending: all tasks of the Swarm, each time that one asks for them, once the service is removed
    """

    def __init__(self, *shown):
        self.shown, self.said, self.ending = list(shown), [], []

    def create_service(self, **spec):
        self.said.append(("create", spec))
        return {"ID": "s1"}

    def services(self, filters):
        return [{"ID": "left"}] if filters == {"label": "classhub.grading=intro"} else []

    def remove_service(self, service):
        self.said.append(("remove", service))

    def nodes(self):
        states = {"n1": "ready", "n2": "down"}
        return [{"ID": name, "Status": {"State": state}} for name, state in states.items()]

    def tasks(self, filters=None):
        if filters is None:
            assert self.said[-1][0] == "remove"
            return self.ending.pop(0) if self.ending else []
        assert filters == {"service": "s1"}
        found = self.shown.pop(0) if len(self.shown) > 1 else self.shown[0]
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that goes on by what is slept."""
    now = [0.0]
    monkeypatch.setattr(nodes.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(nodes.time, "sleep", lambda pause: now.__setitem__(0, now[0] + pause))
    return now


def made(engine, **limits):
    return Nodes("image", dataclasses.replace(Limits(), **limits), "intro", engine)


def run(engine, slots, **limits):
    return list(made(engine, **limits).run(SPOOL, slots, RUNNER))


def test_each_slot_comes_once_as_its_task_ends():
    engine = Engine(
        [],
        [task(1, "running"), task(2, "pending")],
        [task(1, "complete", wanted="shutdown", code=0), task(2, "running")],
        [
            task(1, "complete", wanted="shutdown", code=0),
            task(2, "failed", wanted="shutdown", code=137),
        ],
    )
    found = run(engine, 2)
    assert [(one.slot, one.ran) for one in found] == [(1, True), (2, True)]
    assert "exit code 137" in found[1].words
    assert engine.said[-1] == ("remove", "s1")


LOST = [
    task(1, "rejected", wanted="shutdown", error="invalid mount config"),
    task(1, "running", wanted="shutdown"),  # its node went away
    task(1, "orphaned", wanted="shutdown"),
    task(1, "failed", wanted="shutdown", error="no such image"),
    task(1, "failed", wanted="shutdown", code=-1, error="starting container failed"),
]


@pytest.mark.parametrize("ended", LOST)
def test_what_did_not_run_to_its_end_is_told_so(ended):
    assert run(Engine([ended]), 1) == [Finished(1, False, nodes.tasks.describe(ended))]


def test_a_node_that_refuses_gets_no_more():
    engine = Engine([task(slot, "rejected", wanted="shutdown") for slot in (1, 2, 3)])
    found = made(engine)
    list(found.run(SPOOL, 3, RUNNER))
    list(found.run(SPOOL, 3, RUNNER))
    first, second = (spec for word, spec in engine.said if word == "create")
    assert first["task_template"]["Placement"]["Constraints"] == [nodes.NODE]
    assert second["task_template"]["Placement"]["Constraints"] == [nodes.NODE, "node.id!=n1"]


def test_what_no_node_has_room_for_is_left_after_a_while(capsys):
    engine = Engine([task(1, "pending", error="insufficient resources on 2 nodes", node="")])
    assert run(engine, 1, wait=60) == []
    told = capsys.readouterr().err
    assert "waiting for room on the nodes: insufficient resources on 2 nodes" in told
    assert "no node took a submission for 60 s" in told


def test_a_long_queue_is_waited_for_as_long_as_it_moves():
    running = [task(1, "running"), task(2, "pending", node="")]
    ended = [task(1, "complete", wanted="shutdown", code=0), task(2, "pending", node="")]
    last = [ended[0], task(2, "complete", wanted="shutdown", code=0)]
    found = run(Engine(*[running] * 400, *[ended] * 200, last), 2, wait=60)
    assert [one.slot for one in found] == [1, 2]


def test_a_task_that_never_ends_is_given_up():
    engine = made(Engine([task(1, "running")]), seconds=10)
    found = list(engine.run(SPOOL, 1, RUNNER))
    assert found == [Finished(1, False, "did not end within 130 s", stuck=True)]
    assert engine.refusals == {}, "it is not its node's fault"


def test_the_containers_of_a_removed_service_are_waited_for(clock):
    """Else one that was given up shares /work with the next one of its slot."""
    engine = Engine([task(1, "complete", wanted="shutdown", code=0)])
    left = task(7, "running", wanted="remove") | {"ServiceID": "s1"}
    away = task(7, "running", wanted="remove", node="n2") | {"ServiceID": "s1"}
    other = task(1, "running") | {"ServiceID": "jupyter-ada"}
    engine.ending = [[left, away, other], [left, away, other], [away, other]]
    run(engine, 1)
    assert engine.ending == []
    engine.ending = [[left]] * 1000
    began = clock[0]
    run(engine, 1)
    assert nodes.LEAVING <= clock[0] - began < nodes.LEAVING + 2


def error(status):
    response = Response()
    response.status_code = status
    return APIError("no", response=response)


def test_an_engine_that_restarts_is_asked_again():
    ended = [task(1, "complete", wanted="shutdown", code=0)]
    assert len(run(Engine(error(500), ConnectionError(), error(503), ended), 1)) == 1


def test_an_engine_that_is_not_there_or_says_no_is_refused(clock):
    with pytest.raises(Refused, match="Docker engine cannot be used"):
        run(Engine(error(500)), 1)
    assert clock[0] > nodes.HICCUP
    with pytest.raises(Refused, match="Docker engine cannot be used"):
        run(Engine(error(404)), 1)
    assert clock[0] < 2 * nodes.HICCUP


def test_what_a_killed_run_left_is_removed():
    engine = Engine([])
    made(engine).clear()
    assert engine.said == [("remove", "left")]


def test_a_submission_is_closed_in():
    engine = Engine([task(1, "complete", wanted="shutdown", code=0)])
    run(engine, 1, memory=1 << 28, disk=1 << 20, cpus=1.0, per_cpu=2, pids=64)
    ((_, spec), _) = engine.said
    template = spec["task_template"]
    container, resources = template["ContainerSpec"], template["Resources"]
    assert container["ReadOnly"] is True
    assert container["CapabilityDrop"] == ["ALL"]
    assert set(container["CapabilityAdd"]) == {"NET_ADMIN", "SETGID", "SETPCAP", "SETUID"}
    assert container["Ulimits"] == [{"Name": "fsize", "Soft": 1 << 20, "Hard": 1 << 20}]
    assert resources["Limits"] == {"NanoCPUs": 10**9, "MemoryBytes": 1 << 28, "Pids": 64}
    assert resources["Reservations"] == {"NanoCPUs": 5 * 10**8, "MemoryBytes": 1 << 28}
    assert template["RestartPolicy"]["Condition"] == "none"
    mounts = {mount["Target"]: mount for mount in container["Mounts"]}
    assert set(mounts) == {"/submission", "/var/lib/extrausers", "/grading", "/work", "/tmp"}
    assert mounts["/submission"]["Source"] == f"{SPOOL}/{{{{.Task.Slot}}}}"
    assert [place for place in mounts if mounts[place].get("ReadOnly")] == [
        "/var/lib/extrausers",
        "/grading",
    ]
    assert spec["mode"] == {"replicated": {"Replicas": 1}}
    assert "Networks" not in template
