"""The backup by restic itself: what it saves, that it can be restored, and what it does where something is broken."""

import dataclasses
import getpass
import json
import os
import random
import re
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.saved_class import NOTEBOOK, PASSWORD, SavedClass, saved_class  # isort: skip

from classhub.backup import (
    databases,
    drilling,
    guard,
    record,
    restoring,
    scratch,
    settings,
    snapshots,
)
from classhub.backup.restic import Absent, Restic, Snapshot, literal, nanoseconds
from classhub.course import homes, trees
from classhub.course.report import Refused, Unfit
from classhub.course.settings import Person
from tests.support.loading import ROOT
from tests.support.submissions import alone, fill, small_disk
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others, so it needs root"),
    pytest.mark.slow,
]
MARK = re.compile(r"^~/ps1/(problem1 \(restored \d{4}-\d\d-\d\d \d\d\.\d\d\)\.ipynb)")


@pytest.fixture
def lesson():
    with saved_class() as made:
        yield made


def saved(lesson: SavedClass) -> str:
    """Say `backup`; the snapshot's name."""
    answer = lesson.say("backup")
    assert answer.code == 0, answer
    return answer.summary["snapshot"]


def restored_as(answer, user: str = "ada") -> str:
    """Where something was put, within the home."""
    assert answer.code == 0, answer
    found = re.fullmatch(
        r"done: restored as ~/(.+), as of \d{4}-\d\d-\d\d \d\d:\d\d", answer.table[user]
    )
    assert found, answer
    return found[1]


def tree(top: Path) -> dict[str, tuple]:
    """Everything below a directory: kind and mode, owners, time, content, and which have one inode."""
    found, first = {}, {}
    for folder, names, files in os.walk(top):
        for name in (*names, *files):
            path = Path(folder, name)
            seen, shown = path.lstat(), str(path.relative_to(top))
            content = os.readlink(path) if path.is_symlink() else ""
            if stat.S_ISREG(seen.st_mode):
                content = path.read_bytes()
                first.setdefault(seen.st_ino, shown)
            owners = (seen.st_uid, seen.st_gid)
            same = first.get(seen.st_ino, "")
            found[shown] = (seen.st_mode, owners, seen.st_mtime_ns, content, same)
    return found


# -- one file


def test_a_file_comes_back_beside_the_current_one_with_its_owner_mode_and_time(lesson):
    path = lesson.write("ada", NOTEBOOK, "monday")
    path.chmod(0o640)
    os.utime(path, ns=(10**18, 10**18 + 7))
    saved(lesson)
    path.write_text("tuesday")
    told = lesson.say("restore", "ada", NOTEBOOK, "--test")
    assert "would be restored as ~/ps1/problem1 (restored " in told.table["ada"]
    assert os.listdir(path.parent) == ["problem1.ipynb"]

    name = restored_as(lesson.say("restore", "ada", NOTEBOOK))
    back = lesson.home / "ada" / name
    assert MARK.match(f"~/{name}")
    assert (path.read_text(), back.read_text()) == ("tuesday", "monday")
    found = back.stat()
    assert (found.st_uid, found.st_gid) == (lesson.uid("ada"),) * 2
    assert (stat.S_IMODE(found.st_mode), found.st_mtime_ns) == (0o640, 10**18 + 7)

    again = restored_as(lesson.say("restore", "ada", NOTEBOOK))
    assert again == name.replace(").ipynb", ", 2).ipynb")
    assert back.read_text() == "monday"


def test_a_file_that_was_deleted_comes_from_the_newest_snapshot_that_has_it(lesson):
    first = saved(lesson)
    shutil.rmtree(lesson.home / "ada/ps1")
    saved(lesson)
    answer = lesson.say("restore", "ada", NOTEBOOK)
    name = restored_as(answer)
    assert answer.summary["snapshot"] == first
    assert (lesson.home / "ada" / name).read_text() == "ada's answer"
    assert (lesson.home / "ada/ps1").stat().st_uid == lesson.uid("ada")


def test_a_class_that_was_never_saved_has_not_failed(lesson):
    """The doctor may come before the first backup."""
    answer = lesson.say("snapshots")
    assert answer.table["backup"] == "skipped: has not run yet"
    assert answer.code == 0


def test_it_is_said_which_snapshots_have_it(lesson):
    saved(lesson)
    lesson.write("ada", "late.txt", "x")
    having = saved(lesson)
    first = lesson.say("snapshots").summary["snapshots"][-1]["snapshot"]
    refused = lesson.say("restore", "ada", "late.txt", "--at", first)
    assert (refused.code, refused.table) == (2, {})
    assert "late.txt was not there at " in refused.error
    assert f"({having})" in refused.error
    nowhere = lesson.say("restore", "ada", "never.txt")
    assert "it is in no snapshot" in nowhere.error


def test_a_directory_and_a_whole_home(lesson):
    lesson.write("ada", "ps1/data/table.csv", "a,b")
    saved(lesson)
    (lesson.home / "ada/ps1/data/table.csv").write_text("lost")
    folder = lesson.home / "ada" / restored_as(lesson.say("restore", "ada", "ps1/"))
    assert folder.name.startswith("ps1 (restored ")
    assert (folder / "data/table.csv").read_text() == "a,b"
    whole = lesson.home / "ada" / restored_as(lesson.say("restore", "ada"))
    assert whole.name.startswith("restored ")
    assert (whole / NOTEBOOK).read_text() == "ada's answer"
    assert (lesson.home / "ada/ps1/data/table.csv").read_text() == "lost"


def test_odd_names_come_back_as_they_were(lesson):
    names = ["a*b[1]?.txt", "back\\slash", "new\nline", "-dash", "ünï", "x" * 250, ".hidden"]
    for name in names:
        lesson.write("ada", f"odd/{name}", name)
    (lesson.home / "ada/odd" / os.fsdecode(b"bad\xff")).write_text("bytes")
    os.chown(lesson.home / "ada/odd" / os.fsdecode(b"bad\xff"), *[lesson.uid("ada")] * 2)
    saved(lesson)
    folder = lesson.home / "ada" / restored_as(lesson.say("restore", "ada", "odd"))
    assert {name: (folder / name).read_text() for name in names} == dict(
        zip(names, names, strict=True)
    )
    assert (folder / os.fsdecode(b"bad\xff")).read_text() == "bytes"
    for name in ("a*b[1]?.txt", "back\\slash", "x" * 250):
        back = lesson.home / "ada" / restored_as(lesson.say("restore", "ada", f"odd/{name}"))
        assert back.read_text() == name
        assert len(os.fsencode(back.name)) <= 255


