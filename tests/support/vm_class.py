"""A class whose hosts are virtual machines: a hub with proxy and two nodes, and a real Salt master on this machine.

The master has the production configuration. What is applied is left to those who ask for the class.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from salt.client import LocalClient, get_local_client

from tests.support import vm, vm_image
from tests.support.loading import ROOT
from tests.support.waiting import wait_until

HOSTS = {
    "hub": {"address": "10.78.0.11", "roles": ["proxy", "hub"]},
    "node1": {"address": "10.78.0.21", "roles": ["node"]},
    "node2": {"address": "10.78.0.22", "roles": ["node"]},
}
NODES = ["node1", "node2"]
HUB_DISK = "/dev/vdb"
SETTINGS = {
    "domain": "class.test",
    "course": {"id": "intro", "title": "Kernel NFS", "timezone": "Europe/Paris"},
    "hosts": HOSTS,
    "storage": {"driver": "nfs", "wait": 120},
    "hub": {"authenticator": "lab", "lab_password": "lab"},
}
# seconds, of machines that are emulated
STATES_TAKE = 1800
ANSWERS_TAKE = 120
STATES = ["common", "firewall", "storage"]


@dataclass
class Class:
    """The class: its machines, and what a test says to their minions."""

    machines: dict[str, vm.Machine]
    config: Path

    @property
    def hub(self) -> vm.Machine:
        return self.machines["hub"]

    @property
    def nodes(self) -> list[vm.Machine]:
        return [self.machines[name] for name in NODES]

    def client(self) -> LocalClient:
        """A client of the master, for a `with`."""
        return get_local_client(str(self.config / "master"))

    def answers(self, name: str) -> bool:
        """Whether a minion answers within ten seconds."""
        with self.client() as client:
            return client.cmd(name, "test.ping", timeout=10) == {name: True}

    def ask(self, names: list[str], function: str, *args: object, **kwargs: object) -> dict:
        """{minion id: answer}; a host that does not answer is an error.

        What came is looked up: `salt` itself would ask slow machines again and again whether they are still at it.
        """
        seconds = STATES_TAKE if function.startswith("state.") else ANSWERS_TAKE
        with self.client() as client:
            jid = client.run_job(names, function, args, "list", kwarg=kwargs)["jid"]
            wait_until(
                f"{names} answer {function}",
                lambda: client.get_cache_returns(jid).keys() >= set(names),
                seconds,
                pause=1,
            )
            return {name: said["ret"] for name, said in client.get_cache_returns(jid).items()}

    def apply(self, names: list[str], states: list[str] = STATES, **kwargs: object) -> dict:
        """{minion id: {state's name: its result}}; a host that has just booted is waited for."""
        for name in names:
            wait_until(f"the minion of {name} answers", lambda name=name: self.answers(name), 600)
        answers = self.ask(names, "state.apply", ",".join(states), **kwargs)
        wrong = {name: said for name, said in answers.items() if not isinstance(said, dict)}
        assert not wrong, wrong
        return {
            name: {state["__id__"]: state for state in said.values()}
            for name, said in answers.items()
        }


def failures(states: dict[str, Any]) -> list[str]:
    """What failed in the results of one host, in words."""
    return [
        f"{name}: {said['comment']}" for name, said in states.items() if said["result"] is False
    ]


def changes(states: dict[str, Any]) -> dict[str, Any]:
    """What changed, or would, in the results of one host: not every state that would do something says what."""
    return {
        name: said["changes"]
        for name, said in states.items()
        if said["changes"] or said["result"] is None
    }


@contextlib.contextmanager
def running() -> Iterator[Class]:
    """Booted machines with connected minions, on which nothing was applied; gone afterwards."""
    image = vm_image.image()
    with contextlib.ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp(prefix="chvm-"))  # short, for Salt's sockets
        stack.callback(_remove, scratch)
        machines = _machines(scratch, image)
        for machine in machines.values():
            stack.callback(machine.kill)
            machine.start()
        config = _configure(scratch)
        stack.callback(_end, _start(config, scratch))
        vm.at_once(machines.values(), vm.Machine.wait)
        _give_homes_a_disk(machines["hub"])
        class_ = Class(machines, config)
        vm.at_once(machines.values(), _connect)
        yield class_


def _remove(scratch: Path) -> None:
    """Remove what the machines were made of; CLASSHUB_VM_KEEP=1 keeps it, to look for a fault."""
    if os.environ.get("CLASSHUB_VM_KEEP") != "1":
        shutil.rmtree(scratch, ignore_errors=True)


def _machines(scratch: Path, image: vm_image.Image) -> dict[str, vm.Machine]:
    port = vm.free_port()
    machines = {
        name: vm.Machine(name, str(host["address"]), scratch, image, port)
        for name, host in HOSTS.items()
    }
    machines["hub"].add_disk("2G")
    return machines


def _give_homes_a_disk(hub: vm.Machine) -> None:
    """As docs/howto/production.md asks for: /home of the hub is a filesystem of its own."""
    hub.sh(
        f"mkfs.ext4 -q {HUB_DISK} && echo '{HUB_DISK} /home ext4 defaults 0 2' >>/etc/fstab && "
        "systemctl daemon-reload && mount /home && sync"
    )


def _configure(scratch: Path) -> Path:
    """The folder of the master's configuration, with the class's pillar beside it.

    Its ports are Salt's own, on the loopback: the class's firewall knows them.
    """
    config, pillar = scratch / "etc", scratch / "pillar"
    pillar.mkdir()
    (pillar / "class.sls").write_text(json.dumps({"classhub": SETTINGS}))
    text = (ROOT / "config/master.d/classhub.conf").read_text(encoding="utf-8")
    settings = yaml.safe_load(text.replace("/srv/classhub", str(ROOT)))
    settings["pillar_roots"]["base"].insert(0, str(pillar))
    settings |= {"root_dir": str(scratch), "interface": "127.0.0.1", "user": "root"}
    # the schedule would ask machines that are slow, for what they do not have
    settings |= {"auto_accept": True, "worker_threads": 3, "schedule": {}}
    config.mkdir()
    (config / "master").write_text(json.dumps(settings))
    return config


def _start(config: Path, scratch: Path) -> subprocess.Popen[bytes]:
    command = ["setpriv", "--pdeathsig", "TERM", "--"]
    command += [sys.executable, str(ROOT / "bin/salt-master"), f"--config-dir={config}"]
    with (scratch / "master.out").open("ab") as out:
        master = subprocess.Popen(
            command, cwd=scratch, stdout=out, stderr=out, start_new_session=True, umask=0o077
        )
    ready = scratch / "var/run/salt/master"
    wait_until(f"the Salt master runs; see {out.name}", lambda: any(ready.glob("*pull.ipc")), 120)
    return master


def _end(master: subprocess.Popen[bytes]) -> None:
    """End the master, and with it its workers, which are in its session alone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(master.pid, signal.SIGTERM)
    try:
        master.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(master.pid, signal.SIGKILL)
        master.wait()


def _connect(machine: vm.Machine) -> None:
    """Make the machine a minion as an operator does."""
    command = ["bash", "/usr/local/src/classhub/bootstrap.sh", "minion", "--master", vm.MASTER]
    command += ["--id", machine.name]
    # it gives up on a minion that takes a minute to make its key, as one does in an emulated machine on a busy one
    wait_until(
        f"{machine.name} is a minion",
        lambda: machine.run(*command, timeout=vm.BOOT),
        vm.BOOT,
        ignoring=(vm.Failed,),
    )
    machine.run("sync")
