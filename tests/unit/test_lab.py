"""What of the lab can be checked without containers."""

from __future__ import annotations

import pytest

from lab import hosts, states
from lab.common import LabError


@pytest.mark.parametrize("kind", ["full", "one"])
def test_example_classes_have_every_role(kind: str) -> None:
    roles = {role for host in hosts.read(kind) for role in host.roles}
    assert roles == {"proxy", "hub", "node"}


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(LabError, match=r"no host node9; there are proxy, hub, node1, node2"):
        hosts.find(hosts.read("full"), ["node9"])


def test_only_states_that_failed_themselves_are_told() -> None:
    base = {"__sls__": "hub", "changes": {}}
    result = {
        "a": {**base, "__id__": "Hub user exists", "result": True, "comment": "fine"},
        "b": {**base, "__id__": "Hub runs", "result": False, "comment": "no such unit"},
        "c": {
            **base,
            "__id__": "Hub answers",
            "result": False,
            "comment": "One or more requisite failed: hub.Hub runs",
        },
    }
    assert states.failed(result) == ["Hub runs (hub):\n    no such unit"]


@pytest.mark.parametrize("result", ["Minion did not return. [No response]", ["Rendering failed"]])
def test_a_minion_without_states_has_failed(result: object) -> None:
    assert states.failed(result)


def test_returns_are_found_between_other_lines() -> None:
    out = '{\n "hub": true\n}\nMinion did not return {odd}\n{"node1": {"a": 1}}\n'
    assert states.documents(out) == {"hub": True, "node1": {"a": 1}}
