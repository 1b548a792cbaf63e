"""The activity database: an event is in it once, whatever nodes tell, and it answers what is asked of it."""

import io
import json
import sqlite3
import time
from argparse import Namespace
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

import tests.support.hub  # noqa: F401  isort: skip

from classhub.activity import answers, database, recording, sampling, seed
from classhub.activity.activity import activity
from classhub.activity.answers import HOUR, Interval, Steps, Window
from classhub.activity.database import Database
from classhub.course.report import Refused
from classhub.course.settings import Person, Settings
from classhub.culling.policy import Room, Server
from classhub.dashboard.figures import parts

SECOND = 10**9
DAY = 86400
NOW = int(time.time()) // 3600 * 3600
ADA, BOB, CLEO = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def settings(tmp_path):
    people = tuple(
        Person(name, 20001 + number) for number, name in enumerate(("ada", "bob", "cleo"))
    )
    return Settings("intro", people, activity_db=tmp_path / "db" / "activity.sqlite")


@pytest.fixture
def kept(settings):
    with Database(settings.activity_db, writes=True) as found:
        yield found


def row(action, ago, container=ADA, user="ada", code=None, how=0, number=0):
    return [number, container, action, (NOW - ago) * SECOND, user, code, how]


def events(kept):
    query = "select action, at / 1000000000, estimated from event order by server, at"
    return [(action, NOW - at, how) for action, at, how in kept.rows(query)]


# -- what nodes tell


def test_event_is_once_however_often_and_in_whatever_order_it_is_told(kept):
    rows = [row("start", 500), row("oom", 200), row("die", 100, code=137)]
    assert recording.record(kept, "node1", rows) == {"new": 3}
    assert recording.record(kept, "node1", rows[::-1]) == {"new": 0, "known": 3}
    assert events(kept) == [("start", 500, 0), ("oom", 200, 0), ("die", 100, 0)]


def test_what_came_after_all_takes_the_place_of_what_was_made_up(kept):
    recording.record(kept, "node1", [row("start", 500, how=1), row("die", 100, how=2)])
    recording.record(kept, "node1", [row("start", 498), row("die", 97)])
    assert events(kept) == [("start", 498, 0), ("die", 97, 0)]


def test_what_is_made_up_does_not_stand_beside_what_came(kept):
    recording.record(kept, "node1", [row("start", 500), row("die", 100)])
    assert recording.record(kept, "node1", [row("die", 95, how=1)]) == {"new": 0, "known": 1}


ODD = [
    None,
    [],
    row("start", 500)[:6],
    row("rename", 500),
    row("start", 500, container="x" * 64),
    row("start", 500, container="a" * 63),
    row("start", 500, container=5),
    row("start", 500, user="../ada"),
    row("start", 500, user=["ada"]),
    row("start", -2 * DAY),
    row("start", 50 * 365 * DAY),
    row("start", 500, how=3),
    row("start", 500, how=True),
    row("start", 500, code="0"),
    row("die", 500, code=1 << 40),
    row("gap", 500),
    row("gap", 500, container="", code=-1),
    [0, ADA, "start", "1", "ada", None, 0],
    [0, ADA, "start", 1.5, "ada", None, 0],
]


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_what_cannot_be_true_is_left_out_and_told(kept, capsys, odd):
    assert recording.record(kept, "node1", [odd, row("start", 5)]) == {"new": 1, "odd": 1}
    assert "node1 told something odd" in capsys.readouterr().err


def test_node_does_not_speak_for_another(kept):
    recording.record(kept, "node1", [row("start", 500)])
    assert recording.record(kept, "node2", [row("die", 100)]) == {"new": 0, "odd": 1}


def test_gap_is_noted(kept, settings):
    recording.record(kept, "node1", [row("gap", 500, container="", user="", code=60)])
    (gap,) = answers.gaps(kept, settings, Window(NOW - DAY, NOW), NOW)
    assert gap["node"] == "node1"


