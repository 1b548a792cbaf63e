"""Collecting a class: classhub's `collect` from the sealed store against stock `nbgrader collect`.

python -m bench.collect [N]

Needs root and no lab: N (1000) submissions of two notebooks and 17 KB are laid into a directory of their own, for
both the same. nbgrader is the one of the checkout's Python.
"""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.support.submissions import Course, course, environment

GROWTH = (100, 1_000, 10_000)
FILES = {"problem1.ipynb": b"x" * 9_000, "problem2.ipynb": b"y" * 7_600, "jupyter.png": b"z" * 500}


def timed(command: list[str], where: Path) -> tuple[float, float]:
    """Wall and CPU seconds of a command that must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    bins = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = environment() | {"PATH": bins}  # nbgrader calls alembic
    done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def stock_course(lesson: Course, count: int) -> Path:
    """The same submissions in one inbound directory, as stock nbgrader has them."""
    top = lesson.top / "stock"
    inbound = top / "exchange" / "course101" / "inbound"
    inbound.mkdir(parents=True)
    (top / "exchange").chmod(0o777)
    (top / "course").mkdir()
    (top / "course" / "nbgrader_config.py").write_text(
        f'c = get_config()\nc.CourseDirectory.course_id = "course101"\n'
        f'c.CourseDirectory.root = "{top}/course"\nc.Exchange.root = "{top}/exchange"\n'
        "c.ExchangeCollect.check_owner = False\n"
    )
    for user in names(count):
        for place in lesson.inbound(user).iterdir():
            shutil.copytree(place, inbound / place.name)
    return top / "course"


def names(count: int) -> list[str]:
    return [f"s{number:05}" for number in range(count)]


def measure(count: int) -> dict[str, tuple[float, float]]:
    """{what: (wall, CPU)} of both sides, one after the other."""
    nbgrader = str(Path(sys.executable).with_name("nbgrader"))
    with course(*names(count)) as lesson:
        for user in names(count):
            lesson.submit(user, FILES)
        stock = stock_course(lesson, count)
        os.sync()
        time.sleep(2.5)  # until the submissions count as written
        verb = [sys.executable, "-m", "classhub.course", "--config", lesson.config()]
        collect, theirs = [*verb, "collect", "ps1"], [nbgrader, "collect", "ps1"]
        found = {
            "classhub seal": timed([*verb, "seal"], lesson.top),
            "nbgrader collect, database new": timed([nbgrader, "db", "student", "list"], stock),
            "nbgrader collect": timed(theirs, stock),
            "classhub collect": timed(collect, lesson.top),
            "nbgrader collect again": timed([*theirs, "--update"], stock),
            "classhub collect again": timed(collect, lesson.top),
            "classhub verify": timed([*verb, "verify"], lesson.top),
        }
        for side in (stock, lesson.settings.course_dir):
            if len(list(side.glob("submitted/s*/ps1/problem2.ipynb"))) != count:
                sys.exit(f"{side}: not all were collected")
        return found


def main(count: int) -> None:
    found = measure(count)
    found.pop("nbgrader collect, database new")
    print(f"{count} submissions; load {os.getloadavg()[0]:.1f}; wall / CPU in seconds")
    for what, (wall, cpu) in found.items():
        print(f"  {what:26} {wall:6.2f} / {cpu:6.2f}")
    for what in ("collect", "collect again"):
        pairs = zip(found[f"classhub {what}"], found[f"nbgrader {what}"], strict=True)
        wall, cpu = (ours / theirs for ours, theirs in pairs)
        print(f"{what}: classhub takes {wall:.2f} x the wall and {cpu:.2f} x the CPU of nbgrader")
    print("growth, ms a student (wall):")
    for number in GROWTH:
        print(f"  {number:6d} submissions  {growth(number)}")


def growth(count: int) -> str:
    """What sealing and collecting cost by student."""
    with course(*names(count)) as lesson:
        for user in names(count):
            lesson.submit(user, FILES)
        os.sync()
        time.sleep(2.5)
        verb = [sys.executable, "-m", "classhub.course", "--config", lesson.config()]
        sealed, collected = (
            timed([*verb, *words], lesson.top)[0] for words in (["seal"], ["collect", "ps1"])
        )
    return f"seal {sealed / count * 1000:.2f}, collect {collected / count * 1000:.2f}"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
