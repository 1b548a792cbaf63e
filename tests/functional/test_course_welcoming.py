"""Who comes late gets what was released before, once."""

import dataclasses
import json
import os

import pytest

from tests.support.submissions import FILES, alone, course  # isort: skip

from classhub.course import __main__
from classhub.course.report import Refused

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others, so it needs root")


@pytest.fixture
def lesson():
    with course() as made:
        made.settings = dataclasses.replace(
            made.settings, welcomed=made.settings.course_dir.parent / "welcomed.json"
        )
        for name in ("ps1", "ps2"):
            release = made.settings.course_dir / "release" / name
            release.mkdir(parents=True)
            (release / "problem1.ipynb").write_bytes(FILES["problem1.ipynb"])
        yield made


def say(lesson, *words):
    arguments = __main__.parser().parse_args(list(words))
    return alone(lambda: arguments.run(lesson.settings, arguments)).table


def without(lesson, name):
    people = tuple(p for p in lesson.settings.people if p.username != name)
    return dataclasses.replace(lesson.settings, people=people)


def students(lesson):
    return [person.username for person in lesson.settings.students]


def test_newcomer_gets_what_is_released_and_the_others_nothing_new(lesson):
    whole, (late, *others) = lesson.settings, students(lesson)
    lesson.settings = without(lesson, late)
    assert say(lesson, "welcome") == dict.fromkeys(others, "done: nothing given")
    say(lesson, "release", "ps1")
    thrown = lesson.settings.homes / others[0] / "ps1"
    (thrown / "problem1.ipynb").unlink()
    thrown.rmdir()

    lesson.settings = whole
    assert say(lesson, "welcome", "--test") == {late: "done: ps1 given"}
    assert not (whole.homes / late / "ps1").exists()
    assert say(lesson, "welcome") == {late: "done: ps1 given"}
    assert (whole.homes / late / "ps1/problem1.ipynb").exists()
    assert not (whole.homes / late / "ps2").exists(), "it is not released yet"
    assert not thrown.exists(), "who threw it away keeps it so"
    assert say(lesson, "welcome") == {}


def test_who_comes_back_gets_what_was_released_meanwhile_and_keeps_the_own_work(lesson):
    whole, back = lesson.settings, students(lesson)[0]
    say(lesson, "release", "ps1")
    say(lesson, "welcome")
    work = whole.homes / back / "ps1/problem1.ipynb"
    work.write_text("mine")
    lesson.settings = without(lesson, back)
    say(lesson, "welcome")
    say(lesson, "release", "ps2")
    lesson.settings = whole
    assert say(lesson, "welcome") == {back: "done: ps2 given"}
    assert work.read_text() == "mine"


def test_whom_it_failed_for_is_tried_again(lesson):
    unlucky, *others = students(lesson)
    say(lesson, "release", "ps1", "--students", others[0])
    in_the_way = lesson.settings.homes / unlucky / "ps1"
    in_the_way.write_text("a file")
    table = say(lesson, "welcome")
    assert table[unlucky].startswith("failed: ps1 failed: ~/ps1 is a file")
    assert table[others[-1]].startswith("done:")
    in_the_way.unlink()
    assert say(lesson, "welcome") == {unlucky: "done: ps1 given"}


def test_record_that_cannot_be_read(lesson):
    lesson.settings.welcomed.write_text("{")
    with pytest.raises(Refused, match="remove it, and everybody gets what they lack"):
        say(lesson, "welcome")
    lesson.settings.welcomed.unlink()
    say(lesson, "welcome")
    assert json.loads(lesson.settings.welcomed.read_text()) == sorted(students(lesson))
