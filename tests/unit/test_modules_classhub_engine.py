"""classhub_engine functions: one way to docker, whose errors are sentences."""

import pytest
from salt.exceptions import CommandExecutionError

from tests.support.loading import load


@pytest.fixture
def answer():
    """What the next docker command gives."""
    return {"retcode": 0, "stdout": "", "stderr": ""}


@pytest.fixture
def run(answer):
    """Calls of cmd.run_all, as (argv, options)."""
    return []


@pytest.fixture
def module(answer, run, monkeypatch):
    module = load("modules", "classhub_engine")

    def run_all(argv, **options):
        run.append((argv, options))
        return answer

    monkeypatch.setattr(module, "__salt__", {"cmd.run_all": run_all}, raising=False)
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    return module


def test_docker_gets_words_not_a_shell_and_leaves_no_trace_in_the_log(module, answer, run):
    answer["stdout"] = "one\ntwo"
    assert module.docker("swarm", "join", "--token", "fake; id") == "one\ntwo"
    ((argv, options),) = run
    assert argv == ["docker", "swarm", "join", "--token", "fake; id"]
    assert options["python_shell"] is False
    assert options["output_loglevel"] == "quiet"


def test_host_without_docker(module, run, monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(CommandExecutionError, match="docker is not installed on this host"):
        module.docker("ps")
    assert run == []


@pytest.mark.parametrize(
    ("stdout", "stderr"), [("", "Error: no\n"), ("Error: no", " "), ("noise", "Error: no")]
)
def test_error_tells_what_docker_said_but_not_its_arguments(module, answer, stdout, stderr):
    answer |= {"retcode": 1, "stdout": stdout, "stderr": stderr}
    with pytest.raises(CommandExecutionError) as caught:
        module.docker("swarm", "join", "--token", "SWMTKN-1-fake-token")
    assert str(caught.value) == "docker swarm: Error: no"


def test_servers_are_sorted(module, answer, run):
    answer["stdout"] = '"bob"\n"ada"\n\n'
    assert module.servers() == ["ada", "bob"]
    assert "label=classhub.user" in run[0][0]


def test_host_without_servers(module):
    assert module.servers() == []