def test_links_are_links_and_special_files_are_left_out(lesson):
    """Nothing of it is followed, and what takes room once takes it once."""
    home, uid = lesson.home / "ada", lesson.uid("ada")
    lesson.write("ada", "d/one", b"x" * 100_000)
    os.link(home / "d/one", home / "d/two")
    (home / "d/shadow").symlink_to("/etc/shadow")
    (home / "d/bobs").symlink_to(lesson.home / "bob")
    os.mkfifo(home / "d/fifo")
    lesson.write("ada", "d/closed/inner", "mine").parent.chmod(0)
    lesson.write("ada", "d/set", "x").chmod(0o6755)
    lesson.write("ada", "d/bobs-own", "bob's").chmod(0o600)
    for name in ("d/shadow", "d/bobs", "d/fifo"):
        os.chown(home / name, uid, uid, follow_symlinks=False)
    os.chown(home / "d/bobs-own", *[lesson.uid("bob")] * 2)
    saved(lesson)
    answer = lesson.say("restore", "ada", "d")
    back = home / restored_as(answer)
    assert os.readlink(back / "shadow") == "/etc/shadow"
    assert os.readlink(back / "bobs") == str(lesson.home / "bob")
    assert (back / "one").stat().st_ino == (back / "two").stat().st_ino
    assert stat.S_IMODE((back / "closed").stat().st_mode) == 0
    assert (back / "closed/inner").read_text() == "mine"
    assert stat.S_IMODE((back / "set").stat().st_mode) == 0o755
    assert set(answer.summary["left_out"]) == {
        "fifo: is a FIFO",
        f"bobs-own: belongs to uid {lesson.uid('bob')}",
    }
    assert {path.lstat().st_uid for path in back.rglob("*")} == {uid}


def test_a_directory_that_is_read_only_comes_back(lesson):
    uid = lesson.uid("ada")
    for name in ("ro", "ro/inner", "none"):
        lesson.write("ada", f"{name}/file", name)
    for name, mode in (("ro/inner", 0o333), ("ro", 0o555), ("none", 0)):
        (lesson.home / "ada" / name).chmod(mode)
        os.utime(lesson.home / "ada" / name, ns=(10**18, 10**18))
    saved(lesson)
    for name in ("ro", "none"):
        back = lesson.home / "ada" / restored_as(lesson.say("restore", "ada", name))
        assert tree(back) == tree(lesson.home / "ada" / name)
        found, was = back.stat(), (lesson.home / "ada" / name).stat()
        assert (found.st_mode, found.st_mtime_ns) == (was.st_mode, was.st_mtime_ns)
        assert found.st_uid == uid
    assert os.listdir(lesson.home / "ada/.classhub") == []


def give_in_vain(lesson: SavedClass) -> str:
    """Write a large, deep and closed tree into a home where it gets no name; what was told."""

    def write(parent: int, name: str) -> None:
        os.mkdir(name, dir_fd=parent)
        with trees.opened(name, parent) as top:
            for number in range(trees.MOST + 1):
                trees.write_file(top, str(number), b"", 0o400)
            os.makedirs(f"/proc/self/fd/{top}/{'d/' * 50}")
            os.mkdir("closed", dir_fd=top)
            with trees.opened("closed", top) as closed:
                trees.write_file(closed, "file", b"x", 0o400)
                os.fchmod(closed, 0o333)
            os.fchmod(top, 0o555)

    def give() -> None:
        with homes.Home(Person("ada", lesson.uid("ada")), lesson.home) as home:
            home.give((), iter(()), write)

    with pytest.raises(Unfit) as refused:
        alone(give)
    return str(refused.value)


def test_what_was_written_in_vain_is_removed_however_large(lesson):
    assert give_in_vain(lesson) == "no name is free for it"
    assert os.listdir(lesson.home / "ada/.classhub") == []


def test_what_was_written_in_vain_and_stays_is_told(lesson, monkeypatch):
    def stubborn(*_words) -> None:
        raise OSError

    monkeypatch.setattr(trees, "remove", stubborn)
    told = give_in_vain(lesson)
    (stage,) = os.listdir(lesson.home / "ada/.classhub")
    assert told == f"no name is free for it; ~/.classhub/{stage} is left of it"


# -- what a student, or who asks for one, may try


@pytest.mark.parametrize(
    "path",
    [
        "../bob/ps1",
        "ps1/../../bob",
        "/etc/shadow",
        "ps1//x",
        "./ps1",
        "~/../bob",
        "..",
        "~bob/x/..",
    ],
)
def test_a_path_that_leads_out_of_the_home_is_refused(lesson, path):
    saved(lesson)
    answer = lesson.say("restore", "--", "ada", path)
    assert (answer.code, "is no path in a home" in answer.error) == (2, True), answer


@pytest.mark.parametrize("user", ["mallory", "../bob", "", "/etc"])
def test_somebody_who_is_not_on_the_roster_is_refused(lesson, user):
    saved(lesson)
    answer = lesson.say("restore", "--", user, NOTEBOOK)
    assert (answer.code, answer.error) == (2, f"{user} is not on the roster")


def test_a_directory_that_became_a_link_leads_nowhere(lesson):
    """The student moved ps1 away and put a link to another's directory in its place."""
    saved(lesson)
    before = tree(lesson.home / "bob")
    os.rename(lesson.home / "ada/ps1", lesson.home / "ada/old")
    for target in (lesson.home / "bob/ps1", Path("/etc")):
        (lesson.home / "ada/ps1").symlink_to(target)
        answer = lesson.say("restore", "ada", NOTEBOOK)
        assert answer.code == 1
        assert answer.table["ada"] == "failed: ~/ps1 is not a directory of its own"
        (lesson.home / "ada/ps1").unlink()
    assert tree(lesson.home / "bob") == before


def test_a_link_in_the_snapshot_is_not_followed_either(lesson):
    (lesson.home / "ada/theirs").symlink_to(lesson.home / "bob/ps1")
    saved(lesson)
    answer = lesson.say("restore", "ada", "theirs/problem1.ipynb")
    assert answer.code == 2
    assert "it is in no snapshot" in answer.error


def test_a_link_that_is_restored_is_not_followed_either(lesson):
    """It is opened up for its owner, and what it leads to is not."""
    closed = lesson.write("ada", "closed/file", "x")
    closed.chmod(0)
    link = lesson.home / "ada/link"
    link.symlink_to(closed.parent)
    os.chown(link, *[lesson.uid("ada")] * 2, follow_symlinks=False)
    saved(lesson)
    name = restored_as(lesson.say("restore", "ada", "link"))
    assert os.readlink(lesson.home / "ada" / name) == str(closed.parent)
    assert stat.S_IMODE(closed.stat().st_mode) == 0


def test_names_that_are_taken_are_passed_over(lesson):
    """Whatever the student puts there: it is not written to, and not through."""
    victim = lesson.write("bob", "victim", "bob's")
    name = saved(lesson)
    shown = lesson.say("snapshots").summary["snapshots"][0]["time"].replace(":", ".")
    traps = lesson.home / "ada/ps1"
    (traps / f"problem1 (restored {shown}).ipynb").symlink_to(victim)
    (traps / f"problem1 (restored {shown}, 2).ipynb").mkdir()
    (traps / f"problem1 (restored {shown}, 3).ipynb").symlink_to("/nonexistent/file")
    answer = lesson.say("restore", "ada", NOTEBOOK, "--at", name)
    assert restored_as(answer) == f"ps1/problem1 (restored {shown}, 4).ipynb"
    assert victim.read_text() == "bob's"


