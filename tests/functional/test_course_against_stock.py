"""The same attacks against stock `nbgrader collect` and against classhub's: what becomes of each, and of the honest.

What is measured here is the table in docs/explanation/collecting.md, to the word.
"""

import contextlib
import functools
import hashlib
import itertools
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.support import attacks  # isort: skip
from tests.support.loading import ROOT  # isort: skip
from tests.support.stock import NBGRADER, Stock  # isort: skip
from tests.support.submissions import Course, alone, course  # isort: skip

from classhub.course import sealing
from classhub.course.collecting import Times, collect, moment
from classhub.course.report import Report

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs real uids"),
    pytest.mark.skipif(not NBGRADER.exists(), reason="needs nbgrader beside the tests' Python"),
]

PAGE = ROOT / "docs" / "explanation" / "collecting.md"
HONEST = ("ada", "ben", "cyn")
MOST_FILES = 1000  # classhub's limit here, so that the plain tests need not lay 100,000 files
DUE = moment("2020-01-01T00:00", "Etc/UTC")


# -- attacks that are more than a tree; those are in tests/support/attacks.py


def forged_name(lesson: Course, user: str) -> None:
    newer = lesson.name("ada", stamp="2026-11-23 11:00:00")
    lesson.submit(user, {"problem1.ipynb": b"forged"}, newer)


def dots_for_a_name(lesson: Course, user: str) -> None:
    lesson.submit(user, name=lesson.name(".."))


def odd_date(lesson: Course, user: str) -> None:
    lesson.submit(user, name=f"{user}+ps1+yesterday+1")


def old_date(lesson: Course, user: str) -> None:
    place = lesson.submit(user, name=lesson.name(user, stamp="2001-01-01 00:00:00"))
    (place / "timestamp.txt").write_text("2001-01-01 00:00:00.123456 UTC")


def deleted_and_submitted_again(lesson: Course, user: str) -> None:
    """With a minute in between, in which classhub sweeps and nbgrader does nothing."""
    place = lesson.submit(user, {"problem1.ipynb": b"first"})
    if not isinstance(lesson, Stock):
        alone(lambda: sealing.seal(lesson.settings))
    shutil.rmtree(place)
    lesson.submit(user, {"problem1.ipynb": b"second"}, place.name)


CHANGING = ("problem1.ipynb", "data/table.csv")  # at any moment the same, or nearly so


def laid_to_change(lesson: Course, user: str) -> None:
    fill = {f"data/{number}": b"x" for number in range(300)}
    lesson.submit(user, dict.fromkeys(CHANGING, b"%08d" % 0) | fill)


@contextlib.contextmanager
def changing(lesson: Course, user: str) -> Iterator[None]:
    """The user rewrites two files for ever, one right after the other, always with the same."""
    (place,) = lesson.inbound(user).glob(f"{user}+*")

    def rewrite() -> None:
        files = [os.open(place / name, os.O_WRONLY) for name in CHANGING]
        for number in itertools.count():
            for file in files:
                os.pwrite(file, b"%08d" % number, 0)

    process = lesson.process_of(user, rewrite)
    try:
        yield
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


# What ends nbgrader's run, each in a run of its own; all others go into one run.
STOPPING = {
    attacks.fifo: "a FIFO",
    attacks.socket_file: "a socket",
    attacks.huge_sparse_file: "a sparse file of 1 TiB",
    attacks.deep: "600 directories in each other",
    attacks.file_for_directory: "a file in place of the submission",
    odd_date: "a name without a date",
}
TREES = {
    attacks.link_to_instructor: "a link to the instructor's file",
    attacks.link_to_directory: "a link to the instructor's directory",
    attacks.link_as_submission: "a link in place of the submission",
    attacks.hard_link: "a file with a second name elsewhere (hard link)",
    attacks.device: "a device",
    attacks.setuid: "a program that runs as its owner (setuid)",
    attacks.swap_owner: "a file of another student's",
    attacks.swap_top_owner: "a submission that belongs to another student",
    attacks.control_characters: "a file name that commands the terminal",
    attacks.not_utf8: "a file name that is not UTF-8",
    attacks.other_direction: "a file name that shows backwards",
    attacks.long_path: "a path of 1,200 characters",
    attacks.many_files: "100,000 files",
}
OTHERS = {
    forged_name: "a submission in the name of another student",
    dots_for_a_name: "`..` for the student's name",
    old_date: "an old date for late work",
    deleted_and_submitted_again: "deleted, then submitted again under the same name",
    laid_to_change: "files that change while they are copied",  # the last: nothing may seal it before
}
REASONS = attacks.REASONS | {
    forged_name: "claims to be from ada",
    dots_for_a_name: "claims to be from ..",
    odd_date: "the name has no date",
    laid_to_change: "changed while it was read",
}


