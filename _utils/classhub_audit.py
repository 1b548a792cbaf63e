"""The record of what was done to the class, by whom: a JSON object a line, in a file of the master that only grows.

An entry is on the disk when `append` returns.
"""

import datetime
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

_LONGEST = 300  # characters of one value: an entry is to be read


def audit_file(opts: dict) -> Path:
    """Where the master keeps the record."""
    return Path(opts["root_dir"]) / "var/log/classhub/audit.jsonl"


def append(file: Path, **entry: object) -> None:
    """Add an entry with the present time.

    Raises:
        OSError: it cannot be written, such as to a full disk; nothing of it stays then.
    """
    time = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    text = json.dumps({"time": time} | _short(entry), ensure_ascii=True)
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        _write(descriptor, text)
    finally:
        os.close(descriptor)


def _short(value: object) -> object:
    """A value without what is too long to be read."""
    if isinstance(value, dict):
        return {str(key): _short(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_short(inner) for inner in value]
    if isinstance(value, bool | int | float | None):
        return value
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _write(descriptor: int, text: str) -> None:
    size = os.fstat(descriptor).st_size
    # a machine that lost its power may have left half a line
    broken = size and os.pread(descriptor, 1, size - 1) != b"\n"
    line = f"{chr(10) * bool(broken)}{text}\n".encode()
    try:
        if os.write(descriptor, line) != len(line):
            raise OSError("the disk is full")
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, size)
        raise


def entries(file: Path, since: str = "", user: str = "", verb: str = "") -> Iterator[dict]:
    """What is recorded, oldest first; a line that is damaged is told as such.

    Args:
        file: the record.
        since: a time of UTC such as 2030-01-31 or 2030-01-31T12:00; older entries are left out.
        user: of this person alone.
        verb: of this verb alone.
    """
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = {"damaged": line[:_LONGEST]}
        if "damaged" in entry or (
            entry["time"] >= since and user in ("", entry["who"]) and verb in ("", entry["verb"])
        ):
            yield entry
