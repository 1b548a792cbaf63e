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

import aiohttp
from yarl import URL

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


def connections() -> aiohttp.ClientSession:
    """To the hub and to servers: nothing that one of them says goes to another, and none says how long an answer gets."""
    return aiohttp.ClientSession(
        # addresses are numbers; a server's connection is of use for its three questions alone
        connector=aiohttp.TCPConnector(
            limit=0, resolver=aiohttp.ThreadedResolver(), keepalive_timeout=1
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"Accept-Encoding": "identity"},
    )


class Asker:
    """Asks servers, some at once.

    Args:
        session: of `connections`
        concurrency: how many
        timeout: seconds for all that one of them is asked
        now: the hub's clock
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        concurrency: int,
        timeout: float,
        now: Callable[[], datetime],
    ) -> None:
        self.session, self.timeout, self.now = session, timeout, now
        self.free = asyncio.Semaphore(concurrency)

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
                return await asyncio.wait_for(self._look(place, least, grace), self.timeout)
            except TimeoutError:
                return Look(error=f"no answer within {self.timeout} s")
            except NoAnswer as error:
                return Look(error=str(error))
            except Exception as error:  # whatever one server answers, the others are asked
                return Look(error=f"unexpected {type(error).__name__}")

    async def _look(self, place: Place, least: timedelta, grace: timedelta) -> Look:
        status = await self._ask(place, "status")
        active = status.active(status.data)
        if status.now - active < least:
            return Look(active)
        kernels = await self._ask(place, "kernels")
        terminals = await self._ask(place, "terminals", optional=True)
        used = [kernels.active(kernel) for kernel in kernels.entries()]
        shown = [terminals.active(terminal) for terminal in terminals.entries()]
        states = [kernel.get("execution_state") for kernel in kernels.entries()]
        busy = sum(state not in AT_REST for state in states)
        words = [f"{busy} of {len(states)} kernels busy"] if busy else []
        output = terminals.now - max(shown, default=terminals.now - grace)
        words += [f"output in a terminal {clock(output)} ago"] if output < grace else []
        return Look(max([active, *used, *shown]), ", ".join(words), max(used, default=None))

    async def _ask(self, place: Place, what: str, optional: bool = False) -> "Answer":
        """Ask for one thing; one that is optional is an empty list where the server does not know it."""
        url = URL(f"{place.url}api/{what}?no_track_activity=1", encoded=True)
        headers = {"Authorization": f"token {place.token}"}
        try:
            async with self.session.get(url, headers=headers, allow_redirects=False) as response:
                if response.status == 404 and optional:
                    return Answer(b"[]", response.headers.get("Date"), self.now())
                if response.status != 200:
                    raise NoAnswer(f"it answers {response.status}")
                body = await read(response)
                return Answer(body, response.headers.get("Date"), self.now())
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswer(f"no answer: {in_words(error)}") from None


def in_words(error: Exception) -> str:
    """An error for people. It can have in it what a student's server sent, and that is for no terminal."""
    words = "".join(c for c in str(error) if c.isprintable())
    return words[:200] or type(error).__name__


async def read(response: aiohttp.ClientResponse) -> bytes:
    """The body of an answer, if it is no larger than one can be."""
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > LARGEST:
            raise NoAnswer("its answer is too large")
    return bytes(body)


class Answer:
    """What a server answered.

    Args:
        body: the JSON
        date: when, by its own clock, as HTTP has it
        now: when, by the hub's
    """

    def __init__(self, body: bytes, date: str | None, now: datetime) -> None:
        self.now = now
        try:
            self.data = json.loads(body)
            self.ahead = parsedate_to_datetime(date).astimezone(UTC) - now
        except (ValueError, TypeError, AttributeError, RecursionError, OverflowError):
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
