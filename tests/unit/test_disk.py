"""How the disk is told: to the operator, to the journal, and to students whose servers start."""

import io
import json
import os
import subprocess
import time
from argparse import Namespace
from types import SimpleNamespace

import pytest

import tests.support.hub  # noqa: F401  isort: skip

from classhub.activity.sampling import disk as sampled
from classhub.course.report import Refused
from classhub.course.settings import Person, Settings
from classhub.dashboard.metrics import homes
from classhub.disk import quota, quotas, watch, words
from classhub.disk.quota import Limits, NoQuotas, NoTools, Usage

MIB = 1 << 20
REPORT = """User,BlockStatus,FileStatus,BlockUsed,BlockSoftLimit,BlockHardLimit,BlockGrace,FileUsed,FileSoftLimit,FileHardLimit,FileGrace
#0,ok,ok,13,0,0,0,2,0,0,0
#20001,soft,ok,5117,4096,5120,1796562421,2,0,0,0
#20002,ok,soft,10,4096,5120,0,1005,1000,1100,1796562400
"""


@pytest.fixture
def tools(monkeypatch):
    """The answers of the tools, by name: code, standard output, standard error."""
    answers = {
        "findmnt": (0, '{"filesystems": [{"source": "/dev/sdb1", "fstype": "ext4"}]}', ""),
        "repquota": (0, REPORT, ""),
        "quotaon": (1, "user quota on /home (/dev/sdb1) is on", ""),
        "setquota": (0, "", ""),
    }
    asked = []

    def run(command, **options):
        name = command[0].rpartition("/")[2]
        asked.append((name, command[1:], options["input"]))
        code, told, wrong = answers[name]
        if isinstance(told, Exception):
            raise told
        return SimpleNamespace(returncode=code, stdout=told, stderr=wrong)

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(
        quota.shutil, "which", lambda name, path: f"/usr/sbin/{name}" if name in answers else None
    )
    answers["asked"] = asked
    return answers


def test_usage_of_everybody_comes_from_one_process(tools, tmp_path):
    found = quota.read(tmp_path)
    assert found[20001] == Usage(5117, 2, Limits(4096, 5120, 0, 0), 1796562421)
    assert found[20002] == Usage(10, 1005, Limits(4096, 5120, 1000, 1100), 1796562400)
    assert {uid: one.is_over for uid, one in found.items()} == {0: False, 20001: True, 20002: True}
    assert [name for name, _, _ in tools["asked"]] == ["findmnt", "repquota", "quotaon"]
    assert tools["asked"][1][1][-1] == "/dev/sdb1"


def test_limits_of_everybody_go_to_one_process(tools, tmp_path):
    assert quota.put(tmp_path, {20001: Limits(1, 2, 3, 4), 20002: Limits()}) == ""
    assert tools["asked"][-1] == (
        "setquota", ["-u", "-b", "-c", "/dev/sdb1"], "20001 1 2 3 4\n20002 0 0 0 0\n",
    )  # fmt: skip
    tools["setquota"] = (0, "", "setquota: Cannot set quota for user 20001.\nsetquota: Skipping.\n")
    assert quota.put(tmp_path, {}) == "Cannot set quota for user 20001"


@pytest.mark.parametrize(
    ("tool", "answer", "told"),
    [
        (
            "repquota",
            (1, "", "repquota: Mountpoint (or device) x not found or has no quota enabled.\n"),
            "(ext4 on /dev/sdb1) keeps no quotas by user: Mountpoint (or device) x not found or has no quota enabled. docs/",
        ),
        ("quotaon", (0, "user quota on /home (/dev/sdb1) is off\n", ""), "Say: quotaon --user"),
        ("findmnt", (1, "", ""), "nothing says on which filesystem"),
        ("repquota", (0, subprocess.TimeoutExpired("repquota", 60), ""), "repquota did not answer"),
    ],
)
def test_what_is_to_be_done_where_there_are_none(tools, tmp_path, tool, answer, told):
    tools[tool] = answer
    with pytest.raises(NoQuotas) as caught:
        quota.read(tmp_path)
    assert told in str(caught.value)
    assert isinstance(caught.value, Refused)


