"""Wrong settings: every host says all of them at once, and touches nothing."""

from collections.abc import Iterator

import pytest
import yaml

from tests.lab import snapshot
from tests.support import lab

MACHINE = lab.ROOT / ".lab" / "pillar" / "machine.sls"
FAULTS = {
    "server": {"memory": "1 GBB"},
    "engine": {"swarm_address_pool": "10.213.0.0/99"},
    "hosts": {"node9": {"address": "10.77.0.29", "roles": ["noode"]}},
}
KEYS = [
    "classhub:server:memory",
    "classhub:engine:swarm_address_pool",
    "classhub:hosts:node9",
]


@pytest.fixture
def wrong_settings(site) -> Iterator[None]:
    """Faults in what the lab adds to the class's pillar."""
    saved = MACHINE.read_text(encoding="utf-8") if MACHINE.exists() else None
    pillar = yaml.safe_load(saved or "") or {}
    settings = pillar.setdefault("classhub", {})
    for key, value in FAULTS.items():
        settings[key] = {**settings.get(key, {}), **value}
    MACHINE.parent.mkdir(parents=True, exist_ok=True)
    MACHINE.write_text(yaml.safe_dump(pillar), encoding="utf-8")
    try:
        lab.salt("*", "saltutil.refresh_pillar", "wait=True")
        yield
    finally:
        if saved is None:
            MACHINE.unlink()
        else:
            MACHINE.write_text(saved, encoding="utf-8")
        lab.salt("*", "saltutil.refresh_pillar", "wait=True")


def test_wrong_settings_are_told_together_and_nothing_is_done(wrong_settings):
    before = snapshot.of_all()
    for host, applied in lab.apply().items():
        assert len(applied.failed) == 1, applied.failed or applied.error
        assert not applied.changed
        missing = [key for key in KEYS if key not in applied.failed[0]]
        assert not missing, f"{host} does not name {missing}: {applied.failed[0]}"
        assert "1 GBB" in applied.failed[0]
    assert not snapshot.differences(before, snapshot.of_all())


def test_the_settings_are_right_again(site):
    """The overlay of the test above is gone: a run has nothing to do."""
    applied = lab.apply()
    assert not lab.lines(applied, "failed")
    assert not lab.lines(applied, "changed")
