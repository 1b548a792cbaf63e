"""A class that submits all at once, while the sweep runs without a pause and the instructor collects."""

import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.support.submissions import Course, course, environment  # isort: skip

from classhub.course import receipts
from classhub.course.collecting import sealed_at

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs real uids")

PAUSE = 0.05  # seconds between two files of a submission, so that sweeps find half-written ones
SWEEP = """
import pathlib, subprocess, sys
over, sweeps = pathlib.Path(sys.argv[1]), []
while not over.exists():
    sweeps.append(subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode)
sys.exit(f"{sweeps} sweeps" if any(sweeps) or not sweeps else 0)
"""


def command(lesson: Course, *words: str) -> list[str]:
    return [sys.executable, "-m", "classhub.course", "--config", lesson.config(), *words]


def start(argv: list[str]) -> subprocess.Popen:
    pipe = subprocess.PIPE
    return subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, env=environment())


def end(process: subprocess.Popen, timeout: float = 120) -> str:
    """What it printed; it must have ended well."""
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == 0, out + err
    return out


@contextlib.contextmanager
def sweeping(lesson: Course) -> Iterator[None]:
    """One sweep after the other, each a process as the hub's timer starts it."""
    over = lesson.top / "over"
    sweeps = start([sys.executable, "-c", SWEEP, str(over), *command(lesson, "seal")])
    try:
        yield
    finally:
        over.touch()
        end(sweeps)


def submit_all(lesson: Course, work: dict[str, dict[str, bytes]], seconds: float) -> None:
    """Everybody submits once at a random moment; twice in between, the instructor collects."""
    moments = sorted((random.uniform(0, seconds), user) for user in work)
    collects = [seconds / 3, seconds * 2 / 3]
    began, writers, collecting = time.monotonic(), [], []
    for moment, user in moments:
        time.sleep(max(0, began + moment - time.monotonic()))
        writers.append(lesson.submit_as(user, work[user], PAUSE))
        if collects and moment > collects[0]:
            collects.pop(0)
            collecting.append(start(command(lesson, "collect", "ps1")))
    assert [os.waitpid(writer, 0)[1] for writer in writers] == [0] * len(work)
    for process in collecting:
        end(process)
    assert len(collecting) == 2


def check_sealed(lesson: Course, work: dict[str, dict[str, bytes]]) -> None:
    """Each submission is sealed once, as it was written, soon, and its receipt says so at home."""
    store = lesson.store
    assert sorted(line["user"] for line in store.ledger.lines) == sorted(work)
    for line in store.ledger.lines:
        user, files = line["user"], store.place(line) / "files"
        assert {name: (files / name).read_bytes() for name in work[user]} == work[user]
        assert sealed_at(line) - datetime.fromisoformat(line["changed_at"]) < timedelta(minutes=1)
        (path,) = lesson.receipts(user)
        paper = json.loads(path.read_text())
        shown = receipts.show(lesson.settings, user, "ps1")
        assert not shown.failed
        assert shown.summary["receipts"] == [paper]
        assert line.items() <= paper.items()
        assert path.stat().st_uid == lesson.uid(user)


def check_collected(lesson: Course, work: dict[str, dict[str, bytes]]) -> None:
    end(start(command(lesson, "collect", "ps1")))
    for user, files in work.items():
        assert files.items() <= lesson.collected(user).items()


def flip_a_byte(path: Path, position: int) -> bytes:
    """Change one byte of a file; its content before."""
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[position] ^= 1 << random.randrange(8)
    path.write_bytes(flipped)
    return whole


def check_flips(lesson: Course, count: int) -> None:
    """Whatever byte is damaged in the ledger or the store, verify names the place."""
    root = lesson.settings.store
    ledger, seals = root / "ledger.jsonl", list(root.glob("*/*/*/**/*"))
    assert not receipts.verify(lesson.settings).failed
    for number in range(count):
        files = [ledger] if number % 2 else [path for path in seals if path.is_file()]
        path = random.choice(files)
        position = random.randrange(path.stat().st_size)
        whole = flip_a_byte(path, position)
        report = receipts.verify(lesson.settings)
        assert report.failed, (path, position)
        where = "ledger" if path == ledger else str(path.relative_to(root)).split("/")[2]
        assert where in " ".join(report.table.values()), (path, position)
        path.write_bytes(whole)
    assert not receipts.verify(lesson.settings).failed


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "seconds"), [(60, 10), pytest.param(300, 60, marks=pytest.mark.long)]
)
def test_class_submits_at_once_while_all_is_sealed_and_collected(count, seconds):
    users = [f"s{number:03}" for number in range(count)]
    work = {
        user: {"problem1.ipynb": os.urandom(9000), "data/table.csv": user.encode()}
        for user in users
    }
    with course(*users) as lesson:
        with sweeping(lesson):
            submit_all(lesson, work, seconds)
        end(start(command(lesson, "collect", "ps1")))  # seals the last ones, once they are at rest
        check_sealed(lesson, work)
        check_collected(lesson, work)
        check_flips(lesson, 20)
