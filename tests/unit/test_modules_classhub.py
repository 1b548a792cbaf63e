"""The instructor's verbs: what each says to the course's command line."""

import pytest

from tests.support.loading import load


@pytest.fixture
def said():
    return []


@pytest.fixture
def module(said, monkeypatch):
    module = load("modules", "classhub")

    def call(verb, arguments=(), options=()):
        said.append((verb, list(arguments), list(options)))
        failed = 1 if "unlucky" in arguments else 0
        return {"table": {}, "summary": {"failed": failed, "assignments": {"ps1": {}}}}

    monkeypatch.setattr(module, "__salt__", {"classhub_course.call": call}, raising=False)
    monkeypatch.setattr(module, "__context__", {}, raising=False)
    return module


TIMES = {"due": "2030-01-31T23:59", "cutoff": "2030-02-01T23:59"}
SAID = [
    (lambda hub: hub.release("ps1"), "release", ["ps1"], ["--generate"]),
    (
        lambda hub: hub.release("ps1", force=True, students="ada,bob", generate=False, test=True),
        "release",
        ["ps1"],
        ["--students=ada,bob", "--force", "--test"],
    ),
    (lambda hub: hub.fetch_source(), "fetch-source", [], []),
    (lambda hub: hub.fetch_source(test=True), "fetch-source", [], ["--test"]),
    (lambda hub: hub.status("ps1"), "status", ["ps1"], []),
    (lambda hub: hub.seal(), "seal", [], []),
    (lambda hub: hub.seal(test=True), "seal", [], ["--test"]),
    (lambda hub: hub.receipt("ada"), "receipt", ["ada"], []),
    (lambda hub: hub.receipt("ada", "ps1"), "receipt", ["ada", "ps1"], []),
    (lambda hub: hub.verify(), "verify", [], []),
    (lambda hub: hub.collect("ps1"), "collect", ["ps1"], []),
    (
        lambda hub: hub.collect("ps1", **TIMES, test=True),
        "collect",
        ["ps1"],
        ["--due=2030-01-31T23:59", "--cutoff=2030-02-01T23:59", "--test"],
    ),
]


@pytest.mark.parametrize(("verb", "name", "arguments", "options"), SAID)
def test_what_is_said_to_the_command_line(module, said, verb, name, arguments, options):
    assert set(verb(module)) == {"table", "summary"}
    assert said == [(name, arguments, options)]
    assert module.__context__ == {}


def test_who_failed_is_in_the_table_and_in_the_exit_code(module):
    assert module.status("unlucky")["summary"]["failed"] == 1
    assert module.__context__ == {"retcode": 1}


def test_assignments_are_listed_by_name(module):
    assert module.assignments() == {"ps1": {}}
