"""The class's filesystem is what it is taken for: marked on the hub, recognised on the nodes."""

import os

from salt.exceptions import CommandExecutionError

__virtualname__ = "classhub_filesystem"


def __virtual__():
    return __virtualname__


def _marker(root: str) -> str:
    try:
        return __salt__["classhub_filesystem.marker"](root)
    except CommandExecutionError:
        return ""


def answering(name: str) -> dict:
    """What is mounted at ``name``, if anything, answers; never changes anything.

    Salt's own states hang on a filesystem whose server is away, and with them the minion's job: let them require this.

    Args:
        name: the mount point.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} answers"}
    silence = __salt__["classhub_filesystem.silence"](name)
    return ret | {"result": False, "comment": silence} if silence else ret


def marked(name: str, mounted: bool = False) -> dict:
    """The filesystem at ``name`` carries the class's marker.

    Args:
        name: the mount point.
        mounted: refuse when nothing is mounted there: the filesystem comes from outside the class.
    """
    ret = {"name": name, "changes": {}, "result": True, "comment": f"{name} is marked"}
    silence = __salt__["classhub_filesystem.silence"](name)
    if silence:
        return ret | {"result": False, "comment": silence}
    if mounted and not os.path.ismount(name):
        return ret | {
            "result": False,
            "comment": f"Nothing is mounted on {name}, and classhub:storage:driver is shared: mount the class's "
            "filesystem there first, or choose the driver nfs",
        }
    try:
        found, pinned = _marker(name), __salt__["classhub_filesystem.pin"]()
        if found and found == pinned:
            return ret
        if pinned:
            __salt__["classhub_filesystem.mark"](name)  # writes nothing: refuses, also a prediction
            return ret
        ret["changes"] = {name: "marked"}
        if __opts__["test"]:
            return ret | {"result": None, "comment": f"{name} would be marked"}
        __salt__["classhub_filesystem.mark"](name)
    except (CommandExecutionError, OSError) as error:
        return ret | {"result": False, "changes": {}, "comment": str(error)}
    return ret | {"comment": f"{name} was marked"}


def verified(name: str, hub: str, wait: int) -> dict:
    """``name`` on this node is the filesystem that the hub marked; never changes anything.

    Args:
        name: the mount point.
        hub: minion id of the hub.
        wait: seconds to wait for the hub's marker.
    """
    ret = {
        "name": name,
        "changes": {},
        "result": True,
        "comment": f"{name} is the class's filesystem",
    }

    def seen() -> bool:
        expected = __salt__["mine.get"](hub, "classhub_filesystem").get(hub)
        return bool(expected) and _marker(name) == expected

    if __opts__["test"]:
        return (
            ret
            if seen()
            else ret
            | {"result": None, "comment": f"{name} would be compared with the hub's marker"}
        )
    if __utils__["classhub_wait.until"](seen, wait, f"the marker of {hub} on {name}"):
        return ret
    return ret | {
        "result": False,
        "comment": f"{name} is not the filesystem that {hub} marked (waited {wait} s). Is it mounted here? "
        f"Look at `findmnt {name}` and at {name}/.classhub/ on both hosts",
    }
