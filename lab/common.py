"""What all parts of the lab share: where things are, and how commands are run."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
CACHE = REPO / ".cache"  # survives `down`: environments, base image, the engine's images
STATE = REPO / ".lab"  # goes with `down`: configuration, keys, logs, pid files
LOGS = STATE / "log"
VENV = CACHE / "venv"

SUBNET = "10.77.0.0/24"
GATEWAY = "10.77.0.1"  # this machine, as the hosts see it; the Salt master listens here
LABEL = "classhub.lab=1"  # on every container, volume and network of the lab


class LabError(Exception):
    """Something the user of the lab has to know; shown without a traceback."""


def say(text: str) -> None:
    """Tell what the lab is doing."""
    print(f"lab: {text}", flush=True)


def run(argv: Sequence[str | Path], check: bool = True, timeout: float = 1800) -> str:
    """Run a command and return its output; raise LabError with what it said when it fails."""
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=timeout, cwd=REPO
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"'{' '.join(command)}' was not done within {timeout:.0f} s") from None
    if check and done.returncode:
        said = (done.stderr.strip() or done.stdout.strip())[-4000:]
        raise LabError(f"'{' '.join(command)}' failed with {done.returncode}:\n{said}")
    return done.stdout


def succeeds(argv: Sequence[str | Path], timeout: float = 60) -> bool:
    """Run a command for its exit code alone."""
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def wait_until(what: str, ready: Callable[[], bool], seconds: float, pause: float = 0.5) -> None:
    """Wait for a condition, and say what was waited for when it does not come."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def write(path: Path, text: str, mode: int = 0o644) -> bool:
    """Write a file when that changes it; tell whether it did."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.read_text() == text:
        return False
    path.write_text(text)
    path.chmod(mode)
    return True


def daemon_pid(pidfile: Path, word: str) -> int | None:
    """The process of a pid file, if it runs and `word` is in its command line (pids are reused)."""
    try:
        pid = int(pidfile.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
    return pid if word in command else None


def stop_daemon(pidfile: Path, word: str, seconds: float = 30) -> bool:
    """Stop the process of a pid file; tell whether there was one."""
    pid = daemon_pid(pidfile, word)
    if pid is None:
        return False
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while daemon_pid(pidfile, word) == pid:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            deadline += seconds
        time.sleep(0.2)
    return True
