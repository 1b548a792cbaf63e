"""A student's way through the hub's proxy: a server started, a cell run, a server stopped."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from classhub.course.report import Unfit

ANSWER = aiohttp.ClientTimeout(total=30)  # of one request
CELL_SECONDS = 90  # for a kernel's start and one cell
PROMPT = 0.5  # seconds between two looks


class Page:
    """What one person can do, with a token for that.

    Args:
        session: of aiohttp
        url: of the hub's proxy, without a slash at the end
        token: of the hub's, for this person's server
        user: the person
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str, user: str) -> None:
        self.session, self.url, self.user = session, url, user
        self.headers = {"Authorization": f"token {token}"}

    async def ask(self, method: str, path: str, wanted: tuple[int, ...], **options) -> dict:
        """The JSON of an answer, empty if it has none.

        Raises:
            Unfit: another status than wanted, or no answer.
        """
        try:
            async with self.session.request(
                method,
                f"{self.url}{path}",
                headers=self.headers,
                timeout=ANSWER,
                allow_redirects=False,
                **options,
            ) as answer:
                text = await answer.text()
                if answer.status not in wanted:
                    raise Unfit(f"{method} {path} is answered {answer.status}: {_said(text)}")
                return _parsed(text)
        except TimeoutError:
            raise Unfit(f"{method} {path} is not answered within {ANSWER.total:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unfit(f"{method} {path} is not answered: {error}") from None

    # -- the server

    async def start(self, seconds: float) -> None:
        """Start the server and wait until it is ready.

        Raises:
            Unfit: it did not start; in the words that a student gets.
        """
        await self.ask("POST", f"/hub/api/users/{self.user}", (201, 409))
        await self.ask("POST", f"/hub/api/users/{self.user}/server", (201, 202, 400))
        last = {}
        try:
            async with asyncio.timeout(seconds):
                async for last in self._progress():
                    if last.get("ready"):
                        return
                    if last.get("failed"):
                        break
        except TimeoutError:
            raise Unfit(f"not ready after {seconds:g} s: {last.get('message', '')}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unfit(f"the hub stopped telling of the start: {error}") from None
        raise Unfit(str(last.get("message", "the hub says nothing of the start")))

    async def _progress(self) -> AsyncIterator[dict]:
        url = f"{self.url}/hub/api/users/{self.user}/server/progress"
        async with self.session.get(
            url, headers=self.headers, timeout=aiohttp.ClientTimeout(total=None)
        ) as answer:
            async for line in answer.content:
                if line.startswith(b"data:"):
                    yield _parsed(line[5:].decode())

    async def stop(self) -> None:
        """Stop the server, if there is one, and wait until it is gone."""
        await self.ask("DELETE", f"/hub/api/users/{self.user}/server", (202, 204, 400, 404))
        while (await self.ask("GET", f"/hub/api/users/{self.user}", (200, 404))).get("servers"):
            await asyncio.sleep(PROMPT)

    # -- a cell

    async def run(self, code: str) -> str:
        """The output of a cell in a new kernel.

        Raises:
            Unfit: no kernel, an error in the cell, or no end in time.
        """
        base = f"/user/{self.user}/api/kernels"
        kernel = (await self.ask("POST", base, (201,), json={"name": "python3"}))["id"]
        try:
            async with asyncio.timeout(CELL_SECONDS):
                async with self.session.ws_connect(
                    f"{self.url}{base}/{kernel}/channels", headers=self.headers
                ) as channel:
                    return await _run(channel, code)
        except TimeoutError:
            raise Unfit(f"a cell did not end within {CELL_SECONDS} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unfit(f"the kernel cannot be reached: {error}") from None


async def _run(channel: aiohttp.ClientWebSocketResponse, code: str) -> str:
    """Messages: https://jupyter-client.readthedocs.io/en/stable/messaging.html"""
    request, shown = _request(code), ""
    await channel.send_json(request)
    async for received in channel:
        message = json.loads(received.data)
        if message.get("parent_header", {}).get("msg_id") != request["header"]["msg_id"]:
            continue
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            shown += content["text"]
        elif kind == "error":
            raise Unfit(f"the cell ended with {content['ename']}: {content['evalue']}")
        elif kind == "status" and content["execution_state"] == "idle":
            return shown
    raise Unfit("the server closed the connection to the kernel")


def _request(code: str) -> dict:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"}
    header |= {"session": uuid.uuid4().hex, "username": "", "date": ""}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    content |= {"user_expressions": {}, "stop_on_error": True}
    return {
        "header": header,
        "parent_header": {},
        "metadata": {},
        "channel": "shell",
        "content": content,
    }


def _parsed(text: str) -> dict:
    try:
        found = json.loads(text) if text.strip() else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _said(text: str) -> str:
    return str(_parsed(text).get("message", ""))


def token(path: Path) -> str:
    """The doctor's token for the hub.

    Raises:
        Unfit: there is none.
    """
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise Unfit(f"no token for the hub: {error}; apply the states of the hub") from None
