"""Grading a class on the lab: classhub on one node and on two, against `nbgrader autograde` of the same submissions.

python -m bench.autograde [N [M]]       N (200) of ps1, M (100) of an assignment with pandas and a plot
python -m bench.autograde --simulate [N]   N (300) submissions on 7 nodes of 8 cores, which are not there

Both sides run on the same cores and in the same image; nbgrader in one container on the hub, as it has no other way.
CPU seconds are the whole machine's, which must be quiet. Scores are compared cell by cell.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
from nbformat import v4

from bench import common
from tests.support import lab, twice
from tests.support.grading import nbgrader
from tests.support.mangled import GUIDE

STAMP = "2026-11-23 10:00:00.123456 UTC"
NODES, CORES = 7, 8  # of the class that is simulated
WAIT = 1.2  # seconds that a container there waits, in place of what one takes on a core of its own
BUSY = 3.0  # seconds after which a submission is back from a node whose cores are all taken twice


def cell(make, source: str, name: str, points: int = 0, **kind: bool) -> nbformat.NotebookNode:
    """A cell of nbgrader's."""
    said = {"grade": False, "solution": False, "locked": False, "task": False} | kind
    extra = {"points": points} if said["grade"] else {}
    return make(
        source, metadata={"nbgrader": {"schema_version": 3, "grade_id": name, **said, **extra}}
    )


