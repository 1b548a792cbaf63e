"""What became of the last backup, prune and drill: <state>/record.json, which tells it without the repository."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from classhub.backup.settings import Settings
from classhub.course.ledger import fsync_dir, private
from classhub.course.report import Refused, Report


def read(settings: Settings) -> dict[str, dict]:
    """verb -> {at, outcome, well}: when it last ended, and how; `well` is when it last went well. And `begun`: when the
    first run began that none has ended since.

    Raises:
        Refused: the record cannot be read.
    """
    place = settings.state / "record.json"
    try:
        found = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Refused(f"{place} cannot be read: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(one, dict) for one in found.values()):
        raise Refused(f"{place} cannot be read: it is no record")
    return found


def begin(settings: Settings, verb: str) -> None:
    """Remember that a verb began: a run that is killed tells nothing of itself."""
    known = _usable(settings)
    known.setdefault(verb, {}).setdefault("begun", _now())
    _put(settings, known)


def note(settings: Settings, verb: str, ended: Report | str) -> None:
    """Remember how a verb ended: with a report, or with the sentence by which it was refused."""
    failures, told = [f"failed: {ended}"], ""
    if isinstance(ended, Report):
        told = next(iter(ended.table.values()))
        failures = [
            f"failed: {what}: {outcome.removeprefix('failed: ')}"
            for what, outcome in ended.table.items()
            if outcome.startswith("failed")
        ]
    known, now = _usable(settings), _now()
    last = known.get(verb, {}).get("well", "") if failures else now
    known[verb] = {"at": now, "outcome": "; ".join(failures) or told, "well": last}
    _put(settings, known)


def _usable(settings: Settings) -> dict[str, dict]:
    """The record, begun anew where it cannot be read."""
    try:
        return read(settings)
    except Refused:
        return {}


def _put(settings: Settings, known: dict[str, dict]) -> None:
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(settings.state / "record.json", known)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def write(path: Path, content: object) -> None:
    """Put a file of ours in an earlier one's place, for root alone, so that it lasts."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    with open(beside, "x", encoding="utf-8", opener=private) as file:
        json.dump(content, file, indent=1, sort_keys=True)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    fsync_dir(path.parent)
