"""The same damaged notebooks, graded by plain `nbgrader autograde` and by classhub: who gets the points that are due.

What is measured here is the tables in docs/explanation/mangled.md, to the word; with CLASSHUB_TABLES=1 the long run
writes them.
"""

import contextlib
import dataclasses
import functools
import json
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from argparse import Namespace
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

from tests.support import mangled
from tests.support.grading import nbgrader
from tests.support.loading import ROOT
from tests.support.local_nodes import LocalNodes
from tests.support.mangled import ANSWERS, GUIDE, KINDS, TESTS
from tests.support.stock import NBGRADER
from tests.support.submissions import course

from classhub.grading import autograde  # isort: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs namespaces and uids"),
    pytest.mark.skipif(not NBGRADER.exists(), reason="needs nbgrader beside the tests' Python"),
]

PAGE = ROOT / "docs" / "explanation" / "mangled.md"
TABLES = re.compile(r"^\|.*\|$", re.MULTILINE | re.DOTALL)  # from the first to the last of the page
FIRST = list(KINDS)[:14]
SOME = (
    "tests_deleted",
    "answer_in_another_cell",
    "metadata_of_all_cells_lost",
    "a_comma_lost",
)
UNTAMPERED = "untampered"
TITLES = {
    "answer_and_test_deleted_answer_in_another_cell": "answer and its test deleted, answer in another cell",
    "a_graded_cell_of_ones_own": "a graded cell of one's own",
    "grade_id_renamed": "`grade_id` of an answer renamed",
    "grade_ids_in_capitals": "each `grade_id` in capitals",
    "cell_that_is_none": "`null` and a text in place of cells",
    "metadata_null": "metadata of cells `null`",
    "notebook_metadata_null": "metadata of the notebook `null`",
    "notebook_metadata_lost": "metadata of the notebook lost",
    "utf_16": "written as UTF-16",
    "latin_1_in_a_comment": "Latin-1 in a comment",
}
# grade_id -> what is there in place of the right answer
RIGHT: dict[str, str] = {}
WRONG = {"squares": ANSWERS["squares"].replace("** 2", "** 3")}
NONE = {
    mangled.name_of(cell): "".join(cell["source"])
    for data in mangled.released().values()
    for cell in json.loads(data)["cells"]
    if mangled.name_of(cell) in ANSWERS
}
KNOWN = {"right": (RIGHT, 3.0), "wrong": (WRONG, 1.5), "none": (NONE, 0.0)}  # and its points
# not in the file any more: only a person gives points for it
GONE = {"cut_off_behind_the_answers": {"sum_of_squares_application"}}
SCORES = """
    select student_id, base_cell.name, auto_score, needs_manual_grade
    from grade
    join base_cell on base_cell.id = cell_id
    join submitted_notebook on submitted_notebook.id = grade.notebook_id
    join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id
"""
WHY = re.compile(
    r"^ +(?:\w+\.)*(\w+Error: .*)$|use (an \w+ version) *\n *(of the nbgrader metadata format)",
    re.MULTILINE,
)
QUOTED = re.compile(r"\W*'")  # values of the notebook in an error


class Score(NamedTuple):
    """What the gradebook says of a cell: points by its tests, and whether a person is to grade it."""

    points: float | None
    by_hand: bool


Scores = dict[str, Score]


class Laid(NamedTuple):
    """A submission: a kind of damage, and what is known: right, wrong or no answers."""

    kind: str
    known: str


class Graded(NamedTuple):
    """What became of a submission.

    Attributes:
        scores: by grade_id
        words: for the page
    """

    scores: Scores
    words: str


# -- the course: nbgrader's own


@functools.cache
def ps1_course(ids: bool) -> Path:
    """A course directory with the release version of nbgrader's ps1. Made once for all tests; copy it.

    Args:
        ids: whether cells have one, as in new notebooks; those that nbgrader ships are older
    """
    top = Path(tempfile.mkdtemp(prefix="ps1-"))
    shutil.copytree(GUIDE / "source" / "ps1", top / "source" / "ps1")
    shutil.copy(GUIDE / "source" / "header.ipynb", top / "source")
    for path in (top / "source").rglob("*.ipynb") if ids else ():
        book = json.loads(path.read_bytes())
        cells = [{**cell, "id": f"{path.stem}-{i}"} for i, cell in enumerate(book["cells"])]
        path.write_text(json.dumps(book | {"cells": cells, "nbformat_minor": 5}))
    config = 'c = get_config()\nc.IncludeHeaderFooter.header = "source/header.ipynb"\n'
    (top / "nbgrader_config.py").write_text(config)
    nbgrader(top, "generate_assignment", "ps1")
    return top


