"""Returning graded work: whole, to its student alone, with hidden tests hidden, and never over what is there."""

import dataclasses
import os

import pytest
from nbgrader.api import Gradebook

from tests.support import grading  # isort: skip
from tests.support.submissions import alone, course, fill, killed_at, small_disk  # isort: skip

from classhub.activity.progress import progress
from classhub.course import __main__, feedback, gradebook, grades
from classhub.course.homes import acting_as
from classhub.course.report import Refused

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs real uids")


@pytest.fixture
def lesson():
    with course("ada", "ben", "cyn", "dan") as made:
        grading.grade(made)
        yield made


def say(lesson, *words):
    """The report of a verb, as the command line makes it."""
    arguments = __main__.parser().parse_args([str(word) for word in words])
    return alone(lambda: arguments.run(lesson.settings, arguments))


def give(lesson, *options):
    return say(lesson, "return", "ps1", "--force", *options)


def page(lesson, user="ada"):
    return lesson.settings.homes / user / "feedback" / "ps1" / "squares.html"


def in_exchange(lesson, user="ada"):
    return sorted((lesson.settings.course_exchange / "students" / user / "feedback").iterdir())


def test_feedback_is_made_and_given_to_nobody(lesson):
    report = say(lesson, "feedback", "ps1")
    assert report.table["ada"] == "done: 1 pages"
    assert report.table["dan"] == "skipped: is not graded"
    assert (lesson.settings.course_dir / "feedback/ada/ps1/squares.html").is_file()
    assert not page(lesson).exists()
    assert not (lesson.settings.course_dir / ".feedback").exists()


def test_hidden_tests_stay_hidden_also_in_the_traceback(lesson):
    say(lesson, "feedback", "ps1")
    for user in grading.SOURCES:
        text = (lesson.settings.course_dir / f"feedback/{user}/ps1/squares.html").read_text()
        assert "square(7)" not in text
        assert "49" not in text.replace("#494949", "").split("<body")[1]
        assert "hidden tests" in text
    ben = (lesson.settings.course_dir / "feedback/ben/ps1/squares.html").read_text()
    assert "AssertionError: in a hidden test" in ben
    autograded = (lesson.settings.course_dir / "autograded/ben/ps1/squares.ipynb").read_text()
    assert grading.HIDDEN in autograded  # the grader sees them


def test_pages_come_home_as_the_students_and_to_the_exchange_as_roots(lesson):
    report = give(lesson, "--generate")
    assert report.table["ada"].startswith("done: is in ~/feedback/ps1")
    uid = lesson.uid("ada")
    assert page(lesson).stat().st_uid == uid
    (listed,) = in_exchange(lesson)
    found = listed.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (0, uid, 0o640)
    assert listed.read_bytes() == page(lesson).read_bytes()
    assert listed.name == feedback.page_name(grading.SECRET.encode(), "squares")
    assert report.table["dan"] == "skipped: is not graded"
    assert report.summary["not_graded"] == ["dan"]


def test_a_student_reads_the_own_pages_and_not_anothers(lesson):
    give(lesson, "--generate")

    def tried(reader, owner):
        with acting_as(lesson.settings.by_name[reader]):
            try:
                with open(in_there, "rb") as file:
                    return bool(file.read())
            except PermissionError:
                return "refused"

    for owner in ("ada", "ben"):
        (in_there,) = in_exchange(lesson, owner)
        for reader in ("ada", "ben"):
            expected = True if reader == owner else "refused"
            assert alone(lambda: tried(reader, owner)) == expected  # noqa: B023


def test_returning_again_changes_nothing(lesson):
    give(lesson, "--generate")

    def state():
        found = [path.stat() for path in (page(lesson), *in_exchange(lesson))]
        return [(one.st_ino, one.st_mtime_ns, one.st_ctime_ns) for one in found]

    before = state()
    report = give(lesson, "--generate")
    assert report.table["ada"] == "skipped: is returned already"
    assert state() == before


