"""Releasing into real homes of real uids: whole or not at all, once, and never outside a home."""

import contextlib
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.support.loading import ROOT

PACKAGE = ROOT / "salt" / "hub" / "package"
sys.path.insert(0, str(PACKAGE))

from classhub.course import exchange, homes, settings, trees  # noqa: E402
from classhub.course.report import Refused, Unfit  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="acts as other uids, so it needs root")

FIRST_UID = 210_000
FILES = {
    "problem1.ipynb": b"one" * 3000,
    "data/table.csv": b"1,2\n",
    "data/deep/er.txt": b"",
    "run.sh": b"#!",
}
MAIN = """
import sys
from classhub.course import __main__, release
release.BATCH = int(sys.argv[1])
sys.exit(__main__.main(sys.argv[2:]))
"""
GIVEN = "done: given"
HAS = "skipped: has it already"


class Course:
    """A course in a scratch directory, with `count` students s0, s1, ... and the grader gina."""

    def __init__(self, base: Path, count: int) -> None:
        self.base, self.homes = base, base / "home"
        names = [f"s{number}" for number in range(count)] + ["gina"]
        self.uids = {name: FIRST_UID + number for number, name in enumerate(names)}
        for name, uid in self.uids.items():
            (self.homes / name).mkdir(parents=True, mode=0o700)
            os.chown(self.homes / name, uid, uid)
        self.write_release(FILES)
        (base / "course" / "source" / "ps2").mkdir(parents=True)
        people = [
            {"username": name, "uid": uid, "role": "grader" if name == "gina" else "student"}
            for name, uid in self.uids.items()
        ]
        self.data = {
            "course_id": "intro",
            "people": people,
            "course_dir": str(base / "course"),
            "exchange": str(base / "exchange"),
            "homes": str(self.homes),
        }
        self.config = base / "course.json"
        self.config.write_text(json.dumps(self.data))

    def write_release(self, files: dict[str, bytes]) -> None:
        release = self.base / "course" / "release" / "ps1"
        shutil.rmtree(release, ignore_errors=True)
        for name, data in files.items():
            (release / name).parent.mkdir(parents=True, exist_ok=True)
            (release / name).write_bytes(data)
        (release / "run.sh").chmod(0o755)

    @property
    def loaded(self) -> settings.Settings:
        return settings.load(self.config)

    def person(self, name: str) -> settings.Person:
        return self.loaded.by_name[name]

    @property
    def outbound(self) -> Path:
        return self.base / "exchange" / "intro" / "outbound" / "ps1"

    def start(self, *words: str, batch: int = 200) -> subprocess.Popen:
        command = [sys.executable, "-c", MAIN, str(batch), "--config", self.config, *words]
        env = os.environ | {"PYTHONPATH": str(PACKAGE)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)

    def run(self, *words: str, code: int = 0) -> dict:
        process = self.start(*words)
        out, err = process.communicate(timeout=60)
        assert process.returncode == code, out + err
        return json.loads(out)

    def release(self, *words: str, code: int = 0) -> dict[str, str]:
        return self.run("release", "ps1", *words, code=code)["table"]

    def as_student(self, name: str):
        return homes.acting_as(self.person(name))

    def work(self, name: str, text: str = "my answer") -> Path:
        """A student's own version of the assignment."""
        target = self.homes / name / "ps1"
        with self.as_student(name):
            target.mkdir()
            (target / "problem1.ipynb").write_text(text)
        return target


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Salt's plugins for pytest keep a thread, which touches no files of these tests."""
    monkeypatch.setattr(homes, "active_count", lambda: 1)


@pytest.fixture
def course():
    """A course of three students, where they can reach it: pytest's own directory is closed to them."""
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="course-") as scratch:
        Path(scratch).chmod(0o711)
        yield Course(Path(scratch), 3)


def tree(path: Path) -> dict[str, bytes]:
    return {
        str(item.relative_to(path)): item.read_bytes() for item in path.rglob("*") if item.is_file()
    }


def snapshot(path: Path) -> dict[str, tuple]:
    """Everything below a directory but times: kind and mode, owner, content."""
    found = {}
    for item in sorted([path, *path.rglob("*")]):
        info = item.lstat()
        data = b""
        if stat.S_ISREG(info.st_mode):
            data = hashlib.sha256(item.read_bytes()).hexdigest()
        elif stat.S_ISLNK(info.st_mode):
            data = os.readlink(item)
        found[str(item.relative_to(path))] = (info.st_mode, info.st_uid, info.st_gid, data)
    return found