def submission(kind: str, known: dict[str, str] = RIGHT, ids: bool = True) -> mangled.Files:
    """The files of a submission with a kind of damage.

    Args:
        known: grade_id -> answer, where it is not the right one
    """
    with patch.dict(ANSWERS, known):
        books = mangled.answered()
        for name, book in books.items():
            released = json.loads((ps1_course(ids) / "release" / "ps1" / name).read_bytes())
            book["nbformat_minor"] = released["nbformat_minor"]
            for cell, given in zip(book["cells"], released["cells"], strict=True):
                cell.update({"id": given["id"]} if ids else {})
        return KINDS.get(kind, mangled.encoded)(books)


def lay(top: Path, user: str, files: mangled.Files) -> None:
    """Lay a submission into a course, as `collect` does."""
    place = top / "submitted" / user / "ps1"
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    (place / "timestamp.txt").write_text("2026-11-23 10:00:00.123456 UTC")


def scores(top: Path) -> dict[str, Scores]:
    """All of the gradebook, by user."""
    found: dict[str, Scores] = {}
    with contextlib.closing(sqlite3.connect(top / "gradebook.db")) as gradebook:
        for user, cell, points, by_hand in gradebook.execute(SCORES):
            found.setdefault(user, {})[cell] = Score(points, bool(by_hand))
    return found


def points(found: Scores) -> float:
    return sum(found[name].points or 0 for name in TESTS if name in found)


def by_hand(found: Scores) -> set[str]:
    """What a person has to grade, of what the tests do not."""
    return {name for name, score in found.items() if score.by_hand and name not in TESTS}


def in_words(found: Scores, due: Scores) -> str:
    """A submission's points, beside those that are due."""
    most, lost = points(due), len(by_hand(due) - by_hand(found))
    unclear = [name for name in TESTS if found[name].by_hand]
    parts = [f"{points(found):g} of {most:g}"]
    if points(found) < most:
        parts = [f"**{parts[0]}**"]
    if unclear:
        parts.append(f"{len(unclear)} of {len(TESTS)} tests left to a person")
    if lost:
        parts.append(f"{lost} of {len(by_hand(due))} parts for a person to grade gone")
    return "; ".join(parts)


# -- stock nbgrader


def stock(kind: str) -> Graded:
    """What nbgrader makes of ada's damaged submission, and of zoe's untampered one after it."""
    with tempfile.TemporaryDirectory(prefix="stock-") as folder:
        top = Path(folder)
        shutil.copytree(ps1_course(True), top, dirs_exist_ok=True)
        lay(top, "ada", submission(kind))
        lay(top, "zoe", submission(UNTAMPERED))
        said = run_stock(top)
        graded = {user for user in ("ada", "zoe") if (top / "autograded" / user / "ps1").is_dir()}
        found = scores(top)
    nothing: Scores = {}
    if "ada" in graded:
        assert graded == {"ada", "zoe"}, said
        return Graded(found["ada"], in_words(found["ada"], found["zoe"]))
    if "No notebooks were matched by" in said:
        return Graded(nothing, "**passed over**, with a warning in the log")
    error, *version = WHY.findall(said)[-1]
    reason = QUOTED.split(error)[0] or " ".join(version)
    rest = "" if "zoe" in graded else "; **the run ends**, nobody after it is graded"
    return Graded(nothing, f"**fails**: “{reason}”{rest}")


