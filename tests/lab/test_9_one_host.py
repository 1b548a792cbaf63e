"""The small class: one host with every role. Runs last, and leaves no lab behind."""

from collections.abc import Iterator

import pytest

from tests.lab import journey
from tests.lab.conftest import FRESH
from tests.support import lab
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def one_host() -> Iterator[None]:
    if not FRESH:
        pytest.skip("remakes the lab: set CLASSHUB_LAB_FRESH=1")
    lab.lab("down")
    lab.lab("up", HOSTS="one")
    yield
    lab.lab("down")
    assert lab.hosts() == []


def test_students_work_on_the_only_host(one_host):
    assert lab.hosts() == ["hub"]
    where = lab.site()
    lab.wait_for_hub(where)
    assert journey.whole(where) == ["hub", "hub"]


def _minion() -> str:
    """The minion's process. One that is about to end takes a job, and never answers."""
    return lab.on("hub", "systemctl", "show", "salt-minion", "--property=MainPID", "--value")


def test_the_only_host_is_deployed(one_host):
    """Its minion is restarted, as its engine is new, and ends what runs five seconds later."""
    before = _minion()
    lab.on("hub", "rm", "/etc/salt/minion.d/classhub-activity.conf")
    told = lab.salt_run("classhub.deploy")
    assert told["hosts"] == {"hub": 2}  # the file, and the minion
    wait_until("the minion is another", lambda: _minion() not in ("0", before), 60)
    lab.wait_for_minions()


def test_a_second_run_changes_nothing(one_host):
    applied = lab.apply()
    assert not lab.lines(applied, "failed")
    assert not lab.lines(applied, "changed")
