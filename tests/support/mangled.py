"""Right answers in damaged notebooks: nbgrader's own ps1, and what happens to such files in a class.

Each kind of damage is a function: (files of a submission as notebooks by name) -> files as bytes by path.
"""

import copy
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import nbformat

Book = dict[str, Any]
Books = dict[str, Book]
Files = dict[str, bytes]

GUIDE = files("nbgrader") / "docs" / "source" / "user_guide"
ANSWERS = {
    "squares": (
        "def squares(n):\n"
        '    """Compute the squares of numbers from 1 to n."""\n'
        "    if n < 1:\n"
        '        raise ValueError("n must be at least 1")\n'
        "    return [i ** 2 for i in range(1, n + 1)]\n"
    ),
    "sum_of_squares": (
        "def sum_of_squares(n):\n"
        '    """Compute the sum of the squares of numbers from 1 to n."""\n'
        "    return sum(squares(n))\n"
    ),
    "sum_of_squares_equation": r"$\sum_{i=1}^n i^2$",
    "sum_of_squares_application": "print(sum_of_squares(5))",
    "part-a": "It computes the numbers of Fibonacci.",
}
TESTS = (
    "correct_squares",
    "squares_invalid_input",
    "correct_sum_of_squares",
    "sum_of_squares_uses_squares",
)
KINDS: dict[str, Callable[[Books], Files]] = {}


def released() -> Files:
    """The release version of ps1."""
    names = ("problem1.ipynb", "problem2.ipynb")
    return {name: (GUIDE / "release" / "ps1" / name).read_bytes() for name in names}


def name_of(cell: dict) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")


def cell(book: Book, name: str) -> dict:
    return next(cell for cell in book["cells"] if name_of(cell) == name)


def place(book: Book, name: str) -> int:
    return book["cells"].index(cell(book, name))


def code(source: str, **metadata: Any) -> dict:
    return {
        "cell_type": "code",
        "execution_count": None,
        "metadata": metadata,
        "outputs": [],
        "source": source,
    }


def retype(one: dict, kind: str) -> None:
    """Make a code cell one of text, as JupyterLab does."""
    one["cell_type"] = kind
    del one["outputs"], one["execution_count"]


def answered(answers: dict[str, str] = ANSWERS) -> Books:
    """ps1 with answers, and nothing wrong with it."""
    books = {name: json.loads(data) for name, data in released().items()}
    for book in books.values():
        for one in book["cells"]:
            if name_of(one) in answers:
                one["source"] = answers[name_of(one)]
    return books


def encoded(books: Books) -> Files:
    return {name: json.dumps(book, indent=1).encode() for name, book in books.items()}


def damaged(kind: str, answers: dict[str, str] = ANSWERS) -> Files:
    """The files of a submission with that kind of damage."""
    return KINDS[kind](answered(answers))


def of_book(change: Callable[[Book], Any]) -> Callable[[Books], Files]:
    """A kind of damage that changes problem1's notebook."""

    def apply(books: Books) -> Files:
        change(books["problem1.ipynb"])
        return encoded(books)

    KINDS[change.__name__] = apply
    return apply


def of_text(change: Callable[[str], bytes]) -> Callable[[Books], Files]:
    """A kind of damage that changes problem1's file."""

    def apply(books: Books) -> Files:
        files = encoded(books)
        files["problem1.ipynb"] = change(files["problem1.ipynb"].decode())
        return files

    KINDS[change.__name__] = apply
    return apply


def of_files(change: Callable[[Books], Files]) -> Callable[[Books], Files]:
    KINDS[change.__name__] = change
    return change


# -- cells


@of_book
def a_test_copied_and_pasted(book):
    twin = copy.deepcopy(cell(book, "correct_squares"))
    twin["source"] = "pass"
    book["cells"].insert(3, twin)


@of_book
def answer_copied_and_pasted(book):
    twin = copy.deepcopy(cell(book, "squares"))
    twin["source"] = twin["source"].replace("** 2", "** 3")
    book["cells"].insert(place(book, "squares"), twin)


