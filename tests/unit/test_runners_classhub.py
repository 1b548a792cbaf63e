"""The operator's runner: who answers, who does not, and what a deployment did, in one table or one error."""

import contextlib
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
import yaml
from salt.exceptions import CommandExecutionError

from tests.support.loading import ROOT, load

HOSTS = {
    "hub": {"address": "192.0.2.11", "roles": ["hub"]},
    "node1": {"address": "192.0.2.21", "roles": ["node"]},
}
DEAD = "Minion did not return. [No response]"


def answer(ret, retcode=0):
    return {"ret": ret, "retcode": retcode}


class Client:
    """A stand-in for Salt's client: answers by function, and what was asked."""

    def __init__(self):
        self.answers, self.asked = {}, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def cmd(self, target, function, arg=(), **kwargs):
        self.asked.append((target, function, tuple(arg), kwargs))
        return dict(self.answers.get(function, {}))


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def orchestrated():
    """What `state.orchestrate` gives, and how it was called."""
    return {"outcome": {"data": {"master": {}}}, "calls": []}


@pytest.fixture
def recorded():
    """The entries of the record."""
    return []


@pytest.fixture
def runner(client, orchestrated, recorded, monkeypatch):
    module = load("runners", "classhub")

    def orchestrate(sls, test, pillar):
        orchestrated["calls"].append((sls, test, pillar))
        return orchestrated["outcome"]

    monkeypatch.setattr(module.salt.client, "get_local_client", lambda path: client)
    monkeypatch.setattr(module, "_following", lambda *_: contextlib.nullcontext())
    opts = {"conf_file": "/etc/salt/master", "id": "master"}
    monkeypatch.setattr(module, "__opts__", opts, raising=False)
    salt = {
        "state.orchestrate": orchestrate,
        "pillar.show_pillar": lambda minion, id: {"classhub": {"hosts": HOSTS}},
    }
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__user__", "root", raising=False)
    monkeypatch.setattr(module, "__jid__", "20300101", raising=False)

    utils = {
        "classhub_staff.bypasses": load("utils", "classhub_staff").bypasses,
        "classhub_audit.audit_file": lambda opts: "audit",
        "classhub_audit.append": lambda file, **entry: recorded.append(entry),
    }
    monkeypatch.setattr(module, "__utils__", utils, raising=False)
    client.answers["test.ping"] = {minion: answer(True) for minion in HOSTS}
    client.answers["classhub.hosts"] = {minion: answer(HOSTS) for minion in HOSTS}
    return module


# -- drain and resume -------------------------------------------------------------------------------------------------

VERBS = [
    (lambda runner: runner.drain("node1"), "pause", False),
    (lambda runner: runner.drain("node1", test=True), "pause", True),
    (lambda runner: runner.drain("node1", stop=True), "drain", False),
    (lambda runner: runner.drain("node1", stop=True, test=True), "drain", True),
    (lambda runner: runner.resume("node1"), "active", False),
    (lambda runner: runner.resume("node1", test=True), "active", True),
]


@pytest.mark.parametrize(("verb", "value", "test"), VERBS)
def test_availability_is_asked_of_the_hub_alone(runner, client, verb, value, test):
    client.answers["classhub_swarm.availability"] = {"hub": answer("node1 is set")}
    assert verb(runner) == "node1 is set"
    ((target, function, words, options),) = client.asked
    assert (target, options["tgt_type"]) == ("classhub:roles:hub", "pillar")
    assert (function, words, options["kwarg"]) == (
        "classhub_swarm.availability",
        ("node1", value),
        {"test": test},
    )


UNANSWERED = [
    ({}, "0 hubs answered, not one"),
    ({"hub": answer("x"), "other": answer("x")}, "2 hubs answered, not one"),
    ({"hub": DEAD}, "hub does not answer"),
    ({"hub": False}, "hub does not answer"),
    ({"hub": answer("ERROR: docker is not installed", 1)}, "hub: docker is not installed"),
]


@pytest.mark.parametrize(("answers", "sentence"), UNANSWERED)
def test_hub_that_did_not_do_it_is_an_error(runner, client, answers, sentence):
    client.answers["classhub_swarm.availability"] = answers
    with pytest.raises(CommandExecutionError, match=sentence):
        runner.drain("node1")


# -- upgrades of the engine --------------------------------------------------------------------------------------------

NEWER = {"docker.io": {"installed": "20.10", "newest": "20.11"}}


