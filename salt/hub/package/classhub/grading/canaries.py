"""Canaries: cells that must fail, put behind each test into what is executed.

A student's code shares a kernel with the tests, and can take the asserts out of them before they run, or the helpers
that they call. Then a canary passes that must fail, and the test before it does not count. A test that ends in a value,
which is partial credit, has another that must show a value as it is. Code that can tell a canary from a test is not
found this way.
"""

import ast
import random
import re
import secrets
from typing import NamedTuple

from classhub.course.notebooks import Cell, grader, is_own, text

# What compares two values and raises if they differ: unittest, nose, numpy.testing, pandas.testing.
HELPERS = {
    "assertEqual", "assertAlmostEqual", "assert_equal", "assert_equals", "assert_almost_equal", "assert_allclose",
    "assert_approx_equal", "assert_array_equal", "assert_array_almost_equal", "assert_frame_equal",
    "assert_series_equal", "assert_index_equal", "eq_",
}  # fmt: skip
# What compares two values and says whether they are alike: numpy, math.
COMPARISONS = {"allclose", "isclose", "array_equal", "array_equiv"}
# What tests ask of Python itself, and something that is not so.
BUILTINS = {
    "abs": "abs({one}) < 1",
    "all": "all([{one}, 0])",
    "any": "any([0, 0])",
    "isinstance": "isinstance({one}, str)",
}
# nothing of the student's is called on the way to it
DOTTED = re.compile(r"((\w+\.)*TestCase\(\)\.)?\w+(\.\w+)*")
NEAR = 0.01  # how far a value may be from what is shown of it, relatively: `%precision`
_random = random.SystemRandom()


class Canary(NamedTuple):
    """A cell that must fail.

    Attributes:
        place: of it, among the cells with canaries
        test: place of the test before it, among the cells without
        nonce: what its error must say; empty: any error will do
        words: what it is, for the grader
        value: what it must show in place of failing
    """

    place: int
    test: int
    nonce: str
    words: str
    value: float | None = None

    @property
    def charge(self) -> str:
        """What is said where it survived."""
        if self.value is None:
            return f"{self.words} does not fail any more where it must, so this test proves nothing"
        return "a value is not shown any more as it is, so this test proves nothing"


def with_canaries(cells: list[Cell]) -> tuple[list[Cell], list[Canary]]:
    """A notebook's cells, in Python, with canaries between them."""
    new: list[Cell] = []
    canaries = []
    for place, cell in enumerate(cells):
        new.append(cell)
        if not is_test(cell):
            continue
        for source, nonce, words in sources(text(cell)):
            canaries.append(Canary(len(new), place, nonce, words))
            new.append(_code(source))
        if ends_in_value(text(cell)):
            value = _number() + 0.5
            canaries.append(Canary(len(new), place, "", "value", value))
            new.append(_code(str(value)))
    return new, canaries


def is_test(cell: Cell) -> bool:
    """Whether a cell gives points when it is executed."""
    return cell["cell_type"] == "code" and is_own(cell) and bool(grader(cell).get("grade"))


def sources(test: str) -> list[tuple[str, str, str]]:
    """Source, nonce and description of the canaries for a test."""
    one, other = secrets.token_hex(8), secrets.token_hex(8)
    found = [(f"assert {_number()} == -{_number()}, {one!r}", one, "assert")]
    if "raise" in test:
        found.append((f"raise AssertionError({other!r})", other, "raise"))
    return found + [(source, "", name) for name in called(test) if (source := failing(name))]


def called(test: str) -> list[str]:
    """What a test calls, as it writes it, such as np.testing.assert_allclose."""
    nodes = ast.walk(tree) if (tree := parsed(test)) else ()
    names = {ast.unparse(node.func) for node in nodes if isinstance(node, ast.Call)}
    return sorted(name for name in names if DOTTED.fullmatch(name))


def failing(name: str) -> str:
    """A call of something that must fail, in whatever way; empty for what is none of those."""
    last = name.rpartition(".")[2]
    if last in HELPERS:
        return f"{name}({_number()}, -{_number()})"
    if last in COMPARISONS:
        untrue = f"{name}({_number()}, -{_number()})"
    elif name in BUILTINS:
        untrue = BUILTINS[name].format(one=_number())
    else:
        return ""
    return f"{{True: None}}[{untrue}]"  # no assert, which has a canary of its own


def ends_in_value(test: str) -> bool:
    """Whether a test's last line is a value, by which nbgrader gives a part of the points."""
    tree = parsed(test)
    last = tree.body[-1] if tree and tree.body else None
    if not isinstance(last, ast.Expr):
        return False
    name = ast.unparse(last.value.func) if isinstance(last.value, ast.Call) else ""
    return name != "print" and name.rpartition(".")[2] not in HELPERS


def parsed(test: str) -> ast.Module | None:
    """A test's syntax; nothing for magics or another language."""
    try:
        return ast.parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _number() -> int:
    return _random.randrange(10**5, 10**7)


def _code(source: str) -> Cell:
    return {
        "cell_type": "code",
        "metadata": {},
        "source": source,
        "outputs": [],
        "execution_count": None,
    }


def survived(canary: Canary, outputs: list[dict]) -> bool:
    """Whether a canary did not fail as it must."""
    errors = [output for output in outputs if output["output_type"] == "error"]
    if canary.value is not None:
        shown = [one for one in outputs if one["output_type"] == "execute_result"]
        return bool(errors) or len(shown) != 1 or not _shows(shown[0], canary.value)
    if not canary.nonce:
        return not errors
    return not any(
        error["ename"] == "AssertionError" and error["evalue"] == canary.nonce for error in errors
    )


def _shows(output: dict, value: float) -> bool:
    """Whether an output is this value, however it is rounded."""
    try:
        return abs(float(text({"source": output["data"]["text/plain"]})) - value) <= NEAR * value
    except (KeyError, ValueError):
        return False
