"""classhub_course states: a file with the settings, and an exchange that is predicted, made and then left alone."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

PLACES = {"course_dir": "/course", "exchange": "/exchange", "store": "/store"}
RIGHT = {"ada": "skipped: is right", "bob": "skipped: is right"}


@pytest.fixture
def world():
    return {"table": dict(RIGHT), "course": [], "ready": True, "error": "", "asked": []}


@pytest.fixture
def state(world, monkeypatch):
    module = load("states", "classhub_course")

    def answer(value):
        if world["error"]:
            raise CommandExecutionError(world["error"])
        return value

    def exchange(test):
        world["asked"].append(test)
        return answer({"table": world["table"], "summary": {"course": world["course"]}})

    salt = {
        "classhub_course.ready": lambda: world["ready"],
        "classhub_course.exchange": exchange,
        "classhub_course.welcome": lambda test: answer({"table": world["table"], "summary": {}}),
        "classhub_course.settings": lambda *places: answer(places),
    }
    states = {"file.serialize": lambda name, **options: {"name": name, **options}}
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__states__", states, raising=False)
    monkeypatch.setattr(module, "__opts__", {"test": False}, raising=False)
    return module


def test_settings_are_for_root_alone(state):
    written = state.described("/etc/course.json", **PLACES)
    assert (written["name"], written["mode"]) == ("/etc/course.json", "0600")
    assert written["dataset"] == ("/course", "/exchange", "/store")


def test_settings_that_there_are_not(state, world):
    world["error"] = "The course has no settings"
    ret = state.described("/etc/course.json", **PLACES)
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, world["error"])


@pytest.mark.parametrize("test", [False, True])
def test_exchange_that_is_right(state, world, test):
    state.__opts__["test"] = test
    ret = state.exchanged("exchange")
    assert (ret["result"], ret["changes"], world["asked"]) == (True, {}, [test])


@pytest.mark.parametrize(("test", "result"), [(False, True), (True, None)])
def test_exchange_that_lacks_something(state, world, test, result):
    state.__opts__["test"] = test
    world["table"]["bob"] = "done: inbound made"
    world["course"] = ["outbound made"]
    ret = state.exchanged("exchange")
    assert ret["result"] is result
    assert ret["changes"] == {"bob": "done: inbound made", "exchange": "outbound made"}


def test_exchange_of_a_bare_host_is_predicted(state, world):
    state.__opts__["test"] = True
    world["ready"] = False
    ret = state.exchanged("exchange")
    assert (ret["result"], ret["changes"]) == (None, {"exchange": "settled"})
    assert world["asked"] == []


@pytest.mark.parametrize("test", [False, True])
def test_one_who_failed_fails_the_state_and_is_named(state, world, test):
    state.__opts__["test"] = test
    world["table"] |= {"ada": "done: inbound made", "bob": "failed: inbound is no directory"}
    ret = state.exchanged("exchange")
    assert (ret["result"], ret["changes"]) == (False, {"ada": "done: inbound made"})
    assert ret["comment"] == "bob failed: inbound is no directory"


def test_exchange_that_is_refused(state, world):
    world["error"] = "the exchange cannot be written: no space"
    ret = state.exchanged("exchange")
    assert (ret["result"], ret["changes"], ret["comment"]) == (False, {}, world["error"])


@pytest.mark.parametrize(("test", "result"), [(False, True), (True, None)])
def test_newcomers_are_given_what_is_released(state, world, test, result):
    state.__opts__["test"] = test
    assert state.welcomed("newcomers")["changes"] == {}
    world["table"] = {"bob": "done: ps1 given"}
    ret = state.welcomed("newcomers")
    assert (ret["result"], ret["changes"]) == (result, {"bob": "done: ps1 given"})
