"""Culling against a hub that speaks the real API, with servers of every kind behind it."""

import asyncio
import json
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from tests.support.stub_hub import ODD, TOKEN, StubHub, ago, kernel, serving, terminal

import tests.support.hub  # noqa: F401  isort: skip

from classhub.course.report import Refused
from classhub.course.settings import Person, Settings
from classhub.culling import hub as hub_module
from classhub.culling.asking import Place
from classhub.culling.policy import Room
from classhub.culling.rules import Rules
from classhub.culling.run import Cull

GIB = 1 << 30
CLOSED = "http://127.0.0.1:9/"  # where nobody listens


@pytest.fixture
def hub():
    with serving(StubHub()) as made:
        yield made


class Class:
    """A class around the stub.

    Attributes:
        nodes: server's key -> node, of those that are on none
        elsewhere: server's key -> place
    """

    def __init__(self, hub, tmp_path):
        self.hub, self.tmp_path = hub, tmp_path
        self.nodes, self.elsewhere, self.rooms = {}, {}, {}
        (tmp_path / "token").write_text(TOKEN + "\n")

    def settings(self, **rules):
        people = (Person("ada", 20001), Person("prof", 20002, role="instructor"))
        return Settings(
            "intro",
            people,
            hub_api=self.hub.api,
            culler_token=self.tmp_path / "token",
            culling_dir=self.tmp_path / "culling",
            cull=Rules(**({"timeout": 5, "concurrency": 20} | rules)),
        )

    def survey(self):
        places = {}
        for user, servers in self.hub.users.items():
            for name, server in servers.items():
                key = f"{user}/{name}" if name else user
                path = f"/user/{quote(user)}/{quote(name) + '/' if name else ''}"
                url = f"http://127.0.0.1:{self.hub.port}{path}"
                places[key] = Place(url, server.token, self.nodes.get(key, "n1"), GIB)
        return places | self.elsewhere, self.rooms

    def cull(self, test=False, after=timedelta(0), **rules):
        """A run, `after` so long; its report."""
        clock = lambda: datetime.now(UTC) + after  # noqa: E731
        run = Cull(self.settings(**rules), test, SimpleNamespace(survey=self.survey), clock)
        if test:
            return asyncio.run(run.run()).as_dict()
        with run.record.alone():
            return asyncio.run(run.run()).as_dict()

    def log(self):
        lines = (self.tmp_path / "culling" / "culled.jsonl").read_text().splitlines()
        return [(line["server"], line["decision"]) for line in map(json.loads, lines)]


@pytest.fixture
def lesson(hub, tmp_path):
    return Class(hub, tmp_path)


# -- who is stopped


def test_the_idle_are_stopped_and_all_others_are_kept(hub, lesson):
    hub.add("ada")
    hub.add("bob", kernels=[kernel(), kernel("busy")])
    hub.add("cleo", own=ago(minutes=5))
    hub.add("dan", started=ago(hours=2), own=ago(hours=2))
    hub.add("eve", pending="spawn", ready=False)
    hub.add("fay", terminals=[terminal(ago(minutes=1))])
    hub.add(
        "gil",
        kernels=[kernel(), kernel("starting"), kernel("dead")],
        terminals=[terminal(ago(days=2))],
    )
    hub.add("hal")
    hub.users["idle"] = {}
    found = lesson.cull(pins=["hal"])
    assert found["table"] == {
        "ada": "done: stopped, idle 720:00",
        "bob": "skipped: 1 of 2 kernels busy, idle 720:00",
        "cleo": "skipped: active 0:05 ago",
        "dan": "skipped: started 2:00 ago",
        "eve": "skipped: pending spawn",
        "fay": "skipped: active 0:01 ago",
        "gil": "done: stopped, idle 48:00",
        "hal": "skipped: pinned",
    }
    assert sorted(hub.deleted) == ["ada", "gil"]
    assert sorted(lesson.log()) == [("ada", "stopped"), ("bob", "kept"), ("gil", "stopped")]
    assert (found["summary"]["done"], found["summary"]["failed"]) == (2, 0)
    assert found["summary"]["reasons"]["busy"] == 1