class Fleet(Client):
    """Two nodes whose engine is old; what runs there, and what was done, in order."""

    def __init__(self):
        super().__init__()
        self.running = {"node1": [], "node2": []}
        self.newer = {"node1": NEWER, "node2": NEWER}
        self.set = {"node1": "active", "node2": "active"}
        self.back, self.done = True, []

    def cmd(self, target, function, arg=(), **kwargs):
        if function == "classhub_swarm.nodes":
            state = "ready" if self.back else "down"
            member = {"node": True, "state": state}
            found = [member | {"host": host, "availability": now} for host, now in self.set.items()]
            return {"hub": answer(found)}
        if function == "classhub_swarm.availability":
            host, value = arg
            self.set[host] = value
            self.done.append((host, value))
            return {"hub": answer(f"{host} is {value}")}
        (host,) = target
        told = {
            "classhub_engine.upgrades": lambda: self.newer[host],
            "classhub_engine.servers": lambda: self.running[host],
            "classhub_engine.upgrade": lambda: self.done.append((host, "upgraded")) or NEWER,
        }
        return {host: answer(told[function]())}


@pytest.fixture
def fleet(runner, monkeypatch):
    fleet, clock = Fleet(), SimpleNamespace(now=0.0)

    def sleep(seconds):
        clock.now += seconds
        if clock.now >= 60:  # then everybody has gone home
            fleet.running = {"node1": [], "node2": []}

    monkeypatch.setattr(runner.salt.client, "get_local_client", lambda path: fleet)
    monkeypatch.setattr(runner.time, "sleep", sleep)
    monkeypatch.setattr(runner.time, "monotonic", lambda: clock.now)
    return fleet


def test_engines_are_upgraded_one_after_the_other(runner, fleet):
    told = runner.upgrade_engines()
    assert told["table"] == dict.fromkeys(("node1", "node2"), "done: has docker.io 20.11")
    assert told["retcode"] == 0
    one = [("node1", "pause"), ("node1", "upgraded"), ("node1", "active")]
    assert fleet.done == one + [("node2", word) for _, word in one]


def test_a_node_with_servers_is_waited_for_and_then_left(runner, fleet):
    fleet.running["node1"] = ["ada", "bob"]
    assert (
        "skipped: servers of ada, bob run there"
        in runner.upgrade_engines("node1")["table"]["node1"]
    )
    assert fleet.done == [("node1", "pause"), ("node1", "active")]
    fleet.running["node1"] = ["ada"]
    assert runner.upgrade_engines("node1", wait=600)["table"]["node1"].startswith("done")


def test_a_node_that_was_drained_stays_so(runner, fleet):
    fleet.set["node1"] = "pause"
    assert runner.upgrade_engines("node1")["table"]["node1"].startswith("done")
    assert fleet.done == [("node1", "upgraded")]


def test_what_has_the_newest_is_left_alone(runner, fleet):
    fleet.newer["node1"] = {}
    told = runner.upgrade_engines()["table"]
    assert told["node1"] == "skipped: has the newest"
    assert "node1" not in dict(fleet.done)


def test_upgrades_are_predicted(runner, fleet):
    fleet.running["node2"] = ["ada"]
    assert runner.upgrade_engines(test=True)["table"] == {
        "node1": "done: would get docker.io 20.11",
        "node2": "done: would get docker.io 20.11 once the servers of ada have ended",
    }
    assert fleet.done == []


def test_an_engine_that_does_not_come_back_gets_no_students(runner, fleet):
    fleet.back = False
    told = runner.upgrade_engines("node1")
    assert told["table"]["node1"].startswith("failed: its engine was upgraded, and it is not back")
    assert "salt-run classhub.resume node1" in told["table"]["node1"]
    assert told["retcode"] == 1
    assert fleet.set["node1"] == "pause"


def test_a_node_that_is_none(runner, fleet):
    with pytest.raises(
        CommandExecutionError, match="no node is called 'node9'; the nodes are node1"
    ):
        runner.upgrade_engines("node9")


# -- the course -------------------------------------------------------------------------------------------------------

