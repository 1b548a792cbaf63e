"""The class's disk is full: homes and exchange are on one small ext4, as on the hub of a small class."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.functional.test_course_release import (
    FILES,
    GIVEN,
    HAS,
    Course,
    one_thread,  # noqa: F401 - a fixture for all tests here, too
    stages,
    tree,
)
from tests.support import class_hub
from tests.support.disks import fill, small_ext4

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts a disk"),
]
STUDENTS = 100
WORK = FILES | {"large.bin": b"x" * 40_000}


@pytest.fixture
def course(tmp_path):
    """A course of a hundred on a disk of 32 MiB."""
    os.umask(0o022)
    with (
        tempfile.TemporaryDirectory(prefix="full-") as scratch,
        small_ext4(Path(scratch), tmp_path / "disk", 32 << 20),
    ):
        Path(scratch).chmod(0o711)
        made = Course(Path(scratch), STUDENTS)
        made.write_release(WORK)
        yield made


def filler(course: Course) -> Path:
    return course.homes / "filler"


def whole_or_nothing(course: Course, table: dict[str, str]) -> None:
    for name, told in table.items():
        home = course.homes / name
        assert tree(home / "ps1") == (WORK if "failed" not in told else {}), name
        assert (home / "ps1").exists() is ("failed" not in told)
        assert stages(home) == []


def test_a_release_gives_to_whom_there_is_room_for_and_the_next_one_to_the_rest(course):
    fill(course.homes, 1600)
    table = course.release(code=1)
    assert set(table.values()) == {GIVEN, "failed: the disk is full"}
    assert list(table.values()).count(GIVEN) > 10
    whole_or_nothing(course, table)
    assert course.release(code=1).keys() == table.keys()  # as full as before
    filler(course).unlink()
    again = course.release()
    assert again == {name: HAS if told == GIVEN else GIVEN for name, told in table.items()}
    whole_or_nothing(course, again)


def test_a_disk_that_has_no_room_at_all_refuses_the_release_in_one_sentence(course):
    fill(course.homes)
    answer = course.run("release", "ps1", code=2)
    assert answer == {
        "error": f"the exchange {course.base}/exchange cannot be written: No space left on device"
    }
    assert not course.outbound.exists()
    assert not any((course.homes / name / "ps1").exists() for name in course.uids)
    filler(course).unlink()
    assert set(course.release().values()) == {GIVEN}


def test_a_new_version_does_not_cost_the_old_one(course):
    course.release()
    course.write_release(WORK | {"large.bin": b"y" * 40_000})
    fill(course.homes, 300)
    table = course.release("--force", code=1)
    failed = [name for name, told in table.items() if told == "failed: the disk is full"]
    assert failed
    for name in failed:
        assert tree(course.homes / name / "ps1") == WORK
        assert stages(course.homes / name) == []
    filler(course).unlink()
    assert not course.run("release", "ps1", "--force")["summary"]["failed"]


def test_students_make_room_themselves(course):
    course.release("--students", "s0")
    fill(course.homes)
    with course.as_student("s0"):
        (course.homes / "s0/ps1/large.bin").unlink()
    work = course.homes / "s0/ps1/answer.txt"
    with course.as_student("s0"):
        work.write_text("y" * 20_000)
    assert len(work.read_text()) == 20_000


def test_the_watch_of_the_disk_goes_on(course):
    fill(course.homes)
    run = course.base.parent / f"{course.base.name}.json"
    course.config.write_text(json.dumps(course.data | {"disk_state": str(run)}))
    command = [sys.executable, "-m", "classhub.disk", "--config", course.config, "watch"]
    environment = {"PYTHONPATH": str(Path(__file__).parents[2] / "salt/hub/package")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
        assert f"warning: {course.homes} is full to 100 %" in done.stderr
        assert json.loads(run.read_text())["free"] < 64 << 10
    finally:
        run.unlink(missing_ok=True)


# -- the hub's own disk, where it is not that of the homes


@pytest.fixture
def hub(tmp_path):
    tmp_path.chmod(0o755)
    made = class_hub.ClassHub(tmp_path)
    for number, name in enumerate(("ada", "bob")):
        made.add(name, 21000 + number, "students")
    with small_ext4(made.state, tmp_path / "disk", 8 << 20):
        made.state.chmod(0o700)
        oauth = {"class": "", "client_secret": "", "settings": {}}
        try:
            made.start({"authenticator": "lab", "lab_password": "lab", "oauth": oauth})
            yield made
        finally:
            made.close()


def sign_in(hub, name: str):
    """A browser that has sent the form, and the answer."""
    browser, page = hub.session(), f"{hub.url}/hub/login"
    browser.get(page, timeout=60)
    form = {
        "username": name,
        "password": "lab",
        "_xsrf": browser.cookies.get("_xsrf", path="/hub/"),
    }
    answer = browser.post(f"{page}?next=/hub/home", form, headers={"Referer": page}, timeout=60)
    return browser, answer


def test_a_hub_whose_own_disk_was_full_goes_on_without_a_restart(hub):
    ada, answer = sign_in(hub, "ada")
    assert (answer.status_code, answer.url) == (200, f"{hub.url}/hub/home")
    fill(hub.state)
    assert sign_in(hub, "bob")[1].status_code == 500
    home = ada.get(f"{hub.url}/hub/home", timeout=60)
    assert (home.status_code, home.url) == (200, f"{hub.url}/hub/home")  # who is in stays in
    (hub.state / "filler").unlink()
    assert sign_in(hub, "bob")[1].url == f"{hub.url}/hub/home"
    for name in ("ada", "bob"):
        assert hub.operator("POST", f"users/{name}/server").status_code in (201, 202)
