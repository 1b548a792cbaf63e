"""classhub functions: what a host tells of its class."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

HOSTS = {
    "hub": {"address": "192.0.2.11", "roles": ("hub",), "more": "of no use"},
    "node1": {"address": "192.0.2.21", "roles": ("node",), "more": "of no use"},
}


@pytest.fixture
def module(monkeypatch):
    module = load("modules", "classhub")
    pillar = {"classhub": {"hosts": HOSTS, "faults": []}}
    monkeypatch.setattr(module, "__pillar__", pillar, raising=False)
    return module


def test_hosts(module):
    assert module.hosts() == {
        "hub": {"address": "192.0.2.11", "roles": ["hub"]},
        "node1": {"address": "192.0.2.21", "roles": ["node"]},
    }


def test_faults_of_the_settings_are_told_all_together(module):
    module.__pillar__["classhub"]["faults"] = ["classhub:domain: missing", "classhub:hosts: none"]
    with pytest.raises(CommandExecutionError) as caught:
        module.hosts()
    title, *told = str(caught.value).split("\n- ")
    assert title == "this class's settings have faults:"
    assert told == ["classhub:domain: missing", "classhub:hosts: none"]
