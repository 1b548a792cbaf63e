"""Wait for something to become true, with a deadline and an error that says what was last seen."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    what: str,
    check: Callable[[], T],
    seconds: float,
    pause: float = 0.5,
    ignoring: tuple[type[Exception], ...] = (),
) -> T:
    """The first true answer of `check`; AssertionError after `seconds`.

    what: says in the error what was waited for, e.g. "node2 is ready".
    ignoring: exceptions of `check` that only mean "not yet".
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            seen: object = check()
        except ignoring as error:
            seen = error
        else:
            if seen:
                return seen  # type: ignore[return-value]
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what}; last seen: {seen!r}")
        time.sleep(pause)