def test_verb_reads_what_nodes_told(settings, monkeypatch):
    told = {"node1": [row("start", 500)], "node2": [None]}
    monkeypatch.setattr(recording.sys, "stdin", io.StringIO(json.dumps(told)))
    report = recording.record_activity(settings, Namespace())
    assert report.table == {"node1": "done: 1 new", "node2": "failed: 0 new, 1 odd"}


@pytest.mark.parametrize("text", ["", "[]", "{", '{"node1": 5}'])
def test_verb_refuses_what_is_nothing_of_the_kind(settings, monkeypatch, text):
    monkeypatch.setattr(recording.sys, "stdin", io.StringIO(text))
    with pytest.raises(Refused, match="what nodes told"):
        recording.record_activity(settings, Namespace())


def test_all_of_a_node_s_rows_or_none(kept, monkeypatch):
    put = recording._put

    def failing(base, node, one):
        if one[2] == "die":
            raise sqlite3.OperationalError("database or disk is full")
        return put(base, node, one)

    monkeypatch.setattr(recording, "_put", failing)
    with pytest.raises(Refused, match="disk is full"):
        recording.record(kept, "node1", [row("start", 500), row("die", 100)])
    assert events(kept) == []


# -- versions


def test_database_is_for_its_group_to_read(settings, kept):
    assert settings.activity_db.stat().st_mode & 0o777 == 0o640


def test_database_that_is_not_there_is_not_made_by_a_question(settings):
    with pytest.raises(Refused, match="nothing is recorded yet"):
        Database(settings.activity_db)


def test_earlier_version_is_brought_to_this_one_and_kept_beside(settings):
    path = settings.activity_db
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as old:
        old.executescript(database.STEPS[0] + "pragma user_version = 1;")
        old.execute("insert into node (name) values ('node1')")
        old.commit()
    with Database(path, writes=True) as found:
        assert found.version() == database.VERSION
        assert found.rows("select name from node") == [("node1",)]
        assert found.rows("select * from session") == []
    with closing(sqlite3.connect(path.with_name("activity.version-1.sqlite"))) as copy:
        assert copy.execute("pragma user_version").fetchone() == (1,)


ASKED = "select date, user, active from activity order by date, user"


def test_view_answers_as_before_where_uses_overlap_no_more(settings):
    path = settings.activity_db
    path.parent.mkdir()
    uses = [(1, 700, 9000), (1, 1000, 2000), (1, 9000, 9500), (1, 20000, 20000), (2, 3000, 3001)]
    with closing(sqlite3.connect(path)) as old:
        old.executescript("".join(database.STEPS[:2]) + "pragma user_version = 2;")
        old.executemany("insert into person (name) values (?)", [("ada",), ("bob",), ("cleo",)])
        old.executemany("insert into usage values (?, ?, ?, 0)", uses)
        old.commit()
        before = old.execute(ASKED).fetchall()
    with Database(path, writes=True) as found:
        assert found.rows(ASKED) == before
        assert found.rows("select person, began, ended from usage") == [
            (1, 700, 9500),
            (1, 20000, 20000),
            (2, 3000, 3001),
        ]


def test_view_costs_the_same_however_long_the_class_is(kept):
    """In steps of SQLite's machine, which no other work of the host slows down."""

    def steps(days):
        with kept.writing() as connection:
            connection.execute("delete from usage")
            person = kept.key("person", "ada")
            uses = ((person, at, at + 600) for at in range(0, days * DAY, 1800))
            connection.executemany("insert into usage values (?, ?, ?, 0)", uses)
        count = [0]
        kept.connection.set_progress_handler(lambda: count.__setitem__(0, count[0] + 1), 100)
        kept.rows("select sum(active) from activity")
        kept.connection.set_progress_handler(None, 0)
        return count[0]

    assert steps(20) < 5 * steps(5)


def test_newer_version_is_left_alone(settings, kept):
    kept.connection.execute("pragma user_version = 99")
    with pytest.raises(Refused, match="is of version 99"):
        Database(settings.activity_db, writes=True)


def test_file_that_is_no_database_is_refused(settings):
    settings.activity_db.parent.mkdir()
    settings.activity_db.write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(Refused, match="cannot be used"):
        Database(settings.activity_db, writes=True)


