"""How long each phase of `up` takes: printed for the reader, kept as JSON lines for the benchmarks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from lab.common import STATE, say


class Phases:
    """Names and durations of what was done, in order."""

    def __init__(self, command: str, hosts: str) -> None:
        self.command = command
        self.hosts = hosts
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Announce a phase and measure it."""
        say(f"{name} ...")
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds[name] = round(time.monotonic() - started, 1)
            say(f"{name}: {self.seconds[name]:.1f} s")

    def report(self, succeeded: bool) -> None:
        """Print the table and append it to .lab/phases.jsonl."""
        total = sum(self.seconds.values())
        width = max(len(name) for name in [*self.seconds, "total"])
        print(f"\n{'phase':{width}}  seconds")
        for name, seconds in [*self.seconds.items(), ("total", total)]:
            print(f"{name:{width}}  {seconds:7.1f}")
        line = {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": self.command,
            "hosts": self.hosts,
            "succeeded": succeeded,
            "phases": self.seconds,
            "total": round(total, 1),
        }
        with (STATE / "phases.jsonl").open("a") as log:
            log.write(json.dumps(line) + "\n")
