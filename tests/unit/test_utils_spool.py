"""What a node remembers: an event told twice is one row, and what never came is made up from the containers' states."""

import sqlite3
from contextlib import closing

import pytest

from tests.support.loading import load

spool = load("utils", "classhub_spool")
Event, State = spool.Event, spool.State
SECOND = 10**9
NOW = 1_800_000_000 * SECOND
ADA, BOB = "a" * 64, "b" * 64


def ago(seconds: float) -> int:
    return NOW - int(seconds * SECOND)


@pytest.fixture
def known(tmp_path):
    found = spool.Spool(tmp_path)
    yield found
    found.close()


def told(known):
    """What waits, without the numbers of the rows."""
    return [Event(*row[1:]) for row in known.waiting(100)]


START = Event(ADA, "start", ago(500), "ada")
DIE = Event(ADA, "die", ago(100), "ada", 0)


def test_event_that_is_told_twice_is_one_row(known):
    assert known.put([START, DIE]) == 2
    assert known.put([START, DIE]) == 0
    assert told(known) == [START, DIE]


def test_what_waits_survives_its_process(known, tmp_path):
    known.put([START], watched=ago(5))
    known.close()
    again = spool.Spool(tmp_path)
    assert told(again) == [START]
    assert again.watched == ago(5)
    again.close()


def test_watched_does_not_go_back(known):
    known.put([], watched=ago(5))
    known.put([], watched=ago(50))
    assert known.watched == ago(5)


def test_clock_that_is_set_back_takes_back_what_was_watched_and_seen(known):
    known.put([START], watched=NOW)
    known.reconcile({ADA: True}, {}, NOW)
    known.set_back(ago(300))
    assert known.watched == ago(300)
    (made,) = known.reconcile({}, {}, ago(200))
    assert (made.action, made.at, made.estimated) == ("die", ago(300), spool.BOUNDED)


def test_what_the_hub_has_is_forgotten_by_the_spool_that_had_it(known, tmp_path):
    known.put([START, DIE])
    first = spool.waiting(1, tmp_path)
    assert [row[2] for row in first["rows"]] == ["start"]
    assert spool.forget("another", first["rows"][0][0], tmp_path) == 0
    assert spool.forget(first["spool"], first["rows"][0][0], tmp_path) == 1
    assert [row[2] for row in spool.waiting(9, tmp_path)["rows"]] == ["die"]


def test_number_of_a_forgotten_row_is_not_given_again(known, tmp_path):
    known.put([START])
    (row,) = known.waiting(1)
    known.forget(row[0])
    known.put([DIE])
    assert known.waiting(1)[0][0] > row[0]


# -- what is made up


def runs(since: float) -> State:
    return State("ada", True, ago(since), 0, 0)


def ended(since: float, until: float, code: int = 0) -> State:
    return State("ada", False, ago(since), ago(until), code)


MISSED = [
    # what is known, what there is, what is made up
    ([], {ADA: True}, {ADA: runs(500)}, [Event(ADA, "start", ago(500), "ada", None, 1)]),
    (
        [],
        {ADA: False},
        {ADA: ended(500, 100, 137)},
        [
            Event(ADA, "start", ago(500), "ada", None, 1),
            Event(ADA, "die", ago(100), "ada", 137, 1),
        ],
    ),
    ([START], {ADA: False}, {ADA: ended(500, 100, 1)}, [Event(ADA, "die", ago(100), "ada", 1, 1)]),
    ([START], {}, {}, [Event(ADA, "die", ago(500), "ada", None, 2)]),
    # it went down and up again
    (
        [START, DIE],
        {ADA: True},
        {ADA: runs(50)},
        [Event(ADA, "start", ago(50), "ada", None, 1)],
    ),
    # it ended at once, and the engine notes the end before the start
    (
        [],
        {ADA: False},
        {ADA: spool.State("ada", False, ago(50) + 4, ago(50), 0)},
        [
            Event(ADA, "start", ago(50) + 4, "ada", None, 1),
            Event(ADA, "die", ago(50) + 5, "ada", 0, 1),
        ],
    ),
    # all is known
    ([START], {ADA: True}, {}, []),
    ([START, DIE], {ADA: False}, {}, []),
    ([START, DIE], {}, {}, []),
    # its events are still to come
    ([], {ADA: True}, {ADA: runs(1)}, []),
    ([START], {ADA: False}, {ADA: ended(500, 1)}, []),
    ([], {ADA: False}, {ADA: ended(3, 1)}, []),
]


