"""Notebooks as data, of whoever wrote them: read and written as JSON, and what nbgrader says of their cells."""

import json
from typing import Any

Cell = dict[str, Any]


def grade_id(cell: object) -> str:
    """nbgrader's name of a cell; empty if it has none."""
    found = grader(cell).get("grade_id")
    return found if isinstance(found, str) else ""


def grader(cell: object) -> dict:
    """nbgrader's metadata of a cell."""
    metadata = cell.get("metadata") if isinstance(cell, dict) else None
    found = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    return found if isinstance(found, dict) else {}


def is_own(cell: Cell) -> bool:
    """Whether a cell is the assignment's and not the student's: nbgrader/utils.py: is_locked."""
    said = grader(cell)
    return not said.get("solution") and bool(said.get("grade") or said.get("locked"))


def parsed(data: bytes) -> dict:
    """A notebook of format 4.

    Raises:
        ValueError: it is none.
    """
    try:
        book = json.loads(data)
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not (
        isinstance(book, dict) and book.get("nbformat") == 4 and isinstance(book.get("cells"), list)
    ):
        raise ValueError("is no notebook of format 4")
    return book


def text(cell: Cell) -> str:
    """A cell's source; empty where it has none that is text."""
    source = cell.get("source", "")
    if isinstance(source, list):
        return "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


def written(book: dict) -> bytes:
    """A notebook as Jupyter saves it: nbformat/v4/nbjson.py."""
    shown = json.dumps(book, indent=1, sort_keys=True, ensure_ascii=False, separators=(",", ": "))
    return shown.encode() + b"\n"
