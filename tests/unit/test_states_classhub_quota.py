"""classhub_quota state: says who gets another quota, and fails when one could not be set."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load


@pytest.fixture
def world():
    return {"ready": True, "table": {}, "limits": {}, "applied": []}


@pytest.fixture
def state(world, monkeypatch):
    module = load("states", "classhub_quota")

    def apply(test):
        world["applied"].append(test)
        if isinstance(world["table"], str):
            raise CommandExecutionError(world["table"])
        return {"table": dict(world["table"])}

    salt = {
        "classhub_quota.apply": apply,
        "classhub_quota.limits": lambda: world["limits"],
        "classhub_course.ready": lambda: world["ready"],
    }
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    return module


@pytest.mark.parametrize("test", [False, True])
def test_everybody_has_the_right_one(state, world, test):
    state.__opts__["test"] = test
    ret = state.applied("quotas")
    assert (ret["result"], ret["changes"], ret["comment"]) == (
        True,
        {},
        "Everybody has the right quota",
    )
    assert world["applied"] == [test]


@pytest.mark.parametrize(("test", "result"), [(False, True), (True, None)])
def test_somebody_gets_another(state, world, test, result):
    state.__opts__["test"] = test
    world["table"] = {"ada": "done: a quota of 5.0 GiB"}
    ret = state.applied("quotas")
    assert (ret["result"], ret["changes"]) == (result, world["table"])
    assert ("would" in ret["comment"]) is test


def test_one_that_could_not_be_set_fails(state, world):
    world["table"] = {"ada": "done: a quota of 5.0 GiB", "bob": "failed: no room"}
    ret = state.applied("quotas")
    assert (ret["result"], ret["comment"]) == (False, "bob failed: no room")
    assert ret["changes"] == world["table"]


@pytest.mark.parametrize("test", [False, True])
def test_a_filesystem_without_quotas_is_told_in_one_sentence(state, world, test):
    state.__opts__["test"] = test
    world["table"] = "nobody has a quota: /home keeps none"
    ret = state.applied("quotas")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, world["table"])


@pytest.mark.parametrize("wanted", [True, False])
def test_a_bare_host_is_predicted(state, world, wanted):
    state.__opts__["test"] = True
    world["ready"] = False
    world["limits"] = {
        "ada": {"uid": 20001, "limits": [1, 1, 0, 0] if wanted else [0] * 4},
        "prof": {"uid": 20002, "limits": [0] * 4},
    }
    ret = state.applied("quotas")
    assert (ret["result"], ret["changes"]) == ((None, {"ada": "quota"}) if wanted else (True, {}))
    assert world["applied"] == []


@pytest.mark.parametrize("test", [False, True])
def test_limits_that_cannot_be_seen_are_a_warning(state, world, test):
    state.__opts__["test"] = test
    world["table"] = dict.fromkeys(("ada", "bob"), "skipped: may still have a limit: no tools")
    ret = state.applied("quotas")
    assert (ret["result"], ret["changes"]) == (True, {})
    assert ret["warnings"] == ["2 people, such as ada: may still have a limit: no tools"]