def user_of(attack: Callable) -> str:
    return attack.__name__


def lay(lesson: Course, attack: Callable, many: int) -> None:
    """Lay an attack, as the user who has its name."""
    if attack in attacks.REASONS:
        sized = functools.partial(attack, count=many) if attack is attacks.many_files else attack
        attacks.laid(lesson, user_of(attack), sized)
    else:
        attack(lesson, user_of(attack))


def lay_all(lesson: Course, chosen: dict[Callable, str], many: int) -> None:
    for user in HONEST:
        lesson.submit(user, {"problem1.ipynb": user.encode()})
    for attack in chosen:
        lay(lesson, attack, many)


# -- stock nbgrader


def put_behind(lesson: Stock, user: str, attacker: str) -> None:
    """Give the user's submission a name that nbgrader, which sorts nothing, finds after the attacker's."""
    while True:
        names = os.listdir(lesson.inbound(user))
        (own,) = (name for name in names if name.startswith(f"{user}+"))
        (other,) = (name for name in names if name.startswith(f"{attacker}+"))
        if names.index(own) > names.index(other):
            return
        (lesson.inbound(user) / own).rename(lesson.inbound(user) / lesson.name(user))


def stopped(attack: Callable, gradebook: Path) -> str:
    """What nbgrader does with an attack and one honest submission after it."""
    with course("ada", user_of(attack), kind=Stock) as lesson:
        lesson.submit("ada")
        lay(lesson, attack, 0)
        put_behind(lesson, "ada", user_of(attack))
        run = lesson.collect(gradebook)
        assert run.returncode != 0, (user_of(attack), run.stdout)
        assert lesson.collected("ada") == {}, user_of(attack)
    return "**the run ends**; the honest one after it is not collected"


def stock_outcome(lesson: Stock, attack: Callable, run: CompletedProcess) -> str:
    """What nbgrader did with an attack, by what lies in submitted/ afterwards."""
    found = lesson.collected(user_of(attack))
    place = lesson.settings.course_dir / "submitted" / user_of(attack)
    if attack is forged_name and lesson.collected("ada")["problem1.ipynb"] == b"forged":
        warned = "claims to be submitted by ada" in run.stdout
        return f"**collected as hers**, in place of her own{'; a warning in the log' * warned}"
    if attack is dots_for_a_name:
        assert not (lesson.settings.course_dir / "ps1").exists()
    if attack is old_date and found["timestamp.txt"].startswith(b"2001"):
        return "**believed**: not late"
    if attack is deleted_and_submitted_again and found["problem1.ipynb"] == b"second":
        return "the second; **no trace of the first**"
    if attack is laid_to_change and found[CHANGING[0]] != found[CHANGING[1]]:
        return "**collected: a mix** that never lay there"
    if any(b"THE SOLUTION" in data for data in found.values()):
        return "**followed**: the instructor's file is collected as the student's work"
    if any(path.stat().st_uid == 0 and path.stat().st_mode & 0o4000 for path in place.rglob("*")):
        return "**collected; runs as whoever collected it**"
    return "collected" if found else "left out"


def measure_stock(many: int) -> dict[str, str]:
    chosen = TREES | OTHERS
    users = [user_of(attack) for attack in chosen]
    with course(*HONEST, *users, kind=Stock) as lesson:
        lay_all(lesson, chosen, many)
        with changing(lesson, user_of(laid_to_change)):
            run = lesson.collect()
        assert run.returncode == 0, run.stdout
        for user in HONEST[1:]:  # ada's is what one attack is about
            assert lesson.collected(user)["problem1.ipynb"] == user.encode()
        table = {title: stock_outcome(lesson, attack, run) for attack, title in chosen.items()}
        gradebook = lesson.settings.course_dir / "gradebook.db"
        with ThreadPoolExecutor(2) as pool:
            ends = pool.map(lambda attack: stopped(attack, gradebook), STOPPING)
            table |= dict(zip(STOPPING.values(), ends, strict=True))
    return table


# -- classhub


def classhub_outcome(lesson: Course, attack: Callable, report: Report) -> str:
    """What classhub did with an attack; it must have failed, and the report must say so."""
    user = user_of(attack)
    if attack is old_date:
        assert user in report.summary["late"]
        assert not lesson.collected(user)["timestamp.txt"].startswith(b"2001")
        return "collected, late by the hub's clock"
    if attack is deleted_and_submitted_again:
        first, second = (found["problem1.ipynb"] for found in lesson.sealed(user))
        assert (first, second) == (b"first", b"second")
        assert lesson.collected(user)["problem1.ipynb"] == second
        return "the second; the first stays sealed"
    assert report.table[user].startswith("failed"), (user, report.table[user])
    assert REASONS[attack] in report.table[user], (user, report.table[user])
    assert user in {entry["user"] for entry in report.summary["quarantined"]}
    assert user in report.summary["missing"]
    assert lesson.collected(user) == {}
    return f"refused: “… {REASONS[attack]} …”"


