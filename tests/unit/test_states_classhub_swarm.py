"""classhub_swarm states: one manager, workers that wait bounded, and a token that shows nowhere."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

TOKEN = "SWMTKN-1-fake-token"
HUB, NODE = "192.0.2.11", "192.0.2.21"
INVITATION = {"hub": {"address": f"{HUB}:2377", "token": TOKEN, "authority": "present"}}
DEAD = {"id": "old1", "host": "node1"}


def status(state="inactive", manager=False, address="", managers=()):
    return {"state": state, "manager": manager, "address": address, "managers": list(managers)}


OUTSIDE = status()
MANAGES = status("active", True, HUB, [f"{HUB}:2377"])
WORKS = status("active", False, NODE, [f"{HUB}:2377"])


class Swarm:
    """A stand-in for the module and the mine."""

    def __init__(self):
        self.status, self.dead, self.mine, self.calls, self.fault = OUTSIDE, [], {}, [], ""
        self.authority, self.servers = "present", []

    def get_status(self):
        if isinstance(self.status, str):
            raise CommandExecutionError(self.status)
        return self.status

    def get_authority(self):
        if not self.authority:
            raise CommandExecutionError("this host is in no swarm: no such file")
        return self.authority

    def call(self, *args):
        if self.fault:
            raise CommandExecutionError(self.fault)
        self.calls.append(args)


@pytest.fixture
def swarm():
    return Swarm()


@pytest.fixture
def states(swarm, monkeypatch):
    module, wait = load("states", "classhub_swarm"), load("utils", "classhub_wait")
    monkeypatch.setattr(wait.time, "sleep", lambda seconds: None)
    salt = {
        "classhub_swarm.status": swarm.get_status,
        "classhub_swarm.forgotten": lambda: swarm.dead,
        "classhub_swarm.init": lambda *args: swarm.call("init", *args),
        "classhub_swarm.join": lambda *args: swarm.call("join", *args),
        "classhub_swarm.leave": lambda *args: swarm.call("leave", *args),
        "classhub_swarm.remove": lambda *args: swarm.call("remove", *args),
        "classhub_swarm.authority": swarm.get_authority,
        "classhub_engine.servers": lambda: swarm.servers,
        "mine.get": lambda target, name: swarm.mine,
    }
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    monkeypatch.setattr(module, "__utils__", {"classhub_wait.until": wait.until}, raising=False)
    return module


def manager(states, test):
    states.__opts__["test"] = test
    return states.manager("swarm", HUB, "10.213.0.0/16")


def worker(states, test, wait=0):
    states.__opts__["test"] = test
    return states.worker("swarm", NODE, "hub", HUB, wait)


# Each: (status, dead members, test, result, changes, comment, calls)
MANAGER = {
    "made": (
        *(OUTSIDE, [], False, True, {"swarm": HUB}, "A swarm was made"),
        [("init", HUB, "10.213.0.0/16")],
    ),
    "would be made": (OUTSIDE, [], True, None, {"swarm": HUB}, "A swarm would be made", []),
    "manages": (MANAGES, [], False, True, {}, "This host manages the swarm", []),
    "manages, predicted": (MANAGES, [], True, True, {}, "This host manages the swarm", []),
    "tidied": (
        *(MANAGES, [DEAD], False, True, {"removed": ["node1"]}, "Dead members were removed"),
        [("remove", "old1")],
    ),
    "would be tidied": (
        *(MANAGES, [DEAD], True, None, {"removed": ["node1"]}, "Dead members would be removed"),
        [],
    ),
    "worker of another": (
        *(WORKS, [], False, False, {}),
        *(f"This host is a worker of {HUB}:2377; it cannot be the manager", []),
    ),
    "other address": (
        *(status("active", True, NODE), [], False, False, {}),
        *(f"The swarm's manager has the address {NODE}, pillar says {HUB}", []),
    ),
    "no engine": ("docker is not installed", [], False, False, {}, "docker is not installed", []),
    "no engine, predicted": (
        *("docker is not installed", [], True, None, {"swarm": HUB}, "A swarm would be made"),
        [],
    ),
}


@pytest.mark.parametrize("case", MANAGER)
def test_manager(states, swarm, case):
    swarm.status, swarm.dead, test, result, changes, comment, calls = MANAGER[case]
    ret = manager(states, test)
    assert ret == {"name": "swarm", "result": result, "changes": changes, "comment": comment}
    assert swarm.calls == calls


def test_manager_says_why_the_engine_refused(states, swarm):
    swarm.fault = "docker swarm: could not choose an IP address"
    ret = manager(states, False)
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, swarm.fault)


# Each: (status, mine, test, result, changes, comment, calls)
WORKER = {
    "joins": (
        *(OUTSIDE, INVITATION, False, True, {"swarm": "hub"}, "This host joined hub"),
        [("join", NODE, f"{HUB}:2377", TOKEN)],
    ),
    "would join": (
        *(OUTSIDE, INVITATION, True, None, {"swarm": "hub"}, "This host would join hub"),
        [],
    ),
    "would join without a token": (
        *(OUTSIDE, {}, True, None, {"swarm": "hub"}, "This host would join hub"),
        [],
    ),
    "works": (WORKS, {}, False, True, {}, "This host is a worker of hub", []),
    "works, predicted": (WORKS, {}, True, True, {}, "This host is a worker of hub", []),
    "works, invited": (WORKS, INVITATION, False, True, {}, "This host is a worker of hub", []),
    "in another swarm, invited": (
        *(status("active", False, NODE, ["192.0.2.99:2377"]), INVITATION, False, False, {}),
        *("This host is in another swarm (192.0.2.99:2377); take it out first", []),
    ),
    "in another swarm": (
        *(status("active", False, NODE, ["192.0.2.99:2377"]), {}, False, False, {}),
        *("This host is in another swarm (192.0.2.99:2377); take it out first", []),
    ),
    "no token": (
        *(OUTSIDE, {}, False, False, {}),
        *("hub published no join token in 0 s; apply the states of hub", []),
    ),
    "no engine": (
        *("docker is not installed", INVITATION, False, False, {}),
        *("docker is not installed", []),
    ),
    "no engine, predicted": (
        *("docker is not installed", {}, True, None, {"swarm": "hub"}),
        *("This host would join hub", []),
    ),
}


@pytest.mark.parametrize("case", WORKER)
def test_worker(states, swarm, case):
    swarm.status, swarm.mine, test, result, changes, comment, calls = WORKER[case]
    ret = worker(states, test)
    assert ret == {"name": "swarm", "result": result, "changes": changes, "comment": comment}
    assert swarm.calls == calls
    assert TOKEN not in str(ret)


def test_address_that_only_begins_like_the_hubs_is_another_swarm(states, swarm):
    swarm.status = status("active", False, NODE, [f"{HUB}9:2377"])
    assert worker(states, False)["result"] is False


def test_worker_waits_for_a_token_that_comes_late(states, swarm, monkeypatch):
    waits = load("utils", "classhub_wait")
    monkeypatch.setattr(waits.time, "sleep", lambda seconds: swarm.mine.update(INVITATION))
    assert worker(states, False, wait=60)["result"] is True


def test_prediction_does_not_wait(states, monkeypatch):
    monkeypatch.setitem(states.__utils__, "classhub_wait.until", None)
    assert worker(states, True, wait=900)["result"] is None


def test_worker_says_why_the_engine_refused(states, swarm):
    swarm.mine, swarm.fault = INVITATION, "docker swarm: Timeout was reached before node joined"
    ret = worker(states, False)
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, swarm.fault)


# -- a worker whose hub was set up again ------------------------------------------------------------------------------


@pytest.fixture
def outlived(swarm):
    """The hub has a new swarm at its old address."""
    swarm.status, swarm.mine, swarm.authority = WORKS, INVITATION, "former"
    return swarm


def test_worker_of_a_swarm_that_is_gone_leaves_it_and_joins_the_new_one(states, outlived):
    ret = worker(states, False)
    comment = "This host joined hub"
    assert ret == {"name": "swarm", "result": True, "changes": {"swarm": "hub"}, "comment": comment}
    assert outlived.calls == [("leave",), ("join", NODE, f"{HUB}:2377", TOKEN)]


def test_leaving_is_predicted_and_not_done(states, outlived):
    ret = worker(states, True)
    assert (ret["result"], ret["changes"]) == (None, {"swarm": "hub"})
    assert ret["comment"] == "This host would join hub"
    assert outlived.calls == []


@pytest.mark.parametrize("test", [False, True])
def test_worker_with_orphans_stays_as_it_is(states, outlived, test):
    """Their students have to save first."""
    outlived.servers = ["ada", "bob"]
    ret = worker(states, test)
    assert (ret["result"], ret["changes"], outlived.calls) == (False, {}, [])
    assert "servers of the old one run here (ada, bob)" in ret["comment"]
    assert "docker swarm leave" in ret["comment"]


def test_servers_of_the_present_swarm_are_no_orphans(states, outlived):
    outlived.authority, outlived.servers = "present", ["ada"]
    assert worker(states, False)["result"] is True
    assert outlived.calls == []


@pytest.mark.parametrize("test", [False, True])
def test_worker_that_does_not_know_its_swarm_stays_in_it(states, outlived, test):
    outlived.authority = ""
    ret = worker(states, test)
    assert (ret["result"], ret["changes"], outlived.calls) == (False, {}, [])
    assert ret["comment"].startswith("this host is in no swarm")


def test_worker_of_another_hub_is_not_taken_out(states, outlived):
    outlived.status = status("active", False, NODE, ["192.0.2.99:2377"])
    assert worker(states, False)["result"] is False
    assert outlived.calls == []


def test_worker_that_cannot_leave_does_not_join(states, outlived):
    outlived.fault = "docker swarm: context deadline exceeded"
    ret = worker(states, False)
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, outlived.fault)
