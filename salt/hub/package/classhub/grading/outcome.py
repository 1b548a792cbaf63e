"""What came out of a container: data of whoever's code ran there, taken for nothing but the outputs of cells."""

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.utils import determine_grade

from classhub.course.report import Unfit
from classhub.course.trees import READ, content
from classhub.grading import salvage
from classhub.grading.canaries import Canary, ends_in_value, is_test, survived

ROOM = 1 << 20  # bytes of a result beside the outputs
DESCRIPTION = 4096  # characters of what a kernel says of its language
DEEPEST = 100  # values in each other: beyond some 480, one submission ended the run
# of a value beside a test that passes with any
VALUED = "is a value beside tests that pass with any, so this test proves nothing"
COUNT = re.compile(r"\bIn\[(\d+)\]")
# Errors that are told of beside the table: the runner's own, and those of the kernel's end (runner.py).
TOLD = {
    "CellTimeoutError", "DeadKernelError", "GradingError", "GradingTimeout", "OutputError", "UnresponsiveKernelError",
}  # fmt: skip


def read(path: Path, job: bytes, most: int) -> dict[str, Any]:
    """A result, by notebook.

    Args:
        path: of the result
        job: what was to be executed
        most: characters of all outputs together

    Raises:
        Unfit: there is none, or it is not one of this job.
    """
    try:
        fd = os.open(path, READ)
    except OSError as error:
        raise Unfit(f"the result cannot be read: {error.strerror}") from error
    try:
        limit = 2 * most + ROOM
        data = content(fd, limit) if stat.S_ISREG(os.fstat(fd).st_mode) else b""
    finally:
        os.close(fd)
    if not data:
        raise Unfit("there is no result")
    if len(data) > limit:
        raise Unfit("the result is larger than all output may be")
    if salvage.parts(data) > salvage.PARTS:
        raise Unfit(f"the result has more than {salvage.PARTS:,} lists and objects")
    try:
        result = json.loads(data)
        digest, books = result["digest"], result["notebooks"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Unfit("the result is none that the runner writes") from None
    if digest != hashlib.sha256(job).hexdigest():
        raise Unfit("the result is of another job")
    if not isinstance(books, dict):
        raise Unfit("the result has no notebooks")
    return books


def settle(
    book: NotebookNode, canaries: list[Canary], result: object
) -> tuple[NotebookNode, list[str]]:
    """A notebook with the outputs of its execution, and what is to be told of that.

    Args:
        book: as it was sanitised
        canaries: cells that were executed beside its own
        result: of the runner, for this notebook

    Raises:
        Unfit: the result does not fit the notebook.
    """
    if not _is_flat(result, DEEPEST):
        raise Unfit("the result has values that are nested too deeply")
    places = {canary.place for canary in canaries}
    executed = [place for place in range(len(book.cells) + len(canaries)) if place not in places]
    cells = _cells(result, len(book.cells) + len(canaries))
    numbers = _numbers(cells, places)
    for cell, place in zip(book.cells, executed, strict=True):
        if (cell.cell_type == "code") != (place in cells):
            raise Unfit("the result has not the notebook's cells")
        if cell.cell_type == "code":
            outputs, count = cells[place]
            cell.outputs = [_renumbered(output, numbers) for output in outputs]
            cell.execution_count = numbers.get(count, count)
    notes = _disarm(book, canaries, cells) + _let_the_least_count(book)
    _describe(book, result)
    return book, [*notes, *_told(book)]


def _is_flat(value: object, depth: int) -> bool:
    """Whether no more than so many values are in each other."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_flat(one, depth - 1) for one in inner)


def _cells(result: object, most: int) -> dict[int, tuple[list[NotebookNode], int | None]]:
    """Outputs and count by place, each of the form that a notebook has.

    Raises:
        Unfit: they have another.
    """
    try:
        found = {}
        for place, cell in result["cells"].items():
            count = cell["execution_count"]
            if not (place.isdecimal() and int(place) < most and len(place) < 10):
                raise Unfit("the result has cells that were not executed")
            if not (count is None or type(count) is int):
                raise Unfit("the result has a count that is none")
            outputs = [nbformat.from_dict(output) for output in cell["outputs"]]
            for output in outputs:
                nbformat.validate(output, ref="output", version=4, version_minor=5)
            found[int(place)] = (outputs, count)
    except (KeyError, TypeError, AttributeError, RecursionError, nbformat.ValidationError) as error:
        raise Unfit(f"the result is none that the runner writes: {type(error).__name__}") from error
    return found


def _numbers(cells: dict, canaries: set[int]) -> dict[int, int]:
    """A kernel's count of each cell -> what it were without canaries."""
    counts = sorted((place, count) for place, (_, count) in cells.items() if count is not None)
    return {
        count: count - sum(canary < place and canary in cells for canary in canaries)
        for place, count in counts
        if place not in canaries
    }


def _renumbered(output: NotebookNode, numbers: dict[int, int]) -> NotebookNode:
    """An output that counts without canaries; tracebacks name cells by their counts."""
    if output.output_type == "execute_result":
        output.execution_count = numbers.get(output.execution_count, output.execution_count)
    if output.output_type == "error":
        output.traceback = [
            COUNT.sub(lambda found: f"In[{numbers.get(int(found[1][:9]), found[1])}]", line)
            for line in output.traceback
        ]
    return output


def _disarm(book: NotebookNode, canaries: list[Canary], cells: dict) -> list[str]:
    """Let each test that passed, and whose canary did not fail, have failed itself; what is told of it."""
    if any(canary.place not in cells for canary in canaries):
        raise Unfit("the result has not the notebook's cells")
    found = [
        canary
        for canary in canaries
        if survived(canary, cells[canary.place][0]) and not _failed(book.cells[canary.test])
    ]
    others = {canary.test for canary in found if not canary.echo}
    found = [canary for canary in found if not canary.echo or canary.test not in others]
    charges = [(canary.test, canary.charge) for canary in found]
    if any(canary.echo for canary in found):
        charges += [
            (place, VALUED)
            for place, cell in enumerate(book.cells)
            if is_test(cell) and ends_in_value(cell.source) and not _failed(cell)
        ]
    notes = []
    for place, charge in charges:
        cell = book.cells[place]
        cell.outputs.append(error_output("CanaryError", charge))
        notes.append(f"{cell.metadata.nbgrader.grade_id}: {charge}")
    return notes


def _failed(cell: NotebookNode) -> bool:
    """Whether a test has no points as it is; what is wrong may be an honest one's dead kernel."""
    return any(output.output_type == "error" for output in cell.outputs)


def _let_the_least_count(book: NotebookNode) -> list[str]:
    """Put that value or error of each test first that gives the fewest points; what is told of it.

    nbgrader counts the first. The student's code that a test calls could show a value before the test fails.
    """
    notes = []
    for cell in filter(is_test, book.cells):
        name = cell.metadata.nbgrader.grade_id
        counted = [out for out in cell.outputs if out.output_type in ("error", "execute_result")]
        try:
            least = min(counted, key=lambda out: _points(cell, out), default=None)
        except (ValueError, LookupError) as error:
            least = error_output("PointsError", f"shows what is no number of points: {error}")
            cell.outputs.insert(0, least)
            notes.append(f"{name}: {least.evalue}")
            continue
        if counted and least is not counted[0]:
            cell.outputs.remove(least)
            cell.outputs.insert(0, least)
            if least.get("ename") != "CanaryError":
                notes.append(f"{name}: shows more than one value or error; the least counts")
    return notes


def _points(cell: NotebookNode, output: NotebookNode) -> float:
    """Points that nbgrader gives for one value or error of a test.

    Raises:
        ValueError, LookupError: it is no number of points.
    """
    return determine_grade(nbformat.from_dict({**cell, "outputs": [output]}))[0]


def error_output(name: str, words: str) -> NotebookNode:
    """An output that tells of an error."""
    return nbformat.v4.new_output("error", ename=name, evalue=words, traceback=[f"{name}: {words}"])


def _describe(book: NotebookNode, result: dict) -> None:
    """What a kernel says of its language, and the state of widgets, for whoever shows the notebook."""
    said = result.get("language_info")
    named = isinstance(said, dict) and isinstance(said.get("name"), str)
    if named and len(json.dumps(said)) <= DESCRIPTION:
        book.metadata["language_info"] = nbformat.from_dict(said)
    book.metadata.pop("widgets", None)
    if isinstance(result.get("widgets"), dict) and result["widgets"]:
        book.metadata["widgets"] = nbformat.from_dict(result["widgets"])


def _told(book: NotebookNode) -> list[str]:
    """How the execution went, where it did not go to its end."""
    found = {
        f"{output.ename}: {output.evalue}".rstrip(": ")[:200]
        for cell in book.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "error" and output.ename in TOLD
    }
    return sorted(found)
