"""The roster and real accounts: systemd-sysusers, Salt's user and group modules, homes, in a copy of /etc."""

import os
from pathlib import Path

import pytest

from tests.support.own_accounts import person, prepare, reconcile, within

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root makes accounts")
NAMES = [f"s{number:03d}" for number in range(200)]


@pytest.fixture
def host(tmp_path):
    return prepare(tmp_path / "host")


def known(host: Path, kind: str, name: str) -> str:
    """A line of passwd or group, as the host's own programs see it."""
    return within(host, ["getent", kind, name]).stdout.strip()


def test_a_class_of_two_hundred_in_one_go_and_a_second_run_changes_nothing(host):
    people = [person(name) for name in NAMES] + [person("prof", "instructor")]
    told = reconcile(host, people)
    assert set(told["table"].values()) == {
        "done: account, group students, home, name files",
        "done: account, group instructors, home, name files",
    }
    assert told["left"] == {}
    before = {path: path.stat().st_mtime_ns for path in (host / "etc").glob("*s*w*")}
    again = reconcile(host, people)
    assert (again["table"], again["left"]) == ({}, {})
    assert before == {path: path.stat().st_mtime_ns for path in (host / "etc").glob("*s*w*")}
    assert known(host, "group", "students").partition("x:")[2].count(",") == 199


@pytest.mark.parametrize(
    "name", ["Zoë Łukasz", '100 %s "quoted" \\', "O'Neill; $(id)", "林 美麗", ""]
)
def test_names_of_people_arrive_as_they_are(host, name):
    people = [person("zoe") | {"name": name}]
    assert reconcile(host, people)["left"] == {}
    assert known(host, "passwd", "zoe").split(":")[4] == name


def test_nobody_can_sign_in_to_the_host_itself(host):
    reconcile(host, [person("ada")])
    assert known(host, "passwd", "ada").endswith(":/usr/sbin/nologin")
    (line,) = [
        line for line in (host / "etc/shadow").read_text().splitlines() if line.startswith("ada:")
    ]
    assert line.split(":")[1].startswith("!")


def test_role_name_drop_and_return(host):
    people = [person("ada"), person("bob")]
    reconcile(host, people)
    (host / "home/bob/work.txt").write_text("mine")
    uid = known(host, "passwd", "bob").split(":")[2]

    told = reconcile(host, [person("ada", "grader", "Ada Lind")])
    assert told["table"]["ada"] == "done: name, group graders, other groups left, name files"
    assert told["table"]["bob"] == "done: locked, home archived"
    assert told["left"] == {}
    assert "bob" not in known(host, "group", "students")
    assert known(host, "group", "classhub-left").endswith(":bob")
    assert (host / "home/.archive/bob/work.txt").read_text() == "mine"

    told = reconcile(host, [person("ada", "grader", "Ada Lind"), person("bob")])
    assert told["table"] == {"bob": "done: group students, home back from the archive"}
    assert known(host, "passwd", "bob").split(":")[2] == uid
    assert (host / "home/bob/work.txt").read_text() == "mine"


def test_homes_outlive_the_hub_and_change_no_hands(host, tmp_path):
    reconcile(host, [person("ada"), person("bob")])
    (host / "home/bob/work.txt").write_text("mine")
    new = prepare(tmp_path / "new")
    (new / "home").rmdir()
    (host / "home").rename(new / "home")
    with pytest.raises(AssertionError, match="bob belongs to the uid 40001, and the class would"):
        reconcile(new, [person("bob"), person("ada")])
    reconcile(new, [person("bob", uid=40001), person("ada", uid=40000)])
    assert known(new, "passwd", "bob").startswith("bob:x:40001:40001:")
    assert (new / "home/bob").stat().st_uid == 40001


def test_nobody_is_of_a_group_of_the_host_by_a_name_or_a_number(host):
    reconcile(host, [person("ada")])
    with (host / "etc/group").open("a") as groups:
        groups.write("faculty:x:40001:\n")
    for taken in (person("instructors"), person("faculty"), person("carl", uid=40001)):
        with pytest.raises(AssertionError, match=f"{taken['username']}: "):
            reconcile(host, [person("ada"), taken])
    reconcile(host, [person("ada"), person("carl")])
    assert known(host, "passwd", "carl").startswith("carl:x:40002:40002:")
    assert known(host, "group", "carl") == "carl:x:40002:"


def test_an_account_of_adduser_is_adopted_and_comes_to_rest(host):
    for file, line in (
        ("passwd", "eve:x:3000:3000:Eva Moss,,,:/home/eve:/bin/bash"),
        ("group", "eve:x:3000:"),
    ):
        with (host / "etc" / file).open("a") as accounts:
            accounts.write(f"{line}\n")
    told = reconcile(host, [person("eve", name="Eva Moss", uid=3000)])
    done = {"eve": "done: shell, group students, home, name files"}
    assert (told["table"], told["left"]) == (done, {})
    told = reconcile(host, [person("eve", name="Eve Moss", uid=3000)])
    assert (told["table"], told["left"]) == ({"eve": "done: name, name files"}, {})
    assert known(host, "passwd", "eve").split(":")[4].split(",")[0] == "Eve Moss"


def test_accounts_of_the_host_are_left_as_they_are(host):
    before = (host / "etc/passwd").read_text()
    reconcile(host, [person("ada")])
    assert (host / "etc/passwd").read_text().startswith(before)
