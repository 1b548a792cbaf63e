"""Grading a class: the verb as a whole, with this machine as its node."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from argparse import Namespace
from datetime import UTC, datetime, timedelta

import nbformat
import pytest
from nbgrader.api import Gradebook

from tests.support import grading
from tests.support.local_nodes import LocalNodes
from tests.support.submissions import alone, contents, course, environment, fill, small_disk

from classhub.course import __main__, calendar, release, sealing  # isort: skip
from classhub.course.gradebook import scores
from classhub.course.report import Refused
from classhub.grading import autograde, workers
from classhub.grading.nodes import Finished
from classhub.grading.submission import Bench

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs namespaces and uids")


@pytest.fixture
def lesson():
    with course() as found:
        grading.grade(found)
        found.settings = dataclasses.replace(found.settings, spool=found.top / "spool")
        yield found


def run(lesson, nodes=None, **words):
    arguments = Namespace(
        **{"assignment": "ps1", "students": "", "force": False, "test": False} | words
    )
    return autograde.grade_with(lesson.settings, arguments, nodes or LocalNodes()).as_dict()


def rows(lesson):
    """What the gradebook says of each cell of each submission."""
    query = """
        select student_id, base_cell.name, auto_score, manual_score, needs_manual_grade,
            (select auto_comment from comment where comment.notebook_id = grade.notebook_id
             and comment.cell_id = grade.cell_id),
            late_submission_penalty
        from grade
        join base_cell on base_cell.id = cell_id
        join submitted_notebook on submitted_notebook.id = grade.notebook_id
        join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id
    """
    with contextlib.closing(sqlite3.connect(lesson.settings.course_dir / "gradebook.db")) as book:
        return sorted(book.execute(query), key=repr)


def submit(lesson, user, body="return x * x", stamp="2026-11-23 11:00:00.123456 UTC", **files):
    """What `collect` leaves, in place of what is there."""
    place = lesson.settings.course_dir / "submitted" / user / "ps1"
    nbformat.write(grading.submission(body), place / "squares.ipynb")
    (place / "timestamp.txt").write_text(stamp)
    for name, data in files.items():
        (place / name).write_text(data)
    return place / "squares.ipynb"


def outputs(lesson, user, name):
    """The outputs of a graded cell."""
    path = lesson.settings.course_dir / "autograded" / user / "ps1" / "squares.ipynb"
    cells = nbformat.read(path, as_version=4).cells
    return next(c for c in cells if c.metadata.get("nbgrader", {}).get("grade_id") == name).outputs


def test_scores_files_and_comments_are_those_of_nbgrader(lesson):
    stock = rows(lesson), contents(lesson.settings.course_dir / "autograded")
    report = run(lesson)
    assert report["table"] == {
        "ada": "done: 3 of 5, a person still has to grade a part",
        "ben": "done: 1 of 5, a person still has to grade a part",
        "cyn": "done: 3 of 5, a person still has to grade a part",
    }
    assert report["summary"]["notes"] == {}
    assert rows(lesson) == stock[0]
    ours = contents(lesson.settings.course_dir / "autograded")
    assert set(ours) == set(stock[1])
    for path, data in ours.items():
        if not path.endswith(".ipynb"):
            assert data == stock[1][path]
            continue
        mine, theirs = (nbformat.reads(book.decode(), 4) for book in (data, stock[1][path]))
        assert [cell.source for cell in mine.cells] == [cell.source for cell in theirs.cells]
        assert [c.get("execution_count") for c in mine.cells] == [
            c.get("execution_count") for c in theirs.cells
        ]
        assert mine.metadata == theirs.metadata
    assert not list(lesson.settings.spool.iterdir())
    assert not (lesson.settings.course_dir / ".grading").exists()


def test_who_is_graded_is_graded_again_only_for_a_reason(lesson):
    run(lesson)
    assert set(run(lesson)["table"].values()) == {"skipped: is graded already"}
    submit(lesson, "ben")
    nodes = LocalNodes()
    assert run(lesson, nodes)["table"]["ben"].startswith("done: 3 of 5")
    assert nodes.rounds == [1]
    assert run(lesson, students="ada", force=True)["table"] == {
        "ada": "done: 3 of 5, a person still has to grade a part"
    }


def test_only_say_what_would_be_done(lesson):
    before = contents(lesson.settings.course_dir)
    assert set(run(lesson, test=True)["table"].values()) == {"done: would be graded"}
    assert contents(lesson.settings.course_dir) == before
    assert not lesson.settings.spool.exists()


def test_points_that_a_person_gave_stay(lesson):
    run(lesson)
    grading.grade_by_hand(lesson, "ada", 2)
    assert str(scores(lesson.settings, "ps1")["ada"]) == "5 of 5"
    assert not scores(lesson.settings, "ps1")["ada"].unfinished
    run(lesson, force=True)
    assert str(scores(lesson.settings, "ps1")["ada"]) == "5 of 5"
    assert scores(lesson.settings, "ps1")["ada"].unfinished


def test_who_has_nothing_collected_is_passed_over(lesson):
    place = lesson.settings.course_dir / "submitted" / "ben"
    place.rename(place.with_name("zoe"))
    assert run(lesson)["table"]["ben"] == "skipped: nothing is collected"


def test_bad_words_are_refused(lesson):
    with pytest.raises(Refused, match="there is no assignment ps9"):
        run(lesson, assignment="ps9")
    with pytest.raises(Refused, match="not in the roster: zoe"):
        run(lesson, students="zoe")
    (lesson.settings.course_dir / "source" / "ps2").mkdir()
    with pytest.raises(Refused, match="does not know ps2 yet: make its release version first"):
        run(lesson, assignment="ps2")
    (lesson.settings.course_dir / "release" / "ps1" / "squares.ipynb").unlink()
    with pytest.raises(Refused, match="has no usable release version"):
        run(lesson)
    (lesson.settings.course_dir / "gradebook.db").unlink()
    with pytest.raises(Refused, match="does not know ps1 yet"):
        run(lesson)
    assert not (lesson.settings.course_dir / "gradebook.db").exists()


# -- what is not as it should be


def test_a_missing_notebook_has_no_points(lesson):
    submit(lesson, "ben").unlink()
    report = run(lesson, students="ben")
    assert report["table"]["ben"] == "done: 0 of 5; squares.ipynb: is missing"
    assert {row[2] for row in rows(lesson) if row[0] == "ben"} == {0}


def test_an_unreadable_notebook_costs_nobody_else(lesson):
    submit(lesson, "ben").write_bytes(b"\x00" * 100)
    report = run(lesson)
    assert report["table"]["ben"].startswith("done: 0 of 5; squares.ipynb: cannot be read")
    assert report["summary"]["done"] == 3


def test_repairs_are_told_to_the_grader(lesson):
    path = submit(lesson, "ben")
    book = nbformat.read(path, 4)
    del book.cells[2:4]
    book.metadata = {}
    nbformat.write(book, path)
    report = run(lesson, students="ben")
    assert report["table"]["ben"].startswith("done: 3 of 5")
    assert "squares.ipynb: test_two: was missing" in report["summary"]["notes"]["ben"]
    graded = lesson.settings.course_dir / "autograded" / "ben" / "ps1" / "squares.ipynb"
    assert "test_two: was missing" in nbformat.read(graded, 4).cells[0].source


STRIPPED = """import ast
class Strip(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.copy_location(ast.Pass(), node)
get_ipython().ast_transformers.append(Strip())"""


def test_tests_whose_asserts_were_taken_out_prove_nothing(lesson):
    submit(lesson, "ben", "return 0\n" + STRIPPED)
    report = run(lesson, students="ben")
    assert report["table"]["ben"].startswith("done: 0 of 5")
    assert outputs(lesson, "ben", "test_two")[-1].ename == "CanaryError"
    assert "proves nothing" in report["table"]["ben"]


def test_a_value_shown_by_what_a_test_calls_gives_no_points(lesson):
    submit(lesson, "ben", "import sys; sys.displayhook('all right'); return 0")
    report = run(lesson, students="ben")
    assert report["table"]["ben"].startswith("done: 0 of 5")
    assert (
        "test_two: shows more than one value or error; the least counts" in report["table"]["ben"]
    )
    submit(lesson, "ben", "import sys; sys.displayhook(100); return 0")
    report = run(lesson, students="ben")
    assert report["table"]["ben"].startswith("done: 0 of 5")
    assert "test_two: shows what is no number of points" in report["table"]["ben"]


def test_what_a_student_says_in_an_error_is_one_line_of_print(lesson, capsys):
    said = r"5 of 5\x1b[2J\n\n\u202edone"
    submit(lesson, "ben", f"class GradingError(Exception): pass\n    raise GradingError('{said}')")
    report = run(lesson, students="ben")
    shown = "squares.ipynb: GradingError: 5 of 5 [2J   done"
    assert report["table"]["ben"].endswith(f"; {shown}")
    assert report["summary"]["notes"]["ben"] == [shown]
    assert "\x1b" not in capsys.readouterr().err


def test_nothing_in_a_notebook_tells_the_digest_of_its_job(lesson):
    bench = Bench(lesson.settings, "ps1", ["squares"], lesson.top / "run")
    jobs = []
    for _ in range(2):
        bench.prepare("ben")
        jobs.append(json.loads((bench.own("ben") / "job").read_text()))
    assert jobs[0]["secret"] != jobs[1]["secret"]
    assert jobs[0]["secret"] not in json.dumps(jobs[0]["notebooks"])


def test_a_tag_does_not_switch_a_test_off(lesson):
    path = submit(lesson, "ben", "return 0")
    book = nbformat.read(path, 4)
    for cell in book.cells:
        cell.metadata["tags"] = ["skip-execution"]
    nbformat.write(book, path)
    assert run(lesson)["table"]["ben"].startswith("done: 0 of 5")


def test_what_came_with_the_assignment_is_as_it_came(lesson):
    (lesson.settings.course_dir / "source" / "ps1" / "answer.py").write_text(
        "def f(x): return x * x\n"
    )
    submit(lesson, "ben", "from answer import f; return f(x)", **{"answer.py": "1/0", "own.py": ""})
    assert run(lesson, students="ben")["table"]["ben"].startswith("done: 3 of 5")
    kept = contents(lesson.settings.course_dir / "autograded" / "ben" / "ps1")
    assert kept["answer.py"].startswith(b"def f")
    assert kept["own.py"] == b""


def test_nothing_of_the_course_is_in_what_code_can_read(lesson):
    look = "import os; print([os.path.join(t, n) for t, _, ns in os.walk('.') for n in ns]); return x * x"
    submit(lesson, "ben", look)
    run(lesson)
    seen = outputs(lesson, "ben", "test_two")[0].text
    assert "timestamp.txt" in seen
    assert "secret" not in seen


def test_larger_than_the_room(lesson):
    limits = dataclasses.replace(lesson.settings.grading, disk=2 << 20)
    lesson.settings = dataclasses.replace(lesson.settings, grading=limits)
    submit(lesson, "ben", **{"big.csv": "x" * (1 << 20)})
    report = run(lesson)
    assert report["table"]["ben"].startswith(
        "failed: its files are 1 MiB; there is room for half of"
    )
    assert report["summary"]["done"] == 2


LATE = [
    ("none", "2026-11-23T09:59:59+00:00", {}, "3 of 5"),
    ("zero", "2026-11-23T09:59:59+00:00", {}, "0 of 5"),
    ("zero", "2026-11-23T10:00:01+00:00", {}, "3 of 5"),
    ("zero", "2026-11-23T09:00:00+00:00", {"ada": "2026-11-23T10:30:00+00:00"}, "3 of 5"),
]


@pytest.mark.parametrize(("penalty", "due", "extensions", "points"), LATE)
def test_late_penalties_are_those_of_the_calendar(lesson, penalty, due, extensions, points):
    calendar = {"ps1": {"due": due, "extensions": extensions}}
    lesson.settings = dataclasses.replace(
        lesson.settings, assignments=calendar, late_penalty=penalty
    )
    run(lesson, students="ada")
    assert str(scores(lesson.settings, "ps1")["ada"]) == points


@pytest.fixture
def late(lesson):
    """All three are an hour late, for which they have no points; ada's essay was graded by hand since."""
    plan(lesson, due="2026-11-23T09:00:00+00:00")
    lesson.settings = dataclasses.replace(lesson.settings, late_penalty="zero")
    run(lesson)
    grading.grade_by_hand(lesson, "ada", 2)
    return lesson


def extend(lesson, **extensions):
    plan(lesson, due="2026-11-23T09:00:00+00:00", extensions=extensions)


def penalties(lesson):
    return {row[0]: row[-1] or 0 for row in rows(lesson)}


def test_late_work_has_no_points_whatever_a_person_gave(late):
    ada = scores(late.settings, "ps1")["ada"]
    assert (str(ada), ada.penalty, ada.unfinished) == ("0 of 5", 5, False)


def test_an_extension_counts_for_who_is_graded_already(late):
    extend(late, ada="2026-11-23T10:30:00+00:00")
    before = rows(late)
    report = run(late, test=True)
    assert report["table"]["ada"] == "done: would get another late penalty"
    assert rows(late) == before
    nodes = LocalNodes()
    report = run(late, nodes)
    assert report["table"] == {
        "ada": "done: 5 of 5; has another late penalty",
        "ben": "skipped: is graded already",
        "cyn": "skipped: is graded already",
    }
    assert [row[:-1] for row in rows(late)] == [row[:-1] for row in before]
    assert penalties(late) == {"ada": 0, "ben": 1, "cyn": 3}
    assert set(run(late, nodes)["table"].values()) == {"skipped: is graded already"}
    assert nodes.rounds == []


def test_an_extension_that_is_taken_back_does_not_count(late):
    extend(late, ben="2026-11-23T10:30:00+00:00")
    run(late)
    assert penalties(late)["ben"] == 0
    extend(late)
    assert run(late)["table"]["ben"].startswith("done: 0 of 5")
    assert penalties(late)["ben"] == 1


def test_another_late_penalty_of_the_course_is_that_of_who_is_graded_too(late):
    late.settings = dataclasses.replace(late.settings, late_penalty="none")
    run(late, students="cyn")
    assert penalties(late) == {"ada": 3, "ben": 1, "cyn": 0}


def in_formgrader(lesson, due, **extension):
    """What a person sets under Manage Assignments, and what nbgrader's API adds to that."""
    with Gradebook(f"sqlite:///{lesson.settings.course_dir}/gradebook.db") as book:
        book.update_or_create_assignment("ps1", duedate=due)
        book.grant_extension("ps1", "ada", **extension)
        book.db.commit()


def due_in_formgrader(lesson):
    with Gradebook(f"sqlite:///{lesson.settings.course_dir}/gradebook.db") as book:
        return book.find_assignment("ps1").duedate


def test_a_due_time_of_the_formgrader_counts_where_the_calendar_has_none(lesson):
    lesson.settings = dataclasses.replace(lesson.settings, late_penalty="zero")
    in_formgrader(lesson, "2026-11-23 09:59:00")
    run(lesson)
    assert due_in_formgrader(lesson) == datetime(2026, 11, 23, 9, 59)
    assert penalties(lesson) == {"ada": 3, "ben": 1, "cyn": 3}
    in_formgrader(lesson, "2026-11-23 09:59:00", hours=1)
    run(lesson)
    assert penalties(lesson) == {"ada": 0, "ben": 1, "cyn": 3}
    in_formgrader(lesson, None, hours=1)
    run(lesson)
    assert penalties(lesson) == {"ada": 0, "ben": 0, "cyn": 0}


def test_the_grace_of_the_course_is_that_of_the_formgraders_due_time_too(lesson):
    lesson.settings = dataclasses.replace(lesson.settings, late_penalty="zero", grace=120)
    in_formgrader(lesson, "2026-11-23 09:59:00")
    run(lesson, students="ada")
    assert penalties(lesson)["ada"] == 0


def test_the_calendars_due_time_takes_the_place_of_the_formgraders(late):
    in_formgrader(late, "2026-11-24 10:00:00", hours=1)
    run(late)
    assert due_in_formgrader(late) == datetime(2026, 11, 23, 9)
    assert penalties(late)["ben"] == 1
    assert str(scores(late.settings, "ps1")["ada"]) == "0 of 5"


# -- bad worlds


class Unlucky(LocalNodes):
    """Nodes of which some submissions do not come back: slot -> how often."""

    def __init__(self, lost=None, died=None, kept=(), stuck=()):
        super().__init__()
        self.lost, self.died, self.kept, self.stuck = lost or {}, died or {}, kept, stuck

    def run(self, spool, slots, runner):
        users = {}
        for finished in super().run(spool, slots, runner):
            user = self.user(spool, finished.slot)
            users[user] = finished.slot
            if user in self.kept:
                continue
            if user in self.stuck:
                yield Finished(finished.slot, False, "did not end", stuck=True)
                continue
            if self.lost.get(user, 0) > 0:
                self.lost[user] -= 1
                yield Finished(finished.slot, False, "node went away")
            elif self.died.get(user, 0) > 0:
                self.died[user] -= 1
                (spool / str(finished.slot) / "result").write_bytes(b"")
                yield Finished(finished.slot, True, "failed, exit code 137")
            else:
                yield finished

    @staticmethod
    def user(spool, slot):
        return (spool / str(slot) / "files" / "name.txt").read_text()


@pytest.fixture
def named(lesson):
    for user in grading.SOURCES:
        place = lesson.settings.course_dir / "submitted" / user / "ps1"
        (place / "name.txt").write_text(user)
    return lesson


def test_what_a_node_lost_runs_elsewhere(named):
    nodes = Unlucky(lost={"ada": 2, "ben": 1}, died={"cyn": 1})
    before = rows(named)
    assert run(named, nodes)["summary"]["done"] == 3
    assert nodes.rounds == [3, 3, 1]
    assert rows(named) == before


def test_what_no_node_can_run_is_told_and_left(named):
    report = run(named, Unlucky(lost={"ada": 99}, kept=("ben",)))
    assert report["table"]["ada"] == "failed: no node could execute it: node went away"
    assert report["table"]["ben"] == "failed: no node took it in time; say it again"
    assert report["summary"]["done"] == 1
    summary = run(named)["summary"]
    assert (summary["done"], summary["skipped"], summary["failed"]) == (2, 1, 0)


def test_what_does_not_end_is_tried_once_more_and_its_result_is_not_read(named):
    nodes = Unlucky(stuck=("ben",))
    report = run(named, nodes)
    assert nodes.rounds == [3, 1]
    assert report["table"]["ben"] == "failed: no node could execute it: did not end"
    assert report["summary"]["done"] == 2


def test_a_container_that_ends_without_a_result_twice_costs_its_points(named):
    report = run(named, Unlucky(died={"ben": 9}))
    assert report["table"]["ben"].startswith("done: 0 of 5")
    assert "exit code 137" in report["table"]["ben"]
    assert report["table"]["ada"].startswith("done: 3 of 5")


DEEP = """shown = 1
    for _ in range(485): shown = [shown]
    kernel = get_ipython().kernel
    content = {"data": {"application/json": shown}, "metadata": {}}
    kernel.session.send(kernel.iopub_socket, "display_data", content, parent=kernel.get_parent())
    return x * x"""


def test_an_output_that_breaks_the_stack_costs_its_submission_alone(lesson):
    submit(lesson, "ben", DEEP)
    report = run(lesson)
    assert report["table"]["ben"].startswith("done: 0 of 5")
    assert "nested too deeply" in report["table"]["ben"]
    assert report["table"]["ada"].startswith("done: 3 of 5")


@pytest.mark.parametrize("step", ["prepare", "settle"])
def test_a_process_that_fails_over_a_submission_costs_that_one(lesson, monkeypatch, step):
    act = getattr(Bench, step)

    def failing(bench, user, *words):
        if user == "ben":
            raise RecursionError("too deep")
        return act(bench, user, *words)

    monkeypatch.setattr(Bench, step, failing)
    report = run(lesson)
    assert report["table"]["ben"].startswith("failed: ")
    assert report["summary"]["done"] == 2


def test_a_process_that_dies_over_a_submission_costs_that_one(lesson, monkeypatch):
    prepare = Bench.prepare

    def deadly(bench, user):
        if user == "ben":
            os.kill(os.getpid(), signal.SIGKILL)
        return prepare(bench, user)

    monkeypatch.setattr(Bench, "prepare", deadly)
    report = run(lesson)
    assert report["table"]["ben"] == f"failed: {workers.DIED}"
    assert report["summary"]["done"] == 2


def test_a_full_disk_is_told_and_the_rest_is_graded_later(lesson):
    before = rows(lesson)
    course_dir = lesson.settings.course_dir
    aside = course_dir.with_name("aside")
    course_dir.rename(aside)
    course_dir.mkdir(mode=0o700)
    with small_disk(course_dir) as filler:
        subprocess.run(["cp", "-a", f"{aside}/.", course_dir], check=True)
        fill(filler, 6000)
        report = run(lesson)
        assert report["summary"]["failed"] == 3, report
        assert all(
            "No space left" in words or "full" in words for words in report["table"].values()
        )
        filler.unlink()
        assert run(lesson)["summary"]["done"] == 3
        assert rows(lesson) == before
    course_dir.rmdir()
    aside.rename(course_dir)


def test_a_gradebook_that_somebody_holds_is_waited_for(lesson):
    holder = sqlite3.connect(lesson.settings.course_dir / "gradebook.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    script = f"""
import dataclasses, pathlib, pickle, sys
from argparse import Namespace
from tests.support.local_nodes import LocalNodes
from classhub.grading import autograde
settings = pickle.loads({__import__("pickle").dumps(lesson.settings)!r})
words = Namespace(assignment="ps1", students="", force=False, test=False)
print(autograde.grade_with(settings, words, LocalNodes()).as_dict()["summary"]["done"])
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], env=environment(), stdout=subprocess.PIPE, text=True
    )
    time.sleep(12)
    holder.execute("COMMIT")
    assert process.communicate(timeout=120)[0].strip() == "3"


