"""A course on the lab's hub, twice: graded by plain nbgrader, and by classhub on the nodes.

nbgrader runs in one container of the class's image on the hub, with all cores and no limits. The course is not the
class's own: it has as many people as it wants.
"""

import json
import shlex
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from tests.support import lab

PLACE = "/var/lib/classhub/twice"  # on the hub
SPOOL = "/home/.classhub/twice"  # where nodes reach it
CLASSHUB = "/opt/jupyterhub/bin/python -IB -m classhub.course"
SCORES = """
    select student_id, notebook.name, base_cell.name, auto_score, needs_manual_grade, late_submission_penalty
    from grade
    join base_cell on base_cell.id = cell_id
    join submitted_notebook on submitted_notebook.id = grade.notebook_id
    join notebook on notebook.id = submitted_notebook.notebook_id
    join submitted_assignment on submitted_assignment.id = submitted_notebook.assignment_id
    join assignment on assignment.id = submitted_assignment.assignment_id
    where assignment.name = ?
"""


@contextmanager
def on_hub(course: Path, people: list[str], **settings: Any) -> Iterator[None]:
    """A course directory of this machine on the hub, for both."""
    entries = [{"username": user, "uid": 100_000 + number} for number, user in enumerate(people)]
    known = {"course_id": "twice", "course_dir": f"{PLACE}/classhub", "spool": SPOOL}
    try:
        lab.shell("hub", f"rm -rf {PLACE}; mkdir -p -m 0700 {PLACE}")
        for name in ("nbgrader", "fresh"):
            copy(course, f"{PLACE}/{name}")
        write("course.json", json.dumps(known | {"people": entries} | settings))
        lab.shell("hub", f"chown -R root: {PLACE}; chmod 0700 {PLACE}/fresh")
        refresh()
        yield
    finally:
        lab.shell("hub", f"rm -rf {PLACE} {SPOOL}", timeout=300)


def refresh() -> None:
    """Nothing of classhub's side is graded."""
    lab.shell("hub", f"cd {PLACE}; rm -rf classhub; cp -a fresh classhub")


def copy(source: Path, target: str) -> None:
    """Copy a file or directory of this machine to the hub."""
    lab.run("docker", "cp", str(source), f"{lab.CONTAINER}hub:{target}", timeout=600)


def write(name: str, text: str) -> None:
    """Write a file beside the courses."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_text(text)
        copy(path, f"{PLACE}/{name}")


def stock(assignment: str) -> None:
    """Grade with plain nbgrader, on a root that is as little to be written to as that of a student's server.

    Raises:
        AssertionError: it tells of an error.
    """
    command = f"docker run --rm --user 0 --read-only --tmpfs /tmp --volume {PLACE}/nbgrader:/course --workdir /course --env HOME=/tmp"
    words = f"{lab.student_image()} nbgrader autograde {shlex.quote(assignment)} 2>&1"
    said = lab.shell("hub", f"{command} {words}", check=False, timeout=7200)
    # of its own: a kernel that a cell interrupted tells of an error, too
    errors = [line for line in said.splitlines() if "AutogradeApp | ERROR" in line]
    assert not errors, "\n".join(errors)


def ours(assignment: str, *options: str, program: str = CLASSHUB) -> dict[str, Any]:
    """Grade with classhub; its report."""
    words = shlex.join(["autograde", *options, "--", assignment])
    command = f"{program} --config {PLACE}/course.json {words} 2>>{PLACE}/log"
    said = lab.shell("hub", command, check=False, timeout=7200)
    try:
        report = json.loads(said)
    except ValueError:
        report = {}
    assert "table" in report, said[-2000:] + lab.shell("hub", f"tail -n 30 {PLACE}/log")
    return report


def scores(side: str, assignment: str) -> list[tuple]:
    """What a side's gradebook says of each cell of each submission."""
    with tempfile.TemporaryDirectory() as folder:
        lab.run("docker", "cp", f"{lab.CONTAINER}hub:{PLACE}/{side}/gradebook.db", folder)
        with closing(sqlite3.connect(f"{folder}/gradebook.db")) as book:
            return sorted(book.execute(SCORES, [assignment]), key=repr)
