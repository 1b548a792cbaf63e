"""What culling remembers from run to run, and the log of what it decided.

<directory>/seen.json           server -> since when it has been busy, and when it was last seen so
<directory>/culled.jsonl        a line for each server that is stopped, or is kept because it is busy
<directory>/culled.jsonl.1      the lines before those
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from classhub.course import trees
from classhub.course.ledger import private
from classhub.course.store import now, write_file
from classhub.culling.policy import Seen, Server

LARGEST = 4 << 20  # bytes of the log until it is put aside


class Record:
    """The directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.memory, self.log = directory / "seen.json", directory / "culled.jsonl"

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one that culls.

        Raises:
            Refused: somebody else does.
        """
        self.directory.mkdir(mode=0o700, exist_ok=True)
        with trees.opened(self.directory) as fd:
            trees.hold(fd, "another run culls just now")
            yield

    # -- the memory

    def seen(self) -> dict[str, Seen]:
        """What is remembered of each server's life; if it cannot be read, nothing is."""
        try:
            entries = json.loads(self.memory.read_text(encoding="utf-8"))
            return {life: Seen(*map(_time, times)) for life, times in entries.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def remember(self, seen: Mapping[str, Seen]) -> None:
        """Replace what is remembered."""
        entries = {life: [_text(time) for time in one] for life, one in seen.items() if any(one)}
        new = self.memory.with_suffix(".new")
        write_file(new, json.dumps(entries, indent=1).encode())
        os.replace(new, self.memory)

    # -- the log

    def note(self, server: Server, decision: str, reason: str) -> None:
        """Add a line to the log."""
        if self.log.exists() and self.log.stat().st_size > LARGEST:
            os.replace(self.log, f"{self.log}.1")
        line = {"at": now().isoformat(timespec="seconds"), "server": server.key}
        with open(self.log, "a", encoding="utf-8", opener=private) as file:
            file.write(json.dumps(line | {"decision": decision, "reason": reason}) + "\n")


def life(server: Server) -> str:
    """What tells a server from the one that its student starts after it."""
    return f"{server.key} {_text(server.started)}"


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _text(time: datetime | None) -> str | None:
    return time.isoformat() if time else None
