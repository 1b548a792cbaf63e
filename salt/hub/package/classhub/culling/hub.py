"""The hub's REST API, as far as culling needs it, with a token for list:users, read:servers and delete:servers alone."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from classhub.course.report import Refused
from classhub.culling.policy import Server

# without it the hub gives one page, and does not say that there are more
PAGES = "application/jupyterhub-pagination+json"
PAGE = 200  # users; more the hub does not give at once
READS = 3  # times that the list is read, if it changes meanwhile
LIST_SECONDS = 120  # for all of that
ANSWER_SECONDS = 60  # for one answer; a stop that takes long is answered after ten


class Lost(Exception):
    """The hub does not answer, or not as it should."""


class Hub:
    """The hub.

    Args:
        session: of `connections`
        url: of its API, without a slash at the end
        token_file: has the culler's token
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, token_file: Path) -> None:
        self.session, self.url = session, url
        try:
            self.token = token_file.read_text(encoding="ascii").strip()
        except (OSError, ValueError) as error:
            raise Refused(f"no token for the hub: {error}; apply the states of the hub") from error

    # -- what there is

    async def servers(self) -> list[Server]:
        """All servers that run, start or stop.

        Raises:
            Refused: the hub does not tell, or not in time.
        """
        try:
            return await asyncio.wait_for(self._servers(), LIST_SECONDS)
        except TimeoutError:
            told = f"the hub does not list its servers within {LIST_SECONDS} s"
        except Lost as error:
            told = str(error)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            told = f"the hub's list of servers is none that is known here ({error!r})"
        raise Refused(f"{told}; nothing was stopped")

    async def _servers(self) -> list[Server]:
        found: dict[str, Server] = {}
        for _ in range(READS):
            offset, totals = 0, set()
            while offset is not None:
                page = await self._page(offset)
                found |= {server.key: server for server in servers_of(page["items"])}
                totals.add(page["_pagination"]["total"])
                offset = (page["_pagination"]["next"] or {}).get("offset")
            if len(totals) == 1:  # else some have moved from a page to come to one that was read
                break
        return list(found.values())

    async def _page(self, offset: int) -> dict:
        query = urlencode({"state": "active", "sort": "id", "offset": offset, "limit": PAGE})
        status, body = await self._ask("GET", f"/users?{query}")
        if status in (401, 403):
            hint = "apply the states of the hub"
            raise Lost(f"the hub refuses the culler's token ({status}): {hint}")
        if status != 200:
            raise Lost(f"the hub answers {described(status, body)}")
        return json.loads(body)

    # -- what is done

    async def stop(self, server: Server) -> str:
        """Stop a server, and say what became of it.

        Raises:
            Lost: the hub does not answer.
        """
        path = f"/users/{quote(server.user, safe='')}/"
        path += f"servers/{quote(server.name, safe='')}" if server.name else "server"
        status, body = await self._ask("DELETE", path)
        known = {
            204: "done: stopped",
            202: "done: stops, and takes long for it",
            404: "skipped: is gone already",
        }
        return known.get(status, f"failed: the hub answers {described(status, body)}")

    async def _ask(self, method: str, path: str) -> tuple[int, bytes]:
        """Status and body of an answer."""
        headers = {"Authorization": f"token {self.token}", "Accept": PAGES}
        timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
        url = URL(f"{self.url}{path}", encoded=True)
        try:
            async with self.session.request(
                method, url, headers=headers, timeout=timeout, allow_redirects=False
            ) as response:
                return response.status, await response.read()
        except TimeoutError:
            raise Lost(f"the hub at {self.url} does not answer within {ANSWER_SECONDS} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Lost(f"the hub at {self.url} does not answer: {error}") from None


def servers_of(users: list[dict]) -> Iterator[Server]:
    """The servers in a page of users. Without the scope read:servers users have none, not even an empty mapping."""
    for user in users:
        for name, server in user["servers"].items():
            yield Server(
                user["name"],
                name,
                moment(server["started"]),
                server["pending"],
                server["ready"],
                moment(server["last_activity"]),
            )


def moment(text: str | None) -> datetime | None:
    """A time of the hub's; it is UTC, whether it says so or not."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def described(status: int, body: bytes) -> str:
    """An answer that was not expected: its status, and the hub's own words."""
    try:
        return f"{status} ({json.loads(body)['message']})"
    except (ValueError, KeyError, TypeError):
        return str(status)
