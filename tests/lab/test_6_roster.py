"""The roster changes while the class runs: somebody comes late, somebody leaves with a server that runs, and comes back."""

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.client import Student
from tests.support.waiting import wait_until

ROSTER = (lab.ROOT / "pillar/example/lab/roster.csv").read_text(encoding="utf-8")
RELEASED = "/var/lib/classhub/course/release/before-zoe"


@pytest.fixture
def released(site):
    """An assignment that was given out before."""
    lab.on("hub", "mkdir", "-p", RELEASED)
    lab.shell("hub", f"echo read this >{RELEASED}/read.md")
    report = lab.salt_run("classhub.release", "before-zoe", "generate=False")
    assert report["summary"]["failed"] == 0, report
    return "before-zoe"


def roster(text, **options):
    with lab.settings({"roster": {"file": "changed.csv"}}, **{"changed.csv": text}):
        return lab.salt_run(
            "classhub.roster", *(f"{key}={value}" for key, value in options.items())
        )


def test_one_comes_and_one_leaves_and_comes_back(quiet, released):
    bob = Student("bob", quiet).sign_in()
    journey.start(bob)
    bob.save("work.txt", "mine")
    uid = lab.on("hub", "id", "-u", "bob")
    lines = [line for line in ROSTER.splitlines(keepends=True) if not line.startswith("bob,")]
    changed = "".join(lines) + "zoe,Zoë Lind,zoe@class.test,student,A\n"

    predicted = roster(changed, test=True)["table"]
    assert predicted["bob"] == "done: locked, home archived"
    assert predicted["zoe"].startswith("done: ")
    assert "group students, home" in predicted["zoe"]
    assert "bob" in lab.servers(), "test=True does nothing"

    done = roster(changed)
    assert (done["summary"]["failed"], set(done["table"])) == (0, {"bob", "zoe"}), done
    assert lab.on("hub", "cat", f"/home/zoe/{released}/read.md") == "read this"
    zoe = Student("zoe", quiet).sign_in()
    journey.start(zoe)
    assert released in zoe.files()
    zoe.stop()

    wait_until("bob's server is gone", lambda: "bob" not in lab.servers(), 60)
    assert lab.on("hub", "cat", "/home/.archive/bob/work.txt") == "mine"
    assert Student("bob", quiet).send_sign_in_form().status_code == 403
    begun = bob.start()
    assert not begun.ready, "a cookie of before starts no server"
    assert lab.shell("hub", "test -e /home/bob || echo gone") == "gone"

    again = roster(ROSTER)
    assert again["table"]["bob"].startswith("done: group students, home back from the archive")
    assert again["table"]["zoe"] == "done: locked, home archived"
    assert roster(ROSTER)["table"] == {}
    assert lab.on("hub", "stat", "-c", "%u %a", "/home/bob") == f"{uid} 700"
    bob = Student("bob", quiet).sign_in()
    journey.start(bob)
    assert {"work.txt", released} <= set(bob.files())


def test_a_roster_that_was_cut_off_stops_nobody(site):
    cut = "".join(ROSTER.splitlines(keepends=True)[:6])
    with pytest.raises(lab.CommandFailed, match="are not on the roster any more"):
        roster(cut)
    assert "s01" in lab.on("hub", "getent", "group", "students")
    assert roster(ROSTER)["table"] == {}


@pytest.mark.long
def test_a_thousand_come_in_one_go_and_leave_again(site):
    more = "".join(f"t{number:04d},T {number},,student,T\n" for number in range(1000))
    done = roster(ROSTER + more)
    assert done["summary"] == {"done": 1000, "failed": 0}
    assert roster(ROSTER + more)["table"] == {}
    with pytest.raises(lab.CommandFailed, match="drops=1000"):
        roster(ROSTER)
    assert roster(ROSTER, drops=1000)["summary"]["done"] == 1000
