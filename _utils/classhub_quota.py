"""How much each person of the class may have in /home: pillar ``classhub:storage:quota``. Pure functions."""

import math
from collections.abc import Callable


def limits(
    people: list[dict], uids: dict[str, int], quota: dict, size: Callable[[str | int], int]
) -> dict[str, dict]:
    """Everybody's limits in the filesystem.

    Args:
        people: of the roster.
        uids: username -> uid.
        quota: settings ``classhub:storage:quota``.
        size: ``classhub_settings.size``.

    Returns:
        username -> ``uid`` and ``limits``: KiB that a person may have, and may not pass; the same of files. Those of who
        has no quota are zeros.
    """
    found = {}
    for person in people:
        name = person["username"]
        given = quota["users"].get(name, quota["roles"].get(person["role"], 0))
        soft = _whole(size(given) / 1024)
        hard = _whole(soft * (1 + quota["over"]))
        files = int(quota["files"]) if soft else 0
        most_files = int(files * (1 + quota["over"]))
        found[name] = {"uid": uids[name], "limits": [soft, hard, files, most_files]}
    return found


def _whole(kib: float) -> int:
    """KiB of whole MiB: filesystems round limits to their own blocks, and these are whole ones everywhere."""
    return math.ceil(kib / 1024) * 1024


def faults(quota: dict, people: list[dict]) -> list[str]:
    """What is wrong with the quotas of single people: they have to be on the roster.

    Args:
        quota: settings ``classhub:storage:quota``.
        people: of the roster.
    """
    known = {person["username"] for person in people}
    return [
        f"classhub:storage:quota:users: {name} is not on the roster"
        for name in quota["users"]
        if name not in known
    ]
