"""Processes that prepare and settle submissions beside each other.

What a student wrote is read here, so one of them may fail or end in the middle: that costs its submission alone.
"""

import os
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from classhub.course.report import attempt
from classhub.course.settings import Person
from classhub.grading.submission import Bench, Prepared

DIED = "the process that read it failed or ended; the log may say why"
_benches: list[Bench] = []  # of this process: one


def _set_up(bench: Bench) -> None:
    _benches[:] = [bench]
    Path("/proc/self/oom_score_adj").write_text("1000")  # before anything else of the hub


def prepare(person: Person) -> tuple[str, Prepared | None]:
    """An outcome that is empty if all is well, and the prepared submission."""
    found: list[Prepared] = []

    def act(_: Person) -> str:
        found.append(_benches[0].prepare(person.username))
        return ""

    return attempt(person, act), found[0] if found else None


def settle(
    person: Person, prepared: Prepared, result: Path | None, words: str
) -> tuple[dict, dict[str, list[str]]]:
    """See Bench.settle."""
    return _benches[0].settle(person.username, prepared, result, words)


class Workers:
    """A process for each core.

    Args:
        bench: that each of them has
    """

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._pool = self._new(os.cpu_count() or 1)

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _new(self, count: int) -> ProcessPoolExecutor:
        # forked: what is imported need not be again
        return ProcessPoolExecutor(count, get_context("fork"), _set_up, (self.bench,))

    def map(self, act: Callable, items: Sequence[tuple]) -> list[Any]:
        """What `act` returns for each item; nothing where it failed or its process ended."""
        found: list[Any] = [None] * len(items)
        left = list(range(len(items)))
        try:
            for number, future in [(n, self._pool.submit(act, *items[n])) for n in left]:
                found[number] = _result(future)
                left.remove(number)
        except BrokenProcessPool:
            self._pool.shutdown()
            self._pool = self._new(os.cpu_count() or 1)
        for number in left:  # one after the other, which tells which of them it is
            found[number] = self._alone(act, items[number])
        return found

    def _alone(self, act: Callable, item: tuple) -> Any:
        with self._new(1) as pool:
            try:
                return _result(pool.submit(act, *item))
            except BrokenProcessPool:
                return None


def _result(future: Future) -> Any:
    """What a process returned; nothing where it failed, or what it returned cannot be passed on.

    Raises:
        BrokenProcessPool: it ended.
    """
    try:
        return future.result()
    except BrokenProcessPool:
        raise
    except (
        Exception
    ):  # over what a student wrote, which must not stop the class; the log has the rest
        traceback.print_exc()
        return None