def measure_classhub(many: int) -> dict[str, str]:
    chosen = TREES | OTHERS | STOPPING
    users = [user_of(attack) for attack in chosen]
    with course(*HONEST, *users, max_files=MOST_FILES) as lesson:
        lay_all(lesson, chosen, many)
        with changing(lesson, user_of(laid_to_change)):
            report = alone(lambda: collect(lesson.settings, "ps1", Times(due=DUE)))
        for user in HONEST:
            assert report.table[user].startswith("done"), report.table[user]
            assert lesson.collected(user)["problem1.ipynb"] == user.encode()
        assert list(lesson.store.verify()) == []
        top = lesson.settings.course_dir
        assert {path.name for path in top.iterdir()} == {"source", "submitted"}
        for path in (top / "submitted").rglob("*"):
            assert path.is_dir() or (path.is_file() and not path.is_symlink())
            assert path.stat().st_mode & 0o7077 == 0
            assert path.is_dir() or b"SOLUTION" not in path.read_bytes()
        return {title: classhub_outcome(lesson, attack, report) for attack, title in chosen.items()}


# -- one student at another's directories


def tried(lesson: Course, act: Callable[[], object]) -> str:
    """Whether the student eve can do something."""

    def as_eve() -> None:
        lesson.become("eve")
        act()

    try:
        alone(as_eve)
    except PermissionError:
        return "refused by the kernel"
    return "**possible**, by the submission's name"


def feedback_of(lesson: Course, place: Path) -> Path:
    """Where ada's feedback lies, and a page in it."""
    secret = (place / "submission_secret.txt").read_text()
    # nbgrader/utils.py: notebook_hash
    name = hashlib.md5(f"{secret}problem1".encode(), usedforsecurity=False).hexdigest()
    own = lesson.settings.course_exchange / "students" / "ada" / "feedback"
    stock = lesson.settings.course_exchange / "feedback"
    page = (stock if isinstance(lesson, Stock) else own) / f"{name}.html"
    page.write_text("ada's marks")
    page.chmod(0o644)
    return page


def replace(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"eve's")


def measure_neighbours(kind: type[Course]) -> dict[str, str]:
    """What one can do to another who knows all names."""
    with course("ada", "eve", kind=kind) as lesson:
        place = lesson.submit("ada")
        page = feedback_of(lesson, place)
        acts = {
            "list others' submissions": lambda: os.listdir(lesson.inbound("ada")),
            "read another's submission": (place / "problem1.ipynb").read_bytes,
            "replace another's submission": lambda: replace(place / "problem1.ipynb"),
            "add a file to another's submission": lambda: (place / "more.ipynb").write_bytes(b""),
            "read another's feedback": page.read_bytes,
            "replace another's feedback": lambda: replace(page),
        }
        return {title: tried(lesson, act) for title, act in acts.items()}


# -- the table


@pytest.fixture(
    scope="module", params=[MOST_FILES + 1, pytest.param(100_000, marks=pytest.mark.long)]
)
def measured(request) -> dict[str, tuple[str, str]]:
    """{attack: (nbgrader's outcome, classhub's)}."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealing, "SETTLE", 0)  # submissions of a test need not rest
        ours = measure_classhub(request.param) | measure_neighbours(Course)
    stock = measure_stock(request.param) | measure_neighbours(Stock)
    return {title: (stock[title], outcome) for title, outcome in ours.items()}


def rows(measured: dict[str, tuple[str, str]]) -> str:
    head = "| attack | `nbgrader collect` | classhub |\n|---|---|---|\n"
    return head + "".join(
        f"| {title} | {stock} | {ours} |\n" for title, (stock, ours) in measured.items()
    )


def test_no_attack_succeeds_against_classhub_and_the_page_says_what_was_measured(measured):
    table = rows(measured)
    print(table)
    assert table in PAGE.read_text(encoding="utf-8"), f"{PAGE} must have this table:\n{table}"


def test_known_facts_of_stock_nbgrader(measured):
    """Should nbgrader mend one of these, the page is to be written anew."""
    followed = measured["a link to the instructor's file"][0]
    assert "the instructor's file is collected" in followed
    assert all("the run ends" in measured[title][0] for title in STOPPING.values())
    assert "possible" in measured["replace another's submission"][0]