def test_a_home_that_is_not_the_students_is_left_alone(lesson):
    saved(lesson)
    os.chown(lesson.home / "ada", *[lesson.uid("bob")] * 2)
    answer = lesson.say("restore", "ada", NOTEBOOK)
    assert answer.code == 1
    assert answer.table["ada"].endswith("/home/ada: Permission denied")


def test_what_has_no_room_in_the_home_leaves_nothing_there(lesson):
    lesson.write("ada", "large", random.randbytes(1 << 20))
    saved(lesson)
    shutil.rmtree(lesson.home / "ada")
    (lesson.home / "ada").mkdir(mode=0o700)
    with small_disk(lesson.home / "ada") as filler:
        os.chown(lesson.home / "ada", *[lesson.uid("ada")] * 2)
        fill(filler, 100_000)
        answer = lesson.say("restore", "ada", "large")
        assert (answer.code, answer.table) == (1, {"ada": "failed: the disk is full"})
        assert [path for path in (lesson.home / "ada").rglob("*") if path.is_file()] == [filler]


def test_huge_and_deep_files_do_not_stop_the_backup(lesson):
    """A file of 8 TB that holds nothing, and a path that no program can name."""
    lesson.configure(max_file="1M")
    with open(lesson.home / "ada/huge", "wb") as file:
        file.truncate(8 << 40)
    fd = os.open(lesson.home / "ada", os.O_RDONLY)
    for _ in range(25):
        os.mkdir("d" * 200, dir_fd=fd)
        inner = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    os.close(fd)
    answer = lesson.say("backup")
    assert answer.code == 0, answer
    assert answer.summary["too_large"] == [str(lesson.home / "ada/huge")]
    assert len(answer.summary["too_deep"]) == 1
    assert lesson.say("restore", "ada", NOTEBOOK).code == 0
    assert "it is in no snapshot" in lesson.say("restore", "ada", "huge").error


def make_hollow(lesson: SavedClass, user: str, name: str, size: int) -> str:
    path = lesson.write(user, name, "x")
    os.truncate(path, size << 20)
    return str(path)


def test_many_files_that_hold_nothing_do_not_stop_the_backup(lesson):
    """Each is smaller than the largest that is saved. Those of one person are left out until the rest is, too."""
    lesson.configure(max_file="40M")
    names = ["a*b[1]?\\.bin", "$HOME ", "#new\nline", os.fsdecode(b"bad\xff")]
    large = [make_hollow(lesson, "ada", f"h/{name}", 32 + n) for n, name in enumerate(names)]
    kept = [make_hollow(lesson, "ada", "h/small", 31), make_hollow(lesson, "bob", "alone", 39)]
    full = str(lesson.write("ada", "h/full", random.randbytes(20 << 20)))
    shown = sorted(name.encode(errors="surrogateescape").decode(errors="replace") for name in large)
    assert lesson.say("backup", "--test").summary["hollow"] == shown
    answer = lesson.say("backup")
    assert (answer.code, answer.summary["hollow"]) == (0, shown)
    listed = lesson.restic("ls", "--json", "latest").splitlines()
    files = {node["path"] for line in listed if (node := json.loads(line)).get("type") == "file"}
    homes = {path for path in files if path.startswith(str(lesson.home / "ada/h"))}
    assert homes == {kept[0], full}
    assert kept[1] in files


def make_deep(place: Path, uid: int = 0) -> Path:
    """A file below more directories than Python has calls."""
    bottom = place / "/".join("d" * 1400)
    subprocess.run(["mkdir", "-p", bottom], check=True)
    (bottom / "file").write_text("deep")
    subprocess.run(["chown", "-R", f"{uid}:{uid}", place / "d"], check=True)
    return bottom / "file"


def test_a_deep_directory_stops_neither_drills_nor_restores(lesson):
    make_deep(lesson.home / "ada", lesson.uid("ada"))
    long = str(lesson.home / "bob") + f"/{'x' * 200}" * 20
    subprocess.run(["mkdir", "-p", long[:3980]], check=True)
    Path(f"{long[:3980]}/{'y' * 100}").write_text("as long as the system takes")
    saved(lesson)
    drilled = lesson.say("drill")
    assert drilled.code == 0, drilled
    assert not list((lesson.state / "scratch").iterdir())
    make_deep(lesson.state / "scratch/of-a-killed-run")
    answer = lesson.say("restore", "ada")
    assert (lesson.home / "ada" / restored_as(answer) / NOTEBOOK).exists()
    assert any(told.endswith("d: is too deep") for told in answer.summary["left_out"])
    assert not list((lesson.state / "scratch").iterdir())


def test_what_has_no_room_on_the_hubs_own_disk_is_not_unpacked_there(lesson, monkeypatch):
    """A home that is small at its top, and a file that a drill may draw."""
    lesson.write("ada", "s/x/huge", random.randbytes(3 << 20))
    saved(lesson)
    known = settings.load(lesson.config)
    monkeypatch.setattr(scratch, "room", lambda _settings: 2 << 20)
    for path in ("s", ""):
        with pytest.raises(Refused, match="has no room to unpack that"):
            restoring.restore(known, "ada", path)
    restoring.restore(known, "ada", "ps1", test=True)
    told = drilling.drill(known).table["files"]
    assert re.match(r"done: \d+ restored; .*; 1 had no room here", told), told
    monkeypatch.setattr(scratch, "room", lambda _settings: 1 << 10)
    with pytest.raises(Refused, match="no room to unpack the databases"):
        drilling.drill(known)


def test_what_is_left_and_cannot_be_removed_stops_nobody(lesson):
    saved(lesson)
    (lesson.state / "scratch").mkdir()
    (lesson.state / "scratch/odd").write_text("no directory")
    assert lesson.say("drill").code == 0


# -- databases


@contextmanager
def writer(path: Path):
    """A process that adds rows in pairs, and holds each transaction for a moment; killed at the end."""
    program = f"""
import sqlite3, time
database = sqlite3.connect({str(path)!r}, timeout=60)
number = 0
while True:
    with database:
        database.execute("insert into row (text) values (?)", (f"a{{number}}",))
        time.sleep(0.002)
        database.execute("insert into row (text) values (?)", (f"b{{number}}",))
    number += 1
"""
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        try:
            yield
            assert process.poll() is None, "it ended by itself"
        finally:
            process.kill()


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_databases_are_whole_although_somebody_writes(lesson, mode):
    with closing(sqlite3.connect(lesson.gradebook)) as database:
        database.execute(f"pragma journal_mode = {mode}")
    with writer(lesson.gradebook):
        wait_until("it writes", lambda: len(lesson.rows(lesson.gradebook)) > 20, 30)
        for _ in range(3):
            saved(lesson)
            staged = lesson.state / "stage" / databases.staged_name(lesson.gradebook)
            databases.check(staged)
            rows = lesson.rows(staged)[1:]
            assert len(rows) >= 20
            assert len(rows) % 2 == 0, "half of a transaction"
    listed = lesson.restic("ls", "latest")
    assert str(staged) in listed
    assert "gradebook.db\n" not in listed.replace(str(staged), "")


