"""The instructor's verbs: what each says to the course's command line."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

PACKAGES = {"forget": "classhub.identities"}
PACKAGES |= dict.fromkeys(["backup", "snapshots", "restore", "drill", "recover"], "classhub.backup")


@pytest.fixture
def said():
    return []


@pytest.fixture
def module(said, monkeypatch):
    module = load("modules", "classhub")

    def call(verb, arguments=(), options=(), follow=False, package="classhub.course"):
        assert follow == (verb in ("autograde", "recover"))
        assert package == PACKAGES.get(verb, "classhub.course")
        said.append((verb, list(arguments), list(options)))
        failed = 1 if "unlucky" in arguments else 0
        answers = {"assignments": {"ps1": {}}, "csv": "a,b", "calendar": {"ps1": {}}, "rows": [{}]}
        table = {"ada": "failed: ~/ps1 is a symbolic link"} if failed else {}
        return {"table": table, "summary": {"failed": failed} | answers}

    salt = {"classhub_course.call": call, "classhub_swarm.servers": lambda: ["ada"]}
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__context__", {}, raising=False)
    return module


TIMES = {"due": "2030-01-31T23:59", "cutoff": "2030-02-01T23:59"}
SAID = [
    (lambda hub: hub.release("ps1"), "release", ["ps1"], ["--generate"]),
    (
        lambda hub: hub.release("ps1", force=True, students="ada,bob", generate=False, test=True),
        "release",
        ["ps1"],
        ["--students=ada,bob", "--force", "--test"],
    ),
    (lambda hub: hub.fetch_source(), "fetch-source", [], []),
    (lambda hub: hub.fetch_source(test=True), "fetch-source", [], ["--test"]),
    (lambda hub: hub.status("ps1"), "status", ["ps1"], []),
    (lambda hub: hub.forget_identity("ada"), "forget", ["ada"], []),
    (lambda hub: hub.forget_identity("ada", test=True), "forget", ["ada"], ["--test"]),
    (lambda hub: hub.hotfix("ps1"), "hotfix", ["ps1"], ["--running=ada", "--generate"]),
    (
        lambda hub: hub.hotfix("ps1", students="bob", generate=False, test=True),
        "hotfix",
        ["ps1"],
        ["--students=bob", "--running=ada", "--test"],
    ),
    (lambda hub: hub.autograde("ps1"), "autograde", ["ps1"], []),
    (
        lambda hub: hub.autograde("ps1", students="ada", force=True, test=True),
        "autograde",
        ["ps1"],
        ["--students=ada", "--force", "--test"],
    ),
    (lambda hub: hub.feedback("ps1"), "feedback", ["ps1"], []),
    (lambda hub: hub.feedback("ps1", students="ada"), "feedback", ["ps1"], ["--students=ada"]),
    (lambda hub: hub.return_("ps1"), "return", ["ps1"], ["--generate"]),
    (
        lambda hub: hub.return_("ps1", students="ada", force=True, generate=False, test=True),
        "return",
        ["ps1"],
        ["--students=ada", "--force", "--test"],
    ),
    (lambda hub: hub.keep_calendar(), "keep-calendar", [], []),
    (lambda hub: hub.keep_calendar(test=True), "keep-calendar", [], ["--test"]),
    (lambda hub: hub.keep_calendar(grading=True), "keep-calendar", [], ["--grading"]),
    (lambda hub: hub.keep_calendar(grading=False), "keep-calendar", [], ["--no-grading"]),
    (lambda hub: hub.cull(), "cull", [], []),
    (lambda hub: hub.cull(test=True), "cull", [], ["--test"]),
    (lambda hub: hub.import_activity("/root/a.sqlite"), "import-activity", ["/root/a.sqlite"], []),
    (lambda hub: hub.backup(), "backup", [], []),
    (lambda hub: hub.backup(test=True), "backup", [], ["--test"]),
    (lambda hub: hub.snapshots(), "snapshots", [], []),
    (lambda hub: hub.drill(test=True), "drill", [], ["--test"]),
    (lambda hub: hub.restore("ada"), "restore", ["ada"], []),
    (
        lambda hub: hub.restore("ada", "ps1/a b.ipynb", at="yesterday 14:00", test=True),
        "restore",
        ["ada", "ps1/a b.ipynb"],
        ["--at=yesterday 14:00", "--test"],
    ),
    (lambda hub: hub.recover(), "recover", [], []),
    (lambda hub: hub.recover(at="1a2b3c4d", test=True), "recover", [], ["--at=1a2b3c4d", "--test"]),
    (lambda hub: hub.seal(), "seal", [], []),
    (lambda hub: hub.seal(test=True), "seal", [], ["--test"]),
    (lambda hub: hub.receipt("ada"), "receipt", ["ada"], []),
    (lambda hub: hub.receipt("ada", "ps1"), "receipt", ["ada", "ps1"], []),
    (lambda hub: hub.verify(), "verify", [], []),
    (lambda hub: hub.collect("ps1"), "collect", ["ps1"], []),
    (
        lambda hub: hub.collect("ps1", **TIMES, test=True),
        "collect",
        ["ps1"],
        ["--due=2030-01-31T23:59", "--cutoff=2030-02-01T23:59", "--test"],
    ),
]


@pytest.mark.parametrize(("verb", "name", "arguments", "options"), SAID)
def test_what_is_said_to_the_command_line(module, said, verb, name, arguments, options):
    assert set(verb(module)) == {"table", "summary"}
    assert said == [(name, arguments, options)]
    assert module.__context__ == {}


FORGOTTEN = "done: forgotten; the next sign-in counts"


@pytest.mark.parametrize(
    ("outcome", "test", "stopped"),
    [
        (FORGOTTEN, False, ["ada"]),
        ("done: would be forgotten", True, []),
        ("skipped: has not signed in with an account elsewhere", False, []),
    ],
)
def test_the_server_of_whose_account_is_forgotten_is_stopped(module, outcome, test, stopped):
    seen = []
    report = {"table": {"ada": outcome}, "summary": {}}
    module.__salt__["classhub_course.call"] = lambda *_, **__: report
    module.__salt__["classhub_swarm.stop"] = seen.append
    assert module.forget_identity("ada", test=test) == report
    assert seen == stopped


def test_a_server_that_does_not_stop_is_told_with_what_to_say(module):
    def stop(user):
        raise CommandExecutionError("the engine does not answer")

    module.__salt__["classhub_course.call"] = lambda *_, **__: {"table": {"ada": FORGOTTEN}}
    module.__salt__["classhub_swarm.stop"] = stop
    with pytest.raises(CommandExecutionError, match="ada is forgotten, but .* does not answer"):
        module.forget_identity("ada")


def test_who_failed_is_in_the_table_and_in_the_exit_code(module):
    assert module.status("unlucky")["summary"]["failed"] == 1
    assert module.__context__ == {"retcode": 1}


def test_certificate_is_what_the_proxy_shows(module):
    module.__salt__["classhub_certificate.shown"] = lambda: {"days_left": 80}
    assert module.certificate() == {"days_left": 80}


def test_assignments_are_listed_by_name(module):
    assert module.assignments() == {"ps1": {}}


def test_grades_are_the_text_alone(module, said):
    assert module.grades("ps1", format="canvas") == "a,b"
    assert module.grades() == "a,b"
    options = [["--format=canvas"], ["--format=csv"]]
    assert said == [("grades", ["ps1"], options[0]), ("grades", [], options[1])]


def test_activity_is_rows_or_text(module, said):
    assert module.activity() == [{}]
    assert (
        module.activity("unstarted", "ps1", since="2030-01-01", until="2030-02-01", format="csv")
        == "a,b"
    )
    times = ["--since=2030-01-01", "--until=2030-02-01"]
    assert said == [
        ("activity", ["hourly"], ["--format=json"]),
        ("activity", ["unstarted", "ps1"], ["--format=csv", *times]),
    ]


def test_who_could_not_be_looked_at_is_beside_the_activity_and_in_the_exit_code(module):
    table = {"ada": "failed: ~/ps1 is a symbolic link"}
    assert module.activity("unstarted", "unlucky") == {"table": table, "rows": [{}]}
    assert module.activity("unstarted", "unlucky", format="csv") == {"table": table, "csv": "a,b"}
    assert module.__context__ == {"retcode": 1}


def test_calendar_is_by_assignment(module):
    assert module.calendar() == {"ps1": {}}


# -- the roster ------------------------------------------------------------------------------------------------------


@pytest.fixture
def applied(module):
    """What state.apply answers, and what it was asked."""
    world = {"asked": [], "answer": {}}

    def apply(mods, **options):
        world["asked"].append((mods, options))
        return world["answer"]

    module.__salt__["state.apply"] = apply
    return world


def state(number, name, changes=(), result=True, comment=""):
    ran = {"__run_num__": number, "name": name, "changes": dict(changes)}
    return ran | {"result": result, "comment": comment}


def test_roster_tells_by_person_what_the_states_did(module, applied):
    applied["answer"] = {
        "c": state(3, "newcomers", {"ada": "done: ps1 given"}),
        "a": state(1, "roster", {"ada": ["account", "home"], "bob": "done: locked"}),
        "b": state(2, "exchange", {"ada": "done: inbound made", "exchange": "outbound made"}),
        "e": state(4, "quotas", {"ada": "done: a quota of 5.0 GiB"}),
        "d": state(0, "/etc/classhub/course.json", {"diff": "..."}),
    }
    assert module.roster(drops=3, test=True) == {
        "table": {
            "ada": "done: account, home; inbound made; ps1 given; a quota of 5.0 GiB",
            "bob": "done: locked",
        },
        "summary": {"done": 2, "failed": 0},
    }
    assert applied["asked"] == [
        ("check,course.people", {"test": True, "pillar": {"classhub_drops": 3}})
    ]
    assert module.__context__ == {"retcode": 0}


def test_person_for_whom_something_failed(module, applied):
    table = {"ada": "failed: no space", "bob": "done: account"}
    applied["answer"] = {"a": state(1, "roster", table, False, "failed for ada")}
    report = module.roster()
    assert report["table"] == {"ada": "failed: no space", "bob": "done: account"}
    assert module.__context__ == {"retcode": 1}


@pytest.mark.parametrize(
    "answer",
    [
        ["The function state.apply is running as PID 7"],
        {"a": state(0, "classhub settings", (), False, "The function state.apply is running")},
    ],
)
def test_roster_that_is_not_applied_is_an_error(module, applied, answer):
    applied["answer"] = answer
    with pytest.raises(CommandExecutionError, match="is running"):
        module.roster()
