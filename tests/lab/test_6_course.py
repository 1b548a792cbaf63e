"""An assignment's way: released into homes, found in nbgrader's list, submitted, sealed with a receipt, collected."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.client import Kernel, Student
from tests.support.waiting import wait_until

COURSE = "/var/lib/classhub/course"
EXCHANGE = "/home/.classhub/exchange/intro"
# the course that nbgrader itself brings; `quickstart` writes a database into the directory above it, too
QUICKSTART = f"""
set -eu
[ -d {COURSE}/source/ps1 ] && exit 0
scratch=$(mktemp -d)
cd "$scratch"
HOME=$scratch PATH=/opt/jupyterhub/bin:$PATH nbgrader quickstart intro >quickstart.log 2>&1 || {{ cat quickstart.log; exit 1; }}
cp -r intro/source/ps1 {COURSE}/source/ps1
rm -rf "$scratch"
"""
ANSWER = """
import json
path = "ps1/problem1.ipynb"
book = json.load(open(path))
for cell in book["cells"]:
    grader = cell["metadata"].get("nbgrader", {})
    if cell["cell_type"] == "code" and grader.get("solution"):
        cell["source"] = "def squares(n):\\n    return [i ** 2 for i in range(1, n + 1)]  # by NAME"
        break
else:
    raise LookupError("no cell to solve")
json.dump(book, open(path, "w"))
"""
TRIED = """
import os
def tried(action, path):
    try:
        return str(action(path))
    except OSError as error:
        return type(error).__name__
print([tried(action, path) for path in PATHS for action in (os.listdir, os.stat)])
"""


def verb(name: str, *arguments: str) -> dict[str, Any]:
    """The report of `salt hub classhub.<verb>`; AssertionError with Salt's words where it is none."""
    report = lab.salt("hub", f"classhub.{name}", *arguments)["hub"]
    assert isinstance(report, dict), report
    return report


def assignments(student: Student, status: str) -> list[dict[str, Any]]:
    """What nbgrader's list in JupyterLab shows under ps1."""
    listed = student.request("GET", "assignments", params={"course_id": "intro"}).json()
    assert listed["success"], listed["value"]
    return [
        entry
        for entry in listed["value"]
        if (entry["assignment_id"], entry["status"]) == ("ps1", status)
    ]


def act(student: Student, action: str) -> None:
    """Press fetch or submit in nbgrader's list."""
    data = {"course_id": "intro", "assignment_id": "ps1"}
    answer = student.request("POST", f"assignments/{action}", data=data, timeout=120)
    assert answer.status_code == 200, answer.text[:300]
    assert answer.json()["success"], answer.json()["value"]


def forget(names: tuple[str, ...]) -> None:
    """Nobody has ps1, and nothing of it is submitted or collected; what is sealed stays sealed."""
    for name in names:
        lab.shell("hub", f"rm -rf /home/{name}/ps1 {EXCHANGE}/students/{name}/inbound/*")
        lab.shell("hub", f"rm -rf {COURSE}/submitted/{name}/ps1")


@pytest.fixture
def course(quiet) -> Iterator[None]:
    forget(("ada", "bob"))
    lab.shell("hub", QUICKSTART, timeout=300)
    yield
    forget(("ada", "bob"))


def collected(name: str) -> str:
    """What of a person was collected: the notebook's text, or nothing."""
    path = f"{COURSE}/submitted/{name}/ps1/problem1.ipynb"
    return lab.on("hub", "cat", path, check=False)


def test_from_release_to_collect(course, student):
    assert verb("assignments")["ps1"]["source"]
    report = verb("release", "ps1")
    assert report["table"]["ada"].startswith("done"), report
    assert report["table"]["bob"].startswith("done"), report
    again = verb("release", "ps1")
    assert again["table"]["ada"].startswith("skipped"), again
    assert verb("status", "ps1")["table"]["ada"].startswith("done: has it")

    people = [student(name) for name in ("ada", "bob")]
    kernels = [start(person) for person in people]
    bob_fetches(people[1], kernels[1])
    earlier = {person.name: len(receipts(person.name)) for person in people}
    for person, kernel in zip(people, kernels, strict=True):
        assert not kernel.run(ANSWER.replace("NAME", person.name)).error
        act(person, "submit")
        assert len(assignments(person, "submitted")) == 1
    nobody_sees_the_others(kernels[0])

    wait_until("both are sealed", lambda: seal_more_than(earlier), 90)
    for person in people:
        receipt_at_home(person)
    assert verb("verify")["summary"]["failed"] == 0

    report = verb("collect", "ps1")
    assert set(report["summary"]["submitted"]) >= {"ada", "bob"}, report
    assert "cleo" in report["summary"]["missing"]
    for person in people:
        assert f"by {person.name}" in collected(person.name)
    assert verb("collect", "ps1")["table"]["ada"] == "skipped: collected already"