@pytest.mark.parametrize(("assignment", "grading"), [("ps1", False), ("ps2", True)])
def test_another_run_is_refused(lesson, assignment, grading):
    with (
        release.alone_in(lesson.settings.course_dir, assignment, grading=grading),
        pytest.raises(Refused, match="at work in the course"),
    ):
        run(lesson)


def test_while_one_is_graded_another_can_be_released_and_this_one_cannot(lesson):
    top = lesson.settings.course_dir
    shutil.copytree(top / "source" / "ps1", top / "source" / "ps2")

    class Nodes(LocalNodes):
        def run(self, *arguments):
            release.generate(lesson.settings, "ps2")
            with pytest.raises(Refused, match="at work in the course"):
                release.generate(lesson.settings, "ps1")
            return super().run(*arguments)

    assert run(lesson, Nodes())["summary"]["done"] == 3
    assert (top / "release" / "ps2" / "squares.ipynb").is_file()


def test_a_release_waits_until_scores_are_recorded(lesson):
    """SQLite's own patience is five seconds."""
    book = sqlite3.connect(
        lesson.settings.course_dir / "gradebook.db", isolation_level=None, check_same_thread=False
    )
    source = lesson.settings.course_dir / "source"
    shutil.copytree(source / "ps1", source / "ps2")
    book.execute("BEGIN IMMEDIATE")
    threading.Timer(15, book.execute, ["COMMIT"]).start()
    release.generate(lesson.settings, "ps2")