def test_a_new_grade_is_returned_and_the_earlier_page_is_kept(lesson):
    give(lesson, "--generate")
    old = page(lesson).read_bytes()
    grading.grade_by_hand(lesson, "ada", 2)
    report = give(lesson, "--generate")
    assert "what was there is in ~/feedback/ps1.before-" in report.table["ada"]
    assert page(lesson).read_bytes() != old
    (kept,) = page(lesson).parent.parent.glob("ps1.before-*/squares.html")
    assert kept.read_bytes() == old
    assert in_exchange(lesson)[0].read_bytes() == page(lesson).read_bytes()
    assert report.table["ben"] == "skipped: is returned already"


def test_what_is_not_graded_to_the_end_waits(lesson):
    grading.grade_by_hand(lesson, "ada", 1)
    report = say(lesson, "return", "ps1", "--generate")
    assert report.table["ada"].startswith("done")
    assert report.table["ben"] == "skipped: a person still has to grade a part of it"
    assert report.summary["unfinished"] == ["ben", "cyn"]
    assert not page(lesson, "ben").exists()


def test_test_changes_nothing(lesson):
    report = give(lesson, "--generate", "--test")
    assert report.table["ada"] == "done: would be returned"
    assert not page(lesson).exists()
    assert not (lesson.settings.course_dir / "feedback").exists()


def test_only_those_named_are_returned(lesson):
    report = give(lesson, "--generate", "--students=ben")
    assert list(report.table) == ["ben"]
    assert page(lesson, "ben").exists()
    assert not (lesson.settings.course_dir / "feedback" / "ada").exists()


@pytest.mark.parametrize("secret", [None, b"\xff\xfe", b"x" * 5000])
def test_one_odd_secret_costs_its_student_the_list_and_nobody_anything_else(lesson, secret):
    place = lesson.settings.course_dir / "autograded/ada/ps1/submission_secret.txt"
    place.chmod(0o600)
    place.unlink()
    if secret is not None:
        place.write_bytes(secret)
    report = give(lesson, "--generate")
    assert "nbgrader's list cannot show it" in report.table["ada"]
    assert report.table["ada"].startswith("failed: is in ~/feedback/ps1")
    assert page(lesson).exists()
    assert report.table["ben"].startswith("done")


def test_one_broken_submission_stops_nobody(lesson):
    place = lesson.settings.course_dir / "autograded/ada/ps1/squares.ipynb"
    place.chmod(0o600)
    place.write_text("{")
    report = give(lesson, "--generate")
    assert report.table["ada"] == "failed: nbgrader made no page of squares"
    assert report.table["ben"].startswith("done")


def test_traps_in_a_home_lead_nowhere(lesson, tmp_path):
    tmp_path.chmod(0o777)
    target = tmp_path / "target"
    target.mkdir()
    home = lesson.settings.homes
    (home / "ada" / "feedback").symlink_to(target)
    (home / "ben" / "feedback").mkdir()
    os.chown(home / "ben" / "feedback", lesson.uid("ben"), lesson.uid("ben"))
    (home / "ben" / "feedback" / "ps1").symlink_to(target)
    report = give(lesson, "--generate")
    assert report.table["ada"].startswith("failed: ~/feedback is not a directory")
    assert report.table["ben"].startswith("done")
    assert list(target.iterdir()) == []
    assert page(lesson, "ben").is_file()
    assert report.table["cyn"].startswith("done")


def test_killed_before_every_step_and_said_again_it_is_complete(lesson):
    say(lesson, "feedback", "ps1")
    step = 0
    while killed_at(step, lambda: give_here(lesson)):
        step += 1
    assert step > 10
    report = give(lesson)
    assert not report.failed
    for user in grading.SOURCES:
        made = lesson.settings.course_dir / "feedback" / user / "ps1" / "squares.html"
        assert page(lesson, user).read_bytes() == made.read_bytes()
        assert [path.read_bytes() for path in in_exchange(lesson, user)] == [made.read_bytes()]


def give_here(lesson):
    arguments = __main__.parser().parse_args(["return", "ps1", "--force"])
    arguments.run(lesson.settings, arguments)


def test_a_full_disk_is_told_and_a_rerun_completes(lesson):
    say(lesson, "feedback", "ps1")
    home = lesson.settings.homes / "ada"
    with small_disk(home) as filler:
        os.chown(home, lesson.uid("ada"), lesson.uid("ada"))
        fill(filler, 8192)
        assert give(lesson).table["ada"] == "failed: the disk is full"
        assert not page(lesson).exists()
        filler.unlink()
        assert give(lesson).table["ada"].startswith("done")
        assert page(lesson).exists()


