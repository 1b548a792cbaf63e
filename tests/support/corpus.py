"""A course of nbgrader with hundreds of varied submissions, all of them such that nbgrader itself grades them rightly.

The assignments are in assignments/, as text; damaged notebooks are in mangled.py. `write_course` needs nbgrader alone;
a kernel that executes what it writes needs the packages that an assignment names in `needed`: numpy, pandas,
matplotlib, ipywidgets, as the student image has them. Scores depend on no machine, hour or order: the tests seed random
numbers, and no path is absolute.
"""

import json
import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from nbgrader.api import Gradebook

from tests.support.grading import nbgrader
from tests.support.mangled import GUIDE, Book, Files, code, name_of, retype

PLACE = Path(__file__).parent / "assignments"
COURSE = "corpus"
DUE = datetime(2026, 11, 23, 12, tzinfo=UTC)
Variants = dict[str, str | None]


class Assignment(NamedTuple):
    """An assignment, and what students make of it.

    Attributes:
        notebooks: the instructor's, by name
        files: beside them, by path
        answers: grade_id -> name of a variant -> source of the cell; None: as released
        beside: name of a variant -> changes of a submission's files, by path; None: not there
        ready: whole submissions, as files by path
        needed: packages beyond nbgrader and its kernel
    """

    notebooks: dict[str, Book]
    files: Files
    answers: dict[str, Variants]
    beside: dict[str, dict[str, bytes | None]]
    ready: tuple[Files, ...]
    needed: tuple[str, ...]


# -- what students do in any assignment

# IPython takes seconds to show all of such a traceback
RECURSION = """
def again():
    return again()
try:
    again()
except RecursionError as error:
    raise error.with_traceback(None)"""
# before and behind a right answer
AROUND = {
    "right": ("", ""),
    "unicode": ("# größer, 数, 🐍\nπ = 3.14\n", "\n'żółć'"),
    "error behind": ("", "\nraise NotImplementedError()"),
    "syntax error": ("", "\nprint 'done'"),
    "stderr behind": ("", "\nimport sys\nprint('careful', file=sys.stderr)"),
    "sys.exit behind": ("", "\nimport sys\nsys.exit(1)"),
    "input before": ("name = input('Your name? ')\n", ""),
    "recursion behind": ("", RECURSION),
    "long output": ("", "\nfor i in range(3000):\n    print(i)"),
    "slow": ("", "\nimport time\ntime.sleep(0.7)"),
}
ESSAYS: Variants = {
    "unchanged": None,
    "empty": "",
    "unicode": "**Größer** ≠ größe: 数学 🐍, and \u202eright to left",
    "LaTeX": r"$$\sum_{i=1}^n i^2 = \frac{n(n+1)(2n+1)}{6}$$",
    "HTML": "<table><tr><td>1</td></tr></table><script>alert(1)</script>",
    "long": "All work and no play. " * 2000,
}
# a cell of one's own, anywhere
OWN = {
    "none": "",
    "fails": "undefined_name",
    "interrupted": "raise KeyboardInterrupt",
    "two decimals": "%precision 2",
    "short tracebacks": "%xmode Minimal",
    "reloads": "%load_ext autoreload\n%autoreload 2",
    "no warnings": "import warnings\nwarnings.simplefilter('ignore')",
    "a builtin lost": "sum = 0",
    "all names lost": "%reset -f",
    "another folder": "import os\nos.makedirs('elsewhere', exist_ok=True)\nos.chdir('elsewhere')",
    "timed": "%timeit -n 1 -r 1 sorted(range(100))",
    "HTML": "%%html\n<b>mine</b>",
    "shell": "%%bash\necho mine\necho mine >&2",
    "help": "print?",
    "history": "%history -n 1\n%whos\n_, __, In[0]",
    "thread": "import threading\nthreading.Timer(0.3, print, ['late']).start()",
    "hook": "get_ipython().events.register('post_run_cell', lambda result: print('ran'))",
}


