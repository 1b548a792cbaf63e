"""The marker by which a node knows that its /home is the class's filesystem, and not an empty directory."""

import json
import uuid
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_filesystem"
_MARKER = ".classhub/filesystem.json"
# what the hub remembers of it: an empty disk in the place of the homes must not become a new class
PINNED = "/var/lib/classhub/filesystem.json"

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
        CommandExecutionError: there is no readable marker.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_filesystem.marker
    """
    path = Path(root) / _MARKER
    try:
        return json.loads(path.read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandExecutionError(
            f"{path} is not a marker of the class's filesystem: {error}"
        ) from error


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


def _write(path: Path, content: dict) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(content) + "\n", encoding="utf-8")
    fresh.replace(path)