def test_killed_at_any_time_and_said_again_the_scores_are_the_same(lesson, tmp_path):
    before = rows(lesson)
    autograded = contents(lesson.settings.course_dir / "autograded")
    began = datetime.now(UTC)
    for pause in (2.0, 3.5, 5.0, 6.5):
        process = os.fork()
        if not process:
            try:
                os.setsid()
                run(lesson)
            finally:
                os._exit(0)
        time.sleep(pause)
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
    report = run(lesson)
    assert report["summary"]["failed"] == 0
    assert rows(lesson) == before
    assert set(contents(lesson.settings.course_dir / "autograded")) == set(autograded)
    for user in grading.SOURCES:
        record = lesson.settings.course_dir / ".graded" / user / "ps1.json"
        assert datetime.fromisoformat(json.loads(record.read_text())["graded_at"]) >= began.replace(
            microsecond=0
        )


# -- other languages


R = {"name": "ir", "display_name": "R", "language": "R"}
R_ANSWERS = {"ada": "x * x", "ben": "x + x", "cyn": "stop('no')"}


@pytest.mark.skipif(not shutil.which("R"), reason="R is not installed: r-cran-irkernel of Debian")
def test_a_notebook_in_r_is_graded_as_by_nbgrader(lesson):
    """Image and machine have its kernel by a Debian package, as `image:packages` of a class may."""
    top = lesson.settings.course_dir
    for name in ("source", "release", "submitted", "autograded"):
        shutil.rmtree(top / name, ignore_errors=True)
    (top / "gradebook.db").unlink()
    (top / "source" / "ps1").mkdir(parents=True)
    book = grading.source()
    book.metadata["kernelspec"] = R
    book.cells[1].source = "### BEGIN SOLUTION\nsquare <- function(x) x * x\n### END SOLUTION"
    for cell in book.cells[2:4]:
        cell.source = "stopifnot(square(2) == 4, square(3) == 9)"
    nbformat.write(book, top / "source" / "ps1" / "squares.ipynb")
    grading.nbgrader(top, "generate_assignment", "ps1")
    for user, body in R_ANSWERS.items():
        place = top / "submitted" / user / "ps1"
        place.mkdir(parents=True)
        given = nbformat.read(top / "release" / "ps1" / "squares.ipynb", as_version=4)
        given.cells[1].source = f"square <- function(x) {body}"
        nbformat.write(given, place / "squares.ipynb")
    grading.nbgrader(top, "autograde", "ps1")
    before = rows(lesson)
    assert {row[2] for row in before if row[0] == "ada"} >= {1.0, 2.0}
    run(lesson, force=True)
    assert rows(lesson) == before
    assert run(lesson)["summary"]["notes"] == {}


