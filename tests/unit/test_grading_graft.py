"""Grafting: answers are found in damaged notebooks, tests are the released ones, and nothing else is touched."""

import copy
import json

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator

from tests.support import mangled, submissions  # noqa: F401 - puts the package on the path

from classhub.course.notebooks import grade_id, grader, text  # isort: skip
from classhub.course.report import Unfit
from classhub.grading import salvage
from classhub.grading.graft import Skeleton, assemble, graft

NAME = "problem1.ipynb"
SKELETONS = {name: Skeleton(data) for name, data in mangled.released().items()}
SKELETON = SKELETONS[NAME]
# what is not in the file any more, or is not the answer to be graded
LOST = {
    "cut_off_behind_the_answers": {"sum_of_squares_application"},
    "answer_split_in_two": {"squares"},
    "answer_merged_with_its_test": {"squares"},
}


def named(book):
    return {grade_id(cell): cell for cell in book["cells"] if grade_id(cell)}


def check_sound(data):
    """What is true of every grafted notebook: its named cells are the released ones, but for the answers."""
    book = json.loads(data)
    nbformat.validate(nbformat.from_dict(book))
    MetadataValidator().validate_nb(nbformat.from_dict(book))
    ids = [grade_id(cell) for cell in book["cells"] if "nbgrader" in cell["metadata"]]
    assert ids == list(SKELETON.named)
    for name, cell in named(book).items():
        released = SKELETON.named[name]
        assert grader(cell) == grader(released)
        assert cell["cell_type"] == released["cell_type"]
        if not grader(released)["solution"]:
            assert text(cell) == text(released)
    return book


@pytest.mark.parametrize("kind", mangled.KINDS)
def test_right_answers_are_found_in_a_damaged_notebook(kind):
    found = assemble(mangled.damaged(kind), SKELETONS)
    data, repairs = found[NAME]
    assert repairs
    cells = named(check_sound(data))
    for name in set(mangled.ANSWERS) & set(cells) - LOST.get(kind, set()):
        answer = mangled.ANSWERS[name]
        if kind == "latin_1_in_a_comment":
            answer = answer.replace("Compute the squares", "R\ufffdsum\ufffd of the squares")
        assert text(cells[name]).replace("'''", '"""').replace("\t", " ") == answer, repairs
    assert found["problem2.ipynb"].data
    if kind != "notebook_in_a_folder":
        assert not found["problem2.ipynb"].repairs


def test_an_untampered_notebook_is_passed_byte_for_byte():
    books = mangled.answered()
    cells = books[NAME]["cells"]
    cells.insert(0, mangled.code("import math", tags=["mine"]))
    cells.insert(9, mangled.code("squares(3)"))
    cells[9]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "[1, 4, 9]"}]
    cells.append({"cell_type": "raw", "metadata": {"format": "text/x"}, "source": ["a", "b"]})
    for name, data in mangled.encoded(books).items():
        assert graft(data, SKELETONS[name]) == (data, [])


def test_the_released_notebook_itself_is_passed_byte_for_byte():
    for name, data in mangled.released().items():
        assert graft(data, SKELETONS[name]) == (data, [])


def order(data):
    """Cells by grade_id; those without by their first line."""
    return [grade_id(cell) or text(cell).split("\n")[0] for cell in json.loads(data)["cells"]]


def grafted(change):
    book = mangled.answered()[NAME]
    change(book)
    return graft(json.dumps(book).encode(), SKELETON)


def test_a_students_own_cells_stay_behind_what_they_followed():
    def change(book):
        book["cells"].insert(mangled.place(book, "sum_of_squares") + 1, mangled.code("mine = 1"))
        book["cells"].remove(mangled.cell(book, "correct_squares"))

    result = order(grafted(change).data)
    assert result[result.index("sum_of_squares") + 1] == "mine = 1"
    assert result.index("correct_squares") == result.index("squares_invalid_input") - 1


def test_an_answer_elsewhere_comes_after_the_empty_cell_and_before_its_test():
    """The cell that is put back empty defines the function, too."""

    def change(book):
        where = mangled.place(book, "squares")
        book["cells"][where : where + 5] = [
            mangled.code("n = 1"),
            mangled.code("squares = lambda n: [i * i for i in range(1, n + 1)]"),
        ]

    result = order(grafted(change).data)
    wanted = ["squares", "n = 1", "squares = lambda n: [i * i for i in range(1, n + 1)]"]
    assert [one for one in result if one in wanted] == wanted
    assert result.index("correct_squares") > result.index(wanted[-1])


def test_a_tag_cannot_switch_a_test_off():
    def change(book):
        mangled.cell(book, "correct_squares")["metadata"]["tags"] = ["skip-execution"]

    data, repairs = grafted(change)
    assert "tags" not in named(json.loads(data))["correct_squares"]["metadata"]
    assert repairs == ["correct_squares: had other tags"]


def test_a_cell_of_ones_own_does_not_count():
    data, repairs = graft(mangled.damaged("a_graded_cell_of_ones_own")[NAME], SKELETON)
    assert repairs == ["extra: is none of the assignment's"]
    assert json.loads(data)["cells"][-1]["metadata"].get("nbgrader") is None


