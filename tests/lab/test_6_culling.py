"""Idle servers are stopped, by the verb and by the master's schedule; what computes and who is pinned stays."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab import journey
from tests.support import lab
from tests.support.waiting import wait_until

LOG = "/var/lib/classhub/culling/culled.jsonl"
SILENT = (
    "import time\nfor _ in range({}):\n    time.sleep(1)\nopen('result.txt', 'w').write('done')"
)
BUSY = "skipped: 1 of 1 kernels busy"


@contextmanager
def culling(**settings) -> Iterator[None]:
    """The class with these settings of culling, and with nothing done by the schedule unless they say so."""
    try:
        with lab.settings({"cull": {"interval": 0, "grace": 0, **settings}}):
            apply_course()
            yield
    finally:
        apply_course()


def apply_course() -> None:
    failed = lab.lines(lab.apply("hub", "course"), "failed")
    assert not failed, "\n".join(failed)


def cull(*words: str) -> dict[str, str]:
    return lab.salt_run("classhub.cull", *words)["table"]


def decisions() -> list[tuple[str, str]]:
    """Server and decision of each line of the log."""
    lines = [json.loads(line) for line in lab.on("hub", "cat", LOG).splitlines()]
    assert all(line["reason"] and line["at"] for line in lines)
    return [(line["server"], line["decision"]) for line in lines]


@pytest.mark.parametrize(
    ("idle", "seconds"), [(20, 60), pytest.param(60, 300, marks=pytest.mark.long)]
)
def test_a_computation_outlives_the_policy_and_its_page_and_no_longer(
    quiet, student, idle, seconds
):
    ada, bob, cleo = student("ada"), student("bob"), student("cleo")
    lab.shell("hub", f"rm -f /home/ada/result.txt {LOG}")
    with culling(idle=idle, pins=["cleo"]):
        for one in (ada, bob, cleo):
            journey.start(one)
        ada.kernel().begin(SILENT.format(seconds))
        began = time.monotonic()
        time.sleep(idle + 5)

        assert cull("test=True")["bob"].startswith("done: would be stopped, idle 0:0")
        assert sorted(lab.servers()) == ["ada", "bob", "cleo"]
        told = cull()
        assert told["ada"].startswith(BUSY), told
        assert told["bob"].startswith("done: stop"), told
        assert told["cleo"] == "skipped: pinned"
        assert sorted(lab.servers()) == ["ada", "cleo"]
        assert lab.operator(quiet).server("bob") == {}

        wait_until(
            "ada's server is stopped",
            lambda: cull().get("ada", "").startswith("done: stop"),
            seconds + idle + 120,
            pause=5,
        )
        assert time.monotonic() - began > seconds, "it was stopped before the computation ended"
        lab.on("hub", "test", "-s", "/home/ada/result.txt")
        assert lab.servers() == ["cleo"]
        assert cleo.answers()
    made = decisions()
    assert ("bob", "stopped") in made
    assert [decision for server, decision in made if server == "ada"][0] == "kept"
    assert made[-1] == ("ada", "stopped")


def test_the_schedule_of_the_master_does_it_alone(quiet, student):
    bob, cleo = student("bob"), student("cleo")
    journey.start(bob)
    journey.start(cleo)
    with culling(interval=60, idle=20, pins=["cleo"]):
        wait_until("bob's server is stopped", lambda: lab.servers() == ["cleo"], 240, pause=2)
    assert cleo.answers()


@pytest.mark.long
def test_where_memory_is_short_who_idles_longest_goes_and_no_more(quiet, student):
    """Three servers on one node, of which there is room for two and a half; with a pressure, ten minutes are the least."""
    ada, bob, cleo = student("ada"), student("bob"), student("cleo")
    lab.salt_run("classhub.drain", "node2")
    try:
        total = lab.ready_nodes()["node1"]["Description"]["Resources"]["MemoryBytes"]
        with culling(grace=600, pressure=round(2.5 * (1 << 30) / total, 4)):
            assert {journey.start(one) for one in (ada, bob)} == {"node1"}
            time.sleep(60)
            bob.kernel().run("6 * 7")
            assert cull()["ada"].startswith("skipped")  # there is room for two
            journey.start(cleo)
            assert cull()["ada"].startswith("skipped")  # it is too soon
            told = wait_until(
                "somebody is stopped",
                lambda: [found for found in [cull()] if "done: stop" in str(found)],
                900,
                pause=10,
            )[0]
        assert "node1 is short of memory" in told["ada"]
        assert [user for user, words in told.items() if words.startswith("done")] == ["ada"]
        assert lab.servers() == ["bob", "cleo"]
    finally:
        lab.salt_run("classhub.resume", "node2")


@pytest.mark.long
def test_asking_a_server_is_no_use_of_it(quiet, student):
    ada = student("ada")
    journey.start(ada)
    with culling(idle=10):
        time.sleep(12)
        before = ada.request("GET", "api/status").json()["last_activity"]
        assert cull("test=True")["ada"].startswith("done: would be stopped")
        assert ada.request("GET", "api/status").json()["last_activity"] == before


def test_the_token_of_culling_is_for_root_and_for_no_more(quiet):
    assert lab.on("hub", "stat", "-c", "%U %a", "/etc/jupyterhub/culler.token") == "root 600"
    boss = lab.operator(quiet)
    boss.token = lab.on("hub", "cat", "/etc/jupyterhub/culler.token")
    assert boss.request("GET", "users?state=active").status_code == 200
    assert boss.request("POST", "users/ada/server").status_code in (403, 404)
    assert boss.request("GET", "proxy").status_code in (403, 404)