def test_what_is_old_goes_and_what_runs_stays(kept):
    rows = [row("start", 90 * DAY), row("die", 89 * DAY)]
    rows += [row("start", 90 * DAY, BOB, "bob"), row("start", 5, CLEO, "cleo")]
    recording.record(kept, "node1", rows)
    for ever in (0, -1):
        assert kept.forget(ever) == 0
    assert kept.forget(30) == 2
    assert kept.rows("select name from person order by name") == [("bob",), ("cleo",)]
    assert len(events(kept)) == 2


# -- who uses it


def used(user, ago):
    return Server(user, "", None, used=datetime.fromtimestamp(NOW - ago, UTC))


def usage(kept):
    query = "select name, began, ended from usage join person on person.id = person order by began"
    return [(name, NOW - began, NOW - ended) for name, began, ended in kept.rows(query)]


def test_uses_that_follow_each_other_are_one_interval(kept):
    for ago in (3000, 2700, 2100, 1400, 900):
        sampling.note_usage(kept, [used("ada", ago)])
    assert usage(kept) == [("ada", 3000, 2100), ("ada", 1400, 900)]


def test_server_that_nobody_used_again_is_no_use(kept):
    assert sampling.note_usage(kept, [used("ada", 900), used("bob", 600)]) == 2
    assert sampling.note_usage(kept, [used("ada", 900), Server("cleo", "", None)]) == 0


def test_server_that_the_hub_does_not_have_any_more_ended_when_it_was_last_used(kept):
    recording.record(kept, "node1", [row("start", 5000), row("start", 5000, BOB, "bob"), row("start", 60, CLEO, "cleo")])  # fmt: skip
    sampling.note_usage(kept, [used("ada", 3000)])
    assert sampling.close(kept, {"bob"}, NOW) == 1
    assert events(kept)[:2] == [("start", 5000, 0), ("die", 3000, sampling.CLOSED)]
    assert sampling.close(kept, {"bob"}, NOW) == 0


def test_server_of_a_lost_node_ended_though_its_student_has_another(kept):
    lost, second = row("start", 9000), row("start", 6000, BOB)
    recording.record(kept, "node1", [lost])
    recording.record(kept, "node2", [second])
    sampling.note_usage(kept, [used("ada", 7000)])
    sampling.note_usage(kept, [used("ada", 3000)])
    assert sampling.close(kept, {"ada"}, NOW) == 1
    assert events(kept) == [
        ("start", 9000, 0),
        ("die", 7000, sampling.CLOSED),
        ("start", 6000, 0),
    ]
    assert sampling.close(kept, set(), NOW) == 1
    assert events(kept)[-1] == ("die", 3000, sampling.CLOSED)


@pytest.mark.parametrize("how", [0, 1, 2])
def test_end_that_its_node_tells_later_takes_the_place_of_the_one_that_was_taken_for_it(
    kept, settings, how
):
    recording.record(kept, "node1", [row("start", 60000)])
    sampling.note_usage(kept, [used("ada", 56400)])
    sampling.close(kept, set(), NOW)
    end = row("die", 6000, how=how)
    assert recording.record(kept, "node1", [end]) == {"new": 1}
    assert recording.record(kept, "node1", [end]) == {"new": 0, "known": 1}
    assert events(kept) == [("start", 60000, 0), ("die", 6000, how)]
    (one,) = answers.sessions(kept, settings, WINDOW, NOW)
    assert one["hours"] == 15


def test_use_that_went_on_with_the_next_server_does_not_count_for_the_one_before(kept):
    recording.record(kept, "node1", [row("start", 9000)])
    recording.record(kept, "node2", [row("start", 6000, BOB)])
    for ago in (6300, 5900, 5400):
        sampling.note_usage(kept, [used("ada", ago)])
    sampling.close(kept, set(), NOW)
    assert events(kept)[1] == ("die", 6000, sampling.CLOSED)


# -- how the class is, for the dashboard