def stages(home: Path) -> list[str]:
    private = home / ".classhub"
    return [path.name for path in private.glob("stage-*")] if private.is_dir() else []


# -- what a release does


def test_each_student_gets_the_assignment_as_the_owner(course):
    answer = course.run("release", "ps1")
    assert answer["table"] == dict.fromkeys(["s0", "s1", "s2"], GIVEN)
    assert (answer["summary"]["done"], answer["summary"]["exchange"]) == (3, "done: released")
    for name in ("s0", "s1", "s2"):
        home = course.homes / name
        assert tree(home / "ps1") == FILES
        owners = {(item.stat().st_uid, item.stat().st_gid) for item in home.rglob("*")}
        assert owners == {(course.uids[name],) * 2}
        assert stat.S_IMODE((home / "ps1" / "run.sh").stat().st_mode) == 0o755
        assert stages(home) == []
    assert not (course.homes / "gina" / "ps1").exists()


def test_exchange_has_it_for_all_to_read(course):
    course.release()
    assert tree(course.outbound) == FILES
    assert stat.S_IMODE(course.outbound.stat().st_mode) == 0o755
    assert stat.S_IMODE((course.outbound / "problem1.ipynb").stat().st_mode) == 0o644


def test_second_release_changes_nothing(course):
    course.release()
    before = snapshot(course.base)
    answer = course.run("release", "ps1")
    assert answer["table"] == dict.fromkeys(["s0", "s1", "s2"], HAS)
    assert answer["summary"]["exchange"] == "skipped: is released already"
    assert snapshot(course.base) == before


def test_work_is_never_touched(course):
    target = course.work("s1")
    before = snapshot(target)
    assert course.release() == {"s0": GIVEN, "s1": HAS, "s2": GIVEN}
    assert snapshot(target) == before


def test_changed_release_replaces_the_one_in_the_exchange_alone(course):
    course.release()
    course.write_release(FILES | {"problem1.ipynb": b"corrected"})
    answer = course.run("release", "ps1")
    assert answer["summary"]["exchange"] == "done: replaced"
    assert tree(course.outbound)["problem1.ipynb"] == b"corrected"
    assert tree(course.homes / "s0" / "ps1") == FILES
    assert list((course.base / "exchange" / "intro" / "staging").iterdir()) == []


def test_force_keeps_a_dated_copy(course):
    before = snapshot(course.work("s1"))
    table = course.release("--force")
    assert table["s0"] == GIVEN
    (copy,) = (course.homes / "s1").glob("ps1.before-*Z")
    assert table["s1"] == f"done: given, what was there is in ~/{copy.name}"
    assert snapshot(copy) == before
    assert tree(course.homes / "s1" / "ps1") == FILES


def test_force_leaves_an_unchanged_copy(course):
    course.release()
    assert set(course.release("--force").values()) == {"skipped: has it already, unchanged"}
    assert not list(course.homes.glob("*/ps1.before-*"))


@pytest.mark.parametrize("words", [(), ("--force",)])
def test_test_mode_predicts_and_changes_nothing(course, words):
    course.work("s1")
    before = snapshot(course.base)
    table = course.release("--test", *words)
    assert table["s0"] == "done: would be given"
    assert table["s1"].startswith("done: would" if words else HAS)
    assert snapshot(course.base) == before


def test_named_people_alone(course):
    assert course.release("--students", "s2, gina") == {"s2": GIVEN, "gina": GIVEN}


def test_status_tells_who_has_it(course):
    course.release("--students", "s0")
    (course.homes / "s1" / "ps1").write_text("a file")
    table = course.run("status", "ps1", code=1)["table"]
    assert table == {
        "s0": "done: has it",
        "s1": "failed: ~/ps1 is a file",
        "s2": "skipped: does not have it",
    }


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("ps9",), "there is no assignment ps9; the course has: ps1, ps2"),
        (("ps2",), "ps2 has no release version yet"),
        (("ps1", "--generate"), "ps1 has no source"),
        (("../ps1",), "cannot be the name"),
        ((".classhub",), "cannot be the name"),
        (("ps1", "--students", "s0,nobody"), "not in the roster: nobody"),
    ],
)
def test_refusals_are_one_sentence(course, words, told):
    before = snapshot(course.base)
    assert told in course.run("release", *words, code=2)["error"]
    assert snapshot(course.base) == before


