"""The state that looks at the backup: what is not well is a warning, and never stops the hub."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

WELL = {"backup": "done: saved as 1a2b3c4d (2030-01-31 14:00)", "prune": "skipped: has not run yet"}


@pytest.fixture
def watched(monkeypatch):
    """``watched(table, test, ready)`` -> the state's answer; a table that is an error is raised."""
    module = load("states", "classhub_backup")

    def run(table, test=False, ready=True):
        def call(verb, package):
            assert (verb, package) == ("health", "classhub.backup")
            if isinstance(table, Exception):
                raise table
            return {"table": table, "summary": {}}

        salt = {"classhub_course.call": call, "classhub_course.ready": lambda: ready}
        monkeypatch.setattr(module, "__salt__", salt, raising=False)
        monkeypatch.setattr(module, "__opts__", {"test": test}, raising=False)
        return module.watched("backup")

    return run


@pytest.mark.parametrize("test", [False, True])
def test_a_backup_that_is_well(watched, test):
    told = watched(WELL, test)
    assert (told["result"], told["changes"], "warnings" in told) == (True, {}, False)
    assert "backup done: saved as 1a2b3c4d" in told["comment"]


@pytest.mark.parametrize("test", [False, True])
def test_what_failed_is_a_warning(watched, test):
    told = watched(WELL | {"drill": "failed: it rots"}, test)
    assert (told["result"], told["changes"]) == (True, {})
    (warning,) = told["warnings"]
    assert "drill failed: it rots" in warning
    assert "classhub.snapshots" in warning


def test_a_backup_that_cannot_be_asked_is_a_warning(watched):
    told = watched(CommandExecutionError("backup.json cannot be used"))
    assert told["result"] is True
    assert "backup.json cannot be used" in told["warnings"][0]


def test_a_bare_host_is_predicted_without_asking(watched):
    told = watched(AssertionError("asked"), test=True, ready=False)
    assert (told["result"], told["comment"]) == (True, "The backup is still to come")
