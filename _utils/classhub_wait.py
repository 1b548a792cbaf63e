"""Waiting that is bounded, visible in the log, and says in the end what was missing."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")


def until(
    probe: Callable[[], T | None], timeout: float, what: str, interval: float = 2.0
) -> T | None:
    """The first true answer of ``probe``, or None after ``timeout`` seconds.

    Args:
        probe: called every ``interval`` seconds.
        timeout: seconds; 0 asks once.
        what: what is waited for, for the log.
    """
    deadline = time.monotonic() + timeout
    reported = False
    while True:
        answer = probe()
        if answer or time.monotonic() >= deadline:
            return answer or None
        if not reported:
            log.warning("waiting up to %d s for %s", timeout, what)
            reported = True
        time.sleep(interval)