def test_link_in_the_release_is_refused(course):
    (course.base / "course/release/ps1/link").symlink_to("/etc/passwd")
    assert "link is a symbolic link" in course.run("release", "ps1", code=2)["error"]


def test_what_nbgrader_ignores_stays_behind(course):
    junk = course.base / "course/release/ps1/.ipynb_checkpoints"
    junk.mkdir()
    (junk / "solution.ipynb").write_text("x")
    course.release()
    assert tree(course.homes / "s0" / "ps1") == FILES == tree(course.outbound)


@pytest.mark.parametrize(
    "change",
    [
        {"people": [{"username": "../root", "uid": 21000}]},
        {"people": [{"username": "eve", "uid": 0}]},
        {"people": [{"username": "eve", "uid": "0"}]},
        {"people": [{"username": "a", "uid": 21000}, {"username": "b", "uid": 21000}]},
        {"course_id": "../x"},
        {"timezone": "Mars/Base"},
        {"homse": "/home"},
    ],
)
def test_unsound_settings_are_refused(course, change):
    course.config.write_text(json.dumps(course.data | change))
    assert "error" in course.run("release", "ps1", code=2)


def test_generate_runs_nbgrader_and_swaps_the_whole(course, monkeypatch, tmp_path):
    fake = tmp_path / "bin" / "nbgrader"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\nmkdir -p .generated/$2 && echo "$@" > .generated/$2/words\n'
        "grep CapEff /proc/self/status >> .generated/$2/words\n[ ! -e fail ]\n"
    )
    fake.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(fake.parent / "python"))
    from classhub.course import release  # noqa: PLC0415

    release.generate(course.loaded, "ps2")
    release.generate(course.loaded, "ps2")
    words = (course.base / "course/release/ps2/words").read_text()
    assert "generate_assignment ps2 --force" in words
    assert "CapEff:\t0000000000000000" in words
    (course.base / "course" / "fail").touch()
    with pytest.raises(Refused, match="could not generate ps2"):
        release.generate(course.loaded, "ps2")
    assert not (course.base / "course" / ".generated" / "ps2" / "old").exists()
    assert (course.base / "course/release/ps2/words").read_text() == words


# -- traps


def trap_target_link_to_directory(home, prey):
    (home / "ps1").symlink_to(prey)


def trap_target_link_to_file(home, prey):
    (home / "ps1").symlink_to(prey / "secret")


def trap_target_dangling_link(home, prey):
    (home / "ps1").symlink_to(prey / "new")


def trap_target_hard_link(home, prey):
    os.link(prey / "secret", home / "ps1")


def trap_target_fifo(home, prey):
    os.mkfifo(home / "ps1")


def trap_target_socket(home, prey):
    server = socket.socket(socket.AF_UNIX)
    cwd = os.getcwd()
    os.chdir(home)  # the name of a socket is short
    server.bind("ps1")
    os.chdir(cwd)
    server.close()


