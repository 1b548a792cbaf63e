"""Services of this host that run with older settings than those on disk."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_service"


def __virtual__():
    return __virtualname__


def stale(name: str, reads: list[str], reloads: bool = False) -> list[str]:
    """What a running service has not read yet: files that are newer than its start.

    Args:
        name: the service's unit.
        reads: files, and directories with all that is in them.
        reloads: the service reads them again when it is reloaded, too.

    Returns:
        paths among ``reads``; one that is not there counts as read.

    Raises:
        CommandExecutionError: the service does not run.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_service.stale jupyterhub '[/etc/jupyterhub/classhub.json]'
    """
    # a reload takes a unit from active to reloading and back: its state changes, its start does not. A reload that failed
    # does the same, and the service goes on with what it had.
    reloaded = reloads and _shown(name, "ReloadResult") == "success"
    told = _shown(
        name, "StateChangeTimestampMonotonic" if reloaded else "ActiveEnterTimestampMonotonic"
    )
    if not told.isdigit() or told == "0":
        raise CommandExecutionError(f"{name} does not run; see journalctl -u {name}")
    since = time.time() - time.monotonic() + int(told) / 1e6
    return [path for path in reads if _changed(Path(path)) > since]


def _shown(name: str, what: str) -> str:
    return __salt__["cmd.run_stdout"](
        ["systemctl", "show", name, f"--property={what}", "--value"], python_shell=False
    )


def _changed(path: Path) -> float:
    """When ``path`` or anything under it last changed, in seconds since the epoch; 0 where nothing is."""
    return max((entry.stat().st_mtime for entry in _under(path)), default=0.0)


def _under(path: Path) -> Iterable[Path]:
    if path.exists():
        yield path
    for folder, folders, files in os.walk(path):
        folders[:] = [
            name for name in folders if name != "__pycache__"
        ]  # written by the service itself
        yield from (Path(folder, name) for name in (*folders, *files))
