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


# -- upgrades


@pytest.fixture
def packages(module):
    """What apt would say: package -> installed and newest version; and what was done."""
    known = {"docker.io": ["20.10", "20.11"], "containerd": ["1.6", ""], "runc": ["1.1", ""]}
    done = []

    def install(pkgs, update_holds):
        done.extend(pkgs)
        return {"docker.io": {"old": "20.10", "new": "20.11"}} if update_holds else {}

    module.__salt__ |= {
        "pkg.version": lambda *names: {name: known[name][0] for name in names},
        "pkg.latest_version": lambda *names, refresh: {name: known[name][1] for name in names},
        "pkg.install": install,
        "classhub_service.stale": lambda name, reads: [],
        "service.restart": lambda name: done.append(f"restart {name}"),
    }
    return known, done


def test_upgrades_are_what_is_newer(module, packages):
    assert module.upgrades() == {"docker.io": {"installed": "20.10", "newest": "20.11"}}
    packages[0]["docker.io"][0] = ""
    with pytest.raises(CommandExecutionError, match="docker is not installed on this host"):
        module.upgrades()


def test_an_engine_is_not_upgraded_under_a_server(module, packages, answer):
    answer["stdout"] = '"ada"'
    with pytest.raises(CommandExecutionError, match="servers of ada run here"):
        module.upgrade()
    assert packages[1] == []
    answer["stdout"] = ""
    assert module.upgrade() == {"docker.io": {"old": "20.10", "new": "20.11"}}
    assert packages[1] == [{"docker.io": "20.11"}, "restart docker"]


def test_without_anything_newer_nothing_is_installed(module, packages):
    packages[0]["docker.io"][1] = ""
    assert module.upgrade() == {}
    assert packages[1] == []


def test_a_server_that_came_while_apt_was_at_work_keeps_its_engine(module, packages, answer):
    """A start that was under way when the node was paused."""
    install = module.__salt__["pkg.install"]

    def slow(**words):
        answer["stdout"] = '"ada"'
        return install(**words)

    module.__salt__["pkg.install"] = slow
    with pytest.raises(CommandExecutionError, match="servers of ada run here"):
        module.upgrade()
    assert packages[1] == [{"docker.io": "20.11"}]


def test_an_engine_that_was_upgraded_and_not_restarted_is_restarted(module, packages):
    """Debian's package leaves the old one running, and a run may be killed between the two."""
    packages[0]["docker.io"] = ["20.11", ""]
    asked = []
    module.__salt__["classhub_service.stale"] = lambda name, reads: asked.append(reads) or reads
    assert module.upgrades() == {"docker.io": {"installed": "20.11", "newest": "20.11"}}
    assert asked == [["/var/lib/dpkg/info/docker.io.list"]]
    assert module.upgrade() == {}
    assert packages[1] == ["restart docker"]