def trap_target_device(home, prey):
    os.mknod(home / "ps1", 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def trap_target_empty(home, prey):
    (home / "ps1").mkdir()


def trap_notebook_link(home, prey):
    (home / "ps1").mkdir()
    (home / "ps1" / "problem1.ipynb").symlink_to(prey / "secret")


def trap_notebook_hard_link(home, prey):
    (home / "ps1").mkdir()
    os.link(prey / "secret", home / "ps1" / "problem1.ipynb")


def trap_data_link(home, prey):
    (home / "ps1").mkdir()
    (home / "ps1" / "data").symlink_to(prey)


def trap_private_link(home, prey):
    (home / ".classhub").symlink_to(prey)


def trap_private_dangling_link(home, prey):
    (home / ".classhub").symlink_to(prey / "new")


def trap_private_hard_link(home, prey):
    os.link(prey / "secret", home / ".classhub")


def trap_private_fifo(home, prey):
    os.mkfifo(home / ".classhub")


def trap_private_closed(home, prey):
    (home / ".classhub").mkdir(mode=0o000)


def trap_private_foreign(home, prey):
    (home / ".classhub").mkdir(mode=0o777)
    return [home / ".classhub"]


def trap_stage_link(home, prey):
    (home / ".classhub").mkdir()
    (home / ".classhub" / "stage-4000000-a").symlink_to(prey)


def trap_stage_with_links(home, prey):
    stage = home / ".classhub" / "stage-4000000-a"
    stage.mkdir(parents=True)
    (stage / "link").symlink_to(prey)
    os.link(prey / "secret", stage / "hard")


def trap_stage_deep(home, prey):
    (home / ".classhub" / "stage-4000000-a" / "/".join("d" * 200)).mkdir(parents=True)


def trap_stage_closed(home, prey):
    (home / ".classhub" / "stage-4000000-a" / "in").mkdir(parents=True)
    (home / ".classhub" / "stage-4000000-a").chmod(0)


def trap_stage_odd_names(home, prey):
    (home / ".classhub").mkdir()
    for name in ("stage-", "stage-x", "stage-²-a", "stage-" + "9" * 200, "stage-\udcff", "stage-1"):
        (home / ".classhub" / name).symlink_to(prey)


def trap_home_link(home, prey):
    home.rmdir()
    home.symlink_to(prey)


def trap_home_closed(home, prey):
    home.chmod(0o500)


def trap_home_foreign(home, prey):
    home.chmod(0o777)
    return [home]


def trap_home_missing(home, prey):
    home.rmdir()


TRAPS = [value for name, value in list(globals().items()) if name.startswith("trap_")]


def lay(trap, course, name, prey):
    """Lay a trap in the name's home; what it returns stays root's."""
    home = course.homes / name
    roots = trap(home, prey) or []
    uid = course.uids[name]
    for item in [home, *home.rglob("*")] if home.is_dir() and not home.is_symlink() else []:
        if item.lstat().st_nlink < 2 or item.is_dir():
            os.chown(item, uid, uid, follow_symlinks=False)
    for item in roots:
        os.chown(item, 0, 0)


@pytest.fixture(params=["root's", "another student's", "open to all"])
def prey(request, course):
    """A directory outside the home that must not change."""
    path = course.homes / "gina" if "student" in request.param else course.base / "prey"
    path.mkdir(exist_ok=True)
    (path / "secret").write_text("solution")
    (path / "secret").chmod(0o600)
    if request.param == "open to all":
        path.chmod(0o777)
        (path / "secret").chmod(0o666)
    return path


@pytest.mark.parametrize("words", [(), ("--force",)], ids=["plain", "force"])
def test_no_trap_leads_outside_a_home_nor_stops_the_others(course, prey, words):
    """Every trap has a student, and prey of three kinds."""
    wide = Course(course.base / "wide", len(TRAPS) + 1)
    for number, trap in enumerate(TRAPS):
        lay(trap, wide, f"s{number}", prey)
    before = snapshot(prey)
    process = wide.start("release", "ps1", *words)
    out, err = process.communicate(timeout=60)
    table = json.loads(out)["table"]
    assert snapshot(prey) == before
    assert process.returncode == 1
    assert table[f"s{len(TRAPS)}"] == GIVEN
    assert "unexpected" not in out + err
    for number, trap in enumerate(TRAPS):
        name = trap.__name__.removeprefix("trap_")
        outcome = table[f"s{number}"]
        if outcome.startswith("done"):
            assert tree(wide.homes / f"s{number}" / "ps1") == FILES, name
        if name.startswith(("private", "home")):
            assert outcome.startswith("failed"), (name, outcome)
        if name.startswith("stage"):
            assert outcome == GIVEN, (name, outcome)


def swapper(course, name, prey):
    """A process of the student that swaps directories and links for ever, as fast as it can."""
    pid = os.fork()
    if pid:
        return pid
    with contextlib.suppress(BaseException), course.as_student(name):
        os.chdir(course.homes / name)
        while True:
            for target in (".classhub", "ps1"):
                with contextlib.suppress(OSError):
                    os.rename(target, f"{target}.away")
                    os.symlink(prey, target)
                with contextlib.suppress(OSError):
                    os.unlink(target)
                    os.rename(f"{target}.away", target)
            for stage in stages(Path.cwd()):
                with contextlib.suppress(OSError):
                    os.rename(f".classhub/{stage}", "taken")
                    os.symlink(prey, f".classhub/{stage}")
    os._exit(0)


def test_swapping_directories_meanwhile_leads_nowhere(course, prey):
    files = {f"part{number}": b"x" for number in range(200)} | FILES
    before, outcomes = snapshot(prey), set()
    pid = swapper(course, "s0", prey)
    try:
        for number in range(40):
            if number > 2 and "failed" in outcomes:
                break
            course.write_release(files | {"round": b"%d" % number})
            process = course.start("release", "ps1", "--force")
            out, err = process.communicate(timeout=60)
            table = json.loads(out)["table"]
            assert "unexpected" not in out + err
            for name in ("s1", "s2"):
                assert table[name].startswith(GIVEN)
                for copy in (course.homes / name).glob("ps1.before-*"):  # one a second
                    shutil.rmtree(copy)
            outcomes.add(table["s0"].partition(":")[0])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert snapshot(prey) == before
    assert "failed" in outcomes, "the swaps never came in between"


def test_rights_are_given_back(course):
    with contextlib.suppress(KeyError), course.as_student("s0"):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (FIRST_UID, FIRST_UID, [])
        with pytest.raises(PermissionError):
            (course.homes / "s1" / "x").write_text("")
        raise KeyError
    assert (os.geteuid(), os.getegid(), os.getresuid()) == (0, 0, (0, 0, 0))


def test_nobody_acts_as_a_system_account():
    with pytest.raises(RuntimeError), homes.acting_as(settings.Person("root", 0)):
        pass


def test_nobody_is_acted_as_beside_another_thread(course, monkeypatch):
    monkeypatch.setattr(homes, "active_count", lambda: 2)
    with pytest.raises(RuntimeError, match="one thread"), course.as_student("s0"):
        pass


# -- full disks, and file systems without renameat2


@pytest.fixture
def small_disk(course):
    """s1's home on a disk of its own, of 64 KiB."""
    home = course.homes / "s1"
    options = f"size=64k,mode=700,uid={course.uids['s1']},gid={course.uids['s1']}"
    command = ["mount", "-t", "tmpfs", "-o", options, "small", str(home)]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("cannot mount")
    yield home
    subprocess.run(["umount", str(home)], check=True)


def test_full_disk_leaves_nothing_half_done(course, small_disk):
    course.write_release(FILES | {"big": b"x" * 100_000})
    table = course.release("--students", "s0,s1,s2", code=1)
    assert table == {"s0": GIVEN, "s1": "failed: the disk is full", "s2": GIVEN}
    assert not (small_disk / "ps1").exists()
    assert stages(small_disk) == []


def test_full_disk_leaves_work_where_it_was_under_force(course, small_disk):
    work = snapshot(course.work("s1"))
    course.write_release(FILES | {"big": b"x" * 100_000})
    assert course.release("--force", code=1)["s1"] == "failed: the disk is full"
    assert snapshot(small_disk / "ps1") == work
    course.write_release(FILES)
    assert course.release("--force")["s1"].startswith(GIVEN)


@pytest.fixture
def home(course):
    with homes.Home(course.person("s0"), course.homes) as opened:
        yield opened


def folder() -> trees.Folder:
    return trees.Folder(
        {"a": (b"1", False)}, {"sub": trees.Folder({"b": (b"2" * 9, True)}), "none": trees.Folder()}
    )


@pytest.mark.parametrize(
    ("code", "told"), [(errno.EDQUOT, "the quota is used up"), (errno.EROFS, "is read-only")]
)
def test_errors_of_the_disk_are_told_in_words(course, monkeypatch, code, told):
    def full(fd, data):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Unfit, match=told), homes.Home(course.person("s0"), course.homes) as home:
        home.write_tree(folder(), "ps1")
    monkeypatch.undo()
    assert os.geteuid() == 0
    assert stages(course.homes / "s0") == []


