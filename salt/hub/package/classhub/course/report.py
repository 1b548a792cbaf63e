"""What a verb did: a table by student, what it tells on the way, and the two kinds of errors."""

import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

PAUSE = 2  # seconds between two lines of progress


class Refused(Exception):
    """The verb cannot start, or makes no sense: one sentence for whoever asked."""


class Unfit(Exception):
    """Something in one student's reach is not as it must be; the others go on."""


class Named(Protocol):
    username: str


@dataclass
class Report:
    """The answer of a verb.

    Attributes:
        table: username -> "done: ...", "skipped: ..." or "failed: ..."
        summary: facts about the whole
    """

    table: dict[str, str] = field(default_factory=dict)
    summary: dict = field(default_factory=dict)

    @property
    def failed(self) -> bool:
        return any(outcome.startswith("failed") for outcome in self.table.values())

    def as_dict(self) -> dict:
        counts = Counter(outcome.partition(":")[0] for outcome in self.table.values())
        counted = {word: counts[word] for word in ("done", "skipped", "failed")}
        return {"table": self.table, "summary": counted | self.summary}


def tell(text: str) -> None:
    """A line of progress."""
    print(text, file=sys.stderr, flush=True)


def attempt(person: Named, act: Callable[[Named], str]) -> str:
    """The outcome of one person; an error becomes one."""
    try:
        return act(person)
    except Unfit as error:
        return f"failed: {error}"
    except OSError as error:
        return f"failed: {error.strerror or error}"
    except (
        Exception
    ) as error:  # a student's odd entry must not stop the class; the log has the rest
        traceback.print_exc()
        return f"failed: unexpected {type(error).__name__}: {error}"


class Progress:
    """Tells now and then how far a verb is."""

    def __init__(self, verb: str, total: int) -> None:
        self.verb, self.total, self.count, self.told = verb, total, 0, time.monotonic()

    def outcome(self, person: Named, outcome: str) -> str:
        """Count one person; a failure is told at once."""
        self.count += 1
        if outcome.startswith("failed"):
            tell(f"{self.verb}: {person.username}: {outcome}")
        if time.monotonic() - self.told > PAUSE or self.count == self.total:
            tell(f"{self.verb}: {self.count} of {self.total}")
            self.told = time.monotonic()
        return outcome


def each(verb: str, people: Iterable[Named], act: Callable[[Named], str]) -> dict[str, str]:
    """Act for each person and tell how far it is.

    Args:
        verb: how the lines of progress start
        people: in this order
        act: returns an outcome; what it raises becomes one
    """
    people = list(people)
    progress = Progress(verb, len(people))
    return {person.username: progress.outcome(person, attempt(person, act)) for person in people}
