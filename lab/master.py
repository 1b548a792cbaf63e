"""The class's Salt master: a process of this machine, run from the checkout with the production configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from lab.common import (
    GATEWAY,
    LOGS,
    REPO,
    STATE,
    VENV,
    LabError,
    daemon_pid,
    run,
    say,
    stop_daemon,
    wait_until,
    write,
)
from lab.images import site_ca_bundle

# Another checkout whose states, pillar and runners the lab's master serves: a class of another version.
TREE = Path(os.environ.get("CLASSHUB_LAB_TREE") or REPO).resolve()
ETC = STATE / "etc"
# Salt puts its root_dir before every absolute path: pki, cache and sockets lie below .lab.
ROOT = STATE
PIDFILE = ROOT / "master.pid"
PUBLIC_KEY = ROOT / "etc/salt/pki/master/master.pub"
EXAMPLES = {"full": "lab", "one": "lab-one"}
LINKS = Path("/usr/local/bin")
COMMANDS = ["salt", "salt-call", "salt-cp", "salt-key", "salt-run"]
# Where the hosts find what the lab mounts.
ON_HOST = Path("/srv/classhub-lab")


def dump(settings: dict[str, Any]) -> str:
    """Settings as YAML: JSON is YAML, and needs no package."""
    return json.dumps(settings, indent=2) + "\n"


def configure(kind: str) -> bool:
    """Write the master's configuration, the operator's salt-call and the machine's pillar; tell of changes."""
    production = (TREE / "config/master.d/classhub.conf").read_text()
    if len(str(ROOT / "var/run/salt/master/master_event_pull.ipc")) > 107:
        raise LabError(f"the path of this checkout, {REPO}, is too long for Salt's sockets")
    pillar = [STATE / "pillar", TREE / "pillar/example" / EXAMPLES[kind], TREE / "pillar"]
    roots = {"pillar_roots": {"base": [str(path) for path in pillar]}, "root_dir": str(ROOT)}
    lab = {
        **roots,
        "interface": GATEWAY,
        "user": "root",
        "pidfile": "/master.pid",
        "log_file": "/log/master",
    }
    operator = {
        **roots,
        "id": "operator",
        "file_client": "local",
        "file_roots": {"base": [str(TREE / "salt")]},
        "module_dirs": [str(TREE)],
        "pillar_dirs": [str(TREE / "_pillar")],
        "ext_pillar": [{"classhub": {}}],
        "enable_gpu_grains": False,
        "log_file": "/log/operator",
    }
    site = {"ca_bundle": site_ca_bundle()}
    image = {"base_archive": str(ON_HOST / "base.tar"), "store": str(ON_HOST / "images")}
    write(STATE / "pillar/machine.sls", dump({"classhub": {"site": site, "image": image}}))
    write(ETC / "minion", dump(operator))
    LOGS.mkdir(parents=True, exist_ok=True)
    # salt-run wants this directory even before a master has run.
    (ROOT / "var/cache/salt/master/proc").mkdir(parents=True, exist_ok=True)
    changed = write(ETC / "master", "# See master.d/.\n")
    changed |= write(ETC / "master.d/classhub.conf", production.replace("/srv/classhub", str(TREE)))
    # Salt appends the lists of later files to those of earlier ones: the lab's pillar roots have to come first.
    return write(ETC / "master.d/00-lab.conf", dump(lab)) or changed


def start(kind: str) -> None:
    """Start the master, or start it anew when its configuration has changed."""
    if configure(kind) and stop_daemon(PIDFILE, "salt-master"):
        say("the master's configuration has changed, starting it anew")
    if daemon_pid(PIDFILE, "salt-master") is None:
        PIDFILE.unlink(missing_ok=True)
        kill_leftovers()
        with (LOGS / "master.out").open("ab") as out:
            subprocess.Popen(
                [VENV / "bin/python3", REPO / "bin/salt-master", f"--config-dir={ETC}"],
                cwd=REPO,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                umask=0o077,
            )
        wait_until(f"the Salt master runs (see {LOGS}/master.out)", running, 180)
    link_commands()


