"""A graded course of nbgrader's own making: one assignment with a hidden test and a part to grade by hand."""

import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbformat import v4
from nbgrader.api import Gradebook

from tests.support.submissions import Course

SECRET = "s" * 128
HIDDEN = "assert square(7) == 49"
SOURCES = {"ada": "return x * x", "ben": "return x + x", "cyn": "return x ** 2"}


def _cell(make, source: str, grade_id: str, points: int = 0, **kind: bool) -> nbformat.NotebookNode:
    kind = {"grade": False, "solution": False, "locked": False, "task": False} | kind
    extra = {"points": points} if kind["grade"] else {}
    metadata = {"schema_version": 3, "grade_id": grade_id, **kind, **extra}
    return make(source, metadata={"nbgrader": metadata})


def source() -> nbformat.NotebookNode:
    """The instructor's notebook: 3 points by tests, 2 by hand."""
    code, markdown = v4.new_code_cell, v4.new_markdown_cell
    answer = "def square(x):\n    ### BEGIN SOLUTION\n    return x * x\n    ### END SOLUTION"
    hidden = f"assert square(3) == 9\n### BEGIN HIDDEN TESTS\n{HIDDEN}\n### END HIDDEN TESTS"
    cells = [
        markdown("# Squares"),
        _cell(code, answer, "square", solution=True),
        _cell(code, "assert square(2) == 4", "test_two", 1, grade=True, locked=True),
        _cell(code, hidden, "test_hidden", 2, grade=True, locked=True),
        _cell(markdown, "Say why.", "why", 2, grade=True, solution=True),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def submission(body: str) -> nbformat.NotebookNode:
    """A student's notebook: the release version with an answer."""
    book = nbformat.read(released_course() / "release" / "ps1" / "squares.ipynb", as_version=4)
    book.cells[1].source = f"def square(x):\n    {body}"
    book.cells[4].source = "Because."
    return book


def nbgrader(course: Path, *words: str) -> None:
    """Run nbgrader in a course; its words if it fails."""
    command = [Path(sys.executable).with_name("nbgrader"), *words]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    environment = {"PATH": path, "HOME": str(course), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command, cwd=course, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@functools.cache
def released_course() -> Path:
    """A course directory with a release version of ps1. Made once for all tests; copy it."""
    top = Path(tempfile.mkdtemp(prefix="released-"))
    (top / "source" / "ps1").mkdir(parents=True)
    nbformat.write(source(), top / "source" / "ps1" / "squares.ipynb")
    nbgrader(top, "generate_assignment", "ps1")
    return top


@functools.cache
def graded_course() -> Path:
    """A course directory with ps1 of ada, ben and cyn graded. Made once for all tests; copy it."""
    top = Path(tempfile.mkdtemp(prefix="graded-")) / "course"
    shutil.copytree(released_course(), top)
    for user, body in SOURCES.items():
        place = top / "submitted" / user / "ps1"
        place.mkdir(parents=True)
        nbformat.write(submission(body), place / "squares.ipynb")
        (place / "timestamp.txt").write_text("2026-11-23 10:00:00.123456 UTC")
        (place / "submission_secret.txt").write_text(SECRET)
    nbgrader(top, "autograde", "ps1")
    return top


def grade(lesson: Course) -> None:
    """Put the graded course in place of a lesson's."""
    shutil.rmtree(lesson.settings.course_dir)
    shutil.copytree(graded_course(), lesson.settings.course_dir)
    lesson.settings.course_dir.chmod(0o700)


def grade_by_hand(lesson: Course, user: str, points: float) -> None:
    """What a person does in the formgrader."""
    with Gradebook(f"sqlite:///{lesson.settings.course_dir}/gradebook.db") as book:
        found = book.find_grade("why", "squares", "ps1", user)
        found.manual_score, found.needs_manual_grade = points, False
        book.db.commit()