REPORT = {"table": {"ada": "done: given"}, "summary": {"failed": 0}}
COURSE = [
    (lambda runner: runner.assignments(), "assignments", (), {}),
    (
        lambda runner: runner.release("ps1", force=True, students="ada"),
        "release",
        ("ps1",),
        {"force": True, "students": "ada", "generate": True, "test": False},
    ),
    (lambda runner: runner.roster(drops=7), "roster", (), {"drops": 7, "test": False}),
    (lambda runner: runner.fetch_source(test=True), "fetch_source", (), {"test": True}),
    (lambda runner: runner.status("ps1"), "status", ("ps1",), {}),
    (
        lambda runner: runner.hotfix("ps1", students="ada"),
        "hotfix",
        ("ps1",),
        {"students": "ada", "generate": True, "test": False},
    ),
    (
        lambda runner: runner.autograde("ps1", force=True),
        "autograde",
        ("ps1",),
        {"students": "", "force": True, "test": False},
    ),
    (
        lambda runner: runner.feedback("ps1"),
        "feedback",
        ("ps1",),
        {"students": "", "test": False},
    ),
    (
        lambda runner: runner.return_("ps1", force=True),
        "return_",
        ("ps1",),
        {"students": "", "force": True, "generate": True, "test": False},
    ),
    (lambda runner: runner.grades(format="moodle"), "grades", ("",), {"format": "moodle"}),
    (lambda runner: runner.calendar(), "calendar", (), {}),
    (lambda runner: runner.keep_calendar(test=True), "keep_calendar", (), {"test": True}),
    (lambda runner: runner.cull(test=True), "cull", (), {"test": True}),
    (
        lambda runner: runner.activity("unstarted", "ps1", format="csv"),
        "activity",
        ("unstarted", "ps1"),
        {"since": "", "until": "", "format": "csv"},
    ),
    (lambda runner: runner.backup(test=True), "backup", (), {"test": True}),
    (lambda runner: runner.snapshots(), "snapshots", (), {}),
    (lambda runner: runner.drill(), "drill", (), {"test": False}),
    (
        # a word with = in it would be taken for the name of an argument and its value
        lambda runner: runner.restore("ada", "lr=0.01/a.ipynb", at="yesterday 14:00"),
        "restore",
        (),
        {"user": "ada", "path": "lr=0.01/a.ipynb", "at": "yesterday 14:00", "test": False},
    ),
    (lambda runner: runner.recover(test=True), "recover", (), {"at": "", "test": True}),
    (lambda runner: runner.seal(test=True), "seal", (), {"test": True}),
    (lambda runner: runner.forget_identity("ada"), "forget_identity", ("ada",), {"test": False}),
    (lambda runner: runner.receipt("ada"), "receipt", ("ada", ""), {}),
    (lambda runner: runner.verify(), "verify", (), {}),
    (
        lambda runner: runner.collect("ps1", due="2030-01-31"),
        "collect",
        ("ps1",),
        {"due": "2030-01-31", "cutoff": "", "test": False},
    ),
]


@pytest.mark.parametrize(("verb", "name", "words", "options"), COURSE)
def test_verbs_of_the_course_are_said_to_the_hub(runner, client, verb, name, words, options):
    client.answers[f"classhub.{name}"] = {"hub": answer(REPORT)}
    assert verb(runner) == REPORT
    ((target, function, said, asked),) = client.asked
    assert (target, function, said) == ("classhub:roles:hub", f"classhub.{name}", words)
    assert asked["kwarg"] == options
    assert asked["timeout"] >= 60


def test_who_failed_is_in_the_table_and_in_the_exit_code(runner, client):
    client.answers["classhub.seal"] = {"hub": answer(REPORT, 1)}
    assert runner.seal() == REPORT | {"retcode": 1}


def test_a_refusal_of_the_course_is_an_error(runner, client):
    client.answers["classhub.collect"] = {"hub": answer("ERROR: there is no assignment 'x'", 1)}
    with pytest.raises(CommandExecutionError, match="^hub: there is no assignment 'x'"):
        runner.collect("x")


# -- the record -------------------------------------------------------------------------------------------------------


def test_a_verb_is_recorded_before_and_after(runner, client, recorded):
    client.answers["classhub.collect"] = {"hub": answer(REPORT)}
    runner.collect("ps1", test=True)
    entry = {"who": "root", "how": "salt-run", "verb": "collect", "job": "20300101"}
    entry["arguments"] = {"assignment": "ps1", "test": True}
    assert recorded == [entry | {"outcome": "begun"}, entry | {"outcome": "1 done"}]