def test_an_unknown_assignment_is_refused(lesson):
    with pytest.raises(Refused, match="there is no assignment nope"):
        say(lesson, "return", "nope", "--generate")


def test_a_run_in_hand_is_waited_for_by_saying_it_again(lesson):
    with (
        feedback.alone_in(lesson.settings.course_dir, "ps1"),
        pytest.raises(Refused, match="try again"),
    ):
        say(lesson, "feedback", "ps1")


# -- grades


def rows(lesson, *words):
    report = say(lesson, "grades", *words)
    return [line.split(",") for line in report.summary["csv"].splitlines()]


def test_grades_as_plain_csv(lesson):
    found = {row[1]: row for row in rows(lesson, "ps1")}
    assert found["ada"][4:] == ["3", "5", "0", "no"]
    assert found["ben"][4:] == ["1", "5", "0", "no"]
    assert found["dan"][4:] == ["", "5", "", "no"]
    grading.grade_by_hand(lesson, "ada", 1.5)
    found = {row[1]: row for row in rows(lesson)}
    assert found["ada"][4:] == ["4.5", "5", "0", "yes"]


def test_grades_for_canvas_and_moodle(lesson):
    head, most, *people = rows(lesson, "--format=canvas")
    assert head == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "ps1"]
    assert most[0].strip() == "Points Possible"
    assert most[-1] == "5"
    assert [row[3] for row in people] == ["ada", "ben", "cyn", "dan"]
    assert [row[-1] for row in people] == ["3", "1", "3", ""]
    assert rows(lesson, "--format=moodle")[1] == ["ada", "", "3"]


def test_points_are_those_of_nbgraders_own_export(lesson):
    course_dir = lesson.settings.course_dir
    grading.nbgrader(course_dir, "export")
    head, *lines = [
        line.split(",") for line in (course_dir / "grades.csv").read_text().splitlines()
    ]
    theirs = {row[head.index("student_id")]: float(row[head.index("score")]) for row in lines}
    ours = {row[1]: float(row[4]) for row in rows(lesson)[1:] if row[4]}
    assert ours == {user: theirs[user] for user in ours}
    assert len(ours) == 3


@pytest.fixture
def late(lesson):
    """All are an hour late, for which they have no points; ada's essay was graded by hand since."""
    due = {"ps1": {"due": "2026-11-23T09:00:00+00:00"}}
    lesson.settings = dataclasses.replace(lesson.settings, assignments=due, late_penalty="zero")
    grading.grade_by_hand(lesson, "ada", 2)
    return lesson


def test_late_work_has_no_points_whatever_a_person_gave(late):
    assert rows(late)[1][4:] == ["0", "5", "5", "yes"]
    say(late, "feedback", "ps1", "--students=ada")
    page = (late.settings.course_dir / "feedback/ada/ps1/squares.html").read_text()
    assert "(Score: 0.0 / 5.0)" in page
    assert "Late submission penalty (Score: -5.0)" in page
    grading.nbgrader(late.settings.course_dir, "export")
    head, line, *_ = (late.settings.course_dir / "grades.csv").read_text().splitlines()
    told = dict(zip(head.split(","), line.split(","), strict=True))
    assert [told[key] for key in ("student_id", "raw_score", "score")] == ["ada", "5.0", "0.0"]


def test_points_are_told_by_an_extension_at_once(late):
    extended = {"ps1": {**late.settings.assignments["ps1"], "extensions": {}}}
    extended["ps1"]["extensions"]["ada"] = "2026-11-23T10:30:00+00:00"
    late.settings = dataclasses.replace(late.settings, assignments=extended)
    assert [row[4:] for row in rows(late)[1:3]] == [["5", "5", "0", "yes"], ["0", "5", "1", "no"]]


