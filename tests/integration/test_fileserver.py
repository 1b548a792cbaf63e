"""What a minion can read: the states, and of pillar only what is its own."""

import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

SECRET_PATHS = [
    "pillar/class.sls",
    "../pillar/class.sls",
    "_modules/../../pillar/class.sls",
    "hub/../../config/master.d/classhub.conf",
    "_runners/classhub.py",
    "../_runners/classhub.py",
    ".git/config",
    "../.git/config",
    "reactor/minion_start.sls",
    "../reactor/minion_start.sls",
    "_pillar/classhub.py",
    "../_pillar/classhub.py",
    "roster.csv",
    "../pillar/example/lab/roster.csv",
]


def test_states_are_served(running):
    def served() -> bool:
        return "base:" in str(running.ask("node1", "cp.get_file_str", "salt://top.sls"))

    # a master that has just started is busy
    wait_until("states are served", served, 60)
    assert "def hosts" in running.ask("node1", "cp.get_file_str", "salt://_modules/classhub.py")


@pytest.mark.parametrize("path", SECRET_PATHS)
def test_nothing_else_is_served(running, path):
    assert running.ask("node1", "cp.get_file_str", f"salt://{path}") is False


def test_listing_has_nothing_else_either(running):
    listed = running.ask("node1", "cp.list_master")
    rooms = {path.split("/")[0] for path in listed}
    assert "top.sls" in rooms
    assert not rooms & {"pillar", "reactor", "_runners", "_pillar", "config", ".git", "tests"}


def settings(running, minion):
    """What the minion itself holds, in plain text."""
    return running.ask(minion, "pillar.items", unmask=True)["classhub"]


def test_every_minion_has_its_place_in_the_class(running):
    assert settings(running, "hub")["roles"] == ["hub"]
    assert settings(running, "node1")["hub_host"] == {"id": "hub", "address": "10.77.0.11"}
    assert settings(running, "node1")["faults"] == []


def test_people_and_secrets_reach_the_hub_alone(running):
    hub = settings(running, "hub")
    assert "ada@class.test" in str(hub["people"])
    assert hub["hub"]["lab_password"] == "lab"
    for minion in ("node1", "proxy"):
        theirs = settings(running, minion)
        assert "people" not in theirs
        assert "ada" not in str(theirs)
        assert theirs["hub"]["lab_password"] == ""


def test_raw_pillar_of_a_node_has_no_people(running):
    raw = running.ask("node1", "pillar.raw")
    assert "classhub" in raw
    assert "people" not in raw["classhub"]


def test_reactor_brings_the_modules_to_a_minion_that_starts(with_modules):
    """Nobody here has synced anything."""
    modules = with_modules.ask("node1", "sys.list_modules", "classhub*")
    assert {"classhub", "classhub_swarm", "classhub_engine"} <= set(modules)
    states = with_modules.ask("node1", "sys.list_state_modules", "classhub*")
    assert {"classhub_mine", "classhub_swarm"} <= set(states)
    hosts = with_modules.ask("node1", "classhub.hosts")
    assert hosts["hub"] == {"address": "10.77.0.11", "roles": ["hub"]}
