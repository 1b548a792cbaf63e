"""The hub keeps a calendar by itself: Salt's schedule on its minion, and nobody who says a verb."""

import json
from collections.abc import Iterator

import pytest

from tests.lab.test_6_course import QUICKSTART, forget, verb
from tests.support import lab
from tests.support.waiting import wait_until

JOURNAL = "/var/lib/classhub/course/.calendar.json"


def apply_course(assignments: dict) -> None:
    """The states of the course with this calendar, as if it were in the class's pillar."""
    pillar = {"classhub": {"course": {"assignments": assignments}}}
    states = lab.salt("hub", "state.apply", "course", f"pillar={json.dumps(pillar)}")["hub"]
    failed = [state["comment"] for state in states.values() if state["result"] is False]
    assert not failed, failed


@pytest.fixture
def course(quiet) -> Iterator[None]:
    forget(("ada", "bob"))
    lab.shell("hub", f"{QUICKSTART}\nrm -f {JOURNAL}", timeout=300)
    yield
    apply_course({})
    lab.shell("hub", f"rm -f {JOURNAL}")
    forget(("ada", "bob"))


def test_an_assignment_is_released_and_collected_by_the_schedule_alone(course):
    plan = {"ps1": {"release": "2026-01-01T08:00", "due": "2026-01-08T08:00"}}
    assert verb("calendar") == {}
    apply_course(plan)
    wait_until("all that was missed is done", is_done, 180, pause=5)
    lab.on("hub", "test", "-s", "/home/ada/ps1/problem1.ipynb")
    shown = verb("calendar")["ps1"]
    assert shown["due"] == "2026-01-08 08:00+01:00"
    assert [action["verb"] for action in shown["actions"]] == ["release", "collect"]
    assert verb("keep_calendar")["table"] == {}

    apply_course({})
    assert "classhub_calendar" not in str(lab.salt("hub", "schedule.list")["hub"])


def is_done() -> bool:
    actions = verb("calendar")["ps1"]["actions"]
    return all(action["outcome"].startswith("done") for action in actions)
