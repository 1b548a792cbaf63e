"""Servers asked what runs in them, each with its own token at its own port.

The token is the one that the server got from the hub at its start: whoever listens there knows it already. One of the
culler's own, sent to a student's server, would be the student's. Servers are asked past the proxy, which takes each
answer for a use of the server; Jupyter Server leaves out what says `no_track_activity`.

What a server answers is its student's word: it is small, in time and of the right types, or it is no answer.
"""

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import NamedTuple

from tornado.httpclient import HTTPClientError, HTTPResponse
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

from classhub.culling.policy import Look, clock

LARGEST = 1 << 20  # bytes of an answer
# States of a kernel in which nothing runs. One that nobody has ever spoken to stays "starting".
AT_REST = ("idle", "starting", "dead")


class Place(NamedTuple):
    """Where a server listens, and what it lets in.

    Attributes:
        url: with the server's prefix and a slash at the end
        node, memory: where it runs, and the bytes that it reserves there
    """

    url: str
    token: str
    node: str = ""
    memory: int = 0


class NoAnswer(Exception):
    """A server did not answer, or not as a server does."""


class Asker:
    """Asks servers, some at once.

    Args:
        concurrency: how many
        timeout: seconds for all that one of them is asked
        now: the hub's clock
    """

    def __init__(self, concurrency: int, timeout: float, now: Callable[[], datetime]) -> None:
        self.timeout, self.now = timeout, now
        self.free = asyncio.Semaphore(concurrency)
        self.client = SimpleAsyncHTTPClient(
            force_instance=True, max_clients=concurrency, max_body_size=LARGEST
        )

    async def look(self, place: Place | None, least: timedelta, grace: timedelta) -> Look:
        """What a server says about itself.

        Args:
            place: nothing if no node says that it runs it
            least: one that was used within it is asked no more
            grace: a terminal with output within it is busy
        """
        if place is None:
            return Look(error="no node says that it runs it")
        async with self.free:
            try:
                return await self._look(Questions(self, place), least, grace)
            except NoAnswer as error:
                return Look(error=str(error))

    async def _look(self, ask: "Questions", least: timedelta, grace: timedelta) -> Look:
        status = await ask("status")
        active = status.active(status.data)
        if status.now - active < least:
            return Look(active)
        kernels, terminals = await ask("kernels"), await ask("terminals", optional=True)
        used = [kernels.active(kernel) for kernel in kernels.entries()]
        shown = [terminals.active(terminal) for terminal in terminals.entries()]
        states = [kernel.get("execution_state") for kernel in kernels.entries()]
        busy = sum(state not in AT_REST for state in states)
        words = [f"{busy} of {len(states)} kernels busy"] if busy else []
        output = terminals.now - max(shown, default=terminals.now - grace)
        words += [f"output in a terminal {clock(output)} ago"] if output < grace else []
        return Look(max([active, *used, *shown]), ", ".join(words), max(used, default=None))


class Questions:
    """What one server is asked, within the time for all."""

    def __init__(self, asker: Asker, place: Place) -> None:
        self.asker, self.place = asker, place
        self.deadline = asyncio.get_running_loop().time() + asker.timeout

    async def __call__(self, what: str, optional: bool = False) -> "Answer":
        """Ask for a thing; one that is optional is an empty list where the server does not know it.

        Raises:
            NoAnswer: there is none, or none that makes sense.
        """
        response = await self._fetch(f"{self.place.url}api/{what}?no_track_activity=1")
        if response.code != 200 and not (optional and response.code == 404):
            raise NoAnswer(f"it answers {response.code}")
        return Answer(response, self.asker.now())

    async def _fetch(self, url: str) -> HTTPResponse:
        left = max(self.deadline - asyncio.get_running_loop().time(), 0.001)
        try:
            return await self.asker.client.fetch(
                url,
                headers={"Authorization": f"token {self.place.token}"},
                connect_timeout=left,
                request_timeout=left,
                follow_redirects=False,
                decompress_response=False,  # what is small on the way could be large in here
                raise_error=False,
            )
        except HTTPTimeoutError:
            raise NoAnswer(f"no answer within {self.asker.timeout} s") from None
        except (HTTPClientError, OSError) as error:
            raise NoAnswer(f"no answer: {error}") from None
        except Exception as error:  # what is no HTTP breaks the client in more ways than it says
            raise NoAnswer(f"no answer: {type(error).__name__}") from None


class Answer:
    """What a server answered.

    Args:
        now: when, by the hub's clock; the server's own is compared with it
    """

    def __init__(self, response: HTTPResponse, now: datetime) -> None:
        self.now = now
        try:
            self.data = json.loads(response.body) if response.code == 200 else []
            self.ahead = parsedate_to_datetime(response.headers["Date"]).astimezone(UTC) - now
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            raise NoAnswer("its answer makes no sense") from None

    def entries(self) -> list[dict]:
        if not isinstance(self.data, list) or not all(isinstance(one, dict) for one in self.data):
            raise NoAnswer("its answer makes no sense")
        return self.data

    def active(self, entry: object) -> datetime:
        """The last activity of the server, a kernel or a terminal: by the hub's clock, and not later than now."""
        try:
            when = datetime.fromisoformat(entry["last_activity"])
            when = when if when.tzinfo else when.replace(tzinfo=UTC)
            return min(when.astimezone(UTC) - self.ahead, self.now)
        except (ValueError, TypeError, KeyError, OverflowError):
            raise NoAnswer("its answer makes no sense") from None
