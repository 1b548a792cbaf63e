"""classhub_service state: services run with what is on disk, but never at the price of a student's server."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

READS, REREADS = ["/etc/web.conf", "/etc/web.d"], ["/etc/web/tls"]
SPARED = "classhub_engine.servers"


@pytest.fixture
def host():
    """What the stand-in of the host is like; each service function that was called."""
    return {
        "available": True,
        "runs": True,
        "enabled": True,
        "newer": [],  # than the start, or than the last reload
        "servers": [],
        "refuses": "",
        "calls": [],
    }


@pytest.fixture
def state(host, monkeypatch):
    module = load("states", "classhub_service")

    def act(name):
        return lambda service: host["calls"].append(name) or host["refuses"] != name

    def stale(name, reads, reloads=False):
        assert name == "web"
        assert reads == (REREADS if reloads else READS)
        return [path for path in reads if path in host["newer"]]

    salt = {f"service.{name}": act(name) for name in ("enable", "start", "restart", "reload")}
    salt |= {
        "service.available": lambda name: host["available"],
        "service.status": lambda name: host["runs"],
        "service.enabled": lambda name: host["enabled"],
        "classhub_service.stale": stale,
        SPARED: lambda: host["servers"],
    }
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    return module


# what is the matter -> (what is done, the change, the service functions)
CASES = {
    "all is well": ({}, "", "", []),
    "stopped": ({"runs": False}, "started", "started", ["start"]),
    "stopped, with new settings": (
        *({"runs": False, "newer": READS}, "started", "started", ["start"]),
    ),
    "stopped and disabled": (
        *({"runs": False, "enabled": False}, "started", "started", ["enable", "start"]),
    ),
    "disabled": ({"enabled": False}, "enabled", "enabled", ["enable"]),
    "a newer file": (
        *({"newer": READS[:1]}, "restarted", "restarted after /etc/web.conf", ["restart"]),
    ),
    "newer files, disabled": (
        {"newer": READS, "enabled": False},
        "restarted",
        "restarted after /etc/web.conf, /etc/web.d",
        ["enable", "restart"],
    ),
    "a newer file that a reload reads": (
        *({"newer": REREADS}, "reloaded", "reloaded after /etc/web/tls", ["reload"]),
    ),
    "newer files of both kinds": (
        {"newer": READS + REREADS},
        "restarted",
        "restarted after /etc/web.conf, /etc/web.d",
        ["restart"],
    ),
}


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_running(state, host, case, test):
    matter, done, change, calls = CASES[case]
    host |= matter
    state.__opts__["test"] = test
    comment = "web runs with its settings"
    if done:
        comment = f"web {'would be' if test else 'was'} {done}"
    assert state.running("web", READS, REREADS, SPARED) == {
        "name": "web",
        "result": None if test and done else True,
        "changes": {"web": change} if done else {},
        "comment": comment,
    }
    assert host["calls"] == ([] if test else calls)


def test_service_that_reads_nothing_is_not_compared(state, monkeypatch):
    monkeypatch.delitem(state.__salt__, "classhub_service.stale")
    ret = state.running("web")
    assert (ret["result"], ret["changes"]) == (True, {})


@pytest.mark.parametrize("test", [False, True])
def test_restart_waits_while_a_server_runs(state, host, test):
    host |= {"newer": READS[:1], "servers": ["ada"]}
    state.__opts__["test"] = test
    ret = state.running("web", READS, REREADS, SPARED)
    assert (ret["result"], ret["changes"], host["calls"]) == (True, {}, [])
    (warning,) = ret["warnings"]
    assert warning.startswith("/etc/web.conf changed, but students' servers run here")
    assert "web was not restarted" in warning
    assert "salt-run classhub.drain" in warning


@pytest.mark.parametrize(
    ("matter", "calls"),
    [({"runs": False}, ["start"]), ({"newer": REREADS}, ["reload"])],
    ids=["start", "reload"],
)
def test_what_harms_no_server_does_not_wait(state, host, matter, calls):
    host |= matter | {"servers": ["ada"]}
    ret = state.running("web", READS, REREADS, SPARED)
    assert (ret["result"], host["calls"]) == (True, calls)
    assert "warnings" not in ret


def test_service_that_spares_nobody_is_restarted(state, host):
    host |= {"newer": READS, "servers": ["ada"]}
    assert state.running("web", READS, REREADS)["changes"]
    assert host["calls"] == ["restart"]


@pytest.mark.parametrize("test", [False, True])
def test_host_without_the_service(state, host, test):
    """In a dry run its package is still to come."""
    host["available"] = False
    state.__opts__["test"] = test
    ret = state.running("web", READS)
    assert ret["result"] is (None if test else False)
    assert ret["changes"] == ({"web": "started"} if test else {})
    assert ret["comment"] == (
        "web would be started" if test else "There is no service web; is its package installed?"
    )
    assert host["calls"] == []


REFUSALS = [
    ({"runs": False}, "start", "web did not start; see journalctl -u web"),
    ({"newer": READS}, "restart", "web did not restart; see journalctl -u web"),
    ({"newer": REREADS}, "reload", "web did not reload; see journalctl -u web"),
    ({"enabled": False}, "enable", "web could not be enabled; see systemctl status web"),
]


@pytest.mark.parametrize(("matter", "refuses", "sentence"), REFUSALS)
def test_service_that_does_not_obey_is_an_error_without_changes(
    state, host, matter, refuses, sentence
):
    host |= matter | {"refuses": refuses}
    ret = state.running("web", READS, REREADS)
    assert ret == {"name": "web", "result": False, "changes": {}, "comment": sentence}
    assert host["calls"] == [refuses]


def test_service_that_cannot_be_enabled_is_not_started(state, host):
    host |= {"runs": False, "enabled": False, "refuses": "enable"}
    assert state.running("web")["result"] is False
    assert host["calls"] == ["enable"]


SILENT = [
    (SPARED, CommandExecutionError("docker ps: Cannot connect to the Docker daemon")),
    ("classhub_service.stale", CommandExecutionError("web does not run; see journalctl -u web")),
    ("classhub_service.stale", PermissionError(13, "Permission denied")),
]


@pytest.mark.parametrize("test", [False, True])
@pytest.mark.parametrize(("function", "error"), SILENT)
def test_what_cannot_be_known_is_an_error_and_nothing_is_restarted(
    state, host, monkeypatch, function, error, test
):
    """Above all: an engine that does not say whether a server runs there."""

    def fail(*args, **kwargs):
        raise error

    host["newer"] = READS
    state.__opts__["test"] = test
    monkeypatch.setitem(state.__salt__, function, fail)
    ret = state.running("web", READS, REREADS, SPARED)
    assert ret == {"name": "web", "result": False, "changes": {}, "comment": str(error)}
    assert host["calls"] == []