def flowers() -> nbformat.NotebookNode:
    """The instructor's notebook: a table is read, grouped and drawn."""
    answer = "table = pd.read_csv('flowers.csv')\nmeans = table.groupby('kind')['length'].mean()"
    plot = (
        "fig, axes = plt.subplots()\nmeans.plot.bar(ax=axes)\naxes.set_ylabel('length')\nplt.show()"
    )

    def solved(source: str) -> str:
        return f"### BEGIN SOLUTION\n{source}\n### END SOLUTION"

    test = {"grade": True, "locked": True}
    cells = [
        v4.new_code_cell("import matplotlib.pyplot as plt\nimport pandas as pd"),
        cell(v4.new_code_cell, solved(answer), "means", solution=True),
        cell(v4.new_code_cell, "assert len(table) == 3000", "length", 1, **test),
        cell(v4.new_code_cell, "assert abs(means['iris'] - 4.5) < 1", "iris", 2, **test),
        cell(v4.new_code_cell, solved(plot), "plot", solution=True),
        cell(v4.new_code_cell, "assert axes.get_ylabel() == 'length'", "label", 1, **test),
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def write_source(top: Path, assignment: str) -> None:
    place = top / "source" / assignment
    if assignment == "ps1":
        shutil.copytree(GUIDE / "source" / "ps1", place)
        return
    place.mkdir(parents=True)
    nbformat.write(flowers(), place / "flowers.ipynb")
    rows = (f"{('iris', 'rose', 'lily')[n % 3]},{n % 10}" for n in range(3000))
    (place / "flowers.csv").write_text("\n".join(("kind,length", *rows)) + "\n")


def write_course(top: Path, assignment: str, people: list[str]) -> None:
    """A course with a submission of each: of ps1 nbgrader's own two in turn; else every second one is right."""
    write_source(top, assignment)
    nbgrader(top, "generate_assignment", assignment)
    for number, user in enumerate(people):
        place = top / "submitted" / user / assignment
        if assignment == "ps1":
            shutil.copytree(
                GUIDE / "submitted" / ("hacker", "bitdiddle")[number % 2] / "ps1", place
            )
        else:
            shutil.copytree(top / "release" / assignment, place)
            source = nbformat.read(top / "source" / assignment / "flowers.ipynb", as_version=4)
            book = nbformat.read(place / "flowers.ipynb", as_version=4)
            for mine, right in zip(book.cells, source.cells, strict=True):
                if right.metadata.get("nbgrader", {}).get("solution"):
                    lines = [line for line in right.source.split("\n") if "###" not in line]
                    mine.source = "\n".join(lines)
            if number % 2:
                book.cells[4].source = book.cells[4].source.replace("'length'", "'width'")
            nbformat.write(book, place / "flowers.ipynb")
        (place / "timestamp.txt").write_text(STAMP)


@contextmanager
def course(assignment: str, count: int, **settings: dict) -> Iterator[None]:
    """A course on the hub, for both sides."""
    people = [f"b{number:04}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder) / "course"
        top.mkdir()
        write_course(top, assignment, people)
        with twice.on_hub(top, people, **settings):
            yield


def busy() -> float:
    """CPU seconds of the whole machine, since it began."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(word) for word in file.readline().split()[1:]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def timed(act: Callable[[], Any]) -> tuple[float, float, Any]:
    """Wall and CPU seconds of something, and what it returns."""
    cpu, began = busy(), time.monotonic()
    answer = act()
    return time.monotonic() - began, busy() - cpu, answer


def ours(assignment: str, **words: str) -> tuple[float, float, dict]:
    wall, cpu, report = timed(lambda: twice.ours(assignment, "--force", **words))
    return wall, cpu, report["summary"]


@contextmanager
def one_node() -> Iterator[None]:
    """The class without its second node."""
    lab.salt_run("classhub.drain", "node2")
    try:
        yield
    finally:
        lab.salt_run("classhub.resume", "node2")


def compare(assignment: str, count: int) -> None:
    with course(assignment, count):
        with one_node():
            first = ours(assignment)
        second = ours(assignment)
        wall, cpu, _ = timed(lambda: twice.stock(assignment))
        mine, plain = (twice.scores(side, assignment) for side in ("classhub", "nbgrader"))
    differ = sum(a != b for a, b in zip(mine, plain, strict=True))
    print(f"{assignment}: {count} submissions, {len(plain)} cells, {differ} scores differ")
    print(f"  nbgrader autograde   {line(wall, cpu, count)}")
    for words, (taken, spent, summary) in (("one node", first), ("two nodes", second)):
        print(f"  classhub, {words:9}  {line(taken, spent, count)}: {wall / taken:.2f} x as fast")
        print(f"    {summary['done']} done, {summary['failed']} failed; {summary['seconds']}")


def line(wall: float, cpu: float, count: int) -> str:
    return f"{wall:7.1f} s, {wall / count:.2f} s each; CPU {cpu / count:.2f} s each"


# What a container is to write, of a job of which nothing is executed.
RESULT = """
import hashlib, json
def result(job, target):
    data = open(job, "rb").read()
    books = {
        name: {"cells": {
            place: {"outputs": [], "execution_count": None}
            for place, cell in enumerate(book["cells"]) if cell["cell_type"] == "code"
        }} for name, book in json.loads(data)["notebooks"].items()
    }
    with open(target, "w") as file:
        json.dump({"digest": hashlib.sha256(data).hexdigest(), "notebooks": books}, file)
"""
FAKE = f"""
import os, sys, time
job, target = sys.argv[1:3]
os.setresuid(*[os.stat(job).st_uid] * 3)
time.sleep({WAIT})
{RESULT}
result(job, target)
"""
# Nodes that are elsewhere: what they cost their own cores is a wait here.
ELSEWHERE = f"""
import json, runpy, time
from classhub.grading import autograde, nodes
class Elsewhere:
    def clear(self):
        pass
    def run(self, spool, slots, runner):
        began = time.monotonic()
        for slot in range(1, slots + 1):
            turn = 1 + (slot - 1) // {NODES * CORES * 2}
            time.sleep(max(0, began + turn * {BUSY} - time.monotonic()))
            result(spool / str(slot) / "job", spool / str(slot) / "result")
            yield nodes.Finished(slot, True, "complete")
autograde.class_nodes = lambda settings: Elsewhere()
"""


def simulate(count: int) -> None:
    """The hub is real, and in the first run Swarm and the containers; the cores of the nodes are not."""
    limits = {"memory": 64 << 20, "disk": 8 << 20, "per_cpu": NODES * CORES // 2}
    runs = {
        f"containers are started here, on this machine's cores, and wait for {WAIT} s": (
            "from pathlib import Path; from classhub.grading import autograde; "
            f"autograde.RUNNER = Path('{twice.PLACE}/runner.py')"
        ),
        f"nodes are elsewhere: a submission is back after {BUSY} s": RESULT + ELSEWHERE,
    }
    print(f"simulated: {count} submissions, {NODES} nodes of {CORES} cores, two submissions a core")
    for words, patch in runs.items():
        with course("ps1", count, grading=limits):
            twice.write("runner.py", FAKE)
            run = "import runpy; runpy.run_module('classhub.course', run_name='__main__')"
            twice.write("patched.py", f"{patch}\n{run}\n")
            program = f"/opt/jupyterhub/bin/python -IB {twice.PLACE}/patched.py"
            wall, cpu, summary = ours("ps1", program=program)
        print(f"  {words}:")
        print(f"  {line(wall, cpu, count)}; {summary['done']} done, {summary['failed']} failed")
        print(f"    {summary['seconds']}")


def main(words: list[str]) -> None:
    print(common.environment())
    if words[:1] == ["--simulate"]:
        simulate(int(words[1]) if len(words) > 1 else 300)
        return
    counts = [int(word) for word in words] + [200, 100][len(words) :]
    for assignment, count in zip(("ps1", "flowers"), counts, strict=True):
        compare(assignment, count)


if __name__ == "__main__":
    main(sys.argv[1:])
