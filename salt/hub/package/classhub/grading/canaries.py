"""Canaries: cells that must fail, put behind each test into what is executed.

A student's code shares a kernel with the tests, and can take the asserts out of them before they run, or the helpers
that they call. Then a canary passes that must fail, and the test before it does not count. A test that ends in a value,
which is partial credit, has another that must show a value as it is.

Echoes are canaries that look like the test: behind everything, a test is executed once more, with something in the place
of a value that it compares with. They find what acts on the tests alone, and answers that are equal to everything. Code
that can tell even these from a test is not found.
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
QUICK = "%xmode Minimal\n"  # a traceback that nobody sees would take 30 ms each
_random = random.SystemRandom()


class Canary(NamedTuple):
    """A cell that must fail.

    Attributes:
        place: of it, among the cells with canaries
        test: place of the test before it, among the cells without
        nonce: what its error must say; empty: any error will do
        words: what it is, for the grader
        value: what it must show in place of failing
        echo: whether it is the test itself, with another value
    """

    place: int
    test: int
    nonce: str
    words: str
    value: float | None = None
    echo: bool = False

    @property
    def charge(self) -> str:
        """What is said where it survived."""
        if self.echo:
            return "passes with another value in place of the right one, too, so this test proves nothing"
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
    before = QUICK
    for place, cell in enumerate(cells):
        if is_test(cell) and (source := echo(text(cell))):
            canaries.append(Canary(len(new), place, "", "echo", echo=True))
            new.append(_code(before + source))
            before = ""
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


def echo(test: str) -> str:
    """A test up to one of its comparisons, which is with another value than the test's; empty if it has none.

    Only statements are taken that are executed in any case, and fail then for every right answer.
    """
    tree = parsed(test)
    body = tree.body if tree else []
    found = [(place, other) for place, one in enumerate(body) if (other := altered(one))]
    if not found:
        return ""
    place, other = _random.choice(found)
    return ast.unparse(ast.Module([*body[:place], other], []))


def altered(statement: ast.stmt) -> ast.stmt | None:
    """A statement that fails where it would pass, as it compares with another value; None if that is not certain."""
    match statement:
        case ast.Assert(test=test, msg=message):
            found = untrue(test)
            return found and ast.Assert(found, message)
        case ast.Expr(value=ast.Call() as call):
            found = _of_call(call, HELPERS)
            return found and ast.Expr(found)
        case ast.If(test=ast.Compare(ops=[ast.NotEq()]) as test, body=[ast.Raise(), *_] as body):
            return ast.If(_of_sides(test), body, [])
        case ast.For(target=target, iter=values, body=body) if is_literal(values):
            for place, one in enumerate(body):
                if found := altered(one):
                    return ast.For(target, values, [*body[:place], found], [], lineno=0)
    return None


def untrue(test: ast.expr) -> ast.expr | None:
    """An expression that is not true where another is; None if that is not certain."""
    match test:
        case ast.Compare(ops=[ast.Eq()]):
            return _of_sides(test)
        case ast.Compare(
            left=ast.Call(func=ast.Name(id="abs"), args=[ast.BinOp(left=one, op=ast.Sub())]),
            ops=[ast.Lt() | ast.LtE()],
            comparators=[ast.Constant(value=float() | int() as near)],
        ) if near < 1:
            far = ast.BinOp(one, ast.Sub(), ast.Constant(_number()))
            return ast.Compare(ast.Call(test.left.func, [far], []), test.ops, test.comparators)
        case ast.Call():
            return _of_call(test, COMPARISONS)
        case ast.BoolOp(op=ast.And(), values=values):
            for place, one in enumerate(values):
                if found := untrue(one):
                    return ast.BoolOp(test.op, [*values[:place], found, *values[place + 1 :]])
    return None


def _of_sides(test: ast.Compare) -> ast.Compare:
    """A comparison with another value on the side that is a literal, or on the right."""
    (right,) = test.comparators
    if is_literal(test.left) and not is_literal(right):
        return ast.Compare(_other(test.left), test.ops, [right])
    return ast.Compare(test.left, test.ops, [_other(right)])


def _of_call(call: ast.Call, names: set[str]) -> ast.Call | None:
    """A call of one of these functions with another value in the place of a literal: what is empty equals anything."""
    name = ast.unparse(call.func)
    if name.rpartition(".")[2] not in names or not DOTTED.fullmatch(name):
        return None
    match call.args:
        case [one, other, *more] if is_literal(other):
            return ast.Call(call.func, [one, _other(other), *more], call.keywords)
        case [one, *more] if is_literal(one):
            return ast.Call(call.func, [_other(one), *more], call.keywords)
    return None


def _other(value: ast.expr) -> ast.Constant:
    """A value of the same kind that nothing is equal to."""
    known = getattr(value, "value", None)
    if isinstance(known, str):
        return ast.Constant(secrets.token_hex(8))
    return ast.Constant(_number() + 0.5 if isinstance(known, float) else _number())


def is_literal(node: ast.expr) -> bool:
    """Whether it is written out, and no empty collection: what is compared with one may have nothing to compare."""
    match node:
        case ast.Constant():
            return node.value is not Ellipsis
        case ast.UnaryOp(operand=one):
            return is_literal(one)
        case ast.BinOp(left=one, right=other):
            return is_literal(one) and is_literal(other)
        case (
            ast.List(elts=[_, *_] as values)
            | ast.Tuple(elts=[_, *_] as values)
            | ast.Set(elts=[_, *_] as values)
        ):
            return all(map(is_literal, values))
        case ast.Dict(keys=[_, *_] as keys, values=values):
            return all(key and is_literal(key) for key in keys) and all(map(is_literal, values))
        case ast.Call(func=ast.Name(id="range"), args=[*first, ast.Constant(value=int() as end)]):
            return all(
                isinstance(one, ast.Constant) and one.value < end
                for one in first or [ast.Constant(0)]
            )
        case ast.Call(func=ast.Attribute(attr="array"), args=[values]):
            return is_literal(values)
    return False


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