def test_a_damaged_database_is_told_and_the_rest_is_saved(lesson):
    saved(lesson)
    with closing(sqlite3.connect(lesson.gradebook)) as database:
        database.executemany("insert into row (text) values (?)", [("x" * 500,)] * 2000)
        database.commit()
    with open(lesson.gradebook, "r+b") as file:
        file.seek(8 * 4096)
        file.write(b"\xff" * 4096 * 20)
    lesson.write("ada", "new.txt", "new")
    answer = lesson.say("backup")
    assert answer.code == 1
    assert answer.table[str(lesson.gradebook)].startswith("failed: was not saved: ")
    assert answer.table["files"].startswith("done: saved as")
    assert "new.txt" in lesson.restic("ls", "latest")
    told = lesson.say("snapshots")
    assert told.code == 1
    assert "gradebook.db: was not saved" in told.table["backup"]


def test_a_database_that_somebody_keeps_locked_is_not_waited_for_for_ever(
    lesson, monkeypatch, tmp_path
):
    monkeypatch.setattr(databases, "WAIT", 0.3)
    with closing(sqlite3.connect(lesson.gradebook)) as holder:
        holder.execute("begin exclusive")
        with pytest.raises(sqlite3.OperationalError, match="kept it locked|database is locked"):
            databases.copy(lesson.gradebook, tmp_path / "copy")


# -- the wrong world


def test_an_empty_disk_in_the_place_of_the_homes_is_not_saved(lesson):
    saved(lesson)
    os.rename(lesson.home, lesson.top / "elsewhere")
    lesson.home.mkdir()
    for verb in ("backup", "prune", "drill"):
        answer = lesson.say(verb)
        assert answer.code == 2
        assert "is not the class's filesystem. Is its disk mounted?" in answer.error
    assert len(json.loads(lesson.restic("snapshots", "--json"))) == 1


def test_a_disk_that_goes_away_meanwhile_is_not_saved(lesson):
    """It goes when restic has begun: the snapshot is taken back."""
    saved(lesson)
    slow = lesson.top / "bin"
    slow.mkdir()
    real = shutil.which("restic")
    moved = f"mv {lesson.home} {lesson.top}/elsewhere; mkdir {lesson.home}"
    (slow / "restic").write_text(
        f'#!/bin/sh\ncase "$*" in *" backup "*) {moved};; esac\nexec {real} "$@"\n'
    )
    (slow / "restic").chmod(0o755)
    lesson.configure(environment={"PATH": f"{slow}:/usr/bin:/bin"})
    answer = lesson.say("backup")
    assert answer.code == 2
    assert "Nothing was saved in its place" in answer.error
    assert len(json.loads(lesson.restic("snapshots", "--json"))) == 1


def test_a_host_without_a_class_saves_nothing_and_does_not_fail(lesson):
    lesson.burn_down()
    answer = lesson.say("backup")
    assert (answer.code, answer.table) == (
        0,
        {"files": "skipped: there is no class on this host yet"},
    )
    assert not Path(lesson.repository).exists()


def test_a_new_class_does_not_write_over_an_old_ones_backup(lesson):
    """The hub was lost, and somebody deployed it anew before it was recovered."""
    saved(lesson)
    lesson.burn_down()
    lesson.found()
    for path in (lesson.home / ".classhub/filesystem.json", lesson.var / "filesystem.json"):
        path.write_text('{"id": "another-class"}')
    for verb in ("backup", "prune", "drill", "snapshots"):
        answer = lesson.say(verb)
        assert answer.code == 2
        assert "has the backups of another class (class-the-class)" in answer.error
    assert len(json.loads(lesson.restic("snapshots", "--json"))) == 1


def test_a_wrong_password(lesson):
    saved(lesson)
    lesson.configure(password="wrong")
    for verb in ("backup", "prune", "drill", "snapshots"):
        answer = lesson.say(verb)
        assert answer.code == 2
        assert "the password does not open it" in answer.error
        assert "wrong" not in answer.error.replace("wrong password or no key found", "")
    assert "the password does not open it" in lesson.say("health").table["backup"]


def test_a_repository_that_vanished_is_not_begun_anew(lesson):
    saved(lesson)
    os.rename(lesson.repository, lesson.top / "moved")
    Path(lesson.repository).mkdir()
    for verb in ("backup", "prune", "drill", "snapshots"):
        answer = lesson.say(verb)
        assert answer.code == 2
        assert "Is its disk mounted" in answer.error
    assert os.listdir(lesson.repository) == []
    told = lesson.say("health")
    assert told.code == 1
    assert told.table["backup"].startswith("failed: the repository")
    os.rmdir(lesson.repository)
    os.rename(lesson.top / "moved", lesson.repository)
    saved(lesson)


def test_another_repository_in_its_place_is_refused(lesson):
    saved(lesson)
    shutil.rmtree(lesson.repository)
    shutil.rmtree(lesson.top / "cache")
    lesson.restic("init")
    assert "is another repository than before" in lesson.say("backup").error
    (lesson.state / "repository.json").unlink()
    saved(lesson)


def test_a_full_repository_says_so_and_what_is_saved_stays(lesson):
    disk = lesson.top / "disk"
    disk.mkdir()
    with small_disk(disk) as filler:
        lesson.repository = str(disk / "repository")
        lesson.configure()
        saved(lesson)
        lesson.write("ada", "large", random.randbytes(8 << 20))
        answer = lesson.say("backup")
        assert answer.code == 2
        assert "it is full" in answer.error
        (lesson.home / "ada/large").unlink()
        fill(filler, 0)
        assert "it is full" in lesson.say("backup").error
        assert (lesson.home / "ada" / restored_as(lesson.say("restore", "ada", NOTEBOOK))).exists()
        filler.unlink()
        saved(lesson)
        assert lesson.say("prune").code == 0


def test_a_full_disk_of_the_hub_is_not_called_a_full_repository(lesson):
    """restic puts together there what it sends."""
    cache = lesson.top / "small"
    cache.mkdir()
    with small_disk(cache):
        lesson.configure(cache=str(cache))
        lesson.write("ada", "large", random.randbytes(12 << 20))
        answer = lesson.say("backup")
    assert answer.code == 2
    assert answer.error.startswith("the hub's own disk is full (")


OPEN = "Fatal: unable to open config file: "
WHERE = "\nIs there a repository at the following location?\ns3:https://192.0.2.1/class"
AWAY = [
    ("Stat: The specified key does not exist.", True, "there is no repository at"),
    ("Lstat: file does not exist", True, "there is no repository at"),
    ("stat /mnt/r/config: no such file or directory", True, "there is no repository at"),
    ('Head "https://192.0.2.1": connect: network is unreachable', False, "it cannot be reached"),
    ("stat /mnt/r/config: stale NFS file handle", False, "it cannot be reached"),
]


