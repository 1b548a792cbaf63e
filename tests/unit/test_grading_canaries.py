"""Canaries: behind each test, of the kinds of failure that the test can show, and told from real failures."""

import math
from types import SimpleNamespace

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
        ("unittest.TestCase().assertEqual(x, 1)", ["assert", "unittest.TestCase().assertEqual"]),
        ("assert np.allclose(f(), 2) and math.isclose(x, y)", ["assert", "math.isclose", "np.allclose"]),
        ("assert abs(x - 2) < 1e-9 and all(y) and isinstance(x, int)", ["assert", "abs", "all", "isinstance"]),
        ("assert (x == y).all() and x.any()", ["assert"]),
        ("hits = [f(n) for n in (1, 2)]\nhits.count(True) / 2", ["assert", "value"]),
        ("score(f);", ["assert", "value"]),
        ("print(x)", ["assert"]),
        ("self().assertEqual(1, 1)", ["assert"]),  # who knows what self() does
        ("helper.check(1, 2)", ["assert", "value"]),  # or what it returns
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


HELPERS = "np.allclose(x); math.isclose(y); abs(x); all(x); any(x); isinstance(x); assertEqual(x)"


def test_a_canary_fails_until_what_it_calls_is_replaced():
    real = {"np": SimpleNamespace(allclose=math.isclose), "math": math}
    fake = dict.fromkeys(("all", "any", "isinstance", "assertEqual"), lambda *_: True)
    fake |= {"abs": lambda _: 0, "np": SimpleNamespace(allclose=lambda *_: True)}
    fake["math"] = SimpleNamespace(isclose=lambda *_: True)
    found = canaries.sources(HELPERS)[1:]
    assert len(found) == 7
    for source, _, _ in found:
        with pytest.raises(Exception):  # noqa: B017, PT011 - any will do
            exec(source, dict(real))
        exec(source, dict(fake))


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


def value(shown):
    return {"output_type": "execute_result", "data": {"text/plain": shown}}


@pytest.mark.parametrize(
    ("outputs", "survived"),
    [
        ([value("1234567.5")], False),
        ([{"output_type": "stream", "name": "stdout", "text": "x"}, value("1234567.5")], False),
        ([value("1234568")], False),  # %precision 0
        ([value(["1.23e+06"])], False),
        ([value("1234567.50000000")], False),  # sympy.init_printing
        ([], True),
        ([value("2.0")], True),
        ([value("nan")], True),
        ([value("full marks")], True),
        ([value("1234567.5"), value("2.0")], True),
        ([{"output_type": "execute_result", "data": {}}], True),
        ([value("1234567.5"), {"output_type": "error", "ename": "E", "evalue": ""}], True),
    ],
)
def test_a_value_is_shown_as_it_is(outputs, survived):
    canary = canaries.Canary(1, 0, "", "value", 1234567.5)
    assert canaries.survived(canary, outputs) == survived
    assert canary.charge.startswith("a value is not shown any more")
