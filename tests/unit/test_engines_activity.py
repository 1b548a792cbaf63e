"""The engine on a node: what is told again is kept once, and what cannot be told again is looked for."""

import contextlib
import sqlite3
import threading
from types import SimpleNamespace

import pytest
from docker.errors import DockerException, NotFound

from tests.support.loading import load

spool = load("utils", "classhub_spool")
ADA = "a" * 64
SECOND = 10**9


class Docker:
    """An engine that tells what is in `ring`, and knows `there`."""

    def __init__(self, clock):
        self.clock, self.ring, self.there, self.asked, self.broken = clock, [], {}, [], False

    def events(self, since, until, filters=None, decode=True):
        self.asked.append((since, until, filters))
        if self.broken:
            raise DockerException("gone")
        start, end = (int(float(text) * SECOND) for text in (since, until))
        if start > end:
            raise DockerException("`since` time cannot be after `until` time")
        if filters:  # listening takes until then
            self.clock.now = max(self.clock.now, end)
        for event in self.ring:
            if start <= event["timeNano"] <= end and (not filters or self.passes(event, filters)):
                yield event

    def passes(self, event, filters):
        return (
            event["Action"] in filters["event"] and filters["label"] in event["Actor"]["Attributes"]
        )

    def containers(self, all, filters):
        return [
            {"Id": name, "State": state["State"]["Status"]} for name, state in self.there.items()
        ]

    def inspect_container(self, name):
        if name not in self.there:
            raise NotFound("no such container")
        return self.there[name]


class Clock(SimpleNamespace):
    def time_ns(self):
        return self.now

    def time(self):
        return self.now / SECOND

    def monotonic(self):
        return self.now / SECOND

    def sleep(self, seconds):
        self.now += int(seconds * SECOND)


@pytest.fixture
def world(tmp_path, monkeypatch):
    engine, clock = load("engines", "classhub_activity"), Clock(now=1_800_000_000 * SECOND)
    docker = Docker(clock)
    monkeypatch.setattr(engine, "time", clock)
    monkeypatch.setattr(engine.docker, "APIClient", lambda **_: docker)
    monkeypatch.setattr(engine, "PID", tmp_path / "docker.pid")
    names = ("opened", "gap", "event_of", "state_of")
    utils = {f"classhub_spool.{name}": getattr(spool, name) for name in names}
    monkeypatch.setattr(engine, "__utils__", utils, raising=False)
    monkeypatch.setattr(engine, "__opts__", {}, raising=False)
    hints = []
    bus = SimpleNamespace(fire_master=lambda data, tag: hints.append((tag, data)))
    monkeypatch.setattr(
        engine.salt.utils.event, "get_event", lambda *_, **__: contextlib.nullcontext(bus)
    )
    watch = engine.Watch(str(tmp_path), "unix:///nowhere")
    return SimpleNamespace(
        engine=engine, clock=clock, docker=docker, watch=watch, hints=hints, top=tmp_path
    )


def happened(world, action="start", container=ADA, labels=None, **more):
    attributes = {"classhub.user": "ada"} if labels is None else labels
    world.clock.now += SECOND // 100
    event = {
        "Type": "container",
        "Action": action,
        "Actor": {"ID": container, "Attributes": attributes | more},
        "timeNano": world.clock.now,
    }
    world.docker.ring.append(event)
    return event


def kept(world):
    return [(row[2], row[3]) for row in world.watch.spool.waiting(10_000) if row[2] != "gap"]


def gaps(world):
    return [row for row in world.watch.spool.waiting(10_000) if row[2] == "gap"]


def test_what_happens_while_it_listens_and_between_is_kept_once(world):
    world.watch.turn()
    events = []
    for _ in range(5):
        events += [happened(world), happened(world, "die", exitCode="0")]
        world.watch.turn()
    assert kept(world) == [(event["Action"], event["timeNano"]) for event in events]
    assert not gaps(world)


def test_what_is_not_a_student_s_is_not_kept(world):
    world.watch.turn()
    happened(world, labels={})
    happened(world, "exec_start: sh")
    world.docker.ring[-1]["Type"] = "container"
    happened(world, "destroy")
    world.watch.turn()
    assert kept(world) == []