def test_how_it_ended_is_recorded_in_any_case(runner, client, recorded, monkeypatch):
    client.answers["classhub.collect"] = {"hub": answer("ERROR: there is no assignment 'x'", 1)}
    with pytest.raises(CommandExecutionError):
        runner.collect("x")
    assert recorded[-1]["outcome"] == "refused: hub: there is no assignment 'x'"
    monkeypatch.setattr(runner, "_course", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        runner.collect("x")
    assert recorded[-1]["outcome"].startswith("failed: ZeroDivisionError")
    outcomes = {"ada": "done: given", "bob": "failed: no home", "cleo": "done: given"}
    monkeypatch.setattr(runner, "_course", lambda *args, **kwargs: {"table": outcomes})
    runner.collect("ps1")
    assert recorded[-1]["outcome"] == "2 done, 1 failed"


def test_who_came_by_the_command_is_known(runner, client, recorded, monkeypatch):
    monkeypatch.setattr(runner, "__user__", "gina@classhub")
    client.answers["classhub.verify"] = {"hub": answer(REPORT)}
    runner.verify()
    assert {(entry["who"], entry["how"]) for entry in recorded} == {("gina", "classhub")}


def test_what_cannot_be_recorded_is_not_done(runner, client, monkeypatch):
    def full(file, **entry):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(runner.__utils__, "classhub_audit.append", full)
    with pytest.raises(CommandExecutionError, match="Nothing was done, for it cannot be recorded"):
        runner.drain("node1")
    assert client.asked == []


def test_a_bypassable_master_deploys_nothing(runner, client, monkeypatch):
    monkeypatch.setitem(runner.__opts__, "external_auth", {"pam": {"carol": ["test.ping"]}})
    with pytest.raises(CommandExecutionError, match="external_auth: whoever it lets in can run"):
        runner.deploy()
    assert client.asked == []


# -- doctor -----------------------------------------------------------------------------------------------------------


WAITING = "import sys; print('here', flush=True); sys.stdin.read()"


@pytest.fixture
def master(runner, monkeypatch, tmp_path):
    """master(program): what the doctor says of a master that was started so; of none where it is empty."""
    doctor = load("utils", "classhub_doctor")
    for name in ("finding", "clock", "compared", "sentence"):
        monkeypatch.setitem(runner.__utils__, f"classhub_doctor.{name}", getattr(doctor, name))
    pidfile = tmp_path / "master.pid"
    monkeypatch.setitem(runner.__opts__, "pidfile", str(pidfile))
    started = []

    def said(program):
        if program:
            command = [sys.executable, "-c", WAITING, program]
            pipe = subprocess.PIPE
            started.append(subprocess.Popen(command, stdin=pipe, stdout=pipe))
            assert started[-1].stdout.readline()
            pidfile.write_text(f"{started[-1].pid}\n")
        told = runner.doctor(proof=False)
        assert told["retcode"] == 1, "the hosts of this test answer nothing"
        return told["checks"]["master: program"]

    yield said
    for process in started:
        process.communicate()


@pytest.mark.parametrize(
    ("program", "told"),
    [
        (str(ROOT / "bin/salt-master"), "ok: the master is the class's own"),
        ("/opt/salt/bin/salt-master", "failed: the master is not the class's own: a node can "),
        ("", "warning: the master's process is not found: "),
    ],
)
def test_doctor_knows_a_master_that_believes_hosts_about_others(master, program, told):
    found = master(program)
    assert found.startswith(told)
    assert ("bootstrap.sh master" in found) == (not told.startswith("ok"))


# -- what the master does by itself ----------------------------------------------------------------------------------

CULLED = {"table": {"ada": "done: stopped, idle 26:03"}, "summary": {"failed": 0, "unanswered": []}}


@pytest.fixture
def scheduled(runner, client, tmp_path, monkeypatch):
    """The runner with a master's cache, an interval in pillar and a clock."""
    state = SimpleNamespace(
        interval=3600, activity=0, now=1_900_000_000.0, runner=runner, client=client
    )
    state.stamp = tmp_path / "classhub" / "cull"

    def show_pillar(minion, id):  # noqa: A002 - Salt's name
        assert minion == id == "master"
        intervals = {"cull": state.interval, "activity": state.activity}
        return {"classhub": {verb: {"interval": every} for verb, every in intervals.items()}}

    opts = {"conf_file": "/etc/salt/master", "cachedir": str(tmp_path), "id": "master"}
    monkeypatch.setattr(runner, "__opts__", opts)
    monkeypatch.setitem(runner.__salt__, "pillar.show_pillar", show_pillar)
    monkeypatch.setattr(runner.time, "time", lambda: state.now)
    client.answers["classhub.cull"] = {"hub": answer(CULLED)}
    state.logged = []
    for level in ("warning", "error"):
        log = lambda words, *what: state.logged.append(words % what)  # noqa: E731
        monkeypatch.setattr(runner.log, level, log)

    def look(after=0.0):
        """The schedule's look, so many seconds after the last; whether the hub was asked."""
        state.now += after
        before = len(client.asked)
        runner.keep_schedule()
        return len(client.asked) > before

    state.look = look
    return state


def test_culling_is_said_as_often_as_pillar_says(scheduled):
    assert scheduled.look() is False  # a master that has just been set up waits for the class
    looks = [scheduled.look(60) for _ in range(180)]
    assert [minute for minute, asked in enumerate(looks, 1) if asked] == [60, 120, 180]
    assert scheduled.client.asked[0][1] == "classhub.cull"
    assert scheduled.client.asked[0][3]["kwarg"] == {"test": False}


def test_a_shorter_interval_counts_at_the_next_look(scheduled):
    scheduled.look()
    assert scheduled.look(600) is False
    scheduled.interval = 60
    assert scheduled.look(60) is True
    assert scheduled.look(58) is True  # looks are not exact
    scheduled.interval = 0
    assert scheduled.look(86400) is False


def test_a_clock_that_was_wrong_does_not_end_it(scheduled):
    scheduled.look()
    os.utime(scheduled.stamp, (scheduled.now + 1e8, scheduled.now + 1e8))
    scheduled.now += 60
    scheduled.runner.keep_schedule()
    assert scheduled.client.asked


def test_a_hub_that_does_not_answer_is_asked_again_when_it_is_due_again(scheduled):
    scheduled.look()
    scheduled.client.answers["classhub.cull"] = {"hub": DEAD}
    assert scheduled.look(3600) is True
    assert scheduled.logged == ["classhub.cull: hub does not answer; look at salt-minion there"]
    assert scheduled.look(60) is False
    scheduled.client.answers["classhub.cull"] = {"hub": answer(CULLED)}
    assert scheduled.look(3600) is True


def test_what_went_wrong_is_in_the_masters_log(scheduled):
    table = {"ada": "failed: the hub answers 500", "bob": "skipped: kept", "cleo": "done: stopped"}
    report = {"table": table, "summary": {"failed": 1, "unanswered": ["bob"]}}
    scheduled.client.answers["classhub.cull"] = {"hub": answer(report, 1)}
    scheduled.look()
    scheduled.look(3600)
    assert scheduled.logged == [
        "classhub.cull: ada: failed: the hub answers 500",
        "classhub.cull: bob could not be asked, and was kept",
    ]


def waiting(*rows, spool="s1"):
    return answer({"spool": spool, "rows": [list(row) for row in rows]})


@pytest.fixture
def pulling(scheduled):
    """Nodes of which one has something to tell, once."""
    told = {"node1": waiting((7, "c", "start")), "node2": waiting()}
    recorded = {"table": {"node1": "done: 1 new"}, "summary": {"new": 1}}

    class Telling(dict):
        def get(self, function, default=None):
            found = super().get(function, default)
            return found.pop(0) if isinstance(found, list) else found

    answers = scheduled.client.answers = Telling(scheduled.client.answers)
    answers["classhub_activity.waiting"] = told
    answers["classhub_activity.record"] = {"hub": answer(recorded)}
    answers["classhub_activity.forget"] = {"node1": answer(1)}
    answers["classhub_activity.sample"] = {"hub": answer({"table": {}, "summary": {"used": 3}})}
    return scheduled


def test_what_waits_is_recorded_before_it_is_forgotten(pulling):
    report = pulling.runner.pull_activity()
    assert report["table"] == {"node1": "done: 1 new", "node2": "done: nothing new"}
    asked = [(target, function, words) for target, function, words, _ in pulling.client.asked]
    assert asked == [
        ("classhub:roles:node", "classhub_activity.waiting", (pulling.runner._PULLED,)),
        ("classhub:roles:hub", "classhub_activity.record", ({"node1": [[7, "c", "start"]]},)),
        (["node1"], "classhub_activity.forget", ("s1", 7)),
    ]


def test_nothing_is_forgotten_that_the_hub_could_not_write(pulling):
    sentence = "/srv/stats/db/activity.sqlite cannot be written: disk is full"
    pulling.client.answers["classhub_activity.record"] = {"hub": answer(f"ERROR: {sentence}", 1)}
    with pytest.raises(CommandExecutionError, match="disk is full"):
        pulling.runner.pull_activity()
    assert "classhub_activity.forget" not in names_of(pulling.client)


NO_ANSWER = [
    (DEAD, "does not answer"),
    (False, "does not answer"),
    ({"ret": "Minion did not return. [No response]"}, "Minion did not return. [No response]"),
    (
        answer("'classhub_activity.waiting' is not available.", 254),
        "'classhub_activity.waiting' is not available.",
    ),
    (answer("ERROR: disk is full", 1), "disk is full"),
    (answer({"rows": 5}), "its answer makes no sense"),
    (answer({"rows": [[1]]}), "its answer makes no sense"),
    *((waiting(row), "its answer makes no sense") for row in ((), ("7",), (True,), ({},), (None,))),
    *(
        (answer({"spool": "s", "rows": [row]}), "its answer makes no sense")
        for row in (7, {}, "7", None)
    ),
]


@pytest.mark.parametrize(("ret", "sentence"), NO_ANSWER)
def test_a_silent_node_does_not_hold_up_the_others(pulling, ret, sentence):
    pulling.client.answers["classhub_activity.waiting"]["node2"] = ret
    report = pulling.runner.pull_activity()
    assert report["table"] == {"node1": "done: 1 new", "node2": f"failed: {sentence}"}


def test_more_than_is_brought_at_once_is_brought_in_turns(pulling, monkeypatch):
    monkeypatch.setattr(pulling.runner, "_PULLED", 2)
    turns = [waiting((1,), (2,)), waiting((3,), (4,)), waiting((5,))]
    pulling.client.answers["classhub_activity.waiting"] = [{"node1": turn} for turn in turns]
    pulling.runner.pull_activity()
    forgotten = [words for _, name, words, _ in pulling.client.asked if name.endswith(".forget")]
    assert forgotten == [("s1", 2), ("s1", 4), ("s1", 5)]


NOT_FORGOTTEN = [
    ({}, "does not answer"),
    ({"node1": DEAD}, "does not answer"),
    ({"node1": answer("ERROR: database or disk is full", 1)}, "database or disk is full"),
]


@pytest.mark.parametrize(("answers", "why"), NOT_FORGOTTEN)
def test_node_that_cannot_forget_is_told_and_not_asked_for_ever(pulling, monkeypatch, answers, why):
    monkeypatch.setattr(pulling.runner, "_PULLED", 1)
    pulling.client.answers["classhub_activity.forget"] = answers
    report = pulling.runner.pull_activity()
    failed = f"failed: does not forget what the hub has: {why}"
    assert report["table"] == {"node1": failed, "node2": "done: nothing new"}
    assert names_of(pulling.client).count("classhub_activity.waiting") == 1


def test_node_with_a_new_spool_has_forgotten_nothing_and_is_asked_by_the_next_run(
    pulling, monkeypatch
):
    monkeypatch.setattr(pulling.runner, "_PULLED", 1)
    pulling.client.answers["classhub_activity.forget"] = {"node1": answer(0)}
    assert pulling.runner.pull_activity()["table"]["node1"] == "done: 1 new"
    assert names_of(pulling.client).count("classhub_activity.waiting") == 1


def test_node_that_has_always_more_to_tell_does_not_hold_up_the_master(pulling, monkeypatch):
    monkeypatch.setattr(pulling.runner, "_PULLED", 1)
    pulling.interval, pulling.activity = 0, 300
    pulling.look()
    pulling.look(300)
    asked = names_of(pulling.client)
    assert asked.count("classhub_activity.waiting") == pulling.runner._TURNS
    assert asked[-1] == "classhub_activity.sample"
    assert pulling.look(300) is True


def test_two_runs_do_not_pull_at_once_and_the_first_looks_once_more(pulling, tmp_path):
    folder = tmp_path / "classhub"
    folder.mkdir()
    cmd, second = pulling.client.cmd, []

    def busy(target, function, *args, **kwargs):
        if function == "classhub_activity.record" and not second:
            second.append(pulling.runner.pull_activity(sample=True))
        return cmd(target, function, *args, **kwargs)

    pulling.client.cmd = busy
    pulling.runner.pull_activity()
    assert second == [{"table": {}, "summary": {"used": 3}}]
    assert names_of(pulling.client).count("classhub_activity.waiting") == 2


def test_activity_is_pulled_and_sampled_as_often_as_pillar_says(pulling):
    pulling.interval, pulling.activity = 0, 300
    pulling.look()
    looks = [pulling.look(60) for _ in range(10)]
    assert [minute for minute, asked in enumerate(looks, 1) if asked] == [5, 10]
    assert names_of(pulling.client).count("classhub_activity.sample") == 2


def test_the_reactor_pulls_and_believes_nothing():
    reactors = yaml.safe_load((ROOT / "config/master.d/classhub.conf").read_text())["reactor"]
    (files,) = [entry["classhub/activity"] for entry in reactors if "classhub/activity" in entry]
    text = (ROOT / files[0].removeprefix("/srv/classhub/")).read_text(encoding="utf-8")
    assert "{{" not in text
    ((call,),) = [list(state) for state in yaml.safe_load(text.partition("#}")[2]).values()]
    assert call == "runner.classhub.pull_activity"


def test_the_masters_schedule_says_it(runner):
    text = (ROOT / "config/master.d/classhub.conf").read_text(encoding="utf-8")
    (job,) = yaml.safe_load(text)["schedule"].values()
    module, _, function = job["function"].partition(".")
    assert module == "classhub"
    assert callable(getattr(runner, function))
    assert job["seconds"] == runner._LOOKS
    assert job["maxrunning"] == 1


# -- deploy -----------------------------------------------------------------------------------------------------------

UP = answer(True)
# Each: (answers to test.ping, who is named)
SILENT = [
    ({}, "no host"),
    ({"hub": UP, "node1": DEAD}, "node1"),
    ({"hub": UP, "node1": False}, "node1"),
    ({"hub": UP, "node1": {"ret": "Minion did not return. [No response]"}}, "node1"),
    ({"hub": UP, "node1": UP, "old": DEAD}, "old"),
    ({"hub": DEAD, "node1": DEAD}, "hub, node1"),
]


def names_of(client):
    return [function for _, function, _, _ in client.asked]


def refused(runner, orchestrated):
    """What the refused deployment says; that nothing was orchestrated."""
    with pytest.raises(CommandExecutionError) as caught:
        runner.deploy()
    assert orchestrated["calls"] == []
    return str(caught.value)


@pytest.mark.parametrize(("answers", "named"), SILENT)
def test_nothing_is_deployed_while_a_host_is_silent(runner, client, orchestrated, answers, named):
    """Nor are the others told to refresh anything."""
    client.answers["test.ping"] = answers
    told = refused(runner, orchestrated)
    assert told.startswith(f"Nothing was changed: {named} does not answer. Bring it up")
    assert names_of(client) == ["test.ping"]


# Each: (answers to classhub.hosts of those who answered the ping, who is named)
MISSING = [
    ({"hub": answer(HOSTS)}, "node1"),
    ({}, "hub, node1"),
    ({minion: answer(HOSTS | {"node2": {}}) for minion in HOSTS}, "node2"),
]


@pytest.mark.parametrize(("answers", "named"), MISSING)
def test_nothing_is_deployed_without_a_host_of_the_class(
    runner, client, orchestrated, answers, named
):
    """One that pillar knows and the master does not, or that fell silent meanwhile."""
    client.answers["classhub.hosts"] = answers
    told = refused(runner, orchestrated)
    assert told.startswith(f"Nothing was changed: {named} does not answer. Bring it up")


FAULTS = "this class's settings have faults:\n- classhub:domain: missing\n- classhub:hosts: none"
UNSOUND = [
    (answer(f"ERROR: {FAULTS}", 1), FAULTS),
    (answer("'classhub.hosts' is not available.", 254), "'classhub.hosts' is not available."),
    (DEAD, DEAD),
    (False, "False"),
]


@pytest.mark.parametrize(("ret", "sentence"), UNSOUND)
def test_host_says_itself_why_nothing_is_deployed(runner, client, orchestrated, ret, sentence):
    client.answers["classhub.hosts"]["node1"] = ret
    assert refused(runner, orchestrated) == f"Nothing was changed: node1: {sentence}"


def test_hosts_look_at_the_present_settings_before_they_judge_them(runner, client):
    """Else a class whose settings were mended could not be deployed, nor a faulty one be refused."""
    runner.deploy()
    order = ["test.ping", "saltutil.refresh_pillar", "saltutil.sync_all", "classhub.hosts"]
    assert names_of(client) == order
    assert {target for target, _, _, _ in client.asked} == {"*"}
    assert client.asked[1][3]["kwarg"] == {"wait": True}


def state(result=True, changes=None, comment="", name="State"):
    return {"result": result, "changes": changes or {}, "comment": comment, "__id__": name}


def stage(number, returned=None, **kwargs):
    changes = {"ret": returned} if returned is not None else {}
    return state(changes=changes, name=f"Stage {number}", **kwargs) | {"__run_num__": number}


def outcome(*stages):
    return {"data": {"master": {f"stage_{i}": entry for i, entry in enumerate(stages)}}}


@pytest.mark.parametrize("test", [False, True])
def test_changes_are_counted_by_host_over_all_stages(runner, orchestrated, test):
    result = None if test else True
    orchestrated["outcome"] = outcome(
        stage(0, {"hub": {"a": state(result, {"x": 1}), "b": state()}}, result=result),
        stage(1, {"hub": {"c": state(result, {"x": 1})}, "node1": {"a": state()}}, result=result),
    )
    deployed = runner.deploy(test=test)
    assert deployed["hosts"] == {"hub": 2, "node1": 0}
    assert isinstance(deployed["seconds"], int)
    assert orchestrated["calls"] == [("orch.deploy", test, {"apart": ["node"]})]


def test_one_host_with_all_roles_is_deployed_as_the_hub(runner, orchestrated, monkeypatch):
    hosts = {"hub": {"address": "192.0.2.11", "roles": ["proxy", "hub", "node"]}}
    monkeypatch.setitem(
        runner.__salt__, "pillar.show_pillar", lambda minion, id: {"classhub": {"hosts": hosts}}
    )
    runner.deploy()
    assert orchestrated["calls"] == [("orch.deploy", False, {"apart": []})]


UNRENDERED = "Rendering SLS failed"
FAILURES = {
    "each failed state, stage by stage": (
        outcome(
            stage(2, result=False, comment="not run: One or more requisite failed"),
            stage(
                1,
                {
                    "hub": {"a": state(False, comment="no room", name="Hub is up"), "b": state()},
                    "node1": {"a": state(False, comment="no mount", name="Storage is there")},
                },
                result=False,
                comment="Run failed on minions: hub, node1",
            ),
        ),
        [
            "hub: Hub is up: no room",
            "node1: Storage is there: no mount",
            "Stage 2: not run: One or more requisite failed",
        ],
    ),
    "a host that could not render": (
        outcome(stage(0, {"hub": [UNRENDERED]}, result=False)),
        [f"hub: {[UNRENDERED]}"],
    ),
    "a host that fell silent": (
        outcome(stage(0, {"hub": False}, result=False)),
        ["hub: False"],
    ),
    "an orchestration that does not compile": (
        {"data": {"master": [UNRENDERED]}},
        [str([UNRENDERED])],
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_told_in_one_error(runner, orchestrated, case):
    orchestrated["outcome"], lines = FAILURES[case]
    with pytest.raises(CommandExecutionError) as caught:
        runner.deploy()
    title, *told = str(caught.value).split("\n- ")
    assert title == "The class was not deployed:"
    assert told == lines


# -- progress ---------------------------------------------------------------------------------------------------------


def event(tag, **data):
    return {"tag": f"salt/job/1/{tag}", "data": data}


EVENTS = [
    (
        event("new", fun="state.apply", minions=["hub"], arg=["engine", {"test": True}]),
        "hub: engine",
    ),
    (
        event("new", fun="state.apply", minions=["hub", "node1"], arg=[]),
        "hub, node1: all its states",
    ),
    (
        event("ret/hub", fun="state.apply", id="hub", success=True, **{"return": {"a": state()}}),
        "hub: done, 0 changes",
    ),
    (
        event(
            "ret/hub",
            fun="state.apply",
            id="hub",
            success=False,
            **{"return": {"a": state(changes={"x": 1}), "b": state(False)}},
        ),
        "hub: FAILED, 1 changes",
    ),
    (
        event("ret/hub", fun="state.apply", id="hub", success=False, **{"return": ["no"]}),
        "hub: FAILED, 0 changes",
    ),
    (event("ret/hub", fun="classhub_swarm.join_token", id="hub", **{"return": "fake-token"}), ""),
    (event("prog/hub/1", fun="state.apply", id="hub"), ""),
]


@pytest.mark.parametrize(("event_", "line"), EVENTS)
def test_progress_shows_states_and_nothing_of_other_jobs(runner, event_, line):
    assert runner._line(event_) == line


SAID = [
    ({"data": {"line": "autograde ps1: ada: done"}, "id": "hub"}, "autograde ps1: ada: done"),
    ({"id": "hub"}, ""),
    ({"data": "odd"}, ""),
]


@pytest.mark.parametrize(("data", "line"), SAID)
def test_progress_of_a_verb_is_its_lines(runner, data, line):
    assert runner._said({"tag": "classhub/progress/autograde", "data": data}) == line