def _leave_outputs(cell: dict) -> None:
    if cell["cell_type"] == "code":
        said = {"output_type": "execute_result", "metadata": {}, "execution_count": 7}
        error = {"output_type": "error", "ename": "E", "evalue": "", "traceback": []}
        cell.update(execution_count=7, outputs=[{**said, "data": {"text/plain": "0.1"}}, error])


def _comment_out(cell: dict) -> None:
    said = cell["metadata"].get("nbgrader", {})
    if said.get("grade") and not said["solution"]:
        cell["source"] = "".join(cell["source"]).replace("assert", "# assert")


def _fold(cell: dict) -> None:
    cell["metadata"].update(collapsed=True, tags=["hide-input"], jupyter={"source_hidden": True})


# what is done to each cell
SHAPES: dict[str, Callable[[dict], object]] = {
    "as released": lambda cell: None,
    "outputs left": _leave_outputs,
    "tests in comments": _comment_out,
    "folded": _fold,
}


# -- assignments from text

# of a cell: its type, and what nbgrader's metadata say
KINDS: dict[str, tuple[str, dict[str, bool]]] = {
    "setup": ("code", {"locked": True}),
    "answer": ("code", {"solution": True}),
    "test": ("code", {"grade": True, "locked": True}),
    "manual": ("code", {"grade": True, "solution": True}),
    "essay": ("markdown", {"grade": True, "solution": True}),
    "task": ("markdown", {"task": True, "locked": True}),
}
SETTINGS = {
    "metadata": {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
    },
    "nbformat": 4,
    "nbformat_minor": 5,
}


def _book(text: str) -> tuple[Book, dict[str, list[str]]]:
    """A notebook from a text, and lines with variants of its answers, by grade_id.

    A line `--- kind name [points]` begins a cell of KINDS, `# hidden` its hidden tests, `~` a variant of an answer: a
    name, and the whole cell or `what of the right one => is replaced by what`, with `\\n` for the end of a line.
    """
    cells, variants = [], {}
    for part in text.strip().removeprefix("--- ").split("\n--- "):
        head, *lines = part.split("\n")
        kind, name, *points = head.split()
        cell_type, flags = KINDS[kind]
        said = dict.fromkeys(("grade", "solution", "locked", "task"), False) | flags
        said |= {"schema_version": 3, "grade_id": name}
        if points:
            said["points"] = float(points[0])
        source = "\n".join(line for line in lines if not line.startswith("~ "))
        variants[name] = [line[2:] for line in lines if line.startswith("~ ")]
        cells.append(_cell(_marked(source, kind), cell_type, name, nbgrader=said))
    return {"cells": cells, **SETTINGS}, variants


def _cell(source: str, cell_type: str, name: str, **metadata: dict) -> dict:
    cell = {"id": name, **code(source, **metadata)}
    if cell_type != "code":
        retype(cell, cell_type)
    return cell


def _marked(source: str, kind: str) -> str:
    """A cell's source with nbgrader's marks. Of a function that is an answer, the first line is given."""
    if "# hidden\n" in source:
        source = source.replace("# hidden\n", "### BEGIN HIDDEN TESTS\n") + "\n### END HIDDEN TESTS"
    if kind != "answer":
        return source
    given, body = source.split("\n", 1) if "def " in source.split("\n")[0] else ("", source)
    indent = "    " if given else ""
    return f"{given}\n{indent}### BEGIN SOLUTION\n{body}\n{indent}### END SOLUTION".lstrip("\n")


