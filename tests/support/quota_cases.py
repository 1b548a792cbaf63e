"""What quotas do to the class, for a kernel that keeps them: tests/functional/test_quotas.py runs these in one."""

import errno
import io
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from tests.support.loading import ROOT, load
from tests.support.student_server import UID, student_server

sys.path.insert(0, str(ROOT / "salt" / "hub" / "package"))

from classhub.course import homes  # noqa: E402
from classhub.course.__main__ import main  # noqa: E402
from classhub.course.homes import Home  # noqa: E402
from classhub.course.report import Unfit  # noqa: E402
from classhub.course.settings import Person  # noqa: E402
from classhub.course.trees import Folder  # noqa: E402
from classhub.disk import quota  # noqa: E402
from classhub.disk.quota import Limits, NoQuotas  # noqa: E402
from classhub.disk.words import notice  # noqa: E402

MAKE = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-O", "quota", "-E", "quotatype=usrquota"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "plain": ["mkfs.ext4", "-q", "-F"],
}
GIB = 1 << 20  # in KiB
MINE = [4096, 5120, 0, 0]


class Class:
    """A hub with homes on a disk of their own."""

    def __init__(self, top: Path, homes: Path) -> None:
        self.top, self.homes = top, homes
        self.people = [{"username": "ada", "uid": 20001}, {"username": "bob", "uid": 20002}]

    def verb(self, *words: str, wanted: dict | None = None) -> tuple[int, dict]:
        paths = {name: str(self.top / name) for name in ("store", "quotas", "disk_state")}
        settings = {"course_id": "intro", "people": self.people, "homes": str(self.homes), **paths}
        (self.top / "store").mkdir(exist_ok=True)
        (self.top / "course.json").write_text(json.dumps(settings))
        words = ["--config", str(self.top / "course.json"), *words]
        told, wrong = io.StringIO(), io.StringIO()
        with redirect_stdout(told), redirect_stderr(wrong), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdin", io.StringIO(json.dumps(wanted or {})))
            code = main(words, modules=("disk.quotas", "disk.watch"))
        return code, json.loads(told.getvalue()) | {"words": wrong.getvalue()}

    def give(self, *words: str, **limits: list[int]) -> tuple[int, dict]:
        """Say `quotas` with everybody's limits; those of whom nothing is said are 0."""
        wanted = {
            one["username"]: {"uid": one["uid"], "limits": limits.get(one["username"], [0] * 4)}
            for one in self.people
        }
        code, told = self.verb("quotas", *words, wanted=wanted)
        return code, told.get("table", told)

    def limits(self, uid: int) -> tuple[int, ...]:
        return tuple(quota.read(self.homes).get(uid, quota.Usage()).limits)

    def home(self, name: str, uid: int) -> Path:
        made = self.homes / name
        made.mkdir(mode=0o700)
        os.chown(made, uid, uid)
        return made


def write(path: Path, uid: int, size: int) -> int:
    """How many bytes a student can write to a new file."""
    code = (
        "import os, sys\n"
        "fd, done = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), 0\n"
        "try:\n"
        "    while done < int(sys.argv[2]): done += os.write(fd, bytes(4096))\n"
        "    os.fsync(fd)\n"
        "except OSError as error: print(error.errno)\n"
        "print(done)\n"
    )
    student = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    command = [*student, "/usr/bin/python3", "-c", code, path, str(size)]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert told[:-1] in ([], [str(errno.EDQUOT)]), told
    return int(told[-1])


