"""Collecting: the submissions that count reach nbgrader's submitted/, whatever else lies about."""

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.support import attacks  # isort: skip
from tests.support.submissions import (  # isort: skip
    FILES,
    alone,
    course,
    environment,
    fill,
    killed_at,
    small_disk,
)

from classhub.course import sealing
from classhub.course.collecting import collect
from classhub.course.report import Refused
from classhub.course.times import Times, in_words, moment

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs real uids")


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Submissions of a test need not rest before they are sealed."""
    monkeypatch.setattr(sealing, "SETTLE", 0)


@pytest.fixture
def lesson():
    with course() as made:
        yield made


def run(lesson, times=Times(), **kwargs):  # noqa: B008
    return alone(lambda: collect(lesson.settings, "ps1", times, **kwargs))


def seal(lesson):
    return alone(lambda: sealing.seal(lesson.settings))


def now() -> datetime:
    return datetime.now(UTC)


def later() -> datetime:
    """A moment after all that is written, and before all that will be: file times come in steps of a few milliseconds."""
    time.sleep(0.02)
    moment = now()
    time.sleep(0.02)
    return moment


def hand_in(lesson, user, data):
    lesson.submit(user, {"problem1.ipynb": data})


# -- what counts


def test_collected_files_are_the_submitted_ones_and_roots(lesson):
    lesson.submit("ada")
    report = run(lesson)
    assert report.table["ada"].startswith("done: collected 2")
    assert FILES.items() <= lesson.collected("ada").items()
    assert list(report.summary["submitted"]) == ["ada"]
    assert report.summary["missing"] == {"ben": "nothing submitted", "cyn": "nothing submitted"}
    top = lesson.settings.course_dir / "submitted"
    for path in [top, *top.rglob("*")]:
        found = path.stat()
        assert (found.st_uid, found.st_mode & 0o777) == (0, 0o700 if path.is_dir() else 0o600)


def test_timestamp_is_when_it_was_made_in_nbgraders_format(lesson):
    lesson.submit("ada", name=lesson.name("ada", stamp="2001-01-01 00:00:00"))
    report = run(lesson)
    text = lesson.collected("ada")["timestamp.txt"].decode()
    made = datetime.strptime(text, "%Y-%m-%d %H:%M:%S.%f UTC").replace(tzinfo=UTC)
    assert made.isoformat() == report.summary["submitted"]["ada"]["made_at"]
    assert abs(now() - made) < timedelta(seconds=10)


def test_second_run_changes_nothing(lesson):
    lesson.submit("ada")
    run(lesson)
    place = lesson.settings.course_dir / "submitted" / "ada" / "ps1"
    before = place.stat()
    assert run(lesson).table["ada"] == "skipped: collected already"
    assert place.stat() == before


def test_newer_submission_takes_the_place_and_the_older_is_kept(lesson):
    for data in (b"first", b"second"):
        hand_in(lesson, "ada", data)
        report = run(lesson)
    assert " in place of 2" in report.table["ada"]
    assert lesson.collected("ada")["problem1.ipynb"] == b"second"
    (old,) = (lesson.settings.course_dir / "submitted/.previous/ada/ps1").iterdir()
    assert (old / "problem1.ipynb").read_bytes() == b"first"


def test_old_date_in_the_name_does_not_make_late_work_early(lesson):
    hand_in(lesson, "ben", b"in time")
    seal(lesson)
    due = later()
    lesson.submit("ada", name=lesson.name("ada", stamp="2001-01-01 00:00:00"))
    hand_in(lesson, "cyn", b"late")
    report = run(lesson, Times(due=due - timedelta(days=1, seconds=1)))
    assert report.summary["late"]["ada"].startswith("1 d 00:00:0")
    assert report.summary["submitted"]["ada"]["late_seconds"] >= 86400
    report = run(lesson, Times(due=due + timedelta(hours=1)))
    assert report.summary["late"] == {}


def test_future_date_in_the_name_does_not_stay_the_newest(lesson):
    lesson.submit("ada", {"problem1.ipynb": b"1"}, lesson.name("ada", stamp="2099-01-01 00:00:00"))
    run(lesson)
    hand_in(lesson, "ada", b"2")
    run(lesson)
    assert lesson.collected("ada")["problem1.ipynb"] == b"2"


def test_after_the_cutoff_only_an_extension_counts(lesson):
    for user in ("ada", "ben"):
        hand_in(lesson, user, b"in time")
    seal(lesson)
    cutoff = later()
    for user in ("ada", "ben", "cyn"):
        hand_in(lesson, user, b"after")
    times = Times(due=cutoff, cutoff=cutoff, extensions={"ben": cutoff + timedelta(hours=1)})
    report = run(lesson, times)
    assert lesson.collected("ada")["problem1.ipynb"] == b"in time"
    assert lesson.collected("ben")["problem1.ipynb"] == b"after"
    assert report.summary["missing"] == {"cyn": "submitted only after the cutoff"}
    assert report.summary["late"] == {}
    assert len(lesson.sealed("cyn")) == 1  # sealed all the same


def test_deleted_then_resubmitted(lesson):
    place = lesson.submit("ada", {"problem1.ipynb": b"first"})
    run(lesson)
    shutil.rmtree(place)
    assert run(lesson).table["ada"] == "skipped: collected already"
    lesson.submit("ada", {"problem1.ipynb": b"second"}, place.name)
    run(lesson)
    assert lesson.collected("ada")["problem1.ipynb"] == b"second"


def test_newer_collected_one_stays_when_the_cutoff_comes_later(lesson):
    hand_in(lesson, "ada", b"first")
    seal(lesson)
    cutoff = later()
    hand_in(lesson, "ada", b"second")
    run(lesson)
    assert "stays" in run(lesson, Times(cutoff=cutoff)).table["ada"]
    assert lesson.collected("ada")["problem1.ipynb"] == b"second"


def test_what_did_not_come_from_the_store_is_not_replaced(lesson):
    lesson.submit("ada")
    lesson.submit("ben")
    place = lesson.settings.course_dir / "submitted" / "ada" / "ps1"
    place.mkdir(parents=True)
    (place / "problem1.ipynb").write_text("the instructor's own copy")
    report = run(lesson)
    assert "move it away" in report.table["ada"]
    assert report.table["ben"].startswith("done")
    assert (place / "problem1.ipynb").read_text() == "the instructor's own copy"


def test_damaged_seal_is_not_collected(lesson):
    lesson.submit("ada")
    lesson.submit("ben")
    seal(lesson)
    (line,) = lesson.store.ledger.of("ada")
    (lesson.store.place(line) / "files" / "problem1.ipynb").write_bytes(b'{"cells": {}}')
    report = run(lesson)
    assert "is not as it was sealed" in report.table["ada"]
    assert report.table["ben"].startswith("done")
    assert lesson.collected("ada") == {}


def test_test_mode_predicts_and_changes_nothing(lesson):
    lesson.submit("ada")
    seal(lesson)
    assert run(lesson, test=True).table["ada"].startswith("done: would collect")
    assert not (lesson.settings.course_dir / "submitted").exists()


def test_unknown_assignment_is_refused(lesson):
    with pytest.raises(Refused, match="no assignment 'ps9'"):
        collect(lesson.settings, "ps9", Times())


# -- attacks


def test_a_class_full_of_attackers_leaves_the_honest_collected():
    names = [f"a{number:02}" for number in range(len(attacks.REASONS))]
    # The attacks lay things beside ada, and give files to ben.
    with course("ada", "ben", "cyn", *names) as lesson:
        for user in ("ada", "ben", "cyn"):
            hand_in(lesson, user, user.encode())
        for user, attack in zip(names, attacks.REASONS, strict=True):
            attacks.laid(lesson, user, attack)
        forged = lesson.name("ada")
        place = lesson.submit("ben", {"problem1.ipynb": b"forged"}, forged)
        report = run(lesson)
        for user, reason in zip(names, attacks.REASONS.values(), strict=True):
            assert reason in report.table[user]
            assert lesson.collected(user) == {}
            assert report.summary["missing"][user] == "nothing submitted"
        for user in ("ada", "ben", "cyn"):
            assert lesson.collected(user)["problem1.ipynb"] == user.encode()
        assert place.exists()
        assert len(report.summary["quarantined"]) == len(names) + 1
        assert "claims to be from ada" in report.table["ben"]
        top = lesson.settings.course_dir / "submitted"
        assert not any(
            b"SOLUTION" in path.read_bytes() for path in top.rglob("*.*") if path.is_file()
        )


# -- kills, full disks


@pytest.mark.slow
@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.long)])
def test_killed_before_any_step_the_next_run_completes(stride):
    step, died = random.randrange(stride), True
    while died:
        with course("ada", "ben") as lesson:
            for user in ("ada", "ben"):
                hand_in(lesson, user, b"first")
            run(lesson)
            for user in ("ada", "ben"):
                hand_in(lesson, user, b"second")
            died = killed_at(step, lambda made=lesson: collect(made.settings, "ps1", Times()))
            report = run(lesson)
            assert not report.failed
            top = lesson.settings.course_dir / "submitted"
            for user in ("ada", "ben"):
                assert lesson.collected(user)["problem1.ipynb"] == b"second"
                (old,) = (top / ".previous" / user / "ps1").iterdir()
                assert (old / "problem1.ipynb").read_bytes() == b"first"
            assert list((top / ".staging").iterdir()) == []
            assert list(lesson.store.verify()) == []
        step += stride
    assert step > 100


@pytest.mark.slow
def test_full_disk_leaves_what_was_collected_and_a_plain_run_completes(lesson):
    (lesson.settings.course_exchange / "outbound" / "ps1").mkdir()
    users = ("ada", "ben", "cyn")
    with small_disk(lesson.settings.course_dir) as filler:
        for user in users:
            hand_in(lesson, user, b"first")
        run(lesson)
        for user in users:
            hand_in(lesson, user, os.urandom(300_000))
        told = []
        for left in range(0, 300_000, 8192):
            fill(filler, left)
            with contextlib.suppress(OSError):  # the command line tells it as an error
                told += run(lesson).table.values()
            for user in users:
                assert lesson.collected(user)["problem1.ipynb"] == b"first"
        assert "No space left on device" in " ".join(told)
        filler.unlink()
        assert not run(lesson).failed
        for user in users:
            assert len(lesson.collected(user)["problem1.ipynb"]) == 300_000


# -- the command line


def verb(lesson, *words):
    command = [sys.executable, "-m", "classhub.course", "--config", lesson.config(), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=False)
    return done.returncode, json.loads(done.stdout)


@pytest.mark.slow
def test_verbs_of_the_command_line(lesson):
    lesson.submit("ada")
    code, report = verb(lesson, "collect", "ps1", "--due", "2001-01-01T00:00")
    assert (code, list(report["summary"]["late"])) == (0, ["ada"])
    assert verb(lesson, "seal")[0] == 0
    assert verb(lesson, "receipt", "ada", "ps1")[1]["summary"]["receipts"][0]["user"] == "ada"
    assert verb(lesson, "verify")[1]["table"] == {"ada": "done: 1 sealed"}
    code, report = verb(lesson, "collect", "ps1", "--due", "tomorrow")
    assert (code, list(report)) == (2, ["error"])
    (lesson.settings.store / "ledger.jsonl").write_bytes(b"{}\n")
    assert verb(lesson, "verify")[0] == 1


# -- small things


def test_times_without_a_zone_are_the_courses():
    winter, summer = (moment(f"2030-{month}-15T12:00", "Europe/Berlin") for month in ("01", "07"))
    assert (winter.hour, summer.hour) == (11, 10)
    assert moment("2030-01-15T12:00+05:00", "Europe/Berlin").hour == 7
    with pytest.raises(Refused, match="is not a time"):
        moment("noon", "Europe/Berlin")


@pytest.mark.parametrize(
    ("seconds", "words"), [(59, "00:00:59"), (3600, "01:00:00"), (90061, "1 d 01:01:01")]
)
def test_duration_in_words(seconds, words):
    assert in_words(seconds) == words


def test_extension_never_shortens():
    due = now()
    times = Times(due, None, {"ada": due - timedelta(days=1)})
    assert times.due_for("ada") == due
    assert times.cutoff_for("ada") is None
