"""From bare hosts to a class: predicted, done in one run, nothing left to do, interruptible."""

import time

import pytest

from tests.lab import snapshot
from tests.support import lab
from tests.support.waiting import wait_until


def test_a_dry_run_on_bare_hosts_predicts_and_does_nothing(fresh_hosts):
    before = snapshot.of_all()
    applied = lab.apply("*", "test=True")
    assert not lab.lines(applied, "failed")
    for host in fresh_hosts:
        assert applied[host].predicted, f"{host}: nothing is predicted on a bare host"
    assert not snapshot.differences(before, snapshot.of_all())


def _one_file(folder: str) -> str | None:
    """A file of a folder that hosts must not read; None where the checkout lacks the folder."""
    files = (path for path in (lab.ROOT / folder).rglob("*") if path.is_file())
    found = next(files, None)
    return str(found.relative_to(lab.ROOT)) if found else None


@pytest.mark.parametrize(
    "folder", ["pillar", ".git", "_runners", "reactor", "lab", ".lab", "tests"]
)
def test_hosts_cannot_read_what_is_not_theirs(hosts, folder):
    path = _one_file(folder)
    if path is None:
        assert folder in (".git", ".lab"), f"{folder} has no file: what does this test prove?"
        return
    for url in (f"salt://{path}", f"salt://../{path}", f"salt://_modules/../../{path}"):
        read = [host for host, text in lab.salt("*", "cp.get_file_str", url).items() if text]
        assert not read, f"{read} could read {url}"


def test_hosts_can_read_the_states(hosts):
    """The control of the test above: reading works where it may."""
    assert "server:" in lab.salt("hub", "cp.get_file_str", "salt://defaults.yaml")["hub"]


def test_one_run_makes_the_class(fresh_hosts):
    began = time.monotonic()
    applied = lab.apply()
    print(f"state.apply on bare hosts: {time.monotonic() - began:.0f} s")
    assert not lab.lines(applied, "failed")
    for host in fresh_hosts:
        assert applied[host].changed, f"{host}: nothing was done"


def _nothing_to_do() -> None:
    applied = lab.apply()
    assert not lab.lines(applied, "failed")
    assert not lab.lines(applied, "changed")


def test_a_second_run_changes_nothing(site):
    _nothing_to_do()


def test_a_dry_run_of_the_class_predicts_nothing(site):
    applied = lab.apply("*", "test=True")
    assert not lab.lines(applied, "failed")
    assert not lab.lines(applied, "predicted")


@pytest.mark.long
def test_a_run_that_is_killed_is_taken_up_by_the_next(fresh_hosts, site):
    """node2 is new again; its minion dies with its job while Debian's packages are unpacked."""
    lab.lab("recreate", "node2")
    lab.wait_for_minions()
    lab.run(lab.salt_command("salt"), "--async", "node2", "state.apply")
    wait_until(
        "the engine is being installed on node2",
        lambda: lab.shell("node2", "test -e /usr/sbin/dockerd && echo yes", check=False),
        300,
        pause=0.2,
    )
    lab.on("node2", "systemctl", "kill", "--signal=KILL", "salt-minion")
    lab.on("node2", "systemctl", "restart", "salt-minion")
    lab.wait_for_minions()
    applied = lab.apply()
    assert not lab.lines(applied, "failed")
    assert "node2" in lab.ready_nodes()
    lab.apply("hub")  # takes the node2 that was off the swarm's list
    _nothing_to_do()
