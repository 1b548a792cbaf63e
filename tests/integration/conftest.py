"""A real master with the production configuration, and three real minions that are hub, node1 and proxy of the lab class.

The states of the class would change this machine: nothing here may apply them. Tests apply single states of their own,
or a faulty class, which gets `check` alone.
"""

import contextlib
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from salt.client import LocalClient, get_local_client
from saltfactories.daemons.master import SaltMaster
from saltfactories.daemons.minion import SaltMinion

from tests.support.loading import ROOT
from tests.support.waiting import wait_until

MINIONS = ("hub", "node1", "proxy")


@dataclass
class Class:
    """The running class, by what a test says to it."""

    master: SaltMaster
    minions: dict[str, SaltMinion]
    pillar: Path  # read before the example's pillar; empty but for what a test puts there

    def client(self) -> LocalClient:
        """A client of the master, for a `with`; one that is kept gets no more answers once another was used here."""
        return get_local_client(self.master.config_file)

    def ask(self, minion: str, function: str, /, *args: object, **kwargs: object) -> Any:
        """The answer of one minion."""
        with self.client() as client:
            answers = client.cmd(minion, function, args, kwarg=kwargs, timeout=30)
        assert minion in answers, f"{minion} did not answer {function}"
        return answers[minion]

    def ask_all(self, function: str, /, *args: object, **kwargs: object) -> dict[str, Any]:
        """The answers of all minions."""
        with self.client() as client:
            answers = client.cmd("*", function, args, kwarg=kwargs, timeout=60)
        assert sorted(answers) == sorted(MINIONS)
        return answers

    def single(self, minion: str, state: str, /, **kwargs: object) -> dict[str, Any]:
        """The result of one state, applied to one minion."""
        answer = self.ask(minion, "state.single", state, **kwargs)
        assert isinstance(answer, dict), answer
        return next(iter(answer.values()))


@pytest.fixture(scope="session")
def scratch():
    """A directory with a short path: Salt's sockets lie below it, and their paths have at most 107 characters."""
    path = Path(tempfile.mkdtemp(prefix="ch-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def salt_factories_config(scratch):
    return {
        "code_dir": str(ROOT),
        "inject_sitecustomize": False,
        "start_timeout": 60,
        "slow_stop": False,
        "root_dir": str(scratch / "s"),
    }


def production(scratch: Path) -> dict[str, Any]:
    """config/master.d/classhub.conf for this checkout, with the lab's class before the class of pillar/."""
    text = (ROOT / "config/master.d/classhub.conf").read_text(encoding="utf-8")
    settings = yaml.safe_load(text.replace("/srv/classhub", str(ROOT)))
    first = [str(scratch / "pillar"), str(ROOT / "pillar/example/lab")]
    settings["pillar_roots"]["base"] = first + settings["pillar_roots"]["base"]
    return settings


@pytest.fixture(scope="session")
def running(salt_factories, scratch):
    """The class, with the modules that the reactor brought to its minions."""
    (scratch / "pillar").mkdir()
    keys = {"gpg_keydir": str(scratch / "gpgkeys")}
    overrides = production(scratch) | keys | {"auto_accept": True, "worker_threads": 3}
    master = salt_factories.salt_master_daemon("master", overrides=overrides)
    master.script_name = str(ROOT / "bin/salt-master")
    master.python_executable = sys.executable
    environment = without_docker(scratch / "bin")
    quick = {"enable_gpu_grains": False, "enable_fqdns_grains": False, "log_level_logfile": "info"}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as pool:
        stack.enter_context(master.started())
        minions = [master.salt_minion_daemon(minion, overrides=dict(quick)) for minion in MINIONS]
        for minion in minions:
            minion.environ = environment
        for minion in pool.map(_start, minions):
            stack.callback(minion.terminate)
        stack.callback(_stop_together, minions)
        yield Class(master, dict(zip(MINIONS, minions, strict=True)), scratch / "pillar")


def without_docker(folder: Path) -> dict[str, str]:
    """An environment in which a minion finds every command of this machine but docker, and no engine."""
    folder.mkdir()
    commands = {
        command.name: command
        for place in reversed(os.get_exec_path())
        if Path(place).is_dir()
        for command in Path(place).iterdir()
        if command.name != "docker"
    }
    for name, command in commands.items():
        (folder / name).symlink_to(command)
    return os.environ | {"PATH": str(folder), "DOCKER_HOST": f"unix://{folder}/none.sock"}


def _start(daemon):
    # not daemon.started(): its generator would be collected here, and the daemon stopped
    daemon.start()
    return daemon


def _stop_together(daemons):
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda daemon: daemon.terminate(), daemons))


def synced(class_: Class) -> bool:
    answers = class_.ask_all("classhub.hosts").values()
    return all(isinstance(answer, dict) for answer in answers)  # else: 'is not available'


@pytest.fixture
def with_modules(running):
    """The class, once the reactor has brought the modules to every minion."""
    wait_until("the reactor has synced every minion's modules", lambda: synced(running), 30)
    return running


@pytest.fixture
def faulty(running):
    """The class with two faults in its settings, and afterwards without."""
    path = running.pillar / "machine.sls"
    path.write_text("classhub: {server: {memory: 1 GBB}, domain: nope}\n", encoding="utf-8")
    yield running
    path.unlink()
    running.ask_all("saltutil.refresh_pillar", wait=True)
