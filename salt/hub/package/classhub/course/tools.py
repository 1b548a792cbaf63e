"""Other people's programs, run by root with as little as they need."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

# without capabilities root reaches no student's files; when the verb is killed, so is the program
BARE = ("setpriv", "--pdeathsig=KILL", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all")


def run(
    command: Sequence[str],
    cwd: Path,
    env: dict[str, str],
    timeout: float,
    stdin: bytes = b"",
    stderr: int = subprocess.PIPE,
) -> subprocess.CompletedProcess:
    """Run a program without capabilities, and with this environment alone; its output is bytes.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was killed.
    """
    return subprocess.run(
        [*BARE, *command],
        cwd=cwd,
        env=env,
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        timeout=timeout,
        check=False,
    )


def last_words(result: subprocess.CompletedProcess) -> str:
    """The end of what a program printed, in one line."""
    return " / ".join(result.stdout.decode(errors="replace").strip().splitlines()[-5:])
