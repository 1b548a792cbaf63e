"""Mending working copies: the assignment's own cells and nothing else, no answer and no save lost."""

import copy
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import time

import pytest

from tests.support.submissions import (  # isort: skip
    alone,
    contents,
    course,
    environment,
    fill,
    killed_at,
    small_disk,
)

from classhub.course import __main__, hotfix, trees

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs real uids")


def cell(name, source, *, grade=False, solution=False, kind="code", **extra):
    said = {"grade_id": name, "grade": grade, "solution": solution, "locked": not solution}
    book = {"cell_type": kind, "id": f"id-{name}", "metadata": {"nbgrader": said}, "source": source}
    return book | ({"outputs": [], "execution_count": None} if kind == "code" else {}) | extra


def notebook(test="assert square(2) == 5\n"):
    """A released notebook; its test is wrong."""
    cells = [
        cell("intro", "Squares.", kind="markdown"),
        cell("square", "raise NotImplementedError()", solution=True),
        cell("test_square", test, grade=True),
        cell("why", "Say why.", grade=True, solution=True, kind="markdown"),
    ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


RIGHT = "assert square(2) == 4\n"


def raw(book):
    return json.dumps(book, indent=1).encode()


def worked(answer):
    """A student's copy: an answer, outputs, and cells of their own."""
    book = notebook()
    output = {"output_type": "stream", "name": "stdout", "text": [answer]}
    book["cells"][1] |= {"source": [f"{answer}\n", "# é"], "outputs": [output]}
    book["cells"][2] |= {"outputs": [output], "execution_count": 7}
    book["cells"][3]["source"] = f"Because of {answer}."
    own = {"cell_type": "code", "metadata": {}, "source": "scratch = 1", "outputs": [output]}
    book["cells"].insert(2, own)
    return book


class Lesson:
    """A course whose students have ps1, and a release in which the test is right."""

    def __init__(self, made, names):
        self.made, self.settings, self.names = made, made.settings, names
        self.release(notebook(RIGHT))
        for name in names:
            self.give(name, raw(worked(f"answer of {name}")))

    def release(self, book):
        place = self.settings.course_dir / "release" / "ps1"
        place.mkdir(parents=True, exist_ok=True)
        (place / "squares.ipynb").write_bytes(raw(book))

    def copy(self, name):
        return self.settings.homes / name / "ps1" / "squares.ipynb"

    def give(self, name, data):
        uid = self.made.uid(name)
        path = self.copy(name)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        for one in (path, path.parent):
            os.chown(one, uid, uid)
        path.chmod(0o600)

    def cells(self, name):
        return json.loads(self.copy(name).read_bytes())["cells"]

    def kept(self, name):
        """The copies that were kept, whole."""
        top = self.settings.homes / name / ".classhub" / "before"
        return [path.read_bytes() for path in sorted(top.glob("*/ps1/squares.ipynb"))]

    def fix(self, *options):
        arguments = self.arguments(*options)
        return alone(lambda: arguments.run(self.settings, arguments))

    def arguments(self, *options):
        return __main__.parser().parse_args(["hotfix", "ps1", *options])


@pytest.fixture
def lesson():
    with course("ada", "ben", "cyn") as made:
        yield Lesson(made, ["ada", "ben"])


def answers(cells):
    """What is the student's, as text."""
    return [one for one in cells if hotfix.grade_id(one) not in ("test_square", "intro")]


def digest(cells):
    return hashlib.sha256(json.dumps(answers(cells), sort_keys=True).encode()).hexdigest()


# -- what is mended


def test_the_test_is_mended_and_the_answers_are_as_they_were(lesson):
    before, old = lesson.cells("ada"), lesson.copy("ada").read_bytes()
    report = lesson.fix()
    assert report.table["ada"] == "done: squares.ipynb: test_square"
    assert report.table["cyn"] == "skipped: does not have it"
    assert report.summary["cells"] == {"squares.ipynb: test_square": 2}
    after = lesson.cells("ada")
    assert answers(after) == answers(before)
    (test,) = [one for one in after if hotfix.grade_id(one) == "test_square"]
    assert (test["source"], test["outputs"], test["execution_count"]) == (RIGHT, [], None)
    assert test["id"] == "id-test_square"
    assert lesson.kept("ada") == [old]
    found = lesson.copy("ada").stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (lesson.made.uid("ada"), 0o600)


def test_who_fetches_it_later_gets_the_mended_one(lesson):
    assert lesson.fix().summary["exchange"] == "done: released"
    outbound = lesson.settings.course_exchange / "outbound" / "ps1" / "squares.ipynb"
    assert RIGHT in json.loads(outbound.read_bytes())["cells"][2]["source"]


def test_said_again_it_changes_nothing(lesson):
    lesson.fix()
    before = lesson.copy("ada").stat()
    report = lesson.fix()
    assert report.table["ada"] == "skipped: is up to date"
    assert lesson.copy("ada").stat().st_ino == before.st_ino
    assert len(lesson.kept("ada")) == 1


def test_test_only_says_it(lesson):
    before = contents(lesson.settings.homes)
    assert lesson.fix("--test").table["ada"] == "done: squares.ipynb: test_square"
    assert contents(lesson.settings.homes) == before


def test_who_has_a_running_server_is_warned(lesson):
    table = lesson.fix("--running=ada,zoe").table
    assert table["ada"].endswith("the server runs: what is open there must be reloaded from disk")
    assert "server" not in table["ben"]


def test_a_save_of_the_old_copy_over_it_is_mended_by_saying_it_again(lesson):
    old = lesson.copy("ada").read_bytes()
    lesson.fix()
    lesson.give("ada", old)
    assert lesson.fix().table["ada"].startswith("done")
    assert hotfix.text(lesson.cells("ada")[3]) == RIGHT


def test_a_deleted_test_is_put_back_where_it_was(lesson):
    book = worked("mine")
    del book["cells"][3]
    lesson.give("ada", raw(book))
    assert lesson.fix().table["ada"] == "done: squares.ipynb: test_square put back"
    names = [hotfix.grade_id(one) for one in lesson.cells("ada")]
    assert names == ["intro", "square", "test_square", "", "why"]


def test_a_changed_locked_cell_is_as_released_and_a_second_one_of_its_name_stays(lesson):
    book = worked("mine")
    book["cells"].append(copy.deepcopy(book["cells"][3]) | {"source": "mine too"})
    book["cells"][0]["source"] = "I changed this."
    lesson.give("ada", raw(book))
    assert lesson.fix().table["ada"] == "done: squares.ipynb: intro, test_square"
    assert lesson.cells("ada")[-1]["source"] == "mine too"
    assert lesson.cells("ada")[0]["source"] == "Squares."


def test_a_notebook_in_a_directory(lesson):
    place = lesson.settings.course_dir / "release" / "ps1" / "part"
    place.mkdir()
    (place / "more.ipynb").write_bytes(raw(notebook(RIGHT)))
    home = lesson.copy("ada").parent / "part"
    home.mkdir()
    (home / "more.ipynb").write_bytes(raw(notebook()))
    for path in (home, home / "more.ipynb"):
        os.chown(path, lesson.made.uid("ada"), lesson.made.uid("ada"))
    told = lesson.fix().table["ada"]
    assert told == "done: squares.ipynb: test_square; part/more.ipynb: test_square"


# -- a save at the same moment


def test_a_save_between_reading_and_exchanging_is_not_lost(lesson, monkeypatch):
    saved = raw(worked("saved just now"))
    real = trees.swap

    def swap(source, old, target, new):
        if new == "squares.ipynb" and lesson.copy("ada").read_bytes() != saved:
            lesson.copy("ada").write_bytes(saved)
        real(source, old, target, new)

    monkeypatch.setattr(trees, "swap", swap)
    report = lesson.fix("--students=ada")
    assert report.table["ada"] == "failed: ~/ps1/squares.ipynb was saved just now: say it again"
    assert lesson.copy("ada").read_bytes() == saved
    monkeypatch.undo()
    assert lesson.fix("--students=ada").table["ada"].startswith("done")
    assert digest(lesson.cells("ada")) == digest(worked("saved just now")["cells"])


def test_a_file_that_took_its_place_meanwhile_stays(lesson, monkeypatch):
    real = trees.swap

    def swap(source, old, target, new):
        if new == "squares.ipynb" and not lesson.copy("ada").is_symlink():
            lesson.copy("ada").rename(lesson.copy("ada").with_name("moved.ipynb"))
            lesson.copy("ada").symlink_to("/etc/passwd")
        real(source, old, target, new)

    monkeypatch.setattr(trees, "swap", swap)
    passwd = os.stat("/etc/passwd")
    assert "was saved just now" in lesson.fix("--students=ada").table["ada"]
    assert lesson.copy("ada").is_symlink()
    assert os.stat("/etc/passwd").st_ino == passwd.st_ino


# -- odd entries


def odd_link(path):
    path.unlink()
    path.symlink_to("/etc/passwd")


def odd_hard_link(path):
    os.link(path, path.with_name("other.ipynb"))


def odd_fifo(path):
    path.unlink()
    os.mkfifo(path)


def odd_directory(path):
    path.unlink()
    path.mkdir()


def odd_json(path):
    path.write_bytes(b'{"cells": [')


def odd_nesting(path):
    path.write_bytes(b"[" * 200_000)


def odd_shape(path):
    path.write_bytes(b'{"nbformat": 4, "cells": 5}')


def odd_version(path):
    path.write_bytes(b'{"nbformat": 3, "worksheets": []}')


def odd_surrogate(path):
    book = worked("x")
    book["cells"][1]["source"] = "\ud800"
    path.write_bytes(raw(book))


def odd_size(path):
    os.truncate(path, hotfix.LARGEST + 1)


def odd_owner(path):
    os.chown(path, 0, 0)


def odd_mode(path):
    path.chmod(0)


def odd_place(path):
    path.unlink()
    path.parent.rmdir()
    path.parent.symlink_to("/etc")


ODD = [made for name, made in sorted(globals().items()) if name.startswith("odd_")]


@pytest.mark.parametrize("odd", ODD, ids=lambda odd: odd.__name__)
def test_one_odd_copy_fails_alone_and_stays_as_it_is(lesson, odd):
    odd(lesson.copy("ada"))
    found = os.lstat(lesson.copy("ada")) if odd is not odd_place else None
    table = lesson.fix().table
    assert table["ada"].startswith("failed: "), table
    assert table["ben"].startswith("done"), table
    if found:
        assert os.lstat(lesson.copy("ada")).st_ino == found.st_ino
    assert lesson.kept("ada") == []


@pytest.mark.parametrize(
    "junk",
    [
        {"cells": [5, None, "x", {}]},
        {"cells": [{"metadata": {"nbgrader": []}}, {"metadata": 3}, {"cell_type": 5}]},
        {"cells": [{"metadata": {"nbgrader": {"grade_id": ["x"]}}, "source": [1, None]}]},
    ],
)
def test_junk_cells_are_left_alone(lesson, junk):
    lesson.give("ada", raw({"nbformat": 4} | junk))
    assert "put back" in lesson.fix().table["ada"]
    for one in junk["cells"]:
        assert one in lesson.cells("ada")


def test_a_full_disk_is_told_and_the_copy_is_as_it_was(lesson):
    home = lesson.settings.homes / "cyn"
    with small_disk(home) as filler:
        os.chown(home, lesson.made.uid("cyn"), lesson.made.uid("cyn"))
        lesson.give("cyn", raw(worked("x" * 100_000)))
        old = lesson.copy("cyn").read_bytes()
        fill(filler, 4096)
        assert lesson.fix().table["cyn"] == "failed: the disk is full"
        assert lesson.copy("cyn").read_bytes() == old
        filler.unlink()
        assert lesson.fix().table["cyn"].startswith("done")
        assert lesson.kept("cyn")[-1] == old


# -- kills


def test_killed_before_every_step_nothing_is_lost_and_a_rerun_completes(lesson):
    before, step = digest(lesson.cells("ada")), 0
    arguments = lesson.arguments("--students=ada")
    while True:
        lesson.give("ada", raw(worked("answer of ada")))
        if not killed_at(step, lambda: arguments.run(lesson.settings, arguments)):
            break
        assert digest(lesson.cells("ada")) == before
        lesson.fix("--students=ada")
        assert hotfix.text(lesson.cells("ada")[3]) == RIGHT
        assert digest(lesson.cells("ada")) == before
        step += 1
    assert step > 15


@pytest.mark.parametrize(
    ("count", "kills"), [(60, 10), pytest.param(300, 50, marks=pytest.mark.long)]
)
def test_a_class_killed_at_random_loses_no_answer(count, kills):
    names = [f"s{number:03}" for number in range(count)]
    chance = random.Random(7)
    with course(*names) as made:
        lesson = Lesson(made, names)
        before = {name: digest(lesson.cells(name)) for name in names}
        old = {name: lesson.copy(name).read_bytes() for name in names}
        command = [sys.executable, "-m", "classhub.course", "--config", made.config()]
        for _ in range(kills):
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            process = subprocess.Popen([*command, "hotfix", "ps1"], env=environment(), **quiet)
            time.sleep(chance.uniform(0.15, 0.6))
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert not lesson.fix().failed
        for name in names:
            assert digest(lesson.cells(name)) == before[name]
            assert hotfix.text(lesson.cells(name)[3]) == RIGHT
            top = made.settings.homes / name / ".classhub" / "before"
            assert old[name] in [path.read_bytes() for path in top.rglob("squares.ipynb*")]
