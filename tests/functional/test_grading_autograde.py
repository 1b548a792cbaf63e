"""Grading a class: the verb as a whole, with this machine as its node."""

import dataclasses
import os
import sqlite3
from argparse import Namespace

import pytest

from tests.support import grading
from tests.support.local_nodes import LocalNodes
from tests.support.submissions import course

from classhub.grading import autograde  # isort: skip

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs namespaces and uids")


@pytest.fixture
def lesson():
    with course() as found:
        grading.grade(found)
        found.settings = dataclasses.replace(found.settings, spool=found.top / "spool")
        yield found


def run(lesson, nodes=None, monkeypatch=None, **words):
    arguments = Namespace(assignment="ps1", students="", force=False, test=False)
    vars(arguments).update(words)
    return autograde.grade_with(lesson.settings, arguments, nodes or LocalNodes()).as_dict()


def rows(lesson):
    with sqlite3.connect(lesson.settings.course_dir / "gradebook.db") as book:
        return sorted(
            book.execute(
                "select student_id, base_cell.name, auto_score, manual_score, needs_manual_grade from grade "
                "join base_cell on base_cell.id = cell_id "
                "join submitted_notebook on submitted_notebook.id = grade.notebook_id "
                "join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id"
            )
        )


def test_scores_are_those_of_nbgrader(lesson):
    before = rows(lesson)
    report = run(lesson)
    print(report)
    assert report["summary"]["done"] == 3
    assert rows(lesson) == before
