"""Canaries: behind each test, of the kinds of failure that the test can show, and told from real failures."""

import math
import re
import unittest
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
    assert planted == [2, 5, 7]
    assert [canary.test for canary in found] == [1, 3, 1]
    assert [canary.echo for canary in found] == [False, False, True]
    assert new[7]["source"].startswith("%xmode Minimal\nassert x == ")
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
    assert [canary.words for canary in found if not canary.echo] == wanted


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


# -- echoes

# Each: (a test, whether it has an echo); with a right `square` all pass
ECHOES = [
    ("assert square(2) == 4", True),
    ("assert 4 == square(2), 'no square'", True),
    ("assert square(2) == square(-2)", True),
    ("x = square(3)\nassert isinstance(x, int)\nassert x == 9", True),
    ("assert square(2) > 3 and square(2) == 4", True),
    ("assert [square(n) for n in (1, 2)] == [1, 4]", True),
    ("assert str(square(2)) == '4' and square(0) == 0.0", True),
    ("assert repr(square(2)).encode() == b'4'", True),
    ("for n, wanted in [(1, 1), (2, 4)]:\n    found = square(n)\n    assert found == wanted", True),
    ("for n in range(1, 4):\n    assert square(n) == n * n", True),
    ("assert abs(square(1.5) - 2.25) < 1e-9", True),
    ("assert math.isclose(square(1.5), 2.25)", True),
    ("assert np.allclose(square(np.arange(3)), [0, 1, 4])", True),
    ("np.testing.assert_allclose(square(np.arange(3)), np.array([0, 1, 4]))", True),
    ("unittest.TestCase().assertEqual(square(4), 16)", True),
    ("if square(4) != 16:\n    raise ValueError('no square')\nelse:\n    print('right')", True),
    # nothing says that these fail with another value
    ("assert square(2)", False),
    ("assert square(2) != 5", False),
    ("assert not square(2) == 5", False),
    ("assert square(2) == 4 or square(2) == 5", False),
    ("assert square(2) in (4, 5) and 3 < square(2) < 5", False),
    ("assert (square(np.arange(0)) == np.arange(0)).all()", False),
    ("assert all(square(n) == n for n in [])", False),
    ("assert np.allclose(square(np.arange(0)), [])", False),
    ("np.testing.assert_array_equal(square(np.arange(0)), np.array([]))", False),
    ("for n in []:\n    assert square(n) == 3", False),
    ("for n in range(0):\n    assert square(n) == 3", False),
    ("if square(2) == 5:\n    raise ValueError", False),
    ("if False:\n    assert square(2) == 4", False),
    ("try:\n    assert square(2) == 5\nexcept AssertionError:\n    pass", False),
    ("def check():\n    assert square(2) == 4\ncheck()", False),
    ("assert await_(square)(2) < 5", False),
    ("%time assert square(2) == 4", False),
]  # fmt: skip
KNOWN = {"math": math, "unittest": unittest, "await_": lambda f: f}


class Anything:
    """What is equal to everything."""

    __hash__ = None

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False


@pytest.mark.parametrize(("test", "has_one"), ECHOES)
def test_an_echo_fails_for_the_right_answer(test, has_one):
    real = not test.startswith("%") and "np." not in test  # numpy is in the image alone
    if real:
        exec(test, KNOWN | {"square": lambda x: x * x})
    for _ in range(5):
        source = canaries.echo(test)
        assert bool(source) == has_one, source
        if has_one and real:
            with pytest.raises((AssertionError, ValueError)):
                exec(source, KNOWN | {"square": lambda x: x * x})


@pytest.mark.parametrize(
    "test",
    [
        "assert square(2) == 4",
        "assert 4 == square(2), 'no square'",
        "for n in range(3):\n    assert square(n) == n * n",
        "unittest.TestCase().assertEqual(square(4), 16)",
        "if square(4) != 16:\n    raise ValueError('no square')",
    ],
)
def test_an_echo_passes_for_what_is_equal_to_everything(test):
    exec(canaries.echo(test), KNOWN | {"square": lambda x: Anything()})


def test_an_echo_looks_like_the_test():
    assert re.fullmatch(r"assert square\(2\) == \d+", canaries.echo("assert square(2) == 4"))
    assert re.fullmatch(
        r"assert f\(\) == '\w+'", canaries.echo("assert f() == 'x'\nassert g() > 3")
    )


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
