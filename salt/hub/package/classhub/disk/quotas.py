"""The verb `quotas`: everybody's limits are those that the class's settings give.

Which limits are the class's own is on record: one that somebody else has set, for whom the class wants none, stays.
"""

import json
import os
import sys
from argparse import Namespace
from pathlib import Path

from classhub.course.report import Refused, Report
from classhub.course.settings import LEAST_UID, Settings
from classhub.course.store import write_file
from classhub.disk import quota
from classhub.disk.quota import Limits, Usage
from classhub.disk.words import amount

NONE = Limits()
STAYS = (
    "skipped: may still have a limit of the class: {why}. The next run takes it off; if that filesystem is gone, delete "
    "{record}"
)


def quotas(settings: Settings, arguments: Namespace) -> Report:
    """Set everybody's limits; who has the right ones is not in the table.

    The standard input has a mapping, username -> {"uid": number, "limits": [soft, hard, files_soft, files_hard]}.
    """
    given = json.load(sys.stdin)
    wanted = {name: (one["uid"], Limits(*one["limits"])) for name, one in given.items()}
    if low := [name for name, (uid, _) in wanted.items() if uid < LEAST_UID]:
        raise Refused(f"{', '.join(low)}: a uid below {LEAST_UID} has no quota")
    record = _read(settings.quotas)
    with_limits = {name: one for name, one in wanted.items() if any(one[1])}
    gone = {name: (uid, NONE) for name, uid in record.items() if name not in with_limits}
    targets = gone | with_limits
    if not targets:
        return Report()
    try:
        found = _found(settings.homes, bool(with_limits), arguments.test)
    except quota.NoQuotas as error:
        return Report(dict.fromkeys(gone, STAYS.format(why=error, record=settings.quotas)))
    todo = {
        name: (uid, limits)
        for name, (uid, limits) in targets.items()
        if found.get(uid, Usage()).limits != limits
    }
    if arguments.test:
        return Report({name: f"done: would have {_told(one[1])}" for name, one in todo.items()})
    # from the moment that somebody may have a limit by us
    _write(settings.quotas, record | {name: uid for name, (uid, _) in with_limits.items()})
    table = _put(settings.homes, todo) if todo else {}
    left = {name: uid for name, (uid, _) in gone.items() if "failed" in table.get(name, "")}
    _write(settings.quotas, left | {name: uid for name, (uid, _) in with_limits.items()})
    return Report(table)


def _found(homes: Path, needed: bool, test: bool) -> dict[int, Usage]:
    """What the filesystem says.

    Raises:
        Refused: it has no quotas, and somebody is to have one.
        NoQuotas: it has none, and nobody is to have one.
    """
    try:
        return quota.read(homes)
    except quota.NoQuotas as error:
        if not needed:
            raise
        if not isinstance(error, quota.NoTools):
            raise Refused(f"nobody has a quota: {error}") from error
        if test:  # the run itself installs them; nobody has a limit without them
            return {}
        raise Refused(str(error)) from error


def _put(homes: Path, todo: dict[str, tuple[int, Limits]]) -> dict[str, str]:
    """Set limits and look whether they are; the table."""
    complaint = quota.put(homes, dict(todo.values()))
    found = quota.read(homes)
    return {
        name: f"done: {_told(limits)}"
        if found.get(uid, Usage()).limits == limits
        else f"failed: the limits could not be set: {complaint or 'the filesystem has others'}"
        for name, (uid, limits) in todo.items()
    }


def _told(limits: Limits) -> str:
    if limits == NONE:
        return "no quota any more"
    files = f" and {limits.files_soft} files" if limits.files_soft else ""
    return f"a quota of {amount(limits.soft * 1024)}{files}"


def _read(path: Path) -> dict[str, int]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Refused(
            f"{path} cannot be read ({error}). It says whose limits are the class's: restore it from the backup, or delete "
            "it, and take limits of people who have left off by hand"
        ) from error


def _write(path: Path, record: dict[str, int]) -> None:
    if record == _read(path):
        return
    new = path.with_suffix(".new")
    write_file(new, json.dumps(record, indent=1, sort_keys=True).encode())
    os.replace(new, path)


def add_commands(subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser("quotas", help="set everybody's limits, given as JSON")
    parser.add_argument("--test", action="store_true", help="tell what would be done")
    parser.set_defaults(run=quotas)