def test_a_penalty_that_is_not_the_courses_stays(lesson):
    with Gradebook(f"sqlite:///{lesson.settings.course_dir}/gradebook.db") as book:
        book.find_submission_notebook("squares", "ps1", "ada").late_submission_penalty = 0.5
        book.db.commit()
    say(lesson, "feedback", "ps1", "--students=ada")
    assert rows(lesson)[1][4:] == ["2.5", "5", "0.5", "no"]


def test_no_spreadsheet_runs_a_name():
    assert grades.text("=cmd|' /C calc'!A0").startswith("'=")
    assert grades.text("Ada") == "Ada"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["ps9"], "nothing of ps9 is graded yet; graded are: ps1"),
        (["--format=xls"], "no format xls"),
    ],
)
def test_grades_that_cannot_be_had_are_refused(lesson, words, sentence):
    with pytest.raises(Refused, match=sentence):
        say(lesson, "grades", *words)


def test_no_gradebook_is_made_by_looking(lesson):
    (lesson.settings.course_dir / "gradebook.db").unlink()
    with pytest.raises(Refused, match="nothing is graded yet"):
        say(lesson, "grades")
    assert gradebook.marks(lesson.settings) == {}
    assert not (lesson.settings.course_dir / "gradebook.db").exists()


def test_a_broken_gradebook_is_told_in_a_sentence(lesson):
    (lesson.settings.course_dir / "gradebook.db").write_bytes(b"no database" * 1000)
    with pytest.raises(Refused, match="cannot be read"):
        say(lesson, "grades")


# -- status


def test_status_tells_the_whole_way(lesson, monkeypatch):
    monkeypatch.setattr("classhub.course.sealing.SETTLE", 0)
    assert say(lesson, "status", "ps1").table["dan"] == "skipped: does not have it"
    say(lesson, "release", "ps1")
    assert say(lesson, "status", "ps1").table["dan"] == "done: has it"
    book = lesson.settings.homes / "dan" / "ps1" / "squares.ipynb"
    book.write_text("worked")
    lesson.submit("dan", {"squares.ipynb": b"worked"})
    say(lesson, "seal")
    give(lesson, "--generate", "--students=ada")
    report = say(lesson, "status", "ps1")
    assert report.table["dan"].startswith("done: has it, opened; submitted 20")
    told = "done: has it; collected; graded 3 of 5; a part is to grade by hand"
    assert report.table["ada"] == f"{told}; returned"
    assert report.table["cyn"] == told
    counts = report.summary["counts"]
    assert counts["returned"] == 1
    assert counts["graded"] == 3
    assert counts["opened"] == counts["submitted"] == 1


def test_who_has_not_begun_is_told_and_progress_is_counted(lesson):
    say(lesson, "release", "ps1")
    (lesson.settings.homes / "dan" / "ps1" / "squares.ipynb").write_text("worked")
    rows = say(lesson, "activity", "unstarted", "ps1").summary["rows"]
    assert rows == [{"user": "ada"}, {"user": "ben"}, {"user": "cyn"}]
    text = say(lesson, "activity", "unstarted", "ps1", "--format=csv").summary["csv"]
    assert text == "user\nada\nben\ncyn\n"
    counts = alone(lambda: progress(lesson.settings))["ps1"]
    assert (counts["people"], counts["has"], counts["opened"]) == (4, 4, 1)


@pytest.mark.parametrize("form", ["json", "csv"])
def test_who_could_not_be_looked_at_is_not_said_to_have_done_nothing(lesson, form):
    say(lesson, "release", "ps1", "--students=ben,dan")
    (lesson.settings.homes / "ada" / "ps1").symlink_to("/etc")
    report = say(lesson, "activity", "unstarted", "ps1", f"--format={form}")
    assert report.table == {"ada": "failed: ~/ps1 is a symbolic link"}
    assert report.failed
    told = {
        "json": [{"user": user} for user in ("ben", "cyn", "dan")],
        "csv": "user\nben\ncyn\ndan\n",
    }
    assert told[form] in report.summary.values()


def test_status_of_a_home_with_a_link_fails_alone(lesson):
    (lesson.settings.homes / "ada" / "ps1").symlink_to("/etc")
    report = say(lesson, "status", "ps1")
    assert report.table["ada"] == "failed: ~/ps1 is a symbolic link"
    assert report.table["ben"].startswith("done")