@pytest.mark.parametrize("flags_known", [True, False])
@pytest.mark.parametrize("taken", ["file", "directory", "empty", "link"])
def test_trees_are_never_put_over_something(course, monkeypatch, flags_known, taken):
    if not flags_known:
        monkeypatch.setattr(trees, "_renameat2", lambda *words: False)
    target = course.homes / "s0" / "ps1"
    with homes.Home(course.person("s0"), course.homes) as home:
        if taken == "file":
            target.write_text("mine")
        elif taken == "link":
            target.symlink_to("nowhere")
        else:
            target.mkdir()
            if taken == "directory":
                (target / "mine").write_text("mine")
        before = snapshot(target)
        with pytest.raises(FileExistsError):
            home.write_tree(folder(), "ps1")
        assert snapshot(target) == before
        home.write_tree(folder(), "ps1", aside="old")
        assert snapshot(course.homes / "s0" / "old") == before
        assert home.has(folder(), "ps1")
    assert stages(course.homes / "s0") == []


@pytest.mark.parametrize("flags_known", [True, False])
def test_swap_puts_one_in_place_of_the_other(tmp_path, monkeypatch, flags_known):
    if not flags_known:
        monkeypatch.setattr(trees, "_renameat2", lambda *words: False)
    for name in ("here", "there"):
        (tmp_path / name / name).mkdir(parents=True)
    with trees.opened(tmp_path) as fd:
        trees.swap(fd, "here", fd, "there")
    assert (tmp_path / "there" / "here").is_dir()
    assert (tmp_path / "here" / "there").is_dir()