@contextmanager
def mounted(kind: str, place: Path, options: str):
    device = "/dev/ubdb" if kind == "xfs" else "/dev/ubda"
    subprocess.run([*MAKE[kind], device], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", options, device, place], check=True)
    place.chmod(0o755)
    for parent in place.parents:
        parent.chmod(parent.stat().st_mode | 0o111)  # pytest's are for root alone
    try:
        yield
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture(params=["ext4", "xfs"])
def course(request, tmp_path):
    with mounted(request.param, tmp_path / "homes", "usrquota"):
        yield Class(tmp_path, tmp_path / "homes")


@pytest.fixture
def on_ext4(tmp_path):
    with mounted("ext4", tmp_path / "homes", "usrquota"):
        yield Class(tmp_path, tmp_path / "homes")


def test_limits_are_set_for_all_and_a_second_run_changes_nothing(course):
    course.people = [{"username": f"s{n}", "uid": 20000 + n} for n in range(1000)]
    wanted = {one["username"]: [5 * GIB, 6 * GIB, 1000, 1100] for one in course.people}
    code, table = course.give("--test", **wanted)
    assert (code, len(table), set(table.values())) == (
        0, 1000, {"done: would have a quota of 5.0 GiB and 1000 files"},
    )  # fmt: skip
    assert course.limits(20999) == (0, 0, 0, 0)
    began = time.monotonic()
    code, table = course.give(**wanted)
    print(f"limits of 1000 people set in {time.monotonic() - began:.2f} s")
    assert (code, len(table)) == (0, 1000)
    assert set(table.values()) == {"done: a quota of 5.0 GiB and 1000 files"}
    assert course.limits(20999) == (5 * GIB, 6 * GIB, 1000, 1100)
    record = course.top / "quotas"
    before = record.stat().st_mtime_ns
    began = time.monotonic()
    assert course.give(**wanted) == (0, {})
    print(f"limits of 1000 people looked at in {time.monotonic() - began:.2f} s")
    assert record.stat().st_mtime_ns == before


def test_a_student_can_write_so_much_and_no_more(course):
    home = course.home("ada", 20001)
    course.home("bob", 20002)
    course.give(ada=MINE)
    assert 5000 << 10 <= write(home / "a", 20001, 8 << 20) <= 5120 << 10
    assert write(course.homes / "bob/b", 20002, 8 << 20) == 8 << 20
    code, told = course.verb("watch")
    assert (code, told["words"]) == (0, "")
    state = json.loads((course.top / "disk_state").read_text())
    assert state["people"].keys() == {"ada"}
    told = notice(state, "ada", time.time())
    assert (
        told
        == "Your home is full: your quota is 4.0 MiB, and nothing can be saved. Delete files that you do not need."
    )
    assert notice(state, "bob", time.time()) == ""
    _, told = course.verb("disk")
    assert list(told["summary"]["over"]) == ["ada"]
    assert told["summary"]["over"]["ada"].startswith("5.0 MiB of 4.0 MiB")
    largest = list(told["summary"]["largest"])
    assert largest[:2] == ["bob", "ada"]


def test_above_the_soft_limit_a_student_is_told_until_when(on_ext4):
    home = on_ext4.home("ada", 20001)
    on_ext4.give(ada=MINE)
    assert write(home / "a", 20001, 4400 << 10) == 4400 << 10
    on_ext4.verb("watch")
    state = json.loads((on_ext4.top / "disk_state").read_text())
    until = state["people"]["ada"]["until"]
    assert 6 * 86400 < until - time.time() <= 7 * 86400
    told = notice(state, "ada", time.time())
    assert told.startswith(
        "You have 4.3 MiB in your home, and your quota is 4.0 MiB. Delete files before 20"
    )
    assert notice(state, "ada", until).startswith("Your home is full") is False  # too old by then
    state["at"] = until
    assert notice(state, "ada", until).startswith("Your home is full")


def test_who_comes_who_goes_and_whose_limits_are_not_ours(course):
    quota.put(course.homes, {20009: Limits(*MINE), 20002: Limits(*MINE)})
    assert course.give() == (0, {})
    assert course.limits(20002) == tuple(MINE)  # by hand, and nobody of the class has a quota
    course.give(ada=MINE)
    course.people.append({"username": "cyn", "uid": 20003})
    assert course.give(ada=MINE, cyn=MINE) == (0, {"cyn": "done: a quota of 4.0 MiB"})
    course.people.pop(0)  # ada leaves
    told = {"ada": "done: no quota any more"}
    assert course.give("--test", cyn=MINE) == (0, {"ada": "done: would have no quota any more"})
    assert course.give(cyn=MINE) == (0, told)
    assert course.limits(20001) == (0, 0, 0, 0)
    quota.put(course.homes, {20003: Limits(1, 2, 3, 4)})  # changed by hand
    assert course.give(cyn=MINE) == (0, {"cyn": "done: a quota of 4.0 MiB"})
    assert course.give() == (0, {"cyn": "done: no quota any more"})
    assert course.give() == (0, {})
    assert course.limits(20009) == course.limits(20002) == tuple(MINE)


@pytest.mark.parametrize("kind", ["plain", "xfs"])
def test_a_filesystem_without_quotas_needs_nothing_until_somebody_is_to_have_one(tmp_path, kind):
    with mounted(kind, tmp_path / "homes", "defaults"):
        course = Class(tmp_path, tmp_path / "homes")
        assert course.give() == (0, {})
        code, told = course.give(ada=MINE)
        assert code == 2
        assert "keeps no quotas by user" in told["error"]
        assert told["error"].endswith("docs/howto/quotas.md says how to make it keep them")
        assert not (tmp_path / "quotas").exists()
        assert course.verb("watch")[0] == 0
        assert course.verb("disk")[1]["summary"]["quotas"].startswith("none: ")


def test_quotas_of_the_old_kind_that_are_not_switched_on_are_told(tmp_path):
    """Those of ext4 without the feature: usage is in a file, and counted from quotaon on."""
    with mounted("plain", tmp_path / "homes", "usrquota"):
        course = Class(tmp_path, tmp_path / "homes")
        subprocess.run(
            ["quotacheck", "--create-files", "--user", "--no-remount", course.homes], check=True
        )
        code, told = course.give(ada=MINE)
        assert code == 2
        assert told["error"] == (
            f"nobody has a quota: {course.homes} has quotas, but they are switched off. Say: quotaon --user {course.homes}"
        )
        subprocess.run(["quotaon", "--user", course.homes], check=True)
        assert course.give(ada=MINE) == (0, {"ada": "done: a quota of 4.0 MiB"})
        assert course.give(ada=MINE) == (0, {})


def test_homes_may_be_a_directory_of_the_filesystem_or_a_bind_mount_of_one(on_ext4):
    inner, bound = on_ext4.homes / "home", on_ext4.top / "bound"
    inner.mkdir()
    bound.mkdir()
    subprocess.run(["mount", "--bind", inner, bound], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", bound], check=True)  # as the unit has it
        for place in (inner, bound):
            course = Class(on_ext4.top, place)
            assert course.give(ada=MINE)[0] == 0
            assert course.limits(20001) == tuple(MINE)
            course.give()
    finally:
        subprocess.run(["umount", bound], check=True)
    with pytest.raises(NoQuotas, match="keeps no quotas"):
        quota.read(Path("/run"))


def test_what_the_unit_may_is_enough_to_look(on_ext4):
    on_ext4.give(ada=MINE)
    bounded = ["setpriv", "--bounding-set=-all,+sys_admin", "--inh-caps=-all", "--no-new-privs"]
    code = f"from classhub.disk import quota; from pathlib import Path; print(quota.read(Path({str(on_ext4.homes)!r}))[20001].limits.soft)"
    told = subprocess.run(
        [*bounded, sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT / "salt/hub/package")},
    )
    assert told.stdout == "4096\n"


def test_handing_out_work_keeps_to_the_quota_and_leaves_nothing_half_done(on_ext4, monkeypatch):
    monkeypatch.setattr(homes, "active_count", lambda: 1)  # Salt's plugins for pytest keep a thread
    home = on_ext4.home("ada", 20001)
    on_ext4.give(ada=MINE)
    write(home / "a", 20001, 8 << 20)
    before = sorted(home.rglob("*"))
    folder = Folder({"problem.ipynb": (b"x" * 50_000, False)})
    with (
        pytest.raises(Unfit, match="the quota is used up"),
        Home(Person("ada", 20001), on_ext4.homes) as opened,
    ):
        opened.write_tree(folder, "ps1")
    assert [path for path in sorted(home.rglob("*")) if path.name != ".classhub"] == before
    (home / "a").unlink()
    with Home(Person("ada", 20001), on_ext4.homes) as opened:
        opened.write_tree(folder, "ps1")
    assert (home / "ps1/problem.ipynb").stat().st_size == 50_000


def test_the_settings_become_these_limits(on_ext4):
    utils, sizes = load("utils", "classhub_quota"), load("utils", "classhub_settings").size
    people = [{"username": "ada", "role": "student"}, {"username": "bob", "role": "grader"}]
    given = {
        "roles": {"student": "20M", "grader": "1G"},
        "users": {"bob": 0},
        "files": 1000,
        "over": 0.1,
    }
    wanted = utils.limits(people, {"ada": 20001, "bob": 20002}, given, sizes)
    code, told = on_ext4.verb("quotas", wanted=wanted)
    assert (code, told["table"]) == (0, {"ada": "done: a quota of 20.0 MiB and 1000 files"})
    assert on_ext4.limits(20001) == (20 << 10, 22 << 10, 1000, 1100)


def test_a_server_works_and_deletes_at_the_quota(on_ext4):
    home = on_ext4.home("alice", UID)
    on_ext4.people = [{"username": "alice", "uid": UID}]
    (home / "a.ipynb").write_text(
        json.dumps({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5})
    )
    os.chown(home / "a.ipynb", UID, UID)
    on_ext4.give(alice=MINE)
    write(home / "big", UID, 8 << 20)
    old = (home / "a.ipynb").read_bytes()
    with student_server(on_ext4.top) as server:
        assert server.run_cell("a.ipynb", "print(6 * 7)") == "42\n"
        cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "y" * 9000}
        new = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        body = {"type": "notebook", "format": "json", "content": new}
        answer = server.call("PUT", "api/contents/a.ipynb", json=body)
        assert answer.status_code == 507
        assert answer.json()["message"].startswith("a.ipynb: your quota is used up. Delete files")
        assert (home / "a.ipynb").read_bytes() == old
        assert server.call("DELETE", "api/contents/big").status_code == 204
        assert server.call("PUT", "api/contents/a.ipynb", json=body).status_code == 200
