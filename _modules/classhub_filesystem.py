"""The marker by which a node knows that its /home is the class's filesystem, and not an empty directory."""

import json
import subprocess
import uuid
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_filesystem"
_MARKER = ".classhub/filesystem.json"
# what the hub remembers of it: an empty disk in the place of the homes must not become a new class
PINNED = "/var/lib/classhub/filesystem.json"
# seconds that a filesystem has to answer: whoever touches a hard NFS mount without its server waits for ever, and
# only a process of its own can be ended then
PATIENCE = 10

_MISSING = (
    "{root} is not the class's filesystem any more. Is its disk mounted? Nothing was written there. If the homes "
    "really moved, copy them with {root}/.classhub, or delete {pinned}"
)


def __virtual__():
    return __virtualname__


def marker(root: str = "/home") -> str:
    """The filesystem's id.

    Args:
        root: where the filesystem is mounted.

    Raises:
        CommandExecutionError: there is no readable marker, or the filesystem does not answer.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_filesystem.marker
    """
    path = Path(root) / _MARKER
    said = _child(["cat", "--", str(path)])
    if said is None:
        raise CommandExecutionError(_silence(root))
    if said.returncode:
        error = said.stderr.decode(errors="replace").strip()
        raise CommandExecutionError(f"{path} is not a marker of the class's filesystem: {error}")
    try:
        return json.loads(said.stdout)["id"]
    except (ValueError, KeyError, TypeError) as error:
        raise CommandExecutionError(
            f"{path} is not a marker of the class's filesystem: {error}"
        ) from error


def silence(root: str = "/home") -> str:
    """What is wrong when the filesystem does not answer; empty when it does, or is not there.

    Args:
        root: where the filesystem is mounted.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_filesystem.silence
    """
    # of the whole filesystem: attributes of a file may come from the kernel's memory
    return "" if _child(["stat", "--file-system", "--", root]) else _silence(root)


def mark(root: str = "/home") -> str:
    """Give the filesystem an id, once and for all; a marker that is there stays.

    Args:
        root: where the filesystem is mounted.

    Returns:
        the id.

    Raises:
        CommandExecutionError: something else is in the marker's place.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_filesystem.mark
    """
    path, pinned = Path(root) / _MARKER, pin()
    if not path.exists():
        if pinned:
            raise CommandExecutionError(_MISSING.format(root=root, pinned=PINNED))
        _write(path, {"id": str(uuid.uuid4())})
    found = marker(root)
    if pinned and pinned != found:
        raise CommandExecutionError(_MISSING.format(root=root, pinned=PINNED))
    if not pinned:
        _write(Path(PINNED), {"id": found})
    return found


def pin() -> str:
    """The id of the filesystem that this hub has marked or found before; empty on a new hub.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_filesystem.pin
    """
    try:
        return json.loads(Path(PINNED).read_text(encoding="utf-8"))["id"]
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandExecutionError(f"{PINNED} cannot be read: {error}") from error


def _silence(root: str) -> str:
    return (
        f"{root} does not answer (waited {PATIENCE} s). Is the hub up, and its NFS server? Nothing is lost: what waits "
        "for its files goes on when it is back"
    )


def _child(command: list[str]) -> subprocess.CompletedProcess | None:
    """A command that touches the filesystem; None when it gets no answer from there."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        out, err = child.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        child.kill()  # and not waited for: the kernel may not let it go either
        return None
    return subprocess.CompletedProcess(command, child.returncode, out, err)


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content) + "\n", encoding="utf-8")
    fresh.replace(path)
