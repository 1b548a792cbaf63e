"""The master's own schedule looks at what is due, with nobody who says it."""

from pathlib import Path

import pytest

from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


def test_the_schedule_of_the_master_runs(running):
    """Its first look only begins the first interval."""
    stamp = Path(running.master.config["cachedir"]) / "classhub" / "cull"
    wait_until("the master has looked at what is due", stamp.exists, 150, pause=2)
