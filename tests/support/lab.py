"""The lab from outside: its hosts, its Salt master, its Swarm.

Hosts are containers `classhub-lab-<minion id>`; `salt` in the repo root talks to the lab's master.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lab.states import documents
from tests.support.client import Operator, Site
from tests.support.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
PILLAR = ROOT / ".lab" / "pillar"
DOMAIN = "class.test"
ADDRESSES = {
    "proxy": "10.77.0.10",
    "hub": "10.77.0.11",
    "node1": "10.77.0.21",
    "node2": "10.77.0.22",
}
NODES = ["node1", "node2"]
CONTAINER = "classhub-lab-"


class CommandFailed(Exception):
    """A command ended non-zero; the text has its output."""


# -- commands -------------------------------------------------------------------------------------
def run(*argv: str, check: bool = True, timeout: float = 120, **kwargs: Any) -> str:
    """Standard output of a command on this machine, run in the repo root."""
    done = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False, **kwargs
    )
    if check and done.returncode:
        raise CommandFailed(
            f"{' '.join(argv)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
    return done.stdout.strip()


def on(host: str, *argv: str, check: bool = True, timeout: float = 120) -> str:
    """Standard output of a command on a host of the lab."""
    return run("docker", "exec", CONTAINER + host, *argv, check=check, timeout=timeout)


def shell(host: str, script: str, check: bool = True, timeout: float = 120) -> str:
    """The same for a line of shell."""
    return on(host, "sh", "-c", script, check=check, timeout=timeout)


def lab(*argv: str, timeout: float = 1800, **environment: str) -> None:
    """A command of `python -m lab`; what it says is on the test's own output, and in its failure."""
    done = subprocess.run(
        [sys.executable, "-m", "lab", *argv],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    print(done.stdout)
    if done.returncode:
        raise CommandFailed(f"python -m lab {' '.join(argv)}: {done.stdout[-4000:]}")


def hosts() -> list[str]:
    """Minion ids of the hosts that run."""
    if subprocess.run(["docker", "version"], capture_output=True, check=False).returncode:
        return []  # no engine, no lab
    listed = run("docker", "ps", "--format", "{{.Names}}", "--filter", f"name=^{CONTAINER}")
    return sorted(name.removeprefix(CONTAINER) for name in listed.split())


# -- Salt -----------------------------------------------------------------------------------------
def salt_command(name: str) -> str:
    """The command beside the Python that runs the tests, or the one on the path."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    assert found, f"no {name} command: run the tests from the development environment"
    return found


def salt(target: str, function: str, *args: str, timeout: float = 900) -> dict[str, Any]:
    """{minion id: answer} of `salt TARGET FUNCTION`; a host that does not answer is an error.

    Never with `--static`: that is batch mode, which forgets jobs longer than two minutes. A loaded
    machine is slow to say that a job still runs, hence the long `--timeout`; where `salt` gave up
    on a host all the same, the master's job cache is asked until the host has answered.
    """
    command = [salt_command("salt"), "--out=json", "--log-level=error", "--show-jid"]
    text = run(*command, "--timeout=60", target, function, *args, check=False, timeout=timeout)
    answers = documents(text)
    wanted = set(hosts()) if target == "*" else {target}
    silent = {
        host
        for host in wanted
        if host not in answers or "Minion did not return" in str(answers[host])
    }
    for host in sorted(silent):
        answers[host] = _late_answer(host, text)
    return answers


def _late_answer(host: str, text: str, seconds: float = 300) -> Any:
    """The answer of a host that `salt`, whose output is `text`, gave up on."""
    job = re.search(r"^jid: (\d+)$", text, re.MULTILINE)
    assert job, f"salt began no job:\n{text}"
    try:
        return wait_until(
            f"an answer of {host} to job {job[1]}",
            lambda: (salt_run("jobs.lookup_jid", job[1]) or {}).get(host),
            seconds,
            pause=5,
            ignoring=(CommandFailed,),
        )
    except AssertionError as error:
        log = shell(host, "systemctl status salt-minion; tail -n 40 /var/log/salt/minion", False)
        raise AssertionError(f"{error}\n{text[-2000:]}\n{host}'s minion:\n{log}") from None


def wait_for_minions(seconds: float = 120) -> None:
    """Until every host's minion answers."""
    short = ("timeout=5", "gather_job_timeout=5")  # asked before it listens, a minion never answers
    wait_until(
        "all minions answer",
        lambda: set(hosts()) <= set(salt_run("manage.status", *short)["up"]),
        seconds,
        ignoring=(CommandFailed,),
    )


def salt_run(function: str, *args: str, timeout: float = 900) -> Any:
    """The answer of a runner; an error where the runner fails."""
    command = [salt_command("salt-run"), "--out=json", "--log-level=error"]
    text = run(*command, function, *args, timeout=timeout)
    return json.loads(text) if text else None


@contextmanager
def settings(changes: dict[str, dict[str, Any]], **files: str) -> Iterator[None]:
    """The class with other settings for a while: laid over what the lab itself adds to its pillar.

    changes: under `classhub`, section by section.
    files: content of further files in the pillar, by path.
    """
    machine = PILLAR / "machine.sls"
    saved = machine.read_text(encoding="utf-8")
    pillar = yaml.safe_load(saved)
    for section, values in changes.items():
        pillar["classhub"][section] = {**pillar["classhub"].get(section, {}), **values}
    added = [PILLAR / path for path in files]
    try:
        for path, content in zip(added, files.values(), strict=True):
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8")
        machine.write_text(yaml.safe_dump(pillar), encoding="utf-8")
        salt("*", "saltutil.refresh_pillar", "wait=True")
        yield
    finally:
        machine.write_text(saved, encoding="utf-8")
        for path in added:
            path.unlink(missing_ok=True)
        salt("*", "saltutil.refresh_pillar", "wait=True")


@dataclass
class Applied:
    """What `state.apply` did on one host."""

    host: str
    states: list[dict[str, Any]]
    error: str = ""  # the host could not even render its states

    def _where(self, test: Any) -> list[str]:
        return [
            f"{self.host}: {state['__id__']} ({state['__sls__']}): {state['comment']}"
            for state in self.states
            if test(state)
        ]

    @property
    def failed(self) -> list[str]:
        rendering = [f"{self.host}: {self.error}"] if self.error else []
        return rendering + self._where(lambda state: state["result"] is False)

    @property
    def changed(self) -> list[str]:
        return self._where(lambda state: state["changes"])

    @property
    def predicted(self) -> list[str]:
        return self._where(lambda state: state["result"] is None)


def apply(target: str = "*", *args: str, timeout: float = 2400) -> dict[str, Applied]:
    """`salt TARGET state.apply`, by host."""
    answers = salt(target, "state.apply", *args, timeout=timeout)
    return {host: _applied(host, answer) for host, answer in answers.items()}


def _applied(host: str, answer: Any) -> Applied:
    if not isinstance(answer, dict):
        return Applied(host, [], json.dumps(answer))
    states = [{"__id__": key, "__sls__": "?", **state} for key, state in answer.items()]
    return Applied(host, states)


def lines(applied: dict[str, Applied], kind: str) -> list[str]:
    """All `failed`, `changed` or `predicted` of all hosts."""
    return [line for one in applied.values() for line in getattr(one, kind)]


# -- the class ------------------------------------------------------------------------------------
def front() -> str:
    """The host that students reach: the proxy, or the only host of the small class."""
    return "proxy" if "proxy" in hosts() else "hub"


def site() -> Site:
    """The class's address, trusting the certificate that its proxy host holds and no other."""
    pem = shell(front(), "cat /etc/classhub/nginx/tls/class.crt")
    found = re.findall(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", pem, re.DOTALL)
    assert found, f"no certificate in /etc/classhub/nginx/tls on {front()}"
    file = Path(tempfile.mkdtemp(prefix="classhub-")) / "class.pem"
    file.write_text("\n".join(found) + "\n", encoding="ascii")
    return Site(DOMAIN, ADDRESSES[front()], file)


def operator(where: Site) -> Operator:
    return Operator(where, on("hub", "cat", "/etc/jupyterhub/operator.token"))


def wait_for_hub(where: Site, seconds: float = 60) -> None:
    wait_until("the hub answers", operator(where).hub_is_up, seconds, pause=0.2)


# -- Swarm ----------------------------------------------------------------------------------------
def docker(host: str, *argv: str, check: bool = True) -> str:
    """A docker command on a host of the lab."""
    return on(host, "docker", *argv, check=check)


def docker_rows(host: str, *argv: str) -> list[dict[str, str]]:
    """Rows of a docker listing."""
    return [json.loads(row) for row in docker(host, *argv, "--format", "{{json .}}").splitlines()]


def servers() -> list[str]:
    """Users who have a service, running or not."""
    rows = docker_rows("hub", "service", "ls", "--filter", "label=classhub.user")
    return sorted(row["Name"].removeprefix("jupyter-") for row in rows)


def node_of(user: str) -> str:
    """The node that runs the user's server."""
    rows = docker_rows(
        "hub", "service", "ps", f"jupyter-{user}", "--filter", "desired-state=running"
    )
    running = [row["Node"] for row in rows if row["CurrentState"].startswith("Running")]
    assert len(running) == 1, f"{user} has {len(running)} running servers: {rows}"
    return running[0]


def containers_of(user: str, node: str, everything: bool = False) -> list[str]:
    """Ids of the user's containers on a node; with `everything` also those that ended."""
    chosen = ["--filter", f"label=com.docker.swarm.service.name=jupyter-{user}"]
    return docker(node, "ps", "-q", *(["-a"] if everything else []), *chosen).split()


def ready_nodes() -> dict[str, dict[str, Any]]:
    """{host name: `docker node inspect`} of the Swarm's hosts that are up."""
    rows = docker_rows("hub", "node", "ls")
    up = {row["Hostname"]: row["ID"] for row in rows if row["Status"] == "Ready"}
    return {
        host: json.loads(docker("hub", "node", "inspect", ident))[0] for host, ident in up.items()
    }


def stop_everyone(where: Site) -> None:
    """No student server anywhere, in the hub's eyes and in Swarm's."""
    boss = operator(where)

    def all_gone() -> bool:
        left = servers()
        for user in left:
            boss.stop(user)
        return not left

    wait_until("all servers are stopped", all_gone, 90)


def student_image() -> str:
    return json.loads(on("hub", "cat", "/etc/jupyterhub/image.json"))["image"]


@contextmanager
def seats_left(seats: int, memory: int = 1 << 30) -> Iterator[None]:
    """Reserve the class's memory until just `seats` servers of `memory` bytes find room.

    Wants no server to run before. The reservations are Swarm services that only sleep.
    """
    names = []
    try:
        for host, node in sorted(ready_nodes().items()):
            if host not in node_hosts():
                continue
            room = (seats * memory if not names else 0) + memory // 2
            names.append(f"filler-{host}")
            _reserve(names[-1], node["ID"], node["Description"]["Resources"]["MemoryBytes"] - room)
        yield
    finally:
        if names:
            docker("hub", "service", "rm", *names, check=False)


def node_hosts() -> list[str]:
    """Hosts that take students' servers."""
    return [host for host in NODES if host in hosts()] or ["hub"]


def _reserve(name: str, node: str, size: int) -> None:
    docker(
        *["hub", "service", "create", "--detach=false", "--quiet", "--name", name],
        *["--no-resolve-image", "--restart-condition", "none", "--endpoint-mode", "dnsrr"],
        *["--constraint", f"node.id=={node}", "--reserve-memory", str(size)],
        *["--user", "65534", "--entrypoint", "sleep", student_image(), "3600"],
    )
