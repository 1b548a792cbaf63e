"""A submitted notebook, read as far as it can be: cut off, damaged, in another encoding or of an older format.

Nothing of it is believed: what comes out has the form of a notebook, whatever its content.
"""

import contextlib
import json
import re
from collections.abc import Iterator
from typing import Any

import nbformat

from classhub.course.notebooks import Cell, text
from classhub.course.report import Unfit

LARGEST = 64 << 20  # bytes of a notebook
PARTS = 2_000_000  # lists and objects in it: 20,000,000 took two minutes and 4 GiB
CELLS = 5_000
EFFORT = 8  # how often damaged text is read, at most, on the search for cells
COUNTED = 50  # an error of JSON counts the lines before it, so much faster than it reads
DEEP = 10_000  # characters that are read before nesting is too deep, about
MINOR = 5  # of format 4: nbformat/v4/nbbase.py
ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
# nbformat/v4/nbformat.v4.5.schema.json: what a cell may have beside its type
KEYS = {
    "code": {"id", "metadata", "source", "outputs", "execution_count"},
    "markdown": {"id", "metadata", "source", "attachments"},
    "raw": {"id", "metadata", "source", "attachments"},
}
OUTPUTS = ("stream", "display_data", "execute_result", "error")
# a string, a bracket, a comma, or the quote of a string that does not end
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],"]', re.DOTALL)
lenient = json.JSONDecoder(strict=False)


def read(data: bytes) -> tuple[dict, list[str]]:
    """A submitted notebook.

    Args:
        data: of the file

    Returns:
        The notebook, of format 4 and with well-formed cells, and what had to be repaired.

    Raises:
        Unfit: nothing of it can be read.
    """
    if len(data) > LARGEST:
        raise Unfit(f"is larger than {LARGEST >> 20} MiB")
    if parts(data) > PARTS:
        raise Unfit(f"has more than {PARTS:,} lists and objects")
    shown, repairs = decoded(data)
    document, faults = loaded(shown)
    if "cells" not in document:
        document = converted(document)
        faults.append("is of an old format")
    book, changes = formed(document)
    return book, repairs + faults + changes


def parts(data: bytes) -> int:
    """Lists and objects in a notebook, at most."""
    return data.count(b"[") + data.count(b"{")


def decoded(data: bytes) -> tuple[str, list[str]]:
    """Text of bytes; nbgrader reads UTF-8 alone."""
    try:
        shown = data.decode()
        if shown[:1] != "\ufeff":
            return shown, []
    except UnicodeDecodeError:
        pass
    encoding = json.detect_encoding(data)
    shown = data.decode(encoding, errors="replace")
    broken = ", with bytes that are none" if "\ufffd" in shown else ""
    return shown.lstrip("\ufeff"), [f"is written as {encoding}{broken}"]


def loaded(shown: str) -> tuple[Any, list[str]]:
    """The document in a text, however damaged.

    Raises:
        Unfit: there is none.
    """
    ways = (
        ("", json.loads),
        ("has raw control characters", lenient.decode),
        ("has the marks of a merge that failed", unmerged),
        ("has something behind its end", lambda shown: lenient.raw_decode(shown.lstrip())[0]),
        ("is cut off", lambda shown: lenient.decode(closed(shown))),
        ("is damaged", scattered),
    )
    for words, way in ways:
        with contextlib.suppress(ValueError, RecursionError):
            document = way(shown)
            if isinstance(document, dict) and ("cells" in document or "worksheets" in document):
                return document, [words] if words else []
    raise Unfit("cannot be read: nothing in it is a notebook's cell")


def unmerged(shown: str) -> Any:
    """The document where each conflict that git marked is settled for the first side."""
    kept, second = [], False
    for line in shown.splitlines(keepends=True):
        if line.startswith("======="):
            second = True
        elif line.startswith((">>>>>>>", "<<<<<<<")):
            second = False
        elif not second:
            kept.append(line)
    return lenient.decode("".join(kept))


def closed(shown: str) -> str:
    """A text that was cut off, up to its last whole value, with its brackets closed."""
    ends: list[str] = []
    end = 0
    for token in TOKEN.finditer(shown):
        sign = token[0]
        if sign == '"' or (sign in "}]" and ends[-1:] != [sign]):
            break
        if sign in "{[":
            ends.append("}" if sign == "{" else "]")
        elif sign in "}]":
            ends.pop()
        if sign == ",":
            end = token.start()
        elif len(sign) == 1 or ends[-1:] == ["]"]:
            end = token.end()
    return shown[:end] + "".join(reversed(ends))