def test_what_happened_while_nobody_listened_is_told_again(world):
    world.watch.turn()
    event = happened(world)
    world.docker.there[ADA] = described(world, running=True, began="2027-01-15T08:00:05Z")
    world.clock.sleep(3600)
    again = world.engine.Watch(str(world.top), "unix:///nowhere")
    again.turn()
    assert [(row[2], row[3]) for row in again.spool.waiting(9)] == [("start", event["timeNano"])]


def full_ring(world):
    for number in range(world.engine.RING):
        happened(world, "create", f"{number:064x}", labels={})


def described(world, *, running, began, ended="0001-01-01T00:00:00Z", code=0):
    return {
        "Config": {"Labels": {"classhub.user": "ada"}},
        "State": {
            "Status": "running" if running else "exited",
            "Running": running,
            "StartedAt": began,
            "FinishedAt": ended,
            "ExitCode": code,
        },
    }


def test_what_the_engine_does_not_tell_any_more_is_made_up_and_the_time_noted(world):
    world.watch.turn()
    watched = world.watch.spool.watched
    world.clock.sleep(600)
    full_ring(world)
    world.docker.there[ADA] = described(world, running=False, began="2027-01-15T08:01:00Z", ended="2027-01-15T08:02:00.5Z", code=137)  # fmt: skip
    world.watch.turn()
    rows = {row[2]: row for row in world.watch.spool.waiting(9)}
    assert (rows["start"][6], rows["die"][6], rows["die"][5]) == (spool.ASKED, spool.ASKED, 137)
    assert rows["gap"][3] == watched
    assert rows["gap"][5] >= 600


def test_an_engine_that_was_restarted_may_have_forgotten(world):
    (world.top / "docker.pid").write_text("1")
    world.watch.turn()
    world.watch.spool.write_note("engine", "another life")
    world.watch.turn()
    assert len(gaps(world)) == 1
    world.watch.turn()
    assert len(gaps(world)) == 1


def test_an_engine_that_is_away_is_waited_for(world):
    world.watch.turn()
    world.docker.broken = True
    for _ in range(3):
        world.watch.turn()
    world.docker.broken = False
    event = happened(world)
    world.watch.turn()
    assert kept(world) == [("start", event["timeNano"])]
    assert len(gaps(world)) == 1


def test_clock_that_was_ahead_is_followed_back(world):
    world.clock.now += 7200 * SECOND
    world.watch.turn()
    world.clock.now -= 7200 * SECOND
    world.docker.there[ADA] = described(world, running=True, began="2027-01-15T07:59:00Z")
    world.watch.turn()
    assert [row[2] for row in world.watch.spool.waiting(9)] == ["start", "gap"]
    event = happened(world, "die", exitCode="0")
    world.watch.turn()
    assert kept(world)[-1] == ("die", event["timeNano"])
    assert len(gaps(world)) == 1


def test_full_disk_is_waited_for(world, monkeypatch):
    world.watch.turn()
    event = happened(world)
    put = world.watch.spool.put

    def full(*_, **__):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(world.watch.spool, "put", full)
    world.watch.turn()
    monkeypatch.setattr(world.watch.spool, "put", put)
    world.watch.turn()
    assert kept(world) == [("start", event["timeNano"])]


def test_container_that_is_gone_before_it_is_looked_at(world):
    world.watch.turn()
    world.clock.sleep(100)
    world.docker.there[ADA] = described(world, running=True, began="2027-01-15T08:00:10Z")
    world.docker.inspect_container = Docker(world.clock).inspect_container
    world.watch.turn()
    assert kept(world) == []


def test_the_master_is_told_now_and_then_and_only_of_something(world):
    for _ in range(20):
        world.watch.turn()
    assert world.hints == []
    happened(world)
    for _ in range(4):  # 20 s
        world.watch.turn()
    assert [tag for tag, _ in world.hints] == ["classhub/activity"] * len(world.hints)
    assert 1 <= len(world.hints) <= 2


def test_it_ends_with_its_minion(world, monkeypatch):
    parents = iter((7, 7, 8))
    turns = []
    monkeypatch.setattr(world.engine.os, "getppid", lambda: next(parents))
    monkeypatch.setattr(world.engine.Watch, "turn", lambda self: turns.append(1))
    world.engine.start(str(world.top / "other"), "unix:///nowhere")
    assert turns == [1]


def test_one_that_an_earlier_minion_left_is_waited_for(world, monkeypatch):
    entered = threading.Event()

    def second():
        with world.engine._alone(world.top):
            entered.set()

    with world.engine._alone(world.top):
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.3)
    thread.join()
    assert entered.is_set()
