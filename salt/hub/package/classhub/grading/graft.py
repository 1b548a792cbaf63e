"""Graft: what a student answered, in the released notebook.

A submitted notebook in which every cell of the assignment is in its place stays byte for byte what it is. In any other,
the cells of the assignment are put back as they were released, with the student's answers found by nbgrader's grade_id,
by the cell's id, or by what they look like. The student's other cells stay behind the cell they followed. Nothing here
gives points: a cell counts by what it does when it is executed, after tests that are always the released ones.
"""

import difflib
from typing import NamedTuple

from classhub.course.notebooks import Cell, grade_id, grader, is_own, parsed, text, written
from classhub.course.report import Unfit
from classhub.grading import salvage

ALIKE = 0.6  # similarity from which a cell is taken for a released one that lost its name: difflib
COMPARED = 200  # lines of a cell that are compared
CANDIDATES = 50  # cells that are compared with a released one


class Grafted(NamedTuple):
    """A notebook to grade, empty if there is none, and what was repaired in it, for the grader."""

    data: bytes
    repairs: list[str]


class Skeleton:
    """A released notebook.

    Attributes:
        metadata: the notebook's
        named: its cells that nbgrader knows, by grade_id, in their order
        plain: sources of its other cells
    """

    def __init__(self, data: bytes) -> None:
        book = parsed(data)
        self.metadata = book["metadata"]
        self.named = {name: cell for cell in book["cells"] if (name := grade_id(cell))}
        self.plain = {text(cell).strip() for cell in book["cells"] if not grade_id(cell)}


def graft(data: bytes, skeleton: Skeleton) -> Grafted:
    """The notebook that is to be graded in place of a submitted one.

    Args:
        data: the submitted notebook
        skeleton: the released one

    Raises:
        Unfit: nothing of it can be read.
    """
    book, repairs = salvage.read(data)
    run = _Graft(book["cells"], skeleton)
    cells = run.merged()
    repairs = repairs + run.repairs
    metadata = book["metadata"]
    wanted = language(skeleton.metadata)
    if wanted and language(metadata) != wanted:
        repairs.append(f"kernel: was for {language(metadata) or 'nothing'}")
        metadata = skeleton.metadata
    if not repairs:
        return Grafted(data, [])
    # two cells may have got the same id
    formed, _ = salvage.formed({**book, "cells": cells, "metadata": metadata})
    return Grafted(written(formed), repairs)


class _Graft:
    """Released and submitted cells, brought together.

    Attributes:
        places: grade_id -> place of the submitted cell that is taken for it
        repairs: what was done, in words
    """

    def __init__(self, submitted: list[Cell], skeleton: Skeleton) -> None:
        self.submitted, self.skeleton = submitted, skeleton
        self.places: dict[str, int] = {}
        self.repairs: list[str] = []
        self._find_named()
        self._find_by_id()
        self._find_alike()
        self._find_in_place()

    # -- which submitted cell is which

    def _find_named(self) -> None:
        """Find cells by their grade_id; of several, the last that was worked on."""
        for name, released in self.skeleton.named.items():
            found = [i for i, cell in enumerate(self.submitted) if grade_id(cell) == name]
            worked_on = [i for i in found if text(self.submitted[i]) != text(released)]
            if found:
                self.places[name] = (found if is_own(released) else worked_on or found)[-1]
            if len(found) > 1:
                self.repairs.append(f"{name}: there {len(found)} times")

    def _find_by_id(self) -> None:
        """Find cells that lost nbgrader's metadata by the notebook's own id."""
        free = {cell["id"]: i for i, cell in self._free() if isinstance(cell.get("id"), str)}
        for name, released in self._missing():
            if released.get("id") in free:
                self._take(name, free[released["id"]])

    def _find_alike(self) -> None:
        """Find cells that look like a released one, between the neighbours that are known."""
        for name, released in self._missing():
            likeness = {i: alike(released, self.submitted[i]) for i in self._candidates(name)}
            best = max(likeness, key=lambda i: likeness[i], default=None)
            if best is not None and likeness[best] >= ALIKE:
                self._take(name, best)

    def _find_in_place(self) -> None:
        """Take the only cell where an answer belongs for it."""
        for name, released in self._missing():
            there = [
                i
                for i in self._candidates(name)
                if self.submitted[i]["cell_type"] == released["cell_type"]
            ]
            if len(there) == 1 and not is_own(released):
                self._take(name, there[0])

    def _candidates(self, name: str) -> list[int]:
        """Places between the neighbours of a released cell, of cells that can be it."""
        low, high = self._between(name)
        found = [
            i
            for i, cell in self._free()
            if low < i < high and text(cell).strip() not in self.skeleton.plain | {""}
        ]
        return found[:CANDIDATES]

    def _free(self) -> list[tuple[int, Cell]]:
        """Submitted cells that are taken for no released one and have the name of none."""
        taken = set(self.places.values())
        return [
            (i, cell)
            for i, cell in enumerate(self.submitted)
            if i not in taken and grade_id(cell) not in self.skeleton.named
        ]

    def _missing(self) -> list[tuple[str, Cell]]:
        return [item for item in self.skeleton.named.items() if item[0] not in self.places]

    def _take(self, name: str, place: int) -> None:
        self.places[name] = place
        self.repairs.append(f"{name}: had lost its name")

    def _between(self, name: str) -> tuple[int, int]:
        """The places of the nearest found cells before and after a released one."""
        order = list(self.skeleton.named)
        here = order.index(name)
        before = [self.places[other] for other in order[:here] if other in self.places]
        after = [self.places[other] for other in order[here + 1 :] if other in self.places]
        low = before[-1] if before else -1
        return low, next((place for place in after if place > low), len(self.submitted))

    # -- what comes of them

    def merged(self) -> list[Cell]:
        """Released cells in their order, each with what followed it in the submission.

        What was answered somewhere else stays between an answer that is put back empty and a test that is put back.
        """
        following = self._following()
        cells, plain, tests = [], following[""], []
        for name, released in self.skeleton.named.items():
            cell = self._repaired(name, released)
            if name in self.places:
                cells += [*plain, *tests, cell]
                plain, tests = following.get(name, []), []
            elif is_own(released):
                tests.append(cell)
            else:
                cells.append(cell)
        places = [self.places[name] for name in self.skeleton.named if name in self.places]
        if places != sorted(places):
            self.repairs.append("cells were in another order")
        return [*cells, *plain, *tests]

    def _following(self) -> dict[str, list[Cell]]:
        """The student's own cells by the grade_id of the cell they followed."""
        names = {place: name for name, place in self.places.items()}
        following: dict[str, list[Cell]] = {"": []}
        last = ""
        for i, cell in enumerate(self.submitted):
            if i in names:
                last = names[i]
            elif not self._is_untouched(cell):
                following.setdefault(last, []).append(self._plain(cell))
        return following

    def _is_untouched(self, cell: Cell) -> bool:
        """Whether this is a surplus copy of a released cell, which would undo the one that was worked on."""
        released = self.skeleton.named.get(grade_id(cell))
        return released is not None and text(cell) == text(released)

    def _plain(self, cell: Cell) -> Cell:
        """A student's own cell, without anything that nbgrader would take for its own."""
        if "nbgrader" not in cell["metadata"]:
            return cell
        if grade_id(cell) not in self.skeleton.named:
            self.repairs.append(f"{grade_id(cell)[:60] or 'a cell'}: is none of the assignment's")
        kept = {key: value for key, value in cell["metadata"].items() if key != "nbgrader"}
        return {**cell, "metadata": kept}

    def _repaired(self, name: str, released: Cell) -> Cell:
        """The cell to grade for a released one."""
        place = self.places.get(name)
        if place is None:
            self.repairs.append(f"{name}: was missing")
            return released
        cell = self.submitted[place]
        wrong = []
        if cell["cell_type"] != released["cell_type"]:
            wrong.append(f"was of type {cell['cell_type']}")
        if grader(cell) != grader(released) and grade_id(cell) == name:
            wrong.append("had other nbgrader metadata")
        if tags(cell) != tags(released):
            wrong.append("had other tags")
        if is_own(released) and text(cell) != text(released):
            wrong.append("was changed")
        self.repairs += [f"{name}: {words}" for words in wrong]
        if not wrong and grade_id(cell) == name:
            return cell
        new = {**released, "source": released["source"] if is_own(released) else cell["source"]}
        if "attachments" in cell and released["cell_type"] != "code":
            new["attachments"] = cell["attachments"]
        return new