def test_tools_that_are_not_installed(tools, tmp_path):
    del tools["repquota"]
    with pytest.raises(NoTools, match="package quota is not installed"):
        quota.read(tmp_path)


@pytest.mark.parametrize("test", [False, True])
def test_limits_that_cannot_be_seen_are_not_forgotten(tools, tmp_path, monkeypatch, test):
    """Quotas left pillar while the filesystem's were switched off; they come off once it has them again."""
    course = Settings("intro", (Person("ada", 20001),), homes=tmp_path, quotas=tmp_path / "quotas")
    course.quotas.write_text('{"ada": 20001}')

    def take_off() -> dict[str, str]:
        wanted = {"ada": {"uid": 20001, "limits": [0] * 4}}
        monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(wanted)))
        return quotas.quotas(course, Namespace(test=test)).table

    on = tools["quotaon"]
    tools["quotaon"] = (0, "user quota on /home (/dev/sdb1) is off\n", "")
    told = take_off()["ada"]
    assert told.startswith("skipped: may still have a limit of the class: ")
    assert "Say: quotaon --user" in told
    assert json.loads(course.quotas.read_text()) == {"ada": 20001}
    tools["quotaon"] = on
    assert not take_off()["ada"].startswith("skipped")
    assert ("setquota" in [name for name, *_ in tools["asked"]]) is not test


# -- how full it is


@pytest.fixture
def course(tmp_path):
    (tmp_path / "store").mkdir()
    people = (Person("ada", 20001), Person("bob", 20002), Person("cyn", 20003))
    return Settings(
        "intro",
        people,
        homes=tmp_path,
        store=tmp_path / "store",
        disk_state=tmp_path / "disk.json",
        timezone="Europe/Paris",
    )


@pytest.fixture
def room(monkeypatch):
    """What the filesystem says: changed by a test."""
    found = SimpleNamespace(
        f_frsize=4096, f_blocks=1000, f_bfree=400, f_bavail=350, f_files=100, f_favail=60
    )
    monkeypatch.setattr(os, "statvfs", lambda path: found)
    return found


def look(course, capsys) -> tuple[dict, str]:
    watch.watch(course, Namespace())
    return json.loads(course.disk_state.read_text()), capsys.readouterr().err


def test_what_the_hub_reads(course, room, tools, capsys):
    state, told = look(course, capsys)
    assert told == ""
    assert (state["size"], state["used"], state["free"]) == (1000 * 4096, 600 * 4096, 350 * 4096)
    assert state["people"].keys() == {"ada", "bob"}
    assert state["people"]["ada"]["until_shown"] == "2026-12-06 14:07"
    assert course.disk_state.stat().st_mode & 0o777 == 0o640
    assert sampled(course) == {
        "size": 1000 * 4096,
        "used": 600 * 4096,
        "free": 350 * 4096,
        "files": 100,
        "files_free": 60,
        "over": 2,
    }


@pytest.mark.parametrize("text", [None, "", "{}", '{"people": {"ada": {}}}'])
def test_what_is_not_written_down_is_left_out_of_the_dashboard(course, text):
    if text is not None:
        course.disk_state.write_text(text)
    assert sampled(course) == {}


def test_a_disk_that_fills_up_is_warned_of_at_once_and_then_hourly(
    course, room, tools, capsys, monkeypatch
):
    room.f_bavail, room.f_bfree = 40, 40
    now = time.time()
    clock = SimpleNamespace(time=lambda: now)
    monkeypatch.setattr(watch, "time", clock)
    _, told = look(course, capsys)
    assert told == (
        f"warning: {course.homes} is full to 96 %: 160.0 KiB of 3.9 MiB are free. classhub.disk tells who uses most\n"
    )
    now += 3599
    assert look(course, capsys)[1] == ""
    now += 1
    assert "is full to 96 %" in look(course, capsys)[1]
    room.f_bavail = room.f_bfree = 500
    assert look(course, capsys)[1] == ""
    room.f_bavail = room.f_bfree = 40
    assert "is full to 96 %" in look(course, capsys)[1]


def test_files_that_run_out_are_warned_of(course, room, tools, capsys):
    room.f_favail = 10
    assert look(course, capsys)[1].endswith(
        "takes no more than 10 new files. classhub.disk tells who has most\n"
    )


