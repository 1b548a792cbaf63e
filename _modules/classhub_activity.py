"""What happened to students' servers, on its way from a node to the hub."""

import json

__virtualname__ = "classhub_activity"


def __virtual__():
    return __virtualname__


def waiting(limit: int = 2000) -> dict:
    """What this node knows and the hub does not have yet, the oldest first.

    Args:
        limit: so many events at most.

    Returns:
        ``spool``: the name of the node's memory, which is another one after a new installation; ``rows``: [id,
        container, action, nanoseconds since the epoch, username, exit code, how it is known].

    CLI Example:

    .. code-block:: bash

        salt 'node*' classhub_activity.waiting limit=10
    """
    return __utils__["classhub_spool.waiting"](limit)


def forget(spool: str, last: int) -> int:
    """Remove what the hub has from this node's memory.

    Args:
        spool: its name, as ``waiting`` gave it; another one is left alone.
        last: id of the last event that the hub has.

    Returns:
        how many events were removed.

    CLI Example:

    .. code-block:: bash

        salt node1 classhub_activity.forget 0123456789abcdef0123456789abcdef 250
    """
    return __utils__["classhub_spool.forget"](spool, last)


def record(told: dict[str, list]) -> dict:
    """Write what nodes told into the class's activity database, on the hub. What is there already is not there twice.

    Args:
        told: minion id -> rows, as ``waiting`` gave them.

    Returns:
        ``table``: minion id -> ``done: ...`` or ``failed: why``; ``summary``: how many events are new.

    Raises:
        CommandExecutionError: the database cannot be written; say it again later.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_activity.record '{}'
    """
    return __salt__["classhub_course.call"]("record-activity", data=json.dumps(told))


def sample() -> dict:
    """Note who uses the class just now, as JupyterHub tells it, and close what ended without a word.

    Returns:
        ``table``: nothing; ``summary``: how many servers run and are used, and what was closed.

    Raises:
        CommandExecutionError: the hub does not answer.

    CLI Example:

    .. code-block:: bash

        salt hub classhub_activity.sample
    """
    return __salt__["classhub_course.call"]("sample-activity")
