"""The backup of the real class: a file given back, and a hub that is lost, recovered from its backup, and taught on."""

import time

import pytest

from tests.lab import journey
from tests.lab.test_6_course import ANSWER, QUICKSTART, receipts, verb
from tests.support import lab
from tests.support.client import Site, Student
from tests.support.waiting import wait_until

KEPT = (
    "/var/lib/classhub/uids.json",
    "/etc/jupyterhub/secrets.env",
    "/etc/classhub/ca/current.pem",
)


def test_a_file_is_given_back_beside_the_current_one(quiet, student):
    ada = student("ada")
    journey.start(ada)
    kernel = ada.kernel()
    assert not kernel.run("open('lost.txt', 'w').write('monday')").error
    assert verb("backup")["summary"]["failed"] == 0
    assert not kernel.run("open('lost.txt', 'w').write('tuesday')").error
    report = lab.salt_run("classhub.restore", "ada", "lost.txt")
    assert report["table"]["ada"].startswith("done: restored as ~/lost (restored "), report
    name = report["table"]["ada"].removeprefix("done: restored as ~/").partition(", as of")[0]
    assert kernel.run(f"print(open({name!r}).read(), open('lost.txt').read())").text.split() == [
        "monday",
        "tuesday",
    ]
    journey.file_on_hub(ada, name)
    lab.on("hub", "rm", f"/home/ada/{name}")


def test_the_backup_proves_itself_as_the_timers_do_it(site):
    for unit in ("classhub-backup", "classhub-backup-drill", "classhub-backup-prune"):
        lab.on("hub", "systemctl", "start", f"{unit}.service", timeout=600)
    report = verb("snapshots")
    assert all(told.startswith("done") for told in report["table"].values()), report
    assert report["summary"]["snapshots"]


def test_a_unit_that_fails_is_seen(site):
    """The homes' marker is away for a moment, as with a disk that is not mounted."""
    marker = "/home/.classhub/filesystem.json"
    lab.on("hub", "mv", marker, f"{marker}.away")
    try:
        lab.on("hub", "systemctl", "start", "classhub-backup.service", check=False, timeout=600)
    finally:
        lab.on("hub", "mv", f"{marker}.away", marker)
    assert "classhub-backup.service" in lab.on("hub", "systemctl", "--failed", "--plain")
    told = lab.on("hub", "journalctl", "--unit=classhub-backup", "--lines=20", "--output=cat")
    assert "is not the class's filesystem. Is its disk mounted?" in told
    assert verb("snapshots")["table"]["backup"].startswith("failed")
    lab.on("hub", "systemctl", "start", "classhub-backup.service", timeout=600)
    assert verb("snapshots")["table"]["backup"].startswith("done")


@pytest.mark.long
def test_the_hub_is_saved_before_its_packages_change(site):
    """As where an older version of classhub was deployed; and not at all where it cannot be saved."""
    lock, trouble = (
        "/opt/jupyterhub/requirements.txt",
        "/run/systemd/system/classhub-backup.service.d",
    )
    before = len(verb("snapshots")["summary"]["snapshots"])
    lab.shell(
        "hub",
        f"echo '# older' >>{lock}; mkdir {trouble}; "
        f"printf '[Service]\\nExecStartPre=false\\n' >{trouble}/x.conf; systemctl daemon-reload",
    )
    try:
        failed = lab.lines(lab.apply("hub", "hub.venv"), "failed")
    finally:
        lab.shell("hub", f"rm -r {trouble}; systemctl daemon-reload")
    assert ["Hub is saved before its packages change" in line for line in failed] == [True], failed
    assert lab.on("hub", "tail", "-1", lock) == "# older"
    applied = lab.apply("hub", "hub.venv")
    assert not lab.lines(applied, "failed")
    assert "Hub is saved before" in lab.lines(applied, "changed")[0]
    assert lab.on("hub", "tail", "-1", lock) != "# older"
    assert len(verb("snapshots")["summary"]["snapshots"]) == before + 1
    assert not lab.lines(lab.apply("hub", "hub.venv"), "changed")
    assert not lab.lines(lab.apply("hub"), "failed")  # what runs with them is restarted


def work(site: Site) -> tuple[dict[str, str], str]:
    """A student with a file and a grade; what the hub must still have afterwards."""
    bob = Student("bob", site).sign_in()
    lab.shell("hub", QUICKSTART, timeout=300)
    verb("release", "ps1")
    journey.start(bob)
    kernel = bob.kernel()
    assert not kernel.run(ANSWER.replace("NAME", "bob")).error
    assert not kernel.run("open('kept.txt', 'w').write('all of the term')").error
    assert "Submitted as: intro ps1" in bob.terminal().run("nbgrader submit ps1", 60)
    wait_until("it is sealed", lambda: verb("seal") and receipts("bob"), 90)
    verb("collect", "ps1")
    graded = verb("autograde", "ps1", "students=bob")
    assert not graded["summary"]["failed"], graded
    lab.stop_everyone(site)
    grades = lab.salt("hub", "classhub.grades", "ps1")["hub"]
    assert "bob" in grades
    return {path: lab.on("hub", "cat", path) for path in KEPT}, grades


def lose_the_hub() -> None:
    """The host and the homes: nothing is left but the proxy, the nodes, and the repository."""
    lab.lab("recreate", "hub")
    lab.shell("node1", "find /home -mindepth 1 -delete", timeout=600)
    lab.wait_for_minions()


@pytest.mark.long
def test_a_hub_that_is_lost_comes_back(fresh_hosts, quiet):
    kept, grades = work(quiet)
    assert verb("backup")["summary"]["failed"] == 0
    lose_the_hub()

    began = time.monotonic()
    lab.salt("hub", "saltutil.sync_all")
    assert not lab.lines(lab.apply("hub", "backup"), "failed")
    ready = time.monotonic()
    assert lab.salt_run("classhub.recover", "test=True")["summary"]["failed"] == 0
    assert not lab.on("hub", "ls", "/home")
    report = lab.salt_run("classhub.recover", timeout=1800)
    assert report["summary"]["failed"] == 0, report
    recovered = time.monotonic()
    lab.salt_run("classhub.deploy", timeout=3600)
    lab.wait_for_hub(quiet)
    bob = Student("bob", quiet).sign_in()
    journey.start(bob)
    assert bob.kernel().run("print(open('kept.txt').read())").text.strip() == "all of the term"
    print(
        f"ready for it {ready - began:.0f} s, recovered {recovered - ready:.0f} s, "
        f"deployed and a student at work {time.monotonic() - recovered:.0f} s"
    )
    journey.file_on_hub(bob, "kept.txt")
    assert {path: lab.on("hub", "cat", path) for path in KEPT} == kept
    assert lab.salt("hub", "classhub.grades", "ps1")["hub"] == grades
    assert not verb("verify")["summary"]["failed"]
    assert verb("backup")["summary"]["failed"] == 0
    refused = lab.salt("hub", "classhub.recover")["hub"]
    assert "this hub has a class already" in str(refused)