def test_no_warning_where_none_is_wanted(course, room, tools, capsys):
    object.__setattr__(course, "disk_warn", 0.0)
    room.f_bavail = room.f_bfree = room.f_favail = 0
    assert look(course, capsys)[1] == ""


def test_a_disk_without_quotas_is_watched_all_the_same(course, room, tools, capsys):
    del tools["repquota"]
    state, told = look(course, capsys)
    assert (state["people"], told) == ({}, "")
    summary = watch.disk(course, Namespace()).summary
    assert summary["quotas"] == "none: Debian's package quota is not installed on the hub"
    assert summary["largest"] == {}
    assert len(summary["warnings"]) == 1
    assert "share a filesystem, and nobody has a quota" in summary["warnings"][0]


def test_what_the_operator_is_told(course, room, tools):
    summary = watch.disk(course, Namespace()).summary
    assert summary == {
        "size": "3.9 MiB",
        "used": "2.3 MiB, 63 %",
        "free": "1.4 MiB",
        "files": "40 of 100",
        "quotas": "2 people have one",
        "over": {
            "ada": "5.0 MiB of 4.0 MiB, until 2026-12-06 14:07",
            "bob": "10.0 KiB of 4.0 MiB, 1005 of 1000 files, until 2026-12-06 14:06",
        },
        "largest": {"ada": "5.0 MiB, 2 files", "root": "13.0 KiB, 2 files", "bob": "10.0 KiB, 1005 files"},
        "warnings": [],
    }  # fmt: skip


# -- what students are told

ADA = {
    "used": 30 * MIB,
    "soft": 20 * MIB,
    "hard": 40 * MIB,
    "files": 5,
    "files_soft": 0,
    "files_hard": 0,
    "over": True,
    "until": 2000,
    "until_shown": "2030-01-31 12:00",
}


def state(free: int = 1 << 30, **ada) -> dict:
    return {"at": 1000, "size": 10 << 30, "free": free, "people": {"ada": ADA | ada}}


@pytest.mark.parametrize(
    ("ada", "told"),
    [
        ({"over": False}, ""),
        ({}, "You have 30.0 MiB in your home, and your quota is 20.0 MiB. Delete files before 2030-01-31 12:00: from"),
        ({"until": 0}, "You have 30.0 MiB in your home, and your quota is 20.0 MiB. Delete files: at 40.0 MiB nothing"),
        ({"until": 999}, "Your home is full: your quota is 20.0 MiB, and nothing can be saved. Delete files"),
        ({"used": 40 * MIB - 1024}, "Your home is full: your quota is 20.0 MiB, and nothing can be saved. Delete"),
        ({"files": 12, "files_soft": 10, "files_hard": 15}, "You have 12 files in your home, and your quota is 10 files"),
        ({"files": 15, "files_soft": 10, "files_hard": 15}, "Your home is full: your quota is 10 files, and nothing can"),
    ],
)  # fmt: skip
def test_a_student_is_told_of_the_quota(ada, told):
    found = words.notice(state(**ada), "ada", 1001)
    assert found.startswith(told)
    assert bool(found) is bool(told)


def test_a_full_disk_is_told_to_everybody():
    assert words.notice(state(free=1 << 20), "bob", 1001).startswith(
        "The disk with everybody's homes is full"
    )
    assert words.notice(state(), "bob", 1001) == ""


def test_what_is_old_says_nothing():
    assert words.notice(state(), "ada", 1000 + words.OLD + 1) == ""


@pytest.mark.parametrize(
    ("size", "told"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (5 << 30, "5.0 GiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes_are_for_people(size, told):
    assert words.amount(size) == told


def test_metrics_of_the_disk():
    assert list(homes({})) == []
    disk = {"size": 10, "used": 4, "free": 5, "files": 100, "files_free": 60, "over": 2}
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in homes(disk)
        for sample in metric.samples
    }
    assert found == {
        ("classhub_homes_bytes", "size"): 10,
        ("classhub_homes_bytes", "used"): 4,
        ("classhub_homes_bytes", "free"): 5,
        ("classhub_homes_files", "size"): 100,
        ("classhub_homes_files", "free"): 60,
        ("classhub_homes_over_quota",): 2,
    }