def test_the_hubs_own_figure_is_wrong_both_ways(hub, lesson):
    hub.add("open", active=ago(seconds=10))  # a page that was left open: its pings count
    hub.add("silent", active=ago(days=2), kernels=[kernel("busy", ago(days=2))])
    hub.add("null", active=None)
    assert lesson.cull()["table"] == {
        "open": "done: stopped, idle 720:00",
        "silent": "skipped: 1 of 1 kernels busy, idle 48:00",
        "null": "done: stopped, idle 720:00",
    }


def test_test_changes_nothing_and_asks_as_a_real_run(hub, lesson, tmp_path):
    server = hub.add("ada")
    hub.add("bob", kernels=[kernel("busy")])
    found = lesson.cull(test=True)
    assert found["table"]["ada"] == "done: would be stopped, idle 720:00"
    assert hub.deleted == []
    assert server.asked == 3
    assert not (tmp_path / "culling").exists()
    assert found["summary"]["test"] is True


def test_asking_a_server_is_no_use_of_it(hub, lesson):
    server = hub.add("ada", kernels=[kernel("busy")])
    before = server.own
    lesson.cull()
    assert server.own == before


def test_named_servers_are_servers_of_their_own(hub, lesson):
    hub.add("ada")
    hub.add("ada", "big job", kernels=[kernel("busy")])
    hub.add("ada", "old")
    hub.add("mary.ann@x")
    found = lesson.cull(pins=[])["table"]
    assert found["ada"].startswith("done")
    assert found["ada/big job"].startswith("skipped: 1 of 1")
    assert found["mary.ann@x"].startswith("done")
    assert hub.deleted.count("ada") == 1


def test_a_pin_is_for_all_servers_of_a_person(hub, lesson):
    hub.add("ada")
    hub.add("ada", "extra")
    assert set(lesson.cull(pins=["ada"])["table"].values()) == {"skipped: pinned"}
    assert hub.deleted == []


def test_overrides_by_role(hub, lesson):
    hub.add("prof", own=ago(hours=3))
    hub.add("ada", own=ago(hours=3))
    found = lesson.cull(roles={"instructor": {"idle": 7200, "grace": 0}})["table"]
    assert found == {"ada": "skipped: active 3:00 ago", "prof": "done: stopped, idle 3:00"}


def test_nothing_is_stopped_in_an_exam(hub, lesson):
    hub.add("ada")
    exam = {"from": ago(hours=1).isoformat(), "to": ago(hours=-1).isoformat()}
    assert lesson.cull(exams=[exam])["table"]["ada"].startswith("skipped: an exam, until ")
    assert lesson.cull(exams=[exam], after=timedelta(hours=2))["table"]["ada"].startswith("done")


def test_a_class_without_servers(lesson, hub):
    hub.users["ada"] = {}
    assert lesson.cull()["table"] == {}


# -- pages


@pytest.mark.parametrize("count", [49, 50, 51, 199, 200, 201, 400, 1000])
def test_all_pages_are_read(hub, lesson, count):
    for number in range(count):
        # all but the last are used just now
        hub.add(f"u{number:04}", started=ago(hours=1))
    hub.users[f"u{count - 1:04}"][""].started = ago(days=3)
    found = lesson.cull()
    assert len(found["table"]) == count
    assert hub.deleted == [f"u{count - 1:04}"]


def test_the_idle_of_a_thousand_are_stopped_and_nobody_else(hub, lesson):
    for number in range(1000):
        hub.add(f"u{number:04}", own=ago(days=2) if number % 4 == 0 else ago(hours=1))
    began = time.monotonic()
    found = lesson.cull()
    assert found["summary"]["done"] == 250
    assert sorted(hub.deleted) == [f"u{number:04}" for number in range(0, 1000, 4)]
    assert time.monotonic() - began < 60


