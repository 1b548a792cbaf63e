"""What a container says came of a submission: believed only where it can be nothing but outputs."""

import hashlib
import json

import nbformat
import pytest
from nbformat import v4
from nbgrader.utils import determine_grade

from tests.support import submissions  # noqa: F401 - puts the package on the path

from classhub.course.report import Unfit  # isort: skip
from classhub.grading import outcome
from classhub.grading.canaries import Canary

JOB = b'{"the": "job"}'
DIGEST = hashlib.sha256(JOB).hexdigest()


def stream(text, name="stdout"):
    return {"output_type": "stream", "name": name, "text": text}


def failure(ename="AssertionError", evalue="", traceback=()):
    return {"output_type": "error", "ename": ename, "evalue": evalue, "traceback": list(traceback)}


def cell(*outputs, count=1):
    return {"outputs": list(outputs), "execution_count": count}


def result(*cells, **more):
    return {"cells": {str(place): found for place, found in enumerate(cells) if found}} | more


def book(*sources):
    """A notebook whose cells are tests."""
    grader = {"grade": True, "solution": False, "locked": True, "points": 1, "schema_version": 3}
    cells = [
        v4.new_code_cell(source, metadata={"nbgrader": grader | {"grade_id": f"t{place}"}})
        for place, source in enumerate(sources)
    ]
    return v4.new_notebook(cells=cells)


# -- the file