@pytest.mark.parametrize(("words", "absent", "meaning"), AWAY)
def test_a_repository_that_cannot_be_reached_is_not_called_lost(words, absent, meaning):
    """For one that is lost it is advised to delete what this hub knows of it."""
    error = Restic(ZONE).trouble(OPEN + words + WHERE)
    assert (isinstance(error, Absent), meaning in str(error)) == (absent, True)


def are_gone(group: int) -> bool:
    """Whether no process of a group is left, a dead one that nobody has looked at included."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_killed_backup_hinders_no_later_one(lesson):
    """Killed with all its processes, while restic writes: its lock stays in the repository."""
    saved(lesson)
    lesson.write("ada", "large", random.randbytes(64 << 20))
    locks = Path(lesson.repository, "locks")
    process = subprocess.Popen(
        lesson.command("backup"),
        env=lesson.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    packs = len(list(Path(lesson.repository, "data").rglob("*")))
    wait_until(
        "it writes",
        lambda: len(list(Path(lesson.repository, "data").rglob("*"))) > packs,
        60,
        pause=0.005,
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    wait_until("its processes are gone", lambda: are_gone(process.pid), 30)
    assert list(locks.iterdir()), "it was over already"
    saved(lesson)
    assert list(locks.iterdir()) == []
    assert lesson.say("drill").code == 0
    assert lesson.say("prune").code == 0
    lesson.restic("check", "--read-data")


def test_one_run_at_a_time(lesson):
    saved(lesson)
    known = settings.load(lesson.config)
    with guard.held(known, "work", guard.fcntl.LOCK_EX):
        with (
            pytest.raises(Refused, match="another run works with the repository"),
            guard.held(known, "work", guard.fcntl.LOCK_EX, patience=0),
        ):
            pass
        # who only reads does not wait for a backup
        assert lesson.say("restore", "ada", NOTEBOOK).code == 0


def test_a_link_in_the_place_of_a_tree_is_refused(lesson):
    """restic would save the link alone."""
    os.rename(lesson.home, lesson.top / "elsewhere")
    lesson.home.symlink_to(lesson.top / "elsewhere")
    answer = lesson.say("backup")
    assert answer.code == 2
    assert "is a symbolic link" in answer.error


# -- the drill


def test_a_drill_compares_what_has_not_changed(lesson):
    saved(lesson)
    (lesson.home / "ada" / NOTEBOOK).write_text("changed since")
    (lesson.home / "bob" / NOTEBOOK).unlink()
    answer = lesson.say("drill")
    assert answer.code == 0
    found = re.search(
        r"(\d+) restored; (\d+) compared with the class's, 2 have changed", answer.table["files"]
    )
    assert found, answer
    assert int(found[1]) == int(found[2]) + 2
    assert list((lesson.state / "scratch").iterdir()) == []
    assert lesson.say("health").table["drill"].startswith("done: ")


def test_a_drill_finds_what_is_not_what_was_saved(lesson):
    """A disk that rots: the content changed, and neither size nor times did."""
    path = lesson.home / "ada" / NOTEBOOK
    saved(lesson)
    device = path.stat()
    # as a rotten block would be: below the file system's clock
    clock = datetime.fromtimestamp(device.st_ctime, UTC)
    path.write_text("ada's anger!")
    assert path.stat().st_ctime_ns != device.st_ctime_ns
    node = {"path": str(path), "type": "file", "size": 12}
    node |= {
        "ctime": f"{datetime.fromtimestamp(path.stat().st_ctime_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}."
    }
    node["ctime"] += f"{path.stat().st_ctime_ns % 10**9:09}Z"
    copy = lesson.top / "copy"
    copy.write_text("ada's answer")
    assert drilling.compare(node, copy) is False
    copy.write_text("ada's anger!")
    assert drilling.compare(node, copy) is True
    assert drilling.compare(node | {"ctime": f"{clock:%Y-%m-%dT%H:%M:%SZ}"}, copy) is None


def test_a_drill_follows_no_link_that_came_in_the_place_of_a_directory(lesson):
    saved(lesson)
    os.rename(lesson.home / "ada/ps1", lesson.home / "ada/old")
    (lesson.home / "ada/ps1").symlink_to(lesson.home / "bob/ps1")
    answer = lesson.say("drill")
    assert answer.code == 0
    assert "1 have changed since" in answer.table["files"]


def damage(lesson: SavedClass) -> None:
    """Spoil the pack that has the content of the largest file."""
    packs = Path(lesson.repository, "data").rglob("*")
    pack = max((path for path in packs if path.is_file()), key=lambda path: path.stat().st_size)
    pack.chmod(0o600)
    with pack.open("r+b") as file:
        file.seek(pack.stat().st_size // 2)
        file.write(b"rotten rotten rotten")


def test_a_damaged_pack_is_found_by_the_drill_and_by_the_weekly_check(lesson, monkeypatch):
    lesson.write("ada", "large", random.randbytes(3 << 20))
    saved(lesson)
    damage(lesson)
    shutil.rmtree(lesson.top / "cache")
    answer = lesson.say("drill")
    assert answer.code == 1
    large = str(lesson.home / "ada/large")
    assert answer.table[large].startswith("failed: ciphertext verification failed")
    told = lesson.say("snapshots")
    assert told.code == 1
    assert large in told.table["drill"]

    given = lesson.say("restore", "ada", "large")
    assert (given.code, given.table) == (2, {})
    assert "cannot be restored: ciphertext verification failed" in given.error
    part = lesson.say("restore", "ada")
    assert part.code == 1
    assert part.table["ada"].startswith("failed: 1 files could not be restored; done: restored as")
    assert part.summary["left_out"] == ["large: ciphertext verification failed"]
    assert not list((lesson.home / "ada").glob("restored*/large"))
    assert list((lesson.home / "ada").glob(f"restored*/{NOTEBOOK}"))

    from classhub.backup import pruning

    monkeypatch.setattr(pruning, "PARTS", 1)
    report = pruning.prune(settings.load(lesson.config))
    assert report.table["data"].startswith("failed: the repository is damaged")


def test_a_drill_without_a_backup_fails(lesson):
    lesson.restic("init")
    answer = lesson.say("drill")
    assert (answer.code, answer.error) == (2, "there is no backup yet: say classhub.backup")


# -- the policy


def test_prune_keeps_the_policy(lesson):
    """Snapshots of seven days, two a day."""
    saved(lesson)
    begin = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    tags = ["--tag", "classhub,class-the-class", "--host", "classhub"]
    for hours in range(0, 168, 12):
        when = f"{begin - timedelta(hours=hours + 1):%Y-%m-%d %H:%M:%S}"
        lesson.restic("backup", *tags, "--time", when, str(lesson.etc))
    lesson.restic(
        "backup", "--time", f"{begin - timedelta(days=90):%Y-%m-%d %H:%M:%S}", str(lesson.etc)
    )
    lesson.configure(keep={"hourly": 6, "daily": 4, "weekly": 0, "monthly": 0})
    before = json.loads(lesson.restic("snapshots", "--json"))
    predicted = lesson.say("prune", "--test")
    assert predicted.code == 0
    assert json.loads(lesson.restic("snapshots", "--json")) == before
    assert lesson.say("prune").code == 0
    left = json.loads(lesson.restic("snapshots", "--json", "--tag", "classhub"))
    hours = sorted({one["time"][:13] for one in before if one.get("tags")}, reverse=True)
    assert {one["time"][:13] for one in left} >= set(hours[:6])
    days = {one["time"][:10] for one in left}
    assert days == set(sorted({hour[:10] for hour in hours}, reverse=True)[: len(days)])
    assert len(days) in (4, 5)
    # whoever else keeps something there keeps it
    assert len(json.loads(lesson.restic("snapshots", "--json"))) == len(left) + 1


# -- times


ZONE = settings.Settings("r", "p", timezone="Europe/Paris")
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
MOMENTS = [
    ("2026-11-28 14:00", "2026-11-28T13:00:59+00:00"),
    ("2026-11-28T14:00:05", "2026-11-28T13:00:05+00:00"),
    ("yesterday 14:00", "2026-11-27T13:00:59+00:00"),
    ("Today 9:05", "2026-11-28T08:05:59+00:00"),
    ("2026-11-28", "2026-11-28T22:59:59"),
    ("2026-11-28T14:00:00Z", "2026-11-28T14:00:59+00:00"),
]


@pytest.mark.parametrize(("text", "meant"), MOMENTS)
def test_times_are_the_courses(text, meant):
    assert snapshots.moment(text, ZONE, NOW).isoformat().startswith(meant)


@pytest.mark.parametrize(
    "text", ["tomorrow 14:00", "840", "14:00", "yesterday", "yesterday 25:00", "2026-13-01"]
)
def test_what_is_no_time(text):
    with pytest.raises(Refused, match="is not a time such as"):
        snapshots.moment(text, ZONE, NOW)


def test_the_newest_that_is_not_later_is_meant():
    found = [Snapshot(f"{n}" * 64, NOW + timedelta(hours=n), (), ()) for n in range(3)]
    assert [one.name for one in snapshots.chosen(ZONE, found, "")] == ["2" * 8, "1" * 8, "0" * 8]
    assert snapshots.chosen(ZONE, found, "2026-11-28 14:00")[0].name == "1" * 8
    assert snapshots.chosen(ZONE, found, "0" * 8) == [found[0]]
    with pytest.raises(
        Refused, match="nothing is saved of 2026-11-28 12:00 or before; there are 22222222 of"
    ):
        snapshots.chosen(ZONE, found, "2026-11-28 12:00")
    with pytest.raises(Refused, match="there is no snapshot abcdef01"):
        snapshots.chosen(ZONE, found, "abcdef01")


def test_an_old_backup_is_overdue(lesson):
    saved(lesson)
    assert lesson.say("snapshots").code == 0
    known = record.read(settings.load(lesson.config))
    known["backup"]["at"] = "2026-01-31T12:00:00+00:00"
    record.write(lesson.state / "record.json", known)
    for verb in ("health", "snapshots"):
        told = lesson.say(verb)
        assert (told.code, told.table["backup"]) == (
            1,
            "failed: overdue, the last was 2026-01-31 13:00",
        )


def test_a_first_backup_that_never_ends_is_overdue(lesson):
    """Killed each time; the first of them counts."""
    lesson.write("ada", "large", random.randbytes(64 << 20))
    for _ in range(2):
        with subprocess.Popen(
            lesson.command("backup"), env=lesson.environment, stderr=subprocess.DEVNULL
        ) as process:
            wait_until("it writes", Path(lesson.repository, "data").exists, 60, pause=0.005)
            process.send_signal(signal.SIGTERM)
        told = lesson.say("health").table["backup"]
        assert told.startswith("skipped: the first began "), told
    known = settings.load(lesson.config)
    began = record.read(known)["backup"]["begun"]
    record.begin(known, "backup")
    assert record.read(known)["backup"]["begun"] == began
    record.write(lesson.state / "record.json", {"backup": {"begun": "2026-01-31T12:00:00+00:00"}})
    told = lesson.say("health")
    assert (told.code, told.table["backup"]) == (
        1,
        "failed: overdue, begun 2026-01-31 13:00 and never ended",
    )
    saved(lesson)
    assert lesson.say("health").code == 0


def test_what_never_ran_is_overdue_at_last(lesson):
    old = dataclasses.replace(settings.load(lesson.config), since=0)
    assert snapshots.health(old) == dict.fromkeys(
        ("backup", "drill", "prune"), "failed: overdue, has never run"
    )


@pytest.mark.parametrize("content", ["", "[]", '{"backup": "well"}'])
def test_a_record_that_cannot_be_read_is_told_and_begun_anew(lesson, content):
    saved(lesson)
    (lesson.state / "record.json").write_text(content)
    for verb in ("health", "snapshots"):
        told = lesson.say(verb)
        assert told.code == 1
        assert "record.json cannot be read" in told.table["backup"]
    saved(lesson)
    assert lesson.say("health").code == 0


def test_names_and_patterns():
    assert list(restoring.free_names(("a", "b.tar.gz"), "2026-01-31 14:00"))[:2] == [
        "b.tar (restored 2026-01-31 14.00).gz",
        "b.tar (restored 2026-01-31 14.00, 2).gz",
    ]
    assert next(restoring.free_names((), "2026-01-31 14:00")) == "restored 2026-01-31 14.00"
    assert next(restoring.free_names((".profile",), "now")) == ".profile (restored now)"
    long = next(restoring.free_names(("ü" * 127,), "now"))
    assert len(long.encode()) <= 255
    assert long.endswith("ü (restored now)")
    assert literal("/a*b[c]?\\") == "/a\\*b\\[c]\\?\\\\"
    assert nanoseconds("2026-11-29T13:09:23.895031945Z") % 10**9 == 895031945
    assert nanoseconds("2026-11-29T14:09:23.5+01:00") == nanoseconds("2026-11-29T13:09:23.500Z")


# -- the whole class


def full_class(lesson: SavedClass) -> None:
    """What a class has: odd files, links, owners, rights, holes."""
    home, uid = lesson.home / "ada", lesson.uid("ada")
    os.link(home / NOTEBOOK, home / "again.ipynb")
    (home / "link").symlink_to("/etc/passwd")
    (home / "dangling").symlink_to("nowhere")
    lesson.write("ada", "a*b[1]\n.txt", "odd").chmod(0o400)
    lesson.write("ada", "closed/inner", "x").parent.chmod(0)
    with open(home / "hole", "wb") as file:
        file.truncate(3 << 20)
    for name in ("link", "dangling", "hole"):
        os.chown(home / name, uid, uid, follow_symlinks=False)
    inbound = lesson.home / ".classhub/exchange/intro/students/ada/inbound"
    inbound.mkdir(parents=True)
    os.chown(inbound, uid, uid)
    lesson.activity.parent.chmod(0o2750)
    sealed = lesson.var / "sealed/ps1/ada/1/files"
    sealed.mkdir(parents=True)
    (sealed / "problem1.ipynb").write_text("sealed")
    for path in (*lesson.home.rglob("*"), *lesson.var.rglob("*")):
        os.utime(path, ns=(10**18, 10**18 + path.lstat().st_ino), follow_symlinks=False)


def without_databases(lesson: SavedClass) -> dict[str, tuple]:
    found = tree(lesson.top / "hub")
    ours = ("var/backup", "home/.classhub/images")
    names = [name for name in found if name.startswith(ours) or name.endswith((".sqlite", ".db"))]
    # their directories change with them
    names += ["var", "var/course", "jupyterhub", "stats", "home/.classhub"]
    return {name: told for name, told in found.items() if name not in names}


def test_a_class_is_recovered_on_a_new_hub(lesson):
    full_class(lesson)
    os.chown(lesson.hub_db, 33, 33)
    lesson.hub_db.chmod(0o640)
    before, taken = without_databases(lesson), saved(lesson)
    rows = {path: lesson.rows(path) for path in (lesson.hub_db, lesson.gradebook, lesson.activity)}

    refused = lesson.say("recover")
    assert refused.code == 2
    assert "this hub has a class already" in refused.error
    assert str(lesson.var / "uids.json") in refused.error

    lesson.burn_down()
    predicted = lesson.say("recover", "--test")
    assert predicted.code == 0
    assert "would restore" in predicted.table["files"]
    assert not (lesson.var / "uids.json").exists()

    began = time.monotonic()
    answer = lesson.say("recover")
    print(f"recovered in {time.monotonic() - began:.1f} s")
    assert answer.code == 0, answer
    assert answer.summary["snapshot"] == taken
    assert answer.summary["next"] == "salt-run classhub.deploy"
    assert without_databases(lesson) == before
    assert {path: lesson.rows(path) for path in rows} == rows
    found = lesson.hub_db.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (33, 33, 0o640)
    assert stat.S_IMODE(lesson.activity.parent.stat().st_mode) == 0o2750

    # and it goes on as the class that it was
    saved(lesson)
    assert lesson.say("drill").code == 0
    assert "this hub has a class already" in lesson.say("recover").error


def test_a_recovery_that_was_killed_is_ended_by_the_next(lesson):
    lesson.write("ada", "large", random.randbytes(64 << 20))
    saved(lesson)
    lesson.burn_down()
    process = subprocess.Popen(
        lesson.command("recover"),
        env=lesson.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_until("it restores", (lesson.home / "ada").exists, 60, pause=0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert (lesson.state / "recovering.json").exists(), "it was over already"
    if (lesson.home / ".classhub/filesystem.json").exists():
        assert "a recovery was begun on this hub and not finished" in lesson.say("backup").error
    answer = lesson.say("recover")
    assert answer.code == 0, answer
    assert (lesson.home / "ada" / NOTEBOOK).read_text() == "ada's answer"
    saved(lesson)


def test_a_recovery_that_was_killed_at_its_end_is_done_again_whole(lesson):
    """restic does not restore a link where one is, and removes what is a file's second name."""
    full_class(lesson)
    odd = [
        lesson.home / "ada" / os.fsdecode(name)
        for name in (b"pipe", b"pi\xff\xe2\x82", b"pi\xfe\xe2\x82")
    ]
    for path in odd:
        os.mkfifo(path)
        os.utime(path, ns=(10**18, 10**18))
    os.utime(lesson.home / "ada", ns=(10**18, 10**18))
    before, taken = without_databases(lesson), saved(lesson)
    lesson.burn_down()
    assert lesson.say("recover").code == 0
    (lesson.home / "ada/own").symlink_to("of-the-new-host")
    (lesson.state / "recovering.json").write_text(json.dumps({"snapshot": taken}))
    answer = lesson.say("recover")
    assert answer.code == 0, answer
    assert os.readlink(lesson.home / "ada/own") == "of-the-new-host"
    (lesson.home / "ada/own").unlink()
    os.utime(lesson.home / "ada", ns=(10**18, 10**18))
    assert without_databases(lesson) == before