@pytest.fixture
def sampled(settings, term, monkeypatch, tmp_path):
    """The settings of a class of which one sample can be taken: a hub with one server, an engine with two nodes."""
    rooms = {"n1": Room("node1", 8 << 30, 3 << 30), "n2": Room("node2", 4 << 30, 0)}
    monkeypatch.setattr(sampling, "Engine", lambda: SimpleNamespace(survey=lambda: ({}, rooms)))

    async def ask_hub(_):
        return [used("bob", 30)]

    monkeypatch.setattr(sampling, "ask_hub", ask_hub)
    culling = tmp_path / "culling"
    culling.mkdir()
    line = '{{"at": "2030-01-09T10:00:00+00:00", "server": "{}", "decision": "stopped", "reason": "idle"}}\n'
    (culling / "culled.jsonl").write_text(
        line.format("ada") + line.format("bob") + '{"server": "cl'
    )
    places = {
        "culling_dir": culling,
        "course_dir": tmp_path / "course",
        "exchange": tmp_path / "exchange",
    }
    return replace(settings, **places)


def test_sample_notes_uses_and_writes_how_the_class_is(sampled, term):
    report = sampling.sample_activity(sampled, Namespace())
    assert (report.summary["servers"], report.summary["used"]) == (1, 1)
    path = sampled.activity_db.with_name("class.json")
    assert path.stat().st_mode & 0o777 == 0o640
    state = json.loads(path.read_text())
    assert [node["name"] for node in state["nodes"]] == ["node1", "node2"]
    assert state["forecast"]["nodes"] == 1
    assert [line["server"] for line in state["culled"]] == ["bob", "ada"]
    assert {row["of"] for row in state["peak"]} == {"servers", "people"}
    assert parts(state, 7)


def test_hub_that_does_not_answer_leaves_everything_as_it_was(sampled, monkeypatch):
    async def ask_hub(_):
        raise Refused("the hub does not answer")

    monkeypatch.setattr(sampling, "ask_hub", ask_hub)
    with pytest.raises(Refused):
        sampling.sample_activity(sampled, Namespace())
    assert not sampled.activity_db.with_name("class.json").exists()


# -- what was polled


POLL = database.POLL
BASE = NOW - 10 * DAY - NOW % POLL


def polled(path, polls):
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path)) as table:
        table.execute("create table activity (date timestamp, user text, active bool)")
        table.executemany("insert into activity values (?, ?, ?)", polls)
        table.commit()


def polls_of(active):
    """Everybody's polls: user -> numbers of the polls in which somebody was active."""
    last = max(max(numbers) for numbers in active.values())
    for number in range(1, last + 1):
        at = datetime.fromtimestamp(BASE + number * POLL, UTC)
        for user, numbers in sorted(active.items()):
            yield at.strftime("%Y-%m-%d %H:%M:%S"), user, number in numbers


ACTIVE = {"ada": {1, 2, 3, 7, 8, 20}, "bob": {2, 20}, "cleo": {1, 4, 5}}


def test_polls_are_taken_over_and_read_as_they_were(settings, kept, tmp_path):
    polled(tmp_path / "old.sqlite", polls_of(ACTIVE))
    report = seed.import_activity(settings, Namespace(file=tmp_path / "old.sqlite"))
    assert report.table == {
        "ada": "done: 3 intervals",
        "bob": "done: 2 intervals",
        "cleo": "done: 2 intervals",
    }
    read = kept.rows("select date, user, active from activity order by date, user")
    assert read == [(date, user, int(active)) for date, user, active in polls_of(ACTIVE)]


def test_polls_are_taken_over_once(settings, kept, tmp_path):
    polled(tmp_path / "old.sqlite", polls_of(ACTIVE))
    for _ in range(2):
        report = seed.import_activity(settings, Namespace(file=tmp_path / "old.sqlite"))
    assert kept.rows("select count(*) from usage") == [(7,)]
    assert set(report.table.values()) == {"done: 0 intervals"}


