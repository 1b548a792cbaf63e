"""Sealing: what students hand in reaches the store whole, once and provably; nothing else does."""

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.support import attacks  # isort: skip
from tests.support.submissions import (  # isort: skip
    FILES,
    alone,
    course,
    environment,
    fill,
    killed_at,
    small_disk,
)

from classhub.course import inbound, receipts, sealing
from classhub.course.ledger import Ledger, canonical
from classhub.course.report import Refused
from classhub.course.store import Store

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs real uids")


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Submissions of a test need not rest before they are sealed."""
    monkeypatch.setattr(sealing, "SETTLE", 0)


@pytest.fixture
def lesson():
    with course() as made:
        yield made


def seal(lesson, **kwargs):
    return alone(lambda: sealing.seal(lesson.settings, **kwargs))


def faults(lesson) -> list[str]:
    return [fault for _, fault in lesson.store.verify()]


# -- honest submissions


def test_submissions_are_sealed_with_their_files(lesson):
    lesson.submit("ada")
    lesson.submit("ben", {"problem1.ipynb": b"ben's"})
    report = seal(lesson)
    assert report.table["ada"] == "done: sealed ps1"
    assert report.table["cyn"] == "skipped: nothing yet"
    assert not report.failed
    (sealed,) = lesson.sealed("ada")
    assert {name: sealed[name] for name in FILES} == FILES
    assert lesson.sealed("ben")[0]["problem1.ipynb"] == b"ben's"
    assert faults(lesson) == []


def test_store_is_for_root_alone(lesson):
    lesson.submit("ada")
    seal(lesson)
    for path in [lesson.settings.store, *lesson.settings.store.rglob("*")]:
        found = path.stat()
        assert (found.st_uid, found.st_mode & 0o077) == (0, 0)


def test_receipt_lies_in_the_home_and_says_what_was_sealed(lesson):
    lesson.submit("ada")
    seal(lesson)
    (path,) = lesson.receipts("ada")
    paper = json.loads(path.read_text())
    assert path.stat().st_uid == lesson.uid("ada")
    (line,) = lesson.store.ledger.lines
    assert line.items() <= paper.items()
    data = FILES["problem1.ipynb"]
    assert paper["contents"]["problem1.ipynb"] == {
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert receipts.show(lesson.settings, "ada", "ps1").summary["receipts"] == [paper]


def test_second_run_seals_nothing(lesson):
    lesson.submit("ada")
    seal(lesson)
    before = (lesson.settings.store / "ledger.jsonl").read_bytes()
    report = seal(lesson)
    assert report.table["ada"] == "skipped: nothing new"
    assert (lesson.settings.store / "ledger.jsonl").read_bytes() == before


@pytest.mark.parametrize("remembered", [True, False])
def test_touched_but_unchanged_submission_is_not_sealed_again(lesson, remembered):
    place = lesson.submit("ada")
    seal(lesson)
    os.utime(place / "problem1.ipynb", (1, 1))
    if not remembered:
        (lesson.settings.store / ".seen.json").write_text("{")
    assert seal(lesson).table["ada"] == "skipped: nothing new"


def test_work_changed_after_sealing_is_sealed_as_new(lesson):
    place = lesson.submit("ada")
    seal(lesson)
    (place / "problem1.ipynb").write_bytes(b"better")
    seal(lesson)
    assert [found["problem1.ipynb"] for found in lesson.sealed("ada")] == [
        FILES["problem1.ipynb"],
        b"better",
    ]


def test_deleted_submission_stays_sealed_and_a_new_one_is_sealed_too(lesson):
    place = lesson.submit("ada")
    seal(lesson)
    subprocess.run(["rm", "-r", str(place)], check=True)
    lesson.submit("ada", {"problem1.ipynb": b"second"}, place.name)
    seal(lesson)
    assert [found["problem1.ipynb"] for found in lesson.sealed("ada")] == [
        FILES["problem1.ipynb"],
        b"second",
    ]


def test_seal_takes_the_hubs_time_not_the_students(lesson):
    began = time.time()
    lesson.submit("ada", name=lesson.name("ada", stamp="2001-01-01 00:00:00"))
    seal(lesson)
    (line,) = lesson.store.ledger.lines
    for key in ("sealed_at", "changed_at"):
        moment = inbound_time(line[key])
        assert began - 1 < moment < time.time() + 1


def inbound_time(text: str) -> float:
    return sealing.datetime.fromisoformat(text).timestamp()


def test_test_mode_predicts_and_changes_nothing(lesson):
    lesson.submit("ada")
    assert seal(lesson, test=True).table["ada"] == "done: would seal ps1"
    assert not lesson.settings.store.exists()
    seal(lesson)
    assert seal(lesson, test=True).table["ada"] == "skipped: nothing new"


@pytest.mark.parametrize("missing", ["timestamp.txt", "submission_secret.txt"])
def test_half_written_submission_waits(lesson, missing):
    place = lesson.submit("ada")
    (place / missing).unlink()
    place.chmod(0o755)
    report = seal(lesson)
    assert report.table["ada"].startswith("skipped: ada+ps1+")
    assert not report.failed
    (place / missing).write_text("")
    lesson.give(place, lesson.uid("ada"))
    assert seal(lesson).table["ada"] == "done: sealed ps1"


def test_patient_run_waits_for_what_was_written_just_now(lesson, monkeypatch):
    monkeypatch.setattr(sealing, "SETTLE", 1)
    lesson.submit("ada")
    assert "written just now" in seal(lesson).table["ada"]
    lesson.submit("ben")
    assert seal(lesson, patient=True).table["ben"] == "done: sealed ps1"


def test_missing_exchange_is_refused(lesson):
    subprocess.run(["rm", "-r", str(lesson.settings.exchange)], check=True)
    with pytest.raises(Refused, match="is /home mounted"):
        seal(lesson)


def test_home_that_takes_no_receipt_gets_it_later(lesson):
    trap = lesson.settings.homes / "ada" / ".classhub"
    trap.symlink_to("/root")
    lesson.submit("ada")
    report = seal(lesson)
    assert report.table["ada"] == "done: sealed ps1"
    assert list(report.summary["receipts_owed"]) == ["ada"]
    trap.unlink()
    assert seal(lesson).summary["receipts_owed"] == {}
    assert len(lesson.receipts("ada")) == 1


# -- attacks: each beside honest submissions


@pytest.mark.parametrize("attack", attacks.REASONS, ids=lambda attack: attack.__name__)
def test_attack_in_a_submission_is_reported_and_harms_nobody(lesson, attack):
    place = attacks.laid(lesson, "ada", attack)
    lesson.submit("ada", {"problem1.ipynb": b"honest"})
    lesson.submit("ben")
    before = os.statvfs(lesson.top).f_bavail
    report = seal(lesson)
    assert report.table["ada"].startswith("failed: sealed ps1; refused ada+ps1+")
    assert attacks.REASONS[attack] in report.table["ada"]
    assert report.table["ada"].isprintable()
    assert report.summary["refused"][0]["user"] == "ada"
    assert report.table["ben"] == "done: sealed ps1"
    assert [found["problem1.ipynb"] for found in lesson.sealed("ada")] == [b"honest"]
    assert os.path.lexists(place)  # never removed
    assert faults(lesson) == []
    if attack is attacks.huge_sparse_file:
        assert before - os.statvfs(lesson.top).f_bavail < 1 << 20


NAMES = {
    "ben+ps1+2026-11-23 10:00:00.123456 UTC+forged": "claims to be from ben",
    "ada+ps1+2026-99-99 10:00:00 UTC+odd": "no date",
    "ada+ps1+yesterday+odd": "no date",
    "ada+ps1": "no date",
    "ada+../../x+2026-11-23 10:00:00 UTC+odd".replace("/", "\u2215"): "not that of a submission",
    "ada+..+2026-11-23 10:00:00 UTC+odd": "not that of a submission",
    "ada+\x1b]0;x+2026-11-23 10:00:00 UTC+odd": "not that of a submission",
    "ada+ps2+2026-11-23 10:00:00 UTC+odd": "no such assignment",
    "ada+.ledger+2026-11-23 10:00:00 UTC+odd": "not that of a submission",
    "ada++2026-11-23 10:00:00 UTC+odd": "not that of a submission",
    "-rf": "not that of a submission",
    os.fsdecode(b"ada+ps1+2026-11-23 10:00:00 UTC+\xff"): "not that of a submission",
}


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_odd_name_is_reported_and_harms_nobody(lesson, name):
    lesson.submit("ada", {"problem1.ipynb": b"forged"}, name)
    lesson.submit("ada", {"problem1.ipynb": b"honest"})
    lesson.submit("ben")
    report = seal(lesson)
    assert NAMES[name] in report.table["ada"]
    assert report.table["ada"].isprintable()
    json.dumps(report.as_dict()).encode("utf-8")
    assert report.table["ben"] == "done: sealed ps1"
    assert [found["problem1.ipynb"] for found in lesson.sealed("ada")] == [b"honest"]
    assert len(lesson.sealed("ben")) == 1


def test_files_closed_to_others_are_the_students_all_the_same(lesson):
    place = lesson.submit("ada")
    (place / "problem1.ipynb").chmod(0)
    (place / "data").chmod(0)
    seal(lesson)
    assert {name: lesson.sealed("ada")[0][name] for name in FILES} == FILES


def test_ordinary_names_of_other_languages_are_taken(lesson):
    files = {
        "Übung 1/données\u202f(2) 图.ipynb": b"1",
        "a'b\"c\\d.csv": b"2",
        "manifest.json": b"3",
    }
    lesson.submit("ada", files)
    assert not seal(lesson).failed
    assert files.items() <= lesson.sealed("ada")[0].items()


def copied(old, new):
    shutil.copy(old, new)
    os.chown(new, old.stat().st_uid, -1)


CHANGES = {
    "content": lambda place: (place / "problem1.ipynb").write_bytes(b"X" * 13),
    "longer": lambda place: (place / "problem1.ipynb").open("ab").write(b"X"),
    "exchanged": lambda place: os.replace(place / "timestamp.txt", place / "problem1.ipynb"),
    "another file": lambda place: copied(place / "problem1.ipynb", place / "data" / "new"),
    "gone": lambda place: (place / "problem1.ipynb").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_submission_that_changes_while_it_is_copied_is_not_sealed(lesson, monkeypatch, change):
    place = lesson.submit("ada")
    lesson.submit("ben")
    changes = iter([CHANGES[change]])  # in the first copy only: that of ada's
    monkeypatch.setattr(inbound, "after_copy", lambda: next(changes, id)(place))
    report = seal(lesson)
    assert "while it was read" in report.table["ada"]
    assert report.table["ben"] == "done: sealed ps1"
    assert lesson.sealed("ada") == []
    assert list((lesson.settings.store / ".staging").iterdir()) == []


def test_file_swapped_for_a_link_while_it_is_copied(lesson, monkeypatch):
    secret = lesson.settings.course_dir / "solution"
    secret.write_text("THE SOLUTION")
    place = lesson.submit("ada")
    real = inbound._copy_file

    def copy(node, target):
        if node.name == "problem1.ipynb":
            (place / "problem1.ipynb").unlink()
            (place / "problem1.ipynb").symlink_to(secret)
        return real(node, target)

    monkeypatch.setattr(inbound, "_copy_file", copy)
    assert seal(lesson).table["ada"].startswith("failed")
    assert lesson.sealed("ada") == []


@pytest.mark.parametrize("how", ["link", "file", "foreign", "crowded"])
def test_inbound_that_is_not_as_it_was_made(lesson, how, monkeypatch):
    theirs, aside = lesson.inbound("ada"), lesson.inbound("ada").with_name("aside")
    lesson.submit("ben")
    if how == "foreign":
        os.chown(theirs, lesson.uid("cyn"), 0)
    elif how == "crowded":
        monkeypatch.setattr(sealing, "ENTRIES", 5)
        for number in range(9):
            (theirs / f"x{number}").mkdir()
    else:
        theirs.rename(aside)
        theirs.symlink_to(lesson.inbound("ben")) if how == "link" else theirs.write_text("")
    report = seal(lesson)
    assert report.table["ada"].startswith("failed")
    assert report.table["ben"] == "done: sealed ps1"
    assert lesson.sealed("ada") == []


def test_one_person_cannot_fill_the_disk():
    with course("ada", "ben", max_bytes=1 << 20) as lesson:
        for number in range(6):
            lesson.submit("ada", {"problem1.ipynb": bytes([number]) * 1_000_000})
        lesson.submit("ben")
        report = seal(lesson)
        assert len(lesson.sealed("ada")) == 4
        assert "fill what one person may use" in report.table["ada"]
        assert report.table["ben"] == "done: sealed ps1"


# -- kills, full disks


def settle_down(lesson) -> None:
    """A plain run; then everything is as if nothing had happened."""
    assert not seal(lesson).failed
    assert faults(lesson) == []
    assert seal(lesson).summary["sealed"] == 0
    for user in ("ada", "ben"):
        assert len(lesson.sealed(user)) == 1
        assert FILES.items() <= lesson.sealed(user)[0].items()
        assert len(lesson.receipts(user)) == 1
    left = [path.name for path in lesson.settings.store.glob(".*/*")]
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("stride", [3, pytest.param(1, marks=pytest.mark.long)])
def test_killed_before_any_step_the_next_run_completes(stride):
    step, died = random.randrange(stride), True
    while died:
        with course("ada", "ben") as lesson:
            lesson.submit("ada")
            lesson.submit("ben")
            died = killed_at(step, lambda made=lesson: sealing.seal(made.settings))
            settle_down(lesson)
        step += stride
    assert step > 50


@pytest.mark.slow
def test_killed_at_random_times_nothing_is_lost():
    code = (
        "import sys; from classhub.course import sealing, settings; from pathlib import Path\n"
        "sealing.SETTLE = 0; sealing.seal(settings.load(Path(sys.argv[1])))"
    )
    names = [f"s{number:02}" for number in range(30)]
    with course(*names) as lesson:
        config = lesson.config()
        kills = 0
        for _ in range(20):
            for name in names:
                lesson.submit(name, {"problem1.ipynb": os.urandom(2000)})
            command = [sys.executable, "-c", code, config]
            run = subprocess.Popen(command, stderr=subprocess.DEVNULL, env=environment())
            time.sleep(random.uniform(0.08, 0.3))
            run.send_signal(signal.SIGKILL)
            kills += run.wait() == -signal.SIGKILL
        report = seal(lesson)
        assert not report.failed
        assert kills > 5
        assert faults(lesson) == []
        assert len(lesson.store.ledger.lines) == 600
        assert all(len(lesson.receipts(name)) == 20 for name in names)


@pytest.mark.slow
def test_full_disk_is_told_and_a_plain_run_heals():
    with course() as lesson:
        disk = lesson.settings.store.parent
        with small_disk(disk) as filler:
            for name in ("ada", "ben", "cyn"):
                lesson.submit(name, {"problem1.ipynb": os.urandom(300_000)})
            told = []
            for left in range(0, 400_000, 4096):
                fill(filler, left)
                with contextlib.suppress(OSError):  # the command line tells it as an error
                    told += seal(lesson).table.values()
                assert lesson.store.ledger.torn == b""
            assert "No space left on device" in " ".join(told)
            filler.unlink()
            report = seal(lesson)
            assert not report.failed
            assert faults(lesson) == []
            assert all(len(lesson.sealed(name)) == 1 for name in ("ada", "ben", "cyn"))


# -- damage


def test_every_flipped_byte_is_found():
    with course("ada", "ben") as lesson:
        lesson.submit("ada")
        lesson.submit("ben")
        seal(lesson)
        assert not receipts.verify(lesson.settings).failed
        places = [path for path in lesson.settings.store.rglob("*") if path.is_file()]
        for path in places:
            if path.relative_to(lesson.settings.store).parts[0] in {
                ".lock",
                ".seen.json",
                ".looked.json",
            }:
                continue
            whole = path.read_bytes()
            for position in range(len(whole)):
                flipped = bytearray(whole)
                flipped[position] ^= 1 << random.randrange(8)
                path.write_bytes(flipped)
                found = receipts.verify(lesson.settings)
                assert found.failed, (path, position)
                said = " ".join(found.table.values())
                where = "ledger" if path.name == "ledger.jsonl" else path.parts[-2]
                assert path.name in said or where in said
            path.write_bytes(whole)
        assert not receipts.verify(lesson.settings).failed


def test_missing_and_extra_files_and_seals_are_found(lesson):
    lesson.submit("ada")
    lesson.submit("ben")
    seal(lesson)
    first, second = (lesson.store.place(line) for line in lesson.store.ledger.lines)
    (first / "files" / "problem1.ipynb").unlink()
    (first / "files" / "extra").write_text("")
    subprocess.run(["rm", "-r", str(second)], check=True)
    said = faults(lesson)
    assert [text.split(": ", 1)[1] for text in said] == [
        "files/extra was not sealed",
        "files/problem1.ipynb is missing",
        "missing; ledger line 2",
    ]
    assert receipts.show(lesson.settings, "ada").failed


def test_what_is_sealed_while_the_store_is_verified_is_no_damage(lesson, monkeypatch):
    lesson.submit("ada")
    lesson.submit("ben")
    seal(lesson)
    check = Store.check

    def slow(store, *arguments):
        monkeypatch.setattr(Store, "check", check)
        lesson.submit("ben", {"problem1.ipynb": b"{}"})
        seal(lesson)
        return check(store, *arguments)

    monkeypatch.setattr(Store, "check", slow)
    assert faults(lesson) == []
    assert len(lesson.store.ledger.lines) == 3


def test_damaged_ledger_does_not_stop_the_next_seal(lesson):
    lesson.submit("ada")
    lesson.submit("ben")
    seal(lesson)
    path = lesson.settings.store / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"user":"ada"', b'"user":"cyn"', 1))
    lesson.submit("cyn")
    report = seal(lesson)
    assert report.table["cyn"] == "done: sealed ps1"
    assert report.summary["ledger"] == ["ledger line 1: is damaged"]
    assert "was given its line" in report.summary["healed"][0]
    assert faults(lesson) == ["ledger line 1: is damaged"]


def test_line_cut_short_is_kept_aside_and_written_again(lesson):
    lesson.submit("ada")
    lesson.submit("ben")
    seal(lesson)
    path = lesson.settings.store / "ledger.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    report = seal(lesson)
    assert "cut short" in report.summary["healed"][0]
    assert path.read_bytes() == whole
    (aside,) = lesson.settings.store.glob("ledger.jsonl.torn-*")
    assert whole.endswith(aside.read_bytes() + whole[-40:])


def test_line_taken_out_of_the_ledger_is_noticed(tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in range(4):
        ledger.append({"user": "ada", "assignment": "ps1", "seal": str(number)})
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    ledger.path.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert Ledger(ledger.path).faults == ["ledger line 2: does not follow from the one before"]
    ledger.path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    assert len(Ledger(ledger.path).faults) == 3
    assert canonical({"b": 1, "a": 2}) == b'{"a":2,"b":1}'


def test_receipt_of_a_stranger_is_refused(lesson):
    with pytest.raises(Refused, match="not in the roster"):
        receipts.show(lesson.settings, "eve")