@pytest.mark.parametrize(("before", "running", "states", "made"), MISSED)
def test_what_never_came_is_made_up(known, before, running, states, made):
    known.put(before)
    assert set(known.doubtful(running)) == set(states)
    assert known.reconcile(running, states, NOW) == made
    assert told(known) == [*before, *made]


@pytest.mark.parametrize(("before", "running", "states", "made"), MISSED)
def test_nothing_is_made_up_twice(known, before, running, states, made):
    known.put(before)
    known.reconcile(running, states, NOW)
    again = known.doubtful(running)
    assert known.reconcile(running, {name: states[name] for name in again}, NOW + SECOND) == []


def test_container_that_vanished_ended_when_it_was_last_seen(known):
    known.put([START])
    known.reconcile({ADA: True}, {}, ago(60))
    (made,) = known.reconcile({}, {}, NOW)
    assert (made.action, made.at, made.estimated) == ("die", ago(60), spool.BOUNDED)


def test_container_that_just_vanished_may_still_be_told(known):
    known.put([START])
    known.reconcile({ADA: True}, {}, ago(3))
    assert known.reconcile({}, {}, NOW) == []


def test_restart_that_was_missed_ends_the_run_before(known):
    known.put([START])
    known.reconcile({ADA: True}, {}, ago(200))
    states = {ADA: runs(100)}
    # by its state it runs, as before: only its start tells
    made = known.reconcile({ADA: True}, states, NOW)
    assert [(one.action, one.at) for one in made] == [("die", ago(200)), ("start", ago(100))]


# -- the engine's words


def test_event_of_the_engine():
    labels = {"classhub.user": "ada", "exitCode": "137", "name": "jupyter-ada"}
    words = {
        "Type": "container",
        "Action": "die",
        "Actor": {"ID": ADA, "Attributes": labels},
        "timeNano": 5,
    }
    assert spool.event_of(words) == Event(ADA, "die", 5, "ada", 137)


def test_state_of_a_container():
    words = {
        "Config": {"Labels": {"classhub.user": "ada"}},
        "State": {
            "Running": False,
            "StartedAt": "2026-11-23T00:48:15.241772027Z",
            "FinishedAt": "2026-11-23T00:48:16Z",
            "ExitCode": 3,
        },
    }
    began = 1_795_394_895 * SECOND + 241_772_027
    assert spool.state_of(words) == State("ada", False, began, 1_795_394_896 * SECOND, 3)


@pytest.mark.parametrize("text", ["", "0001-01-01T00:00:00Z"])
def test_time_that_is_none(text):
    assert spool.nanoseconds(text) == 0


def test_gap_is_put_down_once(known):
    known.put([spool.gap(ago(100), NOW)])
    known.put([spool.gap(ago(100), NOW)])
    (gap,) = told(known)
    assert (gap.action, gap.at, gap.code) == ("gap", ago(100), 100)


def test_damaged_spool_is_put_aside(tmp_path):
    (tmp_path / "spool.sqlite").write_bytes(b"not a database" * 100)
    with closing(spool.opened(tmp_path)) as found:
        assert found.count() == 0
    assert (tmp_path / "spool.sqlite.damaged").read_bytes().startswith(b"not a database")


def test_spool_that_cannot_be_opened_now_is_left_alone(tmp_path):
    (tmp_path / "spool.sqlite").mkdir()
    with pytest.raises(sqlite3.OperationalError):
        spool.opened(tmp_path)
    assert (tmp_path / "spool.sqlite").is_dir()
