"""The calendar: the course's wall clock, extensions and grace, and what has come due is done once, however late."""

import dataclasses
import errno
import json
import os
import shutil
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support import grading  # isort: skip
from tests.support.submissions import FILES, alone, course, killed_at  # isort: skip

from classhub.course import __main__, calendar, release, sealing
from classhub.course.report import Refused, Unfit
from classhub.course.times import made_at, times_of

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs real uids")
START = datetime(2030, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Submissions of a test need not rest before they are sealed."""
    monkeypatch.setattr(sealing, "SETTLE", 0)


@pytest.fixture
def lesson():
    with course() as made:
        release = made.settings.course_dir / "release" / "ps1"
        release.mkdir(parents=True)
        (release / "problem1.ipynb").write_bytes(FILES["problem1.ipynb"])
        (made.settings.course_dir / "source" / "ps1").rmdir()
        yield made


def plan(lesson, zone="Europe/Berlin", grace=0, **entry):
    """Give the lesson a calendar for ps1."""
    lesson.settings = dataclasses.replace(
        lesson.settings, timezone=zone, grace=grace, assignments={"ps1": entry}
    )


def say(lesson, *words):
    arguments = __main__.parser().parse_args([str(word) for word in words])
    return alone(lambda: arguments.run(lesson.settings, arguments))


@pytest.fixture
def clock(monkeypatch):
    """clock(time): what the calendar takes for now."""

    def put(moment):
        monkeypatch.setattr(calendar, "now", lambda: moment)

    put(START)
    return put


def keep(lesson, *options):
    return say(lesson, "keep-calendar", *options).table


# -- times


def test_times_are_the_courses_wall_clock_over_a_change_of_clocks(lesson):
    plan(lesson, release="2030-03-30T12:00", due="2030-03-31T12:00", cutoff="2030-10-28T12:00")
    release, *_ = calendar.actions(lesson.settings)
    times = times_of(lesson.settings, "ps1")
    assert times.due - release.when == timedelta(hours=23)
    assert times.due == datetime(2030, 3, 31, 10, tzinfo=UTC)
    assert times.cutoff == datetime(2030, 10, 28, 11, tzinfo=UTC)


def test_of_an_hour_that_comes_twice_the_first_counts(lesson):
    plan(lesson, due="2030-10-27T02:30")
    assert times_of(lesson.settings, "ps1").due == datetime(2030, 10, 27, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(("seconds", "late"), [(-1, 0), (0, 0), (60, 0), (61, 61), (3600, 3600)])
def test_grace_forgives_and_then_all_of_the_lateness_counts(lesson, seconds, late):
    plan(lesson, zone="UTC", grace=60, due="2030-03-01T12:00")
    times = times_of(lesson.settings, "ps1")
    assert times.late("ada", START + timedelta(seconds=seconds)) == late
    assert times.counts("ada", START + timedelta(days=100))


def test_an_assignments_own_grace_counts_and_covers_the_cutoff(lesson):
    entry = {"due": "2030-03-01T12:00", "cutoff": "2030-03-01T12:00", "grace": 300}
    lesson.settings = dataclasses.replace(lesson.settings, grace=60, assignments={"ps1": entry})
    times = times_of(lesson.settings, "ps1")
    assert times.counts("ada", START + timedelta(seconds=300))
    assert not times.counts("ada", START + timedelta(seconds=301))


def test_an_extension_is_one_persons(lesson):
    later = "2030-03-03T12:00"
    plan(lesson, zone="UTC", due="2030-03-01T12:00", extensions={"ben": later})
    times = times_of(lesson.settings, "ps1")
    assert times.late("ada", START + timedelta(days=1)) == 86400
    assert times.late("ben", START + timedelta(days=1)) == 0
    assert times.ends() == [START, START + timedelta(days=2)]


def test_collect_takes_the_calendars_times(lesson):
    plan(lesson, due="2001-01-01T00:00", extensions={"ben": "2100-01-01T00:00"})
    for user in ("ada", "ben"):
        lesson.submit(user)
    assert list(say(lesson, "collect", "ps1").summary["late"]) == ["ada"]
    assert say(lesson, "collect", "ps1", "--due", "2100-01-01T00:00").summary["late"] == {}


# -- when a submission was made


def hours_later(monkeypatch, hours):
    """The hub's clock is so many hours ahead of the file system's: it was away in between."""

    def ahead():
        return datetime.now(UTC) + timedelta(hours=hours)

    monkeypatch.setattr("classhub.course.store.now", ahead)
    monkeypatch.setattr(sealing, "now", ahead)


def test_a_hub_that_was_down_over_the_cutoff_makes_nobody_late(lesson, monkeypatch):
    say(lesson, "seal")
    lesson.submit("ada")
    time.sleep(0.02)
    cutoff = datetime.now(UTC).isoformat()
    time.sleep(0.02)
    lesson.submit("ben")
    plan(lesson, due=cutoff, cutoff=cutoff)
    hours_later(monkeypatch, 2)
    report = say(lesson, "collect", "ps1")
    assert list(report.summary["submitted"]) == ["ada"]
    assert report.summary["submitted"]["ada"]["late_seconds"] == 0
    assert report.summary["missing"]["ben"] == "submitted only after the cutoff"


def test_a_minute_between_two_sweeps_makes_nobody_late(lesson, monkeypatch):
    lesson.submit("ada")
    time.sleep(0.02)
    plan(lesson, due=datetime.now(UTC).isoformat())
    hours_later(monkeypatch, 1 / 60)
    assert say(lesson, "collect", "ps1").summary["late"] == {}


def test_what_the_last_sweep_did_not_find_was_not_there(lesson, monkeypatch):
    """Should a change time ever lie: a sweep that found nothing is a witness."""
    hours_later(monkeypatch, 1)
    say(lesson, "seal")
    swept = datetime.now(UTC) + timedelta(hours=1)
    lesson.submit("ada")
    hours_later(monkeypatch, 2)
    say(lesson, "seal")
    (line,) = lesson.store.ledger.of("ada")
    assert abs(made_at(line) - swept) < timedelta(seconds=20)
    assert datetime.fromisoformat(line["changed_at"]) < made_at(line)


def test_a_submission_that_a_sweep_could_not_take_is_not_later_for_that(lesson, monkeypatch):
    place = lesson.submit("ada")
    trap = place / "trap"
    trap.symlink_to("/etc/passwd")
    hours_later(monkeypatch, 1)
    assert say(lesson, "seal").failed
    trap.unlink()
    hours_later(monkeypatch, 2)
    assert not say(lesson, "seal").failed
    (line,) = lesson.store.ledger.of("ada")
    assert line["unseen_until"] == ""
    assert made_at(line).isoformat(timespec="microseconds") == line["changed_at"]


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "stale"), Unfit("odd"), RuntimeError()])
def test_a_sweep_that_could_not_look_is_no_witness(lesson, monkeypatch, error):
    look = sealing.Sweep._look_through

    def stale(*_):
        raise error

    lesson.submit("ada")
    hours_later(monkeypatch, 1)
    monkeypatch.setattr(sealing.Sweep, "_look_through", stale)
    assert say(lesson, "seal").failed
    monkeypatch.setattr(sealing.Sweep, "_look_through", look)
    hours_later(monkeypatch, 2)
    assert not say(lesson, "seal").failed
    (line,) = lesson.store.ledger.of("ada")
    assert line["unseen_until"] == ""


# -- what comes due


WHOLE = {
    "release": "2030-03-01T08:00",
    "due": "2030-03-08T08:00",
    "cutoff": "2030-03-09T08:00",
    "return": "2030-03-15T08:00",
}


def day(number, hour=8):
    return datetime(2030, 3, number, hour, tzinfo=UTC)


def home(lesson, user="ada"):
    return lesson.settings.homes / user / "ps1"


def test_each_action_is_done_at_its_time_and_once(lesson, clock):
    plan(lesson, zone="UTC", **WHOLE)
    clock(day(1, 7))
    assert keep(lesson) == {}
    assert not home(lesson).exists()
    clock(day(1))
    (name, outcome), *more = keep(lesson).items()
    assert (name, more) == ("release ps1, planned for 2030-03-01 08:00+00:00", [])
    assert outcome == "done: 3 done, 0 skipped, 0 failed"
    assert home(lesson).is_dir()
    assert keep(lesson) == {}
    clock(day(9))
    assert [name.split(",")[0] for name in keep(lesson)] == ["collect ps1"]
    assert keep(lesson) == {}


def test_what_was_missed_is_caught_up_in_order(lesson, clock):
    plan(lesson, zone="UTC", **WHOLE, extensions={"ben": "2030-03-11T08:00"})
    clock(day(20))
    done = [name.split(" ")[0] for name in keep(lesson)]
    assert done == ["release", "collect", "collect", "return"]
    assert keep(lesson) == {}


def test_a_time_that_is_moved_is_a_new_one(lesson, clock):
    plan(lesson, zone="UTC", **WHOLE)
    clock(day(9))
    keep(lesson)
    plan(lesson, zone="UTC", **WHOLE | {"cutoff": "2030-03-10T08:00"})
    assert keep(lesson) == {}
    clock(day(10))
    assert [name.split(",")[0] for name in keep(lesson)] == ["collect ps1"]


def test_test_only_says_it(lesson, clock):
    plan(lesson, zone="UTC", **WHOLE)
    clock(day(1))
    assert list(keep(lesson, "--test").values()) == ["done: would be done"]
    assert not home(lesson).exists()
    assert list(keep(lesson).values()) == ["done: 3 done, 0 skipped, 0 failed"]


def test_what_was_refused_is_tried_again_and_stops_nothing_else(lesson, clock):
    plan(lesson, zone="UTC", **WHOLE)
    lesson.settings = dataclasses.replace(
        lesson.settings, assignments={"ps9": {"release": "2030-02-01T00:00"}, "ps1": WHOLE}
    )
    clock(day(1))
    first, second = keep(lesson).values()
    assert first.startswith("failed: there is no assignment ps9")
    assert second.startswith("done")
    assert keep(lesson) == {}
    clock(day(1) + timedelta(minutes=11))
    assert list(keep(lesson).values()) == [first]


def test_a_home_that_was_away_gets_it_by_the_next_try(lesson, clock):
    plan(lesson, zone="UTC", **WHOLE)
    ada = lesson.settings.homes / "ada"
    ada.rename(ada.with_name("away"))
    clock(day(1))
    assert list(keep(lesson).values()) == ["failed: 2 done, 0 skipped, 1 failed"]
    ada.with_name("away").rename(ada)
    clock(day(1) + timedelta(minutes=11))
    assert list(keep(lesson).values()) == ["done: 1 done, 2 skipped, 0 failed"]


def test_what_some_have_is_given_to_the_others_as_it_is(lesson, clock, monkeypatch):
    """The instructor is half-way through an edit when it is tried again for Ada, whose home was away."""
    course_dir = lesson.settings.course_dir
    source, away = course_dir / "source" / "ps1", lesson.settings.homes / "away"
    outbound = lesson.settings.course_exchange / "outbound" / "ps1"

    def generate(*_):
        if not list(source.iterdir()):
            raise Refused("nbgrader could not generate ps1")
        shutil.copytree(source, course_dir / "release" / "ps1", dirs_exist_ok=True)

    monkeypatch.setattr(release, "generate", generate)
    plan(lesson, zone="UTC", release=WHOLE["release"])
    source.mkdir()
    (lesson.settings.homes / "ada").rename(away)
    clock(day(1))
    assert list(keep(lesson).values()) == ["failed: nbgrader could not generate ps1"]
    (source / "notes.txt").write_text("whole")
    clock(day(1, 9))
    assert list(keep(lesson).values()) == ["failed: 2 done, 0 skipped, 1 failed"]
    (source / "notes.txt").write_text("half")
    clock(day(1, 10))
    keep(lesson)
    away.rename(lesson.settings.homes / "ada")
    clock(day(1, 11))
    assert list(keep(lesson).values()) == ["done: 1 done, 2 skipped, 0 failed"]
    for place in (outbound, home(lesson, "ada"), home(lesson, "ben")):
        assert (place / "notes.txt").read_text() == "whole"


def test_who_is_given_up_is_told_a_day_after_the_first_try(lesson, clock):
    """However late that was: the hub may have been down."""
    plan(lesson, zone="UTC", release=WHOLE["release"])
    (lesson.settings.homes / "ada").rename(lesson.settings.homes / "away")
    clock(day(5))
    assert list(keep(lesson).values()) == ["failed: 2 done, 0 skipped, 1 failed"]
    clock(day(6, 9))
    words = "failed: 0 done, 2 skipped, 1 failed; given up, say it by hand"
    assert list(keep(lesson).values()) == [words]
    clock(day(7))
    assert keep(lesson) == {}


def test_killed_before_every_step_the_next_run_completes(lesson, clock):
    plan(lesson, zone="UTC", release=WHOLE["release"], due=WHOLE["due"])
    clock(day(9))
    lesson.submit("ada")
    arguments = __main__.parser().parse_args(["keep-calendar"])
    step = 0
    while killed_at(step, lambda: calendar.keep(lesson.settings, arguments)):
        step += 1
    assert step > 30
    keep(lesson)
    assert keep(lesson) == {}
    journal = json.loads((lesson.settings.course_dir / calendar.JOURNAL).read_text())
    assert {entry["done"] for entry in journal.values()} == {True}
    assert home(lesson).is_dir()
    assert FILES.items() <= lesson.collected("ada").items()


def test_two_do_not_keep_it_at_once(lesson, clock):
    plan(lesson, **WHOLE)
    with calendar.Journal(lesson.settings).alone(), pytest.raises(Refused, match="another run"):
        keep(lesson)


def test_nothing_but_the_return_waits_for_grading(lesson, clock):
    plan(lesson, zone="UTC", autograde="collect", **WHOLE)
    clock(day(16))
    with calendar.Journal(lesson.settings).alone(grading=True):
        done = [name.split()[0] for name in keep(lesson, "--no-grading")]
        assert done == ["release", "collect"]
        for options in (["--grading"], []):
            with pytest.raises(Refused, match="another run"):
                keep(lesson, *options)
    assert [name.split()[0] for name in keep(lesson, "--grading")] == ["autograde"]


def test_what_was_graded_before_it_was_kept_apart_is_known(lesson, clock):
    plan(lesson, zone="UTC", autograde="collect", **WHOLE)
    entry = {"done": True, "at": day(9).isoformat(), "outcome": "done: 3 done, 0 skipped, 0 failed"}
    known = {action.key: entry for action in calendar.actions(lesson.settings)}
    path = lesson.settings.course_dir / calendar.JOURNAL
    path.write_text(json.dumps(known))
    clock(day(16))
    assert keep(lesson, "--grading") == keep(lesson, "--no-grading") == keep(lesson) == {}
    assert json.loads(path.read_text()) == known


def test_the_calendar_is_shown_with_what_became_of_it(lesson, clock):
    plan(lesson, **WHOLE, extensions={"ben": "2030-03-11T08:00"})
    clock(day(1))
    keep(lesson)
    shown = say(lesson, "calendar").summary["calendar"]["ps1"]
    assert shown["due"] == "2030-03-08 08:00+01:00"
    assert shown["extensions"] == {"ben": "2030-03-11 08:00+01:00"}
    release, *others = shown["actions"]
    assert release["outcome"] == "done: 3 done, 0 skipped, 0 failed"
    assert [action["outcome"] for action in others] == ["", "", ""]


def test_a_broken_record_is_told_in_a_sentence(lesson, clock):
    (lesson.settings.course_dir / calendar.JOURNAL).write_text("{")
    with pytest.raises(Refused, match="move it away"):
        keep(lesson)


# -- what is returned


@pytest.fixture
def graded():
    """Ada, Ben and Cyn are graded by tests; a person grades the rest."""
    with course() as made:
        grading.grade(made)
        yield made


def is_returned(lesson, user):
    return (lesson.settings.homes / user / "feedback" / "ps1").is_dir()


def collected(lesson, user):
    return lesson.settings.course_dir / "submitted" / user / "ps1"


def test_work_that_is_graded_after_the_return_is_returned_then(graded, clock):
    plan(graded, zone="UTC", **{"return": WHOLE["return"]})
    grading.grade_by_hand(graded, "ada", 2)
    clock(day(15))
    assert list(keep(graded).values()) == [
        "done: 1 done, 2 skipped, 0 failed; 2 still to be graded"
    ]
    clock(day(15, 9))
    assert keep(graded) == keep(graded, "--test") == {}
    grading.grade_by_hand(graded, "ben", 1)
    assert keep(graded) == {}
    clock(day(25))
    assert list(keep(graded, "--test").values()) == ["done: would be done"]
    assert list(keep(graded).values()) == [
        "done: 1 done, 0 skipped, 0 failed; 1 still to be graded"
    ]
    assert [is_returned(graded, user) for user in ("ada", "ben", "cyn")] == [True, True, False]
    grading.grade_by_hand(graded, "cyn", 1)
    clock(day(26))
    assert list(keep(graded).values()) == ["done: 1 done, 0 skipped, 0 failed"]
    clock(day(27))
    assert keep(graded) == {}


def test_newer_work_than_what_is_graded_waits(graded, clock):
    for user in grading.SOURCES:
        grading.grade_by_hand(graded, user, 2)
    assert calendar.waiting(graded.settings, "ps1") == []
    (collected(graded, "ben") / "timestamp.txt").write_text("2026-11-24 10:00:00.123456 UTC")
    assert calendar.waiting(graded.settings, "ps1") == ["ben"]
    (collected(graded, "cyn").parent.parent.parent / "autograded/cyn/ps1").rename(
        graded.top / "not graded"
    )
    assert calendar.waiting(graded.settings, "ps1") == ["ben", "cyn"]


def test_nothing_is_returned_before_it_could_be_graded(graded, clock):
    """The nodes have no image yet."""
    plan(graded, zone="UTC", due=WHOLE["due"], autograde="collect", **{"return": WHOLE["return"]})
    for user in grading.SOURCES:
        grading.grade_by_hand(graded, user, 2)
    clock(day(20))
    would = [name.split()[0] for name in keep(graded, "--test")]
    assert would == ["collect", "autograde", "return"]
    outcomes = keep(graded)
    assert [name.split()[0] for name in outcomes] == ["collect", "autograde"]
    assert list(outcomes.values())[1].startswith("failed: there is no image of the class yet")
    assert not is_returned(graded, "ada")
    journal = calendar.Journal(graded.settings)
    _, grade, _ = calendar.actions(graded.settings)
    journal.note(grade, {"done": True, "outcome": "done"})
    assert list(keep(graded).values()) == ["done: 3 done, 0 skipped, 0 failed"]


def test_who_has_an_extension_beyond_the_return_gets_a_return_of_their_own(graded, clock):
    plan(
        graded,
        zone="UTC",
        due=WHOLE["due"],
        extensions={"ada": "2030-03-18T08:00"},
        **{"return": WHOLE["return"]},
    )
    for user in grading.SOURCES:
        grading.grade_by_hand(graded, user, 2)
    collected(graded, "ada").rename(graded.top / "later")
    there = graded.settings.course_dir / "autograded/ada/ps1"
    there.rename(graded.top / "graded later")
    clock(day(16))
    assert [name.split()[0] for name in keep(graded)] == ["collect", "return"]
    (graded.top / "later").rename(collected(graded, "ada"))
    (graded.top / "graded later").rename(there)
    clock(day(18))
    assert [name.split()[0] for name in keep(graded)] == ["collect", "return"]
    assert is_returned(graded, "ada")
    clock(day(19))
    assert keep(graded) == {}