@of_book
def empty_copy_of_an_answer_behind_it(book):
    twin = json.loads(released()["problem1.ipynb"])
    book["cells"].insert(place(book, "squares") + 1, cell(twin, "squares"))


@of_book
def answer_split_in_two(book):
    lines = cell(book, "squares")["source"].splitlines(keepends=True)
    twin = copy.deepcopy(cell(book, "squares"))
    cell(book, "squares")["source"] = "LIMIT = 1\n"
    twin["source"] = "".join(lines).replace("n < 1", "n < LIMIT")
    book["cells"].insert(place(book, "squares") + 1, twin)


@of_book
def answer_merged_with_its_test(book):
    test = cell(book, "correct_squares")
    cell(book, "squares")["source"] += "\n" + "".join(test["source"])
    book["cells"].remove(test)


@of_book
def tests_deleted(book):
    book["cells"] = [one for one in book["cells"] if name_of(one) not in TESTS]


@of_book
def tests_changed(book):
    for name in TESTS:
        cell(book, name)["source"] = "assert False, 'what does this test?'"


@of_book
def a_test_made_a_text_cell(book):
    retype(cell(book, "correct_squares"), "markdown")


@of_book
def answer_made_a_text_cell(book):
    retype(cell(book, "squares"), "markdown")


@of_book
def answer_made_a_raw_cell(book):
    retype(cell(book, "sum_of_squares"), "raw")


@of_book
def text_answer_made_a_code_cell(book):
    cell(book, "sum_of_squares_equation").update(cell_type="code", outputs=[], execution_count=None)


@of_book
def cells_in_reverse_order(book):
    book["cells"].reverse()


@of_book
def a_test_moved_above_its_answer(book):
    test = cell(book, "correct_squares")
    book["cells"].remove(test)
    book["cells"].insert(1, test)


@of_book
def answer_moved_to_the_end(book):
    answer = cell(book, "squares")
    book["cells"].remove(answer)
    book["cells"].append(answer)


@of_book
def answer_in_another_cell(book):
    """The cell for the answer deleted, and a new one written where it was."""
    where = place(book, "squares")
    book["cells"][where] = code(ANSWERS["squares"])


@of_book
def answer_and_test_deleted_answer_in_another_cell(book):
    where = place(book, "squares")
    book["cells"][where] = code(ANSWERS["squares"].replace('"""', "'''"))
    book["cells"].remove(cell(book, "correct_squares"))


@of_book
def grade_id_renamed(book):
    cell(book, "squares")["metadata"]["nbgrader"]["grade_id"] = "my_squares"


@of_book
def grade_ids_in_capitals(book):
    for one in book["cells"]:
        if name_of(one):
            one["metadata"]["nbgrader"]["grade_id"] = name_of(one).upper()


@of_book
def metadata_of_all_cells_lost(book):
    for one in book["cells"]:
        one["metadata"] = {}


@of_book
def metadata_of_answers_lost(book):
    for name in ANSWERS:
        if any(name_of(one) == name for one in book["cells"]):
            cell(book, name)["metadata"] = {}


@of_book
def metadata_null(book):
    for one in book["cells"][2:5]:
        one["metadata"] = None


@of_book
def nbgrader_metadata_empty(book):
    cell(book, "correct_squares")["metadata"]["nbgrader"] = {}


@of_book
def nbgrader_metadata_of_an_old_schema(book):
    for one in book["cells"]:
        if name_of(one):
            one["metadata"]["nbgrader"]["schema_version"] = 0


@of_book
def nbgrader_metadata_of_a_future_schema(book):
    cell(book, "squares")["metadata"]["nbgrader"]["schema_version"] = 9


@of_book
def points_and_kind_of_cells_changed(book):
    for name in TESTS:
        cell(book, name)["metadata"]["nbgrader"].update(points=100, solution=True)


@of_book
def lock_taken_off(book):
    for name in TESTS:
        cell(book, name)["metadata"]["nbgrader"].update(grade=False, locked=False)