def test_polls_that_came_since_are_taken_over_too(settings, kept, tmp_path):
    for name, numbers in (("old", {1, 2}), ("grown", {1, 2, 3, 4})):
        polled(tmp_path / f"{name}.sqlite", polls_of({"ada": numbers}))
        report = seed.import_activity(settings, Namespace(file=tmp_path / f"{name}.sqlite"))
        assert report.table == {"ada": "done: 1 intervals"}
    (one,) = kept.rows("select began, ended from usage")
    assert one == (BASE + POLL - 1, BASE + 4 * POLL - 1)


def test_time_that_was_polled_and_recorded_counts_once(settings, kept, tmp_path):
    own = [(BASE + 100, BASE + 1000), (BASE + 3000, BASE + 4000), (BASE + 90000, BASE + 91000)]
    person = kept.key("person", "ada")
    kept.connection.executemany(f"insert into usage values ({person}, ?, ?, 0)", own)
    polled(tmp_path / "old.sqlite", polls_of({"ada": set(range(1, 7))}))
    report = seed.import_activity(settings, Namespace(file=tmp_path / "old.sqlite"))
    assert report.table == {"ada": "done: 1 intervals"}
    found = kept.rows("select began, ended from usage order by began")
    assert found == [(BASE + 100, BASE + 4000), own[2]]
    _, people = answers.peak(kept, settings, Window(BASE, NOW), NOW)
    assert people["most"] == 1


def test_database_of_polls_in_its_place_becomes_one_of_this_kind(settings):
    polled(settings.activity_db, polls_of(ACTIVE))
    with Database(settings.activity_db, writes=True) as found:
        seed.take_own(found)
        seed.take_own(found)
        assert found.rows("select count(*) from usage") == [(7,)]
        assert found.rows("select count(*) from activity where active") == [(11,)]
    copy = settings.activity_db.with_name("activity.polled.sqlite")
    with closing(sqlite3.connect(copy)) as old:
        assert old.execute("select count(*) from activity").fetchone() == (60,)


def test_file_without_polls_is_refused(settings, tmp_path):
    with closing(sqlite3.connect(tmp_path / "other.sqlite")) as other:
        other.execute("create table something (a)")
    for name in ("other.sqlite", "missing.sqlite"):
        with pytest.raises(Refused):
            seed.import_activity(settings, Namespace(file=tmp_path / name))


@pytest.mark.parametrize(
    ("date", "at"),
    [("2026-01-01 00:00:00", 1767225600), ("2026-01-01T01:00:00.5+01:00", 1767225600), (7, 7), ("x", 0), (None, 0)],
)  # fmt: skip
def test_times_of_polls(date, at):
    assert seed.seconds(date) == at


# -- what is asked


def test_most_at_once():
    found = Steps([Interval("a", 0, 10), Interval("b", 5, 20), Interval("c", 10, 12)])
    assert found.most(0, 100) == (2, 5)
    assert found.most(11, 100) == (2, 11)
    assert found.most(13, 100) == (1, 13)
    assert found.most(50, 100) == (0, 50)


@pytest.fixture
def term(kept):
    """Ada and Bob at once two hours ago, Bob still there, and Cleo who used nothing."""
    rows = [row("start", 7200), row("oom", 3700), row("die", 3600, code=137)]
    rows += [
        row("start", 5400, BOB, "bob"),
        row("start", 4000, CLEO, "cleo", how=1),
        row("die", 3900, CLEO, "cleo"),
    ]
    recording.record(kept, "node1", rows)
    for ago in range(7000, 3600, -500):
        sampling.note_usage(kept, [used("ada", ago)])
    return kept


WINDOW = Window(NOW - DAY, NOW)


def test_by_hour(term, settings):
    rows = answers.hourly(term, settings, WINDOW, NOW)
    assert len(rows) == 24
    assert [(row["people"], row["servers"]) for row in rows[-3:]] == [(0, 0), (1, 3), (0, 1)]


def test_use_of_one_moment_counts(kept, settings):
    sampling.note_usage(kept, [used("ada", 500)])
    _, people = answers.peak(kept, settings, WINDOW, NOW)
    assert people["most"] == 1


def test_peak(term, settings):
    servers, people = answers.peak(term, settings, WINDOW, NOW)
    assert (servers["most"], people["most"]) == (3, 1)