# -- by itself


def keep(lesson):
    """What the hub does once a minute; action -> outcome."""
    arguments = __main__.parser().parse_args(["keep-calendar"])
    return alone(lambda: calendar.keep(lesson.settings, arguments)).table


def plan(lesson, **entry):
    lesson.settings = dataclasses.replace(lesson.settings, assignments={"ps1": entry})


@pytest.fixture
def alike(lesson, monkeypatch):
    """Nothing is collected yet, submissions need not rest, and the nodes are this machine."""
    shutil.rmtree(lesson.settings.course_dir / "submitted")
    shutil.rmtree(lesson.settings.course_dir / "autograded")
    monkeypatch.setattr(sealing, "SETTLE", 0)
    monkeypatch.setattr(autograde, "class_nodes", lambda _: LocalNodes())
    return lesson


def hand_in(lesson, user, body="return x * x"):
    lesson.submit(user, {"squares.ipynb": nbformat.writes(grading.submission(body)).encode()})
    alone(lambda: sealing.seal(lesson.settings) and None)


def test_graded_as_it_is_submitted(alike):
    plan(alike, autograde="submit")
    assert keep(alike) == {}
    hand_in(alike, "ada")
    assert [name.split(",")[0] for name in keep(alike)] == ["autograde ps1"]
    assert set(scores(alike.settings, "ps1")) >= {"ada"}
    graded = alike.settings.course_dir / ".graded"
    assert os.listdir(graded) == ["ada"]
    hand_in(alike, "ben", "return 0")
    assert list(keep(alike).values()) == ["done: 1 done, 2 skipped, 0 failed"]
    assert sorted(os.listdir(graded)) == ["ada", "ben"]
    assert keep(alike) == {}


def test_graded_once_all_is_collected_and_then_returned(alike):
    due = datetime.now(UTC) + timedelta(seconds=1)
    plan(alike, due=due.isoformat(), autograde="collect", **{"return": due.isoformat()})
    hand_in(alike, "ada")
    assert keep(alike) == {}
    time.sleep(1.1)
    done = keep(alike)
    assert [name.split()[0] for name in done] == ["collect", "autograde", "return"]
    assert not any(outcome.startswith("failed") for outcome in done.values()), done
