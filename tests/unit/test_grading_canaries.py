"""Canaries: behind each test, of the kinds of failure that the test can show, and told from real failures."""

import pytest

from tests.support import mangled, submissions  # noqa: F401 - puts the package on the path

from classhub.grading import canaries  # isort: skip


def graded(source, **said):
    return mangled.code(source, nbgrader={"grade_id": "t", "grade": True, "solution": False} | said)


def test_each_test_gets_a_canary_and_nothing_else_does():
    cells = [
        mangled.code("x = 1"),
        graded("assert x == 1"),
        graded("def f(): ...", solution=True),
        graded("assert x"),
        {"cell_type": "markdown", "metadata": {"nbgrader": {"grade": True}}, "source": "assert"},
    ]
    new, found = canaries.with_canaries(cells)
    planted = [canary.place for canary in found]
    assert planted == [2, 5]
    assert [canary.test for canary in found] == [1, 3]
    assert [cell for place, cell in enumerate(new) if place not in planted] == cells
    assert all("nbgrader" not in new[place]["metadata"] for place in planted)


@pytest.mark.parametrize(
    ("test", "wanted"),
    [
        ("assert x == 1", ["assert"]),
        ("try:\n    f()\nexcept ValueError: pass\nelse: raise AssertionError('no')", ["assert", "raise"]),
        ("np.testing.assert_allclose(x, 1)\nassert_equal(y, 2)", ["assert", "assert_equal", "np.testing.assert_allclose"]),
        ("self().assertEqual(1, 1)", ["assert"]),  # who knows what self() does
        ("helper.check(1, 2)", ["assert"]),
        ("%time assert x", ["assert"]),
    ],
)  # fmt: skip
def test_the_kinds_of_canaries_are_those_of_the_test(test, wanted):
    _, found = canaries.with_canaries([graded(test)])
    assert [canary.words for canary in found] == wanted


def test_a_canary_fails_in_a_kernel_and_no_two_are_alike():
    sources = [canaries.sources("assert x; raise y")[i][0] for i in (0, 1) for _ in range(50)]
    assert len(set(sources)) == 100
    for source in sources:
        with pytest.raises(AssertionError):
            exec(source, {})


@pytest.mark.parametrize(
    ("outputs", "survived"),
    [
        ([], True),
        ([{"output_type": "error", "ename": "AssertionError", "evalue": "n"}], False),
        ([{"output_type": "error", "ename": "AssertionError", "evalue": "m"}], True),
        ([{"output_type": "error", "ename": "DeadKernelError", "evalue": "n"}], True),
        ([{"output_type": "stream", "name": "stderr", "text": "n"}], True),
    ],
)
def test_only_its_own_error_shows_that_a_canary_failed(outputs, survived):
    assert canaries.survived(canaries.Canary(1, 0, "n", "assert"), outputs) == survived


def test_any_error_will_do_for_a_helper():
    canary = canaries.Canary(1, 0, "", "assert_equal")
    assert canaries.survived(canary, [])
    assert not canaries.survived(canary, [{"output_type": "error", "ename": "E", "evalue": ""}])
