"""classhub_course functions: the command line that is called, what its answers become, and the settings it reads."""

import json
import sys

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load

REPORT = {"table": {"ada": "done: given"}, "summary": {"done": 1, "skipped": 0, "failed": 0}}
SOURCE = {"directory": "", "git": "https://example.edu/course.git", "ref": "v1", "subdir": "hw"}
CALENDAR = {"ps1": {"due": "2030-01-31T23:59"}}
COURSE = {
    "id": "intro",
    "timezone": "Europe/Paris",
    "assignments": CALENDAR,
    "grace": 60,
    "max_files": 10,
    "max_size": "2M",
    "late_penalty": "zero",
    "source": SOURCE | {"deploy_key": "not-a-secret"},
}
GRADING = {"memory": "1G", "disk": "64M", "cpus": 1.5, "seconds": 60}
CULL = {"interval": 3600, "idle": 86400, "pins": ["ada"]}
PEOPLE = [
    {"username": "ada", "role": "student", "name": "Ada Lind", "email": "a@b.c", "section": "A"},
    {"username": "prof", "role": "instructor", "name": "Pat", "email": "", "section": ""},
]


@pytest.fixture
def world():
    """What the command line answers, what it was asked, and what the roster plans."""
    return {
        "answer": {"stdout": json.dumps(REPORT), "stderr": "", "retcode": 0},
        "asked": [],
        "plan": {"ledger": {"ada": 20001, "prof": 20002, "gone": 20000}, "faults": []},
    }


@pytest.fixture
def module(world, monkeypatch):
    module = load("modules", "classhub_course")
    sizes = load("utils", "classhub_settings")

    def run_all(command, **options):
        world["asked"].append((command, options))
        return world["answer"]

    def plan(drops):
        assert drops == len(world["plan"]["ledger"]), "who left is no matter of the course's"
        return world["plan"]

    def ledger():
        return world["plan"]["ledger"]

    salt = {"cmd.run_all": run_all, "classhub_roster.plan": plan, "classhub_roster.ledger": ledger}
    classhub = {"course": COURSE, "grading": GRADING, "people": PEOPLE, "cull": CULL}
    classhub |= {"activity": {"keep": 400}, "server": {"memory_guarantee": "512M"}}
    classhub |= {"storage": {"warn": 0.8}}
    pillar = {
        "classhub": classhub | {"address": "192.0.2.11", "hub": {"port": 8000, "api_port": 8081}}
    }
    monkeypatch.setattr(module, "__salt__", salt, raising=False)
    monkeypatch.setattr(module, "__pillar__", pillar, raising=False)
    monkeypatch.setattr(module, "__utils__", {"classhub_settings.size": sizes.size}, raising=False)
    monkeypatch.setattr(module, "ready", lambda: True)
    return module


def test_settings_have_the_uids_of_the_ledger(module):
    assert module.settings("/course", "/exchange", "/store") == {
        "course_id": "intro",
        "course_dir": "/course",
        "exchange": "/exchange",
        "store": "/store",
        "timezone": "Europe/Paris",
        "assignments": CALENDAR,
        "grace": 60,
        "max_files": 10,
        "max_bytes": 2 << 20,
        "late_penalty": "zero",
        "grading": {"memory": 1 << 30, "disk": 64 << 20, "cpus": 1.5, "seconds": 60},
        "cull": {"idle": 86400, "pins": ["ada"]},
        "activity_days": 400,
        "seat": 512 << 20,
        "disk_warn": 0.8,
        "hub_proxy": "http://127.0.0.1:8000",
        "hub_api": "http://192.0.2.11:8081/hub/api",
        "source_directory": "",
        "source_git": "https://example.edu/course.git",
        "source_ref": "v1",
        "source_subdir": "hw",
        "people": [PEOPLE[0] | {"uid": 20001}, PEOPLE[1] | {"uid": 20002}],
    }


def test_settings_of_a_faulty_roster(module, world):
    world["plan"]["faults"] = ["ada: one", "bob: two"]
    with pytest.raises(CommandExecutionError, match="has no settings:\n- ada: one\n- bob: two"):
        module.settings("/course", "/exchange", "/store")


def test_words_are_words_and_not_options(module, world):
    assert module.call("status", ["--evil", 1], ["--test"]) == REPORT
    ((command, options),) = world["asked"]
    assert command[:5] == [module.PYTHON, "-I", "-B", "-m", "classhub.course"]
    assert command[5:] == ["status", "--test", "--", "--evil", "1"]
    assert options["python_shell"] is False


def test_some_failed_is_a_report_all_the_same(module, world):
    world["answer"]["retcode"] = 1
    assert module.call("seal") == REPORT


def test_data_is_its_standard_input(module, world):
    module.call("record-activity", data="[]")
    module.call("seal")
    assert [options.get("stdin") for _, options in world["asked"]] == ["[]", None]


REFUSALS = [
    ('{"error": "there is no assignment ps9"}', "refused: ...", 2, "^there is no assignment ps9$"),
    ("", "usage: ...\nclasshub.course: error: unrecognized", 2, "seal ended with code 2: classhub"),
    ("Killed", "", 137, "seal ended with code 137: without a word"),
]


@pytest.mark.parametrize(("stdout", "stderr", "code", "sentence"), REFUSALS)
def test_refusals_are_one_sentence(module, world, stdout, stderr, code, sentence):
    world["answer"] = {"stdout": stdout, "stderr": stderr, "retcode": code}
    with pytest.raises(CommandExecutionError, match=sentence):
        module.call("seal")


def test_nothing_is_called_before_the_hub_is_set_up(module, world, monkeypatch):
    monkeypatch.setattr(module, "ready", lambda: False)
    with pytest.raises(CommandExecutionError, match="apply the states of the hub first"):
        module.call("seal")
    assert world["asked"] == []


@pytest.mark.parametrize("test", [False, True])
def test_exchange(module, world, test):
    assert module.exchange(test=test) == REPORT
    ((command, _),) = world["asked"]
    assert command[5:] == ["exchange", *(["--test"] if test else [])]


def test_progress_is_an_event_a_line(module, monkeypatch):
    program = "import sys\nfor word in ('one', 'two'): print(word, file=sys.stderr)\nprint('{}')"
    sent = []
    monkeypatch.setitem(module.__salt__, "event.send", lambda tag, data: sent.append((tag, data)))
    done = module._followed([sys.executable, "-c", program], "classhub/progress/autograde")
    assert done == {"stdout": "{}\n", "stderr": "two\n", "retcode": 0}
    assert sent == [
        ("classhub/progress/autograde", {"line": "one"}),
        ("classhub/progress/autograde", {"line": "two"}),
    ]


def test_a_verb_that_is_followed_is_the_same_verb(module, world, monkeypatch):
    followed = []
    answer = world["answer"]
    monkeypatch.setattr(module, "_followed", lambda *words: followed.append(words) or answer)
    assert module.call("autograde", ["ps1"], follow=True) == REPORT
    ((command, tag),) = followed
    assert command[5:] == ["autograde", "--", "ps1"]
    assert tag == "classhub/progress/autograde"
    assert world["asked"] == []
