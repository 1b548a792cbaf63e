"""What a student does in a class, with what must hold on the way. Used for each size of class."""

import json
import re
from typing import Any

from tests.support import lab
from tests.support.client import Kernel, Site, Student

IDENTITY = r"""
import errno, getpass, json, os, subprocess
def refused(action, *args):
    try:
        action(*args)
    except OSError as error:
        return errno.errorcode[error.errno]
    return ""
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "id": [os.getuid(), os.getgid()],
    "whoami": subprocess.getoutput("whoami"),
    "name": getpass.getuser(),
    "cwd": os.getcwd(),
    "capabilities": [int(status[key], 16) for key in ("CapEff", "CapPrm", "CapBnd", "CapInh")],
    "no_new_privileges": int(status["NoNewPrivs"]),
    "write_to_root": refused(open, "/opt/x", "w"),
    "write_to_tmp": refused(open, "/tmp/x", "w"),
    "homes": sorted(os.listdir("/home")) if not refused(os.listdir, "/home") else [],
}))
"""


def start(student: Student) -> str:
    """The student presses start; the node of the server."""
    begun = student.start_by_page()
    assert begun.ready, f"{student.name}: {begun.status} {begun.message} {begun.events}"
    return lab.node_of(student.name)


def work(student: Student) -> Kernel:
    """A page, a cell, a file, a terminal; the kernel stays for more."""
    page = student.page(f"/user/{student.name}/lab")
    assert page.status_code == 200
    assert "jupyter-config-data" in page.text, "JupyterLab's page did not come by cookies alone"
    kernel = student.kernel()
    assert kernel.run("6 * 7").text.strip() == "42"
    assert not kernel.run(f"open('hello.txt', 'w').write('from {student.name}')").error
    assert "hello.txt" in student.files()
    shown = student.terminal().run("echo I am $(id -un) in $PWD")
    assert f"I am {student.name} in /home/{student.name}" in shown
    return kernel


def file_on_hub(student: Student, name: str = "hello.txt") -> None:
    """The file lies in the home on the hub, and belongs to the student's uid there."""
    path = f"/home/{student.name}/{name}"
    uid = lab.on("hub", "id", "-u", student.name)
    assert int(uid) >= 20000
    assert lab.on("hub", "stat", "-c", "%u %F", path) == f"{uid} regular file"
    assert lab.on("hub", "stat", "-c", "%u %a", f"/home/{student.name}") == f"{uid} 700"
    if name == "hello.txt":
        assert lab.on("hub", "cat", path) == f"from {student.name}"


def identity(student: Student, kernel: Kernel) -> None:
    """Inside, the student is the user of the roster and has no other power."""
    out = kernel.run(IDENTITY)
    assert not out.error, out.error
    seen = json.loads(out.text)
    uid, gid = (int(lab.on("hub", "id", flag, student.name)) for flag in ("-u", "-g"))
    assert seen["id"] == [uid, gid]
    assert seen["whoami"] == seen["name"] == student.name
    assert seen["cwd"] == f"/home/{student.name}"
    assert seen["capabilities"] == [0, 0, 0, 0]
    assert seen["no_new_privileges"] == 1
    assert seen["write_to_root"] == "EROFS"
    assert seen["write_to_tmp"] == ""
    assert set(seen["homes"]) <= {student.name}


def cannot_read(kernel: Kernel, other: Student) -> None:
    """The other's home is not even there."""
    code = (
        "import os\n"
        "def tried(action, path):\n"
        "    try:\n        action(path)\n"
        "    except OSError as error:\n        return type(error).__name__\n"
        "    return 'done'\n"
        f"home = '/home/{other.name}'\n"
        "print(tried(os.stat, home), tried(os.listdir, home), tried(open, home + '/hello.txt'))"
    )
    lab.on("hub", "test", "-s", f"/home/{other.name}/hello.txt")  # there is something to read
    out = kernel.run(code)
    assert not out.error, out.error
    assert out.text.strip() == "FileNotFoundError FileNotFoundError FileNotFoundError"


def nbgrader(student: Student) -> None:
    """nbgrader answers in the server: its extensions go missing silently when they cannot load."""
    listed = student.request("GET", "assignments", params={"course_id": "intro"})
    assert listed.status_code == 200, listed.text[:300]
    assert "success" in listed.json()
    page = student.request("GET", "lab").text
    config = json.loads(
        re.search(r'<script id="jupyter-config-data"[^>]*>(.*?)</script>', page, re.DOTALL).group(1)
    )
    extensions = [one["name"] for one in config["federated_extensions"]]
    assert "@jupyter/nbgrader" in extensions

    assert validate(student, "return x * x") == {}
    failed = validate(student, "return x + x + 1")["failed"]
    assert "assert square(2) == 4" in failed[0]["source"]


def validate(student: Student, body: str) -> dict[str, Any]:
    """What nbgrader's validate button says about a notebook with this answer."""
    student.save("square.ipynb", _assignment(body), kind="notebook")
    answer = student.request("POST", "assignments/validate", data={"path": "square.ipynb"})
    assert answer.status_code == 200, answer.text[:300]
    assert answer.json()["success"], answer.json()["value"]
    return answer.json()["value"]


def notebook(*cells: str) -> dict[str, Any]:
    """A notebook of code cells."""
    return {
        "cells": [_cell(source, {}) for source in cells],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 4,
    }


def _assignment(body: str) -> dict[str, Any]:
    book = notebook()
    answer = {"grade": False, "solution": True, "locked": False, "grade_id": "square"}
    tests = {"grade": True, "solution": False, "locked": True, "grade_id": "test", "points": 1}
    book["cells"] = [
        _cell(f"def square(x):\n    {body}", answer),
        _cell("assert square(2) == 4", tests),
    ]
    return book


def _cell(source: str, nbgrader_metadata: dict[str, Any]) -> dict[str, Any]:
    metadata = {}
    if nbgrader_metadata:
        metadata["nbgrader"] = {"schema_version": 3, "task": False, **nbgrader_metadata}
    return {
        "cell_type": "code",
        "source": source,
        "metadata": metadata,
        "outputs": [],
        "execution_count": None,
    }


def whole(site: Site, names: tuple[str, str] = ("ada", "bob")) -> list[str]:
    """Two students from the sign-in page to a look at each other's home; their nodes."""
    students = [Student(name, site).sign_in() for name in names]
    nodes = [start(student) for student in students]
    kernels = [work(student) for student in students]
    for student, kernel, other in zip(students, kernels, reversed(students), strict=True):
        file_on_hub(student)
        identity(student, kernel)
        cannot_read(kernel, other)
    nbgrader(students[0])
    for student in students:
        student.stop()
    return nodes