def _variants(cell: dict, lines: Iterable[str]) -> Variants:
    """All variants of an answer; the first is right."""
    source = "".join(cell["source"]).split("\n")
    right = "\n".join(line for line in source if "### BEGIN" not in line and "### END" not in line)
    if cell["cell_type"] == "markdown":
        return {"right": right, **ESSAYS}
    found: Variants = {name: before + right + behind for name, (before, behind) in AROUND.items()}
    found |= {"unchanged": None, "empty": ""}
    for line in lines:
        name, _, edit = line.replace("\\n", "\n").partition(": ")
        old, arrow, new = edit.partition(" =>")
        assert name not in found, line
        assert not arrow or old in right, line
        found[name] = right.replace(old, new.removeprefix(" ")) if arrow else edit
    return found


def _assignment(
    notebooks: dict[str, Book],
    lines: dict[str, list[str]],
    files: Files,
    needed: tuple[str, ...] = (),
    ready: tuple[Files, ...] = (),
) -> Assignment:
    answers = {
        name_of(cell): _variants(cell, lines.get(name_of(cell), ()))
        for book in notebooks.values()
        for cell in book["cells"]
        if cell["metadata"].get("nbgrader", {}).get("solution")
    }
    scratch = {"cells": [_cell("1 / 0", "code", "mine")], **SETTINGS}
    beside: dict[str, dict[str, bytes | None]] = {
        "nothing": {},
        "files": {"notes.txt": b"mine\n", "pictures/cat.png": b"\x89PNG\r\n\x1a\n"},
        "notebook": _encoded({"Untitled": scratch}),
        **{f"{path} changed": {path: b"changed\n"} for path in files},
        **{f"{path} gone": {path: None} for path in files},
        **{f"{name} gone": {f"{name}.ipynb": None} for name in list(notebooks)[1:]},
    }
    return Assignment(notebooks, files, answers, beside, ready, needed)


def _read(name: str, *needed: str) -> Assignment:
    """An assignment of assignments/: notebooks are `*.cells`."""
    files = _files(PLACE / name)
    texts = [path for path in files if path.endswith(".cells")]
    books, lines = {}, {}
    for path in texts:
        books[path.removesuffix(".cells")], found = _book(files.pop(path).decode())
        lines |= found
    return _assignment(books, lines, files, needed)


def _ps1() -> Assignment:
    """nbgrader's own, with the two submissions that it ships."""
    _, lines = _book((PLACE / "ps1" / "variants.cells").read_text())
    files = _files(GUIDE / "source" / "ps1")
    books = {name: json.loads(files.pop(f"{name}.ipynb")) for name in ("problem1", "problem2")}
    ready = [_files(GUIDE / "submitted" / user / "ps1") for user in ("bitdiddle", "hacker")]
    return _assignment(books, lines, files, ready=tuple(ready))


def _files(place: Path) -> Files:
    paths = sorted(path for path in place.rglob("*") if path.is_file())
    return {str(path.relative_to(place)): path.read_bytes() for path in paths}


def _encoded(books: dict[str, Book]) -> Files:
    return {f"{name}.ipynb": json.dumps(book, indent=1).encode() for name, book in books.items()}


ASSIGNMENTS = {
    "ps1": _ps1(),
    "pandas": _read("pandas", "pandas"),
    "plots": _read("plots", "matplotlib"),
    "chance": _read("chance", "numpy"),
    "files": _read("files"),  # written and read, also by another notebook
    "tasks": _read("tasks"),  # async, threads, shell, magics
    "widgets": _read("widgets", "ipywidgets"),  # and other rich output
    "marks": _read("marks"),  # partial credit, and grading by hand
}


# -- the course