def test_servers_that_stop_while_the_pages_are_read_hide_no_others(hub, lesson):
    """A page moves up when somebody of an earlier one goes: the list is read again."""
    for number in range(450):
        hub.add(f"u{number:04}")
    gone = iter(range(20))

    def on_page(offset):
        if offset == 200:
            for number in gone:
                del hub.users[f"u{number:04}"]

    hub.on_page = on_page
    assert lesson.cull(test=True)["summary"]["done"] == 430


# -- servers that do not answer as they should


@pytest.mark.parametrize("odd", sorted(ODD))
def test_a_server_that_makes_no_sense_is_kept_and_told(hub, lesson, odd):
    hub.add("ada", odd=odd)
    hub.add("bob")
    found = lesson.cull()
    assert found["table"]["ada"].startswith("skipped: kept, as it cannot be asked: ")
    assert found["table"]["bob"].startswith("done")
    assert found["summary"]["unanswered"] == ["ada"]
    assert hub.deleted == ["bob"]


def test_servers_that_hang_or_drip_cost_their_time_and_no_more(hub, lesson):
    for number in range(10):
        hub.add(f"hang{number}", odd="hang")
        hub.add(f"drip{number}", odd="drip")
    hub.add("ada")
    began = time.monotonic()
    found = lesson.cull(timeout=1, concurrency=20)
    assert time.monotonic() - began < 4
    assert found["table"]["hang0"] == "skipped: kept, as it cannot be asked: no answer within 1 s"
    assert found["table"]["drip0"] == "skipped: kept, as it cannot be asked: no answer within 1 s"
    assert hub.deleted == ["ada"]


def test_a_server_that_nobody_finds_is_kept(hub, lesson):
    hub.add("ada")
    hub.add("bob")
    lesson.elsewhere = {"ada": None, "bob": Place(CLOSED, "x", "n1", GIB)}
    found = lesson.cull()["table"]
    assert found["ada"] == "skipped: kept, as it cannot be asked: no node says that it runs it"
    assert found["bob"].startswith("skipped: kept, as it cannot be asked: no answer: ")


RAW = [
    b"",
    b"\x1b[2Jno HTTP\r\n\r\n",
    b"HTTP/1.1 200 \x1b]0;title\x07\r\nContent-Length: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"a" * 100_000 + b"\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nDate: yesterday\r\nContent-Length: 2\r\n\r\n{}",
]


@pytest.mark.parametrize("raw", RAW)
def test_what_is_no_http_is_no_answer_and_reaches_no_terminal(hub, lesson, raw):
    hub.add("ada")
    hub.add("bob")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = Place(f"http://127.0.0.1:{listener.getsockname()[1]}/user/ada/", "x", "n1", GIB)
        lesson.elsewhere = {"ada": place}

        def answer():
            connection, _ = listener.accept()
            with connection:
                connection.recv(10_000)
                connection.sendall(raw)

        threading.Thread(target=answer, daemon=True).start()
        found = lesson.cull(timeout=2)
    told = found["table"]["ada"]
    assert told.startswith("skipped: kept, as it cannot be asked: ")
    assert told.isprintable()
    assert hub.deleted == ["bob"]


def test_a_server_without_terminals_has_none(hub, lesson):
    hub.add("ada", terminals=None)
    assert lesson.cull()["table"]["ada"].startswith("done")


@pytest.mark.parametrize("skew", [timedelta(days=2), timedelta(days=-2), timedelta(seconds=-3)])
def test_a_servers_clock_may_be_wrong(hub, lesson, skew):
    hub.add("ada", skew=skew, own=ago(hours=26))
    hub.add("bob", skew=skew, own=ago(hours=1))
    found = lesson.cull()["table"]
    assert found == {"ada": "done: stopped, idle 26:00", "bob": "skipped: active 1:00 ago"}


def test_the_culler_shows_its_token_to_the_hub_alone(hub, lesson):
    """A server gets the token that it has, and lets that in."""
    server = hub.add("ada")
    server.token = TOKEN
    lesson.elsewhere["ada"] = Place(f"http://127.0.0.1:{hub.port}/user/ada/", "its-own", "n1", GIB)
    told = lesson.cull()["table"]["ada"]
    assert told == "skipped: kept, as it cannot be asked: it answers 403"


