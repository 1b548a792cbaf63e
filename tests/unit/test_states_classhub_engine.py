"""classhub_engine state: new settings reach the engine, but never at the price of a student's server."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load


@pytest.fixture
def host():
    """What the stand-in of the host is like; each service function that was called."""
    return {
        "available": True,
        "runs": True,
        "enabled": True,
        "old settings": False,
        "servers": [],
        "obeys": True,
        "calls": [],
    }


@pytest.fixture
def state(host, monkeypatch):
    module = load("states", "classhub_engine")

    def act(name):
        return lambda service: host["calls"].append(name) or host["obeys"]

    salt = {f"service.{name}": act(name) for name in ("enable", "start", "restart")}
    salt |= {
        "service.available": lambda name: host["available"],
        "service.status": lambda name: host["runs"],
        "service.enabled": lambda name: host["enabled"],
        "classhub_engine.needs_restart": lambda name, settings: host["old settings"],
        "classhub_engine.servers": lambda: host["servers"],
    }
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    return module


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "daemon.json"
    path.write_text("{}")
    return str(path)


# what is the matter -> (what is done, the service functions)
CASES = [
    ({}, "", []),
    ({"runs": False}, "started", ["enable", "start"]),
    ({"enabled": False}, "enabled", ["enable", "start"]),
    ({"old settings": True}, "restarted", ["enable", "restart"]),
]


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(("matter", "done", "calls"), CASES)
def test_running(state, host, settings, matter, done, calls, test):
    host |= matter
    state.__opts__["test"] = test
    ret = state.running("docker", settings)
    comment = f"docker runs with {settings}"
    if done:
        comment = f"docker {'would be' if test else 'was'} {done}"
    assert ret == {
        "name": "docker",
        "result": None if test and done else True,
        "changes": {"docker": done} if done else {},
        "comment": comment,
    }
    assert host["calls"] == ([] if test else calls)


@pytest.mark.parametrize("test", [False, True])
def test_new_settings_wait_while_a_server_runs(state, host, settings, test):
    host |= {"old settings": True, "servers": ["ada"]}
    state.__opts__["test"] = test
    ret = state.running("docker", settings)
    assert (ret["result"], ret["changes"], host["calls"]) == (True, {}, [])
    assert "docker was not restarted" in ret["warnings"][0]
    assert "salt-run classhub.drain" in ret["warnings"][0]


def test_engine_without_a_settings_file_is_left_running(state, host, tmp_path):
    host["old settings"] = True
    assert state.running("docker", str(tmp_path / "none.json"))["changes"] == {}


@pytest.mark.parametrize("test", [False, True])
def test_host_without_the_service(state, host, settings, test):
    host["available"] = False
    state.__opts__["test"] = test
    ret = state.running("docker", settings)
    assert ret["result"] is (None if test else False)
    assert ret["changes"] == ({"docker": "started"} if test else {})
    assert ret["comment"] == (
        "docker would be started"
        if test
        else "There is no service docker; is its package installed?"
    )
    assert host["calls"] == []


def test_engine_that_does_not_start_is_an_error_without_changes(state, host, settings):
    host |= {"runs": False, "obeys": False}
    ret = state.running("docker", settings)
    assert (ret["result"], ret["changes"]) == (False, {})
    assert ret["comment"] == "docker did not start; see journalctl -u docker"


def test_engine_that_does_not_answer_is_not_restarted(state, host, settings, monkeypatch):
    """Nobody knows then whether a server runs there."""

    def silent():
        raise CommandExecutionError("docker ps: Cannot connect to the Docker daemon")

    host["old settings"] = True
    monkeypatch.setitem(state.__salt__, "classhub_engine.servers", silent)
    ret = state.running("docker", settings)
    assert (ret["result"], ret["changes"], host["calls"]) == (False, {}, [])
    assert ret["comment"] == "docker ps: Cannot connect to the Docker daemon"