def start(student: Student) -> Kernel:
    """A server, in which the released assignment is both in the home and in nbgrader's list."""
    journey.start(student)
    assert "ps1" in student.files()
    (entry,) = assignments(student, "fetched")
    assert {book["notebook_id"] for book in entry["notebooks"]} >= {"problem1", "problem2"}
    return student.kernel()


def bob_fetches(bob: Student, kernel: Kernel) -> None:
    """Who has deleted it fetches it anew, by nbgrader's own means."""
    assert not kernel.run("import shutil; shutil.rmtree('ps1')").error
    assert len(assignments(bob, "released")) == 1
    act(bob, "fetch")
    assert len(assignments(bob, "fetched")) == 1


def nobody_sees_the_others(kernel: Kernel) -> None:
    """Ada's server has her own part of the exchange, and of the others' not even the place."""
    mine = "/srv/nbgrader/exchange/intro/inbound"
    seen = kernel.value(f"__import__('os').listdir({mine!r})")
    assert seen
    assert all(name.startswith("ada+ps1+") for name in seen)
    mounts = "/srv/nbgrader/exchange/intro"
    paths = [EXCHANGE, f"{mounts}/students", "/proc/1/root" + EXCHANGE]
    for part in ("inbound", "feedback"):
        paths += [f"{EXCHANGE}/students/bob/{part}", f"{mounts}/{part}/../../bob/{part}"]
    out = kernel.run(f"PATHS = {paths!r}\n{TRIED}")
    assert not out.error, out.error
    assert out.text.count("FileNotFoundError") + out.text.count("PermissionError") == 2 * len(paths)
    for place in ("outbound/ps1", "feedback"):
        written = kernel.run(f"open('{mounts}/{place}/x', 'w')")
        assert "Read-only" in written.error or "Permission" in written.error, written


def receipts(name: str) -> list[dict[str, Any]]:
    """What is sealed of a person's ps1, oldest first."""
    return verb("receipt", name, "ps1")["summary"]["receipts"]


def seal_more_than(earlier: dict[str, int]) -> bool:
    """Seal; whether everybody has a new receipt, of this or of the hub's own sweep."""
    verb("seal")
    return all(len(receipts(name)) > count for name, count in earlier.items())


def receipt_at_home(student: Student) -> None:
    """The newest receipt lies in the home, belongs to the student, and says what the hub says."""
    newest = receipts(student.name)[-1]
    path = f"/home/{student.name}/.classhub/receipts/ps1/{newest['seal']}.json"
    assert json.loads(lab.on("hub", "cat", path)) == newest
    assert lab.on("hub", "stat", "-c", "%u", path) == lab.on("hub", "id", "-u", student.name)
    assert "problem1.ipynb" in newest["contents"]


@pytest.mark.long
def test_the_sweep_seals_by_itself(course, student):
    verb("release", "ps1")
    ada = student("ada")
    kernel = start(ada)
    before = len(receipts("ada"))
    assert not kernel.run(ANSWER.replace("NAME", "ada, swept")).error
    act(ada, "submit")

    wait_until("the sweep has sealed it", lambda: len(receipts("ada")) > before, 150, pause=5)
    assert lab.on("hub", "systemctl", "is-active", "classhub-sweep.timer") == "active"
    failed = lab.on("hub", "systemctl", "is-failed", "classhub-sweep.service", check=False)
    assert failed != "failed", lab.on("hub", "journalctl", "-n", "30", "-u", "classhub-sweep")


def test_an_unknown_assignment_is_refused_in_a_sentence(site):
    with pytest.raises(lab.CommandFailed, match="there is no assignment nope"):
        lab.salt_run("classhub.release", "nope")