def test_stage_of_a_running_process_stays(course, home):
    with contextlib.suppress(FileExistsError):
        (course.homes / "s0" / ".classhub").mkdir()
    alive = course.homes / "s0" / ".classhub" / f"stage-{os.getppid()}-a"
    dead = course.homes / "s0" / ".classhub" / "stage-4000000-a"
    for path in (alive, dead):
        (path / "sub").mkdir(parents=True)
    home.write_tree(folder(), "ps1")
    assert stages(course.homes / "s0") == [alive.name]


def test_files_below_the_private_directory(course, home):
    for text in (b"old", b"new"):
        home.write_file(("receipts", "ps1"), "1.json", text)
    private = course.homes / "s0" / ".classhub"
    assert (private / "receipts/ps1/1.json").read_bytes() == b"new"
    assert stages(course.homes / "s0") == []
    shutil.rmtree(private / "receipts")
    (private / "receipts").symlink_to(course.base)
    with pytest.raises(Unfit, match="not a directory"):
        home.write_file(("receipts", "ps1"), "1.json", b"x")


# -- the exchange


def test_exchange_is_laid_out_once(course):
    course.run("exchange")
    base = course.base / "exchange" / "intro"
    uid = course.uids["s0"]
    found = snapshot(base)
    assert found["students/s0"][:3] == (stat.S_IFDIR | 0o711, 0, 0)
    assert found["students/s0/inbound"][:3] == (stat.S_IFDIR | 0o700, uid, uid)
    assert found["students/s0/feedback"][:3] == (stat.S_IFDIR | 0o750, 0, uid)
    assert found["outbound"][:3] == (stat.S_IFDIR | 0o755, 0, 0)
    assert "students/gina/inbound" in found
    assert set(course.run("exchange")["table"].values()) == {"skipped: is right"}
    assert snapshot(base) == found


def test_exchange_is_repaired_and_submissions_stay(course):
    course.run("exchange")
    own = course.base / "exchange/intro/students/s0"
    right = snapshot(own)
    with course.as_student("s0"):
        (own / "inbound").chmod(0o777)
        (own / "inbound" / "s0+ps1+now").mkdir()
        (own / "inbound" / "s0+ps1+now" / "problem1.ipynb").write_text("answer")
    os.chown(own / "feedback", 0, 0)
    submissions = snapshot(own / "inbound" / "s0+ps1+now")
    table = course.run("exchange", "--test")["table"]
    assert table["s0"] == "done: inbound: mode repaired, feedback: owner repaired"
    assert (own / "inbound").stat().st_mode & 0o777 == 0o777
    assert course.run("exchange")["table"]["s0"] == table["s0"]
    assert snapshot(own / "inbound" / "s0+ps1+now") == submissions
    assert right.items() <= snapshot(own).items()


def test_exchange_in_test_mode_makes_nothing(course):
    before = snapshot(course.base)
    assert course.run("exchange", "--test")["table"]["s0"].startswith("done: would be made")
    assert snapshot(course.base) == before


def test_odd_entry_in_the_exchange_is_one_students(course):
    course.run("exchange")
    own = course.base / "exchange/intro/students"
    shutil.rmtree(own / "s1")
    (own / "s1").symlink_to(course.homes / "s0")
    before = snapshot(course.homes)
    table = course.run("exchange", code=1)["table"]
    assert table["s1"] == "failed: s1 in the exchange is no directory"
    assert table["s0"] == "skipped: is right"
    assert snapshot(course.homes) == before


def test_exchange_open_to_others_is_refused(course):
    (course.base / "exchange").mkdir()
    (course.base / "exchange").chmod(0o777)
    with pytest.raises(Refused, match="by others than root"):
        exchange.lay_out(course.loaded)


