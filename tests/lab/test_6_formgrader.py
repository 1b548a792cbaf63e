"""The formgrader, through the class's proxy: for graders and instructors, and nobody else."""

import pytest

from tests.lab.test_6_course import QUICKSTART
from tests.support import lab
from tests.support.waiting import wait_until

PAGE = "/services/formgrader/"


@pytest.fixture(scope="module", autouse=True)
def course(site):
    """There is an assignment, and nothing else is asked of the course."""
    lab.shell("hub", QUICKSTART, timeout=300)


@pytest.mark.parametrize("name", ["grace", "prof"])
def test_staff_grade(student, name):
    page = student(name).page(PAGE)
    assert page.status_code == 200, page.text[:500]
    assert page.url.endswith("/services/formgrader/formgrader/manage_assignments")
    listed = student(name).page(f"{PAGE}formgrader/api/assignments")
    assert "ps1" in [assignment["name"] for assignment in listed.json()]
    assert PAGE in student(name).page("/hub/home").text


def test_students_do_not(student):
    for path in ("", "formgrader/gradebook", "formgrader/api/assignments"):
        assert student("ada").page(f"{PAGE}{path}").status_code == 403
    assert PAGE not in student("ada").page("/hub/home").text


def test_it_runs_with_its_own_secret_and_no_capability():
    assert lab.on("hub", "systemctl", "is-active", "classhub-formgrader") == "active"
    pid = lab.on("hub", "systemctl", "show", "classhub-formgrader", "-p", "MainPID", "--value")
    status = lab.on("hub", "cat", f"/proc/{pid}/status")
    assert "CapEff:\t0000000000000000" in status
    variables = lab.on("hub", "cat", f"/proc/{pid}/environ")
    assert "JUPYTERHUB_API_TOKEN=" in variables
    assert "CLASSHUB_" not in variables
    closed = ("/home", "/root", "/etc/jupyterhub", "/etc/salt", "/var/lib/classhub/sealed")
    inside = ("nsenter", "-t", pid, "-m", "find", *closed, "-mindepth", "1")
    assert lab.on("hub", *inside, check=False) == ""


def test_it_comes_back(site, student):
    lab.on("hub", "systemctl", "kill", "--signal=KILL", "classhub-formgrader")
    wait_until("it answers again", lambda: student("grace").page(PAGE).status_code == 200, 60)