# -- between the look and the stop


def test_who_comes_back_in_the_last_moment_keeps_the_server(hub, lesson):
    server = hub.add("ada", kernels=[kernel()])
    answers = [[kernel()], [kernel("busy", datetime.now(UTC))]]
    type(server).kernels = property(lambda self: answers[0] if self.asked < 4 else answers[1])
    try:
        assert lesson.cull()["table"]["ada"] == "skipped: active 0:00 ago"
    finally:
        del type(server).kernels
    assert hub.deleted == []


def test_a_server_that_its_student_restarts_meanwhile_is_not_stopped(hub, lesson):
    """The new one has another token, and does not let the old one in."""
    hub.add("ada")
    places, _ = lesson.survey()
    lesson.elsewhere = {"ada": places["ada"]._replace(token="the-old-one")}
    assert lesson.cull()["table"]["ada"].startswith("skipped: kept")
    assert hub.deleted == []


# -- how the hub answers a stop

STOPS = [
    (204, "done: stopped, idle 720:00"),
    (202, "done: stops, and takes long for it, idle 720:00"),
    (404, "skipped: is gone already, idle 720:00"),
    (400, "failed: the hub answers 400 (Internal Server Error), idle 720:00"),
    (500, "failed: the hub answers 500 (Internal Server Error), idle 720:00"),
    (403, "failed: the hub answers 403 (Forbidden), idle 720:00"),
]


@pytest.mark.parametrize(("status", "outcome"), STOPS)
def test_how_a_stop_ends(hub, lesson, status, outcome):
    hub.add("ada", stops=status)
    hub.add("bob")
    found = lesson.cull()
    assert found["table"]["ada"] == outcome
    assert found["table"]["bob"].startswith("done")
    failed = [("ada", "not stopped")] if status >= 400 else []
    assert [line for line in lesson.log() if line[0] == "ada"] == [("ada", "stopped"), *failed]


def test_a_hub_that_does_not_answer_a_stop_is_left_alone(hub, lesson, monkeypatch):
    monkeypatch.setattr(hub_module, "ANSWER_SECONDS", 1)
    for number in range(50):
        hub.add(f"u{number:02}", stops="hang")
    found = lesson.cull(concurrency=5)
    assert len(hub.deleted) == 5
    outcomes = [outcome.partition(":")[0] for outcome in found["table"].values()]
    assert (outcomes.count("failed"), outcomes.count("skipped")) == (5, 45)


def test_a_decision_that_cannot_be_written_down_is_not_carried_out(hub, lesson, tmp_path):
    hub.add("ada")
    (tmp_path / "culling" / "culled.jsonl").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        lesson.cull()
    assert hub.deleted == []


# -- a hub that does not list its servers

BROKEN = [
    ("500", r"the hub answers 500 \(Internal Server Error\); nothing was stopped"),
    ("hang", "the hub does not list its servers within 1 s; nothing was stopped"),
    ("slow", "the hub at .* does not answer within 1 s; nothing was stopped"),
    ("bare", "the hub's list of servers is none that is known here"),
]


@pytest.mark.parametrize(("odd", "sentence"), BROKEN)
def test_a_hub_that_is_broken_is_one_error_and_no_cull(hub, lesson, odd, sentence, monkeypatch):
    slow = "ANSWER_SECONDS" if odd == "slow" else "LIST_SECONDS"
    monkeypatch.setattr(hub_module, slow, 1)
    hub.add("ada")
    hub.odd = odd
    with pytest.raises(Refused, match=sentence):
        lesson.cull()
    assert hub.deleted == []


def test_a_hub_that_is_down_is_one_error(hub, lesson):
    lesson.hub = SimpleNamespace(api=f"{CLOSED}hub/api", users={}, port=9)
    with pytest.raises(Refused, match="the hub at http://127.0.0.1:9/hub/api does not answer"):
        lesson.cull()