def put(tmp_path, data):
    path = tmp_path / "result"
    path.write_bytes(data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


def test_a_result_is_read_by_notebook(tmp_path):
    path = put(tmp_path, {"digest": DIGEST, "notebooks": {"a.ipynb": {}}})
    assert outcome.read(path, JOB, 1000) == {"a.ipynb": {}}


BAD = [
    (b"", "there is no result"),
    (b"{", "none that the runner writes"),
    (b"[" * 100_000, "none that the runner writes"),
    (b"[]", "none that the runner writes"),
    (b'{"digest": "x", "notebooks": {}}', "of another job"),
    (json.dumps({"digest": DIGEST, "notebooks": []}).encode(), "has no notebooks"),
    (b" " * (2000 + outcome.ROOM + 1), "larger than all output may be"),
]


@pytest.mark.parametrize(("data", "words"), BAD)
def test_what_is_no_result_of_the_job_is_refused(tmp_path, data, words):
    with pytest.raises(Unfit, match=words):
        outcome.read(put(tmp_path, data), JOB, 1000)


def test_a_result_of_countless_parts_is_refused(tmp_path, monkeypatch):
    path = put(tmp_path, {"digest": DIGEST, "notebooks": {"a.ipynb": {"cells": [[], [], []]}}})
    assert outcome.read(path, JOB, 1000)
    monkeypatch.setattr(outcome.salvage, "PARTS", 5)
    with pytest.raises(Unfit, match="more than 5 lists and objects"):
        outcome.read(path, JOB, 1000)


def test_links_and_pipes_are_not_followed(tmp_path):
    put(tmp_path, {"digest": DIGEST, "notebooks": {}}).rename(tmp_path / "other")
    (tmp_path / "result").symlink_to(tmp_path / "other")
    with pytest.raises(Unfit, match="cannot be read"):
        outcome.read(tmp_path / "result", JOB, 1000)
    (tmp_path / "result").unlink()
    import os

    os.mkfifo(tmp_path / "result")
    with pytest.raises(Unfit, match="there is no result"):
        outcome.read(tmp_path / "result", JOB, 1000)


# -- a notebook


def settle(notebook, found, canaries=()):
    return outcome.settle(notebook, list(canaries), found)


def test_outputs_come_to_their_cells():
    settled, notes = settle(book("1", "2"), result(cell(stream("one")), cell(count=2)))
    assert [c.outputs for c in settled.cells] == [[stream("one")], []]
    assert [c.execution_count for c in settled.cells] == [1, 2]
    assert notes == []
    nbformat.validate(settled)


ODD = [
    None,
    [],
    {"cells": []},
    result(cell()),
    result(cell(), cell(), cell()),
    {"cells": {"-1": cell(), "0": cell(), "1": cell()}},
    {"cells": {"x": cell(), "1": cell()}},
    result(cell(count="1"), cell()),
    result(cell(count=True), cell()),
    result({"outputs": []}, cell()),
    result({"outputs": "x", "execution_count": 1}, cell()),
    result(cell("x"), cell()),
    result(cell({"output_type": "pickle", "data": "x"}), cell()),
    result(cell({"output_type": "stream", "name": "stdout"}), cell()),
    result(cell({"output_type": "stream", "name": "stdout", "text": 1}), cell()),
    result(cell({**stream("x"), "metadata": {"nbgrader": {}}}), cell()),
    result(cell({**failure(), "traceback": "x"}), cell()),
]


@pytest.mark.parametrize("odd", ODD)
def test_what_is_not_the_outputs_of_the_cells_is_refused(odd):
    with pytest.raises(Unfit):
        settle(book("1", "2"), odd)


@pytest.mark.parametrize("place", ["cells", "widgets", "language_info"])
def test_values_nested_too_deeply_are_refused(place):
    """The hub's stack is not as deep as the runner's: 485 lists in each other ended the run for all."""
    shown = 0
    for _ in range(485):
        shown = [shown]
    data = {"output_type": "display_data", "metadata": {}, "data": {"application/json": shown}}
    found = result(cell(data)) if place == "cells" else result(cell(), **{place: {"x": shown}})
    with pytest.raises(Unfit, match="nested too deeply"):
        settle(book("a"), found)


def test_counts_and_tracebacks_are_as_without_canaries():
    shown = value("1") | {"execution_count": 3}
    traced = failure(traceback=["Cell \x1b[32mIn[1]\x1b[39m, line 1", "In[3] and In[99]"])
    found = result(cell(count=1), cell(failure(evalue="n"), count=2), cell(traced, shown, count=3))
    settled, _ = settle(book("a", "b"), found, [Canary(1, 0, "n", "assert")])
    assert [c.execution_count for c in settled.cells] == [1, 2]
    assert settled.cells[1].outputs[1].execution_count == 2
    assert settled.cells[1].outputs[0].traceback == [
        "Cell \x1b[32mIn[1]\x1b[39m, line 1",
        "In[2] and In[99]",
    ]


def test_a_canary_that_did_not_fail_costs_its_test():
    canaries = [Canary(1, 0, "n", "assert"), Canary(3, 1, "m", "assert")]
    found = result(cell(), cell(), cell(count=3), cell(failure(evalue="m"), count=4))
    settled, notes = settle(book("a", "b"), found, canaries)
    assert settled.cells[0].outputs[-1].ename == "CanaryError"
    assert settled.cells[1].outputs == []
    assert notes == ["t0: assert does not fail any more where it must, so this test proves nothing"]
    with pytest.raises(Unfit):
        settle(book("a"), result(cell()), canaries[:1])


def test_an_echo_that_did_not_fail_costs_its_test_and_values_beside_it():
    tests = book("assert f() == 1", "assert g() == 1", "f() / 2", "assert h() == 1")
    echoes = [
        Canary(4 + place, test, "", "echo", echo=True) for place, test in enumerate((0, 1, 3))
    ]
    errors = [cell(failure(evalue=""), count=3)]
    found = result(cell(), cell(), cell(value("0.5")), cell(failure()), cell(), *errors, cell())
    settled, notes = settle(tests, found, echoes)
    assert notes == [
        "t0: passes with another value in place of the right one, too, so this test proves nothing",
        "t2: is a value beside tests that pass with any, so this test proves nothing",
    ]
    assert [len(one.outputs) for one in settled.cells] == [1, 0, 2, 1]
    assert settled.cells[2].outputs[0].ename == "CanaryError"


def test_an_echo_says_nothing_that_a_canary_has_said():
    both = [Canary(1, 0, "n", "assert"), Canary(2, 0, "", "echo", echo=True)]
    _, notes = settle(book("assert f() == 1"), result(cell(), cell(), cell()), both)
    assert notes == ["t0: assert does not fail any more where it must, so this test proves nothing"]


def value(shown):
    data = {"text/plain": shown} if shown else {}
    return {"output_type": "execute_result", "execution_count": 1, "data": data, "metadata": {}}


MORE = "t0: shows more than one value or error; the least counts"
NO_NUMBER = "t0: shows what is no number of points: "
COUNTED = [
    ([value("0.5")], 0.5, None),
    ([value("full marks")], 1, None),  # as nbgrader has it
    ([stream("x"), value("0.25"), stream("y")], 0.25, None),
    ([value("0.5"), value("0.75")], 0.5, None),
    ([value("1.0"), failure()], 0, MORE),
    ([value("full marks"), failure()], 0, MORE),
    ([value("-1"), value("0.5")], 0.5, MORE),
    ([stream("x", "stderr"), value("1.0")], 0, None),
    ([value("100")], 0, NO_NUMBER + "partial credit cannot be greater than maximum points for cell"),
    ([value("")], 0, NO_NUMBER + "'text/plain'"),
    ([value("100"), failure()], 0, NO_NUMBER),
]  # fmt: skip


@pytest.mark.parametrize(("outputs", "points", "told"), COUNTED)
def test_of_several_values_and_errors_the_least_counts(outputs, points, told):
    """nbgrader counts the first, which a student's code that a test calls can show itself."""
    settled, notes = settle(book("a"), result(cell(*outputs)))
    assert determine_grade(settled.cells[0]) == (points, 1)
    assert [note.startswith(told) for note in notes] == ([True] if told else [])
    assert all(output in settled.cells[0].outputs for output in outputs)
    nbformat.validate(settled)


def test_a_value_before_a_canary_does_not_count():
    canary = Canary(1, 0, "n", "assert")
    settled, notes = settle(book("a"), result(cell(value("1.0")), cell(count=2)), [canary])
    assert determine_grade(settled.cells[0]) == (0, 1)
    assert len(notes) == 1


def test_how_an_execution_ended_is_told():
    dead = failure("DeadKernelError", "the kernel died")
    _, notes = settle(book("a", "b"), result(cell(dead), cell(dead, count=None)))
    assert notes == ["DeadKernelError: the kernel died"]


def test_what_a_kernel_says_of_itself_is_bounded():
    plain = {"name": "python", "version": "3"}
    settled, _ = settle(book("a"), result(cell(), language_info=plain, widgets={"state": {}}))
    assert settled.metadata == {"language_info": plain, "widgets": {"state": {}}}
    for odd in ({"name": 1}, "x", {"name": "x" * 5000}):
        settled, _ = settle(book("a"), result(cell(), language_info=odd, widgets=[1]))
        assert settled.metadata == {}