def test_hours_of_each_student_in_all_and_by_assignment(term, settings):
    def at(ago):
        return datetime.fromtimestamp(NOW - ago, UTC).isoformat()

    known = Settings(
        "intro",
        settings.people,
        assignments={
            "ps1": {"release": at(DAY), "due": at(6000), "extensions": {"ada": at(5500)}},
            "ps2": {"release": at(5000)},
        },
    )
    ada, bob, _ = answers.hours(term, known, WINDOW, NOW)
    assert ada == {"user": "ada", "hours": 0.83, "ps1": 0.42, "ps2": 0.28}
    assert bob == {"user": "bob", "hours": 0, "ps1": 0, "ps2": 0}


def test_each_server_that_ran(term, settings):
    ada, bob, cleo = answers.sessions(term, settings, WINDOW, NOW)
    assert (ada["hours"], ada["code"], ada["out of memory"], ada["estimated"]) == (
        1,
        137,
        "yes",
        "",
    )
    assert (bob["ended"], bob["hours"]) == ("", 1.5)
    assert cleo["estimated"] == "yes"


def test_server_that_was_seen_for_no_time_is_not_open_for_ever(kept, settings):
    recording.record(kept, "node1", [row("start", 500), row("die", 500, how=2)])
    (one,) = answers.sessions(kept, settings, WINDOW, NOW)
    assert (one["hours"], one["estimated"]) == (0, "yes")
    assert one["ended"]


def test_forecast_takes_the_days_that_were_like_the_next_ones(kept, settings):
    names = [f"s{number}" for number in range(20)]
    people = tuple(Person(name, 30000 + number) for number, name in enumerate(names))

    def full(count, ago):
        for number in range(count):
            container = f"{ago:08x}{number:07x}".ljust(64, "0")
            rows = [
                row("start", ago, container, names[number]),
                row("die", ago - HOUR, container, names[number]),
            ]
            recording.record(kept, "node1", rows)

    full(4, 20 * DAY)
    full(15, 10 * DAY + 7200)  # before something was due

    def due(ago):
        return {"due": datetime.fromtimestamp(NOW - ago, UTC).isoformat()}

    calm = Settings("intro", people, assignments={"ps1": due(10 * DAY)}, seat=1 << 30)
    row_of_calm = answers.forecast(kept, calm, 4 << 30, NOW)
    rushed = Settings(
        "intro", people, assignments={"ps1": due(10 * DAY), "ps2": due(-3 * DAY)}, seat=1 << 30
    )
    row_of_rush = answers.forecast(kept, rushed, 4 << 30, NOW)
    assert (row_of_rush["seats"], row_of_rush["nodes"], row_of_rush["taken"]) == (17, 5, 15)
    assert "due within a week" in row_of_rush["because"]
    assert row_of_calm["seats"] == 5


def ask(settings, question, **more):
    words = {"assignment": "", "since": "", "until": "", "format": "json"} | more
    return activity(settings, Namespace(question=question, **words)).summary


def test_answers_are_rows_or_csv(term, settings):
    rows = ask(settings, "peak")["rows"]
    assert [row["of"] for row in rows] == ["servers", "people"]
    assert ask(settings, "peak", format="csv")["csv"].splitlines()[0] == "of,most,at"
    assert ask(settings, "gaps", format="csv")["csv"] == ""


REFUSED = [
    ("weather", {}, "weather is no question; there are: hourly"),
    ("peak", {"format": "xml"}, "there is no format xml"),
    ("peak", {"since": "yesterday"}, "'yesterday' is not a time"),
    ("peak", {"since": "2030-01-02", "until": "2030-01-01"}, "since must be before until"),
    ("unstarted", {}, "unstarted needs an assignment"),
    ("unstarted", {"assignment": "ps9"}, "there is no assignment ps9"),
]


@pytest.mark.parametrize(("question", "words", "sentence"), REFUSED)
def test_what_makes_no_sense_is_refused(term, settings, question, words, sentence):
    with pytest.raises(Refused, match=sentence):
        ask(settings, question, **words)