def scattered(shown: str) -> dict:
    """The whole cells that are found in a text."""
    cells, start, effort = [], -1, EFFORT * len(shown)
    while effort > 0 and (start := shown.find("{", start + 1)) >= 0:
        try:
            found, end = lenient.raw_decode(shown, start)
        except RecursionError:
            effort -= DEEP
        except ValueError as error:
            end = getattr(error, "pos", start)
            effort -= end - start + end // COUNTED + 1
        else:
            if isinstance(found.get("cells"), list):
                return found
            if "cell_type" in found and "source" in found:
                cells.append(found)
            start = end - 1
    return {"cells": cells} if cells else {}


def converted(document: dict) -> dict:
    """A document of an older format as one of format 4.

    Raises:
        Unfit: it cannot become one.
    """
    try:
        return dict(nbformat.convert(nbformat.from_dict(document), 4))
    except Exception as error:  # whatever the converter trips over in a student's file
        raise Unfit(f"is of an old format and cannot be converted: {error}") from error


def formed(document: dict) -> tuple[dict, list[str]]:
    """The document in the form of a notebook, and what of it was changed.

    Raises:
        Unfit: it has no cells.
    """
    said = document.get("cells")
    found = [cell for cell in said if isinstance(cell, dict)] if isinstance(said, list) else []
    if not found:
        raise Unfit("has no cells")
    if len(found) > CELLS:
        raise Unfit(f"has more than {CELLS:,} cells")
    minor = document.get("nbformat_minor")
    known = type(minor) is int and 0 <= minor <= MINOR
    if any("id" in cell for cell in found):
        minor = MINOR
    elif not known:
        minor = MINOR - 1
    cells = list(_with_ids(map(formed_cell, found)))
    metadata = document.get("metadata")
    book = {
        "cells": cells,
        "metadata": metadata if isinstance(metadata, dict) else {},
        "nbformat": 4,
        "nbformat_minor": minor,
    }
    changes = []
    if cells != said:
        count = sum(one != other for one, other in zip(cells, found, strict=True))
        changes.append(f"has malformed cells: {count + len(said) - len(found)}")
    if {**book, "cells": 0} != {**document, "cells": 0}:
        changes.append("has a form that is no notebook's")
    return book, changes


def formed_cell(cell: Cell) -> Cell:
    """A cell in the form of one."""
    kind = cell.get("cell_type")
    known = isinstance(kind, str) and kind in KEYS
    new = dict(cell) if known else {**cell, "cell_type": "markdown"}
    allowed = KEYS[new["cell_type"]] | {"cell_type"}
    new = {key: value for key, value in new.items() if key in allowed}
    source = text(new)
    clean = source.encode(errors="replace").decode()  # half a surrogate pair cannot be written
    if clean != source or not _is_text(new.get("source")):
        new["source"] = clean
    for key in ("metadata", "attachments"):
        if (key == "metadata" or key in new) and not isinstance(new.get(key), dict):
            new[key] = {}
    if new["cell_type"] == "code":
        if not _are_outputs(new.get("outputs")):
            new["outputs"] = []
        count = new.get("execution_count")
        new["execution_count"] = count if type(count) is int else None
    return new


def _is_text(source: object) -> bool:
    """Whether this can be a cell's source."""
    lines = source if isinstance(source, list) else [source]
    return all(isinstance(line, str) for line in lines)


def _are_outputs(said: object) -> bool:
    """Whether these can be a cell's outputs; they are not executed, and made anew."""
    return isinstance(said, list) and all(
        isinstance(output, dict) and output.get("output_type") in OUTPUTS for output in said
    )


def _with_ids(cells: Iterator[Cell]) -> Iterator[Cell]:
    """The cells, no two of which have the same id; nbformat itself gives one to a cell that has none."""
    seen: set[str] = set()
    for place, cell in enumerate(cells):
        name = cell.get("id")
        if "id" in cell and (not isinstance(name, str) or not ID.fullmatch(name) or name in seen):
            name = f"classhub-{place}"
            while name in seen:
                name += "-"
            cell = {**cell, "id": name}  # noqa: PLW2901
        seen.add(name)
        yield cell