def test_a_damaged_file_does_not_keep_the_class_from_its_recovery(lesson):
    lesson.write("ada", "large", random.randbytes(3 << 20))
    saved(lesson)
    damage(lesson)
    lesson.burn_down()
    answer = lesson.say("recover")
    assert answer.code == 1
    large = str(lesson.home / "ada/large")
    failed = {what: told for what, told in answer.table.items() if told.startswith("failed")}
    assert failed == {large: "failed: ciphertext verification failed"}
    assert answer.summary["next"] == "salt-run classhub.deploy"
    assert lesson.rows(lesson.gradebook) == ["gradebook"]
    assert (lesson.home / "bob" / NOTEBOOK).read_text() == "bob's answer"
    saved(lesson)


def without_gradebook(lesson: SavedClass) -> str:
    """Save a class whose gradebook is broken; the snapshot's name."""
    lesson.gradebook.write_bytes(b"rotten" * 4096)
    answer = lesson.say("backup")
    assert answer.code == 1
    return answer.summary["snapshot"]


def test_a_snapshot_that_lacks_a_database_is_not_recovered_unawares(lesson):
    whole, without = saved(lesson), without_gradebook(lesson)
    lesson.burn_down()
    for words in ((), ("--test",)):
        answer = lesson.say("recover", *words)
        assert (answer.code, list(lesson.home.iterdir())) == (2, [])
        assert f"{lesson.gradebook}: was not saved: " in answer.error
    for words in (("--test",), ()):
        answer = lesson.say("recover", "--at", without, *words)
        assert (answer.code, not list(lesson.home.iterdir())) == (1, bool(words))
        failed = [what for what, told in answer.table.items() if told.startswith("failed")]
        assert failed == [str(lesson.gradebook)]
    assert answer.summary["next"] == "salt-run classhub.deploy"
    assert not lesson.gradebook.exists()
    lesson.burn_down()
    assert lesson.say("recover", "--at", whole).code == 0
    assert lesson.rows(lesson.gradebook) == ["gradebook"]


