"""What became of the last backup, prune and drill: <state>/record.json, which tells it without the repository."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path

from classhub.backup.settings import Settings
from classhub.course.ledger import fsync_dir, private
from classhub.course.report import Report


def read(settings: Settings) -> dict[str, dict]:
    """verb -> {at, outcome, well}: when it last ended, and how; `well` is when it last went well."""
    try:
        found = json.loads((settings.state / "record.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def note(settings: Settings, verb: str, report: Report) -> None:
    """Remember how a verb ended."""
    failures = [
        f"failed: {what}: {told.removeprefix('failed: ')}"
        for what, told in report.table.items()
        if told.startswith("failed")
    ]
    outcome = "; ".join(failures) if failures else next(iter(report.table.values()))
    _note(settings, verb, outcome, not failures)


def note_refusal(settings: Settings, verb: str, sentence: str) -> None:
    _note(settings, verb, f"failed: {sentence}", False)


def _note(settings: Settings, verb: str, outcome: str, well: bool) -> None:
    known, now = read(settings), datetime.now(UTC).isoformat(timespec="seconds")
    last = now if well else known.get(verb, {}).get("well", "")
    known[verb] = {"at": now, "outcome": outcome, "well": last}
    settings.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    write(settings.state / "record.json", known)


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