def write_course(
    top: Path, assignments: Iterable[str], submissions: int, seed: int = 1
) -> list[tuple[str, str]]:
    """Write a course: source/, release/ and gradebook.db as by nbgrader, and submitted/.

    Every variant of an assignment is used if it has as many submissions as an answer has variants: 24 do.

    Args:
        top: an empty directory
        assignments: names of ASSIGNMENTS
        submissions: of all assignments together; a student has one of each
        seed: the same one gives the same submissions

    Returns:
        user and assignment of each submission; top/chosen.json tells its variants.
    """
    names = list(assignments)
    for name in names:
        one = ASSIGNMENTS[name]
        _write(top / "source" / name, one.files | _encoded(one.notebooks))
    config = f"c = get_config()\nc.CourseDirectory.course_id = {COURSE!r}\n"
    (top / "nbgrader_config.py").write_text(config)
    nbgrader(top, "generate_assignment", "*")
    with Gradebook(f"sqlite:///{top}/gradebook.db", COURSE) as gradebook:
        for name in names:
            gradebook.update_or_create_assignment(name, duedate=f"{DUE:%Y-%m-%d %H:%M:%S} UTC")
    pairs, chosen = [], {}
    for place, name in enumerate(names):
        count = len(range(place, submissions, len(names)))
        for number, choice in enumerate(_submit(top, name, count, seed), 1):
            pairs.append((f"s{number:04}", name))
            chosen[f"s{number:04} {name}"] = choice
    (top / "chosen.json").write_text(json.dumps(chosen, indent=1))
    return pairs


def _submit(top: Path, name: str, count: int, seed: int) -> list[dict[str, str]]:
    """Write submissions of an assignment; what was chosen for each."""
    one, released = ASSIGNMENTS[name], _files(top / "release" / name)
    dice = random.Random(f"{seed} {name}")
    slots = {**one.answers, "own": OWN, "beside": one.beside, "shape": SHAPES}
    made = max(count - len(one.ready), 0)
    spread = {slot: _spread(list(variants), made, dice) for slot, variants in slots.items()}
    choices = [
        dict(zip(spread, found, strict=True)) for found in zip(*spread.values(), strict=True)
    ]
    files = [*one.ready, *(_answered(one, released, choice, dice) for choice in choices)]
    for number, submission in enumerate(files[:count], 1):
        _write(top / "submitted" / f"s{number:04}" / name, submission | _stamp(dice))
    return [*({"ready": "nbgrader's"} for _ in one.ready), *choices][:count]


def _spread(names: list[str], count: int, dice: random.Random) -> list[str]:
    """So many of some names: each once if they fit in, half of the rest the first."""
    more = [names[0] if dice.random() < 0.5 else dice.choice(names) for _ in range(count)]
    found = (dice.sample(names, len(names)) + more)[:count]
    dice.shuffle(found)
    return found


def _answered(
    one: Assignment, released: Files, choice: dict[str, str], dice: random.Random
) -> Files:
    """A submission: the released files with the chosen variants."""
    books = {name: json.loads(released[f"{name}.ipynb"]) for name in one.notebooks}
    for book in books.values():
        for cell in book["cells"]:
            variants = one.answers.get(name_of(cell), {})
            source = variants.get(choice.get(name_of(cell), ""))
            cell["source"] = cell["source"] if source is None else source
            SHAPES[choice["shape"]](cell)
    if own := OWN[choice["own"]]:
        book = dice.choice(list(books.values()))
        cells = [_cell(own, "code", "own-code"), _cell("*mine*", "markdown", "own-text")]
        for cell in cells:
            if book["nbformat_minor"] < 5:
                del cell["id"]
            book["cells"].insert(dice.randint(1, len(book["cells"])), cell)
    files = released | _encoded(books) | one.beside[choice["beside"]]
    return {path: data for path, data in files.items() if data is not None}


def _stamp(dice: random.Random) -> Files:
    """What nbgrader's `submit` adds; a quarter is late."""
    late = timedelta(seconds=dice.randint(-30_000, 10_000), microseconds=dice.randrange(10**6))
    stamp, secret = f"{DUE + late:%Y-%m-%d %H:%M:%S.%f} UTC", f"{dice.getrandbits(512):0128x}"
    return {"timestamp.txt": stamp.encode(), "submission_secret.txt": secret.encode()}


def _write(place: Path, files: Files) -> None:
    for path, data in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(data)