def test_a_snapshot_that_does_not_say_what_it_lacks_is_not_recovered_unawares(lesson):
    """As it was written before that was noted."""
    without_gradebook(lesson)
    manifest = lesson.state / "stage" / databases.MANIFEST
    told = json.loads(manifest.read_text())
    del told["lacking"]
    manifest.write_text(json.dumps(told))
    tags = ["--tag", "classhub,class-the-class", "--host", "classhub"]
    lesson.restic("backup", *tags, str(lesson.home), str(lesson.var))
    lesson.burn_down()
    assert f"{lesson.gradebook}: is not in it" in lesson.say("recover").error


def test_a_database_that_was_not_there_yet_is_not_missed(lesson):
    lesson.activity.unlink()
    saved(lesson)
    lesson.burn_down()
    answer = lesson.say("recover")
    assert answer.code == 0
    assert answer.table[str(lesson.activity)] == "skipped: is not there yet"


def test_a_copy_of_a_database_that_is_damaged_is_found_before_anything_is_restored(lesson):
    with closing(sqlite3.connect(lesson.gradebook)) as database:
        database.execute("insert into row (text) values (hex(randomblob(2000000)))")
        database.commit()
    saved(lesson)
    damage(lesson)
    lesson.burn_down()
    answer = lesson.say("recover", "--test")
    assert (answer.code, list(lesson.home.iterdir())) == (2, [])
    assert f"{lesson.gradebook}: ciphertext verification failed" in answer.error


