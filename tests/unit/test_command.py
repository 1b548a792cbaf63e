"""The command `classhub`: what it understands, what it shows, and that it knows the verbs that there are."""

import json
import subprocess
import sys

import pytest

from tests.support.loading import ROOT, load, program

PATH = ROOT / "bin/classhub"


@pytest.fixture(scope="module")
def command():
    return program("classhub")


def test_it_lists_the_verbs_that_staff_have(command):
    verbs = load("utils", "classhub_staff").VERBS["instructor"]
    assert {"return_" if verb == "return" else verb for verb in command.VERBS} == verbs
    done = subprocess.run([PATH, "--help"], check=True, capture_output=True, text=True)
    assert all(f"\n  {verb} " in done.stdout for verb in command.VERBS)


def test_it_needs_nothing_but_python():
    """-I -S: neither packages nor the environment."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", PATH, "--help"], check=True, capture_output=True
    )
    assert done.stdout


UNDERSTOOD = [
    (["release", "ps1", "--test"], ("release", ["ps1"], {"test": True})),
    (["release", "ps1", "--no-generate"], ("release", ["ps1"], {"generate": False})),
    (["return", "ps1", "--students=ada,bob"], ("return_", ["ps1"], {"students": "ada,bob"})),
    (["receipt", "; id"], ("receipt", ["; id"], {})),
    (["grades", "--format=canvas"], ("grades", [], {"format": "canvas"})),
]


@pytest.mark.parametrize(("words", "meant"), UNDERSTOOD)
def test_what_it_understands(command, words, meant):
    assert command.understood(words) == meant


def test_what_it_does_not(command, capsys):
    assert command.main(["status", "-x"]) == 2
    assert "options begin with --" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        command.main(["deploy"])
    assert ended.value.code == 2


def test_tables_are_by_name_and_counted(command, capsys):
    table = {"bob": "failed: no home", "ada": "done: given", "cleo": "done: given"}
    command.show({"table": table, "summary": {"failed": 1, "exchange": ""}})
    assert capsys.readouterr().out.splitlines() == [
        "ada   done: given",
        "bob   failed: no home",
        "cleo  done: given",
        "2 done, 1 failed",
        "{",
        '  "failed": 1',
        "}",
    ]


def test_texts_are_shown_as_they_are(command, capsys):
    command.show("student,ps1\nada,3\n")
    assert capsys.readouterr().out == "student,ps1\nada,3\n"


def test_nothing_steers_the_terminal(command, capsys):
    command.show({"table": {"ada": "done: \x1b[2J\x9b\u202e"}, "summary": {}})
    command.show([{"name": "\x1b]0;x\x07"}])
    assert not set(capsys.readouterr().out) & set("\x1b\x07\x9b\u202e")


CONFIGURATIONS = [
    (None, "is not there"),
    ("{", "cannot be read"),
    (json.dumps({"url": "https://x:1/"}), "has no user and no token"),
    (json.dumps({"url": "http://x:1/", "user": "a", "token": "b"}), "no address with https"),
]


@pytest.mark.parametrize(("text", "sentence"), CONFIGURATIONS)
def test_a_configuration_that_does_not_do(command, tmp_path, monkeypatch, capsys, text, sentence):
    file = tmp_path / "classhub.json"
    if text:
        file.write_text(text)
        file.chmod(0o600)
    monkeypatch.setenv("CLASSHUB_CONFIG", str(file))
    monkeypatch.delenv("CLASSHUB_TOKEN", raising=False)
    assert command.main(["assignments"]) == 2
    assert sentence in capsys.readouterr().err
