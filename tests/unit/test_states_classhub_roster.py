"""classhub_roster state: says what is done for whom, and fails when one person failed."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

LACKING = {"ada": ["account", "home"], "bob": ["home rights"]}


@pytest.fixture
def world():
    return {
        "plan": {"ledger": {}, "people": {}, "left": {}, "faults": []},
        "table": {},
        "applied": 0,
    }


@pytest.fixture
def state(world, monkeypatch):
    module = load("states", "classhub_roster")

    def answer(key):
        if isinstance(world[key], str):
            raise CommandExecutionError(world[key])
        return world[key]

    def apply(drops):
        assert drops == 0
        world["applied"] += 1
        return answer("table")

    salt = {"classhub_roster.plan": lambda drops: answer("plan"), "classhub_roster.apply": apply}
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    return module


@pytest.mark.parametrize("test", [False, True])
def test_nobody_lacks_anything(state, world, test):
    state.__opts__["test"] = test
    assert state.applied("roster") == {
        "name": "roster",
        "result": True,
        "changes": {},
        "comment": "Everybody on the roster has an account",
    }
    assert world["applied"] == 0


@pytest.mark.parametrize("test", [False, True])
def test_faults_stop_everything(state, world, test):
    state.__opts__["test"] = test
    world["plan"] |= {"people": LACKING, "faults": ["ada: one", "bob: two"]}
    ret = state.applied("roster")
    assert (ret["result"], ret["changes"], world["applied"]) == (False, {}, 0)
    assert ret["comment"] == "The roster was not applied:\n- ada: one\n- bob: two"


@pytest.mark.parametrize("test", [False, True])
def test_ledger_that_cannot_be_read(state, world, test):
    state.__opts__["test"] = test
    world["plan"] = "uids.json cannot be read; restore it"
    ret = state.applied("roster")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, world["plan"])


def test_prediction(state, world):
    state.__opts__["test"] = True
    world["plan"]["people"] = LACKING
    ret = state.applied("roster")
    assert (ret["result"], ret["changes"], world["applied"]) == (None, LACKING, 0)
    assert ret["comment"] == "2 people would be settled"


def test_applied(state, world):
    world["plan"]["people"] = LACKING
    world["table"] = {"ada": "done: account, home", "bob": "done: home rights"}
    ret = state.applied("roster")
    assert (ret["result"], ret["changes"]) == (True, world["table"])
    assert ret["comment"] == "2 people were settled"


def test_one_who_failed_fails_the_state_and_is_named(state, world):
    world["plan"]["people"] = LACKING
    world["table"] = {"ada": "done: account, home", "bob": "failed: a symbolic link"}
    ret = state.applied("roster")
    assert (ret["result"], ret["changes"]) == (False, world["table"])
    assert ret["comment"] == "1 people were settled; failed for bob"


def test_fault_that_comes_up_between_plan_and_apply(state, world):
    world["plan"]["people"] = LACKING
    world["table"] = "The roster was not applied:\n- ada: one"
    ret = state.applied("roster")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, world["table"])