@pytest.mark.parametrize("words", [(), ("--test",)])
def test_a_recovery_that_was_begun_takes_no_other_snapshot(lesson, words):
    """What the first one restored would be mixed with it."""
    first, second = saved(lesson), saved(lesson)
    lesson.burn_down()
    lesson.state.mkdir(parents=True)
    (lesson.state / "recovering.json").write_text(json.dumps({"snapshot": second}))
    answer = lesson.say("recover", "--at", first, *words)
    assert (answer.code, list(lesson.home.iterdir())) == (2, [])
    assert f"a recovery of {second} was begun on this hub" in answer.error
    assert lesson.say("recover", "--at", second, *words).code == 0


def test_accounts_with_other_numbers_get_their_files(lesson, monkeypatch):
    """The hub's own accounts have other numbers on the new host, and two have changed places."""
    (lesson.etc / "own").write_text("x")
    os.link(lesson.etc / "own", lesson.etc / "again")
    deep = make_deep(lesson.etc)
    for path in (lesson.etc / "own", deep):
        os.chown(path, 33, 34)
    (lesson.hub_db.parent / "cookie_secret").write_text("x")
    os.chown(lesson.hub_db.parent / "cookie_secret", 34, 33)
    os.chown(lesson.hub_db, 33, 33)
    saved(lesson)
    lesson.burn_down()
    real = databases.accounts()
    swapped = {
        kind: known | {"www-data": known["backup"], "backup": known["www-data"]}
        for kind, known in real.items()
    }
    monkeypatch.setattr(databases, "accounts", lambda: swapped)
    from classhub.backup import recovering

    assert not recovering.recover(settings.load(lesson.config)).failed
    owners = {
        path.name: (path.stat().st_uid, path.stat().st_gid)
        for path in (lesson.etc / "own", lesson.hub_db.parent / "cookie_secret", lesson.hub_db)
    }
    assert (deep.stat().st_uid, deep.stat().st_gid) == (34, 33)
    assert owners == {"own": (34, 33), "cookie_secret": (33, 34), lesson.hub_db.name: (34, 34)}


def test_a_host_that_lacks_an_account_is_refused(lesson, monkeypatch):
    os.chown(lesson.hub_db.parent, 33, 33)
    saved(lesson)
    lesson.burn_down()
    real = databases.accounts()
    less = {
        kind: {k: v for k, v in known.items() if k != "www-data"} for kind, known in real.items()
    }
    monkeypatch.setattr(databases, "accounts", lambda: less)
    from classhub.backup import recovering

    with pytest.raises(
        Refused, match=r"lacks accounts that files of the class belong to \(www-data\)"
    ):
        recovering.recover(settings.load(lesson.config))
    assert not lesson.var.joinpath("uids.json").exists()


def test_a_hub_without_room_is_refused(lesson):
    saved(lesson)
    lesson.burn_down()
    with small_disk(lesson.home):
        answer = lesson.say("recover")
    assert answer.code == 2
    assert "MiB free, and the class has" in answer.error
    assert not (lesson.var / "uids.json").exists()


# -- other places


@contextmanager
def ssh_server(top: Path):
    """sshd on a port of its own, for whoever has its key."""
    for name in ("host_key", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", top / name], check=True
        )
    (top / "authorized").write_bytes((top / "key.pub").read_bytes())
    (top / "sshd_config").write_text(
        f"Port {PORT}\nListenAddress 127.0.0.1\nHostKey {top}/host_key\nPidFile {top}/sshd.pid\n"
        f"AuthorizedKeysFile {top}/authorized\nStrictModes no\nPermitRootLogin yes\nUsePAM no\n"
        "PasswordAuthentication no\nSubsystem sftp internal-sftp\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    with subprocess.Popen(
        ["/usr/sbin/sshd", "-D", "-e", "-f", top / "sshd_config"], stderr=subprocess.DEVNULL
    ) as server:
        try:
            scan = ["ssh-keyscan", "-p", str(PORT), "127.0.0.1"]

            def scanned() -> str:
                return subprocess.run(scan, capture_output=True, text=True, check=False).stdout

            wait_until("sshd answers", scanned, 30)
            (top / "known_hosts").write_text(scanned())
            yield
        finally:
            server.terminate()


PORT = 22987


def test_a_repository_by_sftp(lesson):
    address = f"sftp://{getpass.getuser()}@127.0.0.1:{PORT}/{lesson.top}/far"
    given = {"ssh_key": str(lesson.top / "key"), "known_hosts": str(lesson.top / "known_hosts")}
    lesson.configure(repository=address, **given)
    with ssh_server(lesson.top):
        saved(lesson)
        assert lesson.say("drill").code == 0
        assert (lesson.home / "ada" / restored_as(lesson.say("restore", "ada", NOTEBOOK))).exists()
        (lesson.top / "known_hosts").write_text("")
        assert "it cannot be reached" in lesson.say("backup").error
    answer = lesson.say("backup")
    assert answer.code == 2
    assert "it cannot be reached" in answer.error


def test_a_repository_in_an_object_store(lesson):
    key = {"AWS_ACCESS_KEY_ID": "example", "AWS_SECRET_ACCESS_KEY": "not-a-secret"}
    store = {"repository": "s3:http://127.0.0.1:22988/class", "environment": key}
    lesson.configure(**store)
    with subprocess.Popen(
        [ROOT / ".cache/s3/bin/moto_server", "-H", "127.0.0.1", "-p", "22988"]
    ) as server:
        try:
            wait_until("the store answers", lambda: lesson.say("backup").code == 0, 60)
            assert lesson.say("drill").code == 0
            restored_as(lesson.say("restore", "ada", NOTEBOOK))
            lesson.configure(**store | {"environment": {}})
            assert "it does not let the class in" in lesson.say("backup").error
            lesson.configure(**store)
            lesson.burn_down()
            assert lesson.say("recover").code == 0
        finally:
            server.terminate()
    assert "it cannot be reached" in lesson.say("backup").error


def test_restic_is_told_no_more_than_it_needs(lesson):
    """The password is in no argument, which every account of the hub could read."""
    found: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    found.add(path.read_bytes().decode(errors="replace"))
                except OSError:
                    continue

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        saved(lesson)
    finally:
        done.set()
        watcher.join()
    ran = [line for line in found if "restic" in line and "\0backup\0" in line]
    assert ran
    assert not any(PASSWORD in line for line in found)