def run_stock(top: Path) -> str:
    """Run plain `nbgrader autograde`; what it says."""
    path = f"{NBGRADER.parent}:/usr/bin:/bin"
    return subprocess.run(
        [NBGRADER, "autograde", "ps1"],
        cwd=top,
        env={"PATH": path, "HOME": str(top), "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    ).stdout


def measure_stock(kinds: Iterable[str]) -> dict[str, Graded]:
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(kinds, pool.map(stock, kinds), strict=True))


# -- classhub


def measure_classhub(kinds: dict[str, Iterable[str]], ids: bool) -> dict[Laid, Graded]:
    """What classhub makes of damaged submissions, all in one class.

    Args:
        kinds: of the damage, by what is known: right, wrong or no answers
    """
    chosen = [Laid(kind, known) for known in kinds for kind in (UNTAMPERED, *kinds[known])]
    users = {f"s{number:03}": laid for number, laid in enumerate(chosen)}
    with course(*users) as lesson:
        top = lesson.settings.course_dir
        shutil.rmtree(top)
        shutil.copytree(ps1_course(ids), top)
        top.chmod(0o700)
        for user, (kind, known) in users.items():
            lay(top, user, submission(kind, KNOWN[known][0], ids))
        settings = dataclasses.replace(lesson.settings, spool=lesson.top / "spool")
        words = Namespace(assignment="ps1", students="", force=False, test=False)
        report = autograde.grade_with(settings, words, LocalNodes())
        assert not report.failed, report.table
        found, notes = scores(top), report.summary["notes"]
    due = {laid.known: found[user] for user, laid in users.items() if laid.kind == UNTAMPERED}
    return {
        laid: Graded(
            found[user], in_words(found[user], due[laid.known]) + told(notes.get(user, []))
        )
        for user, laid in users.items()
    }


def told(notes: list[str]) -> str:
    """What the grader is told, in short."""
    shown = [f"“{note.removeprefix('problem1.ipynb: ')}”" for note in notes[:2]]
    return "".join(f"; {note}" for note in shown) + f" and {len(notes) - 2} more" * (len(notes) > 2)


# -- side by side


class Measured(NamedTuple):
    """Both sides.

    Attributes:
        stock: by kind
        ours: by kind and what is known
        older: the same, where cells have no ids
    """

    stock: dict[str, Graded]
    ours: dict[Laid, Graded]
    older: dict[Laid, Graded]


@pytest.fixture(scope="module", params=["some", pytest.param("all", marks=pytest.mark.long)])
def measured(request) -> Measured:
    every = list(KINDS)
    if request.param == "some":
        ours = measure_classhub({"right": every, "wrong": SOME, "none": SOME}, ids=True)
        return Measured(measure_stock(FIRST), ours, {})
    kinds = dict.fromkeys(KNOWN, every)
    ours, older = measure_classhub(kinds, ids=True), measure_classhub({"right": every}, ids=False)
    found = Measured(measure_stock(every), ours, older)
    if os.environ.get("CLASSHUB_TABLES") == "1":
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(TABLES.sub(lambda _: tables(found), page), encoding="utf-8")
    return found


def rows(found: Measured) -> list[tuple[str, str, str]]:
    """Rows of the page: what happened, nbgrader's part if it was measured, and classhub's."""
    return [
        (
            TITLES.get(kind, kind.replace("_", " ")),
            found.stock[kind].words if kind in found.stock else "",
            found.ours[Laid(kind, "right")].words,
        )
        for kind in KINDS
    ]


SHARES = {
    "all": "all points that are due",
    "some": "some of them",
    "none": "no points, or no grade at all",
}


def share(graded: Graded, due: Scores, kind: str) -> str:
    """How much of what is due was given: one of SHARES."""
    kept = by_hand(graded.scores) >= by_hand(due) - GONE.get(kind, set())
    if kept and points(graded.scores) == points(due):
        return "all"
    return "some" if points(graded.scores) else "none"


def tables(found: Measured) -> str:
    """What the page has."""
    due = found.ours[Laid(UNTAMPERED, "right")].scores
    ours = [share(found.ours[Laid(kind, "right")], due, kind) for kind in KINDS]
    theirs = [share(found.stock[kind], due, kind) for kind in KINDS]
    ended = sum("the run ends" in graded.words for graded in found.stock.values())
    lines = [f"| of {len(KINDS)} kinds of damage | `nbgrader autograde` | classhub |"]
    lines += ["|---|---|---|"]
    lines += [f"| {SHARES[it]} | {theirs.count(it)} | {ours.count(it)} |" for it in SHARES]
    lines += [f"| and nobody who comes after is graded | {ended} | 0 |", ""]
    lines += ["| what happened to the notebook | `nbgrader autograde` | classhub |"]
    lines += ["|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(found)]
    return "\n".join(lines)


def test_damage_neither_costs_nor_gives_points_in_classhub(measured):
    for table in (measured.ours, measured.older):
        for (kind, known), graded in table.items():
            due = table[Laid(UNTAMPERED, known)].scores
            assert points(due) == KNOWN[known][1]
            gone = GONE.get(kind, set()) & by_hand(due)
            assert graded.scores == due | dict.fromkeys(gone, Score(0.0, False)), (kind, known)


def test_damage_is_told_to_the_grader(measured):
    for table in (measured.ours, measured.older):
        for laid, graded in table.items():
            assert ("“" in graded.words) == (laid.kind != UNTAMPERED), (laid, graded)


def test_known_facts_of_stock_nbgrader(measured):
    """Should nbgrader mend these, the page is to be written anew."""
    without = [kind for kind in FIRST if not points(measured.stock[kind].scores)]
    assert len(without) >= 4, without
    assert "the run ends" in measured.stock["answer_copied_and_pasted"].words
    assert points(measured.stock["tests_changed"].scores) == 3


def test_the_page_says_what_was_measured(measured):
    page = PAGE.read_text(encoding="utf-8")
    if len(measured.stock) == len(KINDS):
        assert tables(measured) in page, f"{PAGE} must have:\n{tables(measured)}"
    said = {row[0]: row for row in (line.strip("| ").split(" | ") for line in page.splitlines())}
    for title, stock_words, ours in rows(measured):
        assert said[title] == [title, stock_words or said[title][1], ours]
