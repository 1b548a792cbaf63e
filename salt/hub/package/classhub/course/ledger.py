"""The ledger of sealed submissions: one line of JSON each, chained by hash, only ever appended.

A line is canonical JSON, so that each of its bytes counts. `prev` is the sha256 of the line before
it (`GENESIS` for the first), `digest` that of the line itself without `digest`.
"""

import hashlib
import json
import os
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

GENESIS = "0" * 64


def canonical(value: object) -> bytes:
    """The one way to write a value down as JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return text.encode("ascii")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class Ledger:
    """The lines in `path`, readable even when some are damaged.

    Attributes:
        lines: the lines that are whole, oldest first
        faults: what is wrong with the others, by line number
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[dict] = []
        self.faults: list[str] = []
        self.torn = b""
        self._by_user: dict[str, list[dict]] = defaultdict(list)
        self._load()

    def _load(self) -> None:
        data = self.path.read_bytes() if self.path.exists() else b""
        *raw, self.torn = data.split(b"\n")
        self._length = len(data) - len(self.torn)
        self._seq, self._last = 0, GENESIS
        broken = False  # what follows a damaged line cannot match it, and is no fault of its own
        for number, line in enumerate(raw, 1):
            entry = _parsed(line)
            if entry is None:
                self.faults.append(f"ledger line {number}: is damaged")
                self._seq += 1
            else:
                if not broken and (entry["seq"], entry["prev"]) != (self._seq + 1, self._last):
                    self.faults.append(f"ledger line {number}: does not follow from the one before")
                self._take(entry)
            broken = entry is None
            self._last = sha256(line)

    def _take(self, entry: dict) -> None:
        self._seq = entry["seq"]
        self.lines.append(entry)
        self._by_user[entry["user"]].append(entry)

    def repair(self) -> Path | None:
        """Move a last line that was cut short into a file of its own, beside the ledger.

        Returns:
            The file, or nothing when the ledger ends with a whole line.
        """
        if not self.torn:
            return None
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        aside = self.path.with_name(f"{self.path.name}.torn-{stamp}")
        with open(aside, "xb", opener=private) as file:
            file.write(self.torn)
            file.flush()
            os.fsync(file.fileno())
        fsync_dir(self.path.parent)
        self._cut()
        return aside

    def append(self, entry: dict) -> dict:
        """Add a line, and return only once it is on the disk.

        Args:
            entry: what the line says; `seq`, `prev` and `digest` are added here.

        Returns:
            The line as written.

        Raises:
            OSError: nothing was added.
        """
        line = entry | {"seq": self._seq + 1, "prev": self._last}
        line["digest"] = sha256(canonical(line))
        raw = canonical(line)
        new = not self.path.exists()
        try:
            with open(self.path, "ab", buffering=0, opener=private) as file:
                if file.write(raw + b"\n") != len(raw) + 1:
                    raise OSError("the ledger's line was written in part")
                os.fsync(file.fileno())
        except OSError:
            self._cut()
            raise
        if new:
            fsync_dir(self.path.parent)
        self._last = sha256(raw)
        self._length += len(raw) + 1
        self._take(line)
        return line

    def of(self, user: str, assignment: str | None = None) -> list[dict]:
        """The lines of one person, oldest first."""
        lines = self._by_user.get(user, [])
        return [line for line in lines if assignment in (None, line["assignment"])]

    def _cut(self) -> None:
        """Take away what follows the last whole line."""
        if self.path.exists():
            with open(self.path, "r+b") as file:
                file.truncate(self._length)
                os.fsync(file.fileno())
        self.torn = b""


def _parsed(line: bytes) -> dict | None:
    """The entry of a line, or nothing when it is not as it was written."""
    try:
        entry = json.loads(line)
        digest = entry.pop("digest")
        whole = sha256(canonical(entry)) == digest and isinstance(entry["seq"], int)
        entry["digest"] = digest
        whole = whole and canonical(entry) == line and {"user", "assignment", "prev"} <= set(entry)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return entry if whole else None


def private(path: str, flags: int) -> int:
    """Opens files for nobody but root."""
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def fsync_dir(path: Path) -> None:
    """Make what was created, renamed or removed in a directory last."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