def test_exchange_that_cannot_be_written_stops_before_the_homes(course):
    (course.base / "exchange").write_text("a file")
    before = snapshot(course.homes)
    assert "cannot be written" in course.run("release", "ps1", code=2)["error"]
    assert snapshot(course.homes) == before


# -- killed at any point


class Campaign:
    """A class of which every fourth student already works, to which a release is begun and killed again and again.

    Attributes:
        partial: kills that came when some had the assignment and others not
    """

    def __init__(self, base: Path, count: int) -> None:
        self.course = Course(base / "wide", count)
        files = {f"part{number}/notebook.ipynb": os.urandom(20_000) for number in range(6)}
        self.files = files | {"run.sh": b"#!"}
        self.course.write_release(self.files)
        self.students = [f"s{number}" for number in range(count)]
        self.workers = self.students[::4]
        self.fresh = [name for name in self.students if name not in self.workers]
        self.chance, self.partial = random.Random(7), 0

    def place(self, name: str) -> Path:
        return self.course.homes / name / "ps1"

    def kill_release(self, *words: str) -> list[str]:
        """Begin a release and kill it at a random point; who of the fresh has the assignment then.

        The point is a number of copies in place, and a random time after that.
        """
        process = self.course.start("release", "ps1", *words, batch=self.chance.choice((7, 50)))
        aim, delay = self.chance.randrange(len(self.fresh)), self.chance.uniform(0, 0.1)
        while process.poll() is None and aim > self.count_placed():
            pass
        time.sleep(delay)
        process.kill()
        process.communicate()
        given = [name for name in self.fresh if self.place(name).exists()]
        assert all(tree(self.place(name)) == self.files for name in given)
        self.partial += 0 < len(given) < len(self.fresh)
        return given

    def count_placed(self) -> int:
        return sum(self.place(name).exists() for name in self.fresh)

    def take_back(self) -> None:
        """As if nothing had been released; what students work on stays."""
        for name in self.fresh:
            shutil.rmtree(self.place(name), ignore_errors=True)
        shutil.rmtree(self.course.base / "exchange", ignore_errors=True)


SIZES = pytest.mark.parametrize(
    ("count", "kills"), [(60, 6), pytest.param(300, 50, marks=pytest.mark.long)]
)


@pytest.mark.slow
@SIZES
def test_release_killed_at_random_points_completes(course, count, kills):
    """After each kill a home has all of it or nothing; then a plain run completes."""
    campaign = Campaign(course.base, count)
    wide, fresh = campaign.course, campaign.fresh
    work = {name: snapshot(wide.work(name, name)) for name in campaign.workers}
    for _ in range(kills):
        campaign.take_back()
        given = campaign.kill_release()
        table = wide.release()
        has = {*work, *given}
        assert table == {name: HAS if name in has else GIVEN for name in campaign.students}
        assert all(tree(campaign.place(name)) == campaign.files for name in fresh)
        assert not any(stages(wide.homes / name) for name in fresh if name not in given)
        assert tree(wide.outbound) == campaign.files
        assert {name: snapshot(campaign.place(name)) for name in work} == work
    assert campaign.partial > kills // 3, "too few kills came in the middle"


@pytest.mark.slow
@SIZES
def test_release_by_force_killed_at_random_points_keeps_all_work(course, count, kills):
    """Whatever a student has had is, byte by byte, in place or in a dated copy; a plain run by force completes."""
    campaign = Campaign(course.base, count)
    wide = campaign.course
    for number in range(kills):
        campaign.take_back()
        work = {}
        for name in campaign.workers:
            shutil.rmtree(campaign.place(name), ignore_errors=True)
            for copy in (wide.homes / name).glob("ps1.before-*"):
                shutil.rmtree(copy)
            work[name] = snapshot(wide.work(name, f"{name}, round {number}"))
        campaign.kill_release("--force")
        for name, before in work.items():
            places = [*(wide.homes / name).glob("ps1.before-*Z"), campaign.place(name)]
            assert before in [snapshot(place) for place in places if place.exists()]
        assert not any(outcome.startswith("failed") for outcome in wide.release("--force").values())
        for name, before in work.items():
            (copy,) = (wide.homes / name).glob("ps1.before-*Z")
            assert snapshot(copy) == before
        assert all(tree(campaign.place(name)) == campaign.files for name in campaign.students)
    assert campaign.partial > kills // 3, "too few kills came in the middle"