@of_book
def a_graded_cell_of_ones_own(book):
    said = copy.deepcopy(cell(book, "correct_squares")["metadata"])
    said["nbgrader"].update(grade_id="extra", points=50)
    book["cells"].append(code("assert True", **said))


@of_book
def cell_without_a_source(book):
    book["cells"].insert(2, {"cell_type": "markdown", "metadata": {}})


@of_book
def cell_of_an_unknown_type(book):
    book["cells"].insert(2, {"cell_type": "sql", "metadata": {}, "source": "select 1"})


@of_book
def cell_with_unknown_fields(book):
    cell(book, "squares")["collapsed"] = True
    cell(book, "squares")["prompt_number"] = 3


@of_book
def cell_that_is_none(book):
    book["cells"].insert(4, None)
    book["cells"].insert(4, "text")


@of_book
def outputs_of_no_form(book):
    cell(book, "squares")["outputs"] = [{"output_type": "nonsense"}]
    cell(book, "correct_squares")["outputs"] = "None"


# -- notebooks


@of_book
def kernel_of_another_language(book):
    book["metadata"]["kernelspec"] = {"name": "ir", "display_name": "R", "language": "R"}


@of_book
def notebook_metadata_lost(book):
    book["metadata"] = {}


@of_book
def notebook_metadata_null(book):
    book["metadata"] = None


@of_book
def two_cells_with_the_same_id(book):
    book["nbformat_minor"] = 5
    for one in book["cells"]:
        one["id"] = "same"


@of_book
def format_of_the_future(book):
    book["nbformat_minor"] = 12


@of_book
def format_number_lost(book):
    del book["nbformat"], book["nbformat_minor"]


@of_files
def notebook_of_format_3(books):
    files = encoded(books)
    old = nbformat.convert(nbformat.reads(files["problem1.ipynb"], as_version=4), 3)
    files["problem1.ipynb"] = json.dumps(old).encode()
    return files


# -- files


@of_text
def byte_order_mark(shown):
    return b"\xef\xbb\xbf" + shown.encode()


@of_text
def utf_16(shown):
    return shown.encode("utf-16")


@of_text
def latin_1_in_a_comment(shown):
    return shown.replace("Compute the squares", "R\xe9sum\xe9 of the squares").encode("latin-1")


@of_text
def raw_control_characters(shown):
    return shown.replace("numbers from 1", "numbers\tfrom 1").encode()


@of_text
def text_behind_the_end(shown):
    return shown.encode() + b"\n}\n"


@of_text
def null_bytes_behind_the_end(shown):
    return shown.encode() + b"\0" * 4096


@of_text
def marks_of_a_merge(shown):
    line = next(line for line in shown.splitlines(keepends=True) if '"nbformat_minor"' in line)
    other = line.replace("0", "1")
    return shown.replace(line, f"<<<<<<< HEAD\n{line}=======\n{other}>>>>>>> a1b2c3\n").encode()


@of_text
def a_comma_lost(shown):
    return shown.replace('"cell_type": "markdown",', '"cell_type": "markdown"', 1).encode()


@of_text
def cut_off_behind_the_answers(shown):
    return shown[: shown.index("Find a usecase")].encode()


@of_text
def cut_off_in_the_last_output(shown):
    return shown.encode()[:-40]


@of_files
def notebook_renamed(books):
    files = encoded(books)
    files["problem1-Copy1.ipynb"] = files.pop("problem1.ipynb")
    return files


@of_files
def notebook_in_capitals(books):
    files = encoded(books)
    files["PROBLEM1.IPYNB"] = files.pop("problem1.ipynb")
    return files


@of_files
def notebook_in_a_folder(books):
    files = encoded(books)
    return {f"ps1/{name}": data for name, data in files.items()}


@of_files
def notebook_emptied_and_a_copy_beside_it(books):
    files = encoded(books)
    files["Untitled.ipynb"] = files["problem1.ipynb"]
    files["problem1.ipynb"] = b""
    return files