def tags(cell: Cell) -> object:
    """What steers whoever executes a cell: nbclient skips one with the tag skip-execution."""
    return cell["metadata"].get("tags") or []


def language(metadata: dict) -> str:
    """What a notebook's cells are written in; empty if it does not say."""
    for key, name in (("kernelspec", "language"), ("language_info", "name")):
        said = metadata.get(key)
        if isinstance(said, dict) and isinstance(said.get(name), str):
            return said[name].lower()
    return ""


def alike(released: Cell, cell: Cell) -> float:
    """How much a cell looks like a released one, from 0 to 1; what it defines counts most."""
    one = [line.strip() for line in text(released).splitlines()[:COMPARED]]
    other = [line.strip() for line in text(cell).splitlines()[:COMPARED]]
    heads = [line for line in one if line.startswith(("def ", "class "))]
    if heads and set(heads) <= set(other):
        return 1.0
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio()


# -- submissions


def assemble(submitted: dict[str, bytes], skeletons: dict[str, Skeleton]) -> dict[str, Grafted]:
    """The notebooks that are to be graded of a submission, by name.

    A released notebook that was not submitted under its name is looked for under others. One of which nothing is found
    has no data, and the reason as its repair.

    Args:
        submitted: files by path
        skeletons: the released notebooks by name
    """
    spare, parts = {}, 0
    for path, data in submitted.items():
        parts += salvage.parts(data)
        if path.lower().endswith(".ipynb") and path not in skeletons and parts <= salvage.PARTS:
            spare[path] = data
    found = {}
    for name, skeleton in skeletons.items():
        try:
            found[name] = graft(_present(submitted, name), skeleton)
        except Unfit as error:
            other = best_match(spare, skeleton)
            if other:
                data, repairs = graft(spare.pop(other), skeleton)
                found[name] = Grafted(data, [f"{error}; taken from {other}", *repairs])
            else:
                found[name] = Grafted(b"", [str(error)])
    return found


def _present(submitted: dict[str, bytes], name: str) -> bytes:
    if name not in submitted:
        raise Unfit("is missing")
    return submitted[name]


def best_match(books: dict[str, bytes], skeleton: Skeleton) -> str:
    """The name of the notebook that is most likely a released one under another name; empty if none is.

    Args:
        books: submitted notebooks by path that have the name of no released one
    """
    shares = {path: _share(data, skeleton) for path, data in books.items()}
    best = max(sorted(shares), key=lambda path: shares[path], default="")
    return best if best and shares[best] >= 0.5 else ""


def _share(data: bytes, skeleton: Skeleton) -> float:
    """How many of the released cells are in a notebook, from 0 to 1."""
    try:
        book, _ = salvage.read(data)
    except Unfit:
        return 0.0
    found = _Graft(book["cells"], skeleton).places
    return len(found) / len(skeleton.named) if skeleton.named else 0.0
