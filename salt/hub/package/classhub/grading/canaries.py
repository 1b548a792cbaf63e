"""Canaries: cells that must fail, put behind each test into what is executed.

A student's code shares a kernel with the tests, and can take the asserts out of them before they run, or the helpers
that they call. Then a canary passes that must fail, and the test before it does not count. Code that can tell a canary
from a test is not found this way.
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
DOTTED = re.compile(r"\w+(\.\w+)*")  # nothing is called on the way to it
_random = random.SystemRandom()


class Canary(NamedTuple):
    """A cell that must fail.

    Attributes:
        place: of it, among the cells with canaries
        test: place of the test before it, among the cells without
        nonce: what its error must say; empty: any error will do
        words: what it is, for the grader
    """

    place: int
    test: int
    nonce: str
    words: str


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
    return found + [(f"{name}({_number()}, -{_number()})", "", name) for name in helpers(test)]


def helpers(test: str) -> list[str]:
    """The helpers that a test calls, as it writes them, such as np.testing.assert_allclose."""
    try:
        tree = ast.parse(test)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []  # magics, or another language
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return sorted(
        name for name in called if DOTTED.fullmatch(name) and name.rpartition(".")[2] in HELPERS
    )


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
    if not canary.nonce:
        return not errors
    return not any(
        error["ename"] == "AssertionError" and error["evalue"] == canary.nonce for error in errors
    )
