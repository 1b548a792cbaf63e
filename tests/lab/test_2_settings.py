"""Wrong settings: every host says all of them at once, and touches nothing."""

import pytest

from tests.lab import snapshot
from tests.support import lab

FAULTS = {
    "server": {"memory": "1 GBB"},
    "engine": {"swarm_address_pool": "10.213.0.0/99"},
    "hosts": {"node9": {"address": "10.77.0.29", "roles": ["noode"]}},
    "roster": {"file": "faulty.csv"},
}
ROSTER = "username,role,uid\nada,student,20500\nada,student,\nbob,student,20500\n"
KEYS = [
    "classhub:server:memory: '1 GBB' is not a size",
    "classhub:engine:swarm_address_pool",
    "classhub:hosts:node9:roles: unknown role 'noode'",
    "classhub:roster:file: faulty.csv: line 3: username ada is on line 2 already",
    "classhub:roster:file: faulty.csv: line 4: uid 20500 is on line 2 already",
]


def _refused(keys: list[str]) -> None:
    before = snapshot.of_all()
    for host, applied in lab.apply().items():
        assert len(applied.failed) == 1, applied.failed or applied.error
        assert not applied.changed
        missing = [key for key in keys if key not in applied.failed[0]]
        assert not missing, f"{host} does not name {missing}: {applied.failed[0]}"
    assert not snapshot.differences(before, snapshot.of_all())


def test_wrong_settings_are_told_together_and_nothing_is_done(site):
    with lab.settings(FAULTS, **{"faulty.csv": ROSTER}):
        _refused(KEYS)


@pytest.mark.long
def test_a_missing_roster_is_told_and_nothing_is_done(site):
    with lab.settings({"roster": {"file": "absent.csv"}}):
        _refused(["classhub:roster:file: there is no absent.csv"])


def test_the_settings_are_right_again(site):
    """The overlay of the tests above is gone: a run has nothing to do."""
    applied = lab.apply()
    assert not lab.lines(applied, "failed")
    assert not lab.lines(applied, "changed")
