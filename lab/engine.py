"""The machine's Docker engine: the one that answers, or one the lab starts and stops."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.common import CACHE, LOGS, STATE, daemon_pid, say, stop_daemon, succeeds, wait_until

PIDFILE = STATE / "engine.pid"
# Not below the checkout: a socket's path may have 107 characters.
EXEC_ROOT = Path("/run/classhub-lab")


def answers() -> bool:
    """Whether a Docker engine answers."""
    return succeeds(["docker", "version", "--format", "{{.Server.Version}}"])


def start() -> None:
    """See to it that an engine answers. One of the lab's own keeps its images in .cache/engine."""
    if answers():
        return
    say("no Docker engine answers, starting one")
    if daemon_pid(PIDFILE, "dockerd") is None:
        PIDFILE.unlink(missing_ok=True)
    LOGS.mkdir(parents=True, exist_ok=True)
    argv = ["dockerd", f"--data-root={CACHE / 'engine'}", f"--exec-root={EXEC_ROOT}"]
    argv += [f"--pidfile={PIDFILE}", "--host=unix:///var/run/docker.sock"]
    # No docker0: the lab has a network of its own, and Docker's default one is taken in many places.
    argv += ["--bridge=none", "--default-address-pool=base=10.78.0.0/16,size=24"]
    with (LOGS / "engine.log").open("ab") as log:
        subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
    wait_until(f"the Docker engine answers (see {LOGS / 'engine.log'})", answers, 90)


def stop() -> None:
    """Stop the engine if the lab started it."""
    if stop_daemon(PIDFILE, "dockerd", 60):
        say("stopped the Docker engine")