def kill_leftovers() -> None:
    """End the workers of a master that was killed: they keep its ports. Known by this checkout's path."""
    option = f"--config-dir={ETC}".encode()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"salt-master" in command and option in command:
            os.kill(int(path.parent.name), signal.SIGKILL)


def running() -> bool:
    """Whether the master runs and has made its sockets."""
    sockets = ROOT / "var/run/salt/master"
    return daemon_pid(PIDFILE, "salt-master") is not None and any(sockets.glob("*pull.ipc"))


def stop() -> None:
    """Stop the master and take the links to Salt's commands away."""
    if stop_daemon(PIDFILE, "salt-master"):
        say("stopped the Salt master")
    kill_leftovers()
    for name in COMMANDS:
        link = LINKS / name
        if link.is_symlink() and os.readlink(link) == str(VENV / "bin" / name):
            link.unlink()


def link_commands() -> None:
    """Let a plain `salt` work in the checkout, where the machine has no Salt of its own."""
    for name in COMMANDS:
        link = LINKS / name
        if not link.exists():
            link.unlink(missing_ok=True)
            link.symlink_to(VENV / "bin" / name)


def salt(program: str, *words: str, check: bool = True, timeout: float = 3600) -> str:
    """Run one of Salt's commands against the lab's master."""
    return run([VENV / "bin" / program, f"--config-dir={ETC}", *words], check, timeout)


def answering(ids: list[str]) -> set[str]:
    """Which minions answer a ping. `salt` itself would wait a minute for a dead one."""
    import salt.client  # takes a second, and most of the lab does without it

    with salt.client.get_local_client(str(ETC / "master")) as client:
        returned = client.cmd(
            ids, "test.ping", tgt_type="list", timeout=5, gather_job_timeout=5, full_return=True
        )
    return {id_ for id_, answer in returned.items() if answer and answer.get("ret") is True}


def fingerprint() -> str:
    """The master's own fingerprint, in the form with which a minion compares its setting master_finger."""
    from salt.utils.crypt import pem_finger  # takes a second, and most of the lab does without it

    wait_until("the master has its key", PUBLIC_KEY.exists, 180)
    return pem_finger(str(PUBLIC_KEY))


def accept(fingerprints: dict[str, str]) -> None:
    """Accept minions' keys as an operator does: only with the fingerprint seen on the host itself."""
    wait_until("the hosts' keys reach the master", lambda: not missing_keys(fingerprints), 180)
    waiting = key_fingerprints().get("minions_pre", {})
    for id_, fingerprint in fingerprints.items():
        if id_ in waiting:
            if waiting[id_] != fingerprint:
                raise LabError(
                    f"the key that waits as {id_} has {waiting[id_]}, the host {fingerprint}"
                )
            salt("salt-key", "--yes", f"--accept={id_}")


def missing_keys(fingerprints: dict[str, str]) -> list[str]:
    """Hosts whose key the master does not have. A key of a former host of that name is deleted."""
    listed = key_fingerprints()
    accepted, waiting = listed.get("minions", {}), listed.get("minions_pre", {})
    for id_, fingerprint in fingerprints.items():
        if accepted.get(id_, fingerprint) != fingerprint:
            say(f"the master has the key of a former {id_}: deleting it")
            delete_key(id_)
            accepted.pop(id_)
    return [id_ for id_ in fingerprints if id_ not in accepted and id_ not in waiting]


def key_fingerprints() -> dict[str, dict[str, str]]:
    """The fingerprints of all keys, by list (minions, minions_pre, ...) and minion."""
    return json.loads(salt("salt-key", "--out=json", "--finger-all"))


def delete_key(id_: str) -> None:
    """Forget a minion's key, wherever it is listed."""
    salt("salt-key", "--yes", f"--delete={id_}", check=False)