def test_a_cell_that_lost_its_name_where_it_was_is_not_told_as_moved():
    repairs = graft(mangled.damaged("grade_id_renamed")[NAME], SKELETON).repairs
    assert repairs == ["squares: had lost its name"]


def test_a_plain_cell_is_not_taken_for_an_answer_that_is_there():
    def change(book):
        book["cells"].insert(3, copy.deepcopy(mangled.cell(book, "squares")))
        book["cells"][3]["metadata"] = {}
        book["cells"][3]["source"] = "def squares(n):\n    return []"

    assert grafted(change).repairs == []


def test_what_cannot_be_read_is_told_and_does_not_stop_the_others():
    files = mangled.encoded(mangled.answered()) | {NAME: b"\x89PNG\r\n\x1a\n" * 1000}
    found = assemble(files, SKELETONS)
    assert found[NAME].data == b""
    assert found[NAME].repairs == ["cannot be read: nothing in it is a notebook's cell"]
    assert found["problem2.ipynb"].repairs == []


def test_a_notebook_of_another_assignment_is_not_taken_for_a_missing_one():
    files = mangled.encoded(mangled.answered())
    del files[NAME]
    files["notes.ipynb"] = json.dumps(
        {"cells": [mangled.code("1 + 1")], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    ).encode()
    assert assemble(files, SKELETONS)[NAME] == (b"", ["is missing"])


# -- reading


HOSTILE = {
    "deep": b'{"cells": ' + b"[" * 100_000,
    "deep objects": b'{"a":' * 200_000,
    "brackets": b"{" * 1_000_000,
    "quotes": b'"' * 999_999,
    "conflicts": b"<<<<<<< \n" * 200_000,
    "objects that fail late": b'{"a":1,' * 20_000 + b"1," * 200_000,
    "a long number": b'{"cells": [' + b"9" * 100_000 + b"]}",
    "a list": b"[1, 2, 3]",
    "cells that are none": b'{"cells": [1, 2]}',
    "no cells": b'{"cells": []}',
    "worksheets that are none": b'{"nbformat": 3, "worksheets": 5}',
    "nothing": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused(name):
    with pytest.raises(Unfit):
        salvage.read(HOSTILE[name])


def test_a_file_that_is_too_large_is_refused(monkeypatch):
    monkeypatch.setattr(salvage, "LARGEST", 100)
    with pytest.raises(Unfit, match="larger than"):
        salvage.read(mangled.released()[NAME])


def test_countless_cells_or_parts_are_refused(monkeypatch):
    """20,000,000 empty lists took the hub two minutes and 4 GiB."""
    data = mangled.released()[NAME]
    assert salvage.parts(data) > 10
    monkeypatch.setattr(salvage, "PARTS", 10)
    with pytest.raises(Unfit, match="more than 10 lists and objects"):
        salvage.read(data)
    monkeypatch.undo()
    monkeypatch.setattr(salvage, "CELLS", 3)
    with pytest.raises(Unfit, match="more than 3 cells"):
        salvage.read(data)


def test_notebooks_of_other_names_are_searched_as_far_as_one_may_have_parts(monkeypatch):
    data = mangled.encoded(mangled.answered())[NAME]
    found = assemble({"a.ipynb": data, "b.ipynb": data}, {NAME: SKELETON})[NAME]
    assert found.repairs[0] == "is missing; taken from a.ipynb"
    monkeypatch.setattr(salvage, "PARTS", salvage.parts(data))
    junk = b"[" * 100
    found = assemble({"a.ipynb": junk, "b.ipynb": data}, {NAME: SKELETON})[NAME]
    assert found.repairs == ["is missing"]


def test_a_notebook_cut_off_anywhere_gives_its_whole_cells():
    data = mangled.encoded(mangled.answered())[NAME]
    whole = json.loads(data)["cells"]
    least = 0
    for end in range(len(data) // 4, len(data), 97):
        book, repairs = salvage.read(data[:end])
        assert repairs
        count = len(book["cells"])
        assert book["cells"][: count - 1] == whole[: count - 1]
        assert count >= least
        least = count
    assert least == len(whole)


def test_malformed_cells_are_counted():
    _, repairs = salvage.read(mangled.damaged("cell_that_is_none")[NAME])
    assert repairs == ["has malformed cells: 2"]


def test_half_a_surrogate_pair_can_be_written_again():
    book = mangled.answered()[NAME]
    book["cells"].insert(1, mangled.code("x = '\ud83d'"))
    data, repairs = graft(json.dumps(book).encode(), SKELETON)
    assert repairs
    data.decode()


def test_fields_that_are_lists_cost_their_cell_alone():
    book = mangled.answered()[NAME]
    book["cells"].insert(1, {"cell_type": ["code"], "metadata": {}, "source": "", "id": ["x"]})
    mangled.cell(book, "squares")["outputs"] = [{"output_type": ["stream"]}]
    cells = named(check_sound(graft(json.dumps(book).encode(), SKELETON).data))
    assert text(cells["squares"]) == mangled.ANSWERS["squares"]