SCOPES = [
    (
        set(),
        r"refuses the culler's token \(403\): apply the states of the hub; nothing was stopped",
    ),
    ({"list:users"}, "the hub's list of servers is none that is known here"),
]


@pytest.mark.parametrize(("scopes", "sentence"), SCOPES)
def test_a_token_that_may_not_list_servers_is_one_error(hub, lesson, scopes, sentence):
    hub.add("ada")
    hub.tokens = {TOKEN: scopes}
    with pytest.raises(Refused, match=sentence):
        lesson.cull()


def test_without_a_token(hub, lesson, tmp_path):
    (tmp_path / "token").unlink()
    with pytest.raises(Refused, match="no token for the hub: .* apply the states of the hub"):
        lesson.cull()


# -- from run to run


def test_a_computation_keeps_its_server_and_the_grace_after_it(hub, lesson):
    """Hourly runs see a computation without output go on, and end between two of them."""
    server = hub.add("ada", own=ago(days=2), kernels=[kernel("busy", ago(days=2))])
    hour = timedelta(hours=1)
    rules = {"grace": 5400}
    assert "busy" in lesson.cull(**rules)["table"]["ada"]
    assert "busy" in lesson.cull(after=hour, **rules)["table"]["ada"]
    server.kernels = [kernel("idle", ago(days=2))]
    told = lesson.cull(after=2 * hour, **rules)["table"]["ada"]
    assert told == "skipped: was busy 1:00 ago, idle 48:00"
    assert lesson.cull(after=3 * hour, **rules)["table"]["ada"].startswith("done")
    assert lesson.log() == [("ada", "kept"), ("ada", "kept"), ("ada", "stopped")]


def test_a_cap_counts_over_runs_and_from_anew_for_a_new_server(hub, lesson):
    hour, rules = timedelta(hours=1), {"cap": 7200}
    hub.add("ada", own=ago(seconds=1), kernels=[kernel("busy", ago(seconds=1))])
    assert lesson.cull(**rules)["table"]["ada"].startswith("skipped: active")
    assert lesson.cull(after=hour, **rules)["table"]["ada"].startswith("skipped: active")
    hub.add("ada", started=ago(days=9), kernels=[kernel("busy")])
    assert lesson.cull(after=2 * hour, **rules)["table"]["ada"].startswith("skipped: 1 of 1")
    assert lesson.cull(after=3 * hour, **rules)["table"]["ada"].startswith("skipped: 1 of 1")
    told = lesson.cull(after=4 * hour, **rules)["table"]["ada"]
    assert told == "done: stopped, busy for 2:00"


def test_memory_of_servers_that_are_gone_goes(hub, lesson, tmp_path):
    hub.add("ada", kernels=[kernel("busy")])
    lesson.cull()
    assert "ada" in (tmp_path / "culling" / "seen.json").read_text()
    hub.users["ada"] = {}
    lesson.cull()
    assert json.loads((tmp_path / "culling" / "seen.json").read_text()) == {}


# -- short of memory


def test_where_memory_is_short_those_that_idle_longest_go_first(hub, lesson):
    for number in range(8):
        hub.add(f"u{number}", own=ago(hours=2 + number))
    hub.add("busy", own=ago(hours=20), kernels=[kernel("busy", ago(hours=20))])
    hub.add("fresh", own=ago(minutes=10))
    hub.add("elsewhere", own=ago(hours=20))
    lesson.nodes = {"elsewhere": "n2"}
    lesson.rooms = {"n1": Room("node1", 10 * GIB, 10 * GIB), "n2": Room("node2", 10 * GIB, GIB)}
    found = lesson.cull(pressure=0.8)
    assert sorted(hub.deleted) == ["u6", "u7"]
    assert found["table"]["u7"] == "done: stopped, idle 9:00, node1 is short of memory"
    assert found["summary"]["reserved"] == {"node1": 1.0, "node2": 0.1}
    assert lesson.cull(pressure=0.0)["summary"].get("reserved") is None
