"""The engine's packages are held, and it is predicted."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

PACKAGES = ["docker.io", "containerd", "runc"]


@pytest.fixture
def state(monkeypatch):
    module, held = load("states", "classhub_engine"), ["runc"]

    def hold(pkgs):
        held.extend(pkgs)
        return {name: {"result": True, "comment": f"{name} is held"} for name in pkgs}

    selections = {"pkg.get_selections": lambda state: {state: held} if held else {}}
    monkeypatch.setattr(module, "__salt__", selections | {"pkg.hold": hold}, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    return module


def test_what_is_not_held_is(state):
    state.__opts__["test"] = True
    predicted = state.held("engine", PACKAGES)
    assert (predicted["result"], set(predicted["changes"])) == (None, {"docker.io", "containerd"})
    state.__opts__["test"] = False
    done = state.held("engine", PACKAGES)
    assert (done["result"], done["changes"]) == (True, predicted["changes"])
    assert state.held("engine", PACKAGES)["changes"] == {}


@pytest.mark.parametrize("test", [True, False])
def test_what_cannot_be_held_is_a_failure(state, test):
    def fails(**_):
        raise CommandExecutionError("dpkg is broken")

    state.__opts__["test"] = test
    state.__salt__["pkg.get_selections"] = fails
    found = state.held("engine", PACKAGES)
    assert (found["result"], found["changes"], found["comment"]) == (False, {}, "dpkg is broken")


def test_what_apt_refuses_is_a_failure(state):
    refusal = {
        "docker.io": {"result": False, "comment": "Package docker.io does not have a state."}
    }
    state.__salt__["pkg.hold"] = lambda pkgs: refusal
    found = state.held("engine", PACKAGES)
    assert (found["result"], found["comment"]) == (
        False,
        "Package docker.io does not have a state.",
    )
