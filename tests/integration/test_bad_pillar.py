"""A class with faults in its settings: every host reports all of them, and nothing else happens."""

import pytest

from tests.integration.conftest import MINIONS

pytestmark = pytest.mark.slow

FAULTS = [
    "classhub:server:memory: '1 GBB' is not a size",
    "classhub:domain: 'nope' is not a domain name",
]


def test_every_host_reports_all_faults_and_changes_nothing(faulty):
    # before the real thing: would it apply anything but the check?
    tops = faulty.ask_all("state.show_top")
    assert tops == dict.fromkeys(MINIONS, {"base": ["check"]})
    for minion, states in faulty.ask_all("state.apply").items():
        assert len(states) == 1, f"{minion}: {states}"
        (state,) = states.values()
        assert (state["result"], state["changes"]) == (False, {})
        told = state["name"] + state["comment"]
        assert not [fault for fault in FAULTS if fault not in told], told


def test_deployment_stops_at_the_faults(faulty):
    """The operator is told as well, not only each host's job."""
    (state,) = faulty.ask("hub", "state.apply", "check").values()
    assert state["result"] is False


@pytest.mark.parametrize("test", [False, True])
def test_operator_is_told_all_faults_and_nothing_is_deployed(faulty, test):
    """Though the minions have seen nothing but sound settings until now."""
    ret = faulty.master.salt_run_cli(timeout=120).run("classhub.deploy", test=test)
    assert ret.returncode != 0
    told = (ret.stdout + ret.stderr).replace("\\n", "\n")
    assert "Nothing was changed: hub: this class's settings have faults:" in told, told
    assert not [fault for fault in FAULTS if fault not in told], told
