"""The marker by which a node knows that its /home is the class's filesystem, and not an empty directory."""

import json
import uuid
from pathlib import Path

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_filesystem"
_MARKER = ".classhub/filesystem.json"


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
    path = Path(root) / _MARKER
    if not path.exists():
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps({"id": str(uuid.uuid4())}) + "\n", encoding="utf-8")
        fresh.replace(path)
    return marker(root)
